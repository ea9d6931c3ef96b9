/*
 * kernels_neon.c - kernels for 64-bit ARM, whose baseline includes NEON.
 *
 * Halves are widened as they are loaded, sixteen at a time, and added up as floats are.
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

IQDBI_INLINE float32x4_t
widen_halves(uint16x4_t halves)
{
	return vcvt_f32_f16(vreinterpret_f16_u16(halves));
}

/* Components i to i + 15 of a vector. */
IQDBI_INLINE Quad
quad_load(const IqdbiForm form, const void *vector, size_t i)
{
	if (form == IQDBI_HALVES)
	{
		const uint16_t *p = (const uint16_t *) vector + i;
		uint16x8_t      low = vld1q_u16(p);
		uint16x8_t      high = vld1q_u16(p + 2 * LANES);
		Quad            wide = {widen_halves(vget_low_u16(low)), widen_halves(vget_high_u16(low)),
								widen_halves(vget_low_u16(high)), widen_halves(vget_high_u16(high))};

		return wide;
	}
	else
	{
		const float *p = (const float *) vector + i;
		Quad quad = {vld1q_f32(p), vld1q_f32(p + LANES), vld1q_f32(p + 2 * LANES), vld1q_f32(p + 3 * LANES)};

		return quad;
	}
}

/* Components i to end - 1, at most 16, the rest zero and not read. */
IQDBI_INLINE Quad
quad_load_part(const IqdbiForm form, const void *vector, size_t i, size_t end)
{
	float part[BLOCK] = {0};

	memcpy(part, (const char *) vector + iqdbi_form_bytes(form, i), iqdbi_form_bytes(form, end - i));
	return quad_load(form, part, 0);
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
add_row(const IqdbSum sum, const IqdbiForm form, Quad *acc, const Quad *query, const void *row, size_t i)
{
	Quad block = quad_load(form, row, i);

	add_block(sum, acc, query, &block);
}

/* The last 1 to 15 components, from i on. Lanes behind the end are zero on both sides and add nothing to any of the sums. */
IQDBI_INLINE void
add_tail(const IqdbSum sum, const IqdbiForm form, Quad *acc, const Quad *query, const void *row, size_t i, size_t end)
{
	Quad block = quad_load_part(form, row, i, end);

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
sum_pair(const IqdbSum sum, const IqdbiPairForms forms, const bool stream, const void *query, const void *row, size_t dim)
{
	Quad   acc = quad_zero();
	size_t i;

	for (i = 0; i + BLOCK <= dim; i += BLOCK)
	{
		Quad block = quad_load(forms.query, query, i);

		if (stream)
			iqdbi_prefetch_stream(row, iqdbi_form_bytes(forms.row, i));
		add_row(sum, forms.row, &acc, &block, row, i);
	}
	if (i < dim)
	{
		Quad block = quad_load_part(forms.query, query, i, dim);

		add_tail(sum, forms.row, &acc, &block, row, i, dim);
	}
	return reduce_row(&acc);
}

IQDBI_INLINE void
sum_group(const IqdbSum sum, const IqdbiPairForms forms, const bool fetch, const void *query, IqdbiRows rows,
		  IqdbiRows next, size_t dim, float *out)
{
	Quad   acc0 = quad_zero();
	Quad   acc1 = quad_zero();
	Quad   acc2 = quad_zero();
	Quad   acc3 = quad_zero();
	size_t i;

	for (i = 0; i + BLOCK <= dim; i += BLOCK)
	{
		Quad block = quad_load(forms.query, query, i);

		/* a block of halves is half a line */
		if (fetch && iqdbi_form_bytes(forms.row, i) % IQDBI_CACHE_LINE == 0)
			iqdbi_prefetch_line(next, iqdbi_form_bytes(forms.row, i));
		add_row(sum, forms.row, &acc0, &block, rows.r0, i);
		add_row(sum, forms.row, &acc1, &block, rows.r1, i);
		add_row(sum, forms.row, &acc2, &block, rows.r2, i);
		add_row(sum, forms.row, &acc3, &block, rows.r3, i);
	}
	if (i < dim)
	{
		Quad block = quad_load_part(forms.query, query, i, dim);

		if (fetch)
			iqdbi_prefetch_rest(next, iqdbi_form_bytes(forms.row, i), iqdbi_form_bytes(forms.row, dim));
		add_tail(sum, forms.row, &acc0, &block, rows.r0, i, dim);
		add_tail(sum, forms.row, &acc1, &block, rows.r1, i, dim);
		add_tail(sum, forms.row, &acc2, &block, rows.r2, i, dim);
		add_tail(sum, forms.row, &acc3, &block, rows.r3, i, dim);
	}
	vst1q_f32(out, vpaddq_f32(vpaddq_f32(quad_fold(&acc0), quad_fold(&acc1)),
							  vpaddq_f32(quad_fold(&acc2), quad_fold(&acc3))));
}

IQDBI_INLINE void
store_block(float *out, Quad block)
{
	vst1q_f32(out, block.v0);
	vst1q_f32(out + LANES, block.v1);
	vst1q_f32(out + 2 * LANES, block.v2);
	vst1q_f32(out + 3 * LANES, block.v3);
}

static void
f16_widen(const void *row, size_t dim, float *out)
{
	float  part[BLOCK];
	size_t i;

	for (i = 0; i + BLOCK <= dim; i += BLOCK)
		store_block(out + i, quad_load(IQDBI_HALVES, row, i));
	if (i < dim)
	{
		store_block(part, quad_load_part(IQDBI_HALVES, row, i, dim));
		memcpy(out + i, part, (dim - i) * sizeof(*out));
	}
}

IQDBI_DEFINE_NUMBERS(TARGET)

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
	.elements = {&f32_kernels, &f16_kernels, &iqdbi_bit_neon},
	.doubles = &double_kernels,
	.columns = &iqdbi_columns_neon,
	.dot_u8i8 = dot_u8i8_neon,
	.dot_u8i8_gather = dot_u8i8_gather_neon,
};

#else

/* other architectures: nothing here, but a file may not be empty */
typedef int IqdbiNoNeon;

#endif
