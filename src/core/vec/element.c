/*
 * element.c - the table of the element types, their checks, and distances of one pair in double.
 *
 * Does not own: how many pairs are compared fast (kernels_*.c), nor how a sum becomes a key (metric.c, kernels.c).
 */
#include "core/base/endian.h"
#include "core/vec/half.h"
#include "core/vec/kernels.h"

#include <string.h>

static const IqdbElement elements[IQDB_ELEMENT_COUNT] = {
	[IQDB_ELEMENT_F32] = {IQDB_ELEMENT_F32, "f32", IQDB_DIMENSION_MAX, 32, .has_numbers = true, .is_prepared = true},
	[IQDB_ELEMENT_F16] = {IQDB_ELEMENT_F16, "f16", IQDB_DIMENSION_MAX, 16, .has_numbers = true},
	[IQDB_ELEMENT_BIT] = {IQDB_ELEMENT_BIT, "bit", IQDB_DIMENSION_BITS_MAX, 1, .is_prepared = true},
};

const IqdbElement *
iqdb_element(uint32_t kind)
{
	return kind < IQDB_ELEMENT_COUNT ? &elements[kind] : NULL;
}

/* ---- one vector ---- */

static IqdbStatus
check_halves(const void *vector, size_t dim, IqdbError *err)
{
	size_t at = iqdb_halves_first_not_finite(vector, dim);

	if (at < dim)
		return iqdb_fail(err, IQDB_ERR_VECTOR, "component %zu of %zu is NaN or infinite", at + 1, dim);
	return IQDB_OK;
}

/* Kernels count the bits of whole bytes: those behind the last component would be seen. */
static IqdbStatus
check_bits(const void *vector, size_t dim, IqdbError *err)
{
	const unsigned char *bytes = vector;
	size_t               used = dim % 8;

	if (used != 0 && (bytes[dim / 8] & (0xffu >> used)) != 0)
		return iqdb_fail(err, IQDB_ERR_VECTOR, "bits behind the last of %zu are not zero", dim);
	return IQDB_OK;
}

IqdbStatus
iqdb_element_check(const IqdbElement *element, const void *vector, size_t dim, IqdbError *err)
{
	if (dim == 0)
		return iqdb_fail(err, IQDB_ERR_VECTOR, "vector must have at least 1 dimension");
	switch (element->kind)
	{
		case IQDB_ELEMENT_F16:
			return check_halves(vector, dim, err);
		case IQDB_ELEMENT_BIT:
			return check_bits(vector, dim, err);
		default:
			return iqdb_vector_check(vector, dim, err);
	}
}

bool
iqdb_element_is_zero(const IqdbElement *element, const void *vector, size_t dim)
{
	const IqdbHalf      *halves = vector;
	const unsigned char *bytes = vector;
	size_t               i = 0;

	switch (element->kind)
	{
		case IQDB_ELEMENT_F16:
			while (i < dim && iqdb_half_is_zero(halves[i]))
				i++;
			return i == dim;
		case IQDB_ELEMENT_BIT:
			while (i < (dim + 7) / 8 && bytes[i] == 0)
				i++;
			return i == (dim + 7) / 8;
		default:
			return iqdb_vector_is_zero(vector, dim);
	}
}

/* The smallest half that is not zero is 2^-24, and the product of two of those a normal float. */
bool
iqdb_element_has_tiny(const IqdbElement *element, const void *vector, size_t dim)
{
	return element->kind == IQDB_ELEMENT_F32 && iqdb_vector_has_tiny(vector, dim);
}

/* Halves are 16-bit numbers to a file as to the machine; bits are bytes. */
void
iqdb_element_encode(const IqdbElement *element, const void *vector, size_t dim, unsigned char *bytes_out)
{
	switch (element->kind)
	{
		case IQDB_ELEMENT_F16:
			iqdb_store_u16_array(bytes_out, vector, dim);
			break;
		case IQDB_ELEMENT_BIT:
			memcpy(bytes_out, vector, iqdb_element_bytes(element, dim));
			break;
		default:
			iqdb_store_f32_array(bytes_out, vector, dim);
			break;
	}
}

void
iqdb_element_decode(const IqdbElement *element, const unsigned char *bytes, size_t dim, void *vector_out)
{
	switch (element->kind)
	{
		case IQDB_ELEMENT_F16:
			iqdb_load_u16_array(vector_out, bytes, dim);
			break;
		case IQDB_ELEMENT_BIT:
			memcpy(vector_out, bytes, iqdb_element_bytes(element, dim));
			break;
		default:
			iqdb_load_f32_array(vector_out, bytes, dim);
			break;
	}
}

const void *
iqdb_element_prepare(const IqdbKernels *kernels, const IqdbElement *element, const void *vector, size_t dim, void *buffer)
{
	if (element->is_prepared)
		return vector;
	kernels->elements[element->kind]->widen(vector, dim, buffer);
	return buffer;
}

const float *
iqdb_element_floats(const IqdbKernels *kernels, const IqdbElement *element, const void *vector, size_t dim, float *buffer)
{
	if (element->kind == IQDB_ELEMENT_F32)
		return vector;
	kernels->elements[element->kind]->widen(vector, dim, buffer);
	return buffer;
}

/* ---- pairs in double ---- */

/* What a metric takes of one pair: its sum, or those of cosine. */
typedef struct PairSums
{
	double         sum;
	IqdbCosineSums cosine;
} PairSums;

static void
add_floats(const IqdbKernels *kernels, IqdbMetric metric, const float *a, const float *b, size_t dim, PairSums *sums)
{
	const IqdbMetricTraits *traits = iqdb_metric_traits((uint32_t) metric);
	IqdbCosineSums          cosine;

	if (traits->form == IQDB_KEY_COSINE)
	{
		cosine = kernels->doubles->cosine(a, b, dim);
		sums->cosine.dot += cosine.dot;
		sums->cosine.norm2_a += cosine.norm2_a;
		sums->cosine.norm2_b += cosine.norm2_b;
		return;
	}
	switch (traits->sum)
	{
		case IQDB_SUM_DOT:
			sums->sum += kernels->doubles->dot(a, b, dim);
			break;
		case IQDB_SUM_L2:
			sums->sum += kernels->doubles->l2(a, b, dim);
			break;
		case IQDB_SUM_L1:
			sums->sum += kernels->doubles->l1(a, b, dim);
			break;
		default:
			/* a count below 2^24 is exact in single precision */
			sums->sum += (double) kernels->sums[traits->sum].pair(a, b, dim);
			break;
	}
}

/* Components that are widened together, to lie on the stack. */
#define PIECE 512

/* Of a row and a query that is prepared, or a vector itself. */
static void
add_halves(const IqdbKernels *kernels, IqdbMetric metric, const void *a, bool prepared, const IqdbHalf *b, size_t dim,
		   PairSums *sums)
{
	const IqdbElementKernels *halves = kernels->elements[IQDB_ELEMENT_F16];
	float                     wide_a[PIECE];
	float                     wide_b[PIECE];

	for (size_t at = 0; at < dim; at += PIECE)
	{
		size_t       part = dim - at < PIECE ? dim - at : PIECE;
		const float *query = prepared ? (const float *) a + at : wide_a;

		if (!prepared)
			halves->widen((const IqdbHalf *) a + at, part, wide_a);
		halves->widen(b + at, part, wide_b);
		add_floats(kernels, metric, query, wide_b, part, sums);
	}
}

/* Bits that are counted together: a count below 2^24 is exact in single precision. A multiple of 8. */
#define BITS_PIECE ((size_t) 1 << 20)

static double
key_of_bits(const IqdbKernels *kernels, IqdbMetric metric, const unsigned char *a, const unsigned char *b, size_t dim)
{
	const IqdbElementKernels *bits = kernels->elements[IQDB_ELEMENT_BIT];
	bool                      needs_norms = iqdb_metric_traits((uint32_t) metric)->needs_norms;
	double                    sum = 0;
	double                    norms = 0;

	for (size_t at = 0; at < dim; at += BITS_PIECE)
	{
		size_t part = dim - at < BITS_PIECE ? dim - at : BITS_PIECE;

		sum += (double) bits->sums[iqdb_metric_sum(metric)].pair(a + at / 8, b + at / 8, part);
		if (needs_norms)
			norms += (double) bits->norm2(a + at / 8, part) + (double) bits->norm2(b + at / 8, part);
	}
	if (!needs_norms)
		return sum;
	return sum == 0 ? 1 : 1 - sum / (norms - sum);
}

static double
key_of_pair(const IqdbKernels *kernels, const IqdbElement *element, IqdbMetric metric, const void *a, bool prepared,
			const void *b, size_t dim)
{
	PairSums sums = {0};

	if (element->kind == IQDB_ELEMENT_BIT)
		return key_of_bits(kernels, metric, a, b, dim);
	if (element->kind == IQDB_ELEMENT_F16)
		add_halves(kernels, metric, a, prepared, b, dim, &sums);
	else
		add_floats(kernels, metric, a, b, dim, &sums);
	switch (iqdb_metric_traits((uint32_t) metric)->form)
	{
		case IQDB_KEY_COSINE:
			return iqdb_cosine_distance(sums.cosine.dot, sums.cosine.norm2_a, sums.cosine.norm2_b);
		case IQDB_KEY_NEGATED:
			return -sums.sum;
		default:
			return sums.sum;
	}
}

double
iqdb_element_key(const IqdbKernels *kernels, const IqdbElement *element, IqdbMetric metric, const void *query,
				 const void *row, size_t dim)
{
	return key_of_pair(kernels, element, metric, query, true, row, dim);
}

double
iqdb_element_distance(const IqdbKernels *kernels, const IqdbElement *element, IqdbMetric metric, const void *a,
					  const void *b, size_t dim)
{
	double key = key_of_pair(kernels, element, metric, a, element->is_prepared, b, dim);

	return iqdb_metric_traits((uint32_t) metric)->squared ? sqrt(key) : key;
}
