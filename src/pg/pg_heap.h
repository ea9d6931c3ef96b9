/*
 * pg_heap.h - reading an index's rows out of its table: by TID, and which line pointers are dead.
 */
#ifndef IQDB_PG_HEAP_H
#define IQDB_PG_HEAP_H

#include "storage/buf.h"

#include "pg/pg_arena.h"
#include "pg/pg_row.h"

/*
 * Expressions and the predicate of an index are its owner's code. Who evaluates them on behalf of a statement that did
 * not name them does so as the table's owner, restricted as in CREATE INDEX, and with a search_path that the caller has
 * no say in: system, table, extension. An error in between restores the user at the end of the (sub)transaction.
 */
typedef struct IqdbPgOwner
{
	Oid			user;
	int			context;
	int			settings;
} IqdbPgOwner;

extern void iqdb_pg_become_owner(IqdbPgOwner *owner, Relation index, Relation heap);
extern void iqdb_pg_become_self(const IqdbPgOwner *owner);

typedef struct IqdbPgFetch IqdbPgFetch;

/* Registers a snapshot, so that what a fetched tuple refers to stays until the end. Runs as the table's owner till then. */
extern IqdbPgFetch *iqdb_pg_fetch_begin(Relation index, Relation heap);

/*
 * The row that a fresh index would hold of this number, its values copied into the current memory context. It has none if
 * the tuple is gone or dead to everybody, has no vector, or fails the index's predicate.
 */
extern IqdbPgRow iqdb_pg_fetch(IqdbPgFetch *fetch, uint64 number);

extern void iqdb_pg_fetch_end(IqdbPgFetch *fetch);

/* The planner's guess of the table's rows. */
extern double iqdb_pg_estimate_rows(Relation heap);

/* The dead line pointers of one page of the table; tids has room for MaxHeapTuplesPerPage. Returns how many. */
extern int	iqdb_pg_dead_items(Relation heap, BlockNumber block, BufferAccessStrategy strategy, ItemPointerData *tids);

/*
 * Calls visit for each row of the table that a fresh index would hold, whatever transaction it is of, until it fails. It
 * is called as the table's owner; the row's values are gone afterwards.
 */
typedef IqdbStatus (*IqdbPgRowVisit) (void *arg, IqdbPgRow *row, IqdbError *error);
extern IqdbStatus iqdb_pg_visit_table(Relation index, Relation heap, IqdbPgRowVisit visit, void *arg, IqdbError *error);

/*
 * Is all of an out-of-line value still there? A tuple that is dead to nearly everybody may stand in the table when VACUUM
 * has already taken its out-of-line values: reading them would be an error.
 */
extern bool iqdb_pg_datum_complete(Datum datum);

#endif
