/*
 * test_signs.c - sign codes: the same bits on every machine, and keys as near to the true ones as signs can tell.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "core/quant/signs.h"
#include "harness/metrics.h"

#define SEED UINT64_C(20261124)
#define ROWS 64
#define NEAR_ROWS 100

static const char *const tables[] = {"scalar", "avx2", "avx512bw", "avx512", "neon"};

/* Rows around a centre, coded. Rows lie `away` times as far from the centre as the centre from zero, or so. */
typedef struct Coded
{
	IqdbSigns      signs;
	size_t         stride; /* bytes of a code and its scalars */
	float         *rows;   /* ROWS, and the centre behind them */
	float         *flips;
	unsigned char *codes;
	uint64_t      *planes;
} Coded;

static float
gauss(IqdbRng *rng)
{
	double sum = -6.0;

	for (int i = 0; i < 12; i++)
		sum += iqdb_rng_unit(rng);
	return (float) sum;
}

static float *
row_of(const Coded *coded, size_t row)
{
	return coded->rows + row * coded->signs.dim;
}

static float
norm2_of(const Coded *coded, const float *vector)
{
	return iqdb_kernels_best()->sums[IQDB_SUM_DOT].pair(vector, vector, coded->signs.dim);
}

static uint64_t *
code_of(const Coded *coded, size_t row)
{
	return (uint64_t *) (void *) (coded->codes + row * coded->stride);
}

static IqdbSignsRow *
scalars_of(const Coded *coded, size_t row)
{
	return (IqdbSignsRow *) (void *) (code_of(coded, row) + iqdb_signs_words(coded->signs.dim));
}

static void
encode_all(Coded *coded)
{
	for (size_t i = 0; i < ROWS; i++)
		iqdb_signs_encode(&coded->signs, row_of(coded, i), norm2_of(coded, row_of(coded, i)), code_of(coded, i),
						  scalars_of(coded, i));
}

static void
coded_make(Coded *coded, IqdbMetric metric, size_t dim, float away, uint64_t seed)
{
	IqdbRng rng;
	float  *centre;

	iqdb_rng_seed(&rng, seed);
	coded->stride = iqdb_signs_words(dim) * sizeof(uint64_t) + sizeof(IqdbSignsRow);
	coded->rows = malloc((ROWS + 1) * dim * sizeof(float));
	coded->flips = malloc(iqdb_signs_flips(dim) * sizeof(float));
	coded->codes = aligned_alloc(64, ROWS * coded->stride);
	coded->planes = malloc(iqdb_signs_query_bytes(dim));
	assert_true(coded->rows != NULL && coded->flips != NULL && coded->codes != NULL && coded->planes != NULL);
	coded->signs = (IqdbSigns){.metric = metric, .dim = dim, .flips = coded->flips};
	coded->signs.kernels = iqdb_signs_kernels(iqdb_kernels_best());
	iqdb_signs_draw(seed, dim, coded->flips);
	centre = row_of(coded, ROWS);
	coded->signs.centre = centre;
	for (size_t d = 0; d < dim; d++)
		centre[d] = gauss(&rng);
	for (size_t i = 0; i < ROWS * dim; i++)
		coded->rows[i] = centre[i % dim] + away * gauss(&rng);
	/* a centre of rows of length one has nearly that length */
	for (size_t d = 0; metric == IQDB_METRIC_COSINE && d < dim; d++)
		centre[d] /= sqrtf((1.0f + away * away) * (float) dim);
	encode_all(coded);
}

static void
coded_free(Coded *coded)
{
	free(coded->rows);
	free(coded->flips);
	free(coded->codes);
	free(coded->planes);
}

/* Keys of rows 0 .. ROWS - 1 with a query that was made ready. */
static void
keys_of(const Coded *coded, const IqdbSignsQuery *query, float *keys)
{
	uint32_t slots[ROWS];
	int32_t  sums[ROWS];

	for (uint32_t i = 0; i < ROWS; i++)
		slots[i] = i;
	coded->signs.kernels->sums(query->planes, query->plane_count, coded->codes, coded->stride, slots, ROWS,
							   iqdb_signs_words(coded->signs.dim), sums);
	for (size_t i = 0; i < ROWS; i++)
		keys[i] = iqdb_signs_key(query, scalars_of(coded, i), sums[i]);
}

static void
widths_fill_cache_lines(void **state)
{
	for (size_t dim = 1; dim <= IQDB_DIMENSION_MAX; dim++)
	{
		size_t width = iqdb_signs_width(dim);

		assert_true(width >= dim && width - dim < 512 && width <= IQDB_SIGNS_WIDTH_MAX);
		assert_int_equal((width / 8 + sizeof(IqdbSignsRow)) % 64, 0);
		assert_int_equal(iqdb_signs_words(dim) * 64, width);
	}
}

/* ---- the same on every machine ---- */

static void
assert_sums(const Coded *coded, const IqdbSignsKernels *kernels, IqdbRng *rng)
{
	size_t   words = iqdb_signs_words(coded->signs.dim);
	uint32_t slots[5];
	int32_t  sums[5];

	for (size_t i = 0; i < IQDB_SIGNS_PLANES * words; i++)
		coded->planes[i] = iqdb_rng_next(rng);
	for (uint32_t planes = 1; planes <= IQDB_SIGNS_PLANES; planes++)
	{
		for (size_t i = 0; i < 5; i++)
			slots[i] = iqdb_rng_below(rng, ROWS);
		kernels->sums(coded->planes, planes, coded->codes, coded->stride, slots, 5, words, sums);
		for (size_t i = 0; i < 5; i++)
		{
			int32_t expected = 0;

			for (size_t d = 0; d < 64 * words; d++)
			{
				int32_t level = 0;

				for (uint32_t k = 0; k < planes; k++)
					level += (coded->planes[k * words + d / 64] >> (d % 64) & 1) != 0 ? 1 << k : -(1 << k);
				expected += (code_of(coded, slots[i])[d / 64] >> (d % 64) & 1) != 0 ? level : -level;
			}
			assert_int_equal(sums[i], expected);
		}
	}
}

static void
every_table_gives_the_same_bits(void **state)
{
	static const size_t dims[] = {1, 2, 63, 64, 128, 448, 449, 768, 1000, 1536, IQDB_DIMENSION_MAX};
	IqdbRng             rng;

	iqdb_rng_seed(&rng, SEED);
	for (size_t d = 0; d < sizeof(dims) / sizeof(dims[0]); d++)
	{
		Coded           coded;
		unsigned char  *codes;
		uint64_t       *planes;
		IqdbSignsQuery  queries[2];
		size_t          query_bytes = iqdb_signs_query_bytes(dims[d]);

		coded_make(&coded, IQDB_METRIC_DOT, dims[d], 1.0f, SEED + d);
		coded.signs.kernels = iqdb_signs_kernels(iqdb_kernels_named("scalar"));
		encode_all(&coded);
		codes = malloc(ROWS * coded.stride);
		planes = malloc(query_bytes);
		assert_true(codes != NULL && planes != NULL);
		memcpy(codes, coded.codes, ROWS * coded.stride);
		iqdb_signs_query(&coded.signs, row_of(&coded, 0), 1.0f, planes, &queries[0]);
		for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
		{
			const IqdbKernels *table = iqdb_kernels_named(tables[i]);

			if (table == NULL)
				continue;
			coded.signs.kernels = iqdb_signs_kernels(table);
			encode_all(&coded);
			assert_memory_equal(codes, coded.codes, ROWS * coded.stride);
			iqdb_signs_query(&coded.signs, row_of(&coded, 0), 1.0f, coded.planes, &queries[1]);
			assert_memory_equal(planes, coded.planes, query_bytes);
			assert_true(queries[0].base == queries[1].base && queries[0].weight == queries[1].weight);
			assert_sums(&coded, coded.signs.kernels, &rng);
		}
		free(codes);
		free(planes);
		coded_free(&coded);
	}
}

/* Any number of components: the same bits everywhere, and nothing becomes longer or shorter. */
static void
rotations_of_any_width_keep_lengths(void **state)
{
	IqdbRng rng;

	(void) state;
	iqdb_rng_seed(&rng, SEED);
	for (size_t width = 1; width <= 200; width += width < 40 ? 1 : 23)
	{
		float         flips[IQDB_SIGNS_ROUNDS * 200];
		float         vector[200];
		float         zero[200] = {0};
		float         centre[200];
		float         expected[208] = {0};
		float         expected_along = 0;
		double        length2 = 0;
		IqdbSignsSize size;

		iqdb_rotation_draw(SEED + width, width, flips);
		for (size_t d = 0; d < width; d++)
		{
			vector[d] = gauss(&rng);
			centre[d] = gauss(&rng);
			length2 += (double) (2.0f * vector[d] - centre[d]) * (double) (2.0f * vector[d] - centre[d]);
		}
		for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
		{
			const IqdbKernels      *table = iqdb_kernels_named(tables[i]);
			const IqdbSignsKernels *kernels = table != NULL ? iqdb_signs_kernels(table) : NULL;
			float                   rotated[2][208] = {{0}};
			float                   along = 0;

			if (kernels == NULL)
				continue;
			kernels->rotate(vector, 2.0f, centre, flips, width, width, rotated[0]);
			kernels->measure(rotated[0], (width + 7) / 8 * 8, &size);
			assert_true(fabs((double) size.square - length2) <= 1e-5 * length2);
			if (i == 0)
				memcpy(expected, rotated[0], sizeof(expected));
			assert_memory_equal(rotated[0], expected, sizeof(expected));
			kernels->rotate(vector, 1.0f, zero, flips, width, width, rotated[0]);
			kernels->rotate(vector, 1.0f, NULL, flips, width, width, rotated[1]);
			assert_memory_equal(rotated[0], rotated[1], sizeof(rotated[0]));
			for (size_t d = 0; d < width; d++)
				along += expected[d] >= 0.0f ? rotated[0][d] : -rotated[0][d];
			assert_true(fabsf(kernels->along(expected, rotated[0], (width + 7) / 8 * 8) - along) <= 1e-4f * (float) width);
			if (i == 0)
				expected_along = kernels->along(expected, rotated[0], (width + 7) / 8 * 8);
			assert_true(kernels->along(expected, rotated[0], (width + 7) / 8 * 8) == expected_along);
		}
	}
}

/* ---- how near ---- */

typedef struct Errors
{
	double mean;   /* of (key - true key) / (|y| |z| / sqrt(width)) */
	double square; /* of its square */
	double self;   /* the worst of a row with itself, in |y|^2 */
} Errors;

/* |x - centre| (COSINE: x at length one). */
static double
length_of(const Coded *coded, const float *vector)
{
	double norm2 = (double) norm2_of(coded, vector);
	double factor = coded->signs.metric == IQDB_METRIC_COSINE ? 1.0 / sqrt(norm2) : 1.0;
	double sum = 0.0;

	for (size_t d = 0; d < coded->signs.dim; d++)
	{
		double value = factor * (double) vector[d] - (double) coded->signs.centre[d];

		sum += value * value;
	}
	return sqrt(sum);
}

/* The key a row should have, less what is the same for all rows under DOT. */
static double
true_key(const Coded *coded, const float *row, const float *query)
{
	double constant = 0.0;

	for (size_t d = 0; coded->signs.metric == IQDB_METRIC_DOT && d < coded->signs.dim; d++)
		constant += (double) coded->signs.centre[d] * (double) query[d];
	return constant + (double) floats_key(iqdb_kernels_best(), coded->signs.metric, query, row, coded->signs.dim);
}

static Errors
errors_of(Coded *coded, bool by_code)
{
	double width = (double) iqdb_signs_width(coded->signs.dim);
	double factor = coded->signs.metric == IQDB_METRIC_L2 ? 2.0 : 1.0;
	double count = (double) ROWS * (ROWS - 1);
	Errors errors = {0.0, 0.0, 0.0};

	for (size_t q = 0; q < ROWS; q++)
	{
		const float   *vector = row_of(coded, q);
		double         length = length_of(coded, vector);
		IqdbSignsQuery query;
		float          keys[ROWS];

		if (by_code)
			iqdb_signs_query_of_row(&coded->signs, code_of(coded, q), scalars_of(coded, q), &query);
		else
			iqdb_signs_query(&coded->signs, vector, norm2_of(coded, vector), coded->planes, &query);
		keys_of(coded, &query, keys);
		for (size_t i = 0; i < ROWS; i++)
		{
			const float *row = row_of(coded, i);
			double       error = ((double) keys[i] - true_key(coded, row, vector)) / (factor * length * length_of(coded, row));

			if (i == q)
				errors.self = fabs(error) > errors.self ? fabs(error) : errors.self;
			else
			{
				errors.mean += error * sqrt(width) / count;
				errors.square += error * error * width / count;
			}
		}
	}
	return errors;
}

/*
 * The deviation of an estimate is sqrt(pi / 2 - 1) = 0.756 of |y| |z| / sqrt(width) where rows are at right angles, and
 * the mean is none.
 */
static void
keys_are_near_the_true_ones(void **state)
{
	static const size_t     dims[] = {16, 100, 128, 384, 768, 1500};
	static const IqdbMetric metrics[] = {IQDB_METRIC_L2, IQDB_METRIC_DOT, IQDB_METRIC_COSINE};

	for (size_t d = 0; d < sizeof(dims) / sizeof(dims[0]); d++)
	{
		for (size_t m = 0; m < 3; m++)
		{
			Coded  coded;
			Errors errors;

			coded_make(&coded, metrics[m], dims[d], 0.5f, SEED + d);
			errors = errors_of(&coded, false);
			print_message("%zu dimensions, %s: mean %.3f, deviation %.3f, self %.4f\n", dims[d],
						  iqdb_metric_name(metrics[m]), errors.mean, sqrt(errors.square), errors.self);
			assert_true(fabs(errors.mean) < 0.1);
			assert_true(errors.square < 1.0);
			assert_true(errors.self < 0.02);
			errors = errors_of(&coded, true);
			print_message("by code: mean %.3f, deviation %.3f, self %.4f\n", errors.mean, sqrt(errors.square), errors.self);
			assert_true(fabs(errors.mean) < 0.2);
			/* (pi / 2)^2 for both sides */
			assert_true(errors.square < 3.0);
			assert_true(errors.self < 0.2);
			coded_free(&coded);
		}
	}
}

/* Rows half as far from each other as from the centre: by codes alone they are no nearer than that in the mean. */
static void
near_rows_are_not_nearer_by_their_codes(void **state)
{
	double ratio = 0.0;

	for (uint64_t seed = SEED; seed < SEED + 20; seed++)
	{
		Coded          coded;
		IqdbRng        rng;
		IqdbSignsQuery query;
		float          keys[ROWS];

		coded_make(&coded, IQDB_METRIC_L2, 256, 1.0f, seed);
		iqdb_rng_seed(&rng, seed);
		for (size_t d = 0; d < 256; d++)
			row_of(&coded, 1)[d] = row_of(&coded, 0)[d] + 0.5f * gauss(&rng);
		encode_all(&coded);
		iqdb_signs_query_of_row(&coded.signs, code_of(&coded, 0), scalars_of(&coded, 0), &query);
		keys_of(&coded, &query, keys);
		ratio += (double) keys[1] / true_key(&coded, row_of(&coded, 1), row_of(&coded, 0)) / 20;
		coded_free(&coded);
	}
	print_message("key by codes / true key: %.3f\n", ratio);
	assert_true(ratio > 0.85 && ratio < 1.15);
}

static void
whatever_the_floats(void **state)
{
	static const float      values[] = {0.0f, -0.0f, 1e-45f, 1e-30f, 1e19f, 3e38f, -3e38f};
	static const IqdbMetric metrics[] = {IQDB_METRIC_L2, IQDB_METRIC_DOT, IQDB_METRIC_COSINE};

	for (size_t m = 0; m < 3; m++)
	{
		Coded          coded;
		IqdbSignsQuery query;
		float          keys[ROWS];

		coded_make(&coded, metrics[m], 40, 1.0f, SEED);
		memset(row_of(&coded, ROWS), 0, 40 * sizeof(float));
		for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		{
			for (size_t d = 0; d < 40; d++)
				row_of(&coded, i)[d] = d % 3 == 0 ? values[i] : -values[i];
		}
		encode_all(&coded);
		for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		{
			iqdb_signs_query(&coded.signs, row_of(&coded, i), norm2_of(&coded, row_of(&coded, i)), coded.planes, &query);
			keys_of(&coded, &query, keys);
			iqdb_signs_query_of_row(&coded.signs, code_of(&coded, i), scalars_of(&coded, i), &query);
			keys_of(&coded, &query, keys);
		}
		/* a zero row has the key 1 with all others */
		iqdb_signs_query(&coded.signs, row_of(&coded, 0), 0.0f, coded.planes, &query);
		keys_of(&coded, &query, keys);
		for (size_t i = 8; metrics[m] == IQDB_METRIC_COSINE && i < ROWS; i++)
			assert_true(fabsf(keys[i] - 1.0f) < 1e-5f);
		coded_free(&coded);
	}
}

/* Which sketches are near enough: whatever the table, those whose bounds say so, those without a bound, and no other. */
static void
near_sketches(void **state)
{
	IqdbSketchQuery query = {.base = 0.5f, .weight = -0.01f, .slack = 90.0f};
	IqdbSketch      sketches[NEAR_ROWS];
	IqdbRng         rng;
	size_t          left_in_all = 0;

	iqdb_rng_seed(&rng, SEED);
	for (size_t i = 0; i < sizeof(query.planes) / sizeof(query.planes[0]); i++)
		query.planes[i] = iqdb_rng_next(&rng);
	for (size_t i = 0; i < NEAR_ROWS; i++)
	{
		float own = (float) iqdb_rng_unit(&rng);

		sketches[i].bits[0] = iqdb_rng_next(&rng);
		sketches[i].bits[1] = iqdb_rng_next(&rng);
		sketches[i].scale = 0.1f * (float) iqdb_rng_unit(&rng);
		memcpy(&sketches[i].own, &own, sizeof(own));
		if (i % 11 == 0)
			iqdb_sketch_clear(&sketches[i]);
	}
	for (size_t count = 0; count <= NEAR_ROWS; count++)
	{
		uint32_t slots[NEAR_ROWS];
		uint32_t expected[NEAR_ROWS];
		size_t   left = 0;

		for (uint32_t i = 0; i < NEAR_ROWS; i++)
		{
			const IqdbSketch *sketch = &sketches[(i * 7 + (uint32_t) count) % NEAR_ROWS];
			uint32_t          slot = (uint32_t) (sketch - sketches);
			int32_t           sum;

			slots[i] = slot;
			expected[i] = slot;
			iqdb_signs_kernels(iqdb_kernels_named("scalar"))->sums(query.planes, IQDB_SIGNS_PLANES,
																   (const unsigned char *) sketches, sizeof(*sketch), &slot, 1,
																   IQDB_SKETCH_WORDS, &sum);
			if (i < count && !(iqdb_sketch_bound(&query, sketch, iqdb_sketch_own(sketch), sum) > 1.0f))
				expected[left++] = slot;
		}
		left_in_all += left;
		for (size_t t = 0; t < sizeof(tables) / sizeof(tables[0]); t++)
		{
			const IqdbKernels *table = iqdb_kernels_named(tables[t]);
			uint32_t           near[NEAR_ROWS];

			memcpy(near, slots, sizeof(near));
			if (table == NULL)
				continue;
			assert_int_equal(iqdb_signs_kernels(table)->near(&query, sketches, 1.0f, near, count), left);
			assert_memory_equal(near, expected, left * sizeof(*near));
			assert_memory_equal(near + count, slots + count, (NEAR_ROWS - count) * sizeof(*near));
		}
	}
	/* some of both kinds */
	assert_in_range(left_in_all, NEAR_ROWS * NEAR_ROWS / 8, NEAR_ROWS * NEAR_ROWS * 3 / 8);
}

/* Rows whose key is less than the sketch says it is at least. */
static size_t
count_undercut(const Coded *coded, float slack)
{
	size_t   width = iqdb_sketch_width(coded->signs.dim);
	float   *flips = malloc(iqdb_rotation_flips(width) * sizeof(float));
	size_t   count = 0;
	uint32_t zero = 0;

	assert_non_null(flips);
	iqdb_rotation_draw(SEED, width, flips);
	for (size_t q = 0; q < ROWS; q++)
	{
		IqdbSigns       signs = coded->signs;
		IqdbSketchQuery query;

		signs.flips = flips;
		iqdb_sketch_query(&signs, width, row_of(coded, q), norm2_of(coded, row_of(coded, q)), slack, &query);
		for (size_t i = 0; i < ROWS; i++)
		{
			IqdbSketch sketch;
			int32_t    sum;

			iqdb_sketch_encode(&signs, width, row_of(coded, i), norm2_of(coded, row_of(coded, i)), &sketch);
			signs.kernels->sums(query.planes, IQDB_SIGNS_PLANES, (const unsigned char *) &sketch, sizeof(sketch), &zero, 1,
								IQDB_SKETCH_WORDS, &sum);
			count += i != q && true_key(coded, row_of(coded, i), row_of(coded, q)) <
								   (double) iqdb_sketch_bound(&query, &sketch, iqdb_sketch_own(&sketch), sum);
		}
	}
	free(flips);
	return count;
}

static void
sketches_bound_keys(void **state)
{
	static const size_t     dims[] = {16, 128, 200, 768};
	static const IqdbMetric metrics[] = {IQDB_METRIC_L2, IQDB_METRIC_DOT, IQDB_METRIC_COSINE};
	size_t                  pairs = (size_t) ROWS * (ROWS - 1);

	for (size_t d = 0; d < sizeof(dims) / sizeof(dims[0]); d++)
	{
		for (size_t m = 0; m < 3; m++)
		{
			Coded  coded;
			size_t none;
			size_t two;
			size_t three;

			coded_make(&coded, metrics[m], dims[d], 0.5f, SEED + d);
			none = count_undercut(&coded, 0.0f);
			two = count_undercut(&coded, 2.0f);
			three = count_undercut(&coded, 3.0f);
			print_message("%zu dimensions, %s: of %zu pairs %zu, %zu, %zu undercut by 0, 2, 3 deviations\n", dims[d],
						  iqdb_metric_name(metrics[m]), pairs, none, two, three);
			/* half of them, and the tail of a normal deviate: 2.3 %, 0.14 % */
			assert_true(none > pairs * 3 / 10 && none < pairs * 7 / 10);
			assert_true(two < pairs * 4 / 100);
			assert_true(three <= pairs / 200);
			coded_free(&coded);
		}
	}
}

static void
sines_are_sines(void **state)
{
	for (int i = -1000; i <= 1000; i++)
		assert_true(fabs((double) iqdb_signs_sine((float) i / 1000.0f) - sin(3.14159265358979 / 2 * i / 1000.0)) < 2e-4);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(widths_fill_cache_lines),
		cmocka_unit_test(every_table_gives_the_same_bits),
		cmocka_unit_test(rotations_of_any_width_keep_lengths),
		cmocka_unit_test(keys_are_near_the_true_ones),
		cmocka_unit_test(near_rows_are_not_nearer_by_their_codes),
		cmocka_unit_test(whatever_the_floats),
		cmocka_unit_test(near_sketches),
		cmocka_unit_test(sketches_bound_keys),
		cmocka_unit_test(sines_are_sines),
	};

	return cmocka_run_group_tests_name("signs", tests, NULL, NULL);
}
