/*
 * kernels_column.c - tests of whole columns of numbers, for every instruction set: a bit of the answer per row.
 *
 * Columns are arrays of signed numbers of 1, 2, 4 or 8 bytes, 64 of them a word of the answer. Bounds are clipped to the
 * width first (clip_bounds), so that the loops compare numbers of one width only.
 *
 * Whole columns are tested, also numbers of rows that are being written: those come out as something, and callers drop them
 * (engine/columns.h). Hence no_sanitize_thread.
 */
#include "core/vec/kernels_private.h"

#define SCANS_COLUMNS __attribute__((no_sanitize_thread))

/* Makes the bounds some of the width. false: no number of the width lies between them. */
static bool
clip_bounds(int64_t least, int64_t greatest, int64_t *low, int64_t *high)
{
	if (*low > greatest || *high < least || *low > *high)
		return false;
	*low = *low < least ? least : *low;
	*high = *high > greatest ? greatest : *high;
	return true;
}

/* ---- one number after the other ---- */

#define DEFINE_SCALAR(name, type) \
	SCANS_COLUMNS static uint64_t \
	name(const void *values, uint32_t first, uint32_t count, int64_t low, int64_t high) \
	{ \
		uint64_t bits = 0; \
\
		for (uint32_t i = first; i < count; i++) \
		{ \
			type value; \
\
			memcpy(&value, (const unsigned char *) values + (size_t) i * sizeof(value), sizeof(value)); \
			bits |= (uint64_t) ((value >= low) & (value <= high)) << i; \
		} \
		return bits; \
	}

DEFINE_SCALAR(rest_1, int8_t)
DEFINE_SCALAR(rest_2, int16_t)
DEFINE_SCALAR(rest_4, int32_t)
DEFINE_SCALAR(rest_8, int64_t)

SCANS_COLUMNS static uint64_t
rest_has(const void *values, uint32_t first, uint32_t count, uint64_t wanted)
{
	uint64_t bits = 0;

	for (uint32_t i = first; i < count; i++)
	{
		uint64_t value;

		memcpy(&value, (const unsigned char *) values + (size_t) i * sizeof(value), sizeof(value));
		bits |= (uint64_t) ((value & wanted) == wanted) << i;
	}
	return bits;
}

/*
 * Defines the table `table` from E_lanes_WIDTH(at, low, high), which answers for the LANES numbers at `at`, and
 * E_has_lanes(at, wanted).
 */
#define DEFINE_BETWEEN(target, E, width, lanes, least, greatest) \
	target SCANS_COLUMNS static void \
	between_##E##_##width(const void *values, uint32_t count, int64_t low, int64_t high, uint64_t *words_out) \
	{ \
		const unsigned char *at = values; \
		uint64_t             bits = 0; \
		uint32_t             i = 0; \
\
		if (!clip_bounds(least, greatest, &low, &high)) \
		{ \
			memset(words_out, 0, (count + 63) / 64 * sizeof(*words_out)); \
			return; \
		} \
		for (; count >= 64; count -= 64, at += (size_t) 64 * (width)) \
		{ \
			bits = 0; \
			_Pragma("GCC unroll 16") for (uint32_t lane = 0; lane < 64; lane += (lanes)) \
				bits |= (uint64_t) E##_lanes_##width(at + (size_t) lane * (width), low, high) << lane; \
			*words_out++ = bits; \
		} \
		if (count == 0) \
			return; \
		for (bits = 0; i + (lanes) <= count; i += (lanes)) \
			bits |= (uint64_t) E##_lanes_##width(at + (size_t) i * (width), low, high) << i; \
		*words_out = bits | rest_##width(at, i, count, low, high); \
	}

#define DEFINE_COLUMNS(target, E, lanes_1, lanes_2, lanes_4, lanes_8, table) \
	DEFINE_BETWEEN(target, E, 1, lanes_1, INT8_MIN, INT8_MAX) \
	DEFINE_BETWEEN(target, E, 2, lanes_2, INT16_MIN, INT16_MAX) \
	DEFINE_BETWEEN(target, E, 4, lanes_4, INT32_MIN, INT32_MAX) \
	DEFINE_BETWEEN(target, E, 8, lanes_8, INT64_MIN, INT64_MAX) \
\
	target SCANS_COLUMNS static uint64_t \
	has_##E(const void *values, uint32_t count, uint64_t wanted) \
	{ \
		const unsigned char *at = values; \
		uint64_t             bits = 0; \
		uint32_t             i = 0; \
\
		for (; i + (lanes_8) <= count; i += (lanes_8)) \
			bits |= (uint64_t) E##_has_lanes(at + (size_t) i * 8, wanted) << i; \
		return bits | rest_has(values, i, count, wanted); \
	} \
\
	const IqdbColumnKernels table = { \
		.between_1 = between_##E##_1, \
		.between_2 = between_##E##_2, \
		.between_4 = between_##E##_4, \
		.between_8 = between_##E##_8, \
		.has = has_##E, \
	};

/* ---- any processor ---- */

#define DEFINE_SCALAR_BETWEEN(width) \
	SCANS_COLUMNS static void \
	scalar_between_##width(const void *values, uint32_t count, int64_t low, int64_t high, uint64_t *words_out) \
	{ \
		for (uint32_t first = 0; first < count; first += 64) \
			words_out[first / 64] = rest_##width((const unsigned char *) values + (size_t) first * (width), 0, \
												 count - first < 64 ? count - first : 64, low, high); \
	}

DEFINE_SCALAR_BETWEEN(1)
DEFINE_SCALAR_BETWEEN(2)
DEFINE_SCALAR_BETWEEN(4)
DEFINE_SCALAR_BETWEEN(8)

SCANS_COLUMNS static uint64_t
scalar_has(const void *values, uint32_t count, uint64_t wanted)
{
	return rest_has(values, 0, count, wanted);
}

const IqdbColumnKernels iqdbi_columns_scalar = {
	.between_1 = scalar_between_1,
	.between_2 = scalar_between_2,
	.between_4 = scalar_between_4,
	.between_8 = scalar_between_8,
	.has = scalar_has,
};

#ifdef IQDBI_HAVE_X86

#include <immintrin.h>

/* ---- AVX2 ---- */

#define TARGET_AVX2 __attribute__((target("avx2")))

/* Lanes outside the bounds are all ones. */
#define DEFINE_OUTSIDE(bits) \
	TARGET_AVX2 SCANS_COLUMNS IQDBI_INLINE __m256i \
	outside_##bits(const unsigned char *at, __m256i low, __m256i high) \
	{ \
		__m256i value = _mm256_loadu_si256((const __m256i *) (const void *) at); \
\
		return _mm256_or_si256(_mm256_cmpgt_epi##bits(low, value), _mm256_cmpgt_epi##bits(value, high)); \
	}

DEFINE_OUTSIDE(8)
DEFINE_OUTSIDE(16)
DEFINE_OUTSIDE(32)
DEFINE_OUTSIDE(64)

TARGET_AVX2 SCANS_COLUMNS IQDBI_INLINE uint32_t
avx2_lanes_1(const unsigned char *at, int64_t low, int64_t high)
{
	return ~(uint32_t) _mm256_movemask_epi8(outside_8(at, _mm256_set1_epi8((char) low), _mm256_set1_epi8((char) high)));
}

/* 16 lanes, packed to bytes. */
TARGET_AVX2 SCANS_COLUMNS IQDBI_INLINE uint32_t
avx2_lanes_2(const unsigned char *at, int64_t low, int64_t high)
{
	__m256i outside = outside_16(at, _mm256_set1_epi16((short) low), _mm256_set1_epi16((short) high));
	__m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(outside), _mm256_extracti128_si256(outside, 1));

	return ~(uint32_t) _mm_movemask_epi8(bytes) & 0xffffu;
}

TARGET_AVX2 SCANS_COLUMNS IQDBI_INLINE uint32_t
avx2_lanes_4(const unsigned char *at, int64_t low, int64_t high)
{
	__m256i outside = outside_32(at, _mm256_set1_epi32((int) low), _mm256_set1_epi32((int) high));

	return ~(uint32_t) _mm256_movemask_ps(_mm256_castsi256_ps(outside)) & 0xffu;
}

TARGET_AVX2 SCANS_COLUMNS IQDBI_INLINE uint32_t
avx2_lanes_8(const unsigned char *at, int64_t low, int64_t high)
{
	__m256i outside = outside_64(at, _mm256_set1_epi64x(low), _mm256_set1_epi64x(high));

	return ~(uint32_t) _mm256_movemask_pd(_mm256_castsi256_pd(outside)) & 0xfu;
}

TARGET_AVX2 SCANS_COLUMNS IQDBI_INLINE uint32_t
avx2_has_lanes(const unsigned char *at, uint64_t wanted)
{
	__m256i bits = _mm256_set1_epi64x((int64_t) wanted);
	__m256i value = _mm256_loadu_si256((const __m256i *) (const void *) at);
	__m256i has = _mm256_cmpeq_epi64(_mm256_and_si256(value, bits), bits);

	return (uint32_t) _mm256_movemask_pd(_mm256_castsi256_pd(has));
}

DEFINE_COLUMNS(TARGET_AVX2, avx2, 32, 16, 8, 4, iqdbi_columns_avx2)

/* ---- AVX-512 ---- */

#define TARGET_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))

#define DEFINE_AVX512(width, bits, type, mask) \
	TARGET_AVX512 SCANS_COLUMNS IQDBI_INLINE uint64_t \
	avx512_lanes_##width(const unsigned char *at, int64_t low, int64_t high) \
	{ \
		__m512i value = _mm512_loadu_si512(at); \
		mask    inside = _mm512_cmple_epi##bits##_mask(_mm512_set1_epi##bits((type) low), value); \
\
		return _mm512_mask_cmple_epi##bits##_mask(inside, value, _mm512_set1_epi##bits((type) high)); \
	}

DEFINE_AVX512(1, 8, char, __mmask64)
DEFINE_AVX512(2, 16, short, __mmask32)
DEFINE_AVX512(4, 32, int, __mmask16)
DEFINE_AVX512(8, 64, long long, __mmask8)

TARGET_AVX512 SCANS_COLUMNS IQDBI_INLINE uint64_t
avx512_has_lanes(const unsigned char *at, uint64_t wanted)
{
	__m512i bits = _mm512_set1_epi64((long long) wanted);

	return _mm512_cmpeq_epi64_mask(_mm512_and_si512(_mm512_loadu_si512(at), bits), bits);
}

DEFINE_COLUMNS(TARGET_AVX512, avx512, 64, 32, 16, 8, iqdbi_columns_avx512)

#endif

#ifdef IQDBI_HAVE_NEON

#include <arm_neon.h>

/* ---- NEON ---- */

#define TARGET

/* There is no instruction that collects a bit per lane: lanes narrowed to bytes keep one bit each, which are added up. */
SCANS_COLUMNS IQDBI_INLINE uint32_t
neon_bits(uint8x8_t inside)
{
	static const uint8_t places[8] = {1, 2, 4, 8, 16, 32, 64, 128};

	return vaddv_u8(vand_u8(inside, vld1_u8(places)));
}

SCANS_COLUMNS IQDBI_INLINE uint32_t
neon_lanes_1(const unsigned char *at, int64_t low, int64_t high)
{
	int8x8_t value = vreinterpret_s8_u8(vld1_u8(at));

	return neon_bits(vand_u8(vcge_s8(value, vdup_n_s8((int8_t) low)), vcle_s8(value, vdup_n_s8((int8_t) high))));
}

SCANS_COLUMNS IQDBI_INLINE uint32_t
neon_lanes_2(const unsigned char *at, int64_t low, int64_t high)
{
	int16x8_t value = vreinterpretq_s16_u8(vld1q_u8(at));

	return neon_bits(vmovn_u16(vandq_u16(vcgeq_s16(value, vdupq_n_s16((int16_t) low)),
										 vcleq_s16(value, vdupq_n_s16((int16_t) high)))));
}

SCANS_COLUMNS IQDBI_INLINE uint16x4_t
neon_four(const unsigned char *at, int64_t low, int64_t high)
{
	int32x4_t value = vreinterpretq_s32_u8(vld1q_u8(at));

	return vmovn_u32(vandq_u32(vcgeq_s32(value, vdupq_n_s32((int32_t) low)), vcleq_s32(value, vdupq_n_s32((int32_t) high))));
}

SCANS_COLUMNS IQDBI_INLINE uint32_t
neon_lanes_4(const unsigned char *at, int64_t low, int64_t high)
{
	return neon_bits(vmovn_u16(vcombine_u16(neon_four(at, low, high), neon_four(at + 16, low, high))));
}

SCANS_COLUMNS IQDBI_INLINE uint32x2_t
neon_two(const unsigned char *at, int64_t low, int64_t high)
{
	int64x2_t value = vreinterpretq_s64_u8(vld1q_u8(at));

	return vmovn_u64(vandq_u64(vcgeq_s64(value, vdupq_n_s64(low)), vcleq_s64(value, vdupq_n_s64(high))));
}

/* Eight lanes of 64 bits, narrowed three times. */
SCANS_COLUMNS IQDBI_INLINE uint32_t
neon_narrow(uint32x2_t a, uint32x2_t b, uint32x2_t c, uint32x2_t d)
{
	return neon_bits(vmovn_u16(vcombine_u16(vmovn_u32(vcombine_u32(a, b)), vmovn_u32(vcombine_u32(c, d)))));
}

SCANS_COLUMNS IQDBI_INLINE uint32_t
neon_lanes_8(const unsigned char *at, int64_t low, int64_t high)
{
	return neon_narrow(neon_two(at, low, high), neon_two(at + 16, low, high), neon_two(at + 32, low, high),
					   neon_two(at + 48, low, high));
}

SCANS_COLUMNS IQDBI_INLINE uint32x2_t
neon_has_two(const unsigned char *at, uint64_t wanted)
{
	uint64x2_t bits = vdupq_n_u64(wanted);

	return vmovn_u64(vceqq_u64(vandq_u64(vreinterpretq_u64_u8(vld1q_u8(at)), bits), bits));
}

SCANS_COLUMNS IQDBI_INLINE uint32_t
neon_has_lanes(const unsigned char *at, uint64_t wanted)
{
	return neon_narrow(neon_has_two(at, wanted), neon_has_two(at + 16, wanted), neon_has_two(at + 32, wanted),
					   neon_has_two(at + 48, wanted));
}

DEFINE_COLUMNS(TARGET, neon, 8, 8, 8, 8, iqdbi_columns_neon)

#endif
