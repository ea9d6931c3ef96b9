/*
 * mem.h - the injected allocator, and size arithmetic that cannot wrap.
 *
 * The core never calls malloc: every handle carries the allocator of its host, so that a server can charge the memory
 * to its own contexts, and a test can make call number N fail.
 */
#ifndef IQDB_BASE_MEM_H
#define IQDB_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * One function does it all: resize(arg, NULL, 0, n) allocates, resize(arg, p, old, n) moves, resize(arg, p, old, 0)
 * frees and returns NULL. Returns NULL on failure, p then stays valid. Must never jump. Alignment: 16 bytes.
 */
typedef struct IqdbAllocator
{
	void *(*resize)(void *arg, void *pointer, size_t old_size, size_t new_size);
	void *arg;
} IqdbAllocator;

/* The C library's allocator, for programs and tests. */
extern const IqdbAllocator iqdb_allocator_libc;

/* NULL on failure; size 0 gives NULL. */
void *iqdb_alloc(const IqdbAllocator *allocator, size_t size);
void *iqdb_alloc_zero(const IqdbAllocator *allocator, size_t size);
void *iqdb_realloc(const IqdbAllocator *allocator, void *pointer, size_t old_size, size_t new_size);
/* pointer may be NULL; size is the size it was allocated with. */
void iqdb_free(const IqdbAllocator *allocator, void *pointer, size_t size);

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
