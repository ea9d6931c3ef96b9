/*
 * pg_arena_files.c - names and folders of arenas: what files there are, whose they are, and which of them must go.
 *
 * Raises nothing: it works at the end of transactions, and while the server stops.
 */
#include "postgres.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/file_perm.h"
#include "miscadmin.h"
#include "storage/fd.h"

#include "pg/pg_arena_private.h"
#include "pg/pg_files_private.h"
#include "pg/pg_registry.h"
#include "pg/pg_settings.h"

#define SHM_FOLDER "/dev/shm"
#define FALLBACK_PREFIX PG_TEMP_FILE_PREFIX "."
#define VECTORS_SUFFIX ".vectors"

/* The folders that the settings ever named, a line each: what lies there is found when they name others. */
#define FOLDERS_FILE IQDB_PG_FOLDER "/arena_folders"

/* Bytes of the longest name in a folder, and more. */
#define NAME_ROOM 128

/* ---- names ---- */

/* Tells clusters on one machine apart, also two copies of one cluster: the data directory's own identity. */
static uint64
cluster_identity(void)
{
	static uint64 identity;		/* 0 = not asked yet */
	struct stat st;

	if (identity == 0 && stat(DataDir, &st) == 0)
	{
		identity = (uint64) st.st_dev * UINT64CONST(0x9E3779B97F4A7C15) ^
			(uint64) st.st_ino * UINT64CONST(0xC2B2AE3D27D4EB4F);
		identity ^= identity >> 31;
	}
	return identity;
}

/* Folders an arena may be in, first choice first; NULL ends the list. */
const char *
iqdb_pg_arena_folder(int choice)
{
	bool		automatic = iqdb_arena_directory == NULL || iqdb_arena_directory[0] == '\0';

	switch (choice)
	{
		case 0:
			return automatic ? SHM_FOLDER : iqdb_arena_directory;
		case 1:
			return automatic ? IQDB_PG_DISK_FOLDER : NULL;
		default:
			return NULL;
	}
}

bool
iqdb_pg_arena_on_disk(const char *path)
{
	return strncmp(path, IQDB_PG_DISK_FOLDER, strlen(IQDB_PG_DISK_FOLDER)) == 0;
}

void
iqdb_pg_arena_path(char *path, const char *folder, Oid database, uint32 relation_number,
				   const IqdbPgGeneration *generation)
{
	snprintf(path, MAXPGPATH, "%s/%siqdb.%016llx.%016llx.%u.%u.%016llx%016llx", folder,
			 iqdb_pg_arena_on_disk(folder) ? FALLBACK_PREFIX : "",
			 (unsigned long long) cluster_identity(), (unsigned long long) iqdb_pg_registry()->token,
			 database, relation_number,
			 (unsigned long long) generation->high, (unsigned long long) generation->low);
}

const char *
iqdb_pg_vectors_folder(void)
{
	return iqdb_vector_directory == NULL || iqdb_vector_directory[0] == '\0' ? IQDB_PG_DISK_FOLDER : iqdb_vector_directory;
}

void
iqdb_pg_arena_vectors_path(char *path, const char *arena_path)
{
	const char *slash = strrchr(arena_path, '/');
	const char *name = slash != NULL ? slash + 1 : arena_path;

	if (strncmp(name, FALLBACK_PREFIX, strlen(FALLBACK_PREFIX)) == 0)
		name += strlen(FALLBACK_PREFIX);
	snprintf(path, MAXPGPATH, "%s/" FALLBACK_PREFIX "%s" VECTORS_SUFFIX, iqdb_pg_vectors_folder(), name);
}

/* ---- folders ---- */

/* The list of folders that were used, if it is a regular file; what is none is not waited for. -1 with errno set. */
static int
open_regular(int flags)
{
	int			fd = open(FOLDERS_FILE, flags | O_CLOEXEC | O_NONBLOCK, pg_file_create_mode);
	struct stat st;

	if (fd < 0 || (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)))
		return fd;
	close(fd);
	errno = EINVAL;
	return -1;
}

/* Calls visit for each folder in the list of those that were used, until it returns false. */
static void
visit_noted_folders(IqdbPgFolderVisit visit, void *arg)
{
	int			fd = open_regular(O_RDONLY);
	FILE	   *file = fd >= 0 ? fdopen(fd, "r") : NULL;
	char		line[MAXPGPATH];
	bool		more = true;

	if (file == NULL)
	{
		if (fd >= 0)
			close(fd);
		return;
	}
	while (more && fgets(line, sizeof(line), file) != NULL)
	{
		line[strcspn(line, "\n")] = '\0';
		if (line[0] != '\0')
			more = visit(line, arg);
	}
	fclose(file);
}

typedef struct FolderSearch
{
	const char *folder;
	bool		found;
} FolderSearch;

static bool
compare_folder(const char *folder, void *arg)
{
	FolderSearch *search = arg;

	search->found = strcmp(folder, search->folder) == 0;
	return !search->found;
}

/* Is it in the list, or one of those that are always looked at? */
static bool
is_known_folder(const char *folder)
{
	FolderSearch search = {folder, strcmp(folder, SHM_FOLDER) == 0 || strcmp(folder, IQDB_PG_DISK_FOLDER) == 0};

	if (!search.found)
		visit_noted_folders(compare_folder, &search);
	return search.found;
}

/* Opens the list to add to it. What cannot be read, or is no file, is of no use to anybody, and must not stop an index. */
static int
open_list(void)
{
	int			fd = open_regular(O_RDWR | O_CREAT | O_APPEND);

	if (fd >= 0)
		return fd;
	iqdb_pg_remove_file(FOLDERS_FILE);
	return open_regular(O_RDWR | O_CREAT | O_APPEND);
}

/* Adds a line, which begins with the line's end that a damaged list lacks. */
static bool
append_line(int fd, const char *line, int length)
{
	off_t		end = lseek(fd, 0, SEEK_END);
	char		last = '\n';

	if (end > 0 && pread(fd, &last, 1, end - 1) != 1)
		return false;
	return (last == '\n' || write(fd, "\n", 1) == 1) && write(fd, line, (size_t) length) == length && fsync(fd) == 0;
}

bool
iqdb_pg_arena_note_folder(const char *folder)
{
	char		line[MAXPGPATH + 1];
	int			length;
	int			fd;
	bool		ok;

	if (is_known_folder(folder))
		return true;
	length = snprintf(line, sizeof(line), "%s\n", folder);
	if (length > MAXPGPATH - NAME_ROOM || strchr(folder, '\n') != NULL)
	{
		errno = ENAMETOOLONG;
		return false;
	}
	if (mkdir(IQDB_PG_FOLDER, pg_dir_create_mode) != 0 && errno != EEXIST)
		return false;
	fd = open_list();
	if (fd < 0)
		return false;
	/* of two that come at once the second finds the line of the first: what lies in a folder would be counted twice */
	(void) flock(fd, LOCK_EX);
	ok = is_known_folder(folder) || append_line(fd, line, length);
	close(fd);
	return ok;
}

/* Calls visit for every folder that arenas of this cluster may be in, until it returns false. Raises nothing by itself. */
void
iqdb_pg_arena_visit_folders(IqdbPgFolderVisit visit, void *arg)
{
	const char *current = iqdb_pg_arena_folder(0);

	/* the server's folder for temporary files is where vectors are that no setting places elsewhere */
	if (!visit(current, arg) || !visit(IQDB_PG_DISK_FOLDER, arg) ||
		(strcmp(current, SHM_FOLDER) != 0 && !visit(SHM_FOLDER, arg)))
		return;
	visit_noted_folders(visit, arg);
}

/* Is this the rest of a name, behind the parts that all names have? */
static bool
known_suffix(const char *rest)
{
	return rest[0] == '\0' || strcmp(rest, IQDB_PG_NEW_SUFFIX) == 0 || strcmp(rest, VECTORS_SUFFIX) == 0;
}

/* Splits a file name into its parts; false if it is no file of an arena of this cluster, finished or not. */
static bool
parse_name(const char *name, uint64 *token, Oid *database, uint32 *relation_number, IqdbPgGeneration *generation)
{
	unsigned long long cluster;
	unsigned long long life;
	unsigned long long high;
	unsigned long long low;
	unsigned int db;
	unsigned int number;
	int			used = 0;

	if (strncmp(name, FALLBACK_PREFIX, strlen(FALLBACK_PREFIX)) == 0)
		name += strlen(FALLBACK_PREFIX);
	if (sscanf(name, "iqdb.%16llx.%16llx.%u.%u.%16llx%16llx%n", &cluster, &life, &db, &number, &high, &low,
			   &used) != 6 || !known_suffix(name + used) || cluster != cluster_identity())
		return false;
	*token = life;
	*database = db;
	*relation_number = number;
	generation->high = high;
	generation->low = low;
	return true;
}

static bool
ends_with(const char *path, const char *suffix)
{
	size_t		length = strlen(path);

	return length > strlen(suffix) && strcmp(path + length - strlen(suffix), suffix) == 0;
}

/* Is this an arena that has its name? */
static bool
is_arena(const char *path)
{
	return !ends_with(path, IQDB_PG_NEW_SUFFIX) && !ends_with(path, VECTORS_SUFFIX);
}

typedef bool (*FileVisit) (const char *path, uint64 token, Oid database, uint32 relation_number,
						   const IqdbPgGeneration *generation, void *arg);

typedef struct FolderState
{
	FileVisit	visit;
	void	   *arg;
	bool		first;
} FolderState;

static bool
visit_folder(const char *folder_path, void *arg)
{
	FolderState *state = arg;
	DIR		   *dir;
	struct dirent *de;
	bool		more = true;

	/* the current one is in the list, too */
	if (!state->first && strcmp(folder_path, iqdb_pg_arena_folder(0)) == 0)
		return true;
	state->first = false;
	dir = opendir(folder_path);
	if (dir == NULL)
		return true;
	while (more && (de = readdir(dir)) != NULL)
	{
		char		path[MAXPGPATH];
		uint64		token;
		Oid			database;
		uint32		number;
		IqdbPgGeneration generation;

		if (!parse_name(de->d_name, &token, &database, &number, &generation))
			continue;
		snprintf(path, sizeof(path), "%s/%s", folder_path, de->d_name);
		more = state->visit(path, token, database, number, &generation, state->arg);
	}
	closedir(dir);
	return more;
}

/* Calls visit for every file of an arena of this cluster until it returns false. Plain readdir: must not raise. */
static void
visit_files(FileVisit visit, void *arg)
{
	FolderState state = {visit, arg, true};

	iqdb_pg_arena_visit_folders(visit_folder, &state);
}

static bool
sum_visit(const char *path, uint64 token, Oid database, uint32 relation_number, const IqdbPgGeneration *generation,
		  void *arg)
{
	struct stat st;

	/* on disk, vectors are no memory */
	if (!ends_with(path, VECTORS_SUFFIX) && stat(path, &st) == 0)
		*(uint64 *) arg += (uint64) st.st_blocks * 512;
	return true;
}

uint64
iqdb_pg_arena_memory(void)
{
	uint64		bytes = 0;

	visit_files(sum_visit, &bytes);
	return bytes;
}

static bool
sweep_visit(const char *path, uint64 token, Oid database, uint32 relation_number, const IqdbPgGeneration *generation,
			void *arg)
{
	bool		all = *(bool *) arg;

	if (all || token != iqdb_pg_registry()->token)
		(void) unlink(path);
	return true;
}

void
iqdb_pg_arena_sweep(void)
{
	bool		all = false;

	visit_files(sweep_visit, &all);
}

void
iqdb_pg_arena_remove_all(void)
{
	bool		all = true;

	visit_files(sweep_visit, &all);
}

typedef struct DropState
{
	IqdbPgArenaDrop *drops;
	int			count;
	bool		free_memory;
	bool		orphans;		/* only files of vectors: what is left of arenas that are gone */
} DropState;

static bool
drop_visit(const char *path, uint64 token, Oid database, uint32 relation_number, const IqdbPgGeneration *generation,
		   void *arg)
{
	DropState  *state = arg;

	if (token != iqdb_pg_registry()->token || ends_with(path, IQDB_PG_NEW_SUFFIX) ||
		state->orphans != ends_with(path, VECTORS_SUFFIX))
		return true;
	for (int i = 0; i < state->count; i++)
	{
		IqdbPgArenaDrop *drop = &state->drops[i];

		if (database != drop->database || relation_number != drop->relation_number)
			continue;
		drop->found = true;
		drop->generation = *generation;
		if (state->free_memory && !state->orphans)
			iqdb_pg_arena_punch(path);
		(void) unlink(path);
		break;
	}
	return true;
}

void
iqdb_pg_arena_drop(IqdbPgArenaDrop *drops, int count, bool free_memory)
{
	DropState	state = {.drops = drops, .count = count, .free_memory = free_memory};
	bool		made = false;

	for (int i = 0; i < count; i++)
	{
		drops[i].found = iqdb_pg_arena_forget_private(drops[i].relation_number, &drops[i].generation);
		made |= iqdb_pg_made(drops[i].database, drops[i].relation_number);
	}
	if (!made)
		return;
	visit_files(drop_visit, &state);
	/* now that no arena leads to them */
	state.orphans = true;
	visit_files(drop_visit, &state);
}

bool
iqdb_pg_arena_drop_relation(Oid database, uint32 relation_number, bool free_memory, IqdbPgGeneration *generation_out)
{
	IqdbPgArenaDrop drop = {.database = database, .relation_number = relation_number};

	iqdb_pg_arena_drop(&drop, 1, free_memory);
	*generation_out = drop.generation;
	return drop.found;
}

typedef struct VisitState
{
	IqdbPgArenaVisit visit;
	void	   *arg;
} VisitState;

static bool
outer_visit(const char *path, uint64 token, Oid database, uint32 relation_number, const IqdbPgGeneration *generation,
			void *arg)
{
	VisitState *state = arg;

	if (is_arena(path) && token == iqdb_pg_registry()->token)
		state->visit(path, database, relation_number, generation, state->arg);
	return true;
}

void
iqdb_pg_arena_visit(IqdbPgArenaVisit visit, void *arg)
{
	VisitState	state = {visit, arg};

	visit_files(outer_visit, &state);
}
