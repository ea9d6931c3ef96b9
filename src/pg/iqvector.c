/*
 * iqvector.c - the type itself: text and binary input and output, type modifier, and the checks every door shares.
 *
 * Reading is the core's (core/vec/text.h); this file gives its faults their SQL words. Words and SQLSTATEs are those of
 * pgvector with the type's own name, because client code matches on them.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/shortest_dec.h"
#include "libpq/pqformat.h"
#include "port/pg_bswap.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "core/vec/text.h"
#include "pg/iqvector.h"

IqVector *
iqdb_pg_vector_new(int dim)
{
	Size      size = IQVECTOR_SIZE(dim);
	IqVector *result = (IqVector *) palloc(size);

	SET_VARSIZE(result, size);
	result->dim = (int16) dim;
	result->unused = 0;
	return result;
}

static void
report_empty(Node *context)
{
	iqdb_pg_errsave(context,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("iqvector must have at least 1 dimension")));
}

static void
report_too_many(Node *context)
{
	iqdb_pg_errsave(context,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("iqvector cannot have more than %d dimensions", IQDB_DIMENSION_MAX)));
}

static void
report_nan(Node *context)
{
	iqdb_pg_errsave(context,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("NaN not allowed in iqvector")));
}

static void
report_infinite(Node *context)
{
	iqdb_pg_errsave(context,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("infinite value not allowed in iqvector")));
}

static void
report_unexpected_dim(Node *context, int32 typmod, int dim)
{
	iqdb_pg_errsave(context,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("expected %d dimensions, not %d", typmod, dim)));
}

void
iqdb_pg_vector_check_dim(int64 dim)
{
	if (dim < 1)
		report_empty(NULL);
	if (dim > IQDB_DIMENSION_MAX)
		report_too_many(NULL);
}

void
iqdb_pg_vector_check_typmod(int32 typmod, int dim)
{
	if (typmod != -1 && typmod != dim)
		report_unexpected_dim(NULL, typmod, dim);
}

void
iqdb_pg_vector_check_finite(const IqVector *vector)
{
	for (int i = 0; i < vector->dim; i++)
	{
		if (isnan(vector->x[i]))
			report_nan(NULL);
		if (isinf(vector->x[i]))
			report_infinite(NULL);
	}
}

void
iqdb_pg_vector_check_same_dim(const IqVector *a, const IqVector *b)
{
	if (unlikely(a->dim != b->dim))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("different iqvector dimensions %d and %d", a->dim, b->dim)));
}

/* The SQL words of a fault in a text. Returns only when context collects errors softly. */
static void
report_text_fault(Node *context, const char *text, const IqdbVectorFault *fault)
{
	switch (fault->kind)
	{
		case IQDB_FAULT_EMPTY:
			report_empty(context);
			break;
		case IQDB_FAULT_TOO_MANY:
			report_too_many(context);
			break;
		case IQDB_FAULT_NAN:
			report_nan(context);
			break;
		case IQDB_FAULT_INFINITE:
			report_infinite(context);
			break;
		case IQDB_FAULT_RANGE:
			iqdb_pg_errsave(context,
							(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
							 errmsg("\"%s\" is out of range for type iqvector",
									pnstrdup(text + fault->offset, fault->length))));
			break;
		case IQDB_FAULT_START:
			iqdb_pg_errsave(context,
							(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
							 errmsg("invalid input syntax for type iqvector: \"%s\"", text),
							 errdetail("Vector contents must start with \"[\".")));
			break;
		case IQDB_FAULT_JUNK:
			iqdb_pg_errsave(context,
							(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
							 errmsg("invalid input syntax for type iqvector: \"%s\"", text),
							 errdetail("Junk after closing right brace.")));
			break;
		default:
			iqdb_pg_errsave(context,
							(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
							 errmsg("invalid input syntax for type iqvector: \"%s\"", text)));
			break;
	}
}

/* iqvector_in(cstring, oid, integer) returns iqvector */
PG_FUNCTION_INFO_V1(iqvector_in);
Datum
iqvector_in(PG_FUNCTION_ARGS)
{
	const char     *text = PG_GETARG_CSTRING(0);
	int32           typmod = PG_GETARG_INT32(2);
	Size            length = strlen(text);
	Size            capacity = Min(iqdb_vector_text_bound(text, length), IQDB_DIMENSION_MAX);
	IqVector       *result = iqdb_pg_vector_new((int) capacity);
	size_t          dim;
	IqdbVectorFault fault;

	/* the bound is exact for all valid text, so the result is read in place */
	if (iqdb_vector_parse(text, length, result->x, capacity, &fault, &dim, NULL) != IQDB_OK)
	{
		report_text_fault(fcinfo->context, text, &fault);
		PG_RETURN_NULL();
	}
	if (typmod != -1 && typmod != (int32) dim)
	{
		report_unexpected_dim(fcinfo->context, typmod, (int) dim);
		PG_RETURN_NULL();
	}
	Assert(dim == capacity);
	PG_RETURN_IQVECTOR_P(result);
}

char *
iqdb_pg_vector_text(const IqVector *vector)
{
	/* the length macro counts a NUL per number, which pays for the comma; then "[", "]" and NUL */
	char *text = (char *) palloc((Size) vector->dim * FLOAT_SHORTEST_DECIMAL_LEN + 3);
	char *p = text;

	*p++ = '[';
	for (int i = 0; i < vector->dim; i++)
	{
		if (i > 0)
			*p++ = ',';
		p += float_to_shortest_decimal_bufn(vector->x[i], p);
	}
	*p++ = ']';
	*p = '\0';
	return text;
}

/* iqvector_out(iqvector) returns cstring */
PG_FUNCTION_INFO_V1(iqvector_out);
Datum
iqvector_out(PG_FUNCTION_ARGS)
{
	IqVector *vector = PG_GETARG_IQVECTOR_P(0);
	char     *text = iqdb_pg_vector_text(vector);

	PG_FREE_IF_COPY(vector, 0);
	PG_RETURN_CSTRING(text);
}

/* iqvector_typmod_in(cstring[]) returns integer: the n of iqvector(n) */
PG_FUNCTION_INFO_V1(iqvector_typmod_in);
Datum
iqvector_typmod_in(PG_FUNCTION_ARGS)
{
	int    count;
	int32 *modifiers = ArrayGetIntegerTypmods(PG_GETARG_ARRAYTYPE_P(0), &count);

	if (count != 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid type modifier")));
	if (modifiers[0] < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("dimensions for type iqvector must be at least 1")));
	if (modifiers[0] > IQDB_DIMENSION_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("dimensions for type iqvector cannot exceed %d", IQDB_DIMENSION_MAX)));
	PG_RETURN_INT32(modifiers[0]);
}

/*
 * Are these the bytes of an array of numbers? Their first field, the number of dimensions in 32 bits, reads as a vector
 * without components; then come flags and the type of the elements.
 */
static bool
is_binary_array(const unsigned char *bytes, Size length)
{
	uint32 header[3];

	if (length < sizeof(header))
		return false;
	memcpy(header, bytes, sizeof(header));
	switch (pg_ntoh32(header[2]))
	{
		case INT4OID:
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
			return pg_ntoh32(header[0]) <= MAXDIM && pg_ntoh32(header[1]) <= 1;
		default:
			return false;
	}
}

/* The SQL words of a fault in the binary form. */
static void
report_binary_fault(const IqdbVectorFault *fault, const unsigned char *bytes, Size length)
{
	switch (fault->kind)
	{
		case IQDB_FAULT_EMPTY:
			if (is_binary_array(bytes, length))
				ereport(ERROR,
						(errcode(ERRCODE_DATA_EXCEPTION),
						 errmsg("iqvector must have at least 1 dimension"),
						 errdetail("The bytes received are those of an array."),
						 errhint("Copy into a column of the array's type and cast it to iqvector, or send the binary form "
								 "of iqvector: dimensions and zero in 16 bits each, then the numbers.")));
			report_empty(NULL);
			break;
		case IQDB_FAULT_TOO_MANY:
			report_too_many(NULL);
			break;
		case IQDB_FAULT_NAN:
			report_nan(NULL);
			break;
		case IQDB_FAULT_INFINITE:
			report_infinite(NULL);
			break;
		case IQDB_FAULT_RESERVED:
			ereport(ERROR,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("expected unused to be 0, not %u", fault->number)));
			break;
		default:
			ereport(ERROR,
					(errcode(ERRCODE_PROTOCOL_VIOLATION),
					 errmsg("insufficient data left in message")));
			break;
	}
}

/* iqvector_recv(internal, oid, integer) returns iqvector */
PG_FUNCTION_INFO_V1(iqvector_recv);
Datum
iqvector_recv(PG_FUNCTION_ARGS)
{
	StringInfo           message = (StringInfo) PG_GETARG_POINTER(0);
	int32                typmod = PG_GETARG_INT32(2);
	const unsigned char *bytes = (const unsigned char *) message->data + message->cursor;
	Size                 length = (Size) (message->len - message->cursor);
	Size                 capacity = Min(length / sizeof(float), IQDB_DIMENSION_MAX);
	IqVector            *result = iqdb_pg_vector_new((int) capacity);
	size_t               dim;
	IqdbVectorFault      fault;

	/* room for what the bytes can hold, not for what their first two claim */
	if (iqdb_vector_decode(bytes, length, result->x, capacity, &fault, &dim, NULL) != IQDB_OK)
		report_binary_fault(&fault, bytes, length);
	iqdb_pg_vector_check_typmod(typmod, (int) dim);

	/* whether anything may follow in the message is for the caller to say */
	(void) pq_getmsgbytes(message, 4 + 4 * (int) dim);
	result->dim = (int16) dim;
	SET_VARSIZE(result, IQVECTOR_SIZE(dim));
	PG_RETURN_IQVECTOR_P(result);
}

/* iqvector_send(iqvector) returns bytea */
PG_FUNCTION_INFO_V1(iqvector_send);
Datum
iqvector_send(PG_FUNCTION_ARGS)
{
	IqVector      *vector = PG_GETARG_IQVECTOR_P(0);
	StringInfoData message;

	pq_begintypsend(&message);
	enlargeStringInfo(&message, 4 + 4 * vector->dim);
	pq_sendint16(&message, (uint16) vector->dim);
	pq_sendint16(&message, (uint16) vector->unused);
	for (int i = 0; i < vector->dim; i++)
	{
		uint32 bits;

		memcpy(&bits, &vector->x[i], sizeof(bits));
		pq_writeint32(&message, bits);
	}
	PG_FREE_IF_COPY(vector, 0);
	PG_RETURN_BYTEA_P(pq_endtypsend(&message));
}
