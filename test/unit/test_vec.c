/*
 * test_vec.c - metrics and kernels: every table this processor can run, against sums in double precision.
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
#include "core/base/status.h"
#include "core/vec/kernels.h"
#include "core/vec/metric.h"
#include "harness/guarded.h"
#include "harness/metrics.h"

#define SEED UINT64_C(20240612)

/* one more than two groups of rows, so that every way through a form is taken */
#define ROWS 9
#define ROWS_MANY 70

static const char *const table_names[] = {"scalar", "avx2", "avx512bw", "avx512", "neon"};

#define TABLES ((int) (sizeof(table_names) / sizeof(table_names[0])))

static const char *const sum_names[IQDB_SUM_COUNT] = {"dot", "l2", "l1", "hamming"};

static const size_t large_dims[] = {71, 96, 100, 127, 128, 129, 200, 255, 256, 257, 384, 768, 1000, 1536, 4096, 16000};

#define SMALL_DIMS 70
#define DIMS (SMALL_DIMS + sizeof(large_dims) / sizeof(large_dims[0]))

/* 1 to 70, then the large ones. */
static size_t
dim_number(size_t i)
{
	return i < SMALL_DIMS ? i + 1 : large_dims[i - SMALL_DIMS];
}

static uint32_t
bits_of(float x)
{
	uint32_t bits;

	memcpy(&bits, &x, sizeof(bits));
	return bits;
}

static float
float_of(uint32_t bits)
{
	float x;

	memcpy(&x, &bits, sizeof(x));
	return x;
}

/* Bit for bit, except that one NaN is as good as another: which operand's payload survives is the compiler's choice. */
static bool
same(float a, float b)
{
	return (isnan(a) && isnan(b)) || bits_of(a) == bits_of(b);
}

/* Uniform in [-1, 1). */
static float
random_component(IqdbRng *rng)
{
	return (float) (2.0 * iqdb_rng_unit(rng) - 1.0);
}

static void *
allocate(size_t size)
{
	void *p = calloc(1, size);

	assert_non_null(p);
	return p;
}

/* ---- oracle ---- */

/* The sum in double; *scale_out receives the sum of the terms' magnitudes: rounding errors are proportional to it. */
static double
oracle(IqdbSum sum, const float *a, const float *b, size_t dim, double *scale_out)
{
	double total = 0;
	double scale = 0;

	for (size_t i = 0; i < dim; i++)
	{
		double x = (double) a[i];
		double y = (double) b[i];
		double term = 0;

		switch (sum)
		{
			case IQDB_SUM_DOT:
				term = x * y;
				break;
			case IQDB_SUM_L2:
				term = (x - y) * (x - y);
				break;
			case IQDB_SUM_L1:
				term = fabs(x - y);
				break;
			default:
				term = bits_of(a[i]) != bits_of(b[i]);
		}
		total += term;
		scale += fabs(term);
	}
	*scale_out = scale;
	return total;
}

static void
expect_near(const IqdbKernels *kernels, IqdbSum sum, float got, const float *a, const float *b, size_t dim)
{
	double scale;
	double want = oracle(sum, a, b, dim, &scale);
	double allowed = sum == IQDB_SUM_HAMMING ? 0 : 1e-5 * scale;

	if (!(fabs((double) got - want) <= allowed))
		fail_msg("%s %s, dimension %zu, seed %llu: %.9g instead of %.17g", kernels->name, sum_names[sum], dim,
				 (unsigned long long) SEED, (double) got, want);
}

static void
expect_same(const IqdbKernels *kernels, const char *form, IqdbSum sum, size_t dim, size_t row, float got, float want)
{
	if (!same(got, want))
		fail_msg("%s %s %s, dimension %zu, row %zu, seed %llu: %.9g, alone %.9g", kernels->name, form, sum_names[sum],
				 dim, row, (unsigned long long) SEED, (double) got, (double) want);
}

/* Random rows, where every fourth component or so equals the query's. */
static void
fill_rows(IqdbRng *rng, const float *query, float *rows, size_t stride, size_t count, size_t dim)
{
	for (size_t r = 0; r < count; r++)
	{
		for (size_t i = 0; i < dim; i++)
			rows[r * stride + i] = iqdb_rng_below(rng, 4) == 0 ? query[i] : random_component(rng);
	}
}

/* ---- sums ---- */

/* All forms of one table at one dimension: pair against the oracle, batch and gather against pair. */
static void
check_forms(const IqdbKernels *kernels, const float *query, const float *rows, size_t stride, size_t dim)
{
	static const uint32_t slots[ROWS] = {8, 3, 3, 0, 7, 1, 5, 2, 6};
	float                 batch[ROWS];
	float                 gather[ROWS];

	for (int sum = 0; sum < IQDB_SUM_COUNT; sum++)
	{
		const IqdbSumKernels *k = &kernels->sums[sum];

		k->batch(query, rows, stride * sizeof(float), ROWS, dim, batch);
		k->gather(query, rows, stride * sizeof(float), slots, ROWS, dim, gather);
		for (size_t r = 0; r < ROWS; r++)
		{
			float alone = k->pair(query, rows + r * stride, dim);

			expect_near(kernels, (IqdbSum) sum, alone, query, rows + r * stride, dim);
			expect_same(kernels, "batch", (IqdbSum) sum, dim, r, batch[r], alone);
			expect_same(kernels, "gather", (IqdbSum) sum, dim, r, gather[r],
						k->pair(query, rows + slots[r] * stride, dim));
		}
	}
}

static void
sums_match_double_precision(void **state)
{
	const IqdbKernels *kernels = *state;
	IqdbRng            rng;

	iqdb_rng_seed(&rng, SEED);
	for (size_t d = 0; d < DIMS; d++)
	{
		size_t dim = dim_number(d);

		/* once every row 64-byte aligned, then each at an address of its own that is a multiple of 4 only */
		for (size_t shift = 0; shift < 2; shift++)
		{
			size_t stride = (dim + 15) / 16 * 16 + shift;
			float *memory = allocate((ROWS * stride + stride + 32) * sizeof(float));
			float *query = memory + (64 - (uintptr_t) memory % 64) % 64 / sizeof(float) + shift;
			float *rows = query + stride + shift;

			for (size_t i = 0; i < dim; i++)
				query[i] = random_component(&rng);
			fill_rows(&rng, query, rows, stride, ROWS, dim);
			check_forms(kernels, query, rows, stride, dim);
			free(memory);
		}
	}
}

static void
every_count_of_rows_works(void **state)
{
	static const size_t dims[] = {3, 64, 100, 300, 2000};
	const IqdbKernels  *kernels = *state;
	IqdbRng             rng;

	iqdb_rng_seed(&rng, SEED);
	for (size_t d = 0; d < sizeof(dims) / sizeof(dims[0]); d++)
	{
		size_t   dim = dims[d];
		float   *query = allocate(dim * sizeof(float));
		float   *rows = allocate(ROWS_MANY * dim * sizeof(float));
		uint32_t slots[ROWS_MANY];
		float    alone[IQDB_SUM_COUNT][ROWS_MANY];

		for (size_t i = 0; i < dim; i++)
			query[i] = random_component(&rng);
		fill_rows(&rng, query, rows, dim, ROWS_MANY, dim);
		for (int sum = 0; sum < IQDB_SUM_COUNT; sum++)
		{
			for (size_t r = 0; r < ROWS_MANY; r++)
				alone[sum][r] = kernels->sums[sum].pair(query, rows + r * dim, dim);
		}
		for (size_t count = 0; count <= ROWS_MANY; count++)
		{
			for (size_t r = 0; r < count; r++)
				slots[r] = (uint32_t) iqdb_rng_below(&rng, ROWS_MANY);
			for (int sum = 0; sum < IQDB_SUM_COUNT; sum++)
			{
				float out[ROWS_MANY + 1];

				out[count] = 12345.0f;
				kernels->sums[sum].batch(query, rows, dim * sizeof(float), count, dim, out);
				for (size_t r = 0; r < count; r++)
					expect_same(kernels, "batch", (IqdbSum) sum, dim, r, out[r], alone[sum][r]);
				kernels->sums[sum].gather(query, rows, dim * sizeof(float), slots, count, dim, out);
				for (size_t r = 0; r < count; r++)
					expect_same(kernels, "gather", (IqdbSum) sum, dim, r, out[r], alone[sum][slots[r]]);
				assert_true(out[count] == 12345.0f);
			}
		}
		free(query);
		free(rows);
	}
}

static void
no_components_sum_to_zero(void **state)
{
	const IqdbKernels *kernels = *state;
	float              nothing[1] = {NAN};

	for (int sum = 0; sum < IQDB_SUM_COUNT; sum++)
		assert_true(kernels->sums[sum].pair(nothing, nothing, 0) == 0.0f);
	assert_int_equal(kernels->dot_u8i8((const uint8_t *) "x", (const int8_t *) "y", 0), 0);
}

/* What stands behind dim changes nothing, whatever it is. */
static void
padding_is_not_read(void **state)
{
	const IqdbKernels *kernels = *state;
	const size_t       stride = 160;
	float             *query = allocate(stride * sizeof(float));
	float             *rows = allocate(ROWS * stride * sizeof(float));
	uint32_t           slots[ROWS] = {0, 1, 2, 3, 4, 5, 6, 7, 8};
	IqdbRng            rng;

	iqdb_rng_seed(&rng, SEED);
	for (size_t dim = 1; dim <= 150; dim++)
	{
		float with_zeros[IQDB_SUM_COUNT][ROWS];
		float batch[ROWS];
		float gather[ROWS];

		memset(query, 0, stride * sizeof(float));
		memset(rows, 0, ROWS * stride * sizeof(float));
		for (size_t i = 0; i < dim; i++)
			query[i] = random_component(&rng);
		fill_rows(&rng, query, rows, stride, ROWS, dim);
		for (int sum = 0; sum < IQDB_SUM_COUNT; sum++)
			kernels->sums[sum].batch(query, rows, stride * sizeof(float), ROWS, dim, with_zeros[sum]);
		for (size_t i = dim; i < stride; i++)
		{
			query[i] = INFINITY;
			for (size_t r = 0; r < ROWS; r++)
				rows[r * stride + i] = NAN;
		}
		for (int sum = 0; sum < IQDB_SUM_COUNT; sum++)
		{
			kernels->sums[sum].batch(query, rows, stride * sizeof(float), ROWS, dim, batch);
			kernels->sums[sum].gather(query, rows, stride * sizeof(float), slots, ROWS, dim, gather);
			for (size_t r = 0; r < ROWS; r++)
			{
				expect_same(kernels, "batch", (IqdbSum) sum, dim, r, batch[r], with_zeros[sum][r]);
				expect_same(kernels, "gather", (IqdbSum) sum, dim, r, gather[r], with_zeros[sum][r]);
			}
		}
	}
	free(query);
	free(rows);
}

/* A wrong read here is a crash. */
static void
nothing_outside_the_rows_is_read(void **state)
{
	const IqdbKernels *kernels = *state;
	const size_t       most = 300;
	Guarded            query_memory = guarded_create(most * sizeof(float));
	Guarded            row_memory = guarded_create(ROWS * most * sizeof(float));
	Guarded            slot_memory = guarded_create(ROWS * sizeof(uint32_t));
	uint32_t          *slots = guarded_place(&slot_memory, ROWS * sizeof(uint32_t), true);
	float              out[ROWS];
	int32_t            out_codes[ROWS];

	for (uint32_t r = 0; r < ROWS; r++)
		slots[r] = r;
	for (size_t dim = 1; dim <= most; dim++)
	{
		for (int upper = 0; upper < 2; upper++)
		{
			const float   *query = guarded_place(&query_memory, dim * sizeof(float), upper);
			const float   *rows = guarded_place(&row_memory, ROWS * dim * sizeof(float), upper);
			const int8_t  *code_query = guarded_place(&query_memory, dim, upper);
			const uint8_t *codes = guarded_place(&row_memory, ROWS * dim, upper);

			for (int sum = 0; sum < IQDB_SUM_COUNT; sum++)
			{
				out[0] = kernels->sums[sum].pair(query, rows + (ROWS - 1) * dim, dim);
				out[1] = kernels->sums[sum].pair(rows, query, dim);
				for (size_t count = 1; count <= ROWS; count++)
				{
					kernels->sums[sum].batch(query, rows + (ROWS - count) * dim, dim * sizeof(float), count, dim, out);
					kernels->sums[sum].gather(query, rows, dim * sizeof(float), slots + (ROWS - count), count, dim, out);
				}
			}
			out_codes[0] = kernels->dot_u8i8(codes, code_query, dim);
			for (size_t count = 1; count <= ROWS; count++)
				kernels->dot_u8i8_gather(code_query, codes, dim, slots + (ROWS - count), count, dim, out_codes);
			assert_int_equal(out_codes[0], 0);
		}
	}
	guarded_destroy(&query_memory);
	guarded_destroy(&row_memory);
	guarded_destroy(&slot_memory);
}

/* One odd component x against y among ones, at every position: the sum must be `want`, in every form. */
static void
check_special(const IqdbKernels *kernels, IqdbSum sum, float x, float y, float want)
{
	static const uint32_t slots[4] = {0, 1, 2, 3};
	const float           rest = sum == IQDB_SUM_DOT ? 0.0f : 1.0f;

	for (size_t dim = 1; dim <= 140; dim += dim < 70 ? 1 : 23)
	{
		for (size_t at = 0; at < dim; at++)
		{
			float a[160];
			float b[4 * 160];
			float out[8];

			for (size_t i = 0; i < dim; i++)
				a[i] = b[i] = b[160 + i] = b[320 + i] = b[480 + i] = rest;
			a[at] = x;
			b[at] = b[160 + at] = b[320 + at] = b[480 + at] = y;
			kernels->sums[sum].batch(a, b, 160 * sizeof(float), 4, dim, out);
			kernels->sums[sum].gather(a, b, 160 * sizeof(float), slots, 4, dim, out + 4);
			for (size_t r = 0; r < 8; r++)
				expect_same(kernels, "special", sum, dim, at, out[r], want);
			expect_same(kernels, "special", sum, dim, at, kernels->sums[sum].pair(a, b, dim), want);
		}
	}
}

static void
special_values(void **state)
{
	const IqdbKernels *kernels = *state;
	const float        tiny = FLT_TRUE_MIN;

	check_special(kernels, IQDB_SUM_DOT, INFINITY, 1.0f, INFINITY);
	check_special(kernels, IQDB_SUM_DOT, INFINITY, -1.0f, -INFINITY);
	check_special(kernels, IQDB_SUM_DOT, INFINITY, 0.0f, NAN);
	check_special(kernels, IQDB_SUM_DOT, NAN, 1.0f, NAN);
	check_special(kernels, IQDB_SUM_DOT, FLT_MAX, 1.0f, FLT_MAX);
	check_special(kernels, IQDB_SUM_DOT, FLT_MAX, -2.0f, -INFINITY);
	check_special(kernels, IQDB_SUM_DOT, tiny, 1.0f, tiny);
	check_special(kernels, IQDB_SUM_DOT, tiny, -3.0f, -3 * tiny);
	check_special(kernels, IQDB_SUM_DOT, -0.0f, 5.0f, 0.0f);

	check_special(kernels, IQDB_SUM_L2, INFINITY, 1.0f, INFINITY);
	check_special(kernels, IQDB_SUM_L2, INFINITY, INFINITY, NAN);
	check_special(kernels, IQDB_SUM_L2, 1.0f, NAN, NAN);
	check_special(kernels, IQDB_SUM_L2, FLT_MAX, 0.0f, INFINITY);
	check_special(kernels, IQDB_SUM_L2, FLT_MAX, FLT_MAX, 0.0f);
	check_special(kernels, IQDB_SUM_L2, 0x1p-74f, 0.0f, 0x1p-148f);
	check_special(kernels, IQDB_SUM_L2, -0.0f, 0.0f, 0.0f);
	check_special(kernels, IQDB_SUM_L2, 3.0f, -1.0f, 16.0f);

	check_special(kernels, IQDB_SUM_L1, -INFINITY, 1.0f, INFINITY);
	check_special(kernels, IQDB_SUM_L1, INFINITY, INFINITY, NAN);
	check_special(kernels, IQDB_SUM_L1, NAN, 0.0f, NAN);
	check_special(kernels, IQDB_SUM_L1, -FLT_MAX, 0.0f, FLT_MAX);
	check_special(kernels, IQDB_SUM_L1, FLT_MAX, -FLT_MAX, INFINITY);
	check_special(kernels, IQDB_SUM_L1, tiny, -tiny, 2 * tiny);
	check_special(kernels, IQDB_SUM_L1, -0.0f, 0.0f, 0.0f);
	check_special(kernels, IQDB_SUM_L1, -2.0f, 3.0f, 5.0f);
}

static void
hamming_compares_bit_patterns(void **state)
{
	const IqdbKernels *kernels = *state;

	check_special(kernels, IQDB_SUM_HAMMING, 0.0f, -0.0f, 1.0f);
	check_special(kernels, IQDB_SUM_HAMMING, -0.0f, -0.0f, 0.0f);
	check_special(kernels, IQDB_SUM_HAMMING, INFINITY, INFINITY, 0.0f);
	check_special(kernels, IQDB_SUM_HAMMING, INFINITY, -INFINITY, 1.0f);
	check_special(kernels, IQDB_SUM_HAMMING, float_of(0x7fc00001), float_of(0x7fc00001), 0.0f);
	check_special(kernels, IQDB_SUM_HAMMING, float_of(0x7fc00001), float_of(0x7fc00002), 1.0f);
	check_special(kernels, IQDB_SUM_HAMMING, float_of(0xffffffff), float_of(0x7fffffff), 1.0f);
	check_special(kernels, IQDB_SUM_HAMMING, float_of(0x00000001), 0.0f, 1.0f);
	for (int bit = 0; bit < 32; bit++)
		check_special(kernels, IQDB_SUM_HAMMING, 1.5f, float_of(bits_of(1.5f) ^ (UINT32_C(1) << bit)), 1.0f);
}

static void
hamming_counts_all_dimensions(void **state)
{
	const IqdbKernels *kernels = *state;
	float             *a = allocate(IQDB_DIMENSION_MAX * sizeof(float));
	float             *b = allocate(IQDB_DIMENSION_MAX * sizeof(float));

	for (size_t i = 0; i < IQDB_DIMENSION_MAX; i++)
		b[i] = -0.0f;
	assert_true(kernels->sums[IQDB_SUM_HAMMING].pair(a, b, IQDB_DIMENSION_MAX) == (float) IQDB_DIMENSION_MAX);
	assert_true(kernels->sums[IQDB_SUM_HAMMING].pair(a, a, IQDB_DIMENSION_MAX) == 0.0f);
	free(a);
	free(b);
}

/* ---- codes ---- */

static int32_t
code_oracle(const uint8_t *code, const int8_t *query, size_t dim)
{
	int64_t sum = 0;

	for (size_t i = 0; i < dim; i++)
		sum += (int64_t) code[i] * query[i];
	assert_true(sum >= INT32_MIN && sum <= INT32_MAX);
	return (int32_t) sum;
}

static void
check_codes(const IqdbKernels *kernels, const uint8_t *codes, size_t stride, const int8_t *query, size_t dim)
{
	static const uint32_t slots[ROWS] = {8, 3, 3, 0, 7, 1, 5, 2, 6};
	int32_t               out[ROWS + 1];

	for (size_t count = 0; count <= ROWS; count++)
	{
		out[count] = 777;
		kernels->dot_u8i8_gather(query, codes, stride, slots, count, dim, out);
		assert_int_equal(out[count], 777);
		for (size_t r = 0; r < count; r++)
		{
			int32_t want = code_oracle(codes + slots[r] * stride, query, dim);

			if (out[r] != want || kernels->dot_u8i8(codes + slots[r] * stride, query, dim) != want)
				fail_msg("%s codes, dimension %zu, row %zu, seed %llu: %d instead of %d", kernels->name, dim, r,
						 (unsigned long long) SEED, out[r], want);
		}
	}
}

static void
code_sums_are_exact(void **state)
{
	const IqdbKernels *kernels = *state;
	IqdbRng            rng;

	iqdb_rng_seed(&rng, SEED);
	for (size_t d = 0; d < DIMS; d++)
	{
		size_t   dim = dim_number(d);
		size_t   stride = dim + d % 3;
		uint8_t *codes = allocate(ROWS * stride + 1);
		int8_t  *query = allocate(dim + 1);

		for (size_t i = 0; i < ROWS * stride + 1; i++)
			codes[i] = (uint8_t) iqdb_rng_next(&rng);
		for (size_t i = 0; i <= dim; i++)
			query[i] = (int8_t) ((int) iqdb_rng_below(&rng, 256) - 128);
		check_codes(kernels, codes + d % 2, stride, query + d % 2, dim);
		free(codes);
		free(query);
	}
}

#define COLUMN_ROWS 200
#define COLUMN_WORDS ((COLUMN_ROWS + 63) / 64)

/* A number of so many bytes that is often at the edge of what they hold. */
static int64_t
column_number(IqdbRng *rng, uint32_t width)
{
	int64_t  greatest = INT64_MAX >> (64 - 8 * width);
	uint64_t draw = iqdb_rng_below(rng, 6);

	return draw == 0 ? greatest : draw == 1 ? -greatest - 1 : (int64_t) iqdb_rng_below(rng, 9) - 4;
}

static void
check_between(const IqdbKernels *kernels, IqdbRng *rng, uint32_t width)
{
	const IqdbBetweenKernel between[] = {
		[1] = kernels->columns->between_1,
		[2] = kernels->columns->between_2,
		[4] = kernels->columns->between_4,
		[8] = kernels->columns->between_8,
	};
	int64_t        numbers[COLUMN_ROWS];
	unsigned char *values = allocate(COLUMN_ROWS * sizeof(int64_t));

	for (uint32_t count = 0; count <= COLUMN_ROWS; count++)
	{
		/* bounds may be those of a wider number */
		int64_t  low = column_number(rng, iqdb_rng_below(rng, 4) == 0 ? 8 : width);
		int64_t  high = column_number(rng, iqdb_rng_below(rng, 4) == 0 ? 8 : width);
		uint64_t wanted[COLUMN_WORDS + 1] = {0};
		uint64_t words[COLUMN_WORDS + 1];
		uint64_t all = 0;

		for (uint32_t i = 0; i < COLUMN_ROWS; i++)
		{
			numbers[i] = column_number(rng, width);
			for (uint32_t byte = 0; byte < width; byte++)
				values[i * width + byte] = (unsigned char) ((uint64_t) numbers[i] >> 8 * byte);
			wanted[i / 64] |= (uint64_t) (i < count && numbers[i] >= low && numbers[i] <= high) << i % 64;
			all |= i < 64 ? (uint64_t) (i < count && (low & ~numbers[i]) == 0) << i : 0;
		}
		/* words behind those of the numbers are left alone */
		memset(words, 0x5a, sizeof(words));
		memset(wanted + (count + 63) / 64, 0x5a, sizeof(wanted) - (count + 63) / 64 * sizeof(*wanted));
		between[width](values, count, low, high, words);
		assert_memory_equal(words, wanted, sizeof(words));
		if (width == sizeof(int64_t) && count <= 64)
			assert_int_equal(kernels->columns->has(values, count, (uint64_t) low), all);
	}
	free(values);
}

static void
columns_are_tested_as_one_by_one(void **state)
{
	IqdbRng rng;

	iqdb_rng_seed(&rng, SEED);
	for (int round = 0; round < 50; round++)
	{
		for (uint32_t width = 1; width <= 8; width *= 2)
			check_between(*state, &rng, width);
	}
}

/* 255 times -128 and 127: where products in 16 bits would saturate. */
static void
extreme_codes_do_not_saturate(void **state)
{
	static const int queries[][2] = {{-128, -128}, {127, 127}, {127, -128}, {-1, 127}};
	const IqdbKernels *kernels = *state;

	for (size_t d = 0; d < DIMS; d++)
	{
		size_t   dim = dim_number(d);
		uint8_t *codes = allocate(ROWS * dim);
		int8_t  *query = allocate(dim);

		memset(codes, 255, ROWS * dim);
		for (size_t q = 0; q < sizeof(queries) / sizeof(queries[0]); q++)
		{
			for (size_t i = 0; i < dim; i++)
				query[i] = (int8_t) queries[q][i % 2];
			check_codes(kernels, codes, dim, query, dim);
		}
		memset(query, -128, dim);
		assert_int_equal(kernels->dot_u8i8(codes, query, dim), -255 * 128 * (int) dim);
		free(codes);
		free(query);
	}
}

/* ---- rank keys ---- */

static float
key_by_hand(IqdbMetric metric, const float *a, const float *b, size_t dim)
{
	double unused;
	double norms = sqrt(oracle(IQDB_SUM_DOT, a, a, dim, &unused) * oracle(IQDB_SUM_DOT, b, b, dim, &unused));

	switch (metric)
	{
		case IQDB_METRIC_COSINE:
			return norms <= (double) FLT_MIN ? 1.0f : (float) (1.0 - oracle(IQDB_SUM_DOT, a, b, dim, &unused) / norms);
		case IQDB_METRIC_DOT:
			return (float) -oracle(IQDB_SUM_DOT, a, b, dim, &unused);
		case IQDB_METRIC_L2:
			return (float) oracle(IQDB_SUM_L2, a, b, dim, &unused);
		case IQDB_METRIC_L1:
			return (float) oracle(IQDB_SUM_L1, a, b, dim, &unused);
		default:
			return (float) oracle(IQDB_SUM_HAMMING, a, b, dim, &unused);
	}
}

/* The key of one pair, the key of a batch, and the definition. */
static void
keys_agree(void **state)
{
	const IqdbKernels *kernels = *state;
	IqdbRng            rng;

	iqdb_rng_seed(&rng, SEED);
	for (size_t d = 0; d < DIMS; d++)
	{
		size_t dim = dim_number(d);
		float *query = allocate(dim * sizeof(float));
		float *rows = allocate(ROWS * dim * sizeof(float));
		float  norms2[ROWS];
		float  keys[ROWS];

		for (size_t i = 0; i < dim; i++)
			query[i] = random_component(&rng);
		fill_rows(&rng, query, rows, dim, ROWS, dim);
		for (size_t r = 0; r < ROWS; r++)
			norms2[r] = kernels->sums[IQDB_SUM_DOT].pair(rows + r * dim, rows + r * dim, dim);
		for (int m = 0; m < NUMBER_METRICS; m++)
		{
			IqdbMetric metric = (IqdbMetric) m;
			IqdbSum    sum = iqdb_metric_sum(metric);

			kernels->sums[sum].batch(query, rows, dim * sizeof(float), ROWS, dim, keys);
			iqdb_metric_finish(metric, kernels->sums[IQDB_SUM_DOT].pair(query, query, dim),
							   metric == IQDB_METRIC_COSINE ? norms2 : NULL, ROWS, keys);
			for (size_t r = 0; r < ROWS; r++)
			{
				float want = key_by_hand(metric, query, rows + r * dim, dim);

				expect_same(kernels, "key", sum, dim, r, keys[r],
							floats_key(kernels, metric, query, rows + r * dim, dim));
				if (!(fabsf(keys[r] - want) <= 1e-4f * fabsf(want) + 1e-4f))
					fail_msg("%s %s, dimension %zu, seed %llu: key %.9g instead of %.9g", kernels->name,
							 iqdb_metric_name(metric), dim, (unsigned long long) SEED, (double) keys[r], (double) want);
			}
		}
		/* of a vector and itself: nothing at all */
		assert_true(floats_key(kernels, IQDB_METRIC_COSINE, query, query, dim) == 0.0f);
		assert_true(floats_key(kernels, IQDB_METRIC_L2, query, query, dim) == 0.0f);
		assert_true(floats_key(kernels, IQDB_METRIC_L1, query, query, dim) == 0.0f);
		assert_true(floats_key(kernels, IQDB_METRIC_HAMMING, query, query, dim) == 0.0f);
		free(query);
		free(rows);
	}
}

/* ---- distances in double ---- */

/* A sum whose rounding errors are added up beside it: exact for our purposes. */
typedef struct Exact
{
	long double sum;
	long double lost;
} Exact;

static void
exact_add(Exact *exact, long double term)
{
	long double sum = exact->sum + term;

	if (fabsl(exact->sum) >= fabsl(term))
		exact->lost += (exact->sum - sum) + term;
	else
		exact->lost += (term - sum) + exact->sum;
	exact->sum = sum;
}

static long double
exact_sum(IqdbMetric metric, const float *a, const float *b, size_t dim)
{
	Exact exact = {0, 0};

	for (size_t i = 0; i < dim; i++)
	{
		long double x = a[i];
		long double y = b[i];

		if (metric == IQDB_METRIC_L2)
			exact_add(&exact, (x - y) * (x - y));
		else if (metric == IQDB_METRIC_L1)
			exact_add(&exact, fabsl(x - y));
		else if (metric == IQDB_METRIC_HAMMING)
			exact_add(&exact, bits_of(a[i]) != bits_of(b[i]));
		else
			exact_add(&exact, x * y);
	}
	return exact.sum + exact.lost;
}

/* The distance, and in *scale_out what an error is measured by. */
static long double
exact_distance(IqdbMetric metric, const float *a, const float *b, size_t dim, long double *scale_out)
{
	long double sum = exact_sum(metric, a, b, dim);
	long double norms = sqrtl(exact_sum(IQDB_METRIC_DOT, a, a, dim)) * sqrtl(exact_sum(IQDB_METRIC_DOT, b, b, dim));

	*scale_out = metric == IQDB_METRIC_COSINE ? 1 : metric == IQDB_METRIC_DOT ? norms : sum;
	switch (metric)
	{
		case IQDB_METRIC_COSINE:
			return norms == 0 ? 1 : 1 - sum / norms;
		case IQDB_METRIC_DOT:
			return -sum;
		case IQDB_METRIC_L2:
			*scale_out = sqrtl(sum);
			return sqrtl(sum);
		default:
			return sum;
	}
}

static void
expect_exact(const IqdbKernels *kernels, IqdbMetric metric, const float *a, const float *b, size_t dim)
{
	long double scale;
	long double want = exact_distance(metric, a, b, dim, &scale);
	double      got = floats_distance(kernels, metric, a, b, dim);
	double      back = floats_distance(kernels, metric, b, a, dim);

	if (!(fabsl((long double) got - want) <= 1e-14L * scale))
		fail_msg("%s %s, dimension %zu, seed %llu: %.17g instead of %.17Lg", kernels->name, iqdb_metric_name(metric), dim,
				 (unsigned long long) SEED, got, want);
	if (got != back)
		fail_msg("%s %s, dimension %zu: %.17g there, %.17g back", kernels->name, iqdb_metric_name(metric), dim, got, back);
}

/* Components of one sign or both, of one magnitude or of all that a float has. */
static void
fill_magnitudes(IqdbRng *rng, float *vector, size_t dim, size_t kind)
{
	static const float scales[] = {1.0f, 1e-20f, 1e-30f, FLT_TRUE_MIN, 5e19f, FLT_MAX};

	for (size_t i = 0; i < dim; i++)
	{
		float x = kind % 2 == 0 ? random_component(rng) : fabsf(random_component(rng));

		if (kind / 2 < sizeof(scales) / sizeof(scales[0]))
		{
			vector[i] = x * scales[kind / 2];
			continue;
		}
		do
			vector[i] = float_of((uint32_t) iqdb_rng_next(rng));
		while (!isfinite(vector[i]));
	}
	if (vector[0] == 0)
		vector[0] = FLT_TRUE_MIN;
}

#define MAGNITUDES 14

static void
distances_in_double_are_exact(void **state)
{
	const IqdbKernels *kernels = *state;
	IqdbRng            rng;

	iqdb_rng_seed(&rng, SEED);
	for (size_t d = 0; d < DIMS; d++)
	{
		size_t dim = dim_number(d);
		float *a = allocate(dim * sizeof(float));
		float *b = allocate(dim * sizeof(float));

		for (size_t kind = 0; kind < MAGNITUDES * MAGNITUDES; kind++)
		{
			if (dim > SMALL_DIMS && kind % 7 != d % 7)
				continue;
			fill_magnitudes(&rng, a, dim, kind / MAGNITUDES);
			fill_magnitudes(&rng, b, dim, kind % MAGNITUDES);
			for (int m = 0; m < NUMBER_METRICS; m++)
			{
				expect_exact(kernels, (IqdbMetric) m, a, b, dim);
				if (m != IQDB_METRIC_DOT)
					assert_true(floats_distance(kernels, (IqdbMetric) m, a, a, dim) == 0);
			}
			for (size_t i = 0; i < dim; i++)
				b[i] = -a[i];
			assert_true(floats_distance(kernels, IQDB_METRIC_COSINE, a, b, dim) == 2);
		}
		free(a);
		free(b);
	}
}

static void
only_zero_has_no_direction(void **state)
{
	const IqdbKernels *kernels = *state;
	float              zero[40] = {0};
	float              tiny[40] = {0};
	float              huge[40];

	for (size_t i = 0; i < 40; i++)
		huge[i] = FLT_MAX;
	for (size_t dim = 1; dim <= 40; dim++)
	{
		tiny[dim - 1] = FLT_TRUE_MIN;
		assert_true(floats_distance(kernels, IQDB_METRIC_COSINE, zero, zero, dim) == 1);
		assert_true(floats_distance(kernels, IQDB_METRIC_COSINE, zero, huge, dim) == 1);
		assert_true(floats_distance(kernels, IQDB_METRIC_COSINE, tiny, zero, dim) == 1);
		assert_true(fabs(floats_distance(kernels, IQDB_METRIC_COSINE, tiny, huge, dim)) <= 1e-15);
		assert_true(floats_distance(kernels, IQDB_METRIC_L2, zero, tiny, dim) > 0);
	}
}

/* What stands behind dim, and what may not be touched: the row ends where an unreadable page begins. */
static void
distances_in_double_read_no_further(void **state)
{
	const IqdbKernels *kernels = *state;
	const size_t       most = 600;
	Guarded            memory_a = guarded_create(most * sizeof(float));
	Guarded            memory_b = guarded_create(most * sizeof(float));

	for (size_t dim = 1; dim <= most; dim++)
	{
		for (int upper = 0; upper < 2; upper++)
		{
			float *a = guarded_place(&memory_a, dim * sizeof(float), upper);
			float *b = guarded_place(&memory_b, dim * sizeof(float), upper);

			for (size_t i = 0; i < dim; i++)
			{
				a[i] = 1.0f;
				b[i] = 2.0f;
			}
			assert_true(floats_distance(kernels, IQDB_METRIC_L2, a, b, dim) == sqrt((double) dim));
			assert_true(floats_distance(kernels, IQDB_METRIC_L1, a, b, dim) == (double) dim);
			assert_true(floats_distance(kernels, IQDB_METRIC_DOT, a, b, dim) == -2.0 * (double) dim);
			assert_true(floats_distance(kernels, IQDB_METRIC_COSINE, a, b, dim) == 0);
			b[dim - 1] = 1.0f;
			assert_true(floats_distance(kernels, IQDB_METRIC_L1, a, b, dim) == (double) (dim - 1));
		}
	}
	guarded_destroy(&memory_a);
	guarded_destroy(&memory_b);
}

static void
cosine_of_almost_nothing_is_one(void **state)
{
	const IqdbKernels *kernels = *state;
	float              zero[20] = {0};
	float              small[20];
	float              large[20];
	float              unit[20] = {1.0f};

	for (int i = 0; i < 20; i++)
	{
		small[i] = 1e-22f;
		large[i] = 1e18f;
	}
	for (size_t dim = 1; dim <= 20; dim++)
	{
		assert_true(floats_key(kernels, IQDB_METRIC_COSINE, zero, zero, dim) == 1.0f);
		assert_true(floats_key(kernels, IQDB_METRIC_COSINE, zero, large, dim) == 1.0f);
		assert_true(floats_key(kernels, IQDB_METRIC_COSINE, large, zero, dim) == 1.0f);
		assert_true(floats_key(kernels, IQDB_METRIC_COSINE, small, small, dim) == 1.0f);
		assert_true(floats_key(kernels, IQDB_METRIC_COSINE, unit, unit, dim) == 0.0f);
	}
}

static void
cosine_key_rules(void **state)
{
	(void) state;
	assert_true(iqdb_cosine_key(1.0f, 1.0f, 1.0f) == 0.0f);
	assert_true(iqdb_cosine_key(0.0f, 1.0f, 1.0f) == 1.0f);
	assert_true(iqdb_cosine_key(-1.0f, 1.0f, 1.0f) == 2.0f);
	assert_true(iqdb_cosine_key(3.0f, 4.0f, 9.0f) == 0.5f);
	/* rounding may leave the range: clamped */
	assert_true(iqdb_cosine_key(1.001f, 1.0f, 1.0f) == 0.0f);
	assert_true(iqdb_cosine_key(-1.001f, 1.0f, 1.0f) == 2.0f);
	/* the border of the division */
	assert_true(iqdb_cosine_key(FLT_MIN, FLT_MIN, FLT_MIN) == 1.0f);
	assert_true(iqdb_cosine_key(2 * FLT_MIN, 2 * FLT_MIN, 2 * FLT_MIN) == 0.0f);
	assert_true(iqdb_cosine_key(0.0f, 0.0f, FLT_MAX) == 1.0f);
	/* NaN stays, and an infinite norm against an infinite product has no value */
	assert_true(isnan(iqdb_cosine_key(NAN, 1.0f, 1.0f)));
	assert_true(isnan(iqdb_cosine_key(1.0f, NAN, 1.0f)));
	assert_true(isnan(iqdb_cosine_key(1.0f, 1.0f, NAN)));
	assert_true(isnan(iqdb_cosine_key(INFINITY, INFINITY, 1.0f)));
	assert_true(iqdb_cosine_key(1.0f, INFINITY, 1.0f) == 1.0f);
}

/* Many rows at a time, one row at a time: the same bits, at any count and with odd values in any place. */
static void
finish_equals_the_key(void **state)
{
	static const float odd[] = {0.0f,    -0.0f,   1.0f,    -1.0f,        INFINITY, -INFINITY,
								NAN,     FLT_MIN, FLT_MAX, FLT_TRUE_MIN, 2.0f};
	const size_t       odds = sizeof(odd) / sizeof(odd[0]);
	IqdbRng            rng;

	(void) state;
	iqdb_rng_seed(&rng, SEED);
	for (int round = 0; round < 5000; round++)
	{
		size_t count = (size_t) (round % 10);
		float  query_norm2 = fabsf(odd[iqdb_rng_below(&rng, odds)]);
		float  norms2[10];
		float  sums[10];
		float  keys[10];

		if (round % 2 != 0)
			query_norm2 = (float) iqdb_rng_unit(&rng);
		for (size_t i = 0; i < 10; i++)
		{
			bool plain = iqdb_rng_below(&rng, 3) != 0;

			norms2[i] = plain ? (float) iqdb_rng_unit(&rng) : fabsf(odd[iqdb_rng_below(&rng, odds)]);
			sums[i] = plain ? random_component(&rng) : odd[iqdb_rng_below(&rng, odds)];
			keys[i] = sums[i];
		}
		iqdb_metric_finish(IQDB_METRIC_COSINE, query_norm2, norms2, count, keys);
		for (size_t i = 0; i < 10; i++)
			assert_true(same(keys[i], i < count ? iqdb_cosine_key(sums[i], query_norm2, norms2[i]) : sums[i]));
	}
}

static void
finish_negates_dot_only(void **state)
{
	float sums[5] = {1.0f, -2.0f, 0.0f, -0.0f, INFINITY};

	(void) state;
	iqdb_metric_finish(IQDB_METRIC_L2, 0.0f, NULL, 5, sums);
	iqdb_metric_finish(IQDB_METRIC_L1, 0.0f, NULL, 5, sums);
	iqdb_metric_finish(IQDB_METRIC_HAMMING, 0.0f, NULL, 5, sums);
	assert_true(sums[0] == 1.0f && sums[1] == -2.0f && bits_of(sums[2]) == 0 && sums[4] == INFINITY);
	iqdb_metric_finish(IQDB_METRIC_DOT, 0.0f, NULL, 5, sums);
	assert_true(sums[0] == -1.0f && sums[1] == 2.0f && sums[4] == -INFINITY);
	assert_true(bits_of(sums[2]) == UINT32_C(0x80000000) && bits_of(sums[3]) == 0);
}

/* ---- metrics and vectors ---- */

static void
metric_names_and_distances(void **state)
{
	(void) state;
	assert_string_equal(iqdb_metric_name(IQDB_METRIC_COSINE), "cosine");
	assert_string_equal(iqdb_metric_name(IQDB_METRIC_DOT), "dot");
	assert_string_equal(iqdb_metric_name(IQDB_METRIC_L2), "l2");
	assert_string_equal(iqdb_metric_name(IQDB_METRIC_L1), "l1");
	assert_string_equal(iqdb_metric_name(IQDB_METRIC_HAMMING), "hamming");
	assert_null(iqdb_metric_name((IqdbMetric) IQDB_METRIC_COUNT));
	assert_null(iqdb_metric_name((IqdbMetric) 255));
	assert_int_equal(iqdb_metric_sum(IQDB_METRIC_COSINE), IQDB_SUM_DOT);
	assert_int_equal(iqdb_metric_sum(IQDB_METRIC_DOT), IQDB_SUM_DOT);
	assert_true(iqdb_metric_distance(IQDB_METRIC_L2, 9.0f) == 3.0);
	assert_true(iqdb_metric_distance(IQDB_METRIC_L2, 2.0f) == sqrt(2.0));
	assert_true(iqdb_metric_distance(IQDB_METRIC_DOT, -9.0f) == -9.0);
	assert_true(iqdb_metric_distance(IQDB_METRIC_COSINE, 0.25f) == 0.25);
}

static void
vector_check_finds_every_bad_component(void **state)
{
	static const float bad[] = {NAN, INFINITY, -INFINITY};
	static const float good[] = {0.0f, -0.0f, FLT_TRUE_MIN, -FLT_TRUE_MIN, FLT_MIN, FLT_MAX, -FLT_MAX, 1.0f};
	float              vector[100];
	IqdbError          err;

	(void) state;
	for (size_t i = 0; i < 100; i++)
		vector[i] = good[i % (sizeof(good) / sizeof(good[0]))];
	assert_int_equal(iqdb_vector_check(vector, 0, &err), IQDB_ERR_VECTOR);
	for (size_t dim = 1; dim <= 100; dim++)
	{
		assert_int_equal(iqdb_vector_check(vector, dim, NULL), IQDB_OK);
		for (size_t at = 0; at < dim; at++)
		{
			float was = vector[at];
			char  text[64];

			vector[at] = bad[(dim + at) % 3];
			assert_int_equal(iqdb_vector_check(vector, dim, &err), IQDB_ERR_VECTOR);
			assert_int_equal(err.code, IQDB_ERR_VECTOR);
			snprintf(text, sizeof(text), "component %zu of %zu is NaN or infinite", at + 1, dim);
			assert_string_equal(err.message, text);
			assert_int_equal(iqdb_vector_check(vector, dim, NULL), IQDB_ERR_VECTOR);
			assert_int_equal(iqdb_vector_check(vector, at, NULL), at == 0 ? IQDB_ERR_VECTOR : IQDB_OK);
			vector[at] = was;
		}
	}
	vector[0] = float_of(0xffc00001);
	assert_int_equal(iqdb_vector_check(vector, 1, NULL), IQDB_ERR_VECTOR);
	vector[0] = float_of(0x7f800001);
	assert_int_equal(iqdb_vector_check(vector, 1, NULL), IQDB_ERR_VECTOR);
}

static void
tables_are_found_by_name(void **state)
{
	const IqdbKernels *best = iqdb_kernels_best();

	(void) state;
	assert_non_null(best);
	assert_ptr_equal(best, iqdb_kernels_best());
	assert_ptr_equal(best, iqdb_kernels_named(best->name));
	assert_non_null(iqdb_kernels_named("scalar"));
	assert_null(iqdb_kernels_named("sse9"));
	assert_null(iqdb_kernels_named(""));
	for (int i = 0; i < TABLES; i++)
	{
		const IqdbKernels *kernels = iqdb_kernels_named(table_names[i]);

		if (kernels == NULL)
			continue;
		assert_string_equal(kernels->name, table_names[i]);
		for (int sum = 0; sum < IQDB_SUM_COUNT; sum++)
		{
			assert_true(kernels->sums[sum].pair != NULL);
			assert_true(kernels->sums[sum].batch != NULL);
			assert_true(kernels->sums[sum].gather != NULL);
		}
	}
}

/* A large random vector pair through every table: they agree among each other as promised. */
static void
tables_agree(void **state)
{
	const IqdbKernels *scalar = iqdb_kernels_named("scalar");
	IqdbRng            rng;
	float              a[1000];
	float              b[1000];

	(void) state;
	iqdb_rng_seed(&rng, SEED);
	for (size_t dim = 1; dim <= 1000; dim += 37)
	{
		for (size_t i = 0; i < dim; i++)
		{
			a[i] = random_component(&rng);
			b[i] = random_component(&rng);
		}
		for (int i = 0; i < TABLES; i++)
		{
			const IqdbKernels *kernels = iqdb_kernels_named(table_names[i]);

			for (int m = 0; kernels != NULL && m < NUMBER_METRICS; m++)
			{
				float want = floats_key(scalar, (IqdbMetric) m, a, b, dim);
				float got = floats_key(kernels, (IqdbMetric) m, a, b, dim);

				assert_true(fabsf(got - want) <= 1e-3f || fabsf(got - want) <= 1e-4f * fabsf(want));
			}
		}
	}
}

/* In double they give the same bits: SQL's answers do not depend on the machine. */
static void
tables_agree_in_double(void **state)
{
	const IqdbKernels *scalar = iqdb_kernels_named("scalar");
	IqdbRng            rng;
	float              a[1700];
	float              b[1700];

	(void) state;
	iqdb_rng_seed(&rng, SEED);
	for (size_t dim = 1; dim <= 1700; dim += dim < 70 ? 1 : 163)
	{
		for (size_t kind = 0; kind < MAGNITUDES; kind++)
		{
			fill_magnitudes(&rng, a, dim, kind);
			fill_magnitudes(&rng, b, dim, MAGNITUDES - 1 - kind);
			for (int i = 0; i < TABLES; i++)
			{
				const IqdbKernels *kernels = iqdb_kernels_named(table_names[i]);

				for (int m = 0; kernels != NULL && m < NUMBER_METRICS; m++)
					assert_true(floats_distance(kernels, (IqdbMetric) m, a, b, dim) ==
								floats_distance(scalar, (IqdbMetric) m, a, b, dim));
			}
		}
	}
}

/* The tests of a table, once for each table that runs here. */
static int
run_table_tests(const char *name)
{
	static char              group[64];
	const struct CMUnitTest  tests[] = {
		cmocka_unit_test(sums_match_double_precision),
		cmocka_unit_test(every_count_of_rows_works),
		cmocka_unit_test(no_components_sum_to_zero),
		cmocka_unit_test(padding_is_not_read),
		cmocka_unit_test(nothing_outside_the_rows_is_read),
		cmocka_unit_test(special_values),
		cmocka_unit_test(hamming_compares_bit_patterns),
		cmocka_unit_test(hamming_counts_all_dimensions),
		cmocka_unit_test(code_sums_are_exact),
		cmocka_unit_test(extreme_codes_do_not_saturate),
		cmocka_unit_test(keys_agree),
		cmocka_unit_test(columns_are_tested_as_one_by_one),
		cmocka_unit_test(distances_in_double_are_exact),
		cmocka_unit_test(only_zero_has_no_direction),
		cmocka_unit_test(distances_in_double_read_no_further),
		cmocka_unit_test(cosine_of_almost_nothing_is_one),
	};
	struct CMUnitTest        with_table[sizeof(tests) / sizeof(tests[0])];
	const IqdbKernels       *kernels = iqdb_kernels_named(name);

	if (kernels == NULL)
	{
		print_message("table %s does not run on this processor\n", name);
		return 0;
	}
	memcpy(with_table, tests, sizeof(tests));
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		with_table[i].initial_state = (void *) kernels;
	snprintf(group, sizeof(group), "kernels %s", name);
	return cmocka_run_group_tests_name(group, with_table, NULL, NULL);
}

/* Keys computed in double keep their order as floats, and their values but for some digits of the extreme ones. */
static void
narrow_keys_keep_their_order(void **state)
{
	float last = -1.0f;

	(void) state;
	assert_true(iqdb_key_narrow(0.0) == 0.0f && iqdb_key_widen(0.0f) == 0.0);
	assert_true(isnan(iqdb_key_narrow((double) NAN)));
	/* the square of the smallest float, and 16000 times that of the largest */
	for (double key = 0x1p-298; key < 0x1p271; key *= 1.0001)
	{
		float  narrow = iqdb_key_narrow(key);
		double error = fabs(iqdb_key_widen(narrow) / key - 1.0);

		assert_true(narrow >= last && isfinite(narrow) && narrow > 0.0f);
		assert_true(iqdb_key_narrow(-key) == -narrow && iqdb_key_widen(-narrow) == -iqdb_key_widen(narrow));
		assert_true(error < (key >= IQDB_KEY_SMALL && key < IQDB_KEY_LARGE ? 1e-7 : 1e-4));
		last = narrow;
	}
	assert_true(isinf(iqdb_key_widen(INFINITY)));
	assert_true(fabs(iqdb_metric_distance(IQDB_METRIC_L2, iqdb_key_narrow(25e38)) / 5e19 - 1.0) < 1e-4);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cosine_key_rules),
		cmocka_unit_test(finish_equals_the_key),
		cmocka_unit_test(finish_negates_dot_only),
		cmocka_unit_test(metric_names_and_distances),
		cmocka_unit_test(narrow_keys_keep_their_order),
		cmocka_unit_test(vector_check_finds_every_bad_component),
		cmocka_unit_test(tables_are_found_by_name),
		cmocka_unit_test(tables_agree),
		cmocka_unit_test(tables_agree_in_double),
	};
	int failed = cmocka_run_group_tests_name("metrics", tests, NULL, NULL);

	for (int i = 0; i < TABLES; i++)
		failed += run_table_tests(table_names[i]);
	return failed;
}
