/*
 * hnsw_codec_private.h - the graph in a snapshot: two functions of the engine's table (engine/engine.h).
 */
#ifndef IQDB_HNSW_CODEC_PRIVATE_H
#define IQDB_HNSW_CODEC_PRIVATE_H

#include "core/engine/engine.h"

IqdbStatus iqdbi_hnsw_save(IqdbStore *store, IqdbSink *sink, IqdbError *err) IQDB_MUST_CHECK;
IqdbStatus iqdbi_hnsw_load(IqdbStore *store, IqdbSource *source, IqdbError *err) IQDB_MUST_CHECK;

#endif
