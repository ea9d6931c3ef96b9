/*
 * ivf_size.c - how many lists an index has, and how much memory and disk that takes.
 */
#include "core/ivf/ivf_contract_private.h"

#include <math.h>
#include <string.h>

#include "core/ivf/ivf.h"
#include "core/ivf/ivf_edition_private.h"
#include "core/ivf/ivf_home_private.h"
#include "core/ivf/ivf_model_private.h"

/*
 * Automatic: lists = LISTS_FACTOR * sqrt(rows), none below ROWS_MIN rows, and at least ROWS_PER_LIST rows a list. Sign
 * codes are so quick to scan that half as many lists are as good, and they are there to save memory, of which centres
 * take much.
 */
#define LISTS_FACTOR 3.0
#define LISTS_FACTOR_SIGNS 1.5
#define ROWS_MIN 1000u
#define ROWS_PER_LIST 32u

/* Bytes of a component of a centre in a snapshot. */
#define SAVED_COMPONENT UINT64_C(4)

uint32_t
iqdb_ivf_wanted_lists(const IqdbIndexOptions *options, uint64_t rows)
{
	double lists;

	if (options->lists > 0)
		return rows >= options->lists ? options->lists : 0;
	if (rows < ROWS_MIN)
		return 0;
	lists = (options->quantization == IQDB_QUANTIZATION_BQ ? LISTS_FACTOR_SIGNS : LISTS_FACTOR) * sqrt((double) rows);
	if (lists > (double) (rows / ROWS_PER_LIST))
		lists = (double) (rows / ROWS_PER_LIST);
	return lists < IQDBI_LISTS_MAX ? (uint32_t) lists : IQDBI_LISTS_MAX;
}

static uint64_t
square_root(uint64_t number)
{
	return (uint64_t) sqrt((double) number) + 1;
}

/* The most lists an index with so many slots can have. */
static uint64_t
lists_max(const IqdbIndexOptions *options, uint64_t slots)
{
	uint32_t automatic;
	IqdbIndexOptions free_choice = *options;

	if (options->lists > 0)
		return options->lists;
	free_choice.lists = 0;
	automatic = iqdb_ivf_wanted_lists(&free_choice, slots);
	return automatic > 0 ? automatic : 1;
}

/* Bytes of a model with so many lists, at most. */
static uint64_t
model_bytes(const IqdbiIvf *ivf, uint64_t lists)
{
	IqdbiFigures figures = {.lists = (uint32_t) lists,
							.supers = lists > IQDBI_ONE_LEVEL_LISTS ? (uint32_t) square_root(lists) : 1};

	/* a part of a block may stay empty at the end of each run of centres */
	figures.coarse_blocks = figures.lists / IQDBI_BLOCK_ROWS + figures.supers + 1;
	figures.super_blocks = figures.supers / IQDBI_BLOCK_ROWS + 1;
	return iqdbi_model_size(ivf, &figures);
}

void
iqdbi_ivf_reserves(const IqdbIndexOptions *options, uint64_t slots_max, uint64_t reserves_out[IQDB_ENGINE_REGIONS_MAX])
{
	uint64_t lists = lists_max(options, slots_max);
	uint64_t blocks;
	IqdbiIvf ivf;

	memset(reserves_out, 0, IQDB_ENGINE_REGIONS_MAX * sizeof(*reserves_out));
	iqdbi_ivf_shape(&ivf, options);
	/* each list may end in an empty part of a block */
	blocks = slots_max / IQDBI_BLOCK_ROWS + lists + 64;
	for (uint32_t edition = 0; edition < 2; edition++)
	{
		reserves_out[IQDBI_IVF_HOMES + edition] = slots_max * iqdbi_home_size((uint32_t) lists);
		reserves_out[IQDBI_IVF_MODELS + edition] = model_bytes(&ivf, lists);
		reserves_out[IQDBI_IVF_LISTS + edition] = iqdbi_lists_size(lists);
		reserves_out[IQDBI_IVF_BLOCKS + edition] = blocks * ivf.rows.size;
		reserves_out[IQDBI_IVF_LINKS + edition] = blocks * sizeof(uint32_t);
	}
	reserves_out[IQDBI_IVF_WORK] = iqdbi_fill_bytes(slots_max, lists);
	reserves_out[IQDBI_IVF_WAITING] = (slots_max / IQDBI_SPAN_SLOTS + 1) * sizeof(IqdbiSpan);
}

uint64_t
iqdbi_ivf_bytes_per_row(const IqdbIndexOptions *options)
{
	IqdbiIvf ivf;

	iqdbi_ivf_shape(&ivf, options);
	/* a home word, and a share of a block with its link, and of a word of bits */
	return iqdbi_home_size(0) + (ivf.rows.size + 2 * sizeof(uint32_t) + IQDBI_BLOCK_ROWS - 1) / IQDBI_BLOCK_ROWS;
}

uint64_t
iqdbi_ivf_bytes_beside(const IqdbIndexOptions *options, uint64_t rows)
{
	IqdbiIvf ivf;
	uint32_t lists = iqdb_ivf_wanted_lists(options, rows);

	iqdbi_ivf_shape(&ivf, options);
	/* centres, of each list half a block that stays empty, and wider home words where there are many */
	return lists == 0 ? 0 : model_bytes(&ivf, lists) + lists * (sizeof(IqdbiList) + ivf.rows.size / 2) +
								rows * (iqdbi_home_size(lists) - iqdbi_home_size(0));
}

uint64_t
iqdbi_ivf_snapshot_bytes(const IqdbIndexOptions *options, uint64_t rows)
{
	IqdbiIvf ivf;

	iqdbi_ivf_shape(&ivf, options);
	return rows * sizeof(uint32_t) + iqdb_ivf_wanted_lists(options, rows) * ivf.work_dim * SAVED_COMPONENT;
}
