/*
 * test_elements.c - vectors of halves and of bits: through every engine, the embedded database and its files.
 *
 * What is special to floats has tests of its own. Here each element goes the whole way: put, searched to the end, read back,
 * saved, loaded, replayed from a log. The oracle is the distance of one pair in double.
 */
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
#include "core/db/iqdb.h"
#include "core/vec/half.h"
#include "harness/fixture.h"
#include "harness/io_crash.h"
#include "harness/memory_index.h"

#define DIM 36
#define ROWS 700
#define SEED UINT64_C(20260331)
#define MEMORY ((uint64_t) 64 * 1024 * 1024)

/* Room for a vector of any element. */
typedef struct Vector
{
	_Alignas(8) unsigned char bytes[DIM * sizeof(float)];
} Vector;

static const IqdbElementKind elements[] = {IQDB_ELEMENT_F32, IQDB_ELEMENT_F16, IQDB_ELEMENT_BIT};

/* Small whole numbers and halves of them, so that no two elements round differently; none is zero. */
static void
random_vector(IqdbRng *rng, IqdbElementKind element, Vector *vector_out)
{
	memset(vector_out, 0, sizeof(*vector_out));
	for (size_t i = 0; i < DIM; i++)
	{
		float    value = 0.5f * (float) (1 + iqdb_rng_below(rng, 40)) - 10.25f;
		IqdbHalf half = iqdb_half_narrow(value);

		if (element == IQDB_ELEMENT_F32)
			memcpy(vector_out->bytes + i * sizeof(value), &value, sizeof(value));
		else if (element == IQDB_ELEMENT_F16)
			memcpy(vector_out->bytes + i * sizeof(half), &half, sizeof(half));
		else if (value > 0)
			vector_out->bytes[i / 8] |= (unsigned char) (0x80 >> i % 8);
	}
}

static IqdbIndexOptions
options_of(IqdbEngineKind engine, IqdbElementKind element, IqdbMetric metric)
{
	IqdbIndexOptions options = iqdb_index_options_default(engine, DIM, metric);

	iqdb_index_options_of_element(&options, element);
	return options;
}

static void
fill(IqdbIndex *index, IqdbElementKind element, Vector *rows)
{
	IqdbRng rng;

	iqdb_rng_seed(&rng, SEED);
	for (uint64_t i = 0; i < ROWS; i++)
	{
		uint32_t slot;

		random_vector(&rng, element, &rows[i]);
		assert_int_equal(iqdb_index_put(index, iqdb_id_u64(i), &rows[i], DIM, NULL, 0, &slot, NULL), IQDB_OK);
		if (!index->engine->links_at_end)
			assert_int_equal(iqdb_index_link(index, slot, NULL), IQDB_OK);
	}
	assert_int_equal(iqdb_index_maintain(index, IQDB_MAINTAIN_BUILD, NULL), IQDB_OK);
}

static int
by_value(const void *a, const void *b)
{
	double x = *(const double *) a;
	double y = *(const double *) b;

	return (x > y) - (x < y);
}

/* The stream to its end: each row once, in the order of keys; returns how many of the ten nearest came first. */
static size_t
search_to_the_end(IqdbIndex *index, const Vector *rows, const Vector *query)
{
	const IqdbStore *store = &index->store;
	IqdbMetric       metric = (IqdbMetric) store->header->options.metric;
	IqdbCursor      *cursor;
	IqdbHit          hits[50];
	double           truth[ROWS];
	bool             seen[ROWS] = {false};
	size_t           total = 0;
	size_t           found = 0;
	size_t           count;

	for (size_t i = 0; i < ROWS; i++)
		truth[i] = iqdb_element_distance(store->kernels, store->element, metric, query, &rows[i], DIM);
	assert_int_equal(iqdb_cursor_open(index, query, DIM, &(IqdbSearchParams){.expected = 10}, &cursor, NULL), IQDB_OK);
	for (;;)
	{
		assert_int_equal(iqdb_cursor_next(cursor, hits, 50, &count, NULL), IQDB_OK);
		if (count == 0)
			break;
		for (size_t i = 0; i < count; i++, total++)
		{
			double distance = truth[hits[i].id];

			assert_false(seen[hits[i].id]);
			seen[hits[i].id] = true;
			assert_true(fabs(iqdb_metric_distance(metric, hits[i].key) - distance) <= 1e-4 * (1 + fabs(distance)));
			if (total < 10)
			{
				double sorted[ROWS];

				memcpy(sorted, truth, sizeof(sorted));
				qsort(sorted, ROWS, sizeof(double), by_value);
				found += distance <= sorted[9];
			}
		}
	}
	assert_int_equal(total, ROWS);
	iqdb_cursor_close(cursor);
	return found;
}

static void
save_and_load(MemoryIndex *memory, MemoryIndex *other, const IqdbIndexOptions *options)
{
	MemorySnapshot    snapshot;
	IqdbSectionSink   sink;
	IqdbSectionSource source;
	IqdbIndexOptions  read;

	memory_snapshot_init(&snapshot);
	sink = memory_snapshot_sink(&snapshot);
	assert_int_equal(iqdb_index_save(&memory->index, &sink, NULL), IQDB_OK);
	source = memory_snapshot_source(&snapshot);
	assert_int_equal(iqdb_index_load_options(&source, &read, NULL), IQDB_OK);
	assert_int_equal(read.element, options->element);
	memory_index_create(other, options, &iqdb_locks_pthread, NULL, MEMORY);
	source = memory_snapshot_source(&snapshot);
	assert_int_equal(iqdb_index_load(&other->index, &source, NULL), IQDB_OK);
	memory_snapshot_free(&snapshot);
}

static void
check_index(const IqdbIndexOptions *options)
{
	IqdbElementKind element = (IqdbElementKind) options->element;
	Vector         *rows = calloc(ROWS, sizeof(Vector));
	MemoryIndex     memory;
	MemoryIndex     other;
	IqdbRng         rng;
	size_t          found = 0;

	memory_index_create(&memory, options, &iqdb_locks_pthread, NULL, MEMORY);
	fill(&memory.index, element, rows);
	assert_true(memory_index_sound(&memory.index));
	save_and_load(&memory, &other, options);
	assert_true(memory_index_sound(&other.index));
	iqdb_rng_seed(&rng, SEED + 1);
	for (int q = 0; q < 10; q++)
	{
		Vector query;

		random_vector(&rng, element, &query);
		found += search_to_the_end(&memory.index, rows, &query);
		found += search_to_the_end(&other.index, rows, &query);
	}
	if (options->engine == IQDB_ENGINE_FLAT)
		assert_int_equal(found, 200);
	else if (found < 150)
		fail_msg("%s %s %s, quantization %u: %zu of 200 found", iqdb_engine_get(options->engine)->name,
				 iqdb_element(options->element)->name, iqdb_metric_name((IqdbMetric) options->metric),
				 options->quantization, found);
	for (uint64_t i = 0; i < ROWS; i++)
	{
		Vector back = {{0}};
		size_t length;

		assert_true(iqdb_index_get(&other.index, iqdb_id_u64(i), &back, NULL, 0, &length));
		assert_memory_equal(&back, &rows[i], sizeof(back));
	}
	memory_index_destroy(&memory);
	memory_index_destroy(&other);
	free(rows);
}

/* An engine, and how many of the elements it takes. */
typedef struct Taken
{
	IqdbEngineKind engine;
	size_t         elements;
} Taken;

static void
engines_take_every_element(void **state)
{
	const Taken *taken = *state;
	size_t       checked = 0;

	for (size_t e = 0; e < taken->elements; e++)
	{
		for (uint32_t metric = 0; metric < IQDB_METRIC_COUNT; metric++)
		{
			IqdbIndexOptions options = options_of(taken->engine, elements[e], (IqdbMetric) metric);

			for (options.quantization = 0; options.quantization <= IQDB_QUANTIZATION_BQ; options.quantization++)
			{
				if (iqdb_index_options_check(&options, NULL) != IQDB_OK)
					continue;
				check_index(&options);
				checked++;
			}
		}
	}
	assert_true(checked >= 5 * taken->elements);
}

static void
elements_have_their_metrics_and_codes(void **state)
{
	IqdbIndexOptions options = options_of(IQDB_ENGINE_HNSW, IQDB_ELEMENT_BIT, IQDB_METRIC_JACCARD);
	IqdbError        err;

	(void) state;
	assert_int_equal(options.quantization, IQDB_QUANTIZATION_NONE);
	assert_int_equal(iqdb_index_options_check(&options, NULL), IQDB_OK);
	options.dimension = IQDB_DIMENSION_BITS_MAX;
	assert_int_equal(iqdb_index_options_check(&options, NULL), IQDB_OK);
	options.dimension++;
	assert_int_equal(iqdb_index_options_check(&options, NULL), IQDB_ERR_CONFIG);
	options.dimension = DIM;
	options.quantization = IQDB_QUANTIZATION_SQ8;
	assert_int_equal(iqdb_index_options_check(&options, &err), IQDB_ERR_UNSUPPORTED);
	assert_non_null(strstr(err.message, "sq8 is not possible with vectors of bit"));
	options.quantization = IQDB_QUANTIZATION_NONE;
	options.metric = IQDB_METRIC_L2;
	assert_int_equal(iqdb_index_options_check(&options, &err), IQDB_ERR_METRIC);
	assert_non_null(strstr(err.message, "metric l2 is not possible with vectors of bit"));
	options.metric = IQDB_METRIC_JACCARD;
	options.element = IQDB_ELEMENT_F16;
	assert_int_equal(iqdb_index_options_check(&options, NULL), IQDB_ERR_METRIC);
	options.element = IQDB_ELEMENT_COUNT;
	assert_int_equal(iqdb_index_options_check(&options, NULL), IQDB_ERR_CONFIG);
}

static void
what_no_vector_may_be_is_refused(void **state)
{
	IqdbIndexOptions halves = options_of(IQDB_ENGINE_FLAT, IQDB_ELEMENT_F16, IQDB_METRIC_L2);
	IqdbIndexOptions bits = options_of(IQDB_ENGINE_FLAT, IQDB_ELEMENT_BIT, IQDB_METRIC_HAMMING);
	MemoryIndex      memory;
	IqdbCursor      *cursor;
	Vector           vector = {{0}};

	(void) state;
	memory_index_create(&memory, &halves, &iqdb_locks_pthread, NULL, MEMORY);
	iqdb_store_u16(vector.bytes + 2 * (DIM - 1), IQDB_HALF_INFINITY);
	assert_int_equal(iqdb_index_put(&memory.index, iqdb_id_u64(1), &vector, DIM, NULL, 0, NULL, NULL), IQDB_ERR_VECTOR);
	assert_int_equal(iqdb_cursor_open(&memory.index, &vector, DIM, NULL, &cursor, NULL), IQDB_ERR_VECTOR);
	assert_int_equal(iqdb_index_put(&memory.index, iqdb_id_u64(1), &vector, DIM - 1, NULL, 0, NULL, NULL),
					 IQDB_ERR_DIMENSION);
	memory_index_destroy(&memory);
	memset(&vector, 0, sizeof(vector));
	memory_index_create(&memory, &bits, &iqdb_locks_pthread, NULL, MEMORY);
	vector.bytes[DIM / 8] = 0x08; /* the first bit behind the last */
	assert_int_equal(iqdb_index_put(&memory.index, iqdb_id_u64(1), &vector, DIM, NULL, 0, NULL, NULL), IQDB_ERR_VECTOR);
	memory_index_destroy(&memory);
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

/* Loads a section ROWS whose version and element are changed. */
static IqdbStatus
load_changed(MemorySnapshot *snapshot, const IqdbIndexOptions *options, uint32_t version, uint32_t element)
{
	IqdbSectionSource source = memory_snapshot_source(snapshot);
	MemoryIndex       memory;
	IqdbIndexOptions  read;
	IqdbStatus        status;

	iqdb_store_u32(snapshot->bytes[IQDB_SECTION_ROWS] + IQDB_ROWS_AT_VERSION, version);
	iqdb_store_u32(snapshot->bytes[IQDB_SECTION_ROWS] + IQDB_ROWS_AT_OPTIONS + 60, element);
	status = iqdb_index_load_options(&source, &read, NULL);
	if (status != IQDB_OK)
		return status;
	source = memory_snapshot_source(snapshot);
	memory_index_create(&memory, options, &iqdb_locks_pthread, NULL, MEMORY);
	status = iqdb_index_load(&memory.index, &source, NULL);
	memory_index_destroy(&memory);
	return status;
}

static void
the_first_version_knew_floats_only(void **state)
{
	IqdbIndexOptions options = options_of(IQDB_ENGINE_FLAT, IQDB_ELEMENT_F32, IQDB_METRIC_L2);
	MemoryIndex      memory;
	MemorySnapshot   snapshot;
	IqdbSectionSink  sink;
	Vector          *rows = calloc(ROWS, sizeof(Vector));

	(void) state;
	memory_index_create(&memory, &options, &iqdb_locks_pthread, NULL, MEMORY);
	fill(&memory.index, IQDB_ELEMENT_F32, rows);
	memory_snapshot_init(&snapshot);
	sink = memory_snapshot_sink(&snapshot);
	assert_int_equal(iqdb_index_save(&memory.index, &sink, NULL), IQDB_OK);
	assert_int_equal(load_changed(&snapshot, &options, 2, IQDB_ELEMENT_F32), IQDB_OK);
	assert_int_equal(load_changed(&snapshot, &options, 1, IQDB_ELEMENT_F32), IQDB_OK);
	assert_int_equal(load_changed(&snapshot, &options, 1, IQDB_ELEMENT_F16), IQDB_ERR_CORRUPT);
	assert_int_equal(load_changed(&snapshot, &options, 2, IQDB_ELEMENT_COUNT), IQDB_ERR_CORRUPT);
	/* halves would be another shape */
	assert_int_equal(load_changed(&snapshot, &options, 2, IQDB_ELEMENT_F16), IQDB_ERR_CONFIG);
	assert_int_equal(load_changed(&snapshot, &options, 0, IQDB_ELEMENT_F32), IQDB_ERR_VERSION);
	assert_int_equal(load_changed(&snapshot, &options, IQDB_ROWS_VERSION + 1, IQDB_ELEMENT_F32), IQDB_ERR_VERSION);
	memory_snapshot_free(&snapshot);
	memory_index_destroy(&memory);
	free(rows);
}

static IqdbConfig
config_of(IqdbElementKind element, IoCrash *fs)
{
	IqdbConfig config = iqdb_config_default(IQDB_ENGINE_FLAT, DIM, IQDB_METRIC_HAMMING);

	iqdb_index_options_of_element(&config.options, element);
	config.memory_max = MEMORY;
	config.io = io_crash_io(fs);
	return config;
}

static Iqdb *
open_database(const IqdbConfig *config)
{
	Iqdb     *db;
	IqdbError err;

	if (iqdb_open("db", config, &db, &err) != IQDB_OK)
		fail_msg("%s: %s", err.file, err.message);
	return db;
}

/* Rows first to end - 1 are those of the seed; row 3 was deleted. */
static void
assert_rows(Iqdb *db, IqdbElementKind element, uint64_t end)
{
	IqdbRng rng;

	iqdb_rng_seed(&rng, SEED);
	for (uint64_t i = 0; i < end; i++)
	{
		Vector       expected;
		IqdbRecord  *record;
		IqdbResult  *result;

		random_vector(&rng, element, &expected);
		assert_int_equal(iqdb_get(db, iqdb_id_u64(i), &record, NULL), IQDB_OK);
		assert_true((record == NULL) == (i == 3));
		if (record == NULL)
			continue;
		assert_memory_equal(record->vector, &expected, iqdb_element_bytes(iqdb_element(element), DIM));
		iqdb_record_free(record);
		assert_int_equal(iqdb_search(db, &expected, DIM, 1, &result, NULL), IQDB_OK);
		assert_true(result->found[0].distance == 0);
		iqdb_result_free(result);
	}
	assert_int_equal(iqdb_len(db), end - 1);
}

static void
upsert_rows(Iqdb *db, IqdbElementKind element, IqdbRng *rng, uint64_t from, uint64_t end)
{
	for (uint64_t i = from; i < end; i++)
	{
		Vector vector;

		random_vector(rng, element, &vector);
		assert_int_equal(iqdb_upsert(db, iqdb_id_u64(i), &vector, DIM, NULL, 0, NULL), IQDB_OK);
	}
}

/* Thirty rows in the snapshot, ten and a deletion in the log. */
static void
make_database(IoCrash *fs, IqdbElementKind element)
{
	IqdbConfig config = config_of(element, fs);
	Iqdb      *db = open_database(&config);
	IqdbRng    rng;
	bool       deleted;

	iqdb_rng_seed(&rng, SEED);
	upsert_rows(db, element, &rng, 0, 30);
	assert_int_equal(iqdb_close(db, NULL), IQDB_OK);
	db = open_database(&config);
	upsert_rows(db, element, &rng, 30, 40);
	assert_int_equal(iqdb_delete(db, iqdb_id_u64(3), &deleted, NULL), IQDB_OK);
	iqdb_abandon(db);
}

static void
databases_keep_every_element(void **state)
{
	(void) state;
	for (size_t e = 0; e < sizeof(elements) / sizeof(elements[0]); e++)
	{
		IoCrash   *fs = io_crash_create();
		IqdbConfig config = config_of(elements[e], fs);
		IqdbConfig other = config_of(elements[(e + 1) % 3], fs);
		Iqdb      *db;
		IqdbError  err;

		make_database(fs, elements[e]);
		assert_int_equal(iqdb_open("db", &other, &db, &err), IQDB_ERR_CONFIG);
		assert_non_null(strstr(err.message, "vectors of"));
		db = open_database(&config);
		assert_rows(db, elements[e], 40);
		assert_int_equal(iqdb_close(db, NULL), IQDB_OK);
		db = open_database(&config);
		assert_rows(db, elements[e], 40);
		iqdb_abandon(db);
		assert_int_equal(io_crash_open_handles(fs), 0);
		io_crash_destroy(fs);
	}
}

/* Files of format version 2, made by make_database(). */
static void
assert_fixture(IoCrash *fs, IqdbElementKind element, const char *suffix)
{
	char name[20];
	char fixture[60];

	snprintf(name, sizeof(name), "db%s", suffix);
	snprintf(fixture, sizeof(fixture), "embedded-v2-%s.iqdb%s", iqdb_element(element)->name, suffix);
	assert_true(fixture_is_written(fs, name, fixture));
}

static void
files_of_version_2_are_read_and_written(void **state)
{
	(void) state;
	for (size_t e = 0; e < sizeof(elements) / sizeof(elements[0]); e++)
	{
		IoCrash   *fs = io_crash_create();
		IqdbConfig config = config_of(elements[e], fs);
		Iqdb      *db;

		make_database(fs, elements[e]);
		assert_fixture(fs, elements[e], "");
		assert_fixture(fs, elements[e], ".wal");
		db = open_database(&config);
		assert_rows(db, elements[e], 40);
		iqdb_abandon(db);
		io_crash_destroy(fs);
	}
}

int
main(void)
{
	static Taken            flat = {IQDB_ENGINE_FLAT, 3};
	static Taken            hnsw = {IQDB_ENGINE_HNSW, 3};
	static Taken            ivf = {IQDB_ENGINE_IVF, 3};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(elements_have_their_metrics_and_codes),
		cmocka_unit_test(what_no_vector_may_be_is_refused),
		cmocka_unit_test_prestate(engines_take_every_element, &flat),
		cmocka_unit_test_prestate(engines_take_every_element, &hnsw),
		cmocka_unit_test_prestate(engines_take_every_element, &ivf),
		cmocka_unit_test(the_first_version_knew_floats_only),
		cmocka_unit_test(databases_keep_every_element),
		cmocka_unit_test(files_of_version_2_are_read_and_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
