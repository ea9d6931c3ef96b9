/*
 * hnsw_centre.c - the centre that is subtracted from rows before they are coded.
 *
 * A code has 255 steps between a row's smallest and largest component. Where some component lies far from zero in all rows
 * (a year, a price in cents), the steps would be too wide for all the others; less the mean of the rows they are not. The
 * centre is zero at first and becomes the mean of the rows linked so far when they are CENTRE_ROWS: once in the index's
 * life. All codes are made again then, with STRUCTURE held exclusively; the new epoch tells searches and linkers to begin
 * again. Fewer rows than that are scanned rather than searched for by any usual beam.
 */
#include "core/hnsw/hnsw_private.h"

#define CENTRE_ROWS 256

static float
length_factor(const IqdbiHnsw *graph, uint32_t slot)
{
	float norm2 = graph->store->norms[slot];

	if (graph->metric != IQDB_METRIC_COSINE)
		return 1.0f;
	return norm2 > 0.0f ? (float) (1.0 / sqrt((double) norm2)) : 0.0f;
}

/* Is the slot a node whose code others read? Removed rows keep their vectors as long as they are nodes. */
static bool
is_node(const IqdbiHnsw *graph, uint32_t slot)
{
	uint32_t info = iqdbi_hnsw_info(graph, slot);

	return iqdbi_info_status(info) == IQDBI_INFO_LINKED || (info & IQDBI_INFO_WAS_LINKED) != 0;
}

static void
finish(const IqdbiHnsw *graph)
{
	double norm2 = 0.0;

	for (size_t i = 0; i < graph->dim; i++)
	{
		if (!isfinite(graph->centre[i]))
			graph->centre[i] = 0.0f;
		norm2 += (double) graph->centre[i] * (double) graph->centre[i];
	}
	graph->header->centre_norm2 = (float) norm2;
	atomic_store_explicit(&graph->header->centred, 1, memory_order_release);
}

/* Sums before it divides: floats are exact enough for a few hundred rows. STRUCTURE is held exclusively. */
static void
learn(const IqdbiHnsw *graph, uint32_t slot_count, uint32_t nodes)
{
	uint32_t left = nodes;

	for (uint32_t slot = 0; slot < slot_count && left > 0; slot++)
	{
		const float *vector = iqdb_store_vector(graph->store, slot);
		float        factor;

		if (!is_node(graph, slot))
			continue;
		factor = length_factor(graph, slot);
		for (size_t i = 0; i < graph->dim; i++)
			graph->centre[i] += vector[i] * factor;
		left--;
	}
	for (size_t i = 0; i < graph->dim; i++)
		graph->centre[i] /= (float) (nodes - left);
	finish(graph);
}

void
iqdbi_hnsw_centre_set(const IqdbiHnsw *graph, const float *values)
{
	for (size_t i = 0; i < graph->dim; i++)
		graph->centre[i] = values[i];
	finish(graph);
}

void
iqdbi_hnsw_centre_when_due(const IqdbiHnsw *graph)
{
	IqdbiHnswHeader *header = graph->header;
	uint32_t         slot_count;
	uint32_t         nodes;

	if (!graph->coded || atomic_load_explicit(&header->centred, memory_order_acquire) != 0 ||
		atomic_load_explicit(&header->linked, memory_order_relaxed) < CENTRE_ROWS)
		return;
	iqdb_store_lock(graph->store, IQDB_LOCK_STRUCTURE, true);
	nodes = atomic_load_explicit(&header->linked, memory_order_relaxed);
	slot_count = atomic_load_explicit(&graph->store->header->slot_count, memory_order_acquire);
	if (atomic_load_explicit(&header->centred, memory_order_relaxed) == 0 && nodes > 0)
	{
		learn(graph, slot_count, nodes);
		for (uint32_t slot = 0; slot < slot_count && nodes > 0; slot++)
		{
			if (!is_node(graph, slot))
				continue;
			iqdbi_hnsw_encode(graph, slot);
			nodes--;
		}
		atomic_fetch_add_explicit(&header->epoch, 1, memory_order_acq_rel);
	}
	iqdb_store_unlock(graph->store, IQDB_LOCK_STRUCTURE, true);
}
