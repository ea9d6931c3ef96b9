/*
 * pg_sweep.c - see pg_sweep.h for what may be removed when, and why that is certain.
 */
#include "postgres.h"

#include <dirent.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_tablespace_d.h"
#include "commands/defrem.h"
#include "common/relpath.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "pg/pg_arena.h"
#include "pg/pg_compat.h"
#include "pg/pg_files.h"
#include "pg/pg_lifecycle.h"
#include "pg/pg_lock.h"
#include "pg/pg_sweep.h"

/* A file that is not known to be in use, nor to be left over: so many seconds old it goes, if no index is seen to have it. */
#define SWEEP_AGE 3600.0

/* Microseconds between the keeper's sweeps of memory, and those of files. */
#define KEEP_INTERVAL INT64CONST(2000000)
#define KEEP_FILES_INTERVAL INT64CONST(3600000000)
#define KEEP_FILES_FIRST INT64CONST(60000000)

/* ---- what the disk says ------------------------------------------------------------------------------------------- */

typedef bool (*PlaceVisit) (const char *folder, void *arg);

/* Calls visit for the folder of a database in each tablespace, whether or not it exists, until it returns true; did it? */
static bool
visit_places(Oid database, PlaceVisit visit, void *arg)
{
	char		folder[MAXPGPATH];
	DIR		   *dir;
	struct dirent *de;
	bool		found;

	snprintf(folder, sizeof(folder), "base/%u", database);
	found = visit(folder, arg);
	if (found || (dir = opendir("pg_tblspc")) == NULL)
		return found;
	while (!found && (de = readdir(dir)) != NULL)
	{
		if (de->d_name[0] == '.')
			continue;
		snprintf(folder, sizeof(folder), "pg_tblspc/%s/" TABLESPACE_VERSION_DIRECTORY "/%u", de->d_name, database);
		found = visit(folder, arg);
	}
	closedir(dir);
	return found;
}

/* What cannot be looked at is there. */
static bool
is_there(const char *folder, void *arg)
{
	struct stat st;

	return stat(folder, &st) == 0 || (errno != ENOENT && errno != ENOTDIR);
}

static bool
database_gone(Oid database)
{
	return !visit_places(database, is_there, NULL);
}

/* The server cuts a fork that goes to nothing at once, and takes its name away later. */
static bool
has_fork(const char *folder, void *arg)
{
	char		path[MAXPGPATH * 2];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%u", folder, *(uint32 *) arg);
	if (stat(path, &st) != 0)
		return errno != ENOENT && errno != ENOTDIR;
	return st.st_size > 0;
}

static bool
fork_gone(Oid database, uint32 relation_number)
{
	return !visit_places(database, has_fork, &relation_number);
}

/* ---- databases ----------------------------------------------------------------------------------------------------- */

static void
sweep_database(Oid database, void *arg)
{
	if (!database_gone(database))
		return;
	iqdb_pg_files_remove_database(database);
	(*(int *) arg)++;
}

/* ---- memory -------------------------------------------------------------------------------------------------------- */

typedef struct Orphan
{
	Oid			database;
	uint32		relation_number;
} Orphan;

typedef struct OrphanList
{
	Orphan	   *items;
	int			count;
	int			allocated;
} OrphanList;

static void
list_orphan(const char *path, Oid database, uint32 relation_number, const IqdbPgGeneration *generation, void *arg)
{
	OrphanList *list = arg;

	if (!fork_gone(database, relation_number))
		return;
	if (list->count == list->allocated)
	{
		list->allocated = Max(list->allocated * 2, 16);
		list->items = list->items == NULL ? palloc(list->allocated * sizeof(Orphan)) :
			repalloc(list->items, list->allocated * sizeof(Orphan));
	}
	list->items[list->count].database = database;
	list->items[list->count].relation_number = relation_number;
	list->count++;
}

/*
 * Memory of indexes that are gone. A table that its own transaction truncates has an empty fork for a moment, too: until the
 * build that follows has the open lock, and there is nothing then that it would keep.
 */
static OrphanList
sweep_arenas(void)
{
	OrphanList	list = {NULL, 0, 0};
	int			removed = 0;

	iqdb_pg_arena_visit(list_orphan, &list);
	for (int i = 0; i < list.count; i++)
	{
		Orphan		orphan = list.items[i];
		IqdbPgGeneration generation;

		if (!iqdb_pg_lock(orphan.database, orphan.relation_number, IQDB_PG_LOCK_OPEN, false))
			continue;
		/* whoever removed the fork had locked the relation against everybody */
		if (fork_gone(orphan.database, orphan.relation_number) &&
			iqdb_pg_arena_drop_relation(orphan.database, orphan.relation_number, true, &generation))
			list.items[removed++] = orphan;
		iqdb_pg_unlock(orphan.database, orphan.relation_number, IQDB_PG_LOCK_OPEN);
	}
	list.count = removed;
	return list;
}

/* ---- own files ----------------------------------------------------------------------------------------------------- */

/*
 * May this file have to go? Certainly if the fork that it was written for is gone, and was not copied; else only if it is old:
 * an index that is just being made can be seen by nobody. (The server itself leaves the fork of an index whose creation was
 * ended by a crash.)
 */
static bool
is_suspect(const char *path, Oid database)
{
	uint32		relation_number;
	struct stat st;

	return (iqdb_pg_files_owner(path, &relation_number) && fork_gone(database, relation_number)) ||
		(stat(path, &st) == 0 && difftime(time(NULL), st.st_mtime) > SWEEP_AGE);
}

typedef struct FileSweep
{
	Oid			database;
	int			suspects;
	IqdbPgGeneration *used;		/* generations of the database's indexes; NULL while suspects are only counted */
	int			used_count;
	int			allocated;
	int			removed;
} FileSweep;

static void
count_suspect(const char *path, const IqdbPgGeneration *generation, void *arg)
{
	FileSweep  *sweep = arg;

	if (is_suspect(path, sweep->database))
		sweep->suspects++;
}

static void
sweep_file(const char *path, const IqdbPgGeneration *generation, void *arg)
{
	FileSweep  *sweep = arg;

	for (int i = 0; i < sweep->used_count; i++)
		if (iqdb_pg_same_generation(generation, &sweep->used[i]))
			return;
	if (is_suspect(path, sweep->database) && unlink(path) == 0)
		sweep->removed++;
}

/* Notes the generation of an index; false if it is damaged: nobody can tell then what belongs to it. */
static bool
note_used(Relation index, FileSweep *sweep)
{
	IqdbPgMeta	meta;

	/* what was never built, because its creation failed, has nothing */
	if (RelationGetNumberOfBlocks(index) <= 1)
		return true;
	if (!iqdb_pg_journal_try_meta(index, &meta))
		return false;
	if (sweep->used_count == sweep->allocated)
	{
		sweep->allocated *= 2;
		sweep->used = repalloc(sweep->used, sweep->allocated * sizeof(IqdbPgGeneration));
	}
	sweep->used[sweep->used_count++] = meta.generation;
	return true;
}

/*
 * All indexes of this database that are visible to us. false if one cannot be looked at now. Never waits for a lock: VACUUM
 * of one table has nothing to do with DDL on another.
 */
static bool
collect_used(FileSweep *sweep)
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
		complete = note_used(index, sweep);
		relation_close(index, AccessShareLock);
	}
	systable_endscan(scan);
	table_close(classes, AccessShareLock);
	return complete;
}

/* Own files of this process's database. */
static int
sweep_files(void)
{
	FileSweep	sweep = {.database = MyDatabaseId, .allocated = 32};

	iqdb_pg_files_visit(MyDatabaseId, count_suspect, &sweep);
	if (sweep.suspects == 0)
		return 0;
	sweep.used = palloc(sweep.allocated * sizeof(IqdbPgGeneration));
	if (collect_used(&sweep))
		iqdb_pg_files_visit(MyDatabaseId, sweep_file, &sweep);
	pfree(sweep.used);
	return sweep.removed;
}

/* ---- sweeping ------------------------------------------------------------------------------------------------------ */

static void
report(int removed)
{
	if (removed > 0)
		ereport(LOG, (errmsg("iqdb: removed %d files and folders that no index has", removed)));
}

int
iqdb_pg_sweep(void)
{
	int			removed = 0;
	OrphanList	orphans;

	iqdb_pg_files_visit_databases(sweep_database, &removed);
	orphans = sweep_arenas();
	removed += orphans.count;
	if (orphans.items != NULL)
		pfree(orphans.items);
	if (OidIsValid(MyDatabaseId))
		removed += sweep_files();
	report(removed);
	return removed;
}

typedef struct Keeping
{
	void		(*start) (Oid database);
	int			started;
} Keeping;

/* Somebody connected to this database should look which files of it have to go. */
static void
start_if_suspect(Oid database, void *arg)
{
	Keeping    *keeping = arg;
	FileSweep	sweep = {.database = database};

	iqdb_pg_files_visit(database, count_suspect, &sweep);
	if (sweep.suspects == 0)
		return;
	keeping->start(database);
	keeping->started++;
}

void
iqdb_pg_sweep_keep(void (*start) (Oid database))
{
	static TimestampTz next;
	static TimestampTz next_files;
	static int64 pause = KEEP_FILES_FIRST;
	TimestampTz now = GetCurrentTimestamp();
	Keeping		keeping = {start, 0};
	OrphanList	orphans;
	int			removed = 0;

	if (now < next)
		return;
	if (next == 0)
		next_files = now + KEEP_FILES_FIRST;
	next = now + KEEP_INTERVAL;
	iqdb_pg_files_visit_databases(sweep_database, &removed);
	orphans = sweep_arenas();
	report(removed + orphans.count);
	if (orphans.items != NULL)
		pfree(orphans.items);
	if (orphans.count > 0)
		pause = KEEP_INTERVAL;
	else if (now < next_files)
		return;
	/* a sweeper may find no process to run in, or an index locked: the next comes soon, and later if that is of no use */
	iqdb_pg_files_visit_databases(start_if_suspect, &keeping);
	pause = keeping.started > 0 ? Min(pause * 2, KEEP_FILES_INTERVAL) : KEEP_FILES_INTERVAL;
	next_files = now + pause;
}
