/*
 * decimal.c - doubles and floats as decimal text and back. The forms are described in decimal.h.
 *
 * Both directions compare exact integers of fixed size. Writing is the free-format algorithm of Steele and White in the form of
 * Burger and Dybvig ("Printing floating-point numbers quickly and accurately", 1996): digits are made until what is left lies
 * nearer to the number than any other float does. Reading divides the decimal, as a fraction of two integers, bit by bit.
 */
#include "core/vec/decimal.h"

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "core/vec/big_private.h"

/* A double's midpoint has fewer than 770 significant digits: a digit behind the 800th only says "a little more". */
#define SIGNIFICANT_DIGITS 800

/* As 0.d1d2... * 10^magnitude: above the first limit a number is too large, below the second zero. */
#define MAGNITUDE_MAX 310
#define MAGNITUDE_MIN (-330)

/* Where an exponent stops being counted. */
#define EXPONENT_CAP 1000000000

/* Digits that tell a double from every other. */
#define DIGITS_MAX 17

/* Powers of ten from 10^FIRST_PLAIN up to 10^LAST_PLAIN are written without an exponent. */
#define FIRST_PLAIN (-4)
#define LAST_PLAIN 17

static void
big_copy(IqdbiBig *to, const IqdbiBig *from)
{
	to->count = from->count;
	memcpy(to->limb, from->limb, (size_t) from->count * sizeof(from->limb[0]));
}

/* Sign of a + b - c. */
static int
big_compare_sum(const IqdbiBig *a, const IqdbiBig *b, const IqdbiBig *c)
{
	IqdbiBig sum;
	uint64_t carry = 0;
	int      count = a->count > b->count ? a->count : b->count;

	for (int i = 0; i < count; i++)
	{
		carry += (i < a->count ? a->limb[i] : 0);
		carry += (i < b->count ? b->limb[i] : 0);
		sum.limb[i] = (uint32_t) carry;
		carry >>= 32;
	}
	sum.count = count;
	if (carry != 0 && count < IQDBI_BIG_LIMBS)
		sum.limb[sum.count++] = (uint32_t) carry;
	return iqdbi_big_compare(&sum, c);
}

/* a -= b, which is not larger. */
static void
big_subtract(IqdbiBig *a, const IqdbiBig *b)
{
	uint64_t borrow = 0;

	for (int i = 0; i < a->count; i++)
	{
		uint64_t difference = (uint64_t) a->limb[i] - (i < b->count ? b->limb[i] : 0) - borrow;

		a->limb[i] = (uint32_t) difference;
		borrow = difference >> 63;
	}
	while (a->count > 0 && a->limb[a->count - 1] == 0)
		a->count--;
}

static int
big_bits(const IqdbiBig *big)
{
	return big->count == 0 ? 0 : 32 * big->count - __builtin_clz(big->limb[big->count - 1]);
}

/* ---- writing ---- */

/* 0.d1d2d3... * 10^magnitude */
typedef struct Digits
{
	int  magnitude;
	int  count;
	char digit[DIGITS_MAX + 1];
} Digits;

/* The state of Burger and Dybvig: the rest is r/s, and half the way to the next floats below and above is low/s, high/s. */
typedef struct Rest
{
	IqdbiBig r;
	IqdbiBig s;
	IqdbiBig low;
	IqdbiBig high;
	bool     even; /* the ends of the interval read back as this number, too */
} Rest;

static void
rest_begin(Rest *rest, uint64_t fraction, int exponent, bool power_of_two, int *magnitude_out)
{
	int    up = exponent > 0 ? exponent : 0;
	int    down = exponent < 0 ? -exponent : 0;
	double log10_below = (exponent + 63 - __builtin_clzll(fraction)) * 0.30102999566398120;
	int    magnitude = (int) ceil(log10_below - 1e-10);

	/* below a power of two floats are twice as dense as above */
	iqdbi_big_set(&rest->r, fraction);
	iqdbi_big_shift_left(&rest->r, up + 1 + power_of_two);
	iqdbi_big_set(&rest->s, 1);
	iqdbi_big_shift_left(&rest->s, down + 1 + power_of_two);
	iqdbi_big_set(&rest->low, 1);
	iqdbi_big_shift_left(&rest->low, up);
	big_copy(&rest->high, &rest->low);
	iqdbi_big_shift_left(&rest->high, power_of_two);
	rest->even = fraction % 2 == 0;
	if (magnitude > 0)
		iqdbi_big_multiply_power_of_ten(&rest->s, magnitude);
	iqdbi_big_multiply_power_of_ten(&rest->r, -magnitude);
	iqdbi_big_multiply_power_of_ten(&rest->low, -magnitude);
	iqdbi_big_multiply_power_of_ten(&rest->high, -magnitude);
	/* the logarithm is of the highest bit alone: the number may be of the next magnitude */
	if (big_compare_sum(&rest->r, &rest->high, &rest->s) >= (rest->even ? 0 : 1))
	{
		magnitude++;
		iqdbi_big_multiply_add(&rest->s, 10, 0);
	}
	*magnitude_out = magnitude;
}

/* Of fraction * 2^exponent, fraction > 0. */
static void
shortest_digits(uint64_t fraction, int exponent, bool power_of_two, Digits *digits_out)
{
	Rest rest;
	bool low;
	bool high;

	rest_begin(&rest, fraction, exponent, power_of_two, &digits_out->magnitude);
	digits_out->count = 0;
	do
	{
		int digit = 0;

		iqdbi_big_multiply_add(&rest.r, 10, 0);
		iqdbi_big_multiply_add(&rest.low, 10, 0);
		iqdbi_big_multiply_add(&rest.high, 10, 0);
		for (; iqdbi_big_compare(&rest.r, &rest.s) >= 0; digit++)
			big_subtract(&rest.r, &rest.s);
		low = iqdbi_big_compare(&rest.r, &rest.low) <= (rest.even ? 0 : -1);
		high = big_compare_sum(&rest.r, &rest.high, &rest.s) >= (rest.even ? 0 : 1);
		if (high && (!low || big_compare_sum(&rest.r, &rest.r, &rest.s) >= 0))
			digit++;
		digits_out->digit[digits_out->count++] = (char) ('0' + digit);
	} while (!low && !high && digits_out->count < DIGITS_MAX);
}

static char *
put_zeros(char *at, int count)
{
	for (; count > 0; count--)
		*at++ = '0';
	return at;
}

static char *
put_digits(char *at, const Digits *digits, int first, int end)
{
	for (int i = first; i < end; i++)
		*at++ = digits->digit[i];
	return at;
}

static char *
put_exponent(char *at, int exponent)
{
	*at++ = 'e';
	if (exponent < 0)
		*at++ = '-';
	exponent = exponent < 0 ? -exponent : exponent;
	if (exponent >= 100)
		*at++ = (char) ('0' + exponent / 100);
	if (exponent >= 10)
		*at++ = (char) ('0' + exponent / 10 % 10);
	*at++ = (char) ('0' + exponent % 10);
	return at;
}

static char *
put_number(char *at, const Digits *digits, bool with_point)
{
	int count = digits->count;
	int before = digits->magnitude; /* digits before the point, written plainly */

	if (before < FIRST_PLAIN || before > LAST_PLAIN)
	{
		*at++ = digits->digit[0];
		if (count > 1)
			*at++ = '.';
		return put_exponent(put_digits(at, digits, 1, count), before - 1);
	}
	if (before <= 0)
	{
		*at++ = '0';
		*at++ = '.';
		return put_digits(put_zeros(at, -before), digits, 0, count);
	}
	if (before < count)
	{
		at = put_digits(at, digits, 0, before);
		*at++ = '.';
		return put_digits(at, digits, before, count);
	}
	at = put_zeros(put_digits(at, digits, 0, count), before - count);
	if (with_point)
	{
		*at++ = '.';
		*at++ = '0';
	}
	return at;
}

/* fraction and exponent are the bits of the number's fields, without sign and hidden bit. */
static size_t
write_number(bool negative, uint64_t fraction, int exponent, int fraction_bits, int bias, bool with_point, char *text)
{
	char  *at = text;
	Digits digits = {.magnitude = 1, .count = 1, .digit = {'0'}};
	bool   power_of_two = fraction == 0 && exponent > 1;

	if (negative)
		*at++ = '-';
	if (exponent > 0)
		fraction |= UINT64_C(1) << fraction_bits;
	else
		exponent = 1;
	if (fraction != 0)
		shortest_digits(fraction, exponent - bias - fraction_bits, power_of_two, &digits);
	return (size_t) (put_number(at, &digits, with_point) - text);
}

size_t
iqdb_double_text(double value, char text[IQDB_DECIMAL_TEXT_MAX])
{
	uint64_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return write_number(bits >> 63 != 0, bits & ((UINT64_C(1) << 52) - 1), (int) (bits >> 52 & 0x7ff), 52, 1023, true, text);
}

size_t
iqdb_float_text(float value, char text[IQDB_DECIMAL_TEXT_MAX])
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return write_number(bits >> 31 != 0, bits & ((UINT32_C(1) << 23) - 1), (int) (bits >> 23 & 0xff), 23, 127, false, text);
}

/* ---- reading ---- */

typedef struct Decimal
{
	IqdbiBig digits;
	int      used;     /* significant digits in it */
	int64_t  exponent; /* the number is digits * 10^exponent */
} Decimal;

static const char *
read_digits(const char *p, const char *end, Decimal *decimal)
{
	bool point = false;
	bool more = false;

	for (; p < end && *p != 'e' && *p != 'E'; p++)
	{
		if (*p == '.')
			point = true;
		else if (decimal->used == 0 && *p == '0')
			decimal->exponent -= point;
		else if (decimal->used < SIGNIFICANT_DIGITS)
		{
			iqdbi_big_multiply_add(&decimal->digits, 10, (uint32_t) (*p - '0'));
			decimal->used++;
			decimal->exponent -= point;
		}
		else
		{
			more = more || *p != '0';
			decimal->exponent += !point;
		}
	}
	if (more)
	{
		iqdbi_big_multiply_add(&decimal->digits, 10, 1);
		decimal->used++;
		decimal->exponent--;
	}
	return p;
}

/* p is behind the "e". */
static int64_t
read_exponent(const char *p, const char *end)
{
	bool    negative = p < end && *p == '-';
	int64_t exponent = 0;

	if (p < end && (*p == '-' || *p == '+'))
		p++;
	for (; p < end; p++)
	{
		if (exponent < EXPONENT_CAP)
			exponent = exponent * 10 + (*p - '0');
	}
	return negative ? -exponent : exponent;
}

/* The double nearest to a / b, both positive; infinite if it is too large. Both are changed. */
static double
divide(IqdbiBig *a, IqdbiBig *b)
{
	int      shift = big_bits(b) - big_bits(a);
	int      bits = DBL_MANT_DIG;
	uint64_t fraction = 0;
	int      order;

	iqdbi_big_shift_left(a, shift);
	iqdbi_big_shift_left(b, -shift);
	if (iqdbi_big_compare(a, b) < 0)
	{
		iqdbi_big_shift_left(a, 1);
		shift++;
	}
	/* now 1 <= a/b < 2, and the number is a/b * 2^-shift; small ones have fewer bits */
	if (shift > 1 - DBL_MIN_EXP)
		bits -= shift - (1 - DBL_MIN_EXP);
	if (bits < 0)
		return 0;
	for (int i = 0; i < bits; i++)
	{
		fraction *= 2;
		if (iqdbi_big_compare(a, b) >= 0)
		{
			big_subtract(a, b);
			fraction++;
		}
		iqdbi_big_shift_left(a, 1);
	}
	order = iqdbi_big_compare(a, b);
	if (order > 0 || (order == 0 && fraction % 2 != 0))
		fraction++;
	return ldexp((double) fraction, 1 - bits - shift);
}

bool
iqdb_double_parse(const char *text, size_t length, double *value_out)
{
	const char *end = text + length;
	bool        negative = length > 0 && *text == '-';
	Decimal     decimal = {.used = 0, .exponent = 0};
	IqdbiBig    denominator;
	double      value = 0;

	text = read_digits(text + negative, end, &decimal);
	if (text < end)
		decimal.exponent += read_exponent(text + 1, end);
	if (decimal.used > 0 && decimal.used + decimal.exponent > MAGNITUDE_MAX)
		return false;
	if (decimal.used > 0 && decimal.used + decimal.exponent >= MAGNITUDE_MIN)
	{
		iqdbi_big_set(&denominator, 1);
		iqdbi_big_multiply_power_of_ten(&decimal.digits, (int) decimal.exponent);
		iqdbi_big_multiply_power_of_ten(&denominator, (int) -decimal.exponent);
		value = divide(&decimal.digits, &denominator);
	}
	if (isinf(value))
		return false;
	*value_out = negative ? -value : value;
	return true;
}
