/*
 * kernels_double_private.h - the sums of one pair in double, written once and compiled by every file of kernels.
 *
 * A file of kernels defines TARGET, the attribute of its instruction set, DOUBLES, how many doubles its registers hold,
 * and where the compiler needs help WIDEN(p), the floats at p as doubles, WIDEN_PART(p, count), which reads the first
 * count of them and gives zeros for the others, and ADD_PRODUCT(sum, x, y), sum + x * y in one instruction; and includes
 * this. All tables give the same bits: a sum has DOUBLE_LANES partial sums whatever the width of a register, every step
 * is rounded as if it were alone, and the tree that adds the lanes up is the same. So what SQL computes does not depend on
 * the machine.
 *
 * Every product of two floats is exact in double: it has 48 bits, and exponents from -298 to 256 are far from either end.
 * So sums of squares neither overflow nor vanish, nothing has to be scaled, and whether a product is rounded before it is
 * added makes no difference: only such products may go through ADD_PRODUCT. The square of a difference is not exact. It is
 * multiplied and added in two steps, in every table. The additions are cut into blocks of
 * DOUBLE_BLOCK components, because the error of a sum grows with the number of additions in one chain: at 16000
 * components none is longer than 64, and the error stays below 64 * 2^-53 of the terms' magnitudes.
 */
#ifndef IQDB_VEC_KERNELS_DOUBLE_PRIVATE_H
#define IQDB_VEC_KERNELS_DOUBLE_PRIVATE_H

#include "core/vec/kernels_private.h"

#ifndef TARGET
#define TARGET
#endif
#ifndef DOUBLES
#define DOUBLES 2
#endif

#define DOUBLE_LANES 16
#define DOUBLE_PARTS (DOUBLE_LANES / DOUBLES)
#define DOUBLE_BLOCK 512

typedef double Doubles __attribute__((vector_size(DOUBLES * sizeof(double))));
typedef int64_t DoubleBits __attribute__((vector_size(DOUBLES * sizeof(double))));

/* One partial sum for each lane. */
typedef struct DoubleSums
{
	Doubles part[DOUBLE_PARTS];
} DoubleSums;

#ifndef WIDEN
#define WIDEN(p) load_widened(p)
#define WIDEN_PART(p, count) load_widened_part(p, count)

typedef float Singles __attribute__((vector_size(DOUBLES * sizeof(float))));

IQDBI_INLINE Doubles
load_widened(const float *p)
{
	Singles singles;

	memcpy(&singles, p, sizeof(singles));
	return __builtin_convertvector(singles, Doubles);
}

IQDBI_INLINE Doubles
load_widened_part(const float *p, size_t count)
{
	Doubles doubles = {0};

	for (size_t i = 0; i < count; i++)
		doubles[i] = (double) p[i];
	return doubles;
}
#endif

#ifndef ADD_PRODUCT
#define ADD_PRODUCT(sum, x, y) ((sum) + (x) * (y))
#endif

/* How many of the last `left` components belong to the part that begins with this lane. */
IQDBI_INLINE size_t
part_count(size_t left, size_t lane)
{
	if (left <= lane)
		return 0;
	return left - lane < DOUBLES ? left - lane : DOUBLES;
}

TARGET IQDBI_INLINE Doubles
add_double_term(const IqdbSum sum, Doubles acc, Doubles x, Doubles y)
{
	if (sum == IQDB_SUM_DOT)
		return ADD_PRODUCT(acc, x, y);
	if (sum == IQDB_SUM_L2)
		return acc + (x - y) * (x - y);
	return acc + (Doubles) ((DoubleBits) (x - y) & INT64_MAX);
}

/* The partial sums of at most DOUBLE_BLOCK components. Lanes behind the end get zeros, which change no sum. */
TARGET IQDBI_INLINE DoubleSums
sum_double_block(const IqdbSum sum, const float *a, const float *b, size_t dim)
{
	DoubleSums acc = {0};
	size_t     i = 0;

	for (; i + DOUBLE_LANES <= dim; i += DOUBLE_LANES)
	{
#pragma GCC unroll 8
		for (size_t lane = 0; lane < DOUBLE_LANES; lane += DOUBLES)
			acc.part[lane / DOUBLES] = add_double_term(sum, acc.part[lane / DOUBLES], WIDEN(a + i + lane),
													   WIDEN(b + i + lane));
	}
	if (i == dim)
		return acc;
#pragma GCC unroll 8
	for (size_t lane = 0; lane < DOUBLE_LANES; lane += DOUBLES)
	{
		size_t count = part_count(dim - i, lane);

		acc.part[lane / DOUBLES] = add_double_term(sum, acc.part[lane / DOUBLES], WIDEN_PART(a + i + lane, count),
												   WIDEN_PART(b + i + lane, count));
	}
	return acc;
}

TARGET IQDBI_INLINE void
add_double_sums(DoubleSums *total, const DoubleSums *acc)
{
#pragma GCC unroll 8
	for (int i = 0; i < DOUBLE_PARTS; i++)
		total->part[i] += acc->part[i];
}

/* Halves, halves of halves, and so on, by whole registers first. */
TARGET IQDBI_INLINE double
fold_double_sums(DoubleSums total)
{
	double lanes[DOUBLES];

#pragma GCC unroll 4
	for (int half = DOUBLE_PARTS / 2; half > 0; half /= 2)
	{
#pragma GCC unroll 8
		for (int i = 0; i < half; i++)
			total.part[i] += total.part[i + half];
	}
	memcpy(lanes, &total.part[0], sizeof(lanes));
#pragma GCC unroll 4
	for (int half = DOUBLES / 2; half > 0; half /= 2)
	{
#pragma GCC unroll 4
		for (int i = 0; i < half; i++)
			lanes[i] += lanes[i + half];
	}
	return lanes[0];
}

IQDBI_INLINE size_t
block_length(size_t dim, size_t i)
{
	return dim - i < DOUBLE_BLOCK ? dim - i : DOUBLE_BLOCK;
}

TARGET IQDBI_INLINE double
sum_double(const IqdbSum sum, const float *a, const float *b, size_t dim)
{
	DoubleSums total = sum_double_block(sum, a, b, block_length(dim, 0));

	for (size_t i = DOUBLE_BLOCK; i < dim; i += DOUBLE_BLOCK)
	{
		DoubleSums acc = sum_double_block(sum, a + i, b + i, block_length(dim, i));

		add_double_sums(&total, &acc);
	}
	return fold_double_sums(total);
}

TARGET static double
dot_double(const float *a, const float *b, size_t dim)
{
	return sum_double(IQDB_SUM_DOT, a, b, dim);
}

TARGET static double
l2_double(const float *a, const float *b, size_t dim)
{
	return sum_double(IQDB_SUM_L2, a, b, dim);
}

TARGET static double
l1_double(const float *a, const float *b, size_t dim)
{
	return sum_double(IQDB_SUM_L1, a, b, dim);
}

/* The three sums of one cosine in one pass. */
typedef struct DoubleTriple
{
	DoubleSums dot;
	DoubleSums norm2_a;
	DoubleSums norm2_b;
} DoubleTriple;

TARGET IQDBI_INLINE void
add_cosine_terms(DoubleTriple *acc, size_t lane, Doubles x, Doubles y)
{
	Doubles *dot = &acc->dot.part[lane / DOUBLES];
	Doubles *norm2_a = &acc->norm2_a.part[lane / DOUBLES];
	Doubles *norm2_b = &acc->norm2_b.part[lane / DOUBLES];

	*dot = ADD_PRODUCT(*dot, x, y);
	*norm2_a = ADD_PRODUCT(*norm2_a, x, x);
	*norm2_b = ADD_PRODUCT(*norm2_b, y, y);
}

TARGET IQDBI_INLINE DoubleTriple
sum_cosine_block(const float *a, const float *b, size_t dim)
{
	DoubleTriple acc = {0};
	size_t       i = 0;

	for (; i + DOUBLE_LANES <= dim; i += DOUBLE_LANES)
	{
#pragma GCC unroll 8
		for (size_t lane = 0; lane < DOUBLE_LANES; lane += DOUBLES)
			add_cosine_terms(&acc, lane, WIDEN(a + i + lane), WIDEN(b + i + lane));
	}
	if (i == dim)
		return acc;
#pragma GCC unroll 8
	for (size_t lane = 0; lane < DOUBLE_LANES; lane += DOUBLES)
	{
		size_t count = part_count(dim - i, lane);

		add_cosine_terms(&acc, lane, WIDEN_PART(a + i + lane, count), WIDEN_PART(b + i + lane, count));
	}
	return acc;
}

TARGET static IqdbCosineSums
cosine_double(const float *a, const float *b, size_t dim)
{
	DoubleTriple   total = sum_cosine_block(a, b, block_length(dim, 0));
	IqdbCosineSums sums;

	for (size_t i = DOUBLE_BLOCK; i < dim; i += DOUBLE_BLOCK)
	{
		DoubleTriple acc = sum_cosine_block(a + i, b + i, block_length(dim, i));

		add_double_sums(&total.dot, &acc.dot);
		add_double_sums(&total.norm2_a, &acc.norm2_a);
		add_double_sums(&total.norm2_b, &acc.norm2_b);
	}
	sums.dot = fold_double_sums(total.dot);
	sums.norm2_a = fold_double_sums(total.norm2_a);
	sums.norm2_b = fold_double_sums(total.norm2_b);
	return sums;
}

static const IqdbDoubleKernels double_kernels = {dot_double, l2_double, l1_double, cosine_double};

#endif
