/*
 * hnsw_search.c - the stream of hits: a search of the graph, wider ones when the caller goes on, all rows at the end.
 *
 * Owns: the cursor, and when it changes from one way of searching to the next. Does not own: the beam search itself
 * (hnsw_walk.c).
 *
 * A search of the graph with a beam of B rows is good for fewer ranks than B: the last places of a beam are often not
 * the true ones. It answers for B / 2 ranks; or, where the caller has said that it expects more than B / 2 rows, for
 * all B, which then is at least as many as expected. The next search has a beam of four times the ranks answered for,
 * so twice as wide or wider, and hands out what was not handed out yet. So the whole stream costs at most about twice
 * its last search, and each rank behind the expected ones is backed by a beam of twice its number. A row that only the
 * wider beam finds, although it is nearer than rows handed out before, stands first in its batch, with its true key.
 *
 * A node of the beam stands for its twins as well, rows with an equal vector (hnsw_twins.c): as many of them are handed
 * out as there are ranks to be answered for. The cursor looks at all rows when the beam comes near the number of rows,
 * when a filter turns nearly all of them away, and when the graph has no more to give. So no LIVE row is left out,
 * whatever the graph looks like.
 */
#include "core/hnsw/hnsw_search_private.h"

#include <string.h>

#include "core/engine/exact_pass.h"
#include "core/hnsw/hnsw_twins_private.h"

/* All rows are scanned when the beam, or the number of rows without links, is at least such a share of all rows. */
#define BEAM_SHARE 8
#define PENDING_SHARE 8

/*
 * With a filter, prices (engine/strategy.h). A search of the graph scores so many rows per place of a beam, and some on its
 * way down; each of them takes so long, beside reading what it is scored by, which waits for memory.
 */
#define ROWS_PER_PLACE 12
#define ROWS_BEFORE 128
#define PRICE_ROW 85.0
#define BYTES_A_NANOSECOND 12.0

/*
 * How many times as expensive a search of the graph may turn out, where rows that match are not the nearest; and which part
 * of the price of an exact pass is spent on it before that is noticed.
 */
#define GRAPH_MARGIN 2.0
#define ALLOWED_PART 0.67

/*
 * Where the way down ends, some hundred rows about the query are asked for the filter. If so much smaller a share of
 * them passes than of all rows, matches lie elsewhere: the graph is then given this part of the price of an exact pass, in case
 * they begin not far away.
 */
#define STARTS_ASKED 4
#define SHARES_ALIKE 2.5
#define ALLOWED_FAR 0.16

/* However cheap looking at all rows would be, a search is given so many. */
#define ALLOWED_MIN 500

/* So many rows are scored by one call of a kernel. */
#define BLOCK 256

#define SCAN_FIRST 64
#define SCAN_GROWTH 4

/* ---- candidates -------------------------------------------------------------------------------------------------- */

/* Is the row there, and does the filter let it pass? STRUCTURE is held, as for everything that reads a row. */
static bool
is_wanted(IqdbiHnswCursor *cursor, uint32_t slot)
{
	return iqdb_store_state(cursor->base.store, slot) == IQDB_ROW_LIVE && iqdb_scorer_admits(&cursor->base.scorer, slot);
}

/* Offers a row to `found`, unless it stands before what earlier passes have handed out. */
static IqdbStatus
offer_candidate(IqdbiHnswCursor *cursor, uint32_t slot, float key)
{
	IqdbCandidate candidate;

	if (!iqdb_topk_wants(&cursor->found, key))
		return IQDB_OK;
	candidate.key = key;
	candidate.slot = slot;
	candidate.sequence = iqdb_store_sequence(cursor->base.store, slot);
	if (cursor->bounded && !iqdb_candidate_before(&cursor->bound, &candidate))
		return IQDB_OK;
	return iqdb_topk_offer(&cursor->found, candidate);
}

/* Scores rows by their vectors, and offers them. */
static IqdbStatus
offer_exact(IqdbiHnswCursor *cursor, const uint32_t *slots, size_t count)
{
	float keys[BLOCK];

	iqdb_scorer_slots(&cursor->base.scorer, slots, count, keys);
	cursor->base.stats.reranked += count;
	for (size_t i = 0; i < count; i++)
		IQDB_TRY(offer_candidate(cursor, slots[i], keys[i]));
	return IQDB_OK;
}

/*
 * Remembers by slot what was handed out so far. A slot that becomes another row later holds a row that was put after
 * the cursor was opened, which may be left out.
 */
static IqdbStatus
remember_emitted(IqdbiHnswCursor *cursor)
{
	IQDB_TRY(iqdbi_set_grow(&cursor->emitted, (uint32_t) cursor->at));
	for (size_t i = 0; i < cursor->at; i++)
		(void) iqdbi_set_add(&cursor->emitted, cursor->found.items[i].slot);
	return IQDB_OK;
}

/*
 * Sorts what was found; keeps the first `ranks` of it, less rows that were handed out already, and less rows that were
 * met twice, without links and as a node, because they were linked during the search.
 */
static void
keep_ranks(IqdbiHnswCursor *cursor, size_t ranks)
{
	IqdbTopK *found = &cursor->found;
	size_t    kept = 0;
	uint32_t  last = IQDB_SLOT_NONE;

	iqdb_topk_sort(found);
	for (size_t i = 0; i < found->count && i < ranks; i++)
	{
		uint32_t slot = found->items[i].slot;

		if (slot != last && !iqdbi_set_has(&cursor->emitted, slot))
			found->items[kept++] = found->items[i];
		last = slot;
	}
	found->count = kept;
}

/* Scoring a row on the way through the graph. */
static double
price_of_row(const IqdbiHnsw *graph)
{
	return PRICE_ROW + (double) iqdbi_hnsw_match_bytes(graph) / BYTES_A_NANOSECOND;
}

/* A search of the graph, where matches lie as all rows do. */
static double
price_of_graph(const IqdbiHnswCursor *cursor)
{
	return (ROWS_BEFORE + ROWS_PER_PLACE * (double) cursor->beam / cursor->strategy.share) * price_of_row(&cursor->graph);
}

/* Would a search of the graph take longer than looking at all rows that pass? */
static bool
graph_is_dearer(const IqdbiHnswCursor *cursor)
{
	return GRAPH_MARGIN * price_of_graph(cursor) > cursor->strategy.exact;
}

/*
 * Sets the number of scored rows at which a search of the graph ends. With a filter, all searches of the stream together may
 * not take much longer than looking at all rows that pass.
 */
static void
set_search_limit(IqdbiHnswCursor *cursor, size_t live)
{
	uint64_t max_rows = cursor->base.params.max_rows;

	cursor->walk.scored_max = cursor->base.stats.scored + live;
	if (cursor->base.params.filter != NULL)
	{
		double allowed = ALLOWED_PART * cursor->strategy.exact / price_of_row(&cursor->graph);

		cursor->walk.scored_max = allowed < (double) live ? (uint64_t) allowed : live;
		if (cursor->walk.scored_max < ALLOWED_MIN)
			cursor->walk.scored_max = ALLOWED_MIN;
	}
	if (max_rows != 0 && max_rows < cursor->walk.scored_max)
		cursor->walk.scored_max = max_rows;
}

/* Were as many rows scored as the caller allows for the whole stream? */
static bool
max_rows_scored(const IqdbiHnswCursor *cursor)
{
	return cursor->base.params.max_rows != 0 && cursor->base.stats.scored >= cursor->base.params.max_rows;
}

/* Has the search scored so many rows that a scan of all rows is the better way? */
static bool
search_used_up(const IqdbiHnswCursor *cursor)
{
	return !cursor->last && cursor->base.stats.scored >= cursor->walk.scored_max;
}

/*
 * Did the search find fewer rows than the beam has room for? Then it has met all that links lead to. Some rows that
 * links do not lead to may be nearer than those found, so nothing is handed out before all rows were scanned.
 */
static bool
graph_exhausted(const IqdbiHnswCursor *cursor)
{
	return cursor->walk.beam.count < cursor->beam && !cursor->more_twins;
}

/* ---- searching the graph ----------------------------------------------------------------------------------------- */

/*
 * Scores rows without links. This is done before the graph is entered: a row that leaves region PENDING before it is
 * read here was linked before, so the search finds it in the graph. The region is read from its end to its beginning,
 * see iqdbi_hnsw_pending_add(). STRUCTURE is held, but for pauses, as in all that follows up to graph_attempt().
 */
static IqdbStatus
score_unlinked(IqdbiHnswCursor *cursor)
{
	const IqdbiHnsw *graph = &cursor->graph;
	uint32_t         left = atomic_load_explicit(&graph->header->pending, memory_order_acquire);
	uint32_t         slots[BLOCK];

	while (left > 0 && !cursor->walk.stretch.stale)
	{
		size_t count = 0;

		while (left > 0 && count < BLOCK)
		{
			uint32_t slot = atomic_load_explicit(&graph->pending[--left], memory_order_acquire);

			if (iqdbi_info_status(iqdbi_hnsw_info(graph, slot)) <= IQDBI_INFO_LINKING && is_wanted(cursor, slot))
				slots[count++] = slot;
		}
		IQDB_TRY(offer_exact(cursor, slots, count));
		cursor->base.stats.scored += count;
		IQDB_TRY(iqdb_stretch_step(&cursor->walk.stretch, (uint64_t) BLOCK * graph->cost));
	}
	return IQDB_OK;
}

/* The nearest nodes that the way down has found, at most STARTS_ASKED. */
static size_t
nearest_starts(IqdbiBeam *beam, IqdbiPair nearest_out[2 * STARTS_ASKED])
{
	size_t count = 0;

	/* in order, nodes to be visited are a heap as well */
	iqdbi_pairs_sort(beam->way, beam->way_count);
	for (size_t i = 0; i < beam->way_count && i < STARTS_ASKED; i++)
		nearest_out[count++] = beam->way[i];
	for (size_t i = 0; i < beam->count && i < STARTS_ASKED; i++)
		nearest_out[count++] = beam->results[i];
	iqdbi_pairs_sort(nearest_out, count);
	return count < STARTS_ASKED ? count : STARTS_ASKED;
}

/* Which share of the rows about the query passes the filter: of the neighbours of the nearest starts. */
static double
share_about_query(IqdbiHnswCursor *cursor)
{
	const IqdbiHnsw     *graph = &cursor->graph;
	const IqdbRowFilter *filter = cursor->base.params.filter;
	IqdbiPair            starts[2 * STARTS_ASKED];
	size_t               count = nearest_starts(&cursor->walk.beam, starts);
	uint32_t             slots[IQDBI_HNSW_LIST_MAX];
	uint32_t             asked = 0;
	uint32_t             passing = 0;

	for (size_t i = 0; i < count; i++)
	{
		uint32_t length = iqdbi_list_read(graph, iqdbi_hnsw_list(graph, starts[i].slot, 0), 0, slots);

		for (uint32_t done = 0; done < length; done += IQDB_FILTER_EACH)
		{
			uint32_t part = length - done < IQDB_FILTER_EACH ? length - done : IQDB_FILTER_EACH;

			passing += (uint32_t) __builtin_popcountll(iqdb_row_filter_admits_each(filter, graph->store, slots + done, part));
		}
		asked += length;
	}
	iqdb_stretch_charge(&cursor->walk.stretch, asked * (IQDB_CHARGE_AT_RANDOM + iqdb_row_filter_charge(filter)));
	return asked > 0 ? (double) passing / asked : 1.0;
}

/*
 * Searches level 0 with a filter. So far it was known what passes of all rows; now it is seen what passes about the query. If
 * that is much less, the walk would go over very many nodes that do not pass: it ends soon, or does not begin.
 */
static IqdbStatus
search_matching(IqdbiHnswCursor *cursor)
{
	IqdbiWalk *walk = &cursor->walk;
	double     allowed = ALLOWED_FAR * cursor->strategy.exact;

	if (share_about_query(cursor) < cursor->strategy.share / SHARES_ALIKE)
	{
		uint64_t most = walk->stats->scored;

		if (price_of_graph(cursor) <= allowed)
			most += (uint64_t) (allowed / price_of_row(&cursor->graph));
		walk->scored_max = most < walk->scored_max ? most : walk->scored_max;
	}
	if (!search_used_up(cursor))
		return iqdbi_walk_level(walk, 0);
	iqdbi_beam_finish(&walk->beam);
	return IQDB_OK;
}

/* Searches the graph: the beam holds what was found. */
static IqdbStatus
search_graph(IqdbiHnswCursor *cursor)
{
	const IqdbRowFilter *filter = cursor->base.params.filter;
	IqdbiWalk           *walk = &cursor->walk;
	uint64_t             entry = iqdbi_hnsw_entry(&cursor->graph);
	uint32_t             equal;

	IQDB_TRY(iqdbi_beam_reset(&walk->beam, cursor->beam));
	if (entry == 0)
		return IQDB_OK;
	iqdbi_target_query(&cursor->graph, &walk->target, cursor->base.query, cursor->base.query_norm2);
	IQDB_TRY(iqdbi_walk_begin_search(walk, entry, cursor->beam));
	if (walk->stretch.stale)
		return IQDB_OK;
	/* a search for a vector that is stored finds its row, also where no link leads to the node */
	equal = iqdbi_hnsw_twin_find(&cursor->graph, cursor->base.vector);
	if (equal != IQDB_SLOT_NONE)
		IQDB_TRY(iqdbi_walk_offer(walk, equal));
	/* asking metadata of so many rows would cost more than it tells; a limit of work leaves none for looking at all rows */
	if (filter != NULL && filter->metadata == NULL && cursor->base.params.max_rows == 0)
		return search_matching(cursor);
	return iqdbi_walk_level(walk, 0);
}

/* Offers a node and its twins, which all have the same key, until there are `ranks` rows. */
static IqdbStatus
offer_chain(IqdbiHnswCursor *cursor, const IqdbiPair *node, size_t ranks, size_t *offered)
{
	IqdbiWalk *walk = &cursor->walk;

	for (uint32_t slot = node->slot; slot != IQDB_SLOT_NONE; slot = iqdbi_hnsw_twin_next(&cursor->graph, slot))
	{
		if (*offered >= ranks || search_used_up(cursor))
		{
			cursor->more_twins = true;
			return IQDB_OK;
		}
		if (is_wanted(cursor, slot))
		{
			IQDB_TRY(offer_candidate(cursor, slot, node->key));
			(*offered)++;
		}
		cursor->base.stats.scored += slot != node->slot;
		IQDB_TRY(iqdb_stretch_step(&walk->stretch, IQDBI_TWIN_COST));
		if (walk->stretch.stale)
			return IQDB_OK;
	}
	return IQDB_OK;
}

/*
 * Offers the beam's rows with their exact keys. Nodes with twins are gathered at the front of the beam and come last,
 * nearest first, because the nearest few may be enough to fill the ranks. A node without twins has passed the filter on
 * the way; of a node with twins, any one of them may have.
 */
static IqdbStatus
rank_exactly(IqdbiHnswCursor *cursor, size_t ranks)
{
	const IqdbiHnsw *graph = &cursor->graph;
	IqdbiBeam       *beam = &cursor->walk.beam;
	uint32_t         slots[BLOCK];
	size_t           chains = 0;
	size_t           offered = 0;

	cursor->more_twins = false;
	for (size_t done = 0; done < beam->count;)
	{
		size_t count = 0;

		for (; done < beam->count && count < BLOCK; done++)
		{
			uint32_t slot = beam->results[done].slot;

			if (iqdbi_hnsw_twin_next(graph, slot) != IQDB_SLOT_NONE)
				beam->results[chains++].slot = slot;
			else if (iqdb_store_state(cursor->base.store, slot) == IQDB_ROW_LIVE)
				slots[count++] = slot;
		}
		IQDB_TRY(offer_exact(cursor, slots, count));
		IQDB_TRY(iqdb_stretch_step(&cursor->walk.stretch, count * graph->cost));
		if (cursor->walk.stretch.stale)
			return IQDB_OK;
	}
	for (size_t i = 0; i < chains; i++)
		iqdb_scorer_slots(&cursor->base.scorer, &beam->results[i].slot, 1, &beam->results[i].key);
	iqdbi_pairs_sort(beam->results, chains);
	for (size_t i = 0; i < chains && !cursor->walk.stretch.stale; i++)
		IQDB_TRY(offer_chain(cursor, &beam->results[i], ranks, &offered));
	return IQDB_OK;
}

/*
 * How many ranks the next search answers for. At least one, so that the beam, which is four times as wide next time,
 * grows.
 */
static size_t
ranks_answered(const IqdbiHnswCursor *cursor)
{
	size_t half = cursor->beam / 2;

	if (cursor->base.params.expected > half)
		return cursor->beam;
	return half > 0 ? half : 1;
}

/* Rows to be handed out of those that codes have chosen: as many as are expected, if none went before. */
static size_t
matches_wanted(const IqdbiHnswCursor *cursor)
{
	bool begins = cursor->emitted.count == 0 && cursor->base.params.expected > 0;

	return begins ? cursor->base.params.expected : ranks_answered(cursor);
}

/* What follows when the graph is no help: all rows, or at first all that pass the filter, by their codes. */
static void
leave_graph(IqdbiHnswCursor *cursor)
{
	bool matches = cursor->base.params.filter != NULL && iqdbi_hnsw_matches_pay(cursor, matches_wanted(cursor));

	cursor->phase = matches ? IQDBI_PHASE_MATCHES : IQDBI_PHASE_SCAN;
	iqdb_topk_clear(&cursor->found);
}

/* One search of the graph, or the decision that all rows are scanned. STRUCTURE is held, but for pauses. */
static IqdbStatus
graph_attempt(IqdbiHnswCursor *cursor)
{
	size_t live = atomic_load_explicit(&cursor->base.store->header->live_count, memory_order_relaxed);
	size_t pending = atomic_load_explicit(&cursor->graph.header->pending, memory_order_relaxed);
	size_t ranks = ranks_answered(cursor);

	iqdb_topk_clear(&cursor->found);
	cursor->found.capacity = SIZE_MAX;
	if (cursor->beam >= live / BEAM_SHARE || pending > live / PENDING_SHARE)
	{
		leave_graph(cursor);
		return IQDB_OK;
	}
	set_search_limit(cursor, live);
	cursor->found.capacity = cursor->beam;
	IQDB_TRY(score_unlinked(cursor));
	if (cursor->walk.stretch.stale)
		return IQDB_OK;
	cursor->found.capacity = SIZE_MAX;
	IQDB_TRY(search_graph(cursor));
	if (cursor->walk.stretch.stale)
		return IQDB_OK;
	cursor->last = max_rows_scored(cursor);
	if (cursor->last)
		ranks = cursor->beam;
	if (!search_used_up(cursor))
		IQDB_TRY(rank_exactly(cursor, ranks));
	if (cursor->walk.stretch.stale)
		return IQDB_OK;
	cursor->last = max_rows_scored(cursor);
	if (search_used_up(cursor) || (graph_exhausted(cursor) && !cursor->last))
	{
		leave_graph(cursor);
		return IQDB_OK;
	}
	keep_ranks(cursor, ranks);
	cursor->beam = 4 * ranks;
	return IQDB_OK;
}

/* The next batch by a search of the graph, which begins again when its stretch was stale. No lock is held. */
static IqdbStatus
next_of_graph(IqdbiHnswCursor *cursor)
{
	IqdbStatus status;

	IQDB_TRY(remember_emitted(cursor));
	cursor->at = 0;
	do
	{
		iqdbi_walk_enter(&cursor->walk);
		status = graph_attempt(cursor);
		iqdbi_walk_leave(&cursor->walk);
	} while (status == IQDB_OK && cursor->walk.stretch.stale);
	return status;
}

/* ---- scanning all rows ------------------------------------------------------------------------------------------- */

/*
 * One pass over all rows. Between its stretches slots may be released and used again, so a candidate is looked at once
 * more when it is handed out; therefore a pause cannot be stale here. No lock is held by the caller.
 */
static IqdbStatus
scan_pass(IqdbiHnswCursor *cursor)
{
	IqdbCursor     *base = &cursor->base;
	uint32_t        slots = atomic_load_explicit(&base->store->header->slot_count, memory_order_acquire);
	uint64_t        scored = base->stats.scored;
	IqdbExactSearch search;

	iqdb_exact_search_init(&search, &base->scorer, &cursor->found, &base->stats);
	search.bound = cursor->bounded ? &cursor->bound : NULL;
	search.max_rows = base->params.max_rows;
	search.drop_seen = iqdbi_hnsw_drop_emitted;
	search.seen_arg = &cursor->emitted;
	IQDB_TRY(iqdb_exact_pass_alone(&search, 0, slots, NULL));
	base->stats.reranked += base->stats.scored - scored;
	cursor->last = search.ended;
	return IQDB_OK;
}

/* The next batch by a pass that keeps the best rows behind the last one handed out. */
static IqdbStatus
next_of_scan(IqdbiHnswCursor *cursor)
{
	IqdbTopK *found = &cursor->found;
	size_t    expected = cursor->base.params.expected;

	if (cursor->bounded)
		found->capacity *= found->capacity <= SIZE_MAX / SCAN_GROWTH ? SCAN_GROWTH : 1;
	else
	{
		/*
		 * the first pass leaves out what is in the set, which searches of the graph handed out; later ones what is
		 * before the bound
		 */
		IQDB_TRY(remember_emitted(cursor));
		found->capacity = expected > SCAN_FIRST ? expected : SCAN_FIRST;
		if (found->capacity < cursor->emitted.count)
			found->capacity = cursor->emitted.count;
	}
	cursor->at = 0;
	iqdb_topk_clear(found);
	iqdb_stats_exact(&cursor->base.stats);
	IQDB_TRY(scan_pass(cursor));
	cursor->last = cursor->last || found->count < found->capacity;
	iqdb_topk_sort(found);
	if (found->count > 0)
	{
		cursor->bound = found->items[found->count - 1];
		cursor->bounded = true;
	}
	return IQDB_OK;
}

/*
 * The next batch by the codes of all rows that pass. Rows behind it come by scans, and so do rows that codes have misjudged.
 */
static IqdbStatus
next_of_matches(IqdbiHnswCursor *cursor)
{
	size_t ranks;
	bool   complete;

	IQDB_TRY(remember_emitted(cursor));
	ranks = matches_wanted(cursor);
	cursor->at = 0;
	iqdb_topk_clear(&cursor->found);
	cursor->found.capacity = SIZE_MAX;
	iqdb_stats_exact(&cursor->base.stats);
	IQDB_TRY(iqdbi_hnsw_matches(cursor, ranks, &complete));
	keep_ranks(cursor, complete ? SIZE_MAX : ranks);
	cursor->last = complete;
	cursor->phase = IQDBI_PHASE_SCAN;
	return IQDB_OK;
}

/* ---- cursor ------------------------------------------------------------------------------------------------------ */

IqdbStatus
iqdbi_hnsw_cursor_start(IqdbCursor *base, IqdbError *err)
{
	IqdbiHnswCursor *cursor = (IqdbiHnswCursor *) base;
	size_t           ef = base->params.ef != 0 ? base->params.ef : base->store->header->options.ef_search;

	iqdbi_hnsw_view(&cursor->graph, base->store);
	iqdb_topk_init(&cursor->found, &base->store->host->allocator, 0);
	iqdbi_set_init(&cursor->emitted, &base->store->host->allocator);
	cursor->phase = IQDBI_PHASE_GRAPH;
	cursor->beam = base->params.expected > ef ? base->params.expected : ef;
	if (cursor->beam > IQDBI_HNSW_SLOTS_MAX)
		cursor->beam = IQDBI_HNSW_SLOTS_MAX;
	if (iqdbi_walk_init(&cursor->walk, &cursor->graph, &base->stats) != IQDB_OK)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for a search");
	cursor->walk.filtering = base->params.filter != NULL ? &base->scorer : NULL;
	cursor->walk.twins = true;
	if (base->params.filter == NULL)
		return IQDB_OK;
	iqdb_strategy_weigh(&base->scorer, iqdbi_hnsw_match_bytes(&cursor->graph), &cursor->strategy);
	iqdbi_hnsw_matches_weigh(cursor, base->params.expected);
	if (graph_is_dearer(cursor))
		leave_graph(cursor);
	return IQDB_OK;
}

void
iqdbi_hnsw_cursor_end(IqdbCursor *base)
{
	IqdbiHnswCursor *cursor = (IqdbiHnswCursor *) base;

	iqdb_topk_free(&cursor->found);
	iqdbi_set_free(&cursor->emitted);
	iqdbi_walk_free(&cursor->walk);
}

/* The next batch. Cancel is polled first, because a batch may be done within one stretch. */
static IqdbStatus
next_round(IqdbiHnswCursor *cursor)
{
	if (iqdb_host_cancelled(cursor->base.store->host))
		return IQDB_ERR_CANCELLED;
	switch (cursor->phase)
	{
		case IQDBI_PHASE_GRAPH:
			return next_of_graph(cursor);
		case IQDBI_PHASE_MATCHES:
			return next_of_matches(cursor);
		default:
			return next_of_scan(cursor);
	}
}

static IqdbStatus
search_failed(IqdbiHnswCursor *cursor, IqdbStatus status, IqdbError *err)
{
	/* what was found may not be the nearest rows, so it is not handed out: the stream ends here */
	cursor->phase = IQDBI_PHASE_END;
	iqdb_topk_clear(&cursor->found);
	cursor->at = 0;
	return iqdb_fail(err, status, status == IQDB_ERR_CANCELLED ? "search was cancelled" : "out of memory for a search");
}

IqdbStatus
iqdbi_hnsw_cursor_next(IqdbCursor *base, IqdbHit *hits, size_t capacity, size_t *count_out, IqdbError *err)
{
	IqdbiHnswCursor *cursor = (IqdbiHnswCursor *) base;

	*count_out = 0;
	while (capacity > 0 && *count_out == 0 && cursor->phase != IQDBI_PHASE_END)
	{
		IqdbStatus status = IQDB_OK;

		if (cursor->at < cursor->found.count)
		{
			*count_out = iqdb_engine_hand_out(base->store, cursor->found.items, &cursor->at, cursor->found.count, hits,
											  capacity);
			continue;
		}
		if (cursor->last)
			cursor->phase = IQDBI_PHASE_END;
		else
			status = next_round(cursor);
		if (status != IQDB_OK)
			return search_failed(cursor, status, err);
	}
	return IQDB_OK;
}
