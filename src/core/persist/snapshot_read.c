/*
 * snapshot_read.c - a snapshot back from its bytes, believing none of them.
 *
 * Owns: validation in the order magic, version, header checksum, sizes, then block by block; the stream that hands out
 * bytes without regard to blocks. Every length is capped before memory is asked for or a file offset computed with
 * it. The rules are those at the end of snapshot_format.h; the places that check them name the offset of the block.
 */
#include "core/persist/snapshot.h"

#include <string.h>

#include "core/base/crc32c.h"
#include "core/base/endian.h"
#include "core/persist/persist_private.h"
#include "core/persist/snapshot_format.h"

typedef struct Buffer
{
	unsigned char *bytes;
	size_t         size;
} Buffer;

struct IqdbSnapshotReader
{
	IqdbAllocator      allocator;
	IqdbIo             io;
	IqdbFile           file;
	IqdbiCodec         codec;
	IqdbSnapshotHeader header;
	uint32_t           header_crc;
	bool               failed;
	bool               ended;       /* the end block was read and is right */
	uint64_t           offset;      /* of the next block */
	uint64_t           block_count; /* read so far */
	uint64_t           raw_bytes;
	uint32_t           run_count;
	uint16_t           last_section;
	uint32_t           chain_crc;
	Buffer             stored;
	Buffer             raw;         /* used when a block is compressed */
	size_t             size;        /* of this allocation */
	char              *path;        /* behind the struct, in the same allocation */
};

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

/* Unused bytes, and what the counts must satisfy among themselves. */
static IqdbStatus
check_header(const unsigned char *bytes, const IqdbSnapshotHeader *header, uint64_t file_size, const char *path,
			 IqdbError *err)
{
	uint64_t body;

	if (header->identity_length > IQDB_IDENTITY_MAX ||
		!all_zero(bytes, IQDB_SNAPSHOT_AT_COMPRESSION + 1, IQDB_SNAPSHOT_AT_IDENTITY) ||
		!all_zero(bytes, IQDB_SNAPSHOT_AT_IDENTITY + header->identity_length, IQDB_SNAPSHOT_AT_HEADER_CRC))
		return iqdb_fail_corrupt(err, path, IQDB_SNAPSHOT_AT_IDENTITY_LENGTH, "snapshot header has bytes out of place");
	if (header->file_size != file_size)
		return iqdb_fail_corrupt(err, path, file_size < header->file_size ? file_size : header->file_size,
								 "snapshot is %llu bytes long, its header says %llu", (unsigned long long) file_size,
								 (unsigned long long) header->file_size);
	if (file_size < IQDB_SNAPSHOT_HEADER_SIZE + IQDB_SNAPSHOT_END_SIZE)
		return iqdb_fail_corrupt(err, path, file_size, "snapshot is too short");
	body = file_size - IQDB_SNAPSHOT_HEADER_SIZE - IQDB_SNAPSHOT_END_SIZE;
	/* a block has at least one stored byte; a bound on raw bytes bounds what loaders may be told to expect */
	if (header->block_count > body / (IQDB_SNAPSHOT_BLOCK_HEADER_SIZE + 1) ||
		header->raw_bytes / IQDB_SNAPSHOT_BLOCK_RAW_MAX > header->block_count ||
		header->raw_bytes < header->block_count || header->run_count > header->block_count)
		return iqdb_fail_corrupt(err, path, IQDB_SNAPSHOT_AT_BLOCK_COUNT, "snapshot header counts cannot be");
	return IQDB_OK;
}

static IqdbStatus
decode_header(const unsigned char *bytes, size_t length, uint64_t file_size, const char *path,
			  IqdbSnapshotHeader *header, IqdbError *err)
{
	memset(header, 0, sizeof(*header));
	if (length < IQDB_SNAPSHOT_MAGIC_SIZE || memcmp(bytes, IQDB_SNAPSHOT_MAGIC, IQDB_SNAPSHOT_MAGIC_SIZE) != 0)
		return iqdb_fail_corrupt(err, path, 0, "not a snapshot file");
	if (length < IQDB_SNAPSHOT_AT_HEADER_LENGTH)
		return iqdb_fail_corrupt(err, path, length, "snapshot header is cut off");
	header->version = iqdb_load_u32(bytes + IQDB_SNAPSHOT_AT_VERSION);
	/* before the checksum: another version may have its header laid out in another way */
	if (header->version != IQDB_SNAPSHOT_VERSION)
	{
		(void) iqdb_fail_corrupt(err, path, IQDB_SNAPSHOT_AT_VERSION, "snapshot format version %u is not known here",
								 header->version);
		if (err != NULL)
			err->code = IQDB_ERR_VERSION;
		return IQDB_ERR_VERSION;
	}
	if (length < IQDB_SNAPSHOT_HEADER_SIZE)
		return iqdb_fail_corrupt(err, path, length, "snapshot header is cut off");
	if (iqdb_load_u32(bytes + IQDB_SNAPSHOT_AT_HEADER_CRC) != iqdb_crc32c(0, bytes, IQDB_SNAPSHOT_AT_HEADER_CRC))
		return iqdb_fail_corrupt(err, path, IQDB_SNAPSHOT_AT_HEADER_CRC, "snapshot header fails its checksum");
	if (iqdb_load_u32(bytes + IQDB_SNAPSHOT_AT_HEADER_LENGTH) != IQDB_SNAPSHOT_HEADER_SIZE)
		return iqdb_fail_corrupt(err, path, IQDB_SNAPSHOT_AT_HEADER_LENGTH, "snapshot header has a wrong length");
	header->flags = iqdb_load_u32(bytes + IQDB_SNAPSHOT_AT_FLAGS);
	header->engine = iqdb_load_u32(bytes + IQDB_SNAPSHOT_AT_ENGINE);
	header->metric = iqdb_load_u32(bytes + IQDB_SNAPSHOT_AT_METRIC);
	header->dimension = iqdb_load_u32(bytes + IQDB_SNAPSHOT_AT_DIMENSION);
	header->row_count = iqdb_load_u64(bytes + IQDB_SNAPSHOT_AT_ROW_COUNT);
	header->block_count = iqdb_load_u64(bytes + IQDB_SNAPSHOT_AT_BLOCK_COUNT);
	header->raw_bytes = iqdb_load_u64(bytes + IQDB_SNAPSHOT_AT_RAW_BYTES);
	header->file_size = iqdb_load_u64(bytes + IQDB_SNAPSHOT_AT_FILE_SIZE);
	header->run_count = iqdb_load_u32(bytes + IQDB_SNAPSHOT_AT_RUN_COUNT);
	header->identity_length = iqdb_load_u16(bytes + IQDB_SNAPSHOT_AT_IDENTITY_LENGTH);
	header->compression = bytes[IQDB_SNAPSHOT_AT_COMPRESSION];
	IQDB_TRY(check_header(bytes, header, file_size, path, err));
	memcpy(header->identity, bytes + IQDB_SNAPSHOT_AT_IDENTITY, header->identity_length);
	return IQDB_OK;
}

static IqdbStatus
read_header(const IqdbFile *file, IqdbSnapshotHeader *header_out, uint32_t *header_crc_out, IqdbError *err)
{
	unsigned char bytes[IQDB_SNAPSHOT_HEADER_SIZE] = {0};
	uint64_t      file_size;
	size_t        got;
	IqdbStatus    status;

	IQDB_TRY(iqdb_file_size(file, &file_size, err));
	IQDB_TRY(iqdb_file_read(file, bytes, sizeof(bytes), 0, &got, err));
	*header_crc_out = iqdb_load_u32(bytes + IQDB_SNAPSHOT_AT_HEADER_CRC);
	status = decode_header(bytes, got, file_size, file->path, header_out, err);
	/* what a refused header claims is for nobody to use */
	if (status != IQDB_OK)
		memset(header_out, 0, sizeof(*header_out));
	return status;
}

IqdbStatus
iqdb_snapshot_read_header(const IqdbIo *io, const char *path, IqdbSnapshotHeader *header_out, IqdbError *err)
{
	IqdbFile   file;
	IqdbStatus status;
	uint32_t   header_crc;

	memset(header_out, 0, sizeof(*header_out));
	IQDB_TRY(iqdb_file_open(io, path, 0, &file, err));
	status = read_header(&file, header_out, &header_crc, err);
	(void) iqdb_file_close(&file, NULL);
	return status;
}

/* ---- open and close ---------------------------------------------------------------------------------------------- */

void
iqdb_snapshot_reader_close(IqdbSnapshotReader *reader)
{
	IqdbAllocator allocator;

	if (reader == NULL)
		return;
	allocator = reader->allocator;
	(void) iqdb_file_close(&reader->file, NULL);
	iqdbi_codec_destroy(&reader->codec);
	iqdb_free(&allocator, reader->stored.bytes, reader->stored.size);
	iqdb_free(&allocator, reader->raw.bytes, reader->raw.size);
	iqdb_free(&allocator, reader, reader->size);
}

IqdbStatus
iqdb_snapshot_reader_open(const IqdbIo *io, const IqdbAllocator *allocator, const char *path,
						  IqdbSnapshotReader **reader_out, IqdbError *err)
{
	size_t              path_size = strlen(path) + 1;
	size_t              size = sizeof(IqdbSnapshotReader) + path_size;
	IqdbSnapshotReader *reader;
	IqdbStatus          status;

	*reader_out = NULL;
	reader = iqdb_alloc_zero(allocator, size);
	if (reader == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for a snapshot reader");
	reader->allocator = *allocator;
	reader->io = *io;
	reader->size = size;
	reader->path = (char *) (reader + 1);
	memcpy(reader->path, path, path_size);
	reader->offset = IQDB_SNAPSHOT_HEADER_SIZE;
	iqdbi_codec_init(&reader->codec, &reader->allocator, IQDB_COMPRESSION_NONE, 0);
	IQDB_TRY_OUT(iqdb_file_open(&reader->io, reader->path, 0, &reader->file, err));
	IQDB_TRY_OUT(read_header(&reader->file, &reader->header, &reader->header_crc, err));
	*reader_out = reader;
	return IQDB_OK;

out:
	iqdb_snapshot_reader_close(reader);
	return status;
}

const IqdbSnapshotHeader *
iqdb_snapshot_reader_header(const IqdbSnapshotReader *reader)
{
	return &reader->header;
}

uint64_t
iqdb_snapshot_reader_remaining(const IqdbSnapshotReader *reader)
{
	return reader->header.raw_bytes - reader->raw_bytes;
}

/* ---- blocks ------------------------------------------------------------------------------------------------------ */

typedef struct BlockHeader
{
	uint16_t section;
	uint8_t  scheme;
	uint32_t raw_length;
	uint32_t stored_length;
	uint32_t crc;
} BlockHeader;

static IqdbStatus
damaged(const IqdbSnapshotReader *reader, const char *what, IqdbError *err)
{
	return iqdb_fail_corrupt(err, reader->path, reader->offset, "%s", what);
}

static IqdbStatus
ensure_buffer(IqdbSnapshotReader *reader, Buffer *buffer, size_t size, IqdbError *err)
{
	unsigned char *bytes;

	if (buffer->size >= size)
		return IQDB_OK;
	/* most blocks are of the writer's size: one allocation serves them all */
	if (size < IQDB_SNAPSHOT_BLOCK_RAW)
		size = IQDB_SNAPSHOT_BLOCK_RAW;
	bytes = iqdb_alloc(&reader->allocator, size);
	if (bytes == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for a snapshot block of %zu bytes", size);
	iqdb_free(&reader->allocator, buffer->bytes, buffer->size);
	buffer->bytes = bytes;
	buffer->size = size;
	return IQDB_OK;
}

/* The rules that a block's header must obey by itself. */
static IqdbStatus
check_block_header(const IqdbSnapshotReader *reader, const BlockHeader *block, uint8_t zero, IqdbError *err)
{
	uint64_t left = reader->header.file_size - reader->offset - IQDB_SNAPSHOT_BLOCK_HEADER_SIZE;

	if (zero != 0 || block->scheme > IQDB_COMPRESSION_ZSTD)
		return damaged(reader, "snapshot block has an unknown scheme", err);
	if (block->raw_length == 0 || block->raw_length > IQDB_SNAPSHOT_BLOCK_RAW_MAX || block->stored_length == 0)
		return damaged(reader, "snapshot block has an impossible length", err);
	/* compression that does not shorten is not stored: this is what bounds memory and refuses claims to inflate */
	if (block->scheme == IQDB_COMPRESSION_NONE ? block->stored_length != block->raw_length
											   : block->stored_length >= block->raw_length)
		return damaged(reader, "snapshot block has lengths that contradict each other", err);
	if (block->section == IQDB_SNAPSHOT_SECTION_END)
	{
		if (block->scheme != IQDB_COMPRESSION_NONE || block->stored_length != left ||
			block->stored_length != IQDB_SNAPSHOT_END_SIZE - IQDB_SNAPSHOT_BLOCK_HEADER_SIZE)
			return damaged(reader, "snapshot end block is out of place", err);
		return IQDB_OK;
	}
	if (left < IQDB_SNAPSHOT_END_SIZE || block->stored_length > left - IQDB_SNAPSHOT_END_SIZE)
		return damaged(reader, "snapshot block reaches beyond the end of the file", err);
	if (block->raw_length > iqdb_snapshot_reader_remaining(reader))
		return damaged(reader, "snapshot holds more bytes than its header says", err);
	return IQDB_OK;
}

/* Reads the next block's header and stored bytes (into reader->stored), and verifies lengths and checksum. */
static IqdbStatus
read_stored(IqdbSnapshotReader *reader, BlockHeader *block, IqdbError *err)
{
	unsigned char bytes[IQDB_SNAPSHOT_BLOCK_HEADER_SIZE];
	uint32_t      crc;

	if (reader->header.file_size - reader->offset < sizeof(bytes))
		return damaged(reader, "snapshot ends without an end block", err);
	IQDB_TRY(iqdb_file_read_exact(&reader->file, bytes, sizeof(bytes), reader->offset, err));
	block->section = iqdb_load_u16(bytes + IQDB_SNAPSHOT_BLOCK_AT_SECTION);
	block->scheme = bytes[IQDB_SNAPSHOT_BLOCK_AT_SCHEME];
	block->raw_length = iqdb_load_u32(bytes + IQDB_SNAPSHOT_BLOCK_AT_RAW_LENGTH);
	block->stored_length = iqdb_load_u32(bytes + IQDB_SNAPSHOT_BLOCK_AT_STORED_LENGTH);
	block->crc = iqdb_load_u32(bytes + IQDB_SNAPSHOT_BLOCK_AT_CRC);
	IQDB_TRY(check_block_header(reader, block, bytes[IQDB_SNAPSHOT_BLOCK_AT_ZERO], err));
	IQDB_TRY(ensure_buffer(reader, &reader->stored, block->stored_length, err));
	IQDB_TRY(iqdb_file_read_exact(&reader->file, reader->stored.bytes, block->stored_length,
								  reader->offset + sizeof(bytes), err));
	crc = iqdb_crc32c(0, bytes, IQDB_SNAPSHOT_BLOCK_AT_CRC);
	crc = iqdb_crc32c(crc, reader->stored.bytes, block->stored_length);
	if (crc != block->crc)
		return damaged(reader, "snapshot block fails its checksum", err);
	if (block->section != IQDB_SNAPSHOT_SECTION_END)
		reader->chain_crc = iqdb_crc32c(reader->chain_crc, bytes, sizeof(bytes));
	return IQDB_OK;
}

/* The end block's bytes behind its block header are in reader->stored. */
static IqdbStatus
check_end(const IqdbSnapshotReader *reader, IqdbError *err)
{
	const IqdbSnapshotHeader *header = &reader->header;
	unsigned char             end[IQDB_SNAPSHOT_END_SIZE];

	memcpy(end + IQDB_SNAPSHOT_BLOCK_HEADER_SIZE, reader->stored.bytes, sizeof(end) - IQDB_SNAPSHOT_BLOCK_HEADER_SIZE);
	if (iqdb_load_u64(end + IQDB_SNAPSHOT_END_AT_BLOCK_COUNT) != reader->block_count ||
		iqdb_load_u64(end + IQDB_SNAPSHOT_END_AT_RAW_BYTES) != reader->raw_bytes ||
		iqdb_load_u32(end + IQDB_SNAPSHOT_END_AT_CHAIN_CRC) != reader->chain_crc)
		return damaged(reader, "snapshot end block does not match the blocks before it", err);
	if (iqdb_load_u32(end + IQDB_SNAPSHOT_END_AT_HEADER_CRC) != reader->header_crc ||
		header->block_count != reader->block_count || header->raw_bytes != reader->raw_bytes ||
		header->run_count != reader->run_count)
		return damaged(reader, "snapshot end block does not match the header", err);
	return IQDB_OK;
}

static IqdbStatus
read_block(IqdbSnapshotReader *reader, BlockHeader *block, const unsigned char **bytes_out, IqdbError *err)
{
	bool exact = true;

	IQDB_TRY(read_stored(reader, block, err));
	if (block->section == IQDB_SNAPSHOT_SECTION_END)
	{
		IQDB_TRY(check_end(reader, err));
		reader->ended = true;
		return IQDB_OK;
	}
	*bytes_out = reader->stored.bytes;
	if (block->scheme != IQDB_COMPRESSION_NONE)
	{
		IQDB_TRY(ensure_buffer(reader, &reader->raw, block->raw_length, err));
		IQDB_TRY(iqdbi_codec_decompress(&reader->codec, block->scheme, reader->stored.bytes, block->stored_length,
										reader->raw.bytes, block->raw_length, &exact, err));
		*bytes_out = reader->raw.bytes;
	}
	if (!exact)
		return damaged(reader, "snapshot block does not decompress to its length", err);
	if (block->section != reader->last_section)
		reader->run_count++;
	reader->last_section = block->section;
	reader->block_count++;
	reader->raw_bytes += block->raw_length;
	reader->offset += IQDB_SNAPSHOT_BLOCK_HEADER_SIZE + (uint64_t) block->stored_length;
	return IQDB_OK;
}

IqdbStatus
iqdb_snapshot_read_block(IqdbSnapshotReader *reader, uint16_t *section_out, const unsigned char **bytes_out,
						 size_t *length_out, IqdbError *err)
{
	BlockHeader          block = {0};
	const unsigned char *bytes = NULL;
	IqdbStatus           status;

	*section_out = IQDB_SNAPSHOT_SECTION_END;
	*bytes_out = NULL;
	*length_out = 0;
	if (reader->failed)
		return iqdb_fail(err, IQDB_ERR_STATE, "an earlier read of this snapshot failed");
	if (reader->ended)
		return IQDB_OK;
	status = read_block(reader, &block, &bytes, err);
	if (status != IQDB_OK)
	{
		reader->failed = true;
		return status;
	}
	*section_out = block.section;
	if (block.section != IQDB_SNAPSHOT_SECTION_END)
	{
		*bytes_out = bytes;
		*length_out = block.raw_length;
	}
	return IQDB_OK;
}

IqdbStatus
iqdb_snapshot_reader_finish(IqdbSnapshotReader *reader, IqdbError *err)
{
	uint16_t             section;
	const unsigned char *bytes;
	size_t               length;

	do
		IQDB_TRY(iqdb_snapshot_read_block(reader, &section, &bytes, &length, err));
	while (section != IQDB_SNAPSHOT_SECTION_END);
	return IQDB_OK;
}

/* ---- stream ------------------------------------------------------------------------------------------------------ */

void
iqdb_snapshot_stream_init(IqdbSnapshotStream *stream, IqdbSnapshotReader *reader)
{
	memset(stream, 0, sizeof(*stream));
	stream->reader = reader;
}

static IqdbStatus
next_block(IqdbSnapshotStream *stream, IqdbError *err)
{
	IqdbStatus status =
		iqdb_snapshot_read_block(stream->reader, &stream->section, &stream->bytes, &stream->left, err);

	stream->ended = status == IQDB_OK && stream->section == IQDB_SNAPSHOT_SECTION_END;
	return status;
}

IqdbStatus
iqdb_snapshot_stream_peek(IqdbSnapshotStream *stream, uint16_t *section_out, IqdbError *err)
{
	*section_out = IQDB_SNAPSHOT_SECTION_END;
	if (stream->left == 0 && !stream->ended)
		IQDB_TRY(next_block(stream, err));
	*section_out = stream->section;
	return IQDB_OK;
}

IqdbStatus
iqdb_snapshot_stream_read(IqdbSnapshotStream *stream, uint16_t section, void *bytes, size_t length, IqdbError *err)
{
	unsigned char *target = bytes;
	bool           inside = stream->section == section; /* of a run already begun: it must go on */

	if (stream->reader->failed)
		return iqdb_fail(err, IQDB_ERR_STATE, "an earlier read of this snapshot failed");
	while (length > 0)
	{
		size_t part;

		while (stream->section != section || stream->left == 0)
		{
			if (!stream->ended)
				IQDB_TRY(next_block(stream, err));
			if (stream->ended || (inside && stream->section != section))
			{
				stream->reader->failed = true;
				return iqdb_fail_corrupt(err, stream->reader->path, stream->reader->offset,
										 "section %u of the snapshot ends %zu bytes early", section, length);
			}
		}
		inside = true;
		part = length < stream->left ? length : stream->left;
		memcpy(target, stream->bytes, part);
		target += part;
		stream->bytes += part;
		stream->left -= part;
		length -= part;
	}
	return IQDB_OK;
}

uint64_t
iqdb_snapshot_stream_remaining(const IqdbSnapshotStream *stream)
{
	return iqdb_snapshot_reader_remaining(stream->reader) + stream->left;
}
