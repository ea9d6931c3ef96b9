/*
 * test_hnsw_limits.c - the hnsw engine at the ends of what its options and settings may be, and stopped at any moment.
 *
 * Nothing here is timed: how often locks are taken and the cancel flag is read is counted, so work that does not end is
 * found by its counters, and every look at the flag can be the one that stops the work.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "unit/hnsw_samples.h"

#define SEED UINT64_C(20261130)
#define DIM 8

/* ---- a host that counts ------------------------------------------------------------------------------------------ */

/* Locks taken and flags read since the counters were set. Locks are those of one thread. */
static uint64_t acquired;
static uint64_t acquired_max;
static uint64_t polls;
static uint64_t polls_allowed; /* the flag is set after so many looks */

static void
count_acquire(void *arg, void *cell, bool exclusive)
{
	(void) arg;
	(void) cell;
	(void) exclusive;
	if (++acquired > acquired_max)
		fail_msg("no end: %llu locks were taken", (unsigned long long) acquired);
}

static bool
count_poll(void *arg)
{
	(void) arg;
	return ++polls > polls_allowed;
}

static void
counters_set(uint64_t locks, uint64_t flags)
{
	acquired = 0;
	acquired_max = locks;
	polls = 0;
	polls_allowed = flags;
}

static void
counted_create(MemoryIndex *memory, const IqdbIndexOptions *options)
{
	IqdbLockOps locks = iqdb_locks_none;

	counters_set(UINT64_MAX, UINT64_MAX);
	locks.acquire = count_acquire;
	memory_index_create(memory, options, &locks, NULL, SAMPLES_MEMORY_MAX);
	memory->host.cancelled = count_poll;
}

/* ---- every option and setting at its ends ------------------------------------------------------------------------ */

/* Takes the whole stream: every row, once. */
static void
take_all(MemoryIndex *memory, const Samples *samples, const IqdbSearchParams *params, size_t capacity)
{
	IqdbCursor *cursor;
	IqdbHit *hits = malloc(capacity * sizeof(*hits));
	unsigned char *seen = calloc(samples->count + 1, 1);
	size_t count;
	size_t total = 0;

	assert_true(hits != NULL && seen != NULL);
	/* a lock for each hit that is handed out alone, and a few for each search, of which there are few */
	counters_set(2 * samples->count + 200, UINT64_MAX);
	assert_int_equal(iqdb_cursor_open(&memory->index, samples_row(samples, 0), DIM, params, &cursor, NULL), IQDB_OK);
	do
	{
		assert_int_equal(iqdb_cursor_next(cursor, hits, capacity, &count, NULL), IQDB_OK);
		for (size_t i = 0; i < count; i++)
			assert_int_equal(seen[hits[i].id]++, 0);
		total += count;
	} while (count > 0);
	assert_int_equal(total, samples->count);
	assert_true(polls < 200);
	iqdb_cursor_close(cursor);
	counters_set(UINT64_MAX, UINT64_MAX);
	free(seen);
	free(hits);
}

static void
search_at_the_ends(MemoryIndex *memory, const Samples *samples)
{
	static const uint32_t efs[] = {0, 1, 2, 3, 5, 100, 100000};
	static const size_t expected[] = {0, 1, 3, 1000, SIZE_MAX};

	for (size_t e = 0; e < 7; e++)
	{
		for (size_t x = 0; x < 5; x++)
		{
			IqdbSearchParams params = {.ef = efs[e], .expected = expected[x]};

			take_all(memory, samples, &params, 1);
			take_all(memory, samples, &params, 1000);
		}
	}
}

static void
index_at_the_ends(size_t rows, IqdbMetric metric, IqdbQuantization quantization, uint32_t m, uint32_t ef_construction,
				  uint32_t ef_search)
{
	IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_HNSW, DIM, metric);
	MemoryIndex memory;
	Samples samples;

	options.quantization = quantization;
	options.m = m;
	options.ef_construction = ef_construction;
	options.ef_search = ef_search;
	samples_make(&samples, rows, DIM, rows > 100 ? 5 : 0, SEED);
	/* equal rows among them */
	for (size_t i = 3; i < rows; i += 4)
		memcpy(samples.rows + i * DIM, samples.rows + i % 16 * DIM, DIM * sizeof(float));
	counted_create(&memory, &options);
	for (size_t i = 0; i < rows; i++)
	{
		counters_set(1000, UINT64_MAX);
		assert_int_equal(samples_put(&memory, &samples, i, true), IQDB_OK);
	}
	if (rows > 0)
		search_at_the_ends(&memory, &samples);
	counters_set(1000 + 10 * rows, UINT64_MAX);
	for (size_t i = 0; i < rows; i += 2)
		samples_remove(&memory, &samples, i);
	assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_VACUUM, NULL), IQDB_OK);
	assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_OPTIMIZE, NULL), IQDB_OK);
	assert_true(memory_index_sound(&memory.index));
	memory_index_destroy(&memory);
	samples_free(&samples);
}

static void
test_options_at_their_ends(void **state)
{
	static const size_t rows[] = {0, 1, 2, 17, 18, 40, 300};
	static const uint32_t shapes[][3] = {{2, 4, 1}, {2, 4000, 100000}, {128, 256, 1}, {128, 4000, 100000}, {16, 64, 2}};
	static const IqdbQuantization codes[] = {IQDB_QUANTIZATION_NONE, IQDB_QUANTIZATION_SQ8, IQDB_QUANTIZATION_BQ};

	for (uint32_t metric = 0; metric < IQDB_METRIC_COUNT; metric++)
	{
		for (int code = 0; code < (metric <= IQDB_METRIC_L2 ? 3 : 1); code++)
		{
			for (size_t r = 0; r < sizeof(rows) / sizeof(rows[0]); r++)
			{
				for (size_t s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++)
					index_at_the_ends(rows[r], (IqdbMetric) metric, codes[code], shapes[s][0], shapes[s][1],
									  shapes[s][2]);
			}
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_options_at_their_ends),
	};

	return cmocka_run_group_tests_name("hnsw_limits", tests, NULL, NULL);
}
