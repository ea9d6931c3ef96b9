/*
 * ivf_coarse.c - from a vector to its nearest lists.
 *
 * Where cells are cells of squared distance (L2, COSINE, DOT), centres are packed as byte codes around their mean, in the
 * very blocks that lists use; they are compared by codes first, and a few more than wanted exactly. That is what makes
 * training, linking and probing cheap. L1 and HAMMING compare exactly at once. Above IQDBI_ONE_LEVEL_LISTS lists there is a
 * level of coarser cells, each holding a run of lists: only the runs of the nearest ones are looked at.
 */
#include "core/ivf/ivf_coarse_private.h"

#include <float.h>
#include <string.h>

#include "core/ivf/ivf_code_private.h"

/* With two levels: lists looked at per list wanted, and at least. */
#define LISTS_PER_WANTED 4u
#define LISTS_LOOKED_AT_MIN 512u

/* Centres whose middle all are packed around. */
#define MEAN_CENTRES 256u

/* Centres compared exactly by one call. */
#define EXACT_CENTRES 256u

/* So many picked lists are sorted out while others are let in. */
#define APART_MIN 16384u

/* Entries of a pick for one row of several, candidates for one list: an entry too many is dropped at once. */
#define PICK_ROOM 6u

/* ---- packing ---- */

/*
 * What centres are packed around: of each component the mean of those in the middle, of some of the centres. The mean
 * of all would be drawn away from them by one that is far out, and leave nothing of the others' differences in a byte.
 */
static void
find_mean(const IqdbiIvf *ivf, IqdbiModel *model)
{
	uint32_t step = model->figures.lists / MEAN_CENTRES + 1;

	memset(model->mean, 0, ivf->work_bytes);
	for (size_t d = 0; d < ivf->work_dim; d++)
	{
		uint64_t  values[MEAN_CENTRES];
		IqdbiPick pick = {.entries = values};
		size_t    count = 0;
		double    sum = 0;

		for (uint32_t list = 0; list < model->figures.lists; list += step)
			values[count++] = (uint64_t) iqdbi_pick_bits(model->centres[list * ivf->work_stride + d]) << 32;
		iqdbi_sort_numbers(values, count);
		for (size_t i = count / 4; i < count - count / 4; i++)
			sum += (double) iqdbi_pick_key(&pick, i);
		model->mean[d] = (float) (sum / (double) (count - count / 4 - count / 4));
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
	(void) iqdbi_model_blocks(model->super_lists, model->figures.supers, model->super_starts);
	if (!ivf->coded_centres)
		return;
	for (uint32_t super = 0; super < model->figures.supers; super++)
		pack_run(ivf, model, model->centres, model->super_lists[super], model->super_lists[super + 1],
				 model->packed + model->super_starts[super] * ivf->centres.size, code);
	if (model->figures.super_blocks > 0)
		pack_run(ivf, model, model->super_centres, 0, model->figures.supers, model->super_packed, code);
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

/* number: which of the scratch's queries it becomes. */
static CentreQuery
centre_query(IqdbiScratch *scratch, const IqdbiModel *model, const float *work, size_t number)
{
	const IqdbiIvf *ivf = scratch->ivf;
	int8_t         *bytes = scratch->query + number * iqdbi_code_size(&ivf->centres);
	CentreQuery     query = {.ivf = ivf, .bytes = bytes};
	size_t          padded = iqdbi_code_size(&ivf->centres);
	float           largest = ivf->kernels->residual(work, 1.0f, model->mean, ivf->work_dim, scratch->code.floats);
	int32_t         sum = 0;
	int32_t         squares = 0;

	if (!(largest > 1e-30f && largest < 1e30f))
	{
		memset(bytes, 0, padded);
		return query;
	}
	ivf->kernels->round(scratch->code.floats, ivf->work_dim, 127.0f / largest, 0, (uint8_t *) bytes, &sum, &squares);
	memset(bytes + ivf->work_dim, 0, padded - ivf->work_dim);
	query.start = -iqdbi_scalar_zero(&ivf->centres) * sum;
	query.line.weight = -2.0f * (largest / 127.0f);
	return query;
}

/* Picks among the centres of a block, first .. end - 1 at most, by their sums. */
static void
pick_block(const CentreQuery *query, const unsigned char *block, const int32_t *sums, uint32_t first, uint32_t end,
		   IqdbiPick *pick)
{
	const IqdbiBlockLayout *layout = &query->ivf->centres;
	float                   keys[IQDBI_BLOCK_ROWS];
	uint32_t                near = query->ivf->kernels->finish(sums, iqdbi_block_scales(layout, block),
															   iqdbi_block_offsets(layout, block), &query->line,
															   pick->limit, keys);

	if (end - first < IQDBI_BLOCK_ROWS)
		near &= (UINT32_C(1) << (end - first)) - 1;
	for (; near != 0; near &= near - 1)
	{
		uint32_t place = (uint32_t) __builtin_ctz(near);

		iqdbi_pick_push(pick, keys[place], first + place);
	}
}

/* So many bytes were read; stretch may be NULL. */
static IqdbStatus
step(IqdbStretch *stretch, size_t bytes)
{
	return stretch == NULL ? IQDB_OK : iqdb_stretch_step(stretch, iqdb_charge_bytes(bytes));
}

static bool
is_stale(const IqdbStretch *stretch)
{
	return stretch != NULL && stretch->stale;
}

static IqdbStatus
pick_run(const CentreQuery *query, const unsigned char *block, uint32_t first, uint32_t end, IqdbiPick *pick,
		 IqdbStretch *stretch)
{
	const IqdbiIvf *ivf = query->ivf;
	int32_t         sums[IQDBI_BLOCK_ROWS];

	for (; first < end && !is_stale(stretch); first += IQDBI_BLOCK_ROWS, block += ivf->centres.size)
	{
		iqdbi_scalar_sums(ivf->packed, &ivf->centres, block, end - first, query->bytes, query->start, sums);
		pick_block(query, block, sums, first, end, pick);
		IQDB_TRY(step(stretch, ivf->centres.size));
	}
	return IQDB_OK;
}

/* ---- looking exactly ---- */

static IqdbStatus
pick_exactly(IqdbiScratch *scratch, const float *centres, const float *work, uint32_t first, uint32_t end,
			 IqdbiPick *pick, IqdbStretch *stretch)
{
	const IqdbiIvf *ivf = scratch->ivf;
	float           sums[EXACT_CENTRES];

	for (; first < end && !is_stale(stretch); first += EXACT_CENTRES)
	{
		uint32_t count = end - first < EXACT_CENTRES ? end - first : EXACT_CENTRES;

		ivf->store->kernels->sums[ivf->sum].batch(work, centres + (size_t) first * ivf->work_stride,
												  ivf->work_bytes, count, ivf->work_dim, sums);
		for (uint32_t i = 0; i < count; i++)
		{
			if (sums[i] <= pick->limit)
				iqdbi_pick_push(pick, sums[i], first + i);
		}
		IQDB_TRY(step(stretch, count * ivf->work_bytes));
	}
	return IQDB_OK;
}

/* ---- both ---- */

static IqdbStatus
pick_lists(IqdbiScratch *scratch, const IqdbiModel *model, const CentreQuery *query, const float *work, uint32_t super,
		   IqdbStretch *stretch)
{
	const IqdbiIvf *ivf = scratch->ivf;
	uint32_t        first = model->super_lists[super];
	uint32_t        end = model->super_lists[super + 1];

	if (ivf->coded_centres)
		return pick_run(query, model->packed + (size_t) model->super_starts[super] * ivf->centres.size, first, end,
						&scratch->pick, stretch);
	return pick_exactly(scratch, model->centres, work, first, end, &scratch->pick, stretch);
}

static IqdbStatus
pick_by_supers(IqdbiScratch *scratch, const IqdbiModel *model, const CentreQuery *query, const float *work,
			   size_t wanted, IqdbStretch *stretch)
{
	IqdbiPick *supers = &scratch->super_pick;
	size_t     least = wanted * LISTS_PER_WANTED > LISTS_LOOKED_AT_MIN ? wanted * LISTS_PER_WANTED : LISTS_LOOKED_AT_MIN;
	size_t     looked_at = 0;

	iqdbi_pick_start(supers, model->figures.supers);
	if (scratch->ivf->coded_centres)
		IQDB_TRY(pick_run(query, model->super_packed, 0, model->figures.supers, supers, stretch));
	else
		IQDB_TRY(pick_exactly(scratch, model->super_centres, work, 0, model->figures.supers, supers, stretch));
	iqdbi_pick_sort(supers);
	for (size_t i = 0; !is_stale(stretch) && i < supers->count && looked_at < least; i++)
	{
		uint32_t super = iqdbi_pick_id(supers, i);

		IQDB_TRY(pick_lists(scratch, model, query, work, super, stretch));
		looked_at += model->super_lists[super + 1] - model->super_lists[super];
	}
	return IQDB_OK;
}

/* Lists by estimated or exact distances, a few more than wanted, in scratch->pick. */
static IqdbStatus
pick_candidates(IqdbiScratch *scratch, const IqdbiModel *model, const float *work, uint32_t wanted,
				IqdbStretch *stretch)
{
	CentreQuery query = {0};

	iqdbi_pick_start(&scratch->pick, iqdbi_coarse_candidates(wanted));
	if (scratch->ivf->coded_centres)
		query = centre_query(scratch, model, work, 0);
	if (model->figures.supers > 1 && wanted < model->figures.lists)
		return pick_by_supers(scratch, model, &query, work, wanted, stretch);
	for (uint32_t super = 0; !is_stale(stretch) && super < model->figures.supers; super++)
		IQDB_TRY(pick_lists(scratch, model, &query, work, super, stretch));
	return IQDB_OK;
}

/* Exact distances of what was picked, which must be no more than were asked for. */
static IqdbStatus
compare_picked(IqdbiScratch *scratch, const IqdbiModel *model, const float *work, IqdbiPick *pick,
			   IqdbStretch *stretch)
{
	const IqdbiIvf *ivf = scratch->ivf;
	size_t          count = pick->count;

	for (size_t i = 0; i < count; i++)
		scratch->ids[i] = iqdbi_pick_id(pick, i);
	for (size_t at = 0; at < count && !is_stale(stretch); at += EXACT_CENTRES)
	{
		size_t part = count - at < EXACT_CENTRES ? count - at : EXACT_CENTRES;

		ivf->store->kernels->sums[ivf->sum].gather(work, model->centres, ivf->work_bytes,
												   scratch->ids + at, part, ivf->work_dim, scratch->keys + at);
		IQDB_TRY(step(stretch, part * ivf->work_bytes));
	}
	pick->count = 0;
	for (size_t i = 0; i < count; i++)
		iqdbi_pick_push(pick, scratch->keys[i] == scratch->keys[i] ? scratch->keys[i] : INFINITY, scratch->ids[i]);
	return IQDB_OK;
}

/* Sorts out the `wanted` nearest of what was picked, all in private memory; without the lock where that takes long. */
static IqdbStatus
sort_out(IqdbiPick *pick, size_t wanted, bool in_order, IqdbStretch *stretch)
{
	bool apart = stretch != NULL && pick->count > APART_MIN;

	if (apart)
		iqdb_stretch_leave(stretch);
	pick->wanted = wanted;
	if (in_order)
		iqdbi_pick_sort(pick);
	else
		iqdbi_pick_shrink(pick);
	return apart ? iqdb_stretch_enter(stretch) : IQDB_OK;
}

IqdbStatus
iqdbi_coarse_nearest(IqdbiScratch *scratch, const IqdbiModel *model, const float *work, uint32_t wanted,
					 IqdbStretch *stretch, uint32_t *count_out)
{
	IqdbiPick *pick = &scratch->pick;

	*count_out = 0;
	if (wanted > scratch->wanted_max)
		wanted = scratch->wanted_max;
	IQDB_TRY(pick_candidates(scratch, model, work, wanted, stretch));
	IQDB_TRY(sort_out(pick, pick->wanted, false, stretch));
	if (is_stale(stretch))
		return IQDB_OK;
	IQDB_TRY(compare_picked(scratch, model, work, pick, stretch));
	IQDB_TRY(sort_out(pick, wanted, true, stretch));
	if (is_stale(stretch))
		return IQDB_OK;
	*count_out = (uint32_t) pick->count;
	for (uint32_t i = 0; i < *count_out; i++)
		scratch->ids[i] = iqdbi_pick_id(pick, i);
	return IQDB_OK;
}

uint32_t
iqdbi_coarse_assign(IqdbiScratch *scratch, const IqdbiModel *model, const float *work, float *key_out)
{
	uint32_t   count;
	IqdbStatus status = iqdbi_coarse_nearest(scratch, model, work, 1, NULL, &count);
	bool       found = status == IQDB_OK && count > 0;

	if (key_out != NULL)
		*key_out = found ? iqdbi_pick_key(&scratch->pick, 0) : INFINITY;
	return found ? scratch->ids[0] : 0;
}

/*
 * Every block of centres is read once for all rows. All blocks hold whole ones, so that the last one may be summed beyond
 * its last centre.
 */
static void
pick_for_rows(IqdbiScratch *scratch, const IqdbiModel *model, const float *works, size_t rows, IqdbiPick *picks)
{
	const IqdbiIvf      *ivf = scratch->ivf;
	const unsigned char *block = model->packed;
	CentreQuery          queries[IQDBI_COARSE_ROWS];
	int32_t              starts[IQDBI_COARSE_ROWS];
	int32_t              sums[IQDBI_COARSE_ROWS * IQDBI_BLOCK_ROWS];

	for (size_t row = 0; row < IQDBI_COARSE_ROWS; row++)
	{
		/* rows that are not there are the first one once more */
		queries[row] = centre_query(scratch, model, row < rows ? works + row * ivf->work_stride : works, row);
		starts[row] = queries[row].start;
	}
	for (uint32_t first = 0; first < model->figures.lists; first += IQDBI_BLOCK_ROWS, block += ivf->centres.size)
	{
		ivf->packed->dot_many(block + ivf->centres.codes_at, ivf->centres.words, scratch->query, starts, sums);
		for (size_t row = 0; row < rows; row++)
			pick_block(&queries[row], block, sums + row * IQDBI_BLOCK_ROWS, first, model->figures.lists, &picks[row]);
	}
}

void
iqdbi_coarse_assign_rows(IqdbiScratch *scratch, const IqdbiModel *model, const float *works, size_t rows, bool exactly,
						 uint32_t *lists_out, float *keys_out)
{
	const IqdbiIvf *ivf = scratch->ivf;
	IqdbiPick       picks[IQDBI_COARSE_ROWS];
	uint64_t        entries[IQDBI_COARSE_ROWS][PICK_ROOM];

	if (!ivf->coded_centres || model->figures.supers > 1)
	{
		for (size_t row = 0; row < rows; row++)
			lists_out[row] = iqdbi_coarse_assign(scratch, model, works + row * ivf->work_stride, &keys_out[row]);
		return;
	}
	for (size_t row = 0; row < rows; row++)
	{
		picks[row] = (IqdbiPick){.entries = entries[row], .room = exactly ? PICK_ROOM : 2};
		iqdbi_pick_start(&picks[row], exactly ? iqdbi_coarse_candidates(1) : 1);
	}
	if (rows > 0)
		pick_for_rows(scratch, model, works, rows, picks);
	for (size_t row = 0; row < rows; row++)
	{
		iqdbi_pick_shrink(&picks[row]);
		if (exactly)
			(void) compare_picked(scratch, model, works + row * ivf->work_stride, &picks[row], NULL);
		picks[row].wanted = 1;
		iqdbi_pick_shrink(&picks[row]);
		lists_out[row] = picks[row].count > 0 ? iqdbi_pick_id(&picks[row], 0) : 0;
		keys_out[row] = picks[row].count > 0 ? iqdbi_pick_key(&picks[row], 0) : INFINITY;
	}
}
