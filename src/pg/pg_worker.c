/*
 * pg_worker.c - see pg_worker.h.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "storage/procsignal.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/pidfile.h"
#include "utils/resowner.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "pg/pg_compat.h"
#include "pg/pg_files.h"
#include "pg/pg_lock.h"
#include "pg/pg_registry.h"
#include "pg/pg_settings.h"
#include "pg/pg_sweep.h"
#include "pg/pg_worker.h"

#define RETRY_MICROSECONDS UINT64CONST(60000000)

/* So long the keeper links rows of one index before it looks at the others; and so long it gathers pages of one. */
#define LINK_MILLISECONDS 100
#define GATHER_MILLISECONDS 50

/* ---- starting it ------------------------------------------------------------------------------------------------- */

bool
iqdb_pg_worker_runs(void)
{
	return pg_atomic_read_u32(&iqdb_pg_registry()->worker_pid) != 0;
}

bool
iqdb_pg_start_process(const char *name, const char *function, Datum arg, bool connects)
{
	BackgroundWorker worker;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | (connects ? BGWORKER_BACKEND_DATABASE_CONNECTION : 0);
	worker.bgw_start_time = BgWorkerStart_ConsistentState;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_main_arg = arg;
	strlcpy(worker.bgw_library_name, "iqdb", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, function, sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_name, name, sizeof(worker.bgw_name));
	strlcpy(worker.bgw_type, name, sizeof(worker.bgw_type));
	return RegisterDynamicBackgroundWorker(&worker, NULL);
}

void
iqdb_pg_worker_wanted(void)
{
	IqdbPgRegistry *registry = iqdb_pg_registry();
	uint64		now = (uint64) GetCurrentTimestamp();
	uint64		tried = pg_atomic_read_u64(&registry->worker_tried);

	if (!iqdb_background_worker || iqdb_pg_worker_runs() || now - tried < RETRY_MICROSECONDS ||
		!pg_atomic_compare_exchange_u64(&registry->worker_tried, &tried, now))
		return;
	if (!iqdb_pg_start_process("iqdb keeper", "iqdb_keeper_main", (Datum) 0, false))
		ereport(DEBUG1, (errmsg_internal("iqdb: no background worker slot is free for the keeper")));
}

void
iqdb_pg_worker_wake(void)
{
	/* latches are never freed: one that is another process's by now only makes that look round once more */
	if (iqdb_pg_registry()->worker_latch != NULL)
		SetLatch(iqdb_pg_registry()->worker_latch);
}

/* ---- its work ---------------------------------------------------------------------------------------------------- */

static void
keep_snapshot(IqdbPgArena *arena)
{
	IqdbPgShared *shared = arena->shared;
	IqdbError	error = {0};
	IqdbStatus	status;

	/* whoever is at it, or at the log, may be held up: this is left to the next round */
	if (iqdb_pg_is_locked(shared->database, shared->relation_number, IQDB_PG_LOCK_LOG))
		return;
	status = iqdb_pg_snapshot_take(arena, false, &error);
	if (status != IQDB_OK && status != IQDB_ERR_CANCELLED)
		ereport(LOG, (errmsg("iqdb: no snapshot could be written: %s", iqdb_pg_error_text(&error))));
}

/* How long the keeper has worked since it last wrote the logs out, microseconds; and has a round left rows to the next? */
static int64 worked;
static bool unfinished;

/*
 * Rows that a recovery put and nobody has linked: searches look at each of them until somebody does. Others wait for the
 * keeper as well, so this takes a while at most. Is nothing left to do?
 */
static bool
keep_linked(IqdbPgArena *arena)
{
	TimestampTz begun = GetCurrentTimestamp();
	IqdbPgView	view;
	uint64		linked;

	iqdb_pg_view(&view, arena);
	iqdb_pg_host_yielding(&view.host);
	do
	{
		IqdbError	error = {0};

		CHECK_FOR_INTERRUPTS();
		if (ShutdownRequestPending)
			return false;
		if (iqdb_index_link_pending(&view.index, 64, &linked, &error) != IQDB_OK &&
			error.code != IQDB_ERR_CANCELLED)
			break;
		if (linked > 0 && TimestampDifferenceExceeds(begun, GetCurrentTimestamp(), LINK_MILLISECONDS))
		{
			unfinished = true;
			return false;
		}
	} while (linked > 0);
	return true;
}

/* What is left to do for an index that was read from its table; whatever is done is kept. */
static void
keep_built(IqdbPgArena *arena)
{
	IqdbPgView	view;
	IqdbError	error = {0};
	IqdbStatus	status;

	if (pg_atomic_read_u32(&arena->shared->unbuilt) == 0)
		return;
	iqdb_pg_view(&view, arena);
	status = iqdb_index_maintain(&view.index, IQDB_MAINTAIN_BUILD, &error);
	if (status == IQDB_ERR_CANCELLED)
		return;
	/* without room for more it stays as it is, which is right, but slow */
	pg_atomic_write_u32(&arena->shared->unbuilt, 0);
	if (status != IQDB_OK)
		ereport(LOG, (errmsg("iqdb: an index that was read from its table could not be finished: %s",
							 iqdb_pg_error_text(&error))));
}

/* Own files are a matter of one database's catalogue, and this process is connected to none. */
static void
start_sweeper(Oid database)
{
	if (!iqdb_pg_start_process("iqdb sweeper", "iqdb_sweeper_main", ObjectIdGetDatum(database), true))
		ereport(DEBUG1, (errmsg_internal("iqdb: no background worker slot is free for a sweep")));
}

void
iqdb_sweeper_main(Datum arg)
{
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(arg), InvalidOid, BGWORKER_BYPASS_ALLOWCONN);
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	(void) iqdb_pg_sweep();
	CommitTransactionCommand();
}

/* The arena that we are at, for which we have no lock on the relation. */
static IqdbPgArena *kept;

static void
let_go(void)
{
	if (kept != NULL)
		(void) pg_atomic_exchange_u32(&kept->shared->keeper_at_work, 0);
	kept = NULL;
}

/* The arena of a file, until let_go(); NULL if there is nothing to keep. */
static IqdbPgArena *
take(const char *path, Oid database, uint32 relation_number, const IqdbPgGeneration *generation)
{
	IqdbPgArena *arena = iqdb_pg_arena_map_path(path, database, relation_number, generation);

	CHECK_FOR_INTERRUPTS();
	if (arena == NULL)
		return NULL;
	/* somebody removed the file and another has its name: that one is to be kept, from the next round on */
	if (iqdb_pg_arena_is_stale(arena))
	{
		pg_atomic_write_u32(&arena->shared->state, IQDB_PG_DEAD);
		return NULL;
	}
	/* Whoever drops the index says so first and looks for us then: one of the two sees the other. */
	kept = arena;
	(void) pg_atomic_exchange_u32(&arena->shared->keeper_at_work, 1);
	if (pg_atomic_read_u32(&arena->shared->state) == IQDB_PG_READY)
		return arena;
	let_go();
	return NULL;
}

/*
 * Writes one log out. Who is at it may be held up, and other indexes wait for us: then the next round does it, but for the
 * last one.
 */
static void
keep_log(const char *path, Oid database, uint32 relation_number, const IqdbPgGeneration *generation, void *arg)
{
	IqdbPgArena *arena = take(path, database, relation_number, generation);

	if (arena == NULL)
		return;
	if (arena->shared->permanent)
		iqdb_pg_log_flush(arena, iqdb_fsync == IQDB_FSYNC_PERIODIC, ShutdownRequestPending);
	let_go();
}

static void
keep_logs(void)
{
	iqdb_pg_arena_visit(keep_log, NULL);
	worked = 0;
}

/* The longer work on an index. When it adds up, the logs of all come first again. */
static void
keep_arena(const char *path, Oid database, uint32 relation_number, const IqdbPgGeneration *generation, void *arg)
{
	IqdbPgArena *arena = take(path, database, relation_number, generation);
	TimestampTz begun = GetCurrentTimestamp();

	if (arena == NULL)
		return;
	if (iqdb_pg_arena_gather(arena, GATHER_MILLISECONDS))
		unfinished = true;
	if (keep_linked(arena))
	{
		keep_built(arena);
		if (arena->shared->permanent && pg_atomic_read_u32(&arena->shared->snapshots.wanted) != 0 &&
			!ShutdownRequestPending)
			keep_snapshot(arena);
	}
	let_go();
	worked += GetCurrentTimestamp() - begun;
	if (worked > (int64) iqdb_fsync_interval * 1000)
		keep_logs();
}

static void
say_goodbye(int code, Datum arg)
{
	/* after an error: the server does this for processes with a database only */
	LWLockReleaseAll();
	LockErrorCleanup();
	LockReleaseCurrentOwner(NULL, 0);
	let_go();
	pg_atomic_write_u32(&iqdb_pg_registry()->worker_pid, 0);
}

/* Does the whole server stop? The postmaster says so in its file before it tells anybody to stop. */
static bool
server_stops(void)
{
	FILE	   *file = fopen("postmaster.pid", "r");
	char		line[MAXPGPATH] = "";

	if (file == NULL)
		return false;
	for (int i = 0; i < LOCK_FILE_LINE_PM_STATUS; i++)
		if (fgets(line, sizeof(line), file) == NULL)
			line[0] = '\0';
	fclose(file);
	return strncmp(line, PM_STATUS_STOPPING, strlen(PM_STATUS_STOPPING)) == 0;
}

/*
 * What is in the buffers goes to the logs; and when the server stops, the memory of the arenas back to the system. If only
 * this process was told to end, others still work with them; the next who opens or changes an index starts another.
 */
static void
leave(void)
{
	keep_logs();
	if (server_stops())
		iqdb_pg_arena_remove_all();
	pg_atomic_write_u64(&iqdb_pg_registry()->worker_tried, 0);
}

void
iqdb_keeper_main(Datum arg)
{
	uint32		nobody = 0;
	MemoryContext round;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	BackgroundWorkerUnblockSignals();
	if (!pg_atomic_compare_exchange_u32(&iqdb_pg_registry()->worker_pid, &nobody, (uint32) MyProcPid))
		return;
	iqdb_pg_registry()->worker_latch = MyLatch;
	before_shmem_exit(say_goodbye, (Datum) 0);
	/* waiting for a lock needs them; the server sets them up for processes with a database only */
	RegisterTimeout(DEADLOCK_TIMEOUT, CheckDeadLockAlert);
	SetConfigOption("lock_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
	CurrentResourceOwner = ResourceOwnerCreate(NULL, "iqdb keeper");
	round = AllocSetContextCreate(TopMemoryContext, "iqdb keeper", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(round);
	pgstat_report_appname("iqdb keeper");

	while (!ShutdownRequestPending && iqdb_background_worker)
	{
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		unfinished = false;
		keep_logs();
		iqdb_pg_arena_visit(keep_arena, NULL);
		iqdb_pg_sweep_keep(start_sweeper);
		iqdb_pg_arena_end_of_transaction();
		MemoryContextReset(round);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 unfinished ? 0 : iqdb_fsync_interval, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
	leave();
}
