/*
 * pg_nearest.c - see pg_nearest.h.
 *
 * Queries that are asked together are answered in rounds. In each, every query that still wants rows takes as many hits from
 * its stream as it wants; then all of them are looked up in the order of the table's pages, so that rows on one page cost one
 * pin and reads from the disk overlap. Most queries are done after one round: a second one is for rows that the snapshot does
 * not see.
 */
#include "postgres.h"

#include <math.h>

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/bufmgr.h"
#include "storage/predicate.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "pg/pg_am.h"
#include "pg/pg_compat.h"
#include "pg/pg_hits.h"
#include "pg/pg_nearest.h"
#include "pg/pg_open.h"
#include "pg/pg_options.h"
#include "pg/pg_row.h"
#include "pg/pg_settings.h"

/* Queries asked at once where the engine answers several in one pass; memory of their cursors bounds them. */
#define TOGETHER 64

/*
 * Hits that a query will take beyond its k rows: the order is not certain before the next key is known (index_ranking.h),
 * and a row or two may be gone. An exact engine would have to pass over its rows once more for them.
 */
#define BEYOND 6

/* Pages that are asked for before the first of them is read. */
#define PREFETCHED_PAGES 16

/* A query, what it has got, and where more comes from. */
typedef struct Stream
{
	IqdbPgHits	hits;
	bool		no_distance;	/* the query is zero, and the operator has no distance then */
	bool		ended;
	uint64		handed;			/* hits that were looked up */
	IqdbPgNeighbour *rows;		/* room for k */
	int			seen;			/* the first ones are what the snapshot sees */
	int			count;			/* those after them are still to be looked up */
} Stream;

/* A row to be looked up. */
typedef struct Candidate
{
	uint64		number;
	IqdbPgNeighbour *row;
} Candidate;

struct IqdbPgNearest
{
	Relation	index;
	Relation	heap;
	Snapshot	snapshot;
	int			k;
	bool		zero_is_nan;
	IqdbPgRowForm form;
	IqdbSearchParams params;
	IqdbPgArena *arena;			/* NULL: the table is read */
	const IqdbPgTids *among;	/* NULL: all rows */
	IqdbPgKeys *keys;			/* NULL: no conditions */
	IqdbPgFilter conditions;	/* as the index is asked them */
	IqdbHost	host;
	IqdbIdSet	roots;			/* of the rows among which the nearest are looked for */
	IqdbRowFilter filter;
	IndexFetchTableData *fetch;
	TupleTableSlot *slot;
	MemoryContext context;		/* of one search */
};

/* ---- streams ----------------------------------------------------------------------------------------------------- */

static void
open_stream(IqdbPgNearest *nearest, IqdbPgView *view, const void *query, Stream *stream)
{
	IqdbCursor *cursor;
	IqdbError	error = {0};

	stream->no_distance = nearest->zero_is_nan && iqdb_element_is_zero(nearest->form.element, query, nearest->form.dimension);
	iqdb_pg_check(iqdb_cursor_open(&view->index, query, nearest->form.dimension, &nearest->params, &cursor, &error), &error,
				  nearest->index);
	stream->hits.index = nearest->index;
	stream->hits.heap = nearest->heap;
	stream->hits.snapshot = nearest->snapshot;
	iqdb_pg_hits_of_cursor(&stream->hits, cursor);
}

/* Takes hits until there would be k rows if all of them can be seen. */
static void
take_hits(IqdbPgNearest *nearest, Stream *stream)
{
	IqdbRankedRow hit;

	while (stream->count < nearest->k && (iqdb_max_scan_tuples == 0 || stream->handed < (uint64) iqdb_max_scan_tuples) &&
		   iqdb_pg_hits_next(&stream->hits, &hit))
	{
		IqdbPgNeighbour *row = &stream->rows[stream->count++];

		stream->handed++;
		row->number = hit.id;
		row->distance = stream->no_distance ? INFINITY : hit.distance;
	}
	stream->ended = stream->count < nearest->k;
}

/* ---- rows of the table ------------------------------------------------------------------------------------------- */

static int
compare_candidates(const void *a, const void *b)
{
	uint64		x = ((const Candidate *) a)->number;
	uint64		y = ((const Candidate *) b)->number;

	return x < y ? -1 : x > y ? 1 : 0;
}

static BlockNumber
block_of(uint64 number)
{
	return (BlockNumber) (number >> 16);
}

/* Asks for pages from *ahead on, until so many are asked for beyond the one that is read next. */
static void
prefetch(Relation heap, const Candidate *candidates, int count, int at, int *ahead)
{
	while (*ahead < count && *ahead < at + PREFETCHED_PAGES)
	{
		if (*ahead == 0 || block_of(candidates[*ahead].number) != block_of(candidates[*ahead - 1].number))
			(void) PrefetchBuffer(heap, MAIN_FORKNUM, block_of(candidates[*ahead].number));
		(*ahead)++;
	}
}

/* Puts the TID of the version that the snapshot sees into the row; or zero, if there is none, or it fails the conditions. */
static void
look_up(IqdbPgNearest *nearest, Candidate *candidates, int count)
{
	int			ahead = 0;
	ItemPointerData tid;

	qsort(candidates, count, sizeof(Candidate), compare_candidates);
	for (int i = 0; i < count; i++)
	{
		bool		again = false;
		bool		dead;

		if (i % 64 == 0)
			CHECK_FOR_INTERRUPTS();
		prefetch(nearest->heap, candidates, count, i, &ahead);
		iqdb_pg_number_tid(candidates[i].number, &tid);
		candidates[i].row->number =
			table_index_fetch_tuple(nearest->fetch, &tid, nearest->snapshot, nearest->slot, &again, &dead) &&
			(!nearest->conditions.lossy || iqdb_pg_keys_hold(nearest->keys, nearest->slot)) ?
			iqdb_pg_tid_number(&nearest->slot->tts_tid) : 0;
	}
	ExecClearTuple(nearest->slot);
	table_index_fetch_reset(nearest->fetch);
}

/* Closes the gaps of rows that cannot be seen. */
static void
keep_seen(Stream *stream)
{
	int			kept = stream->seen;

	for (int i = stream->seen; i < stream->count; i++)
		if (stream->rows[i].number != 0)
			stream->rows[kept++] = stream->rows[i];
	stream->seen = stream->count = kept;
}

/* One round; were there queries that wanted rows? */
static bool
round_of_hits(IqdbPgNearest *nearest, Stream *streams, int count, Candidate *candidates)
{
	int			found = 0;

	for (int i = 0; i < count; i++)
	{
		Stream	   *stream = &streams[i];

		if (stream->ended || stream->count == nearest->k)
			continue;
		take_hits(nearest, stream);
		for (int j = stream->seen; j < stream->count; j++)
		{
			candidates[found].number = stream->rows[j].number;
			candidates[found++].row = &stream->rows[j];
		}
	}
	if (found == 0)
		return false;
	look_up(nearest, candidates, found);
	for (int i = 0; i < count; i++)
		keep_seen(&streams[i]);
	return true;
}

/* ---- searching --------------------------------------------------------------------------------------------------- */

/* Is the index one that this snapshot may use? Rows that changed before it was made may be in it as they are now only. */
static bool
is_usable(Relation index)
{
	return !index->rd_index->indcheckxmin ||
		TransactionIdPrecedes(HeapTupleHeaderGetXmin(index->rd_indextuple->t_data), TransactionXmin);
}

/*
 * The index knows a row by the root of its HOT chain, the server by the version that is seen. The root stays as long as a
 * version of the chain is seen by somebody.
 */
static void
add_roots_of_page(IqdbPgNearest *nearest, BlockNumber block, const uint64 *numbers, Size count)
{
	OffsetNumber roots[MaxHeapTuplesPerPage];
	Buffer		buffer = ReadBuffer(nearest->heap, block);
	IqdbError	error = {0};

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	heap_get_root_tuples(BufferGetPage(buffer), roots);
	UnlockReleaseBuffer(buffer);
	for (Size i = 0; i < count; i++)
	{
		OffsetNumber root = roots[(numbers[i] & 0xffff) - 1];

		if (root != InvalidOffsetNumber)
			iqdb_pg_check(iqdb_id_set_add(&nearest->roots, (uint64) block << 16 | root, &error), &error, nearest->index);
	}
}

static void
filter_by_rows(IqdbPgNearest *nearest, const IqdbPgTids *among)
{
	nearest->host = iqdb_pg_host(CurrentMemoryContext);
	iqdb_id_set_init(&nearest->roots, &nearest->host.allocator);
	for (Size begin = 0, end; begin < among->count; begin = end)
	{
		BlockNumber block = block_of(among->numbers[begin]);

		CHECK_FOR_INTERRUPTS();
		for (end = begin + 1; end < among->count && block_of(among->numbers[end]) == block;)
			end++;
		add_roots_of_page(nearest, block, among->numbers + begin, end - begin);
	}
	nearest->filter.ids = &nearest->roots;
	nearest->params.filter = &nearest->filter;
}

static void
filter_by_keys(IqdbPgNearest *nearest, IqdbPgKeys *keys)
{
	nearest->keys = keys;
	nearest->conditions = iqdb_pg_keys_filter(keys, nearest->form.columns);
	if (nearest->conditions.count == 0)
		return;
	nearest->filter.tests = nearest->conditions.tests;
	nearest->filter.test_count = nearest->conditions.count;
	nearest->params.filter = &nearest->filter;
}

IqdbPgNearest *
iqdb_pg_nearest_begin(Relation index, Relation heap, Snapshot snapshot, int k, const IqdbPgTids *among, IqdbPgKeys *keys)
{
	IqdbPgNearest *nearest = palloc0(sizeof(IqdbPgNearest));
	IqdbError	error = {0};

	nearest->index = index;
	nearest->heap = heap;
	nearest->snapshot = snapshot;
	nearest->k = k;
	nearest->among = among;
	nearest->zero_is_nan = iqdb_pg_zero_is_nan(index);
	nearest->form = iqdb_pg_row_form(index);
	nearest->context = AllocSetContextCreate(CurrentMemoryContext, "iqdb nearest", ALLOCSET_DEFAULT_SIZES);
	PredicateLockRelation(index, snapshot);
	if (is_usable(index))
		nearest->arena = iqdb_pg_try_current(index, heap, IQDB_PG_OPEN_SEARCH, &error);
	if (nearest->arena == NULL)
		return nearest;
	nearest->params = iqdb_pg_search_params(index);
	nearest->params.zero_last = nearest->zero_is_nan;
	nearest->params.expected = (size_t) k + BEYOND;
	if (among != NULL)
		filter_by_rows(nearest, among);
	if (keys != NULL)
		filter_by_keys(nearest, keys);
	nearest->fetch = iqdb_pg_index_fetch_begin(heap);
	nearest->slot = table_slot_create(heap, NULL);
	return nearest;
}

bool
iqdb_pg_nearest_reads_table(const IqdbPgNearest *nearest)
{
	return nearest->arena == NULL;
}

int
iqdb_pg_nearest_together(const IqdbPgNearest *nearest)
{
	/* a pass over the table is dear, and room for what its queries find is all that it takes */
	if (nearest->arena == NULL)
		return Max((int) (work_mem * INT64CONST(1024) / (nearest->k * sizeof(IqdbPgNeighbour))), 1);
	/* one cursor after the other finds the memory of the one before in the processor's caches */
	if (nearest->arena->index.engine->cursors_begin == NULL)
		return 1;
	return Max(Min(TOGETHER, (int) (work_mem * INT64CONST(1024) / (nearest->k * sizeof(IqdbPgNeighbour)))), 1);
}

/* Within the context of this search. */
static void
search_index(IqdbPgNearest *nearest, const void *const *queries, int count, IqdbPgNeighbour *rows, int *counts)
{
	Stream	   *streams = palloc0(count * sizeof(Stream));
	IqdbCursor **cursors = palloc(count * sizeof(IqdbCursor *));
	Candidate  *candidates = MemoryContextAllocHuge(CurrentMemoryContext, (Size) count * nearest->k * sizeof(Candidate));
	IqdbPgView	view;
	IqdbError	error = {0};

	iqdb_pg_view(&view, nearest->arena);
	for (int i = 0; i < count; i++)
	{
		open_stream(nearest, &view, queries[i], &streams[i]);
		cursors[i] = streams[i].hits.cursor;
		streams[i].rows = rows + (Size) i * nearest->k;
	}
	iqdb_pg_check(iqdb_cursors_begin(cursors, count, &error), &error, nearest->index);
	while (round_of_hits(nearest, streams, count, candidates))
		;
	for (int i = 0; i < count; i++)
	{
		counts[i] = streams[i].count;
		pgstat_count_index_scan(nearest->index);
		pgstat_count_index_tuples(nearest->index, streams[i].hits.taken);
		iqdb_cursor_close(cursors[i]);
	}
}

void
iqdb_pg_nearest_search(IqdbPgNearest *nearest, const void *const *queries, int count, IqdbPgNeighbour *rows, int *counts)
{
	MemoryContext saved = MemoryContextSwitchTo(nearest->context);

	Assert(nearest->arena != NULL || nearest->keys == NULL);
	if (nearest->conditions.never)
		memset(counts, 0, count * sizeof(int));
	else if (nearest->arena != NULL)
		search_index(nearest, queries, count, rows, counts);
	else
		iqdb_pg_nearest_in_table(nearest->index, nearest->heap, queries, count, nearest->k, nearest->among,
								 rows, counts);
	MemoryContextSwitchTo(saved);
	MemoryContextReset(nearest->context);
}

void
iqdb_pg_nearest_end(IqdbPgNearest *nearest)
{
	if (nearest->arena != NULL)
	{
		table_index_fetch_end(nearest->fetch);
		ExecDropSingleTupleTableSlot(nearest->slot);
	}
	MemoryContextDelete(nearest->context);
	pfree(nearest);
}
