/*
 * pg_files.h - the own files of an index: snapshots and log segments in iqdb/<database>/ of the data directory.
 *
 * They save time, never rows: whatever is wrong with them, the journal notices, and the table is read instead.
 *
 *     iqdb/<database>/<generation>.<number>.snap    state from which the journal is replayed from entry <number> on
 *     iqdb/<database>/<generation>.<number>.log     changes behind journal entry <number>
 *
 * Both numbers 16 hex digits, generation 32; names are relative and shorter than 100 bytes. The identity part of their
 * headers is (little-endian): system identifier u64, generation 16 bytes, database u32, relation number u32, and in
 * snapshots the two journal positions between which the state was copied: replay from the first; the second must be part
 * of the history, or the state is of another one. Each is number u64, hash u64.
 */
#ifndef IQDB_PG_FILES_H
#define IQDB_PG_FILES_H

#include "pg/pg_arena.h"
#include "pg/pg_row.h"

typedef struct IqdbPgSnapshotInfo
{
	char		path[MAXPGPATH];
	IqdbPgPosition replay_from;
	IqdbPgPosition must_exist;
	uint64		bytes;
	uint64		rows;
	bool		bare;			/* its rows are */
} IqdbPgSnapshotInfo;

/*
 * Writes a snapshot of the arena and starts a new log segment. Needs no database connection. lsn of the journal is
 * flushed first, unless in recovery. Caller holds the index's snapshot lock. On failure the old files are as they were.
 */
extern IqdbStatus iqdb_pg_snapshot_write(IqdbPgArena *arena, IqdbError *error);

/*
 * The same with that lock; if another process has it, waits, or returns IQDB_OK without a snapshot if !wait.
 */
extern IqdbStatus iqdb_pg_snapshot_take(IqdbPgArena *arena, bool wait, IqdbError *error);

/*
 * Lists the snapshots of a generation, newest first, with what their headers say (those that cannot be read are logged
 * and left out). Returns how many; palloc'd.
 */
extern int	iqdb_pg_snapshot_list(Oid database, const IqdbPgGeneration *generation, IqdbPgSnapshotInfo **list_out,
								  bool *damaged_out);

/* The options that the index of a snapshot was built with. */
extern IqdbStatus iqdb_pg_snapshot_options(const IqdbPgSnapshotInfo *info, IqdbIndexOptions *options_out,
										   IqdbError *error);

/*
 * Fills an empty arena, made with these options, from a snapshot file. On failure the arena is unusable. If the file's rows
 * are bare, all of them are only known, and the engine is still empty: iqdb_pg_refill() fetches what they consist of, and
 * then _rest() loads what is left. Neither raises.
 */
extern IqdbStatus iqdb_pg_snapshot_load(IqdbPgArena *arena, const IqdbPgSnapshotInfo *info, bool *bare_out,
										IqdbError *error);
extern IqdbStatus iqdb_pg_snapshot_load_rest(IqdbPgArena *arena, const IqdbPgSnapshotInfo *info, IqdbError *error);

/* Notes what the newest snapshot is like, which was written or loaded. */
extern void iqdb_pg_snapshot_note(IqdbPgArena *arena, uint64 bytes, uint64 rows, bool bare);

/* Notes what the index's snapshots are to be like by the catalogs of this moment: the keeper, who writes them, has none. */
extern void iqdb_pg_snapshot_settle(IqdbPgShared *shared, Relation index);

/* Frame types of the log; their bodies are those of pg_row.h. */
#define IQDB_PG_FRAME_PUT 1		/* with a vector */
#define IQDB_PG_FRAME_KNOWN 2	/* without */
#define IQDB_PG_FRAME_REMOVE 3	/* without */

/*
 * Calls visit for the frames of every log segment of this generation that begins at or behind `from`, in order.
 * Damage ends a segment, and is logged. Only visit's own failure is returned.
 */
extern IqdbStatus iqdb_pg_log_replay(Oid database, const IqdbPgGeneration *generation, uint64 from,
									 IqdbLogVisit visit, void *visit_arg, IqdbError *error);

/* Notes an applied change, which the applied position is just behind. Caller holds IQDB_PG_LOCK_APPLY. */
extern void iqdb_pg_log_note(IqdbPgArena *arena, uint32 type, const IqdbPgRow *row);

/* Begins the first segment at the applied position, when an arena has become ready. Caller holds the open lock. */
extern void iqdb_pg_log_begin(IqdbPgArena *arena);

/*
 * Bytes of log at which a snapshot is due: iqdb.snapshot_wal_size, or less where the index is small. A log as long as the
 * snapshot of a small index costs no less to replay than to write it anew; and the journal is kept for both.
 */
extern uint64 iqdb_pg_log_limit(const IqdbPgShared *shared);

/* Would a snapshot be a matter of milliseconds? */
extern bool iqdb_pg_snapshot_is_small(const IqdbPgShared *shared);

/* Bytes of the log: of the segment's file and of what waits to be written to it. A look without lock. */
extern uint64 iqdb_pg_log_length(const IqdbPgShared *shared);

/* Does so much wait that whoever changes rows should write it out? A look without lock. */
extern bool iqdb_pg_log_is_due(const IqdbPgShared *shared);

/* Writes out what waits, and syncs if asked to. Takes the log lock; wait = false gives up if it is taken. */
extern void iqdb_pg_log_flush(IqdbPgArena *arena, bool sync, bool wait);

/* Removes all own files of these generations of a database, in one look at its folder; sorts them. Never raises. */
extern void iqdb_pg_files_remove(Oid database, IqdbPgGeneration *generations, int count);

/* Has a generation a snapshot, by its name? Never raises. */
extern bool iqdb_pg_has_snapshot(Oid database, const IqdbPgGeneration *generation);

/* Bytes on disk of a generation's own files. */
extern uint64 iqdb_pg_files_size(Oid database, const IqdbPgGeneration *generation);

/* Calls visit for every file in the folder of a database: its path, its generation. Never raises but for visit. */
typedef void (*IqdbPgFileVisit) (const char *path, const IqdbPgGeneration *generation, void *arg);
extern void iqdb_pg_files_visit(Oid database, IqdbPgFileVisit visit, void *arg);

/* The relation number that a snapshot or log was written for; false if its header is damaged or foreign. Never raises. */
extern bool iqdb_pg_files_owner(const char *path, uint32 *relation_number_out);

/* The folder of a database; path has MAXPGPATH bytes. */
extern void iqdb_pg_files_folder(char *path, Oid database);

/* Removes the folder of a database that is gone. Never raises. */
extern void iqdb_pg_files_remove_database(Oid database);

/* Calls visit for each database that has a folder. */
extern void iqdb_pg_files_visit_databases(void (*visit) (Oid database, void *arg), void *arg);

#endif
