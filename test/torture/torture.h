/*
 * torture.h - a differential test of whole servers under random load and random accidents. See README.md.
 *
 * One process: a few worker threads send random SQL, checker threads compare index scans with sequential scans all the
 * time, and the main thread makes things happen to the servers. The files:
 *
 *   torture.c   options, rounds, the report            tables.c    what tables and indexes there are
 *   node.c      servers: make, start, stop, kill        load.c      workers: random transactions
 *   session.c   connections, which errors are normal   compare.c   the oracle
 *   events.c    accidents                              damage.c    harm to own files and arenas
 *   tool.c      random numbers, failures, counters
 */
#ifndef IQDB_TORTURE_H
#define IQDB_TORTURE_H

#include <libpq-fe.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PRINTF_LIKE(text, first) __attribute__((format(printf, text, first)))
#define SQL_MAX 4096
#define WORKERS_MAX 16
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* ---- tool.c ------------------------------------------------------------------------------------------------------ */

typedef struct Random
{
	uint64_t state;
} Random;

extern uint64_t random_next(Random *random);
extern uint32_t random_below(Random *random, uint32_t bound);	/* bound > 0 */
extern uint32_t random_between(Random *random, uint32_t low, uint32_t high);
extern bool random_chance(Random *random, uint32_t percent);

extern double seconds_now(void);
extern void sleep_milliseconds(uint32_t milliseconds);

/* Says something as a TAP comment; one call is one piece, whatever other threads do. */
extern void note(const char *format, ...) PRINTF_LIKE(1, 2);

/* Something is wrong with the thing under test: printed, kept for the report, and the run ends. */
extern void fail(const char *format, ...) PRINTF_LIKE(1, 2);
extern bool has_failed(void);

/* The test itself cannot go on (no disk, no program). Does not return. */
extern void give_up(const char *format, ...) PRINTF_LIKE(1, 2) __attribute__((noreturn));

/* Counts one more of a thing; names are compared by text, and printed in order of first use. */
extern void count(const char *name);
extern void count_many(const char *name, uint64_t times);
extern void print_counts(void);

/* Runs a program, its output appended to a file; its exit code, or -1. args end with NULL. */
extern int run_program(const char *output, const char *const *args);

/* ---- settings of the run ----------------------------------------------------------------------------------------- */

typedef struct Options
{
	const char *method;			/* access method */
	const char *bin;			/* folder of the server's programs */
	const char *folder;			/* everything is made here */
	const char *arena_parent;	/* folders for arenas are made here */
	uint64_t	seed;
	double		seconds;
	int			workers;
	bool		standby;
	const char *events;			/* only these, by name, separated by commas; NULL = all */
} Options;

extern Options options;

/* Exact methods must answer as a sequential scan does; for the others the nearest may be missed now and then. */
extern bool method_is_exact(void);

/* ---- node.c ------------------------------------------------------------------------------------------------------ */

typedef struct Node
{
	char		name[32];
	char		data[512];
	char		arena[512];
	char		log[512];
	int			port;
	pid_t		postmaster;		/* 0 = not running */
	bool		is_standby;
	long		log_read;		/* how far the log has been looked through */
	int			starts;
} Node;

extern void node_init(Node *node, const char *name, Random *random);
extern void node_from_backup(Node *node, const char *name, const Node *source, bool standby);
extern void node_settings(Node *node, Random *random);

/* Starts it and waits until it accepts connections (consistent, for a standby). false after fail(). */
extern bool node_start(Node *node);

/*
 * Waits for that. A server that meets PostgreSQL's own trouble with a leftover of an unlogged table is started again, and
 * counted; see node.c.
 */
extern bool node_wait_ready(Node *node, double seconds);

typedef enum StopMode
{
	STOP_FAST,
	STOP_IMMEDIATE,
	STOP_KILL,					/* every process at once */
	STOP_KILL_POSTMASTER		/* the postmaster alone; the others notice */
} StopMode;

extern void node_stop(Node *node, StopMode mode);
extern void node_remove(Node *node);

/* Looks through what is new in the log for what must not be there. expect_kill: a process was killed on purpose. */
extern void node_scan_log(Node *node, bool expect_kill);
extern void node_print_log_end(const Node *node, int lines);

/* ---- session.c --------------------------------------------------------------------------------------------------- */

typedef enum Outcome
{
	DONE,
	REFUSED,					/* an error that may happen */
	LOST						/* no connection any more */
} Outcome;

typedef struct Session
{
	PGconn	   *connection;
	const char *name;
	char		sqlstate[6];
	char		message[512];
	int			backend;
	atomic_llong busy_since;	/* milliseconds, 0 = idle */
	PGresult   *result;			/* of the last statement, valid until the next */
} Session;

extern Outcome session_open(Session *session, const Node *node, const char *name);
extern void session_close(Session *session);
extern Outcome session_run(Session *session, const char *format, ...) PRINTF_LIKE(2, 3);
extern Outcome session_copy(Session *session, const char *statement, const char *const *lines, int count);
extern bool session_in_transaction(const Session *session);

/* One value of a query that must work, or "". For the main thread. */
extern bool ask(const Node *node, char *answer, size_t size, const char *format, ...) PRINTF_LIKE(4, 5);

/* ---- tables.c ---------------------------------------------------------------------------------------------------- */

/* How values of a column are written. */
typedef enum Form
{
	FORM_VECTOR,				/* "[1,2,3]" */
	FORM_ARRAY,					/* "{1,2,3}" */
	FORM_BITS					/* "011" */
} Form;

typedef struct Table
{
	const char *name;
	const char *type;			/* of what its indexes hold */
	const char *column;			/* its definition */
	const char *value;			/* SQL for a new value */
	const char *literal;		/* the same, as text for COPY, made by the program: "dimension steps nulls form" */
	uint32_t	dimension;
	uint32_t	steps;
	uint32_t	nulls;			/* percent */
	Form		form;
	uint32_t	rows;			/* about as many as there should be at most */
} Table;

typedef struct Index
{
	const char *name;
	const Table *table;
	const char *expression;
	const char *opclass;
	const char *op;
	const char *predicate;		/* or NULL */
	const char *number;			/* columns behind the vector, or NULL each: a number, ... */
	const char *text;
	const char *labels;			/* ... an array */
} Index;

extern const Table tables[];
extern const int table_count;
extern const Index indexes[];
extern const int index_count;


/* false if the server has no such access method. */
extern bool tables_create(const Node *node, Random *random);

/* A statement that makes it, with options at random. */
extern void index_definition(const Index *index, const char *verb, Random *random, char *sql, size_t size);

/* A vector as text, as the table's values are; may be NULL's text in COPY format. */
extern void random_value(const Table *table, Random *random, char *text, size_t size);
extern void random_query(const Table *table, Random *random, char *text, size_t size);

/* " AND ..." on columns of the index, or "". */
extern void random_condition(const Index *index, Random *random, char *text, size_t size);

/* ---- compare.c --------------------------------------------------------------------------------------------------- */

typedef enum Verdict
{
	SAME,
	NOT_COMPARED,				/* the index was not used, or an error came in between */
	DIFFERENT					/* fail() has been called */
} Verdict;

/*
 * Compares the whole stream, and the nearest ten, of an index with a sequential scan, in one snapshot. own_transaction:
 * inside the caller's REPEATABLE READ transaction, else in one of its own. where: for the report.
 */
extern Verdict compare_index(Session *session, const Index *index, Random *random, bool own_transaction,
							 const char *where);

/* The same through a cursor that stays open for a while, in the caller's transaction. */
extern Verdict compare_cursor(Session *session, const Index *index, Random *random, const char *where);

/* Everything, with nobody writing: each index must be usable, sound and right. */
extern void check_node(const Node *node, Random *random, const char *where);

/* Recall of the nearest ten so far; -1 when there is none. */
extern double recall_so_far(uint64_t *wanted_out);

/* ---- load.c ------------------------------------------------------------------------------------------------------ */

extern void load_start(Random *random);
extern void load_stop(void);

/* Workers hold still between two statements, connections and transactions stay open. */
extern void load_pause(void);
extern void load_resume(void);

/* Which server the workers talk to. They connect anew. Only while they are paused. */
extern void load_target(const Node *node);

/* Process number of some worker's backend, 0 = none is connected. */
extern int load_some_backend(Random *random);

/* Says so, and fails, when a statement has taken too long; with the stacks of the processes. */
extern void load_watch(void);

/* Starts and stops the thread that compares on a node all the time. */
typedef struct Checker Checker;
extern Checker *checker_start(const Node *node, Random *random);
extern void checker_stop(Checker *checker);

/* ---- damage.c ---------------------------------------------------------------------------------------------------- */

/* Does something to own files of a server that is down; says what. */
extern void damage_files(const Node *node, Random *random);

/* Makes all own files readable again: a base backup would fail. */
extern void damage_mend(const Node *node);

/* Keeps a copy of some own file, to be put back at another time. */
extern void damage_remember(const Node *node, Random *random);

/* Takes own files of one server to another one. */
extern void damage_mix(const Node *from, const Node *to, Random *random);

/* Unlinks arena files of a running server. */
extern void damage_arenas(const Node *node, Random *random);

/* ---- events.c ---------------------------------------------------------------------------------------------------- */

typedef struct Cluster
{
	Node	   *primary;
	Node	   *standby;		/* or NULL */
	Node		nodes[1024];
	int			made;
	Checker    *primary_checker;
	Checker    *standby_checker;
	Random		random;
} Cluster;

extern void cluster_start(Cluster *cluster);
extern void cluster_stop(Cluster *cluster);

/* Makes one random thing happen under load; returns its name. Afterwards all servers run. */
extern const char *event_happen(Cluster *cluster);

#endif
