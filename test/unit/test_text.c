/*
 * test_text.c - vectors from text and from network bytes: values to the last bit, faults, bounds.
 *
 * The reference for a number's value is the C library's strtof, in the C locale a program starts in.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/vec/metric.h"
#include "core/vec/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEED 20240229u
#define ROUNDS 20000

static uint64_t
next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* The number read from exactly the first bytes of a text, compared with what strtof makes of it in value and in bytes used. */
static void
check_bytes(const char *text, size_t length, float reference, size_t reference_used)
{
	char               *exact = malloc(length > 0 ? length : 1);
	float               value;
	size_t              used;
	IqdbVectorFaultKind kind;

	assert_non_null(exact);
	memcpy(exact, text, length);
	kind = iqdb_float_parse(exact, length, &value, &used);
	free(exact);

	if (used != reference_used || (kind == IQDB_FAULT_RANGE) != (isinf(reference) != 0) ||
		(kind == IQDB_FAULT_NONE && memcmp(&value, &reference, sizeof(value)) != 0))
		fail_msg("\"%s\", %zu bytes (seed %u): kind %d, %a from %zu bytes, strtof %a from %zu", text, length, SEED, (int) kind,
				 (double) value, used, (double) reference, reference_used);
}

/* Alone, where nothing may be read behind it, and as one of many, where numbers are read in larger pieces. */
static void
check_number(const char *text)
{
	static const char tail[] = ",7777777777777777777777777777777777777777";
	static char       followed[10000];
	size_t            length = strlen(text);
	char             *end;
	float             reference = strtof(text, &end);

	check_bytes(text, length, reference, (size_t) (end - text));
	assert_true(length + sizeof(tail) <= sizeof(followed));
	memcpy(followed, text, length);
	memcpy(followed + length, tail, sizeof(tail));
	check_bytes(followed, length + sizeof(tail) - 1, reference, (size_t) (end - text));
}

/* The largest float has no neighbour above; what counts as the middle there is where rounding begins to overflow. */
static double
middle_above(float value)
{
	float above = nextafterf(value, INFINITY);

	return isinf(above) ? 0x1.ffffffp127 : ((double) value + (double) above) / 2;
}

static void
numbers_around_every_kind_of_middle(void **state)
{
	uint64_t random = SEED;
	char     text[512];

	(void) state;
	for (int round = 0; round < ROUNDS; round++)
	{
		uint32_t bits = (uint32_t) next_random(&random) & 0x7fffffffu;
		float    value;
		double   middle;
		char    *last;

		/* every fourth among the subnormal ones and their neighbours, and the largest float at times */
		if (round % 4 == 0)
			bits &= 0x00ffffffu;
		if (round % 1000 == 1)
			bits = 0x7f7fffffu;
		memcpy(&value, &bits, sizeof(value));
		if (!isfinite(value))
			continue;
		middle = middle_above(value);

		snprintf(text, sizeof(text), "%.9g", (double) value);
		check_number(text);
		snprintf(text, sizeof(text), "-%.17g", middle);
		check_number(text);
		snprintf(text, sizeof(text), "%.200f", middle);
		check_number(text);

		/* all digits of the middle; then a last digit more; then its last nonzero digit less */
		snprintf(text, sizeof(text), "%.200e", middle);
		check_number(text);
		last = strchr(text, 'e') - 1;
		*last = '1';
		check_number(text);
		*last = '0';
		while (*last == '0')
			last--;
		if (*last != '.')
			--*last;
		check_number(text);
	}
}

static void
numbers_of_random_shape(void **state)
{
	uint64_t random = SEED;
	char     text[128];

	(void) state;
	for (int round = 0; round < ROUNDS; round++)
	{
		int digits = (int) (next_random(&random) % 40);
		int point = (int) (next_random(&random) % 41);
		int at = 0;

		if (next_random(&random) % 2 == 0)
			text[at++] = "+-"[next_random(&random) % 2];
		for (int i = 0; i < digits; i++)
		{
			if (i == point)
				text[at++] = '.';
			text[at++] = next_random(&random) % 3 == 0 ? '0' : (char) ('0' + next_random(&random) % 10);
		}
		text[at] = '\0';
		if (next_random(&random) % 2 == 0)
			snprintf(text + at, sizeof(text) - (size_t) at, "e%d", (int) (next_random(&random) % 120) - 60);
		check_number(text);
	}
}

static void
numbers_at_the_edges_of_the_form(void **state)
{
	static const char *const texts[] = {
		"", "+", "-", ".", "+.", "-.e5", "e5", "e", "x", "1e", "1e+", "1e-", "1e5x", "1.2.3", "1..2", "00", "-0", "0e5",
		".5", "5.", "5.e1",
		"1e99999999999999999999999", "1e-99999999999999999999999", "0e99999999999999999999999", "-1e-99999999999999999",
		"123456789012345678901234567890", "0.00000000000000000000000000000000000000000000000000000000001e59",
		"340282356779733661637539395458142568447", "340282356779733661637539395458142568448"
	};
	char   *text = malloc(8200);
	size_t  length = 6000;

	(void) state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		check_number(texts[i]);

	/* thousands of digits before and behind the point, made up for by the exponent */
	assert_non_null(text);
	memset(text, '0', length);
	text[1] = '.';
	text[length - 1] = '7';
	strcpy(text + length, "e5998");
	check_number(text);
	memset(text, '9', length);
	strcpy(text + length, "e-5990");
	check_number(text);
	memset(text, '1', length);
	text[length] = '\0';
	check_number(text);
	free(text);
}

typedef struct TextCase
{
	const char         *text;
	IqdbVectorFaultKind kind;
	size_t              offset;
	size_t              dim;
} TextCase;

static void
texts_and_their_faults(void **state)
{
	static const TextCase cases[] = {
		{"[1,2,3]", IQDB_FAULT_NONE, 0, 3},
		{" \t\n\v\f\r[ 1 , 2\n]\t ", IQDB_FAULT_NONE, 0, 2},
		{"[-0]", IQDB_FAULT_NONE, 0, 1},
		{"", IQDB_FAULT_START, 0, 0},
		{"  1]", IQDB_FAULT_START, 2, 0},
		{"[", IQDB_FAULT_SYNTAX, 1, 0},
		{"[]", IQDB_FAULT_EMPTY, 1, 0},
		{"[ ]", IQDB_FAULT_EMPTY, 2, 0},
		{"[1", IQDB_FAULT_SYNTAX, 2, 0},
		{"[1,", IQDB_FAULT_SYNTAX, 3, 0},
		{"[1,]", IQDB_FAULT_SYNTAX, 3, 0},
		{"[1,,2]", IQDB_FAULT_SYNTAX, 3, 0},
		{"[1 2]", IQDB_FAULT_SYNTAX, 3, 0},
		{"[1a]", IQDB_FAULT_SYNTAX, 2, 0},
		{"[0x10]", IQDB_FAULT_SYNTAX, 2, 0},
		{"[1]x", IQDB_FAULT_JUNK, 3, 0},
		{"[1] [2]", IQDB_FAULT_JUNK, 4, 0},
		{"[1,nAn]", IQDB_FAULT_NAN, 3, 0},
		{"[+NaN]", IQDB_FAULT_NAN, 1, 0},
		{"[INF]", IQDB_FAULT_INFINITE, 1, 0},
		{"[1,-infinity,x", IQDB_FAULT_INFINITE, 3, 0},
		{"[1,4e38]", IQDB_FAULT_RANGE, 3, 0},
		{"[1,2,3,4,5,6,7,8,9]", IQDB_FAULT_TOO_MANY, 17, 0}
	};

	(void) state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		float           values[8];
		IqdbHalf        halves[8];
		size_t          dim = 99;
		size_t          half_dim = 99;
		IqdbVectorFault fault;
		IqdbVectorFault half_fault;
		IqdbError       err;
		IqdbStatus      status = iqdb_vector_parse(cases[i].text, strlen(cases[i].text), values, 8, &fault, &dim, &err);

		/* what is wrong with the text has nothing to do with what it is read into */
		assert_int_equal(iqdb_half_vector_parse(cases[i].text, strlen(cases[i].text), halves, 8, &half_fault, &half_dim,
												NULL), status);
		assert_memory_equal(&fault, &half_fault, sizeof(fault));
		assert_int_equal(half_dim, dim);

		if (fault.kind != cases[i].kind || fault.offset != cases[i].offset || dim != cases[i].dim)
			fail_msg("\"%s\": kind %d at %zu, %zu components", cases[i].text, (int) fault.kind, fault.offset, dim);
		if (status == IQDB_OK)
			continue;
		assert_int_equal(status, cases[i].kind == IQDB_FAULT_TOO_MANY ? IQDB_ERR_LIMIT : IQDB_ERR_VECTOR);
		assert_int_equal(err.code, status);
		/* the record and the sentence are both optional */
		assert_int_equal(iqdb_vector_parse(cases[i].text, strlen(cases[i].text), values, 8, NULL, &dim, NULL), status);
	}
}

static void
halves_are_narrowed_floats(void **state)
{
	static const char text[] = "[1.00048828125, 1.0009765624, -65519.99, 3e-8,-2.9e-8, 0.1]";
	IqdbHalf          halves[6];
	float             values[6];
	size_t            dim;
	IqdbVectorFault   fault;

	(void) state;
	assert_int_equal(iqdb_half_vector_parse(text, strlen(text), halves, 6, &fault, &dim, NULL), IQDB_OK);
	assert_int_equal(iqdb_vector_parse(text, strlen(text), values, 6, &fault, &dim, NULL), IQDB_OK);
	assert_int_equal(dim, 6);
	for (size_t i = 0; i < dim; i++)
		assert_int_equal(halves[i], iqdb_half_narrow(values[i]));
	assert_int_equal(halves[0], 0x3c00);
	assert_int_equal(halves[2], 0xfbff);
	assert_int_equal(halves[4], 0x8000);

	/* too large for a half, or for a float even */
	assert_int_equal(iqdb_half_vector_parse("[1,-65520 ,x]", 13, halves, 6, &fault, &dim, NULL), IQDB_ERR_VECTOR);
	assert_int_equal(fault.kind, IQDB_FAULT_RANGE);
	assert_int_equal(fault.offset, 3);
	assert_int_equal(fault.length, 6);
	assert_int_equal(iqdb_half_vector_parse("[1e400]", 7, halves, 6, &fault, &dim, NULL), IQDB_ERR_VECTOR);
	assert_int_equal(fault.kind, IQDB_FAULT_RANGE);
	assert_int_equal(fault.length, 5);
}

static void
length_rules_not_a_nul(void **state)
{
	float           values[2];
	size_t          dim;
	IqdbVectorFault fault;

	(void) state;
	assert_int_equal(iqdb_vector_parse("[1,2]garbage", 5, values, 2, &fault, &dim, NULL), IQDB_OK);
	assert_int_equal(dim, 2);
	assert_int_equal(iqdb_vector_parse("[1]\0", 4, values, 2, &fault, &dim, NULL), IQDB_ERR_VECTOR);
	assert_int_equal(fault.kind, IQDB_FAULT_JUNK);
	assert_int_equal(iqdb_vector_parse("[4e38]", 6, values, 2, &fault, &dim, NULL), IQDB_ERR_VECTOR);
	assert_int_equal(fault.length, 4);
	assert_int_equal(iqdb_vector_text_bound("[1,2,3]", 7), 3);
	assert_int_equal(iqdb_vector_text_bound("[1,2,3]", 3), 2);
	assert_int_equal(iqdb_vector_text_bound("", 0), 1);
}

static void
bytes_and_their_faults(void **state)
{
	static const struct
	{
		unsigned char       bytes[12];
		size_t              length;
		IqdbVectorFaultKind kind;
		size_t              dim;
	} cases[] = {
		{{0, 2, 0, 0, 0x3f, 0x80, 0, 0, 0xc0, 0, 0, 0}, 12, IQDB_FAULT_NONE, 2},
		{{0, 1, 0, 0, 0x3f, 0x80, 0, 0, 9, 9}, 10, IQDB_FAULT_NONE, 1}, /* what follows is not ours */
		{{0}, 0, IQDB_FAULT_SHORT, 0},
		{{0, 1, 0}, 3, IQDB_FAULT_SHORT, 0},
		{{0, 1, 0, 0, 0x3f, 0x80, 0}, 7, IQDB_FAULT_SHORT, 0},
		{{0x3e, 0x80, 0, 0}, 12, IQDB_FAULT_SHORT, 0},
		{{0, 0, 0, 0}, 4, IQDB_FAULT_EMPTY, 0},
		{{0x3e, 0x81, 0, 0}, 12, IQDB_FAULT_TOO_MANY, 0},
		{{0xff, 0xff, 0, 0}, 12, IQDB_FAULT_TOO_MANY, 0},
		{{0, 1, 0, 1, 0x3f, 0x80, 0, 0}, 8, IQDB_FAULT_RESERVED, 0},
		{{0, 1, 0x80, 0, 0x3f, 0x80, 0, 0}, 8, IQDB_FAULT_RESERVED, 0},
		{{0, 1, 0, 0, 0x7f, 0x80, 0, 0}, 8, IQDB_FAULT_INFINITE, 0},
		{{0, 1, 0, 0, 0xff, 0x80, 0, 0}, 8, IQDB_FAULT_INFINITE, 0},
		{{0, 1, 0, 0, 0x7f, 0x80, 0, 1}, 8, IQDB_FAULT_NAN, 0},
		{{0, 2, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff}, 12, IQDB_FAULT_NAN, 0}
	};

	(void) state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		unsigned char  *exact = malloc(cases[i].length > 0 ? cases[i].length : 1);
		float           values[2] = {7, 7};
		size_t          dim = 99;
		IqdbVectorFault fault;
		IqdbStatus      status;

		assert_non_null(exact);
		memcpy(exact, cases[i].bytes, cases[i].length);
		status = iqdb_vector_decode(exact, cases[i].length, values, 2, &fault, &dim, NULL);
		free(exact);
		if (fault.kind != cases[i].kind || dim != cases[i].dim ||
			(status == IQDB_OK) != (fault.kind == IQDB_FAULT_NONE))
			fail_msg("case %zu: kind %d, %zu components", i, (int) fault.kind, dim);
		if (i == 0)
			assert_true(values[0] == 1.0f && values[1] == -2.0f);
	}
}

static void
bytes_of_halves_and_their_faults(void **state)
{
	static const struct
	{
		unsigned char       bytes[8];
		size_t              length;
		IqdbVectorFaultKind kind;
		size_t              offset;
	} cases[] = {
		{{0, 2, 0, 0, 0x3c, 0x01, 0xfb, 0xff}, 8, IQDB_FAULT_NONE, 0},
		{{0, 2, 0, 0, 0x3c, 0x01, 0xfb}, 7, IQDB_FAULT_SHORT, 7},
		{{0, 2, 0, 1, 0x3c, 0x01, 0xfb, 0xff}, 8, IQDB_FAULT_RESERVED, 2},
		{{0, 0, 0, 0}, 4, IQDB_FAULT_EMPTY, 0},
		{{0, 2, 0, 0, 0x3c, 0x01, 0x7c, 0x00}, 8, IQDB_FAULT_INFINITE, 6},
		{{0, 2, 0, 0, 0xfc, 0x00, 0x3c, 0x01}, 8, IQDB_FAULT_INFINITE, 4},
		{{0, 2, 0, 0, 0x3c, 0x01, 0x7c, 0x01}, 8, IQDB_FAULT_NAN, 6},
		{{0, 2, 0, 0, 0xfe, 0x00, 0x7c, 0x00}, 8, IQDB_FAULT_NAN, 4}
	};

	(void) state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		unsigned char  *exact = malloc(cases[i].length);
		IqdbHalf        halves[2] = {7, 7};
		size_t          dim = 99;
		IqdbVectorFault fault;
		IqdbStatus      status;

		assert_non_null(exact);
		memcpy(exact, cases[i].bytes, cases[i].length);
		status = iqdb_half_vector_decode(exact, cases[i].length, halves, 2, &fault, &dim, NULL);
		free(exact);
		if (fault.kind != cases[i].kind || fault.offset != cases[i].offset ||
			(status == IQDB_OK) != (fault.kind == IQDB_FAULT_NONE))
			fail_msg("case %zu: kind %d at %zu", i, (int) fault.kind, fault.offset);
		assert_int_equal(dim, status == IQDB_OK ? 2 : 0);
		if (status == IQDB_OK)
			assert_true(halves[0] == 0x3c01 && halves[1] == 0xfbff);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_around_every_kind_of_middle),
		cmocka_unit_test(numbers_of_random_shape),
		cmocka_unit_test(numbers_at_the_edges_of_the_form),
		cmocka_unit_test(texts_and_their_faults),
		cmocka_unit_test(halves_are_narrowed_floats),
		cmocka_unit_test(length_rules_not_a_nul),
		cmocka_unit_test(bytes_and_their_faults),
		cmocka_unit_test(bytes_of_halves_and_their_faults)
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
