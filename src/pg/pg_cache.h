/*
 * pg_cache.h - the result cache of an index: answers of searches, shared by all sessions, until the index changes.
 *
 * What is kept of a search are the rows that its stream returned, TIDs and distances, and whether they were all. A search that
 * asks the same gets these, and goes on with a search of its own if more are wanted. Which of them a snapshot sees is asked
 * of the table, as of any index's rows.
 */
#ifndef IQDB_PG_CACHE_H
#define IQDB_PG_CACHE_H

#include "pg/pg_arena.h"
#include "pg/pg_filter.h"

struct IqdbPgStreamWish;

/* More rows than these are not kept of one search. */
#define IQDB_PG_CACHED_ROWS_MAX 1000

/* The part of one stream. All zero: nothing is remembered. */
typedef struct IqdbPgAnswer
{
	const IqdbPgArena *arena;	/* NULL: not of this search */
	IqdbCacheConfig config;
	IqdbCacheQuestion question;
	uint64		version;		/* of the index at the start */
	bool		found;			/* the rows were remembered */
	bool		is_news;		/* rows, or their end, that are not remembered yet */
	bool		too_long;		/* more rows than are kept */
	uint32		count;			/* of rows */
	uint32		room;
	uint32		found_count;	/* of these, those found */
	uint32		returned;		/* of those found */
	uint32		passed;			/* of those found, those that the search behind them has come upon */
	struct IqdbPgKept *kept;	/* the rows, as they are remembered */
	MemoryContext context;		/* where they lie */
} IqdbPgAnswer;

/* Where the cache begins, from the beginning of IqdbPgShared; and address space for that of an index. */
extern uint64 iqdb_pg_cache_offset(void);
extern uint64 iqdb_pg_cache_reserve(Relation index, const IqdbIndexOptions *options);

/*
 * At the start of a stream, in its memory context: has somebody asked the same since the index changed last? params: of the
 * search; vector: of the query, so many bytes. Else the rows to come are noted.
 */
extern bool iqdb_pg_answer_find(IqdbPgAnswer *answer, Relation index, const IqdbPgArena *arena,
								const IqdbSearchParams *params, const struct IqdbPgStreamWish *wish,
								const IqdbPgFilter *conditions, const void *vector, Size bytes);

/* The next row of those found; false behind the last of them. Are there none behind them? */
extern bool iqdb_pg_answer_next(IqdbPgAnswer *answer, IqdbRankedRow *row_out);
extern bool iqdb_pg_answer_is_all(const IqdbPgAnswer *answer);

/* The query's vector, which lives as long as the answer. */
extern const void *iqdb_pg_answer_vector(const IqdbPgAnswer *answer);

/* The numbers of the first rows found, up to capacity; returns how many. */
extern size_t iqdb_pg_answer_ids(const IqdbPgAnswer *answer, uint64 *ids, size_t capacity);

/*
 * A row that the search has returned: false if it was among those found, and was returned before. Else it is noted. NULL: there
 * are no more.
 */
extern bool iqdb_pg_answer_note(IqdbPgAnswer *answer, const IqdbRankedRow *row);

/*
 * At the stream's stop: what it returned is remembered, unless that is known, or the index has changed meanwhile. All zero
 * then.
 */
extern void iqdb_pg_answer_keep(IqdbPgAnswer *answer);

#endif
