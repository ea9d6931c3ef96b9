/*
 * hnsw_twins_private.h - rows of equal vectors: one node, a chain of twins.
 */
#ifndef IQDB_HNSW_TWINS_PRIVATE_H
#define IQDB_HNSW_TWINS_PRIVATE_H

#include "core/hnsw/hnsw_walk_private.h"

/* What a step along a chain of twins costs, in the nanoseconds of IqdbiHnsw.cost. */
#define IQDBI_TWIN_COST 30

/* All of these are called with STRUCTURE held. */

/* Are the vectors of two rows the same, byte by byte? So rows with zeros of different signs are not. */
bool iqdbi_hnsw_equal(const IqdbiHnsw *graph, uint32_t a, uint32_t b);

/*
 * Looks in the table for a node with that vector, which is as rows are stored. IQDB_SLOT_NONE: the table does not know
 * one, though there may be one.
 */
uint32_t iqdbi_hnsw_twin_find(const IqdbiHnsw *graph, const void *vector);
/* Puts a node into the table, so that the next row with its vector finds it. */
void iqdbi_hnsw_twin_remember(const IqdbiHnsw *graph, uint32_t node);
/* Takes a node out of the table. Its vector is not read. */
void iqdbi_hnsw_twin_forget(const IqdbiHnsw *graph, uint32_t node);
/*
 * Empties the table and gives it buckets for so many nodes, for which the region has room. No other process uses the
 * index.
 */
void iqdbi_hnsw_twins_clear(const IqdbiHnsw *graph, uint32_t nodes);

/*
 * Puts a row that is being linked at the end of the node's chain, where searches find it from then on; false when a
 * repair has condemned the node meanwhile. Takes the node's lock.
 */
bool iqdbi_hnsw_twin_join(const IqdbiHnsw *graph, uint32_t node, uint32_t slot);
/* The same, whatever the node's state is. The node's lock is held, unless no other process uses the index. */
void iqdbi_hnsw_twin_append(const IqdbiHnsw *graph, uint32_t node, uint32_t slot);

/*
 * For the repair, which runs once at a time: both pause, so STRUCTURE may be released and taken again.
 * IQDB_ERR_CANCELLED.
 */

/* Takes condemned twins out of the chain of a node. Takes the node's lock for each. */
IqdbStatus iqdbi_hnsw_twins_drop(IqdbiWalk *walk, uint32_t node) IQDB_MUST_CHECK;
/*
 * Puts an heir in the place of a condemned node: its first twin that is not condemned, if there is one. Takes nodes'
 * locks.
 */
IqdbStatus iqdbi_hnsw_twins_bequeath(IqdbiWalk *walk, uint32_t node) IQDB_MUST_CHECK;

#endif
