/*
 * pg_refill.c - see pg_refill.h.
 *
 * A snapshot with bare rows says which TIDs there were, in which slots, and how they are linked. What stands at a TID now is
 * what stood there then, unless the journal removes it behind the snapshot: VACUUM journals each TID that it is about to free.
 * So a row that is another one by now is fetched into the slot all the same, and goes when the journal is replayed, which is
 * after this.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "pg/pg_fail.h"
#include "pg/pg_heap.h"
#include "pg/pg_refill.h"

/* So many slots are looked at together: their rows are read in the order of the table. */
#define WINDOW 65536u

/*
 * Of this part of a graph's rows at most nothing may be left. A graph is mended around rows that are gone, but where many
 * are, too few ways are left in it: it is built again from the table. The other methods lose nothing but the rows.
 */
#define GONE_SHARE 4u

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
			uint32 *gone, IqdbError *error)
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
		else
			(*gone)++;
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
	uint32		known = 0;
	uint32		gone = 0;

	for (uint32 first = 0; first < slot_count && status == IQDB_OK;)
	{
		uint32		end = slot_count - first < WINDOW ? slot_count : first + WINDOW;
		uint32		count = bare_rows(store, first, end, rows);

		status = refill_rows(fetch, arena, rows, count, context, &gone, error);
		known += count;
		MemoryContextReset(context);
		first = end;
	}
	iqdb_pg_fetch_end(fetch);
	pfree(rows);
	MemoryContextDelete(context);
	if (status == IQDB_OK && store->header->options.engine == IQDB_ENGINE_HNSW && gone > known / GONE_SHARE)
		return iqdb_fail(error, IQDB_ERR_STATE, "%u of its %u rows are dead", gone, known);
	return status;
}
