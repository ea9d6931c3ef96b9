/*
 * sq8_bound.h - codes that know how wrong they can be: proven intervals for the rank key of a row.
 *
 * A row z (COSINE: x / |x|, else x) is coded around a centre m, any vector: y = z - m = scale * (code - 128) + r, code
 * bytes, in the manner of locally adaptive vector quantization (Aguerrebere et al., VLDB 2023). The upper four bits of the
 * bytes are a code of their own, coarser and half as long, which lies apart and packed (packed.h), to be scanned; the
 * bytes are for the rows that it leaves. The query, p = q - m, is coded in two bytes a component, so that its own error
 * hardly counts: p = t * (256 * high + low) + rho; the coarse code is content with the high ones. Then
 *
 *   <y, p> = scale * t * (256 * <code - 128, high> + <code - 128, low>) + <y - r, rho> + <r, p>
 *
 * and by Cauchy and Schwarz the last term is at most |r| |p|. With it, and
 *
 *   L2      |x - q|^2 = |y|^2 + |p|^2 - 2 <y, p>
 *   DOT        -<x, q> = -<y, p> - <y, m> - <m, q>            COSINE: 1 more
 *
 * a row has its own sum (add), its scale, and for each code its error, |r| and a little more; a query has the rest. What
 * float arithmetic does to all of this, to the key of a distance kernel included, is bounded by the usual gamma_n = n u for
 * n terms in any order (Higham, "Accuracy and Stability of Numerical Algorithms", 2002, chapter 3): (n + 64) u times the
 * magnitudes that meet. Terms |y| times something of the query's beside |p| are put into the error: a row's holds a share
 * of |y|, a query's reach is enlarged where it is less than the sum of such terms divided by that share.
 *
 * Nothing depends on how good the centre is but how many rows the interval leaves. What cannot be bounded is not: a row of
 * extreme length has the error infinity, for a query of extreme length there are no bounds.
 */
#ifndef IQDB_QUANT_SQ8_BOUND_H
#define IQDB_QUANT_SQ8_BOUND_H

#include "core/quant/packed.h"

/* What 16 rows need beside their codes; a scan of the coarse ones reads the first three. */
typedef struct IqdbBoundRows
{
	float scale[IQDB_PACKED_ROWS];
	float add[IQDB_PACKED_ROWS];
	float coarse_error[IQDB_PACKED_ROWS];
	float error[IQDB_PACKED_ROWS];
} IqdbBoundRows;

/* Where the code of one row goes. */
typedef struct IqdbBoundPlace
{
	uint8_t       *code;  /* dim bytes */
	uint8_t       *group; /* the packed coarse codes of 16 rows, iqdb_bound_group_bytes */
	IqdbBoundRows *rows;
	uint32_t       lane;  /* which of the 16 */
} IqdbBoundPlace;

typedef struct IqdbBoundCentre
{
	const float *vector; /* dim finite floats */
	float        length; /* not less than its length */
} IqdbBoundCentre;

/*
 * A query made ready. An interval is base + add_weight * row.add + middle -+ reach * error, where middle is
 * row.scale * weight * sum.
 */
typedef struct IqdbBoundQuery
{
	const int8_t *codes[2];     /* high and low bytes, iqdb_bound_query_bytes / 2 each, zero behind the last dimension */
	int32_t       starts[2];    /* take away what 128 in every byte of a row's code adds */
	float         coarse_start; /* the same for coarse codes */
	float         coarse_weight;
	float         coarse_reach;
	float         weight;
	float         reach;
	float         base[2];      /* of the lower and the upper end */
	float         add_weight[2];
} IqdbBoundQuery;

typedef struct IqdbBoundInterval
{
	float lower;
	float upper;
} IqdbBoundInterval;

typedef struct IqdbBoundKernels
{
	/*
	 * Codes dim finite floats. norm2 is dot(vector, vector) by the kernels that make the keys. Never fails. Same bytes on
	 * every machine.
	 */
	void (*encode)(IqdbMetric metric, const IqdbBoundCentre *centre, const float *vector, float norm2, size_t dim,
				   const IqdbBoundPlace *place);

	/*
	 * Bits of the 16 rows whose key may lie in [nearest, farthest] by the sums of their coarse codes with the query's
	 * high bytes; lower_out[i]: no key of row i is less, when it is a number. A NaN anywhere keeps the row.
	 */
	uint32_t (*judge)(const IqdbBoundQuery *query, const int32_t *sums, const IqdbBoundRows *rows, float nearest,
					  float farthest, float *lower_out);

	const IqdbPackedKernels *packed;
} IqdbBoundKernels;

/* What runs beside a table of vec/kernels.h. */
IqdbBoundKernels iqdb_bound_kernels(const IqdbKernels *kernels);

/* L2, DOT and COSINE. */
bool iqdb_bound_possible(IqdbMetric metric);

/* May a row of this squared length have a bound, and be averaged into a centre? */
bool iqdb_bound_row_possible(IqdbMetric metric, float norm2);

/* Bytes of the coarse codes of 16 rows. */
static inline size_t
iqdb_bound_group_bytes(size_t dim)
{
	return iqdb_packed_octets(dim) * IQDB_PACKED_QUAD_BYTES;
}

/* Bytes of code_out below. */
static inline size_t
iqdb_bound_query_bytes(size_t dim)
{
	return 2 * 8 * iqdb_packed_octets(dim);
}

/*
 * Codes a query against a centre. norm2 as for rows. code_out must live as long as the query. false: its length is
 * extreme, there is no bound.
 */
bool iqdb_bound_query(IqdbMetric metric, const IqdbBoundCentre *centre, const float *vector, float norm2, size_t dim,
					  int8_t *code_out, IqdbBoundQuery *query_out);

/* The least length of a centre that IqdbBoundCentre may say. */
float iqdb_bound_length(const float *vector, size_t dim);

/*
 * Coarse codes of one or two groups that follow each other: sums, then judge. Bits 0 .. 15 are of the first group, 16 .. 31
 * of the second.
 */
static inline uint32_t
iqdb_bound_groups(const IqdbBoundKernels *kernels, const IqdbBoundQuery *query, size_t octets, size_t groups,
				  const uint8_t *codes, const IqdbBoundRows *rows, float nearest, float farthest, float *lower_out)
{
	int32_t  sums[2 * IQDB_PACKED_ROWS];
	uint32_t kept = 0;

	kernels->packed->dot_halves(codes, octets, groups, query->codes[0], 0, sums);
	for (size_t i = 0; i < groups; i++)
		kept |= kernels->judge(query, sums + i * IQDB_PACKED_ROWS, &rows[i], nearest, farthest,
							   lower_out + i * IQDB_PACKED_ROWS)
				<< (i * IQDB_PACKED_ROWS);
	return kept;
}

/* The interval by the byte code of one row: its sums (IqdbKernels.dot_u8i8) with the query's high and low bytes. */
IqdbBoundInterval iqdb_bound_interval(const IqdbBoundQuery *query, int32_t high_sum, int32_t low_sum,
									  const IqdbBoundRows *rows, uint32_t lane);

#endif
