/*
 * pg_am.h - the callbacks of the access methods, one file each family: pg_build.c, pg_insert.c, pg_scan.c, pg_vacuum.c,
 * pg_cost.c. All methods share them but for their options, by which an index knows its engine.
 */
#ifndef IQDB_PG_AM_H
#define IQDB_PG_AM_H

#include "access/amapi.h"
#include "access/genam.h"
#include "nodes/execnodes.h"
#include "nodes/pathnodes.h"
#include "utils/rel.h"

#include "core/db/iqdb.h"

/* Support function of an operator class: its metric's number, () returns integer. */
#define IQDB_PG_METRIC_PROC 1

/* Flag in that number: the operator has no distance for a zero vector, and returns NaN. */
#define IQDB_PG_METRIC_ZERO_IS_NAN 0x100

/*
 * How many hits a scan that has returned so many rows asks its engine for: few at first, because most searches want no more.
 * At most IQDB_PG_HITS_PER_CALL. What measures an index asks in the same portions.
 */
#define IQDB_PG_HITS_PER_CALL 64

static inline size_t
iqdb_pg_hits_per_call(uint64 returned)
{
	return returned == 0 ? 16 : IQDB_PG_HITS_PER_CALL;
}

/* Which engine an index of one of the access methods has. */
extern IqdbEngineKind iqdb_pg_engine_kind(Relation index);

extern IndexBuildResult *iqdb_am_build(Relation heap, Relation index, IndexInfo *info);
extern void iqdb_am_buildempty(Relation index);
extern bool iqdb_am_insert(Relation index, Datum *values, bool *isnull, ItemPointer tid, Relation heap,
						   IndexUniqueCheck unique, bool unchanged, IndexInfo *info);
extern IndexBulkDeleteResult *iqdb_am_bulkdelete(IndexVacuumInfo *info, IndexBulkDeleteResult *stats,
												 IndexBulkDeleteCallback callback, void *callback_state);
extern IndexBulkDeleteResult *iqdb_am_vacuumcleanup(IndexVacuumInfo *info, IndexBulkDeleteResult *stats);
extern IndexScanDesc iqdb_am_beginscan(Relation index, int nkeys, int norderbys);
extern void iqdb_am_rescan(IndexScanDesc scan, ScanKey keys, int nkeys, ScanKey orderbys, int norderbys);
extern bool iqdb_am_gettuple(IndexScanDesc scan, ScanDirection direction);
extern void iqdb_am_endscan(IndexScanDesc scan);
extern void iqdb_am_costestimate(PlannerInfo *root, IndexPath *path, double loop_count, Cost *startup_cost,
								 Cost *total_cost, Selectivity *selectivity, double *correlation, double *pages);
extern bool iqdb_am_validate(Oid opclass);
extern char *iqdb_am_buildphasename(int64 phase);

/* Build phases, as pg_stat_progress_create_index shows them; 1 is the server's. */
enum
{
	IQDB_PG_PHASE_LOAD = 2,
	IQDB_PG_PHASE_FINISH = 3,
	IQDB_PG_PHASE_SNAPSHOT = 4
};

#endif
