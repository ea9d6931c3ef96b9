/*
 * pg_paths.h - the planner's hooks, and plans that are made anew; see pg_paths.c.
 */
#ifndef IQDB_PG_PATHS_H
#define IQDB_PG_PATHS_H

#include "nodes/pathnodes.h"
#include "utils/rel.h"

/* Corrects the paths through our indexes that the planner is offered. Called once, from _PG_init. */
extern void iqdb_pg_install_planner_hooks(void);

/* What paths the server makes of these indexes alone, for a query of this order. The table's own lists stay as they are. */
extern List *iqdb_pg_server_paths(PlannerInfo *root, RelOptInfo *rel, List *indexes, List *pathkeys);

/*
 * The index can be used from now on, or not any more: every session makes its cached plans on the table anew. At once,
 * whatever becomes of the transaction, and on this node alone.
 */
extern void iqdb_pg_replan(Relation index);

#endif
