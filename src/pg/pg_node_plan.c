/*
 * pg_node_plan.c - the node "Vector Scan" in the planner: where it is offered, and how its path becomes a plan.
 *
 * The node does what an index scan does, and knows more of the query than an access method is told:
 *
 *   - the LIMIT, where nothing but the quals of this table can drop rows: the engine looks for so many at once;
 *   - bounds of the distance (WHERE v <-> q < r): it stops at the nearest of them. So a query that has a bound, but no order,
 *     can use the index too, and a join by a distance (ON a.v <-> b.v < r) is a search for each row of the other table;
 *   - bitmaps of the table's other indexes (btree, GIN, BRIN, several of them joined by AND and OR): the engine gets the set
 *     of rows that they name, and leaves all others out; at once, or when so many rows have failed the conditions that it would
 *     have been the quicker way (the path's patience).
 *
 * A path is made of paths of the server's own: that of the index (IndexPath), which says by what the rows are ordered and
 * which conditions the index itself takes, and the cheapest one of bitmaps (BitmapHeapPath). Both are children of the path,
 * so the server plans them with all it knows of parameters, partitions and joins. What the node needs is then taken out
 * of their plans: scan keys from the one, the bitmap's nodes from the other. All quals are asked once more by the node
 * itself, in the server's order; so a bitmap may be lossy, and nothing sees a row that a security barrier holds back. A bound
 * counts only where the server would let an index have it (restriction_is_securely_promotable).
 *
 * Where nothing is known beyond what the index scan knows, the node is not offered.
 */
#include "postgres.h"

#include <math.h>

#include "access/genam.h"
#include "access/stratnum.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/appendinfo.h"
#include "optimizer/clauses.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/restrictinfo.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

#include "pg/pg_am.h"
#include "pg/pg_clause.h"
#include "pg/pg_compat.h"
#include "pg/pg_cost.h"
#include "pg/pg_node.h"
#include "pg/pg_paths.h"
#include "pg/pg_sample.h"
#include "pg/pg_settings.h"

/* What the planner knows of a search, beside the index's own path. */
typedef struct Search
{
	IndexPath  *order;
	BitmapHeapPath *filter;		/* NULL: none */
	List	   *bounds;			/* Bound of each */
	List	   *limit;			/* as IQDB_PG_NODE_LIMIT */
	double		patience;		/* as IQDB_PG_NODE_PATIENCE */
} Search;

/* Members of a path's custom_private. */
enum
{
	PATH_BOUNDS,				/* expressions */
	PATH_DISTANCE,				/* list of the one that orders the rows */
	PATH_BOUND_KINDS,
	PATH_LIMIT,
	PATH_PATIENCE,
	PATH_RATIO
};

static Plan *plan_node(PlannerInfo *root, RelOptInfo *rel, CustomPath *path, List *targets, List *clauses, List *children);
static List *use_child(PlannerInfo *root, List *private, RelOptInfo *child);

static const CustomPathMethods path_methods = {
	.CustomName = IQDB_PG_NODE_NAME,
	.PlanCustomPath = plan_node,
	.ReparameterizeCustomPathByChild = use_child
};

static const CustomScanMethods scan_methods = {
	.CustomName = IQDB_PG_NODE_NAME,
	.CreateCustomScanState = iqdb_pg_node_create_state
};

/* ---- bitmaps ------------------------------------------------------------------------------------------------------- */

/*
 * The best bitmap that the table's other indexes give for its conditions, or NULL. The server would compare it with plain
 * scans of these indexes, which are no use here, and perhaps drop it: so they are said to be capable of bitmaps only.
 */
static BitmapHeapPath *
best_bitmap(PlannerInfo *root, RelOptInfo *rel)
{
	List	   *capable = NIL;
	List	   *scanners = NIL;
	List	   *paths;
	ListCell   *cell;

	if (!enable_bitmapscan)
		return NULL;
	foreach(cell, rel->indexlist)
	{
		IndexOptInfo *index = lfirst(cell);

		if (!index->amhasgetbitmap)
			continue;
		capable = lappend(capable, index);
		if (index->amhasgettuple)
			scanners = lappend(scanners, index);
		index->amhasgettuple = false;
	}
	paths = capable == NIL ? NIL : iqdb_pg_server_paths(root, rel, capable, NIL);
	foreach(cell, scanners)
		((IndexOptInfo *) lfirst(cell))->amhasgettuple = true;
	foreach(cell, paths)
	{
		Path	   *path = lfirst(cell);

		if (IsA(path, BitmapHeapPath) && bms_equal(PATH_REQ_OUTER(path), rel->lateral_relids))
			return (BitmapHeapPath *) path;
	}
	return NULL;
}

/* ---- bounds -------------------------------------------------------------------------------------------------------- */

/* Is the value known before the table is looked at: does the table itself have no part in it? */
static bool
is_known_before(PlannerInfo *root, const RelOptInfo *rel, Node *value)
{
	return !bms_is_member(rel->relid, pull_varnos(root, value)) && !contain_volatile_functions(value);
}

/*
 * The expression as a distance of the index's column from something that is known before, with the column on its left side;
 * NULL if it is none. It then equals what the server puts into indexorderbys.
 */
static OpExpr *
as_distance(PlannerInfo *root, IndexOptInfo *index, Node *node)
{
	OpExpr	   *expr = (OpExpr *) node;
	OpExpr	   *turned;
	Oid			operator;
	bool		on_left;
	Node	   *other;

	if (node == NULL || !IsA(node, OpExpr) || list_length(expr->args) != 2)
		return NULL;
	on_left = match_index_to_operand(linitial(expr->args), 0, index);
	if (!on_left && !match_index_to_operand(lsecond(expr->args), 0, index))
		return NULL;
	other = on_left ? lsecond(expr->args) : linitial(expr->args);
	operator = on_left ? expr->opno : get_commutator(expr->opno);
	if (!OidIsValid(operator) || !OidIsValid(get_op_opfamily_sortfamily(operator, index->opfamily[0])) ||
		!is_known_before(root, index->rel, other))
		return NULL;
	if (on_left)
		return expr;
	turned = makeNode(OpExpr);
	memcpy(turned, expr, sizeof(OpExpr));
	turned->opno = operator;
	turned->opfuncid = InvalidOid;
	turned->args = list_make2(lsecond(expr->args), linitial(expr->args));
	return turned;
}

/* A condition that bounds a distance of an index's column from above. */
typedef struct Bound
{
	RestrictInfo *condition;
	Relids		outer;			/* other tables whose rows say how far, or from where; NULL: none */
	OpExpr	   *distance;
	Expr	   *number;			/* double precision */
	IqdbPgBoundKind kind;
} Bound;

/* What the distance is compared with, as double precision; NULL if it is no number that is known before. */
static Expr *
as_number(PlannerInfo *root, const RelOptInfo *rel, Node *node)
{
	if (!is_known_before(root, rel, node))
		return NULL;
	if (exprType(node) == FLOAT4OID)
		return (Expr *) makeFuncExpr(F_FLOAT8_FLOAT4, FLOAT8OID, list_make1(node), InvalidOid, InvalidOid,
									 COERCE_IMPLICIT_CAST);
	return exprType(node) == FLOAT8OID ? (Expr *) node : NULL;
}

/* The condition as a bound, or NULL. */
static Bound *
as_bound(PlannerInfo *root, IndexOptInfo *index, RestrictInfo *condition)
{
	OpExpr	   *expr = (OpExpr *) condition->clause;
	Bound		bound = {.condition = condition, .outer = bms_difference(condition->clause_relids, index->rel->relids)};
	bool		on_left;
	Oid			operator;

	if (!IsA(expr, OpExpr) || list_length(expr->args) != 2 || condition->pseudoconstant)
		return NULL;
	bound.distance = as_distance(root, index, linitial(expr->args));
	on_left = bound.distance != NULL;
	if (!on_left)
		bound.distance = as_distance(root, index, lsecond(expr->args));
	if (bound.distance == NULL)
		return NULL;
	bound.number = as_number(root, index->rel, on_left ? lsecond(expr->args) : linitial(expr->args));
	operator = on_left ? expr->opno : get_commutator(expr->opno);
	if (bound.number == NULL || !OidIsValid(operator))
		return NULL;
	switch (get_op_opfamily_strategy(operator, get_op_opfamily_sortfamily(bound.distance->opno, index->opfamily[0])))
	{
		case BTLessStrategyNumber:
			bound.kind = IQDB_PG_BOUND_BELOW;
			break;
		case BTLessEqualStrategyNumber:
		case BTEqualStrategyNumber:
			bound.kind = IQDB_PG_BOUND_AT_MOST;
			break;
		default:
			return NULL;
	}
	return memcpy(palloc(sizeof(Bound)), &bound, sizeof(Bound));
}

static List *
add_bounds(PlannerInfo *root, IndexOptInfo *index, List *conditions, List *bounds)
{
	ListCell   *cell;

	foreach(cell, conditions)
	{
		RestrictInfo *condition = lfirst(cell);
		Bound	   *bound = as_bound(root, index, condition);

		if (bound != NULL && restriction_is_securely_promotable(condition, index->rel) &&
			(bound->outer == NULL || join_clause_is_movable_to(condition, index->rel)))
			bounds = lappend(bounds, bound);
	}
	return bounds;
}

/* All bounds of distances of the index's column, as far as the server would let an index have their conditions. */
static List *
find_bounds(PlannerInfo *root, IndexOptInfo *index)
{
	List	   *bounds = add_bounds(root, index, index->rel->baserestrictinfo, NIL);

	return add_bounds(root, index, index->rel->joininfo, bounds);
}

/* Those of one distance, where these tables' rows are known. */
static List *
bounds_of(List *bounds, const Node *distance, Relids outer)
{
	List	   *found = NIL;
	ListCell   *cell;

	foreach(cell, bounds)
	{
		Bound	   *bound = lfirst(cell);

		if (bms_is_subset(bound->outer, outer) && equal(bound->distance, distance))
			found = lappend(found, bound);
	}
	return found;
}

/* Is there no bound before this one of the same distance, and with the same other tables? */
static bool
is_first(List *bounds, const Bound *bound)
{
	ListCell   *cell;

	foreach(cell, bounds)
	{
		const Bound *other = lfirst(cell);

		if (bms_equal(other->outer, bound->outer) && equal(other->distance, bound->distance))
			return other == bound;
	}
	return true;
}

/* How often a path is run that depends on rows of other tables: roughly as often as there are rows of the smallest of them. */
static double
loop_count(PlannerInfo *root, Relids outer)
{
	double		count = 0;
	int			number = -1;

	while ((number = bms_next_member(outer, number)) >= 0)
	{
		const RelOptInfo *rel = root->simple_rel_array[number];

		if (rel != NULL && rel->rows > 0 && (count == 0 || rel->rows < count))
			count = rel->rows;
	}
	return Max(count, 1);
}

/* ---- the LIMIT ----------------------------------------------------------------------------------------------------- */

static bool
is_count(PlannerInfo *root, Node *node)
{
	return exprType(node) == INT8OID && !contain_volatile_functions(node) && !contain_subplans(node) &&
		   is_parallel_safe(root, node);
}

/*
 * The counts whose sum is the number of rows that the query takes, or NIL: it has no LIMIT, or something between it and the
 * table takes more rows, or fewer, than it gives. They may be parameters of a kept plan.
 */
static List *
limit_counts(PlannerInfo *root)
{
	Query	   *query = root->parse;

	if (query->limitCount == NULL || query->limitOption != LIMIT_OPTION_COUNT || query->groupClause != NIL ||
		query->groupingSets != NIL || query->distinctClause != NIL || query->hasAggs || query->hasWindowFuncs ||
		query->hasTargetSRFs || root->hasHavingQual || bms_membership(root->all_baserels) != BMS_SINGLETON ||
		!is_count(root, query->limitCount) || (query->limitOffset != NULL && !is_count(root, query->limitOffset)))
		return NIL;
	return query->limitOffset == NULL ? list_make1(query->limitCount) : list_make2(query->limitCount, query->limitOffset);
}

/* ---- the paths ----------------------------------------------------------------------------------------------------- */

/* What is thought of a bound where nobody knows: it is there to leave little. */
#define WITHIN_UNKNOWN 0.01

/* The value of an expression, as far as it can be told now. */
static const Const *
known_value(PlannerInfo *root, Node *expr)
{
	Const	   *value = (Const *) estimate_expression_value(root, expr);

	return IsA(value, Const) && !value->constisnull ? value : NULL;
}

/*
 * The share of the index's rows that is within the bounds, by a sample of the index where the bounds are known. The
 * server's own estimate, by which it counts the rows of all paths alike, takes the distance for a number like any other.
 */
static double
share_within(PlannerInfo *root, const Search *search)
{
	const Const *query = known_value(root, lsecond(((OpExpr *) linitial(search->order->indexorderbys))->args));
	Relation	index = index_open(search->order->indexinfo->indexoid, NoLock);
	double		least = 1;
	ListCell   *cell;

	foreach(cell, search->bounds)
	{
		const Bound *bound = lfirst(cell);
		const Const *number = known_value(root, (Node *) bound->number);
		double		share;

		if (number == NULL ||
			!iqdb_pg_sample_within(index, query == NULL ? NULL : &query->constvalue, DatumGetFloat8(number->constvalue),
								   bound->kind == IQDB_PG_BOUND_BELOW, &share))
			share = WITHIN_UNKNOWN;
		least = Min(least, share);
	}
	index_close(index, NoLock);
	return least;
}

/* With its point even if it is whole: what a parallel worker reads without one is an Integer to it. */
static Node *
make_number(double number)
{
	return (Node *) makeFloat(psprintf("%.3f", number));
}

/* How many rows the engine hands out, and at what cost, goes into the path; what bounds it, into its private list. */
static void
estimate(PlannerInfo *root, RelOptInfo *rel, const Search *search, CustomPath *path)
{
	IqdbPgNodeWork work = {.filtered = search->filter != NULL && search->patience == 0};
	Selectivity share = search->order->indexselectivity;
	List	   *conditions = NIL;
	double		ratio;
	ListCell   *cell;

	foreach(cell, search->bounds)
		conditions = lappend(conditions, ((Bound *) lfirst(cell))->condition);
	if (work.filtered)
	{
		Selectivity filtered;

		cost_bitmap_tree_node(search->filter->bitmapqual, &work.filter_cost, &filtered);
		share *= filtered;
	}
	/* a condition that the index and the bitmap both take is one condition: there are no fewer rows than the scan returns */
	work.matches = Max(clamp_row_est(rel->tuples * share), path->path.rows);
	work.within = search->bounds == NIL ? work.matches : clamp_row_est(work.matches * share_within(root, search));
	work.exhaustive = search->bounds != NIL && search->limit == NIL;
	ratio = work.matches * clauselist_selectivity(root, conditions, 0, JOIN_INNER, NULL) / path->path.rows;
	ratio = Max(ratio, 1);
	if (search->limit != NIL && root->limit_tuples > 0)
	{
		work.wanted = Min(root->limit_tuples * ratio, work.within);
		work.expected = Min(iqdb_pg_rows_at_first(root->limit_tuples, ratio), work.within);
	}
	path->custom_private = lappend(path->custom_private, make_number(ratio));
	iqdb_pg_cost_node(root, search->order, &work, &path->path);
}

/*
 * The path of the index in the order of a distance from NULL. The query itself stands in the node's path: where it is a column
 * of a partition that takes the place of its parent (use_child()), the server does not look for it in the order of a path.
 */
static IndexPath *
without_query(const IndexPath *order)
{
	IndexPath  *path = makeNode(IndexPath);
	OpExpr	   *distance = makeNode(OpExpr);
	Node	   *query;

	memcpy(path, order, sizeof(IndexPath));
	memcpy(distance, linitial_node(OpExpr, order->indexorderbys), sizeof(OpExpr));
	query = lsecond(distance->args);
	distance->args = list_make2(linitial(distance->args),
								makeNullConst(exprType(query), exprTypmod(query), exprCollation(query)));
	path->indexorderbys = list_make1(distance);
	return path;
}

static CustomPath *
make_path(PlannerInfo *root, RelOptInfo *rel, const Search *search)
{
	CustomPath *path = makeNode(CustomPath);
	List	   *numbers = NIL;
	List	   *kinds = NIL;
	ListCell   *cell;

	foreach(cell, search->bounds)
	{
		numbers = lappend(numbers, ((Bound *) lfirst(cell))->number);
		kinds = lappend_int(kinds, ((Bound *) lfirst(cell))->kind);
	}
	path->path.pathtype = T_CustomScan;
	path->path.parent = rel;
	path->path.pathtarget = rel->reltarget;
	path->path.param_info = search->order->path.param_info;
	path->path.parallel_safe = rel->consider_parallel;
	path->path.rows = search->order->path.rows;
	path->path.pathkeys = search->order->path.pathkeys;
	path->flags = IQDB_PG_PATH_PROJECTS;
	path->methods = &path_methods;
	path->custom_paths = list_make1(without_query(search->order));
	if (search->filter != NULL)
		path->custom_paths = lappend(path->custom_paths, search->filter);
	path->custom_private = list_make5(numbers, list_copy(search->order->indexorderbys), kinds, search->limit,
									  make_number(search->patience));
	estimate(root, rel, search, path);
	return path;
}

/* The first search of an index scan is good for so many rows. */
#define ROWS_AT_FIRST 32

/* Would an index scan find as much at once, and with no more work? */
static bool
knows_nothing_more(PlannerInfo *root, RelOptInfo *rel, const Search *search)
{
	double		ratio = Max(rel->tuples * search->order->indexselectivity / search->order->path.rows, 1);

	if (search->bounds != NIL)
		return false;
	return search->limit == NIL ||
		   (root->limit_tuples > 0 && iqdb_pg_rows_at_first(root->limit_tuples, ratio) <= ROWS_AT_FIRST);
}

/* Is there a condition that the index does not take? */
static bool
asks_rows(const RelOptInfo *rel, const IndexPath *order)
{
	return list_length(order->indexclauses) < list_length(rel->baserestrictinfo);
}

/*
 * The search without the bitmap goes on until rows have failed the conditions that are as dear as all of the search with the
 * bitmap would have been; but not before twice as many have failed as do where they have nothing to do with the distance. 0:
 * the bitmap is no help, or nobody knows how many rows are wanted.
 */
static double
patience(const PlannerInfo *root, const RelOptInfo *rel, const Search *search, const Path *with_bitmap)
{
	const Path *order = &search->order->path;
	double		ratio = Max(rel->tuples * search->order->indexselectivity / order->rows, 1);
	double		share = Min(root->limit_tuples / Max(with_bitmap->rows, 1), 1);
	Cost		bitmap = with_bitmap->startup_cost + (with_bitmap->total_cost - with_bitmap->startup_cost) * share;
	Cost		row = (order->total_cost - order->startup_cost) / Max(order->rows * ratio, 1);

	if (search->bounds != NIL || search->limit == NIL || root->limit_tuples <= 0 || !asks_rows(rel, search->order))
		return 0;
	return ceil(Max(2 * root->limit_tuples * ratio, bitmap / Max(row, cpu_tuple_cost)));
}

/* What searches of one table have in common. */
typedef struct Table
{
	PlannerInfo *root;
	RelOptInfo *rel;
	List	   *limit;
	bool		filter_known;	/* it is looked for when a path of an index is there */
	BitmapHeapPath *filter;
	List	   *paths;
} Table;

static BitmapHeapPath *
find_filter(Table *table)
{
	if (!table->filter_known && table->rel->baserestrictinfo != NIL)
		table->filter = best_bitmap(table->root, table->rel);
	table->filter_known = true;
	return table->filter;
}

/* The searches over this path of an index, with all bounds that its column has. */
static void
add_searches(Table *table, IndexPath *order, List *bounds)
{
	Search		search = {.order = order, .limit = table->limit};
	BitmapHeapPath *filter = find_filter(table);
	CustomPath *path;

	if (isinf(order->path.total_cost))
		return;
	search.bounds = bounds_of(bounds, linitial(order->indexorderbys), PATH_REQ_OUTER(&order->path));
	if (filter != NULL)
	{
		search.filter = filter;
		path = make_path(table->root, table->rel, &search);
		table->paths = lappend(table->paths, path);
		search.patience = patience(table->root, table->rel, &search, &path->path);
	}
	if (search.patience == 0)
		search.filter = NULL;
	if (search.patience > 0 || !knows_nothing_more(table->root, table->rel, &search))
		table->paths = lappend(table->paths, make_path(table->root, table->rel, &search));
}

/*
 * Those over one index. The server makes paths of it in the query's order, and, where the index takes conditions, one without
 * order, which no scan of ours can be: but its conditions are those of a search that has nothing but a bound.
 */
static void
add_searches_of(Table *table, IndexOptInfo *index)
{
	List	   *keys = table->root->query_pathkeys == NIL ? NIL : list_make1(linitial(table->root->query_pathkeys));
	List	   *bounds = find_bounds(table->root, index);
	List	   *clauses = NIL;
	ListCell   *cell;

	if (keys == NIL && bounds == NIL)
		return;
	foreach(cell, iqdb_pg_server_paths(table->root, table->rel, list_make1(index), keys))
	{
		IndexPath  *path = lfirst(cell);

		if (!IsA(path, IndexPath) || !bms_equal(PATH_REQ_OUTER(&path->path), table->rel->lateral_relids))
			continue;
		if (path->indexorderbys != NIL)
			add_searches(table, iqdb_pg_complete_path(table->root, path), bounds);
		else
			clauses = path->indexclauses;
	}
	clauses = iqdb_pg_complete_clauses(table->root, index, clauses);
	foreach(cell, bounds)
	{
		Bound	   *bound = lfirst(cell);
		Relids		outer = bms_union(bound->outer, table->rel->lateral_relids);

		if (is_first(bounds, bound))
			add_searches(table, create_index_path(table->root, index, clauses, list_make1(bound->distance), list_make1_int(0),
												  NIL, ForwardScanDirection, false, outer, loop_count(table->root, outer),
												  false), bounds);
	}
}

List *
iqdb_pg_node_paths(PlannerInfo *root, RelOptInfo *rel, List *indexes)
{
	Table		table = {.root = root, .rel = rel};
	ListCell   *cell;

	if (!iqdb_enable_vector_scan || !enable_indexscan)
		return NIL;
	table.limit = limit_counts(root);
	foreach(cell, indexes)
	{
		IndexOptInfo *index = lfirst(cell);

		if (!index->hypothetical && (index->indpred == NIL || index->predOK))
			add_searches_of(&table, index);
	}
	return table.paths;
}

bool
iqdb_pg_is_node_path(const Path *path, IndexPath **order_out)
{
	if (!IsA(path, CustomPath) || ((const CustomPath *) path)->methods != &path_methods)
		return false;
	*order_out = linitial(((const CustomPath *) path)->custom_paths);
	return true;
}

bool
iqdb_pg_node_has_filter(const Path *path)
{
	const CustomPath *node = (const CustomPath *) path;

	return list_length(node->custom_paths) > 1 && floatVal(list_nth(node->custom_private, PATH_PATIENCE)) == 0;
}

bool
iqdb_pg_node_is_ordered(const Path *path)
{
	const List *private = ((const CustomPath *) path)->custom_private;

	return list_nth(private, PATH_BOUNDS) != NIL && list_nth(private, PATH_LIMIT) == NIL;
}

/* ---- the plan ------------------------------------------------------------------------------------------------------ */

/* A child's plan without the Result that the server puts above it, where conditions that need no row are asked first. */
static Plan *
scan_below(Plan *plan)
{
	while (IsA(plan, Result))
		plan = outerPlan(plan);
	return plan;
}

/* A join of partitions by pairs: the rows that the search depends on are those of a partition, in the place of its parent. */
static List *
use_child(PlannerInfo *root, List *private, RelOptInfo *child)
{
	List	   *changed = list_copy(private);

	lfirst(list_nth_cell(changed, PATH_BOUNDS)) = iqdb_pg_as_of_child(root, list_nth(private, PATH_BOUNDS), child);
	lfirst(list_nth_cell(changed, PATH_DISTANCE)) = iqdb_pg_as_of_child(root, list_nth(private, PATH_DISTANCE), child);
	return changed;
}

/* The order of the index's plan, by the distance from the query. */
static List *
order_by(const List *orders, const List *distance)
{
	OpExpr	   *order = copyObject(linitial_node(OpExpr, orders));

	lsecond(order->args) = copyObject(lsecond(linitial_node(OpExpr, distance)->args));
	return list_make1(order);
}

static Plan *
plan_node(PlannerInfo *root, RelOptInfo *rel, CustomPath *path, List *targets, List *clauses, List *children)
{
	CustomScan *scan = makeNode(CustomScan);
	IndexScan  *index = castNode(IndexScan, scan_below(linitial(children)));
	List	   *private = path->custom_private;

	scan->scan.plan.targetlist = targets;
	scan->scan.plan.qual = extract_actual_clauses(clauses, false);
	scan->scan.scanrelid = rel->relid;
	scan->flags = path->flags;
	scan->methods = &scan_methods;
	if (list_length(children) > 1)
		scan->custom_plans = list_make1(outerPlan(castNode(BitmapHeapScan, scan_below(lsecond(children)))));
	scan->custom_private = list_make4(list_make1_oid(index->indexid), list_nth(private, PATH_BOUND_KINDS),
									  list_nth(private, PATH_RATIO), list_nth(private, PATH_PATIENCE));
	scan->custom_exprs = list_make4(index->indexqual, order_by(index->indexorderby, list_nth(private, PATH_DISTANCE)),
									index->indexqualorig, order_by(index->indexorderbyorig, list_nth(private, PATH_DISTANCE)));
	scan->custom_exprs = lappend(scan->custom_exprs, list_nth(private, PATH_BOUNDS));
	scan->custom_exprs = lappend(scan->custom_exprs, list_nth(private, PATH_LIMIT));
	return &scan->scan.plan;
}

void
iqdb_pg_register_node(void)
{
	RegisterCustomScanMethods(&scan_methods);
}
