/*
 * pq.c - product quantizer: training, codes, tables; see pq.h.
 *
 * Loops run over 16 centres side by side with a fixed count, which compilers turn into vector instructions. The nearest
 * centre of a piece is the one with the least squared difference (also where rows are ranked by products: the code that
 * stays nearest to the vector disturbs them least); a tie goes to the lower number.
 */
#include "core/quant/pq.h"

#include <string.h>

IqdbStatus
iqdb_pq_init(uint32_t dim, uint32_t subvectors, uint32_t centres, IqdbPq *pq_out, IqdbError *err)
{
	memset(pq_out, 0, sizeof(*pq_out));
	if (dim == 0 || subvectors == 0 || subvectors > dim)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "%u dimensions cannot be cut into %u pieces", dim, subvectors);
	if (centres == 0 || centres > IQDB_PQ_CENTRES_MAX)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "a codebook has 1 to %u centres, not %u", IQDB_PQ_CENTRES_MAX, centres);
	pq_out->dim = dim;
	pq_out->subvectors = subvectors;
	pq_out->centres = centres;
	pq_out->lanes = (centres + IQDB_PQ_LANES - 1) / IQDB_PQ_LANES * IQDB_PQ_LANES;
	return IQDB_OK;
}

/* ---- sums over one piece ---- */

/* Adds the terms of one dimension for 16 centres. */
static inline void
add_terms(IqdbSum sum, float component, const float *centres, float *sums)
{
	if (sum == IQDB_SUM_DOT)
	{
		for (uint32_t lane = 0; lane < IQDB_PQ_LANES; lane++)
			sums[lane] -= component * centres[lane];
		return;
	}
	for (uint32_t lane = 0; lane < IQDB_PQ_LANES; lane++)
	{
		float difference = component - centres[lane];

		sums[lane] += sum == IQDB_SUM_L1 ? fabsf(difference) : difference * difference;
	}
}

/* Sums of one piece against 16 centres from `lane` on. */
static inline void
piece_sums(const IqdbPq *pq, IqdbSum sum, const float *vector, uint32_t sub, uint32_t lane, float *sums)
{
	uint32_t first = iqdb_pq_first(pq, sub);
	uint32_t end = iqdb_pq_first(pq, sub + 1);

	for (uint32_t i = 0; i < IQDB_PQ_LANES; i++)
		sums[i] = 0.0f;
	for (uint32_t d = first; d < end; d++)
		add_terms(sum, vector[d], pq->codebook + (size_t) d * pq->lanes + lane, sums);
}

void
iqdb_pq_tabulate(const IqdbPq *pq, IqdbSum sum, const float *query, float *tables_out)
{
	for (uint32_t sub = 0; sub < pq->subvectors; sub++)
	{
		for (uint32_t lane = 0; lane < pq->lanes; lane += IQDB_PQ_LANES)
		{
			float *sums = tables_out + (size_t) sub * pq->lanes + lane;

			/* the sum as a constant in each branch: one loop without a test inside */
			if (sum == IQDB_SUM_DOT)
				piece_sums(pq, IQDB_SUM_DOT, query, sub, lane, sums);
			else if (sum == IQDB_SUM_L1)
				piece_sums(pq, IQDB_SUM_L1, query, sub, lane, sums);
			else
				piece_sums(pq, IQDB_SUM_L2, query, sub, lane, sums);
		}
	}
}

/* ---- codes ---- */

void
iqdb_pq_code(const IqdbPq *pq, const float *vector, uint8_t *code_out)
{
	for (uint32_t sub = 0; sub < pq->subvectors; sub++)
	{
		float    least = INFINITY;
		uint32_t best = 0;

		for (uint32_t lane = 0; lane < pq->lanes; lane += IQDB_PQ_LANES)
		{
			uint32_t count = pq->centres - lane < IQDB_PQ_LANES ? pq->centres - lane : IQDB_PQ_LANES;
			float    sums[IQDB_PQ_LANES];

			piece_sums(pq, IQDB_SUM_L2, vector, sub, lane, sums);
			for (uint32_t i = 0; i < count; i++)
			{
				best = sums[i] < least ? lane + i : best;
				least = sums[i] < least ? sums[i] : least;
			}
		}
		code_out[sub] = (uint8_t) best;
	}
}

void
iqdb_pq_restore(const IqdbPq *pq, const uint8_t *code, float *vector_out)
{
	for (uint32_t sub = 0; sub < pq->subvectors; sub++)
	{
		for (uint32_t d = iqdb_pq_first(pq, sub); d < iqdb_pq_first(pq, sub + 1); d++)
			vector_out[d] = pq->codebook[(size_t) d * pq->lanes + code[sub]];
	}
}

/* ---- training ---- */

static IqdbStatus
check_points(const IqdbPq *pq, const IqdbPoints *points, IqdbError *err)
{
	if (points->count == 0)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "there are no vectors to train with");
	if (points->dim != pq->dim)
		return iqdb_fail(err, IQDB_ERR_DIMENSION, "expected %u dimensions, not %zu", pq->dim, points->dim);
	for (size_t i = 0; i < points->count; i++)
		IQDB_TRY(iqdb_vector_check(points->rows + i * points->stride, points->dim, err));
	return IQDB_OK;
}

/* Puts the centres of a piece, rows of `stride` floats, into the codebook; what is missing repeats the first. */
static void
store_centres(const IqdbPq *pq, uint32_t sub, const float *centres, size_t stride, uint32_t count, float *codebook)
{
	uint32_t first = iqdb_pq_first(pq, sub);
	uint32_t end = iqdb_pq_first(pq, sub + 1);

	for (uint32_t d = first; d < end; d++)
	{
		for (uint32_t lane = 0; lane < pq->lanes; lane++)
			codebook[(size_t) d * pq->lanes + lane] = centres[(lane < count ? lane : 0) * stride + (d - first)];
	}
}

/* Piece `sub` of every point, close together. */
static void
cut_piece(const IqdbPq *pq, uint32_t sub, const IqdbPoints *points, float *piece)
{
	uint32_t first = iqdb_pq_first(pq, sub);
	uint32_t length = iqdb_pq_first(pq, sub + 1) - first;

	for (size_t i = 0; i < points->count; i++)
		memcpy(piece + i * length, points->rows + i * points->stride + first, length * sizeof(float));
}

IqdbStatus
iqdb_pq_train(IqdbPq *pq, IqdbSum sum, const IqdbHost *host, const IqdbKernels *kernels,
			  const IqdbPoints *points, uint32_t iterations, uint64_t seed, float *codebook, IqdbError *err)
{
	IqdbKmeans params = {.host = host, .kernels = kernels, .iterations = iterations};
	uint32_t   longest = (pq->dim + pq->subvectors - 1) / pq->subvectors;
	size_t     room;
	size_t     centres_room = (size_t) longest * pq->centres * sizeof(float);
	float     *piece;
	float     *centres;
	IqdbStatus status = IQDB_OK;

	pq->codebook = NULL;
	if (sum != IQDB_SUM_L2 && sum != IQDB_SUM_L1)
		return iqdb_fail(err, IQDB_ERR_METRIC, "product codes cannot be learned by sum %d", (int) sum);
	IQDB_TRY(check_points(pq, points, err));
	if (points->count < pq->centres)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "%zu vectors are too few to find %u centres", points->count, pq->centres);
	params.sum = sum;
	room = points->count * longest * sizeof(float);
	piece = iqdb_alloc(&host->allocator, room);
	centres = iqdb_alloc(&host->allocator, centres_room);
	if (piece == NULL || centres == NULL)
		status = iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for training with %zu vectors", points->count);
	for (uint32_t sub = 0; sub < pq->subvectors && status == IQDB_OK; sub++)
	{
		uint32_t   length = iqdb_pq_first(pq, sub + 1) - iqdb_pq_first(pq, sub);
		IqdbPoints pieces = {.rows = piece, .count = points->count, .stride = length, .dim = length};
		uint32_t   found;

		cut_piece(pq, sub, points, piece);
		params.seed = seed + sub;
		status = iqdb_kmeans_run(&params, &pieces, pq->centres, centres, &found, NULL, err);
		if (status == IQDB_OK)
			store_centres(pq, sub, centres, length, found, codebook);
	}
	iqdb_free(&host->allocator, centres, centres_room);
	iqdb_free(&host->allocator, piece, room);
	if (status == IQDB_OK)
		pq->codebook = codebook;
	return status;
}
