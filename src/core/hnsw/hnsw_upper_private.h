/*
 * hnsw_upper_private.h - the levels above 0: which level a node reaches, and the blocks that hold its links there.
 *
 * A node of top level L has L blocks in a row, level 1 first; block 0 is never given out.
 */
#ifndef IQDB_HNSW_UPPER_PRIVATE_H
#define IQDB_HNSW_UPPER_PRIVATE_H

#include "core/hnsw/hnsw_graph_private.h"

/* Level of the row with this insertion sequence, a function of the index's seed alone. */
uint32_t iqdbi_hnsw_draw_level(const IqdbiHnsw *graph, uint64_t sequence);

/*
 * Gives the node blocks for levels 1 .. level, all empty, and returns how many levels there was room for (ROWS is taken
 * when the region has to grow; STRUCTURE is held by the caller).
 */
uint32_t iqdbi_hnsw_blocks_take(const IqdbiHnsw *graph, uint32_t slot, uint32_t level);
/* Gives back the run of so many blocks that begins at `run`, unless it is 0. No reader can reach the node any more. */
void iqdbi_hnsw_run_give(const IqdbiHnsw *graph, uint32_t run, uint32_t level);

#endif
