/*
 * hnsw_walk.c - the way through the graph: descent, beam search, and the stretches that both are cut into.
 *
 * Owns: which nodes a search looks at and in which order. Does not own: what becomes of the nodes found. The inner loop
 * visits the nearest nodes of the beam: it collects those of their neighbours that were not met yet, while their
 * records are being fetched into the cache, scores them together, and offers them to the beam.
 */
#include "core/hnsw/hnsw_walk_private.h"

#include "core/base/fetch.h"

#include <string.h>

/* So many bytes of a code are fetched ahead; where there are more, the kernel fetches them. */
#define CODE_FETCHED 256

/* Nodes visited together, so that waiting for the memory of one is waiting for the other as well. */
#define WIDTH 2

/* When a node is no result itself, so many of its twins are asked in its place. */
#define TWINS_ASKED 16

/* The set of visited slots begins with room for so many slots, and for so many more per place in the beam. */
#define VISITED_BASE 256
#define VISITED_PER_RESULT 12
#define EXPECTED_MAX 4096

/* Nodes that a descent meets. */
#define DESCENT_EXPECTED 256

/*
 * The paper goes down with a beam of one. Where rows form clusters far apart, a wrong step on the upper levels cannot
 * be undone on level 0 by a beam of any width. So on each upper level the nearest nodes are followed, this share of the
 * beam's capacity; and in a search all others that are nearly as near as the nearest (IqdbiHnsw.margin).
 */
#define DESCENT_SHARE 16

/* From this capacity on all of the margin counts; of a beam of one, a third. */
#define MARGIN_WHOLE 64

/* A search goes down with a beam of this capacity at most. */
#define DESCENT_MAX 512

/* Nodes that a descent sets aside; further ones take a place in its beam. */
#define ASIDE_MAX 512

_Static_assert(DESCENT_MAX <= IQDBI_BEAM_SORTED_MAX, "the descent knows the order of its results");

IqdbStatus
iqdbi_walk_init(IqdbiWalk *walk, const IqdbiHnsw *graph, IqdbSearchStats *stats)
{
	const IqdbAllocator *allocator = &graph->store->host->allocator;

	walk->graph = graph;
	walk->stats = stats;
	walk->filtering = NULL;
	walk->twins = false;
	walk->self = IQDB_SLOT_NONE;
	walk->scored_max = UINT64_MAX;
	iqdbi_beam_init(&walk->beam, allocator);
	iqdbi_set_init(&walk->visited, allocator);
	return iqdbi_target_init(graph, &walk->target);
}

void
iqdbi_walk_free(IqdbiWalk *walk)
{
	iqdbi_target_free(walk->graph, &walk->target);
	iqdbi_beam_free(&walk->beam);
	iqdbi_set_free(&walk->visited);
}

/* ---- stretches --------------------------------------------------------------------------------------------------- */

void
iqdbi_walk_enter(IqdbiWalk *walk)
{
	iqdb_stretch_begin(&walk->stretch, walk->graph->store, IQDB_LOCK_STRUCTURE, &walk->graph->header->epoch);
}

void
iqdbi_walk_leave(IqdbiWalk *walk)
{
	iqdb_stretch_end(&walk->stretch);
}

/* Counts rows that were scored, and takes their cost from the stretch. */
static inline void
charge_scored(IqdbiWalk *walk, size_t scored)
{
	iqdb_stretch_charge(&walk->stretch, scored * walk->graph->cost);
	walk->stats->scored += scored;
}

/* ---- fetching ahead ---------------------------------------------------------------------------------------------- */

/* What scoring a row reads at first: two cache lines of its code, or of its vector, at slot times stride. */
static inline const unsigned char *
scored_first(const IqdbiHnsw *graph, size_t *stride_out)
{
	bool plain = graph->code == IQDBI_HNSW_PLAIN;

	*stride_out = plain ? graph->store->row_stride : graph->record_size;
	return plain ? graph->store->vectors : graph->nodes;
}

/* Fetches more of that; the kernels see to the rest. */
static inline void
fetch_scored_rest(const IqdbiHnsw *graph, uint32_t slot)
{
	for (size_t at = 2 * IQDB_CACHE_LINE; at < graph->node_offset && at < CODE_FETCHED; at += IQDB_CACHE_LINE)
		iqdb_fetch(iqdbi_hnsw_code(graph, slot) + at);
	if (graph->code == IQDBI_HNSW_BYTES)
		iqdb_fetch(&graph->scalars[slot]);
}

static inline void
fetch_list(const IqdbiHnsw *graph, uint32_t slot)
{
	const unsigned char *node = (const unsigned char *) iqdbi_hnsw_node(graph, slot);
	size_t               end = sizeof(IqdbiHnswNode) + graph->header->room[0] * sizeof(uint32_t);

	for (size_t i = 0; i < end; i += IQDB_CACHE_LINE)
		iqdb_fetch(node + i);
}

/* Fetches the lists of the nodes that will be visited next, as far as the beam knows now. */
static inline void
fetch_next_lists(const IqdbiWalk *walk, uint32_t level)
{
	uint32_t nodes[WIDTH];
	uint32_t count = level == 0 ? iqdbi_beam_peek(&walk->beam, nodes, WIDTH) : 0;

	for (uint32_t i = 0; i < count; i++)
		fetch_list(walk->graph, nodes[i]);
}

/* Fetches the head of a node, which says where its lists above level 0 are. */
static inline void
fetch_head(const IqdbiHnsw *graph, uint32_t slot)
{
	iqdb_fetch(iqdbi_hnsw_node(graph, slot));
}

/* Fetches the lists of an upper level of the nodes that will be visited next. Their heads have been fetched before. */
static inline void
fetch_next_upper_lists(const IqdbiWalk *walk, uint32_t level)
{
	const IqdbiHnsw *graph = walk->graph;
	uint32_t         nodes[WIDTH];
	uint32_t         count = iqdbi_beam_peek(&walk->beam, nodes, WIDTH);
	size_t           end = (1 + iqdbi_hnsw_room(graph, level)) * sizeof(uint32_t);

	for (uint32_t i = 0; i < count; i++)
	{
		const unsigned char *list = (const unsigned char *) iqdbi_hnsw_list(graph, nodes[i], level);

		for (size_t at = 0; at < end; at += IQDB_CACHE_LINE)
			iqdb_fetch(list + at);
	}
}

/* ---- descent ----------------------------------------------------------------------------------------------------- */

/*
 * The neighbours of a node that were not met yet. They count as met from now on, and what scoring them reads is being
 * fetched. A node that does not reach the level, which only damage could cause, has none. The set has room for a whole
 * list.
 */
static inline uint32_t
unvisited(IqdbiWalk *walk, uint32_t slot, uint32_t level, uint32_t *slots_out)
{
	const IqdbiHnsw        *graph = walk->graph;
	const _Atomic uint32_t *list;
	IqdbiSlotSet            visited = walk->visited;
	size_t                  stride;
	const unsigned char    *first = scored_first(graph, &stride);
	uint32_t                length;
	uint32_t                count = 0;

	if (level > 0 && iqdbi_info_level(iqdbi_hnsw_info(graph, slot)) < level)
		return 0;
	list = iqdbi_hnsw_list(graph, slot, level);
	length = atomic_load_explicit(&list[0], memory_order_acquire);
	if (length > iqdbi_hnsw_room(graph, level))
		length = iqdbi_hnsw_room(graph, level);
	for (uint32_t i = 0; i < length; i++)
	{
		uint32_t             neighbour = atomic_load_explicit(&list[1 + i], memory_order_acquire);
		uint32_t             fresh = iqdbi_set_add(&visited, neighbour);
		const unsigned char *ahead = fresh ? first + neighbour * stride : (const unsigned char *) visited.cells;

		/* overwritten by the next one unless it was new: about half are, so a branch would be predicted badly */
		slots_out[count] = neighbour;
		count += fresh;
		/* one after the other: the processor stops where more is asked for at once than it can have under way */
		iqdb_fetch(ahead);
		iqdb_fetch(ahead + IQDB_CACHE_LINE);
	}
	for (uint32_t i = 0; i < count; i++)
		fetch_scored_rest(graph, slots_out[i]);
	for (uint32_t i = 0; walk->filtering != NULL && i < count; i++)
		iqdb_row_filter_fetch(walk->filtering->filter, graph->store, slots_out[i]);
	walk->visited.count = visited.count;
	return count;
}

static size_t
descent_places(size_t capacity)
{
	return capacity > DESCENT_SHARE ? capacity / DESCENT_SHARE : 1;
}

/* A narrow beam is for searches that are to be quick: they try fewer ways down as well. */
static float
descent_margin(const IqdbiHnsw *graph, size_t capacity)
{
	float width = capacity < MARGIN_WHOLE ? (float) capacity / MARGIN_WHOLE : 1.0f;

	return graph->margin * (1.0f + 2.0f * width) / 3.0f;
}

/*
 * Nodes met on upper levels that are too far to be followed there. Level 0 may begin at them, too. Most nodes are such, and
 * a place in the sorted beam would cost more than all else that is done with them.
 */
typedef struct Aside
{
	IqdbiPair pairs[ASIDE_MAX]; /* filled from its end, so that those met last, which are the nearest, stand first */
	size_t    first;
} Aside;

/*
 * Takes nodes that were met on an upper level into the beam. Those outside the margin are set aside: the nearest node only
 * gets nearer, so they are not followed later either.
 */
static IqdbStatus
keep_met(IqdbiWalk *walk, const uint32_t *slots, const float *keys, uint32_t count, float margin, Aside *aside)
{
	IqdbiBeam *beam = &walk->beam;
	float      nearest = beam->results[0].key;
	float      near = INFINITY;

	for (uint32_t i = 0; i < count; i++)
		nearest = keys[i] < nearest ? keys[i] : nearest;
	if (aside != NULL && margin > 0.0f)
		near = nearest + margin * fabsf(nearest);
	for (uint32_t i = 0; i < count; i++)
	{
		if (!(keys[i] < beam->bound))
			continue;
		if (keys[i] > near && aside->first > 0)
		{
			aside->pairs[--aside->first] = (IqdbiPair){keys[i], slots[i]};
			continue;
		}
		fetch_head(walk->graph, slots[i]);
		IQDB_TRY(iqdbi_beam_result(beam, keys[i], slots[i]));
	}
	return IQDB_OK;
}

/*
 * Searches an upper level, from the beam's results on: follows the first places, and what is within the margin. With
 * `aside` there is one place, unless there is no margin.
 */
static IqdbStatus
search_upper(IqdbiWalk *walk, uint32_t level, size_t places, float margin, Aside *aside)
{
	const IqdbiHnsw *graph = walk->graph;
	IqdbiBeam       *beam = &walk->beam;
	uint32_t         slots[IQDBI_HNSW_LIST_MAX];
	float            keys[IQDBI_HNSW_LIST_MAX];
	uint32_t         node;

	while (iqdbi_beam_near(beam, places, margin) && iqdbi_beam_pop(beam, &node))
	{
		uint32_t count;

		IQDB_TRY(iqdbi_set_grow(&walk->visited, iqdbi_hnsw_room(graph, level)));
		count = unvisited(walk, node, level, slots);
		iqdbi_hnsw_score(graph, &walk->target, slots, count, keys);
		charge_scored(walk, count);
		IQDB_TRY(keep_met(walk, slots, keys, count, margin, aside));
		fetch_next_upper_lists(walk, level);
		IQDB_TRY(iqdb_stretch_step(&walk->stretch, 0));
		if (walk->stretch.stale || walk->stats->scored >= walk->scored_max)
			break;
	}
	iqdbi_beam_finish(beam);
	iqdbi_beam_restart(beam);
	return IQDB_OK;
}

/* Searches the levels above `level`, from the entry point on. The beam is empty, and so is the set of nodes met. */
static IqdbStatus
search_upper_levels(IqdbiWalk *walk, uint64_t entry, uint32_t level, size_t places, float margin, Aside *aside)
{
	IqdbiPair nearest = {0.0f, iqdbi_entry_slot(entry)};

	(void) iqdbi_set_add(&walk->visited, nearest.slot);
	iqdbi_hnsw_score(walk->graph, &walk->target, &nearest.slot, 1, &nearest.key);
	charge_scored(walk, 1);
	IQDB_TRY(iqdbi_beam_result(&walk->beam, nearest.key, nearest.slot));
	for (uint32_t at = iqdbi_entry_level(entry); at > level && !walk->stretch.stale; at--)
		IQDB_TRY(search_upper(walk, at, places, margin, aside));
	return IQDB_OK;
}

IqdbStatus
iqdbi_walk_descend(IqdbiWalk *walk, uint64_t entry, uint32_t level, size_t capacity)
{
	size_t places = descent_places(capacity);

	IQDB_TRY(iqdbi_set_reset(&walk->visited, DESCENT_EXPECTED));
	IQDB_TRY(iqdbi_beam_reset(&walk->beam, places));
	IQDB_TRY(search_upper_levels(walk, entry, level, places, 0.0f, NULL));
	if (walk->stretch.stale)
		return IQDB_OK;
	walk->anchor = walk->beam.results[0];
	return iqdbi_beam_reset(&walk->beam, capacity);
}

/* ---- beam search ------------------------------------------------------------------------------------------------- */

static bool
filter_matches(IqdbiWalk *walk, uint32_t slot)
{
	if (walk->filtering == NULL)
		return true;
	iqdb_stretch_charge(&walk->stretch, IQDB_CHARGE_AT_RANDOM + iqdb_row_filter_charge(walk->filtering->filter));
	return iqdb_scorer_admits(walk->filtering, slot);
}

/*
 * Asks the store whether the row is there, not the node's flag DEAD: that would load a cache line that is not needed
 * otherwise.
 */
static inline bool
may_be_result(IqdbiWalk *walk, uint32_t slot)
{
	return iqdb_store_state(walk->graph->store, slot) == IQDB_ROW_LIVE && slot != walk->self && filter_matches(walk, slot);
}

/* Looks at a few twins only, and takes for granted that of more than that one may be a result. */
static bool
twin_may_be_result(IqdbiWalk *walk, uint32_t slot)
{
	uint32_t twin = iqdbi_hnsw_twin_next(walk->graph, slot);

	for (int i = 0; i < TWINS_ASKED && twin != IQDB_SLOT_NONE; i++)
	{
		if (may_be_result(walk, twin))
			return true;
		twin = iqdbi_hnsw_twin_next(walk->graph, twin);
	}
	return twin != IQDB_SLOT_NONE;
}

/* A row that is removed, or that the filter turns away, is only a way to others, and takes no place from a result. */
static inline IqdbStatus
offer_to_beam(IqdbiWalk *walk, uint32_t slot, float key)
{
	if (!may_be_result(walk, slot) && !(walk->twins && twin_may_be_result(walk, slot)))
		return iqdbi_beam_way(&walk->beam, key, slot);
	return iqdbi_beam_result(&walk->beam, key, slot);
}

/* Visits `width` nodes together: scores their neighbours that were not met yet, and offers them to the beam. */
static IqdbStatus
visit_nodes(IqdbiWalk *walk, const uint32_t *nodes, uint32_t width, uint32_t level)
{
	const IqdbiHnsw *graph = walk->graph;
	IqdbiBeam       *beam = &walk->beam;
	uint32_t         slots[WIDTH * IQDBI_HNSW_LIST_MAX];
	float            keys[WIDTH * IQDBI_HNSW_LIST_MAX];
	uint32_t         count = 0;
	float            nearest = INFINITY;

	IQDB_TRY(iqdbi_set_grow(&walk->visited, width * iqdbi_hnsw_room(graph, level)));
	for (uint32_t i = 0; i < width; i++)
		count += unvisited(walk, nodes[i], level, slots + count);
	fetch_next_lists(walk, level);
	iqdbi_hnsw_score(graph, &walk->target, slots, count, keys);
	charge_scored(walk, count);
	for (uint32_t i = 0; i < count; i++)
	{
		if (!(keys[i] < beam->bound))
			continue;
		/* the nearest of all is most likely visited next; the nearest so far is fetched, as that needs no pass of its own */
		if (level == 0 && keys[i] < nearest)
		{
			nearest = keys[i];
			fetch_list(graph, slots[i]);
		}
		IQDB_TRY(offer_to_beam(walk, slots[i], keys[i]));
	}
	return IQDB_OK;
}

/* Nodes that a search with a beam of this capacity will meet, about. */
static uint32_t
expected_to_meet(size_t capacity)
{
	size_t results = capacity < EXPECTED_MAX ? capacity : EXPECTED_MAX;

	return (uint32_t) (results * VISITED_PER_RESULT + VISITED_BASE);
}

IqdbStatus
iqdbi_walk_begin(IqdbiWalk *walk)
{
	IqdbiBeam *beam = &walk->beam;
	size_t     expected = expected_to_meet(beam->capacity);

	iqdbi_beam_restart(beam);
	IQDB_TRY(iqdbi_set_reset(&walk->visited, (uint32_t) (expected > beam->count ? expected : beam->count)));
	for (size_t i = 0; i < beam->count; i++)
		(void) iqdbi_set_add(&walk->visited, beam->results[i].slot);
	if (beam->count > 0)
		return IQDB_OK;
	(void) iqdbi_set_add(&walk->visited, walk->anchor.slot);
	return offer_to_beam(walk, walk->anchor.slot, walk->anchor.key);
}

/* Begins level 0 at these nodes, as far as the beam has places for them; with `count_as_met` they were not met before. */
static IqdbStatus
begin_at(IqdbiWalk *walk, const IqdbiPair *starts, size_t count, bool count_as_met)
{
	if (count_as_met)
		IQDB_TRY(iqdbi_set_grow(&walk->visited, (uint32_t) count));
	for (size_t i = 0; i < count; i++)
	{
		if (!(starts[i].key < walk->beam.bound))
			continue;
		if (count_as_met)
			(void) iqdbi_set_add(&walk->visited, starts[i].slot);
		IQDB_TRY(offer_to_beam(walk, starts[i].slot, starts[i].key));
	}
	return IQDB_OK;
}

/*
 * What the descent met is not scored again on level 0, because what was too far for its beam is too far for that of
 * level 0: unless that one is larger, or a filter keeps out what filled the first.
 */
IqdbStatus
iqdbi_walk_begin_search(IqdbiWalk *walk, uint64_t entry, size_t capacity)
{
	IqdbiBeam *beam = &walk->beam;
	size_t     descent = capacity < DESCENT_MAX ? capacity : DESCENT_MAX;
	bool       forget = descent < capacity || walk->filtering != NULL;
	size_t     places = walk->graph->margin > 0.0f ? 1 : descent_places(capacity);
	IqdbiPair  starts[DESCENT_MAX];
	Aside      aside;
	size_t     count;

	aside.first = ASIDE_MAX;
	IQDB_TRY(iqdbi_set_reset(&walk->visited, expected_to_meet(capacity)));
	IQDB_TRY(iqdbi_beam_reset(beam, descent));
	IQDB_TRY(search_upper_levels(walk, entry, 0, places, descent_margin(walk->graph, capacity), &aside));
	if (walk->stretch.stale)
		return IQDB_OK;
	count = beam->count;
	memcpy(starts, beam->results, count * sizeof(IqdbiPair));
	if (forget)
		IQDB_TRY(iqdbi_set_reset(&walk->visited, expected_to_meet(capacity)));
	IQDB_TRY(iqdbi_beam_reset(beam, capacity));
	IQDB_TRY(begin_at(walk, starts, count, forget));
	IQDB_TRY(begin_at(walk, aside.pairs + aside.first, ASIDE_MAX - aside.first, forget));
	fetch_next_lists(walk, 0);
	return IQDB_OK;
}

IqdbStatus
iqdbi_walk_offer(IqdbiWalk *walk, uint32_t slot)
{
	float key;

	IQDB_TRY(iqdbi_set_grow(&walk->visited, 1));
	if (!iqdbi_set_add(&walk->visited, slot))
		return IQDB_OK;
	iqdbi_hnsw_score(walk->graph, &walk->target, &slot, 1, &key);
	charge_scored(walk, 1);
	return key < walk->beam.bound ? offer_to_beam(walk, slot, key) : IQDB_OK;
}

IqdbStatus
iqdbi_walk_level(IqdbiWalk *walk, uint32_t level)
{
	uint32_t nodes[WIDTH];

	while (!walk->stretch.stale && iqdbi_beam_pop(&walk->beam, &nodes[0]))
	{
		uint32_t width = 1;

		while (width < WIDTH && iqdbi_beam_pop(&walk->beam, &nodes[width]))
			width++;
		IQDB_TRY(visit_nodes(walk, nodes, width, level));
		if (walk->stats->scored >= walk->scored_max)
			break;
		IQDB_TRY(iqdb_stretch_step(&walk->stretch, 0));
	}
	iqdbi_beam_finish(&walk->beam);
	return IQDB_OK;
}

IqdbStatus
iqdbi_walk_whole(IqdbiWalk *walk, uint32_t row, uint32_t level, size_t capacity)
{
	const IqdbiHnsw *graph = walk->graph;

	do
	{
		uint64_t entry = iqdbi_hnsw_entry(graph);

		iqdb_stretch_refresh(&walk->stretch);
		IQDB_TRY(iqdbi_beam_reset(&walk->beam, capacity));
		if (entry == 0 || iqdbi_entry_level(entry) < level)
			return IQDB_OK;
		iqdbi_target_row(graph, &walk->target, row);
		IQDB_TRY(iqdbi_walk_descend(walk, entry, level, capacity));
		if (walk->stretch.stale)
			continue;
		IQDB_TRY(iqdbi_walk_begin(walk));
		IQDB_TRY(iqdbi_walk_level(walk, level));
	} while (walk->stretch.stale);
	return IQDB_OK;
}
