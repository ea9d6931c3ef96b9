/*
 * test_stretch.c - long holds of locks are cut where the clock says so, whatever was charged; cancel and a changed epoch are
 * noticed at each cut. Clocks and locks are the test's own: nothing is measured.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/engine/stretch.h"
#include "harness/memory_index.h"

#define MEMORY_MAX (UINT64_C(16) * 1024 * 1024)

/* What the test's host sees. */
static struct
{
	uint64_t now;       /* of the clock, in nanoseconds */
	uint64_t looks;     /* at the clock */
	uint64_t taken;     /* locks */
	uint64_t released;
	uint64_t held_from; /* on the clock */
	uint64_t longest;   /* hold */
	bool     cancelled;
} seen;

static uint64_t
test_clock(void *arg)
{
	(void) arg;
	seen.looks++;
	return seen.now;
}

static bool
test_cancelled(void *arg)
{
	(void) arg;
	assert_int_equal(seen.taken, seen.released); /* polled between two holds */
	return seen.cancelled;
}

static void
test_init(void *arg, void *cell)
{
	(void) arg;
	(void) cell;
}

static void
test_acquire(void *arg, void *cell, bool exclusive)
{
	(void) arg;
	(void) cell;
	(void) exclusive;
	seen.taken++;
	seen.held_from = seen.now;
}

static void
test_release(void *arg, void *cell, bool exclusive)
{
	(void) arg;
	(void) cell;
	(void) exclusive;
	seen.released++;
	if (seen.now - seen.held_from > seen.longest)
		seen.longest = seen.now - seen.held_from;
}

static const IqdbLockOps test_locks = {test_init, test_acquire, test_release, NULL};

static void
open_index(MemoryIndex *memory, bool with_clock)
{
	IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_FLAT, 4, IQDB_METRIC_L2);

	memory_index_create(memory, &options, &test_locks, NULL, MEMORY_MAX);
	memory->host.cancelled = test_cancelled;
	if (with_clock)
		memory->host.clock = test_clock;
	memset(&seen, 0, sizeof(seen));
}

/* `steps` pieces of work, each charged as so many nanoseconds and lasting so many. */
static IqdbStatus
work(MemoryIndex *memory, uint64_t steps, uint64_t charged, uint64_t lasting)
{
	IqdbStretch stretch;
	IqdbStatus  status = IQDB_OK;

	iqdb_stretch_begin(&stretch, &memory->index.store, IQDB_LOCK_STRUCTURE, NULL);
	for (uint64_t i = 0; i < steps && status == IQDB_OK; i++)
	{
		seen.now += lasting;
		status = iqdb_stretch_step(&stretch, charged);
	}
	assert_int_equal(seen.taken, seen.released + 1);
	iqdb_stretch_end(&stretch);
	iqdb_stretch_end(&stretch);
	assert_int_equal(seen.taken, seen.released);
	return status;
}

static void
test_charges_decide_without_a_clock(void **state)
{
	MemoryIndex memory;

	(void) state;
	open_index(&memory, false);
	assert_int_equal(work(&memory, 10000, 1000, 0), IQDB_OK);
	/* ten milliseconds */
	assert_int_equal(seen.taken, 1 + 10000 * 1000 / IQDB_STRETCH_NANOSECONDS);
	assert_int_equal(seen.looks, 0);
	memory_index_destroy(&memory);
}

static void
test_the_clock_decides_where_there_is_one(void **state)
{
	static const uint64_t lasting[] = {100, 1000, 30000};
	MemoryIndex           memory;

	(void) state;
	open_index(&memory, true);
	/* work that takes a tenth of what is charged, as much, and thirty times as much */
	for (size_t i = 0; i < sizeof(lasting) / sizeof(lasting[0]); i++)
	{
		uint64_t steps = 20 * (uint64_t) IQDB_STRETCH_NANOSECONDS / lasting[i];

		memset(&seen, 0, sizeof(seen));
		assert_int_equal(work(&memory, steps, 1000, lasting[i]), IQDB_OK);
		assert_in_range(seen.taken, 10, 22);
		/* but for the first, which has nothing to go by, no hold is much longer than it should be */
		if (lasting[i] <= 1000)
			assert_true(seen.longest <= IQDB_STRETCH_NANOSECONDS + IQDB_STRETCH_NANOSECONDS / 3);
		else
			assert_true(seen.longest <= (IQDB_STRETCH_NANOSECONDS / 4 / 1000 + 1) * lasting[i]);
		/* some looks in each stretch, and one when it begins */
		assert_true(seen.looks <= seen.taken * 12);
	}
	memory_index_destroy(&memory);
}

static void
test_cancel_is_noticed_at_a_pause(void **state)
{
	MemoryIndex memory;

	(void) state;
	open_index(&memory, true);
	seen.cancelled = true;
	/* too little for a pause */
	assert_int_equal(work(&memory, 10, 1000, 1000), IQDB_OK);
	assert_int_equal(work(&memory, 100000, 1000, 1000), IQDB_ERR_CANCELLED);
	assert_true(seen.now <= 3 * IQDB_STRETCH_NANOSECONDS);
	memory_index_destroy(&memory);
}

static void
test_a_changed_epoch_makes_stale(void **state)
{
	_Atomic uint64_t epoch = 7;
	MemoryIndex      memory;
	IqdbStretch      stretch;

	(void) state;
	open_index(&memory, false);
	iqdb_stretch_begin(&stretch, &memory.index.store, IQDB_LOCK_STRUCTURE, &epoch);
	assert_false(stretch.stale);
	assert_int_equal(iqdb_stretch_pause(&stretch), IQDB_OK);
	assert_false(stretch.stale);
	iqdb_stretch_leave(&stretch);
	atomic_store(&epoch, 8);
	assert_int_equal(iqdb_stretch_enter(&stretch), IQDB_OK);
	assert_true(stretch.stale);
	/* and stays so until the caller begins anew */
	assert_int_equal(iqdb_stretch_pause(&stretch), IQDB_OK);
	assert_true(stretch.stale);
	iqdb_stretch_refresh(&stretch);
	assert_false(stretch.stale);
	assert_int_equal(iqdb_stretch_pause(&stretch), IQDB_OK);
	assert_false(stretch.stale);
	iqdb_stretch_end(&stretch);
	assert_int_equal(seen.taken, seen.released);
	memory_index_destroy(&memory);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_charges_decide_without_a_clock),
		cmocka_unit_test(test_the_clock_decides_where_there_is_one),
		cmocka_unit_test(test_cancel_is_noticed_at_a_pause),
		cmocka_unit_test(test_a_changed_epoch_makes_stale),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
