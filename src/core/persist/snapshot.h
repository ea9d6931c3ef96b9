/*
 * snapshot.h - writing and reading snapshot files.
 *
 * A snapshot is the whole state of one index at one position, in one file that is never changed once it has its name.
 * This module owns the file: header, blocks, compression, checksums, the order of sync and rename. It does not know
 * what the sections hold (db/index_codec.h does) nor what the identity means (the host does). Bytes:
 * snapshot_format.h.
 *
 * Nothing here is fit for two threads on one writer or reader at once. Memory: two blocks and what the compressor
 * needs.
 */
#ifndef IQDB_PERSIST_SNAPSHOT_H
#define IQDB_PERSIST_SNAPSHOT_H

#include "core/base/io.h"
#include "core/base/mem.h"

#define IQDB_IDENTITY_MAX 380

/* Section number that stands for the end; hosts number theirs from 1. */
#define IQDB_SNAPSHOT_SECTION_END 0

#define IQDB_ZSTD_LEVEL_DEFAULT 3
#define IQDB_ZSTD_LEVEL_MAX 22

typedef struct IqdbSnapshotHeader
{
	/* the host's, stored as given */
	uint32_t      flags;
	uint32_t      engine;
	uint32_t      metric;
	uint32_t      dimension;
	uint64_t      row_count;
	uint32_t      identity_length; /* 0 .. IQDB_IDENTITY_MAX */
	unsigned char identity[IQDB_IDENTITY_MAX];

	/* filled in by the reader, ignored by the writer */
	uint32_t version;
	uint32_t compression;
	uint32_t run_count;   /* stretches of blocks of one section */
	uint64_t block_count;
	uint64_t raw_bytes;
	uint64_t file_size;
} IqdbSnapshotHeader;

typedef struct IqdbSnapshotOptions
{
	IqdbCompression compression;
	int             level; /* zstd: 1 .. 22; the others ignore it */
	bool            sync;  /* sync file and folder at commit */
} IqdbSnapshotOptions;

/*
 * IQDB_ERR_CONFIG for an unknown compression or a zstd level out of range, IQDB_ERR_UNSUPPORTED when this build lacks
 * the library. For configuration checks before anything is written; iqdb_snapshot_writer_open does the same.
 */
IqdbStatus iqdb_compression_check(IqdbCompression compression, int level, IqdbError *err) IQDB_MUST_CHECK;

/* ---- writing ----------------------------------------------------------------------------------------------------- */

typedef struct IqdbSnapshotWriter IqdbSnapshotWriter;

/*
 * Starts a snapshot that will be called path, in a file that is called temp_path until commit (same folder; created
 * exclusively: IQDB_ERR_DUPLICATE when it is there, so a host clears left-overs of crashed saves at open, under its
 * lock). header may be NULL when commit gets one. Paths and header are copied, io and allocator structs too. Every
 * successful open is followed by exactly one commit or abort. Errors: CONFIG, UNSUPPORTED, DUPLICATE, NOMEM, I/O.
 */
IqdbStatus iqdb_snapshot_writer_open(const IqdbIo *io, const IqdbAllocator *allocator, const char *path,
									 const char *temp_path, const IqdbSnapshotHeader *header,
									 const IqdbSnapshotOptions *options, IqdbSnapshotWriter **writer_out,
									 IqdbError *err) IQDB_MUST_CHECK;

/*
 * Appends bytes to a section (1 .. 65535). Consecutive writes to one section form one run, however they are cut; a
 * change of section starts a new run. After a failure every further call says IQDB_ERR_STATE, and commit does so too.
 */
IqdbStatus iqdb_snapshot_write(IqdbSnapshotWriter *writer, uint16_t section, const void *bytes, size_t length,
							   IqdbError *err) IQDB_MUST_CHECK;

/*
 * Ends the file, syncs it, gives it its name, syncs the folder; then the new snapshot is there whatever happens. header
 * (NULL: that of open) replaces the one given at open: a host learns row count and position only now. Frees the
 * writer in any case. On failure the temporary file is removed and a file that had the name before is untouched; the
 * one exception is a failed sync of the folder: the new file has its name then, but may lose it to the old one in a
 * power failure.
 */
IqdbStatus iqdb_snapshot_writer_commit(IqdbSnapshotWriter *writer, const IqdbSnapshotHeader *header,
									   IqdbError *err) IQDB_MUST_CHECK;

/* Gives up: removes the temporary file, frees the writer. NULL is no error. */
void iqdb_snapshot_writer_abort(IqdbSnapshotWriter *writer);

/* ---- reading ----------------------------------------------------------------------------------------------------- */

typedef struct IqdbSnapshotReader IqdbSnapshotReader;

/*
 * Opens and checks magic, version, header checksum and file size, in this order. Errors: NOT_FOUND, CORRUPT (file and
 * offset), VERSION, NOMEM, I/O. *reader_out is NULL on failure.
 */
IqdbStatus iqdb_snapshot_reader_open(const IqdbIo *io, const IqdbAllocator *allocator, const char *path,
									 IqdbSnapshotReader **reader_out, IqdbError *err) IQDB_MUST_CHECK;

/* The header; valid until close. */
const IqdbSnapshotHeader *iqdb_snapshot_reader_header(const IqdbSnapshotReader *reader);

/* Raw bytes not handed out yet, by the header: what a length claimed inside a section cannot exceed. */
uint64_t iqdb_snapshot_reader_remaining(const IqdbSnapshotReader *reader);

/*
 * Next block, decompressed and checked: *length_out bytes of *section_out at *bytes_out, valid until the next call.
 * At the end (which has been verified then) the section is IQDB_SNAPSHOT_SECTION_END, and stays so. Sections unknown
 * to the caller are the caller's to skip. After a failure every further call says IQDB_ERR_STATE. Errors: CORRUPT
 * (file and offset of the block), UNSUPPORTED (scheme this build lacks), NOMEM, I/O.
 */
IqdbStatus iqdb_snapshot_read_block(IqdbSnapshotReader *reader, uint16_t *section_out, const unsigned char **bytes_out,
									size_t *length_out, IqdbError *err) IQDB_MUST_CHECK;

/*
 * Reads what is left, and verifies it and the end block. Only after this returned IQDB_OK may anything that was read be
 * believed.
 */
IqdbStatus iqdb_snapshot_reader_finish(IqdbSnapshotReader *reader, IqdbError *err) IQDB_MUST_CHECK;

/* NULL is no error. */
void iqdb_snapshot_reader_close(IqdbSnapshotReader *reader);

/*
 * The header alone: one open, one small read, no allocation. It checks what reader_open checks, the size of the file
 * included, but no block: good for choosing among files, not for trusting one. All zero on failure.
 */
IqdbStatus iqdb_snapshot_read_header(const IqdbIo *io, const char *path, IqdbSnapshotHeader *header_out,
									 IqdbError *err) IQDB_MUST_CHECK;

/*
 * Bytes of sections without regard to blocks. Borrow a reader, ask for exact amounts; do not mix with
 * iqdb_snapshot_read_block. A stream owns nothing.
 */
typedef struct IqdbSnapshotStream
{
	IqdbSnapshotReader  *reader;
	const unsigned char *bytes;   /* rest of the current block */
	size_t               left;
	uint16_t             section; /* of the current block; 0 before the first, and at the end */
	bool                 ended;
} IqdbSnapshotStream;

void iqdb_snapshot_stream_init(IqdbSnapshotStream *stream, IqdbSnapshotReader *reader);

/*
 * Exactly length bytes of the section, across blocks. What is left of the section read before, and sections in between,
 * are skipped (and verified). IQDB_ERR_CORRUPT when the section's run ends first, or there is none further on.
 * Never allocates for length: a caller that wants to must compare it with iqdb_snapshot_stream_remaining() before.
 */
IqdbStatus iqdb_snapshot_stream_read(IqdbSnapshotStream *stream, uint16_t section, void *bytes, size_t length,
									 IqdbError *err) IQDB_MUST_CHECK;

/* Moves to the next byte not read yet: *section_out is its section, or IQDB_SNAPSHOT_SECTION_END at the end. */
IqdbStatus iqdb_snapshot_stream_peek(IqdbSnapshotStream *stream, uint16_t *section_out, IqdbError *err) IQDB_MUST_CHECK;

/* Raw bytes not handed out yet, in all sections together. */
uint64_t iqdb_snapshot_stream_remaining(const IqdbSnapshotStream *stream);

#endif
