/*
 * test_shared_cache.c - the result cache in shared memory: every answer is the one that was kept for this question at this
 * version, blocks add up whatever comes, nothing depends on where the memory lies, and the policies are those of the handle's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "core/cache/cache.h"
#include "core/cache/shared.h"
#include "harness/alloc_fault.h"

#define SEED UINT64_C(20261130)
#define QUESTIONS 60
#define LONGEST 3000

static const IqdbCachePolicy policies[] = {IQDB_CACHE_LRU, IQDB_CACHE_LFU, IQDB_CACHE_FIFO, IQDB_CACHE_ARC};

/* ---- a cache in memory of exactly its size ---- */

static IqdbSharedCache *
make(IqdbCachePolicy policy, uint64_t capacity, uint64_t ttl_ms, uint64_t entry_bytes, uint64_t *bytes_out)
{
	IqdbCacheConfig  config = {capacity, policy, ttl_ms};
	uint64_t         bytes = iqdb_shared_cache_size(&config, entry_bytes);
	IqdbSharedCache *cache = malloc(bytes);

	assert_non_null(cache);
	memset(cache, 0xa5, bytes);
	assert_int_equal(iqdb_shared_cache_format(cache, bytes, bytes, &config, entry_bytes, NULL), IQDB_OK);
	assert_true(iqdb_shared_cache_is_sound(cache));
	if (bytes_out != NULL)
		*bytes_out = bytes;
	return cache;
}

static IqdbCacheStats
stats_of(const IqdbSharedCache *cache)
{
	IqdbCacheStats stats;

	iqdb_shared_cache_stats(cache, &stats);
	return stats;
}

/* Question number n: some bytes that tell its number at their end, so that the beginnings of all are equal. */
static IqdbCacheQuestion
question_of(uint32_t n, unsigned char bytes[LONGEST])
{
	uint32_t length = 4 + n * 37 % 1200;

	memset(bytes, 7, length);
	memcpy(bytes + length - 4, &n, 4);
	return iqdb_cache_question(bytes, length);
}

/* The byte that the answer is made of, or -1; its length in *length_out. */
static int
get_at(IqdbSharedCache *cache, uint32_t n, uint64_t version, uint64_t now, uint32_t *length_out)
{
	unsigned char     bytes[LONGEST];
	IqdbCacheQuestion question = question_of(n, bytes);
	unsigned char    *answer = iqdb_shared_cache_get(cache, &question, version, now, &iqdb_allocator_libc, length_out);
	int               byte = -1;

	if (answer == NULL)
		return -1;
	for (uint32_t i = 0; i < *length_out; i++)
	{
		assert_true(i == 0 || answer[i] == answer[0]);
		byte = answer[i];
	}
	iqdb_free(&iqdb_allocator_libc, answer, *length_out);
	return byte;
}

static void
put_at(IqdbSharedCache *cache, uint32_t n, int byte, uint32_t length, uint64_t version, uint64_t now)
{
	unsigned char     bytes[LONGEST];
	unsigned char     answer[LONGEST];
	IqdbCacheQuestion question = question_of(n, bytes);

	memset(answer, byte, length);
	iqdb_shared_cache_put(cache, &question, answer, length, version, now, false);
	assert_true(iqdb_shared_cache_is_sound(cache));
}

static bool
has(IqdbSharedCache *cache, uint32_t n)
{
	uint32_t length;

	return get_at(cache, n, 0, 0, &length) >= 0;
}

static void
ask(IqdbSharedCache *cache, uint32_t n)
{
	if (!has(cache, n))
		put_at(cache, n, (int) n, 100, 0, 0);
}

/* ---- tests ---- */

static void
a_repeated_question_is_a_hit(void **state)
{
	IqdbSharedCache  *cache = make(IQDB_CACHE_LRU, 4, 0, 2000, NULL);
	unsigned char     bytes[LONGEST];
	IqdbCacheQuestion question = question_of(1, bytes);
	uint32_t          length;

	(void) state;
	assert_false(has(cache, 1));
	put_at(cache, 1, 11, 800, 0, 0);
	assert_int_equal(get_at(cache, 1, 0, 0, &length), 11);
	assert_int_equal(length, 800);
	/* answered again, by more */
	iqdb_shared_cache_put(cache, &question, "cc", 2, 0, 0, true);
	assert_int_equal(get_at(cache, 1, 0, 0, &length), 'c');
	assert_int_equal(length, 2);
	assert_false(has(cache, 2));
	/* the hit that was too short is a miss */
	assert_int_equal(stats_of(cache).hits, 1);
	assert_int_equal(stats_of(cache).misses, 2);
	assert_int_equal(stats_of(cache).len, 1);
	assert_int_equal(stats_of(cache).evictions, 0);
	free(cache);
}

static void
later_versions_and_old_age_forget(void **state)
{
	IqdbSharedCache *cache = make(IQDB_CACHE_ARC, 4, 100, 2000, NULL);
	uint32_t         length;

	(void) state;
	put_at(cache, 1, 11, 10, 5, 1000);
	assert_int_equal(get_at(cache, 1, 5, 1099, &length), 11);
	assert_int_equal(get_at(cache, 1, 5, 1100, &length), -1);
	assert_int_equal(get_at(cache, 1, 5, 1000, &length), 11);
	assert_int_equal(get_at(cache, 1, 6, 1000, &length), -1);
	assert_int_equal(stats_of(cache).len, 0);
	/* of a version that is past: too late */
	put_at(cache, 1, 11, 10, 5, 1000);
	assert_int_equal(get_at(cache, 1, 5, 1000, &length), -1);
	assert_int_equal(get_at(cache, 1, 6, 1000, &length), -1);
	assert_true(iqdb_shared_cache_is_sound(cache));
	put_at(cache, 1, 11, 10, 6, 1000);
	iqdb_shared_cache_meet(cache, 6);
	assert_int_equal(stats_of(cache).len, 1);
	iqdb_shared_cache_meet(cache, 7);
	assert_int_equal(stats_of(cache).len, 0);
	free(cache);
}

/* What one question is remembered by. */
typedef struct Kept
{
	bool     there;
	int      byte;
	uint32_t length;
} Kept;

static void
every_answer_is_the_one_that_was_kept(void **state)
{
	(void) state;
	for (size_t p = 0; p < sizeof(policies) / sizeof(*policies); p++)
	{
		/* room for short answers only: long ones make several others go */
		IqdbSharedCache *cache = make(policies[p], 20, 0, 700, NULL);
		Kept             kept[QUESTIONS] = {{false, 0, 0}};
		uint64_t         version = 0;
		uint64_t         found = 0;
		IqdbRng          rng;

		iqdb_rng_seed(&rng, SEED);
		for (int i = 0; i < 20000; i++)
		{
			uint32_t n = (uint32_t) (iqdb_rng_below(&rng, 2) == 0 ? iqdb_rng_below(&rng, 8) :
																	iqdb_rng_below(&rng, QUESTIONS));
			uint32_t length;
			int      byte = get_at(cache, n, version, 0, &length);

			assert_true(byte < 0 || (kept[n].there && byte == kept[n].byte && length == kept[n].length));
			found += byte >= 0;
			kept[n] = (Kept){true, (int) iqdb_rng_below(&rng, 256), 1 + (uint32_t) iqdb_rng_below(&rng, LONGEST)};
			if (byte < 0 || iqdb_rng_below(&rng, 10) == 0)
				put_at(cache, n, kept[n].byte, kept[n].length, version, 0);
			else
				kept[n] = (Kept){true, byte, length};
			if (iqdb_rng_below(&rng, 500) == 0)
			{
				version++;
				memset(kept, 0, sizeof(kept));
			}
		}
		assert_true(found > 2000);
		assert_true(stats_of(cache).evictions > 1000);
		free(cache);
	}
}

/* Values of the handle's cache are numbers here. */
static void
no_references(void *value)
{
	(void) value;
}

static void
who_goes_is_what_the_handle_says(void **state)
{
	(void) state;
	for (size_t p = 0; p < sizeof(policies) / sizeof(*policies); p++)
	{
		IqdbCacheConfig  config = {7, policies[p], 0};
		IqdbSharedCache *cache = make(policies[p], 7, 0, LONGEST, NULL);
		int              value = 0;
		IqdbCache       *handle;
		IqdbRng          rng;

		assert_int_equal(iqdb_cache_create(&iqdb_allocator_libc, &config,
										   (IqdbCacheValueOps){no_references, no_references}, &handle, NULL), IQDB_OK);
		iqdb_rng_seed(&rng, SEED);
		for (int i = 0; i < 5000; i++)
		{
			float        query = (float) iqdb_rng_below(&rng, 1 + iqdb_rng_below(&rng, QUESTIONS));
			IqdbCacheKey key = {.query = &query, .query_size = sizeof(query), .dim = 1, .k = 1};
			bool         hit = iqdb_cache_get(handle, &key, 0, 0) != NULL;

			assert_int_equal(hit, has(cache, (uint32_t) query));
			if (hit)
				continue;
			iqdb_cache_put(handle, &key, &value, 0, 0);
			put_at(cache, (uint32_t) query, 1, 100, 0, 0);
		}
		iqdb_cache_destroy(handle);
		free(cache);
	}
}

static void
it_may_lie_anywhere(void **state)
{
	uint64_t         bytes;
	IqdbSharedCache *cache = make(IQDB_CACHE_LFU, 10, 0, 1500, &bytes);
	IqdbSharedCache *moved = malloc(bytes);

	(void) state;
	assert_non_null(moved);
	for (uint32_t n = 0; n < 30; n++)
		ask(cache, n);
	memcpy(moved, cache, bytes);
	memset(cache, 0, bytes);
	free(cache);
	assert_true(iqdb_shared_cache_is_sound(moved));
	assert_true(has(moved, 29));
	for (uint32_t n = 0; n < 30; n++)
		ask(moved, n);
	assert_int_equal(stats_of(moved).len, 10);
	free(moved);
}

static void
little_memory_is_a_small_cache(void **state)
{
	IqdbCacheConfig  config = {1000, IQDB_CACHE_ARC, 0};
	uint64_t         bytes = iqdb_shared_cache_size(&config, 1000) / 100;
	IqdbSharedCache *cache = malloc(bytes);

	(void) state;
	assert_non_null(cache);
	assert_int_equal(iqdb_shared_cache_format(cache, bytes, bytes, &config, 1000, NULL), IQDB_OK);
	assert_in_range(stats_of(cache).capacity, 8, 10);
	for (uint32_t n = 0; n < 100; n++)
		ask(cache, n);
	assert_true(stats_of(cache).len > 0 && stats_of(cache).len <= 10);
	/* more than half of all blocks is too much for one answer */
	config.capacity = 1;
	assert_int_equal(iqdb_shared_cache_format(cache, bytes, bytes, &config, LONGEST, NULL), IQDB_OK);
	put_at(cache, 1, 1, LONGEST, 0, 0);
	put_at(cache, 2, 2, 10, 0, 0);
	assert_true(has(cache, 2) && !has(cache, 1));
	/* none at all */
	for (uint64_t least = bytes; iqdb_shared_cache_format(cache, least, least, &config, 1 << 20, NULL) == IQDB_OK; least /= 2)
	{
		assert_int_equal(stats_of(cache).capacity, 0);
		ask(cache, 1);
		assert_false(has(cache, 1));
	}
	config.capacity = UINT64_MAX;
	assert_true(iqdb_shared_cache_size(&config, 1000) == UINT64_MAX);
	assert_int_equal(iqdb_shared_cache_format(cache, bytes, bytes, &config, 1000, NULL), IQDB_ERR_CONFIG);
	free(cache);
}

static void
it_grows_as_it_is_filled(void **state)
{
	IqdbCacheConfig  config = {100, IQDB_CACHE_LRU, 0};
	uint64_t         most = iqdb_shared_cache_size(&config, 1500);
	uint64_t         bytes = iqdb_shared_cache_least(&config, 1500, most);
	IqdbSharedCache *cache = malloc(most);
	int              grown = 0;

	(void) state;
	assert_non_null(cache);
	assert_int_equal(iqdb_shared_cache_format(cache, bytes - 1, most, &config, 1500, NULL), IQDB_ERR_CONFIG);
	assert_int_equal(iqdb_shared_cache_format(cache, bytes, most, &config, 1500, NULL), IQDB_OK);
	assert_int_equal(stats_of(cache).capacity, 100);
	for (uint32_t n = 0; n < 2000; n++)
	{
		unsigned char     question_bytes[LONGEST];
		IqdbCacheQuestion question = question_of(n % 100, question_bytes);
		uint64_t          wanted = iqdb_shared_cache_wants(cache, question.length + 3);

		assert_true(wanted <= most);
		grown += wanted > bytes;
		bytes = wanted > bytes ? wanted : bytes;
		iqdb_shared_cache_extend(cache, bytes);
		iqdb_shared_cache_put(cache, &question, "abc", 3, 0, 0, false);
		assert_true(iqdb_shared_cache_is_sound(cache));
		assert_int_equal(stats_of(cache).len, n < 100 ? n + 1 : 100);
	}
	assert_in_range(grown, 3, 20);
	assert_int_equal(stats_of(cache).evictions, 0);
	/* more than may be is not taken */
	iqdb_shared_cache_extend(cache, UINT64_MAX);
	assert_true(iqdb_shared_cache_is_sound(cache));
	free(cache);
}

static void
no_memory_for_an_answer_is_no_answer(void **state)
{
	IqdbSharedCache  *cache = make(IQDB_CACHE_LRU, 4, 0, 2000, NULL);
	unsigned char     bytes[LONGEST];
	IqdbCacheQuestion question = question_of(1, bytes);
	uint32_t          length;
	AllocFault        fault;

	(void) state;
	put_at(cache, 1, 1, 100, 0, 0);
	alloc_fault_init(&fault);
	alloc_fault_arm(&fault, 1);
	assert_null(iqdb_shared_cache_get(cache, &question, 0, 0, &fault.allocator, &length));
	assert_true(fault.fired);
	assert_true(has(cache, 1));
	free(cache);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_repeated_question_is_a_hit),
		cmocka_unit_test(later_versions_and_old_age_forget),
		cmocka_unit_test(every_answer_is_the_one_that_was_kept),
		cmocka_unit_test(who_goes_is_what_the_handle_says),
		cmocka_unit_test(it_may_lie_anywhere),
		cmocka_unit_test(little_memory_is_a_small_cache),
		cmocka_unit_test(it_grows_as_it_is_filled),
		cmocka_unit_test(no_memory_for_an_answer_is_no_answer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
