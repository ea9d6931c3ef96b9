/*
 * kernels_scalar.c - kernels in plain C, for every processor, and the reference for the others.
 *
 * Eight partial sums, so that a compiler may put them into vectors of whatever width the baseline has. All forms call
 * one compiled body (hence noinline): whether a compiler contracts a multiplication and an addition into one
 * instruction then cannot differ between forms.
 */
#include "core/vec/kernels_private.h"

#define LANES 8

#define NOINLINE __attribute__((noinline))
/* no attribute: what the compiler was told to compile for */
#define TARGET
#define DOUBLES 2

#include "core/vec/kernels_double_private.h"

static float
fold(const float *acc)
{
	return ((acc[0] + acc[4]) + (acc[2] + acc[6])) + ((acc[1] + acc[5]) + (acc[3] + acc[7]));
}

IQDBI_INLINE float
term(const IqdbSum sum, float acc, float a, float b)
{
	uint32_t bits_a;
	uint32_t bits_b;

	switch (sum)
	{
		case IQDB_SUM_DOT:
			return acc + a * b;
		case IQDB_SUM_L2:
			return acc + (a - b) * (a - b);
		case IQDB_SUM_L1:
			return acc + fabsf(a - b);
		default:
			memcpy(&bits_a, &a, sizeof(bits_a));
			memcpy(&bits_b, &b, sizeof(bits_b));
			return acc + (bits_a != bits_b ? 1.0f : 0.0f);
	}
}

IQDBI_INLINE float
row_sum(const IqdbSum sum, const float *a, const float *b, size_t dim)
{
	float  acc[LANES] = {0};
	size_t i;
	size_t lane;

	for (i = 0; i + LANES <= dim; i += LANES)
	{
		for (lane = 0; lane < LANES; lane++)
			acc[lane] = term(sum, acc[lane], a[i + lane], b[i + lane]);
	}
	for (lane = 0; i + lane < dim; lane++)
		acc[lane] = term(sum, acc[lane], a[i + lane], b[i + lane]);
	return fold(acc);
}

static NOINLINE float
row_dot(const float *a, const float *b, size_t dim)
{
	return row_sum(IQDB_SUM_DOT, a, b, dim);
}

static NOINLINE float
row_l2(const float *a, const float *b, size_t dim)
{
	return row_sum(IQDB_SUM_L2, a, b, dim);
}

static NOINLINE float
row_l1(const float *a, const float *b, size_t dim)
{
	return row_sum(IQDB_SUM_L1, a, b, dim);
}

static NOINLINE float
row_hamming(const float *a, const float *b, size_t dim)
{
	return row_sum(IQDB_SUM_HAMMING, a, b, dim);
}

IQDBI_INLINE float
sum_pair(const IqdbSum sum, const bool stream, const float *a, const float *b, size_t dim)
{
	size_t i;

	for (i = 0; stream && i < dim; i += IQDBI_STREAM_PIECE / sizeof(float))
		iqdbi_prefetch_stream(b, i);
	switch (sum)
	{
		case IQDB_SUM_DOT:
			return row_dot(a, b, dim);
		case IQDB_SUM_L2:
			return row_l2(a, b, dim);
		case IQDB_SUM_L1:
			return row_l1(a, b, dim);
		default:
			return row_hamming(a, b, dim);
	}
}

IQDBI_INLINE void
sum_group(const IqdbSum sum, const bool fetch, const float *query, IqdbiRows rows, IqdbiRows next, size_t dim,
		  float *out)
{
	if (fetch)
		iqdbi_prefetch_rest(next, 0, dim * sizeof(float));
	out[0] = sum_pair(sum, false, query, rows.r0, dim);
	out[1] = sum_pair(sum, false, query, rows.r1, dim);
	out[2] = sum_pair(sum, false, query, rows.r2, dim);
	out[3] = sum_pair(sum, false, query, rows.r3, dim);
}

IQDBI_DEFINE_SUMS(TARGET)

static NOINLINE int32_t
code_pair(const int8_t *query, const uint8_t *code, size_t dim)
{
	int32_t sum = 0;
	size_t  i;

	for (i = 0; i < dim; i++)
		sum += (int32_t) code[i] * (int32_t) query[i];
	return sum;
}

static void
code_group(const int8_t *query, IqdbiRows rows, IqdbiRows next, size_t dim, int32_t *out)
{
	iqdbi_prefetch_rest(next, 0, dim);
	out[0] = code_pair(query, rows.r0, dim);
	out[1] = code_pair(query, rows.r1, dim);
	out[2] = code_pair(query, rows.r2, dim);
	out[3] = code_pair(query, rows.r3, dim);
}

IQDBI_DEFINE_CODES(TARGET, scalar, code_pair, code_group)

const IqdbKernels iqdbi_kernels_scalar = {
	.name = "scalar",
	.sums = IQDBI_SUMS_TABLE,
	.doubles = &double_kernels,
	.dot_u8i8 = dot_u8i8_scalar,
	.dot_u8i8_gather = dot_u8i8_gather_scalar,
};
