/*
 * pg_node_parallel.c - what the processes of a parallel query that run a node "Vector Scan" tell their leader for EXPLAIN.
 *
 * The node runs whole in each process, below a join for instance, and each counts its searches. Workers add their counts up in
 * shared memory of the query, and the leader reads them when that memory goes, which is after the last of them has ended.
 *
 * The server has such memory only for custom scans whose plan says that it is parallel aware, and shows these as Parallel
 * Custom Scan: as if they divided rows among processes, which this one does not. So while a query that is to be explained runs,
 * the node's state has a copy of the plan that says so, and gets its plan back when the node is shut down.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "storage/dsm.h"

#include "pg/pg_node_state.h"

struct IqdbPgNodeShared
{
	int			workers;
	IqdbPgStreamStats counts[FLEXIBLE_ARRAY_MEMBER];	/* of each of them */
};

/* Adds what is in one account, and was not in another one, to a third. */
static void
add_counts(IqdbPgStreamStats *sum, const IqdbPgStreamStats *now, const IqdbPgStreamStats *before)
{
	sum->searches += now->searches - before->searches;
	sum->completed += now->completed - before->completed;
	sum->tables_read += now->tables_read - before->tables_read;
	sum->remembered += now->remembered - before->remembered;
	sum->scored += now->scored - before->scored;
	sum->reranked += now->reranked - before->reranked;
	sum->filtered += now->filtered - before->filtered;
	for (int i = 0; i < lengthof(sum->ways); i++)
		sum->ways[i] += now->ways[i] - before->ways[i];
}

void
iqdb_pg_node_watch(IqdbPgNode *node, const EState *estate)
{
	CustomScan *aware;

	if (estate->es_instrument == 0 || !(estate->es_plannedstmt->parallelModeNeeded || IsParallelWorker()))
		return;
	aware = makeNode(CustomScan);
	memcpy(aware, node->plan, sizeof(CustomScan));
	aware->scan.plan.parallel_aware = true;
	node->custom.ss.ps.plan = &aware->scan.plan;
}

Size
iqdb_pg_node_estimate_shared(CustomScanState *state, ParallelContext *context)
{
	return offsetof(struct IqdbPgNodeShared, counts) + mul_size((Size) context->nworkers, sizeof(IqdbPgStreamStats));
}

/* The memory is about to go: all workers have ended. */
static void
collect(dsm_segment *segment, Datum arg)
{
	static const IqdbPgStreamStats nothing;
	IqdbPgNode *node = (IqdbPgNode *) DatumGetPointer(arg);

	for (int i = 0; i < node->shared->workers; i++)
		add_counts(&node->of_workers, &node->shared->counts[i], &nothing);
	node->shared = NULL;
}

void
iqdb_pg_node_init_shared(CustomScanState *state, ParallelContext *context, void *shared)
{
	IqdbPgNode *node = (IqdbPgNode *) state;

	/* without a segment there is memory, but nobody to share it with */
	if (context->seg == NULL)
		return;
	memset(shared, 0, iqdb_pg_node_estimate_shared(state, context));
	node->shared = shared;
	node->shared->workers = context->nworkers;
	on_dsm_detach(context->seg, collect, PointerGetDatum(node));
}

/* Other workers begin where those before them have ended: counts are added to what is there. */
void
iqdb_pg_node_reinit_shared(CustomScanState *state, ParallelContext *context, void *shared)
{
}

void
iqdb_pg_node_join_shared(CustomScanState *state, shm_toc *toc, void *shared)
{
	((IqdbPgNode *) state)->shared = shared;
}

void
iqdb_pg_node_shutdown(CustomScanState *state)
{
	IqdbPgNode *node = (IqdbPgNode *) state;
	IqdbPgStreamStats now;

	state->ss.ps.plan = (Plan *) node->plan;
	if (!IsParallelWorker() || node->shared == NULL || node->scan == NULL)
		return;
	now = iqdb_pg_scan_stats(node->scan);
	add_counts(&node->shared->counts[ParallelWorkerNumber], &now, &node->told);
	node->told = now;
}

IqdbPgStreamStats
iqdb_pg_node_stats(const IqdbPgNode *node)
{
	static const IqdbPgStreamStats nothing;
	IqdbPgStreamStats stats = node->of_workers;
	IqdbPgStreamStats own = {0};

	if (node->scan != NULL)
		own = iqdb_pg_scan_stats(node->scan);
	add_counts(&stats, &own, &nothing);
	return stats;
}
