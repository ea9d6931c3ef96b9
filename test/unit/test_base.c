/*
 * test_base.c - status records, allocator, locks, arenas on private memory, top-k, random numbers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <math.h>
#include <pthread.h>

#include "core/base/arena.h"
#include "core/base/carve.h"
#include "core/base/host.h"
#include "core/base/mem.h"
#include "core/base/rng.h"
#include "core/base/status.h"
#include "core/base/topk.h"

#define SEED UINT64_C(20240611)

/* ---- status ---- */

static void
every_status_has_a_name_of_its_own(void **state)
{
	(void) state;
	for (int a = 0; a < IQDB_STATUS_COUNT; a++)
	{
		assert_string_not_equal(iqdb_status_name((IqdbStatus) a), "UNKNOWN");
		for (int b = 0; b < a; b++)
			assert_string_not_equal(iqdb_status_name((IqdbStatus) a), iqdb_status_name((IqdbStatus) b));
	}
	assert_string_equal(iqdb_status_name(IQDB_ERR_DIMENSION), "DIMENSION");
	assert_string_equal(iqdb_status_name((IqdbStatus) IQDB_STATUS_COUNT), "UNKNOWN");
	assert_string_equal(iqdb_status_name((IqdbStatus) -1), "UNKNOWN");
}

static void
fail_fills_the_record_and_returns_the_code(void **state)
{
	IqdbError err;

	(void) state;
	memset(&err, 0xff, sizeof(err));
	assert_int_equal(iqdb_fail(&err, IQDB_ERR_CONFIG, "m is %d, not %s", 1, "enough"), IQDB_ERR_CONFIG);
	assert_int_equal(err.code, IQDB_ERR_CONFIG);
	assert_string_equal(err.message, "m is 1, not enough");
	assert_string_equal(err.file, "");
	assert_int_equal(err.sys_errno, 0);
	assert_int_equal(err.offset, 0);
	assert_int_equal(iqdb_fail(NULL, IQDB_ERR_METRIC, "ignored"), IQDB_ERR_METRIC);
}

static void
fail_cuts_long_texts_and_keeps_the_end_of_a_file_name(void **state)
{
	char      name[400];
	IqdbError err;

	(void) state;
	memset(name, 'a', sizeof(name));
	memcpy(name + sizeof(name) - 5, ".log", 5);
	assert_int_equal(iqdb_fail_corrupt(&err, name, 77, "%s", name), IQDB_ERR_CORRUPT);
	assert_int_equal(err.code, IQDB_ERR_CORRUPT);
	assert_int_equal(err.offset, 77);
	assert_int_equal(strlen(err.message), sizeof(err.message) - 1);
	assert_int_equal(strlen(err.file), sizeof(err.file) - 1);
	assert_string_equal(err.file + strlen(err.file) - 4, ".log");
	assert_int_equal(iqdb_fail_corrupt(NULL, "x", 1, "ignored"), IQDB_ERR_CORRUPT);
}

static void
fail_io_tells_full_disk_and_full_memory_from_other_failures(void **state)
{
	IqdbError err;

	(void) state;
	assert_int_equal(iqdb_fail_io(&err, ENOSPC, "f", "write"), IQDB_ERR_NO_SPACE);
	assert_int_equal(iqdb_fail_io(&err, EDQUOT, "f", "write"), IQDB_ERR_NO_SPACE);
	assert_int_equal(iqdb_fail_io(&err, ENOMEM, "f", "write"), IQDB_ERR_NOMEM);
	assert_int_equal(iqdb_fail_io(&err, EIO, "some.file", "write"), IQDB_ERR_IO);
	assert_int_equal(err.sys_errno, EIO);
	assert_int_equal(err.code, IQDB_ERR_IO);
	assert_string_equal(err.file, "some.file");
	assert_string_equal(err.message, "could not write");
	assert_int_equal(iqdb_fail_io(NULL, EIO, NULL, "write"), IQDB_ERR_IO);
}

/* ---- memory ---- */

static void
allocator_allocates_moves_and_frees(void **state)
{
	const IqdbAllocator *allocator = &iqdb_allocator_libc;
	unsigned char       *bytes = iqdb_alloc_zero(allocator, 100);
	size_t               size;

	(void) state;
	assert_non_null(bytes);
	for (int i = 0; i < 100; i++)
		assert_int_equal(bytes[i], 0);
	memset(bytes, 7, 100);
	bytes = iqdb_realloc(allocator, bytes, 100, 5000);
	assert_non_null(bytes);
	for (int i = 0; i < 100; i++)
		assert_int_equal(bytes[i], 7);
	assert_null(iqdb_realloc(allocator, bytes, 5000, 0));
	assert_null(iqdb_alloc(allocator, 0));
	assert_null(iqdb_alloc_zero(allocator, 0));
	iqdb_free(allocator, NULL, 0);
	size = 42;
	assert_false(iqdb_mul_size(SIZE_MAX, 2, &size));
	assert_true(iqdb_mul_size(6, 7, &size));
	assert_int_equal(size, 42);
}

/* ---- locks ---- */

typedef struct LockTest
{
	_Alignas(64) unsigned char cell[IQDB_LOCK_CELL_SIZE];
	uint64_t counter;
} LockTest;

static void *
count_under_lock(void *arg)
{
	LockTest *test = arg;

	for (int i = 0; i < 20000; i++)
	{
		iqdb_locks_pthread.acquire(iqdb_locks_pthread.arg, test->cell, true);
		test->counter++;
		iqdb_locks_pthread.release(iqdb_locks_pthread.arg, test->cell, true);
		iqdb_locks_pthread.acquire(iqdb_locks_pthread.arg, test->cell, false);
		(void) test->counter;
		iqdb_locks_pthread.release(iqdb_locks_pthread.arg, test->cell, false);
	}
	return NULL;
}

static void
carve_lay_out(IqdbCarve *carve, unsigned char *parts[3], const size_t counts[3])
{
	for (int i = 0; i < 3; i++)
		parts[i] = iqdb_carve(carve, counts[i], 3);
}

static void
carved_parts_are_aligned_and_do_not_overlap(void **state)
{
	const size_t   counts[3] = {1, 0, 50};
	IqdbCarve      carve = {0};
	unsigned char *parts[3];

	(void) state;
	carve_lay_out(&carve, parts, counts);
	assert_true(parts[0] == NULL && parts[2] == NULL);
	assert_int_equal(carve.size, 64 + 0 + 192);
	assert_true(iqdb_carve_alloc(&carve, &iqdb_allocator_libc));
	carve_lay_out(&carve, parts, counts);
	assert_int_equal(carve.size, 64 + 0 + 192);
	for (int i = 0; i < 3; i++)
	{
		assert_int_equal((uintptr_t) parts[i] % 64, 0);
		memset(parts[i], i, 3 * counts[i]);
	}
	assert_true(parts[1] == parts[0] + 64 && parts[2] == parts[1]);
	iqdb_carve_free(&carve, &iqdb_allocator_libc);
	assert_null(carve.at);
}

static void
what_is_too_large_to_be_carved_is_refused(void **state)
{
	const size_t   counts[2][3] = {{SIZE_MAX / 2, 1, 1}, {SIZE_MAX / 6, SIZE_MAX / 6, 1}};
	IqdbCarve      carve;
	unsigned char *parts[3];

	(void) state;
	for (int i = 0; i < 2; i++)
	{
		memset(&carve, 0, sizeof(carve));
		carve_lay_out(&carve, parts, counts[i]);
		assert_true(carve.size == SIZE_MAX);
		assert_false(iqdb_carve_alloc(&carve, &iqdb_allocator_libc));
		iqdb_carve_free(&carve, &iqdb_allocator_libc);
	}
}

static void
pthread_locks_exclude_writers(void **state)
{
	LockTest  test = {.counter = 0};
	pthread_t threads[3];

	(void) state;
	iqdb_locks_pthread.init(iqdb_locks_pthread.arg, test.cell);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, count_under_lock, &test), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(test.counter, 60000);
	iqdb_locks_none.init(iqdb_locks_none.arg, test.cell);
	iqdb_locks_none.acquire(iqdb_locks_none.arg, test.cell, true);
	iqdb_locks_none.release(iqdb_locks_none.arg, test.cell, true);
}

/* ---- arena ---- */

#define MIB (UINT64_C(1024) * 1024)

static void
make_arena(IqdbArena *arena, const uint64_t *reserves, uint32_t count, uint64_t limit)
{
	IqdbError err;

	assert_int_equal(iqdb_arena_private_create(arena, iqdb_arena_size_needed(reserves, count), &err), IQDB_OK);
	assert_int_equal(iqdb_arena_format(arena, &iqdb_locks_pthread, reserves, count, IQDB_ARENA_NO_REGION, limit,
									   &err), IQDB_OK);
}

static void
arena_regions_are_page_aligned_disjoint_and_empty_at_first(void **state)
{
	uint64_t         reserves[3] = {1, 100 * MIB, 5000};
	IqdbArena        arena;
	IqdbArenaHeader *header;

	(void) state;
	make_arena(&arena, reserves, 3, 0);
	header = iqdb_arena_header(&arena);
	assert_int_equal(header->region_count, 3);
	assert_int_equal(header->committed, 0);
	assert_int_equal(header->regions[0].offset, IQDB_ARENA_HEADER_SIZE);
	assert_int_equal(header->regions[0].reserved, 4096);
	assert_int_equal(header->regions[2].reserved, 8192);
	for (int i = 0; i < 3; i++)
	{
		assert_int_equal(header->regions[i].offset % IQDB_ARENA_PAGE, 0);
		assert_int_equal(header->regions[i].committed, 0);
		if (i > 0)
			assert_true(header->regions[i].offset >= header->regions[i - 1].offset + header->regions[i - 1].reserved);
	}
	/* what may grow large can be backed by huge pages from its first byte on */
	assert_int_equal((uintptr_t) iqdb_arena_region(&arena, 1) % (2 * MIB), 0);
	assert_int_equal((uintptr_t) iqdb_arena_lock(&arena, 3) % 64, 0);
	assert_int_equal(iqdb_arena_attach(&arena, NULL), IQDB_OK);
	iqdb_arena_private_destroy(&arena);
	assert_null(arena.base);
	iqdb_arena_private_destroy(&arena);
}

static void
arena_growth_gives_zero_bytes_that_never_move(void **state)
{
	uint64_t       reserves[2] = {64 * MIB, 64 * MIB};
	IqdbArena      arena;
	unsigned char *first;
	unsigned char *second;
	uint64_t       steps = 0;
	uint64_t       committed = 0;

	(void) state;
	make_arena(&arena, reserves, 2, 0);
	first = iqdb_arena_region(&arena, 0);
	second = iqdb_arena_region(&arena, 1);
	for (uint64_t size = 1; size < 20 * MIB; size += 3000)
	{
		IqdbArenaRegion *region = &iqdb_arena_header(&arena)->regions[0];

		assert_int_equal(iqdb_arena_grow(&arena, 0, size, NULL), IQDB_OK);
		assert_true(region->committed >= size);
		/* what is taken beyond that: a step, and what fills the last huge page */
		assert_true(region->committed <= size + size / 32 + 64 * 1024 + (size >= 7 * MIB ? 2 * MIB : 0));
		assert_int_equal(region->committed % IQDB_ARENA_PAGE, 0);
		steps += region->committed != committed;
		committed = region->committed;
		assert_int_equal(first[size - 1], 0);
		first[size - 1] = 1;
	}
	/* far fewer than there were calls */
	assert_true(steps < 120);
	assert_int_equal(iqdb_arena_grow(&arena, 1, 10, NULL), IQDB_OK);
	second[9] = 3;
	assert_ptr_equal(first, iqdb_arena_region(&arena, 0));
	assert_ptr_equal(second, iqdb_arena_region(&arena, 1));
	assert_int_equal(iqdb_arena_header(&arena)->committed,
					 iqdb_arena_header(&arena)->regions[0].committed + iqdb_arena_header(&arena)->regions[1].committed);
	/* asking again for what is there changes nothing */
	committed = iqdb_arena_header(&arena)->committed;
	assert_int_equal(iqdb_arena_grow(&arena, 1, 10, NULL), IQDB_OK);
	assert_int_equal(iqdb_arena_grow(&arena, 1, 0, NULL), IQDB_OK);
	assert_int_equal(iqdb_arena_header(&arena)->committed, committed);
	iqdb_arena_private_destroy(&arena);
}

static void
arena_reserve_and_limit_are_reached_exactly(void **state)
{
	uint64_t         reserves[2] = {200 * 1024, 10 * MIB};
	IqdbArena        arena;
	IqdbArenaHeader *header;
	IqdbError        err;

	(void) state;
	make_arena(&arena, reserves, 2, 300 * 1024);
	header = iqdb_arena_header(&arena);
	/* the reserve can be used to its last byte although the usual step would pass it */
	assert_int_equal(iqdb_arena_grow(&arena, 0, 150 * 1024, &err), IQDB_OK);
	assert_int_equal(iqdb_arena_grow(&arena, 0, 200 * 1024, &err), IQDB_OK);
	assert_int_equal(header->regions[0].committed, 200 * 1024);
	assert_int_equal(iqdb_arena_grow(&arena, 0, 200 * 1024 + 1, &err), IQDB_ERR_LIMIT);
	assert_int_equal(header->regions[0].committed, 200 * 1024);
	/* so can the limit */
	assert_int_equal(iqdb_arena_grow(&arena, 1, 64 * 1024, &err), IQDB_OK);
	assert_int_equal(iqdb_arena_grow(&arena, 1, 100 * 1024, &err), IQDB_OK);
	assert_int_equal(header->committed, 300 * 1024);
	assert_int_equal(iqdb_arena_grow(&arena, 1, 100 * 1024 + 1, &err), IQDB_ERR_LIMIT);
	assert_int_equal(err.code, IQDB_ERR_LIMIT);
	assert_int_equal(header->committed, 300 * 1024);
	/* a lifted limit holds at once */
	header->limit = 0;
	assert_int_equal(iqdb_arena_grow(&arena, 1, 100 * 1024 + 1, &err), IQDB_OK);
	assert_int_equal(iqdb_arena_grow(&arena, 2, 1, &err), IQDB_ERR_STATE);
	iqdb_arena_private_destroy(&arena);
}

static bool
cannot_release(void *arg, uint64_t offset, uint64_t length)
{
	(void) arg;
	(void) offset;
	(void) length;
	return false;
}

static void
arena_regions_can_be_given_back_and_grown_anew(void **state)
{
	uint64_t         reserves[3] = {10 * MIB, 20 * MIB, 10 * MIB};
	uint64_t         sizes[3] = {100000, 9 * MIB + 5000, 5000};
	IqdbArena        arena;
	IqdbArenaHeader *header;
	uint64_t         before;

	(void) state;
	make_arena(&arena, reserves, 3, 0);
	header = iqdb_arena_header(&arena);
	for (int round = 0; round < 3; round++)
	{
		for (uint32_t i = 0; i < 3; i++)
		{
			unsigned char *bytes = iqdb_arena_region(&arena, i);

			assert_int_equal(iqdb_arena_grow(&arena, i, sizes[i], NULL), IQDB_OK);
			for (uint64_t at = 0; (round == 0 || i == 1) && at < header->regions[i].committed; at++)
			{
				assert_int_equal(bytes[at], 0);
				bytes[at] = (unsigned char) (i + 1);
			}
		}
		before = header->committed - header->regions[1].committed;
		assert_false(iqdb_arena_release(&arena, 1));
		assert_int_equal(header->regions[1].committed, 0);
		assert_int_equal(header->committed, before);
		assert_int_equal(iqdb_arena_attach(&arena, NULL), IQDB_OK);
		/* the neighbours keep what they hold */
		for (uint32_t i = 0; i < 3; i += 2)
		{
			for (uint64_t at = 0; at < header->regions[i].committed; at++)
				assert_int_equal(((unsigned char *) iqdb_arena_region(&arena, i))[at], i + 1);
		}
		assert_false(iqdb_arena_release(&arena, 1));
		assert_int_equal(header->committed, before);
	}
	/* where the backing cannot, nothing changes */
	arena.backing.release = cannot_release;
	assert_false(iqdb_arena_release(&arena, 0));
	arena.backing.release = NULL;
	assert_false(iqdb_arena_release(&arena, 2));
	assert_int_equal(header->committed, before);
	iqdb_arena_private_destroy(&arena);
	/* a large one goes in steps */
	reserves[1] = 200 * MIB;
	make_arena(&arena, reserves, 3, 0);
	assert_int_equal(iqdb_arena_grow(&arena, 1, 130 * MIB, NULL), IQDB_OK);
	assert_true(iqdb_arena_release(&arena, 1));
	assert_true(iqdb_arena_release(&arena, 1));
	assert_false(iqdb_arena_release(&arena, 1));
	assert_int_equal(iqdb_arena_header(&arena)->committed, 0);
	iqdb_arena_private_destroy(&arena);
}

/* A backing that refuses more than a number of bytes at once, or everything. */
typedef struct Stingy
{
	IqdbArenaBacking real;
	uint64_t         most;
	int              calls;
} Stingy;

static IqdbStatus
stingy_commit(void *arg, uint64_t offset, uint64_t length, IqdbError *err)
{
	Stingy *stingy = arg;

	stingy->calls++;
	if (length > stingy->most)
		return iqdb_fail(err, IQDB_ERR_NO_SPACE, "no space");
	return stingy->real.commit(stingy->real.arg, offset, length, err);
}

static void
arena_growth_falls_back_to_the_exact_need_and_fails_cleanly(void **state)
{
	uint64_t         reserves[1] = {10 * MIB};
	IqdbArena        arena;
	IqdbArenaHeader *header;
	Stingy           stingy;
	IqdbError        err;

	(void) state;
	make_arena(&arena, reserves, 1, 0);
	header = iqdb_arena_header(&arena);
	stingy = (Stingy) {arena.backing, 8192, 0};
	arena.backing = (IqdbArenaBacking) {.commit = stingy_commit, .arg = &stingy};
	assert_int_equal(iqdb_arena_grow(&arena, 0, 5000, &err), IQDB_OK);
	assert_int_equal(stingy.calls, 2);
	assert_int_equal(header->regions[0].committed, 8192);
	memset(iqdb_arena_region(&arena, 0), 1, 8192);
	stingy.most = 0;
	assert_int_equal(iqdb_arena_grow(&arena, 0, 8193, &err), IQDB_ERR_NO_SPACE);
	assert_int_equal(err.code, IQDB_ERR_NO_SPACE);
	assert_int_equal(header->regions[0].committed, 8192);
	assert_int_equal(header->committed, 8192);
	arena.backing = stingy.real;
	iqdb_arena_private_destroy(&arena);
}

static void
arena_sizes_that_cannot_be_are_refused(void **state)
{
	uint64_t  huge[2] = {UINT64_MAX - 5000, 1};
	uint64_t  wide[2] = {UINT64_MAX / 2, UINT64_MAX / 2};
	uint64_t  many[IQDB_ARENA_REGIONS_MAX + 1] = {0};
	uint64_t  small[1] = {4096};
	IqdbArena arena;
	IqdbError err;

	(void) state;
	assert_int_equal(iqdb_arena_size_needed(huge, 2), 0);
	assert_int_equal(iqdb_arena_size_needed(wide, 2), 0);
	assert_int_equal(iqdb_arena_size_needed(many, IQDB_ARENA_REGIONS_MAX + 1), 0);
	assert_int_equal(iqdb_arena_size_needed(many, IQDB_ARENA_REGIONS_MAX), IQDB_ARENA_HEADER_SIZE);
	assert_int_equal(iqdb_arena_private_create(&arena, 0, &err), IQDB_ERR_LIMIT);
	assert_int_not_equal(iqdb_arena_private_create(&arena, UINT64_MAX, &err), IQDB_OK);
	assert_int_not_equal(iqdb_arena_private_create(&arena, UINT64_C(1) << 62, &err), IQDB_OK);
	assert_null(arena.base);

	assert_int_equal(iqdb_arena_private_create(&arena, IQDB_ARENA_HEADER_SIZE, &err), IQDB_OK);
	assert_int_equal(iqdb_arena_format(&arena, &iqdb_locks_none, small, 1, IQDB_ARENA_NO_REGION, 0, &err), IQDB_ERR_LIMIT);
	assert_int_equal(iqdb_arena_format(&arena, &iqdb_locks_none, wide, 2, IQDB_ARENA_NO_REGION, 0, &err), IQDB_ERR_LIMIT);
	assert_int_equal(iqdb_arena_format(&arena, &iqdb_locks_none, many, IQDB_ARENA_REGIONS_MAX + 1,
									   IQDB_ARENA_NO_REGION, 0, &err),
					 IQDB_ERR_CONFIG);
	iqdb_arena_private_destroy(&arena);
}

static void
arena_attach_refuses_foreign_and_damaged_headers(void **state)
{
	uint64_t         reserves[2] = {4096, 8192};
	IqdbArena        arena;
	IqdbArena        smaller;
	IqdbArenaHeader *header;
	IqdbArenaHeader  saved;

	(void) state;
	make_arena(&arena, reserves, 2, 0);
	header = iqdb_arena_header(&arena);
	saved = *header;

	header->magic ^= 1;
	assert_int_equal(iqdb_arena_attach(&arena, NULL), IQDB_ERR_CORRUPT);
	*header = saved;
	header->layout++;
	assert_int_equal(iqdb_arena_attach(&arena, NULL), IQDB_ERR_VERSION);
	*header = saved;
	header->region_count = IQDB_ARENA_REGIONS_MAX + 1;
	assert_int_equal(iqdb_arena_attach(&arena, NULL), IQDB_ERR_CORRUPT);
	*header = saved;
	header->region_count = 1;
	assert_int_equal(iqdb_arena_attach(&arena, NULL), IQDB_ERR_CORRUPT);
	*header = saved;
	header->regions[1].offset += 4096;
	assert_int_equal(iqdb_arena_attach(&arena, NULL), IQDB_ERR_CORRUPT);
	*header = saved;
	header->regions[1].reserved = UINT64_MAX / 4096 * 4096;
	assert_int_equal(iqdb_arena_attach(&arena, NULL), IQDB_ERR_CORRUPT);
	*header = saved;
	header->regions[0].committed = 8192;
	assert_int_equal(iqdb_arena_attach(&arena, NULL), IQDB_ERR_CORRUPT);
	*header = saved;
	assert_int_equal(iqdb_arena_attach(&arena, NULL), IQDB_OK);
	smaller = arena;
	smaller.reserved -= 4096;
	assert_int_equal(iqdb_arena_attach(&smaller, NULL), IQDB_ERR_CORRUPT);
	smaller.reserved = 0;
	assert_int_equal(iqdb_arena_attach(&smaller, NULL), IQDB_ERR_CORRUPT);
	iqdb_arena_private_destroy(&arena);
}

/* ---- top-k ---- */

static int
compare_candidates(const void *a, const void *b)
{
	return iqdb_candidate_before(a, b) ? -1 : iqdb_candidate_before(b, a) ? 1 : 0;
}

/* Few different keys, so that ties are common; now and then a NaN or an infinity. */
static IqdbCandidate
random_candidate(IqdbRng *rng, uint32_t number)
{
	static const float odd[] = {NAN, INFINITY, -INFINITY, -0.0f, 0.0f};
	IqdbCandidate      candidate = {.sequence = number, .slot = number};

	if (iqdb_rng_below(rng, 20) == 0)
		candidate.key = odd[iqdb_rng_below(rng, 5)];
	else
		candidate.key = (float) iqdb_rng_below(rng, 50) - 25.0f;
	return candidate;
}

static void
candidate_order_is_strict_and_puts_nan_last(void **state)
{
	float keys[] = {-INFINITY, -1.0f, -0.0f, 0.0f, 1.0f, INFINITY, NAN, -NAN};

	(void) state;
	for (int a = 0; a < 8; a++)
		for (int b = 0; b < 8; b++)
		{
			IqdbCandidate left = {.key = keys[a], .sequence = (uint64_t) a};
			IqdbCandidate right = {.key = keys[b], .sequence = (uint64_t) b};

			/* sequences ascend with the keys, so ties fall the same way */
			assert_int_equal(iqdb_candidate_before(&left, &right), a < b);
		}
}

static void
topk_keeps_what_a_full_sort_puts_first(void **state)
{
	IqdbRng       rng;
	IqdbCandidate all[600];
	size_t        capacities[] = {0, 1, 2, 10, 599, 600, 601, SIZE_MAX};

	(void) state;
	iqdb_rng_seed(&rng, SEED);
	for (size_t c = 0; c < sizeof(capacities) / sizeof(capacities[0]); c++)
	{
		IqdbTopK top;
		size_t   expected = capacities[c] < 600 ? capacities[c] : 600;

		iqdb_topk_init(&top, &iqdb_allocator_libc, capacities[c]);
		for (int round = 0; round < 2; round++)
		{
			for (uint32_t i = 0; i < 600; i++)
			{
				size_t before = top.count;
				bool   wanted;

				all[i] = random_candidate(&rng, 600 - i);
				wanted = iqdb_topk_wants(&top, all[i].key);
				assert_int_equal(iqdb_topk_offer(&top, all[i]), IQDB_OK);
				if (top.count > before)
					assert_true(wanted);
				/* memory follows what is kept, not the capacity */
				assert_true(round > 0 || top.allocated <= 2 * top.count + 16);
			}
			qsort(all, 600, sizeof(all[0]), compare_candidates);
			iqdb_topk_sort(&top);
			assert_int_equal(top.count, expected);
			for (size_t i = 0; i < expected; i++)
				assert_int_equal(top.items[i].slot, all[i].slot);
			iqdb_topk_clear(&top);
			assert_int_equal(top.count, 0);
		}
		iqdb_topk_free(&top);
	}
}

static void *
refuse(void *arg, void *pointer, size_t old_size, size_t new_size)
{
	int *left = arg;

	if (new_size > 0 && (*left)-- <= 0)
		return NULL;
	return iqdb_allocator_libc.resize(NULL, pointer, old_size, new_size);
}

static void
topk_without_memory_keeps_what_it_held(void **state)
{
	int           left = 1;
	IqdbAllocator allocator = {refuse, &left};
	IqdbTopK      top;

	(void) state;
	iqdb_topk_init(&top, &allocator, 1000);
	for (uint32_t i = 0; i < 16; i++)
		assert_int_equal(iqdb_topk_offer(&top, (IqdbCandidate) {.key = (float) (16 - i), .slot = i}), IQDB_OK);
	assert_int_equal(iqdb_topk_offer(&top, (IqdbCandidate) {.key = 0.0f, .slot = 99}), IQDB_ERR_NOMEM);
	assert_int_equal(top.count, 16);
	iqdb_topk_sort(&top);
	for (uint32_t i = 0; i < 16; i++)
		assert_int_equal(top.items[i].slot, 15 - i);
	iqdb_topk_free(&top);
}

static void
check_sorted(IqdbCandidate *items, size_t count)
{
	uint64_t sum = 0;

	iqdb_candidates_sort(items, count);
	for (size_t i = 0; i < count; i++)
	{
		sum += items[i].slot;
		if (i > 0)
			assert_true(iqdb_candidate_before(&items[i - 1], &items[i]));
	}
	if (count > 0)
		assert_int_equal(sum, (uint64_t) count * (count - 1) / 2);
}

static void
candidates_sort_orders_any_input(void **state)
{
	enum
	{
		MOST = 20000
	};
	IqdbCandidate *items = malloc(MOST * sizeof(*items));
	IqdbRng        rng;

	(void) state;
	assert_non_null(items);
	iqdb_rng_seed(&rng, SEED);
	for (size_t count = 0; count < 200; count++)
	{
		for (uint32_t i = 0; i < count; i++)
			items[i] = random_candidate(&rng, i);
		check_sorted(items, count);
	}
	for (int shape = 0; shape < 6; shape++)
	{
		for (uint32_t i = 0; i < MOST; i++)
		{
			static const float saw[] = {0.0f, 3.0f, 1.0f, 2.0f};
			float              up = (float) i;
			float keys[6] = {up, -up, 0.0f, saw[i % 4], i < MOST / 2 ? up : (float) (MOST - i), NAN};

			items[i] = (IqdbCandidate) {.sequence = i, .slot = i, .key = keys[shape]};
		}
		check_sorted(items, MOST);
	}
	free(items);
}

/*
 * McIlroy, "A Killer Adversary for Quicksort" (1999), needs a comparison function of its own; a pattern that is bad for
 * the median of three does as well: every split takes off a constant number of items until heap sort steps in.
 */
static void
candidates_sort_stays_fast_on_a_median_of_three_killer(void **state)
{
	enum
	{
		COUNT = 200000
	};
	IqdbCandidate *items = malloc(COUNT * sizeof(*items));
	size_t         half = COUNT / 2;

	(void) state;
	assert_non_null(items);
	for (uint32_t i = 0; i < COUNT; i++)
		items[i] = (IqdbCandidate) {.sequence = i, .slot = i};
	for (size_t i = 0; i < half; i++)
	{
		items[i].key = (float) (i % 2 == 0 ? i + 1 : half + i + (half % 2));
		items[half + i].key = (float) (2 * (i + 1));
	}
	check_sorted(items, COUNT);
	free(items);
}

/* ---- random numbers ---- */

static void
rng_gives_the_published_numbers(void **state)
{
	uint64_t split = 1234567;
	IqdbRng  rng = {{1, 2, 3, 4}};

	(void) state;
	assert_true(iqdb_splitmix64(&split) == UINT64_C(6457827717110365317));
	assert_true(iqdb_splitmix64(&split) == UINT64_C(3203168211198807973));
	assert_true(iqdb_splitmix64(&split) == UINT64_C(9817491932198370423));
	assert_true(iqdb_rng_next(&rng) == 11520);
	assert_true(iqdb_rng_next(&rng) == 0);
	assert_true(iqdb_rng_next(&rng) == 1509978240);
	assert_true(iqdb_rng_next(&rng) == UINT64_C(1215971899390074240));
}

static void
rng_unit_is_above_zero_and_at_most_one(void **state)
{
	IqdbRng rng;
	double  sum = 0.0;

	(void) state;
	assert_true(iqdb_unit_from_bits(0) > 0.0);
	assert_true(iqdb_unit_from_bits(UINT64_MAX) == 1.0);
	iqdb_rng_seed(&rng, SEED);
	for (int i = 0; i < 100000; i++)
	{
		double unit = iqdb_rng_unit(&rng);

		assert_true(unit > 0.0 && unit <= 1.0);
		sum += unit;
	}
	assert_true(fabs(sum / 100000 - 0.5) < 0.01);
}

static void
rng_below_covers_its_range_evenly(void **state)
{
	IqdbRng rng;
	int     counts[7] = {0};

	(void) state;
	iqdb_rng_seed(&rng, SEED);
	assert_int_equal(iqdb_rng_below(&rng, 0), 0);
	assert_int_equal(iqdb_rng_below(&rng, 1), 0);
	for (int i = 0; i < 70000; i++)
		counts[iqdb_rng_below(&rng, 7)]++;
	for (int i = 0; i < 7; i++)
		assert_in_range(counts[i], 9500, 10500);
	for (int i = 0; i < 1000; i++)
		assert_true(iqdb_rng_below(&rng, UINT64_C(0x8000000000000001)) <= UINT64_C(0x8000000000000000));
}

static void
rng_is_reproducible_by_seed(void **state)
{
	IqdbRng a;
	IqdbRng b;
	IqdbRng c;

	(void) state;
	iqdb_rng_seed(&a, 0);
	iqdb_rng_seed(&b, 0);
	iqdb_rng_seed(&c, 1);
	for (int i = 0; i < 100; i++)
	{
		uint64_t number = iqdb_rng_next(&a);

		assert_true(number == iqdb_rng_next(&b));
		assert_true(number != iqdb_rng_next(&c));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_status_has_a_name_of_its_own),
		cmocka_unit_test(fail_fills_the_record_and_returns_the_code),
		cmocka_unit_test(fail_cuts_long_texts_and_keeps_the_end_of_a_file_name),
		cmocka_unit_test(fail_io_tells_full_disk_and_full_memory_from_other_failures),
		cmocka_unit_test(allocator_allocates_moves_and_frees),
		cmocka_unit_test(carved_parts_are_aligned_and_do_not_overlap),
		cmocka_unit_test(what_is_too_large_to_be_carved_is_refused),
		cmocka_unit_test(pthread_locks_exclude_writers),
		cmocka_unit_test(arena_regions_are_page_aligned_disjoint_and_empty_at_first),
		cmocka_unit_test(arena_growth_gives_zero_bytes_that_never_move),
		cmocka_unit_test(arena_reserve_and_limit_are_reached_exactly),
		cmocka_unit_test(arena_regions_can_be_given_back_and_grown_anew),
		cmocka_unit_test(arena_growth_falls_back_to_the_exact_need_and_fails_cleanly),
		cmocka_unit_test(arena_sizes_that_cannot_be_are_refused),
		cmocka_unit_test(arena_attach_refuses_foreign_and_damaged_headers),
		cmocka_unit_test(candidate_order_is_strict_and_puts_nan_last),
		cmocka_unit_test(topk_keeps_what_a_full_sort_puts_first),
		cmocka_unit_test(topk_without_memory_keeps_what_it_held),
		cmocka_unit_test(candidates_sort_orders_any_input),
		cmocka_unit_test(candidates_sort_stays_fast_on_a_median_of_three_killer),
		cmocka_unit_test(rng_gives_the_published_numbers),
		cmocka_unit_test(rng_unit_is_above_zero_and_at_most_one),
		cmocka_unit_test(rng_below_covers_its_range_evenly),
		cmocka_unit_test(rng_is_reproducible_by_seed),
	};

	print_message("seed %llu\n", (unsigned long long) SEED);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
