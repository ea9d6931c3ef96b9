/*
 * log_write.c - appending to a log, cutting it, making a new one.
 *
 * Owns: the buffer, what is written and what is synced, the repair of a tail that a failed write left behind. Does
 * not own: the policy (the host calls sync when iqdb_log_sync_due says so) and any lock.
 *
 * The file is  [header | frames, synced | frames, written | perhaps junk],  the buffer continues at `written`:
 *
 *     IQDB_LOG_HEADER_SIZE <= synced <= written <= written + used = end
 *
 * junk_behind says that bytes beyond `written` may be in the file, from a write that failed or frames taken back.
 * Nothing is written until they are cut off and the cut is synced: otherwise frames appended now could, after a power
 * failure that loses the cut but keeps the write, join up with frames that were taken back.
 */
#include "core/persist/log_private.h"

#include <string.h>

#define BUFFER_SIZE ((size_t) 64 * 1024)

struct IqdbLog
{
	IqdbAllocator   allocator;
	IqdbIo          io;
	IqdbFile        file;
	uint32_t        seed;
	IqdbFsyncPolicy policy;
	bool            broken;       /* a sync failed: what was written since the last one may be gone */
	bool            junk_behind;
	bool            syncing;      /* a ticket is out */
	uint64_t        written;
	uint64_t        synced;
	uint64_t        cuts;         /* how often frames in the file were taken back */
	uint64_t        last_sync_ms;
	size_t          used;
	unsigned char  *buffer;       /* BUFFER_SIZE bytes */
	size_t          size;         /* of this allocation */
	char           *path;         /* behind the struct, in the same allocation */
};

/* ---- making and opening ------------------------------------------------------------------------------------------ */

void
iqdb_log_close(IqdbLog *log)
{
	IqdbAllocator allocator;

	if (log == NULL)
		return;
	allocator = log->allocator;
	(void) iqdb_file_close(&log->file, NULL);
	iqdb_free(&allocator, log->buffer, BUFFER_SIZE);
	iqdb_free(&allocator, log, log->size);
}

static IqdbLog *
make_log(const IqdbIo *io, const IqdbAllocator *allocator, const char *path, IqdbFsyncPolicy policy)
{
	size_t   path_size = strlen(path) + 1;
	size_t   size = sizeof(IqdbLog) + path_size;
	IqdbLog *log = iqdb_alloc_zero(allocator, size);

	if (log == NULL)
		return NULL;
	log->allocator = *allocator;
	log->io = *io;
	log->policy = policy;
	log->size = size;
	log->path = (char *) (log + 1);
	memcpy(log->path, path, path_size);
	log->buffer = iqdb_alloc(allocator, BUFFER_SIZE);
	if (log->buffer == NULL)
	{
		iqdb_log_close(log);
		return NULL;
	}
	return log;
}

/* Writes and syncs the header of an empty file. */
static IqdbStatus
write_header(IqdbLog *log, const IqdbLogHeader *header, IqdbError *err)
{
	unsigned char bytes[IQDB_LOG_HEADER_SIZE];

	IQDB_TRY(iqdb_log_encode_header(header, bytes, err));
	IQDB_TRY(iqdb_file_write(&log->file, bytes, sizeof(bytes), 0, err));
	IQDB_TRY(iqdb_file_sync(&log->file, err));
	log->seed = iqdb_log_seed(header);
	log->written = IQDB_LOG_HEADER_SIZE;
	log->synced = IQDB_LOG_HEADER_SIZE;
	return IQDB_OK;
}

IqdbStatus
iqdb_log_create(const IqdbIo *io, const IqdbAllocator *allocator, const char *path, const char *temp_path,
				const IqdbLogHeader *header, IqdbFsyncPolicy policy, IqdbLog **log_out, IqdbError *err)
{
	const char *first_path = temp_path != NULL ? temp_path : path;
	bool        removable = false;
	IqdbLog    *log;
	IqdbStatus  status;

	*log_out = NULL;
	log = make_log(io, allocator, path, policy);
	if (log == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for a log");
	IQDB_TRY_OUT(iqdb_file_open(&log->io, first_path, IQDB_IO_WRITE | IQDB_IO_CREATE | IQDB_IO_EXCLUSIVE, &log->file,
								err));
	removable = true;
	IQDB_TRY_OUT(write_header(log, header, err));
	if (temp_path != NULL)
	{
		IQDB_TRY_OUT(iqdb_io_rename(&log->io, temp_path, log->path, err));
		/* from here on the name stands for a log that is whole: removing it would lose, not save */
		removable = false;
	}
	log->file.path = log->path;
	IQDB_TRY_OUT(iqdb_io_sync_parent(&log->io, log->path, err));
	*log_out = log;
	return IQDB_OK;

out:
	if (removable)
	{
		IqdbStatus ignored = iqdb_io_unlink(&log->io, first_path, NULL);

		(void) ignored;
	}
	iqdb_log_close(log);
	return status;
}

/* The file is as the scan saw it: nobody else has written to it, and it is not another file by now. */
static IqdbStatus
check_unchanged(const IqdbLog *log, const IqdbLogScan *scan, IqdbError *err)
{
	IqdbLogHeader header;
	uint64_t      size;
	bool          blank;

	IQDB_TRY(iqdbi_log_load_header(&log->file, &header, &blank, &size, err));
	if (size != scan->file_size || blank != scan->blank || (!blank && iqdb_log_seed(&header) != scan->seed))
		return iqdb_fail(err, IQDB_ERR_STATE, "the log is not the one that was scanned");
	return IQDB_OK;
}

/* Cuts the file at log->written if it is longer, and syncs, so that what was behind cannot come back. */
static IqdbStatus
cut_tail(IqdbLog *log, bool longer, IqdbError *err)
{
	IqdbStatus status;

	/* the system reports a failed sync once: two at a time, and one of them could hear of success */
	if (log->syncing)
		return iqdb_fail(err, IQDB_ERR_STATE, "a sync of the log is running");
	if (longer)
		IQDB_TRY(iqdb_file_truncate(&log->file, log->written, err));
	status = iqdb_file_sync(&log->file, err);
	if (status != IQDB_OK)
	{
		log->broken = true;
		return status;
	}
	log->synced = log->written;
	log->junk_behind = false;
	return IQDB_OK;
}

static IqdbStatus
prepare_append(IqdbLog *log, const IqdbLogScan *scan, const IqdbLogHeader *blank_header, IqdbError *err)
{
	IQDB_TRY(check_unchanged(log, scan, err));
	if (scan->blank)
	{
		/* the file's name may be as unfinished as its bytes */
		IQDB_TRY(iqdb_file_truncate(&log->file, 0, err));
		IQDB_TRY(write_header(log, blank_header, err));
		return iqdb_io_sync_parent(&log->io, log->path, err);
	}
	if (scan->valid_end < IQDB_LOG_HEADER_SIZE || scan->valid_end > scan->file_size)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "the end asked for is not within the log");
	log->seed = scan->seed;
	log->written = scan->valid_end;
	/* synced even when nothing is cut: a killed process may have left frames that only the system's cache holds */
	return cut_tail(log, scan->valid_end < scan->file_size, err);
}

IqdbStatus
iqdb_log_open_append(const IqdbIo *io, const IqdbAllocator *allocator, const char *path, const IqdbLogScan *scan,
					 const IqdbLogHeader *blank_header, IqdbFsyncPolicy policy, IqdbLog **log_out, IqdbError *err)
{
	IqdbLog   *log;
	IqdbStatus status;

	*log_out = NULL;
	log = make_log(io, allocator, path, policy);
	if (log == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for a log");
	IQDB_TRY_OUT(iqdb_file_open(&log->io, log->path, IQDB_IO_WRITE, &log->file, err));
	IQDB_TRY_OUT(prepare_append(log, scan, blank_header, err));
	*log_out = log;
	return IQDB_OK;

out:
	iqdb_log_close(log);
	return status;
}

/* ---- appending --------------------------------------------------------------------------------------------------- */

static IqdbStatus
ready_to_write(IqdbLog *log, IqdbError *err)
{
	if (log->broken)
		return iqdb_fail(err, IQDB_ERR_STATE, "an earlier sync of the log failed");
	return log->junk_behind ? cut_tail(log, true, err) : IQDB_OK;
}

/* Writes bytes at the end of the file; what a failed write left there is junk. */
static IqdbStatus
write_out(IqdbLog *log, const void *bytes, size_t length, IqdbError *err)
{
	IqdbStatus status = iqdb_file_write(&log->file, bytes, length, log->written, err);

	if (status != IQDB_OK)
		log->junk_behind = true;
	else
		log->written += length;
	return status;
}

IqdbStatus
iqdb_log_flush(IqdbLog *log, IqdbError *err)
{
	IQDB_TRY(ready_to_write(log, err));
	if (log->used == 0)
		return IQDB_OK;
	IQDB_TRY(write_out(log, log->buffer, log->used, err));
	log->used = 0;
	return IQDB_OK;
}

/* Takes back what was begun of a frame that could not be finished. */
static void
retract(IqdbLog *log, uint64_t mark)
{
	if (mark >= log->written)
	{
		log->used = (size_t) (mark - log->written);
		return;
	}
	log->used = 0;
	log->written = mark;
	if (log->synced > mark)
		log->synced = mark;
	log->cuts++;
	log->junk_behind = true;
}

static IqdbStatus
put_bytes(IqdbLog *log, const void *bytes, size_t length, IqdbError *err)
{
	const unsigned char *from = bytes;

	while (length > 0)
	{
		size_t part = BUFFER_SIZE - log->used;

		if (part == 0)
		{
			IQDB_TRY(iqdb_log_flush(log, err));
			continue;
		}
		if (log->used == 0 && length >= BUFFER_SIZE)
			return write_out(log, from, length, err);
		if (part > length)
			part = length;
		memcpy(log->buffer + log->used, from, part);
		log->used += part;
		from += part;
		length -= part;
	}
	return IQDB_OK;
}

IqdbStatus
iqdb_log_append_v(IqdbLog *log, uint64_t position, uint64_t hash, uint8_t type, const IqdbLogPiece *pieces,
				  size_t piece_count, IqdbError *err)
{
	unsigned char header[IQDB_LOG_FRAME_HEADER_SIZE];
	uint64_t      mark = iqdb_log_end(log);
	size_t        length;
	IqdbStatus    status;

	IQDB_TRY(ready_to_write(log, err));
	IQDB_TRY(iqdbi_log_frame_header(log->seed, position, hash, type, pieces, piece_count, header, &length, err));
	/* a frame that fits the buffer is never split over two writes */
	if (sizeof(header) + length > BUFFER_SIZE - log->used)
		IQDB_TRY(iqdb_log_flush(log, err));
	status = put_bytes(log, header, sizeof(header), err);
	for (size_t i = 0; i < piece_count && status == IQDB_OK; i++)
		status = put_bytes(log, pieces[i].bytes, pieces[i].length, err);
	if (status != IQDB_OK)
		retract(log, mark);
	return status;
}

IqdbStatus
iqdb_log_append(IqdbLog *log, uint64_t position, uint64_t hash, uint8_t type, const void *body, size_t length,
				IqdbError *err)
{
	IqdbLogPiece piece = {body, length};

	return iqdb_log_append_v(log, position, hash, type, &piece, 1, err);
}

/* ---- sync -------------------------------------------------------------------------------------------------------- */

IqdbStatus
iqdb_log_sync_start(IqdbLog *log, IqdbLogSync *ticket_out, IqdbError *err)
{
	memset(ticket_out, 0, sizeof(*ticket_out));
	if (log->syncing)
		return iqdb_fail(err, IQDB_ERR_STATE, "a sync of the log is running");
	IQDB_TRY(iqdb_log_flush(log, err));
	log->syncing = true;
	ticket_out->file = log->file;
	ticket_out->end = log->written;
	ticket_out->cuts = log->cuts;
	return IQDB_OK;
}

IqdbStatus
iqdb_log_sync_run(const IqdbLogSync *ticket, IqdbError *err)
{
	return iqdb_file_sync(&ticket->file, err);
}

IqdbStatus
iqdb_log_sync_done(IqdbLog *log, const IqdbLogSync *ticket, IqdbStatus run_status, uint64_t now_ms)
{
	log->syncing = false;
	if (run_status != IQDB_OK)
	{
		log->broken = true;
		return run_status;
	}
	/* after a cut the same offsets hold other bytes, of which this sync knows nothing */
	if (ticket->cuts == log->cuts && log->synced < ticket->end)
		log->synced = ticket->end;
	log->last_sync_ms = now_ms;
	return IQDB_OK;
}

IqdbStatus
iqdb_log_sync(IqdbLog *log, uint64_t now_ms, IqdbError *err)
{
	IqdbLogSync ticket;

	IQDB_TRY(iqdb_log_sync_start(log, &ticket, err));
	return iqdb_log_sync_done(log, &ticket, iqdb_log_sync_run(&ticket, err), now_ms);
}

bool
iqdb_log_sync_due(const IqdbLog *log, uint64_t now_ms)
{
	if (log->broken || log->synced >= iqdb_log_end(log))
		return false;
	switch (log->policy.mode)
	{
		case IQDB_FSYNC_ALWAYS:
			return true;
		case IQDB_FSYNC_PERIODIC:
			/* a clock that was set back counts as time passed */
			return now_ms < log->last_sync_ms || now_ms - log->last_sync_ms >= log->policy.interval_ms;
		case IQDB_FSYNC_NEVER:
			break;
	}
	return false;
}

/* ---- marks ------------------------------------------------------------------------------------------------------- */

uint64_t
iqdb_log_end(const IqdbLog *log)
{
	return log->written + log->used;
}

uint64_t
iqdb_log_synced_end(const IqdbLog *log)
{
	return log->synced;
}

IqdbStatus
iqdb_log_truncate_to(IqdbLog *log, uint64_t mark, IqdbError *err)
{
	if (log->broken)
		return iqdb_fail(err, IQDB_ERR_STATE, "an earlier sync of the log failed");
	if (mark < IQDB_LOG_HEADER_SIZE || mark > iqdb_log_end(log))
		return iqdb_fail(err, IQDB_ERR_CONFIG, "the mark is not within the log");
	retract(log, mark);
	return ready_to_write(log, err);
}
