/*
 * client.h - what the parts of the SQL bench client share: options, connections, timing, figures.
 */
#ifndef IQDB_BENCH_CLIENT_H
#define IQDB_BENCH_CLIENT_H

#include "vectors.h"

#include <libpq-fe.h>
#include <stdint.h>

/* Everything a mode may be told as name=value on the command line; see client.c for the meaning. */
typedef struct Options
{
	const char *mode;
	const char *conninfo;
	const char *sql;
	const char *set;
	const char *sql2;
	const char *set2;
	const char *plan;
	const char *plan2;
	const char *touch;
	const char *queries;
	const char *base;
	const char *truth;
	const char *matches;
	uint32_t    first;
	uint32_t    count;
	uint32_t    k;
	uint32_t    clients;
	uint32_t    batch;
	double      seconds;
	double      wait;
	double      since;
} Options;

/* One session with the statement "q" prepared: $1 a vector or a bigint. */
typedef struct Session
{
	PGconn        *connection;
	unsigned char *parameter; /* binary form of the vector sent last */
	int            parameter_size;
} Session;

double now(void);

void session_open(Session *session, const Options *options, const char *set, const char *sql);
void session_close(Session *session);

/* Fills the parameter with a row of the file; not part of any measured time. */
void session_parameter(Session *session, const Vectors *vectors, size_t row, float *scratch);

/* Runs the prepared statement; the caller clears the result. */
PGresult *session_run(Session *session);

/* Seconds the session's server process has spent on a processor; negative where the system does not tell. */
double session_processor_time(const Session *session);

/* Runs statements that return nothing of interest. */
void session_command(Session *session, const char *sql);

/* Ends the program unless EXPLAIN of the prepared statement, its $1 a vector, contains plan (NULL: anything). */
void session_expect_plan(Session *session, const char *sql, const char *plan, uint32_t dimension);

int64_t result_int8(const PGresult *result, int row, int column);
double  result_float8(const PGresult *result, int row, int column);

/* Nearest rank; sorts its argument. */
double percentile(double *values, size_t count, double share);

/* One figure on standard output: name, value, unit, separated by tabs. */
void figure(const char *name, double value, const char *unit);

void search_main(const Options *options);
void compare_main(const Options *options);
void first_main(const Options *options);
void insert_main(const Options *options);
void plans_main(const Options *options);
void planning_main(const Options *options);
void trip_main(const Options *options);

#endif
