/*
 * ivf_arena.c - the engine's regions of the arena: room in them, and giving it back.
 */
#include "core/ivf/ivf_arena_private.h"

#include "core/ivf/ivf_home_private.h"

_Static_assert(sizeof(IqdbiList) == 32, "two lists a cache line");

IqdbStatus
iqdbi_ivf_grow(const IqdbiIvf *ivf, uint32_t region, uint64_t bytes, IqdbError *err)
{
	IqdbStatus status;

	iqdb_store_lock(ivf->store, IQDB_LOCK_ROWS, true);
	status = iqdb_arena_grow(ivf->store->arena, IQDB_REGION_ENGINE + region, bytes, err);
	iqdb_store_unlock(ivf->store, IQDB_LOCK_ROWS, true);
	return status;
}

static IqdbStatus
reserve_homes(const IqdbiIvf *ivf, uint32_t edition, uint32_t slots, IqdbError *err)
{
	uint64_t size = iqdbi_home_size(ivf->header->editions[edition].lists);

	return iqdb_arena_grow(ivf->store->arena, IQDB_REGION_ENGINE + IQDBI_IVF_HOMES + edition, slots * size, err);
}

IqdbStatus
iqdbi_ivf_reserve(const IqdbiIvf *ivf, uint32_t slots, IqdbError *err)
{
	IqdbiCounting count = iqdbi_counting(ivf);
	uint64_t spans = ((uint64_t) slots + IQDBI_SPAN_SLOTS - 1) / IQDBI_SPAN_SLOTS;

	if (count.current != 0)
		IQDB_TRY(reserve_homes(ivf, count.current - 1, slots, err));
	if (count.training != 0)
		IQDB_TRY(reserve_homes(ivf, count.training - 1, slots, err));
	return iqdb_arena_grow(ivf->store->arena, IQDB_REGION_ENGINE + IQDBI_IVF_WAITING, spans * sizeof(IqdbiSpan), err);
}

/* Writers wait for ROWS no longer than for a step. */
void
iqdbi_ivf_release(const IqdbiIvf *ivf, uint32_t region)
{
	bool more = true;

	while (more)
	{
		iqdb_store_lock(ivf->store, IQDB_LOCK_ROWS, true);
		more = iqdb_arena_release(ivf->store->arena, IQDB_REGION_ENGINE + region);
		iqdb_store_unlock(ivf->store, IQDB_LOCK_ROWS, true);
	}
}

void
iqdbi_edition_drop(const IqdbiIvf *ivf, uint32_t edition)
{
	iqdb_store_lock(ivf->store, IQDB_LOCK_ENGINE, true);
	ivf->header->pools[edition] = (IqdbiPool){.count = 1};
	iqdb_store_unlock(ivf->store, IQDB_LOCK_ENGINE, true);
	for (uint32_t region = 0; region < IQDBI_IVF_WAITING; region += 2)
		iqdbi_ivf_release(ivf, region + edition);
}

_Static_assert(sizeof(IqdbiList) == 32, "two lists a cache line");
_Static_assert(sizeof(IqdbiIvfHeader) <= IQDB_HEADERS_SIZE - IQDB_ENGINE_HEADER_OFFSET, "one page for the engine");
_Static_assert(IQDBI_LISTS_MAX <= UINT32_MAX >> IQDBI_HOME_LIST_SHIFT, "a home word has room for a list");
