/*
 * hnsw_check.c - verification of the graph, and its numbers.
 *
 * What is promised of the graph, and therefore a breach when it does not hold: lists within their room, links to nodes
 * that are part of the graph and reach the list's level, no link to the node itself, no link twice in a list, every LIVE
 * row linked, waiting or the twin of an equal one, every waiting row in region PENDING once, every twin in the chain of
 * its node once, an entry point that is a node, counts that agree. Links need not be reciprocal, and nodes may be out of
 * reach from the entry point (rows of equal distance to all others, rows of small norm under DOT, clusters far apart):
 * searches find their rows by looking at every row at last, so that is counted, not reported as a breach.
 */
#include "core/hnsw/hnsw_check_private.h"

#include <stdio.h>
#include <string.h>

#include "core/hnsw/hnsw_graph_private.h"
#include "core/hnsw/hnsw_reach_private.h"
#include "core/hnsw/hnsw_twins_private.h"

/* What is looked at in one stretch: links, pairs of links of one list; a node, which is not at hand yet, is as much as many. */
#define STRETCH_LOOKS 300000
#define NODE_LOOKS 100

/* Breaches of one kind reported one by one; the rest is counted. */
#define REPORTED_MAX 20

typedef struct Check
{
	const IqdbiHnsw *graph;
	IqdbFinding      finding;
	void            *arg;
	uint32_t         slot_count;
	uint32_t         reported;
	uint64_t         looks; /* of this stretch */
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
report(Check *check, const char *what, uint32_t slot, uint32_t level)
{
	char text[160];

	if (check->reported++ >= REPORTED_MAX)
		return;
	(void) snprintf(text, sizeof(text), "hnsw: slot %u, level %u: %s", slot, level, what);
	check->finding(check->arg, text);
}

static bool
bit_set(uint64_t *bits, uint32_t slot)
{
	uint64_t mask = UINT64_C(1) << (slot % 64);
	bool     fresh = (bits[slot / 64] & mask) == 0;

	bits[slot / 64] |= mask;
	return fresh;
}

static size_t
bits_bytes(uint32_t slots)
{
	return ((size_t) slots / 64 + 1) * sizeof(uint64_t);
}

/* ---- nodes ------------------------------------------------------------------------------------------------------- */

static void
check_list(Check *check, uint32_t slot, uint32_t level)
{
	const IqdbiHnsw  *graph = check->graph;
	_Atomic uint32_t *list = iqdbi_hnsw_list(graph, slot, level);
	uint32_t          slots[IQDBI_HNSW_LIST_MAX];
	uint32_t          count;

	if (atomic_load_explicit(&list[0], memory_order_acquire) > iqdbi_hnsw_room(graph, level))
		report(check, "list is longer than its room", slot, level);
	count = iqdbi_list_read(graph, list, level, slots);
	check->looks += count + (uint64_t) count * count / 2;
	for (uint32_t i = 0; i < count; i++)
	{
		uint32_t info;
		uint32_t status;

		if (slots[i] >= atomic_load_explicit(&graph->store->header->slot_count, memory_order_acquire))
		{
			report(check, "link to a slot that does not exist", slot, level);
			continue;
		}
		info = iqdbi_hnsw_info(graph, slots[i]);
		status = iqdbi_info_status(info);
		if (slots[i] == slot)
			report(check, "link to the node itself", slot, level);
		if (status != IQDBI_INFO_LINKED && status != IQDBI_INFO_LINKING && status != IQDBI_INFO_CONDEMNED)
			report(check, "link to a slot that is no node", slot, level);
		else if (iqdbi_info_level(info) < level)
			report(check, "link to a node that does not reach this level", slot, level);
		for (uint32_t j = 0; j < i; j++)
		{
			if (slots[j] == slots[i])
				report(check, "the same link twice", slot, level);
		}
	}
}

/* A twin is equal to its node, and the node's chain ends with the one it is said to end with. */
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

		check->looks += NODE_LOOKS + graph->dim / 4;
		if (iqdbi_info_status(info) == IQDBI_INFO_TWIN)
			check->chained++;
		else if ((info & IQDBI_INFO_WAS_TWIN) == 0)
			report(check, "no twin in a chain of twins", slot, 0);
		if (!iqdbi_hnsw_equal(graph, node, slot))
			report(check, "twin that differs from its node", slot, 0);
		if (atomic_load_explicit(&iqdbi_hnsw_node(graph, slot)->block, memory_order_relaxed) != node)
			report(check, "twin that names another node", slot, 0);
		last = slot;
		if (++length > check->slot_count)
		{
			report(check, "chain of twins without end", node, 0);
			return;
		}
	}
	if (first != IQDB_SLOT_NONE &&
		atomic_load_explicit(&iqdbi_hnsw_node(graph, first)->links[0], memory_order_relaxed) != last + 1)
		report(check, "chain of twins ends elsewhere", node, 0);
}

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
		report(check, "state of the node is none of the known ones", slot, level);
		return;
	}
	if (state == IQDB_ROW_LIVE && (status == IQDBI_INFO_ABSENT || status == IQDBI_INFO_CONDEMNED))
		report(check, "live row that is neither linked nor waiting", slot, 0);
	if (state == IQDB_ROW_LIVE && (info & IQDBI_INFO_DEAD) != 0)
		report(check, "live row whose node is marked as removed", slot, 0);
	if (state != IQDB_ROW_LIVE && state != IQDB_ROW_DEAD && status != IQDBI_INFO_ABSENT)
		report(check, "node without a row", slot, 0);
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
		check_list(check, slot, at);
}

static IqdbStatus
check_nodes(Check *check)
{
	const IqdbStore *store = check->graph->store;

	for (uint32_t slot = 0; slot < check->slot_count;)
	{
		if (iqdb_host_cancelled(store->host))
			return IQDB_ERR_CANCELLED;
		iqdb_store_lock(store, IQDB_LOCK_STRUCTURE, false);
		for (check->looks = 0; check->looks < STRETCH_LOOKS && slot < check->slot_count; slot++)
		{
			check->looks += NODE_LOOKS;
			check_node(check, slot);
		}
		iqdb_store_unlock(store, IQDB_LOCK_STRUCTURE, false);
	}
	return IQDB_OK;
}

/* ---- region PENDING, entry, counts ------------------------------------------------------------------------------- */

static void
check_pending(Check *check)
{
	const IqdbiHnsw *graph = check->graph;
	uint64_t         found = 0;
	uint32_t         count;

	memset(check->bits, 0, bits_bytes(check->slot_count));
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
		if (!bit_set(check->bits, slot))
			report(check, "waits for links twice", slot, 0);
		found += status == IQDBI_INFO_PENDING || status == IQDBI_INFO_LINKING;
	}
	iqdb_store_unlock(graph->store, IQDB_LOCK_ENGINE, false);
	iqdb_store_unlock(graph->store, IQDB_LOCK_STRUCTURE, false);
	if (found != check->waiting)
		report(check, "rows that wait for links are not all in the list of those", (uint32_t) found, 0);
}

static void
check_counts(Check *check)
{
	const IqdbiHnsw *graph = check->graph;
	uint64_t         entry = iqdbi_hnsw_entry(graph);

	for (uint32_t level = 0; level < IQDBI_HNSW_LEVELS; level++)
	{
		if (check->levels[level] != atomic_load_explicit(&graph->header->level_count[level], memory_order_relaxed))
			report(check, "count of nodes is wrong", 0, level);
	}
	if (check->linked != atomic_load_explicit(&graph->header->linked, memory_order_relaxed))
		report(check, "count of linked nodes is wrong", 0, 0);
	if (check->dead != atomic_load_explicit(&graph->header->unrepaired, memory_order_relaxed))
		report(check, "count of removed rows is wrong", 0, 0);
	if (check->chained != check->twins)
		report(check, "twins are not all in chains", 0, 0);
	if (check->twins + check->gone != atomic_load_explicit(&graph->header->twins, memory_order_relaxed))
		report(check, "count of twins is wrong", 0, 0);
	if (entry == 0 && check->linked > 0)
		report(check, "graph without entry point", 0, 0);
	if (entry != 0)
	{
		uint32_t slot = iqdbi_entry_slot(entry);
		uint32_t info = slot < check->slot_count ? iqdbi_hnsw_info(graph, slot) : IQDBI_INFO_ABSENT;

		if (iqdbi_info_status(info) < IQDBI_INFO_LINKING || iqdbi_info_status(info) == IQDBI_INFO_TWIN ||
			iqdbi_info_level(info) != iqdbi_entry_level(entry))
			report(check, "entry point is no such node", slot, iqdbi_entry_level(entry));
	}
}

/* ---- reach ------------------------------------------------------------------------------------------------------- */

/* Not a breach, but a number worth knowing. */
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
	check.bits = iqdb_alloc(allocator, bits_bytes(slot_count));
	status = check.bits != NULL ? check_nodes(&check) : IQDB_ERR_NOMEM;
	if (status == IQDB_OK)
	{
		check_pending(&check);
		check_counts(&check);
		status = count_unreachable(&check);
	}
	if (check.reported > REPORTED_MAX)
		finding(arg, "hnsw: more breaches were found than are listed");
	iqdb_free(allocator, check.bits, bits_bytes(slot_count));
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
