/*
 * test_handle_pass.c - searches of all rows by several threads beside the same by one: the same answers bit for bit, filters
 * and ties included; that there are threads; what ends one of them ends the search.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>

#include "core/base/rng.h"
#include "core/db/iqdb.h"
#include "core/meta/metadata.h"

#define DIM 128
#define ROWS 25000u /* whose codes have three megabytes: one for each thread */
#define DISTINCT 15000u
#define THREADS 3u
#define QUERIES 12u

/* ---- an allocator that knows which threads have asked it, and may refuse them ---- */

typedef struct Watch
{
	pthread_mutex_t mutex;
	pthread_t       threads[64];
	size_t          thread_count;
	bool            refuses; /* all threads but the first that asked */
	atomic_long     held;    /* bytes */
} Watch;

/* Returns how many have asked before this one, itself not counted. */
static size_t
note_thread(Watch *watch)
{
	size_t i = 0;

	pthread_mutex_lock(&watch->mutex);
	while (i < watch->thread_count && !pthread_equal(watch->threads[i], pthread_self()))
		i++;
	if (i == watch->thread_count)
	{
		assert_true(i < 64);
		watch->threads[watch->thread_count++] = pthread_self();
	}
	pthread_mutex_unlock(&watch->mutex);
	return i;
}

static void *
watch_resize(void *arg, void *memory, size_t old_size, size_t new_size)
{
	Watch *watch = arg;
	size_t place = note_thread(watch);

	if (watch->refuses && place > 0 && new_size > 0)
		return NULL;
	atomic_fetch_add(&watch->held, (long) new_size - (long) old_size);
	if (new_size > 0)
		return realloc(memory, new_size);
	free(memory);
	return NULL;
}

/* ---- databases with the same rows ---- */

typedef struct Pair
{
	Watch         watches[2];
	IqdbAllocator allocators[2];
	Iqdb         *alone;
	Iqdb         *threads;
} Pair;

static Iqdb *
make_database(IqdbEngineKind engine, IqdbMetric metric, IqdbQuantization quantization, bool with_field, unsigned threads,
			  Watch *watch, IqdbAllocator *allocator)
{
	static const IqdbField field = {.name = "n", .name_length = 1, .kind = IQDB_VALUE_INT};
	IqdbConfig             config = iqdb_config_default(engine, DIM, metric);
	Iqdb                  *db;

	memset(watch, 0, sizeof(*watch));
	assert_int_equal(pthread_mutex_init(&watch->mutex, NULL), 0);
	*allocator = (IqdbAllocator){watch_resize, watch};
	config.options.quantization = quantization;
	config.options.m = engine == IQDB_ENGINE_HNSW ? 4 : config.options.m;
	config.options.ef_construction = engine == IQDB_ENGINE_HNSW ? 8 : config.options.ef_construction;
	config.allocator = allocator;
	config.search_threads = threads;
	config.fields = &field;
	config.field_count = with_field;
	assert_int_equal(iqdb_open_in_memory(&config, &db, NULL), IQDB_OK);
	return db;
}

static void
random_vector(IqdbRng *rng, float *vector_out)
{
	for (size_t i = 0; i < DIM; i++)
		vector_out[i] = (float) iqdb_rng_unit(rng) - 0.5f;
}

/* Rows of which many have the same vector as an earlier one, each with a number; some are removed. */
static void
fill(Iqdb *db)
{
	float         *vectors = malloc(ROWS * DIM * sizeof(float));
	IqdbRow       *rows = calloc(ROWS, sizeof(IqdbRow));
	unsigned char *metadata[100];
	size_t         lengths[100];
	IqdbRng        rng;

	assert_true(vectors != NULL && rows != NULL);
	iqdb_rng_seed(&rng, 7);
	for (size_t i = 0; i < 100; i++)
	{
		IqdbMetadataBuilder builder;
		IqdbValue           value = iqdb_value_int((int64_t) i);

		iqdb_metadata_builder_init(&builder, NULL);
		assert_int_equal(iqdb_metadata_put(&builder, "n", 1, &value, NULL), IQDB_OK);
		assert_int_equal(iqdb_metadata_finish(&builder, &metadata[i], &lengths[i], NULL), IQDB_OK);
		iqdb_metadata_builder_free(&builder);
	}
	for (size_t i = 0; i < ROWS; i++)
	{
		float *vector = vectors + i * DIM;

		if (i < DISTINCT)
			random_vector(&rng, vector);
		else
			memcpy(vector, vectors + (i * 37 % DISTINCT) * DIM, DIM * sizeof(float));
		rows[i] = (IqdbRow){.id = iqdb_id_u64(i), .vector = vector, .metadata = metadata[i % 100],
							.metadata_length = lengths[i % 100]};
	}
	assert_int_equal(iqdb_load(db, rows, ROWS, DIM, NULL, NULL, NULL), IQDB_OK);
	for (uint64_t i = 0; i < ROWS; i += 11)
		assert_int_equal(iqdb_delete(db, iqdb_id_u64(i), NULL, NULL), IQDB_OK);
	for (size_t i = 0; i < 100; i++)
		iqdb_free(&iqdb_allocator_libc, metadata[i], lengths[i]);
	free(rows);
	free(vectors);
}

static void
open_pair(Pair *pair, IqdbEngineKind engine, IqdbMetric metric, IqdbQuantization quantization, bool with_field)
{
	pair->alone =
		make_database(engine, metric, quantization, with_field, 1, &pair->watches[0], &pair->allocators[0]);
	pair->threads =
		make_database(engine, metric, quantization, with_field, THREADS, &pair->watches[1], &pair->allocators[1]);
	fill(pair->alone);
	fill(pair->threads);
}

static void
close_pair(Pair *pair)
{
	assert_int_equal(iqdb_close(pair->alone, NULL), IQDB_OK);
	assert_int_equal(iqdb_close(pair->threads, NULL), IQDB_OK);
	for (int i = 0; i < 2; i++)
	{
		assert_int_equal(atomic_load(&pair->watches[i].held), 0);
		assert_int_equal(pthread_mutex_destroy(&pair->watches[i].mutex), 0);
	}
}

/* n < 30: 30 of 100 rows. */
static IqdbFilter *
make_filter(void)
{
	IqdbFilterBuilder builder;
	IqdbFilter       *filter;
	IqdbValue         value = iqdb_value_int(30);

	iqdb_filter_builder_init(&builder, NULL);
	assert_int_equal(iqdb_filter_finish(&builder, iqdb_filter_lt(&builder, "n", 1, &value), &filter, NULL), IQDB_OK);
	iqdb_filter_builder_free(&builder);
	return filter;
}

static void
assert_same_answer(Pair *pair, const float *query, const IqdbQuery *settings, bool same_work)
{
	IqdbResult *alone;
	IqdbResult *threads;

	assert_int_equal(iqdb_search_query(pair->alone, query, DIM, settings, &alone, NULL), IQDB_OK);
	assert_int_equal(iqdb_search_query(pair->threads, query, DIM, settings, &threads, NULL), IQDB_OK);
	assert_int_equal(threads->count, alone->count);
	for (size_t i = 0; i < alone->count; i++)
	{
		assert_int_equal(threads->found[i].id.number, alone->found[i].id.number);
		assert_memory_equal(&threads->found[i].distance, &alone->found[i].distance, sizeof(float));
		assert_int_equal(threads->found[i].metadata_length, alone->found[i].metadata_length);
	}
	assert_int_equal(threads->stats.way, alone->stats.way);
	if (same_work)
	{
		assert_int_equal(threads->stats.scored, alone->stats.scored);
		assert_int_equal(threads->stats.filtered, alone->stats.filtered);
	}
	iqdb_result_free(alone);
	iqdb_result_free(threads);
}

static void
assert_same_answers(IqdbEngineKind engine, IqdbMetric metric, IqdbQuantization quantization, bool with_field, bool exact)
{
	static const size_t wanted[] = {0, 1, 10, 700, ROWS};
	IqdbFilter         *filter = make_filter();
	IqdbRng             rng;
	Pair                pair;

	open_pair(&pair, engine, metric, quantization, with_field);
	iqdb_rng_seed(&rng, 8);
	for (size_t i = 0; i < QUERIES; i++)
	{
		float query[DIM];

		random_vector(&rng, query);
		for (size_t k = 0; k < sizeof(wanted) / sizeof(wanted[0]); k++)
		{
			IqdbQuery settings = {.k = wanted[k], .exact = exact, .filter = i % 2 == 0 ? filter : NULL};

			assert_same_answer(&pair, query, &settings, quantization == IQDB_QUANTIZATION_NONE || exact);
		}
	}
	assert_int_equal(pair.watches[0].thread_count, 1);
	assert_true(pair.watches[1].thread_count > 1);
	close_pair(&pair);
	iqdb_filter_free(&iqdb_allocator_libc, filter);
}

static void
answers_are_those_of_one_thread(void **state)
{
	assert_same_answers(IQDB_ENGINE_FLAT, IQDB_METRIC_L2, IQDB_QUANTIZATION_NONE, false, false);
	assert_same_answers(IQDB_ENGINE_FLAT, IQDB_METRIC_COSINE, IQDB_QUANTIZATION_NONE, true, false);
}

static void
also_by_codes(void **state)
{
	assert_same_answers(IQDB_ENGINE_FLAT, IQDB_METRIC_L2, IQDB_QUANTIZATION_SQ8, true, false);
	assert_same_answers(IQDB_ENGINE_FLAT, IQDB_METRIC_DOT, IQDB_QUANTIZATION_SQ8, false, false);
}

static void
also_of_approximate_engines_when_exact_is_asked(void **state)
{
	assert_same_answers(IQDB_ENGINE_HNSW, IQDB_METRIC_L2, IQDB_QUANTIZATION_NONE, false, true);
}

static void
not_where_the_engine_chooses_the_rows(void **state)
{
	IqdbQuery settings = {.k = 10, .ef = 64};
	IqdbRng   rng;
	Pair      pair;

	open_pair(&pair, IQDB_ENGINE_HNSW, IQDB_METRIC_L2, IQDB_QUANTIZATION_NONE, false);
	iqdb_rng_seed(&rng, 9);
	for (size_t i = 0; i < QUERIES; i++)
	{
		float query[DIM];

		random_vector(&rng, query);
		assert_same_answer(&pair, query, &settings, true);
	}
	assert_int_equal(pair.watches[1].thread_count, 1);
	close_pair(&pair);
}

static void
nor_in_batches(void **state)
{
	float      *queries = malloc(QUERIES * DIM * sizeof(float));
	IqdbResult *results[QUERIES];
	IqdbRng     rng;
	Pair        pair;

	assert_non_null(queries);
	open_pair(&pair, IQDB_ENGINE_FLAT, IQDB_METRIC_L2, IQDB_QUANTIZATION_NONE, false);
	iqdb_rng_seed(&rng, 10);
	for (size_t i = 0; i < QUERIES; i++)
		random_vector(&rng, queries + i * DIM);
	assert_int_equal(iqdb_search_batch(pair.threads, queries, QUERIES, DIM, 10, results, NULL), IQDB_OK);
	assert_int_equal(pair.watches[1].thread_count, 1);
	for (size_t i = 0; i < QUERIES; i++)
	{
		IqdbResult *alone;

		assert_int_equal(iqdb_search(pair.alone, queries + i * DIM, DIM, 10, &alone, NULL), IQDB_OK);
		assert_int_equal(results[i]->count, alone->count);
		for (size_t j = 0; j < alone->count; j++)
			assert_int_equal(results[i]->found[j].id.number, alone->found[j].id.number);
		iqdb_result_free(alone);
		iqdb_result_free(results[i]);
	}
	close_pair(&pair);
	free(queries);
}

/* ---- what ends a search ---- */

static bool
always(void *arg)
{
	(void) arg;
	return true;
}

static void
one_thread_that_fails_is_a_search_that_fails(void **state)
{
	static const float query[DIM] = {1};
	IqdbResult        *result;
	IqdbQuery          settings = {.k = 10};
	IqdbError          error;
	Pair               pair;

	open_pair(&pair, IQDB_ENGINE_FLAT, IQDB_METRIC_L2, IQDB_QUANTIZATION_NONE, false);
	pair.watches[1].refuses = true;
	assert_int_equal(iqdb_search_query(pair.threads, query, DIM, &settings, &result, &error), IQDB_ERR_NOMEM);
	assert_int_equal(error.code, IQDB_ERR_NOMEM);
	assert_null(result);
	assert_int_equal(iqdb_search_query(pair.threads, query, DIM, &settings, &result, NULL), IQDB_ERR_NOMEM);
	pair.watches[1].refuses = false;

	settings.cancelled = always;
	assert_int_equal(iqdb_search_query(pair.threads, query, DIM, &settings, &result, NULL), IQDB_ERR_CANCELLED);
	settings.cancelled = NULL;
	assert_same_answer(&pair, query, &settings, true);
	close_pair(&pair);
}

static void
too_many_threads_are_refused(void **state)
{
	IqdbConfig config = iqdb_config_default(IQDB_ENGINE_FLAT, DIM, IQDB_METRIC_L2);
	Iqdb      *db;

	config.search_threads = 65;
	assert_int_equal(iqdb_open_in_memory(&config, &db, NULL), IQDB_ERR_CONFIG);
	config.search_threads = 64;
	assert_int_equal(iqdb_open_in_memory(&config, &db, NULL), IQDB_OK);
	assert_int_equal(iqdb_close(db, NULL), IQDB_OK);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_are_those_of_one_thread),
		cmocka_unit_test(also_by_codes),
		cmocka_unit_test(also_of_approximate_engines_when_exact_is_asked),
		cmocka_unit_test(not_where_the_engine_chooses_the_rows),
		cmocka_unit_test(nor_in_batches),
		cmocka_unit_test(one_thread_that_fails_is_a_search_that_fails),
		cmocka_unit_test(too_many_threads_are_refused),
	};

	return cmocka_run_group_tests_name("handle_pass", tests, NULL, NULL);
}
