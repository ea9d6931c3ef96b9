/*
 * pg_planner.h - see pg_cost.c.
 */
#ifndef IQDB_PG_PLANNER_H
#define IQDB_PG_PLANNER_H

/* Leaves indexes out of plans while they are being recovered or have no room. Called once, from _PG_init. */
extern void iqdb_pg_install_planner_hook(void);

#endif
