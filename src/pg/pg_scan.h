/*
 * pg_scan.h - what the own node tells an index scan of ours, and asks it, beside what the server's interface has room for.
 */
#ifndef IQDB_PG_SCAN_H
#define IQDB_PG_SCAN_H

#include "access/genam.h"

#include "pg/pg_stream.h"

/* For the searches that follow, until it is called again. What it points to outlives them. */
extern void iqdb_pg_scan_wish(IndexScanDesc scan, const IqdbPgStreamWish *wish);

/* What the scan's searches did so far. */
extern IqdbPgStreamStats iqdb_pg_scan_stats(IndexScanDesc scan);

#endif
