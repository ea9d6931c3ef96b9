/*
 * stretch.h - a long hold of a lock, cut into stretches so that nobody else waits long.
 *
 * Whatever looks at many rows (a search, a check, a move of the codes' centre) holds a lock shared for as long as it reads.
 * Others want the same lock exclusively for an instant, and everything behind them waits, too. So the hold is cut into
 * stretches of IQDB_STRETCH_MICROSECONDS: between two of them the lock is released, cancel is polled, and the lock is taken
 * again. What the caller remembers of the structure across such a pause may be out of date; where the structure counts an
 * epoch for that, the stretch notices that the epoch has changed.
 *
 * How long a stretch has lasted is told by two measures together. The caller charges its work in estimated nanoseconds, which
 * costs an addition; and the host's clock is read each time when about a quarter of a stretch should have gone by. Estimates
 * alone would not do: a vector on disk takes a hundred times as long as one in memory, and the processor may have been taken
 * away meanwhile. The clock alone would cost more than scoring a row. How much charged work a quarter is, is learned from
 * the looks before. A host without a clock goes by the charges, which makes a test repeatable.
 *
 *     iqdb_stretch_begin(&stretch, store, IQDB_LOCK_STRUCTURE, NULL);
 *     for (each row, status == IQDB_OK)
 *         look at it, status = iqdb_stretch_step(&stretch, nanoseconds);
 *     iqdb_stretch_end(&stretch);
 */
#ifndef IQDB_ENGINE_STRETCH_H
#define IQDB_ENGINE_STRETCH_H

#include "core/engine/store.h"

#define IQDB_STRETCH_MICROSECONDS 500
#define IQDB_STRETCH_NANOSECONDS (IQDB_STRETCH_MICROSECONDS * 1000)

/* What callers charge for common things, in nanoseconds. */
#define IQDB_CHARGE_SLOT 4       /* a look at a row's state or id, in order */
#define IQDB_CHARGE_AT_RANDOM 60 /* the same anywhere */
#define IQDB_CHARGE_FILTER 150   /* evaluating a filter on a row's metadata */

/* Reading so many bytes in order, at about 8 GB a second. */
static inline uint64_t
iqdb_charge_bytes(uint64_t bytes)
{
	return bytes / 8;
}

typedef struct IqdbStretch
{
	const IqdbStore        *store;
	uint32_t                lock;
	const _Atomic uint64_t *epoch;  /* NULL: nothing becomes stale */
	uint64_t                seen;   /* the epoch that the caller goes by */
	bool                    stale;  /* it has changed since */
	bool                    held;
	int64_t                 left;   /* charges until the next look at the clock */
	int64_t                 slice;  /* charges between two looks: about a quarter of a stretch */
	uint64_t                worked; /* charges of this stretch up to the last look */
	uint64_t                begun;  /* when this stretch began */
} IqdbStretch;

/* Takes the lock shared. epoch, or NULL: a counter of the structure whose change makes stale what the caller remembers. */
void iqdb_stretch_begin(IqdbStretch *stretch_out, const IqdbStore *store, uint32_t lock, const _Atomic uint64_t *epoch);

/* Releases the lock, if it is held. Every begin() has an end(), whatever failed in between. */
void iqdb_stretch_end(IqdbStretch *stretch);

/*
 * The two halves of a pause, for callers that have work to do without the lock. enter() takes the lock again and begins a
 * stretch; the lock is held when it returns, also with IQDB_ERR_CANCELLED. stale says whether the epoch has changed since
 * begin() or refresh().
 */
void iqdb_stretch_leave(IqdbStretch *stretch);
IqdbStatus iqdb_stretch_enter(IqdbStretch *stretch) IQDB_MUST_CHECK;

/* leave() and enter(). */
IqdbStatus iqdb_stretch_pause(IqdbStretch *stretch) IQDB_MUST_CHECK;

/* The caller begins anew and goes by the structure as it is now. The lock is held. */
void iqdb_stretch_refresh(IqdbStretch *stretch);

/* Looks at the clock, when enough has been charged for that. Use iqdb_stretch_is_over(). */
bool iqdb_stretch_look(IqdbStretch *stretch);

static inline void
iqdb_stretch_charge(IqdbStretch *stretch, uint64_t nanoseconds)
{
	stretch->left -= (int64_t) nanoseconds;
}

/* Is it time for a pause? */
static inline bool
iqdb_stretch_is_over(IqdbStretch *stretch)
{
	return stretch->left <= 0 && iqdb_stretch_look(stretch);
}

/* Charges work, and pauses when it is time. The lock is held when this returns, also with IQDB_ERR_CANCELLED. */
IQDB_MUST_CHECK static inline IqdbStatus
iqdb_stretch_step(IqdbStretch *stretch, uint64_t nanoseconds)
{
	iqdb_stretch_charge(stretch, nanoseconds);
	return iqdb_stretch_is_over(stretch) ? iqdb_stretch_pause(stretch) : IQDB_OK;
}

#endif
