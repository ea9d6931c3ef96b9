/*
 * hnsw_twins.c - rows of equal vectors share one node of the graph.
 *
 * Very many equal rows would be each other's only neighbours, out of reach for everybody else. So a row whose vector is
 * that of a node becomes its twin: it has no links, but stands in the node's chain, behind those that were linked before it.
 * Who meets the node can go on to all of them. Linking looks in two places for the node: among those linked lately
 * (header->recent, by a hash of the vector), which costs next to nothing, and among the neighbours that it finds for the
 * row. A pair of equal rows that is missed becomes two nodes, each with a chain; nothing depends on there being one only.
 *
 * Owns: the chain. A chain is a list of slots: node -> first twin -> ... -> last, by the field twin (slot + 1, 0 = end). The
 * first one's first word of links holds the last one (slot + 1), so that appending costs the same however long the chain.
 * Changes happen under the node's lock: appending by linkers, taking out by the repair, which is one at a time. Readers take
 * no lock. One who stands on a twin that is taken out goes on by its field twin, which stays as it is until the slot is let
 * go; README.md, "Letting slots go", holds for twins as it does for nodes.
 */
#include "core/hnsw/hnsw_private.h"

#include <string.h>

#include "core/base/crc32c.h"

static uint32_t
load_word(const _Atomic uint32_t *word)
{
	return atomic_load_explicit(word, memory_order_acquire);
}

static void
store_word(_Atomic uint32_t *word, uint32_t value)
{
	atomic_store_explicit(word, value, memory_order_release);
}

bool
iqdbi_hnsw_equal(const IqdbiHnsw *graph, uint32_t a, uint32_t b)
{
	return memcmp(iqdb_store_vector(graph->store, a), iqdb_store_vector(graph->store, b), graph->dim * sizeof(float)) == 0;
}

/*
 * Part of the graph. One whose row was removed will do as long as no repair has taken it: a row that is replaced by one with
 * the same vector again and again shall not leave as many nodes. The repair waits for us before it looks at the chain.
 */
static bool
is_node(const IqdbiHnsw *graph, uint32_t slot)
{
	return iqdbi_info_status(iqdbi_hnsw_info(graph, slot)) == IQDBI_INFO_LINKED;
}

/* ---- finding the node -------------------------------------------------------------------------------------------- */

static _Atomic uint32_t *
recent_place(const IqdbiHnsw *graph, uint32_t slot)
{
	uint32_t hash = iqdb_crc32c(0, iqdb_store_vector(graph->store, slot), graph->dim * sizeof(float));

	return &graph->header->recent[hash % IQDBI_HNSW_RECENT];
}

uint32_t
iqdbi_hnsw_twin_recent(const IqdbiHnsw *graph, uint32_t slot)
{
	uint32_t node = load_word(recent_place(graph, slot));

	if (node == 0 || !is_node(graph, node - 1) || !iqdbi_hnsw_equal(graph, node - 1, slot))
		return IQDB_SLOT_NONE;
	return node - 1;
}

void
iqdbi_hnsw_twin_remember(const IqdbiHnsw *graph, uint32_t slot, uint32_t node)
{
	store_word(recent_place(graph, slot), node + 1);
}

/* ---- the chain --------------------------------------------------------------------------------------------------- */

void
iqdbi_hnsw_twin_append(const IqdbiHnsw *graph, uint32_t node, uint32_t slot)
{
	IqdbiHnswNode *head = iqdbi_hnsw_node(graph, node);
	IqdbiHnswNode *own = iqdbi_hnsw_node(graph, slot);
	uint32_t       first = load_word(&head->twin);

	store_word(&own->twin, 0);
	store_word(&own->block, node);
	store_word(&own->count, 0);
	if (first == 0)
	{
		store_word(&own->links[0], slot + 1);
		store_word(&head->twin, slot + 1);
	}
	else
	{
		_Atomic uint32_t *last = &iqdbi_hnsw_node(graph, first - 1)->links[0];

		store_word(&iqdbi_hnsw_node(graph, load_word(last) - 1)->twin, slot + 1);
		store_word(last, slot + 1);
	}
	atomic_fetch_add_explicit(&graph->header->twins, 1, memory_order_relaxed);
}

bool
iqdbi_hnsw_twin_join(const IqdbiHnsw *graph, uint32_t node, uint32_t slot)
{
	IqdbiHnswNode *head = iqdbi_hnsw_node(graph, node);
	uint32_t       word = iqdbi_hnsw_lock(head);
	bool           joined = is_node(graph, node);

	if (joined)
		iqdbi_hnsw_twin_append(graph, node, slot);
	iqdbi_hnsw_unlock(head, word);
	return joined;
}

/* Takes `slot` out, which stands behind `before` (the node itself or a twin). The node's lock is held. */
static void
take_out(const IqdbiHnsw *graph, uint32_t node, uint32_t before, uint32_t slot)
{
	uint32_t first = load_word(&iqdbi_hnsw_node(graph, node)->twin);
	uint32_t last = load_word(&iqdbi_hnsw_node(graph, first - 1)->links[0]);
	uint32_t next = load_word(&iqdbi_hnsw_node(graph, slot)->twin);

	if (last == slot + 1)
		last = before + 1;
	if (first == slot + 1)
		first = next;
	if (first != 0)
		store_word(&iqdbi_hnsw_node(graph, first - 1)->links[0], last);
	store_word(&iqdbi_hnsw_node(graph, before)->twin, next);
}

static bool
is_condemned(const IqdbiHnsw *graph, uint32_t slot)
{
	return iqdbi_info_status(iqdbi_hnsw_info(graph, slot)) == IQDBI_INFO_CONDEMNED;
}

/*
 * Takes condemned twins out of a node's chain. Between two of them the walk may pause: nobody else takes twins out, so what
 * stands in the chain stays there.
 */
IqdbStatus
iqdbi_hnsw_twins_drop(IqdbiWalk *walk, uint32_t node)
{
	const IqdbiHnsw *graph = walk->graph;
	IqdbiHnswNode   *head = iqdbi_hnsw_node(graph, node);
	uint32_t         before = node;
	uint32_t         at;

	while ((at = load_word(&iqdbi_hnsw_node(graph, before)->twin)) != 0)
	{
		IqdbiPause pause;

		if (is_condemned(graph, at - 1))
		{
			uint32_t word = iqdbi_hnsw_lock(head);

			take_out(graph, node, before, at - 1);
			iqdbi_hnsw_unlock(head, word);
		}
		else
			before = at - 1;
		walk->budget -= IQDBI_TWIN_COST;
		if (iqdbi_walk_spent(walk))
			IQDB_TRY(iqdbi_walk_pause(walk, &pause));
	}
	return IQDB_OK;
}

/* ---- when the node goes ------------------------------------------------------------------------------------------ */

/* A link where there is room, else in the place of the last one. */
static void
lead_to(const IqdbiHnsw *graph, uint32_t node, uint32_t level, uint32_t to)
{
	IqdbiHnswNode    *head = iqdbi_hnsw_node(graph, node);
	_Atomic uint32_t *list = iqdbi_hnsw_list(graph, node, level);
	uint32_t          word = iqdbi_hnsw_lock(head);
	uint32_t          count = load_word(&list[0]);

	if (count >= iqdbi_hnsw_room(graph, level))
		count = iqdbi_hnsw_room(graph, level) - 1;
	store_word(&list[1 + count], to);
	store_word(&list[0], count + 1);
	iqdbi_hnsw_unlock(head, word);
}

/* The first twin takes the node's place: its links, its level as far as there is room, the rest of its chain. */
static void
inherit(const IqdbiHnsw *graph, uint32_t node, uint32_t heir)
{
	IqdbiHnswHeader *header = graph->header;
	IqdbiHnswNode   *own = iqdbi_hnsw_node(graph, heir);
	uint32_t         level = iqdbi_info_level(iqdbi_hnsw_info(graph, node));
	uint32_t         slots[IQDBI_HNSW_LIST_MAX];
	uint32_t         last = load_word(&own->links[0]);
	uint32_t         next = load_word(&own->twin);

	if (next != 0)
		store_word(&iqdbi_hnsw_node(graph, next - 1)->links[0], last);
	iqdbi_hnsw_encode(graph, heir);
	level = iqdbi_hnsw_blocks_take(graph, heir, level);
	for (uint32_t at = 0; at <= level; at++)
	{
		uint32_t count = iqdbi_list_read(graph, iqdbi_hnsw_list(graph, node, at), at, slots);

		iqdbi_list_write(iqdbi_hnsw_list(graph, heir, at), slots, count);
	}
	iqdbi_hnsw_set_info(graph, heir, IQDBI_INFO_LINKED, level);
	atomic_fetch_add_explicit(&header->linked, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&header->level_count[level], 1, memory_order_relaxed);
	atomic_fetch_sub_explicit(&header->twins, 1, memory_order_relaxed);
	atomic_fetch_or_explicit(&iqdbi_hnsw_node(graph, node)->info, IQDBI_INFO_INHERITED, memory_order_release);
	for (uint32_t at = 0; at <= level; at++)
		lead_to(graph, node, at, heir);
}

/*
 * The condemned node keeps its chain for readers who stand on it. They find the heir there, and behind it the others; whoever
 * else comes finds the heir as a neighbour of the node, and so does the repair of the lists that name the node.
 */
IqdbStatus
iqdbi_hnsw_twins_bequeath(IqdbiWalk *walk, uint32_t node)
{
	const IqdbiHnsw *graph = walk->graph;
	uint32_t         info = iqdbi_hnsw_info(graph, node);
	uint32_t         heir;
	IqdbStatus       status = IQDB_OK;

	if ((info & (IQDBI_INFO_WAS_TWIN | IQDBI_INFO_INHERITED)) != 0)
		return IQDB_OK;
	IQDB_TRY(iqdbi_hnsw_twins_drop(walk, node));
	heir = load_word(&iqdbi_hnsw_node(graph, node)->twin);
	if (heir == 0)
		return IQDB_OK;
	inherit(graph, node, heir - 1);
	/* done to the end even if cancelled: nobody would take it up again */
	for (uint32_t at = load_word(&iqdbi_hnsw_node(graph, heir - 1)->twin); at != 0;)
	{
		IqdbiPause pause;

		store_word(&iqdbi_hnsw_node(graph, at - 1)->block, heir - 1);
		at = load_word(&iqdbi_hnsw_node(graph, at - 1)->twin);
		walk->budget -= IQDBI_TWIN_COST;
		if (iqdbi_walk_spent(walk))
			status = iqdbi_walk_pause(walk, &pause);
	}
	return status;
}
