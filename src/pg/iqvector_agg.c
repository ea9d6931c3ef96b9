/*
 * iqvector_agg.c - avg and sum of iqvector and iqhalfvec, which share everything but the last step.
 *
 * Sums are in double: a float has 24 bits, so that a long sum in floats stops growing long before it is done.
 * The state is a float8 array {count, sum of x[1], sum of x[2], ...}, or {0} before the first row: a plain SQL value,
 * so that parallel workers exchange it without help. Callable with any array by hand, so it is checked on every call.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/float.h"

#include "pg/iqvector_private.h"

/* The numbers of a state array: count first. */
static float8 *
state_values(const IqdbPgVectorType *type, ArrayType *state, const char *caller)
{
	if (ARR_NDIM(state) != 1 || ARR_DIMS(state)[0] < 1 || ARR_HASNULL(state) || ARR_ELEMTYPE(state) != FLOAT8OID)
		elog(ERROR, "%s_%s: expected state array", type->name, caller);
	return (float8 *) ARR_DATA_PTR(state);
}

static int
state_dim(ArrayType *state)
{
	return ARR_DIMS(state)[0] - 1;
}

/* A state for dim components, not yet set. */
static ArrayType *
state_new(int dim)
{
	Size       size = ARR_OVERHEAD_NONULLS(1) + sizeof(float8) * ((Size) dim + 1);
	ArrayType *state = (ArrayType *) palloc(size);

	SET_VARSIZE(state, size);
	state->ndim = 1;
	state->dataoffset = 0;
	state->elemtype = FLOAT8OID;
	ARR_DIMS(state)[0] = dim + 1;
	ARR_LBOUND(state)[0] = 1;
	return state;
}

static float8
add_checked(float8 a, float8 b)
{
	float8 sum = a + b;

	if (unlikely(isinf(sum)))
		float_overflow_error();
	return sum;
}

/* iqvector_accum(double precision[], iqvector) returns double precision[] */
static Datum
vector_accum(FunctionCallInfo fcinfo, const IqdbPgVectorType *type)
{
	ArrayType    *state = PG_GETARG_ARRAYTYPE_P(0);
	IqdbPgVector *vector = PG_GETARG_VECTOR_P(1);
	float8       *values = state_values(type, state, "accum");
	int           dim = state_dim(state);
	ArrayType    *result = state;
	float8       *sums;
	float         buffer[IQDB_PG_PIECE];

	if (dim > 0)
		iqdb_pg_vector_check_typmod(dim, vector->dim);

	/* as a transition function, the state is ours to change */
	if (dim == 0 || !AggCheckCallContext(fcinfo, NULL))
		result = state_new(vector->dim);
	sums = (float8 *) ARR_DATA_PTR(result);
	for (int start = 0; start < vector->dim; start += IQDB_PG_PIECE)
	{
		int          count = iqdb_pg_vector_piece(vector, start);
		const float *x = iqdb_pg_vector_floats(type, vector, start, count, buffer);

		for (int i = 0; i < count; i++)
			sums[start + i + 1] = dim == 0 ? x[i] : add_checked(values[start + i + 1], x[i]);
	}
	sums[0] = values[0] + 1.0;
	PG_RETURN_ARRAYTYPE_P(result);
}
IQDB_PG_VECTOR_FUNCTION(accum)

/* iqvector_combine(double precision[], double precision[]) returns double precision[] */
static Datum
vector_combine(FunctionCallInfo fcinfo, const IqdbPgVectorType *type)
{
	ArrayType *state_a = PG_GETARG_ARRAYTYPE_P(0);
	ArrayType *state_b = PG_GETARG_ARRAYTYPE_P(1);
	float8    *a = state_values(type, state_a, "combine");
	float8    *b = state_values(type, state_b, "combine");
	int        dim_a = state_dim(state_a);
	int        dim_b = state_dim(state_b);
	int        dim = dim_a > 0 ? dim_a : dim_b;
	ArrayType *result;
	float8    *sums;

	if (dim > 0)
		iqdb_pg_vector_check_dim(type, dim);
	if (dim_a > 0 && dim_b > 0)
		iqdb_pg_vector_check_typmod(dim_a, dim_b);

	result = state_new(dim);
	sums = (float8 *) ARR_DATA_PTR(result);
	sums[0] = a[0] + b[0];
	for (int i = 1; i <= dim; i++)
	{
		if (dim_a == 0)
			sums[i] = b[i];
		else if (dim_b == 0)
			sums[i] = a[i];
		else
			sums[i] = add_checked(a[i], b[i]);
	}
	PG_RETURN_ARRAYTYPE_P(result);
}
IQDB_PG_VECTOR_FUNCTION(combine)

/* The sums divided by a number, as a vector. */
static IqdbPgVector *
scaled_sums(const IqdbPgVectorType *type, ArrayType *state, const float8 *values, double divisor)
{
	IqdbPgVector *result;
	float         quotients[IQDB_PG_PIECE];

	iqdb_pg_vector_check_dim(type, state_dim(state));
	result = iqdb_pg_vector_new(type, state_dim(state));
	for (int start = 0; start < result->dim; start += IQDB_PG_PIECE)
	{
		int count = iqdb_pg_vector_piece(result, start);

		for (int i = 0; i < count; i++)
			quotients[i] = (float) (values[start + i + 1] / divisor);
		iqdb_pg_vector_set(type, result, start, quotients, count);
	}
	iqdb_pg_vector_check_finite(type, result);
	return result;
}

/* Is a sum finite, but too large for a component? */
static bool
is_too_large(const IqdbPgVectorType *type, float8 sum)
{
	float value = (float) sum;

	return !isinf(sum) && (isinf(value) || (iqdb_pg_vector_is_half(type) && iqdb_half_overflows(value)));
}

/* iqvector_sum(double precision[]) returns iqvector; NULL when no row was seen */
static Datum
vector_sum(FunctionCallInfo fcinfo, const IqdbPgVectorType *type)
{
	ArrayType *state = PG_GETARG_ARRAYTYPE_P(0);
	float8    *values = state_values(type, state, "sum");

	if (values[0] == 0.0)
		PG_RETURN_NULL();
	for (int i = 1; i <= state_dim(state); i++)
	{
		if (unlikely(is_too_large(type, values[i])))
			float_overflow_error();
	}
	PG_RETURN_VECTOR_P(scaled_sums(type, state, values, 1.0));
}
IQDB_PG_VECTOR_FUNCTION(sum)

/* iqvector_avg(double precision[]) returns iqvector; NULL when no row was seen */
static Datum
vector_avg(FunctionCallInfo fcinfo, const IqdbPgVectorType *type)
{
	ArrayType *state = PG_GETARG_ARRAYTYPE_P(0);
	float8    *values = state_values(type, state, "avg");

	if (values[0] == 0.0)
		PG_RETURN_NULL();
	PG_RETURN_VECTOR_P(scaled_sums(type, state, values, values[0]));
}
IQDB_PG_VECTOR_FUNCTION(avg)
