/*
 * hnsw_delete_private.h - repairing the graph around removed rows, and letting their slots go.
 */
#ifndef IQDB_HNSW_DELETE_PRIVATE_H
#define IQDB_HNSW_DELETE_PRIVATE_H

#include "core/hnsw/hnsw_graph_private.h"

/*
 * After a load, alone: repairs the graph around condemned nodes among the first slot_count slots, whose rows are not here,
 * and forgets them.
 */
IqdbStatus iqdbi_hnsw_repair_loaded(const IqdbiHnsw *graph, uint32_t slot_count, IqdbError *err) IQDB_MUST_CHECK;

/* ---- function of the engine's table (engine/engine.h) ------------------------------------------------------------ */

IqdbStatus iqdbi_hnsw_maintain(IqdbStore *store, IqdbMaintain what, IqdbError *err) IQDB_MUST_CHECK;

#endif
