/*
 * hnsw_pending_private.h - region PENDING: rows that were added and have no links yet.
 *
 * Every search scores them directly, until they are linked.
 */
#ifndef IQDB_HNSW_PENDING_PRIVATE_H
#define IQDB_HNSW_PENDING_PRIVATE_H

#include "core/hnsw/hnsw_graph_private.h"

/* Region PENDING. added() appends; finished entries are dropped in bulk. All take ENGINE. */
void iqdbi_hnsw_pending_add(const IqdbiHnsw *graph, uint32_t slot);
void iqdbi_hnsw_pending_done(const IqdbiHnsw *graph, uint32_t count);
void iqdbi_hnsw_pending_compact(const IqdbiHnsw *graph);
/* The first `capacity` slots that still wait. */
uint32_t iqdbi_hnsw_pending_first(const IqdbiHnsw *graph, uint32_t *slots_out, uint32_t capacity);

/* ---- functions of the engine's table (engine/engine.h): ROWS is held ------------------------------------------- */

void iqdbi_hnsw_added(IqdbStore *store, uint32_t slot);
void iqdbi_hnsw_removed(IqdbStore *store, uint32_t slot);

#endif
