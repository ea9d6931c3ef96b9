/*
 * hnsw_bitmap_private.h - a bit per slot: which slots are condemned, which were reached, which were met in a list.
 */
#ifndef IQDB_HNSW_BITMAP_PRIVATE_H
#define IQDB_HNSW_BITMAP_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What to allocate, zeroed, for slots below `slot_count`. */
static inline size_t
iqdbi_bitmap_bytes(uint32_t slot_count)
{
	return ((size_t) slot_count / 64 + 1) * sizeof(uint64_t);
}

static inline bool
iqdbi_bitmap_has(const uint64_t *bitmap, uint32_t slot)
{
	return (bitmap[slot / 64] >> (slot % 64) & 1) != 0;
}

/* Returns true when the slot was not in it before. */
static inline bool
iqdbi_bitmap_add(uint64_t *bitmap, uint32_t slot)
{
	uint64_t mask = UINT64_C(1) << (slot % 64);
	bool     fresh = (bitmap[slot / 64] & mask) == 0;

	bitmap[slot / 64] |= mask;
	return fresh;
}

#endif
