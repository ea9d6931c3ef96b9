/*
 * engine.c - what all engines do alike.
 */
#include "core/engine/engine.h"

/* Candidates looked at under one hold of STRUCTURE. */
#define HAND_OUT_BATCH 4096u

size_t
iqdb_engine_hand_out(const IqdbStore *store, const IqdbCandidate *candidates, size_t *at, size_t end, IqdbHit *hits,
					 size_t capacity)
{
	size_t count = 0;
	size_t looked = 0;

	iqdb_store_lock(store, IQDB_LOCK_STRUCTURE, false);
	while (*at < end && count < capacity && looked++ < HAND_OUT_BATCH)
	{
		const IqdbCandidate *candidate = &candidates[(*at)++];

		if (!iqdb_store_holds(store, candidate->slot, candidate->sequence))
			continue;
		hits[count].sequence = candidate->sequence;
		hits[count].id = iqdb_store_number(store, candidate->slot);
		hits[count].slot = candidate->slot;
		hits[count].key = candidate->key;
		count++;
	}
	iqdb_store_unlock(store, IQDB_LOCK_STRUCTURE, false);
	return count;
}
