/*
 * pg_cost.c - what an ordered scan costs, and which ones are out of the question.
 *
 * Work of an engine is priced by time, measured on tables and indexes that are in memory (bench/README.md, "Costs"): of what
 * the server calls one unit, a sequential scan does 0.4 in a microsecond there. Fetching rows from the table is the server's
 * own part of the estimate.
 *
 * The first answer costs one search. Each further row costs less than that, but far more than scoring one row: an engine
 * searches anew, each time for more, until it has had all. The planner takes for granted that costs grow in proportion to
 * the rows, so they are right up to some thousand rows, and too high for whoever reads more: he does better by the table.
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
#include "utils/spccache.h"

#include "pg/pg_am.h"
#include "pg/pg_compat.h"
#include "pg/pg_cost.h"
#include "pg/pg_follow.h"
#include "pg/pg_open.h"
#include "pg/pg_options.h"

/* What an engine does in a microsecond, in the server's units. */
#define MICROSECOND (160 * cpu_operator_cost)

/* Microseconds to score a row: one of many side by side, and one at a place of its own, which waits for memory. */
#define SCORE_IN_A_ROW 0.012
#define SCORE_ALONE 0.1
/* More for each byte of its vector. */
#define BYTE_IN_A_ROW 0.000075
#define BYTE_ALONE 0.000325

static double
vector_bytes(const IqdbIndexOptions *options)
{
	return iqdb_element_bytes(iqdb_element(options->element), options->dimension);
}

/* Pages that must be read for one row's vector. */
static double
pages_per_row(const IqdbIndexOptions *options, double rows)
{
	double		pages = rows * vector_bytes(options) / BLCKSZ;

	if (!iqdb_index_options_on_disk(options))
		return 0;
	return Max(1 - effective_cache_size / Max(pages, 1), 0);
}

/* The price of what an engine says that it will do. */
static Cost
work_cost(const IqdbIndexOptions *options, const IqdbSearchWork *work, double rows)
{
	double		bytes = vector_bytes(options);
	double		alone = (SCORE_ALONE + BYTE_ALONE * bytes) * MICROSECOND;
	double		in_a_row = (SCORE_IN_A_ROW + BYTE_IN_A_ROW * bytes) * MICROSECOND;
	double		read = pages_per_row(options, rows);

	return work->in_a_row * in_a_row + work->alone * alone + work->ranked * read * random_page_cost +
		(read > 0 ? work->streamed * bytes / BLCKSZ * seq_page_cost : 0);
}

/* ---- scans that are out of the question ---------------------------------------------------------------------------- */

/*
 * Is somebody recovering the index, did that fail a moment ago, or has it no room? Then a plan without it answers at once,
 * and exactly. An index that nobody has open is none of the planner's business to open: the plan is made with it, and the
 * executor sees to it. *params gets the probes that were measured if none are named.
 */
static bool
is_unusable(Relation index, IqdbSearchParams *params)
{
	IqdbError	error = {0};
	IqdbPgArena *arena;

	if (RelationGetNumberOfBlocks(index) < 2)
		return false;
	arena = iqdb_pg_open(index, NULL, IQDB_PG_OPEN_IF_READY, &error);
	if (arena == NULL)
		return iqdb_pg_is_recovering(index);
	if (params->probes == 0)
	{
		IqdbIndexStats stats;

		iqdb_index_stats(&arena->index, &stats);
		params->probes = stats.engine.probes;
	}
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
	IqdbSearchParams params;
	Relation	index;
	/* of a partial index, the server's guess grows with the journal's pages */
	double		rows = Max(Min(path->indexinfo->tuples, path->indexinfo->rel->tuples), 1);
	IqdbSearchWork first;
	IqdbSearchWork further;

	/* without an order to deliver there is no use for the index, and it can deliver one only (pg_paths.c) */
	if (list_length(path->indexorderbys) != 1)
	{
		rule_out(path, startup_cost, total_cost, selectivity, correlation, pages);
		return;
	}
	index = index_open(path->indexinfo->indexoid, NoLock);
	params = iqdb_pg_search_params(index);
	if (is_unusable(index, &params))
	{
		index_close(index, NoLock);
		rule_out(path, startup_cost, total_cost, selectivity, correlation, pages);
		return;
	}
	options = iqdb_pg_index_options(index);
	index_close(index, NoLock);

	MemSet(&costs, 0, sizeof(costs));
	genericcostestimate(root, path, loop_count, &costs);

	iqdb_engine_get(options.engine)->search_work(&options, &params, rows, &first, &further);
	*startup_cost = work_cost(&options, &first, rows);
	*total_cost = *startup_cost + rows * work_cost(&options, &further, rows);
	*selectivity = costs.indexSelectivity;
	*correlation = 0;
	*pages = 0;
}

/* ---- the own node -------------------------------------------------------------------------------------------------- */

/* An exact pass keeps so many rows at first, and each further one so many times those of the one before. */
#define PASS_ROWS 64
#define PASS_GROWTH 4

/* The engine's part: until it has its first rows, and for all that is within the bounds. */
typedef struct EngineCost
{
	Cost		first;
	Cost		all;
} EngineCost;

/* Passes over the rows that match: one by one where a bitmap names them, else over all rows. */
static EngineCost
passes_cost(const IqdbIndexOptions *options, const IqdbPgNodeWork *work, double rows)
{
	IqdbSearchWork one = {.in_a_row = rows, .streamed = rows};
	EngineCost	cost;

	if (work->filtered)
		one = (IqdbSearchWork){.alone = work->matches, .ranked = work->matches};
	cost.first = work_cost(options, &one, rows);
	cost.all = cost.first * (1 + log(Max(work->within / PASS_ROWS, 1)) / log(PASS_GROWTH));
	return cost;
}

/*
 * The engine's own search. Of what it finds, a bitmap lets a share pass, so it goes on for more; and what a LIMIT wants beyond
 * what lies within the bounds is looked for by a pass in the end.
 */
static EngineCost
search_cost(const IqdbIndexOptions *options, const IqdbSearchParams *params, const IqdbPgNodeWork *work, double rows)
{
	double		share = Min(work->matches / rows, 1);
	IqdbSearchWork first;
	IqdbSearchWork further;
	EngineCost	cost;

	iqdb_engine_get(options->engine)->search_work(options, params, rows, &first, &further);
	cost.first = work_cost(options, &first, rows) / (work->filtered ? share : 1);
	cost.all = cost.first + work->within * work_cost(options, &further, rows) / (work->filtered ? share : 1);
	if (work->wanted >= work->within && work->within < work->matches)
		cost.all += passes_cost(options, work, rows).first;
	return cost;
}

/* Each row that the stream has is fetched from the table, and asked the quals. */
static Cost
fetch_cost(PlannerInfo *root, const IndexPath *order, double fetched)
{
	const RelOptInfo *rel = order->path.parent;
	double		random_cost;
	double		pages = index_pages_fetched(fetched, rel->pages, order->indexinfo->pages, root);

	get_tablespace_page_costs(rel->reltablespace, &random_cost, NULL);
	return pages * random_cost + fetched * (cpu_tuple_cost + rel->baserestrictcost.per_tuple);
}

void
iqdb_pg_cost_node(PlannerInfo *root, const IndexPath *order, const IqdbPgNodeWork *work, Path *path)
{
	const RelOptInfo *rel = order->path.parent;
	Relation	index = index_open(order->indexinfo->indexoid, NoLock);
	IqdbIndexOptions options = iqdb_pg_index_options(index);
	IqdbSearchParams params = iqdb_pg_search_params(index);
	double		rows = Max(Min(order->indexinfo->tuples, rel->tuples), 1);
	EngineCost	engine = passes_cost(&options, work, rows);

	(void) is_unusable(index, &params);
	index_close(index, NoLock);
	params.expected = (size_t) work->wanted;
	if (!work->exhaustive)
	{
		EngineCost	search = search_cost(&options, &params, work, rows);

		if (!work->filtered || search.first < engine.first)
			engine = search;
	}
	path->startup_cost = work->filter_cost + engine.first + rel->baserestrictcost.startup + path->pathtarget->cost.startup;
	path->total_cost = path->startup_cost + engine.all - engine.first + fetch_cost(root, order, work->within) +
		path->rows * path->pathtarget->cost.per_tuple;
}
