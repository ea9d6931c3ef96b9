/*
 * hnsw_score.c - distances: on codes for finding the way, on full vectors for answers.
 *
 * Owns: what a target is made of. Does not own: the code's formulas (quant/sq8.h), the loops (vec/kernels.h).
 */
#include "core/hnsw/hnsw_private.h"

/* Slots scored at a time: the list of one node fits. */
#define BATCH 384

void
iqdbi_target_query(const IqdbiHnsw *graph, IqdbiTarget *target, const float *vector, float norm2)
{
	if (graph->coded)
		iqdb_sq8_query(graph->metric, graph->centre, vector, norm2, graph->dim, target->code, &target->query);
	target->vector = vector;
	target->norm2 = norm2;
}

void
iqdbi_target_row(const IqdbiHnsw *graph, IqdbiTarget *target, uint32_t slot)
{
	if (graph->coded)
	{
		iqdb_sq8_query_of_row(graph->metric, iqdbi_hnsw_code(graph, slot), &graph->scalars[slot], graph->dim,
							  target->code, &target->query);
		return;
	}
	target->vector = iqdb_store_vector(graph->store, slot);
	target->norm2 = graph->metric == IQDB_METRIC_COSINE ? iqdb_store_norm2(graph->store, slot) : 0.0f;
}

void
iqdbi_hnsw_encode(const IqdbiHnsw *graph, uint32_t slot)
{
	if (graph->coded)
		iqdb_sq8_encode(graph->metric, graph->centre, iqdb_store_vector(graph->store, slot),
						iqdb_store_norm2(graph->store, slot), graph->dim, iqdbi_hnsw_code(graph, slot),
						&graph->scalars[slot]);
}

static void
score_codes(const IqdbiHnsw *graph, const IqdbiTarget *target, const uint32_t *slots, size_t count, float *keys)
{
	const IqdbSq8Query *query = &target->query;
	int32_t             dots[BATCH];

	graph->store->kernels->dot_u8i8_gather(query->code, graph->nodes, graph->record_size, slots, count, graph->dim,
										   dots);
	for (size_t i = 0; i < count; i++)
	{
		float key = iqdb_sq8_key(query, &graph->scalars[slots[i]], dots[i]);

		keys[i] = key < INFINITY ? key : INFINITY;
	}
}

void
iqdbi_hnsw_score_exact(const IqdbiHnsw *graph, const float *query, float query_norm2, const uint32_t *slots,
					   size_t count, float *keys_out)
{
	const IqdbStore *store = graph->store;
	IqdbGatherKernel gather = store->kernels->sums[iqdb_metric_sum(graph->metric)].gather;
	float            norms2[BATCH];

	for (size_t done = 0; done < count;)
	{
		size_t part = count - done < BATCH ? count - done : BATCH;

		iqdb_store_prefetch(store, slots + done, part);
		gather(query, store->vectors, graph->stride, slots + done, part, graph->dim, keys_out + done);
		if (graph->metric == IQDB_METRIC_COSINE)
			for (size_t i = 0; i < part; i++)
				norms2[i] = iqdb_store_norm2(store, slots[done + i]);
		iqdb_metric_finish(graph->metric, query_norm2, norms2, part, keys_out + done);
		done += part;
	}
}

void
iqdbi_hnsw_score(const IqdbiHnsw *graph, const IqdbiTarget *target, const uint32_t *slots, size_t count,
				 float *keys_out)
{
	if (!graph->coded)
	{
		iqdbi_hnsw_score_exact(graph, target->vector, target->norm2, slots, count, keys_out);
		for (size_t i = 0; i < count; i++)
			keys_out[i] = keys_out[i] < INFINITY ? keys_out[i] : INFINITY;
		return;
	}
	for (size_t done = 0; done < count;)
	{
		size_t part = count - done < BATCH ? count - done : BATCH;

		score_codes(graph, target, slots + done, part, keys_out + done);
		done += part;
	}
}
