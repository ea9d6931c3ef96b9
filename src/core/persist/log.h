/*
 * log.h - append-only log files: creating, scanning, appending, cutting.
 *
 * A log tells what happened to an index after a snapshot. This module owns the file: header, frames, the torn tail, the
 * buffer between append and write, what is known to be on disk. It does not know what a body means nor when to sync:
 * the host decides that by its policy, with iqdb_log_sync_due() to help. Bytes: log_format.h.
 *
 * An IqdbLog is not fit for two threads at once; the host's lock orders its calls. The slow part of a sync can run
 * outside that lock (iqdb_log_sync_start).
 *
 * A server that keeps the buffer in shared memory uses only the first part (encoding) and the scan.
 */
#ifndef IQDB_PERSIST_LOG_H
#define IQDB_PERSIST_LOG_H

#include "core/base/io.h"
#include "core/base/mem.h"
#include "core/persist/log_format.h"
#include "core/persist/snapshot.h" /* IQDB_IDENTITY_MAX */

typedef struct IqdbLogHeader
{
	uint64_t      start_position;
	uint64_t      start_hash;
	uint32_t      identity_length; /* 0 .. IQDB_IDENTITY_MAX */
	unsigned char identity[IQDB_IDENTITY_MAX];
} IqdbLogHeader;

/* A part of a body; a body is the pieces in order. */
typedef struct IqdbLogPiece
{
	const void *bytes;
	size_t      length;
} IqdbLogPiece;

/* ---- encoding ---------------------------------------------------------------------------------------------------- */

/* Writes the header's bytes. IQDB_ERR_CONFIG when the identity is too long. */
IqdbStatus iqdb_log_encode_header(const IqdbLogHeader *header, unsigned char bytes_out[IQDB_LOG_HEADER_SIZE],
								  IqdbError *err) IQDB_MUST_CHECK;

/* Seed of the frames of a log with this header. */
uint32_t iqdb_log_seed(const IqdbLogHeader *header);

/* Bytes of a frame with a body of this length; 0 when the body is longer than IQDB_LOG_BODY_MAX. */
size_t iqdb_log_frame_size(size_t body_length);

/*
 * Writes one frame into target. Pure: no state, no allocation. *length_out = bytes written.
 * IQDB_ERR_LIMIT: body too long. IQDB_ERR_CONFIG: more than capacity bytes.
 */
IqdbStatus iqdb_log_encode_frame(uint32_t seed, void *target, size_t capacity, uint64_t position, uint64_t hash,
								 uint8_t type, const IqdbLogPiece *pieces, size_t piece_count, size_t *length_out,
								 IqdbError *err) IQDB_MUST_CHECK;

/* ---- scanning ---------------------------------------------------------------------------------------------------- */

/* A valid frame; body is valid during the callback only. */
typedef struct IqdbLogFrame
{
	uint64_t             position;
	uint64_t             hash;
	uint64_t             offset; /* of the frame in the file (in the bytes, from iqdb_log_decode_frame: 0) */
	uint64_t             end;    /* first byte behind it: where a host that wants no more frames cuts */
	const unsigned char *body;
	size_t               length;
	uint8_t              type;
} IqdbLogFrame;

/* false when the bytes do not begin with a valid frame. The frame's body points into them. */
bool iqdb_log_decode_frame(uint32_t seed, const unsigned char *bytes, size_t available, IqdbLogFrame *frame_out);

typedef struct IqdbLogScan
{
	IqdbLogHeader header;    /* all zero when blank */
	uint32_t      seed;
	bool          blank;     /* creation did not finish: no header, no frames */
	bool          torn;      /* there are bytes behind valid_end */
	uint64_t      frames;
	uint64_t      valid_end; /* first byte behind the last valid frame; 0 when blank */
	uint64_t      file_size;
} IqdbLogScan;

/* A status other than IQDB_OK ends the scan with it. */
typedef IqdbStatus (*IqdbLogVisit)(void *arg, const IqdbLogFrame *frame, IqdbError *err);

/*
 * Calls visit (may be NULL) for each valid frame in order, and stops, without error, at the first that is not.
 * Errors: NOT_FOUND; CORRUPT (not a log, or a damaged header); VERSION; NOMEM, I/O; those of visit.
 */
IqdbStatus iqdb_log_scan(const IqdbIo *io, const IqdbAllocator *allocator, const char *path, IqdbLogVisit visit,
						 void *visit_arg, IqdbLogScan *scan_out, IqdbError *err) IQDB_MUST_CHECK;

/*
 * The header alone, no allocation: to see whose log it is before scanning. *blank_out: creation did not finish, the
 * header is all zero. Errors as iqdb_log_scan.
 */
IqdbStatus iqdb_log_read_header(const IqdbIo *io, const char *path, IqdbLogHeader *header_out, bool *blank_out,
								IqdbError *err) IQDB_MUST_CHECK;

/* ---- appending --------------------------------------------------------------------------------------------------- */

typedef struct IqdbLog IqdbLog;

/*
 * Makes a new, empty log. With temp_path (same folder) the file is made under that name and renamed to path, which
 * atomically replaces a log that is there: how a checkpoint starts over. Without (NULL) path is created exclusively.
 * File and folder are synced under every policy: a log that exists can be believed. On failure the new file is
 * removed and an old one is untouched (but for a failed sync of the folder, as in iqdb_snapshot_writer_commit).
 * Errors: DUPLICATE, CONFIG, NOMEM, I/O.
 */
IqdbStatus iqdb_log_create(const IqdbIo *io, const IqdbAllocator *allocator, const char *path, const char *temp_path,
						   const IqdbLogHeader *header, IqdbFsyncPolicy policy, IqdbLog **log_out,
						   IqdbError *err) IQDB_MUST_CHECK;

/*
 * Opens a log that was just scanned. First the torn tail is cut: everything behind scan->valid_end, which the host
 * may have lowered to the end of the last frame it accepts. The cut and all frames before it are on stable storage
 * when this returns, under every policy. A blank log gets blank_header. Errors: STATE (the file is not what was
 * scanned), NOT_FOUND, CONFIG, NOMEM, I/O.
 */
IqdbStatus iqdb_log_open_append(const IqdbIo *io, const IqdbAllocator *allocator, const char *path,
								const IqdbLogScan *scan, const IqdbLogHeader *blank_header, IqdbFsyncPolicy policy,
								IqdbLog **log_out, IqdbError *err) IQDB_MUST_CHECK;

/*
 * Adds a frame to the buffer; writes when the buffer is full. On failure the log is as if the call had not been made.
 * After a failed sync every call but close says IQDB_ERR_STATE. Errors: LIMIT (body too long), STATE, I/O.
 */
IqdbStatus iqdb_log_append(IqdbLog *log, uint64_t position, uint64_t hash, uint8_t type, const void *body,
						   size_t length, IqdbError *err) IQDB_MUST_CHECK;

/* The same, the body in pieces. */
IqdbStatus iqdb_log_append_v(IqdbLog *log, uint64_t position, uint64_t hash, uint8_t type, const IqdbLogPiece *pieces,
							 size_t piece_count, IqdbError *err) IQDB_MUST_CHECK;

/* Writes the buffer out. On failure it is kept, and may be written later or dropped by iqdb_log_truncate_to. */
IqdbStatus iqdb_log_flush(IqdbLog *log, IqdbError *err) IQDB_MUST_CHECK;

/* Flush, then sync: every frame appended so far is on stable storage. now_ms: any clock that does not step back. */
IqdbStatus iqdb_log_sync(IqdbLog *log, uint64_t now_ms, IqdbError *err) IQDB_MUST_CHECK;

/*
 * The same in three steps, so that others can append while the disk works:
 *   start()  under the host's lock: flushes and fills in the ticket;
 *   run()    outside of it: the slow call, touches only the ticket; the log must not be closed meanwhile;
 *   done()   under the lock again, with what run() returned: publishes the result; IQDB_OK or that failure.
 * Frames appended before start() are on stable storage when done() returns IQDB_OK. One ticket at a time: while it is
 * out, append and flush work, another start and a cut of frames already written say IQDB_ERR_STATE.
 */
typedef struct IqdbLogSync
{
	IqdbFile file;
	uint64_t end;
	uint64_t cuts;
} IqdbLogSync;

IqdbStatus iqdb_log_sync_start(IqdbLog *log, IqdbLogSync *ticket_out, IqdbError *err) IQDB_MUST_CHECK;
IqdbStatus iqdb_log_sync_run(const IqdbLogSync *ticket, IqdbError *err) IQDB_MUST_CHECK;
IqdbStatus iqdb_log_sync_done(IqdbLog *log, const IqdbLogSync *ticket, IqdbStatus run_status, uint64_t now_ms);

/* Does the policy call for a sync now? ALWAYS: whenever a frame is unsynced. PERIODIC: and the last sync is too old. */
bool iqdb_log_sync_due(const IqdbLog *log, uint64_t now_ms);

/* End of the log in bytes, buffer included: the mark to return to, and the size a checkpoint is decided by. */
uint64_t iqdb_log_end(const IqdbLog *log);

/* Everything before this byte is on stable storage. */
uint64_t iqdb_log_synced_end(const IqdbLog *log);

/*
 * Takes back every frame behind the mark (an earlier iqdb_log_end). Costs nothing while they are in the buffer;
 * otherwise the file is cut and synced, so that they cannot come back after a power failure. When cutting fails the
 * frames no longer count, and the cut is tried again before the next write. Errors: CONFIG (no such mark), STATE,
 * I/O.
 */
IqdbStatus iqdb_log_truncate_to(IqdbLog *log, uint64_t mark, IqdbError *err) IQDB_MUST_CHECK;

/* Closes without flushing: what was not flushed is gone, as the host decided. NULL is no error. */
void iqdb_log_close(IqdbLog *log);

#endif
