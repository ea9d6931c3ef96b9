/*
 * pg_registry.c - see pg_registry.h.
 */
#include "postgres.h"

#include "storage/lwlock.h"
#include "storage/shmem.h"

#include "pg/pg_arena.h"
#include "pg/pg_registry.h"

static IqdbPgRegistry *registry;

IqdbPgRegistry *
iqdb_pg_registry(void)
{
	IqdbPgRegistry *shared;
	bool		found;
	bool		fresh;

	if (likely(registry != NULL))
		return registry;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct("iqdb", sizeof(IqdbPgRegistry), &found);
	fresh = !found || shared->token == 0;
	if (fresh)
	{
		memset(shared, 0, sizeof(*shared));
		shared->tranche = LWLockNewTrancheId();
		pg_atomic_init_u32(&shared->worker_pid, 0);
		pg_atomic_init_u64(&shared->worker_tried, 0);
		while (shared->token == 0)
			if (!pg_strong_random(&shared->token, sizeof(shared->token)))
				ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not draw a random number")));
	}
	LWLockRelease(AddinShmemInitLock);
	registry = shared;
	LWLockRegisterTranche(registry->tranche, "iqdb");

	/* The first process of a life clears away what earlier lives left in the arena folders. */
	if (fresh)
		iqdb_pg_arena_sweep();
	return registry;
}
