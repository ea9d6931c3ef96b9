/*
 * guarded.h - memory between two unreadable pages: a read or write of the wrong byte is a crash.
 */
#ifndef IQDB_TEST_HARNESS_GUARDED_H
#define IQDB_TEST_HARNESS_GUARDED_H

#include <stdbool.h>
#include <stddef.h>

typedef struct Guarded
{
	unsigned char *area;
	size_t         page;
	size_t         bytes; /* readable, a multiple of the page */
} Guarded;

/* At least `bytes` bytes, zero. */
Guarded guarded_create(size_t bytes);
void    guarded_destroy(const Guarded *guarded);

/* `bytes` bytes that end at the upper border, or begin at the lower one. */
void *guarded_place(const Guarded *guarded, size_t bytes, bool upper);

#endif
