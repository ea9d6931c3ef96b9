/*
 * pg_arena_pages.c - the pages that arenas are made of: how a file is mapped, and its small pages are gathered into huge ones.
 *
 * A search reads a few thousand places of an arena, here and there. With pages of 4 kB nearly every one of them is in a page
 * that the processor has no translation for, and to look that up takes longer than the read itself: searches through SQL take
 * half as long again as with pages of 2 MB, and the first ones of a session several times as long, because each page that is
 * touched first is a fault.
 *
 * The system gives shared memory in huge pages by itself only where an administrator has said so (docs/operations.md). But it
 * gathers what small pages hold into a huge one when it is asked to (MADV_COLLAPSE, Linux 6.1), whatever was said, but for
 * "deny". This copies the bytes, and waits for all processors for an instant. So it is no work for whoever grows an arena, and
 * writers may be waiting for; the keeper does it, and iqdb_prewarm. Only huge pages of which every byte is in use are gathered,
 * so that an index takes no more memory than before. Who does not want that, sets the server's own huge_pages = off.
 */
#include "postgres.h"

#include <sys/mman.h>

#include "storage/pg_shmem.h"
#include "utils/timestamp.h"

#include "pg/pg_arena_private.h"

/* Since Linux 6.1, in headers since later. Other systems refuse it, or do not have it. */
#if defined(__linux__) && !defined(MADV_COLLAPSE)
#define MADV_COLLAPSE 25
#endif

/* A file of less is not worth address space for its alignment. */
#define ALIGNED_FROM (4 * IQDB_ARENA_HUGE)

/* Bytes gathered by one call, which takes some milliseconds. */
#define PIECE (8 * IQDB_ARENA_HUGE)

static uint64
round_up(uint64 offset)
{
	return (offset + IQDB_ARENA_HUGE - 1) / IQDB_ARENA_HUGE * IQDB_ARENA_HUGE;
}

static void *
map_shared(void *at, int fd, size_t size)
{
	return mmap(at, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE | (at != NULL ? MAP_FIXED : 0), fd, 0);
}

/* At a multiple of the size of a huge page: only there can a huge page of the file be one of the process. */
static void *
map_aligned(int fd, size_t size)
{
	size_t		reserved = size + IQDB_ARENA_HUGE;
	char	   *place = mmap(NULL, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char	   *base;
	void	   *mapped;
	int			error;

	if (place == MAP_FAILED)
		return MAP_FAILED;
	base = (char *) (uintptr_t) round_up((uintptr_t) place);
	mapped = map_shared(base, fd, size);
	error = errno;
	if (mapped == MAP_FAILED)
		(void) munmap(place, reserved);
	else
	{
		char	   *end = base + TYPEALIGN(IQDB_ARENA_PAGE, size);

		if (base > place)
			(void) munmap(place, base - place);
		(void) munmap(end, place + reserved - end);
	}
	errno = error;
	return mapped;
}

void *
iqdb_pg_arena_map_pages(int fd, size_t size)
{
	void	   *base = MAP_FAILED;

	if (size >= ALIGNED_FROM)
		base = map_aligned(fd, size);
	/* address space may be too scarce for that */
	if (base == MAP_FAILED)
		base = map_shared(NULL, fd, size);
	if (base == MAP_FAILED)
		return MAP_FAILED;
#ifdef MADV_HUGEPAGE
	(void) madvise(base, size, MADV_HUGEPAGE);
#endif
#ifdef MADV_DONTDUMP
	(void) madvise(base, size, MADV_DONTDUMP);
#endif
	return base;
}

#ifdef MADV_COLLAPSE

/* Bytes of a region up to which its memory is in use and fills huge pages. */
static uint64
whole_bytes(const IqdbArenaRegion *region)
{
	uint64		end = region->offset + __atomic_load_n(&region->committed, __ATOMIC_ACQUIRE);

	end -= end % IQDB_ARENA_HUGE;
	return end > region->offset ? end - region->offset : 0;
}

/*
 * The next piece of a region; false: there is none. What cannot be gathered, for want of memory that hangs together, stays as
 * it is: to try again and again would keep the system busy with moving pages.
 */
static bool
gather_piece(const IqdbPgArena *arena, const IqdbArenaRegion *region, uint64 *gathered)
{
	uint64		begin = round_up(region->offset + *gathered);
	uint64		end = region->offset + whole_bytes(region);

	if (begin >= end)
		return false;
	end = Min(end, begin + PIECE);
	if (madvise(arena->arena.base + begin, end - begin, MADV_COLLAPSE) != 0)
		ereport(DEBUG1, (errmsg_internal("iqdb: pages of \"%s\" stay small: %m", arena->path)));
	*gathered = end - region->offset;
	return true;
}

bool
iqdb_pg_arena_gather(IqdbPgArena *arena, int milliseconds)
{
	const IqdbArenaHeader *header = iqdb_arena_header(&arena->arena);
	TimestampTz begun = GetCurrentTimestamp();

	if (arena->is_private || huge_pages == HUGE_PAGES_OFF)
		return false;
	for (uint32 i = 0; i < header->region_count; i++)
	{
		while (i != header->paged_region && gather_piece(arena, &header->regions[i], &arena->gathered[i]))
		{
			if (milliseconds > 0 && TimestampDifferenceExceeds(begun, GetCurrentTimestamp(), milliseconds))
				return true;
		}
	}
	return false;
}

#else

bool
iqdb_pg_arena_gather(IqdbPgArena *arena, int milliseconds)
{
	return false;
}

#endif
