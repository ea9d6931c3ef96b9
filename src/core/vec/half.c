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

size_t
iqdb_halves_first_not_finite(const IqdbHalf *halves, size_t count)
{
	uint32_t bad = 0;
	size_t   i;

	/* an exponent of all ones carries into the sign bit */
	for (i = 0; i < count; i++)
		bad |= (halves[i] & ~IQDB_HALF_SIGN) + 0x0400u;
	if ((bad & IQDB_HALF_SIGN) == 0)
		return count;
	for (i = 0; iqdb_half_is_finite(halves[i]); i++)
		continue;
	return i;
}
