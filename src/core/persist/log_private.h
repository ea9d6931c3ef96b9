/*
 * log_private.h - what the log's files share: parts of a frame's encoding, and the check of a header.
 */
#ifndef IQDB_PERSIST_LOG_PRIVATE_H
#define IQDB_PERSIST_LOG_PRIVATE_H

#include "core/persist/log.h"

/* Header of a frame whose body is the pieces; *length_out = length of the body. IQDB_ERR_LIMIT: too long. */
IqdbStatus iqdbi_log_frame_header(uint32_t seed, uint64_t position, uint64_t hash, uint8_t type,
								  const IqdbLogPiece *pieces, size_t piece_count,
								  unsigned char header_out[IQDB_LOG_FRAME_HEADER_SIZE], size_t *length_out,
								  IqdbError *err) IQDB_MUST_CHECK;

/* Whole length of the frame that begins here, or false when it cannot be one in so many bytes. Checks no checksum. */
bool iqdbi_log_frame_length(const unsigned char *header, uint64_t available, size_t *length_out);

/* Checksum of the frame's header, to be continued over the body. */
uint32_t iqdbi_log_frame_crc(uint32_t seed, const unsigned char *header);

/*
 * Reads and checks the header of an open log. *blank_out: creation did not finish. *size_out = size of the file.
 * Errors: CORRUPT, VERSION, I/O.
 */
IqdbStatus iqdbi_log_load_header(const IqdbFile *file, IqdbLogHeader *header_out, bool *blank_out, uint64_t *size_out,
								 IqdbError *err) IQDB_MUST_CHECK;

#endif
