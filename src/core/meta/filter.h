/*
 * filter.h - conditions on a row's metadata: built as a tree, kept in one piece, evaluated in place.
 *
 * What filters mean, their limits, and how they are made and asked is public (public/iqdb.h). No function here recurses.
 *
 * Encoded form, little-endian, in prefix order: operator u8, then
 *   EQ .. GTE  field length u32, field, value (value.h)
 *   IN         field length u32, field, count u32, values
 *   AND OR     count u32, conditions
 *   NOT        one condition
 */
#ifndef IQDB_META_FILTER_H
#define IQDB_META_FILTER_H

#include "core/base/mem.h"
#include "core/base/status.h"
#include "core/meta/value.h"

/*
 * A filter as a list of its conditions, in prefix order: number 0 is the whole, and what AND, OR and NOT join stands behind
 * them, up to `end`. For those who translate a filter into tests of another kind.
 */
typedef struct IqdbFilterPart
{
	IqdbFilterOp     op;
	uint32_t         end;          /* number of the first condition behind this one and all it joins */
	const char      *field;        /* of comparisons and IN */
	size_t           field_length;
	const IqdbValue *values;       /* comparisons: one; IN: ascending by kind, then by iqdb_value_compare, NaN behind */
	uint32_t         value_count;
} IqdbFilterPart;

/* At least 1. */
uint32_t iqdb_filter_part_count(const IqdbFilter *filter);

/* number is below that; what it points to lives as long as the filter. */
IqdbFilterPart iqdb_filter_part(const IqdbFilter *filter, uint32_t number);

/* Same tree with equal values (the order of an IN list does not count). With a NaN, a filter is not equal to itself. */
bool iqdb_filter_equal(const IqdbFilter *a, const IqdbFilter *b);

/* Equal filters have equal hashes. */
uint64_t iqdb_filter_hash(const IqdbFilter *filter);

#endif
