/*
 * first_steps.c - a database in memory: rows with metadata in, nearest rows out, with and without a filter.
 */
#include <stdio.h>
#include <string.h>

#include "core/db/iqdb.h"
#include "core/meta/metadata.h"

static IqdbStatus
add(Iqdb *db, uint64_t number, const char *color, const float vector[3], IqdbError *err)
{
	const IqdbAllocator *allocator = &iqdb_allocator_libc;
	IqdbMetadataBuilder builder;
	IqdbValue value = iqdb_value_string(color, (uint32_t) strlen(color));
	unsigned char *metadata = NULL;
	size_t length = 0;
	IqdbStatus status;

	iqdb_metadata_builder_init(&builder, allocator);
	IQDB_TRY_OUT(iqdb_metadata_put(&builder, "color", 5, &value, err));
	IQDB_TRY_OUT(iqdb_metadata_finish(&builder, &metadata, &length, err));
	IQDB_TRY_OUT(iqdb_upsert(db, iqdb_id_u64(number), vector, 3, metadata, length, err));
out:
	iqdb_free(allocator, metadata, length);
	iqdb_metadata_builder_free(&builder);
	return status;
}

static void
show(const char *title, const IqdbResult *result)
{
	printf("%s:", title);
	for (size_t i = 0; i < result->count; i++)
		printf("  %llu at %.3f", (unsigned long long) result->found[i].id.number, (double) result->found[i].distance);
	printf("\n");
}

static IqdbStatus
search(Iqdb *db, IqdbError *err)
{
	const float query[3] = {1.0f, 2.0f, 4.0f};
	IqdbFilterBuilder builder;
	IqdbValue red = iqdb_value_string("red", 3);
	IqdbFilter *filter = NULL;
	IqdbResult *result = NULL;
	IqdbStatus status;

	iqdb_filter_builder_init(&builder, &iqdb_allocator_libc);
	IQDB_TRY_OUT(iqdb_search(db, query, 3, 3, &result, err));
	show("nearest", result);
	iqdb_result_free(result);
	result = NULL;

	IQDB_TRY_OUT(iqdb_filter_finish(&builder, iqdb_filter_eq(&builder, "color", 5, &red), &filter, err));
	IQDB_TRY_OUT(iqdb_search_with(db, query, 3, 3, filter, &result, err));
	show("nearest red", result);
out:
	iqdb_result_free(result);
	iqdb_filter_free(&iqdb_allocator_libc, filter);
	iqdb_filter_builder_free(&builder);
	return status;
}

int
main(void)
{
	static const float vectors[4][3] = {{1, 2, 3}, {4, 5, 6}, {-1, 0, 1}, {1, 2, 5}};
	static const char *const colors[4] = {"red", "red", "blue", "blue"};
	IqdbConfig config = iqdb_config_default(IQDB_ENGINE_FLAT, 3, IQDB_METRIC_L2);
	Iqdb *db = NULL;
	IqdbError err = {0};
	IqdbStatus status;

	IQDB_TRY_OUT(iqdb_open_in_memory(&config, &db, &err));
	for (unsigned i = 0; i < 4; i++)
		IQDB_TRY_OUT(add(db, i + 1, colors[i], vectors[i], &err));
	printf("%llu rows\n", (unsigned long long) iqdb_len(db));
	IQDB_TRY_OUT(search(db, &err));

	/* what is refused is refused with a reason */
	status = iqdb_upsert(db, iqdb_id_u64(5), vectors[0], 2, NULL, 0, &err);
	printf("a vector of two: %s\n", iqdb_status_name(status));
	status = IQDB_OK;
out:
	if (status != IQDB_OK)
		printf("%s: %s\n", iqdb_status_name(status), err.message);
	if (iqdb_close(db, &err) != IQDB_OK)
		printf("close: %s\n", err.message);
	return status == IQDB_OK ? 0 : 1;
}
