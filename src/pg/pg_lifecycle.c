/*
 * pg_lifecycle.c - see pg_lifecycle.h.
 *
 * Every generation is born in an ambuild and goes with its fork. The server keeps a list of the forks that a commit or an
 * abort will remove; in the transaction callbacks, when the outcome is certain and the list still there, the arenas and
 * own files of ours among them go first. A fork that was copied (SET TABLESPACE) shares its generation with the copy: own
 * files stay then. Nothing here may raise: behind a commit an error would stop the server.
 */
#include "postgres.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/storage.h"
#include "commands/defrem.h"
#include "common/relpath.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/bufpage.h"
#include "storage/fd.h"
#include "storage/lmgr.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "pg/pg_compat.h"
#include "pg/pg_fail.h"
#include "pg/pg_files.h"
#include "pg/pg_lifecycle.h"
#include "pg/pg_lock.h"
#include "pg/pg_open.h"
#include "pg/pg_registry.h"
#include "pg/pg_settings.h"

#define SWEEP_AGE 3600.0

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

static bool
same_generation(const IqdbPgGeneration *a, const IqdbPgGeneration *b)
{
	return a->high == b->high && a->low == b->low;
}

/* Does one of the forks that stay have this generation? */
static bool
copied(const IqdbPgGeneration *generation, IqdbPgRelFile *staying, int count)
{
	for (int i = 0; i < count; i++)
	{
		IqdbPgGeneration other;

		if (generation_on_disk(staying[i], &other) && same_generation(generation, &other))
			return true;
	}
	return false;
}

/* ---- the end of a transaction ------------------------------------------------------------------------------------ */

static void
remove_pending(bool commit)
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
	for (int i = 0; i < going_count; i++)
		if ((drops[i].found || generation_on_disk(going[i], &drops[i].generation)) &&
			!copied(&drops[i].generation, staying, staying_count))
			iqdb_pg_files_remove(drops[i].database, &drops[i].generation);
	IQDB_PG_FAIL_POINT_QUIET("drop-end");
	pfree(drops);
	pfree(going);
	if (staying != NULL)
		pfree(staying);
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
	remove_pending(false);
	iqdb_pg_lock_forget(GetCurrentTransactionNestLevel());
}

void
iqdb_pg_install_callbacks(void)
{
	RegisterXactCallback(transaction_event, NULL);
	RegisterSubXactCallback(subtransaction_event, NULL);
}

/* ---- the sweep --------------------------------------------------------------------------------------------------- */

/* An index of this database: its generation, and the number of its fork's file. */
typedef struct UsedIndex
{
	IqdbPgGeneration generation;
	uint32		relation_number;
} UsedIndex;

typedef struct SweepState
{
	UsedIndex  *used;
	int			count;
	int			allocated;
	int			removed;
} SweepState;

/*
 * All indexes of this database that are visible to us. false if one cannot be looked at now, or is damaged: nobody can
 * tell then what belongs to it. Never waits for a lock: VACUUM of one table has nothing to do with DDL on another.
 */
static bool
collect_used(SweepState *state)
{
	bool		complete = true;
	Oid			methods[3] = {get_index_am_oid("iqdb_flat", true), get_index_am_oid("iqdb_hnsw", true),
	get_index_am_oid("iqdb_ivf", true)};
	Relation	classes = table_open(RelationRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(classes, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;

	while (complete && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_class form = (Form_pg_class) GETSTRUCT(tuple);
		Relation	index;
		IqdbPgMeta	meta;

		if (form->relkind != RELKIND_INDEX || !OidIsValid(form->relam) ||
			(form->relam != methods[0] && form->relam != methods[1] && form->relam != methods[2]) ||
			form->relpersistence == RELPERSISTENCE_TEMP)
			continue;
		if (!ConditionalLockRelationOid(form->oid, AccessShareLock))
		{
			complete = false;
			break;
		}
		index = try_relation_open(form->oid, NoLock);
		if (index == NULL)
		{
			UnlockRelationOid(form->oid, AccessShareLock);
			continue;
		}
		/* what was never built, because its creation failed, has nothing */
		if (RelationGetNumberOfBlocks(index) > 1)
		{
			complete = iqdb_pg_journal_try_meta(index, &meta);
			if (state->count == state->allocated)
			{
				state->allocated *= 2;
				state->used = repalloc(state->used, state->allocated * sizeof(UsedIndex));
			}
			state->used[state->count].generation = meta.generation;
			state->used[state->count].relation_number = iqdb_pg_file_number(iqdb_pg_rel_file(index));
			state->count++;
		}
		relation_close(index, AccessShareLock);
	}
	systable_endscan(scan);
	table_close(classes, AccessShareLock);
	return complete;
}

static void
note_file(const char *path, const IqdbPgGeneration *generation, double age, void *arg)
{
	if (age > SWEEP_AGE)
		*(bool *) arg = true;
}

static void
sweep_file(const char *path, const IqdbPgGeneration *generation, double age, void *arg)
{
	SweepState *state = arg;

	if (age <= SWEEP_AGE)
		return;
	for (int i = 0; i < state->count; i++)
		if (same_generation(generation, &state->used[i].generation))
			return;
	if (unlink(path) == 0)
		state->removed++;
}

/* Has the database been dropped? Its folder may be in a tablespace, so the catalogue has the last word. */
static bool
database_gone(Oid database)
{
	return !SearchSysCacheExists1(DATABASEOID, ObjectIdGetDatum(database));
}

static void
sweep_database(Oid database, void *arg)
{
	if (!database_gone(database))
		return;
	iqdb_pg_files_remove_database(database);
	((SweepState *) arg)->removed++;
}

typedef struct ArenaList
{
	struct
	{
		Oid			database;
		uint32		relation_number;
		double		age;
	}			items[64];
	int			count;
} ArenaList;

static void
list_arena(const char *path, Oid database, uint32 relation_number, const IqdbPgGeneration *generation, void *arg)
{
	ArenaList  *list = arg;
	struct stat st;

	if (list->count == lengthof(list->items) || stat(path, &st) != 0)
		return;
	list->items[list->count].database = database;
	list->items[list->count].relation_number = relation_number;
	list->items[list->count].age = difftime(time(NULL), st.st_mtime);
	list->count++;
}

/* Memory of indexes that are gone without a callback of ours; a live arena that is removed is only made again. */
static void
sweep_arenas(SweepState *state)
{
	ArenaList	list = {.count = 0};

	iqdb_pg_arena_visit(list_arena, &list);
	for (int i = 0; i < list.count; i++)
	{
		bool		used = list.items[i].database != MyDatabaseId || list.items[i].age <= SWEEP_AGE;
		IqdbPgGeneration generation;

		for (int k = 0; k < state->count && !used; k++)
			used = state->used[k].relation_number == list.items[i].relation_number;
		if (used && !database_gone(list.items[i].database))
			continue;
		/* a build that takes this long holds the lock, and is visible to nobody */
		if (!iqdb_pg_lock(list.items[i].database, list.items[i].relation_number, IQDB_PG_LOCK_OPEN, false))
			continue;
		/* an index that another transaction made, and has not committed for so long, may be in use */
		if (iqdb_pg_arena_drop_relation(list.items[i].database, list.items[i].relation_number,
										database_gone(list.items[i].database), &generation))
			state->removed++;
		iqdb_pg_unlock(list.items[i].database, list.items[i].relation_number, IQDB_PG_LOCK_OPEN);
	}
}

int
iqdb_pg_sweep(void)
{
	SweepState	state = {palloc(32 * sizeof(UsedIndex)), 0, 32, 0};
	bool		old_files = false;
	ArenaList	arenas = {.count = 0};

	iqdb_pg_files_visit_databases(sweep_database, &state);
	iqdb_pg_files_visit(MyDatabaseId, note_file, &old_files);
	iqdb_pg_arena_visit(list_arena, &arenas);
	for (int i = 0; i < arenas.count; i++)
		old_files |= arenas.items[i].age > SWEEP_AGE || database_gone(arenas.items[i].database);
	if (old_files && collect_used(&state))
	{
		iqdb_pg_files_visit(MyDatabaseId, sweep_file, &state);
		sweep_arenas(&state);
	}
	if (state.removed > 0)
		ereport(LOG, (errmsg("iqdb: removed %d files and folders that no index has", state.removed)));
	pfree(state.used);
	return state.removed;
}
