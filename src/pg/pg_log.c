/*
 * pg_log.c - the own log of an index: frames in a buffer that all backends share, written out in order.
 *
 * A frame is added under IQDB_PG_LOCK_APPLY in the moment its journal entry is applied, so frames stand in journal order.
 * Writing takes the heavyweight log lock, copies the buffer out under IQDB_PG_LOCK_APPLY, and writes the copy with no own
 * lock held. Frames that found no room, or were lost in a crash, are no loss: recovery fetches those rows from the table.
 * A segment's file is made by its first write. Each open of an index and each snapshot begin a new segment, so no file is
 * ever appended to that another life wrote.
 */
#include "postgres.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/file_perm.h"
#include "miscadmin.h"
#include "storage/fd.h"

#include "core/base/endian.h"
#include "core/base/io_posix.h"

#include "pg/pg_fail.h"
#include "pg/pg_files_private.h"
#include "pg/pg_lock.h"
#include "pg/pg_settings.h"
#include "pg/pg_worker.h"

static void
lock_apply(IqdbPgArena *arena)
{
	iqdb_store_lock(&arena->index.store, IQDB_PG_LOCK_APPLY, true);
}

static void
unlock_apply(IqdbPgArena *arena)
{
	iqdb_store_unlock(&arena->index.store, IQDB_PG_LOCK_APPLY, true);
}

/* ---- adding ---- */

void
iqdb_pg_log_add(IqdbPgShared *shared, uint8 type, uint64 id, const float *vector, uint32 dim)
{
	unsigned char id_bytes[8];
	IqdbLogPiece pieces[2] = {{id_bytes, sizeof(id_bytes)}, {vector, dim * sizeof(float)}};
	size_t		length;

	if (pg_atomic_read_u32(&shared->log_state) != IQDB_PG_LOG_OPEN)
		return;
	iqdb_store_u64(id_bytes, id);
	if (iqdb_log_encode_frame(shared->log_seed, shared->log_buffer + shared->log_fill,
							  IQDB_PG_LOG_BUFFER - shared->log_fill, shared->applied.number, shared->applied.hash, type,
							  pieces, vector != NULL ? 2 : 1, &length, NULL) == IQDB_OK)
		shared->log_fill += (uint32) length;
	else
		pg_atomic_fetch_add_u64(&shared->log_dropped, 1);
}

uint64
iqdb_pg_log_waiting(const IqdbPgShared *shared)
{
	return *(const volatile uint32 *) &shared->log_fill;
}

/* A snapshot below this many bytes is small; a larger index lets its log grow to so many times its snapshot. */
#define SMALL_SNAPSHOT (UINT64CONST(4) * 1024 * 1024)
#define LOG_LIMIT_FACTOR 4

bool
iqdb_pg_snapshot_is_small(const IqdbPgShared *shared)
{
	return pg_atomic_read_u64(unconstify(pg_atomic_uint64 *, &shared->snapshot_bytes)) < SMALL_SNAPSHOT;
}

uint64
iqdb_pg_log_limit(const IqdbPgShared *shared)
{
	uint64		bytes = pg_atomic_read_u64(unconstify(pg_atomic_uint64 *, &shared->snapshot_bytes));
	uint64		limit = bytes < SMALL_SNAPSHOT ? bytes : LOG_LIMIT_FACTOR * bytes;

	return Min((uint64) iqdb_snapshot_wal_size * 1024, Max(limit, IQDB_PG_LOG_FLUSH_AT / 2));
}

/* Starts a segment at the applied position. IQDB_PG_LOCK_APPLY is held. */
static void
begin_segment(IqdbPgShared *shared)
{
	IqdbLogHeader header;

	memset(&header, 0, sizeof(header));
	header.start_position = shared->applied.number;
	header.start_hash = shared->applied.hash;
	header.identity_length = iqdb_pg_identity(header.identity, shared);
	shared->log_start = shared->applied.number;
	shared->log_tail = 0;
	shared->log_fill = 0;
	if (iqdb_log_encode_header(&header, shared->log_buffer, NULL) == IQDB_OK)
	{
		shared->log_fill = IQDB_LOG_HEADER_SIZE;
		shared->log_seed = iqdb_log_seed(&header);
		pg_atomic_write_u32(&shared->log_state, IQDB_PG_LOG_OPEN);
	}
}

void
iqdb_pg_log_begin(IqdbPgArena *arena)
{
	if (!arena->shared->permanent)
		return;
	lock_apply(arena);
	begin_segment(arena->shared);
	unlock_apply(arena);
}

/* ---- writing ---- */

typedef struct Chunk
{
	uint64		segment;
	uint64		offset;
	uint32		length;
	unsigned char *bytes;
} Chunk;

/* Takes everything out of the buffer. IQDB_PG_LOCK_APPLY is held; chunk->bytes has room for the whole buffer. */
static void
take_buffer(IqdbPgShared *shared, Chunk *chunk)
{
	chunk->segment = shared->log_start;
	chunk->offset = shared->log_tail;
	chunk->length = shared->log_fill;
	memcpy(chunk->bytes, shared->log_buffer, shared->log_fill);
	shared->log_tail += shared->log_fill;
	shared->log_fill = 0;
}

/* Writes a chunk to its segment's file; the log is given up on failure. */
static void
write_chunk(IqdbPgArena *arena, const Chunk *chunk, bool sync)
{
	IqdbPgShared *shared = arena->shared;
	IqdbError	error = {0};
	IqdbFile	file = {0};
	char		path[MAXPGPATH];
	IqdbStatus	status;

	iqdb_pg_file_path(path, shared->database, &shared->generation, chunk->segment, "log");
	status = iqdb_pg_make_folder(shared->database, &error);
	/* whatever has the name of a segment that begins now is none of this life's */
	if (chunk->offset == 0)
		iqdb_pg_remove_file(path);
	if (status == IQDB_OK)
		status = iqdb_file_open(&iqdb_io_posix, path, IQDB_IO_WRITE | (chunk->offset == 0 ? IQDB_IO_CREATE : 0), &file,
								&error);
	if (status == IQDB_OK && chunk->offset == 0)
		status = iqdb_file_truncate(&file, 0, &error);
	IQDB_PG_FAIL_POINT("log-opened");
	if (status == IQDB_OK && chunk->length > 0)
		status = iqdb_file_write(&file, chunk->bytes, chunk->length, chunk->offset, &error);
	if (status == IQDB_OK && sync)
		status = iqdb_file_sync(&file, &error);
	(void) iqdb_file_close(&file, NULL);
	/* the index was dropped, and its files removed, meanwhile */
	if (pg_atomic_read_u32(&shared->state) == IQDB_PG_DEAD)
		(void) unlink(path);

	if (status == IQDB_OK)
	{
		pg_atomic_write_u32(&shared->log_unsynced, sync ? 0 : 1);
		if (chunk->offset + chunk->length > iqdb_pg_log_limit(shared) &&
			pg_atomic_exchange_u32(&shared->snapshot_wanted, 1) == 0)
			iqdb_pg_worker_wake();
		return;
	}
	pg_atomic_write_u32(&shared->log_state, IQDB_PG_LOG_BROKEN);
	/* a segment without its header is worth nothing, and each attempt would leave another */
	if (chunk->offset == 0)
		(void) unlink(path);
	ereport(WARNING,
			(errcode(iqdb_pg_sqlstate(status)),
			 errmsg("iqdb: the log \"%s\" is given up: %s", path, iqdb_pg_error_text(&error)),
			 errdetail("No row is lost: after a crash the rows that it lacks are read from the table.")));
}

/* The log lock is held. */
static void
flush_locked(IqdbPgArena *arena, bool sync)
{
	Chunk		chunk;

	chunk.bytes = palloc(IQDB_PG_LOG_BUFFER);
	lock_apply(arena);
	take_buffer(arena->shared, &chunk);
	unlock_apply(arena);
	if (chunk.length > 0 || (sync && pg_atomic_read_u32(&arena->shared->log_unsynced) != 0))
		write_chunk(arena, &chunk, sync);
	pfree(chunk.bytes);
}

void
iqdb_pg_log_flush(IqdbPgArena *arena, bool sync, bool wait)
{
	IqdbPgShared *shared = arena->shared;

	if (!shared->permanent || pg_atomic_read_u32(&shared->log_state) != IQDB_PG_LOG_OPEN)
		return;
	if (iqdb_pg_log_waiting(shared) == 0 && (!sync || pg_atomic_read_u32(&shared->log_unsynced) == 0))
		return;
	if (iqdb_pg_arena_is_stale(arena))
	{
		/* somebody removed the arena's file: others will make a new one, and this one must not write beside it */
		pg_atomic_write_u32(&shared->state, IQDB_PG_DEAD);
		return;
	}
	if (!iqdb_pg_lock(shared->database, shared->relation_number, IQDB_PG_LOCK_LOG, wait))
		return;
	flush_locked(arena, sync);
	iqdb_pg_unlock(shared->database, shared->relation_number, IQDB_PG_LOCK_LOG);
}

IqdbPgPosition
iqdb_pg_log_switch(IqdbPgArena *arena)
{
	IqdbPgShared *shared = arena->shared;
	bool		broken = pg_atomic_read_u32(&shared->log_state) == IQDB_PG_LOG_BROKEN;
	IqdbPgPosition position;
	Chunk		rest;

	rest.bytes = palloc(IQDB_PG_LOG_BUFFER);
	(void) iqdb_pg_lock(shared->database, shared->relation_number, IQDB_PG_LOCK_LOG, true);
	if (!broken)
		flush_locked(arena, false);
	IQDB_PG_FAIL_POINT("log-switch");
	lock_apply(arena);
	position = shared->applied;
	take_buffer(shared, &rest);
	begin_segment(shared);
	unlock_apply(arena);
	IQDB_PG_FAIL_POINT("log-switched");
	if (!broken && rest.length > 0)
		write_chunk(arena, &rest, iqdb_fsync != IQDB_FSYNC_NEVER);
	iqdb_pg_unlock(shared->database, shared->relation_number, IQDB_PG_LOCK_LOG);
	pfree(rest.bytes);
	return position;
}

/* ---- replay ---- */

typedef struct Segment
{
	char		path[MAXPGPATH];
	uint64		number;
} Segment;

typedef struct SegmentList
{
	const IqdbPgGeneration *generation;
	uint64		from;
	Segment    *items;
	int			count;
	int			allocated;
} SegmentList;

static void
collect_segment(const char *path, const IqdbPgGeneration *generation, void *arg)
{
	SegmentList *list = arg;
	const char *dot = strrchr(path, '.');
	unsigned long long number;

	if (generation->high != list->generation->high || generation->low != list->generation->low ||
		dot == NULL || strcmp(dot, ".log") != 0 || dot - path < 16 ||
		sscanf(dot - 16, "%16llx", &number) != 1 || number < list->from)
		return;
	if (list->count == list->allocated)
	{
		list->allocated *= 2;
		list->items = repalloc(list->items, list->allocated * sizeof(Segment));
	}
	strlcpy(list->items[list->count].path, path, MAXPGPATH);
	list->items[list->count++].number = number;
}

static int
by_number(const void *a, const void *b)
{
	uint64		x = ((const Segment *) a)->number;
	uint64		y = ((const Segment *) b)->number;

	return x < y ? -1 : x > y ? 1 : 0;
}

IqdbStatus
iqdb_pg_log_replay(Oid database, const IqdbPgGeneration *generation, uint64 from, IqdbLogVisit visit,
				   void *visit_arg, IqdbError *error)
{
	SegmentList list = {generation, from, palloc(8 * sizeof(Segment)), 0, 8};
	IqdbHost	host = iqdb_pg_host(CurrentMemoryContext);

	iqdb_pg_files_visit(database, collect_segment, &list);
	qsort(list.items, list.count, sizeof(Segment), by_number);
	for (int i = 0; i < list.count; i++)
	{
		const char *path = list.items[i].path;
		IqdbLogHeader header;
		IqdbLogScan scan;
		IqdbError	trouble = {0};
		bool		blank;
		IqdbStatus	status;

		status = iqdb_log_read_header(&iqdb_io_posix, path, &header, &blank, &trouble);
		if (status == IQDB_OK && (blank || !iqdb_pg_identity_agrees(header.identity, header.identity_length, generation)))
		{
			ereport(LOG, (errmsg("iqdb: log \"%s\" is refused: %s", path,
								 blank ? "it is empty" : "it belongs to another index or cluster")));
			continue;
		}
		if (status == IQDB_OK)
			status = iqdb_log_scan(&iqdb_io_posix, &host.allocator, path, visit, visit_arg, &scan, &trouble);
		if (iqdb_pg_is_want_of_room(status) || status == IQDB_ERR_CANCELLED)
		{
			*error = trouble;
			return status;
		}
		if (status != IQDB_OK)
			ereport(LOG, (errmsg("iqdb: log \"%s\" is refused: %s", path, trouble.message)));
		else if (scan.torn)
			ereport(LOG, (errmsg("iqdb: log \"%s\" ends torn at byte " UINT64_FORMAT, path, (uint64) scan.valid_end)));
	}
	pfree(list.items);
	return IQDB_OK;
}
