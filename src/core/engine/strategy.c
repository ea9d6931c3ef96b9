/*
 * strategy.c - see strategy.h.
 */
#include "core/engine/strategy.h"

/* Asking all rows: whether one is LIVE; a test of a column; a look for its number; its metadata. */
#define PRICE_STATE 0.1
#define PRICE_TEST 0.2
#define PRICE_NUMBER 8.0
#define PRICE_METADATA 150.0

/* Finding a row by its number. */
#define PRICE_LISTED 40.0

/* What a pass takes however few rows there are. */
#define PRICE_PASS 1000.0

void
iqdb_strategy_weigh(const IqdbScorer *scorer, size_t row_bytes, IqdbStrategy *strategy_out)
{
	const IqdbStore     *store = scorer->store;
	const IqdbRowFilter *filter = scorer->filter;
	double               slots = atomic_load_explicit(&store->header->slot_count, memory_order_relaxed);
	double               live = atomic_load_explicit(&store->header->live_count, memory_order_relaxed);
	double               asking = slots * (PRICE_STATE + PRICE_TEST * (double) filter->test_count);

	strategy_out->matching = iqdb_row_filter_estimate(filter, store);
	strategy_out->share = live > 0 ? strategy_out->matching / live : 1;
	if (filter->ids != NULL && iqdb_id_set_is_listed(filter->ids) && (double) filter->ids->count * PRICE_LISTED < asking +
																		 slots * PRICE_NUMBER)
		asking = (double) filter->ids->count * PRICE_LISTED;
	else if (filter->ids != NULL)
		asking += slots * PRICE_NUMBER;
	/* metadata is asked last; of how many rows is not known, unless it stands alone */
	if (filter->metadata != NULL)
		asking += (filter->test_count == 0 && filter->ids == NULL ? slots : strategy_out->matching) * PRICE_METADATA;
	strategy_out->asking = PRICE_PASS + asking;
	strategy_out->exact = strategy_out->asking + strategy_out->matching * iqdb_price_gathered(row_bytes);
}
