/*
 * hnsw_twins_private.h - rows of equal vectors: one node, a chain of twins.
 */
#ifndef IQDB_HNSW_TWINS_PRIVATE_H
#define IQDB_HNSW_TWINS_PRIVATE_H

#include "core/hnsw/hnsw_walk_private.h"

/* What a step along a chain of twins costs, in the nanoseconds of IqdbiHnsw.cost. */
#define IQDBI_TWIN_COST 30

/* Are the rows' vectors the same, byte by byte? */
bool iqdbi_hnsw_equal(const IqdbiHnsw *graph, uint32_t a, uint32_t b);

/* A node with that vector, or IQDB_SLOT_NONE: there may be one all the same. STRUCTURE is held. */
uint32_t iqdbi_hnsw_twin_find(const IqdbiHnsw *graph, const float *vector);
/* The next row that is equal to this node finds it. STRUCTURE is held. */
void iqdbi_hnsw_twin_remember(const IqdbiHnsw *graph, uint32_t node);
/* The node goes; its vector is not read. */
void iqdbi_hnsw_twin_forget(const IqdbiHnsw *graph, uint32_t node);
/* Empties the table, with room for so many nodes. The caller is alone; the region has that room. */
void iqdbi_hnsw_twins_clear(const IqdbiHnsw *graph, uint32_t nodes);

/*
 * Puts a row that is being linked at the end of the node's chain; false when a repair has taken the node meanwhile. Searches
 * find it from now on. STRUCTURE is held.
 */
bool iqdbi_hnsw_twin_join(const IqdbiHnsw *graph, uint32_t node, uint32_t slot);
/* The same, whatever the node's state; the node's lock is held, or the caller is alone. */
void iqdbi_hnsw_twin_append(const IqdbiHnsw *graph, uint32_t node, uint32_t slot);

/* Takes condemned twins out of the chain of a node. For the repair, with STRUCTURE held; IQDB_ERR_CANCELLED. */
IqdbStatus iqdbi_hnsw_twins_drop(IqdbiWalk *walk, uint32_t node) IQDB_MUST_CHECK;
/* A condemned node's first twin that is not condemned takes its place. The same conditions. */
IqdbStatus iqdbi_hnsw_twins_bequeath(IqdbiWalk *walk, uint32_t node) IQDB_MUST_CHECK;

#endif
