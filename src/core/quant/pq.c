/*
 * pq.c - product quantizer: training, codes, tables; see pq.h.
 *
 * Loops run over 16 centres side by side with a fixed count, which compilers turn into vector instructions. The nearest
 * centre of a piece is the one with the least squared difference (also where rows are ranked by DOT: the code that stays
 * nearest to the vector disturbs its products least); a tie goes to the lower number.
 */
#include "core/quant/pq.h"

#include <string.h>

IqdbStatus
iqdb_pq_init_uneven(uint32_t dim, uint32_t subvectors, uint32_t centres, IqdbPq *pq_out, IqdbError *err)
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

IqdbStatus
iqdb_pq_init(uint32_t dim, uint32_t subvectors, uint32_t centres, IqdbPq *pq_out, IqdbError *err)
{
	memset(pq_out, 0, sizeof(*pq_out));
	if (subvectors == 0 || dim % subvectors != 0)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "%u pieces do not divide %u dimensions", subvectors, dim);
	return iqdb_pq_init_uneven(dim, subvectors, centres, pq_out, err);
}

static IqdbStatus
check_metric(IqdbMetric metric, IqdbError *err)
{
	const char *name = iqdb_metric_name(metric);

	if (metric != IQDB_METRIC_L2 && metric != IQDB_METRIC_DOT && metric != IQDB_METRIC_L1)
		return iqdb_fail(err, IQDB_ERR_METRIC, "product codes cannot rank by metric %s", name != NULL ? name : "unknown");
	return IQDB_OK;
}

static IqdbStatus
check_vector(const IqdbPq *pq, const float *vector, size_t dim, IqdbError *err)
{
	if (pq->codebook == NULL)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "the product quantizer has not been trained");
	if (dim != pq->dim)
		return iqdb_fail(err, IQDB_ERR_DIMENSION, "expected %u dimensions, not %zu", pq->dim, dim);
	return iqdb_vector_check(vector, dim, err);
}

static IqdbStatus
check_code(const IqdbPq *pq, const uint8_t *code, size_t length, IqdbError *err)
{
	if (pq->codebook == NULL)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "the product quantizer has not been trained");
	if (length != pq->subvectors)
		return iqdb_fail(err, IQDB_ERR_DIMENSION, "expected a code of %u bytes, not %zu", pq->subvectors, length);
	for (size_t i = 0; i < length; i++)
	{
		if (code[i] >= pq->centres)
			return iqdb_fail(err, IQDB_ERR_CONFIG, "a code names centre %u of %u", code[i], pq->centres);
	}
	return IQDB_OK;
}

/* ---- sums over one piece ---- */

/* Adds the terms of one dimension for 16 centres. */
static inline void
add_terms(IqdbMetric metric, float component, const float *centres, float *sums)
{
	if (metric == IQDB_METRIC_DOT)
	{
		for (uint32_t lane = 0; lane < IQDB_PQ_LANES; lane++)
			sums[lane] -= component * centres[lane];
		return;
	}
	for (uint32_t lane = 0; lane < IQDB_PQ_LANES; lane++)
	{
		float difference = component - centres[lane];

		sums[lane] += metric == IQDB_METRIC_L1 ? fabsf(difference) : difference * difference;
	}
}

/* Sums of one piece against 16 centres from `lane` on. */
static inline void
piece_sums(const IqdbPq *pq, IqdbMetric metric, const float *vector, uint32_t sub, uint32_t lane, float *sums)
{
	uint32_t first = iqdb_pq_first(pq, sub);
	uint32_t end = iqdb_pq_first(pq, sub + 1);

	for (uint32_t i = 0; i < IQDB_PQ_LANES; i++)
		sums[i] = 0.0f;
	for (uint32_t d = first; d < end; d++)
		add_terms(metric, vector[d], pq->codebook + (size_t) d * pq->lanes + lane, sums);
}

void
iqdb_pq_tabulate(const IqdbPq *pq, IqdbMetric metric, const float *query, float *tables_out)
{
	for (uint32_t sub = 0; sub < pq->subvectors; sub++)
	{
		for (uint32_t lane = 0; lane < pq->lanes; lane += IQDB_PQ_LANES)
		{
			float *sums = tables_out + (size_t) sub * pq->lanes + lane;

			/* the metric as a constant in each branch: one loop without a test inside */
			if (metric == IQDB_METRIC_DOT)
				piece_sums(pq, IQDB_METRIC_DOT, query, sub, lane, sums);
			else if (metric == IQDB_METRIC_L1)
				piece_sums(pq, IQDB_METRIC_L1, query, sub, lane, sums);
			else
				piece_sums(pq, IQDB_METRIC_L2, query, sub, lane, sums);
		}
	}
}

float
iqdb_pq_table_key(const IqdbPq *pq, const float *tables, const uint8_t *code)
{
	float key = 0.0f;

	for (uint32_t sub = 0; sub < pq->subvectors; sub++)
		key += tables[(size_t) sub * pq->lanes + code[sub]];
	return key;
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

			piece_sums(pq, IQDB_METRIC_L2, vector, sub, lane, sums);
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

IqdbStatus
iqdb_pq_encode(const IqdbPq *pq, const float *vector, size_t dim, uint8_t *code_out, IqdbError *err)
{
	IQDB_TRY(check_vector(pq, vector, dim, err));
	iqdb_pq_code(pq, vector, code_out);
	return IQDB_OK;
}

IqdbStatus
iqdb_pq_decode(const IqdbPq *pq, const uint8_t *code, size_t code_length, float *vector_out, IqdbError *err)
{
	IQDB_TRY(check_code(pq, code, code_length, err));
	iqdb_pq_restore(pq, code, vector_out);
	return IQDB_OK;
}

IqdbStatus
iqdb_pq_tables(const IqdbPq *pq, IqdbMetric metric, const float *query, size_t dim, float *tables_out, IqdbError *err)
{
	IQDB_TRY(check_metric(metric, err));
	IQDB_TRY(check_vector(pq, query, dim, err));
	iqdb_pq_tabulate(pq, metric, query, tables_out);
	return IQDB_OK;
}

IqdbStatus
iqdb_pq_key(const IqdbPq *pq, IqdbMetric metric, const float *query, size_t dim, const uint8_t *code,
			size_t code_length, float *key_out, IqdbError *err)
{
	float key = 0.0f;

	IQDB_TRY(check_metric(metric, err));
	IQDB_TRY(check_vector(pq, query, dim, err));
	IQDB_TRY(check_code(pq, code, code_length, err));
	for (uint32_t sub = 0; sub < pq->subvectors; sub++)
	{
		float sums[IQDB_PQ_LANES];

		piece_sums(pq, metric, query, sub, code[sub] / IQDB_PQ_LANES * IQDB_PQ_LANES, sums);
		key += sums[code[sub] % IQDB_PQ_LANES];
	}
	*key_out = key;
	return IQDB_OK;
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
iqdb_pq_train(IqdbPq *pq, IqdbMetric metric, const IqdbHost *host, const IqdbKernels *kernels,
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
	IQDB_TRY(check_metric(metric, err));
	IQDB_TRY(check_points(pq, points, err));
	if (points->count < pq->centres)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "%zu vectors are too few to find %u centres", points->count, pq->centres);
	params.sum = metric == IQDB_METRIC_L1 ? IQDB_SUM_L1 : IQDB_SUM_L2;
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

/* ---- figures ---- */

static double
square_between(const float *a, const double *b, const float *c, size_t dim)
{
	double sum = 0;

	for (size_t d = 0; d < dim; d++)
	{
		double difference = (double) a[d] - (b != NULL ? b[d] : (double) c[d]);

		sum += difference * difference;
	}
	return sum;
}

IqdbStatus
iqdb_pq_error(const IqdbPq *pq, const IqdbPoints *points, const IqdbAllocator *allocator, IqdbPqError *error_out,
			  IqdbError *err)
{
	size_t  size = pq->dim * (sizeof(double) + sizeof(float)) + pq->subvectors;
	double *mean;
	float  *decoded;
	double  total = 0;
	double  spread = 0;

	memset(error_out, 0, sizeof(*error_out));
	IQDB_TRY(check_points(pq, points, err));
	IQDB_TRY(check_vector(pq, points->rows, points->dim, err));
	mean = iqdb_alloc_zero(allocator, size);
	if (mean == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for one vector");
	decoded = (float *) (mean + pq->dim);
	for (size_t i = 0; i < points->count; i++)
	{
		for (size_t d = 0; d < pq->dim; d++)
			mean[d] += (double) points->rows[i * points->stride + d] / (double) points->count;
	}
	for (size_t i = 0; i < points->count; i++)
	{
		const float *row = points->rows + i * points->stride;
		double       square;

		iqdb_pq_code(pq, row, (uint8_t *) (decoded + pq->dim));
		iqdb_pq_restore(pq, (uint8_t *) (decoded + pq->dim), decoded);
		square = square_between(row, NULL, decoded, pq->dim);
		total += square;
		spread += square_between(row, mean, NULL, pq->dim);
		error_out->worst_square = square > error_out->worst_square ? square : error_out->worst_square;
	}
	iqdb_free(allocator, mean, size);
	error_out->mean_square = total / (double) points->count;
	error_out->relative = total > 0 ? total / spread : 0;
	return IQDB_OK;
}
