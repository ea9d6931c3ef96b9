/*
 * pg_cost.c - what an ordered scan costs, and which indexes the planner sees at all.
 *
 * The unit is the server's: cpu_operator_cost stands for one distance of a short vector inside a plan. A distance inside
 * an engine is far cheaper: no tuple, no detoast, vectors side by side. Fetching rows from the table is the server's own
 * part of the estimate.
 */
#include "postgres.h"

#include <math.h>

#include "access/genam.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "nodes/pathnodes.h"
#include "storage/bufmgr.h"
#include "storage/sinval.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/plancat.h"
#include "optimizer/tlist.h"
#include "utils/float.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/selfuncs.h"

#include "pg/pg_am.h"
#include "pg/pg_compat.h"
#include "pg/pg_open.h"
#include "pg/pg_options.h"
#include "pg/pg_planner.h"
#include "pg/pg_settings.h"

/* Cost of scoring one row inside an engine, per component, in units of cpu_operator_cost. */
#define SCORE_COST 0.0005
/* The share of it where a scan of all rows reads codes of a quarter of the size first. */
#define CODE_SHARE 0.3
/* Cost of handing one row on. */
#define EMIT_COST 0.1

/* Greedy descent through the layers, then the beam; neighbours seen before are not scored again. */
static double
rows_scored_by_graph(const IqdbIndexOptions *options, double rows)
{
	double		ef = iqdb_hnsw_ef_search > 0 ? iqdb_hnsw_ef_search : options->ef_search;
	double		layers = log(Max(rows, 2)) / log(Max(options->m, 2));

	return layers * options->m + ef * options->m * 0.6 + ef;
}

/* The centres, of which about half are looked at in two steps, and the rows of the lists that are opened. */
static double
rows_scored_by_lists(const IqdbIndexOptions *options, double rows)
{
	double		lists = iqdb_index_estimate_lists(options, (uint64) rows);
	double		probes = iqdb_ivf_probes > 0 ? iqdb_ivf_probes : options->probes > 0 ? options->probes : 8;

	return lists > 0 ? lists / 2 + rows * Min(probes / lists, 1) : rows;
}

/* Rows an engine scores before its first answer. */
static double
rows_scored(const IqdbIndexOptions *options, double rows)
{
	switch (options->engine)
	{
		case IQDB_ENGINE_HNSW:
			return Min(rows, rows_scored_by_graph(options, rows));
		case IQDB_ENGINE_IVF:
			return Min(rows, rows_scored_by_lists(options, rows));
		default:
			return rows;
	}
}

void
iqdb_am_costestimate(PlannerInfo *root, IndexPath *path, double loop_count, Cost *startup_cost, Cost *total_cost,
					 Selectivity *selectivity, double *correlation, double *pages)
{
	GenericCosts costs;
	IqdbIndexOptions options;
	Relation	index;
	/* of a partial index, the server's guess grows with the journal's pages */
	double		rows = Max(Min(path->indexinfo->tuples, path->indexinfo->rel->tuples), 1);
	double		score;
	double		random;

	/* without an order to deliver there is no use for the index */
	if (path->indexorderbys == NIL)
	{
		iqdb_pg_rule_out(path);
		*startup_cost = *total_cost = get_float8_infinity();
		*selectivity = 0;
		*correlation = 0;
		*pages = 0;
		return;
	}

	MemSet(&costs, 0, sizeof(costs));
	genericcostestimate(root, path, loop_count, &costs);
	index = index_open(path->indexinfo->indexoid, NoLock);
	options = iqdb_pg_index_options(index);
	index_close(index, NoLock);

	score = SCORE_COST * options.dimension * cpu_operator_cost;
	if (options.engine == IQDB_ENGINE_FLAT && options.quantization == IQDB_QUANTIZATION_SQ8)
		score *= CODE_SHARE;
	/* a graph visits rows in no order: each visit waits for memory */
	random = options.engine == IQDB_ENGINE_FLAT ? 0 : 0.5 * cpu_operator_cost;
	*startup_cost = 2 * cpu_operator_cost + rows_scored(&options, rows) * (score + random);
	*total_cost = *startup_cost + rows * (score + random + EMIT_COST * cpu_operator_cost);
	*selectivity = costs.indexSelectivity;
	*correlation = 0;
	*pages = 0;
}

/* ---- indexes that cannot be used now ----------------------------------------------------------------------------- */

static IqdbPgRelationHook previous_hook;

/* May the query want the order of this index? Its first sort key is then an ordering operator of the index's family. */
static bool
order_wanted(PlannerInfo *root, const IndexOptInfo *info)
{
	Node	   *key;

	if (root->parse->sortClause == NIL)
		return false;
	key = get_sortgroupclause_expr(linitial(root->parse->sortClause), root->parse->targetList);
	return IsA(key, OpExpr) && OidIsValid(get_op_opfamily_sortfamily(((OpExpr *) key)->opno, info->opfamily[0]));
}

/*
 * Is another process recovering the index, or has it no room? Then a plan without it answers at once, and exactly. An
 * index that nobody has open is opened here, for a query that may want its order: what comes of it decides the plan.
 */
static bool
unusable(PlannerInfo *root, const IndexOptInfo *info)
{
	Relation	index = index_open(info->indexoid, NoLock);
	bool		wanted = order_wanted(root, info);
	bool		answer = false;
	IqdbError	error = {0};
	IqdbPgArena *arena;

	if (RelationGetNumberOfBlocks(index) >= 2)
	{
		arena = iqdb_pg_open(index, NULL, wanted ? IQDB_PG_OPEN_NO_WAIT : IQDB_PG_OPEN_IF_READY, &error);
		if (arena != NULL)
			answer = pg_atomic_read_u32(&arena->shared->full) != 0 && iqdb_pg_is_behind(index, arena);
		else
			answer = wanted;
	}
	index_close(index, NoLock);
	return answer;
}

static void
leave_out_unusable(IQDB_PG_RELATION_HOOK_PARAMETERS)
{
	ListCell   *cell;

	if (previous_hook != NULL)
		previous_hook(IQDB_PG_RELATION_HOOK_ARGUMENTS);
	/* a parent of partitions is not scanned itself */
	if (root->simple_rte_array[rel->relid]->inh)
		return;
	foreach(cell, rel->indexlist)
	{
		IndexOptInfo *info = lfirst(cell);

		if ((void *) info->amcostestimate == (void *) iqdb_am_costestimate && !info->hypothetical &&
			unusable(root, info))
			rel->indexlist = foreach_delete_current(rel->indexlist, cell);
	}
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

void
iqdb_pg_install_planner_hook(void)
{
	previous_hook = iqdb_pg_relation_hook;
	iqdb_pg_relation_hook = leave_out_unusable;
}
