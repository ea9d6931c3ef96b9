/*
 * pg_keys.h - conditions that an index's columns take all alone: from the plan of a statement to what a search is told.
 */
#ifndef IQDB_PG_KEYS_H
#define IQDB_PG_KEYS_H

#include "nodes/plannodes.h"

#include "pg/pg_filter.h"

/* All that a statement asks of the rows of one index, but their distance. */
typedef struct IqdbPgKeys IqdbPgKeys;

/*
 * The keys of each of these indexes, in the current memory context, as an array; an entry is NULL where the plan does without
 * the index's table, because no row of it can meet the conditions. The result is NULL unless the plan is index scans by the
 * distance over these indexes, and nothing beside them, whose conditions all are conditions of the index. The plan may be
 * freed then.
 */
extern IqdbPgKeys **iqdb_pg_keys_of_plan(const PlannedStmt *statement, Relation *indexes, int count);

/* What the columns are asked; values that a statement knows only when it runs are known from here on. */
extern IqdbPgFilter iqdb_pg_keys_filter(IqdbPgKeys *keys, const IqdbPgColumns *columns);

/* Are the conditions true of this row of the table? */
extern bool iqdb_pg_keys_hold(IqdbPgKeys *keys, TupleTableSlot *row);

#endif
