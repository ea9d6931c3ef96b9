/*
 * kernels_double_private.h - the sums of one pair in double, written once and compiled by every file of kernels.
 *
 * A file of kernels defines TARGET, the attribute of its instruction set, DOUBLES, how many doubles its registers hold,
 * and where the compiler needs help WIDEN(p), the floats at p as doubles, and includes this. All tables give the same
 * bits: a sum has DOUBLE_LANES partial sums whatever the width of a register, products and additions are rounded
 * separately, and the tree that adds the lanes up is the same. So what SQL computes does not depend on the machine.
 *
 * Every product of two floats is exact in double: it has 48 bits, and exponents from -298 to 256 are far from either end.
 * So sums of squares neither overflow nor vanish, and nothing has to be scaled. The additions are cut into blocks of
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

typedef float Singles __attribute__((vector_size(DOUBLES * sizeof(float))));

IQDBI_INLINE Doubles
load_widened(const float *p)
{
	Singles singles;

	memcpy(&singles, p, sizeof(singles));
	return __builtin_convertvector(singles, Doubles);
}
#endif

/* The terms of the next DOUBLE_LANES components. */
TARGET IQDBI_INLINE void
add_double_terms(const IqdbSum sum, DoubleSums *acc, const float *a, const float *b)
{
#pragma GCC unroll 8
	for (int i = 0; i < DOUBLE_PARTS; i++)
	{
		Doubles x = WIDEN(a + i * DOUBLES);
		Doubles y = WIDEN(b + i * DOUBLES);

		if (sum == IQDB_SUM_DOT)
			acc->part[i] += x * y;
		else if (sum == IQDB_SUM_L2)
			acc->part[i] += (x - y) * (x - y);
		else
			acc->part[i] += (Doubles) ((DoubleBits) (x - y) & INT64_MAX);
	}
}

/* The same for the last `left` components, fewer than DOUBLE_LANES; the other lanes get zeros. */
TARGET IQDBI_INLINE void
add_double_rest(const IqdbSum sum, DoubleSums *acc, const float *a, const float *b, size_t left)
{
	float rest_a[DOUBLE_LANES] = {0};
	float rest_b[DOUBLE_LANES] = {0};

	for (size_t i = 0; i < left; i++)
	{
		rest_a[i] = a[i];
		rest_b[i] = b[i];
	}
	add_double_terms(sum, acc, rest_a, rest_b);
}

TARGET IQDBI_INLINE void
add_double_sums(DoubleSums *total, const DoubleSums *acc)
{
#pragma GCC unroll 8
	for (int i = 0; i < DOUBLE_PARTS; i++)
		total->part[i] += acc->part[i];
}

TARGET IQDBI_INLINE double
fold_double_sums(const DoubleSums *total)
{
	double lanes[DOUBLE_LANES];

	memcpy(lanes, total, sizeof(lanes));
#pragma GCC unroll 4
	for (int half = DOUBLE_LANES / 2; half > 0; half /= 2)
	{
#pragma GCC unroll 8
		for (int i = 0; i < half; i++)
			lanes[i] += lanes[i + half];
	}
	return lanes[0];
}

TARGET IQDBI_INLINE double
sum_double(const IqdbSum sum, const float *a, const float *b, size_t dim)
{
	DoubleSums total = {0};
	size_t     i = 0;

	while (i < dim)
	{
		size_t     end = dim - i > DOUBLE_BLOCK ? i + DOUBLE_BLOCK : dim;
		DoubleSums acc = {0};

		for (; i + DOUBLE_LANES <= end; i += DOUBLE_LANES)
			add_double_terms(sum, &acc, a + i, b + i);
		if (i < end)
			add_double_rest(sum, &acc, a + i, b + i, end - i);
		add_double_sums(&total, &acc);
		i = end;
	}
	return fold_double_sums(&total);
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
add_cosine_terms(DoubleTriple *acc, const float *a, const float *b)
{
#pragma GCC unroll 8
	for (int i = 0; i < DOUBLE_PARTS; i++)
	{
		Doubles x = WIDEN(a + i * DOUBLES);
		Doubles y = WIDEN(b + i * DOUBLES);

		acc->dot.part[i] += x * y;
		acc->norm2_a.part[i] += x * x;
		acc->norm2_b.part[i] += y * y;
	}
}

TARGET IQDBI_INLINE void
add_cosine_rest(DoubleTriple *acc, const float *a, const float *b, size_t left)
{
	float rest_a[DOUBLE_LANES] = {0};
	float rest_b[DOUBLE_LANES] = {0};

	for (size_t i = 0; i < left; i++)
	{
		rest_a[i] = a[i];
		rest_b[i] = b[i];
	}
	add_cosine_terms(acc, rest_a, rest_b);
}

TARGET static IqdbCosineSums
cosine_double(const float *a, const float *b, size_t dim)
{
	DoubleTriple   total = {0};
	IqdbCosineSums sums;
	size_t         i = 0;

	while (i < dim)
	{
		size_t       end = dim - i > DOUBLE_BLOCK ? i + DOUBLE_BLOCK : dim;
		DoubleTriple acc = {0};

		for (; i + DOUBLE_LANES <= end; i += DOUBLE_LANES)
			add_cosine_terms(&acc, a + i, b + i);
		if (i < end)
			add_cosine_rest(&acc, a + i, b + i, end - i);
		add_double_sums(&total.dot, &acc.dot);
		add_double_sums(&total.norm2_a, &acc.norm2_a);
		add_double_sums(&total.norm2_b, &acc.norm2_b);
		i = end;
	}
	sums.dot = fold_double_sums(&total.dot);
	sums.norm2_a = fold_double_sums(&total.norm2_a);
	sums.norm2_b = fold_double_sums(&total.norm2_b);
	return sums;
}

static const IqdbDoubleKernels double_kernels = {dot_double, l2_double, l1_double, cosine_double};

#endif
