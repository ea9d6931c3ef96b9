/*
 * iqvector_ops.c - operators and functions over iqvector and iqhalfvec: distances, norms, arithmetic, comparison, parts.
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

#include "pg/iqvector_private.h"
#include "pg/pg_cost.h"

/* ---- distances ---- */

/* Of vectors with the same dimension. */
static double
pair_distance(const IqdbPgVectorType *type, IqdbMetric metric, const IqdbPgVector *a, const IqdbPgVector *b)
{
	return iqdb_element_distance(iqdb_pg_kernels(), iqdb_element(type->element), metric, a->components, b->components,
								 (size_t) a->dim);
}

static double
distance(FunctionCallInfo fcinfo, const IqdbPgVectorType *type, IqdbMetric metric)
{
	IqdbPgVector *a = PG_GETARG_VECTOR_P(0);
	IqdbPgVector *b = PG_GETARG_VECTOR_P(1);

	iqdb_pg_vector_check_same_dim(type, a, b);
	return pair_distance(type, metric, a, b);
}

/* l2_distance(iqvector, iqvector) returns float8, operator <-> */
static Datum
vector_l2_distance(FunctionCallInfo fcinfo, const IqdbPgVectorType *type)
{
	PG_RETURN_FLOAT8(distance(fcinfo, type, IQDB_METRIC_L2));
}
IQDB_PG_VECTOR_FUNCTION(l2_distance)

/* inner_product(iqvector, iqvector) returns float8 */
static Datum
vector_inner_product(FunctionCallInfo fcinfo, const IqdbPgVectorType *type)
{
	PG_RETURN_FLOAT8(-distance(fcinfo, type, IQDB_METRIC_DOT));
}
IQDB_PG_VECTOR_FUNCTION(inner_product)

/* iqvector_negative_inner_product(iqvector, iqvector) returns float8, operator <#> */
static Datum
vector_negative_inner_product(FunctionCallInfo fcinfo, const IqdbPgVectorType *type)
{
	PG_RETURN_FLOAT8(distance(fcinfo, type, IQDB_METRIC_DOT));
}
IQDB_PG_VECTOR_FUNCTION(negative_inner_product)

/* cosine_distance(iqvector, iqvector) returns float8, operator <=>; 1 when one of them is a zero vector */
static Datum
vector_cosine_distance(FunctionCallInfo fcinfo, const IqdbPgVectorType *type)
{
	PG_RETURN_FLOAT8(distance(fcinfo, type, IQDB_METRIC_COSINE));
}
IQDB_PG_VECTOR_FUNCTION(cosine_distance)

/* l1_distance(iqvector, iqvector) returns float8, operator <+> */
static Datum
vector_l1_distance(FunctionCallInfo fcinfo, const IqdbPgVectorType *type)
{
	PG_RETURN_FLOAT8(distance(fcinfo, type, IQDB_METRIC_L1));
}
IQDB_PG_VECTOR_FUNCTION(l1_distance)

/* hamming_distance(iqvector, iqvector) returns float8, operator <~>: components whose bits differ, so -0 is not 0 */
static Datum
vector_hamming_distance(FunctionCallInfo fcinfo, const IqdbPgVectorType *type)
{
	PG_RETURN_FLOAT8(distance(fcinfo, type, IQDB_METRIC_HAMMING));
}
IQDB_PG_VECTOR_FUNCTION(hamming_distance)

/* What a value is cast from: the cast reads it, wherever it lies. */
static Node *
without_casts(Node *value)
{
	for (;;)
	{
		if (IsA(value, RelabelType))
			value = (Node *) ((RelabelType *) value)->arg;
		else if (IsA(value, FuncExpr) && ((FuncExpr *) value)->args != NIL &&
				 (((FuncExpr *) value)->funcformat == COERCE_EXPLICIT_CAST ||
				  ((FuncExpr *) value)->funcformat == COERCE_IMPLICIT_CAST))
			value = linitial(((FuncExpr *) value)->args);
		else
			return value;
	}
}

/* The first argument that is a column of a table in this query, cast perhaps, with that table; NULL if there is none. */
static const Var *
column_argument(PlannerInfo *root, List *arguments, const RangeTblEntry **table_out)
{
	ListCell *cell;

	foreach (cell, arguments)
	{
		Node *argument = without_casts(lfirst(cell));

		if (!IsA(argument, Var) || ((Var *) argument)->varlevelsup != 0 || IS_SPECIAL_VARNO(((Var *) argument)->varno))
			continue;
		*table_out = planner_rt_fetch(((Var *) argument)->varno, root);
		if ((*table_out)->rtekind == RTE_RELATION)
			return (Var *) argument;
	}
	return NULL;
}

/*
 * iqvector_distance_support(internal) returns internal: what a distance costs the planner. Of a table of this server it is
 * what CREATE FUNCTION says, and where vectors lie outside of their rows, what it takes to fetch them. Of a foreign table it
 * is next to nothing: the other server computes it, the same for every way to ask for it, but postgres_fdw would count it
 * here, and of a table that was never analyzed it then finds that fetching all rows in order costs no more than asking for
 * LIMIT of them.
 */
PG_FUNCTION_INFO_V1(iqvector_distance_support);
Datum
iqvector_distance_support(PG_FUNCTION_ARGS)
{
	SupportRequestCost  *request = (SupportRequestCost *) PG_GETARG_POINTER(0);
	List                *arguments = NIL;
	const RangeTblEntry *table;
	const Var           *column;
	Cost                 value;

	if (!IsA(request, SupportRequestCost) || request->root == NULL || request->node == NULL)
		PG_RETURN_POINTER(NULL);
	if (IsA(request->node, OpExpr))
		arguments = ((OpExpr *) request->node)->args;
	else if (IsA(request->node, FuncExpr))
		arguments = ((FuncExpr *) request->node)->args;
	column = column_argument(request->root, arguments, &table);
	if (column == NULL)
		PG_RETURN_POINTER(NULL);
	value = table->relkind == RELKIND_FOREIGN_TABLE ? 0 : iqdb_pg_cost_value(column, table->relid);
	if (table->relkind != RELKIND_FOREIGN_TABLE && value == 0)
		PG_RETURN_POINTER(NULL);
	request->startup = 0;
	request->per_tuple = cpu_operator_cost + value;
	PG_RETURN_POINTER(request);
}

/* ---- properties and parts ---- */

/* iqvector_dims(iqvector), vector_dims(iqvector) return integer; reads only the head of a value stored out of line */
static Datum
vector_dims(FunctionCallInfo fcinfo, const IqdbPgVectorType *type)
{
	IqdbPgVector *head = (IqdbPgVector *) PG_DETOAST_DATUM_SLICE(PG_GETARG_DATUM(0), 0,
																 offsetof(IqdbPgVector, components) - VARHDRSZ);

	PG_RETURN_INT32(head->dim);
}
IQDB_PG_VECTOR_FUNCTION(dims)

static double
euclidean_norm(const IqdbPgVectorType *type, const IqdbPgVector *vector)
{
	return sqrt(-pair_distance(type, IQDB_METRIC_DOT, vector, vector));
}

/* iqvector_norm(iqvector), vector_norm(iqvector), l2_norm(iqvector) return float8 */
static Datum
vector_norm(FunctionCallInfo fcinfo, const IqdbPgVectorType *type)
{
	PG_RETURN_FLOAT8(euclidean_norm(type, PG_GETARG_VECTOR_P(0)));
}
IQDB_PG_VECTOR_FUNCTION(norm)

/* l2_normalize(iqvector) returns iqvector; a zero vector stays one */
static Datum
vector_l2_normalize(FunctionCallInfo fcinfo, const IqdbPgVectorType *type)
{
	IqdbPgVector *vector = PG_GETARG_VECTOR_P(0);
	double        norm = euclidean_norm(type, vector);
	IqdbPgVector *result = iqdb_pg_vector_new(type, vector->dim);
	float         buffer[IQDB_PG_PIECE];
	float         quotients[IQDB_PG_PIECE];

	for (int start = 0; start < vector->dim; start += IQDB_PG_PIECE)
	{
		int          count = iqdb_pg_vector_piece(vector, start);
		const float *x = iqdb_pg_vector_floats(type, vector, start, count, buffer);

		/* no quotient is above 1 (but for rounding), so nothing can overflow; a zero norm means zeros of either sign */
		for (int i = 0; i < count; i++)
			quotients[i] = norm > 0 ? (float) (x[i] / norm) : 0.0f;
		(void) iqdb_pg_vector_round(type, result, start, quotients, count);
	}
	PG_RETURN_VECTOR_P(result);
}
IQDB_PG_VECTOR_FUNCTION(l2_normalize)

/* Copies count components; positions from 0. */
static void
copy_components(const IqdbPgVectorType *type, IqdbPgVector *to, int to_start, const IqdbPgVector *from, int from_start,
				int count)
{
	memcpy(to->components + type->component * (Size) to_start,
		   from->components + type->component * (Size) from_start, type->component * (Size) count);
}

/* subvector(iqvector, start, count) returns iqvector; positions from 1, cut to the vector as substring() cuts */
static Datum
vector_subvector(FunctionCallInfo fcinfo, const IqdbPgVectorType *type)
{
	IqdbPgVector *vector = PG_GETARG_VECTOR_P(0);
	int64         start = PG_GETARG_INT32(1);
	int64         count = PG_GETARG_INT32(2);
	int64         end = Min(start + count, (int64) vector->dim + 1);
	IqdbPgVector *result;

	start = Max(start, 1);
	iqdb_pg_vector_check_dim(type, count < 1 ? 0 : end - start);
	result = iqdb_pg_vector_new(type, (int) (end - start));
	copy_components(type, result, 0, vector, (int) start - 1, result->dim);
	PG_RETURN_VECTOR_P(result);
}
IQDB_PG_VECTOR_FUNCTION(subvector)

/* binary_quantize(iqvector) returns bit: one bit per component, set for those above zero */
static Datum
vector_binary_quantize(FunctionCallInfo fcinfo, const IqdbPgVectorType *type)
{
	IqdbPgVector *vector = PG_GETARG_VECTOR_P(0);
	Size          size = VARBITTOTALLEN(vector->dim);
	VarBit       *result = (VarBit *) palloc0(size);
	float         buffer[IQDB_PG_PIECE];

	SET_VARSIZE(result, size);
	VARBITLEN(result) = vector->dim;
	for (int start = 0; start < vector->dim; start += IQDB_PG_PIECE)
	{
		int          count = iqdb_pg_vector_piece(vector, start);
		const float *x = iqdb_pg_vector_floats(type, vector, start, count, buffer);
		uint8       *bytes = VARBITS(result) + start / BITS_PER_BYTE;

		for (int i = 0; i < count; i++)
			bytes[i / BITS_PER_BYTE] |= (uint8) ((x[i] > 0) << (BITS_PER_BYTE - 1 - i % BITS_PER_BYTE));
	}
	PG_RETURN_VARBIT_P(result);
}
IQDB_PG_VECTOR_FUNCTION(binary_quantize)

/* ---- arithmetic, component by component ---- */

typedef enum Operation
{
	ADD,
	SUBTRACT,
	MULTIPLY
} Operation;

static void
compute_piece(Operation operation, const float *a, const float *b, int count, float *result)
{
	switch (operation)
	{
		case ADD:
			for (int i = 0; i < count; i++)
				result[i] = a[i] + b[i];
			break;
		case SUBTRACT:
			for (int i = 0; i < count; i++)
				result[i] = a[i] - b[i];
			break;
		case MULTIPLY:
			for (int i = 0; i < count; i++)
				result[i] = a[i] * b[i];
			break;
	}
}

/* Raises for a component that is too large, and for a product that vanished although no factor is zero, as for real. */
static void
check_piece(Operation operation, const float *a, const float *b, int count, const float *result)
{
	for (int i = 0; i < count; i++)
	{
		if (unlikely(isinf(result[i])))
			float_overflow_error();
		if (operation == MULTIPLY && unlikely(result[i] == 0) && a[i] != 0 && b[i] != 0)
			float_underflow_error();
	}
}

/*
 * For halves each result is rounded twice, to a float and to a half. That gives the nearest half: a float has two digits more
 * than twice those of a half, which is enough for sums, differences and products.
 */
static Datum
compute(FunctionCallInfo fcinfo, const IqdbPgVectorType *type, Operation operation)
{
	IqdbPgVector *a = PG_GETARG_VECTOR_P(0);
	IqdbPgVector *b = PG_GETARG_VECTOR_P(1);
	IqdbPgVector *result;
	float         buffers[3][IQDB_PG_PIECE];

	iqdb_pg_vector_check_same_dim(type, a, b);
	result = iqdb_pg_vector_new(type, a->dim);
	for (int start = 0; start < a->dim; start += IQDB_PG_PIECE)
	{
		int          count = iqdb_pg_vector_piece(a, start);
		const float *x = iqdb_pg_vector_floats(type, a, start, count, buffers[0]);
		const float *y = iqdb_pg_vector_floats(type, b, start, count, buffers[1]);

		compute_piece(operation, x, y, count, buffers[2]);
		(void) iqdb_pg_vector_round(type, result, start, buffers[2], count);
		check_piece(operation, x, y, count, iqdb_pg_vector_floats(type, result, start, count, buffers[2]));
	}
	PG_RETURN_VECTOR_P(result);
}

/* iqvector_add(iqvector, iqvector) returns iqvector, operator + */
static Datum
vector_add(FunctionCallInfo fcinfo, const IqdbPgVectorType *type)
{
	return compute(fcinfo, type, ADD);
}
IQDB_PG_VECTOR_FUNCTION(add)

/* iqvector_sub(iqvector, iqvector) returns iqvector, operator - */
static Datum
vector_sub(FunctionCallInfo fcinfo, const IqdbPgVectorType *type)
{
	return compute(fcinfo, type, SUBTRACT);
}
IQDB_PG_VECTOR_FUNCTION(sub)

/* iqvector_mul(iqvector, iqvector) returns iqvector, operator * */
static Datum
vector_mul(FunctionCallInfo fcinfo, const IqdbPgVectorType *type)
{
	return compute(fcinfo, type, MULTIPLY);
}
IQDB_PG_VECTOR_FUNCTION(mul)

/* iqvector_concat(iqvector, iqvector) returns iqvector, operator || */
static Datum
vector_concat(FunctionCallInfo fcinfo, const IqdbPgVectorType *type)
{
	IqdbPgVector *a = PG_GETARG_VECTOR_P(0);
	IqdbPgVector *b = PG_GETARG_VECTOR_P(1);
	IqdbPgVector *result;

	iqdb_pg_vector_check_dim(type, a->dim + b->dim);
	result = iqdb_pg_vector_new(type, a->dim + b->dim);
	copy_components(type, result, 0, a, 0, a->dim);
	copy_components(type, result, a->dim, b, 0, b->dim);
	PG_RETURN_VECTOR_P(result);
}
IQDB_PG_VECTOR_FUNCTION(concat)

/* ---- comparison ---- */

/* How many components are made ready to be compared at a time: mostly one of the first decides. */
#define COMPARED 16

/* -1, 0, 1: by components, then by dimension, as arrays compare. -0 equals 0. */
static int
compare_vectors(const IqdbPgVectorType *type, const IqdbPgVector *a, const IqdbPgVector *b)
{
	int   common = Min(a->dim, b->dim);
	float buffers[2][COMPARED];

	for (int start = 0; start < common; start += COMPARED)
	{
		int          count = Min(common - start, COMPARED);
		const float *x = iqdb_pg_vector_floats(type, a, start, count, buffers[0]);
		const float *y = iqdb_pg_vector_floats(type, b, start, count, buffers[1]);

		for (int i = 0; i < count; i++)
		{
			if (x[i] < y[i])
				return -1;
			if (x[i] > y[i])
				return 1;
		}
	}
	return a->dim < b->dim ? -1 : a->dim > b->dim;
}

/* A btree calls its support function without resetting memory between calls, so copies are freed. */
static int
compare(FunctionCallInfo fcinfo, const IqdbPgVectorType *type)
{
	IqdbPgVector *a = PG_GETARG_VECTOR_P(0);
	IqdbPgVector *b = PG_GETARG_VECTOR_P(1);
	int           order = compare_vectors(type, a, b);

	PG_FREE_IF_COPY(a, 0);
	PG_FREE_IF_COPY(b, 1);
	return order;
}

/* iqvector_cmp(iqvector, iqvector) returns integer */
static Datum
vector_cmp(FunctionCallInfo fcinfo, const IqdbPgVectorType *type)
{
	PG_RETURN_INT32(compare(fcinfo, type));
}
IQDB_PG_VECTOR_FUNCTION(cmp)

/* operator < */
static Datum
vector_lt(FunctionCallInfo fcinfo, const IqdbPgVectorType *type)
{
	PG_RETURN_BOOL(compare(fcinfo, type) < 0);
}
IQDB_PG_VECTOR_FUNCTION(lt)

/* operator <= */
static Datum
vector_le(FunctionCallInfo fcinfo, const IqdbPgVectorType *type)
{
	PG_RETURN_BOOL(compare(fcinfo, type) <= 0);
}
IQDB_PG_VECTOR_FUNCTION(le)

/* operator = */
static Datum
vector_eq(FunctionCallInfo fcinfo, const IqdbPgVectorType *type)
{
	PG_RETURN_BOOL(compare(fcinfo, type) == 0);
}
IQDB_PG_VECTOR_FUNCTION(eq)

/* operator <> */
static Datum
vector_ne(FunctionCallInfo fcinfo, const IqdbPgVectorType *type)
{
	PG_RETURN_BOOL(compare(fcinfo, type) != 0);
}
IQDB_PG_VECTOR_FUNCTION(ne)

/* operator >= */
static Datum
vector_ge(FunctionCallInfo fcinfo, const IqdbPgVectorType *type)
{
	PG_RETURN_BOOL(compare(fcinfo, type) >= 0);
}
IQDB_PG_VECTOR_FUNCTION(ge)

/* operator > */
static Datum
vector_gt(FunctionCallInfo fcinfo, const IqdbPgVectorType *type)
{
	PG_RETURN_BOOL(compare(fcinfo, type) > 0);
}
IQDB_PG_VECTOR_FUNCTION(gt)
