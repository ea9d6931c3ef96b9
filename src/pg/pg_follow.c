/*
 * pg_follow.c - applying the journal's entries to an arena, in their order; see pg_follow.h.
 *
 * Owns: the applied position. Does not own: when to follow (pg_open.c), the entries of one's own (pg_write.c), a journal
 * that is read to fill an arena (pg_recover.c).
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "pg/pg_fail.h"
#include "pg/pg_files.h"
#include "pg/pg_follow.h"
#include "pg/pg_heap.h"

/* Vectors fetched from the table before they are applied together. */
#define BATCH_BYTES (8 * 1024 * 1024)
#define BATCH_ENTRIES 1024

void
iqdb_pg_advance(IqdbPgShared *shared, const IqdbPgEntry *entry, BlockNumber block)
{
	IqdbPgPosition position = iqdb_pg_applied(shared);

	position.hash = iqdb_pg_hash_step(position.hash, entry);
	position.number++;
	position.block = block;
	iqdb_pg_set_applied(shared, &position);
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
	iqdb_pg_advance(shared, entry, block);
	if (frame != 0)
		iqdb_pg_log_note(arena, frame, row);
	return IQDB_OK;
}

bool
iqdb_pg_is_behind(Relation index, IqdbPgArena *arena)
{
	if (arena->is_private)
		return false;
	return iqdb_pg_journal_end(index, (BlockNumber) pg_atomic_read_u64(&arena->shared->applied.block)) >
		pg_atomic_read_u64(&arena->shared->applied.number);
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
	iqdb_pg_lock_apply(arena);
	current = pg_atomic_read_u64(&arena->shared->applied.number) == from->number;
	for (int i = 0; current && i < count && *status == IQDB_OK; i++)
		*status = apply_entry(arena, &entries[i], &rows[i], block, error);
	iqdb_pg_unlock_apply(arena);
	return current;
}

void
iqdb_pg_raise_lsn(IqdbPgShared *shared, XLogRecPtr lsn)
{
	uint64		known = pg_atomic_read_u64(&shared->applied.lsn);

	while (lsn > known && !pg_atomic_compare_exchange_u64(&shared->applied.lsn, &known, lsn))
		;
}

void
iqdb_pg_note_lsn(Relation index, IqdbPgArena *arena, BlockNumber block)
{
	if (arena->shared->permanent)
		iqdb_pg_raise_lsn(arena->shared, iqdb_pg_journal_page_lsn(index, block));
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
		iqdb_pg_lock_apply(arena);
		from = iqdb_pg_applied(arena->shared);
		iqdb_pg_unlock_apply(arena);
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
