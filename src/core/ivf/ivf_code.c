/*
 * ivf_code.c - rows, centres and queries as codes.
 *
 * Owns: what the numbers in a block mean. With x a row and q the query in the space of cells (COSINE: scaled to length
 * one), c the centre of the row's list, r = x - c:
 *
 *   BYTES    r ~ scale * (code - 128). L2 and COSINE: |x - q|^2 ~ |q - c|^2 + |r|^2 - 2 <r, q - c>, with q - c coded anew for
 *            each list, and all three terms taken of the decoded vectors, so that the error is in proportion to the distances
 *            inside the cell, wherever it lies. DOT: -<x, q> ~ -<c, q> - <r, q>, with q coded once.
 *   HALVES   the same with r ~ scale * (code - 8), the query coded in bytes as before.
 *   PRODUCT  r by a product code of four bits a piece, r^ decoded. L2: |q - c|^2 + (|r^|^2 + 2 <c - m, r^>) - 2 <q - m, r^>
 *            with m the mean of all centres: the middle term belongs to the row, the last comes from one table per query,
 *            rounded to bytes. DOT: -<c, q> - <r^, q>. L1 does not fall apart like that: there x itself is coded.
 *   SIGNS    the signs of r after a random rotation (Gao, Long, "RaBitQ", SIGMOD 2024): <r, q> ~ |r|^2 / |r|_1 * sum of
 *            sign(r_i) q_i, where r and q are rotated. Four signs are a nibble, so the sum is looked up like a product code.
 *            Keys are not the estimates, but bounds that few rows' true keys are below.
 *
 * A COSINE row of length none has key 1 whatever the query. It is coded as the origin, and its offset gets the 1 that
 * a unit vector at right angles to everything would add: then the estimate is 2 = 2 * 1 for every query.
 *
 * Whatever the floats, a code is some code: what overflows or is no number becomes zero. Rows of such numbers are not in
 * lists with centres.
 */
#include "core/ivf/ivf_code_private.h"

#include <float.h>
#include <string.h>

#include "core/engine/keys.h"
#include "core/ivf/ivf_space_private.h"

/* Codes of single components: the largest magnitude. */
#define BYTE_MAX 127.0f
#define HALF_MAX 7.0f

/*
 * PRODUCT: squares of a row's difference to its centre in those of the others, and of the error in the row, from which on a
 * code is of no use.
 */
#define LOST_SPREADS 64.0
#define LOST_SHARE 0.5

/* ---- byte codes ---- */

/* How components become numbers: magnitudes up to max, zero as `plus`; whether the scale is kept short. */
typedef struct ByteRange
{
	float   max;
	int32_t plus;
	bool    short_scale;
} ByteRange;

static const ByteRange query_range = {BYTE_MAX, 0, false};

static ByteRange
row_range(const IqdbiBlockLayout *layout)
{
	return (ByteRange){layout->coding == IQDBI_CODING_HALVES ? HALF_MAX : BYTE_MAX, iqdbi_scalar_zero(layout),
					   layout->short_scalars};
}

/* a * factor - b, a number per byte; bytes behind dim are zeros. */
static IqdbiByteCode
code_range(const IqdbiIvf *ivf, const float *a, float factor, const float *b, size_t dim, size_t padded, ByteRange range,
		   float *floats, uint8_t *bytes)
{
	float    largest = ivf->kernels->residual(a, factor, b, dim, floats);
	int32_t  squares = 0;
	IqdbiByteCode code = {0.0f, 0.0f, 0};

	if (!(largest >= IQDBI_SMALLEST_CODED && largest <= IQDBI_LARGEST_CODED))
	{
		memset(bytes, range.plus, padded);
		return code;
	}
	/* shortened by 1/512 at most, and no number rounds beyond max */
	code.scale = range.short_scale ? iqdbi_code_shorten(largest / range.max) : largest / range.max;
	ivf->kernels->round(floats, dim, range.short_scale ? 1.0f / code.scale : range.max / largest, range.plus, bytes,
						&code.sum, &squares);
	memset(bytes + dim, range.plus, padded - dim);
	code.square = code.scale * code.scale * (float) squares;
	return code;
}

IqdbiByteCode
iqdbi_code_query(const IqdbiIvf *ivf, const float *a, const float *b, size_t dim, size_t padded, float *floats,
				 int8_t *bytes)
{
	return code_range(ivf, a, 1.0f, b, dim, padded, query_range, floats, (uint8_t *) bytes);
}

/* ---- sign codes ---- */

/* What the rotation leaves unset of a buffer of code_stride floats counts for nothing. */
void
iqdbi_code_rotate(const IqdbiIvf *ivf, const IqdbiModel *model, const float *vector, float factor, const float *centre,
				  float *out)
{
	ivf->signs->rotate(vector, factor, centre, model->codebook, ivf->dim, ivf->dim, out);
	memset(out + ivf->dim, 0, (ivf->code_stride - ivf->dim) * sizeof(*out));
}

static void
code_signs(const IqdbiIvf *ivf, const IqdbiModel *model, const float *centre, const float *row, float factor,
		   IqdbiCode *code)
{
	float        *residual = code->floats;
	float        *centred = code->floats + ivf->code_stride;
	IqdbSignsSize size;

	iqdbi_code_rotate(ivf, model, row, factor, centre, residual);
	ivf->signs->measure(residual, ivf->code_stride, &size);
	if (!(size.largest >= IQDBI_SMALLEST_CODED && size.largest <= IQDBI_LARGEST_CODED))
	{
		memset(code->bytes, 0, iqdbi_code_size(&ivf->rows));
		return;
	}
	ivf->signs->signs(residual, ivf->code_stride / 64, (uint64_t *) (void *) code->bytes);
	code->scale = iqdbi_code_shorten(size.square / size.absolute);
	if (ivf->space == IQDB_SPACE_LIFTED)
		return;
	iqdbi_code_rotate(ivf, model, centre, 1.0f, model->mean, centred);
	code->offset = size.square + 2.0f * code->scale * ivf->signs->along(residual, centred, ivf->code_stride);
}

/* ---- product codes ---- */

/* Squared distance; b NULL = to zero. */
static double
between(const IqdbiIvf *ivf, const float *a, const float *b)
{
	double sum = 0;

	for (size_t d = 0; d < ivf->dim; d++)
	{
		double difference = (double) a[d] - (b != NULL ? (double) b[d] : 0.0);

		sum += difference * difference;
	}
	return sum;
}

/*
 * One codebook serves all rows. A row much farther from its centre than others are is beyond it; where rows are coded
 * themselves, also one that is much shorter.
 */
static void
code_product(const IqdbiIvf *ivf, const IqdbiModel *model, const float *centre, const float *row, IqdbiCode *code)
{
	IqdbPq pq = ivf->pq;
	float *residual = code->floats;
	float *decoded = code->floats + ivf->code_stride;
	double offset = 0;

	pq.codebook = model->codebook;
	memset(code->bytes, 0, iqdbi_code_size(&ivf->rows));
	if (!iqdbi_codes_residuals(ivf))
	{
		iqdb_pq_code(&pq, row, code->bytes);
		iqdb_pq_restore(&pq, code->bytes, decoded);
		code->lost = between(ivf, row, decoded) > LOST_SHARE * between(ivf, row, NULL);
		return;
	}
	(void) ivf->kernels->residual(row, 1.0f, centre, ivf->dim, residual);
	iqdb_pq_code(&pq, residual, code->bytes);
	code->lost = model->figures.spread > 0 && between(ivf, residual, NULL) > (double) model->figures.spread * LOST_SPREADS;
	if (ivf->rows.offsets_at == 0)
		return;
	iqdb_pq_restore(&pq, code->bytes, decoded);
	for (size_t d = 0; d < ivf->dim; d++)
		offset += (double) decoded[d] * ((double) decoded[d] + 2 * ((double) centre[d] - (double) model->mean[d]));
	code->offset = (float) offset;
}

/* ---- rows and centres ---- */

void
iqdbi_code_row(const IqdbiIvf *ivf, const IqdbiModel *model, uint32_t list, uint32_t slot, IqdbiCode *code)
{
	const float *row;
	const float *centre = model->centres + (size_t) list * ivf->work_stride;
	bool         unit = ivf->space == IQDB_SPACE_UNIT;
	float        norm2 = unit ? iqdb_store_norm2(ivf->store, slot) : 0.0f;
	float        factor = 1.0f;
	IqdbiByteCode     bytes;

	code->scale = 0.0f;
	code->offset = 0.0f;
	code->lost = false;
	if (list >= model->figures.lists)
	{
		memset(code->bytes, 0, iqdbi_code_size(&ivf->rows));
		return;
	}
	row = iqdb_store_floats(ivf->store, slot, code->unit);
	if (unit && iqdb_norm2_is_usual(norm2))
		factor = (float) (1.0 / sqrt((double) norm2));
	else if (unit)
	{
		iqdbi_scale_to_one(ivf, row, norm2, code->unit);
		row = code->unit;
	}
	switch (ivf->rows.coding)
	{
		case IQDBI_CODING_NONE:
			break;
		case IQDBI_CODING_BYTES:
		case IQDBI_CODING_HALVES:
			bytes = code_range(ivf, row, factor, centre, ivf->dim, iqdbi_code_size(&ivf->rows), row_range(&ivf->rows),
							   code->floats, code->bytes);
			code->scale = bytes.scale;
			if (ivf->space != IQDB_SPACE_LIFTED)
				code->offset = bytes.square;
			break;
		case IQDBI_CODING_PRODUCT:
			code_product(ivf, model, centre, row, code);
			break;
		case IQDBI_CODING_SIGNS:
			code_signs(ivf, model, centre, row, factor, code);
			break;
	}
	if (iqdbi_has_no_direction(ivf, row, 0.0f))
		code->offset += 1.0f;
	if (ivf->rows.short_scalars)
		code->offset = iqdbi_code_shorten(code->offset);
}

void
iqdbi_code_centre(const IqdbiIvf *ivf, const IqdbiModel *model, const float *centre, IqdbiCode *code)
{
	IqdbiByteCode bytes = code_range(ivf, centre, 1.0f, model->mean, ivf->work_dim, iqdbi_code_size(&ivf->centres),
								row_range(&ivf->centres), code->floats, code->bytes);

	code->scale = bytes.scale;
	code->offset = bytes.square;
}
