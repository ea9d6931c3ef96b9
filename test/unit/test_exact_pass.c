/*
 * test_exact_pass.c - a pass over all rows keeps exactly the nearest: alone or for several searches together, behind a bound,
 * without rows that were had already, among holes, for every element and metric, and with numbers whose sums overflow or
 * vanish.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "core/engine/exact_pass.h"
#include "harness/elements.h"
#include "harness/memory_index.h"

#define SEED UINT64_C(20261201)
#define MEMORY_MAX (UINT64_C(64) * 1024 * 1024)
#define DIM 11
#define ROWS 3001u
#define SEARCHES 7u
#define KEPT 40u

/* One search, and what it is to leave out. */
typedef struct Case
{
	_Alignas(64) unsigned char vector[ELEMENT_BYTES(DIM)];
	_Alignas(64) unsigned char query[ELEMENT_BYTES(DIM)]; /* prepared */
	unsigned char   seen[ROWS];
	IqdbCandidate   bound;
	bool            bounded;
	IqdbScorer      scorer;
	IqdbSearchStats stats;
	IqdbTopK        top;
	IqdbExactSearch search;
} Case;

static void
fill(IqdbIndex *index, IqdbRng *rng)
{
	for (uint32_t i = 0; i < ROWS; i++)
	{
		_Alignas(4) unsigned char vector[ELEMENT_BYTES(DIM)];
		uint32_t                  slot;

		element_draw(rng, index->store.header->options.element, DIM, 20, vector);
		assert_int_equal(iqdb_index_put(index, iqdb_id_u64(i), vector, DIM, NULL, 0, &slot, NULL), IQDB_OK);
	}
	/* holes in the second half only: the first is read as contiguous ranges */
	for (uint32_t i = ROWS / 2; i < ROWS; i++)
	{
		if (iqdb_rng_below(rng, 5) == 0)
			iqdb_index_remove(index, iqdb_id_u64(i), NULL);
	}
}

static size_t
drop_seen(const void *arg, uint32_t *slots, size_t count)
{
	const unsigned char *seen = arg;
	size_t               left = 0;

	for (size_t i = 0; i < count; i++)
	{
		if (!seen[slots[i]])
			slots[left++] = slots[i];
	}
	return left;
}

static void
case_init(Case *one, const IqdbStore *store, IqdbRng *rng, size_t capacity)
{
	memset(one, 0, sizeof(*one));
	element_draw(rng, store->element->kind, DIM, 20, one->vector);
	iqdb_scorer_init(&one->scorer, store, NULL, NULL);
	iqdb_scorer_aim(&one->scorer, iqdb_element_prepare(store->kernels, store->element, one->vector, DIM, one->query),
					store->row_kernels->norm2(one->vector, DIM));
	iqdb_topk_init(&one->top, &iqdb_allocator_libc, capacity);
	iqdb_exact_search_init(&one->search, &one->scorer, &one->top, &one->stats);
	if (iqdb_rng_below(rng, 2) == 0)
		return;
	for (uint32_t i = 0; i < ROWS; i++)
		one->seen[i] = iqdb_rng_below(rng, 3) == 0;
	one->search.drop_seen = drop_seen;
	one->search.seen_arg = one->seen;
}

/* Everything, in order, by keys of single rows. */
static size_t
all_in_order(const Case *one, const IqdbStore *store, IqdbCandidate *all)
{
	size_t count = 0;

	for (uint32_t slot = 0; slot < ROWS; slot++)
	{
		IqdbCandidate candidate = {.slot = slot, .sequence = iqdb_store_sequence(store, slot)};

		if (iqdb_store_state(store, slot) != IQDB_ROW_LIVE || (one->search.drop_seen != NULL && one->seen[slot]))
			continue;
		iqdb_scorer_slots(&one->scorer, &slot, 1, &candidate.key);
		if (!one->bounded || iqdb_candidate_before(&one->bound, &candidate))
			all[count++] = candidate;
	}
	iqdb_candidates_sort(all, count);
	return count;
}

static void
compare(Case *one, const IqdbStore *store)
{
	static IqdbCandidate all[ROWS];
	size_t               count = all_in_order(one, store, all);

	iqdb_topk_sort(&one->top);
	assert_int_equal(one->top.count, count < one->top.capacity ? count : one->top.capacity);
	for (size_t i = 0; i < one->top.count; i++)
		assert_memory_equal(&one->top.items[i], &all[i], sizeof(all[i]));
}

/* Two passes, the second behind what the first has kept. */
static void
run_together(const IqdbStore *store, IqdbRng *rng, size_t searches)
{
	static Case      cases[SEARCHES];
	IqdbExactSearch *pointers[SEARCHES];
	IqdbExactPass    pass = {.store = store,
							 .slots = ROWS,
							 .searches = pointers,
							 .count = searches,
							 .row_bytes = store->row_stride};

	for (size_t i = 0; i < searches; i++)
	{
		case_init(&cases[i], store, rng, i == 3 ? 3 * ROWS : 1 + iqdb_rng_below(rng, KEPT));
		pointers[i] = &cases[i].search;
	}
	for (int number = 0; number < 2; number++)
	{
		assert_int_equal(iqdb_exact_pass(&pass, NULL), IQDB_OK);
		for (size_t i = 0; i < searches; i++)
		{
			Case *one = &cases[i];

			compare(one, store);
			if (one->top.count == 0)
				continue;
			one->bound = one->top.items[one->top.count - 1];
			one->bounded = true;
			iqdb_topk_clear(&one->top);
			iqdb_exact_search_init(&one->search, &one->scorer, &one->top, &one->stats);
			one->search.bound = &one->bound;
			memset(one->seen, 0, sizeof(one->seen));
		}
	}
	for (size_t i = 0; i < searches; i++)
		iqdb_topk_free(&cases[i].top);
}

static void
test_passes_keep_the_nearest(void **state)
{
	(void) state;
	FOR_ELEMENTS(element, metric)
	{
		IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_FLAT, DIM, (IqdbMetric) metric);
		MemoryIndex      memory;
		IqdbRng          rng;

		iqdb_index_options_of_element(&options, (IqdbElementKind) element);
		iqdb_rng_seed(&rng, SEED + 16 * element + metric);
		memory_index_create(&memory, &options, &iqdb_locks_none, NULL, MEMORY_MAX);
		fill(&memory.index, &rng);
		for (int i = 0; i < 10; i++)
		{
			run_together(&memory.index.store, &rng, 1);
			run_together(&memory.index.store, &rng, SEARCHES);
		}
		memory_index_destroy(&memory);
	}
}

static void
test_a_limit_ends_one_search_and_not_the_others(void **state)
{
	IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_FLAT, DIM, IQDB_METRIC_L2);
	IqdbExactSearch *pointers[2];
	static Case      cases[2];
	MemoryIndex      memory;
	IqdbRng          rng;
	IqdbExactPass    pass;

	(void) state;
	iqdb_rng_seed(&rng, SEED);
	memory_index_create(&memory, &options, &iqdb_locks_none, NULL, MEMORY_MAX);
	fill(&memory.index, &rng);
	pass = (IqdbExactPass){.store = &memory.index.store, .slots = ROWS, .searches = pointers, .count = 2, .row_bytes = 64};
	for (int i = 0; i < 2; i++)
	{
		case_init(&cases[i], &memory.index.store, &rng, KEPT);
		cases[i].search.drop_seen = NULL;
		pointers[i] = &cases[i].search;
	}
	cases[0].search.max_rows = 300;
	assert_int_equal(iqdb_exact_pass(&pass, NULL), IQDB_OK);
	assert_true(cases[0].search.ended);
	assert_in_range(cases[0].stats.scored, 300, 300 + IQDB_PASS_ROWS);
	assert_false(cases[1].search.ended);
	assert_int_equal(cases[1].stats.scored, atomic_load(&memory.index.store.header->live_count));
	compare(&cases[1], &memory.index.store);
	iqdb_topk_free(&cases[0].top);
	iqdb_topk_free(&cases[1].top);
	memory_index_destroy(&memory);
}

static bool
is_cancelled(void *arg)
{
	return --*(int *) arg < 0;
}

/* Cancel is looked at between two stretches: in a pass over so many rows, at the latest after these. */
static void
test_a_pass_is_cancelled(void **state)
{
	IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_FLAT, DIM, IQDB_METRIC_L2);
	IqdbExactSearch *pointers[100];
	static Case      one;
	MemoryIndex      memory;
	IqdbRng          rng;
	IqdbExactPass    pass;
	int              looks = 3;
	IqdbError        err;

	(void) state;
	iqdb_rng_seed(&rng, SEED);
	memory_index_create(&memory, &options, &iqdb_locks_none, NULL, MEMORY_MAX);
	fill(&memory.index, &rng);
	memory.host.cancelled = is_cancelled;
	memory.host.cancel_arg = &looks;
	case_init(&one, &memory.index.store, &rng, KEPT);
	for (int i = 0; i < 100; i++)
		pointers[i] = &one.search;
	pass = (IqdbExactPass){.store = &memory.index.store, .slots = ROWS, .searches = pointers, .count = 100, .row_bytes = 64};
	assert_int_equal(iqdb_exact_pass(&pass, &err), IQDB_ERR_CANCELLED);
	assert_string_equal(err.message, "search was cancelled");
	assert_int_equal(looks, -1);
	iqdb_topk_free(&one.top);
	memory_index_destroy(&memory);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_passes_keep_the_nearest),
		cmocka_unit_test(test_a_limit_ends_one_search_and_not_the_others),
		cmocka_unit_test(test_a_pass_is_cancelled),
	};

	printf("# seed %llu\n", (unsigned long long) SEED);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
