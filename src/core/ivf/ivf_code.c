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
#include "core/ivf/ivf_private.h"

#include <float.h>
#include <string.h>

#include "core/engine/keys.h"

/* Codes of single components: the largest magnitude, and what stands for zero. */
#define BYTE_MAX 127.0f
#define BYTE_ZERO 128
#define HALF_MAX 7.0f
#define HALF_ZERO 8
#define NIBBLES 16u
#define TABLE_MAX 255.0f

/*
 * A row that is so many times shorter than it is far from its centre is lost in the error of its code: so are all rows about
 * as short, however many of them there are.
 */
#define FINE_SHARE 16.0f

/*
 * PRODUCT: squares of a row's difference to its centre in those of the others, and of the error in the row, from which on a
 * code is of no use.
 */
#define LOST_SPREADS 64.0
#define LOST_SHARE 0.5

/* DOT: a row may be longer than what all are brought to, whose square is so many times less. */
#define RADIUS2_TIMES 4.0f

/* Components outside are coded as if all were zero. */
#define LARGEST_CODED 1e30f
#define SMALLEST_CODED 1e-30f

/*
 * How far <r, q> is from what signs say of it: with x the signs at length one and cos the cosine of r and x, the error over
 * |r| |q| has mean 0 and deviation sqrt((1 - cos^2) / (cos^2 (dim - 1))) over all rotations (RaBitQ, theorem 3.2). With
 * |r| = scale * cos * sqrt(dim), and the mean of cos^2 over rotations, 2 / pi + (1 - 2 / pi) / dim, that is
 * scale * |q| * sqrt(1 - 2 / pi): nothing has to be kept for it.
 */
#define SIGNS_DEVIATION 0.60281027f

#define LINE_BYTES 64u

static size_t
round_up(size_t bytes)
{
	return (bytes + LINE_BYTES - 1) / LINE_BYTES * LINE_BYTES;
}

size_t
iqdbi_code_size(const IqdbiBlockLayout *layout)
{
	switch (layout->coding)
	{
		case IQDBI_CODING_BYTES:
			return layout->words * 4;
		case IQDBI_CODING_HALVES:
			return layout->words * 8;
		default:
			return layout->words * 2;
	}
}

/* ---- the space of cells ---- */

bool
iqdbi_has_no_direction(const IqdbiIvf *ivf, const float *vector, float norm2)
{
	return ivf->metric == IQDB_METRIC_COSINE && !iqdb_norm2_is_usual(norm2) && iqdb_vector_is_zero(vector, ivf->dim);
}

/*
 * A direction is there whatever the length: where single precision cannot hold the square of that, double does. Nothing
 * overflows on the way, since the length is not less than the largest component.
 */
static void
scale_to_one(const IqdbiIvf *ivf, const float *vector, float norm2, float *out)
{
	double length;

	if (iqdb_norm2_is_usual(norm2))
	{
		(void) ivf->kernels->residual(vector, (float) (1.0 / sqrt((double) norm2)), NULL, ivf->dim, out);
		return;
	}
	length = sqrt(iqdb_store_length2(ivf->store, vector));
	for (size_t d = 0; d < ivf->dim; d++)
		out[d] = length > 0 ? (float) ((double) vector[d] / length) : 0.0f;
}

void
iqdbi_work_query(const IqdbiIvf *ivf, const float *vector, float norm2, float *out)
{
	if (ivf->metric == IQDB_METRIC_COSINE)
		scale_to_one(ivf, vector, norm2, out);
	else
		memcpy(out, vector, ivf->dim * sizeof(float));
	memset(out + ivf->dim, 0, (ivf->work_stride - ivf->dim) * sizeof(float));
}

bool
iqdbi_row_is_far(const IqdbiIvf *ivf, float radius2, uint32_t slot, float norm2)
{
	switch (ivf->metric)
	{
		case IQDB_METRIC_DOT:
			/* so long that cells of rows made equally long would be of no use for the others */
			return !(norm2 <= radius2 * RADIUS2_TIMES && norm2 <= IQDB_USUAL_NORM2_MAX);
		case IQDB_METRIC_L2:
		case IQDB_METRIC_L1:
			return !iqdb_norm2_is_usual(norm2) && !iqdb_vector_is_zero(iqdb_store_vector(ivf->store, slot), ivf->dim);
		default:
			return false;
	}
}

bool
iqdbi_row_is_fine(const IqdbiIvf *ivf, float norm2, float key)
{
	if (ivf->rows.coding == IQDBI_CODING_NONE || norm2 == 0.0f)
		return false;
	if (ivf->metric == IQDB_METRIC_L2)
		return norm2 * (FINE_SHARE * FINE_SHARE) < key;
	return ivf->metric == IQDB_METRIC_L1 && sqrtf((float) ivf->dim * norm2) * FINE_SHARE < key;
}

void
iqdbi_work_vector(const IqdbiIvf *ivf, float radius2, const float *vector, float norm2, float *out)
{
	iqdbi_work_query(ivf, vector, norm2, out);
	if (ivf->metric == IQDB_METRIC_DOT && norm2 < radius2)
		out[ivf->dim] = sqrtf(radius2 - norm2);
}

float
iqdbi_code_shorten(float value)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	if ((bits & UINT32_C(0x7f800000)) == UINT32_C(0x7f800000))
		return value;
	bits += UINT32_C(0x7fff) + (bits >> 16 & 1);
	bits &= UINT32_C(0xffff0000);
	memcpy(&value, &bits, sizeof(value));
	return value;
}

/* ---- byte codes ---- */

typedef struct ByteCode
{
	float   scale;
	float   square; /* squared length of what is coded, decoded */
	int32_t sum;    /* of the signed bytes */
} ByteCode;

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
	if (layout->coding == IQDBI_CODING_HALVES)
		return (ByteRange){HALF_MAX, HALF_ZERO, layout->short_scalars};
	return (ByteRange){BYTE_MAX, BYTE_ZERO, layout->short_scalars};
}

/* a * factor - b, a number per byte; bytes behind dim are zeros. */
static ByteCode
code_bytes(const IqdbiIvf *ivf, const float *a, float factor, const float *b, size_t dim, size_t padded, ByteRange range,
		   float *floats, uint8_t *bytes)
{
	float    largest = ivf->kernels->residual(a, factor, b, dim, floats);
	int32_t  squares = 0;
	ByteCode code = {0.0f, 0.0f, 0};

	if (!(largest >= SMALLEST_CODED && largest <= LARGEST_CODED))
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

/* ---- sign codes ---- */

/* Walsh-Hadamard transform of a power of two of floats, scaled to keep lengths. */
static void
hadamard(float *values, size_t count)
{
	float factor = 1.0f / sqrtf((float) count);

	for (size_t half = 1; half < count; half *= 2)
	{
		for (size_t start = 0; start < count; start += 2 * half)
		{
			for (size_t i = start; i < start + half; i++)
			{
				float sum = values[i] + values[i + half];

				values[i + half] = values[i] - values[i + half];
				values[i] = sum;
			}
		}
	}
	for (size_t i = 0; i < count; i++)
		values[i] *= factor;
}

/* Rotates dim floats in place; flips: the model's codebook, rounds of dim signs. */
static void
rotate(const IqdbiIvf *ivf, const float *flips, float *values)
{
	size_t dim = ivf->dim;
	size_t power = 1;

	while (power * 2 <= dim)
		power *= 2;
	for (size_t round = 0; round < ivf->codebook / dim; round++)
	{
		for (size_t i = 0; i < dim; i++)
			values[i] *= flips[round * dim + i];
		hadamard(values, power);
		if (power < dim)
			hadamard(values + (dim - power), power);
	}
}

static void
code_signs(const IqdbiIvf *ivf, const IqdbiModel *model, const float *centre, const float *row, float factor,
		   IqdbiCode *code)
{
	float *residual = code->floats;
	float *centred = code->floats + ivf->work_stride;
	double square = 0;
	double absolute = 0;
	double along = 0;
	float  largest = ivf->kernels->residual(row, factor, centre, ivf->dim, residual);

	memset(code->bytes, 0, iqdbi_code_size(&ivf->rows));
	code->scale = 0.0f;
	code->offset = 0.0f;
	if (!(largest >= SMALLEST_CODED && largest <= LARGEST_CODED))
		return;
	rotate(ivf, model->codebook, residual);
	(void) ivf->kernels->residual(centre, 1.0f, model->mean, ivf->dim, centred);
	rotate(ivf, model->codebook, centred);
	for (size_t i = 0; i < ivf->dim; i++)
	{
		bool plus = residual[i] >= 0;

		code->bytes[i / 4] |= (uint8_t) ((unsigned) plus << (i % 4));
		square += (double) residual[i] * (double) residual[i];
		absolute += fabs((double) residual[i]);
		along += plus ? (double) centred[i] : -(double) centred[i];
	}
	code->scale = iqdbi_code_shorten((float) (square / absolute));
	if (ivf->metric != IQDB_METRIC_DOT)
		code->offset = (float) (square + 2 * (double) code->scale * along);
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
	float *decoded = code->floats + ivf->work_stride;
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
	code->lost = model->spread > 0 && between(ivf, residual, NULL) > (double) model->spread * LOST_SPREADS;
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
	const float *row = iqdb_store_vector(ivf->store, slot);
	const float *centre = model->centres + (size_t) list * ivf->work_stride;
	float        norm2 = ivf->metric == IQDB_METRIC_COSINE ? iqdb_store_norm2(ivf->store, slot) : 0.0f;
	float        factor = 1.0f;
	ByteCode     bytes;

	code->scale = 0.0f;
	code->offset = 0.0f;
	code->lost = false;
	if (list >= model->lists)
	{
		memset(code->bytes, 0, iqdbi_code_size(&ivf->rows));
		return;
	}
	if (ivf->metric == IQDB_METRIC_COSINE && iqdb_norm2_is_usual(norm2))
		factor = (float) (1.0 / sqrt((double) norm2));
	else if (ivf->metric == IQDB_METRIC_COSINE)
	{
		scale_to_one(ivf, row, norm2, code->unit);
		row = code->unit;
	}
	switch (ivf->rows.coding)
	{
		case IQDBI_CODING_NONE:
			break;
		case IQDBI_CODING_BYTES:
		case IQDBI_CODING_HALVES:
			bytes = code_bytes(ivf, row, factor, centre, ivf->dim, iqdbi_code_size(&ivf->rows), row_range(&ivf->rows),
							   code->floats, code->bytes);
			code->scale = bytes.scale;
			if (ivf->metric != IQDB_METRIC_DOT)
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
	ByteCode bytes = code_bytes(ivf, centre, 1.0f, model->mean, ivf->work_dim, iqdbi_code_size(&ivf->centres),
								row_range(&ivf->centres), code->floats, code->bytes);

	code->scale = bytes.scale;
	code->offset = bytes.square;
}

/* ---- blocks ---- */

/* Four bytes of a row that stand together. */
static size_t
quad_at(const IqdbiBlockLayout *layout, size_t place, size_t quad)
{
	return layout->codes_at + ((place / 16) * layout->words + quad) * 64 + place % 16 * 4;
}

/* Those four bytes of a code. */
static uint32_t
packed_quad(const IqdbiBlockLayout *layout, const uint8_t *bytes, size_t quad)
{
	uint32_t low;
	uint32_t high;

	if (layout->coding == IQDBI_CODING_BYTES)
	{
		memcpy(&low, bytes + 4 * quad, 4);
		return low;
	}
	memcpy(&low, bytes + 8 * quad, 4);
	memcpy(&high, bytes + 8 * quad + 4, 4);
	return low | high << 4;
}

/* Two nibbles of a code. */
static uint8_t
packed_pair(const uint8_t *bytes, size_t pair)
{
	return (uint8_t) (bytes[2 * pair] | bytes[2 * pair + 1] << 4);
}

/* One of the scales or offsets that begin at `at`; 0 = there are none. */
static void
put_scalar(const IqdbiBlockLayout *layout, unsigned char *block, size_t at, uint32_t place, float value)
{
	uint32_t bits;

	if (at == 0)
		return;
	memcpy(&bits, &value, sizeof(bits));
	if (layout->short_scalars)
		((uint16_t *) (void *) (block + at))[place] = (uint16_t) (bits >> 16);
	else
		((uint32_t *) (void *) (block + at))[place] = bits;
}

static float
get_scalar(const IqdbiBlockLayout *layout, const unsigned char *block, size_t at, uint32_t place)
{
	uint32_t bits = 0;
	float    value;

	if (at != 0 && layout->short_scalars)
		bits = (uint32_t) ((const uint16_t *) (const void *) (block + at))[place] << 16;
	else if (at != 0)
		bits = ((const uint32_t *) (const void *) (block + at))[place];
	memcpy(&value, &bits, sizeof(value));
	return value;
}

void
iqdbi_block_put(const IqdbiBlockLayout *layout, unsigned char *block, uint32_t place, uint32_t slot,
				const IqdbiCode *code)
{
	atomic_store_explicit(&iqdbi_block_slots(block)[place], slot, memory_order_relaxed);
	put_scalar(layout, block, layout->scales_at, place, code->scale);
	put_scalar(layout, block, layout->offsets_at, place, code->offset);
	for (size_t word = 0; word < layout->words; word++)
	{
		if (iqdbi_layout_scalar(layout))
		{
			uint32_t four = packed_quad(layout, code->bytes, word);

			memcpy(block + quad_at(layout, place, word), &four, 4);
		}
		else
			block[layout->codes_at + word * IQDBI_BLOCK_ROWS + place] = packed_pair(code->bytes, word);
	}
}

void
iqdbi_block_move(const IqdbiBlockLayout *layout, unsigned char *to, uint32_t to_place, unsigned char *from,
				 uint32_t from_place)
{
	uint32_t slot = atomic_load_explicit(&iqdbi_block_slots(from)[from_place], memory_order_relaxed);
	float    scale = get_scalar(layout, from, layout->scales_at, from_place);
	float    offset = get_scalar(layout, from, layout->offsets_at, from_place);

	atomic_store_explicit(&iqdbi_block_slots(to)[to_place], slot, memory_order_relaxed);
	put_scalar(layout, to, layout->scales_at, to_place, scale);
	put_scalar(layout, to, layout->offsets_at, to_place, offset);
	if (iqdbi_layout_scalar(layout))
	{
		for (size_t quad = 0; quad < layout->words; quad++)
			memmove(to + quad_at(layout, to_place, quad), from + quad_at(layout, from_place, quad), 4);
		return;
	}
	for (size_t pair = 0; pair < layout->words; pair++)
		to[layout->codes_at + pair * IQDBI_BLOCK_ROWS + to_place] =
			from[layout->codes_at + pair * IQDBI_BLOCK_ROWS + from_place];
}

bool
iqdbi_block_holds(const IqdbiBlockLayout *layout, unsigned char *block, uint32_t place, const IqdbiCode *code)
{
	float scale = get_scalar(layout, block, layout->scales_at, place);
	float offset = get_scalar(layout, block, layout->offsets_at, place);

	if ((layout->scales_at != 0 && memcmp(&scale, &code->scale, sizeof(scale)) != 0) ||
		(layout->offsets_at != 0 && memcmp(&offset, &code->offset, sizeof(offset)) != 0))
		return false;
	for (size_t word = 0; word < layout->words; word++)
	{
		if (iqdbi_layout_scalar(layout))
		{
			uint32_t four = packed_quad(layout, code->bytes, word);

			if (memcmp(block + quad_at(layout, place, word), &four, 4) != 0)
				return false;
		}
		else if (block[layout->codes_at + word * IQDBI_BLOCK_ROWS + place] != packed_pair(code->bytes, word))
			return false;
	}
	return true;
}

void
iqdbi_block_decode(const IqdbiIvf *ivf, const IqdbiModel *model, uint32_t list, unsigned char *block, uint32_t place,
				   float *out)
{
	const float *centre = model->centres + (size_t) list * ivf->work_stride;
	float        scale;

	if (ivf->rows.coding == IQDBI_CODING_PRODUCT)
	{
		for (uint32_t sub = 0; sub < ivf->pq.subvectors; sub++)
		{
			uint8_t both = block[ivf->rows.codes_at + sub / 2 * IQDBI_BLOCK_ROWS + place];
			uint8_t nibble = sub % 2 == 0 ? both & 15 : both >> 4;

			for (uint32_t d = iqdb_pq_first(&ivf->pq, sub); d < iqdb_pq_first(&ivf->pq, sub + 1); d++)
				out[d] = model->codebook[(size_t) d * ivf->pq.lanes + nibble] +
						 (iqdbi_codes_residuals(ivf) ? centre[d] : 0.0f);
		}
		return;
	}
	scale = get_scalar(&ivf->rows, block, ivf->rows.scales_at, place);
	for (size_t d = 0; d < ivf->dim; d++)
	{
		bool    halves = ivf->rows.coding == IQDBI_CODING_HALVES;
		uint8_t byte = block[quad_at(&ivf->rows, place, halves ? d / 8 : d / 4) + d % 4];
		int     value = !halves ? byte : d / 4 % 2 == 0 ? byte & 15 : byte >> 4;

		out[d] = centre[d] + scale * (float) (value - row_range(&ivf->rows).plus);
	}
}

/* ---- queries ---- */

static size_t
table_bytes(const IqdbiIvf *ivf)
{
	return ivf->rows.words * 2 * NIBBLES;
}

size_t
iqdbi_query_size(const IqdbiIvf *ivf)
{
	size_t floats = 2 * ivf->work_stride;

	switch (ivf->rows.coding)
	{
		case IQDBI_CODING_NONE:
			return 0;
		case IQDBI_CODING_BYTES:
		case IQDBI_CODING_HALVES:
			return round_up(iqdbi_code_size(&ivf->rows)) + floats * sizeof(float);
		default:
			floats += table_bytes(ivf);
			return round_up(table_bytes(ivf)) + floats * sizeof(float);
	}
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
	if (!(widest >= SMALLEST_CODED && widest <= LARGEST_CODED))
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

/* Sums of four rotated components under all patterns of signs. */
static void
start_signs(IqdbiQuery *query)
{
	const IqdbiIvf *ivf = query->ivf;
	float          *rotated = query->floats;
	float          *tables = query->floats + 2 * ivf->work_stride;
	size_t          count = (ivf->dim + 3) / 4;
	bool            dot = ivf->metric == IQDB_METRIC_DOT;

	memset(rotated, 0, ivf->work_stride * sizeof(float));
	(void) ivf->kernels->residual(query->work, 1.0f, dot ? NULL : query->model->mean, ivf->dim, rotated);
	rotate(ivf, query->model->codebook, rotated);
	for (size_t table = 0; table < count; table++)
	{
		for (uint32_t pattern = 0; pattern < NIBBLES; pattern++)
		{
			float sum = 0.0f;

			for (uint32_t bit = 0; bit < 4 && 4 * table + bit < ivf->dim; bit++)
				sum += pattern >> bit & 1 ? rotated[4 * table + bit] : -rotated[4 * table + bit];
			tables[table * NIBBLES + pattern] = sum;
		}
	}
	round_tables(query, tables, count, dot ? -1.0f : -2.0f);
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
	float          *tables = query->floats + 2 * ivf->work_stride;
	IqdbPq          pq = ivf->pq;

	pq.codebook = query->model->codebook;
	if (ivf->metric == IQDB_METRIC_L2)
	{
		(void) ivf->kernels->residual(query->vector, 1.0f, query->model->mean, ivf->dim, query->floats);
		iqdb_pq_tabulate(&pq, IQDB_METRIC_DOT, query->floats, tables);
		round_tables(query, tables, pq.subvectors, 2.0f);
		return;
	}
	iqdb_pq_tabulate(&pq, ivf->metric, query->vector, tables);
	round_tables(query, tables, pq.subvectors, 1.0f);
}

static void
code_query(IqdbiQuery *query, const float *from, float factor)
{
	const IqdbiIvf *ivf = query->ivf;
	ByteCode        code = code_bytes(ivf, query->work, 1.0f, from, ivf->dim, iqdbi_code_size(&ivf->rows), query_range,
									  query->floats, (uint8_t *) query->bytes);

	query->start = -row_range(&ivf->rows).plus * code.sum;
	query->line.base = code.square;
	query->line.weight = factor * code.scale;
}

void
iqdbi_query_start(IqdbiQuery *query, const IqdbiIvf *ivf, const IqdbiModel *model, const float *vector,
				  const float *work, float norm2, unsigned char *memory)
{
	size_t codes = iqdbi_layout_scalar(&ivf->rows) ? iqdbi_code_size(&ivf->rows) : table_bytes(ivf);

	memset(query, 0, sizeof(*query));
	query->ivf = ivf;
	query->model = model;
	query->vector = vector;
	query->work = work;
	query->norm2 = norm2;
	query->bytes = (int8_t *) memory;
	query->tables = memory;
	query->floats = (float *) (void *) (memory + round_up(codes));
	if (ivf->rows.coding == IQDBI_CODING_PRODUCT)
		start_product(query);
	else if (ivf->rows.coding == IQDBI_CODING_SIGNS)
		start_signs(query);
	else if (iqdbi_layout_scalar(&ivf->rows) && ivf->metric == IQDB_METRIC_DOT)
		code_query(query, NULL, -1.0f);
}

void
iqdbi_query_list(IqdbiQuery *query, uint32_t list)
{
	const IqdbiIvf *ivf = query->ivf;
	const float    *centre = query->model->centres + (size_t) list * ivf->work_stride;

	if (ivf->rows.coding == IQDBI_CODING_PRODUCT && !iqdbi_codes_residuals(ivf))
		return;
	if (ivf->metric == IQDB_METRIC_DOT)
		query->line.base = -ivf->store->kernels->sums[IQDB_SUM_DOT].pair(centre, query->vector, ivf->dim);
	else if (iqdbi_layout_scalar(&ivf->rows))
		code_query(query, centre, -2.0f);
	else
		query->line.base = ivf->store->kernels->sums[IQDB_SUM_L2].pair(centre, query->work, ivf->dim);
	if (ivf->rows.coding == IQDBI_CODING_SIGNS && ivf->metric == IQDB_METRIC_DOT)
		bound_signs(query, query->norm2, 1.0f);
	else if (ivf->rows.coding == IQDBI_CODING_SIGNS)
		bound_signs(query, query->line.base, 2.0f);
}

int32_t
iqdbi_scalar_zero(const IqdbiBlockLayout *layout)
{
	return row_range(layout).plus;
}

void
iqdbi_scalar_sums(const IqdbiIvf *ivf, const IqdbiBlockLayout *layout, const unsigned char *block, uint32_t count,
				  const int8_t *query, int32_t start, int32_t *sums_out)
{
	const unsigned char *codes = block + layout->codes_at;
	size_t               groups = count > 16 ? 2 : 1;

	if (groups == 1)
		memset(sums_out + 16, 0, 16 * sizeof(*sums_out));
	if (layout->coding == IQDBI_CODING_HALVES)
		ivf->packed->dot_halves(codes, layout->words, groups, query, start, sums_out);
	else
		ivf->packed->dot(codes, layout->words, groups, query, start, sums_out);
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
		iqdbi_scalar_sums(ivf, layout, block, count, query->bytes, query->start, sums);
	else
		ivf->kernels->nibbles(block + layout->codes_at, layout->words, query->tables, sums);
	near = ivf->kernels->finish(sums, block_scalars(ivf, block, layout->scales_at, scales),
								block_scalars(ivf, block, layout->offsets_at, offsets), &query->line, limit, keys_out);
	return count >= IQDBI_BLOCK_ROWS ? near : near & ((UINT32_C(1) << count) - 1);
}

/* ---- scratch ---- */

IqdbStatus
iqdbi_scratch_init(IqdbiScratch *scratch, const IqdbiIvf *ivf, uint32_t supers_max, uint32_t wanted_max, IqdbError *err)
{
	size_t wanted = iqdbi_coarse_candidates(wanted_max);
	size_t room = iqdbi_pick_room(wanted);
	size_t super_room = iqdbi_pick_room(supers_max);
	size_t code = iqdbi_code_size(&ivf->rows) > iqdbi_code_size(&ivf->centres) ? iqdbi_code_size(&ivf->rows)
																			   : iqdbi_code_size(&ivf->centres);
	size_t sizes[7] = {IQDBI_COARSE_ROWS * ivf->work_stride * sizeof(float),
					   3 * ivf->work_stride * sizeof(float),
					   code,
					   IQDBI_COARSE_ROWS * iqdbi_code_size(&ivf->centres),
					   wanted * sizeof(uint32_t),
					   wanted * sizeof(float),
					   (room + super_room) * sizeof(uint64_t)};
	unsigned char *at;
	size_t         total = LINE_BYTES;

	for (int i = 0; i < 7; i++)
		total += round_up(sizes[i]);
	memset(scratch, 0, sizeof(*scratch));
	scratch->memory = iqdb_alloc(&ivf->store->host->allocator, total);
	if (scratch->memory == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for %zu bytes of scratch", total);
	scratch->ivf = ivf;
	scratch->size = total;
	scratch->wanted_max = wanted_max;
	at = scratch->memory;
	at += (LINE_BYTES - (uintptr_t) at % LINE_BYTES) % LINE_BYTES;
	scratch->work = (float *) (void *) at;
	scratch->code.floats = (float *) (void *) (at += round_up(sizes[0]));
	scratch->code.unit = scratch->code.floats + 2 * ivf->work_stride;
	scratch->code.bytes = at += round_up(sizes[1]);
	scratch->query = (int8_t *) (at += round_up(sizes[2]));
	scratch->ids = (uint32_t *) (void *) (at += round_up(sizes[3]));
	scratch->keys = (float *) (void *) (at += round_up(sizes[4]));
	scratch->pick.entries = (uint64_t *) (void *) (at += round_up(sizes[5]));
	scratch->pick.room = room;
	scratch->super_pick.entries = scratch->pick.entries + room;
	scratch->super_pick.room = super_room;
	return IQDB_OK;
}

void
iqdbi_scratch_free(IqdbiScratch *scratch)
{
	if (scratch->memory != NULL)
		iqdb_free(&scratch->ivf->store->host->allocator, scratch->memory, scratch->size);
	memset(scratch, 0, sizeof(*scratch));
}
