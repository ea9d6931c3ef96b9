/*
 * test_meta.c - ids, values, metadata.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#include "core/base/rng.h"
#include "core/meta/id.h"
#include "core/meta/metadata.h"
#include "meta_samples.h"

#define SEED UINT64_C(7081996)

/* ---- ids ---- */

static void
check_text(IqdbId id, const char *expected)
{
	char text[600];

	assert_int_equal(iqdb_id_text(id, text, sizeof(text)), strlen(expected));
	assert_string_equal(text, expected);
}

static void
u64_display_is_decimal(void **state)
{
	(void) state;
	check_text(iqdb_id_u64(0), "0");
	check_text(iqdb_id_u64(7), "7");
	check_text(iqdb_id_u64(1234567890), "1234567890");
}

static void
vector_id_single_byte_and_max_u64_render(void **state)
{
	(void) state;
	check_text(iqdb_id_u64(UINT64_MAX), "18446744073709551615");
	check_text(iqdb_id_bytes("\xff", 1), "ff");
}

static void
bytes_display_is_lowercase_hex_no_prefix_and_pads_each_byte(void **state)
{
	(void) state;
	check_text(iqdb_id_bytes("\xde\xad\xBE\xEF", 4), "deadbeef");
	check_text(iqdb_id_bytes("\x00\x01\x0a", 3), "00010a");
}

static void
bytes_display_handles_long_keys(void **state)
{
	unsigned char bytes[256];
	char          expected[513];

	(void) state;
	for (int i = 0; i < 256; i++)
	{
		bytes[i] = (unsigned char) i;
		sprintf(expected + 2 * i, "%02x", (unsigned) i);
	}
	check_text(iqdb_id_bytes(bytes, 256), expected);
}

static void
id_text_never_passes_its_buffer(void **state)
{
	char text[8];

	(void) state;
	memset(text, 'x', sizeof(text));
	assert_int_equal(iqdb_id_text(iqdb_id_u64(123456), text, 4), 6);
	assert_string_equal(text, "123");
	assert_int_equal(text[4], 'x');
	assert_int_equal(iqdb_id_text(iqdb_id_bytes("\x12\x34", 2), text, 4), 4);
	assert_string_equal(text, "123");
	memset(text, 'x', sizeof(text));
	assert_int_equal(iqdb_id_text(iqdb_id_u64(5), text, 1), 1);
	assert_string_equal(text, "");
	assert_int_equal(iqdb_id_text(iqdb_id_u64(5), NULL, 0), 1);
}

static void
empty_byte_string_is_no_id(void **state)
{
	IqdbId    strange = iqdb_id_u64(1);
	IqdbError err;

	(void) state;
	strange.kind = (IqdbIdKind) 9;
	assert_int_equal(iqdb_id_check(iqdb_id_bytes("", 0), &err), IQDB_ERR_CONFIG);
	assert_non_null(strstr(err.message, "must not be empty"));
	assert_int_equal(iqdb_id_check(strange, NULL), IQDB_ERR_CONFIG);
	assert_int_equal(iqdb_id_check(iqdb_id_bytes("\0", 1), &err), IQDB_OK);
	assert_int_equal(iqdb_id_check(iqdb_id_u64(0), &err), IQDB_OK);
}

static void
ids_of_different_kinds_are_never_equal(void **state)
{
	unsigned char eight[8] = {5};
	IqdbId        number = iqdb_id_u64(5);
	IqdbId        bytes = iqdb_id_bytes(eight, 8);
	char          copy[] = "key";

	(void) state;
	assert_false(iqdb_id_equal(number, bytes));
	assert_true(iqdb_id_equal(number, iqdb_id_u64(5)));
	assert_false(iqdb_id_equal(number, iqdb_id_u64(6)));
	assert_true(iqdb_id_equal(iqdb_id_bytes("key", 3), iqdb_id_bytes(copy, 3)));
	assert_false(iqdb_id_equal(iqdb_id_bytes("key", 3), iqdb_id_bytes("kez", 3)));
	assert_false(iqdb_id_equal(iqdb_id_bytes("key", 3), iqdb_id_bytes("key", 2)));
	assert_true(iqdb_id_hash(iqdb_id_bytes("key", 3)) == iqdb_id_hash(iqdb_id_bytes(copy, 3)));
}

/* Neither the numbers in order nor strings that differ in one place may gather in few buckets. */
static void
id_hash_spreads(void **state)
{
	enum
	{
		BUCKETS = 1024
	};
	static uint32_t low[BUCKETS];
	static uint32_t high[BUCKETS];
	char            text[32];

	(void) state;
	for (int kind = 0; kind < 2; kind++)
	{
		memset(low, 0, sizeof(low));
		memset(high, 0, sizeof(high));
		for (uint32_t i = 0; i < 16 * BUCKETS; i++)
		{
			IqdbId   id = iqdb_id_u64(i);
			uint64_t hash;

			if (kind == 1)
				id = iqdb_id_bytes(text, (uint32_t) sprintf(text, "row/%06u/of/table", i));
			hash = iqdb_id_hash(id);
			low[hash % BUCKETS]++;
			high[hash >> 54]++;
		}
		for (int i = 0; i < BUCKETS; i++)
		{
			assert_in_range(low[i], 1, 48);
			/* sixteen numbers in a row share their high bits, by intention */
			if (kind == 1)
				assert_in_range(high[i], 1, 48);
		}
	}
}

static void
vector_id_round_trips(void **state)
{
	IqdbId        ids[] = {iqdb_id_u64(0), iqdb_id_u64(UINT64_MAX), iqdb_id_bytes("a", 1),
						   iqdb_id_bytes("\0\xff z", 4)};
	unsigned char bytes[32];
	IqdbId        back;
	size_t        used;

	(void) state;
	for (size_t i = 0; i < 4; i++)
	{
		size_t size = iqdb_id_encoded_size(ids[i]);

		assert_ptr_equal(iqdb_id_encode(ids[i], bytes), bytes + size);
		assert_int_equal(iqdb_id_decode(bytes, sizeof(bytes), &back, &used, NULL), IQDB_OK);
		assert_int_equal(used, size);
		assert_true(iqdb_id_equal(back, ids[i]));
		assert_true(iqdb_id_hash(back) == iqdb_id_hash(ids[i]));
		for (size_t cut = 0; cut < size; cut++)
			assert_int_equal(iqdb_id_decode(bytes, cut, &back, &used, NULL), IQDB_ERR_CORRUPT);
	}
	memcpy(bytes, "\1\0\0\0\0", 5);
	assert_int_equal(iqdb_id_decode(bytes, sizeof(bytes), &back, &used, NULL), IQDB_ERR_CORRUPT);
	memcpy(bytes, "\1\xff\xff\xff\xff", 5);
	assert_int_equal(iqdb_id_decode(bytes, sizeof(bytes), &back, &used, NULL), IQDB_ERR_CORRUPT);
	bytes[0] = 2;
	assert_int_equal(iqdb_id_decode(bytes, sizeof(bytes), &back, &used, NULL), IQDB_ERR_CORRUPT);
}

/* ---- values ---- */

static void
value_float_nan_breaks_reflexive_equality_by_design(void **state)
{
	IqdbValue nan = iqdb_value_float(NAN);
	IqdbValue one = iqdb_value_float(1.0);

	(void) state;
	assert_false(iqdb_value_equal(&nan, &nan));
	assert_int_equal(iqdb_value_compare(&nan, &one), IQDB_ORDER_NONE);
	assert_int_equal(iqdb_value_compare(&one, &nan), IQDB_ORDER_NONE);
}

static void
value_variants_of_different_kinds_are_never_equal(void **state)
{
	IqdbValue values[] = {text_value("1"), iqdb_value_int(1), iqdb_value_float(1.0), iqdb_value_bool(true),
						  iqdb_value_null()};

	(void) state;
	for (int a = 0; a < 5; a++)
		for (int b = 0; b < 5; b++)
			assert_int_equal(iqdb_value_compare(&values[a], &values[b]), a == b ? IQDB_ORDER_EQUAL : IQDB_ORDER_NONE);
}

static void
check_order(IqdbValue smaller, IqdbValue greater)
{
	assert_int_equal(iqdb_value_compare(&smaller, &greater), IQDB_ORDER_LESS);
	assert_int_equal(iqdb_value_compare(&greater, &smaller), IQDB_ORDER_GREATER);
	assert_int_equal(iqdb_value_compare(&smaller, &smaller), IQDB_ORDER_EQUAL);
}

static void
values_order_within_their_kind(void **state)
{
	IqdbValue zero = iqdb_value_float(0.0);
	IqdbValue minus_zero = iqdb_value_float(-0.0);
	IqdbValue empty = iqdb_value_string(NULL, 0);

	(void) state;
	check_order(iqdb_value_int(INT64_MIN), iqdb_value_int(INT64_MAX));
	check_order(iqdb_value_int(-1), iqdb_value_int(0));
	check_order(iqdb_value_float(-INFINITY), iqdb_value_float(-1e308));
	check_order(iqdb_value_float(1e308), iqdb_value_float(INFINITY));
	check_order(iqdb_value_bool(false), iqdb_value_bool(true));
	check_order(empty, text_value("a"));
	check_order(text_value("a"), text_value("aa"));
	check_order(text_value("Z"), text_value("a"));
	/* bytewise and unsigned: beyond ASCII stands behind it */
	check_order(text_value("z"), text_value("\xc3\xa4"));
	check_order(iqdb_value_string("a\0a", 3), iqdb_value_string("a\0b", 3));
	assert_true(iqdb_value_equal(&zero, &minus_zero));
}

/* ---- metadata ---- */

static bool
lookup(Encoded map, const char *key, IqdbValue *value)
{
	return iqdb_metadata_lookup(map.bytes, map.length, key, strlen(key), value);
}

static void
metadata_collect_keeps_the_last_value_for_a_duplicate_key(void **state)
{
	IqdbMetadataBuilder builder;
	Encoded             map;
	IqdbValue           value;

	(void) state;
	iqdb_metadata_builder_init(&builder, libc);
	put(&builder, "k", iqdb_value_int(1));
	put(&builder, "other", iqdb_value_null());
	put(&builder, "k", text_value("two"));
	put(&builder, "k", iqdb_value_int(3));
	map = finish(&builder);
	assert_int_equal(iqdb_metadata_count(map.bytes, map.length), 2);
	assert_true(lookup(map, "k", &value));
	assert_int_equal(value.kind, IQDB_VALUE_INT);
	assert_int_equal(value.as.integer, 3);
	release(map);
	/* the builder goes on where it was */
	put(&builder, "k", iqdb_value_int(4));
	map = finish(&builder);
	assert_int_equal(iqdb_metadata_count(map.bytes, map.length), 2);
	assert_true(lookup(map, "k", &value));
	assert_int_equal(value.as.integer, 4);
	release(map);
	iqdb_metadata_builder_free(&builder);
}

static void
metadata_is_key_ordered_and_queryable(void **state)
{
	const char         *expected[] = {"", "a", "aa", "b", "z", "\xc3\xa4"};
	IqdbMetadataBuilder builder;
	IqdbMetadataCursor  cursor;
	IqdbMetadataEntry   entry;
	Encoded             map;
	IqdbValue           value;
	int                 at = 0;

	(void) state;
	iqdb_metadata_builder_init(&builder, libc);
	put(&builder, "z", iqdb_value_bool(true));
	put(&builder, "aa", text_value("text"));
	put(&builder, "\xc3\xa4", iqdb_value_float(2.5));
	put(&builder, "", iqdb_value_int(-1));
	put(&builder, "b", iqdb_value_null());
	put(&builder, "a", iqdb_value_string("\0\0", 2));
	map = finish(&builder);
	iqdb_metadata_builder_free(&builder);

	cursor = iqdb_metadata_first(map.bytes, map.length);
	while (iqdb_metadata_next(&cursor, &entry))
	{
		assert_true(at < 6);
		assert_int_equal(entry.key_length, strlen(expected[at]));
		if (entry.key_length > 0)
			assert_memory_equal(entry.key, expected[at], entry.key_length);
		at++;
	}
	assert_int_equal(at, 6);
	assert_true(lookup(map, "z", &value) && value.kind == IQDB_VALUE_BOOL && value.as.boolean);
	assert_true(lookup(map, "\xc3\xa4", &value) && value.kind == IQDB_VALUE_FLOAT && value.as.real == 2.5);
	assert_true(lookup(map, "", &value) && value.kind == IQDB_VALUE_INT && value.as.integer == -1);
	assert_true(lookup(map, "b", &value) && value.kind == IQDB_VALUE_NULL);
	assert_true(lookup(map, "aa", &value) && value.string_length == 4 && memcmp(value.as.string, "text", 4) == 0);
	assert_false(lookup(map, "ab", &value));
	assert_false(lookup(map, "zz", &value));
	assert_false(lookup(map, "A", &value));
	release(map);
}

static void
metadata_default_is_empty_and_queryable(void **state)
{
	IqdbMetadataBuilder builder;
	IqdbMetadataEntry   entry;
	IqdbMetadataCursor  cursor;
	Encoded             map;
	IqdbValue           value;

	(void) state;
	iqdb_metadata_builder_init(&builder, libc);
	map = finish(&builder);
	iqdb_metadata_builder_free(&builder);
	assert_int_equal(map.length, 4);
	assert_int_equal(iqdb_metadata_count(map.bytes, map.length), 0);
	assert_false(lookup(map, "k", &value));
	cursor = iqdb_metadata_first(map.bytes, map.length);
	assert_false(iqdb_metadata_next(&cursor, &entry));
	release(map);

	/* and so is no metadata at all */
	assert_int_equal(iqdb_metadata_validate(NULL, 0, NULL), IQDB_OK);
	assert_int_equal(iqdb_metadata_count(NULL, 0), 0);
	assert_false(iqdb_metadata_lookup(NULL, 0, "k", 1, &value));
	cursor = iqdb_metadata_first(NULL, 0);
	assert_false(iqdb_metadata_next(&cursor, &entry));
}

static void
metadata_round_trips_every_kind_and_non_finite_floats(void **state)
{
	IqdbValue values[] = {iqdb_value_float(INFINITY), iqdb_value_float(-INFINITY), iqdb_value_float(-0.0),
						  iqdb_value_float(5e-324),   iqdb_value_int(INT64_MIN),   iqdb_value_int(INT64_MAX),
						  iqdb_value_bool(false),     iqdb_value_null(),           iqdb_value_string(NULL, 0)};
	IqdbMetadataBuilder builder;
	Encoded             map;
	IqdbValue           value;
	char                key[2] = "a";

	(void) state;
	iqdb_metadata_builder_init(&builder, libc);
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
	{
		key[0] = (char) ('a' + i);
		put(&builder, key, values[i]);
	}
	map = finish(&builder);
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
	{
		key[0] = (char) ('a' + i);
		assert_true(lookup(map, key, &value));
		assert_true(iqdb_value_equal(&value, &values[i]));
	}
	assert_true(lookup(map, "c", &value) && signbit(value.as.real));
	release(map);
	put(&builder, "nan", iqdb_value_float(NAN));
	map = finish(&builder);
	assert_true(lookup(map, "nan", &value) && value.kind == IQDB_VALUE_FLOAT && isnan(value.as.real));
	release(map);
	iqdb_metadata_builder_free(&builder);
}

static void
every_truncation_of_metadata_is_rejected_and_read_safely(void **state)
{
	Encoded           map = sample_metadata();
	IqdbMetadataEntry entry;
	IqdbError         err;

	(void) state;
	for (size_t cut = 1; cut < map.length; cut++)
	{
		/* a block of exactly this size, so that a read behind it is seen */
		unsigned char     *bytes = malloc(cut);
		IqdbMetadataCursor cursor;
		IqdbValue          value;

		assert_non_null(bytes);
		memcpy(bytes, map.bytes, cut);
		assert_int_equal(iqdb_metadata_validate(bytes, cut, &err), IQDB_ERR_CORRUPT);
		assert_true(err.offset <= cut);
		cursor = iqdb_metadata_first(bytes, cut);
		while (iqdb_metadata_next(&cursor, &entry))
			;
		(void) iqdb_metadata_lookup(bytes, cut, "zzz", 3, &value);
		free(bytes);
	}
	release(map);
}

static void
metadata_bytes_that_lie_are_rejected(void **state)
{
	static const struct
	{
		const char *bytes;
		size_t      length;
	} lies[] = {
		{"\1\0\0\0\0", 5},                                          /* entry cut */
		{"\0\0\0\0\0", 5},                                          /* bytes behind the last entry */
		{"\xff\xff\xff\xff", 4},                                    /* count */
		{"\1\0\0\0\xff\xff\xff\xffk\4", 10},                        /* key length */
		{"\1\0\0\0\1\0\0\0k\5", 10},                                /* kind */
		{"\1\0\0\0\1\0\0\0k\3\2", 11},                              /* boolean */
		{"\1\0\0\0\1\0\0\0k\0\xff\xff\xff\xff", 14},                /* string length */
		{"\2\0\0\0\1\0\0\0k\4\1\0\0\0k\4", 16},                     /* same key twice */
		{"\2\0\0\0\1\0\0\0k\4\1\0\0\0j\4", 16},                     /* keys descend */
	};

	(void) state;
	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++)
		assert_int_equal(iqdb_metadata_validate((const unsigned char *) lies[i].bytes, lies[i].length, NULL),
						 IQDB_ERR_CORRUPT);
}

static void
metadata_of_any_size_equals_its_model(void **state)
{
	enum
	{
		KEYS = 500
	};
	static int64_t      model[KEYS];
	IqdbMetadataBuilder builder;
	IqdbRng             rng;
	IqdbValue           value;
	char                key[16];

	(void) state;
	iqdb_rng_seed(&rng, SEED);
	iqdb_metadata_builder_init(&builder, libc);
	for (int i = 0; i < KEYS; i++)
		model[i] = -1;
	for (int i = 0; i < 2000; i++)
	{
		int number = (int) iqdb_rng_below(&rng, KEYS);

		sprintf(key, "%d", number);
		put(&builder, key, iqdb_value_int(i));
		model[number] = i;
		if (i % 400 == 0 || i == 1999)
		{
			Encoded map = finish(&builder);

			for (int k = 0; k < KEYS; k++)
			{
				sprintf(key, "%d", k);
				assert_int_equal(lookup(map, key, &value), model[k] >= 0);
				if (model[k] >= 0)
					assert_int_equal(value.as.integer, model[k]);
			}
			release(map);
		}
	}
	iqdb_metadata_builder_free(&builder);
}

static void
metadata_limits_are_checked_before_bytes_are_read(void **state)
{
	IqdbMetadataBuilder builder;
	IqdbValue           value = iqdb_value_string("x", UINT32_MAX);
	IqdbValue           strange = iqdb_value_null();

	(void) state;
	strange.kind = (IqdbValueKind) 77;
	iqdb_metadata_builder_init(&builder, libc);
	assert_int_equal(iqdb_metadata_put(&builder, "k", 1, &value, NULL), IQDB_ERR_LIMIT);
	assert_int_equal(iqdb_metadata_put(&builder, "k", SIZE_MAX, &strange, NULL), IQDB_ERR_CONFIG);
	value = iqdb_value_null();
	assert_int_equal(iqdb_metadata_put(&builder, "k", SIZE_MAX, &value, NULL), IQDB_ERR_LIMIT);
	assert_int_equal(iqdb_metadata_put(&builder, "k", IQDB_METADATA_BYTES_MAX - 8, &value, NULL), IQDB_ERR_LIMIT);
	assert_int_equal(builder.count, 0);
	assert_null(builder.entries);
	iqdb_metadata_builder_free(&builder);
}

static void
every_refused_allocation_of_metadata_is_clean(void **state)
{
	int granted;

	(void) state;
	for (granted = 0;; granted++)
	{
		Accounts            accounts = {0, granted};
		IqdbAllocator       allocator = {accounted_resize, &accounts};
		IqdbMetadataBuilder builder;
		IqdbStatus          status = IQDB_OK;
		unsigned char      *bytes = NULL;
		size_t              length = 0;

		iqdb_metadata_builder_init(&builder, &allocator);
		for (int i = 0; i < 40 && status == IQDB_OK; i++)
		{
			IqdbValue value = iqdb_value_int(i);
			char      key = (char) ('A' + i);

			status = iqdb_metadata_put(&builder, &key, 1, &value, NULL);
		}
		if (status == IQDB_OK)
			status = iqdb_metadata_finish(&builder, &bytes, &length, NULL);
		iqdb_free(&allocator, bytes, length);
		iqdb_metadata_builder_free(&builder);
		assert_int_equal(accounts.bytes, 0);
		if (status == IQDB_OK)
			break;
		assert_int_equal(status, IQDB_ERR_NOMEM);
	}
	assert_true(granted >= 4);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(u64_display_is_decimal),
		cmocka_unit_test(vector_id_single_byte_and_max_u64_render),
		cmocka_unit_test(bytes_display_is_lowercase_hex_no_prefix_and_pads_each_byte),
		cmocka_unit_test(bytes_display_handles_long_keys),
		cmocka_unit_test(id_text_never_passes_its_buffer),
		cmocka_unit_test(empty_byte_string_is_no_id),
		cmocka_unit_test(ids_of_different_kinds_are_never_equal),
		cmocka_unit_test(id_hash_spreads),
		cmocka_unit_test(vector_id_round_trips),
		cmocka_unit_test(value_float_nan_breaks_reflexive_equality_by_design),
		cmocka_unit_test(value_variants_of_different_kinds_are_never_equal),
		cmocka_unit_test(values_order_within_their_kind),
		cmocka_unit_test(metadata_collect_keeps_the_last_value_for_a_duplicate_key),
		cmocka_unit_test(metadata_is_key_ordered_and_queryable),
		cmocka_unit_test(metadata_default_is_empty_and_queryable),
		cmocka_unit_test(metadata_round_trips_every_kind_and_non_finite_floats),
		cmocka_unit_test(every_truncation_of_metadata_is_rejected_and_read_safely),
		cmocka_unit_test(metadata_bytes_that_lie_are_rejected),
		cmocka_unit_test(metadata_of_any_size_equals_its_model),
		cmocka_unit_test(metadata_limits_are_checked_before_bytes_are_read),
		cmocka_unit_test(every_refused_allocation_of_metadata_is_clean),
	};

	print_message("seed %llu\n", (unsigned long long) SEED);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
