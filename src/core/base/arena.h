/*
 * arena.h - the growable piece of memory that holds an index's working state.
 *
 * An arena is a range of address space, reserved once, that never moves in a process; its bytes become usable step by
 * step. It may be private memory, or a file that many processes map each at its own base: so nothing inside it is a
 * pointer, only offsets and slot numbers. It is cut into regions, each a contiguous growable array with a reserved
 * maximum of its own: an element is at region + number * size, with no directory in between, and growing one region
 * never moves another. What was never committed costs address space only (the file behind it is sparse).
 *
 * One region may be paged: it lies in the same range of address space, but is backed by another mapping, a file on disk that
 * the kernel reads and evicts page by page. It does not count as memory, nor against the limit. The host puts that mapping
 * in its place: before format() with iqdb_arena_region_start(), after attach() by the header. Its file is as long as what is
 * committed of the region, and no longer; offsets for its backing count from the region's first byte.
 *
 * Growth reserves real space first (posix_fallocate, or mprotect on private memory), so a full disk or a full
 * /dev/shm is a clean status of the one call that wanted room, never a signal. A region that nobody reads any more can be
 * given back, and grown again later.
 */
#ifndef IQDB_BASE_ARENA_H
#define IQDB_BASE_ARENA_H

#include "core/base/host.h"
#include "core/base/status.h"

#define IQDB_ARENA_REGIONS_MAX 24
#define IQDB_ARENA_LOCKS 8
#define IQDB_ARENA_PAGE 4096
#define IQDB_ARENA_HUGE (UINT64_C(2) * 1024 * 1024) /* a huge page of most machines */
#define IQDB_ARENA_NO_REGION UINT32_MAX

/* How bytes become usable. commit() must be idempotent for a range that is usable already, must never jump. */
typedef struct IqdbArenaBacking
{
	/* Makes [offset, offset + length) readable and writable; new bytes are zero. */
	IqdbStatus (*commit)(void *arg, uint64_t offset, uint64_t length, IqdbError *err);
	/* Gives the memory behind these bytes back; false when it cannot. They may be committed again. NULL: it never can. */
	bool (*release)(void *arg, uint64_t offset, uint64_t length);
	void *arg;
} IqdbArenaBacking;

typedef struct IqdbArenaRegion
{
	uint64_t offset;    /* from the arena's base, page-aligned */
	uint64_t reserved;  /* bytes it may grow to */
	uint64_t committed; /* bytes usable; read and written atomically */
} IqdbArenaRegion;

/* First bytes of every arena. Shared: changed only under the lock the owner of the arena prescribes. */
typedef struct IqdbArenaHeader
{
	uint64_t        magic;
	uint32_t        layout;        /* layout version: an arena is never read by other code than wrote it */
	uint32_t        region_count;
	uint32_t        paged_region;  /* or IQDB_ARENA_NO_REGION */
	uint32_t        unused;
	uint64_t        total_reserved;
	uint64_t        committed;     /* sum over regions but the paged one, for the limit and for statistics (atomic) */
	uint64_t        limit;         /* committed may not pass this; 0 = no limit */
	IqdbArenaRegion regions[IQDB_ARENA_REGIONS_MAX];
	_Alignas(64) unsigned char locks[IQDB_ARENA_LOCKS][IQDB_LOCK_CELL_SIZE];
} IqdbArenaHeader;

/* A process's view of one arena. */
typedef struct IqdbArena
{
	unsigned char   *base;
	uint64_t         reserved;  /* bytes of address space behind base */
	IqdbArenaBacking backing;
	IqdbArenaBacking paged;     /* of the paged region; commit NULL: this process cannot grow it */
	uint64_t         faults;    /* how often this process had waited for a page when it looked last (atomic) */
	uint32_t         calm;      /* looks since then that found everything in memory (atomic) */
} IqdbArena;

#define IQDB_ARENA_HEADER_SIZE (((sizeof(IqdbArenaHeader) + IQDB_ARENA_PAGE - 1) / IQDB_ARENA_PAGE) * IQDB_ARENA_PAGE)

static inline IqdbArenaHeader *
iqdb_arena_header(const IqdbArena *arena)
{
	return (IqdbArenaHeader *) arena->base;
}

/* Address of the region's first byte in this process. */
static inline void *
iqdb_arena_region(const IqdbArena *arena, uint32_t region)
{
	return arena->base + iqdb_arena_header(arena)->regions[region].offset;
}

static inline void *
iqdb_arena_lock(const IqdbArena *arena, uint32_t lock)
{
	return iqdb_arena_header(arena)->locks[lock];
}

/* Address space that format() with these region reserves will need, or 0 on overflow. */
uint64_t iqdb_arena_size_needed(const uint64_t *region_reserves, uint32_t region_count);

/* Where format() will put a region, from the arena's base; 0 on overflow. */
uint64_t iqdb_arena_region_start(const uint64_t *region_reserves, uint32_t region);

/*
 * Writes a fresh header into an arena of zero bytes: regions with the given reserves (rounded up to pages), nothing
 * committed but the header, locks initialised. paged_region: the one that arena->paged backs, or IQDB_ARENA_NO_REGION.
 * Errors: IQDB_ERR_LIMIT (address space too small), those of commit().
 */
IqdbStatus iqdb_arena_format(IqdbArena *arena, const IqdbLockOps *locks, const uint64_t *region_reserves,
							 uint32_t region_count, uint32_t paged_region, uint64_t limit,
							 IqdbError *err) IQDB_MUST_CHECK;

/* Checks the header of an arena that somebody formatted: IQDB_ERR_CORRUPT or IQDB_ERR_VERSION if it is not ours. */
IqdbStatus iqdb_arena_attach(const IqdbArena *arena, IqdbError *err) IQDB_MUST_CHECK;

/*
 * Makes at least `bytes` bytes of the region usable, growing in larger steps than asked. Callers of one arena serialise
 * calls among themselves. Errors: IQDB_ERR_LIMIT, IQDB_ERR_NO_SPACE, IQDB_ERR_NOMEM; nothing has changed then.
 */
IqdbStatus iqdb_arena_grow(IqdbArena *arena, uint32_t region, uint64_t bytes, IqdbError *err) IQDB_MUST_CHECK;

/*
 * The same as a wish, by anybody, under no lock: a later iqdb_arena_grow() up to so many bytes then has nothing to wait for.
 * May run beside itself and beside growth: who comes second makes bytes usable that already are. Only for regions that are
 * never released. Where there is no room for a step nothing changes: whoever needs the bytes says so.
 */
void iqdb_arena_grow_ahead(IqdbArena *arena, uint32_t region, uint64_t bytes);

/*
 * Gives bytes at the end of a region back to the system, as many as take no longer than a step of growth; true: there are
 * more. Growing it later makes zero bytes. Nobody reads or writes any byte of the region from before the first call until it
 * is grown again. Where the backing cannot (and for the paged region) nothing changes. Serialised like growth.
 */
bool iqdb_arena_release(IqdbArena *arena, uint32_t region);

/* Bytes committed of the paged region. */
uint64_t iqdb_arena_paged_bytes(const IqdbArena *arena);

/*
 * A wish: bytes of the arena that are about to be read begin to come from disk, beside each other and beside the caller, who
 * does not wait. For the paged region; costs a system call.
 */
void iqdb_arena_prefetch(const void *bytes, size_t length);

/*
 * A wish: the pages of these bytes are there, and may be written to without waiting, for as long as the system leaves them.
 * What they hold does not change, whoever writes to them meanwhile. Waits for the disk; costs a system call.
 */
void iqdb_arena_touch(const void *bytes, size_t length);

/* Are all pages of these bytes in memory now? Where the system does not tell, they are. Costs a system call. */
bool iqdb_arena_resident(const void *bytes, size_t length);

/*
 * Is it worth while to look whether bytes of the paged region are in memory? It is after this process had to wait for a page,
 * until some looks in a row (iqdb_arena_calm) found nothing missing. Costs far less than a look.
 */
bool iqdb_arena_uneasy(IqdbArena *arena);
void iqdb_arena_calm(IqdbArena *arena, bool found_all);

/*
 * Puts an open file in the place of the paged region; the descriptor is not needed afterwards. Tells the system that rows
 * are read here and there. Errors: IQDB_ERR_IO, NOMEM; the arena cannot be used then. How the file grows is arena->paged,
 * the caller's to set.
 */
IqdbStatus iqdb_arena_map_paged(IqdbArena *arena, int fd, uint64_t offset, uint64_t length,
								IqdbError *err) IQDB_MUST_CHECK;

/* A file without name behind the paged region of a private arena. */
typedef struct IqdbArenaFile
{
	int         fd; /* -1 = none */
	const char *path;
} IqdbArenaFile;

/*
 * Makes the file at path, mode 0600, in place of what is there, takes its name away at once, and backs region `region` of
 * an arena not formatted yet with it. path is the caller's and must outlive the file, as file_out itself must outlive the
 * arena. Errors: IQDB_ERR_IO, NO_SPACE, NOMEM, LIMIT.
 */
IqdbStatus iqdb_arena_file_create(IqdbArenaFile *file_out, IqdbArena *arena, const char *path,
								  const uint64_t *region_reserves, uint32_t region, IqdbError *err) IQDB_MUST_CHECK;

/* After the arena is destroyed; -1 is no error. */
void iqdb_arena_file_close(IqdbArenaFile *file);

/* Private memory: reserves address space without charging it, commits by changing protection. */
IqdbStatus iqdb_arena_private_create(IqdbArena *arena_out, uint64_t reserve, IqdbError *err) IQDB_MUST_CHECK;
void iqdb_arena_private_destroy(IqdbArena *arena);

/*
 * Moves a private arena to more address space: what it holds is copied, but for the paged region, whose file (NULL: it has
 * none) is mapped anew. No lock of the arena may be held or waited for, and nobody may have an address in it: its base
 * changes. reserves: no less than before. On failure nothing has changed. Errors: LIMIT, NOMEM, IO.
 */
IqdbStatus iqdb_arena_private_move(IqdbArena *arena, const IqdbLockOps *locks, const uint64_t *reserves,
								   uint32_t region_count, const IqdbArenaFile *file, IqdbError *err) IQDB_MUST_CHECK;

#endif
