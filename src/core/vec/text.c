/*
 * text.c - reading vectors from text and from network bytes. The forms are described in text.h.
 *
 * Owns the conversion of decimal digits to the nearest float. The C library's strtof would do it, but it needs a
 * terminating NUL and obeys the process's locale, and a German one would read "[1,5]" as a single number. The method:
 *
 * 1. The first 19 significant digits give a 64-bit integer, and the value about as integer * 10^exponent in double.
 *    The relative error of that double is far below 2^-45 (at most six roundings of 2^-53, and the digits left out).
 * 2. Rounding to float both ends of an interval of that width around it gives the same float nearly always, because
 *    floats are 2^-23 apart: that is the answer.
 * 3. Else the interval holds the midpoint of two neighbouring floats, and the digits are compared with the midpoint
 *    exactly, in integers of fixed size.
 *
 * Numbers of the usual form, few digits with a point and no exponent, are read eight digits at a time, without a branch that
 * depends on how many there are: that is what takes longest otherwise. Whatever is unusual goes the long way.
 */
#include "core/vec/text.h"

#include "core/base/endian.h"

#include "core/vec/big_private.h"
#include "core/vec/metric.h"

#include <float.h>
#include <string.h>

/* Digits that fit a 64-bit integer whatever they are. */
#define MANTISSA_DIGITS 19

/*
 * Digits the exact comparison looks at. The midpoint of two floats has at most 25 binary digits, none below 2^-150, so
 * fewer than 130 significant decimal ones; any nonzero digit behind the 160th only says "a little more".
 */
#define EXACT_DIGITS 160

/* As 0.d1d2... * 10^magnitude: above the first limit a number is too large, below the second zero, whatever follows. */
#define MAGNITUDE_MAX 40
#define MAGNITUDE_MIN (-50)

/* Where an exponent stops being counted: far outside the range, far from overflowing. */
#define EXPONENT_CAP 1000000000

/* 2^128 - 2^103, the midpoint of the largest float and what would be the next: from here on numbers are too large. */
#define FLOAT_LIMIT 0x1.ffffffp127

/* A decimal number as it stands in the text, without its sign. */
typedef struct Decimal
{
	const char *digits;       /* first significant digit; the point may stand among the digits */
	const char *end;          /* behind the last digit */
	uint64_t    mantissa;     /* the first MANTISSA_DIGITS significant digits */
	int64_t     exponent;     /* value is about mantissa * 10^exponent */
	int64_t     magnitude;    /* value is 0.d1d2d3... * 10^magnitude */
} Decimal;

static const double powers_of_ten[] = {
	1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
	1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22
};

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* The six blanks of C, in every locale. */
static bool
is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static const char *
skip_blanks(const char *p, const char *end)
{
	while (p < end && is_blank(*p))
		p++;
	return p;
}

/* true when the bytes at p begin with the lower-case word, in any case. */
static bool
begins_with(const char *p, const char *end, const char *word)
{
	for (; *word != '\0'; p++, word++)
	{
		if (p == end)
			return false;
		if (*p != *word && *p != *word - 'a' + 'A')
			return false;
	}
	return true;
}

/*
 * Sign of (decimal - middle), exactly. middle is positive and finite, magnitude within its two limits. One side is below
 * 10^160 * 2^150 < 2^682 (all digits, the smallest midpoint's denominator), the other below 2^25 * 10^210 * 2^104 < 2^827 (a
 * midpoint, 160 digits from 10^-50 on, the largest float).
 */
static int
decimal_compare(const Decimal *decimal, double middle)
{
	IqdbiBig left;
	IqdbiBig right;
	int      used = 0;
	bool     more = false;
	int      binary_exponent;
	int64_t  decimal_exponent;
	uint64_t fraction;
	int      order;

	iqdbi_big_set(&left, 0);
	for (const char *p = decimal->digits; p < decimal->end; p++)
	{
		if (*p == '.')
			continue;
		if (used < EXACT_DIGITS)
		{
			iqdbi_big_multiply_add(&left, 10, (uint32_t) (*p - '0'));
			used++;
		}
		else if (*p != '0')
		{
			more = true;
			break;
		}
	}
	decimal_exponent = decimal->magnitude - used;

	fraction = (uint64_t) ldexp(frexp(middle, &binary_exponent), 53);
	binary_exponent -= 53;
	while (fraction % 2 == 0)
	{
		fraction /= 2;
		binary_exponent++;
	}
	iqdbi_big_set(&right, fraction);

	if (decimal_exponent >= 0)
		iqdbi_big_multiply_power_of_ten(&left, decimal_exponent);
	else
		iqdbi_big_multiply_power_of_ten(&right, -decimal_exponent);
	if (binary_exponent >= 0)
		iqdbi_big_shift_left(&right, binary_exponent);
	else
		iqdbi_big_shift_left(&left, -binary_exponent);

	order = iqdbi_big_compare(&left, &right);
	return order == 0 && more ? 1 : order;
}

static float
round_to_float(double value)
{
	return value >= FLOAT_LIMIT ? INFINITY : (float) value;
}

/* The float nearest to a positive decimal, ties to even; INFINITY when it is too large. */
static float
decimal_to_float(const Decimal *decimal)
{
	double   value = (double) decimal->mantissa;
	int64_t  exponent = decimal->exponent;
	float    low;
	float    high;
	double   middle;
	int      order;
	uint32_t low_bits;

	if (decimal->magnitude > MAGNITUDE_MAX)
		return INFINITY;
	if (decimal->magnitude < MAGNITUDE_MIN)
		return 0.0f;

	for (; exponent > 22; exponent -= 22)
		value *= 1e22;
	for (; exponent < -22; exponent += 22)
		value /= 1e22;
	value = exponent >= 0 ? value * powers_of_ten[exponent] : value / powers_of_ten[-exponent];

	low = round_to_float(value * (1.0 - 0x1p-45));
	high = round_to_float(value * (1.0 + 0x1p-45));
	if (low == high)
		return low;

	middle = isinf(high) ? FLOAT_LIMIT : ((double) low + (double) high) / 2;
	order = decimal_compare(decimal, middle);
	if (order != 0)
		return order < 0 ? low : high;
	memcpy(&low_bits, &low, sizeof(low_bits));
	return low_bits % 2 == 0 ? low : high;
}

/* ---- eight digits at a time ---------------------------------------------------------------------------------------- */

/* Bytes that are looked at, digits or not: seven, a point, three times eight, and what follows. */
#define USUAL_BYTES 33

#define DIGITS_AT_ONCE 8

/* Byte by byte: the digits' values of eight bytes of text, and above 9 for what is no digit. The first byte is the lowest. */
static uint64_t
load_digits(const char *p)
{
	return iqdb_load_u64((const unsigned char *) p) ^ UINT64_C(0x3030303030303030);
}

/* How many of the first bytes are digits, 0 to 8. */
static unsigned
count_digits(uint64_t bytes)
{
	/* adds up to 128 or more in each byte above 9, and carries nothing over to the next */
	uint64_t others = (((bytes & UINT64_C(0x7f7f7f7f7f7f7f7f)) + UINT64_C(0x7676767676767676)) | bytes) &
					  UINT64_C(0x8080808080808080);

	return others == 0 ? DIGITS_AT_ONCE : (unsigned) __builtin_ctzll(others) / 8;
}

/* The number that the first `count` digits make: put behind zeros, then pairs, fours and eights are added up. */
static uint64_t
join_digits(uint64_t bytes, unsigned count)
{
	if (count == 0)
		return 0;
	bytes <<= 8 * (DIGITS_AT_ONCE - count);
	bytes = bytes * 10 + (bytes >> 8);
	return ((bytes & UINT64_C(0x000000ff000000ff)) * UINT64_C(0x000f424000000064) +
			((bytes >> 16) & UINT64_C(0x000000ff000000ff)) * UINT64_C(0x0000271000000001)) >> 32;
}

static const uint64_t whole_powers_of_ten[DIGITS_AT_ONCE + 1] = {
	1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000
};

/*
 * A number without sign and exponent: at most seven digits, and perhaps a point and more of them, as many as a mantissa has
 * room for. Returns behind it; NULL if it is not of this form, too near to the end, or not certain by step 2 above.
 */
static const char *
read_usual(const char *p, const char *end, float *value_out)
{
	uint64_t bytes;
	uint64_t mantissa;
	unsigned count;
	unsigned before; /* digits before the point, none if they are zeros, ... */
	unsigned behind = 0; /* ... and behind it */
	double   value;

	if (end - p < USUAL_BYTES)
		return NULL;
	bytes = load_digits(p);
	count = count_digits(bytes);
	if (count == 0 || count == DIGITS_AT_ONCE)
		return NULL;
	mantissa = join_digits(bytes, count);
	before = mantissa == 0 ? 0 : count;
	p += count;
	if (*p == '.')
	{
		p++;
		do
		{
			bytes = load_digits(p);
			count = count_digits(bytes);
			behind += count;
			if (before + behind > MANTISSA_DIGITS)
				return NULL;
			mantissa = mantissa * whole_powers_of_ten[count] + join_digits(bytes, count);
			p += count;
		} while (count == DIGITS_AT_ONCE);
	}
	if (*p == 'e' || *p == 'E')
		return NULL;
	value = (double) mantissa / powers_of_ten[behind];
	*value_out = (float) (value * (1.0 - 0x1p-45));
	return *value_out == (float) (value * (1.0 + 0x1p-45)) ? p : NULL;
}

/* ---- all forms ----------------------------------------------------------------------------------------------------- */

/* Reads digits, point and exponent at p. Returns behind them, or p itself when there is no digit. */
static const char *
read_decimal(const char *p, const char *end, Decimal *decimal_out)
{
	const char *start = p;
	const char *point = NULL;
	const char *first = NULL;
	bool        any = false;
	int         used = 0;
	int64_t     left_out = 0;    /* digits before the point that are not in the mantissa */
	int64_t     scale = 0;       /* digits behind the point that are in it, or zeros before it */
	int64_t     digits_used;
	int64_t     exponent = 0;
	uint64_t    mantissa = 0;

	for (; p < end; p++)
	{
		if (*p == '.' && point == NULL)
		{
			point = p;
			continue;
		}
		if (!is_digit(*p))
			break;
		any = true;
		if (first == NULL && *p != '0')
			first = p;
		if (used < MANTISSA_DIGITS)
		{
			mantissa = mantissa * 10 + (uint64_t) (*p - '0');
			used += first != NULL;
			scale += point != NULL;
		}
		else
			left_out += point == NULL;
	}
	if (!any)
		return start;

	decimal_out->digits = first;
	decimal_out->end = p;
	digits_used = used;

	if (p < end && (*p == 'e' || *p == 'E'))
	{
		const char *q = p + 1;
		bool        negative = false;

		if (q < end && (*q == '+' || *q == '-'))
			negative = *q++ == '-';
		if (q < end && is_digit(*q))
		{
			for (; q < end && is_digit(*q); q++)
			{
				if (exponent < EXPONENT_CAP)
					exponent = exponent * 10 + (*q - '0');
			}
			exponent = negative ? -exponent : exponent;
			p = q;
		}
	}

	decimal_out->mantissa = mantissa;
	decimal_out->exponent = exponent - scale + left_out;
	decimal_out->magnitude = decimal_out->exponent + digits_used;
	return p;
}

IqdbVectorFaultKind
iqdb_float_parse(const char *text, size_t length, float *value_out, size_t *used_out)
{
	const char *end = text + length;
	const char *p = text;
	const char *next;
	bool        negative = false;
	Decimal     decimal;
	float       value;

	*value_out = 0.0f;
	*used_out = 0;

	if (p < end && (*p == '+' || *p == '-'))
		negative = *p++ == '-';

	if (p < end && !is_digit(*p) && *p != '.')
	{
		if (begins_with(p, end, "nan"))
		{
			*used_out = (size_t) (p - text) + 3;
			return IQDB_FAULT_NAN;
		}
		if (begins_with(p, end, "inf"))
		{
			*used_out = (size_t) (p - text) + (begins_with(p, end, "infinity") ? 8 : 3);
			return IQDB_FAULT_INFINITE;
		}
		return IQDB_FAULT_SYNTAX;
	}

	next = read_usual(p, end, &value);
	if (next != NULL)
	{
		*used_out = (size_t) (next - text);
		*value_out = negative ? -value : value;
		return IQDB_FAULT_NONE;
	}
	next = read_decimal(p, end, &decimal);
	if (next == p)
		return IQDB_FAULT_SYNTAX;
	*used_out = (size_t) (next - text);

	value = decimal.mantissa == 0 ? 0.0f : decimal_to_float(&decimal);
	if (isinf(value))
		return IQDB_FAULT_RANGE;
	*value_out = negative ? -value : value;
	return IQDB_FAULT_NONE;
}

size_t
iqdb_vector_text_bound(const char *text, size_t length)
{
	const char *end = text + length;
	const char *p = text;
	size_t      bound = 1;

	while (p < end && (p = memchr(p, ',', (size_t) (end - p))) != NULL)
	{
		bound++;
		p++;
	}
	return bound;
}

/* One fault, three records of it: the status, the fault for the host, the sentence for the embedded caller. */
static IqdbStatus
fail(IqdbVectorFault *fault_out, IqdbError *err, IqdbVectorFault fault)
{
	IqdbStatus  status = IQDB_ERR_VECTOR;
	const char *sentence = "invalid vector text";

	switch (fault.kind)
	{
		case IQDB_FAULT_START:
			sentence = "vector text must start with \"[\"";
			break;
		case IQDB_FAULT_JUNK:
			sentence = "vector text goes on behind its \"]\"";
			break;
		case IQDB_FAULT_EMPTY:
			sentence = "vector must have at least 1 dimension";
			break;
		case IQDB_FAULT_TOO_MANY:
			status = IQDB_ERR_LIMIT;
			sentence = "vector has too many dimensions";
			break;
		case IQDB_FAULT_NAN:
			sentence = "NaN not allowed in vector";
			break;
		case IQDB_FAULT_INFINITE:
			sentence = "infinite value not allowed in vector";
			break;
		case IQDB_FAULT_RANGE:
			sentence = "number out of range for a vector component";
			break;
		case IQDB_FAULT_RESERVED:
			sentence = "reserved field of a binary vector must be 0";
			break;
		case IQDB_FAULT_SHORT:
			sentence = "binary vector is shorter than its dimension says";
			break;
		case IQDB_FAULT_SYNTAX:
		case IQDB_FAULT_NONE:
			break;
	}
	if (fault_out != NULL)
		*fault_out = fault;
	return iqdb_fail(err, status, "%s (at byte %zu)", sentence, fault.offset);
}

/* Where components go: one of the two arrays is there, and has room for this many. */
typedef struct Components
{
	float    *floats;
	IqdbHalf *halves;
	size_t    capacity;
} Components;

/* Reads one number (no blanks before it) as component i. *used_out is the count of bytes it takes. */
static IqdbVectorFaultKind
read_component(const char *p, const char *end, const Components *to, size_t i, size_t *used_out)
{
	float               value;
	IqdbVectorFaultKind kind = iqdb_float_parse(p, (size_t) (end - p), &value, used_out);

	if (kind != IQDB_FAULT_NONE)
		return kind;
	if (to->floats != NULL)
		to->floats[i] = value;
	else if (iqdb_half_overflows(value))
		return IQDB_FAULT_RANGE;
	else
		to->halves[i] = iqdb_half_narrow(value);
	return IQDB_FAULT_NONE;
}

/*
 * Reads numbers and commas from behind the "[" to behind the "]". Returns where it stopped: there, or at what the fault is
 * about. fault->kind must be NONE.
 */
static const char *
read_components(const char *p, const char *end, const Components *to, IqdbVectorFault *fault, size_t *dim_out)
{
	for (size_t dim = 0;; p++)
	{
		size_t used;

		if (dim == to->capacity)
		{
			fault->kind = IQDB_FAULT_TOO_MANY;
			return p;
		}
		p = skip_blanks(p, end);
		fault->kind = read_component(p, end, to, dim, &used);
		if (fault->kind != IQDB_FAULT_NONE)
		{
			fault->length = fault->kind == IQDB_FAULT_RANGE ? used : 0;
			return p;
		}
		dim++;
		p = skip_blanks(p + used, end);
		if (p < end && *p == ']')
		{
			*dim_out = dim;
			return p + 1;
		}
		if (p == end || *p != ',')
		{
			fault->kind = IQDB_FAULT_SYNTAX;
			return p;
		}
	}
}

static IqdbStatus
parse(const char *text, size_t length, const Components *to, IqdbVectorFault *fault_out, size_t *dim_out, IqdbError *err)
{
	const char     *end = text + length;
	const char     *p = skip_blanks(text, end);
	size_t          dim = 0;
	IqdbVectorFault fault = {IQDB_FAULT_NONE, 0, 0, 0};

	if (p == end || *p != '[')
		fault.kind = IQDB_FAULT_START;
	else
	{
		p = skip_blanks(p + 1, end);
		if (p < end && *p == ']')
			fault.kind = IQDB_FAULT_EMPTY;
		else
			p = read_components(p, end, to, &fault, &dim);
	}
	if (fault.kind == IQDB_FAULT_NONE)
	{
		p = skip_blanks(p, end);
		if (p < end)
			fault.kind = IQDB_FAULT_JUNK;
	}

	*dim_out = fault.kind == IQDB_FAULT_NONE ? dim : 0;
	if (fault.kind != IQDB_FAULT_NONE)
	{
		fault.offset = (size_t) (p - text);
		return fail(fault_out, err, fault);
	}
	if (fault_out != NULL)
		*fault_out = fault;
	return IQDB_OK;
}

IqdbStatus
iqdb_vector_parse(const char *text, size_t length, float *values, size_t capacity, IqdbVectorFault *fault_out,
				  size_t *dim_out, IqdbError *err)
{
	return parse(text, length, &(Components) {values, NULL, capacity}, fault_out, dim_out, err);
}

IqdbStatus
iqdb_half_vector_parse(const char *text, size_t length, IqdbHalf *halves, size_t capacity, IqdbVectorFault *fault_out,
					   size_t *dim_out, IqdbError *err)
{
	return parse(text, length, &(Components) {NULL, halves, capacity}, fault_out, dim_out, err);
}

static uint32_t
load_big_endian_16(const unsigned char *bytes)
{
	return (uint32_t) bytes[0] << 8 | bytes[1];
}

static uint32_t
load_big_endian_32(const unsigned char *bytes)
{
	return (uint32_t) bytes[0] << 24 | (uint32_t) bytes[1] << 16 | (uint32_t) bytes[2] << 8 | bytes[3];
}

/* The head of the binary form, for components of so many bytes. The result's kind is NONE when it is right. */
static IqdbVectorFault
decode_head(const unsigned char *bytes, size_t length, size_t component, size_t capacity, uint32_t *dim_out)
{
	uint32_t dim;
	uint32_t reserved;

	if (length < 4)
		return (IqdbVectorFault) {IQDB_FAULT_SHORT, 0, length, 0};
	dim = load_big_endian_16(bytes);
	reserved = load_big_endian_16(bytes + 2);

	/* read as unsigned: what a signed reader would call a negative dimension is too many */
	if (dim == 0)
		return (IqdbVectorFault) {IQDB_FAULT_EMPTY, 0, 0, 0};
	if (dim > IQDB_DIMENSION_MAX)
		return (IqdbVectorFault) {IQDB_FAULT_TOO_MANY, dim, 0, 0};
	if (reserved != 0)
		return (IqdbVectorFault) {IQDB_FAULT_RESERVED, reserved, 2, 0};
	if ((length - 4) / component < dim)
		return (IqdbVectorFault) {IQDB_FAULT_SHORT, dim, length, 0};
	if (dim > capacity)
		return (IqdbVectorFault) {IQDB_FAULT_TOO_MANY, dim, 0, 0};
	*dim_out = dim;
	return (IqdbVectorFault) {IQDB_FAULT_NONE, 0, 0, 0};
}

/* Stores component i from its bytes, unless it is NaN or infinite. */
static IqdbVectorFaultKind
decode_component(const unsigned char *bytes, const Components *to, size_t i)
{
	uint32_t bits = to->floats != NULL ? load_big_endian_32(bytes) : load_big_endian_16(bytes);
	uint32_t exponent = to->floats != NULL ? UINT32_C(0x7f800000) : UINT32_C(0x7c00);
	uint32_t fraction = to->floats != NULL ? UINT32_C(0x007fffff) : UINT32_C(0x03ff);

	if ((bits & exponent) == exponent)
		return (bits & fraction) != 0 ? IQDB_FAULT_NAN : IQDB_FAULT_INFINITE;
	if (to->floats != NULL)
		memcpy(&to->floats[i], &bits, sizeof(bits));
	else
		to->halves[i] = (IqdbHalf) bits;
	return IQDB_FAULT_NONE;
}

static IqdbStatus
decode(const unsigned char *bytes, size_t length, const Components *to, IqdbVectorFault *fault_out, size_t *dim_out,
	   IqdbError *err)
{
	size_t          component = to->floats != NULL ? sizeof(float) : sizeof(IqdbHalf);
	uint32_t        dim = 0;
	IqdbVectorFault fault = decode_head(bytes, length, component, to->capacity, &dim);

	*dim_out = 0;
	if (fault.kind != IQDB_FAULT_NONE)
		return fail(fault_out, err, fault);
	for (uint32_t i = 0; i < dim; i++)
	{
		size_t              offset = 4 + component * i;
		IqdbVectorFaultKind kind = decode_component(bytes + offset, to, i);

		if (kind != IQDB_FAULT_NONE)
			return fail(fault_out, err, (IqdbVectorFault) {kind, 0, offset, 0});
	}
	if (fault_out != NULL)
		*fault_out = fault;
	*dim_out = dim;
	return IQDB_OK;
}

IqdbStatus
iqdb_vector_decode(const unsigned char *bytes, size_t length, float *values, size_t capacity,
				   IqdbVectorFault *fault_out, size_t *dim_out, IqdbError *err)
{
	return decode(bytes, length, &(Components) {values, NULL, capacity}, fault_out, dim_out, err);
}

IqdbStatus
iqdb_half_vector_decode(const unsigned char *bytes, size_t length, IqdbHalf *halves, size_t capacity,
						IqdbVectorFault *fault_out, size_t *dim_out, IqdbError *err)
{
	return decode(bytes, length, &(Components) {NULL, halves, capacity}, fault_out, dim_out, err);
}
