/*
 * kernels_avx512.c - kernels for AVX-512: tables that differ in how they multiply bytes and count bits.
 *
 * "avx512" needs F, BW, DQ, VL and VNNI, and comes with VPOPCNTDQ for bits and without; "avx512bw" is for processors without
 * VNNI. Which one runs is decided in kernels.c.
 *
 * Halves are widened as they are loaded, sixteen at a time, and added up as floats are. AVX-512-FP16 would multiply and add
 * them as they are, but round every product and sum to the eleven digits of a half; its own conversions are no faster.
 *
 * A row has four partial sums of 16 lanes: four independent chains hide the latency of the multiply-add, and with four
 * rows side by side a load of the query serves four rows.
 */
#include "core/vec/kernels_private.h"

#ifdef IQDBI_HAVE_X86

#include <immintrin.h>

#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))
#define TARGET_VNNI __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))

#define LANES 16
#define BLOCK (4 * LANES)
#define DOUBLES 8
#define WIDEN(p) _mm512_cvtps_pd(_mm256_loadu_ps(p))
#define WIDEN_PART(p, count) _mm512_cvtps_pd(_mm256_maskz_loadu_ps((__mmask8) ((1u << (count)) - 1), p))
#define ADD_PRODUCT(sum, x, y) _mm512_fmadd_pd(x, y, sum)

#include "core/vec/kernels_double_private.h"

/* Four vectors: a block of the query, or the partial sums of one row. */
typedef struct Quad
{
	__m512 v0;
	__m512 v1;
	__m512 v2;
	__m512 v3;
} Quad;

TARGET IQDBI_INLINE __m512
add_term(const IqdbSum sum, __m512 acc, __m512 a, __m512 b)
{
	__m512 difference;

	switch (sum)
	{
		case IQDB_SUM_DOT:
			return _mm512_fmadd_ps(a, b, acc);
		case IQDB_SUM_L2:
			difference = _mm512_sub_ps(a, b);
			return _mm512_fmadd_ps(difference, difference, acc);
		case IQDB_SUM_L1:
			return _mm512_add_ps(acc, _mm512_abs_ps(_mm512_sub_ps(a, b)));
		default:
			return _mm512_mask_add_ps(acc, _mm512_cmpneq_epi32_mask(_mm512_castps_si512(a), _mm512_castps_si512(b)),
									  acc, _mm512_set1_ps(1.0f));
	}
}

TARGET IQDBI_INLINE Quad
quad_zero(void)
{
	__m512 zero = _mm512_setzero_ps();
	Quad   quad = {zero, zero, zero, zero};

	return quad;
}

/* Components i to i + 15 of a vector. */
TARGET IQDBI_INLINE __m512
load(const IqdbiForm form, const void *vector, size_t i)
{
	if (form == IQDBI_HALVES)
		return _mm512_cvtph_ps(_mm256_loadu_si256((const void *) ((const uint16_t *) vector + i)));
	return _mm512_loadu_ps((const float *) vector + i);
}

/* The first `left` components from i on, at most 16, the rest zero and not read. */
TARGET IQDBI_INLINE __m512
load_part(const IqdbiForm form, const void *vector, size_t i, size_t left)
{
	__mmask16 mask = left >= LANES ? (__mmask16) 0xffff : (__mmask16) ((1u << left) - 1);

	if (form == IQDBI_HALVES)
		return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, (const uint16_t *) vector + i));
	return _mm512_maskz_loadu_ps(mask, (const float *) vector + i);
}

TARGET IQDBI_INLINE Quad
quad_load(const IqdbiForm form, const void *vector, size_t i)
{
	Quad quad = {load(form, vector, i), load(form, vector, i + LANES), load(form, vector, i + 2 * LANES),
				 load(form, vector, i + 3 * LANES)};

	return quad;
}

TARGET IQDBI_INLINE void
add_block(const IqdbSum sum, const IqdbiForm form, Quad *acc, const Quad *query, const void *row, size_t i)
{
	acc->v0 = add_term(sum, acc->v0, query->v0, load(form, row, i));
	acc->v1 = add_term(sum, acc->v1, query->v1, load(form, row, i + LANES));
	acc->v2 = add_term(sum, acc->v2, query->v2, load(form, row, i + 2 * LANES));
	acc->v3 = add_term(sum, acc->v3, query->v3, load(form, row, i + 3 * LANES));
}

/* The last 1 to 63 components, from i on. Lanes behind the end are zero on both sides and add nothing to any of the sums. */
TARGET IQDBI_INLINE void
add_tail(const IqdbSum sum, const IqdbiPairForms forms, Quad *acc, const void *query, const void *row, size_t i, size_t end)
{
	const size_t left = end - i;

	query = iqdbi_form_at(forms.query, query, i);
	row = iqdbi_form_at(forms.row, row, i);
	acc->v0 = add_term(sum, acc->v0, load_part(forms.query, query, 0, left), load_part(forms.row, row, 0, left));
	if (left <= LANES)
		return;
	acc->v1 = add_term(sum, acc->v1, load_part(forms.query, query, LANES, left - LANES),
					   load_part(forms.row, row, LANES, left - LANES));
	if (left <= 2 * LANES)
		return;
	acc->v2 = add_term(sum, acc->v2, load_part(forms.query, query, 2 * LANES, left - 2 * LANES),
					   load_part(forms.row, row, 2 * LANES, left - 2 * LANES));
	if (left <= 3 * LANES)
		return;
	acc->v3 = add_term(sum, acc->v3, load_part(forms.query, query, 3 * LANES, left - 3 * LANES),
					   load_part(forms.row, row, 3 * LANES, left - 3 * LANES));
}

TARGET IQDBI_INLINE __m512
quad_fold(const Quad *acc)
{
	return _mm512_add_ps(_mm512_add_ps(acc->v0, acc->v1), _mm512_add_ps(acc->v2, acc->v3));
}

/* Halves, halves of halves, and so on: the tree of reduce_group, for one row. */
TARGET IQDBI_INLINE float
reduce_row(const Quad *acc)
{
	__m512 all = quad_fold(acc);
	__m256 half = _mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
	__m128 sum = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));

	sum = _mm_add_ps(sum, _mm_permute_ps(sum, 0x4e));
	sum = _mm_add_ps(sum, _mm_permute_ps(sum, 0xb1));
	return _mm_cvtss_f32(sum);
}

/* The same for four rows at a time, in half the shuffles. */
TARGET IQDBI_INLINE __m128
reduce_group(const Quad *acc0, const Quad *acc1, const Quad *acc2, const Quad *acc3)
{
	__m512 r0 = quad_fold(acc0);
	__m512 r1 = quad_fold(acc1);
	__m512 r2 = quad_fold(acc2);
	__m512 r3 = quad_fold(acc3);
	__m512 r01 = _mm512_add_ps(_mm512_shuffle_f32x4(r0, r1, 0x44), _mm512_shuffle_f32x4(r0, r1, 0xee));
	__m512 r23 = _mm512_add_ps(_mm512_shuffle_f32x4(r2, r3, 0x44), _mm512_shuffle_f32x4(r2, r3, 0xee));
	__m512 all = _mm512_add_ps(_mm512_shuffle_f32x4(r01, r23, 0x88), _mm512_shuffle_f32x4(r01, r23, 0xdd));

	all = _mm512_add_ps(all, _mm512_permute_ps(all, 0x4e));
	all = _mm512_add_ps(all, _mm512_permute_ps(all, 0xb1));
	/* a row's sum stands in the first lane of its quarter */
	return _mm512_castps512_ps128(_mm512_maskz_compress_ps(0x1111, all));
}

TARGET IQDBI_INLINE float
sum_pair(const IqdbSum sum, const IqdbiPairForms forms, const bool stream, const void *query, const void *row, size_t dim)
{
	Quad   acc = quad_zero();
	size_t i;

	for (i = 0; i + BLOCK <= dim; i += BLOCK)
	{
		Quad block = quad_load(forms.query, query, i);

		if (stream)
			iqdbi_prefetch_stream(row, iqdbi_form_bytes(forms.row, i));
		add_block(sum, forms.row, &acc, &block, row, i);
	}
	if (i < dim)
		add_tail(sum, forms, &acc, query, row, i, dim);
	return reduce_row(&acc);
}

TARGET IQDBI_INLINE void
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

		if (fetch)
			iqdbi_prefetch_lines(next, iqdbi_form_bytes(forms.row, i), forms.row == IQDBI_HALVES ? 2 : 4);
		add_block(sum, forms.row, &acc0, &block, rows.r0, i);
		add_block(sum, forms.row, &acc1, &block, rows.r1, i);
		add_block(sum, forms.row, &acc2, &block, rows.r2, i);
		add_block(sum, forms.row, &acc3, &block, rows.r3, i);
	}
	if (i < dim)
	{
		if (fetch)
			iqdbi_prefetch_rest(next, iqdbi_form_bytes(forms.row, i), iqdbi_form_bytes(forms.row, dim));
		add_tail(sum, forms, &acc0, query, rows.r0, i, dim);
		add_tail(sum, forms, &acc1, query, rows.r1, i, dim);
		add_tail(sum, forms, &acc2, query, rows.r2, i, dim);
		add_tail(sum, forms, &acc3, query, rows.r3, i, dim);
	}
	_mm_storeu_ps(out, reduce_group(&acc0, &acc1, &acc2, &acc3));
}

TARGET static void
f16_widen(const void *row, size_t dim, float *out)
{
	size_t i;

	for (i = 0; i + LANES <= dim; i += LANES)
		_mm512_storeu_ps(out + i, load(IQDBI_HALVES, row, i));
	if (i < dim)
		_mm512_mask_storeu_ps(out + i, (__mmask16) ((1u << (dim - i)) - 1), load_part(IQDBI_HALVES, row, i, dim - i));
}

IQDBI_DEFINE_NUMBERS(TARGET)

/* ---- codes ---- */

#define CODES 64

/* The first `left` bytes at p, at most 64, the rest zero and not read. */
TARGET IQDBI_INLINE __m512i
load_codes(const void *p, size_t left)
{
	return _mm512_maskz_loadu_epi8(left >= CODES ? ~(__mmask64) 0 : ((__mmask64) 1 << left) - 1, p);
}

/* Sums of four rows at a time; integers, so any order will do. */
TARGET IQDBI_INLINE __m128i
reduce_codes(__m512i r0, __m512i r1, __m512i r2, __m512i r3)
{
	__m512i r01 = _mm512_add_epi32(_mm512_shuffle_i32x4(r0, r1, 0x44), _mm512_shuffle_i32x4(r0, r1, 0xee));
	__m512i r23 = _mm512_add_epi32(_mm512_shuffle_i32x4(r2, r3, 0x44), _mm512_shuffle_i32x4(r2, r3, 0xee));
	__m512i all = _mm512_add_epi32(_mm512_shuffle_i32x4(r01, r23, 0x88), _mm512_shuffle_i32x4(r01, r23, 0xdd));

	all = _mm512_add_epi32(all, _mm512_shuffle_epi32(all, _MM_PERM_BADC));
	all = _mm512_add_epi32(all, _mm512_shuffle_epi32(all, _MM_PERM_CDAB));
	return _mm512_castsi512_si128(_mm512_maskz_compress_epi32(0x1111, all));
}

TARGET_VNNI IQDBI_INLINE int32_t
vnni_pair(const int8_t *query, const uint8_t *code, size_t dim)
{
	__m512i acc0 = _mm512_setzero_si512();
	__m512i acc1 = _mm512_setzero_si512();
	__m512i acc2 = _mm512_setzero_si512();
	__m512i acc3 = _mm512_setzero_si512();
	size_t  i = 0;

	for (; i + 4 * CODES <= dim; i += 4 * CODES)
	{
		acc0 = _mm512_dpbusd_epi32(acc0, _mm512_loadu_si512(code + i), _mm512_loadu_si512(query + i));
		acc1 = _mm512_dpbusd_epi32(acc1, _mm512_loadu_si512(code + i + CODES), _mm512_loadu_si512(query + i + CODES));
		acc2 = _mm512_dpbusd_epi32(acc2, _mm512_loadu_si512(code + i + 2 * CODES),
								   _mm512_loadu_si512(query + i + 2 * CODES));
		acc3 = _mm512_dpbusd_epi32(acc3, _mm512_loadu_si512(code + i + 3 * CODES),
								   _mm512_loadu_si512(query + i + 3 * CODES));
	}
	for (; i < dim; i += CODES)
		acc0 = _mm512_dpbusd_epi32(acc0, load_codes(code + i, dim - i), load_codes(query + i, dim - i));
	return _mm512_reduce_add_epi32(_mm512_add_epi32(_mm512_add_epi32(acc0, acc1), _mm512_add_epi32(acc2, acc3)));
}

TARGET_VNNI IQDBI_INLINE void
vnni_group(const int8_t *query, IqdbiRows rows, IqdbiRows next, size_t dim, int32_t *out)
{
	const uint8_t *row0 = rows.r0;
	const uint8_t *row1 = rows.r1;
	const uint8_t *row2 = rows.r2;
	const uint8_t *row3 = rows.r3;
	__m512i        acc0 = _mm512_setzero_si512();
	__m512i        acc1 = _mm512_setzero_si512();
	__m512i        acc2 = _mm512_setzero_si512();
	__m512i        acc3 = _mm512_setzero_si512();
	size_t         i;

	for (i = 0; i + CODES <= dim; i += CODES)
	{
		__m512i part = _mm512_loadu_si512(query + i);

		iqdbi_prefetch_line(next, i);
		acc0 = _mm512_dpbusd_epi32(acc0, _mm512_loadu_si512(row0 + i), part);
		acc1 = _mm512_dpbusd_epi32(acc1, _mm512_loadu_si512(row1 + i), part);
		acc2 = _mm512_dpbusd_epi32(acc2, _mm512_loadu_si512(row2 + i), part);
		acc3 = _mm512_dpbusd_epi32(acc3, _mm512_loadu_si512(row3 + i), part);
	}
	if (i < dim)
	{
		__m512i part = load_codes(query + i, dim - i);

		iqdbi_prefetch_line(next, i);
		acc0 = _mm512_dpbusd_epi32(acc0, load_codes(row0 + i, dim - i), part);
		acc1 = _mm512_dpbusd_epi32(acc1, load_codes(row1 + i, dim - i), part);
		acc2 = _mm512_dpbusd_epi32(acc2, load_codes(row2 + i, dim - i), part);
		acc3 = _mm512_dpbusd_epi32(acc3, load_codes(row3 + i, dim - i), part);
	}
	_mm_storeu_si128((__m128i *) out, reduce_codes(acc0, acc1, acc2, acc3));
}

/* A part of the query, its even and its odd bytes widened to 16 bits. */
typedef struct SplitQuery
{
	__m512i even;
	__m512i odd;
} SplitQuery;

TARGET IQDBI_INLINE SplitQuery
split_query(__m512i part)
{
	SplitQuery split = {_mm512_srai_epi16(_mm512_slli_epi16(part, 8), 8), _mm512_srai_epi16(part, 8)};

	return split;
}

/*
 * Without VNNI: products in 16 bits would saturate in the instruction made for bytes (255 * 127 * 2 does not fit), so
 * bytes are widened first and multiplied in pairs into 32 bits, which is exact.
 */
TARGET IQDBI_INLINE __m512i
add_codes(__m512i acc, SplitQuery query, __m512i code)
{
	__m512i even = _mm512_madd_epi16(_mm512_and_si512(code, _mm512_set1_epi16(0xff)), query.even);
	__m512i odd = _mm512_madd_epi16(_mm512_srli_epi16(code, 8), query.odd);

	return _mm512_add_epi32(acc, _mm512_add_epi32(even, odd));
}

TARGET IQDBI_INLINE int32_t
split_pair(const int8_t *query, const uint8_t *code, size_t dim)
{
	__m512i acc = _mm512_setzero_si512();
	size_t  i;

	for (i = 0; i < dim; i += CODES)
		acc = add_codes(acc, split_query(load_codes(query + i, dim - i)), load_codes(code + i, dim - i));
	return _mm512_reduce_add_epi32(acc);
}

TARGET IQDBI_INLINE void
split_group(const int8_t *query, IqdbiRows rows, IqdbiRows next, size_t dim, int32_t *out)
{
	const uint8_t *row0 = rows.r0;
	const uint8_t *row1 = rows.r1;
	const uint8_t *row2 = rows.r2;
	const uint8_t *row3 = rows.r3;
	__m512i        acc0 = _mm512_setzero_si512();
	__m512i        acc1 = _mm512_setzero_si512();
	__m512i        acc2 = _mm512_setzero_si512();
	__m512i        acc3 = _mm512_setzero_si512();
	size_t         i;

	for (i = 0; i + CODES <= dim; i += CODES)
	{
		SplitQuery part = split_query(_mm512_loadu_si512(query + i));

		iqdbi_prefetch_line(next, i);
		acc0 = add_codes(acc0, part, _mm512_loadu_si512(row0 + i));
		acc1 = add_codes(acc1, part, _mm512_loadu_si512(row1 + i));
		acc2 = add_codes(acc2, part, _mm512_loadu_si512(row2 + i));
		acc3 = add_codes(acc3, part, _mm512_loadu_si512(row3 + i));
	}
	if (i < dim)
	{
		SplitQuery part = split_query(load_codes(query + i, dim - i));

		iqdbi_prefetch_line(next, i);
		acc0 = add_codes(acc0, part, load_codes(row0 + i, dim - i));
		acc1 = add_codes(acc1, part, load_codes(row1 + i, dim - i));
		acc2 = add_codes(acc2, part, load_codes(row2 + i, dim - i));
		acc3 = add_codes(acc3, part, load_codes(row3 + i, dim - i));
	}
	_mm_storeu_si128((__m128i *) out, reduce_codes(acc0, acc1, acc2, acc3));
}

IQDBI_DEFINE_CODES(TARGET_VNNI, vnni, vnni_pair, vnni_group)
IQDBI_DEFINE_CODES(TARGET, split, split_pair, split_group)

#define DEFINE_TABLE(table, text, bits, codes) \
	const IqdbKernels table = { \
		.name = text, \
		.sums = IQDBI_SUMS_TABLE(f32), \
		.elements = {&f32_kernels, &f16_kernels, bits}, \
		.doubles = &double_kernels, \
		.columns = &iqdbi_columns_avx512, \
		.dot_u8i8 = dot_u8i8_##codes, \
		.dot_u8i8_gather = dot_u8i8_gather_##codes, \
	};

DEFINE_TABLE(iqdbi_kernels_avx512, "avx512", &iqdbi_bit_avx512, vnni)
DEFINE_TABLE(iqdbi_kernels_avx512_vnni, "avx512", &iqdbi_bit_avx2, vnni)
DEFINE_TABLE(iqdbi_kernels_avx512bw, "avx512bw", &iqdbi_bit_avx2, split)

#else

/* other architectures: nothing here, but a file may not be empty */
typedef int IqdbiNoAvx512;

#endif
