/*
 * pg_bridge.c - see pg_bridge.h.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "storage/lwlock.h"

#include "pg/pg_arena.h"
#include "pg/pg_bridge.h"
#include "pg/pg_registry.h"

StaticAssertDecl(sizeof(LWLock) <= IQDB_LOCK_CELL_SIZE, "an LWLock must fit into a lock cell of the arena");

/* ---- memory ---- */

static void *
context_resize(void *arg, void *pointer, size_t old_size, size_t new_size)
{
	void	   *fresh;

	if (new_size == 0)
	{
		if (pointer != NULL)
			pfree(pointer);
		return NULL;
	}
	fresh = MemoryContextAllocExtended((MemoryContext) arg, new_size, MCXT_ALLOC_HUGE | MCXT_ALLOC_NO_OOM);
	if (fresh != NULL && pointer != NULL)
	{
		memcpy(fresh, pointer, Min(old_size, new_size));
		pfree(pointer);
	}
	return fresh;
}

/* ---- locks ---- */

static void
lock_init(void *arg, void *cell)
{
	LWLockInitialize((LWLock *) cell, iqdb_pg_registry()->tranche);
}

static void
lock_acquire(void *arg, void *cell, bool exclusive)
{
	LWLockAcquire((LWLock *) cell, exclusive ? LW_EXCLUSIVE : LW_SHARED);
}

static void
lock_release(void *arg, void *cell, bool exclusive)
{
	LWLockRelease((LWLock *) cell);
}

/* ---- cancel ---- */

/* Work that is lost when it stops is stopped by a cancel or the end of the process only. */
static bool
interrupted(void *arg)
{
	return QueryCancelPending || ProcDiePending || ShutdownRequestPending;
}

/* Work that can go on where it stopped makes way for every interrupt: other backends may be waiting for us. */
static bool
interrupt_pending(void *arg)
{
	return INTERRUPTS_PENDING_CONDITION() || ShutdownRequestPending;
}

IqdbHost
iqdb_pg_host(MemoryContext context)
{
	IqdbHost	host;

	host.allocator.resize = context_resize;
	host.allocator.arg = context;
	host.locks.init = lock_init;
	host.locks.acquire = lock_acquire;
	host.locks.release = lock_release;
	host.locks.arg = NULL;
	host.cancelled = interrupted;
	host.cancel_arg = NULL;
	host.clock = iqdb_clock_monotonic;
	host.clock_arg = NULL;
	return host;
}

void
iqdb_pg_host_yielding(IqdbHost *host)
{
	host->cancelled = interrupt_pending;
}

/* ---- errors ---- */

int
iqdb_pg_sqlstate(IqdbStatus status)
{
	switch (status)
	{
		case IQDB_ERR_DIMENSION:
		case IQDB_ERR_VECTOR:
			return ERRCODE_DATA_EXCEPTION;
		case IQDB_ERR_CONFIG:
		case IQDB_ERR_FILTER:
			return ERRCODE_INVALID_PARAMETER_VALUE;
		case IQDB_ERR_METRIC:
		case IQDB_ERR_UNSUPPORTED:
			return ERRCODE_FEATURE_NOT_SUPPORTED;
		case IQDB_ERR_NOT_FOUND:
			return ERRCODE_NO_DATA_FOUND;
		case IQDB_ERR_DUPLICATE:
			return ERRCODE_UNIQUE_VIOLATION;
		case IQDB_ERR_LOCKED:
			return ERRCODE_OBJECT_IN_USE;
		case IQDB_ERR_NOMEM:
		case IQDB_ERR_LIMIT:
			return ERRCODE_OUT_OF_MEMORY;
		case IQDB_ERR_NO_SPACE:
			return ERRCODE_DISK_FULL;
		case IQDB_ERR_IO:
			return ERRCODE_IO_ERROR;
		case IQDB_ERR_CANCELLED:
			return ERRCODE_QUERY_CANCELED;
		case IQDB_ERR_CORRUPT:
		case IQDB_ERR_VERSION:
			return ERRCODE_INDEX_CORRUPTED;
		default:
			return ERRCODE_INTERNAL_ERROR;
	}
}

const char *
iqdb_pg_hint(const IqdbError *error)
{
	switch (error->code)
	{
		case IQDB_ERR_LIMIT:
			return iqdb_pg_arena_limit_hint();
		case IQDB_ERR_NOMEM:
			return "The system refuses this process more memory or address space: raise its limits (ulimit -v, "
				"vm.max_map_count, vm.overcommit_memory), or let one transaction use fewer indexes.";
		case IQDB_ERR_NO_SPACE:
			return "Free space in the file system named, or set iqdb.arena_directory, or iqdb.vector_directory for vectors on "
				"disk, to another one.";
		case IQDB_ERR_CORRUPT:
		case IQDB_ERR_VERSION:
			return "REINDEX the index; the table itself is not concerned.";
		default:
			return NULL;
	}
}

const char *
iqdb_pg_error_text(const IqdbError *error)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfoString(&text, error->message[0] != '\0' ? error->message : iqdb_status_name(error->code));
	if (error->file[0] != '\0' && error->sys_errno != 0)
		appendStringInfo(&text, " \"%s\"", error->file);
	if (error->sys_errno != 0)
		appendStringInfo(&text, ": %s", strerror(error->sys_errno));
	return text.data;
}

void
iqdb_pg_raise(IqdbStatus status, const IqdbError *error, Relation index)
{
	const IqdbError nothing = {.code = status};
	const char *hint = iqdb_pg_hint(error != NULL && error->code == status ? error : &nothing);

	/* A cancel seen by the core: the server knows best what to say of it. */
	if (status == IQDB_ERR_CANCELLED)
		CHECK_FOR_INTERRUPTS();

	ereport(ERROR,
			(errcode(iqdb_pg_sqlstate(status)),
			 errmsg("%s", error != NULL ? iqdb_pg_error_text(error) : iqdb_status_name(status)),
			 error != NULL && error->file[0] != '\0' && error->sys_errno == 0 ?
			 errdetail("File \"%s\", offset " UINT64_FORMAT ".", error->file, (uint64) error->offset) :
			 index != NULL ? errdetail("Index \"%s\".", RelationGetRelationName(index)) : 0,
			 hint != NULL ? errhint("%s", hint) : 0));
	pg_unreachable();
}
