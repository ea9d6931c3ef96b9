/*
 * iqvector_cast.c - casts and conversions: type modifier, arrays, jsonb and json, bytes of floats.
 *
 * Arrays follow pgvector to the word. A jsonb array is read as the text form is: each number is rounded once from its
 * decimal digits, too small ones become zero. Back again, each component becomes the shortest number that reads to the
 * same float; only the sign of a negative zero is lost, which jsonb numbers do not have. json is text, and keeps it.
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
#include "pg/iqvector.h"

/* iqvector(iqvector, integer, boolean) returns iqvector: checks the type modifier */
PG_FUNCTION_INFO_V1(iqvector_enforce_typmod);
Datum
iqvector_enforce_typmod(PG_FUNCTION_ARGS)
{
	IqVector *vector = PG_GETARG_IQVECTOR_P(0);

	iqdb_pg_vector_check_typmod(PG_GETARG_INT32(1), vector->dim);
	PG_RETURN_IQVECTOR_P(vector);
}

/* true for pgvector's type, whose modifier means what ours means. That a cast is free is the superuser's word. */
static bool
is_named_vector(Oid type)
{
	HeapTuple tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
	bool      named;

	if (!HeapTupleIsValid(tuple))
		return false;
	named = strcmp(NameStr(((Form_pg_type) GETSTRUCT(tuple))->typname), "vector") == 0;
	ReleaseSysCache(tuple);
	return named;
}

/* The modifier an iqvector expression is known to satisfy, or -1; looks through the free cast from pgvector's type. */
static int32
known_typmod(Node *expression)
{
	int32 typmod = exprTypmod(expression);

	if (typmod < 0 && IsA(expression, RelabelType))
	{
		Node *source = (Node *) ((RelabelType *) expression)->arg;

		if (is_named_vector(exprType(source)))
			typmod = exprTypmod(source);
	}
	return typmod;
}

/*
 * iqvector_typmod_support(internal) returns internal: tells the planner when a modifier needs no check. Besides the
 * check itself this saves ALTER TABLE ... TYPE the rewrite of a table, from vector(n) to iqvector(n) for one.
 */
PG_FUNCTION_INFO_V1(iqvector_typmod_support);
Datum
iqvector_typmod_support(PG_FUNCTION_ARGS)
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

			if (typmod < 0 || typmod == known_typmod(source))
				result = relabel_to_typmod(source, typmod);
		}
	}
	PG_RETURN_POINTER(result);
}

/* numeric rounds to float4 by its text form, and says "type real" when that does not fit */
static void
copy_numerics(ArrayType *array, IqVector *result)
{
	Datum *elements;
	int    count;

	deconstruct_array(array, NUMERICOID, -1, false, TYPALIGN_INT, &elements, NULL, &count);
	for (int i = 0; i < count; i++)
		result->x[i] = DatumGetFloat4(DirectFunctionCall1(numeric_float4, elements[i]));
	pfree(elements);
}

/* array_to_iqvector(integer[] | real[] | double precision[] | numeric[], integer, boolean) returns iqvector */
PG_FUNCTION_INFO_V1(iqvector_from_array);
Datum
iqvector_from_array(PG_FUNCTION_ARGS)
{
	ArrayType *array = PG_GETARG_ARRAYTYPE_P(0);
	int32      typmod = PG_GETARG_INT32(1);
	void      *data;
	int        count;
	IqVector  *result;

	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("array must be 1-D")));
	if (ARR_HASNULL(array) && array_contains_nulls(array))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("array must not contain nulls")));

	count = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	iqdb_pg_vector_check_dim(count);
	iqdb_pg_vector_check_typmod(typmod, count);
	result = iqdb_pg_vector_new(count);

	/* without nulls, elements of fixed length lie side by side */
	data = ARR_DATA_PTR(array);
	switch (ARR_ELEMTYPE(array))
	{
		case INT4OID:
			for (int i = 0; i < count; i++)
				result->x[i] = (float) ((int32 *) data)[i];
			break;
		case FLOAT4OID:
			memcpy(result->x, data, sizeof(float) * (Size) count);
			break;
		case FLOAT8OID:
			for (int i = 0; i < count; i++)
				result->x[i] = (float) ((float8 *) data)[i];
			break;
		case NUMERICOID:
			copy_numerics(array, result);
			break;
		default:
			ereport(ERROR,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("unsupported array type")));
	}
	iqdb_pg_vector_check_finite(result);
	PG_RETURN_IQVECTOR_P(result);
}

/* iqvector_to_float4(iqvector, integer, boolean) returns real[] */
PG_FUNCTION_INFO_V1(iqvector_to_float4);
Datum
iqvector_to_float4(PG_FUNCTION_ARGS)
{
	IqVector  *vector = PG_GETARG_IQVECTOR_P(0);
	Size       data_size = sizeof(float4) * (Size) vector->dim;
	Size       size = ARR_OVERHEAD_NONULLS(1) + data_size;
	ArrayType *result = (ArrayType *) palloc0(size);

	SET_VARSIZE(result, size);
	result->ndim = 1;
	result->dataoffset = 0;
	result->elemtype = FLOAT4OID;
	ARR_DIMS(result)[0] = vector->dim;
	ARR_LBOUND(result)[0] = 1;
	memcpy(ARR_DATA_PTR(result), vector->x, data_size);
	PG_RETURN_ARRAYTYPE_P(result);
}

static float
jsonb_component(const JsonbValue *value, int64 position)
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
				 errmsg("cannot cast jsonb array to type iqvector"),
				 errdetail("Element %lld is not a number.", (long long) position)));

	digits = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
	if (iqdb_float_parse(digits, strlen(digits), &component, &used) != IQDB_FAULT_NONE)
		float_overflow_error();
	pfree(digits);
	return component;
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
PG_FUNCTION_INFO_V1(iqvector_from_jsonb);
Datum
iqvector_from_jsonb(PG_FUNCTION_ARGS)
{
	Jsonb             *document = PG_GETARG_JSONB_P(0);
	int32              typmod = PG_GETARG_INT32(1);
	JsonbIterator     *iterator;
	JsonbIteratorToken token;
	JsonbValue         value;
	int64              count;
	int64              position = 0;
	IqVector          *result;

	if (!JB_ROOT_IS_ARRAY(document) || JB_ROOT_IS_SCALAR(document))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cannot cast jsonb %s to type iqvector", jsonb_kind(document))));

	count = JB_ROOT_COUNT(document);
	iqdb_pg_vector_check_dim(count);
	iqdb_pg_vector_check_typmod(typmod, (int) count);
	result = iqdb_pg_vector_new((int) count);

	iterator = JsonbIteratorInit(&document->root);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_ELEM)
		{
			Assert(position < count);
			result->x[position] = jsonb_component(&value, position + 1);
			position++;
		}
	}
	Assert(position == count);
	PG_RETURN_IQVECTOR_P(result);
}

/* iqvector_to_jsonb(iqvector) returns jsonb */
PG_FUNCTION_INFO_V1(iqvector_to_jsonb);
Datum
iqvector_to_jsonb(PG_FUNCTION_ARGS)
{
	IqVector       *vector = PG_GETARG_IQVECTOR_P(0);
	IqdbPgJsonbState state = {0};

	iqdb_pg_push_jsonb(&state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < vector->dim; i++)
	{
		char       digits[FLOAT_SHORTEST_DECIMAL_LEN];
		JsonbValue element;

		(void) float_to_shortest_decimal_buf(vector->x[i], digits);
		element.type = jbvNumeric;
		element.val.numeric = DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum(digits),
																  ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
		iqdb_pg_push_jsonb(&state, WJB_ELEM, &element);
	}
	iqdb_pg_push_jsonb(&state, WJB_END_ARRAY, NULL);
	PG_RETURN_JSONB_P(JsonbValueToJsonb(state.result));
}

/*
 * json_to_iqvector(json, integer, boolean) returns iqvector. A json array of numbers is the text form of a vector, too. What
 * is not one becomes jsonb first, whose cast has the words for it.
 */
PG_FUNCTION_INFO_V1(iqvector_from_json);
Datum
iqvector_from_json(PG_FUNCTION_ARGS)
{
	char     *string = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Size      length = strlen(string);
	Size      capacity = Min(iqdb_vector_text_bound(string, length), IQDB_DIMENSION_MAX);
	IqVector *result = iqdb_pg_vector_new((int) capacity);
	size_t    dim;

	if (iqdb_vector_parse(string, length, result->x, capacity, NULL, &dim, NULL) != IQDB_OK)
		return DirectFunctionCall3(iqvector_from_jsonb, DirectFunctionCall1(jsonb_in, CStringGetDatum(string)),
								   PG_GETARG_DATUM(1), PG_GETARG_DATUM(2));
	iqdb_pg_vector_check_typmod(PG_GETARG_INT32(1), (int) dim);
	PG_RETURN_IQVECTOR_P(result);
}

/* iqvector_to_json(iqvector) returns json: the text form is one */
PG_FUNCTION_INFO_V1(iqvector_to_json);
Datum
iqvector_to_json(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(iqdb_pg_vector_text(PG_GETARG_IQVECTOR_P(0))));
}

/* bytea_to_iqvector(bytea) returns iqvector: single-precision numbers, little-endian, as arrays lie in most memories */
PG_FUNCTION_INFO_V1(iqvector_from_bytea);
Datum
iqvector_from_bytea(PG_FUNCTION_ARGS)
{
	bytea    *bytes = PG_GETARG_BYTEA_PP(0);
	Size      length = VARSIZE_ANY_EXHDR(bytes);
	IqVector *result;

	if (length % sizeof(float) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("invalid length of bytes for type iqvector: %zu", length),
				 errdetail("The length must be a multiple of 4."),
				 errhint("Pass single-precision numbers in little-endian order, four bytes each.")));
	iqdb_pg_vector_check_dim((int64) (length / sizeof(float)));
	result = iqdb_pg_vector_new((int) (length / sizeof(float)));
	for (int i = 0; i < result->dim; i++)
		result->x[i] = iqdb_load_f32((const unsigned char *) VARDATA_ANY(bytes) + i * sizeof(float));
	iqdb_pg_vector_check_finite(result);
	PG_RETURN_IQVECTOR_P(result);
}

/* iqvector_to_bytea(iqvector) returns bytea */
PG_FUNCTION_INFO_V1(iqvector_to_bytea);
Datum
iqvector_to_bytea(PG_FUNCTION_ARGS)
{
	IqVector *vector = PG_GETARG_IQVECTOR_P(0);
	Size      size = VARHDRSZ + sizeof(float) * (Size) vector->dim;
	bytea    *result = (bytea *) palloc(size);

	SET_VARSIZE(result, size);
	for (int i = 0; i < vector->dim; i++)
		iqdb_store_f32((unsigned char *) VARDATA(result) + i * sizeof(float), vector->x[i]);
	PG_RETURN_BYTEA_P(result);
}
