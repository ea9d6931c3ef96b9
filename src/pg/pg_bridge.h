/*
 * pg_bridge.h - the server's services in the form the core wants them, and core failures in the server's form.
 *
 * The core calls back into the server for four things only: memory (a memory context, NULL instead of an error),
 * locks (LWLocks that live in the arena), cancel (reads a flag), and files (core/base/io_posix). None of them can jump.
 */
#ifndef IQDB_PG_BRIDGE_H
#define IQDB_PG_BRIDGE_H

#include "core/db/iqdb.h"
#include "utils/memutils.h"
#include "utils/rel.h"

/* A host that allocates from context; everything else is the same for every host in a backend. */
extern IqdbHost iqdb_pg_host(MemoryContext context);

/* Makes the host's cancel tell of every interrupt, for calls that are repeated after CHECK_FOR_INTERRUPTS. */
extern void iqdb_pg_host_yielding(IqdbHost *host);

/* Raises status as an ERROR with its SQLSTATE, message, detail and hint. index may be NULL. Does not return. */
_Noreturn extern void iqdb_pg_raise(IqdbStatus status, const IqdbError *error, Relation index);

/* Raises unless status is IQDB_OK. Call it only with no own lock held. */
#define iqdb_pg_check(status, error, index) \
	do \
	{ \
		IqdbStatus iqdb_pg_status = (status); \
		if (unlikely(iqdb_pg_status != IQDB_OK)) \
			iqdb_pg_raise(iqdb_pg_status, (error), (index)); \
	} while (0)

/* One sentence: the core's message, the file concerned and the system's reason where there are such. palloc'd. */
extern const char *iqdb_pg_error_text(const IqdbError *error);

/* What helps against it, with the setting that is in the way; NULL: nothing that we know. */
extern const char *iqdb_pg_hint(const IqdbError *error);

/* Want of room: memory limit, full disk, no memory. Such a failure leaves an index behind, and loses nothing. */
static inline bool
iqdb_pg_is_want_of_room(IqdbStatus status)
{
	return status == IQDB_ERR_LIMIT || status == IQDB_ERR_NO_SPACE || status == IQDB_ERR_NOMEM;
}

/* SQLSTATE of a core status. */
extern int iqdb_pg_sqlstate(IqdbStatus status);

#endif
