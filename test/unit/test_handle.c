/*
 * test_handle.c - the embedded database: contract, ties, persistence, recovery, threads, and a naive model beside it.
 *
 * Files live in a file system in memory (harness/io_crash.h), but for the tests of locks and of the real one.
 */
#define _POSIX_C_SOURCE 200809L
#include <setjmp.h>
#include <stdatomic.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include "core/base/crc32c.h"
#include "core/base/io_posix.h"
#include "core/db/iqdb.h"
#include "core/meta/metadata.h"
#include "harness/alloc_fault.h"
#include "harness/io_crash.h"
#include "harness/io_fault.h"
#include "harness/metrics.h"
#include "harness/model.h"

#define SEED UINT64_C(20250711)
#define DIM 4

/* ---- a database beside a model ---- */

typedef struct World
{
	IoCrash   *fs; /* NULL: in memory, or on real files */
	IqdbConfig config;
	Iqdb      *db;
	Model      model;
	IqdbRng    rng;
} World;

static IqdbConfig
small_config(IqdbMetric metric)
{
	IqdbConfig config = iqdb_config_default(IQDB_ENGINE_FLAT, DIM, metric);

	config.memory_max = UINT64_C(256) * 1024 * 1024;
	return config;
}

static void
must_open(World *world)
{
	IqdbError  err;
	IqdbStatus status = iqdb_open("db", &world->config, &world->db, &err);

	if (status != IQDB_OK)
		print_message("open: %s %s @%llu: %s\n", iqdb_status_name(status), err.file, (unsigned long long) err.offset,
					  err.message);
	assert_int_equal(status, IQDB_OK);
}

static void
world_open(World *world, IqdbMetric metric, bool files, uint64_t seed)
{
	memset(world, 0, sizeof(*world));
	world->config = small_config(metric);
	iqdb_rng_seed(&world->rng, seed);
	model_init(&world->model, DIM, metric);
	if (files)
	{
		world->fs = io_crash_create();
		world->config.io = io_crash_io(world->fs);
		must_open(world);
	}
	else
		assert_int_equal(iqdb_open_in_memory(&world->config, &world->db, NULL), IQDB_OK);
}

static void
world_close(World *world)
{
	assert_int_equal(iqdb_close(world->db, NULL), IQDB_OK);
	if (world->fs != NULL)
	{
		assert_int_equal(io_crash_open_handles(world->fs), 0);
		io_crash_destroy(world->fs);
	}
	model_free(&world->model);
}

static void
reopen(World *world, bool clean)
{
	if (clean)
		assert_int_equal(iqdb_close(world->db, NULL), IQDB_OK);
	else
		iqdb_abandon(world->db);
	assert_int_equal(io_crash_open_handles(world->fs), 0);
	must_open(world);
}

static void
put(World *world, IqdbId id)
{
	float          vector[DIM];
	size_t         length;
	unsigned char *metadata = model_random_metadata(&world->rng, &length);

	model_random_vector(&world->rng, vector, DIM);
	assert_int_equal(iqdb_upsert(world->db, id, vector, DIM, metadata, length, NULL), IQDB_OK);
	model_put(&world->model, id, vector, metadata, length);
	free(metadata);
}

static void
delete(World *world, IqdbId id)
{
	bool deleted;

	assert_int_equal(iqdb_delete(world->db, id, &deleted, NULL), IQDB_OK);
	assert_int_equal(deleted, model_remove(&world->model, id));
}

static void
random_operation(World *world, uint64_t deletes_of_ten)
{
	unsigned char buffer[8];
	IqdbId        id = model_random_id(&world->rng, 120, buffer);

	if (iqdb_rng_below(&world->rng, 10) < deletes_of_ten)
		delete(world, id);
	else
		put(world, id);
}

static void
count_finding(void *arg, const char *what)
{
	(*(size_t *) arg)++;
	print_message("found: %s\n", what);
}

static void
assert_sound(Iqdb *db)
{
	size_t findings = 0;

	assert_int_equal(iqdb_check(db, count_finding, &findings, NULL), IQDB_OK);
	assert_int_equal(findings, 0);
}

static void
assert_result(const Model *model, const IqdbResult *result, const ModelHit *expected, size_t expected_count)
{
	assert_int_equal(result->count, expected_count);
	for (size_t i = 0; i < expected_count; i++)
	{
		const ModelRow  *row = expected[i].row;
		const IqdbFound *found = &result->found[i];

		assert_true(iqdb_id_equal(found->id, row->id));
		assert_true(found->distance == (float) iqdb_metric_distance(model->metric, expected[i].key));
		assert_int_equal(found->metadata_length, row->metadata_length);
		assert_true((found->metadata == NULL) == (row->metadata == NULL));
		if (row->metadata_length > 0)
			assert_memory_equal(found->metadata, row->metadata, row->metadata_length);
	}
}

static void
compare_search(World *world, size_t k, const IqdbFilter *filter)
{
	float       query[DIM];
	size_t      count;
	ModelHit   *expected;
	IqdbResult *result;

	model_random_vector(&world->rng, query, DIM);
	expected = model_search(&world->model, query, filter, &count);
	assert_int_equal(iqdb_search_with(world->db, query, DIM, k, filter, &result, NULL), IQDB_OK);
	assert_result(&world->model, result, expected, count < k ? count : k);
	iqdb_result_free(result);
	free(expected);
}

static void
compare_rows(World *world)
{
	assert_int_equal(iqdb_len(world->db), world->model.count);
	assert_int_equal(iqdb_is_empty(world->db), world->model.count == 0);
	for (size_t i = 0; i < world->model.count; i++)
	{
		const ModelRow *row = &world->model.rows[i];
		IqdbRecord     *record;

		assert_int_equal(iqdb_get(world->db, row->id, &record, NULL), IQDB_OK);
		assert_non_null(record);
		assert_int_equal(record->dim, DIM);
		assert_memory_equal(record->vector, row->vector, DIM * sizeof(float));
		assert_int_equal(record->metadata_length, row->metadata_length);
		if (row->metadata_length > 0)
			assert_memory_equal(record->metadata, row->metadata, row->metadata_length);
		iqdb_record_free(record);
	}
}

/* Everything: rows, order to the end, filters, invariants. */
static void
compare(World *world)
{
	IqdbFilter *filter = model_random_filter(&world->rng);

	assert_sound(world->db);
	compare_rows(world);
	compare_search(world, 1 + iqdb_rng_below(&world->rng, 20), NULL);
	compare_search(world, 1 + iqdb_rng_below(&world->rng, 20), filter);
	compare_search(world, SIZE_MAX, iqdb_rng_below(&world->rng, 2) == 0 ? filter : NULL);
	iqdb_filter_free(&iqdb_allocator_libc, filter);
}

/* ---- contract ---- */

static void
configuration_is_checked(void **state)
{
	IqdbConfig good = small_config(IQDB_METRIC_L2);
	IqdbConfig config;
	Iqdb      *db;
	IqdbError  err;

	(void) state;
	config = good;
	config.options.dimension = 0;
	assert_int_equal(iqdb_open_in_memory(&config, &db, &err), IQDB_ERR_CONFIG);
	assert_null(db);
	config.options.dimension = IQDB_DIMENSION_MAX + 1;
	assert_int_equal(iqdb_open_in_memory(&config, &db, &err), IQDB_ERR_CONFIG);
	config = good;
	config.options.metric = IQDB_METRIC_COUNT;
	assert_int_equal(iqdb_open_in_memory(&config, &db, &err), IQDB_ERR_METRIC);
	config = good;
	config.options.engine = 77;
	assert_int_equal(iqdb_open_in_memory(&config, &db, &err), IQDB_ERR_CONFIG);
	config = good;
	config.fsync.mode = (IqdbFsync) 9;
	assert_int_equal(iqdb_open_in_memory(&config, &db, &err), IQDB_ERR_CONFIG);
	config = good;
	config.fsync = (IqdbFsyncPolicy){IQDB_FSYNC_PERIODIC, 0};
	assert_int_equal(iqdb_open_in_memory(&config, &db, &err), IQDB_ERR_CONFIG);
	config = good;
	config.compression = IQDB_COMPRESSION_ZSTD;
	config.compression_level = 23;
	assert_int_equal(iqdb_open_in_memory(&config, &db, &err), IQDB_ERR_CONFIG);
	config = good;
	config.memory_max = UINT64_MAX;
	assert_int_not_equal(iqdb_open_in_memory(&config, &db, &err), IQDB_OK);
	assert_null(db);
	config = good;
	assert_int_equal(iqdb_open("", &config, &db, &err), IQDB_ERR_CONFIG);
	assert_null(db);
	assert_int_equal(iqdb_close(NULL, &err), IQDB_OK);
	iqdb_abandon(NULL);
	iqdb_record_free(NULL);
	iqdb_result_free(NULL);
}

static void
upsert_get_delete_and_len(void **state)
{
	World       world;
	IqdbRecord *record;
	float       vector[DIM] = {1, 2, 3, 4};
	bool        deleted = true;

	(void) state;
	world_open(&world, IQDB_METRIC_COSINE, false, SEED);
	assert_true(iqdb_is_empty(world.db));
	assert_int_equal(iqdb_get(world.db, iqdb_id_u64(1), &record, NULL), IQDB_OK);
	assert_null(record);
	put(&world, iqdb_id_u64(1));
	put(&world, iqdb_id_bytes("1", 1));
	put(&world, iqdb_id_bytes("\0\xff", 2));
	put(&world, iqdb_id_u64(UINT64_MAX));
	compare(&world);
	/* the two kinds of id are never equal, a replacement replaces wholly */
	put(&world, iqdb_id_u64(1));
	assert_int_equal(iqdb_upsert(world.db, iqdb_id_bytes("1", 1), vector, DIM, NULL, 0, NULL), IQDB_OK);
	model_put(&world.model, iqdb_id_bytes("1", 1), vector, NULL, 0);
	compare(&world);
	delete(&world, iqdb_id_u64(1));
	delete(&world, iqdb_id_u64(1));
	assert_int_equal(iqdb_delete(world.db, iqdb_id_u64(1), &deleted, NULL), IQDB_OK);
	assert_false(deleted);
	assert_int_equal(iqdb_delete(world.db, iqdb_id_u64(1), NULL, NULL), IQDB_OK);
	compare(&world);
	put(&world, iqdb_id_u64(1));
	compare(&world);
	world_close(&world);
}

static void
writes_reject_what_they_must(void **state)
{
	World     world;
	float     vector[DIM + 1] = {1, 2, 3, 4, 5};
	float     bad[DIM] = {1, INFINITY, 3, 4};
	IqdbError err;

	(void) state;
	world_open(&world, IQDB_METRIC_DOT, true, SEED);
	assert_int_equal(iqdb_upsert(world.db, iqdb_id_u64(1), vector, DIM + 1, NULL, 0, &err), IQDB_ERR_DIMENSION);
	assert_string_equal(err.message, "expected 4 dimensions, not 5");
	assert_int_equal(iqdb_upsert(world.db, iqdb_id_u64(1), vector, 0, NULL, 0, &err), IQDB_ERR_DIMENSION);
	assert_int_equal(iqdb_upsert(world.db, iqdb_id_u64(1), bad, DIM, NULL, 0, &err), IQDB_ERR_VECTOR);
	bad[1] = NAN;
	assert_int_equal(iqdb_upsert(world.db, iqdb_id_u64(1), bad, DIM, NULL, 0, &err), IQDB_ERR_VECTOR);
	assert_int_equal(iqdb_upsert(world.db, iqdb_id_bytes(NULL, 0), vector, DIM, NULL, 0, &err), IQDB_ERR_CONFIG);
	assert_int_equal(iqdb_upsert(world.db, iqdb_id_u64(1), vector, DIM, (const unsigned char *) "?", 1, &err),
					 IQDB_ERR_CORRUPT);
	assert_int_equal(iqdb_len(world.db), 0);
	reopen(&world, false);
	assert_int_equal(iqdb_len(world.db), 0);
	world_close(&world);
}

static void
search_checks_the_query_before_anything_else(void **state)
{
	World       world;
	float       query[DIM] = {1, 0, 0, 0};
	float       bad[DIM] = {1, NAN, 0, 0};
	IqdbResult *result;
	IqdbResult *results[3];
	float       queries[3 * DIM] = {0};

	(void) state;
	world_open(&world, IQDB_METRIC_L2, false, SEED);
	for (int round = 0; round < 2; round++)
	{
		for (size_t k = 0; k < 3; k++)
		{
			assert_int_equal(iqdb_search(world.db, query, DIM - 1, k, &result, NULL), IQDB_ERR_DIMENSION);
			assert_null(result);
			assert_int_equal(iqdb_search(world.db, bad, DIM, k, &result, NULL), IQDB_ERR_VECTOR);
		}
		assert_int_equal(iqdb_search(world.db, query, DIM, 0, &result, NULL), IQDB_OK);
		assert_int_equal(result->count, 0);
		iqdb_result_free(result);
		put(&world, iqdb_id_u64(7));
	}
	/* a batch stops at its first bad query and gives nothing */
	queries[2 * DIM] = NAN;
	assert_int_equal(iqdb_search_batch(world.db, queries, 3, DIM, 5, results, NULL), IQDB_ERR_VECTOR);
	for (int i = 0; i < 3; i++)
		assert_null(results[i]);
	assert_int_equal(iqdb_search_batch(world.db, queries, 0, DIM, 5, results, NULL), IQDB_OK);
	world_close(&world);
}

static void
search_on_empty_gives_nothing_and_large_k_gives_all(void **state)
{
	World world;

	(void) state;
	world_open(&world, IQDB_METRIC_L1, false, SEED);
	compare(&world);
	for (uint64_t i = 0; i < 130; i++)
		put(&world, iqdb_id_u64(i));
	compare_search(&world, 129, NULL);
	compare_search(&world, 130, NULL);
	compare_search(&world, 131, NULL);
	compare_search(&world, SIZE_MAX, NULL);
	world_close(&world);
}

/* Answers that a cache has, answers found together, and answers of one search alone are the same. */
static void
batch_with_codes_and_cache_equals_search(void **state)
{
	enum { ROWS = 3000, QUERIES = 50, WIDE = 20 };
	IqdbConfig  config = iqdb_config_default(IQDB_ENGINE_FLAT, WIDE, IQDB_METRIC_L2);
	float       queries[QUERIES * WIDE];
	IqdbResult *results[QUERIES];
	Iqdb       *plain;
	Iqdb       *db;
	IqdbRng     rng;

	(void) state;
	assert_int_equal(iqdb_open_in_memory(&config, &plain, NULL), IQDB_OK);
	config.options.quantization = IQDB_QUANTIZATION_SQ8;
	config.use_cache = true;
	assert_int_equal(iqdb_open_in_memory(&config, &db, NULL), IQDB_OK);
	iqdb_rng_seed(&rng, SEED);
	for (uint64_t id = 0; id < ROWS; id++)
	{
		model_random_vector(&rng, queries, WIDE);
		assert_int_equal(iqdb_upsert(plain, iqdb_id_u64(id), queries, WIDE, NULL, 0, NULL), IQDB_OK);
		assert_int_equal(iqdb_upsert(db, iqdb_id_u64(id), queries, WIDE, NULL, 0, NULL), IQDB_OK);
	}
	model_random_vector(&rng, queries, QUERIES * WIDE);
	for (size_t count = 10; count <= QUERIES; count += 20)
	{
		assert_int_equal(iqdb_search_batch(db, queries, count, WIDE, 6, results, NULL), IQDB_OK);
		for (size_t i = 0; i < count; i++)
		{
			IqdbResult *expected;

			assert_int_equal(iqdb_search(plain, queries + i * WIDE, WIDE, 6, &expected, NULL), IQDB_OK);
			assert_int_equal(results[i]->count, 6);
			for (size_t hit = 0; hit < 6; hit++)
			{
				assert_int_equal(results[i]->found[hit].id.number, expected->found[hit].id.number);
				assert_memory_equal(&results[i]->found[hit].distance, &expected->found[hit].distance, sizeof(float));
			}
			iqdb_result_free(expected);
			iqdb_result_free(results[i]);
		}
	}
	{
		IqdbCacheStats stats;

		assert_true(iqdb_cache_stats(db, &stats));
		assert_int_equal(stats.hits, 10 + 30);
		assert_int_equal(stats.misses, QUERIES);
	}
	assert_int_equal(iqdb_optimize(db, NULL), IQDB_OK);
	iqdb_abandon(db);
	iqdb_abandon(plain);
}

static void
batch_equals_search_one_by_one(void **state)
{
	World       world;
	float       queries[20 * DIM];
	IqdbResult *results[20];
	IqdbFilter *filter;

	(void) state;
	world_open(&world, IQDB_METRIC_COSINE, false, SEED);
	for (int i = 0; i < 200; i++)
		random_operation(&world, 1);
	filter = model_random_filter(&world.rng);
	for (int round = 0; round < 2; round++)
	{
		const IqdbFilter *used = round == 0 ? NULL : filter;

		model_random_vector(&world.rng, queries, 20 * DIM);
		assert_int_equal(iqdb_search_batch_with(world.db, queries, 20, DIM, 7, used, results, NULL), IQDB_OK);
		for (size_t i = 0; i < 20; i++)
		{
			size_t    count;
			ModelHit *expected = model_search(&world.model, queries + i * DIM, used, &count);

			assert_result(&world.model, results[i], expected, count < 7 ? count : 7);
			iqdb_result_free(results[i]);
			free(expected);
		}
	}
	iqdb_filter_free(&iqdb_allocator_libc, filter);
	world_close(&world);
}

static void
a_result_outlives_its_handle(void **state)
{
	World       world;
	float       query[DIM] = {1, 1, 1, 1};
	IqdbResult *result;
	IqdbRecord *record;
	size_t      sum = 0;

	(void) state;
	world_open(&world, IQDB_METRIC_L2, false, SEED);
	for (int i = 0; i < 100; i++)
		random_operation(&world, 0);
	put(&world, iqdb_id_bytes("abc", 3));
	assert_int_equal(iqdb_search(world.db, query, DIM, 50, &result, NULL), IQDB_OK);
	assert_int_equal(iqdb_get(world.db, iqdb_id_bytes("abc", 3), &record, NULL), IQDB_OK);
	world_close(&world);
	for (size_t i = 0; i < result->count; i++)
	{
		for (size_t j = 0; j < result->found[i].metadata_length; j++)
			sum += result->found[i].metadata[j];
		if (result->found[i].id.kind == IQDB_ID_BYTES)
			sum += result->found[i].id.bytes[0];
	}
	assert_true(sum > 0);
	assert_int_equal(record->dim, DIM);
	iqdb_result_free(result);
	iqdb_record_free(record);
}

static void
per_query_limit_ends_a_search_early(void **state)
{
	World       world;
	float       query[DIM] = {0};
	IqdbQuery   settings = {.k = 5, .max_rows = 256};
	IqdbResult *result;

	(void) state;
	world_open(&world, IQDB_METRIC_L2, false, SEED);
	for (uint64_t i = 0; i < 1000; i++)
		put(&world, iqdb_id_u64(i));
	assert_int_equal(iqdb_search_query(world.db, query, DIM, &settings, &result, NULL), IQDB_OK);
	assert_int_equal(result->count, 5);
	assert_int_equal(result->stats.scored, 256);
	iqdb_result_free(result);
	settings.max_rows = 0;
	assert_int_equal(iqdb_search_query(world.db, query, DIM, &settings, &result, NULL), IQDB_OK);
	assert_int_equal(result->stats.scored, 1000);
	iqdb_result_free(result);
	world_close(&world);
}

/* ---- filters ---- */

static IqdbFilter *
leaf(IqdbFilterOp op, const char *field, IqdbValue value)
{
	IqdbFilterBuilder builder;
	IqdbFilter       *filter;
	IqdbCondition     root;

	iqdb_filter_builder_init(&builder, &iqdb_allocator_libc);
	root = iqdb_filter_compare(&builder, op, field, strlen(field), &value);
	assert_int_equal(iqdb_filter_finish(&builder, root, &filter, NULL), IQDB_OK);
	iqdb_filter_builder_free(&builder);
	return filter;
}

static void
put_with(World *world, uint64_t id, const char *field, IqdbValue value)
{
	float               vector[DIM];
	IqdbMetadataBuilder builder;
	unsigned char      *metadata;
	size_t              length;

	iqdb_metadata_builder_init(&builder, &iqdb_allocator_libc);
	assert_int_equal(iqdb_metadata_put(&builder, field, strlen(field), &value, NULL), IQDB_OK);
	assert_int_equal(iqdb_metadata_finish(&builder, &metadata, &length, NULL), IQDB_OK);
	iqdb_metadata_builder_free(&builder);
	model_random_vector(&world->rng, vector, DIM);
	assert_int_equal(iqdb_upsert(world->db, iqdb_id_u64(id), vector, DIM, metadata, length, NULL), IQDB_OK);
	model_put(&world->model, iqdb_id_u64(id), vector, metadata, length);
	iqdb_free(&iqdb_allocator_libc, metadata, length);
}

static size_t
count_found(World *world, IqdbFilter *filter, size_t k)
{
	float       query[DIM] = {0};
	IqdbResult *result;
	size_t      count;

	assert_int_equal(iqdb_search_with(world->db, query, DIM, k, filter, &result, NULL), IQDB_OK);
	count = result->count;
	iqdb_result_free(result);
	iqdb_filter_free(&iqdb_allocator_libc, filter);
	return count;
}

static void
filtered_search_gives_k_while_there_are_k(void **state)
{
	World world;
	float vector[DIM] = {1, 1, 1, 1};

	(void) state;
	world_open(&world, IQDB_METRIC_L2, false, SEED);
	for (uint64_t i = 0; i < 2000; i++)
		put_with(&world, i, "n", iqdb_value_int((int64_t) i));
	assert_int_equal(iqdb_upsert(world.db, iqdb_id_u64(5000), vector, DIM, NULL, 0, NULL), IQDB_OK);
	/* half a percent matches */
	assert_int_equal(count_found(&world, leaf(IQDB_FILTER_LT, "n", iqdb_value_int(10)), 10), 10);
	assert_int_equal(count_found(&world, leaf(IQDB_FILTER_LT, "n", iqdb_value_int(10)), 100), 10);
	assert_int_equal(count_found(&world, leaf(IQDB_FILTER_EQ, "n", iqdb_value_int(-1)), 100), 0);
	/* another kind, an absent field: every leaf is false, NEQ too */
	assert_int_equal(count_found(&world, leaf(IQDB_FILTER_EQ, "n", iqdb_value_float(5)), 100), 0);
	assert_int_equal(count_found(&world, leaf(IQDB_FILTER_NEQ, "n", iqdb_value_float(5)), 100), 0);
	assert_int_equal(count_found(&world, leaf(IQDB_FILTER_NEQ, "m", iqdb_value_int(5)), 100), 0);
	assert_int_equal(count_found(&world, leaf(IQDB_FILTER_NEQ, "n", iqdb_value_int(5)), 5000), 1999);
	world_close(&world);
}

/* ---- ties ---- */

/* Ids of the first rows at equal distance, in order, as digits. */
static void
assert_order(Iqdb *db, const char *expected)
{
	float       query[DIM] = {0};
	IqdbResult *result;
	char        order[32] = {0};

	assert_int_equal(iqdb_search(db, query, DIM, 30, &result, NULL), IQDB_OK);
	for (size_t i = 0; i < result->count; i++)
		order[i] = (char) ('0' + result->found[i].id.number);
	iqdb_result_free(result);
	assert_string_equal(order, expected);
}

static void
ties_follow_insertion_order_also_after_reopening(void **state)
{
	World world;
	float vector[DIM] = {1, 0, 0, 0};

	(void) state;
	world_open(&world, IQDB_METRIC_L2, true, SEED);
	for (uint64_t i = 0; i < 8; i++)
	{
		vector[i % DIM] = i % 2 == 0 ? 1.0f : -1.0f;
		for (size_t j = 0; j < DIM; j++)
			vector[j] = j == i % DIM ? vector[j] : 0.0f;
		assert_int_equal(iqdb_upsert(world.db, iqdb_id_u64(i), vector, DIM, NULL, 0, NULL), IQDB_OK);
	}
	assert_order(world.db, "01234567");
	reopen(&world, true);
	assert_order(world.db, "01234567");
	/* replaced: to the end. Deleted: the rest keep their order. Put again: to the end */
	assert_int_equal(iqdb_upsert(world.db, iqdb_id_u64(2), vector, DIM, NULL, 0, NULL), IQDB_OK);
	assert_int_equal(iqdb_delete(world.db, iqdb_id_u64(0), NULL, NULL), IQDB_OK);
	assert_int_equal(iqdb_delete(world.db, iqdb_id_u64(5), NULL, NULL), IQDB_OK);
	assert_order(world.db, "134672");
	assert_int_equal(iqdb_upsert(world.db, iqdb_id_u64(5), vector, DIM, NULL, 0, NULL), IQDB_OK);
	assert_order(world.db, "1346725");
	reopen(&world, false);
	assert_order(world.db, "1346725");
	assert_int_equal(iqdb_upsert(world.db, iqdb_id_u64(0), vector, DIM, NULL, 0, NULL), IQDB_OK);
	assert_order(world.db, "13467250");
	reopen(&world, true);
	reopen(&world, true);
	assert_order(world.db, "13467250");
	world_close(&world);
}

/* ---- the model ---- */

static void
random_world(IqdbMetric metric, bool files)
{
	World world;

	print_message("metric %s, %s, seed %llu\n", iqdb_metric_name(metric), files ? "files" : "memory",
				  (unsigned long long) SEED + metric);
	world_open(&world, metric, files, SEED + metric);
	if (files)
		world.config.checkpoint_bytes = 3000;
	for (int batch = 0; batch < 20; batch++)
	{
		for (int i = 0; i < 25; i++)
			random_operation(&world, batch % 6 == 5 ? 8 : 3);
		switch (iqdb_rng_below(&world.rng, 5))
		{
			case 0:
				assert_int_equal(iqdb_optimize(world.db, NULL), IQDB_OK);
				break;
			case 1:
				assert_int_equal(iqdb_flush(world.db, NULL), IQDB_OK);
				break;
			case 2:
				if (files)
					reopen(&world, true);
				break;
			case 3:
				if (files)
					reopen(&world, false);
				break;
			default:
				break;
		}
		compare(&world);
	}
	world_close(&world);
}

static void
matches_naive_for_every_metric(void **state)
{
	(void) state;
	for (int metric = 0; metric < NUMBER_METRICS; metric++)
	{
		random_world((IqdbMetric) metric, false);
		random_world((IqdbMetric) metric, true);
	}
}

/* ---- persistence ---- */

static void
several_sessions_accumulate(void **state)
{
	World world;

	(void) state;
	world_open(&world, IQDB_METRIC_HAMMING, true, SEED);
	for (int session = 0; session < 6; session++)
	{
		for (int i = 0; i < 10; i++)
			random_operation(&world, 3);
		reopen(&world, session % 2 == 0);
		compare(&world);
	}
	world_close(&world);
}

static void
opening_makes_snapshot_and_log(void **state)
{
	World     world;
	IqdbStats stats;

	(void) state;
	world_open(&world, IQDB_METRIC_L2, true, SEED);
	assert_true(io_crash_exists(world.fs, "db"));
	assert_true(io_crash_exists(world.fs, "db.wal"));
	iqdb_stats(world.db, &stats);
	assert_int_equal(stats.position, 0);
	assert_int_equal(stats.log_bytes, IQDB_LOG_HEADER_SIZE);
	put(&world, iqdb_id_u64(1));
	iqdb_stats(world.db, &stats);
	assert_int_equal(stats.position, 1);
	assert_int_equal(stats.snapshot_position, 0);
	assert_true(stats.log_bytes > IQDB_LOG_HEADER_SIZE && stats.log_synced_bytes == stats.log_bytes);
	/* a checkpoint resets the log, and a second one has nothing to do */
	assert_int_equal(iqdb_flush(world.db, NULL), IQDB_OK);
	iqdb_stats(world.db, &stats);
	assert_int_equal(stats.snapshot_position, 1);
	assert_int_equal(stats.log_bytes, IQDB_LOG_HEADER_SIZE);
	assert_int_equal(stats.checkpoints, 2);
	assert_int_equal(iqdb_flush(world.db, NULL), IQDB_OK);
	iqdb_stats(world.db, &stats);
	assert_int_equal(stats.checkpoints, 2);
	assert_false(io_crash_exists(world.fs, "db.tmp") || io_crash_exists(world.fs, "db.wal.tmp"));
	compare(&world);
	world_close(&world);
}

static void
reopening_with_another_shape_is_refused(void **state)
{
	World      world;
	IqdbConfig other;
	Iqdb      *db;
	IqdbError  err;

	(void) state;
	world_open(&world, IQDB_METRIC_L2, true, SEED);
	for (int i = 0; i < 20; i++)
		random_operation(&world, 0);
	for (int round = 0; round < 2; round++)
	{
		if (round == 0)
			iqdb_abandon(world.db);
		else
			assert_int_equal(iqdb_close(world.db, NULL), IQDB_OK);
		other = world.config;
		other.options.dimension = DIM + 1;
		assert_int_equal(iqdb_open("db", &other, &db, &err), IQDB_ERR_CONFIG);
		assert_null(db);
		other = world.config;
		other.options.metric = IQDB_METRIC_COSINE;
		assert_int_equal(iqdb_open("db", &other, &db, &err), IQDB_ERR_CONFIG);
		assert_string_equal(err.message, "the database has metric l2, not cosine");
		must_open(&world);
		compare(&world);
	}
	world_close(&world);
}

static void
relaxed_policies_and_compression_round_trip(void **state)
{
	static const IqdbCompression compressions[] = {IQDB_COMPRESSION_NONE, IQDB_COMPRESSION_LZ4, IQDB_COMPRESSION_ZSTD};

	(void) state;
	for (int i = 0; i < 9; i++)
	{
		World     world;
		IqdbStats stats;

		world_open(&world, IQDB_METRIC_L2, true, SEED + (uint64_t) i);
		iqdb_abandon(world.db);
		world.config.compression = compressions[i % 3];
		world.config.compression_level = i % 3 == 2 ? 19 : 0;
		world.config.fsync.mode = (IqdbFsync) (i / 3);
		world.config.fsync.interval_ms = 100000;
		must_open(&world);
		for (int n = 0; n < 60; n++)
			random_operation(&world, 2);
		reopen(&world, false);
		compare(&world);
		reopen(&world, true);
		compare(&world);
		iqdb_stats(world.db, &stats);
		assert_true(stats.snapshot_bytes > 0);
		world_close(&world);
	}
}

static void
a_log_that_grows_long_is_folded_by_itself(void **state)
{
	World     world;
	IqdbStats stats;

	(void) state;
	world_open(&world, IQDB_METRIC_L2, true, SEED);
	iqdb_abandon(world.db);
	world.config.checkpoint_bytes = 20000;
	must_open(&world);
	for (int i = 0; i < 2000; i++)
		random_operation(&world, 2);
	iqdb_stats(world.db, &stats);
	assert_true(stats.checkpoints >= 3);
	assert_int_equal(stats.checkpoint_failures, 0);
	assert_true(stats.log_bytes < 60000);
	compare(&world);
	reopen(&world, false);
	compare(&world);
	world_close(&world);
}

/* ---- locks and left-overs ---- */

static void
a_second_handle_is_locked_out(void **state)
{
	World      world;
	Iqdb      *db;
	char       path[64];
	char       name[80];
	IqdbConfig config = small_config(IQDB_METRIC_L2);

	(void) state;
	world_open(&world, IQDB_METRIC_L2, true, SEED);
	assert_int_equal(iqdb_open("db", &world.config, &db, NULL), IQDB_ERR_LOCKED);
	put(&world, iqdb_id_u64(1));
	reopen(&world, true);
	assert_int_equal(iqdb_open("db", &world.config, &db, NULL), IQDB_ERR_LOCKED);
	world_close(&world);

	/* the same on real files */
	snprintf(path, sizeof(path), "%s/locked-%ld", getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp", (long) getpid());
	assert_int_equal(iqdb_open(path, &config, &world.db, NULL), IQDB_OK);
	assert_int_equal(iqdb_open(path, &config, &db, NULL), IQDB_ERR_LOCKED);
	assert_null(db);
	assert_int_equal(iqdb_close(world.db, NULL), IQDB_OK);
	assert_int_equal(iqdb_open(path, &config, &db, NULL), IQDB_OK);
	assert_int_equal(iqdb_close(db, NULL), IQDB_OK);
	for (int i = 0; i < 3; i++)
	{
		static const char *const suffixes[] = {"", ".wal", ".lock"};

		snprintf(name, sizeof(name), "%s%s", path, suffixes[i]);
		assert_int_equal(unlink(name), 0);
	}
}

static void
left_overs_of_a_crashed_save_are_removed(void **state)
{
	World world;

	(void) state;
	world_open(&world, IQDB_METRIC_L2, true, SEED);
	put(&world, iqdb_id_u64(1));
	iqdb_abandon(world.db);
	io_crash_put(world.fs, "db.tmp", "half a snapshot", 15);
	io_crash_put(world.fs, "db.wal.tmp", "half a log", 10);
	io_crash_put(world.fs, "db.tmpx", "somebody else's", 15);
	must_open(&world);
	assert_false(io_crash_exists(world.fs, "db.tmp") || io_crash_exists(world.fs, "db.wal.tmp"));
	assert_true(io_crash_exists(world.fs, "db.tmpx"));
	compare(&world);
	world_close(&world);
}

/* ---- damage ---- */

static unsigned char *
copy_file(const IoCrash *fs, const char *path, size_t *length_out)
{
	const unsigned char *content = io_crash_content(fs, path, length_out);
	unsigned char       *copy = malloc(*length_out + 64);

	assert_non_null(content);
	assert_non_null(copy);
	memcpy(copy, content, *length_out);
	return copy;
}

static void
a_torn_log_tail_is_cut_and_later_writes_survive(void **state)
{
	World          world;
	unsigned char *bytes;
	size_t         length;

	(void) state;
	world_open(&world, IQDB_METRIC_L2, true, SEED);
	for (int i = 0; i < 10; i++)
		put(&world, iqdb_id_u64((uint64_t) i));
	iqdb_abandon(world.db);
	bytes = copy_file(world.fs, "db.wal", &length);
	memset(bytes + length, 0xab, 13);
	io_crash_put(world.fs, "db.wal", bytes, length + 13);
	free(bytes);
	must_open(&world);
	compare(&world);
	/* what is written behind a tail that was torn must not vanish at the next crash */
	for (int i = 0; i < 10; i++)
		put(&world, iqdb_id_u64((uint64_t) i + 5));
	reopen(&world, false);
	compare(&world);
	world_close(&world);
}

/* A world of some rows in the snapshot and some in the log, closed. */
static void
world_with_files(World *world, int rows)
{
	world_open(world, IQDB_METRIC_L2, true, SEED);
	for (int i = 0; i < rows; i++)
		random_operation(world, 1);
	assert_int_equal(iqdb_flush(world->db, NULL), IQDB_OK);
	for (int i = 0; i < rows; i++)
		random_operation(world, 1);
	iqdb_abandon(world->db);
	world->db = NULL;
}

static void
world_drop(World *world)
{
	assert_int_equal(io_crash_open_handles(world->fs), 0);
	io_crash_destroy(world->fs);
	model_free(&world->model);
}

static void
every_byte_flip_in_a_snapshot_fails_the_open(void **state)
{
	World          world;
	unsigned char *bytes;
	size_t         length;

	(void) state;
	world_with_files(&world, 12);
	bytes = copy_file(world.fs, "db", &length);
	for (size_t i = 0; i < length; i++)
	{
		IqdbError  err = {0};
		Iqdb      *db;
		IqdbStatus status;

		bytes[i] ^= 0x10;
		io_crash_put(world.fs, "db", bytes, length);
		bytes[i] ^= 0x10;
		status = iqdb_open("db", &world.config, &db, &err);
		assert_null(db);
		assert_true(status == IQDB_ERR_CORRUPT || status == IQDB_ERR_VERSION);
		assert_string_equal(err.file, "db");
	}
	for (size_t cut = 0; cut < length; cut += 5)
	{
		Iqdb *db;

		io_crash_put(world.fs, "db", bytes, cut);
		assert_int_equal(iqdb_open("db", &world.config, &db, NULL), IQDB_ERR_CORRUPT);
	}
	io_crash_put(world.fs, "db", bytes, length);
	free(bytes);
	must_open(&world);
	compare(&world);
	world_close(&world);
}

static void
every_byte_flip_in_a_log_is_handled(void **state)
{
	World          world;
	unsigned char *bytes;
	size_t         length;

	(void) state;
	world_with_files(&world, 6);
	bytes = copy_file(world.fs, "db.wal", &length);
	for (size_t i = 0; i < length; i++)
	{
		Iqdb      *db;
		IqdbStatus status;

		bytes[i] ^= 0x04;
		io_crash_put(world.fs, "db.wal", bytes, length);
		bytes[i] ^= 0x04;
		status = iqdb_open("db", &world.config, &db, NULL);
		if (i < IQDB_LOG_HEADER_SIZE)
			assert_true(status == IQDB_ERR_CORRUPT || status == IQDB_ERR_VERSION);
		else
		{
			assert_int_equal(status, IQDB_OK);
			assert_sound(db);
			iqdb_abandon(db);
		}
	}
	for (size_t cut = 0; cut <= length; cut += 3)
	{
		Iqdb *db;

		io_crash_put(world.fs, "db.wal", bytes, cut);
		assert_int_equal(iqdb_open("db", &world.config, &db, NULL), IQDB_OK);
		assert_sound(db);
		iqdb_abandon(db);
	}
	free(bytes);
	world_drop(&world);
}

static void
a_garbage_file_is_not_a_database(void **state)
{
	World     world;
	Iqdb     *db;
	IqdbError err;
	char      text[2000];

	(void) state;
	memset(text, 't', sizeof(text));
	world_with_files(&world, 3);
	io_crash_put(world.fs, "db", text, sizeof(text));
	assert_int_equal(iqdb_open("db", &world.config, &db, &err), IQDB_ERR_CORRUPT);
	assert_string_equal(err.file, "db");
	io_crash_put(world.fs, "text", text, sizeof(text));
	assert_int_equal(iqdb_open("text", &world.config, &db, &err), IQDB_ERR_CORRUPT);
	io_crash_put(world.fs, "new.wal", text, sizeof(text));
	assert_int_equal(iqdb_open("new", &world.config, &db, &err), IQDB_ERR_CORRUPT);
	assert_string_equal(err.file, "new.wal");
	world_drop(&world);
}

static void
a_foreign_or_missing_log_is_noticed(void **state)
{
	World          world;
	World          other;
	unsigned char *bytes;
	size_t         length;
	Iqdb          *db;
	IqdbError      err;

	(void) state;
	world_with_files(&world, 10);
	/* a log of a database of the same shape, another history */
	world_open(&other, IQDB_METRIC_L2, true, SEED + 1);
	for (int i = 0; i < 30; i++)
		put(&other, iqdb_id_u64((uint64_t) i));
	iqdb_abandon(other.db);
	bytes = copy_file(other.fs, "db.wal", &length);
	io_crash_put(world.fs, "db.wal", bytes, length);
	assert_int_equal(iqdb_open("db", &world.config, &db, &err), IQDB_ERR_CORRUPT);
	assert_string_equal(err.file, "db.wal");
	free(bytes);
	/* a log that begins behind the snapshot */
	must_open(&other);
	assert_int_equal(iqdb_close(other.db, NULL), IQDB_OK);
	bytes = copy_file(other.fs, "db.wal", &length);
	io_crash_put(world.fs, "db.wal", bytes, length);
	assert_int_equal(iqdb_open("db", &world.config, &db, &err), IQDB_ERR_CORRUPT);
	free(bytes);
	/* the snapshot alone is good: it is what was there at the last checkpoint */
	bytes = copy_file(other.fs, "db", &length);
	io_crash_put(other.fs, "alone", bytes, length);
	assert_int_equal(iqdb_open("alone", &other.config, &db, &err), IQDB_OK);
	assert_int_equal(iqdb_len(db), 30);
	assert_int_equal(iqdb_close(db, NULL), IQDB_OK);
	free(bytes);
	/* a log alone is good only when it tells everything */
	bytes = copy_file(other.fs, "db.wal", &length);
	io_crash_put(other.fs, "lone.wal", bytes, length);
	assert_int_equal(iqdb_open("lone", &other.config, &db, &err), IQDB_ERR_CORRUPT);
	free(bytes);
	world_drop(&world);
	world_drop(&other);
}

static void
a_log_that_tells_everything_replaces_a_lost_snapshot(void **state)
{
	World          world;
	unsigned char *bytes;
	size_t         length;

	(void) state;
	world_open(&world, IQDB_METRIC_L2, true, SEED);
	for (int i = 0; i < 20; i++)
		random_operation(&world, 2);
	iqdb_abandon(world.db);
	bytes = copy_file(world.fs, "db.wal", &length);
	io_crash_destroy(world.fs);
	world.fs = io_crash_create();
	world.config.io = io_crash_io(world.fs);
	io_crash_put(world.fs, "db.wal", bytes, length);
	free(bytes);
	must_open(&world);
	compare(&world);
	reopen(&world, false);
	compare(&world);
	world_close(&world);
}

/* ---- files of format version 1, kept for ever ---- */

static void
copy_fixture(IoCrash *fs, const char *name, const char *target)
{
	char          path[100];
	unsigned char bytes[16384];
	size_t        length;
	FILE         *file;

	snprintf(path, sizeof(path), "test/fixtures/%s", name);
	file = fopen(path, "rb");
	if (file == NULL)
		fail_msg("%s cannot be opened; tests run from the top of the tree", path);
	length = fread(bytes, 1, sizeof(bytes), file);
	fclose(file);
	assert_in_range(length, 1, sizeof(bytes) - 1);
	io_crash_put(fs, target, bytes, length);
}

/*
 * Row i has the vector (i, i % 7, -i, 0.5); where i % 3 is not 0 five fields of metadata; where i % 4 is 1 the id "row-i".
 * Rows 0 to 39 were put, 0, 10, 20, 30 deleted, a snapshot made; then 40 to 49 put, 2 put again, 3 deleted.
 */
static void
files_of_version_1_are_read(void **state)
{
	static const char *const names[] = {"embedded-v1-none.iqdb", "embedded-v1-lz4.iqdb", "embedded-v1-zstd.iqdb"};

	(void) state;
	for (int n = 0; n < 3; n++)
	{
		World       world = {.config = small_config(IQDB_METRIC_L2)};
		char        log[40];
		float       query[4] = {0, 0, 0, 0.5f};
		IqdbResult *result;
		IqdbStats   stats;

		world.fs = io_crash_create();
		world.config.io = io_crash_io(world.fs);
		model_init(&world.model, DIM, IQDB_METRIC_L2);
		snprintf(log, sizeof(log), "%s.wal", names[n]);
		copy_fixture(world.fs, names[n], "db");
		copy_fixture(world.fs, log, "db.wal");
		must_open(&world);
		assert_sound(world.db);
		iqdb_stats(world.db, &stats);
		assert_int_equal(stats.position, 56);
		assert_int_equal(stats.snapshot_position, 44);
		assert_int_equal(iqdb_len(world.db), 45);
		assert_int_equal(iqdb_search(world.db, query, DIM, 45, &result, NULL), IQDB_OK);
		assert_int_equal(result->count, 45);
		/* 1, then 2, which is the newest, 4, 5, ... */
		assert_true(iqdb_id_equal(result->found[0].id, iqdb_id_bytes("row-1", 5)));
		assert_true(iqdb_id_equal(result->found[1].id, iqdb_id_u64(2)));
		assert_true(iqdb_id_equal(result->found[2].id, iqdb_id_u64(4)));
		assert_int_equal(iqdb_metadata_count(result->found[0].metadata, result->found[0].metadata_length), 5);
		iqdb_result_free(result);
		reopen(&world, true);
		assert_int_equal(iqdb_len(world.db), 45);
		world_close(&world);
	}
}

/* ---- a log frame that is valid and says nonsense ---- */

static void
rewrite_log(World *world, uint8_t type, const void *body, size_t length)
{
	unsigned char *bytes;
	size_t         size;
	size_t         used;
	IqdbLogHeader  header;
	bool           blank;
	IqdbLogPiece   piece = {body, length};
	uint64_t       hash = 0;
	uint64_t       position = 0;

	bytes = copy_file(world->fs, "db.wal", &size);
	assert_int_equal(iqdb_log_read_header(world->config.io, "db.wal", &header, &blank, NULL), IQDB_OK);
	position = header.start_position + 1;
	/* the hash of handle_format.h, by its definition */
	{
		uint64_t state = header.start_hash ^ ((uint64_t) type << 32 | iqdb_crc32c(0, body, length));

		hash = iqdb_splitmix64(&state);
	}
	bytes = realloc(bytes, IQDB_LOG_HEADER_SIZE + 1000);
	assert_int_equal(iqdb_log_encode_frame(iqdb_log_seed(&header), bytes + IQDB_LOG_HEADER_SIZE, 1000, position, hash,
										   type, &piece, 1, &used, NULL),
					 IQDB_OK);
	io_crash_put(world->fs, "db.wal", bytes, IQDB_LOG_HEADER_SIZE + used);
	free(bytes);
}

static void
a_frame_that_cannot_be_is_an_error_with_its_offset(void **state)
{
	World         world;
	Iqdb         *db;
	IqdbError     err;
	unsigned char body[9 + 8 + DIM * 4];

	(void) state;
	world_with_files(&world, 5);
	memset(body, 0, sizeof(body));
	body[9] = DIM;
	rewrite_log(&world, 1, body, sizeof(body));
	assert_int_equal(iqdb_open("db", &world.config, &db, &err), IQDB_OK);
	iqdb_abandon(db);
	/* not finite */
	body[9 + 8 + 3] = 0x7f;
	body[9 + 8 + 2] = 0x80;
	rewrite_log(&world, 1, body, sizeof(body));
	assert_int_equal(iqdb_open("db", &world.config, &db, &err), IQDB_ERR_CORRUPT);
	assert_string_equal(err.file, "db.wal");
	assert_int_equal(err.offset, IQDB_LOG_HEADER_SIZE);
	/* too short, too long, of no type, of another dimension */
	memset(body + 17, 0, DIM * 4);
	rewrite_log(&world, 1, body, sizeof(body) - 1);
	assert_int_equal(iqdb_open("db", &world.config, &db, &err), IQDB_ERR_CORRUPT);
	rewrite_log(&world, 2, body, sizeof(body));
	assert_int_equal(iqdb_open("db", &world.config, &db, &err), IQDB_ERR_CORRUPT);
	rewrite_log(&world, 4, body, sizeof(body));
	assert_int_equal(iqdb_open("db", &world.config, &db, &err), IQDB_ERR_CORRUPT);
	body[9] = DIM - 1;
	rewrite_log(&world, 1, body, sizeof(body));
	assert_int_equal(iqdb_open("db", &world.config, &db, &err), IQDB_ERR_CORRUPT);
	world_drop(&world);
}

/* ---- failures while running ---- */

static void
a_failed_sync_ends_writing_and_leaves_reading(void **state)
{
	World   world;
	IoFault fault;
	float   vector[DIM] = {1, 2, 3, 4};

	(void) state;
	world_open(&world, IQDB_METRIC_L2, true, SEED);
	iqdb_abandon(world.db);
	io_fault_init(&fault, io_crash_io(world.fs));
	world.config.io = &fault.io;
	must_open(&world);
	put(&world, iqdb_id_u64(1));
	io_fault_arm(&fault, IO_FAULT_BIT(IO_FAULT_SYNC), 1, EIO);
	assert_int_equal(iqdb_upsert(world.db, iqdb_id_u64(2), vector, DIM, NULL, 0, NULL), IQDB_ERR_IO);
	io_fault_disarm(&fault);
	assert_int_equal(iqdb_upsert(world.db, iqdb_id_u64(3), vector, DIM, NULL, 0, NULL), IQDB_ERR_STATE);
	assert_int_equal(iqdb_delete(world.db, iqdb_id_u64(1), NULL, NULL), IQDB_ERR_STATE);
	assert_int_equal(iqdb_flush(world.db, NULL), IQDB_ERR_STATE);
	compare(&world);
	iqdb_abandon(world.db);
	/* the write that failed was not acknowledged: it may be there or not */
	must_open(&world);
	assert_true(iqdb_len(world.db) == 1 || iqdb_len(world.db) == 2);
	assert_sound(world.db);
	world_close(&world);
}

static void
a_full_disk_fails_one_write_and_no_more(void **state)
{
	World   world;
	IoFault fault;
	float   vector[DIM] = {1, 2, 3, 4};

	(void) state;
	world_open(&world, IQDB_METRIC_L2, true, SEED);
	iqdb_abandon(world.db);
	io_fault_init(&fault, io_crash_io(world.fs));
	world.config.io = &fault.io;
	must_open(&world);
	put(&world, iqdb_id_u64(1));
	io_fault_arm(&fault, IO_FAULT_BIT(IO_FAULT_WRITE), 1, ENOSPC);
	assert_int_equal(iqdb_upsert(world.db, iqdb_id_u64(2), vector, DIM, NULL, 0, NULL), IQDB_ERR_NO_SPACE);
	io_fault_disarm(&fault);
	compare(&world);
	put(&world, iqdb_id_u64(3));
	compare(&world);
	/* a checkpoint that fails changes nothing either */
	io_fault_arm(&fault, IO_FAULT_BIT(IO_FAULT_WRITE), 1, ENOSPC);
	assert_int_equal(iqdb_flush(world.db, NULL), IQDB_ERR_NO_SPACE);
	io_fault_disarm(&fault);
	put(&world, iqdb_id_u64(4));
	reopen(&world, false);
	compare(&world);
	world_close(&world);
}

static void
a_write_that_cannot_be_applied_is_taken_back_from_the_log(void **state)
{
	World          world;
	IqdbStatus     status = IQDB_OK;
	float          vector[DIM] = {1, 2, 3, 4};
	uint64_t       id = 0;
	IqdbStats      before;
	IqdbStats      after;
	IqdbError      err;

	(void) state;
	world_open(&world, IQDB_METRIC_L2, true, SEED);
	iqdb_abandon(world.db);
	world.config.memory_max = 700 * 1024;
	world.config.fsync.mode = IQDB_FSYNC_NEVER;
	must_open(&world);
	while (status == IQDB_OK)
	{
		iqdb_stats(world.db, &before);
		status = iqdb_upsert(world.db, iqdb_id_u64(id++), vector, DIM, NULL, 0, &err);
	}
	assert_int_equal(status, IQDB_ERR_LIMIT);
	iqdb_stats(world.db, &after);
	assert_int_equal(after.log_bytes, before.log_bytes);
	assert_int_equal(after.position, before.position);
	assert_int_equal(iqdb_len(world.db), id - 1);
	/* what goes makes room again */
	for (uint64_t i = 0; i < 200; i++)
		assert_int_equal(iqdb_delete(world.db, iqdb_id_u64(i), NULL, NULL), IQDB_OK);
	assert_int_equal(iqdb_upsert(world.db, iqdb_id_u64(id), vector, DIM, NULL, 0, &err), IQDB_OK);
	world.config.memory_max = 0;
	reopen(&world, false);
	assert_int_equal(iqdb_len(world.db), id - 200);
	assert_sound(world.db);
	world_close(&world);
}

/* ---- batches ---- */

#define BATCH_MAX 40

/* Rows with ids that meet each other and those that are there; all in one write. */
static void
put_batch(World *world, size_t count)
{
	float          vectors[BATCH_MAX][DIM];
	unsigned char  ids[BATCH_MAX][8];
	unsigned char *metadata[BATCH_MAX];
	IqdbRow        rows[BATCH_MAX] = {{.metadata = NULL}};

	for (size_t i = 0; i < count; i++)
	{
		metadata[i] = model_random_metadata(&world->rng, &rows[i].metadata_length);
		model_random_vector(&world->rng, vectors[i], DIM);
		rows[i].id = model_random_id(&world->rng, 120, ids[i]);
		rows[i].vector = vectors[i];
		rows[i].metadata = metadata[i];
		model_put(&world->model, rows[i].id, vectors[i], metadata[i], rows[i].metadata_length);
	}
	assert_int_equal(iqdb_upsert_batch(world->db, rows, count, DIM, NULL), IQDB_OK);
	for (size_t i = 0; i < count; i++)
		free(metadata[i]);
}

static void
a_batch_is_one_write_in_the_order_given(void **state)
{
	(void) state;
	for (int engine = IQDB_ENGINE_FLAT; engine <= IQDB_ENGINE_IVF; engine++)
	{
		World     world;
		IqdbStats stats;

		world_open(&world, IQDB_METRIC_L2, true, SEED + (uint64_t) engine);
		iqdb_abandon(world.db);
		io_crash_destroy(world.fs);
		world.fs = io_crash_create();
		world.config.io = io_crash_io(world.fs);
		world.config.options = iqdb_index_options_default((IqdbEngineKind) engine, DIM, IQDB_METRIC_L2);
		must_open(&world);
		for (int i = 0; i < 30; i++)
		{
			put_batch(&world, 1 + iqdb_rng_below(&world.rng, BATCH_MAX));
			iqdb_stats(world.db, &stats);
			assert_int_equal(stats.position, i + 1);
		}
		assert_int_equal(iqdb_upsert_batch(world.db, NULL, 0, DIM, NULL), IQDB_OK);
		iqdb_stats(world.db, &stats);
		assert_int_equal(stats.position, 30);
		compare(&world);
		/* from the log alone, then from a snapshot; ties are in the same order */
		reopen(&world, false);
		compare(&world);
		put_batch(&world, BATCH_MAX);
		reopen(&world, true);
		compare(&world);
		assert_sound(world.db);
		world_close(&world);
	}
}

static void
assert_batch_refused(World *world, const IqdbRow *rows, size_t count, size_t dim, IqdbStatus expected)
{
	IqdbStats before;
	IqdbStats after;
	IqdbError err;

	iqdb_stats(world->db, &before);
	assert_int_equal(iqdb_upsert_batch(world->db, rows, count, dim, &err), expected);
	assert_int_equal(err.code, expected);
	iqdb_stats(world->db, &after);
	assert_int_equal(after.position, before.position);
	assert_int_equal(after.log_bytes, before.log_bytes);
	assert_int_equal(after.index.live, before.index.live);
	compare(world);
}

static void
a_batch_with_one_bad_row_is_refused_whole(void **state)
{
	const float   good[DIM] = {1, 2, 3, 4};
	const float   bad[DIM] = {1, 2, NAN, 4};
	unsigned char junk[3] = {9, 9, 9};
	World         world;
	IqdbRow       rows[3];

	(void) state;
	world_open(&world, IQDB_METRIC_L2, true, SEED);
	put_batch(&world, BATCH_MAX);
	for (int where = 0; where < 3; where++)
	{
		for (size_t i = 0; i < 3; i++)
			rows[i] = (IqdbRow){iqdb_id_u64(i), good, NULL, 0};
		assert_batch_refused(&world, rows, 3, DIM + 1, IQDB_ERR_DIMENSION);
		rows[where].vector = bad;
		assert_batch_refused(&world, rows, 3, DIM, IQDB_ERR_VECTOR);
		rows[where].vector = good;
		rows[where].id = iqdb_id_bytes("", 0);
		assert_batch_refused(&world, rows, 3, DIM, IQDB_ERR_CONFIG);
		rows[where].id = iqdb_id_u64(7);
		rows[where].metadata = junk;
		rows[where].metadata_length = sizeof(junk);
		assert_batch_refused(&world, rows, 3, DIM, IQDB_ERR_CORRUPT);
	}
	world_close(&world);
}

/* Metadata of so many bytes and some more. */
static unsigned char *
long_metadata(uint32_t length, size_t *length_out)
{
	char                *text = calloc(1, length);
	IqdbValue            value = iqdb_value_string(text, length);
	unsigned char       *bytes;
	IqdbMetadataBuilder  builder;

	assert_non_null(text);
	iqdb_metadata_builder_init(&builder, NULL);
	assert_int_equal(iqdb_metadata_put(&builder, "text", 4, &value, NULL), IQDB_OK);
	assert_int_equal(iqdb_metadata_finish(&builder, &bytes, length_out, NULL), IQDB_OK);
	iqdb_metadata_builder_free(&builder);
	free(text);
	return bytes;
}

static void
a_batch_longer_than_a_log_entry_is_refused(void **state)
{
	const float    vector[DIM] = {1, 2, 3, 4};
	World          world;
	IqdbRow        rows[5];
	size_t         length;
	unsigned char *metadata = long_metadata(60 * 1024 * 1024, &length);

	(void) state;
	world_open(&world, IQDB_METRIC_L2, true, SEED);
	put_batch(&world, BATCH_MAX);
	for (size_t i = 0; i < 5; i++)
		rows[i] = (IqdbRow){iqdb_id_u64(i), vector, metadata, length};
	assert_batch_refused(&world, rows, 5, DIM, IQDB_ERR_LIMIT);
	iqdb_free(NULL, metadata, length);
	world_close(&world);
}

/*
 * Where the limit of memory ends a batch in its middle, what was already stored of it is taken back, whether rows had slots of
 * their own or those of removed ones, and whatever they kept elsewhere. Half as many rows find room, again and again.
 */
static void
a_batch_without_room_leaves_nothing(void **state)
{
	enum { ROWS = 4000 };
	static float   vectors[ROWS][DIM];
	static IqdbRow rows[ROWS];
	static char    names[ROWS][24];
	World          world;
	size_t         length;
	unsigned char *metadata = long_metadata(300, &length);
	IqdbStatus     status = IQDB_OK;
	size_t         fits = 0;

	(void) state;
	world_open(&world, IQDB_METRIC_L2, true, SEED);
	iqdb_abandon(world.db);
	world.config.memory_max = 1000 * 1024;
	world.config.fsync.mode = IQDB_FSYNC_NEVER;
	must_open(&world);
	put_batch(&world, BATCH_MAX);
	for (size_t i = 0; i < ROWS; i++)
	{
		model_random_vector(&world.rng, vectors[i], DIM);
		(void) snprintf(names[i], sizeof(names[i]), "a row called %zu", i);
		rows[i] = (IqdbRow){iqdb_id_bytes(names[i], (uint32_t) strlen(names[i])), vectors[i], metadata, length};
	}
	for (int round = 0; round < 3; round++)
	{
		assert_batch_refused(&world, rows, ROWS, DIM, IQDB_ERR_LIMIT);
		for (size_t count = 16; status == IQDB_OK && count <= ROWS; count *= 2)
		{
			status = iqdb_upsert_batch(world.db, rows, count, DIM, NULL);
			fits = status == IQDB_OK ? count : fits;
			for (size_t i = 0; i < count; i++)
				assert_int_equal(iqdb_delete(world.db, rows[i].id, NULL, NULL), IQDB_OK);
		}
		assert_int_equal(status, IQDB_ERR_LIMIT);
		assert_true(fits >= 256);
		status = IQDB_OK;
		assert_sound(world.db);
		compare(&world);
	}
	reopen(&world, false);
	compare(&world);
	iqdb_free(NULL, metadata, length);
	world_close(&world);
}

/*
 * A log of format version 2 with batches, kept for ever; what is written today is the same to the last byte. With
 * IQDB_WRITE_FIXTURES set it is made anew: only right for a version that was never released.
 */
static void
a_log_with_batches_is_read_and_written(void **state)
{
	const char          *path = "test/fixtures/embedded-v2-batch.iqdb.wal";
	World                world;
	size_t               length;
	const unsigned char *today;
	unsigned char        kept[16384];
	FILE                *file;

	(void) state;
	world_open(&world, IQDB_METRIC_L2, true, SEED);
	put_batch(&world, 1);
	put_batch(&world, 12);
	put(&world, iqdb_id_u64(3));
	put_batch(&world, 5);
	today = io_crash_content(world.fs, "db.wal", &length);
	if (getenv("IQDB_WRITE_FIXTURES") != NULL)
	{
		file = fopen(path, "wb");
		assert_non_null(file);
		assert_int_equal(fwrite(today, 1, length, file), length);
		assert_int_equal(fclose(file), 0);
	}
	file = fopen(path, "rb");
	if (file == NULL)
		fail_msg("%s cannot be opened; tests run from the top of the tree", path);
	assert_int_equal(fread(kept, 1, sizeof(kept), file), length);
	fclose(file);
	assert_memory_equal(kept, today, length);
	iqdb_abandon(world.db);
	io_crash_destroy(world.fs);
	world.fs = io_crash_create();
	world.config.io = io_crash_io(world.fs);
	copy_fixture(world.fs, "embedded-v2-batch.iqdb.wal", "db.wal");
	must_open(&world);
	compare(&world);
	world_close(&world);
}

/* A batch whose count, sizes or rows do not agree is refused with its place, however right its checksum. */
static void
a_batch_that_cannot_be_is_an_error(void **state)
{
	enum { ROW = 9 + 8 + DIM * 4 };
	static const unsigned char counts[] = {0, 1, 2, 3, 255};
	World                      world;
	Iqdb                      *db;
	IqdbError                  err;
	unsigned char              body[4 + 2 * ROW] = {0};

	(void) state;
	world_with_files(&world, 5);
	for (int row = 0; row < 2; row++)
	{
		body[4 + row * ROW + 1] = (unsigned char) (row + 1);
		body[4 + row * ROW + 9] = DIM;
	}
	for (size_t i = 0; i < sizeof(counts); i++)
	{
		body[0] = counts[i];
		rewrite_log(&world, 3, body, sizeof(body));
		assert_int_equal(iqdb_open("db", &world.config, &db, &err), counts[i] == 2 ? IQDB_OK : IQDB_ERR_CORRUPT);
		if (counts[i] != 2)
		{
			assert_string_equal(err.file, "db.wal");
			assert_int_equal(err.offset, IQDB_LOG_HEADER_SIZE);
		}
		iqdb_abandon(db);
	}
	body[0] = 2;
	for (size_t length = 0; length < sizeof(body); length++)
	{
		rewrite_log(&world, 3, body, length);
		assert_int_equal(iqdb_open("db", &world.config, &db, &err), IQDB_ERR_CORRUPT);
	}
	world_drop(&world);
}

/* ---- loading, exact search, recall, cancel by call ---- */

#define LOAD_DIM 16
#define LOAD_ROWS 3000

static IqdbRow *
make_load(float **vectors_out, uint64_t seed)
{
	float   *vectors = malloc(sizeof(float) * LOAD_DIM * LOAD_ROWS);
	IqdbRow *rows = calloc(LOAD_ROWS, sizeof(*rows));
	IqdbRng  rng;

	assert_non_null(vectors);
	assert_non_null(rows);
	iqdb_rng_seed(&rng, seed);
	for (size_t i = 0; i < LOAD_ROWS * LOAD_DIM; i++)
		vectors[i] = (float) iqdb_rng_unit(&rng);
	for (size_t i = 0; i < LOAD_ROWS; i++)
		rows[i] = (IqdbRow){.id = iqdb_id_u64(i), .vector = vectors + i * LOAD_DIM};
	*vectors_out = vectors;
	return rows;
}

typedef struct Progress
{
	uint64_t calls;
	uint64_t done[2];  /* by phase */
	uint64_t stop_at;  /* calls after which it says no; 0: never */
} Progress;

static bool
note_progress(void *arg, IqdbLoadPhase phase, uint64_t done, uint64_t total)
{
	Progress *progress = arg;

	assert_int_equal(total, LOAD_ROWS);
	assert_true(done <= total);
	assert_true(done >= progress->done[phase]);
	progress->done[phase] = done;
	progress->calls++;
	return progress->stop_at == 0 || progress->calls < progress->stop_at;
}

static void
loading_by_threads_is_complete(void **state)
{
	float   *vectors;
	IqdbRow *rows = make_load(&vectors, SEED);

	(void) state;
	for (int engine = IQDB_ENGINE_FLAT; engine <= IQDB_ENGINE_IVF; engine++)
	{
		for (unsigned threads = 0; threads <= 3; threads += 3)
		{
			IqdbConfig       config = iqdb_config_default((IqdbEngineKind) engine, LOAD_DIM, IQDB_METRIC_L2);
			Progress         progress = {0};
			IqdbLoadSettings settings = {threads, note_progress, &progress};
			IqdbQuery        query = {.k = 10};
			IqdbRecall       recall;
			size_t           stored;
			IqdbStats        stats;
			Iqdb            *db;

			assert_int_equal(iqdb_open_in_memory(&config, &db, NULL), IQDB_OK);
			assert_int_equal(iqdb_load(db, rows, LOAD_ROWS, LOAD_DIM, &settings, &stored, NULL), IQDB_OK);
			assert_int_equal(stored, LOAD_ROWS);
			assert_int_equal(iqdb_len(db), LOAD_ROWS);
			assert_int_equal(progress.done[IQDB_LOAD_STORING], LOAD_ROWS);
			assert_int_equal(progress.done[IQDB_LOAD_LINKING], engine == IQDB_ENGINE_FLAT ? 0 : LOAD_ROWS);
			iqdb_stats(db, &stats);
			assert_int_equal(stats.index.engine.unlinked, 0);
			assert_true(engine != IQDB_ENGINE_IVF || stats.index.engine.trained);
			assert_sound(db);
			assert_int_equal(iqdb_recall(db, vectors, 60, LOAD_DIM, &query, &recall, NULL), IQDB_OK);
			assert_true(recall.mean >= (engine == IQDB_ENGINE_FLAT ? 1.0 : 0.8));
			/* the same rows again: replaced, in an index that there is */
			progress = (Progress){0};
			assert_int_equal(iqdb_load(db, rows, LOAD_ROWS / 2, LOAD_DIM, NULL, NULL, NULL), IQDB_OK);
			assert_int_equal(iqdb_len(db), LOAD_ROWS);
			assert_sound(db);
			assert_int_equal(iqdb_close(db, NULL), IQDB_OK);
		}
	}
	free(rows);
	free(vectors);
}

static void
a_load_that_ends_early_keeps_whole_writes(void **state)
{
	float     *vectors;
	IqdbRow   *rows = make_load(&vectors, SEED);
	const float bad[LOAD_DIM] = {NAN};
	IqdbConfig config = iqdb_config_default(IQDB_ENGINE_HNSW, LOAD_DIM, IQDB_METRIC_L2);

	(void) state;
	for (uint64_t stop_at = 1; stop_at < 40; stop_at += 3)
	{
		Progress         progress = {.stop_at = stop_at};
		IqdbLoadSettings settings = {2, note_progress, &progress};
		IqdbRow          one = {.id = iqdb_id_u64(5), .vector = vectors};
		size_t           stored;
		IqdbResult      *result;
		Iqdb            *db;

		assert_int_equal(iqdb_open_in_memory(&config, &db, NULL), IQDB_OK);
		assert_int_equal(iqdb_load(db, rows, LOAD_ROWS, LOAD_DIM, &settings, &stored, NULL), IQDB_ERR_CANCELLED);
		assert_int_equal(iqdb_len(db), stored);
		assert_true(stored == 0 || stored == LOAD_ROWS);
		/* linked or not, rows that are in are found */
		assert_int_equal(iqdb_search(db, vectors + 7 * LOAD_DIM, LOAD_DIM, 1, &result, NULL), IQDB_OK);
		assert_int_equal(result->count, stored > 0 ? 1 : 0);
		assert_true(stored == 0 || result->found[0].id.number == 7);
		iqdb_result_free(result);
		assert_int_equal(iqdb_optimize(db, NULL), IQDB_OK);
		one.vector = bad;
		assert_int_equal(iqdb_load(db, &one, 1, LOAD_DIM, NULL, &stored, NULL), IQDB_ERR_VECTOR);
		assert_int_equal(stored, 0);
		assert_sound(db);
		assert_int_equal(iqdb_close(db, NULL), IQDB_OK);
	}
	free(rows);
	free(vectors);
}

/* An exact search under every engine is the search of the flat one, ties and filters included. */
static void
an_exact_search_is_that_of_the_flat_engine(void **state)
{
	(void) state;
	for (int engine = IQDB_ENGINE_HNSW; engine <= IQDB_ENGINE_IVF; engine++)
	{
		World world;

		world_open(&world, IQDB_METRIC_L2, false, SEED);
		iqdb_abandon(world.db);
		world.config.options = iqdb_index_options_default((IqdbEngineKind) engine, DIM, IQDB_METRIC_L2);
		world.config.options.ef_search = 1;
		assert_int_equal(iqdb_open_in_memory(&world.config, &world.db, NULL), IQDB_OK);
		for (int i = 0; i < 2000; i++)
			random_operation(&world, 2);
		for (int i = 0; i < 60; i++)
		{
			IqdbFilter *filter = i % 3 == 0 ? NULL : model_random_filter(&world.rng);
			IqdbQuery   settings = {.k = 1 + iqdb_rng_below(&world.rng, 30), .filter = filter, .exact = true};
			float       query[DIM];
			size_t      count;
			ModelHit   *expected;
			IqdbResult *result;

			model_random_vector(&world.rng, query, DIM);
			expected = model_search(&world.model, query, filter, &count);
			assert_int_equal(iqdb_search_query(world.db, query, DIM, &settings, &result, NULL), IQDB_OK);
			assert_int_equal(result->count, count < settings.k ? count : settings.k);
			for (size_t j = 0; j < result->count; j++)
				assert_true(iqdb_id_equal(result->found[j].id, expected[j].row->id));
			iqdb_result_free(result);
			free(expected);
			iqdb_filter_free(NULL, filter);
		}
		world_close(&world);
	}
}

static void
recall_counts_what_is_missed(void **state)
{
	float     *vectors;
	IqdbRow   *rows = make_load(&vectors, SEED);
	IqdbConfig config = iqdb_config_default(IQDB_ENGINE_IVF, LOAD_DIM, IQDB_METRIC_L2);
	IqdbQuery  query = {.k = 20, .max_rows = 0};
	IqdbRecall all;
	IqdbRecall some;
	Iqdb      *db;

	(void) state;
	config.options.lists = 50;
	config.options.quantization = IQDB_QUANTIZATION_NONE;
	assert_int_equal(iqdb_open_in_memory(&config, &db, NULL), IQDB_OK);
	assert_int_equal(iqdb_recall(db, vectors, 1, LOAD_DIM, &query, &all, NULL), IQDB_OK);
	assert_true(all.mean == 1 && all.queries == 1 && all.k == 20);
	assert_int_equal(iqdb_load(db, rows, LOAD_ROWS, LOAD_DIM, NULL, NULL, NULL), IQDB_OK);
	query.probes = 50;
	assert_int_equal(iqdb_recall(db, vectors, 40, LOAD_DIM, &query, &all, NULL), IQDB_OK);
	assert_true(all.mean == 1 && all.min == 1 && all.max == 1);
	assert_true(all.p1 == 1 && all.below_half == 0 && all.at_zero == 0);
	query.probes = 1;
	query.max_rows = 30;
	assert_int_equal(iqdb_recall(db, vectors, 40, LOAD_DIM, &query, &some, NULL), IQDB_OK);
	assert_true(some.min < 1 && some.min <= some.mean && some.mean <= some.max && some.mean < 1);
	/* of 40 queries the worst hundredth is the worst one */
	assert_true(some.p1 == some.min && some.at_zero <= some.below_half && (some.at_zero > 0) == (some.min == 0) &&
				(some.below_half > 0) == (some.min < 0.5) && some.below_half * 0.5 <= 1 - some.mean);
	assert_true(some.min_us <= some.p50_us && some.p50_us <= some.p95_us && some.p95_us <= some.p99_us &&
				some.p99_us <= some.max_us && some.per_second > 0 && some.exact_us > 0);
	assert_int_equal(iqdb_recall(db, vectors, 0, LOAD_DIM, &query, &some, NULL), IQDB_ERR_CONFIG);
	query.k = 0;
	assert_int_equal(iqdb_recall(db, vectors, 1, LOAD_DIM, &query, &some, NULL), IQDB_ERR_CONFIG);
	query.k = 1;
	assert_int_equal(iqdb_recall(db, vectors, 1, LOAD_DIM - 1, &query, &some, NULL), IQDB_ERR_DIMENSION);
	assert_int_equal(iqdb_close(db, NULL), IQDB_OK);
	free(rows);
	free(vectors);
}

static bool
count_down(void *arg)
{
	int *left = arg;

	return (*left)-- <= 0;
}

/* One call is cancelled, those beside it are not; and the handle's own flag counts as before. */
static void
one_call_is_cancelled_by_itself(void **state)
{
	float     *vectors;
	IqdbRow   *rows = make_load(&vectors, SEED);
	IqdbConfig config = iqdb_config_default(IQDB_ENGINE_FLAT, LOAD_DIM, IQDB_METRIC_L2);

	(void) state;
	for (int engine = IQDB_ENGINE_FLAT; engine <= IQDB_ENGINE_IVF; engine++)
	{
		IqdbResult *result;
		Iqdb       *db;

		config.options = iqdb_index_options_default((IqdbEngineKind) engine, LOAD_DIM, IQDB_METRIC_L2);
		assert_int_equal(iqdb_open_in_memory(&config, &db, NULL), IQDB_OK);
		assert_int_equal(iqdb_load(db, rows, LOAD_ROWS, LOAD_DIM, NULL, NULL, NULL), IQDB_OK);
		for (int exact = 0; exact < 2; exact++)
		{
			int       none = 0;
			int       many = 1000000;
			IqdbQuery settings = {.k = LOAD_ROWS, .exact = exact == 1, .cancelled = count_down, .cancel_arg = &none};

			assert_int_equal(iqdb_search_query(db, vectors, LOAD_DIM, &settings, &result, NULL), IQDB_ERR_CANCELLED);
			assert_null(result);
			settings.cancel_arg = &many;
			assert_int_equal(iqdb_search_query(db, vectors, LOAD_DIM, &settings, &result, NULL), IQDB_OK);
			assert_true(many < 1000000);
			assert_int_equal(result->count, LOAD_ROWS);
			iqdb_result_free(result);
		}
		assert_int_equal(iqdb_close(db, NULL), IQDB_OK);
	}
	free(rows);
	free(vectors);
}

/* ---- a limit of memory that was enough once ---- */

#define TIGHT_DIM 32
#define TIGHT_ROWS 400
#define TIGHT_ROUNDS 16

/* Replaces all rows over and over. checkpoint_at: the round before which a snapshot is written; -1 = none. */
static IqdbStatus
replace_all(World *world, int checkpoint_at)
{
	for (int round = 0; round < TIGHT_ROUNDS; round++)
	{
		if (round == checkpoint_at)
			assert_int_equal(iqdb_flush(world->db, NULL), IQDB_OK);
		for (uint64_t id = 0; id < TIGHT_ROWS; id++)
		{
			float          vector[TIGHT_DIM];
			size_t         length;
			unsigned char *metadata = model_random_metadata(&world->rng, &length);
			IqdbStatus     status;

			model_random_vector(&world->rng, vector, TIGHT_DIM);
			status = iqdb_upsert(world->db, iqdb_id_u64(id), vector, TIGHT_DIM, metadata, length, NULL);
			free(metadata);
			if (status != IQDB_OK)
				return status;
		}
	}
	return IQDB_OK;
}

/*
 * Under the least limit that the writes can be done with, to some per cent, the log of them can be replayed: it tells of many
 * more rows than memory holds.
 */
static void
check_reopening_under_limit(IqdbEngineKind engine, IqdbQuantization quantization, int checkpoint_at)
{
	World      world;
	IqdbStatus status = IQDB_ERR_LIMIT;
	int        attempts = 0;

	memset(&world, 0, sizeof(world));
	world.config = iqdb_config_default(engine, TIGHT_DIM, IQDB_METRIC_L2);
	world.config.options.quantization = quantization;
	world.config.options.ef_construction = 20;
	world.config.options.m = 8;
	world.config.fsync.mode = IQDB_FSYNC_NEVER;
	world.config.checkpoint_bytes = 0;
	world.config.memory_max = 192 * 1024;
	for (; status == IQDB_ERR_LIMIT; attempts++)
	{
		world.fs = io_crash_create();
		world.config.io = io_crash_io(world.fs);
		world.config.memory_max += world.config.memory_max / 16;
		iqdb_rng_seed(&world.rng, SEED);
		must_open(&world);
		status = replace_all(&world, checkpoint_at);
		if (status != IQDB_OK)
		{
			assert_int_equal(status, IQDB_ERR_LIMIT);
			iqdb_abandon(world.db);
			io_crash_destroy(world.fs);
		}
	}
	assert_true(attempts > 1);
	print_message("engine %d, quantization %d, snapshot before round %d: limit %llu\n", (int) engine, (int) quantization,
				  checkpoint_at, (unsigned long long) world.config.memory_max);
	reopen(&world, false);
	assert_int_equal(iqdb_len(world.db), TIGHT_ROWS);
	assert_sound(world.db);
	assert_int_equal(iqdb_close(world.db, NULL), IQDB_OK);
	io_crash_destroy(world.fs);
}

static void
what_had_room_once_can_be_opened_under_the_same_limit(void **state)
{
	(void) state;
	for (int checkpoint_at = -1; checkpoint_at <= 11; checkpoint_at += 12)
	{
		check_reopening_under_limit(IQDB_ENGINE_FLAT, IQDB_QUANTIZATION_NONE, checkpoint_at);
		check_reopening_under_limit(IQDB_ENGINE_HNSW, IQDB_QUANTIZATION_NONE, checkpoint_at);
		check_reopening_under_limit(IQDB_ENGINE_HNSW, IQDB_QUANTIZATION_SQ8, checkpoint_at);
		check_reopening_under_limit(IQDB_ENGINE_IVF, IQDB_QUANTIZATION_SQ8, checkpoint_at);
	}
}

/* ---- engines that approximate ---- */

#define RECALL_ROWS 400
#define RECALL_DIM 16
#define RECALL_K 10
#define RECALL_QUERIES 40

typedef struct Recall
{
	Iqdb   *db;
	Model   model;
	IqdbRng rng;
} Recall;

static void
recall_put(Recall *recall, uint64_t id)
{
	float vector[RECALL_DIM];

	for (size_t i = 0; i < RECALL_DIM; i++)
		vector[i] = (float) iqdb_rng_unit(&recall->rng) - 0.5f;
	assert_int_equal(iqdb_upsert(recall->db, iqdb_id_u64(id), vector, RECALL_DIM, NULL, 0, NULL), IQDB_OK);
	model_put(&recall->model, iqdb_id_u64(id), vector, NULL, 0);
}

/* Share of the true nearest that are found; every search gives k rows while there are k. */
static double
measure_recall(Recall *recall)
{
	size_t hit = 0;

	for (int q = 0; q < RECALL_QUERIES; q++)
	{
		float       query[RECALL_DIM];
		IqdbQuery   settings = {.k = RECALL_K, .ef = 128, .probes = 16};
		IqdbResult *result;
		ModelHit   *expected;
		size_t      count;

		for (size_t i = 0; i < RECALL_DIM; i++)
			query[i] = (float) iqdb_rng_unit(&recall->rng) - 0.5f;
		expected = model_search(&recall->model, query, NULL, &count);
		assert_int_equal(iqdb_search_query(recall->db, query, RECALL_DIM, &settings, &result, NULL), IQDB_OK);
		assert_int_equal(result->count, count < RECALL_K ? count : RECALL_K);
		for (size_t i = 0; i < result->count; i++)
		{
			for (size_t j = 0; j < RECALL_K; j++)
				hit += iqdb_id_equal(result->found[i].id, expected[j].row->id);
		}
		iqdb_result_free(result);
		free(expected);
	}
	return (double) hit / (RECALL_QUERIES * RECALL_K);
}

static void
recall_of(IqdbEngineKind engine, IqdbMetric metric, IqdbQuantization quantization, double floor)
{
	IoCrash   *fs = io_crash_create();
	IqdbConfig config = iqdb_config_default(engine, RECALL_DIM, metric);
	Recall     recall;

	config.options.quantization = quantization;
	config.memory_max = UINT64_C(256) * 1024 * 1024;
	config.io = io_crash_io(fs);
	iqdb_rng_seed(&recall.rng, SEED);
	model_init(&recall.model, RECALL_DIM, metric);
	assert_int_equal(iqdb_open("db", &config, &recall.db, NULL), IQDB_OK);
	for (uint64_t id = 0; id < RECALL_ROWS; id++)
		recall_put(&recall, id);
	assert_true(measure_recall(&recall) >= floor);
	/* half of it replaced, a quarter deleted: what is gone does not crowd out what is there */
	for (uint64_t id = 0; id < RECALL_ROWS / 2; id++)
		recall_put(&recall, id);
	for (uint64_t id = 0; id < RECALL_ROWS; id += 4)
	{
		assert_int_equal(iqdb_delete(recall.db, iqdb_id_u64(id), NULL, NULL), IQDB_OK);
		model_remove(&recall.model, iqdb_id_u64(id));
	}
	assert_true(measure_recall(&recall) >= floor);
	assert_int_equal(iqdb_optimize(recall.db, NULL), IQDB_OK);
	assert_true(measure_recall(&recall) >= floor);
	assert_sound(recall.db);
	/* from the snapshot, and from the log */
	for (int round = 0; round < 2; round++)
	{
		if (round == 0)
			assert_int_equal(iqdb_close(recall.db, NULL), IQDB_OK);
		else
			iqdb_abandon(recall.db);
		assert_int_equal(iqdb_open("db", &config, &recall.db, NULL), IQDB_OK);
		assert_int_equal(iqdb_len(recall.db), recall.model.count);
		assert_true(measure_recall(&recall) >= floor);
		assert_sound(recall.db);
		for (uint64_t id = 1000; id < 1050; id++)
			recall_put(&recall, id);
	}
	assert_int_equal(iqdb_close(recall.db, NULL), IQDB_OK);
	model_free(&recall.model);
	io_crash_destroy(fs);
}

static void
recall_at_10_meets_its_floor(void **state)
{
	(void) state;
	recall_of(IQDB_ENGINE_FLAT, IQDB_METRIC_L2, IQDB_QUANTIZATION_NONE, 1.0);
	for (int metric = 0; metric < IQDB_METRIC_HAMMING; metric++)
	{
		IqdbQuantization codes = metric <= IQDB_METRIC_L2 ? IQDB_QUANTIZATION_SQ8 : IQDB_QUANTIZATION_NONE;

		if (iqdb_engine_get(IQDB_ENGINE_HNSW) != NULL)
		{
			recall_of(IQDB_ENGINE_HNSW, (IqdbMetric) metric, codes, 0.9);
			if (metric <= IQDB_METRIC_L2)
				recall_of(IQDB_ENGINE_HNSW, (IqdbMetric) metric, IQDB_QUANTIZATION_BQ, 0.9);
		}
		if (iqdb_engine_get(IQDB_ENGINE_IVF) != NULL)
			recall_of(IQDB_ENGINE_IVF, (IqdbMetric) metric, codes, 0.9);
	}
}

/* Same rows, each once, nearest first, true distances; the very order when everything is asked for. */
static void
compare_approximate(World *world, size_t k, const IqdbFilter *filter)
{
	float       query[DIM];
	size_t      count;
	ModelHit   *expected;
	IqdbResult *result;

	model_random_vector(&world->rng, query, DIM);
	expected = model_search(&world->model, query, filter, &count);
	assert_int_equal(iqdb_search_with(world->db, query, DIM, k, filter, &result, NULL), IQDB_OK);
	assert_int_equal(result->count, count < k ? count : k);
	if (k >= count)
		assert_result(&world->model, result, expected, count);
	for (size_t i = 0; i < result->count; i++)
	{
		const ModelRow *row = model_find(&world->model, result->found[i].id);
		float           key;

		assert_non_null(row);
		key = model_key(world->model.metric, query, row->vector, DIM);
		assert_true(result->found[i].distance == (float) iqdb_metric_distance(world->model.metric, key));
		assert_true(i == 0 || result->found[i - 1].distance <= result->found[i].distance);
		assert_true(filter == NULL || iqdb_filter_matches(filter, row->metadata, row->metadata_length));
	}
	iqdb_result_free(result);
	free(expected);
}

static void
keeps_every_row(IqdbEngineKind kind, IqdbMetric metric, IqdbQuantization quantization)
{
	World world;

	world_open(&world, metric, true, SEED + (uint64_t) metric);
	assert_int_equal(iqdb_close(world.db, NULL), IQDB_OK);
	io_crash_destroy(world.fs);
	world.fs = io_crash_create();
	world.config = iqdb_config_default(kind, DIM, metric);
	world.config.options.quantization = quantization;
	world.config.memory_max = UINT64_C(256) * 1024 * 1024;
	world.config.io = io_crash_io(world.fs);
	world.config.checkpoint_bytes = 5000;
	must_open(&world);
	for (int batch = 0; batch < 8; batch++)
	{
		IqdbFilter *filter = model_random_filter(&world.rng);

		for (int i = 0; i < 60; i++)
			random_operation(&world, batch % 4 == 3 ? 8 : 3);
		if (batch % 3 == 1)
			assert_int_equal(iqdb_optimize(world.db, NULL), IQDB_OK);
		if (batch % 2 == 1)
			reopen(&world, batch % 4 == 1);
		assert_sound(world.db);
		compare_rows(&world);
		compare_approximate(&world, 7, NULL);
		compare_approximate(&world, 7, filter);
		compare_approximate(&world, SIZE_MAX, NULL);
		compare_approximate(&world, SIZE_MAX, filter);
		iqdb_filter_free(&iqdb_allocator_libc, filter);
	}
	world_close(&world);
}

static void
every_engine_keeps_every_row(void **state)
{
	(void) state;
	for (uint32_t kind = IQDB_ENGINE_HNSW; kind <= IQDB_ENGINE_IVF; kind++)
	{
		for (uint32_t metric = 0; iqdb_engine_get(kind) != NULL && metric < NUMBER_METRICS; metric++)
		{
			IqdbIndexOptions options = iqdb_index_options_default((IqdbEngineKind) kind, DIM, (IqdbMetric) metric);

			keeps_every_row((IqdbEngineKind) kind, (IqdbMetric) metric, (IqdbQuantization) options.quantization);
			if (kind == IQDB_ENGINE_HNSW && options.quantization == IQDB_QUANTIZATION_SQ8)
				keeps_every_row(IQDB_ENGINE_HNSW, (IqdbMetric) metric, IQDB_QUANTIZATION_BQ);
		}
	}
}

static void
stored_engine_and_options_win_at_reopening(void **state)
{
	World world;

	(void) state;
	if (iqdb_engine_get(IQDB_ENGINE_HNSW) == NULL)
		skip();
	world_open(&world, IQDB_METRIC_L2, true, SEED);
	assert_int_equal(iqdb_close(world.db, NULL), IQDB_OK);
	io_crash_destroy(world.fs);
	world.fs = io_crash_create();
	world.config.io = io_crash_io(world.fs);
	world.config.options = iqdb_index_options_default(IQDB_ENGINE_HNSW, DIM, IQDB_METRIC_L2);
	world.config.options.m = 7;
	world.config.options.seed = 99;
	world.config.options.ef_search = 33;
	must_open(&world);
	for (int i = 0; i < 50; i++)
		random_operation(&world, 1);
	for (int round = 0; round < 3; round++)
	{
		if (round == 1)
			iqdb_abandon(world.db);
		else
			assert_int_equal(iqdb_close(world.db, NULL), IQDB_OK);
		world.config.options = iqdb_index_options_default(round == 0 ? IQDB_ENGINE_FLAT : IQDB_ENGINE_HNSW, DIM,
														  IQDB_METRIC_L2);
		must_open(&world);
		assert_int_equal(iqdb_options(world.db)->engine, IQDB_ENGINE_HNSW);
		assert_int_equal(iqdb_options(world.db)->m, 7);
		assert_int_equal(iqdb_options(world.db)->seed, 99);
		assert_int_equal(iqdb_options(world.db)->ef_search, 33);
		compare_rows(&world);
		for (int i = 0; i < 10; i++)
			random_operation(&world, 1);
	}
	world_close(&world);
}

/* ---- the timer ---- */

static void
sleep_ms(long milliseconds)
{
	struct timespec pause = {milliseconds / 1000, milliseconds % 1000 * 1000000};

	nanosleep(&pause, NULL);
}

static void
periodic_syncs_an_idle_tail(void **state)
{
	World     world;
	IqdbStats stats;
	int       waited = 0;

	(void) state;
	world_open(&world, IQDB_METRIC_L2, true, SEED);
	iqdb_abandon(world.db);
	world.config.fsync = (IqdbFsyncPolicy){IQDB_FSYNC_PERIODIC, 20};
	must_open(&world);
	for (int i = 0; i < 5; i++)
		put(&world, iqdb_id_u64((uint64_t) i));
	/* nothing is written any more: the timer alone makes it durable */
	do
	{
		sleep_ms(5);
		iqdb_stats(world.db, &stats);
	} while (stats.log_synced_bytes < stats.log_bytes && ++waited < 1000);
	assert_int_equal(stats.log_synced_bytes, stats.log_bytes);
	iqdb_abandon(world.db);
	io_crash_crash_dropping_all(world.fs);
	must_open(&world);
	compare(&world);
	world_close(&world);
}

static void
a_long_interval_does_not_delay_closing(void **state)
{
	World world;

	(void) state;
	world_open(&world, IQDB_METRIC_L2, true, SEED);
	iqdb_abandon(world.db);
	world.config.fsync = (IqdbFsyncPolicy){IQDB_FSYNC_PERIODIC, 100000};
	must_open(&world);
	put(&world, iqdb_id_u64(1));
	put(&world, iqdb_id_u64(2));
	reopen(&world, false);
	put(&world, iqdb_id_u64(3));
	reopen(&world, true);
	compare(&world);
	world_close(&world);
}

/* ---- threads ---- */

#define READERS 3
#define THREAD_WRITES 1500

typedef struct Shared
{
	Iqdb          *db;
	_Atomic bool   stop;
	_Atomic size_t failures;
	_Atomic size_t searches;
} Shared;

/*
 * The writer keeps one row per id at all times and gives both components the same number: a reader that sees a row twice,
 * none, or half of a row, fails.
 */
static void *
reader_main(void *arg)
{
	Shared *shared = arg;
	float   query[DIM] = {0};
	bool    seen[8];

	while (!shared->stop)
	{
		IqdbResult *result;
		IqdbRecord *record;

		memset(seen, 0, sizeof(seen));
		if (iqdb_search(shared->db, query, DIM, 100, &result, NULL) != IQDB_OK || result->count != 8)
		{
			shared->failures++;
			continue;
		}
		for (size_t i = 0; i < result->count; i++)
		{
			uint64_t id = result->found[i].id.number;

			shared->failures += id >= 8 || seen[id];
			seen[id < 8 ? id : 0] = true;
		}
		iqdb_result_free(result);
		if (iqdb_get(shared->db, iqdb_id_u64(3), &record, NULL) != IQDB_OK || record == NULL)
			shared->failures++;
		else
		{
			const float *vector = record->vector;

			shared->failures += vector[0] != vector[DIM - 1] || record->metadata_length < 4;
			iqdb_record_free(record);
		}
		shared->searches++;
	}
	return NULL;
}

static void
write_row(Iqdb *db, uint64_t id, float number, uint32_t note)
{
	IqdbMetadataBuilder builder;
	IqdbValue           value;
	unsigned char      *metadata;
	size_t              length;
	char                text[300];
	float               vector[DIM] = {number, 0, 0, number};

	memset(text, 'x', sizeof(text));
	value = iqdb_value_string(text, note);
	iqdb_metadata_builder_init(&builder, &iqdb_allocator_libc);
	assert_int_equal(iqdb_metadata_put(&builder, "t", 1, &value, NULL), IQDB_OK);
	assert_int_equal(iqdb_metadata_finish(&builder, &metadata, &length, NULL), IQDB_OK);
	iqdb_metadata_builder_free(&builder);
	assert_int_equal(iqdb_upsert(db, iqdb_id_u64(id), vector, DIM, metadata, length, NULL), IQDB_OK);
	iqdb_free(&iqdb_allocator_libc, metadata, length);
}

static void
readers_and_a_writer(IqdbEngineKind engine)
{
	World     world;
	Shared    shared = {0};
	pthread_t readers[READERS];

	world_open(&world, IQDB_METRIC_L2, true, SEED);
	iqdb_abandon(world.db);
	io_crash_destroy(world.fs);
	world.fs = io_crash_create();
	world.config.io = io_crash_io(world.fs);
	world.config.options = iqdb_index_options_default(engine, DIM, IQDB_METRIC_L2);
	world.config.use_cache = engine == IQDB_ENGINE_FLAT;
	world.config.fsync = (IqdbFsyncPolicy){IQDB_FSYNC_PERIODIC, 3};
	world.config.checkpoint_bytes = 40000;
	must_open(&world);
	shared.db = world.db;
	for (uint64_t id = 0; id < 8; id++)
		write_row(world.db, id, 1.0f, 1);
	for (int i = 0; i < READERS; i++)
		assert_int_equal(pthread_create(&readers[i], NULL, reader_main, &shared), 0);
	/* on a busy machine the readers may be late */
	for (uint64_t i = 0; i < THREAD_WRITES || (shared.searches < 50 && i < 1000 * THREAD_WRITES); i++)
	{
		write_row(world.db, i % 8, (float) (i % 100), (uint32_t) (i * 7 % 300));
		if (i % 400 == 399)
			assert_int_equal(iqdb_optimize(world.db, NULL), IQDB_OK);
		if (i % 500 == 499)
			assert_sound(world.db);
	}
	shared.stop = true;
	for (int i = 0; i < READERS; i++)
		pthread_join(readers[i], NULL);
	assert_int_equal(shared.failures, 0);
	assert_true(shared.searches >= 50);
	assert_sound(world.db);
	assert_int_equal(iqdb_close(world.db, NULL), IQDB_OK);
	must_open(&world);
	assert_int_equal(iqdb_len(world.db), 8);
	world_close(&world);
}

static void
many_readers_and_a_writer(void **state)
{
	(void) state;
	for (uint32_t kind = 0; kind < IQDB_ENGINE_COUNT; kind++)
	{
		if (iqdb_engine_get(kind) != NULL)
			readers_and_a_writer((IqdbEngineKind) kind);
	}
}

typedef struct WriterArg
{
	Iqdb    *db;
	uint64_t first;
} WriterArg;

static void *
writer_main(void *arg)
{
	WriterArg *writer = arg;

	for (uint64_t i = 0; i < 300; i++)
	{
		float vector[DIM] = {(float) i, 1, 1, 1};

		if (iqdb_upsert(writer->db, iqdb_id_u64(writer->first + i % 200), vector, DIM, NULL, 0, NULL) != IQDB_OK)
			return writer;
		if (i % 3 == 0 && iqdb_delete(writer->db, iqdb_id_u64(writer->first + i % 200), NULL, NULL) != IQDB_OK)
			return writer;
	}
	return NULL;
}

static void
many_writers_keep_one_order(void **state)
{
	World     world;
	pthread_t threads[3];
	WriterArg args[3];
	uint64_t  len;

	(void) state;
	world_open(&world, IQDB_METRIC_L2, true, SEED);
	for (uint64_t i = 0; i < 3; i++)
	{
		args[i] = (WriterArg){world.db, i * 1000};
		assert_int_equal(pthread_create(&threads[i], NULL, writer_main, &args[i]), 0);
	}
	for (int i = 0; i < 3; i++)
	{
		void *failed;

		pthread_join(threads[i], &failed);
		assert_null(failed);
	}
	assert_sound(world.db);
	len = iqdb_len(world.db);
	reopen(&world, false);
	assert_int_equal(iqdb_len(world.db), len);
	assert_sound(world.db);
	world_close(&world);
}

/* ---- memory ---- */

static void
nothing_leaks_and_sizes_are_true(void **state)
{
	AllocFault fault;
	World      world;

	(void) state;
	alloc_fault_init(&fault);
	world_open(&world, IQDB_METRIC_L2, true, SEED);
	iqdb_abandon(world.db);
	world.config.allocator = &fault.allocator;
	must_open(&world);
	for (int i = 0; i < 200; i++)
		random_operation(&world, 3);
	compare(&world);
	reopen(&world, true);
	compare(&world);
	world_close(&world);
	assert_int_equal(fault.blocks, 0);
	assert_int_equal(fault.bytes, 0);
}

static void
a_search_allocates_the_same_whatever_the_size(void **state)
{
	AllocFault  fault;
	World       world;
	float       query[DIM] = {0};
	IqdbResult *result;
	uint64_t    calls[2];

	(void) state;
	alloc_fault_init(&fault);
	world_open(&world, IQDB_METRIC_L2, false, SEED);
	assert_int_equal(iqdb_close(world.db, NULL), IQDB_OK);
	world.config.allocator = &fault.allocator;
	assert_int_equal(iqdb_open_in_memory(&world.config, &world.db, NULL), IQDB_OK);
	for (int round = 0; round < 2; round++)
	{
		for (uint64_t i = 0; i < (round == 0 ? 128u : 8192u); i++)
			assert_int_equal(iqdb_upsert(world.db, iqdb_id_u64(i), query, DIM, NULL, 0, NULL), IQDB_OK);
		calls[round] = fault.calls;
		assert_int_equal(iqdb_search(world.db, query, DIM, 10, &result, NULL), IQDB_OK);
		calls[round] = fault.calls - calls[round];
		iqdb_result_free(result);
	}
	assert_int_equal(calls[0], calls[1]);
	assert_true(calls[0] <= 3);
	world_close(&world);
}

static void
fifty_thousand_rows_within_budget(void **state)
{
	World       world;
	float       vector[DIM];
	IqdbResult *result;

	(void) state;
	world_open(&world, IQDB_METRIC_L2, false, SEED);
	for (uint64_t round = 0; round < 2; round++)
	{
		for (uint64_t i = 0; i < 50000; i++)
		{
			model_random_vector(&world.rng, vector, DIM);
			assert_int_equal(iqdb_upsert(world.db, iqdb_id_u64(i), vector, DIM, NULL, 0, NULL), IQDB_OK);
		}
		for (uint64_t i = 0; i < 50000; i += 2)
			assert_int_equal(iqdb_delete(world.db, iqdb_id_u64(i), NULL, NULL), IQDB_OK);
		assert_int_equal(iqdb_len(world.db), 25000);
	}
	assert_int_equal(iqdb_search(world.db, vector, DIM, SIZE_MAX, &result, NULL), IQDB_OK);
	assert_int_equal(result->count, 25000);
	iqdb_result_free(result);
	assert_sound(world.db);
	world_close(&world);
}

/* ---- address space ---- */

/* Pages of address space that this process has mapped. */
static uint64_t
pages_mapped(void)
{
	FILE              *file = fopen("/proc/self/statm", "r");
	unsigned long long pages = 0;

	if (file == NULL || fscanf(file, "%llu", &pages) != 1)
		pages = 0;
	if (file != NULL)
		fclose(file);
	return pages;
}

#define MANY_HANDLES 2000
#define ROOMY_ROWS 10000
#define ROOMY_DIM 32

static void
put_numbered(Iqdb *db, uint64_t id)
{
	float vector[ROOMY_DIM] = {(float) id};

	assert_int_equal(iqdb_upsert(db, iqdb_id_u64(id), vector, ROOMY_DIM, NULL, 0, NULL), IQDB_OK);
}

static void
assert_finds(Iqdb *db, uint64_t id)
{
	float       query[ROOMY_DIM] = {(float) id};
	IqdbResult *result;

	assert_int_equal(iqdb_search(db, query, ROOMY_DIM, 1, &result, NULL), IQDB_OK);
	assert_int_equal(result->count, 1);
	assert_int_equal(result->found[0].id.number, id);
	iqdb_result_free(result);
}

/* Address space is reserved by need, and more when it is needed. */
static void
many_handles_take_little_address_space(void **state)
{
	Iqdb   **many = calloc(MANY_HANDLES, sizeof(*many));
	uint64_t before = pages_mapped();
	uint64_t taken;

	(void) state;
	for (int i = 0; i < MANY_HANDLES; i++)
	{
		IqdbConfig config = iqdb_config_default((IqdbEngineKind) (i % 3), ROOMY_DIM, IQDB_METRIC_L2);

		assert_int_equal(iqdb_open_in_memory(&config, &many[i], NULL), IQDB_OK);
		put_numbered(many[i], (uint64_t) i);
	}
	taken = (pages_mapped() - before) * (uint64_t) sysconf(_SC_PAGESIZE);
	assert_in_range(taken / 1024 / 1024, 0, 8 * 1024);
	for (int i = 0; i < MANY_HANDLES; i++)
	{
		/* beyond the reserve each began with; a graph's rows cost more time */
		uint64_t rows = i % 100 >= 3 ? 0 : i % 3 == IQDB_ENGINE_HNSW ? 1500 : ROOMY_ROWS;

		for (uint64_t id = 100000; id < 100000 + rows; id++)
			put_numbered(many[i], id);
		assert_int_equal(iqdb_len(many[i]), rows + 1);
		assert_finds(many[i], (uint64_t) i);
		if (rows > 0)
		{
			assert_finds(many[i], 100000 + rows - 1);
			assert_sound(many[i]);
		}
		assert_int_equal(iqdb_close(many[i], NULL), IQDB_OK);
	}
	free(many);
}

typedef struct Moving
{
	Iqdb       *db;
	atomic_bool stop;
	atomic_int  failures;
	uint64_t    first; /* of a writer's rows */
} Moving;

#define MOVING_ROWS 40000

static void *
moving_writer(void *arg)
{
	Moving *moving = arg;

	for (uint64_t id = moving->first; id < moving->first + MOVING_ROWS; id++)
	{
		float vector[ROOMY_DIM] = {(float) id};

		moving->failures += iqdb_upsert(moving->db, iqdb_id_u64(id), vector, ROOMY_DIM, NULL, 0, NULL) != IQDB_OK;
	}
	return NULL;
}

static void *
moving_reader(void *arg)
{
	Moving *moving = arg;

	while (!moving->stop)
	{
		float       query[ROOMY_DIM] = {0};
		IqdbResult *result = NULL;
		IqdbRecord *record = NULL;

		moving->failures += iqdb_search(moving->db, query, ROOMY_DIM, 1, &result, NULL) != IQDB_OK ||
			result->count != 1 || result->found[0].id.number != 0;
		moving->failures += iqdb_get(moving->db, iqdb_id_u64(0), &record, NULL) != IQDB_OK || record == NULL;
		moving->failures += iqdb_is_empty(moving->db) || iqdb_options(moving->db)->dimension != ROOMY_DIM;
		iqdb_result_free(result);
		iqdb_record_free(record);
	}
	return NULL;
}

/* The arena moves several times under those who search, with a cache and without, and under graph work of others. */
static void
moves_disturb_nobody(void **state)
{
	static const IqdbEngineKind kinds[] = {IQDB_ENGINE_FLAT, IQDB_ENGINE_IVF};

	(void) state;
	for (int which = 0; which < 2; which++)
	{
		IqdbConfig config = iqdb_config_default(kinds[which], ROOMY_DIM, IQDB_METRIC_L2);
		Iqdb      *db;
		Moving     readers = {0};
		Moving     writers[2] = {{0}};
		pthread_t  threads[4];

		config.use_cache = which == 0;
		assert_int_equal(iqdb_open_in_memory(&config, &db, NULL), IQDB_OK);
		put_numbered(db, 0);
		readers.db = db;
		for (int i = 0; i < 2; i++)
		{
			writers[i] = (Moving){.db = db, .first = 1 + (uint64_t) i * MOVING_ROWS};
			assert_int_equal(pthread_create(&threads[i], NULL, moving_writer, &writers[i]), 0);
			assert_int_equal(pthread_create(&threads[2 + i], NULL, moving_reader, &readers), 0);
		}
		for (int i = 0; i < 2; i++)
			pthread_join(threads[i], NULL);
		readers.stop = true;
		for (int i = 0; i < 2; i++)
			pthread_join(threads[2 + i], NULL);
		assert_int_equal(readers.failures + writers[0].failures + writers[1].failures, 0);
		assert_int_equal(iqdb_len(db), 1 + 2 * MOVING_ROWS);
		/* the other one is approximate */
		if (kinds[which] == IQDB_ENGINE_FLAT)
			assert_finds(db, 2 * MOVING_ROWS);
		assert_sound(db);
		assert_int_equal(iqdb_close(db, NULL), IQDB_OK);
	}
}

/* Few rows in far slots, and rows that are metadata above all: opened all the same, whatever was guessed. */
static void
files_open_whatever_was_guessed(void **state)
{
	char       path[300];
	IqdbConfig config = iqdb_config_default(IQDB_ENGINE_FLAT, ROOMY_DIM, IQDB_METRIC_L2);
	Iqdb      *db;

	(void) state;
	snprintf(path, sizeof(path), "%s/guessed", getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp");
	config.fsync.mode = IQDB_FSYNC_NEVER;
	assert_int_equal(iqdb_open(path, &config, &db, NULL), IQDB_OK);
	for (uint64_t id = 0; id < 30000; id++)
		put_numbered(db, id);
	for (uint64_t id = 0; id < 29990; id++)
		assert_int_equal(iqdb_delete(db, iqdb_id_u64(id), NULL, NULL), IQDB_OK);
	assert_int_equal(iqdb_close(db, NULL), IQDB_OK);
	assert_int_equal(iqdb_open(path, &config, &db, NULL), IQDB_OK);
	assert_int_equal(iqdb_len(db), 10);
	assert_finds(db, 29999);
	/* and by the log alone */
	for (uint64_t id = 0; id < 30000; id++)
		put_numbered(db, id);
	iqdb_abandon(db);
	assert_int_equal(iqdb_open(path, &config, &db, NULL), IQDB_OK);
	assert_int_equal(iqdb_len(db), 30000);
	assert_finds(db, 12345);
	assert_sound(db);
	assert_int_equal(iqdb_close(db, NULL), IQDB_OK);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(configuration_is_checked),
		cmocka_unit_test(upsert_get_delete_and_len),
		cmocka_unit_test(writes_reject_what_they_must),
		cmocka_unit_test(search_checks_the_query_before_anything_else),
		cmocka_unit_test(search_on_empty_gives_nothing_and_large_k_gives_all),
		cmocka_unit_test(batch_equals_search_one_by_one),
		cmocka_unit_test(batch_with_codes_and_cache_equals_search),
		cmocka_unit_test(a_result_outlives_its_handle),
		cmocka_unit_test(per_query_limit_ends_a_search_early),
		cmocka_unit_test(filtered_search_gives_k_while_there_are_k),
		cmocka_unit_test(ties_follow_insertion_order_also_after_reopening),
		cmocka_unit_test(matches_naive_for_every_metric),
		cmocka_unit_test(several_sessions_accumulate),
		cmocka_unit_test(opening_makes_snapshot_and_log),
		cmocka_unit_test(reopening_with_another_shape_is_refused),
		cmocka_unit_test(relaxed_policies_and_compression_round_trip),
		cmocka_unit_test(a_log_that_grows_long_is_folded_by_itself),
		cmocka_unit_test(a_second_handle_is_locked_out),
		cmocka_unit_test(left_overs_of_a_crashed_save_are_removed),
		cmocka_unit_test(a_torn_log_tail_is_cut_and_later_writes_survive),
		cmocka_unit_test(every_byte_flip_in_a_snapshot_fails_the_open),
		cmocka_unit_test(every_byte_flip_in_a_log_is_handled),
		cmocka_unit_test(a_garbage_file_is_not_a_database),
		cmocka_unit_test(a_foreign_or_missing_log_is_noticed),
		cmocka_unit_test(a_log_that_tells_everything_replaces_a_lost_snapshot),
		cmocka_unit_test(files_of_version_1_are_read),
		cmocka_unit_test(a_frame_that_cannot_be_is_an_error_with_its_offset),
		cmocka_unit_test(a_failed_sync_ends_writing_and_leaves_reading),
		cmocka_unit_test(a_full_disk_fails_one_write_and_no_more),
		cmocka_unit_test(a_write_that_cannot_be_applied_is_taken_back_from_the_log),
		cmocka_unit_test(a_batch_is_one_write_in_the_order_given),
		cmocka_unit_test(a_batch_with_one_bad_row_is_refused_whole),
		cmocka_unit_test(a_batch_longer_than_a_log_entry_is_refused),
		cmocka_unit_test(a_log_with_batches_is_read_and_written),
		cmocka_unit_test(a_batch_that_cannot_be_is_an_error),
		cmocka_unit_test(a_batch_without_room_leaves_nothing),
		cmocka_unit_test(loading_by_threads_is_complete),
		cmocka_unit_test(a_load_that_ends_early_keeps_whole_writes),
		cmocka_unit_test(an_exact_search_is_that_of_the_flat_engine),
		cmocka_unit_test(recall_counts_what_is_missed),
		cmocka_unit_test(one_call_is_cancelled_by_itself),
		cmocka_unit_test(what_had_room_once_can_be_opened_under_the_same_limit),
		cmocka_unit_test(recall_at_10_meets_its_floor),
		cmocka_unit_test(every_engine_keeps_every_row),
		cmocka_unit_test(stored_engine_and_options_win_at_reopening),
		cmocka_unit_test(periodic_syncs_an_idle_tail),
		cmocka_unit_test(a_long_interval_does_not_delay_closing),
		cmocka_unit_test(many_readers_and_a_writer),
		cmocka_unit_test(many_writers_keep_one_order),
		cmocka_unit_test(nothing_leaks_and_sizes_are_true),
		cmocka_unit_test(a_search_allocates_the_same_whatever_the_size),
		cmocka_unit_test(fifty_thousand_rows_within_budget),
		cmocka_unit_test(many_handles_take_little_address_space),
		cmocka_unit_test(moves_disturb_nobody),
		cmocka_unit_test(files_open_whatever_was_guessed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
