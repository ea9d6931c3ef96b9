/*
 * pg_select.h - a search as a SELECT that the server plans: for what an index alone cannot answer.
 *
 * Where there is a condition, or row-level security, which rows may be answers is the server's to say. The statement is
 * what a user would have typed, with the index's column or expression, predicate and operator:
 *
 *     SELECT ctid, column <-> $1 FROM ONLY table WHERE (condition) AND (predicate) ORDER BY 2 LIMIT k
 *
 * For many queries it asks which rows may be answers, once, and leaves the rest to the index:
 *
 *     SELECT ctid FROM ONLY table WHERE (condition) AND (predicate)
 *
 * So rights, policies, visibility and NULLs are what they always are, the planner chooses the way, and there are k rows
 * whenever k rows match.
 */
#ifndef IQDB_PG_SELECT_H
#define IQDB_PG_SELECT_H

#include "storage/itemptr.h"
#include "utils/rel.h"

#include "pg/pg_keys.h"
#include "pg/pg_truth.h"

typedef struct IqdbPgSelect IqdbPgSelect;

/*
 * Of an index, which may be that of a partitioned table, and its table. condition: SQL over the table's columns as after
 * WHERE, or NULL. Raises 42601 if it is anything else than one expression, and whatever the server says of it. Nothing has
 * run yet. The caller is connected to SPI, and stays so until the last search.
 */
extern IqdbPgSelect *iqdb_pg_select_begin(Relation index, Relation table, const char *condition, int k);

/*
 * Runs it for one query, a value of the index's column type, by the active snapshot, and calls visit for each row, nearest
 * first. Rows without a vector are left out.
 */
typedef void (*IqdbPgSelectVisit) (void *arg, Oid table, ItemPointer tid, double distance);
extern void iqdb_pg_select_search(IqdbPgSelect *select, Datum query, IqdbPgSelectVisit visit, void *arg);

/*
 * The conditions as keys of these indexes (pg_keys.h), if the planner would have them answer the statement alone; else NULL.
 * Rights to what the conditions read are checked as the statement would. They lie in the current memory context.
 */
extern IqdbPgKeys **iqdb_pg_select_keys(IqdbPgSelect *select, Relation *indexes, int count);

/* Does the planner think that one look for the rows costs less than a statement for each of so many queries? */
extern bool iqdb_pg_select_rows_pay(IqdbPgSelect *select, int queries);

/* The rows that may be answers, of each table that has some; they lie in the given context. */
typedef struct IqdbPgRows
{
	MemoryContext context;
	IqdbPgTids *tids;
	int			count;
} IqdbPgRows;

extern IqdbPgRows iqdb_pg_select_rows(IqdbPgSelect *select, MemoryContext context);

/* Those of one table; none if there are none. */
extern const IqdbPgTids *iqdb_pg_rows_of(const IqdbPgRows *rows, Oid table);

#endif
