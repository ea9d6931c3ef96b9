/*
 * pg_hits.c - see pg_hits.h.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/snapmgr.h"

#include "pg/pg_am.h"
#include "pg/pg_bridge.h"
#include "pg/pg_compat.h"
#include "pg/pg_hits.h"
#include "pg/pg_row.h"

StaticAssertDecl(IQDB_PG_HITS_PER_CALL <= IQDB_RANKING_BATCH, "a ranking takes what the engine hands out at once");

/* Rows whose pages are asked for ahead. */
#define PREFETCHED_ROWS 16

void
iqdb_pg_hits_of_cursor(IqdbPgHits *hits, IqdbCursor *cursor)
{
	hits->cursor = cursor;
	iqdb_ranking_start(&hits->ranking, cursor);
}

void
iqdb_pg_hits_of_table(IqdbPgHits *hits, IqdbPgExact *exact)
{
	hits->exact = exact;
	iqdb_ranking_start(&hits->ranking, NULL);
}

/*
 * Asking for all of them first lets the reads, or at least the cache misses, overlap: first those of the pages' line pointers,
 * then those of the tuples that these lead to.
 *
 * No buffer is pinned, so a page may become another one's meanwhile. What is read of it here is a hint to the processor, within
 * the page's bytes whatever it says.
 */
void
iqdb_pg_prefetch_rows(Relation heap, const uint64 *ids, size_t count)
{
	const PageHeaderData *pages[PREFETCHED_ROWS];
	OffsetNumber offsets[PREFETCHED_ROWS];
	int			found = 0;

	for (size_t i = 0; i < Min(count, PREFETCHED_ROWS); i++)
	{
		ItemPointerData tid;
		PrefetchBufferResult result;

		iqdb_pg_number_tid(ids[i], &tid);
		result = PrefetchBuffer(heap, MAIN_FORKNUM, ItemPointerGetBlockNumber(&tid));
		offsets[found] = ItemPointerGetOffsetNumber(&tid);
		if (!BufferIsValid(result.recent_buffer) || offsets[found] < 1 || offsets[found] > MaxHeapTuplesPerPage)
			continue;
		pages[found] = (const PageHeaderData *) BufferGetBlock(result.recent_buffer);
		__builtin_prefetch(pages[found]);
		__builtin_prefetch(&pages[found]->pd_linp[offsets[found] - 1]);
		found++;
	}
	for (int i = 0; i < found; i++)
		__builtin_prefetch((const char *) pages[i] + pages[i]->pd_linp[offsets[i] - 1].lp_off % BLCKSZ);
}

/* Rows of the sorted table. */
static size_t
fetch_exact(IqdbPgHits *hits, uint64 *ids, size_t capacity)
{
	const IqdbIdSet *wanted = hits->ids;
	size_t		count = 0;
	double		distance;

	while (count < capacity && iqdb_pg_exact_next(hits->exact, &ids[count], &distance))
	{
		if (wanted == NULL || iqdb_id_set_contains(wanted, ids[count]))
			iqdb_ranking_append(&hits->ranking, ids[count++], distance);
	}
	return count;
}

/* Hits of the engine; a cancel in the middle of its work is raised here, with nothing held. */
static size_t
fetch_hits(IqdbPgHits *hits, uint64 *ids, size_t capacity)
{
	IqdbHit		found[IQDB_PG_HITS_PER_CALL];
	size_t		count;
	IqdbError	error = {0};

	iqdb_pg_check(iqdb_cursor_next(hits->cursor, found, capacity, &count, &error), &error, hits->index);
	for (size_t i = 0; i < count; i++)
		ids[i] = found[i].id;
	/* while their distances are computed */
	if (hits->prefetch)
		iqdb_pg_prefetch_rows(hits->heap, ids, count);
	iqdb_ranking_add(&hits->ranking, found, count);
	return count;
}

/* More rows for the ranking; false when there are none. */
static bool
fetch_more(IqdbPgHits *hits)
{
	uint64		ids[IQDB_PG_HITS_PER_CALL];
	size_t		capacity = iqdb_pg_hits_per_call(hits->taken);
	size_t		count;

	CHECK_FOR_INTERRUPTS();
	/* the rows may be gone without a trace in the index, so this does not depend on what it holds */
	iqdb_pg_check_snapshot(hits->snapshot, hits->heap);
	if (hits->exact != NULL)
	{
		count = fetch_exact(hits, ids, capacity);
		if (hits->prefetch)
			iqdb_pg_prefetch_rows(hits->heap, ids, count);
	}
	else
		count = fetch_hits(hits, ids, capacity);
	hits->taken += count;
	return count > 0;
}

/* Rows that wait for their place when the engine has no more come then. */
bool
iqdb_pg_hits_next(IqdbPgHits *hits, IqdbRankedRow *row_out)
{
	while (!iqdb_ranking_next(&hits->ranking, row_out))
	{
		if (!fetch_more(hits))
			return iqdb_ranking_next(&hits->ranking, row_out);
	}
	return true;
}
