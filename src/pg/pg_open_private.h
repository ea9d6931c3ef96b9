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

/*
 * Entries up to this block of the journal are about to be applied: a snapshot of the arena must not reach the disk before
 * the WAL does that has them. To be called before they are.
 */
extern void iqdb_pg_note_lsn(Relation index, IqdbPgArena *arena, BlockNumber block);

/*
 * Reads the journal from the applied position to its end and applies what is there, rows coming from the table. The open
 * lock is held. *fetched_out counts. Returns want of room, or IQDB_ERR_STATE if the journal was reused before this arena
 * read it; raises the rest.
 */
extern IqdbStatus iqdb_pg_follow(Relation index, Relation heap, IqdbPgArena *arena, uint64 *fetched_out,
								 IqdbError *error);

#endif
