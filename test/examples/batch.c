/*
 * batch.c - many queries in one call, on a graph index, rows named by byte strings, filtered and not.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/db/iqdb.h"
#include "core/meta/metadata.h"

#define POINTS 360
#define QUERIES 3

static const IqdbAllocator *const allocator = &iqdb_allocator_libc;

/* A point on the circle, named "p" and its degrees, that knows whether these are even. */
static IqdbStatus
add_point(Iqdb *db, int degrees, IqdbError *err)
{
	const double        angle = degrees * 3.14159265358979 / 180;
	const float         vector[2] = {(float) cos(angle), (float) sin(angle)};
	IqdbValue           even = iqdb_value_bool(degrees % 2 == 0);
	IqdbMetadataBuilder builder;
	unsigned char      *metadata = NULL;
	size_t              length = 0;
	char                name[16];
	IqdbStatus          status;

	snprintf(name, sizeof(name), "p%d", degrees);
	iqdb_metadata_builder_init(&builder, allocator);
	IQDB_TRY_OUT(iqdb_metadata_put(&builder, "even", 4, &even, err));
	IQDB_TRY_OUT(iqdb_metadata_finish(&builder, &metadata, &length, err));
	IQDB_TRY_OUT(iqdb_upsert(db, iqdb_id_bytes(name, (uint32_t) strlen(name)), vector, 2, metadata, length, err));
out:
	iqdb_free(allocator, metadata, length);
	iqdb_metadata_builder_free(&builder);
	return status;
}

static IqdbStatus
make_filter(IqdbFilter **filter_out, IqdbError *err)
{
	IqdbFilterBuilder builder;
	IqdbValue         yes = iqdb_value_bool(true);
	IqdbStatus        status;

	iqdb_filter_builder_init(&builder, allocator);
	status = iqdb_filter_finish(&builder, iqdb_filter_eq(&builder, "even", 4, &yes), filter_out, err);
	iqdb_filter_builder_free(&builder);
	return status;
}

static IqdbStatus
search(Iqdb *db, const IqdbFilter *filter, IqdbError *err)
{
	/* a little past 10, 101 and 270 degrees */
	const float queries[QUERIES * 2] = {0.9845f, 0.1754f, -0.1925f, 0.9813f, 0.0035f, -1.0f};
	IqdbResult *results[QUERIES];

	IQDB_TRY(iqdb_search_batch_with(db, queries, QUERIES, 2, 3, filter, results, err));
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
	return IQDB_OK;
}

int
main(void)
{
	IqdbConfig  config = iqdb_config_default(IQDB_ENGINE_HNSW, 2, IQDB_METRIC_L2);
	IqdbFilter *filter = NULL;
	Iqdb       *db = NULL;
	IqdbError   err = {0};
	IqdbStatus  status;

	IQDB_TRY_OUT(iqdb_open_in_memory(&config, &db, &err));
	for (int degrees = 0; degrees < POINTS; degrees++)
		IQDB_TRY_OUT(add_point(db, degrees, &err));
	IQDB_TRY_OUT(make_filter(&filter, &err));
	printf("all points\n");
	IQDB_TRY_OUT(search(db, NULL, &err));
	printf("even degrees only\n");
	IQDB_TRY_OUT(search(db, filter, &err));
out:
	if (status != IQDB_OK)
		printf("%s: %s\n", iqdb_status_name(status), err.message);
	iqdb_filter_free(allocator, filter);
	iqdb_abandon(db);
	return status != IQDB_OK;
}
