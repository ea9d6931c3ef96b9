/*
 * hnsw_pending_private.h - region PENDING: rows that were added and have no links yet.
 *
 * Every search scores them directly, until they are linked.
 */
#ifndef IQDB_HNSW_PENDING_PRIVATE_H
#define IQDB_HNSW_PENDING_PRIVATE_H

#include "core/hnsw/hnsw_graph_private.h"

/* All of these take ENGINE, so the caller does not hold it; STRUCTURE or ROWS is held. */

/* Appends a slot. */
void iqdbi_hnsw_pending_add(const IqdbiHnsw *graph, uint32_t slot);
/* So many rows are linked now: their entries are dropped once there are many such. */
void iqdbi_hnsw_pending_done(const IqdbiHnsw *graph, uint32_t count);
/* Drops all entries of rows that do not wait any more. */
void iqdbi_hnsw_pending_compact(const IqdbiHnsw *graph);
/* The first slots that still wait, at most `capacity`; returns how many. */
uint32_t iqdbi_hnsw_pending_first(const IqdbiHnsw *graph, uint32_t *slots_out, uint32_t capacity);

/* ---- functions of the engine's table (engine/engine.h): the caller holds ROWS ------------------------------------ */

void iqdbi_hnsw_prepare(IqdbStore *store, uint32_t slot);
void iqdbi_hnsw_added(IqdbStore *store, uint32_t slot);
void iqdbi_hnsw_removed(IqdbStore *store, uint32_t slot);

#endif
