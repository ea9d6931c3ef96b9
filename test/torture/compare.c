/*
 * compare.c - the oracle: what an index scan returns, against a sequential scan of the same server in the same snapshot.
 *
 * The distances are computed by the executor from the rows that the scan led to, so an index that kept a vector too long
 * shows in the order; and the sequential scan leaves NULLs out while the index scan has no such filter, so an index that
 * leads to a row without a vector shows in the number of rows.
 */
#define _GNU_SOURCE

#include "torture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define QUERY_MAX 16384

typedef struct Rows
{
	int			count;
	int64_t    *ids;
	double	   *distances;
} Rows;

static atomic_ullong recall_wanted;
static atomic_ullong recall_found;

double
recall_so_far(uint64_t *wanted_out)
{
	*wanted_out = atomic_load(&recall_wanted);
	return *wanted_out == 0 ? -1 : (double) atomic_load(&recall_found) / (double) *wanted_out;
}

static void
take_rows(Rows *rows, const PGresult *result)
{
	rows->count = PQntuples(result);
	rows->ids = malloc(sizeof(int64_t) * (size_t) (rows->count + 1));
	rows->distances = malloc(sizeof(double) * (size_t) (rows->count + 1));
	if (rows->ids == NULL || rows->distances == NULL)
		give_up("no memory");
	for (int i = 0; i < rows->count; i++)
	{
		rows->ids[i] = strtoll(PQgetvalue(result, i, 0), NULL, 10);
		rows->distances[i] = PQgetisnull(result, i, 1) ? NAN : strtod(PQgetvalue(result, i, 1), NULL);
	}
}

static void
free_rows(Rows *rows)
{
	free(rows->ids);
	free(rows->distances);
	memset(rows, 0, sizeof(*rows));
}

static int
by_id(const void *a, const void *b)
{
	int64_t		x = *(const int64_t *) a;
	int64_t		y = *(const int64_t *) b;

	return x < y ? -1 : x > y;
}

static int64_t *
sorted_ids(const Rows *rows)
{
	int64_t    *ids = malloc(sizeof(int64_t) * (size_t) (rows->count + 1));

	if (ids == NULL)
		give_up("no memory");
	memcpy(ids, rows->ids, sizeof(int64_t) * (size_t) rows->count);
	qsort(ids, (size_t) rows->count, sizeof(int64_t), by_id);
	return ids;
}

/* Lists what is in one set and not in the other. Returns whether they differ. */
static bool
different_sets(const Rows *index, const Rows *table, char *why, size_t size)
{
	int64_t    *a = sorted_ids(index);
	int64_t    *b = sorted_ids(table);
	size_t		used = 0;
	int			i = 0;
	int			j = 0;
	int			shown = 0;

	why[0] = '\0';
	for (int k = 1; k < index->count && used + 64 < size; k++)
		if (a[k] == a[k - 1] && shown++ < 8)
			used += (size_t) snprintf(why + used, size - used, "row %lld twice; ", (long long) a[k]);
	while ((i < index->count || j < table->count) && used + 64 < size && shown < 24)
	{
		if (j == table->count || (i < index->count && a[i] < b[j]))
		{
			if (i == 0 || a[i] != a[i - 1])
				used += (size_t) snprintf(why + used, size - used, "row %lld too many; ", (long long) a[i]), shown++;
			i++;
		}
		else if (i == index->count || a[i] > b[j])
			used += (size_t) snprintf(why + used, size - used, "row %lld missing; ", (long long) b[j++]), shown++;
		else
		{
			while (i + 1 < index->count && a[i + 1] == a[i])
				i++;
			i++;
			j++;
		}
	}
	free(a);
	free(b);
	return used > 0;
}

static bool
same_distance(double a, double b)
{
	return a == b || (isnan(a) && isnan(b));
}

/* What is wrong with the whole stream of an index; false if nothing. */
static bool
stream_is_wrong(const Rows *index, const Rows *table, char *why, size_t size)
{
	if (different_sets(index, table, why, size))
		return true;
	/* the others may hand out a near row late, behind what one search has found */
	if (!method_is_exact())
		return false;
	for (int i = 1; i < index->count; i++)
		if (index->distances[i] < index->distances[i - 1])
		{
			snprintf(why, size, "wrong order at row %d: %.17g after %.17g", i, index->distances[i],
					 index->distances[i - 1]);
			return true;
		}
	for (int i = 0; i < index->count; i++)
		if (!same_distance(index->distances[i], table->distances[i]))
		{
			snprintf(why, size, "distance %.17g at row %d instead of %.17g", index->distances[i], i,
					 table->distances[i]);
			return true;
		}
	return false;
}

/* ---- the report of a difference ---------------------------------------------------------------------------------- */

static void
report_rows(const char *label, const Rows *rows)
{
	char		text[2048];
	size_t		used = 0;

	for (int i = 0; i < rows->count && i < 40 && used + 64 < sizeof(text); i++)
		used += (size_t) snprintf(text + used, sizeof(text) - used, "%lld:%.6g ", (long long) rows->ids[i],
								  rows->distances[i]);
	note("  %s, %d rows: %.2000s", label, rows->count, used > 0 ? text : "(none)");
}

static void
report_query(Session *session, const char *label, const char *format, const char *arg)
{
	char		sql[SQL_MAX];

	snprintf(sql, sizeof(sql), format, arg);
	if (session_run(session, "%s", sql) != DONE)
	{
		note("  %s: %s", label, session->message);
		return;
	}
	for (int i = 0; i < PQntuples(session->result) && i < 30; i++)
		note("  %s: %.900s", label, PQgetvalue(session->result, i, 0));
}

static void
report_difference(Session *session, const Index *index, const char *query, const char *why, const Rows *by_index,
				  const Rows *by_table, const char *where)
{
	char		sql[SQL_MAX];

	fail("%s, %s: index %s of table %s: %s", where, session->name, index->name, index->table->name, why);
	note("  query: %.700s", query);
	report_rows("by index", by_index);
	report_rows("by table", by_table);
	report_query(session, "snapshot", "SELECT pg_current_snapshot()", "");
	report_query(session, "stats", "SELECT iqdb_index_stats('%s')", index->name);
	/* rows named in the reason */
	for (const char *p = strstr(why, "row "); p != NULL; p = strstr(p + 1, "row "))
	{
		snprintf(sql, sizeof(sql), "SELECT ctid::text || ' ' || xmin::text || ' ' || xmax::text || ' ' || left(t::text, 200) "
				 "FROM %s t WHERE id = %lld", index->table->name, strtoll(p + 4, NULL, 10));
		report_query(session, "row", "%s", sql);
	}
	report_query(session, "check", "SELECT iqdb_check('%s') LIMIT 30", index->name);
}

/* ---- queries ----------------------------------------------------------------------------------------------------- */

/* A vector to look for: one of the table's, or any. */
static Outcome
choose_target(Session *session, const Index *index, Random *random, char *target, size_t size)
{
	random_query(index->table, random, target, size);
	if (random_chance(random, 50))
		return DONE;
	if (session_run(session, "SELECT %s::text FROM %s WHERE %s IS NOT NULL OFFSET %u LIMIT 1", index->expression,
					index->table->name, index->table->literal, random_below(random, index->table->rows)) != DONE)
		return session->connection == NULL ? LOST : REFUSED;
	if (PQntuples(session->result) > 0)
		snprintf(target, size, "%s", PQgetvalue(session->result, 0, 0));
	return DONE;
}

/* What is asked: the rows nearest to a vector, with a condition on columns of the index. */
typedef struct Question
{
	char		target[QUERY_MAX / 4];
	char		condition[256];
} Question;

/* By table: the same, without the rows that no index has. */
static void
write_query(char *query, size_t size, const Index *index, const Question *question, bool by_index, int limit)
{
	char		bound[32] = "";
	char		there[64] = "true";

	if (limit > 0)
		snprintf(bound, sizeof(bound), " LIMIT %d", limit);
	if (!by_index)
		snprintf(there, sizeof(there), "%s IS NOT NULL", index->table->literal);
	snprintf(query, size, "SELECT id, %s %s '%s'::%s AS d FROM %s WHERE %s AND %s%s ORDER BY %s %s '%s'::%s%s",
			 index->expression, index->op, question->target, index->table->type, index->table->name, there,
			 index->predicate != NULL ? index->predicate : "true", question->condition, index->expression, index->op,
			 question->target, index->table->type, bound);
}

static Outcome
plan_by(Session *session, bool by_index)
{
	return session_run(session, "SET LOCAL enable_seqscan = %s; SET LOCAL enable_indexscan = %s; "
					   "SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = %s",
					   by_index ? "off" : "on", by_index ? "on" : "off", by_index ? "off" : "on");
}

/* Does the plan for this query use the index, or one that REINDEX CONCURRENTLY has left behind of it? */
static Outcome
plan_uses(Session *session, const Index *index, const char *query, bool *uses)
{
	char		wanted[128];

	snprintf(wanted, sizeof(wanted), "Index Scan using %s", index->name);
	*uses = false;
	if (session_run(session, "EXPLAIN (COSTS OFF) %s", query) != DONE)
		return session->connection == NULL ? LOST : REFUSED;
	for (int i = 0; i < PQntuples(session->result); i++)
		*uses = *uses || strstr(PQgetvalue(session->result, i, 0), wanted) != NULL;
	return DONE;
}

static bool
run_query(Session *session, const char *query, Rows *rows)
{
	if (session_run(session, "%s", query) != DONE)
		return false;
	take_rows(rows, session->result);
	return true;
}

/* Through a cursor that stays open for a while between a first part and the rest. */
static bool
fetch_slowly(Session *session, const char *query, Random *random, Rows *rows)
{
	Rows		rest;

	if (session_run(session, "DECLARE reader CURSOR FOR %s", query) != DONE ||
		session_run(session, "FETCH %u IN reader", random_below(random, 100)) != DONE)
		return false;
	take_rows(rows, session->result);
	sleep_milliseconds(random_below(random, 400));
	if (session_run(session, "FETCH ALL IN reader") != DONE)
		return false;
	take_rows(&rest, session->result);
	rows->ids = realloc(rows->ids, sizeof(int64_t) * (size_t) (rows->count + rest.count + 1));
	rows->distances = realloc(rows->distances, sizeof(double) * (size_t) (rows->count + rest.count + 1));
	if (rows->ids == NULL || rows->distances == NULL)
		give_up("no memory");
	memcpy(rows->ids + rows->count, rest.ids, sizeof(int64_t) * (size_t) rest.count);
	memcpy(rows->distances + rows->count, rest.distances, sizeof(double) * (size_t) rest.count);
	rows->count += rest.count;
	free_rows(&rest);
	return session_run(session, "CLOSE reader") == DONE;
}

/* The nearest ten: exact, or counted for recall. A row as near as the farthest wanted is as good. */
static Verdict
compare_nearest(Session *session, const Index *index, const Question *question, const Rows *table, const char *where)
{
	char		query[QUERY_MAX];
	char		why[1024];
	Rows		nearest = {0};
	Rows		best = *table;
	Verdict		verdict = SAME;
	int			found = 0;

	best.count = table->count < 10 ? table->count : 10;
	write_query(query, sizeof(query), index, question, true, 10);
	if (plan_by(session, true) != DONE || !run_query(session, query, &nearest))
		return NOT_COMPARED;
	for (int i = 0; i < nearest.count; i++)
		if (best.count > 0 && nearest.distances[i] <= best.distances[best.count - 1])
			found++;
	why[0] = '\0';
	if (nearest.count != best.count)
		snprintf(why, sizeof(why), "%d rows instead of %d for LIMIT 10", nearest.count, best.count);
	else if (method_is_exact() && found < best.count)
		snprintf(why, sizeof(why), "only %d of the nearest %d", found, best.count);
	if (why[0] != '\0')
	{
		report_difference(session, index, query, why, &nearest, &best, where);
		verdict = DIFFERENT;
	}
	atomic_fetch_add(&recall_wanted, (unsigned) best.count);
	atomic_fetch_add(&recall_found, (unsigned) found);
	free_rows(&nearest);
	return verdict;
}

/*
 * Between the look at the plan and the query the index may have been dropped, or gone for a moment. What is not an index
 * scan returns all the rows that no index has.
 */
static bool
plan_had_changed(Session *session, const Index *index, const Question *question, const Rows *by_index)
{
	int			without = 0;

	for (int i = 0; i < by_index->count; i++)
		without += isnan(by_index->distances[i]) ? 1 : 0;
	if (without == 0 || session_run(session, "SELECT count(*) FROM %s WHERE %s IS NULL AND %s%s", index->table->name,
									index->table->literal, index->predicate != NULL ? index->predicate : "true",
									question->condition) != DONE ||
		atoi(PQgetvalue(session->result, 0, 0)) != without)
		return false;
	count("plan changed before the query ran");
	return true;
}

/* Inside a REPEATABLE READ transaction. */
static Verdict
compare_in_snapshot(Session *session, const Index *index, Random *random, bool cursor, const char *where)
{
	Question	question;
	char		by_index_query[QUERY_MAX];
	char		by_table_query[QUERY_MAX];
	char		why[2048];
	Rows		by_index = {0};
	Rows		by_table = {0};
	Verdict		verdict = NOT_COMPARED;
	bool		uses;
	bool		ok;

	if (choose_target(session, index, random, question.target, sizeof(question.target)) != DONE)
		return NOT_COMPARED;
	random_condition(index, random, question.condition, sizeof(question.condition));
	if (question.condition[0] != '\0')
		count("compare: with a condition on columns");
	write_query(by_index_query, sizeof(by_index_query), index, &question, true, 0);
	write_query(by_table_query, sizeof(by_table_query), index, &question, false, 0);
	if (plan_by(session, true) != DONE || plan_uses(session, index, by_index_query, &uses) != DONE || !uses)
		return NOT_COMPARED;
	if (cursor)
		ok = fetch_slowly(session, by_index_query, random, &by_index);
	else
		ok = run_query(session, by_index_query, &by_index);
	if (ok && plan_by(session, false) == DONE && run_query(session, by_table_query, &by_table))
	{
		verdict = SAME;
		if (plan_had_changed(session, index, &question, &by_index))
			verdict = NOT_COMPARED;
		else if (stream_is_wrong(&by_index, &by_table, why, sizeof(why)))
		{
			report_difference(session, index, by_index_query, why, &by_index, &by_table, where);
			verdict = DIFFERENT;
		}
		else if (!cursor)
			verdict = compare_nearest(session, index, &question, &by_table, where);
	}
	free_rows(&by_index);
	free_rows(&by_table);
	return verdict;
}

Verdict
compare_index(Session *session, const Index *index, Random *random, bool own_transaction, const char *where)
{
	Verdict		verdict;

	if (own_transaction)
		return compare_in_snapshot(session, index, random, false, where);
	if (session_run(session, "BEGIN ISOLATION LEVEL REPEATABLE READ") != DONE)
		return NOT_COMPARED;
	/* sometimes with a snapshot that is older than the lock */
	if (random_chance(random, 50) &&
		session_run(session, "LOCK TABLE %s IN ACCESS SHARE MODE", index->table->name) != DONE)
		verdict = NOT_COMPARED;
	else
		verdict = compare_in_snapshot(session, index, random, false, where);
	(void) session_run(session, "ROLLBACK");
	return verdict;
}

Verdict
compare_cursor(Session *session, const Index *index, Random *random, const char *where)
{
	return compare_in_snapshot(session, index, random, true, where);
}

/* ---- with nobody writing ----------------------------------------------------------------------------------------- */

/* Findings that are known, and not errors of what is tested here. */
static bool
finding_is_known(const char *finding)
{
	return !method_is_exact() && strstr(finding, "out of reach") != NULL;
}

static void
check_index(Session *session, const Index *index, Random *random, const char *where)
{
	Verdict		verdict = NOT_COMPARED;

	if (session_run(session, "SELECT 1 FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON "
					"t.oid = i.indrelid WHERE c.relname = '%s' AND indisvalid%s", index->name,
					strstr(where, "standby") != NULL ? " AND c.relpersistence = 'p'" : "") != DONE ||
		PQntuples(session->result) == 0)
	{
		count("check: index not there");
		return;
	}
	for (int attempt = 0; attempt < 8 && verdict == NOT_COMPARED && !has_failed(); attempt++)
	{
		if (session_run(session, "SELECT iqdb_prewarm('%s')", index->name) == DONE)
			verdict = compare_index(session, index, random, false, where);
		if (strcmp(session->sqlstate, "55P03") == 0)
		{
			/* a transaction that is open, or prepared, holds the table: another time */
			count("check: table locked");
			return;
		}
		if (session->connection == NULL)
			break;
		if (attempt > 0 && verdict == NOT_COMPARED)
			sleep_milliseconds(50);
	}
	if (verdict == NOT_COMPARED && !has_failed())
	{
		if (session->message[0] != '\0' && session->sqlstate[0] != '\0')
			count("check: refused");
		else
			count("check: index not used");
		note("%s: index %s was not compared: %s %s", where, index->name, session->sqlstate, session->message);
		return;
	}
	count("check: index compared");
	if (session_run(session, "SELECT iqdb_check('%s')", index->name) != DONE)
		return;
	for (int i = 0; i < PQntuples(session->result); i++)
		if (!finding_is_known(PQgetvalue(session->result, i, 0)))
			fail("%s: iqdb_check('%s'): %s", where, index->name, PQgetvalue(session->result, i, 0));
	count("check: iqdb_check");
}

void
check_node(const Node *node, Random *random, const char *where)
{
	Session		session = {0};
	char		label[600];

	snprintf(label, sizeof(label), "%s, %s%s", where, node->name, node->is_standby ? " (standby)" : "");
	for (int attempt = 0; attempt < 10 && session_open(&session, node, "check") != DONE; attempt++)
		sleep_milliseconds(100);
	if (session.connection == NULL)
	{
		fail("%s: no connection: %s", label, session.message);
		return;
	}
	(void) session_run(&session, "SET lock_timeout = '300ms'; SET statement_timeout = '60s'");
	for (int i = 0; i < index_count && !has_failed(); i++)
		check_index(&session, &indexes[i], random, label);
	session_close(&session);
}
