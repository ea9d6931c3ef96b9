/*
 * ivf_waiting_private.h - rows that are not linked yet, and when their slots may be released (ivf_waiting.c).
 */
#ifndef IQDB_IVF_IVF_WAITING_PRIVATE_H
#define IQDB_IVF_IVF_WAITING_PRIVATE_H

#include "core/ivf/ivf_home_private.h"

/*
 * An edition counts when it is current or being filled. A row waits from the moment it is put until it is linked in every
 * edition that counts; searches score the rows that wait one by one. While no edition counts no row waits, because searches
 * scan all rows.
 *
 * A slot is held while its row waits or is in a list of an edition that counts. The process that takes away the last of
 * these releases the slot without giving up STRUCTURE or ROWS in between: so the slot still belongs to that row, and if two
 * processes release it, the second does nothing.
 */
static inline bool
iqdbi_row_waits(const IqdbiIvf *ivf, uint32_t slot)
{
	return (atomic_load_explicit(&ivf->spans[slot / IQDBI_SPAN_SLOTS].bits[slot % IQDBI_SPAN_SLOTS / 64],
								 memory_order_acquire) >> slot % 64 & 1) != 0;
}

/* Makes a LIVE row wait, its home words PENDING, in the editions that count, if there are any. The caller holds ROWS. */
void iqdbi_row_wait(const IqdbiIvf *ivf, uint32_t slot);

/* The first slot from this one on, below `slots`, whose row waits; `slots` when there is none. Needs no lock. */
uint32_t iqdbi_row_waiting(const IqdbiIvf *ivf, uint32_t slot, uint32_t slots);

/*
 * Ends the wait of a row if it need not wait any more: it is LINKED in every edition that counts, or DEAD. Returns true
 * when the row is DEAD and nothing holds its slot any more: the caller releases it. The caller holds STRUCTURE or ROWS;
 * takes ENGINE.
 */
bool iqdbi_row_end_wait(const IqdbiIvf *ivf, uint32_t slot);

/* The same for all rows that wait; releases their slots. Takes STRUCTURE shared, again and again, ENGINE and ROWS. */
void iqdbi_rows_end_waits(const IqdbiIvf *ivf);

/* Releases slots that nothing holds. The caller holds STRUCTURE; takes ROWS. */
void iqdbi_slots_release(const IqdbiIvf *ivf, const uint32_t *slots, uint32_t count);

#endif
