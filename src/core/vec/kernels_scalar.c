/*
 * kernels_scalar.c - kernels in plain C, for every processor, and the reference for the others.
 *
 * Eight partial sums, so that a compiler may put them into vectors of whatever width the baseline has. All forms call
 * one compiled body (hence noinline): whether a compiler contracts a multiplication and an addition into one
 * instruction then cannot differ between forms.
 */
#include "core/vec/half.h"
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
f32_sum_pair(const IqdbSum sum, const bool stream, const float *a, const float *b, size_t dim)
{
	size_t i;

	for (i = 0; stream && i < dim; i += IQDBI_STREAM_PIECE / sizeof(float))
		iqdbi_prefetch_stream(b, i * sizeof(float));
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
f32_sum_group(const IqdbSum sum, const bool fetch, const float *query, IqdbiRows rows, IqdbiRows next, size_t dim,
		  float *out)
{
	if (fetch)
		iqdbi_prefetch_rest(next, 0, dim * sizeof(float));
	out[0] = f32_sum_pair(sum, false, query, rows.r0, dim);
	out[1] = f32_sum_pair(sum, false, query, rows.r1, dim);
	out[2] = f32_sum_pair(sum, false, query, rows.r2, dim);
	out[3] = f32_sum_pair(sum, false, query, rows.r3, dim);
}

IQDBI_DEFINE_SUMS(TARGET, f32)

IQDBI_DEFINE_FLOATS(TARGET)

/* ---- halves ---- */

static void
f16_widen(const void *row, size_t dim, float *out)
{
	iqdb_halves_widen(row, dim, out);
}

/* query NULL: the row itself */
IQDBI_INLINE float
half_sum(const IqdbSum sum, const float *query, const IqdbHalf *row, size_t dim)
{
	float  acc[LANES] = {0};
	float  wide[LANES];
	size_t i;

	for (i = 0; i < dim; i += LANES)
	{
		size_t count = dim - i < LANES ? dim - i : LANES;

		f16_widen(row + i, count, wide);
		for (size_t lane = 0; lane < count; lane++)
			acc[lane] = term(sum, acc[lane], query != NULL ? query[i + lane] : wide[lane], wide[lane]);
	}
	return fold(acc);
}

static NOINLINE float
half_dot(const float *query, const IqdbHalf *row, size_t dim)
{
	return half_sum(IQDB_SUM_DOT, query, row, dim);
}

static float
f16_norm2(const void *row, size_t dim)
{
	return half_dot(NULL, row, dim);
}

IQDBI_INLINE float
f16_sum_pair(const IqdbSum sum, const bool stream, const float *query, const IqdbHalf *row, size_t dim)
{
	size_t i;

	for (i = 0; stream && i < f16_row_bytes(dim); i += IQDBI_STREAM_PIECE)
		iqdbi_prefetch_stream(row, i);
	return sum == IQDB_SUM_DOT ? half_dot(query, row, dim) : half_sum(sum, query, row, dim);
}

IQDBI_INLINE void
f16_sum_group(const IqdbSum sum, const bool fetch, const float *query, IqdbiRows rows, IqdbiRows next, size_t dim,
			  float *out)
{
	if (fetch)
		iqdbi_prefetch_rest(next, 0, f16_row_bytes(dim));
	out[0] = f16_sum_pair(sum, false, query, rows.r0, dim);
	out[1] = f16_sum_pair(sum, false, query, rows.r1, dim);
	out[2] = f16_sum_pair(sum, false, query, rows.r2, dim);
	out[3] = f16_sum_pair(sum, false, query, rows.r3, dim);
}

IQDBI_DEFINE_SUMS(TARGET, f16)

const IqdbElementKernels iqdbi_f16_scalar = {
	.sums = IQDBI_SUMS_TABLE(f16),
	.norm2 = f16_norm2,
	.widen = f16_widen,
};

/* ---- bits ---- */

static void
bit_widen(const void *row, size_t dim, float *out)
{
	const unsigned char *bytes = row;

	for (size_t i = 0; i < dim; i++)
		out[i] = (float) (bytes[i / 8] >> (7 - i % 8) & 1);
}

/* Bits that both have, or that are different. */
IQDBI_INLINE uint64_t
word_of(const IqdbSum sum, uint64_t a, uint64_t b)
{
	return sum == IQDB_SUM_DOT ? a & b : a ^ b;
}

IQDBI_INLINE float
bit_sum_pair(const IqdbSum sum, const bool stream, const unsigned char *query, const unsigned char *row, size_t dim)
{
	size_t   bytes = bit_row_bytes(dim);
	uint64_t count = 0;
	uint64_t a;
	uint64_t b;
	size_t   i;

	for (i = 0; i + sizeof(a) <= bytes; i += sizeof(a))
	{
		if (stream)
			iqdbi_prefetch_stream(row, i);
		memcpy(&a, query + i, sizeof(a));
		memcpy(&b, row + i, sizeof(b));
		count += (uint64_t) __builtin_popcountll(word_of(sum, a, b));
	}
	if (i < bytes)
	{
		a = b = 0;
		memcpy(&a, query + i, bytes - i);
		memcpy(&b, row + i, bytes - i);
		count += (uint64_t) __builtin_popcountll(word_of(sum, a, b));
	}
	return (float) count;
}

IQDBI_INLINE void
bit_sum_group(const IqdbSum sum, const bool fetch, const unsigned char *query, IqdbiRows rows, IqdbiRows next, size_t dim,
			  float *out)
{
	if (fetch)
		iqdbi_prefetch_rest(next, 0, bit_row_bytes(dim));
	out[0] = bit_sum_pair(sum, false, query, rows.r0, dim);
	out[1] = bit_sum_pair(sum, false, query, rows.r1, dim);
	out[2] = bit_sum_pair(sum, false, query, rows.r2, dim);
	out[3] = bit_sum_pair(sum, false, query, rows.r3, dim);
}

IQDBI_DEFINE_BIT_SUMS(TARGET)

static float
bit_norm2(const void *row, size_t dim)
{
	return pair_bit_dot(row, row, dim);
}

const IqdbElementKernels iqdbi_bit_scalar = {
	.sums = IQDBI_BIT_SUMS_TABLE,
	.norm2 = bit_norm2,
	.widen = bit_widen,
};

/* ---- codes ---- */

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
	.sums = IQDBI_SUMS_TABLE(f32),
	.elements = {&f32_kernels, &iqdbi_f16_scalar, &iqdbi_bit_scalar},
	.doubles = &double_kernels,
	.dot_u8i8 = dot_u8i8_scalar,
	.dot_u8i8_gather = dot_u8i8_gather_scalar,
};
