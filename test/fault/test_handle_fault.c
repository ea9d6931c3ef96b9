/*
 * test_handle_fault.c - allocation N, file call N, or growth N of the arena fails, for every N: nothing acknowledged is
 * lost, nothing leaks, nothing is half done, and after the failure the database goes on or says that it cannot.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>

#include "core/db/iqdb.h"
#include "harness/alloc_fault.h"
#include "harness/io_crash.h"
#include "harness/io_fault.h"
#include "harness/model.h"

#define SEED UINT64_C(20250412)
#define DIM 4
#define BATCH 3
#define SWEEP_MAX 5000

typedef struct Run
{
	AllocFault allocs;
	IoFault    io;
	IoCrash   *fs;
	IqdbConfig config;
	Iqdb      *db;
	Model      model;     /* what was acknowledged */
	IqdbRng    rng;
	uint64_t   space;     /* of ids */
	size_t     failures;  /* statuses other than IQDB_OK */

	/* a write that failed: it may have happened or not once the files are read again */
	bool       in_doubt;
	Model      doubtful;
} Run;

static const IqdbField fields[] = {{"kind", 4, IQDB_VALUE_INT}, {"name", 4, IQDB_VALUE_STRING}};

static void
run_start(Run *run, IqdbEngineKind engine, IqdbQuantization quantization, uint64_t seed)
{
	memset(run, 0, sizeof(*run));
	alloc_fault_init(&run->allocs);
	run->fs = io_crash_create();
	io_fault_init(&run->io, io_crash_io(run->fs));
	run->config = iqdb_config_default(engine, DIM, IQDB_METRIC_L2);
	run->config.options.quantization = quantization;
	run->config.memory_max = UINT64_C(64) * 1024 * 1024;
	run->config.allocator = &run->allocs.allocator;
	run->config.io = &run->io.io;
	run->config.checkpoint_bytes = 1500;
	/* some runs have columns */
	run->config.fields = fields;
	run->config.field_count = (seed + quantization) % 2 == 0 ? 0 : sizeof(fields) / sizeof(fields[0]);
	model_init(&run->model, DIM, IQDB_METRIC_L2);
	iqdb_rng_seed(&run->rng, seed);
	run->space = 25;
}

static void
run_end(Run *run)
{
	assert_int_equal(run->allocs.blocks, 0);
	assert_int_equal(io_crash_open_handles(run->fs), 0);
	io_crash_destroy(run->fs);
	model_free(&run->model);
	if (run->in_doubt)
		model_free(&run->doubtful);
}

static void
count_finding(void *arg, const char *what)
{
	(*(size_t *) arg)++;
	print_message("found: %s\n", what);
}

static bool
same_rows(Iqdb *db, const Model *model)
{
	if (iqdb_len(db) != model->count)
		return false;
	for (size_t i = 0; i < model->count; i++)
	{
		const ModelRow *row = &model->rows[i];
		IqdbRecord     *record;
		bool            same;

		assert_int_equal(iqdb_get(db, row->id, &record, NULL), IQDB_OK);
		if (record == NULL)
			return false;
		same = memcmp(record->vector, row->vector, sizeof(float) * DIM) == 0 &&
			   record->metadata_length == row->metadata_length &&
			   (row->metadata_length == 0 || memcmp(record->metadata, row->metadata, row->metadata_length) == 0);
		iqdb_record_free(record);
		if (!same)
			return false;
	}
	return true;
}

/* Nothing is armed. The handle holds exactly what was acknowledged, in the right order. */
static void
assert_state(Iqdb *db, const Model *model, IqdbRng *rng, bool exact)
{
	size_t      findings = 0;
	float       query[DIM];
	IqdbResult *result;
	ModelHit   *expected;
	size_t      count;

	assert_int_equal(iqdb_check(db, count_finding, &findings, NULL), IQDB_OK);
	assert_int_equal(findings, 0);
	assert_true(same_rows(db, model));
	if (!exact)
		return;
	model_random_vector(rng, query, DIM);
	expected = model_search(model, query, NULL, &count);
	assert_int_equal(iqdb_search(db, query, DIM, SIZE_MAX, &result, NULL), IQDB_OK);
	assert_int_equal(result->count, count);
	for (size_t i = 0; i < count; i++)
		assert_true(iqdb_id_equal(result->found[i].id, expected[i].row->id));
	iqdb_result_free(result);
	free(expected);
}

static void
expected_failure(Run *run, IqdbStatus status)
{
	run->failures++;
	assert_true(status == IQDB_ERR_NOMEM || status == IQDB_ERR_IO || status == IQDB_ERR_NO_SPACE ||
				status == IQDB_ERR_LIMIT || status == IQDB_ERR_STATE);
}

/* The write's outcome is known only when files are read again. */
static void
doubt(Run *run)
{
	if (run->in_doubt)
		model_free(&run->doubtful);
	model_copy(&run->doubtful, &run->model);
	run->in_doubt = true;
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
		rows[i].id = model_random_id(&run->rng, run->space, ids[i]);
		rows[i].vector = vectors[i];
		rows[i].metadata = metadata[i];
		model_put(next, rows[i].id, vectors[i], metadata[i], rows[i].metadata_length);
	}
	status = iqdb_upsert_batch(run->db, rows, count, DIM, NULL);
	for (size_t i = 0; i < count; i++)
		free(metadata[i]);
	return status;
}

/* All of a batch, or nothing of it. */
static void
one_batch(Run *run)
{
	Model      next;
	IqdbStatus status;

	model_copy(&next, &run->model);
	status = write_batch(run, &next);
	if (status == IQDB_OK)
	{
		model_free(&run->model);
		run->model = next;
		return;
	}
	expected_failure(run, status);
	if (status != IQDB_ERR_STATE)
	{
		if (run->in_doubt)
			model_free(&run->doubtful);
		run->doubtful = next;
		run->in_doubt = true;
	}
	else
		model_free(&next);
}

static void
one_write(Run *run)
{
	unsigned char  buffer[8];
	IqdbId         id = model_random_id(&run->rng, run->space, buffer);
	float          vector[DIM];
	size_t         length;
	unsigned char *metadata = model_random_metadata(&run->rng, &length);
	IqdbStatus     status;
	bool           deleted = false;
	bool           is_delete = iqdb_rng_below(&run->rng, 4) == 0;

	model_random_vector(&run->rng, vector, DIM);
	if (is_delete)
		status = iqdb_delete(run->db, id, &deleted, NULL);
	else
		status = iqdb_upsert(run->db, id, vector, DIM, metadata, length, NULL);
	if (status == IQDB_OK)
	{
		if (is_delete)
			assert_int_equal(deleted, model_remove(&run->model, id));
		else
			model_put(&run->model, id, vector, metadata, length);
	}
	else
	{
		expected_failure(run, status);
		if (status != IQDB_ERR_STATE)
		{
			doubt(run);
			if (is_delete)
				(void) model_remove(&run->doubtful, id);
			else
				model_put(&run->doubtful, id, vector, metadata, length);
		}
	}
	free(metadata);
}

static void
some_reads(Run *run)
{
	float       query[DIM];
	IqdbResult *result;
	IqdbRecord *record;
	IqdbStatus  status;

	model_random_vector(&run->rng, query, DIM);
	status = iqdb_search(run->db, query, DIM, 100, &result, NULL);
	if (status == IQDB_OK)
	{
		assert_int_equal(result->count, run->model.count);
		iqdb_result_free(result);
	}
	else
	{
		assert_null(result);
		expected_failure(run, status);
	}
	status = iqdb_get(run->db, iqdb_id_u64(1), &record, NULL);
	if (status == IQDB_OK)
		iqdb_record_free(record);
	else
		expected_failure(run, status);
}

/* Some of everything; failures are counted, never fatal. */
static void
workload(Run *run)
{
	IqdbStatus status = iqdb_open("db", &run->config, &run->db, NULL);

	if (status != IQDB_OK)
	{
		expected_failure(run, status);
		assert_null(run->db);
		return;
	}
	for (int i = 0; i < 30; i++)
	{
		one_write(run);
		if (i % 4 == 3)
			one_batch(run);
		if (i % 10 == 9)
			some_reads(run);
		if (i == 12 || i == 22)
		{
			status = i == 12 ? iqdb_flush(run->db, NULL) : iqdb_optimize(run->db, NULL);
			if (status != IQDB_OK)
				expected_failure(run, status);
		}
	}
}

/* The failure is over: the same handle, then the files. */
static void
aftermath(Run *run, bool exact)
{
	IqdbStats  stats;
	bool       broken = false;
	Model     *now = &run->model;
	IqdbStatus status;

	alloc_fault_arm(&run->allocs, 0);
	io_fault_disarm(&run->io);
	if (run->db != NULL)
	{
		assert_state(run->db, &run->model, &run->rng, exact);
		iqdb_stats(run->db, &stats);
		broken = stats.broken;
		if (!broken)
		{
			size_t before = run->failures;

			for (int i = 0; i < 5; i++)
				one_write(run);
			assert_int_equal(run->failures, before);
			assert_state(run->db, &run->model, &run->rng, exact);
		}
		iqdb_abandon(run->db);
		run->db = NULL;
	}
	/* a write that failed on a handle that went on was taken back for good */
	status = iqdb_open("db", &run->config, &run->db, NULL);
	assert_int_equal(status, IQDB_OK);
	if (run->in_doubt && broken && !same_rows(run->db, now))
		now = &run->doubtful;
	assert_state(run->db, now, &run->rng, exact);
	assert_int_equal(iqdb_close(run->db, NULL), IQDB_OK);
	run->db = NULL;
}

typedef void (*Arm)(Run *run, uint64_t n, int variant);

static void
arm_allocation(Run *run, uint64_t n, int variant)
{
	(void) variant;
	alloc_fault_arm(&run->allocs, n);
}

static void
arm_io(Run *run, uint64_t n, int variant)
{
	io_fault_arm(&run->io, IO_FAULT_ALL & ~IO_FAULT_BIT(IO_FAULT_CLOSE), n, variant == 0 ? EIO : ENOSPC);
	run->io.short_write = variant == 0;
}

static void
sweep(IqdbEngineKind engine, IqdbQuantization quantization, Arm arm, int variant, const char *name)
{
	uint64_t n;
	bool     fired = true;

	for (n = 1; fired && n < SWEEP_MAX; n++)
	{
		Run run;

		run_start(&run, engine, quantization, SEED);
		arm(&run, n, variant);
		workload(&run);
		fired = run.allocs.fired || run.io.fired;
		aftermath(&run, engine == IQDB_ENGINE_FLAT);
		run_end(&run);
	}
	print_message("%s: %llu points of failure, seed %llu\n", name, (unsigned long long) n - 1,
				  (unsigned long long) SEED);
	assert_false(fired);
}

static void
every_allocation_may_fail(void **state)
{
	(void) state;
	sweep(IQDB_ENGINE_FLAT, IQDB_QUANTIZATION_NONE, arm_allocation, 0, "flat, allocations");
	sweep(IQDB_ENGINE_FLAT, IQDB_QUANTIZATION_SQ8, arm_allocation, 0, "flat with codes, allocations");
}

static void
every_file_call_may_fail(void **state)
{
	(void) state;
	sweep(IQDB_ENGINE_FLAT, IQDB_QUANTIZATION_NONE, arm_io, 0, "flat, file calls, EIO");
	sweep(IQDB_ENGINE_FLAT, IQDB_QUANTIZATION_NONE, arm_io, 1, "flat, file calls, ENOSPC");
}

static void
every_allocation_may_fail_with_other_engines(void **state)
{
	(void) state;
	if (iqdb_engine_get(IQDB_ENGINE_HNSW) != NULL)
	{
		sweep(IQDB_ENGINE_HNSW, IQDB_QUANTIZATION_SQ8, arm_allocation, 0, "hnsw, allocations");
		sweep(IQDB_ENGINE_HNSW, IQDB_QUANTIZATION_BQ, arm_allocation, 0, "hnsw with sign codes, allocations");
	}
	if (iqdb_engine_get(IQDB_ENGINE_IVF) != NULL)
		sweep(IQDB_ENGINE_IVF, IQDB_QUANTIZATION_SQ8, arm_allocation, 0, "ivf, allocations");
}

/* The limit of memory stands at every page in turn: so every growth of every region is once the one that fails. */
static void
limit_every_growth(IqdbQuantization quantization)
{
	uint64_t tried = 0;

	for (uint64_t pages = 4; pages < 400; pages++)
	{
		Run        run;
		IqdbStatus status;

		run_start(&run, IQDB_ENGINE_FLAT, quantization, SEED);
		run.config.memory_max = pages * 4096;
		run.config.fsync.mode = IQDB_FSYNC_NEVER;
		run.config.checkpoint_bytes = 0;
		run.space = 2000;
		status = iqdb_open("db", &run.config, &run.db, NULL);
		tried++;
		if (status == IQDB_OK)
		{
			for (int i = 0; i < 1200; i++)
				one_write(&run);
			assert_state(run.db, &run.model, &run.rng, true);
			iqdb_abandon(run.db);
			/* what had room is not lost for want of room */
			assert_int_equal(iqdb_open("db", &run.config, &run.db, NULL), IQDB_OK);
			assert_state(run.db, &run.model, &run.rng, true);
			iqdb_abandon(run.db);
			run.db = NULL;
		}
		else
		{
			expected_failure(&run, status);
			assert_null(run.db);
		}
		/* with room, everything acknowledged is there, and nothing else */
		run.config.memory_max = UINT64_C(64) * 1024 * 1024;
		assert_int_equal(iqdb_open("db", &run.config, &run.db, NULL), IQDB_OK);
		assert_state(run.db, &run.model, &run.rng, true);
		assert_int_equal(iqdb_close(run.db, NULL), IQDB_OK);
		if (run.failures == 0)
			pages = 400;
		run_end(&run);
	}
	print_message("growth: %llu limits\n", (unsigned long long) tried);
	assert_true(tried > 20);
}

static void
every_growth_may_fail(void **state)
{
	(void) state;
	limit_every_growth(IQDB_QUANTIZATION_NONE);
	limit_every_growth(IQDB_QUANTIZATION_SQ8);
}

/* Opening files that are there: what fails leaves them as they were. */
static void
every_call_of_recovery_may_fail(void **state)
{
	(void) state;
	for (int kind = 0; kind < 2; kind++)
	{
		bool     fired = true;
		uint64_t n;

		for (n = 1; fired && n < SWEEP_MAX; n++)
		{
			Run run;

			run_start(&run, IQDB_ENGINE_FLAT, IQDB_QUANTIZATION_NONE, SEED + 1);
			workload(&run);
			assert_int_equal(run.failures, 0);
			iqdb_abandon(run.db);
			run.db = NULL;
			if (kind == 0)
				arm_allocation(&run, n, 0);
			else
				arm_io(&run, n, 0);
			if (iqdb_open("db", &run.config, &run.db, NULL) == IQDB_OK)
			{
				iqdb_abandon(run.db);
				run.db = NULL;
			}
			assert_null(run.db);
			fired = run.allocs.fired || run.io.fired;
			aftermath(&run, true);
			run_end(&run);
		}
		print_message("recovery: %llu points of failure\n", (unsigned long long) n - 1);
		assert_false(fired);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_allocation_may_fail),
		cmocka_unit_test(every_file_call_may_fail),
		cmocka_unit_test(every_growth_may_fail),
		cmocka_unit_test(every_call_of_recovery_may_fail),
		cmocka_unit_test(every_allocation_may_fail_with_other_engines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
