/*
 * kernels_avx2.c - kernels for AVX2 with FMA.
 *
 * A row has four partial sums of 8 lanes: four independent chains hide the latency of the multiply-add. With 16
 * registers that leaves room for two rows side by side, so a group is done as two halves, each two rows wide.
 */
#include "core/vec/kernels_private.h"

#ifdef IQDBI_HAVE_X86

#include <immintrin.h>

#define TARGET __attribute__((target("avx2,fma")))

#define LANES 8
#define BLOCK (4 * LANES)
#define DOUBLES 4
#define WIDEN(p) _mm256_cvtps_pd(_mm_loadu_ps(p))
#define WIDEN_PART(p, count) \
	_mm256_cvtps_pd(_mm_maskload_ps(p, _mm_cmpgt_epi32(_mm_set1_epi32((int) (count)), _mm_setr_epi32(0, 1, 2, 3))))
#define ADD_PRODUCT(sum, x, y) _mm256_fmadd_pd(x, y, sum)

#include "core/vec/kernels_double_private.h"

/* The partial sums of one row. */
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

/* The first `left` components at p, at most 8, the rest zero and not read. */
TARGET IQDBI_INLINE __m256
load_part(const float *p, size_t left)
{
	__m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);

	return _mm256_maskload_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32(left > LANES ? LANES : (int) left), lane));
}

/* The last 1 to 31 components. Lanes behind the end are zero on both sides and add nothing to any of the sums. */
TARGET IQDBI_INLINE void
add_tail(const IqdbSum sum, Quad *acc, const float *query, const float *row, size_t left)
{
	acc->v0 = add_term(sum, acc->v0, load_part(query, left), load_part(row, left));
	if (left <= LANES)
		return;
	acc->v1 = add_term(sum, acc->v1, load_part(query + LANES, left - LANES), load_part(row + LANES, left - LANES));
	if (left <= 2 * LANES)
		return;
	acc->v2 = add_term(sum, acc->v2, load_part(query + 2 * LANES, left - 2 * LANES),
					   load_part(row + 2 * LANES, left - 2 * LANES));
	if (left <= 3 * LANES)
		return;
	acc->v3 = add_term(sum, acc->v3, load_part(query + 3 * LANES, left - 3 * LANES),
					   load_part(row + 3 * LANES, left - 3 * LANES));
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
f32_sum_pair(const IqdbSum sum, const bool stream, const float *a, const float *b, size_t dim)
{
	Quad   acc = quad_zero();
	size_t i;

	for (i = 0; i + BLOCK <= dim; i += BLOCK)
	{
		if (stream)
			iqdbi_prefetch_stream(b, i * sizeof(float));
		acc.v0 = add_term(sum, acc.v0, _mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i));
		acc.v1 = add_term(sum, acc.v1, _mm256_loadu_ps(a + i + LANES), _mm256_loadu_ps(b + i + LANES));
		acc.v2 = add_term(sum, acc.v2, _mm256_loadu_ps(a + i + 2 * LANES), _mm256_loadu_ps(b + i + 2 * LANES));
		acc.v3 = add_term(sum, acc.v3, _mm256_loadu_ps(a + i + 3 * LANES), _mm256_loadu_ps(b + i + 3 * LANES));
	}
	if (i < dim)
		add_tail(sum, &acc, a + i, b + i, dim - i);
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
sum_two(const IqdbSum sum, const bool fetch, const float *query, const float *row0, const float *row1,
		const float *next0, const float *next1, size_t dim)
{
	Quad   acc0 = quad_zero();
	Quad   acc1 = quad_zero();
	size_t i;

	for (i = 0; i + BLOCK <= dim; i += BLOCK)
	{
		__m256 part = _mm256_loadu_ps(query + i);

		if (fetch)
		{
			iqdbi_prefetch(next0 + i);
			iqdbi_prefetch(next1 + i);
			iqdbi_prefetch(next0 + i + 2 * LANES);
			iqdbi_prefetch(next1 + i + 2 * LANES);
		}
		acc0.v0 = add_term(sum, acc0.v0, part, _mm256_loadu_ps(row0 + i));
		acc1.v0 = add_term(sum, acc1.v0, part, _mm256_loadu_ps(row1 + i));
		part = _mm256_loadu_ps(query + i + LANES);
		acc0.v1 = add_term(sum, acc0.v1, part, _mm256_loadu_ps(row0 + i + LANES));
		acc1.v1 = add_term(sum, acc1.v1, part, _mm256_loadu_ps(row1 + i + LANES));
		part = _mm256_loadu_ps(query + i + 2 * LANES);
		acc0.v2 = add_term(sum, acc0.v2, part, _mm256_loadu_ps(row0 + i + 2 * LANES));
		acc1.v2 = add_term(sum, acc1.v2, part, _mm256_loadu_ps(row1 + i + 2 * LANES));
		part = _mm256_loadu_ps(query + i + 3 * LANES);
		acc0.v3 = add_term(sum, acc0.v3, part, _mm256_loadu_ps(row0 + i + 3 * LANES));
		acc1.v3 = add_term(sum, acc1.v3, part, _mm256_loadu_ps(row1 + i + 3 * LANES));
	}
	if (i < dim)
	{
		if (fetch)
			prefetch_two(next0, next1, i * sizeof(float), dim * sizeof(float));
		add_tail(sum, &acc0, query + i, row0 + i, dim - i);
		add_tail(sum, &acc1, query + i, row1 + i, dim - i);
	}
	return reduce_two(&acc0, &acc1);
}

TARGET IQDBI_INLINE void
f32_sum_group(const IqdbSum sum, const bool fetch, const float *query, IqdbiRows rows, IqdbiRows next, size_t dim,
		  float *out)
{
	__m128 first = sum_two(sum, fetch, query, rows.r0, rows.r1, next.r0, next.r1, dim);
	__m128 second = sum_two(sum, fetch, query, rows.r2, rows.r3, next.r2, next.r3, dim);

	_mm_storeu_ps(out, _mm_movelh_ps(first, second));
}

IQDBI_DEFINE_SUMS(TARGET, f32)

IQDBI_DEFINE_FLOATS(TARGET)

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
	.elements = {&f32_kernels, &iqdbi_f16_scalar, &iqdbi_bit_scalar},
	.doubles = &double_kernels,
	.dot_u8i8 = dot_u8i8_avx2,
	.dot_u8i8_gather = dot_u8i8_gather_avx2,
};

#else

/* other architectures: nothing here, but a file may not be empty */
typedef int IqdbiNoAvx2;

#endif
