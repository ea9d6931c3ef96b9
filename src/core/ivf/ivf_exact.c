/*
 * ivf_exact.c - the scan of all rows: what a search does while the index is not trained, when all lists are to be probed,
 * and at the end of every stream. The keys and their order are those of the exact engine bit for bit.
 */
#include "core/ivf/ivf_exact_private.h"

/* Rows scored by one call of a kernel. */
#define BLOCK_ROWS 256u

/* What one stretch under STRUCTURE may read. */
#define STRETCH_BYTES ((size_t) 4 * 1024 * 1024)
#define STRETCH_ROWS_MAX 16384u

/* What a pass looks up once. */
typedef struct Pass
{
	const IqdbiExact *exact;
	const IqdbStore  *store;
	IqdbScorer        scorer;
} Pass;

/* LIVE slots of a block that were not seen and pass the filter. */
static uint32_t
select_rows(const Pass *pass, uint32_t first, uint32_t count, uint32_t *slots)
{
	uint32_t selected = 0;

	for (uint32_t slot = first; slot < first + count; slot++)
	{
		if (iqdb_store_state(pass->store, slot) == IQDB_ROW_LIVE && !iqdbi_seen(pass->exact->seen, slot) &&
			iqdb_scorer_admits(&pass->scorer, slot))
			slots[selected++] = slot;
	}
	return selected;
}

static IqdbStatus
offer(const Pass *pass, float key, uint32_t slot)
{
	const IqdbiExact *exact = pass->exact;
	IqdbCandidate     candidate = {.key = key, .slot = slot};

	if (!iqdb_topk_wants(exact->top, key))
		return IQDB_OK;
	candidate.sequence = iqdb_store_sequence(pass->store, slot);
	if (exact->bound != NULL && !iqdb_candidate_before(exact->bound, &candidate))
		return IQDB_OK;
	return iqdb_topk_offer(exact->top, candidate);
}

static IqdbStatus
scan_block(const Pass *pass, uint32_t first, uint32_t count)
{
	const IqdbiExact *exact = pass->exact;
	uint32_t          slots[BLOCK_ROWS];
	float             keys[BLOCK_ROWS];
	uint32_t          selected = select_rows(pass, first, count, slots);

	if (selected == 0)
		return IQDB_OK;
	exact->stats->scored += selected;
	exact->stats->reranked += selected;
	if (selected == count)
		iqdb_scorer_range(&pass->scorer, first, count, keys);
	else
		iqdb_scorer_slots(&pass->scorer, slots, selected, keys);
	for (uint32_t i = 0; i < selected; i++)
		IQDB_TRY(offer(pass, keys[i], slots[i]));
	return IQDB_OK;
}

static bool
gave_up(const IqdbiExact *exact)
{
	return exact->max_rows != 0 && exact->stats->scored >= exact->max_rows;
}

/* Rows of a stretch, a multiple of BLOCK_ROWS. */
static uint32_t
stretch_rows(size_t row_bytes)
{
	size_t rows = STRETCH_BYTES / row_bytes / BLOCK_ROWS * BLOCK_ROWS;

	if (rows < BLOCK_ROWS)
		return BLOCK_ROWS;
	return rows > STRETCH_ROWS_MAX ? STRETCH_ROWS_MAX : (uint32_t) rows;
}

IqdbStatus
iqdbi_exact_pass(const IqdbiExact *exact, bool *gave_up_out, IqdbError *err)
{
	const IqdbStore *store = exact->store;
	uint32_t         step = stretch_rows(store->row_stride);
	IqdbStatus       status = IQDB_OK;
	Pass             pass = {.exact = exact, .store = store};

	iqdb_scorer_init(&pass.scorer, store, exact->filter, &exact->stats->filtered);
	iqdb_scorer_aim(&pass.scorer, exact->query, exact->query_norm2);
	*gave_up_out = false;
	for (uint32_t from = exact->first; from < exact->slots && status == IQDB_OK && !gave_up(exact);)
	{
		uint32_t to = exact->slots - from < step ? exact->slots : from + step;

		if (from > exact->first && iqdb_host_cancelled(store->host))
			return iqdb_fail(err, IQDB_ERR_CANCELLED, "search was cancelled");
		iqdb_store_lock(store, IQDB_LOCK_STRUCTURE, false);
		iqdb_store_prefetch_range(store, from, to - from);
		for (; from < to && status == IQDB_OK && !gave_up(exact); from += BLOCK_ROWS)
			status = scan_block(&pass, from, to - from < BLOCK_ROWS ? to - from : BLOCK_ROWS);
		iqdb_store_unlock(store, IQDB_LOCK_STRUCTURE, false);
	}
	*gave_up_out = gave_up(exact);
	if (status != IQDB_OK)
		return iqdb_fail(err, status, "out of memory while keeping %zu candidates", exact->top->count);
	return IQDB_OK;
}
