/*
 * hnsw_pending.c - rows come and go: region PENDING, which holds what was added and not linked yet, and the flag of
 * what was removed.
 *
 * Owns: region PENDING, guarded by IQDB_LOCK_ENGINE. Does not own: linking (hnsw_insert.c), the repair (hnsw_delete.c).
 */
#include "core/hnsw/hnsw_pending_private.h"

#include "core/hnsw/hnsw_sketch_private.h"

/* Entries of rows that need no linking any more are dropped when they are half of all entries, and at least so many. */
#define PENDING_DONE_MIN 16u

/*
 * Readers go through the array from its end to its beginning, without ENGINE. Entries move towards the beginning only
 * (when finished ones are dropped), so a reader may meet an entry twice, but cannot miss one that was there when it
 * began.
 */
void
iqdbi_hnsw_pending_add(const IqdbiHnsw *graph, uint32_t slot)
{
	IqdbiHnswHeader *header = graph->header;
	uint32_t         count;

	iqdb_store_lock(graph->store, IQDB_LOCK_ENGINE, true);
	count = atomic_load_explicit(&header->pending, memory_order_relaxed);
	atomic_store_explicit(&graph->pending[count], slot, memory_order_release);
	atomic_store_explicit(&header->pending, count + 1, memory_order_release);
	iqdb_store_unlock(graph->store, IQDB_LOCK_ENGINE, true);
}

/* Drops finished entries. ENGINE is held exclusively. */
static void
compact_locked(const IqdbiHnsw *graph)
{
	IqdbiHnswHeader *header = graph->header;
	uint32_t         count = atomic_load_explicit(&header->pending, memory_order_relaxed);
	uint32_t         kept = 0;

	for (uint32_t i = 0; i < count; i++)
	{
		uint32_t slot = atomic_load_explicit(&graph->pending[i], memory_order_relaxed);
		uint32_t status = iqdbi_info_status(iqdbi_hnsw_info(graph, slot));

		if (status != IQDBI_INFO_PENDING && status != IQDBI_INFO_LINKING)
			continue;
		atomic_store_explicit(&graph->pending[kept], slot, memory_order_release);
		kept++;
	}
	atomic_store_explicit(&header->pending, kept, memory_order_release);
	header->pending_done = 0;
}

void
iqdbi_hnsw_pending_done(const IqdbiHnsw *graph, uint32_t count)
{
	IqdbiHnswHeader *header = graph->header;
	uint32_t         all;

	iqdb_store_lock(graph->store, IQDB_LOCK_ENGINE, true);
	header->pending_done += count;
	all = atomic_load_explicit(&header->pending, memory_order_relaxed);
	if (header->pending_done >= all || (header->pending_done >= PENDING_DONE_MIN && header->pending_done >= all / 2))
		compact_locked(graph);
	iqdb_store_unlock(graph->store, IQDB_LOCK_ENGINE, true);
}

void
iqdbi_hnsw_pending_compact(const IqdbiHnsw *graph)
{
	iqdb_store_lock(graph->store, IQDB_LOCK_ENGINE, true);
	compact_locked(graph);
	iqdb_store_unlock(graph->store, IQDB_LOCK_ENGINE, true);
}

uint32_t
iqdbi_hnsw_pending_first(const IqdbiHnsw *graph, uint32_t *slots_out, uint32_t capacity)
{
	uint32_t found = 0;
	uint32_t count;

	iqdb_store_lock(graph->store, IQDB_LOCK_ENGINE, false);
	count = atomic_load_explicit(&graph->header->pending, memory_order_relaxed);
	for (uint32_t i = 0; i < count && found < capacity; i++)
	{
		uint32_t slot = atomic_load_explicit(&graph->pending[i], memory_order_relaxed);
		uint32_t info = iqdbi_hnsw_info(graph, slot);

		if (iqdbi_info_status(info) == IQDBI_INFO_PENDING && (info & IQDBI_INFO_DEAD) == 0)
			slots_out[found++] = slot;
	}
	iqdb_store_unlock(graph->store, IQDB_LOCK_ENGINE, false);
	return found;
}

/* What was in the slot before must not turn the row away. */
void
iqdbi_hnsw_prepare(IqdbStore *store, uint32_t slot)
{
	IqdbiHnsw graph;

	iqdbi_hnsw_view(&graph, store);
	iqdbi_sketch_drop(&graph, slot);
}

void
iqdbi_hnsw_added(IqdbStore *store, uint32_t slot)
{
	IqdbiHnsw graph;

	iqdbi_hnsw_view(&graph, store);
	atomic_store_explicit(&iqdbi_hnsw_node(&graph, slot)->info, IQDBI_INFO_PENDING, memory_order_release);
	iqdbi_hnsw_pending_add(&graph, slot);
}

void
iqdbi_hnsw_removed(IqdbStore *store, uint32_t slot)
{
	IqdbiHnsw graph;

	iqdbi_hnsw_view(&graph, store);
	atomic_fetch_or_explicit(&iqdbi_hnsw_node(&graph, slot)->info, IQDBI_INFO_DEAD, memory_order_release);
	atomic_fetch_add_explicit(&graph.header->unrepaired, 1, memory_order_relaxed);
}
