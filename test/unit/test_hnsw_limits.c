/*
 * test_hnsw_limits.c - the hnsw engine at the ends of what its options and settings may be, and stopped at any moment.
 *
 * Nothing here is timed: how often locks are taken and the cancel flag is read is counted, so work that does not end is
 * found by its counters, and every look at the flag can be the one that stops the work.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "unit/hnsw_samples.h"

#define SEED UINT64_C(20261130)
#define DIM 8

/* ---- a host that counts ------------------------------------------------------------------------------------------ */

/* Locks taken and flags read since the counters were set. Locks are those of one thread. */
static uint64_t acquired;
static uint64_t acquired_max;
static uint64_t polls;
static uint64_t polls_allowed; /* the flag is set after so many looks */

/* What happens beside the work, once, when the next lock is taken. */
static void (*beside)(void *arg);
static void *beside_arg;

static void
count_acquire(void *arg, void *cell, bool exclusive)
{
	void (*now)(void *arg) = beside;

	(void) arg;
	(void) cell;
	(void) exclusive;
	beside = NULL;
	if (now != NULL)
		now(beside_arg);
	if (++acquired > acquired_max)
		fail_msg("no end: %llu locks were taken", (unsigned long long) acquired);
}

static bool
count_poll(void *arg)
{
	(void) arg;
	return ++polls > polls_allowed;
}

static void
counters_set(uint64_t locks, uint64_t flags)
{
	acquired = 0;
	acquired_max = locks;
	polls = 0;
	polls_allowed = flags;
}

static void
counted_create(MemoryIndex *memory, const IqdbIndexOptions *options)
{
	IqdbLockOps locks = iqdb_locks_none;

	counters_set(UINT64_MAX, UINT64_MAX);
	locks.acquire = count_acquire;
	memory_index_create(memory, options, &locks, NULL, SAMPLES_MEMORY_MAX);
	memory->host.cancelled = count_poll;
}

/* ---- every option and setting at its ends ------------------------------------------------------------------------ */

/* Takes the whole stream: every row, once. */
static void
take_all(MemoryIndex *memory, const Samples *samples, const IqdbSearchParams *params, size_t capacity)
{
	IqdbCursor *cursor;
	IqdbHit *hits = malloc(capacity * sizeof(*hits));
	unsigned char *seen = calloc(samples->count + 1, 1);
	size_t count;
	size_t total = 0;

	assert_true(hits != NULL && seen != NULL);
	/* a lock for each hit that is handed out alone, and a few for each search, of which there are few */
	counters_set(2 * samples->count + 200, UINT64_MAX);
	assert_int_equal(iqdb_cursor_open(&memory->index, samples_row(samples, 0), samples->dim, params, &cursor, NULL),
					 IQDB_OK);
	do
	{
		assert_int_equal(iqdb_cursor_next(cursor, hits, capacity, &count, NULL), IQDB_OK);
		for (size_t i = 0; i < count; i++)
			assert_int_equal(seen[hits[i].id]++, 0);
		total += count;
	} while (count > 0);
	assert_int_equal(total, samples->count);
	assert_true(polls < 200);
	iqdb_cursor_close(cursor);
	counters_set(UINT64_MAX, UINT64_MAX);
	free(seen);
	free(hits);
}

static void
search_at_the_ends(MemoryIndex *memory, const Samples *samples)
{
	static const uint32_t efs[] = {0, 1, 2, 3, 5, 100, 100000};
	static const size_t expected[] = {0, 1, 3, 1000, SIZE_MAX};

	for (size_t e = 0; e < 7; e++)
	{
		for (size_t x = 0; x < 5; x++)
		{
			IqdbSearchParams params = {.ef = efs[e], .expected = expected[x]};

			take_all(memory, samples, &params, 1);
			take_all(memory, samples, &params, 1000);
		}
	}
}

static void
index_at_the_ends(size_t rows, IqdbMetric metric, IqdbQuantization quantization, uint32_t m, uint32_t ef_construction,
				  uint32_t ef_search)
{
	IqdbIndexOptions options;
	MemoryIndex memory;
	Samples samples;

	samples_make(&samples, rows, DIM, rows > 100 ? 5 : 0, SEED);
	/* equal rows among them */
	for (size_t i = 3; i < rows; i += 4)
		samples_copy(&samples, i, i % 16);
	options = samples_options(&samples, metric, quantization);
	options.m = m;
	options.ef_construction = ef_construction;
	options.ef_search = ef_search;
	counted_create(&memory, &options);
	for (size_t i = 0; i < rows; i++)
	{
		counters_set(1000, UINT64_MAX);
		assert_int_equal(samples_put(&memory, &samples, i, true), IQDB_OK);
	}
	if (rows > 0)
		search_at_the_ends(&memory, &samples);
	counters_set(1000 + 10 * rows, UINT64_MAX);
	for (size_t i = 0; i < rows; i += 2)
		samples_remove(&memory, &samples, i);
	assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_VACUUM, NULL), IQDB_OK);
	assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_OPTIMIZE, NULL), IQDB_OK);
	assert_true(memory_index_sound(&memory.index));
	memory_index_destroy(&memory);
	samples_free(&samples);
}

static void
options_at_their_ends(const IqdbQuantization *codes, size_t code_count)
{
	static const size_t rows[] = {0, 1, 2, 17, 18, 40, 300};
	static const uint32_t shapes[][3] = {{2, 4, 1}, {2, 4000, 100000}, {128, 256, 1}, {128, 4000, 100000}, {16, 64, 2}};

	for (uint32_t metric = 0; metric < IQDB_METRIC_COUNT; metric++)
	{
		for (size_t code = 0; samples_has_metric(metric) && code < code_count; code++)
		{
			if (samples_codes((IqdbMetric) metric, codes[code]) != codes[code])
				continue;
			for (size_t r = 0; r < sizeof(rows) / sizeof(rows[0]); r++)
			{
				for (size_t s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++)
					index_at_the_ends(rows[r], (IqdbMetric) metric, codes[code], shapes[s][0], shapes[s][1],
									  shapes[s][2]);
			}
		}
	}
}

static const IqdbQuantization every_code[] = {IQDB_QUANTIZATION_NONE, IQDB_QUANTIZATION_SQ8, IQDB_QUANTIZATION_BQ};

static void
test_options_at_their_ends(void **state)
{
	options_at_their_ends(every_code, 3);
}

static void
test_options_at_their_ends_halves(void **state)
{
	samples_element = IQDB_ELEMENT_F16;
	options_at_their_ends(every_code, 1);
	samples_element = IQDB_ELEMENT_F32;
}

static void
test_options_at_their_ends_bits(void **state)
{
	samples_element = IQDB_ELEMENT_BIT;
	options_at_their_ends(every_code, 1);
	samples_element = IQDB_ELEMENT_F32;
}

/* ---- stopped at any moment --------------------------------------------------------------------------------------- */

#define MOMENT_ROWS 1500

/* An index with all that can be stopped: rows that wait for links, removed rows, and a search that looks at many rows. */
static void
moment_create(MemoryIndex *memory, Samples *samples, IqdbQuantization quantization)
{
	IqdbIndexOptions options;

	samples_make(samples, MOMENT_ROWS, DIM, 5, SEED);
	/* numbers far from zero: the centre of the codes moves */
	for (size_t i = 0; !samples_are_bits() && i < samples->count * samples->dim; i++)
		samples->rows[i] += 50.0f;
	options = samples_options(samples, IQDB_METRIC_L2, quantization);
	options.m = 4;
	options.ef_construction = 40;
	counted_create(memory, &options);
	for (size_t i = 0; i < samples->count; i++)
		assert_int_equal(samples_put(memory, samples, i, i % 5 != 0), IQDB_OK);
	for (size_t i = 0; i < samples->count; i += 3)
		samples_remove(memory, samples, i);
}

static IqdbStatus
do_search(MemoryIndex *memory, Samples *samples)
{
	IqdbSearchParams params = {.ef = 100};
	IqdbCursor      *cursor;
	IqdbHit          hits[64];
	size_t           count = 1;
	IqdbStatus       status = IQDB_OK;

	if (iqdb_cursor_open(&memory->index, samples_row(samples, 1), samples->dim, &params, &cursor, NULL) != IQDB_OK)
		abort();
	while (status == IQDB_OK && count > 0)
		status = iqdb_cursor_next(cursor, hits, 64, &count, NULL);
	/* a stream that was stopped has ended */
	if (status != IQDB_OK)
	{
		assert_int_equal(iqdb_cursor_next(cursor, hits, 64, &count, NULL), IQDB_OK);
		assert_int_equal(count, 0);
	}
	iqdb_cursor_close(cursor);
	return status;
}

static IqdbStatus
do_link(MemoryIndex *memory, Samples *samples)
{
	uint64_t linked;

	return iqdb_index_link_pending(&memory->index, UINT64_MAX, &linked, NULL);
}

static IqdbStatus
do_vacuum(MemoryIndex *memory, Samples *samples)
{
	return iqdb_index_maintain(&memory->index, IQDB_MAINTAIN_VACUUM, NULL);
}

static IqdbStatus
do_optimize(MemoryIndex *memory, Samples *samples)
{
	return iqdb_index_maintain(&memory->index, IQDB_MAINTAIN_OPTIMIZE, NULL);
}

static void
ignore(void *arg, const char *what)
{
	(void) what;
	(*(int *) arg)++;
}

static IqdbStatus
do_check(MemoryIndex *memory, Samples *samples)
{
	int        findings = 0;
	IqdbStatus status = iqdb_index_check(&memory->index, ignore, &findings, NULL);

	assert_int_equal(findings, 0);
	return status;
}

/* Into a snapshot, and out of it again. */
static IqdbStatus
do_copy(MemoryIndex *memory, Samples *samples)
{
	MemorySnapshot    snapshot;
	IqdbSectionSink   sink;
	IqdbSectionSource source;
	MemoryIndex       copy;
	IqdbStatus        status;

	memory_snapshot_init(&snapshot);
	sink = memory_snapshot_sink(&snapshot);
	status = iqdb_index_save(&memory->index, &sink, NULL);
	if (status == IQDB_OK)
	{
		memory_index_create(&copy, &memory->index.store.header->options, &iqdb_locks_none, NULL, SAMPLES_MEMORY_MAX);
		copy.host.cancelled = count_poll;
		source = memory_snapshot_source(&snapshot);
		status = iqdb_index_load(&copy.index, &source, NULL);
		memory_index_destroy(&copy);
	}
	memory_snapshot_free(&snapshot);
	return status;
}

/* Whatever was stopped: every row is there, and the next repair and check find nothing wrong. */
static void
assert_whole(MemoryIndex *memory, const Samples *samples)
{
	IqdbSearchParams params = {.ef = 50};
	IqdbCursor      *cursor;
	IqdbHit          hits[64];
	size_t           count;
	size_t           total = 0;
	size_t           present = 0;

	counters_set(UINT64_MAX, UINT64_MAX);
	assert_int_equal(iqdb_cursor_open(&memory->index, samples_row(samples, 1), samples->dim, &params, &cursor, NULL),
					 IQDB_OK);
	do
	{
		assert_int_equal(iqdb_cursor_next(cursor, hits, 64, &count, NULL), IQDB_OK);
		total += count;
	} while (count > 0);
	iqdb_cursor_close(cursor);
	for (size_t i = 0; i < samples->count; i++)
		present += samples->present[i];
	assert_int_equal(total, present);
	assert_true(memory_index_sound(&memory->index));
}

/* Stops the work at every look at the flag, or at as many as a test has time for, on a fresh index each. */
static void
stop_everywhere(const char *what, IqdbQuantization quantization, IqdbStatus (*work)(MemoryIndex *, Samples *))
{
	uint64_t step = 1;
	uint64_t all = 0;

	for (uint64_t allowed = 0; allowed <= all; allowed += step)
	{
		MemoryIndex memory;
		Samples     samples;
		IqdbStatus  status;

		moment_create(&memory, &samples, quantization);
		counters_set(UINT64_MAX, all == 0 ? UINT64_MAX : allowed - 1);
		status = work(&memory, &samples);
		assert_int_equal(status, polls > polls_allowed ? IQDB_ERR_CANCELLED : IQDB_OK);
		if (all == 0)
		{
			all = polls + 1;
			step = all / 12 + 1;
			printf("# %s, %s: %llu looks at the flag\n", what, samples_quantization(quantization),
				   (unsigned long long) polls);
			assert_true(polls > 0);
		}
		assert_whole(&memory, &samples);
		assert_int_equal(work(&memory, &samples), IQDB_OK);
		assert_whole(&memory, &samples);
		memory_index_destroy(&memory);
		samples_free(&samples);
	}
}

static void
stop_everything(IqdbQuantization quantization)
{
	stop_everywhere("search", quantization, do_search);
	stop_everywhere("links", quantization, do_link);
	stop_everywhere("vacuum", quantization, do_vacuum);
	stop_everywhere("optimize", quantization, do_optimize);
	stop_everywhere("check", quantization, do_check);
	stop_everywhere("save and load", quantization, do_copy);
}

static void
test_stopped_at_any_moment(void **state)
{
	for (int code = 0; code < 3; code++)
		stop_everything(every_code[code]);
}

static void
test_stopped_at_any_moment_elements(void **state)
{
	samples_element = IQDB_ELEMENT_F16;
	stop_everything(IQDB_QUANTIZATION_SQ8);
	samples_element = IQDB_ELEMENT_BIT;
	stop_everything(IQDB_QUANTIZATION_NONE);
	samples_element = IQDB_ELEMENT_F32;
}

/* ---- the last node of a repair ----------------------------------------------------------------------------------- */

typedef struct Latecomer
{
	MemoryIndex *memory;
	Samples     *samples;
} Latecomer;

/* A row gets a slot that the repair does not look at, and links to the others; then they go. */
static void
come_late(void *arg)
{
	Latecomer *late = arg;
	size_t     last = late->samples->count - 1;

	assert_int_equal(samples_put(late->memory, late->samples, last, true), IQDB_OK);
	for (size_t i = 0; i < last; i++)
	{
		if (late->samples->present[i])
			samples_remove(late->memory, late->samples, i);
	}
}

static void
test_repair_leaves_a_way_in(void **state)
{
	IqdbIndexOptions options;
	MemoryIndex      memory;
	Samples          samples;
	Latecomer        late = {&memory, &samples};

	samples_make(&samples, 100, DIM, 0, SEED);
	options = samples_options(&samples, IQDB_METRIC_L2, IQDB_QUANTIZATION_NONE);
	counted_create(&memory, &options);
	for (size_t i = 0; i < 99; i++)
		assert_int_equal(samples_put(&memory, &samples, i, true), IQDB_OK);
	samples_remove(&memory, &samples, 0);
	beside_arg = &late;
	beside = come_late;
	assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_VACUUM, NULL), IQDB_OK);
	assert_true(samples.present[99]);
	assert_true(memory_index_sound(&memory.index));
	memory_index_destroy(&memory);
	samples_free(&samples);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_options_at_their_ends),
		cmocka_unit_test(test_options_at_their_ends_halves),
		cmocka_unit_test(test_options_at_their_ends_bits),
		cmocka_unit_test(test_stopped_at_any_moment),
		cmocka_unit_test(test_stopped_at_any_moment_elements),
		cmocka_unit_test(test_repair_leaves_a_way_in),
	};

	return cmocka_run_group_tests_name("hnsw_limits", tests, NULL, NULL);
}
