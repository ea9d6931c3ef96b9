/*
 * hnsw_delete.c - repairing the graph around removed rows, and releasing their slots.
 *
 * Owns: the repair, and with it the only moment at which a node leaves the graph. The repair condemns all removed rows;
 * one pass over the lists then finds the nodes that link to condemned ones, and each gets new neighbours out of what
 * its lost neighbours linked to, by the same selection as at insertion. README.md, "Releasing slots", has the argument
 * why no search and no linker remembers a slot that is released.
 *
 * The pass is cut into stretches and may be cancelled between any two. What was condemned stays a way for searches
 * then, and the next repair goes on with it.
 */
#include "core/hnsw/hnsw_delete_private.h"

#include <string.h>

#include "core/base/fetch.h"
#include "core/hnsw/hnsw_bitmap_private.h"
#include "core/hnsw/hnsw_centre_private.h"
#include "core/hnsw/hnsw_insert_private.h"
#include "core/hnsw/hnsw_links_private.h"
#include "core/hnsw/hnsw_pending_private.h"
#include "core/hnsw/hnsw_reach_private.h"
#include "core/hnsw/hnsw_twins_private.h"
#include "core/hnsw/hnsw_upper_private.h"

/* A list whose gathered candidates are fewer than its degree divided by this gets more by a search. */
#define CANDIDATES_MIN_SHARE 2

/* A list is mended outside its lock. When writers have changed it meanwhile so many times, it is done inside. */
#define REPAIR_TRIES 4

/* Candidates gathered for one list. A linker has room for more. */
#define GATHERED_MAX 512
#define SCORED_AT_ONCE 64

/* In a graph that is loaded lists are spliced when more than this part of the nodes is gone. */
#define SPLICE_SHARE 64u

/* But not a list of which more than this part is gone: there recall would suffer. */
#define SPLICE_LIST_SHARE 3u

/* The pass fetches nodes so far ahead. */
#define FETCH_AHEAD 4

/* Slots released between two looks at cancel. */
#define LET_GO_BATCH 65536u

/* One repair, and its memory. */
typedef struct Repair
{
	const IqdbiHnsw *graph;
	IqdbiLinker      linker;
	uint64_t        *condemned;       /* hnsw_bitmap_private.h: what this repair takes away */
	uint32_t        *gathered;        /* room for GATHERED_MAX candidates for the list being mended */
	IqdbiSlotSet     seen;            /* these, and the condemned nodes whose lists were gathered from */
	uint32_t         slot_count;      /* condemned nodes are below it */
	uint32_t         pass_count;      /* nodes that may link to condemned ones are below it */
	uint32_t         condemned_count;
	bool             splice;          /* mend lists without looking at distances */
	uint64_t         entry;           /* the highest living node that the pass met, if a new entry point is needed */
} Repair;

/* Does this repair take the slot away? */
static bool
in_repair(const Repair *repair, uint32_t slot)
{
	return slot < repair->slot_count && iqdbi_bitmap_has(repair->condemned, slot);
}

/* ---- condemning -------------------------------------------------------------------------------------------------- */

/*
 * Takes a removed row for this repair; false when it is not removed, or the graph does not know it. A row that is being
 * linked at this moment is left to the next repair. STRUCTURE is held.
 */
static bool
condemn_row(const IqdbiHnsw *graph, uint32_t slot)
{
	_Atomic uint32_t *word = &iqdbi_hnsw_node(graph, slot)->info;
	uint32_t          info = atomic_load_explicit(word, memory_order_acquire);
	uint32_t          wanted;

	do
	{
		uint32_t status = iqdbi_info_status(info);

		if ((info & IQDBI_INFO_DEAD) == 0 || status == IQDBI_INFO_LINKING || status == IQDBI_INFO_ABSENT)
			return false;
		/* a repair that was cancelled has condemned it */
		if (status == IQDBI_INFO_CONDEMNED)
			return true;
		wanted = iqdbi_info_make(IQDBI_INFO_CONDEMNED, iqdbi_info_level(info)) | IQDBI_INFO_DEAD;
		if (status == IQDBI_INFO_LINKED)
			wanted |= IQDBI_INFO_WAS_LINKED;
		if (status == IQDBI_INFO_TWIN)
			wanted |= IQDBI_INFO_WAS_TWIN;
	} while (!atomic_compare_exchange_weak_explicit(word, &info, wanted, memory_order_acq_rel, memory_order_acquire));
	return true;
}

/* Condemns every removed row. Reads the store's states, a byte per slot, so that no living node is loaded. */
static IqdbStatus
condemn_removed(Repair *repair)
{
	const IqdbiHnsw *graph = repair->graph;
	IqdbiWalk       *walk = &repair->linker.walk;
	IqdbStatus       status = IQDB_OK;

	iqdbi_walk_enter(walk);
	for (uint32_t slot = 0; slot < repair->slot_count && status == IQDB_OK; slot++)
	{
		if (iqdb_store_state(graph->store, slot) == IQDB_ROW_DEAD && condemn_row(graph, slot))
		{
			(void) iqdbi_bitmap_add(repair->condemned, slot);
			repair->condemned_count++;
			iqdb_stretch_charge(&walk->stretch, IQDB_CHARGE_AT_RANDOM);
		}
		status = iqdb_stretch_step(&walk->stretch, IQDB_CHARGE_SLOT);
	}
	iqdbi_walk_leave(walk);
	return status;
}

/* Waits until every stretch that has begun is over, by holding STRUCTURE exclusively for an instant. */
static void
wait_for_stretches(const IqdbiHnsw *graph)
{
	iqdb_store_lock(graph->store, IQDB_LOCK_STRUCTURE, true);
	iqdb_store_unlock(graph->store, IQDB_LOCK_STRUCTURE, true);
}

/* ---- repairing one list ------------------------------------------------------------------------------------------ */

/* Candidates for a list: living nodes that reach its level. */
typedef struct Gathered
{
	uint32_t *slots;
	uint32_t  count;
	uint32_t  room;
} Gathered;

/* Adds a candidate for the list of `owner`, unless it is none, or is there already. The set `seen` has room for it. */
static void
gather_slot(Repair *repair, Gathered *gathered, uint32_t owner, uint32_t slot, uint32_t level)
{
	uint32_t info;

	if (slot == owner || gathered->count >= gathered->room || in_repair(repair, slot))
		return;
	info = iqdbi_hnsw_info(repair->graph, slot);
	if ((info & IQDBI_INFO_DEAD) != 0 || iqdbi_info_level(info) < level || !iqdbi_set_add(&repair->seen, slot))
		return;
	gathered->slots[gathered->count++] = slot;
}

/* Adds what a condemned neighbour links to; with `further` also what the condemned ones among those link to. */
static IqdbStatus
gather_behind(Repair *repair, Gathered *gathered, uint32_t owner, uint32_t lost, uint32_t level, bool further)
{
	const IqdbiHnsw *graph = repair->graph;
	uint32_t         slots[IQDBI_HNSW_LIST_MAX];
	uint32_t         count;

	if (iqdbi_info_level(iqdbi_hnsw_info(graph, lost)) < level)
		return IQDB_OK;
	count = iqdbi_list_read(graph, iqdbi_hnsw_list(graph, lost, level), level, slots);
	IQDB_TRY(iqdbi_set_grow(&repair->seen, count));
	for (uint32_t i = 0; i < count && gathered->count < gathered->room; i++)
	{
		if (!in_repair(repair, slots[i]))
			gather_slot(repair, gathered, owner, slots[i], level);
		else if (further && iqdbi_set_add(&repair->seen, slots[i]))
			IQDB_TRY(gather_behind(repair, gathered, owner, slots[i], level, false));
		if (further)
			IQDB_TRY(iqdbi_set_grow(&repair->seen, count));
	}
	return IQDB_OK;
}

/* Too little is left around this node: adds what a search finds for it, as at an insertion. The search pauses. */
static IqdbStatus
gather_by_search(Repair *repair, Gathered *gathered, uint32_t owner, uint32_t level)
{
	IqdbiWalk       *walk = &repair->linker.walk;
	const IqdbiHnsw *graph = repair->graph;
	uint32_t         kept = 0;

	IQDB_TRY(iqdbi_walk_whole(walk, owner, level, graph->store->header->options.ef_construction));
	/* of the rows gathered before, some may have been removed in its pauses */
	for (uint32_t i = 0; i < gathered->count; i++)
	{
		if ((iqdbi_hnsw_info(graph, gathered->slots[i]) & IQDBI_INFO_DEAD) == 0)
			gathered->slots[kept++] = gathered->slots[i];
	}
	gathered->count = kept;
	IQDB_TRY(iqdbi_set_grow(&repair->seen, (uint32_t) walk->beam.count));
	for (size_t i = 0; i < walk->beam.count; i++)
		gather_slot(repair, gathered, owner, walk->beam.results[i].slot, level);
	return IQDB_OK;
}

/*
 * Gathers candidates for a list that names condemned nodes. With the node's lock held may_search is false: other
 * writers would wait for the whole search.
 */
static IqdbStatus
gather(Repair *repair, Gathered *gathered, uint32_t owner, uint32_t level, const uint32_t *slots, uint32_t count,
	   bool may_search)
{
	uint32_t enough = iqdbi_hnsw_degree(repair->graph, level);

	IQDB_TRY(iqdbi_set_reset(&repair->seen, gathered->room));
	gathered->count = 0;
	for (uint32_t i = 0; i < count; i++)
		gather_slot(repair, gathered, owner, slots[i], level);
	for (int further = 0; further < 2; further++)
	{
		for (uint32_t i = 0; i < count; i++)
		{
			if (in_repair(repair, slots[i]))
				IQDB_TRY(gather_behind(repair, gathered, owner, slots[i], level, further == 1));
		}
		if (gathered->count >= enough)
			return IQDB_OK;
	}
	if (!may_search || gathered->count >= enough / CANDIDATES_MIN_SHARE)
		return IQDB_OK;
	return gather_by_search(repair, gathered, owner, level);
}

/* Chooses the new list among the candidates. Returns its length. */
static uint32_t
choose_links(Repair *repair, const Gathered *gathered, uint32_t owner, uint32_t level, uint32_t *slots)
{
	IqdbiLinker     *linker = &repair->linker;
	const IqdbiHnsw *graph = repair->graph;
	float            keys[SCORED_AT_ONCE];

	iqdbi_target_code(graph, &linker->owner, owner);
	for (uint32_t done = 0; done < gathered->count;)
	{
		uint32_t part = gathered->count - done < SCORED_AT_ONCE ? gathered->count - done : SCORED_AT_ONCE;

		iqdbi_hnsw_score(graph, &linker->owner, gathered->slots + done, part, keys);
		for (uint32_t i = 0; i < part; i++)
			linker->candidates[done + i] = (IqdbiPair){keys[i], gathered->slots[done + i]};
		done += part;
	}
	/* the selection compares each candidate with a few selected ones, and with more the more are wanted */
	iqdb_stretch_charge(&linker->walk.stretch,
						(uint64_t) gathered->count * (6 + iqdbi_hnsw_degree(graph, level) / 8) * graph->cost);
	iqdbi_pairs_sort(linker->candidates, gathered->count);
	return iqdbi_hnsw_select(linker, linker->candidates, gathered->count, iqdbi_hnsw_degree(graph, level),
							 IQDB_SLOT_NONE, slots);
}

/*
 * The new list without a look at distances: the living links, and for each condemned one some of its own living links, the
 * first of them, which were its best. *count_out is its length, or 0 where too much is gone.
 */
static IqdbStatus
splice_links(Repair *repair, uint32_t owner, uint32_t level, const uint32_t *old, uint32_t old_count, uint32_t *slots_out,
			 uint32_t *count_out)
{
	uint32_t degree = iqdbi_hnsw_degree(repair->graph, level);
	Gathered gathered = {slots_out, 0, IQDBI_HNSW_LIST_MAX};
	uint32_t condemned = 0;
	uint32_t share;

	IQDB_TRY(iqdbi_set_reset(&repair->seen, 2 * IQDBI_HNSW_LIST_MAX));
	for (uint32_t i = 0; i < old_count; i++)
	{
		condemned += in_repair(repair, old[i]);
		gather_slot(repair, &gathered, owner, old[i], level);
	}
	*count_out = 0;
	if (condemned > old_count / SPLICE_LIST_SHARE)
		return IQDB_OK;
	share = gathered.count < degree && condemned > 0 ? (degree - gathered.count + condemned - 1) / condemned : 0;
	for (uint32_t i = 0; i < old_count && gathered.count < degree; i++)
	{
		if (!in_repair(repair, old[i]))
			continue;
		gathered.room = gathered.count + share < degree ? gathered.count + share : degree;
		IQDB_TRY(gather_behind(repair, &gathered, owner, old[i], level, false));
	}
	/* whether a row is condemned or dead was looked up for each of the list's, and for each that was tried in its place */
	iqdb_stretch_charge(&repair->linker.walk.stretch, 2 * ((uint64_t) old_count + gathered.count) * IQDB_CHARGE_AT_RANDOM);
	*count_out = gathered.count;
	return IQDB_OK;
}

/* Finds what a list that names condemned nodes is to be. The caller holds STRUCTURE, with may_search not the node's lock. */
static IqdbStatus
mend_links(Repair *repair, uint32_t owner, uint32_t level, const uint32_t *old, uint32_t old_count, bool may_search,
		   uint32_t *slots_out, uint32_t *count_out)
{
	Gathered gathered = {repair->gathered, 0, GATHERED_MAX};

	if (repair->splice)
	{
		IQDB_TRY(splice_links(repair, owner, level, old, old_count, slots_out, count_out));
		if (*count_out >= iqdbi_hnsw_degree(repair->graph, level) / CANDIDATES_MIN_SHARE)
			return IQDB_OK;
	}
	IQDB_TRY(gather(repair, &gathered, owner, level, old, old_count, may_search));
	*count_out = choose_links(repair, &gathered, owner, level, slots_out);
	return IQDB_OK;
}

/* Does the list name a condemned node? */
static bool
is_damaged(const Repair *repair, const uint32_t *slots, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
	{
		if (in_repair(repair, slots[i]))
			return true;
	}
	return false;
}

/* Gives the node's new neighbours a link to it where their lists have room. Takes their locks, one at a time. */
static void
link_back(const IqdbiHnsw *graph, uint32_t owner, uint32_t level, const uint32_t *old, uint32_t old_count,
	   const uint32_t *slots, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
	{
		bool known = false;

		for (uint32_t j = 0; j < old_count && !known; j++)
			known = old[j] == slots[i];
		if (!known)
			iqdbi_hnsw_link_append(graph, slots[i], level, owner);
	}
}

/*
 * Mends one list: afterwards it names no condemned node, and never will again. STRUCTURE is held, but for pauses; the
 * node's lock is taken.
 */
static IqdbStatus
repair_list(Repair *repair, uint32_t owner, uint32_t level)
{
	const IqdbiHnsw  *graph = repair->graph;
	IqdbiHnswNode    *node = iqdbi_hnsw_node(graph, owner);
	_Atomic uint32_t *list = iqdbi_hnsw_list(graph, owner, level);
	uint32_t          old[IQDBI_HNSW_LIST_MAX];
	uint32_t          slots[IQDBI_HNSW_LIST_MAX];

	for (uint32_t tries = 1;; tries++)
	{
		bool       inside = tries > REPAIR_TRIES;
		uint32_t   word = inside ? iqdbi_hnsw_lock(node) : iqdbi_hnsw_version(node);
		uint32_t   old_count = iqdbi_list_read(graph, list, level, old);
		uint32_t   count = 0;
		bool       damaged = is_damaged(repair, old, old_count);
		IqdbStatus status = IQDB_OK;

		if (damaged)
			status = mend_links(repair, owner, level, old, old_count, !inside, slots, &count);
		if (!inside && damaged && status == IQDB_OK && !iqdbi_hnsw_lock_version(node, word))
			continue;
		if (damaged && status == IQDB_OK)
			iqdbi_list_write(list, slots, count);
		if (inside || (damaged && status == IQDB_OK))
			iqdbi_hnsw_unlock(node, word);
		if (damaged && status == IQDB_OK)
			link_back(graph, owner, level, old, old_count, slots, count);
		return status;
	}
}

/* ---- the pass ---------------------------------------------------------------------------------------------------- */

/* Takes condemned twins out of a node's chain, and mends those of its lists that name condemned nodes. */
static IqdbStatus
repair_node(Repair *repair, uint32_t slot)
{
	const IqdbiHnsw *graph = repair->graph;
	uint32_t         info = iqdbi_hnsw_info(graph, slot);
	uint32_t         level = iqdbi_info_level(info);
	uint32_t         slots[IQDBI_HNSW_LIST_MAX];

	iqdb_stretch_charge(&repair->linker.walk.stretch, IQDB_CHARGE_AT_RANDOM);
	if (iqdbi_info_status(info) != IQDBI_INFO_LINKED)
		return IQDB_OK;
	if (iqdbi_hnsw_twin_next(graph, slot) != IQDB_SLOT_NONE)
		IQDB_TRY(iqdbi_hnsw_twins_drop(&repair->linker.walk, slot));
	for (uint32_t at = 0; at <= level; at++)
	{
		uint32_t count = iqdbi_list_read(graph, iqdbi_hnsw_list(graph, slot, at), at, slots);

		if (is_damaged(repair, slots, count))
			IQDB_TRY(repair_list(repair, slot, at));
	}
	if ((info & IQDBI_INFO_DEAD) == 0 && (repair->entry == 0 || level > iqdbi_entry_level(repair->entry)))
		repair->entry = iqdbi_entry_make(slot, level);
	return IQDB_OK;
}

/*
 * Puts heirs in the place of condemned nodes that have twins which stay, before the lists that name these nodes are
 * mended.
 */
static IqdbStatus
bequeath_all(Repair *repair)
{
	IqdbiWalk *walk = &repair->linker.walk;
	IqdbStatus status = IQDB_OK;

	iqdbi_walk_enter(walk);
	for (uint32_t slot = 0; slot < repair->slot_count && status == IQDB_OK; slot++)
	{
		if (!in_repair(repair, slot))
			continue;
		status = iqdbi_hnsw_twins_bequeath(walk, slot);
		if (status == IQDB_OK)
			status = iqdb_stretch_step(&walk->stretch, IQDB_CHARGE_AT_RANDOM);
	}
	iqdbi_walk_leave(walk);
	return status;
}

/* Mends every node that is not condemned. Takes STRUCTURE shared, in stretches. */
static IqdbStatus
repair_pass(Repair *repair)
{
	IqdbiWalk *walk = &repair->linker.walk;
	IqdbStatus status = IQDB_OK;

	iqdbi_walk_enter(walk);
	for (uint32_t slot = 0; slot < repair->pass_count && status == IQDB_OK; slot++)
	{
		if (slot + FETCH_AHEAD < repair->pass_count)
			iqdb_fetch(iqdbi_hnsw_node(repair->graph, slot + FETCH_AHEAD));
		if (!in_repair(repair, slot))
			status = repair_node(repair, slot);
		if (status == IQDB_OK)
			status = iqdb_stretch_step(&walk->stretch, IQDB_CHARGE_SLOT);
	}
	iqdbi_walk_leave(walk);
	return status;
}

/* ---- releasing slots --------------------------------------------------------------------------------------------- */

/*
 * Looks for an entry point once more when the pass met no living node. There may be one all the same: it was linked
 * after the pass had gone by, to a node that has been removed since. A row that is linked later finds no living node
 * behind the condemned entry point, and becomes the entry point itself.
 */
static IqdbStatus
find_living_entry(Repair *repair)
{
	const IqdbiHnsw *graph = repair->graph;
	IqdbiWalk       *walk = &repair->linker.walk;
	uint32_t         end = atomic_load_explicit(&graph->store->header->slot_count, memory_order_acquire);
	IqdbStatus       status = IQDB_OK;

	iqdbi_walk_enter(walk);
	for (uint32_t slot = 0; slot < end && status == IQDB_OK; slot++)
	{
		uint32_t info = iqdbi_hnsw_info(graph, slot);
		uint32_t level = iqdbi_info_level(info);

		if (iqdbi_info_status(info) == IQDBI_INFO_LINKED &&
			(repair->entry == 0 || level > iqdbi_entry_level(repair->entry)))
			repair->entry = iqdbi_entry_make(slot, level);
		status = iqdb_stretch_step(&walk->stretch, IQDB_CHARGE_AT_RANDOM);
	}
	iqdbi_walk_leave(walk);
	return status;
}

/* Replaces the entry point when it is condemned. Takes ENGINE. */
static void
replace_entry(const Repair *repair)
{
	const IqdbiHnsw *graph = repair->graph;
	uint64_t         entry;

	iqdb_store_lock(graph->store, IQDB_LOCK_ENGINE, true);
	entry = iqdbi_hnsw_entry(graph);
	if (entry != 0 && in_repair(repair, iqdbi_entry_slot(entry)))
		atomic_store_explicit(&graph->header->entry, repair->entry, memory_order_release);
	iqdb_store_unlock(graph->store, IQDB_LOCK_ENGINE, true);
}

/*
 * Makes a condemned slot unknown to the graph. No link leads to it any more, and no search or linker remembers it.
 * Takes ENGINE.
 */
static void
forget_node(const IqdbiHnsw *graph, uint32_t slot)
{
	IqdbiHnswNode *node = iqdbi_hnsw_node(graph, slot);
	uint32_t       info = iqdbi_hnsw_info(graph, slot);
	uint32_t       level = iqdbi_info_level(info);

	if ((info & IQDBI_INFO_WAS_LINKED) != 0)
	{
		iqdbi_hnsw_twin_forget(graph, slot);
		atomic_fetch_sub_explicit(&graph->header->linked, 1, memory_order_relaxed);
		atomic_fetch_sub_explicit(&graph->header->level_count[level], 1, memory_order_relaxed);
	}
	if ((info & IQDBI_INFO_WAS_TWIN) != 0)
		atomic_fetch_sub_explicit(&graph->header->twins, 1, memory_order_relaxed);
	else
		iqdbi_hnsw_run_give(graph, atomic_load_explicit(&node->block, memory_order_relaxed), level);
	atomic_store_explicit(&node->block, 0, memory_order_relaxed);
	atomic_store_explicit(&node->twin, 0, memory_order_relaxed);
	atomic_store_explicit(&node->count, 0, memory_order_relaxed);
	atomic_store_explicit(&node->info, iqdbi_info_make(IQDBI_INFO_ABSENT, 0), memory_order_release);
}

/*
 * Forgets the condemned ones among these slots and gives them back to the store. Before they can become other rows,
 * those that stand in region PENDING are dropped from it. Takes ENGINE and ROWS.
 */
static void
release_range(const Repair *repair, uint32_t first, uint32_t end)
{
	const IqdbiHnsw *graph = repair->graph;
	uint32_t         count = 0;
	bool             waited = false;

	for (uint32_t slot = first; slot < end; slot++)
	{
		if (!in_repair(repair, slot))
			continue;
		waited = waited || (iqdbi_hnsw_info(graph, slot) & (IQDBI_INFO_WAS_LINKED | IQDBI_INFO_WAS_TWIN)) == 0;
		forget_node(graph, slot);
		count++;
	}
	if (waited)
		iqdbi_hnsw_pending_compact(graph);
	for (uint32_t slot = first; slot < end; slot++)
	{
		if (in_repair(repair, slot))
			iqdb_store_release(graph->store, slot);
	}
	atomic_fetch_sub_explicit(&graph->header->unrepaired, count, memory_order_relaxed);
}

/*
 * Releases all condemned slots, when no list names them any more. It may be cancelled half-way: the next repair finds
 * the rest condemned, and no list that names them. No lock is held.
 */
static IqdbStatus
release_condemned(Repair *repair)
{
	const IqdbiHnsw *graph = repair->graph;

	if (repair->entry == 0)
		IQDB_TRY(find_living_entry(repair));
	replace_entry(repair);
	/* a search or linker that remembers slots across the wait that follows sees the new epoch */
	atomic_fetch_add_explicit(&graph->header->epoch, 1, memory_order_acq_rel);
	wait_for_stretches(graph);
	for (uint32_t first = 0; first < repair->slot_count;)
	{
		uint32_t left = repair->slot_count - first;
		uint32_t end = first + (left < LET_GO_BATCH ? left : LET_GO_BATCH);

		if (iqdb_host_cancelled(graph->store->host))
			return IQDB_ERR_CANCELLED;
		release_range(repair, first, end);
		first = end;
	}
	return IQDB_OK;
}

/* ---- the engine's table ------------------------------------------------------------------------------------------ */

/* README.md, "Releasing slots", has this in words. No lock is held. */
static IqdbStatus
vacuum_run(Repair *repair)
{
	IQDB_TRY(condemn_removed(repair));
	if (repair->condemned_count == 0)
		return IQDB_OK;
	/* from here on no link to a condemned node is written */
	wait_for_stretches(repair->graph);
	/*
	 * but a row that was linked before may have such a link, and may be in a slot that was not in use when the repair
	 * began
	 */
	repair->pass_count = atomic_load_explicit(&repair->graph->store->header->slot_count, memory_order_acquire);
	IQDB_TRY(bequeath_all(repair));
	IQDB_TRY(repair_pass(repair));
	return release_condemned(repair);
}

/*
 * The repair of a loaded graph: the same without the waiting, as no other process uses the index. But somebody waits for the
 * load, and a bare snapshot knows all rows as gone that nobody has vacuumed: where these are many, lists are spliced.
 */
static IqdbStatus
loaded_run(Repair *repair)
{
	const IqdbiHnsw *graph = repair->graph;
	uint32_t         count = 0;

	for (uint32_t slot = 0; slot < repair->slot_count; slot++)
	{
		if (iqdbi_info_status(iqdbi_hnsw_info(graph, slot)) == IQDBI_INFO_CONDEMNED)
			count += iqdbi_bitmap_add(repair->condemned, slot);
	}
	repair->splice = count > repair->slot_count / SPLICE_SHARE;
	IQDB_TRY(bequeath_all(repair));
	IQDB_TRY(repair_pass(repair));
	for (uint32_t slot = 0; slot < repair->slot_count; slot++)
	{
		if (in_repair(repair, slot))
			forget_node(graph, slot);
	}
	return IQDB_OK;
}

static IqdbStatus
with_repair(const IqdbiHnsw *graph, uint32_t slot_count, IqdbStatus (*run)(Repair *repair))
{
	const IqdbAllocator *allocator = &graph->store->host->allocator;
	Repair               repair = {.graph = graph, .slot_count = slot_count, .pass_count = slot_count};
	IqdbStatus           status = iqdbi_linker_init(&repair.linker, graph);

	if (status != IQDB_OK)
		return status;
	iqdbi_set_init(&repair.seen, allocator);
	repair.condemned = iqdb_alloc_zero(allocator, iqdbi_bitmap_bytes(slot_count));
	repair.gathered = iqdb_alloc(allocator, GATHERED_MAX * sizeof(uint32_t));
	status = repair.condemned != NULL && repair.gathered != NULL ? run(&repair) : IQDB_ERR_NOMEM;
	iqdb_free(allocator, repair.condemned, iqdbi_bitmap_bytes(slot_count));
	iqdb_free(allocator, repair.gathered, GATHERED_MAX * sizeof(uint32_t));
	iqdbi_set_free(&repair.seen);
	iqdbi_linker_free(&repair.linker);
	return status;
}

static IqdbStatus
repair_failed(IqdbStatus status, IqdbError *err)
{
	return iqdb_fail(err, status, status == IQDB_ERR_CANCELLED ? "repair was cancelled" : "out of memory for a repair");
}

IqdbStatus
iqdbi_hnsw_repair_loaded(const IqdbiHnsw *graph, uint32_t slot_count, IqdbError *err)
{
	IqdbStatus status = with_repair(graph, slot_count, loaded_run);

	return status == IQDB_OK ? IQDB_OK : repair_failed(status, err);
}

IqdbStatus
iqdbi_hnsw_maintain(IqdbStore *store, IqdbMaintain what, IqdbError *err)
{
	IqdbiHnsw  graph;
	IqdbStatus status = IQDB_OK;
	uint32_t   idle = 0;
	uint64_t   linked;
	bool       lost = true; /* may nodes have been lost? */

	iqdbi_hnsw_view(&graph, store);
	if (what != IQDB_MAINTAIN_VACUUM)
	{
		IQDB_TRY(iqdbi_hnsw_link_pending(store, UINT64_MAX, &linked, err));
		status = iqdbi_hnsw_centre_review(&graph);
		if (status != IQDB_OK)
			return repair_failed(status, err);
	}
	/* one process at a time: a second one leaves the work to the first */
	if (!atomic_compare_exchange_strong_explicit(&graph.header->maintaining, &idle, 1, memory_order_acquire,
												 memory_order_relaxed))
		return IQDB_OK;
	if (atomic_load_explicit(&graph.header->unrepaired, memory_order_acquire) > 0)
		status =
			with_repair(&graph, atomic_load_explicit(&store->header->slot_count, memory_order_acquire), vacuum_run);
	else if (what == IQDB_MAINTAIN_VACUUM)
		lost = false;
	if (status == IQDB_OK && lost)
		status = iqdbi_hnsw_attach_lost(&graph);
	atomic_store_explicit(&graph.header->maintaining, 0, memory_order_release);
	(void) iqdb_store_reclaim(store);
	return status == IQDB_OK ? IQDB_OK : repair_failed(status, err);
}
