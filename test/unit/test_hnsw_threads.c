/*
 * test_hnsw_threads.c - inserters, searchers, deleters, repairs and snapshots at the same time, on one graph.
 *
 * Made for the thread sanitizer, which sees what went wrong; what can be seen from outside is asserted here: no search
 * returns a row twice or one that was gone before it began, every row that nobody touches is found at last, and the graph
 * is sound when all is quiet.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>

#include "unit/hnsw_samples.h"

#define SEED UINT64_C(20250414)
#define DIM 16
#define STABLE 1500 /* rows nobody touches */
#define ROWS 3000
#define ROUNDS 600

typedef struct Mix
{
	MemoryIndex      memory;
	Samples          samples;
	_Atomic uint32_t running; /* writers */
	_Atomic uint32_t problems;
} Mix;

typedef struct Actor
{
	Mix     *mix;
	uint64_t number;
} Actor;

static void
problem(Mix *mix, const char *what)
{
	printf("# %s\n", what);
	mix->problems++;
}

/* Each writer has rows of its own: puts, replaces and removes them. */
static void *
writer(void *arg)
{
	Actor  *actor = arg;
	Mix    *mix = actor->mix;
	IqdbRng rng;

	iqdb_rng_seed(&rng, SEED + actor->number);
	for (int i = 0; i < ROUNDS; i++)
	{
		size_t   row = STABLE + 3 * iqdb_rng_below(&rng, (ROWS - STABLE) / 3) + actor->number;
		uint32_t slot;

		if (iqdb_rng_below(&rng, 3) == 0)
			iqdb_index_remove(&mix->memory.index, iqdb_id_u64(row), NULL);
		else if (iqdb_index_put(&mix->memory.index, iqdb_id_u64(row), samples_row(&mix->samples, row), mix->samples.dim,
								NULL, 0, &slot, NULL) != IQDB_OK ||
				 (i % 8 != 0 && iqdb_index_link(&mix->memory.index, slot, NULL) != IQDB_OK))
			problem(mix, "a row could not be put");
	}
	mix->running--;
	return NULL;
}

static void *
searcher(void *arg)
{
	Actor         *actor = arg;
	Mix           *mix = actor->mix;
	IqdbRng        rng;
	unsigned char *seen = malloc(ROWS);

	iqdb_rng_seed(&rng, SEED + 100 + actor->number);
	if (seen == NULL)
		abort();
	while (mix->running > 0)
	{
		IqdbSearchParams params = {.ef = 12};
		IqdbCursor      *cursor;
		IqdbHit          hits[64];
		size_t           count = 1;
		size_t           stable = 0;
		bool             to_the_end = iqdb_rng_below(&rng, 10) == 0;
		const void      *query = samples_row(&mix->samples, iqdb_rng_below(&rng, ROWS));

		memset(seen, 0, ROWS);
		if (iqdb_cursor_open(&mix->memory.index, query, mix->samples.dim, &params, &cursor, NULL) != IQDB_OK)
			abort();
		for (int batch = 0; count > 0 && (batch < 3 || to_the_end); batch++)
		{
			if (iqdb_cursor_next(cursor, hits, 64, &count, NULL) != IQDB_OK)
				abort();
			for (size_t i = 0; i < count; i++)
			{
				/* a row replaced while we look is another row: it may come again */
				if (hits[i].id < STABLE && seen[hits[i].id]++ != 0)
					problem(mix, "a row was returned twice");
				stable += hits[i].id < STABLE;
			}
		}
		iqdb_cursor_close(cursor);
		if (to_the_end && stable != STABLE)
			problem(mix, "a row was not found");
	}
	free(seen);
	return NULL;
}

static void *
keeper(void *arg)
{
	Actor *actor = arg;
	Mix   *mix = actor->mix;

	for (int round = 0; mix->running > 0; round++)
	{
		MemorySnapshot  snapshot;
		IqdbSectionSink sink;
		uint64_t        linked;

		if (iqdb_index_maintain(&mix->memory.index, IQDB_MAINTAIN_VACUUM, NULL) != IQDB_OK ||
			iqdb_index_link_pending(&mix->memory.index, 20, &linked, NULL) != IQDB_OK)
			problem(mix, "a repair failed");
		if (round % 4 != 0)
			continue;
		memory_snapshot_init(&snapshot);
		sink = memory_snapshot_sink(&snapshot);
		if (iqdb_index_save(&mix->memory.index, &sink, NULL) != IQDB_OK)
			problem(mix, "a snapshot failed");
		memory_snapshot_free(&snapshot);
	}
	return NULL;
}

static void
start(pthread_t *thread, void *(*work)(void *), Actor *actor, Mix *mix, uint64_t number)
{
	*actor = (Actor){mix, number};
	assert_int_equal(pthread_create(thread, NULL, work, actor), 0);
}

static void
mixed(IqdbMetric metric, IqdbQuantization quantization)
{
	Mix       *mix = calloc(1, sizeof(*mix));
	Actor      actors[6];
	pthread_t  threads[6];
	IqdbHit    hits[1];
	IqdbStatus status;
	size_t     missed = 0;

	assert_non_null(mix);
	samples_make(&mix->samples, ROWS, DIM, 20, SEED);
	samples_index(&mix->memory, &mix->samples, metric, quantization, 6, 24);
	for (size_t i = 0; i < STABLE; i++)
		assert_int_equal(samples_put(&mix->memory, &mix->samples, i, i % 50 != 0), IQDB_OK);
	mix->running = 3;
	for (uint64_t i = 0; i < 3; i++)
		start(&threads[i], writer, &actors[i], mix, i);
	start(&threads[3], searcher, &actors[3], mix, 0);
	start(&threads[4], searcher, &actors[4], mix, 1);
	start(&threads[5], keeper, &actors[5], mix, 0);
	for (int i = 0; i < 6; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(mix->problems, 0);
	assert_true(memory_index_sound(&mix->memory.index));
	status = iqdb_index_maintain(&mix->memory.index, IQDB_MAINTAIN_OPTIMIZE, NULL);
	assert_int_equal(status, IQDB_OK);
	assert_true(memory_index_sound(&mix->memory.index));
	/* the graph depends on how the threads took turns: a search may miss a row now and then, not more */
	for (size_t i = 0; i < STABLE; i += 10)
	{
		assert_int_equal(samples_search(&mix->memory, samples_row(&mix->samples, i), 48, hits, 1), 1);
		missed += hits[0].id != i;
	}
	assert_in_range(missed, 0, STABLE / 10 / 20);
	memory_index_destroy(&mix->memory);
	samples_free(&mix->samples);
	free(mix);
}

static void
test_mixed_coded(void **state)
{
	mixed(IQDB_METRIC_L2, IQDB_QUANTIZATION_SQ8);
	mixed(IQDB_METRIC_COSINE, IQDB_QUANTIZATION_BQ);
}

static void
test_mixed_plain(void **state)
{
	mixed(IQDB_METRIC_L1, IQDB_QUANTIZATION_NONE);
}

/* From nothing: the first node, the first levels, and everybody at once. */
static void *
founder(void *arg)
{
	Actor *actor = arg;

	for (size_t i = actor->number; i < 400; i += 4)
	{
		uint32_t slot;

		if (iqdb_index_put(&actor->mix->memory.index, iqdb_id_u64(i), samples_row(&actor->mix->samples, i),
						   actor->mix->samples.dim, NULL, 0, &slot, NULL) != IQDB_OK ||
			iqdb_index_link(&actor->mix->memory.index, slot, NULL) != IQDB_OK)
			problem(actor->mix, "a row could not be put");
	}
	return NULL;
}

static void
test_from_nothing(void **state)
{
	for (uint64_t round = 0; round < 10; round++)
	{
		Mix       *mix = calloc(1, sizeof(*mix));
		Actor      actors[4];
		pthread_t  threads[4];
		IqdbHit    hits[400];

		static const IqdbQuantization quantizations[] = {IQDB_QUANTIZATION_NONE, IQDB_QUANTIZATION_SQ8,
														 IQDB_QUANTIZATION_BQ};

		assert_non_null(mix);
		samples_make(&mix->samples, 400, DIM, 0, SEED + round);
		samples_index(&mix->memory, &mix->samples, IQDB_METRIC_COSINE, quantizations[round % 3], 4, 16);
		for (uint64_t i = 0; i < 4; i++)
			start(&threads[i], founder, &actors[i], mix, i);
		for (int i = 0; i < 4; i++)
			assert_int_equal(pthread_join(threads[i], NULL), 0);
		assert_int_equal(mix->problems, 0);
		assert_true(memory_index_sound(&mix->memory.index));
		assert_int_equal(samples_search(&mix->memory, samples_row(&mix->samples, 0), 8, hits, 400), 400);
		memory_index_destroy(&mix->memory);
		samples_free(&mix->samples);
		free(mix);
	}
}

static void
test_mixed_elements(void **state)
{
	samples_element = IQDB_ELEMENT_F16;
	mixed(IQDB_METRIC_L2, IQDB_QUANTIZATION_SQ8);
	mixed(IQDB_METRIC_COSINE, IQDB_QUANTIZATION_NONE);
	samples_element = IQDB_ELEMENT_BIT;
	mixed(IQDB_METRIC_HAMMING, IQDB_QUANTIZATION_NONE);
	samples_element = IQDB_ELEMENT_F32;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_from_nothing),
		cmocka_unit_test(test_mixed_coded),
		cmocka_unit_test(test_mixed_plain),
		cmocka_unit_test(test_mixed_elements),
	};

	printf("# seed %llu\n", (unsigned long long) SEED);
	return cmocka_run_group_tests_name("hnsw_threads", tests, NULL, NULL);
}
