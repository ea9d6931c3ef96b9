/*
 * kernels_scalar.c - kernels in plain C, for every processor, and the reference for the others.
 *
 * Eight partial sums, so that a compiler may put them into vectors of whatever width the baseline has. All forms call
 * one compiled body for each sum (hence noinline): whether a compiler contracts a multiplication and an addition into one
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
component(const IqdbiForm form, const void *vector, size_t i)
{
	return form == IQDBI_HALVES ? iqdb_half_widen(((const IqdbHalf *) vector)[i]) : ((const float *) vector)[i];
}

IQDBI_INLINE float
row_sum(const IqdbSum sum, const IqdbiPairForms forms, const void *a, const void *b, size_t dim)
{
	float  acc[LANES] = {0};
	size_t i;
	size_t lane;

	for (i = 0; i + LANES <= dim; i += LANES)
	{
		for (lane = 0; lane < LANES; lane++)
			acc[lane] = term(sum, acc[lane], component(forms.query, a, i + lane), component(forms.row, b, i + lane));
	}
	for (lane = 0; i + lane < dim; lane++)
		acc[lane] = term(sum, acc[lane], component(forms.query, a, i + lane), component(forms.row, b, i + lane));
	return fold(acc);
}

/* The compiled bodies. */
#define DEFINE_BODY(name, sum, query, row) \
	static NOINLINE float \
	name(const void *a, const void *b, size_t dim) \
	{ \
		return row_sum(sum, IQDBI_FORMS(query, row), a, b, dim); \
	}

DEFINE_BODY(floats_dot, IQDB_SUM_DOT, IQDBI_FLOATS, IQDBI_FLOATS)
DEFINE_BODY(floats_l2, IQDB_SUM_L2, IQDBI_FLOATS, IQDBI_FLOATS)
DEFINE_BODY(floats_l1, IQDB_SUM_L1, IQDBI_FLOATS, IQDBI_FLOATS)
DEFINE_BODY(floats_hamming, IQDB_SUM_HAMMING, IQDBI_FLOATS, IQDBI_FLOATS)
DEFINE_BODY(halves_dot, IQDB_SUM_DOT, IQDBI_FLOATS, IQDBI_HALVES)
DEFINE_BODY(halves_l2, IQDB_SUM_L2, IQDBI_FLOATS, IQDBI_HALVES)
DEFINE_BODY(halves_l1, IQDB_SUM_L1, IQDBI_FLOATS, IQDBI_HALVES)
DEFINE_BODY(halves_hamming, IQDB_SUM_HAMMING, IQDBI_FLOATS, IQDBI_HALVES)
DEFINE_BODY(halves_square, IQDB_SUM_DOT, IQDBI_HALVES, IQDBI_HALVES)

IQDBI_INLINE float
sum_pair(const IqdbSum sum, const IqdbiPairForms forms, const bool stream, const void *query, const void *row, size_t dim)
{
	const bool halves = forms.row == IQDBI_HALVES;
	size_t     i;

	for (i = 0; stream && i < iqdbi_form_bytes(forms.row, dim); i += IQDBI_STREAM_PIECE)
		iqdbi_prefetch_stream(row, i);
	if (forms.query == IQDBI_HALVES)
		return halves_square(query, row, dim);
	switch (sum)
	{
		case IQDB_SUM_DOT:
			return halves ? halves_dot(query, row, dim) : floats_dot(query, row, dim);
		case IQDB_SUM_L2:
			return halves ? halves_l2(query, row, dim) : floats_l2(query, row, dim);
		case IQDB_SUM_L1:
			return halves ? halves_l1(query, row, dim) : floats_l1(query, row, dim);
		default:
			return halves ? halves_hamming(query, row, dim) : floats_hamming(query, row, dim);
	}
}

IQDBI_INLINE void
sum_group(const IqdbSum sum, const IqdbiPairForms forms, const bool fetch, const void *query, IqdbiRows rows,
		  IqdbiRows next, size_t dim, float *out)
{
	if (fetch)
		iqdbi_prefetch_rest(next, 0, iqdbi_form_bytes(forms.row, dim));
	out[0] = sum_pair(sum, forms, false, query, rows.r0, dim);
	out[1] = sum_pair(sum, forms, false, query, rows.r1, dim);
	out[2] = sum_pair(sum, forms, false, query, rows.r2, dim);
	out[3] = sum_pair(sum, forms, false, query, rows.r3, dim);
}

static void
f16_widen(const void *row, size_t dim, float *out)
{
	iqdb_halves_widen(row, dim, out);
}

IQDBI_DEFINE_NUMBERS(TARGET)

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
	.elements = {&f32_kernels, &f16_kernels, &iqdbi_bit_scalar},
	.doubles = &double_kernels,
	.columns = &iqdbi_columns_scalar,
	.dot_u8i8 = dot_u8i8_scalar,
	.dot_u8i8_gather = dot_u8i8_gather_scalar,
};
