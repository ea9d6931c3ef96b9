/*
 * pg_lock.h - the heavyweight locks of one index: interruptible, seen by the deadlock detector, legal on a standby, and
 * usable without a database connection.
 *
 *   OPEN      held while an arena is made, recovered, rebuilt, or brought up with the journal
 *   SNAPSHOT  held while a snapshot is written
 *   LOG       held while the log buffer is written to its file
 *
 * Order: OPEN > SNAPSHOT > LOG > buffer content locks. Tags are of the server's user lock type, keyed by database,
 * relation number and kind. (Page locks would do as well, but the server forbids to take other heavyweight locks while
 * one is held, and a detoast does.)
 */
#ifndef IQDB_PG_LOCK_H
#define IQDB_PG_LOCK_H

#include "storage/lock.h"

typedef enum IqdbPgLockKind
{
	IQDB_PG_LOCK_OPEN = 1,
	IQDB_PG_LOCK_SNAPSHOT = 2,
	IQDB_PG_LOCK_LOG = 3
} IqdbPgLockKind;

static inline void
iqdb_pg_lock_tag(LOCKTAG *tag, Oid database, uint32 relation_number, IqdbPgLockKind kind)
{
	tag->locktag_field1 = database;
	tag->locktag_field2 = relation_number;
	tag->locktag_field3 = 0x62647169;
	tag->locktag_field4 = (uint16) kind;
	tag->locktag_type = LOCKTAG_USERLOCK;
	tag->locktag_lockmethodid = DEFAULT_LOCKMETHOD;
}

/* false only if !wait and somebody else has it. */
static inline bool
iqdb_pg_lock(Oid database, uint32 relation_number, IqdbPgLockKind kind, bool wait)
{
	LOCKTAG		tag;

	iqdb_pg_lock_tag(&tag, database, relation_number, kind);
	return LockAcquire(&tag, ExclusiveLock, false, !wait) != LOCKACQUIRE_NOT_AVAIL;
}

static inline void
iqdb_pg_unlock(Oid database, uint32 relation_number, IqdbPgLockKind kind)
{
	LOCKTAG		tag;

	iqdb_pg_lock_tag(&tag, database, relation_number, kind);
	LockRelease(&tag, ExclusiveLock, false);
}

#endif
