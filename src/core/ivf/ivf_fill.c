/*
 * ivf_fill.c - filling the lists of a new edition: which list each row belongs to, then its code behind those of that list.
 *
 * Owns: the region WORK while an edition is filled, and the task in the engine's header. One process has the edition
 * and opens the tasks; others, if there are any, come by way of assist() and take units of what is open at that moment.
 * Does not own: when an edition begins to count (ivf_edition.c).
 *
 * A unit is claimed and done under one shared hold of STRUCTURE. So when no unit is left, an exclusive instant of STRUCTURE
 * waits for all that are being done, and no process is left that still writes.
 */
#include "core/ivf/ivf_edition_private.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "core/ivf/ivf_coarse_private.h"
#include "core/ivf/ivf_code_private.h"
#include "core/ivf/ivf_list_private.h"
#include "core/ivf/ivf_space_private.h"
#include "core/quant/kmeans.h"

/*
 * The most slots and rows of a unit, and so much work as it may be at most, since it is done under one hold of STRUCTURE:
 * components of centres that rows are compared with, and components of rows that are coded.
 */
#define SLOTS_PER_UNIT 256u
#define ROWS_PER_UNIT 512u
#define ASSIGN_WORK (UINT64_C(32) << 20)
#define CODE_WORK (UINT64_C(128) << 10)

/* A process's view of the work. */
typedef struct Fill
{
	const IqdbiIvf *ivf;
	IqdbiTask      *task;
	IqdbiModel      model;
	IqdbiScratch    scratch;
	uint32_t       *where;  /* WORK: list per slot, IQDBI_NOWHERE = none */
	uint32_t       *order;  /* WORK: slots by list */
	uint32_t       *starts; /* WORK: lists + 2, as there is one more */
} Fill;

uint64_t
iqdbi_fill_bytes(uint64_t slots, uint64_t lists)
{
	return (2 * slots + lists + 2) * sizeof(uint32_t);
}

/* The task must not change meanwhile: a unit is claimed, or it is the caller that writes it. */
static IqdbStatus
fill_view(Fill *fill, const IqdbiIvf *ivf, IqdbError *err)
{
	memset(fill, 0, sizeof(*fill));
	fill->ivf = ivf;
	fill->task = &ivf->header->task;
	fill->where = iqdb_store_engine_region(ivf->store, IQDBI_IVF_WORK);
	fill->order = fill->where + fill->task->slots;
	fill->starts = fill->order + fill->task->slots;
	iqdbi_model_view(ivf, fill->task->edition, &fill->model);
	return iqdbi_scratch_init(&fill->scratch, ivf, fill->model.figures.supers, 1, err);
}

static bool
is_old_row(const Fill *fill, uint32_t slot)
{
	return iqdb_store_state(fill->ivf->store, slot) == IQDB_ROW_LIVE &&
		   iqdb_store_sequence(fill->ivf->store, slot) < fill->task->horizon;
}

/* ---- which list ---- */

/* What was summed up while rows were assigned. */
typedef struct Assigned
{
	double   sum; /* of distances to centres */
	uint64_t rows;
} Assigned;

/* Finds lists for rows whose vectors stand in scratch->work. */
static void
assign_some(Fill *fill, const uint32_t *slots, const float *norms2, size_t count, Assigned *assigned)
{
	uint32_t lists[IQDBI_COARSE_ROWS];
	float    keys[IQDBI_COARSE_ROWS];

	iqdbi_coarse_assign_rows(&fill->scratch, &fill->model, fill->scratch.work, count, true, lists, keys);
	for (size_t i = 0; i < count; i++)
	{
		bool fine = iqdbi_row_is_fine(fill->ivf, norms2[i], keys[i]);

		fill->where[slots[i]] = fine ? iqdbi_far_list(fill->model.figures.lists) : lists[i];
		if (!fine && keys[i] <= FLT_MAX)
		{
			assigned->sum += (double) keys[i];
			assigned->rows++;
		}
	}
}

/* STRUCTURE is held shared; takes ENGINE. */
static IqdbStatus
assign_unit(Fill *fill, uint32_t unit, IqdbError *err)
{
	const IqdbiIvf  *ivf = fill->ivf;
	const IqdbStore *store = ivf->store;
	uint32_t         size = fill->task->unit_size;
	uint32_t         from = unit * size;
	uint32_t         to = fill->task->slots - from < size ? fill->task->slots : from + size;
	uint32_t         slots[IQDBI_COARSE_ROWS];
	float            norms2[IQDBI_COARSE_ROWS];
	size_t           count = 0;
	Assigned         assigned = {0, 0};

	(void) err;
	/* read ahead farther than a small unit goes */
	if (from % SLOTS_PER_UNIT < size)
		iqdb_store_prefetch_range(store, from,
								  fill->task->slots - from < SLOTS_PER_UNIT ? fill->task->slots - from : SLOTS_PER_UNIT);
	for (uint32_t slot = from; slot < to; slot++)
	{
		fill->where[slot] = IQDBI_NOWHERE;
		if (!is_old_row(fill, slot))
			continue;
		norms2[count] = iqdb_store_norm2(store, slot);
		if (iqdbi_row_is_far(ivf, fill->model.figures.radius2, slot, norms2[count]))
		{
			fill->where[slot] = iqdbi_far_list(fill->model.figures.lists);
			continue;
		}
		iqdbi_work_row(ivf, fill->model.figures.radius2, slot, norms2[count],
					   fill->scratch.work + count * ivf->work_stride);
		slots[count++] = slot;
		if (count < IQDBI_COARSE_ROWS)
			continue;
		assign_some(fill, slots, norms2, count, &assigned);
		count = 0;
	}
	assign_some(fill, slots, norms2, count, &assigned);
	iqdb_store_lock(store, IQDB_LOCK_ENGINE, true);
	fill->task->sum += assigned.sum;
	fill->task->rows += assigned.rows;
	iqdb_store_unlock(store, IQDB_LOCK_ENGINE, true);
	return IQDB_OK;
}

/* ---- into the list ---- */

/*
 * The slot may have been given to another row since it was assigned: that one has a later sequence. STRUCTURE is held
 * shared.
 */
static IqdbStatus
fill_row(Fill *fill, uint32_t list, uint32_t slot, IqdbError *err)
{
	const IqdbiIvf *ivf = fill->ivf;
	uint32_t        edition = fill->task->edition;
	IqdbStatus      status;

	if (!iqdbi_home_change(ivf, edition, slot, IQDBI_HOME_PENDING, IQDBI_HOME_LINKING))
		return IQDB_OK;
	if (!is_old_row(fill, slot))
	{
		(void) iqdbi_home_change(ivf, edition, slot, IQDBI_HOME_LINKING, IQDBI_HOME_PENDING);
		return IQDB_OK;
	}
	iqdbi_code_row(ivf, &fill->model, list, slot, &fill->scratch.code);
	if (fill->scratch.code.lost)
	{
		list = iqdbi_far_list(fill->model.figures.lists);
		iqdbi_code_row(ivf, &fill->model, list, slot, &fill->scratch.code);
	}
	status = iqdbi_list_append(ivf, edition, list, slot, &fill->scratch.code, err);
	if (status != IQDB_OK)
		(void) iqdbi_home_change(ivf, edition, slot, IQDBI_HOME_LINKING, IQDBI_HOME_PENDING);
	else
		iqdbi_row_linked(ivf, edition, list, slot);
	return status;
}

/* STRUCTURE is held shared; takes ENGINE, and ROWS where regions must grow. */
static IqdbStatus
fill_unit(Fill *fill, uint32_t unit, IqdbError *err)
{
	uint32_t   rows = fill->starts[fill->model.figures.lists + 1];
	uint32_t   size = fill->task->unit_size;
	uint32_t   from = unit * size;
	uint32_t   to = rows - from < size ? rows : from + size;
	IqdbStatus status = IQDB_OK;

	iqdb_store_prefetch(fill->ivf->store, fill->order + from, to - from);
	for (uint32_t at = from; at < to && status == IQDB_OK; at++)
		status = fill_row(fill, fill->where[fill->order[at]], fill->order[at], err);
	return status;
}

/* ---- units ---- */

/* Takes one of the units that are left of task `number`. STRUCTURE is held shared. */
static bool
claim_unit(IqdbiTask *task, uint32_t number, uint32_t *unit_out)
{
	uint64_t turn = atomic_load_explicit(&task->turn, memory_order_acquire);

	do
	{
		if ((uint32_t) (turn >> 32) != number || (uint32_t) turn == 0)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(&task->turn, &turn, turn - 1, memory_order_acq_rel,
													memory_order_acquire));
	*unit_out = task->units - (uint32_t) turn;
	return true;
}

/* Does a unit that was claimed: only now is it certain that the task does not change. STRUCTURE is held shared. */
static IqdbStatus
do_unit(Fill *fill, uint32_t unit, IqdbError *err)
{
	IqdbStatus status = IQDB_OK;

	if (fill->model.figures.lists == 0)
		status = fill_view(fill, fill->ivf, err);
	if (status == IQDB_OK)
		status = fill->task->kind == IQDBI_TASK_ASSIGN ? assign_unit(fill, unit, err) : fill_unit(fill, unit, err);
	if (status != IQDB_OK)
		atomic_store_explicit(&fill->task->failed, (uint32_t) status, memory_order_release);
	return status;
}

/* Does units of task `number` until there are none. *worked_out = whether there was one. */
static IqdbStatus
do_units(Fill *fill, uint32_t number, bool *worked_out, IqdbError *err)
{
	const IqdbStore *store = fill->ivf->store;
	IqdbStatus       status = IQDB_OK;
	bool             claimed = true;
	uint32_t         unit;

	*worked_out = false;
	while (claimed && status == IQDB_OK)
	{
		if (iqdb_host_cancelled(store->host))
			return iqdb_fail(err, IQDB_ERR_CANCELLED, "training was cancelled");
		iqdb_store_lock(store, IQDB_LOCK_STRUCTURE, false);
		claimed = claim_unit(fill->task, number, &unit);
		if (claimed)
			status = do_unit(fill, unit, err);
		iqdb_store_unlock(store, IQDB_LOCK_STRUCTURE, false);
		*worked_out |= claimed;
	}
	return status;
}

/* Opens a task, works at it, and returns when no process works at it any more. Takes STRUCTURE, at the end exclusively. */
static IqdbStatus
run_task(Fill *fill, IqdbiTaskKind kind, uint32_t things, uint32_t unit_size, IqdbError *err)
{
	IqdbiTask *task = fill->task;
	uint32_t   units = things / unit_size + (things % unit_size != 0);
	uint32_t   number = (uint32_t) (atomic_load_explicit(&task->turn, memory_order_relaxed) >> 32) + 1;
	uint32_t   failed;
	IqdbStatus status;
	bool       worked;

	task->kind = kind;
	task->units = units;
	task->unit_size = unit_size;
	atomic_store_explicit(&task->failed, (uint32_t) IQDB_OK, memory_order_relaxed);
	atomic_store_explicit(&task->turn, (uint64_t) number << 32 | units, memory_order_release);
	status = do_units(fill, number, &worked, err);
	atomic_store_explicit(&task->turn, (uint64_t) number << 32, memory_order_release);
	iqdb_store_lock(fill->ivf->store, IQDB_LOCK_STRUCTURE, true);
	iqdb_store_unlock(fill->ivf->store, IQDB_LOCK_STRUCTURE, true);
	failed = atomic_load_explicit(&task->failed, memory_order_acquire);
	if (status == IQDB_OK && failed != IQDB_OK)
		status = iqdb_fail(err, (IqdbStatus) failed, "another process could not do its share of filling the lists");
	return status;
}

/* So many things, each of so much work, that a unit is not too long: a multiple of what are looked up together. */
static uint32_t
unit_size(uint32_t most, uint64_t work, uint64_t each)
{
	uint64_t size = work / (each + 1) / IQDBI_COARSE_ROWS * IQDBI_COARSE_ROWS;

	if (size < IQDBI_COARSE_ROWS)
		return IQDBI_COARSE_ROWS;
	return size > most ? most : (uint32_t) size;
}

static IqdbStatus
assign_rows(Fill *fill, IqdbError *err)
{
	IqdbiTask *task = fill->task;

	task->sum = 0;
	task->rows = 0;
	IQDB_TRY(run_task(fill, IQDBI_TASK_ASSIGN, task->slots,
				   unit_size(SLOTS_PER_UNIT, ASSIGN_WORK, (uint64_t) fill->model.figures.lists * fill->ivf->work_dim), err));
	/* rows that all coincide with their centres: any other is far away */
	if (task->rows > 0)
		fill->ivf->header->editions[task->edition].spread = fmaxf((float) (task->sum / (double) task->rows), FLT_MIN);
	return IQDB_OK;
}

IqdbStatus
iqdbi_fill_edition(const IqdbiIvf *ivf, uint32_t edition, uint32_t slots, uint64_t horizon, const uint32_t *where,
				   IqdbError *err)
{
	IqdbiTask *task = &ivf->header->task;
	uint32_t   lists = ivf->header->editions[edition].lists;
	Fill       fill;
	IqdbStatus status;

	IQDB_TRY(iqdbi_ivf_grow(ivf, IQDBI_IVF_WORK, iqdbi_fill_bytes(slots, lists), err));
	task->edition = edition;
	task->slots = slots;
	task->horizon = horizon;
	status = fill_view(&fill, ivf, err);
	if (status == IQDB_OK && where != NULL)
		memcpy(fill.where, where, slots * sizeof(uint32_t));
	else if (status == IQDB_OK)
		status = assign_rows(&fill, err);
	if (status == IQDB_OK)
	{
		fill.model.figures.spread = ivf->header->editions[edition].spread;
		/* rows of a list behind one another: lists then lie in one piece, and writing them is not a walk through memory */
		iqdb_cells_members(fill.where, slots, lists + 1, fill.starts, fill.order);
		status = run_task(&fill, IQDBI_TASK_FILL, fill.starts[lists + 1], unit_size(ROWS_PER_UNIT, CODE_WORK, ivf->dim), err);
	}
	iqdbi_scratch_free(&fill.scratch);
	iqdbi_ivf_release(ivf, IQDBI_IVF_WORK);
	return status;
}

IqdbStatus
iqdbi_ivf_assist(IqdbStore *store, bool *worked_out, IqdbError *err)
{
	IqdbiIvf   ivf;
	Fill       fill = {.ivf = &ivf};
	uint64_t   turn;
	IqdbStatus status;

	iqdbi_ivf_view(&ivf, store);
	fill.task = &ivf.header->task;
	turn = atomic_load_explicit(&fill.task->turn, memory_order_acquire);
	status = do_units(&fill, (uint32_t) (turn >> 32), worked_out, err);
	iqdbi_scratch_free(&fill.scratch);
	return status;
}
