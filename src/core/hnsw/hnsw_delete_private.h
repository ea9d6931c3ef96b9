/*
 * hnsw_delete_private.h - repairing the graph around removed rows, and releasing their slots.
 */
#ifndef IQDB_HNSW_DELETE_PRIVATE_H
#define IQDB_HNSW_DELETE_PRIVATE_H

#include "core/hnsw/hnsw_graph_private.h"

/*
 * For a graph that was just loaded: repairs it around the condemned nodes below slot_count, whose rows are not in the
 * snapshot, and forgets them. No other process uses the index, and no lock is held. IQDB_ERR_NOMEM, IQDB_ERR_CANCELLED.
 */
IqdbStatus iqdbi_hnsw_repair_loaded(const IqdbiHnsw *graph, uint32_t slot_count, IqdbError *err) IQDB_MUST_CHECK;

/* ---- function of the engine's table: contract and locks in engine/engine.h --------------------------------------- */

IqdbStatus iqdbi_hnsw_maintain(IqdbStore *store, IqdbMaintain what, IqdbError *err) IQDB_MUST_CHECK;

#endif
