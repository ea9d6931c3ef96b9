/*
 * big_private.h - exact integers of fixed size, for decimal numbers that a double cannot tell from their neighbours (text.c,
 * decimal.c). Nothing overflows: the users bound what they compute, and say how.
 */
#ifndef IQDB_VEC_BIG_PRIVATE_H
#define IQDB_VEC_BIG_PRIVATE_H

#include <stdint.h>

/* 4096 bits. The largest is decimal.c's denominator of 801 digits from 10^-330 on: 10^1131, below 2^3758. */
#define IQDBI_BIG_LIMBS 128

typedef struct IqdbiBig
{
	int      count;                 /* no leading zeros: 0 is the number zero */
	uint32_t limb[IQDBI_BIG_LIMBS]; /* least significant first; unset from count on */
} IqdbiBig;

static inline void
iqdbi_big_set(IqdbiBig *big, uint64_t value)
{
	big->limb[0] = (uint32_t) value;
	big->limb[1] = (uint32_t) (value >> 32);
	big->count = big->limb[1] != 0 ? 2 : big->limb[0] != 0;
}

static inline void
iqdbi_big_multiply_add(IqdbiBig *big, uint32_t factor, uint32_t addend)
{
	uint64_t carry = addend;

	for (int i = 0; i < big->count; i++)
	{
		carry += (uint64_t) big->limb[i] * factor;
		big->limb[i] = (uint32_t) carry;
		carry >>= 32;
	}
	if (carry != 0 && big->count < IQDBI_BIG_LIMBS)
		big->limb[big->count++] = (uint32_t) carry;
}

static inline void
iqdbi_big_multiply_power_of_ten(IqdbiBig *big, int64_t power)
{
	for (; power >= 9; power -= 9)
		iqdbi_big_multiply_add(big, 1000000000u, 0);
	for (; power > 0; power--)
		iqdbi_big_multiply_add(big, 10, 0);
}

static inline void
iqdbi_big_shift_left(IqdbiBig *big, int bits)
{
	for (; bits >= 31; bits -= 31)
		iqdbi_big_multiply_add(big, UINT32_C(1) << 31, 0);
	if (bits > 0)
		iqdbi_big_multiply_add(big, UINT32_C(1) << bits, 0);
}

/* Sign of a - b. */
static inline int
iqdbi_big_compare(const IqdbiBig *a, const IqdbiBig *b)
{
	if (a->count != b->count)
		return a->count < b->count ? -1 : 1;
	for (int i = a->count - 1; i >= 0; i--)
	{
		if (a->limb[i] != b->limb[i])
			return a->limb[i] < b->limb[i] ? -1 : 1;
	}
	return 0;
}

#endif
