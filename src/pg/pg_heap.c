/*
 * pg_heap.c - see pg_heap.h.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/genam.h"
#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/toast_internals.h"
#include "access/transam.h"
#include "catalog/index.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "optimizer/plancat.h"
#include "storage/bufmgr.h"
#include "storage/procarray.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

#include "pg/iqvector.h"
#include "pg/pg_compat.h"
#include "pg/pg_fail.h"
#include "pg/pg_heap.h"
#include "pg/pg_open.h"

const float *
iqdb_pg_datum_vector(Relation index, Datum datum, uint32 dimension)
{
	IqVector   *vector = (IqVector *) PG_DETOAST_DATUM(datum);

	if ((uint32) vector->dim != dimension)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("expected %u dimensions, not %d", dimension, vector->dim)));
	return vector->x;
}

double
iqdb_pg_estimate_rows(Relation heap)
{
	BlockNumber pages;
	double		rows;
	double		all_visible;

	estimate_rel_size(heap, NULL, &pages, &rows, &all_visible);
	return rows;
}

/* ---- whose code runs ---- */

void
iqdb_pg_become_owner(IqdbPgOwner *owner, Relation heap)
{
	GetUserIdAndSecContext(&owner->user, &owner->context);
	SetUserIdAndSecContext(heap->rd_rel->relowner, owner->context | SECURITY_RESTRICTED_OPERATION);
	owner->settings = NewGUCNestLevel();
}

void
iqdb_pg_become_self(const IqdbPgOwner *owner)
{
	AtEOXact_GUC(false, owner->settings);
	SetUserIdAndSecContext(owner->user, owner->context);
}

/* ---- values out of line ---- */

bool
iqdb_pg_datum_complete(Datum datum)
{
	struct varlena *value = (struct varlena *) DatumGetPointer(datum);
	struct varatt_external pointer;
	SnapshotData snapshot;
	Relation	toast;
	Relation   *indexes;
	int			index_count;
	int			valid;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	chunk;
	int64		found = 0;

	if (!VARATT_IS_EXTERNAL_ONDISK(value))
		return true;
	VARATT_EXTERNAL_GET_POINTER(pointer, value);
	toast = table_open(pointer.va_toastrelid, AccessShareLock);
	valid = toast_open_indexes(toast, AccessShareLock, &indexes, &index_count);
	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(pointer.va_valueid));
	iqdb_pg_init_toast_snapshot(&snapshot);
	scan = systable_beginscan_ordered(toast, indexes[valid], &snapshot, 1, &key);
	while ((chunk = systable_getnext_ordered(scan, ForwardScanDirection)) != NULL)
	{
		bool		isnull;
		Pointer		bytes = DatumGetPointer(fastgetattr(chunk, 3, RelationGetDescr(toast), &isnull));

		found += VARSIZE_ANY_EXHDR(bytes);
	}
	systable_endscan_ordered(scan);
	toast_close_indexes(indexes, index_count, AccessShareLock);
	table_close(toast, AccessShareLock);
	return found == (int64) VARATT_EXTERNAL_GET_EXTSIZE(pointer);
}

/* Are all out-of-line values of a fetched tuple there? Only one that somebody has deleted can have lost some. */
static bool
tuple_complete(TupleTableSlot *slot)
{
	bool		free_tuple;
	HeapTuple	tuple = ExecFetchSlotHeapTuple(slot, false, &free_tuple);
	bool		complete = true;

	if ((tuple->t_data->t_infomask & HEAP_XMAX_INVALID) == 0 && (tuple->t_data->t_infomask & HEAP_HASEXTERNAL) != 0)
	{
		slot_getallattrs(slot);
		for (int i = 0; i < slot->tts_tupleDescriptor->natts && complete; i++)
		{
			Form_pg_attribute attribute = TupleDescAttr(slot->tts_tupleDescriptor, i);

			if (!attribute->attisdropped && attribute->attlen == -1 && !slot->tts_isnull[i])
				complete = iqdb_pg_datum_complete(slot->tts_values[i]);
		}
	}
	if (free_tuple)
		heap_freetuple(tuple);
	return complete;
}

/* ---- by TID ---- */

struct IqdbPgFetch
{
	IqdbPgOwner owner;
	Relation	index;
	uint32		dimension;
	IndexFetchTableData *table;
	TupleTableSlot *slot;
	IndexInfo  *info;
	EState	   *estate;
	ExprState  *predicate;
	Snapshot	registered;
	SnapshotData visible;		/* everything that is not dead to everybody */
};

IqdbPgFetch *
iqdb_pg_fetch_begin(Relation index, Relation heap)
{
	IqdbPgFetch *fetch = palloc0(sizeof(IqdbPgFetch));

	iqdb_pg_become_owner(&fetch->owner, heap);
	fetch->index = index;
	fetch->dimension = (uint32) TupleDescAttr(RelationGetDescr(index), 0)->atttypmod;
	fetch->registered = RegisterSnapshot(GetLatestSnapshot());
	InitNonVacuumableSnapshot(fetch->visible, GlobalVisTestFor(heap));
	fetch->table = table_index_fetch_begin(heap);
	fetch->slot = table_slot_create(heap, NULL);
	fetch->info = BuildIndexInfo(index);
	fetch->estate = CreateExecutorState();
	GetPerTupleExprContext(fetch->estate)->ecxt_scantuple = fetch->slot;
	fetch->predicate = ExecPrepareQual(fetch->info->ii_Predicate, fetch->estate);
	return fetch;
}

const float *
iqdb_pg_fetch(IqdbPgFetch *fetch, ItemPointer tid)
{
	Datum		values[INDEX_MAX_KEYS];
	bool		isnull[INDEX_MAX_KEYS];
	ItemPointerData root = *tid;
	const float *vector = NULL;
	bool		call_again = false;
	bool		all_dead = false;

	/* The table may be shorter than the journal remembers. */
	if (ItemPointerGetBlockNumber(&root) >= RelationGetNumberOfBlocks(fetch->table->rel))
		return NULL;
	ResetPerTupleExprContext(fetch->estate);
	if (!table_index_fetch_tuple(fetch->table, &root, &fetch->visible, fetch->slot, &call_again, &all_dead))
		return NULL;
	if (!tuple_complete(fetch->slot))
	{
		ExecClearTuple(fetch->slot);
		return NULL;
	}
	if (fetch->predicate == NULL || ExecQual(fetch->predicate, GetPerTupleExprContext(fetch->estate)))
	{
		FormIndexDatum(fetch->info, fetch->slot, fetch->estate, values, isnull);
		if (!isnull[0])
		{
			const float *x = iqdb_pg_datum_vector(fetch->index, values[0], fetch->dimension);
			float	   *copy = palloc(fetch->dimension * sizeof(float));

			memcpy(copy, x, fetch->dimension * sizeof(float));
			vector = copy;
		}
	}
	ExecClearTuple(fetch->slot);
	return vector;
}

void
iqdb_pg_fetch_end(IqdbPgFetch *fetch)
{
	table_index_fetch_end(fetch->table);
	ExecDropSingleTupleTableSlot(fetch->slot);
	FreeExecutorState(fetch->estate);
	UnregisterSnapshot(fetch->registered);
	iqdb_pg_become_self(&fetch->owner);
	pfree(fetch);
}

/* ---- the whole table ---- */

typedef struct FillState
{
	IqdbPgArena *arena;
	uint32		dimension;
	MemoryContext context;
	uint64		rows;
	IqdbStatus	status;
	IqdbError  *error;
} FillState;

static void
fill_row(Relation index, ItemPointer tid, Datum *values, bool *isnull, bool alive, void *arg)
{
	FillState  *state = arg;
	MemoryContext saved;

	if (isnull[0] || state->status != IQDB_OK || (!alive && !iqdb_pg_datum_complete(values[0])))
		return;
	IQDB_PG_FAIL_POINT("rebuild-row");
	saved = MemoryContextSwitchTo(state->context);
	state->status = iqdb_index_put(&state->arena->index, iqdb_id_u64(iqdb_pg_tid_number(tid)),
								   iqdb_pg_datum_vector(index, values[0], state->dimension), state->dimension,
								   NULL, 0, NULL, state->error);
	MemoryContextSwitchTo(saved);
	MemoryContextReset(state->context);
	state->rows++;
}

IqdbStatus
iqdb_pg_fill_from_table(Relation index, Relation heap, IqdbPgArena *arena, uint64 *rows_out, IqdbError *error)
{
	FillState	state = {arena, arena->index.store.header->options.dimension, NULL, 0, IQDB_OK, error};
	IndexInfo  *info = BuildIndexInfo(index);
	IqdbPgOwner owner;

	iqdb_pg_become_owner(&owner, heap);
	state.context = AllocSetContextCreate(CurrentMemoryContext, "iqdb rebuild", ALLOCSET_DEFAULT_SIZES);
	table_index_build_range_scan(heap, index, info, false, true, false, 0, InvalidBlockNumber, fill_row, &state, NULL);
	MemoryContextDelete(state.context);
	iqdb_pg_become_self(&owner);
	*rows_out = state.rows;
	return state.status;
}

int
iqdb_pg_dead_items(Relation heap, BlockNumber block, BufferAccessStrategy strategy, ItemPointerData *tids)
{
	Buffer		buffer = ReadBufferExtended(heap, MAIN_FORKNUM, block, RBM_NORMAL, strategy);
	Page		page = BufferGetPage(buffer);
	OffsetNumber last;
	int			count = 0;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	last = PageIsNew(page) ? 0 : PageGetMaxOffsetNumber(page);
	for (OffsetNumber offset = FirstOffsetNumber; offset <= last; offset++)
		if (ItemIdIsDead(PageGetItemId(page, offset)))
		{
			ItemPointerSet(&tids[count], block, offset);
			count++;
		}
	UnlockReleaseBuffer(buffer);
	return count;
}
