/*
 * test_hnsw_twins.c - the hnsw engine where many rows are equal: they share a node of the graph, and cost next to
 * nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>
#include <pthread.h>

#include "unit/hnsw_samples.h"

#define SEED UINT64_C(20260207)
#define DIM 16
#define EF 32
#define ROWS ((size_t) 3000)

/* What rows are coded by where a test wants codes: every test runs with each. */
static IqdbQuantization coded = IQDB_QUANTIZATION_SQ8;

static IqdbEngineStats
stats_of(MemoryIndex *memory)
{
	IqdbIndexStats stats;

	iqdb_index_stats(&memory->index, &stats);
	return stats.engine;
}

/* Rows that are themselves, every second one of which is replaced by one of `kinds` others. */
static void
make(Samples *samples, size_t count, size_t kinds)
{
	samples_make(samples, count, DIM, 0, SEED);
	for (size_t i = 0; i < count; i += 2)
		samples_copy(samples, i, i / 2 % kinds * 2 + 1);
}

static void
put_all(MemoryIndex *memory, Samples *samples)
{
	for (size_t i = 0; i < samples->count; i++)
		assert_int_equal(samples_put(memory, samples, i, true), IQDB_OK);
}

/* Everything comes, once, in exact order but for what an approximate engine finds late, which is nothing here. */
static void
assert_stream(MemoryIndex *memory, const Samples *samples, const void *query, size_t capacity)
{
	IqdbSearchParams params = {.ef = EF};
	IqdbCursor      *cursor;
	IqdbHit         *hits = malloc(capacity * sizeof(IqdbHit));
	unsigned char   *seen = calloc(samples->count, 1);
	size_t           total = 0;
	size_t           present = 0;
	size_t           count;

	assert_true(hits != NULL && seen != NULL);
	assert_int_equal(iqdb_cursor_open(&memory->index, query, samples->dim, &params, &cursor, NULL), IQDB_OK);
	do
	{
		assert_int_equal(iqdb_cursor_next(cursor, hits, capacity, &count, NULL), IQDB_OK);
		for (size_t i = 0; i < count; i++)
		{
			assert_true(samples->present[hits[i].id]);
			assert_int_equal(seen[hits[i].id]++, 0);
		}
		total += count;
	} while (count > 0);
	iqdb_cursor_close(cursor);
	for (size_t i = 0; i < samples->count; i++)
		present += samples->present[i];
	assert_int_equal(total, present);
	free(hits);
	free(seen);
}

/* The first of many equal rows, in the order of insertion, by a search that looks at few rows. */
static void
assert_first(MemoryIndex *memory, const Samples *samples, size_t like, size_t wanted)
{
	IqdbSearchParams params = {.expected = wanted, .ef = EF};
	IqdbHit          hits[200];
	IqdbCursor      *cursor;
	size_t           count;
	size_t           row = 0;

	assert_int_equal(iqdb_cursor_open(&memory->index, samples_row(samples, like), samples->dim, &params, &cursor, NULL),
					 IQDB_OK);
	for (size_t found = 0; found < wanted; found += count)
	{
		assert_int_equal(iqdb_cursor_next(cursor, hits, wanted - found, &count, NULL), IQDB_OK);
		assert_true(count > 0);
		for (size_t i = 0; i < count; i++, row++)
		{
			while (!samples->present[row] || !samples_equal(samples, row, like))
				row++;
			assert_int_equal(hits[i].id, row);
		}
	}
	assert_true(cursor->stats.scored < 2000);
	iqdb_cursor_close(cursor);
}

static void
reload(MemoryIndex *memory, MemoryIndex *from)
{
	MemorySnapshot    snapshot;
	IqdbSectionSink   sink;
	IqdbSectionSource source;

	memory_snapshot_init(&snapshot);
	sink = memory_snapshot_sink(&snapshot);
	assert_int_equal(iqdb_index_save(&from->index, &sink, NULL), IQDB_OK);
	memory_index_create(memory, &from->index.store.header->options, &iqdb_locks_pthread, NULL, SAMPLES_MEMORY_MAX);
	source = memory_snapshot_source(&snapshot);
	assert_int_equal(iqdb_index_load(&memory->index, &source, NULL), IQDB_OK);
	memory_snapshot_free(&snapshot);
}

/* Half of the rows equal to one of a few: linked, searched, loaded, half removed, repaired, put back. */
static void
history(IqdbMetric metric, IqdbQuantization quantization, size_t kinds)
{
	MemoryIndex     memory;
	MemoryIndex     loaded;
	Samples         samples;
	IqdbEngineStats stats;
	/* equal rows are each other's nearest, and random components agree often enough to lead anywhere */
	bool            easy = metric != IQDB_METRIC_DOT && metric != IQDB_METRIC_HAMMING;

	make(&samples, ROWS, kinds);
	samples_index(&memory, &samples, metric, quantization, 8, 40);
	put_all(&memory, &samples);
	assert_true(memory_index_sound(&memory.index));
	stats = stats_of(&memory);
	printf("# %s, %s, %zu kinds: %llu twins\n", iqdb_metric_name(metric), samples_quantization(quantization), kinds,
		   (unsigned long long) stats.twins);
	assert_true(stats.twins >= (ROWS / 2 - (easy ? 20 : 250)));
	if (easy)
		assert_first(&memory, &samples, 1, ROWS / 2 / kinds < 150 ? ROWS / 2 / kinds : 150);
	assert_stream(&memory, &samples, samples_row(&samples, 1), 100);

	reload(&loaded, &memory);
	assert_true(memory_index_sound(&loaded.index));
	assert_int_equal(stats_of(&loaded).twins, stats.twins);
	memory_index_destroy(&loaded);

	/* among them all nodes that have twins */
	for (size_t i = 0; i < ROWS / 2; i++)
		samples_remove(&memory, &samples, i);
	assert_stream(&memory, &samples, samples_row(&samples, 1), 100);
	reload(&loaded, &memory);
	assert_true(memory_index_sound(&loaded.index));
	assert_stream(&loaded, &samples, samples_row(&samples, 1), 100);
	if (easy)
	{
		assert_true(stats_of(&loaded).twins >= ROWS / 4 - 20 - kinds);
		assert_first(&loaded, &samples, 1, ROWS / 4 / kinds < 150 ? ROWS / 4 / kinds : 150);
	}
	memory_index_destroy(&loaded);
	assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_VACUUM, NULL), IQDB_OK);
	assert_true(memory_index_sound(&memory.index));
	assert_int_equal(stats_of(&memory).unrepaired, 0);
	if (easy)
		assert_first(&memory, &samples, 1, ROWS / 4 / kinds < 150 ? ROWS / 4 / kinds : 150);
	for (size_t i = 0; i < ROWS / 2; i++)
		assert_int_equal(samples_put(&memory, &samples, i, true), IQDB_OK);
	assert_true(memory_index_sound(&memory.index));
	assert_true(stats_of(&memory).twins >= (ROWS / 2 - (easy ? 60 : 350)));
	assert_stream(&memory, &samples, samples_row(&samples, 2), 7);
	memory_index_destroy(&memory);
	samples_free(&samples);
}

static void
test_every_metric(void **state)
{
	for (uint32_t metric = 0; metric < IQDB_METRIC_COUNT; metric++)
	{
		if (!samples_has_metric(metric))
			continue;
		history((IqdbMetric) metric, IQDB_QUANTIZATION_NONE, 1);
		if (samples_codes((IqdbMetric) metric, coded) == coded)
			history((IqdbMetric) metric, coded, 1);
		history((IqdbMetric) metric, coded, 30);
	}
}

/*
 * One node whose row is removed again and again: its place goes from twin to twin, the other rows keep their way to
 * them.
 */
static void
test_node_goes(void **state)
{
	MemoryIndex memory;
	Samples     samples;

	make(&samples, 2000, 1);
	samples_index(&memory, &samples, IQDB_METRIC_L2, coded, 8, 40);
	put_all(&memory, &samples);
	for (size_t round = 0; round < 30; round++)
	{
		size_t row = round == 0 ? 0 : round == 1 ? 1 : 2 * (round - 1);

		samples_remove(&memory, &samples, row);
		assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_VACUUM, NULL), IQDB_OK);
		assert_true(memory_index_sound(&memory.index));
		assert_first(&memory, &samples, 0, 100);
	}
	memory_index_destroy(&memory);
	samples_free(&samples);
}

/* All rows equal, and all zero: one node. */
static void
test_nothing_else(void **state)
{
	for (uint32_t metric = 0; metric < IQDB_METRIC_COUNT; metric++)
	{
		MemoryIndex memory;
		Samples     samples;

		if (!samples_has_metric(metric))
			continue;
		samples_make(&samples, ROWS, DIM, 0, SEED);
		for (size_t i = 0; i < samples.count * samples.dim; i++)
			samples.rows[i] = metric % 2 == 0 ? 0.0f : 0.5f;
		samples_index(&memory, &samples, (IqdbMetric) metric, coded, 8, 40);
		put_all(&memory, &samples);
		assert_int_equal(stats_of(&memory).twins, samples.count - 1);
		assert_true(memory_index_sound(&memory.index));
		assert_first(&memory, &samples, 3, 200);
		for (size_t i = 0; i < samples.count; i += 2)
			samples_remove(&memory, &samples, i);
		assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_VACUUM, NULL), IQDB_OK);
		assert_int_equal(stats_of(&memory).twins, samples.count / 2 - 1);
		assert_int_equal(stats_of(&memory).unrepaired, 0);
		assert_true(memory_index_sound(&memory.index));
		assert_first(&memory, &samples, 3, 200);
		memory_index_destroy(&memory);
		samples_free(&samples);
	}
}

/*
 * Rows changed again and again, but not in their vectors: each change is a new row beside the old one, which stays
 * until a vacuum (first half of the rounds), or is removed at once.
 */
static void
test_versions(void **state)
{
	MemoryIndex     memory;
	Samples         samples;
	Samples         queries;
	IqdbEngineStats stats;
	size_t          distinct = 400;
	double          recall;

	/* bits without clusters are all equally far from each other */
	samples_make_with_queries(&samples, &queries, 12 * distinct, 50, DIM, samples_are_bits() ? 40 : 0, SEED);
	for (size_t i = distinct; i < samples.count; i++)
		samples_copy(&samples, i, i % distinct);
	samples_index(&memory, &samples, IQDB_METRIC_L2, coded, 8, 40);
	for (size_t i = 0; i < samples.count; i++)
	{
		assert_int_equal(samples_put(&memory, &samples, i, true), IQDB_OK);
		if (i >= samples.count / 2)
			samples_remove(&memory, &samples, i - distinct);
	}
	recall = samples_recall(&memory, &samples, &queries, EF);
	stats = stats_of(&memory);
	printf("# versions: recall %.4f, %llu twins\n", recall, (unsigned long long) stats.twins);
	assert_true(recall >= 0.95);
	assert_true(stats.twins >= 11 * distinct - 200);
	assert_true(memory_index_sound(&memory.index));
	assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_VACUUM, NULL), IQDB_OK);
	assert_true(memory_index_sound(&memory.index));
	assert_true(samples_recall(&memory, &samples, &queries, EF) >= 0.95);
	memory_index_destroy(&memory);
	samples_free(&samples);
	samples_free(&queries);
}

/* One row replaced more often than there are rows, by equal ones: what is left of it is found, and first. */
static void
test_one_row_again_and_again(void **state)
{
	MemoryIndex memory;
	Samples     samples;
	IqdbHit     hits[5];

	samples_make(&samples, 3000, DIM, 0, SEED);
	samples_index(&memory, &samples, IQDB_METRIC_L2, coded, 8, 40);
	put_all(&memory, &samples);
	for (size_t i = 0; i < 4000; i++)
		assert_int_equal(samples_put(&memory, &samples, 7, true), IQDB_OK);
	assert_true(stats_of(&memory).twins >= 3990);
	for (size_t k = 1; k <= 5; k++)
	{
		assert_int_equal(samples_search(&memory, samples_row(&samples, 7), EF, hits, k), k);
		assert_int_equal(hits[0].id, 7);
	}
	assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_VACUUM, NULL), IQDB_OK);
	assert_true(memory_index_sound(&memory.index));
	assert_int_equal(stats_of(&memory).twins, 0);
	assert_int_equal(samples_search(&memory, samples_row(&samples, 7), EF, hits, 1), 1);
	assert_int_equal(hits[0].id, 7);
	memory_index_destroy(&memory);
	samples_free(&samples);
}

/*
 * Rows of zeros that differ in their signs are no twins, but they are at no distance from each other, and both are
 * found.
 */
static void
test_zeros_of_both_signs(void **state)
{
	MemoryIndex memory;
	Samples     samples;
	IqdbHit     hits[2];

	samples_make(&samples, 1000, DIM, 0, SEED);
	for (size_t d = 0; d < samples.dim; d++)
	{
		samples.rows[d] = 0.0f;
		samples.rows[samples.dim + d] = -0.0f;
	}
	samples_index(&memory, &samples, IQDB_METRIC_L2, coded, 8, 40);
	put_all(&memory, &samples);
	assert_int_equal(stats_of(&memory).twins, samples_are_bits() ? 1 : 0);
	for (size_t i = 0; i < 2; i++)
	{
		assert_int_equal(samples_search(&memory, samples_row(&samples, i), EF, hits, 2), 2);
		assert_int_equal(hits[0].id, 0);
		assert_int_equal(hits[1].id, 1);
		assert_true(hits[1].key == 0.0f);
	}
	memory_index_destroy(&memory);
	samples_free(&samples);
}

typedef struct Share
{
	MemoryIndex *memory;
	Samples     *samples;
	size_t       first;
} Share;

/* Puts its share, then removes half of it, beside repairs. */
static void *
write_share(void *arg)
{
	Share *share = arg;

	for (size_t i = share->first; i < share->samples->count; i += 2)
	{
		if (samples_put(share->memory, share->samples, i, true) != IQDB_OK)
			abort();
		if (i >= 400 && i % 4 < 2)
			samples_remove(share->memory, share->samples, i - 400);
		if (i % 1000 == 0 && iqdb_index_maintain(&share->memory->index, IQDB_MAINTAIN_VACUUM, NULL) != IQDB_OK)
			abort();
	}
	return NULL;
}

static void *
search_meanwhile(void *arg)
{
	Share  *share = arg;
	IqdbHit hits[50];

	for (size_t i = 0; i < 400; i++)
		(void) samples_search(share->memory, samples_row(share->samples, i % 100), EF, hits, 50);
	return NULL;
}

static void
test_threads(void **state)
{
	MemoryIndex memory;
	Samples     samples;
	Share       shares[3];
	pthread_t   threads[3];

	make(&samples, 6000, 3);
	samples_index(&memory, &samples, IQDB_METRIC_L2, coded, 8, 40);
	for (size_t t = 0; t < 3; t++)
	{
		shares[t] = (Share){&memory, &samples, t};
		assert_int_equal(pthread_create(&threads[t], NULL, t < 2 ? write_share : search_meanwhile, &shares[t]), 0);
	}
	for (size_t t = 0; t < 3; t++)
		assert_int_equal(pthread_join(threads[t], NULL), 0);
	assert_true(memory_index_sound(&memory.index));
	assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_VACUUM, NULL), IQDB_OK);
	assert_true(memory_index_sound(&memory.index));
	assert_stream(&memory, &samples, samples_row(&samples, 1), 100);
	memory_index_destroy(&memory);
	samples_free(&samples);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_metric),
		cmocka_unit_test(test_node_goes),
		cmocka_unit_test(test_nothing_else),
		cmocka_unit_test(test_versions),
		cmocka_unit_test(test_one_row_again_and_again),
		cmocka_unit_test(test_zeros_of_both_signs),
		cmocka_unit_test(test_threads),
	};
	int failed = 0;

	printf("# seed %llu\n", (unsigned long long) SEED);
	failed += cmocka_run_group_tests_name("hnsw_twins, sq8", tests, NULL, NULL);
	coded = IQDB_QUANTIZATION_BQ;
	failed += cmocka_run_group_tests_name("hnsw_twins, bq", tests, NULL, NULL);
	samples_element = IQDB_ELEMENT_F16;
	failed += cmocka_run_group_tests_name("hnsw_twins, halves, bq", tests, NULL, NULL);
	samples_element = IQDB_ELEMENT_BIT;
	failed += cmocka_run_group_tests_name("hnsw_twins, bits", tests, NULL, NULL);
	return failed != 0;
}
