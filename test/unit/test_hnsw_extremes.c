/*
 * test_hnsw_extremes.c - the hnsw engine where rows are very large, very small, nearly or wholly alike.
 *
 * What is held against the answers is computed in double. Each test stands for a way in which single precision, codes or
 * links may fail to tell rows apart: sums that overflow, squares that vanish, a few rows that spoil what is learnt of all,
 * groups narrower than a step of their codes, rows all as far from each other, rows that no link leads to.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/hnsw/hnsw_graph_private.h"
#include "unit/hnsw_samples.h"

#define SEED UINT64_C(20261201)
#define DIM 32
#define ROWS 2100
#define QUERIES 50

typedef void (*Fill)(IqdbRng *rng, size_t row, float *vector);

static void
fill_usual(IqdbRng *rng, float size, float *vector)
{
	for (size_t i = 0; i < DIM; i++)
		vector[i] = size * samples_gauss(rng);
}

/* One row in 21 has a norm whose square no float holds. */
static void
fill_outliers(IqdbRng *rng, size_t row, float *vector)
{
	fill_usual(rng, row % 21 == 0 ? 1e19f : 1.0f, vector);
}

static void
fill_tiny(IqdbRng *rng, size_t row, float *vector)
{
	fill_usual(rng, 1e-24f, vector);
}

static void
fill_huge(IqdbRng *rng, size_t row, float *vector)
{
	fill_usual(rng, 1e37f, vector);
}

/* Nine of ten rows stand close together, far from the others. */
static void
fill_group(IqdbRng *rng, size_t row, float *vector)
{
	bool close = row % 10 != 0;

	fill_usual(rng, close ? 0.00015f : 1.0f, vector);
	for (size_t i = 0; close && i < DIM; i++)
		vector[i] += (float) (i % 7) - 2.5f;
}

/* Fifty groups, each far narrower than the steps of its codes. */
static void
fill_groups(IqdbRng *rng, size_t row, float *vector)
{
	IqdbRng of_group;

	iqdb_rng_seed(&of_group, SEED + row % 50);
	fill_usual(&of_group, 2.0f, vector);
	for (size_t i = 0; i < DIM; i++)
		vector[i] += 0.001f * samples_gauss(rng);
}

static void
make(Samples *samples, Samples *queries, Fill fill)
{
	IqdbRng rng;

	samples_make_with_queries(samples, queries, ROWS, QUERIES, DIM, 0, SEED);
	iqdb_rng_seed(&rng, SEED);
	for (size_t i = 0; i < ROWS; i++)
		fill(&rng, i, samples->rows + i * DIM);
	for (size_t i = 0; i < QUERIES; i++)
		fill(&rng, i + 5, queries->rows + i * DIM);
}

static void
put_all(MemoryIndex *memory, Samples *samples)
{
	for (size_t i = 0; i < samples->count; i++)
		assert_int_equal(samples_put(memory, samples, i, true), IQDB_OK);
}

/* How many of the rows come first when they are asked for themselves. */
static size_t
found_by_themselves(MemoryIndex *memory, const Samples *samples)
{
	size_t found = 0;

	for (size_t i = 0; i < samples->count; i++)
	{
		IqdbHit hit;

		assert_int_equal(samples_search(memory, samples_row(samples, i), 10, &hit, 1), 1);
		found += hit.id == i;
	}
	return found;
}

static void
assert_found(const char *what, Fill fill, IqdbMetric metric, IqdbQuantization quantization, double gate)
{
	MemoryIndex memory;
	Samples samples;
	Samples queries;
	double recall;
	size_t self;

	make(&samples, &queries, fill);
	samples_index(&memory, &samples, metric, quantization, 16, 100);
	put_all(&memory, &samples);
	recall = samples_recall(&memory, &samples, &queries, 100);
	self = metric == IQDB_METRIC_DOT ? ROWS : found_by_themselves(&memory, &samples);
	printf("# %s, %s, %s: recall %.4f (gate %.2f), %zu of %d rows find themselves (seed %llu)\n", what,
		   iqdb_metric_name(metric), samples_quantization(quantization), recall, gate, self, ROWS,
		   (unsigned long long) SEED);
	assert_true(recall >= gate);
	assert_true(self >= ROWS - ROWS / 500);
	memory_index_destroy(&memory);
	samples_free(&samples);
	samples_free(&queries);
}

static void
test_outliers_do_not_hurt_others(void **state)
{
	for (int code = 0; code < 2; code++)
	{
		IqdbQuantization quantization = code ? IQDB_QUANTIZATION_SQ8 : IQDB_QUANTIZATION_NONE;

		assert_found("outliers", fill_outliers, IQDB_METRIC_L2, quantization, 0.97);
		assert_found("outliers", fill_outliers, IQDB_METRIC_COSINE, quantization, 0.97);
		assert_found("outliers", fill_outliers, IQDB_METRIC_DOT, quantization, 0.97);
	}
	assert_found("outliers", fill_outliers, IQDB_METRIC_L1, IQDB_QUANTIZATION_NONE, 0.97);
	assert_found("outliers", fill_outliers, IQDB_METRIC_COSINE, IQDB_QUANTIZATION_BQ, 0.97);
}

static void
test_magnitudes(void **state)
{
	for (uint32_t metric = IQDB_METRIC_COSINE; metric <= IQDB_METRIC_L2; metric++)
	{
		for (int code = 0; code < 2; code++)
		{
			IqdbQuantization quantization = code ? IQDB_QUANTIZATION_SQ8 : IQDB_QUANTIZATION_NONE;

			assert_found("huge", fill_huge, (IqdbMetric) metric, quantization, 0.97);
			assert_found("tiny", fill_tiny, (IqdbMetric) metric, quantization, 0.97);
		}
	}
	assert_found("huge", fill_huge, IQDB_METRIC_L1, IQDB_QUANTIZATION_NONE, 0.97);
}

static void
test_groups_narrower_than_steps(void **state)
{
	for (int code = 0; code < 2; code++)
	{
		IqdbQuantization quantization = code ? IQDB_QUANTIZATION_SQ8 : IQDB_QUANTIZATION_NONE;

		assert_found("a group", fill_group, IQDB_METRIC_L2, quantization, 0.97);
		assert_found("a group", fill_group, IQDB_METRIC_COSINE, quantization, 0.97);
		assert_found("groups", fill_groups, IQDB_METRIC_L2, quantization, 0.97);
		assert_found("groups", fill_groups, IQDB_METRIC_COSINE, quantization, 0.97);
	}
}

/* ---- rows that are alike ----------------------------------------------------------------------------------------- */

/* Values that are all as far from each other, many rows each: each row finds its equals, and a larger beam not fewer. */
static void
test_values_find_their_equals(void **state)
{
	static const IqdbMetric metrics[] = {IQDB_METRIC_L2, IQDB_METRIC_DOT, IQDB_METRIC_COSINE, IQDB_METRIC_L1,
										 IQDB_METRIC_HAMMING};
	static const uint32_t efs[] = {1, 10, 40, 100, 400};
	enum
	{
		VALUES = 200,
		EQUALS = 15
	};

	for (size_t m = 0; m < 5; m++)
	{
		MemoryIndex memory;
		Samples samples;
		IqdbHit hits[EQUALS];

		samples_make(&samples, VALUES * EQUALS, VALUES, 0, SEED);
		memset(samples.rows, 0, samples.count * samples.dim * sizeof(float));
		for (size_t i = 0; i < samples.count; i++)
			samples.rows[i * samples.dim + i % VALUES] = 1.0f;
		samples_index(&memory, &samples, metrics[m],
					  metrics[m] <= IQDB_METRIC_L2 ? IQDB_QUANTIZATION_SQ8 : IQDB_QUANTIZATION_NONE, 8, 40);
		put_all(&memory, &samples);
		for (size_t e = 0; e < 5; e++)
		{
			for (size_t value = 0; value < VALUES; value++)
			{
				assert_int_equal(samples_search(&memory, samples_row(&samples, value), efs[e], hits, EQUALS),
								 EQUALS);
				for (size_t i = 0; i < EQUALS; i++)
					assert_int_equal(hits[i].id % VALUES, value);
			}
		}
		memory_index_destroy(&memory);
		samples_free(&samples);
	}
}

/* Rows in the graph that no link leads to, all but a few: nothing is handed out before all rows were looked at. */
static void
test_graph_that_leads_nowhere(void **state)
{
	MemoryIndex memory;
	Samples samples;
	Samples queries;
	IqdbiHnsw graph;

	make(&samples, &queries, fill_groups);
	samples_index(&memory, &samples, IQDB_METRIC_L2, IQDB_QUANTIZATION_NONE, 16, 100);
	put_all(&memory, &samples);
	iqdbi_hnsw_view(&graph, &memory.index.store);
	for (uint32_t slot = 0; slot < ROWS; slot++)
	{
		uint32_t level = iqdbi_info_level(iqdbi_hnsw_info(&graph, slot));

		for (uint32_t at = 0; at <= level; at++)
			atomic_store(iqdbi_hnsw_list(&graph, slot, at), 0);
	}
	for (uint32_t ef = 2; ef <= 200; ef *= 10)
		assert_true(samples_recall(&memory, &samples, &queries, ef) == 1.0);
	memory_index_destroy(&memory);
	samples_free(&samples);
	samples_free(&queries);
}

/* ---- rows that come again ---------------------------------------------------------------------------------------- */

static uint64_t scored;
static IqdbGatherKernel gather_uncounted;

static void
gather_counted(const void *query, const void *base, size_t stride, const uint32_t *slots, size_t count, size_t dim,
			   float *out)
{
	scored += count;
	gather_uncounted(query, base, stride, slots, count, dim, out);
}

/* A row replaced by one with the same vector, as by an UPDATE of something else: no search for its place. */
static void
test_unchanged_vectors_cost_no_search(void **state)
{
	IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_HNSW, DIM, IQDB_METRIC_L2);
	IqdbKernels kernels = *iqdb_kernels_best();
	IqdbElementKernels floats = *kernels.elements[IQDB_ELEMENT_F32];
	MemoryIndex memory;
	Samples samples;
	Samples queries;
	IqdbIndexStats stats;

	gather_uncounted = floats.sums[IQDB_SUM_L2].gather;
	floats.sums[IQDB_SUM_L2].gather = gather_counted;
	kernels.elements[IQDB_ELEMENT_F32] = &floats;
	options.quantization = IQDB_QUANTIZATION_NONE;
	memory_index_create(&memory, &options, &iqdb_locks_pthread, &kernels, SAMPLES_MEMORY_MAX);
	make(&samples, &queries, fill_groups);
	samples_settle(&samples);
	put_all(&memory, &samples);
	for (int round = 0; round < 3; round++)
	{
		scored = 0;
		for (size_t i = 0; i < samples.count; i++)
			samples_remove(&memory, &samples, i);
		put_all(&memory, &samples);
		printf("# round %d: %llu rows scored for %d put again\n", round, (unsigned long long) scored, ROWS);
		assert_true(scored < 10 * ROWS);
		iqdb_index_stats(&memory.index, &stats);
		assert_true(stats.engine.twins > 0);
		assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_VACUUM, NULL), IQDB_OK);
		assert_true(memory_index_sound(&memory.index));
		assert_true(samples_recall(&memory, &samples, &queries, 100) > 0.97);
	}
	memory_index_destroy(&memory);
	samples_free(&samples);
	samples_free(&queries);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_outliers_do_not_hurt_others), cmocka_unit_test(test_magnitudes),
		cmocka_unit_test(test_groups_narrower_than_steps),  cmocka_unit_test(test_values_find_their_equals),
		cmocka_unit_test(test_graph_that_leads_nowhere),    cmocka_unit_test(test_unchanged_vectors_cost_no_search),
	};

	return cmocka_run_group_tests_name("hnsw_extremes", tests, NULL, NULL);
}
