/*
 * fuzz_text.c - any bytes as a vector's text and as its binary form.
 *
 * Properties: no read or write outside the buffers (both are exact-size heap copies, so the address sanitizer sees a
 * single byte too far), a success yields 1 .. capacity finite components, a fault lies inside the input, text accepted
 * is text accepted again after printing, to the same bits, and every number is the one the C library's strtof reads. Read
 * into halves, the same is accepted but for what is too large, and the components are the floats narrowed.
 */
#include "core/vec/metric.h"
#include "core/vec/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(bool condition, const char *what)
{
	if (!condition)
	{
		fprintf(stderr, "fuzz_text: violated: %s\n", what);
		abort();
	}
}

static void *
exact_buffer(size_t size)
{
	void *buffer = malloc(size > 0 ? size : 1);

	require(buffer != NULL, "memory");
	return buffer;
}

/* Printing with nine digits and reading again gives the same floats. */
static void
check_round_trip(const float *values, size_t dim)
{
	size_t          room = dim * 20 + 3;
	char           *text = exact_buffer(room);
	float          *again = exact_buffer(dim * sizeof(float));
	size_t          length = 0;
	size_t          dim_again;
	IqdbVectorFault fault;

	for (size_t i = 0; i < dim; i++)
		length += (size_t) snprintf(text + length, room - length, "%c%.9g", i == 0 ? '[' : ',', (double) values[i]);
	text[length++] = ']';
	require(iqdb_vector_text_bound(text, length) == dim, "bound of printed text");
	require(iqdb_vector_parse(text, length, again, dim, &fault, &dim_again, NULL) == IQDB_OK, "printed text accepted");
	require(dim_again == dim && memcmp(values, again, dim * sizeof(float)) == 0, "printed text reads to the same bits");
	free(again);
	free(text);
}

/* One number against the C library, in the C locale the program runs in. */
static void
check_number(const char *bytes, size_t size)
{
	char               *text = exact_buffer(size + 1);
	char               *end;
	float               value;
	float               reference;
	size_t              used;
	IqdbVectorFaultKind kind = iqdb_float_parse(bytes, size, &value, &used);

	require(used <= size, "number inside the input");
	memcpy(text, bytes, size);
	text[size] = '\0';
	if (kind == IQDB_FAULT_NONE || kind == IQDB_FAULT_RANGE)
	{
		text[used] = '\0';
		reference = strtof(text, &end);
		require(end == text + used, "strtof reads the same bytes");
		if (kind == IQDB_FAULT_RANGE)
			require(isinf(reference), "strtof calls it too large as well");
		else
			require(memcmp(&value, &reference, sizeof(value)) == 0, "strtof reads the same value");
	}
	free(text);
}

/* The text read into halves, beside what reading it into floats gave. */
static void
check_halves(const char *bytes, size_t size, size_t capacity, const IqdbVectorFault *fault, const float *values,
			 size_t dim)
{
	IqdbHalf       *halves = exact_buffer(capacity * sizeof(*halves));
	size_t          half_dim;
	IqdbVectorFault half_fault;

	if (iqdb_half_vector_parse(bytes, size, halves, capacity, &half_fault, &half_dim, NULL) == IQDB_OK)
	{
		require(fault->kind == IQDB_FAULT_NONE && half_dim == dim, "read into halves, read into floats");
		for (size_t i = 0; i < dim; i++)
			require(halves[i] == iqdb_half_narrow(values[i]), "a half is the float narrowed");
		require(iqdb_halves_first_not_finite(halves, dim) == dim, "halves finite");
	}
	else if (half_fault.kind != fault->kind || half_fault.offset != fault->offset)
	{
		/* then a number for which floats are large enough came first */
		require(half_fault.kind == IQDB_FAULT_RANGE, "only the range differs");
		require(fault->kind == IQDB_FAULT_NONE || half_fault.offset < fault->offset, "the first fault is told");
	}
	free(halves);
}

static void
check_text(const char *bytes, size_t size)
{
	size_t          bound = iqdb_vector_text_bound(bytes, size);
	size_t          capacity = bound < IQDB_DIMENSION_MAX ? bound : IQDB_DIMENSION_MAX;
	float          *values = exact_buffer(capacity * sizeof(float));
	size_t          dim;
	IqdbVectorFault fault;
	IqdbError       err;

	if (iqdb_vector_parse(bytes, size, values, capacity, &fault, &dim, &err) == IQDB_OK)
	{
		require(dim >= 1 && dim <= capacity && fault.kind == IQDB_FAULT_NONE, "dimension in bounds");
		require(iqdb_vector_check(values, dim, NULL) == IQDB_OK, "components finite");
		check_round_trip(values, dim);
	}
	else
	{
		require(dim == 0 && fault.kind != IQDB_FAULT_NONE, "failure says so");
		require(fault.offset <= size && fault.length <= size - fault.offset, "fault inside the input");
		require(fault.kind != IQDB_FAULT_TOO_MANY || bound > IQDB_DIMENSION_MAX, "bound is a bound");
	}
	check_halves(bytes, size, capacity, &fault, values, dim);
	free(values);

	for (size_t i = 0; i < size && i < 8; i++)
		check_number(bytes + i, size - i);
}

static void
check_binary_halves(const unsigned char *bytes, size_t size)
{
	size_t          capacity = size / 2;
	IqdbHalf       *halves = exact_buffer(capacity * sizeof(*halves));
	size_t          dim;
	IqdbVectorFault fault;

	if (iqdb_half_vector_decode(bytes, size, halves, capacity, &fault, &dim, NULL) == IQDB_OK)
	{
		require(dim >= 1 && dim <= IQDB_DIMENSION_MAX && 4 + 2 * dim <= size, "dimension in bounds");
		require(iqdb_halves_first_not_finite(halves, dim) == dim, "halves finite");
	}
	else
		require(dim == 0 && fault.kind != IQDB_FAULT_NONE && fault.offset <= size, "fault inside the input");
	free(halves);
}

static void
check_binary(const unsigned char *bytes, size_t size)
{
	size_t          capacity = size / 4;
	float          *values = exact_buffer(capacity * sizeof(float));
	size_t          dim;
	IqdbVectorFault fault;

	if (iqdb_vector_decode(bytes, size, values, capacity, &fault, &dim, NULL) == IQDB_OK)
	{
		require(dim >= 1 && dim <= IQDB_DIMENSION_MAX && 4 + 4 * dim <= size, "dimension in bounds");
		require(iqdb_vector_check(values, dim, NULL) == IQDB_OK, "components finite");
	}
	else
		require(dim == 0 && fault.kind != IQDB_FAULT_NONE && fault.offset <= size, "fault inside the input");
	free(values);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *bytes = exact_buffer(size);

	if (size > 0)
		memcpy(bytes, data, size);
	check_text(bytes, size);
	check_binary((const unsigned char *) bytes, size);
	check_binary_halves((const unsigned char *) bytes, size);
	free(bytes);
	return 0;
}
