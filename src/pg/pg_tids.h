/*
 * pg_tids.h - rows of one table, as sorted numbers: what a statement says of which rows are meant.
 */
#ifndef IQDB_PG_TIDS_H
#define IQDB_PG_TIDS_H

#include "utils/palloc.h"

typedef struct IqdbPgTids
{
	Oid			table;
	uint64	   *numbers;		/* of TIDs, as pg_row.h has them; they ascend once they are sorted */
	Size		count;
	Size		room;
} IqdbPgTids;

/* An empty one, whose numbers will lie in this context. */
extern IqdbPgTids iqdb_pg_tids(Oid table, MemoryContext context);

extern void iqdb_pg_tids_add(IqdbPgTids *tids, uint64 number);
extern void iqdb_pg_tids_sort(IqdbPgTids *tids);

/* Of sorted ones. */
extern bool iqdb_pg_tids_contain(const IqdbPgTids *tids, uint64 number);

#endif
