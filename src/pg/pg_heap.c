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
#include "access/xact.h"
#include "catalog/index.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "optimizer/plancat.h"
#include "storage/bufmgr.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "pg/pg_am.h"
#include "pg/pg_compat.h"
#include "pg/pg_fail.h"
#include "pg/pg_heap.h"
#include "pg/pg_open.h"
#include "pg/pg_options.h"

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
iqdb_pg_become_owner(IqdbPgOwner *owner, Relation index, Relation heap)
{
	char	   *schema = get_namespace_name(RelationGetNamespace(heap));
	char	   *extension = get_namespace_name(get_func_namespace(index_getprocid(index, 1, IQDB_PG_METRIC_PROC)));
	StringInfoData path;

	initStringInfo(&path);
	appendStringInfoString(&path, "pg_catalog");
	if (schema != NULL)
		appendStringInfo(&path, ", %s", quote_identifier(schema));
	if (extension != NULL)
		appendStringInfo(&path, ", %s", quote_identifier(extension));
	appendStringInfoString(&path, ", pg_temp");
	GetUserIdAndSecContext(&owner->user, &owner->context);
	SetUserIdAndSecContext(heap->rd_rel->relowner, owner->context | SECURITY_RESTRICTED_OPERATION);
	owner->settings = NewGUCNestLevel();
	(void) set_config_option("search_path", path.data, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	pfree(path.data);
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

/*
 * Are all out-of-line values of a fetched tuple there? One that is known to be committed and not deleted has lost none;
 * all others may be dead, even if this server still takes their transactions for running.
 */
static bool
tuple_complete(TupleTableSlot *slot)
{
	bool		free_tuple;
	HeapTuple	tuple = ExecFetchSlotHeapTuple(slot, false, &free_tuple);
	bool		complete = true;

	if ((tuple->t_data->t_infomask & HEAP_HASEXTERNAL) != 0 &&
		!(HeapTupleHeaderXminCommitted(tuple->t_data) && (tuple->t_data->t_infomask & HEAP_XMAX_INVALID) != 0))
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

/* ---- versions of a row ---- */

/*
 * The newest version of the row with this root line pointer that is not dead to everybody, copied; NULL if there is none,
 * or if the line pointer is no root. All versions that this index has seen have the same key; an older one, from before
 * the index was there, may have another. So may one whose transaction a standby takes for running although it ended with
 * a crash of the primary before the index was made: one that is in progress counts only if there is no other. The buffer
 * is locked.
 */
static HeapTuple
newest_version(Relation heap, Buffer buffer, OffsetNumber root, TransactionId oldest)
{
	Page		page = BufferGetPage(buffer);
	OffsetNumber offset = root;
	TransactionId writer = InvalidTransactionId;
	HeapTupleData found;

	found.t_data = NULL;
	while (offset >= FirstOffsetNumber && offset <= PageGetMaxOffsetNumber(page))
	{
		ItemId		item = PageGetItemId(page, offset);
		HTSV_Result status;
		HeapTupleData tuple;

		if (ItemIdIsRedirected(item) && offset == root)
		{
			offset = ItemIdGetRedirect(item);
			continue;
		}
		if (!ItemIdIsNormal(item))
			break;
		tuple.t_tableOid = RelationGetRelid(heap);
		tuple.t_data = (HeapTupleHeader) PageGetItem(page, item);
		tuple.t_len = ItemIdGetLength(item);
		ItemPointerSet(&tuple.t_self, BufferGetBlockNumber(buffer), offset);
		if (offset == root && HeapTupleHeaderIsHeapOnly(tuple.t_data))
			break;
		if (TransactionIdIsValid(writer) && !TransactionIdEquals(writer, HeapTupleHeaderGetXmin(tuple.t_data)))
			break;
		status = HeapTupleSatisfiesVacuum(&tuple, oldest, buffer);
		if (status != HEAPTUPLE_DEAD && (status != HEAPTUPLE_INSERT_IN_PROGRESS || found.t_data == NULL))
			found = tuple;
		if (!HeapTupleHeaderIsHotUpdated(tuple.t_data))
			break;
		writer = HeapTupleHeaderGetUpdateXid(tuple.t_data);
		offset = ItemPointerGetOffsetNumber(&tuple.t_data->t_ctid);
	}
	return found.t_data != NULL ? heap_copytuple(&found) : NULL;
}

/* ---- by TID ---- */

struct IqdbPgFetch
{
	IqdbPgOwner owner;
	Relation	index;
	Relation	heap;
	IqdbPgRowForm form;
	TransactionId oldest;		/* what was deleted before is dead to everybody */
	BlockNumber blocks;			/* the table has at least so many */
	TupleTableSlot *slot;
	IndexInfo  *info;
	EState	   *estate;
	ExprState  *predicate;
	Snapshot	registered;
};

IqdbPgFetch *
iqdb_pg_fetch_begin(Relation index, Relation heap)
{
	IqdbPgFetch *fetch = palloc0(sizeof(IqdbPgFetch));

	iqdb_pg_become_owner(&fetch->owner, index, heap);
	fetch->index = index;
	fetch->heap = heap;
	fetch->form = iqdb_pg_row_form(index);
	/* a parallel query may not take a new one, but has one */
	fetch->registered = RegisterSnapshot(IsInParallelMode() ? GetActiveSnapshot() : GetLatestSnapshot());
	fetch->oldest = GetOldestNonRemovableTransactionId(heap);
	fetch->slot = MakeSingleTupleTableSlot(RelationGetDescr(heap), &TTSOpsHeapTuple);
	fetch->info = BuildIndexInfo(index);
	fetch->estate = CreateExecutorState();
	GetPerTupleExprContext(fetch->estate)->ecxt_scantuple = fetch->slot;
	fetch->predicate = ExecPrepareQual(fetch->info->ii_Predicate, fetch->estate);
	return fetch;
}

/* Adds to an error of an expression or a predicate for whom it was evaluated, and how. */
static void
say_for_whom(void *arg)
{
	IqdbPgFetch *fetch = arg;
	int			code = geterrcode();

	errcontext("reading the table for index \"%s\", with the rights of its owner and a search_path of system, table and "
			   "extension", RelationGetRelationName(fetch->index));
	if (code == ERRCODE_UNDEFINED_FUNCTION || code == ERRCODE_UNDEFINED_TABLE || code == ERRCODE_UNDEFINED_OBJECT)
		errhint("Functions that an index uses should name the schema of what they call, or have a search_path of their "
				"own: ALTER FUNCTION ... SET search_path.");
}

/*
 * The row of a version, which is freed. It has no vector if the version has none, or fails the predicate, or is dead and
 * incomplete.
 */
static IqdbPgRow
version_row(IqdbPgFetch *fetch, uint64 number, HeapTuple tuple)
{
	Datum		values[INDEX_MAX_KEYS];
	bool		isnull[INDEX_MAX_KEYS];
	IqdbPgRow	row = iqdb_pg_row(number, NULL);
	ErrorContextCallback callback = {.previous = error_context_stack, .callback = say_for_whom, .arg = fetch};

	error_context_stack = &callback;
	ResetPerTupleExprContext(fetch->estate);
	ExecStoreHeapTuple(tuple, fetch->slot, true);
	if (tuple_complete(fetch->slot) &&
		(fetch->predicate == NULL || ExecQual(fetch->predicate, GetPerTupleExprContext(fetch->estate))))
	{
		FormIndexDatum(fetch->info, fetch->slot, fetch->estate, values, isnull);
		if (!isnull[0])
		{
			void	   *vector = palloc(fetch->form.bytes);

			memcpy(vector, iqdb_pg_row_vector(&fetch->form, values[0]), fetch->form.bytes);
			row.vector = vector;
			row.columns = iqdb_pg_row_columns(&fetch->form, values, isnull,
											  fetch->form.columns == NULL ? NULL : palloc(sizeof(IqdbColumnValues)));
		}
	}
	ExecClearTuple(fetch->slot);
	error_context_stack = callback.previous;
	return row;
}

IqdbPgRow
iqdb_pg_fetch(IqdbPgFetch *fetch, uint64 number)
{
	IqdbPgRow	row = iqdb_pg_row(number, NULL);
	ItemPointerData tid;
	BlockNumber block;
	HeapTuple	tuple;
	Buffer		buffer;

	iqdb_pg_number_tid(number, &tid);
	block = ItemPointerGetBlockNumber(&tid);
	/* The table may be shorter than the journal remembers. */
	if (block >= fetch->blocks)
		fetch->blocks = RelationGetNumberOfBlocks(fetch->heap);
	if (block >= fetch->blocks)
		return row;
	buffer = ReadBuffer(fetch->heap, block);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	tuple = newest_version(fetch->heap, buffer, ItemPointerGetOffsetNumber(&tid), fetch->oldest);
	UnlockReleaseBuffer(buffer);
	return tuple != NULL ? version_row(fetch, number, tuple) : row;
}

void
iqdb_pg_fetch_end(IqdbPgFetch *fetch)
{
	ExecDropSingleTupleTableSlot(fetch->slot);
	FreeExecutorState(fetch->estate);
	UnregisterSnapshot(fetch->registered);
	iqdb_pg_become_self(&fetch->owner);
	pfree(fetch);
}

/* ---- the whole table ---- */

/* The rows of one page: their roots, and their newest versions, copied. Returns how many. */
static int
rows_of_page(IqdbPgFetch *fetch, BlockNumber block, BufferAccessStrategy strategy, OffsetNumber *roots,
			 HeapTuple *versions)
{
	Buffer		buffer = ReadBufferExtended(fetch->heap, MAIN_FORKNUM, block, RBM_NORMAL, strategy);
	Page		page = BufferGetPage(buffer);
	OffsetNumber last;
	int			count = 0;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	last = PageIsNew(page) ? 0 : PageGetMaxOffsetNumber(page);
	for (OffsetNumber offset = FirstOffsetNumber; offset <= last; offset++)
	{
		versions[count] = newest_version(fetch->heap, buffer, offset, fetch->oldest);
		if (versions[count] != NULL)
			roots[count++] = offset;
	}
	UnlockReleaseBuffer(buffer);
	return count;
}

/*
 * The server's own scan for builds will not do here: it takes for granted that nobody changes the table meanwhile, and on
 * a standby it can meet versions without a root, of transactions that ended with a crash of the primary.
 */
IqdbStatus
iqdb_pg_visit_table(Relation index, Relation heap, IqdbPgRowVisit visit, void *arg, IqdbError *error)
{
	IqdbPgFetch *fetch = iqdb_pg_fetch_begin(index, heap);
	BufferAccessStrategy strategy = GetAccessStrategy(BAS_BULKREAD);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "iqdb rebuild", ALLOCSET_DEFAULT_SIZES);
	MemoryContext saved = MemoryContextSwitchTo(context);
	BlockNumber blocks = RelationGetNumberOfBlocks(heap);
	IqdbStatus	status = IQDB_OK;

	for (BlockNumber block = 0; block < blocks && status == IQDB_OK; block++)
	{
		OffsetNumber roots[MaxHeapTuplesPerPage];
		HeapTuple	versions[MaxHeapTuplesPerPage];
		int			count;

		CHECK_FOR_INTERRUPTS();
		count = rows_of_page(fetch, block, strategy, roots, versions);
		for (int i = 0; i < count && status == IQDB_OK; i++)
		{
			IqdbPgRow	row = version_row(fetch, ((uint64) block << 16) | roots[i], versions[i]);

			if (row.vector != NULL)
				status = visit(arg, &row, error);
		}
		MemoryContextReset(context);
	}
	MemoryContextSwitchTo(saved);
	MemoryContextDelete(context);
	FreeAccessStrategy(strategy);
	iqdb_pg_fetch_end(fetch);
	return status;
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
