/*
 * pg_node_state.h - a node "Vector Scan" while it runs, for pg_node.c, which owns it, and those that read it.
 */
#ifndef IQDB_PG_NODE_STATE_H
#define IQDB_PG_NODE_STATE_H

#include "access/parallel.h"
#include "nodes/execnodes.h"

#include "pg/pg_compat.h"
#include "pg/pg_scan.h"

typedef struct IqdbPgNode
{
	CustomScanState custom;		/* the server's part, first */
	const CustomScan *plan;
	Relation	index;
	IndexScanDesc scan;			/* from the first row wanted on */
	ExprContext *context;		/* of what a search depends on */
	ScanKey		keys;
	int			key_count;
	IndexRuntimeKeyInfo *runtime_keys;
	int			runtime_key_count;
	ScanKey		orders;
	int			order_count;
	IndexRuntimeKeyInfo *runtime_orders;
	int			runtime_order_count;
	List	   *bounds;			/* ExprState of each */
	List	   *limit;
	IqdbHost	set_host;		/* memory of the set: its own context */
	IqdbIdSet  *set;			/* what the bitmap names; NULL: not read yet, or there is none */
	double		patience;		/* rows that may fail the quals before it is read */
	IqdbHost	returned_host;
	IqdbIdSet  *returned;		/* rows that a search without the bitmap has had, and that passed; NULL: none */
	double		failed;			/* rows of the search that have failed the quals */
	bool		started;		/* since the last rescan */
	bool		ended;
	struct IqdbPgNodeShared *shared;	/* of a parallel query that is explained; NULL: none */
	IqdbPgStreamStats told;		/* of a worker: what it has added there */
	IqdbPgStreamStats of_workers;	/* of the leader: what they have added, after their end */
} IqdbPgNode;

/* Counts of this process, and of the workers that have ended. */
extern IqdbPgStreamStats iqdb_pg_node_stats(const IqdbPgNode *node);

/* At the start: has the server give the node shared memory for them, if the query is one that workers take part in. */
extern void iqdb_pg_node_watch(IqdbPgNode *node, const EState *estate);

/* Callbacks of the node. */
extern Size iqdb_pg_node_estimate_shared(CustomScanState *state, ParallelContext *context);
extern void iqdb_pg_node_init_shared(CustomScanState *state, ParallelContext *context, void *shared);
extern void iqdb_pg_node_reinit_shared(CustomScanState *state, ParallelContext *context, void *shared);
extern void iqdb_pg_node_join_shared(CustomScanState *state, shm_toc *toc, void *shared);
extern void iqdb_pg_node_shutdown(CustomScanState *state);

struct ExplainState;

/* Puts into EXPLAIN what the server does not by itself: index, order, bounds, and with ANALYZE what was done. */
extern void iqdb_pg_node_explain(CustomScanState *state, List *ancestors, struct ExplainState *es);

#endif
