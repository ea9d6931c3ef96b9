/*
 * strategy.h - how a search with a filter goes about it: by the engine's own structure, or by an exact pass over what passes.
 *
 * A graph or lists lead to the nearest rows whatever the filter lets pass: the fewer pass, the more rows are met for each one
 * that is wanted. An exact pass (engine/exact_pass.h) asks the filter of all rows, which costs little, and scores only those
 * that pass: the fewer pass, the quicker. Which is quicker is told by how many rows pass. That is known well enough before the
 * search (iqdb_row_filter_estimate); where among the rows they lie is not. If they lie far from the query, the engine's own
 * search would go on for long; so it has an allowance, the price of the exact pass, and when it has used that up the pass is
 * made all the same. A search so costs at most about twice what the better way would have.
 *
 * Prices are nanoseconds on some processor of the day: only their ratios matter.
 */
#ifndef IQDB_ENGINE_STRATEGY_H
#define IQDB_ENGINE_STRATEGY_H

#include "core/engine/scorer.h"

/* What is known of a search's filter before the search. */
typedef struct IqdbStrategy
{
	double matching; /* rows that pass */
	double share;    /* the same of all LIVE rows, more than 0 */
	double asking;   /* price of finding out which rows pass, all of them */
	double exact;    /* price of an exact pass: that, and scoring the rows that pass */
} IqdbStrategy;

/* Scoring one of many rows that lie anywhere, and are read side by side: bytes of its code or vector. */
static inline double
iqdb_price_gathered(size_t bytes)
{
	return 8.0 + (double) bytes / 16.0;
}

/* The scorer has a filter. row_bytes: what the exact pass reads of each row that passes. Takes STRUCTURE for a moment. */
void iqdb_strategy_weigh(const IqdbScorer *scorer, size_t row_bytes, IqdbStrategy *strategy_out);

/* The search goes over to looking at all rows that pass. */
static inline void
iqdb_stats_exact(IqdbSearchStats *stats)
{
	if (stats->way == IQDB_SEARCH_OWN)
		stats->way = stats->scored > 0 ? IQDB_SEARCH_OWN_EXACT : IQDB_SEARCH_EXACT;
}

#endif
