/*
 * kernels_private.h - what the kernel files share: the tables, and the walk over rows.
 *
 * A file of kernels supplies, for its instruction set, a function that sums one pair and a function that sums
 * IQDBI_GROUP rows side by side. The macros below make the batch and gather forms of them: which rows stand together,
 * which rows are fetched ahead, what happens to the odd rows at the end. They are macros because a function compiled
 * for one instruction set cannot be inlined into one compiled for another.
 *
 * Bit for bit equality of the forms rests on two rules for the suppliers: a row's partial sums are the same in pair and
 * group (number, order, tail), and so is the tree that adds them up. Rows never influence each other, therefore a group
 * may hold a row twice.
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
 * Contiguous rows up to this size are fetched one group ahead by software: several short rows make less than the
 * hardware's prefetcher needs to get going. Longer ones it follows by itself, and better.
 */
#define IQDBI_BATCH_AHEAD_BYTES 1024

/* Gathered rows: at least this much, and at least this many rows, are under way. */
#define IQDBI_GATHER_AHEAD_BYTES 4096
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

/* Components [first, first + count) of one row. */
IQDBI_INLINE void
iqdbi_prefetch_part(const float *row, size_t first, size_t count)
{
	size_t i;

	for (i = first; i < first + count; i += IQDBI_CACHE_LINE / sizeof(float))
		iqdbi_prefetch(row + i);
}

/* The same of four rows. */
IQDBI_INLINE void
iqdbi_prefetch_group(const float *const *next, size_t first, size_t count)
{
	iqdbi_prefetch_part(next[0], first, count);
	iqdbi_prefetch_part(next[1], first, count);
	iqdbi_prefetch_part(next[2], first, count);
	iqdbi_prefetch_part(next[3], first, count);
}

/* One cache line, from byte i, of each row of the next group of codes. */
IQDBI_INLINE void
iqdbi_prefetch_codes(const uint8_t *const *next, size_t i)
{
	iqdbi_prefetch(next[0] + i);
	iqdbi_prefetch(next[1] + i);
	iqdbi_prefetch(next[2] + i);
	iqdbi_prefetch(next[3] + i);
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

/* Number of the row at position i, the last one for every position behind the end. slots NULL means contiguous. */
IQDBI_INLINE size_t
iqdbi_row_at(const uint32_t *slots, size_t count, size_t i)
{
	if (i >= count)
		i = count - 1;
	return slots != NULL ? slots[i] : i;
}

/*
 * Defines the function `scan`: results of count rows, group by group. Result is float or int32_t, Element what a row is
 * made of, Query what the query is made of. group(query, row, next, dim, out) sums the rows row[0..3] into out[0..3]
 * and fetches the rows next[0..3] on the way, unless next is NULL. pair(query, row, dim) sums one.
 */
#define IQDBI_DEFINE_SCAN(target, scan, group, pair, Element, Query, Result) \
	target IQDBI_INLINE void \
	scan(const Query *query, const Element *base, size_t stride, const uint32_t *slots, size_t count, size_t dim, \
		 Result *out) \
	{ \
		size_t bytes = dim * sizeof(Element); \
		size_t ahead = slots != NULL ? iqdbi_gather_distance(bytes) : IQDBI_GROUP; \
		bool   fetch = slots != NULL || bytes <= IQDBI_BATCH_AHEAD_BYTES; \
		size_t i; \
\
		for (i = 0; slots != NULL && i < ahead && i < count; i++) \
			iqdbi_prefetch_row(base + slots[i] * stride, bytes); \
\
		for (i = 0; i < count; i += IQDBI_GROUP) \
		{ \
			const Element *row[IQDBI_GROUP]; \
			const Element *next[IQDBI_GROUP]; \
			Result         last[IQDBI_GROUP]; \
			Result        *to; \
			size_t         left = count - i; \
			int            k; \
\
			if (left == 1) \
			{ \
				out[i] = pair(query, base + iqdbi_row_at(slots, count, i) * stride, dim); \
				return; \
			} \
			for (k = 0; k < IQDBI_GROUP; k++) \
			{ \
				row[k] = base + iqdbi_row_at(slots, count, i + (size_t) k) * stride; \
				next[k] = base + iqdbi_row_at(slots, count, i + ahead + (size_t) k) * stride; \
			} \
			to = left >= IQDBI_GROUP ? out + i : last; \
			group(query, row, fetch && left > ahead ? next : NULL, dim, to); \
			if (to == last) \
				memcpy(out + i, last, left * sizeof(Result)); \
		} \
	}

/*
 * Defines pair_x, batch_x and gather_x for one sum from the file's sum_pair(sum, a, b, dim) and
 * sum_group(sum, query, row, next, dim, out), which see the sum as a constant.
 */
#define IQDBI_DEFINE_SUM(target, name, sum) \
	target static float \
	pair_##name(const float *a, const float *b, size_t dim) \
	{ \
		return sum_pair(sum, a, b, dim); \
	} \
\
	target IQDBI_INLINE void \
	group_##name(const float *query, const float *const *row, const float *const *next, size_t dim, float *out) \
	{ \
		sum_group(sum, query, row, next, dim, out); \
	} \
\
	IQDBI_DEFINE_SCAN(target, scan_##name, group_##name, pair_##name, float, float, float) \
\
	target static void \
	batch_##name(const float *query, const float *rows, size_t stride, size_t count, size_t dim, float *out) \
	{ \
		scan_##name(query, rows, stride, NULL, count, dim, out); \
	} \
\
	target static void \
	gather_##name(const float *query, const float *base, size_t stride, const uint32_t *slots, size_t count, \
				  size_t dim, float *out) \
	{ \
		scan_##name(query, base, stride, slots, count, dim, out); \
	}

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
 * Defines dot_u8i8_x and dot_u8i8_gather_x from code_pair(query, code, dim) and code_group(query, row, next, dim, out).
 */
#define IQDBI_DEFINE_CODES(target, name, code_pair, code_group) \
	target static int32_t \
	dot_u8i8_##name(const uint8_t *code, const int8_t *query, size_t dim) \
	{ \
		return code_pair(query, code, dim); \
	} \
\
	IQDBI_DEFINE_SCAN(target, code_scan_##name, code_group, code_pair, uint8_t, int8_t, int32_t) \
\
	target static void \
	dot_u8i8_gather_##name(const int8_t *query, const uint8_t *base, size_t stride_bytes, const uint32_t *slots, \
						   size_t count, size_t dim, int32_t *out) \
	{ \
		code_scan_##name(query, base, stride_bytes, slots, count, dim, out); \
	}

#endif
