/*
 * ivf_check.c - do the lists hold what they promise? Every invariant of README.md.
 *
 * Works in stretches under STRUCTURE, as searches do. What is found while others write is of two kinds: what is wrong in
 * any case (a code that is not its row's), and what may have come of a change between two looks. The latter counts only if
 * nothing at all has changed meanwhile. Findings are reported after locks are released.
 *
 * All functions are called with STRUCTURE held shared, and it is held when they return, but for moment_of(),
 * check_once() and iqdbi_ivf_check(), whose callers hold no lock.
 */
#include "core/ivf/ivf_contract_private.h"

#include <string.h>

#include "core/engine/finding.h"
#include "core/ivf/ivf_coarse_private.h"
#include "core/ivf/ivf_code_private.h"
#include "core/ivf/ivf_seen_private.h"
#include "core/ivf/ivf_list_private.h"
#include "core/ivf/ivf_waiting_private.h"

/* Rounds, when new editions come into place. */
#define ROUNDS_MAX 3

/* What counts everything that happens to rows and lists. */
typedef struct Moment
{
	uint64_t changes;
	uint64_t moves;
	uint64_t newcomers;
	uint64_t epoch;
	uint32_t training;
} Moment;

typedef struct ListsCheck
{
	IqdbiIvf       ivf;
	IqdbiModel     model;
	IqdbiScratch   scratch;
	Moment         start;
	uint32_t       current; /* 0 = not trained */
	uint32_t       slots;
	unsigned char *listed; /* bit per slot: in some list */
	uint64_t       blocks; /* in lists */
	IqdbStretch    stretch; /* the hold of STRUCTURE; stale: another edition has become current */
	IqdbFindings   certain;
	IqdbFindings   doubtful; /* count if nothing has changed meanwhile */
	IqdbError     *err;
} ListsCheck;

/* Looks at a few words anywhere. */
#define LOOK_CHARGE IQDB_CHARGE_AT_RANDOM

/* Codes a vector, which takes up to some eight nanoseconds a component, and compares the code. */
#define CODE_CHARGE(ivf) (LOOK_CHARGE + 8 * (ivf)->work_dim)

/* ---- lists ---- */

static void
check_listed_state(ListsCheck *check, uint32_t list, uint32_t slot, IqdbRowState state)
{
	const IqdbiList *lists = iqdbi_ivf_lists(&check->ivf, check->current - 1);

	if (state == IQDB_ROW_DEAD && atomic_load(&lists[list].dirty) == 0)
		iqdb_findings_add(&check->doubtful, "list %u holds removed slot %u and is not marked", list, slot);
	else if (state != IQDB_ROW_DEAD && state != IQDB_ROW_LIVE)
		iqdb_findings_add(&check->doubtful, "slot %u is in list %u and holds no row", slot, list);
}

static void
check_entry(ListsCheck *check, uint32_t list, unsigned char *block, uint32_t place)
{
	const IqdbiIvf *ivf = &check->ivf;
	uint32_t        slot = atomic_load(&iqdbi_block_slots(block)[place]);
	uint32_t        slots = atomic_load_explicit(&ivf->store->header->slot_count, memory_order_acquire);
	uint32_t        home;
	IqdbRowState    state;

	if (slot >= slots)
	{
		iqdb_findings_add(&check->certain, "list %u: an entry names slot %u of %u", list, slot, slots);
		return;
	}
	if (slot < check->slots)
	{
		if (iqdbi_seen(check->listed, slot))
			iqdb_findings_add(&check->doubtful, "slot %u is in lists twice", slot);
		check->listed[slot / 8] |= (unsigned char) (1u << (slot % 8));
	}
	home = iqdbi_home(ivf, check->current - 1, slot);
	if (iqdbi_home_status(home) != IQDBI_HOME_LINKED || iqdbi_home_list(home) != list)
		iqdb_findings_add(&check->doubtful, "slot %u is in list %u, its home word says %u", slot, list, home);
	state = iqdb_store_state(ivf->store, slot);
	check_listed_state(check, list, slot, state);
	if (state != IQDB_ROW_LIVE)
		return;
	iqdbi_code_row(ivf, &check->model, list, slot, &check->scratch.code);
	if (!iqdbi_block_holds(&ivf->rows, block, place, &check->scratch.code))
		iqdb_findings_add(&check->certain, "slot %u: the code in list %u is not the row's", slot, list);
}

/* A list whose rows were moved between two looks is left where it is: that was a change. */
static IqdbStatus
check_one_list(ListsCheck *check, uint32_t number)
{
	const IqdbiIvf  *ivf = &check->ivf;
	const IqdbiList *list = iqdbi_ivf_lists(ivf, check->current - 1) + number;
	uint32_t         count = atomic_load_explicit(&list->count, memory_order_acquire);
	uint32_t         moves = atomic_load_explicit(&list->moves, memory_order_relaxed);
	uint32_t         block = atomic_load(&list->head);
	uint32_t         last = 0;

	for (uint32_t from = 0; from < count; from += IQDBI_BLOCK_ROWS)
	{
		uint32_t rows = count - from < IQDBI_BLOCK_ROWS ? count - from : IQDBI_BLOCK_ROWS;

		if (block == 0 || block >= ivf->header->pools[check->current - 1].count)
		{
			iqdb_findings_add(&check->doubtful, "list %u: blocks end after %u of %u rows", number, from, count);
			return IQDB_OK;
		}
		for (uint32_t place = 0; place < rows; place++)
			check_entry(check, number, iqdbi_ivf_block(ivf, check->current - 1, block), place);
		check->blocks++;
		last = block;
		block = iqdbi_block_next(ivf, check->current - 1, block);
		IQDB_TRY(iqdb_stretch_step(&check->stretch, rows * CODE_CHARGE(ivf)));
		if (check->stretch.stale || atomic_load_explicit(&list->moves, memory_order_relaxed) != moves)
			return IQDB_OK;
	}
	if (block != 0)
		iqdb_findings_add(&check->doubtful, "list %u: blocks go on behind its %u rows", number, count);
	if (list->tail != last)
		iqdb_findings_add(&check->doubtful, "list %u: the last block is %u, not %u", number, last, list->tail);
	return iqdb_stretch_step(&check->stretch, LOOK_CHARGE);
}

/* ---- centres ---- */

static IqdbStatus
check_packed(ListsCheck *check, const unsigned char *packed, const float *centres, uint32_t first, uint32_t end)
{
	const IqdbiIvf *ivf = &check->ivf;

	for (uint32_t id = first; id < end && !check->stretch.stale; id++)
	{
		const unsigned char *block = packed + (id - first) / IQDBI_BLOCK_ROWS * ivf->centres.size;

		iqdbi_code_centre(ivf, &check->model, centres + (size_t) id * ivf->work_stride, &check->scratch.code);
		/* reads only; the function serves writers too */
		if (!iqdbi_block_holds(&ivf->centres, (unsigned char *) (uintptr_t) block, (id - first) % IQDBI_BLOCK_ROWS,
							   &check->scratch.code))
			iqdb_findings_add(&check->certain, "the packed code of centre %u is not the centre's", id);
		IQDB_TRY(iqdb_stretch_step(&check->stretch, CODE_CHARGE(ivf)));
	}
	return IQDB_OK;
}

static IqdbStatus
check_centres(ListsCheck *check)
{
	const IqdbiModel *model = &check->model;

	for (uint32_t super = 0; super < model->figures.supers && !check->stretch.stale; super++)
	{
		if (model->super_lists[super] >= model->super_lists[super + 1] ||
			model->super_lists[super + 1] > model->figures.lists)
		{
			iqdb_findings_add(&check->certain, "coarser cell %u holds lists %u to %u", super, model->super_lists[super],
							  model->super_lists[super + 1]);
			return IQDB_OK;
		}
		if (check->ivf.coded_centres)
			IQDB_TRY(check_packed(check, model->packed + model->super_starts[super] * check->ivf.centres.size,
								  model->centres, model->super_lists[super], model->super_lists[super + 1]));
	}
	if (check->stretch.stale)
		return IQDB_OK;
	if (model->super_lists[model->figures.supers] != model->figures.lists)
		iqdb_findings_add(&check->certain, "coarser cells hold %u of %u lists", model->super_lists[model->figures.supers],
						  model->figures.lists);
	if (model->figures.probes == 0 || model->figures.probes > model->figures.lists)
		iqdb_findings_add(&check->certain, "%u probes of %u lists", model->figures.probes, model->figures.lists);
	return IQDB_OK;
}

/* ---- rows that wait, blocks, rows ---- */

/* Bits and their numbers. */
static IqdbStatus
check_waiting(ListsCheck *check)
{
	const IqdbiIvf *ivf = &check->ivf;
	uint64_t        total = 0;

	for (uint64_t from = 0; from < check->slots; from += IQDBI_SPAN_SLOTS)
	{
		IqdbiSpan *span = &ivf->spans[from / IQDBI_SPAN_SLOTS];
		uint64_t   count = 0;

		for (uint32_t i = 0; i < IQDBI_SPAN_SLOTS / 64; i++)
			count += (uint64_t) __builtin_popcountll(atomic_load(&span->bits[i]));
		if (count != atomic_load(&span->waiting))
			iqdb_findings_add(&check->doubtful, "%llu rows from slot %llu on wait, not %llu",
							  (unsigned long long) count, (unsigned long long) from,
							  (unsigned long long) atomic_load(&span->waiting));
		total += count;
		IQDB_TRY(iqdb_stretch_step(&check->stretch, iqdb_charge_bytes(sizeof(*span))));
	}
	if (total != atomic_load(&ivf->header->waiting))
		iqdb_findings_add(&check->doubtful, "%llu rows wait, not %u", (unsigned long long) total,
						  atomic_load(&ivf->header->waiting));
	return IQDB_OK;
}

static IqdbStatus
check_blocks(ListsCheck *check)
{
	const IqdbiIvf *ivf = &check->ivf;
	IqdbiPool       pool;
	uint64_t        free_blocks = 0;

	if (check->current == 0 || check->stretch.stale)
		return IQDB_OK;
	iqdb_store_lock(ivf->store, IQDB_LOCK_ENGINE, false);
	pool = ivf->header->pools[check->current - 1];
	iqdb_store_unlock(ivf->store, IQDB_LOCK_ENGINE, false);
	for (uint32_t block = pool.free; block != 0 && block < pool.count && free_blocks <= pool.count && !check->stretch.stale;
		 block = iqdbi_block_next(ivf, check->current - 1, block))
	{
		free_blocks++;
		IQDB_TRY(iqdb_stretch_step(&check->stretch, LOOK_CHARGE));
	}
	if (free_blocks != pool.free_count)
		iqdb_findings_add(&check->doubtful, "%llu blocks are free, not %u", (unsigned long long) free_blocks,
						  pool.free_count);
	if (check->blocks + free_blocks + 1 != pool.count)
		iqdb_findings_add(&check->doubtful, "%llu blocks in lists and %llu free ones of %u",
						  (unsigned long long) check->blocks, (unsigned long long) free_blocks, pool.count - 1);
	return IQDB_OK;
}

static void
check_home(ListsCheck *check, uint32_t slot)
{
	const IqdbiIvf *ivf = &check->ivf;
	bool            listed = iqdbi_seen(check->listed, slot);
	uint32_t        home = iqdbi_home(ivf, check->current - 1, slot);

	if (iqdb_store_state(ivf->store, slot) != IQDB_ROW_LIVE)
		return;
	if (iqdbi_home_status(home) == IQDBI_HOME_LINKED)
	{
		if (!listed)
			iqdb_findings_add(&check->doubtful, "slot %u says list %u, which does not hold it", slot,
							  iqdbi_home_list(home));
		return;
	}
	if (listed)
		iqdb_findings_add(&check->doubtful, "slot %u is in a list and says it is not", slot);
	if (!iqdbi_row_waits(ivf, slot))
		iqdb_findings_add(&check->doubtful, "slot %u is in no list and does not wait", slot);
}

/* Each LIVE row is in one list, or waits; while there are no lists, all are scanned. */
static IqdbStatus
check_rows(ListsCheck *check)
{
	for (uint32_t slot = 0; check->current != 0 && !check->stretch.stale && slot < check->slots; slot++)
	{
		check_home(check, slot);
		IQDB_TRY(iqdb_stretch_step(&check->stretch, LOOK_CHARGE));
	}
	return IQDB_OK;
}

/* ---- all ---- */

static IqdbStatus
check_everything(ListsCheck *check)
{
	if (check->current > 2)
	{
		iqdb_findings_add(&check->certain, "edition %u is current", check->current);
		return IQDB_OK;
	}
	if (check->current != 0)
	{
		for (uint32_t list = 0; list <= iqdbi_far_list(check->model.figures.lists) && !check->stretch.stale; list++)
			IQDB_TRY(check_one_list(check, list));
		IQDB_TRY(check_centres(check));
	}
	IQDB_TRY(check_waiting(check));
	IQDB_TRY(check_blocks(check));
	return check_rows(check);
}

/* Memory for what is current. */
static IqdbStatus
start_check(ListsCheck *check)
{
	const IqdbAllocator *allocator = &check->ivf.store->host->allocator;

	check->current = atomic_load(&check->ivf.header->current);
	check->slots = atomic_load(&check->ivf.store->header->slot_count);
	check->listed = iqdb_alloc_zero(allocator, (size_t) check->slots / 8 + 1);
	if (check->listed == NULL)
		return iqdb_fail(check->err, IQDB_ERR_NOMEM, "out of memory for a bit per row");
	if (check->current == 0 || check->current > 2)
		return IQDB_OK;
	iqdbi_model_view(&check->ivf, check->current - 1, &check->model);
	return iqdbi_scratch_init(&check->scratch, &check->ivf, check->model.figures.supers, 1, check->err);
}

/*
 * What has happened so far. The exclusive hold of STRUCTURE waits for processes that are linking a row: what they do
 * has been counted by then. Takes STRUCTURE exclusively and ROWS.
 */
static Moment
moment_of(const IqdbiIvf *ivf)
{
	const IqdbStoreHeader *header = ivf->store->header;
	Moment                 now;

	iqdb_store_lock(ivf->store, IQDB_LOCK_STRUCTURE, true);
	iqdb_store_lock(ivf->store, IQDB_LOCK_ROWS, false);
	now = (Moment){.changes = __atomic_load_n(&header->changes, __ATOMIC_ACQUIRE),
				   .moves = __atomic_load_n(&header->moves, __ATOMIC_ACQUIRE),
				   .newcomers = atomic_load_explicit(&ivf->header->newcomers, memory_order_acquire),
				   .epoch = atomic_load_explicit(&ivf->header->epoch, memory_order_acquire),
				   .training = atomic_load_explicit(&ivf->header->training, memory_order_acquire)};
	iqdb_store_unlock(ivf->store, IQDB_LOCK_ROWS, false);
	iqdb_store_unlock(ivf->store, IQDB_LOCK_STRUCTURE, true);
	return now;
}

static bool
is_same_moment(const Moment *a, const Moment *b)
{
	return a->changes == b->changes && a->moves == b->moves && a->newcomers == b->newcomers && a->epoch == b->epoch &&
		   a->training == b->training;
}

/* Looks at everything once. What is doubtful is dropped if anything has changed meanwhile. */
static IqdbStatus
check_once(ListsCheck *check)
{
	const IqdbAllocator *allocator = &check->ivf.store->host->allocator;
	Moment               end;
	IqdbStatus           status;

	check->blocks = 0;
	check->certain.count = 0;
	check->doubtful.count = 0;
	check->start = moment_of(&check->ivf);
	iqdb_stretch_begin(&check->stretch, check->ivf.store, IQDB_LOCK_STRUCTURE, &check->ivf.header->epoch);
	check->stretch.stale = check->stretch.seen != check->start.epoch;
	status = start_check(check);
	if (status == IQDB_OK && !check->stretch.stale)
		status = check_everything(check);
	iqdb_stretch_end(&check->stretch);
	iqdbi_scratch_free(&check->scratch);
	iqdb_free(allocator, check->listed, (size_t) check->slots / 8 + 1);
	check->listed = NULL;
	if (status == IQDB_ERR_CANCELLED)
		return iqdb_fail(check->err, status, "verification was cancelled");
	IQDB_TRY(status);
	end = moment_of(&check->ivf);
	if (!is_same_moment(&check->start, &end))
		check->doubtful.count = 0;
	return IQDB_OK;
}

IqdbStatus
iqdbi_ivf_check(IqdbStore *store, IqdbFinding finding, void *arg, IqdbError *err)
{
	const IqdbAllocator *allocator = &store->host->allocator;
	ListsCheck          *check = iqdb_alloc_zero(allocator, sizeof(*check));
	IqdbStatus           status;

	if (check == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for findings");
	check->err = err;
	iqdbi_ivf_view(&check->ivf, store);
	status = check_once(check);
	for (int round = 1; round < ROUNDS_MAX && status == IQDB_OK && check->stretch.stale; round++)
		status = check_once(check);
	if (status == IQDB_OK)
	{
		iqdb_findings_report(&check->certain, "more findings than can be listed", finding, arg);
		iqdb_findings_report(&check->doubtful, "more findings than can be listed", finding, arg);
	}
	iqdb_free(allocator, check, sizeof(*check));
	return status;
}
