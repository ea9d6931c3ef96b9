/*
 * ivf_build.c - editions: from a freshly trained model to lists that are searched, and cleaning lists.
 *
 * Owns: who may be where when. An edition is a model with its lists; there are two, and one of them is current (or none,
 * before the first training). A new one is filled aside while searches and writers go on with the old: what is put
 * meanwhile waits until it is linked in both, so no row is ever without a place where searches look.
 * README.md has the argument in full.
 */
#include "core/ivf/ivf_private.h"

#include <string.h>

#include "core/engine/spin.h"

#define SLOTS_PER_STRETCH 256u

/* Entries of a list looked at, and DEAD rows taken out of it, under one hold of STRUCTURE. */
#define LOOKED_BATCH 2048u
#define REMOVED_BATCH 256u

/* Numbers of blocks there is room for beyond those a list has. */
#define BLOCKS_SPARE 64u

/* ---- one at a time ---- */

bool
iqdbi_maintain_begin(const IqdbiIvf *ivf)
{
	uint32_t expected = 0;

	return atomic_compare_exchange_strong(&ivf->header->maintaining, &expected, 1);
}

void
iqdbi_maintain_end(const IqdbiIvf *ivf)
{
	atomic_store(&ivf->header->maintaining, 0);
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

	/* a block is taken before the list is locked: nobody waits for a list whose writer waits for a lock */
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
 * The row may be removed at this very moment. Its state became DEAD before removed() looks at the home word, and we write
 * the word before we look at the state, with a fence on both sides: one of the two sees the other.
 */
void
iqdbi_row_linked(const IqdbiIvf *ivf, uint32_t edition, uint32_t list, uint32_t slot)
{
	iqdbi_home_set(ivf, edition, slot, IQDBI_HOME_LINKED, list);
	atomic_thread_fence(memory_order_seq_cst);
	if (iqdb_store_state(ivf->store, slot) != IQDB_ROW_LIVE)
		atomic_store_explicit(&iqdbi_ivf_lists(ivf, edition)[list].dirty, 1, memory_order_release);
}

/* ---- a new edition ---- */

typedef struct Build
{
	const IqdbiIvf *ivf;
	uint32_t        edition;
	uint32_t        slots;   /* slots looked at: below this */
	uint64_t        horizon; /* rows of this sequence and later came after the start */
} Build;

/* The model moves from private memory into the arena. */
static IqdbStatus
place_model(Build *build, const IqdbiTrained *trained, IqdbError *err)
{
	const IqdbiIvf   *ivf = build->ivf;
	const IqdbiModel *model = &trained->model;
	IqdbiEdition     *edition = &ivf->header->editions[build->edition];
	size_t            size = iqdbi_model_size(ivf, model);

	IQDB_TRY(iqdbi_ivf_grow(ivf, IQDBI_IVF_MODELS + build->edition, size, err));
	IQDB_TRY(iqdbi_ivf_grow(ivf, IQDBI_IVF_LISTS + build->edition, iqdbi_lists_size(model->lists), err));
	memset(iqdbi_ivf_lists(ivf, build->edition), 0, iqdbi_lists_size(model->lists));
	memcpy(iqdb_store_engine_region(ivf->store, IQDBI_IVF_MODELS + build->edition), model->centres, size);
	edition->lists = model->lists;
	edition->supers = model->supers;
	edition->coarse_blocks = model->coarse_blocks;
	edition->super_blocks = model->super_blocks;
	edition->probes = 1;
	edition->spread = 0.0f;
	edition->radius2 = model->radius2;
	edition->rows = atomic_load_explicit(&ivf->store->header->live_count, memory_order_relaxed);
	return IQDB_OK;
}

/*
 * From here on rows that are put, and rows that were, have a word PENDING in the new edition, and rows that are put wait.
 */
static IqdbStatus
open_edition(Build *build, IqdbError *err)
{
	const IqdbiIvf  *ivf = build->ivf;
	IqdbStoreHeader *header = ivf->store->header;
	uint64_t         size = iqdbi_home_size(ivf->header->editions[build->edition].lists);
	uint32_t         slots = atomic_load_explicit(&header->slot_count, memory_order_acquire);
	IqdbStatus       status;

	IQDB_TRY(iqdbi_ivf_grow(ivf, IQDBI_IVF_HOMES + build->edition, slots * size, err));
	for (uint32_t slot = 0; slot < slots; slot++)
		iqdbi_home_set(ivf, build->edition, slot, IQDBI_HOME_PENDING, 0);
	iqdb_store_lock(ivf->store, IQDB_LOCK_ROWS, true);
	/* those that came meanwhile; later ones, and slots that are used again, get their words by added() */
	build->slots = atomic_load_explicit(&header->slot_count, memory_order_relaxed);
	status = iqdb_arena_grow(ivf->store->arena, IQDB_REGION_ENGINE + IQDBI_IVF_HOMES + build->edition,
							 build->slots * size, err);
	if (status == IQDB_OK)
	{
		for (uint32_t slot = slots; slot < build->slots; slot++)
			iqdbi_home_set(ivf, build->edition, slot, IQDBI_HOME_PENDING, 0);
		build->horizon = header->next_sequence;
		iqdb_store_lock(ivf->store, IQDB_LOCK_ENGINE, true);
		atomic_store_explicit(&ivf->header->training, 1 + build->edition, memory_order_release);
		iqdb_store_unlock(ivf->store, IQDB_LOCK_ENGINE, true);
	}
	iqdb_store_unlock(ivf->store, IQDB_LOCK_ROWS, true);
	return status;
}

/* ---- putting it in place, or giving it up ---- */

/* Ends the training; STRUCTURE is held exclusively when the edition becomes current. */
static void
close_edition(const IqdbiIvf *ivf, bool current)
{
	IqdbiIvfHeader *header = ivf->header;

	iqdb_store_lock(ivf->store, IQDB_LOCK_ROWS, true);
	iqdb_store_lock(ivf->store, IQDB_LOCK_ENGINE, true);
	if (current)
	{
		atomic_store_explicit(&header->current, atomic_load_explicit(&header->training, memory_order_relaxed),
							  memory_order_release);
		atomic_fetch_add_explicit(&header->epoch, 1, memory_order_release);
		atomic_store_explicit(&header->newcomers, 0, memory_order_relaxed);
		atomic_store_explicit(&header->strain, 0, memory_order_relaxed);
	}
	atomic_store_explicit(&header->training, 0, memory_order_release);
	iqdb_store_unlock(ivf->store, IQDB_LOCK_ENGINE, true);
	iqdb_store_unlock(ivf->store, IQDB_LOCK_ROWS, true);
}

/* A DEAD row that no edition holds which counts still, and that does not wait. STRUCTURE is held. */
static bool
left_behind(const IqdbiIvf *ivf, uint32_t current, uint32_t slot)
{
	uint32_t status;

	if (iqdb_store_state(ivf->store, slot) != IQDB_ROW_DEAD || iqdbi_row_waits(ivf, slot))
		return false;
	if (current == 0)
		return true;
	(void) iqdbi_home_change(ivf, current - 1, slot, IQDBI_HOME_PENDING, IQDBI_HOME_ABSENT);
	status = iqdbi_home_status(iqdbi_home(ivf, current - 1, slot));
	return status != IQDBI_HOME_LINKED && status != IQDBI_HOME_LINKING;
}

/* Lets go of rows that only the edition held which does not count any more. */
static void
release_left_behind(const IqdbiIvf *ivf)
{
	uint32_t slots = atomic_load_explicit(&ivf->store->header->slot_count, memory_order_acquire);
	uint32_t current = atomic_load_explicit(&ivf->header->current, memory_order_acquire);

	for (uint32_t from = 0; from < slots; from += SLOTS_PER_STRETCH)
	{
		uint32_t to = slots - from < SLOTS_PER_STRETCH ? slots : from + SLOTS_PER_STRETCH;
		uint32_t found[SLOTS_PER_STRETCH];
		uint32_t count = 0;

		iqdb_store_lock(ivf->store, IQDB_LOCK_STRUCTURE, false);
		for (uint32_t slot = from; slot < to; slot++)
		{
			if (left_behind(ivf, current, slot))
				found[count++] = slot;
		}
		iqdbi_slots_release(ivf, found, count);
		iqdb_store_unlock(ivf->store, IQDB_LOCK_STRUCTURE, false);
	}
}

/* After a training, whatever came of it: `edition` does not count any more, and nobody reads it. */
static void
clear_away(const IqdbiIvf *ivf, uint32_t edition)
{
	iqdbi_rows_settle(ivf);
	release_left_behind(ivf);
	iqdbi_edition_drop(ivf, edition);
}

static void
put_in_place(Build *build)
{
	const IqdbiIvf *ivf = build->ivf;

	iqdb_store_lock(ivf->store, IQDB_LOCK_STRUCTURE, true);
	close_edition(ivf, true);
	iqdb_store_unlock(ivf->store, IQDB_LOCK_STRUCTURE, true);
	/* whoever searches from here on reads the new edition */
	clear_away(ivf, 1 - build->edition);
}

static void
give_up(Build *build)
{
	close_edition(build->ivf, false);
	clear_away(build->ivf, build->edition);
}

static IqdbStatus
build_edition(Build *build, const IqdbiTrained *trained, IqdbError *err)
{
	const IqdbiIvf *ivf = build->ivf;
	IqdbStatus      status = place_model(build, trained, err);

	if (status == IQDB_OK)
		status = open_edition(build, err);
	if (status == IQDB_OK)
		status = iqdbi_fill_edition(ivf, build->edition, build->slots, build->horizon, NULL, err);
	if (status == IQDB_OK)
		status = iqdbi_ivf_measure_probes(ivf, build->edition, build->slots, err);
	if (status == IQDB_OK)
		put_in_place(build);
	else
		give_up(build);
	return status;
}

IqdbStatus
iqdbi_ivf_retrain(const IqdbiIvf *ivf, IqdbError *err)
{
	uint64_t     live = atomic_load_explicit(&ivf->store->header->live_count, memory_order_acquire);
	uint32_t     lists = iqdb_ivf_wanted_lists(&ivf->store->header->options, live);
	uint32_t     current = atomic_load_explicit(&ivf->header->current, memory_order_acquire);
	Build        build = {.ivf = ivf, .edition = current == 1 ? 1 : 0};
	IqdbiTrained trained;
	IqdbStatus   status;
	bool         no_model = true;

	if (lists == 0)
		return IQDB_OK;
	status = iqdbi_ivf_train(ivf, lists, &trained, err);
	if (status == IQDB_OK && trained.model.lists > 0)
	{
		status = build_edition(&build, &trained, err);
		iqdbi_trained_free(ivf, &trained);
		no_model = false;
	}
	/* for want of room, or of rows that lists can be made of: not again by itself before there are twice as many rows */
	if (status != IQDB_ERR_CANCELLED && (status != IQDB_OK || no_model))
		atomic_store_explicit(&ivf->header->not_before, 2 * live, memory_order_relaxed);
	return status;
}

/* LIVE rows that are in no list. */
static void
wait_for_lists(const Build *build)
{
	const IqdbiIvf *ivf = build->ivf;

	for (uint32_t slot = 0; slot < build->slots; slot++)
	{
		if (iqdb_store_state(ivf->store, slot) == IQDB_ROW_LIVE &&
			iqdbi_home_status(iqdbi_home(ivf, build->edition, slot)) != IQDBI_HOME_LINKED)
			iqdbi_row_wait(ivf, slot);
	}
}

IqdbStatus
iqdbi_ivf_adopt(const IqdbiIvf *ivf, const uint32_t *where, uint32_t slots, IqdbError *err)
{
	Build      build = {.ivf = ivf, .edition = 0};
	IqdbStatus status;

	status = open_edition(&build, err);
	if (status == IQDB_OK && build.slots != slots)
		status = iqdb_fail(err, IQDB_ERR_STATE, "rows were put while an index was loaded");
	if (status == IQDB_OK)
		status = iqdbi_fill_edition(ivf, build.edition, slots, build.horizon, where, err);
	if (status == IQDB_OK)
	{
		wait_for_lists(&build);
		put_in_place(&build);
	}
	else
		give_up(&build);
	return status;
}

/* ---- cleaning ---- */

/* One list being cleaned. Only who maintains moves rows inside a list and takes blocks off its end; others append. */
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
blocks_of(uint32_t rows)
{
	return rows / IQDBI_BLOCK_ROWS + (rows % IQDBI_BLOCK_ROWS != 0);
}

/* Room for the numbers of the list's blocks, and of some that are appended meanwhile. No lock is held. */
static IqdbStatus
make_room(Cleaning *cleaning, IqdbError *err)
{
	const IqdbAllocator *allocator = &cleaning->ivf->store->host->allocator;
	uint32_t             needed = blocks_of(atomic_load_explicit(&cleaning->list->count, memory_order_acquire));
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
	uint32_t        needed = blocks_of(atomic_load_explicit(&cleaning->list->count, memory_order_acquire));

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
	cut_blocks(cleaning, blocks_of(before), blocks_of(count));
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
	IQDB_TRY(make_room(cleaning, err));
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

	iqdbi_rows_settle(ivf);
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
