/*
 * hnsw_score.c - distances: on codes for finding the way, on full vectors for answers.
 *
 * Owns: what a target is made of. Does not own: the codes' formulas (quant/sq8.h, quant/signs.h), the loops (vec/kernels.h).
 */
#include "core/hnsw/hnsw_private.h"

#include <string.h>

/* Slots scored at a time: the list of one node fits. */
#define BATCH 384

/* Squared norm of a row, where keys need it: elsewhere it is not kept. */
static float
norm2_of(const IqdbiHnsw *graph, uint32_t slot)
{
	return graph->metric == IQDB_METRIC_COSINE ? iqdb_store_norm2(graph->store, slot) : 0.0f;
}

static size_t
target_bytes(const IqdbiHnsw *graph)
{
	return graph->code == IQDBI_HNSW_SIGNS ? iqdb_signs_query_bytes(graph->dim) : graph->dim;
}

IqdbStatus
iqdbi_target_init(const IqdbiHnsw *graph, IqdbiTarget *target)
{
	memset(target, 0, sizeof(*target));
	if (graph->code == IQDBI_HNSW_PLAIN)
		return IQDB_OK;
	target->code = iqdb_alloc(&graph->store->host->allocator, target_bytes(graph));
	return target->code != NULL ? IQDB_OK : IQDB_ERR_NOMEM;
}

void
iqdbi_target_free(const IqdbiHnsw *graph, IqdbiTarget *target)
{
	iqdb_free(&graph->store->host->allocator, target->code, target_bytes(graph));
	target->code = NULL;
}

void
iqdbi_target_query(const IqdbiHnsw *graph, IqdbiTarget *target, const float *vector, float norm2)
{
	switch (graph->code)
	{
		case IQDBI_HNSW_PLAIN:
			target->vector = vector;
			target->norm2 = norm2;
			break;
		case IQDBI_HNSW_BYTES:
			iqdb_sq8_query(graph->metric, graph->centre, vector, norm2, graph->dim, target->code, &target->query.bytes);
			break;
		case IQDBI_HNSW_SIGNS:
			iqdb_signs_query(&graph->signs, vector, norm2, target->code, &target->query.signs);
			break;
	}
}

void
iqdbi_target_row(const IqdbiHnsw *graph, IqdbiTarget *target, uint32_t slot)
{
	/* bytes are as good as the vector, and at hand */
	if (graph->code == IQDBI_HNSW_BYTES)
		iqdbi_target_code(graph, target, slot);
	else
		iqdbi_target_query(graph, target, iqdb_store_vector(graph->store, slot), norm2_of(graph, slot));
}

void
iqdbi_target_code(const IqdbiHnsw *graph, IqdbiTarget *target, uint32_t slot)
{
	switch (graph->code)
	{
		case IQDBI_HNSW_PLAIN:
			target->vector = iqdb_store_vector(graph->store, slot);
			target->norm2 = norm2_of(graph, slot);
			break;
		case IQDBI_HNSW_BYTES:
			iqdb_sq8_query_of_row(graph->metric, iqdbi_hnsw_code(graph, slot), &graph->scalars[slot], graph->dim,
								  target->code, &target->query.bytes);
			break;
		case IQDBI_HNSW_SIGNS:
			iqdb_signs_query_of_row(&graph->signs, iqdbi_hnsw_signs(graph, slot), iqdbi_hnsw_signs_row(graph, slot),
									&target->query.signs);
			break;
	}
}

void
iqdbi_hnsw_encode(const IqdbiHnsw *graph, uint32_t slot)
{
	const float *vector = iqdb_store_vector(graph->store, slot);
	float        norm2 = norm2_of(graph, slot);

	if (graph->code == IQDBI_HNSW_BYTES)
		iqdb_sq8_encode(graph->metric, graph->centre, vector, norm2, graph->dim, iqdbi_hnsw_code(graph, slot),
						&graph->scalars[slot]);
	else if (graph->code == IQDBI_HNSW_SIGNS)
		iqdb_signs_encode(&graph->signs, vector, norm2, iqdbi_hnsw_signs(graph, slot),
						  iqdbi_hnsw_signs_row(graph, slot));
}

static void
score_bytes(const IqdbiHnsw *graph, const IqdbSq8Query *query, const uint32_t *slots, size_t count, float *keys)
{
	int32_t dots[BATCH];

	graph->store->kernels->dot_u8i8_gather(query->code, graph->nodes, graph->record_size, slots, count, graph->dim,
										   dots);
	for (size_t i = 0; i < count; i++)
		keys[i] = iqdb_sq8_key(query, &graph->scalars[slots[i]], dots[i]);
}

static void
score_signs(const IqdbiHnsw *graph, const IqdbSignsQuery *query, const uint32_t *slots, size_t count, float *keys)
{
	int32_t sums[BATCH];

	graph->signs.kernels->sums(query->planes, query->plane_count, graph->nodes, graph->record_size, slots, count,
							   iqdb_signs_words(graph->dim), sums);
	for (size_t i = 0; i < count; i++)
		keys[i] = iqdb_signs_key(query, iqdbi_hnsw_signs_row(graph, slots[i]), sums[i]);
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
	for (size_t done = 0; done < count;)
	{
		size_t part = count - done < BATCH ? count - done : BATCH;

		if (graph->code == IQDBI_HNSW_BYTES)
			score_bytes(graph, &target->query.bytes, slots + done, part, keys_out + done);
		else if (graph->code == IQDBI_HNSW_SIGNS)
			score_signs(graph, &target->query.signs, slots + done, part, keys_out + done);
		else
			iqdbi_hnsw_score_exact(graph, target->vector, target->norm2, slots + done, part, keys_out + done);
		done += part;
	}
	/* what is no number is as far away as can be */
	for (size_t i = 0; i < count; i++)
		keys_out[i] = keys_out[i] < INFINITY ? keys_out[i] : INFINITY;
}
