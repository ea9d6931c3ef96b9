/*
 * kernels.h - the inner loops, one table of them per instruction set, chosen at run time.
 *
 * Every table holds the same functions. Within one table the batch and gather forms give bit for bit what the single
 * form gives for each row. Between tables results may differ by rounding (absolute 1e-3 or relative 1e-4); the sums in
 * double do not differ.
 * Components behind dim are never read. Rows need 4-byte alignment only; 64-byte aligned rows are fastest.
 */
#ifndef IQDB_VEC_KERNELS_H
#define IQDB_VEC_KERNELS_H

#include "core/vec/metric.h"

/* Sum over dim components of one pair. */
typedef float (*IqdbPairKernel)(const float *a, const float *b, size_t dim);

/* out[i] = pair(query, rows + i * stride) for i < count; stride in floats. Rows are contiguous: streams. */
typedef void (*IqdbBatchKernel)(const float *query, const float *rows, size_t stride, size_t count, size_t dim,
								float *out);

/* out[i] = pair(query, base + slots[i] * stride); rows anywhere: prefetches ahead. */
typedef void (*IqdbGatherKernel)(const float *query, const float *base, size_t stride, const uint32_t *slots,
								 size_t count, size_t dim, float *out);

typedef struct IqdbSumKernels
{
	IqdbPairKernel   pair;
	IqdbBatchKernel  batch;
	IqdbGatherKernel gather;
} IqdbSumKernels;

/* The sums of vec/metric.h; cosine uses dot. */
typedef enum IqdbSum
{
	IQDB_SUM_DOT,
	IQDB_SUM_L2,
	IQDB_SUM_L1,
	IQDB_SUM_HAMMING,
	IQDB_SUM_COUNT
} IqdbSum;

/* What the cosine of one pair takes. */
typedef struct IqdbCosineSums
{
	double dot;
	double norm2_a;
	double norm2_b;
} IqdbCosineSums;

/*
 * Sums of one pair in double, the same to the last bit in every table. No finite vectors make them overflow, and a sum
 * of squares is 0 only when every square is.
 */
typedef struct IqdbDoubleKernels
{
	double (*dot)(const float *a, const float *b, size_t dim);
	double (*l2)(const float *a, const float *b, size_t dim);
	double (*l1)(const float *a, const float *b, size_t dim);
	IqdbCosineSums (*cosine)(const float *a, const float *b, size_t dim);
} IqdbDoubleKernels;

typedef struct IqdbKernels
{
	const char    *name;      /* "scalar", "avx2", "avx512", "avx512bw" (that without VNNI), "neon" */
	IqdbSumKernels sums[IQDB_SUM_COUNT];

	const IqdbDoubleKernels *doubles;

	/* sum of code[i] * query[i], codes unsigned, query signed; exact in 32 bits up to IQDB_DIMENSION_MAX */
	int32_t (*dot_u8i8)(const uint8_t *code, const int8_t *query, size_t dim);
	/* the same for the codes at base + slots[i] * stride_bytes, prefetching ahead */
	void (*dot_u8i8_gather)(const int8_t *query, const uint8_t *base, size_t stride_bytes, const uint32_t *slots,
							size_t count, size_t dim, int32_t *out);
} IqdbKernels;

/* The best table this CPU can run. The same pointer on every call; no state. */
const IqdbKernels *iqdb_kernels_best(void);

/* The table of that name, or NULL when unknown here or not runnable on this CPU. */
const IqdbKernels *iqdb_kernels_named(const char *name);

/* Which sum a metric ranks by. */
static inline IqdbSum
iqdb_metric_sum(IqdbMetric metric)
{
	switch (metric)
	{
		case IQDB_METRIC_L2:
			return IQDB_SUM_L2;
		case IQDB_METRIC_L1:
			return IQDB_SUM_L1;
		case IQDB_METRIC_HAMMING:
			return IQDB_SUM_HAMMING;
		default:
			return IQDB_SUM_DOT;
	}
}

/* Rank key of one pair under a metric, norms computed on the way where the metric needs them. */
float iqdb_metric_key(const IqdbKernels *kernels, IqdbMetric metric, const float *a, const float *b, size_t dim);

/*
 * Distance of one pair in double: what SQL's operators report. Within 1e-14 of the exact value (relative, for cosine
 * absolute), for all finite vectors; a cosine distance is 1 where one of them is all zeros.
 */
double iqdb_metric_pair_distance(const IqdbKernels *kernels, IqdbMetric metric, const float *a, const float *b,
								 size_t dim);

/*
 * Turns count sums (kernel output) into rank keys in place: negates for DOT, divides for COSINE. norms2 are the rows'
 * squared norms, dot(row, row) by the same kernel table (read for COSINE only, may be NULL otherwise).
 */
void iqdb_metric_finish(IqdbMetric metric, float query_norm2, const float *norms2, size_t count, float *sums);

#endif
