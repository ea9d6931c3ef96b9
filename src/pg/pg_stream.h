/*
 * pg_stream.h - the rows of an index as a stream of TIDs, nearest first, for as long as the caller asks.
 *
 * Both scans read it: the access method's (pg_scan.c), and by way of that the own node (pg_node.c). It finds the arena, makes
 * the query ready, and asks the engine in portions. Where there is no room for the index, its table is read instead
 * (pg_exact.h). Between two calls nothing is held: no lock, no pin, only the cursor's own memory. So a cursor may stay open
 * for hours.
 */
#ifndef IQDB_PG_STREAM_H
#define IQDB_PG_STREAM_H

#include "utils/rel.h"
#include "utils/snapshot.h"

#include "pg/pg_cache.h"
#include "pg/pg_filter.h"
#include "pg/pg_hits.h"
#include "pg/pg_open.h"

/*
 * What a search is asked for beside its query. All zero: what an index scan knows.
 *
 * The stream ends at the bound. An approximate engine may have missed rows before it, so the rest of what lies within is then
 * looked for in all rows, and comes last: whatever the engine, all rows within the bound are returned, if the caller goes on.
 * Who wants all of them from the start says so (exhaustive), and gets them in order.
 */
typedef struct IqdbPgStreamWish
{
	size_t		expected;		/* rows that the caller will probably take; 0 = not known */
	bool		exhaustive;
	bool		bounded;
	bool		below;			/* distance < bound, else distance <= bound: as the server compares them, NaN above all */
	double		bound;
	const IqdbIdSet *ids;		/* only rows of these numbers are wanted, and perhaps others; NULL: all are */
	const ScanKeyData *keys;	/* and only rows that these conditions on the index's columns are true of */
	int			key_count;
} IqdbPgStreamWish;

/* What searches did since the stream was made. */
typedef struct IqdbPgStreamStats
{
	uint64		searches;
	uint64		completed;		/* of these, those that looked at all rows for what a bound may have left out */
	uint64		tables_read;	/* of these, those for which there was no room for the index */
	uint64		remembered;		/* of these, those whose first rows came from the result cache */
	uint64		scored;			/* rows */
	uint64		reranked;
	uint64		filtered;
	uint64		ways[IQDB_SEARCH_OWN_EXACT + 1];	/* searches of the index by IqdbSearchWay */
} IqdbPgStreamStats;

typedef struct IqdbPgStream
{
	MemoryContext context;		/* of one search from start to stop: the cursor lives here */
	bool		started;
	bool		null_query;		/* ORDER BY v <-> NULL: every row, no distance */
	bool		zero_is_nan;	/* a zero vector, in a row or as the query, has no distance: NaN */
	bool		zero_query;
	bool		in_order;		/* up to the end, whatever comes */
	IqdbPgStreamWish wish;
	IqdbPgFilter conditions;	/* the wish's keys */
	bool		recheck;		/* rows that are returned may fail them */
	IqdbRowFilter filter;
	IqdbPgView	view;
	IqdbPgArena *arena;			/* NULL: the table is read */
	const void *vector;			/* of the query, in the form of the rows; until a cursor is opened */
	IqdbPgAnswer answer;		/* of the result cache; no cursor is opened while its rows are enough */
	IqdbIdSet  *seen;			/* numbers of rows that were returned, where a bound may ask for the rest; NULL: none yet */
	bool		completing;		/* those are passed over */
	uint64		returned;
	IqdbPgStreamStats stats;	/* without those of the cursor */
	IqdbPgHits	hits;			/* last: it is large, and most of it need not be cleared */
} IqdbPgStream;

/* Its context is a child of the current one. Nothing is opened yet. */
extern void iqdb_pg_stream_init(IqdbPgStream *stream);

/*
 * Opens a search: index, heap, and snapshot outlive it. isnull: the query is NULL. Raises 22000 if the query's dimension is
 * not the index's, and 0A000 if the snapshot is none that could tell which rows are seen.
 */
extern void iqdb_pg_stream_start(IqdbPgStream *stream, Relation index, Relation heap, Snapshot snapshot, Datum query,
								 bool isnull, const IqdbPgStreamWish *wish);

/*
 * The next row and its distance, as the operator would return it; *isnull_out: there is none, because the query is NULL, and
 * no row is within any bound. False behind the last row. Raises a cancel, with nothing held.
 */
extern bool iqdb_pg_stream_next(IqdbPgStream *stream, ItemPointer tid_out, double *distance_out, bool *isnull_out);

/* What its searches did so far, the one under way included. */
extern IqdbPgStreamStats iqdb_pg_stream_stats(const IqdbPgStream *stream);

/* Gives up what the search holds; another one may be started. */
extern void iqdb_pg_stream_stop(IqdbPgStream *stream);

/* The same for good. */
extern void iqdb_pg_stream_end(IqdbPgStream *stream);

#endif
