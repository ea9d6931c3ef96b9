/*
 * pg_admin.h - what the SQL functions on indexes share.
 */
#ifndef IQDB_PG_ADMIN_H
#define IQDB_PG_ADMIN_H

#include "fmgr.h"
#include "utils/rel.h"

#include "pg/pg_arena.h"

/*
 * Opens an index of ours by OID with this lock on it and at least AccessShareLock on its table; ERROR for anything else,
 * and without the right: SELECT on the table, or, for changes, its ownership.
 */
extern Relation iqdb_pg_open_index(Oid oid, LOCKMODE mode, bool for_change);

/* Prepares a set-returning function that fills a tuplestore: rsinfo->setResult and setDesc. */
extern void iqdb_pg_init_set(FunctionCallInfo fcinfo);

#endif
