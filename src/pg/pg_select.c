/*
 * pg_select.c - see pg_select.h. Owns what a condition given as text may be.
 *
 * The text becomes part of a statement, so it is parsed by itself first, by the server's own grammar: what is one
 * expression there is one expression between parentheses, too, whatever quotes, comments or parentheses it has. It can do
 * what the caller could do in a WHERE of his own, and nothing else.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "catalog/index.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "optimizer/optimizer.h"
#include "parser/parser.h"
#include "tcop/dest.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/regproc.h"
#include "utils/ruleutils.h"

#include "pg/pg_compat.h"
#include "pg/pg_row.h"
#include "pg/pg_select.h"

struct IqdbPgSelect
{
	Oid			table;
	bool		is_partitioned;
	SPIPlanPtr	plan;			/* of one query */
	SPIPlanPtr	alone;			/* of one query, where no index helps another one */
	SPIPlanPtr	rows;			/* which rows may be answers */
};

/* ---- the condition ------------------------------------------------------------------------------------------------- */

/* Nothing but one expression: no second one, no name for it, no other clause of a SELECT. */
static bool
is_expression(const SelectStmt *statement)
{
	const ResTarget *target;

	if (list_length(statement->targetList) != 1)
		return false;
	target = linitial(statement->targetList);
	return target->name == NULL && target->indirection == NIL && statement->distinctClause == NIL &&
		statement->intoClause == NULL && statement->fromClause == NIL && statement->whereClause == NULL &&
		statement->groupClause == NIL && statement->havingClause == NULL && statement->windowClause == NIL &&
		statement->valuesLists == NIL && statement->sortClause == NIL && statement->limitOffset == NULL &&
		statement->limitCount == NULL && statement->lockingClause == NIL && statement->withClause == NULL &&
		statement->op == SETOP_NONE;
}

static bool
has_parameter(Node *node, void *context)
{
	if (node == NULL)
		return false;
	return IsA(node, ParamRef) || raw_expression_tree_walker(node, has_parameter, context);
}

/* An error's place is one in the condition, not in the statement that called. */
static void
say_where(void *arg)
{
	int			position = geterrposition();

	if (position <= 0)
		return;
	errposition(0);
	internalerrposition(position);
	internalerrquery(arg);
}

static void
check_condition(const char *condition)
{
	ErrorContextCallback callback = {.previous = error_context_stack, .callback = say_where,
									 .arg = unconstify(char *, condition)};
	List	   *parsed;
	Node	   *statement;

	error_context_stack = &callback;
	parsed = raw_parser(condition, RAW_PARSE_PLPGSQL_EXPR);
	error_context_stack = callback.previous;
	statement = list_length(parsed) == 1 ? linitial_node(RawStmt, parsed)->stmt : NULL;
	if (statement == NULL || !IsA(statement, SelectStmt) || !is_expression((SelectStmt *) statement))
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("filter is not a condition: \"%s\"", condition),
				 errhint("Write what would stand after WHERE, such as 'price < 10 AND kind = 3'.")));
	if (has_parameter(((ResTarget *) linitial(((SelectStmt *) statement)->targetList))->val, NULL))
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("filter must not contain parameters: \"%s\"", condition),
				 errhint("Put values into it with format('... = %%L', value).")));
}

/* ---- the statement ------------------------------------------------------------------------------------------------- */

static const char *
predicate_text(Relation index, Relation table)
{
	List	   *predicate = RelationGetIndexPredicate(index);

	if (predicate == NIL)
		return NULL;
	return deparse_expression((Node *) make_ands_explicit(predicate),
							  deparse_context_for(RelationGetRelationName(table), RelationGetRelid(table)), false, false);
}

/* "schema.<->", of the index's operator. */
static const char *
operator_name(Relation index)
{
	Oid			operator = get_opfamily_member(index->rd_opfamily[0], index->rd_opcintype[0], index->rd_opcintype[0], 1);
	List	   *names;
	List	   *arguments;

	format_operator_parts(operator, &names, &arguments, false);
	return psprintf("%s.%s", quote_identifier(linitial(names)), (char *) lsecond(names));
}

static void
append_rows(StringInfo sql, bool is_partitioned)
{
	appendStringInfo(sql, "SELECT %s, ctid", is_partitioned ? "tableoid" : "NULL::oid");
}

static void
append_target(StringInfo sql, Relation index, bool is_partitioned)
{
	Datum		column = DirectFunctionCall3(pg_get_indexdef_ext, ObjectIdGetDatum(RelationGetRelid(index)),
											 Int32GetDatum(1), BoolGetDatum(false));

	append_rows(sql, is_partitioned);
	appendStringInfo(sql, ", (%s) OPERATOR(%s) $1", TextDatumGetCString(column), operator_name(index));
}

static void
append_source(StringInfo sql, Relation table, bool is_partitioned)
{
	appendStringInfo(sql, " FROM %s%s", is_partitioned ? "" : "ONLY ",
					 quote_qualified_identifier(get_namespace_name(RelationGetNamespace(table)),
												RelationGetRelationName(table)));
}

/* The condition may end in a comment, which the end of a line ends. */
static void
append_conditions(StringInfo sql, const char *condition, const char *predicate)
{
	appendStringInfoString(sql, " WHERE true");
	if (condition != NULL)
		appendStringInfo(sql, " AND (%s\n)", condition);
	if (predicate != NULL)
		appendStringInfo(sql, " AND (%s)", predicate);
}

/* Of up to one parameter, the query; a plan for all its values. */
static SPIPlanPtr
prepare(const char *sql, int parameters, Oid type)
{
	SPIPlanPtr	plan = SPI_prepare_cursor(sql, parameters, &type, CURSOR_OPT_GENERIC_PLAN);

	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	return plan;
}

IqdbPgSelect *
iqdb_pg_select_begin(Relation index, Relation table, const char *condition, int k)
{
	IqdbPgSelect *select = palloc0(sizeof(IqdbPgSelect));
	const char *predicate = predicate_text(index, table);
	StringInfoData rows;
	StringInfoData sql;

	if (condition != NULL)
		check_condition(condition);
	select->table = RelationGetRelid(table);
	select->is_partitioned = table->rd_rel->relkind == RELKIND_PARTITIONED_TABLE;
	initStringInfo(&rows);
	append_rows(&rows, select->is_partitioned);
	append_source(&rows, table, select->is_partitioned);
	append_conditions(&rows, condition, predicate);
	select->rows = prepare(rows.data, 0, InvalidOid);
	initStringInfo(&sql);
	append_target(&sql, index, select->is_partitioned);
	append_source(&sql, table, select->is_partitioned);
	append_conditions(&sql, condition, predicate);
	appendStringInfo(&sql, " ORDER BY 3 LIMIT %d", k);
	select->plan = prepare(sql.data, 1, index->rd_opcintype[0]);
	select->alone = prepare(sql.data, 1, index->rd_opcintype[0]);
	return select;
}

void
iqdb_pg_select_search(IqdbPgSelect *select, Datum query, IqdbPgSelectVisit visit, void *arg)
{
	int			result = SPI_execute_plan(select->plan, &query, NULL, true, 0);
	TupleDesc	tupdesc;

	if (result != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute_plan failed: %s", SPI_result_code_string(result));
	tupdesc = SPI_tuptable->tupdesc;
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		bool		isnull;
		Datum		table = SPI_getbinval(row, tupdesc, 1, &isnull);
		Oid			oid = isnull ? select->table : DatumGetObjectId(table);
		Datum		tid = SPI_getbinval(row, tupdesc, 2, &isnull);
		Datum		distance = SPI_getbinval(row, tupdesc, 3, &isnull);

		if (!isnull)
			visit(arg, oid, (ItemPointer) DatumGetPointer(tid), DatumGetFloat8(distance));
	}
	SPI_freetuptable(SPI_tuptable);
}

/* ---- which rows may be answers ------------------------------------------------------------------------------------- */

static CachedPlan *
cached_plan(SPIPlanPtr prepared)
{
	CachedPlan *cached = SPI_plan_get_cached_plan(prepared);

	if (cached == NULL)
		elog(ERROR, "a statement has no plan");
	return cached;
}

/* What the planner thinks of a statement. */
static Plan
plan_of(SPIPlanPtr prepared)
{
	CachedPlan *cached = cached_plan(prepared);
	Plan		plan;

	plan = *linitial_node(PlannedStmt, cached->stmt_list)->planTree;
	ReleaseCachedPlan(cached, NULL);
	return plan;
}

IqdbPgKeys **
iqdb_pg_select_keys(IqdbPgSelect *select, Relation *indexes, int count)
{
	int			settings = NewGUCNestLevel();
	const PlannedStmt *statement;
	CachedPlan *cached;
	IqdbPgKeys **keys;

	/* that node asks rows for all conditions, and does not tell which of them the index has taken */
	(void) set_config_option("iqdb.enable_vector_scan", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	cached = cached_plan(select->alone);
	AtEOXact_GUC(true, settings);
	statement = linitial_node(PlannedStmt, cached->stmt_list);
	keys = iqdb_pg_keys_of_plan(statement, indexes, count);
	if (keys != NULL)
		iqdb_pg_check_rights(statement);
	ReleaseCachedPlan(cached, NULL);
	return keys;
}

bool
iqdb_pg_select_rows_pay(IqdbPgSelect *select, int queries)
{
	Plan		rows = plan_of(select->rows);

	return rows.total_cost < queries * plan_of(select->plan).total_cost &&
		rows.plan_rows * sizeof(uint64) <= maintenance_work_mem * 1024.0;
}

/* Takes rows from the executor. */
typedef struct RowReceiver
{
	DestReceiver base;
	Oid			table;			/* where the statement names none */
	IqdbPgRows	rows;
	IqdbPgTids *last;
} RowReceiver;

static IqdbPgTids *
tids_of(IqdbPgRows *rows, Oid table)
{
	MemoryContext saved;

	for (int i = 0; i < rows->count; i++)
		if (rows->tids[i].table == table)
			return &rows->tids[i];
	saved = MemoryContextSwitchTo(rows->context);
	rows->tids = rows->tids == NULL ? palloc(sizeof(IqdbPgTids)) :
		repalloc(rows->tids, (rows->count + 1) * sizeof(IqdbPgTids));
	rows->tids[rows->count] = iqdb_pg_tids(table, rows->context);
	MemoryContextSwitchTo(saved);
	return &rows->tids[rows->count++];
}

static bool
receive_row(TupleTableSlot *slot, DestReceiver *self)
{
	RowReceiver *receiver = (RowReceiver *) self;
	bool		isnull;
	Datum		table = slot_getattr(slot, 1, &isnull);
	Oid			oid = isnull ? receiver->table : DatumGetObjectId(table);
	IqdbPgTids *tids = receiver->last;

	if (tids == NULL || tids->table != oid)
		tids = receiver->last = tids_of(&receiver->rows, oid);
	iqdb_pg_tids_add(tids, iqdb_pg_tid_number((ItemPointer) DatumGetPointer(slot_getattr(slot, 2, &isnull))));
	return true;
}

static void
start_receiving(DestReceiver *self, int operation, TupleDesc typeinfo)
{
}

static void
end_receiving(DestReceiver *self)
{
}

IqdbPgRows
iqdb_pg_select_rows(IqdbPgSelect *select, MemoryContext context)
{
	RowReceiver receiver = {
		.base = {receive_row, start_receiving, end_receiving, end_receiving, DestNone},
		.table = select->table,
		.rows = {.context = context}
	};
	SPIExecuteOptions options = {.read_only = true, .dest = &receiver.base};
	int			result = SPI_execute_plan_extended(select->rows, &options);

	if (result < 0)
		elog(ERROR, "SPI_execute_plan_extended failed: %s", SPI_result_code_string(result));
	for (int i = 0; i < receiver.rows.count; i++)
		iqdb_pg_tids_sort(&receiver.rows.tids[i]);
	return receiver.rows;
}

const IqdbPgTids *
iqdb_pg_rows_of(const IqdbPgRows *rows, Oid table)
{
	static const IqdbPgTids none;

	for (int i = 0; i < rows->count; i++)
		if (rows->tids[i].table == table)
			return &rows->tids[i];
	return &none;
}
