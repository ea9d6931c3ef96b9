/*
 * client_search.c - the modes search, floor, compare and first of the SQL bench client; see client.c.
 */
#define _POSIX_C_SOURCE 200809L

#include "client.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WARM_UP 12 /* executions before the clock starts: the server settles on a generic plan after five */
#define LONGEST 3  /* times the wanted seconds, after which an unfinished pass ends */

/* ---- search ------------------------------------------------------------------------------------------------------ */

typedef struct Run
{
	const Options  *options;
	const Vectors  *queries; /* NULL: floor */
	int64_t        *answers; /* queries x k, -1 where a query has none; first pass only */
	unsigned char  *answered;
	size_t          pass;
	pthread_barrier_t *start;
	atomic_size_t   done;
} Run;

typedef struct Client
{
	Run      *run;
	uint32_t  number;
	double   *latencies;
	size_t    count;
	size_t    capacity;
	double    begin;
	double    end;
	double    processor; /* seconds of the server process, negative: unknown */
} Client;

static void
keep_answer(Run *run, size_t query, const PGresult *result)
{
	uint32_t k = run->options->k;

	if (run->queries == NULL || run->answered[query])
		return;
	for (uint32_t i = 0; i < k; i++)
		run->answers[query * k + i] = (int) i < PQntuples(result) ? result_int8(result, (int) i, 0) : -1;
	run->answered[query] = 1;
}

static void
keep_latency(Client *client, double seconds)
{
	if (client->count == client->capacity)
	{
		double *grown;

		client->capacity = client->capacity * 2 + 4096;
		grown = realloc(client->latencies, client->capacity * sizeof(double));
		if (grown == NULL)
			die("out of memory");
		client->latencies = grown;
	}
	client->latencies[client->count++] = seconds * 1e6;
}

static void
set_parameter(Session *session, const Run *run, size_t query, float *scratch)
{
	if (run->queries != NULL)
		session_parameter(session, run->queries, query, scratch);
	else if (session->parameter == NULL)
	{
		session->parameter_size = 8;
		session->parameter = allocate(8);
		memset(session->parameter, 0, 8);
	}
}

static void *
run_client(void *argument)
{
	Client        *client = argument;
	Run           *run = client->run;
	const Options *o = run->options;
	float         *scratch = allocate((run->queries == NULL ? 1 : run->queries->dimension) * sizeof(float));
	size_t         query = run->pass * client->number / o->clients;
	Session        session;
	double         started;

	session_open(&session, o, o->set, o->sql);
	if (client->number == 0 && run->queries != NULL)
		session_expect_plan(&session, o->sql, o->plan, run->queries->dimension);
	started = now();
	for (int i = 0; i < WARM_UP && now() - started < o->seconds; i++)
	{
		set_parameter(&session, run, (query + (size_t) i) % run->pass, scratch);
		PQclear(session_run(&session));
	}
	pthread_barrier_wait(run->start);
	client->processor = session_processor_time(&session);
	client->begin = now();
	for (;;)
	{
		PGresult *result;
		double    begin;
		double    end;

		set_parameter(&session, run, query, scratch);
		begin = now();
		result = session_run(&session);
		end = now();
		keep_latency(client, end - begin);
		keep_answer(run, query, result);
		PQclear(result);
		query = (query + 1) % run->pass;
		client->end = end;
		if (atomic_fetch_add(&run->done, 1) + 1 >= run->pass ? end - client->begin >= o->seconds
															 : end - client->begin >= o->seconds * LONGEST)
			break;
	}
	if (client->processor >= 0)
		client->processor = session_processor_time(&session) - client->processor;
	session_close(&session);
	free(scratch);
	return NULL;
}

/* The mean hides queries of which little or nothing was found: how many there are, and how bad the worst are. */
static void
report_shares(double *shares, size_t count)
{
	double sum = 0;
	size_t below_half = 0;
	size_t at_zero = 0;

	for (size_t i = 0; i < count; i++)
	{
		sum += shares[i];
		below_half += shares[i] < 0.5;
		at_zero += shares[i] == 0;
	}
	figure("recall_queries", (double) count, "");
	if (count == 0)
		return;
	figure("recall", sum / (double) count, "");
	figure("recall_p1", percentile(shares, count, 0.01), "");
	figure("recall_least", percentile(shares, count, 0), "");
	figure("recall_below_half", (double) below_half / (double) count, "");
	figure("recall_at_zero", (double) at_zero / (double) count, "");
}

/* An answer counts when it is not farther than the true k-th neighbour: any of equally distant rows is right. */
static void
report_recall(const Run *run)
{
	const Options *o = run->options;
	Vectors        base;
	Truth          truth;
	float         *query;
	float         *row;
	unsigned char *matches = NULL;
	double        *shares = allocate(run->pass * sizeof(double));
	size_t         counted = 0;

	vectors_open(&base, o->base, 0);
	truth_read(&truth, o->truth);
	if (truth.k < o->k || truth.queries < run->pass)
		die("%s: not enough neighbours or queries", o->truth);
	if (o->matches != NULL)
		matches = matches_read(o->matches, base.rows);
	query = allocate(base.dimension * sizeof(float));
	row = allocate(base.dimension * sizeof(float));
	for (size_t q = 0; q < run->pass; q++)
	{
		double   limit = truth.distances[q * truth.k + o->k - 1] * (1 + 1e-6);
		uint32_t found = 0;

		if (!run->answered[q])
			continue;
		vectors_read(run->queries, q, query);
		for (uint32_t i = 0; i < o->k; i++)
		{
			int64_t id = run->answers[q * o->k + i];

			for (uint32_t j = 0; j < i && id >= 0; j++)
				if (run->answers[q * o->k + j] == id)
					die("row %lld comes twice in the answer to query %zu", (long long) id, q);
			if (id < 0)
				continue;
			if (matches != NULL && ((size_t) id >= base.rows || matches[id] != '1'))
				die("row %lld in the answer to query %zu does not match", (long long) id, q);
			vectors_read(&base, (size_t) id, row);
			found += vectors_distance(query, row, base.dimension) <= limit;
		}
		shares[counted++] = (double) found / o->k;
	}
	report_shares(shares, counted);
	free(shares);
	free(matches);
	free(query);
	free(row);
}

static void
report_latency(Client *clients, uint32_t count)
{
	size_t  total = 0;
	size_t  at = 0;
	double  begin = clients[0].begin;
	double  end = clients[0].end;
	double  sum = 0;
	double  processor = 0;
	double *all;

	for (uint32_t i = 0; i < count; i++)
		total += clients[i].count;
	all = allocate(total * sizeof(double));
	for (uint32_t i = 0; i < count; i++)
	{
		memcpy(all + at, clients[i].latencies, clients[i].count * sizeof(double));
		at += clients[i].count;
		processor = clients[i].processor < 0 ? -1e9 : processor + clients[i].processor;
		begin = fmin(begin, clients[i].begin);
		end = fmax(end, clients[i].end);
		free(clients[i].latencies);
	}
	for (size_t i = 0; i < total; i++)
		sum += all[i];
	figure("executions", (double) total, "");
	figure("qps", (double) total / (end - begin), "1/s");
	figure("mean", sum / (double) total, "us");
	if (processor >= 0)
		figure("processor", processor * 1e6 / (double) total, "us");
	figure("p50", percentile(all, total, 0.50), "us");
	figure("p95", percentile(all, total, 0.95), "us");
	figure("p99", percentile(all, total, 0.99), "us");
	free(all);
}

/* How many rows the shortest answer has: fewer than wanted where a search gives up, or where there are no more. */
static uint32_t
fewest_rows(const Run *run)
{
	uint32_t k = run->options->k;
	uint32_t least = k;

	for (size_t q = 0; q < run->pass; q++)
	{
		uint32_t count = 0;

		while (count < k && run->answers[q * k + count] >= 0)
			count++;
		if (run->answered[q] && count < least)
			least = count;
	}
	return least;
}

void
search_main(const Options *o)
{
	Run               run = {.options = o, .pass = 1000};
	Vectors           queries;
	Client            clients[64] = {{0}};
	pthread_t         threads[64];
	pthread_barrier_t start;

	if (o->clients < 1 || o->clients > 64)
		die("clients: 1 to 64");
	if (strcmp(o->mode, "floor") != 0)
	{
		vectors_open(&queries, o->queries, o->count);
		run.queries = &queries;
		run.pass = queries.rows;
		run.answers = allocate(run.pass * o->k * sizeof(*run.answers));
		run.answered = allocate(run.pass);
		memset(run.answered, 0, run.pass);
	}
	pthread_barrier_init(&start, NULL, o->clients);
	run.start = &start;
	for (uint32_t i = 0; i < o->clients; i++)
	{
		clients[i].run = &run;
		clients[i].number = i;
		if (pthread_create(&threads[i], NULL, run_client, &clients[i]) != 0)
			die("cannot start a thread");
	}
	for (uint32_t i = 0; i < o->clients; i++)
		pthread_join(threads[i], NULL);
	report_latency(clients, o->clients);
	if (run.queries != NULL)
		figure("rows_least", (double) fewest_rows(&run), "");
	if (o->truth != NULL)
		report_recall(&run);
}

/* ---- compare ----------------------------------------------------------------------------------------------------- */

void
compare_main(const Options *o)
{
	Vectors queries;
	Session sessions[2];
	float  *scratch;
	double  begin = now();
	double  difference = 0;
	size_t  compared = 0;
	size_t  rows = 0;
	size_t  same = 0;
	size_t  ties = 0;

	vectors_open(&queries, o->queries, o->count);
	scratch = allocate(queries.dimension * sizeof(float));
	session_open(&sessions[0], o, o->set, o->sql);
	session_open(&sessions[1], o, o->set2, o->sql2);
	session_expect_plan(&sessions[0], o->sql, o->plan, queries.dimension);
	session_expect_plan(&sessions[1], o->sql2, o->plan2, queries.dimension);
	for (size_t q = 0; q < queries.rows && now() - begin < o->seconds; q++, compared++)
	{
		PGresult *results[2];

		for (int side = 0; side < 2; side++)
		{
			session_parameter(&sessions[side], &queries, q, scratch);
			results[side] = session_run(&sessions[side]);
		}
		if (PQntuples(results[0]) != PQntuples(results[1]))
			die("query %zu: %d rows against %d", q, PQntuples(results[0]), PQntuples(results[1]));
		for (int i = 0; i < PQntuples(results[0]); i++)
		{
			double a = result_float8(results[0], i, 1);
			double b = result_float8(results[1], i, 1);
			double relative = fabs(a - b) / fmax(fmax(fabs(a), fabs(b)), 1e-30);

			rows++;
			difference = a == b ? difference : fmax(difference, relative);
			if (result_int8(results[0], i, 0) == result_int8(results[1], i, 0))
				same++;
			else if (relative <= 1e-6)
				ties++;
		}
		PQclear(results[0]);
		PQclear(results[1]);
	}
	figure("queries", (double) compared, "");
	figure("rows", (double) rows, "");
	figure("same_id", (double) same, "");
	figure("other_id_same_distance", (double) ties, "");
	figure("different", (double) (rows - same - ties), "");
	figure("largest_relative_difference", difference, "");
	session_close(&sessions[0]);
	session_close(&sessions[1]);
	free(scratch);
}

/* ---- first ------------------------------------------------------------------------------------------------------- */

#define FIRST_EXECUTIONS 20

static double
wall_clock(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (double) t.tv_sec + 1e-9 * (double) t.tv_nsec;
}

void
first_main(const Options *o)
{
	Vectors  queries;
	uint32_t count = o->count > 0 ? o->count : 1;
	float   *scratch;
	double  *connecting = allocate(count * sizeof(double));
	double  *times[FIRST_EXECUTIONS];
	double   ready = 0;

	vectors_open(&queries, o->queries, 0);
	scratch = allocate(queries.dimension * sizeof(float));
	for (int i = 0; i < FIRST_EXECUTIONS; i++)
		times[i] = allocate(count * sizeof(double));
	for (uint32_t n = 0; n < count; n++)
	{
		Session session;
		double  begin = now();

		session_open(&session, o, o->set, o->sql);
		connecting[n] = (now() - begin) * 1e6;
		if (o->since > 0 && n == 0)
			ready = wall_clock() - o->since;
		if (o->touch != NULL)
			session_command(&session, o->touch);
		for (int i = 0; i < FIRST_EXECUTIONS; i++)
		{
			session_parameter(&session, &queries, (n * FIRST_EXECUTIONS + (size_t) i) % queries.rows, scratch);
			begin = now();
			PQclear(session_run(&session));
			times[i][n] = (now() - begin) * 1e6;
		}
		session_close(&session);
	}
	if (o->since > 0)
		figure("ready", ready, "s");
	figure("connect", percentile(connecting, count, 0.5), "us");
	figure("query_1", percentile(times[0], count, 0.5), "us");
	figure("query_2", percentile(times[1], count, 0.5), "us");
	figure("query_3", percentile(times[2], count, 0.5), "us");
	figure("query_20", percentile(times[FIRST_EXECUTIONS - 1], count, 0.5), "us");
	for (int i = 0; i < FIRST_EXECUTIONS; i++)
		free(times[i]);
	free(connecting);
	free(scratch);
}
