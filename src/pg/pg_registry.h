/*
 * pg_registry.h - one small piece of the server's shared memory: which life this is, and what all sessions must know of each
 * other beside arenas.
 *
 * Made by the first backend that needs it, from the slack that the server keeps for such use, so that nothing has to be
 * preloaded. The token is drawn anew in each life of shared memory; an arena whose name carries another token belongs to
 * a life that is over and is removed, never looked into. Its name tells the library's layout of shared bytes, so that an
 * update while the server runs begins a life of its own beside that of the sessions with the old library.
 *
 * There is no table of open arenas here, on purpose: an arena is found by its name (token, database, generation) and
 * follows the journal by itself, so two arenas of one index (somebody unlinked the first) are both right.
 */
#ifndef IQDB_PG_REGISTRY_H
#define IQDB_PG_REGISTRY_H

#include "port/atomics.h"
#include "storage/condition_variable.h"

/* To be raised when bytes in arenas, or of the registry, change their meaning but not their number. */
#define IQDB_PG_MEMORY_LAYOUT 6

#define IQDB_PG_NO_ROOM_ENTRIES 64
#define IQDB_PG_GATES 32
#define IQDB_PG_RECOVERIES 16
#define IQDB_PG_MADE_WORDS 1024

/* Keeps the processes of one parallel query apart; see pg_lock.h. */
typedef struct IqdbPgGate
{
	pg_atomic_uint32 holder;	/* its process id, 0 = nobody */
	ConditionVariable left;
} IqdbPgGate;

/* An index that somebody asked a worker to recover; see pg_recovery.h. */
typedef struct IqdbPgRecovery
{
	pg_atomic_uint64 index;		/* database and index, 0 = free */
	pg_atomic_uint64 asked;		/* when, microseconds; or when it failed */
	pg_atomic_uint32 failed;	/* the worker ended by an error */
	pg_atomic_uint32 pid;		/* of the worker, 0 = not there yet, or not any more */
} IqdbPgRecovery;

typedef struct IqdbPgRegistry
{
	uint64		token;			/* random, never 0 */
	int			tranche;		/* of every LWLock in every arena */
	pg_atomic_uint32 worker_pid;	/* of the keeper, 0 = none runs */
	struct Latch *volatile worker_latch;	/* of the process that is or was the keeper; NULL: there was none */
	pg_atomic_uint64 worker_tried;	/* when a backend last tried to start it, microseconds */
	struct
	{
		pg_atomic_uint64 generation;	/* low half; 0 = free */
		pg_atomic_uint64 until; /* when it may be tried again, microseconds */
	}			no_room[IQDB_PG_NO_ROOM_ENTRIES];	/* indexes that lately found no room for their arena */
	IqdbPgGate	gates[IQDB_PG_GATES];
	pg_atomic_uint64 promised;	/* what arenas in the making in the first folder are still expected to take */
	pg_atomic_uint64 memory;	/* no less than what all arenas take; see pg_arena_room.c */
	IqdbPgRecovery recoveries[IQDB_PG_RECOVERIES];
	pg_atomic_uint32 made[IQDB_PG_MADE_WORDS];	/* a bit for each hash of a relation that an arena was made of */
} IqdbPgRegistry;

/* The registry, made on first use in this life. Any process with shared memory may call it. */
extern IqdbPgRegistry *iqdb_pg_registry(void);

/*
 * An index that finds no room, or that cannot be read from its table for another reason, would be tried in vain by every
 * statement: for half a minute nobody tries again but who asks for it (VACUUM, iqdb_prewarm). Forgetful: a crowded table only
 * means more attempts.
 */
extern void iqdb_pg_no_room_note(uint64 generation);
extern bool iqdb_pg_no_room_lately(uint64 generation);
extern void iqdb_pg_no_room_forget(uint64 generation);

/*
 * Has an arena been made in this life for a relation of this number? A false "yes" is rare, a "no" is certain: most relations
 * that are dropped are none of ours, and this saves looking for their arenas in the folders.
 */
extern void iqdb_pg_made_note(Oid database, uint32 relation_number);
extern bool iqdb_pg_made(Oid database, uint32 relation_number);

#endif
