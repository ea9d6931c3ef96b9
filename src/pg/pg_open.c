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
#include "pg/pg_heap.h"
#include "pg/pg_lock.h"
#include "pg/pg_open.h"
#include "pg/pg_open_private.h"
#include "pg/pg_planner.h"
#include "pg/pg_recovery.h"
#include "pg/pg_registry.h"
#include "pg/pg_settings.h"

/* Vectors fetched from the table before they are applied together. */
#define BATCH_BYTES (8 * 1024 * 1024)
#define BATCH_ENTRIES 1024

/* Pages of the journal that other servers may count on however few rows there are; and what a page holds at least. */
#define KEEP_PAGES_MIN 16
#define KEEP_ENTRIES_PER_PAGE 256

/* So many attempts make way for every interrupt. */
#define YIELDS_MAX 5

static inline void
lock_apply(const IqdbPgArena *arena)
{
	iqdb_store_lock(&arena->index.store, IQDB_PG_LOCK_APPLY, true);
}

static inline void
unlock_apply(const IqdbPgArena *arena)
{
	iqdb_store_unlock(&arena->index.store, IQDB_PG_LOCK_APPLY, true);
}

/* ---- applying entries ------------------------------------------------------------------------------------------- */

/* Moves the applied position past one entry. IQDB_PG_LOCK_APPLY is held. */
static void
advance(IqdbPgShared *shared, const IqdbPgEntry *entry, BlockNumber block)
{
	shared->applied.hash = iqdb_pg_hash_step(shared->applied.hash, entry);
	shared->applied.number++;
	shared->applied.block = block;
	pg_atomic_write_u64(&shared->applied_number, shared->applied.number);
	pg_atomic_write_u64(&shared->applied_block, block);
}

/*
 * Applies one entry and notes it for the log. row is what an INSERT put there: without a vector its TID is only known.
 * The position moves only if it was applied. IQDB_PG_LOCK_APPLY is held.
 */
static IqdbStatus
apply_entry(IqdbPgArena *arena, const IqdbPgEntry *entry, IqdbPgRow *row, BlockNumber block, IqdbError *error)
{
	IqdbPgShared *shared = arena->shared;
	uint32		frame = 0;

	if (entry->op == IQDB_PG_OP_INSERT)
	{
		IQDB_TRY(iqdb_pg_row_put(&arena->index, row, error));
		frame = row->vector != NULL ? IQDB_PG_FRAME_PUT : IQDB_PG_FRAME_KNOWN;
	}
	else if (entry->op == IQDB_PG_OP_DELETE)
	{
		iqdb_index_remove(&arena->index, iqdb_id_u64(row->number), NULL);
		frame = IQDB_PG_FRAME_REMOVE;
	}
	IQDB_PG_FAIL_RETURN("entry-put", error);
	advance(shared, entry, block);
	if (frame != 0 && shared->permanent)
		iqdb_pg_log_note(arena, frame, row);
	return IQDB_OK;
}

/* ---- following the journal -------------------------------------------------------------------------------------- */

bool
iqdb_pg_is_behind(Relation index, IqdbPgArena *arena)
{
	if (arena->is_private)
		return false;
	return iqdb_pg_journal_end(index, (BlockNumber) pg_atomic_read_u64(&arena->shared->applied_block)) >
		pg_atomic_read_u64(&arena->shared->applied_number);
}

/*
 * Applies a batch of entries whose rows have been fetched. false if somebody else has applied entries meanwhile: the
 * caller looks again.
 */
static bool
apply_batch(IqdbPgArena *arena, const IqdbPgPosition *from, BlockNumber block, const IqdbPgEntry *entries,
			IqdbPgRow *rows, int count, IqdbStatus *status, IqdbError *error)
{
	bool		current;

	*status = IQDB_OK;
	lock_apply(arena);
	current = arena->shared->applied.number == from->number;
	for (int i = 0; current && i < count && *status == IQDB_OK; i++)
		*status = apply_entry(arena, &entries[i], &rows[i], block, error);
	unlock_apply(arena);
	return current;
}

static void
raise_lsn(IqdbPgShared *shared, XLogRecPtr lsn)
{
	uint64		known = pg_atomic_read_u64(&shared->journal_lsn);

	while (lsn > known && !pg_atomic_compare_exchange_u64(&shared->journal_lsn, &known, lsn))
		;
}

void
iqdb_pg_note_lsn(Relation index, IqdbPgArena *arena, BlockNumber block)
{
	if (arena->shared->permanent)
		raise_lsn(arena->shared, iqdb_pg_journal_page_lsn(index, block));
}

/*
 * The rows of a batch of entries, their vectors from the table into the current context. *fetch is begun with the first,
 * in the context `longer`. Returns how many were fetched.
 */
static uint32
fetch_batch(Relation index, Relation heap, IqdbPgFetch **fetch, MemoryContext longer, const IqdbPgEntry *entries,
			IqdbPgRow *rows, int count)
{
	uint32		fetched = 0;

	for (int i = 0; i < count; i++)
	{
		rows[i] = iqdb_pg_row(iqdb_pg_entry_id(&entries[i]), NULL);
		if (entries[i].op != IQDB_PG_OP_INSERT)
			continue;
		if (*fetch == NULL)
		{
			MemoryContext batch = MemoryContextSwitchTo(longer);

			*fetch = iqdb_pg_fetch_begin(index, heap);
			MemoryContextSwitchTo(batch);
		}
		rows[i] = iqdb_pg_fetch(*fetch, rows[i].number);
		fetched++;
	}
	return fetched;
}

IqdbStatus
iqdb_pg_follow(Relation index, Relation heap, IqdbPgArena *arena, uint64 *fetched_out, IqdbError *error)
{
	int			capacity = Min(BATCH_ENTRIES, Max(16, BATCH_BYTES / (int) iqdb_pg_row_bytes(&arena->index)));
	IqdbPgEntry *entries = palloc(capacity * sizeof(IqdbPgEntry));
	IqdbPgRow  *rows = palloc(capacity * sizeof(IqdbPgRow));
	MemoryContext batch = AllocSetContextCreate(CurrentMemoryContext, "iqdb catch-up", ALLOCSET_DEFAULT_SIZES);
	MemoryContext saved;
	IqdbPgFetch *fetch = NULL;
	IqdbStatus	status = IQDB_OK;

	*fetched_out = 0;
	while (status == IQDB_OK)
	{
		IqdbPgPosition from;
		IqdbPgPosition to;
		uint32		fetched;
		int			count;

		CHECK_FOR_INTERRUPTS();
		lock_apply(arena);
		from = arena->shared->applied;
		unlock_apply(arena);
		to = from;
		if (iqdb_pg_journal_read(index, &to, entries, capacity, &count) != IQDB_PG_READ_OK)
		{
			status = iqdb_fail(error, IQDB_ERR_STATE, "the journal of the index was reused before this arena read it");
			break;
		}
		if (count == 0)
			break;

		saved = MemoryContextSwitchTo(batch);
		fetched = fetch_batch(index, heap, &fetch, saved, entries, rows, count);
		MemoryContextSwitchTo(saved);
		*fetched_out += fetched;
		IQDB_PG_FAIL_POINT("follow-fetched");
		iqdb_index_make_room(&arena->index, fetched);
		iqdb_pg_note_lsn(index, arena, to.block);
		(void) apply_batch(arena, &from, to.block, entries, rows, count, &status, error);
		MemoryContextReset(batch);
	}
	if (fetch != NULL)
		iqdb_pg_fetch_end(fetch);
	MemoryContextDelete(batch);
	pfree(rows);
	pfree(entries);
	return status;
}

/* ---- the engine's long work -------------------------------------------------------------------------------------- */

/*
 * Somebody has removed the file, and this memory cannot grow any more: it is given up, which is no error of the statement
 * that found out. The rows are in the journal; who needs the index next opens it anew.
 */
static bool
has_lost_file(Relation index, IqdbPgArena *arena, IqdbStatus status, const IqdbError *error)
{
	if (status != IQDB_ERR_IO || !iqdb_pg_arena_is_stale(arena))
		return false;
	ereport(LOG, (errmsg("iqdb: index \"%s\" is opened anew: %s", RelationGetRelationName(index),
						 iqdb_pg_error_text(error))));
	iqdb_pg_arena_discard(arena);
	return true;
}

/*
 * Before each attempt at something that makes way for every interrupt. Some interrupts come again and again, as
 * client_connection_check_interval has it, and a training begins anew after each: so from some attempt on, only a cancel or
 * the end of the process stops it.
 */
static void
before_attempt(IqdbPgView *view, int attempt)
{
	CHECK_FOR_INTERRUPTS();
	if (attempt < YIELDS_MAX)
		iqdb_pg_host_yielding(&view->host);
	else
		view->host.cancelled = iqdb_pg_host(CurrentMemoryContext).cancelled;
}

void
iqdb_pg_link(Relation index, IqdbPgArena *arena, uint32 slot)
{
	IqdbPgView	view;
	IqdbStatus	status;
	IqdbError	error;
	int			attempt = 0;

	iqdb_pg_view(&view, arena);
	do
	{
		before_attempt(&view, attempt++);
		error.code = IQDB_OK;
		IQDB_PG_FAIL_POINT("link");
		status = iqdb_index_link(&view.index, slot, &error);
	} while (status == IQDB_ERR_CANCELLED);
	if (!iqdb_pg_is_want_of_room(status) && !has_lost_file(index, arena, status, &error))
		iqdb_pg_check(status, &error, index);
}

void
iqdb_pg_link_pending(Relation index, IqdbPgArena *arena, uint64 max_rows)
{
	IqdbPgView	view;
	IqdbStatus	status;
	IqdbError	error;
	int			attempt = 0;
	uint64		linked;

	iqdb_pg_view(&view, arena);
	do
	{
		before_attempt(&view, attempt++);
		error.code = IQDB_OK;
		status = iqdb_index_link_pending(&view.index, max_rows > 0 ? max_rows : 256, &linked, &error);
		if (iqdb_pg_is_want_of_room(status) || has_lost_file(index, arena, status, &error))
			return;
		if (status != IQDB_ERR_CANCELLED)
			iqdb_pg_check(status, &error, index);
	} while ((linked > 0 && max_rows == 0) || status == IQDB_ERR_CANCELLED);
}

void
iqdb_pg_maintain(Relation index, IqdbPgArena *arena, IqdbMaintain what)
{
	IqdbPgView	view;
	IqdbStatus	status;
	IqdbError	error;
	int			attempt = 0;

	iqdb_pg_view(&view, arena);
	do
	{
		before_attempt(&view, attempt++);
		error.code = IQDB_OK;
		status = iqdb_index_maintain(&view.index, what, &error);
	} while (status == IQDB_ERR_CANCELLED);
	if (!has_lost_file(index, arena, status, &error))
		iqdb_pg_check(status, &error, index);
}

bool
iqdb_pg_assist(Relation index, IqdbPgArena *arena)
{
	IqdbPgView	view;
	IqdbStatus	status;
	IqdbError	error = {0};
	bool		worked;

	iqdb_pg_view(&view, arena);
	iqdb_pg_host_yielding(&view.host);
	CHECK_FOR_INTERRUPTS();
	status = iqdb_index_assist(&view.index, &worked, &error);
	if (status != IQDB_ERR_CANCELLED)
		iqdb_pg_check(status, &error, index);
	return worked;
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

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

void
iqdb_pg_save(Relation index, IqdbPgArena *arena, bool wait)
{
	IqdbPgShared *shared = arena->shared;
	IqdbError	error = {0};
	IqdbStatus	status;

	if (!shared->permanent || !iqdb_pg_lock(shared->database, shared->relation_number, IQDB_PG_LOCK_SNAPSHOT, wait))
		return;
	status = iqdb_pg_snapshot_write(arena, &error);
	iqdb_pg_unlock(shared->database, shared->relation_number, IQDB_PG_LOCK_SNAPSHOT);
	if (status == IQDB_ERR_CANCELLED)
		iqdb_pg_raise(status, &error, index);
	if (status != IQDB_OK)
		ereport(LOG, (errmsg("iqdb: no snapshot of index \"%s\" could be written: %s", RelationGetRelationName(index),
							 iqdb_pg_error_text(&error))));
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

/* ---- writing ----------------------------------------------------------------------------------------------------- */

/*
 * Applies entries that were just journaled, if everything before them was applied here. The tail page's content lock is
 * held: the order of entries is the order in which they are applied.
 */
static void
apply_appended(IqdbPgArena *arena, const IqdbPgAppend *append, const IqdbPgEntry *entries, IqdbPgRow *rows,
			   IqdbError *error)
{
	IqdbPgShared *shared = arena->shared;
	IqdbStatus	status = IQDB_OK;

	lock_apply(arena);
	raise_lsn(shared, append->lsn);
	if (shared->applied.number == append->number && pg_atomic_read_u32(&shared->state) == IQDB_PG_READY)
	{
		if (append->epoch)
			advance(shared, &append->epoch_entry, append->block);
		for (int i = 0; i < append->count && status == IQDB_OK; i++)
			status = apply_entry(arena, &entries[i], &rows[i], append->block, error);
	}
	unlock_apply(arena);
}

/*
 * Own files need the journal from the older snapshot on. Other servers may be behind, too; but whoever has missed more entries
 * than two for each row does as well to read the table, which costs a fetch for each row, as following does for each entry.
 * So the journal of a small index that changes much stays small.
 */
static IqdbPgKeep
what_to_keep(const IqdbPgArena *arena)
{
	uint64		entries = 2 * iqdb_index_live_count(&arena->index);
	IqdbPgKeep	keep;

	keep.from = arena->shared->permanent ? pg_atomic_read_u64(&arena->shared->snapshot_older) :
		pg_atomic_read_u64(&arena->shared->applied_number);
	keep.pages = (uint32) Max(KEEP_PAGES_MIN, Min(entries / KEEP_ENTRIES_PER_PAGE, UINT32_MAX));
	return keep;
}

/* Temporary indexes have no journal. */
static void
write_private(IqdbPgArena *arena, const IqdbPgEntry *entries, IqdbPgRow *rows, int count, IqdbError *error)
{
	for (int i = 0; i < count && error->code == IQDB_OK; i++)
	{
		lock_apply(arena);
		(void) apply_entry(arena, &entries[i], &rows[i], 0, error);
		unlock_apply(arena);
	}
}

/* Journals the entries, and applies them in the same order under the same lock. */
static void
write_journaled(Relation index, IqdbPgArena *arena, const IqdbPgEntry *entries, IqdbPgRow *rows, int count,
				IqdbError *error)
{
	BlockNumber hint = InvalidBlockNumber;
	IqdbPgKeep	keep = {0, UINT32_MAX};
	int			done = 0;

	if (arena != NULL)
	{
		hint = (BlockNumber) pg_atomic_read_u64(&arena->shared->applied_block);
		keep = what_to_keep(arena);
	}
	while (done < count)
	{
		IqdbPgAppend append;

		iqdb_pg_journal_begin(index, entries + done, count - done, hint, &keep, &append);
		if (arena != NULL)
			apply_appended(arena, &append, entries + done, rows + done, error);
		iqdb_pg_journal_finish(&append);
		done += append.count;
		hint = append.block;
	}
}

void
iqdb_pg_write(Relation index, IqdbPgArena *arena, IqdbPgOp op, IqdbPgRow *rows, int count, IqdbError *error)
{
	IqdbPgEntry single;
	IqdbPgEntry *entries = count == 1 ? &single : palloc(count * sizeof(IqdbPgEntry));
	bool		puts = op == IQDB_PG_OP_INSERT && arena != NULL && pg_atomic_read_u32(&arena->shared->full) == 0;

	error->code = IQDB_OK;
	for (int i = 0; i < count; i++)
		entries[i] = iqdb_pg_entry(rows[i].number, op);
	/* before the tail page is locked: all writers, and all scans that look whether there is something new, wait for that */
	if (arena != NULL)
		iqdb_index_make_room(&arena->index, puts ? (uint32) count : 0);
	if (arena != NULL && arena->is_private)
		write_private(arena, entries, rows, count, error);
	else
		write_journaled(index, arena, entries, rows, count, error);
	if (count > 1)
		pfree(entries);
}
