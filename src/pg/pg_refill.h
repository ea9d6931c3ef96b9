/*
 * pg_refill.h - what the rows of a bare snapshot consist of, from the table.
 */
#ifndef IQDB_PG_REFILL_H
#define IQDB_PG_REFILL_H

#include "pg/pg_arena.h"

/*
 * Completes the rows that an arena knows by their TIDs: vector and columns of each that the table still has. Those that it has
 * not stay known: they are dead to everybody, or have no vector. The open lock is held, and nobody else has the arena. Raises
 * what reading a table may raise.
 */
extern IqdbStatus iqdb_pg_refill(Relation index, Relation heap, IqdbPgArena *arena, IqdbError *error);

#endif
