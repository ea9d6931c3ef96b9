/*
 * pg_module.c - what happens when the server loads the library: settings, options, hooks, callbacks. Nothing else.
 *
 * The library works without shared_preload_libraries: a backend loads it when it first meets the type or an index, and
 * that is early enough for every hook (a plan's hook is asked for after the index's handler was called).
 */
#include "postgres.h"

#include "fmgr.h"

#include "pg/pg_compat.h"
#include "pg/pg_kernels.h"
#include "pg/pg_lifecycle.h"
#include "pg/pg_node.h"
#include "pg/pg_options.h"
#include "pg/pg_paths.h"
#include "pg/pg_settings.h"

IQDB_PG_MODULE_MAGIC("iqdb", IQDB_LIBRARY_VERSION);

PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	iqdb_pg_define_settings();
	iqdb_pg_define_options();
	iqdb_pg_register_node();
	iqdb_pg_install_planner_hooks();
	iqdb_pg_install_callbacks();
}
