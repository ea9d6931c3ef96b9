/*
 * pg_am.c - the three access methods' handlers, and the check of operator classes.
 */
#include "postgres.h"

#include "access/amapi.h"
#include "access/amvalidate.h"
#include "access/htup_details.h"
#include "catalog/pg_amop.h"
#include "catalog/pg_amproc.h"
#include "catalog/pg_opclass.h"
#include "catalog/pg_type.h"
#include "commands/vacuum.h"
#include "fmgr.h"
#include "utils/catcache.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "core/vec/metric.h"

#include "pg/pg_am.h"
#include "pg/pg_column.h"
#include "pg/pg_compat.h"
#include "pg/pg_options.h"

/* What all methods have in common; they differ in their options, and by those in their engine. What is not named is off. */
#define ROUTINE(options) \
	{ \
		.type = T_IndexAmRoutine, \
		.amsupport = 1, \
		.amcanorderbyop = true, \
		.amcanmulticol = true, \
		.amoptionalkey = true, \
		.amsearcharray = true, \
		.amsearchnulls = true, \
		.amparallelvacuumoptions = VACUUM_OPTION_NO_PARALLEL, \
		.ambuild = iqdb_am_build, \
		.ambuildempty = iqdb_am_buildempty, \
		.aminsert = iqdb_am_insert, \
		.ambulkdelete = iqdb_am_bulkdelete, \
		.amvacuumcleanup = iqdb_am_vacuumcleanup, \
		.amcostestimate = iqdb_am_costestimate, \
		.amoptions = options, \
		.ambuildphasename = iqdb_am_buildphasename, \
		.amvalidate = iqdb_am_validate, \
		.ambeginscan = iqdb_am_beginscan, \
		.amrescan = iqdb_am_rescan, \
		.amgettuple = iqdb_am_gettuple, \
		.amendscan = iqdb_am_endscan \
	}

/* The access methods, a line an engine. */
#define METHODS(METHOD) \
	METHOD(flat, IQDB_ENGINE_FLAT) \
	METHOD(hnsw, IQDB_ENGINE_HNSW) \
	METHOD(ivf, IQDB_ENGINE_IVF)

#define DEFINE_METHOD(method, engine) \
	static bytea * \
	method##_options(Datum reloptions, bool validate) \
	{ \
		return iqdb_pg_parse_options(engine, reloptions, validate); \
	} \
\
	static const IndexAmRoutine method##_routine = ROUTINE(method##_options); \
\
	PG_FUNCTION_INFO_V1(iqdb_##method##_handler); \
	Datum \
	iqdb_##method##_handler(PG_FUNCTION_ARGS) \
	{ \
		PG_RETURN_POINTER(iqdb_pg_handler_result(&method##_routine)); \
	}

METHODS(DEFINE_METHOD)

#define METHOD_OPTIONS(method, engine) [engine] = method##_options,

IqdbEngineKind
iqdb_pg_engine_kind(Relation index)
{
	static const amoptions_function options[IQDB_ENGINE_COUNT] = {METHODS(METHOD_OPTIONS)};
	uint32		kind = 0;

	while (kind < IQDB_ENGINE_COUNT && options[kind] != index->rd_indam->amoptions)
		kind++;
	if (kind == IQDB_ENGINE_COUNT)
		elog(ERROR, "index \"%s\" is of no access method of iqdb", RelationGetRelationName(index));
	return (IqdbEngineKind) kind;
}

/* ---- metrics of operator classes: support function 1 ---- */

PG_FUNCTION_INFO_V1(iqdb_metric_l2);
Datum
iqdb_metric_l2(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(IQDB_METRIC_L2);
}

PG_FUNCTION_INFO_V1(iqdb_metric_ip);
Datum
iqdb_metric_ip(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(IQDB_METRIC_DOT);
}

PG_FUNCTION_INFO_V1(iqdb_metric_cosine);
Datum
iqdb_metric_cosine(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(IQDB_METRIC_COSINE);
}

/* The same, but a zero vector has no distance: NaN, behind all others. */
PG_FUNCTION_INFO_V1(iqdb_metric_cosine_nan);
Datum
iqdb_metric_cosine_nan(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(IQDB_METRIC_COSINE | IQDB_PG_METRIC_ZERO_IS_NAN);
}

PG_FUNCTION_INFO_V1(iqdb_metric_l1);
Datum
iqdb_metric_l1(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(IQDB_METRIC_L1);
}

PG_FUNCTION_INFO_V1(iqdb_metric_hamming);
Datum
iqdb_metric_hamming(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(IQDB_METRIC_HAMMING);
}

PG_FUNCTION_INFO_V1(iqdb_metric_jaccard);
Datum
iqdb_metric_jaccard(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(IQDB_METRIC_JACCARD);
}

/* ---- amvalidate ---- */

static bool
operators_valid(CatCList *operators, const char *name)
{
	bool		ok = true;

	for (int i = 0; i < operators->n_members; i++)
	{
		Form_pg_amop form = (Form_pg_amop) GETSTRUCT(&operators->members[i]->tuple);

		if (form->amopstrategy != 1 || form->amoppurpose != AMOP_ORDER ||
			get_op_rettype(form->amopopr) != FLOAT8OID ||
			!opfamily_can_sort_type(form->amopsortfamily, FLOAT8OID))
		{
			ereport(INFO,
					(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
					 errmsg("operator family of class \"%s\" may contain one operator, number 1, FOR ORDER BY "
							"float_ops, that returns double precision", name)));
			ok = false;
		}
	}
	return ok;
}

static bool
functions_valid(CatCList *functions, const char *name)
{
	bool		ok = functions->n_members > 0;

	for (int i = 0; i < functions->n_members; i++)
	{
		Form_pg_amproc form = (Form_pg_amproc) GETSTRUCT(&functions->members[i]->tuple);

		ok = ok && form->amprocnum == IQDB_PG_METRIC_PROC &&
			check_amproc_signature(form->amproc, INT4OID, true, 0, 0);
	}
	if (!ok)
		ereport(INFO,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("operator class \"%s\" needs support function 1, () returns integer: its metric", name)));
	return ok;
}

/* A class of a column to filter by has conditions only, and no functions. */
static bool
is_of_filter(CatCList *operators, CatCList *functions)
{
	for (int i = 0; i < operators->n_members; i++)
	{
		if (((Form_pg_amop) GETSTRUCT(&operators->members[i]->tuple))->amoppurpose != AMOP_SEARCH)
			return false;
	}
	return operators->n_members > 0 && functions->n_members == 0;
}

static bool
conditions_valid(CatCList *operators, const char *name)
{
	bool		ok = true;

	for (int i = 0; i < operators->n_members; i++)
	{
		Form_pg_amop form = (Form_pg_amop) GETSTRUCT(&operators->members[i]->tuple);

		if (form->amopstrategy >= IQDB_PG_LESS && form->amopstrategy <= IQDB_PG_CONTAINS &&
			get_op_rettype(form->amopopr) == BOOLOID)
			continue;
		ereport(INFO,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("operator family of class \"%s\" may contain operators 1 to 8 that return boolean: "
						"< <= = >= > <> && @>", name)));
		ok = false;
	}
	return ok;
}

bool
iqdb_am_validate(Oid opclass)
{
	HeapTuple	tuple = SearchSysCache1(CLAOID, ObjectIdGetDatum(opclass));
	Form_pg_opclass form;
	CatCList   *operators;
	CatCList   *functions;
	bool		ok;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for operator class %u", opclass);
	form = (Form_pg_opclass) GETSTRUCT(tuple);
	operators = SearchSysCacheList1(AMOPSTRATEGY, ObjectIdGetDatum(form->opcfamily));
	functions = SearchSysCacheList1(AMPROCNUM, ObjectIdGetDatum(form->opcfamily));
	if (is_of_filter(operators, functions))
		ok = conditions_valid(operators, NameStr(form->opcname));
	else
	{
		ok = operators_valid(operators, NameStr(form->opcname));
		ok = functions_valid(functions, NameStr(form->opcname)) && ok;
	}
	ReleaseCatCacheList(functions);
	ReleaseCatCacheList(operators);
	ReleaseSysCache(tuple);
	return ok;
}
