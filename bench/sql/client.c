/*
 * client.c - the SQL bench client: sessions, options and the choice of what is measured.
 *
 * Usage: client MODE name=value...
 *
 * search    times the prepared statement sql, whose $1 is each query vector in turn, for seconds but at least one pass
 *           over the queries when that takes less than three times as long; clients sessions at once. With truth, the
 *           bigint in the first column of each answer is looked up there: recall@k; with matches, a file with a byte "1"
 *           for each row that the filter of sql lets pass, any other row in an answer is an error
 * floor     the same with a bigint as $1
 * compare   runs sql and sql2, both giving (id, distance), for each query, and compares the answers row by row
 * first     count new sessions, one after the other: connecting, the first execution, the second, the tenth;
 *           touch is a statement executed before, e.g. one that makes the server load a library
 *           wait keeps trying to connect for so many seconds; since (seconds since the epoch) tells how long it took
 * insert    rows first to first + count of base, ids as in the file, by the prepared statement sql (id, vector);
 *           batch rows a transaction
 * plans     reads lines "name, statement, the same in an order that no index has", separated by tabs; $1 is a query
 *           vector. Prints for each line: name, plan that the planner chooses, quickest plan of those that settings
 *           enforce, ratio of their times, all times
 * planning  how long the planner takes for sql, which is without parameters: in a new session, and later
 * trip      reads lines "name, settings, statement", separated by tabs, and perhaps the conninfo of another server; $1 is a
 *           query vector. Prints for each line its name, processor time and time of an execution
 *
 * Common: conninfo, set (statements run after connecting), plan (text that EXPLAIN of sql must contain), queries, base,
 * truth (files), k. Figures go to standard output, one a line: name, value, unit. Times are in microseconds;
 * processor is the time that the server process spent on a processor per execution, which other load disturbs least.
 */
#define _POSIX_C_SOURCE 200809L

#include "client.h"

#include <arpa/inet.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double) t.tv_sec + 1e-9 * (double) t.tv_nsec;
}

/* ---- sessions ---------------------------------------------------------------------------------------------------- */

void
session_command(Session *session, const char *sql)
{
	PGresult      *result = PQexec(session->connection, sql);
	ExecStatusType status = PQresultStatus(result);

	if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
		die("%s%s", PQerrorMessage(session->connection), sql);
	PQclear(result);
}

void
session_open(Session *session, const Options *options, const char *set, const char *sql)
{
	const struct timespec pause = {0, 2000000};
	double    begin = now();
	PGresult *result;

	memset(session, 0, sizeof(*session));
	session->connection = PQconnectdb(options->conninfo);
	while (PQstatus(session->connection) != CONNECTION_OK && now() - begin < options->wait)
	{
		PQfinish(session->connection);
		nanosleep(&pause, NULL);
		session->connection = PQconnectdb(options->conninfo);
	}
	if (PQstatus(session->connection) != CONNECTION_OK)
		die("%s", PQerrorMessage(session->connection));
	if (set != NULL && set[0] != 0)
		session_command(session, set);
	if (sql == NULL)
		return;
	result = PQprepare(session->connection, "q", sql, 0, NULL);
	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		die("%s%s", PQerrorMessage(session->connection), sql);
	PQclear(result);
}

void
session_close(Session *session)
{
	PQfinish(session->connection);
	free(session->parameter);
}

void
session_parameter(Session *session, const Vectors *vectors, size_t row, float *scratch)
{
	uint16_t dimension = htons((uint16_t) vectors->dimension);

	session->parameter_size = (int) (4 + 4 * vectors->dimension);
	if (session->parameter == NULL)
		session->parameter = allocate((size_t) session->parameter_size);
	vectors_read(vectors, row, scratch);
	memset(session->parameter, 0, 4);
	memcpy(session->parameter, &dimension, 2);
	for (uint32_t i = 0; i < vectors->dimension; i++)
	{
		uint32_t bits;

		memcpy(&bits, &scratch[i], 4);
		bits = htonl(bits);
		memcpy(session->parameter + 4 + 4 * (size_t) i, &bits, 4);
	}
}

PGresult *
session_run(Session *session)
{
	const char *values[1] = {(const char *) session->parameter};
	int         lengths[1] = {session->parameter_size};
	int         formats[1] = {1};
	PGresult   *result = PQexecPrepared(session->connection, "q", 1, values, lengths, formats, 1);

	if (PQresultStatus(result) != PGRES_TUPLES_OK)
		die("%s", PQerrorMessage(session->connection));
	return result;
}

double
session_processor_time(const Session *session)
{
	char               path[64];
	unsigned long long nanoseconds;
	int                found;
	FILE              *file;

	snprintf(path, sizeof(path), "/proc/%d/schedstat", PQbackendPID(session->connection));
	file = fopen(path, "r");
	if (file == NULL)
		return -1;
	found = fscanf(file, "%llu", &nanoseconds);
	fclose(file);
	return found == 1 ? (double) nanoseconds * 1e-9 : -1;
}

void
session_expect_plan(Session *session, const char *sql, const char *plan, uint32_t dimension)
{
	char     *text = allocate(32 + 2 * (size_t) dimension);
	PGresult *result;
	int       found = 0;

	if (plan == NULL)
		return;
	memcpy(text, "EXPLAIN EXECUTE q('[", 20);
	for (uint32_t i = 0; i < dimension; i++)
		memcpy(text + 20 + 2 * (size_t) i, "1,", 2);
	memcpy(text + 19 + 2 * (size_t) dimension, "]')", 4);
	result = PQexec(session->connection, text);
	if (PQresultStatus(result) != PGRES_TUPLES_OK)
		die("%s", PQerrorMessage(session->connection));
	for (int i = 0; i < PQntuples(result); i++)
		found |= strstr(PQgetvalue(result, i, 0), plan) != NULL;
	if (!found)
	{
		for (int i = 0; i < PQntuples(result); i++)
			fprintf(stderr, "%s\n", PQgetvalue(result, i, 0));
		die("the plan does not contain \"%s\": %s", plan, sql);
	}
	PQclear(result);
	free(text);
}

/* ---- figures ----------------------------------------------------------------------------------------------------- */

static uint64_t
big_endian(const char *bytes)
{
	uint64_t value = 0;

	for (int i = 0; i < 8; i++)
		value = value << 8 | (unsigned char) bytes[i];
	return value;
}

int64_t
result_int8(const PGresult *result, int row, int column)
{
	if (PQgetlength(result, row, column) != 8)
		die("column %d is not a bigint", column);
	return (int64_t) big_endian(PQgetvalue(result, row, column));
}

double
result_float8(const PGresult *result, int row, int column)
{
	uint64_t bits;
	double   value;

	if (PQgetlength(result, row, column) != 8)
		die("column %d is not a double", column);
	bits = big_endian(PQgetvalue(result, row, column));
	memcpy(&value, &bits, 8);
	return value;
}

static int
ascending(const void *a, const void *b)
{
	double x = *(const double *) a;
	double y = *(const double *) b;

	return x < y ? -1 : x > y;
}

double
percentile(double *values, size_t count, double share)
{
	size_t rank = (size_t) ceil(share * (double) count);

	if (count == 0)
		return 0;
	qsort(values, count, sizeof(*values), ascending);
	return values[rank > 0 ? rank - 1 : 0];
}

void
figure(const char *name, double value, const char *unit)
{
	printf("%s\t%.6g\t%s\n", name, value, unit);
}

/* ---- options ----------------------------------------------------------------------------------------------------- */

static int
option_text(const char *argument, const char *name, const char **out)
{
	size_t length = strlen(name);

	if (strncmp(argument, name, length) != 0 || argument[length] != '=')
		return 0;
	*out = argument + length + 1;
	return 1;
}

static int
option_number(const char *argument, const char *name, uint32_t *out)
{
	const char *text;

	if (!option_text(argument, name, &text))
		return 0;
	*out = (uint32_t) strtoul(text, NULL, 10);
	return 1;
}

static void
option(Options *o, const char *a)
{
	const char *text;

	if (option_text(a, "conninfo", &o->conninfo) || option_text(a, "sql", &o->sql) || option_text(a, "set", &o->set) ||
		option_text(a, "sql2", &o->sql2) || option_text(a, "set2", &o->set2) || option_text(a, "plan", &o->plan) ||
		option_text(a, "plan2", &o->plan2) || option_text(a, "touch", &o->touch) ||
		option_text(a, "queries", &o->queries) || option_text(a, "base", &o->base) ||
		option_text(a, "truth", &o->truth) || option_text(a, "matches", &o->matches) ||
		option_number(a, "first", &o->first) ||
		option_number(a, "count", &o->count) || option_number(a, "k", &o->k) ||
		option_number(a, "clients", &o->clients) || option_number(a, "batch", &o->batch))
		return;
	if (option_text(a, "seconds", &text))
		o->seconds = strtod(text, NULL);
	else if (option_text(a, "wait", &text))
		o->wait = strtod(text, NULL);
	else if (option_text(a, "since", &text))
		o->since = strtod(text, NULL);
	else
		die("unknown option %s", a);
}

int
main(int count, char **arguments)
{
	Options o = {.conninfo = "", .k = 10, .clients = 1, .batch = 1, .seconds = 1};

	if (count < 2)
		die("usage: client search|floor|compare|first|insert|plans|planning|trip name=value...");
	o.mode = arguments[1];
	for (int i = 2; i < count; i++)
		option(&o, arguments[i]);
	if (o.sql == NULL && strcmp(o.mode, "plans") != 0 && strcmp(o.mode, "trip") != 0)
		die("sql=... is missing");
	if (strcmp(o.mode, "search") == 0 || strcmp(o.mode, "floor") == 0)
		search_main(&o);
	else if (strcmp(o.mode, "compare") == 0)
		compare_main(&o);
	else if (strcmp(o.mode, "first") == 0)
		first_main(&o);
	else if (strcmp(o.mode, "insert") == 0)
		insert_main(&o);
	else if (strcmp(o.mode, "plans") == 0)
		plans_main(&o);
	else if (strcmp(o.mode, "planning") == 0)
		planning_main(&o);
	else if (strcmp(o.mode, "trip") == 0)
		trip_main(&o);
	else
		die("unknown mode %s", o.mode);
	return 0;
}
