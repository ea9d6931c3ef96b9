/*
 * test_quant.c - clustering, and the three quantizers: what they learn, what their codes are worth, what they refuse.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/topk.h"
#include "core/quant/kmeans.h"
#include "core/quant/packed.h"
#include "core/quant/pq.h"
#include "core/quant/sq8.h"
#include "harness/alloc_fault.h"
#include "harness/metrics.h"
#include "unit/ivf_samples.h"

#define SEED UINT64_C(20250523)

static const IqdbHost plain_host = {.allocator = {NULL, NULL}};

static IqdbHost
libc_host(void)
{
	IqdbHost host = plain_host;

	host.allocator = iqdb_allocator_libc;
	return host;
}

static IqdbPoints
points_of(const Samples *samples)
{
	return (IqdbPoints){.rows = samples->rows, .count = samples->count, .stride = samples->dim, .dim = samples->dim};
}

/* ---- k-means ---- */

static IqdbStatus
cluster(const IqdbHost *host, IqdbSum sum, const IqdbPoints *points, uint32_t k, uint64_t seed, float *centres,
		uint32_t *k_out, uint32_t *assignment)
{
	IqdbKmeans params = {.host = host,
						 .kernels = iqdb_kernels_best(),
						 .sum = sum,
						 .iterations = IQDB_KMEANS_ITERATIONS,
						 .seed = seed};

	return iqdb_kmeans_run(&params, points, k, centres, k_out, assignment, NULL);
}

/* The number of a point's centre is that of the least sum. */
static void
assert_nearest(IqdbSum sum, const IqdbPoints *points, const float *centres, uint32_t k, const uint32_t *assignment)
{
	IqdbPairKernel pair = iqdb_kernels_best()->sums[sum].pair;

	for (size_t i = 0; i < points->count; i++)
	{
		const float *row = points->rows + i * points->stride;
		float        own = pair(row, centres + assignment[i] * points->stride, points->dim);

		assert_true(assignment[i] < k);
		for (uint32_t cell = 0; cell < k; cell++)
			assert_true(own <= pair(row, centres + cell * points->stride, points->dim));
	}
}

static bool
all_near(const IqdbPoints *points, const float *centres, const uint32_t *assignment)
{
	IqdbPairKernel l2 = iqdb_kernels_best()->sums[IQDB_SUM_L2].pair;

	for (size_t i = 0; i < points->count; i++)
	{
		if (l2(points->rows + i * points->stride, centres + assignment[i] * points->stride, points->dim) > 0.1f)
			return false;
	}
	return true;
}

/* Seeding by distance, not by its square, now and then puts two centres into one cluster and none into another. */
static void
far_clusters_are_found(void **state)
{
	static const IqdbSum sums[] = {IQDB_SUM_L2, IQDB_SUM_L1};
	IqdbHost             host = libc_host();
	int                  found[2] = {0, 0};

	(void) state;
	for (uint64_t seed = SEED; seed < SEED + 5; seed++)
	{
		Samples    samples;
		IqdbPoints points;
		float      centres[10 * 12];
		uint32_t   assignment[1000];
		uint32_t   k;

		samples_make(&samples, 1000, 0, 12, 10, 0.01, seed);
		points = points_of(&samples);
		for (int i = 0; i < 2; i++)
		{
			assert_int_equal(cluster(&host, sums[i], &points, 10, seed, centres, &k, assignment), IQDB_OK);
			assert_int_equal(k, 10);
			assert_nearest(sums[i], &points, centres, k, assignment);
			found[i] += all_near(&points, centres, assignment);
		}
		samples_free(&samples);
	}
	assert_int_equal(found[0], 5);
	assert_true(found[1] >= 3);
}

/* Different points may be fewer than the centres asked for. */
static void
duplicates_make_fewer_centres(void **state)
{
	IqdbHost   host = libc_host();
	float      rows[60 * 3];
	IqdbPoints points = {.rows = rows, .count = 60, .stride = 3, .dim = 3};
	float      centres[60 * 3];
	uint32_t   assignment[60];
	uint32_t   k;

	(void) state;
	for (int different = 1; different <= 5; different++)
	{
		for (int i = 0; i < 60 * 3; i++)
			rows[i] = (float) (i / 3 % different);
		for (int sum = IQDB_SUM_L2; sum <= IQDB_SUM_HAMMING; sum++)
		{
			assert_int_equal(cluster(&host, (IqdbSum) sum, &points, 60, SEED, centres, &k, assignment), IQDB_OK);
			assert_int_equal(k, different);
			for (int i = 0; i < 60; i++)
				assert_memory_equal(rows + 3 * i, centres + 3 * assignment[i], 3 * sizeof(float));
		}
	}
}

static void
find_centre(IqdbSum sum, bool spherical, const IqdbPoints *points, const uint32_t *members, size_t count, void *scratch,
			float *centre)
{
	IqdbHost   host = {.allocator = iqdb_allocator_libc};
	IqdbKmeans params = {.host = &host, .kernels = iqdb_kernels_best(), .sum = sum, .spherical = spherical};

	assert_int_equal(iqdb_kmeans_centre(&params, points, members, count, scratch, centre, NULL), IQDB_OK);
}

static void
centres_minimise_their_sum(void **state)
{
	float      rows[] = {1, 5, 2, 5, 3, 7, 100, 5, 2, 9};
	uint32_t   members[] = {0, 1, 2, 3, 4};
	IqdbPoints points = {.rows = rows, .count = 5, .stride = 2, .dim = 2};
	double     scratch[5];
	float      centre[2];

	(void) state;
	find_centre(IQDB_SUM_L2, false, &points, members, 5, scratch, centre);
	assert_true(centre[0] == 21.6f && centre[1] == 6.2f);
	find_centre(IQDB_SUM_L1, false, &points, members, 5, scratch, centre);
	assert_true(centre[0] == 2.0f && centre[1] == 5.0f);
	find_centre(IQDB_SUM_HAMMING, false, &points, members, 5, scratch, centre);
	assert_true(centre[0] == 2.0f && centre[1] == 5.0f);
	find_centre(IQDB_SUM_L2, true, &points, members, 5, scratch, centre);
	assert_true(fabsf(centre[0] * centre[0] + centre[1] * centre[1] - 1.0f) < 1e-6f);
}

/* Long columns are sorted another way than short ones. */
static void
medians_of_many(void **state)
{
	IqdbRng    rng;
	float      rows[1001];
	uint32_t   members[1001];
	double     scratch[1001];
	IqdbPoints points = {.rows = rows, .count = 1001, .stride = 1, .dim = 1};
	float      median;
	int        below = 0;
	int        equal = 0;

	(void) state;
	iqdb_rng_seed(&rng, SEED);
	for (uint32_t i = 0; i < 1001; i++)
	{
		rows[i] = (float) samples_gauss(&rng);
		members[i] = i;
	}
	find_centre(IQDB_SUM_L1, false, &points, members, 1001, scratch, &median);
	for (int i = 0; i < 1001; i++)
	{
		below += rows[i] < median;
		equal += rows[i] == median;
	}
	assert_int_equal(below, 500);
	assert_int_equal(equal, 1);
	for (uint32_t i = 0; i < 1001; i++)
		rows[i] = i % 3 == 0 ? -1.5f : (float) i;
	find_centre(IQDB_SUM_HAMMING, false, &points, members, 1001, scratch, &median);
	assert_true(median == -1.5f);
}

static void
clustering_is_deterministic_and_careful(void **state)
{
	IqdbHost   host = libc_host();
	Samples    samples;
	IqdbPoints points;
	float      centres[2][20 * 6];
	uint32_t   k[2];
	AllocFault fault;
	float      huge[] = {3e38f, -3e38f, 3e38f, 3e38f, 1, 2, -3e38f, 0};
	IqdbPoints huge_points = {.rows = huge, .count = 4, .stride = 2, .dim = 2};

	(void) state;
	samples_make(&samples, 500, 0, 6, 30, 0.5, SEED);
	points = points_of(&samples);
	assert_int_equal(cluster(&host, IQDB_SUM_L2, &points, 20, 1, centres[0], &k[0], NULL), IQDB_OK);
	assert_int_equal(cluster(&host, IQDB_SUM_L2, &points, 20, 1, centres[1], &k[1], NULL), IQDB_OK);
	assert_int_equal(k[0], k[1]);
	assert_memory_equal(centres[0], centres[1], sizeof(centres[0]));
	assert_int_equal(cluster(&host, IQDB_SUM_L2, &points, 20, 2, centres[1], &k[1], NULL), IQDB_OK);
	assert_memory_not_equal(centres[0], centres[1], sizeof(centres[0]));

	assert_int_equal(cluster(&host, IQDB_SUM_L2, &points, 0, 1, centres[0], &k[0], NULL), IQDB_ERR_CONFIG);
	assert_int_equal(cluster(&host, IQDB_SUM_DOT, &points, 5, 1, centres[0], &k[0], NULL), IQDB_ERR_CONFIG);
	points.count = 0;
	assert_int_equal(cluster(&host, IQDB_SUM_L2, &points, 5, 1, centres[0], &k[0], NULL), IQDB_ERR_CONFIG);
	points.count = samples.count;
	for (int sum = IQDB_SUM_L2; sum <= IQDB_SUM_HAMMING; sum++)
		assert_int_equal(cluster(&host, (IqdbSum) sum, &huge_points, 4, 1, centres[0], &k[0], NULL), IQDB_OK);

	alloc_fault_init(&fault);
	host.allocator = fault.allocator;
	for (uint64_t n = 1; n <= 7; n++)
	{
		alloc_fault_arm(&fault, n);
		assert_int_equal(cluster(&host, IQDB_SUM_L2, &points, 20, 1, centres[0], &k[0], NULL), IQDB_ERR_NOMEM);
		assert_int_equal(atomic_load(&fault.blocks), 0);
	}
	alloc_fault_arm(&fault, 8);
	assert_int_equal(cluster(&host, IQDB_SUM_L2, &points, 20, 1, centres[0], &k[0], NULL), IQDB_OK);
	samples_free(&samples);
}

static bool
cancel_at_zero(void *arg)
{
	return (*(int *) arg)-- == 0;
}

static void
clustering_can_be_cancelled(void **state)
{
	IqdbHost   host = libc_host();
	Samples    samples;
	IqdbPoints points;
	float      centres[20 * 6];
	uint32_t   k;
	int        left;

	(void) state;
	samples_make(&samples, 500, 0, 6, 30, 0.5, SEED);
	points = points_of(&samples);
	host.cancelled = cancel_at_zero;
	host.cancel_arg = &left;
	for (int at = 0; at < 40; at += 13)
	{
		left = at;
		assert_int_equal(cluster(&host, IQDB_SUM_L2, &points, 20, 1, centres, &k, NULL), IQDB_ERR_CANCELLED);
	}
	samples_free(&samples);
}

/* ---- product quantizer ---- */

static void
train_pq(IqdbPq *pq, const Samples *samples, uint32_t subvectors, uint32_t centres, IqdbSum sum, uint64_t seed)
{
	IqdbHost   host = libc_host();
	IqdbPoints points = points_of(samples);

	assert_int_equal(iqdb_pq_init((uint32_t) samples->dim, subvectors, centres, pq, NULL), IQDB_OK);
	assert_int_equal(iqdb_pq_train(pq, sum, &host, iqdb_kernels_best(), &points, 25, seed,
								   malloc(iqdb_pq_codebook_floats(pq) * sizeof(float)), NULL), IQDB_OK);
}

/* Of a row by its code. */
static float
table_key(const IqdbPq *pq, const float *tables, const uint8_t *code)
{
	float key = 0.0f;

	for (uint32_t sub = 0; sub < pq->subvectors; sub++)
		key += tables[(size_t) sub * pq->lanes + code[sub]];
	return key;
}

static void
nearest(const float *keys, size_t count, size_t k, uint32_t *ids_out)
{
	IqdbCandidate *all = malloc(count * sizeof(*all));

	for (size_t i = 0; i < count; i++)
		all[i] = (IqdbCandidate){.key = keys[i], .sequence = i, .slot = (uint32_t) i};
	iqdb_candidates_sort(all, count);
	for (size_t i = 0; i < k; i++)
		ids_out[i] = all[i].slot;
	free(all);
}

static double
overlap(const uint32_t *a, size_t a_count, const uint32_t *b, size_t b_count)
{
	size_t same = 0;

	for (size_t i = 0; i < a_count; i++)
	{
		for (size_t j = 0; j < b_count; j++)
			same += a[i] == b[j];
	}
	return (double) same / (double) a_count;
}

static void
true_keys(const Samples *samples, IqdbMetric metric, const float *query, float *keys)
{
	for (size_t i = 0; i < samples->count; i++)
		keys[i] = floats_key(iqdb_kernels_best(), metric, query, samples_row(samples, i), samples->dim);
}

static void
pq_top_k_overlap_with_f32_baseline_meets_threshold(void **state)
{
	Samples  samples;
	IqdbPq   pq;
	float    keys[600];
	float    tables[16 * 256];
	uint8_t  codes[600][16];
	uint32_t truth[10];
	uint32_t coded[50];
	double   ten = 0;
	double   shortlist = 0;

	(void) state;
	samples_make(&samples, 600, 20, 32, 40, 0.5, SEED);
	train_pq(&pq, &samples, 8, 32, IQDB_SUM_L2, SEED);
	for (size_t i = 0; i < 600; i++)
		iqdb_pq_code(&pq, samples_row(&samples, i), codes[i]);
	for (size_t query = 0; query < 20; query++)
	{
		true_keys(&samples, IQDB_METRIC_L2, samples_query(&samples, query), keys);
		nearest(keys, 600, 10, truth);
		iqdb_pq_tabulate(&pq, IQDB_SUM_L2, samples_query(&samples, query), tables);
		for (size_t i = 0; i < 600; i++)
			keys[i] = table_key(&pq, tables, codes[i]);
		nearest(keys, 600, 50, coded);
		ten += overlap(truth, 10, coded, 10) / 20;
		shortlist += overlap(truth, 10, coded, 50) / 20;
	}
	print_message("10 of 10: %.3f, 10 in 50: %.3f\n", ten, shortlist);
	assert_true(ten >= 0.6);
	assert_true(shortlist >= 0.9);
	free(pq.codebook);
	samples_free(&samples);
}

static void
pq_adc_matches_dequantize_then_compute(void **state)
{
	static const IqdbMetric metrics[] = {IQDB_METRIC_L2, IQDB_METRIC_DOT, IQDB_METRIC_L1};
	static const uint32_t   shapes[][2] = {{1, 1}, {1, 256}, {4, 16}, {8, 200}, {24, 17}};
	Samples                 samples;

	(void) state;
	samples_make(&samples, 300, 10, 24, 40, 0.5, SEED);
	for (int i = 0; i < 3 * 5; i++)
	{
		IqdbMetric metric = metrics[i % 3];
		IqdbPq     pq;
		float     *tables;

		train_pq(&pq, &samples, shapes[i / 3][0], shapes[i / 3][1],
				 metric == IQDB_METRIC_L1 ? IQDB_SUM_L1 : IQDB_SUM_L2, SEED);
		tables = malloc(iqdb_pq_table_floats(&pq) * sizeof(float));
		for (size_t query = 0; query < 10; query++)
		{
			const float *vector = samples_query(&samples, query);

			iqdb_pq_tabulate(&pq, iqdb_metric_sum(metric), vector, tables);
			for (size_t row = 0; row < 30; row++)
			{
				uint8_t code[24];
				float   decoded[24];
				float   by_table;
				float   expected;

				iqdb_pq_code(&pq, samples_row(&samples, row), code);
				iqdb_pq_restore(&pq, code, decoded);
				by_table = table_key(&pq, tables, code);
				expected = floats_key(iqdb_kernels_best(), metric, vector, decoded, 24);
				assert_true(fabsf(by_table - expected) <= 1e-4f * (1.0f + fabsf(expected)));
			}
		}
		free(tables);
		free(pq.codebook);
	}
	samples_free(&samples);
}

/* Sum of the squared distances of rows to what their codes stand for. */
static double
pq_error(const IqdbPq *pq, const Samples *samples)
{
	double  total = 0;
	float   decoded[10];
	uint8_t code[10];

	for (size_t i = 0; i < samples->count; i++)
	{
		iqdb_pq_code(pq, samples_row(samples, i), code);
		iqdb_pq_restore(pq, code, decoded);
		total += (double) iqdb_kernels_best()->sums[IQDB_SUM_L2].pair(decoded, samples_row(samples, i), pq->dim);
	}
	return total;
}

/* As many centres as points: nothing is lost. Pieces may be of different lengths; the more there are, the less is lost. */
static void
pq_loses_less_with_more_pieces(void **state)
{
	Samples samples;
	IqdbPq  pq;
	double  before = 0;

	(void) state;
	samples_make(&samples, 200, 0, 10, 20, 0.5, SEED);
	for (uint32_t subvectors = 1; subvectors <= 10; subvectors++)
	{
		double error;

		train_pq(&pq, &samples, subvectors, 16, IQDB_SUM_L2, SEED);
		error = pq_error(&pq, &samples);
		assert_true(error > 0 && (subvectors == 1 || error < before));
		before = error;
		free(pq.codebook);
	}
	train_pq(&pq, &samples, 5, 200, IQDB_SUM_L2, SEED);
	assert_true(pq_error(&pq, &samples) == 0);
	free(pq.codebook);
	samples_free(&samples);
}

static void
pq_refuses_what_it_must(void **state)
{
	IqdbHost   host = libc_host();
	Samples    samples;
	IqdbPoints points;
	IqdbPq     pq;
	float      codebook[8 * 256];

	(void) state;
	samples_make(&samples, 100, 0, 8, 5, 0.5, SEED);
	points = points_of(&samples);
	assert_int_equal(iqdb_pq_init(8, 0, 16, &pq, NULL), IQDB_ERR_CONFIG);
	assert_int_equal(iqdb_pq_init(8, 9, 16, &pq, NULL), IQDB_ERR_CONFIG);
	assert_int_equal(iqdb_pq_init(8, 4, 0, &pq, NULL), IQDB_ERR_CONFIG);
	assert_int_equal(iqdb_pq_init(8, 4, 257, &pq, NULL), IQDB_ERR_CONFIG);
	assert_int_equal(iqdb_pq_init(8, 4, 101, &pq, NULL), IQDB_OK);
	assert_int_equal(iqdb_pq_train(&pq, IQDB_SUM_L2, &host, iqdb_kernels_best(), &points, 9, 0, codebook, NULL),
					 IQDB_ERR_CONFIG);
	assert_int_equal(iqdb_pq_init(8, 4, 16, &pq, NULL), IQDB_OK);
	points.count = 0;
	assert_int_equal(iqdb_pq_train(&pq, IQDB_SUM_L2, &host, iqdb_kernels_best(), &points, 9, 0, codebook, NULL),
					 IQDB_ERR_CONFIG);
	points.count = 100;
	points.dim = 7;
	assert_int_equal(iqdb_pq_train(&pq, IQDB_SUM_L2, &host, iqdb_kernels_best(), &points, 9, 0, codebook, NULL),
					 IQDB_ERR_DIMENSION);
	points.dim = 8;
	assert_int_equal(iqdb_pq_train(&pq, IQDB_SUM_HAMMING, &host, iqdb_kernels_best(), &points, 9, 0, codebook, NULL),
					 IQDB_ERR_METRIC);
	samples.rows[123] = INFINITY;
	assert_int_equal(iqdb_pq_train(&pq, IQDB_SUM_L2, &host, iqdb_kernels_best(), &points, 9, 0, codebook, NULL),
					 IQDB_ERR_VECTOR);
	assert_null(pq.codebook);
	samples_free(&samples);
}

static void
pq_training_is_deterministic(void **state)
{
	Samples samples;
	IqdbPq  pq[3];

	(void) state;
	samples_make(&samples, 300, 0, 16, 30, 0.5, SEED);
	for (int i = 0; i < 3; i++)
		train_pq(&pq[i], &samples, 4, 20, IQDB_SUM_L2, i < 2 ? 5 : 6);
	assert_memory_equal(pq[0].codebook, pq[1].codebook, iqdb_pq_codebook_floats(&pq[0]) * sizeof(float));
	assert_memory_not_equal(pq[0].codebook, pq[2].codebook, iqdb_pq_codebook_floats(&pq[0]) * sizeof(float));
	for (int i = 0; i < 3; i++)
		free(pq[i].codebook);
	samples_free(&samples);
}

/* ---- scalar quantizer ---- */

static float
sq8_key_of(IqdbMetric metric, const float *query, const float *row, size_t dim)
{
	IqdbPairKernel dot = iqdb_kernels_best()->sums[IQDB_SUM_DOT].pair;
	float          centre[256] = {0};
	int8_t         query_code[256];
	uint8_t        row_code[256];
	IqdbSq8Query   coded_query;
	IqdbSq8Row     coded_row;

	iqdb_sq8_encode(metric, centre, row, dot(row, row, dim), dim, row_code, &coded_row);
	iqdb_sq8_query(metric, centre, query, dot(query, query, dim), dim, query_code, &coded_query);
	return iqdb_sq8_key(&coded_query, &coded_row, iqdb_kernels_best()->dot_u8i8(row_code, query_code, dim));
}

static void
sq8_top_k_overlap_with_f32_baseline_meets_threshold(void **state)
{
	static const IqdbMetric metrics[] = {IQDB_METRIC_COSINE, IQDB_METRIC_DOT, IQDB_METRIC_L2};
	Samples                 samples;

	(void) state;
	samples_make(&samples, 160, 20, 128, 40, 1.0, SEED);
	for (int i = 0; i < 3; i++)
	{
		double same = 0;

		for (size_t query = 0; query < 20; query++)
		{
			float    keys[2][160];
			uint32_t ids[2][10];

			true_keys(&samples, metrics[i], samples_query(&samples, query), keys[0]);
			for (size_t row = 0; row < 160; row++)
			{
				keys[1][row] = sq8_key_of(metrics[i], samples_query(&samples, query), samples_row(&samples, row), 128);
				assert_true(fabsf(keys[1][row] - keys[0][row]) <= 0.02f * (metrics[i] == IQDB_METRIC_COSINE ? 1 : 128));
			}
			nearest(keys[0], 160, 10, ids[0]);
			nearest(keys[1], 160, 10, ids[1]);
			same += overlap(ids[0], 10, ids[1], 10) / 20;
		}
		print_message("metric %s: %.3f\n", iqdb_metric_name(metrics[i]), same);
		assert_true(same >= 0.9);
	}
	samples_free(&samples);
}

/* ---- packed byte codes ---- */

static void
check_halves(const IqdbKernels *table, const uint8_t *codes, size_t octets, size_t groups, const int8_t *query)
{
	int32_t sums[48];

	iqdb_packed_kernels(table)->dot_halves(codes, octets, groups, query, 77, sums);
	for (size_t row = 0; row < 16 * groups; row++)
	{
		const uint8_t *group = codes + row / 16 * octets * IQDB_PACKED_QUAD_BYTES;
		int32_t        sum = 77;

		for (size_t at = 0; at < 8 * octets; at++)
		{
			uint8_t byte = group[at / 8 * 64 + row % 16 * 4 + at % 4];

			sum += (at % 8 < 4 ? byte & 15 : byte >> 4) * query[at];
		}
		assert_int_equal(sums[row], sum);
	}
}

/* Sums of several queries are those of one after the other. */
static void
check_many(const IqdbKernels *table, const uint8_t *codes, size_t quads, IqdbRng *rng)
{
	const IqdbPackedKernels *packed = iqdb_packed_kernels(table);
	int8_t                  *queries = malloc(IQDB_PACKED_QUERIES * 4 * quads);
	int32_t                  starts[IQDB_PACKED_QUERIES];
	int32_t                  sums[IQDB_PACKED_QUERIES * 32];

	assert_non_null(queries);
	for (size_t at = 0; at < IQDB_PACKED_QUERIES * 4 * quads; at++)
		queries[at] = (int8_t) (uint8_t) iqdb_rng_next(rng);
	for (size_t i = 0; i < IQDB_PACKED_QUERIES; i++)
		starts[i] = (int32_t) iqdb_rng_below(rng, 1000) - 500;
	packed->dot_many(codes, quads, queries, starts, sums);
	for (size_t i = 0; i < IQDB_PACKED_QUERIES; i++)
	{
		int32_t expected[32];

		packed->dot(codes, quads, 2, queries + 4 * quads * i, starts[i], expected);
		assert_memory_equal(sums + 32 * i, expected, sizeof(expected));
	}
	free(queries);
}

/* All instruction sets give the same sums, which are those of one row after the other. */
static void
packed_sums_agree(void **state)
{
	static const char *const names[] = {"scalar", "avx2", "avx512bw", "avx512", "neon"};
	IqdbRng                  rng;

	(void) state;
	iqdb_rng_seed(&rng, SEED);
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
	{
		const IqdbKernels *table = iqdb_kernels_named(names[i]);

		for (int round = 0; table != NULL && round < 200; round++)
		{
			size_t   quads = 1 + iqdb_rng_below(&rng, round < 195 ? 70 : 4000);
			size_t   groups = 1 + iqdb_rng_below(&rng, 3);
			size_t   bytes = groups * quads * IQDB_PACKED_QUAD_BYTES;
			uint8_t *codes = malloc(bytes);
			int8_t  *query = malloc(4 * quads);
			int32_t  sums[48];

			assert_true(codes != NULL && query != NULL);
			for (size_t at = 0; at < bytes; at++)
				codes[at] = round % 10 == 0 ? 255 : (uint8_t) iqdb_rng_next(&rng);
			for (size_t at = 0; at < 4 * quads; at++)
				query[at] = round % 10 == 0 ? -128 : (int8_t) (uint8_t) iqdb_rng_next(&rng);
			iqdb_packed_kernels(table)->dot(codes, quads, groups, query, -5, sums);
			for (size_t row = 0; row < 16 * groups; row++)
			{
				const uint8_t *group = codes + row / 16 * quads * IQDB_PACKED_QUAD_BYTES;
				int32_t        sum = -5;

				for (size_t at = 0; at < 4 * quads; at++)
					sum += group[at / 4 * 64 + row % 16 * 4 + at % 4] * query[at];
				assert_int_equal(sums[row], sum);
			}
			if (groups >= 2)
				check_many(table, codes, quads, &rng);
			if (quads % 2 == 0)
				check_halves(table, codes, quads / 2, groups, query);
			free(codes);
			free(query);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(far_clusters_are_found),
		cmocka_unit_test(duplicates_make_fewer_centres),
		cmocka_unit_test(centres_minimise_their_sum),
		cmocka_unit_test(medians_of_many),
		cmocka_unit_test(clustering_is_deterministic_and_careful),
		cmocka_unit_test(clustering_can_be_cancelled),
		cmocka_unit_test(pq_top_k_overlap_with_f32_baseline_meets_threshold),
		cmocka_unit_test(pq_adc_matches_dequantize_then_compute),
		cmocka_unit_test(pq_loses_less_with_more_pieces),
		cmocka_unit_test(pq_refuses_what_it_must),
		cmocka_unit_test(pq_training_is_deterministic),
		cmocka_unit_test(sq8_top_k_overlap_with_f32_baseline_meets_threshold),
		cmocka_unit_test(packed_sums_agree),
	};

	print_message("seed %llu\n", (unsigned long long) SEED);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
