/*
 * hnsw_sketch_private.h - sketches: a few bits per row, by which most rows are turned away before their codes are read.
 */
#ifndef IQDB_HNSW_SKETCH_PRIVATE_H
#define IQDB_HNSW_SKETCH_PRIVATE_H

#include "core/hnsw/hnsw_graph_private.h"

/* Bytes of region SKETCHES per slot: of rows that have codes of bytes; 0 for others, which have no sketches. */
size_t iqdbi_sketch_bytes(IqdbiHnswCode code);
/* The floats of the rotation that is made for sketches. */
size_t iqdbi_sketch_flips(IqdbiHnswCode code, size_t dim);

/* The slot has none from now on: it is not a node. */
void iqdbi_sketch_drop(const IqdbiHnsw *graph, uint32_t slot);
/*
 * Makes the sketch of a node around the centre of codes as it is now. `prepared` as for iqdbi_hnsw_encode(), which came before.
 * STRUCTURE is held; no other process reads the sketch: the slot had none, or codes are out of use.
 */
void iqdbi_sketch_make(const IqdbiHnsw *graph, uint32_t slot, void *prepared);

/* A query made ready for sketches, good as long as one for codes is. `usable` false: all rows are near enough. */
typedef struct IqdbiSketchQuery
{
	bool            usable;
	IqdbSketchQuery query;
} IqdbiSketchQuery;

/* The query of a cursor: prepared, and its squared norm. STRUCTURE is held. */
void iqdbi_sketch_query(const IqdbiHnsw *graph, IqdbiSketchQuery *query_out, const void *query, float norm2);

/*
 * Leaves of the slots those whose key by codes may be `farthest` or less, and those without a sketch; returns how many are
 * left. At most IQDB_SCORER_ROWS. STRUCTURE is held.
 */
size_t iqdbi_sketch_keep(const IqdbiHnsw *graph, const IqdbiSketchQuery *query, float farthest, uint32_t *slots, size_t count);

#endif
