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
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "optimizer/optimizer.h"
#include "parser/parser.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/ruleutils.h"

#include "pg/pg_select.h"

struct IqdbPgSelect
{
	Oid			table;
	bool		is_partitioned;
	SPIPlanPtr	plan;
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

/* What tells a search of one table, or of a partitioned one, which rows it found. */
static void
append_target(StringInfo sql, Relation index, bool is_partitioned)
{
	Datum		column = DirectFunctionCall3(pg_get_indexdef_ext, ObjectIdGetDatum(RelationGetRelid(index)),
											 Int32GetDatum(1), BoolGetDatum(false));

	appendStringInfo(sql, "SELECT %s, ctid, (%s) OPERATOR(%s) $1", is_partitioned ? "tableoid" : "NULL::oid",
					 TextDatumGetCString(column), operator_name(index));
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

IqdbPgSelect *
iqdb_pg_select_begin(Relation index, Relation table, const char *condition, int k)
{
	IqdbPgSelect *select = palloc0(sizeof(IqdbPgSelect));
	Oid			type = index->rd_opcintype[0];
	StringInfoData sql;

	if (condition != NULL)
		check_condition(condition);
	select->table = RelationGetRelid(table);
	select->is_partitioned = table->rd_rel->relkind == RELKIND_PARTITIONED_TABLE;
	initStringInfo(&sql);
	append_target(&sql, index, select->is_partitioned);
	append_source(&sql, table, select->is_partitioned);
	append_conditions(&sql, condition, predicate_text(index, table));
	appendStringInfo(&sql, " ORDER BY 3 LIMIT %d", k);
	select->plan = SPI_prepare_cursor(sql.data, 1, &type, CURSOR_OPT_GENERIC_PLAN);
	if (select->plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
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
