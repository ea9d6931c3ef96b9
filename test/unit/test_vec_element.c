/*
 * test_vec_element.c - every element type by every table of kernels that this processor can run, and the tables of elements
 * and metrics themselves.
 *
 * A component's value, and what a metric makes of two vectors, are computed here from the definitions, in long double.
 * Kernels of floats have more tests in test_vec.c; halves as numbers are tested in test_half.c.
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
#include "core/vec/half.h"
#include "core/vec/kernels.h"
#include "harness/guarded.h"

#define SEED UINT64_C(20261130)

/* one more than two groups of rows, so that every way through a form is taken */
#define ROWS 9
#define ROWS_MANY 70

static const char *const table_names[] = {"scalar", "avx2", "avx512bw", "avx512", "neon"};

#define TABLES ((int) (sizeof(table_names) / sizeof(table_names[0])))

static const char *const sum_names[IQDB_SUM_COUNT] = {"dot", "l2", "l1", "hamming"};

/* What a test of a table is run with. */
typedef struct Subject
{
	const IqdbKernels        *kernels;
	const IqdbElement        *element;
	const IqdbElementKernels *rows; /* the kernels of that element */
} Subject;

#define SMALL_DIMS 130

static const size_t large_dims[] = {255,  256,  257,  511,  512,   513,   1000,  1023, 1024,
									1025, 1536, 4096, 5003, 15999, 16000, 63999, 64000};

#define DIMS (SMALL_DIMS + sizeof(large_dims) / sizeof(large_dims[0]))

/* Dimension number i: 1 to 130, then the large ones; 0 behind the last one of the element. */
static size_t
dim_number(const IqdbElement *element, size_t i)
{
	size_t dim = i < SMALL_DIMS ? i + 1 : i < DIMS ? large_dims[i - SMALL_DIMS] : 0;

	return dim <= element->dimension_max ? dim : 0;
}

static void *
allocate(size_t size)
{
	void *p = calloc(1, size);

	assert_non_null(p);
	return p;
}

static uint32_t
bits_of(float x)
{
	uint32_t bits;

	memcpy(&bits, &x, sizeof(bits));
	return bits;
}

/* ---- components by the definition ---- */

static void
set_component(const IqdbElement *element, void *vector, size_t i, double value)
{
	unsigned char *byte = (unsigned char *) vector + i / 8;
	unsigned       bit = 0x80u >> i % 8;
	float          single = (float) value;
	IqdbHalf       half = iqdb_half_narrow(single);

	if (element->kind == IQDB_ELEMENT_F32)
		memcpy((char *) vector + i * sizeof(single), &single, sizeof(single));
	else if (element->kind == IQDB_ELEMENT_F16)
		memcpy((char *) vector + i * sizeof(half), &half, sizeof(half));
	else
		*byte = (unsigned char) (value > 0 ? *byte | bit : *byte & ~bit);
}

static double
component(const IqdbElement *element, const void *vector, size_t i)
{
	float    single;
	IqdbHalf half;

	if (element->kind == IQDB_ELEMENT_F32)
	{
		memcpy(&single, (const char *) vector + i * sizeof(single), sizeof(single));
		return (double) single;
	}
	if (element->kind == IQDB_ELEMENT_F16)
	{
		memcpy(&half, (const char *) vector + i * sizeof(half), sizeof(half));
		return (double) iqdb_half_widen(half);
	}
	return ((const unsigned char *) vector)[i / 8] >> (7 - i % 8) & 1;
}

/* Uniform in [-1, 1), or every fourth one or so that of another vector; of bits a third ones. */
static void
fill(const IqdbElement *element, IqdbRng *rng, void *vector, const void *other, size_t dim)
{
	memset(vector, 0, iqdb_element_bytes(element, dim));
	for (size_t i = 0; i < dim; i++)
	{
		double value = 2.0 * iqdb_rng_unit(rng) - (element->has_numbers ? 1.0 : 4.0 / 3.0);

		if (other != NULL && iqdb_rng_below(rng, 4) == 0)
			value = component(element, other, i);
		set_component(element, vector, i, value);
	}
}

/* The sum; *scale_out receives the sum of the terms' magnitudes: rounding errors are proportional to it. */
static long double
oracle(const IqdbElement *element, IqdbSum sum, const void *a, const void *b, size_t dim, long double *scale_out)
{
	long double total = 0;

	*scale_out = 0;
	for (size_t i = 0; i < dim; i++)
	{
		long double x = component(element, a, i);
		long double y = component(element, b, i);
		long double term = x * y;

		if (sum == IQDB_SUM_L2)
			term = (x - y) * (x - y);
		else if (sum == IQDB_SUM_L1)
			term = fabsl(x - y);
		else if (sum == IQDB_SUM_HAMMING)
			term = x != y || signbit(x) != signbit(y);
		total += term;
		*scale_out += fabsl(term);
	}
	return total;
}

/* ---- kernels ---- */

/* A query and rows, in memory that begins `shift` bytes behind a cache line and holds rows `gap` bytes apart. */
typedef struct Sample
{
	void          *memory;
	float         *buffer; /* what the query is prepared in */
	unsigned char *query;  /* the vector */
	const void    *prepared;
	unsigned char *rows;
	size_t         stride;
} Sample;

static Sample
sample_create(const Subject *s, IqdbRng *rng, size_t dim, size_t count, size_t shift, size_t gap)
{
	size_t bytes = iqdb_element_bytes(s->element, dim);
	Sample sample;

	sample.stride = bytes + gap;
	sample.memory = allocate((count + 1) * sample.stride + 128);
	sample.buffer = allocate(dim * sizeof(float));
	sample.query = (unsigned char *) sample.memory + (64 - (uintptr_t) sample.memory % 64) % 64 + shift;
	sample.rows = sample.query + sample.stride;
	fill(s->element, rng, sample.query, NULL, dim);
	for (size_t r = 0; r < count; r++)
		fill(s->element, rng, sample.rows + r * sample.stride, sample.query, dim);
	sample.prepared = iqdb_element_prepare(s->kernels, s->element, sample.query, dim, sample.buffer);
	return sample;
}

static void
sample_destroy(Sample *sample)
{
	free(sample->memory);
	free(sample->buffer);
}

static void
expect_same(const Subject *s, const char *form, int sum, size_t dim, size_t row, float got, float want)
{
	if (bits_of(got) != bits_of(want))
		fail_msg("%s %s %s of %s, dimension %zu, row %zu, seed %llu: %.9g instead of %.9g", s->kernels->name, form,
				 sum_names[sum], s->element->name, dim, row, (unsigned long long) SEED, (double) got, (double) want);
}

/* One by one against the oracle; by batch and gather the same to the last bit. */
static void
check_forms(const Subject *s, const Sample *sample, size_t dim)
{
	static const uint32_t slots[ROWS] = {8, 3, 3, 0, 7, 1, 5, 2, 6};
	float                 batch[ROWS];
	float                 gather[ROWS];

	for (int sum = 0; sum < IQDB_SUM_COUNT; sum++)
	{
		const IqdbSumKernels *k = &s->rows->sums[sum];

		k->batch(sample->prepared, sample->rows, sample->stride, ROWS, dim, batch);
		k->gather(sample->prepared, sample->rows, sample->stride, slots, ROWS, dim, gather);
		for (size_t r = 0; r < ROWS; r++)
		{
			const void *row = sample->rows + r * sample->stride;
			float       alone = k->pair(sample->prepared, row, dim);
			long double scale;
			long double want = oracle(s->element, (IqdbSum) sum, sample->query, row, dim, &scale);
			bool        counts = sum == IQDB_SUM_HAMMING || s->element->kind == IQDB_ELEMENT_BIT;

			if (!(fabsl((long double) alone - want) <= (counts ? 0.0L : 1e-5L * scale)))
				fail_msg("%s %s of %s, dimension %zu, seed %llu: %.9g instead of %.17Lg", s->kernels->name, sum_names[sum],
						 s->element->name, dim, (unsigned long long) SEED, (double) alone, want);
			expect_same(s, "batch", sum, dim, r, batch[r], alone);
			expect_same(s, "gather", sum, dim, r, gather[r],
						k->pair(sample->prepared, sample->rows + slots[r] * sample->stride, dim));
		}
	}
}

static void
sums_are_right(void **state)
{
	const Subject *s = *state;
	IqdbRng        rng;
	size_t         dim;

	iqdb_rng_seed(&rng, SEED);
	for (size_t d = 0; (dim = dim_number(s->element, d)) != 0; d++)
	{
		/* of floats at multiples of 4 bytes, of halves of 2, of bits anywhere */
		size_t align = (s->element->bits + 7) / 8;
		Sample even = sample_create(s, &rng, dim, ROWS, 0, (64 - iqdb_element_bytes(s->element, dim) % 64) % 64);
		Sample odd = sample_create(s, &rng, dim, ROWS, align, align * (d % 3));

		check_forms(s, &even, dim);
		check_forms(s, &odd, dim);
		sample_destroy(&even);
		sample_destroy(&odd);
	}
}

/* The squared norm, to the last bit the inner product with oneself; and the components as floats. */
static void
norms_and_floats_are_right(void **state)
{
	const Subject *s = *state;
	IqdbRng        rng;
	size_t         dim;

	iqdb_rng_seed(&rng, SEED);
	for (size_t d = 0; (dim = dim_number(s->element, d)) != 0; d++)
	{
		Sample sample = sample_create(s, &rng, dim, 1, (s->element->bits + 7) / 8, 0);
		float *floats = allocate((dim + 1) * sizeof(float));
		float *other = allocate(dim * sizeof(float));

		expect_same(s, "norm2", IQDB_SUM_DOT, dim, 0, s->rows->norm2(sample.query, dim),
					s->rows->sums[IQDB_SUM_DOT].pair(sample.prepared, sample.query, dim));
		floats[dim] = 12345.0f;
		s->rows->widen(sample.query, dim, floats);
		assert_true(floats[dim] == 12345.0f);
		for (size_t i = 0; i < dim; i++)
			assert_true((double) floats[i] == component(s->element, sample.query, i));
		assert_memory_equal(iqdb_element_floats(s->kernels, s->element, sample.query, dim, other), floats,
							dim * sizeof(float));
		if (s->element->is_prepared)
			assert_ptr_equal(sample.prepared, sample.query);
		else
			assert_memory_equal(sample.prepared, floats, iqdb_element_prepared_bytes(s->element, dim));
		sample_destroy(&sample);
		free(floats);
		free(other);
	}
}

static void
check_counts(const Subject *s, const Sample *sample, IqdbRng *rng, int sum, size_t dim)
{
	const IqdbSumKernels *k = &s->rows->sums[sum];
	uint32_t              slots[ROWS_MANY];
	float                 alone[ROWS_MANY];
	float                 out[ROWS_MANY + 1];

	for (size_t r = 0; r < ROWS_MANY; r++)
	{
		slots[r] = (uint32_t) iqdb_rng_below(rng, ROWS_MANY);
		alone[r] = k->pair(sample->prepared, sample->rows + r * sample->stride, dim);
	}
	for (size_t count = 0; count <= ROWS_MANY; count += dim <= 512 || count >= ROWS_MANY - 1 ? 1 : 3)
	{
		out[count] = 12345.0f;
		k->batch(sample->prepared, sample->rows, sample->stride, count, dim, out);
		for (size_t r = 0; r < count; r++)
			expect_same(s, "batch", sum, dim, r, out[r], alone[r]);
		k->gather(sample->prepared, sample->rows, sample->stride, slots, count, dim, out);
		for (size_t r = 0; r < count; r++)
			expect_same(s, "gather", sum, dim, r, out[r], alone[slots[r]]);
		assert_true(out[count] == 12345.0f);
	}
}

/* Short rows, rows read four at a time, and more of long rows than are read so. */
static void
every_count_of_rows_works(void **state)
{
	static const size_t dims[] = {3, 64, 100, 300, 5000, 15999, 64000};
	const Subject      *s = *state;
	IqdbRng             rng;

	iqdb_rng_seed(&rng, SEED);
	for (size_t d = 0; d < sizeof(dims) / sizeof(dims[0]) && dims[d] <= s->element->dimension_max; d++)
	{
		Sample sample = sample_create(s, &rng, dims[d], ROWS_MANY, 0, 0);

		for (int sum = 0; sum < IQDB_SUM_COUNT; sum++)
			check_counts(s, &sample, &rng, sum, dims[d]);
		sample_destroy(&sample);
	}
}

/* What stands behind the last byte of a vector changes nothing, whatever it is. */
static void
padding_changes_nothing(void **state)
{
	const Subject        *s = *state;
	const size_t          gap = 48;
	static const uint32_t slots[ROWS] = {0, 1, 2, 3, 4, 5, 6, 7, 8};
	IqdbRng               rng;

	iqdb_rng_seed(&rng, SEED);
	for (size_t dim = 1; dim <= 300; dim++)
	{
		size_t bytes = iqdb_element_bytes(s->element, dim);
		Sample sample = sample_create(s, &rng, dim, ROWS, 0, gap);
		float  clean[IQDB_SUM_COUNT][ROWS];
		float  batch[ROWS];
		float  gather[ROWS];
		float  norm2 = s->rows->norm2(sample.query, dim);

		for (int sum = 0; sum < IQDB_SUM_COUNT; sum++)
			s->rows->sums[sum].batch(sample.prepared, sample.rows, sample.stride, ROWS, dim, clean[sum]);
		/* of numbers NaN */
		for (size_t r = 0; r <= ROWS; r++)
			memset(sample.query + r * sample.stride + bytes, 0xff, gap);
		for (int sum = 0; sum < IQDB_SUM_COUNT; sum++)
		{
			s->rows->sums[sum].batch(sample.prepared, sample.rows, sample.stride, ROWS, dim, batch);
			s->rows->sums[sum].gather(sample.prepared, sample.rows, sample.stride, slots, ROWS, dim, gather);
			for (size_t r = 0; r < ROWS; r++)
			{
				expect_same(s, "batch", sum, dim, r, batch[r], clean[sum][r]);
				expect_same(s, "gather", sum, dim, r, gather[r], clean[sum][r]);
			}
		}
		expect_same(s, "norm2", IQDB_SUM_DOT, dim, 0, s->rows->norm2(sample.query, dim), norm2);
		sample_destroy(&sample);
	}
}

/* A wrong read here is a crash. */
static void
nothing_outside_the_rows_is_read(void **state)
{
	const Subject *s = *state;
	const size_t   most = 700;
	Guarded        query_memory = guarded_create(most * sizeof(float));
	Guarded        row_memory = guarded_create(ROWS * most * sizeof(float));
	Guarded        slot_memory = guarded_create(ROWS * sizeof(uint32_t));
	Guarded        wide_memory = guarded_create(most * sizeof(float));
	uint32_t      *slots = guarded_place(&slot_memory, ROWS * sizeof(uint32_t), true);
	float          out[ROWS];

	for (uint32_t r = 0; r < ROWS; r++)
		slots[r] = r;
	for (size_t dim = 1; dim <= most; dim += dim < 300 ? 1 : 7)
	{
		for (int upper = 0; upper < 2; upper++)
		{
			size_t      bytes = iqdb_element_bytes(s->element, dim);
			const void *query = guarded_place(&query_memory, iqdb_element_prepared_bytes(s->element, dim), upper);
			const char *rows = guarded_place(&row_memory, ROWS * bytes, upper);

			for (int sum = 0; sum < IQDB_SUM_COUNT; sum++)
			{
				out[0] = s->rows->sums[sum].pair(query, rows + (ROWS - 1) * bytes, dim);
				assert_true(out[0] == 0.0f);
				for (size_t count = 1; count <= ROWS; count++)
				{
					s->rows->sums[sum].batch(query, rows + (ROWS - count) * bytes, bytes, count, dim, out);
					s->rows->sums[sum].gather(query, rows, bytes, slots + (ROWS - count), count, dim, out);
				}
			}
			assert_true(s->rows->norm2(upper ? rows + (ROWS - 1) * bytes : rows, dim) == 0.0f);
			s->rows->widen(upper ? rows + (ROWS - 1) * bytes : rows, dim,
						   guarded_place(&wide_memory, dim * sizeof(float), upper));
		}
	}
	guarded_destroy(&query_memory);
	guarded_destroy(&row_memory);
	guarded_destroy(&slot_memory);
	guarded_destroy(&wide_memory);
}

/* All ones against all zeros, in the largest dimension: no count is lost. */
static void
counts_are_exact_to_the_end(void **state)
{
	const Subject *s = *state;
	size_t         dim = s->element->dimension_max;
	size_t         bytes = iqdb_element_bytes(s->element, dim);
	unsigned char *ones = allocate(bytes);
	unsigned char *zeros = allocate(bytes);
	float         *buffer = allocate(dim * sizeof(float));
	const void    *query;

	for (size_t i = 0; i < dim; i++)
		set_component(s->element, ones, i, 1.0);
	query = iqdb_element_prepare(s->kernels, s->element, ones, dim, buffer);
	assert_true(s->rows->norm2(ones, dim) == (float) dim);
	assert_true(s->rows->norm2(zeros, dim) == 0.0f);
	for (int sum = 0; sum < IQDB_SUM_COUNT; sum++)
	{
		bool is_dot = sum == IQDB_SUM_DOT;

		assert_true(s->rows->sums[sum].pair(query, ones, dim) == (is_dot ? (float) dim : 0.0f));
		assert_true(s->rows->sums[sum].pair(query, zeros, dim) == (is_dot ? 0.0f : (float) dim));
	}
	free(ones);
	free(zeros);
	free(buffer);
}

/* Every half, NaN included, is the float that half.h says, at whatever place it stands. */
static void
check_every_half(const IqdbKernels *kernels)
{
	const size_t count = 65536;
	IqdbHalf    *halves = allocate(2 * count * sizeof(IqdbHalf));
	float       *floats = allocate(2 * count * sizeof(float));

	for (size_t i = 0; i < 2 * count; i++)
		halves[i] = (IqdbHalf) i;
	for (size_t first = 0; first < 70; first++)
	{
		kernels->elements[IQDB_ELEMENT_F16]->widen(halves + first, count + first % 3, floats);
		for (size_t i = 0; i < count + first % 3; i++)
			assert_int_equal(bits_of(floats[i]), bits_of(iqdb_half_widen(halves[first + i])));
	}
	for (size_t first = 0; first < count; first++)
	{
		size_t dim = first % 67 + 1;

		kernels->elements[IQDB_ELEMENT_F16]->widen(halves + first, dim, floats);
		assert_int_equal(bits_of(floats[dim - 1]), bits_of(iqdb_half_widen(halves[first + dim - 1])));
	}
	free(halves);
	free(floats);
}

static void
every_half_widens(void **state)
{
	(void) state;
	for (int i = 0; i < TABLES; i++)
	{
		if (iqdb_kernels_named(table_names[i]) != NULL)
			check_every_half(iqdb_kernels_named(table_names[i]));
	}
}

/* ---- keys and distances in double ---- */

static bool
metric_takes(int metric, const IqdbElement *element)
{
	return (iqdb_metric_traits((uint32_t) metric)->elements >> element->kind & 1) != 0;
}

/* The key by the definition in metric.h; *scale_out is what an error is measured by. */
static long double
key_by_definition(const IqdbElement *element, IqdbMetric metric, const void *a, const void *b, size_t dim,
				  long double *scale_out)
{
	long double unused;
	long double dot = oracle(element, IQDB_SUM_DOT, a, b, dim, scale_out);
	long double norm2_a = oracle(element, IQDB_SUM_DOT, a, a, dim, &unused);
	long double norm2_b = oracle(element, IQDB_SUM_DOT, b, b, dim, &unused);

	switch (metric)
	{
		case IQDB_METRIC_COSINE:
			*scale_out = 1;
			return norm2_a == 0 || norm2_b == 0 ? 1 : 1 - dot / sqrtl(norm2_a * norm2_b);
		case IQDB_METRIC_DOT:
			return -dot;
		case IQDB_METRIC_L2:
			return oracle(element, IQDB_SUM_L2, a, b, dim, scale_out);
		case IQDB_METRIC_L1:
			return oracle(element, IQDB_SUM_L1, a, b, dim, scale_out);
		case IQDB_METRIC_HAMMING:
			return oracle(element, IQDB_SUM_HAMMING, a, b, dim, scale_out);
		default:
			*scale_out = 1;
			return dot == 0 ? 1 : 1 - dot / (norm2_a + norm2_b - dot);
	}
}

/* Vectors of one kind: of small numbers, of the largest, of the smallest, of all together, of none but zero. */
#define MAGNITUDES 5

static void
fill_magnitude(const IqdbElement *element, IqdbRng *rng, void *vector, const void *other, size_t dim, int magnitude)
{
	static const double scales[] = {1.0, 65504.0, 0x1p-22, 0.0, 0.0};

	fill(element, rng, vector, NULL, dim);
	for (size_t i = 0; i < dim; i++)
	{
		double scale = magnitude == 3 ? ldexp(1.0, (int) iqdb_rng_below(rng, 32) - 16) : scales[magnitude];
		bool   copy = other != NULL && iqdb_rng_below(rng, 4) == 0;

		set_component(element, vector, i, copy ? component(element, other, i) : component(element, vector, i) * scale);
	}
}

static void
check_pair(const Subject *s, int metric, const Sample *sample, const void *row, size_t dim)
{
	const IqdbMetricTraits *traits = iqdb_metric_traits((uint32_t) metric);
	long double             scale;
	long double             want = key_by_definition(s->element, (IqdbMetric) metric, sample->query, row, dim, &scale);
	double                  key = iqdb_element_key(s->kernels, s->element, (IqdbMetric) metric, sample->prepared, row, dim);
	double distance = iqdb_element_distance(s->kernels, s->element, (IqdbMetric) metric, sample->query, row, dim);
	double back = iqdb_element_distance(s->kernels, s->element, (IqdbMetric) metric, row, sample->query, dim);

	if (!(fabsl((long double) key - want) <= 1e-14L * scale))
		fail_msg("%s %s of %s, dimension %zu, seed %llu: %.17g instead of %.17Lg", s->kernels->name, traits->name,
				 s->element->name, dim, (unsigned long long) SEED, key, want);
	assert_true(distance == (traits->squared ? sqrt(key) : key));
	assert_true(distance == back);
}

static void
keys_in_double_are_exact(void **state)
{
	const Subject *s = *state;
	IqdbRng        rng;
	size_t         dim;

	iqdb_rng_seed(&rng, SEED);
	for (size_t d = 0; (dim = dim_number(s->element, d)) != 0; d++)
	{
		Sample sample = sample_create(s, &rng, dim, 1, 0, 0);

		for (int kind = 0; kind < MAGNITUDES * MAGNITUDES; kind++)
		{
			if (dim > SMALL_DIMS && kind % MAGNITUDES != (int) d % MAGNITUDES)
				continue;
			fill_magnitude(s->element, &rng, sample.query, NULL, dim, kind / MAGNITUDES);
			fill_magnitude(s->element, &rng, sample.rows, sample.query, dim, kind % MAGNITUDES);
			sample.prepared = iqdb_element_prepare(s->kernels, s->element, sample.query, dim, sample.buffer);
			for (int m = 0; m < IQDB_METRIC_COUNT; m++)
			{
				if (!metric_takes(m, s->element))
					continue;
				check_pair(s, m, &sample, sample.rows, dim);
				check_pair(s, m, &sample, sample.query, dim);
			}
		}
		sample_destroy(&sample);
	}
}

/* The rank keys of kernels and of doubles are the same number but for rounding, and an own row is at no distance. */
static void
rank_keys_are_keys(void **state)
{
	const Subject *s = *state;
	IqdbRng        rng;
	size_t         dim;

	iqdb_rng_seed(&rng, SEED);
	for (size_t d = 0; (dim = dim_number(s->element, d)) != 0; d++)
	{
		Sample sample = sample_create(s, &rng, dim, ROWS, 0, 0);
		float  norms2[ROWS];
		float  keys[ROWS];

		memcpy(sample.rows, sample.query, iqdb_element_bytes(s->element, dim));
		for (size_t r = 0; r < ROWS; r++)
			norms2[r] = s->rows->norm2(sample.rows + r * sample.stride, dim);
		for (int m = 0; m < IQDB_METRIC_COUNT; m++)
		{
			const IqdbMetricTraits *traits = iqdb_metric_traits((uint32_t) m);

			if (!metric_takes(m, s->element))
				continue;
			s->rows->sums[traits->sum].batch(sample.prepared, sample.rows, sample.stride, ROWS, dim, keys);
			iqdb_metric_finish((IqdbMetric) m, traits->needs_norms ? s->rows->norm2(sample.query, dim) : 0.0f,
							   traits->needs_norms ? norms2 : NULL, ROWS, keys);
			for (size_t r = 0; r < ROWS; r++)
			{
				double want = iqdb_element_key(s->kernels, s->element, (IqdbMetric) m, sample.prepared,
											   sample.rows + r * sample.stride, dim);

				assert_true(fabs((double) keys[r] - want) <= 1e-4 * fabs(want) + 1e-4);
			}
			if (traits->form != IQDB_KEY_NEGATED)
				assert_true(keys[0] == (s->rows->norm2(sample.query, dim) == 0.0f && traits->needs_norms ? 1.0f : 0.0f));
		}
		sample_destroy(&sample);
	}
}

/* SQL's answers do not depend on the machine. */
static void
tables_agree_in_double(void **state)
{
	const IqdbKernels *scalar = iqdb_kernels_named("scalar");
	const Subject     *s = *state;
	IqdbRng            rng;
	size_t             dim;

	iqdb_rng_seed(&rng, SEED);
	for (size_t d = 0; (dim = dim_number(s->element, d)) != 0; d++)
	{
		Sample sample = sample_create(s, &rng, dim, 1, 0, 0);

		for (int m = 0; m < IQDB_METRIC_COUNT; m++)
		{
			if (metric_takes(m, s->element))
				assert_true(iqdb_element_distance(s->kernels, s->element, (IqdbMetric) m, sample.query, sample.rows, dim) ==
							iqdb_element_distance(scalar, s->element, (IqdbMetric) m, sample.query, sample.rows, dim));
		}
		for (int sum = 0; sum < IQDB_SUM_COUNT; sum++)
		{
			float here = s->rows->sums[sum].pair(sample.prepared, sample.rows, dim);
			float there = scalar->elements[s->element->kind]->sums[sum].pair(sample.prepared, sample.rows, dim);

			assert_true(fabsf(here - there) <= 1e-3f || fabsf(here - there) <= 1e-4f * fabsf(there));
		}
		sample_destroy(&sample);
	}
}

/* ---- vectors ---- */

static void
expect_refused(const IqdbElement *element, const void *vector, size_t dim, const char *message)
{
	IqdbError err;

	assert_int_equal(iqdb_element_check(element, vector, dim, &err), IQDB_ERR_VECTOR);
	assert_int_equal(err.code, IQDB_ERR_VECTOR);
	assert_string_equal(err.message, message);
	assert_int_equal(iqdb_element_check(element, vector, dim, NULL), IQDB_ERR_VECTOR);
}

static void
check_finds_every_number_that_is_none(void **state)
{
	static const IqdbHalf bad[] = {0x7c00, 0xfc00, 0x7c01, 0xfc01, 0x7e00, 0xffff};
	static const IqdbHalf good[] = {0x0000, 0x8000, 0x0001, 0x83ff, 0x0400, 0x3c00, 0x7bff, 0xfbff};
	const IqdbElement    *element = iqdb_element(IQDB_ELEMENT_F16);
	IqdbHalf              vector[100];
	char                  text[64];

	(void) state;
	for (size_t i = 0; i < 100; i++)
		vector[i] = good[i % (sizeof(good) / sizeof(good[0]))];
	for (size_t dim = 1; dim <= 100; dim++)
	{
		assert_int_equal(iqdb_element_check(element, vector, dim, NULL), IQDB_OK);
		for (size_t at = 0; at < dim; at++)
		{
			IqdbHalf was = vector[at];

			vector[at] = bad[(dim + at) % (sizeof(bad) / sizeof(bad[0]))];
			snprintf(text, sizeof(text), "component %zu of %zu is NaN or infinite", at + 1, dim);
			expect_refused(element, vector, dim, text);
			if (at > 0)
				assert_int_equal(iqdb_element_check(element, vector, at, NULL), IQDB_OK);
			vector[at] = was;
		}
	}
}

static void
check_finds_every_unused_bit(void **state)
{
	const IqdbElement *element = iqdb_element(IQDB_ELEMENT_BIT);
	unsigned char      vector[20];
	char               text[64];

	(void) state;
	for (size_t dim = 1; dim <= 8 * sizeof(vector); dim++)
	{
		memset(vector, 0, sizeof(vector));
		for (size_t i = 0; i < dim; i++)
			set_component(element, vector, i, 1.0);
		assert_int_equal(iqdb_element_check(element, vector, dim, NULL), IQDB_OK);
		for (size_t at = dim; at < (dim + 7) / 8 * 8; at++)
		{
			set_component(element, vector, at, 1.0);
			snprintf(text, sizeof(text), "bits behind the last of %zu are not zero", dim);
			expect_refused(element, vector, dim, text);
			set_component(element, vector, at, 0.0);
		}
	}
}

static void
check_refuses_no_components(void **state)
{
	(void) state;
	for (uint32_t kind = 0; kind < IQDB_ELEMENT_COUNT; kind++)
		expect_refused(iqdb_element(kind), "", 0, "vector must have at least 1 dimension");
}

/* One component that is not zero, at every place; zeros of either sign are zeros. */
static void
only_zeros_are_zero(void **state)
{
	unsigned char vector[130 * sizeof(float)] = {0};

	(void) state;
	for (uint32_t kind = 0; kind < IQDB_ELEMENT_COUNT; kind++)
	{
		const IqdbElement *element = iqdb_element(kind);

		for (size_t dim = 1; dim <= 130; dim++)
		{
			memset(vector, 0, sizeof(vector));
			for (size_t i = 0; i < dim; i++)
				set_component(element, vector, i, element->has_numbers && i % 2 == 0 ? -0.0 : 0.0);
			assert_true(iqdb_element_is_zero(element, vector, dim));
			for (size_t at = 0; at < dim; at++)
			{
				set_component(element, vector, at, 0x1p-24);
				assert_false(iqdb_element_is_zero(element, vector, dim));
				assert_false(iqdb_element_has_tiny(element, vector, dim));
				set_component(element, vector, at, 0.0);
			}
		}
	}
}

static void
only_floats_can_be_tiny(void **state)
{
	const IqdbElement *element = iqdb_element(IQDB_ELEMENT_F32);
	float              vector[40];

	(void) state;
	for (size_t i = 0; i < 40; i++)
		vector[i] = i % 2 == 0 ? IQDB_COMPONENT_TINY : -0.0f;
	for (size_t at = 0; at < 40; at++)
	{
		float was = vector[at];

		assert_false(iqdb_element_has_tiny(element, vector, 40));
		vector[at] = at % 3 == 0 ? FLT_TRUE_MIN : -IQDB_COMPONENT_TINY / 2;
		assert_true(iqdb_element_has_tiny(element, vector, 40));
		vector[at] = was;
	}
}

/* The bytes of a file: those of the number, the lowest first; and back. */
static void
bytes_are_little_endian(void **state)
{
	unsigned char vector[130 * sizeof(float)];
	unsigned char bytes[130 * sizeof(float) + 1];
	unsigned char back[130 * sizeof(float)];
	IqdbRng       rng;

	(void) state;
	iqdb_rng_seed(&rng, SEED);
	for (uint32_t kind = 0; kind < IQDB_ELEMENT_COUNT; kind++)
	{
		const IqdbElement *element = iqdb_element(kind);
		size_t             size = element->bits / 8;

		for (size_t dim = 1; dim <= 130; dim++)
		{
			size_t all = iqdb_element_bytes(element, dim);

			fill(element, &rng, vector, NULL, dim);
			bytes[all] = 99;
			iqdb_element_encode(element, vector, dim, bytes);
			assert_int_equal(bytes[all], 99);
			iqdb_element_decode(element, bytes, dim, back);
			assert_memory_equal(back, vector, all);
			for (size_t i = 0; i < dim && size != 0; i++)
			{
				uint32_t number = size == 2 ? iqdb_half_narrow((float) component(element, vector, i))
											: bits_of((float) component(element, vector, i));

				for (size_t byte = 0; byte < size; byte++)
					assert_int_equal(bytes[i * size + byte], number >> 8 * byte & 0xff);
			}
			if (size == 0)
				assert_memory_equal(bytes, vector, all);
		}
	}
}

/* ---- the tables ---- */

static void
elements_are_described(void **state)
{
	(void) state;
	assert_null(iqdb_element(IQDB_ELEMENT_COUNT));
	assert_null(iqdb_element(UINT32_MAX));
	for (uint32_t kind = 0; kind < IQDB_ELEMENT_COUNT; kind++)
	{
		const IqdbElement *element = iqdb_element(kind);

		assert_int_equal(element->kind, kind);
		assert_true(element->name != NULL && element->name[0] != '\0');
		for (uint32_t other = 0; other < kind; other++)
			assert_string_not_equal(element->name, iqdb_element(other)->name);
		assert_int_equal(iqdb_element_bytes(element, 1), (element->bits + 7) / 8);
		assert_int_equal(iqdb_element_bytes(element, 16), element->bits * 2);
		assert_int_equal(iqdb_element_bytes(element, 17), (17 * element->bits + 7) / 8);
		assert_int_equal(iqdb_element_prepared_bytes(element, 17),
						 element->is_prepared ? iqdb_element_bytes(element, 17) : 17 * sizeof(float));
		/* a count of them is exact in a float */
		assert_true(element->dimension_max <= 1u << FLT_MANT_DIG);
	}
	assert_string_equal(iqdb_element(IQDB_ELEMENT_F32)->name, "f32");
	assert_string_equal(iqdb_element(IQDB_ELEMENT_F16)->name, "f16");
	assert_string_equal(iqdb_element(IQDB_ELEMENT_BIT)->name, "bit");
}

static void
metrics_are_described(void **state)
{
	uint32_t all = 0;

	(void) state;
	assert_null(iqdb_metric_traits(IQDB_METRIC_COUNT));
	assert_null(iqdb_metric_traits(UINT32_MAX));
	for (uint32_t m = 0; m < IQDB_METRIC_COUNT; m++)
	{
		const IqdbMetricTraits *traits = iqdb_metric_traits(m);

		assert_true(traits->name != NULL && traits->name[0] != '\0');
		assert_string_equal(traits->name, iqdb_metric_name((IqdbMetric) m));
		for (uint32_t other = 0; other < m; other++)
			assert_string_not_equal(traits->name, iqdb_metric_traits(other)->name);
		assert_true(traits->elements != 0 && traits->elements >> IQDB_ELEMENT_COUNT == 0);
		all |= traits->elements;
		assert_true(traits->sum < IQDB_SUM_COUNT);
		assert_int_equal(traits->needs_norms, traits->form == IQDB_KEY_COSINE || traits->form == IQDB_KEY_JACCARD);
		/* only what is a square has a root that is the distance */
		if (traits->squared)
			assert_true(traits->prune_power == 2 && traits->form == IQDB_KEY_SUM && traits->sum == IQDB_SUM_L2);
		/* codes stand for numbers */
		if (traits->by_products || traits->by_components)
			assert_true((traits->elements & ~(1u << IQDB_ELEMENT_BIT)) != 0);
		/* norms are no sum over components */
		if (traits->by_components)
			assert_false(traits->needs_norms);
	}
	assert_int_equal(all, (1u << IQDB_ELEMENT_COUNT) - 1);
}

static double
power_of(const IqdbKernels *kernels, const IqdbElement *element, uint32_t m, const void *a, const void *b, size_t dim)
{
	const IqdbMetricTraits *traits = iqdb_metric_traits(m);
	double                  distance = iqdb_element_distance(kernels, element, (IqdbMetric) m, a, b, dim);
	double                  key = traits->squared ? distance * distance : distance;

	return traits->prune_power == 2 ? sqrt(key) : key;
}

/* What prune_power says is so: no way over a third vector is shorter; where it says 0, some way is. */
static void
triangles_hold_where_the_traits_say_so(void **state)
{
	const IqdbKernels *kernels = iqdb_kernels_best();
	unsigned char      a[20 * sizeof(float)];
	unsigned char      b[20 * sizeof(float)];
	unsigned char      c[20 * sizeof(float)];
	IqdbRng            rng;

	(void) state;
	iqdb_rng_seed(&rng, SEED);
	for (uint32_t m = 0; m < IQDB_METRIC_COUNT; m++)
	{
		for (uint32_t kind = 0; kind < IQDB_ELEMENT_COUNT; kind++)
		{
			const IqdbElement *element = iqdb_element(kind);
			int                shorter = 0;

			for (int round = 0; round < 2000 && metric_takes((int) m, element); round++)
			{
				size_t dim = 1 + (size_t) round % 20;

				fill(element, &rng, a, NULL, dim);
				fill(element, &rng, b, round % 2 == 0 ? a : NULL, dim);
				fill(element, &rng, c, round % 3 == 0 ? b : NULL, dim);
				/* for bits, too, nothing at all is at distance 1 of nothing at all, so such are no points of a space */
				if (iqdb_element_is_zero(element, a, dim) || iqdb_element_is_zero(element, b, dim) ||
					iqdb_element_is_zero(element, c, dim))
					continue;
				shorter += power_of(kernels, element, m, a, c, dim) >
						   power_of(kernels, element, m, a, b, dim) + power_of(kernels, element, m, b, c, dim) + 1e-7;
			}
			if (metric_takes((int) m, element) && (shorter != 0) != (iqdb_metric_traits(m)->prune_power == 0))
				fail_msg("%s of %s: %d triangles do not hold", iqdb_metric_name((IqdbMetric) m), element->name, shorter);
		}
	}
}

/* What by_components says is so: the key of a vector is the sum of the keys of its parts. */
static void
parts_add_up_where_the_traits_say_so(void **state)
{
	const IqdbKernels *kernels = iqdb_kernels_best();
	const IqdbElement *element = iqdb_element(IQDB_ELEMENT_F32);
	float              a[24];
	float              b[24];
	IqdbRng            rng;

	(void) state;
	iqdb_rng_seed(&rng, SEED);
	fill(element, &rng, a, NULL, 24);
	fill(element, &rng, b, NULL, 24);
	for (uint32_t m = 0; m < IQDB_METRIC_COUNT; m++)
	{
		double whole = iqdb_element_key(kernels, element, (IqdbMetric) m, a, b, 24);
		double parts = 0;

		if (!iqdb_metric_traits(m)->by_components)
			continue;
		for (size_t at = 0; at < 24; at += 8)
			parts += iqdb_element_key(kernels, element, (IqdbMetric) m, a + at, b + at, 8);
		assert_true(fabs(whole - parts) <= 1e-12);
	}
}

static void
kernels_are_complete(void **state)
{
	(void) state;
	for (int i = 0; i < TABLES; i++)
	{
		const IqdbKernels *kernels = iqdb_kernels_named(table_names[i]);

		for (uint32_t kind = 0; kernels != NULL && kind < IQDB_ELEMENT_COUNT; kind++)
		{
			const IqdbElementKernels *rows = kernels->elements[kind];

			assert_non_null(rows);
			assert_true(rows->norm2 != NULL && rows->widen != NULL);
			for (int sum = 0; sum < IQDB_SUM_COUNT; sum++)
			{
				assert_true(rows->sums[sum].pair != NULL && rows->sums[sum].batch != NULL);
				assert_true(rows->sums[sum].gather != NULL);
			}
		}
		/* plain floats by floats, and rows of floats, are the same thing */
		if (kernels != NULL)
			assert_memory_equal(kernels->sums, kernels->elements[IQDB_ELEMENT_F32]->sums, sizeof(kernels->sums));
	}
}

/* The tests of an element by a table. */
static int
run_subject_tests(const IqdbKernels *kernels, const IqdbElement *element)
{
	static char             group[64];
	Subject                 subject = {kernels, element, kernels->elements[element->kind]};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sums_are_right),
		cmocka_unit_test(norms_and_floats_are_right),
		cmocka_unit_test(every_count_of_rows_works),
		cmocka_unit_test(padding_changes_nothing),
		cmocka_unit_test(nothing_outside_the_rows_is_read),
		cmocka_unit_test(counts_are_exact_to_the_end),
		cmocka_unit_test(keys_in_double_are_exact),
		cmocka_unit_test(rank_keys_are_keys),
		cmocka_unit_test(tables_agree_in_double),
	};
	struct CMUnitTest       with_subject[sizeof(tests) / sizeof(tests[0])];

	memcpy(with_subject, tests, sizeof(tests));
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		with_subject[i].initial_state = &subject;
	snprintf(group, sizeof(group), "%s by %s", element->name, kernels->name);
	return cmocka_run_group_tests_name(group, with_subject, NULL, NULL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(check_finds_every_number_that_is_none),
		cmocka_unit_test(check_finds_every_unused_bit),
		cmocka_unit_test(check_refuses_no_components),
		cmocka_unit_test(only_zeros_are_zero),
		cmocka_unit_test(only_floats_can_be_tiny),
		cmocka_unit_test(bytes_are_little_endian),
		cmocka_unit_test(elements_are_described),
		cmocka_unit_test(metrics_are_described),
		cmocka_unit_test(triangles_hold_where_the_traits_say_so),
		cmocka_unit_test(parts_add_up_where_the_traits_say_so),
		cmocka_unit_test(kernels_are_complete),
		cmocka_unit_test(every_half_widens),
	};
	int failed = cmocka_run_group_tests_name("elements", tests, NULL, NULL);

	for (int i = 0; i < TABLES; i++)
	{
		const IqdbKernels *kernels = iqdb_kernels_named(table_names[i]);

		if (kernels == NULL)
			print_message("table %s does not run on this processor\n", table_names[i]);
		for (uint32_t kind = 0; kernels != NULL && kind < IQDB_ELEMENT_COUNT; kind++)
			failed += run_subject_tests(kernels, iqdb_element(kind));
	}
	return failed;
}
