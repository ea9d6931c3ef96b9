/*
 * hnsw_check.c - verification of the graph, and its numbers.
 *
 * The graph promises the following, and the check reports a breach where it does not hold:
 *   - a list is no longer than its room, names no slot twice and not the node itself, and every link leads to a node
 *     that is part of the graph and reaches the list's level;
 *   - every LIVE row is linked, waits for links (and stands in region PENDING once), or is the twin of an equal row
 *     (and stands in the chain of that row's node once);
 *   - the entry point is a node of the level it is said to have, and the counts in the header agree with what is there.
 * Links need not be reciprocal. Nodes may be out of reach from the entry point: rows of equal distance to all others,
 * rows of small norm under inner product, clusters far apart. Searches find such rows by the pass over all rows at
 * their end, so these nodes are counted and are no breach.
 */
#include "core/hnsw/hnsw_check_private.h"

#include <stdio.h>
#include <string.h>

#include "core/engine/stretch.h"
#include "core/hnsw/hnsw_bitmap_private.h"
#include "core/hnsw/hnsw_graph_private.h"
#include "core/hnsw/hnsw_reach_private.h"
#include "core/hnsw/hnsw_twins_private.h"

/* What a look at a link costs, and so does each pair of links of a list, because pairs are compared; in nanoseconds. */
#define LINK_COST 2

/* Breaches of one kind reported one by one; the rest is counted. */
#define REPORTED_MAX 20

typedef struct Check
{
	const IqdbiHnsw *graph;
	IqdbFinding      finding;
	void            *arg;
	uint32_t         slot_count;
	uint32_t         reported;
	uint64_t         cost; /* of the looks at one node, in nanoseconds */
	uint64_t         levels[IQDBI_HNSW_LEVELS];
	uint64_t         linked;
	uint64_t         dead;
	uint64_t         dead_linked; /* of those linked */
	uint64_t         waiting;
	uint64_t         twins;   /* not removed for good */
	uint64_t         chained; /* those met in chains */
	uint64_t         gone;    /* twins that a repair has begun to remove */
	uint64_t        *bits; /* a bit per slot */
} Check;

static void
report_breach(Check *check, const char *what, uint32_t slot, uint32_t level)
{
	char text[160];

	if (check->reported++ >= REPORTED_MAX)
		return;
	(void) snprintf(text, sizeof(text), "hnsw: slot %u, level %u: %s", slot, level, what);
	check->finding(check->arg, text);
}

/* ---- nodes ------------------------------------------------------------------------------------------------------- */

static void
check_links(Check *check, uint32_t slot, uint32_t level)
{
	const IqdbiHnsw  *graph = check->graph;
	_Atomic uint32_t *list = iqdbi_hnsw_list(graph, slot, level);
	uint32_t          slots[IQDBI_HNSW_LIST_MAX];
	uint32_t          count;

	if (atomic_load_explicit(&list[0], memory_order_acquire) > iqdbi_hnsw_room(graph, level))
		report_breach(check, "list is longer than its room", slot, level);
	count = iqdbi_list_read(graph, list, level, slots);
	check->cost += ((uint64_t) count + (uint64_t) count * count / 2) * LINK_COST;
	for (uint32_t i = 0; i < count; i++)
	{
		uint32_t info;
		uint32_t status;

		if (slots[i] >= atomic_load_explicit(&graph->store->header->slot_count, memory_order_acquire))
		{
			report_breach(check, "link to a slot that does not exist", slot, level);
			continue;
		}
		info = iqdbi_hnsw_info(graph, slots[i]);
		status = iqdbi_info_status(info);
		if (slots[i] == slot)
			report_breach(check, "link to the node itself", slot, level);
		if (status != IQDBI_INFO_LINKED && status != IQDBI_INFO_LINKING && status != IQDBI_INFO_CONDEMNED)
			report_breach(check, "link to a slot that is no node", slot, level);
		else if (iqdbi_info_level(info) < level)
			report_breach(check, "link to a node that does not reach this level", slot, level);
		for (uint32_t j = 0; j < i; j++)
		{
			if (slots[j] == slots[i])
				report_breach(check, "the same link twice", slot, level);
		}
	}
}

/* Twins are equal to their node and name it; the chain ends with the twin that its first twin names as the last. */
static void
check_twins(Check *check, uint32_t node)
{
	const IqdbiHnsw *graph = check->graph;
	uint32_t         first = iqdbi_hnsw_twin_next(graph, node);
	uint32_t         last = first;
	uint32_t         length = 0;

	for (uint32_t slot = first; slot != IQDB_SLOT_NONE; slot = iqdbi_hnsw_twin_next(graph, slot))
	{
		uint32_t info = iqdbi_hnsw_info(graph, slot);

		check->cost += IQDB_CHARGE_AT_RANDOM + iqdb_charge_bytes(graph->vector_bytes);
		if (iqdbi_info_status(info) == IQDBI_INFO_TWIN)
			check->chained++;
		else if ((info & IQDBI_INFO_WAS_TWIN) == 0)
			report_breach(check, "no twin in a chain of twins", slot, 0);
		if (!iqdbi_hnsw_equal(graph, node, slot))
			report_breach(check, "twin that differs from its node", slot, 0);
		if (atomic_load_explicit(&iqdbi_hnsw_node(graph, slot)->block, memory_order_relaxed) != node)
			report_breach(check, "twin that names another node", slot, 0);
		last = slot;
		if (++length > check->slot_count)
		{
			report_breach(check, "chain of twins without end", node, 0);
			return;
		}
	}
	if (first != IQDB_SLOT_NONE &&
		atomic_load_explicit(&iqdbi_hnsw_node(graph, first)->links[0], memory_order_relaxed) != last + 1)
		report_breach(check, "chain of twins ends elsewhere", node, 0);
}

/* STRUCTURE is held, as it is for all that looks at a node. */
static void
check_node(Check *check, uint32_t slot)
{
	const IqdbiHnsw *graph = check->graph;
	IqdbRowState     state = iqdb_store_state(graph->store, slot);
	uint32_t         info = iqdbi_hnsw_info(graph, slot);
	uint32_t         status = iqdbi_info_status(info);
	uint32_t         level = iqdbi_info_level(info);

	if (status > IQDBI_INFO_TWIN || level > IQDBI_HNSW_LEVEL_MAX)
	{
		report_breach(check, "state of the node is none of the known ones", slot, level);
		return;
	}
	if (state == IQDB_ROW_LIVE && (status == IQDBI_INFO_ABSENT || status == IQDBI_INFO_CONDEMNED))
		report_breach(check, "live row that is neither linked nor waiting", slot, 0);
	if (state == IQDB_ROW_LIVE && (info & IQDBI_INFO_DEAD) != 0)
		report_breach(check, "live row whose node is marked as removed", slot, 0);
	if (state != IQDB_ROW_LIVE && state != IQDB_ROW_DEAD && status != IQDBI_INFO_ABSENT)
		report_breach(check, "node without a row", slot, 0);
	if ((info & IQDBI_INFO_DEAD) != 0)
		check->dead++;
	if (status == IQDBI_INFO_PENDING || status == IQDBI_INFO_LINKING)
		check->waiting++;
	if (status == IQDBI_INFO_LINKED || (info & IQDBI_INFO_WAS_LINKED) != 0)
	{
		check->linked++;
		check->dead_linked += (info & IQDBI_INFO_DEAD) != 0;
		check->levels[level]++;
	}
	check->twins += status == IQDBI_INFO_TWIN;
	check->gone += (info & IQDBI_INFO_WAS_TWIN) != 0;
	if (status == IQDBI_INFO_LINKED || ((info & IQDBI_INFO_WAS_LINKED) != 0 && (info & IQDBI_INFO_INHERITED) == 0))
		check_twins(check, slot);
	if (status != IQDBI_INFO_LINKED)
		return;
	for (uint32_t at = 0; at <= level; at++)
		check_links(check, slot, at);
}

static IqdbStatus
check_nodes(Check *check)
{
	const IqdbStore *store = check->graph->store;
	IqdbStatus       status = IQDB_OK;
	IqdbStretch      stretch;

	iqdb_stretch_begin(&stretch, store, IQDB_LOCK_STRUCTURE, NULL);
	for (uint32_t slot = 0; slot < check->slot_count && status == IQDB_OK; slot++)
	{
		check->cost = IQDB_CHARGE_AT_RANDOM;
		check_node(check, slot);
		status = iqdb_stretch_step(&stretch, check->cost);
	}
	iqdb_stretch_end(&stretch);
	return status;
}

/* ---- region PENDING, entry, counts ------------------------------------------------------------------------------- */

static void
check_pending(Check *check)
{
	const IqdbiHnsw *graph = check->graph;
	uint64_t         found = 0;
	uint32_t         count;

	memset(check->bits, 0, iqdbi_bitmap_bytes(check->slot_count));
	iqdb_store_lock(graph->store, IQDB_LOCK_STRUCTURE, false);
	iqdb_store_lock(graph->store, IQDB_LOCK_ENGINE, false);
	count = atomic_load_explicit(&graph->header->pending, memory_order_acquire);
	for (uint32_t i = 0; i < count; i++)
	{
		uint32_t slot = atomic_load_explicit(&graph->pending[i], memory_order_acquire);
		uint32_t status;

		if (slot >= check->slot_count)
			continue;
		status = iqdbi_info_status(iqdbi_hnsw_info(graph, slot));
		if (!iqdbi_bitmap_add(check->bits, slot))
			report_breach(check, "waits for links twice", slot, 0);
		found += status == IQDBI_INFO_PENDING || status == IQDBI_INFO_LINKING;
	}
	iqdb_store_unlock(graph->store, IQDB_LOCK_ENGINE, false);
	iqdb_store_unlock(graph->store, IQDB_LOCK_STRUCTURE, false);
	if (found != check->waiting)
		report_breach(check, "rows that wait for links are not all in the list of those", (uint32_t) found, 0);
}

static void
check_graph_counts(Check *check)
{
	const IqdbiHnsw *graph = check->graph;
	uint64_t         entry = iqdbi_hnsw_entry(graph);

	for (uint32_t level = 0; level < IQDBI_HNSW_LEVELS; level++)
	{
		if (check->levels[level] != atomic_load_explicit(&graph->header->level_count[level], memory_order_relaxed))
			report_breach(check, "count of nodes is wrong", 0, level);
	}
	if (check->linked != atomic_load_explicit(&graph->header->linked, memory_order_relaxed))
		report_breach(check, "count of linked nodes is wrong", 0, 0);
	if (check->dead != atomic_load_explicit(&graph->header->unrepaired, memory_order_relaxed))
		report_breach(check, "count of removed rows is wrong", 0, 0);
	if (check->chained != check->twins)
		report_breach(check, "twins are not all in chains", 0, 0);
	if (check->twins + check->gone != atomic_load_explicit(&graph->header->twins, memory_order_relaxed))
		report_breach(check, "count of twins is wrong", 0, 0);
	if (entry == 0 && check->linked > 0)
		report_breach(check, "graph without entry point", 0, 0);
	if (entry != 0)
	{
		uint32_t slot = iqdbi_entry_slot(entry);
		uint32_t info = slot < check->slot_count ? iqdbi_hnsw_info(graph, slot) : IQDBI_INFO_ABSENT;

		if (iqdbi_info_status(info) < IQDBI_INFO_LINKING || iqdbi_info_status(info) == IQDBI_INFO_TWIN ||
			iqdbi_info_level(info) != iqdbi_entry_level(entry))
			report_breach(check, "entry point is no such node", slot, iqdbi_entry_level(entry));
	}
}

/* ---- reach ------------------------------------------------------------------------------------------------------- */

/* Counts living nodes that no search could get to. This is no breach, but iqdb_index_stats shows the number. */
static IqdbStatus
count_unreachable(const Check *check)
{
	IqdbiReach reach;
	uint64_t   missing = check->linked - check->dead_linked;
	IqdbStatus status = iqdbi_reach_init(&reach, check->graph, check->slot_count);

	if (status != IQDB_OK)
		return status;
	status = iqdbi_reach_all(&reach);
	for (uint32_t i = 0; i < reach.tail; i++)
	{
		uint32_t info = iqdbi_hnsw_info(check->graph, reach.queue[i]);

		missing -= missing > 0 && iqdbi_info_status(info) == IQDBI_INFO_LINKED && (info & IQDBI_INFO_DEAD) == 0;
	}
	iqdbi_reach_free(&reach);
	if (status == IQDB_OK)
		atomic_store_explicit(&check->graph->header->unreachable, (uint32_t) missing, memory_order_relaxed);
	return status;
}

/* ---- the engine's table ------------------------------------------------------------------------------------------ */

IqdbStatus
iqdbi_hnsw_check(IqdbStore *store, IqdbFinding finding, void *arg, IqdbError *err)
{
	const IqdbAllocator *allocator = &store->host->allocator;
	uint32_t             slot_count = atomic_load_explicit(&store->header->slot_count, memory_order_acquire);
	IqdbiHnsw            graph;
	Check                check = {.finding = finding, .arg = arg, .slot_count = slot_count};
	IqdbStatus           status;

	iqdbi_hnsw_view(&graph, store);
	check.graph = &graph;
	check.bits = iqdb_alloc(allocator, iqdbi_bitmap_bytes(slot_count));
	status = check.bits != NULL ? check_nodes(&check) : IQDB_ERR_NOMEM;
	if (status == IQDB_OK)
	{
		check_pending(&check);
		check_graph_counts(&check);
		status = count_unreachable(&check);
	}
	if (check.reported > REPORTED_MAX)
		finding(arg, "hnsw: more breaches were found than are listed");
	iqdb_free(allocator, check.bits, iqdbi_bitmap_bytes(slot_count));
	return status == IQDB_OK ? IQDB_OK : iqdb_fail(err, status, "verification was stopped");
}

void
iqdbi_hnsw_stats(const IqdbStore *store, IqdbEngineStats *stats_out)
{
	const IqdbiHnswHeader *header = store->engine_header;
	uint64_t               entry = atomic_load_explicit(&header->entry, memory_order_acquire);
	uint32_t               last = sizeof(stats_out->level_count) / sizeof(stats_out->level_count[0]) - 1;

	memset(stats_out, 0, sizeof(*stats_out));
	/* finished entries of region PENDING are counted too until they are dropped */
	stats_out->unlinked = atomic_load_explicit(&header->pending, memory_order_relaxed);
	stats_out->unrepaired = atomic_load_explicit(&header->unrepaired, memory_order_relaxed);
	stats_out->unreachable = atomic_load_explicit(&header->unreachable, memory_order_relaxed);
	stats_out->twins = atomic_load_explicit(&header->twins, memory_order_relaxed);
	stats_out->levels = entry == 0 ? 0 : iqdbi_entry_level(entry) + 1;
	for (uint32_t level = 0; level < IQDBI_HNSW_LEVELS; level++)
		stats_out->level_count[level < last ? level : last] +=
			atomic_load_explicit(&header->level_count[level], memory_order_relaxed);
}
