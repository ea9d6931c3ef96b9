/*
 * kernels_private.h - what the kernel files share: the tables, and the walk over rows.
 *
 * A file of kernels supplies, for its instruction set, a function that sums one pair and a function that sums
 * IQDBI_GROUP rows side by side. The macros below make the batch and gather forms of them: which rows stand together
 * and which rows are fetched ahead. They are macros because a function compiled for one instruction set cannot be
 * inlined into one compiled for another.
 *
 * Bit for bit equality of the forms rests on two rules for the suppliers: a row's partial sums are the same in pair and
 * group (number, order, tail), and so is the tree that adds them up.
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

extern const IqdbKernels iqdbi_kernels_scalar;
#ifdef IQDBI_HAVE_X86
extern const IqdbKernels iqdbi_kernels_avx2;
extern const IqdbKernels iqdbi_kernels_avx512bw;
extern const IqdbKernels iqdbi_kernels_avx512;
#endif
#ifdef IQDBI_HAVE_NEON
extern const IqdbKernels iqdbi_kernels_neon;
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
 * A streaming row's burst: to be called at every block of the row, acts at the first block of a piece. The address may
 * lie behind the last row; nothing is read there, and no pointer is made of it.
 */
IQDBI_INLINE void
iqdbi_prefetch_stream(const float *row, size_t i)
{
	uintptr_t at = (uintptr_t) row + i * sizeof(float) + IQDBI_STREAM_PIECE;
	int       line;

	if (i % (IQDBI_STREAM_PIECE / sizeof(float)) != 0)
		return;
#pragma GCC unroll 16
	for (line = 0; line < IQDBI_STREAM_PIECE / IQDBI_CACHE_LINE; line++)
		iqdbi_prefetch((const void *) (at + (uintptr_t) line * IQDBI_CACHE_LINE));
}

/* IQDBI_GROUP rows of floats or of codes. Four scalars: an array of pointers would live in memory. */
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

IQDBI_INLINE IqdbiRows
iqdbi_rows_contiguous(const float *first, size_t stride)
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
 * Defines the function `gather` over rows of Element with results of Result (float, or int32_t).
 * group(query, rows, next, dim, out) sums four rows into out[0..3] and fetches the rows next on the way;
 * pair(query, row, dim) sums one.
 */
#define IQDBI_DEFINE_GATHER(target, gather, group, pair, Element, Query, Result) \
	target static void \
	gather(const Query *query, const Element *base, size_t stride, const uint32_t *slots, size_t count, size_t dim, \
		   Result *out) \
	{ \
		const size_t stride_bytes = stride * sizeof(Element); \
		const size_t ahead = iqdbi_gather_distance(dim * sizeof(Element)); \
		size_t       i; \
\
		for (i = 0; i < ahead && i < count; i++) \
			iqdbi_prefetch_row(base + slots[i] * stride, dim * sizeof(Element)); \
		for (i = 0; i + IQDBI_GROUP <= count; i += IQDBI_GROUP) \
		{ \
			/* at the end the last rows are asked for again and again, which costs next to nothing */ \
			size_t next = i + ahead + IQDBI_GROUP <= count ? i + ahead : count - IQDBI_GROUP; \
\
			group(query, iqdbi_rows_gathered(base, stride_bytes, slots + i), \
				  iqdbi_rows_gathered(base, stride_bytes, slots + next), dim, out + i); \
		} \
		for (; i < count; i++) \
			out[i] = pair(query, base + slots[i] * stride, dim); \
	}

/*
 * Defines pair_x, batch_x and gather_x for one sum from the file's sum_pair(sum, stream, a, b, dim) and
 * sum_group(sum, fetch, query, rows, next, dim, out), which see sum, stream and fetch as constants.
 */
#define IQDBI_DEFINE_SUM(target, name, sum) \
	target static float \
	pair_##name(const float *a, const float *b, size_t dim) \
	{ \
		return sum_pair(sum, false, a, b, dim); \
	} \
\
	target static void \
	batch_##name(const float *query, const float *rows, size_t stride, size_t count, size_t dim, float *out) \
	{ \
		const size_t step = IQDBI_GROUP * stride; \
		const size_t bytes = dim * sizeof(float); \
\
		if (bytes <= IQDBI_SHORT_ROW) \
		{ \
			for (; count >= 2 * IQDBI_GROUP; count -= IQDBI_GROUP, rows += step, out += IQDBI_GROUP) \
				sum_group(sum, true, query, iqdbi_rows_contiguous(rows, stride), \
						  iqdbi_rows_contiguous(rows + step, stride), dim, out); \
		} \
		else if (count > IQDBI_RESIDENT_BYTES / bytes) \
		{ \
			for (; count > 0; count--, rows += stride, out++) \
				*out = sum_pair(sum, true, query, rows, dim); \
		} \
		for (; count >= IQDBI_GROUP; count -= IQDBI_GROUP, rows += step, out += IQDBI_GROUP) \
		{ \
			IqdbiRows group = iqdbi_rows_contiguous(rows, stride); \
\
			sum_group(sum, false, query, group, group, dim, out); \
		} \
		for (; count > 0; count--, rows += stride, out++) \
			*out = pair_##name(query, rows, dim); \
	} \
\
	target IQDBI_INLINE void \
	gather_group_##name(const float *query, IqdbiRows rows, IqdbiRows next, size_t dim, float *out) \
	{ \
		sum_group(sum, true, query, rows, next, dim, out); \
	} \
\
	IQDBI_DEFINE_GATHER(target, gather_##name, gather_group_##name, pair_##name, float, float, float)

/* The four sums by IQDBI_DEFINE_SUM, and their part of the table. */
#define IQDBI_DEFINE_SUMS(target) \
	IQDBI_DEFINE_SUM(target, dot, IQDB_SUM_DOT) \
	IQDBI_DEFINE_SUM(target, l2, IQDB_SUM_L2) \
	IQDBI_DEFINE_SUM(target, l1, IQDB_SUM_L1) \
	IQDBI_DEFINE_SUM(target, hamming, IQDB_SUM_HAMMING)

#define IQDBI_SUMS_TABLE \
	{ \
		[IQDB_SUM_DOT] = {pair_dot, batch_dot, gather_dot}, \
		[IQDB_SUM_L2] = {pair_l2, batch_l2, gather_l2}, \
		[IQDB_SUM_L1] = {pair_l1, batch_l1, gather_l1}, \
		[IQDB_SUM_HAMMING] = {pair_hamming, batch_hamming, gather_hamming} \
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
	IQDBI_DEFINE_GATHER(target, dot_u8i8_gather_##name, code_group, code_pair, uint8_t, int8_t, int32_t)

#endif
