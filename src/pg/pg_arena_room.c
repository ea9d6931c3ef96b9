/*
 * pg_arena_room.c - how much memory arenas may take: the limits, what all of them take together, and what those in the making
 * are still expected to take.
 *
 * Two sums in the registry. What all take is no less than the truth: arenas go without a word here, so it is put right by a
 * look at the files when it seems to pass the limit. What is promised counts against the first folder, so that two builds at
 * once which fit there one by one do not both begin there. Raises nothing: the core asks for memory under its locks.
 */
#include "postgres.h"

#include <sys/statvfs.h>
#include <time.h>

#include "core/base/machine.h"

#include "pg/pg_arena_private.h"
#include "pg/pg_registry.h"
#include "pg/pg_settings.h"

/* Left free in the first folder beside what an index is expected to need. */
#define SHM_ROOM_SPARE (UINT64CONST(4) * 1024 * 1024)

/* So long a look at the limits of the machine, or container, is believed. */
#define MACHINE_SECONDS 10

/* ---- limits ---- */

/* The machine's, or container's, memory may change: it is asked for now and then. */
uint64
iqdb_pg_arena_all_limit(void)
{
	static uint64 machine;
	static time_t asked;
	time_t		now;

	if (iqdb_memory_limit != 0)
		return (uint64) iqdb_memory_limit * 1024 * 1024;
	now = time(NULL);
	if (machine == 0 || now < asked || now - asked > MACHINE_SECONDS)
	{
		machine = iqdb_machine_memory("");
		asked = now;
	}
	return machine;
}

uint64
iqdb_pg_arena_limit(void)
{
	uint64		limit = (uint64) iqdb_arena_limit * 1024 * 1024;

	return limit == 0 ? iqdb_pg_arena_all_limit() : Min(limit, iqdb_pg_arena_all_limit());
}

/* What was in the way last: the limit of all arenas? */
static bool all_refused;

const char *
iqdb_pg_arena_limit_hint(void)
{
	if (all_refused || iqdb_pg_arena_limit() == iqdb_pg_arena_all_limit())
		return "Raise iqdb.memory_limit (0 is the memory of the machine or container), or delete rows and VACUUM the table, "
			"or drop other indexes.";
	return "Raise iqdb.arena_limit, or delete rows and VACUUM the table.";
}

/* ---- what all arenas take ---- */

bool
iqdb_pg_arena_take_memory(uint64 bytes)
{
	static time_t refused;		/* when a look at the files said no */
	pg_atomic_uint64 *sum = &iqdb_pg_registry()->memory;
	uint64		seen = pg_atomic_add_fetch_u64(sum, (int64) bytes);
	uint64		real;

	all_refused = false;
	if (seen <= iqdb_pg_arena_all_limit())
		return true;
	if (time(NULL) != refused)
	{
		real = iqdb_pg_arena_memory();
		/* if somebody else has put it right meanwhile, his number will do */
		(void) pg_atomic_compare_exchange_u64(sum, &seen, real + bytes);
		if (real + bytes <= iqdb_pg_arena_all_limit())
			return true;
		refused = time(NULL);
	}
	all_refused = true;
	pg_atomic_sub_fetch_u64(sum, (int64) bytes);
	return false;
}

void
iqdb_pg_arena_give_memory(uint64 bytes)
{
	pg_atomic_sub_fetch_u64(&iqdb_pg_registry()->memory, (int64) bytes);
}

/* ---- what is promised to arenas in the making ---- */

bool
iqdb_pg_arena_has_room(const char *folder, uint64 needed)
{
	struct statvfs fs;

	return statvfs(folder, &fs) == 0 && (uint64) fs.f_bavail * fs.f_frsize >=
		needed + needed / 4 + SHM_ROOM_SPARE + pg_atomic_read_u64(&iqdb_pg_registry()->promised);
}

void
iqdb_pg_arena_promise(IqdbPgArena *arena, uint64 bytes)
{
	pg_atomic_write_u64(&arena->shared->promised, bytes);
	pg_atomic_fetch_add_u64(&iqdb_pg_registry()->promised, (int64) bytes);
}

/* Parallel workers that help to make it may take some at the same time. */
void
iqdb_pg_arena_keep_promise(IqdbPgArena *arena, uint64 bytes)
{
	uint64		open;

	if (arena->shared == NULL)
		return;
	open = pg_atomic_read_u64(&arena->shared->promised);
	while (open > 0)
	{
		uint64		part = Min(open, bytes);

		if (pg_atomic_compare_exchange_u64(&arena->shared->promised, &open, open - part))
		{
			pg_atomic_sub_fetch_u64(&iqdb_pg_registry()->promised, (int64) part);
			break;
		}
	}
}

void
iqdb_pg_arena_end_promise(IqdbPgArena *arena)
{
	uint64		open = pg_atomic_exchange_u64(&arena->shared->promised, 0);

	if (open > 0)
		pg_atomic_sub_fetch_u64(&iqdb_pg_registry()->promised, (int64) open);
}
