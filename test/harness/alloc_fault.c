/*
 * alloc_fault.c - see alloc_fault.h. The sizes callers say a block has are held against the sizes it was given.
 */
#include "harness/alloc_fault.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEAD 16

static void *
resize(void *arg, void *pointer, size_t old_size, size_t new_size)
{
	AllocFault    *fault = arg;
	unsigned char *block = pointer != NULL ? (unsigned char *) pointer - HEAD : NULL;
	size_t         was = 0;

	if (block != NULL)
	{
		memcpy(&was, block, sizeof(was));
		if (was != old_size)
		{
			fprintf(stderr, "alloc_fault: a block of %zu bytes is said to have %zu\n", was, old_size);
			abort();
		}
	}
	if (new_size == 0)
	{
		if (block != NULL)
		{
			fault->blocks--;
			fault->bytes -= (int64_t) was;
		}
		free(block);
		return NULL;
	}
	if (++fault->calls == fault->fail_at)
	{
		fault->fired = true;
		return NULL;
	}
	/* always moves: a stale pointer is then caught by the sanitizer */
	unsigned char *fresh = malloc(HEAD + new_size);

	if (fresh == NULL)
		abort();
	memcpy(fresh, &new_size, sizeof(new_size));
	memset(fresh + HEAD, 0xa5, new_size);
	if (block != NULL)
		memcpy(fresh + HEAD, pointer, was < new_size ? was : new_size);
	else
		fault->blocks++;
	fault->bytes += (int64_t) new_size - (int64_t) was;
	free(block);
	return fresh + HEAD;
}

void
alloc_fault_init(AllocFault *fault)
{
	memset(fault, 0, sizeof(*fault));
	fault->allocator.resize = resize;
	fault->allocator.arg = fault;
}

void
alloc_fault_arm(AllocFault *fault, uint64_t n)
{
	fault->calls = 0;
	fault->fail_at = n;
	fault->fired = false;
}
