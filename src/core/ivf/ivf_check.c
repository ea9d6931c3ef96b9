/*
 * ivf_check.c - do the lists hold what they promise? Every invariant of README.md, looked at under STRUCTURE.
 *
 * Findings are collected and reported after the lock is released. Exact when no writer runs and nobody maintains.
 */
#include "core/ivf/ivf_private.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define FINDINGS_MAX 32
#define FINDING_SIZE 120

typedef struct Check
{
	IqdbiIvf       ivf;
	IqdbiModel     model;
	IqdbiScratch   scratch;
	uint32_t       current;   /* 0 = not trained */
	uint32_t       slots;
	unsigned char *listed;    /* bit per slot: in some list */
	uint64_t       blocks;    /* in lists */
	uint64_t       dead;      /* rows in lists that were removed */
	uint64_t       finding_count;
	char           findings[FINDINGS_MAX][FINDING_SIZE];
} Check;

static void found(Check *check, const char *format, ...) IQDB_PRINTF(2, 3);

static void
found(Check *check, const char *format, ...)
{
	va_list args;

	if (check->finding_count++ >= FINDINGS_MAX)
		return;
	va_start(args, format);
	(void) vsnprintf(check->findings[check->finding_count - 1], FINDING_SIZE, format, args);
	va_end(args);
}

/* ---- lists ---- */

static void
check_entry(Check *check, uint32_t list, unsigned char *block, uint32_t place)
{
	const IqdbiIvf *ivf = &check->ivf;
	uint32_t        slot = atomic_load(&iqdbi_block_slots(block)[place]);
	uint32_t        home;
	IqdbRowState    state;

	if (slot >= check->slots)
	{
		found(check, "list %u: an entry names slot %u of %u", list, slot, check->slots);
		return;
	}
	if (iqdbi_seen(check->listed, slot))
		found(check, "slot %u is in lists twice", slot);
	check->listed[slot / 8] |= (unsigned char) (1u << (slot % 8));
	home = iqdbi_home(ivf, check->current - 1, slot);
	if (iqdbi_home_status(home) != IQDBI_HOME_LINKED || iqdbi_home_list(home) != list)
		found(check, "slot %u is in list %u, its home word says %u", slot, list, home);
	state = iqdb_store_state(ivf->store, slot);
	if (state == IQDB_ROW_DEAD)
	{
		check->dead++;
		if (atomic_load(&iqdbi_ivf_lists(ivf, check->current - 1)[list].dirty) == 0)
			found(check, "list %u holds removed slot %u and is not marked", list, slot);
		return;
	}
	if (state != IQDB_ROW_LIVE)
	{
		found(check, "slot %u is in list %u and holds no row", slot, list);
		return;
	}
	iqdbi_code_row(ivf, &check->model, list, slot, &check->scratch.code);
	if (!iqdbi_block_holds(&ivf->rows, block, place, &check->scratch.code))
		found(check, "slot %u: the code in list %u is not the row's", slot, list);
}

static void
check_list(Check *check, uint32_t number)
{
	const IqdbiIvf  *ivf = &check->ivf;
	const IqdbiList *list = iqdbi_ivf_lists(ivf, check->current - 1) + number;
	uint32_t         count = atomic_load(&list->count);
	uint32_t         block = atomic_load(&list->head);
	uint32_t         last = 0;

	for (uint32_t from = 0; from < count; from += IQDBI_BLOCK_ROWS)
	{
		uint32_t rows = count - from < IQDBI_BLOCK_ROWS ? count - from : IQDBI_BLOCK_ROWS;

		if (block == 0 || block >= ivf->header->pools[check->current - 1].count)
		{
			found(check, "list %u: blocks end after %u of %u rows", number, from, count);
			return;
		}
		for (uint32_t place = 0; place < rows; place++)
			check_entry(check, number, iqdbi_ivf_block(ivf, check->current - 1, block), place);
		check->blocks++;
		last = block;
		block = iqdbi_block_next(ivf, check->current - 1, block);
	}
	if (block != 0)
		found(check, "list %u: blocks go on behind its %u rows", number, count);
	if (list->tail != last)
		found(check, "list %u: the last block is %u, not %u", number, last, list->tail);
}

/* ---- centres ---- */

static void
check_packed(Check *check, const unsigned char *packed, const float *centres, uint32_t first, uint32_t end)
{
	const IqdbiIvf *ivf = &check->ivf;

	for (uint32_t id = first; id < end; id++)
	{
		const unsigned char *block = packed + (id - first) / IQDBI_BLOCK_ROWS * ivf->centres.size;

		iqdbi_code_centre(ivf, &check->model, centres + (size_t) id * ivf->work_stride, &check->scratch.code);
		/* reads only; the function serves writers too */
		if (!iqdbi_block_holds(&ivf->centres, (unsigned char *) (uintptr_t) block, (id - first) % IQDBI_BLOCK_ROWS,
							   &check->scratch.code))
			found(check, "the packed code of centre %u is not the centre's", id);
	}
}

static void
check_centres(Check *check)
{
	const IqdbiModel *model = &check->model;

	for (uint32_t super = 0; super < model->supers; super++)
	{
		if (model->super_lists[super] >= model->super_lists[super + 1] ||
			model->super_lists[super + 1] > model->lists)
		{
			found(check, "coarser cell %u holds lists %u to %u", super, model->super_lists[super],
				  model->super_lists[super + 1]);
			return;
		}
		if (check->ivf.coded_centres)
			check_packed(check, model->packed + model->super_starts[super] * check->ivf.centres.size, model->centres,
						 model->super_lists[super], model->super_lists[super + 1]);
	}
	if (model->super_lists[model->supers] != model->lists)
		found(check, "coarser cells hold %u of %u lists", model->super_lists[model->supers], model->lists);
	if (model->probes == 0 || model->probes > model->lists)
		found(check, "%u probes of %u lists", model->probes, model->lists);
}

/* ---- rows that wait, blocks, rows ---- */

/* Bits and their numbers; ENGINE is held, so no bit goes. */
static void
check_waiting(Check *check)
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
			found(check, "%llu rows from slot %llu on wait, not %llu", (unsigned long long) count,
				  (unsigned long long) from, (unsigned long long) atomic_load(&span->waiting));
		total += count;
	}
	if (total != atomic_load(&ivf->header->waiting))
		found(check, "%llu rows wait, not %u", (unsigned long long) total, atomic_load(&ivf->header->waiting));
}

static void
check_blocks(Check *check)
{
	const IqdbiIvf  *ivf = &check->ivf;
	const IqdbiPool *pool;
	uint64_t         free_blocks = 0;

	if (check->current == 0)
		return;
	pool = &ivf->header->pools[check->current - 1];
	for (uint32_t block = pool->free; block != 0 && free_blocks <= pool->count;
		 block = iqdbi_block_next(ivf, check->current - 1, block))
		free_blocks++;
	if (free_blocks != pool->free_count)
		found(check, "%llu blocks are free, not %u", (unsigned long long) free_blocks, pool->free_count);
	if (check->blocks + free_blocks + 1 != pool->count)
		found(check, "%llu blocks in lists and %llu free ones of %u", (unsigned long long) check->blocks,
			  (unsigned long long) free_blocks, pool->count - 1);
}

/* Each LIVE row is in one list, or waits; while there are no lists, all are scanned. */
static void
check_rows(Check *check)
{
	const IqdbiIvf *ivf = &check->ivf;

	for (uint32_t slot = 0; check->current != 0 && slot < check->slots; slot++)
	{
		bool     listed = iqdbi_seen(check->listed, slot);
		uint32_t home;

		if (iqdb_store_state(ivf->store, slot) != IQDB_ROW_LIVE)
			continue;
		home = iqdbi_home(ivf, check->current - 1, slot);
		if (iqdbi_home_status(home) == IQDBI_HOME_LINKED)
		{
			if (!listed)
				found(check, "slot %u says list %u, which does not hold it", slot, iqdbi_home_list(home));
			continue;
		}
		if (listed)
			found(check, "slot %u is in a list and says it is not", slot);
		if (!iqdbi_row_waits(ivf, slot))
			found(check, "slot %u is in no list and does not wait", slot);
	}
}

/* ---- all ---- */

static void
check_locked(Check *check)
{
	check->current = atomic_load(&check->ivf.header->current);
	if (check->current > 2)
	{
		found(check, "edition %u is current", check->current);
		return;
	}
	if (check->current != 0)
	{
		for (uint32_t list = 0; list < check->model.lists; list++)
			check_list(check, list);
		check_centres(check);
	}
	iqdb_store_lock(check->ivf.store, IQDB_LOCK_ENGINE, false);
	check_waiting(check);
	check_blocks(check);
	iqdb_store_unlock(check->ivf.store, IQDB_LOCK_ENGINE, false);
	check_rows(check);
}

/* Memory for what is current; STRUCTURE is held, and nothing else changes what it depends on. */
static IqdbStatus
prepare(Check *check, IqdbError *err)
{
	const IqdbAllocator *allocator = &check->ivf.store->host->allocator;
	uint32_t             current = atomic_load(&check->ivf.header->current);

	check->slots = atomic_load(&check->ivf.store->header->slot_count);
	check->listed = iqdb_alloc_zero(allocator, (size_t) check->slots / 8 + 1);
	if (check->listed == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for a bit per row");
	if (current == 0 || current > 2)
		return IQDB_OK;
	iqdbi_model_view(&check->ivf, current - 1, &check->model);
	return iqdbi_scratch_init(&check->scratch, &check->ivf, check->model.lists, check->model.supers, 1, err);
}

IqdbStatus
iqdbi_ivf_check(IqdbStore *store, IqdbFinding finding, void *arg, IqdbError *err)
{
	const IqdbAllocator *allocator = &store->host->allocator;
	Check               *check = iqdb_alloc_zero(allocator, sizeof(*check));
	IqdbStatus           status;

	if (check == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for findings");
	iqdbi_ivf_view(&check->ivf, store);
	iqdb_store_lock(store, IQDB_LOCK_STRUCTURE, false);
	status = prepare(check, err);
	if (status == IQDB_OK)
		check_locked(check);
	iqdb_store_unlock(store, IQDB_LOCK_STRUCTURE, false);
	for (uint64_t i = 0; i < check->finding_count && i < FINDINGS_MAX; i++)
		finding(arg, check->findings[i]);
	if (check->finding_count > FINDINGS_MAX)
		finding(arg, "more findings than can be listed");
	iqdbi_scratch_free(&check->scratch);
	iqdb_free(allocator, check->listed, (size_t) check->slots / 8 + 1);
	iqdb_free(allocator, check, sizeof(*check));
	return status;
}
