/*
 * tails.h - how a bench says what a mean of the recall hides: lost queries, the worst ones. C11 and C++.
 */
#ifndef IQDB_BENCH_TAILS_H
#define IQDB_BENCH_TAILS_H

#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* No query wants more rows than this. */
#define TAIL_ROWS_MAX 1000

/* Queries by the number of wanted rows that they found. */
typedef struct Tail
{
	size_t wanted; /* rows per query */
	size_t queries;
	size_t by_found[TAIL_ROWS_MAX + 1];
} Tail;

static inline void
tail_begin(Tail *tail, size_t wanted)
{
	memset(tail, 0, sizeof(*tail));
	tail->wanted = wanted;
}

static inline void
tail_count(Tail *tail, size_t found)
{
	tail->by_found[found < tail->wanted ? found : tail->wanted]++;
	tail->queries++;
}

/* The recall that the share of the queries stays below or just reaches, by the nearest rank; share 0: the worst one. */
static inline double
tail_percentile(const Tail *tail, double share)
{
	size_t found = 0;
	size_t seen = tail->by_found[0];

	while (found < tail->wanted && (seen == 0 || (double) seen < share * (double) tail->queries))
		seen += tail->by_found[++found];
	return (double) found / (double) tail->wanted;
}

static inline size_t
tail_below_half(const Tail *tail)
{
	size_t below = 0;

	for (size_t found = 0; 2 * found < tail->wanted; found++)
		below += tail->by_found[found];
	return below;
}

/* Queries that found nothing, the share of those that found less than half, the first percentile, the worst. */
static inline void
tail_print(const Tail *tail)
{
	printf("  lost %3zu  below half %.4f  p1 %.2f  worst %.2f", tail->by_found[0],
		   (double) tail_below_half(tail) / (double) tail->queries, tail_percentile(tail, 0.01), tail_percentile(tail, 0));
}

#endif
