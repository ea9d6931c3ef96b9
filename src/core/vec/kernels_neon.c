/*
 * kernels_neon.c - kernels for 64-bit ARM, whose baseline includes NEON.
 *
 * A row has four partial sums of 4 lanes; 32 registers hold four rows side by side. Bytes are multiplied without the
 * dot-product extension, so that the table runs on every such processor.
 */
#include "core/vec/kernels_private.h"

#ifdef IQDBI_HAVE_NEON

#include <arm_neon.h>

/* no attribute: the baseline has it all */
#define TARGET

#define LANES 4
#define BLOCK (4 * LANES)
#define DOUBLES 2

#include "core/vec/kernels_double_private.h"

/* Four vectors: a block of the query, or the partial sums of one row. */
typedef struct Quad
{
	float32x4_t v0;
	float32x4_t v1;
	float32x4_t v2;
	float32x4_t v3;
} Quad;

IQDBI_INLINE float32x4_t
add_term(const IqdbSum sum, float32x4_t acc, float32x4_t a, float32x4_t b)
{
	float32x4_t difference;
	uint32x4_t  equal;

	switch (sum)
	{
		case IQDB_SUM_DOT:
			return vfmaq_f32(acc, a, b);
		case IQDB_SUM_L2:
			difference = vsubq_f32(a, b);
			return vfmaq_f32(acc, difference, difference);
		case IQDB_SUM_L1:
			return vaddq_f32(acc, vabdq_f32(a, b));
		default:
			equal = vceqq_u32(vreinterpretq_u32_f32(a), vreinterpretq_u32_f32(b));
			return vaddq_f32(acc, vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(vdupq_n_f32(1.0f)), equal)));
	}
}

IQDBI_INLINE Quad
quad_zero(void)
{
	float32x4_t zero = vdupq_n_f32(0.0f);
	Quad        quad = {zero, zero, zero, zero};

	return quad;
}

IQDBI_INLINE Quad
quad_load(const float *p)
{
	Quad quad = {vld1q_f32(p), vld1q_f32(p + LANES), vld1q_f32(p + 2 * LANES), vld1q_f32(p + 3 * LANES)};

	return quad;
}

/* The first `left` components at p, at most 16, the rest zero and not read. */
IQDBI_INLINE Quad
quad_load_part(const float *p, size_t left)
{
	float part[BLOCK] = {0};

	memcpy(part, p, left * sizeof(float));
	return quad_load(part);
}

IQDBI_INLINE void
add_block(const IqdbSum sum, Quad *acc, const Quad *query, const Quad *row)
{
	acc->v0 = add_term(sum, acc->v0, query->v0, row->v0);
	acc->v1 = add_term(sum, acc->v1, query->v1, row->v1);
	acc->v2 = add_term(sum, acc->v2, query->v2, row->v2);
	acc->v3 = add_term(sum, acc->v3, query->v3, row->v3);
}

IQDBI_INLINE void
add_row(const IqdbSum sum, Quad *acc, const Quad *query, const float *row)
{
	Quad block = quad_load(row);

	add_block(sum, acc, query, &block);
}

/* The last 1 to 15 components. Lanes behind the end are zero on both sides and add nothing to any of the sums. */
IQDBI_INLINE void
add_tail(const IqdbSum sum, Quad *acc, const Quad *query, const float *row, size_t left)
{
	Quad block = quad_load_part(row, left);

	add_block(sum, acc, query, &block);
}

IQDBI_INLINE float32x4_t
quad_fold(const Quad *acc)
{
	return vaddq_f32(vaddq_f32(acc->v0, acc->v1), vaddq_f32(acc->v2, acc->v3));
}

/* (0 + 1) + (2 + 3), the tree of the pairwise additions in sum_group, for one row. */
IQDBI_INLINE float
reduce_row(const Quad *acc)
{
	float32x4_t sum = quad_fold(acc);

	sum = vpaddq_f32(sum, sum);
	sum = vpaddq_f32(sum, sum);
	return vgetq_lane_f32(sum, 0);
}

IQDBI_INLINE float
f32_sum_pair(const IqdbSum sum, const bool stream, const float *a, const float *b, size_t dim)
{
	Quad   acc = quad_zero();
	size_t i;

	for (i = 0; i + BLOCK <= dim; i += BLOCK)
	{
		Quad block = quad_load(a + i);

		if (stream)
			iqdbi_prefetch_stream(b, i * sizeof(float));
		add_row(sum, &acc, &block, b + i);
	}
	if (i < dim)
	{
		Quad block = quad_load_part(a + i, dim - i);

		add_tail(sum, &acc, &block, b + i, dim - i);
	}
	return reduce_row(&acc);
}

IQDBI_INLINE void
f32_sum_group(const IqdbSum sum, const bool fetch, const float *query, IqdbiRows rows, IqdbiRows next, size_t dim,
		  float *out)
{
	const float *row0 = rows.r0;
	const float *row1 = rows.r1;
	const float *row2 = rows.r2;
	const float *row3 = rows.r3;
	Quad         acc0 = quad_zero();
	Quad         acc1 = quad_zero();
	Quad         acc2 = quad_zero();
	Quad         acc3 = quad_zero();
	size_t       i;

	for (i = 0; i + BLOCK <= dim; i += BLOCK)
	{
		Quad block = quad_load(query + i);

		if (fetch)
			iqdbi_prefetch_line(next, i * sizeof(float));
		add_row(sum, &acc0, &block, row0 + i);
		add_row(sum, &acc1, &block, row1 + i);
		add_row(sum, &acc2, &block, row2 + i);
		add_row(sum, &acc3, &block, row3 + i);
	}
	if (i < dim)
	{
		Quad block = quad_load_part(query + i, dim - i);

		if (fetch)
			iqdbi_prefetch_rest(next, i * sizeof(float), dim * sizeof(float));
		add_tail(sum, &acc0, &block, row0 + i, dim - i);
		add_tail(sum, &acc1, &block, row1 + i, dim - i);
		add_tail(sum, &acc2, &block, row2 + i, dim - i);
		add_tail(sum, &acc3, &block, row3 + i, dim - i);
	}
	vst1q_f32(out, vpaddq_f32(vpaddq_f32(quad_fold(&acc0), quad_fold(&acc1)),
							  vpaddq_f32(quad_fold(&acc2), quad_fold(&acc3))));
}

IQDBI_DEFINE_SUMS(TARGET, f32)

IQDBI_DEFINE_FLOATS(TARGET)

/* ---- codes ---- */

#define CODES 16

/*
 * The last dim % 16 bytes: of a row the 16 bytes that end with it, of the query the same with those zero that were
 * counted already. A vector shorter than that is copied.
 */
IQDBI_INLINE uint8x16_t
load_codes_end(const uint8_t *p, size_t dim)
{
	uint8_t whole[CODES] = {0};

	if (dim >= CODES)
		return vld1q_u8(p + dim - CODES);
	memcpy(whole, p, dim);
	return vld1q_u8(whole);
}

IQDBI_INLINE int8x16_t
load_query_end(const int8_t *query, size_t dim)
{
	static const uint8_t lane[CODES] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
	uint8x16_t           end = load_codes_end((const uint8_t *) query, dim);

	if (dim >= CODES)
		end = vandq_u8(end, vcgeq_u8(vld1q_u8(lane), vdupq_n_u8((uint8_t) (CODES - dim % CODES))));
	return vreinterpretq_s8_u8(end);
}

/* A part of the query widened to 16 bits. */
typedef struct WideQuery
{
	int16x8_t low;
	int16x8_t high;
} WideQuery;

IQDBI_INLINE WideQuery
widen_query(int8x16_t part)
{
	WideQuery wide = {vmovl_s8(vget_low_s8(part)), vmovl_s8(vget_high_s8(part))};

	return wide;
}

IQDBI_INLINE int32x4_t
add_codes(int32x4_t acc, WideQuery query, uint8x16_t code)
{
	int16x8_t low = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(code)));
	int16x8_t high = vreinterpretq_s16_u16(vmovl_u8(vget_high_u8(code)));

	acc = vmlal_s16(acc, vget_low_s16(low), vget_low_s16(query.low));
	acc = vmlal_high_s16(acc, low, query.low);
	acc = vmlal_s16(acc, vget_low_s16(high), vget_low_s16(query.high));
	return vmlal_high_s16(acc, high, query.high);
}

IQDBI_INLINE int32_t
code_pair(const int8_t *query, const uint8_t *code, size_t dim)
{
	int32x4_t acc = vdupq_n_s32(0);
	size_t    i;

	for (i = 0; i + CODES <= dim; i += CODES)
		acc = add_codes(acc, widen_query(vld1q_s8(query + i)), vld1q_u8(code + i));
	if (i < dim)
		acc = add_codes(acc, widen_query(load_query_end(query, dim)), load_codes_end(code, dim));
	return vaddvq_s32(acc);
}

IQDBI_INLINE void
code_group(const int8_t *query, IqdbiRows rows, IqdbiRows next, size_t dim, int32_t *out)
{
	const uint8_t *row0 = rows.r0;
	const uint8_t *row1 = rows.r1;
	const uint8_t *row2 = rows.r2;
	const uint8_t *row3 = rows.r3;
	int32x4_t      acc0 = vdupq_n_s32(0);
	int32x4_t      acc1 = vdupq_n_s32(0);
	int32x4_t      acc2 = vdupq_n_s32(0);
	int32x4_t      acc3 = vdupq_n_s32(0);
	size_t         i;

	for (i = 0; i + CODES <= dim; i += CODES)
	{
		WideQuery part = widen_query(vld1q_s8(query + i));

		if (i % IQDBI_CACHE_LINE == 0)
			iqdbi_prefetch_line(next, i);
		acc0 = add_codes(acc0, part, vld1q_u8(row0 + i));
		acc1 = add_codes(acc1, part, vld1q_u8(row1 + i));
		acc2 = add_codes(acc2, part, vld1q_u8(row2 + i));
		acc3 = add_codes(acc3, part, vld1q_u8(row3 + i));
	}
	if (i < dim)
	{
		WideQuery part = widen_query(load_query_end(query, dim));

		iqdbi_prefetch_line(next, i);
		acc0 = add_codes(acc0, part, load_codes_end(row0, dim));
		acc1 = add_codes(acc1, part, load_codes_end(row1, dim));
		acc2 = add_codes(acc2, part, load_codes_end(row2, dim));
		acc3 = add_codes(acc3, part, load_codes_end(row3, dim));
	}
	vst1q_s32(out, vpaddq_s32(vpaddq_s32(acc0, acc1), vpaddq_s32(acc2, acc3)));
}

IQDBI_DEFINE_CODES(TARGET, neon, code_pair, code_group)

const IqdbKernels iqdbi_kernels_neon = {
	.name = "neon",
	.sums = IQDBI_SUMS_TABLE(f32),
	.elements = {&f32_kernels, &iqdbi_f16_scalar, &iqdbi_bit_scalar},
	.doubles = &double_kernels,
	.dot_u8i8 = dot_u8i8_neon,
	.dot_u8i8_gather = dot_u8i8_gather_neon,
};

#else

/* other architectures: nothing here, but a file may not be empty */
typedef int IqdbiNoNeon;

#endif
