/*
 * ivf_space.c - the space in which cells are cells: COSINE scales to length one, DOT adds a component that makes all rows
 * equally long. Rows that are too long or too short for it stand in a list of their own.
 */
#include "core/ivf/ivf_space_private.h"

#include <string.h>

#include "core/engine/keys.h"

/*
 * A row that is so many times shorter than it is far from its centre is lost in the error of its code: so are all rows about
 * as short, however many of them there are.
 */
#define FINE_SHARE 16.0f

/* DOT: a row may be longer than what all are brought to, whose square is so many times less. */
#define RADIUS2_TIMES 4.0f

bool
iqdbi_has_no_direction(const IqdbiIvf *ivf, const float *vector, float norm2)
{
	return ivf->metric == IQDB_METRIC_COSINE && !iqdb_norm2_is_usual(norm2) && iqdb_vector_is_zero(vector, ivf->dim);
}

/*
 * A direction is there whatever the length: where single precision cannot hold the square of that, double does. Nothing
 * overflows on the way, since the length is not less than the largest component.
 */
void
iqdbi_scale_to_one(const IqdbiIvf *ivf, const float *vector, float norm2, float *out)
{
	double length;

	if (iqdb_norm2_is_usual(norm2))
	{
		(void) ivf->kernels->residual(vector, (float) (1.0 / sqrt((double) norm2)), NULL, ivf->dim, out);
		return;
	}
	length = sqrt(iqdb_store_length2(ivf->store, vector));
	for (size_t d = 0; d < ivf->dim; d++)
		out[d] = length > 0 ? (float) ((double) vector[d] / length) : 0.0f;
}

void
iqdbi_work_query(const IqdbiIvf *ivf, const float *vector, float norm2, float *out)
{
	if (ivf->metric == IQDB_METRIC_COSINE)
		iqdbi_scale_to_one(ivf, vector, norm2, out);
	else
		memcpy(out, vector, ivf->dim * sizeof(float));
	memset(out + ivf->dim, 0, (ivf->work_stride - ivf->dim) * sizeof(float));
}

bool
iqdbi_row_is_far(const IqdbiIvf *ivf, float radius2, uint32_t slot, float norm2)
{
	switch (ivf->metric)
	{
		case IQDB_METRIC_DOT:
			/* so long that cells of rows made equally long would be of no use for the others */
			return !(norm2 <= radius2 * RADIUS2_TIMES && norm2 <= IQDB_USUAL_NORM2_MAX);
		case IQDB_METRIC_L2:
		case IQDB_METRIC_L1:
			return !iqdb_norm2_is_usual(norm2) && !iqdb_vector_is_zero(iqdb_store_vector(ivf->store, slot), ivf->dim);
		default:
			return false;
	}
}

bool
iqdbi_row_is_fine(const IqdbiIvf *ivf, float norm2, float key)
{
	if (ivf->rows.coding == IQDBI_CODING_NONE || norm2 == 0.0f)
		return false;
	if (ivf->metric == IQDB_METRIC_L2)
		return norm2 * (FINE_SHARE * FINE_SHARE) < key;
	return ivf->metric == IQDB_METRIC_L1 && sqrtf((float) ivf->dim * norm2) * FINE_SHARE < key;
}

void
iqdbi_work_vector(const IqdbiIvf *ivf, float radius2, const float *vector, float norm2, float *out)
{
	iqdbi_work_query(ivf, vector, norm2, out);
	if (ivf->metric == IQDB_METRIC_DOT && norm2 < radius2)
		out[ivf->dim] = sqrtf(radius2 - norm2);
}
