/*
 * test_hnsw_sketches.c - sketches beside the codes of a graph: which slots have one, that it belongs to the row and to the
 * centre of the moment, whatever happened before, and that few rows are left by it, and hardly one is lost.
 *
 * Rows lie around a point far from zero, so that the centre of codes moves while they are linked. Some are equal, some wait for
 * links, some are removed, and slots are used again.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/hnsw/hnsw_score_private.h"
#include "core/hnsw/hnsw_sketch_private.h"
#include "unit/hnsw_samples.h"

#define SEED UINT64_C(20261130)
#define DIM 64
#define ROWS 3000
#define WAITING 100
#define QUERIES 50
#define K 10

/* One row of twenty equals the one before. */
static void
make_rows(Samples *samples, Samples *queries)
{
	samples_make_with_queries(samples, queries, ROWS, QUERIES, DIM, 30, SEED);
	for (size_t i = 0; i < (ROWS + QUERIES) * (size_t) DIM; i++)
	{
		if (i < (size_t) ROWS * DIM)
			samples->rows[i] += 4.0f;
		else
			queries->rows[i - (size_t) ROWS * DIM] += 4.0f;
	}
	for (size_t row = 1; row < ROWS; row += 20)
		memcpy(samples->rows + row * DIM, samples->rows + (row - 1) * DIM, DIM * sizeof(float));
}

/* Nodes have the sketch that would be made of them now, other rows none. Returns how many have. */
static size_t
assert_sketches(IqdbIndex *index)
{
	IqdbiHnsw  graph;
	IqdbSketch fresh;
	size_t     made = 0;
	uint32_t   slots = atomic_load(&index->store.header->slot_count);

	iqdbi_hnsw_view(&graph, &index->store);
	assert_int_equal(atomic_load(&graph.header->recode), 0);
	for (uint32_t slot = 0; slot < slots; slot++)
	{
		IqdbSketch *sketch = &graph.sketches[slot];

		if (iqdb_store_state(graph.store, slot) != IQDB_ROW_LIVE)
			continue;
		if (iqdbi_info_status(iqdbi_hnsw_info(&graph, slot)) != IQDBI_INFO_LINKED)
		{
			assert_true(isnan(iqdb_sketch_own(sketch)));
			continue;
		}
		memcpy(&fresh, sketch, sizeof(fresh));
		iqdbi_sketch_make(&graph, slot, NULL);
		assert_memory_equal(&fresh, sketch, sizeof(fresh));
		assert_false(isnan(iqdb_sketch_own(sketch)));
		made++;
	}
	return made;
}

static int
by_key(const void *a, const void *b)
{
	float x = *(const float *) a;
	float y = *(const float *) b;

	return x < y ? -1 : x > y;
}

/* Of all nodes as they look from the queries: how many are left, and how many of the K nearest are not among them. */
static void
count_left(IqdbIndex *index, Samples *queries, size_t *left_out, size_t *lost_out)
{
	IqdbiHnsw        graph;
	IqdbiTarget      target;
	IqdbiSketchQuery sketch;
	uint32_t         slots[IQDB_SCORER_ROWS];
	uint32_t         slot_count = atomic_load(&index->store.header->slot_count);
	float           *keys = malloc(slot_count * sizeof(float));
	float           *sorted = malloc(slot_count * sizeof(float));

	assert_true(keys != NULL && sorted != NULL);
	*left_out = *lost_out = 0;
	iqdbi_hnsw_view(&graph, &index->store);
	assert_int_equal(iqdbi_target_init(&graph, &target), IQDB_OK);
	for (size_t q = 0; q < QUERIES; q++)
	{
		const float *query = queries->rows + q * DIM;
		float        norm2 = index->store.row_kernels->norm2(query, DIM);
		size_t       near = 0;
		size_t       count = 0;

		iqdbi_target_query(&graph, &target, query, norm2);
		iqdbi_sketch_query(&graph, &sketch, query, norm2);
		assert_true(sketch.usable);
		for (uint32_t slot = 0; slot < slot_count; slot++)
		{
			keys[slot] = INFINITY;
			if (iqdbi_info_status(iqdbi_hnsw_info(&graph, slot)) == IQDBI_INFO_LINKED)
				iqdbi_hnsw_score(&graph, &target, &slot, 1, &keys[slot]);
		}
		memcpy(sorted, keys, slot_count * sizeof(float));
		qsort(sorted, slot_count, sizeof(float), by_key);
		for (uint32_t first = 0; first < slot_count; first += count)
		{
			count = slot_count - first < IQDB_SCORER_ROWS ? slot_count - first : IQDB_SCORER_ROWS;
			for (uint32_t i = 0; i < count; i++)
				slots[i] = first + i;
			for (size_t i = 0, left = iqdbi_sketch_keep(&graph, &sketch, sorted[K - 1], slots, count); i < left; i++)
			{
				*left_out += keys[slots[i]] < INFINITY;
				near += keys[slots[i]] <= sorted[K - 1];
			}
		}
		*lost_out += near < K ? K - near : 0;
	}
	iqdbi_target_free(&graph, &target);
	free(keys);
	free(sorted);
}

static void
assert_left(IqdbIndex *index, Samples *queries, size_t nodes)
{
	size_t left;
	size_t lost;

	count_left(index, queries, &left, &lost);
	printf("# of %zu nodes %zu are left for a query, %zu of %d nearest are lost (seed %llu)\n", nodes, left / QUERIES, lost,
		   QUERIES * K, (unsigned long long) SEED);
	assert_true(left / QUERIES < nodes / 2);
	assert_true(lost <= QUERIES * K / 50);
}

static void
save_and_load(MemoryIndex *from, MemoryIndex *to)
{
	MemorySnapshot    snapshot;
	IqdbSectionSink   sink;
	IqdbSectionSource source;

	memory_snapshot_init(&snapshot);
	sink = memory_snapshot_sink(&snapshot);
	assert_int_equal(iqdb_index_save(&from->index, &sink, NULL), IQDB_OK);
	memory_index_create(to, &from->index.store.header->options, &iqdb_locks_none, NULL, SAMPLES_MEMORY_MAX);
	source = memory_snapshot_source(&snapshot);
	assert_int_equal(iqdb_index_load(&to->index, &source, NULL), IQDB_OK);
	memory_snapshot_free(&snapshot);
}

static void
sketches_of(IqdbMetric metric, IqdbQuantization quantization)
{
	MemoryIndex memory;
	MemoryIndex loaded;
	Samples     samples;
	Samples     queries;
	size_t      nodes;

	make_rows(&samples, &queries);
	samples_index(&memory, &samples, metric, quantization, 16, 60);
	for (size_t i = 0; i < ROWS - WAITING; i++)
		assert_int_equal(samples_put(&memory, &samples, i, true), IQDB_OK);
	nodes = assert_sketches(&memory.index);
	assert_true(nodes > ROWS * 3 / 4 && nodes < ROWS - WAITING);
	assert_left(&memory.index, &queries, nodes);
	/* nodes whose twins take their place, and slots that other rows get */
	for (size_t i = 0; i < ROWS / 2; i += 5)
		samples_remove(&memory, &samples, i);
	assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_VACUUM, NULL), IQDB_OK);
	assert_true(assert_sketches(&memory.index) < nodes);
	for (size_t i = ROWS - WAITING; i < ROWS; i++)
		assert_int_equal(samples_put(&memory, &samples, i, i % 2 == 0), IQDB_OK);
	(void) assert_sketches(&memory.index);
	save_and_load(&memory, &loaded);
	nodes = assert_sketches(&loaded.index);
	assert_left(&loaded.index, &queries, nodes);
	memory_index_destroy(&loaded);
	memory_index_destroy(&memory);
	samples_free(&samples);
	samples_free(&queries);
}

static void
test_bytes(void **state)
{
	sketches_of(IQDB_METRIC_L2, IQDB_QUANTIZATION_SQ8);
	sketches_of(IQDB_METRIC_DOT, IQDB_QUANTIZATION_SQ8);
	sketches_of(IQDB_METRIC_COSINE, IQDB_QUANTIZATION_SQ8);
}

/*
 * Few rows near the query and many far from it pass the filter. So few codes are read that there is room for more to be ranked:
 * that must not be taken for the end of the stream, as there are rows that sketches have turned away.
 */
static void
test_stream_goes_on(void **state)
{
	enum
	{
		MATCHES = 300,
		NEAR = 24,
		EXPECTED = 20
	};
	MemoryIndex      memory;
	Samples          samples;
	IqdbIdSet        ids;
	IqdbRowFilter    filter = {.ids = &ids};
	IqdbSearchParams params = {.expected = EXPECTED, .filter = &filter};
	IqdbCursor      *cursor;
	IqdbHit          hits[MATCHES];
	bool             met[MATCHES] = {false};
	size_t           total = 0;
	size_t           count = 1;

	samples_make(&samples, ROWS, DIM, 30, SEED);
	for (size_t i = DIM; i < (size_t) NEAR * DIM; i++)
		samples.rows[i] = samples.rows[i % DIM] + 0.01f * samples.rows[i];
	/* none of the others is of their cluster */
	for (size_t i = NEAR; i < ROWS; i++)
		samples.rows[i * DIM] -= 20.0f;
	samples_index(&memory, &samples, IQDB_METRIC_L2, IQDB_QUANTIZATION_SQ8, 16, 60);
	for (size_t i = 0; i < ROWS; i++)
		assert_int_equal(samples_put(&memory, &samples, i, true), IQDB_OK);
	iqdb_id_set_init(&ids, &iqdb_allocator_libc);
	for (size_t i = 0; i < MATCHES; i++)
		assert_int_equal(iqdb_id_set_add(&ids, i, NULL), IQDB_OK);
	assert_int_equal(iqdb_cursor_open(&memory.index, samples.rows, DIM, &params, &cursor, NULL), IQDB_OK);
	while (count > 0 && total < MATCHES)
	{
		assert_int_equal(iqdb_cursor_next(cursor, hits + total, MATCHES - total, &count, NULL), IQDB_OK);
		total += count;
		/* the first rows by codes, of which hardly more were read than are near; only those were ranked */
		if (total == count)
		{
			assert_int_equal(cursor->stats.way, IQDB_SEARCH_EXACT);
			assert_in_range(cursor->stats.reranked, NEAR, 2 * EXPECTED);
		}
	}
	assert_int_equal(total, MATCHES);
	for (size_t i = 0; i < MATCHES; i++)
	{
		uint64_t number = hits[i].id;

		assert_true(number < MATCHES && !met[number]);
		met[number] = true;
		assert_true(i >= NEAR || number < NEAR);
	}
	iqdb_cursor_close(cursor);
	iqdb_id_set_free(&ids);
	memory_index_destroy(&memory);
	samples_free(&samples);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_stream_goes_on),
	};

	return cmocka_run_group_tests_name("hnsw_sketches", tests, NULL, NULL);
}
