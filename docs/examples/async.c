/*
 * async.c - writes, a load and searches that nobody waits for: a pool's threads make them, a callback is told. One search is
 * cancelled.
 */
#include <iqdb.h>
#include <stdio.h>
#include <stdlib.h>

#define ROWS 5000
#define MORE 1000
#define DIM 16
#define SEARCHES 8

/* A failure ends this program: its message names sizes and files, never the content of a row. */
static void
require(IqdbStatus status, const IqdbError *err)
{
	if (status == IQDB_OK)
		return;
	fprintf(stderr, "%s: %s\n", iqdb_status_name(status), err->message);
	exit(1);
}

static void
make_vector(unsigned number, float *vector)
{
	for (unsigned i = 0; i < DIM; i++)
		vector[i] = (float) (number * (i + 3) % 101);
}

/* A thread of the pool writes one of these, and nobody reads it before the pool has been waited for. */
typedef struct Answer
{
	IqdbStatus status;
	uint64_t   nearest;
} Answer;

static void
note_answer(void *arg, const IqdbOutcome *outcome)
{
	Answer *answer = arg;

	answer->status = outcome->status;
	if (outcome->status == IQDB_OK && outcome->result->count > 0)
		answer->nearest = outcome->result->found[0].id.number;
	iqdb_result_free(outcome->result);
}

static void
note_stored(void *arg, const IqdbOutcome *outcome)
{
	size_t *stored = arg;

	*stored = outcome->stored;
}

int
main(void)
{
	IqdbConfig     config = iqdb_config_default(IQDB_ENGINE_HNSW, DIM, IQDB_METRIC_L2);
	IqdbPoolConfig two = {0};
	IqdbQuery      nearest = {0};
	Answer         answers[SEARCHES] = {{IQDB_OK, 0}};
	static float   vectors[MORE][DIM];
	static IqdbRow rows[MORE];
	size_t         stored = 0;
	float          vector[DIM];
	Iqdb          *db;
	IqdbPool      *pool;
	IqdbCall      *call;
	IqdbError      err;

	two.threads = 2;
	nearest.k = 1;
	require(iqdb_open_in_memory(&config, &db, &err), &err);
	require(iqdb_pool_create(&two, &pool, &err), &err);
	/* rows are copied: the array is free for the next one at once */
	for (unsigned number = 0; number < ROWS; number++)
	{
		IqdbRow row = {iqdb_id_u64(number), vector, NULL, 0};

		make_vector(number, vector);
		require(iqdb_upsert_async(pool, db, &row, DIM, NULL, NULL, NULL, &err), &err);
	}
	/* these are not: they stay as they are until the callback */
	for (unsigned i = 0; i < MORE; i++)
	{
		rows[i].id = iqdb_id_u64(ROWS + i);
		rows[i].vector = vectors[i];
		make_vector(ROWS + i, vectors[i]);
	}
	require(iqdb_load_async(pool, db, rows, MORE, DIM, NULL, note_stored, &stored, NULL, &err), &err);
	iqdb_pool_wait(pool);
	printf("%u rows, %u of them loaded\n", (unsigned) iqdb_len(db), (unsigned) stored);

	for (unsigned i = 0; i < SEARCHES; i++)
	{
		make_vector(i * 7, vector);
		require(iqdb_search_async(pool, db, vector, DIM, &nearest, note_answer, &answers[i], NULL, &err), &err);
	}
	/* in time or too late: that is for the threads to say */
	require(iqdb_search_async(pool, db, vector, DIM, &nearest, NULL, NULL, &call, &err), &err);
	iqdb_call_cancel(call);
	iqdb_call_free(call);

	iqdb_pool_destroy(pool);
	for (unsigned i = 0; i < SEARCHES; i++)
		printf("%s: row %u\n", iqdb_status_name(answers[i].status), (unsigned) (answers[i].nearest % 101));
	require(iqdb_close(db, &err), &err);
	return 0;
}
