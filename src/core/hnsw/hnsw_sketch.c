/*
 * hnsw_sketch.c - sketches: a few bits per row, by which most rows are turned away before their codes are read.
 *
 * A code lies in its node's record, and reading it waits for memory: 50 to 90 ns, most of it for the page's address. A pass
 * over all rows that match (hnsw_matches.c) reads thousands. Sketches (quant/signs.h) lie side by side in slot order, 170 of
 * them on a page; and a sketch tells of all but a few rows that they are too far. Codes of signs have none: they are few bytes
 * themselves, and memory is what they are chosen for.
 *
 * Owns: region SKETCHES. A slot has a sketch while it is a node that searches can meet; rows without one are never turned
 * away. Like codes, sketches are made around the centre, and are out of use while nodes are coded again.
 */
#include "core/hnsw/hnsw_sketch_private.h"

#include <math.h>

#include "core/engine/keys.h"

/*
 * Deviations that a sketch's bound lies below what its sum says. Of rows that are just near enough one in 44 is lost, of
 * nearer ones fewer: README.md, "Sketches", has what other numbers cost.
 */
#define SLACK 2.0f

size_t
iqdbi_sketch_bytes(IqdbiHnswCode code)
{
	return code == IQDBI_HNSW_BYTES ? sizeof(IqdbSketch) : 0;
}

size_t
iqdbi_sketch_flips(IqdbiHnswCode code, size_t dim)
{
	return code == IQDBI_HNSW_BYTES ? iqdb_rotation_flips(iqdb_sketch_width(dim)) : 0;
}

static bool
is_unusual(const IqdbiHnsw *graph, float norm2)
{
	return graph->store->metric->form == IQDB_KEY_COSINE && !iqdb_norm2_is_usual(norm2);
}

void
iqdbi_sketch_drop(const IqdbiHnsw *graph, uint32_t slot)
{
	if (graph->code == IQDBI_HNSW_BYTES)
		iqdb_sketch_clear(&graph->sketches[slot]);
}

void
iqdbi_sketch_make(const IqdbiHnsw *graph, uint32_t slot, void *prepared)
{
	float norm2 = graph->store->metric->needs_norms ? iqdb_store_norm2(graph->store, slot) : 0.0f;

	if (graph->code != IQDBI_HNSW_BYTES || is_unusual(graph, norm2))
		iqdbi_sketch_drop(graph, slot);
	else
		iqdb_sketch_encode(&graph->signs, iqdb_sketch_width(graph->dim), iqdb_store_floats(graph->store, slot, prepared), norm2,
						   &graph->sketches[slot]);
}

/*
 * What keys by codes have beside those of sketches, whatever the row. Where keys are negated products, those of bytes have
 * the centre's square more than the product with the query, and those of sketches the centre's product with the query
 * (quant/sq8.h, quant/signs.h).
 */
static float
difference(const IqdbiHnsw *graph, const float *query)
{
	double sum = 0.0;

	if (graph->store->metric->form != IQDB_KEY_NEGATED)
		return 0.0f;
	for (size_t i = 0; i < graph->dim; i++)
		sum += (double) graph->centre[i] * ((double) graph->centre[i] - (double) query[i]);
	return (float) sum;
}

void
iqdbi_sketch_query(const IqdbiHnsw *graph, IqdbiSketchQuery *query_out, const void *query, float norm2)
{
	/* products that vanish are compared in double, and a query that is the centre has no direction */
	query_out->usable = graph->code == IQDBI_HNSW_BYTES && iqdbi_hnsw_code_read(graph) == graph->code &&
						!is_unusual(graph, norm2) && !iqdb_store_has_tiny(graph->store);
	if (!query_out->usable)
		return;
	iqdb_sketch_query(&graph->signs, iqdb_sketch_width(graph->dim), query, norm2, SLACK, &query_out->query);
	query_out->query.base += difference(graph, query);
	query_out->usable = query_out->query.slack > 0.0f;
}

size_t
iqdbi_sketch_keep(const IqdbiHnsw *graph, const IqdbiSketchQuery *query, float farthest, uint32_t *slots, size_t count)
{
	/* keys that were squeezed into floats are not bounded by sums */
	if (!query->usable || !(fabsf(farthest) > (float) IQDB_KEY_SMALL) || !(fabsf(farthest) < (float) IQDB_KEY_LARGE))
		return count;
	return graph->signs.kernels->near(&query->query, graph->sketches, farthest, slots, count);
}
