/*
 * store_blob.c - byte strings of any length in the BLOBS region: encoded metadata, ids that a slot has no room for.
 *
 * Owns: the region's layout. A blob is a length (u32) and that many bytes, in a piece whose size is one of 48 classes: four per
 * doubling up to 8 kB (at most a fifth is wasted), then one per doubling up to 512 MB. Pieces start at multiples of 16;
 * offset 0 is never one. Freed pieces wait in a list per class, linked through their first 8 bytes, and serve their own
 * class only: rows of one index are alike, so what one frees another takes. Nothing is given back to the arena.
 */
#include "core/engine/store_private.h"

#include <string.h>

#define CLASSES_FINE 32u     /* up to 512 units = 8 kB */
#define FINE_UNITS_MAX 512u

_Static_assert(sizeof(((IqdbStoreHeader *) NULL)->blob_free) == IQDBI_BLOB_CLASSES * sizeof(uint64_t),
			   "one free list per class");

uint32_t
iqdbi_blob_class(size_t length)
{
	uint64_t units;
	uint32_t log;

	if (length > (size_t) UINT32_MAX - sizeof(uint32_t))
		return IQDBI_BLOB_CLASSES;
	units = ((uint64_t) length + sizeof(uint32_t) + IQDBI_BLOB_UNIT - 1) / IQDBI_BLOB_UNIT;
	if (units <= 4)
		return (uint32_t) units - 1;
	/* 2^log < units <= 2^(log + 1) */
	log = 63 - (uint32_t) __builtin_clzll(units - 1);
	if (units <= FINE_UNITS_MAX)
	{
		uint32_t quarter = (uint32_t) ((units - 1) >> (log - 2)) & 3;

		return 4 + (log - 2) * 4 + quarter;
	}
	log -= 9;
	return CLASSES_FINE + log < IQDBI_BLOB_CLASSES ? CLASSES_FINE + log : IQDBI_BLOB_CLASSES;
}

uint64_t
iqdbi_blob_class_size(uint32_t class_number)
{
	if (class_number < 4)
		return (uint64_t) (class_number + 1) * IQDBI_BLOB_UNIT;
	if (class_number < CLASSES_FINE)
	{
		uint32_t log = (class_number - 4) / 4 + 2;
		uint32_t quarter = (class_number - 4) % 4;

		return ((uint64_t) (5 + quarter) << (log - 2)) * IQDBI_BLOB_UNIT;
	}
	return (uint64_t) FINE_UNITS_MAX * IQDBI_BLOB_UNIT << (class_number - CLASSES_FINE + 1);
}

/* The list's link in a freed piece. */
static uint64_t *
free_link(const IqdbStore *store, uint64_t offset)
{
	return (uint64_t *) (void *) (store->blobs + offset);
}

IqdbStatus
iqdbi_blob_put(IqdbStore *store, const unsigned char *bytes, size_t length, uint64_t *offset_out, IqdbError *err)
{
	IqdbStoreHeader *header = store->header;
	uint32_t         class_number = iqdbi_blob_class(length);
	uint32_t         length32 = (uint32_t) length;
	uint64_t         offset;

	*offset_out = 0;
	if (class_number >= IQDBI_BLOB_CLASSES)
		return iqdb_fail(err, IQDB_ERR_LIMIT, "metadata or id of %zu bytes is too long", length);
	offset = header->blob_free[class_number];
	if (offset != 0)
		header->blob_free[class_number] = *free_link(store, offset);
	else
	{
		uint64_t end = header->blob_end + iqdbi_blob_class_size(class_number);

		if (end > IQDB_SLOT_NUMBER_END)
			return iqdb_fail(err, IQDB_ERR_LIMIT, "metadata and ids of an index are at most 2^48 bytes");
		IQDB_TRY(iqdb_arena_grow(store->arena, IQDB_REGION_BLOBS, end, err));
		offset = header->blob_end;
		header->blob_end = end;
	}
	memcpy(store->blobs + offset, &length32, sizeof(length32));
	if (length > 0)
		memcpy(store->blobs + offset + sizeof(length32), bytes, length);
	*offset_out = offset;
	return IQDB_OK;
}

void
iqdbi_blob_free(IqdbStore *store, uint64_t offset)
{
	uint32_t class_number;
	uint32_t length;

	if (offset == 0)
		return;
	(void) iqdbi_blob_bytes(store, offset, &length);
	class_number = iqdbi_blob_class(length);
	*free_link(store, offset) = store->header->blob_free[class_number];
	store->header->blob_free[class_number] = offset;
}
