/*
 * test_scorer.c - what all engines compare rows by: a row's key is the same however it is asked for, and the filter is asked
 * of each row once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "core/engine/scorer.h"
#include "core/meta/metadata.h"
#include "harness/elements.h"
#include "harness/memory_index.h"
#include "harness/metrics.h"

#define SEED UINT64_C(20261130)
#define MEMORY_MAX (UINT64_C(64) * 1024 * 1024)
#define DIM 21
/* more than two calls of a gather kernel, and no multiple of anything */
#define ROWS (2 * IQDB_SCORER_ROWS + 77)

/* Row i has the metadata {even: i % 2 == 0}, but every seventh has none. */
static void
put_rows(IqdbIndex *index, IqdbRng *rng)
{
	for (uint32_t i = 0; i < ROWS; i++)
	{
		_Alignas(4) unsigned char vector[ELEMENT_BYTES(DIM)];
		IqdbMetadataBuilder builder;
		IqdbValue           even = iqdb_value_bool(i % 2 == 0);
		unsigned char      *bytes = NULL;
		size_t              length = 0;
		uint32_t            slot;

		iqdb_metadata_builder_init(&builder, &iqdb_allocator_libc);
		if (i % 7 != 0)
		{
			assert_int_equal(iqdb_metadata_put(&builder, "even", 4, &even, NULL), IQDB_OK);
			assert_int_equal(iqdb_metadata_finish(&builder, &bytes, &length, NULL), IQDB_OK);
		}
		element_draw(rng, index->store.header->options.element, DIM, 6, vector);
		assert_int_equal(iqdb_index_put(index, iqdb_id_u64(i), vector, DIM, bytes, length, &slot, NULL), IQDB_OK);
		assert_int_equal(slot, i);
		iqdb_free(&iqdb_allocator_libc, bytes, length);
		iqdb_metadata_builder_free(&builder);
	}
}

/* The key says what the distance in double says, as exactly as single precision may. */
static void
compare_to_distance(const IqdbStore *store, const void *vector, uint32_t slot, float key)
{
	IqdbMetric metric = (IqdbMetric) store->header->options.metric;
	double     expected = iqdb_element_distance(store->kernels, store->element, metric, vector,
												iqdb_store_vector(store, slot), DIM);
	double     lengths = 0.0;

	/* inner products: what was added up may have cancelled out */
	if (store->metric->form == IQDB_KEY_NEGATED)
		lengths = sqrt(iqdb_element_distance(store->kernels, store->element, metric, vector, vector, DIM) *
					   iqdb_element_distance(store->kernels, store->element, metric, iqdb_store_vector(store, slot),
											 iqdb_store_vector(store, slot), DIM));
	assert_true(fabs(iqdb_metric_distance(metric, key) - expected) <= 1e-4 + 1e-3 * fabs(expected) + 1e-5 * lengths);
}

static void
compare_ways(MemoryIndex *memory, const void *vector)
{
	const IqdbStore *store = &memory->index.store;
	IqdbScorer       scorer;
	float            query[DIM];
	uint32_t         slots[ROWS];
	float            range[ROWS];
	float            gathered[ROWS];

	iqdb_scorer_init(&scorer, store, NULL, NULL);
	iqdb_scorer_aim(&scorer, iqdb_element_prepare(store->kernels, store->element, vector, DIM, query),
					store->row_kernels->norm2(vector, DIM));
	iqdb_scorer_range(&scorer, 0, ROWS, range);
	/* every row, in an order in which no two neighbours follow each other */
	for (uint32_t i = 0; i < ROWS; i++)
		slots[i] = (uint32_t) ((uint64_t) i * 37 % ROWS);
	iqdb_scorer_slots(&scorer, slots, ROWS, gathered);
	for (uint32_t i = 0; i < ROWS; i++)
	{
		float single;

		iqdb_scorer_slots(&scorer, &slots[i], 1, &single);
		assert_memory_equal(&gathered[i], &range[slots[i]], sizeof(float));
		assert_memory_equal(&gathered[i], &single, sizeof(float));
		assert_true(isfinite(single));
		compare_to_distance(store, vector, slots[i], single);
	}
}

static void
test_all_ways_give_the_same_keys(void **state)
{
	(void) state;
	FOR_ELEMENTS(element, metric)
	{
		IqdbIndexOptions          options = iqdb_index_options_default(IQDB_ENGINE_FLAT, DIM, (IqdbMetric) metric);
		_Alignas(4) unsigned char vector[ELEMENT_BYTES(DIM)];
		MemoryIndex               memory;
		IqdbRng                   rng;

		iqdb_index_options_of_element(&options, (IqdbElementKind) element);
		iqdb_rng_seed(&rng, SEED + 16 * element + metric);
		memory_index_create(&memory, &options, &iqdb_locks_none, NULL, MEMORY_MAX);
		put_rows(&memory.index, &rng);
		for (int i = 0; i < 20; i++)
		{
			element_draw(&rng, element, DIM, 6, vector);
			compare_ways(&memory, vector);
		}
		memory_index_destroy(&memory);
	}
}

static void
test_the_filter_is_asked_once_of_each_row(void **state)
{
	IqdbIndexOptions  options = iqdb_index_options_default(IQDB_ENGINE_FLAT, DIM, IQDB_METRIC_L2);
	IqdbValue         yes = iqdb_value_bool(true);
	IqdbFilterBuilder builder;
	IqdbFilter       *filter = NULL;
	uint64_t          filtered = 0;
	uint64_t          admitted = 0;
	MemoryIndex       memory;
	IqdbScorer        scorer;
	IqdbRng           rng;

	(void) state;
	iqdb_rng_seed(&rng, SEED);
	memory_index_create(&memory, &options, &iqdb_locks_none, NULL, MEMORY_MAX);
	put_rows(&memory.index, &rng);
	iqdb_filter_builder_init(&builder, &iqdb_allocator_libc);
	assert_int_equal(iqdb_filter_finish(&builder, iqdb_filter_eq(&builder, "even", 4, &yes), &filter, NULL), IQDB_OK);
	iqdb_filter_builder_free(&builder);
	iqdb_scorer_init(&scorer, &memory.index.store, by_metadata(filter), &filtered);
	for (uint32_t slot = 0; slot < ROWS; slot++)
	{
		bool admits = iqdb_scorer_admits(&scorer, slot);

		assert_int_equal(admits, slot % 2 == 0 && slot % 7 != 0);
		admitted += admits;
	}
	assert_int_equal(filtered, ROWS - admitted);
	iqdb_scorer_init(&scorer, &memory.index.store, NULL, NULL);
	for (uint32_t slot = 0; slot < ROWS; slot++)
		assert_true(iqdb_scorer_admits(&scorer, slot));
	iqdb_filter_free(&iqdb_allocator_libc, filter);
	memory_index_destroy(&memory);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_ways_give_the_same_keys),
		cmocka_unit_test(test_the_filter_is_asked_once_of_each_row),
	};

	printf("# seed %llu\n", (unsigned long long) SEED);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
