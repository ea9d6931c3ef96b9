/*
 * pg_settings.c - see pg_settings.h. What each setting does for the user is in its description.
 */
#include "postgres.h"

#include <limits.h>

#include "access/xact.h"
#include "utils/guc.h"

#include "core/db/iqdb.h"
#include "pg/pg_compat.h"
#include "pg/pg_fail.h"
#include "pg/pg_kernels.h"
#include "pg/pg_settings.h"

int			iqdb_hnsw_ef_search;
int			iqdb_ivf_probes;
int			iqdb_max_scan_tuples;
bool		iqdb_enable_vector_scan = true;
int			iqdb_fsync = IQDB_FSYNC_PERIODIC;
int			iqdb_fsync_interval = 1000;
int			iqdb_snapshot_wal_size = 256 * 1024;
int			iqdb_on_corruption = IQDB_PG_CORRUPTION_REBUILD;
char	   *iqdb_arena_directory;
char	   *iqdb_vector_directory;
int			iqdb_arena_limit;
int			iqdb_memory_limit;
int			iqdb_journal_keep_pages = 64;
int			iqdb_journal_max_pages = 16384;
bool		iqdb_background_worker = true;

static const struct config_enum_entry fsync_options[] = {
	{"always", IQDB_FSYNC_ALWAYS, false},
	{"periodic", IQDB_FSYNC_PERIODIC, false},
	{"never", IQDB_FSYNC_NEVER, false},
	{NULL, 0, false}
};

static const struct config_enum_entry corruption_options[] = {
	{"rebuild", IQDB_PG_CORRUPTION_REBUILD, false},
	{"error", IQDB_PG_CORRUPTION_ERROR, false},
	{NULL, 0, false}
};

/* One folder has one name: it is looked for, and counted, by that. */
static bool
check_folder(char **value, void **extra, GucSource source)
{
	if (*value != NULL)
		canonicalize_path(*value);
	return true;
}

void
iqdb_pg_define_settings(void)
{
	int			flags = iqdb_pg_setting_flags();

	DefineCustomIntVariable("iqdb.hnsw_ef_search",
							"Candidates an iqdb_hnsw search keeps; 0 uses the index's own ef_search.",
							NULL, &iqdb_hnsw_ef_search, 0, 0, 100000, PGC_USERSET, GUC_EXPLAIN | flags, NULL, NULL, NULL);
	DefineCustomIntVariable("iqdb.ivf_probes",
							"Lists an iqdb_ivf search opens first; 0 uses the index's own probes.",
							NULL, &iqdb_ivf_probes, 0, 0, 1000000, PGC_USERSET, GUC_EXPLAIN | flags, NULL, NULL, NULL);
	DefineCustomIntVariable("iqdb.max_scan_tuples",
							"Rows one index scan may return before it ends; 0 sets no limit.",
							"With a limit, a query with a selective filter may return fewer rows than match.",
							&iqdb_max_scan_tuples, 0, 0, INT_MAX, PGC_USERSET, GUC_EXPLAIN | flags, NULL, NULL, NULL);
	DefineCustomBoolVariable("iqdb.enable_vector_scan",
							 "Enables the planner's use of the plan node Vector Scan.",
							 "It knows more than an index scan: the LIMIT, bounds of the distance, bitmaps of other indexes.",
							 &iqdb_enable_vector_scan, true, PGC_USERSET, GUC_EXPLAIN | flags, NULL, NULL, NULL);
	DefineCustomEnumVariable("iqdb.fsync",
							 "When the own log of an index is flushed to disk.",
							 "No setting loses rows: what the log lacks after a crash is read from the table again.",
							 &iqdb_fsync, IQDB_FSYNC_PERIODIC, fsync_options, PGC_SIGHUP, flags, NULL, NULL, NULL);
	DefineCustomIntVariable("iqdb.fsync_interval",
							"Time between flushes of the own log with iqdb.fsync = periodic.",
							NULL, &iqdb_fsync_interval, 1000, 10, 3600000, PGC_SIGHUP, GUC_UNIT_MS | flags, NULL, NULL, NULL);
	DefineCustomIntVariable("iqdb.snapshot_wal_size",
							"Size of the own log at which a fresh snapshot of the index is written.",
							NULL, &iqdb_snapshot_wal_size, 256 * 1024, 64, INT_MAX, PGC_SIGHUP, GUC_UNIT_KB | flags,
							NULL, NULL, NULL);
	DefineCustomEnumVariable("iqdb.on_corruption",
							 "What happens when an own file of an index is damaged.",
							 "rebuild takes an older file or the table; error makes the statement fail.",
							 &iqdb_on_corruption, IQDB_PG_CORRUPTION_REBUILD, corruption_options, PGC_SUSET, flags,
							 NULL, NULL, NULL);
	DefineCustomStringVariable("iqdb.arena_directory",
							   "Folder for the shared memory of indexes.",
							   "Empty takes /dev/shm where it has room, else base/pgsql_tmp.",
							   &iqdb_arena_directory, "", PGC_SIGHUP, flags, check_folder, NULL, NULL);
	DefineCustomStringVariable("iqdb.vector_directory",
							   "Folder for vectors on disk.",
							   "Empty takes base/pgsql_tmp of the data directory.",
							   &iqdb_vector_directory, "", PGC_SIGHUP, flags, check_folder, NULL, NULL);
	DefineCustomIntVariable("iqdb.arena_limit",
							"Memory one index may use; 0 limits it by iqdb.memory_limit only.",
							"Vectors on disk do not count.",
							&iqdb_arena_limit, 0, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_MB | flags, NULL, NULL, NULL);
	DefineCustomIntVariable("iqdb.memory_limit",
							"Memory all indexes of this server may use together; 0 takes that of the machine or container.",
							"Neither vectors on disk nor temporary indexes count.",
							&iqdb_memory_limit, 0, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_MB | flags, NULL, NULL, NULL);
	DefineCustomIntVariable("iqdb.journal_keep",
							"Journal pages an index keeps for standbys and base backups.",
							NULL, &iqdb_journal_keep_pages, 64, 2, 1000000, PGC_SIGHUP, flags, NULL, NULL, NULL);
	DefineCustomIntVariable("iqdb.journal_limit",
							"Journal pages at which the oldest is reused although a file of this server still needs it.",
							"An own file that was overtaken is not used any more: the next open reads the table.",
							&iqdb_journal_max_pages, 16384, 4, 10000000, PGC_SIGHUP, flags, NULL, NULL, NULL);
	DefineCustomBoolVariable("iqdb.background_worker",
							 "Starts processes that flush own logs in time, write snapshots, recover indexes and sweep.",
							 "Without it, the statements that change rows, VACUUM, and searches do this.",
							 &iqdb_background_worker, true, PGC_SIGHUP, flags, NULL, NULL, NULL);
	iqdb_pg_define_kernel_settings();
	iqdb_pg_define_fail_points();
	iqdb_pg_reserve_setting_prefix("iqdb");
}
