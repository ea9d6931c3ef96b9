/*
 * ivf_query.c - a query as the codes of a list need it: bytes relative to the list's centre, or tables for look-ups.
 */
#include "core/ivf/ivf_query_private.h"

#include <string.h>

/* Entries of a table, and what each is at most. */
#define NIBBLES 16u
#define TABLE_MAX 255.0f

/*
 * How far <r, q> is from what signs say of it: with x the signs at length one and cos the cosine of r and x, the error over
 * |r| |q| has mean 0 and deviation sqrt((1 - cos^2) / (cos^2 (dim - 1))) over all rotations (RaBitQ, theorem 3.2). With
 * |r| = scale * cos * sqrt(dim), and the mean of cos^2 over rotations, 2 / pi + (1 - 2 / pi) / dim, that is
 * scale * |q| * sqrt(1 - 2 / pi): nothing has to be kept for it.
 */
#define SIGNS_DEVIATION 0.60281027f

static size_t
table_bytes(const IqdbiIvf *ivf)
{
	return ivf->rows.words * 2 * NIBBLES;
}

void
iqdbi_query_place(IqdbiQuery *query, const IqdbiIvf *ivf, IqdbCarve *carve)
{
	bool   scalar = iqdbi_layout_scalar(&ivf->rows);
	size_t tables = scalar ? 0 : table_bytes(ivf);

	query->bytes = scalar ? iqdb_carve(carve, iqdbi_code_size(&ivf->rows), 1) : NULL;
	query->tables = scalar ? NULL : iqdb_carve(carve, tables, 1);
	query->floats = iqdb_carve(carve, ivf->code_stride + tables, sizeof(*query->floats));
}

/* Rounds tables of floats to bytes with one step for all; sum of floats ~ weight * sum of bytes + shift. */
static void
round_tables(IqdbiQuery *query, const float *tables, size_t count, float factor)
{
	double  shift = 0;
	float   widest = 0.0f;
	float   inverse;

	for (size_t table = 0; table < count; table++)
	{
		const float *values = tables + table * NIBBLES;
		float        low = values[0];
		float        high = values[0];

		for (uint32_t i = 1; i < NIBBLES; i++)
		{
			low = values[i] < low ? values[i] : low;
			high = values[i] > high ? values[i] : high;
		}
		widest = high - low > widest ? high - low : widest;
	}
	memset(query->tables, 0, table_bytes(query->ivf));
	query->line.weight = 0.0f;
	query->line.shift = 0.0f;
	if (!(widest >= IQDBI_SMALLEST_CODED && widest <= IQDBI_LARGEST_CODED))
		return;
	inverse = TABLE_MAX / widest;
	for (size_t table = 0; table < count; table++)
	{
		const float *values = tables + table * NIBBLES;
		float        low = values[0];

		for (uint32_t i = 1; i < NIBBLES; i++)
			low = values[i] < low ? values[i] : low;
		shift += (double) low;
		for (uint32_t i = 0; i < NIBBLES; i++)
			query->tables[table * NIBBLES + i] = (uint8_t) ((values[i] - low) * inverse + 0.5f);
	}
	query->line.weight = factor * (widest / TABLE_MAX);
	query->line.shift = (float) ((double) factor * shift);
}

/* Sums of four components under all patterns of signs. */
static void
tabulate_signs(const float *components, float *table)
{
	table[0] = -components[0] - components[1] - components[2] - components[3];
	for (uint32_t pattern = 1; pattern < NIBBLES; pattern++)
		table[pattern] = table[pattern & (pattern - 1)] + 2.0f * components[__builtin_ctz(pattern)];
}

static void
start_signs(IqdbiQuery *query)
{
	const IqdbiIvf *ivf = query->ivf;
	float          *rotated = query->floats;
	float          *tables = query->floats + ivf->code_stride;
	size_t          count = (ivf->dim + 3) / 4;
	bool            lifted = ivf->space == IQDB_SPACE_LIFTED;

	iqdbi_code_rotate(ivf, query->model, query->work, 1.0f, lifted ? NULL : query->model->mean, rotated);
	for (size_t table = 0; table < count; table++)
		tabulate_signs(rotated + 4 * table, tables + table * NIBBLES);
	round_tables(query, tables, count, lifted ? -1.0f : -2.0f);
	query->signs_shift = query->line.shift;
}

/* From estimates to bounds: as if every row were so much nearer. length2: of the vector that signs are multiplied by. */
static void
bound_signs(IqdbiQuery *query, float length2, float factor)
{
	query->line.shift = query->signs_shift - factor * IQDBI_SIGNS_BOUND * SIGNS_DEVIATION * sqrtf(length2);
}

static void
start_product(IqdbiQuery *query)
{
	const IqdbiIvf *ivf = query->ivf;
	float          *tables = query->floats + ivf->code_stride;
	IqdbPq          pq = ivf->pq;

	pq.codebook = query->model->codebook;
	if (ivf->space == IQDB_SPACE_PLAIN)
	{
		(void) ivf->kernels->residual(query->vector, 1.0f, query->model->mean, ivf->dim, query->floats);
		iqdb_pq_tabulate(&pq, IQDB_SUM_DOT, query->floats, tables);
		round_tables(query, tables, pq.subvectors, 2.0f);
		return;
	}
	iqdb_pq_tabulate(&pq, ivf->store->metric->sum, query->vector, tables);
	round_tables(query, tables, pq.subvectors, 1.0f);
}

static void
code_for_list(IqdbiQuery *query, const float *from, float factor)
{
	const IqdbiIvf *ivf = query->ivf;
	IqdbiByteCode   code = iqdbi_code_query(ivf, query->work, from, ivf->dim, iqdbi_code_size(&ivf->rows), query->floats,
											query->bytes);

	query->start = -iqdbi_scalar_zero(&ivf->rows) * code.sum;
	query->line.base = code.square;
	query->line.weight = factor * code.scale;
}

void
iqdbi_query_start(IqdbiQuery *query, const IqdbiIvf *ivf, const IqdbiModel *model, const float *vector,
				  const float *work, float norm2)
{
	query->ivf = ivf;
	query->model = model;
	query->vector = vector;
	query->work = work;
	query->norm2 = norm2;
	query->start = 0;
	query->line = (IqdbiLine){0.0f, 0.0f, 0.0f};
	if (ivf->rows.coding == IQDBI_CODING_PRODUCT)
		start_product(query);
	else if (ivf->rows.coding == IQDBI_CODING_SIGNS)
		start_signs(query);
	else if (iqdbi_layout_scalar(&ivf->rows) && ivf->space == IQDB_SPACE_LIFTED)
		code_for_list(query, NULL, -1.0f);
}

void
iqdbi_query_list(IqdbiQuery *query, uint32_t list)
{
	const IqdbiIvf *ivf = query->ivf;
	const float    *centre = query->model->centres + (size_t) list * ivf->work_stride;

	if (ivf->rows.coding == IQDBI_CODING_PRODUCT && !iqdbi_codes_residuals(ivf))
		return;
	if (ivf->space == IQDB_SPACE_LIFTED)
		query->line.base = -ivf->store->kernels->sums[IQDB_SUM_DOT].pair(centre, query->vector, ivf->dim);
	else if (iqdbi_layout_scalar(&ivf->rows))
		code_for_list(query, centre, -2.0f);
	else
		query->line.base = ivf->store->kernels->sums[IQDB_SUM_L2].pair(centre, query->work, ivf->dim);
	if (ivf->rows.coding == IQDBI_CODING_SIGNS && ivf->space == IQDB_SPACE_LIFTED)
		bound_signs(query, query->norm2, 1.0f);
	else if (ivf->rows.coding == IQDBI_CODING_SIGNS)
		bound_signs(query, query->line.base, 2.0f);
}

/* The scales or offsets that begin at `at` as floats, if need be in memory for those of a block; NULL = there are none. */
static const float *
block_scalars(const IqdbiIvf *ivf, const unsigned char *block, size_t at, float *memory)
{
	if (at == 0)
		return NULL;
	if (!ivf->rows.short_scalars)
		return (const float *) (const void *) (block + at);
	ivf->kernels->widen((const uint16_t *) (const void *) (block + at), memory);
	return memory;
}

uint32_t
iqdbi_query_block(const IqdbiQuery *query, const unsigned char *block, uint32_t count, float limit, float *keys_out)
{
	const IqdbiIvf         *ivf = query->ivf;
	const IqdbiBlockLayout *layout = &ivf->rows;
	int32_t                 sums[IQDBI_BLOCK_ROWS];
	float                   scales[IQDBI_BLOCK_ROWS];
	float                   offsets[IQDBI_BLOCK_ROWS];
	uint32_t                near;

	if (iqdbi_layout_scalar(layout))
		iqdbi_scalar_sums(ivf->packed, layout, block, count, query->bytes, query->start, sums);
	else
		ivf->kernels->nibbles(block + layout->codes_at, layout->words, query->tables, sums);
	near = ivf->kernels->finish(sums, block_scalars(ivf, block, layout->scales_at, scales),
								block_scalars(ivf, block, layout->offsets_at, offsets), &query->line, limit, keys_out);
	return count >= IQDBI_BLOCK_ROWS ? near : near & ((UINT32_C(1) << count) - 1);
}
