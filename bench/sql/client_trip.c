/*
 * client_trip.c - the mode trip of the SQL bench client: many small statements beside each other; see client.c.
 *
 * Differences of a microsecond are looked for, on machines that do other things as well. So each statement has a session of
 * its own, the sessions take turns with blocks of a few executions, and of each the block is taken that a quarter of all blocks
 * are quicker than: what disturbs a block makes it longer, never shorter.
 */
#define _POSIX_C_SOURCE 200809L

#include "client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define STATEMENTS_MAX 64
#define BLOCK 20       /* executions that count, ... */
#define FIRST 5        /* ... behind some that do not, and fill the processor's caches anew */
#define WARM_UP 12     /* the server settles on a generic plan after five */
#define BLOCKS_MAX 20000

typedef struct Statement
{
	char    name[64];
	Session session;
	double *processor; /* of each block, microseconds an execution */
	double *wall;
} Statement;

static void
execute(Session *session, const Vectors *queries, size_t query, size_t count, float *scratch)
{
	for (size_t i = 0; i < count; i++)
	{
		session_parameter(session, queries, (query + i) % queries->rows, scratch);
		PQclear(session_run(session));
	}
}

static void
run_block(Statement *statement, size_t number, const Vectors *queries, size_t query, float *scratch)
{
	const struct timespec pause = {0, 150000};
	Session *session = &statement->session;
	double   processor;
	double   wall = 0;

	execute(session, queries, query, FIRST, scratch);
	/* the process accounts for what it did when it falls asleep, which it does after its answer has come */
	nanosleep(&pause, NULL);
	processor = session_processor_time(session);
	for (size_t i = FIRST; i < FIRST + BLOCK; i++)
	{
		double begin;

		session_parameter(session, queries, (query + i) % queries->rows, scratch);
		begin = now();
		PQclear(session_run(session));
		wall += now() - begin;
	}
	nanosleep(&pause, NULL);
	statement->processor[number] = (session_processor_time(session) - processor) * 1e6 / BLOCK;
	statement->wall[number] = wall * 1e6 / BLOCK;
}

/* A line: name, settings, statement, and another server's conninfo or nothing, separated by tabs. */
static void
read_statement(char *line, const Options *o, Statement *statement)
{
	char   *parts[4] = {NULL};
	Options own = *o;

	for (int i = 0; i < 4 && line != NULL; i++)
	{
		parts[i] = line;
		line = strpbrk(line, "\t\n");
		if (line != NULL)
			*line++ = '\0';
	}
	if (parts[2] == NULL)
		die("a line of trip has at least three parts");
	if (parts[3] != NULL && parts[3][0] != '\0')
		own.conninfo = parts[3];
	snprintf(statement->name, sizeof(statement->name), "%s", parts[0]);
	statement->processor = allocate(BLOCKS_MAX * sizeof(double));
	statement->wall = allocate(BLOCKS_MAX * sizeof(double));
	session_open(&statement->session, &own, parts[1], parts[2]);
}

void
trip_main(const Options *o)
{
	Statement statements[STATEMENTS_MAX];
	Vectors   queries;
	float    *scratch;
	char     *line = NULL;
	size_t    room = 0;
	size_t    count = 0;
	size_t    blocks = 0;
	double    begin;

	vectors_open(&queries, o->queries, o->count);
	scratch = allocate(queries.dimension * sizeof(float));
	while (count < STATEMENTS_MAX && getline(&line, &room, stdin) > 0)
	{
		read_statement(line, o, &statements[count]);
		execute(&statements[count++].session, &queries, 0, WARM_UP, scratch);
	}
	free(line);
	begin = now();
	do
		for (size_t i = 0; i < count; i++)
			run_block(&statements[i], blocks, &queries, (blocks * count + i) * (FIRST + BLOCK), scratch);
	while (++blocks < BLOCKS_MAX && now() - begin < o->seconds);
	for (size_t i = 0; i < count; i++)
	{
		printf("%s\t%.2f\t%.2f\n", statements[i].name, percentile(statements[i].processor, blocks, 0.25),
			   percentile(statements[i].wall, blocks, 0.25));
		free(statements[i].processor);
		free(statements[i].wall);
		session_close(&statements[i].session);
	}
	free(scratch);
}
