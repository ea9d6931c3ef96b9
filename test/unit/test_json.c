/*
 * test_json.c - rows and results as JSON and back; decimal text of doubles and floats.
 *
 * The reference for a number's value is the C library's strtod and strtof, in the C locale a program starts in.
 */
#include "meta_samples.h"

#include "core/vec/decimal.h"
#include "core/vec/half.h"
#include "core/vec/text.h"

#define SEED UINT64_C(20261201)
#define NUMBERS 20000
#define ROWS 3000

static uint64_t
next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* ---- numbers ---- */

/* Reads back as the same bits by two readers, and one digit fewer would not do. */
static void
check_double(double value)
{
	char   text[IQDB_DECIMAL_TEXT_MAX + 1];
	char   fewer[40];
	size_t length = iqdb_double_text(value, text);
	double again;
	double reference;
	int    digits = 0;

	assert_true(length < sizeof(text));
	text[length] = '\0';
	reference = strtod(text, NULL);
	assert_memory_equal(&reference, &value, sizeof(value));
	assert_true(iqdb_double_parse(text, length, &again));
	assert_memory_equal(&again, &value, sizeof(value));
	assert_non_null(strpbrk(text, ".e"));
	do
		snprintf(fewer, sizeof(fewer), "%.*e", digits++, value);
	while (strtod(fewer, NULL) != value);
	{
		int    used = 0;
		int    zeros = 0;
		char  *at = text;

		for (; *at != '\0' && *at != 'e'; at++)
		{
			if (*at < '0' || *at > '9' || (*at == '0' && used == 0))
				continue;
			used++;
			zeros = *at == '0' ? zeros + 1 : 0;
		}
		if (used - zeros > digits)
			fail_msg("%s has %d digits, %s has %d", text, used - zeros, fewer, digits);
	}
}

static void
check_float(float value)
{
	char   text[IQDB_DECIMAL_TEXT_MAX + 1];
	char   fewer[40];
	size_t length = iqdb_float_text(value, text);
	size_t used;
	float  again;
	int    digits = 0;

	text[length] = '\0';
	assert_int_equal(iqdb_float_parse(text, length, &again, &used), IQDB_FAULT_NONE);
	assert_int_equal(used, length);
	assert_memory_equal(&again, &value, sizeof(value));
	do
		snprintf(fewer, sizeof(fewer), "%.*e", digits++, (double) value);
	while (strtof(fewer, NULL) != value);
	assert_true(length <= (size_t) digits + 20);
}

static void
numbers_are_written_shortest_and_read_back(void **state)
{
	static const double known[] = {0.0, -0.0, 1, -1, 0.1, 0.3, 1e22, 1e23, 123456789012345678.0, 9007199254740993.0, 5e-324,
								   2.2250738585072011e-308, 2.2250738585072014e-308, 1.7976931348623157e308, 1e-5, 1e-4, 1e17,
								   1e16, 4503599627370496.5, 0x1p-1074, 0x1p1023, 0x1p-1022, 9.5, 99999999.5};
	uint64_t            random = SEED;

	(void) state;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		check_double(known[i]);
	for (int i = 0; i < NUMBERS; i++)
	{
		uint64_t bits = next_random(&random);
		uint32_t half = (uint32_t) (bits >> 20);
		double   value;
		float    small;

		memcpy(&value, &bits, sizeof(value));
		memcpy(&small, &half, sizeof(small));
		if (isfinite(value))
			check_double(value);
		if (isfinite(small))
			check_float(small);
		check_double((double) (int64_t) (bits >> 40) / 1000);
	}
}

static void
check_reading(const char *text)
{
	double reference = strtod(text, NULL);
	double value = 0;
	bool   fits = iqdb_double_parse(text, strlen(text), &value);

	if (fits != !isinf(reference) || (fits && memcmp(&value, &reference, sizeof(value)) != 0))
		fail_msg("%s: %a, strtod %a", text, value, reference);
}

static void
doubles_are_read_as_by_strtod(void **state)
{
	static const char *const known[] = {
		"1.7976931348623158e308", "1.7976931348623159e308", "1e309", "-1e400", "1e-400", "-1e-999999999999", "1e999999999999",
		"2.4703282292062327e-324", "2.4703282292062328e-324", "0e999", "0.000", "-0.0", "9007199254740993", "0.5e1",
		"9007199254740993.00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000001",
		"4.9406564584124654e-324", "7.4109846876186981e-324", "7.4109846876186982e-324", "123e-320", "1E5", "1e+5"
	};
	static char text[3000];
	uint64_t    random = SEED;

	(void) state;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		check_reading(known[i]);
	for (int i = 0; i < NUMBERS; i++)
	{
		int length = (int) (next_random(&random) % 40) + 1;

		if (i % 200 == 0)
			length += 1000;
		for (int j = 0; j < length; j++)
			text[j] = (char) ('0' + next_random(&random) % 10);
		if (next_random(&random) % 2 == 0)
			text[next_random(&random) % (uint64_t) length] = '.';
		snprintf(text + length, 20, "e%d", (int) (next_random(&random) % 700) - 350 - (i % 200 == 0 ? 500 : 0));
		check_reading(text);
	}
}

/* ---- rows ---- */

static char *
printable(const IqdbRow *row, IqdbElementKind kind, size_t dim, size_t *length_out)
{
	IqdbError err;
	char     *text;

	if (iqdb_row_json(row, kind, dim, NULL, &text, length_out, &err) != IQDB_OK)
		fail_msg("%s", err.message);
	return text;
}

static void
a_row_has_the_form_of_the_manual(void **state)
{
	static const char   expected[] = "{\"id\":7,\"vector\":[1,-0.5,1e-7],\"metadata\":{\"a\\\"\\\\\\u0001\":\"\xc3\xa4\","
									 "\"i\":-9223372036854775808,\"n\":null,\"p\":3.0,\"t\":true}}";
	static const float  vector[] = {1, -0.5f, 1e-7f};
	IqdbMetadataBuilder builder;
	Encoded             metadata;
	IqdbRow             row = {.id = iqdb_id_u64(7), .vector = vector};
	size_t              length;
	char               *text;

	(void) state;
	iqdb_metadata_builder_init(&builder, NULL);
	put(&builder, "a\"\\\1", text_value("\xc3\xa4"));
	put(&builder, "i", iqdb_value_int(INT64_MIN));
	put(&builder, "n", iqdb_value_null());
	put(&builder, "p", iqdb_value_float(3));
	put(&builder, "t", iqdb_value_bool(true));
	metadata = finish(&builder);
	iqdb_metadata_builder_free(&builder);
	row.metadata = metadata.bytes;
	row.metadata_length = metadata.length;
	text = printable(&row, IQDB_ELEMENT_F32, 3, &length);
	assert_int_equal(length, sizeof(expected) - 1);
	assert_memory_equal(text, expected, length);
	iqdb_free(NULL, text, length);
	iqdb_free(NULL, metadata.bytes, metadata.length);
}

/* A character of each length of UTF-8, so that random strings are made of them. */
static const char *const characters[] = {
	"a", "\"", "\\", "\x01", "\x7f", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "0", "/"
};

static size_t
random_string(uint64_t *random, char *text)
{
	size_t length = 0;

	for (uint64_t left = next_random(random) % 8; left > 0; left--)
	{
		const char *character = characters[next_random(random) % 10];

		memcpy(text + length, character, strlen(character));
		length += strlen(character);
	}
	return length;
}

static IqdbValue
random_value(uint64_t *random, char *text)
{
	uint64_t bits = next_random(random);
	double   real;

	memcpy(&real, &bits, sizeof(real));
	switch (next_random(random) % 5)
	{
		case 0:
			return iqdb_value_string(text, (uint32_t) random_string(random, text));
		case 1:
			return iqdb_value_int((int64_t) bits >> (bits % 64));
		case 2:
			return iqdb_value_float(isfinite(real) ? real : 0.5);
		case 3:
			return iqdb_value_bool(bits % 2 == 0);
		default:
			return iqdb_value_null();
	}
}

static Encoded
random_metadata(uint64_t *random)
{
	IqdbMetadataBuilder builder;
	Encoded             map = {NULL, 0};
	char                key[64];
	char                string[64];
	uint64_t            count = next_random(random) % 6;

	if (count == 0)
		return map;
	iqdb_metadata_builder_init(&builder, NULL);
	for (; count > 0; count--)
	{
		size_t    length = random_string(random, key);
		IqdbValue value = random_value(random, string);

		assert_int_equal(iqdb_metadata_put(&builder, key, length, &value, NULL), IQDB_OK);
	}
	map = finish(&builder);
	iqdb_metadata_builder_free(&builder);
	return map;
}

/* Of any bytes, or a number. */
static IqdbId
random_id(uint64_t *random, unsigned char bytes[16])
{
	uint32_t length = (uint32_t) (next_random(random) % 16) + 1;

	if (next_random(random) % 3 == 0)
		return iqdb_id_u64(next_random(random) >> (next_random(random) % 64));
	for (uint32_t i = 0; i < length; i++)
		bytes[i] = (unsigned char) (next_random(random) >> 13);
	if (next_random(random) % 2 == 0)
		memset(bytes, 'x', length);
	return iqdb_id_bytes(bytes, length);
}

static void
check_metadata(const unsigned char *a, size_t a_length, const unsigned char *b, size_t b_length)
{
	assert_int_equal(a_length, b_length);
	if (a_length > 0)
		assert_memory_equal(a, b, a_length);
	else
		assert_null(b);
}

static void
random_vector(uint64_t *random, IqdbElementKind kind, size_t dim, void *vector)
{
	memset(vector, 0, 80);
	for (size_t i = 0; i < dim; i++)
	{
		uint32_t bits = (uint32_t) (next_random(random) >> 11);

		if (kind == IQDB_ELEMENT_BIT)
			((unsigned char *) vector)[i / 8] |= (unsigned char) ((bits & 1) << (7 - i % 8));
		else if (kind == IQDB_ELEMENT_F16)
			((IqdbHalf *) vector)[i] = (IqdbHalf) (iqdb_half_is_finite((IqdbHalf) bits) ? bits : 1);
		else
		{
			bits = (bits & 0x7f800000) == 0x7f800000 ? 1 : bits;
			memcpy((float *) vector + i, &bits, sizeof(bits));
		}
	}
}

static void
random_rows_come_back_the_same(void **state)
{
	static const size_t bits_of[] = {32, 16, 1};
	uint64_t            random = SEED;
	Accounts            accounts = {0, -1};
	IqdbAllocator       allocator = {accounted_resize, &accounts};

	(void) state;
	for (int i = 0; i < ROWS; i++)
	{
		IqdbElementKind kind = (IqdbElementKind) (i % 3);
		size_t          dim = next_random(&random) % 20 + 1;
		float           vector[20];
		unsigned char   id[16];
		Encoded         metadata = random_metadata(&random);
		IqdbRow         row = {random_id(&random, id), vector, metadata.bytes, metadata.length};
		IqdbJsonRow    *read;
		IqdbError       err;
		size_t          length;
		char           *text;

		random_vector(&random, kind, dim, vector);
		text = printable(&row, kind, dim, &length);
		if (iqdb_row_from_json(text, length, kind, &allocator, &read, &err) != IQDB_OK)
			fail_msg("%s at %u: %.*s", err.message, (unsigned) err.offset, (int) length, text);
		assert_true(iqdb_id_equal(read->row.id, row.id));
		assert_int_equal(read->dim, dim);
		assert_memory_equal(read->row.vector, vector, (dim * bits_of[kind] + 7) / 8);
		check_metadata(row.metadata, row.metadata_length, read->row.metadata, read->row.metadata_length);
		iqdb_row_free(read);
		iqdb_free(NULL, text, length);
		iqdb_free(NULL, metadata.bytes, metadata.length);
		assert_int_equal(accounts.bytes, 0);
	}
}

static void
random_results_come_back_the_same(void **state)
{
	uint64_t random = SEED;

	(void) state;
	for (int i = 0; i < ROWS / 10; i++)
	{
		IqdbFound     found[40] = {0};
		unsigned char ids[40][16];
		IqdbResult    result = {.count = next_random(&random) % 41, .found = found};
		IqdbResult   *read;
		size_t        length;
		char         *text;

		for (size_t j = 0; j < result.count; j++)
		{
			Encoded metadata = random_metadata(&random);

			found[j].id = random_id(&random, ids[j]);
			found[j].distance = (float) (next_random(&random) % 100000) / 7.0f;
			found[j].metadata = metadata.bytes;
			found[j].metadata_length = metadata.length;
		}
		assert_int_equal(iqdb_result_json(&result, NULL, &text, &length, NULL), IQDB_OK);
		assert_int_equal(iqdb_result_from_json(text, length, NULL, &read, NULL), IQDB_OK);
		assert_int_equal(read->count, result.count);
		for (size_t j = 0; j < result.count; j++)
		{
			assert_true(iqdb_id_equal(read->found[j].id, found[j].id));
			assert_memory_equal(&read->found[j].distance, &found[j].distance, sizeof(float));
			check_metadata(found[j].metadata, found[j].metadata_length, read->found[j].metadata,
						   read->found[j].metadata_length);
			iqdb_free(NULL, (void *) (uintptr_t) found[j].metadata, found[j].metadata_length);
		}
		iqdb_result_free(read);
		iqdb_free(NULL, text, length);
	}
}

/* ---- refusals ---- */

typedef struct Case
{
	const char *text;
	int         offset; /* of the fault; -1: accepted */
} Case;

/* From exactly so many bytes, so that the address sanitizer sees one too far. */
static void
check_case(const Case *one, bool result)
{
	size_t       length = strlen(one->text);
	char        *exact = malloc(length > 0 ? length : 1);
	IqdbJsonRow *row = NULL;
	IqdbResult  *read = NULL;
	IqdbError    err = {0};
	IqdbStatus   status;

	assert_non_null(exact);
	memcpy(exact, one->text, length);
	status = result ? iqdb_result_from_json(exact, length, NULL, &read, &err)
					: iqdb_row_from_json(exact, length, IQDB_ELEMENT_F32, NULL, &row, &err);
	free(exact);
	if (status != (one->offset < 0 ? IQDB_OK : IQDB_ERR_CORRUPT) ||
		(one->offset >= 0 && err.offset != (uint64_t) one->offset))
		fail_msg("%s: %s, \"%s\" at %d", one->text, iqdb_status_name(status), err.message, (int) err.offset);
	assert_true((row != NULL || read != NULL) == (status == IQDB_OK));
	iqdb_row_free(row);
	iqdb_result_free(read);
}

#define VALUE(text) "{\"id\":1,\"vector\":[1],\"metadata\":{\"k\":" text "}}"
/* Of the first byte of the value. */
#define AT_VALUE 37

static void
texts_are_accepted_and_refused(void **state)
{
	static const Case rows[] = {
		{" { \"metadata\" : { } ,\n\t\"vector\" : [ 1 , 2e0 ] , \"id\" : \"a\" }\r ", -1},
		{"{\"id\":1,\"vector\":[1]}", -1},
		{"{\"\\u0069d\":18446744073709551615,\"vector\":[-0]}", -1},
		{"{\"id\":{\"bytes\":\"00ff\"},\"vector\":[1]}", -1},
		{VALUE("\"\\ud83d\\ude00\\u0000\\b\\/\""), -1},
		{VALUE("1,\"k\":2"), -1},
		{VALUE("-9223372036854775808"), -1},
		{VALUE("1e-999"), -1},
		{"", 0},
		{"[]", 0},
		{"{}", 1},
		{"{\"id\":1}", 8},
		{"{\"vector\":[1]}", 14},
		{"{\"id\":1,\"vector\":[1]", 20},
		{"{\"id\":1,\"vector\":[1],}", 21},
		{"{\"id\":1,\"vector\":[1]} x", 22},
		{"{\"id\":1,\"id\":1,\"vector\":[1]}", 12},
		{"{\"id\":1,\"vector\":[1],\"distance\":1}", 31},
		{"{\"id\":18446744073709551616,\"vector\":[1]}", 6},
		{"{\"id\":-1,\"vector\":[1]}", 6},
		{"{\"id\":1.0,\"vector\":[1]}", 6},
		{"{\"id\":01,\"vector\":[1]}", 6},
		{"{\"id\":\"\",\"vector\":[1]}", 8},
		{"{\"id\":null,\"vector\":[1]}", 6},
		{"{\"id\":{\"bytes\":\"0\"},\"vector\":[1]}", 18},
		{"{\"id\":{\"bytes\":\"0G\"},\"vector\":[1]}", 19},
		{"{\"id\":{\"bytes\":\"\"},\"vector\":[1]}", 18},
		{"{\"id\":1,\"vector\":[]}", 18},
		{"{\"id\":1,\"vector\":[1,]}", 20},
		{"{\"id\":1,\"vector\":[[1]]}", 18},
		{"{\"id\":1,\"vector\":[1e39]}", 18},
		{"{\"id\":1,\"vector\":[NaN]}", 18},
		{"{\"id\":1,\"vector\":[-Infinity]}", 18},
		{"{\"id\":1,\"vector\":[+1]}", 18},
		{"{\"id\":1,\"vector\":[.5]}", 18},
		{"{\"id\":1,\"vector\":[5.]}", 18},
		{"{\"id\":1,\"vector\":[1e]}", 18},
		{"{\"id\":1,\"vector\":[0x1]}", 19},
		{VALUE("9223372036854775808"), AT_VALUE},
		{VALUE("-9223372036854775809"), AT_VALUE},
		{VALUE("1e309"), AT_VALUE},
		{VALUE("[1]"), AT_VALUE},
		{VALUE("{}"), AT_VALUE},
		{VALUE("True"), AT_VALUE},
		{VALUE("\"\\x\""), AT_VALUE + 2},
		{VALUE("\"\\ud800\""), AT_VALUE + 7},
		{VALUE("\"\\udc00\""), AT_VALUE + 7},
		{VALUE("\"\\ud800\\u0041\""), AT_VALUE + 13},
		{VALUE("\"\x01\""), AT_VALUE + 1},
		{VALUE("\"\xff\""), AT_VALUE + 1},
		{VALUE("\"\xc0\x80\""), AT_VALUE + 1},
		{VALUE("\"\xed\xa0\x80\""), AT_VALUE + 1},
		{VALUE("\"\xe0\x80\x80\""), AT_VALUE + 1},
		{VALUE("\"\xf4\x90\x80\x80\""), AT_VALUE + 1},
	};
	static const Case results[] = {
		{"[]", -1},
		{"[{\"id\":1,\"distance\":-1.5},{\"id\":\"a\",\"metadata\":{\"k\":1},\"distance\":2}]", -1},
		{"{}", 0},
		{"[", 1},
		{"[{\"id\":1}]", 9},
		{"[{\"id\":1,\"distance\":1,\"metadata\":{\"k\":1}},]", 42},
		{"[{\"id\":1,\"metadata\":{\"k\":1},\"metadata\":{}}]", 38},
		{"[{\"id\":1,\"vector\":[1]}]", 17},
	};

	(void) state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		check_case(&rows[i], false);
	for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++)
		check_case(&results[i], true);
}

static void
what_json_has_no_form_for_is_refused(void **state)
{
	static const float vector[] = {1};
	const IqdbValue    bad[] = {iqdb_value_float((double) NAN), iqdb_value_float((double) INFINITY),
									iqdb_value_string("\xff", 1)};
	char              *text;
	size_t             length;
	IqdbRow            row = {.id = iqdb_id_u64(1), .vector = vector};

	(void) state;
	for (size_t i = 0; i < 4; i++)
	{
		IqdbMetadataBuilder builder;
		Encoded             metadata;

		iqdb_metadata_builder_init(&builder, NULL);
		put(&builder, i < 3 ? "k" : "\xff", i < 3 ? bad[i] : iqdb_value_null());
		metadata = finish(&builder);
		iqdb_metadata_builder_free(&builder);
		row.metadata = metadata.bytes;
		row.metadata_length = metadata.length;
		assert_int_equal(iqdb_row_json(&row, IQDB_ELEMENT_F32, 1, NULL, &text, &length, NULL), IQDB_ERR_UNSUPPORTED);
		assert_null(text);
		iqdb_free(NULL, metadata.bytes, metadata.length);
	}
	row.metadata = (const unsigned char *) "x";
	row.metadata_length = 1;
	assert_int_equal(iqdb_row_json(&row, IQDB_ELEMENT_F32, 1, NULL, &text, &length, NULL), IQDB_ERR_CORRUPT);
	row.metadata_length = 0;
	assert_int_equal(iqdb_row_json(&row, IQDB_ELEMENT_F32, 0, NULL, &text, &length, NULL), IQDB_ERR_VECTOR);
	assert_int_equal(iqdb_row_json(&row, (IqdbElementKind) 9, 1, NULL, &text, &length, NULL), IQDB_ERR_CONFIG);
}

static void
a_vector_may_be_too_long(void **state)
{
	static char  text[2 * IQDB_DIMENSION_MAX + 40] = "{\"id\":1,\"vector\":[";
	size_t       length = strlen(text);
	IqdbJsonRow *row;

	(void) state;
	for (int i = 0; i < IQDB_DIMENSION_MAX; i++, length += 2)
		memcpy(text + length, "1,", 2);
	memcpy(text + length - 1, "]}", 2);
	assert_int_equal(iqdb_row_from_json(text, length + 1, IQDB_ELEMENT_F32, NULL, &row, NULL), IQDB_OK);
	assert_int_equal(row->dim, IQDB_DIMENSION_MAX);
	iqdb_row_free(row);
	memcpy(text + length - 1, ",1]}", 4);
	assert_int_equal(iqdb_row_from_json(text, length + 3, IQDB_ELEMENT_F32, NULL, &row, NULL), IQDB_ERR_LIMIT);
	assert_null(row);
}

/* Every allocation refused once: a typed error, and nothing is left behind. */
static void
memory_may_be_refused(void **state)
{
	static const char text[] = VALUE("\"v\"");
	static const char hits[] = "[{\"id\":1,\"distance\":1,\"metadata\":{\"k\":1}},{\"id\":\"a\",\"distance\":1}]";
	Accounts          accounts = {0, 0};
	IqdbAllocator     allocator = {accounted_resize, &accounts};
	IqdbStatus        status = IQDB_ERR_NOMEM;
	IqdbJsonRow      *row;
	IqdbResult       *result;
	int               granted;

	(void) state;
	for (granted = 0; status != IQDB_OK; granted++)
	{
		accounts.left = granted;
		status = iqdb_row_from_json(text, sizeof(text) - 1, IQDB_ELEMENT_F32, &allocator, &row, NULL);
		assert_true(status == IQDB_OK || status == IQDB_ERR_NOMEM);
		iqdb_row_free(row);
		assert_int_equal(accounts.bytes, 0);
	}
	assert_true(granted > 4);
	status = IQDB_ERR_NOMEM;
	for (granted = 0; status != IQDB_OK; granted++)
	{
		accounts.left = granted;
		status = iqdb_result_from_json(hits, sizeof(hits) - 1, &allocator, &result, NULL);
		assert_true(status == IQDB_OK || status == IQDB_ERR_NOMEM);
		iqdb_result_free(result);
		assert_int_equal(accounts.bytes, 0);
	}
	assert_true(granted > 4);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_are_written_shortest_and_read_back),
		cmocka_unit_test(doubles_are_read_as_by_strtod),
		cmocka_unit_test(a_row_has_the_form_of_the_manual),
		cmocka_unit_test(random_rows_come_back_the_same),
		cmocka_unit_test(random_results_come_back_the_same),
		cmocka_unit_test(texts_are_accepted_and_refused),
		cmocka_unit_test(what_json_has_no_form_for_is_refused),
		cmocka_unit_test(a_vector_may_be_too_long),
		cmocka_unit_test(memory_may_be_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
