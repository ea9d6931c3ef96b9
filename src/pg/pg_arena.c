/*
 * pg_arena.c - see pg_arena.h: making arenas, mapping and growing them, and their end. Their names and folders are in
 * pg_arena_files.c, how much memory they may take is in pg_arena_room.c.
 *
 * A file is mapped and closed again: the mapping keeps it, and no descriptor is used up. Growth opens it anew, makes sure
 * that it is still the file behind the mapping, and reserves the blocks before anybody touches them: writing to a hole of
 * a full file system would be a signal that restarts the whole server.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "access/htup_details.h"
#include "access/table.h"
#include "common/file_perm.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/fd.h"
#include "utils/memutils.h"

#include "pg/pg_arena_private.h"
#include "pg/pg_cache.h"
#include "pg/pg_compat.h"
#include "pg/pg_files.h"
#include "pg/pg_kernels.h"
#include "pg/pg_options.h"
#include "pg/pg_registry.h"
#include "pg/pg_settings.h"

/* Address space is reserved for so many times the rows that the table's pages can hold, and for so many rows at least. */
#define RESERVE_TIMES 2
#define RESERVE_ROWS UINT64CONST(1024)

/* An arena that has outgrown its reserve is made anew with so many times that. */
#define RESERVE_GROWTH 4

/* Seconds after which a mapping that nobody used is given back; and this many mappings are looked at in each transaction. */
#define IDLE_SECONDS 60
#define FEW_MAPPINGS 64

/* Address space that a process keeps for what else it allocates. */
#define ADDRESS_SPACE_LEFT ((size_t) 16 * 1024 * 1024)

static IqdbPgArena *arenas;
static int	mapped;				/* how many there are */
static bool look_due;			/* some of them may be over: the end of this transaction looks at all */
static MemoryContext arena_context;

/* Transactions of this process so far, those that did nothing with an index included. */
static uint64 transaction_round = 1;

/* ---- memory of a mapping ---- */

static bool
same_file(const struct stat *st, uint64 device, uint64 inode)
{
	return (uint64) st->st_dev == device && (uint64) st->st_ino == inode;
}

static int
allocate_blocks(int fd, uint64 offset, uint64 length)
{
	sigset_t	saved;
	int			rc;

	/* a storm of signals would interrupt the call for ever */
	sigprocmask(SIG_SETMASK, &BlockSig, &saved);
	do
		rc = posix_fallocate(fd, (off_t) offset, (off_t) length);
	while (rc == EINTR);
	sigprocmask(SIG_SETMASK, &saved, NULL);
	return rc;
}

/* Opens a file if it is still the one that is mapped; else -1, with errno set. */
static int
open_mapped(const char *path, uint64 device, uint64 inode)
{
	struct stat st;
	int			fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);

	if (fd >= 0 && (fstat(fd, &st) != 0 || !same_file(&st, device, inode)))
	{
		close(fd);
		fd = -1;
		errno = ESTALE;
	}
	return fd;
}

/* Reserves blocks of a file if it is still the one that is mapped. */
static IqdbStatus
grow_file(const char *path, uint64 device, uint64 inode, uint64 offset, uint64 length, IqdbError *err)
{
	int			fd = open_mapped(path, device, inode);
	int			rc;

	if (fd < 0)
		return iqdb_fail_io(err, errno, path, errno == ESTALE ? "grow" : "open");
	rc = allocate_blocks(fd, offset, length);
	close(fd);
	return rc == 0 ? IQDB_OK : iqdb_fail_io(err, rc, path, "grow");
}

static IqdbStatus
commit_blocks(void *arg, uint64_t offset, uint64_t length, IqdbError *err)
{
	IqdbPgArena *entry = arg;
	IqdbStatus	status;

	iqdb_pg_arena_keep_promise(entry, length);
	entry->vectors_full = false;
	entry->all_full = !iqdb_pg_arena_take_memory(length);
	if (entry->all_full)
		return iqdb_fail(err, IQDB_ERR_LIMIT,
						 "%llu more bytes would pass the memory limit of all indexes together, %llu bytes",
						 (unsigned long long) length, (unsigned long long) iqdb_pg_arena_all_limit());
	status = grow_file(entry->path, entry->device, entry->inode, offset, length, err);
	if (status != IQDB_OK)
		iqdb_pg_arena_give_memory(length);
	return status;
}

/* Whoever maps the file finds a hole there, and does not look. */
static bool
release_blocks(void *arg, uint64_t offset, uint64_t length)
{
	IqdbPgArena *entry = arg;
	int			fd = open_mapped(entry->path, entry->device, entry->inode);
	bool		released;

	if (fd < 0)
		return false;
	released = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t) offset, (off_t) length) == 0;
	close(fd);
	if (released)
		iqdb_pg_arena_give_memory(length);
	return released;
}

static IqdbStatus
commit_vectors(void *arg, uint64_t offset, uint64_t length, IqdbError *err)
{
	IqdbPgArena *entry = arg;
	IqdbStatus	status = grow_file(entry->vectors_path, entry->vectors_device, entry->vectors_inode, offset, length, err);

	entry->vectors_full = status == IQDB_ERR_NO_SPACE;
	return status;
}

static IqdbPgArena *
new_entry(uint32 relation_number, const IqdbPgGeneration *generation)
{
	IqdbPgArena *entry;

	if (arena_context == NULL)
		arena_context = AllocSetContextCreate(TopMemoryContext, "iqdb arenas", ALLOCSET_SMALL_SIZES);
	entry = MemoryContextAllocZero(arena_context, sizeof(IqdbPgArena));
	entry->database = MyDatabaseId;
	entry->relation_number = relation_number;
	entry->generation = *generation;
	entry->host = iqdb_pg_host(arena_context);
	entry->round = transaction_round;
	return entry;
}

static void
unmap(IqdbPgArena *entry)
{
	if (entry->is_private)
		iqdb_arena_private_destroy(&entry->arena);
	else if (entry->arena.base != NULL)
		munmap(entry->arena.base, entry->arena.reserved);
	pfree(entry);
}

static void
join(IqdbPgArena *entry)
{
	entry->next = arenas;
	arenas = entry;
	mapped++;
}

/* Unmaps what the entry behind *link has, and takes it out of the list. */
static void
leave(IqdbPgArena **link)
{
	IqdbPgArena *entry = *link;

	*link = entry->next;
	mapped--;
	unmap(entry);
}

/* Unmaps every arena that this transaction has not looked up: nobody has a pointer into them. false if there was none. */
static bool
give_back(void)
{
	IqdbPgArena **link = &arenas;
	int			before = mapped;

	while (*link != NULL)
	{
		if ((*link)->round != transaction_round && !(*link)->is_private)
			leave(link);
		else
			link = &(*link)->next;
	}
	return mapped < before;
}

/*
 * A process whose address space is limited must not fill it with mappings to the brim: the server's own allocations come
 * next, and where they fail the session ends. Older mappings make way until some is left.
 */
static void
leave_address_space(void)
{
	void	   *probe;

	do
	{
		probe = mmap(NULL, ADDRESS_SPACE_LEFT, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (probe != MAP_FAILED)
			(void) munmap(probe, ADDRESS_SPACE_LEFT);
	} while (probe == MAP_FAILED && give_back());
}

/* Maps the open file; false with errno set. */
static bool
map_file(IqdbPgArena *entry, int fd)
{
	struct stat st;
	void	   *base;

	if (fstat(fd, &st) != 0)
		return false;
	/* everybody may make files in /dev/shm, under any name */
	if (!S_ISREG(st.st_mode) || st.st_uid != geteuid())
	{
		errno = EPERM;
		return false;
	}
	if (st.st_size < (off_t) IQDB_ARENA_HEADER_SIZE)
	{
		errno = EINVAL;
		return false;
	}
	do
		base = iqdb_pg_arena_map_pages(fd, (size_t) st.st_size);
	while (base == MAP_FAILED && errno == ENOMEM && give_back());
	if (base == MAP_FAILED)
		return false;
	leave_address_space();
	entry->arena.base = base;
	entry->arena.reserved = (uint64) st.st_size;
	entry->arena.backing.commit = commit_blocks;
	entry->arena.backing.release = release_blocks;
	entry->arena.backing.arg = entry;
	entry->device = st.st_dev;
	entry->inode = st.st_ino;
	return true;
}

/* Puts the open file of vectors in its place; false with errno set. */
static bool
map_vectors_file(IqdbPgArena *entry, int fd, uint64 offset, uint64 length)
{
	struct stat st;
	IqdbError	error = {0};
	IqdbStatus	status;

	if (fstat(fd, &st) != 0)
		return false;
	if (!S_ISREG(st.st_mode) || st.st_uid != geteuid())
	{
		errno = EPERM;
		return false;
	}
	do
		status = iqdb_arena_map_paged(&entry->arena, fd, offset, length, &error);
	while (status == IQDB_ERR_NOMEM && give_back());
	if (status != IQDB_OK)
	{
		errno = error.sys_errno != 0 ? error.sys_errno : EINVAL;
		return false;
	}
	entry->vectors_device = st.st_dev;
	entry->vectors_inode = st.st_ino;
	entry->arena.paged.commit = commit_vectors;
	entry->arena.paged.arg = entry;
	return true;
}

/* An arena that somebody else made: its vectors, too, if they are in a file, and that file is the one it was made with. */
static bool
map_vectors(IqdbPgArena *entry)
{
	const IqdbArenaHeader *header = iqdb_arena_header(&entry->arena);
	uint64		committed = iqdb_arena_paged_bytes(&entry->arena);
	struct stat st;
	int			fd;
	bool		ok;

	if (header->paged_region == IQDB_ARENA_NO_REGION)
		return true;
	strlcpy(entry->vectors_path, entry->shared->vectors_path, sizeof(entry->vectors_path));
	fd = open(entry->vectors_path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return false;
	/* what lies behind its end must never be touched */
	ok = fstat(fd, &st) == 0 && same_file(&st, entry->shared->vectors_device, entry->shared->vectors_inode) &&
		(uint64) st.st_size >= committed &&
		map_vectors_file(entry, fd, header->regions[header->paged_region].offset,
						 header->regions[header->paged_region].reserved);
	close(fd);
	return ok;
}

/* ---- finding ---- */

static bool
is_of(const IqdbPgArena *entry, uint32 relation_number, const IqdbPgGeneration *generation)
{
	return entry->database == MyDatabaseId && entry->relation_number == relation_number &&
		entry->generation.low == generation->low && entry->generation.high == generation->high;
}

/* A copy of a database has the relation numbers and generations of its template. */
static IqdbPgArena *
lookup(Oid database, uint32 relation_number, const IqdbPgGeneration *generation)
{
	for (IqdbPgArena *entry = arenas; entry != NULL; entry = entry->next)
		if (entry->database == database && entry->relation_number == relation_number &&
			entry->generation.low == generation->low && entry->generation.high == generation->high &&
			pg_atomic_read_u32(&entry->shared->state) != IQDB_PG_DEAD)
		{
			entry->round = transaction_round;
			return entry;
		}
	return NULL;
}

IqdbPgArena *
iqdb_pg_arena_lookup(uint32 relation_number, const IqdbPgGeneration *generation)
{
	return lookup(MyDatabaseId, relation_number, generation);
}

/* Maps a file and joins it to the list if it is the arena it should be, in the state wanted. Takes over the entry. */
static bool
map_entry(IqdbPgArena *entry, IqdbPgState wanted)
{
	int			fd = open(entry->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	bool		mapped;

	if (fd < 0)
	{
		pfree(entry);
		return false;
	}
	mapped = map_file(entry, fd);
	close(fd);
	if (mapped && iqdb_arena_attach(&entry->arena, NULL) == IQDB_OK &&
		iqdb_index_attach(&entry->index, &entry->arena, &entry->host, iqdb_pg_kernels(), NULL) == IQDB_OK)
	{
		entry->shared = iqdb_index_host_region(&entry->index);
		if (entry->shared->token == iqdb_pg_registry()->token &&
			entry->shared->generation.low == entry->generation.low &&
			entry->shared->generation.high == entry->generation.high &&
			pg_atomic_read_u32(&entry->shared->state) == wanted && map_vectors(entry))
		{
			join(entry);
			return true;
		}
	}
	unmap(entry);
	return false;
}

/* An arena that is wanted, and where it was found. */
typedef struct Wanted
{
	uint32		relation_number;
	const IqdbPgGeneration *generation;
	IqdbPgState state;
	IqdbPgArena *found;
} Wanted;

static bool
map_in_folder(const char *folder, void *arg)
{
	Wanted	   *wanted = arg;
	IqdbPgArena *entry = new_entry(wanted->relation_number, wanted->generation);

	iqdb_pg_arena_path(entry->path, folder, MyDatabaseId, wanted->relation_number, wanted->generation);
	entry->fallback = iqdb_pg_arena_on_disk(folder);
	if (map_entry(entry, wanted->state))
		wanted->found = entry;
	return wanted->found == NULL;
}

/* It may have been made when iqdb.arena_directory named another folder. */
static IqdbPgArena *
map_in_state(uint32 relation_number, const IqdbPgGeneration *generation, IqdbPgState state)
{
	Wanted		wanted = {relation_number, generation, state, NULL};

	if (iqdb_pg_made(MyDatabaseId, relation_number))
		iqdb_pg_arena_visit_folders(map_in_folder, &wanted);
	return wanted.found;
}

IqdbPgArena *
iqdb_pg_arena_map_path(const char *path, Oid database, uint32 relation_number, const IqdbPgGeneration *generation)
{
	IqdbPgArena *entry = lookup(database, relation_number, generation);

	if (entry != NULL)
		return entry;
	entry = new_entry(relation_number, generation);
	entry->database = database;
	strlcpy(entry->path, path, sizeof(entry->path));
	return map_entry(entry, IQDB_PG_READY) ? entry : NULL;
}

void
iqdb_pg_arena_flush_logs(bool sync)
{
	for (IqdbPgArena *entry = arenas; entry != NULL; entry = entry->next)
		if (pg_atomic_read_u32(&entry->shared->state) == IQDB_PG_READY)
			iqdb_pg_log_flush(entry, sync, true);
}

IqdbPgArena *
iqdb_pg_arena_map(uint32 relation_number, const IqdbPgGeneration *generation)
{
	return map_in_state(relation_number, generation, IQDB_PG_READY);
}

IqdbPgArena *
iqdb_pg_arena_map_loading(uint32 relation_number, const IqdbPgGeneration *generation)
{
	return map_in_state(relation_number, generation, IQDB_PG_LOADING);
}

/* ---- making ---- */

/* Creates, sizes and maps the file at entry->path; false with errno set, the file is then gone. */
static bool
create_file(IqdbPgArena *entry, uint64 size)
{
	int			fd;
	int			saved;
	bool		ok;

	(void) unlink(entry->path);
	fd = open(entry->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, pg_file_create_mode);
	if (fd < 0)
		return false;
	ok = ftruncate(fd, (off_t) size) == 0;
	if (ok)
	{
		int			rc = allocate_blocks(fd, 0, IQDB_ARENA_HEADER_SIZE);

		errno = rc;
		ok = rc == 0 && map_file(entry, fd);
	}
	saved = errno;
	close(fd);
	if (!ok)
		(void) unlink(entry->path);
	errno = saved;
	return ok;
}

/* Creates the file of vectors, empty, and puts it in its place; false with errno set, the file is then gone. */
static bool
create_vectors(IqdbPgArena *entry, const char *path, const uint64 *reserves)
{
	uint64		offset = iqdb_arena_region_start(reserves, IQDB_REGION_VECTORS);
	int			fd;
	int			saved;
	bool		ok;

	iqdb_pg_arena_vectors_path(entry->vectors_path, path);
	if (!iqdb_pg_arena_note_folder(iqdb_pg_vectors_folder()))
		return false;
	(void) mkdir(IQDB_PG_DISK_FOLDER, pg_dir_create_mode);
	(void) unlink(entry->vectors_path);
	fd = open(entry->vectors_path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, pg_file_create_mode);
	if (fd < 0)
		return false;
	ok = map_vectors_file(entry, fd, offset, TYPEALIGN64(IQDB_ARENA_PAGE, reserves[IQDB_REGION_VECTORS]));
	saved = errno;
	close(fd);
	if (!ok)
		(void) unlink(entry->vectors_path);
	errno = saved;
	return ok;
}

/* Takes away the names of the files that an entry is backed by. */
static void
unlink_files(const IqdbPgArena *entry)
{
	(void) unlink(entry->path);
	if (entry->vectors_path[0] != '\0')
		(void) unlink(entry->vectors_path);
}

static void
fill_shared(IqdbPgArena *entry, Relation index, uint64 reserve)
{
	IqdbPgShared *shared = iqdb_index_host_region(&entry->index);

	shared->token = iqdb_pg_registry()->token;
	shared->generation = entry->generation;
	shared->database = MyDatabaseId;
	shared->relation_number = entry->relation_number;
	strlcpy(shared->vectors_path, entry->vectors_path, sizeof(shared->vectors_path));
	shared->vectors_device = entry->vectors_device;
	shared->vectors_inode = entry->vectors_inode;
	shared->reserved = reserve;
	shared->permanent = !entry->is_private && index->rd_rel->relpersistence == RELPERSISTENCE_PERMANENT;
	iqdb_pg_snapshot_settle(shared, index);
	pg_atomic_init_u32(&shared->state, IQDB_PG_LOADING);
	pg_atomic_init_u64(&shared->promised, 0);
	pg_atomic_init_u32(&shared->keeper_at_work, 0);
	pg_atomic_init_u64(&shared->applied.number, 0);
	pg_atomic_init_u64(&shared->applied.block, 1);
	pg_atomic_init_u64(&shared->applied.lsn, 0);
	pg_atomic_init_u32(&shared->unbuilt, 0);
	pg_atomic_init_u32(&shared->full, 0);
	pg_atomic_init_u32(&shared->log.state, IQDB_PG_LOG_NONE);
	pg_atomic_init_u32(&shared->log.unsynced, 0);
	pg_atomic_init_u64(&shared->log.dropped, 0);
	pg_atomic_init_u64(&shared->snapshots.number, 0);
	pg_atomic_init_u64(&shared->snapshots.older, 0);
	pg_atomic_init_u64(&shared->snapshots.time, 0);
	pg_atomic_init_u64(&shared->snapshots.bytes, 0);
	pg_atomic_init_u64(&shared->snapshots.weight, 0);
	pg_atomic_init_u32(&shared->snapshots.wanted, 0);
	entry->shared = shared;
}

/*
 * Bytes of memory to reserve address space for: for some times what the table's pages can hold now, and more than an arena had
 * that this one replaces.
 */
static uint64
choose_reserve(Relation index, const IqdbIndexOptions *options, const IqdbPgGeneration *generation, double rows,
			   uint64 limit)
{
	uint32		number = iqdb_pg_file_number(iqdb_pg_rel_file(index));
	Relation	heap = table_open(index->rd_index->indrelid, NoLock);
	uint64		slots = (uint64) RelationGetNumberOfBlocks(heap) * MaxHeapTuplesPerPage;
	uint64		reserve;

	table_close(heap, NoLock);
	slots = RESERVE_TIMES * Max(slots, (uint64) Max(rows, 0));
	reserve = iqdb_index_reserve_for(options, Max(slots, RESERVE_ROWS));
	for (IqdbPgArena *entry = arenas; entry != NULL; entry = entry->next)
		if (is_of(entry, number, generation))
			reserve = Max(reserve, entry->shared->reserved * RESERVE_GROWTH);
	return Min(reserve, limit);
}

/* One attempt in one folder: path is the name it is to get. Raises nothing. */
static IqdbStatus
create_in(IqdbPgArena *entry, const char *folder, const char *path, const IqdbIndexOptions *options,
		  const uint64 *reserves, uint64 reserve, uint64 limit, IqdbError *error)
{
	uint64		size = iqdb_arena_size_needed(reserves, IQDB_ARENA_REGIONS_MAX);

	if (entry->is_private)
	{
		IqdbStatus	status;

		do
			status = iqdb_arena_private_create(&entry->arena, size, error);
		while (status == IQDB_ERR_NOMEM && give_back());
		IQDB_TRY(status);
	}
	else if (!iqdb_pg_arena_note_folder(folder) || !create_file(entry, size))
		return iqdb_fail_io(error, errno, entry->path, errno == ENOMEM ? "map" : "create");
	else if (iqdb_index_options_on_disk(options) && !create_vectors(entry, path, reserves))
		return iqdb_fail_io(error, errno, entry->vectors_path, errno == ENOMEM ? "map" : "create");
	return iqdb_index_format(&entry->index, &entry->arena, &entry->host, iqdb_pg_kernels(), options, reserve, limit,
							 sizeof(IqdbPgShared), reserves[IQDB_REGION_HOST], error);
}

/*
 * Gives the file its name, when everything that another process reads at once has its blocks: reading a hole of a full
 * file system is a signal, too.
 */
static IqdbStatus
publish(IqdbPgArena *entry, const char *path, IqdbError *error)
{
	if (rename(entry->path, path) != 0)
		return iqdb_fail_io(error, errno, entry->path, "rename");
	strlcpy(entry->path, path, sizeof(entry->path));
	return IQDB_OK;
}

/*
 * Where it is made: under a name of its own until it is finished, path is what it gets then. One in private memory has no file;
 * that of the relation tells when it is dropped.
 */
static void
name_new(IqdbPgArena *entry, Relation index, const char *folder, char *path)
{
	if (entry->is_private)
	{
		iqdb_pg_fork_path(iqdb_pg_rel_file(index), index->rd_backend, MAIN_FORKNUM, entry->path);
		return;
	}
	iqdb_pg_arena_path(path, folder, entry->database, entry->relation_number, &entry->generation);
	strlcpy(entry->path, path, sizeof(entry->path));
	strlcat(entry->path, IQDB_PG_NEW_SUFFIX, sizeof(entry->path));
	iqdb_pg_made_note(entry->database, entry->relation_number);
}

IqdbPgArena *
iqdb_pg_arena_create(Relation index, const IqdbPgMeta *meta, const IqdbIndexOptions *wanted, bool is_private,
					 bool avoid_shm, double rows, IqdbError *error)
{
	IqdbIndexOptions options = *wanted;
	uint64		reserves[IQDB_ARENA_REGIONS_MAX];
	uint64		limit = iqdb_pg_arena_limit();
	uint64		reserve;
	uint64		needed;
	IqdbStatus	status = IQDB_ERR_LIMIT;
	char		path[MAXPGPATH];

	if (is_private)
		options.vectors = IQDB_VECTORS_MEMORY;
	reserve = choose_reserve(index, &options, &meta->generation, rows, limit);
	(void) iqdb_index_reserves(&options, reserve, iqdb_pg_cache_offset() + iqdb_pg_cache_reserve(index, &options), reserves);
	needed = iqdb_index_estimate_memory(&options, (uint64) Max(rows, 0)) + sizeof(IqdbPgShared);
	(void) iqdb_pg_registry();
	for (int choice = 0; is_private ? choice == 0 : iqdb_pg_arena_folder(choice) != NULL; choice++)
	{
		IqdbPgArena *entry;

		if (!is_private && choice == 0 && iqdb_pg_arena_folder(1) != NULL &&
			(avoid_shm || !iqdb_pg_arena_has_room(iqdb_pg_arena_folder(0), needed)))
			continue;
		if (choice == 1)
			(void) mkdir(iqdb_pg_arena_folder(1), pg_dir_create_mode);
		entry = new_entry(iqdb_pg_file_number(iqdb_pg_rel_file(index)), &meta->generation);
		entry->fallback = choice > 0;
		entry->is_private = is_private;
		entry->is_made_here = true;
		name_new(entry, index, iqdb_pg_arena_folder(choice), path);
		status = create_in(entry, iqdb_pg_arena_folder(choice), path, &options, reserves, reserve, limit, error);
		if (status == IQDB_OK)
		{
			fill_shared(entry, index, reserve);
			if (!is_private && choice == 0)
				iqdb_pg_arena_promise(entry, needed);
		}
		if (status == IQDB_OK && !is_private)
			status = publish(entry, path, error);
		if (status == IQDB_OK)
		{
			join(entry);
			look_due = true;
			return entry;
		}
		if (entry->shared != NULL)
			iqdb_pg_arena_end_promise(entry);
		if (!is_private && entry->arena.base != NULL)
			unlink_files(entry);
		unmap(entry);
		if (status != IQDB_ERR_NO_SPACE && status != IQDB_ERR_IO && status != IQDB_ERR_NOMEM)
			break;
	}
	if (!iqdb_pg_is_want_of_room(status) && status != IQDB_ERR_IO)
		iqdb_pg_raise(status, error, index);
	return NULL;
}

/* ---- end of life ---- */

static bool
is_file(const char *path, uint64 device, uint64 inode)
{
	struct stat st;

	return path[0] != '\0' && stat(path, &st) == 0 && same_file(&st, device, inode);
}

void
iqdb_pg_arena_set_ready(IqdbPgArena *arena)
{
	iqdb_pg_arena_end_promise(arena);
	pg_write_barrier();
	pg_atomic_write_u32(&arena->shared->state, IQDB_PG_READY);
}

bool
iqdb_pg_arena_outgrown(const IqdbPgArena *arena)
{
	const IqdbArenaHeader *header = iqdb_arena_header(&arena->arena);

	/* a step of growth short of the limit it is the limit that is in the way */
	return !arena->all_full && arena->shared->reserved < header->limit &&
		__atomic_load_n(&header->committed, __ATOMIC_RELAXED) < header->limit - header->limit / 16;
}

bool
iqdb_pg_arena_was_outgrown(uint32 relation_number, const IqdbPgGeneration *generation)
{
	/* the newest comes first */
	for (IqdbPgArena *entry = arenas; entry != NULL; entry = entry->next)
		if (is_of(entry, relation_number, generation))
			return iqdb_pg_arena_outgrown(entry);
	return false;
}

void
iqdb_pg_arena_discard(IqdbPgArena *arena)
{
	pg_atomic_write_u32(&arena->shared->state, IQDB_PG_DEAD);
	iqdb_pg_arena_end_promise(arena);
	look_due = true;
	if (arena->is_private)
		return;
	if (is_file(arena->path, arena->device, arena->inode))
		(void) unlink(arena->path);
	if (is_file(arena->vectors_path, arena->vectors_device, arena->vectors_inode))
		(void) unlink(arena->vectors_path);
}

bool
iqdb_pg_arena_is_stale(const IqdbPgArena *arena)
{
	if (arena->is_private)
		return false;
	return !is_file(arena->path, arena->device, arena->inode) ||
		(arena->vectors_path[0] != '\0' &&
		 !is_file(arena->vectors_path, arena->vectors_device, arena->vectors_inode));
}

/*
 * Has nobody any use for it? One that its maker finds unfinished now never will be: his statement failed. Workers that only
 * help him leave it to him: he and the others are still at it when one of them fails.
 */
static bool
is_over(IqdbPgArena *entry)
{
	uint32		state = pg_atomic_read_u32(&entry->shared->state);

	if (state == IQDB_PG_LOADING && entry->is_made_here)
		iqdb_pg_arena_discard(entry);
	/* the server does not say which temporary relations a transaction drops */
	return state != IQDB_PG_READY || (entry->is_private && access(entry->path, F_OK) != 0 && errno == ENOENT);
}

void
iqdb_pg_arena_end_of_transaction(void)
{
	static uint64 looked_at;	/* the transaction at whose end all were looked at last, ... */
	static time_t looked;		/* ... and when */
	IqdbPgArena **link = &arenas;
	uint64		since = looked_at;
	time_t		now;

	transaction_round++;
	if (arenas == NULL)
		return;
	now = time(NULL);
	/* each look is at memory that others write to: with many of them, once a second will do */
	if (mapped > FEW_MAPPINGS && now == looked && !look_due)
		return;
	while (*link != NULL)
	{
		IqdbPgArena *entry = *link;

		if (entry->round > since)
			entry->used = now;
		if (is_over(entry) || (!entry->is_private && now - entry->used > IDLE_SECONDS))
			leave(link);
		else
			link = &entry->next;
	}
	looked_at = transaction_round - 1;
	looked = now;
	look_due = false;
}

/* Frees the blocks of the file of vectors, if it is the one that belongs to this arena. */
static void
punch_vectors(const IqdbPgShared *shared)
{
	struct stat st;
	int			fd;

	fd = open(shared->vectors_path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return;
	if (fstat(fd, &st) == 0 && same_file(&st, shared->vectors_device, shared->vectors_inode) && st.st_size > 0)
		(void) fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, st.st_size);
	close(fd);
}

/* Gives the memory of a dropped index back although others still map it: everything but the pages with header and state. */
void
iqdb_pg_arena_punch(const char *path)
{
	int			fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;
	IqdbPgArena entry;

	if (fd < 0)
		return;
	memset(&entry, 0, sizeof(entry));
	if (fstat(fd, &st) == 0 && map_file(&entry, fd))
	{
		IqdbIndex	index;
		IqdbHost	host = iqdb_pg_host(CurrentMemoryContext);

		if (iqdb_arena_attach(&entry.arena, NULL) == IQDB_OK &&
			iqdb_index_attach(&index, &entry.arena, &host, iqdb_pg_kernels(), NULL) == IQDB_OK)
		{
			IqdbArenaHeader *header = iqdb_arena_header(&entry.arena);
			IqdbPgShared *shared = iqdb_index_host_region(&index);

			(void) pg_atomic_exchange_u32(&shared->state, IQDB_PG_DEAD);
			/* whoever is not the keeper holds a lock on the relation while it works, and we hold a stronger one */
			for (uint32 i = 0; i < header->region_count && pg_atomic_read_u32(&shared->keeper_at_work) == 0; i++)
				if (i == header->paged_region)
					punch_vectors(shared);
				else if (i != IQDB_REGION_HEADERS && i != IQDB_REGION_HOST && header->regions[i].committed > 0)
					(void) fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
									 (off_t) header->regions[i].offset, (off_t) header->regions[i].committed);
		}
		munmap(entry.arena.base, entry.arena.reserved);
	}
	close(fd);
}

bool
iqdb_pg_arena_forget_private(uint32 relation_number, IqdbPgGeneration *generation_out)
{
	bool		found = false;

	for (IqdbPgArena *entry = arenas; entry != NULL; entry = entry->next)
		if (entry->is_private && entry->relation_number == relation_number)
		{
			pg_atomic_write_u32(&entry->shared->state, IQDB_PG_DEAD);
			look_due = true;
			*generation_out = entry->generation;
			found = true;
		}
	return found;
}
