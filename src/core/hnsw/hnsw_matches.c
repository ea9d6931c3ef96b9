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

#include <string.h>

#include "core/base/fetch.h"
#include "core/engine/exact_pass.h"
#include "core/hnsw/hnsw_sketch_private.h"

/* Rows ranked for each that is handed out, and beside those. */
#define BYTES_RANKED 2
#define SIGNS_RANKED 12
#define RANKED_BESIDE 32

/* Rows scored by one call, and how many rows before that their codes are fetched. */
#define TOGETHER 16
#define AHEAD 32

/* Rows that are looked at before sketches turn any away. */
#define FIRST_PART 32

#define CACHE_LINE 64

/* The same of vectors, and how much of each is fetched: the processor follows from there by itself. */
#define VECTORS_TOGETHER 8
#define FETCHED_MAX 1024

/*
 * Prices (engine/strategy.h): a row that is turned away by its sketch, and what reading a code takes beside its bytes. So many
 * codes are read at least, for each row that is handed out, and one of so many rows that pass.
 */
#define PRICE_SKETCH 12.0
#define PRICE_CODE 80.0
#define CODES_READ 100.0
#define CODES_PER_RANK 3.0
#define MATCHES_PER_CODE 30.0

typedef struct Matches
{
	IqdbExactSearch  exact;  /* the first member: matches_of() */
	IqdbiHnswCursor *cursor;
	IqdbTopK         coded;  /* the best rows by their codes, */
	IqdbTopK         first;  /* and of these as many as are handed out: sketches are compared with the last of them */
	IqdbiSketchQuery sketch;
	size_t           seen;   /* rows that pass and were looked at, */
	size_t           away;   /* and of these, those that sketches turned away: there is more to hand out */
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

void
iqdbi_hnsw_matches_weigh(IqdbiHnswCursor *cursor, size_t count)
{
	IqdbStrategy *strategy = &cursor->strategy;
	double        read = CODES_READ + CODES_PER_RANK * (double) count + strategy->matching / MATCHES_PER_CODE;

	if (iqdbi_sketch_bytes(cursor->graph.code) == 0 || !iqdbi_hnsw_matches_pay(cursor, count) || read > strategy->matching)
		return;
	strategy->exact = strategy->asking + strategy->matching * PRICE_SKETCH +
					  read * (PRICE_CODE + iqdb_price_gathered(iqdbi_hnsw_match_bytes(&cursor->graph)));
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
	iqdbi_sketch_query(&cursor->graph, &matches->sketch, cursor->base.query, cursor->base.query_norm2);
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

/* Begins to fetch vectors: they lie anywhere, and each begins on a page whose address is not known yet. */
static void
fetch_vectors(const IqdbStore *store, const uint32_t *slots, size_t count)
{
	size_t bytes = store->row_stride < FETCHED_MAX ? store->row_stride : FETCHED_MAX;

	for (size_t i = 0; i < count; i++)
	{
		const unsigned char *vector = iqdb_store_vector(store, slots[i]);

		for (size_t at = 0; at < bytes; at += CACHE_LINE)
			iqdb_fetch(vector + at);
	}
}

/* Scores rows by their vectors, while those of rows that come later are on their way. */
static IqdbStatus
offer_exact(IqdbiHnswCursor *cursor, const uint32_t *slots, size_t count)
{
	const IqdbStore *store = cursor->base.store;
	float            keys[IQDB_PASS_ROWS];

	fetch_vectors(store, slots, count < VECTORS_TOGETHER ? count : VECTORS_TOGETHER);
	for (size_t done = 0; done < count;)
	{
		size_t part = count - done < VECTORS_TOGETHER ? count - done : VECTORS_TOGETHER;
		size_t rest = count - done - part;

		fetch_vectors(store, slots + done + part, rest < VECTORS_TOGETHER ? rest : VECTORS_TOGETHER);
		iqdb_scorer_slots(&cursor->base.scorer, slots + done, part, keys + done);
		done += part;
	}
	cursor->base.stats.reranked += count;
	return offer(&cursor->found, store, slots, keys, count);
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
		iqdb_fetch(code + at);
	if (graph->code == IQDBI_HNSW_BYTES)
		iqdb_fetch(&graph->scalars[slot]);
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

/* Notes a row by its code. Its sequence is not read, which would wait for memory: what is there is asked later. */
static IqdbStatus
note(Matches *matches, uint32_t slot, float key)
{
	IqdbCandidate candidate = {.key = key, .slot = slot, .sequence = slot};

	if (!iqdb_topk_wants(&matches->coded, key))
		return IQDB_OK;
	IQDB_TRY(iqdb_topk_offer(&matches->coded, candidate));
	return iqdb_topk_wants(&matches->first, key) ? iqdb_topk_offer(&matches->first, candidate) : IQDB_OK;
}

/* Rows that pass the filter, IQDB_PASS_ROWS at most. STRUCTURE is held. */
static IqdbStatus
score_part(Matches *matches, const uint32_t *slots, size_t count)
{
	IqdbiHnswCursor *cursor = matches->cursor;
	const IqdbiHnsw *graph = &cursor->graph;
	uint32_t         near[IQDB_PASS_ROWS];
	uint32_t         parted[IQDB_PASS_ROWS];
	float            keys[IQDB_PASS_ROWS];
	size_t           nodes = count;

	memcpy(near, slots, count * sizeof(*near));
	if (matches->first.count == matches->first.capacity)
		nodes = iqdbi_sketch_keep(graph, &matches->sketch, matches->first.items[0].key, near, count);
	matches->away += count - nodes;
	slots = near;
	if (!all_are_nodes(graph))
	{
		count = nodes;
		nodes = part_nodes(graph, near, count, parted);
		IQDB_TRY(offer_exact(cursor, parted + nodes, count - nodes));
		slots = parted;
	}
	score_nodes(matches, slots, nodes, keys);
	for (size_t i = 0; i < nodes; i++)
		IQDB_TRY(note(matches, slots[i], keys[i]));
	return IQDB_OK;
}

/*
 * Rows that pass the filter, for the pass: few at first, and then as many as went before, because each part lowers the key that
 * sketches of the next one are compared with. STRUCTURE is held.
 */
static IqdbStatus
score_matches(IqdbExactSearch *search, const uint32_t *slots, size_t count)
{
	Matches *matches = matches_of(search);

	aim(matches);
	for (size_t done = 0, part; done < count; done += part)
	{
		part = matches->seen > FIRST_PART ? matches->seen : FIRST_PART;
		part = count - done < part ? count - done : part;
		IQDB_TRY(score_part(matches, slots + done, part));
		matches->seen += part;
	}
	search->full = matches->coded.count == matches->coded.capacity;
	return IQDB_OK;
}

/*
 * The best by their codes, by their vectors. In a pause of the pass a slot may have become another row's: any row that is
 * there now and passes the filter may be an answer.
 */
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
			uint32_t slot = best[i].slot;

			if (iqdb_store_state(store, slot) == IQDB_ROW_LIVE && iqdb_scorer_admits(&cursor->base.scorer, slot))
				slots[count++] = slot;
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
	search->drop_seen = matches->cursor->emitted.count > 0 ? iqdbi_hnsw_drop_emitted : NULL;
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
	matches.seen = 0;
	matches.away = 0;
	matches.aimed = false;
	iqdb_topk_init(&matches.coded, &cursor->base.store->host->allocator, rows_ranked(&cursor->graph, count));
	iqdb_topk_init(&matches.first, &cursor->base.store->host->allocator, count);
	status = look_at_matches(&matches);
	*complete_out = matches.exact.ended || (matches.coded.count < matches.coded.capacity && matches.away == 0);
	iqdb_topk_free(&matches.coded);
	iqdb_topk_free(&matches.first);
	return status;
}
