/*
 * hnsw_insert_private.h - linking rows into the graph.
 */
#ifndef IQDB_HNSW_INSERT_PRIVATE_H
#define IQDB_HNSW_INSERT_PRIVATE_H

#include "core/hnsw/hnsw_links_private.h"

/*
 * Links a row that was added, if it still waits for that. *linked_out (may be NULL): this call did. No lock is held:
 * STRUCTURE is taken shared, in stretches. IQDB_ERR_NOMEM and IQDB_ERR_CANCELLED leave the row waiting.
 */
IqdbStatus iqdbi_hnsw_link_one(IqdbiLinker *linker, uint32_t slot, bool *linked_out, IqdbError *err) IQDB_MUST_CHECK;

/* ---- functions of the engine's table: contract and locks in engine/engine.h -------------------------------------- */

IqdbStatus iqdbi_hnsw_link(IqdbStore *store, uint32_t slot, IqdbError *err) IQDB_MUST_CHECK;
IqdbStatus iqdbi_hnsw_link_pending(IqdbStore *store, uint64_t max_rows, uint64_t *linked_out,
								   IqdbError *err) IQDB_MUST_CHECK;

#endif
