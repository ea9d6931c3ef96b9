/*
 * kernels_bit.c - kernels of bit strings, for every instruction set.
 *
 * Two sums are all there are: bits that both have, and bits that differ. They are counts, exact in a float, so that the
 * forms and the tables agree whatever the order of adding is. Bits behind the last component are zero in every vector
 * (iqdb_element_check), so whole bytes are counted.
 *
 * What counts fastest depends on the processor: an instruction for lanes of a vector (CNT of NEON, VPOPCNTQ of AVX-512), or
 * two look-ups a byte in a table of sixteen that lies in a register (AVX2): from 256 bits on less than half the time of the
 * instruction for words (POPCNT), which counts what is left at the end. Nothing of this is shared with the kernels of
 * numbers, so all instruction sets are here, beside each other.
 */
#include "core/vec/kernels_private.h"

/* no attribute: what the compiler was told to compile for */
#define TARGET

static void
bit_widen(const void *row, size_t dim, float *out)
{
	const unsigned char *bytes = row;

	for (size_t i = 0; i < dim; i++)
		out[i] = (float) (bytes[i / 8] >> (7 - i % 8) & 1);
}

/*
 * Defines the table `table` from E_sum_pair(sum, stream, query, row, dim) and
 * E_sum_group(sum, fetch, query, rows, next, dim, out). Of components that are 0 or 1, L2 and L1 add up what Hamming
 * counts.
 */
#define DEFINE_BITS(target, E, table) \
	IQDBI_DEFINE_SUM(target, E, dot, IQDB_SUM_DOT, bit_row_bytes) \
	IQDBI_DEFINE_SUM(target, E, hamming, IQDB_SUM_HAMMING, bit_row_bytes) \
\
	target static float \
	norm2_##E(const void *row, size_t dim) \
	{ \
		return E##_sum_pair(IQDB_SUM_DOT, false, row, row, dim); \
	} \
\
	const IqdbElementKernels table = { \
		.sums = { \
			[IQDB_SUM_DOT] = IQDBI_SUM_ENTRY(E, dot), \
			[IQDB_SUM_L2] = IQDBI_SUM_ENTRY(E, hamming), \
			[IQDB_SUM_L1] = IQDBI_SUM_ENTRY(E, hamming), \
			[IQDB_SUM_HAMMING] = IQDBI_SUM_ENTRY(E, hamming) \
		}, \
		.norm2 = norm2_##E, \
		.widen = bit_widen, \
	};

/* ---- words ---- */

/* Bits that both have, or that differ, of the `size` bytes at i; at most 8. */
IQDBI_INLINE uint32_t
count_piece(const IqdbSum sum, const unsigned char *query, const unsigned char *row, size_t i, const size_t size)
{
	uint64_t a = 0;
	uint64_t b = 0;

	memcpy(&a, query + i, size);
	memcpy(&b, row + i, size);
	return (uint32_t) __builtin_popcountll(sum == IQDB_SUM_DOT ? a & b : a ^ b);
}

/* The same of the bytes from i up to the last one. */
IQDBI_INLINE uint32_t
count_words(const IqdbSum sum, const bool stream, const unsigned char *query, const unsigned char *row, size_t i, size_t bytes)
{
	uint32_t count = 0;

	for (; i + 8 <= bytes; i += 8)
	{
		if (stream)
			iqdbi_prefetch_stream(row, i);
		count += count_piece(sum, query, row, i, 8);
	}
	if (i + 4 <= bytes)
	{
		count += count_piece(sum, query, row, i, 4);
		i += 4;
	}
	if (i + 2 <= bytes)
	{
		count += count_piece(sum, query, row, i, 2);
		i += 2;
	}
	return i < bytes ? count + count_piece(sum, query, row, i, 1) : count;
}

IQDBI_INLINE float
word_sum_pair(const IqdbSum sum, const bool stream, const void *query, const void *row, size_t dim)
{
	return (float) count_words(sum, stream, query, row, 0, bit_row_bytes(dim));
}

IQDBI_INLINE void
word_sum_group(const IqdbSum sum, const bool fetch, const void *query, IqdbiRows rows, IqdbiRows next, size_t dim, float *out)
{
	if (fetch)
		iqdbi_prefetch_rest(next, 0, bit_row_bytes(dim));
	out[0] = word_sum_pair(sum, false, query, rows.r0, dim);
	out[1] = word_sum_pair(sum, false, query, rows.r1, dim);
	out[2] = word_sum_pair(sum, false, query, rows.r2, dim);
	out[3] = word_sum_pair(sum, false, query, rows.r3, dim);
}

DEFINE_BITS(TARGET, word, iqdbi_bit_scalar)

#ifdef IQDBI_HAVE_X86

#include <immintrin.h>

/* ---- AVX2 ---- */

#define TARGET_AVX2 __attribute__((target("avx2,popcnt")))
#define AVX2_BYTES 32

/* The counts of 32 bytes, added up to four. */
TARGET_AVX2 IQDBI_INLINE __m256i
avx2_count(const IqdbSum sum, __m256i a, __m256i b)
{
	__m256i bits = sum == IQDB_SUM_DOT ? _mm256_and_si256(a, b) : _mm256_xor_si256(a, b);
	__m256i nibble = _mm256_set1_epi8(0x0f);
	__m256i counts = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4,
									  0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
	__m256i low = _mm256_shuffle_epi8(counts, _mm256_and_si256(bits, nibble));
	__m256i high = _mm256_shuffle_epi8(counts, _mm256_and_si256(_mm256_srli_epi16(bits, 4), nibble));

	return _mm256_sad_epu8(_mm256_add_epi8(low, high), _mm256_setzero_si256());
}

TARGET_AVX2 IQDBI_INLINE __m256i
avx2_load(const void *bytes, size_t i)
{
	return _mm256_loadu_si256((const void *) ((const char *) bytes + i));
}

TARGET_AVX2 IQDBI_INLINE float
avx2_sum_pair(const IqdbSum sum, const bool stream, const void *query, const void *row, size_t dim)
{
	size_t  bytes = bit_row_bytes(dim);
	__m256i acc = _mm256_setzero_si256();
	__m128i all;
	size_t  i;

	for (i = 0; i + AVX2_BYTES <= bytes; i += AVX2_BYTES)
	{
		if (stream)
			iqdbi_prefetch_stream(row, i);
		acc = _mm256_add_epi64(acc, avx2_count(sum, avx2_load(query, i), avx2_load(row, i)));
	}
	all = _mm_add_epi64(_mm256_castsi256_si128(acc), _mm256_extracti128_si256(acc, 1));
	all = _mm_add_epi64(all, _mm_unpackhi_epi64(all, all));
	return (float) ((uint32_t) _mm_cvtsi128_si32(all) + count_words(sum, false, query, row, i, bytes));
}

TARGET_AVX2 IQDBI_INLINE void
avx2_sum_group(const IqdbSum sum, const bool fetch, const void *query, IqdbiRows rows, IqdbiRows next, size_t dim, float *out)
{
	size_t  bytes = bit_row_bytes(dim);
	__m256i acc0 = _mm256_setzero_si256();
	__m256i acc1 = _mm256_setzero_si256();
	__m256i acc2 = _mm256_setzero_si256();
	__m256i acc3 = _mm256_setzero_si256();
	__m256  whole;
	__m128i all;
	size_t  i;

	if (fetch)
		iqdbi_prefetch_rest(next, 0, bytes);
	for (i = 0; i + AVX2_BYTES <= bytes; i += AVX2_BYTES)
	{
		__m256i part = avx2_load(query, i);

		acc0 = _mm256_add_epi64(acc0, avx2_count(sum, part, avx2_load(rows.r0, i)));
		acc1 = _mm256_add_epi64(acc1, avx2_count(sum, part, avx2_load(rows.r1, i)));
		acc2 = _mm256_add_epi64(acc2, avx2_count(sum, part, avx2_load(rows.r2, i)));
		acc3 = _mm256_add_epi64(acc3, avx2_count(sum, part, avx2_load(rows.r3, i)));
	}
	acc0 = _mm256_add_epi64(_mm256_unpacklo_epi64(acc0, acc1), _mm256_unpackhi_epi64(acc0, acc1));
	acc2 = _mm256_add_epi64(_mm256_unpacklo_epi64(acc2, acc3), _mm256_unpackhi_epi64(acc2, acc3));
	/* the lower words of rows 0 to 3, in each half */
	whole = _mm256_shuffle_ps(_mm256_castsi256_ps(acc0), _mm256_castsi256_ps(acc2), 0x88);
	all = _mm_add_epi32(_mm_castps_si128(_mm256_castps256_ps128(whole)), _mm_castps_si128(_mm256_extractf128_ps(whole, 1)));
	if (i < bytes)
		all = _mm_add_epi32(all, _mm_setr_epi32((int) count_words(sum, false, query, rows.r0, i, bytes),
												(int) count_words(sum, false, query, rows.r1, i, bytes),
												(int) count_words(sum, false, query, rows.r2, i, bytes),
												(int) count_words(sum, false, query, rows.r3, i, bytes)));
	_mm_storeu_ps(out, _mm_cvtepi32_ps(all));
}

DEFINE_BITS(TARGET_AVX2, avx2, iqdbi_bit_avx2)

/* ---- AVX-512 with VPOPCNTDQ ---- */

#define TARGET_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vpopcntdq")))
#define AVX512_BYTES 64

TARGET_AVX512 IQDBI_INLINE __m512i
avx512_count(const IqdbSum sum, __m512i a, __m512i b)
{
	return _mm512_popcnt_epi64(sum == IQDB_SUM_DOT ? _mm512_and_si512(a, b) : _mm512_xor_si512(a, b));
}

TARGET_AVX512 IQDBI_INLINE __m512i
avx512_load(const void *bytes, size_t i)
{
	return _mm512_loadu_si512((const char *) bytes + i);
}

/* The bytes of `mask` from i on, the rest zero and not read. */
TARGET_AVX512 IQDBI_INLINE __m512i
avx512_load_part(__mmask64 mask, const void *bytes, size_t i)
{
	return _mm512_maskz_loadu_epi8(mask, (const char *) bytes + i);
}

TARGET_AVX512 IQDBI_INLINE float
avx512_sum_pair(const IqdbSum sum, const bool stream, const void *query, const void *row, size_t dim)
{
	size_t  bytes = bit_row_bytes(dim);
	__m512i acc = _mm512_setzero_si512();
	size_t  i;

	for (i = 0; i + AVX512_BYTES <= bytes; i += AVX512_BYTES)
	{
		if (stream)
			iqdbi_prefetch_stream(row, i);
		acc = _mm512_add_epi64(acc, avx512_count(sum, avx512_load(query, i), avx512_load(row, i)));
	}
	if (i < bytes)
	{
		__mmask64 mask = ((__mmask64) 1 << (bytes - i)) - 1;

		acc = _mm512_add_epi64(acc, avx512_count(sum, avx512_load_part(mask, query, i), avx512_load_part(mask, row, i)));
	}
	return (float) (uint32_t) _mm512_reduce_add_epi64(acc);
}

/* Sums of four rows at a time. */
TARGET_AVX512 IQDBI_INLINE __m128
avx512_reduce(__m512i r0, __m512i r1, __m512i r2, __m512i r3)
{
	__m512i r01 = _mm512_add_epi64(_mm512_shuffle_i64x2(r0, r1, 0x44), _mm512_shuffle_i64x2(r0, r1, 0xee));
	__m512i r23 = _mm512_add_epi64(_mm512_shuffle_i64x2(r2, r3, 0x44), _mm512_shuffle_i64x2(r2, r3, 0xee));
	__m512i all = _mm512_add_epi64(_mm512_shuffle_i64x2(r01, r23, 0x88), _mm512_shuffle_i64x2(r01, r23, 0xdd));

	/* a row's sum stands in the first word of its quarter */
	all = _mm512_add_epi64(all, _mm512_shuffle_epi32(all, _MM_PERM_BADC));
	return _mm_cvtepi32_ps(_mm512_castsi512_si128(_mm512_maskz_compress_epi32(0x1111, all)));
}

TARGET_AVX512 IQDBI_INLINE void
avx512_sum_group(const IqdbSum sum, const bool fetch, const void *query, IqdbiRows rows, IqdbiRows next, size_t dim,
				 float *out)
{
	size_t  bytes = bit_row_bytes(dim);
	__m512i acc0 = _mm512_setzero_si512();
	__m512i acc1 = _mm512_setzero_si512();
	__m512i acc2 = _mm512_setzero_si512();
	__m512i acc3 = _mm512_setzero_si512();
	size_t  i;

	for (i = 0; i + AVX512_BYTES <= bytes; i += AVX512_BYTES)
	{
		__m512i part = avx512_load(query, i);

		if (fetch)
			iqdbi_prefetch_line(next, i);
		acc0 = _mm512_add_epi64(acc0, avx512_count(sum, part, avx512_load(rows.r0, i)));
		acc1 = _mm512_add_epi64(acc1, avx512_count(sum, part, avx512_load(rows.r1, i)));
		acc2 = _mm512_add_epi64(acc2, avx512_count(sum, part, avx512_load(rows.r2, i)));
		acc3 = _mm512_add_epi64(acc3, avx512_count(sum, part, avx512_load(rows.r3, i)));
	}
	if (i < bytes)
	{
		__mmask64 mask = ((__mmask64) 1 << (bytes - i)) - 1;
		__m512i   part = avx512_load_part(mask, query, i);

		if (fetch)
			iqdbi_prefetch_line(next, i);
		acc0 = _mm512_add_epi64(acc0, avx512_count(sum, part, avx512_load_part(mask, rows.r0, i)));
		acc1 = _mm512_add_epi64(acc1, avx512_count(sum, part, avx512_load_part(mask, rows.r1, i)));
		acc2 = _mm512_add_epi64(acc2, avx512_count(sum, part, avx512_load_part(mask, rows.r2, i)));
		acc3 = _mm512_add_epi64(acc3, avx512_count(sum, part, avx512_load_part(mask, rows.r3, i)));
	}
	_mm_storeu_ps(out, avx512_reduce(acc0, acc1, acc2, acc3));
}

DEFINE_BITS(TARGET_AVX512, avx512, iqdbi_bit_avx512)

#endif

#ifdef IQDBI_HAVE_NEON

#include <arm_neon.h>

/* ---- NEON ---- */

#define NEON_BYTES 16

/* Lanes of 16 bits, each of which two bytes of a step are added to: 16 a step at most. */
_Static_assert(IQDB_DIMENSION_BITS_MAX / 8 / NEON_BYTES * 16 <= UINT16_MAX, "a lane would overflow");

IQDBI_INLINE uint16x8_t
neon_add(const IqdbSum sum, uint16x8_t acc, uint8x16_t a, uint8x16_t b)
{
	return vpadalq_u8(acc, vcntq_u8(sum == IQDB_SUM_DOT ? vandq_u8(a, b) : veorq_u8(a, b)));
}

IQDBI_INLINE uint8x16_t
neon_load(const void *bytes, size_t i)
{
	return vld1q_u8((const uint8_t *) bytes + i);
}

IQDBI_INLINE float
neon_sum_pair(const IqdbSum sum, const bool stream, const void *query, const void *row, size_t dim)
{
	size_t     bytes = bit_row_bytes(dim);
	uint16x8_t acc = vdupq_n_u16(0);
	size_t     i;

	for (i = 0; i + NEON_BYTES <= bytes; i += NEON_BYTES)
	{
		if (stream)
			iqdbi_prefetch_stream(row, i);
		acc = neon_add(sum, acc, neon_load(query, i), neon_load(row, i));
	}
	return (float) (vaddlvq_u16(acc) + count_words(sum, false, query, row, i, bytes));
}

IQDBI_INLINE void
neon_sum_group(const IqdbSum sum, const bool fetch, const void *query, IqdbiRows rows, IqdbiRows next, size_t dim, float *out)
{
	size_t     bytes = bit_row_bytes(dim);
	uint16x8_t acc0 = vdupq_n_u16(0);
	uint16x8_t acc1 = vdupq_n_u16(0);
	uint16x8_t acc2 = vdupq_n_u16(0);
	uint16x8_t acc3 = vdupq_n_u16(0);
	size_t     i;

	if (fetch)
		iqdbi_prefetch_rest(next, 0, bytes);
	for (i = 0; i + NEON_BYTES <= bytes; i += NEON_BYTES)
	{
		uint8x16_t part = neon_load(query, i);

		acc0 = neon_add(sum, acc0, part, neon_load(rows.r0, i));
		acc1 = neon_add(sum, acc1, part, neon_load(rows.r1, i));
		acc2 = neon_add(sum, acc2, part, neon_load(rows.r2, i));
		acc3 = neon_add(sum, acc3, part, neon_load(rows.r3, i));
	}
	out[0] = (float) (vaddlvq_u16(acc0) + count_words(sum, false, query, rows.r0, i, bytes));
	out[1] = (float) (vaddlvq_u16(acc1) + count_words(sum, false, query, rows.r1, i, bytes));
	out[2] = (float) (vaddlvq_u16(acc2) + count_words(sum, false, query, rows.r2, i, bytes));
	out[3] = (float) (vaddlvq_u16(acc3) + count_words(sum, false, query, rows.r3, i, bytes));
}

DEFINE_BITS(TARGET, neon, iqdbi_bit_neon)

#endif
