/*
 * client_plans.c - the modes plans and planning of the SQL bench client; see client.c.
 *
 * A statement's plans are made by settings that leave the planner no other, and kept as prepared statements. Statements
 * that no vector index can order (sql2 of a line) make the plans that read the table. Ways that lead to one plan are one.
 * Then plans take turns. What counts is the time of the server's process on a processor: other load disturbs it least. Where
 * the chosen plan seems to be a bad one, all are timed once more, and the medians are of both times.
 */
#define _POSIX_C_SOURCE 200809L

#include "client.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SAMPLES 3
#define SAMPLES_MAX (2 * SAMPLES)
#define SUSPICIOUS 1.4 /* a choice so many times slower than the quickest plan is timed again */
#define SAMPLE_TIME 15000.0 /* microseconds that a sample of a quick plan takes */
#define EXECUTIONS_MAX 100  /* of a sample, and as many queries */
#define EXECUTIONS_MIN 3    /* unless each takes longer than a sample of a quick plan does */
#define HOPELESS 6.0        /* a plan so many times slower than another is not timed more closely */
#define PLANNINGS 41

/* Nothing is set but that a plan is made once, with $1 unknown, and kept: what was set when it was made goes on to count. */
#define KEEP_PLANS "RESET ALL; SET plan_cache_mode = force_generic_plan"

typedef struct Way
{
	const char *name;
	const char *set;
	int         ordered; /* by the index, if the planner wants: the statement as it is */
} Way;

static const Way ways[] = {
	{"planned", "", 1},
	{"index", "SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off", 1},
	{"index+bitmap", "SET enable_seqscan = off; SET enable_sort = off", 1},
	{"table", "SET enable_indexscan = off; SET enable_bitmapscan = off", 0},
	{"bitmap", "SET enable_seqscan = off; SET enable_indexscan = off", 0},
	{"btree", "SET enable_seqscan = off; SET enable_bitmapscan = off", 0},
};

#define WAYS (sizeof(ways) / sizeof(ways[0]))

typedef struct Plan
{
	const char *name;
	char       *text;
	char        statement[32];
	size_t      executions; /* of a sample */
	double      first;      /* microseconds, as the other two */
	size_t      wanted; /* samples */
	double      samples[SAMPLES_MAX];
	size_t      sample_count;
	double      time;
	double      cost; /* the planner's, without what settings add to plans that they do not want */
	size_t      next_query;
} Plan;

static double
processor_time(const Session *session)
{
	const struct timespec pause = {0, 150000};

	/* the process accounts for what it did when it falls asleep, which it does after its answer has come */
	nanosleep(&pause, NULL);
	return session_processor_time(session) * 1e6;
}

static void
execute(Session *session, const Plan *plan)
{
	const char *values[1] = {(const char *) session->parameter};
	int         lengths[1] = {session->parameter_size};
	int         formats[1] = {1};
	PGresult   *result = PQexecPrepared(session->connection, plan->statement, 1, values, lengths, formats, 1);

	if (PQresultStatus(result) != PGRES_TUPLES_OK)
		die("%s", PQerrorMessage(session->connection));
	PQclear(result);
}

/* Microseconds of processor time for an execution, of so many with different queries. */
static double
sample(Session *session, Plan *plan, size_t executions, const Vectors *queries, float *scratch)
{
	double begin = processor_time(session);

	for (size_t i = 0; i < executions; i++)
	{
		session_parameter(session, queries, plan->next_query++ % queries->rows, scratch);
		execute(session, plan);
	}
	return (processor_time(session) - begin) / (double) executions;
}

/* EXPLAIN of a prepared statement. */
static PGresult *
explain(Session *session, const char *options, const char *statement, const Vectors *queries)
{
	size_t    size = 96 + 2 * (size_t) queries->dimension;
	char     *command = allocate(size);
	PGresult *result;
	int       at = snprintf(command, size, "EXPLAIN (%s) EXECUTE %s('[1", options, statement);

	for (uint32_t i = 1; i < queries->dimension; i++)
		at += snprintf(command + at, size - (size_t) at, ",1");
	snprintf(command + at, size - (size_t) at, "]')");
	result = PQexec(session->connection, command);
	if (PQresultStatus(result) != PGRES_TUPLES_OK)
		die("%s", PQerrorMessage(session->connection));
	free(command);
	return result;
}

/* The nodes of a plan, their conditions, and not by what is sorted, in which the two statements differ. */
static char *
nodes(Session *session, const char *statement, const Vectors *queries)
{
	PGresult *result = explain(session, "COSTS OFF", statement, queries);
	char     *text = NULL;
	size_t    length = 0;
	FILE     *out = open_memstream(&text, &length);

	if (out == NULL)
		die("out of memory");
	for (int i = 0; i < PQntuples(result); i++)
		if (strstr(PQgetvalue(result, i, 0), "Sort Key:") == NULL)
			fprintf(out, "%s\n", PQgetvalue(result, i, 0));
	fclose(out);
	PQclear(result);
	return text;
}

static double
cost(Session *session, const char *statement, const Vectors *queries)
{
	PGresult   *result = explain(session, "COSTS ON", statement, queries);
	const char *at = strstr(PQgetvalue(result, 0, 0), "..");
	double      cost = at != NULL ? strtod(at + 2, NULL) : 0;

	PQclear(result);
	return fmod(cost, 1e10);
}

/* Prepares the statement as this way plans it; false where another way has the same plan. */
static int
make_plan(Session *session, const Way *way, const char *sql, Plan *plans, size_t count, const Vectors *queries)
{
	Plan     *plan = &plans[count];
	PGresult *result;

	memset(plan, 0, sizeof(*plan));
	plan->name = way->name;
	snprintf(plan->statement, sizeof(plan->statement), "way%zu", count);
	session_command(session, KEEP_PLANS);
	if (way->set[0] != 0)
		session_command(session, way->set);
	result = PQprepare(session->connection, plan->statement, sql, 0, NULL);
	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		die("%s%s", PQerrorMessage(session->connection), sql);
	PQclear(result);
	plan->text = nodes(session, plan->statement, queries);
	plan->cost = cost(session, plan->statement, queries);
	for (size_t i = 0; i < count; i++)
	{
		if (strcmp(plans[i].text, plan->text) != 0)
			continue;
		/* what was planned freely gets the name of the way that leads there, too */
		if (i == 0 && strcmp(plans[0].name, "planned") == 0)
			plans[0].name = way->name;
		free(plan->text);
		return 0;
	}
	return 1;
}

static size_t
make_plans(Session *session, const char *ordered, const char *sorted, Plan *plans, const Vectors *queries)
{
	size_t count = 0;

	session_command(session, "DEALLOCATE ALL");
	for (size_t i = 0; i < WAYS; i++)
	{
		char deallocate[48];

		if (make_plan(session, &ways[i], ways[i].ordered ? ordered : sorted, plans, count, queries))
		{
			count++;
			continue;
		}
		snprintf(deallocate, sizeof(deallocate), "DEALLOCATE way%zu", count);
		session_command(session, deallocate);
	}
	/* which of its plans a statement takes is decided at each execution */
	session_command(session, KEEP_PLANS);
	return count;
}

/* How often a plan is executed, in no more than so many microseconds if one execution takes less. */
static void
plan_samples(Plan *plan, double limit)
{
	double once = plan->first > 1 ? plan->first : 1;
	double executions = SAMPLE_TIME / once;

	executions = executions < EXECUTIONS_MIN ? EXECUTIONS_MIN : executions > EXECUTIONS_MAX ? EXECUTIONS_MAX : executions;
	if (executions * once * SAMPLES > limit)
		executions = limit / once / SAMPLES;
	plan->wanted = once * SAMPLES > limit ? 1 : SAMPLES;
	plan->executions = executions > 1 ? (size_t) executions : 1;
	plan->next_query = 0;
}

/* A round of samples of each plan, and what they take by all samples. */
static void
take_samples(Session *session, Plan *plans, size_t count, double least, const Vectors *queries, float *scratch)
{
	for (size_t round = 0; round < SAMPLES; round++)
		for (size_t i = 0; i < count; i++)
		{
			Plan *plan = &plans[i];
			int   is_hopeless = i > 0 && plan->first > HOPELESS * least;

			if (round < plan->wanted)
				plan->samples[plan->sample_count++] =
					is_hopeless ? plan->first : sample(session, plan, plan->executions, queries, scratch);
		}
	for (size_t i = 0; i < count; i++)
	{
		double sorted[SAMPLES_MAX];

		memcpy(sorted, plans[i].samples, sizeof(sorted));
		plans[i].time = percentile(sorted, plans[i].sample_count, 0.5);
	}
}

static size_t
quickest_of(const Plan *plans, size_t count)
{
	size_t quickest = 0;

	for (size_t i = 1; i < count; i++)
		quickest = plans[i].time < plans[quickest].time ? i : quickest;
	return quickest;
}

/* What the plans take; the first of them is the planner's choice. */
static void
time_plans(Session *session, Plan *plans, size_t count, double limit, const Vectors *queries, float *scratch)
{
	double least = 1e300;

	for (size_t i = 0; i < count; i++)
	{
		(void) sample(session, &plans[i], 1, queries, scratch);
		plans[i].first = sample(session, &plans[i], 1, queries, scratch);
		least = plans[i].first < least ? plans[i].first : least;
	}
	for (size_t i = 0; i < count; i++)
		plan_samples(&plans[i], limit);
	take_samples(session, plans, count, least, queries, scratch);
	if (plans[0].time > SUSPICIOUS * plans[quickest_of(plans, count)].time)
		take_samples(session, plans, count, least, queries, scratch);
}

/* One line for a statement: its name, the plan that was chosen, the quickest, what each took, and its cost. */
static void
report_plans(Session *session, const char *name, Plan *plans, size_t count, const Vectors *queries)
{
	size_t quickest = quickest_of(plans, count);
	char  *text = nodes(session, plans[0].statement, queries);

	if (strcmp(text, plans[0].text) != 0)
		die("%s: the plan has changed on the way", name);
	free(text);
	printf("%s\t%s\t%s\t%.3f\t", name, plans[0].name, plans[quickest].name, plans[0].time / plans[quickest].time);
	for (size_t i = 0; i < count; i++)
		printf("%s%s %.0f (%.4g)", i > 0 ? ", " : "", plans[i].name, plans[i].time, plans[i].cost);
	printf("\n");
	fflush(stdout);
}

void
plans_main(const Options *o)
{
	Vectors queries;
	Session session;
	float  *scratch;
	char   *line = NULL;
	size_t  size = 0;

	vectors_open(&queries, o->queries, o->count);
	scratch = allocate(queries.dimension * sizeof(float));
	session_open(&session, o, o->set, NULL);
	while (getline(&line, &size, stdin) > 0)
	{
		const char *name = strtok(line, "\t\n");
		const char *ordered = strtok(NULL, "\t\n");
		const char *sorted = strtok(NULL, "\t\n");
		Plan        plans[WAYS];
		size_t      count;

		if (sorted == NULL)
			die("a line is a name and two statements, separated by tabs");
		count = make_plans(&session, ordered, sorted, plans, &queries);
		time_plans(&session, plans, count, o->seconds * 1e6, &queries, scratch);
		report_plans(&session, name, plans, count, &queries);
		for (size_t i = 0; i < count; i++)
			free(plans[i].text);
	}
	free(line);
	free(scratch);
	session_close(&session);
}

/* ---- planning ---------------------------------------------------------------------------------------------------- */

/* Milliseconds that EXPLAIN says planning took. */
static double
planning_time(Session *session, const char *command)
{
	PGresult *result = PQexec(session->connection, command);
	double    time = -1;

	if (PQresultStatus(result) != PGRES_TUPLES_OK)
		die("%s", PQerrorMessage(session->connection));
	for (int i = 0; i < PQntuples(result); i++)
	{
		const char *found = strstr(PQgetvalue(result, i, 0), "Planning Time: ");

		if (found != NULL)
			time = strtod(found + strlen("Planning Time: "), NULL);
	}
	PQclear(result);
	return time;
}

void
planning_main(const Options *o)
{
	Session session;
	double  times[PLANNINGS];
	double  first;
	size_t  size = strlen(o->sql) + 64;
	char   *command = allocate(size);

	snprintf(command, size, "EXPLAIN (SUMMARY) %s", o->sql);
	session_open(&session, o, o->set, NULL);
	first = planning_time(&session, command);
	for (int i = 0; i < PLANNINGS; i++)
		times[i] = planning_time(&session, command);
	figure("planning", percentile(times, PLANNINGS, 0.5) * 1e3, "us");
	figure("planning_first", first * 1e3, "us");
	session_close(&session);
	free(command);
}
