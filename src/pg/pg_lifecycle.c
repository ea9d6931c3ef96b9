/*
 * pg_lifecycle.c - see pg_lifecycle.h.
 *
 * Every generation is born in an ambuild and goes with its fork. The server keeps a list of the forks that a commit or an
 * abort will remove; in the transaction callbacks, when the outcome is certain and the list still there, the arenas and
 * own files of ours among them go first. A fork that was copied (SET TABLESPACE) shares its generation with the copy: own
 * files stay then. Nothing here may raise: behind a commit an error would stop the server.
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "access/xact.h"
#include "catalog/storage.h"
#include "miscadmin.h"
#include "storage/bufpage.h"
#include "storage/lwlock.h"

#include "pg/pg_compat.h"
#include "pg/pg_fail.h"
#include "pg/pg_files.h"
#include "pg/pg_lifecycle.h"
#include "pg/pg_lock.h"
#include "pg/pg_settings.h"
#include "pg/pg_write.h"

/* ---- generations of forks on disk -------------------------------------------------------------------------------- */

/* Reads the generation out of a fork's file, if it is one of our indexes. Plain system calls: must not raise. */
static bool
generation_on_disk(IqdbPgRelFile file, IqdbPgGeneration *generation)
{
	char		path[MAXPGPATH];
	char		block[SizeOfPageHeaderData + sizeof(IqdbPgMeta)];
	int			fd;
	bool		ok = false;
	IqdbPgMeta	meta;

	iqdb_pg_fork_path(file, -1 /* no temporary one */, MAIN_FORKNUM, path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	if (read(fd, block, sizeof(block)) == (ssize_t) sizeof(block))
	{
		memcpy(&meta, block + MAXALIGN(SizeOfPageHeaderData), sizeof(meta));
		ok = iqdb_pg_journal_is_meta(&meta);
		*generation = meta.generation;
	}
	close(fd);
	return ok;
}

/* Does one of the forks that stay have this generation? */
static bool
copied(const IqdbPgGeneration *generation, IqdbPgRelFile *staying, int count)
{
	for (int i = 0; i < count; i++)
	{
		IqdbPgGeneration other;

		if (generation_on_disk(staying[i], &other) && iqdb_pg_same_generation(generation, &other))
			return true;
	}
	return false;
}

/* ---- the end of a transaction ------------------------------------------------------------------------------------ */

/* Has this database a folder of own files? If not, no index of it has any, open or not. */
static bool
has_folder(Oid database)
{
	char		path[MAXPGPATH];

	iqdb_pg_files_folder(path, database);
	return access(path, F_OK) == 0;
}

/* Removes the own files of all forks that go, but of those that a fork that stays was copied from. */
static void
remove_files(const IqdbPgRelFile *going, IqdbPgArenaDrop *drops, int going_count, IqdbPgRelFile *staying,
			 int staying_count)
{
	bool		folder = has_folder(MyDatabaseId);
	IqdbPgGeneration *gone = palloc(going_count * sizeof(IqdbPgGeneration));
	int			gone_count = 0;
	Oid			database = MyDatabaseId;

	for (int i = 0; i < going_count; i++)
	{
		if ((!drops[i].found && !(folder && generation_on_disk(going[i], &drops[i].generation))) ||
			copied(&drops[i].generation, staying, staying_count))
			continue;
		/* as good as never: a transaction drops forks of its own database */
		if (drops[i].database != database)
		{
			iqdb_pg_files_remove(database, gone, gone_count);
			gone_count = 0;
			database = drops[i].database;
		}
		gone[gone_count++] = drops[i].generation;
	}
	iqdb_pg_files_remove(database, gone, gone_count);
	pfree(gone);
}

static void
remove_forks(bool commit)
{
	IqdbPgRelFile *going = NULL;
	IqdbPgRelFile *staying = NULL;
	IqdbPgArenaDrop *drops;
	int			going_count = smgrGetPendingDeletes(commit, &going);
	int			staying_count;

	if (going_count == 0)
		return;
	IQDB_PG_FAIL_POINT_QUIET("drop-begin");
	staying_count = smgrGetPendingDeletes(!commit, &staying);
	drops = palloc0(going_count * sizeof(IqdbPgArenaDrop));
	for (int i = 0; i < going_count; i++)
	{
		drops[i].database = iqdb_pg_file_database(going[i]);
		drops[i].relation_number = iqdb_pg_file_number(going[i]);
	}
	iqdb_pg_arena_drop(drops, going_count, true);
	IQDB_PG_FAIL_POINT_QUIET("drop-arena-gone");
	/* an arena of a copied fork is named by the copy's relation number, so only own files are in question */
	remove_files(going, drops, going_count, staying, staying_count);
	IQDB_PG_FAIL_POINT_QUIET("drop-end");
	pfree(drops);
	pfree(going);
	if (staying != NULL)
		pfree(staying);
}

/*
 * Removes arenas and own files of the forks that go now. Only here is their list complete (tables made with ON COMMIT DROP
 * join it behind the last callback that may raise), and the server allocates it: so an error, which can only be one of
 * memory, is swallowed. What stays then is left to the sweep.
 */
static void
remove_pending(bool commit)
{
	MemoryContext saved = CurrentMemoryContext;

	PG_TRY();
	{
		remove_forks(commit);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(saved);
		FlushErrorState();
		LWLockReleaseAll();
	}
	PG_END_TRY();
}

static void
transaction_event(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			if (iqdb_fsync == IQDB_FSYNC_ALWAYS)
				iqdb_pg_arena_flush_logs(true);
			break;
		case XACT_EVENT_COMMIT:
			remove_pending(true);
			iqdb_pg_arena_end_of_transaction();
			break;
		case XACT_EVENT_ABORT:
			iqdb_pg_write_forget();
			remove_pending(false);
			iqdb_pg_arena_end_of_transaction();
			iqdb_pg_lock_forget(0);
			break;
		case XACT_EVENT_PARALLEL_ABORT:
			iqdb_pg_arena_end_of_transaction();
			iqdb_pg_lock_forget(0);
			break;
		default:
			break;
	}
}

static void
subtransaction_event(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	if (event != SUBXACT_EVENT_ABORT_SUB)
		return;
	iqdb_pg_write_forget();
	remove_pending(false);
	iqdb_pg_lock_forget(GetCurrentTransactionNestLevel());
}

void
iqdb_pg_install_callbacks(void)
{
	RegisterXactCallback(transaction_event, NULL);
	RegisterSubXactCallback(subtransaction_event, NULL);
}
