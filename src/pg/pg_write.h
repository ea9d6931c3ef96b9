/*
 * pg_write.h - journals that rows of an index came or went, and applies it.
 *
 * Both apply an entry only if the arena (which may be NULL) has applied everything before; else it is left to the next who
 * follows the journal. No lock of ours may be held.
 */
#ifndef IQDB_PG_WRITE_H
#define IQDB_PG_WRITE_H

#include "pg/pg_arena.h"
#include "pg/pg_row.h"

/* A row came. row->slot is to be linked, IQDB_SLOT_NONE if it was not put. If that was for want of room, *error says why. */
extern void iqdb_pg_write_insert(Relation index, IqdbPgArena *arena, IqdbPgRow *row, IqdbError *error);

/* Rows went. */
extern void iqdb_pg_write_delete(Relation index, IqdbPgArena *arena, IqdbPgRow *rows, int count);

/* Takes back a row that was on its way when the statement failed. To be called when a transaction, or a part of one, fails. */
extern void iqdb_pg_write_forget(void);

#endif
