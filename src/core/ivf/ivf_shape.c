/*
 * ivf_shape.c - what follows from the options of an index alone: the space of cells, and the layout of blocks.
 */
#include "core/ivf/ivf_arena_private.h"

#include <string.h>

/*
 * From here on sq8 keeps four bits per component in lists. The error of a distance shrinks with the root of the number of
 * components, and what a scan costs is the bytes it reads.
 */
#define HALVES_DIMENSION_MIN 64u

/* Dimensions of one nibble when the user names no number of subvectors, and of one nibble of sign bits. */
#define PRODUCT_NIBBLE_DIMS 2u
#define SIGNS_NIBBLE_DIMS 4u

static size_t
quads(size_t dim)
{
	return (dim + 3) / 4;
}

/* A byte per subvector, of two nibbles where it has two dimensions. */
static uint32_t
product_nibbles(const IqdbIndexOptions *options)
{
	uint32_t dim = options->dimension;

	if (options->pq_subvectors == 0)
		return (dim + PRODUCT_NIBBLE_DIMS - 1) / PRODUCT_NIBBLE_DIMS;
	return options->pq_subvectors <= dim / 2 ? 2 * options->pq_subvectors : dim;
}

static void
shape_rows(IqdbiIvf *ivf, const IqdbIndexOptions *options)
{
	uint32_t dim = options->dimension;
	uint32_t nibbles = product_nibbles(options);

	switch (options->quantization)
	{
		case IQDB_QUANTIZATION_SQ8:
			if (dim < HALVES_DIMENSION_MIN)
				ivf->rows = iqdbi_block_layout(IQDBI_CODING_BYTES, true, true, false, quads(dim));
			else
				ivf->rows = iqdbi_block_layout(IQDBI_CODING_HALVES, true, true, true, iqdb_packed_octets(dim));
			break;
		case IQDB_QUANTIZATION_PQ:
			ivf->rows = iqdbi_block_layout(IQDBI_CODING_PRODUCT, false, ivf->space == IQDB_SPACE_PLAIN, true,
									 (nibbles + 1) / 2);
			(void) (iqdb_pq_init(dim, nibbles, 16, &ivf->pq, NULL) == IQDB_OK);
			ivf->codebook = iqdb_pq_codebook_floats(&ivf->pq);
			break;
		case IQDB_QUANTIZATION_BQ:
			nibbles = (dim + SIGNS_NIBBLE_DIMS - 1) / SIGNS_NIBBLE_DIMS;
			ivf->rows = iqdbi_block_layout(IQDBI_CODING_SIGNS, true, true, true, (nibbles + 1) / 2);
			ivf->codebook = iqdb_rotation_flips(dim);
			break;
		default:
			ivf->rows = iqdbi_block_layout(IQDBI_CODING_NONE, false, false, false, 0);
			break;
	}
}

/*
 * The space of the metric. Of zeros and ones a squared distance is the number of components that differ, so their cells
 * have means for centres instead of one of two patterns for each component.
 */
static IqdbSpace
space_of(const IqdbIndexOptions *options, const IqdbMetricTraits *metric)
{
	bool numbers = iqdb_element(options->element)->has_numbers;

	return metric->space == IQDB_SPACE_GRID && !numbers ? IQDB_SPACE_PLAIN : metric->space;
}

void
iqdbi_ivf_shape(IqdbiIvf *ivf_out, const IqdbIndexOptions *options)
{
	const IqdbMetricTraits *metric = iqdb_metric_traits(options->metric);

	memset(ivf_out, 0, sizeof(*ivf_out));
	ivf_out->dim = options->dimension;
	ivf_out->space = space_of(options, metric);
	ivf_out->coded_centres = ivf_out->space != IQDB_SPACE_GRID;
	ivf_out->sum = ivf_out->coded_centres ? IQDB_SUM_L2 : metric->sum;
	ivf_out->work_dim = ivf_out->dim + (ivf_out->space == IQDB_SPACE_LIFTED);
	ivf_out->work_stride = (ivf_out->work_dim + 15) / 16 * 16;
	/* the space is one of floats, whatever rows are made of */
	ivf_out->work_bytes = iqdb_element_bytes(iqdb_element(IQDB_ELEMENT_F32), ivf_out->work_stride);
	ivf_out->code_stride = (ivf_out->work_dim + 63) / 64 * 64;
	shape_rows(ivf_out, options);
	if (ivf_out->coded_centres)
		ivf_out->centres = iqdbi_block_layout(IQDBI_CODING_BYTES, true, true, false, quads(ivf_out->work_dim));
	else
		ivf_out->centres = iqdbi_block_layout(IQDBI_CODING_NONE, false, false, false, 0);
}

void
iqdbi_ivf_view(IqdbiIvf *ivf_out, IqdbStore *store)
{
	iqdbi_ivf_shape(ivf_out, &store->header->options);
	ivf_out->store = store;
	ivf_out->header = store->engine_header;
	ivf_out->kernels = iqdbi_ivf_kernels(store->kernels);
	ivf_out->packed = iqdb_packed_kernels(store->kernels);
	ivf_out->signs = iqdb_signs_kernels(store->kernels);
	for (uint32_t edition = 0; edition < 2; edition++)
	{
		ivf_out->homes[edition] = iqdb_store_engine_region(store, IQDBI_IVF_HOMES + edition);
		ivf_out->blocks[edition] = iqdb_store_engine_region(store, IQDBI_IVF_BLOCKS + edition);
		ivf_out->links[edition] = iqdb_store_engine_region(store, IQDBI_IVF_LINKS + edition);
	}
	ivf_out->spans = iqdb_store_engine_region(store, IQDBI_IVF_WAITING);
}
