/*
 * carve.c - several arrays in one piece of memory; see carve.h.
 */
#include "core/base/carve.h"

#include <string.h>

void *
iqdb_carve(IqdbCarve *carve, size_t count, size_t each)
{
	unsigned char *part = carve->at != NULL ? carve->at + carve->size : NULL;
	size_t         bytes;

	if (!iqdb_mul_size(count, each, &bytes) || !iqdb_add_size(bytes, IQDB_CARVE_ALIGNMENT - 1, &bytes) ||
		!iqdb_add_size(carve->size, bytes / IQDB_CARVE_ALIGNMENT * IQDB_CARVE_ALIGNMENT, &carve->size))
		carve->size = SIZE_MAX;
	return part;
}

bool
iqdb_carve_alloc(IqdbCarve *carve, const IqdbAllocator *allocator)
{
	size_t size;

	if (!iqdb_add_size(carve->size, IQDB_CARVE_ALIGNMENT, &size))
		return false;
	carve->allocated = iqdb_alloc(allocator, size);
	if (carve->allocated == NULL)
		return false;
	carve->allocated_size = size;
	iqdb_carve_place(carve, (unsigned char *) carve->allocated +
								(IQDB_CARVE_ALIGNMENT - (uintptr_t) carve->allocated % IQDB_CARVE_ALIGNMENT) %
									IQDB_CARVE_ALIGNMENT);
	return true;
}

void
iqdb_carve_place(IqdbCarve *carve, void *memory)
{
	carve->at = memory;
	carve->size = 0;
}

void
iqdb_carve_free(IqdbCarve *carve, const IqdbAllocator *allocator)
{
	iqdb_free(allocator, carve->allocated, carve->allocated_size);
	memset(carve, 0, sizeof(*carve));
}
