/*
 * test_index.c - an index against the naive model under random operations, its snapshots, and hostile snapshot bytes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/endian.h"
#include "core/db/index_codec.h"
#include "harness/memory_index.h"
#include "harness/metrics.h"
#include "harness/model.h"

#define SEED UINT64_C(20250311)
#define MEMORY_MAX (UINT64_C(64) * 1024 * 1024)
#define DIM 5

typedef struct World
{
	MemoryIndex memory;
	Model       model;
	IqdbRng     rng;
	uint64_t    space; /* of ids */
} World;

static void
world_open(World *world, IqdbMetric metric, uint64_t seed, uint64_t space)
{
	IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_FLAT, DIM, metric);

	memory_index_create(&world->memory, &options, &iqdb_locks_pthread, NULL, MEMORY_MAX);
	model_init(&world->model, DIM, metric);
	iqdb_rng_seed(&world->rng, seed);
	world->space = space;
}

static void
world_close(World *world)
{
	memory_index_destroy(&world->memory);
	model_free(&world->model);
}

static void
put(World *world, IqdbId id)
{
	float          vector[DIM];
	size_t         length;
	unsigned char *metadata = model_random_metadata(&world->rng, &length);

	model_random_vector(&world->rng, vector, DIM);
	assert_int_equal(iqdb_index_put(&world->memory.index, id, vector, DIM, metadata, length, NULL, NULL), IQDB_OK);
	model_put(&world->model, id, vector, metadata, length);
	free(metadata);
}

static void
put_random(World *world)
{
	unsigned char buffer[8];

	iqdb_index_make_room(&world->memory.index, 1);
	put(world, model_random_id(&world->rng, world->space, buffer));
}

static void
remove_random(World *world)
{
	unsigned char buffer[8];
	IqdbId        id = model_random_id(&world->rng, world->space, buffer);
	bool          removed;

	iqdb_index_remove(&world->memory.index, id, &removed);
	assert_int_equal(removed, model_remove(&world->model, id));
}

static void
assert_same_hit(const IqdbIndex *index, const IqdbHit *hit, const ModelHit *expected)
{
	size_t               length;
	const unsigned char *metadata = iqdb_store_metadata(&index->store, hit->slot, &length);

	assert_true(hit->key == expected->key);
	assert_int_equal(hit->sequence, expected->row->sequence);
	assert_true(iqdb_id_equal(iqdb_store_id(&index->store, hit->slot), expected->row->id));
	assert_int_equal(length, expected->row->metadata_length);
	if (length > 0)
		assert_memory_equal(metadata, expected->row->metadata, length);
}

/* Takes hits of a stream in uneven helpings until `wanted` were seen, or to the end. */
static void
compare_stream(World *world, IqdbIndex *index, const IqdbFilter *filter, size_t expected_rows, size_t wanted)
{
	float            query[DIM];
	IqdbSearchParams params = {.expected = expected_rows, .filter = by_metadata(filter)};
	IqdbCursor      *cursor;
	IqdbHit          hits[70];
	size_t           expected_count;
	ModelHit        *expected;
	size_t           seen = 0;
	size_t           count;

	model_random_vector(&world->rng, query, DIM);
	expected = model_search(&world->model, query, filter, &expected_count);
	assert_int_equal(iqdb_cursor_open(index, query, DIM, &params, &cursor, NULL), IQDB_OK);
	do
	{
		size_t capacity = 1 + iqdb_rng_below(&world->rng, 70);

		assert_int_equal(iqdb_cursor_next(cursor, hits, capacity, &count, NULL), IQDB_OK);
		assert_true(count <= capacity && seen + count <= expected_count);
		for (size_t i = 0; i < count; i++)
			assert_same_hit(index, &hits[i], &expected[seen + i]);
		seen += count;
	} while (count > 0 && seen < wanted);
	if (count == 0)
		assert_int_equal(seen, expected_count);
	iqdb_cursor_close(cursor);
	free(expected);
}

static void
compare_rows(World *world, IqdbIndex *index)
{
	assert_int_equal(iqdb_index_live_count(index), world->model.count);
	for (size_t i = 0; i < world->model.count; i++)
	{
		const ModelRow *row = &world->model.rows[i];
		float           vector[DIM];
		unsigned char   metadata[4096];
		size_t          length;

		assert_true(iqdb_index_get(index, row->id, vector, metadata, sizeof(metadata), &length));
		assert_memory_equal(vector, row->vector, sizeof(vector));
		assert_int_equal(length, row->metadata_length);
		if (length > 0)
			assert_memory_equal(metadata, row->metadata, length);
	}
}

static void
compare_all(World *world, IqdbIndex *index)
{
	IqdbFilter *filter = model_random_filter(&world->rng);

	assert_true(memory_index_sound(index));
	compare_stream(world, index, NULL, 10, 10);
	compare_stream(world, index, filter, 3, 20);
	iqdb_filter_free(&iqdb_allocator_libc, filter);
}

static void
compare_to_the_end(World *world, IqdbIndex *index)
{
	IqdbFilter *filter = model_random_filter(&world->rng);

	compare_rows(world, index);
	compare_stream(world, index, NULL, 1 + iqdb_rng_below(&world->rng, 30), SIZE_MAX);
	compare_stream(world, index, NULL, SIZE_MAX, SIZE_MAX);
	compare_stream(world, index, filter, 0, SIZE_MAX);
	iqdb_filter_free(&iqdb_allocator_libc, filter);
}

/* ---- snapshots ---- */

static void
save(IqdbIndex *index, MemorySnapshot *snapshot)
{
	IqdbSectionSink sink = memory_snapshot_sink(snapshot);

	assert_int_equal(iqdb_index_save(index, &sink, NULL), IQDB_OK);
}

static IqdbStatus
load(MemoryIndex *memory, const IqdbIndexOptions *options, MemorySnapshot *snapshot, IqdbError *err)
{
	IqdbSectionSource source = memory_snapshot_source(snapshot);

	memory_index_create(memory, options, &iqdb_locks_none, NULL, MEMORY_MAX);
	return iqdb_index_load(&memory->index, &source, err);
}

/* The world goes on with the index that was loaded. */
static void
reopen(World *world)
{
	IqdbIndexOptions options = world->memory.index.store.header->options;
	MemorySnapshot   snapshot;
	MemoryIndex      loaded;

	memory_snapshot_init(&snapshot);
	save(&world->memory.index, &snapshot);
	assert_int_equal(load(&loaded, &options, &snapshot, NULL), IQDB_OK);
	assert_true(memory_index_sound(&loaded.index));
	compare_to_the_end(world, &loaded.index);
	memory_index_destroy(&loaded);

	/* a view holds pointers to the world itself: made anew in place */
	memory_index_destroy(&world->memory);
	assert_int_equal(load(&world->memory, &options, &snapshot, NULL), IQDB_OK);
	memory_snapshot_free(&snapshot);
}

static void
random_operations(IqdbMetric metric, uint64_t seed)
{
	World world;

	world_open(&world, metric, seed, 400);
	for (int batch = 0; batch < 25; batch++)
	{
		uint64_t removals = batch % 5 == 4 ? 8 : 2;

		for (int i = 0; i < 60; i++)
		{
			if (iqdb_rng_below(&world.rng, 10) < removals)
				remove_random(&world);
			else
				put_random(&world);
		}
		if (batch % 6 == 3)
			assert_int_equal(iqdb_index_maintain(&world.memory.index, IQDB_MAINTAIN_VACUUM, NULL), IQDB_OK);
		compare_all(&world, &world.memory.index);
		if (batch % 8 == 5)
			reopen(&world);
	}
	compare_to_the_end(&world, &world.memory.index);
	world_close(&world);
}

static void
matches_naive_for_every_metric(void **state)
{
	(void) state;
	for (int metric = 0; metric < NUMBER_METRICS; metric++)
	{
		printf("# metric %s seed %llu\n", iqdb_metric_name((IqdbMetric) metric), (unsigned long long) SEED);
		random_operations((IqdbMetric) metric, SEED + (uint64_t) metric);
	}
}

static void
slots_and_blobs_are_reused(void **state)
{
	World          world;
	IqdbIndexStats stats;
	uint64_t       blob_end = 0;
	uint32_t       slot_count = 0;

	(void) state;
	world_open(&world, IQDB_METRIC_L2, SEED, 200);
	for (int round = 0; round < 60; round++)
	{
		for (int i = 0; i < 200; i++)
			put_random(&world);
		if (round == 19)
		{
			blob_end = world.memory.index.store.header->blob_end;
			slot_count = world.memory.index.store.header->slot_count;
		}
	}
	assert_true(memory_index_sound(&world.memory.index));
	iqdb_index_stats(&world.memory.index, &stats);
	assert_true(stats.live + stats.dead + stats.free == world.memory.index.store.header->slot_count);
	/* 8000 more replacements: the store has stopped growing, give or take the mix of sizes */
	assert_true(world.memory.index.store.header->slot_count <= slot_count + 100);
	assert_true(world.memory.index.store.header->blob_end <= blob_end * 3 / 2);
	world_close(&world);
}

/* ---- sequences ---- */

static void
sequences_of_every_size_are_saved(void **state)
{
	static const uint64_t firsts[] = {(UINT64_C(1) << 32) - 3, (UINT64_C(1) << 46) - 3, IQDB_SEQUENCE_MAX - 5};
	World                 world;
	IqdbStoreHeader      *header;
	MemorySnapshot        snapshot;
	MemoryIndex           loaded;
	float                 vector[DIM] = {0};

	(void) state;
	world_open(&world, IQDB_METRIC_L2, SEED, 40);
	for (size_t i = 0; i < 3; i++)
	{
		world.memory.index.store.header->next_sequence = firsts[i];
		world.model.next_sequence = firsts[i];
		for (int j = 0; j < 6; j++)
			put_random(&world);
		reopen(&world);
		compare_all(&world, &world.memory.index);
	}
	header = world.memory.index.store.header;
	assert_int_equal(header->next_sequence, IQDB_SEQUENCE_MAX + 1);
	assert_int_equal(iqdb_index_put(&world.memory.index, iqdb_id_u64(1), vector, DIM, NULL, 0, NULL, NULL),
					 IQDB_ERR_LIMIT);
	compare_to_the_end(&world, &world.memory.index);

	/* a snapshot that says more is none */
	memory_snapshot_init(&snapshot);
	save(&world.memory.index, &snapshot);
	iqdb_store_u64(snapshot.bytes[1] + IQDB_ROWS_AT_NEXT_SEQUENCE, IQDB_SEQUENCE_MAX + 2);
	assert_int_equal(load(&loaded, &header->options, &snapshot, NULL), IQDB_ERR_CORRUPT);
	memory_index_destroy(&loaded);
	memory_snapshot_free(&snapshot);
	world_close(&world);
}

/* ---- known rows ---- */

static void
known_rows_are_listed_and_never_found(void **state)
{
	World    world;
	bool     has_vector;
	bool     flags[3];
	uint64_t ids[3];
	uint64_t position = 0;
	size_t   count;
	size_t   total = 0;
	size_t   with_vector = 0;
	size_t   length;

	(void) state;
	world_open(&world, IQDB_METRIC_L2, SEED, 50);
	for (uint64_t i = 0; i < 10; i++)
		put(&world, iqdb_id_u64(i));
	/* five that had a vector lose it, five that were not there appear, one gets a vector */
	for (uint64_t i = 5; i < 15; i++)
	{
		assert_int_equal(iqdb_index_put_known(&world.memory.index, iqdb_id_u64(i), NULL), IQDB_OK);
		model_remove(&world.model, iqdb_id_u64(i));
	}
	world.model.next_sequence = world.memory.index.store.header->next_sequence;
	put(&world, iqdb_id_u64(14));
	put(&world, iqdb_id_bytes("x", 1));
	assert_true(memory_index_sound(&world.memory.index));
	compare_to_the_end(&world, &world.memory.index);
	for (int i = 0; i < 2; i++)
	{
		assert_true(iqdb_index_contains(&world.memory.index, iqdb_id_u64(4), &has_vector) && has_vector);
		assert_true(iqdb_index_contains(&world.memory.index, iqdb_id_u64(7), &has_vector) && !has_vector);
		assert_true(iqdb_index_contains(&world.memory.index, iqdb_id_u64(12), NULL));
		assert_false(iqdb_index_contains(&world.memory.index, iqdb_id_u64(15), &has_vector));
		assert_false(iqdb_index_get(&world.memory.index, iqdb_id_u64(7), NULL, NULL, 0, &length));
		if (i == 0)
			reopen(&world);
	}
	do
	{
		count = iqdb_index_ids(&world.memory.index, &position, ids, flags, 3);
		for (size_t i = 0; i < count; i++)
		{
			assert_int_equal(flags[i], ids[i] < 5 || ids[i] == 14);
			with_vector += flags[i];
		}
		total += count;
	} while (count > 0);
	assert_int_equal(total, 15);
	assert_int_equal(with_vector, 6);
	iqdb_index_remove(&world.memory.index, iqdb_id_u64(7), &has_vector);
	assert_true(has_vector);
	iqdb_index_remove(&world.memory.index, iqdb_id_u64(7), &has_vector);
	assert_false(has_vector);
	assert_true(memory_index_sound(&world.memory.index));
	world_close(&world);
}

/* ---- the door ---- */

static void
put_and_open_reject_what_they_must(void **state)
{
	World            world;
	IqdbIndex       *index = &world.memory.index;
	float            vector[DIM] = {1, 2, 3, 4, 5};
	float            bad[DIM] = {1, 2, NAN, 4, 5};
	IqdbCursor      *cursor;
	IqdbSearchParams params = {0};
	IqdbError        err;

	(void) state;
	world_open(&world, IQDB_METRIC_L2, SEED, 50);
	assert_int_equal(iqdb_index_put(index, iqdb_id_u64(1), vector, DIM - 1, NULL, 0, NULL, &err), IQDB_ERR_DIMENSION);
	assert_int_equal(iqdb_index_put(index, iqdb_id_u64(1), bad, DIM, NULL, 0, NULL, &err), IQDB_ERR_VECTOR);
	assert_int_equal(iqdb_index_put(index, iqdb_id_bytes("", 0), vector, DIM, NULL, 0, NULL, &err), IQDB_ERR_CONFIG);
	assert_int_equal(iqdb_index_put(index, iqdb_id_u64(1), vector, DIM, (const unsigned char *) "\1\0\0\0", 4, NULL, &err),
					 IQDB_ERR_CORRUPT);
	assert_int_equal(iqdb_index_put_known(index, iqdb_id_bytes("", 0), &err), IQDB_ERR_CONFIG);
	assert_int_equal(iqdb_index_live_count(index), 0);
	assert_int_equal(iqdb_cursor_open(index, vector, DIM + 1, &params, &cursor, &err), IQDB_ERR_DIMENSION);
	assert_int_equal(iqdb_cursor_open(index, bad, DIM, &params, &cursor, &err), IQDB_ERR_VECTOR);
	assert_null(cursor);
	iqdb_cursor_close(NULL);
	iqdb_index_remove(index, iqdb_id_bytes("", 0), NULL);
	assert_false(iqdb_index_contains(index, iqdb_id_bytes("", 0), NULL));
	assert_true(memory_index_sound(index));
	world_close(&world);
}

static void
a_full_index_says_so_and_stays_whole(void **state)
{
	IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_FLAT, 100, IQDB_METRIC_COSINE);
	MemoryIndex      memory;
	float            vector[100];
	IqdbRng          rng;
	IqdbError        err;
	IqdbStatus       status = IQDB_OK;
	uint64_t         rows = 0;

	(void) state;
	iqdb_rng_seed(&rng, SEED);
	memory_index_create(&memory, &options, &iqdb_locks_none, NULL, 1024 * 1024);
	while (status == IQDB_OK)
	{
		model_random_vector(&rng, vector, 100);
		status = iqdb_index_put(&memory.index, iqdb_id_u64(rows), vector, 100, NULL, 0, NULL, &err);
		rows += status == IQDB_OK;
	}
	assert_int_equal(status, IQDB_ERR_LIMIT);
	assert_true(rows > 1500 && rows < 2600);
	assert_true(memory_index_sound(&memory.index));
	assert_int_equal(iqdb_index_live_count(&memory.index), rows);
	/* what goes makes room */
	for (uint64_t i = 0; i < 10; i++)
		iqdb_index_remove(&memory.index, iqdb_id_u64(i), NULL);
	assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_VACUUM, &err), IQDB_OK);
	for (uint64_t i = 0; i < 10; i++)
		assert_int_equal(iqdb_index_put(&memory.index, iqdb_id_u64(i), vector, 100, NULL, 0, NULL, &err), IQDB_OK);
	assert_true(memory_index_sound(&memory.index));
	memory_index_destroy(&memory);
}

/* Address space is reserved for fewer rows than the limit of memory would allow: it ends there, sound. */
static void
a_reserve_may_be_less_than_the_limit(void **state)
{
	for (uint32_t engine = IQDB_ENGINE_FLAT; engine <= IQDB_ENGINE_IVF; engine++)
	{
		IqdbIndexOptions options = iqdb_index_options_default(engine, 100, IQDB_METRIC_L2);
		uint64_t         reserves[IQDB_ARENA_REGIONS_MAX];
		uint64_t         reserve = iqdb_index_reserve_for(&options, 500);
		uint32_t         count = iqdb_index_reserves(&options, reserve, 64, reserves);
		IqdbHost         host = {.allocator = iqdb_allocator_libc, .locks = iqdb_locks_none};
		float            vector[100];
		IqdbRng          rng;
		IqdbArena        arena;
		IqdbIndex        index;
		IqdbError        err;
		IqdbStatus       status = IQDB_OK;
		uint64_t         rows = 0;

		(void) state;
		iqdb_rng_seed(&rng, SEED);
		assert_true(iqdb_arena_size_needed(reserves, count) < 8 * 1024 * 1024);
		assert_int_equal(iqdb_arena_private_create(&arena, iqdb_arena_size_needed(reserves, count), &err), IQDB_OK);
		assert_int_equal(iqdb_index_format(&index, &arena, &host, NULL, &options, reserve, UINT64_C(1) << 30, 64, 64, &err),
						 IQDB_OK);
		while (status == IQDB_OK)
		{
			model_random_vector(&rng, vector, 100);
			status = iqdb_index_put(&index, iqdb_id_u64(rows), vector, 100, NULL, 0, NULL, &err);
			rows += status == IQDB_OK;
		}
		assert_int_equal(status, IQDB_ERR_LIMIT);
		assert_true(rows >= 500 && rows < 2500);
		assert_true(memory_index_sound(&index));
		assert_int_equal(iqdb_index_live_count(&index), rows);
		iqdb_arena_private_destroy(&arena);
	}
}

static void
a_second_view_of_the_arena_sees_the_same_index(void **state)
{
	World     world;
	IqdbIndex other;

	(void) state;
	world_open(&world, IQDB_METRIC_DOT, SEED, 50);
	for (int i = 0; i < 100; i++)
		put_random(&world);
	assert_int_equal(iqdb_index_attach(&other, &world.memory.arena, &world.memory.host, NULL, NULL), IQDB_OK);
	compare_to_the_end(&world, &other);
	for (int i = 0; i < 30; i++)
		remove_random(&world);
	compare_to_the_end(&world, &other);
	assert_true(memory_index_sound(&other));
	memset(iqdb_index_host_region(&other), 7, 64);
	assert_int_equal(((unsigned char *) iqdb_index_host_region(&world.memory.index))[63], 7);
	/* a header that is no header of ours */
	world.memory.index.store.header->row_stride = 7;
	assert_int_equal(iqdb_index_attach(&other, &world.memory.arena, &world.memory.host, NULL, NULL), IQDB_ERR_CORRUPT);
	world_close(&world);
}

static bool
always_cancelled(void *arg)
{
	(*(int *) arg)++;
	return true;
}

static void
cancel_ends_long_work_between_stretches(void **state)
{
	World            world;
	int              polls = 0;
	float            query[DIM] = {0};
	IqdbSearchParams params = {.expected = 1};
	IqdbCursor      *cursor;
	IqdbHit          hit;
	size_t           count;
	MemorySnapshot   snapshot;
	IqdbSectionSink  sink;

	(void) state;
	world_open(&world, IQDB_METRIC_L2, SEED, 20000);
	for (uint64_t i = 0; i < 20000; i++)
		assert_int_equal(iqdb_index_put(&world.memory.index, iqdb_id_u64(i), query, DIM, NULL, 0, NULL, NULL), IQDB_OK);
	world.memory.host.cancelled = always_cancelled;
	world.memory.host.cancel_arg = &polls;
	assert_int_equal(iqdb_cursor_open(&world.memory.index, query, DIM, &params, &cursor, NULL), IQDB_OK);
	assert_int_equal(iqdb_cursor_next(cursor, &hit, 1, &count, NULL), IQDB_ERR_CANCELLED);
	assert_int_equal(iqdb_cursor_next(cursor, &hit, 1, &count, NULL), IQDB_OK);
	assert_int_equal(count, 0);
	iqdb_cursor_close(cursor);
	memory_snapshot_init(&snapshot);
	sink = memory_snapshot_sink(&snapshot);
	assert_int_equal(iqdb_index_save(&world.memory.index, &sink, NULL), IQDB_ERR_CANCELLED);
	memory_snapshot_free(&snapshot);
	assert_true(polls >= 2);
	world_close(&world);
}

/* ---- snapshot bytes ---- */

static void
loading_rejects_another_shape_and_a_used_index(void **state)
{
	World             world;
	IqdbIndexOptions  options;
	MemorySnapshot    snapshot;
	MemoryIndex       loaded;
	IqdbSectionSource source;

	(void) state;
	world_open(&world, IQDB_METRIC_L2, SEED, 50);
	put_random(&world);
	memory_snapshot_init(&snapshot);
	save(&world.memory.index, &snapshot);

	options = iqdb_index_options_default(IQDB_ENGINE_FLAT, DIM + 1, IQDB_METRIC_L2);
	assert_int_equal(load(&loaded, &options, &snapshot, NULL), IQDB_ERR_CONFIG);
	memory_index_destroy(&loaded);
	options = iqdb_index_options_default(IQDB_ENGINE_FLAT, DIM, IQDB_METRIC_L1);
	assert_int_equal(load(&loaded, &options, &snapshot, NULL), IQDB_ERR_CONFIG);
	memory_index_destroy(&loaded);
	source = memory_snapshot_source(&snapshot);
	assert_int_equal(iqdb_index_load(&world.memory.index, &source, NULL), IQDB_ERR_STATE);
	memory_snapshot_free(&snapshot);
	world_close(&world);
}

/* A host learns from a snapshot what it was built with, and loads it whatever it would build now. */
static void
stored_options_are_told_and_win(void **state)
{
	World             world;
	IqdbIndexOptions  built;
	IqdbIndexOptions  wanted;
	MemorySnapshot    snapshot;
	IqdbSectionSource source;
	IqdbError         err;

	(void) state;
	world_open(&world, IQDB_METRIC_L2, SEED, 50);
	put_random(&world);
	memory_snapshot_init(&snapshot);
	save(&world.memory.index, &snapshot);
	source = memory_snapshot_source(&snapshot);
	assert_int_equal(iqdb_index_load_options(&source, &built, &err), IQDB_OK);
	assert_memory_equal(&built, &world.memory.index.store.header->options, sizeof(built));
	snapshot.bytes[1][0] ^= 1;
	source = memory_snapshot_source(&snapshot);
	assert_int_equal(iqdb_index_load_options(&source, &built, &err), IQDB_ERR_CORRUPT);
	memory_snapshot_free(&snapshot);
	world_close(&world);

	built = iqdb_index_options_default(IQDB_ENGINE_IVF, 16, IQDB_METRIC_L2);
	built.lists = 50;
	wanted = built;
	wanted.lists = 100;
	wanted.quantization = IQDB_QUANTIZATION_PQ;
	wanted.pq_subvectors = 4;
	wanted.training_sample = 1000;
	wanted.probes = 40;
	wanted.vectors = IQDB_VECTORS_DISK;
	assert_true(iqdb_index_options_as_built(&wanted, &built));
	assert_int_equal(wanted.lists, 50);
	assert_int_equal(wanted.quantization, built.quantization);
	assert_int_equal(wanted.pq_subvectors, 0);
	assert_int_equal(wanted.training_sample, 1000);
	assert_int_equal(wanted.probes, 40);
	assert_int_equal(wanted.vectors, IQDB_VECTORS_DISK);
	/* what cannot go together with the form gives way, but for the place of vectors */
	wanted.probes = 51;
	assert_true(iqdb_index_options_as_built(&wanted, &built));
	assert_int_equal(iqdb_index_options_check(&wanted, NULL), IQDB_OK);
	assert_int_equal(wanted.probes, built.probes);
	assert_int_equal(wanted.vectors, IQDB_VECTORS_DISK);
	wanted.dimension++;
	assert_false(iqdb_index_options_as_built(&wanted, &built));
}

static void
a_failing_sink_ends_the_save(void **state)
{
	World          world;
	MemorySnapshot snapshot;

	(void) state;
	world_open(&world, IQDB_METRIC_L2, SEED, 5000);
	for (uint64_t i = 0; i < 9000; i++)
		put(&world, iqdb_id_u64(i));
	for (uint64_t n = 0;; n++)
	{
		IqdbSectionSink sink = memory_snapshot_sink(&snapshot);
		IqdbStatus      status;

		memory_snapshot_init(&snapshot);
		snapshot.fail_after = n;
		status = iqdb_index_save(&world.memory.index, &sink, NULL);
		memory_snapshot_free(&snapshot);
		if (status == IQDB_OK)
			break;
		assert_int_equal(status, IQDB_ERR_NO_SPACE);
		assert_true(n < 100);
	}
	world_close(&world);
}

/* Loads what is in the snapshot; whatever it says must be an error or a sound index. */
static void
load_hostile(const IqdbIndexOptions *options, MemorySnapshot *snapshot)
{
	MemoryIndex loaded;
	IqdbError   err;
	IqdbStatus  status = load(&loaded, options, snapshot, &err);

	if (status == IQDB_OK)
		assert_true(memory_index_sound(&loaded.index));
	else
		assert_true(status == IQDB_ERR_CORRUPT || status == IQDB_ERR_CONFIG || status == IQDB_ERR_VERSION ||
					status == IQDB_ERR_LIMIT || status == IQDB_ERR_NOMEM);
	memory_index_destroy(&loaded);
}

static void
loading_believes_nothing(void **state)
{
	World            world;
	IqdbIndexOptions options;
	MemorySnapshot   snapshot;

	(void) state;
	world_open(&world, IQDB_METRIC_L2, SEED, 30);
	for (int i = 0; i < 40; i++)
		put_random(&world);
	assert_int_equal(iqdb_index_put_known(&world.memory.index, iqdb_id_u64(999), NULL), IQDB_OK);
	options = world.memory.index.store.header->options;
	memory_snapshot_init(&snapshot);
	save(&world.memory.index, &snapshot);
	for (size_t i = 0; i < snapshot.length[1]; i++)
	{
		unsigned char saved = snapshot.bytes[1][i];

		snapshot.bytes[1][i] ^= (unsigned char) (1u << iqdb_rng_below(&world.rng, 8));
		load_hostile(&options, &snapshot);
		snapshot.bytes[1][i] = (unsigned char) iqdb_rng_below(&world.rng, 256);
		load_hostile(&options, &snapshot);
		snapshot.bytes[1][i] = saved;
	}
	for (size_t length = 0; length < snapshot.length[1]; length += 7)
	{
		MemorySnapshot cut = snapshot;
		MemoryIndex    loaded;

		cut.length[1] = length;
		assert_int_equal(load(&loaded, &options, &cut, NULL), IQDB_ERR_CORRUPT);
		memory_index_destroy(&loaded);
	}
	memory_snapshot_free(&snapshot);
	world_close(&world);
}

/* One chunk of rows made by hand: number ids 7 and `second`, with the given sequences. */
static size_t
handmade_rows(unsigned char *bytes, const IqdbIndexOptions *options, uint64_t second, uint64_t sequence_a,
			  uint64_t sequence_b, float component)
{
	unsigned char *at = bytes + IQDB_ROWS_HEADER_SIZE;
	const size_t   row = 9 + 8 + 1 + DIM * 4;

	memset(bytes, 0, 512);
	memcpy(bytes, IQDB_ROWS_MAGIC, 8);
	iqdb_store_u32(bytes + IQDB_ROWS_AT_VERSION, IQDB_ROWS_VERSION_NO_COLUMNS);
	iqdb_store_u32(bytes + IQDB_ROWS_AT_HEADER_LENGTH, IQDB_ROWS_HEADER_SIZE);
	iqdb_index_options_encode(options, bytes + IQDB_ROWS_AT_OPTIONS);
	iqdb_store_u64(bytes + IQDB_ROWS_AT_NEXT_SEQUENCE, 100);
	iqdb_store_u32(bytes + IQDB_ROWS_AT_SLOT_COUNT, 2);
	iqdb_store_u32(at + IQDB_CHUNK_AT_COUNT, 2);
	iqdb_store_u64(at + IQDB_CHUNK_AT_LENGTH, 2 + 2 * row);
	at += IQDB_CHUNK_HEADER_SIZE;
	at[0] = IQDB_ROW_LIVE;
	at[1] = IQDB_ROW_LIVE;
	at += 2;
	at = iqdb_id_encode(iqdb_id_u64(7), at);
	iqdb_store_u64(at, sequence_a);
	at += 8 + 1 + DIM * 4;
	at = iqdb_id_encode(iqdb_id_u64(second), at);
	iqdb_store_u64(at, sequence_b);
	iqdb_store_f32(at + 9, component);
	at += 8 + 1 + DIM * 4;
	iqdb_store_u32(at + IQDB_CHUNK_AT_FIRST, 2);
	iqdb_store_u64(at + IQDB_CHUNK_AT_LENGTH, IQDB_CHUNK_END_SIZE);
	iqdb_store_u64(at + IQDB_CHUNK_HEADER_SIZE, 2);
	return (size_t) (at - bytes) + IQDB_CHUNK_HEADER_SIZE + IQDB_CHUNK_END_SIZE;
}

static IqdbStatus
load_handmade(uint64_t second, uint64_t sequence_a, uint64_t sequence_b, float component)
{
	IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_FLAT, DIM, IQDB_METRIC_L2);
	MemorySnapshot   snapshot;
	MemoryIndex      loaded;
	IqdbStatus       status;

	memory_snapshot_init(&snapshot);
	snapshot.bytes[1] = malloc(512);
	snapshot.bytes[2] = malloc(4);
	iqdb_store_u32(snapshot.bytes[2], 1);
	snapshot.length[2] = 4;
	snapshot.length[1] = handmade_rows(snapshot.bytes[1], &options, second, sequence_a, sequence_b, component);
	status = load(&loaded, &options, &snapshot, NULL);
	memory_index_destroy(&loaded);
	memory_snapshot_free(&snapshot);
	return status;
}

static void
loading_rejects_rows_that_cannot_be(void **state)
{
	(void) state;
	assert_int_equal(load_handmade(8, 1, 2, 1.0f), IQDB_OK);
	assert_int_equal(load_handmade(8, 2, 1, 1.0f), IQDB_OK);
	assert_int_equal(load_handmade(7, 1, 2, 1.0f), IQDB_ERR_CORRUPT);  /* an id twice */
	assert_int_equal(load_handmade(8, 2, 2, 1.0f), IQDB_ERR_CORRUPT);  /* a sequence twice */
	assert_int_equal(load_handmade(8, 0, 2, 1.0f), IQDB_ERR_CORRUPT);  /* sequence out of range */
	assert_int_equal(load_handmade(8, 1, 100, 1.0f), IQDB_ERR_CORRUPT);
	assert_int_equal(load_handmade(8, 1, 2, NAN), IQDB_ERR_CORRUPT);
	assert_int_equal(load_handmade(8, 1, 2, -INFINITY), IQDB_ERR_CORRUPT);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(matches_naive_for_every_metric),
		cmocka_unit_test(slots_and_blobs_are_reused),
		cmocka_unit_test(sequences_of_every_size_are_saved),
		cmocka_unit_test(known_rows_are_listed_and_never_found),
		cmocka_unit_test(put_and_open_reject_what_they_must),
		cmocka_unit_test(a_full_index_says_so_and_stays_whole),
		cmocka_unit_test(a_second_view_of_the_arena_sees_the_same_index),
		cmocka_unit_test(cancel_ends_long_work_between_stretches),
		cmocka_unit_test(a_reserve_may_be_less_than_the_limit),
		cmocka_unit_test(loading_rejects_another_shape_and_a_used_index),
		cmocka_unit_test(stored_options_are_told_and_win),
		cmocka_unit_test(a_failing_sink_ends_the_save),
		cmocka_unit_test(loading_believes_nothing),
		cmocka_unit_test(loading_rejects_rows_that_cannot_be),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
