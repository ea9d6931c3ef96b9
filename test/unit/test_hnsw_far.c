/*
 * test_hnsw_far.c - searches with a filter where all that passes lies farther from the query than what does not: that is seen
 * where the way down ends, and soon all that pass are looked at, instead of half of the others first.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "unit/hnsw_samples.h"

#define SEED UINT64_C(20261202)
#define DIM 16
#define ROWS 16000
#define QUERIES 20
#define K 10
#define BEAM 16

typedef struct Setting
{
	MemoryIndex memory;
	Samples     samples;
	Samples     queries;
	float      *keys;    /* of all rows with the query, by row */
	float      *sorted;
	bool       *passes;
	IqdbIdSet   ids;     /* the rows that pass */
} Setting;

static int
by_key(const void *a, const void *b)
{
	float x = *(const float *) a;
	float y = *(const float *) b;

	return x < y ? -1 : x > y;
}

static void
setting_open(Setting *setting)
{
	samples_make_with_queries(&setting->samples, &setting->queries, ROWS, QUERIES, DIM, 40, SEED);
	samples_index(&setting->memory, &setting->samples, IQDB_METRIC_L2, IQDB_QUANTIZATION_SQ8, 8, 40);
	for (size_t row = 0; row < ROWS; row++)
		assert_int_equal(samples_put(&setting->memory, &setting->samples, row, true), IQDB_OK);
	setting->keys = malloc(ROWS * sizeof(float));
	setting->sorted = malloc(ROWS * sizeof(float));
	setting->passes = malloc(ROWS * sizeof(bool));
	assert_true(setting->keys != NULL && setting->sorted != NULL && setting->passes != NULL);
}

static void
setting_close(Setting *setting)
{
	memory_index_destroy(&setting->memory);
	samples_free(&setting->samples);
	samples_free(&setting->queries);
	free(setting->keys);
	free(setting->sorted);
	free(setting->passes);
}

static void
rank_rows(Setting *setting, const float *query)
{
	for (size_t row = 0; row < ROWS; row++)
	{
		setting->keys[row] = 0.0f;
		for (size_t d = 0; d < DIM; d++)
		{
			float apart = query[d] - setting->samples.rows[row * DIM + d];

			setting->keys[row] += apart * apart;
		}
	}
}

/* The set of the rows that pass; returns the key of the Kth nearest of them. */
static float
settle_filter(Setting *setting)
{
	size_t count = 0;

	iqdb_id_set_init(&setting->ids, &iqdb_allocator_libc);
	for (size_t row = 0; row < ROWS; row++)
	{
		if (!setting->passes[row])
			continue;
		assert_int_equal(iqdb_id_set_add(&setting->ids, row, NULL), IQDB_OK);
		setting->sorted[count++] = setting->keys[row];
	}
	assert_true(count >= K);
	qsort(setting->sorted, count, sizeof(float), by_key);
	return setting->sorted[K - 1] * 1.0001f;
}

/* The farther half of the rows passes. */
static void
matches_far_away(void **state)
{
	Setting setting;
	size_t  met = 0;

	setting_open(&setting);
	for (size_t q = 0; q < QUERIES; q++)
	{
		const float     *query = setting.queries.rows + q * DIM;
		IqdbRowFilter    filter = {.ids = &setting.ids};
		IqdbSearchParams params = {.expected = K, .ef = BEAM, .filter = &filter};
		IqdbCursor      *cursor;
		IqdbHit          hits[K];
		size_t           count;
		float            middle;
		float            farthest;

		rank_rows(&setting, query);
		memcpy(setting.sorted, setting.keys, ROWS * sizeof(float));
		qsort(setting.sorted, ROWS, sizeof(float), by_key);
		middle = setting.sorted[ROWS / 2];
		for (size_t row = 0; row < ROWS; row++)
			setting.passes[row] = setting.keys[row] > middle;
		farthest = settle_filter(&setting);
		assert_int_equal(iqdb_cursor_open(&setting.memory.index, query, DIM, &params, &cursor, NULL), IQDB_OK);
		assert_int_equal(iqdb_cursor_next(cursor, hits, K, &count, NULL), IQDB_OK);
		assert_int_equal(count, K);
		for (size_t i = 0; i < count; i++)
		{
			assert_true(setting.passes[hits[i].id]);
			met += setting.keys[hits[i].id] <= farthest;
		}
		assert_int_equal(cursor->stats.way, IQDB_SEARCH_OWN_EXACT);
		assert_in_range(cursor->stats.scored, ROWS / 2 - 1, ROWS / 2 + ROWS / 16);
		iqdb_cursor_close(cursor);
		iqdb_id_set_free(&setting.ids);
	}
	printf("# far away: %zu of %d found (seed %llu)\n", met, QUERIES * K, (unsigned long long) SEED);
	assert_true(met >= QUERIES * K * 95 / 100);
	setting_close(&setting);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(matches_far_away),
	};

	return cmocka_run_group_tests_name("hnsw_far", tests, NULL, NULL);
}
