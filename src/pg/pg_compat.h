/*
 * pg_compat.h - what differs between the server versions (14 to 19), and the only file that asks for the version.
 *
 * Each difference has one name here, in the newest version's meaning where possible. Included after postgres.h.
 */
#ifndef IQDB_PG_COMPAT_H
#define IQDB_PG_COMPAT_H

#include "access/htup_details.h"
#include "common/relpath.h"
#include "fmgr.h"
#include "nodes/tidbitmap.h"
#include "utils/guc.h"

#if PG_VERSION_NUM < 140000
#error "iqdb needs PostgreSQL 14 or later"
#endif

/* 16 moved the varlena macros out of postgres.h */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* 17 moved the names of temporary files out of storage/fd.h */
#include "common/file_utils.h"

/* 18 lets a module say its name and version */
#if PG_VERSION_NUM >= 180000
#define IQDB_PG_MODULE_MAGIC(module_name, module_version) \
	PG_MODULE_MAGIC_EXT(.name = module_name, .version = module_version)
#else
#define IQDB_PG_MODULE_MAGIC(module_name, module_version) PG_MODULE_MAGIC
#endif

/*
 * Reports bad input of an input function, whose fcinfo->context is given. From 16 on the caller may have asked to be
 * told softly (pg_input_is_valid, COPY ... ON_ERROR), and this then returns: the function must return NULL at once.
 */
#if PG_VERSION_NUM >= 160000
#define iqdb_pg_errsave(context, ...) errsave(context, __VA_ARGS__)
#else
#define iqdb_pg_errsave(context, ...) \
	do \
	{ \
		(void) (context); \
		ereport(ERROR, __VA_ARGS__); \
	} while (0)
#endif

/* A process that works for others has no time limits of theirs. 17 has one for transactions. */
static inline void
iqdb_pg_no_time_limits(void)
{
	SetConfigOption("statement_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("lock_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
#if PG_VERSION_NUM >= 170000
	SetConfigOption("transaction_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
#endif
}

/* 15 refuses unknown settings under a module's prefix; before it only warned */
#if PG_VERSION_NUM >= 150000
#define iqdb_pg_reserve_setting_prefix(prefix) MarkGUCPrefixReserved(prefix)
#else
#define iqdb_pg_reserve_setting_prefix(prefix) EmitWarningsOnPlaceholders(prefix)
#endif

/*
 * Flags of settings: where a parallel query loads the library, they are taken from the configuration all the same, if the
 * minor release can (needs access/xact.h).
 */
#ifdef GUC_ALLOW_IN_PARALLEL
#define iqdb_pg_setting_flags() (IsInParallelMode() ? GUC_ALLOW_IN_PARALLEL : 0)
#else
#define iqdb_pg_setting_flags() 0
#endif

/* 16 renamed a relation's file identity: rd_node to rd_locator, relNode to relNumber, and so on */
#if PG_VERSION_NUM >= 160000
#include "storage/relfilelocator.h"
#define IqdbPgRelFile RelFileLocator
#define iqdb_pg_rel_file(relation) ((relation)->rd_locator)
#define iqdb_pg_file_tablespace(file) ((file).spcOid)
#define iqdb_pg_file_database(file) ((file).dbOid)
#define iqdb_pg_file_number(file) ((file).relNumber)
#else
#include "storage/relfilenode.h"
#define IqdbPgRelFile RelFileNode
#define iqdb_pg_rel_file(relation) ((relation)->rd_node)
#define iqdb_pg_file_tablespace(file) ((file).spcNode)
#define iqdb_pg_file_database(file) ((file).dbNode)
#define iqdb_pg_file_number(file) ((file).relNode)
#endif

/* 18 returns the path of a fork by value; path_out has MAXPGPATH bytes */
static inline void
iqdb_pg_fork_path(IqdbPgRelFile file, int backend, ForkNumber fork, char *path_out)
{
#if PG_VERSION_NUM >= 180000
	strlcpy(path_out, relpathbackend(file, backend, fork).str, MAXPGPATH);
#else
	char	   *path = relpathbackend(file, backend, fork);

	strlcpy(path_out, path, MAXPGPATH);
	pfree(path);
#endif
}

/* 18 asks whether an ANALYZE calls (needs commands/vacuum.h) */
#if PG_VERSION_NUM >= 180000
#define iqdb_pg_vacuum_delay_point() vacuum_delay_point(false)
#else
#define iqdb_pg_vacuum_delay_point() vacuum_delay_point()
#endif

/* 18 counts index searches in EXPLAIN ANALYZE (needs access/relscan.h) */
#if PG_VERSION_NUM >= 180000
#define iqdb_pg_count_search(scan) \
	do \
	{ \
		if ((scan)->instrument != NULL) \
			(scan)->instrument->nsearches++; \
	} while (0)
#else
#define iqdb_pg_count_search(scan) ((void) (scan))
#endif

/* 18 compares how many disabled nodes paths have before it looks at costs (needs nodes/pathnodes.h) */
#if PG_VERSION_NUM >= 180000
#define iqdb_pg_rule_out(index_path) ((index_path)->path.disabled_nodes = 2)
#else
#define iqdb_pg_rule_out(index_path) ((void) (index_path))
#endif

/*
 * Raises if rows that the snapshot should see may have been removed: up to 16, old_snapshot_threshold allows that (needs
 * storage/bufmgr.h and utils/snapmgr.h).
 */
#if PG_VERSION_NUM >= 170000
#define iqdb_pg_check_snapshot(snapshot, relation) ((void) (snapshot), (void) (relation))
#else
#define iqdb_pg_check_snapshot(snapshot, relation) \
	do \
	{ \
		if (old_snapshot_threshold >= 0) \
			TestForOldSnapshot_impl(snapshot, relation); \
	} while (0)
#endif

/* 16 made one function of the ownership checks */
#if PG_VERSION_NUM >= 160000
#define iqdb_pg_owns_class(oid, role) object_ownercheck(RelationRelationId, oid, role)
#else
#define iqdb_pg_owns_class(oid, role) pg_class_ownercheck(oid, role)
#endif

/* 18 returns the snapshot for out-of-line values (needs access/toast_internals.h) */
#if PG_VERSION_NUM >= 180000
#define iqdb_pg_init_toast_snapshot(snapshot) (*(snapshot) = *get_toast_snapshot())
#else
#define iqdb_pg_init_toast_snapshot(snapshot) init_toast_snapshot(snapshot)
#endif

/*
 * Before 19 the server frees the routine that a handler has returned; from 19 on it keeps the pointer, so that the routine
 * must live as long as the process (needs access/amapi.h).
 */
#if PG_VERSION_NUM >= 190000
#define iqdb_pg_handler_result(routine) (routine)
#else
#define iqdb_pg_handler_result(routine) memcpy(palloc(sizeof(IndexAmRoutine)), routine, sizeof(IndexAmRoutine))
#endif

/*
 * A tuple descriptor made by CreateTemplateTupleDesc() must go through this when its columns are set. Without it 19 reads
 * offsets of columns that nobody has computed, and no compiler notices (needs access/tupdesc.h).
 */
#if PG_VERSION_NUM >= 190000
#define iqdb_pg_finish_tupdesc(tupdesc) TupleDescFinalize(tupdesc)
#else
#define iqdb_pg_finish_tupdesc(tupdesc) ((void) (tupdesc))
#endif

/* 19 keeps the names of lock tranches in shared memory; before, each process has to say them (needs storage/lwlock.h) */
#if PG_VERSION_NUM >= 190000
#define iqdb_pg_new_tranche(name) LWLockNewTrancheId(name)
#define iqdb_pg_register_tranche(tranche, name) ((void) (tranche))
#else
#define iqdb_pg_new_tranche(name) LWLockNewTrancheId()
#define iqdb_pg_register_tranche(tranche, name) LWLockRegisterTranche(tranche, name)
#endif

/* 19 keeps the result of building a jsonb value in the state, where it was returned before (needs utils/jsonb.h) */
#if PG_VERSION_NUM >= 190000
#define IqdbPgJsonbState JsonbInState
#define iqdb_pg_push_jsonb(state, token, value) pushJsonbValue(state, token, value)
#else
#define IqdbPgJsonbState \
	struct \
	{ \
		JsonbParseState *parse; \
		JsonbValue *result; \
	}
#define iqdb_pg_push_jsonb(state, token, value) ((state)->result = pushJsonbValue(&(state)->parse, token, value))
#endif

/* 19 takes flags of the scan (needs access/tableam.h) */
#if PG_VERSION_NUM >= 190000
#define iqdb_pg_beginscan_parallel(table, shared) table_beginscan_parallel(table, shared, SO_NONE)
#else
#define iqdb_pg_beginscan_parallel(table, shared) table_beginscan_parallel(table, shared)
#endif

/* 18 counts searches of an index scan, 19 takes flags of the table scan below it (needs access/genam.h) */
#if PG_VERSION_NUM >= 190000
#define iqdb_pg_index_beginscan(table, index, snapshot, nkeys, norderbys) \
	index_beginscan(table, index, snapshot, NULL, nkeys, norderbys, SO_NONE)
#elif PG_VERSION_NUM >= 180000
#define iqdb_pg_index_beginscan(table, index, snapshot, nkeys, norderbys) \
	index_beginscan(table, index, snapshot, NULL, nkeys, norderbys)
#else
#define iqdb_pg_index_beginscan(table, index, snapshot, nkeys, norderbys) \
	index_beginscan(table, index, snapshot, nkeys, norderbys)
#endif

/* 19 takes flags of the slot (needs executor/executor.h) */
#if PG_VERSION_NUM >= 190000
#define iqdb_pg_init_scan_slot(estate, state, tupdesc, callbacks) \
	ExecInitScanTupleSlot(estate, state, tupdesc, callbacks, 0)
#else
#define iqdb_pg_init_scan_slot(estate, state, tupdesc, callbacks) ExecInitScanTupleSlot(estate, state, tupdesc, callbacks)
#endif

/* The expression with columns of a child's parents as the child's own (needs optimizer/appendinfo.h). */
#if PG_VERSION_NUM >= 160000
#define iqdb_pg_as_of_child(root, node, child) \
	adjust_appendrel_attrs_multilevel(root, node, child, (child)->top_parent)
#else
#define iqdb_pg_as_of_child(root, node, child) \
	adjust_appendrel_attrs_multilevel(root, node, (child)->relids, (child)->top_parent_relids)
#endif

/* May the current user read what the statement reads? Raises if not (needs executor/executor.h). */
#if PG_VERSION_NUM >= 160000
#define iqdb_pg_check_rights(statement) ((void) ExecCheckPermissions((statement)->rtable, (statement)->permInfos, true))
#else
#define iqdb_pg_check_rights(statement) ((void) ExecCheckRTPerms((statement)->rtable, true))
#endif

/*
 * The pages of a bitmap, by turns: the block, and how many offsets were put into offsets_out (room for MaxHeapTuplesPerPage),
 * or -1, the page is named as a whole. 18 hands out a page without its offsets, and has another kind of iterator besides.
 */
#if PG_VERSION_NUM >= 180000
#define IqdbPgBitmapIterator TBMPrivateIterator
#define iqdb_pg_bitmap_begin(bitmap) tbm_begin_private_iterate(bitmap)
#define iqdb_pg_bitmap_end(iterator) tbm_end_private_iterate(iterator)
#else
#define IqdbPgBitmapIterator TBMIterator
#define iqdb_pg_bitmap_begin(bitmap) tbm_begin_iterate(bitmap)
#define iqdb_pg_bitmap_end(iterator) tbm_end_iterate(iterator)
#endif

static inline bool
iqdb_pg_bitmap_next(IqdbPgBitmapIterator *iterator, BlockNumber *block_out, OffsetNumber *offsets_out, int *count_out)
{
#if PG_VERSION_NUM >= 180000
	TBMIterateResult page;

	if (!tbm_private_iterate(iterator, &page))
		return false;
	*block_out = page.blockno;
	*count_out = page.lossy ? -1 : tbm_extract_page_tuple(&page, offsets_out, TBM_MAX_TUPLES_PER_PAGE);
#else
	const TBMIterateResult *page = tbm_iterate(iterator);

	if (page == NULL)
		return false;
	*block_out = page->blockno;
	*count_out = page->ntuples;
	if (page->ntuples > 0)
		memcpy(offsets_out, page->offsets, page->ntuples * sizeof(OffsetNumber));
#endif
	return true;
}

/* 15 lets a custom path say that it projects; before, all of them had to (needs nodes/extensible.h) */
#if PG_VERSION_NUM >= 150000
#define IQDB_PG_PATH_PROJECTS CUSTOMPATH_SUPPORT_PROJECTION
#else
#define IQDB_PG_PATH_PROJECTS 0
#endif

/* 18 took what writes the formats of EXPLAIN, and its state, out of commands/explain.h */
#if PG_VERSION_NUM >= 180000
#define IQDB_PG_EXPLAIN_FORMAT_HEADER "commands/explain_format.h"
#define IQDB_PG_EXPLAIN_STATE_HEADER "commands/explain_state.h"
#else
#define IQDB_PG_EXPLAIN_FORMAT_HEADER "commands/explain.h"
#define IQDB_PG_EXPLAIN_STATE_HEADER "commands/explain.h"
#endif

/* 19 takes flags of a fetch by TIDs, too (needs access/tableam.h) */
#if PG_VERSION_NUM >= 190000
#define iqdb_pg_index_fetch_begin(table) table_index_fetch_begin(table, SO_NONE)
#else
#define iqdb_pg_index_fetch_begin(table) table_index_fetch_begin(table)
#endif

#endif
