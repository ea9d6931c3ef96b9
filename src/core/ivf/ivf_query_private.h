/*
 * ivf_query_private.h - a query made ready for the codes of a model's lists (ivf_query.c).
 */
#ifndef IQDB_IVF_IVF_QUERY_PRIVATE_H
#define IQDB_IVF_IVF_QUERY_PRIVATE_H

#include "core/base/carve.h"
#include "core/ivf/ivf_code_private.h"

/* Deviations of their error that bounds of SIGNS lie below the estimates: one in 80 is not below the true key. */
#define IQDBI_SIGNS_BOUND 2.25f

/* A query made ready for one model. */
typedef struct IqdbiQuery
{
	const IqdbiIvf   *ivf;
	const IqdbiModel *model;
	const float      *vector;      /* the caller's query as it is, dim floats */
	const float      *work;        /* in the space of cells */
	float             norm2;
	int8_t           *bytes;       /* BYTES, HALVES: code relative to the list at hand (DOT: to nothing) */
	uint8_t          *tables;      /* PRODUCT, SIGNS */
	float            *floats;      /* scratch */
	int32_t           start;       /* of the sums of byte codes */
	float             signs_shift; /* SIGNS: the line's for estimates; the line has that for bounds */
	IqdbiLine         line;        /* for the list at hand */
} IqdbiQuery;

/* Lays out the query's memory. */
void iqdbi_query_place(IqdbiQuery *query, const IqdbiIvf *ivf, IqdbCarve *carve);
void iqdbi_query_start(IqdbiQuery *query, const IqdbiIvf *ivf, const IqdbiModel *model, const float *vector,
					   const float *work, float norm2);
/* Makes ready for the rows of a list: key of a row = finish(line). */
void iqdbi_query_list(IqdbiQuery *query, uint32_t list);
/* Keys of the first `count` rows of a block, as iqdbi_ivf_kernels.finish; of SIGNS, lower bounds of them. */
uint32_t iqdbi_query_block(const IqdbiQuery *query, const unsigned char *block, uint32_t count, float limit,
						   float *keys_out);

#endif
