/*
 * pg_keys.c - see pg_keys.h.
 *
 * Which conditions an index can take is the planner's knowledge: types, collations, constants, security barriers, predicates,
 * partitions that no row can lie in. So the plan of the statement is asked, and not its text. Scan keys are made of it as the
 * server's own index scan makes them, and tests of these as with any scan (pg_filter.c).
 */
#include "postgres.h"

#include "executor/executor.h"
#include "executor/nodeIndexscan.h"
#include "nodes/nodeFuncs.h"

#include "pg/pg_keys.h"

struct IqdbPgKeys
{
	ScanKey		keys;
	int			count;
	IndexRuntimeKeyInfo *runtime_keys;
	int			runtime_count;
	ExprContext *of_search;		/* of values that are known when the search starts, */
	ExprContext *of_rows;		/* and of a row that is asked */
	ExprState  *conditions;
};

/* Adds the plan's index scans to the list; false: there is something else in it that may decide which rows are seen. */
static bool
find_scans(Plan *plan, List **scans)
{
	List	   *children = NIL;
	ListCell   *cell;

	if (plan == NULL || plan->initPlan != NIL)
		return false;
	switch (nodeTag(plan))
	{
		case T_IndexScan:
			*scans = lappend(*scans, plan);
			return plan->qual == NIL && list_length(((IndexScan *) plan)->indexorderby) == 1;
		case T_Limit:
		case T_Sort:
		case T_IncrementalSort:
			children = list_make1(outerPlan(plan));
			break;
		case T_Append:
			children = ((Append *) plan)->appendplans;
			break;
		case T_MergeAppend:
			children = ((MergeAppend *) plan)->mergeplans;
			break;
		default:
			return false;
	}
	foreach(cell, children)
	{
		if (!find_scans(lfirst(cell), scans))
			return false;
	}
	return true;
}

static IqdbPgKeys *
make_keys(const IndexScan *scan, Relation index)
{
	IqdbPgKeys *keys = palloc0(sizeof(IqdbPgKeys));
	EState	   *estate = CreateExecutorState();

	/* expressions that are prepared here refer to the plan's */
	ExecIndexBuildScanKeys(NULL, index, copyObject(scan->indexqual), false, &keys->keys, &keys->count, &keys->runtime_keys,
						   &keys->runtime_count, NULL, NULL);
	keys->conditions = ExecInitQual(copyObject(scan->indexqualorig), NULL);
	keys->of_search = CreateExprContext(estate);
	keys->of_rows = CreateExprContext(estate);
	return keys;
}

IqdbPgKeys **
iqdb_pg_keys_of_plan(const PlannedStmt *statement, Relation *indexes, int count)
{
	IqdbPgKeys **keys = palloc0(Max(count, 1) * sizeof(IqdbPgKeys *));
	List	   *scans = NIL;
	ListCell   *cell;
	int			used = 0;

	if (statement->subplans != NIL || !find_scans(statement->planTree, &scans))
		return NULL;
	for (int i = 0; i < count; i++)
		foreach(cell, scans)
		{
			const IndexScan *scan = lfirst(cell);

			if (scan->indexid != RelationGetRelid(indexes[i]))
				continue;
			keys[i] = make_keys(scan, indexes[i]);
			used++;
		}
	return used == list_length(scans) ? keys : NULL;
}

IqdbPgFilter
iqdb_pg_keys_filter(IqdbPgKeys *keys, const IqdbPgColumns *columns)
{
	ExecIndexEvalRuntimeKeys(keys->of_search, keys->runtime_keys, keys->runtime_count);
	return iqdb_pg_filter(columns, keys->keys, keys->count);
}

bool
iqdb_pg_keys_hold(IqdbPgKeys *keys, TupleTableSlot *row)
{
	ResetExprContext(keys->of_rows);
	keys->of_rows->ecxt_scantuple = row;
	return ExecQual(keys->conditions, keys->of_rows);
}
