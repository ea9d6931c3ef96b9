/*
 * store_map.c - from id to slot: linear hashing (Litwin, "Linear hashing: a new tool for file and table addressing",
 * VLDB 1980).
 *
 * Owns: the BUCKETS region, and slots[].next of rows that are KNOWN or LIVE. There are never more rows than two to a bucket
 * but for the moment before a split, so chains stay short, and growing splits one bucket at a time: no insert ever pays for
 * the whole table. Buckets are never given back.
 */
#include "core/engine/store_private.h"

static uint32_t *
buckets(const IqdbStore *store)
{
	return iqdb_arena_region(store->arena, IQDB_REGION_BUCKETS);
}

/* The lowest power of two that is not below n, less one; n > 0. */
static uint32_t
mask_above(uint32_t n)
{
	return n == 1 ? 0 : UINT32_MAX >> __builtin_clz(n - 1);
}

uint32_t
iqdbi_map_bucket(uint32_t bucket_count, uint64_t hash)
{
	uint32_t mask = mask_above(bucket_count);
	uint32_t bucket = (uint32_t) hash & mask;

	/* this bucket is not split off yet: its rows are still in the lower half */
	return bucket < bucket_count ? bucket : bucket & (mask >> 1);
}

uint32_t
iqdbi_map_head(const IqdbStore *store, uint32_t bucket)
{
	return buckets(store)[bucket];
}

IqdbStatus
iqdbi_map_format(IqdbStore *store, IqdbError *err)
{
	IQDB_TRY(iqdb_arena_grow(store->arena, IQDB_REGION_BUCKETS, IQDBI_BUCKETS_FIRST * sizeof(uint32_t), err));
	for (uint32_t i = 0; i < IQDBI_BUCKETS_FIRST; i++)
		buckets(store)[i] = IQDB_SLOT_NONE;
	store->header->bucket_count = IQDBI_BUCKETS_FIRST;
	return IQDB_OK;
}

static bool
slot_has_id(const IqdbStore *store, uint32_t slot, IqdbId id)
{
	uint64_t word = store->slots[slot].word;

	if (iqdbi_id_fits(id))
		return (word & (IQDB_SLOT_BLOB | (IQDB_SLOT_NUMBER_END - 1))) == id.number;
	return (word & IQDB_SLOT_BLOB) != 0 && iqdb_id_equal(iqdb_store_id(store, slot), id);
}

uint32_t
iqdbi_map_find(const IqdbStore *store, IqdbId id, uint64_t hash)
{
	uint32_t slot = buckets(store)[iqdbi_map_bucket(store->header->bucket_count, hash)];

	while (slot != IQDB_SLOT_NONE && !slot_has_id(store, slot, id))
		slot = store->slots[slot].next;
	return slot;
}

/* The numbers' buckets are asked for first, then the rows that they begin with: waiting for one is waiting for all. */
size_t
iqdb_store_find_numbers(const IqdbStore *store, const uint64_t *numbers, size_t count, uint32_t *slots_out)
{
	const uint32_t *heads = buckets(store);
	size_t          found = 0;

	iqdb_store_lock(store, IQDB_LOCK_ROWS, false);
	for (size_t i = 0; i < count; i++)
	{
		slots_out[i] = iqdbi_map_bucket(store->header->bucket_count, iqdb_id_hash(iqdb_id_u64(numbers[i])));
		__builtin_prefetch(&heads[slots_out[i]]);
	}
	for (size_t i = 0; i < count; i++)
	{
		slots_out[i] = heads[slots_out[i]];
		if (slots_out[i] != IQDB_SLOT_NONE)
			__builtin_prefetch(&store->slots[slots_out[i]]);
	}
	for (size_t i = 0; i < count; i++)
	{
		uint32_t slot = slots_out[i];

		while (slot != IQDB_SLOT_NONE && !slot_has_id(store, slot, iqdb_id_u64(numbers[i])))
			slot = store->slots[slot].next;
		slots_out[found] = slot;
		found += slot != IQDB_SLOT_NONE;
	}
	iqdb_store_unlock(store, IQDB_LOCK_ROWS, false);
	return found;
}

void
iqdbi_map_insert(IqdbStore *store, uint32_t slot, uint64_t hash)
{
	uint32_t *head = &buckets(store)[iqdbi_map_bucket(store->header->bucket_count, hash)];

	store->slots[slot].next = *head;
	*head = slot;
}

void
iqdbi_map_remove(IqdbStore *store, uint32_t slot, uint64_t hash)
{
	uint32_t *link = &buckets(store)[iqdbi_map_bucket(store->header->bucket_count, hash)];

	while (*link != slot)
		link = &store->slots[*link].next;
	*link = store->slots[slot].next;
	store->slots[slot].next = IQDB_SLOT_NONE;
}

void
iqdbi_map_grow(IqdbStore *store)
{
	IqdbStoreHeader *header = store->header;
	uint32_t         bucket = header->bucket_count;
	uint64_t         rows = (uint64_t) atomic_load_explicit(&header->live_count, memory_order_relaxed) + header->known_count;
	uint32_t         mask;
	uint32_t         slot;
	uint32_t        *stay;
	uint32_t        *move;

	if (rows / IQDBI_BUCKET_ROWS < bucket || bucket == UINT32_MAX)
		return;
	if (iqdb_arena_grow(store->arena, IQDB_REGION_BUCKETS, ((uint64_t) bucket + 1) * sizeof(uint32_t), NULL) != IQDB_OK)
		return;
	/* bucket's binary digits are those of the bucket it splits off from, with one more in front */
	mask = mask_above(bucket + 1);
	stay = &buckets(store)[bucket & (mask >> 1)];
	move = &buckets(store)[bucket];
	slot = *stay;
	while (slot != IQDB_SLOT_NONE)
	{
		uint32_t **target = ((uint32_t) iqdb_id_hash(iqdb_store_id(store, slot)) & mask) == bucket ? &move : &stay;

		**target = slot;
		*target = &store->slots[slot].next;
		slot = store->slots[slot].next;
	}
	*stay = IQDB_SLOT_NONE;
	*move = IQDB_SLOT_NONE;
	header->bucket_count = bucket + 1;
}
