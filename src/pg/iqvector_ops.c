/*
 * iqvector_ops.c - operators and functions over vectors: distances, norms, arithmetic, comparison, parts.
 *
 * Distances and norms are computed in double, so that no finite vector is too large or too small for them, and with the
 * same bits on every machine. Engines rank by keys in single precision, which are the same distances but for rounding.
 * Nothing here knows a formula of a metric.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "nodes/pathnodes.h"
#include "nodes/supportnodes.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "utils/float.h"
#include "utils/varbit.h"

#include "pg/iqvector.h"
#include "pg/pg_kernels.h"

/* ---- distances ---- */

static double
distance(FunctionCallInfo fcinfo, IqdbMetric metric)
{
	IqVector *a = PG_GETARG_IQVECTOR_P(0);
	IqVector *b = PG_GETARG_IQVECTOR_P(1);

	iqdb_pg_vector_check_same_dim(a, b);
	return iqdb_metric_pair_distance(iqdb_pg_kernels(), metric, a->x, b->x, (size_t) a->dim);
}

/* l2_distance(iqvector, iqvector) returns float8, operator <-> */
PG_FUNCTION_INFO_V1(iqvector_l2_distance);
Datum
iqvector_l2_distance(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(distance(fcinfo, IQDB_METRIC_L2));
}

/* inner_product(iqvector, iqvector) returns float8 */
PG_FUNCTION_INFO_V1(iqvector_inner_product);
Datum
iqvector_inner_product(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(-distance(fcinfo, IQDB_METRIC_DOT));
}

/* iqvector_negative_inner_product(iqvector, iqvector) returns float8, operator <#> */
PG_FUNCTION_INFO_V1(iqvector_negative_inner_product);
Datum
iqvector_negative_inner_product(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(distance(fcinfo, IQDB_METRIC_DOT));
}

/* cosine_distance(iqvector, iqvector) returns float8, operator <=>; 1 when one of them is a zero vector */
PG_FUNCTION_INFO_V1(iqvector_cosine_distance);
Datum
iqvector_cosine_distance(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(distance(fcinfo, IQDB_METRIC_COSINE));
}

/* l1_distance(iqvector, iqvector) returns float8, operator <+> */
PG_FUNCTION_INFO_V1(iqvector_l1_distance);
Datum
iqvector_l1_distance(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(distance(fcinfo, IQDB_METRIC_L1));
}

/* hamming_distance(iqvector, iqvector) returns float8, operator <~>: components whose bits differ, so -0 is not 0 */
PG_FUNCTION_INFO_V1(iqvector_hamming_distance);
Datum
iqvector_hamming_distance(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(distance(fcinfo, IQDB_METRIC_HAMMING));
}

/* Is one of the arguments a column of a foreign table? */
static bool
has_foreign_argument(PlannerInfo *root, List *arguments)
{
	ListCell *cell;

	foreach (cell, arguments)
	{
		Node *argument = (Node *) lfirst(cell);

		while (IsA(argument, RelabelType))
			argument = (Node *) ((RelabelType *) argument)->arg;
		if (IsA(argument, Var) && ((Var *) argument)->varlevelsup == 0 && !IS_SPECIAL_VARNO(((Var *) argument)->varno) &&
			planner_rt_fetch(((Var *) argument)->varno, root)->relkind == RELKIND_FOREIGN_TABLE)
			return true;
	}
	return false;
}

/*
 * iqvector_distance_support(internal) returns internal: what a distance costs the planner. Of a table of this server it is
 * what CREATE FUNCTION says. Of a foreign table it is next to nothing: the other server computes it, the same for every
 * way to ask for it, but postgres_fdw would count it here, and of a table that was never analyzed it then finds that
 * fetching all rows in order costs no more than asking for LIMIT of them.
 */
PG_FUNCTION_INFO_V1(iqvector_distance_support);
Datum
iqvector_distance_support(PG_FUNCTION_ARGS)
{
	SupportRequestCost *request = (SupportRequestCost *) PG_GETARG_POINTER(0);
	List               *arguments = NIL;

	if (!IsA(request, SupportRequestCost) || request->root == NULL || request->node == NULL)
		PG_RETURN_POINTER(NULL);
	if (IsA(request->node, OpExpr))
		arguments = ((OpExpr *) request->node)->args;
	else if (IsA(request->node, FuncExpr))
		arguments = ((FuncExpr *) request->node)->args;
	if (!has_foreign_argument(request->root, arguments))
		PG_RETURN_POINTER(NULL);
	request->startup = 0;
	request->per_tuple = cpu_operator_cost;
	PG_RETURN_POINTER(request);
}

/* ---- properties and parts ---- */

/* iqvector_dims(iqvector), vector_dims(iqvector) return integer; reads only the head of a value stored out of line */
PG_FUNCTION_INFO_V1(iqvector_dims);
Datum
iqvector_dims(PG_FUNCTION_ARGS)
{
	IqVector *head = (IqVector *) PG_DETOAST_DATUM_SLICE(PG_GETARG_DATUM(0), 0, offsetof(IqVector, x) - VARHDRSZ);

	PG_RETURN_INT32(head->dim);
}

static double
euclidean_norm(const IqVector *vector)
{
	return sqrt(iqdb_pg_kernels()->doubles->dot(vector->x, vector->x, (size_t) vector->dim));
}

/* iqvector_norm(iqvector), vector_norm(iqvector) return float8 */
PG_FUNCTION_INFO_V1(iqvector_norm);
Datum
iqvector_norm(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(euclidean_norm(PG_GETARG_IQVECTOR_P(0)));
}

/* l2_normalize(iqvector) returns iqvector; a zero vector stays one */
PG_FUNCTION_INFO_V1(iqvector_l2_normalize);
Datum
iqvector_l2_normalize(PG_FUNCTION_ARGS)
{
	IqVector *vector = PG_GETARG_IQVECTOR_P(0);
	double    norm = euclidean_norm(vector);
	IqVector *result = iqdb_pg_vector_new(vector->dim);

	/* no quotient is above 1 (but for rounding), so nothing can overflow; a zero norm means zeros of either sign */
	for (int i = 0; i < vector->dim; i++)
		result->x[i] = norm > 0 ? (float) (vector->x[i] / norm) : 0.0f;
	PG_RETURN_IQVECTOR_P(result);
}

/* subvector(iqvector, start, count) returns iqvector; positions from 1, cut to the vector as substring() cuts */
PG_FUNCTION_INFO_V1(iqvector_subvector);
Datum
iqvector_subvector(PG_FUNCTION_ARGS)
{
	IqVector *vector = PG_GETARG_IQVECTOR_P(0);
	int64     start = PG_GETARG_INT32(1);
	int64     count = PG_GETARG_INT32(2);
	int64     end = Min(start + count, (int64) vector->dim + 1);
	IqVector *result;

	start = Max(start, 1);
	iqdb_pg_vector_check_dim(count < 1 ? 0 : end - start);
	result = iqdb_pg_vector_new((int) (end - start));
	memcpy(result->x, vector->x + (start - 1), sizeof(float) * (Size) result->dim);
	PG_RETURN_IQVECTOR_P(result);
}

/* binary_quantize(iqvector) returns bit: one bit per component, set for those above zero */
PG_FUNCTION_INFO_V1(iqvector_binary_quantize);
Datum
iqvector_binary_quantize(PG_FUNCTION_ARGS)
{
	IqVector *vector = PG_GETARG_IQVECTOR_P(0);
	Size      size = VARBITTOTALLEN(vector->dim);
	VarBit   *result = (VarBit *) palloc0(size);
	uint8    *bytes = VARBITS(result);

	SET_VARSIZE(result, size);
	VARBITLEN(result) = vector->dim;
	for (int i = 0; i < vector->dim; i++)
		bytes[i / BITS_PER_BYTE] |= (uint8) ((vector->x[i] > 0) << (BITS_PER_BYTE - 1 - i % BITS_PER_BYTE));
	PG_RETURN_VARBIT_P(result);
}

/* ---- arithmetic, component by component ---- */

static void
check_overflow(const IqVector *result)
{
	for (int i = 0; i < result->dim; i++)
	{
		if (unlikely(isinf(result->x[i])))
			float_overflow_error();
	}
}

/* iqvector_add(iqvector, iqvector) returns iqvector, operator + */
PG_FUNCTION_INFO_V1(iqvector_add);
Datum
iqvector_add(PG_FUNCTION_ARGS)
{
	IqVector *a = PG_GETARG_IQVECTOR_P(0);
	IqVector *b = PG_GETARG_IQVECTOR_P(1);
	IqVector *result;

	iqdb_pg_vector_check_same_dim(a, b);
	result = iqdb_pg_vector_new(a->dim);
	for (int i = 0; i < a->dim; i++)
		result->x[i] = a->x[i] + b->x[i];
	check_overflow(result);
	PG_RETURN_IQVECTOR_P(result);
}

/* iqvector_sub(iqvector, iqvector) returns iqvector, operator - */
PG_FUNCTION_INFO_V1(iqvector_sub);
Datum
iqvector_sub(PG_FUNCTION_ARGS)
{
	IqVector *a = PG_GETARG_IQVECTOR_P(0);
	IqVector *b = PG_GETARG_IQVECTOR_P(1);
	IqVector *result;

	iqdb_pg_vector_check_same_dim(a, b);
	result = iqdb_pg_vector_new(a->dim);
	for (int i = 0; i < a->dim; i++)
		result->x[i] = a->x[i] - b->x[i];
	check_overflow(result);
	PG_RETURN_IQVECTOR_P(result);
}

/* iqvector_mul(iqvector, iqvector) returns iqvector, operator *; a product that vanishes is an error, as for real */
PG_FUNCTION_INFO_V1(iqvector_mul);
Datum
iqvector_mul(PG_FUNCTION_ARGS)
{
	IqVector *a = PG_GETARG_IQVECTOR_P(0);
	IqVector *b = PG_GETARG_IQVECTOR_P(1);
	IqVector *result;

	iqdb_pg_vector_check_same_dim(a, b);
	result = iqdb_pg_vector_new(a->dim);
	for (int i = 0; i < a->dim; i++)
		result->x[i] = a->x[i] * b->x[i];
	for (int i = 0; i < a->dim; i++)
	{
		if (unlikely(isinf(result->x[i])))
			float_overflow_error();
		if (unlikely(result->x[i] == 0) && a->x[i] != 0 && b->x[i] != 0)
			float_underflow_error();
	}
	PG_RETURN_IQVECTOR_P(result);
}

/* iqvector_concat(iqvector, iqvector) returns iqvector, operator || */
PG_FUNCTION_INFO_V1(iqvector_concat);
Datum
iqvector_concat(PG_FUNCTION_ARGS)
{
	IqVector *a = PG_GETARG_IQVECTOR_P(0);
	IqVector *b = PG_GETARG_IQVECTOR_P(1);
	int       dim = a->dim + b->dim;
	IqVector *result;

	iqdb_pg_vector_check_dim(dim);
	result = iqdb_pg_vector_new(dim);
	memcpy(result->x, a->x, sizeof(float) * (Size) a->dim);
	memcpy(result->x + a->dim, b->x, sizeof(float) * (Size) b->dim);
	PG_RETURN_IQVECTOR_P(result);
}

/* ---- comparison ---- */

int
iqdb_pg_vector_compare(const IqVector *a, const IqVector *b)
{
	int common = Min(a->dim, b->dim);

	for (int i = 0; i < common; i++)
	{
		if (a->x[i] < b->x[i])
			return -1;
		if (a->x[i] > b->x[i])
			return 1;
	}
	return a->dim < b->dim ? -1 : a->dim > b->dim;
}

/* A btree calls its support function without resetting memory between calls, so copies are freed. */
static int
compare(FunctionCallInfo fcinfo)
{
	IqVector *a = PG_GETARG_IQVECTOR_P(0);
	IqVector *b = PG_GETARG_IQVECTOR_P(1);
	int       order = iqdb_pg_vector_compare(a, b);

	PG_FREE_IF_COPY(a, 0);
	PG_FREE_IF_COPY(b, 1);
	return order;
}

/* iqvector_cmp(iqvector, iqvector) returns integer */
PG_FUNCTION_INFO_V1(iqvector_cmp);
Datum
iqvector_cmp(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(compare(fcinfo));
}

/* operator < */
PG_FUNCTION_INFO_V1(iqvector_lt);
Datum
iqvector_lt(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(fcinfo) < 0);
}

/* operator <= */
PG_FUNCTION_INFO_V1(iqvector_le);
Datum
iqvector_le(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(fcinfo) <= 0);
}

/* operator = */
PG_FUNCTION_INFO_V1(iqvector_eq);
Datum
iqvector_eq(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(fcinfo) == 0);
}

/* operator <> */
PG_FUNCTION_INFO_V1(iqvector_ne);
Datum
iqvector_ne(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(fcinfo) != 0);
}

/* operator >= */
PG_FUNCTION_INFO_V1(iqvector_ge);
Datum
iqvector_ge(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(fcinfo) >= 0);
}

/* operator > */
PG_FUNCTION_INFO_V1(iqvector_gt);
Datum
iqvector_gt(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(fcinfo) > 0);
}
