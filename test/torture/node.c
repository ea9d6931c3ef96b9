/*
 * node.c - servers: made by initdb or from a base backup, started as children of this process, stopped in four ways.
 */
#define _GNU_SOURCE

#include "torture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define FIRST_PORT 54000
#define LOGS_KEPT 6

static int	next_port = FIRST_PORT;

/* ---- making ------------------------------------------------------------------------------------------------------ */

static const char *
program(const char *name)
{
	static char paths[8][PATH_MAX];
	static int	turn;
	char	   *path = paths[turn++ % 8];

	snprintf(path, PATH_MAX, "%s/%s", options.bin, name);
	return path;
}

static void
write_text(const char *path, const char *mode, const char *text)
{
	FILE	   *file = fopen(path, mode);

	if (file == NULL || fputs(text, file) < 0 || fclose(file) != 0)
		give_up("%s: %s", path, strerror(errno));
}

static void
set_paths(Node *node, const char *name)
{
	memset(node, 0, sizeof(*node));
	snprintf(node->name, sizeof(node->name), "%s", name);
	snprintf(node->data, sizeof(node->data), "%s/%s", options.folder, name);
	snprintf(node->arena, sizeof(node->arena), "%s/%s", options.arena_parent, name);
	node->port = next_port++;
	if (mkdir(node->arena, 0700) != 0 && errno != EEXIST)
		give_up("%s: %s", node->arena, strerror(errno));
}

static void
tool_log(char *path, size_t size)
{
	snprintf(path, size, "%s/tools.log", options.folder);
}

void
node_init(Node *node, const char *name, Random *random)
{
	char		log[PATH_MAX];
	char		path[PATH_MAX];

	set_paths(node, name);
	tool_log(log, sizeof(log));
	if (run_program(log, (const char *const[]) {program("initdb"), "-D", node->data, "-A", "trust", "--encoding=UTF8",
					"--no-locale", "-N", NULL}) != 0)
		give_up("initdb failed, see %s", log);
	snprintf(path, sizeof(path), "%s/postgresql.conf", node->data);
	write_text(path, "a", "include 'torture.conf'\n");
	node_settings(node, random);
}

/* Fresh settings for the next start: those of the test, and iqdb's at random. */
void
node_settings(Node *node, Random *random)
{
	static const char *const fsyncs[] = {"always", "periodic", "never"};
	char		path[PATH_MAX];
	char		text[8192];

	snprintf(path, sizeof(path), "%s/torture.conf", node->data);
	snprintf(text, sizeof(text),
			 "listen_addresses = ''\nunix_socket_directories = '%s'\nport = %d\nfsync = off\n"
			 "wal_level = replica\nmax_wal_senders = 8\nwal_keep_size = 512MB\nmax_wal_size = 128MB\nwal_log_hints = on\n"
			 "wal_retrieve_retry_interval = 100ms\n"
			 "hot_standby = on\nhot_standby_feedback = %s\nmax_standby_streaming_delay = 3s\n"
			 "shared_buffers = %s\nmax_connections = 40\nmax_prepared_transactions = 10\n"
			 "dynamic_shared_memory_type = mmap\nallow_in_place_tablespaces = on\n"
			 "autovacuum_naptime = 1s\nautovacuum_max_workers = 2\nautovacuum_vacuum_cost_delay = 0\n"
			 "checkpoint_timeout = 30s\nsynchronous_commit = %s\nrestart_after_crash = on\n"
			 "log_statement = all\nlog_line_prefix = '%%m [%%p] %%a %%b %%e '\nlog_min_messages = error\n"
			 "log_autovacuum_min_duration = -1\nlog_checkpoints = off\n"
			 "max_parallel_maintenance_workers = %u\nmin_parallel_table_scan_size = 0\n"
			 "max_parallel_workers_per_gather = 0\ntimezone = UTC\nlog_timezone = UTC\n"
			 "iqdb.arena_directory = '%s'\niqdb.fsync = %s\niqdb.fsync_interval = %u\niqdb.snapshot_wal_size = %ukB\n"
			 "iqdb.journal_keep = %u\niqdb.journal_limit = %u\niqdb.background_worker = %s\n",
			 options.folder, node->port, random_chance(random, 50) ? "on" : "off",
			 random_chance(random, 50) ? "1MB" : "64MB", random_chance(random, 50) ? "on" : "off",
			 random_below(random, 3), node->arena, fsyncs[random_below(random, 3)], random_between(random, 10, 300),
			 random_between(random, 64, 600), random_between(random, 2, 6), random_chance(random, 50) ? 16384 :
			 random_between(random, 4, 20), random_chance(random, 80) ? "on" : "off");
	write_text(path, "w", text);
}

void
node_from_backup(Node *node, const char *name, const Node *source, bool standby)
{
	char		log[PATH_MAX];
	char		path[PATH_MAX];
	char		port[16];
	char		text[1024];

	set_paths(node, name);
	tool_log(log, sizeof(log));
	snprintf(port, sizeof(port), "%d", source->port);
	damage_mend(source);
	if (run_program(log, (const char *const[]) {program("pg_basebackup"), "-D", node->data, "-h", options.folder, "-p",
					port, "-c", "fast", "-X", "stream", "--no-sync", NULL}) != 0)
	{
		fail("pg_basebackup of %s failed, see %s", source->name, log);
		return;
	}
	node->is_standby = standby;
	snprintf(path, sizeof(path), "%s/torture.conf", node->data);
	snprintf(text, sizeof(text), "port = %d\niqdb.arena_directory = '%s'\n", node->port, node->arena);
	write_text(path, "a", text);
	/* a former standby's own settings are in the backup as well */
	snprintf(path, sizeof(path), "%s/postgresql.auto.conf", node->data);
	snprintf(text, sizeof(text), "primary_conninfo = 'host=%s port=%d application_name=%s'\n", options.folder,
			 source->port, name);
	write_text(path, "w", standby ? text : "");
	snprintf(path, sizeof(path), "%s/standby.signal", node->data);
	if (standby)
		write_text(path, "w", "");
	else
		(void) unlink(path);
}

/* ---- processes --------------------------------------------------------------------------------------------------- */

/* The processes of this server: those in its data directory. Returns how many. */
static int
processes(const Node *node, pid_t *pids, int capacity)
{
	char		data[PATH_MAX];
	DIR		   *proc;
	struct dirent *entry;
	int			found = 0;

	if (realpath(node->data, data) == NULL || (proc = opendir("/proc")) == NULL)
		return 0;
	while (found < capacity && (entry = readdir(proc)) != NULL)
	{
		char		link[300];
		char		target[PATH_MAX];
		ssize_t		length;

		if (entry->d_name[0] < '0' || entry->d_name[0] > '9')
			continue;
		snprintf(link, sizeof(link), "/proc/%s/cwd", entry->d_name);
		length = readlink(link, target, sizeof(target) - 1);
		if (length <= 0)
			continue;
		target[length] = '\0';
		if (strcmp(target, data) == 0)
			pids[found++] = (pid_t) atoi(entry->d_name);
	}
	closedir(proc);
	return found;
}

/* Waits until no process of the server is left; kills what is still there after the time. */
static void
wait_all_gone(const Node *node, double seconds)
{
	double		end = seconds_now() + seconds;
	pid_t		pids[256];
	int			n;

	while ((n = processes(node, pids, (int) COUNT_OF(pids))) > 0)
	{
		if (seconds_now() > end)
			for (int i = 0; i < n; i++)
				(void) kill(pids[i], SIGKILL);
		sleep_milliseconds(5);
	}
}

static void
reap(Node *node)
{
	int			status;

	if (node->postmaster > 0)
		while (waitpid(node->postmaster, &status, 0) < 0 && errno == EINTR)
			;
	node->postmaster = 0;
}

/* ---- starting ---------------------------------------------------------------------------------------------------- */

static bool
has_ended(Node *node)
{
	int			status;

	if (node->postmaster <= 0)
		return true;
	if (waitpid(node->postmaster, &status, WNOHANG) != node->postmaster)
		return false;
	node->postmaster = 0;
	return true;
}

static void
forget_old_logs(const Node *node)
{
	char		path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s.%03d.log", options.folder, node->name, node->starts - LOGS_KEPT);
	(void) unlink(path);
}

static void
launch(Node *node)
{
	int			out;

	node->starts++;
	snprintf(node->log, sizeof(node->log), "%s/%s.%03d.log", options.folder, node->name, node->starts);
	node->log_read = 0;
	forget_old_logs(node);
	out = open(node->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (out < 0)
		give_up("%s: %s", node->log, strerror(errno));
	node->postmaster = fork();
	if (node->postmaster == 0)
	{
		const char *postgres = program("postgres");
		int			in = open("/dev/null", O_RDONLY);

		/* it must not outlive this process; its own session, so that a ^C does not reach it first */
		(void) prctl(PR_SET_PDEATHSIG, SIGQUIT);
		(void) setsid();
		dup2(in, 0);
		dup2(out, 1);
		dup2(out, 2);
		execl(postgres, postgres, "-D", node->data, (char *) NULL);
		_exit(127);
	}
	close(out);
	if (node->postmaster < 0)
		give_up("fork: %s", strerror(errno));
}

/*
 * A transaction makes an unlogged table and is rolled back: PostgreSQL leaves the main fork, emptied, until the next
 * checkpoint, and removes the init fork. A crash before the rollback is in the WAL makes recovery create the init fork
 * again, and its end stumble over the main fork. The next start removes both. A base backup can have the same in it.
 */
static bool
ended_by_leftover(const Node *node)
{
	FILE	   *file = fopen(node->log, "r");
	char		line[1024];
	bool		found = false;

	while (file != NULL && !found && fgets(line, sizeof(line), file) != NULL)
		found = strstr(line, " startup ") != NULL && strstr(line, " FATAL: ") != NULL &&
			(strstr(line, "could not create file \"base/") != NULL ||
			 strstr(line, "could not create file \"pg_tblspc/") != NULL) && strstr(line, ": File exists") != NULL;
	if (file != NULL)
		fclose(file);
	return found;
}

bool
node_wait_ready(Node *node, double seconds)
{
	double		end = seconds_now() + seconds;
	int			restarts = 0;
	char		port[16];
	const char *keys[] = {"host", "port", "dbname", NULL};
	const char *values[] = {options.folder, port, "postgres", NULL};

	snprintf(port, sizeof(port), "%d", node->port);
	while (seconds_now() < end)
	{
		if (has_ended(node))
		{
			if (ended_by_leftover(node) && restarts++ < 2)
			{
				count("PostgreSQL met a leftover of an unlogged table");
				launch(node);
				continue;
			}
			fail("server %s ended", node->name);
			node_print_log_end(node, 40);
			return false;
		}
		if (PQpingParams(keys, values, 0) == PQPING_OK)
			return true;
		sleep_milliseconds(10);
	}
	fail("server %s did not come up within %.0f s", node->name, seconds);
	node_print_log_end(node, 40);
	return false;
}

bool
node_start(Node *node)
{
	launch(node);
	return node_wait_ready(node, 90);
}

/* ---- stopping ---------------------------------------------------------------------------------------------------- */

void
node_stop(Node *node, StopMode mode)
{
	char		path[PATH_MAX];
	pid_t		pids[256];

	if (node->postmaster <= 0)
		return;
	switch (mode)
	{
		case STOP_FAST:
			(void) kill(node->postmaster, SIGINT);
			for (double end = seconds_now() + 90; !has_ended(node);)
			{
				if (seconds_now() > end)
				{
					fail("server %s did not stop within 90 s", node->name);
					node_print_log_end(node, 20);
					(void) kill(node->postmaster, SIGQUIT);
					reap(node);
				}
				else
					sleep_milliseconds(10);
			}
			break;
		case STOP_IMMEDIATE:
			(void) kill(node->postmaster, SIGQUIT);
			reap(node);
			break;
		case STOP_KILL_POSTMASTER:
			(void) kill(node->postmaster, SIGKILL);
			reap(node);
			wait_all_gone(node, 15);
			break;
		case STOP_KILL:
			/* the postmaster first, so that it starts nothing new */
			(void) kill(node->postmaster, SIGKILL);
			for (int n; (n = processes(node, pids, (int) COUNT_OF(pids))) > 0; sleep_milliseconds(2))
			{
				for (int i = 0; i < n; i++)
					(void) kill(pids[i], SIGKILL);
				has_ended(node);
			}
			reap(node);
			break;
	}
	wait_all_gone(node, 15);
	node_scan_log(node, mode == STOP_KILL || mode == STOP_KILL_POSTMASTER);
	snprintf(path, sizeof(path), "%s/postmaster.pid", node->data);
	(void) unlink(path);
}

void
node_remove(Node *node)
{
	char		log[PATH_MAX];

	if (node->postmaster > 0)
		node_stop(node, STOP_IMMEDIATE);
	tool_log(log, sizeof(log));
	(void) run_program(log, (const char *const[]) {"/bin/rm", "-rf", node->data, node->arena, NULL});
}

/* ---- the log ----------------------------------------------------------------------------------------------------- */

void
node_print_log_end(const Node *node, int lines)
{
	char		command[PATH_MAX + 64];
	FILE	   *pipe;
	char		line[600];

	snprintf(command, sizeof(command), "tail -n %d '%s' | cut -c 1-500", lines, node->log);
	pipe = popen(command, "r");
	while (pipe != NULL && fgets(line, sizeof(line), pipe) != NULL)
		note("  %s | %s", node->name, line);
	if (pipe != NULL)
		pclose(pipe);
}

/* Is this line one that must never be written? */
static bool
is_alarming(const char *line, bool expect_kill)
{
	const char *signal = strstr(line, "was terminated by signal ");

	if (expect_kill && strstr(line, " PANIC: ") != NULL && strstr(line, "cannot abort transaction") != NULL &&
		strstr(line, "it was already committed") != NULL)
	{
		count("PostgreSQL waited behind a commit when its postmaster died");
		return false;
	}
	if (strstr(line, " PANIC: ") != NULL || strstr(line, "TRAP: ") != NULL)
		return true;
	if (signal != NULL)
		return !(expect_kill && strncmp(signal + strlen("was terminated by signal "), "9:", 2) == 0);
	/* sessions of the test report their own errors; these are the server's helpers */
	if (strstr(line, " ERROR: ") != NULL && (strstr(line, "autovacuum worker") != NULL || strstr(line, "keeper") != NULL))
		return strstr(line, " 57014 ") == NULL && strstr(line, " 55P03 ") == NULL && strstr(line, " 57P01 ") == NULL &&
			strstr(line, " 40P01 ") == NULL;
	if (strstr(line, " FATAL: ") != NULL)
		return strstr(line, " XX0") != NULL;
	return strstr(line, "MemoryContext") != NULL && strstr(line, "WARNING") != NULL;
}

/* What the extension says about opening, counted for the report. */
static void
count_opening(const char *line)
{
	const char *loaded = strstr(line, " ms: ");
	unsigned long long rows;
	unsigned long long replayed;
	unsigned long long fetched;
	unsigned long long rebuilt;

	if (strstr(line, "iqdb: ") == NULL)
		return;
	if (loaded != NULL && sscanf(loaded, " ms: %llu rows loaded from snapshot, %llu changes replayed from log, "
								 "%llu rows fetched by journal, %llu rows rebuilt from table",
								 &rows, &replayed, &fetched, &rebuilt) == 4)
	{
		count(rebuilt > 0 ? "opened from the table" : "opened from files");
		count_many("opening: changes replayed from log", replayed);
		count_many("opening: rows fetched by journal", fetched);
	}
	else if (strstr(line, "of another history") != NULL)
		count("snapshot refused: another history");
	else if (strstr(line, "does not reach back") != NULL)
		count("snapshot refused: journal too short");
	else if (strstr(line, "is damaged") != NULL || strstr(line, "is refused") != NULL)
		count("own file refused");
	else if (strstr(line, "ends torn") != NULL)
		count("log torn");
	else if (strstr(line, "is opened anew") != NULL)
		count("index opened anew");
}

void
node_scan_log(Node *node, bool expect_kill)
{
	FILE	   *file = fopen(node->log, "r");
	char	   *line = NULL;
	size_t		size = 0;
	ssize_t		length;

	if (file == NULL)
		return;
	(void) fseek(file, node->log_read, SEEK_SET);
	while ((length = getline(&line, &size, file)) > 0 && line[length - 1] == '\n')
	{
		node->log_read += length;
		count_opening(line);
		if (is_alarming(line, expect_kill))
			fail("log of %s: %.600s", node->name, line);
	}
	free(line);
	fclose(file);
}
