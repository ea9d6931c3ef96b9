/*
 * pg_cost.h - what a scan by the own node (pg_node.h) costs, and what it costs to read a vector from its table; index scans
 * are priced by the access methods' callback.
 */
#ifndef IQDB_PG_COST_H
#define IQDB_PG_COST_H

#include "nodes/pathnodes.h"

/* What is known of such a scan, in rows of the table. */
typedef struct IqdbPgNodeWork
{
	double		matches;		/* that the engine may hand out, as far as index columns and bitmaps say */
	double		within;			/* of these, inside the bounds */
	double		wanted;			/* of these, those that the LIMIT is likely to take; 0: it is not known */
	double		expected;		/* and those that the first search is good for */
	bool		filtered;		/* there is a bitmap */
	bool		exhaustive;		/* all that is within is asked for, and looked for in all rows that match */
	Cost		filter_cost;	/* of the bitmap */
} IqdbPgNodeWork;

/* Fills the costs of a path of the node; order: the path of the index within, priced already. */
extern void iqdb_pg_cost_node(PlannerInfo *root, const IndexPath *order, const IqdbPgNodeWork *work, Path *path);

/*
 * What it costs to read a vector of this column of a table that lies outside of its row (TOAST), beyond what the server
 * thinks: to it, a value costs the same wherever it is. 0 if it lies in its row.
 */
extern Cost iqdb_pg_cost_value(const Var *column, Oid table);

#endif
