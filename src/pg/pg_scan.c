/*
 * pg_scan.c - ordered scans: a stream of TIDs, nearest first, for as long as the executor asks.
 *
 * Between two calls nothing is held: no lock, no pin, only the cursor's own memory. So a cursor may stay open for hours.
 * A row that was removed meanwhile, or whose TID was used again, cannot be seen through the scan's snapshot, so VACUUM
 * need not wait for scans. The order is exact for what is returned, and xs_orderbyvals are the operator's own values: hits
 * go through core/db/index_ranking.h. Where there is no room for the index, its table is read instead (pg_exact.h).
 */
#include "postgres.h"

#include <math.h>

#include "access/genam.h"
#include "access/relscan.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/bufmgr.h"
#include "utils/float.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "pg/pg_am.h"
#include "pg/pg_compat.h"
#include "pg/pg_exact.h"
#include "pg/pg_open.h"
#include "pg/pg_options.h"
#include "pg/pg_settings.h"
#include "pg/pg_row.h"

StaticAssertDecl(IQDB_PG_HITS_PER_CALL <= IQDB_RANKING_BATCH, "a ranking takes what the engine hands out at once");

/* Rows whose pages are asked for ahead. */
#define PREFETCHED_ROWS 16

typedef struct IqdbScan
{
	bool		started;
	bool		null_query;		/* ORDER BY v <-> NULL: every row, no distance */
	bool		zero_is_nan;	/* a zero vector, in a row or as the query, has no distance: NaN */
	bool		zero_query;
	MemoryContext context;		/* of one scan from rescan to end: the cursor lives here */
	IqdbPgView	view;
	IqdbCursor *cursor;
	IqdbPgExact *exact;			/* instead of the cursor, where there is no room for the index */
	uint64		returned;
	IqdbRanking	ranking;
} IqdbScan;

IndexScanDesc
iqdb_am_beginscan(Relation index, int nkeys, int norderbys)
{
	IndexScanDesc scan = RelationGetIndexScan(index, nkeys, norderbys);
	IqdbScan  *state = palloc0(sizeof(IqdbScan));

	state->context = AllocSetContextCreate(CurrentMemoryContext, "iqdb scan", ALLOCSET_DEFAULT_SIZES);
	scan->opaque = state;
	if (norderbys > 0)
	{
		scan->xs_orderbyvals = palloc0(sizeof(Datum) * norderbys);
		scan->xs_orderbynulls = palloc0(sizeof(bool) * norderbys);
	}
	return scan;
}

void
iqdb_am_rescan(IndexScanDesc scan, ScanKey keys, int nkeys, ScanKey orderbys, int norderbys)
{
	IqdbScan  *state = scan->opaque;

	if (state->exact != NULL)
		iqdb_pg_exact_end(state->exact);
	MemoryContextReset(state->context);
	state->cursor = NULL;
	state->exact = NULL;
	state->started = false;
	state->returned = 0;
	if (keys != NULL && scan->numberOfKeys > 0)
		memmove(scan->keyData, keys, scan->numberOfKeys * sizeof(ScanKeyData));
	if (orderbys != NULL && scan->numberOfOrderBys > 0)
		memmove(scan->orderByData, orderbys, scan->numberOfOrderBys * sizeof(ScanKeyData));
}

/* The query's vector, in the form of the rows; zeros for NULL. Raises 22000 if its dimension is another one. */
static const void *
query_vector(IndexScanDesc scan, IqdbScan *state, const IqdbPgRowForm *form)
{
	ScanKey		key = &scan->orderByData[0];
	const void *vector;
	uint32		dimension;

	state->null_query = (key->sk_flags & SK_ISNULL) != 0;
	if (state->null_query)
		return palloc0(form->bytes);
	dimension = form->type->read(PG_DETOAST_DATUM(key->sk_argument), &vector);
	if (dimension != form->dimension)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("different %s %s %u and %u", form->type->name, form->type->sizes, form->dimension,
						dimension)));
	state->zero_query = state->zero_is_nan && iqdb_element_is_zero(form->element, vector, dimension);
	return vector;
}

/* The plan may be older than the want of room. */
static void
start_exact(IndexScanDesc scan, IqdbScan *state)
{
	IqdbIndexOptions options = iqdb_pg_index_options(scan->indexRelation);
	IqdbPgRowForm form = iqdb_pg_row_form(scan->indexRelation);

	state->exact = iqdb_pg_exact_begin(scan->indexRelation, scan->heapRelation, (IqdbMetric) options.metric,
									   state->zero_is_nan, &form, query_vector(scan, state, &form));
	iqdb_ranking_start(&state->ranking, NULL);
}

static void
start_cursor(IndexScanDesc scan, IqdbScan *state, IqdbPgArena *arena)
{
	IqdbPgRowForm form = iqdb_pg_row_form(scan->indexRelation);
	IqdbSearchParams params = iqdb_pg_search_params(scan->indexRelation);
	IqdbError	error = {0};

	iqdb_pg_view(&state->view, arena);
	params.zero_last = state->zero_is_nan;
	iqdb_pg_check(iqdb_cursor_open(&state->view.index, query_vector(scan, state, &form), form.dimension, &params,
								   &state->cursor, &error), &error, scan->indexRelation);
	iqdb_ranking_start(&state->ranking, state->cursor);
}

static void
start(IndexScanDesc scan, IqdbScan *state)
{
	MemoryContext saved = MemoryContextSwitchTo(state->context);
	IqdbPgArena *arena;
	IqdbError	error = {0};

	if (scan->numberOfOrderBys == 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot scan index \"%s\" without order", RelationGetRelationName(scan->indexRelation))));
	if (!IsMVCCSnapshot(scan->xs_snapshot))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("non-MVCC snapshots are not supported with index \"%s\"",
						RelationGetRelationName(scan->indexRelation))));
	pgstat_count_index_scan(scan->indexRelation);
	iqdb_pg_count_search(scan);

	state->zero_is_nan = iqdb_pg_zero_is_nan(scan->indexRelation);
	arena = iqdb_pg_try_current(scan->indexRelation, scan->heapRelation, IQDB_PG_OPEN_SEARCH, &error);
	if (arena != NULL)
		start_cursor(scan, state, arena);
	else
		start_exact(scan, state);
	MemoryContextSwitchTo(saved);
	state->started = true;
}

/*
 * The executor is about to fetch these rows one by one, from pages in no order. Asking for all of them first lets the
 * reads, or at least the cache misses, overlap.
 */
static void
prefetch_rows(IndexScanDesc scan, const uint64 *ids, size_t count)
{
	for (size_t i = 0; i < Min(count, PREFETCHED_ROWS); i++)
	{
		ItemPointerData tid;
		PrefetchBufferResult result;
		const char *page;

		iqdb_pg_number_tid(ids[i], &tid);
		result = PrefetchBuffer(scan->heapRelation, MAIN_FORKNUM, ItemPointerGetBlockNumber(&tid));
		if (!BufferIsValid(result.recent_buffer))
			continue;
		/* a hint to the processor, not a read: the buffer is not pinned */
		page = BufferGetBlock(result.recent_buffer);
		__builtin_prefetch(page);
		__builtin_prefetch(page + SizeOfPageHeaderData + sizeof(ItemIdData) * ItemPointerGetOffsetNumber(&tid));
	}
}

/* Rows of the sorted table. */
static size_t
fetch_exact(IqdbScan *state, uint64 *ids, size_t capacity)
{
	size_t		count;
	double		distance;

	for (count = 0; count < capacity && iqdb_pg_exact_next(state->exact, &ids[count], &distance); count++)
		iqdb_ranking_append(&state->ranking, ids[count], distance);
	return count;
}

/* Hits of the engine; a cancel in the middle of its work is raised here, with nothing held. */
static size_t
fetch_hits(IndexScanDesc scan, IqdbScan *state, uint64 *ids, size_t capacity)
{
	IqdbHit		hits[IQDB_PG_HITS_PER_CALL];
	size_t		count;
	IqdbError	error = {0};

	iqdb_pg_check(iqdb_cursor_next(state->cursor, hits, capacity, &count, &error), &error, scan->indexRelation);
	iqdb_ranking_add(&state->ranking, hits, count);
	for (size_t i = 0; i < count; i++)
		ids[i] = hits[i].id;
	return count;
}

/* More rows for the ranking; false when there are none. */
static bool
fetch_more(IndexScanDesc scan, IqdbScan *state)
{
	uint64		ids[IQDB_PG_HITS_PER_CALL];
	size_t		capacity = iqdb_pg_hits_per_call(state->returned);
	size_t		count;

	CHECK_FOR_INTERRUPTS();
	/* the rows may be gone without a trace in the index, so this does not depend on what it holds */
	iqdb_pg_check_snapshot(scan->xs_snapshot, scan->heapRelation);
	if (state->exact != NULL)
		count = fetch_exact(state, ids, capacity);
	else
		count = fetch_hits(scan, state, ids, capacity);
	prefetch_rows(scan, ids, count);
	return count > 0;
}

/* The next row in order. Rows that wait for their place when the engine has no more come then. */
static bool
next_row(IndexScanDesc scan, IqdbScan *state, IqdbRankedRow *row_out)
{
	while (!iqdb_ranking_next(&state->ranking, row_out))
	{
		if (!fetch_more(scan, state))
			return iqdb_ranking_next(&state->ranking, row_out);
	}
	return true;
}

/* The distance as the operator would return it. */
static double
row_distance(const IqdbScan *state, const IqdbRankedRow *row)
{
	if (state->zero_query || (state->zero_is_nan && isinf(row->distance)))
		return get_float8_nan();
	return row->distance;
}

bool
iqdb_am_gettuple(IndexScanDesc scan, ScanDirection direction)
{
	IqdbScan  *state = scan->opaque;
	IqdbRankedRow row;

	Assert(ScanDirectionIsForward(direction));
	if (!state->started)
		start(scan, state);
	if (iqdb_max_scan_tuples > 0 && state->returned >= (uint64) iqdb_max_scan_tuples)
		return false;
	if (!next_row(scan, state, &row))
		return false;

	state->returned++;
	iqdb_pg_number_tid(row.id, &scan->xs_heaptid);
	scan->xs_recheck = false;
	scan->xs_recheckorderby = false;
	scan->xs_orderbyvals[0] = Float8GetDatum(row_distance(state, &row));
	scan->xs_orderbynulls[0] = state->null_query;
	return true;
}

void
iqdb_am_endscan(IndexScanDesc scan)
{
	IqdbScan  *state = scan->opaque;

	if (state->exact != NULL)
		iqdb_pg_exact_end(state->exact);
	MemoryContextDelete(state->context);
	pfree(state);
	scan->opaque = NULL;
}
