/*
 * hnsw_samples.h - what the tests of the hnsw engine share: clustered vectors, an index of them, recall by comparison.
 *
 * Rows are made as floats, and become vectors of samples_element when the first index of them is made: a test that
 * changes rows does so before. A test that wants a metric or codes that the element has not gets what comes nearest to
 * it (samples_metric, samples_codes), so that most tests run over elements as they are.
 */
#ifndef IQDB_TEST_UNIT_HNSW_SAMPLES_H
#define IQDB_TEST_UNIT_HNSW_SAMPLES_H

#include <stdlib.h>
#include <string.h>

#include "core/base/rng.h"
#include "core/base/topk.h"
#include "core/engine/scorer.h"
#include "core/vec/half.h"
#include "harness/memory_index.h"

#define SAMPLES_K 10
#define SAMPLES_MEMORY_MAX (UINT64_C(512) * 1024 * 1024)

/* What vectors are made of from now on. */
static IqdbElementKind samples_element = IQDB_ELEMENT_F32;

/* Components of a vector are so many times as many where one says less. */
#define SAMPLES_BITS 16

/* Rows of a set, with a flag for those that are in the index. Row i has the id i. */
typedef struct Samples
{
	size_t         dim;
	size_t         count;
	float         *rows;
	size_t         bytes;   /* of a vector */
	unsigned char *vectors; /* the rows as the element has them; NULL until samples_settle() */
	bool          *present;
} Samples;

static inline bool
samples_are_bits(void)
{
	return samples_element == IQDB_ELEMENT_BIT;
}

/* The dimension that has about as much to say as so many floats. */
static inline size_t
samples_dimension(size_t floats)
{
	return samples_are_bits() ? SAMPLES_BITS * floats : floats;
}

static inline bool
samples_has_metric(uint32_t metric)
{
	return (iqdb_metric_traits(metric)->elements & 1u << samples_element) != 0;
}

static inline IqdbMetric
samples_metric(IqdbMetric wanted)
{
	if (samples_has_metric(wanted))
		return wanted;
	return wanted == IQDB_METRIC_COSINE ? IQDB_METRIC_JACCARD : IQDB_METRIC_HAMMING;
}

static inline IqdbQuantization
samples_codes(IqdbMetric metric, IqdbQuantization wanted)
{
	return samples_are_bits() || !iqdb_metric_traits(metric)->by_products ? IQDB_QUANTIZATION_NONE : wanted;
}

/* The largest component there is. */
static inline float
samples_largest(void)
{
	return samples_element == IQDB_ELEMENT_F16 ? IQDB_HALF_MAX : 3e38f;
}

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
	float  *centres;

	dim = samples_dimension(dim);
	centres = calloc(clusters * dim + 1, sizeof(float));
	samples->dim = dim;
	samples->count = count;
	samples->bytes = iqdb_element_bytes(iqdb_element(samples_element), dim);
	samples->vectors = NULL;
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
	*queries = *samples;
	queries->count = query_count;
	queries->rows = malloc(query_count * samples->dim * sizeof(float));
	queries->present = NULL;
	if (queries->rows == NULL)
		abort();
	memcpy(queries->rows, samples->rows + count * samples->dim, query_count * samples->dim * sizeof(float));
}

/* Makes vectors of the rows, which do not change any more. A half is the nearest one, a bit says what is above zero. */
static inline void
samples_settle(Samples *samples)
{
	if (samples->vectors != NULL)
		return;
	samples->vectors = calloc(samples->count, samples->bytes);
	if (samples->vectors == NULL)
		abort();
	for (size_t i = 0; i < samples->count; i++)
	{
		const float   *row = samples->rows + i * samples->dim;
		unsigned char *vector = samples->vectors + i * samples->bytes;

		if (samples_element == IQDB_ELEMENT_F32)
			memcpy(vector, row, samples->bytes);
		else if (samples_element == IQDB_ELEMENT_F16)
			(void) iqdb_halves_narrow(row, samples->dim, (IqdbHalf *) (void *) vector);
		for (size_t d = 0; samples_are_bits() && d < samples->dim; d++)
			vector[d / 8] |= (unsigned char) ((row[d] > 0.0f) << (7 - d % 8));
	}
}

/* Makes one row equal to another. */
static inline void
samples_copy(Samples *samples, size_t to, size_t from)
{
	memmove(samples->rows + to * samples->dim, samples->rows + from * samples->dim, samples->dim * sizeof(float));
}

static inline void
samples_free(Samples *samples)
{
	free(samples->rows);
	free(samples->vectors);
	free(samples->present);
}

/* The row as a vector of the element. */
static inline const void *
samples_row(const Samples *samples, size_t row)
{
	if (samples->vectors == NULL)
		abort();
	return samples->vectors + row * samples->bytes;
}

static inline bool
samples_equal(const Samples *samples, size_t a, size_t b)
{
	return memcmp(samples_row(samples, a), samples_row(samples, b), samples->bytes) == 0;
}

static inline const char *
samples_quantization(IqdbQuantization quantization)
{
	static const char *const names[] = {"none", "sq8", "pq", "bq"};

	return names[quantization];
}

/* Options of an index of the rows, which settle. */
static inline IqdbIndexOptions
samples_options(Samples *samples, IqdbMetric metric, IqdbQuantization quantization)
{
	IqdbIndexOptions options;

	samples_settle(samples);
	options = iqdb_index_options_default(IQDB_ENGINE_HNSW, (uint32_t) samples->dim, samples_metric(metric));
	iqdb_index_options_of_element(&options, samples_element);
	options.quantization = samples_codes(samples_metric(metric), quantization);
	return options;
}

static inline void
samples_index(MemoryIndex *memory, Samples *samples, IqdbMetric metric, IqdbQuantization quantization, uint32_t m,
			  uint32_t ef_construction)
{
	IqdbIndexOptions options = samples_options(samples, metric, quantization);

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
samples_search(MemoryIndex *memory, const void *query, uint32_t ef, IqdbHit *hits, size_t k)
{
	IqdbSearchParams params = {.expected = k, .ef = ef};
	IqdbCursor      *cursor;
	size_t           found = 0;
	size_t           count = 1;

	if (iqdb_cursor_open(&memory->index, query, memory->index.store.header->options.dimension, &params, &cursor, NULL) !=
		IQDB_OK)
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
samples_key(const IqdbIndex *index, const void *query, const void *row)
{
	const IqdbIndexOptions *options = &index->store.header->options;
	double distance = iqdb_element_distance(index->store.kernels, index->store.element, (IqdbMetric) options->metric,
											query, row, options->dimension);

	return iqdb_key_narrow(index->store.metric->squared ? distance * distance : distance);
}

/* The key that a hit has to have to the last bit. */
static inline float
samples_hit_key(const IqdbIndex *index, const void *query, const void *row)
{
	const IqdbStore *store = &index->store;
	size_t           dim = store->header->options.dimension;
	void            *memory = malloc(iqdb_element_prepared_bytes(store->element, dim));
	float            norm2 = store->row_kernels->norm2(row, dim);
	float            key;

	if (memory == NULL)
		abort();
	key = store->sum->pair(iqdb_element_prepare(store->kernels, store->element, query, dim, memory), row, dim);
	iqdb_metric_finish((IqdbMetric) store->header->options.metric, store->row_kernels->norm2(query, dim), &norm2, 1,
					   &key);
	free(memory);
	return key;
}

/* Share of the ten nearest present rows that a search finds, over all queries; equal keys count as found. */
static inline double
samples_recall(MemoryIndex *memory, const Samples *samples, Samples *queries, uint32_t ef)
{
	const IqdbIndex *index = &memory->index;
	IqdbTopK         top;
	size_t           found = 0;
	size_t           wanted = 0;

	samples_settle(queries);
	iqdb_topk_init(&top, &iqdb_allocator_libc, SAMPLES_K);
	for (size_t q = 0; q < queries->count; q++)
	{
		IqdbHit hits[SAMPLES_K];
		size_t  count = samples_search(memory, samples_row(queries, q), ef, hits, SAMPLES_K);

		iqdb_topk_clear(&top);
		for (size_t i = 0; i < samples->count; i++)
		{
			IqdbCandidate candidate = {.sequence = i, .slot = (uint32_t) i};

			if (!samples->present[i])
				continue;
			candidate.key = samples_key(index, samples_row(queries, q), samples_row(samples, i));
			if (iqdb_topk_offer(&top, candidate) != IQDB_OK)
				abort();
		}
		wanted += top.count;
		for (size_t i = 0; i < count && top.count > 0; i++)
			found += samples_key(index, samples_row(queries, q), samples_row(samples, hits[i].id)) <= top.items[0].key;
	}
	iqdb_topk_free(&top);
	return wanted == 0 ? 1.0 : (double) found / (double) wanted;
}

#endif
