/*
 * scorer.c - see scorer.h.
 */
#include "core/engine/scorer.h"

#include "core/engine/keys.h"

void
iqdb_scorer_init(IqdbScorer *scorer_out, const IqdbStore *store, const IqdbRowFilter *filter, uint64_t *filtered)
{
	*scorer_out = (IqdbScorer){.store = store,
							   .dimension = store->header->options.dimension,
							   .stride = store->row_stride,
							   .batch = store->sum->batch,
							   .gather = store->sum->gather,
							   .filter = filter,
							   .filtered = filtered};
}

const float *
iqdb_scorer_slot_sums(const IqdbScorer *scorer, const uint32_t *slots, size_t count, float *sums_out, float *norms2_buffer)
{
	const IqdbStore *store = scorer->store;

	iqdb_store_prefetch(store, slots, count);
	scorer->gather(scorer->query, store->vectors, scorer->stride, slots, count, scorer->dimension, sums_out);
	if (store->norms == NULL)
		return NULL;
	for (size_t i = 0; i < count; i++)
		norms2_buffer[i] = store->norms[slots[i]];
	return norms2_buffer;
}

void
iqdb_scorer_finish(const IqdbScorer *scorer, const uint32_t *slots, uint32_t first, const float *norms2, size_t count,
				   float *keys)
{
	iqdb_store_finish_keys(scorer->store, scorer->query, scorer->query_norm2, slots, first, norms2, count, keys);
}

void
iqdb_scorer_slots(const IqdbScorer *scorer, const uint32_t *slots, size_t count, float *keys_out)
{
	float norms2[IQDB_SCORER_ROWS];

	while (count > 0)
	{
		size_t part = count < IQDB_SCORER_ROWS ? count : IQDB_SCORER_ROWS;

		iqdb_scorer_finish(scorer, slots, 0, iqdb_scorer_slot_sums(scorer, slots, part, keys_out, norms2), part, keys_out);
		slots += part;
		keys_out += part;
		count -= part;
	}
}

void
iqdb_scorer_range(const IqdbScorer *scorer, uint32_t first, size_t count, float *keys_out)
{
	iqdb_scorer_range_sums(scorer, first, count, keys_out);
	iqdb_scorer_finish(scorer, NULL, first, iqdb_store_key_norms(scorer->store, first), count, keys_out);
}

bool
iqdb_scorer_asks_filter(const IqdbScorer *scorer, uint32_t slot)
{
	if (iqdb_row_filter_admits(scorer->filter, scorer->store, slot))
		return true;
	(*scorer->filtered)++;
	return false;
}

uint64_t
iqdb_scorer_admits_each(const IqdbScorer *scorer, const uint32_t *slots, uint32_t count)
{
	uint64_t bits = iqdb_row_filter_admits_each(scorer->filter, scorer->store, slots, count);

	*scorer->filtered += count - (uint32_t) __builtin_popcountll(bits);
	return bits;
}
