/*
 * ivf_stream.c - the stream of hits.
 *
 * Batches (ivf_search.c), one after the other: each looks into more lists than the one before and hands out four times
 * as many rows, without those that went before; when it would be all lists, the rest of the stream comes from scans of
 * all rows. So every LIVE row is met at last, however selective the filter.
 *
 * The numbers of rows go by the same steps whatever the number of lists the stream begins with: 64, 256, ..., or other
 * steps if the caller says how many rows it expects. A batch looks into lists until it has met eight times as many rows
 * as will have been handed out in all, and into at least four times the lists of the batch before. So a stream that
 * begins with more lists has looked into no fewer when it hands out the row of some rank.
 */
#include "core/ivf/ivf_search_private.h"

#include <string.h>

#include "core/engine/exact_pass.h"
#include "core/ivf/ivf_seen_private.h"
#include "core/ivf/ivf_space_private.h"

/* A caller who wants such a share of all rows gets them by scans. */
#define EXPECTED_SHARE 8u

/* Growth from batch to batch. */
#define GROWTH 4u

/* The most rows a batch of an exact scan keeps. */
#define BATCH_MAX ((size_t) 4 * 1024 * 1024)

/* A row that was found twice, not linked yet and then in a list, stands beside itself. */
static void
drop_doubles(IqdbTopK *top)
{
	size_t kept = 0;

	for (size_t i = 0; i < top->count; i++)
	{
		if (kept > 0 && top->items[kept - 1].sequence == top->items[i].sequence)
			continue;
		top->items[kept++] = top->items[i];
	}
	top->count = kept;
}

static void
drop_deferred(IqdbiIvfCursor *cursor)
{
	iqdb_free(&cursor->base.store->host->allocator, cursor->deferred, cursor->deferred_room * sizeof(*cursor->deferred));
	cursor->deferred = NULL;
	cursor->deferred_count = 0;
	cursor->deferred_room = 0;
}

IqdbStatus
iqdbi_ivf_cursor_start(IqdbCursor *base, IqdbError *err)
{
	IqdbiIvfCursor *cursor = (IqdbiIvfCursor *) base;
	size_t          live = atomic_load_explicit(&base->store->header->live_count, memory_order_relaxed);

	(void) err;
	cursor->exact = iqdbi_rows_expected(cursor) > live / EXPECTED_SHARE ||
					iqdbi_query_overflows(base->store, base->query, base->query_norm2);
	cursor->goal = iqdbi_rows_expected(cursor);
	cursor->wanted = cursor->exact ? cursor->goal : iqdbi_rows_to_rank(cursor, cursor->goal);
	iqdb_topk_init(&cursor->top, &base->store->host->allocator, cursor->wanted);
	if (base->params.filter == NULL || cursor->exact)
		return IQDB_OK;
	iqdb_strategy_weigh(&base->scorer, base->store->row_stride, &cursor->strategy);
	cursor->price_of_row = iqdbi_price_of_row(base->store);
	cursor->asks_first = iqdbi_asks_first(cursor);
	if (iqdbi_price_of_lists(cursor) > cursor->strategy.exact)
	{
		cursor->exact = true;
		cursor->wanted = cursor->goal;
	}
	return IQDB_OK;
}

void
iqdbi_ivf_cursor_end(IqdbCursor *base)
{
	IqdbiIvfCursor *cursor = (IqdbiIvfCursor *) base;

	iqdb_topk_free(&cursor->top);
	drop_deferred(cursor);
	iqdb_free(&base->store->host->allocator, cursor->seen, ((size_t) cursor->seen_slots + 7) / 8);
}

/* Notes what the batch has handed out. */
static IqdbStatus
remember_handed_out(IqdbiIvfCursor *cursor, IqdbError *err)
{
	const IqdbStore *store = cursor->base.store;

	if (cursor->seen == NULL)
	{
		uint32_t slots = atomic_load_explicit(&store->header->slot_count, memory_order_acquire);

		cursor->seen = iqdb_alloc_zero(&store->host->allocator, ((size_t) slots + 7) / 8);
		if (cursor->seen == NULL)
			return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for a bit per row");
		cursor->seen_slots = slots;
	}
	cursor->given += cursor->at;
	for (size_t i = 0; i < cursor->at; i++)
	{
		uint32_t slot = cursor->top.items[i].slot;

		if (slot < cursor->seen_slots)
			cursor->seen[slot / 8] |= (unsigned char) (1u << (slot % 8));
	}
	return IQDB_OK;
}

/* The next step; the one to 64 is made with the lists that were named. */
static void
raise_goal(IqdbiIvfCursor *cursor)
{
	size_t more;

	if (cursor->goal < iqdbi_rows_expected(cursor))
		cursor->goal = iqdbi_rows_expected(cursor);
	else
	{
		cursor->goal = cursor->goal > BATCH_MAX / GROWTH ? cursor->goal + BATCH_MAX : cursor->goal * GROWTH;
		cursor->probes = cursor->probes > UINT32_MAX / GROWTH ? UINT32_MAX : cursor->probes * GROWTH;
	}
	more = cursor->goal - cursor->given;
	cursor->wanted = iqdbi_rows_to_rank(cursor, more < BATCH_MAX ? more : BATCH_MAX);
}

/* More lists and more rows for the batch to come. */
static IqdbStatus
widen(IqdbiIvfCursor *cursor, IqdbError *err)
{
	if (cursor->exact)
	{
		if (cursor->top.count > 0)
		{
			cursor->bound = cursor->top.items[cursor->top.count - 1];
			cursor->bounded = true;
		}
	}
	else
	{
		IQDB_TRY(remember_handed_out(cursor, err));
		raise_goal(cursor);
	}
	if (cursor->exact && cursor->wanted < BATCH_MAX)
		cursor->wanted = cursor->wanted * GROWTH > BATCH_MAX ? BATCH_MAX : cursor->wanted * GROWTH;
	return IQDB_OK;
}

/* Leaves out what earlier batches have handed out. */
static size_t
drop_handed_out(const void *arg, uint32_t *slots, size_t count)
{
	const unsigned char *seen = arg;
	size_t               left = 0;

	for (size_t i = 0; i < count; i++)
	{
		slots[left] = slots[i];
		left += !iqdbi_seen(seen, slots[i]);
	}
	return left;
}

static IqdbStatus
exact_batch(IqdbiIvfCursor *cursor, IqdbError *err)
{
	IqdbCursor     *base = &cursor->base;
	uint32_t        slots = atomic_load_explicit(&base->store->header->slot_count, memory_order_acquire);
	uint64_t        scored = base->stats.scored;
	IqdbExactSearch search;

	iqdb_stats_exact(&base->stats);
	iqdb_exact_search_init(&search, &base->scorer, &cursor->top, &base->stats);
	search.bound = cursor->bounded ? &cursor->bound : NULL;
	search.max_rows = base->params.max_rows;
	if (cursor->seen != NULL)
	{
		/* rows of slots beyond the map came after the stream began */
		slots = cursor->seen_slots;
		search.drop_seen = drop_handed_out;
		search.seen_arg = cursor->seen;
	}
	IQDB_TRY(iqdb_exact_pass_alone(&search, 0, slots, err));
	base->stats.reranked += base->stats.scored - scored;
	cursor->exhausted = search.ended || cursor->top.count < cursor->top.capacity;
	return IQDB_OK;
}

static IqdbStatus
fill_batch(IqdbiIvfCursor *cursor, IqdbError *err)
{
	bool stale = true;

	while (stale && !cursor->exact)
	{
		drop_deferred(cursor);
		iqdb_topk_clear(&cursor->top);
		cursor->top.capacity = cursor->wanted;
		IQDB_TRY(iqdbi_batch_probe(cursor, &stale, err));
	}
	if (cursor->exact)
	{
		drop_deferred(cursor);
		iqdb_topk_clear(&cursor->top);
		cursor->top.capacity = cursor->wanted;
		cursor->hand = SIZE_MAX;
		return exact_batch(cursor, err);
	}
	cursor->exhausted = iqdbi_gave_up(cursor);
	return IQDB_OK;
}

static IqdbStatus
next_lists_batch(IqdbiIvfCursor *cursor, IqdbError *err)
{
	IqdbStatus status = IQDB_OK;

	if (cursor->started)
		status = widen(cursor, err);
	cursor->at = 0;
	cursor->started = true;
	if (status == IQDB_OK)
		status = fill_batch(cursor, err);
	if (status != IQDB_OK)
		return status;
	iqdb_topk_sort(&cursor->top);
	drop_doubles(&cursor->top);
	cursor->ready = cursor->top.count < cursor->hand ? cursor->top.count : cursor->hand;
	if (cursor->deferred_count > 0 && cursor->ready > iqdbi_rows_at_first(cursor))
		cursor->ready = iqdbi_rows_at_first(cursor);
	return IQDB_OK;
}

/*
 * Ranks up to IQDBI_EXACT_ROWS deferred rows for the batch: those that are still there, and were not found among the
 * rows that are not linked, too, and handed out.
 */
static IqdbStatus
rank_some_deferred(IqdbiIvfCursor *cursor, const IqdbCandidate *deferred, size_t count, IqdbError *err)
{
	const IqdbStore *store = cursor->base.store;
	uint32_t         slots[IQDBI_EXACT_ROWS];
	float            keys[IQDBI_EXACT_ROWS];
	size_t           kept = 0;
	IqdbStatus       status = IQDB_OK;

	iqdb_store_lock(store, IQDB_LOCK_STRUCTURE, false);
	for (size_t i = 0; i < count; i++)
	{
		uint32_t slot = deferred[i].slot;

		if (iqdb_store_holds(store, slot, deferred[i].sequence) &&
			(slot >= cursor->seen_slots || !iqdbi_seen(cursor->seen, slot)))
			slots[kept++] = slot;
	}
	iqdb_scorer_slots(&cursor->base.scorer, slots, kept, keys);
	for (size_t i = 0; i < kept && status == IQDB_OK; i++)
		status = iqdb_topk_offer(&cursor->top, (IqdbCandidate){.key = keys[i],
															   .slot = slots[i],
															   .sequence = iqdb_store_sequence(store, slots[i])});
	iqdb_store_unlock(store, IQDB_LOCK_STRUCTURE, false);
	cursor->base.stats.reranked += kept;
	if (status != IQDB_OK)
		return iqdb_fail(err, status, "out of memory while keeping %zu candidates", cursor->top.count);
	return IQDB_OK;
}

/*
 * The rest of the batch in order, what was handed out of it left out. A row that is pushed out of the batch here was not
 * handed out: a later batch finds it.
 */
static IqdbStatus
rank_all_deferred(IqdbiIvfCursor *cursor, IqdbError *err)
{
	IqdbTopK  *top = &cursor->top;
	IqdbStatus status = remember_handed_out(cursor, err);

	/* from worst to best, as a heap may be */
	top->count -= cursor->at;
	cursor->hand -= cursor->hand != SIZE_MAX ? cursor->at : 0;
	memmove(top->items, top->items + cursor->at, top->count * sizeof(*top->items));
	for (size_t i = 0; i < top->count / 2; i++)
	{
		IqdbCandidate swap = top->items[i];

		top->items[i] = top->items[top->count - 1 - i];
		top->items[top->count - 1 - i] = swap;
	}
	cursor->at = 0;
	for (size_t i = 0; i < cursor->deferred_count && status == IQDB_OK; i += IQDBI_EXACT_ROWS)
	{
		size_t left = cursor->deferred_count - i;

		if (iqdb_host_cancelled(cursor->base.store->host))
			status = iqdb_fail(err, IQDB_ERR_CANCELLED, "search was cancelled");
		else
			status =
				rank_some_deferred(cursor, cursor->deferred + i, left < IQDBI_EXACT_ROWS ? left : IQDBI_EXACT_ROWS, err);
	}
	drop_deferred(cursor);
	iqdb_topk_sort(top);
	drop_doubles(top);
	cursor->ready = top->count < cursor->hand ? top->count : cursor->hand;
	return status;
}

static IqdbStatus
more_rows(IqdbiIvfCursor *cursor, IqdbError *err)
{
	bool       more = cursor->deferred_count > 0 && cursor->at < cursor->hand;
	IqdbStatus status = more ? rank_all_deferred(cursor, err) : next_lists_batch(cursor, err);

	if (status != IQDB_OK)
	{
		/* what was kept is not the best: the stream is at its end */
		iqdb_topk_clear(&cursor->top);
		drop_deferred(cursor);
		cursor->at = 0;
		cursor->ready = 0;
		cursor->exhausted = true;
	}
	return status;
}

IqdbStatus
iqdbi_ivf_cursor_next(IqdbCursor *base, IqdbHit *hits, size_t capacity, size_t *count_out, IqdbError *err)
{
	IqdbiIvfCursor *cursor = (IqdbiIvfCursor *) base;

	*count_out = 0;
	while (capacity > 0 && *count_out == 0)
	{
		if (cursor->at == cursor->ready)
		{
			if (cursor->exhausted && (cursor->deferred_count == 0 || cursor->at >= cursor->hand))
				return IQDB_OK;
			IQDB_TRY(more_rows(cursor, err));
		}
		*count_out = iqdb_engine_hand_out(base->store, cursor->top.items, &cursor->at, cursor->ready, hits, capacity);
	}
	return IQDB_OK;
}
