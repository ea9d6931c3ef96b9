/*
 * ivf_waiting.c - rows that wait to be linked: a bit each, numbers of bits, and the end of the wait.
 */
#include "core/ivf/ivf_waiting_private.h"

/* Slots released, and rows looked at, under one hold of the locks. */
#define RELEASE_BATCH 128u
#define END_WAITS_BATCH 4096u

void
iqdbi_row_wait(const IqdbiIvf *ivf, uint32_t slot)
{
	IqdbiSpan *span = &ivf->spans[slot / IQDBI_SPAN_SLOTS];
	IqdbiCounting   count = iqdbi_counting(ivf);

	if (count.current == 0 && count.training == 0)
		return;
	if (count.current != 0)
		iqdbi_home_set(ivf, count.current - 1, slot, IQDBI_HOME_PENDING, 0);
	if (count.training != 0)
		iqdbi_home_set(ivf, count.training - 1, slot, IQDBI_HOME_PENDING, 0);
	/* the numbers are raised before the bit is set: a reader that finds zero has missed no row */
	atomic_fetch_add_explicit(&ivf->header->waiting, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&span->waiting, 1, memory_order_relaxed);
	atomic_fetch_or_explicit(&span->bits[slot % IQDBI_SPAN_SLOTS / 64], UINT64_C(1) << slot % 64, memory_order_release);
}

static void
stop_waiting(const IqdbiIvf *ivf, uint32_t slot)
{
	IqdbiSpan *span = &ivf->spans[slot / IQDBI_SPAN_SLOTS];
	uint64_t   bit = UINT64_C(1) << slot % 64;

	if ((atomic_fetch_and_explicit(&span->bits[slot % IQDBI_SPAN_SLOTS / 64], ~bit, memory_order_release) & bit) == 0)
		return;
	atomic_fetch_sub_explicit(&span->waiting, 1, memory_order_release);
	atomic_fetch_sub_explicit(&ivf->header->waiting, 1, memory_order_release);
}

uint32_t
iqdbi_row_waiting(const IqdbiIvf *ivf, uint32_t slot, uint32_t slots)
{
	while (slot < slots)
	{
		IqdbiSpan *span = &ivf->spans[slot / IQDBI_SPAN_SLOTS];
		uint64_t   bits;

		if (slot % IQDBI_SPAN_SLOTS == 0 && atomic_load_explicit(&span->waiting, memory_order_acquire) == 0)
		{
			slot = slots - slot > IQDBI_SPAN_SLOTS ? slot + IQDBI_SPAN_SLOTS : slots;
			continue;
		}
		bits = atomic_load_explicit(&span->bits[slot % IQDBI_SPAN_SLOTS / 64], memory_order_acquire) >> slot % 64;
		if (bits != 0)
		{
			slot += (uint32_t) __builtin_ctzll(bits);
			return slot < slots ? slot : slots;
		}
		slot = slots - slot > 64 - slot % 64 ? slot + 64 - slot % 64 : slots;
	}
	return slots;
}

/* What becomes of a row that waits. */
typedef enum Outcome
{
	STILL_WAITS,
	IN_LISTS,       /* every list that must hold the row does, or all rows are scanned: the wait is over */
	HELD_BY_NOTHING /* the row is DEAD and in no list: the wait is over, and the slot is to be released */
} Outcome;

/*
 * A DEAD row. Its home words go from PENDING to ABSENT, so that no process links it from here on; one that is linking it at
 * this moment ends the wait itself afterwards. ENGINE is held.
 */
static Outcome
outcome_of_dead(const IqdbiIvf *ivf, uint32_t slot, IqdbiCounting count)
{
	uint32_t editions[2] = {count.training, count.current};
	bool     held = false;

	for (int i = 0; i < 2; i++)
	{
		uint32_t status;

		if (editions[i] == 0)
			continue;
		(void) iqdbi_home_change(ivf, editions[i] - 1, slot, IQDBI_HOME_PENDING, IQDBI_HOME_ABSENT);
		status = iqdbi_home_status(iqdbi_home(ivf, editions[i] - 1, slot));
		if (status == IQDBI_HOME_LINKING)
			return STILL_WAITS;
		held |= status == IQDBI_HOME_LINKED;
	}
	return held ? IN_LISTS : HELD_BY_NOTHING;
}

/* ENGINE is held. */
static Outcome
outcome_of(const IqdbiIvf *ivf, uint32_t slot)
{
	IqdbiCounting count = iqdbi_counting(ivf);

	if (iqdb_store_state(ivf->store, slot) == IQDB_ROW_DEAD)
		return outcome_of_dead(ivf, slot, count);
	if (count.current != 0 && iqdbi_home_status(iqdbi_home(ivf, count.current - 1, slot)) != IQDBI_HOME_LINKED)
		return STILL_WAITS;
	if (count.training != 0 && iqdbi_home_status(iqdbi_home(ivf, count.training - 1, slot)) != IQDBI_HOME_LINKED)
		return STILL_WAITS;
	return IN_LISTS;
}

/* true: nothing holds the slot any more. ENGINE is held. */
static bool
end_wait(const IqdbiIvf *ivf, uint32_t slot)
{
	Outcome outcome = outcome_of(ivf, slot);

	if (outcome != STILL_WAITS)
		stop_waiting(ivf, slot);
	return outcome == HELD_BY_NOTHING;
}

bool
iqdbi_row_end_wait(const IqdbiIvf *ivf, uint32_t slot)
{
	bool released;

	iqdb_store_lock(ivf->store, IQDB_LOCK_ENGINE, true);
	released = end_wait(ivf, slot);
	iqdb_store_unlock(ivf->store, IQDB_LOCK_ENGINE, true);
	return released;
}

void
iqdbi_slots_release(const IqdbiIvf *ivf, const uint32_t *slots, uint32_t count)
{
	if (count == 0)
		return;
	iqdb_store_lock(ivf->store, IQDB_LOCK_ROWS, true);
	for (uint32_t i = 0; i < count; i++)
	{
		if (iqdb_store_release_locked(ivf->store, slots[i]))
			atomic_fetch_sub_explicit(&ivf->header->unrepaired, 1, memory_order_relaxed);
	}
	iqdb_store_unlock(ivf->store, IQDB_LOCK_ROWS, true);
}

void
iqdbi_rows_end_waits(const IqdbiIvf *ivf)
{
	uint32_t slots = atomic_load_explicit(&ivf->store->header->slot_count, memory_order_acquire);
	uint32_t slot = atomic_load_explicit(&ivf->header->waiting, memory_order_acquire) > 0 ? 0 : slots;

	while (slot < slots)
	{
		uint32_t released[RELEASE_BATCH];
		uint32_t count = 0;

		iqdb_store_lock(ivf->store, IQDB_LOCK_STRUCTURE, false);
		iqdb_store_lock(ivf->store, IQDB_LOCK_ENGINE, true);
		for (uint32_t looked = 0; looked < END_WAITS_BATCH && count < RELEASE_BATCH; looked++)
		{
			slot = iqdbi_row_waiting(ivf, slot, slots);
			if (slot == slots)
				break;
			if (end_wait(ivf, slot))
				released[count++] = slot;
			slot++;
		}
		iqdb_store_unlock(ivf->store, IQDB_LOCK_ENGINE, true);
		iqdbi_slots_release(ivf, released, count);
		iqdb_store_unlock(ivf->store, IQDB_LOCK_STRUCTURE, false);
	}
}
