/*
 * batch.c - many queries in one call, on a graph index, rows named by byte strings, filtered and not.
 */
#include <iqdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POINTS 360
#define QUERIES 3

/* A failure ends this program: its message names sizes and files, never the content of a row. */
static void
require(IqdbStatus status, const IqdbError *err)
{
	if (status == IQDB_OK)
		return;
	fprintf(stderr, "%s: %s\n", iqdb_status_name(status), err->message);
	exit(1);
}

/* One step further on the circle. */
static void
turn(double point[2])
{
	const double cosine = 0.99984769515639127;
	const double sine = 0.017452406437283512;
	double       x = point[0] * cosine - point[1] * sine;

	point[1] = point[0] * sine + point[1] * cosine;
	point[0] = x;
}

/* A point on the circle, named "p" and its degrees, that knows whether these are even. */
static void
add_point(Iqdb *db, int degrees, const double point[2])
{
	const float         vector[2] = {(float) point[0], (float) point[1]};
	IqdbValue           even = iqdb_value_bool(degrees % 2 == 0);
	IqdbMetadataBuilder builder;
	unsigned char      *metadata;
	size_t              length;
	char                name[16];
	IqdbError           err;

	snprintf(name, sizeof(name), "p%d", degrees);
	iqdb_metadata_builder_init(&builder, NULL);
	require(iqdb_metadata_put(&builder, "even", 4, &even, &err), &err);
	require(iqdb_metadata_finish(&builder, &metadata, &length, &err), &err);
	require(iqdb_upsert(db, iqdb_id_bytes(name, (uint32_t) strlen(name)), vector, 2, metadata, length, &err), &err);
	iqdb_free(NULL, metadata, length);
	iqdb_metadata_builder_free(&builder);
}

static void
search(Iqdb *db, const IqdbFilter *filter)
{
	/* a little past 10, 101 and 270 degrees */
	const float queries[QUERIES * 2] = {0.9845f, 0.1754f, -0.1925f, 0.9813f, 0.0035f, -1.0f};
	IqdbResult *results[QUERIES];
	IqdbError   err;

	require(iqdb_search_batch_with(db, queries, QUERIES, 2, 3, filter, results, &err), &err);
	for (int i = 0; i < QUERIES; i++)
	{
		printf("query %d:", i);
		for (size_t j = 0; j < results[i]->count; j++)
		{
			const IqdbId *id = &results[i]->found[j].id;

			printf(" %.*s", (int) id->length, (const char *) id->bytes);
		}
		printf("\n");
		iqdb_result_free(results[i]);
	}
}

int
main(void)
{
	IqdbConfig        config = iqdb_config_default(IQDB_ENGINE_HNSW, 2, IQDB_METRIC_L2);
	IqdbValue         yes = iqdb_value_bool(true);
	double            point[2] = {1, 0};
	IqdbFilterBuilder builder;
	IqdbFilter       *filter;
	Iqdb             *db;
	IqdbError         err;

	require(iqdb_open_in_memory(&config, &db, &err), &err);
	for (int degrees = 0; degrees < POINTS; degrees++)
	{
		add_point(db, degrees, point);
		turn(point);
	}
	printf("all points\n");
	search(db, NULL);
	iqdb_filter_builder_init(&builder, NULL);
	require(iqdb_filter_finish(&builder, iqdb_filter_eq(&builder, "even", 4, &yes), &filter, &err), &err);
	printf("even degrees only\n");
	search(db, filter);
	iqdb_filter_free(NULL, filter);
	iqdb_filter_builder_free(&builder);
	require(iqdb_close(db, &err), &err);
	return 0;
}
