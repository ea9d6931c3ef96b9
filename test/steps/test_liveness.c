/*
 * test_liveness.c - whatever an engine does, it lets others in, looks at cancel, and ends.
 *
 * The core is compiled so that each basic block it enters is counted: that is the measure of work, the same on every machine.
 * Locks of the test note how many steps they are held; cancel comes at chosen steps.
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
#include "core/engine/store_write.h"
#include "core/meta/filter.h"
#include "core/meta/metadata.h"
#include "harness/memory_index.h"
#include "harness/metrics.h"

#define SEED UINT64_C(20261130)
#define DIM 4
/* Each row is of a group, and says so. */
#define GROUPS 100

#define MEMORY_MAX (UINT64_C(512) * 1024 * 1024)

/* A step is some nanoseconds at most: this is far less than five milliseconds. */
#define HOLD_STEPS UINT64_C(2000000)

/* Between cancel and return: well under a tenth of a second. */
#define CANCEL_STEPS UINT64_C(5000000)

/* No operation on so few rows takes as many. */
#define ENDLESS_STEPS UINT64_C(30000000000)

/* ---- steps ---- */

#define LOCKS 3

static struct
{
	uint64_t    steps;
	uint64_t    begun;           /* steps when the operation began */
	uint64_t    cancel_at;       /* of it; UINT64_MAX = never */
	const char *operation;
	const void *cells[LOCKS];    /* STRUCTURE, ROWS, ENGINE */
	uint64_t    held_from[LOCKS];
	uint64_t    worst[LOCKS];
	char        worst_in[LOCKS][40];
} work;

void __sanitizer_cov_trace_pc(void);

__attribute__((no_sanitize_coverage)) void
__sanitizer_cov_trace_pc(void)
{
	if (++work.steps - work.begun <= ENDLESS_STEPS)
		return;
	printf("# %s does not end\n", work.operation);
	abort();
}

static void
steps_init(void *arg, void *cell)
{
}

static void
steps_acquire(void *arg, void *cell, bool exclusive)
{
	for (int i = 0; i < LOCKS; i++)
		work.held_from[i] = cell == work.cells[i] ? work.steps : work.held_from[i];
}

static void
steps_release(void *arg, void *cell, bool exclusive)
{
	for (int i = 0; i < LOCKS; i++)
	{
		if (cell != work.cells[i] || work.steps - work.held_from[i] <= work.worst[i])
			continue;
		work.worst[i] = work.steps - work.held_from[i];
		(void) snprintf(work.worst_in[i], sizeof(work.worst_in[i]), "%s", work.operation);
	}
}

static bool
steps_cancelled(void *arg)
{
	return work.steps - work.begun >= work.cancel_at;
}

static const IqdbLockOps steps_locks = {steps_init, steps_acquire, steps_release, NULL};

/* ---- operations ---- */

typedef struct World
{
	MemoryIndex      memory;
	IqdbIndexOptions options;
	uint64_t         rows;
	float            query[DIM];
	unsigned char   *metadata[GROUPS];
	size_t           metadata_length[GROUPS];
	const IqdbRowFilter *filter; /* of searches for a group */
	MemorySnapshot   snapshot; /* of do_save */
} World;

static IqdbStatus
search(World *world, size_t expected, size_t most)
{
	IqdbSearchParams params = {.expected = expected, .filter = world->filter};
	IqdbHit          hits[64];
	IqdbCursor      *cursor;
	size_t           count = 1;
	IqdbStatus       status = iqdb_cursor_open(&world->memory.index, world->query, DIM, &params, &cursor, NULL);

	for (size_t seen = 0; status == IQDB_OK && count > 0 && seen < most; seen += count)
		status = iqdb_cursor_next(cursor, hits, 64, &count, NULL);
	if (cursor != NULL)
		iqdb_cursor_close(cursor);
	return status;
}

static IqdbStatus
do_search(World *world)
{
	return search(world, 0, 64);
}

static IqdbStatus
do_search_for_many(World *world)
{
	return search(world, 2000, 2000);
}

static IqdbStatus
do_stream(World *world)
{
	return search(world, 0, SIZE_MAX);
}

static IqdbStatus
search_filtered(World *world, const IqdbRowFilter *filter, size_t most)
{
	IqdbStatus status;

	world->filter = filter;
	status = search(world, 10, most);
	world->filter = NULL;
	return status;
}

static IqdbStatus
search_group(World *world, int64_t group, size_t most)
{
	IqdbValue         value = iqdb_value_int(group);
	IqdbFilterBuilder builder;
	IqdbFilter       *filter;
	IqdbStatus        status;

	iqdb_filter_builder_init(&builder, &iqdb_allocator_libc);
	assert_int_equal(iqdb_filter_finish(&builder, iqdb_filter_eq(&builder, "group", 5, &value), &filter, NULL), IQDB_OK);
	iqdb_filter_builder_free(&builder);
	status = search_filtered(world, &(IqdbRowFilter){.metadata = filter}, most);
	iqdb_filter_free(&iqdb_allocator_libc, filter);
	return status;
}

/* The groups from first to last, by their column. */
static IqdbStatus
search_column(World *world, int64_t first, int64_t last, size_t most)
{
	IqdbTest test = {.kind = IQDB_TEST_BETWEEN, .low = first, .high = last};

	return search_filtered(world, &(IqdbRowFilter){.tests = &test, .test_count = 1}, most);
}

/* Every so many of the rows, by their numbers. */
static IqdbStatus
search_numbers(World *world, uint64_t step, size_t most)
{
	IqdbIdSet  set;
	IqdbStatus status;

	iqdb_id_set_init(&set, &iqdb_allocator_libc);
	for (uint64_t id = 0; id < world->rows; id += step)
		assert_int_equal(iqdb_id_set_add(&set, id, NULL), IQDB_OK);
	status = search_filtered(world, &(IqdbRowFilter){.ids = &set}, most);
	iqdb_id_set_free(&set);
	return status;
}

static IqdbStatus
do_search_group(World *world)
{
	return search_group(world, 7, 10);
}

/* No row is of this group: all are looked at. */
static IqdbStatus
do_search_nothing(World *world)
{
	return search_group(world, GROUPS, SIZE_MAX);
}

static IqdbStatus
do_search_column(World *world)
{
	return search_column(world, 7, 7, 10);
}

static IqdbStatus
do_search_wide_column(World *world)
{
	return search_column(world, 0, GROUPS / 2, SIZE_MAX);
}

static IqdbStatus
do_search_empty_column(World *world)
{
	return search_column(world, GROUPS, GROUPS, SIZE_MAX);
}

static IqdbStatus
do_search_few_numbers(World *world)
{
	return search_numbers(world, 100, SIZE_MAX);
}

static IqdbStatus
do_search_many_numbers(World *world)
{
	return search_numbers(world, 2, SIZE_MAX);
}

static void
ignore_finding(void *arg, const char *what)
{
	fail_msg("%s", what);
}

static IqdbStatus
do_check(World *world)
{
	return iqdb_index_check(&world->memory.index, ignore_finding, NULL, NULL);
}

static IqdbStatus
do_build(World *world)
{
	return iqdb_index_maintain(&world->memory.index, IQDB_MAINTAIN_BUILD, NULL);
}

static IqdbStatus
do_vacuum(World *world)
{
	return iqdb_index_maintain(&world->memory.index, IQDB_MAINTAIN_VACUUM, NULL);
}

static IqdbStatus
do_optimize(World *world)
{
	return iqdb_index_maintain(&world->memory.index, IQDB_MAINTAIN_OPTIMIZE, NULL);
}

static IqdbStatus
do_link_pending(World *world)
{
	uint64_t linked;

	return iqdb_index_link_pending(&world->memory.index, 0, &linked, NULL);
}

static IqdbStatus
do_save(World *world)
{
	IqdbSectionSink sink;

	memory_snapshot_free(&world->snapshot);
	memory_snapshot_init(&world->snapshot);
	sink = memory_snapshot_sink(&world->snapshot);
	return iqdb_index_save(&world->memory.index, &sink, NULL);
}

/* The locks of this index count from now on. */
static void
watch(MemoryIndex *memory)
{
	memory->host.cancelled = steps_cancelled;
	for (uint32_t i = 0; i < LOCKS; i++)
		work.cells[i] = iqdb_arena_lock(&memory->arena, i);
}

static IqdbStatus
do_load(World *world)
{
	MemoryIndex       loaded;
	IqdbSectionSource source = memory_snapshot_source(&world->snapshot);
	IqdbStatus        status;

	memory_index_create(&loaded, &world->options, &steps_locks, NULL, MEMORY_MAX);
	watch(&loaded);
	memset(world->snapshot.at, 0, sizeof(world->snapshot.at));
	status = iqdb_index_load(&loaded.index, &source, NULL);
	watch(&world->memory);
	memory_index_destroy(&loaded);
	return status;
}

static IqdbStatus
do_stats(World *world)
{
	IqdbIndexStats stats;

	iqdb_index_stats(&world->memory.index, &stats);
	return IQDB_OK;
}

static void
put_rows(World *world, uint64_t first, uint64_t end, bool link)
{
	IqdbRng rng;

	iqdb_rng_seed(&rng, SEED + first);
	for (uint64_t id = first; id < end; id++)
	{
		float            vector[DIM];
		IqdbRow          row = {.id = iqdb_id_u64(id),
								.vector = vector,
								.metadata = world->metadata[id % GROUPS],
								.metadata_length = world->metadata_length[id % GROUPS]};
		IqdbColumnValues columns = {.values = {(int64_t) (id % GROUPS)}};
		uint32_t         slot;

		/* some rows are the same, many of them the same one */
		for (int d = 0; d < DIM; d++)
			vector[d] = id % 5 == 0 ? 1.0f : (float) (int) iqdb_rng_below(&rng, 1000);
		iqdb_index_make_room(&world->memory.index, 1);
		assert_int_equal(iqdb_index_put_row(&world->memory.index, &row, DIM, &columns, &slot, NULL), IQDB_OK);
		if (link)
			assert_int_equal(iqdb_index_link(&world->memory.index, slot, NULL), IQDB_OK);
	}
}

static IqdbStatus
do_put_and_link(World *world)
{
	put_rows(world, world->rows / 2, world->rows / 2 + 50, true);
	return IQDB_OK;
}

static IqdbStatus
do_remove(World *world)
{
	for (uint64_t id = 0; id < world->rows; id += 3)
		iqdb_index_remove(&world->memory.index, iqdb_id_u64(id), NULL);
	return IQDB_OK;
}

static void
begin(const char *operation, uint64_t cancel_at)
{
	work.operation = operation;
	work.begun = work.steps;
	work.cancel_at = cancel_at;
}

/* Runs an operation to its end, and then some times with cancel in the middle of it. */
static void
run(World *world, const char *name, IqdbStatus (*operation)(World *), bool cancels, IqdbRng *rng)
{
	uint64_t   total;
	IqdbStatus status;

	/* first: what is cancelled leaves the work to the next */
	for (int i = 0; cancels && i < 3; i++)
	{
		uint64_t late;

		begin(name, i == 0 ? 0 : UINT64_C(1) << (10 + iqdb_rng_below(rng, 16)));
		status = operation(world);
		assert_true(status == IQDB_OK || status == IQDB_ERR_CANCELLED);
		late = work.steps - work.begun;
		late = late > work.cancel_at ? late - work.cancel_at : 0;
		if (late > CANCEL_STEPS)
			fail_msg("%s goes on for %llu steps after cancel", name, (unsigned long long) late);
	}
	begin(name, UINT64_MAX);
	assert_int_equal(operation(world), IQDB_OK);
	total = work.steps - work.begun;
	(void) total;
}

static void
world_open(World *world, const IqdbIndexOptions *options, uint64_t rows)
{
	memset(world, 0, sizeof(*world));
	memset(&work, 0, sizeof(work));
	world->options = *options;
	world->options.column_count = 1;
	world->options.columns[0] = IQDB_COLUMN_INT4;
	world->rows = rows;
	for (int d = 0; d < DIM; d++)
		world->query[d] = 100.0f * (float) (d + 1);
	begin("open", UINT64_MAX);
	memory_index_create(&world->memory, &world->options, &steps_locks, NULL, MEMORY_MAX);
	watch(&world->memory);
	memory_snapshot_init(&world->snapshot);
	for (int group = 0; group < GROUPS; group++)
	{
		IqdbMetadataBuilder builder;
		IqdbValue           value = iqdb_value_int(group);

		iqdb_metadata_builder_init(&builder, &iqdb_allocator_libc);
		assert_int_equal(iqdb_metadata_put(&builder, "group", 5, &value, NULL), IQDB_OK);
		assert_int_equal(iqdb_metadata_finish(&builder, &world->metadata[group], &world->metadata_length[group], NULL),
						 IQDB_OK);
		iqdb_metadata_builder_free(&builder);
	}
}

static void
world_close(World *world)
{
	memset(work.cells, 0, sizeof(work.cells));
	for (int group = 0; group < GROUPS; group++)
		iqdb_free(&iqdb_allocator_libc, world->metadata[group], world->metadata_length[group]);
	memory_snapshot_free(&world->snapshot);
	memory_index_destroy(&world->memory);
}

static void
live_through(const IqdbIndexOptions *options, uint64_t rows, uint64_t worst_out[LOCKS])
{
	World   world;
	IqdbRng rng;

	iqdb_rng_seed(&rng, SEED + rows);
	world_open(&world, options, rows);
	begin("put", UINT64_MAX);
	put_rows(&world, 0, rows, false);
	run(&world, "search of rows not linked", do_search, true, &rng);
	run(&world, "build", do_build, true, &rng);
	run(&world, "search", do_search, true, &rng);
	run(&world, "search for many", do_search_for_many, true, &rng);
	run(&world, "stream", do_stream, true, &rng);
	run(&world, "search of a group", do_search_group, true, &rng);
	run(&world, "search of nothing", do_search_nothing, true, &rng);
	run(&world, "search by a column", do_search_column, true, &rng);
	run(&world, "stream by a column", do_search_wide_column, true, &rng);
	run(&world, "search by a column in vain", do_search_empty_column, true, &rng);
	run(&world, "search of few numbers", do_search_few_numbers, true, &rng);
	run(&world, "search of many numbers", do_search_many_numbers, true, &rng);
	run(&world, "put and link", do_put_and_link, false, &rng);
	run(&world, "check", do_check, true, &rng);
	run(&world, "save", do_save, true, &rng);
	run(&world, "load", do_load, true, &rng);
	run(&world, "stats", do_stats, false, &rng);
	run(&world, "remove", do_remove, false, &rng);
	run(&world, "vacuum", do_vacuum, true, &rng);
	begin("put again", UINT64_MAX);
	put_rows(&world, rows, rows + rows / 4, false);
	run(&world, "link pending", do_link_pending, true, &rng);
	run(&world, "optimize", do_optimize, true, &rng);
	run(&world, "check", do_check, true, &rng);
	memcpy(worst_out, work.worst, sizeof(work.worst));
	for (int i = 0; i < LOCKS; i++)
	{
		static const char *const names[] = {"STRUCTURE", "ROWS", "ENGINE"};

		if (work.worst[i] > HOLD_STEPS)
			fail_msg("%s was held for %llu steps in %s", names[i], (unsigned long long) work.worst[i], work.worst_in[i]);
	}
	world_close(&world);
}

/* The longest holds are as long with twice the rows. */
static void
live_with(const IqdbIndexOptions *options, uint64_t rows)
{
	uint64_t few[LOCKS];
	uint64_t many[LOCKS];
	char     in[LOCKS][40];

	if (iqdb_index_options_check(options, NULL) != IQDB_OK)
		return;
	live_through(options, rows, few);
	live_through(options, 2 * rows, many);
	memcpy(in, work.worst_in, sizeof(in));
	printf("# engine %d, %s, quantization %d, lists %u, probes %u, ef %u: STRUCTURE %llu (%s), ROWS %llu (%s)\n",
		   (int) options->engine, iqdb_metric_name((IqdbMetric) options->metric), (int) options->quantization, options->lists,
		   options->probes, options->ef_search, (unsigned long long) many[0], in[0], (unsigned long long) many[1], in[1]);
	for (int i = 0; i < LOCKS; i++)
	{
		if (many[i] > few[i] + few[i] / 2 + 20000)
			fail_msg("lock %d: %llu steps with %llu rows, %llu with twice as many, in %s", i, (unsigned long long) few[i],
					 (unsigned long long) rows, (unsigned long long) many[i], in[i]);
	}
}

static void
flat_lets_others_in(void **state)
{
	for (int metric = 0; metric < NUMBER_METRICS; metric++)
	{
		IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_FLAT, DIM, (IqdbMetric) metric);

		live_with(&options, 17000);
		options.quantization = IQDB_QUANTIZATION_SQ8;
		live_with(&options, 17000);
	}
}

static void
ivf_lets_others_in(void **state)
{
	for (int metric = 0; metric < NUMBER_METRICS; metric++)
	{
		/* what codes do to locks, they do under every metric */
		int last = metric == IQDB_METRIC_L2 ? IQDB_QUANTIZATION_BQ : IQDB_QUANTIZATION_NONE;

		for (int quantization = IQDB_QUANTIZATION_NONE; quantization <= last; quantization++)
		{
			IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_IVF, DIM, (IqdbMetric) metric);

			options.quantization = (uint32_t) quantization;
			live_with(&options, 17000);
		}
	}
}

/* Options at their ends. */
static void
ivf_lets_others_in_whatever_its_options(void **state)
{
	static const uint32_t lists[] = {1, 3000};

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
	{
		for (uint32_t probes = 1; probes <= lists[i]; probes = probes == lists[i] ? probes + 1 : lists[i])
		{
			IqdbMetric       metric = i % 2 == 0 ? IQDB_METRIC_L2 : IQDB_METRIC_L1;
			IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_IVF, DIM, metric);

			options.lists = lists[i];
			options.probes = probes;
			options.quantization = i % 2 == 0 ? IQDB_QUANTIZATION_SQ8 : IQDB_QUANTIZATION_PQ;
			options.refine = probes == 1 ? 0 : 10000;
			live_with(&options, 17000);
		}
	}
}

/* Few links and more, the beam as wide as usual and one; codes where there are some. */
static void
hnsw_lets_others_in(void **state)
{
	for (int metric = 0; metric < NUMBER_METRICS; metric++)
	{
		for (int quantization = IQDB_QUANTIZATION_NONE; quantization <= IQDB_QUANTIZATION_BQ; quantization++)
		{
			IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_HNSW, DIM, (IqdbMetric) metric);

			options.quantization = (uint32_t) quantization;
			options.m = quantization == IQDB_QUANTIZATION_NONE ? 8 : 4;
			options.ef_construction = 40;
			options.ef_search = metric % 2 == 0 ? 64 : 1;
			live_with(&options, 3000);
		}
	}
}

/* Options at their ends. */
static void
hnsw_lets_others_in_whatever_its_options(void **state)
{
	static const uint32_t links[] = {2, 128};

	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++)
	{
		IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_HNSW, DIM, IQDB_METRIC_L2);

		options.m = links[i];
		options.ef_construction = 2 * links[i];
		options.ef_search = i == 0 ? 1 : 100000;
		live_with(&options, 2000);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(flat_lets_others_in),
		cmocka_unit_test(ivf_lets_others_in),
		cmocka_unit_test(ivf_lets_others_in_whatever_its_options),
		cmocka_unit_test(hnsw_lets_others_in),
		cmocka_unit_test(hnsw_lets_others_in_whatever_its_options),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
