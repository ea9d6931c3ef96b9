/*
 * log_format.h - every byte of a log file, format version 1.
 *
 * A log is one header and frames, back to back. Numbers are little-endian. Unused bytes are zero, and checked.
 * crc = CRC-32C.
 *
 * Header, 512 bytes (one sector):
 *
 *     0   8  magic "IQDB_LOG"
 *     8   4  format version, 1
 *    12   4  header length, 512
 *    16   8  start position, the host's: frames tell what happened after it
 *    24   8  hash of the host's history at the start position
 *    32   2  identity length n, 0 .. 380
 *    34  94  zero
 *   128 380  identity: n bytes of the host's, then zero
 *   508   4  crc over bytes 0 .. 507; it is also the seed of every frame's crc
 *
 * Frame, 25 + length bytes:
 *
 *     0   4  length of the body, 0 .. 256 MiB
 *     4   4  crc, started from the seed, over bytes 0 .. 3, then bytes 8 .. 24, then the body
 *     8   8  position, the host's
 *    16   8  hash of the host's history at that position
 *    24   1  type, the host's
 *    25      body
 *
 * A frame is valid if and only if it lies within the file, its length is within the limit, its crc holds, and every
 * frame before it is valid. The first frame that is not ends the log: what lies behind it is never looked at, and is
 * cut off before anything is appended. The seed ties a frame to its file: bytes left over from another log, or from
 * another life of the same name, are not frames here.
 *
 * A log whose creation did not finish holds no frames: a file of zero bytes only, or one no longer than a header that
 * begins like one but whose checksum does not hold. Any other file with a bad header is damaged, or no log.
 *
 * The numbers of this file are on disk: a change needs a new version, a reader for this one, and a fixture.
 */
#ifndef IQDB_PERSIST_LOG_FORMAT_H
#define IQDB_PERSIST_LOG_FORMAT_H

#define IQDB_LOG_MAGIC "IQDB_LOG"
#define IQDB_LOG_MAGIC_SIZE 8
#define IQDB_LOG_VERSION 1u

enum
{
	IQDB_LOG_AT_VERSION = 8,
	IQDB_LOG_AT_HEADER_LENGTH = 12,
	IQDB_LOG_AT_START_POSITION = 16,
	IQDB_LOG_AT_START_HASH = 24,
	IQDB_LOG_AT_IDENTITY_LENGTH = 32,
	IQDB_LOG_AT_IDENTITY = 128,
	IQDB_LOG_AT_HEADER_CRC = 508,
	IQDB_LOG_HEADER_SIZE = 512,

	IQDB_LOG_FRAME_AT_LENGTH = 0,
	IQDB_LOG_FRAME_AT_CRC = 4,
	IQDB_LOG_FRAME_AT_POSITION = 8,
	IQDB_LOG_FRAME_AT_HASH = 16,
	IQDB_LOG_FRAME_AT_TYPE = 24,
	IQDB_LOG_FRAME_HEADER_SIZE = 25
};

#define IQDB_LOG_BODY_MAX (256u * 1024 * 1024)

#endif
