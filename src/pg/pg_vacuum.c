/*
 * pg_vacuum.c - VACUUM's two calls.
 *
 * ambulkdelete asks for every TID that the index knows, with or without a vector, whether its tuple is dead, and journals
 * a DELETE for those that are: other nodes may hold what this one forgot. All of them are journaled before it returns,
 * because the table gives the line pointers free right afterwards. The engine's repair comes after that, in proportion to
 * what was removed.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "commands/vacuum.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"

#include "pg/pg_am.h"
#include "pg/pg_compat.h"
#include "pg/pg_files.h"
#include "pg/pg_lifecycle.h"
#include "pg/pg_lock.h"
#include "pg/pg_open.h"
#include "pg/pg_options.h"
#include "pg/pg_worker.h"

#define IDS_PER_BATCH 1024

/* Journals and applies the removal of a batch; an index that is out of room is brought up later by others. */
static void
remove_batch(Relation index, IqdbPgArena *arena, IqdbPgChange *changes, int count)
{
	IqdbError	error = {0};

	if (count == 0)
		return;
	iqdb_pg_write(index, arena, changes, count, &error);
	iqdb_pg_check(error.code, &error, index);
}

static void
maintain(Relation index, IqdbPgArena *arena)
{
	IqdbHost	host = iqdb_pg_host(CurrentMemoryContext);
	IqdbIndex	mine = arena->index;
	IqdbError	error = {0};
	IqdbStatus	status;

	mine.host = &host;
	mine.store.host = &host;
	status = iqdb_index_maintain(&mine, IQDB_MAINTAIN_VACUUM, &error);
	iqdb_pg_check(status, &error, index);
}

IndexBulkDeleteResult *
iqdb_am_bulkdelete(IndexVacuumInfo *info, IndexBulkDeleteResult *stats, IndexBulkDeleteCallback callback,
				   void *callback_state)
{
	Relation	index = info->index;
	IqdbPgArena *arena = iqdb_pg_open_current(index, NULL);
	uint64	   *ids = palloc(IDS_PER_BATCH * sizeof(uint64));
	IqdbPgChange *changes = palloc(IDS_PER_BATCH * sizeof(IqdbPgChange));
	uint64		position = 0;
	uint64		kept = 0;
	size_t		count;

	if (stats == NULL)
		stats = palloc0(sizeof(IndexBulkDeleteResult));
	while ((count = iqdb_index_ids(&arena->index, &position, ids, NULL, IDS_PER_BATCH)) > 0)
	{
		int			dead = 0;

		iqdb_pg_vacuum_delay_point();
		for (size_t i = 0; i < count; i++)
		{
			ItemPointerData tid;

			iqdb_pg_number_tid(ids[i], &tid);
			if (callback(&tid, callback_state))
			{
				changes[dead].entry = iqdb_pg_entry(&tid, IQDB_PG_OP_DELETE);
				changes[dead].id = ids[i];
				changes[dead++].vector = NULL;
			}
			else
				kept++;
		}
		remove_batch(index, arena, changes, dead);
		stats->tuples_removed += dead;
	}
	/* Removals that somebody else's backlog kept from being applied at once. */
	iqdb_pg_catch_up(index, NULL, arena);
	maintain(index, arena);
	if (iqdb_pg_log_waiting(arena->shared) >= IQDB_PG_LOG_FLUSH_AT)
		iqdb_pg_log_flush(arena, false, false);

	stats->num_index_tuples = (double) kept;
	stats->estimated_count = false;
	stats->num_pages = RelationGetNumberOfBlocks(index);
	pfree(ids);
	pfree(changes);
	return stats;
}

/* Where no keeper runs, VACUUM writes the snapshot that is due. */
static void
snapshot_if_due(Relation index, IqdbPgArena *arena)
{
	IqdbPgShared *shared = arena->shared;
	IqdbError	error = {0};
	IqdbStatus	status;
	int			level;
	IqdbCompression compression = iqdb_pg_compression(index, &level);

	if (!shared->permanent || RecoveryInProgress() || iqdb_pg_worker_runs() ||
		pg_atomic_read_u32(&shared->snapshot_wanted) == 0)
		return;
	if (!iqdb_pg_lock(shared->database, shared->relation_number, IQDB_PG_LOCK_SNAPSHOT, false))
		return;
	status = iqdb_pg_snapshot_write(arena, compression, level, &error);
	iqdb_pg_unlock(shared->database, shared->relation_number, IQDB_PG_LOCK_SNAPSHOT);
	if (status == IQDB_ERR_CANCELLED)
		iqdb_pg_raise(status, &error, index);
	if (status != IQDB_OK)
		ereport(LOG, (errmsg("iqdb: no snapshot of index \"%s\" could be written: %s", RelationGetRelationName(index),
							 error.message)));
}

IndexBulkDeleteResult *
iqdb_am_vacuumcleanup(IndexVacuumInfo *info, IndexBulkDeleteResult *stats)
{
	IqdbError	error = {0};
	IqdbPgArena *arena;

	if (info->analyze_only)
		return stats;
	arena = iqdb_pg_open(info->index, NULL, IQDB_PG_OPEN_IF_READY, &error);
	if (stats == NULL)
	{
		stats = palloc0(sizeof(IndexBulkDeleteResult));
		stats->num_index_tuples = arena != NULL ? (double) iqdb_index_live_count(&arena->index) : info->num_heap_tuples;
		stats->estimated_count = arena == NULL && info->estimated_count;
	}
	stats->num_pages = RelationGetNumberOfBlocks(info->index);
	if (arena != NULL)
	{
		iqdb_pg_link_pending(info->index, arena);
		snapshot_if_due(info->index, arena);
	}
	iqdb_pg_sweep();
	return stats;
}
