/*
 * log_read.c - scanning a log: every frame up to the first that is not valid.
 *
 * Owns: the check of the header, the read window, and the decision where a log ends. Reading never changes the file;
 * the torn tail is cut by log_write.c, when the log is opened for appending. Format and rule of validity:
 * log_format.h.
 */
#include "core/persist/log_private.h"

#include <string.h>

#include "core/base/crc32c.h"
#include "core/base/endian.h"

#define WINDOW_SIZE ((size_t) 256 * 1024)

/* ---- header ------------------------------------------------------------------------------------------------------ */

static bool
all_zero(const unsigned char *bytes, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++)
	{
		if (bytes[i] != 0)
			return false;
	}
	return true;
}

static IqdbStatus
decode_header(const unsigned char *bytes, const char *path, IqdbLogHeader *header, IqdbError *err)
{
	uint32_t version = iqdb_load_u32(bytes + IQDB_LOG_AT_VERSION);
	uint32_t identity_length = iqdb_load_u16(bytes + IQDB_LOG_AT_IDENTITY_LENGTH);

	if (memcmp(bytes, IQDB_LOG_MAGIC, IQDB_LOG_MAGIC_SIZE) != 0)
		return iqdb_fail_corrupt(err, path, 0, "not a log file");
	/* before the checksum: another version may have its header laid out in another way */
	if (version != IQDB_LOG_VERSION)
	{
		(void) iqdb_fail_corrupt(err, path, IQDB_LOG_AT_VERSION, "log format version %u is not known here", version);
		if (err != NULL)
			err->code = IQDB_ERR_VERSION;
		return IQDB_ERR_VERSION;
	}
	if (iqdb_load_u32(bytes + IQDB_LOG_AT_HEADER_CRC) != iqdb_crc32c(0, bytes, IQDB_LOG_AT_HEADER_CRC))
		return iqdb_fail_corrupt(err, path, IQDB_LOG_AT_HEADER_CRC, "log header fails its checksum");
	if (iqdb_load_u32(bytes + IQDB_LOG_AT_HEADER_LENGTH) != IQDB_LOG_HEADER_SIZE ||
		identity_length > IQDB_IDENTITY_MAX ||
		!all_zero(bytes, IQDB_LOG_AT_IDENTITY_LENGTH + 2, IQDB_LOG_AT_IDENTITY) ||
		!all_zero(bytes, IQDB_LOG_AT_IDENTITY + identity_length, IQDB_LOG_AT_HEADER_CRC))
		return iqdb_fail_corrupt(err, path, IQDB_LOG_AT_IDENTITY_LENGTH, "log header has bytes out of place");
	header->start_position = iqdb_load_u64(bytes + IQDB_LOG_AT_START_POSITION);
	header->start_hash = iqdb_load_u64(bytes + IQDB_LOG_AT_START_HASH);
	header->identity_length = identity_length;
	memcpy(header->identity, bytes + IQDB_LOG_AT_IDENTITY, identity_length);
	return IQDB_OK;
}

/*
 * A file system may have lengthened a new file before its bytes arrived, so a file of zeros is a creation that did not
 * finish, like a short one. It never happens to a log that was created with success: that one was synced.
 */
static IqdbStatus
zeros_only(const IqdbFile *file, uint64_t size, bool *zero_out, IqdbError *err)
{
	unsigned char bytes[4096];

	*zero_out = true;
	for (uint64_t offset = 0; offset < size && *zero_out;)
	{
		size_t want = size - offset < sizeof(bytes) ? (size_t) (size - offset) : sizeof(bytes);
		size_t got;

		IQDB_TRY(iqdb_file_read(file, bytes, want, offset, &got, err));
		*zero_out = all_zero(bytes, 0, got);
		if (got < want)
			break;
		offset += got;
	}
	return IQDB_OK;
}

/* Could the first bytes of a file be what reached the disk of a header: a prefix of the magic, then perhaps zeros? */
static bool
begins_like_header(const unsigned char *bytes)
{
	size_t same = 0;

	while (same < IQDB_LOG_MAGIC_SIZE && bytes[same] == (unsigned char) IQDB_LOG_MAGIC[same])
		same++;
	return all_zero(bytes, same, IQDB_LOG_MAGIC_SIZE);
}

/*
 * A file that holds no frame, as it is no longer than a header. When the header is not whole, its creation did not
 * finish; but a short file that does not even begin like one is somebody else's, and a later version's is not ours to
 * replace.
 */
static IqdbStatus
load_short(const unsigned char *bytes, uint64_t size, const char *path, IqdbLogHeader *header_out, bool *blank_out,
		   IqdbError *err)
{
	if (!begins_like_header(bytes))
		return iqdb_fail_corrupt(err, path, 0, "not a log file");
	if (iqdb_load_u32(bytes + IQDB_LOG_AT_VERSION) > IQDB_LOG_VERSION)
		return decode_header(bytes, path, header_out, err);
	if (size == IQDB_LOG_HEADER_SIZE && decode_header(bytes, path, header_out, NULL) == IQDB_OK)
		return IQDB_OK;
	memset(header_out, 0, sizeof(*header_out));
	*blank_out = true;
	return IQDB_OK;
}

IqdbStatus
iqdbi_log_load_header(const IqdbFile *file, IqdbLogHeader *header_out, bool *blank_out, uint64_t *size_out,
					  IqdbError *err)
{
	unsigned char bytes[IQDB_LOG_HEADER_SIZE] = {0};
	size_t        length = sizeof(bytes);

	memset(header_out, 0, sizeof(*header_out));
	*blank_out = false;
	IQDB_TRY(iqdb_file_size(file, size_out, err));
	if (*size_out < length)
		length = (size_t) *size_out;
	IQDB_TRY(iqdb_file_read_exact(file, bytes, length, 0, err));
	if (*size_out <= sizeof(bytes))
		return load_short(bytes, *size_out, file->path, header_out, blank_out, err);
	if (!all_zero(bytes, 0, sizeof(bytes)))
		return decode_header(bytes, file->path, header_out, err);
	IQDB_TRY(zeros_only(file, *size_out, blank_out, err));
	if (!*blank_out)
		return iqdb_fail_corrupt(err, file->path, 0, "log header is all zero");
	return IQDB_OK;
}

IqdbStatus
iqdb_log_read_header(const IqdbIo *io, const char *path, IqdbLogHeader *header_out, bool *blank_out, IqdbError *err)
{
	IqdbFile   file;
	IqdbStatus status;
	uint64_t   size;

	memset(header_out, 0, sizeof(*header_out));
	*blank_out = false;
	IQDB_TRY(iqdb_file_open(io, path, 0, &file, err));
	status = iqdbi_log_load_header(&file, header_out, blank_out, &size, err);
	(void) iqdb_file_close(&file, NULL);
	return status;
}

/* ---- scan -------------------------------------------------------------------------------------------------------- */

/* A stretch of the file in memory; grows only for a frame that is larger, and has proved to be one. */
typedef struct Window
{
	const IqdbAllocator *allocator;
	const IqdbFile      *file;
	uint64_t             file_size;
	unsigned char       *bytes;
	size_t               capacity;
	uint64_t             offset;
	size_t               length;
} Window;

/* Makes size (<= capacity) bytes at offset available at *bytes_out; NULL when the file has become shorter meanwhile. */
static IqdbStatus
window_get(Window *window, uint64_t offset, size_t size, const unsigned char **bytes_out, IqdbError *err)
{
	uint64_t left = window->file_size - offset;

	*bytes_out = NULL;
	if (offset < window->offset || offset + size > window->offset + window->length)
	{
		window->length = 0;
		window->offset = offset;
		IQDB_TRY(iqdb_file_read(window->file, window->bytes,
								left < window->capacity ? (size_t) left : window->capacity, offset, &window->length,
								err));
		if (window->length < size)
			return IQDB_OK;
	}
	*bytes_out = window->bytes + (offset - window->offset);
	return IQDB_OK;
}

/*
 * A frame that does not fit into the window: reads it once piece by piece for its checksum, so that a damaged length
 * does not make us ask for 256 MiB, and only then makes the window large enough.
 */
static IqdbStatus
admit_large_frame(Window *window, uint32_t seed, uint64_t offset, size_t length, bool *valid_out, IqdbError *err)
{
	const unsigned char *bytes;
	unsigned char       *larger;
	uint32_t             expected;
	uint32_t             crc;

	*valid_out = false;
	IQDB_TRY(window_get(window, offset, IQDB_LOG_FRAME_HEADER_SIZE, &bytes, err));
	if (bytes == NULL)
		return IQDB_OK;
	expected = iqdb_load_u32(bytes + IQDB_LOG_FRAME_AT_CRC);
	crc = iqdbi_log_frame_crc(seed, bytes);
	for (size_t done = IQDB_LOG_FRAME_HEADER_SIZE; done < length;)
	{
		size_t part = length - done < window->capacity ? length - done : window->capacity;

		IQDB_TRY(window_get(window, offset + done, part, &bytes, err));
		if (bytes == NULL)
			return IQDB_OK;
		crc = iqdb_crc32c(crc, bytes, part);
		done += part;
	}
	if (crc != expected)
		return IQDB_OK;
	larger = iqdb_alloc(window->allocator, length);
	if (larger == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for a log entry of %zu bytes", length);
	iqdb_free(window->allocator, window->bytes, window->capacity);
	window->bytes = larger;
	window->capacity = length;
	window->length = 0;
	*valid_out = true;
	return IQDB_OK;
}

/* The frame at offset, or *valid_out = false: the log ends here. */
static IqdbStatus
next_frame(Window *window, uint32_t seed, uint64_t offset, IqdbLogFrame *frame, bool *valid_out, IqdbError *err)
{
	uint64_t             available = window->file_size - offset;
	const unsigned char *bytes;
	size_t               length;

	*valid_out = false;
	if (available < IQDB_LOG_FRAME_HEADER_SIZE)
		return IQDB_OK;
	IQDB_TRY(window_get(window, offset, IQDB_LOG_FRAME_HEADER_SIZE, &bytes, err));
	if (bytes == NULL || !iqdbi_log_frame_length(bytes, available, &length))
		return IQDB_OK;
	if (length > window->capacity)
	{
		IQDB_TRY(admit_large_frame(window, seed, offset, length, valid_out, err));
		if (!*valid_out)
			return IQDB_OK;
		*valid_out = false;
	}
	IQDB_TRY(window_get(window, offset, length, &bytes, err));
	if (bytes == NULL || !iqdb_log_decode_frame(seed, bytes, length, frame))
		return IQDB_OK;
	frame->offset = offset;
	frame->end = offset + length;
	*valid_out = true;
	return IQDB_OK;
}

static IqdbStatus
scan_frames(Window *window, IqdbLogVisit visit, void *visit_arg, IqdbLogScan *scan, IqdbError *err)
{
	for (;;)
	{
		IqdbLogFrame frame;
		bool         valid;

		IQDB_TRY(next_frame(window, scan->seed, scan->valid_end, &frame, &valid, err));
		if (!valid)
			return IQDB_OK;
		if (visit != NULL)
			IQDB_TRY(visit(visit_arg, &frame, err));
		scan->frames++;
		scan->valid_end = frame.end;
	}
}

static IqdbStatus
scan_file(const IqdbFile *file, const IqdbAllocator *allocator, IqdbLogVisit visit, void *visit_arg, IqdbLogScan *scan,
		  IqdbError *err)
{
	Window     window = {.allocator = allocator, .file = file, .capacity = WINDOW_SIZE};
	IqdbStatus status;

	IQDB_TRY(iqdbi_log_load_header(file, &scan->header, &scan->blank, &scan->file_size, err));
	if (scan->blank)
	{
		scan->torn = scan->file_size > 0;
		return IQDB_OK;
	}
	scan->seed = iqdb_log_seed(&scan->header);
	scan->valid_end = IQDB_LOG_HEADER_SIZE;
	window.file_size = scan->file_size;
	window.bytes = iqdb_alloc(allocator, window.capacity);
	if (window.bytes == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for a log scan");
	status = scan_frames(&window, visit, visit_arg, scan, err);
	scan->torn = scan->valid_end < scan->file_size;
	iqdb_free(allocator, window.bytes, window.capacity);
	return status;
}

IqdbStatus
iqdb_log_scan(const IqdbIo *io, const IqdbAllocator *allocator, const char *path, IqdbLogVisit visit, void *visit_arg,
			  IqdbLogScan *scan_out, IqdbError *err)
{
	IqdbFile   file;
	IqdbStatus status;

	memset(scan_out, 0, sizeof(*scan_out));
	IQDB_TRY(iqdb_file_open(io, path, 0, &file, err));
	status = scan_file(&file, allocator, visit, visit_arg, scan_out, err);
	(void) iqdb_file_close(&file, NULL);
	return status;
}
