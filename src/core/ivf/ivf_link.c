/*
 * ivf_link.c - rows that come and go one by one: their words in the arena, and their way into a list.
 */
#include "core/ivf/ivf_growth_private.h"

#include "core/ivf/ivf_coarse_private.h"
#include "core/ivf/ivf_code_private.h"
#include "core/ivf/ivf_contract_private.h"
#include "core/ivf/ivf_list_private.h"
#include "core/ivf/ivf_space_private.h"
#include "core/ivf/ivf_waiting_private.h"

/* Rows noted, and rows looked at, by link_pending() in one stretch. */
#define LINK_BATCH 256u
#define LINK_LOOKED 8192u

/* ---- coming and going ---- */

void
iqdbi_ivf_added(IqdbStore *store, uint32_t slot)
{
	IqdbiIvf ivf;

	iqdbi_ivf_view(&ivf, store);
	iqdbi_row_wait(&ivf, slot);
}

/* The other side of iqdbi_row_linked(), where the order of looks and writes is explained. ROWS is held by the caller. */
void
iqdbi_ivf_removed(IqdbStore *store, uint32_t slot)
{
	IqdbiIvf ivf;
	uint32_t editions[2];

	iqdbi_ivf_view(&ivf, store);
	atomic_fetch_add_explicit(&ivf.header->unrepaired, 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_seq_cst);
	editions[0] = atomic_load_explicit(&ivf.header->current, memory_order_acquire);
	editions[1] = atomic_load_explicit(&ivf.header->training, memory_order_acquire);
	for (int i = 0; i < 2; i++)
	{
		uint32_t home;

		if (editions[i] == 0)
			continue;
		home = iqdbi_home(&ivf, editions[i] - 1, slot);
		if (iqdbi_home_status(home) == IQDBI_HOME_LINKED)
			atomic_store_explicit(&iqdbi_ivf_lists(&ivf, editions[i] - 1)[iqdbi_home_list(home)].dirty, 1,
								  memory_order_release);
	}
	if (iqdbi_row_end_wait(&ivf, slot) && iqdb_store_release_locked(store, slot))
		atomic_fetch_sub_explicit(&ivf.header->unrepaired, 1, memory_order_relaxed);
}

/* ---- linking ---- */

/*
 * The list that the row belongs into, and its distance to the centre; a row of the far list counts as no farther than
 * others. STRUCTURE is held shared.
 */
static uint32_t
list_for_row(const IqdbiIvf *ivf, const IqdbiModel *model, uint32_t slot, IqdbiScratch *scratch, float *key_out)
{
	float    norm2 = iqdb_store_norm2(ivf->store, slot);
	uint32_t list;

	*key_out = model->figures.spread;
	if (iqdbi_row_is_far(ivf, model->figures.radius2, slot, norm2))
		return iqdbi_far_list(model->figures.lists);
	iqdbi_work_row(ivf, model->figures.radius2, slot, norm2, scratch->work);
	list = iqdbi_coarse_assign(scratch, model, scratch->work, key_out);
	return iqdbi_row_is_fine(ivf, norm2, *key_out) ? iqdbi_far_list(model->figures.lists) : list;
}

/* Codes and appends a row that is LINKING. STRUCTURE is held shared; takes ENGINE, and ROWS where regions must grow. */
static IqdbStatus
link_row(const IqdbiIvf *ivf, uint32_t edition, uint32_t slot, IqdbError *err)
{
	IqdbiModel   model;
	IqdbiScratch scratch;
	uint32_t     list;
	float        key;
	IqdbStatus   status;

	iqdbi_model_view(ivf, edition, &model);
	IQDB_TRY(iqdbi_scratch_init(&scratch, ivf, model.figures.supers, 1, err));
	list = list_for_row(ivf, &model, slot, &scratch, &key);
	iqdbi_code_row(ivf, &model, list, slot, &scratch.code);
	if (scratch.code.lost)
	{
		list = iqdbi_far_list(model.figures.lists);
		iqdbi_code_row(ivf, &model, list, slot, &scratch.code);
	}
	status = iqdbi_list_append(ivf, edition, list, slot, &scratch.code, err);
	iqdbi_scratch_free(&scratch);
	if (status != IQDB_OK)
		return status;
	iqdbi_row_linked(ivf, edition, list, slot);
	iqdbi_growth_note(ivf, &model, key);
	return IQDB_OK;
}

IqdbStatus
iqdbi_row_link(const IqdbiIvf *ivf, uint32_t slot, bool *linked_out, IqdbError *err)
{
	const IqdbStore *store = ivf->store;
	uint32_t         current;
	IqdbStatus       status = IQDB_OK;

	*linked_out = false;
	iqdb_store_lock(store, IQDB_LOCK_STRUCTURE, false);
	current = atomic_load_explicit(&ivf->header->current, memory_order_acquire);
	if (current != 0 && iqdbi_row_waits(ivf, slot) &&
		iqdbi_home_change(ivf, current - 1, slot, IQDBI_HOME_PENDING, IQDBI_HOME_LINKING))
	{
		if (iqdb_store_state(store, slot) == IQDB_ROW_LIVE)
		{
			status = link_row(ivf, current - 1, slot, err);
			*linked_out = status == IQDB_OK;
		}
		if (!*linked_out)
			(void) iqdbi_home_change(ivf, current - 1, slot, IQDBI_HOME_LINKING, IQDBI_HOME_PENDING);
		if (iqdbi_row_end_wait(ivf, slot))
			iqdbi_slots_release(ivf, &slot, 1);
	}
	iqdb_store_unlock(store, IQDB_LOCK_STRUCTURE, false);
	return status;
}

/* Rows from *from on that are to be linked; moves it behind them. */
static uint32_t
rows_to_link(const IqdbiIvf *ivf, uint32_t *from, uint32_t slots, uint32_t *found_out)
{
	uint32_t current;
	uint32_t count = 0;

	/* under it the edition stays current, and the memory of its home words stays */
	iqdb_store_lock(ivf->store, IQDB_LOCK_STRUCTURE, false);
	current = atomic_load_explicit(&ivf->header->current, memory_order_acquire);
	for (uint32_t looked = 0; current != 0 && count < LINK_BATCH && looked < LINK_LOOKED &&
							  (*from = iqdbi_row_waiting(ivf, *from, slots)) < slots;
		 looked++)
	{
		if (iqdbi_home_status(iqdbi_home(ivf, current - 1, *from)) == IQDBI_HOME_PENDING &&
			iqdb_store_state(ivf->store, *from) == IQDB_ROW_LIVE)
			found_out[count++] = *from;
		++*from;
	}
	iqdb_store_unlock(ivf->store, IQDB_LOCK_STRUCTURE, false);
	if (current == 0)
		*from = slots;
	return count;
}

IqdbStatus
iqdbi_rows_link(const IqdbiIvf *ivf, uint64_t max_rows, uint64_t *linked_out, IqdbError *err)
{
	uint32_t slots = atomic_load_explicit(&ivf->store->header->slot_count, memory_order_acquire);
	uint32_t found[LINK_BATCH];
	uint32_t from = 0;

	while (*linked_out < max_rows && from < slots)
	{
		uint32_t count = rows_to_link(ivf, &from, slots, found);

		for (uint32_t i = 0; i < count && *linked_out < max_rows; i++)
		{
			bool linked;

			if (iqdb_host_cancelled(ivf->store->host))
				return iqdb_fail(err, IQDB_ERR_CANCELLED, "linking was cancelled");
			IQDB_TRY(iqdbi_row_link(ivf, found[i], &linked, err));
			*linked_out += linked;
		}
	}
	return IQDB_OK;
}
