/*
 * signs.c - see signs.h: what becomes a code, and what of it keys are made of.
 *
 * Does not own: the loops (signs_kernels.c).
 */
#include "core/quant/signs.h"

#include <math.h>
#include <string.h>

#include "core/base/rng.h"

#define TWO_BY_PI 0.63661977f

bool
iqdb_signs_possible(IqdbMetric metric)
{
	return metric == IQDB_METRIC_DOT || metric == IQDB_METRIC_L2 || metric == IQDB_METRIC_COSINE;
}

void
iqdb_rotation_draw(uint64_t seed, size_t width, float *flips_out)
{
	uint64_t state = seed;
	uint64_t bits = 0;

	for (size_t i = 0; i < iqdb_rotation_flips(width); i++)
	{
		if (i % 64 == 0)
			bits = iqdb_splitmix64(&state);
		flips_out[i] = (bits >> (i % 64) & 1) != 0 ? 1.0f : -1.0f;
	}
}

/* What a vector is multiplied with before the centre is subtracted. */
static float
factor_of(const IqdbSigns *signs, float norm2)
{
	if (signs->metric != IQDB_METRIC_COSINE)
		return 1.0f;
	return norm2 > 0.0f ? 1.0f / sqrtf(norm2) : 0.0f;
}

/* What a vector adds to its keys with all others, unless the metric is DOT. */
static float
own_square(const IqdbSigns *signs, float square, float factor)
{
	if (signs->metric != IQDB_METRIC_COSINE)
		return square;
	return 0.5f * square + (factor > 0.0f ? 0.0f : 0.5f);
}

/* What a row needs beside the signs of its rotated components. */
static IqdbSignsRow
row_of(const IqdbSigns *signs, size_t width, const float *values, const float *vector, float factor)
{
	double        along = 0.0;
	IqdbSignsSize size;
	IqdbSignsRow  row;

	signs->kernels->measure(values, width, &size);
	row.scale = size.absolute > 0.0f ? size.square / size.absolute : 0.0f;
	row.own = own_square(signs, size.square, factor);
	if (signs->metric != IQDB_METRIC_DOT)
		return row;
	for (size_t i = 0; i < signs->dim; i++)
		along += ((double) vector[i] - (double) signs->centre[i]) * (double) signs->centre[i];
	row.own = (float) -along;
	return row;
}

void
iqdb_signs_encode(const IqdbSigns *signs, const float *vector, float norm2, uint64_t *code_out, IqdbSignsRow *row_out)
{
	float  values[IQDB_SIGNS_WIDTH_MAX];
	size_t width = iqdb_signs_width(signs->dim);
	float  factor = factor_of(signs, norm2);

	signs->kernels->rotate(vector, factor, signs->centre, signs->flips, signs->dim, width, values);
	signs->kernels->signs(values, width / 64, code_out);
	*row_out = row_of(signs, width, values, vector, factor);
}

void
iqdb_signs_query(const IqdbSigns *signs, const float *vector, float norm2, uint64_t *planes_out,
				 IqdbSignsQuery *query_out)
{
	float         values[IQDB_SIGNS_WIDTH_MAX];
	size_t        width = iqdb_signs_width(signs->dim);
	float         factor = factor_of(signs, norm2);
	float         step;
	IqdbSignsSize size;

	signs->kernels->rotate(vector, factor, signs->centre, signs->flips, signs->dim, width, values);
	signs->kernels->measure(values, width, &size);
	step = size.largest / (float) IQDB_SIGNS_LEVEL_MAX;
	signs->kernels->levels(values, step > 0.0f ? 1.0f / step : 0.0f, width / 64, planes_out);
	query_out->planes = planes_out;
	query_out->plane_count = IQDB_SIGNS_PLANES;
	query_out->share = 0.0f;
	query_out->base = signs->metric == IQDB_METRIC_DOT ? 0.0f : own_square(signs, size.square, factor);
	query_out->weight = signs->metric == IQDB_METRIC_L2 ? -2.0f * step : -step;
}

void
iqdb_signs_query_of_row(const IqdbSigns *signs, const uint64_t *code, const IqdbSignsRow *row, IqdbSignsQuery *query_out)
{
	float width = (float) iqdb_signs_width(signs->dim);
	float lengths = row->scale * width * TWO_BY_PI;

	query_out->planes = code;
	query_out->plane_count = 1;
	query_out->share = 1.0f / width;
	query_out->base = signs->metric == IQDB_METRIC_DOT ? 0.0f : row->own;
	query_out->weight = signs->metric == IQDB_METRIC_L2 ? -2.0f * lengths : -lengths;
}

/* ---- sketches ---------------------------------------------------------------------------------------------------- */


static void
set_own(IqdbSketch *sketch, float own)
{
	uint32_t bits;

	memcpy(&bits, &own, sizeof(bits));
	atomic_store_explicit(&sketch->own, bits, memory_order_release);
}

void
iqdb_sketch_clear(IqdbSketch *sketch_out)
{
	set_own(sketch_out, NAN);
}

void
iqdb_sketch_encode(const IqdbSigns *signs, size_t width, const float *vector, float norm2, IqdbSketch *sketch_out)
{
	float        values[IQDB_SIGNS_WIDTH_MAX];
	float        factor = factor_of(signs, norm2);
	IqdbSignsRow row;

	signs->kernels->rotate(vector, factor, signs->centre, signs->flips, signs->dim, width, values);
	signs->kernels->signs(values, IQDB_SKETCH_WORDS, sketch_out->bits);
	row = row_of(signs, width, values, vector, factor);
	sketch_out->scale = row.scale;
	set_own(sketch_out, row.own);
}

void
iqdb_sketch_query(const IqdbSigns *signs, size_t width, const float *vector, float norm2, float slack,
				  IqdbSketchQuery *query_out)
{
	float         values[IQDB_SIGNS_WIDTH_MAX];
	float         factor = factor_of(signs, norm2);
	float         share = (float) IQDB_SKETCH_BITS / (float) width;
	float         step;
	IqdbSignsSize size;
	IqdbSignsSize part;

	signs->kernels->rotate(vector, factor, signs->centre, signs->flips, signs->dim, width, values);
	signs->kernels->measure(values, width, &size);
	signs->kernels->measure(values, IQDB_SKETCH_BITS, &part);
	step = part.largest / (float) IQDB_SIGNS_LEVEL_MAX;
	signs->kernels->levels(values, step > 0.0f ? 1.0f / step : 0.0f, IQDB_SKETCH_WORDS, query_out->planes);
	query_out->base = signs->metric == IQDB_METRIC_DOT ? 0.0f : own_square(signs, size.square, factor);
	query_out->weight = (signs->metric == IQDB_METRIC_L2 ? -2.0f * step : -step) / share;
	/* 0: there is nothing to tell rows by */
	query_out->slack = step > 0.0f ? slack * sqrtf((1.0f - TWO_BY_PI * share) * size.square * share) / step : 0.0f;
}
