/*
 * test_ivf.c - the ivf engine under the contract of engine/engine.h: training, streams, filters, removal, snapshots,
 * failures.
 *
 * Recall is in test_ivf_recall.c, threads in test_ivf_threads.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/endian.h"
#include "core/ivf/ivf_coarse_private.h"
#include "core/ivf/ivf_home_private.h"
#include "core/meta/metadata.h"
#include "harness/alloc_fault.h"
#include "harness/ivf_error.h"
#include "harness/metrics.h"
#include "unit/ivf_samples.h"

#define SEED UINT64_C(20250517)
#define DIM 6
#define MEMORY_MAX (UINT64_C(64) * 1024 * 1024)

typedef struct World
{
	MemoryIndex memory;
	Model       model;
	IqdbRng     rng;
	uint64_t    space; /* of ids */
} World;

static void
world_open(World *world, const IqdbIndexOptions *options, uint64_t seed, uint64_t space)
{
	memory_index_create(&world->memory, options, &iqdb_locks_pthread, NULL, MEMORY_MAX);
	model_init(&world->model, options->dimension, (IqdbMetric) options->metric);
	iqdb_rng_seed(&world->rng, seed);
	world->space = space;
}

/* Few values, so that there are ties; of bits, zeros and ones. */
static void
draw_vector(World *world, float *vector)
{
	model_random_vector(&world->rng, vector, DIM);
	for (int d = 0; d < DIM && !world->memory.index.store.element->has_numbers; d++)
		vector[d] = vector[d] > 0 ? 1.0f : 0.0f;
}

static void
world_close(World *world)
{
	memory_index_destroy(&world->memory);
	model_free(&world->model);
}

static IqdbIndexOptions
ivf_options(IqdbMetric metric, uint32_t lists)
{
	IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_IVF, DIM, metric);

	options.lists = lists;
	return options;
}

static void
put_vector(World *world, IqdbId id, const float *vector, bool link)
{
	IqdbIndex     *index = &world->memory.index;
	void          *stored = samples_vector(index, vector, world->model.dim);
	size_t         length;
	unsigned char *metadata = model_random_metadata(&world->rng, &length);
	uint32_t       slot;

	assert_int_equal(iqdb_index_put(index, id, stored, world->model.dim, metadata, length, &slot, NULL), IQDB_OK);
	free(stored);
	model_put(&world->model, id, vector, metadata, length);
	if (link)
		assert_int_equal(iqdb_index_link(index, slot, NULL), IQDB_OK);
	free(metadata);
}

static void
put(World *world, IqdbId id, bool link)
{
	float vector[DIM];

	draw_vector(world, vector);
	put_vector(world, id, vector, link);
}

static void
put_many(World *world, uint64_t first, uint64_t end, bool link)
{
	for (uint64_t id = first; id < end; id++)
		put(world, iqdb_id_u64(id), link);
}

static void
remove_one(World *world, IqdbId id)
{
	bool removed;

	iqdb_index_remove(&world->memory.index, id, &removed);
	assert_int_equal(removed, model_remove(&world->model, id));
}

static void
maintain(World *world, IqdbMaintain what)
{
	assert_int_equal(iqdb_index_maintain(&world->memory.index, what, NULL), IQDB_OK);
}

/* ---- streams against the model ---- */

static bool
known_hit(const IqdbIndex *index, const IqdbHit *hit, const ModelHit *expected)
{
	return expected->row->sequence == hit->sequence && expected->key == hit->key &&
		   iqdb_id_equal(iqdb_store_id(&index->store, hit->slot), expected->row->id);
}

/*
 * Every row that passes, once, with its exact key; each helping in order. in_order: the whole stream is, as it must be
 * when all lists are probed.
 */
static void
compare_stream(World *world, IqdbIndex *index, const IqdbSearchParams *params, bool in_order)
{
	float          query[DIM];
	unsigned char  stored[ELEMENT_BYTES(DIM)];
	IqdbCursor    *cursor;
	IqdbHit        hits[70];
	size_t         expected_count;
	ModelHit      *expected;
	unsigned char *met;
	size_t         seen = 0;
	size_t         count;

	draw_vector(world, query);
	element_of_floats((uint32_t) index->store.element->kind, query, DIM, stored);
	expected = model_search(&world->model, query, params->filter != NULL ? params->filter->metadata : NULL, &expected_count);
	met = calloc(expected_count + 1, 1);
	assert_int_equal(iqdb_cursor_open(index, stored, DIM, params, &cursor, NULL), IQDB_OK);
	do
	{
		assert_int_equal(iqdb_cursor_next(cursor, hits, 1 + iqdb_rng_below(&world->rng, 70), &count, NULL), IQDB_OK);
		for (size_t i = 0; i < count; i++)
		{
			size_t at = in_order ? seen + i : 0;

			while (at < expected_count && expected[at].row->sequence != hits[i].sequence)
				at += in_order ? expected_count : 1;
			assert_true(at < expected_count && !met[at] && known_hit(index, &hits[i], &expected[at]));
			met[at] = 1;
			if (i > 0)
				assert_true(hits[i - 1].key < hits[i].key ||
							(hits[i - 1].key == hits[i].key && hits[i - 1].sequence < hits[i].sequence));
		}
		seen += count;
	} while (count > 0);
	assert_int_equal(seen, expected_count);
	iqdb_cursor_close(cursor);
	free(met);
	free(expected);
}

static void
compare_world(World *world, IqdbIndex *index)
{
	IqdbFilter      *filter = model_random_filter(&world->rng);
	IqdbSearchParams params[] = {{.expected = 3, .probes = 1},
								 {.expected = 5, .filter = by_metadata(filter)},
								 {.expected = 10, .probes = UINT32_MAX},
								 {.expected = SIZE_MAX, .filter = by_metadata(filter)}};

	assert_true(memory_index_sound(index));
	assert_int_equal(iqdb_index_live_count(index), world->model.count);
	for (int i = 0; i < 4; i++)
		compare_stream(world, index, &params[i], i >= 2);
	iqdb_filter_free(&iqdb_allocator_libc, filter);
}

static void
save(IqdbIndex *index, MemorySnapshot *snapshot)
{
	IqdbSectionSink sink = memory_snapshot_sink(snapshot);

	memory_snapshot_init(snapshot);
	assert_int_equal(iqdb_index_save(index, &sink, NULL), IQDB_OK);
}

static IqdbStatus
load(MemoryIndex *memory, const IqdbIndexOptions *options, MemorySnapshot *snapshot, IqdbError *err)
{
	IqdbSectionSource source = memory_snapshot_source(snapshot);

	memory_index_create(memory, options, &iqdb_locks_pthread, NULL, MEMORY_MAX);
	return iqdb_index_load(&memory->index, &source, err);
}

static void
reopen(World *world)
{
	IqdbIndexOptions options = world->memory.index.store.header->options;
	IqdbEngineStats  before = samples_stats(&world->memory.index);
	IqdbEngineStats  after;
	MemorySnapshot   snapshot;

	save(&world->memory.index, &snapshot);
	memory_index_destroy(&world->memory);
	assert_int_equal(load(&world->memory, &options, &snapshot, NULL), IQDB_OK);
	memory_snapshot_free(&snapshot);
	after = samples_stats(&world->memory.index);
	assert_int_equal(after.trained, before.trained);
	assert_int_equal(after.lists, before.lists);
	assert_int_equal(after.unlinked, before.unlinked);
	assert_int_equal(after.unrepaired, 0);
}

static void
random_operation(World *world, uint64_t removals)
{
	unsigned char buffer[8];
	IqdbId        id = model_random_id(&world->rng, world->space, buffer);

	if (iqdb_rng_below(&world->rng, 10) < removals)
		remove_one(world, id);
	else
		put(world, id, iqdb_rng_below(&world->rng, 4) > 0);
}

static void
random_operations(const IqdbIndexOptions *options, uint64_t seed)
{
	World world;

	world_open(&world, options, seed, 700);
	for (int batch = 0; batch < 12; batch++)
	{
		uint64_t linked;

		for (int i = 0; i < 120; i++)
			random_operation(&world, batch % 4 == 3 ? 8 : 2);
		if (batch == 2)
			maintain(&world, IQDB_MAINTAIN_BUILD);
		if (batch % 4 == 3)
			maintain(&world, IQDB_MAINTAIN_VACUUM);
		if (batch % 5 == 4)
			maintain(&world, IQDB_MAINTAIN_OPTIMIZE);
		if (batch % 3 == 2)
			reopen(&world);
		if (batch % 6 == 1)
			assert_int_equal(iqdb_index_link_pending(&world.memory.index, 0, &linked, NULL), IQDB_OK);
		compare_world(&world, &world.memory.index);
	}
	assert_int_equal(samples_stats(&world.memory.index).trained, 1);
	world_close(&world);
}

static void
every_metric_matches_the_model(void **state)
{
	(void) state;
	FOR_ELEMENTS(element, metric)
	{
		for (uint32_t quantization = 0; quantization <= IQDB_QUANTIZATION_BQ; quantization++)
		{
			IqdbIndexOptions options = ivf_options((IqdbMetric) metric, 9);

			options.element = element;
			options.quantization = quantization;
			if (iqdb_index_options_check(&options, NULL) != IQDB_OK)
				continue;
			print_message("vectors of %s, metric %s, quantization %u, seed %llu\n", iqdb_element(element)->name,
						  iqdb_metric_name((IqdbMetric) metric), quantization, (unsigned long long) SEED);
			random_operations(&options, SEED + metric);
		}
	}
}

/*
 * A caller who does not say how many rows he wants: the first ten are ranked before the others, while the batch is full of
 * rows that are in no list yet.
 */
static void
streams_of_unknown_length_are_complete(void **state)
{
	(void) state;
	for (uint32_t quantization = 0; quantization <= IQDB_QUANTIZATION_BQ; quantization++)
	{
		IqdbIndexOptions options = ivf_options(IQDB_METRIC_L2, 16);
		World            world;

		options.quantization = quantization;
		world_open(&world, &options, SEED + quantization, 100000);
		put_many(&world, 0, 1500, true);
		maintain(&world, IQDB_MAINTAIN_BUILD);
		put_many(&world, 5000, 5600, false);
		for (uint32_t probes = 1; probes <= 8; probes *= 2)
		{
			IqdbSearchParams params = {.probes = probes};

			for (int round = 0; round < 5; round++)
				compare_stream(&world, &world.memory.index, &params, false);
		}
		world_close(&world);
	}
}

/* Sums over codes of so many components are near the largest that 32 bits hold. */
static void
bits_of_most_dimensions_are_sorted_into_lists(void **state)
{
	enum
	{
		ROWS = 64,
		STEP = IQDB_DIMENSION_BITS_MAX / ROWS
	};
	IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_IVF, IQDB_DIMENSION_BITS_MAX, IQDB_METRIC_HAMMING);
	IqdbSearchParams params = {.expected = 1, .probes = 1};
	unsigned char   *vector = calloc(IQDB_DIMENSION_BITS_MAX / 8, 1);
	MemoryIndex      memory;
	IqdbHit          hit;

	(void) state;
	iqdb_index_options_of_element(&options, IQDB_ELEMENT_BIT);
	options.lists = 8;
	memory_index_create(&memory, &options, &iqdb_locks_none, NULL, MEMORY_MAX);
	/* row r: so many times STEP ones, then zeros */
	for (uint64_t row = 0; row < ROWS; row++)
	{
		assert_int_equal(iqdb_index_put(&memory.index, iqdb_id_u64(row), vector, options.dimension, NULL, 0, NULL, NULL),
						 IQDB_OK);
		memset(vector + row * STEP / 8, 0xff, STEP / 8);
	}
	assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_BUILD, NULL), IQDB_OK);
	assert_in_range(samples_stats(&memory.index).lists, 2, 8);
	assert_true(memory_index_sound(&memory.index));
	memset(vector, 0, IQDB_DIMENSION_BITS_MAX / 8);
	for (uint64_t row = 0; row < ROWS; row++)
	{
		IqdbCursor *cursor;
		size_t      count;

		assert_int_equal(iqdb_cursor_open(&memory.index, vector, options.dimension, &params, &cursor, NULL), IQDB_OK);
		assert_int_equal(iqdb_cursor_next(cursor, &hit, 1, &count, NULL), IQDB_OK);
		iqdb_cursor_close(cursor);
		assert_true(count == 1 && hit.id == row && hit.key == 0.0f);
		memset(vector + row * STEP / 8, 0xff, STEP / 8);
	}
	memory_index_destroy(&memory);
	free(vector);
}

/* Probing all lists is the exact engine, bit for bit, whatever the codes. */
static void
full_probe_matches_flat_oracle(void **state)
{
	Samples samples;

	(void) state;
	samples_make(&samples, 3000, 5, 20, 30, 0.4, SEED);
	FOR_ELEMENTS(element, metric)
	{
		IqdbIndexOptions flat_options = iqdb_index_options_default(IQDB_ENGINE_FLAT, 20, (IqdbMetric) metric);
		IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_IVF, 20, (IqdbMetric) metric);
		IqdbSearchParams params = {.expected = 10};
		MemoryIndex      flat;
		MemoryIndex      ivf;
		IqdbHit         *expected = malloc(3000 * sizeof(*expected));
		IqdbHit         *hits = malloc(3000 * sizeof(*hits));

		iqdb_index_options_of_element(&flat_options, (IqdbElementKind) element);
		iqdb_index_options_of_element(&options, (IqdbElementKind) element);
		options.lists = 40;
		memory_index_create(&flat, &flat_options, &iqdb_locks_none, NULL, MEMORY_MAX);
		memory_index_create(&ivf, &options, &iqdb_locks_none, NULL, MEMORY_MAX);
		samples_put(&samples, &flat.index, 0, samples.count, false);
		samples_put(&samples, &ivf.index, 0, samples.count, false);
		assert_int_equal(iqdb_index_maintain(&ivf.index, IQDB_MAINTAIN_BUILD, NULL), IQDB_OK);
		assert_int_equal(samples_stats(&ivf.index).lists, 40);
		for (size_t query = 0; query < samples.queries; query++)
		{
			params.probes = 0;
			assert_int_equal(samples_search(&flat.index, samples_query(&samples, query), 20, &params, 3000, expected), 3000);
			params.probes = 40;
			assert_int_equal(samples_search(&ivf.index, samples_query(&samples, query), 20, &params, 3000, hits), 3000);
			for (size_t i = 0; i < 3000; i++)
			{
				assert_int_equal(hits[i].id, expected[i].id);
				assert_memory_equal(&hits[i].key, &expected[i].key, sizeof(float));
			}
		}
		free(expected);
		free(hits);
		memory_index_destroy(&flat);
		memory_index_destroy(&ivf);
	}
	samples_free(&samples);
}

/* ---- training ---- */

/* No number of rows makes an index refuse to train, to search, or to keep a row. */
static void
any_number_of_rows_works(void **state)
{
	static const uint64_t counts[] = {0, 1, 2, 15, 16, 17, 33, 300};

	(void) state;
	for (size_t i = 0; i < sizeof(counts) / sizeof(*counts); i++)
	{
		for (uint32_t quantization = IQDB_QUANTIZATION_NONE; quantization <= IQDB_QUANTIZATION_BQ; quantization++)
		{
			IqdbIndexOptions options = ivf_options(IQDB_METRIC_L2, 16);
			World            world;

			options.quantization = quantization;
			world_open(&world, &options, SEED + counts[i], 1000);
			put_many(&world, 0, counts[i], true);
			compare_world(&world, &world.memory.index);
			maintain(&world, IQDB_MAINTAIN_BUILD);
			assert_int_equal(samples_stats(&world.memory.index).trained, counts[i] >= 16);
			compare_world(&world, &world.memory.index);
			put_many(&world, 500, 540, true);
			compare_world(&world, &world.memory.index);
			maintain(&world, IQDB_MAINTAIN_OPTIMIZE);
			compare_world(&world, &world.memory.index);
			world_close(&world);
		}
	}
}

/* Rows that are all the same, all zero, or as large as floats go. */
static void
strange_rows_are_kept(void **state)
{
	static const float values[] = {0.0f, 1.0f, -0.0f, 3e38f, -3e38f, 1e-42f, 1e-20f, 2e19f};

	(void) state;
	for (int metric = 0; metric < NUMBER_METRICS; metric++)
	{
		for (uint32_t quantization = 0; quantization <= IQDB_QUANTIZATION_BQ; quantization++)
		{
			IqdbIndexOptions options = ivf_options((IqdbMetric) metric, 5);
			MemoryIndex      memory;
			IqdbHit          hits[400];
			IqdbSearchParams params = {.expected = 2, .probes = 1};
			IqdbRng          rng;

			options.quantization = quantization;
			if (iqdb_index_options_check(&options, NULL) != IQDB_OK)
				continue;
			iqdb_rng_seed(&rng, SEED);
			memory_index_create(&memory, &options, &iqdb_locks_none, NULL, MEMORY_MAX);
			for (uint64_t id = 0; id < 400; id++)
			{
				float vector[DIM];

				/* 200 copies of one row, then anything */
				for (int d = 0; d < DIM; d++)
					vector[d] = id < 200 ? values[metric] : values[iqdb_rng_below(&rng, 8)];
				assert_int_equal(iqdb_index_put(&memory.index, iqdb_id_u64(id), vector, DIM, NULL, 0, NULL, NULL), IQDB_OK);
				if (id == 199)
				{
					assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_BUILD, NULL), IQDB_OK);
					/* rows of which no two can be told apart make no centre: they are all scanned */
					assert_int_equal(samples_stats(&memory.index).lists, metric == IQDB_METRIC_L1 ? 0 : 1);
					assert_true(memory_index_sound(&memory.index));
				}
			}
			for (int round = 0; round < 2; round++)
			{
				for (int value = 0; value < 8; value++)
				{
					float query[DIM];

					for (int d = 0; d < DIM; d++)
						query[d] = values[(value + d) % 8];
					assert_int_equal(samples_search(&memory.index, query, DIM, &params, 400, hits), 400);
				}
				assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_OPTIMIZE, NULL), IQDB_OK);
				assert_true(memory_index_sound(&memory.index));
			}
			memory_index_destroy(&memory);
		}
	}
}

static void
training_happens_by_itself(void **state)
{
	IqdbIndexOptions options = ivf_options(IQDB_METRIC_L2, 40);
	World            world;
	uint64_t         id = 0;

	(void) state;
	world_open(&world, &options, SEED, 5000);
	while (samples_stats(&world.memory.index).trained == 0 && id < 5000)
		put(&world, iqdb_id_u64(id++), true);
	/* 32 rows per list, and not before */
	assert_int_equal(id, 40 * 32);
	assert_int_equal(samples_stats(&world.memory.index).unlinked, 0);
	compare_world(&world, &world.memory.index);
	/* rows that nobody links are found all the same, and linked when asked for */
	put_many(&world, 2000, 2100, false);
	assert_int_equal(samples_stats(&world.memory.index).unlinked, 100);
	compare_world(&world, &world.memory.index);
	assert_int_equal(iqdb_index_link_pending(&world.memory.index, 30, &id, NULL), IQDB_OK);
	assert_int_equal(id, 30);
	assert_int_equal(samples_stats(&world.memory.index).unlinked, 70);
	assert_int_equal(iqdb_index_link_pending(&world.memory.index, 0, &id, NULL), IQDB_OK);
	assert_int_equal(id, 70);
	compare_world(&world, &world.memory.index);
	world_close(&world);
}

/* What a planner is told of lists is what building makes of them. */
static void
lists_are_as_many_as_estimated(void **state)
{
	static const IqdbQuantization codes[] = {IQDB_QUANTIZATION_NONE, IQDB_QUANTIZATION_BQ};
	IqdbIndexOptions              options = iqdb_index_options_default(IQDB_ENGINE_IVF, 8, IQDB_METRIC_L2);
	Samples                       samples;
	uint32_t                      lists[2];

	(void) state;
	samples_make(&samples, 16000, 1, 8, 50, 0.5, SEED);
	for (int i = 0; i < 2; i++)
	{
		MemoryIndex memory;

		options.quantization = codes[i];
		options.vectors = IQDB_VECTORS_MEMORY;
		memory_index_create(&memory, &options, &iqdb_locks_none, NULL, MEMORY_MAX);
		samples_put(&samples, &memory.index, 0, 16000, true);
		assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_BUILD, NULL), IQDB_OK);
		lists[i] = samples_stats(&memory.index).lists;
		assert_int_equal(lists[i], iqdb_ivf_wanted_lists(&options, 16000));
		memory_index_destroy(&memory);
	}
	assert_true(lists[1] < lists[0]);
	assert_int_equal(iqdb_ivf_wanted_lists(&options, 10), 0);
	samples_free(&samples);
}

/* Cleaning trains anew what has outgrown its lists. */
static void
vacuum_trains_what_has_outgrown_its_lists(void **state)
{
	IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_IVF, 4, IQDB_METRIC_L2);
	Samples          samples;
	MemoryIndex      memory;
	uint32_t         lists;

	(void) state;
	samples_make(&samples, 9000, 1, 4, 50, 0.5, SEED);
	memory_index_create(&memory, &options, &iqdb_locks_none, NULL, MEMORY_MAX);
	samples_put(&samples, &memory.index, 0, 1500, true);
	assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_BUILD, NULL), IQDB_OK);
	lists = samples_stats(&memory.index).lists;
	assert_true(lists > 0);
	samples_put(&samples, &memory.index, 1500, 5000, true);
	assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_VACUUM, NULL), IQDB_OK);
	assert_int_equal(samples_stats(&memory.index).lists, lists);
	samples_put(&samples, &memory.index, 5000, 9000, true);
	assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_VACUUM, NULL), IQDB_OK);
	assert_true(samples_stats(&memory.index).lists > lists);
	assert_true(memory_index_sound(&memory.index));
	memory_index_destroy(&memory);
	samples_free(&samples);
}

static void
same_lists(IqdbIndex *a, IqdbIndex *b, const Samples *samples)
{
	IqdbSearchParams params = {.expected = 10, .probes = 3};
	uint64_t         sizes[2][64];
	IqdbHit          hits[2][10];

	assert_int_equal(iqdb_ivf_list_sizes(&a->store, sizes[0], 64), iqdb_ivf_list_sizes(&b->store, sizes[1], 64));
	assert_memory_equal(sizes[0], sizes[1], samples_stats(a).lists * sizeof(uint64_t));
	assert_int_equal(samples_stats(a).probes, samples_stats(b).probes);
	for (size_t query = 0; query < samples->queries; query++)
	{
		assert_int_equal(samples_search(a, samples_query(samples, query), samples->dim, &params, 10, hits[0]), 10);
		assert_int_equal(samples_search(b, samples_query(samples, query), samples->dim, &params, 10, hits[1]), 10);
		for (int i = 0; i < 10; i++)
			assert_true(hits[0][i].id == hits[1][i].id && hits[0][i].key == hits[1][i].key);
	}
}

/* Also: a sample smaller than the rows; training twice with nothing changed, which must learn the same codebooks. */
/* Rows like those that were trained with are no drift, rows of clusters that were not there are; VACUUM trains anew. */
static void
drift_is_noticed_and_mended(void **state)
{
	static const IqdbMetric metrics[] = {IQDB_METRIC_L2, IQDB_METRIC_COSINE, IQDB_METRIC_DOT, IQDB_METRIC_L1};

	(void) state;
	for (int i = 0; i < 4; i++)
	{
		IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_IVF, 16, metrics[i]);
		Samples          samples;
		MemoryIndex      memory;
		MemoryIndex      loaded;
		MemorySnapshot   snapshot;
		IqdbEngineStats  stats;
		uint64_t         longest;

		options.lists = 60;
		samples_make(&samples, 5000, 10, 16, 60, 0.3, SEED);
		memory_index_create(&memory, &options, &iqdb_locks_none, NULL, MEMORY_MAX);
		samples_put(&samples, &memory.index, 0, 2000, false);
		assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_BUILD, NULL), IQDB_OK);
		stats = samples_stats(&memory.index);
		assert_true(stats.trained_rows == 2000 && stats.newcomers == 0 && stats.drift == 0.0 && !stats.outgrown);
		samples_put(&samples, &memory.index, 2000, 3000, true);
		stats = samples_stats(&memory.index);
		print_message("metric %s: like before %.3f", iqdb_metric_name(metrics[i]), stats.drift);
		assert_true(stats.newcomers == 1000 && stats.drift > 0.7 && stats.drift < 1.5 && !stats.outgrown);
		assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_VACUUM, NULL), IQDB_OK);
		assert_int_equal(samples_stats(&memory.index).trained_rows, 2000);

		/* 2000 rows elsewhere */
		for (size_t at = 3000 * samples.dim; at < 5000 * samples.dim; at++)
			samples.rows[at] = at % 2 == 0 ? -2.0f * samples.rows[at] : samples.rows[at] + 1.0f;
		samples_put(&samples, &memory.index, 3000, 5000, true);
		stats = samples_stats(&memory.index);
		longest = stats.list_max;
		print_message(", elsewhere %.3f\n", stats.drift);
		assert_true(stats.newcomers == 3000 && stats.drift >= 2.0 && stats.outgrown);

		save(&memory.index, &snapshot);
		assert_int_equal(load(&loaded, &options, &snapshot, NULL), IQDB_OK);
		assert_true(samples_stats(&loaded.index).newcomers == 3000 && samples_stats(&loaded.index).outgrown);
		assert_true(samples_stats(&loaded.index).drift == stats.drift);
		memory_snapshot_free(&snapshot);
		memory_index_destroy(&loaded);

		assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_VACUUM, NULL), IQDB_OK);
		stats = samples_stats(&memory.index);
		assert_true(stats.trained_rows == 5000 && stats.newcomers == 0 && stats.drift == 0.0 && !stats.outgrown);
		assert_true(stats.list_max < longest && memory_index_sound(&memory.index));
		memory_index_destroy(&memory);
		samples_free(&samples);
	}
}

static void
same_seed_gives_the_same_index(void **state)
{
	Samples samples;

	(void) state;
	samples_make(&samples, 2000, 10, 16, 40, 0.4, SEED);
	for (uint32_t quantization = 0; quantization <= IQDB_QUANTIZATION_BQ; quantization++)
	{
		IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_IVF, 16, IQDB_METRIC_L2);
		MemoryIndex      first;
		MemoryIndex      second;
		IvfError         before;
		IvfError         after;

		options.quantization = quantization;
		options.lists = 30;
		options.training_sample = 900;
		memory_index_create(&first, &options, &iqdb_locks_none, NULL, MEMORY_MAX);
		memory_index_create(&second, &options, &iqdb_locks_none, NULL, MEMORY_MAX);
		samples_put(&samples, &first.index, 0, samples.count, false);
		samples_put(&samples, &second.index, 0, samples.count, false);
		assert_int_equal(iqdb_index_maintain(&first.index, IQDB_MAINTAIN_BUILD, NULL), IQDB_OK);
		assert_int_equal(iqdb_index_maintain(&second.index, IQDB_MAINTAIN_BUILD, NULL), IQDB_OK);
		same_lists(&first.index, &second.index, &samples);
		before = ivf_code_error(&first.index.store, 500, SEED);
		assert_int_equal(iqdb_index_maintain(&first.index, IQDB_MAINTAIN_OPTIMIZE, NULL), IQDB_OK);
		same_lists(&first.index, &second.index, &samples);
		after = ivf_code_error(&first.index.store, 500, SEED);
		assert_true(before.rows == after.rows && before.mean_square == after.mean_square);
		memory_index_destroy(&first);
		memory_index_destroy(&second);
	}
	samples_free(&samples);
}

/* Looked up together or one by one, rows go to the same lists; so do those that no code can hold. */
static void
rows_go_where_each_alone_would(void **state)
{
	static const IqdbMetric metrics[] = {IQDB_METRIC_L2, IQDB_METRIC_DOT, IQDB_METRIC_COSINE, IQDB_METRIC_L1};
	Samples                 samples;

	(void) state;
	samples_make(&samples, 3000, 40, 37, 60, 0.5, SEED);
	for (size_t d = 0; d < samples.dim; d++)
		samples_query(&samples, 3)[d] = d % 2 == 0 ? 0.0f : 1e32f;
	for (size_t i = 0; i < sizeof(metrics) / sizeof(*metrics); i++)
	{
		IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_IVF, 37, metrics[i]);
		MemoryIndex      memory;
		IqdbiIvf         ivf;
		IqdbiModel       model;
		IqdbiScratch     scratch;

		options.lists = 70;
		memory_index_create(&memory, &options, &iqdb_locks_none, NULL, MEMORY_MAX);
		samples_put(&samples, &memory.index, 0, samples.count, false);
		assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_BUILD, NULL), IQDB_OK);
		iqdbi_ivf_view(&ivf, &memory.index.store);
		iqdbi_model_view(&ivf, 0, &model);
		assert_int_equal(iqdbi_scratch_init(&scratch, &ivf, model.figures.supers, 1, NULL), IQDB_OK);
		for (size_t first = 0, count = 1; first + count <= samples.queries; first += count, count = count % 8 + 1)
		{
			float    works[IQDBI_COARSE_ROWS * 64] = {0};
			uint32_t lists[IQDBI_COARSE_ROWS];
			float    keys[IQDBI_COARSE_ROWS];

			assert_true(ivf.work_stride <= 64);
			for (size_t row = 0; row < count; row++)
				memcpy(works + row * ivf.work_stride, samples_query(&samples, first + row), 37 * sizeof(float));
			iqdbi_coarse_assign_rows(&scratch, &model, works, count, true, lists, keys);
			for (size_t row = 0; row < count; row++)
			{
				float key;

				assert_int_equal(lists[row], iqdbi_coarse_assign(&scratch, &model, works + row * ivf.work_stride, &key));
				assert_memory_equal(&keys[row], &key, sizeof(key));
			}
		}
		iqdbi_scratch_free(&scratch);
		memory_index_destroy(&memory);
	}
	samples_free(&samples);
}

static void
different_seeds_can_diverge(void **state)
{
	Samples     samples;
	uint64_t    sizes[2][20];

	(void) state;
	samples_make(&samples, 1000, 1, 8, 100, 1.0, SEED);
	for (uint64_t seed = 0; seed < 2; seed++)
	{
		IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_IVF, 8, IQDB_METRIC_L2);
		MemoryIndex      memory;

		options.lists = 20;
		options.seed = seed;
		memory_index_create(&memory, &options, &iqdb_locks_none, NULL, MEMORY_MAX);
		samples_put(&samples, &memory.index, 0, samples.count, false);
		assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_BUILD, NULL), IQDB_OK);
		assert_int_equal(iqdb_ivf_list_sizes(&memory.index.store, sizes[seed], 20), 20);
		memory_index_destroy(&memory);
	}
	assert_memory_not_equal(sizes[0], sizes[1], sizeof(sizes[0]));
	samples_free(&samples);
}

/* Training anew loses no row, not even when there are fewer rows than lists, or none. */
static void
retrain_preserves_ids_and_count(void **state)
{
	(void) state;
	for (uint32_t quantization = 0; quantization <= IQDB_QUANTIZATION_BQ; quantization++)
	{
		IqdbIndexOptions options = ivf_options(IQDB_METRIC_L2, 50);
		World            world;

		options.quantization = quantization;
		world_open(&world, &options, SEED, 1000);
		put_many(&world, 0, 600, false);
		maintain(&world, IQDB_MAINTAIN_BUILD);
		for (uint64_t left = 600; left > 0; left /= 3)
		{
			for (uint64_t id = left / 3; id < left; id++)
				remove_one(&world, iqdb_id_u64(id));
			maintain(&world, IQDB_MAINTAIN_OPTIMIZE);
			assert_int_equal(samples_stats(&world.memory.index).trained, 1);
			assert_int_equal(samples_stats(&world.memory.index).unrepaired, 0);
			compare_world(&world, &world.memory.index);
		}
		assert_int_equal(world.model.count, 0);
		put_many(&world, 0, 100, true);
		compare_world(&world, &world.memory.index);
		world_close(&world);
	}
}

/* ---- filters ---- */

static bool
passes(const World *world, const IqdbFilter *filter, const IqdbHit *hit)
{
	const ModelRow *row = NULL;

	for (size_t i = 0; i < world->model.count; i++)
	{
		if (world->model.rows[i].sequence == hit->sequence)
			row = &world->model.rows[i];
	}
	return row != NULL && iqdb_filter_matches(filter, row->metadata, row->metadata_length);
}

/* However few rows pass, as many as wanted come back while there are any. */
static void
a_filter_never_starves(void **state)
{
	IqdbIndexOptions options = ivf_options(IQDB_METRIC_L2, 60);
	World            world;
	float            query[DIM] = {0};

	(void) state;
	world_open(&world, &options, SEED, 10000);
	put_many(&world, 0, 4000, false);
	maintain(&world, IQDB_MAINTAIN_BUILD);
	for (int round = 0; round < 12; round++)
	{
		IqdbFilter      *filter = model_random_filter(&world.rng);
		IqdbSearchParams params = {.expected = 5, .probes = 1, .filter = by_metadata(filter)};
		IqdbHit          hits[5];
		size_t           matching;
		ModelHit        *all = model_search(&world.model, query, filter, &matching);
		size_t           count = samples_search(&world.memory.index, query, DIM, &params, 5, hits);

		assert_int_equal(count, matching < 5 ? matching : 5);
		for (size_t i = 0; i < count; i++)
			assert_true(passes(&world, filter, &hits[i]));
		free(all);
		iqdb_filter_free(&iqdb_allocator_libc, filter);
	}
	world_close(&world);
}

static void
a_search_gives_up_after_max_rows(void **state)
{
	IqdbIndexOptions options = ivf_options(IQDB_METRIC_L2, 60);
	IqdbSearchParams params = {.expected = 5, .probes = 2, .max_rows = 300};
	World            world;
	float            query[DIM] = {0};
	IqdbHit          hits[4000];
	size_t           count;

	(void) state;
	world_open(&world, &options, SEED, 10000);
	put_many(&world, 0, 4000, false);
	maintain(&world, IQDB_MAINTAIN_BUILD);
	count = samples_search(&world.memory.index, query, DIM, &params, 4000, hits);
	assert_true(count > 0 && count < 1000);
	world_close(&world);
}

/* ---- removal ---- */

static void
deleted_ids_are_absent_and_their_slots_come_back(void **state)
{
	IqdbIndexOptions options = ivf_options(IQDB_METRIC_COSINE, 20);
	World            world;
	IqdbIndexStats   stats;

	(void) state;
	world_open(&world, &options, SEED, 1000);
	put_many(&world, 0, 800, false);
	maintain(&world, IQDB_MAINTAIN_BUILD);
	for (int round = 0; round < 6; round++)
	{
		for (uint64_t id = 0; id < 800; id += 2)
			remove_one(&world, iqdb_id_u64(id));
		remove_one(&world, iqdb_id_u64(0));
		/* rows that were in no list yet were let go of at once */
		assert_int_equal(samples_stats(&world.memory.index).unrepaired, round == 0 || round % 2 == 1 ? 400 : 0);
		compare_world(&world, &world.memory.index);
		maintain(&world, IQDB_MAINTAIN_VACUUM);
		assert_int_equal(samples_stats(&world.memory.index).unrepaired, 0);
		iqdb_index_stats(&world.memory.index, &stats);
		assert_int_equal(stats.dead, 0);
		assert_true(stats.free >= 400);
		compare_world(&world, &world.memory.index);
		for (uint64_t id = 0; id < 800; id += 2)
			put(&world, iqdb_id_u64(id), round % 2 == 0);
		compare_world(&world, &world.memory.index);
	}
	assert_int_equal(atomic_load(&world.memory.index.store.header->slot_count), 800);
	world_close(&world);
}

/* Replacing rows again and again does not make lists or store grow. */
static void
an_index_that_is_vacuumed_does_not_grow(void **state)
{
	IqdbIndexOptions options = ivf_options(IQDB_METRIC_L2, 20);
	World            world;
	uint32_t         blocks = 0;
	IqdbiIvfHeader  *header;

	(void) state;
	world_open(&world, &options, SEED, 300);
	header = world.memory.index.store.engine_header;
	put_many(&world, 0, 300, false);
	maintain(&world, IQDB_MAINTAIN_BUILD);
	for (int round = 0; round < 60; round++)
	{
		for (int i = 0; i < 100; i++)
			put(&world, iqdb_id_u64(iqdb_rng_below(&world.rng, 300)), i % 10 != 0);
		maintain(&world, round % 10 == 9 ? IQDB_MAINTAIN_OPTIMIZE : IQDB_MAINTAIN_VACUUM);
		if (round == 20)
			blocks = header->pools[atomic_load(&header->current) - 1].count;
	}
	compare_world(&world, &world.memory.index);
	assert_int_equal(atomic_load(&header->waiting), 0);
	assert_true(header->pools[atomic_load(&header->current) - 1].count <= blocks + 8);
	world_close(&world);
}

/* ---- what a user may ask ---- */

static void
suggestions_are_monotone_and_clamped(void **state)
{
	IqdbIndexOptions options = ivf_options(IQDB_METRIC_L2, 25);
	World            world;
	IqdbStore       *store = &world.memory.index.store;
	uint64_t         sizes[25];
	uint32_t         probes;
	uint32_t         before = 1;

	(void) state;
	world_open(&world, &options, SEED, 1000);
	for (int i = 0; i <= 4; i++)
	{
		assert_int_equal(iqdb_ivf_suggest_probes(store, i / 4.0, &probes, NULL), IQDB_OK);
		assert_int_equal(probes, 1);
	}
	assert_int_equal(iqdb_ivf_list_sizes(store, sizes, 25), 0);
	assert_int_equal(samples_stats(&world.memory.index).probes, 0);
	put_many(&world, 0, 1000, false);
	maintain(&world, IQDB_MAINTAIN_BUILD);
	assert_int_equal(iqdb_ivf_list_sizes(store, sizes, 25), 25);
	iqdbi_sort_numbers(sizes, 25);
	for (int i = 0; i <= 50; i++)
	{
		uint64_t reached = 0;

		assert_int_equal(iqdb_ivf_suggest_probes(store, i / 50.0, &probes, NULL), IQDB_OK);
		assert_true(probes >= before && probes <= 25);
		before = probes;
		/* so many of the longest are enough, one less is not */
		for (uint32_t list = 0; list < probes; list++)
		{
			assert_true(i == 0 || i == 50 || reached < 20 * (uint64_t) i);
			reached += sizes[24 - list];
		}
		assert_true(reached >= 20 * (uint64_t) i);
	}
	assert_int_equal(probes, 25);
	assert_int_equal(iqdb_ivf_suggest_probes(store, 0.0, &probes, NULL), IQDB_OK);
	assert_int_equal(probes, 1);
	assert_int_equal(iqdb_ivf_suggest_probes(store, -0.1, &probes, NULL), IQDB_ERR_CONFIG);
	assert_int_equal(iqdb_ivf_suggest_probes(store, 1.1, &probes, NULL), IQDB_ERR_CONFIG);
	assert_int_equal(iqdb_ivf_suggest_probes(store, NAN, &probes, NULL), IQDB_ERR_CONFIG);
	assert_in_range(samples_stats(&world.memory.index).probes, 1, 25);
	world_close(&world);
}

/* The store holds each vector once; a code costs what it should. */
static void
product_codes_add_no_copy_of_vectors(void **state)
{
	IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_IVF, 512, IQDB_METRIC_L2);
	IqdbIndexOptions flat = iqdb_index_options_default(IQDB_ENGINE_FLAT, 512, IQDB_METRIC_L2);
	Samples          samples;
	IqdbIndexStats   stats[2];

	(void) state;
	options.quantization = IQDB_QUANTIZATION_PQ;
	options.pq_subvectors = 64;
	options.lists = 20;
	options.vectors = IQDB_VECTORS_MEMORY;
	assert_true(iqdb_index_estimate_memory(&options, 100000) - iqdb_index_estimate_memory(&flat, 100000) <
				100000 * 110);
	samples_make(&samples, 4000, 1, 512, 20, 0.3, SEED);
	for (int i = 0; i < 2; i++)
	{
		MemoryIndex memory;

		memory_index_create(&memory, i == 0 ? &flat : &options, &iqdb_locks_none, NULL, MEMORY_MAX);
		samples_put(&samples, &memory.index, 0, samples.count, false);
		assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_BUILD, NULL), IQDB_OK);
		iqdb_index_stats(&memory.index, &stats[i]);
		memory_index_destroy(&memory);
	}
	/* codes of 64 bytes against vectors of 2048; the arena grows in steps */
	assert_true(stats[1].memory - stats[0].memory < stats[0].memory / 4);
	samples_free(&samples);
}

/* ---- snapshots ---- */

static void
opening_never_retrains(void **state)
{
	Samples samples;

	(void) state;
	samples_make(&samples, 2500, 10, 12, 40, 0.4, SEED);
	for (uint32_t quantization = 0; quantization <= IQDB_QUANTIZATION_BQ; quantization++)
	{
		IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_IVF, 12, IQDB_METRIC_DOT);
		MemoryIndex      memory;
		MemoryIndex      loaded;
		MemorySnapshot   snapshot;

		options.quantization = quantization;
		options.lists = 40;
		memory_index_create(&memory, &options, &iqdb_locks_none, NULL, MEMORY_MAX);
		samples_put(&samples, &memory.index, 0, 2000, false);
		assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_BUILD, NULL), IQDB_OK);
		/* what came later would have made other lists */
		samples_put(&samples, &memory.index, 2000, 2500, true);
		save(&memory.index, &snapshot);
		assert_int_equal(load(&loaded, &options, &snapshot, NULL), IQDB_OK);
		assert_true(memory_index_sound(&loaded.index));
		same_lists(&memory.index, &loaded.index, &samples);
		memory_snapshot_free(&snapshot);
		memory_index_destroy(&memory);
		memory_index_destroy(&loaded);
	}
	samples_free(&samples);
}

/* The room for centres is that of as many lists as were asked for, not more. */
static void
few_lists_of_wide_vectors_load(void **state)
{
	Samples samples;

	(void) state;
	samples_make(&samples, 50, 2, 800, 4, 0.4, SEED);
	for (uint32_t lists = 1; lists <= 3; lists++)
	{
		IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_IVF, 800, IQDB_METRIC_L2);
		MemoryIndex      memory;
		MemoryIndex      loaded;
		MemorySnapshot   snapshot;

		options.lists = lists;
		memory_index_create(&memory, &options, &iqdb_locks_none, NULL, MEMORY_MAX);
		samples_put(&samples, &memory.index, 0, 50, false);
		assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_BUILD, NULL), IQDB_OK);
		save(&memory.index, &snapshot);
		assert_int_equal(load(&loaded, &options, &snapshot, NULL), IQDB_OK);
		same_lists(&memory.index, &loaded.index, &samples);
		memory_snapshot_free(&snapshot);
		memory_index_destroy(&memory);
		memory_index_destroy(&loaded);
	}
	samples_free(&samples);
}

/* As written before drift was noted: all is there but the numbers about drift. */
static void
a_snapshot_of_version_1_is_read(void **state)
{
	IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_IVF, 12, IQDB_METRIC_L2);
	Samples          samples;
	MemoryIndex      memory;
	MemoryIndex      loaded;
	MemorySnapshot   snapshot;

	(void) state;
	samples_make(&samples, 1500, 10, 12, 40, 0.4, SEED);
	options.lists = 30;
	memory_index_create(&memory, &options, &iqdb_locks_none, NULL, MEMORY_MAX);
	samples_put(&samples, &memory.index, 0, 1500, false);
	assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_BUILD, NULL), IQDB_OK);
	save(&memory.index, &snapshot);
	snapshot.bytes[2][0] = 1;
	memmove(snapshot.bytes[2] + 40, snapshot.bytes[2] + 60, snapshot.length[2] - 60);
	snapshot.length[2] -= 20;
	assert_int_equal(load(&loaded, &options, &snapshot, NULL), IQDB_OK);
	assert_true(memory_index_sound(&loaded.index));
	same_lists(&memory.index, &loaded.index, &samples);
	/* nothing is known about where rows were: nothing is said about drift */
	for (size_t row = 0; row < samples.queries; row++)
	{
		uint32_t slot;

		assert_int_equal(iqdb_index_put(&loaded.index, iqdb_id_u64(5000 + row), samples_query(&samples, row), 12, NULL, 0,
										&slot, NULL), IQDB_OK);
		assert_int_equal(iqdb_index_link(&loaded.index, slot, NULL), IQDB_OK);
	}
	assert_int_equal(samples_stats(&loaded.index).newcomers, samples.queries);
	assert_true(samples_stats(&loaded.index).drift == 1.0);
	memory_snapshot_free(&snapshot);
	memory_index_destroy(&memory);
	memory_index_destroy(&loaded);
	samples_free(&samples);
}

/* Cut short anywhere, or with any byte changed: refused, or a sound index with all rows. */
static void
a_snapshot_is_not_believed(void **state)
{
	IqdbIndexOptions options = ivf_options(IQDB_METRIC_L2, 7);
	World            world;
	MemorySnapshot   snapshot;
	size_t           length;

	(void) state;
	world_open(&world, &options, SEED, 200);
	put_many(&world, 0, 60, false);
	maintain(&world, IQDB_MAINTAIN_BUILD);
	save(&world.memory.index, &snapshot);
	length = snapshot.length[2];
	for (size_t at = 0; at < length; at++)
	{
		for (int what = 0; what < 3; what++)
		{
			unsigned char byte = snapshot.bytes[2][at];
			MemoryIndex   loaded;
			IqdbError     err;
			IqdbStatus    status;

			snapshot.length[2] = what == 0 ? at : length;
			snapshot.bytes[2][at] = what == 0 ? byte : what == 1 ? byte ^ 0x80 : byte + 1;
			status = load(&loaded, &options, &snapshot, &err);
			assert_true(what != 0 || status == IQDB_ERR_CORRUPT);
			if (status == IQDB_OK)
			{
				assert_true(memory_index_sound(&loaded.index));
				assert_int_equal(iqdb_index_live_count(&loaded.index), 60);
				if (at % 16 == 0)
				{
					compare_world(&world, &loaded.index);
					assert_int_equal(iqdb_index_maintain(&loaded.index, IQDB_MAINTAIN_OPTIMIZE, NULL), IQDB_OK);
					compare_world(&world, &loaded.index);
				}
			}
			else
				assert_true(status == IQDB_ERR_CORRUPT || status == IQDB_ERR_VERSION || status == IQDB_ERR_LIMIT);
			memory_index_destroy(&loaded);
			snapshot.bytes[2][at] = byte;
			snapshot.length[2] = length;
		}
	}
	memory_snapshot_free(&snapshot);
	world_close(&world);
}

/* Lists that a snapshot names for slots that are not there, and slots for which it names none. */
static void
rows_without_a_list_load_as_if_just_added(void **state)
{
	IqdbIndexOptions options = ivf_options(IQDB_METRIC_L2, 7);
	World            world;
	MemorySnapshot   snapshot;
	MemoryIndex      loaded;
	uint64_t         linked;

	(void) state;
	world_open(&world, &options, SEED, 200);
	put_many(&world, 0, 80, false);
	maintain(&world, IQDB_MAINTAIN_BUILD);
	save(&world.memory.index, &snapshot);
	for (int i = 0; i < 30; i++)
		iqdb_store_u32(snapshot.bytes[2] + snapshot.length[2] - 4 * (size_t) (i + 1), i % 2 == 0 ? UINT32_MAX : 8);
	assert_int_equal(load(&loaded, &options, &snapshot, NULL), IQDB_OK);
	assert_int_equal(samples_stats(&loaded.index).unlinked, 30);
	compare_world(&world, &loaded.index);
	assert_int_equal(iqdb_index_link_pending(&loaded.index, 0, &linked, NULL), IQDB_OK);
	assert_int_equal(linked, 30);
	compare_world(&world, &loaded.index);
	memory_index_destroy(&loaded);
	memory_snapshot_free(&snapshot);
	world_close(&world);
}

/* ---- failures ---- */

static void
a_full_arena_stops_training_and_keeps_rows(void **state)
{
	IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_IVF, 64, IQDB_METRIC_L2);
	Samples          samples;
	MemoryIndex      memory;
	IqdbSearchParams params = {.expected = 4};
	IqdbHit         *hits = malloc(20000 * sizeof(*hits));
	IqdbError        err;
	IqdbStatus       status = IQDB_OK;
	size_t           rows = 0;

	(void) state;
	options.lists = 30;
	samples_make(&samples, 20000, 1, 64, 40, 0.4, SEED);
	memory_index_create(&memory, &options, &iqdb_locks_none, NULL, 3 * 1024 * 1024);
	for (; status == IQDB_OK; rows += status == IQDB_OK)
	{
		if (rows == 2000)
			assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_BUILD, NULL), IQDB_OK);
		status = iqdb_index_put(&memory.index, iqdb_id_u64(rows), samples_row(&samples, rows), 64, NULL, 0, NULL, &err);
	}
	assert_int_equal(status, IQDB_ERR_LIMIT);
	assert_true(rows > 5000 && rows < 12000);
	for (int round = 0; round < 3; round++)
	{
		uint64_t linked;

		/* room for some of the rows in lists, none for all of them twice */
		status = round == 0 ? iqdb_index_link_pending(&memory.index, 0, &linked, &err)
							: iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_OPTIMIZE, &err);
		assert_int_equal(status, IQDB_ERR_LIMIT);
		assert_true(memory_index_sound(&memory.index));
		assert_int_equal(samples_search(&memory.index, samples_query(&samples, 0), 64, &params, 20000, hits), rows);
	}
	for (uint64_t id = 0; id < rows; id += 2)
		iqdb_index_remove(&memory.index, iqdb_id_u64(id), NULL);
	assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_VACUUM, &err), IQDB_OK);
	assert_true(memory_index_sound(&memory.index));
	assert_int_equal(samples_stats(&memory.index).unrepaired, 0);
	assert_int_equal(samples_search(&memory.index, samples_query(&samples, 0), 64, &params, 20000, hits), rows / 2);
	memory_index_destroy(&memory);
	samples_free(&samples);
	free(hits);
}

/* Each allocation of each operation fails once: a status, nothing leaked, nothing lost. */
static void
every_allocation_may_fail(void **state)
{
	static const uint32_t quantizations[] = {IQDB_QUANTIZATION_SQ8, IQDB_QUANTIZATION_PQ};

	(void) state;
	for (int i = 0; i < 2; i++)
	{
		IqdbIndexOptions options = ivf_options(IQDB_METRIC_L2, 70);
		World            world;
		AllocFault       fault;
		uint64_t         linked;
		MemorySnapshot   snapshot;
		IqdbSearchParams params = {.expected = 3, .probes = 2};
		float            query[DIM] = {1};

		options.quantization = quantizations[i];
		world_open(&world, &options, SEED, 400);
		alloc_fault_init(&fault);
		world.memory.host.allocator = fault.allocator;
		put_many(&world, 0, 200, false);
		for (int what = 0; what < 5; what++)
		{
			uint64_t n = 1;

			for (IqdbStatus status = IQDB_ERR_NOMEM; status != IQDB_OK; n++)
			{
				IqdbCursor *cursor = NULL;
				IqdbHit     hits[300];
				size_t      count = 1;

				if (what == 1)
					put_many(&world, 200 + n % 100, 201 + n % 100, false);
				alloc_fault_arm(&fault, n);
				if (what == 0 || what == 2)
					status = iqdb_index_maintain(&world.memory.index, what == 0 ? IQDB_MAINTAIN_BUILD
																				 : IQDB_MAINTAIN_OPTIMIZE, NULL);
				else if (what == 1)
					status = iqdb_index_link_pending(&world.memory.index, 0, &linked, NULL);
				else if (what == 3)
				{
					IqdbSectionSink sink = memory_snapshot_sink(&snapshot);

					memory_snapshot_init(&snapshot);
					status = iqdb_index_save(&world.memory.index, &sink, NULL);
					memory_snapshot_free(&snapshot);
				}
				else
				{
					status = iqdb_cursor_open(&world.memory.index, query, DIM, &params, &cursor, NULL);
					while (status == IQDB_OK && count > 0)
						status = iqdb_cursor_next(cursor, hits, 300, &count, NULL);
					iqdb_cursor_close(cursor);
				}
				alloc_fault_arm(&fault, 0);
				assert_true(status == IQDB_OK || status == IQDB_ERR_NOMEM);
				assert_int_equal(atomic_load(&fault.blocks), 0);
				assert_true(memory_index_sound(&world.memory.index));
			}
			assert_true(n > 2);
			compare_world(&world, &world.memory.index);
		}
		world_close(&world);
	}
}

static bool
cancel_at_zero(void *arg)
{
	int64_t *left = arg;

	return (*left)-- == 0;
}

static void
training_can_be_cancelled_anywhere(void **state)
{
	IqdbIndexOptions options = ivf_options(IQDB_METRIC_L2, 70);
	World            world;
	int64_t          left = -1;
	int64_t          polls = 0;

	(void) state;
	world_open(&world, &options, SEED, 4000);
	world.memory.host.cancelled = cancel_at_zero;
	world.memory.host.cancel_arg = &left;
	put_many(&world, 0, 3000, false);
	for (IqdbStatus status = IQDB_ERR_CANCELLED; status != IQDB_OK; polls += 1 + polls / 4)
	{
		left = polls;
		status = iqdb_index_maintain(&world.memory.index, IQDB_MAINTAIN_OPTIMIZE, NULL);
		assert_true(status == IQDB_OK || status == IQDB_ERR_CANCELLED);
		left = -1;
		assert_int_equal(samples_stats(&world.memory.index).trained, status == IQDB_OK);
		assert_true(memory_index_sound(&world.memory.index));
	}
	assert_true(polls > 20);
	compare_world(&world, &world.memory.index);
	left = 0;
	assert_int_equal(iqdb_index_maintain(&world.memory.index, IQDB_MAINTAIN_OPTIMIZE, NULL), IQDB_ERR_CANCELLED);
	left = -1;
	compare_world(&world, &world.memory.index);
	world_close(&world);
}

/* ---- inner loops ---- */

static void
fill_bytes(IqdbRng *rng, uint8_t *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		bytes[i] = (uint8_t) iqdb_rng_next(rng);
}

/* All instruction sets give the same bits. */
static void
kernels_agree(void **state)
{
	static const char *const names[] = {"avx2", "avx512bw", "avx512", "neon"};
	const IqdbiIvfKernels   *plain = iqdbi_ivf_kernels(iqdb_kernels_named("scalar"));
	IqdbRng                  rng;

	(void) state;
	iqdb_rng_seed(&rng, SEED);
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
	{
		const IqdbKernels     *table = iqdb_kernels_named(names[i]);
		const IqdbiIvfKernels *kernels = table != NULL ? iqdbi_ivf_kernels(table) : plain;

		for (int round = 0; round < 300; round++)
		{
			size_t    words = 1 + iqdb_rng_below(&rng, round < 290 ? 70 : 400);
			size_t    dim = 1 + iqdb_rng_below(&rng, 100);
			uint8_t  *codes = malloc(words * 128);
			uint8_t  *tables = malloc(words * 32);
			int32_t   sums[2][32] = {{0}};
			float     keys[2][32];
			float     scalars[4][104];
			uint8_t   bytes[2][104];
			int32_t   totals[2][2];
			IqdbiLine line = {1.5f, -0.01f, 3.0f};

			assert_true(codes != NULL && tables != NULL);
			fill_bytes(&rng, codes, words * 128);
			fill_bytes(&rng, tables, words * 32);
			plain->nibbles(codes, words, tables, sums[0]);
			kernels->nibbles(codes, words, tables, sums[1]);
			assert_memory_equal(sums[0], sums[1], sizeof(sums[0]));
			for (size_t d = 0; d < 104; d++)
			{
				scalars[0][d] = (float) samples_gauss(&rng);
				scalars[1][d] = (float) samples_gauss(&rng);
			}
			for (int scaled = 0; scaled < 2; scaled++)
			{
				const float *scales = scaled ? scalars[0] : NULL;

				assert_int_equal(plain->finish(sums[0], scales, scalars[1], &line, 0.5f, keys[0]),
								 kernels->finish(sums[0], scales, scalars[1], &line, 0.5f, keys[1]));
				assert_memory_equal(keys[0], keys[1], sizeof(keys[0]));
			}
			plain->widen((const uint16_t *) (const void *) codes, keys[0]);
			kernels->widen((const uint16_t *) (const void *) codes, keys[1]);
			assert_memory_equal(keys[0], keys[1], sizeof(keys[0]));
			for (int with = 0; with < 2; with++)
			{
				const float *other = with ? scalars[1] : NULL;
				float        largest = plain->residual(scalars[0], 0.7f, other, dim, scalars[2]);

				assert_true(largest == kernels->residual(scalars[0], 0.7f, other, dim, scalars[3]));
				assert_memory_equal(scalars[2], scalars[3], dim * sizeof(float));
				plain->round(scalars[2], dim, 127.0f / largest, 128, bytes[0], &totals[0][0], &totals[0][1]);
				kernels->round(scalars[2], dim, 127.0f / largest, 128, bytes[1], &totals[1][0], &totals[1][1]);
				assert_memory_equal(bytes[0], bytes[1], dim);
				assert_memory_equal(totals[0], totals[1], sizeof(totals[0]));
			}
			free(codes);
			free(tables);
		}
	}
}

static float
float_of(uint32_t bits)
{
	float value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

static void
short_floats_are_the_nearest(void **state)
{
	static const uint32_t bits[][2] = {{0, 0},
									   {0x3f800000, 0x3f800000},
									   {0x3f807fff, 0x3f800000},
									   {0x3f808000, 0x3f800000}, /* in the middle: to the even one */
									   {0x3f808001, 0x3f810000},
									   {0x3f818000, 0x3f820000},
									   {0xbf818000, 0xbf820000},
									   {0x00008001, 0x00010000},
									   {0x7f7fffff, 0x7f800000},
									   {0x7f800000, 0x7f800000},
									   {0xff800000, 0xff800000}};
	const IqdbiIvfKernels *plain = iqdbi_ivf_kernels(iqdb_kernels_named("scalar"));
	IqdbRng                rng;

	(void) state;
	for (size_t i = 0; i < sizeof(bits) / sizeof(*bits); i++)
		assert_true(iqdbi_code_shorten(float_of(bits[i][0])) == float_of(bits[i][1]));
	assert_true(isnan(iqdbi_code_shorten(NAN)));
	iqdb_rng_seed(&rng, SEED);
	for (int round = 0; round < 10000; round++)
	{
		float    value = (float) samples_gauss(&rng);
		float    nearest = iqdbi_code_shorten(value);
		uint32_t kept;
		uint16_t halves[32] = {0};
		float    floats[32];

		memcpy(&kept, &nearest, sizeof(kept));
		halves[round % 32] = (uint16_t) (kept >> 16);
		plain->widen(halves, floats);
		assert_true(floats[round % 32] == nearest && fabsf(nearest - value) <= fabsf(value) / 256);
	}
}

static void
a_pick_keeps_the_smallest(void **state)
{
	IqdbRng rng;

	(void) state;
	iqdb_rng_seed(&rng, SEED);
	for (int round = 0; round < 200; round++)
	{
		size_t    wanted = 1 + iqdb_rng_below(&rng, 100);
		size_t    count = iqdb_rng_below(&rng, 2000);
		uint64_t *all = malloc((count + 1) * sizeof(*all));
		IqdbiPick pick = {.entries = malloc(iqdbi_pick_room(wanted) * sizeof(uint64_t)), .room = iqdbi_pick_room(wanted)};

		iqdbi_pick_start(&pick, wanted);
		for (size_t i = 0; i < count; i++)
		{
			float key = (float) iqdb_rng_below(&rng, 50) - 25.0f;

			all[i] = (uint64_t) iqdbi_pick_bits(key) << 32 | i;
			if (key <= pick.limit)
				iqdbi_pick_push(&pick, key, (uint32_t) i);
		}
		iqdbi_pick_sort(&pick);
		iqdbi_sort_numbers(all, count);
		assert_int_equal(pick.count, count < wanted ? count : wanted);
		assert_memory_equal(pick.entries, all, pick.count * sizeof(uint64_t));
		free(all);
		free(pick.entries);
	}
}

static void
the_front_of_a_pick_is_its_least(void **state)
{
	IqdbRng rng;

	(void) state;
	iqdb_rng_seed(&rng, SEED);
	for (int round = 0; round < 200; round++)
	{
		uint64_t  entries[300];
		uint64_t  sorted[300];
		IqdbiPick pick = {.entries = entries, .count = 1 + iqdb_rng_below(&rng, 300)};
		size_t    from = iqdb_rng_below(&rng, pick.count);
		size_t    count = 1 + iqdb_rng_below(&rng, 350);
		float     limit = round % 3 == 0 ? INFINITY : (float) iqdb_rng_below(&rng, 50) - 25.0f;
		size_t    front;
		size_t    expected = 0;

		for (size_t i = 0; i < pick.count; i++)
			entries[i] = (uint64_t) iqdbi_pick_bits((float) iqdb_rng_below(&rng, 50) - 25.0f) << 32 | i;
		memcpy(sorted, entries, sizeof(sorted));
		iqdbi_sort_numbers(sorted + from, pick.count - from);
		while (expected < count && from + expected < pick.count && sorted[from + expected] >> 32 <= iqdbi_pick_bits(limit))
			expected++;
		front = iqdbi_pick_front(&pick, from, count, limit);
		assert_int_equal(front, expected);
		assert_memory_equal(entries, sorted, from * sizeof(uint64_t));
		iqdbi_sort_numbers(entries + from, front);
		assert_memory_equal(entries + from, sorted + from, front * sizeof(uint64_t));
		/* the others are still there */
		iqdbi_sort_numbers(entries + from, pick.count - from);
		assert_memory_equal(entries + from, sorted + from, (pick.count - from) * sizeof(uint64_t));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kernels_agree),
		cmocka_unit_test(short_floats_are_the_nearest),
		cmocka_unit_test(a_pick_keeps_the_smallest),
		cmocka_unit_test(the_front_of_a_pick_is_its_least),
		cmocka_unit_test(every_metric_matches_the_model),
		cmocka_unit_test(streams_of_unknown_length_are_complete),
		cmocka_unit_test(bits_of_most_dimensions_are_sorted_into_lists),
		cmocka_unit_test(full_probe_matches_flat_oracle),
		cmocka_unit_test(any_number_of_rows_works),
		cmocka_unit_test(strange_rows_are_kept),
		cmocka_unit_test(training_happens_by_itself),
		cmocka_unit_test(lists_are_as_many_as_estimated),
		cmocka_unit_test(vacuum_trains_what_has_outgrown_its_lists),
		cmocka_unit_test(drift_is_noticed_and_mended),
		cmocka_unit_test(same_seed_gives_the_same_index),
		cmocka_unit_test(rows_go_where_each_alone_would),
		cmocka_unit_test(different_seeds_can_diverge),
		cmocka_unit_test(retrain_preserves_ids_and_count),
		cmocka_unit_test(a_filter_never_starves),
		cmocka_unit_test(a_search_gives_up_after_max_rows),
		cmocka_unit_test(deleted_ids_are_absent_and_their_slots_come_back),
		cmocka_unit_test(an_index_that_is_vacuumed_does_not_grow),
		cmocka_unit_test(suggestions_are_monotone_and_clamped),
		cmocka_unit_test(product_codes_add_no_copy_of_vectors),
		cmocka_unit_test(opening_never_retrains),
		cmocka_unit_test(few_lists_of_wide_vectors_load),
		cmocka_unit_test(a_snapshot_of_version_1_is_read),
		cmocka_unit_test(a_snapshot_is_not_believed),
		cmocka_unit_test(rows_without_a_list_load_as_if_just_added),
		cmocka_unit_test(a_full_arena_stops_training_and_keeps_rows),
		cmocka_unit_test(every_allocation_may_fail),
		cmocka_unit_test(training_can_be_cancelled_anywhere),
	};

	print_message("seed %llu\n", (unsigned long long) SEED);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
