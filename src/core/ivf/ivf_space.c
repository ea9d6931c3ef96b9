/*
 * ivf_space.c - rows and queries as vectors of the space of cells (ivf->space): UNIT scales to length one, LIFTED adds a
 * component that makes all rows equally long. Rows that are too long or too short for it stand in a list of their own.
 */
#include "core/ivf/ivf_space_private.h"

#include <string.h>

#include "core/engine/keys.h"

/*
 * A row that is so many times shorter than it is far from its centre is lost in the error of its code: so are all rows
 * about as short, however many of them there are.
 */
#define FINE_SHARE 16.0f

/* LIFTED: a row may be longer than what all are brought to, whose square is so many times less. */
#define RADIUS2_TIMES 4.0f

bool
iqdbi_has_no_direction(const IqdbiIvf *ivf, const float *vector, float norm2)
{
	return ivf->space == IQDB_SPACE_UNIT && !iqdb_norm2_is_usual(norm2) && iqdb_vector_is_zero(vector, ivf->dim);
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

/* vector may be out itself. */
static void
into_space(const IqdbiIvf *ivf, const float *vector, float norm2, float *out)
{
	if (ivf->space == IQDB_SPACE_UNIT)
		iqdbi_scale_to_one(ivf, vector, norm2, out);
	else if (vector != out)
		memcpy(out, vector, ivf->dim * sizeof(*out));
	memset(out + ivf->dim, 0, (ivf->work_stride - ivf->dim) * sizeof(*out));
}

void
iqdbi_work_query(const IqdbiIvf *ivf, const void *query, float norm2, float *out)
{
	const IqdbStore *store = ivf->store;

	/* where a vector is not prepared as it is, a prepared query is floats */
	if (store->element->is_prepared)
		query = iqdb_element_floats(store->kernels, store->element, query, ivf->dim, out);
	into_space(ivf, query, norm2, out);
}

void
iqdbi_work_row(const IqdbiIvf *ivf, float radius2, uint32_t slot, float norm2, float *out)
{
	into_space(ivf, iqdb_store_floats(ivf->store, slot, out), norm2, out);
	if (ivf->space == IQDB_SPACE_LIFTED && norm2 < radius2)
		out[ivf->dim] = sqrtf(radius2 - norm2);
}

bool
iqdbi_row_is_far(const IqdbiIvf *ivf, float radius2, uint32_t slot, float norm2)
{
	const IqdbStore *store = ivf->store;

	/* so long that cells of rows made equally long would be of no use for the others */
	if (ivf->space == IQDB_SPACE_LIFTED)
		return !(norm2 <= radius2 * RADIUS2_TIMES && norm2 <= IQDB_USUAL_NORM2_MAX);
	/* directions and equality of components do not depend on lengths */
	if (ivf->space == IQDB_SPACE_UNIT || ivf->sum == IQDB_SUM_HAMMING)
		return false;
	return !iqdb_norm2_is_usual(norm2) && !iqdb_element_is_zero(store->element, iqdb_store_vector(store, slot), ivf->dim);
}

bool
iqdbi_row_is_fine(const IqdbiIvf *ivf, float norm2, float key)
{
	if (ivf->rows.coding == IQDBI_CODING_NONE || norm2 == 0.0f)
		return false;
	if (ivf->space == IQDB_SPACE_PLAIN)
		return norm2 * (FINE_SHARE * FINE_SHARE) < key;
	return ivf->sum == IQDB_SUM_L1 && sqrtf((float) ivf->dim * norm2) * FINE_SHARE < key;
}

bool
iqdbi_query_overflows(const IqdbStore *store, const void *query, float norm2)
{
	switch (store->metric->space)
	{
		case IQDB_SPACE_UNIT:
			return false;
		case IQDB_SPACE_LIFTED:
			return !iqdb_norm2_is_usual(norm2) && !iqdb_vector_is_zero(query, store->header->options.dimension);
		default:
			return store->metric->sum != IQDB_SUM_HAMMING && !(norm2 <= IQDB_USUAL_NORM2_MAX);
	}
}
