/*
 * sq8.c - coding rows and queries as bytes; see sq8.h for the formulas.
 *
 * Owns: how floats become bytes. Does not own: dot products of codes (vec/kernels.h). The vector form below gives bit for bit
 * what the plain form gives, so a code does not depend on the machine that made it.
 */
#include "core/quant/sq8.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define SQ8_AVX2 __attribute__((target("avx2")))
#endif

#define CODE_MAX 255.0f
#define SIGN_BIT 0x80
#define LANES 8

/* A row on its way to bytes: x' = vector * factor - centre, component by component. */
typedef struct Shifted
{
	const float *vector;
	const float *centre;
	float        factor;
	size_t       dim;
} Shifted;

/* Smallest and largest x'; then what the codes 0 and 255 stand for. */
typedef struct Range
{
	float low;
	float high;
} Range;

typedef struct CodeSums
{
	uint64_t sum;     /* of the bytes */
	uint64_t squares; /* of their squares */
} CodeSums;

bool
iqdb_sq8_possible(IqdbMetric metric)
{
	return metric == IQDB_METRIC_L2 || metric == IQDB_METRIC_DOT || metric == IQDB_METRIC_COSINE;
}

static void
range_plain(const Shifted *row, size_t first, Range *range)
{
	for (size_t i = first; i < row->dim; i++)
	{
		float value = row->vector[i] * row->factor - row->centre[i];

		range->low = value < range->low ? value : range->low;
		range->high = value > range->high ? value : range->high;
	}
}

/* What is no number, and what overflowed, becomes the largest code. */
static void
code_plain(const Shifted *row, size_t first, float low, float inverse, uint8_t *code, CodeSums *sums)
{
	for (size_t i = first; i < row->dim; i++)
	{
		float    value = ((row->vector[i] * row->factor - row->centre[i]) - low) * inverse + 0.5f;
		uint32_t byte = (uint32_t) (value < CODE_MAX ? value : CODE_MAX);

		code[i] = (uint8_t) byte;
		sums->sum += byte;
		sums->squares += byte * byte;
	}
}

#ifdef SQ8_AVX2

SQ8_AVX2 static inline __m256
shifted_avx2(const Shifted *row, size_t i)
{
	return _mm256_sub_ps(_mm256_mul_ps(_mm256_loadu_ps(row->vector + i), _mm256_set1_ps(row->factor)),
						 _mm256_loadu_ps(row->centre + i));
}

SQ8_AVX2 static float
fold_min(__m256 lanes)
{
	__m128 four = _mm_min_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps(lanes, 1));

	four = _mm_min_ps(four, _mm_permute_ps(four, 0x4e));
	four = _mm_min_ps(four, _mm_permute_ps(four, 0xb1));
	return _mm_cvtss_f32(four);
}

SQ8_AVX2 static float
fold_max(__m256 lanes)
{
	__m128 four = _mm_max_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps(lanes, 1));

	four = _mm_max_ps(four, _mm_permute_ps(four, 0x4e));
	four = _mm_max_ps(four, _mm_permute_ps(four, 0xb1));
	return _mm_cvtss_f32(four);
}

SQ8_AVX2 static void
range_avx2(const Shifted *row, Range *range)
{
	__m256 lows = _mm256_set1_ps(range->low);
	__m256 highs = _mm256_set1_ps(range->high);
	size_t i;

	for (i = 0; i + LANES <= row->dim; i += LANES)
	{
		__m256 part = shifted_avx2(row, i);

		lows = _mm256_min_ps(part, lows);
		highs = _mm256_max_ps(part, highs);
	}
	range->low = fold_min(lows);
	range->high = fold_max(highs);
	range_plain(row, i, range);
}

/* 32-bit lanes of squares hold 16000 / 8 * 255^2 without overflow. */
SQ8_AVX2 static void
code_avx2(const Shifted *row, float low, float inverse, uint8_t *code, CodeSums *sums)
{
	__m256   lows = _mm256_set1_ps(low);
	__m256   inverses = _mm256_set1_ps(inverse);
	__m256i  sum = _mm256_setzero_si256();
	__m256i  squares = _mm256_setzero_si256();
	uint32_t lanes[2 * LANES];
	size_t   i;

	for (i = 0; i + LANES <= row->dim; i += LANES)
	{
		__m256 value = _mm256_mul_ps(_mm256_sub_ps(shifted_avx2(row, i), lows), inverses);
		__m256i bytes;
		__m128i words;

		value = _mm256_min_ps(_mm256_add_ps(value, _mm256_set1_ps(0.5f)), _mm256_set1_ps(CODE_MAX));
		bytes = _mm256_cvttps_epi32(value);
		sum = _mm256_add_epi32(sum, bytes);
		squares = _mm256_add_epi32(squares, _mm256_mullo_epi32(bytes, bytes));
		words = _mm_packus_epi32(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256(bytes, 1));
		_mm_storel_epi64((__m128i *) (void *) (code + i), _mm_packus_epi16(words, words));
	}
	_mm256_storeu_si256((__m256i *) (void *) lanes, sum);
	_mm256_storeu_si256((__m256i *) (void *) (lanes + LANES), squares);
	for (int lane = 0; lane < LANES; lane++)
	{
		sums->sum += lanes[lane];
		sums->squares += lanes[LANES + lane];
	}
	code_plain(row, i, low, inverse, code, sums);
}

SQ8_AVX2 static size_t
turn_avx2(const uint8_t *code, size_t dim, uint8_t *turned)
{
	__m256i sign = _mm256_set1_epi8((char) SIGN_BIT);
	size_t  i;

	for (i = 0; i + 32 <= dim; i += 32)
	{
		__m256i part = _mm256_loadu_si256((const __m256i *) (const void *) (code + i));

		_mm256_storeu_si256((__m256i *) (void *) (turned + i), _mm256_xor_si256(part, sign));
	}
	return i;
}

#endif

static void
range_of(const Shifted *row, Range *range)
{
	range->low = row->vector[0] * row->factor - row->centre[0];
	range->high = range->low;
#ifdef SQ8_AVX2
	if (__builtin_cpu_supports("avx2"))
	{
		range_avx2(row, range);
		return;
	}
#endif
	range_plain(row, 0, range);
}

static void
code_of(const Shifted *row, float low, float inverse, uint8_t *code, CodeSums *sums)
{
#ifdef SQ8_AVX2
	if (__builtin_cpu_supports("avx2"))
	{
		code_avx2(row, low, inverse, code, sums);
		return;
	}
#endif
	code_plain(row, 0, low, inverse, code, sums);
}

/* c - 128 as a signed byte is c with its highest bit turned over. The two may be the same array. */
static void
turn_sign(const uint8_t *code, size_t dim, uint8_t *turned)
{
	size_t i = 0;

#ifdef SQ8_AVX2
	if (__builtin_cpu_supports("avx2"))
		i = turn_avx2(code, dim, turned);
#endif
	for (; i < dim; i++)
		turned[i] = code[i] ^ SIGN_BIT;
}

/*
 * Where zero lies within the range, a byte stands for exactly zero: rows of which most components are the centre's (those
 * of sparse data are) would else all be off by the same fraction of a step in so many components, which a query that
 * differs there adds up. Returns the width of a step.
 */
static double
steps_of(Range *range)
{
	double width = (double) range->high - (double) range->low;
	double step = width / ((double) CODE_MAX - 1.0);

	if (!(range->low < 0.0f && range->high > 0.0f) || !isfinite(width))
		return width / (double) CODE_MAX;
	range->low = (float) (-ceil(-(double) range->low / step) * step);
	return step;
}

/* dot(x', centre), in lanes so that it does not depend on the compiler's taste. */
static double
along_centre(const Shifted *row)
{
	float  lanes[LANES] = {0};
	double sum = 0.0;

	for (size_t i = 0; i < row->dim; i++)
		lanes[i % LANES] += (row->vector[i] * row->factor - row->centre[i]) * row->centre[i];
	for (int lane = 0; lane < LANES; lane++)
		sum += (double) lanes[lane];
	return sum;
}

void
iqdb_sq8_encode(IqdbMetric metric, const float *centre, const float *vector, float norm2, size_t dim, uint8_t *code_out,
				IqdbSq8Row *row_out)
{
	double   length = metric == IQDB_METRIC_COSINE ? sqrt((double) norm2) : 1.0;
	Shifted  row = {vector, centre, length > 0.0 ? (float) (1.0 / length) : 0.0f, dim};
	CodeSums sums = {0, 0};
	Range    range;
	double   scale;
	double   middle;
	double   own;

	range_of(&row, &range);
	scale = steps_of(&range);
	code_of(&row, range.low, scale > 0.0 ? (float) (1.0 / scale) : 0.0f, code_out, &sums);

	middle = (double) sums.sum / (double) dim;
	if (metric == IQDB_METRIC_DOT)
		own = -along_centre(&row);
	else
		own = scale * scale * ((double) sums.squares - middle * (double) sums.sum);
	if (metric == IQDB_METRIC_COSINE)
		own = 0.5 * own + (length > 0.0 ? 0.0 : 0.5);
	row_out->scale = (float) scale;
	row_out->middle = (float) middle;
	row_out->mean = (float) ((double) range.low + scale * middle);
	row_out->own = (float) own;
}

void
iqdb_sq8_query_of_row(IqdbMetric metric, const uint8_t *code, const IqdbSq8Row *row, size_t dim, int8_t *code_out,
					  IqdbSq8Query *query_out)
{
	turn_sign(code, dim, (uint8_t *) code_out);
	query_out->code = code_out;
	query_out->base = row->own;
	query_out->mean = row->mean;
	query_out->square = 0.0f;
	query_out->linear = 0.0f;
	query_out->scale = -row->scale;
	query_out->code_sum = (float) (((double) row->middle - SIGN_BIT) * (double) dim);
	if (metric == IQDB_METRIC_DOT)
		query_out->linear = -(float) dim * row->mean;
	else
		query_out->square = metric == IQDB_METRIC_L2 ? (float) dim : 0.5f * (float) dim;
	if (metric == IQDB_METRIC_L2)
		query_out->scale = -2.0f * row->scale;
}

void
iqdb_sq8_query(IqdbMetric metric, const float *centre, const float *vector, float norm2, size_t dim, int8_t *code_out,
			   IqdbSq8Query *query_out)
{
	IqdbSq8Row row;

	iqdb_sq8_encode(metric, centre, vector, norm2, dim, (uint8_t *) code_out, &row);
	iqdb_sq8_query_of_row(metric, (const uint8_t *) code_out, &row, dim, code_out, query_out);
}
