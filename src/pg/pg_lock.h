/*
 * pg_lock.h - the heavyweight locks of one index: interruptible, seen by the deadlock detector, legal on a standby, and
 * usable without a database connection.
 *
 *   OPEN      held while an arena is made, recovered, rebuilt, or brought up with the journal
 *   SNAPSHOT  held while a snapshot is written
 *   LOG       held while what waits is written to the log's file
 *
 * Order: OPEN > SNAPSHOT > LOG > buffer content locks. Tags are of the server's user lock type, keyed by database,
 * relation number and kind. (Page locks would do as well, but the server forbids to take other heavyweight locks while
 * one is held, and a detoast does.)
 *
 * The server does not keep the processes of one parallel query apart by such locks. All that they may do to an index is
 * to open it; so OPEN has a gate behind its lock, for them alone. The other kinds are not for parallel queries.
 */
#ifndef IQDB_PG_LOCK_H
#define IQDB_PG_LOCK_H

typedef enum IqdbPgLockKind
{
	IQDB_PG_LOCK_OPEN = 1,
	IQDB_PG_LOCK_SNAPSHOT = 2,
	IQDB_PG_LOCK_LOG = 3
} IqdbPgLockKind;

/* false only if !wait and somebody else has it. */
extern bool iqdb_pg_lock(Oid database, uint32 relation_number, IqdbPgLockKind kind, bool wait);
/* Does anybody hold the lock, or wait for it? A look that takes nothing. */
extern bool iqdb_pg_is_locked(Oid database, uint32 relation_number, IqdbPgLockKind kind);

extern void iqdb_pg_unlock(Oid database, uint32 relation_number, IqdbPgLockKind kind);

/* After an error: gives up the gates taken at this nesting level of transactions or deeper. The server does the locks. */
extern void iqdb_pg_lock_forget(int level);

#endif
