/*
 * ivf_pick_private.h - choosing the least of many (key, id) pairs (ivf_pick.c).
 */
#ifndef IQDB_IVF_IVF_PICK_PRIVATE_H
#define IQDB_IVF_IVF_PICK_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/order.h"

/* Keeps the `wanted` smallest (key, id) of what is pushed; memory for `room` entries is the owner's. */
typedef struct IqdbiPick
{
	uint64_t *entries; /* key as ordered bits << 32 | id */
	size_t    count;
	size_t    wanted;
	size_t    room;    /* > wanted */
	float     limit;   /* keys above cannot be kept */
	bool      doubles; /* some entries may be there twice: to be dropped before any is */
} IqdbiPick;

/* Entries that a pick of so many wants room for. */
static inline size_t
iqdbi_pick_room(size_t wanted)
{
	return wanted + wanted / 2 + 64;
}

/* In place, ascending. */
void iqdbi_sort_numbers(uint64_t *entries, size_t count);

void iqdbi_pick_start(IqdbiPick *pick, size_t wanted);
/* Drops all but the wanted ones. */
void iqdbi_pick_shrink(IqdbiPick *pick);
/* The same, in order. */
void iqdbi_pick_sort(IqdbiPick *pick);
/*
 * Of the entries from number `from` on takes the `count` smallest (all, if there are not so many), and moves those of them
 * whose keys are not above limit to the front, in no order. Returns how many those are.
 */
size_t iqdbi_pick_front(IqdbiPick *pick, size_t from, size_t count, float limit);

/* Zeros of both signs are equal. */
static inline uint32_t
iqdbi_pick_bits(float key)
{
	return iqdb_order_of_float(key + 0.0f);
}

static inline void
iqdbi_pick_push(IqdbiPick *pick, float key, uint32_t id)
{
	if (pick->count == pick->room)
		iqdbi_pick_shrink(pick);
	pick->entries[pick->count++] = (uint64_t) iqdbi_pick_bits(key) << 32 | id;
}

static inline float
iqdbi_pick_key(const IqdbiPick *pick, size_t i)
{
	return iqdb_float_of_order((uint32_t) (pick->entries[i] >> 32));
}

static inline uint32_t
iqdbi_pick_id(const IqdbiPick *pick, size_t i)
{
	return (uint32_t) pick->entries[i];
}

#endif
