/*
 * hnsw_samples.h - what the tests of the hnsw engine share: clustered vectors, an index of them, recall by comparison.
 */
#ifndef IQDB_TEST_UNIT_HNSW_SAMPLES_H
#define IQDB_TEST_UNIT_HNSW_SAMPLES_H

#include <stdlib.h>
#include <string.h>

#include "core/base/rng.h"
#include "core/base/topk.h"
#include "harness/memory_index.h"

#define SAMPLES_K 10
#define SAMPLES_MEMORY_MAX (UINT64_C(512) * 1024 * 1024)

/* Rows of a set, with a flag for those that are in the index. Row i has the id i. */
typedef struct Samples
{
	size_t dim;
	size_t count;
	float *rows;
	bool  *present;
} Samples;

/* Sum of twelve uniform numbers: near enough to a normal one. */
static inline float
samples_gauss(IqdbRng *rng)
{
	double sum = -6.0;

	for (int i = 0; i < 12; i++)
		sum += iqdb_rng_unit(rng);
	return (float) sum;
}

/* clusters 0: uniform in [-1, 1]; else points around so many centres, shifted away from zero. */
static inline void
samples_make(Samples *samples, size_t count, size_t dim, size_t clusters, uint64_t seed)
{
	IqdbRng rng;
	float  *centres = calloc(clusters * dim + 1, sizeof(float));

	samples->dim = dim;
	samples->count = count;
	samples->rows = malloc(count * dim * sizeof(float));
	samples->present = calloc(count, sizeof(bool));
	if (centres == NULL || samples->rows == NULL || samples->present == NULL)
		abort();
	iqdb_rng_seed(&rng, seed);
	for (size_t i = 0; i < clusters * dim; i++)
		centres[i] = samples_gauss(&rng) + 0.5f;
	for (size_t i = 0; i < count; i++)
	{
		const float *centre = centres + (clusters > 0 ? iqdb_rng_below(&rng, clusters) * dim : 0);

		for (size_t d = 0; d < dim; d++)
			samples->rows[i * dim + d] = clusters > 0 ? centre[d] + 0.4f * samples_gauss(&rng)
													  : (float) (2.0 * iqdb_rng_unit(&rng) - 1.0);
	}
	free(centres);
}

/* Rows and queries from one distribution: the last query_count rows that are made become the queries. */
static inline void
samples_make_with_queries(Samples *samples, Samples *queries, size_t count, size_t query_count, size_t dim,
						  size_t clusters, uint64_t seed)
{
	samples_make(samples, count + query_count, dim, clusters, seed);
	samples->count = count;
	queries->dim = dim;
	queries->count = query_count;
	queries->rows = malloc(query_count * dim * sizeof(float));
	queries->present = NULL;
	if (queries->rows == NULL)
		abort();
	memcpy(queries->rows, samples->rows + count * dim, query_count * dim * sizeof(float));
}

static inline void
samples_free(Samples *samples)
{
	free(samples->rows);
	free(samples->present);
}

static inline const float *
samples_row(const Samples *samples, size_t row)
{
	return samples->rows + row * samples->dim;
}

static inline const char *
samples_quantization(IqdbQuantization quantization)
{
	static const char *const names[] = {"none", "sq8", "pq", "bq"};

	return names[quantization];
}

static inline void
samples_index(MemoryIndex *memory, size_t dim, IqdbMetric metric, IqdbQuantization quantization, uint32_t m,
			  uint32_t ef_construction)
{
	IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_HNSW, (uint32_t) dim, metric);

	options.quantization = quantization;
	options.m = m;
	options.ef_construction = ef_construction;
	memory_index_create(memory, &options, &iqdb_locks_pthread, NULL, SAMPLES_MEMORY_MAX);
}

/* Puts the row and, unless told otherwise, links it. */
static inline IqdbStatus
samples_put(MemoryIndex *memory, Samples *samples, size_t row, bool link)
{
	uint32_t slot;

	IQDB_TRY(iqdb_index_put(&memory->index, iqdb_id_u64(row), samples_row(samples, row), samples->dim, NULL, 0, &slot,
							NULL));
	samples->present[row] = true;
	return link ? iqdb_index_link(&memory->index, slot, NULL) : IQDB_OK;
}

static inline void
samples_remove(MemoryIndex *memory, Samples *samples, size_t row)
{
	iqdb_index_remove(&memory->index, iqdb_id_u64(row), NULL);
	samples->present[row] = false;
}

/* Up to k hits; returns how many. */
static inline size_t
samples_search(MemoryIndex *memory, const float *query, size_t dim, uint32_t ef, IqdbHit *hits, size_t k)
{
	IqdbSearchParams params = {.expected = k, .ef = ef};
	IqdbCursor      *cursor;
	size_t           found = 0;
	size_t           count = 1;

	if (iqdb_cursor_open(&memory->index, query, dim, &params, &cursor, NULL) != IQDB_OK)
		abort();
	while (found < k && count > 0)
	{
		if (iqdb_cursor_next(cursor, hits + found, k - found, &count, NULL) != IQDB_OK)
			abort();
		found += count;
	}
	iqdb_cursor_close(cursor);
	return found;
}

/* The key of a row as double arithmetic has it: what results are held against. */
static inline float
samples_key(const IqdbIndex *index, const float *query, const float *row, size_t dim)
{
	IqdbMetric metric = (IqdbMetric) index->store.header->options.metric;
	double     distance = iqdb_metric_pair_distance(index->store.kernels, metric, query, row, dim);

	return iqdb_key_narrow(metric == IQDB_METRIC_L2 ? distance * distance : distance);
}

/* Share of the ten nearest present rows that a search finds, over all queries; equal keys count as found. */
static inline double
samples_recall(MemoryIndex *memory, const Samples *samples, const Samples *queries, uint32_t ef)
{
	const IqdbIndex *index = &memory->index;
	IqdbTopK         top;
	size_t           found = 0;
	size_t           wanted = 0;

	iqdb_topk_init(&top, &iqdb_allocator_libc, SAMPLES_K);
	for (size_t q = 0; q < queries->count; q++)
	{
		IqdbHit hits[SAMPLES_K];
		size_t  count = samples_search(memory, samples_row(queries, q), samples->dim, ef, hits, SAMPLES_K);

		iqdb_topk_clear(&top);
		for (size_t i = 0; i < samples->count; i++)
		{
			IqdbCandidate candidate = {.sequence = i, .slot = (uint32_t) i};

			if (!samples->present[i])
				continue;
			candidate.key = samples_key(index, samples_row(queries, q), samples_row(samples, i), samples->dim);
			if (iqdb_topk_offer(&top, candidate) != IQDB_OK)
				abort();
		}
		wanted += top.count;
		for (size_t i = 0; i < count && top.count > 0; i++)
			found += samples_key(index, samples_row(queries, q), samples_row(samples, hits[i].id), samples->dim) <=
					 top.items[0].key;
	}
	iqdb_topk_free(&top);
	return wanted == 0 ? 1.0 : (double) found / (double) wanted;
}

#endif
