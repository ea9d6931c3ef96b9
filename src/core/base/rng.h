/*
 * rng.h - reproducible pseudo-random numbers: the generator is an argument, never a global.
 *
 * SplitMix64 (Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014) turns one 64-bit seed
 * into a stream, and seeds xoshiro256** (Blackman, Vigna, "Scrambled Linear Pseudorandom Number Generators", ACM TOMS
 * 2021). The same seed gives the same numbers on every machine. Not for secrets.
 */
#ifndef IQDB_BASE_RNG_H
#define IQDB_BASE_RNG_H

#include <stdint.h>

typedef struct IqdbRng
{
	uint64_t state[4]; /* never all zero */
} IqdbRng;

/* Advances the state by one step and returns the mixed output. Any state is good. */
uint64_t iqdb_splitmix64(uint64_t *state);

/* Any seed is good, 0 included. */
void iqdb_rng_seed(IqdbRng *rng, uint64_t seed);

/* Uniform over all 64-bit numbers. */
uint64_t iqdb_rng_next(IqdbRng *rng);

/* Uniform in 0 .. bound - 1, without bias; 0 when bound is 0. */
uint64_t iqdb_rng_below(IqdbRng *rng, uint64_t bound);

/* Uniform in (0, 1], 53 bits: never 0, so its logarithm is finite. */
double iqdb_rng_unit(IqdbRng *rng);

/* The mapping of iqdb_rng_unit for any 64 random bits. */
static inline double
iqdb_unit_from_bits(uint64_t bits)
{
	return (double) ((bits >> 11) + 1) * 0x1.0p-53;
}

#endif
