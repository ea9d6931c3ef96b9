/*
 * test_hnsw_codes.c - gates: a search that walks on codes finds what it should wherever the rows lie.
 *
 * Rows of independent normal components, moved away from zero by a multiple of their standard deviation, another one in
 * each component: what an engine that codes around zero cannot tell apart. And rows of which most components are equal.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "unit/hnsw_samples.h"

#define SEED UINT64_C(20260131)
#define DIM 32
#define ROWS 2000
#define EF 64

/* How rows are coded: every test runs with each. */
static IqdbQuantization coded = IQDB_QUANTIZATION_SQ8;

static void
assert_recall(const char *what, IqdbMetric metric, double sigmas, double recall, double gate)
{
	printf("# %s, %s, %s, %g sigma from zero: recall %.4f (gate %.2f, seed %llu)\n", samples_quantization(coded), what,
		   iqdb_metric_name(metric), sigmas, recall, gate, (unsigned long long) SEED);
	assert_true(recall >= gate);
}

static void
move(float *rows, size_t count, double sigmas)
{
	for (size_t i = 0; i < count * DIM; i++)
		rows[i] += (float) (sigmas * (i % 2 == 0 ? 1.0 : -0.5) * (double) (i % DIM % 7 + 1) / 4.0);
}

static void
gauss(Samples *samples, Samples *queries)
{
	IqdbRng rng;

	samples_make_with_queries(samples, queries, ROWS, 50, DIM, 0, SEED);
	iqdb_rng_seed(&rng, SEED);
	for (size_t i = 0; i < samples->count * DIM; i++)
		samples->rows[i] = samples_gauss(&rng);
	for (size_t i = 0; i < queries->count * DIM; i++)
		queries->rows[i] = samples_gauss(&rng);
}

static void
put_all(MemoryIndex *memory, Samples *samples, size_t first, size_t end)
{
	for (size_t i = first; i < end; i++)
		assert_int_equal(samples_put(memory, samples, i, true), IQDB_OK);
}

static void
reload(MemoryIndex *memory, MemoryIndex *from)
{
	MemorySnapshot    snapshot;
	IqdbSectionSink   sink;
	IqdbSectionSource source;
	IqdbError         err;

	memory_snapshot_init(&snapshot);
	sink = memory_snapshot_sink(&snapshot);
	assert_int_equal(iqdb_index_save(&from->index, &sink, &err), IQDB_OK);
	memory_index_create(memory, &from->index.store.header->options, &iqdb_locks_pthread, NULL, SAMPLES_MEMORY_MAX);
	source = memory_snapshot_source(&snapshot);
	assert_int_equal(iqdb_index_load(&memory->index, &source, &err), IQDB_OK);
	memory_snapshot_free(&snapshot);
}

/* One by one into an empty index, loaded, half of it deleted, repaired, loaded again. */
static void
moved(IqdbMetric metric, double sigmas)
{
	MemoryIndex memory;
	MemoryIndex loaded;
	Samples     samples;
	Samples     queries;

	gauss(&samples, &queries);
	move(samples.rows, samples.count, sigmas);
	move(queries.rows, queries.count, sigmas);
	samples_index(&memory, &samples, metric, coded, 16, 100);
	put_all(&memory, &samples, 0, ROWS);
	assert_recall("row by row", metric, sigmas, samples_recall(&memory, &samples, &queries, EF), 0.97);
	reload(&loaded, &memory);
	assert_recall("loaded", metric, sigmas, samples_recall(&loaded, &samples, &queries, EF), 0.97);
	memory_index_destroy(&loaded);
	for (size_t i = 0; i < ROWS; i += 2)
		samples_remove(&memory, &samples, i);
	assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_VACUUM, NULL), IQDB_OK);
	assert_recall("half deleted", metric, sigmas, samples_recall(&memory, &samples, &queries, EF), 0.97);
	reload(&loaded, &memory);
	assert_recall("half deleted, loaded", metric, sigmas, samples_recall(&loaded, &samples, &queries, EF), 0.97);
	assert_true(memory_index_sound(&loaded.index));
	memory_index_destroy(&loaded);
	memory_index_destroy(&memory);
	samples_free(&samples);
	samples_free(&queries);
}

static void
test_far_from_zero(void **state)
{
	static const IqdbMetric metrics[] = {IQDB_METRIC_L2, IQDB_METRIC_DOT, IQDB_METRIC_COSINE};

	for (size_t i = 0; i < 3; i++)
	{
		moved(metrics[i], 0.0);
		moved(metrics[i], 50.0);
		moved(metrics[i], 1000.0);
	}
}

/*
 * The first rows say nothing about the others: the end of a build looks again. Until the first ones are gone signs tell the
 * others apart by little, and links that were chosen meanwhile stay.
 */
static void
test_other_rows_first(void **state)
{
	MemoryIndex memory;
	Samples     samples;
	Samples     queries;

	gauss(&samples, &queries);
	move(samples.rows + 280 * DIM, samples.count - 280, 1000.0);
	move(queries.rows, queries.count, 1000.0);
	samples_index(&memory, &samples, IQDB_METRIC_L2, coded, 16, 100);
	put_all(&memory, &samples, 0, 1100);
	for (size_t i = 0; i < 280; i++)
		samples_remove(&memory, &samples, i);
	assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_VACUUM, NULL), IQDB_OK);
	assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_OPTIMIZE, NULL), IQDB_OK);
	put_all(&memory, &samples, 1100, ROWS);
	assert_recall("after other rows", IQDB_METRIC_L2, 1000.0, samples_recall(&memory, &samples, &queries, EF),
				  coded == IQDB_QUANTIZATION_BQ ? 0.70 : 0.90);
	memory_index_destroy(&memory);
	samples_free(&samples);
	samples_free(&queries);
}

/* Rows differ in eight components of 32, the others are zero; queries differ from them in all. */
static void
test_mostly_zero(void **state)
{
	static const IqdbMetric metrics[] = {IQDB_METRIC_L2, IQDB_METRIC_DOT, IQDB_METRIC_COSINE};

	for (size_t m = 0; m < 3; m++)
	{
		MemoryIndex memory;
		Samples     samples;
		Samples     queries;

		gauss(&samples, &queries);
		for (size_t i = 0; i < samples.count * DIM; i++)
			samples.rows[i] = i % DIM < 8 ? 0.5f + 0.1f * samples.rows[i] : 0.0f;
		for (size_t i = 0; i < queries.count * DIM; i++)
			queries.rows[i] = i % DIM < 8 ? 0.5f + 0.1f * queries.rows[i] : 1.0f + 0.1f * queries.rows[i];
		samples_index(&memory, &samples, metrics[m], coded, 16, 100);
		put_all(&memory, &samples, 0, ROWS);
		assert_recall("mostly zero", metrics[m], 0.0, samples_recall(&memory, &samples, &queries, EF), 0.97);
		memory_index_destroy(&memory);
		samples_free(&samples);
		samples_free(&queries);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_far_from_zero),
		cmocka_unit_test(test_other_rows_first),
		cmocka_unit_test(test_mostly_zero),
	};
	/* a key by signs is off by a share of how far the query lies from the centre: too far there */
	const struct CMUnitTest tests_of_signs[] = {
		cmocka_unit_test(test_far_from_zero),
		cmocka_unit_test(test_other_rows_first),
	};

	if (cmocka_run_group_tests_name("hnsw_codes, sq8", tests, NULL, NULL) != 0)
		return 1;
	coded = IQDB_QUANTIZATION_BQ;
	return cmocka_run_group_tests_name("hnsw_codes, bq", tests_of_signs, NULL, NULL);
}
