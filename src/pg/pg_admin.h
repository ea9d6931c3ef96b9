/*
 * pg_admin.h - what the SQL functions on indexes share.
 */
#ifndef IQDB_PG_ADMIN_H
#define IQDB_PG_ADMIN_H

#include "access/tupdesc.h"
#include "fmgr.h"
#include "utils/rel.h"

#include "pg/pg_arena.h"

/* What a function does with an index, and so who may call it. */
typedef enum IqdbPgRight
{
	IQDB_PG_MAY_WATCH,			/* who may SELECT from the table, and members of pg_monitor */
	IQDB_PG_MAY_READ,			/* who may SELECT from the table */
	IQDB_PG_MAY_SEARCH,			/* who may SELECT from it the TID, and what the vector and the predicate are made of */
	IQDB_PG_MAY_CHANGE			/* the table's owner */
} IqdbPgRight;

/* An index that was named, and those that have its rows: itself alone, or the indexes of all partitions below it. */
typedef struct IqdbPgIndexes
{
	Relation	named;
	Oid			table;			/* of the one that was named */
	Relation   *leaves;
	int			count;
	bool		foreign;		/* some partition is a foreign table, of which no index here knows */
} IqdbPgIndexes;

/*
 * Opens the index by OID, and all of them, with this lock on each and at least AccessShareLock on their tables; ERROR for
 * anything that is no index of ours, and without the right, which is asked for on the table of the one that is named.
 */
extern IqdbPgIndexes iqdb_pg_open_indexes(Oid oid, LOCKMODE mode, IqdbPgRight right);
extern void iqdb_pg_close_indexes(const IqdbPgIndexes *indexes, LOCKMODE mode);

/*
 * The row that a function of so many arguments returns, if its columns begin with these names, one blank between two. A
 * database whose extension has not been updated since a newer library was installed may declare it otherwise: 55000.
 */
extern TupleDesc iqdb_pg_result_row(FunctionCallInfo fcinfo, int arguments, const char *columns);

/* Prepares a set-returning function that fills a tuplestore: rsinfo->setResult and setDesc. */
extern void iqdb_pg_init_set(FunctionCallInfo fcinfo);

#endif
