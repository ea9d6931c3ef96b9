/*
 * ivf_list.c - a list as a chain of blocks: taking blocks and giving them back, appending a row.
 */
#include "core/ivf/ivf_list_private.h"

#include "core/engine/spin.h"

/* ---- blocks ---- */

static uint64_t
committed(const IqdbiIvf *ivf, uint32_t region)
{
	const IqdbArenaHeader *arena = iqdb_arena_header(ivf->store->arena);

	return __atomic_load_n(&arena->regions[IQDB_REGION_ENGINE + region].committed, __ATOMIC_ACQUIRE);
}

/* 0: regions must grow, to more blocks than *used_out. ENGINE is held. */
static uint32_t
take_ready(const IqdbiIvf *ivf, uint32_t edition, uint32_t *used_out)
{
	IqdbiPool *pool = &ivf->header->pools[edition];
	uint32_t   block = pool->free;

	*used_out = pool->count;
	if (block != 0)
	{
		pool->free = iqdbi_block_next(ivf, edition, block);
		pool->free_count--;
		return block;
	}
	if (pool->count >= committed(ivf, IQDBI_IVF_BLOCKS + edition) / ivf->rows.size ||
		pool->count >= committed(ivf, IQDBI_IVF_LINKS + edition) / sizeof(uint32_t))
		return 0;
	return pool->count++;
}

IqdbStatus
iqdbi_block_take(const IqdbiIvf *ivf, uint32_t edition, uint32_t *block_out, IqdbError *err)
{
	for (;;)
	{
		uint64_t needed;
		uint32_t used;

		iqdb_store_lock(ivf->store, IQDB_LOCK_ENGINE, true);
		*block_out = take_ready(ivf, edition, &used);
		iqdb_store_unlock(ivf->store, IQDB_LOCK_ENGINE, true);
		if (*block_out != 0)
			break;
		needed = (uint64_t) used + 1;
		IQDB_TRY(iqdbi_ivf_grow(ivf, IQDBI_IVF_BLOCKS + edition, needed * ivf->rows.size, err));
		IQDB_TRY(iqdbi_ivf_grow(ivf, IQDBI_IVF_LINKS + edition, needed * sizeof(uint32_t), err));
	}
	iqdbi_block_link(ivf, edition, *block_out, 0);
	return IQDB_OK;
}

void
iqdbi_blocks_give(const IqdbiIvf *ivf, uint32_t edition, uint32_t first, uint32_t last, uint32_t count)
{
	IqdbiPool *pool = &ivf->header->pools[edition];

	if (count == 0)
		return;
	iqdb_store_lock(ivf->store, IQDB_LOCK_ENGINE, true);
	iqdbi_block_link(ivf, edition, last, pool->free);
	pool->free = first;
	pool->free_count += count;
	iqdb_store_unlock(ivf->store, IQDB_LOCK_ENGINE, true);
}

/* ---- appending ---- */

/* Puts a block behind the last one. The list is locked. */
static void
attach_block(const IqdbiIvf *ivf, uint32_t edition, IqdbiList *list, uint32_t count, uint32_t block)
{
	if (count == 0)
		atomic_store_explicit(&list->head, block, memory_order_release);
	else
		iqdbi_block_link(ivf, edition, list->tail, block);
	list->tail = block;
}

IqdbStatus
iqdbi_list_append(const IqdbiIvf *ivf, uint32_t edition, uint32_t list_number, uint32_t slot, const IqdbiCode *code,
				  IqdbError *err)
{
	IqdbiList *list = iqdbi_ivf_lists(ivf, edition) + list_number;
	uint32_t   spare = 0;
	uint32_t   count;

	/* a block is taken before the list is locked: so no writer spins while another one waits for a lock */
	for (;;)
	{
		iqdb_spin_lock(&list->busy);
		count = atomic_load_explicit(&list->count, memory_order_relaxed);
		if (count % IQDBI_BLOCK_ROWS != 0 || spare != 0)
			break;
		iqdb_spin_unlock(&list->busy);
		IQDB_TRY(iqdbi_block_take(ivf, edition, &spare, err));
	}
	if (count % IQDBI_BLOCK_ROWS == 0)
	{
		attach_block(ivf, edition, list, count, spare);
		spare = 0;
	}
	iqdbi_block_put(&ivf->rows, iqdbi_ivf_block(ivf, edition, list->tail), count % IQDBI_BLOCK_ROWS, slot, code);
	atomic_store_explicit(&list->count, count + 1, memory_order_release);
	iqdb_spin_unlock(&list->busy);
	iqdbi_blocks_give(ivf, edition, spare, spare, spare != 0);
	return IQDB_OK;
}

/*
 * The row may be removed at this very moment, by remove() in another process: that sets the state DEAD and then reads
 * the home word, we set the home word and then read the state, with a fence in between on both sides. So at least one
 * of the two sees what the other wrote, and marks the list dirty.
 */
void
iqdbi_row_linked(const IqdbiIvf *ivf, uint32_t edition, uint32_t list, uint32_t slot)
{
	iqdbi_home_set(ivf, edition, slot, IQDBI_HOME_LINKED, list);
	atomic_thread_fence(memory_order_seq_cst);
	if (iqdb_store_state(ivf->store, slot) != IQDB_ROW_LIVE)
		atomic_store_explicit(&iqdbi_ivf_lists(ivf, edition)[list].dirty, 1, memory_order_release);
}
