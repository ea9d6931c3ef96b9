/*
 * pg_admin.h - what the SQL functions on indexes share.
 */
#ifndef IQDB_PG_ADMIN_H
#define IQDB_PG_ADMIN_H

#include "fmgr.h"
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

/* Prepares a set-returning function that fills a tuplestore: rsinfo->setResult and setDesc. */
extern void iqdb_pg_init_set(FunctionCallInfo fcinfo);

#endif
