/*
 * ivf_model.c - a model's parts in one piece of memory, in the arena or private.
 */
#include "core/ivf/ivf_model_private.h"

uint32_t
iqdbi_model_blocks(const uint32_t *super_lists, uint32_t supers, uint32_t *starts_out)
{
	uint32_t blocks = 0;

	for (uint32_t super = 0; super < supers; super++)
	{
		if (starts_out != NULL)
			starts_out[super] = blocks;
		blocks += (super_lists[super + 1] - super_lists[super] + IQDBI_BLOCK_ROWS - 1) / IQDBI_BLOCK_ROWS;
	}
	if (starts_out != NULL)
		starts_out[supers] = blocks;
	return blocks;
}

static void
lay_out_model(const IqdbiIvf *ivf, IqdbiModel *model, IqdbCarve *carve)
{
	size_t row = ivf->work_bytes;

	model->centres = iqdb_carve(carve, model->figures.lists, row);
	model->mean = iqdb_carve(carve, 1, row);
	model->codebook = iqdb_carve(carve, ivf->codebook, sizeof(*model->codebook));
	model->super_centres = iqdb_carve(carve, model->figures.supers, row);
	model->super_lists = iqdb_carve(carve, (size_t) model->figures.supers + 1, sizeof(uint32_t));
	model->super_starts = iqdb_carve(carve, (size_t) model->figures.supers + 1, sizeof(uint32_t));
	model->packed = iqdb_carve(carve, model->figures.coarse_blocks, ivf->centres.size);
	model->super_packed = iqdb_carve(carve, model->figures.super_blocks, ivf->centres.size);
}

size_t
iqdbi_model_size(const IqdbiIvf *ivf, const IqdbiFigures *figures)
{
	IqdbiModel model = {.figures = *figures};
	IqdbCarve  carve = {0};

	lay_out_model(ivf, &model, &carve);
	return carve.size;
}

bool
iqdbi_model_alloc(const IqdbiIvf *ivf, IqdbiModel *model, IqdbCarve *memory)
{
	*memory = (IqdbCarve){.size = iqdbi_model_size(ivf, &model->figures)};
	if (!iqdb_carve_alloc(memory, &ivf->store->host->allocator))
		return false;
	lay_out_model(ivf, model, memory);
	return true;
}

void
iqdbi_model_view(const IqdbiIvf *ivf, uint32_t edition, IqdbiModel *model_out)
{
	IqdbCarve carve = {0};

	model_out->figures = ivf->header->editions[edition];
	iqdb_carve_place(&carve, iqdb_store_engine_region(ivf->store, IQDBI_IVF_MODELS + edition));
	lay_out_model(ivf, model_out, &carve);
}
