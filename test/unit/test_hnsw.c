/*
 * test_hnsw.c - the hnsw engine under the contract of engine/engine.h: streams, filters, removal, snapshots, failures.
 *
 * Recall is in test_hnsw_recall.c, threads in test_hnsw_threads.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/hnsw/hnsw.h"
#include "core/meta/filter.h"
#include "core/meta/metadata.h"
#include "harness/alloc_fault.h"
#include "unit/hnsw_samples.h"

#define SEED UINT64_C(20250413)

/* What rows are coded by where a test wants codes: every test runs with each. */
static IqdbQuantization coded = IQDB_QUANTIZATION_SQ8;

/* ---- streams ----------------------------------------------------------------------------------------------------- */

/* Takes the whole stream, `capacity` hits at a time, and holds it against the present rows. */
static void
assert_stream(MemoryIndex *memory, const Samples *samples, const void *query, const IqdbSearchParams *params,
			  size_t capacity, bool (*wanted)(size_t row))
{
	const IqdbIndex *index = &memory->index;
	IqdbCursor      *cursor;
	IqdbHit         *hits = malloc(capacity * sizeof(*hits));
	unsigned char   *seen = calloc(samples->count, 1);
	size_t           count;
	size_t           total = 0;
	size_t           present = 0;

	assert_non_null(hits);
	assert_non_null(seen);
	assert_int_equal(iqdb_cursor_open((IqdbIndex *) index, query, samples->dim, params, &cursor, NULL), IQDB_OK);
	do
	{
		assert_int_equal(iqdb_cursor_next(cursor, hits, capacity, &count, NULL), IQDB_OK);
		for (size_t i = 0; i < count; i++)
		{
			size_t row = (size_t) hits[i].id;
			float  key;

			assert_true(row < samples->count && samples->present[row] && (wanted == NULL || wanted(row)));
			key = samples_hit_key(index, query, samples_row(samples, row));
			assert_false(seen[row]);
			seen[row] = 1;
			assert_memory_equal(&key, &hits[i].key, sizeof(key));
			if (i > 0)
				assert_true(hits[i - 1].key < hits[i].key ||
							(hits[i - 1].key == hits[i].key && hits[i - 1].sequence < hits[i].sequence));
		}
		total += count;
	} while (count > 0);
	assert_int_equal(iqdb_cursor_next(cursor, hits, capacity, &count, NULL), IQDB_OK);
	assert_int_equal(count, 0);
	iqdb_cursor_close(cursor);
	for (size_t i = 0; i < samples->count; i++)
		present += samples->present[i] && (wanted == NULL || wanted(i));
	assert_int_equal(total, present);
	free(hits);
	free(seen);
}

static void
assert_streams(MemoryIndex *memory, const Samples *samples)
{
	static const size_t capacities[] = {1, 7, 100, 100000};

	for (size_t i = 0; i < 4; i++)
	{
		IqdbSearchParams params = {.ef = 8, .expected = i == 2 ? 50 : 0};

		assert_stream(memory, samples, samples_row(samples, i), &params, capacities[i], NULL);
	}
}

static void
test_streams_every_metric(void **state)
{
	for (uint32_t metric = 0; metric < IQDB_METRIC_COUNT; metric++)
	{
		bool can_be_coded = samples_codes((IqdbMetric) metric, coded) == coded;

		for (int with_codes = 0; samples_has_metric(metric) && with_codes < (can_be_coded ? 2 : 1); with_codes++)
		{
			MemoryIndex memory;
			Samples     samples;

			samples_make(&samples, 1500, 12, 10, SEED);
			samples_index(&memory, &samples, (IqdbMetric) metric, with_codes ? coded : IQDB_QUANTIZATION_NONE, 6, 40);
			for (size_t i = 0; i < samples.count; i++)
				assert_int_equal(samples_put(&memory, &samples, i, i % 20 != 0), IQDB_OK);
			assert_streams(&memory, &samples);
			/* clusters far apart and short lists: this puts the pieces together */
			assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_BUILD, NULL), IQDB_OK);
			assert_true(memory_index_sound(&memory.index));
			assert_streams(&memory, &samples);
			for (size_t i = 0; i < samples.count; i += 3)
				samples_remove(&memory, &samples, i);
			assert_streams(&memory, &samples);
			assert_true(memory_index_sound(&memory.index));
			memory_index_destroy(&memory);
			samples_free(&samples);
		}
	}
}

static void
test_few_rows(void **state)
{
	for (size_t count = 0; count < 5; count++)
	{
		MemoryIndex    memory;
		Samples        samples;
		IqdbIndexStats stats;

		samples_make(&samples, 5, 4, 0, SEED);
		samples_index(&memory, &samples, IQDB_METRIC_COSINE, coded, 2, 4);
		for (size_t i = 0; i < count; i++)
			assert_int_equal(samples_put(&memory, &samples, i, true), IQDB_OK);
		assert_true(memory_index_sound(&memory.index));
		assert_streams(&memory, &samples);
		iqdb_index_stats(&memory.index, &stats);
		assert_int_equal(stats.engine.unlinked, 0);
		assert_int_equal(stats.engine.levels > 0, count > 0);
		memory_index_destroy(&memory);
		samples_free(&samples);
	}
}

/* Rows that are all the same, and rows that are all zero: every one comes, once, in the order of insertion. */
static void
test_duplicates(void **state)
{
	for (uint32_t metric = 0; metric < IQDB_METRIC_COUNT; metric++)
	{
		for (int zero = 0; samples_has_metric(metric) && zero < 2; zero++)
		{
			MemoryIndex memory;
			Samples     samples;

			samples_make(&samples, 1200, 8, 0, SEED);
			for (size_t i = 0; i < samples.count * samples.dim; i++)
				samples.rows[i] = zero ? 0.0f : 0.25f;
			samples_index(&memory, &samples, (IqdbMetric) metric, coded, 4, 20);
			for (size_t i = 0; i < samples.count; i++)
				assert_int_equal(samples_put(&memory, &samples, i, true), IQDB_OK);
			assert_streams(&memory, &samples);
			for (size_t i = 0; i < samples.count; i += 2)
				samples_remove(&memory, &samples, i);
			assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_VACUUM, NULL), IQDB_OK);
			assert_streams(&memory, &samples);
			memory_index_destroy(&memory);
			samples_free(&samples);
		}
	}
}

/* Components so large that keys overflow, or as large as they can be: no order to speak of, but every row is found. */
static void
test_overflowing_keys(void **state)
{
	for (uint32_t metric = 0; metric < IQDB_METRIC_HAMMING; metric++)
	{
		MemoryIndex memory;
		Samples     samples;
		IqdbHit     hits[10];

		samples_make(&samples, 900, 8, 0, SEED);
		for (size_t i = 0; i < samples.count * samples.dim; i++)
			samples.rows[i] *= samples_largest();
		samples_index(&memory, &samples, (IqdbMetric) metric, coded, 4, 20);
		for (size_t i = 0; i < samples.count; i++)
			assert_int_equal(samples_put(&memory, &samples, i, true), IQDB_OK);
		for (size_t i = 0; i < 20; i++)
			assert_int_equal(samples_search(&memory, samples_row(&samples, i), 16, hits, 10), 10);
		memory_index_destroy(&memory);
		samples_free(&samples);
	}
}

/* ---- rows without links ------------------------------------------------------------------------------------------ */

static void
test_pending_rows_are_found(void **state)
{
	MemoryIndex    memory;
	Samples        samples;
	IqdbIndexStats stats;
	uint64_t       linked;
	IqdbHit        hits[3];

	samples_make(&samples, 2000, 16, 10, SEED);
	samples_index(&memory, &samples, IQDB_METRIC_L2, coded, 8, 40);
	for (size_t i = 0; i < samples.count; i++)
		assert_int_equal(samples_put(&memory, &samples, i, i < 1900), IQDB_OK);
	for (size_t i = 1900; i < 2000; i++)
	{
		assert_int_equal(samples_search(&memory, samples_row(&samples, i), 8, hits, 1), 1);
		assert_int_equal(hits[0].id, i);
	}
	iqdb_index_stats(&memory.index, &stats);
	assert_int_equal(stats.engine.unlinked, 100);
	assert_true(memory_index_sound(&memory.index));
	assert_int_equal(iqdb_index_link_pending(&memory.index, 30, &linked, NULL), IQDB_OK);
	assert_int_equal(linked, 30);
	samples_remove(&memory, &samples, 1999);
	assert_true(memory_index_sound(&memory.index));
	assert_int_equal(iqdb_index_link_pending(&memory.index, 0, &linked, NULL), IQDB_OK);
	assert_int_equal(linked, 69);
	assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_OPTIMIZE, NULL), IQDB_OK);
	iqdb_index_stats(&memory.index, &stats);
	assert_int_equal(stats.engine.unlinked, 0);
	assert_int_equal(stats.engine.unrepaired, 0);
	assert_true(memory_index_sound(&memory.index));
	assert_streams(&memory, &samples);
	memory_index_destroy(&memory);
	samples_free(&samples);
}

/* ---- filters ----------------------------------------------------------------------------------------------------- */

static bool
every_second(size_t row)
{
	return row % 2 == 0;
}

static bool
every_hundredth(size_t row)
{
	return row % 100 == 0;
}

static bool
no_row(size_t row)
{
	return row > 1000000;
}

static IqdbFilter *
filter_eq(const char *field, int64_t number)
{
	IqdbFilterBuilder builder;
	IqdbFilter       *filter;
	IqdbValue         value = {.kind = IQDB_VALUE_INT, .as.integer = number};

	iqdb_filter_builder_init(&builder, &iqdb_allocator_libc);
	assert_int_equal(iqdb_filter_finish(&builder, iqdb_filter_eq(&builder, field, strlen(field), &value), &filter, NULL),
					 IQDB_OK);
	iqdb_filter_builder_free(&builder);
	return filter;
}

static void
put_with_metadata(MemoryIndex *memory, Samples *samples, size_t row)
{
	IqdbMetadataBuilder builder;
	unsigned char      *bytes;
	size_t              length;
	uint32_t            slot;
	IqdbValue           two = {.kind = IQDB_VALUE_INT, .as.integer = (int64_t) row % 2};
	IqdbValue           hundred = {.kind = IQDB_VALUE_INT, .as.integer = (int64_t) row % 100};

	iqdb_metadata_builder_init(&builder, &iqdb_allocator_libc);
	assert_int_equal(iqdb_metadata_put(&builder, "two", 3, &two, NULL), IQDB_OK);
	assert_int_equal(iqdb_metadata_put(&builder, "hundred", 7, &hundred, NULL), IQDB_OK);
	assert_int_equal(iqdb_metadata_finish(&builder, &bytes, &length, NULL), IQDB_OK);
	iqdb_metadata_builder_free(&builder);
	assert_int_equal(iqdb_index_put(&memory->index, iqdb_id_u64(row), samples_row(samples, row), samples->dim, bytes,
									length, &slot, NULL),
					 IQDB_OK);
	assert_int_equal(iqdb_index_link(&memory->index, slot, NULL), IQDB_OK);
	samples->present[row] = true;
	iqdb_free(&iqdb_allocator_libc, bytes, length);
}

static void
test_filters(void **state)
{
	static bool (*const rules[])(size_t) = {every_second, every_hundredth, no_row};
	IqdbFilter *filters[3] = {filter_eq("two", 0), filter_eq("hundred", 0), filter_eq("hundred", 1000)};
	MemoryIndex memory;
	Samples     samples;

	samples_make(&samples, 3000, 16, 10, SEED);
	samples_index(&memory, &samples, IQDB_METRIC_L2, coded, 8, 40);
	for (size_t i = 0; i < samples.count; i++)
		put_with_metadata(&memory, &samples, i);
	for (size_t f = 0; f < 3; f++)
	{
		IqdbSearchParams params = {.ef = 16, .expected = 10, .filter = by_metadata(filters[f])};
		size_t           good = 0;

		assert_stream(&memory, &samples, samples_row(&samples, 1), &params, 10, rules[f]);
		/* a matching row is its own nearest neighbour */
		for (size_t i = 0; i < samples.count; i += 100)
		{
			IqdbCursor *cursor;
			IqdbHit     hits[10];
			size_t      count;

			assert_int_equal(iqdb_cursor_open(&memory.index, samples_row(&samples, i), samples.dim, &params, &cursor,
											  NULL),
							 IQDB_OK);
			assert_int_equal(iqdb_cursor_next(cursor, hits, 10, &count, NULL), IQDB_OK);
			assert_int_equal(count, f == 2 ? 0 : 10);
			good += count > 0 && hits[0].id == i;
			iqdb_cursor_close(cursor);
		}
		if (f < 2)
			assert_true(good >= 29);
		iqdb_filter_free(&iqdb_allocator_libc, filters[f]);
	}
	memory_index_destroy(&memory);
	samples_free(&samples);
}

static void
test_max_rows(void **state)
{
	MemoryIndex      memory;
	Samples          samples;
	IqdbSearchParams params = {.ef = 16, .max_rows = 500};
	IqdbCursor      *cursor;
	IqdbHit          hits[64];
	size_t           count = 1;
	size_t           total = 0;

	samples_make(&samples, 4000, 16, 10, SEED);
	samples_index(&memory, &samples, IQDB_METRIC_L2, coded, 8, 40);
	for (size_t i = 0; i < samples.count; i++)
		assert_int_equal(samples_put(&memory, &samples, i, true), IQDB_OK);
	assert_int_equal(iqdb_cursor_open(&memory.index, samples_row(&samples, 0), samples.dim, &params, &cursor, NULL),
					 IQDB_OK);
	while (count > 0)
	{
		assert_int_equal(iqdb_cursor_next(cursor, hits, 64, &count, NULL), IQDB_OK);
		total += count;
	}
	assert_in_range(total, 16, 500);
	assert_in_range(cursor->stats.scored, 500, 1500);
	iqdb_cursor_close(cursor);
	memory_index_destroy(&memory);
	samples_free(&samples);
}

/* ---- removal ----------------------------------------------------------------------------------------------------- */

static void
test_remove_everything(void **state)
{
	MemoryIndex    memory;
	Samples        samples;
	IqdbIndexStats stats;

	samples_make(&samples, 800, 16, 10, SEED);
	samples_index(&memory, &samples, IQDB_METRIC_L2, coded, 8, 40);
	for (int round = 0; round < 3; round++)
	{
		for (size_t i = 0; i < samples.count; i++)
			assert_int_equal(samples_put(&memory, &samples, i, true), IQDB_OK);
		for (size_t i = 0; i < samples.count; i++)
			samples_remove(&memory, &samples, i);
		assert_streams(&memory, &samples);
		/* the graph is there but nobody in it lives: the next row must not be lost */
		for (size_t i = 0; i < 200; i++)
			assert_int_equal(samples_put(&memory, &samples, i, true), IQDB_OK);
		assert_true(memory_index_sound(&memory.index));
		assert_streams(&memory, &samples);
		for (size_t i = 0; round == 1 && i < 200; i++)
			samples_remove(&memory, &samples, i);
		assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_VACUUM, NULL), IQDB_OK);
		assert_true(memory_index_sound(&memory.index));
		assert_streams(&memory, &samples);
		iqdb_index_stats(&memory.index, &stats);
		assert_int_equal(stats.dead, 0);
		assert_int_equal(stats.engine.unrepaired, 0);
	}
	/* all slots but the living ones were used again */
	assert_true(stats.free + stats.live <= samples.count + 400);
	memory_index_destroy(&memory);
	samples_free(&samples);
}

/* A cursor lives on while rows go, their slots are let go and become other rows. */
static void
test_cursor_across_repair(void **state)
{
	MemoryIndex memory;
	Samples     samples;
	IqdbRng     rng;

	iqdb_rng_seed(&rng, SEED);
	samples_make(&samples, 3000, 16, 10, SEED);
	samples_index(&memory, &samples, IQDB_METRIC_L2, coded, 8, 40);
	for (size_t i = 0; i < 2000; i++)
		assert_int_equal(samples_put(&memory, &samples, i, true), IQDB_OK);
	for (size_t round = 0; round < 10; round++)
	{
		IqdbSearchParams params = {.ef = 16};
		IqdbCursor      *cursor;
		IqdbHit          hits[25];
		size_t           count;
		unsigned char    seen[3000] = {0};
		bool             since_start[3000];
		size_t           taken = 0;

		memcpy(since_start, samples.present, sizeof(since_start));
		assert_int_equal(iqdb_cursor_open(&memory.index, samples_row(&samples, round), samples.dim, &params, &cursor,
										  NULL),
						 IQDB_OK);
		do
		{
			assert_int_equal(iqdb_cursor_next(cursor, hits, 25, &count, NULL), IQDB_OK);
			for (size_t i = 0; i < count; i++)
			{
				assert_true(samples.present[hits[i].id]);
				assert_false(seen[hits[i].id]);
				seen[hits[i].id] = 1;
			}
			for (size_t i = 0; i < 20 && taken < 400; i++)
			{
				size_t row = iqdb_rng_below(&rng, samples.count);

				/* a row replaced is another one: it may come again, so only absent ones are put */
				if (samples.present[row])
					samples_remove(&memory, &samples, row);
				else if (!seen[row])
					assert_int_equal(samples_put(&memory, &samples, row, true), IQDB_OK);
				since_start[row] = false;
			}
			if (taken % 100 == 0)
				assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_VACUUM, NULL), IQDB_OK);
			taken += 25;
		} while (count > 0);
		iqdb_cursor_close(cursor);
		for (size_t i = 0; i < samples.count; i++)
			assert_true(!since_start[i] || seen[i]);
		assert_true(memory_index_sound(&memory.index));
	}
	memory_index_destroy(&memory);
	samples_free(&samples);
}

/* ---- snapshots --------------------------------------------------------------------------------------------------- */

static void
save(MemoryIndex *memory, MemorySnapshot *snapshot)
{
	IqdbSectionSink sink = memory_snapshot_sink(snapshot);

	assert_int_equal(iqdb_index_save(&memory->index, &sink, NULL), IQDB_OK);
}

static IqdbStatus
load(MemoryIndex *memory, MemorySnapshot *snapshot, const IqdbIndexOptions *options)
{
	IqdbSectionSource source = memory_snapshot_source(snapshot);

	memory_index_create(memory, options, &iqdb_locks_pthread, NULL, SAMPLES_MEMORY_MAX);
	return iqdb_index_load(&memory->index, &source, NULL);
}

/* The same operations give the same bytes and the same answers, and so does a snapshot that was loaded. */
static void
test_deterministic(void **state)
{
	MemoryIndex    memory[3];
	MemorySnapshot snapshots[3];
	Samples        samples;

	samples_make(&samples, 1500, 20, 10, SEED);
	for (int run = 0; run < 3; run++)
	{
		memory_snapshot_init(&snapshots[run]);
		if (run == 2)
		{
			assert_int_equal(load(&memory[2], &snapshots[1], &memory[1].index.store.header->options), IQDB_OK);
			save(&memory[2], &snapshots[2]);
			continue;
		}
		samples_index(&memory[run], &samples, IQDB_METRIC_COSINE, coded, 8, 40);
		for (size_t i = 0; i < samples.count; i++)
			assert_int_equal(samples_put(&memory[run], &samples, i, i % 7 != 0), IQDB_OK);
		for (size_t i = 0; i < samples.count; i += 5)
			samples_remove(&memory[run], &samples, i);
		assert_int_equal(iqdb_index_maintain(&memory[run].index, IQDB_MAINTAIN_OPTIMIZE, NULL), IQDB_OK);
		for (size_t i = 0; i < samples.count; i += 5)
			assert_int_equal(samples_put(&memory[run], &samples, i, true), IQDB_OK);
		save(&memory[run], &snapshots[run]);
	}
	for (int run = 1; run < 3; run++)
	{
		for (int section = 1; section < 3; section++)
		{
			assert_int_equal(snapshots[0].length[section], snapshots[run].length[section]);
			assert_memory_equal(snapshots[0].bytes[section], snapshots[run].bytes[section],
								snapshots[0].length[section]);
		}
	}
	for (size_t i = 0; i < 100; i++)
	{
		IqdbHit hits[3][20];

		memset(hits, 0, sizeof(hits));
		for (int run = 0; run < 3; run++)
			assert_int_equal(samples_search(&memory[run], samples_row(&samples, i), 20, hits[run], 20), 20);
		assert_memory_equal(hits[0], hits[1], sizeof(hits[0]));
		assert_memory_equal(hits[0], hits[2], sizeof(hits[0]));
	}
	for (int run = 0; run < 3; run++)
	{
		memory_index_destroy(&memory[run]);
		memory_snapshot_free(&snapshots[run]);
	}
	samples_free(&samples);
}

/* Rows of one moment with the graph of another: whatever the two disagree on is sorted out at load. */
static void
test_snapshot_of_two_moments(void **state)
{
	MemoryIndex    memory;
	MemoryIndex    loaded;
	MemorySnapshot rows;
	MemorySnapshot graph;
	Samples        samples;
	Samples        then;

	samples_make(&samples, 1200, 16, 10, SEED);
	/* some of them equal, so that chains of twins are of two moments, too */
	for (size_t i = 0; i < samples.count; i += 4)
		samples_copy(&samples, i, i % 3 + 1);
	samples_settle(&samples);
	then = samples;
	then.present = calloc(samples.count, sizeof(bool));
	assert_non_null(then.present);
	samples_index(&memory, &samples, IQDB_METRIC_L2, coded, 8, 40);
	memory_snapshot_init(&rows);
	memory_snapshot_init(&graph);
	for (size_t i = 0; i < 1000; i++)
		assert_int_equal(samples_put(&memory, &samples, i, true), IQDB_OK);
	memcpy(then.present, samples.present, samples.count * sizeof(bool));
	save(&memory, &rows);
	for (size_t i = 0; i < 1000; i += 3)
		samples_remove(&memory, &samples, i);
	assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_VACUUM, NULL), IQDB_OK);
	for (size_t i = 700; i < 1200; i++)
		assert_int_equal(samples_put(&memory, &samples, i, true), IQDB_OK);
	save(&memory, &graph);

	/* the graph of the second moment under the rows of the first */
	free(rows.bytes[2]);
	rows.bytes[2] = graph.bytes[2];
	rows.length[2] = graph.length[2];
	graph.bytes[2] = NULL;
	assert_int_equal(load(&loaded, &rows, &memory.index.store.header->options), IQDB_OK);
	assert_true(memory_index_sound(&loaded.index));
	assert_streams(&loaded, &then);
	memory_index_destroy(&loaded);
	memory_index_destroy(&memory);
	memory_snapshot_free(&rows);
	memory_snapshot_free(&graph);
	free(then.present);
	samples_free(&samples);
}

/*
 * Most rows are gone, all of them from the last half of the slots: nodes there have no row, and there is no slot in use
 * for one. The lists around them are mended by searches.
 */
static void
test_snapshot_without_last_rows(void **state)
{
	for (int with_codes = 0; with_codes < 2; with_codes++)
	{
		MemoryIndex    memory;
		MemoryIndex    loaded;
		MemorySnapshot snapshot;
		Samples        samples;

		samples_make(&samples, 6000, 64, 10, SEED + 8);
		samples_index(&memory, &samples, IQDB_METRIC_COSINE, with_codes ? coded : IQDB_QUANTIZATION_NONE, 6, 40);
		for (size_t i = 0; i < samples.count; i++)
			assert_int_equal(samples_put(&memory, &samples, i, true), IQDB_OK);
		for (size_t i = 0; i < samples.count; i++)
		{
			if (i >= samples.count / 2 || i % 20 != 19)
				samples_remove(&memory, &samples, i);
		}
		memory_snapshot_init(&snapshot);
		save(&memory, &snapshot);
		assert_int_equal(load(&loaded, &snapshot, &memory.index.store.header->options), IQDB_OK);
		assert_true(memory_index_sound(&loaded.index));
		assert_streams(&loaded, &samples);
		memory_snapshot_free(&snapshot);
		memory_index_destroy(&loaded);
		memory_index_destroy(&memory);
		samples_free(&samples);
	}
}

/* Any byte may lie: load fails, or the index it makes is sound. */
static void
test_hostile_snapshot(void **state)
{
	MemoryIndex    memory;
	MemorySnapshot snapshot;
	Samples        samples;
	IqdbRng        rng;

	iqdb_rng_seed(&rng, SEED);
	samples_make(&samples, 120, 4, 0, SEED);
	for (size_t i = 0; i < samples.count; i += 3)
		samples_copy(&samples, i, i % 2 * 3 + 1);
	samples_index(&memory, &samples, IQDB_METRIC_L2, coded, 3, 12);
	memory_snapshot_init(&snapshot);
	for (size_t i = 0; i < samples.count; i++)
		assert_int_equal(samples_put(&memory, &samples, i, true), IQDB_OK);
	for (size_t i = 0; i < samples.count; i += 9)
		samples_remove(&memory, &samples, i);
	save(&memory, &snapshot);
	for (size_t round = 0; round < 600; round++)
	{
		MemoryIndex    loaded;
		size_t         at = round < 64 ? round : iqdb_rng_below(&rng, snapshot.length[2]);
		unsigned char  saved = snapshot.bytes[2][at];
		size_t         length = snapshot.length[2];
		IqdbEngineStats stats;

		snapshot.bytes[2][at] = (unsigned char) iqdb_rng_next(&rng);
		if (round % 10 == 9)
			snapshot.length[2] = iqdb_rng_below(&rng, length);
		if (load(&loaded, &snapshot, &memory.index.store.header->options) == IQDB_OK)
		{
			/* a graph of lies may be in pieces; rows are found all the same */
			iqdb_hnsw_engine.stats(&loaded.index.store, &stats);
			assert_int_equal(stats.level_count[0] <= samples.count, 1);
			assert_stream(&loaded, &samples, samples_row(&samples, 1), &(IqdbSearchParams){.ef = 2}, 10, NULL);
		}
		memory_index_destroy(&loaded);
		snapshot.bytes[2][at] = saved;
		snapshot.length[2] = length;
	}
	memory_snapshot_free(&snapshot);
	memory_index_destroy(&memory);
	samples_free(&samples);
}

/* The first format had no centre: it is found at load. */
static void
test_snapshot_of_version_1(void **state)
{
	MemoryIndex    memory;
	MemoryIndex    loaded;
	MemorySnapshot snapshot;
	Samples        samples;
	unsigned char *bytes;

	samples_make(&samples, 1500, 16, 10, SEED);
	samples_index(&memory, &samples, IQDB_METRIC_L2, coded, 8, 40);
	for (size_t i = 0; i < samples.count; i++)
		assert_int_equal(samples_put(&memory, &samples, i, true), IQDB_OK);
	memory_snapshot_init(&snapshot);
	save(&memory, &snapshot);
	bytes = snapshot.bytes[2];
	assert_int_equal(bytes[8], 2);
	assert_int_equal(bytes[24], 16);
	bytes[8] = 1;
	bytes[24] = 0;
	memmove(bytes + 32, bytes + 32 + 16 * sizeof(float), snapshot.length[2] - 32 - 16 * sizeof(float));
	snapshot.length[2] -= 16 * sizeof(float);
	assert_int_equal(load(&loaded, &snapshot, &memory.index.store.header->options), IQDB_OK);
	assert_true(memory_index_sound(&loaded.index));
	assert_streams(&loaded, &samples);
	for (size_t i = 0; i < 50; i++)
	{
		IqdbHit hits[2][10];

		memset(hits, 0, sizeof(hits));
		assert_int_equal(samples_search(&memory, samples_row(&samples, i), 40, hits[0], 10), 10);
		assert_int_equal(samples_search(&loaded, samples_row(&samples, i), 40, hits[1], 10), 10);
		assert_int_equal(hits[0][0].slot, hits[1][0].slot);
	}
	memory_index_destroy(&loaded);
	memory_index_destroy(&memory);
	memory_snapshot_free(&snapshot);
	samples_free(&samples);
}

/* ---- failures ---------------------------------------------------------------------------------------------------- */

/* Every allocation fails once: no leak, and the index goes on as if nothing had been asked. */
static void
test_out_of_memory(void **state)
{
	MemoryIndex memory;
	Samples     samples;
	AllocFault  fault;
	size_t      next = 600;

	samples_make(&samples, 1000, 16, 10, SEED);
	samples_index(&memory, &samples, IQDB_METRIC_L2, coded, 8, 40);
	for (size_t i = 0; i < 600; i++)
		assert_int_equal(samples_put(&memory, &samples, i, true), IQDB_OK);
	alloc_fault_init(&fault);
	memory.host.allocator = fault.allocator;
	for (uint64_t n = 1; n < 200; n++)
	{
		IqdbSearchParams params = {.ef = 8};
		IqdbCursor      *cursor = NULL;
		IqdbStatus       status;
		IqdbHit          hits[50];
		size_t           count = 1;
		uint32_t         slot;
		bool             fired;

		assert_int_equal(iqdb_index_put(&memory.index, iqdb_id_u64(next), samples_row(&samples, next), samples.dim,
										NULL, 0, &slot, NULL),
						 IQDB_OK);
		samples.present[next++] = true;
		alloc_fault_arm(&fault, n);
		status = iqdb_index_link(&memory.index, slot, NULL);
		if (status == IQDB_OK)
			status = iqdb_cursor_open(&memory.index, samples_row(&samples, n), samples.dim, &params, &cursor, NULL);
		while (status == IQDB_OK && count > 0)
			status = iqdb_cursor_next(cursor, hits, 50, &count, NULL);
		iqdb_cursor_close(cursor);
		if (status == IQDB_OK)
		{
			samples_remove(&memory, &samples, (size_t) n);
			status = iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_OPTIMIZE, NULL);
		}
		fired = fault.fired;
		alloc_fault_arm(&fault, 0);
		assert_int_equal(fault.blocks, 0);
		assert_int_equal(status, fired ? IQDB_ERR_NOMEM : IQDB_OK);
		assert_true(memory_index_sound(&memory.index));
		assert_stream(&memory, &samples, samples_row(&samples, n), &params, 33, NULL);
		if (!fired)
			break;
		assert_true(n < 199);
	}
	memory_index_destroy(&memory);
	samples_free(&samples);
}

typedef struct Countdown
{
	uint64_t left;
} Countdown;

static bool
count_down(void *arg)
{
	Countdown *countdown = arg;

	return countdown->left-- == 0;
}

/* Cancelled at every point there is, then done in peace. */
static void
test_cancel(void **state)
{
	MemoryIndex memory;
	Samples     samples;
	Countdown   countdown = {UINT64_MAX};
	uint64_t    linked;
	IqdbStatus  status = IQDB_ERR_CANCELLED;
	uint64_t    cancelled = 0;

	samples_make(&samples, 3000, 64, 10, SEED);
	/* a third of them equal to one of three rows, so that chains of twins are cut through as well */
	for (size_t i = 0; i < samples.count; i++)
		if (i % 6 < 2)
			samples_copy(&samples, i, i % 3 * 6 + 2);
	samples_index(&memory, &samples, IQDB_METRIC_L1, IQDB_QUANTIZATION_NONE, 8, 100);
	memory.host.cancelled = count_down;
	memory.host.cancel_arg = &countdown;
	for (size_t i = 0; i < samples.count; i++)
		assert_int_equal(samples_put(&memory, &samples, i, false), IQDB_OK);
	for (uint64_t after = 5; status == IQDB_ERR_CANCELLED; after += 100, cancelled++)
	{
		countdown.left = after;
		status = iqdb_index_link_pending(&memory.index, 0, &linked, NULL);
	}
	assert_int_equal(status, IQDB_OK);
	assert_true(cancelled > 3);
	for (size_t i = 0; i < samples.count; i += 2)
		samples_remove(&memory, &samples, i);
	status = IQDB_ERR_CANCELLED;
	cancelled = 0;
	for (uint64_t after = 0; status == IQDB_ERR_CANCELLED; after += 3, cancelled++)
	{
		IqdbSearchParams params = {.ef = 8};

		countdown.left = after;
		status = iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_VACUUM, NULL);
		countdown.left = UINT64_MAX;
		if (cancelled % 4 == 0)
			assert_stream(&memory, &samples, samples_row(&samples, 1), &params, 100, NULL);
		assert_true(memory_index_sound(&memory.index));
	}
	assert_int_equal(status, IQDB_OK);
	assert_true(cancelled > 0);
	memory_index_destroy(&memory);
	samples_free(&samples);
}

/* ---- shape ------------------------------------------------------------------------------------------------------- */

static void
test_levels_and_memory(void **state)
{
	MemoryIndex    memory;
	Samples        samples;
	IqdbIndexStats stats;
	double         allowed;

	samples_make(&samples, 6000, 128, 0, SEED);
	samples_index(&memory, &samples, IQDB_METRIC_L2, IQDB_QUANTIZATION_NONE, 16, 32);
	for (size_t i = 0; i < samples.count; i++)
		assert_int_equal(samples_put(&memory, &samples, i, true), IQDB_OK);
	iqdb_index_stats(&memory.index, &stats);
	/* 15/16 of the rows reach level 0 only, 15/16 of the rest level 1 */
	assert_in_range(stats.engine.level_count[0], 6000 * 15 / 16 - 80, 6000 * 15 / 16 + 80);
	assert_in_range(stats.engine.level_count[1], 300, 400);
	assert_true(stats.engine.level_count[2] < 50);
	/* raw vector, 2m links, 16 bytes, and a fifth on top of it */
	allowed = 1.2 * (128 * 4 + 2 * 16 * 4 + 16);
	assert_true((double) iqdb_index_estimate_memory(&stats.options, 1000000) / 1000000.0 <= allowed);
	memory_index_destroy(&memory);
	samples_free(&samples);
}

/* Options at their limits. */
static void
test_limits(void **state)
{
	static const uint32_t ms[] = {2, 3, 128};

	for (size_t i = 0; i < 3; i++)
	{
		MemoryIndex memory;
		Samples     samples;

		samples_make(&samples, 700, 6, 5, SEED);
		samples_index(&memory, &samples, IQDB_METRIC_L2, i != 1 ? coded : IQDB_QUANTIZATION_NONE, ms[i], 2 * ms[i]);
		for (size_t r = 0; r < samples.count; r++)
			assert_int_equal(samples_put(&memory, &samples, r, true), IQDB_OK);
		assert_true(memory_index_sound(&memory.index));
		for (size_t r = 0; r < samples.count; r += 2)
			samples_remove(&memory, &samples, r);
		assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_VACUUM, NULL), IQDB_OK);
		assert_true(memory_index_sound(&memory.index));
		assert_streams(&memory, &samples);
		memory_index_destroy(&memory);
		samples_free(&samples);
	}
}

/* Halves stay halves: what a row takes besides its vector and its links is a few bytes. */
static void
test_memory_of_halves(void **state)
{
	IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_HNSW, 768, IQDB_METRIC_COSINE);
	uint64_t         floats;
	uint64_t         halves;

	options.quantization = IQDB_QUANTIZATION_NONE;
	floats = iqdb_index_estimate_memory(&options, 1000000);
	iqdb_index_options_of_element(&options, IQDB_ELEMENT_F16);
	halves = iqdb_index_estimate_memory(&options, 1000000);
	assert_int_equal(floats - halves, UINT64_C(1000000) * 768 * 2);
	assert_true((double) halves <= 0.55 * (double) floats);
}

/* ---- elements ---------------------------------------------------------------------------------------------------- */

/* Vectors of the same numbers as floats and as halves: the same graph, the same answers. */
static void
test_halves_as_floats(void **state)
{
	static const IqdbQuantization codes[] = {IQDB_QUANTIZATION_NONE, IQDB_QUANTIZATION_SQ8, IQDB_QUANTIZATION_BQ};

	for (uint32_t metric = 0; metric <= IQDB_METRIC_HAMMING; metric++)
	{
		for (int code = 0; code < 3; code++)
		{
			MemoryIndex    memory[2];
			MemorySnapshot snapshots[2];
			Samples        samples[2];
			IqdbHit        hits[2][10];

			for (int half = 0; half < 2; half++)
			{
				samples_element = half ? IQDB_ELEMENT_F16 : IQDB_ELEMENT_F32;
				samples_make(&samples[half], 800, 24, 10, SEED);
				for (size_t i = 0; i < 800 * 24; i++)
					samples[half].rows[i] = iqdb_half_widen(iqdb_half_narrow(samples[half].rows[i]));
				samples_index(&memory[half], &samples[half], (IqdbMetric) metric, codes[code], 8, 40);
				for (size_t i = 0; i < 800; i++)
					assert_int_equal(samples_put(&memory[half], &samples[half], i, true), IQDB_OK);
				memory_snapshot_init(&snapshots[half]);
				save(&memory[half], &snapshots[half]);
			}
			assert_int_equal(snapshots[0].length[2], snapshots[1].length[2]);
			assert_true(snapshots[0].length[1] > snapshots[1].length[1]);
			for (size_t i = 0; i < 40; i++)
			{
				memset(hits, 0, sizeof(hits));
				for (int half = 0; half < 2; half++)
				{
					const void *query = samples_row(&samples[half], i);

					assert_int_equal(samples_search(&memory[half], query, 24, hits[half], 10), 10);
				}
				for (size_t k = 0; k < 10; k++)
					assert_int_equal(hits[0][k].id, hits[1][k].id);
			}
			for (int half = 0; half < 2; half++)
			{
				memory_index_destroy(&memory[half]);
				memory_snapshot_free(&snapshots[half]);
				samples_free(&samples[half]);
			}
		}
	}
	samples_element = IQDB_ELEMENT_F32;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_streams_every_metric),
		cmocka_unit_test(test_few_rows),
		cmocka_unit_test(test_duplicates),
		cmocka_unit_test(test_overflowing_keys),
		cmocka_unit_test(test_pending_rows_are_found),
		cmocka_unit_test(test_filters),
		cmocka_unit_test(test_max_rows),
		cmocka_unit_test(test_remove_everything),
		cmocka_unit_test(test_cursor_across_repair),
		cmocka_unit_test(test_deterministic),
		cmocka_unit_test(test_snapshot_of_two_moments),
		cmocka_unit_test(test_snapshot_without_last_rows),
		cmocka_unit_test(test_hostile_snapshot),
		cmocka_unit_test(test_out_of_memory),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_limits),
	};
	const struct CMUnitTest of_floats[] = {
		cmocka_unit_test(test_snapshot_of_version_1),
		cmocka_unit_test(test_levels_and_memory),
		cmocka_unit_test(test_memory_of_halves),
		cmocka_unit_test(test_halves_as_floats),
	};
	int failed = 0;

	printf("# seed %llu\n", (unsigned long long) SEED);
	failed += cmocka_run_group_tests_name("hnsw, sq8", tests, NULL, NULL);
	failed += cmocka_run_group_tests_name("hnsw, floats", of_floats, NULL, NULL);
	coded = IQDB_QUANTIZATION_BQ;
	failed += cmocka_run_group_tests_name("hnsw, bq", tests, NULL, NULL);
	samples_element = IQDB_ELEMENT_F16;
	coded = IQDB_QUANTIZATION_SQ8;
	failed += cmocka_run_group_tests_name("hnsw, halves, sq8", tests, NULL, NULL);
	samples_element = IQDB_ELEMENT_BIT;
	failed += cmocka_run_group_tests_name("hnsw, bits", tests, NULL, NULL);
	return failed != 0;
}
