/*
 * pg_registry.c - see pg_registry.h.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "pg/pg_arena.h"
#include "pg/pg_compat.h"
#include "pg/pg_kernels.h"
#include "pg/pg_registry.h"

/* What pg_stat_activity shows of who waits for a lock in an arena. */
#define TRANCHE_NAME "iqdb"

static IqdbPgRegistry *registry;

static void
remove_arenas(int code, Datum arg)
{
	iqdb_pg_arena_remove_all();
}

IqdbPgRegistry *
iqdb_pg_registry(void)
{
	IqdbPgRegistry *shared;
	char		name[48];			/* the server takes no longer ones */
	bool		found;
	bool		fresh;

	if (likely(registry != NULL))
		return registry;

	snprintf(name, sizeof(name), "iqdb " IQDB_LIBRARY_VERSION " %d.%zu.%zu", IQDB_PG_MEMORY_LAYOUT,
			 sizeof(IqdbPgRegistry), sizeof(IqdbPgShared));
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct(name, sizeof(IqdbPgRegistry), &found);
	fresh = !found || shared->token == 0;
	if (fresh)
	{
		memset(shared, 0, sizeof(*shared));
		shared->tranche = iqdb_pg_new_tranche(TRANCHE_NAME);
		pg_atomic_init_u32(&shared->worker_pid, 0);
		shared->worker_latch = NULL;
		pg_atomic_init_u64(&shared->worker_tried, 0);
		for (int i = 0; i < IQDB_PG_NO_ROOM_ENTRIES; i++)
		{
			pg_atomic_init_u64(&shared->no_room[i].generation, 0);
			pg_atomic_init_u64(&shared->no_room[i].until, 0);
		}
		for (int i = 0; i < IQDB_PG_GATES; i++)
		{
			pg_atomic_init_u32(&shared->gates[i].holder, 0);
			ConditionVariableInit(&shared->gates[i].left);
		}
		pg_atomic_init_u64(&shared->promised, 0);
		pg_atomic_init_u64(&shared->memory, 0);
		for (int i = 0; i < IQDB_PG_MADE_WORDS; i++)
			pg_atomic_init_u32(&shared->made[i], 0);
		for (int i = 0; i < IQDB_PG_RECOVERIES; i++)
		{
			pg_atomic_init_u64(&shared->recoveries[i].index, 0);
			pg_atomic_init_u64(&shared->recoveries[i].asked, 0);
			pg_atomic_init_u32(&shared->recoveries[i].failed, 0);
			pg_atomic_init_u32(&shared->recoveries[i].pid, 0);
		}
		while (shared->token == 0)
			if (!pg_strong_random(&shared->token, sizeof(shared->token)))
				ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not draw a random number")));
	}
	LWLockRelease(AddinShmemInitLock);
	registry = shared;
	iqdb_pg_register_tranche(registry->tranche, TRANCHE_NAME);

	/* a server of one user has no keeper that would do it */
	if (!IsUnderPostmaster)
		on_shmem_exit(remove_arenas, (Datum) 0);

	/* The first process of a life clears away what earlier lives left in the arena folders. */
	if (fresh)
		iqdb_pg_arena_sweep();
	return registry;
}

/* ---- indexes without room ---------------------------------------------------------------------------------------- */

#define NO_ROOM_MICROSECONDS UINT64CONST(30000000)

void
iqdb_pg_no_room_note(uint64 generation)
{
	IqdbPgRegistry *shared = iqdb_pg_registry();
	int			place = (int) (generation % IQDB_PG_NO_ROOM_ENTRIES);

	pg_atomic_write_u64(&shared->no_room[place].generation, generation);
	pg_atomic_write_u64(&shared->no_room[place].until, (uint64) GetCurrentTimestamp() + NO_ROOM_MICROSECONDS);
}

bool
iqdb_pg_no_room_lately(uint64 generation)
{
	IqdbPgRegistry *shared = iqdb_pg_registry();
	int			place = (int) (generation % IQDB_PG_NO_ROOM_ENTRIES);

	return pg_atomic_read_u64(&shared->no_room[place].generation) == generation &&
		pg_atomic_read_u64(&shared->no_room[place].until) > (uint64) GetCurrentTimestamp();
}

void
iqdb_pg_no_room_forget(uint64 generation)
{
	IqdbPgRegistry *shared = iqdb_pg_registry();
	int			place = (int) (generation % IQDB_PG_NO_ROOM_ENTRIES);

	if (pg_atomic_read_u64(&shared->no_room[place].generation) == generation)
		pg_atomic_write_u64(&shared->no_room[place].until, 0);
}

/* ---- relations that arenas were made of -------------------------------------------------------------------------- */

static uint32
made_bit(Oid database, uint32 relation_number)
{
	return hash_combine(murmurhash32(database), murmurhash32(relation_number)) % (IQDB_PG_MADE_WORDS * 32);
}

void
iqdb_pg_made_note(Oid database, uint32 relation_number)
{
	uint32		bit = made_bit(database, relation_number);

	(void) pg_atomic_fetch_or_u32(&iqdb_pg_registry()->made[bit / 32], UINT32_C(1) << (bit % 32));
}

bool
iqdb_pg_made(Oid database, uint32 relation_number)
{
	uint32		bit = made_bit(database, relation_number);

	return (pg_atomic_read_u32(&iqdb_pg_registry()->made[bit / 32]) & (UINT32_C(1) << (bit % 32))) != 0;
}
