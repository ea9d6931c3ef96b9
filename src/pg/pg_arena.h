/*
 * pg_arena.h - the arenas of indexes: files that every backend maps, and what all of them share about one index.
 *
 * An arena file is named by the life of shared memory it belongs to, the database, the index's relation number (the
 * name of its fork's file) and its generation:
 *
 *     /dev/shm/iqdb.<cluster>.<token>.<database>.<relation>.<generation>     (16, 16, decimal, decimal, 32 hex digits)
 *     base/pgsql_tmp/pgsql_tmp.iqdb.<the same>
 *
 * It is sparse: address space is reserved for several times the rows that the table can hold now, room on the file system
 * only for what is used, always by posix_fallocate before a byte is touched. An index that outgrows its reserve gets an arena
 * with a larger one; the old one is dead then, and stays mapped by those who still read it. It is never the durable copy.
 * Arenas of temporary indexes are private memory.
 *
 * A process gives a mapping back that it has not used for a minute, and all that its transaction does not use when the system
 * has no address space, or no mapping, left for one more.
 *
 * Where the index's options put vectors on disk, they are a file of their own, mapped at the place of their region, in the
 * folder of iqdb.vector_directory:
 *
 *     base/pgsql_tmp/pgsql_tmp.iqdb.<the same>.vectors
 *
 * Made before the arena gets its name, and removed with it; the arena knows its path, device and inode, and nobody maps an
 * arena without it. Of base/pgsql_tmp the server removes it at every start and leaves it out of base backups.
 */
#ifndef IQDB_PG_ARENA_H
#define IQDB_PG_ARENA_H

#include <time.h>

#include "pg/pg_bridge.h"
#include "pg/pg_shared.h"

/* A process's view of one index's arena. Lives until the end of the transaction in which it is found dead. */
typedef struct IqdbPgArena
{
	struct IqdbPgArena *next;
	Oid			database;
	uint32		relation_number;
	IqdbPgGeneration generation;
	bool		is_private;
	bool		is_made_here;	/* by this process, not found */
	bool		fallback;		/* not in the first choice of folder */
	uint64		device;
	uint64		inode;
	char		path[MAXPGPATH];	/* of its file; of the index's fork if it is private */
	char		vectors_path[MAXPGPATH];	/* of the file of vectors; empty: they are in the arena */
	uint64		vectors_device;
	uint64		vectors_inode;
	uint64		round;			/* when it was looked up last: number of the transaction in this process, ... */
	time_t		used;			/* ... and the end of that, as it was found later */
	bool		all_full;		/* it was the limit of all arenas that kept it from growing last */
	bool		vectors_full;	/* it was this file that could not grow last */
	uint64		gathered[IQDB_ARENA_REGIONS_MAX];	/* bytes of each region whose pages this process has tried to gather */
	IqdbArena	arena;
	IqdbHost	host;			/* allocates from a context that lives as long as the process */
	IqdbIndex	index;
	IqdbPgShared *shared;
} IqdbPgArena;

/* The index of an arena with memory of the current context: for calls that allocate. Must not be copied. */
typedef struct IqdbPgView
{
	IqdbHost	host;
	IqdbIndex	index;
} IqdbPgView;

static inline void
iqdb_pg_view(IqdbPgView *view, const IqdbPgArena *arena)
{
	view->host = iqdb_pg_host(CurrentMemoryContext);
	view->index = arena->index;
	view->index.host = &view->host;
	view->index.store.host = &view->host;
}

/* Held for the moment in which an entry is applied, and its change noted for the log. */
static inline void
iqdb_pg_lock_apply(const IqdbPgArena *arena)
{
	iqdb_store_lock(&arena->index.store, IQDB_PG_LOCK_APPLY, true);
}

static inline void
iqdb_pg_unlock_apply(const IqdbPgArena *arena)
{
	iqdb_store_unlock(&arena->index.store, IQDB_PG_LOCK_APPLY, true);
}

/* The arena of this generation that this process has mapped already and that is not dead, or NULL. */
extern IqdbPgArena *iqdb_pg_arena_lookup(uint32 relation_number, const IqdbPgGeneration *generation);

/* Maps a READY arena made by another process; NULL if there is none. */
extern IqdbPgArena *iqdb_pg_arena_map(uint32 relation_number, const IqdbPgGeneration *generation);

/*
 * Makes a fresh arena in state LOADING with an empty index in it, in place of whatever has its name. Caller holds the
 * open lock of the index or nobody else can know the generation. is_private: memory of this process alone. rows: how
 * many are expected, to choose a folder with room for them. NULL for want of room, *error says which; raises the rest.
 */
extern IqdbPgArena *iqdb_pg_arena_create(Relation index, const IqdbPgMeta *meta, const IqdbIndexOptions *options,
										 bool is_private, bool avoid_shm, double rows, IqdbError *error);

/* A parallel worker of the maker maps the LOADING arena. */
extern IqdbPgArena *iqdb_pg_arena_map_loading(uint32 relation_number, const IqdbPgGeneration *generation);

/* It is filled: others may map it. */
extern void iqdb_pg_arena_set_ready(IqdbPgArena *arena);

/*
 * Is it address space that an arena wants which got IQDB_ERR_LIMIT, not memory? One that is made in its place, in this
 * transaction, reserves more.
 */
extern bool iqdb_pg_arena_outgrown(const IqdbPgArena *arena);

/* The same for the last one of this generation that this transaction made and gave up. */
extern bool iqdb_pg_arena_was_outgrown(uint32 relation_number, const IqdbPgGeneration *generation);

/* Marks it dead and removes the file, so that the next open makes a new one. Safe on an arena that others use. */
extern void iqdb_pg_arena_discard(IqdbPgArena *arena);

/* Somebody unlinked or replaced a file behind this mapping? (one stat call for each) */
extern bool iqdb_pg_arena_is_stale(const IqdbPgArena *arena);

/*
 * At the end of a transaction: unmaps what is dead, what was not used lately, what a failed statement left unfinished, and
 * dropped temporary ones.
 */
extern void iqdb_pg_arena_end_of_transaction(void);

/* A relation whose files are going away; found and generation are filled if it had an arena. */
typedef struct IqdbPgArenaDrop
{
	Oid			database;
	uint32		relation_number;
	bool		found;
	IqdbPgGeneration generation;
} IqdbPgArenaDrop;

/*
 * Removes the arenas of these relations, all in one go through the folders. free_memory: nobody works with them any more,
 * so their memory is freed at once although other processes still map it. Never raises.
 */
extern void iqdb_pg_arena_drop(IqdbPgArenaDrop *drops, int count, bool free_memory);

/* The same for one relation; did it have one? */
extern bool iqdb_pg_arena_drop_relation(Oid database, uint32 relation_number, bool free_memory,
										IqdbPgGeneration *generation_out);

/* Writes out, and syncs if asked to, the logs of all arenas that this process has mapped. */
extern void iqdb_pg_arena_flush_logs(bool sync);

/* Removes arena files of earlier lives of this cluster's shared memory. Never raises. */
extern void iqdb_pg_arena_sweep(void);

/* Removes every arena file of this life: the server is stopping. */
extern void iqdb_pg_arena_remove_all(void);

/* Maps the arena file at a path found by iqdb_pg_arena_visit; NULL if it is not READY. Needs no database connection. */
extern IqdbPgArena *iqdb_pg_arena_map_path(const char *path, Oid database, uint32 relation_number,
										   const IqdbPgGeneration *generation);

/* Calls visit for each arena file of this life, with its path, database and generation. */
typedef void (*IqdbPgArenaVisit) (const char *path, Oid database, uint32 relation_number,
								  const IqdbPgGeneration *generation, void *arg);
extern void iqdb_pg_arena_visit(IqdbPgArenaVisit visit, void *arg);

/*
 * Has the pages of an arena gathered into huge ones, as far as it has grown since this process did so last, for about so many
 * milliseconds (0: until all are). True: there are more. Whoever works with the arena may go on.
 */
extern bool iqdb_pg_arena_gather(IqdbPgArena *arena, int milliseconds);

/* Bytes of memory one index may use, vectors on disk not counted: its own limit, or that of all indexes together. */
extern uint64 iqdb_pg_arena_limit(void);

/* What helps an index that this process could not make larger, by the limit that it met last. */
extern const char *iqdb_pg_arena_limit_hint(void);

#endif
