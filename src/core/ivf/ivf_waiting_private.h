/*
 * ivf_waiting_private.h - rows that are not linked yet, and when their slots may be released (ivf_waiting.c).
 */
#ifndef IQDB_IVF_IVF_WAITING_PRIVATE_H
#define IQDB_IVF_IVF_WAITING_PRIVATE_H

#include "core/ivf/ivf_home_private.h"

/*
 * Rows not linked yet. An edition counts when it is current or being filled; a row waits from the moment it is put until it
 * is linked in every one that counts. While none counts no row waits: all are scanned.
 *
 * A slot is held while its row waits or is in a list of an edition that counts. Whoever takes away the last of these lets go
 * of it, under STRUCTURE or ROWS, so that it cannot be another row's in between; that two let go of it does no harm then.
 */
static inline bool
iqdbi_row_waits(const IqdbiIvf *ivf, uint32_t slot)
{
	return (atomic_load_explicit(&ivf->spans[slot / IQDBI_SPAN_SLOTS].bits[slot % IQDBI_SPAN_SLOTS / 64],
								 memory_order_acquire) >> slot % 64 & 1) != 0;
}

/* Makes a LIVE row wait where any edition counts, its words PENDING. ROWS is held. */
void iqdbi_row_wait(const IqdbiIvf *ivf, uint32_t slot);

/* The first row from this slot on, below `slots`, that waits; `slots` when there is none. No lock. */
uint32_t iqdbi_row_waiting(const IqdbiIvf *ivf, uint32_t slot, uint32_t slots);

/*
 * Ends the wait of a row that need not wait any more: LINKED wherever it has to be, or DEAD. true: it is DEAD and nothing
 * holds its slot, which the caller lets go of. STRUCTURE or ROWS is held; takes ENGINE.
 */
bool iqdbi_row_settle(const IqdbiIvf *ivf, uint32_t slot);

/* The same for all rows that wait, and lets go of slots. Takes STRUCTURE shared in stretches, ENGINE, ROWS. */
void iqdbi_rows_settle(const IqdbiIvf *ivf);

/* Lets go of slots that nothing holds. STRUCTURE is held; takes ROWS. */
void iqdbi_slots_release(const IqdbiIvf *ivf, const uint32_t *slots, uint32_t count);

#endif
