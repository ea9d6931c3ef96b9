/*
 * selectivity.h - how many rows a filter will let through, guessed from its shape, and what to make of the guess.
 */
#ifndef IQDB_META_SELECTIVITY_H
#define IQDB_META_SELECTIVITY_H

#include "core/meta/filter.h"

#define IQDB_FILTER_THRESHOLD_DEFAULT 0.5

typedef enum IqdbFilterStrategy
{
	IQDB_FILTER_FIRST, /* few rows match: find them, then score them */
	IQDB_FILTER_AFTER  /* most rows match: score, then drop what does not match */
} IqdbFilterStrategy;

/*
 * Share of rows that match, in [0, 1], as if conditions were independent: EQ 0.1, NEQ 0.9, an ordered comparison 1/3,
 * IN 0.1 per value and at most 1, AND the product (of nothing 1), OR one minus the product of the complements (of
 * nothing 0), NOT the complement.
 */
double iqdb_filter_selectivity(const IqdbFilter *filter);

/* The share when it was counted: matching of total rows, in [0, 1]; of no rows at all, the guess above. */
double iqdb_filter_selectivity_counted(const IqdbFilter *filter, uint64_t matching, uint64_t total);

/*
 * IQDB_FILTER_FIRST when selectivity <= threshold. The threshold is moved into [0, 1]; a NaN stands for
 * IQDB_FILTER_THRESHOLD_DEFAULT. A selectivity that is NaN is taken for 1.
 */
IqdbFilterStrategy iqdb_filter_strategy(double selectivity, double threshold);

#endif
