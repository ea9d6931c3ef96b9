/*
 * live.h - which of many rows in a row are LIVE: their states are read eight at a time (acquire), before anything else of the
 * rows is.
 */
#ifndef IQDB_ENGINE_LIVE_H
#define IQDB_ENGINE_LIVE_H

#include <string.h>

#include "core/engine/store.h"

typedef uint64_t __attribute__((may_alias)) IqdbStateWord;

#define IQDB_LIVE_EIGHT (UINT64_C(0x0101010101010101) * IQDB_ROW_LIVE)

/*
 * Eight states, of which each was stored by itself (release). A thread sanitizer matches loads and stores of one size only, and
 * would take the rows for unpublished ones: for it each state is loaded by itself.
 */
static inline uint64_t
iqdb_live_load(const IqdbStateWord *word)
{
#ifdef __SANITIZE_THREAD__
	const uint8_t *states = (const uint8_t *) word;
	uint64_t       eight;
	uint8_t        each[8];

	for (int i = 0; i < 8; i++)
		each[i] = __atomic_load_n(&states[i], __ATOMIC_ACQUIRE);
	memcpy(&eight, each, sizeof(eight));
	return eight;
#else
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
#endif
}

/* Are all of them? first is a multiple of eight. Nearly always all are: so all are read, without a branch at each eight. */
static inline bool
iqdb_live_all(const IqdbStore *store, uint32_t first, size_t count)
{
	const IqdbStateWord *words = (const IqdbStateWord *) (const void *) (store->states + first);
	uint64_t             others = 0;

	for (size_t i = 0; i < count / 8; i++)
		others |= iqdb_live_load(&words[i]) ^ IQDB_LIVE_EIGHT;
	for (size_t i = count / 8 * 8; i < count; i++)
		others |= iqdb_store_state(store, first + (uint32_t) i) != IQDB_ROW_LIVE;
	return others == 0;
}

/* A bit for each of eight states that is LIVE. No state has its byte's upper bit, so that sums do not carry. */
static inline uint64_t
iqdb_live_bits(uint64_t states)
{
	uint64_t others = (states ^ IQDB_LIVE_EIGHT) + UINT64_C(0x7f7f7f7f7f7f7f7f);
	uint64_t live = (~others & UINT64_C(0x8080808080808080)) >> 7;

#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	live = __builtin_bswap64(live);
#endif
	/* byte k goes to bit k of the uppermost one */
	return (live * UINT64_C(0x0102040810204080)) >> 56;
}

/* Which of up to 64 rows? Nearly always all are. first is a multiple of eight. */
static inline uint64_t
iqdb_live_word(const IqdbStore *store, uint32_t first, size_t count)
{
	const IqdbStateWord *words = (const IqdbStateWord *) (const void *) (store->states + first);
	uint64_t             bits = 0;

	if (count == 64 && iqdb_live_all(store, first, count))
		return UINT64_MAX;
	for (size_t i = 0; i < count / 8; i++)
		bits |= iqdb_live_bits(iqdb_live_load(&words[i])) << 8 * i;
	for (size_t i = count / 8 * 8; i < count; i++)
		bits |= (uint64_t) (iqdb_store_state(store, first + (uint32_t) i) == IQDB_ROW_LIVE) << i;
	return bits;
}

#endif
