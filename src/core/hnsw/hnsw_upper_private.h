/*
 * hnsw_upper_private.h - the levels above 0: which level a node reaches, and the blocks that hold its links there.
 *
 * A node of top level L has L blocks in a row, level 1 first; block 0 is never given out.
 */
#ifndef IQDB_HNSW_UPPER_PRIVATE_H
#define IQDB_HNSW_UPPER_PRIVATE_H

#include "core/hnsw/hnsw_graph_private.h"

/* The level of the row with this insertion sequence. It depends on nothing else but the index's seed. */
uint32_t iqdbi_hnsw_draw_level(const IqdbiHnsw *graph, uint64_t sequence);

/*
 * Gives the node blocks with empty lists for levels 1 .. level, or for as many levels as there is room for, and returns
 * how many these are. The caller holds STRUCTURE and neither ROWS nor ENGINE: ENGINE is taken, and ROWS when the region
 * has to grow.
 */
uint32_t iqdbi_hnsw_blocks_take(const IqdbiHnsw *graph, uint32_t slot, uint32_t level);
/*
 * Gives back the run of `level` blocks that begins at block `run`, unless it is 0. No reader can reach the node any
 * more. Takes ENGINE.
 */
void iqdbi_hnsw_run_give(const IqdbiHnsw *graph, uint32_t run, uint32_t level);

#endif
