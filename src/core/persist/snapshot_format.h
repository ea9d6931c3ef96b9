/*
 * snapshot_format.h - every byte of a snapshot file, format version 1.
 *
 * A snapshot is one header, data blocks, one end block, and nothing behind it. Numbers are little-endian. Unused bytes
 * are zero, and checked. crc = CRC-32C.
 *
 * Header, 512 bytes (one sector, written last: until the writer commits, these bytes are zero):
 *
 *     0   8  magic "IQDBSNAP"
 *     8   4  format version, 1
 *    12   4  header length, 512
 *    16   4  flags, the host's
 *    20   4  engine kind (engine/options.h)
 *    24   4  metric (vec/metric.h)
 *    28   4  dimension
 *    32   8  row count
 *    40   8  number of data blocks
 *    48   8  raw bytes in all data blocks
 *    56   8  size of the file
 *    64   4  number of section runs (a run is a stretch of blocks of one section)
 *    68   2  identity length n, 0 .. 380
 *    70   1  compression the writer was asked for
 *    71   1  zero
 *    72  56  zero
 *   128 380  identity: n bytes of the host's (which index, which position), then zero
 *   508   4  crc over bytes 0 .. 507
 *
 * Block, 16 + stored length bytes:
 *
 *     0   2  section, 1 .. 65535 (the host's numbers); 0 = end block
 *     2   1  scheme of this block: 0 none, 1 lz4 (block format), 2 zstd (one frame)
 *     3   1  zero
 *     4   4  raw length, 1 .. 1 MiB (the writer makes 256 KiB; the last of a run is shorter)
 *     8   4  stored length: equal to raw length with scheme 0, smaller with the others
 *    12   4  crc over bytes 0 .. 11, then the stored bytes
 *    16      stored bytes
 *
 * End block, 40 bytes: a block of section 0, scheme 0, 24 raw bytes:
 *
 *    16   8  number of data blocks
 *    24   8  raw bytes in all data blocks
 *    32   4  crc over the 16-byte headers of all data blocks in order (so: over all their checksums)
 *    36   4  the header's crc (bytes 508 .. 511): this body belongs to that header
 *
 * A snapshot is valid if and only if the header's crc holds, the file is as long as the header says, every block's crc
 * holds and its lengths obey the rules above, every block decompresses to exactly its raw length, and the end block
 * agrees with what was read and with the header. A file cut or changed at any byte breaks at least one of these.
 *
 * The numbers of this file are on disk: a change needs a new version, a reader for this one, and a fixture.
 */
#ifndef IQDB_PERSIST_SNAPSHOT_FORMAT_H
#define IQDB_PERSIST_SNAPSHOT_FORMAT_H

#define IQDB_SNAPSHOT_MAGIC "IQDBSNAP"
#define IQDB_SNAPSHOT_MAGIC_SIZE 8
#define IQDB_SNAPSHOT_VERSION 1u

enum
{
	IQDB_SNAPSHOT_AT_VERSION = 8,
	IQDB_SNAPSHOT_AT_HEADER_LENGTH = 12,
	IQDB_SNAPSHOT_AT_FLAGS = 16,
	IQDB_SNAPSHOT_AT_ENGINE = 20,
	IQDB_SNAPSHOT_AT_METRIC = 24,
	IQDB_SNAPSHOT_AT_DIMENSION = 28,
	IQDB_SNAPSHOT_AT_ROW_COUNT = 32,
	IQDB_SNAPSHOT_AT_BLOCK_COUNT = 40,
	IQDB_SNAPSHOT_AT_RAW_BYTES = 48,
	IQDB_SNAPSHOT_AT_FILE_SIZE = 56,
	IQDB_SNAPSHOT_AT_RUN_COUNT = 64,
	IQDB_SNAPSHOT_AT_IDENTITY_LENGTH = 68,
	IQDB_SNAPSHOT_AT_COMPRESSION = 70,
	IQDB_SNAPSHOT_AT_IDENTITY = 128,
	IQDB_SNAPSHOT_AT_HEADER_CRC = 508,
	IQDB_SNAPSHOT_HEADER_SIZE = 512,

	IQDB_SNAPSHOT_BLOCK_AT_SECTION = 0,
	IQDB_SNAPSHOT_BLOCK_AT_SCHEME = 2,
	IQDB_SNAPSHOT_BLOCK_AT_ZERO = 3,
	IQDB_SNAPSHOT_BLOCK_AT_RAW_LENGTH = 4,
	IQDB_SNAPSHOT_BLOCK_AT_STORED_LENGTH = 8,
	IQDB_SNAPSHOT_BLOCK_AT_CRC = 12,
	IQDB_SNAPSHOT_BLOCK_HEADER_SIZE = 16,

	IQDB_SNAPSHOT_END_AT_BLOCK_COUNT = 16,
	IQDB_SNAPSHOT_END_AT_RAW_BYTES = 24,
	IQDB_SNAPSHOT_END_AT_CHAIN_CRC = 32,
	IQDB_SNAPSHOT_END_AT_HEADER_CRC = 36,
	IQDB_SNAPSHOT_END_SIZE = 40
};

/* What a writer puts into one block, and the most a reader believes. */
#define IQDB_SNAPSHOT_BLOCK_RAW (256u * 1024)
#define IQDB_SNAPSHOT_BLOCK_RAW_MAX (1024u * 1024)

#endif
