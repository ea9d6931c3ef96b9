/*
 * half.h - IEEE binary16 numbers ("halves") and what becomes of floats that are stored as such.
 *
 * A half has a sign, 5 bits of exponent and 10 of fraction: eleven significant binary digits, finite up to 65504, normal
 * down to 2^-14, a multiple of 2^-24 below that. Every half is a float, so widening is exact. Narrowing takes the nearest
 * half, ties to even, as the processors' own instructions do: what is less than half of 2^-24 becomes a zero of its sign,
 * and what is not less than 65520, half-way between the largest half and 2^16, has no half: callers that store halves ask
 * iqdb_half_overflows(), or look at the result of iqdb_halves_narrow(). NaN stays NaN, and becomes a quiet one.
 *
 * Types that some compilers have for halves are not used: a half is 16 bits in the machine's byte order. The conversions
 * here are plain C for any machine, and their results are those of the instructions that some processors have.
 */
#ifndef IQDB_VEC_HALF_H
#define IQDB_VEC_HALF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef uint16_t IqdbHalf;

#define IQDB_HALF_MAX 65504.0f

#define IQDB_HALF_SIGN 0x8000u
#define IQDB_HALF_INFINITY 0x7c00u

/* What is added to the bits of a half, in its place of a float, for the difference of the exponents' biases, 127 and 15. */
#define IQDB_HALF_BIAS (UINT32_C(112) << 23)

static inline bool
iqdb_half_is_finite(IqdbHalf half)
{
	return (half & IQDB_HALF_INFINITY) != IQDB_HALF_INFINITY;
}

static inline bool
iqdb_half_is_nan(IqdbHalf half)
{
	return (half & ~IQDB_HALF_SIGN) > IQDB_HALF_INFINITY;
}

/* Zero of either sign? */
static inline bool
iqdb_half_is_zero(IqdbHalf half)
{
	return (half & ~IQDB_HALF_SIGN) == 0;
}

static inline float
iqdb_half_widen(IqdbHalf half)
{
	uint32_t magnitude = half & ~IQDB_HALF_SIGN;
	uint32_t bits;
	float    value;

	if (magnitude < 0x0400u)
	{
		/* no exponent: a multiple of the smallest half */
		value = (float) (int32_t) magnitude * 0x1p-24f;
		memcpy(&bits, &value, sizeof(bits));
	}
	else if (magnitude < IQDB_HALF_INFINITY)
		bits = (magnitude << 13) + IQDB_HALF_BIAS;
	else
		bits = (magnitude << 13) | UINT32_C(0x7f800000) | (magnitude > IQDB_HALF_INFINITY ? UINT32_C(0x00400000) : 0);
	bits |= (uint32_t) (half & IQDB_HALF_SIGN) << 16;
	memcpy(&value, &bits, sizeof(value));
	return value;
}

/* The nearest half, ties to even; an infinity where there is none. */
static inline IqdbHalf
iqdb_half_narrow(float value)
{
	uint32_t bits;
	uint32_t magnitude;
	uint32_t half;

	memcpy(&bits, &value, sizeof(bits));
	magnitude = bits & UINT32_C(0x7fffffff);
	if (magnitude > UINT32_C(0x7f800000))
		half = IQDB_HALF_INFINITY | 0x0200u | ((magnitude >> 13) & 0x03ffu);
	else if (magnitude >= UINT32_C(0x477ff000)) /* 65520 */
		half = IQDB_HALF_INFINITY;
	else if (magnitude >= UINT32_C(0x38800000)) /* 2^-14; a carry out of the fraction is right in the exponent */
		half = (magnitude - IQDB_HALF_BIAS + 0x0fffu + ((magnitude >> 13) & 1)) >> 13;
	else
	{
		/* floats between 0.5 and 1 are 2^-24 apart, so that the addition rounds as is wanted */
		float sum;

		memcpy(&sum, &magnitude, sizeof(sum));
		sum += 0.5f;
		memcpy(&half, &sum, sizeof(half));
		half -= UINT32_C(0x3f000000);
	}
	return (IqdbHalf) (half | (bits >> 16 & IQDB_HALF_SIGN));
}

/* Is a value finite, but too large for a half? */
static inline bool
iqdb_half_overflows(float value)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	bits &= UINT32_C(0x7fffffff);
	return bits >= UINT32_C(0x477ff000) && bits < UINT32_C(0x7f800000);
}

/* values[i] = halves[i] as a float, for i < count. The arrays do not overlap. */
void iqdb_halves_widen(const IqdbHalf *halves, size_t count, float *values);

/*
 * halves[i] = the half nearest to values[i], for i < count; infinite where a value is, or is too large. Returns the position
 * of the first finite value that is too large, count if there is none. The arrays do not overlap.
 */
size_t iqdb_halves_narrow(const float *values, size_t count, IqdbHalf *halves);

/* The position of the first half that is NaN or infinite, count if there is none. */
size_t iqdb_halves_first_not_finite(const IqdbHalf *halves, size_t count);

#endif
