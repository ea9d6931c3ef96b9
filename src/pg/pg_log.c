/*
 * pg_log.c - the own log of an index: notes of changes that all backends share, written out as frames in order.
 *
 * A change is noted under IQDB_PG_LOCK_APPLY in the moment its journal entry is applied, so notes stand in journal order.
 * A note is 40 bytes, whatever the row's size: all that is done under the lock that every writer wants. Writing takes the
 * heavyweight log lock, copies the notes out under IQDB_PG_LOCK_APPLY, reads the rows where they lie in the arena, under
 * STRUCTURE for one chunk at a time, and writes each chunk with no own lock held. Changes that found no place for a note,
 * or were lost in a crash, are no loss: recovery fetches those rows from the table. A segment's file is made by its first
 * write. Each open of an index and each snapshot begin a new segment, so no file is ever appended to that another life
 * wrote.
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

/* Frames are written in chunks of so many bytes; a longer frame is a chunk of its own. */
#define CHUNK_BYTES (64 * 1024)

/* Notes for which room is made beyond those that were there a moment ago. */
#define NOTES_AHEAD 256

/* ---- noting ---- */

/* Bytes of a frame of this type. */
static uint32
frame_bytes(const IqdbPgArena *arena, uint32 type)
{
	return (uint32) iqdb_log_frame_size(iqdb_pg_row_body_size(&arena->index, type == IQDB_PG_FRAME_PUT));
}

void
iqdb_pg_log_note(IqdbPgArena *arena, uint32 type, const IqdbPgRow *row)
{
	IqdbPgShared *shared = arena->shared;
	IqdbPgLogNote *note;

	if (!shared->permanent || pg_atomic_read_u32(&shared->log.state) != IQDB_PG_LOG_OPEN)
		return;
	if (shared->log.count == IQDB_PG_LOG_NOTES)
	{
		pg_atomic_fetch_add_u64(&shared->log.dropped, 1);
		return;
	}
	note = &shared->log.notes[shared->log.count++];
	note->number = pg_atomic_read_u64(&shared->applied.number);
	note->hash = shared->applied.hash;
	note->id = row->number;
	note->sequence = type == IQDB_PG_FRAME_PUT ? iqdb_store_sequence(&arena->index.store, row->slot) : 0;
	note->slot = row->slot;
	note->type = type;
	shared->log.bytes += frame_bytes(arena, type);
}

uint64
iqdb_pg_log_length(const IqdbPgShared *shared)
{
	return *(const volatile uint64 *) &shared->log.tail + *(const volatile uint32 *) &shared->log.bytes;
}

bool
iqdb_pg_log_is_due(const IqdbPgShared *shared)
{
	return *(const volatile uint32 *) &shared->log.bytes >= IQDB_PG_LOG_FLUSH_AT ||
		*(const volatile uint32 *) &shared->log.count >= IQDB_PG_LOG_NOTES / 2;
}

/* A snapshot below this many bytes is small; a larger index lets its log grow to so many times its snapshot. */
#define SMALL_SNAPSHOT (UINT64CONST(4) * 1024 * 1024)
#define LOG_LIMIT_FACTOR 4

bool
iqdb_pg_snapshot_is_small(const IqdbPgShared *shared)
{
	return pg_atomic_read_u64(unconstify(pg_atomic_uint64 *, &shared->snapshots.weight)) < SMALL_SNAPSHOT;
}

uint64
iqdb_pg_log_limit(const IqdbPgShared *shared)
{
	uint64		weight = pg_atomic_read_u64(unconstify(pg_atomic_uint64 *, &shared->snapshots.weight));
	uint64		limit = weight < SMALL_SNAPSHOT ? weight : LOG_LIMIT_FACTOR * weight;

	return Min((uint64) iqdb_snapshot_wal_size * 1024, Max(limit, IQDB_PG_LOG_FLUSH_AT / 2));
}

/* Starts a segment at the applied position; nothing waits for the one before. IQDB_PG_LOCK_APPLY is held. */
static void
begin_segment(IqdbPgShared *shared)
{
	shared->log.start = pg_atomic_read_u64(&shared->applied.number);
	shared->log.start_hash = shared->applied.hash;
	shared->log.tail = 0;
	pg_atomic_write_u32(&shared->log.state, IQDB_PG_LOG_OPEN);
}

void
iqdb_pg_log_begin(IqdbPgArena *arena)
{
	if (!arena->shared->permanent)
		return;
	iqdb_pg_lock_apply(arena);
	begin_segment(arena->shared);
	iqdb_pg_unlock_apply(arena);
}

/* ---- writing ---- */

/* Notes taken out of shared memory, and where their frames go. */
typedef struct Batch
{
	uint64		segment;		/* its first journal number, ... */
	uint64		segment_hash;	/* ... and the chain hash there */
	uint64		offset;			/* of the first frame in the segment's file; 0: the header comes first */
	uint32		count;
	uint32		allocated;
	IqdbPgLogNote *notes;
} Batch;

static void
batch_init(Batch *batch, uint32 allocated)
{
	memset(batch, 0, sizeof(*batch));
	batch->allocated = allocated;
	batch->notes = palloc(allocated * sizeof(IqdbPgLogNote));
}

/* Takes the oldest notes, as many as the batch has room for. IQDB_PG_LOCK_APPLY is held. */
static void
take_notes(IqdbPgArena *arena, Batch *batch)
{
	IqdbPgShared *shared = arena->shared;
	uint32		rest;

	batch->segment = shared->log.start;
	batch->segment_hash = shared->log.start_hash;
	batch->offset = shared->log.tail;
	batch->count = Min(shared->log.count, batch->allocated);
	memcpy(batch->notes, shared->log.notes, batch->count * sizeof(IqdbPgLogNote));
	rest = shared->log.count - batch->count;
	memmove(shared->log.notes, shared->log.notes + batch->count, rest * sizeof(IqdbPgLogNote));
	shared->log.count = rest;
	shared->log.bytes = 0;
	for (uint32 i = 0; i < rest; i++)
		shared->log.bytes += frame_bytes(arena, shared->log.notes[i].type);
}

/* Bytes on their way to a segment's file. */
typedef struct Chunk
{
	unsigned char *bytes;
	uint32		capacity;
	uint32		fill;
	uint32		seed;			/* of the segment's frame checksums */
	unsigned char *body;		/* of one frame */
} Chunk;

/* The chunk that a batch begins with: room for any frame, and the segment's header if it has none yet. */
static IqdbStatus
chunk_begin(Chunk *chunk, const IqdbPgArena *arena, const Batch *batch, IqdbError *error)
{
	IqdbLogHeader header;

	memset(&header, 0, sizeof(header));
	header.start_position = batch->segment;
	header.start_hash = batch->segment_hash;
	header.identity_length = iqdb_pg_identity(header.identity, arena->shared);
	chunk->capacity = Max(CHUNK_BYTES, frame_bytes(arena, IQDB_PG_FRAME_PUT) + IQDB_LOG_HEADER_SIZE);
	chunk->bytes = palloc(chunk->capacity);
	chunk->body = palloc(iqdb_pg_row_body_size(&arena->index, true));
	chunk->seed = iqdb_log_seed(&header);
	chunk->fill = batch->offset == 0 ? IQDB_LOG_HEADER_SIZE : 0;
	return batch->offset == 0 ? iqdb_log_encode_header(&header, chunk->bytes, error) : IQDB_OK;
}

/* Adds the frame of a note. STRUCTURE is held, so that the slot is not used anew meanwhile. */
static void
add_frame(Chunk *chunk, const IqdbIndex *index, const IqdbPgLogNote *note)
{
	bool		has_vector = note->type == IQDB_PG_FRAME_PUT;
	IqdbPgRow	row = iqdb_pg_row(note->id, NULL);
	IqdbColumnValues columns;
	IqdbLogPiece body = {chunk->body, iqdb_pg_row_body_size(index, has_vector)};
	size_t		length;

	if (has_vector)
	{
		if (!iqdb_store_holds(&index->store, note->slot, note->sequence))
			return;
		row.vector = iqdb_store_vector(&index->store, note->slot);
		iqdb_columns_get(&index->store.header->columns, index->store.columns, note->slot, &columns);
		row.columns = &columns;
	}
	iqdb_pg_row_encode(index, &row, chunk->body);
	/* a chunk has room for it; what cannot be encoded all the same is left out, as what had no place for a note */
	if (iqdb_log_encode_frame(chunk->seed, chunk->bytes + chunk->fill, chunk->capacity - chunk->fill, note->number,
							  note->hash, (uint8) note->type, &body, 1, &length, NULL) == IQDB_OK)
		chunk->fill += (uint32) length;
}

/* Fills the chunk with the frames of notes from *at on. */
static void
fill_chunk(Chunk *chunk, const IqdbPgArena *arena, const Batch *batch, uint32 *at)
{
	const IqdbStore *store = &arena->index.store;

	iqdb_store_lock(store, IQDB_LOCK_STRUCTURE, false);
	while (*at < batch->count && chunk->capacity - chunk->fill >= frame_bytes(arena, batch->notes[*at].type))
		add_frame(chunk, &arena->index, &batch->notes[(*at)++]);
	iqdb_store_unlock(store, IQDB_LOCK_STRUCTURE, false);
}

/* Writes the frames of a batch to its file; *end_out is its length then. */
static IqdbStatus
write_frames(const IqdbPgArena *arena, const Batch *batch, IqdbFile *file, uint64 *end_out, IqdbError *error)
{
	Chunk		chunk = {NULL};
	IqdbStatus	status = chunk_begin(&chunk, arena, batch, error);
	uint32		at = 0;

	*end_out = batch->offset;
	while (status == IQDB_OK && (at < batch->count || chunk.fill > 0))
	{
		fill_chunk(&chunk, arena, batch, &at);
		if (chunk.fill > 0)
			status = iqdb_file_write(file, chunk.bytes, chunk.fill, *end_out, error);
		*end_out += chunk.fill;
		chunk.fill = 0;
	}
	pfree(chunk.body);
	pfree(chunk.bytes);
	return status;
}

/* Writes a batch to its segment's file, whose length then is *end_out; the log is given up on failure. The log lock is held. */
static void
write_batch(IqdbPgArena *arena, const Batch *batch, bool sync, uint64 *end_out)
{
	IqdbPgShared *shared = arena->shared;
	IqdbError	error = {0};
	IqdbFile	file = {0};
	char		path[MAXPGPATH];
	IqdbStatus	status;
	bool		is_first = batch->offset == 0;

	*end_out = batch->offset;
	iqdb_pg_file_path(path, shared->database, &shared->generation, batch->segment, "log");
	status = iqdb_pg_make_folder(shared->database, &error);
	/* whatever has the name of a segment that begins now is none of this life's */
	if (is_first)
		iqdb_pg_remove_file(path);
	if (status == IQDB_OK)
		status = iqdb_file_open(&iqdb_io_posix, path, IQDB_IO_WRITE | (is_first ? IQDB_IO_CREATE : 0), &file, &error);
	if (status == IQDB_OK && is_first)
		status = iqdb_file_truncate(&file, 0, &error);
	IQDB_PG_FAIL_POINT("log-opened");
	if (status == IQDB_OK)
		status = write_frames(arena, batch, &file, end_out, &error);
	if (status == IQDB_OK && sync)
		status = iqdb_file_sync(&file, &error);
	(void) iqdb_file_close(&file, NULL);
	/* the index was dropped, and its files removed, meanwhile */
	if (pg_atomic_read_u32(&shared->state) == IQDB_PG_DEAD)
		(void) unlink(path);

	if (status == IQDB_OK)
	{
		pg_atomic_write_u32(&shared->log.unsynced, sync ? 0 : 1);
		if (*end_out > iqdb_pg_log_limit(shared) && pg_atomic_exchange_u32(&shared->snapshots.wanted, 1) == 0)
			iqdb_pg_worker_wake();
		return;
	}
	pg_atomic_write_u32(&shared->log.state, IQDB_PG_LOG_BROKEN);
	/* a segment without its header is worth nothing, and each attempt would leave another */
	if (is_first)
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
	IqdbPgShared *shared = arena->shared;
	Batch		batch;

	batch_init(&batch, *(const volatile uint32 *) &shared->log.count + NOTES_AHEAD);
	iqdb_pg_lock_apply(arena);
	take_notes(arena, &batch);
	iqdb_pg_unlock_apply(arena);
	if (batch.count > 0 || (sync && pg_atomic_read_u32(&shared->log.unsynced) != 0))
		write_batch(arena, &batch, sync, &shared->log.tail);
	pfree(batch.notes);
}

void
iqdb_pg_log_flush(IqdbPgArena *arena, bool sync, bool wait)
{
	IqdbPgShared *shared = arena->shared;

	if (!shared->permanent || pg_atomic_read_u32(&shared->log.state) != IQDB_PG_LOG_OPEN)
		return;
	if (*(const volatile uint32 *) &shared->log.count == 0 && (!sync || pg_atomic_read_u32(&shared->log.unsynced) == 0))
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
	bool		broken = pg_atomic_read_u32(&shared->log.state) == IQDB_PG_LOG_BROKEN;
	IqdbPgPosition position;
	Batch		rest;
	uint64		end;

	batch_init(&rest, IQDB_PG_LOG_NOTES);
	(void) iqdb_pg_lock(shared->database, shared->relation_number, IQDB_PG_LOCK_LOG, true);
	if (!broken)
		flush_locked(arena, false);
	IQDB_PG_FAIL_POINT("log-switch");
	iqdb_pg_lock_apply(arena);
	position = iqdb_pg_applied(shared);
	take_notes(arena, &rest);
	begin_segment(shared);
	iqdb_pg_unlock_apply(arena);
	IQDB_PG_FAIL_POINT("log-switched");
	if (!broken && rest.count > 0)
		write_batch(arena, &rest, iqdb_fsync != IQDB_FSYNC_NEVER, &end);
	iqdb_pg_unlock(shared->database, shared->relation_number, IQDB_PG_LOCK_LOG);
	pfree(rest.notes);
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
