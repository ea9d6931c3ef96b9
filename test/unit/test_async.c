/*
 * test_async.c - calls by the threads of a pool: what comes of them, order, cancel, limits, copies, and who frees what.
 *
 * No test waits for a time: threads are held by callbacks that wait for a gate which the test opens.
 */
#define _POSIX_C_SOURCE 200809L
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <pthread.h>

#include "core/db/iqdb.h"
#include "harness/alloc_fault.h"

#define DIM 4

/* ---- what the tests share ---- */

/* A thread waits in it until it is open; the test waits until somebody is in it. */
typedef struct Gate
{
	pthread_mutex_t mutex;
	pthread_cond_t  changed;
	bool            open;
	int             inside;
} Gate;

static void
gate_init(Gate *gate)
{
	assert_int_equal(pthread_mutex_init(&gate->mutex, NULL), 0);
	assert_int_equal(pthread_cond_init(&gate->changed, NULL), 0);
	gate->open = false;
	gate->inside = 0;
}

static void
gate_pass(Gate *gate)
{
	pthread_mutex_lock(&gate->mutex);
	gate->inside++;
	pthread_cond_broadcast(&gate->changed);
	while (!gate->open)
		pthread_cond_wait(&gate->changed, &gate->mutex);
	pthread_mutex_unlock(&gate->mutex);
}

static void
gate_await(Gate *gate, int inside)
{
	pthread_mutex_lock(&gate->mutex);
	while (gate->inside < inside)
		pthread_cond_wait(&gate->changed, &gate->mutex);
	pthread_mutex_unlock(&gate->mutex);
}

static void
gate_open(Gate *gate)
{
	pthread_mutex_lock(&gate->mutex);
	gate->open = true;
	pthread_cond_broadcast(&gate->changed);
	pthread_mutex_unlock(&gate->mutex);
}

static void
gate_free(Gate *gate)
{
	pthread_cond_destroy(&gate->changed);
	pthread_mutex_destroy(&gate->mutex);
}

typedef struct World
{
	AllocFault allocs; /* of the database */
	AllocFault calls;  /* of the pool */
	Iqdb      *db;
	IqdbPool  *pool;
} World;

static void
world_open(World *world, IqdbEngineKind engine, unsigned threads, size_t queue_max)
{
	IqdbConfig     config = iqdb_config_default(engine, DIM, IQDB_METRIC_L2);
	IqdbPoolConfig pool = {.threads = threads, .queue_max = queue_max, .allocator = &world->calls.allocator};

	alloc_fault_init(&world->allocs);
	alloc_fault_init(&world->calls);
	config.allocator = &world->allocs.allocator;
	config.memory_max = UINT64_C(64) * 1024 * 1024;
	assert_int_equal(iqdb_open_in_memory(&config, &world->db, NULL), IQDB_OK);
	assert_int_equal(iqdb_pool_create(&pool, &world->pool, NULL), IQDB_OK);
}

static void
world_close(World *world)
{
	iqdb_pool_destroy(world->pool);
	iqdb_abandon(world->db);
	assert_int_equal(world->calls.blocks, 0);
	assert_int_equal(world->allocs.blocks, 0);
}

/* What a callback was told. */
typedef struct Told
{
	_Atomic int times;
	IqdbOutcome outcome;
	char        message[200];
} Told;

static void
remember(void *arg, const IqdbOutcome *outcome)
{
	Told *told = arg;

	told->outcome = *outcome;
	strcpy(told->message, outcome->error != NULL ? outcome->error->message : "");
	told->times++;
}

static void
count_ok(void *arg, const IqdbOutcome *outcome)
{
	_Atomic int *ok = arg;

	if (outcome->status == IQDB_OK)
		(*ok)++;
	iqdb_result_free(outcome->result);
	iqdb_record_free(outcome->record);
}

static void
hold_thread(void *arg, const IqdbOutcome *outcome)
{
	(void) outcome;
	gate_pass(arg);
}

/* ---- tests ---- */

static void
every_call_does_what_its_namesake_does(void **state)
{
	World         world;
	const float   vectors[3][DIM] = {{1}, {2}, {3}};
	const IqdbRow rows[2] = {{.id = iqdb_id_u64(2), .vector = vectors[1]},
							 {.id = iqdb_id_bytes("drei", 4), .vector = vectors[2]}};
	const IqdbRow one = {.id = iqdb_id_u64(1), .vector = vectors[0]};
	IqdbQuery     two = {.k = 2};
	Told          told[8] = {{0}};
	IqdbCall     *call;

	world_open(&world, IQDB_ENGINE_HNSW, 1, 0);
	assert_int_equal(iqdb_upsert_async(world.pool, world.db, &one, DIM, remember, &told[0], NULL, NULL), IQDB_OK);
	assert_int_equal(iqdb_upsert_batch_async(world.pool, world.db, rows, 2, DIM, remember, &told[1], NULL, NULL), IQDB_OK);
	assert_int_equal(iqdb_get_async(world.pool, world.db, rows[1].id, remember, &told[2], NULL, NULL), IQDB_OK);
	assert_int_equal(iqdb_search_async(world.pool, world.db, vectors[2], DIM, &two, remember, &told[3], &call, NULL), IQDB_OK);
	assert_int_equal(iqdb_delete_async(world.pool, world.db, iqdb_id_u64(1), remember, &told[4], NULL, NULL), IQDB_OK);
	assert_int_equal(iqdb_get_async(world.pool, world.db, iqdb_id_u64(1), remember, &told[5], NULL, NULL), IQDB_OK);
	assert_int_equal(iqdb_optimize_async(world.pool, world.db, remember, &told[6], NULL, NULL), IQDB_OK);
	assert_int_equal(iqdb_flush_async(world.pool, world.db, remember, &told[7], NULL, NULL), IQDB_OK);
	iqdb_call_wait(call);
	assert_int_equal(told[3].times, 1);
	iqdb_call_free(call);
	iqdb_pool_wait(world.pool);
	for (int i = 0; i < 8; i++)
	{
		assert_int_equal(told[i].times, 1);
		assert_int_equal(told[i].outcome.status, IQDB_OK);
		assert_null(told[i].outcome.error);
		assert_int_equal(told[i].outcome.result != NULL, i == 3);
		assert_int_equal(told[i].outcome.record != NULL, i == 2);
		assert_int_equal(told[i].outcome.deleted, i == 4);
	}
	assert_memory_equal(told[2].outcome.record->vector, vectors[2], sizeof(vectors[2]));
	assert_int_equal(told[3].outcome.result->count, 2);
	assert_true(iqdb_id_equal(told[3].outcome.result->found[0].id, rows[1].id));
	assert_int_equal(iqdb_len(world.db), 2);
	iqdb_record_free(told[2].outcome.record);
	iqdb_result_free(told[3].outcome.result);
	world_close(&world);
}

/* The thread is held, and meanwhile everything that the calls were given is overwritten. */
static void
what_is_handed_over_is_copied(void **state)
{
	World               world;
	Gate                gate;
	float               vectors[2][DIM] = {{1, 2, 3, 4}, {5, 6, 7, 8}};
	float               query[DIM] = {5, 6, 7, 8};
	char                names[2][4] = {"abc", "def"};
	IqdbValue           value = iqdb_value_int(7);
	IqdbMetadataBuilder builder;
	unsigned char      *metadata;
	size_t              length;
	IqdbRow             rows[2];
	IqdbQuery           one = {.k = 1};
	Told                told = {0};
	IqdbRecord         *record;

	world_open(&world, IQDB_ENGINE_FLAT, 1, 0);
	iqdb_metadata_builder_init(&builder, NULL);
	assert_int_equal(iqdb_metadata_put(&builder, "odd", 3, &value, NULL), IQDB_OK);
	assert_int_equal(iqdb_metadata_finish(&builder, &metadata, &length, NULL), IQDB_OK);
	iqdb_metadata_builder_free(&builder);
	for (int i = 0; i < 2; i++)
		rows[i] = (IqdbRow){.id = iqdb_id_bytes(names[i], 3), .vector = vectors[i], .metadata = metadata,
							.metadata_length = length};
	gate_init(&gate);
	assert_int_equal(iqdb_flush_async(world.pool, world.db, hold_thread, &gate, NULL, NULL), IQDB_OK);
	assert_int_equal(iqdb_upsert_batch_async(world.pool, world.db, rows, 2, DIM, NULL, NULL, NULL, NULL), IQDB_OK);
	assert_int_equal(iqdb_search_async(world.pool, world.db, query, DIM, &one, remember, &told, NULL, NULL), IQDB_OK);
	memset(rows, 0, sizeof(rows));
	memset(vectors, 0, sizeof(vectors));
	memset(query, 0, sizeof(query));
	memset(names, 'x', sizeof(names));
	memset(metadata, 0, length);
	memset(&one, 0, sizeof(one));
	gate_open(&gate);
	iqdb_pool_wait(world.pool);
	assert_int_equal(told.outcome.result->count, 1);
	assert_true(iqdb_id_equal(told.outcome.result->found[0].id, iqdb_id_bytes("def", 3)));
	assert_true(told.outcome.result->found[0].distance == 0);
	iqdb_result_free(told.outcome.result);
	assert_int_equal(iqdb_get(world.db, iqdb_id_bytes("abc", 3), &record, NULL), IQDB_OK);
	assert_non_null(record);
	assert_true(((const float *) record->vector)[3] == 4);
	assert_true(iqdb_metadata_lookup(record->metadata, record->metadata_length, "odd", 3, &value));
	iqdb_record_free(record);
	free(metadata);
	gate_free(&gate);
	world_close(&world);
}

static void
a_call_that_waits_is_cancelled_and_never_made(void **state)
{
	World       world;
	Gate        gate;
	const float vector[DIM] = {1};
	IqdbRow     row = {.id = iqdb_id_u64(1), .vector = vector};
	Told        told[2] = {{0}};
	IqdbCall   *call;

	world_open(&world, IQDB_ENGINE_FLAT, 1, 0);
	gate_init(&gate);
	assert_int_equal(iqdb_flush_async(world.pool, world.db, hold_thread, &gate, NULL, NULL), IQDB_OK);
	assert_int_equal(iqdb_upsert_async(world.pool, world.db, &row, DIM, remember, &told[0], &call, NULL), IQDB_OK);
	row.id = iqdb_id_u64(2);
	assert_int_equal(iqdb_upsert_async(world.pool, world.db, &row, DIM, remember, &told[1], NULL, NULL), IQDB_OK);
	iqdb_call_cancel(call);
	gate_open(&gate);
	iqdb_pool_wait(world.pool);
	assert_int_equal(told[0].times, 1);
	assert_int_equal(told[0].outcome.status, IQDB_ERR_CANCELLED);
	assert_string_equal(told[0].message, "cancelled");
	assert_int_equal(told[1].outcome.status, IQDB_OK);
	assert_int_equal(iqdb_len(world.db), 1);
	/* too late: nothing */
	iqdb_call_cancel(call);
	iqdb_call_free(call);
	gate_free(&gate);
	world_close(&world);
}

typedef struct Asked
{
	Gate gate;
	int  times;
} Asked;

/* The second question is put by the search itself, which has begun then. */
static bool
wait_in_search(void *arg)
{
	Asked *asked = arg;

	if (++asked->times == 2)
		gate_pass(&asked->gate);
	return false;
}

static void
a_search_that_runs_is_cancelled(void **state)
{
	World       world;
	Asked       asked = {.times = 0};
	const float vector[DIM] = {1};
	Told        told = {0};
	IqdbQuery   settings = {.k = 1, .cancelled = wait_in_search, .cancel_arg = &asked};
	IqdbCall   *call;

	world_open(&world, IQDB_ENGINE_FLAT, 1, 0);
	gate_init(&asked.gate);
	assert_int_equal(iqdb_search_async(world.pool, world.db, vector, DIM, &settings, remember, &told, &call, NULL), IQDB_OK);
	gate_await(&asked.gate, 1);
	iqdb_call_cancel(call);
	gate_open(&asked.gate);
	iqdb_call_wait(call);
	assert_int_equal(told.outcome.status, IQDB_ERR_CANCELLED);
	assert_null(told.outcome.result);
	iqdb_call_free(call);
	gate_free(&asked.gate);
	world_close(&world);
}

static void
a_full_queue_refuses(void **state)
{
	World     world;
	Gate      gate;
	IqdbError err;
	Told      told[3] = {{0}};
	IqdbCall *call = (IqdbCall *) &world;

	world_open(&world, IQDB_ENGINE_FLAT, 1, 2);
	gate_init(&gate);
	assert_int_equal(iqdb_flush_async(world.pool, world.db, hold_thread, &gate, NULL, NULL), IQDB_OK);
	gate_await(&gate, 1);
	assert_int_equal(iqdb_flush_async(world.pool, world.db, remember, &told[0], NULL, NULL), IQDB_OK);
	assert_int_equal(iqdb_flush_async(world.pool, world.db, remember, &told[1], NULL, NULL), IQDB_OK);
	assert_int_equal(iqdb_flush_async(world.pool, world.db, remember, &told[2], &call, &err), IQDB_ERR_LIMIT);
	assert_null(call);
	assert_string_equal(err.message, "2 calls wait already");
	gate_open(&gate);
	iqdb_pool_wait(world.pool);
	assert_int_equal(told[0].times + told[1].times, 2);
	assert_int_equal(told[2].times, 0);
	/* there is room again */
	assert_int_equal(iqdb_flush_async(world.pool, world.db, remember, &told[2], NULL, &err), IQDB_OK);
	iqdb_pool_wait(world.pool);
	assert_int_equal(told[2].times, 1);
	gate_free(&gate);
	world_close(&world);
}

static void
bad_arguments_are_refused_at_once(void **state)
{
	World          world;
	const float    vector[DIM] = {1};
	const float    endless[DIM] = {INFINITY};
	const IqdbRow  nameless = {.id = iqdb_id_bytes("", 0), .vector = vector};
	const IqdbRow  bad = {.id = iqdb_id_u64(1), .vector = endless};
	const IqdbRow  rows[2] = {{.id = iqdb_id_u64(1), .vector = vector}, bad};
	IqdbQuery      one = {.k = 1};
	Told           told = {0};
	IqdbPoolConfig many = {.threads = 257};
	IqdbPool      *pool;
	IqdbCall      *call = NULL;

	world_open(&world, IQDB_ENGINE_FLAT, 1, 0);
	assert_int_equal(iqdb_upsert_async(world.pool, world.db, &nameless, DIM, remember, &told, &call, NULL), IQDB_ERR_CONFIG);
	assert_int_equal(iqdb_upsert_async(world.pool, world.db, &bad, DIM, remember, &told, &call, NULL), IQDB_ERR_VECTOR);
	assert_int_equal(iqdb_upsert_async(world.pool, world.db, &rows[0], DIM + 1, remember, &told, &call, NULL),
					 IQDB_ERR_DIMENSION);
	assert_int_equal(iqdb_upsert_batch_async(world.pool, world.db, rows, 2, DIM, remember, &told, &call, NULL),
					 IQDB_ERR_VECTOR);
	assert_int_equal(iqdb_search_async(world.pool, world.db, vector, DIM - 1, &one, remember, &told, &call, NULL),
					 IQDB_ERR_DIMENSION);
	assert_int_equal(iqdb_delete_async(world.pool, world.db, nameless.id, remember, &told, &call, NULL), IQDB_ERR_CONFIG);
	assert_int_equal(iqdb_get_async(world.pool, world.db, nameless.id, remember, &told, &call, NULL), IQDB_ERR_CONFIG);
	iqdb_pool_wait(world.pool);
	assert_null(call);
	assert_int_equal(told.times, 0);
	assert_int_equal(iqdb_len(world.db), 0);
	assert_int_equal(iqdb_pool_create(&many, &pool, NULL), IQDB_ERR_CONFIG);
	assert_null(pool);
	iqdb_pool_destroy(NULL);
	iqdb_call_free(NULL);
	world_close(&world);
}

static void
without_memory_nothing_is_handed_over(void **state)
{
	World          world;
	const float    vector[DIM] = {1};
	const IqdbRow  row = {.id = iqdb_id_u64(1), .vector = vector};
	IqdbPoolConfig config = {.threads = 2, .allocator = &world.calls.allocator};
	IqdbPool      *pool;
	Told           told = {0};

	world_open(&world, IQDB_ENGINE_FLAT, 1, 0);
	alloc_fault_arm(&world.calls, 1);
	assert_int_equal(iqdb_pool_create(&config, &pool, NULL), IQDB_ERR_NOMEM);
	assert_null(pool);
	alloc_fault_arm(&world.calls, 1);
	assert_int_equal(iqdb_upsert_async(world.pool, world.db, &row, DIM, remember, &told, NULL, NULL), IQDB_ERR_NOMEM);
	iqdb_pool_wait(world.pool);
	assert_int_equal(told.times, 0);
	/* the call itself has no memory: the callback is told */
	assert_int_equal(iqdb_upsert_async(world.pool, world.db, &row, DIM, NULL, NULL, NULL, NULL), IQDB_OK);
	iqdb_pool_wait(world.pool);
	alloc_fault_arm(&world.allocs, 1);
	assert_int_equal(iqdb_get_async(world.pool, world.db, row.id, remember, &told, NULL, NULL), IQDB_OK);
	iqdb_pool_wait(world.pool);
	assert_int_equal(told.outcome.status, IQDB_ERR_NOMEM);
	assert_int_equal(told.times, 1);
	world_close(&world);
}

typedef struct Chain
{
	World      *world;
	uint64_t    left;
	_Atomic int ends;
	_Atomic int failures;
} Chain;

/* Each callback hands over the next write: they are made one after the other. */
static void
next_of_chain(void *arg, const IqdbOutcome *outcome)
{
	Chain      *chain = arg;
	const float vector[DIM] = {(float) chain->left};
	IqdbRow     row = {.id = iqdb_id_u64(chain->left), .vector = vector};

	if (outcome->status != IQDB_OK)
		chain->failures++;
	if (chain->left-- == 0)
		chain->ends++;
	else if (iqdb_upsert_async(chain->world->pool, chain->world->db, &row, DIM, next_of_chain, chain, NULL, NULL) != IQDB_OK)
		chain->failures++;
}

static void
waiting_is_for_what_callbacks_hand_over_too(void **state)
{
	World world;
	Chain chain = {.world = &world, .left = 200};

	world_open(&world, IQDB_ENGINE_FLAT, 3, 0);
	assert_int_equal(iqdb_flush_async(world.pool, world.db, next_of_chain, &chain, NULL, NULL), IQDB_OK);
	iqdb_pool_wait(world.pool);
	assert_int_equal(chain.failures, 0);
	assert_int_equal(chain.ends, 1);
	assert_int_equal(iqdb_len(world.db), 200);
	world_close(&world);
}

static void
destroying_makes_all_calls_first_and_handles_live_on(void **state)
{
	World       world;
	const float vector[DIM] = {1};
	IqdbCall   *calls[100];
	_Atomic int ok = 0;

	world_open(&world, IQDB_ENGINE_FLAT, 2, 0);
	for (uint64_t i = 0; i < 100; i++)
	{
		const IqdbRow row = {.id = iqdb_id_u64(i), .vector = vector};

		assert_int_equal(iqdb_upsert_async(world.pool, world.db, &row, DIM, count_ok, &ok, &calls[i], NULL), IQDB_OK);
	}
	iqdb_pool_destroy(world.pool);
	assert_int_equal(ok, 100);
	assert_int_equal(iqdb_len(world.db), 100);
	for (int i = 0; i < 100; i++)
	{
		iqdb_call_wait(calls[i]);
		iqdb_call_free(calls[i]);
	}
	world.pool = NULL;
	world_close(&world);
}

#define SUBMITTERS 4
#define EACH 300

typedef struct Submitter
{
	World       *world;
	uint64_t     number;
	_Atomic int *ok;
	int          refused;
} Submitter;

static void *
submit(void *arg)
{
	Submitter *self = arg;

	for (uint64_t i = 0; i < EACH; i++)
	{
		const float vector[DIM] = {(float) i, (float) self->number};
		IqdbRow     row = {.id = iqdb_id_u64(self->number * EACH + i), .vector = vector};
		IqdbQuery   five = {.k = 5};
		IqdbStatus  status = i % 3 == 2 ? iqdb_search_async(self->world->pool, self->world->db, vector, DIM, &five, count_ok,
															self->ok, NULL, NULL)
										: iqdb_upsert_async(self->world->pool, self->world->db, &row, DIM, count_ok, self->ok,
															NULL, NULL);

		self->refused += status != IQDB_OK;
	}
	return NULL;
}

static void
many_threads_hand_over_to_many(void **state)
{
	World       world;
	pthread_t   threads[SUBMITTERS];
	Submitter   submitters[SUBMITTERS];
	_Atomic int ok = 0;

	world_open(&world, IQDB_ENGINE_HNSW, 3, 0);
	for (uint64_t i = 0; i < SUBMITTERS; i++)
	{
		submitters[i] = (Submitter){.world = &world, .number = i, .ok = &ok};
		assert_int_equal(pthread_create(&threads[i], NULL, submit, &submitters[i]), 0);
	}
	for (int i = 0; i < SUBMITTERS; i++)
	{
		assert_int_equal(pthread_join(threads[i], NULL), 0);
		assert_int_equal(submitters[i].refused, 0);
	}
	iqdb_pool_wait(world.pool);
	assert_int_equal(ok, SUBMITTERS * EACH);
	assert_int_equal(iqdb_len(world.db), SUBMITTERS * EACH * 2 / 3);
	assert_int_equal(iqdb_check(world.db, NULL, NULL, NULL), IQDB_OK);
	world_close(&world);
}

/* ---- loading ---- */

#define LOADED 10000

typedef struct LoadRows
{
	float   vectors[LOADED][DIM];
	IqdbRow rows[LOADED];
} LoadRows;

static LoadRows *
make_rows(void)
{
	LoadRows *made = calloc(1, sizeof(*made));

	assert_non_null(made);
	for (unsigned i = 0; i < LOADED; i++)
	{
		made->vectors[i][0] = (float) (i % 100);
		made->vectors[i][1] = (float) (i / 100);
		made->rows[i] = (IqdbRow){.id = iqdb_id_u64(i), .vector = made->vectors[i]};
	}
	return made;
}

/* What the program's progress was told, and where it wants no more, or waits. */
typedef struct Progress
{
	_Atomic int times[2];
	uint64_t    end_at;  /* false from so many stored rows on; 0 = never */
	Gate       *gate;    /* passed when rows are stored for the first time; NULL = none */
} Progress;

static bool
note_progress(void *arg, IqdbLoadPhase phase, uint64_t done, uint64_t total)
{
	Progress *progress = arg;

	assert_int_equal(total, LOADED);
	progress->times[phase]++;
	if (progress->gate != NULL && phase == IQDB_LOAD_STORING && done > 0 && !progress->gate->open)
		gate_pass(progress->gate);
	return progress->end_at == 0 || done < progress->end_at;
}

static void
rows_are_loaded_by_a_pool(void **state)
{
	static const IqdbEngineKind engines[] = {IQDB_ENGINE_FLAT, IQDB_ENGINE_HNSW, IQDB_ENGINE_IVF};
	LoadRows                   *made = make_rows();

	for (int i = 0; i < 3; i++)
	{
		World            world;
		Progress         progress = {.gate = NULL};
		IqdbLoadSettings settings = {.threads = 2, .progress = note_progress, .progress_arg = &progress};
		Told             told[2] = {{0}};
		IqdbStats        stats;

		world_open(&world, engines[i], 1, 0);
		assert_int_equal(iqdb_load_async(world.pool, world.db, made->rows, LOADED, DIM, &settings, remember, &told[0], NULL,
										 NULL),
						 IQDB_OK);
		/* the same rows once more, by one thread and without telling of it */
		assert_int_equal(iqdb_load_async(world.pool, world.db, made->rows, LOADED, DIM, NULL, remember, &told[1], NULL, NULL),
						 IQDB_OK);
		iqdb_pool_wait(world.pool);
		for (int j = 0; j < 2; j++)
		{
			assert_int_equal(told[j].times, 1);
			assert_int_equal(told[j].outcome.status, IQDB_OK);
			assert_int_equal(told[j].outcome.stored, LOADED);
		}
		assert_true(progress.times[IQDB_LOAD_STORING] > 1);
		assert_int_equal(progress.times[IQDB_LOAD_LINKING] > 0, engines[i] != IQDB_ENGINE_FLAT);
		assert_int_equal(iqdb_len(world.db), LOADED);
		iqdb_stats(world.db, &stats);
		assert_int_equal(stats.index.engine.unlinked, 0);
		assert_int_equal(iqdb_check(world.db, NULL, NULL, NULL), IQDB_OK);
		world_close(&world);
	}
	free(made);
}

/* Both by the call's handle and by the program's progress: what was stored before is in, whole batches of it. */
static void
loading_that_runs_is_cancelled_and_keeps_what_is_stored(void **state)
{
	LoadRows        *made = make_rows();
	World            world;
	Gate             gate;
	Progress         progress = {.gate = &gate};
	IqdbLoadSettings settings = {.threads = 1, .progress = note_progress, .progress_arg = &progress};
	Told             told[2] = {{0}};
	IqdbCall        *call;

	world_open(&world, IQDB_ENGINE_HNSW, 1, 0);
	gate_init(&gate);
	assert_int_equal(iqdb_load_async(world.pool, world.db, made->rows, LOADED, DIM, &settings, remember, &told[0], &call, NULL),
					 IQDB_OK);
	gate_await(&gate, 1);
	iqdb_call_cancel(call);
	gate_open(&gate);
	iqdb_call_wait(call);
	iqdb_call_free(call);
	assert_int_equal(told[0].outcome.status, IQDB_ERR_CANCELLED);
	assert_true(told[0].outcome.stored > 0 && told[0].outcome.stored < LOADED);
	assert_int_equal(progress.times[IQDB_LOAD_STORING], 2);
	assert_int_equal(iqdb_len(world.db), told[0].outcome.stored);
	assert_int_equal(progress.times[IQDB_LOAD_LINKING], 0);

	progress.end_at = 1;
	assert_int_equal(iqdb_load_async(world.pool, world.db, made->rows, LOADED, DIM, &settings, remember, &told[1], NULL, NULL),
					 IQDB_OK);
	iqdb_pool_wait(world.pool);
	assert_int_equal(told[1].outcome.status, IQDB_ERR_CANCELLED);
	assert_int_equal(told[1].outcome.stored, told[0].outcome.stored);
	assert_int_equal(iqdb_len(world.db), told[0].outcome.stored);
	gate_free(&gate);
	world_close(&world);
	free(made);
}

/* The rows are the program's: what is wrong with one is said by the call, when the batches before it are in. */
static void
what_is_wrong_with_rows_to_be_loaded_is_told_to_the_callback(void **state)
{
	LoadRows *made = make_rows();
	World     world;
	Told      told[2] = {{0}};

	made->vectors[LOADED - 1][2] = NAN;
	world_open(&world, IQDB_ENGINE_FLAT, 1, 0);
	assert_int_equal(iqdb_load_async(world.pool, world.db, made->rows, LOADED, DIM, NULL, remember, &told[0], NULL, NULL),
					 IQDB_OK);
	assert_int_equal(iqdb_load_async(world.pool, world.db, NULL, 0, DIM, NULL, remember, &told[1], NULL, NULL), IQDB_OK);
	iqdb_pool_wait(world.pool);
	assert_int_equal(told[0].outcome.status, IQDB_ERR_VECTOR);
	assert_true(told[0].outcome.stored > 0 && told[0].outcome.stored < LOADED);
	assert_int_equal(iqdb_len(world.db), told[0].outcome.stored);
	assert_int_equal(told[1].outcome.status, IQDB_OK);
	assert_int_equal(told[1].outcome.stored, 0);
	world_close(&world);
	free(made);
}

/* Results of which nobody is told are freed: world_close counts what is left. */
static void
nobody_need_be_told(void **state)
{
	World         world;
	const float   vector[DIM] = {1};
	const IqdbRow row = {.id = iqdb_id_u64(1), .vector = vector};
	IqdbQuery     one = {.k = 1};

	world_open(&world, IQDB_ENGINE_FLAT, 1, 0);
	assert_int_equal(iqdb_upsert_async(world.pool, world.db, &row, DIM, NULL, NULL, NULL, NULL), IQDB_OK);
	assert_int_equal(iqdb_search_async(world.pool, world.db, vector, DIM, &one, NULL, NULL, NULL, NULL), IQDB_OK);
	assert_int_equal(iqdb_get_async(world.pool, world.db, row.id, NULL, NULL, NULL, NULL), IQDB_OK);
	world_close(&world);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_call_does_what_its_namesake_does),
		cmocka_unit_test(what_is_handed_over_is_copied),
		cmocka_unit_test(a_call_that_waits_is_cancelled_and_never_made),
		cmocka_unit_test(a_search_that_runs_is_cancelled),
		cmocka_unit_test(a_full_queue_refuses),
		cmocka_unit_test(bad_arguments_are_refused_at_once),
		cmocka_unit_test(without_memory_nothing_is_handed_over),
		cmocka_unit_test(waiting_is_for_what_callbacks_hand_over_too),
		cmocka_unit_test(destroying_makes_all_calls_first_and_handles_live_on),
		cmocka_unit_test(many_threads_hand_over_to_many),
		cmocka_unit_test(rows_are_loaded_by_a_pool),
		cmocka_unit_test(loading_that_runs_is_cancelled_and_keeps_what_is_stored),
		cmocka_unit_test(what_is_wrong_with_rows_to_be_loaded_is_told_to_the_callback),
		cmocka_unit_test(nobody_need_be_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
