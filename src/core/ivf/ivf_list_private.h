/*
 * ivf_list_private.h - a list as a chain of blocks: taking blocks, appending a row (ivf_list.c), removing dead rows
 * (ivf_clean.c).
 */
#ifndef IQDB_IVF_IVF_LIST_PRIVATE_H
#define IQDB_IVF_IVF_LIST_PRIVATE_H

#include "core/ivf/ivf_home_private.h"

static inline unsigned char *
iqdbi_ivf_block(const IqdbiIvf *ivf, uint32_t edition, uint32_t block)
{
	return ivf->blocks[edition] + (size_t) block * ivf->rows.size;
}

/* The block behind this one: in its list, or among those that are free; 0 = none. */
static inline uint32_t
iqdbi_block_next(const IqdbiIvf *ivf, uint32_t edition, uint32_t block)
{
	return atomic_load_explicit(&ivf->links[edition][block], memory_order_acquire);
}

static inline void
iqdbi_block_link(const IqdbiIvf *ivf, uint32_t edition, uint32_t block, uint32_t next)
{
	atomic_store_explicit(&ivf->links[edition][block], next, memory_order_release);
}

/* A block of an edition with nothing behind it. Takes ENGINE, and ROWS where regions must grow. */
IqdbStatus iqdbi_block_take(const IqdbiIvf *ivf, uint32_t edition, uint32_t *block_out, IqdbError *err) IQDB_MUST_CHECK;
/* Gives linked blocks back; no reader can reach them. Takes ENGINE. */
void iqdbi_blocks_give(const IqdbiIvf *ivf, uint32_t edition, uint32_t first, uint32_t last, uint32_t count);

/* Appends a coded row; the caller made it LINKING and holds STRUCTURE shared, or works on an edition not in use. */
IqdbStatus iqdbi_list_append(const IqdbiIvf *ivf, uint32_t edition, uint32_t list, uint32_t slot,
							 const IqdbiCode *code, IqdbError *err) IQDB_MUST_CHECK;
/* Makes the row LINKED there, and the list dirty if the row has died meanwhile. */
void iqdbi_row_linked(const IqdbiIvf *ivf, uint32_t edition, uint32_t list, uint32_t slot);

/* Takes DEAD rows out of the lists and lets their slots go. The caller maintains. */
IqdbStatus iqdbi_ivf_vacuum(const IqdbiIvf *ivf, IqdbError *err) IQDB_MUST_CHECK;

#endif
