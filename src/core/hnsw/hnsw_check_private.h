/*
 * hnsw_check_private.h - verification of the graph, and its numbers: two functions of the engine's table
 * (engine/engine.h).
 */
#ifndef IQDB_HNSW_CHECK_PRIVATE_H
#define IQDB_HNSW_CHECK_PRIVATE_H

#include "core/engine/engine.h"

IqdbStatus iqdbi_hnsw_check(IqdbStore *store, IqdbFinding finding, void *arg, IqdbError *err) IQDB_MUST_CHECK;
void iqdbi_hnsw_stats(const IqdbStore *store, IqdbEngineStats *stats_out);

#endif
