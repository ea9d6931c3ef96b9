/*
 * metric.h - the five metrics, their rank keys, and what a vector must satisfy.
 *
 * Engines compare rank keys: 32-bit floats, smaller is nearer, monotone in the distance and free of work that the order
 * does not need (squared L2 has no root). A key becomes the reported distance once, for the few rows that are returned.
 * SQL's operators report distances in double (iqdb_metric_pair_distance), of which keys are the value but for rounding;
 * what an index hands out is put into their order by db/index_ranking.h.
 *
 *   metric   rank key                                distance (double)
 *   COSINE   (float) (1 - dot / sqrt(|a|^2 |b|^2))   key
 *   DOT      -dot                                    key
 *   L2       sum (a-b)^2                             sqrt((double) key)
 *   L1       sum |a-b|                               key
 *   HAMMING  components whose 32-bit patterns differ key
 *
 * Sums of keys are in float. Cosine divides in double; similarity is clamped to [-1, 1]; where the root, in double, is at
 * most FLT_MIN the key is exactly 1; NaN propagates.
 */
#ifndef IQDB_VEC_METRIC_H
#define IQDB_VEC_METRIC_H

#include "core/base/status.h"
#include <math.h>
#include <stdbool.h>

/* The numbers are written to disk: never change one. */
typedef enum IqdbMetric
{
	IQDB_METRIC_COSINE = 0,
	IQDB_METRIC_DOT = 1,
	IQDB_METRIC_L2 = 2,
	IQDB_METRIC_L1 = 3,
	IQDB_METRIC_HAMMING = 4
} IqdbMetric;

#define IQDB_METRIC_COUNT 5
#define IQDB_DIMENSION_MAX 16000

/* "cosine", "dot", "l2", "l1", "hamming"; NULL for an unknown number. */
const char *iqdb_metric_name(IqdbMetric metric);

/* The key of cosine from its three float sums. */
float iqdb_cosine_key(float dot, float norm2_a, float norm2_b);

/*
 * A key computed in double, in the range of a float. What a normal float can hold is rounded; squares and products of finite
 * vectors that are larger than IQDB_KEY_LARGE are squeezed between that and the largest float, and those smaller than
 * IQDB_KEY_SMALL between zero and that, by their logarithms: the order is kept, of the value some five digits.
 */
#define IQDB_KEY_LARGE 0x1p127
#define IQDB_KEY_SMALL 0x1p-126
float  iqdb_key_narrow(double key);
double iqdb_key_widen(float key);

/* The reported distance of a rank key. */
static inline double
iqdb_metric_distance(IqdbMetric metric, float key)
{
	return metric == IQDB_METRIC_L2 ? sqrt(iqdb_key_widen(key)) : iqdb_key_widen(key);
}

/* Are all components zero, of whatever sign? */
static inline bool
iqdb_vector_is_zero(const float *vector, size_t dim)
{
	size_t i = 0;

	while (i < dim && vector[i] == 0)
		i++;
	return i == dim;
}

/* A product of two components that are not smaller is zero only if one of them is, and else a normal float. */
#define IQDB_COMPONENT_TINY 0x1p-63f

/* Is any component smaller than that, but not zero? */
bool iqdb_vector_has_tiny(const float *vector, size_t dim);

/* IQDB_ERR_VECTOR when dim is 0 or a component is NaN or infinite. */
IqdbStatus iqdb_vector_check(const float *vector, size_t dim, IqdbError *err) IQDB_MUST_CHECK;

#endif
