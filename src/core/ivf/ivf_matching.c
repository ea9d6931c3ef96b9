/*
 * ivf_matching.c - a filter beside lists: what a search would take, and a bit per slot that says which rows may pass.
 *
 * Rows of a list lie anywhere among the slots, so asking each one met for the filter waits for memory. Asking all slots in
 * order costs a nanosecond or less each (engine/exact_pass.h); then a block of a list is gone through by the bits of its rows,
 * and skipped when none may pass. Which is cheaper follows from how many rows pass. Owns: the bits and the prices. Does not
 * own: the lists (ivf_search.c).
 *
 * The bits are those of one moment. A slot that was used again since holds a row that was put after the stream began, which may
 * be left out; and a row whose bit is set is asked once more before it is an answer.
 */
#include "core/ivf/ivf_search_private.h"

#include "core/engine/exact_pass.h"
#include "core/ivf/ivf_arena_private.h"
#include "core/ivf/ivf_model_private.h"

/* Opening a list; meeting a row in it, beside reading its code; codes are read in order. */
#define PRICE_LIST 600.0
#define PRICE_MET 1.5
#define BYTES_A_NANOSECOND 24.0

/* Asking a row for the filter wherever it lies. */
#define PRICE_ASKED 25.0

/* Rows that must pass of those met for each that is wanted: as for a first batch in ivf_search.c. */
#define MET_PER_WANTED 8.0

/* How many lists a search looks into where that was not measured. */
#define PROBES_UNKNOWN 8.0

/* Lists of the current edition; 0: there is none. Should it be going, a price is wrong, and nothing else. */
static uint32_t
lists_now(IqdbStore *store)
{
	IqdbiIvf ivf;
	uint32_t current;

	iqdbi_ivf_view(&ivf, store);
	current = atomic_load_explicit(&ivf.header->current, memory_order_acquire);
	return current != 0 ? ivf.header->editions[current - 1].lists : 0;
}

static double
price_of_code(IqdbStore *store)
{
	IqdbiIvf ivf;

	iqdbi_ivf_view(&ivf, store);
	return (double) ivf.rows.size / IQDBI_BLOCK_ROWS / BYTES_A_NANOSECOND;
}

double
iqdbi_price_of_row(IqdbStore *store)
{
	double live = atomic_load_explicit(&store->header->live_count, memory_order_relaxed);

	return PRICE_MET + price_of_code(store) + PRICE_LIST * lists_now(store) / (live > 1 ? live : 1);
}

/* The share of rows whose lists are opened however many pass. */
static double
share_probed(const IqdbiIvfCursor *cursor)
{
	double probes = cursor->base.params.probes != 0 ? cursor->base.params.probes
													: cursor->base.store->header->options.probes;
	double lists = lists_now(cursor->base.store);

	probes = probes > 0 ? probes : PROBES_UNKNOWN;
	return probes < lists ? probes / lists : 1;
}

/* Rows that a search meets. */
static double
rows_met(const IqdbiIvfCursor *cursor)
{
	double live = cursor->strategy.matching / cursor->strategy.share;
	double needed = MET_PER_WANTED * (double) cursor->goal / cursor->strategy.share;
	double probed = live * share_probed(cursor);

	needed = needed > probed ? needed : probed;
	return needed < live ? needed : live;
}

/* Asking rows one by one: all that may be among the best by their codes, until as many pass as are kept. */
static double
price_of_asking(const IqdbiIvfCursor *cursor)
{
	double asked = (double) cursor->wanted / cursor->strategy.share;
	double met = rows_met(cursor);

	return (asked < met ? asked : met) * PRICE_ASKED;
}

/* What is saved where no row of a block may pass. */
static double
price_of_skipped(const IqdbiIvfCursor *cursor)
{
	double empty = 1;

	for (uint32_t i = 0; i < IQDBI_BLOCK_ROWS; i++)
		empty *= 1 - (cursor->strategy.share < 1 ? cursor->strategy.share : 1);
	return empty * rows_met(cursor) * price_of_code(cursor->base.store);
}

double
iqdbi_price_of_lists(const IqdbiIvfCursor *cursor)
{
	double asking = price_of_asking(cursor);
	double marked = cursor->strategy.asking - price_of_skipped(cursor);

	return rows_met(cursor) * cursor->price_of_row + (asking < marked ? asking : marked);
}

/* ---- bits ---- */

typedef struct Marking
{
	IqdbExactSearch exact; /* the first member */
	IqdbiIvfCursor *cursor;
	size_t          count;
} Marking;

static IqdbStatus
mark_rows(IqdbExactSearch *search, const uint32_t *slots, size_t count)
{
	Marking *marking = (Marking *) (void *) search;

	for (size_t i = 0; i < count; i++)
		marking->cursor->matching[slots[i] / 64] |= UINT64_C(1) << slots[i] % 64;
	marking->count += count;
	return IQDB_OK;
}

static IqdbStatus
mark_all(IqdbiIvfCursor *cursor, IqdbError *err)
{
	const IqdbStore *store = cursor->base.store;
	IqdbTopK         none;
	IqdbSearchStats  ignored = {0};
	Marking          marking;
	IqdbExactSearch *search = &marking.exact;
	IqdbExactPass    pass = {.store = store, .slots = cursor->matching_slots, .searches = &search, .count = 1, .row_bytes = 1};

	iqdb_topk_init(&none, &store->host->allocator, SIZE_MAX);
	iqdb_exact_search_init(search, &cursor->base.scorer, &none, &ignored);
	search->score = mark_rows;
	marking.cursor = cursor;
	marking.count = 0;
	IQDB_TRY(iqdb_exact_pass(&pass, err));
	cursor->strategy.exact += ((double) marking.count - cursor->strategy.matching) * iqdb_price_gathered(store->row_stride);
	cursor->strategy.share *= ((double) marking.count + 1) / (cursor->strategy.matching + 1);
	cursor->strategy.matching = (double) marking.count;
	return IQDB_OK;
}

IqdbStatus
iqdbi_mark_matching(IqdbiIvfCursor *cursor, IqdbError *err)
{
	const IqdbStore *store = cursor->base.store;
	uint32_t         slots = atomic_load_explicit(&store->header->slot_count, memory_order_acquire);

	if (cursor->strategy.asking - price_of_skipped(cursor) >= price_of_asking(cursor))
		return IQDB_OK;
	cursor->matching = iqdb_alloc_zero(&store->host->allocator, ((size_t) slots + 63) / 64 * sizeof(uint64_t));
	if (cursor->matching == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for a bit per row");
	cursor->matching_slots = slots;
	return mark_all(cursor, err);
}

uint32_t
iqdbi_matching_rows(const IqdbiIvfCursor *cursor, const _Atomic uint32_t *slots, uint32_t count)
{
	uint32_t bits = 0;

	for (uint32_t i = 0; i < count; i++)
	{
		uint32_t slot = atomic_load_explicit(&slots[i], memory_order_relaxed);

		if (slot >= cursor->matching_slots)
			continue;
		bits |= (uint32_t) (cursor->matching[slot / 64] >> slot % 64 & 1) << i;
	}
	return bits;
}
