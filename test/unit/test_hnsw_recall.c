/*
 * test_hnsw_recall.c - gates: what a search of the graph must find, however the graph came to be.
 *
 * Small sets with fixed seeds; the beam is kept far below the number of rows, because a search whose beam is a share of
 * all rows looks at all of them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>
#include <pthread.h>

#include "unit/hnsw_samples.h"

#define SEED UINT64_C(20250412)
#define EF 24

static void
assert_recall(const char *what, double recall, double gate)
{
	printf("# %s: recall %.4f (gate %.4f, seed %llu)\n", what, recall, gate, (unsigned long long) SEED);
	assert_true(recall >= gate);
}

static void
build(MemoryIndex *memory, Samples *samples, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++)
		assert_int_equal(samples_put(memory, samples, i, true), IQDB_OK);
}

/* ---- all metrics on data without structure: the hardest there is ---- */

static void
uniform(IqdbMetric metric, IqdbQuantization quantization)
{
	char        name[64];
	MemoryIndex memory;
	Samples     samples;
	Samples     queries;

	samples_make_with_queries(&samples, &queries, 2000, 60, 64, 0, SEED);
	samples_index(&memory, &samples, metric, quantization, 16, 120);
	build(&memory, &samples, 0, samples.count);
	assert_true(memory_index_sound(&memory.index));
	(void) snprintf(name, sizeof(name), "uniform, %s, %s", iqdb_metric_name(metric), samples_quantization(quantization));
	assert_recall(name, samples_recall(&memory, &samples, &queries, 128), 0.95);
	memory_index_destroy(&memory);
	samples_free(&samples);
	samples_free(&queries);
}

static void
test_uniform_metrics(void **state)
{
	for (uint32_t metric = 0; metric <= IQDB_METRIC_L2; metric++)
	{
		uniform((IqdbMetric) metric, IQDB_QUANTIZATION_NONE);
		uniform((IqdbMetric) metric, IQDB_QUANTIZATION_SQ8);
		uniform((IqdbMetric) metric, IQDB_QUANTIZATION_BQ);
	}
	uniform(IQDB_METRIC_L1, IQDB_QUANTIZATION_NONE);
}

/* Components of few values, so that many are equal. */
static void
test_hamming(void **state)
{
	MemoryIndex memory;
	Samples     samples;
	Samples     queries;

	samples_make_with_queries(&samples, &queries, 2000, 60, 64, 0, SEED);
	for (size_t i = 0; i < samples.count * samples.dim; i++)
		samples.rows[i] = samples.rows[i] < 0.0f ? 0.0f : 1.0f;
	for (size_t i = 0; i < queries.count * queries.dim; i++)
		queries.rows[i] = queries.rows[i] < 0.0f ? 0.0f : 1.0f;
	samples_index(&memory, &samples, IQDB_METRIC_HAMMING, IQDB_QUANTIZATION_NONE, 16, 120);
	build(&memory, &samples, 0, samples.count);
	assert_recall("hamming", samples_recall(&memory, &samples, &queries, 128), 0.95);
	memory_index_destroy(&memory);
	samples_free(&samples);
	samples_free(&queries);
}

/* ---- the same gate for every history of the graph ---- */

typedef struct Share
{
	MemoryIndex *memory;
	Samples     *samples;
	size_t       first;
	size_t       step;
} Share;

static void *
build_share(void *arg)
{
	Share *share = arg;

	for (size_t i = share->first; i < share->samples->count; i += share->step)
		if (samples_put(share->memory, share->samples, i, true) != IQDB_OK)
			abort();
	return NULL;
}

static void
two_threads(IqdbQuantization quantization)
{
	MemoryIndex memory;
	Samples     samples;
	Samples     queries;
	Share       shares[2];
	pthread_t   threads[2];

	samples_make_with_queries(&samples, &queries, 3000, 100, 48, 40, SEED);
	samples_index(&memory, &samples, IQDB_METRIC_L2, quantization, 16, 100);
	for (size_t t = 0; t < 2; t++)
	{
		shares[t] = (Share){&memory, &samples, t, 2};
		assert_int_equal(pthread_create(&threads[t], NULL, build_share, &shares[t]), 0);
	}
	for (size_t t = 0; t < 2; t++)
		assert_int_equal(pthread_join(threads[t], NULL), 0);
	assert_true(memory_index_sound(&memory.index));
	assert_recall("built by two threads", samples_recall(&memory, &samples, &queries, 64), 0.97);
	memory_index_destroy(&memory);
	samples_free(&samples);
	samples_free(&queries);
}

static void
test_two_threads(void **state)
{
	two_threads(IQDB_QUANTIZATION_SQ8);
	two_threads(IQDB_QUANTIZATION_BQ);
}

static void
reload(MemoryIndex *memory, const MemoryIndex *from)
{
	MemorySnapshot    snapshot;
	IqdbSectionSink   sink;
	IqdbSectionSource source;
	IqdbError         err;

	memory_snapshot_init(&snapshot);
	sink = memory_snapshot_sink(&snapshot);
	assert_int_equal(iqdb_index_save((IqdbIndex *) &from->index, &sink, &err), IQDB_OK);
	memory_index_create(memory, &from->index.store.header->options, &iqdb_locks_pthread, NULL, SAMPLES_MEMORY_MAX);
	source = memory_snapshot_source(&snapshot);
	assert_int_equal(iqdb_index_load(&memory->index, &source, &err), IQDB_OK);
	memory_snapshot_free(&snapshot);
}

/*
 * Built, added to, half of it deleted, repaired, saved and loaded: never worse by more than a hundredth than a graph built
 * afresh of the same rows. Without clusters and with a narrow beam, so that there is room below 1.
 */
static void
history(IqdbMetric metric, IqdbQuantization quantization)
{
	MemoryIndex memory;
	MemoryIndex fresh;
	MemoryIndex loaded;
	Samples     samples;
	Samples     kept;
	Samples     queries;
	Samples     unused;
	IqdbRng     rng;
	/* bits without clusters are all equally far from each other */
	size_t      clusters = samples_are_bits() ? 300 : 0;
	double      gate;
	double      recall;

	samples_make_with_queries(&samples, &queries, 3600, 200, 24, clusters, SEED);
	samples_make_with_queries(&kept, &unused, 3600, 200, 24, clusters, SEED);
	samples_free(&unused);
	samples_index(&memory, &samples, metric, quantization, 12, 80);
	samples_index(&fresh, &kept, metric, quantization, 12, 80);
	iqdb_rng_seed(&rng, SEED);

	build(&memory, &samples, 0, 2700);
	assert_recall("serial build", samples_recall(&memory, &samples, &queries, EF), 0.85);
	build(&memory, &samples, 2700, 3600);
	assert_recall("insert after build", samples_recall(&memory, &samples, &queries, EF), 0.85);

	for (size_t i = 0; i < samples.count; i++)
	{
		if (iqdb_rng_below(&rng, 2) == 0)
			samples_remove(&memory, &samples, i);
		else
			assert_int_equal(samples_put(&fresh, &kept, i, true), IQDB_OK);
	}
	gate = samples_recall(&fresh, &kept, &queries, EF) - 0.01;
	assert_recall("half deleted", samples_recall(&memory, &samples, &queries, EF), gate);
	reload(&loaded, &memory);
	assert_true(memory_index_sound(&loaded.index));
	assert_recall("half deleted, loaded", samples_recall(&loaded, &samples, &queries, EF), gate);
	memory_index_destroy(&loaded);

	assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_VACUUM, NULL), IQDB_OK);
	assert_true(memory_index_sound(&memory.index));
	recall = samples_recall(&memory, &samples, &queries, EF);
	assert_recall("half deleted, vacuumed", recall, gate);

	reload(&loaded, &memory);
	assert_true(memory_index_sound(&loaded.index));
	assert_true(samples_recall(&loaded, &samples, &queries, EF) == recall);
	memory_index_destroy(&loaded);
	memory_index_destroy(&memory);
	memory_index_destroy(&fresh);
	samples_free(&samples);
	samples_free(&kept);
	samples_free(&queries);
}

static void
test_history_coded(void **state)
{
	history(IQDB_METRIC_L2, IQDB_QUANTIZATION_SQ8);
	history(IQDB_METRIC_COSINE, IQDB_QUANTIZATION_SQ8);
	history(IQDB_METRIC_L2, IQDB_QUANTIZATION_BQ);
	history(IQDB_METRIC_COSINE, IQDB_QUANTIZATION_BQ);
	history(IQDB_METRIC_DOT, IQDB_QUANTIZATION_BQ);
}

static void
test_history_plain(void **state)
{
	history(IQDB_METRIC_L2, IQDB_QUANTIZATION_NONE);
	history(IQDB_METRIC_L1, IQDB_QUANTIZATION_NONE);
}

/* Everything replaced, again and again, with a repair after each round. */
static void
churn(IqdbQuantization quantization)
{
	MemoryIndex memory;
	MemoryIndex fresh;
	Samples     samples;
	Samples     queries;
	double      gate;

	samples_make_with_queries(&samples, &queries, 2400, 200, 24, 0, SEED);
	samples_index(&memory, &samples, IQDB_METRIC_L2, quantization, 12, 80);
	samples_index(&fresh, &samples, IQDB_METRIC_L2, quantization, 12, 80);
	build(&fresh, &samples, 0, samples.count);
	gate = samples_recall(&fresh, &samples, &queries, EF) - 0.01;
	build(&memory, &samples, 0, samples.count);
	for (size_t round = 0; round < 3; round++)
	{
		for (size_t i = round & 1; i < samples.count; i += 2)
			assert_int_equal(samples_put(&memory, &samples, i, true), IQDB_OK);
		assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_VACUUM, NULL), IQDB_OK);
		assert_true(memory_index_sound(&memory.index));
		assert_recall("half of it replaced", samples_recall(&memory, &samples, &queries, EF), gate);
	}
	memory_index_destroy(&memory);
	memory_index_destroy(&fresh);
	samples_free(&samples);
	samples_free(&queries);
}

static void
test_churn(void **state)
{
	churn(IQDB_QUANTIZATION_SQ8);
	churn(IQDB_QUANTIZATION_BQ);
}

/* ---- loading around rows that are gone ---- */

/*
 * A part of the rows is gone when the graph is loaded, the oldest ones or any: lists are spliced around them, and what is
 * found is hardly less than in a graph that was built without these rows.
 */
static void
load_around_gone(size_t percent, bool oldest)
{
	char        name[64];
	MemoryIndex memory;
	MemoryIndex fresh;
	MemoryIndex loaded;
	Samples     samples;
	Samples     kept;
	Samples     queries;
	Samples     unused;
	IqdbRng     rng;
	uint32_t    ef = 40;
	double      gate;

	samples_make_with_queries(&samples, &queries, 4000, 300, 24, 0, SEED);
	samples_make_with_queries(&kept, &unused, 4000, 300, 24, 0, SEED);
	samples_free(&unused);
	samples_index(&memory, &samples, IQDB_METRIC_L2, IQDB_QUANTIZATION_SQ8, 12, 64);
	samples_index(&fresh, &kept, IQDB_METRIC_L2, IQDB_QUANTIZATION_SQ8, 12, 64);
	iqdb_rng_seed(&rng, SEED);
	build(&memory, &samples, 0, samples.count);
	for (size_t i = 0; i < samples.count; i++)
	{
		if (oldest ? 100 * i < percent * samples.count : iqdb_rng_below(&rng, 100) < percent)
			samples_remove(&memory, &samples, i);
		else
			assert_int_equal(samples_put(&fresh, &kept, i, true), IQDB_OK);
	}
	gate = samples_recall(&fresh, &kept, &queries, ef) - 0.02;
	reload(&loaded, &memory);
	assert_true(memory_index_sound(&loaded.index));
	(void) snprintf(name, sizeof(name), "%zu %% gone, %s, loaded", percent, oldest ? "the oldest" : "any");
	assert_recall(name, samples_recall(&loaded, &samples, &queries, ef), gate);
	memory_index_destroy(&loaded);
	memory_index_destroy(&memory);
	memory_index_destroy(&fresh);
	samples_free(&samples);
	samples_free(&kept);
	samples_free(&queries);
}

static void
test_load_around_gone(void **state)
{
	static const size_t percents[] = {2, 10, 25, 50, 80};

	for (size_t i = 0; i < sizeof(percents) / sizeof(percents[0]); i++)
	{
		load_around_gone(percents[i], false);
		load_around_gone(percents[i], true);
	}
}

/* ---- elements ---- */

static void
test_elements(void **state)
{
	samples_element = IQDB_ELEMENT_F16;
	for (uint32_t metric = 0; metric <= IQDB_METRIC_L2; metric++)
	{
		uniform((IqdbMetric) metric, IQDB_QUANTIZATION_NONE);
		uniform((IqdbMetric) metric, IQDB_QUANTIZATION_SQ8);
		uniform((IqdbMetric) metric, IQDB_QUANTIZATION_BQ);
	}
	uniform(IQDB_METRIC_L1, IQDB_QUANTIZATION_NONE);
	history(IQDB_METRIC_COSINE, IQDB_QUANTIZATION_NONE);
	two_threads(IQDB_QUANTIZATION_SQ8);
	churn(IQDB_QUANTIZATION_BQ);
	samples_element = IQDB_ELEMENT_BIT;
	history(IQDB_METRIC_HAMMING, IQDB_QUANTIZATION_NONE);
	history(IQDB_METRIC_JACCARD, IQDB_QUANTIZATION_NONE);
	two_threads(IQDB_QUANTIZATION_NONE);
	samples_element = IQDB_ELEMENT_F32;
}

/* ---- dimensions ---- */

static void
dimension(size_t dim, IqdbQuantization quantization)
{
	size_t      count = dim > 500 ? 300 : 1000;
	char        name[64];
	MemoryIndex memory;
	Samples     samples;
	Samples     queries;

	samples_make_with_queries(&samples, &queries, count, 30, dim, 20, SEED);
	samples_index(&memory, &samples, IQDB_METRIC_L2, quantization, 8, 40);
	build(&memory, &samples, 0, count);
	assert_true(memory_index_sound(&memory.index));
	(void) snprintf(name, sizeof(name), "dimension %zu, %s", dim, samples_quantization(quantization));
	assert_recall(name, samples_recall(&memory, &samples, &queries, 32), 0.90);
	memory_index_destroy(&memory);
	samples_free(&samples);
	samples_free(&queries);
}

static void
test_dimensions(void **state)
{
	static const size_t dims[] = {1, 2, 3, 7, 17, 100, 1000, 4096};

	for (size_t i = 0; i < sizeof(dims) / sizeof(dims[0]); i++)
	{
		dimension(dims[i], dims[i] >= 16 ? IQDB_QUANTIZATION_SQ8 : IQDB_QUANTIZATION_NONE);
		dimension(dims[i], IQDB_QUANTIZATION_BQ);
	}
	dimension(IQDB_DIMENSION_MAX, IQDB_QUANTIZATION_BQ);
	samples_element = IQDB_ELEMENT_F16;
	dimension(17, IQDB_QUANTIZATION_NONE);
	dimension(IQDB_DIMENSION_MAX, IQDB_QUANTIZATION_BQ);
	samples_element = IQDB_ELEMENT_BIT;
	dimension(17, IQDB_QUANTIZATION_NONE);
	dimension(IQDB_DIMENSION_BITS_MAX / SAMPLES_BITS, IQDB_QUANTIZATION_NONE);
	samples_element = IQDB_ELEMENT_F32;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_uniform_metrics), cmocka_unit_test(test_hamming),       cmocka_unit_test(test_two_threads),
		cmocka_unit_test(test_history_coded),   cmocka_unit_test(test_history_plain), cmocka_unit_test(test_churn),
		cmocka_unit_test(test_load_around_gone), cmocka_unit_test(test_elements),     cmocka_unit_test(test_dimensions),
	};

	return cmocka_run_group_tests_name("hnsw_recall", tests, NULL, NULL);
}
