/*
 * scorer.h - how far rows are from one vector, and whether they may be answers at all.
 *
 * A scorer is prepared once per query. It is the one place where vectors of rows are read to be compared with a query, and
 * where a search's filter is asked. Its keys are rank keys of full precision (engine/keys.h): the same numbers for the
 * same row and query, whether rows are gathered by slot or streamed as a range, and whichever engine asks. So all engines
 * agree on the order of rows bit for bit.
 *
 * The caller of every function that names slots holds STRUCTURE shared: a slot must not become another row meanwhile. Slots
 * whose row is not LIVE have keys, too, of no meaning.
 */
#ifndef IQDB_ENGINE_SCORER_H
#define IQDB_ENGINE_SCORER_H

#include "core/engine/row_filter.h"

/* The most rows of one call of iqdb_scorer_slot_sums(). */
#define IQDB_SCORER_ROWS 256u

typedef struct IqdbScorer
{
	const IqdbStore  *store;
	const void       *query;    /* a prepared one */
	float             query_norm2;
	size_t            dimension;
	size_t            stride;   /* bytes */
	IqdbBatchKernel   batch;
	IqdbGatherKernel  gather;
	const IqdbRowFilter *filter; /* NULL: every row may be an answer */
	uint64_t         *filtered; /* counts rows that the filter turned away */
} IqdbScorer;

/* No query yet: iqdb_scorer_aim() follows. With a filter, filtered is a counter that lives as long as the scorer. */
void iqdb_scorer_init(IqdbScorer *scorer_out, const IqdbStore *store, const IqdbRowFilter *filter, uint64_t *filtered);

/* The prepared query, which must stay where it is, and its squared norm by the kernel table in use. May be called again. */
static inline void
iqdb_scorer_aim(IqdbScorer *scorer, const void *query, float query_norm2)
{
	scorer->query = query;
	scorer->query_norm2 = query_norm2;
}

/* Rank keys of rows anywhere. Vectors on disk that are not in memory are all asked for before the first is read. */
void iqdb_scorer_slots(const IqdbScorer *scorer, const uint32_t *slots, size_t count, float *keys_out);

/* Rank keys of the rows first, first + 1, ... */
void iqdb_scorer_range(const IqdbScorer *scorer, uint32_t first, size_t count, float *keys_out);

/*
 * The same in two steps, for callers that see by the sums alone that rows are too far: first the sums of the metric's
 * kernel, then keys in their place. norms2 are the rows' squared norms where keys need them: iqdb_scorer_slot_sums() puts
 * those of its rows (IQDB_SCORER_ROWS at most) into a buffer of the caller and returns it; for a range they stand in the
 * store (iqdb_store_key_norms). Where keys need none, NULL.
 */
const float *iqdb_scorer_slot_sums(const IqdbScorer *scorer, const uint32_t *slots, size_t count, float *sums_out,
								   float *norms2_buffer);

static inline void
iqdb_scorer_range_sums(const IqdbScorer *scorer, uint32_t first, size_t count, float *sums_out)
{
	scorer->batch(scorer->query, iqdb_store_vector(scorer->store, first), scorer->stride, count, scorer->dimension, sums_out);
}

/* The rows are slots[i], or (slots NULL) first + i. */
void iqdb_scorer_finish(const IqdbScorer *scorer, const uint32_t *slots, uint32_t first, const float *norms2, size_t count,
						float *keys);

/* Asks the filter, which there is. Use iqdb_scorer_admits(). */
bool iqdb_scorer_asks_filter(const IqdbScorer *scorer, uint32_t slot);

/* Asks the filter, which there is, of IQDB_FILTER_EACH rows at most; see iqdb_row_filter_admits_each(). */
uint64_t iqdb_scorer_admits_each(const IqdbScorer *scorer, const uint32_t *slots, uint32_t count);

/* May the row be an answer, as far as the filter is concerned? The slot's row is LIVE. */
static inline bool
iqdb_scorer_admits(const IqdbScorer *scorer, uint32_t slot)
{
	return scorer->filter == NULL || iqdb_scorer_asks_filter(scorer, slot);
}

#endif
