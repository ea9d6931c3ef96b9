/*
 * pg_paths.c - which paths through our indexes the planner is offered, and what order they promise.
 *
 * Owns: the planner's hooks. The server makes the paths, and pg_cost.c prices them; here they are corrected before the
 * server builds on them.
 *
 * One order, not two. The server gives an access method every leading sort key that is an ordering operator of the
 * index, in ORDER BY v <-> a, v <-> b both. A scan of ours sorts by one distance. So the path is offered with the first
 * key alone, and the server's Incremental Sort sorts rows of equal distance by the other keys, whatever these are.
 *
 * Order to the end. The stream of an approximate index is in order until it ends, and then come the rows that were found
 * too late for their places (core/db/index_cursor.c). Whoever stops before never sees one. So:
 *
 *   - A path promises its order by itself only where a LIMIT or a cursor may stop it, and where no other node builds on
 *     the order: DISTINCT, GROUP BY, a window, or a merge join would be wrong, silently. Else it is offered with a sort
 *     above it, and wins only if it is cheaper so than the table, sorted.
 *   - The rows of a LIMIT are sorted once more, above it: a filter may leave fewer rows than it wants, and then the stream
 *     is read to its end. Sorting a few rows that are in order costs next to nothing.
 *   - A window over the distance with a LIMIT keeps the index if nothing can let the stream come to its end: one table, no
 *     filter, a LIMIT that is known and a small part of the table.
 *   - min() and max() of a distance are answers over all rows: no approximate index gives them.
 *
 * A cursor without a LIMIT is a stream by intention, and its last rows are those found late.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "nodes/pathnodes.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/planner.h"
#include "storage/sinval.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "pg/pg_am.h"
#include "pg/pg_clause.h"
#include "pg/pg_compat.h"
#include "pg/pg_cost.h"
#include "pg/pg_node.h"
#include "pg/pg_options.h"
#include "pg/pg_paths.h"

/* A LIMIT of at most one row of so many does not read a table to its end. */
#define ROWS_PER_LIMITED_ROW 10

static set_rel_pathlist_hook_type previous_rel_hook;
static create_upper_paths_hook_type previous_upper_hook;

/* ---- what is ours ------------------------------------------------------------------------------------------------ */

static bool
is_ours(const IndexOptInfo *info)
{
	return (void *) info->amcostestimate == (void *) iqdb_am_costestimate;
}

static bool
is_approximate(const IndexOptInfo *info)
{
	Relation	index;
	bool		answer;

	if (!is_ours(info) || info->hypothetical)
		return false;
	index = index_open(info->indexoid, NoLock);
	answer = !iqdb_engine_get(iqdb_pg_engine_kind(index))->is_exact;
	index_close(index, NoLock);
	return answer;
}

static List *
indexes_of_ours(const RelOptInfo *rel)
{
	List	   *found = NIL;
	ListCell   *cell;

	foreach(cell, rel->indexlist)
	{
		if (is_ours(lfirst(cell)))
			found = lappend(found, lfirst(cell));
	}
	return found;
}

/* ---- paths of the server's ----------------------------------------------------------------------------------------- */

List *
iqdb_pg_server_paths(PlannerInfo *root, RelOptInfo *rel, List *indexes, List *pathkeys)
{
	List	   *query_pathkeys = root->query_pathkeys;
	List	   *indexlist = rel->indexlist;
	List	   *pathlist = rel->pathlist;
	List	   *partial_pathlist = rel->partial_pathlist;
	List	   *made;

	root->query_pathkeys = pathkeys;
	rel->indexlist = indexes;
	rel->pathlist = NIL;
	rel->partial_pathlist = NIL;
	create_index_paths(root, rel);
	made = rel->pathlist;
	root->query_pathkeys = query_pathkeys;
	rel->indexlist = indexlist;
	rel->pathlist = pathlist;
	rel->partial_pathlist = partial_pathlist;
	return made;
}

/* An ordered path that knows more takes the place of what there is over the same index. */
static void
drop_paths_of(RelOptInfo *rel, const IndexPath *index)
{
	ListCell   *cell;

	foreach(cell, rel->pathlist)
	{
		IndexPath  *path = lfirst(cell);

		if (IsA(path, IndexPath) && path->indexinfo == index->indexinfo && path->indexorderbys != NIL &&
			bms_equal(PATH_REQ_OUTER(&path->path), PATH_REQ_OUTER(&index->path)))
			rel->pathlist = foreach_delete_current(rel->pathlist, cell);
	}
}

/* Gives ordered paths the conditions that their indexes can take, and the server has left out. */
static void
complete_paths(PlannerInfo *root, RelOptInfo *rel, List *indexes)
{
	ListCell   *cell;

	foreach(cell, indexes)
	{
		IndexOptInfo *index = lfirst(cell);
		ListCell   *made;

		if (iqdb_pg_complete_clauses(root, index, NIL) == NIL)
			continue;
		foreach(made, iqdb_pg_server_paths(root, rel, list_make1(index), list_make1(linitial(root->query_pathkeys))))
		{
			IndexPath  *path = lfirst(made);

			if (!IsA(path, IndexPath) || path->indexorderbys == NIL ||
				!bms_equal(PATH_REQ_OUTER(&path->path), rel->lateral_relids))
				continue;
			drop_paths_of(rel, path);
			add_path(rel, (Path *) iqdb_pg_complete_path(root, path));
		}
	}
}

/* ---- one order ----------------------------------------------------------------------------------------------------- */

/* Adds the paths of our indexes as if the query were ordered by its first key alone. None of them is partial. */
static void
add_paths_of_first_key(PlannerInfo *root, RelOptInfo *rel, List *indexes)
{
	ListCell   *cell;

	foreach(cell, iqdb_pg_server_paths(root, rel, indexes, list_make1(linitial(root->query_pathkeys))))
		add_path(rel, lfirst(cell));
}

/* ---- order to the end ---------------------------------------------------------------------------------------------- */

/* Is this the query "ORDER BY x LIMIT 1" that the server makes of min(x)? */
static bool
is_of_min_max(const PlannerInfo *root)
{
	const TargetEntry *entry;

	if (root->parent_root == NULL || !root->parent_root->parse->hasAggs || list_length(root->parse->targetList) != 1)
		return false;
	entry = linitial(root->parse->targetList);
	return entry->resname != NULL && strcmp(entry->resname, "agg_target") == 0;
}

/* Is the distance also something that this table is joined by? A merge join could use its order then. */
static bool
is_joined_by(const RelOptInfo *rel, const PathKey *key)
{
	int			members = 0;
	ListCell   *cell;

	foreach(cell, key->pk_eclass->ec_members)
	{
		const EquivalenceMember *member = lfirst(cell);

		members += member->em_is_child ? 0 : 1;
	}
	if (members > 1)
		return true;
	foreach(cell, rel->joininfo)
	{
		const RestrictInfo *clause = lfirst(cell);

		if (clause->mergeopfamilies != NIL && (clause->left_ec == key->pk_eclass || clause->right_ec == key->pk_eclass))
			return true;
	}
	return false;
}

/* Is every window's result for a row known before the last row is? */
static bool
windows_stop(const Query *query)
{
	ListCell   *cell;

	foreach(cell, query->windowClause)
	{
		const WindowClause *window = lfirst(cell);

		if (window->orderClause == NIL || (window->frameOptions & FRAMEOPTION_END_UNBOUNDED_FOLLOWING) != 0)
			return false;
	}
	return true;
}

/* Does nothing but the LIMIT decide how much of the stream is read, and is it known to be a small part? */
static bool
stops_for_certain(const PlannerInfo *root, const IndexPath *path)
{
	double		rows = Min(path->indexinfo->tuples, path->indexinfo->rel->tuples);

	return root->tuple_fraction >= 1 && root->tuple_fraction * ROWS_PER_LIMITED_ROW <= rows &&
		   path->indexinfo->indrestrictinfo == NIL && bms_membership(root->all_baserels) == BMS_SINGLETON;
}

/*
 * May this path of an approximate index promise its order? A query without LIMIT can be stopped by the one around it, and
 * that one's windows then read this stream.
 */
static bool
may_promise_order(const PlannerInfo *root, const IndexPath *path)
{
	const Query *query = root->parse;
	const PlannerInfo *reader = root;

	if (query->groupClause != NIL || query->groupingSets != NIL || query->distinctClause != NIL || query->hasAggs ||
		root->hasHavingQual || root->tuple_fraction <= 0 || is_of_min_max(root) ||
		is_joined_by(path->indexinfo->rel, linitial(path->path.pathkeys)))
		return false;
	for (;;)
	{
		if (reader->parse->hasWindowFuncs && !(windows_stop(reader->parse) && stops_for_certain(root, path)))
			return false;
		if (reader->parse->limitCount != NULL || reader->parent_root == NULL)
			return true;
		reader = reader->parent_root;
	}
}

/* Does the order of these rows come from an approximate index? */
static bool
is_stream(const Path *path)
{
	IndexPath  *index;
	ListCell   *cell;

	if (path == NULL || path->pathkeys == NIL)
		return false;
	switch (nodeTag(path))
	{
		case T_IndexPath:
			return ((const IndexPath *) path)->indexorderbys != NIL &&
				   is_approximate(((const IndexPath *) path)->indexinfo);
		case T_CustomPath:
			return iqdb_pg_is_node_path(path, &index) && is_approximate(index->indexinfo) && !iqdb_pg_node_is_ordered(path);
		case T_ProjectionPath:
			return is_stream(((const ProjectionPath *) path)->subpath);
		case T_ProjectSetPath:
			return is_stream(((const ProjectSetPath *) path)->subpath);
		case T_SubqueryScanPath:
			return is_stream(((const SubqueryScanPath *) path)->subpath);
		case T_IncrementalSortPath:
			return is_stream(((const IncrementalSortPath *) path)->spath.subpath);
		case T_WindowAggPath:
			return is_stream(((const WindowAggPath *) path)->subpath);
		case T_MaterialPath:
			return is_stream(((const MaterialPath *) path)->subpath);
		case T_NestPath:
			return is_stream(((const JoinPath *) path)->outerjoinpath);
		case T_AppendPath:
			foreach(cell, ((const AppendPath *) path)->subpaths)
			{
				if (is_stream(lfirst(cell)))
					return true;
			}
			return false;
		case T_MergeAppendPath:
			foreach(cell, ((const MergeAppendPath *) path)->subpaths)
			{
				if (is_stream(lfirst(cell)))
					return true;
			}
			return false;
		default:
			return false;
	}
}

/* ---- the own node -------------------------------------------------------------------------------------------------- */

static void
add_node_paths(PlannerInfo *root, RelOptInfo *rel, List *indexes)
{
	ListCell   *cell;

	foreach(cell, iqdb_pg_node_paths(root, rel, indexes))
	{
		Path	   *path = lfirst(cell);
		IndexPath  *index;

		if (!iqdb_pg_is_node_path(path, &index))
			continue;
		/* a search that knows more than an index scan takes the place of that, if it is not restricted to a bitmap */
		if (!iqdb_pg_node_has_filter(path) && path->pathkeys != NIL)
			drop_paths_of(rel, index);
		if (path->pathkeys != NIL && is_approximate(index->indexinfo) && !iqdb_pg_node_is_ordered(path) &&
			!may_promise_order(root, index))
			path = (Path *) create_sort_path(root, rel, path, path->pathkeys, -1.0);
		add_path(rel, path);
	}
}

/* ---- what the server does not count -------------------------------------------------------------------------------- */

/*
 * What a distance of the path's order costs for each row beyond what the server counts. Where vectors lie outside of their
 * rows, fetching them costs far more than comparing them. Our own functions tell the planner (iqvector_distance_support);
 * those of pgvector have nothing to tell it by. In a join only some of the rows may come to be compared.
 */
static Cost
untold_cost(PlannerInfo *root, const IndexPath *path, Oid table)
{
	const OpExpr *distance = linitial(path->indexorderbys);
	Cost		cost = 0;
	ListCell   *cell;

	if (bms_membership(root->all_baserels) != BMS_SINGLETON || !IsA(distance, OpExpr) ||
		OidIsValid(get_func_support(distance->opfuncid)))
		return 0;
	foreach(cell, pull_var_clause((Node *) distance, PVC_RECURSE_PLACEHOLDERS))
		cost += iqdb_pg_cost_value(lfirst(cell), table);
	return cost;
}

/* Every path comes to compute the distances of the rows that are taken from it, so all are dearer by as much for each row. */
static void
add_cost_of_rows(List *paths, Cost cost)
{
	ListCell   *cell;

	foreach(cell, paths)
	{
		Path	   *path = lfirst(cell);

		path->total_cost += cost * path->rows;
	}
}

/* ---- the hooks ----------------------------------------------------------------------------------------------------- */

static void
correct_index_paths(PlannerInfo *root, RelOptInfo *rel, Index number, RangeTblEntry *entry)
{
	List	   *indexes = indexes_of_ours(rel);
	List	   *unordered = NIL;
	Cost		untold = 0;
	ListCell   *cell;

	if (previous_rel_hook != NULL)
		previous_rel_hook(root, rel, number, entry);
	if (indexes == NIL)
		return;
	if (list_length(root->query_pathkeys) > 1)
		add_paths_of_first_key(root, rel, indexes);
	if (root->query_pathkeys != NIL)
		complete_paths(root, rel, indexes);
	foreach(cell, rel->pathlist)
	{
		IndexPath  *path = lfirst(cell);

		if (!IsA(path, IndexPath) || !is_ours(path->indexinfo))
			continue;
		/* ruled out by its price, which no other path has lost against */
		if (isinf(path->path.total_cost))
		{
			rel->pathlist = foreach_delete_current(rel->pathlist, cell);
			continue;
		}
		untold = Max(untold, untold_cost(root, path, entry->relid));
		if (is_approximate(path->indexinfo) && !may_promise_order(root, path))
		{
			rel->pathlist = foreach_delete_current(rel->pathlist, cell);
			unordered = lappend(unordered, path);
		}
	}
	foreach(cell, unordered)
	{
		Path	   *path = lfirst(cell);

		add_path(rel, (Path *) create_sort_path(root, rel, path, path->pathkeys, -1.0));
	}
	add_node_paths(root, rel, indexes);
	add_cost_of_rows(rel->pathlist, untold);
	add_cost_of_rows(rel->partial_pathlist, untold);
}

static bool
is_one_row(const Node *limit)
{
	const Const *count = (const Const *) limit;

	return IsA(limit, Const) && count->consttype == INT8OID && !count->constisnull &&
		   DatumGetInt64(count->constvalue) == 1;
}

/* Rows that are locked keep their place: a statement may name the last one that was locked (WHERE CURRENT OF). */
static void
sort_limited_streams(PlannerInfo *root, UpperRelationKind stage, RelOptInfo *input, RelOptInfo *output, void *extra)
{
	List	   *paths;
	ListCell   *cell;

	if (previous_upper_hook != NULL)
		previous_upper_hook(root, stage, input, output, extra);
	if (stage != UPPERREL_FINAL || root->sort_pathkeys == NIL || root->parse->limitCount == NULL ||
		root->parse->rowMarks != NIL || is_one_row(root->parse->limitCount))
		return;
	paths = output->pathlist;
	output->pathlist = NIL;
	foreach(cell, paths)
	{
		Path	   *path = lfirst(cell);

		if (IsA(path, LimitPath) && is_stream(((LimitPath *) path)->subpath))
			path = (Path *) create_sort_path(root, output, path, root->sort_pathkeys, -1.0);
		add_path(output, path);
	}
}

void
iqdb_pg_install_planner_hooks(void)
{
	previous_rel_hook = set_rel_pathlist_hook;
	set_rel_pathlist_hook = correct_index_paths;
	previous_upper_hook = create_upper_paths_hook;
	create_upper_paths_hook = sort_limited_streams;
}

void
iqdb_pg_replan(Relation index)
{
	SharedInvalidationMessage message;

	memset(&message, 0, sizeof(message));
	message.rc.id = SHAREDINVALRELCACHE_ID;
	message.rc.dbId = MyDatabaseId;
	message.rc.relId = index->rd_index->indrelid;
	SendSharedInvalidMessages(&message, 1);
}
