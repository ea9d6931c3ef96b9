/*
 * hnsw_upper.c - the levels above 0: which level a node reaches, and the blocks that hold its links there.
 *
 * Owns: region UPPER and its free runs, both guarded by IQDB_LOCK_ENGINE. Does not own: the links in the blocks.
 */
#include "core/hnsw/hnsw_upper_private.h"

#include <math.h>

#include "core/base/rng.h"

uint32_t
iqdbi_hnsw_draw_level(const IqdbiHnsw *graph, uint64_t sequence)
{
	const IqdbIndexOptions *options = &graph->store->header->options;
	uint64_t                state = options->seed ^ (sequence * UINT64_C(0xd1342543de82ef95));
	double                  level = -log(iqdb_unit_from_bits(iqdb_splitmix64(&state))) / log((double) options->m);

	return level < (double) IQDBI_HNSW_LEVEL_MAX ? (uint32_t) level : IQDBI_HNSW_LEVEL_MAX;
}

static _Atomic uint32_t *
upper_block(const IqdbiHnsw *graph, uint32_t block)
{
	return graph->upper + (size_t) block * graph->header->block_words;
}

/* Takes a run of so many blocks; 0 when the region would have to grow for it. ENGINE is held exclusively. */
static uint32_t
run_take(const IqdbiHnsw *graph, uint32_t blocks)
{
	IqdbiHnswHeader *header = graph->header;
	IqdbArenaHeader *arena = iqdb_arena_header(graph->store->arena);
	uint64_t         committed;
	uint64_t         end;
	uint32_t         run = header->block_free[blocks];

	if (run != 0)
	{
		header->block_free[blocks] = atomic_load_explicit(&upper_block(graph, run)[0], memory_order_relaxed);
		return run;
	}
	committed = __atomic_load_n(&arena->regions[IQDB_REGION_ENGINE + IQDBI_HNSW_UPPER].committed, __ATOMIC_ACQUIRE);
	end = (uint64_t) header->block_count + blocks;
	if (end > UINT32_MAX || end * header->block_words * 4 > committed)
		return 0;
	run = header->block_count;
	header->block_count = (uint32_t) end;
	return run;
}

/*
 * Grows the region by room for so many blocks. Takes ROWS, which guards the growth of the arena. false: there is no
 * memory.
 */
static bool
run_room(const IqdbiHnsw *graph, uint32_t blocks)
{
	IqdbStore *store = graph->store;
	IqdbStatus status;
	uint64_t   end;

	iqdb_store_lock(store, IQDB_LOCK_ROWS, true);
	iqdb_store_lock(store, IQDB_LOCK_ENGINE, false);
	end = (uint64_t) graph->header->block_count + blocks;
	iqdb_store_unlock(store, IQDB_LOCK_ENGINE, false);
	status = iqdb_arena_grow(store->arena, IQDB_REGION_ENGINE + IQDBI_HNSW_UPPER, end * graph->header->block_words * 4,
							 NULL);
	iqdb_store_unlock(store, IQDB_LOCK_ROWS, true);
	return status == IQDB_OK;
}

uint32_t
iqdbi_hnsw_blocks_take(const IqdbiHnsw *graph, uint32_t slot, uint32_t level)
{
	IqdbiHnswNode *node = iqdbi_hnsw_node(graph, slot);
	uint32_t       run = 0;
	bool           may_grow = true;

	while (level > 0 && run == 0)
	{
		iqdb_store_lock(graph->store, IQDB_LOCK_ENGINE, true);
		run = run_take(graph, level);
		iqdb_store_unlock(graph->store, IQDB_LOCK_ENGINE, true);
		if (run == 0 && may_grow)
			may_grow = run_room(graph, level);
		else if (run == 0)
			level--;
	}
	for (uint32_t i = 0; i < level; i++)
		atomic_store_explicit(&upper_block(graph, run + i)[0], 0, memory_order_relaxed);
	atomic_store_explicit(&node->block, run, memory_order_relaxed);
	return level;
}

void
iqdbi_hnsw_run_give(const IqdbiHnsw *graph, uint32_t run, uint32_t level)
{
	IqdbiHnswHeader *header = graph->header;

	if (run == 0 || level == 0)
		return;
	iqdb_store_lock(graph->store, IQDB_LOCK_ENGINE, true);
	atomic_store_explicit(&upper_block(graph, run)[0], header->block_free[level], memory_order_relaxed);
	header->block_free[level] = run;
	iqdb_store_unlock(graph->store, IQDB_LOCK_ENGINE, true);
}
