/*
 * pq.h - product quantization: a vector as a few small numbers, each the nearest centre of one piece of it.
 *
 * Jegou, Douze, Schmid, "Product Quantization for Nearest Neighbor Search", IEEE TPAMI 2011. The dimensions are cut into
 * `subvectors` pieces, each has a codebook of `centres` centres (at most 256, so a code is one byte per piece). Distances
 * are asymmetric: the query stays as it is, and its distances to all centres of all pieces are tabulated once, so that a
 * row costs one look-up per piece. Sums that add up over pieces: L2, DOT, L1.
 *
 * A codebook is held for vector code: piece after piece, in it dimension after dimension, in it the component of every
 * centre, centres rounded up to a multiple of 16 (`lanes`).
 */
#ifndef IQDB_QUANT_PQ_H
#define IQDB_QUANT_PQ_H

#include "core/quant/kmeans.h"

#define IQDB_PQ_CENTRES_MAX 256u
#define IQDB_PQ_LANES 16u

typedef struct IqdbPq
{
	uint32_t dim;
	uint32_t subvectors; /* bytes of a code */
	uint32_t centres;    /* 1 .. 256 */
	uint32_t lanes;      /* centres, rounded up */
	float   *codebook;   /* the owner's, iqdb_pq_codebook_floats floats; NULL = not trained */
} IqdbPq;

/*
 * Shape of a quantizer that is not trained; pieces are of different lengths where dim cannot be divided. Errors:
 * IQDB_ERR_CONFIG (subvectors outside 1 .. dim, centres outside 1 .. 256).
 */
IqdbStatus iqdb_pq_init(uint32_t dim, uint32_t subvectors, uint32_t centres, IqdbPq *pq_out,
						IqdbError *err) IQDB_MUST_CHECK;

/* First dimension of a piece; that of piece number `subvectors` is dim. */
static inline uint32_t
iqdb_pq_first(const IqdbPq *pq, uint32_t sub)
{
	return (uint32_t) ((uint64_t) sub * pq->dim / pq->subvectors);
}

static inline size_t
iqdb_pq_codebook_floats(const IqdbPq *pq)
{
	return (size_t) pq->dim * pq->lanes;
}

static inline size_t
iqdb_pq_table_floats(const IqdbPq *pq)
{
	return (size_t) pq->subvectors * pq->lanes;
}

/*
 * Learns the codebooks, each by k-means of its piece (sum L1: k-medians; else L2), piece m from seed + m. codebook: memory
 * of the caller's, which it keeps; pq->codebook is set to it on success and NULL on failure. Errors: IQDB_ERR_CONFIG (no
 * points, fewer than centres), IQDB_ERR_DIMENSION, IQDB_ERR_VECTOR (a component is not finite), IQDB_ERR_METRIC,
 * IQDB_ERR_NOMEM, IQDB_ERR_CANCELLED.
 */
IqdbStatus iqdb_pq_train(IqdbPq *pq, IqdbSum sum, const IqdbHost *host, const IqdbKernels *kernels,
						 const IqdbPoints *points, uint32_t iterations, uint64_t seed, float *codebook,
						 IqdbError *err) IQDB_MUST_CHECK;

/*
 * Code of a vector, and the vector that a code stands for. Nothing is checked: the quantizer is trained, the vector is finite
 * and has dim floats.
 */
void iqdb_pq_code(const IqdbPq *pq, const float *vector, uint8_t *code_out);
void iqdb_pq_restore(const IqdbPq *pq, const uint8_t *code, float *vector_out);

/*
 * What each centre of each piece adds to the key of a row: under L2 and L1 the sum of the piece, under DOT minus the product.
 * tables_out: iqdb_pq_table_floats floats; the key of a row is the sum of one entry from each table.
 */
void iqdb_pq_tabulate(const IqdbPq *pq, IqdbSum sum, const float *query, float *tables_out);

#endif
