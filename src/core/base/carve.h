/*
 * carve.h - several arrays in one piece of memory, each at a multiple of 64 bytes.
 *
 * One function of the caller asks for all parts in order, and is called twice: the first time there is no memory, and only
 * the sizes are added up; then iqdb_carve_alloc() takes as much, and the second time each part gets its place.
 */
#ifndef IQDB_BASE_CARVE_H
#define IQDB_BASE_CARVE_H

#include "core/base/mem.h"

#define IQDB_CARVE_ALIGNMENT ((size_t) 64)

/* All zero: a first time. */
typedef struct IqdbCarve
{
	unsigned char *at;        /* the first part; NULL: sizes are added up only */
	size_t         size;      /* of the parts so far; SIZE_MAX: it cannot be said in a size_t */
	void          *allocated; /* what iqdb_carve_free() gives back */
	size_t         allocated_size;
} IqdbCarve;

/* Up to the next multiple of that; bytes are far from SIZE_MAX. */
static inline size_t
iqdb_carve_round(size_t bytes)
{
	return (bytes + IQDB_CARVE_ALIGNMENT - 1) / IQDB_CARVE_ALIGNMENT * IQDB_CARVE_ALIGNMENT;
}

/* The next part: count things of so many bytes; NULL while sizes are added up. */
void *iqdb_carve(IqdbCarve *carve, size_t count, size_t each);

/* Takes memory for all parts, for the second time. false: there is none, and nothing is to be freed. */
bool iqdb_carve_alloc(IqdbCarve *carve, const IqdbAllocator *allocator);

/* Parts in memory that is there, 64-byte aligned, and somebody else's. */
void iqdb_carve_place(IqdbCarve *carve, void *memory);

/* May be called whatever came of the allocation. */
void iqdb_carve_free(IqdbCarve *carve, const IqdbAllocator *allocator);

#endif
