/*
 * index_codec.h - the bytes of an index inside a snapshot: sections ROWS and ENGINE.
 *
 * Numbers are little-endian. Unused bytes are zero, and checked. Checksums and compression are the container's
 * (persist/snapshot_format.h); this format is believed no more for them.
 *
 * Section ROWS: a header, chunks, an end chunk.
 *
 * Header, 128 bytes:
 *     0   8  magic "IQDBROWS"
 *     8   4  format version: 4 if rows are bare, else 3 if there are columns, else 2 (1 had no element: vectors are of floats)
 *    12   4  header length, 128
 *    16  64  options (below)
 *    80   8  next sequence S, 1 .. 2^47: every row's sequence is below it and above 0
 *    88   4  number of slots, at most 2^32 - 2
 *    92   4  number of columns, at most 31 (version 3 and 4, else zero; in 3 at least 1)
 *    96  31  kind of each (u8), zero behind the last
 *   127   1  zero
 *
 * Options, 64 bytes: dimension, metric, engine, quantization (u32 each), seed (u64), m, ef_construction, ef_search, lists,
 * probes, training_sample, pq_subvectors, refine, vectors, element (u32 each). (Where vectors lie was added later: 0 in
 * files from before stands for the automatic choice.)
 *
 * Chunk, 16 bytes and its payload; slots ascend from chunk to chunk, slots in no chunk are free (those behind the last
 * row are forgotten at load):
 *     0   4  first slot
 *     4   4  number of slots n, 1 .. 65536
 *     8   8  payload length, at most 1 GiB
 *    16      n states (u8: 0 free, 1 known, 2 live), then for each known or live slot in order:
 *              id (meta/id.h), sequence u64,
 *              metadata flag u8: 0, or 1 followed by length u32 and encoded metadata (meta/metadata.h); known: always 0
 *              live: the columns' values (engine/columns.h), then the vector (vec/element.h), finite
 *
 * Bare (version 4): n states, then for each known or live slot in order two varints (base/endian.h): the zigzag of how far its
 * id, a number, is above that of the row before it in this chunk, modulo 2^64, and the same of its sequence; both begin at 0.
 * All else of a row is with the host, which fetches it by its number.
 *
 * End chunk: first slot = number of slots, n = 0, payload length 16: number of live rows u64, of known rows u64.
 *
 * Section ENGINE: the engine's own bytes.
 *
 * Moments: save() reads next sequence and slot count first, under ROWS, and leaves out every row whose sequence is not
 * below. So a snapshot written beside writers holds each id at most once, and lacks at most rows that were replaced or
 * removed since its first moment; the host replays everything since then. Slot numbers are kept, because the engine's
 * part names slots.
 *
 * The numbers of this file are on disk: a change needs a new version, a reader for this one, and a fixture.
 */
#ifndef IQDB_DB_INDEX_CODEC_H
#define IQDB_DB_INDEX_CODEC_H

#include "core/db/index.h"

/* Sections of a snapshot. Hosts number theirs from IQDB_SECTION_HOST on. */
enum
{
	IQDB_SECTION_ROWS = 1,
	IQDB_SECTION_ENGINE = 2,
	IQDB_SECTION_HOST = 16
};

#define IQDB_ROWS_MAGIC "IQDBROWS"
#define IQDB_ROWS_VERSION 4u
#define IQDB_ROWS_VERSION_BARE 4u
#define IQDB_ROWS_VERSION_COLUMNS 3u
#define IQDB_ROWS_VERSION_NO_COLUMNS 2u

enum
{
	IQDB_OPTIONS_SIZE = 64,

	IQDB_ROWS_AT_VERSION = 8,
	IQDB_ROWS_AT_HEADER_LENGTH = 12,
	IQDB_ROWS_AT_OPTIONS = 16,
	IQDB_ROWS_AT_NEXT_SEQUENCE = 80,
	IQDB_ROWS_AT_SLOT_COUNT = 88,
	IQDB_ROWS_AT_COLUMN_COUNT = 92,
	IQDB_ROWS_AT_COLUMNS = 96,
	IQDB_ROWS_AT_ZERO = 127,
	IQDB_ROWS_HEADER_SIZE = 128,

	IQDB_CHUNK_AT_FIRST = 0,
	IQDB_CHUNK_AT_COUNT = 4,
	IQDB_CHUNK_AT_LENGTH = 8,
	IQDB_CHUNK_HEADER_SIZE = 16,
	IQDB_CHUNK_END_SIZE = 16,
	IQDB_CHUNK_SLOTS_MAX = 65536
};

#define IQDB_CHUNK_LENGTH_MAX (UINT64_C(1) << 30)

/* For a host that keeps an index's options beside the snapshot. Columns are not among these bytes. */
void iqdb_index_options_encode(const IqdbIndexOptions *options, unsigned char bytes_out[IQDB_OPTIONS_SIZE]);

/* IQDB_ERR_CORRUPT when the bytes are no options, or options that iqdb_index_options_check refuses. */
IqdbStatus iqdb_index_options_decode(const unsigned char bytes[IQDB_OPTIONS_SIZE], IqdbIndexOptions *options_out,
									 IqdbError *err) IQDB_MUST_CHECK;

#endif
