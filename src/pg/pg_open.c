/*
 * pg_open.c - see pg_open.h for the ladder and for why one number is enough.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "pg/pg_compat.h"
#include "pg/pg_fail.h"
#include "pg/pg_files.h"
#include "pg/pg_follow.h"
#include "pg/pg_lock.h"
#include "pg/pg_open.h"
#include "pg/pg_open_private.h"
#include "pg/pg_paths.h"
#include "pg/pg_recovery.h"
#include "pg/pg_registry.h"
#include "pg/pg_settings.h"
#include "pg/pg_work.h"

/* The arena that is there, without making one. */
static IqdbPgArena *
find_ready(Relation index)
{
	uint32		number = iqdb_pg_file_number(iqdb_pg_rel_file(index));
	IqdbPgGeneration generation;
	IqdbPgArena *arena;

	if (!iqdb_pg_journal_generation(index, &generation))
		return NULL;
	arena = iqdb_pg_arena_lookup(number, &generation);
	if (arena != NULL)
		return pg_atomic_read_u32(&arena->shared->state) == IQDB_PG_READY ? arena : NULL;
	return iqdb_pg_arena_map(number, &generation);
}

/*
 * What reading the table for an index may raise: its expression or predicate may fail, where they are evaluated as here, or
 * a page of the table be damaged. That is no error of a statement that can do without the index. A cancel is, and damage of
 * own files where the user wants it to be one.
 */
typedef struct Attempt
{
	Relation	index;
	Relation	heap;
	IqdbPgArena *arena;			/* in for catching up, out for opening */
	IqdbError  *error;
	IqdbStatus	status;
} Attempt;

static bool
is_raised_anyway(int code)
{
	return code == ERRCODE_QUERY_CANCELED || code == ERRCODE_ADMIN_SHUTDOWN || code == ERRCODE_INDEX_CORRUPTED ||
		ERRCODE_TO_CATEGORY(code) == ERRCODE_TRANSACTION_ROLLBACK || code == ERRCODE_LOCK_NOT_AVAILABLE;
}

/* Takes the error that was raised, and makes it one that is returned; LOG has it with all it says. */
static void
swallow(Attempt *attempt, MemoryContext context)
{
	ErrorData  *raised;

	MemoryContextSwitchTo(context);
	raised = CopyErrorData();
	if (is_raised_anyway(raised->sqlerrcode))
		ReThrowError(raised);
	FlushErrorState();
	ereport(LOG,
			(errcode(raised->sqlerrcode),
			 errmsg("iqdb: index \"%s\" is left out: %s", RelationGetRelationName(attempt->index), raised->message),
			 raised->detail != NULL ? errdetail_internal("%s", raised->detail) : 0,
			 raised->hint != NULL ? errhint("%s", raised->hint) : 0,
			 raised->context != NULL ? errcontext("%s", raised->context) : 0));
	attempt->status = iqdb_fail(attempt->error, IQDB_ERR_STATE, "%s", raised->message);
	attempt->arena = NULL;
	FreeErrorData(raised);
}

/*
 * Works in a subtransaction of its own, so that an error ends no more than that. A parallel query may have none: there the
 * error is the statement's.
 */
static void
attempt_work(Attempt *attempt, void (*work) (Attempt *attempt))
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;

	if (IsInParallelMode())
	{
		work(attempt);
		return;
	}
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		work(attempt);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		RollbackAndReleaseCurrentSubTransaction();
		CurrentResourceOwner = owner;
		swallow(attempt, context);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
}

/* Makes the arena. The open lock is held, and nobody else has made it. */
static void
recover_locked(Attempt *attempt)
{
	Relation	index = attempt->index;
	Relation	heap = attempt->heap != NULL ? attempt->heap : table_open(index->rd_index->indrelid, NoLock);
	IqdbPgMeta	meta;

	iqdb_pg_journal_meta(index, &meta);
	attempt->arena = iqdb_pg_recover(index, heap, &meta, attempt->error);
	attempt->status = attempt->error->code;
	if (heap != attempt->heap)
		table_close(heap, NoLock);
}

/* Says whether it may be tried again at once, and has plans made anew: with the index, or without. */
static void
note_outcome(Relation index, bool failed)
{
	IqdbPgMeta	meta;

	if (!iqdb_pg_journal_try_meta(index, &meta))
		return;
	if (failed)
		iqdb_pg_no_room_note(meta.generation.low);
	else
		iqdb_pg_no_room_forget(meta.generation.low);
	iqdb_pg_replan(index);
}

static bool
failed_lately(Relation index)
{
	IqdbPgGeneration generation;

	return iqdb_pg_journal_generation(index, &generation) && iqdb_pg_no_room_lately(generation.low);
}

bool
iqdb_pg_is_recovering(Relation index)
{
	return failed_lately(index) || iqdb_pg_recovery_asked(index) ||
		iqdb_pg_is_locked(MyDatabaseId, iqdb_pg_file_number(iqdb_pg_rel_file(index)), IQDB_PG_LOCK_OPEN);
}

/* Shall this caller leave an index that is not open to others? */
static bool
is_left_to_others(Relation index, IqdbPgOpenMode mode)
{
	IqdbPgGeneration generation;

	if (mode == IQDB_PG_OPEN_WAIT || mode == IQDB_PG_OPEN_VACUUM || index->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		return false;
	if (failed_lately(index))
		return true;
	if (mode == IQDB_PG_OPEN_SEARCH && iqdb_pg_journal_generation(index, &generation) &&
		iqdb_pg_has_snapshot(MyDatabaseId, &generation))
		return false;
	return iqdb_pg_recovery_ask(index) || mode == IQDB_PG_OPEN_ASK;
}

/*
 * Recovers the index under the open lock, in the way that the caller can bear. A recovery that a cancel ends is not tried
 * again and again by statements that have no time for it: a worker goes on.
 */
static IqdbPgArena *
recover_as(Relation index, Relation heap, IqdbPgOpenMode mode, IqdbError *error)
{
	Attempt		attempt = {.index = index, .heap = heap, .error = error};
	IqdbPgGeneration generation;
	bool		known = iqdb_pg_journal_generation(index, &generation);

	PG_TRY();
	{
		if (mode == IQDB_PG_OPEN_WAIT)
			recover_locked(&attempt);
		else
			attempt_work(&attempt, recover_locked);
	}
	PG_CATCH();
	{
		if (geterrcode() == ERRCODE_QUERY_CANCELED && mode == IQDB_PG_OPEN_SEARCH)
			(void) iqdb_pg_recovery_ask(index);
		/* of a parallel query, which cannot go on without: the next one does */
		else if (mode == IQDB_PG_OPEN_SEARCH && known && !is_raised_anyway(geterrcode()))
			iqdb_pg_no_room_note(generation.low);
		PG_RE_THROW();
	}
	PG_END_TRY();
	note_outcome(index, attempt.arena == NULL);
	return attempt.arena;
}

/* The arena of an index that is not open, recovered here if the mode lets us. */
static IqdbPgArena *
recover_unless_done(Relation index, Relation heap, IqdbPgOpenMode mode, IqdbError *error)
{
	uint32		number = iqdb_pg_file_number(iqdb_pg_rel_file(index));
	IqdbPgArena *arena;

	if (!iqdb_pg_lock(MyDatabaseId, number, IQDB_PG_LOCK_OPEN, mode != IQDB_PG_OPEN_SEARCH))
		return NULL;
	arena = find_ready(index);
	if (arena == NULL)
		arena = recover_as(index, heap, mode, error);
	iqdb_pg_unlock(MyDatabaseId, number, IQDB_PG_LOCK_OPEN);
	if (arena != NULL && !iqdb_background_worker)
		iqdb_pg_finish_build(index, arena);
	return arena;
}

IqdbPgArena *
iqdb_pg_open(Relation index, Relation heap, IqdbPgOpenMode mode, IqdbError *error)
{
	IqdbPgArena *arena = find_ready(index);

	error->code = IQDB_OK;
	if (arena == NULL && mode != IQDB_PG_OPEN_IF_READY && !is_left_to_others(index, mode))
		arena = recover_unless_done(index, heap, mode, error);
	/* somebody may have been interrupted when only the rows were there */
	if (arena != NULL && mode == IQDB_PG_OPEN_WAIT)
		iqdb_pg_finish_build(index, arena);
	return arena;
}

bool
iqdb_pg_set_full(Relation index, IqdbPgArena *arena, bool full)
{
	if (pg_atomic_exchange_u32(&arena->shared->full, full) == full)
		return false;
	iqdb_pg_replan(index);
	return true;
}

bool
iqdb_pg_larger_possible(const IqdbPgArena *arena, IqdbStatus status)
{
	if (status == IQDB_ERR_NO_SPACE)
		return !arena->fallback && !arena->vectors_full;
	/* somebody removed the file: it cannot grow any more */
	if (status == IQDB_ERR_IO)
		return iqdb_pg_arena_is_stale(arena);
	return status == IQDB_ERR_LIMIT && !arena->all_full &&
		(iqdb_pg_arena_outgrown(arena) || iqdb_pg_arena_limit() > iqdb_arena_header(&arena->arena)->limit);
}

/* Applies the journal to its end. A full arena first lets go of what was removed from it. The open lock is held. */
static void
follow_locked(Attempt *attempt)
{
	Relation	index = attempt->index;
	Relation	heap = attempt->heap != NULL ? attempt->heap : table_open(index->rd_index->indrelid, NoLock);
	IqdbIndexStats stats;
	uint64		fetched;

	attempt->status = iqdb_pg_follow(index, heap, attempt->arena, &fetched, attempt->error);
	if (iqdb_pg_is_want_of_room(attempt->status))
	{
		iqdb_index_stats(&attempt->arena->index, &stats);
		if (stats.dead > 0)
		{
			iqdb_pg_maintain(index, attempt->arena, IQDB_MAINTAIN_VACUUM);
			attempt->status = iqdb_pg_follow(index, heap, attempt->arena, &fetched, attempt->error);
		}
	}
	if (heap != attempt->heap)
		table_close(heap, NoLock);
}

/*
 * Applies the journal to its end; if !wait, only if nobody else is at it. Returns want of room, after marking the arena
 * full; one that was overtaken by the journal, or that another could take the place of, is discarded, which is IQDB_OK: the
 * caller opens again. guarded: what the table raises is returned, too.
 */
static IqdbStatus
catch_up(Relation index, Relation heap, IqdbPgArena *arena, bool wait, bool guarded, IqdbError *error)
{
	IqdbPgShared *shared = arena->shared;
	Attempt		attempt = {.index = index, .heap = heap, .arena = arena, .error = error};

	if (!iqdb_pg_is_behind(index, arena) ||
		!iqdb_pg_lock(shared->database, shared->relation_number, IQDB_PG_LOCK_OPEN, wait))
		return IQDB_OK;
	/* whoever held the lock before may have given it up: what took its place, and its snapshot, are not to be touched */
	if (pg_atomic_read_u32(&shared->state) != IQDB_PG_READY)
	{
		iqdb_pg_unlock(shared->database, shared->relation_number, IQDB_PG_LOCK_OPEN);
		return IQDB_OK;
	}
	if (guarded)
		attempt_work(&attempt, follow_locked);
	else
		follow_locked(&attempt);
	if (attempt.arena == NULL)
		note_outcome(index, true);
	else if (attempt.status == IQDB_ERR_STATE || iqdb_pg_larger_possible(arena, attempt.status) ||
			 (iqdb_pg_is_want_of_room(attempt.status) && iqdb_pg_shrinks_ahead(index, arena)))
	{
		ereport(LOG, (errmsg("iqdb: index \"%s\" is opened anew: %s", RelationGetRelationName(index),
							 iqdb_pg_error_text(error))));
		/* one that has outgrown its reserve is sound: the next need not be built, if this can be saved */
		if (attempt.status == IQDB_ERR_LIMIT)
			iqdb_pg_save(index, arena, true);
		iqdb_pg_arena_discard(arena);
		attempt.status = IQDB_OK;
	}
	else
		iqdb_pg_set_full(index, arena, attempt.status != IQDB_OK);
	iqdb_pg_unlock(shared->database, shared->relation_number, IQDB_PG_LOCK_OPEN);
	return attempt.status;
}

void
iqdb_pg_catch_up(Relation index, Relation heap, IqdbPgArena *arena)
{
	IqdbError	error = {0};

	iqdb_pg_check(catch_up(index, heap, arena, true, false, &error), &error, index);
}

void
iqdb_pg_catch_up_if_free(Relation index, Relation heap, IqdbPgArena *arena)
{
	IqdbError	error = {0};

	if (pg_atomic_read_u32(&arena->shared->full) == 0)
		(void) catch_up(index, heap, arena, false, true, &error);
}

IqdbPgArena *
iqdb_pg_try_current(Relation index, Relation heap, IqdbPgOpenMode mode, IqdbError *error)
{
	for (int attempt = 0; attempt < 4; attempt++)
	{
		IqdbPgArena *arena = iqdb_pg_open(index, heap, mode, error);

		if (arena == NULL || catch_up(index, heap, arena, true, mode != IQDB_PG_OPEN_WAIT, error) != IQDB_OK)
			return NULL;
		if (pg_atomic_read_u32(&arena->shared->state) == IQDB_PG_READY)
			return arena;
	}
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("index \"%s\" is changing too fast to be opened", RelationGetRelationName(index)),
			 errhint("Raise iqdb.journal_limit, or try again.")));
	return NULL;
}

IqdbPgArena *
iqdb_pg_open_current(Relation index, Relation heap)
{
	IqdbError	error = {0};
	IqdbPgArena *arena = iqdb_pg_try_current(index, heap, IQDB_PG_OPEN_WAIT, &error);

	if (arena == NULL)
		iqdb_pg_raise(error.code, &error, index);
	return arena;
}
