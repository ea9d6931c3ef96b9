/*
 * handle_format.h - what the embedded database puts into the fields that snapshot and log leave to their host.
 *
 * Position: number of writes since the database was made. Hash: a chain over them,
 *     hash(0) = the options' hash (and the fields', if there are any),  hash(n) = mix(hash(n - 1), type, crc32c of the body)
 * so that a snapshot and a log belong together only if they tell the same story up to the snapshot's position.
 *
 * Identity (snapshot and log), 96 bytes and those of the fields, little-endian:
 *     0   8  "IQDBEMBD"
 *     8   4  version: 3 if there are fields, else 2 (1 knew vectors of floats only, and no batches)
 *    12   4  zero
 *    16  64  index options (index_codec.h)
 *    80   8  position   (in a log's header: 0, the header has fields for it)
 *    88   8  hash       (likewise)
 *    96      version 3: the fields that have columns (fields.h)
 *
 * Snapshot sections: 1 rows, 2 engine (index_codec.h).
 *
 * Log bodies by type:
 *   1  upsert  id (meta/id.h), dimension u32, metadata length u32 (0 = none), the vector (vec/element.h), metadata
 *   2  delete  id
 *   3  batch   count u32, and so many upserts one behind the other: one write
 *
 * The numbers of this file are on disk: a change needs a new version, a reader for this one, and a fixture.
 */
#ifndef IQDB_DB_HANDLE_FORMAT_H
#define IQDB_DB_HANDLE_FORMAT_H

#define IQDB_HANDLE_MAGIC "IQDBEMBD"
#define IQDB_HANDLE_VERSION 3u
#define IQDB_HANDLE_VERSION_NO_FIELDS 2u

enum
{
	IQDB_HANDLE_AT_VERSION = 8,
	IQDB_HANDLE_AT_ZERO = 12,
	IQDB_HANDLE_AT_OPTIONS = 16,
	IQDB_HANDLE_AT_POSITION = 80,
	IQDB_HANDLE_AT_HASH = 88,
	IQDB_HANDLE_AT_FIELDS = 96,
	IQDB_HANDLE_IDENTITY_MAX = 380,

	IQDB_HANDLE_FRAME_UPSERT = 1,
	IQDB_HANDLE_FRAME_DELETE = 2,
	IQDB_HANDLE_FRAME_BATCH = 3
};

#endif
