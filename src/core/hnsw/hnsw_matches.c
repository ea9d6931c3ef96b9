/*
 * hnsw_matches.c - all rows that pass a filter, by their codes.
 *
 * Where few rows pass, or where those that pass are far from the query, the graph is no help. The pass over all rows
 * (engine/exact_pass.h) finds out which rows pass; here their codes are compared with the query, and the best by their codes
 * are ranked by their vectors. Codes read a quarter of the bytes, or fewer; so many more rows are ranked than are handed out
 * that the few places by which codes are wrong do not matter. Owns: that pass. Does not own: what comes before and after it
 * (hnsw_search.c).
 *
 * Rows that are not nodes have no code that is certain: they are scored by their vectors on the way.
 */
#include "core/hnsw/hnsw_search_private.h"

#include "core/engine/exact_pass.h"

/* Rows ranked for each that is handed out, and beside those. */
#define BYTES_RANKED 2
#define SIGNS_RANKED 12
#define RANKED_BESIDE 32

/* Rows scored by one call, and how many rows before that their codes are fetched. */
#define TOGETHER 16
#define AHEAD 32

#define CACHE_LINE 64

typedef struct Matches
{
	IqdbExactSearch  exact;  /* the first member: matches_of() */
	IqdbiHnswCursor *cursor;
	IqdbTopK         coded;  /* the best rows by their codes */
	bool             aimed;  /* the walk's target is the query, */
	uint64_t         epoch;  /* as codes were at this epoch */
} Matches;

static Matches *
matches_of(IqdbExactSearch *search)
{
	return (Matches *) (void *) search;
}

static size_t
rows_ranked(const IqdbiHnsw *graph, size_t count)
{
	return count * (graph->code == IQDBI_HNSW_SIGNS ? SIGNS_RANKED : BYTES_RANKED) + RANKED_BESIDE;
}

size_t
iqdbi_hnsw_match_bytes(const IqdbiHnsw *graph)
{
	return graph->code == IQDBI_HNSW_PLAIN ? graph->vector_bytes : graph->node_offset;
}

bool
iqdbi_hnsw_matches_pay(const IqdbiHnswCursor *cursor, size_t count)
{
	return cursor->graph.code != IQDBI_HNSW_PLAIN && count < SIZE_MAX / SIGNS_RANKED / 2 &&
		   cursor->strategy.matching > 2.0 * (double) rows_ranked(&cursor->graph, count);
}

size_t
iqdbi_hnsw_drop_emitted(const void *arg, uint32_t *slots, size_t count)
{
	const IqdbiSlotSet *emitted = arg;
	size_t              left = 0;

	for (size_t i = 0; i < count; i++)
	{
		if (!iqdbi_set_has(emitted, slots[i]))
			slots[left++] = slots[i];
	}
	return left;
}

/* Codes may be others than before the last pause. STRUCTURE is held. */
static void
aim(Matches *matches)
{
	IqdbiHnswCursor *cursor = matches->cursor;
	uint64_t         epoch = atomic_load_explicit(&cursor->graph.header->epoch, memory_order_relaxed);

	if (matches->aimed && matches->epoch == epoch)
		return;
	iqdbi_target_query(&cursor->graph, &cursor->walk.target, cursor->base.query, cursor->base.query_norm2);
	matches->aimed = true;
	matches->epoch = epoch;
}

static IqdbStatus
offer(IqdbTopK *top, const IqdbStore *store, const uint32_t *slots, const float *keys, size_t count)
{
	for (size_t i = 0; i < count; i++)
	{
		if (iqdb_topk_wants(top, keys[i]))
			IQDB_TRY(iqdb_topk_offer(top, (IqdbCandidate){.key = keys[i],
														  .slot = slots[i],
														  .sequence = iqdb_store_sequence(store, slots[i])}));
	}
	return IQDB_OK;
}

/* Scores rows by their vectors. */
static IqdbStatus
offer_exact(IqdbiHnswCursor *cursor, const uint32_t *slots, size_t count)
{
	float keys[IQDB_PASS_ROWS];

	iqdb_scorer_slots(&cursor->base.scorer, slots, count, keys);
	cursor->base.stats.reranked += count;
	return offer(&cursor->found, cursor->base.store, slots, keys, count);
}

/* Moves the rows without a code to the end; returns how many have one. STRUCTURE is held. */
static size_t
part_nodes(const IqdbiHnsw *graph, const uint32_t *slots, size_t count, uint32_t *parted_out)
{
	size_t nodes = 0;
	size_t others = count;

	for (size_t i = 0; i < count; i++)
	{
		bool is_node = iqdbi_info_status(iqdbi_hnsw_info(graph, slots[i])) == IQDBI_INFO_LINKED;

		parted_out[is_node ? nodes++ : --others] = slots[i];
	}
	return nodes;
}

/* Are all rows nodes, but for those that are put meanwhile? */
static bool
all_are_nodes(const IqdbiHnsw *graph)
{
	return atomic_load_explicit(&graph->header->pending, memory_order_acquire) == 0 &&
		   atomic_load_explicit(&graph->header->twins, memory_order_acquire) == 0;
}

/* Begins to fetch what comparing a row by its code reads. */
static inline void
fetch_code(const IqdbiHnsw *graph, uint32_t slot)
{
	const uint8_t *code = iqdbi_hnsw_code(graph, slot);

	for (size_t at = 0; at < graph->node_offset; at += CACHE_LINE)
		__builtin_prefetch(code + at);
	if (graph->code == IQDBI_HNSW_BYTES)
		__builtin_prefetch(&graph->scalars[slot]);
}

/* Keys by codes, while the codes of rows that come later are on their way. */
static void
score_nodes(Matches *matches, const uint32_t *slots, size_t count, float *keys_out)
{
	const IqdbiHnsw *graph = &matches->cursor->graph;

	for (size_t i = 0; i < count && i < AHEAD; i++)
		fetch_code(graph, slots[i]);
	for (size_t done = 0; done < count; done += TOGETHER)
	{
		size_t part = count - done < TOGETHER ? count - done : TOGETHER;

		for (size_t i = done + AHEAD; i < count && i < done + AHEAD + TOGETHER; i++)
			fetch_code(graph, slots[i]);
		iqdbi_hnsw_score(graph, &matches->cursor->walk.target, slots + done, part, keys_out + done);
	}
}

/* Rows that pass the filter, for the pass. STRUCTURE is held. */
static IqdbStatus
score_matches(IqdbExactSearch *search, const uint32_t *slots, size_t count)
{
	Matches         *matches = matches_of(search);
	IqdbiHnswCursor *cursor = matches->cursor;
	const IqdbiHnsw *graph = &cursor->graph;
	size_t           nodes = count;
	uint32_t         parted[IQDB_PASS_ROWS];
	float            keys[IQDB_PASS_ROWS];

	aim(matches);
	if (!all_are_nodes(graph))
	{
		nodes = part_nodes(graph, slots, count, parted);
		IQDB_TRY(offer_exact(cursor, parted + nodes, count - nodes));
		slots = parted;
	}
	score_nodes(matches, slots, nodes, keys);
	IQDB_TRY(offer(&matches->coded, cursor->base.store, slots, keys, nodes));
	search->full = matches->coded.count == matches->coded.capacity;
	return IQDB_OK;
}

/* The best by their codes, as far as they are still there, by their vectors. */
static IqdbStatus
rank_coded(Matches *matches)
{
	IqdbiHnswCursor     *cursor = matches->cursor;
	const IqdbStore     *store = cursor->base.store;
	const IqdbCandidate *best = matches->coded.items;
	IqdbStretch          stretch;
	IqdbStatus           status = IQDB_OK;

	iqdb_stretch_begin(&stretch, store, IQDB_LOCK_STRUCTURE, NULL);
	for (size_t i = 0; i < matches->coded.count && status == IQDB_OK;)
	{
		uint32_t slots[IQDB_PASS_ROWS];
		size_t   count = 0;

		for (; i < matches->coded.count && count < IQDB_PASS_ROWS; i++)
		{
			if (iqdb_store_holds(store, best[i].slot, best[i].sequence))
				slots[count++] = best[i].slot;
		}
		status = offer_exact(cursor, slots, count);
		if (status == IQDB_OK)
			status = iqdb_stretch_step(&stretch, count * iqdb_charge_bytes(store->row_stride));
	}
	iqdb_stretch_end(&stretch);
	return status;
}

static IqdbStatus
look_at_matches(Matches *matches)
{
	IqdbCursor      *base = &matches->cursor->base;
	IqdbExactSearch *search = &matches->exact;
	IqdbExactPass    pass = {.store = base->store,
							 .slots = atomic_load_explicit(&base->store->header->slot_count, memory_order_acquire),
							 .searches = &search,
							 .count = 1,
							 .row_bytes = iqdbi_hnsw_match_bytes(&matches->cursor->graph)};

	iqdb_exact_search_init(search, &base->scorer, &matches->coded, &base->stats);
	search->score = score_matches;
	search->max_rows = base->params.max_rows;
	search->drop_seen = iqdbi_hnsw_drop_emitted;
	search->seen_arg = &matches->cursor->emitted;
	IQDB_TRY(iqdb_exact_pass(&pass, NULL));
	return rank_coded(matches);
}

IqdbStatus
iqdbi_hnsw_matches(IqdbiHnswCursor *cursor, size_t count, bool *complete_out)
{
	Matches    matches;
	IqdbStatus status;

	matches.cursor = cursor;
	matches.aimed = false;
	iqdb_topk_init(&matches.coded, &cursor->base.store->host->allocator, rows_ranked(&cursor->graph, count));
	status = look_at_matches(&matches);
	*complete_out = matches.exact.ended || matches.coded.count < matches.coded.capacity;
	iqdb_topk_free(&matches.coded);
	return status;
}
