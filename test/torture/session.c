/*
 * session.c - connections, and which errors a random load may meet: conflicts, time limits, what another session has
 * dropped meanwhile, and a server that goes away. Everything else is a failure.
 */
#define _GNU_SOURCE

#include "torture.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* SQLSTATEs, or their classes where two characters, that are normal. */
static const char *const normal[] = {
	"08",						/* connection */
	"57P",						/* server going down, coming up */
	"40",						/* serialization, deadlock, transaction rolled back */
	"55P03",					/* lock_timeout */
	"55006",					/* an object in use by this session's own cursor */
	"25P02",					/* in a failed transaction */
	"25P01",					/* no transaction */
	"3B001",					/* no such savepoint */
	"34000",					/* no such cursor */
	"23505",					/* duplicate key */
	"42P01",					/* undefined table or index */
	"42704",					/* undefined object */
	"42P07",					/* duplicate table or index */
	"42710",					/* duplicate object */
	"53300",					/* too many connections */
	"0A000",					/* unlogged table on a standby */
};

/* Messages that come with an internal error's code, or with a code that can mean worse. */
static const char *const normal_messages[] = {
	"could not open relation with OID",
	"tuple concurrently updated",
	"tuple concurrently deleted",
	"cache lookup failed for",
	"canceling statement due to user request",
	"canceling statement due to statement timeout",
	"canceling statement due to lock timeout",
	"canceling statement due to conflict with recovery",
	"relation was concurrently dropped",
	"is not ready",				/* an index whose concurrent creation failed */
	"is not valid",
	"server closed the connection unexpectedly",
	"terminating connection",
	"could not receive data from server",
	"could not send data to server",
	"no connection to the server",
	"SSL SYSCALL error",
	"because it has pending trigger events",
	"because it is being used by active queries in this session",
	"cannot reindex invalid index",
	"Broken pipe",
	"cannot PREPARE a transaction that has",
	"cannot execute",			/* something that writes, on a standby */
	"transaction identifier",	/* is already in use */
	"prepared transaction with identifier",
	"maximum number of prepared transactions reached",
	"recovery is in progress",
	"vanished during its build",	/* somebody has unlinked its arena */
};

static long long
milliseconds_now(void)
{
	return (long long) (seconds_now() * 1000);
}

/*
 * PostgreSQL's own: a standby's old snapshot that the primary learns of late takes the horizon back behind what VACUUM has
 * taken from a TOAST table, and a rewrite of the table looks for it.
 */
static bool
is_rewrite_behind_the_horizon(const Session *session, const char *sql)
{
	return strstr(session->message, "missing chunk number") != NULL &&
		(strstr(sql, "VACUUM (FULL)") != NULL || strstr(sql, "CLUSTER ") != NULL);
}

/*
 * A file of an arena that was unlinked, or made again under its name, while a statement built in it. Of a long path the message
 * has the end only. Nothing but a build may notice: the others find the arena gone, or have it mapped.
 */
static bool
is_build_without_arena(const Session *session, const char *sql)
{
	static const char *const builds[] = {"CREATE INDEX", "REINDEX", "VACUUM (FULL)", "CLUSTER ", "TRUNCATE", "ALTER TABLE",
		"ALTER INDEX"};

	if ((strstr(session->message, "/iqdb.") == NULL && strstr(session->message, "pgsql_tmp.iqdb.") == NULL) ||
		(strstr(session->message, "No such file") == NULL && strstr(session->message, "Stale file handle") == NULL))
		return false;
	for (size_t i = 0; i < COUNT_OF(builds); i++)
		if (strstr(sql, builds[i]) != NULL)
			return true;
	return false;
}

static bool
is_normal(const Session *session, const char *sql)
{
	if (is_rewrite_behind_the_horizon(session, sql))
	{
		count("PostgreSQL rewrote a table behind its horizon");
		return true;
	}
	for (size_t i = 0; i < COUNT_OF(normal); i++)
		if (strncmp(session->sqlstate, normal[i], strlen(normal[i])) == 0)
			return true;
	if (is_build_without_arena(session, sql))
	{
		count("build lost its arena's file");
		return true;
	}
	for (size_t i = 0; i < COUNT_OF(normal_messages); i++)
		if (strstr(session->message, normal_messages[i]) != NULL)
			return true;
	return false;
}

/* Takes over the result; classifies it. */
static Outcome
finish(Session *session, const char *sql)
{
	ExecStatusType status = PQresultStatus(session->result);
	const char *field;

	atomic_store(&session->busy_since, 0);
	session->sqlstate[0] = '\0';
	session->message[0] = '\0';
	if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_COPY_IN)
		return DONE;
	field = PQresultErrorField(session->result, PG_DIAG_SQLSTATE);
	snprintf(session->sqlstate, sizeof(session->sqlstate), "%s", field != NULL ? field : "");
	snprintf(session->message, sizeof(session->message), "%s", PQerrorMessage(session->connection));
	if (PQstatus(session->connection) != CONNECTION_OK)
	{
		session_close(session);
		return LOST;
	}
	if (!is_normal(session, sql))
		fail("%s: %.1000s\nmet %s %s", session->name, sql, session->sqlstate, session->message);
	return REFUSED;
}

static void
ignore_notices(void *arg, const PGresult *result)
{
	(void) arg;
	(void) result;
}

Outcome
session_open(Session *session, const Node *node, const char *name)
{
	char		port[16];
	const char *keys[] = {"host", "port", "dbname", "application_name", "connect_timeout", NULL};
	const char *values[] = {options.folder, port, "postgres", name, "20", NULL};

	session_close(session);
	session->name = name;
	snprintf(port, sizeof(port), "%d", node->port);
	session->connection = PQconnectdbParams(keys, values, 0);
	if (PQstatus(session->connection) != CONNECTION_OK)
	{
		snprintf(session->message, sizeof(session->message), "%s", PQerrorMessage(session->connection));
		session_close(session);
		return LOST;
	}
	PQsetNoticeReceiver(session->connection, ignore_notices, NULL);
	session->backend = PQbackendPID(session->connection);
	return DONE;
}

void
session_close(Session *session)
{
	PQclear(session->result);
	session->result = NULL;
	PQfinish(session->connection);
	session->connection = NULL;
	session->backend = 0;
	atomic_store(&session->busy_since, 0);
}

Outcome
session_run(Session *session, const char *format, ...)
{
	va_list		args;
	char	   *sql;
	Outcome		outcome;

	if (session->connection == NULL)
		return LOST;
	va_start(args, format);
	if (vasprintf(&sql, format, args) < 0)
		give_up("no memory");
	va_end(args);
	PQclear(session->result);
	atomic_store(&session->busy_since, milliseconds_now());
	session->result = PQexec(session->connection, sql);
	outcome = finish(session, sql);
	free(sql);
	return outcome;
}

Outcome
session_copy(Session *session, const char *statement, const char *const *lines, int count)
{
	Outcome		outcome = session_run(session, "%s", statement);

	if (outcome != DONE)
		return outcome;
	for (int i = 0; i < count; i++)
		if (PQputCopyData(session->connection, lines[i], (int) strlen(lines[i])) != 1)
			break;
	atomic_store(&session->busy_since, milliseconds_now());
	(void) PQputCopyEnd(session->connection, NULL);
	PQclear(session->result);
	session->result = PQgetResult(session->connection);
	outcome = finish(session, statement);
	while (session->connection != NULL)
	{
		PGresult   *more = PQgetResult(session->connection);

		if (more == NULL)
			break;
		PQclear(more);
	}
	return outcome;
}

bool
session_in_transaction(const Session *session)
{
	return session->connection != NULL && PQtransactionStatus(session->connection) != PQTRANS_IDLE;
}

bool
ask(const Node *node, char *answer, size_t size, const char *format, ...)
{
	Session		session = {0};
	va_list		args;
	char		sql[SQL_MAX];
	bool		ok;

	va_start(args, format);
	vsnprintf(sql, sizeof(sql), format, args);
	va_end(args);
	answer[0] = '\0';
	ok = session_open(&session, node, "main") == DONE && session_run(&session, "%s", sql) == DONE;
	if (ok && PQntuples(session.result) > 0)
		snprintf(answer, size, "%s", PQgetvalue(session.result, 0, 0));
	session_close(&session);
	return ok;
}
