/*
 * test_flat.c - exact search: bit for bit what comparing every row gives, under every metric, with numbers of any size,
 * holes, filters, streams in any helping, and rows that come and go while a stream is open.
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

#include "core/engine/keys.h"
#include "core/base/topk.h"
#include "core/meta/metadata.h"
#include "harness/memory_index.h"
#include "harness/metrics.h"
#include "harness/model.h"

#define SEED UINT64_C(20250909)
#define MEMORY_MAX (UINT64_C(128) * 1024 * 1024)

/* ---- an oracle with the kernels of the index: keys must agree to the bit, whatever the numbers ---- */

typedef struct Rows
{
	MemoryIndex memory;
	IqdbMetric  metric;
	size_t      dim;
	float      *vectors; /* by id */
	bool       *gone;
	uint64_t   *sequences;
	size_t      count;
} Rows;

static void
rows_open(Rows *rows, IqdbMetric metric, size_t dim, size_t count, const IqdbKernels *kernels)
{
	IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_FLAT, (uint32_t) dim, metric);

	memset(rows, 0, sizeof(*rows));
	memory_index_create(&rows->memory, &options, &iqdb_locks_none, kernels, MEMORY_MAX);
	rows->metric = metric;
	rows->dim = dim;
	rows->vectors = calloc(count * dim, sizeof(float));
	rows->gone = calloc(count, sizeof(bool));
	rows->sequences = calloc(count, sizeof(uint64_t));
	rows->count = count;
}

static void
rows_close(Rows *rows)
{
	memory_index_destroy(&rows->memory);
	free(rows->vectors);
	free(rows->gone);
	free(rows->sequences);
}

static void
rows_put(Rows *rows, size_t id)
{
	uint32_t slot;

	assert_int_equal(iqdb_index_put(&rows->memory.index, iqdb_id_u64(id), rows->vectors + id * rows->dim, rows->dim, NULL,
									0, &slot, NULL),
					 IQDB_OK);
	rows->sequences[id] = iqdb_store_sequence(&rows->memory.index.store, slot);
	rows->gone[id] = false;
}

/* The key of a row by itself, as of a scan that turns nothing away. */
static float
key_of(const Rows *rows, const float *query, size_t id)
{
	const IqdbStore *store = &rows->memory.index.store;
	uint32_t         slot = iqdb_store_find(store, iqdb_id_u64(id));
	IqdbPairKernel   pair = store->kernels->sums[iqdb_metric_sum(rows->metric)].pair;
	IqdbPairKernel   dot = store->kernels->sums[IQDB_SUM_DOT].pair;
	float            norm2 = iqdb_store_norm2(store, slot);
	float            key = pair(query, iqdb_store_vector(store, slot), rows->dim);

	iqdb_store_finish_keys(store, query, dot(query, query, rows->dim), &slot, 0,
						   rows->metric == IQDB_METRIC_COSINE ? &norm2 : NULL, 1, &key);
	return key;
}

/* slot = id in what this returns. */
static IqdbCandidate *
oracle(const Rows *rows, const float *query, size_t *count_out)
{
	IqdbCandidate *all = calloc(rows->count + 1, sizeof(*all));
	size_t         count = 0;

	for (size_t id = 0; id < rows->count; id++)
	{
		if (rows->gone[id])
			continue;
		all[count].key = key_of(rows, query, id);
		all[count].sequence = rows->sequences[id];
		all[count++].slot = (uint32_t) id;
	}
	iqdb_candidates_sort(all, count);
	*count_out = count;
	return all;
}

static bool
same_float(float a, float b)
{
	return memcmp(&a, &b, sizeof(a)) == 0 || a == b;
}

static void
compare(Rows *rows, const float *query, size_t expected_rows, size_t wanted)
{
	IqdbSearchParams params = {.expected = expected_rows};
	IqdbCandidate   *expected;
	IqdbCursor      *cursor;
	IqdbHit          hits[33];
	size_t           count;
	size_t           total;
	size_t           seen = 0;

	expected = oracle(rows, query, &total);
	assert_int_equal(iqdb_cursor_open(&rows->memory.index, query, rows->dim, &params, &cursor, NULL), IQDB_OK);
	do
	{
		assert_int_equal(iqdb_cursor_next(cursor, hits, 33, &count, NULL), IQDB_OK);
		assert_true(seen + count <= total);
		for (size_t i = 0; i < count; i++)
		{
			assert_int_equal(hits[i].id, expected[seen + i].slot);
			assert_int_equal(hits[i].sequence, expected[seen + i].sequence);
			assert_true(same_float(hits[i].key, expected[seen + i].key));
		}
		seen += count;
	} while (count > 0 && seen < wanted);
	assert_true(seen >= wanted || seen == total);
	iqdb_cursor_close(cursor);
	free(expected);
}

/* ---- numbers of any size ---- */

typedef enum Kind
{
	KIND_ORDINARY,
	KIND_TINY,
	KIND_HUGE,
	KIND_MIXED,
	KIND_NEARLY_EQUAL,
	KIND_COUNT
} Kind;

static void
fill_random(IqdbRng *rng, Kind kind, float *vector, size_t dim)
{
	static const float scales[] = {1e-38f, 1e-23f, 1e-19f, 1e-9f, 1.0f, 1e9f, 1e18f, 1e19f, 3e38f};
	float              scale = 1.0f;

	if (kind == KIND_TINY)
		scale = 1e-20f / (float) (1 + iqdb_rng_below(rng, 1000));
	if (kind == KIND_HUGE)
		scale = 1e19f;
	if (kind == KIND_MIXED)
		scale = scales[iqdb_rng_below(rng, 9)];
	for (size_t i = 0; i < dim; i++)
	{
		float value = (float) iqdb_rng_unit(rng) - 0.5f;

		if (kind == KIND_NEARLY_EQUAL)
			value = 1.0f + 1e-6f * value;
		vector[i] = value * scale;
	}
	if (kind == KIND_MIXED && iqdb_rng_below(rng, 50) == 0)
		memset(vector, 0, dim * sizeof(float));
}

static void
matches_naive_for_numbers_of_any_size(void **state)
{
	static const size_t dims[] = {1, 3, 16, 64, 100};

	(void) state;
	for (int metric = 0; metric < NUMBER_METRICS; metric++)
	{
		for (int kind = 0; kind < KIND_COUNT; kind++)
		{
			size_t  dim = dims[(metric + kind) % 5];
			Rows    rows;
			IqdbRng rng;
			float   query[100];

			iqdb_rng_seed(&rng, SEED + (uint64_t) (metric * 10 + kind));
			rows_open(&rows, (IqdbMetric) metric, dim, 900, NULL);
			for (size_t id = 0; id < rows.count; id++)
			{
				fill_random(&rng, (Kind) kind, rows.vectors + id * dim, dim);
				/* some rows are equal to others */
				if (id % 13 == 5)
					memcpy(rows.vectors + id * dim, rows.vectors + (id - 5) * dim, dim * sizeof(float));
				rows_put(&rows, id);
			}
			for (int i = 0; i < 12; i++)
			{
				static const Kind other[] = {KIND_ORDINARY, KIND_MIXED};

				fill_random(&rng, i % 2 == 0 ? (Kind) kind : other[i / 2 % 2], query, dim);
				compare(&rows, i % 3 == 0 ? rows.vectors + (size_t) i * 7 * dim : query, 10, 10);
			}
			compare(&rows, query, 5, SIZE_MAX);
			assert_true(memory_index_sound(&rows.memory.index));
			rows_close(&rows);
		}
	}
}

static int
compare_doubles(const void *a, const void *b)
{
	const double *x = a;
	const double *y = b;

	return (*x > *y) - (*x < *y);
}

/* Row after row is as far as the one of its rank is by double arithmetic, but for what keys round. */
static void
compare_with_doubles(Rows *rows, const float *query)
{
	const IqdbKernels *kernels = rows->memory.index.store.kernels;
	IqdbSearchParams   params = {.expected = 20};
	double            *truth = calloc(rows->count, sizeof(*truth));
	IqdbHit            hits[20];
	IqdbCursor        *cursor;
	size_t             count;

	assert_non_null(truth);
	for (size_t id = 0; id < rows->count; id++)
		truth[id] = floats_distance(kernels, rows->metric, query, rows->vectors + id * rows->dim, rows->dim);
	qsort(truth, rows->count, sizeof(*truth), compare_doubles);
	assert_int_equal(iqdb_cursor_open(&rows->memory.index, query, rows->dim, &params, &cursor, NULL), IQDB_OK);
	for (size_t seen = 0; seen < 200; seen += count)
	{
		assert_int_equal(iqdb_cursor_next(cursor, hits, 20, &count, NULL), IQDB_OK);
		assert_true(count > 0);
		for (size_t i = 0; i < count; i++)
		{
			double distance = floats_distance(kernels, rows->metric, query,
														rows->vectors + hits[i].id * rows->dim, rows->dim);
			double slack = rows->metric == IQDB_METRIC_COSINE ? 1e-6 : fabs(truth[seen + i]) * 1e-4;

			/* an inner product is as exact as the lengths are small */
			if (rows->metric == IQDB_METRIC_DOT)
				slack += 1e-6 * sqrt(kernels->doubles->dot(query, query, rows->dim)) * 3e38 * sqrt((double) rows->dim);
			if (!(distance <= truth[seen + i] + slack))
				fail_msg("%s: row %zu at %g, by doubles %g", iqdb_metric_name(rows->metric), seen + i, distance,
						 truth[seen + i]);
			assert_true(fabs(iqdb_metric_distance(rows->metric, hits[i].key) - distance) <= slack + fabs(distance) * 1e-3);
		}
	}
	iqdb_cursor_close(cursor);
	free(truth);
}

/* From the smallest number to the largest: every row has a distance, and none is in another's way. */
static void
every_finite_number_counts(void **state)
{
	enum
	{
		DIMENSIONS = 3
	};

	(void) state;
	for (int metric = 0; metric < NUMBER_METRICS; metric++)
	{
		Rows    rows;
		IqdbRng rng;

		iqdb_rng_seed(&rng, SEED + (uint64_t) metric);
		rows_open(&rows, (IqdbMetric) metric, DIMENSIONS, 900, NULL);
		for (size_t id = 0; id < rows.count; id++)
		{
			/* 1e-45 .. 3e38, evenly by magnitude */
			double scale = pow(10.0, -45.0 + 83.4 * iqdb_rng_unit(&rng));

			for (size_t i = 0; i < DIMENSIONS; i++)
				rows.vectors[id * DIMENSIONS + i] = (float) (scale * (2.0 * iqdb_rng_unit(&rng) - 1.0));
			rows_put(&rows, id);
		}
		for (size_t id = 0; id < rows.count; id += 30)
			compare_with_doubles(&rows, rows.vectors + id * DIMENSIONS);
		rows_close(&rows);
	}
}

static void
every_table_of_kernels_gives_exact_results(void **state)
{
	static const char *const names[] = {"scalar", "avx2", "avx512bw", "avx512", "neon"};

	(void) state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		const IqdbKernels *kernels = iqdb_kernels_named(names[i]);
		Rows               rows;
		IqdbRng            rng;

		if (kernels == NULL)
			continue;
		iqdb_rng_seed(&rng, SEED);
		rows_open(&rows, IQDB_METRIC_COSINE, 37, 700, kernels);
		for (size_t id = 0; id < rows.count; id++)
		{
			fill_random(&rng, KIND_ORDINARY, rows.vectors + id * 37, 37);
			rows_put(&rows, id);
		}
		compare(&rows, rows.vectors, 10, SIZE_MAX);
		rows_close(&rows);
	}
}

/* ---- holes, order, size ---- */

static void
holes_are_passed_over_and_order_is_kept(void **state)
{
	Rows    rows;
	IqdbRng rng;

	(void) state;
	iqdb_rng_seed(&rng, SEED);
	rows_open(&rows, IQDB_METRIC_L2, 8, 3000, NULL);
	for (size_t id = 0; id < rows.count; id++)
	{
		model_random_vector(&rng, rows.vectors + id * 8, 8);
		rows_put(&rows, id);
	}
	/* delete many, put some again: those go to the end of their ties */
	for (int round = 0; round < 6; round++)
	{
		for (int i = 0; i < 700; i++)
		{
			size_t id = iqdb_rng_below(&rng, rows.count);

			if (rows.gone[id] && round % 2 == 1)
				rows_put(&rows, id);
			else
			{
				iqdb_index_remove(&rows.memory.index, iqdb_id_u64(id), NULL);
				rows.gone[id] = true;
			}
		}
		compare(&rows, rows.vectors + 80, 20, 100);
		compare(&rows, rows.vectors + 800, 0, SIZE_MAX);
		assert_true(memory_index_sound(&rows.memory.index));
	}
	/* down to nothing */
	for (size_t id = 0; id < rows.count; id++)
	{
		iqdb_index_remove(&rows.memory.index, iqdb_id_u64(id), NULL);
		rows.gone[id] = true;
	}
	compare(&rows, rows.vectors, 10, SIZE_MAX);
	rows_close(&rows);
}

static void
top_k_is_exact_at_scale(void **state)
{
	Rows    rows;
	IqdbRng rng;

	(void) state;
	for (int metric = 0; metric < 4; metric++)
	{
		iqdb_rng_seed(&rng, SEED + 7);
		rows_open(&rows, (IqdbMetric) metric, 32, 20000, NULL);
		for (size_t id = 0; id < rows.count; id++)
		{
			fill_random(&rng, KIND_ORDINARY, rows.vectors + id * 32, 32);
			rows_put(&rows, id);
		}
		for (size_t i = 0; i < 5; i++)
			compare(&rows, rows.vectors + i * 32 * 1111, 50, 50);
		if (metric == 0)
			compare(&rows, rows.vectors, 50, SIZE_MAX);
		rows_close(&rows);
	}
}

static void
equal_rows_come_in_insertion_order(void **state)
{
	Rows             rows;
	float            query[16] = {1};
	IqdbSearchParams params = {.expected = 7};
	IqdbCursor      *cursor;
	IqdbHit          hit;
	size_t           count;

	(void) state;
	rows_open(&rows, IQDB_METRIC_COSINE, 16, 5000, NULL);
	for (size_t id = 0; id < rows.count; id++)
	{
		rows.vectors[id * 16] = 2.0f;
		rows_put(&rows, id);
	}
	assert_int_equal(iqdb_cursor_open(&rows.memory.index, query, 16, &params, &cursor, NULL), IQDB_OK);
	for (size_t id = 0; id < rows.count; id++)
	{
		assert_int_equal(iqdb_cursor_next(cursor, &hit, 1, &count, NULL), IQDB_OK);
		assert_int_equal(count, 1);
		assert_int_equal(hit.id, id);
	}
	assert_int_equal(iqdb_cursor_next(cursor, &hit, 1, &count, NULL), IQDB_OK);
	assert_int_equal(count, 0);
	assert_int_equal(iqdb_cursor_next(cursor, &hit, 1, &count, NULL), IQDB_OK);
	assert_int_equal(count, 0);
	iqdb_cursor_close(cursor);
	rows_close(&rows);
}

static void
an_older_row_in_a_higher_slot_comes_first(void **state)
{
	Rows rows;

	(void) state;
	for (int metric = 0; metric < NUMBER_METRICS; metric++)
	{
		rows_open(&rows, (IqdbMetric) metric, 16, 600, NULL);
		for (size_t id = 0; id < rows.count; id++)
		{
			rows.vectors[id * 16] = 2.0f;
			rows_put(&rows, id);
		}
		for (size_t id = 0; id < 300; id++)
			iqdb_index_remove(&rows.memory.index, iqdb_id_u64(id), NULL);
		assert_int_equal(iqdb_store_reclaim(&rows.memory.index.store), 300);
		for (size_t id = 0; id < 300; id++)
			rows_put(&rows, id);
		assert_int_equal(rows.memory.index.store.header->slot_count, 600);
		compare(&rows, rows.vectors, 10, 10);
		compare(&rows, rows.vectors, 10, SIZE_MAX);
		rows_close(&rows);
	}
}

static void
dot_product_keys_are_negated(void **state)
{
	static const float vectors[3][2] = {{10, 0}, {1, 0}, {0, 1}};
	Rows               rows;
	float              query[2] = {1, 0};
	IqdbSearchParams   params = {.expected = 3};
	IqdbCursor        *cursor;
	IqdbHit            hits[3];
	size_t             count;

	(void) state;
	rows_open(&rows, IQDB_METRIC_DOT, 2, 3, NULL);
	memcpy(rows.vectors, vectors, sizeof(vectors));
	for (size_t id = 0; id < 3; id++)
		rows_put(&rows, 2 - id);
	assert_int_equal(iqdb_cursor_open(&rows.memory.index, query, 2, &params, &cursor, NULL), IQDB_OK);
	assert_int_equal(iqdb_cursor_next(cursor, hits, 3, &count, NULL), IQDB_OK);
	assert_int_equal(count, 3);
	assert_true(hits[0].key == -10.0f && hits[1].key == -1.0f && hits[2].key == 0.0f);
	iqdb_cursor_close(cursor);
	rows_close(&rows);
}

/* ---- streams beside writes ---- */

static void
a_stream_passes_over_rows_that_die_and_never_repeats(void **state)
{
	Rows             rows;
	IqdbRng          rng;
	float            query[4] = {0};
	IqdbSearchParams params = {.expected = 10};
	IqdbCursor      *cursor;
	IqdbHit          hit;
	IqdbCandidate    last = {0};
	bool             seen[2000] = {0};
	size_t           count;
	size_t           found = 0;

	(void) state;
	iqdb_rng_seed(&rng, SEED);
	rows_open(&rows, IQDB_METRIC_L2, 4, 2000, NULL);
	for (size_t id = 0; id < rows.count; id++)
	{
		model_random_vector(&rng, rows.vectors + id * 4, 4);
		rows_put(&rows, id);
	}
	assert_int_equal(iqdb_cursor_open(&rows.memory.index, query, 4, &params, &cursor, NULL), IQDB_OK);
	for (;;)
	{
		IqdbCandidate now;

		assert_int_equal(iqdb_cursor_next(cursor, &hit, 1, &count, NULL), IQDB_OK);
		if (count == 0)
			break;
		assert_false(seen[hit.id]);
		assert_false(rows.gone[hit.id]);
		assert_int_equal(hit.sequence, rows.sequences[hit.id]);
		seen[hit.id] = true;
		now = (IqdbCandidate){.key = hit.key, .sequence = hit.sequence};
		assert_true(found == 0 || iqdb_candidate_before(&last, &now));
		last = now;
		found++;
		/* a row dies, another one takes its slot at once */
		for (int i = 0; i < 1; i++)
		{
			size_t id = iqdb_rng_below(&rng, rows.count);

			if (rows.gone[id] || seen[id])
				continue;
			iqdb_index_remove(&rows.memory.index, iqdb_id_u64(id), NULL);
			rows.gone[id] = true;
			assert_int_equal(iqdb_store_reclaim(&rows.memory.index.store), 1);
			assert_int_equal(iqdb_index_put(&rows.memory.index, iqdb_id_u64(5000 + id), query, 4, NULL, 0, NULL, NULL),
							 IQDB_OK);
		}
	}
	iqdb_cursor_close(cursor);
	for (size_t id = 0; id < rows.count; id++)
		assert_true(seen[id] || rows.gone[id]);
	assert_true(memory_index_sound(&rows.memory.index));
	rows_close(&rows);
}

static void
a_limit_of_rows_ends_the_stream(void **state)
{
	Rows             rows;
	float            query[4] = {0};
	IqdbSearchParams params = {.expected = 3, .max_rows = 500};
	IqdbCursor      *cursor;
	IqdbHit          hits[10];
	size_t           count;
	size_t           total = 0;

	(void) state;
	rows_open(&rows, IQDB_METRIC_L1, 4, 2000, NULL);
	for (size_t id = 0; id < rows.count; id++)
		rows_put(&rows, id);
	assert_int_equal(iqdb_cursor_open(&rows.memory.index, query, 4, &params, &cursor, NULL), IQDB_OK);
	do
	{
		assert_int_equal(iqdb_cursor_next(cursor, hits, 10, &count, NULL), IQDB_OK);
		total += count;
	} while (count > 0);
	assert_int_equal(total, 3);
	assert_in_range(cursor->stats.scored, 500, 755);
	iqdb_cursor_close(cursor);
	rows_close(&rows);
}

static void
filters_come_before_distances(void **state)
{
	Rows                rows;
	IqdbMetadataBuilder builder;
	IqdbFilterBuilder   filters;
	IqdbFilter         *filter;
	IqdbValue           value = iqdb_value_bool(true);
	unsigned char      *metadata;
	size_t              length;
	float               vector[4] = {1, 2, 3, 4};
	IqdbSearchParams    params = {.expected = 5};
	IqdbCursor         *cursor;
	IqdbHit             hits[10];
	size_t              count;

	(void) state;
	iqdb_metadata_builder_init(&builder, &iqdb_allocator_libc);
	assert_int_equal(iqdb_metadata_put(&builder, "yes", 3, &value, NULL), IQDB_OK);
	assert_int_equal(iqdb_metadata_finish(&builder, &metadata, &length, NULL), IQDB_OK);
	iqdb_metadata_builder_free(&builder);
	iqdb_filter_builder_init(&filters, &iqdb_allocator_libc);
	assert_int_equal(iqdb_filter_finish(&filters, iqdb_filter_eq(&filters, "yes", 3, &value), &filter, NULL), IQDB_OK);
	iqdb_filter_builder_free(&filters);

	rows_open(&rows, IQDB_METRIC_L2, 4, 1, NULL);
	for (uint64_t id = 0; id < 1000; id++)
		assert_int_equal(iqdb_index_put(&rows.memory.index, iqdb_id_u64(id), vector, 4, id % 100 == 0 ? metadata : NULL,
										id % 100 == 0 ? length : 0, NULL, NULL),
						 IQDB_OK);
	params.filter = by_metadata(filter);
	assert_int_equal(iqdb_cursor_open(&rows.memory.index, vector, 4, &params, &cursor, NULL), IQDB_OK);
	assert_int_equal(iqdb_cursor_next(cursor, hits, 10, &count, NULL), IQDB_OK);
	assert_int_equal(count, 5);
	assert_int_equal(cursor->stats.scored, 10);
	assert_int_equal(cursor->stats.filtered, 990);
	assert_int_equal(iqdb_cursor_next(cursor, hits + 5, 10, &count, NULL), IQDB_OK);
	assert_int_equal(count, 5);
	for (uint64_t i = 0; i < 10; i++)
		assert_int_equal(hits[i].id, i * 100);
	assert_int_equal(iqdb_cursor_next(cursor, hits, 10, &count, NULL), IQDB_OK);
	assert_int_equal(count, 0);
	iqdb_cursor_close(cursor);
	iqdb_filter_free(&iqdb_allocator_libc, filter);
	iqdb_free(&iqdb_allocator_libc, metadata, length);
	rows_close(&rows);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(matches_naive_for_numbers_of_any_size),
		cmocka_unit_test(every_finite_number_counts),
		cmocka_unit_test(every_table_of_kernels_gives_exact_results),
		cmocka_unit_test(holes_are_passed_over_and_order_is_kept),
		cmocka_unit_test(top_k_is_exact_at_scale),
		cmocka_unit_test(equal_rows_come_in_insertion_order),
		cmocka_unit_test(an_older_row_in_a_higher_slot_comes_first),
		cmocka_unit_test(dot_product_keys_are_negated),
		cmocka_unit_test(a_stream_passes_over_rows_that_die_and_never_repeats),
		cmocka_unit_test(a_limit_of_rows_ends_the_stream),
		cmocka_unit_test(filters_come_before_distances),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
