/*
 * half.c - arrays of halves (half.h).
 *
 * Loops that convert have no branch a compiler could not turn into a selection; what is wrong is looked for only when a
 * first pass found that something is.
 */
#include "core/vec/half.h"

void
iqdb_halves_widen(const IqdbHalf *halves, size_t count, float *values)
{
	for (size_t i = 0; i < count; i++)
		values[i] = iqdb_half_widen(halves[i]);
}

size_t
iqdb_halves_narrow(const float *values, size_t count, IqdbHalf *halves)
{
	bool   overflows = false;
	size_t i;

	for (i = 0; i < count; i++)
	{
		halves[i] = iqdb_half_narrow(values[i]);
		overflows |= iqdb_half_overflows(values[i]);
	}
	if (!overflows)
		return count;
	for (i = 0; !iqdb_half_overflows(values[i]); i++)
		continue;
	return i;
}

/* The same half four times. */
#define FOUR_TIMES(half) ((uint64_t) (half) * UINT64_C(0x0001000100010001))

/* The sign's bit of each of four halves is set where the exponent is all ones: that, and no other, carries into its place. */
static inline uint64_t
mark_not_finite(uint64_t four)
{
	return (four & ~FOUR_TIMES(IQDB_HALF_SIGN)) + FOUR_TIMES(0x0400u);
}

size_t
iqdb_halves_first_not_finite(const IqdbHalf *halves, size_t count)
{
	uint64_t marks = 0;
	uint64_t four;
	size_t   i;

	for (i = 0; i + 4 <= count; i += 4)
	{
		memcpy(&four, &halves[i], sizeof(four));
		marks |= mark_not_finite(four);
	}
	four = 0;
	memcpy(&four, &halves[i], (count - i) * sizeof(IqdbHalf));
	marks |= mark_not_finite(four);
	if ((marks & FOUR_TIMES(IQDB_HALF_SIGN)) == 0)
		return count;
	for (i = 0; iqdb_half_is_finite(halves[i]); i++)
		continue;
	return i;
}
