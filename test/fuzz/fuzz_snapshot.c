/*
 * fuzz_snapshot.c - any bytes as a snapshot file.
 *
 * Properties: no crash, no allocation beyond a block and what a decompressor needs, a failure is CORRUPT or VERSION
 * with a place in the file, reading by stream and by block tell the same, and a file that is accepted is accepted
 * again after being written anew from what was read.
 *
 * Checksums would stop nearly every mutation at the door, so each input is tried as it is, and once more with all its
 * checksums put right (as far as its lengths lead).
 */
#include "core/base/crc32c.h"
#include "core/base/endian.h"
#include "core/persist/snapshot.h"
#include "core/persist/snapshot_format.h"
#include "harness/io_crash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH "d/a"
#define COPY_PATH "d/b"
#define TEMP_PATH "d/t"
#define MEMORY_MAX ((size_t) 8 * 1024 * 1024)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(bool condition, const char *what)
{
	if (!condition)
	{
		fprintf(stderr, "fuzz_snapshot: violated: %s\n", what);
		abort();
	}
}

/* Bounds each piece of memory, and so what a length in the file can make us ask for. */
static void *
bounded_resize(void *arg, void *pointer, size_t old_size, size_t new_size)
{
	(void) arg;
	require(new_size <= MEMORY_MAX, "no file asks for more than some MiB");
	return iqdb_allocator_libc.resize(NULL, pointer, old_size, new_size);
}

static const IqdbAllocator bounded = {bounded_resize, NULL};

static void
check_failure(IqdbStatus status, const IqdbError *err, size_t size)
{
	require(status == IQDB_ERR_CORRUPT || status == IQDB_ERR_VERSION, "a failure is CORRUPT or VERSION");
	require(err->code == status && err->offset <= size, "the record names a place in the file");
}

/* Reads block by block, writing what comes to another snapshot. */
static IqdbStatus
copy_blocks(const IqdbIo *io, IqdbSnapshotWriter *writer, uint64_t *raw_out, IqdbError *err)
{
	IqdbSnapshotReader  *reader;
	uint16_t             section;
	const unsigned char *bytes;
	size_t               length;
	IqdbStatus           status;

	*raw_out = 0;
	IQDB_TRY(iqdb_snapshot_reader_open(io, &bounded, PATH, &reader, err));
	do
	{
		status = iqdb_snapshot_read_block(reader, &section, &bytes, &length, err);
		if (status == IQDB_OK && section != IQDB_SNAPSHOT_SECTION_END)
		{
			require(length > 0 && length <= IQDB_SNAPSHOT_BLOCK_RAW_MAX, "blocks have a length within the limits");
			require(iqdb_snapshot_write(writer, section, bytes, length, NULL) == IQDB_OK, "what is read can go out");
			*raw_out += length;
		}
	} while (status == IQDB_OK && section != IQDB_SNAPSHOT_SECTION_END);
	if (status == IQDB_OK)
	{
		status = iqdb_snapshot_reader_finish(reader, err);
		require(status == IQDB_OK, "the end stays the end");
		require(iqdb_snapshot_reader_remaining(reader) == 0, "all bytes were handed out");
	}
	iqdb_snapshot_reader_close(reader);
	return status;
}

static IqdbStatus
read_stream(const IqdbIo *io, const char *path, uint64_t *raw_out)
{
	IqdbSnapshotReader *reader;
	IqdbSnapshotStream  stream;
	unsigned char       bytes[777];
	IqdbStatus          status;
	uint16_t            section;

	*raw_out = 0;
	IQDB_TRY(iqdb_snapshot_reader_open(io, &bounded, path, &reader, NULL));
	iqdb_snapshot_stream_init(&stream, reader);
	while ((status = iqdb_snapshot_stream_peek(&stream, &section, NULL)) == IQDB_OK &&
		   section != IQDB_SNAPSHOT_SECTION_END)
	{
		uint64_t before = iqdb_snapshot_stream_remaining(&stream);

		/* pieces that may cross blocks: as many as are left of the block, and at most so many */
		size_t part = stream.left < sizeof(bytes) ? stream.left : sizeof(bytes);

		status = iqdb_snapshot_stream_read(&stream, section, bytes, part, NULL);
		if (status != IQDB_OK)
			break;
		require(iqdb_snapshot_stream_remaining(&stream) == before - part, "the rest shrinks by what was read");
		*raw_out += part;
	}
	iqdb_snapshot_reader_close(reader);
	return status;
}

static void
try_bytes(const unsigned char *data, size_t size)
{
	IqdbSnapshotOptions options = {IQDB_COMPRESSION_NONE, 0, false};
	IoCrash            *fs = io_crash_create();
	const IqdbIo       *io = io_crash_io(fs);
	IqdbSnapshotHeader  header;
	IqdbSnapshotWriter *writer;
	IqdbError           err = {0};
	IqdbStatus          status;
	uint64_t            by_block;
	uint64_t            by_stream;

	io_crash_put(fs, PATH, data, size);
	status = iqdb_snapshot_read_header(io, PATH, &header, &err);
	if (status != IQDB_OK)
		check_failure(status, &err, size);
	require(iqdb_snapshot_writer_open(io, &bounded, COPY_PATH, TEMP_PATH, &header, &options, &writer, NULL) == IQDB_OK,
			"a header that was read can be written");
	status = copy_blocks(io, writer, &by_block, &err);
	if (status != IQDB_OK)
	{
		check_failure(status, &err, size);
		iqdb_snapshot_writer_abort(writer);
		require(read_stream(io, PATH, &by_stream) == status, "stream and blocks fail alike");
	}
	else
	{
		require(iqdb_snapshot_writer_commit(writer, NULL, NULL) == IQDB_OK, "the copy is written");
		require(read_stream(io, PATH, &by_stream) == IQDB_OK && by_stream == by_block, "stream and blocks agree");
		require(read_stream(io, COPY_PATH, &by_stream) == IQDB_OK && by_stream == by_block, "the copy is the same");
	}
	require(io_crash_open_handles(fs) == 0, "no file stays open");
	io_crash_destroy(fs);
}

/* Puts magic, version, sizes and checksums right along the blocks, so that what lies behind them is reached. */
static void
seal(unsigned char *bytes, size_t size)
{
	unsigned char *end = bytes + size - IQDB_SNAPSHOT_END_SIZE;
	size_t         at = IQDB_SNAPSHOT_HEADER_SIZE;
	uint64_t       blocks = 0;
	uint64_t       raw = 0;
	uint32_t       runs = 0;
	uint32_t       chain = 0;
	uint16_t       last = 0;
	uint32_t       crc;

	while (at + IQDB_SNAPSHOT_BLOCK_HEADER_SIZE < size - IQDB_SNAPSHOT_END_SIZE)
	{
		unsigned char *block = bytes + at;
		size_t         room = size - IQDB_SNAPSHOT_END_SIZE - at - IQDB_SNAPSHOT_BLOCK_HEADER_SIZE;
		uint32_t       stored = iqdb_load_u32(block + IQDB_SNAPSHOT_BLOCK_AT_STORED_LENGTH);

		if (stored == 0 || stored > room)
		{
			stored = (uint32_t) room;
			iqdb_store_u32(block + IQDB_SNAPSHOT_BLOCK_AT_STORED_LENGTH, stored);
		}
		if (block[IQDB_SNAPSHOT_BLOCK_AT_SCHEME] == IQDB_COMPRESSION_NONE)
			iqdb_store_u32(block + IQDB_SNAPSHOT_BLOCK_AT_RAW_LENGTH, stored);
		crc = iqdb_crc32c(0, block, IQDB_SNAPSHOT_BLOCK_AT_CRC);
		crc = iqdb_crc32c(crc, block + IQDB_SNAPSHOT_BLOCK_HEADER_SIZE, stored);
		iqdb_store_u32(block + IQDB_SNAPSHOT_BLOCK_AT_CRC, crc);
		chain = iqdb_crc32c(chain, block, IQDB_SNAPSHOT_BLOCK_HEADER_SIZE);
		runs += iqdb_load_u16(block) != last;
		last = iqdb_load_u16(block);
		blocks++;
		raw += iqdb_load_u32(block + IQDB_SNAPSHOT_BLOCK_AT_RAW_LENGTH);
		at += IQDB_SNAPSHOT_BLOCK_HEADER_SIZE + stored;
	}
	memcpy(bytes, IQDB_SNAPSHOT_MAGIC, IQDB_SNAPSHOT_MAGIC_SIZE);
	iqdb_store_u32(bytes + IQDB_SNAPSHOT_AT_VERSION, IQDB_SNAPSHOT_VERSION);
	iqdb_store_u64(bytes + IQDB_SNAPSHOT_AT_BLOCK_COUNT, blocks);
	iqdb_store_u64(bytes + IQDB_SNAPSHOT_AT_RAW_BYTES, raw);
	iqdb_store_u64(bytes + IQDB_SNAPSHOT_AT_FILE_SIZE, size);
	iqdb_store_u32(bytes + IQDB_SNAPSHOT_AT_RUN_COUNT, runs);
	iqdb_store_u32(bytes + IQDB_SNAPSHOT_AT_HEADER_CRC, iqdb_crc32c(0, bytes, IQDB_SNAPSHOT_AT_HEADER_CRC));
	memset(end, 0, IQDB_SNAPSHOT_END_SIZE);
	iqdb_store_u32(end + IQDB_SNAPSHOT_BLOCK_AT_RAW_LENGTH, IQDB_SNAPSHOT_END_SIZE - IQDB_SNAPSHOT_BLOCK_HEADER_SIZE);
	iqdb_store_u32(end + IQDB_SNAPSHOT_BLOCK_AT_STORED_LENGTH,
				   IQDB_SNAPSHOT_END_SIZE - IQDB_SNAPSHOT_BLOCK_HEADER_SIZE);
	iqdb_store_u64(end + IQDB_SNAPSHOT_END_AT_BLOCK_COUNT, blocks);
	iqdb_store_u64(end + IQDB_SNAPSHOT_END_AT_RAW_BYTES, raw);
	iqdb_store_u32(end + IQDB_SNAPSHOT_END_AT_CHAIN_CRC, chain);
	memcpy(end + IQDB_SNAPSHOT_END_AT_HEADER_CRC, bytes + IQDB_SNAPSHOT_AT_HEADER_CRC, 4);
	crc = iqdb_crc32c(0, end, IQDB_SNAPSHOT_BLOCK_AT_CRC);
	crc = iqdb_crc32c(crc, end + IQDB_SNAPSHOT_BLOCK_HEADER_SIZE,
					  IQDB_SNAPSHOT_END_SIZE - IQDB_SNAPSHOT_BLOCK_HEADER_SIZE);
	iqdb_store_u32(end + IQDB_SNAPSHOT_BLOCK_AT_CRC, crc);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned char *copy;

	try_bytes(data, size);
	if (size < IQDB_SNAPSHOT_HEADER_SIZE + IQDB_SNAPSHOT_END_SIZE)
		return 0;
	copy = malloc(size);
	require(copy != NULL, "memory");
	memcpy(copy, data, size);
	seal(copy, size);
	try_bytes(copy, size);
	free(copy);
	return 0;
}
