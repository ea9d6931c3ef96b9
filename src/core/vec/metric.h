/*
 * metric.h - the metrics, what is to be known of each (traits), and their rank keys.
 *
 * Engines compare rank keys: 32-bit floats, smaller is nearer, monotone in the distance and free of work that the order
 * does not need (squared L2 has no root). A key becomes the reported distance once, for the few rows that are returned.
 * SQL's operators report distances in double (vec/element.h: iqdb_element_distance), of which keys are the value but for
 * rounding; what an index hands out is put into their order by db/index_ranking.h.
 *
 * Code outside vec/ and quant/ asks for a metric's traits, never for its name: a new metric is a row of the table in
 * metric.c, its step from sum to key, and kernels where it needs a sum of its own.
 *
 *   metric   rank key                                distance (double)
 *   COSINE   (float) (1 - dot / sqrt(|a|^2 |b|^2))   key
 *   DOT      -dot                                    key
 *   L2       sum (a-b)^2                             sqrt((double) key)
 *   L1       sum |a-b|                               key
 *   HAMMING  components whose patterns differ        key
 *   JACCARD  (float) (1 - dot / (|a|^2 + |b|^2 - dot))  key: of sets of bits, 1 - common ones / ones of either
 *
 * Sums of keys are in float. Cosine divides in double; similarity is clamped to [-1, 1]; where the root, in double, is at
 * most FLT_MIN the key is exactly 1; NaN propagates.
 */
#ifndef IQDB_VEC_METRIC_H
#define IQDB_VEC_METRIC_H

#include "core/base/status.h"
#include <math.h>
#include <stdbool.h>

#define IQDB_METRIC_COUNT 6

/* What kernels add up over the components of a pair. */
typedef enum IqdbSum
{
	IQDB_SUM_DOT,
	IQDB_SUM_L2,
	IQDB_SUM_L1,
	IQDB_SUM_HAMMING,
	IQDB_SUM_COUNT
} IqdbSum;

/* How a sum becomes a rank key. */
typedef enum IqdbKeyForm
{
	IQDB_KEY_SUM,     /* it is one */
	IQDB_KEY_NEGATED, /* the larger, the nearer */
	IQDB_KEY_COSINE,  /* with the squared norms of both */
	IQDB_KEY_JACCARD  /* likewise */
} IqdbKeyForm;

/* Where rows that are near each other lie together: what clusters, codes and bounds are made for. */
typedef enum IqdbSpace
{
	IQDB_SPACE_PLAIN,  /* the vectors themselves, by squared distance */
	IQDB_SPACE_UNIT,   /* their directions */
	IQDB_SPACE_LIFTED, /* the vectors with one more component that makes all of them equally long */
	IQDB_SPACE_GRID    /* the vectors themselves, by a sum over components that no rotation keeps */
} IqdbSpace;

typedef struct IqdbMetricTraits
{
	const char *name;          /* "cosine", "dot", "l2", "l1", "hamming", "jaccard" */
	IqdbSum     sum;
	IqdbKeyForm form;
	IqdbSpace   space;
	bool        needs_norms;   /* a key takes both squared norms: stores keep those of rows */
	bool        squared;       /* the distance is the root of the key */
	uint8_t     prune_power;   /* keys are distances of a metric space to this power; 0: no triangle inequality holds */
	bool        by_products;   /* the key follows from the inner product and what each vector has alone: sq8 and bq codes */
	bool        by_components; /* the key adds up over parts of the vector: product codes */
	uint32_t    elements;      /* bits 1 << IqdbElementKind: of which vectors (vec/element.h) */
} IqdbMetricTraits;

/* NULL for an unknown number; iqdb_metric_name() gives the name among them. */
const IqdbMetricTraits *iqdb_metric_traits(uint32_t metric);

/* The key of cosine from its three float sums. */
float iqdb_cosine_key(float dot, float norm2_a, float norm2_b);

/*
 * The same in double, whose root cannot overflow or vanish; that of a vector's own square is exact, so the vector itself is
 * at distance 0. 1 where one of the vectors is all zeros.
 */
double iqdb_cosine_distance(double dot, double norm2_a, double norm2_b);

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
	return iqdb_metric_traits((uint32_t) metric)->squared ? sqrt(iqdb_key_widen(key)) : iqdb_key_widen(key);
}

/* The key of Jaccard from its three sums, which are counts; 1 where nothing is in common. */
float iqdb_jaccard_key(float dot, float norm2_a, float norm2_b);

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
