/*
 * arena.c - layout, growth and checking of arenas, and arenas on private memory.
 *
 * Owns: the header's content. Does not own: what the regions mean, nor the lock under which an arena grows (the
 * arena's owner serialises growth); a shared file as backing is the host's.
 *
 * `committed` of a region only grows while it is not released, and by compare and swap: growth ahead of need runs under no
 * lock beside growth under one.
 *
 * Bytes of an arena: header (IQDB_ARENA_HEADER_SIZE), then the regions one after the other, each at a page boundary
 * with its whole reserve. Readers that do not hold the growth lock may read `committed` of a region: it is stored with
 * release order after the bytes became usable.
 */
#define _DEFAULT_SOURCE
#include "core/base/arena.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define ARENA_MAGIC UINT64_C(0x616e657261626471) /* "qdbarena" on a little-endian machine */
#define ARENA_LAYOUT 3
/*
 * The first steps double a region, from 16 kB to 64 kB; later ones are a 32nd of it, and no less than 64 kB. No step is
 * larger than what a file system hands out in some milliseconds: writers wait for it.
 */
#define ARENA_STEP_FIRST (UINT64_C(16) * 1024)
#define ARENA_STEP_MIN (UINT64_C(64) * 1024)
#define ARENA_STEP_MAX (UINT64_C(64) * 1024 * 1024)
#define ARENA_STEP_DIVISOR 32

/*
 * Regions that may grow large begin at multiples of a huge page, and grow to multiples of it once they are large: so memory
 * comes in huge pages where the system gives them, which a scan is up to twice as fast on.
 */
#define ARENA_HUGE_FROM (UINT64_C(8) * 1024 * 1024)

/* Bytes asked for by one call. */
#define PREFETCH_PIECE ((size_t) 1024 * 1024)

/* So many looks in a row must find everything in memory before there are no more. */
#define CALM_LOOKS 4

/* The longest stretch of pages that is looked at: a vector of the largest dimension is 16. */
#define RESIDENT_PAGES 32

/* Private memory: steps up to this are filled with pages at once. */
#define POPULATE_MAX (UINT64_C(1024) * 1024)

_Static_assert(sizeof(IqdbArenaHeader) % 64 == 0, "lock cells keep the header a multiple of a cache line");
_Static_assert(offsetof(IqdbArenaHeader, locks) % 64 == 0, "lock cells start at a cache line");

/* false when the result does not fit */
static bool
page_round(uint64_t bytes, uint64_t *out)
{
	if (bytes > UINT64_MAX - (IQDB_ARENA_PAGE - 1))
		return false;
	*out = (bytes + IQDB_ARENA_PAGE - 1) / IQDB_ARENA_PAGE * IQDB_ARENA_PAGE;
	return true;
}

/* Where a region of this (rounded) reserve begins when everything before it ends at `end`; false on overflow. */
static bool
region_start(uint64_t end, uint64_t reserved, uint64_t *out)
{
	*out = end;
	if (reserved < ARENA_HUGE_FROM)
		return true;
	if (end > UINT64_MAX - (IQDB_ARENA_HUGE - 1))
		return false;
	*out = (end + IQDB_ARENA_HUGE - 1) / IQDB_ARENA_HUGE * IQDB_ARENA_HUGE;
	return true;
}

uint64_t
iqdb_arena_size_needed(const uint64_t *region_reserves, uint32_t region_count)
{
	uint64_t total = IQDB_ARENA_HEADER_SIZE;

	if (region_count > IQDB_ARENA_REGIONS_MAX)
		return 0;
	for (uint32_t i = 0; i < region_count; i++)
	{
		uint64_t rounded;

		if (!page_round(region_reserves[i], &rounded) || !region_start(total, rounded, &total) ||
			__builtin_add_overflow(total, rounded, &total))
			return 0;
	}
	return total;
}

uint64_t
iqdb_arena_region_start(const uint64_t *region_reserves, uint32_t region)
{
	uint64_t end = iqdb_arena_size_needed(region_reserves, region);
	uint64_t rounded;
	uint64_t start;

	if (end == 0 || !page_round(region_reserves[region], &rounded) || !region_start(end, rounded, &start))
		return 0;
	return start;
}

IqdbStatus
iqdb_arena_format(IqdbArena *arena, const IqdbLockOps *locks, const uint64_t *region_reserves, uint32_t region_count,
				  uint32_t paged_region, uint64_t limit, IqdbError *err)
{
	uint64_t         needed = iqdb_arena_size_needed(region_reserves, region_count);
	uint64_t         offset = IQDB_ARENA_HEADER_SIZE;
	IqdbArenaHeader *header;

	if (region_count > IQDB_ARENA_REGIONS_MAX)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "an arena has at most %d regions", IQDB_ARENA_REGIONS_MAX);
	if (needed == 0 || needed > arena->reserved)
		return iqdb_fail(err, IQDB_ERR_LIMIT, "arena needs %llu bytes of address space, %llu are reserved",
						 (unsigned long long) needed, (unsigned long long) arena->reserved);
	IQDB_TRY(arena->backing.commit(arena->backing.arg, 0, IQDB_ARENA_HEADER_SIZE, err));

	header = iqdb_arena_header(arena);
	memset(header, 0, sizeof(*header));
	header->layout = ARENA_LAYOUT;
	header->region_count = region_count;
	header->paged_region = paged_region;
	header->total_reserved = needed;
	header->limit = limit;
	for (uint32_t i = 0; i < region_count; i++)
	{
		IqdbArenaRegion *region = &header->regions[i];

		(void) page_round(region_reserves[i], &region->reserved);
		(void) region_start(offset, region->reserved, &region->offset);
		offset = region->offset + region->reserved;
	}
	for (int i = 0; i < IQDB_ARENA_LOCKS; i++)
		locks->init(locks->arg, header->locks[i]);
	/* last: an arena without its magic was never finished */
	__atomic_store_n(&header->magic, ARENA_MAGIC, __ATOMIC_RELEASE);
	return IQDB_OK;
}

IqdbStatus
iqdb_arena_attach(const IqdbArena *arena, IqdbError *err)
{
	const IqdbArenaHeader *header = iqdb_arena_header(arena);
	uint64_t               offset = IQDB_ARENA_HEADER_SIZE;

	if (arena->reserved < IQDB_ARENA_HEADER_SIZE)
		return iqdb_fail(err, IQDB_ERR_CORRUPT, "mapping is smaller than an arena header");
	if (__atomic_load_n(&header->magic, __ATOMIC_ACQUIRE) != ARENA_MAGIC)
		return iqdb_fail(err, IQDB_ERR_CORRUPT, "arena header has no magic number");
	if (header->layout != ARENA_LAYOUT)
		return iqdb_fail(err, IQDB_ERR_VERSION, "arena has layout %u, this build reads %u", (unsigned) header->layout,
						 (unsigned) ARENA_LAYOUT);
	if (header->region_count > IQDB_ARENA_REGIONS_MAX)
		return iqdb_fail(err, IQDB_ERR_CORRUPT, "arena claims %u regions", (unsigned) header->region_count);
	if (header->paged_region != IQDB_ARENA_NO_REGION && header->paged_region >= header->region_count)
		return iqdb_fail(err, IQDB_ERR_CORRUPT, "arena claims that region %u is paged", (unsigned) header->paged_region);
	for (uint32_t i = 0; i < header->region_count; i++)
	{
		const IqdbArenaRegion *region = &header->regions[i];
		uint64_t               committed = __atomic_load_n(&region->committed, __ATOMIC_ACQUIRE);

		if (region->reserved % IQDB_ARENA_PAGE != 0 || !region_start(offset, region->reserved, &offset) ||
			region->offset != offset || committed > region->reserved ||
			committed % IQDB_ARENA_PAGE != 0 || __builtin_add_overflow(offset, region->reserved, &offset))
			return iqdb_fail(err, IQDB_ERR_CORRUPT, "arena region %u is inconsistent", (unsigned) i);
	}
	if (offset != header->total_reserved || offset > arena->reserved)
		return iqdb_fail(err, IQDB_ERR_CORRUPT, "arena regions do not add up to the mapping");
	return IQDB_OK;
}

/* What the region would like to grow to: in steps, so that growing element by element stays linear. */
static uint64_t
preferred_target(const IqdbArenaRegion *region, uint64_t committed, uint64_t exact)
{
	uint64_t step = committed / ARENA_STEP_DIVISOR;
	uint64_t target;

	if (step < ARENA_STEP_MIN)
		step = committed < ARENA_STEP_MIN ? committed : ARENA_STEP_MIN;
	if (step < ARENA_STEP_FIRST)
		step = ARENA_STEP_FIRST;
	if (step > ARENA_STEP_MAX)
		step = ARENA_STEP_MAX;
	step = step / IQDB_ARENA_PAGE * IQDB_ARENA_PAGE;
	if (__builtin_add_overflow(committed, step, &target))
		target = region->reserved;
	if (target >= ARENA_HUGE_FROM && target <= UINT64_MAX - (IQDB_ARENA_HUGE - 1))
		target = (target + IQDB_ARENA_HUGE - 1) / IQDB_ARENA_HUGE * IQDB_ARENA_HUGE;
	if (target > region->reserved)
		target = region->reserved;
	return target > exact ? target : exact;
}

/* Bytes from `committed` to target are usable now. Returns how many of them nobody else has said so of meanwhile. */
static uint64_t
publish(IqdbArenaRegion *region, uint64_t committed, uint64_t target)
{
	uint64_t seen = committed;

	while (seen < target &&
		   !__atomic_compare_exchange_n(&region->committed, &seen, target, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
		;
	return seen < target ? target - seen : 0;
}

/* The paged region: another file, and no memory. */
static IqdbStatus
grow_paged_to(IqdbArena *arena, IqdbArenaRegion *region, uint64_t committed, uint64_t target, IqdbError *err)
{
	if (arena->paged.commit == NULL)
		return iqdb_fail(err, IQDB_ERR_STATE, "the arena's paged region is not mapped here");
	IQDB_TRY(arena->paged.commit(arena->paged.arg, committed, target - committed, err));
	(void) publish(region, committed, target);
	return IQDB_OK;
}

/* Grows to exactly target (a multiple of the page size), or changes nothing. */
static IqdbStatus
grow_to(IqdbArena *arena, uint32_t region_number, uint64_t committed, uint64_t target, IqdbError *err)
{
	IqdbArenaHeader *header = iqdb_arena_header(arena);
	IqdbArenaRegion *region = &header->regions[region_number];
	uint64_t         delta = target - committed;
	uint64_t         total = __atomic_load_n(&header->committed, __ATOMIC_RELAXED);

	if (region_number == header->paged_region)
		return grow_paged_to(arena, region, committed, target, err);
	if (header->limit != 0 && (total > header->limit || delta > header->limit - total))
		return iqdb_fail(err, IQDB_ERR_LIMIT, "%llu more bytes would pass the memory limit of %llu bytes",
						 (unsigned long long) delta, (unsigned long long) header->limit);
	IQDB_TRY(arena->backing.commit(arena->backing.arg, region->offset + committed, delta, err));
	__atomic_fetch_add(&header->committed, publish(region, committed, target), __ATOMIC_RELAXED);
	return IQDB_OK;
}

IqdbStatus
iqdb_arena_grow(IqdbArena *arena, uint32_t region_number, uint64_t bytes, IqdbError *err)
{
	IqdbArenaHeader *header = iqdb_arena_header(arena);
	IqdbArenaRegion *region;
	uint64_t         committed;
	uint64_t         exact;
	uint64_t         target;

	if (region_number >= header->region_count)
		return iqdb_fail(err, IQDB_ERR_STATE, "arena has no region %u", (unsigned) region_number);
	region = &header->regions[region_number];
	committed = __atomic_load_n(&region->committed, __ATOMIC_RELAXED);
	if (bytes <= committed)
		return IQDB_OK;
	if (bytes > region->reserved)
		return iqdb_fail(err, IQDB_ERR_LIMIT, "arena region %u cannot pass its %llu reserved bytes",
						 (unsigned) region_number, (unsigned long long) region->reserved);
	if (!page_round(bytes, &exact))
		return iqdb_fail(err, IQDB_ERR_LIMIT, "arena region %u cannot grow that far", (unsigned) region_number);

	target = preferred_target(region, committed, exact);
	/* when the roomy step is refused, for whatever reason, the exact need is tried; that one reports */
	if (target > exact && grow_to(arena, region_number, committed, target, NULL) == IQDB_OK)
		return IQDB_OK;
	return grow_to(arena, region_number, committed, exact, err);
}

void
iqdb_arena_grow_ahead(IqdbArena *arena, uint32_t region_number, uint64_t bytes)
{
	IqdbArenaRegion *region = &iqdb_arena_header(arena)->regions[region_number];
	uint64_t         committed = __atomic_load_n(&region->committed, __ATOMIC_RELAXED);
	uint64_t         exact;
	IqdbStatus       ignored;

	if (bytes <= committed || bytes > region->reserved || !page_round(bytes, &exact))
		return;
	ignored = grow_to(arena, region_number, committed, preferred_target(region, committed, exact), NULL);
	(void) ignored;
}

bool
iqdb_arena_release(IqdbArena *arena, uint32_t region_number)
{
	IqdbArenaHeader *header = iqdb_arena_header(arena);
	IqdbArenaRegion *region = &header->regions[region_number];
	uint64_t         committed = __atomic_load_n(&region->committed, __ATOMIC_RELAXED);
	uint64_t         kept = committed > ARENA_STEP_MAX ? committed - ARENA_STEP_MAX : 0;

	if (committed == 0 || region_number == header->paged_region || arena->backing.release == NULL ||
		!arena->backing.release(arena->backing.arg, region->offset + kept, committed - kept))
		return false;
	__atomic_store_n(&region->committed, kept, __ATOMIC_RELEASE);
	__atomic_fetch_sub(&header->committed, committed - kept, __ATOMIC_RELAXED);
	return kept > 0;
}

static uint64_t
system_page_size(void)
{
	long size = sysconf(_SC_PAGESIZE);

	return size > 0 ? (uint64_t) size : IQDB_ARENA_PAGE;
}

/* ---- the paged region ---- */

uint64_t
iqdb_arena_paged_bytes(const IqdbArena *arena)
{
	const IqdbArenaHeader *header = iqdb_arena_header(arena);

	if (header->paged_region == IQDB_ARENA_NO_REGION)
		return 0;
	return __atomic_load_n(&header->regions[header->paged_region].committed, __ATOMIC_ACQUIRE);
}

/* The whole pages that hold these bytes. */
static void *
pages_of(const void *bytes, size_t *length)
{
	uintptr_t page = (uintptr_t) system_page_size();
	uintptr_t start = (uintptr_t) bytes / page * page;

	*length = ((uintptr_t) bytes + *length + page - 1) / page * page - start;
	return (void *) start;
}

void
iqdb_arena_prefetch(const void *bytes, size_t length)
{
	unsigned char *pages = pages_of(bytes, &length);

	/* the system reads no more than so much for one call, and forgets the rest */
	for (size_t at = 0; at < length; at += PREFETCH_PIECE)
		(void) madvise(pages + at, length - at < PREFETCH_PIECE ? length - at : PREFETCH_PIECE, MADV_WILLNEED);
}

void
iqdb_arena_touch(const void *bytes, size_t length)
{
	void *pages = pages_of(bytes, &length);

#ifdef MADV_POPULATE_WRITE
	if (madvise(pages, length, MADV_POPULATE_WRITE) == 0)
		return;
#endif
	/* an older system: at least what is read before it is written to */
	(void) madvise(pages, length, MADV_WILLNEED);
}

bool
iqdb_arena_resident(const void *bytes, size_t length)
{
	unsigned char state[RESIDENT_PAGES];
	void         *pages = pages_of(bytes, &length);
	size_t        count = length / (size_t) system_page_size();

	if (count > RESIDENT_PAGES || mincore(pages, length, state) != 0)
		return true;
	for (size_t i = 0; i < count; i++)
	{
		if ((state[i] & 1) == 0)
			return false;
	}
	return true;
}

bool
iqdb_arena_uneasy(IqdbArena *arena)
{
	struct rusage usage;
	uint64_t      faults;

	if (getrusage(RUSAGE_SELF, &usage) != 0)
		return true;
	faults = (uint64_t) usage.ru_majflt;
	if (__atomic_exchange_n(&arena->faults, faults, __ATOMIC_RELAXED) != faults)
		__atomic_store_n(&arena->calm, 0, __ATOMIC_RELAXED);
	return __atomic_load_n(&arena->calm, __ATOMIC_RELAXED) < CALM_LOOKS;
}

void
iqdb_arena_calm(IqdbArena *arena, bool found_all)
{
	if (found_all)
		__atomic_fetch_add(&arena->calm, 1, __ATOMIC_RELAXED);
	else
		__atomic_store_n(&arena->calm, 0, __ATOMIC_RELAXED);
}

IqdbStatus
iqdb_arena_map_paged(IqdbArena *arena, int fd, uint64_t offset, uint64_t length, IqdbError *err)
{
	void *at = arena->base + offset;

	if (offset > arena->reserved || length > arena->reserved - offset)
		return iqdb_fail(err, IQDB_ERR_STATE, "the paged region is outside of the arena");
	if (mmap(at, (size_t) length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE | MAP_FIXED, fd, 0) == MAP_FAILED)
		return iqdb_fail_io(err, errno, "", "map file");
	/* else a fault reads its whole neighbourhood */
	(void) madvise(at, (size_t) length, MADV_RANDOM);
#ifdef MADV_DONTDUMP
	(void) madvise(at, (size_t) length, MADV_DONTDUMP);
#endif
	return IQDB_OK;
}

static IqdbStatus
file_commit(void *arg, uint64_t offset, uint64_t length, IqdbError *err)
{
	const IqdbArenaFile *file = arg;
	int                  rc;

	do
		rc = posix_fallocate(file->fd, (off_t) offset, (off_t) length);
	while (rc == EINTR);
	return rc == 0 ? IQDB_OK : iqdb_fail_io(err, rc, file->path, "grow");
}

IqdbStatus
iqdb_arena_file_create(IqdbArenaFile *file_out, IqdbArena *arena, const char *path, const uint64_t *region_reserves,
					   uint32_t region, IqdbError *err)
{
	uint64_t   offset = iqdb_arena_region_start(region_reserves, region);
	uint64_t   length;
	IqdbStatus status;

	file_out->fd = -1;
	file_out->path = path;
	if (offset == 0 || !page_round(region_reserves[region], &length))
		return iqdb_fail(err, IQDB_ERR_LIMIT, "the paged region is too large");
	(void) unlink(path);
	file_out->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, S_IRUSR | S_IWUSR);
	if (file_out->fd < 0)
		return iqdb_fail_io(err, errno, path, "create");
	(void) unlink(path);
	status = iqdb_arena_map_paged(arena, file_out->fd, offset, length, err);
	if (status != IQDB_OK)
	{
		iqdb_arena_file_close(file_out);
		return status;
	}
	arena->paged.commit = file_commit;
	arena->paged.arg = file_out;
	return IQDB_OK;
}

void
iqdb_arena_file_close(IqdbArenaFile *file)
{
	if (file->fd >= 0)
		(void) close(file->fd);
	file->fd = -1;
}

/* ---- private memory ---- */

/* arg is the mapping's base. Private pages are charged by the kernel when they become writable, not when touched. */
static IqdbStatus
private_commit(void *arg, uint64_t offset, uint64_t length, IqdbError *err)
{
	unsigned char *base = arg;
	uint64_t       page = system_page_size();
	uint64_t       start = offset / page * page;
	uint64_t       end = (offset + length + page - 1) / page * page;

	if (length == 0)
		return IQDB_OK;
	if (mprotect(base + start, (size_t) (end - start), PROT_READ | PROT_WRITE) != 0)
		return iqdb_fail_io(err, errno, "", "commit private memory");
#ifdef MADV_POPULATE_WRITE
	/* small steps are used up at once: one call is cheaper than a fault for every page. A wish: failing changes nothing */
	if (end - start <= POPULATE_MAX)
		(void) madvise(base + start, (size_t) (end - start), MADV_POPULATE_WRITE);
#endif
	return IQDB_OK;
}

/* Whole pages of the system's go; of those that other bytes are in, too, ours become zero. */
static bool
private_release(void *arg, uint64_t offset, uint64_t length)
{
	unsigned char *base = arg;
	uint64_t       page = system_page_size();
	uint64_t       start = (offset + page - 1) / page * page;
	uint64_t       end = (offset + length) / page * page;

	if (start >= end)
		return false;
	memset(base + offset, 0, (size_t) (start - offset));
	memset(base + end, 0, (size_t) (offset + length - end));
	if (madvise(base + start, (size_t) (end - start), MADV_DONTNEED) != 0)
		return false;
	/* no longer accounted, and an access is a fault: a wish, for committing does not mind */
	(void) mprotect(base + start, (size_t) (end - start), PROT_NONE);
	return true;
}

/* The part of a mapping that begins at a multiple of IQDB_ARENA_HUGE; what is around it is given back. */
static unsigned char *
trim_mapping(unsigned char *mapping, uint64_t mapped, uint64_t wanted)
{
	uint64_t before = (IQDB_ARENA_HUGE - (uint64_t) (uintptr_t) mapping % IQDB_ARENA_HUGE) % IQDB_ARENA_HUGE;

	if (before > 0)
		(void) munmap(mapping, (size_t) before);
	if (mapped - before > wanted)
		(void) munmap(mapping + before + wanted, (size_t) (mapped - before - wanted));
	return mapping + before;
}

IqdbStatus
iqdb_arena_private_create(IqdbArena *arena_out, uint64_t reserve, IqdbError *err)
{
	uint64_t page = system_page_size();
	uint64_t mapped;
	void    *base;

	memset(arena_out, 0, sizeof(*arena_out));
	if (reserve == 0 || reserve > SIZE_MAX - IQDB_ARENA_HUGE - page)
		return iqdb_fail(err, IQDB_ERR_LIMIT, "cannot reserve %llu bytes of address space", (unsigned long long) reserve);
	reserve = (reserve + page - 1) / page * page;
	mapped = reserve >= ARENA_HUGE_FROM ? reserve + IQDB_ARENA_HUGE : reserve;
	/* without MAP_NORESERVE: an inaccessible mapping costs nothing, and making it writable is then accounted */
	base = mmap(NULL, (size_t) mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (base == MAP_FAILED)
		return iqdb_fail_io(err, errno, "", "reserve address space");
	if (mapped > reserve)
		base = trim_mapping(base, mapped, reserve);
#ifdef MADV_HUGEPAGE
	/* a wish: only whole huge pages of usable memory become one, so small arenas stay small */
	if (reserve >= ARENA_HUGE_FROM)
		(void) madvise(base, (size_t) reserve, MADV_HUGEPAGE);
#endif
	arena_out->base = base;
	arena_out->reserved = reserve;
	arena_out->backing.commit = private_commit;
	arena_out->backing.release = private_release;
	arena_out->backing.arg = base;
	return IQDB_OK;
}

void
iqdb_arena_private_destroy(IqdbArena *arena)
{
	if (arena->base != NULL)
		(void) munmap(arena->base, (size_t) arena->reserved);
	memset(arena, 0, sizeof(*arena));
}

/* The regions of one arena, as far as they reach, in another that was formatted for them. */
static IqdbStatus
copy_regions(const IqdbArena *from, IqdbArena *to, IqdbError *err)
{
	const IqdbArenaHeader *source = iqdb_arena_header(from);
	IqdbArenaHeader       *target = iqdb_arena_header(to);

	for (uint32_t i = 0; i < source->region_count; i++)
	{
		uint64_t committed = source->regions[i].committed;

		if (committed == 0)
			continue;
		if (committed > target->regions[i].reserved)
			return iqdb_fail(err, IQDB_ERR_LIMIT, "arena region %u does not fit its new reserve", (unsigned) i);
		if (i == source->paged_region)
		{
			target->regions[i].committed = committed;
			continue;
		}
		IQDB_TRY(grow_to(to, i, 0, committed, err));
		memcpy(iqdb_arena_region(to, i), iqdb_arena_region(from, i), (size_t) committed);
	}
	return IQDB_OK;
}

IqdbStatus
iqdb_arena_private_move(IqdbArena *arena, const IqdbLockOps *locks, const uint64_t *reserves, uint32_t region_count,
						const IqdbArenaFile *file, IqdbError *err)
{
	const IqdbArenaHeader *header = iqdb_arena_header(arena);
	uint32_t               paged = header->paged_region;
	uint64_t               size = iqdb_arena_size_needed(reserves, region_count);
	IqdbArena              larger;
	IqdbStatus             status = IQDB_OK;

	if (region_count != header->region_count || (paged != IQDB_ARENA_NO_REGION) != (file != NULL))
		return iqdb_fail(err, IQDB_ERR_STATE, "the arena has another shape");
	IQDB_TRY(iqdb_arena_private_create(&larger, size, err));
	larger.paged = arena->paged;
	if (file != NULL)
		status = iqdb_arena_map_paged(&larger, file->fd, iqdb_arena_region_start(reserves, paged), reserves[paged], err);
	if (status == IQDB_OK)
		status = iqdb_arena_format(&larger, locks, reserves, region_count, paged, header->limit, err);
	if (status == IQDB_OK)
		status = copy_regions(arena, &larger, err);
	if (status != IQDB_OK)
	{
		iqdb_arena_private_destroy(&larger);
		return status;
	}
	iqdb_arena_private_destroy(arena);
	*arena = larger;
	return IQDB_OK;
}
