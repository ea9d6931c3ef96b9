/*
 * pg_scan.c - ordered scans: the access methods' callbacks. The rows themselves, and their order, come from pg_stream.c.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relscan.h"
#include "pgstat.h"

#include "pg/pg_am.h"
#include "pg/pg_compat.h"
#include "pg/pg_scan.h"

typedef struct IqdbScan
{
	IqdbPgStream stream;
	IqdbPgStreamWish wish;
} IqdbScan;

IndexScanDesc
iqdb_am_beginscan(Relation index, int nkeys, int norderbys)
{
	IndexScanDesc scan = RelationGetIndexScan(index, nkeys, norderbys);
	IqdbScan   *state = palloc0(sizeof(IqdbScan));

	iqdb_pg_stream_init(&state->stream);
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
	IqdbScan   *state = scan->opaque;

	iqdb_pg_stream_stop(&state->stream);
	if (keys != NULL && scan->numberOfKeys > 0)
		memmove(scan->keyData, keys, scan->numberOfKeys * sizeof(ScanKeyData));
	if (orderbys != NULL && scan->numberOfOrderBys > 0)
		memmove(scan->orderByData, orderbys, scan->numberOfOrderBys * sizeof(ScanKeyData));
}

void
iqdb_pg_scan_wish(IndexScanDesc scan, const IqdbPgStreamWish *wish)
{
	IqdbScan   *state = scan->opaque;

	state->wish = *wish;
}

IqdbPgStreamStats
iqdb_pg_scan_stats(IndexScanDesc scan)
{
	const IqdbScan *state = scan->opaque;

	return iqdb_pg_stream_stats(&state->stream);
}

static void
start(IndexScanDesc scan, IqdbScan *state)
{
	ScanKey		key = &scan->orderByData[0];
	IqdbPgStreamWish wish = state->wish;

	if (scan->numberOfOrderBys == 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot scan index \"%s\" without order", RelationGetRelationName(scan->indexRelation))));
	pgstat_count_index_scan(scan->indexRelation);
	iqdb_pg_count_search(scan);
	wish.keys = scan->keyData;
	wish.key_count = scan->numberOfKeys;
	iqdb_pg_stream_start(&state->stream, scan->indexRelation, scan->heapRelation, scan->xs_snapshot, key->sk_argument,
						 (key->sk_flags & SK_ISNULL) != 0, &wish);
}

bool
iqdb_am_gettuple(IndexScanDesc scan, ScanDirection direction)
{
	IqdbScan   *state = scan->opaque;
	double		distance;

	Assert(ScanDirectionIsForward(direction));
	if (!state->stream.started)
		start(scan, state);
	if (!iqdb_pg_stream_next(&state->stream, &scan->xs_heaptid, &distance, &scan->xs_orderbynulls[0]))
		return false;
	scan->xs_recheck = state->stream.recheck;
	scan->xs_recheckorderby = false;
	scan->xs_orderbyvals[0] = Float8GetDatum(distance);
	return true;
}

void
iqdb_am_endscan(IndexScanDesc scan)
{
	IqdbScan   *state = scan->opaque;

	iqdb_pg_stream_end(&state->stream);
	pfree(state);
	scan->opaque = NULL;
}
