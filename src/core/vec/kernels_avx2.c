/*
 * kernels_avx2.c - kernels for AVX2 with FMA and F16C.
 *
 * Halves are widened as they are loaded, eight at a time, and added up as floats are.
 *
 * A row has four partial sums of 8 lanes: four independent chains hide the latency of the multiply-add. With 16
 * registers that leaves room for two rows side by side, so a group is done as two halves, each two rows wide.
 */
#include "core/vec/kernels_private.h"

#ifdef IQDBI_HAVE_X86

#include <immintrin.h>

#define TARGET __attribute__((target("avx2,fma,f16c")))

#define LANES 8
#define BLOCK (4 * LANES)
#define DOUBLES 4
#define WIDEN(p) _mm256_cvtps_pd(_mm_loadu_ps(p))
#define WIDEN_PART(p, count) \
	_mm256_cvtps_pd(_mm_maskload_ps(p, _mm_cmpgt_epi32(_mm_set1_epi32((int) (count)), _mm_setr_epi32(0, 1, 2, 3))))
#define ADD_PRODUCT(sum, x, y) _mm256_fmadd_pd(x, y, sum)

#include "core/vec/kernels_double_private.h"

/* Four vectors: a block of the query, or the partial sums of one row. */
typedef struct Quad
{
	__m256 v0;
	__m256 v1;
	__m256 v2;
	__m256 v3;
} Quad;

TARGET IQDBI_INLINE __m256
add_term(const IqdbSum sum, __m256 acc, __m256 a, __m256 b)
{
	__m256 difference;
	__m256 equal;

	switch (sum)
	{
		case IQDB_SUM_DOT:
			return _mm256_fmadd_ps(a, b, acc);
		case IQDB_SUM_L2:
			difference = _mm256_sub_ps(a, b);
			return _mm256_fmadd_ps(difference, difference, acc);
		case IQDB_SUM_L1:
			difference = _mm256_sub_ps(a, b);
			return _mm256_add_ps(acc, _mm256_andnot_ps(_mm256_set1_ps(-0.0f), difference));
		default:
			equal = _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_castps_si256(a), _mm256_castps_si256(b)));
			return _mm256_add_ps(acc, _mm256_andnot_ps(equal, _mm256_set1_ps(1.0f)));
	}
}

TARGET IQDBI_INLINE Quad
quad_zero(void)
{
	__m256 zero = _mm256_setzero_ps();
	Quad   quad = {zero, zero, zero, zero};

	return quad;
}

/* Components i to i + 7 of a vector. */
TARGET IQDBI_INLINE __m256
load(const IqdbiForm form, const void *vector, size_t i)
{
	if (form == IQDBI_HALVES)
		return _mm256_cvtph_ps(_mm_loadu_si128((const void *) ((const uint16_t *) vector + i)));
	return _mm256_loadu_ps((const float *) vector + i);
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

/*
 * The last halves of a vector, `left` of them, at most 7; the rest zero. There is no masked load of 16-bit lanes: where
 * others stand before them, the last 8 are loaded and those others shifted out; else they are copied.
 */
TARGET IQDBI_INLINE __m128i
load_last_halves(const uint16_t *halves, size_t left, bool others)
{
	static const uint8_t order[4 * LANES] = {
		0,    1,    2,    3,    4,    5,    6,    7,    8,    9,    10,   11,   12,   13,   14,   15,
		0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80};
	uint16_t whole[LANES] = {0};

	if (others)
		return _mm_shuffle_epi8(_mm_loadu_si128((const void *) (halves + left - LANES)),
								_mm_loadu_si128((const void *) (order + 2 * (LANES - left))));
	for (size_t lane = 0; lane < left; lane++)
		whole[lane] = halves[lane];
	return _mm_loadu_si128((const void *) whole);
}

/* The first `left` components from i on, at most 8, the rest zero and not read. Are there `others`, at least 8, before? */
TARGET IQDBI_INLINE __m256
load_part(const IqdbiForm form, const void *vector, size_t i, size_t left, bool others)
{
	__m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);

	if (form == IQDBI_HALVES)
		return left >= LANES ? load(form, vector, i)
							 : _mm256_cvtph_ps(load_last_halves(iqdbi_form_at(form, vector, i), left, others));
	return _mm256_maskload_ps((const float *) vector + i,
							  _mm256_cmpgt_epi32(_mm256_set1_epi32(left > LANES ? LANES : (int) left), lane));
}

/* The last 1 to 31 components, from i on. Lanes behind the end are zero on both sides and add nothing to any of the sums. */
TARGET IQDBI_INLINE void
add_tail(const IqdbSum sum, const IqdbiPairForms forms, Quad *acc, const void *query, const void *row, size_t i, size_t end)
{
	const size_t left = end - i;

	query = iqdbi_form_at(forms.query, query, i);
	row = iqdbi_form_at(forms.row, row, i);
	acc->v0 = add_term(sum, acc->v0, load_part(forms.query, query, 0, left, i > 0),
					   load_part(forms.row, row, 0, left, i > 0));
	if (left <= LANES)
		return;
	acc->v1 = add_term(sum, acc->v1, load_part(forms.query, query, LANES, left - LANES, true),
					   load_part(forms.row, row, LANES, left - LANES, true));
	if (left <= 2 * LANES)
		return;
	acc->v2 = add_term(sum, acc->v2, load_part(forms.query, query, 2 * LANES, left - 2 * LANES, true),
					   load_part(forms.row, row, 2 * LANES, left - 2 * LANES, true));
	if (left <= 3 * LANES)
		return;
	acc->v3 = add_term(sum, acc->v3, load_part(forms.query, query, 3 * LANES, left - 3 * LANES, true),
					   load_part(forms.row, row, 3 * LANES, left - 3 * LANES, true));
}

/* A row's partial sums added up to four lanes. */
TARGET IQDBI_INLINE __m128
quad_fold(const Quad *acc)
{
	__m256 all = _mm256_add_ps(_mm256_add_ps(acc->v0, acc->v1), _mm256_add_ps(acc->v2, acc->v3));

	return _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1));
}

/* (0 + 2) + (1 + 3), the tree of reduce_two, for one row. */
TARGET IQDBI_INLINE float
reduce_row(const Quad *acc)
{
	__m128 sum = quad_fold(acc);

	sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
	return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
}

/* Two rows' sums, in the first two lanes. */
TARGET IQDBI_INLINE __m128
reduce_two(const Quad *acc0, const Quad *acc1)
{
	__m128 r0 = quad_fold(acc0);
	__m128 r1 = quad_fold(acc1);
	__m128 sum = _mm_add_ps(_mm_unpacklo_ps(r0, r1), _mm_unpackhi_ps(r0, r1));

	return _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
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

/* The lines from byte i up to byte `end` of two rows. */
IQDBI_INLINE void
prefetch_two(const void *next0, const void *next1, size_t i, size_t end)
{
	for (; i < end; i += IQDBI_CACHE_LINE)
	{
		iqdbi_prefetch((const char *) next0 + i);
		iqdbi_prefetch((const char *) next1 + i);
	}
}

/* Two rows side by side, fetching as many ahead. */
TARGET IQDBI_INLINE __m128
sum_two(const IqdbSum sum, const IqdbiPairForms forms, const bool fetch, const void *query, const void *row0,
		const void *row1, const void *next0, const void *next1, size_t dim)
{
	Quad   acc0 = quad_zero();
	Quad   acc1 = quad_zero();
	size_t i;

	for (i = 0; i + BLOCK <= dim; i += BLOCK)
	{
		Quad block = quad_load(forms.query, query, i);

		if (fetch)
		{
			iqdbi_prefetch((const char *) next0 + iqdbi_form_bytes(forms.row, i));
			iqdbi_prefetch((const char *) next1 + iqdbi_form_bytes(forms.row, i));
		}
		if (fetch && forms.row == IQDBI_FLOATS)
		{
			iqdbi_prefetch((const char *) next0 + iqdbi_form_bytes(forms.row, i + 2 * LANES));
			iqdbi_prefetch((const char *) next1 + iqdbi_form_bytes(forms.row, i + 2 * LANES));
		}
		/* in turn: both rows' lines are asked for at once */
		acc0.v0 = add_term(sum, acc0.v0, block.v0, load(forms.row, row0, i));
		acc1.v0 = add_term(sum, acc1.v0, block.v0, load(forms.row, row1, i));
		acc0.v1 = add_term(sum, acc0.v1, block.v1, load(forms.row, row0, i + LANES));
		acc1.v1 = add_term(sum, acc1.v1, block.v1, load(forms.row, row1, i + LANES));
		acc0.v2 = add_term(sum, acc0.v2, block.v2, load(forms.row, row0, i + 2 * LANES));
		acc1.v2 = add_term(sum, acc1.v2, block.v2, load(forms.row, row1, i + 2 * LANES));
		acc0.v3 = add_term(sum, acc0.v3, block.v3, load(forms.row, row0, i + 3 * LANES));
		acc1.v3 = add_term(sum, acc1.v3, block.v3, load(forms.row, row1, i + 3 * LANES));
	}
	if (i < dim)
	{
		if (fetch)
			prefetch_two(next0, next1, iqdbi_form_bytes(forms.row, i), iqdbi_form_bytes(forms.row, dim));
		add_tail(sum, forms, &acc0, query, row0, i, dim);
		add_tail(sum, forms, &acc1, query, row1, i, dim);
	}
	return reduce_two(&acc0, &acc1);
}

TARGET IQDBI_INLINE void
sum_group(const IqdbSum sum, const IqdbiPairForms forms, const bool fetch, const void *query, IqdbiRows rows,
		  IqdbiRows next, size_t dim, float *out)
{
	__m128 first = sum_two(sum, forms, fetch, query, rows.r0, rows.r1, next.r0, next.r1, dim);
	__m128 second = sum_two(sum, forms, fetch, query, rows.r2, rows.r3, next.r2, next.r3, dim);

	_mm_storeu_ps(out, _mm_movelh_ps(first, second));
}

TARGET static void
f16_widen(const void *row, size_t dim, float *out)
{
	size_t i;

	for (i = 0; i + LANES <= dim; i += LANES)
		_mm256_storeu_ps(out + i, load(IQDBI_HALVES, row, i));
	for (; i < dim; i++)
		out[i] = _cvtsh_ss(((const uint16_t *) row)[i]);
}

IQDBI_DEFINE_NUMBERS(TARGET)

/* ---- codes ---- */

#define CODES 32

TARGET IQDBI_INLINE __m256i
load_codes(const void *p)
{
	return _mm256_loadu_si256(p);
}

/*
 * The last dim % 32 bytes: of a row the 32 bytes that end with it, of the query the same with those zero that were
 * counted already. A vector shorter than that is copied.
 */
TARGET IQDBI_INLINE __m256i
load_codes_end(const void *p, size_t dim)
{
	unsigned char whole[CODES] = {0};

	if (dim >= CODES)
		return load_codes((const char *) p + dim - CODES);
	memcpy(whole, p, dim);
	return load_codes(whole);
}

TARGET IQDBI_INLINE __m256i
load_query_end(const int8_t *query, size_t dim)
{
	__m256i lane = _mm256_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
									16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31);
	__m256i end = load_codes_end(query, dim);

	if (dim < CODES)
		return end;
	return _mm256_and_si256(end, _mm256_cmpgt_epi8(lane, _mm256_set1_epi8((char) (CODES - 1 - dim % CODES))));
}

/* A part of the query, its even and its odd bytes widened to 16 bits. */
typedef struct SplitQuery
{
	__m256i even;
	__m256i odd;
} SplitQuery;

TARGET IQDBI_INLINE SplitQuery
split_query(__m256i part)
{
	SplitQuery split = {_mm256_srai_epi16(_mm256_slli_epi16(part, 8), 8), _mm256_srai_epi16(part, 8)};

	return split;
}

/*
 * Products in 16 bits would saturate in the instruction made for bytes (255 * 127 * 2 does not fit), so bytes are
 * widened first and multiplied in pairs into 32 bits, which is exact.
 */
TARGET IQDBI_INLINE __m256i
add_codes(__m256i acc, SplitQuery query, __m256i code)
{
	__m256i even = _mm256_madd_epi16(_mm256_and_si256(code, _mm256_set1_epi16(0xff)), query.even);
	__m256i odd = _mm256_madd_epi16(_mm256_srli_epi16(code, 8), query.odd);

	return _mm256_add_epi32(acc, _mm256_add_epi32(even, odd));
}

TARGET IQDBI_INLINE int32_t
code_pair(const int8_t *query, const uint8_t *code, size_t dim)
{
	__m256i acc = _mm256_setzero_si256();
	__m128i sum;
	size_t  i;

	for (i = 0; i + CODES <= dim; i += CODES)
		acc = add_codes(acc, split_query(load_codes(query + i)), load_codes(code + i));
	if (i < dim)
		acc = add_codes(acc, split_query(load_query_end(query, dim)), load_codes_end(code, dim));
	sum = _mm_add_epi32(_mm256_castsi256_si128(acc), _mm256_extracti128_si256(acc, 1));
	sum = _mm_hadd_epi32(sum, sum);
	return _mm_cvtsi128_si32(_mm_hadd_epi32(sum, sum));
}

TARGET IQDBI_INLINE void
code_group(const int8_t *query, IqdbiRows rows, IqdbiRows next, size_t dim, int32_t *out)
{
	const uint8_t *row0 = rows.r0;
	const uint8_t *row1 = rows.r1;
	const uint8_t *row2 = rows.r2;
	const uint8_t *row3 = rows.r3;
	__m256i        acc0 = _mm256_setzero_si256();
	__m256i        acc1 = _mm256_setzero_si256();
	__m256i        acc2 = _mm256_setzero_si256();
	__m256i        acc3 = _mm256_setzero_si256();
	size_t         i;

	for (i = 0; i + CODES <= dim; i += CODES)
	{
		SplitQuery part = split_query(load_codes(query + i));

		if (i % IQDBI_CACHE_LINE == 0)
			iqdbi_prefetch_line(next, i);
		acc0 = add_codes(acc0, part, load_codes(row0 + i));
		acc1 = add_codes(acc1, part, load_codes(row1 + i));
		acc2 = add_codes(acc2, part, load_codes(row2 + i));
		acc3 = add_codes(acc3, part, load_codes(row3 + i));
	}
	if (i < dim)
	{
		SplitQuery part = split_query(load_query_end(query, dim));

		iqdbi_prefetch_line(next, i);
		acc0 = add_codes(acc0, part, load_codes_end(row0, dim));
		acc1 = add_codes(acc1, part, load_codes_end(row1, dim));
		acc2 = add_codes(acc2, part, load_codes_end(row2, dim));
		acc3 = add_codes(acc3, part, load_codes_end(row3, dim));
	}
	/* lanes 0 to 3 of the lower half and of the upper half belong to rows 0 to 3 */
	acc0 = _mm256_hadd_epi32(_mm256_hadd_epi32(acc0, acc1), _mm256_hadd_epi32(acc2, acc3));
	_mm_storeu_si128((__m128i *) (void *) out,
					 _mm_add_epi32(_mm256_castsi256_si128(acc0), _mm256_extracti128_si256(acc0, 1)));
}

IQDBI_DEFINE_CODES(TARGET, avx2, code_pair, code_group)

const IqdbKernels iqdbi_kernels_avx2 = {
	.name = "avx2",
	.sums = IQDBI_SUMS_TABLE(f32),
	.elements = {&f32_kernels, &f16_kernels, &iqdbi_bit_avx2},
	.doubles = &double_kernels,
	.columns = &iqdbi_columns_avx2,
	.dot_u8i8 = dot_u8i8_avx2,
	.dot_u8i8_gather = dot_u8i8_gather_avx2,
};

#else

/* other architectures: nothing here, but a file may not be empty */
typedef int IqdbiNoAvx2;

#endif
