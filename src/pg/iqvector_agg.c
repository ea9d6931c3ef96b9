/*
 * iqvector_agg.c - avg(iqvector) and sum(iqvector), which share everything but the last step.
 *
 * Sums are in double: a float has 24 bits, so that a long sum in floats stops growing long before it is done.
 * The state is a float8 array {count, sum of x[1], sum of x[2], ...}, or {0} before the first row: a plain SQL value,
 * so that parallel workers exchange it without help. Callable with any array by hand, so it is checked on every call.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/float.h"

#include "pg/iqvector.h"

/* The numbers of a state array: count first. */
static float8 *
state_values(ArrayType *state, const char *caller)
{
	if (ARR_NDIM(state) != 1 || ARR_DIMS(state)[0] < 1 || ARR_HASNULL(state) || ARR_ELEMTYPE(state) != FLOAT8OID)
		elog(ERROR, "%s: expected state array", caller);
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
PG_FUNCTION_INFO_V1(iqvector_accum);
Datum
iqvector_accum(PG_FUNCTION_ARGS)
{
	ArrayType *state = PG_GETARG_ARRAYTYPE_P(0);
	IqVector  *vector = PG_GETARG_IQVECTOR_P(1);
	float8    *values = state_values(state, "iqvector_accum");
	int        dim = state_dim(state);
	ArrayType *result = state;
	float8    *sums;

	if (dim == 0)
	{
		result = state_new(vector->dim);
		sums = (float8 *) ARR_DATA_PTR(result);
		for (int i = 0; i < vector->dim; i++)
			sums[i + 1] = vector->x[i];
	}
	else
	{
		iqdb_pg_vector_check_typmod(dim, vector->dim);

		/* as a transition function, the state is ours to change */
		if (!AggCheckCallContext(fcinfo, NULL))
			result = state_new(dim);
		sums = (float8 *) ARR_DATA_PTR(result);
		for (int i = 0; i < dim; i++)
			sums[i + 1] = add_checked(values[i + 1], vector->x[i]);
	}
	sums[0] = values[0] + 1.0;
	PG_RETURN_ARRAYTYPE_P(result);
}

/* iqvector_combine(double precision[], double precision[]) returns double precision[] */
PG_FUNCTION_INFO_V1(iqvector_combine);
Datum
iqvector_combine(PG_FUNCTION_ARGS)
{
	ArrayType *state_a = PG_GETARG_ARRAYTYPE_P(0);
	ArrayType *state_b = PG_GETARG_ARRAYTYPE_P(1);
	float8    *a = state_values(state_a, "iqvector_combine");
	float8    *b = state_values(state_b, "iqvector_combine");
	int        dim_a = state_dim(state_a);
	int        dim_b = state_dim(state_b);
	int        dim = dim_a > 0 ? dim_a : dim_b;
	ArrayType *result;
	float8    *sums;

	if (dim > 0)
		iqdb_pg_vector_check_dim(dim);
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

/* The sums divided by a number, as a vector. */
static IqVector *
scaled_sums(ArrayType *state, const float8 *values, double divisor)
{
	IqVector *result;

	iqdb_pg_vector_check_dim(state_dim(state));
	result = iqdb_pg_vector_new(state_dim(state));
	for (int i = 0; i < result->dim; i++)
		result->x[i] = (float) (values[i + 1] / divisor);
	iqdb_pg_vector_check_finite(result);
	return result;
}

/* iqvector_sum(double precision[]) returns iqvector; NULL when no row was seen */
PG_FUNCTION_INFO_V1(iqvector_sum);
Datum
iqvector_sum(PG_FUNCTION_ARGS)
{
	ArrayType *state = PG_GETARG_ARRAYTYPE_P(0);
	float8    *values = state_values(state, "iqvector_sum");

	if (values[0] == 0.0)
		PG_RETURN_NULL();
	for (int i = 1; i <= state_dim(state); i++)
	{
		if (unlikely(isinf((float) values[i])) && !isinf(values[i]))
			float_overflow_error();
	}
	PG_RETURN_IQVECTOR_P(scaled_sums(state, values, 1.0));
}

/* iqvector_avg(double precision[]) returns iqvector; NULL when no row was seen */
PG_FUNCTION_INFO_V1(iqvector_avg);
Datum
iqvector_avg(PG_FUNCTION_ARGS)
{
	ArrayType *state = PG_GETARG_ARRAYTYPE_P(0);
	float8    *values = state_values(state, "iqvector_avg");

	if (values[0] == 0.0)
		PG_RETURN_NULL();
	PG_RETURN_IQVECTOR_P(scaled_sums(state, values, values[0]));
}
