/*
 * pg_clause.c - see pg_clause.h.
 *
 * Up to version 16 the server leaves `column = ANY (...)` out of a path that has an order, unless it is on the first column:
 * a B-tree would not be in order then. Up to version 15 it takes a boolean column for a condition by itself (WHERE active,
 * WHERE NOT active) only where the operator family is one of its own. And it never turns `constant = ANY (labels)` into
 * `labels @> ARRAY[constant]`, which an index can answer. All three are made here, by the server's own rules: what a security
 * barrier holds back stays outside, and the column's collation is the condition's.
 *
 * Conditions that are handed on are asked again of each row where the index says so (xs_recheck), as the server's own are.
 */
#include "postgres.h"

#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/restrictinfo.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "pg/pg_clause.h"
#include "pg/pg_compat.h"

/* Is it a value that is known before the scan? */
static bool
is_constant(const IndexOptInfo *index, PlannerInfo *root, Node *node)
{
	return !bms_is_member(index->rel->relid, pull_varnos(root, node)) && !contain_volatile_functions(node);
}

static bool
has_collation(const IndexOptInfo *index, int column, Oid collation)
{
	return !OidIsValid(index->indexcollations[column]) || index->indexcollations[column] == collation;
}

/* `column = ANY (constants)`, or another operator of the column's family. */
static bool
is_any_of_constants(PlannerInfo *root, IndexOptInfo *index, int column, const ScalarArrayOpExpr *expr)
{
	return expr->useOr && match_index_to_operand(linitial(expr->args), column, index) &&
		   is_constant(index, root, lsecond(expr->args)) && has_collation(index, column, expr->inputcollid) &&
		   op_in_opfamily(expr->opno, index->opfamily[column]);
}

/* `constant = ANY (column)` as `column @> ARRAY[constant]`, which is true of the same rows; or NULL. */
static Expr *
as_containing(PlannerInfo *root, IndexOptInfo *index, int column, const ScalarArrayOpExpr *expr)
{
	Node	   *constant = linitial(expr->args);
	Node	   *array = lsecond(expr->args);
	Oid			member = get_element_type(getBaseType(exprType(array)));
	ArrayExpr  *wanted;

	if (!expr->useOr || !OidIsValid(member) || !match_index_to_operand(array, column, index) ||
		!is_constant(index, root, constant) || !has_collation(index, column, expr->inputcollid) ||
		!op_in_opfamily(OID_ARRAY_CONTAINS_OP, index->opfamily[column]) || exprType(constant) != member ||
		lookup_type_cache(member, TYPECACHE_EQ_OPR)->eq_opr != expr->opno)
		return NULL;
	wanted = makeNode(ArrayExpr);
	wanted->array_typeid = getBaseType(exprType(array));
	wanted->array_collid = expr->inputcollid;
	wanted->element_typeid = member;
	wanted->elements = list_make1(copyObject(constant));
	wanted->location = -1;
	return make_opclause(OID_ARRAY_CONTAINS_OP, BOOLOID, false, (Expr *) copyObject(array),
						 (Expr *) eval_const_expressions(root, (Node *) wanted), InvalidOid, expr->inputcollid);
}

/* `column`, `NOT column`, `column IS TRUE`, `column IS FALSE` as `column = true` or `column = false`; or NULL. */
static Expr *
as_equal_to_bool(IndexOptInfo *index, int column, Node *clause)
{
	bool		wanted = true;

	if (is_notclause(clause))
	{
		wanted = false;
		clause = (Node *) get_notclausearg((Expr *) clause);
	}
	else if (IsA(clause, BooleanTest))
	{
		BoolTestType test = ((BooleanTest *) clause)->booltesttype;

		if (test != IS_TRUE && test != IS_FALSE)
			return NULL;
		wanted = test == IS_TRUE;
		clause = (Node *) ((BooleanTest *) clause)->arg;
	}
	if (exprType(clause) != BOOLOID || !match_index_to_operand(clause, column, index) ||
		!op_in_opfamily(BooleanEqualOperator, index->opfamily[column]))
		return NULL;
	return make_opclause(BooleanEqualOperator, BOOLOID, false, (Expr *) copyObject(clause),
						 (Expr *) makeBoolConst(wanted, false), InvalidOid, InvalidOid);
}

static IndexClause *
make_clause(RestrictInfo *condition, RestrictInfo *asked, int column)
{
	IndexClause *clause = makeNode(IndexClause);

	clause->rinfo = condition;
	clause->indexquals = list_make1(asked);
	clause->lossy = false;
	clause->indexcol = (AttrNumber) column;
	return clause;
}

/* The condition as one on this column that the index can take; or NULL. */
static IndexClause *
match(PlannerInfo *root, IndexOptInfo *index, int column, RestrictInfo *condition)
{
	Node	   *node = (Node *) condition->clause;
	Expr	   *asked;

	if (IsA(node, ScalarArrayOpExpr))
	{
		const ScalarArrayOpExpr *expr = (const ScalarArrayOpExpr *) node;

		if (is_any_of_constants(root, index, column, expr))
			return make_clause(condition, condition, column);
		asked = as_containing(root, index, column, expr);
	}
	else
		asked = as_equal_to_bool(index, column, node);
	return asked == NULL ? NULL : make_clause(condition, make_simple_restrictinfo(root, asked), column);
}

static bool
has_condition(const List *clauses, const RestrictInfo *condition)
{
	ListCell   *cell;

	foreach(cell, clauses)
	{
		if (((const IndexClause *) lfirst(cell))->rinfo == condition)
			return true;
	}
	return false;
}

List *
iqdb_pg_complete_clauses(PlannerInfo *root, IndexOptInfo *index, List *clauses)
{
	List	   *complete = clauses;
	ListCell   *cell;

	foreach(cell, index->indrestrictinfo)
	{
		RestrictInfo *condition = lfirst(cell);
		IndexClause *clause = NULL;

		if (condition->pseudoconstant || has_condition(clauses, condition) ||
			!restriction_is_securely_promotable(condition, index->rel))
			continue;
		for (int column = 1; column < index->nkeycolumns && clause == NULL; column++)
			clause = match(root, index, column, condition);
		if (clause != NULL)
			complete = lappend(complete == clauses ? list_copy(clauses) : complete, clause);
	}
	return complete;
}

IndexPath *
iqdb_pg_complete_path(PlannerInfo *root, IndexPath *path)
{
	List	   *clauses = iqdb_pg_complete_clauses(root, path->indexinfo, path->indexclauses);

	if (clauses == path->indexclauses)
		return path;
	return create_index_path(root, path->indexinfo, clauses, path->indexorderbys, path->indexorderbycols,
							 path->path.pathkeys, path->indexscandir, false, PATH_REQ_OUTER(&path->path), 1.0, false);
}
