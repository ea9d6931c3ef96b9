/*
 * ivf_kernels.c - inner loops over codes: plain C, AVX2, AVX-512.
 *
 * Owns: sums of nibble codes over blocks of 32 rows, the step from sums to keys, and the coding of floats as bytes. Does
 * not own: sums of byte codes (quant/packed.c). All forms give the same results bit for bit: sums are whole numbers,
 * floats are multiplied and added one by one in the same order.
 *
 * Nibble codes: 32 bytes, one per row, hold two four-bit codes each, for tables of 16 bytes that fit a register.
 *
 * A writer may append to a block while it is scanned: rows behind the published count are then half written, their lanes
 * come out as some number, and callers drop them. Hence no_sanitize_thread here, and nowhere else.
 */
#include "core/ivf/ivf_kernels_private.h"

#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define KERNELS_X86 1
#define AVX2 __attribute__((target("avx2")))
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))
#endif

#define SCANS_BLOCKS __attribute__((no_sanitize_thread))

#define PAIR_BYTES 32u
#define TABLE_BYTES 16u

/* Pairs of nibbles whose sums fit 16 bits: 2 * 255 * 128 < 65536. */
#define PAIRS_MAX 128u

/* ---- plain ---- */

SCANS_BLOCKS static void
nibbles_plain(const uint8_t *codes, size_t pairs, const uint8_t *tables, int32_t *sums_out)
{
	memset(sums_out, 0, IQDBI_BLOCK_ROWS * sizeof(*sums_out));
	for (size_t pair = 0; pair < pairs; pair++, codes += PAIR_BYTES, tables += 2 * TABLE_BYTES)
	{
		for (size_t row = 0; row < IQDBI_BLOCK_ROWS; row++)
			sums_out[row] += tables[codes[row] & 15] + tables[TABLE_BYTES + (codes[row] >> 4)];
	}
}

SCANS_BLOCKS static uint32_t
finish_plain(const int32_t *sums, const float *scales, const float *offsets, const IqdbiLine *line, float limit,
			 float *keys_out)
{
	uint32_t near = 0;

	for (uint32_t row = 0; row < IQDBI_BLOCK_ROWS; row++)
	{
		float key = line->weight * (float) sums[row] + line->shift;

		if (scales != NULL)
			key = scales[row] * key;
		key = (offsets != NULL ? offsets[row] + line->base : line->base) + key;
		keys_out[row] = key;
		near |= (uint32_t) (key <= limit) << row;
	}
	return near;
}

SCANS_BLOCKS static void
widen_plain(const uint16_t *halves, float *out)
{
	for (uint32_t row = 0; row < IQDBI_BLOCK_ROWS; row++)
	{
		uint32_t bits = (uint32_t) halves[row] << 16;

		memcpy(&out[row], &bits, sizeof(bits));
	}
}

static float
residual_plain(const float *a, float factor, const float *b, size_t dim, float *out)
{
	float largest = 0.0f;

	for (size_t i = 0; i < dim; i++)
	{
		float difference = a[i] * factor - (b != NULL ? b[i] : 0.0f);
		float magnitude = fabsf(difference);

		out[i] = difference;
		largest = magnitude > largest ? magnitude : largest;
	}
	return largest;
}

static void
round_plain(const float *in, size_t dim, float inverse, int32_t plus, uint8_t *out, int32_t *sum_out,
			int32_t *squares_out)
{
	int32_t sum = 0;
	int32_t squares = 0;

	for (size_t i = 0; i < dim; i++)
	{
		int32_t value = (int32_t) lrintf(in[i] * inverse);

		sum += value;
		squares += value * value;
		out[i] = (uint8_t) (value + plus);
	}
	*sum_out = sum;
	*squares_out = squares;
}

static const IqdbiIvfKernels kernels_plain = {
	.nibbles = nibbles_plain,
	.finish = finish_plain,
	.widen = widen_plain,
	.residual = residual_plain,
	.round = round_plain,
};

#ifdef KERNELS_X86

/* ---- AVX2 ---- */

/*
 * Sixteen-bit lanes hold two rows' bytes: `both` adds them as they lie, `odd` the upper ones alone. What the upper ones
 * did to the lower is taken away at the end.
 */
AVX2 static inline void
add_looked_up(__m256i *both, __m256i *odd, __m256i values)
{
	*both = _mm256_add_epi16(*both, values);
	*odd = _mm256_add_epi16(*odd, _mm256_srli_epi16(values, 8));
}

AVX2 static inline void
add_to_sums(__m256i both, __m256i odd, int32_t *sums)
{
	uint16_t lanes[2][16];

	_mm256_storeu_si256((__m256i *) (void *) lanes[0], _mm256_sub_epi16(both, _mm256_slli_epi16(odd, 8)));
	_mm256_storeu_si256((__m256i *) (void *) lanes[1], odd);
	for (int i = 0; i < 16; i++)
	{
		sums[2 * i] += lanes[0][i];
		sums[2 * i + 1] += lanes[1][i];
	}
}

AVX2 SCANS_BLOCKS static void
nibbles_avx2(const uint8_t *codes, size_t pairs, const uint8_t *tables, int32_t *sums_out)
{
	__m256i mask = _mm256_set1_epi8(15);

	memset(sums_out, 0, IQDBI_BLOCK_ROWS * sizeof(*sums_out));
	while (pairs > 0)
	{
		size_t  count = pairs < PAIRS_MAX ? pairs : PAIRS_MAX;
		__m256i both = _mm256_setzero_si256();
		__m256i odd = _mm256_setzero_si256();

		for (size_t pair = 0; pair < count; pair++, codes += PAIR_BYTES, tables += 2 * TABLE_BYTES)
		{
			__m256i code = _mm256_loadu_si256((const __m256i *) (const void *) codes);
			__m256i table = _mm256_loadu_si256((const __m256i *) (const void *) tables);
			__m256i low = _mm256_permute2x128_si256(table, table, 0x00);
			__m256i high = _mm256_permute2x128_si256(table, table, 0x11);

			add_looked_up(&both, &odd, _mm256_shuffle_epi8(low, _mm256_and_si256(code, mask)));
			add_looked_up(&both, &odd,
						  _mm256_shuffle_epi8(high, _mm256_and_si256(_mm256_srli_epi16(code, 4), mask)));
		}
		add_to_sums(both, odd, sums_out);
		pairs -= count;
	}
}

AVX2 SCANS_BLOCKS static uint32_t
finish_avx2(const int32_t *sums, const float *scales, const float *offsets, const IqdbiLine *line, float limit,
			float *keys_out)
{
	__m256   base = _mm256_set1_ps(line->base);
	__m256   limits = _mm256_set1_ps(limit);
	uint32_t near = 0;

	for (uint32_t row = 0; row < IQDBI_BLOCK_ROWS; row += 8)
	{
		__m256 key = _mm256_cvtepi32_ps(_mm256_loadu_si256((const __m256i *) (const void *) (sums + row)));

		key = _mm256_add_ps(_mm256_mul_ps(_mm256_set1_ps(line->weight), key), _mm256_set1_ps(line->shift));
		if (scales != NULL)
			key = _mm256_mul_ps(_mm256_loadu_ps(scales + row), key);
		key = _mm256_add_ps(offsets != NULL ? _mm256_add_ps(_mm256_loadu_ps(offsets + row), base) : base, key);
		_mm256_storeu_ps(keys_out + row, key);
		near |= (uint32_t) _mm256_movemask_ps(_mm256_cmp_ps(key, limits, _CMP_LE_OQ)) << row;
	}
	return near;
}

AVX2 SCANS_BLOCKS static void
widen_avx2(const uint16_t *halves, float *out)
{
	for (uint32_t row = 0; row < IQDBI_BLOCK_ROWS; row += 8)
	{
		__m128i eight = _mm_loadu_si128((const __m128i *) (const void *) (halves + row));

		_mm256_storeu_si256((__m256i *) (void *) (out + row), _mm256_slli_epi32(_mm256_cvtepu16_epi32(eight), 16));
	}
}

AVX2 static float
residual_avx2(const float *a, float factor, const float *b, size_t dim, float *out)
{
	__m256 factors = _mm256_set1_ps(factor);
	__m256 no_sign = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
	__m256 largest = _mm256_setzero_ps();
	float  lanes[8];
	float  tail;
	size_t i;

	for (i = 0; i + 8 <= dim; i += 8)
	{
		__m256 difference = _mm256_mul_ps(_mm256_loadu_ps(a + i), factors);

		difference = _mm256_sub_ps(difference, b != NULL ? _mm256_loadu_ps(b + i) : _mm256_setzero_ps());
		_mm256_storeu_ps(out + i, difference);
		largest = _mm256_max_ps(_mm256_and_ps(difference, no_sign), largest);
	}
	_mm256_storeu_ps(lanes, largest);
	tail = residual_plain(a + i, factor, b != NULL ? b + i : NULL, dim - i, out + i);
	for (int lane = 0; lane < 8; lane++)
		tail = lanes[lane] > tail ? lanes[lane] : tail;
	return tail;
}

AVX2 static int32_t
add_lanes(__m256i lanes)
{
	__m128i four = _mm_add_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256(lanes, 1));

	four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
	four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1));
	return _mm_cvtsi128_si32(four);
}

AVX2 static void
round_avx2(const float *in, size_t dim, float inverse, int32_t plus, uint8_t *out, int32_t *sum_out,
		   int32_t *squares_out)
{
	__m256i sum = _mm256_setzero_si256();
	__m256i squares = _mm256_setzero_si256();
	size_t  i;

	for (i = 0; i + 8 <= dim; i += 8)
	{
		__m256i value = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(in + i), _mm256_set1_ps(inverse)));
		__m128i words;

		sum = _mm256_add_epi32(sum, value);
		squares = _mm256_add_epi32(squares, _mm256_mullo_epi32(value, value));
		value = _mm256_and_si256(_mm256_add_epi32(value, _mm256_set1_epi32(plus)), _mm256_set1_epi32(0xff));
		words = _mm_packus_epi32(_mm256_castsi256_si128(value), _mm256_extracti128_si256(value, 1));
		_mm_storel_epi64((__m128i *) (void *) (out + i), _mm_packus_epi16(words, words));
	}
	round_plain(in + i, dim - i, inverse, plus, out + i, sum_out, squares_out);
	*sum_out += add_lanes(sum);
	*squares_out += add_lanes(squares);
}

static const IqdbiIvfKernels kernels_avx2 = {
	.nibbles = nibbles_avx2,
	.finish = finish_avx2,
	.widen = widen_avx2,
	.residual = residual_avx2,
	.round = round_avx2,
};

/* ---- AVX-512 ---- */

/* Two pairs side by side: the halves of the vectors belong to one pair each. */
AVX512 SCANS_BLOCKS static void
nibbles_avx512(const uint8_t *codes, size_t pairs, const uint8_t *tables, int32_t *sums_out)
{
	__m512i mask = _mm512_set1_epi8(15);

	memset(sums_out, 0, IQDBI_BLOCK_ROWS * sizeof(*sums_out));
	while (pairs > 0)
	{
		size_t  count = pairs < PAIRS_MAX ? pairs : PAIRS_MAX;
		__m512i both = _mm512_setzero_si512();
		__m512i odd = _mm512_setzero_si512();
		size_t  pair;

		for (pair = 0; pair < count; pair += 2, codes += 2 * PAIR_BYTES, tables += 4 * TABLE_BYTES)
		{
			/* the last pair of an odd number stands alone: the other half is not there */
			__mmask8 present = pair + 2 <= count ? 0xff : 0x0f;
			__m512i  code = _mm512_maskz_loadu_epi64(present, codes);
			__m512i  table = _mm512_maskz_loadu_epi64(present, tables);
			__m512i  low = _mm512_shuffle_epi8(_mm512_shuffle_i32x4(table, table, 0xa0), _mm512_and_si512(code, mask));
			__m512i  high = _mm512_shuffle_epi8(_mm512_shuffle_i32x4(table, table, 0xf5),
												_mm512_and_si512(_mm512_srli_epi16(code, 4), mask));

			both = _mm512_add_epi16(both, _mm512_add_epi16(low, high));
			odd = _mm512_add_epi16(odd, _mm512_add_epi16(_mm512_srli_epi16(low, 8), _mm512_srli_epi16(high, 8)));
		}
		both = _mm512_sub_epi16(both, _mm512_slli_epi16(odd, 8));
		for (int half = 0; half < 2; half++)
		{
			__m256i even_rows = half == 0 ? _mm512_castsi512_si256(both) : _mm512_extracti64x4_epi64(both, 1);
			__m256i odd_rows = half == 0 ? _mm512_castsi512_si256(odd) : _mm512_extracti64x4_epi64(odd, 1);
			__m256i first = _mm256_unpacklo_epi16(even_rows, odd_rows); /* rows 0..7 and 16..23 */
			__m256i second = _mm256_unpackhi_epi16(even_rows, odd_rows);
			__m512i rows0 = _mm512_cvtepu16_epi32(_mm256_permute2x128_si256(first, second, 0x20));
			__m512i rows16 = _mm512_cvtepu16_epi32(_mm256_permute2x128_si256(first, second, 0x31));

			_mm512_storeu_si512(sums_out, _mm512_add_epi32(_mm512_loadu_si512(sums_out), rows0));
			_mm512_storeu_si512(sums_out + 16, _mm512_add_epi32(_mm512_loadu_si512(sums_out + 16), rows16));
		}
		pairs -= count;
	}
}

AVX512 SCANS_BLOCKS static uint32_t
finish_avx512(const int32_t *sums, const float *scales, const float *offsets, const IqdbiLine *line, float limit,
			  float *keys_out)
{
	__m512   base = _mm512_set1_ps(line->base);
	__m512   limits = _mm512_set1_ps(limit);
	uint32_t near = 0;

	for (uint32_t row = 0; row < IQDBI_BLOCK_ROWS; row += 16)
	{
		__m512 key = _mm512_cvtepi32_ps(_mm512_loadu_si512(sums + row));

		key = _mm512_add_ps(_mm512_mul_ps(_mm512_set1_ps(line->weight), key), _mm512_set1_ps(line->shift));
		if (scales != NULL)
			key = _mm512_mul_ps(_mm512_loadu_ps(scales + row), key);
		key = _mm512_add_ps(offsets != NULL ? _mm512_add_ps(_mm512_loadu_ps(offsets + row), base) : base, key);
		_mm512_storeu_ps(keys_out + row, key);
		near |= (uint32_t) _mm512_cmp_ps_mask(key, limits, _CMP_LE_OQ) << row;
	}
	return near;
}

AVX512 SCANS_BLOCKS static void
widen_avx512(const uint16_t *halves, float *out)
{
	for (uint32_t row = 0; row < IQDBI_BLOCK_ROWS; row += 16)
	{
		__m256i sixteen = _mm256_loadu_si256((const __m256i *) (const void *) (halves + row));

		_mm512_storeu_si512(out + row, _mm512_slli_epi32(_mm512_cvtepu16_epi32(sixteen), 16));
	}
}

AVX512 static float
residual_avx512(const float *a, float factor, const float *b, size_t dim, float *out)
{
	__m512 factors = _mm512_set1_ps(factor);
	__m512 largest = _mm512_setzero_ps();

	for (size_t i = 0; i < dim; i += 16)
	{
		__mmask16 present = dim - i >= 16 ? (__mmask16) 0xffff : (__mmask16) ((1u << (dim - i)) - 1);
		__m512    difference = _mm512_mul_ps(_mm512_maskz_loadu_ps(present, a + i), factors);

		if (b != NULL)
			difference = _mm512_sub_ps(difference, _mm512_maskz_loadu_ps(present, b + i));
		else
			difference = _mm512_sub_ps(difference, _mm512_setzero_ps());
		_mm512_mask_storeu_ps(out + i, present, difference);
		largest = _mm512_mask_max_ps(largest, present, _mm512_abs_ps(difference), largest);
	}
	return _mm512_reduce_max_ps(largest);
}

AVX512 static void
round_avx512(const float *in, size_t dim, float inverse, int32_t plus, uint8_t *out, int32_t *sum_out,
			 int32_t *squares_out)
{
	__m512i sum = _mm512_setzero_si512();
	__m512i squares = _mm512_setzero_si512();

	for (size_t i = 0; i < dim; i += 16)
	{
		__mmask16 present = dim - i >= 16 ? (__mmask16) 0xffff : (__mmask16) ((1u << (dim - i)) - 1);
		__m512i   value = _mm512_cvtps_epi32(
			  _mm512_mul_ps(_mm512_maskz_loadu_ps(present, in + i), _mm512_maskz_mov_ps(present, _mm512_set1_ps(inverse))));

		sum = _mm512_add_epi32(sum, value);
		squares = _mm512_add_epi32(squares, _mm512_mullo_epi32(value, value));
		_mm512_mask_cvtepi32_storeu_epi8(out + i, present, _mm512_add_epi32(value, _mm512_set1_epi32(plus)));
	}
	*sum_out = _mm512_reduce_add_epi32(sum);
	*squares_out = _mm512_reduce_add_epi32(squares);
}

static const IqdbiIvfKernels kernels_avx512 = {
	.nibbles = nibbles_avx512,
	.finish = finish_avx512,
	.widen = widen_avx512,
	.residual = residual_avx512,
	.round = round_avx512,
};

#endif

const IqdbiIvfKernels *
iqdbi_ivf_kernels(const IqdbKernels *kernels)
{
#ifdef KERNELS_X86
	if (strcmp(kernels->name, "avx512") == 0)
		return &kernels_avx512;
	if (strcmp(kernels->name, "avx2") == 0 || strcmp(kernels->name, "avx512bw") == 0)
		return &kernels_avx2;
#else
	(void) kernels;
#endif
	return &kernels_plain;
}
