/*
 * first_steps.c - a database in memory: rows with metadata in, nearest rows out, with and without a filter.
 */
#include <iqdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A failure ends this program: its message names sizes and files, never the content of a row. */
static void
require(IqdbStatus status, const IqdbError *err)
{
	if (status == IQDB_OK)
		return;
	fprintf(stderr, "%s: %s\n", iqdb_status_name(status), err->message);
	exit(1);
}

static void
add(Iqdb *db, uint64_t number, const char *color, const float vector[3])
{
	IqdbValue           value = iqdb_value_string(color, (uint32_t) strlen(color));
	IqdbMetadataBuilder builder;
	unsigned char      *metadata;
	size_t              length;
	IqdbError           err;

	iqdb_metadata_builder_init(&builder, NULL);
	require(iqdb_metadata_put(&builder, "color", 5, &value, &err), &err);
	require(iqdb_metadata_finish(&builder, &metadata, &length, &err), &err);
	require(iqdb_upsert(db, iqdb_id_u64(number), vector, 3, metadata, length, &err), &err);
	iqdb_free(NULL, metadata, length);
	iqdb_metadata_builder_free(&builder);
}

static void
show(const char *title, const IqdbResult *result)
{
	printf("%s:", title);
	for (size_t i = 0; i < result->count; i++)
		printf("  %llu at %.3f", (unsigned long long) result->found[i].id.number, (double) result->found[i].distance);
	printf("\n");
}

static void
search(Iqdb *db)
{
	const float       query[3] = {1.0f, 2.0f, 4.0f};
	IqdbValue         red = iqdb_value_string("red", 3);
	IqdbFilterBuilder builder;
	IqdbFilter       *filter;
	IqdbResult       *result;
	IqdbError         err;

	require(iqdb_search(db, query, 3, 3, &result, &err), &err);
	show("nearest", result);
	iqdb_result_free(result);

	iqdb_filter_builder_init(&builder, NULL);
	require(iqdb_filter_finish(&builder, iqdb_filter_eq(&builder, "color", 5, &red), &filter, &err), &err);
	require(iqdb_search_with(db, query, 3, 3, filter, &result, &err), &err);
	show("nearest red", result);
	iqdb_result_free(result);
	iqdb_filter_free(NULL, filter);
	iqdb_filter_builder_free(&builder);
}

int
main(void)
{
	static const float       vectors[4][3] = {{1, 2, 3}, {4, 5, 6}, {-1, 0, 1}, {1, 2, 5}};
	static const char *const colors[4] = {"red", "red", "blue", "blue"};
	IqdbConfig               config = iqdb_config_default(IQDB_ENGINE_FLAT, 3, IQDB_METRIC_L2);
	Iqdb                    *db;
	IqdbError                err;

	require(iqdb_open_in_memory(&config, &db, &err), &err);
	for (unsigned i = 0; i < 4; i++)
		add(db, i + 1, colors[i], vectors[i]);
	printf("%llu rows\n", (unsigned long long) iqdb_len(db));
	search(db);
	/* what is refused is refused with a reason */
	printf("a vector of two: %s\n", iqdb_status_name(iqdb_upsert(db, iqdb_id_u64(5), vectors[0], 2, NULL, 0, &err)));
	require(iqdb_close(db, &err), &err);
	return 0;
}
