/*
 * iqvector.c - the types themselves: text and binary input and output, type modifier, and the checks every door shares.
 *
 * Reading is the core's (core/vec/text.h); this file gives its faults their SQL words. Words and SQLSTATEs are those of
 * pgvector with the type's own name, because client code matches on them. Comments before functions name those of
 * iqvector; iqhalfvec has each as well (iqvector_private.h).
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/shortest_dec.h"
#include "libpq/pqformat.h"
#include "port/pg_bswap.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "core/vec/text.h"
#include "pg/iqvector_private.h"

const IqdbPgVectorType iqdb_pg_iqvector = {"iqvector", "vector", IQDB_ELEMENT_F32, sizeof(float)};
const IqdbPgVectorType iqdb_pg_iqhalfvec = {"iqhalfvec", "halfvec", IQDB_ELEMENT_F16, sizeof(IqdbHalf)};

IqdbPgVector *
iqdb_pg_vector_new(const IqdbPgVectorType *type, int dim)
{
	Size          size = IQDB_PG_VECTOR_SIZE(type, dim);
	IqdbPgVector *result = (IqdbPgVector *) palloc(size);

	SET_VARSIZE(result, size);
	result->dim = (int16) dim;
	result->unused = 0;
	return result;
}

int
iqdb_pg_vector_round(const IqdbPgVectorType *type, IqdbPgVector *vector, int start, const float *values, int count)
{
	if (iqdb_pg_vector_is_half(type))
		return (int) iqdb_halves_narrow(values, (size_t) count, VECTOR_HALVES(vector) + start);
	memcpy(VECTOR_FLOATS(vector) + start, values, sizeof(float) * (Size) count);
	return count;
}

void
iqdb_pg_vector_set(const IqdbPgVectorType *type, IqdbPgVector *vector, int start, const float *values, int count)
{
	int  bad = iqdb_pg_vector_round(type, vector, start, values, count);
	char digits[FLOAT_SHORTEST_DECIMAL_LEN];

	if (likely(bad == count))
		return;
	(void) float_to_shortest_decimal_buf(values[bad], digits);
	ereport(ERROR,
			(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
			 errmsg("\"%s\" is out of range for type %s", digits, type->name)));
}

static void
report_empty(const IqdbPgVectorType *type, Node *context)
{
	iqdb_pg_errsave(context,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("%s must have at least 1 dimension", type->name)));
}

static void
report_too_many(const IqdbPgVectorType *type, Node *context)
{
	iqdb_pg_errsave(context,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("%s cannot have more than %d dimensions", type->name, IQDB_DIMENSION_MAX)));
}

static void
report_nan(const IqdbPgVectorType *type, Node *context)
{
	iqdb_pg_errsave(context,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("NaN not allowed in %s", type->name)));
}

static void
report_infinite(const IqdbPgVectorType *type, Node *context)
{
	iqdb_pg_errsave(context,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("infinite value not allowed in %s", type->name)));
}

static void
report_unexpected_dim(Node *context, int32 typmod, int dim)
{
	iqdb_pg_errsave(context,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("expected %d dimensions, not %d", typmod, dim)));
}

void
iqdb_pg_vector_check_dim(const IqdbPgVectorType *type, int64 dim)
{
	if (dim < 1)
		report_empty(type, NULL);
	if (dim > IQDB_DIMENSION_MAX)
		report_too_many(type, NULL);
}

void
iqdb_pg_vector_check_typmod(int32 typmod, int dim)
{
	if (typmod != -1 && typmod != dim)
		report_unexpected_dim(NULL, typmod, dim);
}

void
iqdb_pg_vector_check_finite(const IqdbPgVectorType *type, const IqdbPgVector *vector)
{
	float buffer[IQDB_PG_PIECE];

	for (int start = 0; start < vector->dim; start += IQDB_PG_PIECE)
	{
		int          count = iqdb_pg_vector_piece(vector, start);
		const float *x = iqdb_pg_vector_floats(type, vector, start, count, buffer);

		for (int i = 0; i < count; i++)
		{
			if (isnan(x[i]))
				report_nan(type, NULL);
			if (isinf(x[i]))
				report_infinite(type, NULL);
		}
	}
}

void
iqdb_pg_vector_check_same_dim(const IqdbPgVectorType *type, const IqdbPgVector *a, const IqdbPgVector *b)
{
	if (unlikely(a->dim != b->dim))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("different %s dimensions %d and %d", type->name, a->dim, b->dim)));
}

/* The SQL words of a fault in a text. Returns only when context collects errors softly. */
static void
report_text_fault(const IqdbPgVectorType *type, Node *context, const char *text, const IqdbVectorFault *fault)
{
	switch (fault->kind)
	{
		case IQDB_FAULT_EMPTY:
			report_empty(type, context);
			break;
		case IQDB_FAULT_TOO_MANY:
			report_too_many(type, context);
			break;
		case IQDB_FAULT_NAN:
			report_nan(type, context);
			break;
		case IQDB_FAULT_INFINITE:
			report_infinite(type, context);
			break;
		case IQDB_FAULT_RANGE:
			iqdb_pg_errsave(context,
							(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
							 errmsg("\"%s\" is out of range for type %s",
									pnstrdup(text + fault->offset, fault->length), type->name)));
			break;
		case IQDB_FAULT_START:
			iqdb_pg_errsave(context,
							(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
							 errmsg("invalid input syntax for type %s: \"%s\"", type->name, text),
							 errdetail("Vector contents must start with \"[\"."),
							 text[0] == '{' ?
							 errhint("What has braces is an array: cast it, as in $1::real[]::%s.", type->name) : 0));
			break;
		case IQDB_FAULT_JUNK:
			iqdb_pg_errsave(context,
							(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
							 errmsg("invalid input syntax for type %s: \"%s\"", type->name, text),
							 errdetail("Junk after closing right brace.")));
			break;
		default:
			iqdb_pg_errsave(context,
							(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
							 errmsg("invalid input syntax for type %s: \"%s\"", type->name, text)));
			break;
	}
}

IqdbPgVector *
iqdb_pg_vector_parse(const IqdbPgVectorType *type, const char *text, Size length, IqdbVectorFault *fault_out)
{
	Size          capacity = Min(iqdb_vector_text_bound(text, length), IQDB_DIMENSION_MAX);
	IqdbPgVector *result = iqdb_pg_vector_new(type, (int) capacity);
	size_t        dim;
	IqdbStatus    status;

	/* the bound is exact for all valid text, so the result is read in place */
	status = iqdb_pg_vector_is_half(type) ?
		iqdb_half_vector_parse(text, length, VECTOR_HALVES(result), capacity, fault_out, &dim, NULL) :
		iqdb_vector_parse(text, length, VECTOR_FLOATS(result), capacity, fault_out, &dim, NULL);
	if (status != IQDB_OK)
		return NULL;
	Assert(dim == capacity);
	return result;
}

/* iqvector_in(cstring, oid, integer) returns iqvector */
static Datum
vector_in(FunctionCallInfo fcinfo, const IqdbPgVectorType *type)
{
	const char     *text = PG_GETARG_CSTRING(0);
	int32           typmod = PG_GETARG_INT32(2);
	IqdbVectorFault fault;
	IqdbPgVector   *result = iqdb_pg_vector_parse(type, text, strlen(text), &fault);

	if (result == NULL)
	{
		report_text_fault(type, fcinfo->context, text, &fault);
		PG_RETURN_NULL();
	}
	if (typmod != -1 && typmod != result->dim)
	{
		report_unexpected_dim(fcinfo->context, typmod, result->dim);
		PG_RETURN_NULL();
	}
	PG_RETURN_VECTOR_P(result);
}
IQDB_PG_VECTOR_FUNCTION(in)

char *
iqdb_pg_vector_text(const IqdbPgVectorType *type, const IqdbPgVector *vector)
{
	/* the length macro counts a NUL per number, which pays for the comma; then "[", "]" and NUL */
	char *text = (char *) palloc((Size) vector->dim * FLOAT_SHORTEST_DECIMAL_LEN + 3);
	char *p = text;
	float buffer[IQDB_PG_PIECE];

	*p++ = '[';
	for (int start = 0; start < vector->dim; start += IQDB_PG_PIECE)
	{
		int          count = iqdb_pg_vector_piece(vector, start);
		const float *x = iqdb_pg_vector_floats(type, vector, start, count, buffer);

		for (int i = 0; i < count; i++)
		{
			p += float_to_shortest_decimal_bufn(x[i], p);
			*p++ = ',';
		}
	}
	/* in the place of the last comma */
	p[-1] = ']';
	*p = '\0';
	return text;
}

/* iqvector_out(iqvector) returns cstring */
static Datum
vector_out(FunctionCallInfo fcinfo, const IqdbPgVectorType *type)
{
	IqdbPgVector *vector = PG_GETARG_VECTOR_P(0);
	char         *text = iqdb_pg_vector_text(type, vector);

	PG_FREE_IF_COPY(vector, 0);
	PG_RETURN_CSTRING(text);
}
IQDB_PG_VECTOR_FUNCTION(out)

/* iqvector_typmod_in(cstring[]) returns integer: the n of iqvector(n) */
static Datum
vector_typmod_in(FunctionCallInfo fcinfo, const IqdbPgVectorType *type)
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
				 errmsg("dimensions for type %s must be at least 1", type->name)));
	if (modifiers[0] > IQDB_DIMENSION_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("dimensions for type %s cannot exceed %d", type->name, IQDB_DIMENSION_MAX)));
	PG_RETURN_INT32(modifiers[0]);
}
IQDB_PG_VECTOR_FUNCTION(typmod_in)

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

/* What to do with bytes of numbers alone: drivers send those of a Float32Array as they are, for any type. */
static int
hint_numbers_alone(const IqdbPgVectorType *type)
{
	return errhint("The binary form has dimensions and zero, in 16 bits each, before the numbers. "
				   "Bytes of numbers alone go through bytea_to_%s($1).", type->name);
}

/* The SQL words of a fault in the binary form. */
static void
report_binary_fault(const IqdbPgVectorType *type, const IqdbVectorFault *fault, const unsigned char *bytes, Size length)
{
	switch (fault->kind)
	{
		case IQDB_FAULT_EMPTY:
			if (is_binary_array(bytes, length))
				ereport(ERROR,
						(errcode(ERRCODE_DATA_EXCEPTION),
						 errmsg("%s must have at least 1 dimension", type->name),
						 errdetail("The bytes received are those of an array."),
						 errhint("Copy into a column of the array's type and cast it to %s, or send the binary form "
								 "of %s: dimensions and zero in 16 bits each, then the numbers.", type->name,
								 type->name)));
			ereport(ERROR,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("%s must have at least 1 dimension", type->name),
					 hint_numbers_alone(type)));
			break;
		case IQDB_FAULT_TOO_MANY:
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("%s cannot have more than %d dimensions", type->name, IQDB_DIMENSION_MAX),
					 hint_numbers_alone(type)));
			break;
		case IQDB_FAULT_NAN:
			report_nan(type, NULL);
			break;
		case IQDB_FAULT_INFINITE:
			report_infinite(type, NULL);
			break;
		case IQDB_FAULT_RESERVED:
			ereport(ERROR,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("expected unused to be 0, not %u", fault->number),
					 hint_numbers_alone(type)));
			break;
		default:
			ereport(ERROR,
					(errcode(ERRCODE_PROTOCOL_VIOLATION),
					 errmsg("insufficient data left in message")));
			break;
	}
}

/* iqvector_recv(internal, oid, integer) returns iqvector */
static Datum
vector_recv(FunctionCallInfo fcinfo, const IqdbPgVectorType *type)
{
	StringInfo           message = (StringInfo) PG_GETARG_POINTER(0);
	int32                typmod = PG_GETARG_INT32(2);
	const unsigned char *bytes = (const unsigned char *) message->data + message->cursor;
	Size                 length = (Size) (message->len - message->cursor);
	Size                 capacity = Min(length / type->component, IQDB_DIMENSION_MAX);
	IqdbPgVector        *result = iqdb_pg_vector_new(type, (int) capacity);
	size_t               dim;
	IqdbVectorFault      fault;
	IqdbStatus           status;

	/* room for what the bytes can hold, not for what their first two claim */
	status = iqdb_pg_vector_is_half(type) ?
		iqdb_half_vector_decode(bytes, length, VECTOR_HALVES(result), capacity, &fault, &dim, NULL) :
		iqdb_vector_decode(bytes, length, VECTOR_FLOATS(result), capacity, &fault, &dim, NULL);
	if (status != IQDB_OK)
		report_binary_fault(type, &fault, bytes, length);
	iqdb_pg_vector_check_typmod(typmod, (int) dim);

	/* whether anything may follow in the message is for the caller to say */
	(void) pq_getmsgbytes(message, 4 + (int) (type->component * dim));
	result->dim = (int16) dim;
	SET_VARSIZE(result, IQDB_PG_VECTOR_SIZE(type, dim));
	PG_RETURN_VECTOR_P(result);
}
IQDB_PG_VECTOR_FUNCTION(recv)

/* iqvector_send(iqvector) returns bytea */
static Datum
vector_send(FunctionCallInfo fcinfo, const IqdbPgVectorType *type)
{
	IqdbPgVector  *vector = PG_GETARG_VECTOR_P(0);
	StringInfoData message;

	pq_begintypsend(&message);
	enlargeStringInfo(&message, 4 + (int) (type->component * (Size) vector->dim));
	pq_sendint16(&message, (uint16) vector->dim);
	pq_sendint16(&message, (uint16) vector->unused);
	for (int i = 0; iqdb_pg_vector_is_half(type) && i < vector->dim; i++)
		pq_writeint16(&message, VECTOR_HALVES(vector)[i]);
	for (int i = 0; !iqdb_pg_vector_is_half(type) && i < vector->dim; i++)
	{
		uint32 bits;

		memcpy(&bits, &VECTOR_FLOATS(vector)[i], sizeof(bits));
		pq_writeint32(&message, bits);
	}
	PG_FREE_IF_COPY(vector, 0);
	PG_RETURN_BYTEA_P(pq_endtypsend(&message));
}
IQDB_PG_VECTOR_FUNCTION(send)
