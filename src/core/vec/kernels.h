/*
 * kernels.h - the inner loops, one table of them per instruction set, chosen at run time.
 *
 * Every table holds the same functions. Within one table the batch and gather forms give bit for bit what the single
 * form gives for each row. Between tables results may differ by rounding (absolute 1e-3 or relative 1e-4); the sums in
 * double do not differ.
 * Bytes behind a row's last one are never read. Rows need the alignment of one component only (floats 4 bytes, halves 2,
 * bits none); 64-byte aligned rows are fastest.
 */
#ifndef IQDB_VEC_KERNELS_H
#define IQDB_VEC_KERNELS_H

#include "core/vec/element.h"

/*
 * The sums of vec/metric.h over dim components. What `query` and `row` point to depends on the element (vec/element.h): a
 * prepared query, and a vector as it is stored.
 */
typedef float (*IqdbPairKernel)(const void *query, const void *row, size_t dim);

/* out[i] = pair(query, rows + i * stride) for i < count; stride in bytes. Rows are contiguous: streams. */
typedef void (*IqdbBatchKernel)(const void *query, const void *rows, size_t stride, size_t count, size_t dim,
								float *out);

/* out[i] = pair(query, base + slots[i] * stride); stride in bytes; rows anywhere: prefetches ahead. */
typedef void (*IqdbGatherKernel)(const void *query, const void *base, size_t stride, const uint32_t *slots,
								 size_t count, size_t dim, float *out);

typedef struct IqdbSumKernels
{
	IqdbPairKernel   pair;
	IqdbBatchKernel  batch;
	IqdbGatherKernel gather;
} IqdbSumKernels;

/* The kernels of one element. */
typedef struct IqdbElementKernels
{
	IqdbSumKernels sums[IQDB_SUM_COUNT];

	/* The inner product of a row with itself: to the last bit what pair gives for it as a prepared query. */
	float (*norm2)(const void *row, size_t dim);

	/* The components as floats; of bits 0 and 1. */
	void (*widen)(const void *row, size_t dim, float *out);
} IqdbElementKernels;

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

/*
 * Tests of numbers in a row, signed ones of so many bytes: bit i % 64 of word i / 64 says that low <= values[i] <= high. Bits
 * from count on are 0; there are (count + 63) / 64 words.
 */
typedef void (*IqdbBetweenKernel)(const void *values, uint32_t count, int64_t low, int64_t high, uint64_t *words_out);

typedef struct IqdbColumnKernels
{
	IqdbBetweenKernel between_1;
	IqdbBetweenKernel between_2;
	IqdbBetweenKernel between_4;
	IqdbBetweenKernel between_8;

	/* Bit i says that values[i], of 8 bytes and one of 64 at most, has all the bits that are wanted. */
	uint64_t (*has)(const void *values, uint32_t count, uint64_t wanted);
} IqdbColumnKernels;

struct IqdbKernels
{
	const char    *name;                 /* "scalar", "avx2", "avx512", "avx512bw" (that without VNNI), "neon" */
	IqdbSumKernels sums[IQDB_SUM_COUNT]; /* of floats and floats */

	const IqdbElementKernels *elements[IQDB_ELEMENT_COUNT];
	const IqdbDoubleKernels  *doubles; /* of floats and floats */
	const IqdbColumnKernels  *columns;

	/* sum of code[i] * query[i], codes unsigned, query signed; exact in 32 bits up to IQDB_DIMENSION_MAX */
	int32_t (*dot_u8i8)(const uint8_t *code, const int8_t *query, size_t dim);
	/* the same for the codes at base + slots[i] * stride_bytes, prefetching ahead */
	void (*dot_u8i8_gather)(const int8_t *query, const uint8_t *base, size_t stride_bytes, const uint32_t *slots,
							size_t count, size_t dim, int32_t *out);
};

/* The best table this CPU can run. The same pointer on every call; no state. */
const IqdbKernels *iqdb_kernels_best(void);

/* Which sum a metric ranks by. */
static inline IqdbSum
iqdb_metric_sum(IqdbMetric metric)
{
	return iqdb_metric_traits((uint32_t) metric)->sum;
}

/*
 * Turns count sums (kernel output) into rank keys in place: by the key's form. norms2 are the rows' squared norms, by the
 * same kernel table (read where the metric needs norms, may be NULL otherwise).
 */
void iqdb_metric_finish(IqdbMetric metric, float query_norm2, const float *norms2, size_t count, float *sums);

#endif
