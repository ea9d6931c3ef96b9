/*
 * pq.h - product quantization: a vector as a few small numbers, each the nearest centre of one piece of it.
 *
 * Jegou, Douze, Schmid, "Product Quantization for Nearest Neighbor Search", IEEE TPAMI 2011. The dimensions are cut into
 * `subvectors` pieces, each has a codebook of `centres` centres (at most 256, so a code is one byte per piece). Distances
 * are asymmetric: the query stays as it is, and its distances to all centres of all pieces are tabulated once, so that a
 * row costs one look-up per piece. Metrics that add up over pieces: L2, DOT, L1. Keys are those of vec/metric.h.
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

/* How far decoded vectors are from the vectors. */
typedef struct IqdbPqError
{
	double mean_square;  /* mean of |x - decoded x|^2 */
	double worst_square;
	double relative;     /* sum of |x - decoded x|^2 / sum of |x - mean|^2; 0 where all points coincide exactly */
} IqdbPqError;

/*
 * Shape of a quantizer that is not trained. Errors: IQDB_ERR_CONFIG (subvectors 0 or no divisor of dim, centres outside
 * 1 .. 256).
 */
IqdbStatus iqdb_pq_init(uint32_t dim, uint32_t subvectors, uint32_t centres, IqdbPq *pq_out,
						IqdbError *err) IQDB_MUST_CHECK;

/* The same with pieces of different lengths where dim cannot be divided: subvectors is 1 .. dim. */
IqdbStatus iqdb_pq_init_uneven(uint32_t dim, uint32_t subvectors, uint32_t centres, IqdbPq *pq_out,
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
 * Learns the codebooks, each by k-means of its piece (L1: k-medians), piece m from seed + m. codebook: memory of the
 * caller's, which stays his; pq->codebook is set to it on success and NULL on failure. Errors: IQDB_ERR_CONFIG (no
 * points, fewer than centres), IQDB_ERR_DIMENSION, IQDB_ERR_VECTOR (a component is not finite), IQDB_ERR_METRIC,
 * IQDB_ERR_NOMEM, IQDB_ERR_CANCELLED.
 */
IqdbStatus iqdb_pq_train(IqdbPq *pq, IqdbMetric metric, const IqdbHost *host, const IqdbKernels *kernels,
						 const IqdbPoints *points, uint32_t iterations, uint64_t seed, float *codebook,
						 IqdbError *err) IQDB_MUST_CHECK;

/*
 * Checked forms. Errors of all: IQDB_ERR_CONFIG (not trained, or a code that names a centre there is none of),
 * IQDB_ERR_DIMENSION, IQDB_ERR_VECTOR (empty or not finite), IQDB_ERR_METRIC.
 */
IqdbStatus iqdb_pq_encode(const IqdbPq *pq, const float *vector, size_t dim, uint8_t *code_out,
						  IqdbError *err) IQDB_MUST_CHECK;
IqdbStatus iqdb_pq_decode(const IqdbPq *pq, const uint8_t *code, size_t code_length, float *vector_out,
						  IqdbError *err) IQDB_MUST_CHECK;
/* tables_out: iqdb_pq_table_floats floats. */
IqdbStatus iqdb_pq_tables(const IqdbPq *pq, IqdbMetric metric, const float *query, size_t dim, float *tables_out,
						  IqdbError *err) IQDB_MUST_CHECK;
/* Key of one row without tables; bit for bit what they give. */
IqdbStatus iqdb_pq_key(const IqdbPq *pq, IqdbMetric metric, const float *query, size_t dim, const uint8_t *code,
					   size_t code_length, float *key_out, IqdbError *err) IQDB_MUST_CHECK;
IqdbStatus iqdb_pq_error(const IqdbPq *pq, const IqdbPoints *points, const IqdbAllocator *allocator,
						 IqdbPqError *error_out, IqdbError *err) IQDB_MUST_CHECK;

/* Key of a row by tables; code as encode made it. */
float iqdb_pq_table_key(const IqdbPq *pq, const float *tables, const uint8_t *code);

/* Unchecked forms, for loops: the quantizer is trained, the vector is finite and has dim floats. */
void iqdb_pq_code(const IqdbPq *pq, const float *vector, uint8_t *code_out);
void iqdb_pq_restore(const IqdbPq *pq, const uint8_t *code, float *vector_out);
void iqdb_pq_tabulate(const IqdbPq *pq, IqdbMetric metric, const float *query, float *tables_out);

#endif
