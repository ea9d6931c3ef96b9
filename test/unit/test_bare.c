/*
 * test_bare.c - snapshots whose rows are bare: saved without vectors and columns, and completed by a host that has them.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/endian.h"
#include "core/base/rng.h"
#include "core/db/index_codec.h"
#include "harness/fixture.h"
#include "harness/memory_index.h"

#define DIM 8
#define ROWS 3000
#define KNOWN 20
#define MEMORY_MAX (UINT64_C(64) * 1024 * 1024)

/* What the host has: of row i the vector and columns, by number. */
typedef struct Table
{
	float            vectors[ROWS][DIM];
	IqdbColumnValues columns[ROWS];
} Table;

static Table table;

/* TIDs as a server numbers them: 40 rows a page. */
static uint64_t
number_of(size_t row)
{
	return (uint64_t) (row / 40) << 16 | (row % 40 + 1);
}

static size_t
row_of(uint64_t number)
{
	return (size_t) (number >> 16) * 40 + (number & 0xffff) - 1;
}

static IqdbIndexOptions
options_of(IqdbEngineKind engine, IqdbQuantization quantization)
{
	IqdbIndexOptions options = iqdb_index_options_default(engine, DIM, IQDB_METRIC_L2);

	options.quantization = quantization;
	options.lists = engine == IQDB_ENGINE_IVF ? 20 : 0;
	options.columns[0] = IQDB_COLUMN_INT8;
	options.column_count = 1;
	return options;
}

static void
fill_table(void)
{
	IqdbRng rng;

	iqdb_rng_seed(&rng, 42);
	for (size_t i = 0; i < ROWS; i++)
	{
		for (size_t d = 0; d < DIM; d++)
			table.vectors[i][d] = (float) iqdb_rng_below(&rng, 20001) / 10000.0f - 1.0f;
		/* some rows are equal to others */
		if (i % 50 == 49)
			memcpy(table.vectors[i], table.vectors[i - 7], sizeof(table.vectors[i]));
		memset(&table.columns[i], 0, sizeof(table.columns[i]));
		table.columns[i].values[0] = (int64_t) i;
	}
}

/* The table's rows in another order than theirs, and some ids that are only known. */
static void
build(MemoryIndex *memory, const IqdbIndexOptions *options)
{
	fill_table();
	memory_index_create(memory, options, &iqdb_locks_none, NULL, MEMORY_MAX);
	for (size_t i = 0; i < ROWS; i++)
	{
		size_t   row = i * 7 % ROWS;
		IqdbRow  put = {.id = iqdb_id_u64(number_of(row)), .vector = table.vectors[row]};
		uint32_t slot;

		assert_int_equal(iqdb_index_put_row(&memory->index, &put, DIM, &table.columns[row], &slot, NULL), IQDB_OK);
		assert_int_equal(iqdb_index_link(&memory->index, slot, NULL), IQDB_OK);
	}
	assert_int_equal(iqdb_index_maintain(&memory->index, IQDB_MAINTAIN_BUILD, NULL), IQDB_OK);
	for (size_t i = 0; i < KNOWN; i++)
		assert_int_equal(iqdb_index_put_known(&memory->index, iqdb_id_u64(number_of(ROWS + i)), NULL), IQDB_OK);
}

static void
save_bare(IqdbIndex *index, MemorySnapshot *snapshot)
{
	IqdbSectionSink sink = memory_snapshot_sink(snapshot);

	memory_snapshot_init(snapshot);
	assert_int_equal(iqdb_index_save_bare(index, &sink, NULL), IQDB_OK);
}

/* Completes the known rows that the host still has: all but each lost_every'th; 0: all. */
static IqdbStatus
complete(IqdbIndex *index, size_t lost_every)
{
	IqdbStore *store = &index->store;
	uint32_t   slots = atomic_load(&store->header->slot_count);

	for (uint32_t slot = 0; slot < slots; slot++)
	{
		size_t row;

		if (iqdb_store_state(store, slot) != IQDB_ROW_KNOWN || iqdb_store_id(store, slot).kind != IQDB_ID_U64)
			continue;
		row = row_of(iqdb_store_id(store, slot).number);
		if (row < ROWS && (lost_every == 0 || row % lost_every != 0))
			IQDB_TRY(iqdb_index_load_content(index, slot, table.vectors[row], &table.columns[row], NULL));
	}
	return IQDB_OK;
}

static IqdbStatus
load(MemoryIndex *memory, const IqdbIndexOptions *options, MemorySnapshot *snapshot, size_t lost_every)
{
	IqdbSectionSource source = memory_snapshot_source(snapshot);
	bool              bare = false;

	memory_index_create(memory, options, &iqdb_locks_none, NULL, MEMORY_MAX);
	IQDB_TRY(iqdb_index_load_rows(&memory->index, &source, &bare, NULL));
	if (bare)
		IQDB_TRY(complete(&memory->index, lost_every));
	return iqdb_index_load_engine(&memory->index, &source, NULL);
}

/* ---- searches ---- */

/* A query between two rows. */
static void
make_query(size_t q, float *query_out)
{
	for (size_t d = 0; d < DIM; d++)
		query_out[d] = (table.vectors[q][d] + table.vectors[(q + 1) % ROWS][d]) / 2;
}

static size_t
search(IqdbIndex *index, size_t q, IqdbHit *hits)
{
	IqdbSearchParams params = {.expected = 10, .ef = 80, .probes = 20};
	float            query[DIM];
	IqdbCursor      *cursor;
	size_t           count;

	make_query(q, query);
	assert_int_equal(iqdb_cursor_open(index, query, DIM, &params, &cursor, NULL), IQDB_OK);
	assert_int_equal(iqdb_cursor_next(cursor, hits, 10, &count, NULL), IQDB_OK);
	iqdb_cursor_close(cursor);
	return count;
}

static float
distance2(const float *a, const float *b)
{
	float sum = 0.0f;

	for (size_t d = 0; d < DIM; d++)
		sum += (a[d] - b[d]) * (a[d] - b[d]);
	return sum;
}

static int
ascending(const void *a, const void *b)
{
	float x = *(const float *) a;
	float y = *(const float *) b;

	return (x > y) - (x < y);
}

/* The share of the ten nearest that searches find, of the rows that are there. */
static double
recall(IqdbIndex *index)
{
	static float all[ROWS];
	size_t       found = 0;
	size_t       wanted = 0;

	for (size_t q = 0; q < ROWS; q += 30)
	{
		float   query[DIM];
		IqdbHit hits[10];
		size_t  live = 0;
		size_t  count = search(index, q, hits);

		make_query(q, query);
		for (size_t row = 0; row < ROWS; row++)
		{
			bool has_vector = false;

			if (iqdb_index_contains(index, iqdb_id_u64(number_of(row)), &has_vector) && has_vector)
				all[live++] = distance2(query, table.vectors[row]);
		}
		qsort(all, live, sizeof(float), ascending);
		for (size_t i = 0; i < count; i++)
		{
			size_t row = row_of(iqdb_store_id(&index->store, hits[i].slot).number);

			found += distance2(query, table.vectors[row]) <= all[9] * 1.00001f;
		}
		wanted += 10;
	}
	return (double) found / (double) wanted;
}

/* Both answer all queries with the same rows. */
static void
assert_same_answers(IqdbIndex *a, IqdbIndex *b)
{
	for (size_t q = 0; q < ROWS; q += 60)
	{
		IqdbHit expected[10];
		IqdbHit hits[10];
		size_t  count = search(a, q, expected);

		assert_int_equal(search(b, q, hits), count);
		for (size_t i = 0; i < count; i++)
			assert_true(expected[i].slot == hits[i].slot && expected[i].key == hits[i].key);
	}
}

/* ---- tests ---- */

static const struct
{
	IqdbEngineKind   engine;
	IqdbQuantization quantization;
	size_t           bytes_max; /* of a row in the snapshot: fewer than its vector's 32 and its column's 9, but of a graph */
} kinds[] = {
	{IQDB_ENGINE_FLAT, IQDB_QUANTIZATION_NONE, 5},   {IQDB_ENGINE_FLAT, IQDB_QUANTIZATION_SQ8, 5},
	{IQDB_ENGINE_IVF, IQDB_QUANTIZATION_SQ8, 10},    {IQDB_ENGINE_HNSW, IQDB_QUANTIZATION_NONE, 160},
	{IQDB_ENGINE_HNSW, IQDB_QUANTIZATION_SQ8, 160},
};

static void
completed_rows_are_the_index_that_was_saved(void **state)
{
	(void) state;
	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
	{
		IqdbIndexOptions options = options_of(kinds[k].engine, kinds[k].quantization);
		MemoryIndex      memory;
		MemoryIndex      loaded;
		MemorySnapshot   snapshot;
		IqdbColumnValues columns;

		build(&memory, &options);
		save_bare(&memory.index, &snapshot);
		assert_true(snapshot.length[1] + snapshot.length[2] < (ROWS + KNOWN) * kinds[k].bytes_max + 4096);
		assert_int_equal(load(&loaded, &options, &snapshot, 0), IQDB_OK);
		assert_true(memory_index_sound(&loaded.index));
		assert_int_equal(iqdb_index_live_count(&loaded.index), ROWS);
		assert_true(iqdb_index_contains(&loaded.index, iqdb_id_u64(number_of(ROWS)), NULL));
		assert_true(iqdb_index_get_columns(&loaded.index, iqdb_id_u64(number_of(77)), &columns));
		assert_int_equal(columns.values[0], 77);
		assert_same_answers(&memory.index, &loaded.index);
		memory_index_destroy(&loaded);
		memory_index_destroy(&memory);
		memory_snapshot_free(&snapshot);
	}
}

/* Rows that the host has no more stay known. A graph is mended around them: a few with care, many in haste. */
static void
what_is_gone_stays_known(void **state)
{
	static const size_t lost_every[] = {100, 3};

	(void) state;
	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
	{
		for (size_t i = 0; i < 2; i++)
		{
			IqdbIndexOptions options = options_of(kinds[k].engine, kinds[k].quantization);
			MemoryIndex      memory;
			MemoryIndex      loaded;
			MemorySnapshot   snapshot;
			bool             has_vector = true;
			double           share;

			build(&memory, &options);
			save_bare(&memory.index, &snapshot);
			assert_int_equal(load(&loaded, &options, &snapshot, lost_every[i]), IQDB_OK);
			assert_true(memory_index_sound(&loaded.index));
			assert_int_equal(iqdb_index_live_count(&loaded.index), ROWS - ROWS / lost_every[i]);
			assert_true(iqdb_index_contains(&loaded.index, iqdb_id_u64(number_of(0)), &has_vector));
			assert_false(has_vector);
			share = recall(&loaded.index);
			printf("# engine %d, codes %d: recall %.4f with one of %zu rows gone\n", (int) kinds[k].engine,
				   (int) kinds[k].quantization, share, lost_every[i]);
			assert_true(share > 0.97);
			iqdb_index_remove(&loaded.index, iqdb_id_u64(number_of(0)), NULL);
			assert_int_equal(iqdb_index_maintain(&loaded.index, IQDB_MAINTAIN_VACUUM, NULL), IQDB_OK);
			assert_true(memory_index_sound(&loaded.index));
			memory_index_destroy(&loaded);
			memory_index_destroy(&memory);
			memory_snapshot_free(&snapshot);
		}
	}
}

/* A place in the table may have gone to another row meanwhile: it is loaded as that one, and removed by what is replayed. */
static void
another_row_in_its_place_does_no_harm(void **state)
{
	(void) state;
	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
	{
		IqdbIndexOptions options = options_of(kinds[k].engine, kinds[k].quantization);
		MemoryIndex      memory;
		MemoryIndex      loaded;
		MemorySnapshot   snapshot;

		build(&memory, &options);
		save_bare(&memory.index, &snapshot);
		for (size_t row = 0; row < ROWS; row += 10)
			memcpy(table.vectors[row], table.vectors[(row + 1234) % ROWS], sizeof(table.vectors[row]));
		assert_int_equal(load(&loaded, &options, &snapshot, 0), IQDB_OK);
		for (size_t row = 0; row < ROWS; row += 10)
			iqdb_index_remove(&loaded.index, iqdb_id_u64(number_of(row)), NULL);
		assert_int_equal(iqdb_index_maintain(&loaded.index, IQDB_MAINTAIN_VACUUM, NULL), IQDB_OK);
		assert_true(memory_index_sound(&loaded.index));
		assert_int_equal(iqdb_index_live_count(&loaded.index), ROWS - ROWS / 10);
		assert_true(recall(&loaded.index) > 0.97);
		memory_index_destroy(&loaded);
		memory_index_destroy(&memory);
		memory_snapshot_free(&snapshot);
	}
}

static void
hosts_without_rows_are_told(void **state)
{
	IqdbIndexOptions  options = options_of(IQDB_ENGINE_FLAT, IQDB_QUANTIZATION_NONE);
	MemoryIndex       memory;
	MemoryIndex       loaded;
	MemorySnapshot    snapshot;
	MemorySnapshot    refused;
	IqdbSectionSource source;
	IqdbSectionSink   sink;
	float             not_a_number[DIM] = {NAN};
	bool              bare = false;
	IqdbRow           named = {.id = iqdb_id_bytes((const unsigned char *) "abc", 3), .vector = table.vectors[0]};

	(void) state;
	build(&memory, &options);
	save_bare(&memory.index, &snapshot);
	source = memory_snapshot_source(&snapshot);
	memory_index_create(&loaded, &options, &iqdb_locks_none, NULL, MEMORY_MAX);
	assert_int_equal(iqdb_index_load(&loaded.index, &source, NULL), IQDB_ERR_CORRUPT);
	memory_index_destroy(&loaded);

	memory_index_create(&loaded, &options, &iqdb_locks_none, NULL, MEMORY_MAX);
	source = memory_snapshot_source(&snapshot);
	assert_int_equal(iqdb_index_load_rows(&loaded.index, &source, &bare, NULL), IQDB_OK);
	assert_true(bare);
	assert_int_equal(iqdb_index_live_count(&loaded.index), 0);
	assert_int_equal(iqdb_index_load_content(&loaded.index, 5, not_a_number, NULL, NULL), IQDB_ERR_VECTOR);
	assert_int_equal(iqdb_index_load_content(&loaded.index, 5, table.vectors[5], NULL, NULL), IQDB_OK);
	assert_int_equal(iqdb_index_load_content(&loaded.index, 5, table.vectors[5], NULL, NULL), IQDB_ERR_STATE);
	assert_int_equal(iqdb_index_load_content(&loaded.index, 99999, table.vectors[5], NULL, NULL), IQDB_ERR_STATE);
	memory_index_destroy(&loaded);

	/* an id that is no number is nothing to fetch a row by */
	assert_int_equal(iqdb_index_put_row(&memory.index, &named, DIM, NULL, NULL, NULL), IQDB_OK);
	memory_snapshot_init(&refused);
	sink = memory_snapshot_sink(&refused);
	assert_int_equal(iqdb_index_save_bare(&memory.index, &sink, NULL), IQDB_ERR_CONFIG);
	memory_snapshot_free(&refused);
	memory_snapshot_free(&snapshot);
	memory_index_destroy(&memory);
}

/* Twelve rows with numbers and sequences that jump, of which two were removed, and one that is known. */
static void
small_index(MemoryIndex *memory, const IqdbIndexOptions *options)
{
	fill_table();
	memory_index_create(memory, options, &iqdb_locks_none, NULL, MEMORY_MAX);
	for (size_t i = 0; i < 12; i++)
	{
		size_t  row = i * 501 % ROWS;
		IqdbRow put = {.id = iqdb_id_u64(number_of(row)), .vector = table.vectors[row]};

		assert_int_equal(iqdb_index_put_row(&memory->index, &put, DIM, &table.columns[row], NULL, NULL), IQDB_OK);
	}
	assert_int_equal(iqdb_index_put_known(&memory->index, iqdb_id_u64(UINT64_MAX), NULL), IQDB_OK);
	iqdb_index_remove(&memory->index, iqdb_id_u64(number_of(501)), NULL);
	iqdb_index_remove(&memory->index, iqdb_id_u64(number_of(0)), NULL);
}

static void
loading_believes_nothing(void **state)
{
	IqdbIndexOptions options = options_of(IQDB_ENGINE_FLAT, IQDB_QUANTIZATION_NONE);
	MemoryIndex      memory;
	MemorySnapshot   snapshot;

	(void) state;
	small_index(&memory, &options);
	save_bare(&memory.index, &snapshot);
	for (size_t i = 0; i < snapshot.length[1] * 256; i++)
	{
		unsigned char saved = snapshot.bytes[1][i / 256];
		MemoryIndex   loaded;
		IqdbStatus    status;

		snapshot.bytes[1][i / 256] = (unsigned char) i;
		status = load(&loaded, &options, &snapshot, 0);
		if (status == IQDB_OK)
			assert_true(memory_index_sound(&loaded.index));
		else
			assert_true(status == IQDB_ERR_CORRUPT || status == IQDB_ERR_CONFIG || status == IQDB_ERR_VERSION ||
						status == IQDB_ERR_LIMIT || status == IQDB_ERR_NOMEM);
		memory_index_destroy(&loaded);
		snapshot.bytes[1][i / 256] = saved;
	}
	for (size_t length = 0; length < snapshot.length[1]; length++)
	{
		MemorySnapshot cut = snapshot;
		MemoryIndex    loaded;

		cut.length[1] = length;
		assert_int_equal(load(&loaded, &options, &cut, 0), IQDB_ERR_CORRUPT);
		memory_index_destroy(&loaded);
	}
	memory_snapshot_free(&snapshot);
	memory_index_destroy(&memory);
}

/* The section of rows as this version has always written it. */
static void
bytes_of_version_4_are_read(void **state)
{
	IqdbIndexOptions     options = options_of(IQDB_ENGINE_FLAT, IQDB_QUANTIZATION_NONE);
	IoCrash             *fs = io_crash_create();
	MemoryIndex          memory;
	MemoryIndex          loaded;
	MemorySnapshot       snapshot;
	const unsigned char *kept;
	size_t               length;

	(void) state;
	small_index(&memory, &options);
	save_bare(&memory.index, &snapshot);
	io_crash_put(fs, "rows", snapshot.bytes[1], snapshot.length[1]);
	assert_true(fixture_is_written(fs, "rows", "rows-v4.bin"));
	kept = io_crash_content(fs, "rows", &length);
	memcpy(snapshot.bytes[1], kept, length);
	assert_int_equal(load(&loaded, &options, &snapshot, 0), IQDB_OK);
	assert_int_equal(iqdb_index_live_count(&loaded.index), 10);
	assert_true(iqdb_index_contains(&loaded.index, iqdb_id_u64(UINT64_MAX), NULL));
	assert_true(memory_index_sound(&loaded.index));
	memory_index_destroy(&loaded);
	memory_index_destroy(&memory);
	memory_snapshot_free(&snapshot);
	io_crash_destroy(fs);
}

static void
varints_come_back(void **state)
{
	unsigned char bytes[IQDB_VARINT_MAX];

	(void) state;
	for (int bit = 0; bit < 64; bit++)
	{
		for (int near = -1; near <= 1; near++)
		{
			uint64_t value = (UINT64_C(1) << bit) + (uint64_t) near;
			uint64_t again = 0;
			size_t   length = (size_t) (iqdb_store_varint(bytes, value) - bytes);

			assert_int_equal(iqdb_load_varint(bytes, sizeof(bytes), &again), length);
			assert_true(again == value);
			assert_int_equal(iqdb_load_varint(bytes, length - 1, &again), 0);
			assert_true(iqdb_unzigzag(iqdb_zigzag(value)) == value);
		}
	}
	assert_int_equal(iqdb_zigzag(0 - UINT64_C(1)), 1);
	assert_int_equal(iqdb_zigzag(1), 2);
	/* more than 64 bits, and a number without an end */
	memset(bytes, 0xff, sizeof(bytes));
	assert_int_equal(iqdb_load_varint(bytes, sizeof(bytes), &(uint64_t){0}), 0);
	bytes[9] = 2;
	assert_int_equal(iqdb_load_varint(bytes, sizeof(bytes), &(uint64_t){0}), 0);
	bytes[9] = 1;
	assert_int_equal(iqdb_load_varint(bytes, sizeof(bytes), &(uint64_t){0}), 10);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(varints_come_back),
		cmocka_unit_test(completed_rows_are_the_index_that_was_saved),
		cmocka_unit_test(what_is_gone_stays_known),
		cmocka_unit_test(another_row_in_its_place_does_no_harm),
		cmocka_unit_test(hosts_without_rows_are_told),
		cmocka_unit_test(loading_believes_nothing),
		cmocka_unit_test(bytes_of_version_4_are_read),
	};

	return cmocka_run_group_tests_name("bare", tests, NULL, NULL);
}
