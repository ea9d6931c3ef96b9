/*
 * test_flat_sq8.c - exact search by codes: the answers are those of the same index without codes, bit for bit, under every
 * metric that has codes, with numbers of any size, filters, streams, rows that come and go, and moving centres.
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

#include "core/meta/metadata.h"
#include "core/quant/sq8_bound.h"
#include "core/vec/half.h"
#include "harness/memory_index.h"
#include "harness/metrics.h"
#include "harness/model.h"

#define SEED UINT64_C(20251123)
#define MEMORY_MAX (UINT64_C(256) * 1024 * 1024)
#define DIM_MAX 1536
#define HITS 64
#define STABLE_ROWS 9000

static const IqdbMetric coded_metrics[] = {IQDB_METRIC_L2, IQDB_METRIC_DOT, IQDB_METRIC_COSINE};

/* ---- samples ---- */

typedef enum Kind
{
	KIND_ORDINARY,
	KIND_OFFSET,       /* all components far from zero, 1000 times their spread */
	KIND_NEARLY_EQUAL,
	KIND_GRID,         /* few whole numbers: many ties */
	KIND_NORMS,        /* lengths from 1e-6 to 1e6 */
	KIND_SPARSE,
	KIND_TINY,
	KIND_HUGE,
	KIND_MIXED,        /* from 1e-38 to 2e38, and zero */
	KIND_COUNT
} Kind;

static void
fill_random(IqdbRng *rng, Kind kind, float *vector, size_t dim)
{
	static const float scales[] = {1e-38f, 1e-23f, 1e-19f, 1e-9f, 1.0f, 1e9f, 1e14f, 1e18f, 1e19f, 2e38f};
	float              scale = 1.0f;

	if (kind == KIND_TINY)
		scale = 1e-20f / (float) (1 + iqdb_rng_below(rng, 1000));
	if (kind == KIND_HUGE)
		scale = 1e19f;
	if (kind == KIND_MIXED)
		scale = scales[iqdb_rng_below(rng, 10)];
	if (kind == KIND_NORMS)
		scale = (float) pow(10.0, (double) iqdb_rng_below(rng, 13) - 6.0);
	for (size_t i = 0; i < dim; i++)
	{
		float value = (float) (iqdb_rng_unit(rng) + iqdb_rng_unit(rng) + iqdb_rng_unit(rng)) - 1.5f;

		if (kind == KIND_NEARLY_EQUAL)
			value = 1.0f + 1e-6f * value;
		else if (kind == KIND_OFFSET)
			value += 1000.0f;
		else if (kind == KIND_GRID)
			value = (float) (int) (2.0f * value);
		else if (kind == KIND_SPARSE && iqdb_rng_below(rng, 8) != 0)
			value = 0.0f;
		vector[i] = value * scale;
	}
	if ((kind == KIND_MIXED || kind == KIND_SPARSE) && iqdb_rng_below(rng, 50) == 0)
		memset(vector, 0, dim * sizeof(float));
}

/* ---- two indexes with the same rows ---- */

typedef struct Twins
{
	MemoryIndex     plain;
	MemoryIndex     coded;
	IqdbElementKind element;
	IqdbMetric      metric;
	size_t          dim;
	uint64_t        reranked; /* by the searches compared so far */
	uint64_t        scored;
} Twins;

static void
twins_open_with(Twins *twins, IqdbElementKind element, IqdbMetric metric, size_t dim, const IqdbKernels *kernels)
{
	IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_FLAT, (uint32_t) dim, metric);

	iqdb_index_options_of_element(&options, element);
	memset(twins, 0, sizeof(*twins));
	twins->element = element;
	twins->metric = metric;
	twins->dim = dim;
	memory_index_create(&twins->plain, &options, &iqdb_locks_none, kernels, MEMORY_MAX);
	options.quantization = IQDB_QUANTIZATION_SQ8;
	memory_index_create(&twins->coded, &options, &iqdb_locks_none, kernels, MEMORY_MAX);
}

static void
twins_open(Twins *twins, IqdbMetric metric, size_t dim)
{
	twins_open_with(twins, IQDB_ELEMENT_F32, metric, dim, NULL);
}

static void
twins_close(Twins *twins)
{
	memory_index_destroy(&twins->plain);
	memory_index_destroy(&twins->coded);
}

/* The vector as the rows are; halves hold what they can. */
static const void *
as_element(const Twins *twins, const float *vector, IqdbHalf *halves)
{
	if (twins->element == IQDB_ELEMENT_F32)
		return vector;
	for (size_t i = 0; i < twins->dim; i++)
		halves[i] = iqdb_half_narrow(fmaxf(fminf(vector[i], 6e4f), -6e4f));
	return halves;
}

static void
twins_put_with(Twins *twins, uint64_t id, const float *vector, const unsigned char *metadata, size_t length)
{
	IqdbHalf    halves[DIM_MAX];
	const void *row = as_element(twins, vector, halves);
	uint32_t    slots[2];

	assert_int_equal(iqdb_index_put(&twins->plain.index, iqdb_id_u64(id), row, twins->dim, metadata, length, &slots[0],
									NULL),
					 IQDB_OK);
	assert_int_equal(iqdb_index_put(&twins->coded.index, iqdb_id_u64(id), row, twins->dim, metadata, length, &slots[1],
									NULL),
					 IQDB_OK);
	assert_int_equal(slots[0], slots[1]);
	assert_int_equal(iqdb_index_link(&twins->coded.index, slots[1], NULL), IQDB_OK);
}

static void
twins_put(Twins *twins, uint64_t id, const float *vector)
{
	twins_put_with(twins, id, vector, NULL, 0);
}

static void
twins_remove(Twins *twins, uint64_t id)
{
	iqdb_index_remove(&twins->plain.index, iqdb_id_u64(id), NULL);
	iqdb_index_remove(&twins->coded.index, iqdb_id_u64(id), NULL);
}

static void
twins_fill(Twins *twins, IqdbRng *rng, Kind kind, size_t count)
{
	float vectors[8][DIM_MAX];

	for (size_t id = 0; id < count; id++)
	{
		/* some rows are equal to others */
		if (id % 13 != 8)
			fill_random(rng, kind, vectors[id % 8], twins->dim);
		twins_put(twins, id, vectors[id % 13 != 8 ? id % 8 : (id + 3) % 8]);
	}
}

static void
assert_same_hits(const IqdbHit *a, const IqdbHit *b, size_t count)
{
	for (size_t i = 0; i < count; i++)
	{
		assert_int_equal(a[i].id, b[i].id);
		assert_int_equal(a[i].sequence, b[i].sequence);
		assert_int_equal(a[i].slot, b[i].slot);
		assert_memory_equal(&a[i].key, &b[i].key, sizeof(float));
	}
}

/* Takes hits until there are `wanted`, or no more. */
static size_t
take(IqdbCursor *cursor, IqdbHit *hits, size_t wanted)
{
	size_t total = 0;
	size_t count = 1;

	while (total < wanted && count > 0)
	{
		assert_int_equal(iqdb_cursor_next(cursor, hits + total, wanted - total, &count, NULL), IQDB_OK);
		total += count;
	}
	return total;
}

static void
compare_with(Twins *twins, const float *query, const IqdbSearchParams *params, size_t wanted)
{
	IqdbHalf    halves[DIM_MAX];
	const void *vector = as_element(twins, query, halves);
	IqdbCursor *plain;
	IqdbCursor *coded;
	size_t      seen = 0;
	size_t      count;

	assert_int_equal(iqdb_cursor_open(&twins->plain.index, vector, twins->dim, params, &plain, NULL), IQDB_OK);
	assert_int_equal(iqdb_cursor_open(&twins->coded.index, vector, twins->dim, params, &coded, NULL), IQDB_OK);
	do
	{
		IqdbHit expected[HITS];
		IqdbHit found[HITS];

		count = take(plain, expected, HITS < wanted - seen ? HITS : wanted - seen);
		assert_int_equal(take(coded, found, HITS < wanted - seen ? HITS : wanted - seen), count);
		assert_same_hits(expected, found, count);
		seen += count;
	} while (count > 0 && seen < wanted);
	twins->reranked += coded->stats.reranked;
	twins->scored += coded->stats.scored;
	iqdb_cursor_close(plain);
	iqdb_cursor_close(coded);
}

static void
compare(Twins *twins, const float *query, size_t expected, size_t wanted)
{
	IqdbSearchParams params = {.expected = expected};

	compare_with(twins, query, &params, wanted);
}

/* ---- the bound itself ---- */

/* Keys lie in the intervals that the codes give, for rows and queries of any kind, and any centre. */
static void
intervals_hold_the_keys(void **state)
{
	static const char *const names[] = {"scalar", "avx2", "avx512bw", "avx512", "neon"};
	static const size_t      dims[] = {1, 2, 3, 4, 5, 15, 16, 17, 33, 100, 128, 768, 1536};
	IqdbRng                  rng;
	static float             rows[16][DIM_MAX];
	static float             query[DIM_MAX];
	static float             middle[DIM_MAX];
	static uint8_t           group[DIM_MAX * 8];
	static uint8_t           codes[16][DIM_MAX];
	static int8_t            query_code[2 * DIM_MAX];
	size_t                   judged = 0;

	(void) state;
	iqdb_rng_seed(&rng, SEED);
	for (int round = 0; round < 6000; round++)
	{
		const IqdbKernels *kernels = iqdb_kernels_named(names[round % 5]);
		IqdbMetric         metric = coded_metrics[iqdb_rng_below(&rng, 3)];
		IqdbSum            sum = iqdb_metric_sum(metric);
		size_t             dim = dims[iqdb_rng_below(&rng, round % 50 == 0 ? 13 : 11)];
		Kind               kind = (Kind) iqdb_rng_below(&rng, KIND_COUNT);
		IqdbBoundCentre    centre = {.vector = middle};
		IqdbBoundKernels   bound;
		IqdbBoundQuery     prepared;
		IqdbBoundRows      coded;
		float              norms[16];
		float              norm;

		if (kernels == NULL)
			continue;
		bound = iqdb_bound_kernels(kernels);
		memset(middle, 0, sizeof(middle));
		if (round % 3 != 0)
			fill_random(&rng, kind, middle, dim);
		norm = kernels->sums[IQDB_SUM_DOT].pair(middle, middle, dim);
		if (!(norm < 1e30f))
			memset(middle, 0, sizeof(middle));
		else if (metric == IQDB_METRIC_COSINE && norm > 0.0f)
		{
			for (size_t i = 0; i < dim; i++)
				middle[i] /= sqrtf(norm);
		}
		centre.length = iqdb_bound_length(middle, dim);
		fill_random(&rng, round % 7 == 0 ? (Kind) iqdb_rng_below(&rng, KIND_COUNT) : kind, query, dim);
		for (int row = 0; row < 16; row++)
		{
			fill_random(&rng, kind, rows[row], dim);
			if (row == 3)
				memcpy(rows[row], query, dim * sizeof(float));
			if (row == 4)
				memcpy(rows[row], middle, dim * sizeof(float));
			if (row == 5)
				memset(rows[row], 0, dim * sizeof(float));
			norms[row] = kernels->sums[IQDB_SUM_DOT].pair(rows[row], rows[row], dim);
			bound.encode(metric, &centre, rows[row], norms[row], dim,
						 &(IqdbBoundPlace){.code = codes[row], .group = group, .rows = &coded, .lane = (uint32_t) row});
		}
		norm = kernels->sums[IQDB_SUM_DOT].pair(query, query, dim);
		if (!iqdb_bound_query(metric, &centre, query, norm, dim, query_code, &prepared))
			continue;
		judged++;
		for (uint32_t row = 0; row < 16; row++)
		{
			float             key = kernels->sums[sum].pair(query, rows[row], dim);
			float             lower[32];
			uint32_t          kept;
			IqdbBoundInterval interval;

			iqdb_metric_finish(metric, norm, &norms[row], 1, &key);
			kept = iqdb_bound_groups(&bound, &prepared, iqdb_packed_octets(dim), 1, group, &coded, key, key, lower);
			if ((kept >> row & 1) == 0 || lower[row] > key)
				fail_msg("round %d: metric %s, dimension %zu, kind %d, row %u has key %g, at least %g", round,
						 iqdb_metric_name(metric), dim, (int) kind, row, (double) key, (double) lower[row]);
			interval = iqdb_bound_interval(&prepared, kernels->dot_u8i8(codes[row], prepared.codes[0], dim),
										   kernels->dot_u8i8(codes[row], prepared.codes[1], dim), &coded, row);
			if (interval.lower > key || interval.upper < key)
				fail_msg("round %d: metric %s, dimension %zu, kind %d, row %u has key %g, not in %g to %g", round,
						 iqdb_metric_name(metric), dim, (int) kind, row, (double) key, (double) interval.lower,
						 (double) interval.upper);
		}
	}
	assert_true(judged > 1000);
}

/* A row's code does not depend on the instructions that made it. */
static void
codes_are_the_same_everywhere(void **state)
{
	static const char *const names[] = {"avx2", "avx512bw", "avx512", "neon"};
	IqdbBoundKernels         plain = iqdb_bound_kernels(iqdb_kernels_named("scalar"));
	IqdbRng                  rng;

	(void) state;
	iqdb_rng_seed(&rng, SEED + 1);
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
	{
		const IqdbKernels *kernels = iqdb_kernels_named(names[i]);

		for (int round = 0; kernels != NULL && round < 500; round++)
		{
			size_t           dim = 1 + iqdb_rng_below(&rng, 140);
			Kind             kind = (Kind) iqdb_rng_below(&rng, KIND_COUNT);
			IqdbMetric       metric = coded_metrics[round % 3];
			IqdbBoundKernels bound = iqdb_bound_kernels(kernels);
			float            row[140];
			float            middle[140];
			uint8_t          groups[2][144 * 8];
			uint8_t          codes[2][140];
			IqdbBoundRows    rows[2];
			IqdbBoundCentre  centre = {.vector = middle, .length = 1};
			uint32_t         lane = (uint32_t) iqdb_rng_below(&rng, 16);
			float            norm;

			memset(groups, 7, sizeof(groups));
			memset(codes, 7, sizeof(codes));
			memset(rows, 0, sizeof(rows));
			fill_random(&rng, kind, row, dim);
			fill_random(&rng, KIND_ORDINARY, middle, dim);
			norm = kernels->sums[IQDB_SUM_DOT].pair(row, row, dim);
			plain.encode(metric, &centre, row, norm, dim, &(IqdbBoundPlace){codes[0], groups[0], &rows[0], lane});
			bound.encode(metric, &centre, row, norm, dim, &(IqdbBoundPlace){codes[1], groups[1], &rows[1], lane});
			assert_memory_equal(codes[0], codes[1], sizeof(codes[0]));
			assert_memory_equal(groups[0], groups[1], sizeof(groups[0]));
			assert_memory_equal(&rows[0], &rows[1], sizeof(rows[0]));
		}
	}
}

/* ---- the same answers ---- */

static void
compare_kind(IqdbElementKind element, IqdbMetric metric, size_t dim, Kind kind, size_t count, uint64_t seed)
{
	static const Kind others[] = {KIND_ORDINARY, KIND_MIXED, KIND_GRID};
	Twins             twins;
	IqdbRng           rng;
	float             query[DIM_MAX];

	iqdb_rng_seed(&rng, seed);
	twins_open_with(&twins, element, metric, dim, NULL);
	twins_fill(&twins, &rng, kind, count);
	for (int i = 0; i < 8; i++)
	{
		fill_random(&rng, i < 5 ? kind : others[i - 5], query, dim);
		if (i == 3)
			memset(query, 0, sizeof(query));
		if (i == 4)
			twins.plain.index.store.row_kernels->widen(iqdb_store_vector(&twins.plain.index.store, 77), dim, query);
		compare(&twins, query, 10, 10);
	}
	compare(&twins, query, 3, 200);
	if (dim <= 128)
		compare(&twins, query, 5, SIZE_MAX);
	assert_true(memory_index_sound(&twins.coded.index));
	/* around a mean of all rows */
	assert_int_equal(iqdb_index_maintain(&twins.coded.index, IQDB_MAINTAIN_OPTIMIZE, NULL), IQDB_OK);
	fill_random(&rng, kind, query, dim);
	compare(&twins, query, 10, 100);
	assert_true(memory_index_sound(&twins.coded.index));
	twins_close(&twins);
}

static void
answers_are_those_without_codes(void **state)
{
	static const size_t dims[] = {1, 2, 3, 4, 5, 8, 15, 16, 17, 31, 64, 100, 128, 768, 1536};

	(void) state;
	for (size_t m = 0; m < 3; m++)
	{
		for (int kind = 0; kind < KIND_COUNT; kind++)
		{
			for (size_t d = 0; d < sizeof(dims) / sizeof(*dims); d++)
			{
				/* every dimension and every kind, in half of their combinations */
				if ((d + (size_t) kind + m) % 2 == 0)
					compare_kind(IQDB_ELEMENT_F32, coded_metrics[m], dims[d], (Kind) kind, dims[d] > 200 ? 350 : 1300,
								 SEED + d * 100 + (uint64_t) kind * 10 + m);
				if ((d + (size_t) kind + m) % 6 == 1)
					compare_kind(IQDB_ELEMENT_F16, coded_metrics[m], dims[d], (Kind) kind, dims[d] > 200 ? 350 : 1300,
								 SEED + d * 100 + (uint64_t) kind * 10 + m);
			}
		}
	}
}

static void
every_table_of_kernels_gives_the_same_answers(void **state)
{
	static const char *const names[] = {"scalar", "avx2", "avx512bw", "avx512", "neon"};

	const size_t names_count = sizeof(names) / sizeof(*names);

	(void) state;
	for (size_t i = 0; i < 2 * 3 * names_count; i++)
	{
		const IqdbKernels *kernels = iqdb_kernels_named(names[i / 3 % names_count]);
		Twins              twins;
		IqdbRng            rng;
		float              query[37];

		if (kernels == NULL)
			continue;
		iqdb_rng_seed(&rng, SEED);
		twins_open_with(&twins, i < 3 * names_count ? IQDB_ELEMENT_F32 : IQDB_ELEMENT_F16, coded_metrics[i % 3], 37, kernels);
		twins_fill(&twins, &rng, KIND_ORDINARY, 2000);
		for (int round = 0; round < 5; round++)
		{
			fill_random(&rng, KIND_ORDINARY, query, 37);
			compare(&twins, query, 10, 10);
		}
		assert_true(twins.reranked < 5 * 400);
		assert_true(memory_index_sound(&twins.coded.index));
		twins_close(&twins);
	}
}

/* Codes are there to spare the reading of vectors: of a thousand rows hardly any is read, wherever the rows lie. */
static void
few_vectors_are_read(void **state)
{
	static const Kind kinds[] = {KIND_ORDINARY, KIND_OFFSET, KIND_NORMS};

	(void) state;
	for (size_t m = 0; m < 3; m++)
	{
		for (size_t k = 0; k < 3; k++)
		{
			Twins   twins;
			IqdbRng rng;
			float   query[128];

			/* products of such lengths have more noise in float than rows differ by */
			if (kinds[k] == KIND_OFFSET && coded_metrics[m] != IQDB_METRIC_L2)
				continue;
			iqdb_rng_seed(&rng, SEED + 3);
			twins_open(&twins, coded_metrics[m], 128);
			twins_fill(&twins, &rng, kinds[k], 20000);
			for (int i = 0; i < 5; i++)
			{
				fill_random(&rng, kinds[k], query, 128);
				compare(&twins, query, 10, 10);
			}
			print_message("%s, kind %d: %.2f %% of vectors read\n", iqdb_metric_name(coded_metrics[m]), (int) kinds[k],
						  100.0 * (double) twins.reranked / (double) twins.scored);
			assert_true(twins.reranked < twins.scored / 50);
			twins_close(&twins);
		}
	}
}

/* Rows that no writer has linked, as after a recovery, get a centre too. */
static void
unlinked_rows_get_a_centre(void **state)
{
	Twins    twins;
	IqdbRng  rng;
	float    vector[64];
	uint64_t linked;
	uint64_t before;

	(void) state;
	iqdb_rng_seed(&rng, SEED + 11);
	twins_open(&twins, IQDB_METRIC_L2, 64);
	for (uint64_t id = 0; id < 5000; id++)
	{
		fill_random(&rng, KIND_OFFSET, vector, 64);
		assert_int_equal(iqdb_index_put(&twins.plain.index, iqdb_id_u64(id), vector, 64, NULL, 0, NULL, NULL), IQDB_OK);
		assert_int_equal(iqdb_index_put(&twins.coded.index, iqdb_id_u64(id), vector, 64, NULL, 0, NULL, NULL), IQDB_OK);
	}
	compare(&twins, vector, 10, 10);
	before = twins.reranked;
	assert_int_equal(iqdb_index_link_pending(&twins.coded.index, 0, &linked, NULL), IQDB_OK);
	twins.reranked = 0;
	compare(&twins, vector, 10, 10);
	print_message("%llu vectors read before, %llu after\n", (unsigned long long) before,
				  (unsigned long long) twins.reranked);
	assert_in_range(twins.reranked, 1, 250);
	assert_true(memory_index_sound(&twins.coded.index));
	twins_close(&twins);
}

/* A stream goes on as far as it is asked, in passes that look at ever more. */
static void
streams_are_the_same_to_the_end(void **state)
{
	(void) state;
	for (size_t m = 0; m < 3; m++)
	{
		Twins   twins;
		IqdbRng rng;
		float   query[24];

		iqdb_rng_seed(&rng, SEED + 4);
		twins_open(&twins, coded_metrics[m], 24);
		twins_fill(&twins, &rng, KIND_ORDINARY, 9000);
		fill_random(&rng, KIND_ORDINARY, query, 24);
		compare(&twins, query, 0, SIZE_MAX);
		compare(&twins, query, 1, SIZE_MAX);
		compare(&twins, query, 700, 5000);
		twins_close(&twins);
	}
}

/* ---- rows that come and go ---- */

static void
removal_and_reuse_leave_no_old_codes(void **state)
{
	(void) state;
	for (size_t m = 0; m < 3; m++)
	{
		Twins   twins;
		IqdbRng rng;
		float   vector[20];

		iqdb_rng_seed(&rng, SEED + 5 + m);
		twins_open(&twins, coded_metrics[m], 20);
		twins_fill(&twins, &rng, KIND_ORDINARY, 1500);
		for (int round = 0; round < 25; round++)
		{
			for (int i = 0; i < 300; i++)
			{
				uint64_t id = iqdb_rng_below(&rng, 2000);

				fill_random(&rng, i % 50 == 0 ? KIND_MIXED : KIND_ORDINARY, vector, 20);
				if (iqdb_rng_below(&rng, 3) == 0)
					twins_remove(&twins, id);
				else
					twins_put(&twins, id, vector);
			}
			if (round % 5 == 2)
			{
				assert_int_equal(iqdb_store_reclaim(&twins.plain.index.store),
								 iqdb_store_reclaim(&twins.coded.index.store));
				assert_int_equal(iqdb_index_maintain(&twins.coded.index, IQDB_MAINTAIN_OPTIMIZE, NULL), IQDB_OK);
				assert_int_equal(iqdb_index_maintain(&twins.plain.index, IQDB_MAINTAIN_OPTIMIZE, NULL), IQDB_OK);
			}
			compare(&twins, vector, 10, 10);
			compare(&twins, vector, 10, round % 6 == 0 ? SIZE_MAX : 80);
			assert_true(memory_index_sound(&twins.coded.index));
		}
		for (uint64_t id = 0; id < 2000; id++)
			twins_remove(&twins, id);
		compare(&twins, vector, 10, SIZE_MAX);
		twins_close(&twins);
	}
}

/* ---- filters ---- */

static unsigned char *
metadata_of(uint64_t number, size_t *length_out)
{
	IqdbMetadataBuilder builder;
	IqdbValue           value = iqdb_value_int((int64_t) number);
	unsigned char      *metadata;

	iqdb_metadata_builder_init(&builder, &iqdb_allocator_libc);
	assert_int_equal(iqdb_metadata_put(&builder, "n", 1, &value, NULL), IQDB_OK);
	assert_int_equal(iqdb_metadata_finish(&builder, &metadata, length_out, NULL), IQDB_OK);
	iqdb_metadata_builder_free(&builder);
	return metadata;
}

static IqdbFilter *
equals(uint64_t number)
{
	IqdbFilterBuilder filters;
	IqdbValue         value = iqdb_value_int((int64_t) number);
	IqdbFilter       *filter;

	iqdb_filter_builder_init(&filters, &iqdb_allocator_libc);
	assert_int_equal(iqdb_filter_finish(&filters, iqdb_filter_eq(&filters, "n", 1, &value), &filter, NULL), IQDB_OK);
	iqdb_filter_builder_free(&filters);
	return filter;
}

static void
filters_give_the_same_rows(void **state)
{
	static const uint64_t shares[] = {1, 2, 20, 300, 100000};
	Twins                 twins;
	IqdbRng               rng;
	float                 vector[32];

	(void) state;
	for (size_t s = 0; s < sizeof(shares) / sizeof(*shares); s++)
	{
		IqdbFilter      *filter = equals(0);
		IqdbSearchParams params = {.expected = 10, .filter = by_metadata(filter)};

		iqdb_rng_seed(&rng, SEED + 6);
		twins_open(&twins, IQDB_METRIC_COSINE, 32);
		for (uint64_t id = 0; id < 4000; id++)
		{
			size_t         length;
			unsigned char *metadata = metadata_of((id + 1) % shares[s], &length);

			fill_random(&rng, KIND_ORDINARY, vector, 32);
			twins_put_with(&twins, id, vector, metadata, length);
			iqdb_free(&iqdb_allocator_libc, metadata, length);
		}
		for (int i = 0; i < 5; i++)
		{
			fill_random(&rng, KIND_ORDINARY, vector, 32);
			compare_with(&twins, vector, &params, 10);
			compare_with(&twins, vector, &params, SIZE_MAX);
		}
		/* a limit means the same too */
		params.max_rows = 700;
		compare_with(&twins, vector, &params, SIZE_MAX);
		iqdb_filter_free(&iqdb_allocator_libc, filter);
		twins_close(&twins);
	}
}

/* ---- several at once ---- */

static void
cursors_that_begin_together_find_the_same(void **state)
{
	(void) state;
	for (size_t m = 0; m < 4; m++)
	{
		Twins            twins;
		IqdbRng          rng;
		float            queries[37][40];
		IqdbCursor      *together[2][37];
		IqdbSearchParams params[37];

		iqdb_rng_seed(&rng, SEED + 7);
		twins_open(&twins, coded_metrics[m % 3], m == 3 ? 40 : 12);
		twins_fill(&twins, &rng, m == 3 ? KIND_MIXED : KIND_ORDINARY, 5000);
		for (size_t i = 0; i < 37; i++)
		{
			fill_random(&rng, KIND_ORDINARY, queries[i], twins.dim);
			params[i] = (IqdbSearchParams){.expected = 1 + i % 20, .max_rows = i % 9 == 5 ? 1000 : 0};
			assert_int_equal(iqdb_cursor_open(&twins.plain.index, queries[i], twins.dim, &params[i], &together[0][i],
											  NULL),
							 IQDB_OK);
			assert_int_equal(iqdb_cursor_open(&twins.coded.index, queries[i], twins.dim, &params[i], &together[1][i],
											  NULL),
							 IQDB_OK);
		}
		for (int twin = 0; twin < 2; twin++)
			assert_int_equal(iqdb_cursors_begin(together[twin], 37, NULL), IQDB_OK);
		for (size_t i = 0; i < 37; i++)
		{
			IqdbHit     hits[3][50];
			size_t      counts[3];
			IqdbCursor *alone;

			assert_int_equal(iqdb_cursor_open(&twins.plain.index, queries[i], twins.dim, &params[i], &alone, NULL),
							 IQDB_OK);
			counts[0] = take(together[0][i], hits[0], 50);
			counts[1] = take(together[1][i], hits[1], 50);
			counts[2] = take(alone, hits[2], 50);
			assert_int_equal(counts[0], counts[2]);
			assert_int_equal(counts[1], counts[2]);
			assert_same_hits(hits[0], hits[2], counts[2]);
			assert_same_hits(hits[1], hits[2], counts[2]);
			iqdb_cursor_close(alone);
			iqdb_cursor_close(together[0][i]);
			iqdb_cursor_close(together[1][i]);
		}
		twins_close(&twins);
	}
}

/* ---- centres, snapshots, verification ---- */

typedef struct Countdown
{
	int left;
} Countdown;

static bool
count_down(void *arg)
{
	Countdown *countdown = arg;

	return countdown->left-- <= 0;
}

/* Rows drift away from the first centre; moving to another is cancelled at every point, and the answers stay. */
static void
a_centre_may_move_at_any_time(void **state)
{
	Twins            twins;
	IqdbRng          rng;
	float            vector[16];
	static IqdbHit   order[STABLE_ROWS];
	IqdbSearchParams few = {.expected = 1};
	IqdbCursor      *slow;
	size_t           next = 0;
	Countdown        countdown;

	(void) state;
	iqdb_rng_seed(&rng, SEED + 8);
	twins_open(&twins, IQDB_METRIC_L2, 16);
	twins_fill(&twins, &rng, KIND_ORDINARY, STABLE_ROWS);
	/* one stream is open all the time: it must meet the rows that do not change, in their order */
	fill_random(&rng, KIND_ORDINARY, vector, 16);
	assert_int_equal(iqdb_cursor_open(&twins.plain.index, vector, 16, &few, &slow, NULL), IQDB_OK);
	assert_int_equal(take(slow, order, STABLE_ROWS), STABLE_ROWS);
	iqdb_cursor_close(slow);
	assert_int_equal(iqdb_cursor_open(&twins.coded.index, vector, 16, &few, &slow, NULL), IQDB_OK);
	twins.coded.host.cancelled = count_down;
	twins.coded.host.cancel_arg = &countdown;
	for (int round = 0; round < 30; round++)
	{
		IqdbSearchParams params = {.expected = 5};
		IqdbCursor      *cursor;
		IqdbHit          hits[500];
		IqdbStatus       status;

		for (int i = 0; i < 200; i++)
		{
			fill_random(&rng, KIND_ORDINARY, vector, 16);
			for (int d = 0; d < 16; d++)
				vector[d] += (float) round;
			countdown.left = 1000;
			twins_put(&twins, STABLE_ROWS + (uint64_t) (round * 200 + i) % 2000, vector);
		}
		/* a stream that is open meanwhile goes on */
		assert_int_equal(iqdb_cursor_open(&twins.coded.index, vector, 16, &params, &cursor, NULL), IQDB_OK);
		assert_int_equal(take(cursor, hits, 5), 5);
		/* before, between and behind the two passes over all blocks, and never */
		countdown.left = (round * 37) % 230;
		status = iqdb_index_maintain(&twins.coded.index, IQDB_MAINTAIN_OPTIMIZE, NULL);
		assert_true(status == IQDB_OK || status == IQDB_ERR_CANCELLED);
		/* so that slots stay the same */
		assert_int_equal(iqdb_index_maintain(&twins.plain.index, IQDB_MAINTAIN_OPTIMIZE, NULL), IQDB_OK);
		countdown.left = 1000000;
		assert_int_equal(take(cursor, hits + 5, 300), 300);
		iqdb_cursor_close(cursor);
		assert_int_equal(iqdb_cursor_open(&twins.plain.index, vector, 16, &params, &cursor, NULL), IQDB_OK);
		{
			IqdbHit expected[305];

			assert_int_equal(take(cursor, expected, 305), 305);
			assert_same_hits(hits, expected, 305);
		}
		iqdb_cursor_close(cursor);
		compare(&twins, vector, 10, 100);
		assert_true(memory_index_sound(&twins.coded.index));
		/* one pass, then 9 rounds nothing, then the next pass */
		if (round % 10 != 0)
			continue;
		assert_int_equal(take(slow, hits, 1 + 20 * (size_t) round), 1 + 20 * (size_t) round);
		for (size_t i = 0; i < 1 + 20 * (size_t) round; i++)
		{
			if (hits[i].id < STABLE_ROWS)
				assert_same_hits(&hits[i], &order[next++], 1);
		}
	}
	iqdb_cursor_close(slow);
	twins_close(&twins);
}

static void
a_snapshot_brings_codes_back(void **state)
{
	(void) state;
	for (size_t m = 0; m < 3; m++)
	{
		Twins             twins;
		MemoryIndex       loaded;
		MemorySnapshot    snapshot;
		IqdbSectionSink   sink = memory_snapshot_sink(&snapshot);
		IqdbSectionSource source;
		IqdbRng           rng;
		float             query[24];

		iqdb_rng_seed(&rng, SEED + 9);
		memory_snapshot_init(&snapshot);
		twins_open(&twins, coded_metrics[m], 24);
		twins_fill(&twins, &rng, KIND_ORDINARY, 2500);
		for (uint64_t id = 0; id < 2500; id += 3)
			twins_remove(&twins, id);
		assert_int_equal(iqdb_index_save(&twins.coded.index, &sink, NULL), IQDB_OK);
		memory_index_create(&loaded, &twins.coded.index.store.header->options, &iqdb_locks_none, NULL, MEMORY_MAX);
		source = memory_snapshot_source(&snapshot);
		assert_int_equal(iqdb_index_load(&loaded.index, &source, NULL), IQDB_OK);
		assert_true(memory_index_sound(&loaded.index));
		memory_index_destroy(&twins.coded);
		twins.coded = loaded;
		/* the structures point into themselves */
		twins.coded.index.arena = &twins.coded.arena;
		twins.coded.index.host = &twins.coded.host;
		twins.coded.index.store.arena = &twins.coded.arena;
		twins.coded.index.store.host = &twins.coded.host;
		for (int i = 0; i < 5; i++)
		{
			fill_random(&rng, KIND_ORDINARY, query, 24);
			compare(&twins, query, 10, i == 0 ? SIZE_MAX : 20);
		}
		assert_true(twins.reranked < twins.scored);
		memory_snapshot_free(&snapshot);
		twins_close(&twins);
	}
}

static void
count_finding(void *arg, const char *what)
{
	(void) what;
	(*(size_t *) arg)++;
}

static void
check_finds_a_wrong_code(void **state)
{
	Twins      twins;
	IqdbRng    rng;
	size_t     found = 0;
	uint8_t   *codes;
	uint8_t   *groups;
	IqdbStore *store;

	(void) state;
	iqdb_rng_seed(&rng, SEED + 10);
	twins_open(&twins, IQDB_METRIC_DOT, 16);
	twins_fill(&twins, &rng, KIND_ORDINARY, 100);
	store = &twins.coded.index.store;
	codes = iqdb_store_engine_region(store, 0);
	groups = iqdb_store_engine_region(store, 1);
	codes[16 * 21 + 5] ^= 1;
	assert_int_equal(iqdb_index_check(&twins.coded.index, count_finding, &found, NULL), IQDB_OK);
	assert_int_equal(found, 1);
	codes[16 * 21 + 5] ^= 1;
	groups[iqdb_bound_group_bytes(16) + 64 + 4 * 5] ^= 16;
	assert_int_equal(iqdb_index_check(&twins.coded.index, count_finding, &found, NULL), IQDB_OK);
	assert_int_equal(found, 2);
	groups[iqdb_bound_group_bytes(16) + 64 + 4 * 5] ^= 16;
	((IqdbBoundRows *) iqdb_store_engine_region(store, 2))[2].error[3] *= 0.5f;
	assert_int_equal(iqdb_index_check(&twins.coded.index, count_finding, &found, NULL), IQDB_OK);
	assert_int_equal(found, 3);
	twins_close(&twins);
}

static void
metrics_without_a_bound_are_refused(void **state)
{
	(void) state;
	for (int metric = 0; metric < NUMBER_METRICS; metric++)
	{
		IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_FLAT, 8, (IqdbMetric) metric);
		uint64_t         plain = iqdb_index_estimate_memory(&options, 1000);
		IqdbError        err;

		assert_int_equal(options.quantization, IQDB_QUANTIZATION_NONE);
		options.quantization = IQDB_QUANTIZATION_SQ8;
		assert_int_equal(iqdb_index_options_check(&options, &err),
						 iqdb_bound_possible((IqdbMetric) metric) ? IQDB_OK : IQDB_ERR_METRIC);
		assert_int_equal(iqdb_index_estimate_memory(&options, 1000), plain + 1000 * (8 + 4 + 16));
		options.quantization = IQDB_QUANTIZATION_PQ;
		assert_int_equal(iqdb_index_options_check(&options, &err), IQDB_ERR_UNSUPPORTED);
		options.quantization = IQDB_QUANTIZATION_BQ;
		assert_int_equal(iqdb_index_options_check(&options, &err), IQDB_ERR_UNSUPPORTED);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(intervals_hold_the_keys),
		cmocka_unit_test(codes_are_the_same_everywhere),
		cmocka_unit_test(answers_are_those_without_codes),
		cmocka_unit_test(every_table_of_kernels_gives_the_same_answers),
		cmocka_unit_test(few_vectors_are_read),
		cmocka_unit_test(unlinked_rows_get_a_centre),
		cmocka_unit_test(streams_are_the_same_to_the_end),
		cmocka_unit_test(removal_and_reuse_leave_no_old_codes),
		cmocka_unit_test(filters_give_the_same_rows),
		cmocka_unit_test(cursors_that_begin_together_find_the_same),
		cmocka_unit_test(a_centre_may_move_at_any_time),
		cmocka_unit_test(a_snapshot_brings_codes_back),
		cmocka_unit_test(check_finds_a_wrong_code),
		cmocka_unit_test(metrics_without_a_bound_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
