/*
 * host.h - the services a host lends to the core: memory, locks, cancel, time.
 *
 * The same core runs inside a C program and inside every backend of a server. What differs is passed in here; the core
 * keeps no process-global state. File access is in io.h, the arena's backing in arena.h.
 */
#ifndef IQDB_BASE_HOST_H
#define IQDB_BASE_HOST_H

#include "core/base/mem.h"

/* Room for one lock inside the arena; what it holds is the host's affair. A cell is 64-byte aligned. */
#define IQDB_LOCK_CELL_SIZE 64

typedef struct IqdbLockOps
{
	void (*init)(void *arg, void *cell);
	void (*acquire)(void *arg, void *cell, bool exclusive);
	void (*release)(void *arg, void *cell, bool exclusive);
	void *arg;
} IqdbLockOps;

/* Nothing is locked: one thread only. */
extern const IqdbLockOps iqdb_locks_none;
/* pthread read-write locks, for threads of one process. */
extern const IqdbLockOps iqdb_locks_pthread;

/* Nanoseconds since some moment; never goes back. */
typedef uint64_t (*IqdbClock)(void *arg);

/* The system's monotonic clock; arg is not read. */
uint64_t iqdb_clock_monotonic(void *arg);

typedef struct IqdbHost
{
	IqdbAllocator allocator;
	IqdbLockOps   locks;
	IqdbCancel    cancelled;
	void         *cancel_arg;
	IqdbClock     clock; /* NULL: long holds of locks are measured by estimates of their work (engine/stretch.h) */
	void         *clock_arg;
} IqdbHost;

static inline bool
iqdb_host_cancelled(const IqdbHost *host)
{
	return host->cancelled != NULL && host->cancelled(host->cancel_arg);
}

#endif
