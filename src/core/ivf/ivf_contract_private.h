/*
 * ivf_contract_private.h - functions of the contract of engine/engine.h, named as there, by the file that has them. All
 * take the locks they need.
 */
#ifndef IQDB_IVF_IVF_CONTRACT_PRIVATE_H
#define IQDB_IVF_IVF_CONTRACT_PRIVATE_H

#include "core/ivf/ivf_arena_private.h"

/* ivf_size.c */
void iqdbi_ivf_reserves(const IqdbIndexOptions *options, uint64_t slots_max,
						uint64_t reserves_out[IQDB_ENGINE_REGIONS_MAX]);
uint64_t iqdbi_ivf_bytes_per_row(const IqdbIndexOptions *options);
uint64_t iqdbi_ivf_bytes_beside(const IqdbIndexOptions *options, uint64_t rows);
uint64_t iqdbi_ivf_snapshot_bytes(const IqdbIndexOptions *options, uint64_t rows);

/* ivf_link.c */
void iqdbi_ivf_added(IqdbStore *store, uint32_t slot);
void iqdbi_ivf_removed(IqdbStore *store, uint32_t slot);

/* ivf_maintain.c */
IqdbStatus iqdbi_ivf_link(IqdbStore *store, uint32_t slot, IqdbError *err);
IqdbStatus iqdbi_ivf_link_pending(IqdbStore *store, uint64_t max_rows, uint64_t *linked_out, IqdbError *err);
IqdbStatus iqdbi_ivf_maintain(IqdbStore *store, IqdbMaintain what, IqdbError *err);

/* ivf_persist.c */

IqdbStatus iqdbi_ivf_save(IqdbStore *store, IqdbSink *sink, IqdbError *err);
IqdbStatus iqdbi_ivf_load(IqdbStore *store, IqdbSource *source, IqdbError *err);

/* ivf_check.c */

IqdbStatus iqdbi_ivf_check(IqdbStore *store, IqdbFinding finding, void *arg, IqdbError *err);

/* ivf_stats.c */
void iqdbi_ivf_stats(const IqdbStore *store, IqdbEngineStats *stats_out);

#endif
