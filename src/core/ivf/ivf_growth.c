/*
 * ivf_growth.c - whether an index is to be trained: for the first time, because it has grown, or because its rows have
 * drifted.
 */
#include "core/ivf/ivf_growth_private.h"

/*
 * Training by itself. Searches scan all rows of an index that is not trained. link() trains it when it has LINK_TRAINS_ROWS
 * rows; where the number of lists is given, LINK_TRAINS_ROWS_PER_LIST for each, but LINK_TRAINS_ROWS_MIN at least. VACUUM
 * trains again when there are VACUUM_GROWTH times the rows of the last training.
 */
#define LINK_TRAINS_ROWS 10000u
#define LINK_TRAINS_ROWS_PER_LIST 32u
#define LINK_TRAINS_ROWS_MIN 1000u
#define VACUUM_GROWTH 4u

/*
 * VACUUM trains again, too, when more rows have come since the training than this part of those of the training, and
 * they lie so many times as far from their centres.
 */
#define DRIFT_ROWS_SHARE 4u
#define DRIFT_NOTICED 2.0

bool
iqdbi_growth_is_first_due(const IqdbiIvf *ivf)
{
	const IqdbIndexOptions *options = &ivf->store->header->options;
	uint64_t                live = atomic_load_explicit(&ivf->store->header->live_count, memory_order_relaxed);
	uint64_t                needed = LINK_TRAINS_ROWS;

	if (options->lists > 0)
	{
		needed = (uint64_t) options->lists * LINK_TRAINS_ROWS_PER_LIST;
		needed = needed < LINK_TRAINS_ROWS_MIN ? LINK_TRAINS_ROWS_MIN : needed;
	}
	return live >= needed && live >= atomic_load_explicit(&ivf->header->not_before, memory_order_relaxed);
}

bool
iqdbi_growth_fits(const IqdbiIvf *ivf)
{
	uint64_t live = atomic_load_explicit(&ivf->store->header->live_count, memory_order_acquire);
	uint32_t current = atomic_load_explicit(&ivf->header->current, memory_order_acquire);

	return current != 0 && live <= ivf->header->editions[current - 1].rows * 5 / 4;
}

double
iqdbi_growth_drift(const IqdbiIvf *ivf)
{
	uint64_t newcomers = atomic_load_explicit(&ivf->header->newcomers, memory_order_relaxed);
	uint64_t strain = atomic_load_explicit(&ivf->header->strain, memory_order_relaxed);

	return newcomers > 0 ? (double) strain / (double) newcomers / IQDBI_STRAIN_UNIT : 0.0;
}

bool
iqdbi_growth_is_outgrown(const IqdbiIvf *ivf)
{
	uint64_t live = atomic_load_explicit(&ivf->store->header->live_count, memory_order_acquire);
	uint32_t current = atomic_load_explicit(&ivf->header->current, memory_order_acquire);
	uint64_t trained;

	if (live < atomic_load_explicit(&ivf->header->not_before, memory_order_relaxed))
		return false;
	if (current == 0)
		return iqdbi_growth_is_first_due(ivf);
	trained = ivf->header->editions[current - 1].rows;
	return live / VACUUM_GROWTH > trained ||
		   (atomic_load_explicit(&ivf->header->newcomers, memory_order_relaxed) > trained / DRIFT_ROWS_SHARE &&
			iqdbi_growth_drift(ivf) >= DRIFT_NOTICED);
}

void
iqdbi_growth_note(const IqdbiIvf *ivf, const IqdbiModel *model, float key)
{
	float strain = model->figures.spread > 0 ? key / model->figures.spread : 1.0f;

	strain = strain < IQDBI_STRAIN_MAX ? strain : IQDBI_STRAIN_MAX;
	atomic_fetch_add_explicit(&ivf->header->newcomers, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&ivf->header->strain, (uint64_t) (strain * IQDBI_STRAIN_UNIT), memory_order_relaxed);
}
