/*
 * ivf_matching.c - a filter beside lists: what a search would take, and when rows are asked for the filter.
 *
 * Rows of a list lie anywhere among the slots, and so do the values that a filter reads of them. They are asked many at once
 * (iqdb_row_filter_admits_each), so that the reads overlap; in one of two orders. As a rule a row is asked once its code has
 * shown that it is near enough to matter, which soon are few of a list. Where few rows pass and asking reads columns alone, all
 * rows of a block are asked before their codes are compared: a block without a row that passes is skipped. Owns: the prices,
 * and that choice. Does not own: the lists (ivf_search.c).
 */
#include "core/ivf/ivf_search_private.h"

#include "core/ivf/ivf_arena_private.h"
#include "core/ivf/ivf_model_private.h"

/* Opening a list; meeting a row in it, beside reading its code; codes are read in order. */
#define PRICE_LIST 600.0
#define PRICE_MET 1.5
#define BYTES_A_NANOSECOND 24.0

/* Asking a row that lies anywhere, beside others: a test of a column; its number; its metadata. */
#define PRICE_TEST 2.0
#define PRICE_NUMBER 10.0
#define PRICE_METADATA 150.0

/* With a smaller share that passes, columns are asked before codes are compared. */
#define SHARE_ASKED_FIRST 0.05

/* Rows that must pass of those met for each that is wanted: as for a first batch in ivf_search.c. */
#define MET_PER_WANTED 8.0

/* Lists that are opened in any case, and those in a row that have to be idle (ivf_search.c): so many times the probes. */
#define PROBED_TIMES 2.0

/* The figures of the current edition; none: there is none. Should it be going, a price is wrong, and nothing else. */
static IqdbiFigures
figures_now(IqdbStore *store)
{
	IqdbiIvf ivf;
	uint32_t current;

	iqdbi_ivf_view(&ivf, store);
	current = atomic_load_explicit(&ivf.header->current, memory_order_acquire);
	return current != 0 ? ivf.header->editions[current - 1] : (IqdbiFigures){0};
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

	return PRICE_MET + price_of_code(store) + PRICE_LIST * figures_now(store).lists / (live > 1 ? live : 1);
}

/* The share of rows whose lists are opened however many pass. */
static double
share_probed(const IqdbiIvfCursor *cursor)
{
	IqdbiFigures figures = figures_now(cursor->base.store);
	uint32_t     named = cursor->base.params.probes != 0 ? cursor->base.params.probes
														 : cursor->base.store->header->options.probes;
	double       probes = PROBED_TIMES * (named != 0 ? named : figures.probes);

	return probes < figures.lists ? probes / figures.lists : 1;
}

/* Rows that a search meets: until so many that pass were met that the best are among them, and until that has shown. */
static double
rows_met(const IqdbiIvfCursor *cursor)
{
	double live = cursor->strategy.matching / cursor->strategy.share;
	double met = MET_PER_WANTED * (double) cursor->goal / cursor->strategy.share + live * share_probed(cursor);

	return met < live ? met : live;
}

/* Of one row. */
static double
price_of_asking(const IqdbiIvfCursor *cursor)
{
	const IqdbRowFilter *filter = cursor->base.params.filter;

	return PRICE_TEST * (double) filter->test_count + (filter->ids != NULL ? PRICE_NUMBER : 0) +
		   (filter->metadata != NULL ? PRICE_METADATA : 0);
}

/* Rows whose codes are compared, of a block of which some row passes. */
static double
share_compared(const IqdbiIvfCursor *cursor)
{
	double empty = 1;

	for (uint32_t i = 0; cursor->asks_first && i < IQDBI_BLOCK_ROWS; i++)
		empty *= 1 - cursor->strategy.share;
	return cursor->asks_first ? 1 - empty : 1;
}

/* Rows that are asked: all that are met, or those that may be among the best until as many pass as are kept. */
static double
rows_asked(const IqdbiIvfCursor *cursor)
{
	double met = rows_met(cursor);
	double asked = cursor->asks_first ? met : (double) cursor->wanted / cursor->strategy.share;

	return asked < met ? asked : met;
}

double
iqdbi_price_of_lists(const IqdbiIvfCursor *cursor)
{
	double skipped = (1 - share_compared(cursor)) * price_of_code(cursor->base.store);

	return rows_met(cursor) * (cursor->price_of_row - skipped) + rows_asked(cursor) * price_of_asking(cursor);
}

bool
iqdbi_asks_first(const IqdbiIvfCursor *cursor)
{
	const IqdbRowFilter *filter = cursor->base.params.filter;

	return filter->ids == NULL && filter->metadata == NULL && cursor->strategy.share < SHARE_ASKED_FIRST;
}
