/*
 * test_ivf_ties.c - lists, and the exact scan, where most distances are equal: one-hot vectors, categories, bits.
 *
 * A stored value finds its own equal rows first, whatever the probes; and more probes never find less, counted by distances.
 * Not so with signs: those of so few components do not tell rows apart (iqdb_index_options_dimension_wanted).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "unit/ivf_samples.h"
#include "harness/metrics.h"

#define SEED UINT64_C(20261202)
#define ROWS 3000
#define QUERIES 60
#define LISTS 30
#define WANTED 20

typedef enum Kind
{
	KIND_ONE_HOT,    /* 50 values, all as far from each other */
	KIND_CATEGORIES, /* 0, 1 or 2 in each of six */
	KIND_BITS,       /* of 12 */
	KIND_COUNT
} Kind;

static const char *const kind_names[] = {"one-hot", "categories", "bits"};

/* Queries are values of rows. Component 0 is 1 in all: no value is all zeros, which has no direction. */
static void
make(Samples *samples, Kind kind)
{
	static const size_t dims[] = {51, 7, 13};
	IqdbRng             rng;

	iqdb_rng_seed(&rng, SEED + (uint64_t) kind);
	*samples = (Samples){.dim = dims[kind], .count = ROWS, .queries = QUERIES};
	samples->rows = calloc((ROWS + QUERIES) * samples->dim, sizeof(float));
	assert_non_null(samples->rows);
	for (size_t row = 0; row < ROWS; row++)
	{
		float *vector = samples_row(samples, row);

		vector[0] = 1.0f;
		if (kind == KIND_ONE_HOT)
			vector[1 + iqdb_rng_below(&rng, 50)] = 1.0f;
		for (size_t d = 1; kind != KIND_ONE_HOT && d < samples->dim; d++)
			vector[d] = (float) iqdb_rng_below(&rng, kind == KIND_BITS ? 2 : 3);
	}
	for (size_t query = 0; query < QUERIES; query++)
		memcpy(samples_query(samples, query), samples_row(samples, query * 37), samples->dim * sizeof(float));
}

static double
distance(const IqdbIndex *index, const float *a, const float *b)
{
	const IqdbIndexOptions *options = &index->store.header->options;

	return floats_distance(index->store.kernels, (IqdbMetric) options->metric, a, b, options->dimension);
}

/* The rows equal to a query, and the distance of its WANTED-nearest row. */
static size_t
truth_of(const Samples *samples, const IqdbIndex *index, const float *query, double *farthest_out)
{
	double nearest[WANTED];
	size_t kept = 0;
	size_t equals = 0;

	for (size_t row = 0; row < ROWS; row++)
	{
		double key = distance(index, query, samples_row(samples, row));
		size_t at = kept < WANTED ? kept++ : WANTED;

		equals += memcmp(query, samples_row(samples, row), samples->dim * sizeof(float)) == 0;
		if (at == WANTED && key >= nearest[WANTED - 1])
			continue;
		for (at = at == WANTED ? WANTED - 1 : at; at > 0 && nearest[at - 1] > key; at--)
			nearest[at] = nearest[at - 1];
		nearest[at] = key;
	}
	*farthest_out = nearest[WANTED - 1];
	return equals;
}

/* How many of the WANTED nearest a search finds, over all queries; each finds its equals first. */
static size_t
found(const Samples *samples, IqdbIndex *index, uint32_t probes)
{
	IqdbSearchParams params = {.expected = WANTED, .probes = probes};
	bool             finds_itself = index->store.header->options.metric != IQDB_METRIC_DOT;
	size_t           total = 0;

	for (size_t query = 0; query < QUERIES; query++)
	{
		const float *vector = samples_query(samples, query);
		IqdbHit      hits[WANTED];
		double       farthest;
		size_t       equals = truth_of(samples, index, vector, &farthest);

		assert_int_equal(samples_search(index, vector, samples->dim, &params, WANTED, hits), WANTED);
		for (size_t i = 0; i < WANTED; i++)
		{
			const float *row = samples_row(samples, (size_t) hits[i].id);

			if (finds_itself && i < equals && memcmp(vector, row, samples->dim * sizeof(float)) != 0)
				fail_msg("query %zu, %u probes: hit %zu is no equal row, of which there are %zu", query, probes, i, equals);
			total += distance(index, vector, row) <= farthest + 1e-12;
		}
	}
	return total;
}

static void
check_index(const Samples *samples, Kind kind, const IqdbIndexOptions *options)
{
	static const uint32_t probes[] = {1, 2, 3, 5, 8, 13, 20, LISTS};
	MemoryIndex           memory;
	size_t                before = 0;

	memory_index_create(&memory, options, &iqdb_locks_none, NULL, SAMPLES_MEMORY);
	samples_put(samples, &memory.index, 0, ROWS, false);
	assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_BUILD, NULL), IQDB_OK);
	for (size_t i = 0; i < sizeof(probes) / sizeof(probes[0]); i++)
	{
		size_t now = found(samples, &memory.index, probes[i]);

		if (now < before)
			fail_msg("%s, engine %u, %s, quantization %u: %zu found with %u probes, %zu with fewer (seed %llu)",
					 kind_names[kind], options->engine, iqdb_metric_name((IqdbMetric) options->metric),
					 options->quantization, now, probes[i], before, (unsigned long long) SEED);
		before = now;
	}
	/* all lists, all rows */
	assert_int_equal(before, QUERIES * WANTED);
	memory_index_destroy(&memory);
}

static void
check_engine(IqdbEngineKind engine)
{
	for (int kind = 0; kind < KIND_COUNT; kind++)
	{
		Samples samples;

		make(&samples, (Kind) kind);
		for (int metric = 0; metric < NUMBER_METRICS; metric++)
		{
			for (int quantization = IQDB_QUANTIZATION_NONE; quantization <= IQDB_QUANTIZATION_PQ; quantization++)
			{
				IqdbIndexOptions options =
					iqdb_index_options_default(engine, (uint32_t) samples.dim, (IqdbMetric) metric);

				options.quantization = (uint32_t) quantization;
				options.lists = engine == IQDB_ENGINE_IVF ? LISTS : 0;
				if (iqdb_index_options_check(&options, NULL) == IQDB_OK)
					check_index(&samples, (Kind) kind, &options);
			}
		}
		samples_free(&samples);
	}
}

static void
lists_find_equal_rows(void **state)
{
	(void) state;
	check_engine(IQDB_ENGINE_IVF);
}

static void
exact_scans_find_equal_rows(void **state)
{
	(void) state;
	check_engine(IQDB_ENGINE_FLAT);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lists_find_equal_rows),
		cmocka_unit_test(exact_scans_find_equal_rows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
