/*
 * test_hnsw_groups.c - gates: links lead out of a small group of near rows, and searches arrive in the right one.
 *
 * The rows of a group are about equally far from each other, and there are more of them than a new node gets links. The
 * more places the nearest ones take, the less leads out of the group and into it, and the more queries there lose all of
 * their neighbours, which a mean of the recall hides.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/hnsw/hnsw_graph_private.h"
#include "unit/hnsw_samples.h"

#define SEED UINT64_C(20261130)
#define DIM 64
#define GROUPS 40
#define GROUP 30

/* So many links of a node, in the mean. Nearest ones first, it is 9 to 10; as it is done, 13 to 15. */
#define LEADING_OUT 12

/* Row i is of group i % GROUPS: groups grow together, as they do when rows come in no order. */
static void
make_groups(Samples *samples)
{
	float   centres[GROUPS * DIM];
	IqdbRng rng;

	samples_make(samples, (size_t) GROUPS * GROUP, DIM, 0, SEED);
	iqdb_rng_seed(&rng, SEED);
	for (size_t i = 0; i < GROUPS * DIM; i++)
		centres[i] = samples_gauss(&rng);
	for (size_t i = 0; i < samples->count * DIM; i++)
		samples->rows[i] = centres[i / DIM % GROUPS * DIM + i % DIM] + 0.15f * samples_gauss(&rng);
}

/* Links of level 0 that lead to another group. */
static size_t
count_leading_out(IqdbIndex *index, size_t rows)
{
	IqdbiHnsw graph;
	uint32_t  slots[IQDBI_HNSW_LIST_MAX];
	size_t    out = 0;

	iqdbi_hnsw_view(&graph, &index->store);
	for (uint32_t slot = 0; slot < rows; slot++)
	{
		uint32_t count = iqdbi_list_read(&graph, iqdbi_hnsw_list(&graph, slot, 0), 0, slots);

		for (uint32_t i = 0; i < count; i++)
			out += slots[i] % GROUPS != slot % GROUPS;
	}
	return out;
}

static void
groups(IqdbQuantization quantization)
{
	MemoryIndex memory;
	Samples     samples;
	size_t      out;

	make_groups(&samples);
	samples_index(&memory, &samples, IQDB_METRIC_L2, quantization, 16, 100);
	/* the order of slots is the order of rows */
	for (size_t i = 0; i < samples.count; i++)
		assert_int_equal(samples_put(&memory, &samples, i, true), IQDB_OK);
	out = count_leading_out(&memory.index, samples.count);
	printf("# %s: %zu links of %zu nodes lead out of their groups (seed %llu)\n", samples_quantization(quantization), out,
		   samples.count, (unsigned long long) SEED);
	assert_true(out >= LEADING_OUT * samples.count);
	memory_index_destroy(&memory);
	samples_free(&samples);
}

static void
test_links_lead_out_of_groups(void **state)
{
	groups(IQDB_QUANTIZATION_NONE);
	groups(IQDB_QUANTIZATION_SQ8);
	groups(IQDB_QUANTIZATION_BQ);
}

/*
 * Many small groups about equally far from each other, in bundles: the levels above 0 hold few nodes of a bundle, and
 * perhaps none of a group, so that several ways down look alike.
 */
#define BUNDLES 20
#define SMALL_GROUPS 600
#define SMALL_GROUP 10
#define BUNDLED_DIM 96
#define BUNDLED_QUERIES 1000

/* So many may find no row of their group with this beam. One way down lost 29 of them, all ways that look alike none. */
#define NARROW 16
#define LOST_MAX 3

/* Row i is of group i % SMALL_GROUPS, and the group of a bundle. The last rows are the queries. */
static void
make_bundles(Samples *samples, Samples *queries)
{
	const float root = 9.8f; /* of the dimension: so a centre has about length one */
	float      *centres = malloc((BUNDLES + SMALL_GROUPS) * BUNDLED_DIM * sizeof(float));
	float      *bundles = centres + SMALL_GROUPS * BUNDLED_DIM;
	size_t      rows = (size_t) SMALL_GROUPS * SMALL_GROUP;
	IqdbRng     rng;

	assert_non_null(centres);
	samples_make_with_queries(samples, queries, rows, BUNDLED_QUERIES, BUNDLED_DIM, 0, SEED);
	iqdb_rng_seed(&rng, SEED);
	for (size_t i = 0; i < BUNDLES * BUNDLED_DIM; i++)
		bundles[i] = 0.8f * samples_gauss(&rng);
	for (size_t i = 0; i < SMALL_GROUPS * BUNDLED_DIM; i++)
		centres[i] = (bundles[i / BUNDLED_DIM % BUNDLES * BUNDLED_DIM + i % BUNDLED_DIM] + 0.6f * samples_gauss(&rng)) / root;
	for (size_t i = 0; i < (rows + BUNDLED_QUERIES) * BUNDLED_DIM; i++)
	{
		float *to = i < rows * BUNDLED_DIM ? &samples->rows[i] : &queries->rows[i - rows * BUNDLED_DIM];

		*to = centres[i / BUNDLED_DIM % SMALL_GROUPS * BUNDLED_DIM + i % BUNDLED_DIM] + 0.8f * samples_gauss(&rng) / root;
	}
	samples_settle(queries);
	free(centres);
}

/* Queries of which no hit is of their own group. Ids are the numbers of rows. */
static size_t
count_lost(MemoryIndex *memory, Samples *queries, uint32_t ef)
{
	size_t lost = 0;

	for (size_t q = 0; q < queries->count; q++)
	{
		IqdbHit hits[SAMPLES_K];
		size_t  count = samples_search(memory, samples_row(queries, q), ef, hits, SAMPLES_K);
		bool    found = false;

		for (size_t i = 0; i < count && !found; i++)
			found = hits[i].id % SMALL_GROUPS == q % SMALL_GROUPS;
		lost += !found;
	}
	return lost;
}

static void
test_few_queries_are_lost(void **state)
{
	MemoryIndex memory;
	Samples     samples;
	Samples     queries;
	size_t      lost;

	(void) state;
	make_bundles(&samples, &queries);
	samples_index(&memory, &samples, IQDB_METRIC_L2, IQDB_QUANTIZATION_SQ8, 8, 40);
	for (size_t i = 0; i < samples.count; i++)
		assert_int_equal(samples_put(&memory, &samples, i, true), IQDB_OK);
	lost = count_lost(&memory, &queries, NARROW);
	printf("# of %d queries %zu are lost (seed %llu)\n", BUNDLED_QUERIES, lost, (unsigned long long) SEED);
	assert_true(lost <= LOST_MAX);
	memory_index_destroy(&memory);
	samples_free(&samples);
	samples_free(&queries);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_few_queries_are_lost),
		cmocka_unit_test(test_links_lead_out_of_groups),
	};

	return cmocka_run_group_tests_name("hnsw_groups", tests, NULL, NULL);
}
