/*
 * test_ranking.c - from the order of rank keys to the order of distances in double: nothing lost, nothing out of order, and
 * no more waiting than it takes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <float.h>
#include <math.h>

#include "core/base/rng.h"
#include "core/db/index_ranking.h"
#include "harness/memory_index.h"
#include "harness/metrics.h"

#define SEED UINT64_C(20260111)
#define MEMORY_MAX (UINT64_C(128) * 1024 * 1024)
#define ROWS 2000

typedef struct Stream
{
	MemoryIndex memory;
	IqdbCursor *cursor;
	IqdbRanking ranking;
	size_t      fetched; /* hits that were asked for so far */
	size_t      swapped; /* neighbours in the order of keys whose distances are in the other order */
} Stream;

/* Puts the rows into an exact index and begins a search. */
static void
stream_open(Stream *stream, IqdbMetric metric, size_t dim, const float *rows, size_t count, const float *query)
{
	IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_FLAT, (uint32_t) dim, metric);
	uint32_t         slot;

	memset(stream, 0, sizeof(*stream));
	memory_index_create(&stream->memory, &options, &iqdb_locks_none, iqdb_kernels_best(), MEMORY_MAX);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(iqdb_index_put(&stream->memory.index, iqdb_id_u64(i), rows + i * dim, dim, NULL, 0, &slot, NULL),
						 IQDB_OK);
	assert_int_equal(iqdb_cursor_open(&stream->memory.index, query, dim, NULL, &stream->cursor, NULL), IQDB_OK);
	iqdb_ranking_start(&stream->ranking, stream->cursor);
}

static void
stream_close(Stream *stream)
{
	iqdb_cursor_close(stream->cursor);
	memory_index_destroy(&stream->memory);
}

static double
true_distance(const Stream *stream, const IqdbHit *hit)
{
	const IqdbStore *store = &stream->memory.index.store;

	return floats_distance(store->kernels, (IqdbMetric) store->header->options.metric, stream->cursor->query,
									 iqdb_store_vector(store, hit->slot), store->header->options.dimension);
}

/* As a scan does it: 16 hits at first, then as many as fit. */
static bool
stream_next(Stream *stream, IqdbRankedRow *row_out)
{
	IqdbHit hits[IQDB_RANKING_BATCH];
	size_t  count;

	while (!iqdb_ranking_next(&stream->ranking, row_out))
	{
		if (stream->ranking.ended)
			return false;
		assert_int_equal(iqdb_cursor_next(stream->cursor, hits, stream->fetched == 0 ? 16 : IQDB_RANKING_BATCH, &count, NULL),
						 IQDB_OK);
		for (size_t i = 1; i < count; i++)
			stream->swapped += true_distance(stream, &hits[i]) < true_distance(stream, &hits[i - 1]);
		stream->fetched += count;
		iqdb_ranking_add(&stream->ranking, hits, count);
	}
	return true;
}

/* Every row once, in the order of its distance. */
static void
expect_ordered(Stream *stream, size_t count)
{
	bool         *seen = calloc(count, sizeof(bool));
	double        before = -INFINITY;
	size_t        total = 0;
	IqdbRankedRow row;

	while (stream_next(stream, &row))
	{
		assert_true(row.id < count && !seen[row.id]);
		if (row.distance < before)
			fail_msg("%s: row %zu of the stream: %.17g after %.17g",
					 iqdb_metric_name((IqdbMetric) stream->memory.index.store.header->options.metric), total, row.distance,
					 before);
		before = row.distance;
		seen[row.id] = true;
		total++;
	}
	assert_int_equal(total, count);
	free(seen);
}

/* The same for all rows under every metric; *swapped counts what came in another order from the index. */
static void
expect_ordered_by_all(size_t dim, const float *rows, const float *query, size_t *swapped)
{
	for (int m = 0; m < NUMBER_METRICS; m++)
	{
		Stream stream;

		stream_open(&stream, (IqdbMetric) m, dim, rows, ROWS, query);
		expect_ordered(&stream, ROWS);
		swapped[m] += stream.swapped;
		stream_close(&stream);
	}
}

/* Or there was nothing to mend. */
static void
expect_swapped(const size_t *swapped)
{
	for (int m = 0; m < NUMBER_METRICS; m++)
		assert_true(m == IQDB_METRIC_HAMMING || swapped[m] > 100);
}

/* Groups of rows that differ in their last digits only: what single precision makes of their order is chance. */
static void
near_rows_come_in_order(void **state)
{
	static const size_t dims[] = {8, 31, 128, 700};
	IqdbRng             rng;
	size_t              swapped[NUMBER_METRICS] = {0};

	(void) state;
	iqdb_rng_seed(&rng, SEED);
	for (size_t d = 0; d < sizeof(dims) / sizeof(dims[0]); d++)
	{
		size_t dim = dims[d];
		float *rows = malloc(ROWS * dim * sizeof(float));
		float *query = malloc(dim * sizeof(float));

		for (size_t i = 0; i < dim; i++)
			query[i] = (float) iqdb_rng_unit(&rng) - 0.5f;
		for (size_t r = 0; r < ROWS; r++)
		{
			for (size_t i = 0; i < dim; i++)
				rows[r * dim + i] = r % 10 == 0
										? (float) iqdb_rng_unit(&rng) - 0.5f
										: rows[(r - r % 10) * dim + i] * (1 + (float) iqdb_rng_below(&rng, 4) * FLT_EPSILON);
		}
		expect_ordered_by_all(dim, rows, query, swapped);
		free(rows);
		free(query);
	}
	expect_swapped(swapped);
}

/*
 * Rows and queries of every size: keys overflow, vanish, and are squeezed into what floats have left, and those of one stream
 * are of several kinds. Below the smallest normal float components have few digits, and many rows are the same. No more rows
 * than may wait for each other.
 */
static void
rows_of_any_size_come_in_order(void **state)
{
	static const int sizes[] = {-148, -140, -120, -75, -62, -50, 0, 45, 62, 64, 90, 120};
	enum
	{
		SIZES = sizeof(sizes) / sizeof(sizes[0]),
		DIM = 12,
		FEW = IQDB_RANKING_BATCH
	};
	IqdbRng rng;
	float   rows[FEW * DIM];
	float   query[DIM];

	(void) state;
	iqdb_rng_seed(&rng, SEED + 1);
	/* the last two: rows of two neighbouring sizes, of all sizes */
	for (size_t s = 0; s < SIZES * (SIZES + 2); s++)
	{
		for (size_t i = 0; i < DIM; i++)
			query[i] = ldexpf((float) iqdb_rng_unit(&rng) - 0.3f, sizes[s % SIZES]);
		for (size_t r = 0; r < FEW; r++)
		{
			size_t size = s / SIZES < SIZES ? s / SIZES : s / SIZES == SIZES ? (s + r % 2) % SIZES : r % SIZES;

			for (size_t i = 0; i < DIM; i++)
				rows[r * DIM + i] = ldexpf((float) iqdb_rng_unit(&rng) - 0.3f, sizes[size]);
		}
		for (int m = 0; m < NUMBER_METRICS; m++)
		{
			Stream stream;

			stream_open(&stream, (IqdbMetric) m, DIM, rows, FEW, query);
			expect_ordered(&stream, FEW);
			stream_close(&stream);
		}
	}
}

/* How many hits it takes to hand out so many rows. */
static size_t
hits_for(IqdbMetric metric, size_t dim, const float *rows, const float *query, size_t wanted)
{
	Stream        stream;
	IqdbRankedRow row;
	size_t        fetched;

	stream_open(&stream, metric, dim, rows, ROWS, query);
	for (size_t i = 0; i < wanted; i++)
		assert_true(stream_next(&stream, &row));
	fetched = stream.fetched;
	stream_close(&stream);
	return fetched;
}

static void
random_rows_do_not_wait(void **state)
{
	IqdbRng rng;
	float  *rows = malloc(ROWS * 64 * sizeof(float));

	(void) state;
	iqdb_rng_seed(&rng, SEED);
	for (size_t i = 0; i < ROWS * 64; i++)
		rows[i] = (float) iqdb_rng_unit(&rng) - 0.5f;
	for (int m = 0; m < NUMBER_METRICS; m++)
		assert_int_equal(hits_for((IqdbMetric) m, 64, rows, rows + 64, 10), 16);
	free(rows);
}

/*
 * Copies of a row, and others of the same key that are a little nearer or farther. Half of the rows are whole numbers, whose
 * keys are exact: those of the others are not.
 */
static void
copies_wait_for_rows_of_their_key(void **state)
{
	static const size_t dims[] = {4, 8, 48};
	IqdbRng             rng;
	size_t              swapped[NUMBER_METRICS] = {0};

	(void) state;
	iqdb_rng_seed(&rng, SEED);
	for (size_t round = 0; round < 30; round++)
	{
		size_t dim = dims[round % 3];
		float *rows = malloc(ROWS * dim * sizeof(float));
		float *query = malloc(dim * sizeof(float));

		for (size_t i = 0; i < dim; i++)
			query[i] = round % 2 == 0 ? (float) iqdb_rng_unit(&rng) : (float) iqdb_rng_below(&rng, 1000);
		for (size_t r = 0; r < ROWS; r++)
		{
			size_t first = r - r % 20;
			bool   copy = r % 20 < 12;

			for (size_t i = 0; i < dim; i++)
			{
				float *x = &rows[r * dim + i];

				if (r == first)
					*x = round % 2 == 0 ? (float) iqdb_rng_unit(&rng) - 0.5f : (float) iqdb_rng_below(&rng, 1000);
				else
					*x = rows[first * dim + i] * (copy ? 1 : 1 + (float) iqdb_rng_below(&rng, 2) * FLT_EPSILON);
			}
		}
		expect_ordered_by_all(dim, rows, query, swapped);
		free(rows);
		free(query);
	}
	expect_swapped(swapped);
}

/* Whole numbers, and copies of a few rows: hundreds of equal distances cost no second pass, which begins behind 64 hits. */
static void
equal_distances_wait_for_one_pass(void **state)
{
	IqdbRng rng;
	float  *rows = malloc(ROWS * 48 * sizeof(float));

	(void) state;
	iqdb_rng_seed(&rng, SEED);
	for (size_t i = 0; i < ROWS * 48; i++)
		rows[i] = (float) iqdb_rng_below(&rng, 2);
	for (int m = 0; m < NUMBER_METRICS; m++)
		assert_in_range(hits_for((IqdbMetric) m, 48, rows, rows + 48, 10), 16, IQDB_RANKING_BATCH);
	for (size_t i = 0; i < ROWS * 48; i++)
		rows[i] = (float) iqdb_rng_unit(&rng);
	for (size_t r = 2; r < ROWS; r++)
		memcpy(rows + r * 48, rows + r % 2 * 48, 48 * sizeof(float));
	for (size_t i = 0; i < 48; i++)
		rows[i] += 1;
	for (int m = 0; m < NUMBER_METRICS; m++)
		assert_in_range(hits_for((IqdbMetric) m, 48, rows, rows, 10), 16, IQDB_RANKING_BATCH);
	free(rows);
}

/* However alike they look, no more rows are held than a batch; and none is lost. */
static void
waiting_is_bounded(void **state)
{
	float  *rows = malloc(ROWS * 2 * sizeof(float));
	float   query[2] = {0, 0};
	IqdbRng rng;
	Stream  stream;
	size_t  total = 0;

	(void) state;
	iqdb_rng_seed(&rng, SEED);
	for (size_t r = 0; r < ROWS; r++)
	{
		double angle = iqdb_rng_unit(&rng);

		rows[2 * r] = (float) cos(angle);
		rows[2 * r + 1] = (float) sin(angle);
	}
	stream_open(&stream, IQDB_METRIC_L2, 2, rows, ROWS, query);
	for (IqdbRankedRow row; stream_next(&stream, &row); total++)
		assert_true(stream.fetched - total <= 2 * IQDB_RANKING_BATCH);
	assert_int_equal(total, ROWS);
	stream_close(&stream);
	free(rows);
}

/* Rows in order from elsewhere pass through. */
static void
appended_rows_pass(void **state)
{
	IqdbRanking   ranking;
	IqdbRankedRow row;

	(void) state;
	iqdb_ranking_start(&ranking, NULL);
	assert_false(iqdb_ranking_next(&ranking, &row));
	for (size_t round = 0; round < 5; round++)
	{
		for (uint64_t i = 0; i < IQDB_RANKING_BATCH; i++)
			iqdb_ranking_append(&ranking, i, (double) i);
		for (uint64_t i = 0; i < IQDB_RANKING_BATCH; i++)
			assert_true(iqdb_ranking_next(&ranking, &row) && row.id == i && row.distance == (double) i);
		assert_false(iqdb_ranking_next(&ranking, &row));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(near_rows_come_in_order), cmocka_unit_test(rows_of_any_size_come_in_order),
		cmocka_unit_test(random_rows_do_not_wait),
		cmocka_unit_test(copies_wait_for_rows_of_their_key),
		cmocka_unit_test(equal_distances_wait_for_one_pass), cmocka_unit_test(waiting_is_bounded),
		cmocka_unit_test(appended_rows_pass),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
