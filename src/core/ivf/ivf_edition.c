/*
 * ivf_edition.c - editions: from a freshly trained model to lists that are searched.
 *
 * Owns: which edition searches read, which one writers write to, and when that changes. An edition is a model with its
 * lists. There are places for two; one of them is current (none is before the first training). A new edition is filled
 * while searches and writers go on with the current one: a row that is put meanwhile waits until it is linked in both,
 * so that searches find every row at every moment. README.md has the argument in full.
 */
#include "core/ivf/ivf_edition_private.h"

#include <string.h>

#include "core/ivf/ivf.h"
#include "core/ivf/ivf_train_private.h"
#include "core/ivf/ivf_waiting_private.h"

#define SLOTS_PER_STRETCH 256u

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
	IqdbiFigures     *figures = &ivf->header->editions[build->edition];
	size_t            size = iqdbi_model_size(ivf, &model->figures);

	IQDB_TRY(iqdbi_ivf_grow(ivf, IQDBI_IVF_MODELS + build->edition, size, err));
	IQDB_TRY(iqdbi_ivf_grow(ivf, IQDBI_IVF_LISTS + build->edition, iqdbi_lists_size(model->figures.lists), err));
	memset(iqdbi_ivf_lists(ivf, build->edition), 0, iqdbi_lists_size(model->figures.lists));
	memcpy(iqdb_store_engine_region(ivf->store, IQDBI_IVF_MODELS + build->edition), model->centres, size);
	*figures = model->figures;
	figures->probes = 1;
	figures->spread = 0.0f;
	figures->rows = atomic_load_explicit(&ivf->store->header->live_count, memory_order_relaxed);
	return IQDB_OK;
}

/*
 * Makes the new edition count: rows that are there get a home word PENDING in it, rows that are put from here on wait until
 * they are linked in it, too. Takes ROWS and, inside it, ENGINE.
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

/* Is the row DEAD, and neither waits nor is held by an edition that still counts? STRUCTURE is held shared. */
static bool
was_held_by_old(const IqdbiIvf *ivf, uint32_t current, uint32_t slot)
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

/* Releases the slots of DEAD rows that only the edition held which does not count any more. Takes STRUCTURE and ROWS. */
static void
release_old_rows(const IqdbiIvf *ivf)
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
			if (was_held_by_old(ivf, current, slot))
				found[count++] = slot;
		}
		iqdbi_slots_release(ivf, found, count);
		iqdb_store_unlock(ivf->store, IQDB_LOCK_STRUCTURE, false);
	}
}

/* After a training, whether it succeeded or not: `edition` does not count any more, and no process reads it. */
static void
clean_up(const IqdbiIvf *ivf, uint32_t edition)
{
	iqdbi_rows_end_waits(ivf);
	release_old_rows(ivf);
	iqdbi_edition_drop(ivf, edition);
}

static void
put_in_place(Build *build)
{
	const IqdbiIvf *ivf = build->ivf;

	iqdb_store_lock(ivf->store, IQDB_LOCK_STRUCTURE, true);
	close_edition(ivf, true);
	iqdb_store_unlock(ivf->store, IQDB_LOCK_STRUCTURE, true);
	/* searches that begin from here on read the new edition */
	clean_up(ivf, 1 - build->edition);
}

static void
abandon_edition(Build *build)
{
	close_edition(build->ivf, false);
	clean_up(build->ivf, build->edition);
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
		abandon_edition(build);
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
	if (status == IQDB_OK && trained.model.figures.lists > 0)
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
		abandon_edition(&build);
	return status;
}
