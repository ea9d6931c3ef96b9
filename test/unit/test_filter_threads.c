/*
 * test_filter_threads.c - searches with filters beside writers and repairs, on every engine. Made for the thread sanitizer as
 * well; what can be seen from outside is asserted: a stream to its end has each row that passes and that nobody touches exactly
 * once, and none that does not pass.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>

#include "core/base/rng.h"
#include "harness/memory_index.h"

#define SEED UINT64_C(20261202)
#define MEMORY_MAX (UINT64_C(64) * 1024 * 1024)
#define DIM 16
#define STABLE 1600 /* rows nobody touches */
#define ROWS 2000
#define VALUES 50   /* a row's value is its number modulo this, always */
#define WRITERS 2
#define ROUNDS 1500
#define SEARCHES 60

typedef struct Shared
{
	MemoryIndex      memory;
	IqdbIdSet        ids; /* every third row */
	_Atomic uint32_t writing;
	_Atomic uint32_t faults;
} Shared;

typedef struct Actor
{
	Shared  *shared;
	uint64_t number;
} Actor;

static void
fault(Shared *shared, const char *what)
{
	printf("# %s\n", what);
	shared->faults++;
}

static IqdbStatus
put(Shared *shared, IqdbRng *rng, uint64_t id, bool link)
{
	IqdbIndex       *index = &shared->memory.index;
	float            vector[DIM];
	IqdbRow          row = {.id = iqdb_id_u64(id), .vector = vector};
	IqdbColumnValues columns = {.values = {(int64_t) (id % VALUES)}};
	uint32_t         slot;

	for (size_t d = 0; d < DIM; d++)
		vector[d] = (float) iqdb_rng_below(rng, 1000) / 100.0f;
	IQDB_TRY(iqdb_index_put_row(index, &row, DIM, &columns, &slot, NULL));
	return link ? iqdb_index_link(index, slot, NULL) : IQDB_OK;
}

/* Each writer has rows of its own. */
static void *
write_rows(void *arg)
{
	Actor  *actor = arg;
	Shared *shared = actor->shared;
	IqdbRng rng;

	iqdb_rng_seed(&rng, SEED + actor->number);
	for (int i = 0; i < ROUNDS; i++)
	{
		uint64_t id = STABLE + WRITERS * iqdb_rng_below(&rng, (ROWS - STABLE) / WRITERS) + actor->number;

		if (iqdb_rng_below(&rng, 3) == 0)
			iqdb_index_remove(&shared->memory.index, iqdb_id_u64(id), NULL);
		else if (put(shared, &rng, id, i % 4 != 0) != IQDB_OK)
			fault(shared, "a row could not be put");
		if (i % 100 == 99 && iqdb_index_maintain(&shared->memory.index, IQDB_MAINTAIN_VACUUM, NULL) != IQDB_OK)
			fault(shared, "a repair failed");
	}
	shared->writing--;
	return NULL;
}

static bool
passes(const Shared *shared, const IqdbRowFilter *filter, uint64_t id)
{
	int64_t value = (int64_t) (id % VALUES);

	return value >= filter->tests[0].low && value <= filter->tests[0].high &&
		   (filter->ids == NULL || iqdb_id_set_contains(&shared->ids, id));
}

static void
search(Shared *shared, IqdbRng *rng, const IqdbRowFilter *filter)
{
	IqdbSearchParams params = {.expected = iqdb_rng_below(rng, 2) * 10, .filter = filter};
	bool             seen[ROWS] = {false};
	float            query[DIM];
	IqdbCursor      *cursor;
	IqdbHit          hits[64];
	size_t           count = 0;

	for (size_t d = 0; d < DIM; d++)
		query[d] = (float) iqdb_rng_below(rng, 1000) / 100.0f;
	if (iqdb_cursor_open(&shared->memory.index, query, DIM, &params, &cursor, NULL) != IQDB_OK)
	{
		fault(shared, "a search could not start");
		return;
	}
	do
	{
		if (iqdb_cursor_next(cursor, hits, 64, &count, NULL) != IQDB_OK)
			fault(shared, "a search failed");
		for (size_t i = 0; i < count; i++)
		{
			/* a row that is replaced during the stream may be met again, as another one */
			if (!passes(shared, filter, hits[i].id) || (seen[hits[i].id] && hits[i].id < STABLE))
				fault(shared, "a row does not pass, or was met twice");
			seen[hits[i].id] = true;
		}
	} while (count > 0);
	for (uint64_t id = 0; id < STABLE; id++)
	{
		if (passes(shared, filter, id) && !seen[id])
			fault(shared, "a row was left out");
	}
	iqdb_cursor_close(cursor);
}

/* At least so many searches, and as long as there are writers. */
static void *
search_rows(void *arg)
{
	Actor  *actor = arg;
	Shared *shared = actor->shared;
	IqdbRng rng;

	iqdb_rng_seed(&rng, SEED + 100 + actor->number);
	for (int i = 0; i < SEARCHES || shared->writing > 0; i++)
	{
		int64_t       low = (int64_t) iqdb_rng_below(&rng, VALUES);
		int64_t       high = i % 3 == 1 ? low : low + VALUES / 2;
		IqdbTest      test = {.kind = IQDB_TEST_BETWEEN, .low = i % 3 == 0 ? 0 : low, .high = high};
		IqdbRowFilter filter = {.tests = &test, .test_count = 1, .ids = i % 4 == 0 ? &shared->ids : NULL};

		search(shared, &rng, &filter);
	}
	return NULL;
}

static void
mix(IqdbEngineKind engine, uint32_t quantization)
{
	static Shared    shared;
	IqdbIndexOptions options = iqdb_index_options_default(engine, DIM, IQDB_METRIC_L2);
	void *(*const    work[])(void *) = {write_rows, write_rows, search_rows, search_rows};
	pthread_t        threads[4];
	Actor            actors[4];
	IqdbRng          rng;

	memset(&shared, 0, sizeof(shared));
	options.quantization = quantization;
	options.column_count = 1;
	options.columns[0] = IQDB_COLUMN_INT2;
	options.lists = engine == IQDB_ENGINE_IVF ? 30 : 0;
	iqdb_rng_seed(&rng, SEED);
	memory_index_create(&shared.memory, &options, &iqdb_locks_pthread, NULL, MEMORY_MAX);
	for (uint64_t id = 0; id < STABLE; id++)
		assert_int_equal(put(&shared, &rng, id, engine != IQDB_ENGINE_IVF), IQDB_OK);
	assert_int_equal(iqdb_index_maintain(&shared.memory.index, IQDB_MAINTAIN_BUILD, NULL), IQDB_OK);
	iqdb_id_set_init(&shared.ids, &iqdb_allocator_libc);
	for (uint64_t id = 0; id < ROWS; id += 3)
		assert_int_equal(iqdb_id_set_add(&shared.ids, id, NULL), IQDB_OK);
	shared.writing = WRITERS;
	for (uint64_t i = 0; i < 4; i++)
	{
		actors[i] = (Actor){&shared, i};
		assert_int_equal(pthread_create(&threads[i], NULL, work[i], &actors[i]), 0);
	}
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(shared.faults, 0);
	assert_true(memory_index_sound(&shared.memory.index));
	iqdb_id_set_free(&shared.ids);
	memory_index_destroy(&shared.memory);
}

static void
rows_that_pass_are_found_beside_writers(void **state)
{
	(void) state;
	mix(IQDB_ENGINE_FLAT, IQDB_QUANTIZATION_SQ8);
	mix(IQDB_ENGINE_HNSW, IQDB_QUANTIZATION_SQ8);
	mix(IQDB_ENGINE_HNSW, IQDB_QUANTIZATION_NONE);
	mix(IQDB_ENGINE_IVF, IQDB_QUANTIZATION_SQ8);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_that_pass_are_found_beside_writers),
	};

	return cmocka_run_group_tests_name("filter_threads", tests, NULL, NULL);
}
