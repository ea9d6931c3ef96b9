/*
 * log_encode.c - headers and frames of a log as bytes: pure functions, used by the writer here and by servers that own
 * their buffer.
 *
 * Owns: encoding, and decoding of one frame. Does not own: files (log_read.c, log_write.c). Format: log_format.h.
 */
#include "core/persist/log_private.h"

#include <string.h>

#include "core/base/crc32c.h"
#include "core/base/endian.h"

IqdbStatus
iqdb_log_encode_header(const IqdbLogHeader *header, unsigned char bytes_out[IQDB_LOG_HEADER_SIZE], IqdbError *err)
{
	unsigned char *bytes = bytes_out;

	memset(bytes, 0, IQDB_LOG_HEADER_SIZE);
	if (header->identity_length > IQDB_IDENTITY_MAX)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "identity of %u bytes is longer than %d", header->identity_length,
						 IQDB_IDENTITY_MAX);
	memcpy(bytes, IQDB_LOG_MAGIC, IQDB_LOG_MAGIC_SIZE);
	iqdb_store_u32(bytes + IQDB_LOG_AT_VERSION, IQDB_LOG_VERSION);
	iqdb_store_u32(bytes + IQDB_LOG_AT_HEADER_LENGTH, IQDB_LOG_HEADER_SIZE);
	iqdb_store_u64(bytes + IQDB_LOG_AT_START_POSITION, header->start_position);
	iqdb_store_u64(bytes + IQDB_LOG_AT_START_HASH, header->start_hash);
	iqdb_store_u16(bytes + IQDB_LOG_AT_IDENTITY_LENGTH, (uint16_t) header->identity_length);
	memcpy(bytes + IQDB_LOG_AT_IDENTITY, header->identity, header->identity_length);
	iqdb_store_u32(bytes + IQDB_LOG_AT_HEADER_CRC, iqdb_crc32c(0, bytes, IQDB_LOG_AT_HEADER_CRC));
	return IQDB_OK;
}

uint32_t
iqdb_log_seed(const IqdbLogHeader *header)
{
	unsigned char bytes[IQDB_LOG_HEADER_SIZE];

	if (iqdb_log_encode_header(header, bytes, NULL) != IQDB_OK)
		return 0;
	return iqdb_load_u32(bytes + IQDB_LOG_AT_HEADER_CRC);
}

size_t
iqdb_log_frame_size(size_t body_length)
{
	return body_length > IQDB_LOG_BODY_MAX ? 0 : IQDB_LOG_FRAME_HEADER_SIZE + body_length;
}

/* Checksum of a frame up to its body. */
static uint32_t
frame_header_crc(uint32_t seed, const unsigned char *frame)
{
	uint32_t crc = iqdb_crc32c(seed, frame, IQDB_LOG_FRAME_AT_CRC);

	return iqdb_crc32c(crc, frame + IQDB_LOG_FRAME_AT_POSITION,
					   IQDB_LOG_FRAME_HEADER_SIZE - IQDB_LOG_FRAME_AT_POSITION);
}

IqdbStatus
iqdbi_log_frame_header(uint32_t seed, uint64_t position, uint64_t hash, uint8_t type, const IqdbLogPiece *pieces,
					   size_t piece_count, unsigned char header_out[IQDB_LOG_FRAME_HEADER_SIZE], size_t *length_out,
					   IqdbError *err)
{
	size_t   length = 0;
	uint32_t crc;

	*length_out = 0;
	for (size_t i = 0; i < piece_count; i++)
	{
		if (pieces[i].length > IQDB_LOG_BODY_MAX - length)
			return iqdb_fail(err, IQDB_ERR_LIMIT, "log entry is longer than %u bytes", IQDB_LOG_BODY_MAX);
		length += pieces[i].length;
	}
	iqdb_store_u32(header_out + IQDB_LOG_FRAME_AT_LENGTH, (uint32_t) length);
	iqdb_store_u64(header_out + IQDB_LOG_FRAME_AT_POSITION, position);
	iqdb_store_u64(header_out + IQDB_LOG_FRAME_AT_HASH, hash);
	header_out[IQDB_LOG_FRAME_AT_TYPE] = type;
	crc = frame_header_crc(seed, header_out);
	for (size_t i = 0; i < piece_count; i++)
		crc = iqdb_crc32c(crc, pieces[i].bytes, pieces[i].length);
	iqdb_store_u32(header_out + IQDB_LOG_FRAME_AT_CRC, crc);
	*length_out = length;
	return IQDB_OK;
}

IqdbStatus
iqdb_log_encode_frame(uint32_t seed, void *target, size_t capacity, uint64_t position, uint64_t hash, uint8_t type,
					  const IqdbLogPiece *pieces, size_t piece_count, size_t *length_out, IqdbError *err)
{
	unsigned char  header[IQDB_LOG_FRAME_HEADER_SIZE];
	unsigned char *at = target;
	size_t         length;

	*length_out = 0;
	IQDB_TRY(iqdbi_log_frame_header(seed, position, hash, type, pieces, piece_count, header, &length, err));
	if (sizeof(header) + length > capacity)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "log entry of %zu bytes does not fit into %zu", sizeof(header) + length,
						 capacity);
	memcpy(at, header, sizeof(header));
	at += sizeof(header);
	for (size_t i = 0; i < piece_count; i++)
	{
		if (pieces[i].length > 0)
			memcpy(at, pieces[i].bytes, pieces[i].length);
		at += pieces[i].length;
	}
	*length_out = sizeof(header) + length;
	return IQDB_OK;
}

bool
iqdbi_log_frame_length(const unsigned char *header, uint64_t available, size_t *length_out)
{
	uint32_t length;

	*length_out = 0;
	if (available < IQDB_LOG_FRAME_HEADER_SIZE)
		return false;
	length = iqdb_load_u32(header + IQDB_LOG_FRAME_AT_LENGTH);
	if (length > IQDB_LOG_BODY_MAX || length > available - IQDB_LOG_FRAME_HEADER_SIZE)
		return false;
	*length_out = IQDB_LOG_FRAME_HEADER_SIZE + (size_t) length;
	return true;
}

uint32_t
iqdbi_log_frame_crc(uint32_t seed, const unsigned char *header)
{
	return frame_header_crc(seed, header);
}

bool
iqdb_log_decode_frame(uint32_t seed, const unsigned char *bytes, size_t available, IqdbLogFrame *frame_out)
{
	size_t   length;
	uint32_t crc;

	memset(frame_out, 0, sizeof(*frame_out));
	if (!iqdbi_log_frame_length(bytes, available, &length))
		return false;
	crc = frame_header_crc(seed, bytes);
	crc = iqdb_crc32c(crc, bytes + IQDB_LOG_FRAME_HEADER_SIZE, length - IQDB_LOG_FRAME_HEADER_SIZE);
	if (crc != iqdb_load_u32(bytes + IQDB_LOG_FRAME_AT_CRC))
		return false;
	frame_out->position = iqdb_load_u64(bytes + IQDB_LOG_FRAME_AT_POSITION);
	frame_out->hash = iqdb_load_u64(bytes + IQDB_LOG_FRAME_AT_HASH);
	frame_out->type = bytes[IQDB_LOG_FRAME_AT_TYPE];
	frame_out->body = bytes + IQDB_LOG_FRAME_HEADER_SIZE;
	frame_out->length = length - IQDB_LOG_FRAME_HEADER_SIZE;
	frame_out->end = length;
	return true;
}
