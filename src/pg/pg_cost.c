/*
 * pg_cost.c - what an ordered scan costs, and which ones are out of the question; what a distance costs.
 *
 * Work of an engine is priced by time, measured on tables and indexes that are in memory (bench/README.md, "Costs"). What the
 * server calls one unit takes it between 0.3 microseconds, where it reads pages that are there, and 2 microseconds, where it
 * looks at many small rows; MICROSECOND lies between. Fetching rows from the table is the server's own part of the estimate.
 *
 * What a stream costs is no straight line. An engine has its first rows by one search, and then searches anew, each time
 * for more, or passes over all rows. The planner draws a line from the first row to the last and takes a share of it; so the
 * line is laid through the number of rows that the query is likely to want.
 */
#include "postgres.h"

#include <float.h>
#include <math.h>

#include "access/genam.h"
#include "access/heaptoast.h"
#include "access/htup_details.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_type.h"
#include "nodes/pathnodes.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "storage/bufmgr.h"
#include "utils/float.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/selfuncs.h"
#include "utils/spccache.h"
#include "utils/syscache.h"

#include "pg/pg_am.h"
#include "pg/pg_compat.h"
#include "pg/pg_cost.h"
#include "pg/pg_follow.h"
#include "pg/pg_open.h"
#include "pg/pg_options.h"
#include "pg/pg_type.h"

/* What is done in a microsecond, in the server's units. */
#define MICROSECOND (240 * cpu_operator_cost)

/* Microseconds to score a row, one of many that are read in order, and more for each byte of its vector. */
#define SCORE_IN_A_ROW 0.004
#define BYTE_IN_A_ROW 0.00008
/* The same at a place of its own; for each byte of its code; and where the whole is too large for one cache, or all. */
#define SCORE_ALONE 0.035
#define BYTE_ALONE 0.00006
#define MISS_NEAR 0.05
#define MISS_FAR 0.1
#define NEAR_CACHE (2.0 * 1024 * 1024)
#define FAR_CACHE (64.0 * 1024 * 1024)
/* What a row has beside its code that is read with it, in bytes. */
#define BESIDE_CODE 200
/* To rank a row by its vector, and more for each byte. */
#define RANK 0.05
#define BYTE_RANKED 0.0001
/* To hand out a row, where the server's own price of fetching it does not contain it. */
#define HAND_OUT 0.7
/* To ask a row what columns it has; to find one by its number; to score one that matches, and more for each byte of it. */
#define ASK_COLUMNS 0.0005
#define ASK_NUMBER 0.008
#define FIND_NUMBER 0.04
#define SCORE_MATCH 0.02
#define BYTE_MATCHED 0.0001
/* What a search takes, and what a pass, however few rows there are. */
#define START 5.0
#define PASS 1.0
/* To put a row of a bitmap into the set of rows that may be answers; and more for each page of the table that it names. */
#define COLLECT 0.08
#define COLLECT_PAGE 0.15

static double
vector_bytes(const IqdbIndexOptions *options)
{
	return iqdb_element_bytes(iqdb_element(options->element), options->dimension);
}

static double
code_bytes(const IqdbIndexOptions *options)
{
	switch (options->quantization)
	{
		case IQDB_QUANTIZATION_SQ8:
			return options->dimension;
		case IQDB_QUANTIZATION_PQ:
		case IQDB_QUANTIZATION_BQ:
			return options->dimension / 8.0;
		default:
			return vector_bytes(options);
	}
}

/* The share of so many bytes, each as likely to be read next as any other, that a cache does not hold. */
static double
missed(double bytes, double cache)
{
	return Max(1 - cache / Max(bytes, 1), 0);
}

/* Pages that must be read for one row's vector. */
static double
pages_per_row(const IqdbIndexOptions *options, double rows)
{
	double		pages = rows * vector_bytes(options) / BLCKSZ;

	if (!iqdb_index_options_on_disk(options))
		return 0;
	return missed(pages, effective_cache_size);
}

/* The price of what an engine says that it will do. */
static Cost
work_cost(const IqdbIndexOptions *options, const IqdbSearchWork *work, double rows)
{
	double		bytes = vector_bytes(options);
	double		code = code_bytes(options);
	double		all = rows * (code + BESIDE_CODE);
	double		in_a_row = SCORE_IN_A_ROW + BYTE_IN_A_ROW * bytes;
	double		waited = MISS_NEAR * missed(all, NEAR_CACHE) + MISS_FAR * missed(all, FAR_CACHE);
	double		alone = SCORE_ALONE + BYTE_ALONE * code + waited;
	double		ranked = RANK + BYTE_RANKED * bytes;
	double		read = pages_per_row(options, rows);

	return (work->in_a_row * in_a_row + work->alone * alone + work->ranked * ranked) * MICROSECOND +
		work->ranked * read * random_page_cost + (read > 0 ? work->streamed * bytes / BLCKSZ * seq_page_cost : 0);
}

/* ---- streams ------------------------------------------------------------------------------------------------------- */

/* An exact pass keeps so many rows at first, and each further one so many times those of the one before. */
#define PASS_ROWS 64
#define PASS_GROWTH 4

/*
 * Where it is not certain how many rows are wanted, one query in six needs more of them than the first search is good for, and
 * goes on for as many again. A graph's own price of going on, row by row, is nearly twice what it takes for so many at once.
 */
#define SEARCH_AGAIN 0.1

/* The first search is good for so many rows, unless it is told to be good for more. */
#define ROWS_AT_FIRST 20

/* A stream of an index, as far as it is known. */
typedef struct Stream
{
	const IqdbIndexOptions *options;
	const IqdbSearchParams *params;
	double		rows;			/* of the index */
	double		matches;		/* of these, those that the engine may hand out, because it is told which do */
	bool		by_number;		/* it is told so by a bitmap, else by columns of the index */
} Stream;

/*
 * So many passes over all rows that match are needed for so many rows. A pass that is good for more than are likely to be
 * wanted is made all the same, by half of the queries.
 */
static double
passes(double wanted)
{
	return 1 + Max(0.5 + log(Max(wanted, 1) / PASS_ROWS) / log(PASS_GROWTH), 0);
}

/* To tell which rows match (engine/strategy.c). */
static double
ask_time(const Stream *stream)
{
	if (!stream->by_number)
		return stream->rows * ASK_COLUMNS;
	return Min(stream->matches * FIND_NUMBER, stream->rows * ASK_NUMBER);
}

/* One pass: over all rows, or, where it is told which match, over these. */
static Cost
pass_cost(const Stream *stream)
{
	IqdbSearchWork all = {.in_a_row = stream->rows, .streamed = stream->rows};
	double		score = SCORE_MATCH + BYTE_MATCHED * vector_bytes(stream->options);

	if (stream->matches >= stream->rows)
		return work_cost(stream->options, &all, stream->rows);
	return (PASS + ask_time(stream) + stream->matches * score) * MICROSECOND +
		stream->matches * pages_per_row(stream->options, stream->rows) * random_page_cost;
}

/* Until the engine has its first rows; *further_out gets what each one beyond ROWS_AT_FIRST takes. */
static Cost
search_cost(const Stream *stream, Cost *further_out)
{
	double		share = Min(stream->matches / stream->rows, 1);
	IqdbSearchWork first;
	IqdbSearchWork further;

	iqdb_engine_get(stream->options->engine)->search_work(stream->options, stream->params, stream->rows, &first, &further);
	*further_out = work_cost(stream->options, &further, stream->rows) / share;
	return work_cost(stream->options, &first, stream->rows);
}

/*
 * What is before the first row, and what so many rows take in all. Where an engine is told which rows match, it weighs its own
 * search against a pass over these; where not, a search that goes on for long ends with passes, so it has cost itself, too.
 */
static Cost
stream_cost(const Stream *stream, double wanted, Cost *first_out)
{
	double		share = Min(stream->matches / stream->rows, 1);
	double		at_first = Max(ROWS_AT_FIRST, stream->params->expected) * share;
	Cost		further;
	Cost		search = search_cost(stream, &further);
	Cost		again = stream->params->expected > wanted ? SEARCH_AGAIN * stream->params->expected * further : 0;
	Cost		searched = search + Max(wanted - at_first, 0) * further + again;
	Cost		pass = pass_cost(stream);
	Cost		passed = pass * passes(wanted);

	if (share == 1 && !iqdb_engine_get(stream->options->engine)->is_exact)
		passed += search;
	*first_out = (passed < searched ? Min(pass, passed) : search) + START * MICROSECOND;
	return Min(searched, passed) + (START + wanted * HAND_OUT) * MICROSECOND;
}

/* The line through what is likely to be wanted, as far as all rows that there are. */
static Cost
line_to(Cost first, Cost wanted_cost, double wanted, double rows)
{
	return first + (wanted_cost - first) / Max(wanted, 1) * rows;
}

/* ---- distances of rows of a table ---------------------------------------------------------------------------------- */

/* To fetch a value from where it lies outside of its row, and more for each of its pieces, in the server's units. */
#define FETCH_VALUE (280 * cpu_operator_cost)
#define FETCH_PIECE (200 * cpu_operator_cost)

/* Bytes of a vector of this column's type and dimension; 0 if it is of no such type, or has no dimension. */
static double
column_bytes(const Var *column)
{
	int32		dimension = column->vartypmod;
	const IqdbPgType *type = iqdb_pg_type_called(getBaseTypeAndTypmod(column->vartype, &dimension));

	if (type == NULL || dimension <= 0)
		return 0;
	return iqdb_element_bytes(iqdb_element(type->element), (size_t) dimension);
}

/* Where nobody has counted, is the value likely to be moved out of its row? */
static bool
is_moved_out(Oid table, AttrNumber number, double bytes)
{
	HeapTuple	tuple = SearchSysCache2(ATTNUM, ObjectIdGetDatum(table), Int16GetDatum(number));
	char		storage;

	if (!HeapTupleIsValid(tuple))
		return false;
	storage = ((Form_pg_attribute) GETSTRUCT(tuple))->attstorage;
	ReleaseSysCache(tuple);
	return bytes > TOAST_TUPLE_TARGET && storage != TYPSTORAGE_PLAIN && storage != TYPSTORAGE_MAIN;
}

Cost
iqdb_pg_cost_value(const Var *column, Oid table)
{
	double		bytes = column_bytes(column);
	int32		width = get_attavgwidth(table, column->varattno);

	if (bytes == 0 || column->varattno <= 0)
		return 0;
	/* of a value that is elsewhere, ANALYZE counts the pointer to it */
	if (width > 0 ? width >= bytes / 2 : !is_moved_out(table, column->varattno, bytes))
		return 0;
	return FETCH_VALUE + FETCH_PIECE * ceil(bytes / TOAST_MAX_CHUNK_SIZE);
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

/* A join may drop rows: where there is one, the line is laid through so many rows for each that is wanted above it. */
#define ROWS_PER_JOINED_ROW 10

/* How many rows the query is likely to take from the index, of so many that match what the index is told. */
static double
wanted_rows(PlannerInfo *root, const IndexPath *path, double matches)
{
	const RelOptInfo *rel = path->indexinfo->rel;
	double		passing = path->path.param_info != NULL ? path->path.param_info->ppi_rows : rel->rows;
	double		limit = root->limit_tuples;

	if (limit <= 0)
		return matches;
	if (bms_membership(root->all_baserels) != BMS_SINGLETON)
		limit *= ROWS_PER_JOINED_ROW;
	return Min(matches, limit * Max(matches / Max(passing, 1), 1));
}

/* Are rows without a vector wanted, which the index has none of? */
static bool
wants_no_vector(const IndexPath *path)
{
	ListCell   *cell;

	foreach(cell, path->indexclauses)
	{
		const IndexClause *clause = lfirst(cell);
		const NullTest *test = (const NullTest *) clause->rinfo->clause;

		if (clause->indexcol == 0 && IsA(test, NullTest) && test->nulltesttype == IS_NULL)
			return true;
	}
	return false;
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
	Stream		stream = {&options, &params, rows, rows, false};
	double		wanted;
	Cost		wanted_cost;

	/* without an order to deliver there is no use for the index, and it can deliver one only (pg_paths.c) */
	if (list_length(path->indexorderbys) != 1 || wants_no_vector(path))
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

	stream.matches = Max(rows * costs.indexSelectivity, 1);
	wanted = wanted_rows(root, path, stream.matches);
	wanted_cost = stream_cost(&stream, wanted, startup_cost);
	*total_cost = line_to(*startup_cost, wanted_cost, wanted, stream.matches);
	*selectivity = costs.indexSelectivity;
	*correlation = 0;
	*pages = 0;
}

/* ---- the own node -------------------------------------------------------------------------------------------------- */

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
	Stream		stream = {&options, &params, rows, Min(Max(work->matches, 1), rows), work->filtered};
	double		wanted = work->wanted > 0 ? work->wanted : work->within;
	Cost		first;
	Cost		wanted_cost;
	Cost		collect = 0;

	(void) is_unusable(index, &params);
	index_close(index, NoLock);
	params.expected = (size_t) work->expected;
	if (work->exhaustive)
	{
		first = pass_cost(&stream);
		wanted_cost = first * passes(work->within) + work->within * HAND_OUT * MICROSECOND;
	}
	else
	{
		wanted_cost = stream_cost(&stream, wanted, &first);
		/* what a LIMIT wants beyond what lies within the bounds is looked for by a pass in the end */
		if (work->wanted >= work->within && work->within < work->matches)
			wanted_cost += pass_cost(&stream);
	}
	if (work->filtered)
		collect = (work->matches * COLLECT + Min(work->matches, rel->pages) * COLLECT_PAGE) * MICROSECOND;
	path->startup_cost = work->filter_cost + collect + first + rel->baserestrictcost.startup + path->pathtarget->cost.startup;
	path->total_cost = path->startup_cost + line_to(first, wanted_cost, wanted, work->within) - first +
		fetch_cost(root, order, work->within) + path->rows * path->pathtarget->cost.per_tuple;
}
