/*
 * ivf_home_private.h - home words: where a row is in one edition (ivf_home.c).
 */
#ifndef IQDB_IVF_IVF_HOME_PRIVATE_H
#define IQDB_IVF_IVF_HOME_PRIVATE_H

#include "core/ivf/ivf_arena_private.h"

/*
 * A home word says where a row is in one edition: a status, and the list of a linked row. It has 16 bits where the edition's
 * lists can be told apart by the rest of them, else 32.
 */
#define IQDBI_HOME_ABSENT 0u
#define IQDBI_HOME_PENDING 1u /* not in a list; it waits, or whoever fills the edition has it on his list of rows */
#define IQDBI_HOME_LINKING 2u /* somebody is linking it */
#define IQDBI_HOME_LINKED 3u
#define IQDBI_HOME_STATUS 3u
#define IQDBI_HOME_LIST_SHIFT 2
#define IQDBI_HOME_NARROW_LISTS (1u << (16 - IQDBI_HOME_LIST_SHIFT))

/* No list. */
#define IQDBI_NOWHERE UINT32_MAX

/* Bytes of a home word in an edition of so many lists. */
static inline uint32_t
iqdbi_home_size(uint32_t lists)
{
	return lists < IQDBI_HOME_NARROW_LISTS ? sizeof(uint16_t) : sizeof(uint32_t);
}

/* For an edition that counts (below): its number of lists does not change. */
static inline uint32_t
iqdbi_home(const IqdbiIvf *ivf, uint32_t edition, uint32_t slot)
{
	if (iqdbi_home_size(ivf->header->editions[edition].lists) == sizeof(uint16_t))
		return atomic_load_explicit((_Atomic uint16_t *) ivf->homes[edition] + slot, memory_order_acquire);
	return atomic_load_explicit((_Atomic uint32_t *) ivf->homes[edition] + slot, memory_order_acquire);
}

static inline uint32_t
iqdbi_home_status(uint32_t home)
{
	return home & IQDBI_HOME_STATUS;
}

static inline uint32_t
iqdbi_home_list(uint32_t home)
{
	return home >> IQDBI_HOME_LIST_SHIFT;
}

/* Whatever the word was; for those whom it belongs to at the moment. */
void iqdbi_home_set(const IqdbiIvf *ivf, uint32_t edition, uint32_t slot, uint32_t status, uint32_t list);
/* Changes the status, and forgets the list, when the status is `from`; false when it is not. */
bool iqdbi_home_change(const IqdbiIvf *ivf, uint32_t edition, uint32_t slot, uint32_t from, uint32_t to);

#endif
