/*
 * test_handle_crash.c - the power goes at every changing file call of a workload, and unsynced writes are kept, dropped or
 * torn by many seeds: what was acknowledged under `always` is there afterwards, and under every policy the database holds
 * exactly the state after some number of writes, of which a batch is one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/db/iqdb.h"
#include "harness/io_crash.h"
#include "harness/model.h"

#define SEED UINT64_C(20250518)
#define DIM 3
#define WRITES 24
#define STATES (4 * WRITES + 8)
#define BATCH 4

/* The model after each number of writes, the one in flight included. */
typedef struct History
{
	Model    states[STATES];
	uint64_t count;     /* states known: 0 .. count - 1 writes */
	uint64_t promised;  /* writes that must survive */
} History;

typedef struct Run
{
	IoCrash   *fs;
	IqdbConfig config;
	Iqdb      *db;
	IqdbRng    rng;
	History    history;
} Run;

static void
history_start(History *history)
{
	memset(history, 0, sizeof(*history));
	model_init(&history->states[0], DIM, IQDB_METRIC_L2);
	history->count = 1;
}

static void
history_free(History *history)
{
	for (uint64_t i = 0; i < history->count; i++)
		model_free(&history->states[i]);
}

/* Forgets everything behind write number n: it never happened. */
static void
history_cut(History *history, uint64_t n)
{
	while (history->count > n + 1)
		model_free(&history->states[--history->count]);
}

static void
run_start(Run *run, IoCrash *fs, IqdbFsync mode, uint64_t seed)
{
	memset(run, 0, sizeof(*run));
	run->fs = fs;
	run->config = iqdb_config_default(IQDB_ENGINE_FLAT, DIM, IQDB_METRIC_L2);
	run->config.memory_max = UINT64_C(16) * 1024 * 1024;
	run->config.io = io_crash_io(fs);
	run->config.fsync = (IqdbFsyncPolicy){mode, 1000000};
	run->config.checkpoint_bytes = 1600;
	iqdb_rng_seed(&run->rng, seed);
	history_start(&run->history);
}

/* Up to BATCH rows in one write, ids of which may meet; the model gets them, too. */
static IqdbStatus
write_batch(Run *run, Model *next)
{
	float          vectors[BATCH][DIM];
	unsigned char  ids[BATCH][8];
	IqdbRow        rows[BATCH] = {{.metadata = NULL}};
	unsigned char *metadata[BATCH];
	size_t         count = 1 + iqdb_rng_below(&run->rng, BATCH);
	IqdbStatus     status;

	for (size_t i = 0; i < count; i++)
	{
		metadata[i] = model_random_metadata(&run->rng, &rows[i].metadata_length);
		model_random_vector(&run->rng, vectors[i], DIM);
		rows[i].id = model_random_id(&run->rng, 12, ids[i]);
		rows[i].vector = vectors[i];
		rows[i].metadata = metadata[i];
		model_put(next, rows[i].id, vectors[i], metadata[i], rows[i].metadata_length);
	}
	status = iqdb_upsert_batch(run->db, rows, count, DIM, NULL);
	for (size_t i = 0; i < count; i++)
		free(metadata[i]);
	return status;
}

/* One write; false when it failed. The state it leads to is known before it is tried. */
static bool
one_write(Run *run)
{
	History       *history = &run->history;
	Model         *next = &history->states[history->count];
	unsigned char  buffer[8];
	IqdbId         id = model_random_id(&run->rng, 12, buffer);
	float          vector[DIM];
	size_t         length;
	unsigned char *metadata = model_random_metadata(&run->rng, &length);
	IqdbStatus     status;
	bool           deleted = true;

	model_copy(next, &history->states[history->count - 1]);
	model_random_vector(&run->rng, vector, DIM);
	if (iqdb_rng_below(&run->rng, 4) == 0)
	{
		bool there = model_remove(next, id);

		status = iqdb_delete(run->db, id, &deleted, NULL);
		if (!there)
		{
			/* nothing to do is no write */
			model_free(next);
			free(metadata);
			return status == IQDB_OK;
		}
	}
	else if (iqdb_rng_below(&run->rng, 3) == 0)
		status = write_batch(run, next);
	else
	{
		model_put(next, id, vector, metadata, length);
		status = iqdb_upsert(run->db, id, vector, DIM, metadata, length, NULL);
	}
	free(metadata);
	history->count++;
	if (status == IQDB_OK && run->config.fsync.mode == IQDB_FSYNC_ALWAYS)
		history->promised = history->count - 1;
	return status == IQDB_OK;
}

/* False when it met the end of the power. */
static bool
workload(Run *run, int writes)
{
	for (int i = 0; i < writes; i++)
	{
		if (!one_write(run))
			return false;
		if (i % 9 == 8)
		{
			if (iqdb_flush(run->db, NULL) != IQDB_OK)
				return false;
			run->history.promised = run->history.count - 1;
		}
	}
	return true;
}

static void
count_finding(void *arg, const char *what)
{
	(*(size_t *) arg)++;
	print_message("found: %s\n", what);
}

static void
assert_same(Run *run, const Model *model)
{
	float       query[DIM];
	size_t      findings = 0;
	size_t      count;
	ModelHit   *expected;
	IqdbResult *result;

	assert_int_equal(iqdb_check(run->db, count_finding, &findings, NULL), IQDB_OK);
	assert_int_equal(findings, 0);
	assert_int_equal(iqdb_len(run->db), model->count);
	model_random_vector(&run->rng, query, DIM);
	expected = model_search(model, query, NULL, &count);
	assert_int_equal(iqdb_search(run->db, query, DIM, SIZE_MAX, &result, NULL), IQDB_OK);
	assert_int_equal(result->count, count);
	for (size_t i = 0; i < count; i++)
	{
		const ModelRow *row = expected[i].row;
		IqdbRecord     *record;

		assert_true(iqdb_id_equal(result->found[i].id, row->id));
		assert_int_equal(result->found[i].metadata_length, row->metadata_length);
		if (row->metadata_length > 0)
			assert_memory_equal(result->found[i].metadata, row->metadata, row->metadata_length);
		assert_int_equal(iqdb_get(run->db, row->id, &record, NULL), IQDB_OK);
		assert_memory_equal(record->vector, row->vector, sizeof(float) * DIM);
		iqdb_record_free(record);
	}
	iqdb_result_free(result);
	free(expected);
}

/* After a crash: opens, and holds what is there against the history. */
static void
recover(Run *run)
{
	History   *history = &run->history;
	IqdbError  err = {0};
	IqdbStats  stats;
	IqdbStatus status = iqdb_open("db", &run->config, &run->db, &err);

	if (status != IQDB_OK)
		print_message("open: %s %s @%llu: %s\n", iqdb_status_name(status), err.file, (unsigned long long) err.offset,
					  err.message);
	assert_int_equal(status, IQDB_OK);
	iqdb_stats(run->db, &stats);
	assert_in_range(stats.position, history->promised, history->count - 1);
	assert_same(run, &history->states[stats.position]);
	history_cut(history, stats.position);
	/* what recovery shows it has synced */
	history->promised = stats.position;
}

static void
lose_power(Run *run, uint64_t seed)
{
	iqdb_abandon(run->db);
	run->db = NULL;
	if (seed == 0)
		io_crash_crash_dropping_all(run->fs);
	else if (seed == 1)
		io_crash_crash_keeping_all(run->fs);
	else
		io_crash_crash(run->fs, SEED + seed);
}

/* true when the workload got through before the power went. */
static bool
crash_once(IqdbFsync mode, uint64_t n, uint64_t seed)
{
	IoCrash *fs = io_crash_create();
	Run      run;
	bool     done = false;

	run_start(&run, fs, mode, SEED);
	io_crash_power_cut_after(fs, n);
	if (iqdb_open("db", &run.config, &run.db, NULL) == IQDB_OK)
		done = workload(&run, WRITES) && !io_crash_is_down(fs);
	lose_power(&run, seed);
	recover(&run);

	/* what is written after a recovery must survive the next crash as well */
	assert_true(workload(&run, 8));
	lose_power(&run, seed / 2);
	recover(&run);
	/* and a crash while recovering loses nothing */
	lose_power(&run, seed);
	io_crash_power_cut_after(fs, n % 7);
	if (iqdb_open("db", &run.config, &run.db, NULL) == IQDB_OK)
		(void) workload(&run, 3);
	lose_power(&run, seed + 3);
	recover(&run);
	assert_int_equal(iqdb_close(run.db, NULL), IQDB_OK);
	assert_int_equal(io_crash_open_handles(fs), 0);
	history_free(&run.history);
	io_crash_destroy(fs);
	return done;
}

static void
crash_everywhere(IqdbFsync mode, const char *name, uint64_t seeds)
{
	uint64_t n = 0;
	bool     done = false;

	for (; !done; n++)
	{
		done = true;
		for (uint64_t seed = 0; seed < seeds; seed++)
			done = crash_once(mode, n, seed) && done;
		assert_true(n < 2000);
	}
	print_message("%s: %llu instants, %llu ways each, seed %llu\n", name, (unsigned long long) n,
				  (unsigned long long) seeds, (unsigned long long) SEED);
}

static void
acknowledged_writes_survive_under_always(void **state)
{
	(void) state;
	crash_everywhere(IQDB_FSYNC_ALWAYS, "always", 8);
}

static void
a_prefix_survives_under_never(void **state)
{
	(void) state;
	crash_everywhere(IQDB_FSYNC_NEVER, "never", 8);
}

static void
a_prefix_survives_under_periodic(void **state)
{
	(void) state;
	crash_everywhere(IQDB_FSYNC_PERIODIC, "periodic", 5);
}

/*
 * The program alone dies: whatever the policy, everything acknowledged is there. What was shown after that is synced, so a
 * loss of power later takes nothing of it.
 */
static void
a_killed_program_loses_nothing(void **state)
{
	(void) state;
	for (int mode = IQDB_FSYNC_ALWAYS; mode <= IQDB_FSYNC_NEVER; mode++)
	{
		IoCrash *fs = io_crash_create();
		Run      run;

		run_start(&run, fs, (IqdbFsync) mode, SEED);
		for (int round = 0; round < 4; round++)
		{
			assert_int_equal(iqdb_open("db", &run.config, &run.db, NULL), IQDB_OK);
			assert_same(&run, &run.history.states[run.history.count - 1]);
			lose_power(&run, 0);
			assert_int_equal(iqdb_open("db", &run.config, &run.db, NULL), IQDB_OK);
			assert_same(&run, &run.history.states[run.history.count - 1]);
			assert_true(workload(&run, WRITES / 2));
			iqdb_abandon(run.db);
		}
		history_free(&run.history);
		io_crash_destroy(fs);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(acknowledged_writes_survive_under_always),
		cmocka_unit_test(a_prefix_survives_under_never),
		cmocka_unit_test(a_prefix_survives_under_periodic),
		cmocka_unit_test(a_killed_program_loses_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
