/*
 * snapshot_write.c - a snapshot from the first byte to its name.
 *
 * Owns: cutting a stream of section bytes into blocks, compression, the end block, and the order of the commit:
 *
 *     write blocks ... write end block -> write header at 0 -> sync file -> rename -> sync folder
 *
 * Until the header is written the first 512 bytes are a hole of zeros, so that a half-written file is not a snapshot by
 * its very first byte. Where the blocks are cut depends on the bytes of each run alone, not on how they were handed in:
 * the same content gives the same file. Format: snapshot_format.h. Reasons: README.md.
 */
#include "core/persist/snapshot.h"

#include <string.h>

#include "core/base/crc32c.h"
#include "core/base/endian.h"
#include "core/persist/persist_private.h"
#include "core/persist/snapshot_format.h"

/* A block under construction: room for its header, then for its bytes, so that each block is one write. */
#define BLOCK_BUFFER_SIZE (IQDB_SNAPSHOT_BLOCK_HEADER_SIZE + IQDB_SNAPSHOT_BLOCK_RAW)

struct IqdbSnapshotWriter
{
	IqdbAllocator      allocator;
	IqdbIo             io;
	IqdbFile           file;
	IqdbiCodec         codec;
	bool               sync;
	bool               broken;
	IqdbSnapshotHeader header;
	unsigned char     *raw;        /* BLOCK_BUFFER_SIZE bytes; header room in front */
	unsigned char     *stored;     /* the same for the compressed form; NULL without compression */
	size_t             fill;       /* raw bytes waiting */
	uint16_t           section;    /* of the bytes waiting; of the last run when there are none */
	uint64_t           offset;     /* where the next block goes */
	uint64_t           block_count;
	uint64_t           raw_bytes;
	uint32_t           run_count;
	uint32_t           chain_crc;
	size_t             size;       /* of this allocation */
	char              *path;       /* both behind the struct, in the same allocation */
	char              *temp_path;
};

static void
free_writer(IqdbSnapshotWriter *writer)
{
	IqdbAllocator allocator = writer->allocator;

	iqdbi_codec_destroy(&writer->codec);
	iqdb_free(&allocator, writer->raw, BLOCK_BUFFER_SIZE);
	iqdb_free(&allocator, writer->stored, BLOCK_BUFFER_SIZE);
	iqdb_free(&allocator, writer, writer->size);
}

/* Copies what the caller may change; opens nothing. */
static IqdbSnapshotWriter *
make_writer(const IqdbIo *io, const IqdbAllocator *allocator, const char *path, const char *temp_path,
			const IqdbSnapshotOptions *options)
{
	size_t              path_size = strlen(path) + 1;
	size_t              temp_size = strlen(temp_path) + 1;
	size_t              size = sizeof(IqdbSnapshotWriter) + path_size + temp_size;
	IqdbSnapshotWriter *writer = iqdb_alloc_zero(allocator, size);

	if (writer == NULL)
		return NULL;
	writer->allocator = *allocator;
	writer->io = *io;
	writer->size = size;
	writer->path = (char *) (writer + 1);
	writer->temp_path = writer->path + path_size;
	memcpy(writer->path, path, path_size);
	memcpy(writer->temp_path, temp_path, temp_size);
	writer->sync = options->sync;
	writer->offset = IQDB_SNAPSHOT_HEADER_SIZE;
	iqdbi_codec_init(&writer->codec, &writer->allocator, options->compression, options->level);
	writer->raw = iqdb_alloc(allocator, BLOCK_BUFFER_SIZE);
	if (options->compression != IQDB_COMPRESSION_NONE)
		writer->stored = iqdb_alloc(allocator, BLOCK_BUFFER_SIZE);
	if (writer->raw == NULL || (options->compression != IQDB_COMPRESSION_NONE && writer->stored == NULL))
	{
		free_writer(writer);
		return NULL;
	}
	return writer;
}

static IqdbStatus
check_identity(const IqdbSnapshotHeader *header, IqdbError *err)
{
	if (header->identity_length > IQDB_IDENTITY_MAX)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "identity of %u bytes is longer than %d", header->identity_length,
						 IQDB_IDENTITY_MAX);
	return IQDB_OK;
}

IqdbStatus
iqdb_snapshot_writer_open(const IqdbIo *io, const IqdbAllocator *allocator, const char *path, const char *temp_path,
						  const IqdbSnapshotHeader *header, const IqdbSnapshotOptions *options,
						  IqdbSnapshotWriter **writer_out, IqdbError *err)
{
	IqdbSnapshotWriter *writer;
	IqdbStatus          status;

	*writer_out = NULL;
	IQDB_TRY(iqdb_compression_check(options->compression, options->level, err));
	if (header != NULL)
		IQDB_TRY(check_identity(header, err));
	writer = make_writer(io, allocator, path, temp_path, options);
	if (writer == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for a snapshot writer");
	if (header != NULL)
		writer->header = *header;
	status = iqdb_file_open(&writer->io, writer->temp_path, IQDB_IO_WRITE | IQDB_IO_CREATE | IQDB_IO_EXCLUSIVE,
							&writer->file, err);
	if (status != IQDB_OK)
	{
		free_writer(writer);
		return status;
	}
	*writer_out = writer;
	return IQDB_OK;
}

/* Fills in a block's header in front of its stored bytes, and writes both. */
static IqdbStatus
write_block(IqdbSnapshotWriter *writer, unsigned char *block, uint16_t section, uint8_t scheme, size_t raw_length,
			size_t stored_length, IqdbError *err)
{
	size_t   length = IQDB_SNAPSHOT_BLOCK_HEADER_SIZE + stored_length;
	uint32_t crc;

	iqdb_store_u16(block + IQDB_SNAPSHOT_BLOCK_AT_SECTION, section);
	block[IQDB_SNAPSHOT_BLOCK_AT_SCHEME] = scheme;
	block[IQDB_SNAPSHOT_BLOCK_AT_ZERO] = 0;
	iqdb_store_u32(block + IQDB_SNAPSHOT_BLOCK_AT_RAW_LENGTH, (uint32_t) raw_length);
	iqdb_store_u32(block + IQDB_SNAPSHOT_BLOCK_AT_STORED_LENGTH, (uint32_t) stored_length);
	crc = iqdb_crc32c(0, block, IQDB_SNAPSHOT_BLOCK_AT_CRC);
	crc = iqdb_crc32c(crc, block + IQDB_SNAPSHOT_BLOCK_HEADER_SIZE, stored_length);
	iqdb_store_u32(block + IQDB_SNAPSHOT_BLOCK_AT_CRC, crc);
	IQDB_TRY(iqdb_file_write(&writer->file, block, length, writer->offset, err));
	writer->offset += length;
	return IQDB_OK;
}

/* Writes the waiting bytes as one block, compressed if that makes them shorter. */
static IqdbStatus
flush_block(IqdbSnapshotWriter *writer, IqdbError *err)
{
	unsigned char *block = writer->raw;
	uint8_t        scheme = IQDB_COMPRESSION_NONE;
	size_t         stored_length = writer->fill;

	if (writer->fill == 0)
		return IQDB_OK;
	if (writer->stored != NULL)
	{
		size_t compressed;

		IQDB_TRY(iqdbi_codec_compress(&writer->codec, writer->raw + IQDB_SNAPSHOT_BLOCK_HEADER_SIZE, writer->fill,
									  writer->stored + IQDB_SNAPSHOT_BLOCK_HEADER_SIZE, writer->fill - 1, &compressed,
									  err));
		if (compressed > 0)
		{
			block = writer->stored;
			scheme = (uint8_t) writer->codec.scheme;
			stored_length = compressed;
		}
	}
	IQDB_TRY(write_block(writer, block, writer->section, scheme, writer->fill, stored_length, err));
	writer->chain_crc = iqdb_crc32c(writer->chain_crc, block, IQDB_SNAPSHOT_BLOCK_HEADER_SIZE);
	writer->block_count++;
	writer->raw_bytes += writer->fill;
	writer->fill = 0;
	return IQDB_OK;
}

static IqdbStatus
write_bytes(IqdbSnapshotWriter *writer, uint16_t section, const unsigned char *bytes, size_t length, IqdbError *err)
{
	if (section == IQDB_SNAPSHOT_SECTION_END)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "section number 0 is reserved");
	if (length == 0)
		return IQDB_OK;
	if (section != writer->section)
	{
		IQDB_TRY(flush_block(writer, err));
		writer->section = section;
		writer->run_count++;
	}
	while (length > 0)
	{
		size_t room = IQDB_SNAPSHOT_BLOCK_RAW - writer->fill;
		size_t part = length < room ? length : room;

		memcpy(writer->raw + IQDB_SNAPSHOT_BLOCK_HEADER_SIZE + writer->fill, bytes, part);
		writer->fill += part;
		bytes += part;
		length -= part;
		if (writer->fill == IQDB_SNAPSHOT_BLOCK_RAW)
			IQDB_TRY(flush_block(writer, err));
	}
	return IQDB_OK;
}

IqdbStatus
iqdb_snapshot_write(IqdbSnapshotWriter *writer, uint16_t section, const void *bytes, size_t length, IqdbError *err)
{
	IqdbStatus status;

	if (writer->broken)
		return iqdb_fail(err, IQDB_ERR_STATE, "an earlier write to this snapshot failed");
	status = write_bytes(writer, section, bytes, length, err);
	if (status != IQDB_OK)
		writer->broken = true;
	return status;
}

static void
encode_header(const IqdbSnapshotWriter *writer, unsigned char bytes[IQDB_SNAPSHOT_HEADER_SIZE])
{
	const IqdbSnapshotHeader *header = &writer->header;

	memset(bytes, 0, IQDB_SNAPSHOT_HEADER_SIZE);
	memcpy(bytes, IQDB_SNAPSHOT_MAGIC, IQDB_SNAPSHOT_MAGIC_SIZE);
	iqdb_store_u32(bytes + IQDB_SNAPSHOT_AT_VERSION, IQDB_SNAPSHOT_VERSION);
	iqdb_store_u32(bytes + IQDB_SNAPSHOT_AT_HEADER_LENGTH, IQDB_SNAPSHOT_HEADER_SIZE);
	iqdb_store_u32(bytes + IQDB_SNAPSHOT_AT_FLAGS, header->flags);
	iqdb_store_u32(bytes + IQDB_SNAPSHOT_AT_ENGINE, header->engine);
	iqdb_store_u32(bytes + IQDB_SNAPSHOT_AT_METRIC, header->metric);
	iqdb_store_u32(bytes + IQDB_SNAPSHOT_AT_DIMENSION, header->dimension);
	iqdb_store_u64(bytes + IQDB_SNAPSHOT_AT_ROW_COUNT, header->row_count);
	iqdb_store_u64(bytes + IQDB_SNAPSHOT_AT_BLOCK_COUNT, writer->block_count);
	iqdb_store_u64(bytes + IQDB_SNAPSHOT_AT_RAW_BYTES, writer->raw_bytes);
	iqdb_store_u64(bytes + IQDB_SNAPSHOT_AT_FILE_SIZE, writer->offset + IQDB_SNAPSHOT_END_SIZE);
	iqdb_store_u32(bytes + IQDB_SNAPSHOT_AT_RUN_COUNT, writer->run_count);
	iqdb_store_u16(bytes + IQDB_SNAPSHOT_AT_IDENTITY_LENGTH, (uint16_t) header->identity_length);
	bytes[IQDB_SNAPSHOT_AT_COMPRESSION] = (unsigned char) writer->codec.scheme;
	memcpy(bytes + IQDB_SNAPSHOT_AT_IDENTITY, header->identity, header->identity_length);
	iqdb_store_u32(bytes + IQDB_SNAPSHOT_AT_HEADER_CRC, iqdb_crc32c(0, bytes, IQDB_SNAPSHOT_AT_HEADER_CRC));
}

/* Last block, end block, header: afterwards the file is a whole snapshot, though under its temporary name. */
static IqdbStatus
write_end(IqdbSnapshotWriter *writer, IqdbError *err)
{
	unsigned char header[IQDB_SNAPSHOT_HEADER_SIZE];
	unsigned char end[IQDB_SNAPSHOT_END_SIZE];

	IQDB_TRY(flush_block(writer, err));
	encode_header(writer, header);
	iqdb_store_u64(end + IQDB_SNAPSHOT_END_AT_BLOCK_COUNT, writer->block_count);
	iqdb_store_u64(end + IQDB_SNAPSHOT_END_AT_RAW_BYTES, writer->raw_bytes);
	iqdb_store_u32(end + IQDB_SNAPSHOT_END_AT_CHAIN_CRC, writer->chain_crc);
	memcpy(end + IQDB_SNAPSHOT_END_AT_HEADER_CRC, header + IQDB_SNAPSHOT_AT_HEADER_CRC, 4);
	IQDB_TRY(write_block(writer, end, IQDB_SNAPSHOT_SECTION_END, IQDB_COMPRESSION_NONE,
						 IQDB_SNAPSHOT_END_SIZE - IQDB_SNAPSHOT_BLOCK_HEADER_SIZE,
						 IQDB_SNAPSHOT_END_SIZE - IQDB_SNAPSHOT_BLOCK_HEADER_SIZE, err));
	return iqdb_file_write(&writer->file, header, sizeof(header), 0, err);
}

/* Everything of a commit that may still be taken back. */
static IqdbStatus
prepare_commit(IqdbSnapshotWriter *writer, const IqdbSnapshotHeader *header, IqdbError *err)
{
	if (writer->broken)
		return iqdb_fail(err, IQDB_ERR_STATE, "an earlier write to this snapshot failed");
	if (header != NULL)
	{
		IQDB_TRY(check_identity(header, err));
		writer->header = *header;
	}
	IQDB_TRY(write_end(writer, err));
	if (writer->sync)
		IQDB_TRY(iqdb_file_sync(&writer->file, err));
	/* a late write error may show here only, so the file is closed before it gets its name */
	IQDB_TRY(iqdb_file_close(&writer->file, err));
	return iqdb_io_rename(&writer->io, writer->temp_path, writer->path, err);
}

IqdbStatus
iqdb_snapshot_writer_commit(IqdbSnapshotWriter *writer, const IqdbSnapshotHeader *header, IqdbError *err)
{
	IqdbStatus status = prepare_commit(writer, header, err);

	if (status != IQDB_OK)
	{
		iqdb_snapshot_writer_abort(writer);
		return status;
	}
	if (writer->sync)
		status = iqdb_io_sync_parent(&writer->io, writer->path, err);
	free_writer(writer);
	return status;
}

void
iqdb_snapshot_writer_abort(IqdbSnapshotWriter *writer)
{
	IqdbStatus ignored;

	if (writer == NULL)
		return;
	(void) iqdb_file_close(&writer->file, NULL);
	/* nothing to tell if this fails: the failure that led here is the one that counts, and the file is no snapshot */
	ignored = iqdb_io_unlink(&writer->io, writer->temp_path, NULL);
	(void) ignored;
	free_writer(writer);
}
