/*
 * filter.h - conditions on a row's metadata: built as a tree, kept in one piece, evaluated in place.
 *
 * Truth has two values. A leaf is true only when the row has the field, with a value of the literal's kind, and the
 * comparison holds; so on a row without the field, and on a field of another kind, every leaf is false, NEQ included.
 *
 *   EQ  LT  LTE  GT  GTE   iqdb_value_compare; false where there is no order (NaN)
 *   NEQ                    present, same kind and not equal (so true where a NaN is met)
 *   IN                     equal to one of the values; an empty list is false
 *   AND OR                 of no condition: true, false
 *   NOT                    the opposite: NOT (EQ) is true where the field is absent
 *
 * Limits: AND, OR and NOT nest at most IQDB_FILTER_DEPTH_MAX deep (a leaf adds nothing), a list has at most
 * IQDB_FILTER_IN_MAX values, the encoded form at most IQDB_FILTER_BYTES_MAX bytes. AND and OR may be as wide as that
 * allows. No function here recurses.
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

#define IQDB_FILTER_DEPTH_MAX 64
#define IQDB_FILTER_IN_MAX 1024
#define IQDB_FILTER_BYTES_MAX ((size_t) 4 * 1024 * 1024)

/* The numbers are part of the encoded form: never change one. */
typedef enum IqdbFilterOp
{
	IQDB_FILTER_EQ = 0,
	IQDB_FILTER_NEQ = 1,
	IQDB_FILTER_LT = 2,
	IQDB_FILTER_LTE = 3,
	IQDB_FILTER_GT = 4,
	IQDB_FILTER_GTE = 5,
	IQDB_FILTER_IN = 6,
	IQDB_FILTER_AND = 7,
	IQDB_FILTER_OR = 8,
	IQDB_FILTER_NOT = 9
} IqdbFilterOp;

#define IQDB_FILTER_OP_COUNT 10

/* ---- a finished filter: immutable, one allocation, may be read by many threads ---- */

typedef struct IqdbFilter IqdbFilter;

/*
 * Makes a filter of an encoded form that may lie. Everything is checked before memory is asked for; the memory is at
 * most about fifty times the length (one-byte NOTs), usually three times. The bytes are copied. Errors:
 * IQDB_ERR_CORRUPT with the offset in the bytes, IQDB_ERR_FILTER (a limit), IQDB_ERR_NOMEM.
 */
IqdbStatus iqdb_filter_decode(const IqdbAllocator *allocator, const unsigned char *bytes, size_t length,
							  IqdbFilter **filter_out, IqdbError *err) IQDB_MUST_CHECK;

/* filter may be NULL. */
void iqdb_filter_free(const IqdbAllocator *allocator, IqdbFilter *filter);

/* The encoded form, as long as the filter lives. */
const unsigned char *iqdb_filter_encoded(const IqdbFilter *filter, size_t *length_out);

/*
 * Does a row with this encoded metadata (NULL and 0 when it has none) satisfy the filter? Allocates nothing, cannot
 * fail, never reads outside the given bytes.
 */
bool iqdb_filter_matches(const IqdbFilter *filter, const unsigned char *metadata, size_t length);

/* Same tree with equal values (the order of an IN list does not count). With a NaN, a filter is not equal to itself. */
bool iqdb_filter_equal(const IqdbFilter *a, const IqdbFilter *b);

/* Equal filters have equal hashes. */
uint64_t iqdb_filter_hash(const IqdbFilter *filter);

/* ---- building ---- */

/*
 * Conditions are numbers handed out by the builder, put together from the leaves up. The first failure (no memory, a
 * condition used twice or unknown, a list too long) is remembered and reported by iqdb_filter_finish: the functions in
 * between need no check.
 */
typedef uint32_t IqdbCondition;

typedef struct IqdbFilterBuilder
{
	const IqdbAllocator *allocator;
	unsigned char       *bytes; /* encoded leaves */
	size_t               bytes_length;
	size_t               bytes_allocated;
	void                *nodes;
	size_t               node_count;
	size_t               nodes_allocated;
	IqdbStatus           failure;
} IqdbFilterBuilder;

/* Allocates nothing. The allocator must outlive the builder. */
void iqdb_filter_builder_init(IqdbFilterBuilder *builder, const IqdbAllocator *allocator);
void iqdb_filter_builder_free(IqdbFilterBuilder *builder);

/* One of EQ .. GTE. Field and value are copied. */
IqdbCondition iqdb_filter_compare(IqdbFilterBuilder *builder, IqdbFilterOp op, const char *field, size_t field_length,
								  const IqdbValue *value);

/* The six by name. */
IqdbCondition iqdb_filter_eq(IqdbFilterBuilder *builder, const char *field, size_t field_length,
							 const IqdbValue *value);
IqdbCondition iqdb_filter_neq(IqdbFilterBuilder *builder, const char *field, size_t field_length,
							  const IqdbValue *value);
IqdbCondition iqdb_filter_lt(IqdbFilterBuilder *builder, const char *field, size_t field_length,
							 const IqdbValue *value);
IqdbCondition iqdb_filter_lte(IqdbFilterBuilder *builder, const char *field, size_t field_length,
							  const IqdbValue *value);
IqdbCondition iqdb_filter_gt(IqdbFilterBuilder *builder, const char *field, size_t field_length,
							 const IqdbValue *value);
IqdbCondition iqdb_filter_gte(IqdbFilterBuilder *builder, const char *field, size_t field_length,
							  const IqdbValue *value);

/* Field and values are copied. */
IqdbCondition iqdb_filter_in(IqdbFilterBuilder *builder, const char *field, size_t field_length,
							 const IqdbValue *values, size_t count);

/* The conditions become part of the new one: each may be used once. */
IqdbCondition iqdb_filter_and(IqdbFilterBuilder *builder, const IqdbCondition *conditions, size_t count);
IqdbCondition iqdb_filter_or(IqdbFilterBuilder *builder, const IqdbCondition *conditions, size_t count);
IqdbCondition iqdb_filter_not(IqdbFilterBuilder *builder, IqdbCondition condition);

/*
 * The filter under a root condition, in memory of the builder's allocator; free it with iqdb_filter_free. The builder
 * keeps its conditions. Errors: IQDB_ERR_FILTER (a limit), IQDB_ERR_NOMEM, IQDB_ERR_CONFIG (a condition used twice or
 * unknown, a value of unknown kind).
 */
IqdbStatus iqdb_filter_finish(IqdbFilterBuilder *builder, IqdbCondition root, IqdbFilter **filter_out,
							  IqdbError *err) IQDB_MUST_CHECK;

#endif
