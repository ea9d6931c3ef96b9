/*
 * test_half.c - halves: every one of them widened, and floats on, beside and between them narrowed.
 *
 * The references are computed from what the format says: the value of a half by ldexp in double, the nearest half by
 * looking at its neighbours.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "core/vec/half.h"

#include <math.h>
#include <stdlib.h>

#define SEED UINT64_C(20261130)
#define HALVES 65536

static uint32_t
bits_of(float value)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits;
}

static float
float_of(uint32_t bits)
{
	float value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

/* The value of a half that is not NaN, by its fields; the first beyond the finite ones counts as 2^16. */
static double
value_of(uint32_t half)
{
	uint32_t exponent = half >> 10 & 0x1f;
	uint32_t fraction = half & 0x3ff;
	double   size = exponent == 0 ? ldexp(fraction, -24) : ldexp(1024 + fraction, (int) exponent - 25);

	return half & 0x8000 ? -size : size;
}

static void
every_half_widens(void **state)
{
	(void) state;
	for (uint32_t half = 0; half < HALVES; half++)
	{
		float value = iqdb_half_widen((IqdbHalf) half);
		bool  is_finite = (half & 0x7c00) != 0x7c00;
		bool  is_nan = !is_finite && (half & 0x3ff) != 0;

		assert_int_equal(iqdb_half_is_finite((IqdbHalf) half), is_finite);
		assert_int_equal(iqdb_half_is_nan((IqdbHalf) half), is_nan);
		assert_int_equal(iqdb_half_is_zero((IqdbHalf) half), half == 0 || half == 0x8000);
		if (is_nan)
			/* quiet, the rest of the fraction kept */
			assert_int_equal(bits_of(value), (half & 0x8000) << 16 | 0x7fc00000 | (half & 0x3ff) << 13);
		else if (!is_finite)
			assert_int_equal(bits_of(value), (half & 0x8000) << 16 | 0x7f800000);
		else if (value != value_of(half) || (signbit(value) != 0) != (half >= 0x8000))
			fail_msg("half %04x widens to %a", (unsigned) half, (double) value);
	}
}

static void
every_half_comes_back(void **state)
{
	(void) state;
	for (uint32_t half = 0; half < HALVES; half++)
	{
		float    value = iqdb_half_widen((IqdbHalf) half);
		uint32_t expected = iqdb_half_is_nan((IqdbHalf) half) ? half | 0x200 : half;

		assert_int_equal(iqdb_half_narrow(value), expected);
		assert_false(iqdb_half_overflows(value));
	}
}

/* A finite value and its opposite become this half and its opposite. */
static void
check_narrow(float value, uint32_t expected)
{
	bool is_infinite = expected == 0x7c00;

	if (iqdb_half_narrow(value) != expected || iqdb_half_narrow(-value) != (expected | 0x8000))
		fail_msg("%a becomes %04x and %04x, not %04x", (double) value, iqdb_half_narrow(value), iqdb_half_narrow(-value),
				 (unsigned) expected);
	assert_int_equal(iqdb_half_overflows(value), is_infinite);
	assert_int_equal(iqdb_half_overflows(-value), is_infinite);
}

/* The middle of two neighbours is a float: there the even one is nearest, one float further the other. */
static void
between_two_halves_the_nearest_is_taken(void **state)
{
	(void) state;
	for (uint32_t half = 0; half < 0x7c00; half++)
	{
		double middle = (value_of(half) + value_of(half + 1)) / 2;
		float  tie = (float) middle;

		assert_true(tie == middle);
		check_narrow(tie, half % 2 == 0 ? half : half + 1);
		check_narrow(nextafterf(tie, 0.0f), half);
		check_narrow(nextafterf(tie, INFINITY), half + 1);
		if (half > 0)
			check_narrow(nextafterf((float) value_of(half), INFINITY), half);
		check_narrow(nextafterf((float) value_of(half + 1), 0.0f), half + 1);
	}
}

static void
ends_of_the_range(void **state)
{
	(void) state;
	check_narrow(0.0f, 0);
	check_narrow(float_of(1), 0);
	check_narrow(0x1p-25f, 0);
	check_narrow(0x1.000002p-25f, 1);
	check_narrow(0x1p-24f, 1);
	check_narrow(IQDB_HALF_MAX, 0x7bff);
	check_narrow(0x1.ffdffep15f, 0x7bff); /* the float before 65520 */
	check_narrow(65520.0f, 0x7c00);
	check_narrow(3.0e38f, 0x7c00);

	/* an infinity is one, and no overflow */
	assert_int_equal(iqdb_half_narrow(INFINITY), 0x7c00);
	assert_int_equal(iqdb_half_narrow(-INFINITY), 0xfc00);
	assert_false(iqdb_half_overflows(INFINITY));
	assert_false(iqdb_half_overflows(-INFINITY));

	/* a NaN is one, wherever in the fraction its bits are */
	assert_int_equal(iqdb_half_narrow(float_of(0x7f800001)), 0x7e00);
	assert_int_equal(iqdb_half_narrow(float_of(0xff802000)), 0xfe01);
	assert_int_equal(iqdb_half_narrow(float_of(0x7fffffff)), 0x7fff);
	assert_false(iqdb_half_overflows(float_of(0x7f800001)));
}

/* Of every pattern of a float, a sample: the half is one of the two around it, and neither is nearer. */
static void
random_floats_become_the_nearest_half(void **state)
{
	IqdbRng rng;

	(void) state;
	iqdb_rng_seed(&rng, SEED);
	for (int round = 0; round < 1000000; round++)
	{
		/* two thirds of them in and beside the range of halves */
		uint32_t bits = (uint32_t) iqdb_rng_next(&rng) & 0x7fffffff;
		float    value = float_of(round % 3 == 0 ? bits : 0x32000000 + bits % 0x16000000);
		uint32_t half;

		if (!isfinite(value))
			continue;
		half = iqdb_half_narrow(value);
		if (value >= 65520.0f)
		{
			assert_int_equal(half, 0x7c00);
			continue;
		}
		assert_true(half < 0x7c00);
		assert_true(fabs(value - value_of(half)) <= fabs(value - value_of(half + 1)));
		if (half > 0)
			assert_true(fabs(value - value_of(half)) <= fabs(value - value_of(half - 1)));
	}
}

/* Arrays of exactly these sizes, so that the sanitizers see a component too far. */
static void
arrays_do_as_single_numbers(void **state)
{
	(void) state;
	for (size_t count = 1; count <= 70; count++)
	{
		IqdbHalf *halves = malloc(count * sizeof(*halves));
		IqdbHalf *again = malloc(count * sizeof(*again));
		float    *values = malloc(count * sizeof(*values));

		assert_true(halves != NULL && again != NULL && values != NULL);
		for (size_t i = 0; i < count; i++)
			halves[i] = (IqdbHalf) (i * 433 % 0x7c00);
		iqdb_halves_widen(halves, count, values);
		for (size_t i = 0; i < count; i++)
			assert_true(bits_of(values[i]) == bits_of(iqdb_half_widen(halves[i])));
		assert_int_equal(iqdb_halves_narrow(values, count, again), count);
		assert_memory_equal(halves, again, count * sizeof(*halves));
		assert_int_equal(iqdb_halves_first_not_finite(halves, count), count);

		for (size_t bad = 0; bad < count; bad++)
		{
			/* the first of two is told; an infinity is infinite, but does not overflow */
			values[bad] = bad % 2 == 0 ? 65520.0f : -1.0e30f;
			assert_int_equal(iqdb_halves_narrow(values, count, again), bad);
			assert_int_equal(iqdb_halves_first_not_finite(again, count), bad);
			values[count - 1] = 1.0e30f;
			assert_int_equal(iqdb_halves_narrow(values, count, again), bad);
			values[bad] = values[count - 1] = bad % 2 == 0 ? -INFINITY : NAN;
			assert_int_equal(iqdb_halves_narrow(values, count, again), count);
			assert_int_equal(iqdb_halves_first_not_finite(again, count), bad);
			iqdb_halves_widen(halves, count, values);
		}
		free(halves);
		free(again);
		free(values);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_half_widens),
		cmocka_unit_test(every_half_comes_back),
		cmocka_unit_test(between_two_halves_the_nearest_is_taken),
		cmocka_unit_test(ends_of_the_range),
		cmocka_unit_test(random_floats_become_the_nearest_half),
		cmocka_unit_test(arrays_do_as_single_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
