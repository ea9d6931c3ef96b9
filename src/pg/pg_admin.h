/*
 * pg_admin.h - what the SQL functions on indexes share.
 */
#ifndef IQDB_PG_ADMIN_H
#define IQDB_PG_ADMIN_H

#include "access/tupdesc.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/rel.h"

#include "pg/pg_arena.h"

/* What a function does with an index, and so who may call it. */
typedef enum IqdbPgRight
{
	IQDB_PG_MAY_WATCH,			/* who may SELECT from the table, and members of pg_monitor */
	IQDB_PG_MAY_READ,			/* who may SELECT from the table */
	IQDB_PG_MAY_CHANGE			/* the table's owner */
} IqdbPgRight;

/*
 * Opens an index of ours by OID with this lock on it and at least AccessShareLock on its table; ERROR for anything else,
 * and without the right.
 */
extern Relation iqdb_pg_open_index(Oid oid, LOCKMODE mode, IqdbPgRight right);

/*
 * The vectors of an array, of a type that the index's column can be compared with; they lie in the array, or are detoasted
 * into the current context. Raises 42804 for other types, 22004 for a null, 22000 for another dimension than the index's.
 */
extern const void **iqdb_pg_given_queries(Relation index, ArrayType *array, int *count_out);

/*
 * The row that a function of so many arguments returns, if its columns begin with these names, one blank between two. A
 * database whose extension has not been updated since a newer library was installed may declare it otherwise: 55000.
 */
extern TupleDesc iqdb_pg_result_row(FunctionCallInfo fcinfo, int arguments, const char *columns);

/* Prepares a set-returning function that fills a tuplestore: rsinfo->setResult and setDesc. */
extern void iqdb_pg_init_set(FunctionCallInfo fcinfo);

#endif
