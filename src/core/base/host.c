/*
 * host.c - what hosts may pass in ready-made: two sets of lock operations, and a clock.
 *
 * Owns: what an arena's lock cells hold under them. A host with locks of its own (a server) passes others.
 */
#define _GNU_SOURCE
#include "core/base/host.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <time.h>

_Static_assert(sizeof(pthread_rwlock_t) <= IQDB_LOCK_CELL_SIZE, "a pthread lock must fit into a lock cell");
_Static_assert(_Alignof(pthread_rwlock_t) <= IQDB_LOCK_CELL_SIZE, "a lock cell must be aligned for a pthread lock");

static void
none_init(void *arg, void *cell)
{
	(void) arg;
	(void) cell;
}

static void
none_lock(void *arg, void *cell, bool exclusive)
{
	(void) arg;
	(void) cell;
	(void) exclusive;
}

const IqdbLockOps iqdb_locks_none = {none_init, none_lock, none_lock, NULL};

/*
 * glibc's default lets a steady flow of readers starve a writer for ever; the other kind makes new readers queue behind
 * a waiting writer. The price is that no thread may take the same lock twice, which the core never does.
 */
static void
pthread_init_cell(void *arg, void *cell)
{
	pthread_rwlockattr_t attributes;

	(void) arg;
	if (pthread_rwlockattr_init(&attributes) != 0)
	{
		(void) pthread_rwlock_init(cell, NULL);
		return;
	}
#ifdef __GLIBC__
	(void) pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
#endif
	(void) pthread_rwlock_init(cell, &attributes);
	(void) pthread_rwlockattr_destroy(&attributes);
}

static void
pthread_acquire(void *arg, void *cell, bool exclusive)
{
	(void) arg;
	if (exclusive)
	{
		(void) pthread_rwlock_wrlock(cell);
		return;
	}
	/* EAGAIN: the lock's reader counter is full for the moment */
	while (pthread_rwlock_rdlock(cell) == EAGAIN)
		(void) sched_yield();
}

static void
pthread_release(void *arg, void *cell, bool exclusive)
{
	(void) arg;
	(void) exclusive;
	(void) pthread_rwlock_unlock(cell);
}

const IqdbLockOps iqdb_locks_pthread = {pthread_init_cell, pthread_acquire, pthread_release, NULL};

uint64_t
iqdb_clock_monotonic(void *arg)
{
	struct timespec now;

	(void) arg;
	/* cannot fail: every system that has threads has this clock */
	(void) clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t) now.tv_sec * 1000000000u + (uint64_t) now.tv_nsec;
}
