/*
 * pg_follow.h - how far an arena has applied the journal, and how it goes on.
 */
#ifndef IQDB_PG_FOLLOW_H
#define IQDB_PG_FOLLOW_H

#include "pg/pg_arena.h"
#include "pg/pg_row.h"

/* Is there anything to apply? One look at the journal's tail page. */
extern bool iqdb_pg_is_behind(Relation index, IqdbPgArena *arena);

/*
 * Reads the journal from the applied position to its end and applies what is there, rows coming from the table. The open
 * lock is held. *fetched_out counts. Returns want of room, or IQDB_ERR_STATE if the journal was reused before this arena
 * read it; raises the rest.
 */
extern IqdbStatus iqdb_pg_follow(Relation index, Relation heap, IqdbPgArena *arena, uint64 *fetched_out,
								 IqdbError *error);

/*
 * Entries up to this block of the journal are about to be applied: a snapshot of the arena must not reach the disk before
 * the WAL does that has them. To be called before they are.
 */
extern void iqdb_pg_note_lsn(Relation index, IqdbPgArena *arena, BlockNumber block);

/* The same for entries whose record ends at this position of the WAL. */
extern void iqdb_pg_raise_lsn(IqdbPgShared *shared, XLogRecPtr lsn);

/* Moves the applied position past one entry. IQDB_PG_LOCK_APPLY is held. */
extern void iqdb_pg_advance(IqdbPgShared *shared, const IqdbPgEntry *entry, BlockNumber block);

#endif
