/*
 * mem.h - the injected allocator, and size arithmetic that cannot wrap.
 *
 * The core never calls malloc: every handle carries the allocator of its host, so that a server can charge the memory
 * to its own contexts, and a test can make call number N fail.
 */
#ifndef IQDB_BASE_MEM_H
#define IQDB_BASE_MEM_H

#include "core/public/iqdb.h"

/* The C library's allocator, for programs and tests: what a public function takes for NULL. */
extern const IqdbAllocator iqdb_allocator_libc;

/* NULL on failure; size 0 gives NULL. An allocator that is NULL is the C library's. */
void *iqdb_alloc(const IqdbAllocator *allocator, size_t size);
void *iqdb_alloc_zero(const IqdbAllocator *allocator, size_t size);
void *iqdb_realloc(const IqdbAllocator *allocator, void *pointer, size_t old_size, size_t new_size);

/* false when the result does not fit, *out is then untouched. */
static inline bool
iqdb_mul_size(size_t a, size_t b, size_t *out)
{
	return !__builtin_mul_overflow(a, b, out);
}

static inline bool
iqdb_add_size(size_t a, size_t b, size_t *out)
{
	return !__builtin_add_overflow(a, b, out);
}

#endif
