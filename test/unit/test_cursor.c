/*
 * test_cursor.c - the order of a stream, whatever an engine does: rows found late come at its end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "core/base/rng.h"
#include "core/db/index.h"

enum
{
	SCRIPT_MAX = 4000
};

/* An engine that returns what the test wrote down, a few hits at a time. */
static IqdbHit script[SCRIPT_MAX];
static size_t  script_count;
static size_t  script_at;
static size_t  script_batch;
static size_t  script_gone = SIZE_MAX; /* the row that is removed after the first hits */

static IqdbStatus
scripted_start(IqdbCursor *cursor, IqdbError *err)
{
	(void) cursor;
	(void) err;
	script_at = 0;
	return IQDB_OK;
}

static IqdbStatus
scripted_next(IqdbCursor *cursor, IqdbHit *hits, size_t capacity, size_t *count_out, IqdbError *err)
{
	size_t count = script_count - script_at;

	(void) cursor;
	(void) err;
	if (count > capacity)
		count = capacity;
	if (count > script_batch)
		count = script_batch;
	if (count > 0)
		memcpy(hits, script + script_at, count * sizeof(IqdbHit));
	script_at += count;
	*count_out = count;
	return IQDB_OK;
}

static void
scripted_end(IqdbCursor *cursor)
{
	(void) cursor;
}

static const IqdbEngine scripted = {
	.name = "scripted",
	.cursor_size = sizeof(IqdbCursor),
	.cursor_start = scripted_start,
	.cursor_next = scripted_next,
	.cursor_end = scripted_end,
};

/* Runs the script through a cursor and gives back what came out of it. */
static size_t
play(IqdbHit *out, size_t capacity)
{
	IqdbHost         host = {.allocator = iqdb_allocator_libc, .locks = iqdb_locks_none};
	IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_FLAT, 2, IQDB_METRIC_L2);
	uint64_t         reserves[IQDB_ARENA_REGIONS_MAX];
	uint32_t         regions = iqdb_index_reserves(&options, 1 << 20, 0, reserves);
	float            query[2] = {0, 0};
	IqdbArena        arena;
	const IqdbEngine *engine;
	IqdbIndex        index;
	IqdbCursor      *cursor;
	size_t           total = 0;
	size_t           count;

	assert_int_equal(iqdb_arena_private_create(&arena, iqdb_arena_size_needed(reserves, regions), NULL), IQDB_OK);
	assert_int_equal(iqdb_index_format(&index, &arena, &host, NULL, &options, 1 << 20, 1 << 20, 0, 0, NULL), IQDB_OK);
	/* the rows that the script tells of: the nth in slot n, with the sequence n + 1 */
	for (size_t i = 0; i < script_count; i++)
		assert_int_equal(iqdb_index_put(&index, iqdb_id_u64(i), query, 2, NULL, 0, NULL, NULL), IQDB_OK);
	engine = index.engine;
	index.engine = &scripted;
	assert_int_equal(iqdb_cursor_open(&index, query, 2, NULL, &cursor, NULL), IQDB_OK);
	do
	{
		assert_int_equal(iqdb_cursor_next(cursor, out + total, capacity, &count, NULL), IQDB_OK);
		total += count;
		index.engine = engine;
		iqdb_index_remove(&index, iqdb_id_u64(script_gone), NULL);
		index.engine = &scripted;
	} while (count > 0);
	iqdb_cursor_close(cursor);
	iqdb_arena_private_destroy(&arena);
	return total;
}

static void
write_script(const float *keys, size_t count)
{
	for (size_t i = 0; i < count; i++)
		script[i] = (IqdbHit){.key = keys[i], .sequence = i + 1, .id = i, .slot = (uint32_t) i};
	script_count = count;
}

static void
rows_in_order_pass_unchanged(void **state)
{
	const float keys[] = {0, 1, 1, 2, 3, 5, 8};
	IqdbHit     out[8];

	(void) state;
	write_script(keys, 7);
	script_batch = 3;
	assert_int_equal(play(out, 1), 7);
	assert_memory_equal(out, script, 7 * sizeof(IqdbHit));
}

static void
late_rows_come_at_the_end_in_order(void **state)
{
	const float keys[] = {1, 4, 3, 5, 2, 6, 3, 7};
	const float expected[] = {1, 4, 5, 6, 7, 2, 3, 3};
	IqdbHit     out[8];

	(void) state;
	write_script(keys, 8);
	script_batch = 2;
	assert_int_equal(play(out, 2), 8);
	for (int i = 0; i < 8; i++)
		assert_true(out[i].key == expected[i]);
	/* equal keys by sequence */
	assert_true(out[6].sequence < out[7].sequence);
}

/* A row of the last key handed out, found later but put earlier, is no disorder; one of a smaller key is. */
static void
rows_of_equal_keys_are_in_order(void **state)
{
	const float    keys[] = {1, 2, 2, 2, 2, 1, NAN, 3, NAN};
	const uint64_t sequences[] = {9, 5, 7, 3, 1, 4, 8, 6, 2};
	const uint64_t expected[] = {9, 5, 7, 3, 1, 8, 2, 4, 6};
	IqdbHit        out[16];

	(void) state;
	write_script(keys, 9);
	for (int i = 0; i < 9; i++)
	{
		script[i].sequence = sequences[i];
		script[i].slot = (uint32_t) sequences[i] - 1;
	}
	script_batch = 1;
	assert_int_equal(play(out, 3), 9);
	for (int i = 0; i < 9; i++)
		assert_int_equal(out[i].sequence, expected[i]);
}

/* A row that goes while it is held back is not handed out any more. */
static void
late_rows_that_have_gone_are_left_out(void **state)
{
	const float keys[] = {1, 4, 3, 5, 2, 6, 3, 7};
	const float expected[] = {1, 4, 5, 6, 7, 3, 3};
	IqdbHit     out[8];

	(void) state;
	write_script(keys, 8);
	script_batch = 2;
	script_gone = 4;
	assert_int_equal(play(out, 2), 7);
	script_gone = SIZE_MAX;
	for (int i = 0; i < 7; i++)
		assert_true(out[i].key == expected[i]);
}

static void
an_empty_stream_stays_empty(void **state)
{
	IqdbHit out[1];

	(void) state;
	script_count = 0;
	script_batch = 1;
	assert_int_equal(play(out, 1), 0);
}

/* Nothing is lost or told twice, and only one descent is seen: from the last row in order to the first late one. */
static void
any_stream_is_a_permutation_with_one_descent(void **state)
{
	static IqdbHit out[SCRIPT_MAX];
	static bool    seen[SCRIPT_MAX];
	static float   keys[SCRIPT_MAX];
	IqdbRng        rng;

	(void) state;
	iqdb_rng_seed(&rng, 20261123);
	for (int round = 0; round < 50; round++)
	{
		size_t count = 1 + iqdb_rng_below(&rng, SCRIPT_MAX - 1);
		size_t total;
		int    descents = 0;

		for (size_t i = 0; i < count; i++)
			keys[i] = (float) iqdb_rng_below(&rng, 500) + (float) i / 8;
		write_script(keys, count);
		script_batch = 1 + iqdb_rng_below(&rng, 70);
		total = play(out, 1 + iqdb_rng_below(&rng, 70));
		assert_int_equal(total, count);
		memset(seen, 0, sizeof(seen));
		for (size_t i = 0; i < total; i++)
		{
			assert_false(seen[out[i].id]);
			seen[out[i].id] = true;
			descents += i > 0 && out[i].key < out[i - 1].key;
		}
		assert_in_range(descents, 0, 1);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_in_order_pass_unchanged),
		cmocka_unit_test(late_rows_come_at_the_end_in_order),
		cmocka_unit_test(rows_of_equal_keys_are_in_order),
		cmocka_unit_test(late_rows_that_have_gone_are_left_out),
		cmocka_unit_test(an_empty_stream_stays_empty),
		cmocka_unit_test(any_stream_is_a_permutation_with_one_descent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
