/*
 * iqvector_cast.c - casts and conversions: type modifier, arrays, jsonb and json, bytes of numbers, iqvector to iqhalfvec and
 * back.
 *
 * Arrays follow pgvector to the word. A jsonb array is read as the text form is: each number is rounded once from its
 * decimal digits, too small ones become zero. Back again, each component becomes the shortest number that reads to the
 * same float; only the sign of a negative zero is lost, which jsonb numbers do not have. json is text, and keeps it.
 * Whatever becomes an iqhalfvec is rounded to floats first, and those to halves.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "common/shortest_dec.h"
#include "nodes/nodeFuncs.h"
#include "nodes/supportnodes.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"
#include "utils/syscache.h"

#include "core/base/endian.h"
#include "core/vec/text.h"
#include "pg/iqvector_private.h"

/* iqvector(iqvector, integer, boolean) returns iqvector: checks the type modifier */
static Datum
vector_enforce_typmod(FunctionCallInfo fcinfo, const IqdbPgVectorType *type)
{
	IqdbPgVector *vector = PG_GETARG_VECTOR_P(0);

	iqdb_pg_vector_check_typmod(PG_GETARG_INT32(1), vector->dim);
	PG_RETURN_VECTOR_P(vector);
}
IQDB_PG_VECTOR_FUNCTION(enforce_typmod)

/* true for a type of this name. pgvector's modifiers mean what ours mean; that a cast is free is the superuser's word. */
static bool
is_type_named(Oid type, const char *name)
{
	HeapTuple tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
	bool      named;

	if (!HeapTupleIsValid(tuple))
		return false;
	named = strcmp(NameStr(((Form_pg_type) GETSTRUCT(tuple))->typname), name) == 0;
	ReleaseSysCache(tuple);
	return named;
}

/* The modifier an expression is known to satisfy, or -1; looks through the free cast from pgvector's type. */
static int32
known_typmod(const IqdbPgVectorType *type, Node *expression)
{
	int32 typmod = exprTypmod(expression);

	if (typmod < 0 && IsA(expression, RelabelType))
	{
		Node *source = (Node *) ((RelabelType *) expression)->arg;

		if (is_type_named(exprType(source), type->like))
			typmod = exprTypmod(source);
	}
	return typmod;
}

/*
 * iqvector_typmod_support(internal) returns internal: tells the planner when a modifier needs no check. Besides the
 * check itself this saves ALTER TABLE ... TYPE the rewrite of a table, from vector(n) to iqvector(n) for one.
 */
static Datum
vector_typmod_support(FunctionCallInfo fcinfo, const IqdbPgVectorType *type)
{
	Node *request = (Node *) PG_GETARG_POINTER(0);
	Node *result = NULL;

	if (IsA(request, SupportRequestSimplify))
	{
		List *arguments = ((SupportRequestSimplify *) request)->fcall->args;
		Node *source = (Node *) linitial(arguments);
		Node *modifier = (Node *) lsecond(arguments);

		if (IsA(modifier, Const) && !((Const *) modifier)->constisnull)
		{
			int32 typmod = DatumGetInt32(((Const *) modifier)->constvalue);

			if (typmod < 0 || typmod == known_typmod(type, source))
				result = relabel_to_typmod(source, typmod);
		}
	}
	PG_RETURN_POINTER(result);
}
IQDB_PG_VECTOR_FUNCTION(typmod_support)

/*
 * The elements of an array from start on, as floats. Without nulls, elements of fixed length lie side by side; numerics are
 * given as datums. numeric rounds to float4 by its text form, and says "type real" when that does not fit.
 */
static void
element_floats(ArrayType *array, const Datum *numerics, int start, int count, float *floats)
{
	const void *data = ARR_DATA_PTR(array);

	switch (ARR_ELEMTYPE(array))
	{
		case INT4OID:
			for (int i = 0; i < count; i++)
				floats[i] = (float) ((const int32 *) data)[start + i];
			break;
		case FLOAT4OID:
			memcpy(floats, (const float *) data + start, sizeof(float) * (Size) count);
			break;
		case FLOAT8OID:
			for (int i = 0; i < count; i++)
				floats[i] = (float) ((const float8 *) data)[start + i];
			break;
		case NUMERICOID:
			for (int i = 0; i < count; i++)
				floats[i] = DatumGetFloat4(DirectFunctionCall1(numeric_float4, numerics[start + i]));
			break;
		default:
			ereport(ERROR,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("unsupported array type")));
	}
}

/* array_to_iqvector(integer[] | real[] | double precision[] | numeric[], integer, boolean) returns iqvector */
static Datum
vector_from_array(FunctionCallInfo fcinfo, const IqdbPgVectorType *type)
{
	ArrayType    *array = PG_GETARG_ARRAYTYPE_P(0);
	int           count;
	Datum        *numerics = NULL;
	IqdbPgVector *result;
	float         floats[IQDB_PG_PIECE];

	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("array must be 1-D")));
	if (ARR_HASNULL(array) && array_contains_nulls(array))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("array must not contain nulls")));

	count = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	iqdb_pg_vector_check_dim(type, count);
	iqdb_pg_vector_check_typmod(PG_GETARG_INT32(1), count);
	result = iqdb_pg_vector_new(type, count);
	if (ARR_ELEMTYPE(array) == NUMERICOID)
		deconstruct_array(array, NUMERICOID, -1, false, TYPALIGN_INT, &numerics, NULL, &count);
	for (int start = 0, piece; start < count; start += piece)
	{
		/* numerics may be refused on their way to a float: one by one, so that the first that is wrong is told */
		piece = numerics != NULL ? 1 : iqdb_pg_vector_piece(result, start);
		element_floats(array, numerics, start, piece, floats);
		iqdb_pg_vector_set(type, result, start, floats, piece);
	}
	iqdb_pg_vector_check_finite(type, result);
	PG_RETURN_VECTOR_P(result);
}
IQDB_PG_VECTOR_FUNCTION(from_array)

/* floats = the components. */
static void
set_floats(float *floats, const IqdbPgVectorType *type, const IqdbPgVector *vector)
{
	const float *x = iqdb_pg_vector_floats(type, vector, 0, vector->dim, floats);

	if (x != floats)
		memcpy(floats, x, sizeof(float) * (Size) vector->dim);
}

/* iqvector_to_float4(iqvector, integer, boolean) returns real[] */
static Datum
vector_to_float4(FunctionCallInfo fcinfo, const IqdbPgVectorType *type)
{
	IqdbPgVector *vector = PG_GETARG_VECTOR_P(0);
	Size          size = ARR_OVERHEAD_NONULLS(1) + sizeof(float4) * (Size) vector->dim;
	ArrayType    *result = (ArrayType *) palloc0(size);

	SET_VARSIZE(result, size);
	result->ndim = 1;
	result->dataoffset = 0;
	result->elemtype = FLOAT4OID;
	ARR_DIMS(result)[0] = vector->dim;
	ARR_LBOUND(result)[0] = 1;
	set_floats((float *) ARR_DATA_PTR(result), type, vector);
	PG_RETURN_ARRAYTYPE_P(result);
}
IQDB_PG_VECTOR_FUNCTION(to_float4)

/* iqhalfvec_to_iqvector(iqhalfvec, integer, boolean) returns iqvector */
PG_FUNCTION_INFO_V1(iqvector_from_iqhalfvec);
Datum
iqvector_from_iqhalfvec(PG_FUNCTION_ARGS)
{
	IqdbPgVector *vector = PG_GETARG_VECTOR_P(0);
	IqdbPgVector *result = iqdb_pg_vector_new(&iqdb_pg_iqvector, vector->dim);

	iqdb_pg_vector_check_typmod(PG_GETARG_INT32(1), vector->dim);
	set_floats(VECTOR_FLOATS(result), &iqdb_pg_iqhalfvec, vector);
	PG_RETURN_VECTOR_P(result);
}

/* iqvector_to_iqhalfvec(iqvector, integer, boolean) returns iqhalfvec */
PG_FUNCTION_INFO_V1(iqhalfvec_from_iqvector);
Datum
iqhalfvec_from_iqvector(PG_FUNCTION_ARGS)
{
	IqdbPgVector *vector = PG_GETARG_VECTOR_P(0);
	IqdbPgVector *result = iqdb_pg_vector_new(&iqdb_pg_iqhalfvec, vector->dim);

	iqdb_pg_vector_check_typmod(PG_GETARG_INT32(1), vector->dim);
	iqdb_pg_vector_set(&iqdb_pg_iqhalfvec, result, 0, VECTOR_FLOATS(vector), vector->dim);
	PG_RETURN_VECTOR_P(result);
}

/* Sets component i from an element of a jsonb array. */
static void
set_from_jsonb(const IqdbPgVectorType *type, IqdbPgVector *vector, int i, const JsonbValue *value)
{
	char  *digits;
	float  component;
	size_t used;

	if (value->type == jbvNull)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("array must not contain nulls")));
	if (value->type != jbvNumeric)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cannot cast jsonb array to type %s", type->name),
				 errdetail("Element %d is not a number.", i + 1)));

	digits = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
	if (iqdb_float_parse(digits, strlen(digits), &component, &used) != IQDB_FAULT_NONE ||
		iqdb_pg_vector_round(type, vector, i, &component, 1) == 0)
		float_overflow_error();
	pfree(digits);
}

static const char *
jsonb_kind(Jsonb *document)
{
	JsonbValue scalar;

	if (!JB_ROOT_IS_SCALAR(document))
		return "object";
	return JsonbExtractScalar(&document->root, &scalar) ? JsonbTypeName(&scalar) : "scalar";
}

/* jsonb_to_iqvector(jsonb, integer, boolean) returns iqvector */
static Datum
vector_from_jsonb(FunctionCallInfo fcinfo, const IqdbPgVectorType *type)
{
	Jsonb             *document = PG_GETARG_JSONB_P(0);
	int32              typmod = PG_GETARG_INT32(1);
	JsonbIterator     *iterator;
	JsonbIteratorToken token;
	JsonbValue         value;
	int64              count;
	int                position = 0;
	IqdbPgVector      *result;

	if (!JB_ROOT_IS_ARRAY(document) || JB_ROOT_IS_SCALAR(document))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cannot cast jsonb %s to type %s", jsonb_kind(document), type->name)));

	count = JB_ROOT_COUNT(document);
	iqdb_pg_vector_check_dim(type, count);
	iqdb_pg_vector_check_typmod(typmod, (int) count);
	result = iqdb_pg_vector_new(type, (int) count);

	iterator = JsonbIteratorInit(&document->root);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_ELEM)
		{
			Assert(position < count);
			set_from_jsonb(type, result, position++, &value);
		}
	}
	Assert(position == count);
	PG_RETURN_VECTOR_P(result);
}
IQDB_PG_VECTOR_FUNCTION(from_jsonb)

static JsonbValue
jsonb_number(float number)
{
	char       digits[FLOAT_SHORTEST_DECIMAL_LEN];
	JsonbValue value;

	(void) float_to_shortest_decimal_buf(number, digits);
	value.type = jbvNumeric;
	value.val.numeric = DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum(digits),
															ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	return value;
}

/* iqvector_to_jsonb(iqvector) returns jsonb */
static Datum
vector_to_jsonb(FunctionCallInfo fcinfo, const IqdbPgVectorType *type)
{
	IqdbPgVector    *vector = PG_GETARG_VECTOR_P(0);
	IqdbPgJsonbState state = {0};
	float            buffer[IQDB_PG_PIECE];

	iqdb_pg_push_jsonb(&state, WJB_BEGIN_ARRAY, NULL);
	for (int start = 0; start < vector->dim; start += IQDB_PG_PIECE)
	{
		int          count = iqdb_pg_vector_piece(vector, start);
		const float *x = iqdb_pg_vector_floats(type, vector, start, count, buffer);

		for (int i = 0; i < count; i++)
		{
			JsonbValue element = jsonb_number(x[i]);

			iqdb_pg_push_jsonb(&state, WJB_ELEM, &element);
		}
	}
	iqdb_pg_push_jsonb(&state, WJB_END_ARRAY, NULL);
	PG_RETURN_JSONB_P(JsonbValueToJsonb(state.result));
}
IQDB_PG_VECTOR_FUNCTION(to_jsonb)

/*
 * json_to_iqvector(json, integer, boolean) returns iqvector. A json array of numbers is the text form of a vector, too. What
 * is not one becomes jsonb first, whose cast has the words for it.
 */
static Datum
vector_from_json(FunctionCallInfo fcinfo, const IqdbPgVectorType *type)
{
	char           *string = text_to_cstring(PG_GETARG_TEXT_PP(0));
	IqdbVectorFault fault;
	IqdbPgVector   *result = iqdb_pg_vector_parse(type, string, strlen(string), &fault);

	if (result == NULL)
		return DirectFunctionCall3(iqdb_pg_vector_is_half(type) ? iqhalfvec_from_jsonb : iqvector_from_jsonb,
								   DirectFunctionCall1(jsonb_in, CStringGetDatum(string)),
								   PG_GETARG_DATUM(1), PG_GETARG_DATUM(2));
	iqdb_pg_vector_check_typmod(PG_GETARG_INT32(1), result->dim);
	PG_RETURN_VECTOR_P(result);
}
IQDB_PG_VECTOR_FUNCTION(from_json)

/* iqvector_to_json(iqvector) returns json: the text form is one */
static Datum
vector_to_json(FunctionCallInfo fcinfo, const IqdbPgVectorType *type)
{
	PG_RETURN_TEXT_P(cstring_to_text(iqdb_pg_vector_text(type, PG_GETARG_VECTOR_P(0))));
}
IQDB_PG_VECTOR_FUNCTION(to_json)

/* bytea_to_iqvector(bytea) returns iqvector: numbers of the components' size, little-endian, as they lie in most memories */
static Datum
vector_from_bytea(FunctionCallInfo fcinfo, const IqdbPgVectorType *type)
{
	bytea               *value = PG_GETARG_BYTEA_PP(0);
	const unsigned char *bytes = (const unsigned char *) VARDATA_ANY(value);
	Size                 length = VARSIZE_ANY_EXHDR(value);
	IqdbPgVector        *result;

	if (length % type->component != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("invalid length of bytes for type %s: %zu", type->name, length),
				 errdetail("The length must be a multiple of %zu.", type->component),
				 iqdb_pg_vector_is_half(type) ?
				 errhint("Pass half-precision numbers in little-endian order, two bytes each.") :
				 errhint("Pass single-precision numbers in little-endian order, four bytes each.")));
	iqdb_pg_vector_check_dim(type, (int64) (length / type->component));
	result = iqdb_pg_vector_new(type, (int) (length / type->component));
	for (int i = 0; i < result->dim; i++)
	{
		if (iqdb_pg_vector_is_half(type))
			VECTOR_HALVES(result)[i] = iqdb_load_u16(bytes + i * sizeof(IqdbHalf));
		else
			VECTOR_FLOATS(result)[i] = iqdb_load_f32(bytes + i * sizeof(float));
	}
	iqdb_pg_vector_check_finite(type, result);
	PG_RETURN_VECTOR_P(result);
}
IQDB_PG_VECTOR_FUNCTION(from_bytea)

/* iqvector_to_bytea(iqvector) returns bytea */
static Datum
vector_to_bytea(FunctionCallInfo fcinfo, const IqdbPgVectorType *type)
{
	IqdbPgVector  *vector = PG_GETARG_VECTOR_P(0);
	Size           size = VARHDRSZ + type->component * (Size) vector->dim;
	bytea         *result = (bytea *) palloc(size);
	unsigned char *bytes = (unsigned char *) VARDATA(result);

	SET_VARSIZE(result, size);
	for (int i = 0; i < vector->dim; i++)
	{
		if (iqdb_pg_vector_is_half(type))
			iqdb_store_u16(bytes + i * sizeof(IqdbHalf), VECTOR_HALVES(vector)[i]);
		else
			iqdb_store_f32(bytes + i * sizeof(float), VECTOR_FLOATS(vector)[i]);
	}
	PG_RETURN_BYTEA_P(result);
}
IQDB_PG_VECTOR_FUNCTION(to_bytea)
