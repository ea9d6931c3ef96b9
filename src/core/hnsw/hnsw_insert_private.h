/*
 * hnsw_insert_private.h - linking rows into the graph.
 */
#ifndef IQDB_HNSW_INSERT_PRIVATE_H
#define IQDB_HNSW_INSERT_PRIVATE_H

#include "core/hnsw/hnsw_links_private.h"

/* Links one added row. STRUCTURE is not held. *linked_out (may be NULL): by this very call. */
IqdbStatus iqdbi_hnsw_link_one(IqdbiLinker *linker, uint32_t slot, bool *linked_out, IqdbError *err) IQDB_MUST_CHECK;

/* ---- functions of the engine's table (engine/engine.h) ----------------------------------------------------------- */

IqdbStatus iqdbi_hnsw_link(IqdbStore *store, uint32_t slot, IqdbError *err) IQDB_MUST_CHECK;
IqdbStatus iqdbi_hnsw_link_pending(IqdbStore *store, uint64_t max_rows, uint64_t *linked_out,
								   IqdbError *err) IQDB_MUST_CHECK;

#endif
