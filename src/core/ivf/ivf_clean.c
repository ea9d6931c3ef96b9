/*
 * ivf_clean.c - taking dead rows out of lists.
 */
#include "core/ivf/ivf_list_private.h"

#include "core/ivf/ivf_waiting_private.h"

/* Entries of a list looked at, and DEAD rows taken out of it, under one hold of STRUCTURE. */
#define LOOKED_BATCH 2048u
#define REMOVED_BATCH 256u

/* Numbers of blocks there is room for beyond those a list has. */
#define BLOCKS_SPARE 64u

/*
 * One list that is being cleaned. Only the process that maintains moves rows inside a list and takes blocks off its end;
 * others append meanwhile.
 */
typedef struct Cleaning
{
	const IqdbiIvf *ivf;
	IqdbiList      *list;
	uint32_t        edition;
	uint32_t        at;      /* entries before this one are done with */
	uint32_t       *numbers; /* of the list's blocks, as far as they are known */
	uint32_t        known;
	uint32_t        room;
	uint32_t        slots[REMOVED_BATCH]; /* what one hold took out */
	uint32_t        count;
	uint32_t        blocks_first; /* blocks left over by that, linked */
	uint32_t        blocks_last;
	uint32_t        blocks;
} Cleaning;

static uint32_t
list_blocks(uint32_t rows)
{
	return rows / IQDBI_BLOCK_ROWS + (rows % IQDBI_BLOCK_ROWS != 0);
}

/* Room for the numbers of the list's blocks, and of some that are appended meanwhile. No lock is held. */
static IqdbStatus
make_room_for_numbers(Cleaning *cleaning, IqdbError *err)
{
	const IqdbAllocator *allocator = &cleaning->ivf->store->host->allocator;
	uint32_t             needed = list_blocks(atomic_load_explicit(&cleaning->list->count, memory_order_acquire));
	uint32_t             room = needed + needed / 8 + BLOCKS_SPARE;
	uint32_t            *moved;

	if (cleaning->room > needed)
		return IQDB_OK;
	moved = iqdb_realloc(allocator, cleaning->numbers, cleaning->room * sizeof(uint32_t), room * sizeof(uint32_t));
	if (moved == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for the numbers of %u blocks", room);
	cleaning->numbers = moved;
	cleaning->room = room;
	return IQDB_OK;
}

/* Notes the numbers of blocks, not more than a hold may. true: all are known. STRUCTURE is held. */
static bool
know_blocks(Cleaning *cleaning)
{
	const IqdbiIvf *ivf = cleaning->ivf;
	uint32_t        needed = list_blocks(atomic_load_explicit(&cleaning->list->count, memory_order_acquire));

	for (uint32_t looked = 0; looked < LOOKED_BATCH && cleaning->known < needed; looked++)
	{
		if (cleaning->known == cleaning->room)
			return false;
		cleaning->numbers[cleaning->known] =
			cleaning->known == 0 ? atomic_load_explicit(&cleaning->list->head, memory_order_acquire)
								 : iqdbi_block_next(ivf, cleaning->edition, cleaning->numbers[cleaning->known - 1]);
		cleaning->known++;
	}
	return cleaning->known >= needed;
}

static unsigned char *
block_at(const Cleaning *cleaning, uint32_t entry)
{
	return iqdbi_ivf_block(cleaning->ivf, cleaning->edition, cleaning->numbers[entry / IQDBI_BLOCK_ROWS]);
}

/* May the row of this entry be taken out? One that was linked just now ends its wait first, and is for the next time. */
static bool
is_removable(const Cleaning *cleaning, uint32_t entry, uint32_t *slot_out)
{
	const IqdbiIvf *ivf = cleaning->ivf;

	*slot_out = atomic_load_explicit(&iqdbi_block_slots(block_at(cleaning, entry))[entry % IQDBI_BLOCK_ROWS],
									 memory_order_relaxed);
	if (iqdb_store_state(ivf->store, *slot_out) == IQDB_ROW_LIVE)
		return false;
	if (!iqdbi_row_waits(ivf, *slot_out))
		return true;
	atomic_store_explicit(&cleaning->list->dirty, 1, memory_order_relaxed);
	return false;
}

/* Goes on to the next entry to be taken out, not farther than a hold may. true: it is there. STRUCTURE is held. */
static bool
find_removable(Cleaning *cleaning, bool *ended_out)
{
	uint32_t count = atomic_load_explicit(&cleaning->list->count, memory_order_acquire);
	uint32_t slot;

	for (uint32_t looked = 0; looked < LOOKED_BATCH && cleaning->at < count; looked++)
	{
		if (is_removable(cleaning, cleaning->at, &slot))
			return true;
		cleaning->at++;
	}
	*ended_out = cleaning->at >= count;
	return false;
}

/* The list became shorter: blocks at its end are left over. */
static void
cut_blocks(Cleaning *cleaning, uint32_t before, uint32_t after)
{
	IqdbiList *list = cleaning->list;

	if (after == before)
		return;
	cleaning->blocks = before - after;
	cleaning->blocks_first = cleaning->numbers[after];
	cleaning->blocks_last = cleaning->numbers[before - 1];
	if (after == 0)
		atomic_store_explicit(&list->head, 0, memory_order_relaxed);
	else
		iqdbi_block_link(cleaning->ivf, cleaning->edition, cleaning->numbers[after - 1], 0);
	list->tail = after == 0 ? 0 : cleaning->numbers[after - 1];
	cleaning->known = after;
}

/* Each row that is taken out gives its place to the last one. STRUCTURE is held exclusively. */
static void
take_out(Cleaning *cleaning)
{
	const IqdbiIvf *ivf = cleaning->ivf;
	IqdbiList      *list = cleaning->list;
	uint32_t        before = atomic_load_explicit(&list->count, memory_order_relaxed);
	uint32_t        count = before;
	uint32_t        slot;

	for (uint32_t looked = 0; looked < LOOKED_BATCH && cleaning->at < count && cleaning->count < REMOVED_BATCH;
		 looked++)
	{
		if (!is_removable(cleaning, cleaning->at, &slot))
		{
			cleaning->at++;
			continue;
		}
		iqdbi_home_set(ivf, cleaning->edition, slot, IQDBI_HOME_ABSENT, 0);
		cleaning->slots[cleaning->count++] = slot;
		count--;
		if (cleaning->at < count)
			iqdbi_block_move(&ivf->rows, block_at(cleaning, cleaning->at), cleaning->at % IQDBI_BLOCK_ROWS,
							 block_at(cleaning, count), count % IQDBI_BLOCK_ROWS);
	}
	atomic_store_explicit(&list->count, count, memory_order_release);
	cut_blocks(cleaning, list_blocks(before), list_blocks(count));
	atomic_fetch_add_explicit(&list->moves, 1, memory_order_release);
}

/*
 * One look at a stretch of the list, and, if there is something to take out, one exclusive hold of STRUCTURE. *ended_out =
 * that was all.
 */
static IqdbStatus
clean_stretch(Cleaning *cleaning, bool *ended_out, IqdbError *err)
{
	const IqdbiIvf  *ivf = cleaning->ivf;
	const IqdbStore *store = ivf->store;
	bool             found;

	if (iqdb_host_cancelled(store->host))
		return iqdb_fail(err, IQDB_ERR_CANCELLED, "cleaning lists was cancelled");
	IQDB_TRY(make_room_for_numbers(cleaning, err));
	iqdb_store_lock(store, IQDB_LOCK_STRUCTURE, false);
	found = know_blocks(cleaning) && find_removable(cleaning, ended_out);
	iqdb_store_unlock(store, IQDB_LOCK_STRUCTURE, false);
	if (!found)
		return IQDB_OK;
	cleaning->count = 0;
	cleaning->blocks = 0;
	iqdb_store_lock(store, IQDB_LOCK_STRUCTURE, true);
	/* rows may have been appended meanwhile, more than there is room for: then once more */
	if (know_blocks(cleaning))
	{
		take_out(cleaning);
		iqdbi_slots_release(ivf, cleaning->slots, cleaning->count);
	}
	iqdb_store_unlock(store, IQDB_LOCK_STRUCTURE, true);
	iqdbi_blocks_give(ivf, cleaning->edition, cleaning->blocks_first, cleaning->blocks_last, cleaning->blocks);
	return IQDB_OK;
}

/* The mark goes first: a row that dies from here on, before we look at it or after, sets it again. */
static IqdbStatus
vacuum_list(const IqdbiIvf *ivf, uint32_t edition, IqdbiList *list, IqdbError *err)
{
	Cleaning   cleaning = {.ivf = ivf, .edition = edition, .list = list};
	IqdbStatus status = IQDB_OK;
	bool       ended = false;

	(void) atomic_exchange_explicit(&list->dirty, 0, memory_order_acq_rel);
	while (!ended && status == IQDB_OK)
		status = clean_stretch(&cleaning, &ended, err);
	if (status != IQDB_OK)
		atomic_store_explicit(&list->dirty, 1, memory_order_release);
	iqdb_free(&ivf->store->host->allocator, cleaning.numbers, cleaning.room * sizeof(uint32_t));
	return status;
}

IqdbStatus
iqdbi_ivf_vacuum(const IqdbiIvf *ivf, IqdbError *err)
{
	uint32_t   current = atomic_load_explicit(&ivf->header->current, memory_order_acquire);
	IqdbiList *lists;

	iqdbi_rows_end_waits(ivf);
	if (current == 0)
		return IQDB_OK;
	lists = iqdbi_ivf_lists(ivf, current - 1);
	for (uint32_t i = 0; i <= iqdbi_far_list(ivf->header->editions[current - 1].lists); i++)
	{
		if (atomic_load_explicit(&lists[i].dirty, memory_order_acquire) != 0)
			IQDB_TRY(vacuum_list(ivf, current - 1, &lists[i], err));
	}
	return IQDB_OK;
}
