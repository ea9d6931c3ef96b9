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

/* So many bytes of vectors are looked at, and so many rows at least and at most. What none shows counts as half a row. */
#define SAMPLED_BYTES (128 * 1024)
#define SAMPLED_MIN 64
#define SAMPLED_MAX 512

typedef struct Sample
{
	const IqdbStore *store;
	const void *query;			/* as rows are stored; NULL: rows are compared with each other */
	double		bound;
	bool		below;
	int			seen;
	int			within;
} Sample;

/* Compares one row with the query, or with another row, if they are LIVE. */
static void
look_at(Sample *sample, uint32 slot, uint32 other)
{
	const IqdbStore *store = sample->store;
	const IqdbIndexOptions *options = &store->header->options;
	const void *query = sample->query != NULL ? sample->query : iqdb_store_vector(store, other);
	double		distance;

	if (iqdb_store_state(store, slot) != IQDB_ROW_LIVE ||
		(sample->query == NULL && (slot == other || iqdb_store_state(store, other) != IQDB_ROW_LIVE)))
		return;
	distance = iqdb_element_distance(iqdb_pg_kernels(), store->element, (IqdbMetric) options->metric, query,
									 iqdb_store_vector(store, slot), options->dimension);
	sample->seen++;
	if (sample->below ? float8_lt(distance, sample->bound) : float8_le(distance, sample->bound))
		sample->within++;
}

/* Holds STRUCTURE shared, for less than a stretch. */
static void
look_around(Sample *sample)
{
	const IqdbStore *store = sample->store;
	uint64		rows = SAMPLED_BYTES / Max(store->row_stride, 1);
	uint64		slots;

	rows = Min(Max(rows, SAMPLED_MIN), SAMPLED_MAX);
	iqdb_store_lock(store, IQDB_LOCK_STRUCTURE, false);
	slots = atomic_load(&store->header->slot_count);
	for (uint64 i = 0; i < rows && slots > 0; i++)
	{
		uint64		slot = i * slots / rows;

		look_at(sample, (uint32) slot, (uint32) ((slot + slots / 2) % slots));
	}
	iqdb_store_unlock(store, IQDB_LOCK_STRUCTURE, false);
}

bool
iqdb_pg_sample_within(Relation index, const Datum *query, double bound, bool below, double *share_out)
{
	Sample		sample = {.bound = bound, .below = below};
	IqdbError	error = {0};
	IqdbPgArena *arena;
	IqdbPgRowForm form;

	if (RelationGetNumberOfBlocks(index) < 2)
		return false;
	arena = iqdb_pg_open(index, NULL, IQDB_PG_OPEN_IF_READY, &error);
	if (arena == NULL || arena->index.store.paged)
		return false;
	sample.store = &arena->index.store;
	form = iqdb_pg_row_form(index);
	if (query != NULL && form.type->read(PG_DETOAST_DATUM(*query), &sample.query) != form.dimension)
		return false;
	look_around(&sample);
	if (sample.seen == 0)
		return false;
	*share_out = Max(sample.within, 0.5) / sample.seen;
	return true;
}
