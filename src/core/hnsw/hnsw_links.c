/*
 * hnsw_links.c - choosing neighbours, and changing lists of links one link at a time.
 *
 * Owns: the neighbour selection, cutting full lists back, and the scratch memory for both. The selection is algorithm 4
 * of Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using Hierarchical Navigable Small
 * World graphs", IEEE TPAMI 2018; what differs is listed in README.md.
 */
#include "core/hnsw/hnsw_links_private.h"

#include <string.h>

/*
 * A candidate is compared with so many selected neighbours at a time: one that rules it out makes the others needless.
 */
#define COMPARED_AT_ONCE 6

/*
 * A list is cut back outside its lock. When other writers have changed it meanwhile so many times, it is done inside.
 */
#define REWRITE_TRIES 4

/* A flag in the slot of a candidate: a selected neighbour has made it superfluous. Slots have 31 bits. */
#define RULED_OUT UINT32_C(0x80000000)

IqdbStatus
iqdbi_linker_init(IqdbiLinker *linker, const IqdbiHnsw *graph)
{
	const IqdbAllocator *allocator = &graph->store->host->allocator;
	IqdbStatus           status;

	memset(linker, 0, sizeof(*linker));
	status = iqdbi_walk_init(&linker->walk, graph, &linker->stats);
	linker->candidates_max = graph->store->header->options.ef_construction;
	if (linker->candidates_max < 2 * IQDBI_HNSW_LIST_MAX)
		linker->candidates_max = 2 * IQDBI_HNSW_LIST_MAX;
	linker->chosen_levels = 1;
	linker->candidates = iqdb_alloc(allocator, linker->candidates_max * sizeof(IqdbiPair));
	linker->chosen = iqdb_alloc(allocator, IQDBI_HNSW_LIST_MAX * sizeof(uint32_t));
	if (linker->candidates == NULL || linker->chosen == NULL ||
		iqdbi_target_init(graph, &linker->other) != IQDB_OK || iqdbi_target_init(graph, &linker->owner) != IQDB_OK)
		status = IQDB_ERR_NOMEM;
	if (status != IQDB_OK)
		iqdbi_linker_free(linker);
	return status;
}

void
iqdbi_linker_free(IqdbiLinker *linker)
{
	const IqdbiHnsw     *graph = linker->walk.graph;
	const IqdbAllocator *allocator = &graph->store->host->allocator;

	iqdb_free(allocator, linker->candidates, linker->candidates_max * sizeof(IqdbiPair));
	iqdb_free(allocator, linker->chosen, linker->chosen_levels * IQDBI_HNSW_LIST_MAX * sizeof(uint32_t));
	iqdbi_target_free(graph, &linker->other);
	iqdbi_target_free(graph, &linker->owner);
	iqdbi_walk_free(&linker->walk);
}

/* ---- choosing neighbours ----------------------------------------------------------------------------------------- */

/* What selected neighbours say to a candidate for one more link. */
typedef enum Verdict
{
	IS_NEEDED,     /* none of them is nearer to it than the node is */
	IS_DOUBTFUL,   /* one is, by less than the factor alpha */
	IS_SUPERFLUOUS /* one is so much nearer that searches get to the candidate by way of it */
} Verdict;

/*
 * Compares a candidate with the selected neighbours until one rules it out; with `strict` the first one that is nearer
 * at all ends that. What is not strict is superfluous or needed.
 */
static Verdict
judge_candidate(IqdbiLinker *linker, const IqdbiPair *candidate, const uint32_t *selected, uint32_t count, bool strict)
{
	const IqdbiHnsw *graph = linker->walk.graph;
	float            keys[COMPARED_AT_ONCE];
	bool             nearer = false;

	if (count == 0)
		return IS_NEEDED;
	iqdbi_target_code(graph, &linker->other, candidate->slot);
	for (uint32_t done = 0; done < count && !nearer;)
	{
		uint32_t part = count - done < COMPARED_AT_ONCE ? count - done : COMPARED_AT_ONCE;

		iqdbi_hnsw_score(graph, &linker->other, selected + done, part, keys);
		for (uint32_t i = 0; i < part; i++)
		{
			if (keys[i] * graph->alpha < candidate->key)
				return IS_SUPERFLUOUS;
			nearer = nearer || (strict && keys[i] < candidate->key);
		}
		done += part;
	}
	return nearer ? IS_DOUBTFUL : IS_NEEDED;
}

uint32_t
iqdbi_hnsw_select(IqdbiLinker *linker, IqdbiPair *candidates, size_t count, uint32_t degree, uint32_t forced,
				  uint32_t *slots_out)
{
	uint32_t selected = 0;
	size_t   left = 0;
	bool     have_forced = forced == IQDB_SLOT_NONE;

	/* those not selected gather at the front of the array, still in order */
	for (size_t i = 0; i < count && selected < degree; i++)
	{
		if (judge_candidate(linker, &candidates[i], slots_out, selected, false) == IS_SUPERFLUOUS)
		{
			candidates[left++] = candidates[i];
			continue;
		}
		slots_out[selected++] = candidates[i].slot;
		have_forced = have_forced || candidates[i].slot == forced;
	}
	/* places that are left are filled with the nearest of them: the paper's keepPrunedConnections */
	for (size_t i = 0; i < left && selected < degree; i++)
	{
		slots_out[selected++] = candidates[i].slot;
		have_forced = have_forced || candidates[i].slot == forced;
	}
	if (!have_forced)
	{
		if (selected == degree)
			selected--;
		slots_out[selected++] = forced;
	}
	return selected;
}

/* The nearest of the candidates with this flag, or without it, for the places that are left. */
static uint32_t
fill_places(const IqdbiPair *candidates, size_t count, uint32_t flag, uint32_t degree, uint32_t *slots, uint32_t selected)
{
	for (size_t i = 0; i < count && selected < degree; i++)
	{
		if ((candidates[i].slot & RULED_OUT) == flag)
			slots[selected++] = candidates[i].slot & ~RULED_OUT;
	}
	return selected;
}

uint32_t
iqdbi_hnsw_select_first(IqdbiLinker *linker, IqdbiPair *candidates, size_t count, uint32_t degree, uint32_t *slots_out)
{
	uint32_t selected = 0;
	size_t   left = 0;

	for (size_t i = 0; i < count && selected < degree; i++)
	{
		Verdict verdict = judge_candidate(linker, &candidates[i], slots_out, selected, true);

		if (verdict == IS_NEEDED)
		{
			slots_out[selected++] = candidates[i].slot;
			continue;
		}
		candidates[left] = candidates[i];
		candidates[left++].slot |= verdict == IS_SUPERFLUOUS ? RULED_OUT : 0;
	}
	selected = fill_places(candidates, left, 0, degree, slots_out, selected);
	return fill_places(candidates, left, RULED_OUT, degree, slots_out, selected);
}

/* ---- adding one link --------------------------------------------------------------------------------------------- */

/* Appends a link unless it is there; false when the list is full. The node's lock is held. */
static bool
append_locked(const IqdbiHnsw *graph, _Atomic uint32_t *list, uint32_t level, uint32_t to)
{
	uint32_t count = atomic_load_explicit(&list[0], memory_order_relaxed);

	for (uint32_t i = 0; i < count; i++)
	{
		if (atomic_load_explicit(&list[1 + i], memory_order_relaxed) == to)
			return true;
	}
	if (count >= iqdbi_hnsw_room(graph, level))
		return false;
	atomic_store_explicit(&list[1 + count], to, memory_order_release);
	atomic_store_explicit(&list[0], count + 1, memory_order_release);
	return true;
}

void
iqdbi_hnsw_link_append(const IqdbiHnsw *graph, uint32_t slot, uint32_t level, uint32_t to)
{
	IqdbiHnswNode *node = iqdbi_hnsw_node(graph, slot);
	uint32_t       word = iqdbi_hnsw_lock(node);

	(void) append_locked(graph, iqdbi_hnsw_list(graph, slot, level), level, to);
	iqdbi_hnsw_unlock(node, word);
}

/* Chooses what stays of a full list and one more link, which stays in any case. Returns the new length of `slots`. */
static uint32_t
cut_back(IqdbiLinker *linker, uint32_t slot, uint32_t level, uint32_t to, uint32_t *slots, uint32_t count)
{
	const IqdbiHnsw *graph = linker->walk.graph;
	float            keys[IQDBI_HNSW_LIST_MAX + 1];

	for (uint32_t i = 0; i < count; i++)
	{
		if (slots[i] == to)
			return count;
	}
	slots[count++] = to;
	iqdbi_target_code(graph, &linker->owner, slot);
	iqdbi_hnsw_score(graph, &linker->owner, slots, count, keys);
	iqdb_stretch_charge(&linker->walk.stretch, (uint64_t) count * 4 * graph->cost);
	for (uint32_t i = 0; i < count; i++)
		linker->candidates[i] = (IqdbiPair){keys[i], slots[i]};
	iqdbi_pairs_sort(linker->candidates, count);
	return iqdbi_hnsw_select(linker, linker->candidates, count, iqdbi_hnsw_degree(graph, level), to, slots);
}

void
iqdbi_hnsw_link_add(IqdbiLinker *linker, uint32_t slot, uint32_t level, uint32_t to)
{
	const IqdbiHnsw  *graph = linker->walk.graph;
	IqdbiHnswNode    *node = iqdbi_hnsw_node(graph, slot);
	_Atomic uint32_t *list = iqdbi_hnsw_list(graph, slot, level);
	uint32_t          slots[IQDBI_HNSW_LIST_MAX + 1];
	uint32_t          word = iqdbi_hnsw_lock(node);
	bool              added = append_locked(graph, list, level, to);

	iqdbi_hnsw_unlock(node, word);
	for (uint32_t tries = 1; !added; tries++)
	{
		bool     inside = tries > REWRITE_TRIES;
		uint32_t count;

		word = inside ? iqdbi_hnsw_lock(node) : iqdbi_hnsw_version(node);
		count = iqdbi_list_read(graph, list, level, slots);
		count = cut_back(linker, slot, level, to, slots, count);
		added = inside || iqdbi_hnsw_lock_version(node, word);
		if (!added)
			continue;
		iqdbi_list_write(list, slots, count);
		iqdbi_hnsw_unlock(node, word);
	}
}
