/*
 * pg_admin.c - the SQL functions that do something with one index: iqdb_flush, iqdb_prewarm, iqdb_optimize; and iqdb_sweep.
 * What they share with pg_inspect.c, pg_recall.c and pg_truth.c is here too.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "access/xlog.h"
#include "catalog/index.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "optimizer/optimizer.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/tuplestore.h"

#include "pg/pg_admin.h"
#include "pg/pg_am.h"
#include "pg/pg_compat.h"
#include "pg/pg_files.h"
#include "pg/pg_lock.h"
#include "pg/pg_open.h"
#include "pg/pg_options.h"
#include "pg/pg_sweep.h"
#include "pg/pg_work.h"

/* ---- shared ------------------------------------------------------------------------------------------------------ */

static bool
may_select(Oid table, AttrNumber column)
{
	return pg_attribute_aclcheck(table, column, GetUserId(), ACL_SELECT) == ACLCHECK_OK;
}

/* Column by column, as the server looks at who has no right to the whole table. */
static bool
may_search_columns(Relation index, Oid table)
{
	AttrNumber	key = index->rd_index->indkey.values[0];
	List	   *expressions = list_copy(RelationGetIndexPredicate(index));
	Bitmapset  *columns = NULL;
	int			column = -1;

	if (!may_select(table, SelfItemPointerAttributeNumber))
		return false;
	if (key != InvalidAttrNumber && !may_select(table, key))
		return false;
	if (key == InvalidAttrNumber)
		expressions = lappend(expressions, linitial(RelationGetIndexExpressions(index)));
	pull_varattnos((Node *) expressions, 1, &columns);
	while ((column = bms_next_member(columns, column)) >= 0)
	{
		key = column + FirstLowInvalidHeapAttributeNumber;
		/* a whole row is all of its columns */
		if (key == InvalidAttrNumber ?
			pg_attribute_aclcheck_all(table, GetUserId(), ACL_SELECT, ACLMASK_ALL) != ACLCHECK_OK : !may_select(table, key))
			return false;
	}
	return true;
}

static void
check_right(Relation index, Oid table, IqdbPgRight right)
{
	if (right == IQDB_PG_MAY_CHANGE)
	{
		if (!iqdb_pg_owns_class(table, GetUserId()))
			aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_INDEX, RelationGetRelationName(index));
	}
	else if (pg_class_aclcheck(table, GetUserId(), ACL_SELECT) != ACLCHECK_OK &&
			 (right != IQDB_PG_MAY_WATCH || !has_privs_of_role(GetUserId(), ROLE_PG_MONITOR)) &&
			 (right != IQDB_PG_MAY_SEARCH || !may_search_columns(index, table)))
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, get_rel_name(table));
}

/* Of a table, or of a partitioned one: then it has no rows itself. */
static bool
is_of_our_methods(Relation relation)
{
	return relation->rd_indam != NULL && relation->rd_indam->ambuild == iqdb_am_build;
}

/* The names of a table's indexes of ours, for a hint; NULL if it has none. */
static const char *
names_of_indexes(Relation table)
{
	StringInfoData names;
	List	   *oids = RelationGetIndexList(table);
	ListCell   *cell;

	initStringInfo(&names);
	foreach(cell, oids)
	{
		Relation	index = try_relation_open(lfirst_oid(cell), AccessShareLock);

		if (index == NULL)
			continue;
		if (is_of_our_methods(index))
			appendStringInfo(&names, "%s%s", names.len > 0 ? ", " : "",
							 quote_qualified_identifier(get_namespace_name(RelationGetNamespace(index)),
														RelationGetRelationName(index)));
		relation_close(index, AccessShareLock);
	}
	return names.len > 0 ? names.data : NULL;
}

/* Says what a relation is that is no index of ours, and what to name instead. */
static void
refuse(Relation relation)
{
	const char *name = RelationGetRelationName(relation);
	char		kind = relation->rd_rel->relkind;
	bool		has_indexes = kind == RELKIND_RELATION || kind == RELKIND_MATVIEW || kind == RELKIND_PARTITIONED_TABLE;
	const char *names = has_indexes ? names_of_indexes(relation) : NULL;

	if (names != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is a table, not an index", name),
				 errhint("Its indexes of iqdb: %s.", names)));
	ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("\"%s\" is not an index of iqdb", name),
			 errhint("Name an index that was created with USING iqdb_flat, iqdb_hnsw or iqdb_ivf.")));
}

/* Opens what is named, and locks its table before, as everybody locks them. */
static Relation
open_named(Oid oid, Oid table, LOCKMODE mode)
{
	Relation	index;

	if (OidIsValid(table))
		LockRelationOid(table, AccessShareLock);
	index = try_relation_open(oid, mode);
	if (index == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("index with OID %u does not exist", oid)));
	return index;
}

static void
check_ready(Relation index)
{
	if (RELATION_IS_OTHER_TEMP(index))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot access temporary indexes of other sessions")));
	if (!index->rd_index->indisready)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("index \"%s\" is not ready", RelationGetRelationName(index)),
				 errhint("Its creation has not ended, or failed: REINDEX or DROP it.")));
}

/* The indexes of all partitions, their tables locked before. */
static void
open_leaves(IqdbPgIndexes *indexes, LOCKMODE mode)
{
	List	   *tables = find_all_inheritors(indexes->table, AccessShareLock, NULL);
	List	   *oids = find_all_inheritors(RelationGetRelid(indexes->named), mode, NULL);
	ListCell   *cell;

	foreach(cell, tables)
		indexes->foreign |= get_rel_relkind(lfirst_oid(cell)) == RELKIND_FOREIGN_TABLE;
	indexes->leaves = palloc(list_length(oids) * sizeof(Relation));
	foreach(cell, oids)
	{
		Relation	leaf = relation_open(lfirst_oid(cell), NoLock);

		if (leaf->rd_rel->relkind == RELKIND_INDEX && is_of_our_methods(leaf))
			indexes->leaves[indexes->count++] = leaf;
		else
			relation_close(leaf, NoLock);
	}
	for (int i = 0; i < indexes->count; i++)
		check_ready(indexes->leaves[i]);
}

IqdbPgIndexes
iqdb_pg_open_indexes(Oid oid, LOCKMODE mode, IqdbPgRight right)
{
	IqdbPgIndexes indexes = {.table = IndexGetRelation(oid, true)};

	indexes.named = open_named(oid, indexes.table, mode);
	if (!is_of_our_methods(indexes.named))
		refuse(indexes.named);
	check_right(indexes.named, indexes.table, right);
	if (indexes.named->rd_rel->relkind == RELKIND_PARTITIONED_INDEX)
	{
		open_leaves(&indexes, mode);
		return indexes;
	}
	check_ready(indexes.named);
	indexes.leaves = palloc(sizeof(Relation));
	indexes.leaves[indexes.count++] = indexes.named;
	return indexes;
}

void
iqdb_pg_close_indexes(const IqdbPgIndexes *indexes, LOCKMODE mode)
{
	for (int i = 0; i < indexes->count; i++)
		if (indexes->leaves[i] != indexes->named)
			relation_close(indexes->leaves[i], mode);
	relation_close(indexes->named, mode);
}

TupleDesc
iqdb_pg_result_row(FunctionCallInfo fcinfo, int arguments, const char *columns)
{
	TupleDesc	tupdesc;
	StringInfoData declared;

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	initStringInfo(&declared);
	for (int i = 0; i < tupdesc->natts; i++)
		appendStringInfo(&declared, "%s ", NameStr(TupleDescAttr(tupdesc, i)->attname));
	if (PG_NARGS() != arguments || strncmp(declared.data, columns, strlen(columns)) != 0 ||
		declared.data[strlen(columns)] != ' ')
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("function %s is that of another version of iqdb than the library",
						format_procedure(fcinfo->flinfo->fn_oid)),
				 errhint("ALTER EXTENSION iqdb UPDATE.")));
	pfree(declared.data);
	return tupdesc;
}

void
iqdb_pg_init_set(FunctionCallInfo fcinfo)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext saved;
	TupleDesc	tupdesc;

	if (result == NULL || !IsA(result, ReturnSetInfo) || (result->allowedModes & SFRM_Materialize) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("set-valued function called in context that cannot accept a set")));
	saved = MemoryContextSwitchTo(result->econtext->ecxt_per_query_memory);
	if (get_call_result_type(fcinfo, NULL, &tupdesc) == TYPEFUNC_SCALAR)
	{
		tupdesc = CreateTemplateTupleDesc(1);
		TupleDescInitEntry(tupdesc, 1, "result", get_func_rettype(fcinfo->flinfo->fn_oid), -1, 0);
		iqdb_pg_finish_tupdesc(tupdesc);
	}
	result->returnMode = SFRM_Materialize;
	result->setResult = tuplestore_begin_heap(true, false, work_mem);
	result->setDesc = CreateTupleDescCopy(tupdesc);
	MemoryContextSwitchTo(saved);
}

/* ---- functions --------------------------------------------------------------------------------------------------- */

/* Bytes of the snapshot that was written; 0 if the index has none. */
static uint64
flush_index(Relation index)
{
	IqdbPgArena *arena = iqdb_pg_open_current(index, NULL);
	IqdbError	error = {0};

	/* ALTER INDEX may have changed it since the arena was made */
	iqdb_pg_snapshot_settle(arena->shared, index);
	if (!arena->shared->permanent)
		return 0;
	iqdb_pg_check(iqdb_pg_snapshot_take(arena, true, &error), &error, index);
	return pg_atomic_read_u64(&arena->shared->snapshots.bytes);
}

PG_FUNCTION_INFO_V1(iqdb_sql_flush);
Datum
iqdb_sql_flush(PG_FUNCTION_ARGS)
{
	IqdbPgIndexes indexes = iqdb_pg_open_indexes(PG_GETARG_OID(0), AccessShareLock, IQDB_PG_MAY_CHANGE);
	uint64		bytes = 0;

	for (int i = 0; i < indexes.count; i++)
		bytes += flush_index(indexes.leaves[i]);
	iqdb_pg_close_indexes(&indexes, AccessShareLock);
	PG_RETURN_INT64((int64) bytes);
}

PG_FUNCTION_INFO_V1(iqdb_sql_prewarm);
Datum
iqdb_sql_prewarm(PG_FUNCTION_ARGS)
{
	IqdbPgIndexes indexes = iqdb_pg_open_indexes(PG_GETARG_OID(0), AccessShareLock, IQDB_PG_MAY_READ);
	uint64		rows = 0;

	for (int i = 0; i < indexes.count; i++)
	{
		IqdbPgArena *arena = iqdb_pg_open_current(indexes.leaves[i], NULL);

		(void) iqdb_pg_arena_gather(arena, 0);
		rows += iqdb_index_live_count(&arena->index);
	}
	iqdb_pg_close_indexes(&indexes, AccessShareLock);
	PG_RETURN_INT64((int64) rows);
}

/* What an index has been relieved of, or has got, and its rows. */
typedef struct Optimized
{
	uint64		rows;
	uint64		linked;
	uint64		repaired;
	uint64		reclaimed;
} Optimized;

static uint64
less_than_before(uint64 before, uint64 after)
{
	return before - Min(before, after);
}

static void
optimize_index(Relation index, Optimized *sums)
{
	IqdbPgArena *arena = iqdb_pg_open_current(index, NULL);
	IqdbIndexStats before;
	IqdbIndexStats after;

	iqdb_index_stats(&arena->index, &before);
	iqdb_pg_link_pending(index, arena, 0);
	iqdb_pg_maintain(index, arena, IQDB_MAINTAIN_OPTIMIZE);
	iqdb_index_stats(&arena->index, &after);
	sums->rows += after.live;
	sums->linked += less_than_before(before.engine.unlinked, after.engine.unlinked);
	sums->repaired += less_than_before(before.engine.unrepaired, after.engine.unrepaired);
	sums->reclaimed += less_than_before(before.dead, after.dead);
}

PG_FUNCTION_INFO_V1(iqdb_sql_optimize);
Datum
iqdb_sql_optimize(PG_FUNCTION_ARGS)
{
	TupleDesc	tupdesc = iqdb_pg_result_row(fcinfo, 1, "rows linked repaired reclaimed");
	IqdbPgIndexes indexes = iqdb_pg_open_indexes(PG_GETARG_OID(0), AccessShareLock, IQDB_PG_MAY_CHANGE);
	Optimized	sums = {0};
	Datum		values[4];
	bool		nulls[4] = {false};

	for (int i = 0; i < indexes.count; i++)
		optimize_index(indexes.leaves[i], &sums);
	iqdb_pg_close_indexes(&indexes, AccessShareLock);
	values[0] = Int64GetDatum((int64) sums.rows);
	values[1] = Int64GetDatum((int64) sums.linked);
	values[2] = Int64GetDatum((int64) sums.repaired);
	values[3] = Int64GetDatum((int64) sums.reclaimed);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values, nulls)));
}

PG_FUNCTION_INFO_V1(iqdb_sql_sweep);
Datum
iqdb_sql_sweep(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(iqdb_pg_sweep());
}
