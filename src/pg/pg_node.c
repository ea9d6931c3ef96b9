/*
 * pg_node.c - the node "Vector Scan" in the executor.
 *
 * The node drives an index scan of ours through the server's own interface, so that statistics, predicate locks, the walk along
 * HOT chains and conditions on index columns are what they are with an Index Scan; and tells it beforehand what else it knows
 * (pg_scan.h). The rows it gets are asked all quals of the table.
 *
 * Why a bitmap loses no row. The bitmap is read after the statement's snapshot was taken, as the index is. A row that the
 * snapshot sees was committed before, and its entries in all indexes of the table were written before that: in each of them
 * one for the root of its HOT chain, with the same TID. For a chain has a new root, with new entries everywhere, as soon as a
 * column changes that some index looks at (or the index is one that sums up whole pages, as BRIN does, and then its summary is
 * widened in place). So whatever matches is named by the bitmap and known to our index. What either has beyond that (rows
 * that came since, dead ones, other rows of a page that is named as a whole, another row of the chain) is left to the
 * snapshot and to the quals. VACUUM may remove entries while the set is used, and give their TIDs to rows that the snapshot
 * cannot see.
 *
 * The set is made when the first row is wanted, and kept over rescans as long as no parameter of the bitmap has changed.
 *
 * Patience. Where many rows match, the search is quicker without the bitmap, as long as matching rows are spread among all
 * others: that is what the planner has to assume. If they lie far from the query, nearly all rows that are near it fail the
 * quals. So a plan may say how many of them may fail. When there are more, the bitmap is read all the same, and a new search
 * begins among the rows that it names, which leaves out those that were returned before. So a query takes about twice the time
 * of the better way at most.
 *
 * In a parallel query the node runs whole in each process that has it, below a join for instance: rows are not divided.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relscan.h"
#include "access/tableam.h"
#include "executor/executor.h"
#include "executor/nodeIndexscan.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/tidbitmap.h"
#include "utils/float.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "pg/pg_bridge.h"
#include "pg/pg_compat.h"
#include "pg/pg_node.h"
#include "pg/pg_node_state.h"
#include "pg/pg_row.h"

/* ---- the start of a search ----------------------------------------------------------------------------------------- */

/* The smallest of the bounds; false: one of them is NULL, and no row is within. */
static bool
evaluate_bounds(IqdbPgNode *node, IqdbPgStreamWish *wish)
{
	const List *kinds = list_nth(node->plan->custom_private, IQDB_PG_NODE_BOUND_KINDS);
	ListCell   *cell;
	ListCell   *kind;

	forboth(cell, node->bounds, kind, kinds)
	{
		bool		isnull;
		double		number = DatumGetFloat8(ExecEvalExprSwitchContext(lfirst(cell), node->context, &isnull));
		bool		below = lfirst_int(kind) == IQDB_PG_BOUND_BELOW;

		if (isnull)
			return false;
		if (wish->bounded && (float8_gt(number, wish->bound) || (float8_eq(number, wish->bound) && !below)))
			continue;
		wish->bounded = true;
		wish->bound = number;
		wish->below = below;
	}
	return true;
}

/* How many rows of the stream the LIMIT will probably take; 0: it is not known. What the server refuses is its business. */
static size_t
expected_rows(IqdbPgNode *node)
{
	double		ratio = floatVal(list_nth(node->plan->custom_private, IQDB_PG_NODE_RATIO));
	double		rows = 0;
	ListCell   *cell;

	foreach(cell, node->limit)
	{
		bool		isnull;
		int64		count = DatumGetInt64(ExecEvalExprSwitchContext(lfirst(cell), node->context, &isnull));

		/* LIMIT NULL is none; it stands first */
		if (isnull && cell == list_head(node->limit))
			return 0;
		rows += isnull || count < 0 ? 0 : (double) count;
	}
	return (size_t) Min(ceil(iqdb_pg_rows_at_first(rows, ratio)), (double) UINT32_MAX);
}

static void
add_page(IqdbPgNode *node, IqdbIdSet *set, BlockNumber block, const OffsetNumber *offsets, int count)
{
	IqdbStatus	status = IQDB_OK;
	IqdbError	error = {0};

	if (count < 0)
		status = iqdb_id_set_add_group(set, block, &error);
	for (int i = 0; i < count && status == IQDB_OK; i++)
	{
		ItemPointerData tid;

		ItemPointerSet(&tid, block, offsets[i]);
		status = iqdb_id_set_add(set, iqdb_pg_tid_number(&tid), &error);
	}
	iqdb_pg_check(status, &error, node->index);
}

/* The numbers of the rows that the bitmap names. A page that it names as a whole is a group of them (pg_row.h). */
static IqdbIdSet *
read_bitmap(IqdbPgNode *node, PlanState *child)
{
	TIDBitmap  *bitmap = (TIDBitmap *) MultiExecProcNode(child);
	IqdbIdSet  *set = MemoryContextAlloc((MemoryContext) node->set_host.allocator.arg, sizeof(IqdbIdSet));
	IqdbPgBitmapIterator *iterator;
	BlockNumber block;
	OffsetNumber offsets[MaxHeapTuplesPerPage];
	int			count;

	if (bitmap == NULL || !IsA(bitmap, TIDBitmap))
		elog(ERROR, "unrecognized result from the plan of a bitmap");
	iqdb_id_set_init(set, &node->set_host.allocator);
	iterator = iqdb_pg_bitmap_begin(bitmap);
	while (iqdb_pg_bitmap_next(iterator, &block, offsets, &count))
	{
		CHECK_FOR_INTERRUPTS();
		add_page(node, set, block, offsets, count);
	}
	iqdb_pg_bitmap_end(iterator);
	tbm_free(bitmap);
	return set;
}

/* Does the search begin without the bitmap? */
static bool
is_patient(const IqdbPgNode *node)
{
	return node->patience > 0 && node->set == NULL;
}

/* Evaluates what the search depends on, and starts it; false: no row can pass. */
static bool
start(IqdbPgNode *node)
{
	IqdbPgStreamWish wish = {0};

	node->started = true;
	ResetExprContext(node->context);
	if (!evaluate_bounds(node, &wish))
		return false;
	wish.expected = expected_rows(node);
	wish.exhaustive = wish.bounded && wish.expected == 0;
	if (node->set == NULL && node->custom.custom_ps != NIL && !is_patient(node))
		node->set = read_bitmap(node, linitial(node->custom.custom_ps));
	wish.ids = node->set;
	if (node->scan == NULL)
		node->scan = iqdb_pg_index_beginscan(node->custom.ss.ss_currentRelation, node->index,
											 node->custom.ss.ps.state->es_snapshot, node->key_count, node->order_count);
	ExecIndexEvalRuntimeKeys(node->context, node->runtime_keys, node->runtime_key_count);
	ExecIndexEvalRuntimeKeys(node->context, node->runtime_orders, node->runtime_order_count);
	index_rescan(node->scan, node->keys, node->key_count, node->orders, node->order_count);
	iqdb_pg_scan_wish(node->scan, &wish);
	return true;
}

/* ---- rows ---------------------------------------------------------------------------------------------------------- */

/* Has this row been returned by the search without the bitmap? */
static bool
was_returned(const IqdbPgNode *node, const TupleTableSlot *slot)
{
	return node->returned != NULL && node->set != NULL &&
		   iqdb_id_set_contains(node->returned, iqdb_pg_tid_number((ItemPointer) &slot->tts_tid));
}

/* Notes that the row has passed; a search with the bitmap would return it again. */
static void
note_returned(IqdbPgNode *node, const TupleTableSlot *slot)
{
	IqdbError	error = {0};

	if (node->returned == NULL)
	{
		node->returned = MemoryContextAlloc((MemoryContext) node->returned_host.allocator.arg, sizeof(IqdbIdSet));
		iqdb_id_set_init(node->returned, &node->returned_host.allocator);
	}
	iqdb_pg_check(iqdb_id_set_add(node->returned, iqdb_pg_tid_number((ItemPointer) &slot->tts_tid), &error), &error,
				  node->index);
}

static TupleTableSlot *
next_row(ScanState *state)
{
	IqdbPgNode *node = (IqdbPgNode *) state;
	TupleTableSlot *slot = state->ss_ScanTupleSlot;

	if (is_patient(node) && node->failed > node->patience)
	{
		node->set = read_bitmap(node, linitial(node->custom.custom_ps));
		node->started = false;
	}
	if (!node->started)
		node->ended = !start(node);
	do
	{
		if (node->ended || !index_getnext_slot(node->scan, ForwardScanDirection, slot))
		{
			node->ended = true;
			return ExecClearTuple(slot);
		}
	} while (was_returned(node, slot));
	/* until exec_node() says otherwise */
	node->failed++;
	return slot;
}

/* A row that was locked in another version is asked all quals by the server: nothing is left to ask here. */
static bool
recheck_row(ScanState *state, TupleTableSlot *slot)
{
	return true;
}

static TupleTableSlot *
exec_node(CustomScanState *state)
{
	IqdbPgNode *node = (IqdbPgNode *) state;
	TupleTableSlot *row = ExecScan(&state->ss, next_row, recheck_row);

	if (is_patient(node) && !TupIsNull(row))
	{
		node->failed--;
		note_returned(node, state->ss.ss_ScanTupleSlot);
	}
	return row;
}

/* ---- life ---------------------------------------------------------------------------------------------------------- */

/*
 * The server has prepared for rows that are arrays of values. Ours are tuples of the table, which are taken apart as far as
 * an expression needs, and have system columns; so quals and targets are prepared once more.
 */
static void
use_table_rows(CustomScanState *state, EState *estate)
{
	Relation	table = state->ss.ss_currentRelation;
	const Scan *plan = (const Scan *) state->ss.ps.plan;

	state->ss.ps.subPlan = NIL;
	iqdb_pg_init_scan_slot(estate, &state->ss, RelationGetDescr(table), table_slot_callbacks(table));
	ExecAssignScanProjectionInfoWithVarno(&state->ss, (int) plan->scanrelid);
	state->ss.ps.qual = ExecInitQual(plan->plan.qual, &state->ss.ps);
}

/* A context for what a search depends on, beside the one for rows: it is reset with each search, not with each row. */
static void
make_context(IqdbPgNode *node, EState *estate)
{
	ExprContext *of_rows = node->custom.ss.ps.ps_ExprContext;

	ExecAssignExprContext(estate, &node->custom.ss.ps);
	node->context = node->custom.ss.ps.ps_ExprContext;
	node->custom.ss.ps.ps_ExprContext = of_rows;
}

static void
begin_node(CustomScanState *state, EState *estate, int flags)
{
	IqdbPgNode *node = (IqdbPgNode *) state;
	const List *exprs = node->plan->custom_exprs;
	PlanState  *self = &state->ss.ps;
	ListCell   *cell;

	use_table_rows(state, estate);
	foreach(cell, node->plan->custom_plans)
		state->custom_ps = lappend(state->custom_ps, ExecInitNode(lfirst(cell), estate, flags & EXEC_FLAG_EXPLAIN_ONLY));
	if ((flags & EXEC_FLAG_EXPLAIN_ONLY) != 0)
		return;
	node->index = index_open(linitial_oid(list_nth(node->plan->custom_private, IQDB_PG_NODE_INDEX)),
							 exec_rt_fetch(node->plan->scan.scanrelid, estate)->rellockmode);
	make_context(node, estate);
	iqdb_pg_node_watch(node, estate);
	node->set_host = iqdb_pg_host(AllocSetContextCreate(estate->es_query_cxt, "iqdb set of rows", ALLOCSET_DEFAULT_SIZES));
	node->returned_host = iqdb_pg_host(AllocSetContextCreate(estate->es_query_cxt, "iqdb rows returned",
															 ALLOCSET_SMALL_SIZES));
	node->patience = floatVal(list_nth(node->plan->custom_private, IQDB_PG_NODE_PATIENCE));
	ExecIndexBuildScanKeys(self, node->index, list_nth(exprs, IQDB_PG_NODE_KEYS), false, &node->keys, &node->key_count,
						   &node->runtime_keys, &node->runtime_key_count, NULL, NULL);
	ExecIndexBuildScanKeys(self, node->index, list_nth(exprs, IQDB_PG_NODE_ORDER), true, &node->orders, &node->order_count,
						   &node->runtime_orders, &node->runtime_order_count, NULL, NULL);
	node->bounds = ExecInitExprList(list_nth(exprs, IQDB_PG_NODE_BOUNDS), self);
	node->limit = ExecInitExprList(list_nth(exprs, IQDB_PG_NODE_LIMIT), self);
}

/* The bitmap is read again only where one of its parameters has changed; the server then runs its nodes anew by itself. */
static void
rescan_bitmap(IqdbPgNode *node, PlanState *child)
{
	if (node->custom.ss.ps.chgParam != NULL)
		UpdateChangedParamSet(child, node->custom.ss.ps.chgParam);
	if (child->chgParam != NULL && node->set != NULL)
	{
		MemoryContextReset((MemoryContext) node->set_host.allocator.arg);
		node->set = NULL;
	}
}

static void
rescan_node(CustomScanState *state)
{
	IqdbPgNode *node = (IqdbPgNode *) state;

	if (state->custom_ps != NIL)
		rescan_bitmap(node, linitial(state->custom_ps));
	if (node->returned != NULL)
		MemoryContextReset((MemoryContext) node->returned_host.allocator.arg);
	node->returned = NULL;
	node->failed = 0;
	node->started = false;
	node->ended = false;
	ExecScanReScan(&state->ss);
}

static void
end_node(CustomScanState *state)
{
	IqdbPgNode *node = (IqdbPgNode *) state;
	ListCell   *cell;

	if (node->scan != NULL)
		index_endscan(node->scan);
	if (node->index != NULL)
		index_close(node->index, NoLock);
	foreach(cell, state->custom_ps)
		ExecEndNode(lfirst(cell));
}

static const CustomExecMethods exec_methods = {
	.CustomName = IQDB_PG_NODE_NAME,
	.BeginCustomScan = begin_node,
	.ExecCustomScan = exec_node,
	.EndCustomScan = end_node,
	.ReScanCustomScan = rescan_node,
	.EstimateDSMCustomScan = iqdb_pg_node_estimate_shared,
	.InitializeDSMCustomScan = iqdb_pg_node_init_shared,
	.ReInitializeDSMCustomScan = iqdb_pg_node_reinit_shared,
	.InitializeWorkerCustomScan = iqdb_pg_node_join_shared,
	.ShutdownCustomScan = iqdb_pg_node_shutdown,
	.ExplainCustomScan = iqdb_pg_node_explain
};

Node *
iqdb_pg_node_create_state(CustomScan *plan)
{
	IqdbPgNode *node = palloc0(sizeof(IqdbPgNode));

	NodeSetTag(node, T_CustomScanState);
	node->custom.methods = &exec_methods;
	node->plan = plan;
	return (Node *) node;
}
