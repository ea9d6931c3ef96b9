/*
 * test_handle_modes.c - what a database may be asked to do beside its usual work: snapshots without a log, traces, sizes of
 * lists, and candidates of one search.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "core/db/iqdb.h"
#include "harness/io_crash.h"

#define DIM 8
#define ROWS 12000

static IqdbConfig
flat_config(IoCrash *fs)
{
	IqdbConfig config = iqdb_config_default(IQDB_ENGINE_FLAT, DIM, IQDB_METRIC_L2);

	config.io = io_crash_io(fs);
	config.memory_max = UINT64_C(64) * 1024 * 1024;
	return config;
}

static void
put(Iqdb *db, uint64_t id)
{
	const float vector[DIM] = {(float) id};

	assert_int_equal(iqdb_upsert(db, iqdb_id_u64(id), vector, DIM, NULL, 0, NULL), IQDB_OK);
}

static bool
is_there(Iqdb *db, uint64_t id)
{
	IqdbRecord *record;
	bool        there;

	assert_int_equal(iqdb_get(db, iqdb_id_u64(id), &record, NULL), IQDB_OK);
	there = record != NULL;
	iqdb_record_free(record);
	return there;
}

static bool
has_file(IoCrash *fs, const char *name)
{
	const IqdbIo *io = io_crash_io(fs);
	intptr_t      handle;

	if (io->open(io->arg, name, 0, &handle) != 0)
		return false;
	assert_int_equal(io->close(io->arg, handle), 0);
	return true;
}

/* ---- snapshots only ---- */

static void
snapshots_alone_keep_what_was_flushed_or_closed(void **state)
{
	IoCrash   *fs = io_crash_create();
	IqdbConfig config = flat_config(fs);
	IqdbStats  stats;
	Iqdb      *db;

	config.snapshot_only = true;
	assert_int_equal(iqdb_open("db", &config, &db, NULL), IQDB_OK);
	put(db, 1);
	assert_int_equal(iqdb_flush(db, NULL), IQDB_OK);
	put(db, 2);
	iqdb_stats(db, &stats);
	assert_int_equal(stats.log_bytes, 0);
	assert_int_equal(stats.position, 2);
	assert_int_equal(stats.snapshot_position, 1);
	iqdb_abandon(db);
	assert_false(has_file(fs, "db.wal"));

	assert_int_equal(iqdb_open("db", &config, &db, NULL), IQDB_OK);
	assert_true(is_there(db, 1));
	assert_false(is_there(db, 2));
	put(db, 3);
	assert_int_equal(iqdb_delete(db, iqdb_id_u64(1), NULL, NULL), IQDB_OK);
	assert_int_equal(iqdb_close(db, NULL), IQDB_OK);

	io_crash_crash_dropping_all(fs);
	assert_int_equal(iqdb_open("db", &config, &db, NULL), IQDB_OK);
	assert_false(is_there(db, 1));
	assert_true(is_there(db, 3));
	assert_int_equal(iqdb_close(db, NULL), IQDB_OK);
	io_crash_destroy(fs);
}

/* A log of before is read, kept until a snapshot holds what it told, and begun again by a handle that wants one. */
static void
handles_with_and_without_log_follow_each_other(void **state)
{
	IoCrash   *fs = io_crash_create();
	IqdbConfig with = flat_config(fs);
	IqdbConfig without = flat_config(fs);
	float      vectors[2][DIM] = {{20}, {21}};
	IqdbRow    rows[2] = {{.id = iqdb_id_u64(20), .vector = vectors[0]}, {.id = iqdb_id_u64(21), .vector = vectors[1]}};
	Iqdb      *db;

	without.snapshot_only = true;
	assert_int_equal(iqdb_open("db", &with, &db, NULL), IQDB_OK);
	put(db, 1);
	iqdb_abandon(db);

	assert_int_equal(iqdb_open("db", &without, &db, NULL), IQDB_OK);
	assert_true(is_there(db, 1));
	put(db, 2);
	iqdb_abandon(db);
	assert_true(has_file(fs, "db.wal"));

	assert_int_equal(iqdb_open("db", &without, &db, NULL), IQDB_OK);
	assert_true(is_there(db, 1));
	assert_false(is_there(db, 2));
	assert_int_equal(iqdb_upsert_batch(db, rows, 2, DIM, NULL), IQDB_OK);
	assert_int_equal(iqdb_close(db, NULL), IQDB_OK);
	assert_false(has_file(fs, "db.wal"));

	assert_int_equal(iqdb_open("db", &with, &db, NULL), IQDB_OK);
	assert_int_equal(iqdb_len(db), 3);
	assert_true(is_there(db, 21));
	put(db, 4);
	iqdb_abandon(db);
	assert_int_equal(iqdb_open("db", &with, &db, NULL), IQDB_OK);
	assert_true(is_there(db, 4));
	assert_int_equal(iqdb_close(db, NULL), IQDB_OK);
	io_crash_destroy(fs);
}

/* The power goes at each change of files while a snapshot replaces a log: the rows are those before or after it. */
static void
a_crash_while_the_log_goes_loses_nothing_flushed(void **state)
{
	bool done = false;

	for (uint64_t n = 0; !done; n++)
	{
		IoCrash   *fs = io_crash_create();
		IqdbConfig config = flat_config(fs);
		Iqdb      *db;

		assert_int_equal(iqdb_open("db", &config, &db, NULL), IQDB_OK);
		put(db, 1);
		iqdb_abandon(db);
		config.snapshot_only = true;
		assert_int_equal(iqdb_open("db", &config, &db, NULL), IQDB_OK);
		put(db, 2);
		io_crash_power_cut_after(fs, n);
		done = iqdb_flush(db, NULL) == IQDB_OK && !io_crash_is_down(fs);
		iqdb_abandon(db);
		io_crash_crash(fs, n);
		config.snapshot_only = n % 2 == 0;
		assert_int_equal(iqdb_open("db", &config, &db, NULL), IQDB_OK);
		assert_true(is_there(db, 1));
		assert_true(!done || is_there(db, 2));
		assert_int_equal(iqdb_close(db, NULL), IQDB_OK);
		io_crash_destroy(fs);
		assert_true(n < 100);
	}
}

/* ---- traces ---- */

#define KINDS (IQDB_TRACE_CHECKPOINT + 1)

typedef struct Trace
{
	int            times[KINDS];
	IqdbTraceEvent last[KINDS];
	uint64_t       scored;
} Trace;

static void
note_event(void *arg, const IqdbTraceEvent *event)
{
	Trace *trace = arg;

	trace->times[event->kind]++;
	trace->last[event->kind] = *event;
	if (event->search != NULL)
		trace->scored += event->search->scored;
}

static void
each_call_is_told_of(void **state)
{
	IoCrash    *fs = io_crash_create();
	IqdbConfig  config = flat_config(fs);
	Trace       trace;
	const float vectors[2][DIM] = {{7}, {8}};
	IqdbRow     rows[2] = {{.id = iqdb_id_u64(7), .vector = vectors[0]}, {.id = iqdb_id_u64(8), .vector = vectors[1]}};
	IqdbResult *results[2];
	Iqdb       *db;

	memset(&trace, 0, sizeof(trace));
	config.trace = note_event;
	config.trace_arg = &trace;
	assert_int_equal(iqdb_open("db", &config, &db, NULL), IQDB_OK);
	put(db, 1);
	assert_int_equal(iqdb_upsert_batch(db, rows, 2, DIM, NULL), IQDB_OK);
	assert_int_equal(iqdb_load(db, rows, 2, DIM, NULL, NULL, NULL), IQDB_OK);
	assert_true(is_there(db, 7));
	assert_false(is_there(db, 9));
	assert_int_equal(iqdb_search(db, vectors[0], DIM, 2, &results[0], NULL), IQDB_OK);
	assert_int_equal(trace.last[IQDB_TRACE_SEARCH].rows, 2);
	assert_int_equal(trace.scored, 3);
	iqdb_result_free(results[0]);
	assert_int_equal(iqdb_search(db, vectors[0], DIM - 1, 2, &results[0], NULL), IQDB_ERR_DIMENSION);
	assert_int_equal(trace.last[IQDB_TRACE_SEARCH].status, IQDB_ERR_DIMENSION);
	assert_null(trace.last[IQDB_TRACE_SEARCH].search);
	assert_int_equal(iqdb_search_batch(db, vectors, 2, DIM, 1, results, NULL), IQDB_OK);
	iqdb_result_free(results[0]);
	iqdb_result_free(results[1]);
	assert_int_equal(iqdb_delete(db, iqdb_id_u64(1), NULL, NULL), IQDB_OK);
	assert_int_equal(trace.last[IQDB_TRACE_DELETE].rows, 1);
	assert_int_equal(iqdb_delete(db, iqdb_id_u64(1), NULL, NULL), IQDB_OK);
	assert_int_equal(trace.last[IQDB_TRACE_DELETE].rows, 0);
	assert_int_equal(iqdb_optimize(db, NULL), IQDB_OK);
	assert_int_equal(iqdb_flush(db, NULL), IQDB_OK);
	assert_int_equal(iqdb_close(db, NULL), IQDB_OK);

	/* the database's own files were made by a checkpoint */
	assert_int_equal(trace.times[IQDB_TRACE_CHECKPOINT], 2);
	assert_int_equal(trace.last[IQDB_TRACE_CHECKPOINT].rows, 2);
	assert_int_equal(trace.times[IQDB_TRACE_OPEN], 1);
	assert_int_equal(trace.times[IQDB_TRACE_UPSERT], 1);
	assert_int_equal(trace.times[IQDB_TRACE_BATCH], 1);
	assert_int_equal(trace.last[IQDB_TRACE_BATCH].rows, 2);
	assert_int_equal(trace.times[IQDB_TRACE_LOAD], 1);
	assert_int_equal(trace.times[IQDB_TRACE_GET], 2);
	assert_int_equal(trace.times[IQDB_TRACE_SEARCH], 2);
	assert_int_equal(trace.times[IQDB_TRACE_SEARCH_BATCH], 1);
	assert_int_equal(trace.times[IQDB_TRACE_OPTIMIZE], 1);
	io_crash_destroy(fs);
}

/* ---- lists ---- */

static Iqdb *
make_lists(IqdbQuantization quantization, bool cache, float *vectors)
{
	IqdbConfig config = iqdb_config_default(IQDB_ENGINE_IVF, DIM, IQDB_METRIC_L2);
	IqdbRow   *rows = calloc(ROWS, sizeof(*rows));
	Iqdb      *db;
	IqdbRng    rng;

	assert_non_null(rows);
	iqdb_rng_seed(&rng, 5);
	for (size_t i = 0; i < ROWS * DIM; i++)
		vectors[i] = (float) iqdb_rng_unit(&rng);
	for (size_t i = 0; i < ROWS; i++)
		rows[i] = (IqdbRow){.id = iqdb_id_u64(i), .vector = vectors + i * DIM};
	config.options.quantization = quantization;
	config.options.lists = 16;
	config.options.probes = 4;
	config.use_cache = cache;
	assert_int_equal(iqdb_open_in_memory(&config, &db, NULL), IQDB_OK);
	assert_int_equal(iqdb_load(db, rows, ROWS, DIM, NULL, NULL, NULL), IQDB_OK);
	free(rows);
	return db;
}

static void
sizes_of_lists_are_those_of_the_statistics(void **state)
{
	static float vectors[ROWS * DIM];
	Iqdb        *db = make_lists(IQDB_QUANTIZATION_NONE, false, vectors);
	uint64_t     sizes[32];
	uint64_t     sum = 0;
	uint64_t     most = 0;
	uint32_t     lists;
	IqdbStats    stats;
	IqdbConfig   flat = iqdb_config_default(IQDB_ENGINE_FLAT, DIM, IQDB_METRIC_L2);

	memset(sizes, 0xff, sizeof(sizes));
	assert_int_equal(iqdb_list_sizes(db, sizes, 3, &lists, NULL), IQDB_OK);
	assert_int_equal(lists, 16);
	assert_true(sizes[2] <= ROWS);
	assert_true(sizes[3] == UINT64_MAX);
	assert_int_equal(iqdb_list_sizes(db, sizes, 32, &lists, NULL), IQDB_OK);
	iqdb_stats(db, &stats);
	for (uint32_t i = 0; i < lists; i++)
	{
		sum += sizes[i];
		most = sizes[i] > most ? sizes[i] : most;
	}
	assert_int_equal(sum, ROWS);
	assert_int_equal(most, stats.index.engine.list_max);
	assert_int_equal(iqdb_close(db, NULL), IQDB_OK);
	assert_int_equal(iqdb_open_in_memory(&flat, &db, NULL), IQDB_OK);
	assert_int_equal(iqdb_list_sizes(db, sizes, 32, &lists, NULL), IQDB_ERR_CONFIG);
	assert_int_equal(lists, 0);
	assert_int_equal(iqdb_close(db, NULL), IQDB_OK);
}

/* More candidates are ranked exactly; and an answer of other candidates is another question to the cache. */
static void
refine_of_one_search(void **state)
{
	static const IqdbQuantization codes[] = {IQDB_QUANTIZATION_PQ, IQDB_QUANTIZATION_BQ};
	static float                  vectors[ROWS * DIM];

	for (int i = 0; i < 2; i++)
	{
		Iqdb       *db = make_lists(codes[i], true, vectors);
		IqdbQuery   query = {.k = 10};
		IqdbResult *usual;
		IqdbResult *few;
		IqdbResult *many;

		assert_int_equal(iqdb_search_query(db, vectors, DIM, &query, &usual, NULL), IQDB_OK);
		query.refine = 1;
		assert_int_equal(iqdb_search_query(db, vectors, DIM, &query, &few, NULL), IQDB_OK);
		query.refine = 100;
		assert_int_equal(iqdb_search_query(db, vectors, DIM, &query, &many, NULL), IQDB_OK);
		assert_true(few->stats.reranked < many->stats.reranked);
		assert_true(few->stats.reranked <= usual->stats.reranked && usual->stats.reranked < many->stats.reranked);
		assert_int_equal(many->count, 10);
		iqdb_result_free(usual);
		iqdb_result_free(few);
		iqdb_result_free(many);
		query.refine = 10001;
		assert_int_equal(iqdb_search_query(db, vectors, DIM, &query, &many, NULL), IQDB_ERR_CONFIG);
		assert_null(many);
		assert_int_equal(iqdb_close(db, NULL), IQDB_OK);
	}
}

/* ---- small graphs ---- */

static void
must_search_by(Iqdb *db, IqdbQuery query, IqdbSearchWay way, uint64_t rows)
{
	const float vector[DIM] = {0.5f};
	IqdbResult *result;

	assert_int_equal(iqdb_search_query(db, vector, DIM, &query, &result, NULL), IQDB_OK);
	assert_int_equal(result->count, query.k);
	assert_int_equal(result->stats.way, way);
	if (way == IQDB_SEARCH_EXACT)
		assert_int_equal(result->stats.scored, rows);
	iqdb_result_free(result);
}

/* Few rows are all looked at, unless the program says how wide the graph is to be searched; and so by batches. */
static void
a_small_graph_is_searched_exactly(void **state)
{
	static float vectors[4000 * DIM];
	IqdbConfig   config = iqdb_config_default(IQDB_ENGINE_HNSW, DIM, IQDB_METRIC_L2);
	IqdbResult  *results[2];
	IqdbRow     *rows = calloc(4000, sizeof(*rows));
	Iqdb        *db;
	IqdbRng      rng;

	assert_non_null(rows);
	iqdb_rng_seed(&rng, 6);
	for (size_t i = 0; i < 4000 * DIM; i++)
		vectors[i] = (float) iqdb_rng_unit(&rng);
	for (size_t i = 0; i < 4000; i++)
		rows[i] = (IqdbRow){.id = iqdb_id_u64(i), .vector = vectors + i * DIM};
	assert_int_equal(iqdb_open_in_memory(&config, &db, NULL), IQDB_OK);
	assert_int_equal(iqdb_load(db, rows, 1000, DIM, NULL, NULL, NULL), IQDB_OK);
	must_search_by(db, (IqdbQuery){.k = 10}, IQDB_SEARCH_EXACT, 1000);
	must_search_by(db, (IqdbQuery){.k = 10, .ef = 64}, IQDB_SEARCH_OWN, 0);
	assert_int_equal(iqdb_search_batch(db, vectors, 2, DIM, 5, results, NULL), IQDB_OK);
	for (int i = 0; i < 2; i++)
	{
		assert_int_equal(results[i]->stats.way, IQDB_SEARCH_EXACT);
		assert_int_equal(results[i]->found[0].id.number, i);
		assert_int_equal(results[i]->count, 5);
		iqdb_result_free(results[i]);
	}
	assert_int_equal(iqdb_load(db, rows + 1000, 3000, DIM, NULL, NULL, NULL), IQDB_OK);
	must_search_by(db, (IqdbQuery){.k = 10}, IQDB_SEARCH_OWN, 0);
	must_search_by(db, (IqdbQuery){.k = 10, .exact = true}, IQDB_SEARCH_EXACT, 4000);
	assert_int_equal(iqdb_close(db, NULL), IQDB_OK);
	free(rows);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(snapshots_alone_keep_what_was_flushed_or_closed),
		cmocka_unit_test(handles_with_and_without_log_follow_each_other),
		cmocka_unit_test(a_crash_while_the_log_goes_loses_nothing_flushed),
		cmocka_unit_test(each_call_is_told_of),
		cmocka_unit_test(sizes_of_lists_are_those_of_the_statistics),
		cmocka_unit_test(refine_of_one_search),
		cmocka_unit_test(a_small_graph_is_searched_exactly),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
