/*
 * element.h - what a vector is made of: an element type, and what is to be known of each.
 *
 * A vector is `dim` elements, back to back. Everybody passes it as it is stored, as `const void *`: a value of a column, a
 * row of an index, a frame of a log, the argument of a search. Only kernels (vec/kernels.h) look inside.
 *
 *   element  a component                                  bytes          a prepared query is
 *   F32      IEEE binary32, little-endian in files        4 * dim        the vector itself
 *   F16      IEEE binary16                                2 * dim        dim floats of the same values
 *   BIT      0 or 1; the first in the highest bit of the  (dim + 7) / 8  the vector itself
 *            first byte, unused bits of the last one zero
 *
 * A prepared query is what kernels compare rows with: made once (iqdb_element_prepare), it meets thousands of rows.
 */
#ifndef IQDB_VEC_ELEMENT_H
#define IQDB_VEC_ELEMENT_H

#include "core/vec/metric.h"

#define IQDB_ELEMENT_COUNT 3

typedef struct IqdbElement
{
	IqdbElementKind kind;
	const char     *name;          /* "f32", "f16", "bit" */
	uint32_t        dimension_max;
	uint32_t        bits;          /* of one component */
	bool            has_numbers;   /* components are numbers that quantizers can stand for */
	bool            is_prepared;   /* a vector is a prepared query as it is */
} IqdbElement;

/* NULL for an unknown number. */
const IqdbElement *iqdb_element(uint32_t kind);

/* Bytes of a vector. */
static inline size_t
iqdb_element_bytes(const IqdbElement *element, size_t dim)
{
	return (dim * element->bits + 7) / 8;
}

/* Bytes of a prepared query. */
static inline size_t
iqdb_element_prepared_bytes(const IqdbElement *element, size_t dim)
{
	return element->is_prepared ? iqdb_element_bytes(element, dim) : dim * sizeof(float);
}

/* IQDB_ERR_VECTOR when dim is 0, a component is NaN or infinite, or an unused bit is set. */
IqdbStatus iqdb_element_check(const IqdbElement *element, const void *vector, size_t dim, IqdbError *err) IQDB_MUST_CHECK;

/* Are all components zero, of whatever sign? */
bool iqdb_element_is_zero(const IqdbElement *element, const void *vector, size_t dim);

/* Has the vector a component whose product with another one may vanish (iqdb_vector_has_tiny)? */
bool iqdb_element_has_tiny(const IqdbElement *element, const void *vector, size_t dim);

/* The vector as bytes of a file, little-endian, and back; iqdb_element_bytes() of them. The two must not overlap. */
void iqdb_element_encode(const IqdbElement *element, const void *vector, size_t dim, unsigned char *bytes_out);
void iqdb_element_decode(const IqdbElement *element, const unsigned char *bytes, size_t dim, void *vector_out);

/* The vector as a prepared query: itself, or written to buffer, which has room for iqdb_element_prepared_bytes(). */
const void *iqdb_element_prepare(const IqdbKernels *kernels, const IqdbElement *element, const void *vector,
								 size_t dim, void *buffer);

/* The vector as floats: itself, or written to buffer of dim floats. */
const float *iqdb_element_floats(const IqdbKernels *kernels, const IqdbElement *element, const void *vector,
								 size_t dim, float *buffer);

/*
 * Distance of one pair in double: what SQL's operators report. Within 1e-14 of the exact value (relative, for cosine
 * absolute), for all vectors that iqdb_element_check() lets pass; a cosine distance is 1 where one of them is all zeros.
 */
double iqdb_element_distance(const IqdbKernels *kernels, const IqdbElement *element, IqdbMetric metric,
							 const void *a, const void *b, size_t dim);

/* The same for a prepared query and a row; squared where the metric's keys are. */
double iqdb_element_key(const IqdbKernels *kernels, const IqdbElement *element, IqdbMetric metric,
						const void *query, const void *row, size_t dim);

#endif
