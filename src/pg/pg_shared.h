/*
 * pg_shared.h - what the backends share about one index beside rows and graph: region HOST of its arena.
 *
 * Each part has one owner, whose file is named; others read it. "apply" marks what is written under IQDB_PG_LOCK_APPLY. Bump
 * IQDB_PG_MEMORY_LAYOUT (pg_registry.h) when anything here changes.
 */
#ifndef IQDB_PG_SHARED_H
#define IQDB_PG_SHARED_H

#include "port/atomics.h"

#include "pg/pg_journal.h"

/* Host's lock cells in the arena header. */
#define IQDB_PG_LOCK_APPLY IQDB_LOCK_HOST
#define IQDB_PG_LOCK_CACHE (IQDB_LOCK_HOST + 1)

/* ---- how far the journal is applied: pg_follow.c ----------------------------------------------------------------- */

typedef struct IqdbPgApplied
{
	pg_atomic_uint64 number;	/* apply: of entries; read without lock for a look */
	pg_atomic_uint64 block;		/* apply: the journal's page to start looking at, likewise */
	uint64		hash;			/* apply: chain hash over them */
	pg_atomic_uint64 lsn;		/* end of the newest record of the journal that this arena knows of */
} IqdbPgApplied;

/* ---- the own log: pg_log.c --------------------------------------------------------------------------------------- */

/* Bytes of frames that wait to be written at which the writer of a row should write them out. */
#define IQDB_PG_LOG_FLUSH_AT (256 * 1024)

/* Changes that can wait. At half of them they are written out as well; one that finds no place is left out of the log. */
#define IQDB_PG_LOG_NOTES 8192

/*
 * An applied change that waits to be written to the log. Of a row that was put it says where it lies: its bytes are read
 * there when the frame is written. A row that is gone by then needs no frame, because a later entry of the journal tells
 * of its TID; should the log lack that one, recovery reads the table.
 */
typedef struct IqdbPgLogNote
{
	uint64		number;			/* position of the journal behind the entry, ... */
	uint64		hash;			/* ... and the chain hash there */
	uint64		id;
	uint64		sequence;		/* of the row in the slot */
	uint32		slot;
	uint32		type;			/* of the frame: IQDB_PG_FRAME_... */
} IqdbPgLogNote;

typedef enum IqdbPgLogState
{
	IQDB_PG_LOG_NONE = 0,		/* no segment yet */
	IQDB_PG_LOG_OPEN = 1,
	IQDB_PG_LOG_BROKEN = 2		/* a write failed: nothing more is logged until the next snapshot */
} IqdbPgLogState;

/* The file of the current segment, and what waits to be written to it. */
typedef struct IqdbPgLog
{
	uint64		start;			/* apply: journal number at which the segment begins ... */
	uint64		start_hash;		/* apply: ... and the chain hash there */
	uint64		tail;			/* the log lock, apply where a segment begins: bytes of its file */
	uint32		count;			/* apply: notes that wait, ... */
	uint32		bytes;			/* apply: ... and bytes of their frames */
	pg_atomic_uint32 state;		/* IqdbPgLogState */
	pg_atomic_uint32 unsynced;	/* written since the last sync */
	pg_atomic_uint64 dropped;	/* changes left out because there was no place for a note */
	IqdbPgLogNote notes[IQDB_PG_LOG_NOTES]; /* apply */
} IqdbPgLog;

/* ---- own snapshots: pg_files.c ----------------------------------------------------------------------------------- */

typedef struct IqdbPgSnapshots
{
	pg_atomic_uint64 number;	/* journal number from which the newest is replayed */
	pg_atomic_uint64 older;		/* the same for the one before: the journal is kept from here on */
	pg_atomic_uint64 time;		/* when it was written, TimestampTz; 0 = there is none, 1 = that is not known */
	pg_atomic_uint64 bytes;
	pg_atomic_uint64 weight;	/* bytes that who loads it reads: with bare rows the table's vectors, too */
	pg_atomic_uint32 wanted;	/* the log has outgrown its setting */
	int32		compression;	/* IqdbCompression, as the index's options said last */
	int32		compression_level;
	int32		bare;			/* not 0: of rows they hold TIDs only, the rest is fetched from the table */
} IqdbPgSnapshots;

/* ---- how the arena came to be, for the log line: pg_recover.c ----------------------------------------------------- */

typedef struct IqdbPgOpening
{
	uint64		loaded;			/* rows from a snapshot */
	uint64		replayed;		/* changes from the log */
	uint64		fetched;		/* rows from the table, by the journal */
	uint64		rebuilt;		/* all rows of the table */
	uint64		microseconds;
} IqdbPgOpening;

/* ---- answers of searches: pg_cache.c; the cache itself lies behind IqdbPgShared, where it grows ------------------- */

typedef struct IqdbPgCache
{
	uint32		is_made;		/* IQDB_PG_LOCK_CACHE, as is all of this: by these options, which the index had then */
	int32		policy;
	uint64		capacity;
	uint64		ttl_ms;
	bool		is_there;		/* there was memory for it */
} IqdbPgCache;

/* ---- whose it is: pg_arena.c -------------------------------------------------------------------------------------- */

typedef enum IqdbPgState
{
	IQDB_PG_LOADING = 0,		/* its maker is filling it; if nobody holds the open lock, the maker failed */
	IQDB_PG_READY = 1,
	IQDB_PG_DEAD = 2			/* given up: map anew */
} IqdbPgState;

typedef struct IqdbPgShared
{
	uint64		token;			/* of the life of shared memory */
	IqdbPgGeneration generation;
	Oid			database;
	uint32		relation_number;
	uint32		permanent;		/* has own files: neither temporary nor unlogged */
	pg_atomic_uint32 state;		/* IqdbPgState */
	pg_atomic_uint32 keeper_at_work;	/* the one process that needs no lock on the relation */
	pg_atomic_uint32 unbuilt;	/* the rows of the table are in it, but links or lists are still to be made */
	pg_atomic_uint32 full;		/* an entry could not be applied for want of room: since then behind */
	char		vectors_path[MAXPGPATH];	/* of the file of vectors, if there is one */
	uint64		vectors_device;
	uint64		vectors_inode;
	uint64		reserved;		/* bytes of memory that its address space was reserved for */
	pg_atomic_uint64 promised;	/* part of the registry's sum, while it is made */

	IqdbPgApplied applied;
	IqdbPgSnapshots snapshots;
	IqdbPgOpening opening;
	IqdbPgCache cache;
	IqdbPgLog	log;
} IqdbPgShared;

/* The applied position. IQDB_PG_LOCK_APPLY is held, or nobody else has the arena. */
static inline IqdbPgPosition
iqdb_pg_applied(IqdbPgShared *shared)
{
	IqdbPgPosition position;

	position.number = pg_atomic_read_u64(&shared->applied.number);
	position.hash = shared->applied.hash;
	position.block = (BlockNumber) pg_atomic_read_u64(&shared->applied.block);
	position.unused = 0;
	return position;
}

static inline void
iqdb_pg_set_applied(IqdbPgShared *shared, const IqdbPgPosition *position)
{
	shared->applied.hash = position->hash;
	pg_atomic_write_u64(&shared->applied.number, position->number);
	pg_atomic_write_u64(&shared->applied.block, position->block);
}

#endif
