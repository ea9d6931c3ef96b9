/*
 * index_ranking.h - from the order of rank keys to the order of exact distances.
 *
 * Engines rank by keys in single precision; SQL's operators report distances in double. Rows that are nearly as far as
 * each other may therefore come in the wrong order, and who merges streams, groups equal distances, or compares with a
 * sorted table would notice. So each hit gets its distance in double, and waits here until no row still to come can be
 * nearer: until the newest key, less the rounding error that it may have, is beyond it. Of random rows hardly one waits.
 *
 * Rows of equal keys can be many, and to wait for the last of them would cost a search that wants ten rows dearly. So no
 * more than some dozens of rows wait: only where more rows than that are so alike may one come too late, by a difference that
 * single precision does not show. With an approximate engine a few rows of one distance do not wait either.
 */
#ifndef IQDB_DB_INDEX_RANKING_H
#define IQDB_DB_INDEX_RANKING_H

#include "core/db/index.h"

/* The most hits that may be added at once. */
#define IQDB_RANKING_BATCH 64

/* A row and the operator's own value for it. */
typedef struct IqdbRankedRow
{
	uint64_t id;
	double   distance;
} IqdbRankedRow;

typedef struct IqdbRanking
{
	const IqdbStore *store;
	const void      *query;      /* a prepared one */
	double           query_norm; /* inner product only, as is the next */
	double           row_norm;   /* the largest so far */
	float            last_key;
	bool             ended;      /* nothing more will come: nobody waits */
	size_t           next;
	size_t           count;
	IqdbRankedRow    rows[2 * IQDB_RANKING_BATCH];
} IqdbRanking;

/* For the hits of one cursor, which must live as long. NULL where only rows that are in order already will be added. */
void iqdb_ranking_start(IqdbRanking *ranking, const IqdbCursor *cursor);

/*
 * The hits that follow in the cursor's order, at most IQDB_RANKING_BATCH; none: these were all. Only after
 * iqdb_ranking_next() has returned false. Reads the rows' vectors, holds no lock: a row that has gone meanwhile gets some
 * distance or other.
 */
void iqdb_ranking_add(IqdbRanking *ranking, const IqdbHit *hits, size_t count);

/* A row whose place is known to be behind all that were added; at most IQDB_RANKING_BATCH between two calls of next. */
void iqdb_ranking_append(IqdbRanking *ranking, uint64_t id, double distance);

/* The next row, or false: more hits are wanted, or, when there are none, that was the last. */
bool iqdb_ranking_next(IqdbRanking *ranking, IqdbRankedRow *row_out);

#endif
