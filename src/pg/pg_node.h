/*
 * pg_node.h - the own scan node "Vector Scan": a CustomScan that knows of a search what an index scan is not told.
 *
 * pg_node_plan.c offers it to the planner and makes its plan, pg_node.c runs it, pg_node_explain.c tells what it did.
 */
#ifndef IQDB_PG_NODE_H
#define IQDB_PG_NODE_H

#include <math.h>

#include "nodes/execnodes.h"
#include "nodes/extensible.h"
#include "nodes/pathnodes.h"

#define IQDB_PG_NODE_NAME "Vector Scan"

/*
 * What a plan's node hands to its execution: the numbers in custom_private, the expressions in custom_exprs, and the plan of
 * the bitmap, if there is one, in custom_plans. Expressions are lists of lists, because the server looks for parameters and
 * variables in them, and finds these in lists.
 */
enum
{
	IQDB_PG_NODE_INDEX,			/* list of one OID */
	IQDB_PG_NODE_BOUND_KINDS,	/* list of integers, one a bound: IqdbPgBoundKind */
	IQDB_PG_NODE_RATIO,			/* Float: rows of the stream for each that passes the quals */
	IQDB_PG_NODE_PATIENCE		/* Float: rows that may fail the quals before the bitmap is read; 0: it is read at once */
};

enum
{
	IQDB_PG_NODE_KEYS,			/* conditions and order on columns of the index, as the server's scan keys are made of */
	IQDB_PG_NODE_ORDER,
	IQDB_PG_NODE_KEYS_SHOWN,	/* the same two on columns of the table, for EXPLAIN */
	IQDB_PG_NODE_ORDER_SHOWN,
	IQDB_PG_NODE_BOUNDS,		/* the numbers that the distance is compared with */
	IQDB_PG_NODE_LIMIT			/* counts of rows, whose sum is the LIMIT; none: it is not known */
};

typedef enum IqdbPgBoundKind
{
	IQDB_PG_BOUND_BELOW,		/* distance < number */
	IQDB_PG_BOUND_AT_MOST		/* distance <= number */
} IqdbPgBoundKind;

/*
 * So many rows of the stream are looked for at first where a LIMIT wants `rows`, and one of `ratio` passes: half of the queries
 * need more than their mean, and a second search costs more than the first. A standard deviation more is enough for most.
 */
static inline double
iqdb_pg_rows_at_first(double rows, double ratio)
{
	return rows * ratio + sqrt(rows * ratio * (ratio - 1));
}

/* Tells the server the node's name, so that it can read plans with it. Called once, from _PG_init. */
extern void iqdb_pg_register_node(void);

/*
 * The paths by the node over these indexes of ours, as a list of CustomPath: in the order of the query's first key where an
 * index has it, and without order where the distance has a bound; with the bitmap of other indexes, and without.
 */
extern List *iqdb_pg_node_paths(PlannerInfo *root, RelOptInfo *rel, List *indexes);

/* Is it a path of the node? Then *order_out is the path of the index within. */
extern bool iqdb_pg_is_node_path(const Path *path, IndexPath **order_out);

/* Does a path of the node have a bitmap below, by which it searches from the start? */
extern bool iqdb_pg_node_has_filter(const Path *path);

/* Is all that it returns in order, although the index is an approximate one? */
extern bool iqdb_pg_node_is_ordered(const Path *path);

extern Node *iqdb_pg_node_create_state(CustomScan *plan);

#endif
