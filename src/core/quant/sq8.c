/*
 * sq8.c - coding rows and queries as bytes; see sq8.h for the formulas.
 *
 * Owns: how floats become bytes. Does not own: dot products of codes (vec/kernels.h). The vector form below gives bit
 * for bit what the plain form gives, so a code does not depend on the machine that made it.
 */
#include "core/quant/sq8.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define SQ8_AVX2 __attribute__((target("avx2")))
#endif

#define CODE_MAX 255.0f
#define SIGN_BIT 0x80

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
range_plain(const float *vector, size_t first, size_t dim, float *low, float *high)
{
	for (size_t i = first; i < dim; i++)
	{
		*low = vector[i] < *low ? vector[i] : *low;
		*high = vector[i] > *high ? vector[i] : *high;
	}
}

/* What is no number, and what overflowed, becomes the largest code. */
static void
code_plain(const float *vector, size_t first, size_t dim, float low, float inverse, uint8_t *code, CodeSums *sums)
{
	for (size_t i = first; i < dim; i++)
	{
		float    value = (vector[i] - low) * inverse + 0.5f;
		uint32_t byte = (uint32_t) (value < CODE_MAX ? value : CODE_MAX);

		code[i] = (uint8_t) byte;
		sums->sum += byte;
		sums->squares += byte * byte;
	}
}

#ifdef SQ8_AVX2

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
range_avx2(const float *vector, size_t dim, float *low, float *high)
{
	__m256 lows = _mm256_set1_ps(*low);
	__m256 highs = _mm256_set1_ps(*high);
	size_t i;

	for (i = 0; i + 8 <= dim; i += 8)
	{
		__m256 part = _mm256_loadu_ps(vector + i);

		lows = _mm256_min_ps(part, lows);
		highs = _mm256_max_ps(part, highs);
	}
	*low = fold_min(lows);
	*high = fold_max(highs);
	range_plain(vector, i, dim, low, high);
}

/* 32-bit lanes of squares hold 16000 / 8 * 255^2 without overflow. */
SQ8_AVX2 static void
code_avx2(const float *vector, size_t dim, float low, float inverse, uint8_t *code, CodeSums *sums)
{
	__m256   lows = _mm256_set1_ps(low);
	__m256   inverses = _mm256_set1_ps(inverse);
	__m256i  sum = _mm256_setzero_si256();
	__m256i  squares = _mm256_setzero_si256();
	uint32_t lanes[16];
	size_t   i;

	for (i = 0; i + 8 <= dim; i += 8)
	{
		__m256 value = _mm256_mul_ps(_mm256_sub_ps(_mm256_loadu_ps(vector + i), lows), inverses);
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
	_mm256_storeu_si256((__m256i *) (void *) (lanes + 8), squares);
	for (int lane = 0; lane < 8; lane++)
	{
		sums->sum += lanes[lane];
		sums->squares += lanes[8 + lane];
	}
	code_plain(vector, i, dim, low, inverse, code, sums);
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
range_of(const float *vector, size_t dim, float *low, float *high)
{
	*low = vector[0];
	*high = vector[0];
#ifdef SQ8_AVX2
	if (__builtin_cpu_supports("avx2"))
	{
		range_avx2(vector, dim, low, high);
		return;
	}
#endif
	range_plain(vector, 0, dim, low, high);
}

static void
code_of(const float *vector, size_t dim, float low, float inverse, uint8_t *code, CodeSums *sums)
{
#ifdef SQ8_AVX2
	if (__builtin_cpu_supports("avx2"))
	{
		code_avx2(vector, dim, low, inverse, code, sums);
		return;
	}
#endif
	code_plain(vector, 0, dim, low, inverse, code, sums);
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

void
iqdb_sq8_encode(IqdbMetric metric, const float *vector, float norm2, size_t dim, uint8_t *code_out,
				IqdbSq8Row *row_out)
{
	CodeSums sums = {0, 0};
	double   length = metric == IQDB_METRIC_COSINE ? sqrt((double) norm2) : 1.0;
	double   factor = length > 0.0 ? 1.0 / length : 0.0;
	double   range;
	double   scale;
	double   centre;
	double   spread;
	float    low;
	float    high;

	range_of(vector, dim, &low, &high);
	range = (double) high - (double) low;
	code_of(vector, dim, low, range > 0.0 ? (float) ((double) CODE_MAX / range) : 0.0f, code_out, &sums);

	scale = range / (double) CODE_MAX;
	centre = (double) sums.sum / (double) dim;
	spread = scale * scale * ((double) sums.squares - centre * (double) sums.sum);
	row_out->scale = (float) (scale * factor);
	row_out->centre = (float) centre;
	row_out->mean = (float) (((double) low + scale * centre) * factor);
	row_out->spread = metric == IQDB_METRIC_L2 && spread > 0.0 ? (float) spread : 0.0f;
}

void
iqdb_sq8_query_of_row(IqdbMetric metric, const uint8_t *code, const IqdbSq8Row *row, size_t dim, int8_t *code_out,
					  IqdbSq8Query *query_out)
{
	turn_sign(code, dim, (uint8_t *) code_out);
	query_out->code = code_out;
	query_out->mean = row->mean;
	query_out->code_sum = (float) (((double) row->centre - SIGN_BIT) * (double) dim);
	if (metric == IQDB_METRIC_L2)
	{
		query_out->base = row->spread;
		query_out->square = (float) dim;
		query_out->linear = 0.0f;
		query_out->scale = -2.0f * row->scale;
	}
	else
	{
		query_out->base = metric == IQDB_METRIC_COSINE ? 1.0f : 0.0f;
		query_out->square = 0.0f;
		query_out->linear = -(float) dim * row->mean;
		query_out->scale = -row->scale;
	}
}

void
iqdb_sq8_query(IqdbMetric metric, const float *vector, float norm2, size_t dim, int8_t *code_out,
			   IqdbSq8Query *query_out)
{
	IqdbSq8Row row;

	iqdb_sq8_encode(metric, vector, norm2, dim, (uint8_t *) code_out, &row);
	iqdb_sq8_query_of_row(metric, (const uint8_t *) code_out, &row, dim, code_out, query_out);
}
