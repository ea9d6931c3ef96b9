/*
 * pg_vacuum.c - VACUUM's two calls.
 *
 * ambulkdelete asks for every TID that the index knows, with or without a vector, whether its tuple is dead, and journals
 * a DELETE for those that are; and for every other line pointer that VACUUM is about to free: other nodes may hold what
 * this one forgot, or was never told. All of them are journaled before it returns, because the table gives the line
 * pointers free right afterwards. The engine's repair comes after that, in proportion to what was removed.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/visibilitymap.h"
#include "commands/vacuum.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/timestamp.h"

#include "pg/pg_am.h"
#include "pg/pg_compat.h"
#include "pg/pg_fail.h"
#include "pg/pg_files.h"
#include "pg/pg_heap.h"
#include "pg/pg_lock.h"
#include "pg/pg_open.h"
#include "pg/pg_open_private.h"
#include "pg/pg_options.h"
#include "pg/pg_sweep.h"
#include "pg/pg_work.h"
#include "pg/pg_worker.h"
#include "pg/pg_write.h"

#define IDS_PER_BATCH 1024

/* A process that vacuums many tables sweeps once in so many milliseconds. */
#define SWEEP_INTERVAL 60000

/* Journals the removal of a batch, and applies it where that can be done at once. Removing needs no room. */
static void
remove_batch(Relation index, IqdbPgArena *arena, IqdbPgRow *rows, int count)
{
	IQDB_PG_FAIL_POINT("delete-begin");
	if (count > 0)
		iqdb_pg_write_delete(index, arena, rows, count);
	IQDB_PG_FAIL_POINT("delete-journaled");
}

/* What one VACUUM call works with. */
typedef struct Removal
{
	Relation	index;
	IqdbPgArena *arena;			/* NULL if there is no room for one */
	IndexBulkDeleteCallback callback;
	void	   *callback_state;
	IqdbPgRow  *rows;
	int			count;
	uint64		kept;
	uint64		removed;
} Removal;

static void
remove_pending(Removal *removal)
{
	remove_batch(removal->index, removal->arena, removal->rows, removal->count);
	removal->count = 0;
}

static void
ask(Removal *removal, ItemPointer tid)
{
	uint64		number = iqdb_pg_tid_number(tid);

	if (!removal->callback(tid, removal->callback_state))
	{
		removal->kept++;
		return;
	}
	removal->rows[removal->count++] = iqdb_pg_row(number, NULL);
	if (removal->arena == NULL || iqdb_index_contains(&removal->arena->index, iqdb_id_u64(number), NULL))
		removal->removed++;
	if (removal->count == IDS_PER_BATCH)
		remove_pending(removal);
}

/* Asks for every TID that the arena knows. */
static void
ask_for_known(Removal *removal)
{
	uint64		ids[256];
	uint64		position = 0;
	size_t		count;

	while ((count = iqdb_index_ids(&removal->arena->index, &position, ids, NULL, lengthof(ids))) > 0)
	{
		iqdb_pg_vacuum_delay_point();
		for (size_t i = 0; i < count; i++)
		{
			ItemPointerData tid;

			iqdb_pg_number_tid(ids[i], &tid);
			ask(removal, &tid);
		}
	}
}

/*
 * Asks for the dead line pointers of the table, whether or not the arena, if there is one, knows them: VACUUM is about to
 * free them. Another node may have built its arena from the table when their tuples were there, although this index was
 * never told of them: the inserting statement failed on its way to the index, or the rows came and went while the index
 * was created concurrently. And another process of this server may still work with an arena whose file somebody has
 * removed, while this one has just read the table. A page that is visible to all has none.
 */
static void
ask_for_dead_items(Removal *removal, Relation heap)
{
	BufferAccessStrategy strategy = GetAccessStrategy(BAS_VACUUM);
	BlockNumber blocks = RelationGetNumberOfBlocks(heap);
	Buffer		map = InvalidBuffer;

	for (BlockNumber block = 0; block < blocks; block++)
	{
		ItemPointerData tids[MaxHeapTuplesPerPage];
		int			count;

		if (visibilitymap_get_status(heap, block, &map) & VISIBILITYMAP_ALL_VISIBLE)
			continue;
		iqdb_pg_vacuum_delay_point();
		count = iqdb_pg_dead_items(heap, block, strategy, tids);
		for (int i = 0; i < count; i++)
			ask(removal, &tids[i]);
	}
	if (BufferIsValid(map))
		ReleaseBuffer(map);
	FreeAccessStrategy(strategy);
}

/* Lists that no longer suit the rows are trained anew: that takes time, so it is said. */
static bool
is_outgrown(Relation index, IqdbPgArena *arena)
{
	IqdbIndexStats stats;

	iqdb_index_stats(&arena->index, &stats);
	if (!stats.engine.outgrown)
		return false;
	ereport(LOG, (errmsg("iqdb: lists of index \"%s\" are trained anew", RelationGetRelationName(index)),
				  errdetail("They were trained with %llu rows, there are %llu now; %llu came one by one, %.2f times as far "
							"from the centres of their lists.",
							(unsigned long long) stats.engine.trained_rows, (unsigned long long) stats.live,
							(unsigned long long) stats.engine.newcomers, stats.engine.drift)));
	return true;
}

IndexBulkDeleteResult *
iqdb_am_bulkdelete(IndexVacuumInfo *info, IndexBulkDeleteResult *stats, IndexBulkDeleteCallback callback,
				   void *callback_state)
{
	Relation	index = info->index;
	Relation	heap = table_open(index->rd_index->indrelid, NoLock);
	IqdbError	error = {0};
	Removal		removal = {index, NULL, callback, callback_state, NULL, 0, 0, 0};

	removal.arena = iqdb_pg_try_current(index, heap, IQDB_PG_OPEN_VACUUM, &error);
	removal.rows = palloc(IDS_PER_BATCH * sizeof(IqdbPgRow));
	/* nobody else can know rows of an index in private memory */
	if (removal.arena == NULL || !removal.arena->is_private)
		ask_for_dead_items(&removal, heap);
	remove_pending(&removal);
	removal.kept = 0;
	if (removal.arena != NULL)
		ask_for_known(&removal);
	remove_pending(&removal);

	/* what went may be what there was no room for */
	if (removal.arena == NULL && removal.removed > 0)
		removal.arena = iqdb_pg_try_current(index, heap, IQDB_PG_OPEN_VACUUM, &error);
	if (removal.arena != NULL)
	{
		/* removals that somebody else's backlog kept from being applied at once */
		iqdb_pg_catch_up(index, heap, removal.arena);
		(void) is_outgrown(index, removal.arena);
		iqdb_pg_maintain(index, removal.arena, IQDB_MAINTAIN_VACUUM);
		if (iqdb_pg_log_is_due(removal.arena->shared))
			iqdb_pg_log_flush(removal.arena, false, false);
	}
	table_close(heap, NoLock);
	IQDB_PG_FAIL_POINT("delete-end");

	if (stats == NULL)
		stats = palloc0(sizeof(IndexBulkDeleteResult));
	stats->tuples_removed += removal.removed;
	stats->num_index_tuples = removal.arena != NULL ? (double) removal.kept : info->num_heap_tuples;
	stats->estimated_count = removal.arena == NULL;
	stats->num_pages = RelationGetNumberOfBlocks(index);
	pfree(removal.rows);
	return stats;
}

/* Where no keeper runs, VACUUM writes the snapshot that is due; and a small one at any rate. */
static void
snapshot_if_due(Relation index, IqdbPgArena *arena)
{
	IqdbPgShared *shared = arena->shared;

	iqdb_pg_snapshot_settle(shared, index);
	if (!RecoveryInProgress() && pg_atomic_read_u32(&shared->snapshots.wanted) != 0 &&
		(!iqdb_pg_worker_runs() || iqdb_pg_snapshot_is_small(shared)))
		iqdb_pg_save(index, arena, false);
}

/*
 * The sweep reads the folders of all indexes of this database, and may open each of them. After every index of a VACUUM of
 * many partitions that would be work in proportion to the square of their number, so a process remembers when it swept
 * last. What it does not remove now is not lost: the keeper sweeps, too.
 */
static void
sweep_now_and_then(void)
{
	static TimestampTz last;
	static Oid	database;
	TimestampTz now = GetCurrentTimestamp();

	if (database == MyDatabaseId && !TimestampDifferenceExceeds(last, now, SWEEP_INTERVAL))
		return;
	IQDB_PG_FAIL_POINT("vacuum-sweep");
	iqdb_pg_sweep();
	database = MyDatabaseId;
	last = now;
}

IndexBulkDeleteResult *
iqdb_am_vacuumcleanup(IndexVacuumInfo *info, IndexBulkDeleteResult *stats)
{
	IqdbError	error = {0};
	IqdbPgArena *arena;

	if (info->analyze_only)
		return stats;
	IQDB_PG_FAIL_POINT("vacuum-cleanup");
	arena = iqdb_pg_open(info->index, NULL, IQDB_PG_OPEN_IF_READY, &error);
	if (stats == NULL)
	{
		/* no row was deleted here, but another index may have been dropped, or a limit raised */
		if (arena != NULL && pg_atomic_read_u32(&arena->shared->full) != 0)
			arena = iqdb_pg_try_current(info->index, NULL, IQDB_PG_OPEN_VACUUM, &error);
		stats = palloc0(sizeof(IndexBulkDeleteResult));
		stats->num_index_tuples = arena != NULL ? (double) iqdb_index_live_count(&arena->index) : info->num_heap_tuples;
		stats->estimated_count = arena == NULL && info->estimated_count;
	}
	stats->num_pages = RelationGetNumberOfBlocks(info->index);
	if (arena != NULL)
	{
		iqdb_pg_link_pending(info->index, arena, 0);
		/* an index that was read from its table may have met no keeper: perhaps no process could be started */
		iqdb_pg_finish_build(info->index, arena);
		/* tables that only grow see no deletion */
		if (is_outgrown(info->index, arena))
			iqdb_pg_maintain(info->index, arena, IQDB_MAINTAIN_VACUUM);
		snapshot_if_due(info->index, arena);
	}
	sweep_now_and_then();
	return stats;
}
