/*
 * ivf_error.c - see ivf_error.h. Rows are coded anew: that lists hold these very codes is what iqdb_check looks at.
 */
#include "harness/ivf_error.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/rng.h"
#include "core/ivf/ivf_code_private.h"
#include "core/ivf/ivf_coarse_private.h"
#include "core/ivf/ivf_home_private.h"
#include "core/ivf/ivf_space_private.h"

/* The code as a vector in the space of cells. */
static void
decode(const IqdbiIvf *ivf, const IqdbiModel *model, const float *centre, const IqdbiCode *code, float *out)
{
	if (ivf->rows.coding == IQDBI_CODING_PRODUCT)
	{
		IqdbPq pq = ivf->pq;

		pq.codebook = model->codebook;
		iqdb_pq_restore(&pq, code->bytes, out);
		for (size_t d = 0; d < ivf->dim && iqdbi_codes_residuals(ivf); d++)
			out[d] += centre[d];
		return;
	}
	for (size_t d = 0; d < ivf->dim; d++)
		out[d] = centre[d] + code->scale * (float) ((int) code->bytes[d] - (int) iqdbi_scalar_zero(&ivf->rows));
}

static double
square_between(const float *a, const float *b, size_t dim)
{
	double sum = 0;

	for (size_t d = 0; d < dim; d++)
		sum += ((double) a[d] - (double) b[d]) * ((double) a[d] - (double) b[d]);
	return sum;
}

static void
add_error(const IqdbiIvf *ivf, uint32_t edition, uint32_t slot, uint32_t list, IvfError *error)
{
	IqdbiModel   model;
	IqdbiScratch scratch;
	const float *centre;
	float       *decoded = malloc(ivf->work_stride * sizeof(float));
	double       spread;
	double       square;

	iqdbi_model_view(ivf, edition, &model);
	if (decoded == NULL || iqdbi_scratch_init(&scratch, ivf, model.figures.supers, 1, NULL) != IQDB_OK)
		abort();
	centre = model.centres + (size_t) list * ivf->work_stride;
	iqdbi_code_row(ivf, &model, list, slot, &scratch.code);
	decode(ivf, &model, centre, &scratch.code, decoded);
	iqdbi_work_row(ivf, 0.0f, slot, iqdb_store_norm2(ivf->store, slot), scratch.work);
	spread = square_between(scratch.work, centre, ivf->dim);
	square = square_between(scratch.work, decoded, ivf->dim);
	square = spread > 0 ? square / spread : 0;
	error->rows++;
	error->mean_square += square;
	error->worst_square = square > error->worst_square ? square : error->worst_square;
	iqdbi_scratch_free(&scratch);
	free(decoded);
}

IvfError
ivf_code_error(IqdbStore *store, uint64_t rows_max, uint64_t seed)
{
	IvfError error = {0, 0, 0};
	IqdbiIvf ivf;
	IqdbRng  rng;
	uint32_t current;

	iqdbi_ivf_view(&ivf, store);
	current = atomic_load(&ivf.header->current);
	iqdb_rng_seed(&rng, seed);
	if (current == 0 || ivf.rows.coding == IQDBI_CODING_NONE || ivf.rows.coding == IQDBI_CODING_SIGNS)
		return error;
	for (uint64_t i = 0; i < rows_max; i++)
	{
		uint32_t slot = (uint32_t) iqdb_rng_below(&rng, atomic_load(&store->header->slot_count));
		uint32_t home = iqdbi_home(&ivf, current - 1, slot);

		if (iqdb_store_state(store, slot) == IQDB_ROW_LIVE && iqdbi_home_status(home) == IQDBI_HOME_LINKED &&
			iqdbi_home_list(home) < ivf.header->editions[current - 1].lists)
			add_error(&ivf, current - 1, slot, iqdbi_home_list(home), &error);
	}
	if (error.rows > 0)
		error.mean_square /= (double) error.rows;
	return error;
}
