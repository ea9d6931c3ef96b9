/*
 * test_ivf_recall.c - what an ivf index finds: floors of recall for every metric and code, with fixed seeds.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/meta/filter.h"
#include "core/meta/metadata.h"
#include "harness/ivf_error.h"
#include "harness/metrics.h"
#include "unit/ivf_samples.h"

#define SEED UINT64_C(20250519)

static void
build(MemoryIndex *memory, const Samples *samples, const IqdbIndexOptions *options)
{
	memory_index_create(memory, options, &iqdb_locks_none, NULL, SAMPLES_MEMORY);
	samples_put(samples, &memory->index, 0, samples->count, false);
	assert_int_equal(iqdb_index_maintain(&memory->index, IQDB_MAINTAIN_BUILD, NULL), IQDB_OK);
	assert_true(memory_index_sound(&memory->index));
}

static double
recall_of(const Samples *samples, const IqdbIndexOptions *options, uint32_t probes)
{
	MemoryIndex memory;
	double      recall;

	build(&memory, samples, options);
	recall = samples_recall(samples, &memory.index, probes, 10, NULL);
	print_message("metric %s, quantization %u, lists %u, probes %u (automatic %u): recall %.4f\n",
				  iqdb_metric_name((IqdbMetric) options->metric), options->quantization,
				  samples_stats(&memory.index).lists, probes, samples_stats(&memory.index).probes, recall);
	memory_index_destroy(&memory);
	return recall;
}

static void
tuned_ivf_flat_keeps_high_recall_at_scale(void **state)
{
	IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_IVF, 16, IQDB_METRIC_L2);
	Samples          samples;

	(void) state;
	samples_make(&samples, 2000, 50, 16, 40, 1.0, SEED);
	options.lists = 32;
	for (uint32_t quantization = IQDB_QUANTIZATION_NONE; quantization <= IQDB_QUANTIZATION_SQ8; quantization++)
	{
		options.quantization = quantization;
		assert_true(recall_of(&samples, &options, 8) >= 0.90);
	}
	samples_free(&samples);
}

static void
ivf_pq_with_refine_stays_competitive_at_scale(void **state)
{
	IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_IVF, 16, IQDB_METRIC_L2);
	Samples          samples;
	double           with;
	double           without;

	(void) state;
	samples_make(&samples, 2000, 50, 16, 40, 1.0, SEED);
	options.lists = 32;
	options.quantization = IQDB_QUANTIZATION_PQ;
	options.pq_subvectors = 8;
	/* all lists would be the exact scan */
	with = recall_of(&samples, &options, 31);
	assert_true(with >= 0.90);
	options.pq_subvectors = 2;
	with = recall_of(&samples, &options, 31);
	assert_true(with >= 0.70);
	options.refine = 0;
	without = recall_of(&samples, &options, 31);
	assert_true(with > without);
	samples_free(&samples);
}

/* What product codes and signs choose before anything is ranked exactly: rows of the query's own cluster, with the nearest. */
static void
codes_keep_the_cluster_and_the_nearest(void **state)
{
	Samples samples;

	(void) state;
	samples_make(&samples, 2000, 40, 32, 20, 0.3, SEED);
	for (uint32_t quantization = IQDB_QUANTIZATION_PQ; quantization <= IQDB_QUANTIZATION_BQ; quantization++)
	{
		IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_IVF, 32, IQDB_METRIC_L2);
		IqdbSearchParams params = {.expected = 50, .probes = 4};
		IqdbSearchParams all = {.expected = SIZE_MAX};
		MemoryIndex      memory;
		size_t           same = 0;
		size_t           met = 0;

		options.lists = 20;
		options.quantization = quantization;
		options.refine = 1;
		build(&memory, &samples, &options);
		for (size_t query = 0; query < samples.queries; query++)
		{
			IqdbHit hits[50];
			IqdbHit truth[1];

			assert_int_equal(samples_search(&memory.index, samples_query(&samples, query), 32, &params, 50, hits), 50);
			assert_int_equal(samples_search(&memory.index, samples_query(&samples, query), 32, &all, 1, truth), 1);
			met += hits[0].id == truth[0].id;
			/* centres are about 64 apart, rows of one cluster less than 12 */
			for (int i = 0; i < 50; i++)
				same += hits[i].key < 20.0f;
		}
		print_message("quantization %u: purity %.3f, nearest %zu of 40\n", quantization, (double) same / (40 * 50), met);
		assert_true(same >= 0.9 * 40 * 50 && met >= 0.9 * 40);
		memory_index_destroy(&memory);
	}
	samples_free(&samples);
}

/* 512 rows of 8 dimensions in 2 pieces. */
static void
pq_recall_overlap_with_flat_baseline_above_threshold(void **state)
{
	static const IqdbMetric metrics[] = {IQDB_METRIC_L2, IQDB_METRIC_DOT, IQDB_METRIC_L1};
	Samples                 samples;

	(void) state;
	samples_make(&samples, 512, 50, 8, 20, 1.0, SEED);
	for (int i = 0; i < 3; i++)
	{
		IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_IVF, 8, metrics[i]);

		options.lists = 16;
		options.quantization = IQDB_QUANTIZATION_PQ;
		options.pq_subvectors = 2;
		assert_true(recall_of(&samples, &options, 15) >= 0.6);
	}
	samples_free(&samples);
}

static void
the_top_hit_under_dot_product_is_the_true_one(void **state)
{
	Samples samples;

	(void) state;
	samples_make(&samples, 1500, 40, 24, 30, 0.8, SEED);
	/* lengths far apart: the nearest by product are seldom the nearest by distance */
	for (size_t row = 0; row < samples.count; row++)
	{
		for (size_t d = 0; d < samples.dim; d++)
			samples_row(&samples, row)[d] *= 0.1f + (float) (row % 20);
	}
	for (uint32_t quantization = 0; quantization <= IQDB_QUANTIZATION_BQ; quantization++)
	{
		IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_IVF, 24, IQDB_METRIC_DOT);
		IqdbSearchParams params = {.expected = 10, .probes = 12};
		IqdbSearchParams all = {.expected = SIZE_MAX};
		MemoryIndex      memory;
		size_t           same = 0;

		options.lists = 25;
		options.quantization = quantization;
		build(&memory, &samples, &options);
		for (size_t query = 0; query < samples.queries; query++)
		{
			IqdbHit found[1];
			IqdbHit truth[1];

			samples_search(&memory.index, samples_query(&samples, query), 24, &params, 1, found);
			samples_search(&memory.index, samples_query(&samples, query), 24, &all, 1, truth);
			assert_true(truth[0].key < 0);
			same += found[0].id == truth[0].id;
		}
		print_message("quantization %u: %zu of 40\n", quantization, same);
		assert_true(same >= 38);
		memory_index_destroy(&memory);
	}
	samples_free(&samples);
}

/* The numbers that training chooses by itself are enough, for every metric and code. */
static void
automatic_lists_and_probes_meet_their_floor(void **state)
{
	Samples samples;

	(void) state;
	samples_make(&samples, 8000, 60, 32, 200, 0.8, SEED);
	FOR_ELEMENTS(element, metric)
	{
		for (uint32_t quantization = 0; quantization <= IQDB_QUANTIZATION_BQ; quantization++)
		{
			IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_IVF, 32, (IqdbMetric) metric);

			/* of no two of these rows any component is equal, and of bits there is a test below */
			options.element = element;
			options.quantization = quantization;
			if (iqdb_metric_sum((IqdbMetric) metric) == IQDB_SUM_HAMMING || !iqdb_element(element)->has_numbers ||
				iqdb_index_options_check(&options, NULL) != IQDB_OK)
				continue;
			assert_true(recall_of(&samples, &options, 0) >= (quantization <= IQDB_QUANTIZATION_SQ8 ? 0.95 : 0.85));
		}
	}
	samples_free(&samples);
}

/* Rows of bits: the lists and probes that are chosen by themselves, and no codes. */
static void
cells_of_bits_hold_what_is_alike(void **state)
{
	static const IqdbMetric metrics[] = {IQDB_METRIC_HAMMING, IQDB_METRIC_JACCARD};
	Samples                 samples;

	(void) state;
	samples_make(&samples, 6000, 50, 256, 150, 0.6, SEED);
	for (int i = 0; i < 2; i++)
	{
		IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_IVF, 256, metrics[i]);

		iqdb_index_options_of_element(&options, IQDB_ELEMENT_BIT);
		assert_true(recall_of(&samples, &options, 0) >= 0.9);
	}
	samples_free(&samples);
}

/* Components of few values: rows of a cluster share most of them. */
static void
hamming_cells_hold_what_is_alike(void **state)
{
	IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_IVF, 24, IQDB_METRIC_HAMMING);
	Samples          samples;
	IqdbRng          rng;

	(void) state;
	samples_make(&samples, 3000, 40, 24, 60, 0.0, SEED);
	iqdb_rng_seed(&rng, SEED);
	for (size_t i = 0; i < (samples.count + samples.queries) * samples.dim; i++)
	{
		if (iqdb_rng_below(&rng, 4) == 0)
			samples.rows[i] = (float) iqdb_rng_below(&rng, 5);
	}
	options.lists = 50;
	assert_true(recall_of(&samples, &options, 8) >= 0.9);
	samples_free(&samples);
}

/* Cells are made in the metric that is searched: a row's length must not matter to cosine. */
static void
cosine_cells_ignore_lengths(void **state)
{
	IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_IVF, 16, IQDB_METRIC_COSINE);
	Samples          samples;
	double           recall[2];
	IqdbRng          rng;

	(void) state;
	samples_make(&samples, 4000, 40, 16, 80, 0.9, SEED);
	options.lists = 60;
	recall[0] = recall_of(&samples, &options, 6);
	iqdb_rng_seed(&rng, SEED);
	for (size_t row = 0; row < samples.count; row++)
	{
		float length = expf(8.0f * (float) iqdb_rng_unit(&rng) - 4.0f);

		for (size_t d = 0; d < samples.dim; d++)
			samples_row(&samples, row)[d] *= length;
	}
	recall[1] = recall_of(&samples, &options, 6);
	assert_true(recall[0] >= 0.90 && recall[1] >= recall[0] - 0.02);
	samples_free(&samples);
}

/* Codes are relative to what is near: neither a common offset nor clusters far apart spoil them. */
static void
codes_do_not_mind_where_rows_lie(void **state)
{
	IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_IVF, 32, IQDB_METRIC_L2);
	Samples          samples;

	(void) state;
	samples_make(&samples, 4000, 40, 32, 40, 0.002, SEED);
	for (size_t i = 0; i < (samples.count + samples.queries) * samples.dim; i++)
		samples.rows[i] += 50.0f;
	options.lists = 60;
	assert_true(recall_of(&samples, &options, 20) >= 0.97);
	samples_free(&samples);
}

/* Components whose mean is 50 or 1000 times their spread: for every code, and both widths of sq8. */
static void
offsets_cost_no_recall(void **state)
{
	static const IqdbMetric metrics[] = {IQDB_METRIC_L2, IQDB_METRIC_DOT, IQDB_METRIC_COSINE};
	static const float      offsets[] = {0.0f, 50.0f, 1000.0f};

	(void) state;
	for (int i = 0; i < 3 * 2 * 3; i++)
	{
		size_t  dim = i % 2 == 0 ? 32 : 96;
		float   offset = offsets[i / 2 % 3];
		Samples samples;

		/* unit vectors then differ by less than float can tell: the exact scan itself is wrong */
		if (metrics[i / 6] == IQDB_METRIC_COSINE && offset > 50.0f)
			continue;
		samples_make(&samples, 3000, 30, dim, 60, 0.6, SEED);
		for (size_t at = 0; at < (samples.count + samples.queries) * dim; at++)
			samples.rows[at] += offset;
		for (uint32_t quantization = IQDB_QUANTIZATION_SQ8; quantization <= IQDB_QUANTIZATION_BQ; quantization++)
		{
			IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_IVF, (uint32_t) dim, metrics[i / 6]);

			options.lists = 50;
			options.quantization = quantization;
			if (iqdb_index_options_check(&options, NULL) == IQDB_OK)
				assert_true(recall_of(&samples, &options, 10) >= 0.98);
		}
		samples_free(&samples);
	}
}

/* Above 2048 lists there is a second level. */
static void
two_levels_find_what_one_finds(void **state)
{
	IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_IVF, 8, IQDB_METRIC_L2);
	Samples          samples;
	double           recall;

	(void) state;
	samples_make(&samples, 30000, 40, 8, 3000, 0.5, SEED);
	options.lists = 2600;
	recall = recall_of(&samples, &options, 40);
	assert_true(recall >= 0.95);
	samples_free(&samples);
}

/* Rows put one by one after training are found as well as those that were trained with. */
static void
recall_holds_after_inserts_removals_and_training_anew(void **state)
{
	IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_IVF, 24, IQDB_METRIC_L2);
	Samples          samples;
	MemoryIndex      memory;
	double           recall;

	(void) state;
	samples_make(&samples, 6000, 50, 24, 100, 0.8, SEED);
	options.lists = 80;
	memory_index_create(&memory, &options, &iqdb_locks_none, NULL, SAMPLES_MEMORY);
	samples_put(&samples, &memory.index, 0, 3000, false);
	assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_BUILD, NULL), IQDB_OK);
	samples_put(&samples, &memory.index, 3000, 6000, true);
	recall = samples_recall(&samples, &memory.index, 12, 10, NULL);
	print_message("after inserts %.4f\n", recall);
	assert_true(recall >= 0.93);
	for (uint64_t id = 0; id < 6000; id += 3)
		iqdb_index_remove(&memory.index, iqdb_id_u64(id), NULL);
	recall = samples_recall(&samples, &memory.index, 12, 10, NULL);
	assert_true(recall >= 0.93);
	assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_VACUUM, NULL), IQDB_OK);
	assert_true(samples_recall(&samples, &memory.index, 12, 10, NULL) >= recall - 0.005);
	/* drift: all the rest moves away */
	for (size_t row = 1; row < 6000; row += 3)
	{
		for (size_t d = 0; d < samples.dim; d++)
			samples_row(&samples, row)[d] += 2.0f;
	}
	for (size_t row = 1; row < 6000; row += 3)
		samples_put(&samples, &memory.index, row, row + 1, true);
	recall = samples_recall(&samples, &memory.index, 12, 10, NULL);
	assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_OPTIMIZE, NULL), IQDB_OK);
	print_message("after drift %.4f, trained anew %.4f\n", recall,
				  samples_recall(&samples, &memory.index, 12, 10, NULL));
	assert_true(samples_recall(&samples, &memory.index, 12, 10, NULL) >= recall - 0.01);
	assert_true(memory_index_sound(&memory.index));
	memory_index_destroy(&memory);
	samples_free(&samples);
}

/*
 * Who does not say how many rows he wants gets the first ones before the others are ranked: all of them come, once, and as
 * good as for him who says it.
 */
static void
rows_ranked_late_are_as_good(void **state)
{
	Samples samples;

	(void) state;
	samples_make(&samples, 6000, 40, 64, 60, 0.8, SEED);
	for (uint32_t quantization = IQDB_QUANTIZATION_SQ8; quantization <= IQDB_QUANTIZATION_BQ; quantization++)
	{
		IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_IVF, 64, IQDB_METRIC_L2);
		IqdbSearchParams unknown = {.probes = 8};
		IqdbSearchParams all = {.expected = SIZE_MAX};
		MemoryIndex      memory;
		size_t           met[2] = {0, 0};

		options.lists = 60;
		options.quantization = quantization;
		build(&memory, &samples, &options);
		for (size_t query = 0; query < samples.queries; query++)
		{
			IqdbHit truth[60];
			IqdbHit found[60];

			assert_int_equal(samples_search(&memory.index, samples_query(&samples, query), 64, &all, 60, truth), 60);
			assert_int_equal(samples_search(&memory.index, samples_query(&samples, query), 64, &unknown, 60, found), 60);
			for (size_t i = 0; i < 60; i++)
			{
				for (size_t j = 0; j < 60; j++)
				{
					assert_true(i == j || found[i].id != found[j].id);
					met[0] += i < 10 && j < 10 && truth[i].id == found[j].id;
					met[1] += truth[i].id == found[j].id;
				}
			}
		}
		print_message("quantization %u: of 10 %.4f, of 60 %.4f\n", quantization, (double) met[0] / 400,
					  (double) met[1] / 2400);
		assert_true(met[0] >= 0.97 * 400 && met[1] >= 0.95 * 2400);
		/* and the whole stream */
		{
			IqdbHit *stream = malloc((samples.count + 1) * sizeof(*stream));
			bool    *seen = calloc(samples.count, sizeof(*seen));

			assert_true(stream != NULL && seen != NULL);
			assert_int_equal(samples_search(&memory.index, samples_query(&samples, 0), 64, &unknown, samples.count + 1, stream),
							 samples.count);
			for (size_t i = 0; i < samples.count; i++)
			{
				assert_false(seen[stream[i].id]);
				seen[stream[i].id] = true;
			}
			free(stream);
			free(seen);
		}
		memory_index_destroy(&memory);
	}
	samples_free(&samples);
}

static void
put_part(IqdbIndex *index, uint64_t id, const float *vector, size_t dim, int64_t part)
{
	IqdbValue           value = iqdb_value_int(part);
	IqdbMetadataBuilder builder;
	unsigned char      *bytes;
	size_t              length;

	iqdb_metadata_builder_init(&builder, &iqdb_allocator_libc);
	assert_int_equal(iqdb_metadata_put(&builder, "part", 4, &value, NULL), IQDB_OK);
	assert_int_equal(iqdb_metadata_finish(&builder, &bytes, &length, NULL), IQDB_OK);
	assert_int_equal(iqdb_index_put(index, iqdb_id_u64(id), vector, dim, bytes, length, NULL, NULL), IQDB_OK);
	iqdb_free(&iqdb_allocator_libc, bytes, length);
	iqdb_metadata_builder_free(&builder);
}

static IqdbFilter *
parts_below(int64_t below)
{
	IqdbFilterBuilder builder;
	IqdbFilter       *filter;
	IqdbValue         value = iqdb_value_int(below);

	iqdb_filter_builder_init(&builder, &iqdb_allocator_libc);
	assert_int_equal(iqdb_filter_finish(&builder, iqdb_filter_lt(&builder, "part", 4, &value), &filter, NULL), IQDB_OK);
	iqdb_filter_builder_free(&builder);
	return filter;
}

/* Rows that pass are as well found as without the filter, however few they are. */
static void
filtered_search_keeps_its_recall(void **state)
{
	IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_IVF, 24, IQDB_METRIC_L2);
	Samples          samples;
	MemoryIndex      memory;

	(void) state;
	samples_make(&samples, 8000, 40, 24, 100, 0.8, SEED);
	memory_index_create(&memory, &options, &iqdb_locks_none, NULL, SAMPLES_MEMORY);
	for (size_t row = 0; row < samples.count; row++)
		put_part(&memory.index, row, samples_row(&samples, row), 24, (int64_t) (row % 200));
	assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_BUILD, NULL), IQDB_OK);
	for (int64_t below = 1; below <= 200; below = below * 3 + 1)
	{
		IqdbFilter *filter = parts_below(below);
		double      recall = samples_recall(&samples, &memory.index, 0, 10, filter);
		print_message("%lld of 200 pass: recall %.4f\n", (long long) below, recall);
		assert_true(recall >= 0.91);
		iqdb_filter_free(&iqdb_allocator_libc, filter);
	}
	memory_index_destroy(&memory);
	samples_free(&samples);
}

static void
codes_are_as_good_as_they_should_be(void **state)
{
	static const double limits[] = {0, 0.02, 0.2};
	Samples             samples;

	(void) state;
	samples_make(&samples, 4000, 1, 64, 50, 0.5, SEED);
	for (uint32_t quantization = 0; quantization <= IQDB_QUANTIZATION_BQ; quantization++)
	{
		IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_IVF, 64, IQDB_METRIC_L2);
		MemoryIndex      memory;
		IvfError         error;

		options.quantization = quantization;
		build(&memory, &samples, &options);
		error = ivf_code_error(&memory.index.store, 1000, SEED);
		print_message("quantization %u: %llu rows, mean %.6f, worst %.6f\n", quantization,
					  (unsigned long long) error.rows, error.mean_square, error.worst_square);
		if (quantization == IQDB_QUANTIZATION_SQ8 || quantization == IQDB_QUANTIZATION_PQ)
			assert_true(error.rows == 1000 && error.mean_square > 0 && error.mean_square < limits[quantization] &&
						error.worst_square >= error.mean_square);
		else
			assert_int_equal(error.rows, 0);
		memory_index_destroy(&memory);
	}
	samples_free(&samples);
}

/* ---- rows that change places while a search lets others in ---- */

#define WIDE 4096u
#define WIDE_ROWS 3000u
#define OTHERS_FROM 1000000u

typedef struct Change
{
	IqdbIndex     *index;
	const Samples *samples;
	int            polls; /* until the change; below 0: none is to come */
} Change;

/* Every row gives its slot to one that does not pass. */
static bool
change_rows(void *arg)
{
	Change *change = arg;

	if (change->polls < 0 || change->polls-- > 0)
		return false;
	for (uint64_t row = 0; row < WIDE_ROWS; row++)
		(void) iqdb_index_remove(change->index, iqdb_id_u64(row), NULL);
	assert_int_equal(iqdb_index_maintain(change->index, IQDB_MAINTAIN_VACUUM, NULL), IQDB_OK);
	for (uint64_t row = 0; row < WIDE_ROWS; row++)
		put_part(change->index, OTHERS_FROM + row, samples_row(change->samples, row), WIDE, 1);
	return false;
}

/* One search, in which the rows change at a poll; false when there were fewer polls. */
static bool
search_while_rows_change(const Samples *samples, IqdbQuantization quantization, const IqdbFilter *filter, int polls)
{
	IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_IVF, WIDE, IQDB_METRIC_L2);
	IqdbSearchParams params = {.expected = 300, .probes = 5, .filter = by_metadata(filter)};
	IqdbHit          hits[300];
	MemoryIndex      memory;
	Change           change = {.index = &memory.index, .samples = samples, .polls = -1};
	size_t           count;

	options.quantization = quantization;
	options.lists = 8;
	options.pq_subvectors = 64;
	options.vectors = IQDB_VECTORS_MEMORY;
	memory_index_create(&memory, &options, &iqdb_locks_none, NULL, SAMPLES_MEMORY);
	memory.host.cancelled = change_rows;
	memory.host.cancel_arg = &change;
	for (uint64_t row = 0; row < WIDE_ROWS; row++)
		put_part(&memory.index, row, samples_row(samples, row), WIDE, 0);
	assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_BUILD, NULL), IQDB_OK);
	change.polls = polls;
	count = samples_search(&memory.index, samples_query(samples, 0), WIDE, &params, 300, hits);
	for (size_t hit = 0; hit < count; hit++)
		assert_true(hits[hit].id < OTHERS_FROM);
	memory_index_destroy(&memory);
	return change.polls < 0;
}

static void
a_row_in_the_slot_of_another_passes_the_filter_itself(void **state)
{
	static const IqdbQuantization quantizations[] = {IQDB_QUANTIZATION_SQ8, IQDB_QUANTIZATION_BQ};

	Samples     samples;
	IqdbFilter *filter = parts_below(1);

	(void) state;
	samples_make(&samples, WIDE_ROWS, 1, WIDE, 100, 0.8, SEED);
	for (int i = 0; i < 2; i++)
	{
		int polls = 0;

		while (search_while_rows_change(&samples, quantizations[i], filter, polls))
			polls++;
		assert_true(polls > 1);
	}
	iqdb_filter_free(&iqdb_allocator_libc, filter);
	samples_free(&samples);
}

/* ---- streams of which the caller takes few rows ---- */

/* Does the row pass a filter that only the caller knows? One in `one_of` does. */
static bool
passes(uint64_t id, uint64_t one_of)
{
	uint64_t state = id;

	return iqdb_splitmix64(&state) % one_of == 0;
}

/* The first k rows of a stream that pass. */
static size_t
first_that_pass(IqdbIndex *index, const float *query, size_t dim, uint32_t probes, uint64_t one_of, size_t k, uint64_t *ids)
{
	IqdbSearchParams params = {.probes = probes};
	IqdbHit          hits[16];
	IqdbCursor      *cursor;
	size_t           found = 0;
	size_t           count = 1;

	assert_int_equal(iqdb_cursor_open(index, query, dim, &params, &cursor, NULL), IQDB_OK);
	while (found < k && count > 0)
	{
		assert_int_equal(iqdb_cursor_next(cursor, hits, 16, &count, NULL), IQDB_OK);
		for (size_t i = 0; i < count && found < k; i++)
		{
			if (passes(hits[i].id, one_of))
				ids[found++] = hits[i].id;
		}
	}
	iqdb_cursor_close(cursor);
	return found;
}

static double
recall_of_few(const Samples *samples, IqdbIndex *index, uint32_t probes, uint64_t one_of)
{
	size_t met = 0;

	for (size_t query = 0; query < samples->queries; query++)
	{
		uint64_t truth[20];
		uint64_t found[20];
		size_t   count = first_that_pass(index, samples_query(samples, query), samples->dim, probes, one_of, 20, found);

		assert_int_equal(count, 20);
		assert_int_equal(first_that_pass(index, samples_query(samples, query), samples->dim, UINT32_MAX, one_of, 20, truth),
						 20);
		for (size_t i = 0; i < 20; i++)
		{
			for (size_t j = 0; j < 20; j++)
				met += truth[i] == found[j];
		}
	}
	return (double) met / (double) (20 * samples->queries);
}

/* A server tests rows itself and takes those that pass: lists that come late must not find their places taken. */
static void
callers_who_filter_find_more_with_more_probes(void **state)
{
	static const uint32_t quantizations[] = {IQDB_QUANTIZATION_NONE, IQDB_QUANTIZATION_SQ8, IQDB_QUANTIZATION_BQ};
	static const uint32_t probes[] = {1, 2, 3, 5, 10, 20, 40};
	Samples               samples;

	(void) state;
	samples_make(&samples, 10000, 40, 32, 1000, 1.0, SEED);
	for (size_t i = 0; i < sizeof(quantizations) / sizeof(quantizations[0]); i++)
	{
		IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_IVF, 32, IQDB_METRIC_L2);
		MemoryIndex      memory;

		options.quantization = quantizations[i];
		options.lists = 200;
		memory_index_create(&memory, &options, &iqdb_locks_none, NULL, SAMPLES_MEMORY);
		samples_put(&samples, &memory.index, 0, samples.count, false);
		assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_BUILD, NULL), IQDB_OK);
		for (uint64_t one_of = 10; one_of <= 100; one_of *= 10)
		{
			double last = 0.0;

			print_message("quantization %u, one of %u passes:", quantizations[i], (unsigned) one_of);
			for (size_t p = 0; p < sizeof(probes) / sizeof(probes[0]); p++)
			{
				double recall = recall_of_few(&samples, &memory.index, probes[p], one_of);

				print_message(" %u: %.3f", probes[p], recall);
				if (recall < 0.45 || recall < last - 0.01)
					fail_msg("recall %.3f with %u probes, %.3f with fewer", recall, probes[p], last);
				last = recall;
			}
			print_message("\n");
		}
		memory_index_destroy(&memory);
	}
	samples_free(&samples);
}

/* ---- numbers of any size ---- */

/* The rows are also told by double arithmetic, whatever they are. */
static double
true_distance(const MemoryIndex *memory, IqdbMetric metric, const Samples *samples, const float *query, size_t row)
{
	return floats_distance(memory->index.store.kernels, metric, query, samples_row(samples, row), samples->dim);
}

static int
compare_doubles(const void *a, const void *b)
{
	const double *x = a;
	const double *y = b;

	return (*x > *y) - (*x < *y);
}

/* Share of ten hits that are no farther than the tenth row is, for rows of the index as queries. */
static double
recall_by_doubles(MemoryIndex *memory, IqdbMetric metric, const Samples *samples, size_t first, size_t step)
{
	IqdbSearchParams params = {.expected = 10};
	double          *truth = malloc(samples->count * sizeof(*truth));
	IqdbHit          hits[10];
	size_t           met = 0;
	size_t           total = 0;

	assert_non_null(truth);
	for (size_t query = first; query < samples->count; query += step)
	{
		const float *vector = samples_row(samples, query);
		size_t       count = samples_search(&memory->index, vector, samples->dim, &params, 10, hits);

		for (size_t row = 0; row < samples->count; row++)
			truth[row] = true_distance(memory, metric, samples, vector, row);
		qsort(truth, samples->count, sizeof(*truth), compare_doubles);
		for (size_t i = 0; i < count; i++)
		{
			double distance = true_distance(memory, metric, samples, vector, hits[i].id);

			met += distance <= truth[9] + fabs(truth[9]) * 1e-4 + (metric == IQDB_METRIC_COSINE ? 1e-6 : 0.0);
		}
		total += 10;
	}
	free(truth);
	return (double) met / (double) total;
}

static void
build_any(MemoryIndex *memory, IqdbMetric metric, uint32_t quantization, const Samples *samples)
{
	IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_IVF, (uint32_t) samples->dim, metric);

	options.quantization = quantization;
	memory_index_create(memory, &options, &iqdb_locks_none, NULL, SAMPLES_MEMORY);
	samples_put(samples, &memory->index, 0, samples->count, false);
	assert_int_equal(iqdb_index_maintain(&memory->index, IQDB_MAINTAIN_BUILD, NULL), IQDB_OK);
	assert_true(memory_index_sound(&memory->index));
}

static bool
exists(IqdbMetric metric, uint32_t quantization, size_t dim)
{
	IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_IVF, (uint32_t) dim, metric);

	options.quantization = quantization;
	return iqdb_index_options_check(&options, NULL) == IQDB_OK;
}

/* Lengths from 1e-45 to 3e38: the nearest rows are found, be they small or large. */
static void
lengths_of_every_size_are_found(void **state)
{
	(void) state;
	for (int metric = 0; metric <= IQDB_METRIC_L1; metric++)
	{
		Samples samples;
		IqdbRng rng;

		iqdb_rng_seed(&rng, SEED + (uint64_t) metric);
		samples_make(&samples, 4000, 0, 8, 4000, 0.0, SEED);
		for (size_t row = 0; row < samples.count; row++)
		{
			double scale = pow(10.0, -45.0 + 82.5 * iqdb_rng_unit(&rng));

			for (size_t d = 0; d < samples.dim; d++)
				samples_row(&samples, row)[d] = (float) (scale * (double) samples_row(&samples, row)[d]);
		}
		for (uint32_t quantization = 0; quantization <= IQDB_QUANTIZATION_BQ; quantization++)
		{
			MemoryIndex memory;
			double      recall;

			if (!exists((IqdbMetric) metric, quantization, samples.dim))
				continue;
			build_any(&memory, (IqdbMetric) metric, quantization, &samples);
			recall = recall_by_doubles(&memory, (IqdbMetric) metric, &samples, 0, 40);
			print_message("metric %s, quantization %u: recall %.3f\n", iqdb_metric_name((IqdbMetric) metric),
						  quantization, recall);
			assert_true(recall >= 0.9);
			memory_index_destroy(&memory);
		}
		samples_free(&samples);
	}
}

/* A few rows far out, by a little or by all that floats have, cost the others nothing, and are found. */
static void
rows_far_out_do_not_hurt_the_others(void **state)
{
	static const float scales[] = {1e5f, 5e18f, 1e37f};

	(void) state;
	for (int metric = 0; metric <= IQDB_METRIC_L1; metric++)
	{
		for (uint32_t quantization = 0; quantization <= IQDB_QUANTIZATION_BQ; quantization++)
		{
			Samples     samples;
			MemoryIndex memory;
			double      before;

			if (!exists((IqdbMetric) metric, quantization, 32))
				continue;
			samples_make(&samples, 5000, 0, 32, 100, 0.4, SEED);
			build_any(&memory, (IqdbMetric) metric, quantization, &samples);
			before = recall_by_doubles(&memory, (IqdbMetric) metric, &samples, 7, 100);
			memory_index_destroy(&memory);
			for (size_t i = 0; i < sizeof(scales) / sizeof(scales[0]); i++)
			{
				double after;
				double outside;

				for (size_t row = 0; row < samples.count; row += 250)
				{
					for (size_t d = 0; d < samples.dim; d++)
						samples_row(&samples, row)[d] *= i == 0 ? scales[0] : scales[i] / scales[i - 1];
				}
				build_any(&memory, (IqdbMetric) metric, quantization, &samples);
				after = recall_by_doubles(&memory, (IqdbMetric) metric, &samples, 7, 100);
				outside = recall_by_doubles(&memory, (IqdbMetric) metric, &samples, 0, 250);
				print_message("metric %s, quantization %u, times %g: recall %.3f, before %.3f; of those far out %.3f\n",
							  iqdb_metric_name((IqdbMetric) metric), quantization, (double) scales[i], after, before,
							  outside);
				assert_true(after >= before - 0.04);
				assert_true(outside >= 0.9);
				memory_index_destroy(&memory);
			}
			samples_free(&samples);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tuned_ivf_flat_keeps_high_recall_at_scale),
		cmocka_unit_test(ivf_pq_with_refine_stays_competitive_at_scale),
		cmocka_unit_test(codes_keep_the_cluster_and_the_nearest),
		cmocka_unit_test(pq_recall_overlap_with_flat_baseline_above_threshold),
		cmocka_unit_test(the_top_hit_under_dot_product_is_the_true_one),
		cmocka_unit_test(automatic_lists_and_probes_meet_their_floor),
		cmocka_unit_test(cells_of_bits_hold_what_is_alike),
		cmocka_unit_test(hamming_cells_hold_what_is_alike),
		cmocka_unit_test(cosine_cells_ignore_lengths),
		cmocka_unit_test(codes_do_not_mind_where_rows_lie),
		cmocka_unit_test(offsets_cost_no_recall),
		cmocka_unit_test(two_levels_find_what_one_finds),
		cmocka_unit_test(recall_holds_after_inserts_removals_and_training_anew),
		cmocka_unit_test(rows_ranked_late_are_as_good),
		cmocka_unit_test(filtered_search_keeps_its_recall),
		cmocka_unit_test(a_row_in_the_slot_of_another_passes_the_filter_itself),
		cmocka_unit_test(codes_are_as_good_as_they_should_be),
		cmocka_unit_test(callers_who_filter_find_more_with_more_probes),
		cmocka_unit_test(lengths_of_every_size_are_found),
		cmocka_unit_test(rows_far_out_do_not_hurt_the_others),
	};

	print_message("seed %llu\n", (unsigned long long) SEED);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
