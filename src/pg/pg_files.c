/*
 * pg_files.c - names, snapshots and the folder; the log is in pg_log.c. See pg_files.h.
 */
#include "postgres.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "common/file_perm.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/relcache.h"
#include "utils/timestamp.h"

#include "core/base/endian.h"
#include "core/base/io_posix.h"

#include "pg/pg_fail.h"
#include "pg/pg_files.h"
#include "pg/pg_files_private.h"
#include "pg/pg_lock.h"
#include "pg/pg_options.h"
#include "pg/pg_settings.h"

#define SNAPSHOTS_KEPT 2

/* Flags in the header of a snapshot. */
#define FLAG_BARE 1u

/* ---- names ---- */

void
iqdb_pg_file_path(char *path, Oid database, const IqdbPgGeneration *generation, uint64 number, const char *suffix)
{
	snprintf(path, MAXPGPATH, IQDB_PG_FOLDER "/%u/%016llx%016llx.%016llx.%s", database,
			 (unsigned long long) generation->high, (unsigned long long) generation->low,
			 (unsigned long long) number, suffix);
}

/* Splits a file name; *suffix points behind the second dot. false if it is none of ours. */
static bool
parse_name(const char *name, IqdbPgGeneration *generation, uint64 *number, const char **suffix)
{
	unsigned long long high;
	unsigned long long low;
	unsigned long long n;
	int			used = 0;

	if (sscanf(name, "%16llx%16llx.%16llx.%n", &high, &low, &n, &used) != 3 || used != 50)
		return false;
	generation->high = high;
	generation->low = low;
	*number = n;
	*suffix = name + used;
	return true;
}

void
iqdb_pg_files_folder(char *path, Oid database)
{
	snprintf(path, MAXPGPATH, IQDB_PG_FOLDER "/%u", database);
}

void
iqdb_pg_remove_file(const char *path)
{
	if (unlink(path) != 0 && (errno == EISDIR || errno == EPERM))
		(void) rmdir(path);
}

IqdbStatus
iqdb_pg_make_folder(Oid database, IqdbError *error)
{
	char		path[MAXPGPATH];

	if (mkdir(IQDB_PG_FOLDER, pg_dir_create_mode) != 0 && errno != EEXIST)
		return iqdb_fail_io(error, errno, IQDB_PG_FOLDER, "create folder");
	iqdb_pg_files_folder(path, database);
	if (mkdir(path, pg_dir_create_mode) != 0)
		return errno == EEXIST ? IQDB_OK : iqdb_fail_io(error, errno, path, "create folder");
	fsync_fname(IQDB_PG_FOLDER, true);
	return IQDB_OK;
}

/* ---- identity ---- */

static unsigned char *
put_position(unsigned char *p, const IqdbPgPosition *position)
{
	iqdb_store_u64(p, position->number);
	iqdb_store_u64(p + 8, position->hash);
	return p + 16;
}

static const unsigned char *
get_position(const unsigned char *p, IqdbPgPosition *position)
{
	memset(position, 0, sizeof(*position));
	position->number = iqdb_load_u64(p);
	position->hash = iqdb_load_u64(p + 8);
	return p + 16;
}

uint32
iqdb_pg_identity(unsigned char *identity, const IqdbPgShared *shared)
{
	iqdb_store_u64(identity, GetSystemIdentifier());
	iqdb_store_u64(identity + 8, shared->generation.high);
	iqdb_store_u64(identity + 16, shared->generation.low);
	iqdb_store_u32(identity + 24, shared->database);
	iqdb_store_u32(identity + 28, shared->relation_number);
	return IQDB_PG_IDENTITY_SIZE;
}

bool
iqdb_pg_identity_agrees(const unsigned char *identity, uint32 length, const IqdbPgGeneration *generation)
{
	return length >= IQDB_PG_IDENTITY_SIZE &&
		iqdb_load_u64(identity) == GetSystemIdentifier() &&
		iqdb_load_u64(identity + 8) == generation->high &&
		iqdb_load_u64(identity + 16) == generation->low;
}

/* ---- writing a snapshot ---- */

typedef struct SnapshotSink
{
	IqdbSnapshotWriter *writer;
} SnapshotSink;

static IqdbStatus
sink_write(void *arg, uint16_t section, const void *bytes, size_t length, IqdbError *error)
{
	IQDB_PG_FAIL_RETURN("snapshot-write", error);
	return iqdb_snapshot_write(((SnapshotSink *) arg)->writer, section, bytes, length, error);
}

static void
fill_header(IqdbSnapshotHeader *header, const IqdbPgArena *arena, const IqdbPgPosition *from, const IqdbPgPosition *to)
{
	const IqdbIndexOptions *options = &arena->index.store.header->options;

	memset(header, 0, sizeof(*header));
	header->flags = arena->shared->snapshots.bare ? FLAG_BARE : 0;
	header->engine = options->engine;
	header->metric = options->metric;
	header->dimension = options->dimension;
	header->row_count = iqdb_index_live_count(&arena->index);
	header->identity_length = iqdb_pg_identity(header->identity, arena->shared);
	(void) put_position(put_position(header->identity + header->identity_length, from), to);
	header->identity_length += 32;
}

static IqdbPgPosition
applied_position(IqdbPgArena *arena)
{
	IqdbPgPosition position;

	iqdb_store_lock(&arena->index.store, IQDB_PG_LOCK_APPLY, false);
	position = iqdb_pg_applied(arena->shared);
	iqdb_store_unlock(&arena->index.store, IQDB_PG_LOCK_APPLY, false);
	return position;
}

/*
 * Removes what the newest snapshots make superfluous; notes what the journal must still hold. The snapshot before the newest
 * one is kept, in case that cannot be read; but not where it, its log and its part of the journal would be most of what a
 * small index has on disk: the table is read quickly then. log_bytes: of the log between the two.
 */
static void
prune(IqdbPgArena *arena, uint64 newest, uint64 log_bytes)
{
	IqdbPgShared *shared = arena->shared;
	bool		alone = pg_atomic_read_u64(&shared->snapshots.time) == 0 ||
		(iqdb_pg_snapshot_is_small(shared) && log_bytes > iqdb_pg_log_limit(shared));
	uint64		older = alone ? newest : pg_atomic_read_u64(&shared->snapshots.number);
	char		folder[MAXPGPATH];
	DIR		   *dir;
	struct dirent *de;

	pg_atomic_write_u64(&shared->snapshots.older, Min(older, newest));
	pg_atomic_write_u64(&shared->snapshots.number, newest);
	/* of a build's first snapshot, nothing is older: the folder of a thousand indexes need not be read for each of them */
	if (Min(older, newest) == 0)
		return;

	iqdb_pg_files_folder(folder, shared->database);
	dir = opendir(folder);
	if (dir == NULL)
		return;
	while ((de = readdir(dir)) != NULL)
	{
		char		path[MAXPGPATH * 2];
		IqdbPgGeneration generation;
		uint64		number;
		const char *suffix;

		if (!parse_name(de->d_name, &generation, &number, &suffix) ||
			generation.high != shared->generation.high || generation.low != shared->generation.low)
			continue;
		if (number < Min(older, newest))
		{
			snprintf(path, sizeof(path), "%s/%s", folder, de->d_name);
			iqdb_pg_remove_file(path);
			IQDB_PG_FAIL_POINT("snapshot-pruned");
		}
	}
	closedir(dir);
}

static IqdbStatus
write_file(IqdbPgArena *arena, const IqdbPgPosition *from, const IqdbSnapshotOptions *options, const char *path,
		   IqdbError *error)
{
	char		temp_path[MAXPGPATH + 8];
	IqdbPgView	view;
	IqdbSnapshotHeader header;
	SnapshotSink state = {NULL};
	IqdbSectionSink sink = {sink_write, &state};
	IqdbPgPosition to;
	IqdbStatus	status;

	iqdb_pg_view(&view, arena);
	snprintf(temp_path, sizeof(temp_path), "%s.tmp", path);
	iqdb_pg_remove_file(temp_path);
	IQDB_TRY(iqdb_snapshot_writer_open(&iqdb_io_posix, &view.host.allocator, path, temp_path, NULL, options,
									   &state.writer, error));
	status = arena->shared->snapshots.bare ? iqdb_index_save_bare(&view.index, &sink, error) :
		iqdb_index_save(&view.index, &sink, error);
	if (status != IQDB_OK)
	{
		iqdb_snapshot_writer_abort(state.writer);
		return status;
	}

	/* What the state may contain must be in the server's WAL for good before the state is. */
	to = applied_position(arena);
	if (!RecoveryInProgress())
		XLogFlush(pg_atomic_read_u64(&arena->shared->applied.lsn));
	fill_header(&header, arena, from, &to);
	IQDB_PG_FAIL_POINT("snapshot-written");
	return iqdb_snapshot_writer_commit(state.writer, &header, error);
}

void
iqdb_pg_snapshot_note(IqdbPgArena *arena, uint64 bytes, uint64 rows, bool bare)
{
	IqdbPgSnapshots *snapshots = &arena->shared->snapshots;

	pg_atomic_write_u64(&snapshots->bytes, bytes);
	pg_atomic_write_u64(&snapshots->weight, bytes + (bare ? rows * iqdb_pg_row_bytes(&arena->index) : 0));
}

/*
 * A row whose vector and columns are columns of the table can be fetched again by its TID, whoever loads it, and is the same
 * for ever. What an expression says may depend on more than it should, and may fail: there the snapshot keeps it.
 */
void
iqdb_pg_snapshot_settle(IqdbPgShared *shared, Relation index)
{
	shared->snapshots.compression = iqdb_pg_compression(index, &shared->snapshots.compression_level);
	shared->snapshots.bare = RelationGetIndexExpressions(index) == NIL && RelationGetIndexPredicate(index) == NIL;
}

IqdbStatus
iqdb_pg_snapshot_write(IqdbPgArena *arena, IqdbError *error)
{
	IqdbPgShared *shared = arena->shared;
	IqdbSnapshotOptions options = {(IqdbCompression) shared->snapshots.compression, shared->snapshots.compression_level,
	iqdb_fsync != IQDB_FSYNC_NEVER};
	IqdbPgPosition from;
	char		path[MAXPGPATH];
	struct stat st;
	uint64		log_bytes;

	IQDB_TRY(iqdb_pg_make_folder(shared->database, error));
	log_bytes = iqdb_pg_log_length(shared);
	from = iqdb_pg_log_switch(arena);
	IQDB_PG_FAIL_POINT("snapshot-begun");
	pg_atomic_write_u32(&shared->snapshots.wanted, 0);
	iqdb_pg_file_path(path, shared->database, &shared->generation, from.number, "snap");
	IQDB_TRY(write_file(arena, &from, &options, path, error));
	IQDB_PG_FAIL_POINT("snapshot-renamed");
	/* the index was dropped, and its files removed, meanwhile */
	if (pg_atomic_read_u32(&shared->state) == IQDB_PG_DEAD)
		(void) unlink(path);
	if (stat(path, &st) == 0)
		iqdb_pg_snapshot_note(arena, (uint64) st.st_size, iqdb_index_live_count(&arena->index), shared->snapshots.bare);
	prune(arena, from.number, log_bytes);
	pg_atomic_write_u64(&shared->snapshots.time, (uint64) GetCurrentTimestamp());
	return IQDB_OK;
}

IqdbStatus
iqdb_pg_snapshot_take(IqdbPgArena *arena, bool wait, IqdbError *error)
{
	IqdbPgShared *shared = arena->shared;
	IqdbStatus	status;

	if (!iqdb_pg_lock(shared->database, shared->relation_number, IQDB_PG_LOCK_SNAPSHOT, wait))
		return IQDB_OK;
	status = iqdb_pg_snapshot_write(arena, error);
	iqdb_pg_unlock(shared->database, shared->relation_number, IQDB_PG_LOCK_SNAPSHOT);
	return status;
}

/* ---- choosing and reading a snapshot ---- */

static int
newest_first(const void *a, const void *b)
{
	uint64		x = ((const IqdbPgSnapshotInfo *) a)->replay_from.number;
	uint64		y = ((const IqdbPgSnapshotInfo *) b)->replay_from.number;

	return x < y ? 1 : x > y ? -1 : 0;
}

/* Reads one header; false, with a LOG line, if it is not a snapshot of this index. */
static bool
read_info(const char *path, const IqdbPgGeneration *generation, IqdbPgSnapshotInfo *info, bool *damaged_out)
{
	IqdbSnapshotHeader header;
	IqdbError	error = {0};
	IqdbStatus	status = iqdb_snapshot_read_header(&iqdb_io_posix, path, &header, &error);

	if (status != IQDB_OK)
	{
		*damaged_out |= status == IQDB_ERR_CORRUPT || status == IQDB_ERR_VERSION;
		ereport(LOG, (errmsg("iqdb: snapshot \"%s\" is refused: %s", path, iqdb_pg_error_text(&error))));
		return false;
	}
	if (header.identity_length != IQDB_PG_IDENTITY_SIZE + 32 ||
		!iqdb_pg_identity_agrees(header.identity, header.identity_length, generation))
	{
		ereport(LOG, (errmsg("iqdb: snapshot \"%s\" is refused: it belongs to another index or cluster", path)));
		return false;
	}
	strlcpy(info->path, path, sizeof(info->path));
	(void) get_position(get_position(header.identity + IQDB_PG_IDENTITY_SIZE, &info->replay_from), &info->must_exist);
	info->bytes = header.file_size;
	info->rows = header.row_count;
	info->bare = (header.flags & FLAG_BARE) != 0;
	return true;
}

int
iqdb_pg_snapshot_list(Oid database, const IqdbPgGeneration *generation, IqdbPgSnapshotInfo **list_out,
					  bool *damaged_out)
{
	IqdbPgSnapshotInfo *list = palloc(16 * sizeof(IqdbPgSnapshotInfo));
	int			count = 0;
	char		folder[MAXPGPATH];
	DIR		   *dir;
	struct dirent *de;

	*damaged_out = false;
	*list_out = list;
	iqdb_pg_files_folder(folder, database);
	dir = AllocateDir(folder);
	if (dir == NULL)
		return 0;
	while (count < 16 && (de = ReadDirExtended(dir, folder, LOG)) != NULL)
	{
		IqdbPgGeneration found;
		uint64		number;
		const char *suffix;
		char		path[MAXPGPATH * 2];

		if (!parse_name(de->d_name, &found, &number, &suffix) || strcmp(suffix, "snap") != 0 ||
			found.high != generation->high || found.low != generation->low)
			continue;
		snprintf(path, sizeof(path), "%s/%s", folder, de->d_name);
		if (read_info(path, generation, &list[count], damaged_out))
			count++;
	}
	FreeDir(dir);
	qsort(list, count, sizeof(IqdbPgSnapshotInfo), newest_first);
	return count;
}

static IqdbStatus
source_read(void *arg, uint16_t section, void *bytes, size_t length, IqdbError *error)
{
	IQDB_PG_FAIL_RETURN("snapshot-read", error);
	return iqdb_snapshot_stream_read(arg, section, bytes, length, error);
}

IqdbStatus
iqdb_pg_snapshot_options(const IqdbPgSnapshotInfo *info, IqdbIndexOptions *options_out, IqdbError *error)
{
	IqdbHost	host = iqdb_pg_host(CurrentMemoryContext);
	IqdbSnapshotReader *reader;
	IqdbSnapshotStream stream;
	IqdbSectionSource source = {source_read, &stream};
	IqdbStatus	status;

	IQDB_TRY(iqdb_snapshot_reader_open(&iqdb_io_posix, &host.allocator, info->path, &reader, error));
	iqdb_snapshot_stream_init(&stream, reader);
	status = iqdb_index_load_options(&source, options_out, error);
	iqdb_snapshot_reader_close(reader);
	return status;
}

/* Loads rows, if *bare_out is to say what they are like, and the engine's part, unless it has to wait for bare rows. */
static IqdbStatus
load_sections(IqdbPgArena *arena, const IqdbPgSnapshotInfo *info, bool *bare_out, IqdbError *error)
{
	IqdbPgView	view;
	IqdbSnapshotReader *reader;
	IqdbSnapshotStream stream;
	IqdbSectionSource source = {source_read, &stream};
	IqdbStatus	status = IQDB_OK;

	iqdb_pg_view(&view, arena);
	IQDB_TRY(iqdb_snapshot_reader_open(&iqdb_io_posix, &view.host.allocator, info->path, &reader, error));
	iqdb_snapshot_stream_init(&stream, reader);
	if (bare_out != NULL)
		status = iqdb_index_load_rows(&view.index, &source, bare_out, error);
	if (status == IQDB_OK && (bare_out == NULL || !*bare_out))
	{
		status = iqdb_index_load_engine(&view.index, &source, error);
		if (status == IQDB_OK)
			status = iqdb_snapshot_reader_finish(reader, error);
	}
	iqdb_snapshot_reader_close(reader);
	return status;
}

IqdbStatus
iqdb_pg_snapshot_load(IqdbPgArena *arena, const IqdbPgSnapshotInfo *info, bool *bare_out, IqdbError *error)
{
	return load_sections(arena, info, bare_out, error);
}

IqdbStatus
iqdb_pg_snapshot_load_rest(IqdbPgArena *arena, const IqdbPgSnapshotInfo *info, IqdbError *error)
{
	return load_sections(arena, info, NULL, error);
}

/* ---- the folder ---- */

void
iqdb_pg_files_visit(Oid database, IqdbPgFileVisit visit, void *arg)
{
	char		folder[MAXPGPATH];
	DIR		   *dir;
	struct dirent *de;

	iqdb_pg_files_folder(folder, database);
	dir = opendir(folder);
	if (dir == NULL)
		return;
	while ((de = readdir(dir)) != NULL)
	{
		char		path[MAXPGPATH * 2];
		IqdbPgGeneration generation;
		uint64		number;
		const char *suffix;

		if (!parse_name(de->d_name, &generation, &number, &suffix))
			continue;
		snprintf(path, sizeof(path), "%s/%s", folder, de->d_name);
		visit(path, &generation, arg);
	}
	closedir(dir);
}

bool
iqdb_pg_files_owner(const char *path, uint32 *relation_number_out)
{
	IqdbSnapshotHeader snapshot;
	IqdbLogHeader log;
	bool		blank = true;
	bool		is_log = strcmp(strrchr(path, '.'), ".log") == 0;
	unsigned char *identity = is_log ? log.identity : snapshot.identity;

	if (is_log ? iqdb_log_read_header(&iqdb_io_posix, path, &log, &blank, NULL) != IQDB_OK || blank :
		iqdb_snapshot_read_header(&iqdb_io_posix, path, &snapshot, NULL) != IQDB_OK)
		return false;
	*relation_number_out = iqdb_load_u32(identity + 28);
	return (is_log ? log.identity_length : snapshot.identity_length) >= IQDB_PG_IDENTITY_SIZE &&
		iqdb_load_u64(identity) == GetSystemIdentifier();
}

typedef struct GenerationVisit
{
	IqdbPgGeneration generation;
	bool		snapshot;		/* out: a name ends like one */
	uint64		bytes;
} GenerationVisit;

static void
generation_visit(const char *path, const IqdbPgGeneration *generation, void *arg)
{
	GenerationVisit *state = arg;
	struct stat st;

	if (generation->high != state->generation.high || generation->low != state->generation.low)
		return;
	if (stat(path, &st) == 0)
		state->bytes += (uint64) st.st_size;
	state->snapshot |= strcmp(path + strlen(path) - strlen(".snap"), ".snap") == 0;
}

typedef struct RemoveVisit
{
	const IqdbPgGeneration *generations;	/* sorted */
	int			count;
} RemoveVisit;

static int
compare_generations(const void *a, const void *b)
{
	const IqdbPgGeneration *x = a;
	const IqdbPgGeneration *y = b;

	if (x->high != y->high)
		return x->high < y->high ? -1 : 1;
	return x->low < y->low ? -1 : x->low > y->low;
}

static void
remove_visit(const char *path, const IqdbPgGeneration *generation, void *arg)
{
	const RemoveVisit *state = arg;

	if (bsearch(generation, state->generations, state->count, sizeof(*generation), compare_generations) != NULL)
		iqdb_pg_remove_file(path);
}

void
iqdb_pg_files_remove(Oid database, IqdbPgGeneration *generations, int count)
{
	RemoveVisit state = {generations, count};

	if (count == 0)
		return;
	qsort(generations, count, sizeof(*generations), compare_generations);
	iqdb_pg_files_visit(database, remove_visit, &state);
}

bool
iqdb_pg_has_snapshot(Oid database, const IqdbPgGeneration *generation)
{
	GenerationVisit state = {.generation = *generation};

	iqdb_pg_files_visit(database, generation_visit, &state);
	return state.snapshot;
}

uint64
iqdb_pg_files_size(Oid database, const IqdbPgGeneration *generation)
{
	GenerationVisit state = {.generation = *generation};

	iqdb_pg_files_visit(database, generation_visit, &state);
	return state.bytes;
}

void
iqdb_pg_files_remove_database(Oid database)
{
	char		folder[MAXPGPATH];
	DIR		   *dir;
	struct dirent *de;

	iqdb_pg_files_folder(folder, database);
	dir = opendir(folder);
	if (dir == NULL)
		return;
	while ((de = readdir(dir)) != NULL)
	{
		char		path[MAXPGPATH * 2];

		if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0)
			continue;
		snprintf(path, sizeof(path), "%s/%s", folder, de->d_name);
		iqdb_pg_remove_file(path);
	}
	closedir(dir);
	(void) rmdir(folder);
}

void
iqdb_pg_files_visit_databases(void (*visit) (Oid database, void *arg), void *arg)
{
	DIR		   *dir = opendir(IQDB_PG_FOLDER);
	struct dirent *de;

	if (dir == NULL)
		return;
	while ((de = readdir(dir)) != NULL)
	{
		char	   *end;
		unsigned long database = strtoul(de->d_name, &end, 10);

		if (end != de->d_name && *end == '\0' && database != 0)
			visit((Oid) database, arg);
	}
	closedir(dir);
}
