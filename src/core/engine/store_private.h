/*
 * store_private.h - what the files of the store share: the id map and the blobs.
 *
 * Callers hold ROWS: exclusive for what changes something, shared for what looks.
 */
#ifndef IQDB_ENGINE_STORE_PRIVATE_H
#define IQDB_ENGINE_STORE_PRIVATE_H

#include "core/engine/store_write.h"

#define IQDBI_BUCKETS_FIRST 64u
#define IQDBI_BLOB_UNIT 16u
#define IQDBI_BLOB_CLASSES 48u

/* slots[].flags is looked at by readers while a slot that died enters limbo. */
static inline uint32_t
iqdbi_slot_flags(const IqdbSlot *slot)
{
	return __atomic_load_n(&slot->flags, __ATOMIC_RELAXED);
}

static inline void
iqdbi_slot_set_flags(IqdbSlot *slot, uint32_t flags)
{
	__atomic_store_n(&slot->flags, flags, __ATOMIC_RELAXED);
}

/* ---- id map (store_map.c) ---- */

IqdbStatus iqdbi_map_format(IqdbStore *store, IqdbError *err) IQDB_MUST_CHECK;

/* Slot of the id, or IQDB_SLOT_NONE. */
uint32_t iqdbi_map_find(const IqdbStore *store, IqdbId id, uint64_t hash);

/* The slot's id must not be in the map yet; its id and flags are set. */
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
