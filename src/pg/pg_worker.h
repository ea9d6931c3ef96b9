/*
 * pg_worker.h - the keeper: one background process of the cluster that does for open indexes what has to happen in time.
 *
 * It flushes own logs at the set interval, links rows that a recovery left to it, writes a snapshot where the log has
 * outgrown its setting, frees what no index has (pg_sweep.h), and takes the arena files away when the server stops. It is
 * connected to no database, so it is in nobody's way; where own files may be left over, it starts a sweeper, which is
 * connected to their database for some milliseconds. Nothing depends on it: where the server has no process to spare, the
 * statements that change rows, and VACUUM, do the same work.
 */
#ifndef IQDB_PG_WORKER_H
#define IQDB_PG_WORKER_H

/*
 * An index was opened or changed: starts the keeper unless it runs, or was tried a moment ago. Never raises for want of a
 * slot.
 */
extern void iqdb_pg_worker_wanted(void);

/* Is it running? */
extern bool iqdb_pg_worker_runs(void);

/*
 * Asks the server for a process of ours that runs this function; false if it has none to spare. connects: to a database, as
 * the function says.
 */
extern bool iqdb_pg_start_process(const char *name, const char *function, Datum arg, bool connects);

extern PGDLLEXPORT void iqdb_keeper_main(Datum arg);
extern PGDLLEXPORT void iqdb_sweeper_main(Datum arg);

/* Something is to be done that should not wait for the keeper's next round. */
extern void iqdb_pg_worker_wake(void);

#endif
