/*
 * pg_node_explain.c - what EXPLAIN shows of a node "Vector Scan", in all its formats.
 *
 * The server shows the table, the filter and how many rows it took away, the bitmap's nodes, times and buffers. Beside these
 * stand here the index, conditions and order that it has, bounds of the distance, and what the searches did, in all
 * processes of a parallel query (pg_node_parallel.c).
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "nodes/makefuncs.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"

#include "pg/pg_am.h"
#include "pg/pg_compat.h"
#include "pg/pg_node.h"
#include "pg/pg_node_state.h"
#include IQDB_PG_EXPLAIN_FORMAT_HEADER
#include IQDB_PG_EXPLAIN_STATE_HEADER

/* The expressions as SQL, joined by a word. */
static char *
expressions_text(const List *exprs, const char *joined_by, const CustomScanState *state, List *ancestors, ExplainState *es)
{
	List	   *context = set_deparse_context_plan(es->deparse_cxt, state->ss.ps.plan, ancestors);
	StringInfoData text;
	ListCell   *cell;

	initStringInfo(&text);
	foreach(cell, exprs)
		appendStringInfo(&text, "%s%s", text.len > 0 ? joined_by : "",
						 deparse_expression(lfirst(cell), context, es->verbose, false));
	return text.data;
}

/* "< 0.5", or several of these. */
static char *
bounds_text(const IqdbPgNode *node, List *ancestors, ExplainState *es)
{
	StringInfoData text;
	ListCell   *number;
	ListCell   *kind;

	initStringInfo(&text);
	forboth(number, list_nth(node->plan->custom_exprs, IQDB_PG_NODE_BOUNDS),
			kind, list_nth(node->plan->custom_private, IQDB_PG_NODE_BOUND_KINDS))
		appendStringInfo(&text, "%s%s %s", text.len > 0 ? ", " : "",
						 lfirst_int(kind) == IQDB_PG_BOUND_BELOW ? "<" : "<=",
						 expressions_text(list_make1(lfirst(number)), "", &node->custom, ancestors, es));
	return text.data;
}

/*
 * How searches found their rows: "hnsw", "exact", "hnsw, then exact", "remembered", or several of these with how many there
 * were.
 */
static char *
ways_text(const IqdbPgStreamStats *stats, const char *engine)
{
	const char *ways[] = {
		[IQDB_SEARCH_OWN] = engine,
		[IQDB_SEARCH_EXACT] = "exact",
		[IQDB_SEARCH_OWN_EXACT] = psprintf("%s, then exact", engine)
	};
	uint64		searches = stats->searches - stats->tables_read;
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < lengthof(ways); i++)
	{
		if (stats->ways[i] == 0)
			continue;
		appendStringInfo(&text, "%s%s", text.len > 0 ? "; " : "", ways[i]);
		if (stats->ways[i] < searches)
			appendStringInfo(&text, ": " UINT64_FORMAT, stats->ways[i]);
	}
	if (stats->remembered > 0)
		appendStringInfo(&text, "%sremembered", text.len > 0 ? "; " : "");
	if (stats->remembered > 0 && stats->remembered < searches)
		appendStringInfo(&text, ": " UINT64_FORMAT, stats->remembered);
	return text.data;
}

static void
explain_counts(const IqdbPgStreamStats *stats, const char *engine, ExplainState *es)
{
	ExplainPropertyUInteger("Searches", NULL, stats->searches, es);
	if (stats->searches > stats->tables_read)
		ExplainPropertyText("Strategy", ways_text(stats, engine), es);
	ExplainPropertyUInteger("Rows Scored", NULL, stats->scored, es);
	ExplainPropertyUInteger("Rows Re-ranked", NULL, stats->reranked, es);
	ExplainPropertyUInteger("Rows Filtered", NULL, stats->filtered, es);
	if (stats->completed > 0 || es->format != EXPLAIN_FORMAT_TEXT)
		ExplainPropertyUInteger("Searches Completed", NULL, stats->completed, es);
	if (stats->tables_read > 0 || es->format != EXPLAIN_FORMAT_TEXT)
		ExplainPropertyUInteger("Tables Read", NULL, stats->tables_read, es);
}

void
iqdb_pg_node_explain(CustomScanState *state, List *ancestors, ExplainState *es)
{
	const IqdbPgNode *node = (const IqdbPgNode *) state;
	const List *exprs = node->plan->custom_exprs;
	const List *keys = list_nth(exprs, IQDB_PG_NODE_KEYS_SHOWN);
	const List *order = list_nth(exprs, IQDB_PG_NODE_ORDER_SHOWN);
	Oid			index = linitial_oid(list_nth(node->plan->custom_private, IQDB_PG_NODE_INDEX));
	IqdbPgStreamStats stats;

	ExplainPropertyText("Index Name", get_rel_name(index), es);
	if (keys != NIL)
		ExplainPropertyText("Index Cond", expressions_text(keys, " AND ", state, ancestors, es), es);
	ExplainPropertyText("Order By", expressions_text(order, ", ", state, ancestors, es), es);
	if (list_nth(exprs, IQDB_PG_NODE_BOUNDS) != NIL)
		ExplainPropertyText("Distance Bound", bounds_text(node, ancestors, es), es);
	if (floatVal(list_nth(node->plan->custom_private, IQDB_PG_NODE_PATIENCE)) > 0)
		ExplainPropertyText("Bitmap", "at need", es);
	if (!es->analyze)
		return;
	stats = iqdb_pg_node_stats(node);
	explain_counts(&stats, iqdb_engine_get(iqdb_pg_engine_kind(node->index))->name, es);
}
