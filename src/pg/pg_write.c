/*
 * pg_write.c - rows that come and go: into the journal, and into the arena in the same order; see pg_write.h.
 *
 * The journal's tail page is what all writers of an index wait for, and all scans that look whether there is something new.
 * So an insert does what takes time or may fail before it has that page: the vector is checked, its norm computed, memory
 * made ready, and the row copied to a slot that nobody sees. Under the page's lock it is only published.
 */
#include "postgres.h"

#include "pg/pg_fail.h"
#include "pg/pg_files.h"
#include "pg/pg_follow.h"
#include "pg/pg_write.h"

/* Pages of the journal that other servers may count on however few rows there are; and what a page holds at least. */
#define KEEP_PAGES_MIN 16
#define KEEP_ENTRIES_PER_PAGE 256

/* The row that this process has staged, from before it is journaled until it is published. */
static IqdbPgArena *staged_in;
static IqdbStaged staged;

void
iqdb_pg_write_forget(void)
{
	if (staged_in != NULL)
		iqdb_index_unstage(&staged_in->index, &staged);
	staged_in = NULL;
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

	keep.from = arena->shared->permanent ? pg_atomic_read_u64(&arena->shared->snapshots.older) :
		pg_atomic_read_u64(&arena->shared->applied.number);
	keep.pages = (uint32) Max(KEEP_PAGES_MIN, Min(entries / KEEP_ENTRIES_PER_PAGE, UINT32_MAX));
	return keep;
}

/* Where to look for the tail, and what an append must leave readable. arena may be NULL. */
static BlockNumber
append_hint(const IqdbPgArena *arena, IqdbPgKeep *keep)
{
	*keep = (IqdbPgKeep) {0, UINT32_MAX};
	if (arena == NULL)
		return InvalidBlockNumber;
	*keep = what_to_keep(arena);
	return (BlockNumber) pg_atomic_read_u64(&arena->shared->applied.block);
}

/*
 * Entries were just journaled, and the tail page's content lock is held. Has the arena applied all before them? Then the
 * caller applies them, and lets IQDB_PG_LOCK_APPLY go; else it was not taken.
 */
static bool
begin_applying(IqdbPgArena *arena, const IqdbPgAppend *append)
{
	IqdbPgShared *shared = arena->shared;

	iqdb_pg_lock_apply(arena);
	iqdb_pg_raise_lsn(shared, append->lsn);
	if (pg_atomic_read_u64(&shared->applied.number) == append->number && pg_atomic_read_u32(&shared->state) == IQDB_PG_READY)
	{
		if (append->epoch)
			iqdb_pg_advance(shared, &append->epoch_entry, append->block);
		return true;
	}
	iqdb_pg_unlock_apply(arena);
	return false;
}

/* The rows are gone; their entries were applied. IQDB_PG_LOCK_APPLY is held. */
static void
remove_rows(IqdbPgArena *arena, const IqdbPgEntry *entries, const IqdbPgRow *rows, int count, BlockNumber block)
{
	for (int i = 0; i < count; i++)
	{
		iqdb_index_remove(&arena->index, iqdb_id_u64(rows[i].number), NULL);
		iqdb_pg_advance(arena->shared, &entries[i], block);
		iqdb_pg_log_note(arena, IQDB_PG_FRAME_REMOVE, &rows[i]);
	}
}

/* The staged row is found from here on; its entry was applied. IQDB_PG_LOCK_APPLY is held. */
static void
publish_row(IqdbPgArena *arena, const IqdbPgEntry *entry, IqdbPgRow *row, BlockNumber block)
{
	iqdb_index_publish(&arena->index, &staged);
	staged_in = NULL;
	row->slot = staged.slot;
	iqdb_pg_advance(arena->shared, entry, block);
	iqdb_pg_log_note(arena, IQDB_PG_FRAME_PUT, row);
}

/* Gives the row a slot that nobody sees, before the tail page is locked. Returns want of room. */
static IqdbStatus
stage_row(IqdbPgArena *arena, const IqdbPgRow *row, IqdbError *error)
{
	uint32		dimension = arena->index.store.header->options.dimension;

	iqdb_index_make_room(&arena->index, 1);
	IQDB_PG_FAIL_RETURN("entry-put", error);
	IQDB_TRY(iqdb_index_stage(&arena->index, iqdb_id_u64(row->number), row->vector, dimension, row->columns, &staged,
							  error));
	staged_in = arena;
	return IQDB_OK;
}

/* Appends the entry, and publishes the staged row if there is one and its turn has come. */
static void
append_insert(Relation index, IqdbPgArena *arena, const IqdbPgEntry *entry, IqdbPgRow *row)
{
	IqdbPgKeep	keep;
	BlockNumber hint = append_hint(arena, &keep);
	IqdbPgAppend append;

	do
	{
		iqdb_pg_journal_begin(index, entry, 1, hint, &keep, &append);
		if (arena != NULL && begin_applying(arena, &append))
		{
			if (append.count > 0 && staged_in != NULL)
				publish_row(arena, entry, row, append.block);
			iqdb_pg_unlock_apply(arena);
		}
		iqdb_pg_journal_finish(&append);
		hint = append.block;
	} while (append.count == 0);
}

void
iqdb_pg_write_insert(Relation index, IqdbPgArena *arena, IqdbPgRow *row, IqdbError *error)
{
	IqdbPgEntry entry = iqdb_pg_entry(row->number, IQDB_PG_OP_INSERT);

	error->code = IQDB_OK;
	if (arena != NULL && arena->is_private)
	{
		iqdb_index_make_room(&arena->index, 1);
		(void) iqdb_pg_row_put(&arena->index, row, error);
		return;
	}
	/* a full arena is behind, and applies nothing until somebody has brought it up */
	if (arena != NULL && pg_atomic_read_u32(&arena->shared->full) == 0)
		(void) stage_row(arena, row, error);
	IQDB_PG_FAIL_POINT("entry-staged");
	append_insert(index, arena, &entry, row);
	/* its turn has not come: whoever follows the journal reads it from the table */
	iqdb_pg_write_forget();
}

void
iqdb_pg_write_delete(Relation index, IqdbPgArena *arena, IqdbPgRow *rows, int count)
{
	IqdbPgEntry *entries = palloc(count * sizeof(IqdbPgEntry));
	IqdbPgKeep	keep;
	BlockNumber hint = append_hint(arena, &keep);
	int			done = arena != NULL && arena->is_private ? count : 0;

	for (int i = 0; i < count; i++)
	{
		entries[i] = iqdb_pg_entry(rows[i].number, IQDB_PG_OP_DELETE);
		if (arena != NULL && arena->is_private)
			iqdb_index_remove(&arena->index, iqdb_id_u64(rows[i].number), NULL);
	}
	if (arena != NULL)
		iqdb_index_make_room(&arena->index, 0);
	while (done < count)
	{
		IqdbPgAppend append;

		iqdb_pg_journal_begin(index, entries + done, count - done, hint, &keep, &append);
		if (arena != NULL && begin_applying(arena, &append))
		{
			remove_rows(arena, entries + done, rows + done, append.count, append.block);
			iqdb_pg_unlock_apply(arena);
		}
		iqdb_pg_journal_finish(&append);
		done += append.count;
		hint = append.block;
	}
	pfree(entries);
}
