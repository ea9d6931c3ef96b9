/*
 * pg_refill.c - see pg_refill.h.
 *
 * A snapshot with bare rows says which TIDs there were, in which slots, and how they are linked. What stands at a TID now is
 * what stood there then, unless the journal removes it behind the snapshot: VACUUM journals each TID that it is about to free.
 * Those are no longer known when rows are fetched. A TID that VACUUM frees meanwhile may be another row's by the time it is
 * fetched; that one goes when the entry is applied, as it would from an index that is open.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "pg/pg_fail.h"
#include "pg/pg_heap.h"
#include "pg/pg_refill.h"

/* So many slots are looked at together: their rows are read in the order of the table. */
#define WINDOW 65536u

/* Memory of fetched rows is given back after so many. */
#define RESET_AFTER 64

typedef struct BareRow
{
	uint64		number;
	uint32		slot;
} BareRow;

static int
by_number(const void *a, const void *b)
{
	uint64		x = ((const BareRow *) a)->number;
	uint64		y = ((const BareRow *) b)->number;

	return x < y ? -1 : x > y;
}

/* The known rows of some slots, in the order of their TIDs. Nobody else has the arena, so no lock is needed. */
static uint32
bare_rows(const IqdbStore *store, uint32 first, uint32 end, BareRow *rows_out)
{
	uint32		count = 0;
	bool		sorted = true;

	for (uint32 slot = first; slot < end; slot++)
	{
		if (iqdb_store_state(store, slot) != IQDB_ROW_KNOWN)
			continue;
		rows_out[count] = (BareRow) {iqdb_store_id(store, slot).number, slot};
		sorted = sorted && (count == 0 || rows_out[count - 1].number < rows_out[count].number);
		count++;
	}
	if (!sorted)
		qsort(rows_out, count, sizeof(BareRow), by_number);
	return count;
}

static IqdbStatus
refill_rows(IqdbPgFetch *fetch, IqdbPgArena *arena, const BareRow *rows, uint32 count, MemoryContext context,
			IqdbError *error)
{
	MemoryContext saved = MemoryContextSwitchTo(context);
	IqdbStatus	status = IQDB_OK;

	for (uint32 i = 0; i < count && status == IQDB_OK; i++)
	{
		IqdbPgRow	row;

		CHECK_FOR_INTERRUPTS();
		IQDB_PG_FAIL_POINT("refill-row");
		row = iqdb_pg_fetch(fetch, rows[i].number);
		if (row.vector != NULL)
			status = iqdb_index_load_content(&arena->index, rows[i].slot, row.vector, row.columns, error);
		if (i % RESET_AFTER == RESET_AFTER - 1)
			MemoryContextReset(context);
	}
	MemoryContextSwitchTo(saved);
	return status;
}

IqdbStatus
iqdb_pg_refill(Relation index, Relation heap, IqdbPgArena *arena, IqdbError *error)
{
	const IqdbStore *store = &arena->index.store;
	uint32		slot_count = atomic_load_explicit(&store->header->slot_count, memory_order_relaxed);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "iqdb refill", ALLOCSET_DEFAULT_SIZES);
	BareRow    *rows = palloc(Min(slot_count, WINDOW) * sizeof(BareRow) + 1);
	IqdbPgFetch *fetch = iqdb_pg_fetch_begin(index, heap);
	IqdbStatus	status = IQDB_OK;

	for (uint32 first = 0; first < slot_count && status == IQDB_OK;)
	{
		uint32		end = slot_count - first < WINDOW ? slot_count : first + WINDOW;

		status = refill_rows(fetch, arena, rows, bare_rows(store, first, end, rows), context, error);
		MemoryContextReset(context);
		first = end;
	}
	iqdb_pg_fetch_end(fetch);
	pfree(rows);
	MemoryContextDelete(context);
	return status;
}
