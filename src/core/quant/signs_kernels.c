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

/* Sketches of so many slots are on their way while the ones before are looked at. */
#define SKETCHES_AHEAD 32

/* A sketch may begin in one cache line and end in the next. */
EVERYWHERE void
fetch_sketch(const IqdbSketch *sketch)
{
	__builtin_prefetch(sketch);
	__builtin_prefetch((const unsigned char *) sketch + sizeof(*sketch) - 1);
}

EVERYWHERE size_t
near_each(const IqdbSketchQuery *query, const IqdbSketch *sketches, float farthest, uint32_t *slots, size_t count)
{
	size_t left = 0;

	for (size_t i = 0; i < count && i < SKETCHES_AHEAD; i++)
		fetch_sketch(&sketches[slots[i]]);
	for (size_t i = 0; i < count; i++)
	{
		uint32_t          slot = slots[i];
		const IqdbSketch *sketch = &sketches[slot];
		float             own = iqdb_sketch_own(sketch);
		int32_t           sum = 0;

		if (i + SKETCHES_AHEAD < count)
			fetch_sketch(&sketches[slots[i + SKETCHES_AHEAD]]);
		/* of a slot without a sketch the bits may be being written */
		if (own == own)
			sums_words(query->planes, PLANES, (const unsigned char *) sketches, sizeof(*sketch), &slot, 1, IQDB_SKETCH_WORDS,
					   &sum);
		slots[left] = slot;
		/* nor is there anything known of a bound that is no number */
		left += !(iqdb_sketch_bound(query, sketch, own, sum) > farthest);
	}
	return left;
}

static size_t
near_plain(const IqdbSketchQuery *query, const IqdbSketch *sketches, float farthest, uint32_t *slots, size_t count)
{
	return near_each(query, sketches, farthest, slots, count);
}

static void
sums_plain(const uint64_t *planes, uint32_t plane_count, const unsigned char *base, size_t stride,
		   const uint32_t *slots, size_t count, size_t words, int32_t *sums_out)
{
	sums_words(planes, plane_count, base, stride, slots, count, words, sums_out);
}

static const IqdbSignsKernels kernels_plain = {FLOATS_OF(plain), .sums = sums_plain, .near = near_plain};

#ifdef SIGNS_X86

FLOAT_KERNELS(AVX2, avx2)

/* One POPCNT a word is as quick as anything that AVX2 has. */
AVX2 static void
sums_popcnt(const uint64_t *planes, uint32_t plane_count, const unsigned char *base, size_t stride,
			const uint32_t *slots, size_t count, size_t words, int32_t *sums_out)
{
	sums_words(planes, plane_count, base, stride, slots, count, words, sums_out);
}

AVX2 static size_t
near_popcnt(const IqdbSketchQuery *query, const IqdbSketch *sketches, float farthest, uint32_t *slots, size_t count)
{
	return near_each(query, sketches, farthest, slots, count);
}

static const IqdbSignsKernels kernels_avx2 = {FLOATS_OF(avx2), .sums = sums_popcnt, .near = near_popcnt};

/* Eight words at a time, the last ones under a mask. */
AVX512 static void
sums_avx512(const uint64_t *planes, uint32_t plane_count, const unsigned char *base, size_t stride,
			const uint32_t *slots, size_t count, size_t words, int32_t *sums_out)
{
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

_Static_assert(sizeof(IqdbSketch) == 24 && IQDB_SKETCH_WORDS == 2 && offsetof(IqdbSketch, own) == 20,
			   "sketches are gathered as three words, of which the last one has the scale and the row's own term");

/* The word of this number of each sketch; `at` has their places, in words. */
AVX512 EVERYWHERE __m512i
sketch_words(const IqdbSketch *sketches, __m512i at, __mmask8 rows, size_t word)
{
	return _mm512_mask_i64gather_epi64(_mm512_setzero_si512(), rows, at, (const unsigned char *) sketches + 8 * word, 8);
}

/* The bounds of eight sketches, from three gathered words of each. The same operations as iqdb_sketch_bound() has. */
AVX512 EVERYWHERE __m256
bounds_of(const IqdbSketchQuery *query, __m512i planes[IQDB_SKETCH_WORDS][PLANES], __m512i first, __m512i second,
		  __m512i scalars)
{
	const __m512i all = _mm512_set1_epi64(((1 << PLANES) - 1) * (int64_t) IQDB_SKETCH_BITS);
	__m256        scale = _mm256_castsi256_ps(_mm512_cvtepi64_epi32(scalars));
	__m256        own = _mm256_castsi256_ps(_mm512_cvtepi64_epi32(_mm512_srli_epi64(scalars, 32)));
	__m512i       found = _mm512_setzero_si512();
	__m256        sums;

	for (uint32_t k = PLANES; k-- > 0;)
	{
		__m512i differing = _mm512_add_epi64(_mm512_popcnt_epi64(_mm512_xor_si512(first, planes[0][k])),
											 _mm512_popcnt_epi64(_mm512_xor_si512(second, planes[1][k])));

		found = _mm512_add_epi64(_mm512_add_epi64(found, found), differing);
	}
	sums = _mm512_cvtepi64_ps(_mm512_sub_epi64(all, _mm512_add_epi64(found, found)));
	sums = _mm256_add_ps(sums, _mm256_set1_ps(query->slack));
	scale = _mm256_mul_ps(_mm256_set1_ps(query->weight), scale);
	return _mm256_add_ps(_mm256_add_ps(_mm256_set1_ps(query->base), own), _mm256_mul_ps(scale, sums));
}

/* Eight at a time. The bits of slots without a sketch are read, too, whatever they are: their own term makes bounds NaN. */
AVX512 static size_t
near_avx512(const IqdbSketchQuery *query, const IqdbSketch *sketches, float farthest, uint32_t *slots, size_t count)
{
	__m512i planes[IQDB_SKETCH_WORDS][PLANES];
	size_t  left = 0;

	for (uint32_t k = 0; k < PLANES; k++)
	{
		planes[0][k] = _mm512_set1_epi64((int64_t) query->planes[IQDB_SKETCH_WORDS * k]);
		planes[1][k] = _mm512_set1_epi64((int64_t) query->planes[IQDB_SKETCH_WORDS * k + 1]);
	}
	for (size_t i = 0; i < count && i < SKETCHES_AHEAD; i++)
		fetch_sketch(&sketches[slots[i]]);
	for (size_t i = 0; i < count; i += 8)
	{
		__mmask8 rows = count - i >= 8 ? 0xff : (__mmask8) ((1u << (count - i)) - 1);
		__m256i  slot = _mm256_maskz_loadu_epi32(rows, slots + i);
		__m512i  at = _mm512_cvtepu32_epi64(slot);
		__m512i  scalars;
		__mmask8 near;

		for (size_t next = i + SKETCHES_AHEAD; next < i + SKETCHES_AHEAD + 8 && next < count; next++)
			fetch_sketch(&sketches[slots[next]]);
		at = _mm512_add_epi64(at, _mm512_add_epi64(at, at));
		scalars = sketch_words(sketches, at, rows, 2);
		/* the own term before the bits, as it was written behind them */
		atomic_signal_fence(memory_order_acquire);
		near = (__mmask8) (rows & ~_mm256_cmp_ps_mask(bounds_of(query, planes, sketch_words(sketches, at, rows, 0),
																sketch_words(sketches, at, rows, 1), scalars),
													  _mm256_set1_ps(farthest), _CMP_GT_OQ));
		_mm256_mask_storeu_epi32(slots + left, (__mmask8) ((1u << __builtin_popcount(near)) - 1),
								 _mm256_maskz_compress_epi32(near, slot));
		left += (size_t) __builtin_popcount(near);
	}
	return left;
}

static const IqdbSignsKernels kernels_avx512 = {FLOATS_OF(avx2), .sums = sums_avx512, .near = near_avx512};

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

static const IqdbSignsKernels kernels_neon = {FLOATS_OF(plain), .sums = sums_neon, .near = near_plain};

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
