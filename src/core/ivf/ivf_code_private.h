/*
 * ivf_code_private.h - rows and centres as codes (ivf_code.c).
 */
#ifndef IQDB_IVF_IVF_CODE_PRIVATE_H
#define IQDB_IVF_IVF_CODE_PRIVATE_H

#include "core/ivf/ivf_model_private.h"

/* PRODUCT: are codes those of the difference to the list's centre? Else (L1) of the row itself. */
static inline bool
iqdbi_codes_residuals(const IqdbiIvf *ivf)
{
	return ivf->sum != IQDB_SUM_L1;
}

/* Codes the row as a member of the list. */
void iqdbi_code_row(const IqdbiIvf *ivf, const IqdbiModel *model, uint32_t list, uint32_t slot, IqdbiCode *code);
/* Codes a centre around the model's mean. */
void iqdbi_code_centre(const IqdbiIvf *ivf, const IqdbiModel *model, const float *centre, IqdbiCode *code);

/* Components outside are coded as if all were zero. */
#define IQDBI_LARGEST_CODED 1e30f
#define IQDBI_SMALLEST_CODED 1e-30f

/* Components as signed numbers of a byte. */
typedef struct IqdbiByteCode
{
	float   scale;
	float   square; /* squared length of what is coded, decoded */
	int32_t sum;    /* of the signed bytes */
} IqdbiByteCode;

/* Codes a - b (b NULL = 0) for sums over scalar codes: a signed byte for each of dim components, then zeros. */
IqdbiByteCode iqdbi_code_query(const IqdbiIvf *ivf, const float *a, const float *b, size_t dim, size_t padded,
							   float *floats, int8_t *bytes);

/* SIGNS: out, code_stride floats, = the model's rotation of factor * vector - centre (NULL = 0), then zeros. */
void iqdbi_code_rotate(const IqdbiIvf *ivf, const IqdbiModel *model, const float *vector, float factor,
					   const float *centre, float *out);

#endif
