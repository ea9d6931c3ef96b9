/*
 * pg_open_private.h - what pg_open.c and pg_recover.c share, and VACUUM needs.
 */
#ifndef IQDB_PG_OPEN_PRIVATE_H
#define IQDB_PG_OPEN_PRIVATE_H

#include "pg/pg_arena.h"

/*
 * Makes an arena and fills it: the open lock is held, and no READY one exists. NULL if the core fails, *error filled;
 * raises a cancel, damage if it shall be an error, and what reading the table raises.
 */
extern IqdbPgArena *iqdb_pg_recover(Relation index, Relation heap, IqdbPgMeta *meta, IqdbError *error);

/* Does what an engine does when all rows are there. No lock of ours is held; interrupted, it keeps what was done. */
extern void iqdb_pg_finish_build(Relation index, IqdbPgArena *arena);

/*
 * Has a full arena lost so many rows, by journal entries that it has not come to, that a new one may hold the rest? The open
 * lock is held.
 */
extern bool iqdb_pg_shrinks_ahead(Relation index, IqdbPgArena *arena);

#endif
