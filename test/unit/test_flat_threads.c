/*
 * test_flat_threads.c - searches, writers and moving centres of one flat index with codes at the same time; also run under
 * a race detector.
 *
 * Some rows never change: a search that goes to its end must meet each of them exactly once, and one that stops must have
 * met all of them that are nearer than its last hit. All other rows come and go, and each carries its id in its vector, so
 * that a hit of a wrong row shows.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>

#include "core/base/rng.h"
#include "harness/memory_index.h"
#include "harness/metrics.h"

#define SEED UINT64_C(20251124)
#define DIM 24
#define STABLE 1500u
#define MOVING 2500u
#define WRITERS 2
#define SEARCHERS 2
#define WORKERS (WRITERS + SEARCHERS + 1)
#define OPERATIONS 30000
#define MEMORY_MAX (UINT64_C(64) * 1024 * 1024)

typedef struct Shared
{
	IqdbIndex       *index;
	float            stable[STABLE][DIM];
	_Atomic int      writers; /* still at work */
	_Atomic uint64_t faults;
	_Atomic uint64_t searches;
	_Atomic uint64_t moves;
	_Atomic uint64_t read;
	_Atomic uint64_t scored;
} Shared;

typedef struct Worker
{
	Shared   *shared;
	uint64_t  number;
	pthread_t thread;
} Worker;

/* The first component is the id; the others drift, so that a centre is worth moving. */
static void
make_vector(IqdbRng *rng, uint64_t id, float drift, float *vector)
{
	vector[0] = (float) id;
	for (int d = 1; d < DIM; d++)
		vector[d] = drift + (float) iqdb_rng_below(rng, 1000);
}

static void
fault(Shared *shared, const char *what)
{
	if (atomic_fetch_add(&shared->faults, 1) < 10)
		fprintf(stderr, "%s\n", what);
}

static void *
write_rows(void *arg)
{
	Worker *worker = arg;
	Shared *shared = worker->shared;
	IqdbRng rng;

	iqdb_rng_seed(&rng, SEED + worker->number);
	for (int i = 0; i < OPERATIONS; i++)
	{
		uint64_t id = STABLE + iqdb_rng_below(&rng, MOVING);
		float    vector[DIM];
		uint32_t slot;

		if (iqdb_rng_below(&rng, 10) < 3)
			iqdb_index_remove(shared->index, iqdb_id_u64(id), NULL);
		else
		{
			make_vector(&rng, id, (float) (i % 5000), vector);
			if (iqdb_index_put(shared->index, iqdb_id_u64(id), vector, DIM, NULL, 0, &slot, NULL) != IQDB_OK)
				fault(shared, "a put failed");
			else if (iqdb_index_link(shared->index, slot, NULL) != IQDB_OK)
				fault(shared, "a link failed");
		}
	}
	atomic_fetch_sub(&shared->writers, 1);
	return NULL;
}

/* What a hit says of itself. */
static void
look_at(Shared *shared, const float *query, const IqdbHit *hit, unsigned char *met)
{
	float least = (query[0] - (float) hit->id) * (query[0] - (float) hit->id);

	if (hit->id >= STABLE + MOVING || hit->key < least)
		fault(shared, "a hit is not the row it says");
	else if (hit->id < STABLE && met[hit->id]++ != 0)
		fault(shared, "a row came twice");
}

static void
search_once(Shared *shared, IqdbRng *rng)
{
	IqdbSearchParams params = {.expected = 1 + iqdb_rng_below(rng, 20)};
	bool             to_the_end = iqdb_rng_below(rng, 4) == 0;
	unsigned char    met[STABLE] = {0};
	float            last = -1.0f;
	float            query[DIM];
	IqdbCursor      *cursor;
	IqdbHit          hits[20];
	size_t           count;

	make_vector(rng, iqdb_rng_below(rng, STABLE + MOVING), 0.0f, query);
	if (iqdb_cursor_open(shared->index, query, DIM, &params, &cursor, NULL) != IQDB_OK)
	{
		fault(shared, "a search could not start");
		return;
	}
	do
	{
		if (iqdb_cursor_next(cursor, hits, 20, &count, NULL) != IQDB_OK)
		{
			fault(shared, "a search failed");
			break;
		}
		for (size_t i = 0; i < count; i++)
		{
			look_at(shared, query, &hits[i], met);
			if (hits[i].key < last)
				fault(shared, "hits are out of order");
			last = hits[i].key;
		}
	} while (count > 0 && to_the_end);
	atomic_fetch_add(&shared->read, cursor->stats.reranked);
	atomic_fetch_add(&shared->scored, cursor->stats.scored);
	iqdb_cursor_close(cursor);
	for (uint64_t id = 0; id < STABLE; id++)
	{
		float key = floats_key(shared->index->store.kernels, IQDB_METRIC_L2, query, shared->stable[id], DIM);

		if (met[id] == 0 && (to_the_end || key < last))
			fault(shared, "a row was missed");
	}
	atomic_fetch_add(&shared->searches, 1);
}

static void *
search_rows(void *arg)
{
	Worker *worker = arg;
	IqdbRng rng;

	iqdb_rng_seed(&rng, SEED + 100 + worker->number);
	while (atomic_load(&worker->shared->writers) > 0)
		search_once(worker->shared, &rng);
	return NULL;
}

static void *
move_centres(void *arg)
{
	Worker *worker = arg;
	Shared *shared = worker->shared;

	while (atomic_load(&shared->writers) > 0)
	{
		if (iqdb_index_maintain(shared->index, IQDB_MAINTAIN_OPTIMIZE, NULL) != IQDB_OK)
			fault(shared, "moving the centre failed");
		atomic_fetch_add(&shared->moves, 1);
	}
	return NULL;
}

static void *(*const work[WORKERS])(void *) = {write_rows, write_rows, search_rows, search_rows, move_centres};

static void
rows_change_while_they_are_searched(void **state)
{
	static Shared    shared = {.writers = WRITERS};
	IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_FLAT, DIM, IQDB_METRIC_L2);
	MemoryIndex      memory;
	Worker           workers[WORKERS];
	IqdbRng          rng;

	(void) state;
	options.quantization = IQDB_QUANTIZATION_SQ8;
	memory_index_create(&memory, &options, &iqdb_locks_pthread, NULL, MEMORY_MAX);
	iqdb_rng_seed(&rng, SEED);
	for (uint64_t id = 0; id < STABLE; id++)
	{
		make_vector(&rng, id, 0.0f, shared.stable[id]);
		assert_int_equal(iqdb_index_put(&memory.index, iqdb_id_u64(id), shared.stable[id], DIM, NULL, 0, NULL, NULL),
						 IQDB_OK);
	}
	shared.index = &memory.index;
	for (uint64_t i = 0; i < WORKERS; i++)
	{
		workers[i] = (Worker){.shared = &shared, .number = i};
		assert_int_equal(pthread_create(&workers[i].thread, NULL, work[i], &workers[i]), 0);
	}
	for (int i = 0; i < WORKERS; i++)
		assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
	search_once(&shared, &rng);
	print_message("%llu searches, %llu moves, %.1f %% of vectors read\n",
				  (unsigned long long) atomic_load(&shared.searches), (unsigned long long) atomic_load(&shared.moves),
				  100.0 * (double) atomic_load(&shared.read) / (double) (atomic_load(&shared.scored) + 1));
	assert_int_equal(atomic_load(&shared.faults), 0);
	assert_true(memory_index_sound(&memory.index));
	memory_index_destroy(&memory);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(rows_change_while_they_are_searched)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
