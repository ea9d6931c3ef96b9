/*
 * ivf_stats.c - what a user may ask about lists: how many, how full, how many to probe for a share of the rows.
 */
#include "core/ivf/ivf.h"

#include <math.h>
#include <string.h>

#include "core/ivf/ivf_contract_private.h"
#include "core/ivf/ivf_growth_private.h"
#include "core/ivf/ivf_pick_private.h"
#include "core/ivf/ivf_waiting_private.h"

/* Rows counted in one stretch. */
#define COUNT_BATCH 16384u

uint32_t
iqdb_ivf_list_sizes(IqdbStore *store, uint64_t *sizes_out, uint32_t capacity)
{
	IqdbiIvf ivf;
	uint32_t current;
	uint32_t lists = 0;

	iqdbi_ivf_view(&ivf, store);
	iqdb_store_lock(store, IQDB_LOCK_STRUCTURE, false);
	current = atomic_load_explicit(&ivf.header->current, memory_order_acquire);
	if (current != 0)
	{
		const IqdbiList *list = iqdbi_ivf_lists(&ivf, current - 1);

		lists = ivf.header->editions[current - 1].lists;
		for (uint32_t i = 0; i < lists && i < capacity; i++)
			sizes_out[i] = atomic_load_explicit(&list[i].count, memory_order_relaxed);
	}
	iqdb_store_unlock(store, IQDB_LOCK_STRUCTURE, false);
	return lists;
}

static uint32_t
lists_for_share(uint64_t *sizes, uint32_t lists, double coverage)
{
	uint64_t total = 0;
	uint64_t reached = 0;
	uint32_t probes = 0;

	for (uint32_t i = 0; i < lists; i++)
		total += sizes[i];
	iqdbi_sort_numbers(sizes, lists);
	while (probes < lists && (double) reached < ceil(coverage * (double) total))
		reached += sizes[lists - ++probes];
	return probes > 0 ? probes : 1;
}

IqdbStatus
iqdb_ivf_suggest_probes(IqdbStore *store, double coverage, uint32_t *probes_out, IqdbError *err)
{
	const IqdbAllocator *allocator = &store->host->allocator;
	uint64_t            *sizes = NULL;
	uint32_t             room = 0;
	uint32_t             lists;

	*probes_out = 1;
	if (!(coverage >= 0.0 && coverage <= 1.0))
		return iqdb_fail(err, IQDB_ERR_CONFIG, "coverage is %g, it must be between 0 and 1", coverage);
	/* once to learn the number, again when a training made it larger meanwhile */
	while ((lists = iqdb_ivf_list_sizes(store, sizes, room)) > room)
	{
		iqdb_free(allocator, sizes, room * sizeof(*sizes));
		room = lists;
		sizes = iqdb_alloc(allocator, room * sizeof(*sizes));
		if (sizes == NULL)
			return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for the sizes of %u lists", room);
	}
	if (lists > 0)
		*probes_out = coverage >= 1.0 ? lists : lists_for_share(sizes, lists, coverage);
	iqdb_free(allocator, sizes, room * sizeof(*sizes));
	return IQDB_OK;
}

/* Takes STRUCTURE shared in stretches. */
static uint64_t
count_unlinked(const IqdbiIvf *ivf)
{
	const IqdbStore *store = ivf->store;
	uint32_t         slots = atomic_load_explicit(&store->header->slot_count, memory_order_acquire);
	uint64_t         count = 0;

	for (uint32_t slot = 0; slot < slots;)
	{
		uint32_t current;

		iqdb_store_lock(store, IQDB_LOCK_STRUCTURE, false);
		current = atomic_load_explicit(&ivf->header->current, memory_order_acquire);
		if (current == 0)
		{
			count = atomic_load_explicit(&store->header->live_count, memory_order_relaxed);
			slot = slots;
		}
		for (uint32_t i = 0; i < COUNT_BATCH && (slot = iqdbi_row_waiting(ivf, slot, slots)) < slots; i++, slot++)
			count += iqdb_store_state(store, slot) == IQDB_ROW_LIVE &&
					 iqdbi_home_status(iqdbi_home(ivf, current - 1, slot)) != IQDBI_HOME_LINKED;
		iqdb_store_unlock(store, IQDB_LOCK_STRUCTURE, false);
	}
	return count;
}

void
iqdbi_ivf_stats(const IqdbStore *store, IqdbEngineStats *stats_out)
{
	IqdbStore copy = *store;
	IqdbiIvf  ivf;
	uint32_t  current;

	memset(stats_out, 0, sizeof(*stats_out));
	iqdbi_ivf_view(&ivf, &copy);
	stats_out->unlinked = count_unlinked(&ivf);
	iqdb_store_lock(store, IQDB_LOCK_STRUCTURE, false);
	current = atomic_load_explicit(&ivf.header->current, memory_order_acquire);
	stats_out->unrepaired = atomic_load_explicit(&ivf.header->unrepaired, memory_order_relaxed);
	if (current != 0)
	{
		const IqdbiList *lists = iqdbi_ivf_lists(&ivf, current - 1);
		uint64_t         total = 0;

		stats_out->trained = 1;
		stats_out->trained_rows = ivf.header->editions[current - 1].rows;
		stats_out->newcomers = atomic_load_explicit(&ivf.header->newcomers, memory_order_relaxed);
		stats_out->drift = iqdbi_growth_drift(&ivf);
		stats_out->outgrown = iqdbi_growth_is_outgrown(&ivf);
		stats_out->lists = ivf.header->editions[current - 1].lists;
		stats_out->probes = ivf.header->editions[current - 1].probes;
		stats_out->list_min = UINT64_MAX;
		for (uint32_t i = 0; i < stats_out->lists; i++)
		{
			uint64_t count = atomic_load_explicit(&lists[i].count, memory_order_relaxed);

			total += count;
			stats_out->list_min = count < stats_out->list_min ? count : stats_out->list_min;
			stats_out->list_max = count > stats_out->list_max ? count : stats_out->list_max;
		}
		stats_out->list_mean = (double) total / (double) stats_out->lists;
	}
	iqdb_store_unlock(store, IQDB_LOCK_STRUCTURE, false);
}
