/*
 * pg_recovery.c - see pg_recovery.h.
 *
 * A place of the registry belongs to whoever wrote its index there, and to the worker after it has written its process id.
 * If the worker never comes (the server stops, or has no memory), the place is taken for free after a while. One that ends by
 * an error leaves it so, too: each row that is inserted would ask for another.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "pg/pg_am.h"
#include "pg/pg_compat.h"
#include "pg/pg_open.h"
#include "pg/pg_recovery.h"
#include "pg/pg_registry.h"
#include "pg/pg_settings.h"
#include "pg/pg_worker.h"

/* So long a worker may need to start. */
#define START_MICROSECONDS UINT64CONST(20000000)

/* ---- asking ------------------------------------------------------------------------------------------------------ */

static uint64
key_of(Relation index)
{
	return ((uint64) MyDatabaseId << 32) | RelationGetRelid(index);
}

/* Is the worker of this place there, or may it still come, or did it fail a moment ago? */
static bool
is_taken(IqdbPgRecovery *place)
{
	return pg_atomic_read_u32(&place->pid) != 0 ||
		(uint64) GetCurrentTimestamp() - pg_atomic_read_u64(&place->asked) < START_MICROSECONDS;
}

static IqdbPgRecovery *
find_place(uint64 key)
{
	IqdbPgRegistry *registry = iqdb_pg_registry();

	for (int i = 0; i < IQDB_PG_RECOVERIES; i++)
	{
		IqdbPgRecovery *place = &registry->recoveries[i];

		if (pg_atomic_read_u64(&place->index) == key && is_taken(place))
			return place;
	}
	return NULL;
}

bool
iqdb_pg_recovery_asked(Relation index)
{
	IqdbPgRecovery *place = find_place(key_of(index));

	return place != NULL && pg_atomic_read_u32(&place->failed) == 0;
}

bool
iqdb_pg_recovery_ask(Relation index)
{
	IqdbPgRegistry *registry = iqdb_pg_registry();
	uint64		key = key_of(index);
	IqdbPgRecovery *known;

	if (!iqdb_background_worker)
		return false;
	known = find_place(key);
	if (known != NULL)
		return pg_atomic_read_u32(&known->failed) == 0;
	for (int i = 0; i < IQDB_PG_RECOVERIES; i++)
	{
		IqdbPgRecovery *place = &registry->recoveries[i];
		uint64		before = pg_atomic_read_u64(&place->index);

		if ((before != 0 && is_taken(place)) || !pg_atomic_compare_exchange_u64(&place->index, &before, key))
			continue;
		pg_atomic_write_u64(&place->asked, (uint64) GetCurrentTimestamp());
		pg_atomic_write_u32(&place->failed, 0);
		if (iqdb_pg_start_process("iqdb recovery", "iqdb_recovery_main", Int32GetDatum(i), true))
			return true;
		pg_atomic_write_u64(&place->index, 0);
		return false;
	}
	return false;
}

/* ---- the worker -------------------------------------------------------------------------------------------------- */

static void
leave_place(int code, Datum arg)
{
	IqdbPgRecovery *place = &iqdb_pg_registry()->recoveries[DatumGetInt32(arg)];

	pg_atomic_write_u64(&place->asked, (uint64) GetCurrentTimestamp());
	pg_atomic_write_u32(&place->failed, code != 0);
	if (code == 0)
		pg_atomic_write_u64(&place->index, 0);
	pg_atomic_write_u32(&place->pid, 0);
}

/* An index of ours, locked against its end with its table; NULL if it has gone meanwhile. */
static Relation
open_index(Oid oid, Relation *heap_out)
{
	Oid			table = IndexGetRelation(oid, true);
	Relation	index;

	*heap_out = OidIsValid(table) ? try_relation_open(table, AccessShareLock) : NULL;
	if (*heap_out == NULL)
		return NULL;
	index = try_relation_open(oid, AccessShareLock);
	if (index != NULL && index->rd_rel->relkind == RELKIND_INDEX && index->rd_indam->aminsert == iqdb_am_insert)
		return index;
	if (index != NULL)
		relation_close(index, AccessShareLock);
	relation_close(*heap_out, AccessShareLock);
	return NULL;
}

static void
recover(Oid oid)
{
	Relation	heap;
	Relation	index = open_index(oid, &heap);
	IqdbError	error = {0};

	if (index == NULL)
		return;
	pgstat_report_activity(STATE_RUNNING, psprintf("recovering index \"%s\"", RelationGetRelationName(index)));
	/* WAIT would go on to link rows, under a lock that others may wait for: that is the keeper's work */
	if (iqdb_pg_open(index, heap, IQDB_PG_OPEN_VACUUM, &error) == NULL && error.code != IQDB_OK)
		ereport(LOG, (errmsg("iqdb: index \"%s\" cannot be used: %s", RelationGetRelationName(index),
							 iqdb_pg_error_text(&error))));
	relation_close(index, AccessShareLock);
	relation_close(heap, AccessShareLock);
}

void
iqdb_recovery_main(Datum arg)
{
	IqdbPgRecovery *place = &iqdb_pg_registry()->recoveries[DatumGetInt32(arg)];
	uint64		key = pg_atomic_read_u64(&place->index);
	uint32		nobody = 0;

	/* this process is so late that the place is somebody else's */
	if (key == 0 || !pg_atomic_compare_exchange_u32(&place->pid, &nobody, (uint32) MyProcPid))
		return;
	before_shmem_exit(leave_place, arg);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid((Oid) (key >> 32), InvalidOid, BGWORKER_BYPASS_ALLOWCONN);
	iqdb_pg_no_time_limits();
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	recover((Oid) key);
	PopActiveSnapshot();
	CommitTransactionCommand();
}
