/*
 * ivf_samples.h - indexes over made-up vectors, and what is true about them: shared by the tests of the ivf engine.
 */
#ifndef IQDB_TEST_UNIT_IVF_SAMPLES_H
#define IQDB_TEST_UNIT_IVF_SAMPLES_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/rng.h"
#include "core/ivf/ivf.h"
#include "harness/elements.h"
#include "harness/memory_index.h"
#include "harness/model.h"

#define SAMPLES_MEMORY (UINT64_C(512) * 1024 * 1024)

/* Rows in clusters; the rows that follow them serve as queries. */
typedef struct Samples
{
	size_t dim;
	size_t count;
	size_t queries;
	float *rows; /* count + queries */
} Samples;

static inline double
samples_gauss(IqdbRng *rng)
{
	return sqrt(-2.0 * log(iqdb_rng_unit(rng))) * cos(6.283185307179586 * iqdb_rng_unit(rng));
}

static inline float *
samples_row(const Samples *samples, size_t row)
{
	return samples->rows + row * samples->dim;
}

static inline float *
samples_query(const Samples *samples, size_t query)
{
	return samples_row(samples, samples->count + query);
}

/* `clusters` centres of components about N(0, 1), rows around them with the given spread. */
static inline void
samples_make(Samples *samples, size_t count, size_t queries, size_t dim, size_t clusters, double spread, uint64_t seed)
{
	double *centres = malloc(clusters * dim * sizeof(*centres));
	IqdbRng rng;

	*samples = (Samples){.dim = dim, .count = count, .queries = queries};
	samples->rows = malloc((count + queries) * dim * sizeof(float));
	if (centres == NULL || samples->rows == NULL)
		abort();
	iqdb_rng_seed(&rng, seed);
	for (size_t i = 0; i < clusters * dim; i++)
		centres[i] = samples_gauss(&rng);
	for (size_t row = 0; row < count + queries; row++)
	{
		const double *centre = centres + iqdb_rng_below(&rng, clusters) * dim;

		for (size_t d = 0; d < dim; d++)
			samples_row(samples, row)[d] = (float) (centre[d] + spread * samples_gauss(&rng));
	}
	free(centres);
}

static inline void
samples_free(Samples *samples)
{
	free(samples->rows);
	samples->rows = NULL;
}

/* A row or a query as the index has its vectors. The caller frees it. */
static inline void *
samples_vector(const IqdbIndex *index, const float *values, size_t dim)
{
	void *vector = malloc(ELEMENT_BYTES(dim));

	if (vector == NULL)
		abort();
	element_of_floats((uint32_t) index->store.element->kind, values, dim, vector);
	return vector;
}

/* Rows from first on get their number as id. link: one by one. */
static inline void
samples_put(const Samples *samples, IqdbIndex *index, size_t first, size_t end, bool link)
{
	for (size_t row = first; row < end; row++)
	{
		void    *vector = samples_vector(index, samples_row(samples, row), samples->dim);
		uint32_t slot;

		if (iqdb_index_put(index, iqdb_id_u64(row), vector, samples->dim, NULL, 0, &slot, NULL) != IQDB_OK ||
			(link && iqdb_index_link(index, slot, NULL) != IQDB_OK))
			abort();
		free(vector);
	}
}

/* The first k ids of a stream; returns how many. */
static inline size_t
samples_search(IqdbIndex *index, const float *query, size_t dim, const IqdbSearchParams *params, size_t k,
			   IqdbHit *hits)
{
	void       *vector = samples_vector(index, query, dim);
	IqdbCursor *cursor;
	size_t      total = 0;
	size_t      count = 1;

	if (iqdb_cursor_open(index, vector, dim, params, &cursor, NULL) != IQDB_OK)
		abort();
	free(vector);
	while (total < k && count > 0)
	{
		if (iqdb_cursor_next(cursor, hits + total, k - total, &count, NULL) != IQDB_OK)
			abort();
		total += count;
	}
	iqdb_cursor_close(cursor);
	return total;
}

/* Share of the true k nearest that a search with these probes finds, over all queries. filter may be NULL. */
static inline double
samples_recall(const Samples *samples, IqdbIndex *index, uint32_t probes, size_t k, const IqdbFilter *filter)
{
	IqdbSearchParams params = {.expected = k, .probes = probes, .filter = by_metadata(filter)};
	IqdbSearchParams all = {.expected = SIZE_MAX, .filter = by_metadata(filter)};
	IqdbHit         *found = malloc(k * sizeof(*found));
	IqdbHit         *truth = malloc(k * sizeof(*truth));
	size_t           met = 0;
	size_t           total = 0;

	if (found == NULL || truth == NULL)
		abort();
	for (size_t query = 0; query < samples->queries; query++)
	{
		size_t true_count = samples_search(index, samples_query(samples, query), samples->dim, &all, k, truth);
		size_t count = samples_search(index, samples_query(samples, query), samples->dim, &params, k, found);

		total += true_count;
		for (size_t i = 0; i < true_count; i++)
		{
			for (size_t j = 0; j < count; j++)
				met += truth[i].id == found[j].id;
		}
	}
	free(found);
	free(truth);
	return total > 0 ? (double) met / (double) total : 1.0;
}

static inline IqdbEngineStats
samples_stats(const IqdbIndex *index)
{
	IqdbIndexStats stats;

	iqdb_index_stats(index, &stats);
	return stats.engine;
}

#endif
