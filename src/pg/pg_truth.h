/*
 * pg_truth.h - the nearest rows of many queries by one pass over the table: exact, and seen by the active snapshot.
 */
#ifndef IQDB_PG_TRUTH_H
#define IQDB_PG_TRUTH_H

#include "utils/rel.h"

#include "pg/pg_tids.h"

#define IQDB_PG_NEIGHBOURS_MAX 100000

/* A row of an answer. Where the operator has no distance it is infinite: such rows come last. */
typedef struct IqdbPgNeighbour
{
	double		distance;
	uint64		number;			/* of its TID, as pg_row.h has it */
} IqdbPgNeighbour;

/*
 * Fills for each query, a vector in the form of the index's rows, up to k rows, nearest first, equal distances in the
 * order of TIDs: rows has room for k of each query, counts[i] is how many query i got. The index says which rows (its
 * predicate), values (its column or expression) and distance; it need not be open, nor complete. among: only these rows
 * are asked; NULL: all are. Rights and row-level security are the caller's business.
 */
extern void iqdb_pg_nearest_in_table(Relation index, Relation heap, const void *const *queries, int count, int k,
									 const IqdbPgTids *among, IqdbPgNeighbour *rows, int *counts);

#endif
