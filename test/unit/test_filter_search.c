/*
 * test_filter_search.c - searches with filters, whichever way they take: every engine, with each of its codes, on rows in
 * clusters of which some are equal, some were removed, and some are not linked yet. Filters let rows pass that lie anywhere,
 * all in one cluster, all but there, or that a set of numbers names. A stream to its end has each LIVE row that passes exactly
 * once; few matches are found exactly, by looking at them all.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "core/engine/strategy.h"
#include "harness/elements.h"
#include "harness/memory_index.h"

#define SEED UINT64_C(20261201)
#define MEMORY_MAX (UINT64_C(128) * 1024 * 1024)
#define DIM 64
#define ROWS 5000
/* rows from here on are put after the build, and not linked */
#define BUILT 4900
#define CLUSTERS 20
#define K 10

enum
{
	SCATTERED, /* a number of 0 .. 9999 */
	CLUSTER,   /* the row's */
	COLUMNS
};

typedef struct Table
{
	MemoryIndex memory;
	uint32_t    element;
	IqdbRng     rng;
	float       centres[CLUSTERS][DIM];
	float       vectors[ROWS][DIM];
	int64_t     values[ROWS][COLUMNS];
	bool        live[ROWS];
	bool        asked[ROWS]; /* passes the filter of the moment */
	bool        met[ROWS];
} Table;

static float
spread(IqdbRng *rng)
{
	return (float) iqdb_rng_below(rng, 2001) / 1000.0f - 1.0f;
}

/* One row of fifteen is equal to one before it. */
static void
make_rows(Table *table)
{
	iqdb_rng_seed(&table->rng, SEED);
	for (size_t i = 0; i < CLUSTERS * DIM; i++)
		table->centres[i / DIM][i % DIM] = 4.0f * spread(&table->rng);
	for (size_t row = 0; row < ROWS; row++)
	{
		size_t cluster = iqdb_rng_below(&table->rng, CLUSTERS);
		size_t twin = row > 0 && iqdb_rng_below(&table->rng, 15) == 0 ? iqdb_rng_below(&table->rng, row) : row;

		for (size_t d = 0; d < DIM; d++)
			table->vectors[row][d] = twin < row ? table->vectors[twin][d] : table->centres[cluster][d] + spread(&table->rng);
		table->values[row][SCATTERED] = (int64_t) iqdb_rng_below(&table->rng, 10000);
		table->values[row][CLUSTER] = (int64_t) cluster;
	}
}

static void
put(Table *table, size_t row, bool link)
{
	IqdbIndex       *index = &table->memory.index;
	unsigned char    vector[ELEMENT_BYTES(DIM)];
	IqdbRow          put = {.id = iqdb_id_u64(row), .vector = vector};
	IqdbColumnValues columns = {.nulls = 0};
	uint32_t         slot;

	element_of_floats(table->element, table->vectors[row], DIM, vector);
	memcpy(columns.values, table->values[row], sizeof(table->values[row]));
	assert_int_equal(iqdb_index_put_row(index, &put, DIM, &columns, &slot, NULL), IQDB_OK);
	if (link)
		assert_int_equal(iqdb_index_link(index, slot, NULL), IQDB_OK);
	table->live[row] = true;
}

static void
table_open(Table *table, IqdbEngineKind engine, uint32_t quantization, uint32_t element, IqdbMetric metric)
{
	IqdbIndexOptions options = iqdb_index_options_default(engine, DIM, metric);

	table->element = element;
	options.element = element;
	options.quantization = quantization;
	options.column_count = COLUMNS;
	options.columns[SCATTERED] = IQDB_COLUMN_INT4;
	options.columns[CLUSTER] = IQDB_COLUMN_INT1;
	options.lists = engine == IQDB_ENGINE_IVF ? 50 : 0;
	make_rows(table);
	memory_index_create(&table->memory, &options, &iqdb_locks_none, NULL, MEMORY_MAX);
	for (size_t row = 0; row < BUILT; row++)
		put(table, row, engine == IQDB_ENGINE_HNSW);
	assert_int_equal(iqdb_index_maintain(&table->memory.index, IQDB_MAINTAIN_BUILD, NULL), IQDB_OK);
	for (size_t row = 0; row < BUILT; row += 17)
	{
		iqdb_index_remove(&table->memory.index, iqdb_id_u64(row), NULL);
		table->live[row] = false;
	}
	for (size_t row = BUILT; row < ROWS; row++)
		put(table, row, false);
}

/* ---- one stream ---- */

/* Distances by definition, in double; only rows that are nearer for sure are told apart. */
static double
distance(const Table *table, const float *query, size_t row)
{
	double sum = 0;

	for (size_t d = 0; d < DIM; d++)
	{
		double difference = (double) query[d] - (double) table->vectors[row][d];

		sum += difference * difference;
	}
	return sum;
}

/* So many rows that pass are nearer than this one. */
static size_t
rank_of(const Table *table, const float *query, size_t row)
{
	double own = distance(table, query, row) * (1 - 1e-5);
	size_t rank = 0;

	for (size_t i = 0; i < ROWS; i++)
		rank += table->live[i] && table->asked[i] && distance(table, query, i) < own;
	return rank;
}

static uint32_t
read_stream(Table *table, const float *query, const IqdbRowFilter *filter, size_t expected, bool few)
{
	unsigned char    vector[ELEMENT_BYTES(DIM)];
	IqdbSearchParams params = {.expected = expected, .filter = filter};
	size_t           left = 0;
	size_t           read = 0;
	uint32_t         way = IQDB_SEARCH_OWN;
	IqdbCursor      *cursor;
	IqdbHit          hits[K];
	size_t           count;

	memset(table->met, 0, sizeof(table->met));
	for (size_t row = 0; row < ROWS; row++)
		left += table->live[row] && table->asked[row];
	element_of_floats(table->element, query, DIM, vector);
	assert_int_equal(iqdb_cursor_open(&table->memory.index, vector, DIM, &params, &cursor, NULL), IQDB_OK);
	while (assert_int_equal(iqdb_cursor_next(cursor, hits, K, &count, NULL), IQDB_OK), count > 0)
	{
		way = read == 0 ? cursor->stats.way : way;
		for (size_t i = 0; i < count; i++, read++)
		{
			size_t row = (size_t) hits[i].id;

			assert_true(table->live[row] && table->asked[row] && !table->met[row]);
			table->met[row] = true;
			if (few && table->element == IQDB_ELEMENT_F32)
				assert_true(rank_of(table, query, row) <= read);
		}
		assert_true(count <= left);
		left -= count;
	}
	assert_int_equal(left, 0);
	assert_true(cursor->stats.scored >= read);
	way = read == 0 ? cursor->stats.way : way;
	iqdb_cursor_close(cursor);
	return way;
}

/* Streams for callers who say nothing, who take ten rows, and who take many. */
static uint32_t
read_streams(Table *table, const IqdbRowFilter *filter, bool few)
{
	static const size_t expected[] = {K, 0, 600};
	float               query[DIM];
	uint32_t            way = 0;

	for (size_t i = 0; i < 3; i++)
	{
		const float *from = table->vectors[iqdb_rng_below(&table->rng, ROWS)];

		for (size_t d = 0; d < DIM; d++)
			query[d] = from[d] + 0.3f * spread(&table->rng);
		way = i == 0 ? read_stream(table, query, filter, expected[i], few) : way;
		if (i > 0)
			(void) read_stream(table, query, filter, expected[i], few);
	}
	return way;
}

/* ---- filters ---- */

static void
ask_between(Table *table, uint8_t column, int64_t low, int64_t high, const IqdbIdSet *ids)
{
	for (size_t row = 0; row < ROWS; row++)
		table->asked[row] = table->values[row][column] >= low && table->values[row][column] <= high &&
							(ids == NULL || iqdb_id_set_contains(ids, row));
}

static uint32_t
read_between(Table *table, uint8_t column, int64_t low, int64_t high, const IqdbIdSet *ids, bool few)
{
	IqdbTest      test = {.kind = IQDB_TEST_BETWEEN, .column = column, .low = low, .high = high};
	IqdbRowFilter filter = {.tests = &test, .test_count = 1, .ids = ids};

	ask_between(table, column, low, high, ids);
	return read_streams(table, &filter, few);
}

static void
columns_decide(Table *table)
{
	static const int64_t shares[] = {5000, 1000, 300, 100};

	for (size_t i = 0; i < sizeof(shares) / sizeof(shares[0]); i++)
		(void) read_between(table, SCATTERED, 0, shares[i] - 1, NULL, false);
	/* a handful, and none at all */
	assert_int_equal(read_between(table, SCATTERED, 100, 120, NULL, true), IQDB_SEARCH_EXACT);
	assert_int_equal(read_between(table, SCATTERED, -9, -1, NULL, true), IQDB_SEARCH_EXACT);
	for (int64_t cluster = 0; cluster < CLUSTERS; cluster += 7)
		(void) read_between(table, CLUSTER, cluster, cluster, NULL, false);
	(void) read_between(table, CLUSTER, 1, CLUSTERS - 1, NULL, false);
}

/* A set that is listed and small, one that is large, and one of whole groups, alone and beside a column. */
static void
numbers_decide(Table *table)
{
	IqdbIdSet     ids;
	IqdbRowFilter filter = {.ids = &ids};

	for (uint64_t step = 1; step <= 49; step += 16)
	{
		iqdb_id_set_init(&ids, &iqdb_allocator_libc);
		for (uint64_t row = 0; row < ROWS; row += step)
			assert_int_equal(iqdb_id_set_add(&ids, row, NULL), IQDB_OK);
		/* numbers that no row has */
		assert_int_equal(iqdb_id_set_add(&ids, ROWS + 1, NULL), IQDB_OK);
		ask_between(table, SCATTERED, 0, 9999, &ids);
		(void) read_streams(table, &filter, false);
		(void) read_between(table, SCATTERED, 0, 2999, &ids, false);
		iqdb_id_set_free(&ids);
	}
	iqdb_id_set_init(&ids, &iqdb_allocator_libc);
	assert_int_equal(iqdb_id_set_add_group(&ids, 0, NULL), IQDB_OK);
	(void) read_between(table, SCATTERED, 0, 2999, &ids, false);
	iqdb_id_set_free(&ids);
	assert_int_equal(iqdb_id_set_add_group(&ids, 1, NULL), IQDB_OK);
	(void) read_between(table, SCATTERED, 0, 2999, &ids, true);
	iqdb_id_set_free(&ids);
}

static void
check_table(IqdbEngineKind engine, uint32_t quantization, uint32_t element, IqdbMetric metric)
{
	static Table table;

	print_message("engine %d, quantization %u, element %u\n", (int) engine, quantization, element);
	memset(&table, 0, sizeof(table));
	table_open(&table, engine, quantization, element, metric);
	columns_decide(&table);
	numbers_decide(&table);
	assert_true(memory_index_sound(&table.memory.index));
	memory_index_destroy(&table.memory);
}

static void
flat_finds_what_passes(void **state)
{
	(void) state;
	check_table(IQDB_ENGINE_FLAT, IQDB_QUANTIZATION_NONE, IQDB_ELEMENT_F32, IQDB_METRIC_L2);
	check_table(IQDB_ENGINE_FLAT, IQDB_QUANTIZATION_SQ8, IQDB_ELEMENT_F32, IQDB_METRIC_L2);
	check_table(IQDB_ENGINE_FLAT, IQDB_QUANTIZATION_SQ8, IQDB_ELEMENT_F16, IQDB_METRIC_COSINE);
}

static void
graphs_find_what_passes(void **state)
{
	(void) state;
	check_table(IQDB_ENGINE_HNSW, IQDB_QUANTIZATION_NONE, IQDB_ELEMENT_F32, IQDB_METRIC_L2);
	check_table(IQDB_ENGINE_HNSW, IQDB_QUANTIZATION_SQ8, IQDB_ELEMENT_F32, IQDB_METRIC_L2);
	check_table(IQDB_ENGINE_HNSW, IQDB_QUANTIZATION_BQ, IQDB_ELEMENT_F32, IQDB_METRIC_L2);
	check_table(IQDB_ENGINE_HNSW, IQDB_QUANTIZATION_SQ8, IQDB_ELEMENT_F16, IQDB_METRIC_DOT);
	check_table(IQDB_ENGINE_HNSW, IQDB_QUANTIZATION_NONE, IQDB_ELEMENT_BIT, IQDB_METRIC_HAMMING);
}

static void
lists_find_what_passes(void **state)
{
	(void) state;
	check_table(IQDB_ENGINE_IVF, IQDB_QUANTIZATION_NONE, IQDB_ELEMENT_F32, IQDB_METRIC_L2);
	check_table(IQDB_ENGINE_IVF, IQDB_QUANTIZATION_SQ8, IQDB_ELEMENT_F32, IQDB_METRIC_L2);
	check_table(IQDB_ENGINE_IVF, IQDB_QUANTIZATION_PQ, IQDB_ELEMENT_F32, IQDB_METRIC_L2);
	check_table(IQDB_ENGINE_IVF, IQDB_QUANTIZATION_BQ, IQDB_ELEMENT_F32, IQDB_METRIC_L2);
	check_table(IQDB_ENGINE_IVF, IQDB_QUANTIZATION_SQ8, IQDB_ELEMENT_F16, IQDB_METRIC_COSINE);
	check_table(IQDB_ENGINE_IVF, IQDB_QUANTIZATION_NONE, IQDB_ELEMENT_BIT, IQDB_METRIC_HAMMING);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(flat_finds_what_passes),
		cmocka_unit_test(graphs_find_what_passes),
		cmocka_unit_test(lists_find_what_passes),
	};

	return cmocka_run_group_tests_name("filter_search", tests, NULL, NULL);
}
