/*
 * load.c - worker threads: each has one connection and sends random transactions; a checker thread compares.
 */
#define _GNU_SOURCE

#include "torture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STATEMENT_SECONDS_MAX 100
#define PREPARED_MAX 4

typedef struct Worker
{
	pthread_t	thread;
	int			number;
	char		name[32];
	Random		random;
	Session		session;
	int			depth;			/* savepoints */
	bool		repeatable;		/* the transaction's snapshot stays */
	uint32_t	serial;
} Worker;

struct Checker
{
	pthread_t	thread;
	char		name[32];
	Random		random;
	Session		session;
	const Node *node;
	atomic_bool stop;
};

static Worker workers[WORKERS_MAX];
static pthread_mutex_t gate_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t gate_changed = PTHREAD_COND_INITIALIZER;
static bool gate_closed = true;
static bool stopping;
static int	waiting;			/* workers that stand at the gate */
static const Node *target;
static int	target_changes;

static _Atomic(Checker *) checkers[4];

/* ---- the gate ---------------------------------------------------------------------------------------------------- */

/* Between two statements. false when it is time to go. */
static bool
pass_gate(void)
{
	bool		go_on;

	pthread_mutex_lock(&gate_mutex);
	waiting++;
	pthread_cond_broadcast(&gate_changed);
	while (gate_closed && !stopping)
		pthread_cond_wait(&gate_changed, &gate_mutex);
	waiting--;
	go_on = !stopping;
	pthread_mutex_unlock(&gate_mutex);
	return go_on;
}

void
load_pause(void)
{
	bool		all;

	do
	{
		struct timespec until;

		pthread_mutex_lock(&gate_mutex);
		gate_closed = true;
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec += 1;
		while (waiting < options.workers && pthread_cond_timedwait(&gate_changed, &gate_mutex, &until) == 0)
			;
		all = waiting == options.workers;
		pthread_mutex_unlock(&gate_mutex);
		load_watch();
	} while (!all && !has_failed());
}

void
load_resume(void)
{
	pthread_mutex_lock(&gate_mutex);
	gate_closed = false;
	pthread_cond_broadcast(&gate_changed);
	pthread_mutex_unlock(&gate_mutex);
}

void
load_target(const Node *node)
{
	pthread_mutex_lock(&gate_mutex);
	target = node;
	target_changes++;
	pthread_mutex_unlock(&gate_mutex);
}

/* ---- statements -------------------------------------------------------------------------------------------------- */

static const Table *
some_table(Worker *w)
{
	return &tables[random_below(&w->random, (uint32_t) table_count)];
}

static const Index *
some_index(Worker *w)
{
	return &indexes[random_below(&w->random, (uint32_t) index_count)];
}

/* A condition that takes about one row in so many. */
static const char *
some_rows(Worker *w, uint32_t one_in, char *text, size_t size)
{
	snprintf(text, size, "id %% %u = %u", one_in, random_below(&w->random, one_in));
	return text;
}

static Outcome
insert_rows(Worker *w, const Table *t)
{
	uint32_t	kind = random_below(&w->random, 10);

	if (kind < 4)
	{
		count("insert one row");
		return session_run(&w->session, "INSERT INTO %s (g, note, %s) VALUES (%u, 'one', %s)", t->name, t->literal,
						   random_below(&w->random, 10), t->value);
	}
	if (kind < 7)
	{
		count("insert many rows");
		return session_run(&w->session, "INSERT INTO %s (g, note, %s) SELECT floor(random() * 10), 'many', %s "
						   "FROM generate_series(1, %u)", t->name, t->literal, t->value,
						   random_between(&w->random, 2, t->dimension > 100 ? 8 : 60));
	}
	if (kind < 9)
	{
		count("insert or update on conflict");
		return session_run(&w->session, "INSERT INTO %s (id, g, note, %s) VALUES (-%u, 3, 'conflict', %s) "
						   "ON CONFLICT (id) DO %s", t->name, t->literal, random_between(&w->random, 1, 40), t->value,
						   random_chance(&w->random, 50) ? "NOTHING" : "UPDATE SET g = excluded.g + 1, note = 'again'");
	}
	count("insert and fail");
	/* the last row's key is there already, or the division fails */
	return session_run(&w->session, "INSERT INTO %s (id, g, note, %s) SELECT -1000 - n, 1, 'fail', %s "
					   "FROM generate_series(1, 5) n UNION ALL SELECT -1003, 1, 'fail', NULL", t->name, t->literal, t->value);
}

static Outcome
copy_rows(Worker *w, const Table *t)
{
	char		statement[256];
	char	   *lines[40];
	int			n = (int) random_between(&w->random, 1, t->dimension > 100 ? 10 : 40);
	Outcome		outcome;

	for (int i = 0; i < n; i++)
	{
		char		value[12000];

		random_value(t, &w->random, value, sizeof(value));
		if (asprintf(&lines[i], "%u\tcopy\t%s\n", random_below(&w->random, 10), value) < 0)
			give_up("no memory");
	}
	snprintf(statement, sizeof(statement), "COPY %s (g, note, %s) FROM STDIN", t->name, t->literal);
	count("copy");
	outcome = session_copy(&w->session, statement, (const char *const *) lines, n);
	for (int i = 0; i < n; i++)
		free(lines[i]);
	return outcome;
}

static Outcome
update_rows(Worker *w, const Table *t)
{
	char		rows[64];
	uint32_t	kind = random_below(&w->random, 10);

	some_rows(w, random_between(&w->random, 10, 100), rows, sizeof(rows));
	if (kind < 4)
	{
		count("update, same vector");
		return session_run(&w->session, "UPDATE %s SET note = 'hot %u' WHERE %s", t->name, w->serial++, rows);
	}
	if (kind < 7)
	{
		count("update, new vector");
		return session_run(&w->session, "UPDATE %s SET %s = %s WHERE %s", t->name, t->literal, t->value, rows);
	}
	if (kind < 9)
	{
		count("update of what a predicate reads");
		return session_run(&w->session, "UPDATE %s SET g = (g + %u) %% 10 WHERE %s", t->name,
						   random_between(&w->random, 1, 9), rows);
	}
	count("update to NULL and back");
	return session_run(&w->session, "UPDATE %s SET %s = CASE WHEN %s IS NULL THEN %s END WHERE %s", t->name, t->literal,
					   t->literal, t->value, rows);
}

static Outcome
delete_rows(Worker *w, const Table *t)
{
	char		rows[64];

	count("delete");
	return session_run(&w->session, "DELETE FROM %s WHERE %s", t->name,
					   some_rows(w, random_between(&w->random, 4, 40), rows, sizeof(rows)));
}

/* Keeps the table about as big as it should be. */
static Outcome
trim(Worker *w, const Table *t)
{
	Outcome		outcome = session_run(&w->session, "SELECT count(*) FROM %s", t->name);
	long		rows;

	if (outcome != DONE)
		return outcome;
	rows = strtol(PQgetvalue(w->session.result, 0, 0), NULL, 10);
	if (rows <= (long) t->rows)
		return DONE;
	count("delete");
	return session_run(&w->session, "DELETE FROM %s WHERE id %% 100 < %ld", t->name, 100 - (long) t->rows * 60 / rows);
}

static Outcome
search(Worker *w)
{
	const Index *i = some_index(w);
	char		vector[12000];

	random_query(i->table, &w->random, vector, sizeof(vector));
	if (random_chance(&w->random, 30))
	{
		/* a plan that is kept, whatever happens to the index */
		count("search by a kept plan");
		if (session_run(&w->session, "SET plan_cache_mode = force_generic_plan") != DONE)
			return REFUSED;
		(void) session_run(&w->session, "DEALLOCATE ALL");
		if (session_run(&w->session, "PREPARE kept_%s (%s) AS SELECT id FROM %s%s%s ORDER BY %s %s $1 LIMIT %u",
						i->name, i->table->type, i->table->name, i->predicate != NULL ? " WHERE " : "",
						i->predicate != NULL ? i->predicate : "", i->expression, i->op,
						random_between(&w->random, 1, 20)) != DONE)
			return REFUSED;
		return session_run(&w->session, "EXECUTE kept_%s ('%s')", i->name, vector);
	}
	count("search");
	return session_run(&w->session, "SELECT id FROM %s WHERE g >= 0 ORDER BY %s %s '%s' LIMIT %u", i->table->name,
					   i->expression, i->op, vector, random_between(&w->random, 1, 30));
}

/* One that reads or writes rows, inside a transaction or alone. */
static Outcome
data_statement(Worker *w)
{
	const Table *t = some_table(w);
	uint32_t	kind = random_below(&w->random, 100);

	if (kind < 35)
		return insert_rows(w, t);
	if (kind < 60)
		return update_rows(w, t);
	if (kind < 70)
		return delete_rows(w, t);
	if (kind < 77)
		return copy_rows(w, t);
	if (kind < 85)
		return trim(w, t);
	if (kind < 90 && w->repeatable && session_in_transaction(&w->session))
	{
		count("compare inside a writing transaction");
		return compare_index(&w->session, some_index(w), &w->random, true, "in a transaction") == DIFFERENT ? REFUSED : DONE;
	}
	if (kind < 93 && w->repeatable && session_in_transaction(&w->session))
	{
		count("compare by a slow cursor");
		return compare_cursor(&w->session, some_index(w), &w->random, "cursor") == DIFFERENT ? REFUSED : DONE;
	}
	return search(w);
}

/* ---- transactions ------------------------------------------------------------------------------------------------ */

/* After an error: back to a savepoint, or out of it. */
static void
recover(Worker *w)
{
	if (PQtransactionStatus(w->session.connection) != PQTRANS_INERROR)
		return;
	if (w->depth > 0 && random_chance(&w->random, 70))
	{
		count("rollback to savepoint after an error");
		(void) session_run(&w->session, "ROLLBACK TO s%d", w->depth);
	}
	else
	{
		w->depth = 0;
		(void) session_run(&w->session, "ROLLBACK");
	}
}

static Outcome
savepoint_statement(Worker *w)
{
	uint32_t	kind = random_below(&w->random, 3);

	if (kind == 0 || w->depth == 0)
	{
		count("savepoint");
		return session_run(&w->session, "SAVEPOINT s%d", ++w->depth);
	}
	if (kind == 1)
	{
		count("rollback to savepoint");
		return session_run(&w->session, "ROLLBACK TO s%d", w->depth);
	}
	count("release savepoint");
	return session_run(&w->session, "RELEASE s%d", w->depth--);
}

/* DDL that may stand in a transaction, and be undone. */
static Outcome
ddl_in_transaction(Worker *w)
{
	const Table *t = some_table(w);
	const Index *i = some_index(w);
	char		sql[SQL_MAX];

	switch (random_below(&w->random, 8))
	{
		case 0:
		case 1:
			count("truncate");
			return session_run(&w->session, "TRUNCATE %s", t->name);
		case 2:
			count("reindex index");
			return session_run(&w->session, "REINDEX INDEX %s", i->name);
		case 3:
			count("drop index");
			return session_run(&w->session, "DROP INDEX IF EXISTS %s", i->name);
		case 4:
			count("create index");
			index_definition(i, "CREATE INDEX IF NOT EXISTS", &w->random, sql, sizeof(sql));
			return session_run(&w->session, "%s", sql);
		case 5:
			count("alter table set unlogged or logged");
			return session_run(&w->session, "ALTER TABLE %s SET %s", t->name,
							   random_chance(&w->random, 40) ? "UNLOGGED" : "LOGGED");
		case 6:
			count("alter index set tablespace");
			return session_run(&w->session, "ALTER INDEX %s SET TABLESPACE %s", i->name,
							   random_chance(&w->random, 50) ? "other" : "pg_default");
		default:
			count("create table, fill, index");
			w->serial++;
			return session_run(&w->session, "CREATE TABLE spare_%d_%u AS SELECT n AS id, torture_vector(4, 9)::iqvector(4) v "
							   "FROM generate_series(1, 50) n; CREATE INDEX ON spare_%d_%u USING %s (v iqvector_l2_ops)",
							   w->number, w->serial, w->number, w->serial, options.method);
	}
}

static void
end_transaction(Worker *w)
{
	uint32_t	kind = random_below(&w->random, 100);

	w->depth = 0;
	if (!session_in_transaction(&w->session))
		return;
	if (kind < 20)
	{
		count("rollback");
		(void) session_run(&w->session, "ROLLBACK");
	}
	else if (kind < 28)
	{
		count("prepare transaction");
		(void) session_run(&w->session, "PREPARE TRANSACTION 't%d_%u_%llx'", w->number, w->serial++,
						   (unsigned long long) random_next(&w->random));
	}
	else
	{
		count("commit");
		(void) session_run(&w->session, "COMMIT");
	}
}

static void
transaction(Worker *w)
{
	uint32_t	statements = random_between(&w->random, 1, 7);
	bool		with_ddl = random_chance(&w->random, 4);

	w->depth = 0;
	w->repeatable = random_chance(&w->random, 40);
	if (session_run(&w->session, "BEGIN%s", !w->repeatable ? "" : random_chance(&w->random, 30) ?
					" ISOLATION LEVEL SERIALIZABLE" : " ISOLATION LEVEL REPEATABLE READ") != DONE)
		return;
	for (uint32_t i = 0; i < statements && session_in_transaction(&w->session); i++)
	{
		Outcome		outcome;

		if (!pass_gate())
			return;
		if (random_chance(&w->random, 25))
			outcome = savepoint_statement(w);
		else if (with_ddl && random_chance(&w->random, 50))
			outcome = ddl_in_transaction(w);
		else
			outcome = data_statement(w);
		if (outcome != DONE && w->session.connection != NULL)
			recover(w);
	}
	if (pass_gate())
		end_transaction(w);
}

/* ---- what stands alone ------------------------------------------------------------------------------------------- */

static void
end_prepared(Worker *w)
{
	char		gid[256];
	bool		commit = random_chance(&w->random, 60);

	if (session_run(&w->session, "SELECT gid FROM pg_prepared_xacts ORDER BY random() LIMIT 1") != DONE ||
		PQntuples(w->session.result) == 0)
		return;
	snprintf(gid, sizeof(gid), "%s", PQgetvalue(w->session.result, 0, 0));
	count(commit ? "commit prepared" : "rollback prepared");
	(void) session_run(&w->session, "%s PREPARED '%s'", commit ? "COMMIT" : "ROLLBACK", gid);
}

static void
vacuum(Worker *w)
{
	static const char *const ways[] = {"", "", "", "(INDEX_CLEANUP off)", "(INDEX_CLEANUP on)", "(FREEZE)",
	"(INDEX_CLEANUP on, TRUNCATE off)", "(ANALYZE)", "(DISABLE_PAGE_SKIPPING)", "(FULL)"};
	const char *way = ways[random_below(&w->random, COUNT_OF(ways))];
	char		name[64];

	snprintf(name, sizeof(name), "vacuum %s", way);
	count(name);
	(void) session_run(&w->session, "VACUUM %s %s", way, some_table(w)->name);
}

static void
ddl_alone(Worker *w)
{
	const Index *i = some_index(w);
	char		sql[SQL_MAX];

	switch (random_below(&w->random, 8))
	{
		case 0:
		case 1:
			count("reindex index concurrently");
			(void) session_run(&w->session, "REINDEX INDEX CONCURRENTLY %s", i->name);
			break;
		case 2:
			count("reindex table");
			(void) session_run(&w->session, "REINDEX TABLE %s %s", random_chance(&w->random, 50) ? "CONCURRENTLY" : "",
							   i->table->name);
			break;
		case 3:
			count("drop index concurrently");
			(void) session_run(&w->session, "DROP INDEX CONCURRENTLY IF EXISTS %s", i->name);
			break;
		case 4:
		case 5:
			count("create index concurrently");
			index_definition(i, "CREATE INDEX CONCURRENTLY IF NOT EXISTS", &w->random, sql, sizeof(sql));
			(void) session_run(&w->session, "%s", sql);
			break;
		case 6:
			count("cluster");
			(void) session_run(&w->session, "CLUSTER %s USING %s_pkey", i->table->name, i->table->name);
			break;
		default:
			(void) ddl_in_transaction(w);
			break;
	}
}

static void
own_functions(Worker *w)
{
	const Index *i = some_index(w);

	switch (random_below(&w->random, 5))
	{
		case 0:
		case 1:
			count("iqdb_flush");
			(void) session_run(&w->session, "SELECT iqdb_flush('%s')", i->name);
			break;
		case 2:
			count("iqdb_optimize");
			(void) session_run(&w->session, "SELECT iqdb_optimize('%s')", i->name);
			break;
		case 3:
			count("iqdb_index_stats");
			(void) session_run(&w->session, "SELECT iqdb_index_stats('%s'), iqdb_index_size('%s')", i->name, i->name);
			break;
		default:
			count("checkpoint");
			(void) session_run(&w->session, "CHECKPOINT");
			break;
	}
}

/* Indexes that a failed CONCURRENTLY left behind, tables of the past, indexes that are not there. */
static void
tidy_up(Worker *w)
{
	char		sql[SQL_MAX];
	const Index *i = some_index(w);

	count("tidy up");
	if (session_run(&w->session, "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
					"WHERE NOT indisvalid OR relname LIKE '%%\\_cc%%' ORDER BY random() LIMIT 1") == DONE &&
		PQntuples(w->session.result) > 0)
	{
		snprintf(sql, sizeof(sql), "%s", PQgetvalue(w->session.result, 0, 0));
		(void) session_run(&w->session, "DROP INDEX IF EXISTS %s", sql);
	}
	if (session_run(&w->session, "SELECT relname FROM pg_class WHERE relname LIKE 'spare\\_%%' AND relkind = 'r' "
					"ORDER BY random() LIMIT 1") == DONE && PQntuples(w->session.result) > 0)
	{
		snprintf(sql, sizeof(sql), "%s", PQgetvalue(w->session.result, 0, 0));
		(void) session_run(&w->session, "DROP TABLE IF EXISTS %s", sql);
	}
	index_definition(i, "CREATE INDEX IF NOT EXISTS", &w->random, sql, sizeof(sql));
	(void) session_run(&w->session, "%s", sql);
	if (random_chance(&w->random, 50))
		(void) session_run(&w->session, "ALTER TABLE %s SET LOGGED", some_table(w)->name);
}

/* With hardly any time: the statement is cancelled somewhere on its way. */
static void
hurried(Worker *w)
{
	count("statements with a time limit");
	if (session_run(&w->session, "SET statement_timeout = '%ums'", random_between(&w->random, 1, 15)) != DONE)
		return;
	if (random_chance(&w->random, 30))
		vacuum(w);
	else if (random_chance(&w->random, 40))
		ddl_alone(w);
	else
		(void) data_statement(w);
	(void) session_run(&w->session, "SET statement_timeout = '60s'");
}

static void
one_step(Worker *w)
{
	uint32_t	kind = random_below(&w->random, 1000);

	if (kind < 500)
		transaction(w);
	else if (kind < 750)
		(void) data_statement(w);
	else if (kind < 830)
		vacuum(w);
	else if (kind < 860)
		ddl_alone(w);
	else if (kind < 890)
		own_functions(w);
	else if (kind < 920)
		tidy_up(w);
	else if (kind < 940)
		hurried(w);
	else
		end_prepared(w);
}

/* ---- threads ----------------------------------------------------------------------------------------------------- */

static void *
work(void *arg)
{
	Worker	   *w = arg;
	int			seen = -1;

	while (pass_gate())
	{
		const Node *node;
		int			changes;

		pthread_mutex_lock(&gate_mutex);
		node = target;
		changes = target_changes;
		pthread_mutex_unlock(&gate_mutex);
		if (changes != seen)
			session_close(&w->session);
		seen = changes;
		if (w->session.connection == NULL)
		{
			if (session_open(&w->session, node, w->name) != DONE)
			{
				sleep_milliseconds(random_between(&w->random, 5, 50));
				continue;
			}
			count("connections");
			if (session_run(&w->session, "SET lock_timeout = '%ums'; SET statement_timeout = '60s'",
							random_between(&w->random, 50, 800)) != DONE)
				continue;
		}
		if (session_in_transaction(&w->session))
			(void) session_run(&w->session, "ROLLBACK");
		else if (random_chance(&w->random, 1))
			session_close(&w->session);
		else
			one_step(w);
	}
	session_close(&w->session);
	return NULL;
}

void
load_start(Random *random)
{
	for (int i = 0; i < options.workers; i++)
	{
		Worker	   *w = &workers[i];

		w->number = i;
		snprintf(w->name, sizeof(w->name), "worker %d", i);
		w->random.state = random_next(random);
		if (pthread_create(&w->thread, NULL, work, w) != 0)
			give_up("no thread");
	}
}

void
load_stop(void)
{
	pthread_mutex_lock(&gate_mutex);
	stopping = true;
	pthread_cond_broadcast(&gate_changed);
	pthread_mutex_unlock(&gate_mutex);
	for (int i = 0; i < options.workers; i++)
		pthread_join(workers[i].thread, NULL);
}

int
load_some_backend(Random *random)
{
	for (int attempt = 0; attempt < 20; attempt++)
	{
		Worker	   *w = &workers[random_below(random, (uint32_t) options.workers)];

		/* read without lock: at worst it is the number of one that has just ended */
		if (w->session.backend > 0)
			return w->session.backend;
	}
	return 0;
}

/* ---- statements that hang ---------------------------------------------------------------------------------------- */

static void
report_stack(int backend)
{
	char		command[256];
	char		line[400];
	FILE	   *pipe;

	snprintf(command, sizeof(command), "gdb -p %d --batch -ex bt 2>&1 | grep '^#' | head -40", backend);
	pipe = popen(command, "r");
	while (pipe != NULL && fgets(line, sizeof(line), pipe) != NULL)
		note("  %d: %s", backend, line);
	if (pipe != NULL)
		pclose(pipe);
}

static bool
watch_session(Session *session)
{
	long long	since = atomic_load(&session->busy_since);

	if (since == 0 || seconds_now() - (double) since / 1000 < STATEMENT_SECONDS_MAX)
		return true;
	fail("%s has waited for its statement for more than %d s; its process is %d", session->name, STATEMENT_SECONDS_MAX,
		 session->backend);
	return false;
}

void
load_watch(void)
{
	bool		fine = true;

	for (int i = 0; i < options.workers; i++)
		fine &= watch_session(&workers[i].session);
	for (size_t i = 0; i < COUNT_OF(checkers); i++)
	{
		Checker    *checker = atomic_load(&checkers[i]);

		if (checker != NULL)
			fine &= watch_session(&checker->session);
	}
	for (int i = 0; i < options.workers && !fine; i++)
		if (workers[i].session.backend > 0)
			report_stack(workers[i].session.backend);
}

/* ---- checkers ---------------------------------------------------------------------------------------------------- */

static void *
check(void *arg)
{
	Checker    *c = arg;

	while (!atomic_load(&c->stop) && !has_failed())
	{
		const Index *index = &indexes[random_below(&c->random, (uint32_t) index_count)];

		if (c->session.connection == NULL)
		{
			if (session_open(&c->session, c->node, c->name) != DONE)
			{
				sleep_milliseconds(30);
				continue;
			}
			(void) session_run(&c->session, "SET lock_timeout = '500ms'; SET statement_timeout = '60s'");
		}
		switch (compare_index(&c->session, index, &c->random, false, "under load"))
		{
			case SAME:
				count(c->node->is_standby ? "compared under load on the standby" : "compared under load");
				break;
			case NOT_COMPARED:
				count(c->node->is_standby ? "not compared under load on the standby" : "not compared under load");
				break;
			case DIFFERENT:
				break;
		}
		if (session_in_transaction(&c->session))
			(void) session_run(&c->session, "ROLLBACK");
		if (random_chance(&c->random, 2))
			session_close(&c->session);
		sleep_milliseconds(random_below(&c->random, 60));
	}
	session_close(&c->session);
	return NULL;
}

Checker *
checker_start(const Node *node, Random *random)
{
	Checker    *c = calloc(1, sizeof(Checker));
	Checker    *nobody;

	if (c == NULL)
		give_up("no memory");
	c->node = node;
	c->random.state = random_next(random);
	snprintf(c->name, sizeof(c->name), "checker of %.16s", node->name);
	if (pthread_create(&c->thread, NULL, check, c) != 0)
		give_up("no thread");
	for (size_t i = 0; i < COUNT_OF(checkers); i++)
	{
		nobody = NULL;
		if (atomic_compare_exchange_strong(&checkers[i], &nobody, c))
			break;
	}
	return c;
}

void
checker_stop(Checker *c)
{
	Checker    *me;

	if (c == NULL)
		return;
	atomic_store(&c->stop, true);
	pthread_join(c->thread, NULL);
	for (size_t i = 0; i < COUNT_OF(checkers); i++)
	{
		me = c;
		(void) atomic_compare_exchange_strong(&checkers[i], &me, NULL);
	}
	free(c);
}
