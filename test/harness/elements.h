/*
 * elements.h - every element with every metric that it has, and vectors of each: for tests that run over all of them.
 */
#ifndef IQDB_TEST_HARNESS_ELEMENTS_H
#define IQDB_TEST_HARNESS_ELEMENTS_H

#include <string.h>

#include "core/base/rng.h"
#include "core/vec/element.h"
#include "core/vec/half.h"

/* The most bytes that a vector of so many dimensions takes. */
#define ELEMENT_BYTES(dim) (4 * (dim))

/* To the next pair; *begun is 0 at first. false when there is no other. */
static inline bool
element_next(uint32_t *element, uint32_t *metric, uint32_t *begun)
{
	*metric += *begun;
	*begun = 1;
	for (; *element < IQDB_ELEMENT_COUNT; ++*element, *metric = 0)
	{
		for (; *metric < IQDB_METRIC_COUNT; ++*metric)
		{
			if ((iqdb_metric_traits(*metric)->elements >> *element & 1) != 0)
				return true;
		}
	}
	return false;
}

/* A loop over all pairs. */
#define FOR_ELEMENTS(element, metric)                                                                                  \
	for (uint32_t element = 0, metric = 0, begun_ = 0; element_next(&element, &metric, &begun_);)

/* A component, which is a small number, as the element has it. */
static inline void
element_set(uint32_t element, void *vector, size_t at, float value)
{
	unsigned char *bytes = vector;
	uint16_t       half;

	switch (element)
	{
		case IQDB_ELEMENT_F32:
			memcpy(bytes + 4 * at, &value, sizeof(value));
			break;
		case IQDB_ELEMENT_F16:
			half = iqdb_half_narrow(value);
			memcpy(bytes + 2 * at, &half, sizeof(half));
			break;
		default:
			bytes[at / 8] = (unsigned char) (bytes[at / 8] & ~(0x80u >> at % 8));
			if (value > 0)
				bytes[at / 8] = (unsigned char) (bytes[at / 8] | 0x80u >> at % 8);
			break;
	}
}

/* A whole vector of small numbers; of bits, those above zero are set. */
static inline void
element_of_floats(uint32_t element, const float *values, size_t dim, void *vector)
{
	memset(vector, 0, iqdb_element_bytes(iqdb_element(element), dim));
	for (size_t i = 0; i < dim; i++)
		element_set(element, vector, i, values[i]);
}

/* Few values, so that there are ties; never all zeros. One vector in so many (0 = none) has numbers near the element's ends. */
static inline void
element_draw(IqdbRng *rng, uint32_t element, size_t dim, uint64_t extreme, void *vector)
{
	uint64_t kind = extreme > 0 ? iqdb_rng_below(rng, 2 * extreme) : 2;
	float    large = element == IQDB_ELEMENT_F16 ? 1e4f : 1e25f;
	float    small = element == IQDB_ELEMENT_F16 ? 0x1p-24f : 1e-25f;
	float    scale = kind == 0 ? large : kind == 1 ? small : 1.0f;

	memset(vector, 0, iqdb_element_bytes(iqdb_element(element), dim));
	for (size_t i = 0; i < dim; i++)
		element_set(element, vector, i, scale * (float) ((int) iqdb_rng_below(rng, 9) - 4));
	element_set(element, vector, iqdb_rng_below(rng, dim), scale);
}

#endif
