/*
 * client_insert.c - the mode insert of the SQL bench client; see client.c.
 */
#define _POSIX_C_SOURCE 200809L

#include "client.h"

#include <stdlib.h>
#include <string.h>

static void
insert_row(Session *session, uint64_t id)
{
	unsigned char id_bytes[8];
	const char   *values[2] = {(const char *) id_bytes, (const char *) session->parameter};
	int           lengths[2] = {8, session->parameter_size};
	int           formats[2] = {1, 1};
	PGresult     *result;

	for (int i = 0; i < 8; i++)
		id_bytes[i] = (unsigned char) (id >> (56 - 8 * i));
	result = PQexecPrepared(session->connection, "q", 2, values, lengths, formats, 1);
	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		die("%s", PQerrorMessage(session->connection));
	PQclear(result);
}

void
insert_main(const Options *o)
{
	Vectors  base;
	Session  session;
	float   *scratch;
	double  *times = allocate((size_t) o->count * sizeof(double));
	double   begin;
	double   seconds = 0;
	double   processor;
	double   sum = 0;
	uint32_t batch = o->batch > 0 ? o->batch : 1;
	uint32_t done = 0;

	vectors_open(&base, o->base, 0);
	scratch = allocate(base.dimension * sizeof(float));
	session_open(&session, o, o->set, o->sql);
	processor = session_processor_time(&session);
	for (begin = now(); done < o->count && now() - begin < o->seconds; done++)
	{
		double row_begin;

		session_parameter(&session, &base, o->first + done, scratch);
		row_begin = now();
		if (batch > 1 && done % batch == 0)
			session_command(&session, "BEGIN");
		insert_row(&session, o->first + done);
		if (batch > 1 && (done + 1) % batch == 0)
			session_command(&session, "COMMIT");
		times[done] = (now() - row_begin) * 1e6;
		sum += times[done];
	}
	if (batch > 1 && done % batch != 0)
		session_command(&session, "COMMIT");
	if (processor >= 0)
		processor = session_processor_time(&session) - processor;
	seconds = sum / 1e6;
	session_close(&session);
	figure("rows", (double) done, "");
	figure("rate", seconds > 0 ? (double) done / seconds : 0, "rows/s");
	figure("mean", done > 0 ? sum / (double) done : 0, "us");
	if (processor >= 0 && done > 0)
		figure("processor", processor * 1e6 / (double) done, "us");
	figure("p50", percentile(times, done, 0.50), "us");
	figure("p99", percentile(times, done, 0.99), "us");
	figure("most", percentile(times, done, 1.0), "us");
	free(times);
	free(scratch);
}
