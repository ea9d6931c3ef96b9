/*
 * pg_nearest.h - the nearest rows of many queries from one index, of those that a snapshot sees.
 *
 * As a scan does it (pg_scan.c), without an executor: hits of the engine in the order of the operator's distance, each
 * looked up in the table, until every query has its k rows or there are no more. Engines that answer several queries in
 * one pass over their rows do so. Where there is no room for the index, or the snapshot may not use it, the table is read
 * instead (pg_truth.h), once for all queries.
 */
#ifndef IQDB_PG_NEAREST_H
#define IQDB_PG_NEAREST_H

#include "utils/snapshot.h"

#include "pg/pg_keys.h"
#include "pg/pg_truth.h"

typedef struct IqdbPgNearest IqdbPgNearest;

/*
 * Of an index and its table, both open and locked. The index is brought up to date here; the snapshot, the active one,
 * must have been taken before. among: only these rows, which the snapshot sees, may be answers; keys: only rows that meet
 * these conditions; NULL: all. Lives in the current memory context.
 */
extern IqdbPgNearest *iqdb_pg_nearest_begin(Relation index, Relation heap, Snapshot snapshot, int k,
											const IqdbPgTids *among, IqdbPgKeys *keys);

/* Is the table read in the index's place? Then keys are no help: the rows must have been named. */
extern bool iqdb_pg_nearest_reads_table(const IqdbPgNearest *nearest);

/* How many queries it likes to be asked at once. Fewer will do. */
extern int	iqdb_pg_nearest_together(const IqdbPgNearest *nearest);

/*
 * Fills for each query up to k rows, nearest first: rows has room for k of each query, counts[i] is how many query i got.
 * Their numbers are TIDs of the versions that the snapshot sees.
 */
extern void iqdb_pg_nearest_search(IqdbPgNearest *nearest, const void *const *queries, int count, IqdbPgNeighbour *rows,
								   int *counts);

extern void iqdb_pg_nearest_end(IqdbPgNearest *nearest);

#endif
