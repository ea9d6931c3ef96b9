/*
 * pg_build.c - CREATE INDEX and everything that builds an index anew: REINDEX, TRUNCATE, VACUUM FULL, CLUSTER.
 *
 * Each build draws a new generation and fills a new arena; nobody else can know of either before the build commits. Rows
 * go straight into the arena, from as many workers as the server grants. Nothing is journaled: a node that replays the
 * fork finds a new generation and builds for itself. At the end the state is written as the first snapshot.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "commands/progress.h"
#include "miscadmin.h"
#include "optimizer/optimizer.h"
#include "pgstat.h"
#include "storage/bufmgr.h"
#include "storage/condition_variable.h"
#include "storage/spin.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/wait_event.h"

#include "pg/pg_am.h"
#include "pg/pg_compat.h"
#include "pg/pg_fail.h"
#include "pg/pg_files.h"
#include "pg/pg_heap.h"
#include "pg/pg_lock.h"
#include "pg/pg_open.h"
#include "pg/pg_options.h"
#include "pg/pg_row.h"
#include "pg/pg_work.h"
#include "pg/pg_worker.h"

/* ---- one participant -------------------------------------------------------------------------------------------- */

typedef struct BuildState
{
	Relation	index;
	IqdbPgArena *arena;
	IqdbPgView	view;
	IqdbPgRowForm form;
	MemoryContext row_context;
	double		rows;
	bool		report;
} BuildState;

static void
build_state_init(BuildState *state, Relation index, IqdbPgArena *arena, bool report)
{
	state->index = index;
	state->arena = arena;
	iqdb_pg_view(&state->view, arena);
	state->form = iqdb_pg_row_form(index);
	state->row_context = AllocSetContextCreate(CurrentMemoryContext, "iqdb build row", ALLOCSET_DEFAULT_SIZES);
	state->rows = 0;
	state->report = report;
}

static void
build_row(Relation index, ItemPointer tid, Datum *values, bool *isnull, bool alive, void *arg)
{
	BuildState *state = arg;
	MemoryContext saved;
	IqdbError	error = {0};
	IqdbPgRow	row;
	IqdbColumnValues columns;

	/* a dead tuple may have lost its values already; it is made known afterwards */
	if (isnull[0] || (!alive && !iqdb_pg_row_complete(index, values, isnull)))
		return;
	IQDB_PG_FAIL_POINT("build-row");
	saved = MemoryContextSwitchTo(state->row_context);
	row = iqdb_pg_row(iqdb_pg_tid_number(tid), iqdb_pg_row_vector(&state->form, values[0]));
	row.columns = iqdb_pg_row_columns(&state->form, values, isnull, &columns);
	iqdb_pg_check(iqdb_pg_row_put(&state->view.index, &row, &error), &error, index);
	if (!state->view.index.engine->links_at_end)
		iqdb_pg_link(index, state->arena, row.slot);
	MemoryContextSwitchTo(saved);
	MemoryContextReset(state->row_context);
	state->rows++;
	if (state->report)
		pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_DONE,
									 (int64) iqdb_index_live_count(&state->arena->index));
}

/* ---- parallel build --------------------------------------------------------------------------------------------- */

/* How often a worker looks for something to help with. */
#define ASSIST_POLL_MS 5

#define KEY_SHARED UINT64CONST(0x6971646200000001)
#define KEY_QUERY UINT64CONST(0x6971646200000002)

/* In the parallel build's shared memory; the parallel scan's descriptor follows. */
typedef struct BuildShared
{
	Oid			heap;
	Oid			index;
	bool		concurrent;
	uint32		relation_number;
	IqdbPgGeneration generation;
	ConditionVariable done;		/* one more has finished; over */
	slock_t		mutex;
	int			finished;		/* mutex: participants that have read the table */
	bool		over;			/* mutex: the index is built */
	bool		broken_hot_chain;	/* mutex: an update in place is older than the index, and some snapshot sees before it */
	double		heap_rows;		/* mutex */
} BuildShared;

#define SHARED_SCAN(shared) ((ParallelTableScanDesc) ((char *) (shared) + BUFFERALIGN(sizeof(BuildShared))))

static void
scan_share(BuildShared *shared, Relation heap, Relation index, IqdbPgArena *arena, bool report)
{
	IndexInfo  *info = BuildIndexInfo(index);
	BuildState	state;
	double		heap_rows;

	info->ii_Concurrent = shared->concurrent;
	build_state_init(&state, index, arena, report);
	heap_rows = table_index_build_scan(heap, index, info, true, report, build_row, &state,
									   iqdb_pg_beginscan_parallel(heap, SHARED_SCAN(shared)));
	MemoryContextDelete(state.row_context);

	SpinLockAcquire(&shared->mutex);
	shared->finished++;
	shared->heap_rows += heap_rows;
	shared->broken_hot_chain |= info->ii_BrokenHotChain;
	SpinLockRelease(&shared->mutex);
	ConditionVariableBroadcast(&shared->done);
}

static bool
is_over(BuildShared *shared)
{
	bool		over;

	SpinLockAcquire(&shared->mutex);
	over = shared->over;
	SpinLockRelease(&shared->mutex);
	return over;
}

/* Helps the leader with what the engine does at the end, whenever there is something to share. */
static void
assist(BuildShared *shared, Relation index, IqdbPgArena *arena)
{
	while (!is_over(shared))
	{
		if (!iqdb_pg_assist(index, arena))
			(void) ConditionVariableTimedSleep(&shared->done, ASSIST_POLL_MS, WAIT_EVENT_PARALLEL_CREATE_INDEX_SCAN);
	}
	ConditionVariableCancelSleep();
}

PGDLLEXPORT void iqdb_build_worker_main(dsm_segment *segment, shm_toc *toc);

void
iqdb_build_worker_main(dsm_segment *segment, shm_toc *toc)
{
	BuildShared *shared = shm_toc_lookup(toc, KEY_SHARED, false);
	char	   *query = shm_toc_lookup(toc, KEY_QUERY, true);
	LOCKMODE	heap_mode = shared->concurrent ? ShareUpdateExclusiveLock : ShareLock;
	LOCKMODE	index_mode = shared->concurrent ? RowExclusiveLock : AccessExclusiveLock;
	Relation	heap;
	Relation	index;
	IqdbPgArena *arena;

	debug_query_string = query;
	pgstat_report_activity(STATE_RUNNING, debug_query_string);
	heap = table_open(shared->heap, heap_mode);
	index = index_open(shared->index, index_mode);
	arena = iqdb_pg_arena_map_loading(shared->relation_number, &shared->generation);
	if (arena == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the memory of index \"%s\" vanished during its build", RelationGetRelationName(index))));
	scan_share(shared, heap, index, arena, false);
	if (iqdb_index_can_assist(&arena->index))
		assist(shared, index, arena);
	index_close(index, index_mode);
	table_close(heap, heap_mode);
}

static void
finish(Relation index, IqdbPgArena *arena)
{
	pgstat_progress_update_param(PROGRESS_CREATEIDX_SUBPHASE, IQDB_PG_PHASE_FINISH);
	iqdb_pg_maintain(index, arena, IQDB_MAINTAIN_BUILD);
}

/* Builds with workers; false if the server grants none, nothing has been done then. */
static bool
build_parallel(Relation heap, Relation index, IndexInfo *info, IqdbPgArena *arena, double *heap_rows_out)
{
	ParallelContext *context;
	BuildShared *shared;
	Snapshot	snapshot;
	Size		size;

	EnterParallelMode();
	context = CreateParallelContext("iqdb", "iqdb_build_worker_main", info->ii_ParallelWorkers);
	snapshot = info->ii_Concurrent ? RegisterSnapshot(GetTransactionSnapshot()) : SnapshotAny;
	size = add_size(BUFFERALIGN(sizeof(BuildShared)), table_parallelscan_estimate(heap, snapshot));
	shm_toc_estimate_chunk(&context->estimator, size);
	shm_toc_estimate_keys(&context->estimator, 1);
	if (debug_query_string != NULL)
	{
		shm_toc_estimate_chunk(&context->estimator, strlen(debug_query_string) + 1);
		shm_toc_estimate_keys(&context->estimator, 1);
	}
	InitializeParallelDSM(context);
	if (context->seg == NULL)
	{
		if (IsMVCCSnapshot(snapshot))
			UnregisterSnapshot(snapshot);
		DestroyParallelContext(context);
		ExitParallelMode();
		return false;
	}

	shared = shm_toc_allocate(context->toc, size);
	memset(shared, 0, sizeof(*shared));
	shared->heap = RelationGetRelid(heap);
	shared->index = RelationGetRelid(index);
	shared->concurrent = info->ii_Concurrent;
	shared->relation_number = arena->relation_number;
	shared->generation = arena->generation;
	ConditionVariableInit(&shared->done);
	SpinLockInit(&shared->mutex);
	table_parallelscan_initialize(heap, SHARED_SCAN(shared), snapshot);
	shm_toc_insert(context->toc, KEY_SHARED, shared);
	if (debug_query_string != NULL)
	{
		Size		length = strlen(debug_query_string) + 1;
		char	   *query = shm_toc_allocate(context->toc, length);

		memcpy(query, debug_query_string, length);
		shm_toc_insert(context->toc, KEY_QUERY, query);
	}

	LaunchParallelWorkers(context);
	ereport(DEBUG1, (errmsg("using %d parallel workers", context->nworkers_launched)));
	if (context->nworkers_launched > 0)
		WaitForParallelWorkersToAttach(context);
	scan_share(shared, heap, index, arena, true);
	ConditionVariablePrepareToSleep(&shared->done);
	for (;;)
	{
		bool		all;

		SpinLockAcquire(&shared->mutex);
		all = shared->finished == context->nworkers_launched + 1;
		*heap_rows_out = shared->heap_rows;
		/* then the server lets no snapshot that is older use the index */
		info->ii_BrokenHotChain = shared->broken_hot_chain;
		SpinLockRelease(&shared->mutex);
		if (all)
			break;
		ConditionVariableSleep(&shared->done, WAIT_EVENT_PARALLEL_CREATE_INDEX_SCAN);
	}
	ConditionVariableCancelSleep();
	finish(index, arena);
	SpinLockAcquire(&shared->mutex);
	shared->over = true;
	SpinLockRelease(&shared->mutex);
	ConditionVariableBroadcast(&shared->done);
	WaitForParallelWorkersToFinish(context);
	if (IsMVCCSnapshot(snapshot))
		UnregisterSnapshot(snapshot);
	DestroyParallelContext(context);
	ExitParallelMode();
	return true;
}

/* ---- ambuild ----------------------------------------------------------------------------------------------------- */

static double
build_serial(Relation heap, Relation index, IndexInfo *info, IqdbPgArena *arena)
{
	BuildState	state;
	double		heap_rows;

	build_state_init(&state, index, arena, true);
	heap_rows = table_index_build_scan(heap, index, info, true, true, build_row, &state, NULL);
	MemoryContextDelete(state.row_context);
	finish(index, arena);
	return heap_rows;
}

/*
 * How many workers to ask for. The server plans them only for its own methods, and by the table's size in pages, which
 * says little about vectors kept out of line: so its word counts for "none", else the settings do.
 */
static int
workers_wanted(Relation heap, Relation index)
{
	int			workers;

	if (plan_create_index_workers(RelationGetRelid(heap), RelationGetRelid(index)) == 0)
		return 0;
	workers = RelationGetParallelWorkers(heap, -1);
	return workers >= 0 ? Min(workers, max_parallel_maintenance_workers) : max_parallel_maintenance_workers;
}

/* A snapshot that cannot be written is no reason to fail: the table is enough. */
static void
first_snapshot(Relation index, IqdbPgArena *arena)
{
	IqdbError	error = {0};
	IqdbStatus	status;

	pgstat_progress_update_param(PROGRESS_CREATEIDX_SUBPHASE, IQDB_PG_PHASE_SNAPSHOT);
	status = iqdb_pg_snapshot_take(arena, true, &error);
	if (status == IQDB_ERR_CANCELLED)
		iqdb_pg_raise(status, &error, index);
	if (status != IQDB_OK)
		ereport(WARNING,
				(errcode(iqdb_pg_sqlstate(status)),
				 errmsg("no snapshot of index \"%s\" could be written: %s", RelationGetRelationName(index),
						iqdb_pg_error_text(&error)),
				 errdetail("The index works; after a restart it is read from the table again.")));
}

/* A table that this transaction made is truncated in place: what the fork held before the build is gone for good. */
static void
forget_earlier(Relation index, bool is_private)
{
	IqdbPgGeneration earlier;

	if (iqdb_pg_arena_drop_relation(MyDatabaseId, iqdb_pg_file_number(iqdb_pg_rel_file(index)), true, &earlier) &&
		!is_private)
		iqdb_pg_files_remove(MyDatabaseId, &earlier, 1);
}

/* Who makes an index hears of it; not who builds it anew, of which a temporary table's ON COMMIT DELETE ROWS does much. */
static void
warn_of_coarse_codes(Relation index, const IqdbIndexOptions *options)
{
	uint32		wanted = iqdb_index_options_dimension_wanted(options);
	bool		is_new = index->rd_createSubid != InvalidSubTransactionId || !index->rd_index->indisvalid;

	if (options->dimension >= wanted || !is_new)
		return;
	ereport(NOTICE,
			(errmsg("signs of %u dimensions hardly tell rows apart, so that searches of index \"%s\" will miss many",
					options->dimension, RelationGetRelationName(index)),
			 errdetail("Codes of quantization bq want at least %u dimensions.", wanted),
			 errhint("Use quantization = sq8 or none.")));
}

/*
 * There is no room for an arena. Of an empty table, as TRUNCATE leaves it, it would hold nothing, and the memory that is
 * wanted may be just what TRUNCATE gives back when it commits: the journal is enough, and the first to need the index opens it.
 */
static bool
can_do_without(Relation heap, bool is_private, IqdbStatus status)
{
	return !is_private && iqdb_pg_is_want_of_room(status) && RelationGetNumberOfBlocks(heap) == 0;
}

IndexBuildResult *
iqdb_am_build(Relation heap, Relation index, IndexInfo *info)
{
	bool		is_private = index->rd_rel->relpersistence == RELPERSISTENCE_TEMP;
	IndexBuildResult *result = palloc0(sizeof(IndexBuildResult));
	IqdbIndexOptions options;
	IqdbError	error = {0};
	IqdbPgMeta	meta;
	IqdbPgArena *arena;
	IqdbPgPosition origin;

	iqdb_pg_type_check(index);
	iqdb_pg_columns_check(index);
	options = iqdb_pg_build_options(index);
	if (info->ii_ExclusionOps != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("access method \"%s\" does not support exclusion constraints",
						iqdb_engine_get(options.engine)->name)));
	if (heap->rd_tableam != GetHeapamTableAmRoutine())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("access method \"%s\" does not support tables of another access method than heap",
						iqdb_engine_get(options.engine)->name),
				 errhint("Make the table one of heap: CREATE TABLE ... USING heap.")));
	warn_of_coarse_codes(index, &options);
	(void) iqdb_pg_lock(MyDatabaseId, iqdb_pg_file_number(iqdb_pg_rel_file(index)), IQDB_PG_LOCK_OPEN, true);
	forget_earlier(index, is_private);
	iqdb_pg_journal_create(index, MAIN_FORKNUM, options.dimension, options.metric, options.engine, &meta);
	arena = iqdb_pg_arena_create(index, &meta, &options, is_private, false, iqdb_pg_estimate_rows(heap), &error);
	if (arena == NULL && can_do_without(heap, is_private, error.code))
	{
		iqdb_pg_unlock(MyDatabaseId, iqdb_pg_file_number(iqdb_pg_rel_file(index)), IQDB_PG_LOCK_OPEN);
		return result;
	}
	if (arena == NULL)
		iqdb_pg_raise(error.code, &error, index);
	origin = iqdb_pg_journal_origin(&meta);
	iqdb_pg_set_applied(arena->shared, &origin);

	PG_TRY();
	{
		pgstat_progress_update_param(PROGRESS_CREATEIDX_SUBPHASE, IQDB_PG_PHASE_LOAD);
		info->ii_ParallelWorkers = is_private ? 0 : workers_wanted(heap, index);
		if (info->ii_ParallelWorkers == 0 || !build_parallel(heap, index, info, arena, &result->heap_tuples))
			result->heap_tuples = build_serial(heap, index, info, arena);
		IQDB_PG_FAIL_POINT("build-finished");
	}
	PG_CATCH();
	{
		iqdb_pg_arena_discard(arena);
		PG_RE_THROW();
	}
	PG_END_TRY();

	iqdb_pg_arena_set_ready(arena);
	iqdb_pg_unlock(MyDatabaseId, arena->relation_number, IQDB_PG_LOCK_OPEN);
	IQDB_PG_FAIL_POINT("build-ready");
	if (arena->shared->permanent)
		first_snapshot(index, arena);
	IQDB_PG_FAIL_POINT("build-saved");
	if (!is_private)
		iqdb_pg_worker_wanted();
	result->index_tuples = (double) iqdb_index_live_count(&arena->index);
	return result;
}

void
iqdb_am_buildempty(Relation index)
{
	IqdbIndexOptions options = iqdb_pg_build_options(index);
	IqdbPgMeta	meta;

	iqdb_pg_journal_create(index, INIT_FORKNUM, options.dimension, options.metric, options.engine, &meta);
}

char *
iqdb_am_buildphasename(int64 phase)
{
	switch (phase)
	{
		case PROGRESS_CREATEIDX_SUBPHASE_INITIALIZE:
			return "initializing";
		case IQDB_PG_PHASE_LOAD:
			return "loading tuples";
		case IQDB_PG_PHASE_FINISH:
			return "finishing";
		case IQDB_PG_PHASE_SNAPSHOT:
			return "writing snapshot";
		default:
			return NULL;
	}
}
