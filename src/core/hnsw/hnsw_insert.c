/*
 * hnsw_insert.c - linking rows into the graph.
 *
 * Owns: the order in which a new node becomes visible, and the state of the row on the way (PENDING, LINKING, LINKED).
 * Does not own: the choice of neighbours and the change of a list (hnsw_links.c). After Malkov and Yashunin, "Efficient
 * and robust approximate nearest neighbor search using Hierarchical Navigable Small World graphs", IEEE TPAMI 2018,
 * algorithms 1, 2 and 5; what differs is listed in README.md.
 */
#include "core/hnsw/hnsw_insert_private.h"

#include <math.h>
#include <string.h>

#include "core/hnsw/hnsw_centre_private.h"
#include "core/hnsw/hnsw_pending_private.h"
#include "core/hnsw/hnsw_sketch_private.h"
#include "core/hnsw/hnsw_twins_private.h"
#include "core/hnsw/hnsw_upper_private.h"

/* The keys of two equal rows differ by this share at most, by rounding in another order of additions. */
#define SAME_KEY 1e-5f

/* So many rows are taken from region PENDING at a time. */
#define PENDING_BATCH 1024

/* Makes room for the neighbours chosen on levels 0 .. level. */
static IqdbStatus
choices_room(IqdbiLinker *linker, uint32_t level)
{
	size_t    one = IQDBI_HNSW_LIST_MAX * sizeof(uint32_t);
	uint32_t *moved;

	if (level < linker->chosen_levels)
		return IQDB_OK;
	moved = iqdb_realloc(&linker->walk.graph->store->host->allocator, linker->chosen, linker->chosen_levels * one,
						 (level + 1) * one);
	if (moved == NULL)
		return IQDB_ERR_NOMEM;
	linker->chosen = moved;
	linker->chosen_levels = level + 1;
	return IQDB_OK;
}

/* The neighbours chosen on a level: chosen_count[level] of them. */
static uint32_t *
chosen_at(IqdbiLinker *linker, uint32_t level)
{
	return linker->chosen + (size_t) level * IQDBI_HNSW_LIST_MAX;
}

/* ---- linking one row --------------------------------------------------------------------------------------------- */

/*
 * Makes the node the entry point of a graph that has none, or none that leads to a living node. Of several linkers that
 * try at the same time one succeeds: the entry point must be still the one that it saw, `expected`. Takes ENGINE.
 */
static bool
become_entry(const IqdbiHnsw *graph, uint32_t slot, uint32_t level, uint64_t expected)
{
	bool first;

	iqdb_store_lock(graph->store, IQDB_LOCK_ENGINE, true);
	first = iqdbi_hnsw_entry(graph) == expected;
	if (first)
		atomic_store_explicit(&graph->header->entry, iqdbi_entry_make(slot, level), memory_order_release);
	iqdb_store_unlock(graph->store, IQDB_LOCK_ENGINE, true);
	return first;
}

/* Makes a node the entry point when it reaches a higher level than the entry point does. Takes ENGINE. */
static void
raise_entry(const IqdbiHnsw *graph, uint32_t slot, uint32_t level)
{
	uint64_t entry = iqdbi_hnsw_entry(graph);

	if (entry != 0 && level <= iqdbi_entry_level(entry))
		return;
	iqdb_store_lock(graph->store, IQDB_LOCK_ENGINE, true);
	entry = iqdbi_hnsw_entry(graph);
	if (entry == 0 || level > iqdbi_entry_level(entry))
		atomic_store_explicit(&graph->header->entry, iqdbi_entry_make(slot, level), memory_order_release);
	iqdb_store_unlock(graph->store, IQDB_LOCK_ENGINE, true);
}

/*
 * A node equal to the row, among those that the search for its neighbours found. It has the same key as the row has
 * with itself, but for rounding, so only vectors of rows with such a key are compared.
 */
static uint32_t
find_equal(IqdbiLinker *linker, uint32_t slot)
{
	const IqdbiHnsw *graph = linker->walk.graph;
	const IqdbiBeam *beam = &linker->walk.beam;
	float            self;
	float            tolerance;

	iqdbi_hnsw_score(graph, &linker->walk.target, &slot, 1, &self);
	tolerance = SAME_KEY * (1.0f + fabsf(self));
	for (size_t i = 0; i < beam->count; i++)
	{
		if (fabsf(beam->results[i].key - self) <= tolerance && iqdbi_hnsw_equal(graph, beam->results[i].slot, slot))
			return beam->results[i].slot;
	}
	return IQDB_SLOT_NONE;
}

/*
 * Finds and notes neighbours on every level, and an equal node. STRUCTURE is held, but for pauses; nothing of that is
 * good when the stretch is stale.
 */
static IqdbStatus
choose_neighbours(IqdbiLinker *linker, uint32_t slot, uint64_t entry, uint32_t level)
{
	IqdbiWalk       *walk = &linker->walk;
	const IqdbiHnsw *graph = walk->graph;
	uint32_t         top = iqdbi_entry_level(entry);
	uint32_t         highest = level < top ? level : top;

	linker->equal = IQDB_SLOT_NONE;
	memset(linker->chosen_count, 0, sizeof(linker->chosen_count));
	IQDB_TRY(iqdbi_walk_descend(walk, entry, highest, graph->store->header->options.ef_construction));
	for (uint32_t at = highest + 1; at-- > 0 && !walk->stretch.stale;)
	{
		IQDB_TRY(iqdbi_walk_begin(walk));
		IQDB_TRY(iqdbi_walk_level(walk, at));
		/* the selection compares each candidate with a few others */
		iqdb_stretch_charge(&walk->stretch, walk->beam.count * 6 * graph->cost);
		memcpy(linker->candidates, walk->beam.results, walk->beam.count * sizeof(IqdbiPair));
		if (!walk->stretch.stale)
			linker->chosen_count[at] = iqdbi_hnsw_select_first(linker, linker->candidates, walk->beam.count,
															   graph->store->header->options.m, chosen_at(linker, at));
	}
	if (!walk->stretch.stale)
		linker->equal = find_equal(linker, slot);
	return IQDB_OK;
}

/*
 * Drops neighbours that have been removed. A link may be written only in a stretch in which its target was seen not to
 * be DEAD: README.md, "Releasing slots".
 */
static void
drop_dead_choices(IqdbiLinker *linker, uint32_t level)
{
	uint32_t *slots = chosen_at(linker, level);
	uint32_t  kept = 0;

	for (uint32_t i = 0; i < linker->chosen_count[level]; i++)
	{
		if ((iqdbi_hnsw_info(linker->walk.graph, slots[i]) & IQDBI_INFO_DEAD) == 0)
			slots[kept++] = slots[i];
	}
	linker->chosen_count[level] = kept;
}

/*
 * Makes the node visible: writes its own lists on all levels first, then the links towards it, from level 0 up. So a
 * search that meets it can go on from it.
 */
static void
publish_links(IqdbiLinker *linker, uint32_t slot, uint32_t level)
{
	const IqdbiHnsw *graph = linker->walk.graph;

	for (uint32_t at = 0; at <= level; at++)
		iqdbi_list_write(iqdbi_hnsw_list(graph, slot, at), chosen_at(linker, at), linker->chosen_count[at]);
	for (uint32_t at = 0; at <= level; at++)
	{
		for (uint32_t i = 0; i < linker->chosen_count[at]; i++)
			iqdbi_hnsw_link_add(linker, chosen_at(linker, at)[i], at, slot);
	}
}

/* Writes the row's code, before any link leads to it, and makes the row the walk's target. STRUCTURE is held. */
static void
prepare_target(IqdbiLinker *linker, uint32_t slot)
{
	iqdbi_hnsw_encode(linker->walk.graph, slot, linker->walk.target.prepared);
	iqdbi_target_row(linker->walk.graph, &linker->walk.target, slot);
}

/*
 * Links a row that this linker has claimed, or makes it the twin of a node that its search met (*joined_out). STRUCTURE
 * is held, but for pauses.
 */
static IqdbStatus
link_claimed(IqdbiLinker *linker, uint32_t slot, uint32_t level, bool *joined_out)
{
	IqdbiWalk       *walk = &linker->walk;
	const IqdbiHnsw *graph = walk->graph;

	for (;;)
	{
		uint64_t entry = iqdbi_hnsw_entry(graph);

		iqdb_stretch_refresh(&walk->stretch);
		prepare_target(linker, slot);
		if (entry != 0)
		{
			IQDB_TRY(choose_neighbours(linker, slot, entry, level));
			if (walk->stretch.stale)
				continue;
			*joined_out = linker->equal != IQDB_SLOT_NONE && iqdbi_hnsw_twin_join(graph, linker->equal, slot);
			if (*joined_out)
				return IQDB_OK;
			for (uint32_t at = 0; at <= level; at++)
				drop_dead_choices(linker, at);
			if (linker->chosen_count[0] > 0)
			{
				publish_links(linker, slot, level);
				raise_entry(graph, slot, level);
				return IQDB_OK;
			}
		}
		/* no living node can be reached: this one becomes the way in */
		for (uint32_t at = 0; at <= level; at++)
			iqdbi_list_write(iqdbi_hnsw_list(graph, slot, at), NULL, 0);
		if (become_entry(graph, slot, level, entry))
			return IQDB_OK;
	}
}

/* Turns PENDING into LINKING, which succeeds for one linker only. A removed row is left to the next repair. */
static bool
claim_row(const IqdbiHnsw *graph, uint32_t slot)
{
	uint32_t info = iqdbi_info_make(IQDBI_INFO_PENDING, 0);

	return atomic_compare_exchange_strong_explicit(&iqdbi_hnsw_node(graph, slot)->info, &info,
												   iqdbi_info_make(IQDBI_INFO_LINKING, 0), memory_order_acq_rel,
												   memory_order_relaxed);
}

/* Draws the row's level and takes blocks for it. STRUCTURE is held, ROWS and ENGINE are not. */
static uint32_t
prepare_lists(IqdbiLinker *linker, uint32_t slot)
{
	const IqdbiHnsw *graph = linker->walk.graph;
	uint32_t         level = iqdbi_hnsw_draw_level(graph, iqdb_store_sequence(graph->store, slot));

	level = iqdbi_hnsw_blocks_take(graph, slot, level);
	atomic_store_explicit(&iqdbi_hnsw_node(graph, slot)->twin, 0, memory_order_relaxed);
	iqdbi_hnsw_set_info(graph, slot, IQDBI_INFO_LINKING, level);
	return level;
}

/* Links a claimed row as a node, or as the twin of a node that is met on the way. The same locks. */
static IqdbStatus
link_as_node(IqdbiLinker *linker, uint32_t slot, bool *joined_out)
{
	const IqdbiHnsw *graph = linker->walk.graph;
	IqdbiHnswHeader *header = graph->header;
	uint32_t         level = prepare_lists(linker, slot);
	uint32_t         block = atomic_load_explicit(&iqdbi_hnsw_node(graph, slot)->block, memory_order_relaxed);
	IqdbStatus       status = choices_room(linker, level);

	*joined_out = false;
	if (status == IQDB_OK)
		status = link_claimed(linker, slot, level, joined_out);
	if (status == IQDB_OK && !*joined_out)
	{
		/* before it is linked: of linked nodes a recoding makes them, which may be under way */
		iqdbi_sketch_make(graph, slot, linker->walk.target.prepared);
		iqdbi_hnsw_set_info(graph, slot, IQDBI_INFO_LINKED, level);
		atomic_fetch_add_explicit(&header->linked, 1, memory_order_relaxed);
		atomic_fetch_add_explicit(&header->level_count[level], 1, memory_order_relaxed);
		iqdbi_hnsw_twin_remember(graph, slot);
		return IQDB_OK;
	}
	iqdbi_hnsw_run_give(graph, block, level);
	if (status != IQDB_OK)
	{
		atomic_store_explicit(&iqdbi_hnsw_node(graph, slot)->block, 0, memory_order_relaxed);
		iqdbi_hnsw_set_info(graph, slot, IQDBI_INFO_PENDING, 0);
	}
	return status;
}

IqdbStatus
iqdbi_hnsw_link_one(IqdbiLinker *linker, uint32_t slot, bool *linked_out, IqdbError *err)
{
	IqdbiWalk       *walk = &linker->walk;
	const IqdbiHnsw *graph = walk->graph;
	IqdbStatus       status = IQDB_OK;
	bool             claimed;

	iqdbi_walk_enter(walk);
	claimed = iqdb_store_state(graph->store, slot) == IQDB_ROW_LIVE && claim_row(graph, slot);
	if (claimed)
	{
		uint32_t equal = iqdbi_hnsw_twin_find(graph, iqdb_store_vector(graph->store, slot));
		bool     joined = equal != IQDB_SLOT_NONE && iqdbi_hnsw_twin_join(graph, equal, slot);

		if (!joined)
			status = link_as_node(linker, slot, &joined);
		if (joined)
			iqdbi_hnsw_set_info(graph, slot, IQDBI_INFO_TWIN, 0);
		if (status == IQDB_OK)
			iqdbi_hnsw_pending_done(graph, 1);
	}
	iqdbi_walk_leave(walk);
	if (linked_out != NULL)
		*linked_out = claimed && status == IQDB_OK;
	if (claimed && status == IQDB_OK)
		status = iqdbi_hnsw_centre_when_due(graph);
	return status == IQDB_OK ? IQDB_OK : iqdb_fail(err, status, "linking a row was stopped");
}

/* ---- the engine's table ------------------------------------------------------------------------------------------ */

IqdbStatus
iqdbi_hnsw_link(IqdbStore *store, uint32_t slot, IqdbError *err)
{
	IqdbiHnsw   graph;
	IqdbiLinker linker;
	IqdbStatus  status;

	iqdbi_hnsw_view(&graph, store);
	if (iqdbi_linker_init(&linker, &graph) != IQDB_OK)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for linking a row");
	status = iqdbi_hnsw_link_one(&linker, slot, NULL, err);
	iqdbi_linker_free(&linker);
	return status;
}

IqdbStatus
iqdbi_hnsw_link_pending(IqdbStore *store, uint64_t max_rows, uint64_t *linked_out, IqdbError *err)
{
	const IqdbAllocator *allocator = &store->host->allocator;
	IqdbiHnsw            graph;
	IqdbiLinker          linker;
	IqdbStatus           status = IQDB_OK;
	uint32_t            *slots;
	uint32_t             count;

	*linked_out = 0;
	iqdbi_hnsw_view(&graph, store);
	if (iqdbi_linker_init(&linker, &graph) != IQDB_OK)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for linking rows");
	slots = iqdb_alloc(allocator, PENDING_BATCH * sizeof(uint32_t));
	if (slots == NULL)
		status = iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for linking rows");
	while (status == IQDB_OK && *linked_out < max_rows)
	{
		count = iqdbi_hnsw_pending_first(&graph, slots, PENDING_BATCH);
		if (count == 0)
			break;
		for (uint32_t i = 0; i < count && *linked_out < max_rows && status == IQDB_OK; i++)
		{
			bool linked;

			if (iqdb_host_cancelled(store->host))
				status = iqdb_fail(err, IQDB_ERR_CANCELLED, "linking rows was cancelled");
			else
			{
				status = iqdbi_hnsw_link_one(&linker, slots[i], &linked, err);
				*linked_out += linked;
			}
		}
	}
	iqdb_free(allocator, slots, PENDING_BATCH * sizeof(uint32_t));
	iqdbi_linker_free(&linker);
	return status;
}
