/*
 * row_filter.h - which rows may be answers of a search: tests of their columns, a set of their numbers, their metadata.
 *
 * A row passes if all three let it pass, as far as they are there. Tests are conditions on columns in SQL's logic of three
 * values: a test of a NULL is neither true nor false, and only rows of which the whole is true pass. They stand in postfix
 * order: what AND, OR and NOT join stands before them, and the last one is the whole.
 *
 * Columns of hashes and of labels (IQDB_COLUMN_HASH, LABELS) say "perhaps" where tests say true: a row that passes may still
 * fail the condition that was meant, and the caller looks again. What they call false is false, so their tests may not stand
 * under NOT.
 */
#ifndef IQDB_ENGINE_ROW_FILTER_H
#define IQDB_ENGINE_ROW_FILTER_H

#include "core/engine/id_set.h"
#include "core/engine/store.h"
#include "core/meta/filter.h"

/* The most rows of one call of iqdb_row_filter_range(), and their bits in words. */
#define IQDB_FILTER_ROWS 256u
#define IQDB_FILTER_WORDS (IQDB_FILTER_ROWS / 64)

/* The most rows of one call of iqdb_row_filter_admits_each(). */
#define IQDB_FILTER_EACH 64u

/* Tests that may wait for the one that joins them. */
#define IQDB_TESTS_DEEP 16u

typedef enum IqdbTestKind
{
	IQDB_TEST_BETWEEN = 1, /* low <= value <= high */
	IQDB_TEST_ONE_OF,      /* value is one of values, which ascend */
	IQDB_TEST_IS_NULL,     /* true or false, never neither */
	IQDB_TEST_ANY_LABEL,   /* the set seems to have a member of which values are the signatures */
	IQDB_TEST_ALL_LABELS,  /* the set seems to have all members of which low is the union of signatures */
	IQDB_TEST_CONSTANT,    /* low: 1 true, 0 false, -1 neither */
	IQDB_TEST_AND,         /* of the two before it */
	IQDB_TEST_OR,
	IQDB_TEST_NOT          /* of the one before it */
} IqdbTestKind;

typedef struct IqdbTest
{
	uint8_t        kind;   /* IqdbTestKind */
	uint8_t        column;
	int64_t        low;
	int64_t        high;
	const int64_t *values; /* the caller's; they outlive the filter */
	size_t         value_count;
} IqdbTest;

typedef struct IqdbRowFilter
{
	const IqdbTest   *tests;
	size_t            test_count; /* 0: every row's columns pass */
	const IqdbIdSet  *ids;        /* NULL: every row's number does */
	const IqdbFilter *metadata;   /* NULL: every row's metadata does */
} IqdbRowFilter;

/*
 * Can the tests be asked of such an index? IQDB_ERR_FILTER: a column that is not there, a test that its kind does not have,
 * one under NOT that may not be there, an order that is none, or more than IQDB_TESTS_DEEP that wait.
 */
IqdbStatus iqdb_row_filter_check(const IqdbRowFilter *filter, const IqdbIndexOptions *options,
								 IqdbError *err) IQDB_MUST_CHECK;

/* May the row be an answer? The row is LIVE, and stays: the caller holds STRUCTURE shared. */
bool iqdb_row_filter_admits(const IqdbRowFilter *filter, const IqdbStore *store, uint32_t slot);

/*
 * The same of rows that lie anywhere, IQDB_FILTER_EACH at most, asked side by side: bit i of slots[i]. Rows that are not
 * LIVE do not pass. Each was seen to be LIVE before, or is in a structure that leads to no others, so that its columns are
 * written.
 */
uint64_t iqdb_row_filter_admits_each(const IqdbRowFilter *filter, const IqdbStore *store, const uint32_t *slots,
									 uint32_t count);

/* The row will be asked soon: what its tests read is being fetched. */
void iqdb_row_filter_fetch(const IqdbRowFilter *filter, const IqdbStore *store, uint32_t slot);

/*
 * What the tests say of the rows first .. first + count: bit i % 64 of word i / 64 of row first + i. first is a
 * multiple of 16, count at most IQDB_FILTER_ROWS, and the rows are of one block of columns. The caller has seen which rows
 * are LIVE before, and goes by the bits of those alone: all others mean nothing.
 */
void iqdb_row_filter_range(const IqdbRowFilter *filter, const IqdbStore *store, uint32_t first, uint32_t count,
						   uint64_t words_out[IQDB_FILTER_WORDS]);

/*
 * Leaves of the bits of rows that are LIVE those that may be answers: by tests, numbers and metadata. Otherwise the same as
 * iqdb_row_filter_range(). The caller holds STRUCTURE shared.
 */
void iqdb_row_filter_narrow(const IqdbRowFilter *filter, const IqdbStore *store, uint32_t first, uint32_t count,
							uint64_t words[IQDB_FILTER_WORDS]);

/* Nanoseconds that narrowing takes per row of a range, as far as is known beforehand. */
uint32_t iqdb_row_filter_charge(const IqdbRowFilter *filter);

/*
 * Roughly how many LIVE rows pass: by the numbers in the set where all are known, and by asking some thousand rows spread over
 * the index. Never 0 for want of a hit. Takes STRUCTURE shared for a moment.
 */
double iqdb_row_filter_estimate(const IqdbRowFilter *filter, const IqdbStore *store);

/* ---- making tests ---- */

/* The signature of a label, by a hash of it: few bits of 64. */
int64_t iqdb_label_signature(uint64_t hash);

#endif
