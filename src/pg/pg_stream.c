/*
 * pg_stream.c - see pg_stream.h.
 *
 * A row that was removed meanwhile, or whose TID was used again, cannot be seen through the scan's snapshot, so VACUUM need
 * not wait for scans. The order is exact for what is returned, and distances are the operator's own values: hits go through
 * core/db/index_ranking.h.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/float.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "pg/pg_am.h"
#include "pg/pg_compat.h"
#include "pg/pg_options.h"
#include "pg/pg_settings.h"
#include "pg/pg_row.h"
#include "pg/pg_stream.h"

/* Rows of a remembered answer whose pages are asked for ahead. */
#define PREFETCHED_ROWS 16

/* Rows that an engine is asked to be ready for beyond those that are taken. */
#define ROWS_AHEAD 16

void
iqdb_pg_stream_init(IqdbPgStream *stream)
{
	memset(stream, 0, offsetof(IqdbPgStream, hits) + offsetof(IqdbPgHits, ranking));
	stream->context = AllocSetContextCreate(CurrentMemoryContext, "iqdb scan", ALLOCSET_DEFAULT_SIZES);
}

/* Adds what the cursor looked at to an account. */
static void
count_rows(const IqdbCursor *cursor, IqdbPgStreamStats *stats)
{
	stats->scored += cursor->stats.scored;
	stats->reranked += cursor->stats.reranked;
	stats->filtered += cursor->stats.filtered;
}

/* Adds a search, which has come to its end, or is counted as if it had. */
static void
count_search(const IqdbPgStream *stream, IqdbPgStreamStats *stats)
{
	if (stream->hits.cursor == NULL)
		return;
	count_rows(stream->hits.cursor, stats);
	stats->ways[stream->completing ? IQDB_SEARCH_OWN_EXACT : Min(stream->hits.cursor->stats.way, IQDB_SEARCH_OWN_EXACT)]++;
}

IqdbPgStreamStats
iqdb_pg_stream_stats(const IqdbPgStream *stream)
{
	IqdbPgStreamStats stats = stream->stats;

	count_search(stream, &stats);
	return stats;
}

void
iqdb_pg_stream_stop(IqdbPgStream *stream)
{
	if (stream->hits.exact != NULL)
		iqdb_pg_exact_end(stream->hits.exact);
	count_search(stream, &stream->stats);
	iqdb_pg_answer_keep(&stream->answer);
	MemoryContextReset(stream->context);
	stream->hits.cursor = NULL;
	stream->hits.exact = NULL;
	stream->hits.taken = 0;
	stream->seen = NULL;
	stream->completing = false;
	stream->started = false;
	stream->returned = 0;
}

void
iqdb_pg_stream_end(IqdbPgStream *stream)
{
	iqdb_pg_stream_stop(stream);
	MemoryContextDelete(stream->context);
}

/* ---- the start ----------------------------------------------------------------------------------------------------- */

/* The query's vector, in the form of the rows; zeros for NULL. Raises 22000 if its dimension is another one. */
static const void *
query_vector(IqdbPgStream *stream, const IqdbPgRowForm *form, Datum query, bool isnull)
{
	const void *vector;
	uint32		dimension;

	stream->null_query = isnull;
	stream->zero_query = false;
	if (isnull)
		return palloc0(form->bytes);
	dimension = form->type->read(PG_DETOAST_DATUM(query), &vector);
	if (dimension != form->dimension)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("different %s %s %u and %u", form->type->name, form->type->sizes, form->dimension,
						dimension)));
	stream->zero_query = stream->zero_is_nan && iqdb_element_is_zero(form->element, vector, dimension);
	return vector;
}

/* The plan may be older than the want of room. */
static void
start_exact(IqdbPgStream *stream, const IqdbPgRowForm *form, const void *query)
{
	IqdbIndexOptions options = iqdb_pg_index_options(stream->hits.index);

	iqdb_pg_hits_of_table(&stream->hits, iqdb_pg_exact_begin(stream->hits.index, stream->hits.heap,
															 (IqdbMetric) options.metric, stream->zero_is_nan, form, query));
	stream->in_order = true;
	stream->recheck = stream->wish.key_count > 0;
	stream->stats.tables_read++;
}

/* A cursor in place of the one there is; exhaustive: one that looks at all rows, whatever the engine. */
static void
open_cursor(IqdbPgStream *stream, const void *query, uint32 dimension, bool exhaustive)
{
	IqdbSearchParams params = iqdb_pg_search_params(stream->hits.index);
	IqdbCursor *cursor;
	IqdbError	error = {0};

	params.zero_last = stream->zero_is_nan;
	/* some more than are taken: a row waits until one is known that is farther (core/db/index_ranking.h) */
	params.expected = stream->wish.expected > 0 ? stream->wish.expected + ROWS_AHEAD : 0;
	stream->filter = (IqdbRowFilter) {
		.tests = stream->conditions.tests,
		.test_count = stream->conditions.count,
		.ids = stream->wish.ids
	};
	if (stream->filter.ids != NULL || stream->filter.test_count > 0)
		params.filter = &stream->filter;
	if (exhaustive)
	{
		params.ef = UINT32_MAX;
		params.probes = UINT32_MAX;
		params.expected = 0;
	}
	iqdb_pg_check(iqdb_cursor_open(&stream->view.index, query, dimension, &params, &cursor, &error), &error,
				  stream->hits.index);
	iqdb_pg_hits_of_cursor(&stream->hits, cursor);
}

static void
start_cursor(IqdbPgStream *stream)
{
	iqdb_pg_view(&stream->view, stream->arena);
	stream->in_order = stream->wish.exhaustive || iqdb_engine_get(iqdb_pg_engine_kind(stream->hits.index))->is_exact;
	open_cursor(stream, stream->vector, iqdb_pg_row_form(stream->hits.index).dimension, stream->wish.exhaustive);
}

/* Are there rows that an earlier search has found, which was asked the same? */
static bool
find_answer(IqdbPgStream *stream, Size vector_bytes)
{
	IqdbSearchParams params = iqdb_pg_search_params(stream->hits.index);
	uint64		ids[PREFETCHED_ROWS];

	if (stream->null_query || stream->conditions.never ||
		!iqdb_pg_answer_find(&stream->answer, stream->hits.index, stream->arena, &params, &stream->wish, &stream->conditions,
							 stream->vector, vector_bytes))
		return false;
	stream->stats.remembered++;
	/* the caller's may be gone when a search has to go on behind the rows that were found */
	stream->vector = iqdb_pg_answer_vector(&stream->answer);
	iqdb_pg_check_snapshot(stream->hits.snapshot, stream->hits.heap);
	iqdb_pg_prefetch_rows(stream->hits.heap, ids, iqdb_pg_answer_ids(&stream->answer, ids, lengthof(ids)));
	return true;
}

void
iqdb_pg_stream_start(IqdbPgStream *stream, Relation index, Relation heap, Snapshot snapshot, Datum query, bool isnull,
					 const IqdbPgStreamWish *wish)
{
	MemoryContext saved;
	IqdbPgRowForm form;
	IqdbError	error = {0};

	if (!IsMVCCSnapshot(snapshot))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("non-MVCC snapshots are not supported with index \"%s\"", RelationGetRelationName(index))));
	saved = MemoryContextSwitchTo(stream->context);
	stream->hits.index = index;
	stream->hits.heap = heap;
	stream->hits.snapshot = snapshot;
	stream->hits.ids = wish->ids;
	stream->hits.prefetch = true;
	stream->wish = *wish;
	stream->stats.searches++;
	stream->zero_is_nan = iqdb_pg_zero_is_nan(index);
	stream->arena = iqdb_pg_try_current(index, heap, IQDB_PG_OPEN_SEARCH, &error);
	form = iqdb_pg_row_form(index);
	stream->vector = query_vector(stream, &form, query, isnull);
	stream->conditions = iqdb_pg_filter(form.columns, wish->keys, wish->key_count);
	stream->recheck = stream->conditions.lossy;
	if (stream->arena == NULL)
		start_exact(stream, &form, stream->vector);
	else if (!find_answer(stream, form.bytes))
		start_cursor(stream);
	MemoryContextSwitchTo(saved);
	stream->started = true;
}

/* ---- rows ---------------------------------------------------------------------------------------------------------- */

/* The distance as the operator would return it. */
static double
row_distance(const IqdbPgStream *stream, const IqdbRankedRow *row)
{
	if (stream->zero_query || (stream->zero_is_nan && isinf(row->distance)))
		return get_float8_nan();
	return row->distance;
}

/* ---- bounds -------------------------------------------------------------------------------------------------------- */

static bool
is_within(const IqdbPgStream *stream, double distance)
{
	const IqdbPgStreamWish *wish = &stream->wish;

	return !wish->bounded || (!stream->null_query &&
							  (wish->below ? float8_lt(distance, wish->bound) : float8_le(distance, wish->bound)));
}

/*
 * The bound is reached. If there may be rows before it that the engine has not met, a search of all rows begins, which leaves
 * out those that were returned; else false.
 */
static bool
complete(IqdbPgStream *stream)
{
	IqdbCursor *cursor = stream->hits.cursor;
	MemoryContext saved;

	if (stream->in_order || stream->completing || stream->null_query)
		return false;
	saved = MemoryContextSwitchTo(stream->context);
	count_rows(cursor, &stream->stats);
	stream->hits.cursor = NULL;
	open_cursor(stream, cursor->vector, iqdb_pg_row_form(stream->hits.index).dimension, true);
	iqdb_cursor_close(cursor);
	MemoryContextSwitchTo(saved);
	stream->completing = true;
	stream->stats.completed++;
	return true;
}

/* Has the row been returned? If not, it is now. */
static bool
was_returned(IqdbPgStream *stream, uint64 number)
{
	IqdbError	error = {0};

	if (!stream->wish.bounded || stream->in_order)
		return false;
	if (stream->completing)
		return stream->seen != NULL && iqdb_id_set_contains(stream->seen, number);
	if (stream->seen == NULL)
	{
		stream->seen = MemoryContextAlloc(stream->context, sizeof(IqdbIdSet));
		iqdb_id_set_init(stream->seen, &stream->view.host.allocator);
	}
	iqdb_pg_check(iqdb_id_set_add(stream->seen, number, &error), &error, stream->hits.index);
	return false;
}

/* The next row of the search within its bound. */
static bool
next_within(IqdbPgStream *stream, IqdbRankedRow *row_out)
{
	for (;;)
	{
		if (!iqdb_pg_hits_next(&stream->hits, row_out))
			return false;
		if (!is_within(stream, row_distance(stream, row_out)))
		{
			if (!complete(stream))
				return false;
		}
		else if (!was_returned(stream, row_out->id))
			return true;
	}
}

/* The same behind those that were remembered. */
static bool
next_searched(IqdbPgStream *stream, IqdbRankedRow *row_out)
{
	if (stream->hits.cursor == NULL && stream->hits.exact == NULL)
	{
		MemoryContext saved = MemoryContextSwitchTo(stream->context);

		start_cursor(stream);
		MemoryContextSwitchTo(saved);
	}
	do
	{
		if (!next_within(stream, row_out))
		{
			(void) iqdb_pg_answer_note(&stream->answer, NULL);
			return false;
		}
	} while (!iqdb_pg_answer_note(&stream->answer, row_out));
	return true;
}

bool
iqdb_pg_stream_next(IqdbPgStream *stream, ItemPointer tid_out, double *distance_out, bool *isnull_out)
{
	IqdbRankedRow row;

	Assert(stream->started);
	if (stream->conditions.never)
		return false;
	if (iqdb_max_scan_tuples > 0 && stream->returned >= (uint64) iqdb_max_scan_tuples)
		return false;
	if (!iqdb_pg_answer_next(&stream->answer, &row) &&
		(iqdb_pg_answer_is_all(&stream->answer) || !next_searched(stream, &row)))
		return false;
	stream->returned++;
	iqdb_pg_number_tid(row.id, tid_out);
	*distance_out = row_distance(stream, &row);
	*isnull_out = stream->null_query;
	return true;
}
