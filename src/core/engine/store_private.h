/*
 * store_private.h - what the files of the store share: the id map and the blobs.
 *
 * Callers hold ROWS: exclusive for what changes something, shared for what looks.
 */
#ifndef IQDB_ENGINE_STORE_PRIVATE_H
#define IQDB_ENGINE_STORE_PRIVATE_H

#include "core/engine/store_write.h"

#define IQDBI_BUCKETS_FIRST 64u

/*
 * Rows to a bucket of the id map. With two a row has 2 bytes of buckets, not the 4 it has with one. Among a million rows
 * that makes a put of a new id 0.21 us instead of 0.18, a look-up at random 0.33 instead of 0.29, one of an id that is not
 * there 0.31 instead of 0.21: little beside what an index does for a row.
 */
#define IQDBI_BUCKET_ROWS 2u
#define IQDBI_BLOB_UNIT 16u
#define IQDBI_BLOB_CLASSES 48u

/* ---- shape (store_shape.c) ---- */

/* Bytes of a row in NORMS: none where keys need no norms. */
uint64_t iqdbi_norm_bytes(const IqdbIndexOptions *options);

/* ---- slots ---- */

/* Does a slot have room for the id itself? */
static inline bool
iqdbi_id_fits(IqdbId id)
{
	return id.kind == IQDB_ID_U64 && id.number < IQDB_SLOT_NUMBER_END;
}

/* Where the id lies in BLOBS, 0 = in the slot itself; and what it is there. */
static inline uint64_t
iqdbi_slot_blob(const IqdbSlot *row, IqdbIdKind *kind_out)
{
	uint64_t bits = row->word & (IQDB_SLOT_NUMBER_END - 1);

	*kind_out = (row->word & IQDB_SLOT_BLOB) != 0 ? (IqdbIdKind) (bits % IQDBI_BLOB_UNIT) : IQDB_ID_U64;
	return (row->word & IQDB_SLOT_BLOB) != 0 ? bits - bits % IQDBI_BLOB_UNIT : 0;
}

/*
 * Where the row's metadata lies in BLOBS, 0 = nowhere. For holders of ROWS, and for readers who saw the row LIVE: an entry
 * is written before the state, and changes again only when no reader can reach the slot any more.
 */
static inline uint64_t
iqdbi_metadata_offset(const IqdbStore *store, uint32_t slot)
{
	const IqdbArenaRegion *region = &iqdb_arena_header(store->arena)->regions[IQDB_REGION_METADATA];
	uint64_t               committed = __atomic_load_n(&region->committed, __ATOMIC_ACQUIRE);

	return slot < committed / sizeof(uint64_t) ? store->metadata[slot] : 0;
}

/* ---- id map (store_map.c) ---- */

IqdbStatus iqdbi_map_format(IqdbStore *store, IqdbError *err) IQDB_MUST_CHECK;

/* Slot of the id, or IQDB_SLOT_NONE. */
uint32_t iqdbi_map_find(const IqdbStore *store, IqdbId id, uint64_t hash);

/* The slot's id must not be in the map yet; it is set. */
void iqdbi_map_insert(IqdbStore *store, uint32_t slot, uint64_t hash);

/* The slot is in the map. */
void iqdbi_map_remove(IqdbStore *store, uint32_t slot, uint64_t hash);

/* Splits one bucket when the map is fuller than it should be. Failing to get room for it only makes chains longer. */
void iqdbi_map_grow(IqdbStore *store);

/* Bucket of a hash, and a bucket's first slot. */
uint32_t iqdbi_map_bucket(uint32_t bucket_count, uint64_t hash);
uint32_t iqdbi_map_head(const IqdbStore *store, uint32_t bucket);

/* ---- blobs (store_blob.c) ---- */

/*
 * Copies length bytes into a fresh blob; *offset_out is never 0. Errors: IQDB_ERR_LIMIT (too long, or the region is
 * full), those of iqdb_arena_grow.
 */
IqdbStatus iqdbi_blob_put(IqdbStore *store, const unsigned char *bytes, size_t length, uint64_t *offset_out,
						  IqdbError *err) IQDB_MUST_CHECK;

/* Offset 0 is no error. */
void iqdbi_blob_free(IqdbStore *store, uint64_t offset);

static inline const unsigned char *
iqdbi_blob_bytes(const IqdbStore *store, uint64_t offset, uint32_t *length_out)
{
	const unsigned char *blob = store->blobs + offset;

	*length_out = *(const uint32_t *) (const void *) blob;
	return blob + sizeof(uint32_t);
}

/* Size class of a blob of so many bytes, or IQDBI_BLOB_CLASSES when it is too long; bytes of a class. */
uint32_t iqdbi_blob_class(size_t length);
uint64_t iqdbi_blob_class_size(uint32_t class_number);

#endif
