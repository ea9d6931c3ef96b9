/*
 * pg_sample.c - see pg_sample.h.
 */
#include "postgres.h"

#include "storage/bufmgr.h"
#include "utils/float.h"

#include "core/vec/kernels.h"

#include "pg/pg_compat.h"
#include "pg/pg_kernels.h"
#include "pg/pg_open.h"
#include "pg/pg_row.h"
#include "pg/pg_sample.h"

/* Rows that are looked at. What none of them shows counts as half a row. */
#define SAMPLED 128

/* Counts the rows of the sample that are LIVE, and those within. Holds STRUCTURE shared, for less than a stretch. */
static void
count_within(const IqdbStore *store, const void *query, double bound, bool below, int *seen_out, int *within_out)
{
	const IqdbIndexOptions *options = &store->header->options;
	uint32		slots;

	iqdb_store_lock(store, IQDB_LOCK_STRUCTURE, false);
	slots = atomic_load(&store->header->slot_count);
	for (uint64 i = 0; i < SAMPLED; i++)
	{
		uint32		slot = (uint32) (i * slots / SAMPLED);
		double		distance;

		if (slot >= slots || iqdb_store_state(store, slot) != IQDB_ROW_LIVE)
			continue;
		distance = iqdb_element_distance(iqdb_pg_kernels(), store->element, (IqdbMetric) options->metric, query,
										 iqdb_store_vector(store, slot), options->dimension);
		(*seen_out)++;
		*within_out += (below ? float8_lt(distance, bound) : float8_le(distance, bound)) ? 1 : 0;
	}
	iqdb_store_unlock(store, IQDB_LOCK_STRUCTURE, false);
}

bool
iqdb_pg_sample_within(Relation index, Datum query, double bound, bool below, double *share_out)
{
	IqdbError	error = {0};
	IqdbPgArena *arena;
	IqdbPgRowForm form;
	const void *vector;
	int			seen = 0;
	int			within = 0;

	if (RelationGetNumberOfBlocks(index) < 2)
		return false;
	arena = iqdb_pg_open(index, NULL, IQDB_PG_OPEN_IF_READY, &error);
	if (arena == NULL || arena->index.store.paged)
		return false;
	form = iqdb_pg_row_form(index);
	if (form.type->read(PG_DETOAST_DATUM(query), &vector) != form.dimension)
		return false;
	count_within(&arena->index.store, vector, bound, below, &seen, &within);
	if (seen == 0)
		return false;
	*share_out = Max(within, 0.5) / seen;
	return true;
}
