/*
 * pg_work.h - the engine's long work for a statement, repeated after every interrupt that is no cancel.
 */
#ifndef IQDB_PG_WORK_H
#define IQDB_PG_WORK_H

#include "pg/pg_arena.h"

/*
 * All raise what fails. link: one row that was put. link_pending: up to max_rows rows that were put and never linked, 0 =
 * all. A row that cannot be linked for want of room is left to exact search by both. maintain, assist: see IqdbEngine;
 * assist says whether there was something to do. No lock of ours may be held.
 */
extern void iqdb_pg_link(Relation index, IqdbPgArena *arena, uint32 slot);
extern void iqdb_pg_link_pending(Relation index, IqdbPgArena *arena, uint64 max_rows);
extern bool iqdb_pg_assist(Relation index, IqdbPgArena *arena);
extern void iqdb_pg_maintain(Relation index, IqdbPgArena *arena, IqdbMaintain what);

/*
 * Writes a snapshot of an index that has own files; unless somebody else is at it, and !wait. One that cannot be written is a
 * LOG line; a cancel raises.
 */
extern void iqdb_pg_save(Relation index, IqdbPgArena *arena, bool wait);

#endif
