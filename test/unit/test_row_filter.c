/*
 * test_row_filter.c - columns of an index, and what filters say of them: against a naive evaluation of random conditions over
 * random rows, a row at a time and many at once; and the set of row numbers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "core/engine/row_filter.h"
#include "harness/memory_index.h"

#define SEED UINT64_C(20261130)
#define MEMORY_MAX (UINT64_C(64) * 1024 * 1024)
#define DIM 3
/* blocks of columns, the last one not full */
#define ROWS (2 * IQDB_COLUMN_BLOCK + 333)
#define COLUMNS 7
#define TESTS_MAX 24
#define LIST_MAX 20

static const uint8_t kinds[COLUMNS] = {IQDB_COLUMN_INT1, IQDB_COLUMN_INT2, IQDB_COLUMN_INT4,  IQDB_COLUMN_INT8,
									   IQDB_COLUMN_HASH, IQDB_COLUMN_LABELS, IQDB_COLUMN_INT8};

/* The greatest value of a kind, and so the least: -limit - 1. */
static int64_t
limit_of(uint8_t kind)
{
	static const int64_t limits[] = {[IQDB_COLUMN_INT1] = INT8_MAX, [IQDB_COLUMN_INT2] = INT16_MAX,
									 [IQDB_COLUMN_INT4] = INT32_MAX, [IQDB_COLUMN_INT8] = INT64_MAX,
									 [IQDB_COLUMN_HASH] = INT64_MAX, [IQDB_COLUMN_LABELS] = INT64_MAX};

	return limits[kind];
}

/* Few values, so that they meet; now and then the greatest and the least there are. */
static int64_t
random_value(IqdbRng *rng, uint8_t kind)
{
	int64_t  limit = limit_of(kind);
	uint64_t draw = iqdb_rng_below(rng, 12);

	if (kind == IQDB_COLUMN_LABELS)
		return iqdb_label_signature(iqdb_rng_below(rng, 6) * UINT64_C(0x9e3779b97f4a7c15)) |
			   iqdb_label_signature(iqdb_rng_below(rng, 6) * UINT64_C(0x9e3779b97f4a7c15));
	return draw == 0 ? limit : draw == 1 ? -limit - 1 : (int64_t) draw - 6;
}

static void
random_row(IqdbRng *rng, IqdbColumnValues *values_out)
{
	values_out->nulls = 0;
	for (uint32_t i = 0; i < COLUMNS; i++)
	{
		bool is_null = iqdb_rng_below(rng, 5) == 0;

		values_out->values[i] = is_null ? 0 : random_value(rng, kinds[i]);
		values_out->nulls |= (uint32_t) is_null << i;
	}
}

typedef struct Table
{
	MemoryIndex      memory;
	IqdbRng          rng;
	IqdbColumnValues rows[ROWS];
	bool             has_columns[ROWS]; /* else the row was put without, so that all are NULL */
} Table;

static IqdbIndexOptions
table_options(IqdbEngineKind engine)
{
	IqdbIndexOptions options = iqdb_index_options_default(engine, DIM, IQDB_METRIC_L2);

	options.column_count = COLUMNS;
	memcpy(options.columns, kinds, COLUMNS);
	return options;
}

static void
table_put(Table *table, uint64_t id)
{
	float   vector[DIM] = {(float) id, 1.0f, 2.0f};
	IqdbRow row = {.id = iqdb_id_u64(id), .vector = vector};

	random_row(&table->rng, &table->rows[id]);
	table->has_columns[id] = iqdb_rng_below(&table->rng, 20) != 0;
	assert_int_equal(iqdb_index_put_row(&table->memory.index, &row, DIM, table->has_columns[id] ? &table->rows[id] : NULL, NULL,
										NULL),
					 IQDB_OK);
	if (!table->has_columns[id])
		table->rows[id] = (IqdbColumnValues){.nulls = (1u << COLUMNS) - 1};
}

/* Slots are used a second time: what the row before had there is gone. */
static void
table_open(Table *table, IqdbEngineKind engine)
{
	IqdbIndexOptions options = table_options(engine);

	iqdb_rng_seed(&table->rng, SEED);
	memory_index_create(&table->memory, &options, &iqdb_locks_none, NULL, MEMORY_MAX);
	for (uint64_t id = 0; id < ROWS; id++)
		table_put(table, id);
	for (uint64_t id = 0; id < ROWS; id += 3)
		iqdb_index_remove(&table->memory.index, iqdb_id_u64(id), NULL);
	(void) iqdb_store_reclaim(&table->memory.index.store);
	for (uint64_t id = 0; id < ROWS; id += 3)
		table_put(table, id);
}

/* ---- the naive evaluation: 1 true, 0 false, -1 neither ---- */

static int
naive_leaf(const IqdbTest *test, const IqdbColumnValues *row)
{
	int64_t value = row->values[test->column];
	bool    is_null = (row->nulls >> test->column & 1) != 0;
	int     answer = 0;

	if (test->kind == IQDB_TEST_CONSTANT)
		return (int) test->low;
	if (test->kind == IQDB_TEST_IS_NULL)
		return is_null;
	if (is_null)
		return -1;
	if (test->kind == IQDB_TEST_BETWEEN)
		return test->low <= value && value <= test->high;
	if (test->kind == IQDB_TEST_ALL_LABELS)
		return (test->low & ~value) == 0;
	for (size_t i = 0; i < test->value_count; i++)
		answer |= test->kind == IQDB_TEST_ONE_OF ? test->values[i] == value : (test->values[i] & ~value) == 0;
	return answer;
}

/* The tree that ends at tests[*at], which moves before it. */
static int
naive_tree(const IqdbTest *tests, size_t *at, const IqdbColumnValues *row)
{
	const IqdbTest *test = &tests[(*at)--];
	int             a;
	int             b;

	if (test->kind < IQDB_TEST_AND)
		return naive_leaf(test, row);
	a = naive_tree(tests, at, row);
	if (test->kind == IQDB_TEST_NOT)
		return a < 0 ? -1 : !a;
	b = naive_tree(tests, at, row);
	if (test->kind == IQDB_TEST_AND)
		return a == 0 || b == 0 ? 0 : a < 0 || b < 0 ? -1 : 1;
	return a == 1 || b == 1 ? 1 : a < 0 || b < 0 ? -1 : 0;
}

/* ---- random conditions ---- */

typedef struct Condition
{
	IqdbTest tests[TESTS_MAX];
	int64_t  lists[TESTS_MAX][LIST_MAX];
	size_t   count;
} Condition;

static void
fill_list(IqdbRng *rng, IqdbTest *test, int64_t *list)
{
	test->values = list;
	test->value_count = iqdb_rng_below(rng, LIST_MAX + 1);
	for (size_t i = 0; i < test->value_count; i++)
	{
		int64_t value = random_value(rng, kinds[test->column]);
		size_t  at = i;

		for (; at > 0 && list[at - 1] > value; at--)
			list[at] = list[at - 1];
		list[at] = value;
	}
}

static void
add_leaf(IqdbRng *rng, Condition *condition, bool exact)
{
	size_t    number = condition->count++;
	IqdbTest *test = &condition->tests[number];

	*test = (IqdbTest){.column = (uint8_t) iqdb_rng_below(rng, exact ? 4 : COLUMNS)};
	switch (iqdb_rng_below(rng, 8))
	{
		case 0:
			test->kind = IQDB_TEST_IS_NULL;
			break;
		case 1:
			*test = (IqdbTest){.kind = IQDB_TEST_CONSTANT, .low = (int64_t) iqdb_rng_below(rng, 3) - 1};
			break;
		case 2:
		case 3:
			test->kind = kinds[test->column] == IQDB_COLUMN_LABELS ? IQDB_TEST_ANY_LABEL : IQDB_TEST_ONE_OF;
			fill_list(rng, test, condition->lists[number]);
			break;
		default:
			test->kind = kinds[test->column] == IQDB_COLUMN_LABELS ? IQDB_TEST_ALL_LABELS : IQDB_TEST_BETWEEN;
			test->low = random_value(rng, kinds[test->column]);
			test->high = kinds[test->column] == IQDB_COLUMN_HASH ? test->low : random_value(rng, kinds[test->column]);
			break;
	}
}

/* A tree in postfix order; exact: it may stand under NOT. */
static void
add_tree(IqdbRng *rng, Condition *condition, uint32_t depth, bool exact)
{
	uint64_t draw = depth == 0 ? 0 : iqdb_rng_below(rng, 4);

	if (draw == 0)
	{
		add_leaf(rng, condition, exact);
		return;
	}
	add_tree(rng, condition, depth - 1, exact || draw == 1);
	if (draw > 1)
		add_tree(rng, condition, depth - 1, exact);
	condition->tests[condition->count++] =
		(IqdbTest){.kind = (uint8_t) (draw == 1 ? IQDB_TEST_NOT : draw == 2 ? IQDB_TEST_AND : IQDB_TEST_OR)};
}

static bool
naive_passes(const Condition *condition, const IqdbColumnValues *row)
{
	size_t at = condition->count - 1;

	return naive_tree(condition->tests, &at, row) == 1;
}

/* ---- tests ---- */

/* A row alone, and as one of a range that begins and ends anywhere it may. */
static void
compare_rows(const Table *table, const Condition *condition, const IqdbRowFilter *filter)
{
	const IqdbStore *store = &table->memory.index.store;
	uint32_t         slots = atomic_load(&store->header->slot_count);
	uint32_t         sizes[] = {16, 32, 64, 128, 256};
	uint32_t         size = sizes[condition->count % 5];

	for (uint32_t first = 0; first < slots; first += size)
	{
		uint32_t count = slots - first < size ? slots - first : size;
		uint64_t words[IQDB_FILTER_WORDS];

		iqdb_row_filter_range(filter, store, first, count, words);
		for (uint32_t i = 0; i < count; i++)
		{
			bool expected;

			if (iqdb_store_state(store, first + i) != IQDB_ROW_LIVE)
				continue;
			expected = naive_passes(condition, &table->rows[iqdb_store_number(store, first + i)]);
			assert_int_equal(words[i / 64] >> i % 64 & 1, expected);
			assert_int_equal(iqdb_row_filter_admits(filter, store, first + i), expected);
		}
	}
}

/* Rows anywhere, removed ones among them, by their columns, and also by a set of numbers. */
static void
compare_rows_anywhere(Table *table, const Condition *condition, const IqdbRowFilter *tests)
{
	const IqdbStore *store = &table->memory.index.store;
	uint32_t         slots = atomic_load(&store->header->slot_count);
	uint32_t         asked[IQDB_FILTER_EACH];
	uint32_t         count = 1 + (uint32_t) iqdb_rng_below(&table->rng, IQDB_FILTER_EACH);
	IqdbRowFilter    filter = *tests;
	IqdbIdSet        ids;
	uint64_t         bits;
	uint64_t         bits_in_set;

	iqdb_id_set_init(&ids, &iqdb_allocator_libc);
	for (uint32_t i = 0; i < count; i++)
	{
		asked[i] = (uint32_t) iqdb_rng_below(&table->rng, slots);
		if (asked[i] % 2 == 0)
			assert_int_equal(iqdb_id_set_add(&ids, iqdb_store_number(store, asked[i]), NULL), IQDB_OK);
	}
	bits = iqdb_row_filter_admits_each(&filter, store, asked, count);
	filter.ids = &ids;
	bits_in_set = iqdb_row_filter_admits_each(&filter, store, asked, count);
	for (uint32_t i = 0; i < count; i++)
	{
		uint64_t number = iqdb_store_number(store, asked[i]);
		bool     live = iqdb_store_state(store, asked[i]) == IQDB_ROW_LIVE;
		bool     expected = live && naive_passes(condition, &table->rows[number]);

		assert_int_equal(bits >> i & 1, expected);
		assert_int_equal(bits_in_set >> i & 1, expected && iqdb_id_set_contains(&ids, number));
	}
	assert_true(count == IQDB_FILTER_EACH || (bits | bits_in_set) >> count == 0);
	iqdb_id_set_free(&ids);
}

static void
tests_are_as_naive_ones(void **state)
{
	static Table table;
	Condition    condition;

	(void) state;
	table_open(&table, IQDB_ENGINE_FLAT);
	for (int round = 0; round < 300; round++)
	{
		IqdbRowFilter filter = {.tests = condition.tests};

		condition.count = 0;
		add_tree(&table.rng, &condition, 3, false);
		filter.test_count = condition.count;
		assert_int_equal(iqdb_row_filter_check(&filter, &table.memory.index.store.header->options, NULL), IQDB_OK);
		compare_rows(&table, &condition, &filter);
		compare_rows_anywhere(&table, &condition, &filter);
	}
	/* removed, and not reused */
	for (uint64_t id = 1; id < ROWS; id += 4)
		iqdb_index_remove(&table.memory.index, iqdb_id_u64(id), NULL);
	for (int round = 0; round < 100; round++)
	{
		condition = (Condition){.tests = {{.kind = IQDB_TEST_CONSTANT, .low = 1}}, .count = 1};
		compare_rows_anywhere(&table, &condition, &(IqdbRowFilter){.tests = condition.tests, .test_count = 1});
	}
	memory_index_destroy(&table.memory);
}

/* Every engine's stream, to its end, has exactly the rows that pass, in order of their keys. */
static void
streams_have_what_passes(void **state)
{
	static const IqdbEngineKind engines[] = {IQDB_ENGINE_FLAT, IQDB_ENGINE_HNSW, IQDB_ENGINE_IVF};
	static Table                table;

	(void) state;
	for (size_t e = 0; e < 3; e++)
	{
		table_open(&table, engines[e]);
		assert_int_equal(iqdb_index_maintain(&table.memory.index, IQDB_MAINTAIN_BUILD, NULL), IQDB_OK);
		for (int round = 0; round < 40; round++)
		{
			Condition        condition = {.count = 0};
			IqdbRowFilter    filter = {.tests = condition.tests};
			IqdbSearchParams params = {.expected = 10, .filter = &filter};
			float            query[DIM] = {(float) iqdb_rng_below(&table.rng, ROWS), 1.0f, 2.0f};
			IqdbCursor      *cursor;
			IqdbHit          hits[50];
			size_t           count;
			size_t           expected = 0;
			float            last = -1.0f;

			add_tree(&table.rng, &condition, 2, false);
			filter.test_count = condition.count;
			for (uint64_t id = 0; id < ROWS; id++)
				expected += naive_passes(&condition, &table.rows[id]);
			assert_int_equal(iqdb_cursor_open(&table.memory.index, query, DIM, &params, &cursor, NULL), IQDB_OK);
			do
			{
				assert_int_equal(iqdb_cursor_next(cursor, hits, 50, &count, NULL), IQDB_OK);
				for (size_t i = 0; i < count; i++)
				{
					assert_true(naive_passes(&condition, &table.rows[hits[i].id]));
					assert_true(engines[e] != IQDB_ENGINE_FLAT || hits[i].key >= last);
					last = hits[i].key;
				}
				assert_true(count <= expected);
				expected -= count;
			} while (count > 0);
			assert_int_equal(expected, 0);
			iqdb_cursor_close(cursor);
		}
		memory_index_destroy(&table.memory);
	}
}

static void
what_cannot_be_asked_is_refused(void **state)
{
	static const int64_t descending[] = {2, 1};
	IqdbIndexOptions     options = table_options(IQDB_ENGINE_FLAT);
	IqdbTest             deep[2 * IQDB_TESTS_DEEP + 3];
	IqdbTest             cases[][2] = {
		{{.kind = IQDB_TEST_BETWEEN, .column = COLUMNS}, {.kind = IQDB_TEST_NOT}},
		{{.kind = 77, .column = 0}, {.kind = IQDB_TEST_NOT}},
		{{.kind = 0, .column = 0}, {.kind = IQDB_TEST_NOT}},
		{{.kind = IQDB_TEST_BETWEEN, .column = 4, .low = 1, .high = 2}, {.kind = IQDB_TEST_IS_NULL}},
		{{.kind = IQDB_TEST_BETWEEN, .column = 4, .low = 1, .high = 1}, {.kind = IQDB_TEST_NOT}},
		{{.kind = IQDB_TEST_ANY_LABEL, .column = 0}, {.kind = IQDB_TEST_NOT}},
		{{.kind = IQDB_TEST_BETWEEN, .column = 5}, {.kind = IQDB_TEST_NOT}},
		{{.kind = IQDB_TEST_ALL_LABELS, .column = 5}, {.kind = IQDB_TEST_NOT}},
		{{.kind = IQDB_TEST_ONE_OF, .column = 0, .values = descending, .value_count = 2}, {.kind = IQDB_TEST_NOT}},
		{{.kind = IQDB_TEST_IS_NULL, .column = 0}, {.kind = IQDB_TEST_AND}},
		{{.kind = IQDB_TEST_IS_NULL, .column = 0}, {.kind = IQDB_TEST_IS_NULL, .column = 1}},
	};

	(void) state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		IqdbRowFilter filter = {.tests = cases[i], .test_count = 2};

		assert_int_equal(iqdb_row_filter_check(&filter, &options, NULL), IQDB_ERR_FILTER);
	}
	for (size_t i = 0; i < sizeof(deep) / sizeof(deep[0]); i++)
		deep[i] = (IqdbTest){.kind = i <= IQDB_TESTS_DEEP + 1 ? IQDB_TEST_IS_NULL : IQDB_TEST_AND};
	assert_int_equal(iqdb_row_filter_check(&(IqdbRowFilter){.tests = deep, .test_count = sizeof(deep) / sizeof(deep[0])},
										   &options, NULL),
					 IQDB_ERR_FILTER);
	options.columns[2] = 99;
	assert_int_equal(iqdb_index_options_check(&options, NULL), IQDB_ERR_CONFIG);
	options.columns[2] = IQDB_COLUMN_INT4;
	options.columns[COLUMNS] = IQDB_COLUMN_INT4;
	assert_int_equal(iqdb_index_options_check(&options, NULL), IQDB_ERR_CONFIG);
}

static void
values_out_of_range_are_refused(void **state)
{
	static Table     table;
	float            vector[DIM] = {1, 2, 3};
	IqdbRow          row = {.id = iqdb_id_u64(ROWS), .vector = vector};
	IqdbColumnValues values = {.nulls = 0};
	uint64_t         before;

	(void) state;
	table_open(&table, IQDB_ENGINE_FLAT);
	before = iqdb_index_live_count(&table.memory.index);
	for (uint32_t i = 0; i < 3; i++)
	{
		for (int side = 0; side < 2; side++)
		{
			memset(&values, 0, sizeof(values));
			values.values[i] = side == 0 ? limit_of(kinds[i]) + 1 : -limit_of(kinds[i]) - 2;
			assert_int_equal(iqdb_index_put_row(&table.memory.index, &row, DIM, &values, NULL, NULL), IQDB_ERR_CONFIG);
			values.nulls = UINT32_C(1) << i;
			assert_int_equal(iqdb_columns_check(&table.memory.index.store.header->options, &values, NULL), IQDB_OK);
		}
	}
	assert_int_equal(iqdb_index_live_count(&table.memory.index), before);
	memory_index_destroy(&table.memory);
}

static void
columns_are_read_by_id(void **state)
{
	static Table     table;
	IqdbColumnValues values;

	(void) state;
	table_open(&table, IQDB_ENGINE_FLAT);
	for (uint64_t id = 0; id < ROWS; id++)
	{
		assert_true(iqdb_index_get_columns(&table.memory.index, iqdb_id_u64(id), &values));
		assert_int_equal(values.nulls, table.rows[id].nulls);
		for (uint32_t i = 0; i < COLUMNS; i++)
			assert_true((values.nulls >> i & 1) != 0 || values.values[i] == table.rows[id].values[i]);
	}
	assert_false(iqdb_index_get_columns(&table.memory.index, iqdb_id_u64(ROWS), &values));
	assert_int_equal(iqdb_index_put_known(&table.memory.index, iqdb_id_u64(ROWS), NULL), IQDB_OK);
	assert_false(iqdb_index_get_columns(&table.memory.index, iqdb_id_u64(ROWS), &values));
	memory_index_destroy(&table.memory);
}

static void
snapshots_keep_columns(void **state)
{
	static Table      table;
	MemoryIndex       loaded;
	MemorySnapshot    snapshot;
	IqdbIndexOptions  options = table_options(IQDB_ENGINE_FLAT);
	IqdbIndexOptions  stored;
	IqdbSectionSink   sink;
	IqdbSectionSource source;

	(void) state;
	table_open(&table, IQDB_ENGINE_FLAT);
	memory_snapshot_init(&snapshot);
	sink = memory_snapshot_sink(&snapshot);
	assert_int_equal(iqdb_index_save(&table.memory.index, &sink, NULL), IQDB_OK);
	source = memory_snapshot_source(&snapshot);
	assert_int_equal(iqdb_index_load_options(&source, &stored, NULL), IQDB_OK);
	assert_true(iqdb_index_options_same_shape(&stored, &options));
	memory_index_create(&loaded, &stored, &iqdb_locks_none, NULL, MEMORY_MAX);
	source = memory_snapshot_source(&snapshot);
	assert_int_equal(iqdb_index_load(&loaded.index, &source, NULL), IQDB_OK);
	for (uint64_t id = 0; id < ROWS; id++)
	{
		uint32_t         slot = iqdb_store_find(&loaded.index.store, iqdb_id_u64(id));
		IqdbColumnValues values;

		iqdb_columns_get(&loaded.index.store.header->columns, loaded.index.store.columns, slot, &values);
		assert_int_equal(values.nulls, table.rows[id].nulls);
		assert_memory_equal(values.values, table.rows[id].values, COLUMNS * sizeof(int64_t));
	}
	assert_true(memory_index_sound(&loaded.index));
	memory_index_destroy(&loaded);

	/* an index of other columns is another one */
	options.columns[0] = IQDB_COLUMN_INT2;
	memory_index_create(&loaded, &options, &iqdb_locks_none, NULL, MEMORY_MAX);
	source = memory_snapshot_source(&snapshot);
	assert_int_equal(iqdb_index_load(&loaded.index, &source, NULL), IQDB_ERR_CONFIG);
	memory_index_destroy(&loaded);
	memory_snapshot_free(&snapshot);
	memory_index_destroy(&table.memory);
}

/* Bits that no writer sets. */
static void
damaged_columns_are_noticed(void **state)
{
	IqdbIndexOptions options = table_options(IQDB_ENGINE_FLAT);
	IqdbColumnValues values = {.nulls = 2, .values = {1, 0, 3, 4, 5, 6, 7}};
	IqdbColumnValues decoded;
	unsigned char    bytes[64];

	(void) state;
	iqdb_columns_encode(&options, &values, bytes);
	assert_int_equal(iqdb_columns_encoded_bytes(&options), 1 + 1 + 2 + 4 + 4 * 8);
	assert_true(iqdb_columns_decode(&options, bytes, &decoded));
	assert_int_equal(decoded.nulls, 2);
	assert_memory_equal(decoded.values, values.values, COLUMNS * sizeof(int64_t));
	bytes[0] |= 1;
	assert_false(iqdb_columns_decode(&options, bytes, &decoded));
	bytes[0] = 2 | 128;
	assert_false(iqdb_columns_decode(&options, bytes, &decoded));
}

/* A set against an array of flags; numbers in a few groups, members up to the greatest. */
static void
sets_hold_what_was_added(void **state)
{
	enum
	{
		GROUPS = 200,
		MEMBERS = 65536
	};
	static bool there[GROUPS][MEMBERS];
	IqdbIdSet   set;
	IqdbRng     rng;
	uint64_t    numbers[7];
	uint64_t    position = 0;
	uint64_t    listed = 0;
	uint64_t    expected = 0;
	size_t      count;

	(void) state;
	iqdb_rng_seed(&rng, SEED);
	iqdb_id_set_init(&set, &iqdb_allocator_libc);
	assert_false(iqdb_id_set_contains(&set, 5));
	assert_int_equal(iqdb_id_set_list(&set, &position, numbers, 7), 0);
	for (int i = 0; i < 20000; i++)
	{
		uint64_t group = iqdb_rng_below(&rng, GROUPS);
		uint64_t member = iqdb_rng_below(&rng, 50) == 0 ? iqdb_rng_below(&rng, MEMBERS) : iqdb_rng_below(&rng, 300);

		expected += !there[group][member];
		there[group][member] = true;
		assert_int_equal(iqdb_id_set_add(&set, group << 16 | member, NULL), IQDB_OK);
	}
	assert_int_equal(set.count, expected);
	assert_true(iqdb_id_set_is_listed(&set));
	position = 0;
	while ((count = iqdb_id_set_list(&set, &position, numbers, 7)) > 0)
	{
		for (size_t i = 0; i < count; i++)
			assert_true(there[numbers[i] >> 16][numbers[i] & 0xffff]);
		listed += count;
	}
	assert_int_equal(listed, expected);
	for (int round = 0; round < 500; round++)
	{
		uint64_t each[IQDB_ID_SET_EACH];
		uint32_t wanted = (uint32_t) iqdb_rng_below(&rng, IQDB_ID_SET_EACH + 1);
		uint64_t bits;

		/* one group more than there are, and members in the first word of a group and behind it */
		for (uint32_t i = 0; i < wanted; i++)
			each[i] = iqdb_rng_below(&rng, GROUPS + 1) << 16 | iqdb_rng_below(&rng, i % 2 == 0 ? 64 : 400);
		bits = iqdb_id_set_contains_each(&set, each, wanted);
		for (uint32_t i = 0; i < wanted; i++)
			assert_int_equal(bits >> i & 1, each[i] >> 16 < GROUPS && there[each[i] >> 16][each[i] & 0xffff]);
		assert_true(wanted == IQDB_ID_SET_EACH || bits >> wanted == 0);
	}
	for (uint64_t group = 0; group < GROUPS; group++)
	{
		for (uint64_t member = 0; member < MEMBERS; member += 1 + member / 400)
			assert_int_equal(iqdb_id_set_contains(&set, group << 16 | member), there[group][member]);
	}
	assert_int_equal(iqdb_id_set_add_group(&set, 3, NULL), IQDB_OK);
	assert_int_equal(iqdb_id_set_add_group(&set, GROUPS + 1, NULL), IQDB_OK);
	assert_true(iqdb_id_set_contains(&set, UINT64_C(3) << 16 | 65535));
	assert_true(iqdb_id_set_contains(&set, UINT64_C(201) << 16));
	assert_false(iqdb_id_set_contains(&set, UINT64_C(202) << 16));
	assert_false(iqdb_id_set_is_listed(&set));
	iqdb_id_set_free(&set);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tests_are_as_naive_ones),
		cmocka_unit_test(streams_have_what_passes),
		cmocka_unit_test(what_cannot_be_asked_is_refused),
		cmocka_unit_test(values_out_of_range_are_refused),
		cmocka_unit_test(columns_are_read_by_id),
		cmocka_unit_test(snapshots_keep_columns),
		cmocka_unit_test(damaged_columns_are_noticed),
		cmocka_unit_test(sets_hold_what_was_added),
	};

	return cmocka_run_group_tests_name("row_filter", tests, NULL, NULL);
}
