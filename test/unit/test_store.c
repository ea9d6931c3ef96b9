/*
 * test_store.c - options; the row store: life of a slot, id map, blobs, locks, verification, readers beside a writer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <pthread.h>

#include "core/engine/store_write.h"
#include "core/flat/flat.h"
#include "harness/elements.h"
#include "harness/memory_index.h"
#include "harness/metrics.h"
#include "harness/model.h"

#define SEED UINT64_C(20251010)
#define DIM 6
#define MEMORY_MAX (UINT64_C(64) * 1024 * 1024)

/* ---- options ---- */

static void
assert_option(IqdbIndexOptions options, IqdbStatus expected, const char *word)
{
	IqdbError err = {0};

	assert_int_equal(iqdb_index_options_check(&options, &err), expected);
	assert_int_equal(iqdb_index_options_check(&options, NULL), expected);
	if (word != NULL && strstr(err.message, word) == NULL)
		fail_msg("\"%s\" does not name %s", err.message, word);
}

static void
defaults_pass_and_every_bound_is_checked(void **state)
{
	IqdbIndexOptions hnsw = iqdb_index_options_default(IQDB_ENGINE_HNSW, 8, IQDB_METRIC_L2);
	IqdbIndexOptions ivf = iqdb_index_options_default(IQDB_ENGINE_IVF, 8, IQDB_METRIC_L2);
	IqdbIndexOptions flat = iqdb_index_options_default(IQDB_ENGINE_FLAT, 8, IQDB_METRIC_L2);
	IqdbIndexOptions o;

	(void) state;
	for (int engine = 0; engine < IQDB_ENGINE_COUNT; engine++)
	{
		for (int metric = 0; metric < NUMBER_METRICS; metric++)
			assert_option(iqdb_index_options_default((IqdbEngineKind) engine, 1, (IqdbMetric) metric), IQDB_OK, NULL);
	}
	assert_option((o = flat, o.dimension = 0, o), IQDB_ERR_CONFIG, "dimension");
	assert_option((o = flat, o.dimension = IQDB_DIMENSION_MAX, o), IQDB_OK, NULL);
	assert_option((o = flat, o.dimension = IQDB_DIMENSION_MAX + 1, o), IQDB_ERR_CONFIG, "16001");
	assert_option((o = flat, o.metric = 5, o), IQDB_ERR_METRIC, "metric");
	assert_option((o = flat, o.engine = 3, o), IQDB_ERR_CONFIG, "engine");
	assert_option((o = flat, o.quantization = IQDB_QUANTIZATION_SQ8, o), IQDB_OK, NULL);
	assert_option((o = flat, o.quantization = IQDB_QUANTIZATION_SQ8, o.metric = IQDB_METRIC_L1, o), IQDB_ERR_METRIC,
				  "sq8");
	assert_option((o = flat, o.quantization = IQDB_QUANTIZATION_PQ, o), IQDB_ERR_UNSUPPORTED, "pq");
	assert_option((o = flat, o.quantization = IQDB_QUANTIZATION_BQ, o), IQDB_ERR_UNSUPPORTED, "bq");
	assert_option((o = flat, o.quantization = 9, o), IQDB_ERR_CONFIG, "quantization");

	assert_option((o = hnsw, o.m = 1, o), IQDB_ERR_CONFIG, "m is 1");
	assert_option((o = hnsw, o.m = 128, o.ef_construction = 256, o), IQDB_OK, NULL);
	assert_option((o = hnsw, o.m = 129, o.ef_construction = 300, o), IQDB_ERR_CONFIG, "m is 129");
	assert_option((o = hnsw, o.ef_construction = 2 * o.m - 1, o), IQDB_ERR_CONFIG, "ef_construction");
	assert_option((o = hnsw, o.ef_construction = 4001, o), IQDB_ERR_CONFIG, "4000");
	assert_option((o = hnsw, o.ef_search = 0, o), IQDB_ERR_CONFIG, "ef_search");
	assert_option((o = hnsw, o.ef_search = 100001, o), IQDB_ERR_CONFIG, "ef_search");
	assert_option((o = hnsw, o.metric = IQDB_METRIC_HAMMING, o), IQDB_ERR_METRIC, "hamming");
	assert_option((o = hnsw, o.quantization = IQDB_QUANTIZATION_PQ, o), IQDB_ERR_UNSUPPORTED,
				  "hnsw, which has none, sq8 and bq");
	for (int metric = 0; metric < NUMBER_METRICS; metric++)
	{
		bool possible = metric <= IQDB_METRIC_L2;

		assert_option((o = hnsw, o.quantization = IQDB_QUANTIZATION_BQ, o.metric = (uint32_t) metric, o),
					  possible ? IQDB_OK : IQDB_ERR_METRIC, possible ? NULL : "bq");
	}

	assert_option((o = ivf, o.lists = 1000001, o), IQDB_ERR_CONFIG, "lists");
	assert_option((o = ivf, o.lists = 10, o.probes = 10, o), IQDB_OK, NULL);
	assert_option((o = ivf, o.lists = 10, o.probes = 11, o), IQDB_ERR_CONFIG, "probes");
	assert_option((o = ivf, o.training_sample = 0, o), IQDB_ERR_CONFIG, "training_sample");
	assert_option((o = ivf, o.quantization = IQDB_QUANTIZATION_PQ, o.pq_subvectors = 3, o), IQDB_ERR_CONFIG,
				  "pq_subvectors");
	assert_option((o = ivf, o.quantization = IQDB_QUANTIZATION_PQ, o.pq_subvectors = 4, o), IQDB_OK, NULL);
	assert_option((o = ivf, o.quantization = IQDB_QUANTIZATION_PQ, o.metric = IQDB_METRIC_COSINE, o), IQDB_ERR_METRIC,
				  "cosine");
}

static const float *
floats_of(const IqdbStore *store, uint32_t slot)
{
	return iqdb_store_vector(store, slot);
}

static uint32_t
stride(IqdbElementKind element, uint32_t dim)
{
	IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_FLAT, dim, IQDB_METRIC_HAMMING);

	iqdb_index_options_of_element(&options, element);
	return iqdb_store_stride(&options);
}

static void
rows_are_aligned_where_it_costs_little(void **state)
{
	(void) state;
	assert_int_equal(stride(IQDB_ELEMENT_F32, 1), 16);
	assert_int_equal(stride(IQDB_ELEMENT_F32, 4), 16);
	assert_int_equal(stride(IQDB_ELEMENT_F32, 16), 64);
	assert_int_equal(stride(IQDB_ELEMENT_F32, 17), 80);
	assert_int_equal(stride(IQDB_ELEMENT_F32, 100), 448); /* 48 more, an eighth of 400 is 50 */
	assert_int_equal(stride(IQDB_ELEMENT_F32, 99), 400);
	assert_int_equal(stride(IQDB_ELEMENT_F32, 128), 512);
	assert_int_equal(stride(IQDB_ELEMENT_F32, 1536), 6144);
	assert_int_equal(stride(IQDB_ELEMENT_F16, 9), 32);
	assert_int_equal(stride(IQDB_ELEMENT_F16, 128), 256);
	assert_int_equal(stride(IQDB_ELEMENT_BIT, 1), 16);
	assert_int_equal(stride(IQDB_ELEMENT_BIT, 1024), 128);
	assert_int_equal(stride(IQDB_ELEMENT_BIT, 64000), 8000);
	for (uint32_t kind = 0; kind < IQDB_ELEMENT_COUNT; kind++)
	{
		for (uint32_t dim = 1; dim <= IQDB_DIMENSION_MAX; dim += 7)
		{
			uint32_t bytes = (uint32_t) iqdb_element_bytes(iqdb_element(kind), dim);
			uint32_t got = stride((IqdbElementKind) kind, dim);

			assert_true(got >= bytes && got % 16 == 0 && (got < bytes + 16 || (got - bytes) * 8 <= bytes));
		}
	}
}

/* ---- locks that watch ---- */

typedef struct Watch
{
	int held[IQDB_ARENA_LOCKS]; /* -1 exclusive, n shared */
	int errors;
	int acquired;
} Watch;

static Watch          watch;
static unsigned char *watch_first;

static int
lock_number(void *cell)
{
	return (int) (((unsigned char *) cell - watch_first) / IQDB_LOCK_CELL_SIZE);
}

static void
watch_init(void *arg, void *cell)
{
	(void) arg;
	if (watch_first == NULL || (unsigned char *) cell < watch_first)
		watch_first = cell;
}

static void
watch_acquire(void *arg, void *cell, bool exclusive)
{
	int number = lock_number(cell);

	(void) arg;
	watch.acquired++;
	/* from outside to inside, nothing twice */
	for (int i = number; i < IQDB_ARENA_LOCKS; i++)
		watch.errors += watch.held[i] != 0;
	watch.held[number] += exclusive ? -1 : 1;
}

static void
watch_release(void *arg, void *cell, bool exclusive)
{
	int number = lock_number(cell);

	(void) arg;
	watch.errors += watch.held[number] != (exclusive ? -1 : 1);
	watch.held[number] = 0;
}

static const IqdbLockOps watching = {watch_init, watch_acquire, watch_release, NULL};

static void
assert_unlocked(void)
{
	for (int i = 0; i < IQDB_ARENA_LOCKS; i++)
		assert_int_equal(watch.held[i], 0);
	assert_int_equal(watch.errors, 0);
	assert_true(watch.acquired > 0);
	watch.acquired = 0;
}

static void
locks_are_taken_in_order_and_let_go(void **state)
{
	IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_FLAT, DIM, IQDB_METRIC_L2);
	MemoryIndex      memory;
	float            vector[DIM] = {1};
	uint64_t         position = 0;
	uint64_t         ids[10];
	IqdbCursor      *cursor;
	IqdbHit          hits[10];
	size_t           count;
	IqdbIndexStats   stats;

	(void) state;
	watch_first = NULL;
	memory_index_create(&memory, &options, &watching, NULL, MEMORY_MAX);
	for (uint64_t i = 0; i < 600; i++)
	{
		/* replacements: reclaims happen in between */
		iqdb_index_make_room(&memory.index, 1);
		assert_int_equal(iqdb_index_put(&memory.index, iqdb_id_u64(i % 40), vector, DIM, NULL, 0, NULL, NULL), IQDB_OK);
		assert_unlocked();
	}
	iqdb_index_remove(&memory.index, iqdb_id_u64(3), NULL);
	assert_unlocked();
	assert_true(iqdb_index_contains(&memory.index, iqdb_id_u64(4), NULL));
	assert_unlocked();
	assert_true(iqdb_index_get(&memory.index, iqdb_id_u64(4), vector, NULL, 0, &count));
	assert_unlocked();
	assert_int_equal(iqdb_index_ids(&memory.index, &position, ids, NULL, 10), 10);
	assert_unlocked();
	assert_int_equal(iqdb_cursor_open(&memory.index, vector, DIM, NULL, &cursor, NULL), IQDB_OK);
	assert_int_equal(iqdb_cursor_next(cursor, hits, 10, &count, NULL), IQDB_OK);
	assert_unlocked();
	iqdb_cursor_close(cursor);
	assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_VACUUM, NULL), IQDB_OK);
	assert_unlocked();
	/* numbers are read without a lock: whoever asks must not wait for a process that is stopped */
	watch.acquired = 0;
	iqdb_index_stats(&memory.index, &stats);
	assert_int_equal(watch.acquired, 0);
	assert_true(memory_index_sound(&memory.index));
	assert_unlocked();
	memory_index_destroy(&memory);
}

static IqdbStatus
put_plain(MemoryIndex *memory, IqdbId id, const float *vector, uint32_t *slot_out, IqdbError *err)
{
	uint32_t dim = memory->index.store.header->options.dimension;

	return iqdb_index_put(&memory->index, id, vector, dim, NULL, 0, slot_out, err);
}

/* The number that a search finds nearest to {at}; 0 if it finds none. */
static uint64_t
nearest_number(MemoryIndex *memory, float at)
{
	float       query[DIM] = {at};
	IqdbCursor *cursor;
	IqdbHit     hit = {0};
	size_t      count;

	assert_int_equal(iqdb_cursor_open(&memory->index, query, DIM, NULL, &cursor, NULL), IQDB_OK);
	assert_int_equal(iqdb_cursor_next(cursor, &hit, 1, &count, NULL), IQDB_OK);
	iqdb_cursor_close(cursor);
	return count > 0 ? hit.id : 0;
}

static void
a_row_that_is_staged_is_seen_when_it_is_published(void **state)
{
	IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_FLAT, DIM, IQDB_METRIC_COSINE);
	MemoryIndex      memory;
	float            vectors[3][DIM] = {{1, 1}, {1, 0}, {-1, 0}};
	float            found[DIM];
	IqdbStaged       staged[3];
	size_t           length;
	uint32_t         slots;

	(void) state;
	memory_index_create(&memory, &options, &iqdb_locks_none, NULL, MEMORY_MAX);
	assert_int_equal(put_plain(&memory, iqdb_id_u64(1), vectors[0], NULL, NULL), IQDB_OK);
	for (int i = 0; i < 3; i++)
		assert_int_equal(iqdb_index_stage(&memory.index, iqdb_id_u64(i < 2 ? 1 : 2), vectors[i], DIM, NULL, &staged[i], NULL),
						 IQDB_OK);
	assert_int_equal(nearest_number(&memory, 1), 1);
	assert_false(iqdb_index_contains(&memory.index, iqdb_id_u64(2), NULL));
	assert_int_equal(iqdb_index_live_count(&memory.index), 1);
	assert_true(memory_index_sound(&memory.index));

	/* the order of rows is that of publishing: the last of an id stays */
	iqdb_index_publish(&memory.index, &staged[1]);
	iqdb_index_publish(&memory.index, &staged[0]);
	assert_true(iqdb_index_get(&memory.index, iqdb_id_u64(1), found, NULL, 0, &length));
	assert_memory_equal(found, vectors[0], sizeof(found));
	assert_int_equal(iqdb_index_live_count(&memory.index), 1);
	assert_true(memory_index_sound(&memory.index));

	/* what is taken back leaves its slot to the next */
	slots = atomic_load(&memory.index.store.header->slot_count);
	iqdb_index_unstage(&memory.index, &staged[2]);
	assert_true(memory_index_sound(&memory.index));
	assert_int_equal(put_plain(&memory, iqdb_id_u64(3), vectors[2], NULL, NULL), IQDB_OK);
	assert_int_equal(atomic_load(&memory.index.store.header->slot_count), slots);
	assert_int_equal(nearest_number(&memory, -1), 3);

	/* what put() refuses is not staged */
	vectors[0][0] = NAN;
	assert_int_equal(iqdb_index_stage(&memory.index, iqdb_id_u64(4), vectors[0], DIM, NULL, &staged[0], NULL), IQDB_ERR_VECTOR);
	assert_int_equal(iqdb_index_stage(&memory.index, iqdb_id_u64(4), vectors[1], DIM - 1, NULL, &staged[0], NULL),
					 IQDB_ERR_DIMENSION);
	assert_true(memory_index_sound(&memory.index));
	memory_index_destroy(&memory);
}

/* ---- an engine that keeps its dead rows for a while ---- */

static uint32_t kept[64];
static size_t   kept_count;
static size_t   added_count;

static void
keep_added(IqdbStore *store, uint32_t slot)
{
	assert_int_equal(iqdb_store_state(store, slot), IQDB_ROW_LIVE);
	added_count++;
}

static void
keep_removed(IqdbStore *store, uint32_t slot)
{
	assert_int_equal(iqdb_store_state(store, slot), IQDB_ROW_DEAD);
	kept[kept_count++] = slot;
}

static IqdbEngine
keeping_engine(void)
{
	IqdbEngine engine = iqdb_flat_engine;

	engine.added = keep_added;
	engine.removed = keep_removed;
	kept_count = 0;
	added_count = 0;
	return engine;
}

static uint32_t
put(IqdbStore *store, const IqdbEngine *engine, uint64_t id, const char *metadata)
{
	float    vector[DIM] = {(float) id, 1, 2, 3, 4, 5};
	IqdbRow  row = {.id = iqdb_id_u64(id),
					.vector = vector,
					.metadata = (const unsigned char *) metadata,
					.metadata_length = metadata != NULL ? strlen(metadata) : 0};
	uint32_t slot;

	assert_int_equal(iqdb_store_put(store, engine, &row, NULL, &slot, NULL), IQDB_OK);
	return slot;
}

static void
a_slot_is_reused_only_when_the_engine_let_go(void **state)
{
	IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_FLAT, DIM, IQDB_METRIC_L2);
	MemoryIndex      memory;
	IqdbEngine       engine = keeping_engine();
	IqdbStore       *store = &memory.index.store;
	uint32_t         a;
	uint32_t         b;
	uint64_t         changes;

	(void) state;
	memory_index_create(&memory, &options, &iqdb_locks_none, NULL, MEMORY_MAX);
	a = put(store, &engine, 1, "first");
	b = put(store, &engine, 2, NULL);
	changes = store->header->changes;
	assert_int_equal(iqdb_store_find(store, iqdb_id_u64(1)), a);
	assert_true(iqdb_store_remove(store, &engine, iqdb_id_u64(1)));
	assert_false(iqdb_store_remove(store, &engine, iqdb_id_u64(1)));
	assert_int_equal(store->header->changes, changes + 1);
	assert_int_equal(iqdb_store_find(store, iqdb_id_u64(1)), IQDB_SLOT_NONE);
	assert_int_equal(kept_count, 1);
	assert_int_equal(kept[0], a);
	/* dead, but as it was: readers may still look at it */
	assert_int_equal(iqdb_store_state(store, a), IQDB_ROW_DEAD);
	assert_true(floats_of(store, a)[0] == 1.0f);
	assert_int_equal(iqdb_store_id(store, a).number, 1);
	assert_int_equal(iqdb_store_reclaim(store), 0);
	assert_int_not_equal(put(store, &engine, 3, NULL), a);
	/* let go twice is let go; a live row cannot be let go */
	iqdb_store_release(store, a);
	iqdb_store_release(store, a);
	iqdb_store_release(store, b);
	assert_int_equal(store->header->limbo_count, 1);
	assert_int_equal(iqdb_store_state(store, b), IQDB_ROW_LIVE);
	assert_int_not_equal(put(store, &engine, 4, NULL), a);
	assert_true(memory_index_sound(&memory.index));
	assert_int_equal(iqdb_store_reclaim(store), 1);
	assert_int_equal(iqdb_store_state(store, a), IQDB_ROW_FREE);
	assert_int_equal(put(store, &engine, 5, NULL), a);
	assert_int_equal(added_count, 5);
	/* a replacement: new slot, new sequence, the old one is the engine's to let go */
	assert_int_not_equal(put(store, &engine, 2, NULL), b);
	assert_int_equal(kept[kept_count - 1], b);
	assert_true(memory_index_sound(&memory.index));
	memory_index_destroy(&memory);
}

/* ---- id map and blobs ---- */

/* Locks that note what was asked for. */
typedef struct NotedLocks
{
	const void *structure; /* the cell */
	size_t      exclusive; /* times it was taken so */
} NotedLocks;

static void
noted_init(void *arg, void *cell)
{
}

static void
noted_acquire(void *arg, void *cell, bool exclusive)
{
	NotedLocks *noted = arg;

	noted->exclusive += cell == noted->structure && exclusive;
}

static void
noted_release(void *arg, void *cell, bool exclusive)
{
}

/* Puts run under locks of the host that everybody needs: they must not wait for those who search. */
static void
puts_do_not_wait_for_searches(void **state)
{
	IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_FLAT, DIM, IQDB_METRIC_L2);
	NotedLocks       noted = {NULL, 0};
	IqdbLockOps      locks = {noted_init, noted_acquire, noted_release, &noted};
	MemoryIndex      memory;
	IqdbStore       *store = &memory.index.store;
	uint32_t         slots;

	(void) state;
	memory_index_create(&memory, &options, &locks, NULL, MEMORY_MAX);
	noted.structure = iqdb_arena_lock(&memory.arena, IQDB_LOCK_STRUCTURE);
	for (int round = 0; round < 3; round++)
	{
		for (uint64_t id = 0; id < 2000; id++)
			(void) put(store, &iqdb_flat_engine, id, NULL);
	}
	assert_int_equal(noted.exclusive, 0);
	assert_int_equal(store->header->limbo_count, 4000);
	/* what tidying has made ready is used, and is all there is to it */
	slots = store->header->slot_count;
	iqdb_store_tidy(store);
	assert_int_equal(noted.exclusive, 1);
	for (uint64_t id = 0; id < 4000; id++)
		(void) put(store, &iqdb_flat_engine, 5000 + id, NULL);
	assert_int_equal(store->header->slot_count, slots);
	assert_int_equal(noted.exclusive, 1);
	iqdb_store_tidy(store);
	assert_int_equal(noted.exclusive, 1);
	assert_true(memory_index_sound(&memory.index));
	memory_index_destroy(&memory);
}

static void
the_id_map_grows_and_finds_every_id(void **state)
{
	IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_FLAT, 1, IQDB_METRIC_L2);
	MemoryIndex      memory;
	float            vector = 1;
	IqdbStore       *store = &memory.index.store;

	(void) state;
	memory_index_create(&memory, &options, &iqdb_locks_none, NULL, MEMORY_MAX);
	/* numbers as tuple identifiers are: block << 16 | offset, dense */
	for (uint64_t i = 0; i < 30000; i++)
	{
		uint64_t id = i / 50 << 16 | i % 50;

		assert_int_equal(iqdb_index_put(&memory.index, iqdb_id_u64(id), &vector, 1, NULL, 0, NULL, NULL), IQDB_OK);
		if (i % 9999 == 0)
			assert_true(memory_index_sound(&memory.index));
	}
	assert_int_equal(store->header->bucket_count, 15000);
	for (uint64_t i = 0; i < 30000; i++)
		assert_int_equal(iqdb_store_find(store, iqdb_id_u64(i / 50 << 16 | i % 50)), i);
	assert_int_equal(iqdb_store_find(store, iqdb_id_u64(77)), IQDB_SLOT_NONE);
	for (uint64_t i = 0; i < 30000; i += 2)
		iqdb_index_remove(&memory.index, iqdb_id_u64(i / 50 << 16 | i % 50), NULL);
	assert_true(memory_index_sound(&memory.index));
	for (uint64_t i = 0; i < 30000; i++)
		assert_int_equal(iqdb_store_find(store, iqdb_id_u64(i / 50 << 16 | i % 50)) == IQDB_SLOT_NONE, i % 2 == 0);
	memory_index_destroy(&memory);
}

static void
metadata_of_any_length_is_kept(void **state)
{
	static const size_t lengths[] = {1, 11, 12, 13, 28, 59, 60, 61, 4090, 8187, 8188, 8189, 20000, 65536, 300000, 1048577};
	IqdbIndexOptions    options = iqdb_index_options_default(IQDB_ENGINE_FLAT, DIM, IQDB_METRIC_L2);
	MemoryIndex         memory;
	IqdbStore          *store = &memory.index.store;
	unsigned char      *bytes = malloc(2000000);
	float               vector[DIM] = {0};
	size_t              count = sizeof(lengths) / sizeof(lengths[0]);
	uint64_t            blob_end = 0;

	(void) state;
	for (size_t i = 0; i < 2000000; i++)
		bytes[i] = (unsigned char) (i * 31);
	memory_index_create(&memory, &options, &iqdb_locks_none, NULL, MEMORY_MAX);
	for (int round = 0; round < 3; round++)
	{
		for (size_t i = 0; i < count; i++)
		{
			IqdbRow row = {.id = iqdb_id_bytes(bytes + i, (uint32_t) lengths[count - 1 - i]),
						   .vector = vector,
						   .metadata = bytes + round,
						   .metadata_length = lengths[i]};
			uint32_t slot;

			assert_int_equal(iqdb_store_put(store, &iqdb_flat_engine, &row, NULL, &slot, NULL), IQDB_OK);
		}
		for (size_t i = 0; i < count; i++)
		{
			IqdbId               id = iqdb_id_bytes(bytes + i, (uint32_t) lengths[count - 1 - i]);
			uint32_t             slot = iqdb_store_find(store, id);
			size_t               length;
			const unsigned char *metadata;

			assert_int_not_equal(slot, IQDB_SLOT_NONE);
			assert_true(iqdb_id_equal(iqdb_store_id(store, slot), id));
			metadata = iqdb_store_metadata(store, slot, &length);
			assert_int_equal(length, lengths[i]);
			assert_memory_equal(metadata, bytes + round, length);
		}
		(void) iqdb_store_reclaim(store);
		/* the second round needs as much again, the third lives on what the first left */
		if (round == 1)
			blob_end = store->header->blob_end;
	}
	assert_int_equal(store->header->blob_end, blob_end);
	free(bytes);
	memory_index_destroy(&memory);
}

/* ---- numbers that a slot has room for, and others ---- */

/* The last one a slot has room for is the second. */
static const uint64_t border[] = {
	0, (UINT64_C(1) << 48) - 1, UINT64_C(1) << 48, (UINT64_C(1) << 48) + 1, UINT64_C(1) << 63, UINT64_MAX,
};

#define BORDER (sizeof(border) / sizeof(border[0]))

static void
assert_border(MemoryIndex *memory, size_t present)
{
	IqdbStore  *store = &memory->index.store;
	float       query[DIM] = {0};
	uint64_t    listed[BORDER + 1];
	uint64_t    position = 0;
	size_t      count;
	IqdbCursor *cursor;
	IqdbHit     hits[2 * BORDER + 1];

	for (size_t i = 0; i < BORDER; i++)
	{
		uint32_t slot = iqdb_store_find(store, iqdb_id_u64(border[i]));

		assert_int_equal(slot != IQDB_SLOT_NONE, i < present);
		if (i >= present)
			continue;
		assert_int_equal(iqdb_store_number(store, slot), border[i]);
		assert_true(iqdb_id_equal(iqdb_store_id(store, slot), iqdb_id_u64(border[i])));
		assert_true(floats_of(store, slot)[0] == (float) (2 * i));
		slot = iqdb_store_find(store, iqdb_id_bytes(&border[i], sizeof(border[i])));
		assert_int_not_equal(slot, IQDB_SLOT_NONE);
		assert_int_equal(iqdb_store_id(store, slot).kind, IQDB_ID_BYTES);
		assert_int_equal(iqdb_store_number(store, slot), 0);
		assert_true(floats_of(store, slot)[0] == (float) (2 * i + 1));
	}
	assert_int_equal(iqdb_index_ids(&memory->index, &position, listed, NULL, BORDER + 1), present);
	assert_int_equal(iqdb_cursor_open(&memory->index, query, DIM, NULL, &cursor, NULL), IQDB_OK);
	assert_int_equal(iqdb_cursor_next(cursor, hits, 2 * BORDER + 1, &count, NULL), IQDB_OK);
	assert_int_equal(count, BORDER + present);
	for (size_t i = 0; i < present; i++)
		assert_int_equal(hits[2 * i].id, border[i]);
	iqdb_cursor_close(cursor);
	assert_true(memory_index_sound(&memory->index));
}

static void
numbers_of_every_size_are_ids(void **state)
{
	IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_FLAT, DIM, IQDB_METRIC_L2);
	MemoryIndex      memory;
	uint64_t         blob_end = 0;
	bool             removed;

	(void) state;
	memory_index_create(&memory, &options, &iqdb_locks_none, NULL, MEMORY_MAX);
	for (int round = 0; round < 4; round++)
	{
		/* beside each number the byte string that looks like it */
		for (size_t i = 0; i < BORDER; i++)
		{
			float  number[DIM] = {(float) (2 * i)};
			float  bytes[DIM] = {(float) (2 * i + 1)};
			IqdbId looks_like_it = iqdb_id_bytes(&border[i], sizeof(border[i]));

			assert_int_equal(put_plain(&memory, iqdb_id_u64(border[i]), number, NULL, NULL), IQDB_OK);
			assert_int_equal(put_plain(&memory, looks_like_it, bytes, NULL, NULL), IQDB_OK);
		}
		assert_border(&memory, BORDER);
		for (size_t i = BORDER; i-- > 3;)
		{
			iqdb_index_remove(&memory.index, iqdb_id_u64(border[i]), &removed);
			assert_true(removed);
			assert_border(&memory, i);
		}
		(void) iqdb_store_reclaim(&memory.index.store);
		/* what the rows had is used again */
		if (round == 1)
			blob_end = memory.index.store.header->blob_end;
	}
	assert_int_equal(memory.index.store.header->blob_end, blob_end);
	memory_index_destroy(&memory);
}

/* ---- sequences ---- */

static void
sequences_end_with_an_error(void **state)
{
	static const uint64_t firsts[] = {(UINT64_C(1) << 32) - 5, (UINT64_C(1) << 46) - 3, IQDB_SEQUENCE_MAX - 9};
	IqdbIndexOptions      options = iqdb_index_options_default(IQDB_ENGINE_FLAT, DIM, IQDB_METRIC_L2);
	MemoryIndex           memory;
	IqdbStore            *store = &memory.index.store;
	float                 vector[DIM] = {0};
	IqdbError             err = {0};
	IqdbCursor           *cursor;
	IqdbHit               hits[40];
	size_t                count;
	uint64_t              id = 0;

	(void) state;
	memory_index_create(&memory, &options, &iqdb_locks_none, NULL, MEMORY_MAX);
	for (size_t i = 0; i < 3; i++)
	{
		store->header->next_sequence = firsts[i];
		for (uint64_t j = 0; j < 10; j++, id++)
		{
			uint32_t slot;

			assert_int_equal(put_plain(&memory, iqdb_id_u64(id), vector, &slot, NULL), IQDB_OK);
			assert_int_equal(iqdb_store_sequence(store, slot), firsts[i] + j);
			assert_int_equal(iqdb_store_number(store, slot), id);
			assert_true(iqdb_store_holds(store, slot, firsts[i] + j));
			assert_false(iqdb_store_holds(store, slot, firsts[i] + j + (UINT64_C(1) << 32)));
		}
	}
	for (uint64_t replaced = 0; replaced < 2; replaced++)
	{
		assert_int_equal(put_plain(&memory, iqdb_id_u64(replaced == 0 ? id : 3), vector, NULL, &err), IQDB_ERR_LIMIT);
		assert_non_null(strstr(err.message, "140737488355327"));
	}
	/* all are equally far: sequences decide */
	assert_int_equal(iqdb_cursor_open(&memory.index, vector, DIM, NULL, &cursor, NULL), IQDB_OK);
	assert_int_equal(iqdb_cursor_next(cursor, hits, 40, &count, NULL), IQDB_OK);
	assert_int_equal(count, 30);
	for (uint64_t i = 0; i < 30; i++)
		assert_int_equal(hits[i].id, i);
	iqdb_cursor_close(cursor);
	iqdb_index_remove(&memory.index, iqdb_id_u64(3), NULL);
	assert_true(memory_index_sound(&memory.index));
	memory_index_destroy(&memory);
}

/* ---- memory ---- */

static uint64_t
committed(const MemoryIndex *memory, uint32_t region)
{
	return iqdb_arena_header(&memory->arena)->regions[region].committed;
}

static void
rows_cost_what_is_said(void **state)
{
	(void) state;
	for (int metric = 0; metric < NUMBER_METRICS; metric++)
	{
		IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_FLAT, 16, (IqdbMetric) metric);
		uint64_t         rows = 50000;
		uint64_t         estimate = iqdb_index_estimate_memory(&options, rows);
		uint64_t         per_row = iqdb_store_bytes_per_row(&options);
		MemoryIndex      memory;
		IqdbIndexStats   stats;
		float            vector[16] = {1};

		assert_int_equal(per_row, 16 + 1 + (metric == IQDB_METRIC_COSINE ? 4 : 0) + 2 + 64);
		memory_index_create(&memory, &options, &iqdb_locks_none, NULL, MEMORY_MAX);
		for (uint64_t i = 0; i < rows; i++)
			assert_int_equal(put_plain(&memory, iqdb_id_u64(i), vector, NULL, NULL), IQDB_OK);
		assert_int_equal(committed(&memory, IQDB_REGION_METADATA), 0);
		assert_int_equal(committed(&memory, IQDB_REGION_NORMS) > 0, metric == IQDB_METRIC_COSINE);
		assert_true(iqdb_store_norm2(&memory.index.store, 77) == 1.0f);
		iqdb_index_stats(&memory.index, &stats);
		if (stats.memory < estimate || stats.memory > estimate + estimate / 8)
			fail_msg("metric %d: %llu bytes are in use, %llu were expected", metric, (unsigned long long) stats.memory,
					 (unsigned long long) estimate);
		memory_index_destroy(&memory);
	}
}

static void
metadata_costs_nothing_before_there_is_some(void **state)
{
	IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_FLAT, DIM, IQDB_METRIC_L2);
	MemoryIndex      memory;
	IqdbStore       *store = &memory.index.store;
	uint32_t         slot = 0;
	size_t           length;

	(void) state;
	memory_index_create(&memory, &options, &iqdb_locks_none, NULL, MEMORY_MAX);
	for (uint64_t i = 0; i < 5000; i++)
		slot = put(store, &iqdb_flat_engine, i, NULL);
	assert_int_equal(committed(&memory, IQDB_REGION_METADATA), 0);
	assert_null(iqdb_store_metadata(store, slot, &length));
	slot = put(store, &iqdb_flat_engine, 10, "first");
	assert_memory_equal(iqdb_store_metadata(store, slot, &length), "first", 5);
	assert_in_range(committed(&memory, IQDB_REGION_METADATA), (slot + 1) * sizeof(uint64_t), 80000);
	/* rows behind it have none, and cost none */
	for (uint64_t i = 5000; i < 20000; i++)
		slot = put(store, &iqdb_flat_engine, i, NULL);
	assert_in_range(committed(&memory, IQDB_REGION_METADATA), 1, 80000);
	assert_null(iqdb_store_metadata(store, slot, &length));
	assert_null(iqdb_store_metadata(store, 4, &length));
	/* a slot's next row does not inherit it */
	assert_true(iqdb_store_remove(store, &iqdb_flat_engine, iqdb_id_u64(10)));
	assert_int_equal(iqdb_store_reclaim(store), 2);
	for (uint64_t i = 20000; i < 20002; i++)
	{
		slot = put(store, &iqdb_flat_engine, i, NULL);
		assert_true(slot <= 5000);
		assert_null(iqdb_store_metadata(store, slot, &length));
	}
	assert_true(memory_index_sound(&memory.index));
	memory_index_destroy(&memory);
}

static void
without_room_for_metadata_nothing_changes(void **state)
{
	IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_FLAT, DIM, IQDB_METRIC_L2);
	MemoryIndex      memory;
	IqdbStore       *store = &memory.index.store;
	float            vector[DIM] = {0};
	IqdbRow          row = {.id = iqdb_id_bytes("id", 2),
							.vector = vector,
							.metadata = (const unsigned char *) "\0\0\0\0",
							.metadata_length = 4};
	uint64_t         blob_end;
	uint32_t         slot;

	(void) state;
	memory_index_create(&memory, &options, &iqdb_locks_none, NULL, MEMORY_MAX);
	for (uint64_t i = 0; i < 5000; i++)
		(void) put(store, &iqdb_flat_engine, i, NULL);
	blob_end = store->header->blob_end;
	iqdb_arena_header(&memory.arena)->limit = iqdb_arena_header(&memory.arena)->committed;
	assert_int_equal(iqdb_store_put(store, &iqdb_flat_engine, &row, NULL, &slot, NULL), IQDB_ERR_LIMIT);
	assert_int_equal(store->header->blob_end, blob_end);
	assert_int_equal(store->header->slot_count, 5000);
	assert_int_equal(iqdb_store_find(store, row.id), IQDB_SLOT_NONE);
	assert_true(memory_index_sound(&memory.index));
	iqdb_arena_header(&memory.arena)->limit = 0;
	assert_int_equal(iqdb_store_put(store, &iqdb_flat_engine, &row, NULL, &slot, NULL), IQDB_OK);
	assert_true(memory_index_sound(&memory.index));
	memory_index_destroy(&memory);
}

/* ---- verification finds what is wrong ---- */

static void
count_finding(void *arg, const char *what)
{
	assert_true(strlen(what) > 0);
	(*(size_t *) arg)++;
}

static void
break_store(IqdbStore *store, int how)
{
	switch (how)
	{
		case 0:
			store->norms[5] += 1;
			break;
		case 1:
			store->header->live_count++;
			break;
		case 2:
			store->slots[7].sequence = store->slots[8].sequence; /* small ones: the lower bits are all */
			break;
		case 3:
			store->slots[7].sequence = (uint32_t) store->header->next_sequence;
			break;
		case 4:
			store->vectors[3 * store->row_stride + DIM * sizeof(float)] = 1;
			break;
		case 5:
			((float *) (void *) (store->vectors + 3 * store->row_stride))[1] = NAN;
			break;
		case 6:
			store->slots[9].word = 12345;
			break;
		case 7:
			store->slots[9].next = 9;
			break;
		case 8:
			store->header->free_head = IQDB_SLOT_NONE;
			break;
		case 9:
			store->header->limbo_tail = 3;
			break;
		case 10:
			store->states[2] = 77;
			break;
		case 11:
			store->states[2] = IQDB_ROW_FREE;
			break;
		case 12:
			store->metadata[4] = store->header->blob_end;
			break;
		case 13:
			store->header->blob_end += 16;
			break;
		case 14:
			store->blobs[store->metadata[4] + 4] = 0xff;
			break;
		case 15:
			store->header->known_count++;
			break;
		case 16:
			store->states[6] = IQDB_ROW_LIMBO;
			break;
		case 17:
			store->slots[9].word = store->slots[10].word;
			break;
		case 18:
			/* a number's blob that holds one a slot has room for */
			memset(store->blobs + (store->slots[11].word & (IQDB_SLOT_NUMBER_END - 1)) + 4, 0, 8);
			break;
		case 19:
			/* of no kind */
			store->slots[11].word += 7;
			break;
		default:
			break;
	}
}

static void
verification_finds_each_breach(void **state)
{
	(void) state;
	for (int how = -1; how <= 19; how++)
	{
		/* the metric whose norms are kept */
		IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_FLAT, DIM, IQDB_METRIC_COSINE);
		MemoryIndex      memory;
		IqdbRng          rng;
		float            vector[DIM];
		size_t           findings = 0;
		unsigned char    empty_map[4] = {0};

		iqdb_rng_seed(&rng, SEED);
		memory_index_create(&memory, &options, &iqdb_locks_none, NULL, MEMORY_MAX);
		for (uint64_t i = 0; i < 40; i++)
		{
			IqdbId id = iqdb_id_u64(i == 11 ? UINT64_MAX : i);

			model_random_vector(&rng, vector, DIM);
			vector[1] = 1;
			assert_int_equal(iqdb_index_put(&memory.index, id, vector, DIM, empty_map, 4, NULL, NULL), IQDB_OK);
		}
		for (uint64_t i = 20; i < 24; i++)
			iqdb_index_remove(&memory.index, iqdb_id_u64(i), NULL);
		assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_VACUUM, NULL), IQDB_OK);
		iqdb_index_remove(&memory.index, iqdb_id_u64(30), NULL);
		break_store(&memory.index.store, how);
		assert_int_equal(iqdb_index_check(&memory.index, count_finding, &findings, NULL), IQDB_OK);
		if ((findings > 0) != (how >= 0))
			fail_msg("breach %d: %zu findings", how, findings);
		memory_index_destroy(&memory);
	}
}

/* ---- readers beside a writer, slots reused all the time ---- */

typedef struct Shared
{
	MemoryIndex    memory;
	_Atomic bool   stop;
	_Atomic size_t rounds;
	_Atomic size_t errors;
} Shared;

/* Looks at all LIVE rows again and again. */
static void
scan_rows(Shared *shared, bool (*is_whole)(const IqdbStore *store, uint32_t slot))
{
	const IqdbStore *store = &shared->memory.index.store;

	while (!shared->stop)
	{
		uint32_t count = atomic_load_explicit(&store->header->slot_count, memory_order_acquire);

		iqdb_store_lock(store, IQDB_LOCK_STRUCTURE, false);
		for (uint32_t slot = 0; slot < count; slot++)
			shared->errors += iqdb_store_state(store, slot) == IQDB_ROW_LIVE && !is_whole(store, slot);
		iqdb_store_unlock(store, IQDB_LOCK_STRUCTURE, false);
		shared->rounds++;
	}
}

/* Every row says the same number in id, vector and metadata. */
static bool
says_one_number(const IqdbStore *store, uint32_t slot)
{
	size_t               length;
	uint32_t             number;
	const unsigned char *metadata = iqdb_store_metadata(store, slot, &length);

	memcpy(&number, metadata, sizeof(number));
	return length == sizeof(number) && floats_of(store, slot)[0] == (float) number &&
		   floats_of(store, slot)[DIM - 1] == (float) number &&
		   iqdb_store_id(store, slot).number == number % 100;
}

static void *
scan_main(void *arg)
{
	scan_rows(arg, says_one_number);
	return NULL;
}

static void *
find_main(void *arg)
{
	Shared          *shared = arg;
	const IqdbIndex *index = &shared->memory.index;
	uint64_t         n = 0;

	while (!shared->stop)
	{
		float          vector[DIM];
		uint32_t       number;
		size_t         length;
		uint64_t       position = 0;
		uint64_t       ids[64];
		IqdbIndexStats stats;

		if (iqdb_index_get(index, iqdb_id_u64(n++ % 100), vector, (unsigned char *) &number, sizeof(number), &length))
			shared->errors += vector[0] != (float) number || vector[DIM - 1] != (float) number;
		if (n % 50 == 0)
		{
			while (iqdb_index_ids(index, &position, ids, NULL, 64) > 0)
				shared->errors += ids[0] >= 100;
			iqdb_index_stats(index, &stats);
			shared->errors += stats.live > 100;
		}
	}
	return NULL;
}

static void
readers_never_see_half_a_row(void **state)
{
	IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_FLAT, DIM, IQDB_METRIC_L2);
	Shared          *shared = calloc(1, sizeof(*shared));
	pthread_t        threads[3];

	(void) state;
	memory_index_create(&shared->memory, &options, &iqdb_locks_pthread, NULL, MEMORY_MAX);
	assert_int_equal(pthread_create(&threads[0], NULL, scan_main, shared), 0);
	assert_int_equal(pthread_create(&threads[1], NULL, scan_main, shared), 0);
	assert_int_equal(pthread_create(&threads[2], NULL, find_main, shared), 0);
	for (uint32_t i = 0; i < 8000 || (shared->rounds < 50 && i < 8000000); i++)
	{
		float   vector[DIM];
		IqdbRow row = {.id = iqdb_id_u64(i % 100),
					   .vector = vector,
					   .metadata = (const unsigned char *) &i,
					   .metadata_length = sizeof(i)};
		uint32_t slot;

		/* floats count exactly up to 2^24 */
		for (int j = 0; j < DIM; j++)
			vector[j] = (float) i;
		iqdb_store_tidy(&shared->memory.index.store);
		assert_int_equal(iqdb_store_put(&shared->memory.index.store, &iqdb_flat_engine, &row, NULL, &slot, NULL), IQDB_OK);
		if (i % 7 == 0)
			(void) iqdb_store_remove(&shared->memory.index.store, &iqdb_flat_engine, iqdb_id_u64(i * 3 % 100));
		if (i % 64 == 0)
			(void) iqdb_store_reclaim(&shared->memory.index.store);
	}
	shared->stop = true;
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(shared->errors, 0);
	assert_true(shared->rounds >= 50);
	assert_true(shared->memory.index.store.header->slot_count < 1000);
	memory_index_destroy(&shared->memory);
	free(shared);
}

/* Rows have metadata from some moment on, each its own number in it. */
static bool
has_metadata_if_late(const IqdbStore *store, uint32_t slot)
{
	size_t               length;
	uint64_t             number = iqdb_store_number(store, slot);
	bool                 has = floats_of(store, slot)[0] > 0;
	const unsigned char *metadata = iqdb_store_metadata(store, slot, &length);

	return has == (metadata != NULL) && (!has || memcmp(metadata, &number, sizeof(number)) == 0);
}

static void *
late_main(void *arg)
{
	scan_rows(arg, has_metadata_if_late);
	return NULL;
}

static void
readers_see_metadata_that_comes_late(void **state)
{
	IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_FLAT, DIM, IQDB_METRIC_L2);
	Shared          *shared = calloc(1, sizeof(*shared));
	pthread_t        threads[2];

	(void) state;
	memory_index_create(&shared->memory, &options, &iqdb_locks_pthread, NULL, MEMORY_MAX);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, late_main, shared), 0);
	for (uint64_t i = 0; i < 20000 || (shared->rounds < 20 && i < 20000000); i++)
	{
		/* every third one, not before the thousandth: the region grows many times */
		bool    has = i >= 1000 && i % 3 == 0;
		float   vector[DIM] = {has ? 1 : 0};
		IqdbRow row = {.id = iqdb_id_u64(i % 20000),
					   .vector = vector,
					   .metadata = has ? (const unsigned char *) &row.id.number : NULL,
					   .metadata_length = has ? sizeof(row.id.number) : 0};
		uint32_t slot;

		iqdb_store_tidy(&shared->memory.index.store);
		assert_int_equal(iqdb_store_put(&shared->memory.index.store, &iqdb_flat_engine, &row, NULL, &slot, NULL), IQDB_OK);
	}
	shared->stop = true;
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(shared->errors, 0);
	memory_index_destroy(&shared->memory);
	free(shared);
}

/* Rows are kept as they are given, padded with zeros; and verification looks at what a vector of the element may not be. */
static void
every_element_is_kept_and_verified(void **state)
{
	(void) state;
	FOR_ELEMENTS(element, metric)
	{
		IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_FLAT, 11, (IqdbMetric) metric);
		size_t           bytes = iqdb_element_bytes(iqdb_element(element), 11);
		MemoryIndex      memory;
		IqdbRng          rng;

		iqdb_index_options_of_element(&options, (IqdbElementKind) element);
		iqdb_rng_seed(&rng, 1 + 16 * element + metric);
		memory_index_create(&memory, &options, &iqdb_locks_none, NULL, MEMORY_MAX);
		for (uint32_t i = 0; i < 100; i++)
		{
			_Alignas(4) unsigned char vector[ELEMENT_BYTES(11)];
			uint32_t                  slot;
			IqdbStore                *store = &memory.index.store;

			element_draw(&rng, element, 11, 10, vector);
			assert_int_equal(iqdb_index_put(&memory.index, iqdb_id_u64(i), vector, 11, NULL, 0, &slot, NULL), IQDB_OK);
			assert_memory_equal(iqdb_store_vector(store, slot), vector, bytes);
			for (size_t at = bytes; at < store->row_stride; at++)
				assert_int_equal(store->vectors[slot * store->row_stride + at], 0);
		}
		for (int how = 0; how < 2; how++)
		{
			/* the last component, with bits of the last byte that are no component; or padding */
			unsigned char *at = memory.index.store.vectors + 40 * memory.index.store.row_stride + bytes - 2 + 2 * how;
			unsigned char  kept[2];
			size_t         findings = 0;

			memcpy(kept, at, 2);
			memset(at, 0xff, 2);
			assert_int_equal(iqdb_index_check(&memory.index, count_finding, &findings, NULL), IQDB_OK);
			assert_true(findings > 0);
			memcpy(at, kept, 2);
			assert_true(memory_index_sound(&memory.index));
		}
		memory_index_destroy(&memory);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_pass_and_every_bound_is_checked),
		cmocka_unit_test(rows_are_aligned_where_it_costs_little),
		cmocka_unit_test(locks_are_taken_in_order_and_let_go),
		cmocka_unit_test(a_row_that_is_staged_is_seen_when_it_is_published),
		cmocka_unit_test(a_slot_is_reused_only_when_the_engine_let_go),
		cmocka_unit_test(puts_do_not_wait_for_searches),
		cmocka_unit_test(the_id_map_grows_and_finds_every_id),
		cmocka_unit_test(metadata_of_any_length_is_kept),
		cmocka_unit_test(numbers_of_every_size_are_ids),
		cmocka_unit_test(sequences_end_with_an_error),
		cmocka_unit_test(rows_cost_what_is_said),
		cmocka_unit_test(metadata_costs_nothing_before_there_is_some),
		cmocka_unit_test(without_room_for_metadata_nothing_changes),
		cmocka_unit_test(verification_finds_each_breach),
		cmocka_unit_test(every_element_is_kept_and_verified),
		cmocka_unit_test(readers_never_see_half_a_row),
		cmocka_unit_test(readers_see_metadata_that_comes_late),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
