/*
 * ivf_home_private.h - home words: where a row is in one edition (ivf_home.c).
 */
#ifndef IQDB_IVF_IVF_HOME_PRIVATE_H
#define IQDB_IVF_IVF_HOME_PRIVATE_H

#include "core/ivf/ivf_arena_private.h"

/*
 * A home word says where a row is in one edition: a status in the lowest two bits, and above them the number of the list of
 * a row that is LINKED. It has 16 bits if that is enough for the edition's number of lists, else 32.
 */
#define IQDBI_HOME_ABSENT 0u
#define IQDBI_HOME_PENDING 1u /* in no list: the row waits, or the process that fills the edition will come to it */
#define IQDBI_HOME_LINKING 2u /* a process is linking the row: no other may */
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

/*
 * The home word of a row. The edition counts (ivf_waiting_private.h), so that its number of lists does not change; no
 * lock is needed.
 */
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

/* Sets the word whatever it was. The caller is the only one who may: it links the row, cleans its list or puts the row. */
void iqdbi_home_set(const IqdbiIvf *ivf, uint32_t edition, uint32_t slot, uint32_t status, uint32_t list);
/*
 * If the status is `from`, changes it to `to` and forgets the list, in one atomic step; else returns false. Needs no
 * lock.
 */
bool iqdbi_home_change(const IqdbiIvf *ivf, uint32_t edition, uint32_t slot, uint32_t from, uint32_t to);

#endif
