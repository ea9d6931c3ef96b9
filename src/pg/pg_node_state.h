/*
 * pg_node_state.h - a node "Vector Scan" while it runs, for pg_node.c, which owns it, and pg_node_explain.c, which reads it.
 */
#ifndef IQDB_PG_NODE_STATE_H
#define IQDB_PG_NODE_STATE_H

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
	bool		started;		/* since the last rescan */
	bool		ended;
} IqdbPgNode;

/* Puts into EXPLAIN what the server does not by itself: index, order, bounds, and with ANALYZE what was done. */
extern void iqdb_pg_node_explain(CustomScanState *state, List *ancestors, struct ExplainState *es);

#endif
