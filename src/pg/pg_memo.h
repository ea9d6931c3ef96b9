/*
 * pg_memo.h - what a process remembers of an index between two uses of its relation.
 *
 * It lies in rd_amcache, which the server throws away whenever the relation gets another file or another definition.
 */
#ifndef IQDB_PG_MEMO_H
#define IQDB_PG_MEMO_H

#include "utils/memutils.h"
#include "utils/rel.h"

#include "pg/pg_journal.h"

typedef struct IqdbPgMemo
{
	const struct IqdbPgType *type;	/* of the column; NULL: not looked up yet */
	bool		has_generation;
	IqdbPgGeneration generation;
} IqdbPgMemo;

static inline IqdbPgMemo *
iqdb_pg_memo(Relation index)
{
	if (index->rd_amcache == NULL)
		index->rd_amcache = MemoryContextAllocZero(index->rd_indexcxt, sizeof(IqdbPgMemo));
	return index->rd_amcache;
}

#endif
