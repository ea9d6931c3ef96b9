/*
 * rng.c - SplitMix64 and xoshiro256**; see rng.h for the papers.
 */
#include "core/base/rng.h"

uint64_t
iqdb_splitmix64(uint64_t *state)
{
	uint64_t mixed = (*state += UINT64_C(0x9e3779b97f4a7c15));

	mixed = (mixed ^ (mixed >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	mixed = (mixed ^ (mixed >> 27)) * UINT64_C(0x94d049bb133111eb);
	return mixed ^ (mixed >> 31);
}

void
iqdb_rng_seed(IqdbRng *rng, uint64_t seed)
{
	/* four successive outputs of a bijection over a counter differ, so they are not all zero */
	for (int i = 0; i < 4; i++)
		rng->state[i] = iqdb_splitmix64(&seed);
}

static inline uint64_t
rotate_left(uint64_t value, int by)
{
	return (value << by) | (value >> (64 - by));
}

uint64_t
iqdb_rng_next(IqdbRng *rng)
{
	uint64_t *s = rng->state;
	uint64_t  result = rotate_left(s[1] * 5, 7) * 9;
	uint64_t  shifted = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= shifted;
	s[3] = rotate_left(s[3], 45);
	return result;
}

uint64_t
iqdb_rng_below(IqdbRng *rng, uint64_t bound)
{
	uint64_t unfair;
	uint64_t value;

	if (bound == 0)
		return 0;
	/* the lowest 2^64 mod bound numbers would favour small remainders */
	unfair = (UINT64_C(0) - bound) % bound;
	do
		value = iqdb_rng_next(rng);
	while (value < unfair);
	return value % bound;
}

double
iqdb_rng_unit(IqdbRng *rng)
{
	return iqdb_unit_from_bits(iqdb_rng_next(rng));
}
