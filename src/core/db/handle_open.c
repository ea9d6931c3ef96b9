/*
 * handle_open.c - making a handle, recovery from files, and taking a handle apart.
 *
 * Recovery: the snapshot gives the rows up to its position; the log's frames behind that position are applied in order. A
 * log is believed when the chain of hashes leads from its start through every frame, and through the snapshot's position if
 * that lies within. It may end before that position (a snapshot is synced, the frames it holds need not be): then a new
 * one is begun. It may not begin behind it: writes would be missing.
 */
#define _POSIX_C_SOURCE 200809L
#include "core/db/handle_private.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "core/base/io_posix.h"
#include "core/db/index_codec.h"

#define MEMORY_MAX_DEFAULT (UINT64_C(64) * 1024 * 1024 * 1024)

/* While files are opened, memory may pass its limit by this share of it and so many bytes. */
#define OPENING_SHARE 8
#define OPENING_SPARE (UINT64_C(1024) * 1024)

/* No process has more of it, as machines are. */
#define ADDRESS_SPACE (UINT64_C(1) << 47)

#define LOG_SUFFIX ".wal"
#define LOCK_SUFFIX ".lock"
#define TEMP_SUFFIX ".tmp"
#define LOG_TEMP_SUFFIX ".wal.tmp"
#define VECTORS_SUFFIX ".vectors"
#define SUFFIX_MAX 8

/* ---- making and releasing ---- */

void
iqdbi_handle_release(Iqdb *db)
{
	IqdbAllocator allocator = db->host.allocator;

	iqdb_log_close(db->log);
	if (db->arena.base != NULL)
		iqdb_arena_private_destroy(&db->arena);
	iqdb_arena_file_close(&db->vectors);
	iqdb_cache_destroy(db->cache);
	if (db->has_mutex)
	{
		(void) pthread_mutex_destroy(&db->cache_mutex);
		(void) pthread_cond_destroy(&db->sync_idle);
		(void) pthread_cond_destroy(&db->timer_wake);
		(void) pthread_mutex_destroy(&db->writer);
	}
	/* last: from here on somebody else may open */
	(void) iqdb_file_close(&db->lock_file, NULL);
	iqdb_free(&allocator, db->scratch, db->scratch_size);
	iqdb_free(&allocator, db->paths.snapshot, db->paths.size);
	iqdb_free(&allocator, db, sizeof(*db));
}

static IqdbStatus
make_locks(Iqdb *db, IqdbError *err)
{
	pthread_condattr_t attributes;

	if (pthread_condattr_init(&attributes) != 0)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for locks");
	(void) pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	if (pthread_mutex_init(&db->writer, NULL) != 0)
		goto no_writer;
	if (pthread_mutex_init(&db->cache_mutex, NULL) != 0)
		goto no_cache_mutex;
	if (pthread_cond_init(&db->timer_wake, &attributes) != 0)
		goto no_timer_wake;
	if (pthread_cond_init(&db->sync_idle, &attributes) != 0)
		goto no_sync_idle;
	(void) pthread_condattr_destroy(&attributes);
	db->host.locks.init(db->host.locks.arg, db->gate);
	db->host.locks.init(db->host.locks.arg, db->place);
	db->has_mutex = true;
	return IQDB_OK;

no_sync_idle:
	(void) pthread_cond_destroy(&db->timer_wake);
no_timer_wake:
	(void) pthread_mutex_destroy(&db->cache_mutex);
no_cache_mutex:
	(void) pthread_mutex_destroy(&db->writer);
no_writer:
	(void) pthread_condattr_destroy(&attributes);
	return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for locks");
}

static IqdbStatus
check_config(const IqdbConfig *config, IqdbError *err)
{
	int level = config->compression_level != 0 ? config->compression_level : IQDB_ZSTD_LEVEL_DEFAULT;

	IQDB_TRY(iqdb_index_options_check(&config->options, err));
	if (config->options.column_count != 0)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "columns of a database come from fields of metadata, not from its options");
	IQDB_TRY(iqdb_compression_check(config->compression, level, err));
	if ((unsigned) config->fsync.mode > IQDB_FSYNC_NEVER)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "fsync policy %d is unknown", (int) config->fsync.mode);
	if (config->fsync.mode == IQDB_FSYNC_PERIODIC && config->fsync.interval_ms == 0)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "the interval between syncs is 0, it must be at least 1 ms");
	if (config->search_threads > IQDBI_SEARCH_THREADS_MAX)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "a search has at most %d threads, not %u", IQDBI_SEARCH_THREADS_MAX,
						 config->search_threads);
	return IQDB_OK;
}

static IqdbStatus
make_handle(const IqdbConfig *config, Iqdb **db_out, IqdbError *err)
{
	const IqdbAllocator *allocator = config->allocator != NULL ? config->allocator : &iqdb_allocator_libc;
	Iqdb                *db;
	IqdbStatus           status;

	*db_out = NULL;
	IQDB_TRY(check_config(config, err));
	db = iqdb_alloc_zero(allocator, sizeof(*db));
	if (db == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for a database");
	db->vectors.fd = -1;
	db->host.allocator = *allocator;
	db->host.locks = iqdb_locks_pthread;
	db->host.cancelled = config->cancelled;
	db->host.cancel_arg = config->cancel_arg;
	db->host.clock = iqdb_clock_monotonic;
	if (config->io != NULL)
		db->io = *config->io;
	db->kernels = config->kernels != NULL ? config->kernels : iqdb_kernels_best();
	db->fsync = config->fsync;
	db->compression = config->compression;
	db->compression_level = config->compression_level != 0 ? config->compression_level : IQDB_ZSTD_LEVEL_DEFAULT;
	db->checkpoint_bytes = config->checkpoint_bytes;
	db->snapshot_only = config->snapshot_only;
	db->search_threads = config->search_threads;
	db->trace = config->trace;
	db->trace_arg = config->trace_arg;
	db->memory_max = config->memory_max != 0 ? config->memory_max : MEMORY_MAX_DEFAULT;
	status = make_locks(db, err);
	if (status == IQDB_OK)
		status = iqdbi_handle_make_cache(db, config, err);
	if (status != IQDB_OK)
	{
		iqdbi_handle_release(db);
		return status;
	}
	*db_out = db;
	return IQDB_OK;
}

/* Other files than the system's are no files that can be mapped. */
static bool
has_disk(const Iqdb *db)
{
	return db->paths.vectors != NULL && db->io.open == iqdb_io_posix.open;
}

/* The shape that the program wants. */
static IqdbStatus
wanted_shape(const IqdbConfig *config, IqdbiShape *shape_out, IqdbError *err)
{
	shape_out->options = config->options;
	IQDB_TRY(iqdb_fields_make(config->fields, config->field_count, &shape_out->fields, err));
	iqdb_fields_set_columns(&shape_out->fields, &shape_out->options);
	return IQDB_OK;
}

static void
set_shape(Iqdb *db, const IqdbiShape *shape)
{
	db->shape = *shape;
	for (uint32_t i = 0; i < shape->fields.count; i++)
		db->fields[i] = iqdb_fields_get(&db->shape.fields, i);
}

/* An empty index of this shape, whose address space is for so much of the memory that it may use. */
static IqdbStatus
make_index(Iqdb *db, const IqdbiShape *shape, uint64_t reserve, IqdbError *err)
{
	const IqdbIndexOptions *options = &shape->options;
	uint64_t                reserves[IQDB_ARENA_REGIONS_MAX];
	uint32_t                count;
	uint64_t                size;

	if (iqdb_engine_get(options->engine) == NULL)
		return iqdb_fail(err, IQDB_ERR_UNSUPPORTED, "this build has no engine number %u", options->engine);
	set_shape(db, shape);
	db->reserve = reserve < db->memory_max ? reserve : db->memory_max;
	/* what the last move will need must be thinkable */
	count = iqdb_index_reserves(options, db->memory_max, 0, reserves);
	size = iqdb_arena_size_needed(reserves, count);
	count = iqdb_index_reserves(options, db->reserve, 0, reserves);
	if (size == 0 || size > ADDRESS_SPACE)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "memory limit of %llu bytes is too large",
						 (unsigned long long) db->memory_max);
	IQDB_TRY(iqdb_arena_private_create(&db->arena, iqdb_arena_size_needed(reserves, count), err));
	if (iqdb_index_options_on_disk(options) && has_disk(db))
		IQDB_TRY(iqdb_arena_file_create(&db->vectors, &db->arena, db->paths.vectors, reserves, IQDB_REGION_VECTORS, err));
	IQDB_TRY(iqdb_index_format(&db->index, &db->arena, &db->host, db->kernels, options, db->reserve, db->memory_max, 0, 0,
							   err));
	db->scratch_size = iqdb_element_bytes(db->index.store.element, options->dimension);
	db->scratch = iqdb_alloc(&db->host.allocator, db->scratch_size);
	if (db->scratch == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for a vector");
	db->position = iqdbi_handle_start(shape);
	iqdbi_handle_note_change(db);
	return IQDB_OK;
}

IqdbStatus
iqdb_open_in_memory(const IqdbConfig *config, Iqdb **db_out, IqdbError *err)
{
	IqdbiShape shape;
	IqdbStatus status;
	Iqdb      *db;

	*db_out = NULL;
	IQDB_TRY(wanted_shape(config, &shape, err));
	IQDB_TRY(make_handle(config, &db, err));
	status = make_index(db, &shape, IQDBI_RESERVE_FIRST, err);
	if (status != IQDB_OK)
	{
		iqdbi_handle_release(db);
		return status;
	}
	*db_out = db;
	return IQDB_OK;
}

/* ---- names and the lock ---- */

static char *
join(char *at, size_t room, const char *path, const char *suffix)
{
	(void) snprintf(at, room, "%s%s", path, suffix);
	return at;
}

static IqdbStatus
make_paths(Iqdb *db, const char *path, IqdbError *err)
{
	size_t length = strlen(path);
	size_t room = length + SUFFIX_MAX + 1;
	char  *at;

	if (length == 0 || room > IQDB_IO_PATH_MAX)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "a path has 1 to %d bytes, not %zu", IQDB_IO_PATH_MAX - SUFFIX_MAX - 1,
						 length);
	at = iqdb_alloc(&db->host.allocator, room * 6);
	if (at == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for file names");
	db->paths.size = room * 6;
	db->paths.snapshot = join(at, room, path, "");
	db->paths.log = join(at + room, room, path, LOG_SUFFIX);
	db->paths.lock = join(at + 2 * room, room, path, LOCK_SUFFIX);
	db->paths.snapshot_temp = join(at + 3 * room, room, path, TEMP_SUFFIX);
	db->paths.log_temp = join(at + 4 * room, room, path, LOG_TEMP_SUFFIX);
	db->paths.vectors = join(at + 5 * room, room, path, VECTORS_SUFFIX);
	return IQDB_OK;
}

static IqdbStatus
remove_if_there(Iqdb *db, const char *path, IqdbError *err)
{
	IqdbStatus status = iqdb_io_unlink(&db->io, path, err);

	return status == IQDB_ERR_NOT_FOUND ? IQDB_OK : status;
}

/* From here on nobody else has these files; what a crashed save left over is nobody's. */
static IqdbStatus
take_files(Iqdb *db, IqdbError *err)
{
	IQDB_TRY(iqdb_file_open(&db->io, db->paths.lock, IQDB_IO_WRITE | IQDB_IO_CREATE, &db->lock_file, err));
	IQDB_TRY(iqdb_file_try_lock(&db->lock_file, true, err));
	IQDB_TRY(remove_if_there(db, db->paths.snapshot_temp, err));
	return remove_if_there(db, db->paths.log_temp, err);
}

/* ---- snapshot ---- */

/*
 * The files hold nothing that had no room under this limit, but memory is filled in another order now, and every region grows
 * in steps: the last rows may miss some bytes that another region has to spare. What was acknowledged must not be lost to
 * that, so the limit is a little higher until everything is there; from then on it stops new rows as before.
 */
static void
raise_limit_for_opening(Iqdb *db)
{
	uint64_t limit;

	if (!__builtin_add_overflow(db->memory_max, db->memory_max / OPENING_SHARE + OPENING_SPARE, &limit))
		iqdb_arena_header(&db->arena)->limit = limit;
}

static IqdbStatus
read_section(void *arg, uint16_t section, void *bytes, size_t length, IqdbError *err)
{
	return iqdb_snapshot_stream_read(arg, section, bytes, length, err);
}

/* Damage found inside a section has an offset there; the file's name is added here. */
static IqdbStatus
name_file(IqdbStatus status, const char *path, IqdbError *err)
{
	if (status != IQDB_OK && err != NULL && err->file[0] == '\0' &&
		(status == IQDB_ERR_CORRUPT || status == IQDB_ERR_VERSION))
	{
		IqdbError inner = *err;

		iqdb_fail_corrupt(err, path, inner.offset, "%s", inner.message);
		err->code = status;
	}
	return status;
}

/* The first field of one list that the other does not have, as it is; or the number of all. */
static uint32_t
first_missing(const IqdbFields *fields, const IqdbFields *from)
{
	uint32_t i = 0;

	for (; i < fields->count; i++)
	{
		IqdbField field = iqdb_fields_get(fields, i);
		uint32_t  there = iqdb_fields_find(from, field.name, field.name_length);

		if (there == from->count || iqdb_fields_get(from, there).kind != field.kind)
			break;
	}
	return i;
}

/* A program that names no fields takes those of the files. */
static IqdbStatus
check_fields(const IqdbFields *stored, const IqdbFields *wanted, IqdbError *err)
{
	uint32_t  more = first_missing(wanted, stored);
	uint32_t  less = first_missing(stored, wanted);
	IqdbField field;

	if (wanted->count == 0 || iqdb_fields_equal(stored, wanted))
		return IQDB_OK;
	field = more < wanted->count ? iqdb_fields_get(wanted, more) : iqdb_fields_get(stored, less);
	return iqdb_fail(err, IQDB_ERR_CONFIG,
					 "the database has columns for %u fields, and %s \"%.*s\" of that kind; give those it was made with, "
					 "or none",
					 stored->count, more < wanted->count ? "no" : "also", (int) field.name_length, field.name);
}

static IqdbStatus
check_options(const IqdbIndexOptions *stored, const IqdbIndexOptions *wanted, IqdbError *err)
{
	if (stored->element != wanted->element)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "the database has vectors of %s, not of %s",
						 iqdb_element(stored->element)->name, iqdb_element(wanted->element)->name);
	if (stored->dimension != wanted->dimension)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "the database has %u dimensions, not %u", stored->dimension,
						 wanted->dimension);
	if (stored->metric != wanted->metric)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "the database has metric %s, not %s",
						 iqdb_metric_name((IqdbMetric) stored->metric), iqdb_metric_name((IqdbMetric) wanted->metric));
	return IQDB_OK;
}

static IqdbStatus
check_shape(const IqdbiShape *stored, const IqdbiShape *wanted, IqdbError *err)
{
	IQDB_TRY(check_options(&stored->options, &wanted->options, err));
	return check_fields(&stored->fields, &wanted->fields, err);
}

static IqdbStatus
load_rows(Iqdb *db, IqdbSnapshotReader *reader, IqdbError *err)
{
	const IqdbSnapshotHeader *header = iqdb_snapshot_reader_header(reader);
	IqdbSnapshotStream        stream;
	IqdbSectionSource         source = {.read = read_section, .arg = &stream};
	uint32_t                  slot;

	iqdb_snapshot_stream_init(&stream, reader);
	IQDB_TRY(name_file(iqdb_index_load(&db->index, &source, err), db->paths.snapshot, err));
	IQDB_TRY(iqdb_snapshot_reader_finish(reader, err));
	if (iqdb_index_live_count(&db->index) != header->row_count)
		return iqdb_fail_corrupt(err, db->paths.snapshot, 0, "the header counts %llu rows, there are %llu",
								 (unsigned long long) header->row_count,
								 (unsigned long long) iqdb_index_live_count(&db->index));
	if (iqdbi_handle_check_columns(db, &slot) > 0)
		return iqdb_fail_corrupt(err, db->paths.snapshot, 0, "the columns of slot %u do not agree with its metadata", slot);
	return IQDB_OK;
}

/*
 * Bytes of memory to reserve address space for, if so many rows are to be loaded: for twice as many slots, because some may
 * have been left behind by rows that are gone, and for what rows bring beside their vectors.
 */
static uint64_t
reserve_for(const IqdbSnapshotHeader *header, const IqdbIndexOptions *options)
{
	uint64_t rows = header->row_count < UINT32_MAX ? header->row_count : UINT32_MAX;
	uint64_t slots = iqdb_index_reserve_for(options, 2 * rows);

	if (slots >= IQDBI_RESERVE_LAST || header->file_size >= IQDBI_RESERVE_LAST / 4)
		return UINT64_MAX;
	return IQDBI_RESERVE_FIRST + slots + 4 * header->file_size;
}

/* all: reserve for as much as there may ever be. */
static IqdbStatus
load_snapshot(Iqdb *db, IqdbSnapshotReader *reader, const IqdbiShape *wanted, bool all, IqdbError *err)
{
	const IqdbSnapshotHeader *header = iqdb_snapshot_reader_header(reader);
	IqdbiShape                stored;
	IqdbiPosition             position;

	IQDB_TRY(iqdbi_handle_decode_identity(db->paths.snapshot, header->identity, header->identity_length, &stored,
										  &position, err));
	if (header->engine != stored.options.engine || header->metric != stored.options.metric ||
		header->dimension != stored.options.dimension)
		return iqdb_fail_corrupt(err, db->paths.snapshot, 0, "header and identity do not agree");
	IQDB_TRY(check_shape(&stored, wanted, err));
	IQDB_TRY(make_index(db, &stored, all ? UINT64_MAX : reserve_for(header, &stored.options), err));
	raise_limit_for_opening(db);
	IQDB_TRY(load_rows(db, reader, err));
	db->position = position;
	db->snapshot_position = position;
	db->snapshot_bytes = header->file_size;
	return IQDB_OK;
}

/* Takes back what make_index() made. */
static void
drop_index(Iqdb *db)
{
	iqdb_free(&db->host.allocator, db->scratch, db->scratch_size);
	db->scratch = NULL;
	iqdb_arena_private_destroy(&db->arena);
	iqdb_arena_file_close(&db->vectors);
}

/* *found_out: was there a snapshot? */
static IqdbStatus
open_snapshot_with(Iqdb *db, const IqdbiShape *wanted, bool all, bool *found_out, IqdbError *err)
{
	IqdbSnapshotReader *reader;
	IqdbStatus status = iqdb_snapshot_reader_open(&db->io, &db->host.allocator, db->paths.snapshot, &reader, err);

	*found_out = status != IQDB_ERR_NOT_FOUND;
	if (status == IQDB_ERR_NOT_FOUND)
		return IQDB_OK;
	IQDB_TRY(status);
	status = load_snapshot(db, reader, wanted, all, err);
	iqdb_snapshot_reader_close(reader);
	return status;
}

static IqdbStatus
open_snapshot(Iqdb *db, const IqdbiShape *wanted, bool *found_out, IqdbError *err)
{
	IqdbStatus status = open_snapshot_with(db, wanted, false, found_out, err);

	/* many slots to few rows: the guess of what they need was too low */
	if (status == IQDB_ERR_LIMIT && db->reserve < db->memory_max)
	{
		drop_index(db);
		status = open_snapshot_with(db, wanted, true, found_out, err);
	}
	return status;
}

/* ---- log ---- */

typedef struct Replay
{
	Iqdb         *db;
	IqdbiPosition at;   /* of the last frame seen */
	bool          past; /* the snapshot's position was met: frames count */
} Replay;

/*
 * Does what the write of this frame did, and makes way in the same places: a log tells of many more rows than memory holds
 * at one time. A row that cannot be linked is found by exact scan, as it was then; only a cancel ends the opening.
 */
static IqdbStatus
apply_change(Iqdb *db, const IqdbiChange *change, IqdbError *err)
{
	IqdbRow  row = iqdbi_handle_row(change);
	uint32_t slot;

	if (change->type == IQDB_HANDLE_FRAME_DELETE)
	{
		iqdb_index_remove(&db->index, change->id, NULL);
		return IQDB_OK;
	}
	if (iqdbi_handle_check_row(db, &row, change->dim, NULL) != IQDB_OK)
		return iqdb_fail_corrupt(err, NULL, 0, "frame with a row that cannot be stored");
	IQDB_TRY(iqdbi_handle_put(db, &row, 1, &slot, err));
	if (iqdb_index_link(&db->index, slot, NULL) == IQDB_ERR_CANCELLED)
		return iqdb_fail(err, IQDB_ERR_CANCELLED, "cancelled");
	return IQDB_OK;
}

/* A failure ends the opening, so that a batch may be applied row by row. */
static IqdbStatus
apply(Iqdb *db, const IqdbLogFrame *frame, IqdbError *err)
{
	IqdbiChangeReader reader;
	IqdbiChange       change;

	IQDB_TRY(iqdbi_handle_begin_changes(&reader, db->index.store.element, iqdb_options(db)->dimension, frame->type,
										frame->body, frame->length, err));
	while (reader.count > 0)
	{
		IQDB_TRY(iqdbi_handle_next_change(&reader, db->scratch, &change, err));
		IQDB_TRY(apply_change(db, &change, err));
	}
	iqdbi_handle_repair_when_due(db);
	return IQDB_OK;
}

static IqdbStatus
visit_frame(void *arg, const IqdbLogFrame *frame, IqdbError *err)
{
	Replay       *replay = arg;
	Iqdb         *db = replay->db;
	IqdbLogPiece  body = {frame->body, frame->length};
	IqdbiPosition next = iqdbi_handle_advance(replay->at, frame->type, &body, 1);
	IqdbStatus    status;

	if (frame->position != next.number || frame->hash != next.hash)
		return iqdb_fail_corrupt(err, db->paths.log, frame->offset, "the chain of writes is broken");
	if (replay->past)
	{
		status = apply(db, frame, err);
		if (status == IQDB_ERR_CORRUPT)
			return iqdb_fail_corrupt(err, db->paths.log, frame->offset, "a write cannot be read");
		IQDB_TRY(status);
		db->position = next;
	}
	else if (next.number == db->snapshot_position.number)
	{
		if (next.hash != db->snapshot_position.hash)
			return iqdb_fail_corrupt(err, db->paths.log, frame->offset, "the log does not belong to the snapshot");
		replay->past = true;
	}
	replay->at = next;
	return IQDB_OK;
}

/* Before anything is replayed: is it our log, and does it reach back to the snapshot? */
static IqdbStatus
check_log_header(Iqdb *db, const IqdbLogHeader *header, IqdbError *err)
{
	IqdbiShape    shape;
	IqdbiPosition none;

	IQDB_TRY(iqdbi_handle_decode_identity(db->paths.log, header->identity, header->identity_length, &shape, &none, err));
	if (memcmp(&shape.options, iqdb_options(db), sizeof(shape.options)) != 0 ||
		!iqdb_fields_equal(&shape.fields, &db->shape.fields))
		return iqdb_fail_corrupt(err, db->paths.log, 0, "the log belongs to a database of other options");
	if (header->start_position > db->snapshot_position.number)
		return iqdb_fail_corrupt(err, db->paths.log, 0, "the log begins at write %llu, the snapshot ends at %llu",
								 (unsigned long long) header->start_position,
								 (unsigned long long) db->snapshot_position.number);
	if (header->start_position == db->snapshot_position.number && header->start_hash != db->snapshot_position.hash)
		return iqdb_fail_corrupt(err, db->paths.log, 0, "the log does not belong to the snapshot");
	return IQDB_OK;
}

static IqdbStatus
replay_log(Iqdb *db, const IqdbLogHeader *header, IqdbLogScan *scan_out, bool *usable_out, IqdbError *err)
{
	Replay replay = {.db = db, .at = {header->start_position, header->start_hash}};

	IQDB_TRY(check_log_header(db, header, err));
	replay.past = header->start_position == db->snapshot_position.number;
	IQDB_TRY(iqdb_log_scan(&db->io, &db->host.allocator, db->paths.log, visit_frame, &replay, scan_out, err));
	/* a log that ends before the snapshot does can take no more frames */
	*usable_out = replay.past;
	db->log_start = (IqdbiPosition){header->start_position, header->start_hash};
	return IQDB_OK;
}

/* The snapshot is loaded: replays the log and opens it for appending, or begins a new one. */
static IqdbStatus
open_log(Iqdb *db, IqdbError *err)
{
	IqdbLogHeader header;
	IqdbLogScan   scan;
	bool          blank;
	bool          usable;
	IqdbStatus    status = iqdb_log_read_header(&db->io, db->paths.log, &header, &blank, err);

	if (status == IQDB_ERR_NOT_FOUND || (status == IQDB_OK && blank))
		return iqdbi_handle_start_log(db, err);
	IQDB_TRY(status);
	IQDB_TRY(replay_log(db, &header, &scan, &usable, err));
	/* what the log told stays in it until the first snapshot */
	if (db->snapshot_only)
		return IQDB_OK;
	if (!usable)
		return iqdbi_handle_start_log(db, err);
	/* syncs what is there: frames that were only written count from here on, so they must not vanish any more */
	return iqdb_log_open_append(&db->io, &db->host.allocator, db->paths.log, &scan, &header, db->fsync, &db->log, err);
}

/* ---- a database that has no snapshot ---- */

/*
 * Without a snapshot a log is only good if it tells everything: then it is replayed. It does when making the database was
 * interrupted, or the snapshot was taken away before the first checkpoint.
 */
static IqdbStatus
open_without_snapshot(Iqdb *db, const IqdbiShape *wanted, IqdbError *err)
{
	IqdbLogHeader header;
	bool          blank;
	IqdbiShape    shape = *wanted;
	IqdbiPosition none;
	IqdbStatus    status = iqdb_log_read_header(&db->io, db->paths.log, &header, &blank, err);

	if (status == IQDB_OK && !blank)
	{
		IQDB_TRY(iqdbi_handle_decode_identity(db->paths.log, header.identity, header.identity_length, &shape, &none,
											  err));
		if (header.start_position != 0)
			return iqdb_fail_corrupt(err, db->paths.snapshot, 0, "the snapshot is missing, the log begins at write %llu",
									 (unsigned long long) header.start_position);
		IQDB_TRY(check_shape(&shape, wanted, err));
	}
	else if (status != IQDB_OK && status != IQDB_ERR_NOT_FOUND)
		return status;
	IQDB_TRY(make_index(db, &shape, IQDBI_RESERVE_FIRST, err));
	raise_limit_for_opening(db);
	db->snapshot_position = db->position;
	IQDB_TRY(open_log(db, err));
	return iqdbi_handle_checkpoint(db, err);
}

static IqdbStatus
open_files(Iqdb *db, const char *path, const IqdbiShape *wanted, IqdbError *err)
{
	bool found;

	IQDB_TRY(make_paths(db, path, err));
	IQDB_TRY(take_files(db, err));
	IQDB_TRY(open_snapshot(db, wanted, &found, err));
	if (found)
		IQDB_TRY(open_log(db, err));
	else
		IQDB_TRY(open_without_snapshot(db, wanted, err));
	iqdb_arena_header(&db->arena)->limit = db->memory_max;
	iqdbi_handle_note_change(db);
	return iqdbi_handle_start_timer(db, err);
}

IqdbStatus
iqdb_open(const char *path, const IqdbConfig *config, Iqdb **db_out, IqdbError *err)
{
	IqdbConfig with_io = *config;
	IqdbiShape shape;
	IqdbStatus status;
	uint64_t   begun;
	Iqdb      *db;

	*db_out = NULL;
	if (with_io.io == NULL)
		with_io.io = &iqdb_io_posix;
	IQDB_TRY(wanted_shape(config, &shape, err));
	IQDB_TRY(make_handle(&with_io, &db, err));
	begun = iqdbi_trace_begin(db);
	status = open_files(db, path, &shape, err);
	iqdbi_trace_end(db, IQDB_TRACE_OPEN, begun, status, iqdb_len(db), NULL);
	if (status != IQDB_OK)
	{
		iqdbi_handle_release(db);
		return status;
	}
	*db_out = db;
	return IQDB_OK;
}
