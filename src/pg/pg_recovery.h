/*
 * pg_recovery.h - workers that recover indexes: for statements that cannot take the time.
 *
 * A worker is connected to the index's database, recovers this one index as iqdb_prewarm would, and ends. What it cannot do,
 * its error in the server's log says why, and nobody asks for the same index again for a while. Whether one was asked
 * for stands in the registry, so an index has one worker however many statements miss it. A worker is a process of the
 * database, and has the weakest lock on table and index while it reads the table: what needs the strongest one waits that long.
 */
#ifndef IQDB_PG_RECOVERY_H
#define IQDB_PG_RECOVERY_H

#include "utils/rel.h"

/*
 * Asks for a worker for this index, unless there is one. false if there will be none: the server has no process to spare, the
 * last one failed a moment ago, or iqdb.background_worker is off. Never raises.
 */
extern bool iqdb_pg_recovery_ask(Relation index);

/* Is there one? */
extern bool iqdb_pg_recovery_asked(Relation index);

extern PGDLLEXPORT void iqdb_recovery_main(Datum arg);

#endif
