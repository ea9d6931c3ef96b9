/*
 * pg_tids.c - see pg_tids.h.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "pg/pg_tids.h"

#define FIRST_ROOM 1024

IqdbPgTids
iqdb_pg_tids(Oid table, MemoryContext context)
{
	IqdbPgTids	tids = {.table = table, .room = FIRST_ROOM};

	tids.numbers = MemoryContextAlloc(context, FIRST_ROOM * sizeof(uint64));
	return tids;
}

void
iqdb_pg_tids_add(IqdbPgTids *tids, uint64 number)
{
	if (tids->count == tids->room)
	{
		tids->room *= 2;
		tids->numbers = repalloc_huge(tids->numbers, tids->room * sizeof(uint64));
	}
	tids->numbers[tids->count++] = number;
}

static int
compare_numbers(const void *a, const void *b)
{
	uint64		x = *(const uint64 *) a;
	uint64		y = *(const uint64 *) b;

	return x < y ? -1 : x > y ? 1 : 0;
}

/* Most scans of a table find its rows in their order already. */
void
iqdb_pg_tids_sort(IqdbPgTids *tids)
{
	Size		at = 1;

	while (at < tids->count && tids->numbers[at - 1] <= tids->numbers[at])
		at++;
	if (at < tids->count)
		qsort(tids->numbers, tids->count, sizeof(uint64), compare_numbers);
}

bool
iqdb_pg_tids_contain(const IqdbPgTids *tids, uint64 number)
{
	return bsearch(&number, tids->numbers, tids->count, sizeof(uint64), compare_numbers) != NULL;
}
