/*
 * hnsw_reach.c - which nodes a search could get to, and links for those it could not.
 *
 * Cutting a full list back drops links. A node, or a cluster far from all others, may thereby lose the last link that
 * leads to it: it is lost. Preventing that at each insertion would cost more than it is worth; instead a repair, the
 * end of a build and OPTIMIZE look for lost nodes and attach them.
 */
#include "core/hnsw/hnsw_reach_private.h"

#include "core/hnsw/hnsw_links_private.h"

/*
 * Among rows of equal distance to all others, and under inner product, most nodes may be lost and stay so, because the
 * few that can be reached have no room for links to them all. So one run attaches at most this share of the nodes, and
 * a few more for small indexes.
 */
#define ATTACHED_SHARE 16
#define ATTACHED_MIN 64

/* A lost node is attached to so many of its nearest neighbours. */
#define ATTACHED_TO 2

static size_t
queue_bytes(uint32_t slots)
{
	return ((size_t) slots + 1) * sizeof(uint32_t);
}

IqdbStatus
iqdbi_reach_init(IqdbiReach *reach, const IqdbiHnsw *graph, uint32_t slot_count)
{
	const IqdbAllocator *allocator = &graph->store->host->allocator;

	reach->graph = graph;
	reach->slot_count = slot_count;
	reach->tail = 0;
	reach->bits = iqdb_alloc_zero(allocator, iqdbi_bitmap_bytes(slot_count));
	reach->queue = iqdb_alloc(allocator, queue_bytes(slot_count));
	if (reach->bits != NULL && reach->queue != NULL)
		return IQDB_OK;
	iqdbi_reach_free(reach);
	return IQDB_ERR_NOMEM;
}

void
iqdbi_reach_free(IqdbiReach *reach)
{
	const IqdbAllocator *allocator = &reach->graph->store->host->allocator;

	iqdb_free(allocator, reach->bits, iqdbi_bitmap_bytes(reach->slot_count));
	iqdb_free(allocator, reach->queue, queue_bytes(reach->slot_count));
	reach->bits = NULL;
	reach->queue = NULL;
}

/* Puts a slot at the end of the queue unless it is there already, or is newer than this walk. */
static void
reach_slot(IqdbiReach *reach, uint32_t slot)
{
	if (slot < reach->slot_count && iqdbi_bitmap_add(reach->bits, slot))
		reach->queue[reach->tail++] = slot;
}

/* Follows the links of one level from queue entry `head` on, until the queue ends. STRUCTURE is held, in stretches. */
static IqdbStatus
reach_level(IqdbiReach *reach, IqdbStretch *stretch, uint32_t head, uint32_t level)
{
	const IqdbiHnsw *graph = reach->graph;

	while (head < reach->tail)
	{
		uint32_t slot = reach->queue[head++];
		uint32_t slots[IQDBI_HNSW_LIST_MAX];
		uint32_t count = 0;

		if (iqdbi_info_level(iqdbi_hnsw_info(graph, slot)) >= level)
			count = iqdbi_list_read(graph, iqdbi_hnsw_list(graph, slot, level), level, slots);
		for (uint32_t i = 0; i < count; i++)
			reach_slot(reach, slots[i]);
		IQDB_TRY(iqdb_stretch_step(stretch, IQDB_CHARGE_AT_RANDOM + count * IQDB_CHARGE_SLOT));
	}
	return IQDB_OK;
}

/*
 * Each level is followed from all nodes that were reached on the levels above it, as a search with an endless beam
 * would do.
 */
IqdbStatus
iqdbi_reach_all(IqdbiReach *reach)
{
	const IqdbiHnsw *graph = reach->graph;
	uint64_t         entry = iqdbi_hnsw_entry(graph);
	IqdbStatus       status = IQDB_OK;
	IqdbStretch      stretch;

	if (entry == 0)
		return IQDB_OK;
	reach_slot(reach, iqdbi_entry_slot(entry));
	/* what becomes of slots in a pause does not matter: they are numbers here */
	iqdb_stretch_begin(&stretch, graph->store, IQDB_LOCK_STRUCTURE, NULL);
	for (uint32_t level = iqdbi_entry_level(entry) + 1; level-- > 0 && status == IQDB_OK;)
		status = reach_level(reach, &stretch, 0, level);
	iqdb_stretch_end(&stretch);
	return status;
}

/* Is the slot a node that a new link may lead to: part of the graph, and not removed? */
static bool
is_alive(const IqdbiHnsw *graph, uint32_t slot)
{
	uint32_t info = iqdbi_hnsw_info(graph, slot);

	return iqdbi_info_status(info) == IQDBI_INFO_LINKED && (info & IQDBI_INFO_DEAD) == 0;
}

/*
 * Searches for the nearest nodes as for a query. What a search finds can be reached, so links from those nodes make
 * this one reachable. STRUCTURE is held, but the search lets it go in pauses: a node that was removed meanwhile gets no
 * link any more.
 */
static IqdbStatus
attach_node(IqdbiLinker *linker, uint32_t slot)
{
	IqdbiWalk       *walk = &linker->walk;
	const IqdbiHnsw *graph = walk->graph;
	uint32_t         nearest[ATTACHED_TO];
	uint32_t         count = 0;

	walk->self = slot;
	IQDB_TRY(iqdbi_walk_whole(walk, slot, 0, graph->store->header->options.ef_construction));
	for (size_t i = 0; i < walk->beam.count && count < ATTACHED_TO && is_alive(graph, slot); i++)
	{
		if (is_alive(graph, walk->beam.results[i].slot))
			nearest[count++] = walk->beam.results[i].slot;
	}
	for (uint32_t i = 0; i < count; i++)
	{
		iqdbi_hnsw_link_add(linker, nearest[i], 0, slot);
		iqdbi_hnsw_link_append(graph, slot, 0, nearest[i]);
	}
	return IQDB_OK;
}

/* Attaches lost nodes one after the other; what such a node leads to is not lost any more either. */
static IqdbStatus
attach_lost_nodes(IqdbiReach *reach, IqdbiLinker *linker)
{
	const IqdbiHnsw *graph = reach->graph;
	IqdbStretch     *stretch = &linker->walk.stretch;
	IqdbStatus       status = IQDB_OK;
	uint32_t         left = reach->slot_count / ATTACHED_SHARE + ATTACHED_MIN;

	atomic_store_explicit(&graph->header->unreachable, 0, memory_order_relaxed);
	iqdbi_walk_enter(&linker->walk);
	for (uint32_t slot = 0; slot < reach->slot_count && left > 0 && status == IQDB_OK; slot++)
	{
		uint32_t before = reach->tail;

		if (!iqdbi_reach_has(reach, slot) && is_alive(graph, slot))
		{
			status = attach_node(linker, slot);
			reach_slot(reach, slot);
			left--;
		}
		if (status == IQDB_OK)
			status = reach_level(reach, stretch, before, 0);
		if (status == IQDB_OK)
			status = iqdb_stretch_step(stretch, IQDB_CHARGE_SLOT);
	}
	iqdbi_walk_leave(&linker->walk);
	return status;
}

IqdbStatus
iqdbi_hnsw_attach_lost(const IqdbiHnsw *graph)
{
	uint32_t    slot_count = atomic_load_explicit(&graph->store->header->slot_count, memory_order_acquire);
	IqdbiReach  reach;
	IqdbiLinker linker;
	IqdbStatus  status = iqdbi_reach_init(&reach, graph, slot_count);

	if (status != IQDB_OK)
		return status;
	status = iqdbi_reach_all(&reach);
	if (status == IQDB_OK && reach.tail < slot_count)
	{
		status = iqdbi_linker_init(&linker, graph);
		if (status == IQDB_OK)
		{
			status = attach_lost_nodes(&reach, &linker);
			iqdbi_linker_free(&linker);
		}
	}
	iqdbi_reach_free(&reach);
	return status;
}
