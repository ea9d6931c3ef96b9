/*
 * files.c - a file of vectors into a database: written here as .fvecs, read by rows, searched.
 */
#include <iqdb.h>
#include <stdio.h>
#include <stdlib.h>

#define ROWS 1000
#define DIM 8

/* A failure ends this program: its message names sizes and files, never the content of a row. */
static void
require(IqdbStatus status, const IqdbError *err)
{
	if (status == IQDB_OK)
		return;
	fprintf(stderr, "%s: %s\n", iqdb_status_name(status), err->message);
	exit(1);
}

/* A program that has vectors writes them like this, on a little-endian machine: dimension and numbers of each row. */
static void
write_vectors(const char *name)
{
	FILE *file = fopen(name, "wb");

	if (file == NULL)
		exit(1);
	for (unsigned row = 0; row < ROWS; row++)
	{
		const uint32_t dim = DIM;
		float          vector[DIM];

		for (unsigned i = 0; i < DIM; i++)
			vector[i] = (float) (row * (2 * i + 1) % 997);
		if (fwrite(&dim, sizeof(dim), 1, file) != 1 || fwrite(vector, sizeof(vector), 1, file) != 1)
			exit(1);
	}
	if (fclose(file) != 0)
		exit(1);
}

int
main(void)
{
	IqdbVectorFile    *file;
	IqdbVectorFileInfo info;
	IqdbConfig         config;
	IqdbRow            rows[100];
	IqdbResult        *result;
	Iqdb              *db;
	float             *vectors;
	const char        *folder = getenv("TMPDIR");
	char               name[1024];
	IqdbError          err;

	snprintf(name, sizeof(name), "%s/vectors.fvecs", folder != NULL ? folder : "/tmp");
	write_vectors(name);
	require(iqdb_vector_file_open(name, IQDB_FILE_AUTO, NULL, NULL, &file, &err), &err);
	info = iqdb_vector_file_info(file);
	printf("%u rows of %u numbers\n", (unsigned) info.count, info.dim);
	vectors = malloc(100 * info.dim * sizeof(float));
	if (vectors == NULL)
		return 1;
	config = iqdb_config_default(IQDB_ENGINE_FLAT, info.dim, IQDB_METRIC_L2);
	require(iqdb_open_in_memory(&config, &db, &err), &err);
	for (uint64_t first = 0; first < info.count; first += 100)
	{
		size_t count = info.count - first < 100 ? (size_t) (info.count - first) : 100;

		require(iqdb_vector_file_read(file, first, count, vectors, &err), &err);
		for (size_t i = 0; i < count; i++)
		{
			const IqdbRow row = {iqdb_id_u64(first + i), vectors + i * info.dim, NULL, 0};

			rows[i] = row;
		}
		require(iqdb_load(db, rows, count, info.dim, NULL, NULL, &err), &err);
	}
	require(iqdb_vector_file_read(file, 321, 1, vectors, &err), &err);
	require(iqdb_search(db, vectors, info.dim, 1, &result, &err), &err);
	printf("row %u at %.1f\n", (unsigned) result->found[0].id.number, result->found[0].distance);
	iqdb_result_free(result);
	iqdb_vector_file_close(file);
	free(vectors);
	remove(name);
	require(iqdb_close(db, &err), &err);
	return 0;
}
