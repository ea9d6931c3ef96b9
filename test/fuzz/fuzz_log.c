/*
 * fuzz_log.c - any bytes as a log file.
 *
 * Properties: no crash, a failure is CORRUPT or VERSION, the frames found lie back to back from the header to the end
 * that the scan reports, each of them decodes by itself and encodes to the same bytes again, and after opening for
 * append, one more frame, a sync and a loss of power the log holds exactly those frames and the new one.
 *
 * Checksums would stop nearly every mutation at the door, so each input is tried as it is, and once more with all its
 * checksums put right (as far as its lengths lead).
 */
#include "core/base/crc32c.h"
#include "core/base/endian.h"
#include "core/persist/log.h"
#include "harness/io_crash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH "d/a"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(bool condition, const char *what)
{
	if (!condition)
	{
		fprintf(stderr, "fuzz_log: violated: %s\n", what);
		abort();
	}
}

typedef struct Visit
{
	const unsigned char *file;
	uint64_t             end;
	uint64_t             frames;
	uint32_t             seed;
} Visit;

static IqdbStatus
visit_frame(void *arg, const IqdbLogFrame *frame, IqdbError *err)
{
	Visit         *visit = arg;
	IqdbLogPiece   piece = {frame->body, frame->length};
	size_t         size = iqdb_log_frame_size(frame->length);
	unsigned char *again = malloc(size);
	IqdbLogFrame   decoded;
	size_t         length;

	(void) err;
	require(again != NULL, "memory");
	require(frame->offset == visit->end && frame->end == frame->offset + size, "frames lie back to back");
	require(iqdb_log_encode_frame(visit->seed, again, size, frame->position, frame->hash, frame->type, &piece, 1,
								  &length, NULL) == IQDB_OK,
			"a frame that was read can be written");
	require(length == size && memcmp(again, visit->file + frame->offset, size) == 0, "and gives the same bytes");
	require(iqdb_log_decode_frame(visit->seed, again, size, &decoded) && decoded.length == frame->length,
			"a frame decodes by itself");
	free(again);
	visit->end = frame->end;
	visit->frames++;
	return IQDB_OK;
}

/* Recovery, one more frame, loss of power, recovery. */
static void
append_and_crash(IoCrash *fs, const IqdbLogScan *scan)
{
	static const IqdbFsyncPolicy always = {IQDB_FSYNC_ALWAYS, 0};
	IqdbLogHeader                header = {.start_position = 1};
	IqdbLogScan                  after;
	IqdbLog                     *log;

	require(iqdb_log_open_append(io_crash_io(fs), &iqdb_allocator_libc, PATH, scan, &header, always, &log, NULL) ==
				IQDB_OK,
			"a log that scans can be opened");
	require(iqdb_log_append(log, 1, 2, 3, "body", 4, NULL) == IQDB_OK, "append");
	require(iqdb_log_sync(log, 0, NULL) == IQDB_OK, "sync");
	iqdb_log_close(log);
	io_crash_crash_dropping_all(fs);
	require(iqdb_log_scan(io_crash_io(fs), &iqdb_allocator_libc, PATH, NULL, NULL, &after, NULL) == IQDB_OK,
			"a recovered log scans");
	require(after.frames == scan->frames + 1 && !after.torn && !after.blank, "every frame is there, and nothing else");
}

static void
try_bytes(const unsigned char *data, size_t size)
{
	IoCrash      *fs = io_crash_create();
	Visit         visit = {.file = data, .end = IQDB_LOG_HEADER_SIZE};
	IqdbLogHeader header;
	IqdbLogScan   scan;
	IqdbError     err = {0};
	IqdbStatus    status;
	bool          blank;

	io_crash_put(fs, PATH, data, size);
	status = iqdb_log_read_header(io_crash_io(fs), PATH, &header, &blank, &err);
	visit.seed = status == IQDB_OK ? iqdb_log_seed(&header) : 0;
	require(iqdb_log_scan(io_crash_io(fs), &iqdb_allocator_libc, PATH, visit_frame, &visit, &scan, &err) == status,
			"header and scan agree");
	if (status != IQDB_OK)
		require((status == IQDB_ERR_CORRUPT || status == IQDB_ERR_VERSION) && err.code == status && err.offset <= size,
				"a failure is CORRUPT or VERSION and names a place in the file");
	else
	{
		require(scan.blank == blank && scan.frames == visit.frames, "the scan counts right");
		require(scan.blank ? scan.frames == 0 : scan.valid_end == visit.end, "the scan ends behind its last frame");
		append_and_crash(fs, &scan);
	}
	require(io_crash_open_handles(fs) == 0, "no file stays open");
	io_crash_destroy(fs);
}

/* Puts header and checksums right, so that what lies behind them is reached. */
static void
seal(unsigned char *bytes, size_t size)
{
	uint32_t seed;

	memcpy(bytes, IQDB_LOG_MAGIC, IQDB_LOG_MAGIC_SIZE);
	iqdb_store_u32(bytes + IQDB_LOG_AT_VERSION, IQDB_LOG_VERSION);
	seed = iqdb_crc32c(0, bytes, IQDB_LOG_AT_HEADER_CRC);
	iqdb_store_u32(bytes + IQDB_LOG_AT_HEADER_CRC, seed);
	for (size_t at = IQDB_LOG_HEADER_SIZE; size - at >= IQDB_LOG_FRAME_HEADER_SIZE;)
	{
		unsigned char *frame = bytes + at;
		size_t         length = iqdb_load_u32(frame);
		uint32_t       crc;

		if (length > size - at - IQDB_LOG_FRAME_HEADER_SIZE)
			break;
		crc = iqdb_crc32c(seed, frame, IQDB_LOG_FRAME_AT_CRC);
		crc = iqdb_crc32c(crc, frame + IQDB_LOG_FRAME_AT_POSITION,
						  IQDB_LOG_FRAME_HEADER_SIZE - IQDB_LOG_FRAME_AT_POSITION + length);
		iqdb_store_u32(frame + IQDB_LOG_FRAME_AT_CRC, crc);
		at += IQDB_LOG_FRAME_HEADER_SIZE + length;
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned char *copy;

	try_bytes(data, size);
	if (size < IQDB_LOG_HEADER_SIZE)
		return 0;
	copy = malloc(size);
	require(copy != NULL, "memory");
	memcpy(copy, data, size);
	seal(copy, size);
	try_bytes(copy, size);
	free(copy);
	return 0;
}
