/*
 * guarded.c - memory between two unreadable pages (guarded.h).
 */
#define _GNU_SOURCE

#include "harness/guarded.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/mman.h>
#include <unistd.h>

Guarded
guarded_create(size_t bytes)
{
	Guarded guarded;

	guarded.page = (size_t) sysconf(_SC_PAGESIZE);
	guarded.bytes = (bytes + guarded.page - 1) / guarded.page * guarded.page;
	guarded.area = mmap(NULL, guarded.bytes + 2 * guarded.page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
						-1, 0);
	assert_true(guarded.area != MAP_FAILED);
	assert_int_equal(mprotect(guarded.area, guarded.page, PROT_NONE), 0);
	assert_int_equal(mprotect(guarded.area + guarded.page + guarded.bytes, guarded.page, PROT_NONE), 0);
	return guarded;
}

void
guarded_destroy(const Guarded *guarded)
{
	assert_int_equal(munmap(guarded->area, guarded->bytes + 2 * guarded->page), 0);
}

void *
guarded_place(const Guarded *guarded, size_t bytes, bool upper)
{
	return guarded->area + guarded->page + (upper ? guarded->bytes - bytes : 0);
}
