/*
 * bq.h - binary quantization: one bit per dimension, whether the component reaches the mean of its dimension.
 *
 * Codes are compared by the number of bits in which they differ; that ranks by the metric HAMMING of this library only in
 * the sense of the codes, and by no other metric. A code is words of 64 bits, dimension 0 in the lowest bit of the first;
 * unused bits are zero.
 */
#ifndef IQDB_QUANT_BQ_H
#define IQDB_QUANT_BQ_H

#include "core/quant/kmeans.h"

typedef struct IqdbBq
{
	uint32_t dim;
	float   *means; /* the owner's, dim floats; NULL = not trained */
} IqdbBq;

static inline size_t
iqdb_bq_words(uint32_t dim)
{
	return ((size_t) dim + 63) / 64;
}

/*
 * Learns the means (summed in double). means: dim floats of the caller's, which stay his; bq->means is set to them.
 * Errors: IQDB_ERR_CONFIG (no points), IQDB_ERR_DIMENSION, IQDB_ERR_VECTOR, IQDB_ERR_NOMEM.
 */
IqdbStatus iqdb_bq_train(IqdbBq *bq, const IqdbPoints *points, const IqdbAllocator *allocator, float *means,
						 IqdbError *err) IQDB_MUST_CHECK;

/* Errors of all: IQDB_ERR_CONFIG (not trained, unused bits set), IQDB_ERR_DIMENSION, IQDB_ERR_VECTOR. */
IqdbStatus iqdb_bq_encode(const IqdbBq *bq, const float *vector, size_t dim, uint64_t *code_out,
						  IqdbError *err) IQDB_MUST_CHECK;
/* +1 for a set bit, -1 for the others. */
IqdbStatus iqdb_bq_decode(const IqdbBq *bq, const uint64_t *code, size_t words, float *vector_out,
						  IqdbError *err) IQDB_MUST_CHECK;
/* Bits in which the query's code differs. metric: HAMMING, else IQDB_ERR_METRIC. */
IqdbStatus iqdb_bq_key(const IqdbBq *bq, IqdbMetric metric, const float *query, size_t dim, const uint64_t *code,
					   size_t words, float *key_out, IqdbError *err) IQDB_MUST_CHECK;

/* Bits in which two codes differ. */
uint32_t iqdb_bq_distance(const uint64_t *a, const uint64_t *b, size_t words);

#endif
