/*
 * mem.c - the thin layer over the injected allocator, and the C library's allocator as one instance of it.
 *
 * Does not own: any memory. This is the only file of the core that names realloc and free.
 */
#include "core/base/mem.h"

#include <stdlib.h>
#include <string.h>

static void *
libc_resize(void *arg, void *pointer, size_t old_size, size_t new_size)
{
	(void) arg;
	(void) old_size;
	if (new_size == 0)
	{
		free(pointer);
		return NULL;
	}
	return realloc(pointer, new_size);
}

const IqdbAllocator iqdb_allocator_libc = {libc_resize, NULL};

static void *
resize(const IqdbAllocator *allocator, void *pointer, size_t old_size, size_t new_size)
{
	if (allocator == NULL)
		allocator = &iqdb_allocator_libc;
	return allocator->resize(allocator->arg, pointer, old_size, new_size);
}

void *
iqdb_alloc(const IqdbAllocator *allocator, size_t size)
{
	if (size == 0)
		return NULL;
	return resize(allocator, NULL, 0, size);
}

void *
iqdb_alloc_zero(const IqdbAllocator *allocator, size_t size)
{
	void *pointer = iqdb_alloc(allocator, size);

	if (pointer != NULL)
		memset(pointer, 0, size);
	return pointer;
}

void *
iqdb_realloc(const IqdbAllocator *allocator, void *pointer, size_t old_size, size_t new_size)
{
	if (new_size == 0)
	{
		iqdb_free(allocator, pointer, old_size);
		return NULL;
	}
	return resize(allocator, pointer, old_size, new_size);
}

void
iqdb_free(const IqdbAllocator *allocator, void *pointer, size_t size)
{
	if (pointer != NULL)
		(void) resize(allocator, pointer, size, 0);
}
