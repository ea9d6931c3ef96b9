/*
 * alloc_fault.h - an allocator that counts, knows what is out, and makes call number N fail. Fit for several threads.
 */
#ifndef IQDB_TEST_HARNESS_ALLOC_FAULT_H
#define IQDB_TEST_HARNESS_ALLOC_FAULT_H

#include <stdatomic.h>

#include "core/base/mem.h"

typedef struct AllocFault
{
	IqdbAllocator        allocator; /* what the code under test gets; points back here */
	_Atomic uint64_t     calls;     /* that ask for memory */
	_Atomic uint64_t     fail_at;   /* the call that fails, from 1; 0 = none */
	_Atomic bool         fired;
	_Atomic int64_t      blocks;    /* out now: 0 when nothing leaked */
	_Atomic int64_t      bytes;
} AllocFault;

void alloc_fault_init(AllocFault *fault);

/* From now on, call number n fails, once; 0 = none. */
void alloc_fault_arm(AllocFault *fault, uint64_t n);

#endif
