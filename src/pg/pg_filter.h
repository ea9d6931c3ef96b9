/*
 * pg_filter.h - conditions on an index's columns: from the scan keys of the server to the tests of the core.
 */
#ifndef IQDB_PG_FILTER_H
#define IQDB_PG_FILTER_H

#include "access/skey.h"

#include "pg/pg_column.h"

typedef struct IqdbPgFilter
{
	IqdbTest   *tests;			/* joined to one, as IqdbRowFilter wants them */
	size_t		count;			/* 0: every row passes */
	size_t		room;
	bool		never;			/* no row passes: a condition is not true of any */
	bool		lossy;			/* a row that passes may still fail the conditions */
} IqdbPgFilter;

/*
 * What the keys ask, all of them, in the current memory context. columns: of the index, NULL if it has none. A key on the
 * first column asks whether the row has a vector, which every row of an index has.
 */
extern IqdbPgFilter iqdb_pg_filter(const IqdbPgColumns *columns, const ScanKeyData *keys, int key_count);

#endif
