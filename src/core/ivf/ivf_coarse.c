/*
 * ivf_coarse.c - from a vector to its nearest lists.
 *
 * Where cells are cells of squared distance (L2, COSINE, DOT), centres are packed as byte codes around their mean, in the
 * very blocks that lists use; they are compared by codes first, and a few more than wanted exactly. That is what makes
 * training, linking and probing cheap. L1 and HAMMING compare exactly at once. Above IQDBI_ONE_LEVEL_LISTS lists there is a
 * level of coarser cells, each holding a run of lists: only the runs of the nearest ones are looked at.
 */
#include "core/ivf/ivf_private.h"

#include <float.h>
#include <string.h>

/* With two levels: lists looked at per list wanted, and at least. */
#define LISTS_PER_WANTED 4u
#define LISTS_LOOKED_AT_MIN 512u

/* ---- packing ---- */

static void
find_mean(const IqdbiIvf *ivf, IqdbiModel *model)
{
	memset(model->mean, 0, ivf->work_stride * sizeof(float));
	for (size_t d = 0; d < ivf->work_dim; d++)
	{
		double sum = 0;

		for (uint32_t list = 0; list < model->lists; list++)
			sum += (double) model->centres[list * ivf->work_stride + d];
		model->mean[d] = (float) (sum / model->lists);
	}
}

static void
pack_run(const IqdbiIvf *ivf, const IqdbiModel *model, const float *centres, uint32_t first, uint32_t end,
		 unsigned char *block, IqdbiCode *code)
{
	for (uint32_t id = first; id < end; id++)
	{
		uint32_t place = (id - first) % IQDBI_BLOCK_ROWS;

		if (place == 0)
			memset(block, 0, ivf->centres.size);
		iqdbi_code_centre(ivf, model, centres + (size_t) id * ivf->work_stride, code);
		iqdbi_block_put(&ivf->centres, block, place, id, code);
		if (place == IQDBI_BLOCK_ROWS - 1)
			block += ivf->centres.size;
	}
}

void
iqdbi_model_pack(const IqdbiIvf *ivf, IqdbiModel *model, IqdbiCode *code)
{
	find_mean(ivf, model);
	(void) iqdbi_model_blocks(model->super_lists, model->supers, model->super_starts);
	if (!ivf->coded_centres)
		return;
	for (uint32_t super = 0; super < model->supers; super++)
		pack_run(ivf, model, model->centres, model->super_lists[super], model->super_lists[super + 1],
				 model->packed + model->super_starts[super] * ivf->centres.size, code);
	if (model->super_blocks > 0)
		pack_run(ivf, model, model->super_centres, 0, model->supers, model->super_packed, code);
}

/* ---- looking by codes ---- */

/* A vector as a query for packed centres. */
typedef struct CentreQuery
{
	const IqdbiIvf *ivf;
	const int8_t   *bytes;
	int32_t         start;
	IqdbiLine       line;
} CentreQuery;

static CentreQuery
centre_query(IqdbiScratch *scratch, const IqdbiModel *model, const float *work)
{
	const IqdbiIvf *ivf = scratch->ivf;
	CentreQuery     query = {.ivf = ivf, .bytes = scratch->query};
	size_t          padded = iqdbi_code_size(&ivf->centres);
	float           largest = ivf->kernels->residual(work, 1.0f, model->mean, ivf->work_dim, scratch->code.floats);
	int32_t         sum = 0;
	int32_t         squares = 0;

	if (!(largest > 1e-30f && largest < 1e30f))
	{
		memset(scratch->query, 0, padded);
		return query;
	}
	ivf->kernels->round(scratch->code.floats, ivf->work_dim, 127.0f / largest, 0, (uint8_t *) scratch->query, &sum,
						&squares);
	memset(scratch->query + ivf->work_dim, 0, padded - ivf->work_dim);
	query.start = -iqdbi_scalar_zero(&ivf->centres) * sum;
	query.line.weight = -2.0f * (largest / 127.0f);
	return query;
}

/* Keys of the centres in a block; bits of those up to limit. */
static uint32_t
score_block(const CentreQuery *query, const unsigned char *block, uint32_t count, float limit, float *keys)
{
	const IqdbiIvf         *ivf = query->ivf;
	const IqdbiBlockLayout *layout = &ivf->centres;
	int32_t                 sums[IQDBI_BLOCK_ROWS];
	uint32_t                near;

	iqdbi_scalar_sums(ivf, layout, block, count, query->bytes, query->start, sums);
	near = ivf->kernels->finish(sums, iqdbi_block_scales(layout, block), iqdbi_block_offsets(layout, block),
								&query->line, limit, keys);
	return count >= IQDBI_BLOCK_ROWS ? near : near & ((UINT32_C(1) << count) - 1);
}

static void
pick_run(const CentreQuery *query, const unsigned char *block, uint32_t first, uint32_t end, IqdbiPick *pick)
{
	float keys[IQDBI_BLOCK_ROWS];

	for (; first < end; first += IQDBI_BLOCK_ROWS, block += query->ivf->centres.size)
	{
		uint32_t near = score_block(query, block, end - first, pick->limit, keys);

		while (near != 0)
		{
			uint32_t place = (uint32_t) __builtin_ctz(near);

			iqdbi_pick_push(pick, keys[place], first + place);
			near &= near - 1;
		}
	}
}

/* ---- looking exactly ---- */

static void
pick_exactly(IqdbiScratch *scratch, const float *centres, const float *work, uint32_t first, uint32_t end,
			 IqdbiPick *pick)
{
	const IqdbiIvf *ivf = scratch->ivf;

	ivf->store->kernels->sums[ivf->sum].batch(work, centres + (size_t) first * ivf->work_stride, ivf->work_stride,
											  end - first, ivf->work_dim, scratch->sums);
	for (uint32_t id = first; id < end; id++)
	{
		if (scratch->sums[id - first] <= pick->limit)
			iqdbi_pick_push(pick, scratch->sums[id - first], id);
	}
}

/* ---- both ---- */

static void
pick_lists(IqdbiScratch *scratch, const IqdbiModel *model, const CentreQuery *query, const float *work, uint32_t super)
{
	const IqdbiIvf *ivf = scratch->ivf;
	uint32_t        first = model->super_lists[super];
	uint32_t        end = model->super_lists[super + 1];

	if (ivf->coded_centres)
		pick_run(query, model->packed + (size_t) model->super_starts[super] * ivf->centres.size, first, end,
				 &scratch->pick);
	else
		pick_exactly(scratch, model->centres, work, first, end, &scratch->pick);
}

static void
pick_by_supers(IqdbiScratch *scratch, const IqdbiModel *model, const CentreQuery *query, const float *work,
			   size_t wanted)
{
	IqdbiPick *supers = &scratch->super_pick;
	size_t     least = wanted * LISTS_PER_WANTED > LISTS_LOOKED_AT_MIN ? wanted * LISTS_PER_WANTED
																	   : LISTS_LOOKED_AT_MIN;
	size_t     looked_at = 0;

	iqdbi_pick_start(supers, model->supers);
	if (scratch->ivf->coded_centres)
		pick_run(query, model->super_packed, 0, model->supers, supers);
	else
		pick_exactly(scratch, model->super_centres, work, 0, model->supers, supers);
	iqdbi_pick_sort(supers);
	for (size_t i = 0; i < supers->count && looked_at < least; i++)
	{
		uint32_t super = iqdbi_pick_id(supers, i);

		pick_lists(scratch, model, query, work, super);
		looked_at += model->super_lists[super + 1] - model->super_lists[super];
	}
}

/* Exact distances of what was picked, in order. */
static void
compare_picked(IqdbiScratch *scratch, const IqdbiModel *model, const float *work)
{
	const IqdbiIvf *ivf = scratch->ivf;
	IqdbiPick      *pick = &scratch->pick;
	size_t          count = pick->count;

	for (size_t i = 0; i < count; i++)
		scratch->ids[i] = iqdbi_pick_id(pick, i);
	ivf->store->kernels->sums[ivf->sum].gather(work, model->centres, ivf->work_stride, scratch->ids, count,
											   ivf->work_dim, scratch->keys);
	pick->count = 0;
	for (size_t i = 0; i < count; i++)
		iqdbi_pick_push(pick, scratch->keys[i] == scratch->keys[i] ? scratch->keys[i] : INFINITY, scratch->ids[i]);
}

uint32_t
iqdbi_coarse_nearest(IqdbiScratch *scratch, const IqdbiModel *model, const float *work, uint32_t wanted)
{
	IqdbiPick  *pick = &scratch->pick;
	CentreQuery query = {0};
	uint32_t    count;

	if (wanted > scratch->wanted_max)
		wanted = scratch->wanted_max;
	iqdbi_pick_start(pick, iqdbi_coarse_candidates(wanted));
	if (scratch->ivf->coded_centres)
		query = centre_query(scratch, model, work);
	if (model->supers > 1 && wanted < model->lists)
		pick_by_supers(scratch, model, &query, work, wanted);
	else
	{
		for (uint32_t super = 0; super < model->supers; super++)
			pick_lists(scratch, model, &query, work, super);
	}
	iqdbi_pick_shrink(pick);
	compare_picked(scratch, model, work);
	pick->wanted = wanted;
	iqdbi_pick_sort(pick);
	count = (uint32_t) pick->count;
	for (uint32_t i = 0; i < count; i++)
		scratch->ids[i] = iqdbi_pick_id(pick, i);
	return count;
}

uint32_t
iqdbi_coarse_assign(IqdbiScratch *scratch, const IqdbiModel *model, const float *work, float *key_out)
{
	bool found = iqdbi_coarse_nearest(scratch, model, work, 1) > 0;

	if (key_out != NULL)
		*key_out = found ? iqdbi_pick_key(&scratch->pick, 0) : INFINITY;
	return found ? scratch->ids[0] : 0;
}

uint32_t
iqdbi_coarse_guess(IqdbiScratch *scratch, const IqdbiModel *model, const float *work, float *key_out)
{
	CentreQuery          query = centre_query(scratch, model, work);
	const unsigned char *block = model->packed;
	float                keys[IQDBI_BLOCK_ROWS];
	float                least = FLT_MAX;
	uint32_t             best = 0;

	for (uint32_t first = 0; first < model->lists; first += IQDBI_BLOCK_ROWS, block += query.ivf->centres.size)
	{
		uint32_t near = score_block(&query, block, model->lists - first, least, keys);

		for (; near != 0; near &= near - 1)
		{
			uint32_t place = (uint32_t) __builtin_ctz(near);

			if (keys[place] < least)
			{
				least = keys[place];
				best = first + place;
			}
		}
	}
	*key_out = least;
	return best;
}
