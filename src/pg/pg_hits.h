/*
 * pg_hits.h - rows of a search in the order of the operator's distance, whoever asks for them: a scan (pg_stream.c), or a
 * function that asks many queries (pg_nearest.c).
 *
 * They come from a cursor of the engine, or, where there is no room for the index, from its sorted table (pg_exact.h), and wait
 * in a ranking until their place is known (core/db/index_ranking.h). Between two calls nothing is held: no lock, no pin.
 */
#ifndef IQDB_PG_HITS_H
#define IQDB_PG_HITS_H

#include "utils/rel.h"
#include "utils/snapshot.h"

#include "core/db/iqdb.h"
#include "pg/pg_exact.h"

typedef struct IqdbPgHits
{
	Relation	index;
	Relation	heap;
	Snapshot	snapshot;
	IqdbCursor *cursor;
	IqdbPgExact *exact;			/* in place of the cursor */
	const IqdbIdSet *ids;		/* of the table's rows only these are wanted; NULL: all */
	bool		prefetch;		/* the caller fetches each row as soon as it has it */
	uint64		taken;
	IqdbRanking ranking;
} IqdbPgHits;

/* Rows of this cursor, which is the caller's, from now on. A row that was taken from another one, and waits, is forgotten. */
extern void iqdb_pg_hits_of_cursor(IqdbPgHits *hits, IqdbCursor *cursor);

/* Rows of the sorted table. */
extern void iqdb_pg_hits_of_table(IqdbPgHits *hits, IqdbPgExact *exact);

/* Asks for the pages of rows that are about to be fetched one by one, in no order of pages. */
extern void iqdb_pg_prefetch_rows(Relation heap, const uint64 *ids, size_t count);

/* The next row; false when there are no more. Raises a cancel, and what the engine fails with, with nothing held. */
extern bool iqdb_pg_hits_next(IqdbPgHits *hits, IqdbRankedRow *row_out);

#endif
