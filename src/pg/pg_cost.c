/*
 * pg_cost.c - what an ordered scan costs, and which ones are out of the question.
 *
 * The unit is the server's: cpu_operator_cost stands for one distance of a short vector inside a plan. A distance inside
 * an engine is far cheaper: no tuple, no detoast, vectors side by side. Fetching rows from the table is the server's own
 * part of the estimate.
 */
#include "postgres.h"

#include <float.h>
#include <math.h>

#include "access/genam.h"
#include "nodes/pathnodes.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "storage/bufmgr.h"
#include "utils/float.h"
#include "utils/rel.h"
#include "utils/selfuncs.h"

#include "pg/pg_am.h"
#include "pg/pg_compat.h"
#include "pg/pg_open.h"
#include "pg/pg_options.h"
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

/* ---- scans that are out of the question ---------------------------------------------------------------------------- */

/*
 * Is somebody recovering the index, did that fail a moment ago, or has it no room? Then a plan without it answers at once,
 * and exactly. An index that nobody has open is none of the planner's business to open: the plan is made with it, and the
 * executor sees to it.
 */
static bool
is_unusable(Relation index)
{
	IqdbError	error = {0};
	IqdbPgArena *arena;

	if (RelationGetNumberOfBlocks(index) < 2)
		return false;
	arena = iqdb_pg_open(index, NULL, IQDB_PG_OPEN_IF_READY, &error);
	if (arena == NULL)
		return iqdb_pg_is_recovering(index);
	return pg_atomic_read_u32(&arena->shared->full) != 0 && iqdb_pg_is_behind(index, arena);
}

/* No other path loses against one of this price. The startup cost is finite: the server subtracts it from the total. */
static void
rule_out(IndexPath *path, Cost *startup_cost, Cost *total_cost, Selectivity *selectivity, double *correlation,
		 double *pages)
{
	iqdb_pg_rule_out(path);
	*startup_cost = DBL_MAX / 2;
	*total_cost = get_float8_infinity();
	*selectivity = 0;
	*correlation = 0;
	*pages = 0;
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

	/* without an order to deliver there is no use for the index, and it can deliver one only (pg_paths.c) */
	if (list_length(path->indexorderbys) != 1)
	{
		rule_out(path, startup_cost, total_cost, selectivity, correlation, pages);
		return;
	}
	index = index_open(path->indexinfo->indexoid, NoLock);
	if (is_unusable(index))
	{
		index_close(index, NoLock);
		rule_out(path, startup_cost, total_cost, selectivity, correlation, pages);
		return;
	}
	options = iqdb_pg_index_options(index);
	index_close(index, NoLock);

	MemSet(&costs, 0, sizeof(costs));
	genericcostestimate(root, path, loop_count, &costs);

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
