/*
 * row_filter.c - see row_filter.h.
 *
 * Tests are evaluated for 256 rows at a time, column by column, into a bit per row for "true" and one for "false"; a row
 * alone goes through the same tests with one value each. NULL is a row that has neither bit.
 */
#include "core/engine/row_filter.h"

#include <string.h>

#include "core/engine/live.h"
#include "core/engine/stretch.h"

/* Rows asked by an estimate: so many places, so many rows each. */
#define SAMPLE_PLACES 32u
#define SAMPLE_ROWS 64u

/* Of rows that pass by their columns, all up to this number are asked the rest, and of those behind one of so many. */
#define REST_ALL 32u
#define REST_STEP 8u

/* Tests whose values are fetched ahead for a row that is asked alone. */
#define FETCHED_TESTS 4

/* What a row costs: so many tests of columns a nanosecond; a look for its number in a set. */
#define TESTS_A_NANOSECOND 8
#define NUMBER_CHARGE 8

/* Bits of a label's signature: with more, sets of many labels have all bits; with fewer, sets of few look alike. */
#define SIGNATURE_BITS 3

/* ---- checking ---- */

static bool
joins(const IqdbTest *test)
{
	return test->kind == IQDB_TEST_AND || test->kind == IQDB_TEST_OR || test->kind == IQDB_TEST_NOT;
}

static IqdbStatus
check_leaf(const IqdbTest *test, const IqdbIndexOptions *options, IqdbError *err)
{
	uint32_t kind = test->column < options->column_count ? options->columns[test->column] : 0;
	bool     of_labels = test->kind == IQDB_TEST_ANY_LABEL || test->kind == IQDB_TEST_ALL_LABELS;
	bool     of_order = test->kind == IQDB_TEST_BETWEEN && test->low != test->high;

	if (test->kind == IQDB_TEST_CONSTANT)
		return IQDB_OK;
	if (test->kind == 0 || test->kind > IQDB_TEST_NOT || kind == 0)
		return iqdb_fail(err, IQDB_ERR_FILTER, "test %u of column %u is none of this index's", test->kind, test->column + 1u);
	if (test->kind != IQDB_TEST_IS_NULL && of_labels != (kind == IQDB_COLUMN_LABELS))
		return iqdb_fail(err, IQDB_ERR_FILTER, "column %u cannot be tested for %s", test->column + 1u,
						 of_labels ? "labels" : "values");
	if (of_order && kind == IQDB_COLUMN_HASH)
		return iqdb_fail(err, IQDB_ERR_FILTER, "hashes of column %u have no order", test->column + 1u);
	for (size_t i = 1; test->kind == IQDB_TEST_ONE_OF && i < test->value_count; i++)
	{
		if (test->values[i - 1] > test->values[i])
			return iqdb_fail(err, IQDB_ERR_FILTER, "values of column %u do not ascend", test->column + 1u);
	}
	return IQDB_OK;
}

IqdbStatus
iqdb_row_filter_check(const IqdbRowFilter *filter, const IqdbIndexOptions *options, IqdbError *err)
{
	bool     lossy[IQDB_TESTS_DEEP];
	uint32_t waiting = 0;

	for (size_t i = 0; i < filter->test_count; i++)
	{
		const IqdbTest *test = &filter->tests[i];
		uint32_t        takes = test->kind == IQDB_TEST_NOT ? 1 : joins(test) ? 2 : 0;

		if (takes > waiting || waiting - takes >= IQDB_TESTS_DEEP)
			return iqdb_fail(err, IQDB_ERR_FILTER, "tests of columns are nested wrongly, or too deep");
		if (takes == 0)
		{
			IQDB_TRY(check_leaf(test, options, err));
			lossy[waiting++] = test->kind != IQDB_TEST_CONSTANT && test->kind != IQDB_TEST_IS_NULL &&
							   iqdb_column_is_lossy(options->columns[test->column]);
			continue;
		}
		if (test->kind == IQDB_TEST_NOT && lossy[waiting - 1])
			return iqdb_fail(err, IQDB_ERR_FILTER, "what is only perhaps true cannot be negated");
		if (takes == 2)
		{
			waiting--;
			lossy[waiting - 1] |= lossy[waiting];
		}
	}
	if (waiting > 1)
		return iqdb_fail(err, IQDB_ERR_FILTER, "tests of columns are not joined to one");
	return IQDB_OK;
}

/* ---- one value ---- */

static bool
one_of(const IqdbTest *test, int64_t value)
{
	size_t low = 0;
	size_t high = test->value_count;

	while (low < high)
	{
		size_t middle = low + (high - low) / 2;

		if (test->values[middle] < value)
			low = middle + 1;
		else
			high = middle;
	}
	return low < test->value_count && test->values[low] == value;
}

static bool
any_label(const IqdbTest *test, int64_t value)
{
	for (size_t i = 0; i < test->value_count; i++)
	{
		if ((value & test->values[i]) == test->values[i])
			return true;
	}
	return false;
}

static bool
value_passes(const IqdbTest *test, int64_t value)
{
	switch (test->kind)
	{
		case IQDB_TEST_BETWEEN:
			return value >= test->low && value <= test->high;
		case IQDB_TEST_ONE_OF:
			return one_of(test, value);
		case IQDB_TEST_ANY_LABEL:
			return any_label(test, value);
		default:
			return (value & test->low) == test->low;
	}
}

/* ---- many rows ---- */

/* Rows first, first + 1, ... of one block of columns, or (slots not NULL) rows anywhere, 64 of them at most. */
typedef struct Rows
{
	const IqdbStore *store;
	const uint32_t  *slots;
	uint32_t         first;
	uint32_t         count;
} Rows;

/* What is known of 64 rows each: true, false; neither bit: NULL. */
typedef struct Truth
{
	uint64_t yes[IQDB_FILTER_WORDS];
	uint64_t no[IQDB_FILTER_WORDS];
} Truth;

/* Which of these values, of a width, lie between low and high? */
static void
between(const IqdbColumnKernels *kernels, const unsigned char *at, uint32_t width, uint32_t count, int64_t low, int64_t high,
		uint64_t *words_out)
{
	switch (width)
	{
		case 1:
			kernels->between_1(at, count, low, high, words_out);
			break;
		case 2:
			kernels->between_2(at, count, low, high, words_out);
			break;
		case 4:
			kernels->between_4(at, count, low, high, words_out);
			break;
		default:
			kernels->between_8(at, count, low, high, words_out);
			break;
	}
}

/* Which of up to 64? */
static uint64_t
between_word(const IqdbColumnKernels *kernels, const unsigned char *at, uint32_t width, uint32_t count, int64_t low,
			 int64_t high)
{
	uint64_t word = 0;

	between(kernels, at, width, count, low, high, &word);
	return word;
}

/* The bits of rows that have a NULL, of up to 64 from this one on in its block; the rows begin at a multiple of 16. */
static uint64_t
null_bits(const IqdbColumnLayout *layout, const IqdbStore *store, uint32_t column, uint32_t slot)
{
	const uint64_t *nulls = iqdb_column_nulls(layout, store->columns, column, slot);
	uint32_t        bit = slot % IQDB_COLUMN_BLOCK;
	uint32_t        shift = bit % 64;
	uint64_t        bits = __atomic_load_n(&nulls[bit / 64], __ATOMIC_RELAXED) >> shift;

	if (shift != 0 && bit / 64 + 1 < IQDB_COLUMN_BLOCK / 64)
		bits |= __atomic_load_n(&nulls[bit / 64 + 1], __ATOMIC_RELAXED) << (64 - shift);
	return bits;
}

/* Tests of lists that are longer than this go value by value: a few steps of a search cost less than so many comparisons. */
#define LIST_TOGETHER 16

/* Which of up to 64 values, of this width each, pass the test? NULLs as the value 0. */
static uint64_t
leaf_bits(const IqdbTest *test, const IqdbColumnKernels *kernels, const unsigned char *at, uint32_t width, uint32_t count)
{
	uint64_t bits = 0;

	if (test->kind == IQDB_TEST_BETWEEN)
		return between_word(kernels, at, width, count, test->low, test->high);
	if (test->kind == IQDB_TEST_ALL_LABELS)
		return kernels->has(at, count, (uint64_t) test->low);
	for (size_t i = 0; test->value_count <= LIST_TOGETHER && i < test->value_count; i++)
		bits |= test->kind == IQDB_TEST_ANY_LABEL ? kernels->has(at, count, (uint64_t) test->values[i])
												  : between_word(kernels, at, width, count, test->values[i], test->values[i]);
	for (uint32_t i = 0; test->value_count > LIST_TOGETHER && i < count; i++)
		bits |= (uint64_t) value_passes(test, iqdb_column_load(at + (size_t) i * width, width)) << i;
	return bits;
}

/* Rows anywhere: their values are brought together first. Apart from ask_word(), which so needs no room for them. */
static __attribute__((noinline)) uint64_t
ask_gathered(const IqdbTest *test, const IqdbStore *store, const uint32_t *slots, uint32_t count, uint64_t *nulls_out)
{
	const IqdbColumnKernels *kernels = store->kernels->columns;
	int64_t                  values[64];
	uint64_t                 nulls = iqdb_column_gather(kernels, &store->header->columns, store->columns, test->column, slots,
														count, values);

	if (test->kind == IQDB_TEST_IS_NULL)
		return nulls;
	*nulls_out = nulls;
	return leaf_bits(test, kernels, (const unsigned char *) values, sizeof(*values), count) & ~nulls;
}

/* The rows for which a test is true, of up to 64 from number `from` on; *nulls_out: those for which it is neither. */
static inline uint64_t
ask_word(const IqdbTest *test, const Rows *rows, uint32_t from, uint64_t *nulls_out)
{
	const IqdbStore        *store = rows->store;
	const IqdbColumnLayout *layout = &store->header->columns;
	const unsigned char    *values;
	uint32_t                count = rows->count - from < 64 ? rows->count - from : 64;
	uint64_t                nulls;

	*nulls_out = 0;
	if (test->kind == IQDB_TEST_CONSTANT)
	{
		*nulls_out = test->low < 0 ? UINT64_MAX : 0;
		return test->low > 0 ? UINT64_MAX : 0;
	}
	if (rows->slots != NULL)
		return ask_gathered(test, store, rows->slots + from, count, nulls_out);
	nulls = null_bits(layout, store, test->column, rows->first + from);
	if (test->kind == IQDB_TEST_IS_NULL)
		return nulls;
	*nulls_out = nulls;
	values = iqdb_column_values(layout, store->columns, test->column, rows->first + from);
	return leaf_bits(test, store->kernels->columns, values, layout->width[test->column], count) & ~nulls;
}

/* The same of all rows, in words. Bounds are asked of all of them by one call: most filters have no other test. */
static void
ask_leaf(const IqdbTest *test, const Rows *rows, uint64_t *yes_out, uint64_t *nulls_out)
{
	const IqdbStore        *store = rows->store;
	const IqdbColumnLayout *layout = &store->header->columns;

	if (test->kind != IQDB_TEST_BETWEEN || rows->slots != NULL)
	{
		for (uint32_t from = 0; from < rows->count; from += 64)
			yes_out[from / 64] = ask_word(test, rows, from, &nulls_out[from / 64]);
		return;
	}
	between(store->kernels->columns, iqdb_column_values(layout, store->columns, test->column, rows->first),
			layout->width[test->column], rows->count, test->low, test->high, yes_out);
	for (uint32_t from = 0; from < rows->count; from += 64)
	{
		nulls_out[from / 64] = null_bits(layout, store, test->column, rows->first + from);
		yes_out[from / 64] &= ~nulls_out[from / 64];
	}
}

/* Joins what waits last (and the one before it) by an AND, OR or NOT. */
static void
join(uint8_t kind, Truth *first, const Truth *second, uint32_t words)
{
	for (uint32_t i = 0; i < words; i++)
	{
		uint64_t yes = first->yes[i];

		if (kind == IQDB_TEST_NOT)
		{
			first->yes[i] = first->no[i];
			first->no[i] = yes;
		}
		else if (kind == IQDB_TEST_AND)
		{
			first->yes[i] &= second->yes[i];
			first->no[i] |= second->no[i];
		}
		else
		{
			first->yes[i] |= second->yes[i];
			first->no[i] &= second->no[i];
		}
	}
}

/* What the tests say of rows, in words of 64. */
static void
ask_tests(const IqdbRowFilter *filter, const Rows *rows, uint64_t *words_out)
{
	Truth    waiting[IQDB_TESTS_DEEP];
	uint32_t words = (rows->count + 63) / 64;
	uint32_t depth = 0;

	if (filter->test_count == 1)
	{
		/* what is not true need not be known */
		ask_leaf(&filter->tests[0], rows, words_out, waiting[0].no);
		return;
	}
	for (size_t i = 0; i < filter->test_count; i++)
	{
		const IqdbTest *test = &filter->tests[i];

		if (!joins(test))
		{
			Truth *truth = &waiting[depth++];

			ask_leaf(test, rows, truth->yes, truth->no);
			for (uint32_t word = 0; word < words; word++)
				truth->no[word] = ~(truth->yes[word] | truth->no[word]);
			continue;
		}
		if (test->kind != IQDB_TEST_NOT)
			depth--;
		join(test->kind, &waiting[depth - 1], &waiting[depth], words);
	}
	for (uint32_t i = 0; i < words; i++)
		words_out[i] = depth > 0 ? waiting[0].yes[i] : UINT64_MAX;
}

void
iqdb_row_filter_range(const IqdbRowFilter *filter, const IqdbStore *store, uint32_t first, uint32_t count,
					  uint64_t words_out[IQDB_FILTER_WORDS])
{
	Rows rows = {.store = store, .first = first, .count = count};

	ask_tests(filter, &rows, words_out);
}

/* ---- one row ---- */

typedef enum Ternary
{
	FALSE_FOR_SURE = 0,
	NEITHER = 1,
	TRUE_FOR_SURE = 2
} Ternary;

static Ternary
ask_one(const IqdbTest *test, const IqdbStore *store, uint32_t slot)
{
	int64_t value;
	bool    there;

	if (test->kind == IQDB_TEST_CONSTANT)
		return test->low < 0 ? NEITHER : test->low > 0 ? TRUE_FOR_SURE : FALSE_FOR_SURE;
	there = iqdb_store_column(store, test->column, slot, &value);
	if (test->kind == IQDB_TEST_IS_NULL)
		return there ? FALSE_FOR_SURE : TRUE_FOR_SURE;
	if (!there)
		return NEITHER;
	return value_passes(test, value) ? TRUE_FOR_SURE : FALSE_FOR_SURE;
}

/* With values 0, 1, 2, AND is the lesser, OR the greater, and NOT what is left to 2. */
static bool
tests_pass(const IqdbRowFilter *filter, const IqdbStore *store, uint32_t slot)
{
	Ternary  waiting[IQDB_TESTS_DEEP];
	uint32_t depth = 0;

	for (size_t i = 0; i < filter->test_count; i++)
	{
		const IqdbTest *test = &filter->tests[i];
		Ternary         second;

		if (!joins(test))
		{
			waiting[depth++] = ask_one(test, store, slot);
			continue;
		}
		if (test->kind == IQDB_TEST_NOT)
		{
			waiting[depth - 1] = (Ternary) (TRUE_FOR_SURE - waiting[depth - 1]);
			continue;
		}
		second = waiting[--depth];
		if ((test->kind == IQDB_TEST_AND) == (second < waiting[depth - 1]))
			waiting[depth - 1] = second;
	}
	return depth == 0 || waiting[0] == TRUE_FOR_SURE;
}

static bool
metadata_passes(const IqdbRowFilter *filter, const IqdbStore *store, uint32_t slot)
{
	size_t               length;
	const unsigned char *metadata = iqdb_store_metadata(store, slot, &length);

	return iqdb_filter_matches(filter->metadata, metadata, length);
}

/* By number and metadata. */
static bool
rest_passes(const IqdbRowFilter *filter, const IqdbStore *store, uint32_t slot)
{
	if (filter->ids != NULL && !iqdb_id_set_contains(filter->ids, iqdb_store_number(store, slot)))
		return false;
	return filter->metadata == NULL || metadata_passes(filter, store, slot);
}

bool
iqdb_row_filter_admits(const IqdbRowFilter *filter, const IqdbStore *store, uint32_t slot)
{
	return (filter->test_count == 0 || tests_pass(filter, store, slot)) && rest_passes(filter, store, slot);
}

void
iqdb_row_filter_fetch(const IqdbRowFilter *filter, const IqdbStore *store, uint32_t slot)
{
	for (size_t i = 0; i < filter->test_count && i < FETCHED_TESTS; i++)
	{
		if (!joins(&filter->tests[i]) && filter->tests[i].kind != IQDB_TEST_CONSTANT)
			__builtin_prefetch(iqdb_column_values(&store->header->columns, store->columns, filter->tests[i].column, slot));
	}
	if (filter->ids != NULL)
		iqdb_store_touch(store, slot);
}

/* ---- all of it for many rows ---- */

static inline uint32_t
row_at(const Rows *rows, uint32_t number)
{
	return rows->slots != NULL ? rows->slots[number] : rows->first + number;
}

/* Leaves of the bits of up to 64 rows, from number `from` on, those whose numbers are in the set. */
static uint64_t
ask_numbers(const IqdbIdSet *ids, const Rows *rows, uint32_t from, uint64_t bits)
{
	uint64_t numbers[IQDB_ID_SET_EACH];
	uint64_t contained;
	uint64_t left;
	uint32_t count = 0;

	for (left = rows->slots != NULL ? bits : 0; left != 0; left &= left - 1)
		iqdb_store_touch(rows->store, row_at(rows, from + (uint32_t) __builtin_ctzll(left)));
	numbers[0] = 0;
	for (left = bits; left != 0; left &= left - 1)
		numbers[count++] = iqdb_store_number(rows->store, row_at(rows, from + (uint32_t) __builtin_ctzll(left)));
	contained = iqdb_id_set_contains_each(ids, numbers, count);
	for (left = bits; left != 0; left &= left - 1, contained >>= 1)
	{
		if ((contained & 1) == 0)
			bits &= ~(left & -left);
	}
	return bits;
}

/* Leaves of the bits of LIVE rows those that pass by number and metadata, which is asked last: it costs most. */
static uint64_t
ask_rest(const IqdbRowFilter *filter, const Rows *rows, uint32_t from, uint64_t bits)
{
	if (filter->ids != NULL && bits != 0)
		bits = ask_numbers(filter->ids, rows, from, bits);
	for (uint64_t left = filter->metadata != NULL ? bits : 0; left != 0; left &= left - 1)
	{
		if (!metadata_passes(filter, rows->store, row_at(rows, from + (uint32_t) __builtin_ctzll(left))))
			bits &= ~(left & -left);
	}
	return bits;
}

uint64_t
iqdb_row_filter_admits_each(const IqdbRowFilter *filter, const IqdbStore *store, const uint32_t *slots, uint32_t count)
{
	Rows     rows = {.store = store, .slots = slots, .count = count};
	uint64_t bits = UINT64_MAX;

	if (count == 0)
		return 0;
	if (filter->test_count > 0)
		ask_tests(filter, &rows, &bits);
	bits &= UINT64_MAX >> (64 - count);
	for (uint64_t left = bits; left != 0; left &= left - 1)
	{
		if (iqdb_store_state(store, slots[__builtin_ctzll(left)]) != IQDB_ROW_LIVE)
			bits &= ~(left & -left);
	}
	return ask_rest(filter, &rows, 0, bits);
}

void
iqdb_row_filter_narrow(const IqdbRowFilter *filter, const IqdbStore *store, uint32_t first, uint32_t count,
					   uint64_t words[IQDB_FILTER_WORDS])
{
	Rows     rows = {.store = store, .first = first, .count = count};
	uint64_t passing[IQDB_FILTER_WORDS];

	if (filter->test_count > 0)
	{
		ask_tests(filter, &rows, passing);
		for (uint32_t i = 0; i < (count + 63) / 64; i++)
			words[i] &= passing[i];
	}
	if (filter->ids == NULL && filter->metadata == NULL)
		return;
	for (uint32_t i = 0; i < (count + 63) / 64; i++)
		words[i] = ask_rest(filter, &rows, 64 * i, words[i]);
}

uint32_t
iqdb_row_filter_charge(const IqdbRowFilter *filter)
{
	uint32_t charge = 1 + (uint32_t) filter->test_count / TESTS_A_NANOSECOND;

	if (filter->ids != NULL)
		charge += NUMBER_CHARGE;
	/* tests may have left few rows, but that is not known */
	return filter->metadata != NULL ? charge + IQDB_CHARGE_FILTER : charge;
}

/* ---- how many ---- */

/* Places that are neither in step with what repeats among the rows, nor with each other. */
static uint32_t
sample_place(uint32_t number, uint32_t places)
{
	uint64_t golden = (uint64_t) (number + 1) * UINT64_C(0x9e3779b97f4a7c15);

	return (uint32_t) (((golden >> 32) * places) >> 32);
}

/* What a sample has shown. */
typedef struct Sample
{
	uint32_t live;   /* LIVE rows asked, */
	uint32_t tested; /* and of these, rows that pass by their columns */
	uint32_t asked;  /* of those rows asked by number and metadata, */
	uint32_t passed; /* and what passed */
} Sample;

/* Asks the rows first .. first + count, SAMPLE_ROWS at most. STRUCTURE is held. */
static void
sample_rows(const IqdbRowFilter *filter, const IqdbStore *store, uint32_t first, uint32_t count, Sample *sample)
{
	Rows     rows = {.store = store, .first = first, .count = count};
	uint64_t live = iqdb_live_word(store, first, count);
	uint64_t passing = UINT64_MAX;

	if (filter->test_count > 0)
		ask_tests(filter, &rows, &passing);
	passing &= live;
	sample->live += (uint32_t) __builtin_popcountll(live);
	if (filter->ids == NULL && filter->metadata == NULL)
	{
		sample->tested += (uint32_t) __builtin_popcountll(passing);
		return;
	}
	for (; passing != 0; passing &= passing - 1)
	{
		sample->tested++;
		/* every eighth row is enough where each costs much, unless there are few */
		if (sample->tested % REST_STEP != 0 && sample->tested > REST_ALL)
			continue;
		sample->asked++;
		sample->passed += rest_passes(filter, store, first + (uint32_t) __builtin_ctzll(passing));
	}
}

/* The values of places that are not asked yet, so that waiting for one is waiting for all. */
static void
fetch_sample(const IqdbRowFilter *filter, const IqdbStore *store, uint32_t first)
{
	__builtin_prefetch(&store->states[first]);
	for (size_t i = 0; i < filter->test_count; i++)
	{
		const unsigned char *values;

		if (joins(&filter->tests[i]) || filter->tests[i].kind == IQDB_TEST_CONSTANT)
			continue;
		values = iqdb_column_values(&store->header->columns, store->columns, filter->tests[i].column, first);
		for (uint32_t at = 0; at < SAMPLE_ROWS * store->header->columns.width[filter->tests[i].column]; at += 64)
			__builtin_prefetch(values + at);
	}
}

static Sample
take_sample(const IqdbRowFilter *filter, const IqdbStore *store, uint32_t slots)
{
	Sample sample = {0, 0, 0, 0};

	if (slots <= SAMPLE_PLACES * SAMPLE_ROWS)
	{
		for (uint32_t first = 0; first < slots; first += SAMPLE_ROWS)
			sample_rows(filter, store, first, slots - first < SAMPLE_ROWS ? slots - first : SAMPLE_ROWS, &sample);
		return sample;
	}
	for (uint32_t i = 0; i < SAMPLE_PLACES; i++)
		fetch_sample(filter, store, sample_place(i, slots / SAMPLE_ROWS) * SAMPLE_ROWS);
	for (uint32_t i = 0; i < SAMPLE_PLACES; i++)
		sample_rows(filter, store, sample_place(i, slots / SAMPLE_ROWS) * SAMPLE_ROWS, SAMPLE_ROWS, &sample);
	return sample;
}

double
iqdb_row_filter_estimate(const IqdbRowFilter *filter, const IqdbStore *store)
{
	uint32_t      slots = atomic_load_explicit(&store->header->slot_count, memory_order_acquire);
	double        rows = atomic_load_explicit(&store->header->live_count, memory_order_relaxed);
	IqdbRowFilter rest = *filter;
	Sample        sample;

	/* how many numbers there are is known; that they have nothing to do with the rest is assumed */
	if (filter->ids != NULL && iqdb_id_set_is_listed(filter->ids))
	{
		rows = rows < (double) filter->ids->count ? rows : (double) filter->ids->count;
		rest.ids = NULL;
	}
	if (rest.test_count == 0 && rest.ids == NULL && rest.metadata == NULL)
		return rows;
	iqdb_store_lock(store, IQDB_LOCK_STRUCTURE, false);
	sample = take_sample(&rest, store, slots);
	iqdb_store_unlock(store, IQDB_LOCK_STRUCTURE, false);
	/* half a hit where there was none */
	if (sample.live > 0)
		rows *= (sample.tested > 0 ? sample.tested : 0.5) / sample.live;
	if (sample.asked > 0)
		rows *= (sample.passed > 0 ? sample.passed : 0.5) / sample.asked;
	return rows;
}

/* ---- making tests ---- */

int64_t
iqdb_label_signature(uint64_t hash)
{
	uint64_t signature = 0;

	for (int i = 0; i < SIGNATURE_BITS; i++)
		signature |= UINT64_C(1) << (hash >> 6 * i) % 64;
	return (int64_t) signature;
}
