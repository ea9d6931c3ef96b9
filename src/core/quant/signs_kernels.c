/*
 * signs_kernels.c - the loops of sign codes in plain C, for POPCNT and AVX2, for AVX-512 with VPOPCNTDQ, for NEON.
 *
 * Floats are worked on in vectors of eight, written once and compiled for what the processor has: additions and their
 * order are the same everywhere, hence the bits.
 */
#include "core/quant/signs.h"

#include <math.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define SIGNS_X86 1
#define AVX2 __attribute__((target("avx2,popcnt")))
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vpopcntdq,popcnt")))
#elif defined(__aarch64__) && defined(__GNUC__)
#include <arm_neon.h>
#define SIGNS_NEON 1
#endif

#define PLANES IQDB_SIGNS_PLANES
#define LEVEL_MAX IQDB_SIGNS_LEVEL_MAX
#define LANES 8

/* Compiled once per instruction set. */
#define EVERYWHERE static inline __attribute__((always_inline))

typedef float Lanes __attribute__((vector_size(LANES * sizeof(float))));
typedef int32_t Bits __attribute__((vector_size(LANES * sizeof(float))));

/* ---- floats ------------------------------------------------------------------------------------------------------ */

/* Walsh-Hadamard transform of a power of two of floats below LANES; lengths grow by its root. */
static void
transform_few(float *values, size_t count)
{
	for (size_t half = 1; half < count; half *= 2)
	{
		for (size_t i = 0; i < count; i++)
		{
			float sum;

			if ((i & half) != 0)
				continue;
			sum = values[i] + values[i + half];
			values[i + half] = values[i] - values[i + half];
			values[i] = sum;
		}
	}
}

/* The same of LANES floats and more. */
EVERYWHERE void
transform(float *values, size_t count)
{
	const Lanes one = {1, -1, 1, -1, 1, -1, 1, -1};
	const Lanes two = {1, 1, -1, -1, 1, 1, -1, -1};
	const Lanes four = {1, 1, 1, 1, -1, -1, -1, -1};

	if (count < LANES)
	{
		transform_few(values, count);
		return;
	}
	for (size_t i = 0; i < count; i += LANES)
	{
		Lanes a;

		memcpy(&a, values + i, sizeof(a));
		a = a * one + __builtin_shufflevector(a, a, 1, 0, 3, 2, 5, 4, 7, 6);
		a = a * two + __builtin_shufflevector(a, a, 2, 3, 0, 1, 6, 7, 4, 5);
		a = a * four + __builtin_shufflevector(a, a, 4, 5, 6, 7, 0, 1, 2, 3);
		memcpy(values + i, &a, sizeof(a));
	}
	for (size_t half = LANES; half < count; half *= 2)
	{
		for (size_t start = 0; start < count; start += 2 * half)
		{
			for (size_t i = start; i < start + half; i += LANES)
			{
				Lanes a;
				Lanes b;
				Lanes sum;

				memcpy(&a, values + i, sizeof(a));
				memcpy(&b, values + i + half, sizeof(b));
				sum = a + b;
				b = a - b;
				memcpy(values + i, &sum, sizeof(sum));
				memcpy(values + i + half, &b, sizeof(b));
			}
		}
	}
}

/* values[i] *= by[i] * factor */
EVERYWHERE void
multiply(float *values, const float *by, float factor, size_t count)
{
	size_t i;

	for (i = 0; i + LANES <= count; i += LANES)
	{
		Lanes value;
		Lanes other;

		memcpy(&value, values + i, sizeof(value));
		memcpy(&other, by + i, sizeof(other));
		value *= other * factor;
		memcpy(values + i, &value, sizeof(value));
	}
	for (; i < count; i++)
		values[i] *= by[i] * factor;
}

EVERYWHERE void
rotate(const float *vector, float factor, const float *centre, const float *flips, size_t dim, size_t width,
	   float *values_out)
{
	size_t power = 1;
	size_t i;
	float  shrink;

	while (power * 2 <= width)
		power *= 2;
	shrink = 1.0f / sqrtf((float) power);
	for (i = 0; i + LANES <= dim; i += LANES)
	{
		Lanes value;
		Lanes middle = {0};

		memcpy(&value, vector + i, sizeof(value));
		if (centre != NULL)
			memcpy(&middle, centre + i, sizeof(middle));
		value = value * factor - middle;
		memcpy(values_out + i, &value, sizeof(value));
	}
	for (; i < dim; i++)
		values_out[i] = vector[i] * factor - (centre != NULL ? centre[i] : 0.0f);
	memset(values_out + dim, 0, (width - dim) * sizeof(float));
	for (size_t round = 0; round < IQDB_SIGNS_ROUNDS; round++)
	{
		/* what both transforms take part in is shrunk by both */
		multiply(values_out, flips + round * width, shrink, width);
		transform(values_out, power);
		if (power == width)
			continue;
		for (i = width - power; i < power; i++)
			values_out[i] *= shrink;
		transform(values_out + (width - power), power);
	}
}

EVERYWHERE void
measure(const float *values, size_t width, IqdbSignsSize *size_out)
{
	Lanes  squares = {0};
	Lanes  absolutes = {0};
	Lanes  largest = {0};
	double square = 0.0;
	double absolute = 0.0;

	for (size_t i = 0; i < width; i += LANES)
	{
		Lanes size;
		Bits  larger;

		memcpy(&size, values + i, sizeof(size));
		size = (Lanes) ((Bits) size & INT32_MAX);
		larger = size > largest;
		largest = (Lanes) (((Bits) size & larger) | ((Bits) largest & ~larger));
		squares += size * size;
		absolutes += size;
	}
	size_out->largest = 0.0f;
	for (size_t lane = 0; lane < LANES; lane++)
	{
		square += (double) squares[lane];
		absolute += (double) absolutes[lane];
		size_out->largest = largest[lane] > size_out->largest ? largest[lane] : size_out->largest;
	}
	size_out->square = (float) square;
	size_out->absolute = (float) absolute;
}

EVERYWHERE float
along(const float *values, const float *other, size_t width)
{
	Lanes  sums = {0};
	double sum = 0.0;

	for (size_t i = 0; i < width; i += LANES)
	{
		Lanes value;
		Bits  added;

		memcpy(&value, values + i, sizeof(value));
		memcpy(&added, other + i, sizeof(added));
		sums += (Lanes) (added ^ (~(value >= 0.0f) & INT32_MIN));
	}
	for (size_t lane = 0; lane < LANES; lane++)
		sum += (double) sums[lane];
	return (float) sum;
}

EVERYWHERE void
signs(const float *values, size_t words, uint64_t *code_out)
{
	const Bits weights = {1, 2, 4, 8, 16, 32, 64, 128};

	memset(code_out, 0, words * sizeof(uint64_t));
	for (size_t i = 0; i < 64 * words; i += LANES)
	{
		Lanes value;
		Bits  set;

		memcpy(&value, values + i, sizeof(value));
		set = (value >= 0.0f) & weights;
		set |= __builtin_shufflevector(set, set, 4, 5, 6, 7, 0, 1, 2, 3);
		set |= __builtin_shufflevector(set, set, 2, 3, 0, 1, 6, 7, 4, 5);
		code_out[i / 64] |= (uint64_t) (uint32_t) (set[0] | set[1]) << (i % 64);
	}
}

EVERYWHERE void
levels(const float *values, float steps, size_t words, uint64_t *planes_out)
{
	const float highest = (float) LEVEL_MAX;

	memset(planes_out, 0, PLANES * words * sizeof(uint64_t));
	for (size_t i = 0; i < 64 * words; i += LANES)
	{
		Lanes    level;
		Bits     positive;
		Bits     above;
		Bits     number;
		uint64_t numbers = 0;

		memcpy(&level, values + i, sizeof(level));
		/* odd numbers from -LEVEL_MAX to LEVEL_MAX become 0 .. LEVEL_MAX */
		level = level * (0.5f * steps) + 0.5f * (highest + 1.0f);
		positive = level > 0.0f;
		above = level > highest;
		/* what is not a number becomes 0 before it is made an integer */
		level = (Lanes) ((Bits) level & positive & ~above);
		number = __builtin_convertvector(level, Bits) | (above & LEVEL_MAX);
		for (size_t lane = 0; lane < LANES; lane++)
			numbers |= (uint64_t) (uint32_t) number[lane] << (8 * lane);
		for (size_t k = 0; k < PLANES; k++)
		{
			/* the lowest bits of eight bytes, gathered in the highest byte of a product */
			uint64_t bits = ((numbers >> k & UINT64_C(0x0101010101010101)) * UINT64_C(0x0102040810204080)) >> 56;

			planes_out[k * words + i / 64] |= bits << (i % 64);
		}
	}
}

/* The five above for one instruction set. */
#define FLOAT_KERNELS(target, suffix) \
	target static void rotate_##suffix(const float *vector, float factor, const float *centre, const float *flips, \
									   size_t dim, size_t width, float *values_out) \
	{ \
		rotate(vector, factor, centre, flips, dim, width, values_out); \
	} \
	target static void measure_##suffix(const float *values, size_t width, IqdbSignsSize *size_out) \
	{ \
		measure(values, width, size_out); \
	} \
	target static float along_##suffix(const float *values, const float *other, size_t width) \
	{ \
		return along(values, other, width); \
	} \
	target static void signs_##suffix(const float *values, size_t words, uint64_t *code_out) \
	{ \
		signs(values, words, code_out); \
	} \
	target static void levels_##suffix(const float *values, float steps, size_t words, uint64_t *planes_out) \
	{ \
		levels(values, steps, words, planes_out); \
	}

#define FLOATS_OF(suffix) \
	.rotate = rotate_##suffix, .measure = measure_##suffix, .along = along_##suffix, .signs = signs_##suffix, \
	.levels = levels_##suffix

FLOAT_KERNELS(, plain)

/* ---- sums -------------------------------------------------------------------------------------------------------- */

static inline const uint64_t *
code_at(const unsigned char *base, size_t stride, uint32_t slot)
{
	return (const uint64_t *) (const void *) (base + (size_t) slot * stride);
}

/* From the weighted count of bits that differ. */
static inline int32_t
sum_of(uint32_t plane_count, size_t words, uint64_t differing)
{
	return (int32_t) (((INT64_C(1) << plane_count) - 1) * 64 * (int64_t) words - 2 * (int64_t) differing);
}

EVERYWHERE void
sums_words(const uint64_t *planes, uint32_t plane_count, const unsigned char *base, size_t stride,
		   const uint32_t *slots, size_t count, size_t words, int32_t *sums_out)
{
	for (size_t i = 0; i < count; i++)
	{
		const uint64_t *code = code_at(base, stride, slots[i]);
		uint64_t        differing = 0;

		for (uint32_t k = 0; k < plane_count; k++)
		{
			uint64_t bits = 0;

			for (size_t w = 0; w < words; w++)
				bits += (uint64_t) __builtin_popcountll(code[w] ^ planes[k * words + w]);
			differing += bits << k;
		}
		sums_out[i] = sum_of(plane_count, words, differing);
	}
}

static void
sums_plain(const uint64_t *planes, uint32_t plane_count, const unsigned char *base, size_t stride,
		   const uint32_t *slots, size_t count, size_t words, int32_t *sums_out)
{
	sums_words(planes, plane_count, base, stride, slots, count, words, sums_out);
}

static const IqdbSignsKernels kernels_plain = {FLOATS_OF(plain), .sums = sums_plain};

#ifdef SIGNS_X86

FLOAT_KERNELS(AVX2, avx2)

/* One POPCNT a word is as quick as anything that AVX2 has. */
AVX2 static void
sums_popcnt(const uint64_t *planes, uint32_t plane_count, const unsigned char *base, size_t stride,
			const uint32_t *slots, size_t count, size_t words, int32_t *sums_out)
{
	sums_words(planes, plane_count, base, stride, slots, count, words, sums_out);
}

static const IqdbSignsKernels kernels_avx2 = {FLOATS_OF(avx2), .sums = sums_popcnt};

/* Codes of two words, four rows at a time, of at least one: the last of them stands in for those that are not there. */
AVX512 static void
sums_pairs(const uint64_t *planes, uint32_t plane_count, const unsigned char *base, size_t stride, const uint32_t *slots,
		   size_t count, int32_t *sums_out)
{
	__m512i plane[PLANES];

	for (uint32_t k = 0; k < plane_count; k++)
		plane[k] = _mm512_broadcast_i64x2(_mm_loadu_si128((const __m128i *) (const void *) (planes + 2 * k)));
	for (size_t i = 0; i < count; i += 4)
	{
		size_t  last = count - i < 4 ? count - i - 1 : 3;
		__m512i bits = _mm512_setzero_si512();
		__m512i found = _mm512_setzero_si512();
		int64_t differing[8];

		bits = _mm512_inserti64x2(bits, _mm_loadu_si128((const __m128i *) (const void *) code_at(base, stride, slots[i])), 0);
		bits = _mm512_inserti64x2(
			bits, _mm_loadu_si128((const __m128i *) (const void *) code_at(base, stride, slots[i + (last < 1 ? last : 1)])), 1);
		bits = _mm512_inserti64x2(
			bits, _mm_loadu_si128((const __m128i *) (const void *) code_at(base, stride, slots[i + (last < 2 ? last : 2)])), 2);
		bits = _mm512_inserti64x2(
			bits, _mm_loadu_si128((const __m128i *) (const void *) code_at(base, stride, slots[i + last])), 3);
		for (uint32_t k = plane_count; k-- > 0;)
			found = _mm512_add_epi64(_mm512_add_epi64(found, found), _mm512_popcnt_epi64(_mm512_xor_si512(bits, plane[k])));
		_mm512_storeu_si512(differing, _mm512_add_epi64(found, _mm512_shuffle_epi32(found, _MM_PERM_BADC)));
		for (size_t row = 0; row <= last; row++)
			sums_out[i + row] = sum_of(plane_count, 2, (uint64_t) differing[2 * row]);
	}
}

/* Eight words at a time, the last ones under a mask. */
AVX512 static void
sums_avx512(const uint64_t *planes, uint32_t plane_count, const unsigned char *base, size_t stride,
			const uint32_t *slots, size_t count, size_t words, int32_t *sums_out)
{
	if (words == 2)
	{
		sums_pairs(planes, plane_count, base, stride, slots, count, sums_out);
		return;
	}
	if (words < 4)
	{
		sums_words(planes, plane_count, base, stride, slots, count, words, sums_out);
		return;
	}
	for (size_t i = 0; i < count; i++)
	{
		const uint64_t *code = code_at(base, stride, slots[i]);
		__m512i         differing = _mm512_setzero_si512();

		for (size_t w = 0; w < words; w += 8)
		{
			__mmask8 mask = words - w >= 8 ? 0xff : (__mmask8) ((1u << (words - w)) - 1);
			__m512i  bits = _mm512_maskz_loadu_epi64(mask, code + w);
			__m512i  found = _mm512_setzero_si512();

			for (uint32_t k = plane_count; k-- > 0;)
			{
				__m512i plane = _mm512_maskz_loadu_epi64(mask, planes + k * words + w);

				plane = _mm512_popcnt_epi64(_mm512_xor_si512(bits, plane));
				found = _mm512_add_epi64(_mm512_add_epi64(found, found), plane);
			}
			differing = _mm512_add_epi64(differing, found);
		}
		sums_out[i] = sum_of(plane_count, words, (uint64_t) _mm512_reduce_add_epi64(differing));
	}
}

static const IqdbSignsKernels kernels_avx512 = {FLOATS_OF(avx2), .sums = sums_avx512};

#endif

#ifdef SIGNS_NEON

/* Words come in pairs; an odd one at the end is counted alone. */
static void
sums_neon(const uint64_t *planes, uint32_t plane_count, const unsigned char *base, size_t stride,
		  const uint32_t *slots, size_t count, size_t words, int32_t *sums_out)
{
	for (size_t i = 0; i < count; i++)
	{
		const uint64_t *code = code_at(base, stride, slots[i]);
		uint64_t        differing = 0;

		for (uint32_t k = 0; k < plane_count; k++)
		{
			uint64x2_t bits = vdupq_n_u64(0);
			uint64_t   last = 0;
			size_t     w;

			for (w = 0; w + 2 <= words; w += 2)
			{
				uint64x2_t found = veorq_u64(vld1q_u64(code + w), vld1q_u64(planes + k * words + w));

				bits = vpadalq_u32(bits, vpaddlq_u16(vpaddlq_u8(vcntq_u8(vreinterpretq_u8_u64(found)))));
			}
			if (w < words)
				last = (uint64_t) __builtin_popcountll(code[w] ^ planes[k * words + w]);
			differing += (vgetq_lane_u64(bits, 0) + vgetq_lane_u64(bits, 1) + last) << k;
		}
		sums_out[i] = sum_of(plane_count, words, differing);
	}
}

static const IqdbSignsKernels kernels_neon = {FLOATS_OF(plain), .sums = sums_neon};

#endif

const IqdbSignsKernels *
iqdb_signs_kernels(const IqdbKernels *kernels)
{
#if defined(SIGNS_X86)
	if (strncmp(kernels->name, "avx512", 6) == 0 && __builtin_cpu_supports("avx512vpopcntdq"))
		return &kernels_avx512;
	if (strcmp(kernels->name, "avx2") == 0 || strncmp(kernels->name, "avx512", 6) == 0)
		return &kernels_avx2;
#elif defined(SIGNS_NEON)
	if (strcmp(kernels->name, "neon") == 0)
		return &kernels_neon;
#endif
	(void) kernels;
	return &kernels_plain;
}
