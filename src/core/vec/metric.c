/*
 * metric.c - the table of the metrics, the keys that take norms, the check of a vector of floats.
 *
 * Owns what concerns a metric but not an instruction set. The sums themselves are in kernels_*.c, the step from sums to
 * rank keys in kernels.c.
 */
#include "core/vec/element.h"

#include <float.h>
#include <string.h>

#define F32 (1u << IQDB_ELEMENT_F32)
#define F16 (1u << IQDB_ELEMENT_F16)
#define BIT (1u << IQDB_ELEMENT_BIT)

/* A line a metric; what is not named is false or 0. */
static const IqdbMetricTraits traits[IQDB_METRIC_COUNT] = {
	[IQDB_METRIC_COSINE] = {.name = "cosine", .sum = IQDB_SUM_DOT, .form = IQDB_KEY_COSINE, .space = IQDB_SPACE_UNIT,
							.needs_norms = true, .prune_power = 2, .by_products = true, .elements = F32 | F16},
	[IQDB_METRIC_DOT] = {.name = "dot", .sum = IQDB_SUM_DOT, .form = IQDB_KEY_NEGATED, .space = IQDB_SPACE_LIFTED,
						 .by_products = true, .by_components = true, .elements = F32 | F16},
	[IQDB_METRIC_L2] = {.name = "l2", .sum = IQDB_SUM_L2, .form = IQDB_KEY_SUM, .space = IQDB_SPACE_PLAIN, .squared = true,
						.prune_power = 2, .by_products = true, .by_components = true, .elements = F32 | F16},
	[IQDB_METRIC_L1] = {.name = "l1", .sum = IQDB_SUM_L1, .form = IQDB_KEY_SUM, .space = IQDB_SPACE_GRID, .prune_power = 1,
						.by_components = true, .elements = F32 | F16},
	[IQDB_METRIC_HAMMING] = {.name = "hamming", .sum = IQDB_SUM_HAMMING, .form = IQDB_KEY_SUM, .space = IQDB_SPACE_GRID,
							 .prune_power = 1, .elements = F32 | F16 | BIT},
	[IQDB_METRIC_JACCARD] = {.name = "jaccard", .sum = IQDB_SUM_DOT, .form = IQDB_KEY_JACCARD, .space = IQDB_SPACE_UNIT,
							 .needs_norms = true, .prune_power = 1, .elements = BIT},
};

const IqdbMetricTraits *
iqdb_metric_traits(uint32_t metric)
{
	return metric < IQDB_METRIC_COUNT ? &traits[metric] : NULL;
}

const char *
iqdb_metric_name(IqdbMetric metric)
{
	const IqdbMetricTraits *of = iqdb_metric_traits((uint32_t) metric);

	return of != NULL ? of->name : NULL;
}

/*
 * The product of two floats is exact in double and can neither overflow nor vanish, so there is one root and one
 * rounding before the division, and a vector compared with itself gives exactly 0. iqdb_metric_finish does the same
 * steps for many rows: change both together.
 */
float
iqdb_cosine_key(float dot, float norm2_a, float norm2_b)
{
	double root = sqrt((double) norm2_a * (double) norm2_b);
	double similarity;

	if (root <= (double) FLT_MIN)
		return 1.0f;
	similarity = (double) dot / root;
	/* NaN fails both tests and stays */
	if (similarity > 1.0)
		similarity = 1.0;
	else if (similarity < -1.0)
		similarity = -1.0;
	return (float) (1.0 - similarity);
}

double
iqdb_cosine_distance(double dot, double norm2_a, double norm2_b)
{
	double root = sqrt(norm2_a * norm2_b);
	double similarity;

	if (root == 0)
		return 1;
	similarity = dot / root;
	/* NaN fails both tests and stays */
	if (similarity > 1)
		similarity = 1;
	else if (similarity < -1)
		similarity = -1;
	return 1 - similarity;
}

/* Counts, so that all of them but the quotient are exact. */
float
iqdb_jaccard_key(float dot, float norm2_a, float norm2_b)
{
	return dot == 0.0f ? 1.0f : (float) (1.0 - (double) dot / ((double) norm2_a + (double) norm2_b - (double) dot));
}

/* Powers of two beyond the two ends that squares and products of floats reach, 16000 of them summed up. */
#define OCTAVES_LARGE 192.0
#define OCTAVES_SMALL 192.0

float
iqdb_key_narrow(double key)
{
	double size = fabs(key);

	if (size >= IQDB_KEY_LARGE)
		size = IQDB_KEY_LARGE * (1.0 + fmin(log2(size / IQDB_KEY_LARGE) / OCTAVES_LARGE, 0.99));
	else if (size < IQDB_KEY_SMALL && size > 0.0)
		size = IQDB_KEY_SMALL * (0.5 + 0.5 * fmax(1.0 + log2(size / IQDB_KEY_SMALL) / OCTAVES_SMALL, 0.0));
	/* NaN fails both tests and stays */
	return (float) copysign(size, key);
}

double
iqdb_key_widen(float key)
{
	double size = fabs((double) key);

	if (size >= IQDB_KEY_LARGE && isfinite(key))
		size = IQDB_KEY_LARGE * exp2((size / IQDB_KEY_LARGE - 1.0) * OCTAVES_LARGE);
	else if (size < IQDB_KEY_SMALL && size >= 0.5 * IQDB_KEY_SMALL)
		size = IQDB_KEY_SMALL * exp2((size / IQDB_KEY_SMALL - 1.0) * 2.0 * OCTAVES_SMALL);
	return copysign(size, (double) key);
}

bool
iqdb_vector_has_tiny(const float *vector, size_t dim)
{
	const float    limit = IQDB_COMPONENT_TINY;
	uint32_t       limit_bits;
	uint32_t       tiny = 0;

	memcpy(&limit_bits, &limit, sizeof(limit_bits));
	/* floats of one sign are ordered as their bits are; less one, zero is the largest. No branch, so that it vectorises */
	for (size_t i = 0; i < dim; i++)
	{
		uint32_t bits;

		memcpy(&bits, &vector[i], sizeof(bits));
		tiny |= (uint32_t) ((bits & UINT32_C(0x7fffffff)) - 1 < limit_bits - 1);
	}
	return tiny != 0;
}

/* Position of the first component that is NaN or infinite, or dim. */
static size_t
first_not_finite(const float *vector, size_t dim)
{
	size_t i;

	for (i = 0; i < dim; i++)
	{
		if (!isfinite(vector[i]))
			break;
	}
	return i;
}

IqdbStatus
iqdb_vector_check(const float *vector, size_t dim, IqdbError *err)
{
	uint32_t bad = 0;
	size_t   i;

	if (dim == 0)
		return iqdb_fail(err, IQDB_ERR_VECTOR, "vector must have at least 1 dimension");

	/* an exponent of all ones carries into the sign bit; no branch, so that it vectorises */
	for (i = 0; i < dim; i++)
	{
		uint32_t bits;

		memcpy(&bits, &vector[i], sizeof(bits));
		bad |= (bits & UINT32_C(0x7fffffff)) + UINT32_C(0x00800000);
	}
	if ((bad & UINT32_C(0x80000000)) == 0)
		return IQDB_OK;
	return iqdb_fail(err, IQDB_ERR_VECTOR, "component %zu of %zu is NaN or infinite",
					 first_not_finite(vector, dim) + 1, dim);
}
