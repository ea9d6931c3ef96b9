/*
 * pg_lock.c - see pg_lock.h.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/wait_event.h"

#include "pg/pg_compat.h"
#include "pg/pg_lock.h"
#include "pg/pg_registry.h"

/* The gates that this process has taken: how often, and at which nesting level of transactions first. */
static struct
{
	int			count;
	int			level;
}			taken[IQDB_PG_GATES];

static void
lock_tag(LOCKTAG *tag, Oid database, uint32 relation_number, IqdbPgLockKind kind)
{
	tag->locktag_field1 = database;
	tag->locktag_field2 = relation_number;
	tag->locktag_field3 = 0x62647169;
	tag->locktag_field4 = (uint16) kind;
	tag->locktag_type = LOCKTAG_USERLOCK;
	tag->locktag_lockmethodid = DEFAULT_LOCKMETHOD;
}

/* ---- gates ------------------------------------------------------------------------------------------------------- */

/* Indexes may share one: they are then opened one after the other, if the same parallel query opens both. */
static int
gate_of(Oid database, uint32 relation_number)
{
	return (int) (hash_combine(murmurhash32(database), murmurhash32(relation_number)) % IQDB_PG_GATES);
}

static bool
take_gate(int number, bool wait)
{
	IqdbPgGate *gate = &iqdb_pg_registry()->gates[number];
	uint32		nobody = 0;

	if (taken[number].count == 0)
	{
		while (!pg_atomic_compare_exchange_u32(&gate->holder, &nobody, (uint32) MyProcPid))
		{
			if (!wait)
				return false;
			ConditionVariableSleep(&gate->left, PG_WAIT_EXTENSION);
			nobody = 0;
		}
		ConditionVariableCancelSleep();
		taken[number].level = GetCurrentTransactionNestLevel();
	}
	taken[number].count++;
	return true;
}

static void
leave_gate(int number)
{
	IqdbPgGate *gate = &iqdb_pg_registry()->gates[number];

	pg_atomic_write_u32(&gate->holder, 0);
	ConditionVariableBroadcast(&gate->left);
	taken[number].count = 0;
}

void
iqdb_pg_lock_forget(int level)
{
	for (int i = 0; i < IQDB_PG_GATES; i++)
		if (taken[i].count > 0 && taken[i].level >= level)
			leave_gate(i);
}

/* ---- locks ------------------------------------------------------------------------------------------------------- */

bool
iqdb_pg_lock(Oid database, uint32 relation_number, IqdbPgLockKind kind, bool wait)
{
	LOCKTAG		tag;

	lock_tag(&tag, database, relation_number, kind);
	if (LockAcquire(&tag, ExclusiveLock, false, !wait) == LOCKACQUIRE_NOT_AVAIL)
		return false;
	if (kind != IQDB_PG_LOCK_OPEN || !(IsParallelWorker() || ParallelContextActive()) ||
		take_gate(gate_of(database, relation_number), wait))
		return true;
	LockRelease(&tag, ExclusiveLock, false);
	return false;
}

bool
iqdb_pg_is_locked(Oid database, uint32 relation_number, IqdbPgLockKind kind)
{
	LOCKTAG		tag;

	lock_tag(&tag, database, relation_number, kind);
	return LockWaiterCount(&tag) > 0;
}

void
iqdb_pg_unlock(Oid database, uint32 relation_number, IqdbPgLockKind kind)
{
	int			gate = gate_of(database, relation_number);
	LOCKTAG		tag;

	if (kind == IQDB_PG_LOCK_OPEN && taken[gate].count > 0 && --taken[gate].count == 0)
		leave_gate(gate);
	lock_tag(&tag, database, relation_number, kind);
	LockRelease(&tag, ExclusiveLock, false);
}
