/*
 * stretch.c - see stretch.h.
 */
#include "core/engine/stretch.h"

#define LOOKS 4

/*
 * Charges between two looks at the clock: never less, or reading the clock would be what takes the time; and never more,
 * because the next piece of work may take as long as it is charged.
 */
#define SLICE_MIN 1000
#define SLICE_MAX (8 * IQDB_STRETCH_NANOSECONDS)

static void
take_lock(IqdbStretch *stretch)
{
	const IqdbHost *host = stretch->store->host;

	iqdb_store_lock(stretch->store, stretch->lock, false);
	stretch->held = true;
	stretch->left = stretch->slice;
	stretch->worked = 0;
	if (host->clock != NULL)
		stretch->begun = host->clock(host->clock_arg);
}

void
iqdb_stretch_begin(IqdbStretch *stretch_out, const IqdbStore *store, uint32_t lock, const _Atomic uint64_t *epoch)
{
	*stretch_out = (IqdbStretch){.store = store, .lock = lock, .epoch = epoch};
	stretch_out->slice = IQDB_STRETCH_NANOSECONDS / (store->host->clock != NULL ? LOOKS : 1);
	take_lock(stretch_out);
	iqdb_stretch_refresh(stretch_out);
}

void
iqdb_stretch_leave(IqdbStretch *stretch)
{
	stretch->held = false;
	iqdb_store_unlock(stretch->store, stretch->lock, false);
}

void
iqdb_stretch_end(IqdbStretch *stretch)
{
	if (stretch->held)
		iqdb_stretch_leave(stretch);
}

IqdbStatus
iqdb_stretch_enter(IqdbStretch *stretch)
{
	/* polled without the lock: a host's function may take its time */
	bool cancelled = iqdb_host_cancelled(stretch->store->host);

	take_lock(stretch);
	if (stretch->epoch != NULL && atomic_load_explicit(stretch->epoch, memory_order_acquire) != stretch->seen)
		stretch->stale = true;
	return cancelled ? IQDB_ERR_CANCELLED : IQDB_OK;
}

IqdbStatus
iqdb_stretch_pause(IqdbStretch *stretch)
{
	iqdb_stretch_leave(stretch);
	return iqdb_stretch_enter(stretch);
}

void
iqdb_stretch_refresh(IqdbStretch *stretch)
{
	stretch->seen = stretch->epoch != NULL ? atomic_load_explicit(stretch->epoch, memory_order_acquire) : 0;
	stretch->stale = false;
}

bool
iqdb_stretch_look(IqdbStretch *stretch)
{
	const IqdbHost *host = stretch->store->host;
	uint64_t        lasted;
	uint64_t        slice;

	if (host->clock == NULL)
		return true;
	stretch->worked += (uint64_t) (stretch->slice - stretch->left);
	lasted = host->clock(host->clock_arg) - stretch->begun;
	/* charges that a quarter of a stretch takes, as the last ones did */
	slice = stretch->worked * (IQDB_STRETCH_NANOSECONDS / LOOKS) / (lasted + 1);
	if (slice < SLICE_MIN)
		slice = SLICE_MIN;
	stretch->slice = slice < SLICE_MAX ? (int64_t) slice : SLICE_MAX;
	stretch->left = stretch->slice;
	return lasted >= IQDB_STRETCH_NANOSECONDS;
}
