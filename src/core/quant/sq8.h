/*
 * sq8.h - vectors as one byte per component, with a scale and a middle of their own.
 *
 * In the manner of locally adaptive vector quantization (Aguerrebere et al., "Similarity Search in the Blink of an Eye with
 * Compressed Indices", VLDB 2023): a centre is subtracted from all rows of a set, then each row is stored as
 *
 *   x' = x - centre ~ mean + scale * (code - middle)        code: unsigned bytes, middle: their mean
 *
 * so that nothing but the centre has to be learnt, and that only matters where components lie far from zero (no centre: all
 * zero). A component that is the centre's is kept exactly. A query is coded the same way as signed bytes; a pair costs one
 * u8 x i8 dot product D = dot_u8i8(code_x, code_q):
 *
 *   p = scale_x * scale_q * (D - middle_x * sum_q)
 *   |x - q|^2 ~ dim * (mean_x - mean_q)^2 + spread_x + spread_q - 2 * p
 *   dot(x, q) ~ dim * mean_x * mean_q + p + dot(x', centre) + dot(q', centre) + |centre|^2
 *
 * where sum_q is the sum of the query's bytes and spread = sum (x' - mean)^2 of the decoded row. Taking all terms of L2 of
 * the decoded vectors makes the error proportional to the distance, not to the length, of the two.
 *
 * Cosine: row and query are taken at length one, then it is half of L2. A zero row has key 1 with all others. Keys are
 * those of vec/metric.h up to the error of the codes, under DOT less the constant |centre|^2: good for finding a way, not
 * for an answer.
 */
#ifndef IQDB_QUANT_SQ8_H
#define IQDB_QUANT_SQ8_H

#include "core/vec/kernels.h"

/* What a row needs beside its bytes. */
typedef struct IqdbSq8Row
{
	float scale;
	float middle; /* mean of the code's bytes */
	float mean;   /* mean component of the decoded row */
	float own;    /* L2: spread; COSINE: half of it, and 1/2 more for a zero row; DOT: -dot(x', centre) */
} IqdbSq8Row;

/* A query made ready; see iqdb_sq8_key. */
typedef struct IqdbSq8Query
{
	const int8_t *code;     /* dim bytes, the caller's memory */
	float         base;
	float         mean;
	float         square;   /* L2, COSINE: weight of (row.mean - mean)^2 */
	float         linear;   /* DOT: weight of row.mean */
	float         scale;    /* weight of row.scale * (D - row.middle * code_sum) */
	float         code_sum; /* sum of the signed bytes */
} IqdbSq8Query;

/* DOT, L2 and COSINE rank by a dot product; the other metrics cannot be coded. */
bool iqdb_sq8_possible(IqdbMetric metric);

/*
 * Codes dim floats less a centre of as many. norm2 is dot(vector, vector), read for COSINE only; a centre for COSINE is one
 * of rows of length one. code_out: dim bytes. Never fails: whatever the floats, the code is some code.
 */
void iqdb_sq8_encode(IqdbMetric metric, const float *centre, const float *vector, float norm2, size_t dim,
					 uint8_t *code_out, IqdbSq8Row *row_out);

/* A query from full-precision floats. code_out: dim bytes that must live as long as the query. */
void iqdb_sq8_query(IqdbMetric metric, const float *centre, const float *vector, float norm2, size_t dim,
					int8_t *code_out, IqdbSq8Query *query_out);

/* A query from a coded row, so that distances between rows need codes only. code_out as above. */
void iqdb_sq8_query_of_row(IqdbMetric metric, const uint8_t *code, const IqdbSq8Row *row, size_t dim, int8_t *code_out,
						   IqdbSq8Query *query_out);

/* Rank key from the dot product of the codes. */
static inline float
iqdb_sq8_key(const IqdbSq8Query *query, const IqdbSq8Row *row, int32_t dot)
{
	float between = row->mean - query->mean;

	return query->base + row->own + query->square * between * between + query->linear * row->mean +
		   query->scale * row->scale * ((float) dot - row->middle * query->code_sum);
}

#endif
