/*
 * kernels_private.h - what the kernel files share: the tables, and the walk over rows.
 *
 * kernels_scalar.c, kernels_avx2.c, kernels_avx512.c and kernels_neon.c hold the numbers (floats, halves, 8-bit codes) of one
 * instruction set and its tables, kernels_bit.c the bits of all of them, kernels_column.c tests of columns. For each element
 * such a file supplies a function that sums one pair and a function that sums IQDBI_GROUP rows side by side. The macros below
 * make the batch and gather forms of them: which rows stand together and which rows are fetched ahead. They are macros
 * because a function compiled for one instruction set cannot be inlined into one compiled for another.
 *
 * Bit for bit equality of the forms rests on two rules for the suppliers: a row's partial sums are the same in pair and
 * group (number, order, tail), and so is the tree that adds them up. Counts of bits are exact, and need no rule.
 */
#ifndef IQDB_VEC_KERNELS_PRIVATE_H
#define IQDB_VEC_KERNELS_PRIVATE_H

#include "core/vec/kernels.h"
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#define IQDBI_HAVE_X86 1
#elif defined(__aarch64__) && defined(__GNUC__)
#define IQDBI_HAVE_NEON 1
#endif

void iqdbi_f32_widen(const void *row, size_t dim, float *out);

extern const IqdbElementKernels iqdbi_bit_scalar;
extern const IqdbColumnKernels  iqdbi_columns_scalar;
extern const IqdbKernels        iqdbi_kernels_scalar;
#ifdef IQDBI_HAVE_X86
extern const IqdbElementKernels iqdbi_bit_avx2;
extern const IqdbColumnKernels  iqdbi_columns_avx2;
extern const IqdbElementKernels iqdbi_bit_avx512;
extern const IqdbColumnKernels  iqdbi_columns_avx512;
extern const IqdbKernels        iqdbi_kernels_avx2;
extern const IqdbKernels        iqdbi_kernels_avx512bw;
extern const IqdbKernels        iqdbi_kernels_avx512_vnni;
extern const IqdbKernels        iqdbi_kernels_avx512;
#endif
#ifdef IQDBI_HAVE_NEON
extern const IqdbElementKernels iqdbi_bit_neon;
extern const IqdbColumnKernels  iqdbi_columns_neon;
extern const IqdbKernels        iqdbi_kernels_neon;
#endif

#define IQDBI_INLINE static inline __attribute__((always_inline))

/* Rows summed side by side. */
#define IQDBI_GROUP 4
#define IQDBI_CACHE_LINE 64

/*
 * How contiguous rows are read. Measured on memory that no cache holds, against plain reading of the same bytes:
 *
 * Rows up to IQDBI_SHORT_ROW bytes go four at a time, the next four fetched on the way: so many short pieces at once
 * are more than the hardware's prefetcher follows.
 *
 * Longer rows go one after the other, so that memory is read strictly in order, and every IQDBI_STREAM_PIECE bytes the
 * piece after the next boundary is asked for at one go. Both the order and the burst matter (5 to 15 % together);
 * larger distances are worse. Only when all rows of the call together would fit a second-level cache
 * (IQDBI_RESIDENT_BYTES) do they go four at a time, which saves loads of the query but costs the order.
 */
#define IQDBI_SHORT_ROW 512
#define IQDBI_STREAM_PIECE 1024
#define IQDBI_RESIDENT_BYTES ((size_t) 512 * 1024)

/* Gathered rows: at least this much, and at least this many rows, are under way. */
#define IQDBI_GATHER_AHEAD_BYTES 16384
#define IQDBI_GATHER_AHEAD_ROWS 4

IQDBI_INLINE void
iqdbi_prefetch(const void *address)
{
	__builtin_prefetch(address, 0, 3);
}

/* All cache lines of one row. */
IQDBI_INLINE void
iqdbi_prefetch_row(const void *row, size_t bytes)
{
	const char *at = row;
	size_t      i;

	for (i = 0; i < bytes; i += IQDBI_CACHE_LINE)
		iqdbi_prefetch(at + i);
}

/*
 * A streaming row's burst: to be called at every block of the row, with the byte where it begins; acts at the first block
 * of a piece. The address may lie behind the last row; nothing is read there, and no pointer is made of it.
 */
IQDBI_INLINE void
iqdbi_prefetch_stream(const void *row, size_t i)
{
	uintptr_t at = (uintptr_t) row + i + IQDBI_STREAM_PIECE;
	int       line;

	if (i % IQDBI_STREAM_PIECE != 0)
		return;
#pragma GCC unroll 16
	for (line = 0; line < IQDBI_STREAM_PIECE / IQDBI_CACHE_LINE; line++)
		iqdbi_prefetch((const void *) (at + (uintptr_t) line * IQDBI_CACHE_LINE));
}

/*
 * The elements that are numbers share the kernels: halves are widened as they are loaded, and what follows is the same.
 * Which form the two sides of a pair have is a constant wherever these are used.
 */
typedef enum IqdbiForm
{
	IQDBI_FLOATS,
	IQDBI_HALVES
} IqdbiForm;

typedef struct IqdbiPairForms
{
	IqdbiForm query;
	IqdbiForm row;
} IqdbiPairForms;

#define IQDBI_FORMS(query, row) ((IqdbiPairForms) {query, row})

/* The byte at which component i begins. */
IQDBI_INLINE size_t
iqdbi_form_bytes(const IqdbiForm form, size_t i)
{
	return i * (form == IQDBI_HALVES ? sizeof(uint16_t) : sizeof(float));
}

/* Where component i begins. */
IQDBI_INLINE const void *
iqdbi_form_at(const IqdbiForm form, const void *vector, size_t i)
{
	return (const char *) vector + iqdbi_form_bytes(form, i);
}

/* IQDBI_GROUP rows of vectors or of codes. Four scalars: an array of pointers would live in memory. */
typedef struct IqdbiRows
{
	const void *r0;
	const void *r1;
	const void *r2;
	const void *r3;
} IqdbiRows;

/* The cache line at byte i of each of the rows. */
IQDBI_INLINE void
iqdbi_prefetch_line(IqdbiRows rows, size_t i)
{
	iqdbi_prefetch((const char *) rows.r0 + i);
	iqdbi_prefetch((const char *) rows.r1 + i);
	iqdbi_prefetch((const char *) rows.r2 + i);
	iqdbi_prefetch((const char *) rows.r3 + i);
}

/* The lines from byte i up to byte `end` of each of the rows. */
IQDBI_INLINE void
iqdbi_prefetch_rest(IqdbiRows rows, size_t i, size_t end)
{
	for (; i < end; i += IQDBI_CACHE_LINE)
		iqdbi_prefetch_line(rows, i);
}

/* `lines` lines from byte i on of each of the rows; a constant, so that no loop is left. */
IQDBI_INLINE void
iqdbi_prefetch_lines(IqdbiRows rows, size_t i, const int lines)
{
#pragma GCC unroll 4
	for (int line = 0; line < lines; line++)
		iqdbi_prefetch_line(rows, i + (size_t) line * IQDBI_CACHE_LINE);
}

IQDBI_INLINE IqdbiRows
iqdbi_rows_contiguous(const char *first, size_t stride)
{
	IqdbiRows rows = {first, first + stride, first + 2 * stride, first + 3 * stride};

	return rows;
}

IQDBI_INLINE IqdbiRows
iqdbi_rows_gathered(const void *base, size_t stride_bytes, const uint32_t *slots)
{
	const char *bytes = base;
	IqdbiRows   rows = {bytes + slots[0] * stride_bytes, bytes + slots[1] * stride_bytes,
						bytes + slots[2] * stride_bytes, bytes + slots[3] * stride_bytes};

	return rows;
}

/* How many gathered rows ahead to fetch, a multiple of the group. */
IQDBI_INLINE size_t
iqdbi_gather_distance(size_t row_bytes)
{
	size_t rows = IQDBI_GATHER_AHEAD_BYTES / (row_bytes + 1) + 1;

	if (rows < IQDBI_GATHER_AHEAD_ROWS)
		rows = IQDBI_GATHER_AHEAD_ROWS;
	return (rows + IQDBI_GROUP - 1) / IQDBI_GROUP * IQDBI_GROUP;
}

/*
 * Defines the function `gather` over rows of row_bytes(dim) bytes, with results of Result (float, or int32_t).
 * group(query, rows, next, dim, out) sums four rows into out[0..3] and fetches the rows next on the way;
 * pair(query, row, dim) sums one.
 */
#define IQDBI_DEFINE_GATHER(target, gather, group, pair, row_bytes, Query, Row, Result) \
	target static void \
	gather(const Query *query, const Row *base, size_t stride, const uint32_t *slots, size_t count, size_t dim, Result *out) \
	{ \
		const char  *bytes = (const char *) base; \
		const size_t ahead = iqdbi_gather_distance(row_bytes(dim)); \
		size_t       i; \
\
		for (i = 0; i < ahead && i < count; i++) \
			iqdbi_prefetch_row(bytes + slots[i] * stride, row_bytes(dim)); \
		for (i = 0; i + IQDBI_GROUP <= count; i += IQDBI_GROUP) \
		{ \
			/* at the end the last rows are asked for again and again, which costs next to nothing */ \
			size_t next = i + ahead + IQDBI_GROUP <= count ? i + ahead : count - IQDBI_GROUP; \
\
			group(query, iqdbi_rows_gathered(bytes, stride, slots + i), \
				  iqdbi_rows_gathered(bytes, stride, slots + next), dim, out + i); \
		} \
		for (; i < count; i++) \
			out[i] = pair(query, (const Row *) (const void *) (bytes + slots[i] * stride), dim); \
	}

/* Bytes that kernels read of a row. */
IQDBI_INLINE size_t
f32_row_bytes(size_t dim)
{
	return iqdbi_form_bytes(IQDBI_FLOATS, dim);
}

IQDBI_INLINE size_t
f16_row_bytes(size_t dim)
{
	return iqdbi_form_bytes(IQDBI_HALVES, dim);
}

IQDBI_INLINE size_t
bit_row_bytes(size_t dim)
{
	return (dim + 7) / 8;
}

IQDBI_INLINE size_t
code_row_bytes(size_t dim)
{
	return dim;
}

/*
 * Defines pair_E_x, batch_E_x and gather_E_x for one sum over rows of row_bytes(dim) bytes from the file's
 * E_sum_pair(sum, stream, query, row, dim) and E_sum_group(sum, fetch, query, rows, next, dim, out), which see sum, stream
 * and fetch as constants. E is a word for the rows: f32, f16, or what a file has for bits.
 */
#define IQDBI_DEFINE_SUM(target, E, name, sum, row_bytes) \
	target static float \
	pair_##E##_##name(const void *query, const void *row, size_t dim) \
	{ \
		return E##_sum_pair(sum, false, query, row, dim); \
	} \
\
	target static void \
	batch_##E##_##name(const void *query, const void *base, size_t stride, size_t count, size_t dim, float *out) \
	{ \
		const size_t step = IQDBI_GROUP * stride; \
		const size_t bytes = row_bytes(dim); \
		const char  *rows = base; \
\
		if (bytes <= IQDBI_SHORT_ROW) \
		{ \
			for (; count >= 2 * IQDBI_GROUP; count -= IQDBI_GROUP, rows += step, out += IQDBI_GROUP) \
				E##_sum_group(sum, true, query, iqdbi_rows_contiguous(rows, stride), \
							  iqdbi_rows_contiguous(rows + step, stride), dim, out); \
		} \
		else if (count > IQDBI_RESIDENT_BYTES / bytes) \
		{ \
			for (; count > 0; count--, rows += stride, out++) \
				*out = E##_sum_pair(sum, true, query, (const void *) rows, dim); \
		} \
		for (; count >= IQDBI_GROUP; count -= IQDBI_GROUP, rows += step, out += IQDBI_GROUP) \
		{ \
			IqdbiRows group = iqdbi_rows_contiguous(rows, stride); \
\
			E##_sum_group(sum, false, query, group, group, dim, out); \
		} \
		for (; count > 0; count--, rows += stride, out++) \
			*out = pair_##E##_##name(query, rows, dim); \
	} \
\
	target IQDBI_INLINE void \
	group_##E##_##name(const void *query, IqdbiRows rows, IqdbiRows next, size_t dim, float *out) \
	{ \
		E##_sum_group(sum, true, query, rows, next, dim, out); \
	} \
\
	IQDBI_DEFINE_GATHER(target, gather_##E##_##name, group_##E##_##name, pair_##E##_##name, row_bytes, void, void, float)

/* The four sums of numbers, and their part of the table. */
#define IQDBI_DEFINE_SUMS(target, E) \
	IQDBI_DEFINE_SUM(target, E, dot, IQDB_SUM_DOT, E##_row_bytes) \
	IQDBI_DEFINE_SUM(target, E, l2, IQDB_SUM_L2, E##_row_bytes) \
	IQDBI_DEFINE_SUM(target, E, l1, IQDB_SUM_L1, E##_row_bytes) \
	IQDBI_DEFINE_SUM(target, E, hamming, IQDB_SUM_HAMMING, E##_row_bytes)

/*
 * All kernels of floats (f32_kernels) and of halves (f16_kernels) from the file's
 * sum_pair(sum, forms, stream, query, row, dim), sum_group(sum, forms, fetch, query, rows, next, dim, out) and
 * f16_widen(row, dim, out). A squared norm is the sum of the row and itself, so it goes the way of a pair of floats to
 * the last bit.
 */
#define IQDBI_DEFINE_NUMBERS(target) \
	IQDBI_DEFINE_FORM(target, f32, IQDBI_FLOATS, iqdbi_f32_widen) \
	IQDBI_DEFINE_FORM(target, f16, IQDBI_HALVES, f16_widen)

#define IQDBI_DEFINE_FORM(target, E, form, widen_row) \
	target IQDBI_INLINE float \
	E##_sum_pair(const IqdbSum sum, const bool stream, const void *query, const void *row, size_t dim) \
	{ \
		return sum_pair(sum, IQDBI_FORMS(IQDBI_FLOATS, form), stream, query, row, dim); \
	} \
\
	target IQDBI_INLINE void \
	E##_sum_group(const IqdbSum sum, const bool fetch, const void *query, IqdbiRows rows, IqdbiRows next, size_t dim, \
				  float *out) \
	{ \
		sum_group(sum, IQDBI_FORMS(IQDBI_FLOATS, form), fetch, query, rows, next, dim, out); \
	} \
\
	IQDBI_DEFINE_SUMS(target, E) \
\
	target static float \
	E##_norm2(const void *row, size_t dim) \
	{ \
		return sum_pair(IQDB_SUM_DOT, IQDBI_FORMS(form, form), false, row, row, dim); \
	} \
\
	static const IqdbElementKernels E##_kernels = { \
		.sums = IQDBI_SUMS_TABLE(E), \
		.norm2 = E##_norm2, \
		.widen = widen_row, \
	};

#define IQDBI_SUM_ENTRY(E, name) {pair_##E##_##name, batch_##E##_##name, gather_##E##_##name}

#define IQDBI_SUMS_TABLE(E) \
	{ \
		[IQDB_SUM_DOT] = IQDBI_SUM_ENTRY(E, dot), \
		[IQDB_SUM_L2] = IQDBI_SUM_ENTRY(E, l2), \
		[IQDB_SUM_L1] = IQDBI_SUM_ENTRY(E, l1), \
		[IQDB_SUM_HAMMING] = IQDBI_SUM_ENTRY(E, hamming) \
	}

/*
 * Defines dot_u8i8_x and dot_u8i8_gather_x from code_pair(query, code, dim) and
 * code_group(query, rows, next, dim, out).
 */
#define IQDBI_DEFINE_CODES(target, name, code_pair, code_group) \
	target static int32_t \
	dot_u8i8_##name(const uint8_t *code, const int8_t *query, size_t dim) \
	{ \
		return code_pair(query, code, dim); \
	} \
\
	IQDBI_DEFINE_GATHER(target, dot_u8i8_gather_##name, code_group, code_pair, code_row_bytes, int8_t, uint8_t, int32_t)

#endif
