/*
 * sq8.h - vectors as one byte per component, with a scale and a middle of their own.
 *
 * A row x is stored as x ~ mean + scale * (code - centre), code unsigned bytes, in the manner of locally adaptive vector
 * quantization (Aguerrebere et al., "Similarity Search in the Blink of an Eye with Compressed Indices", VLDB 2023), but
 * around the row's own mean component instead of the set's mean vector: nothing has to be trained, a row is coded once
 * and for ever. A query is coded the same way as signed bytes, so that a pair costs one u8 x i8 dot product:
 *
 *   dot(x, q) ~ dim * mean_x * mean_q + scale_x * scale_q * (D - centre_x * sum_q)        D = dot_u8i8(code_x, code_q)
 *   |x - q|^2 ~ dim * (mean_x - mean_q)^2 + spread_x + spread_q - 2 * scale_x * scale_q * (D - centre_x * sum_q)
 *
 * where the code of the query has its centre subtracted from the result and spread = sum (x - mean)^2 of the decoded
 * row. Taking all four terms of the decoded vectors makes the error proportional to the distance, not to the length, of
 * the two; taking the mean out keeps components that all lie far from zero from eating the precision.
 *
 * Cosine: the row and the query are coded at length one, then it is the dot product. A zero row has key 1 with all.
 * Keys are those of vec/metric.h up to the error of the codes: good for finding a way, not for an answer.
 */
#ifndef IQDB_QUANT_SQ8_H
#define IQDB_QUANT_SQ8_H

#include "core/vec/kernels.h"

/* What a row needs beside its bytes. */
typedef struct IqdbSq8Row
{
	float scale;
	float centre; /* mean of the code's bytes */
	float mean;   /* mean component of the decoded row */
	float spread; /* L2: sum (x - mean)^2 of the decoded row; else 0 */
} IqdbSq8Row;

/* A query made ready: key = base + spread_weight * row.spread + ... , see iqdb_sq8_key. */
typedef struct IqdbSq8Query
{
	const int8_t *code;     /* dim bytes, the caller's memory */
	float         base;
	float         mean;
	float         square;   /* L2: weight of (row.mean - mean)^2 */
	float         linear;   /* DOT, COSINE: weight of row.mean */
	float         scale;    /* weight of row.scale * (D - row.centre * code_sum) */
	float         code_sum; /* sum of the signed bytes */
} IqdbSq8Query;

/* DOT, L2 and COSINE rank by a dot product; the other metrics cannot be coded. */
bool iqdb_sq8_possible(IqdbMetric metric);

/*
 * Codes dim floats. norm2 is dot(vector, vector), read for COSINE only. code_out: dim bytes. Never fails: whatever the
 * floats, the code is some code.
 */
void iqdb_sq8_encode(IqdbMetric metric, const float *vector, float norm2, size_t dim, uint8_t *code_out,
					 IqdbSq8Row *row_out);

/* A query from full-precision floats. code_out: dim bytes that must live as long as the query. */
void iqdb_sq8_query(IqdbMetric metric, const float *vector, float norm2, size_t dim, int8_t *code_out,
					IqdbSq8Query *query_out);

/* A query from a coded row, so that distances between rows need codes only. code_out as above. */
void iqdb_sq8_query_of_row(IqdbMetric metric, const uint8_t *code, const IqdbSq8Row *row, size_t dim, int8_t *code_out,
						   IqdbSq8Query *query_out);

/* Rank key from the dot product of the codes. */
static inline float
iqdb_sq8_key(const IqdbSq8Query *query, const IqdbSq8Row *row, int32_t dot)
{
	float between = row->mean - query->mean;

	return query->base + row->spread + query->square * between * between + query->linear * row->mean +
		   query->scale * row->scale * ((float) dot - row->centre * query->code_sum);
}

#endif
