/*
 * test_cache.c - the result cache: what is a hit, who goes first under each policy, age, versions, and that a database with
 * a cache answers exactly as one without.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#include "core/cache/cache.h"
#include "core/db/iqdb.h"
#include "harness/alloc_fault.h"
#include "harness/model.h"

#define SEED UINT64_C(20251201)
#define DIM 3

/* ---- values that count their references ---- */

typedef struct Value
{
	int references;
	int number;
} Value;

static int live_values;

static void
retain(void *value)
{
	((Value *) value)->references++;
}

static void
release(void *value)
{
	if (--((Value *) value)->references == 0)
	{
		live_values--;
		free(value);
	}
}

static const IqdbCacheValueOps ops = {retain, release};

/* ---- questions are numbers ---- */

static IqdbCacheKey
key_of(float number, float query[DIM])
{
	query[0] = number;
	query[1] = 1;
	query[2] = 2;
	return (IqdbCacheKey){.query = query, .query_size = sizeof(float) * DIM, .dim = DIM, .k = 10};
}

/* The number an answer carries, or -1. */
static int
get_at(IqdbCache *cache, int question, uint64_t version, uint64_t now)
{
	float        query[DIM];
	IqdbCacheKey key = key_of((float) question, query);
	Value       *value = iqdb_cache_get(cache, &key, version, now);
	int          number = value != NULL ? value->number : -1;

	if (value != NULL)
		release(value);
	return number;
}

static void
put_at(IqdbCache *cache, int question, int number, uint64_t version, uint64_t now)
{
	float        query[DIM];
	IqdbCacheKey key = key_of((float) question, query);
	Value       *value = malloc(sizeof(*value));

	live_values++;
	*value = (Value){1, number};
	iqdb_cache_put(cache, &key, value, version, now);
	release(value);
}

static bool
has(IqdbCache *cache, int question)
{
	return get_at(cache, question, 0, 0) >= 0;
}

static void
ask(IqdbCache *cache, int question)
{
	if (!has(cache, question))
		put_at(cache, question, question * 10, 0, 0);
}

static IqdbCache *
make(IqdbCachePolicy policy, uint64_t capacity, uint64_t ttl_ms)
{
	IqdbCacheConfig config = {capacity, policy, ttl_ms};
	IqdbCache      *cache;

	assert_int_equal(iqdb_cache_create(&iqdb_allocator_libc, &config, ops, &cache, NULL), IQDB_OK);
	return cache;
}

static void
drop(IqdbCache *cache)
{
	iqdb_cache_destroy(cache);
	assert_int_equal(live_values, 0);
}

static IqdbCacheStats
stats_of(const IqdbCache *cache)
{
	IqdbCacheStats stats;

	iqdb_cache_read_stats(cache, &stats);
	return stats;
}

/* ---- the cache alone ---- */

static void
a_repeated_question_is_a_hit(void **state)
{
	IqdbCache *cache = make(IQDB_CACHE_LRU, 4, 0);

	(void) state;
	assert_int_equal(get_at(cache, 1, 0, 0), -1);
	put_at(cache, 1, 11, 0, 0);
	assert_int_equal(get_at(cache, 1, 0, 0), 11);
	assert_int_equal(get_at(cache, 1, 0, 0), 11);
	assert_int_equal(get_at(cache, 2, 0, 0), -1);
	assert_int_equal(stats_of(cache).hits, 2);
	assert_int_equal(stats_of(cache).misses, 1);
	assert_true(fabs(stats_of(cache).hit_rate - 2.0 / 3) < 1e-9);
	/* the same question answered again replaces the answer */
	put_at(cache, 1, 12, 0, 0);
	assert_int_equal(get_at(cache, 1, 0, 0), 12);
	assert_int_equal(stats_of(cache).len, 1);
	iqdb_cache_clear(cache);
	assert_int_equal(get_at(cache, 1, 0, 0), -1);
	assert_int_equal(stats_of(cache).len, 0);
	assert_int_equal(stats_of(cache).evictions, 0);
	assert_int_equal(stats_of(cache).hits, 3);
	drop(cache);
	iqdb_cache_destroy(NULL);
}

static void
everything_an_answer_depends_on_is_in_the_key(void **state)
{
	IqdbCache   *cache = make(IQDB_CACHE_LRU, 100, 0);
	float        query[DIM] = {0.0f, 1, 2};
	float        negative[DIM] = {-0.0f, 1, 2};
	IqdbCacheKey base = {.query = query, .query_size = sizeof(float) * DIM, .dim = DIM, .k = 10};
	IqdbCacheKey keys[8];
	IqdbRng      rng;
	IqdbFilter  *filter;
	Value       *value = malloc(sizeof(*value));

	(void) state;
	live_values++;
	*value = (Value){1, 5};
	iqdb_rng_seed(&rng, SEED);
	filter = model_random_filter(&rng);
	for (int i = 0; i < 8; i++)
		keys[i] = base;
	keys[1].query = negative;
	keys[2].k = 11;
	keys[3].ef = 1;
	keys[4].probes = 1;
	keys[5].max_rows = 1;
	keys[6].dim = DIM - 1;
	keys[7].filter = filter;
	for (int i = 0; i < 8; i++)
	{
		assert_null(iqdb_cache_get(cache, &keys[i], 0, 0));
		iqdb_cache_put(cache, &keys[i], value, 0, 0);
		assert_ptr_equal(iqdb_cache_get(cache, &keys[i], 0, 0), value);
		release(value);
	}
	assert_int_equal(stats_of(cache).len, 8);
	iqdb_filter_free(&iqdb_allocator_libc, filter);
	release(value);
	drop(cache);
}

static void
a_filter_with_a_nan_is_never_a_hit(void **state)
{
	IqdbCache        *cache = make(IQDB_CACHE_LRU, 100, 0);
	float             query[DIM] = {0};
	IqdbCacheKey      key = {.query = query, .query_size = sizeof(float) * DIM, .dim = DIM, .k = 10};
	IqdbValue         nan = iqdb_value_float(NAN);
	IqdbFilterBuilder builder;
	IqdbFilter       *filter;
	Value            *value = malloc(sizeof(*value));

	(void) state;
	live_values++;
	*value = (Value){1, 5};
	iqdb_filter_builder_init(&builder, &iqdb_allocator_libc);
	assert_int_equal(iqdb_filter_finish(&builder, iqdb_filter_eq(&builder, "x", 1, &nan), &filter, NULL), IQDB_OK);
	iqdb_filter_builder_free(&builder);
	key.filter = filter;
	iqdb_cache_put(cache, &key, value, 0, 0);
	assert_null(iqdb_cache_get(cache, &key, 0, 0));
	assert_int_equal(stats_of(cache).len, 0);
	assert_int_equal(stats_of(cache).misses, 1);
	iqdb_filter_free(&iqdb_allocator_libc, filter);
	release(value);
	drop(cache);
}

static void
capacity_zero_disables(void **state)
{
	IqdbCache *cache = make(IQDB_CACHE_ARC, 0, 0);

	(void) state;
	for (int i = 0; i < 5; i++)
		ask(cache, 1);
	assert_int_equal(stats_of(cache).misses, 5);
	assert_int_equal(stats_of(cache).hits, 0);
	assert_int_equal(stats_of(cache).len, 0);
	drop(cache);
}

static void
lru_evicts_the_least_recently_used(void **state)
{
	IqdbCache *cache = make(IQDB_CACHE_LRU, 3, 0);

	(void) state;
	ask(cache, 1);
	ask(cache, 2);
	ask(cache, 3);
	ask(cache, 1);
	ask(cache, 4);
	assert_int_equal(stats_of(cache).evictions, 1);
	assert_true(has(cache, 1) && has(cache, 3) && has(cache, 4) && !has(cache, 2));
	drop(cache);
}

static void
fifo_evicts_the_first_in(void **state)
{
	IqdbCache *cache = make(IQDB_CACHE_FIFO, 3, 0);

	(void) state;
	ask(cache, 1);
	ask(cache, 2);
	ask(cache, 3);
	ask(cache, 1);
	ask(cache, 4);
	assert_true(!has(cache, 1) && has(cache, 2) && has(cache, 3) && has(cache, 4));
	drop(cache);
}

static void
lfu_evicts_the_least_frequently_used(void **state)
{
	IqdbCache *cache = make(IQDB_CACHE_LFU, 3, 0);

	(void) state;
	ask(cache, 1);
	ask(cache, 1);
	ask(cache, 2);
	ask(cache, 3);
	ask(cache, 3);
	ask(cache, 4);
	assert_true(!has(cache, 2));
	assert_true(has(cache, 4));
	/* 1 and 3 and 4: used 2, 2, 2; of equals the least recently used goes, which is 1 */
	ask(cache, 5);
	assert_true(!has(cache, 1) && has(cache, 3) && has(cache, 4) && has(cache, 5));
	drop(cache);
}

static void
arc_keeps_frequent_questions_through_a_scan(void **state)
{
	IqdbCache *cache = make(IQDB_CACHE_ARC, 10, 0);

	(void) state;
	for (int round = 0; round < 3; round++)
	{
		for (int i = 0; i < 5; i++)
			ask(cache, i);
	}
	for (int i = 100; i < 1000; i++)
	{
		ask(cache, i);
		assert_true(stats_of(cache).len <= 10);
	}
	for (int i = 0; i < 5; i++)
		assert_true(has(cache, i));
	drop(cache);
}

static void
no_policy_passes_its_capacity(void **state)
{
	(void) state;
	for (int policy = IQDB_CACHE_LRU; policy <= IQDB_CACHE_ARC; policy++)
	{
		for (uint64_t capacity = 1; capacity <= 17; capacity += 4)
		{
			IqdbCache *cache = make((IqdbCachePolicy) policy, capacity, 0);
			IqdbRng    rng;
			uint64_t   asked = 4000;
			IqdbCacheStats stats;

			iqdb_rng_seed(&rng, SEED);
			for (uint64_t i = 0; i < asked; i++)
			{
				int question = (int) (iqdb_rng_below(&rng, 2) == 0 ? iqdb_rng_below(&rng, 5) : iqdb_rng_below(&rng, 60));

				if (has(cache, question))
					assert_int_equal(get_at(cache, question, 0, 0), question * 10);
				else
					put_at(cache, question, question * 10, 0, 0);
				assert_true(stats_of(cache).len <= capacity);
				assert_in_range(live_values, 0, (int) capacity);
			}
			stats = stats_of(cache);
			assert_true(stats.len == capacity && stats.evictions > 0);
			assert_int_equal(stats.misses - stats.evictions, capacity);
			drop(cache);
		}
	}
}

static void
an_answer_is_too_old_when_its_time_has_come(void **state)
{
	IqdbCache *cache = make(IQDB_CACHE_LRU, 4, 100);

	(void) state;
	put_at(cache, 1, 11, 0, 1000);
	assert_int_equal(get_at(cache, 1, 0, 1000), 11);
	assert_int_equal(get_at(cache, 1, 0, 1099), 11);
	assert_int_equal(get_at(cache, 1, 0, 1100), -1);
	assert_int_equal(stats_of(cache).len, 1);
	/* a hit does not make it younger, a new answer does */
	put_at(cache, 1, 12, 0, 1100);
	assert_int_equal(get_at(cache, 1, 0, 1199), 12);
	assert_int_equal(get_at(cache, 1, 0, 1200), -1);
	/* a clock set back is no reason to forget */
	assert_int_equal(get_at(cache, 1, 0, 500), 12);
	drop(cache);
}

static void
a_later_version_forgets_everything(void **state)
{
	IqdbCache *cache = make(IQDB_CACHE_ARC, 4, 0);

	(void) state;
	put_at(cache, 1, 11, 5, 0);
	assert_int_equal(get_at(cache, 1, 5, 0), 11);
	assert_int_equal(get_at(cache, 1, 6, 0), -1);
	assert_int_equal(stats_of(cache).len, 0);
	assert_int_equal(stats_of(cache).evictions, 0);
	/* an answer of a version that is past comes too late */
	put_at(cache, 1, 11, 5, 0);
	assert_int_equal(get_at(cache, 1, 6, 0), -1);
	assert_int_equal(get_at(cache, 1, 5, 0), -1);
	put_at(cache, 1, 13, 6, 0);
	assert_int_equal(get_at(cache, 1, 6, 0), 13);
	drop(cache);
}

static void
out_of_memory_only_forgets(void **state)
{
	(void) state;
	for (int policy = IQDB_CACHE_LRU; policy <= IQDB_CACHE_ARC; policy++)
	{
		bool fired = true;

		for (uint64_t n = 1; fired; n++)
		{
			AllocFault      fault;
			IqdbCacheConfig config = {20, (IqdbCachePolicy) policy, 0};
			IqdbCache      *cache;
			IqdbStatus      status;

			alloc_fault_init(&fault);
			alloc_fault_arm(&fault, n);
			status = iqdb_cache_create(&fault.allocator, &config, ops, &cache, NULL);
			assert_int_equal(status, n == 1 ? IQDB_ERR_NOMEM : IQDB_OK);
			for (int i = 0; status == IQDB_OK && i < 200; i++)
				ask(cache, i % 30 * (i % 3));
			fired = fault.fired;
			iqdb_cache_destroy(cache);
			assert_int_equal(fault.blocks, 0);
			assert_int_equal(live_values, 0);
		}
	}
}

static void
configuration_is_checked(void **state)
{
	IqdbCacheConfig config = {10, (IqdbCachePolicy) 9, 0};
	IqdbCache      *cache;
	IqdbConfig      database = iqdb_config_default(IQDB_ENGINE_FLAT, DIM, IQDB_METRIC_L2);
	Iqdb           *db;

	(void) state;
	assert_int_equal(iqdb_cache_create(&iqdb_allocator_libc, &config, ops, &cache, NULL), IQDB_ERR_CONFIG);
	assert_null(cache);
	config = (IqdbCacheConfig){UINT64_MAX, IQDB_CACHE_LRU, 0};
	assert_int_equal(iqdb_cache_create(&iqdb_allocator_libc, &config, ops, &cache, NULL), IQDB_ERR_CONFIG);
	database.use_cache = true;
	database.cache = config;
	assert_int_equal(iqdb_open_in_memory(&database, &db, NULL), IQDB_ERR_CONFIG);
	assert_null(db);
}

/* ---- in a database ---- */

static Iqdb *
open_cached(IqdbCachePolicy policy, uint64_t capacity)
{
	IqdbConfig config = iqdb_config_default(IQDB_ENGINE_FLAT, DIM, IQDB_METRIC_L2);
	Iqdb      *db;

	assert_int_equal(config.cache.capacity, 1024);
	config.memory_max = 64 * 1024 * 1024;
	config.use_cache = true;
	config.cache.policy = policy;
	config.cache.capacity = capacity;
	assert_int_equal(iqdb_open_in_memory(&config, &db, NULL), IQDB_OK);
	return db;
}

static void
search_and_compare(Iqdb *db, const Model *model, const float *query, size_t k, const IqdbFilter *filter)
{
	IqdbResult *result;
	size_t      count;
	ModelHit   *expected = model_search(model, query, filter, &count);

	assert_int_equal(iqdb_search_with(db, query, DIM, k, filter, &result, NULL), IQDB_OK);
	assert_int_equal(result->count, count < k ? count : k);
	for (size_t i = 0; i < result->count; i++)
		assert_true(iqdb_id_equal(result->found[i].id, expected[i].row->id));
	iqdb_result_free(result);
	free(expected);
}

static void
every_policy_stays_transparent(void **state)
{
	(void) state;
	for (int policy = IQDB_CACHE_LRU; policy <= IQDB_CACHE_ARC; policy++)
	{
		Iqdb          *db = open_cached((IqdbCachePolicy) policy, 12);
		Model          model;
		IqdbRng        rng;
		IqdbCacheStats stats;
		IqdbFilter    *filter;

		iqdb_rng_seed(&rng, SEED + (uint64_t) policy);
		filter = model_random_filter(&rng);
		model_init(&model, DIM, IQDB_METRIC_L2);
		for (int i = 0; i < 3000; i++)
		{
			unsigned char buffer[8];
			IqdbId        id = model_random_id(&rng, 40, buffer);
			float         vector[DIM];

			if (iqdb_rng_below(&rng, 20) > 0)
			{
				/* few questions, so that some repeat */
				vector[0] = (float) iqdb_rng_below(&rng, 5);
				vector[1] = vector[2] = 0;
				search_and_compare(db, &model, vector, 3 + iqdb_rng_below(&rng, 2),
								   iqdb_rng_below(&rng, 3) == 0 ? filter : NULL);
			}
			else if (iqdb_rng_below(&rng, 3) > 0)
			{
				size_t         length;
				unsigned char *metadata = model_random_metadata(&rng, &length);

				model_random_vector(&rng, vector, DIM);
				assert_int_equal(iqdb_upsert(db, id, vector, DIM, metadata, length, NULL), IQDB_OK);
				model_put(&model, id, vector, metadata, length);
				free(metadata);
			}
			else
			{
				assert_int_equal(iqdb_delete(db, id, NULL, NULL), IQDB_OK);
				model_remove(&model, id);
			}
		}
		assert_true(iqdb_cache_stats(db, &stats));
		assert_true(stats.hit_rate > 0.3);
		assert_true(stats.len <= 12);
		iqdb_filter_free(&iqdb_allocator_libc, filter);
		model_free(&model);
		assert_int_equal(iqdb_close(db, NULL), IQDB_OK);
	}
}

static void
writes_forget_and_failed_writes_do_not(void **state)
{
	Iqdb          *db = open_cached(IQDB_CACHE_LRU, 100);
	float          vector[DIM] = {1, 2, 3};
	float          bad[DIM] = {NAN, 2, 3};
	IqdbResult    *first;
	IqdbResult    *second;
	IqdbCacheStats stats;

	(void) state;
	assert_int_equal(iqdb_upsert(db, iqdb_id_u64(1), vector, DIM, NULL, 0, NULL), IQDB_OK);
	assert_int_equal(iqdb_search(db, vector, DIM, 5, &first, NULL), IQDB_OK);
	assert_int_equal(iqdb_search(db, vector, DIM, 5, &second, NULL), IQDB_OK);
	/* the very same answer, shared */
	assert_ptr_equal(first, second);
	iqdb_result_free(second);
	assert_int_equal(first->found[0].id.number, 1);
	/* what fails changes nothing, and is no miss */
	assert_int_equal(iqdb_upsert(db, iqdb_id_u64(2), bad, DIM, NULL, 0, NULL), IQDB_ERR_VECTOR);
	assert_int_equal(iqdb_delete(db, iqdb_id_u64(9), NULL, NULL), IQDB_OK);
	assert_int_equal(iqdb_search(db, bad, DIM, 5, &second, NULL), IQDB_ERR_VECTOR);
	assert_int_equal(iqdb_search(db, vector, DIM - 1, 5, &second, NULL), IQDB_ERR_DIMENSION);
	assert_int_equal(iqdb_search(db, vector, DIM, 5, &second, NULL), IQDB_OK);
	assert_ptr_equal(first, second);
	iqdb_result_free(second);
	assert_true(iqdb_cache_stats(db, &stats));
	assert_int_equal(stats.hits, 2);
	assert_int_equal(stats.misses, 1);
	assert_int_equal(iqdb_delete(db, iqdb_id_u64(1), NULL, NULL), IQDB_OK);
	assert_int_equal(iqdb_search(db, vector, DIM, 5, &second, NULL), IQDB_OK);
	assert_int_equal(second->count, 0);
	iqdb_result_free(second);
	assert_int_equal(iqdb_flush(db, NULL), IQDB_OK);
	assert_true(iqdb_cache_stats(db, &stats));
	assert_int_equal(stats.len, 1);
	iqdb_clear_cache(db);
	assert_true(iqdb_cache_stats(db, &stats));
	assert_int_equal(stats.len, 0);
	assert_int_equal(stats.evictions, 0);
	assert_int_equal(iqdb_close(db, NULL), IQDB_OK);
	/* an answer outlives cache and database */
	assert_int_equal(first->found[0].id.number, 1);
	iqdb_result_free(first);
}

static void
a_database_without_a_cache_says_so(void **state)
{
	IqdbConfig     config = iqdb_config_default(IQDB_ENGINE_FLAT, DIM, IQDB_METRIC_L2);
	Iqdb          *db;
	IqdbCacheStats stats;

	(void) state;
	assert_int_equal(iqdb_open_in_memory(&config, &db, NULL), IQDB_OK);
	assert_false(iqdb_cache_stats(db, &stats));
	assert_int_equal(stats.capacity, 0);
	iqdb_clear_cache(db);
	assert_int_equal(iqdb_close(db, NULL), IQDB_OK);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_repeated_question_is_a_hit),
		cmocka_unit_test(everything_an_answer_depends_on_is_in_the_key),
		cmocka_unit_test(a_filter_with_a_nan_is_never_a_hit),
		cmocka_unit_test(capacity_zero_disables),
		cmocka_unit_test(lru_evicts_the_least_recently_used),
		cmocka_unit_test(fifo_evicts_the_first_in),
		cmocka_unit_test(lfu_evicts_the_least_frequently_used),
		cmocka_unit_test(arc_keeps_frequent_questions_through_a_scan),
		cmocka_unit_test(no_policy_passes_its_capacity),
		cmocka_unit_test(an_answer_is_too_old_when_its_time_has_come),
		cmocka_unit_test(a_later_version_forgets_everything),
		cmocka_unit_test(out_of_memory_only_forgets),
		cmocka_unit_test(configuration_is_checked),
		cmocka_unit_test(every_policy_stays_transparent),
		cmocka_unit_test(writes_forget_and_failed_writes_do_not),
		cmocka_unit_test(a_database_without_a_cache_says_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
