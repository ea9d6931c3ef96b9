/*
 * pg_open.h - from an index relation to an arena that is right: open, recover, rebuild, follow the journal.
 *
 * The ladder of an open: an arena of this life that is READY; else the newest snapshot whose identity and journal
 * positions are part of this history, then the frames of the log that agree with the journal, then the rows that neither
 * has, fetched from the table by TID; else the whole table. Each step is an upsert by TID, so doing more than needed does
 * no harm.
 *
 * One number says whether an arena is up to date: the journal entries it has applied. An inserter applies its own entry
 * if everything before it is applied, under the journal page's lock, so the order of entries is the order of rows; if not,
 * it leaves the entry to the next one who needs it. A scan looks at the journal's end after its snapshot was taken, and
 * applies what is missing first: on a standby that is how rows arrive at all.
 */
#ifndef IQDB_PG_OPEN_H
#define IQDB_PG_OPEN_H

#include "pg/pg_arena.h"

/*
 * Who may take the time to recover an index. Statements that change rows never do: they journal them, and ask a worker
 * (pg_recovery.h). A search loads own files, which takes about as long as reading them; what would have to be read from the
 * table is left to a worker, and the table is searched meanwhile. Where no worker is to be had, the search does it itself.
 * The index of a temporary table is this process's alone, and made by whoever needs it.
 */
typedef enum IqdbPgOpenMode
{
	IQDB_PG_OPEN_IF_READY,		/* never recovers anything */
	IQDB_PG_OPEN_ASK,			/* asks a worker to recover it, and does not wait */
	IQDB_PG_OPEN_SEARCH,		/* as said above; not if somebody else is at it, nor if it lately failed */
	IQDB_PG_OPEN_VACUUM,		/* recovers, or waits until somebody else has; a failure is none of the caller's */
	IQDB_PG_OPEN_WAIT			/* recovers, or waits until somebody else has; raises what fails */
} IqdbPgOpenMode;

/*
 * The index's arena, or NULL with *error filled (want of room, or for SEARCH and VACUUM whatever else it was), or NULL with
 * error->code IQDB_OK if the mode forbids to go on. heap may be NULL: it is then opened when needed. Raises a cancel, and
 * damage where iqdb.on_corruption says so; with WAIT all other errors, too.
 *
 * The memory is there for all as soon as the rows are in it. What an engine does with them beyond that (links of a graph,
 * lists) goes on beside searches and changes, by the keeper or whoever waits, and is kept however often it is interrupted.
 */
extern IqdbPgArena *iqdb_pg_open(Relation index, Relation heap, IqdbPgOpenMode mode, IqdbError *error);

/* Opens, and applies the journal to its end, waiting if need be. NULL with *error filled for want of room. */
extern IqdbPgArena *iqdb_pg_try_current(Relation index, Relation heap, IqdbPgOpenMode mode, IqdbError *error);

/* The same for a statement that cannot go on without: raises for want of room as well. */
extern IqdbPgArena *iqdb_pg_open_current(Relation index, Relation heap);

/* Would a search do without the index at this moment: is somebody recovering it, or did it lately fail? It is not open. */
extern bool iqdb_pg_is_recovering(Relation index);

/* Applies the journal up to its end as of now. Raises, also for want of room. */
extern void iqdb_pg_catch_up(Relation index, Relation heap, IqdbPgArena *arena);

/* The same for a statement that can do without: not if somebody else is at it, nor if the arena is full. */
extern void iqdb_pg_catch_up_if_free(Relation index, Relation heap, IqdbPgArena *arena);

/* Notes that an entry could not be applied for want of room, or that none is left to apply. Was it news? */
extern bool iqdb_pg_set_full(Relation index, IqdbPgArena *arena, bool full);

/* May a new arena hold what this one could not, for want of room of this kind? */
extern bool iqdb_pg_larger_possible(const IqdbPgArena *arena, IqdbStatus status);

#endif
