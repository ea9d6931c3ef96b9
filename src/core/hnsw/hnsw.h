/*
 * hnsw.h - the graph engine: approximate nearest neighbours by hierarchical navigable small worlds.
 *
 * Everything is reached through the engine's table (engine/engine.h). README.md says how it works and why it is safe.
 */
#ifndef IQDB_HNSW_HNSW_H
#define IQDB_HNSW_HNSW_H

#include "core/engine/engine.h"

extern const IqdbEngine iqdb_hnsw_engine;

#endif
