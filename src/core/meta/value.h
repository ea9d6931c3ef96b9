/*
 * value.h - one metadata value: string, integer, float, boolean or null.
 *
 * A value is a view: a string's bytes belong to somebody else (a builder's caller, or the encoded bytes it was read
 * from) and must outlive it. Strings are any bytes; nothing here looks at their encoding.
 *
 * Kinds never mix: 1 and 1.0 are neither equal nor ordered. NaN is not equal to itself and has no order; -0.0 equals
 * 0.0; null equals null. Strings order bytewise, false stands before true.
 *
 * Encoded form, little-endian: kind u8, then
 *   STRING  length u32, bytes
 *   INT     u64, two's complement
 *   FLOAT   u64, IEEE bits (any NaN is allowed)
 *   BOOL    u8, 0 or 1
 *   NULL    nothing
 */
#ifndef IQDB_META_VALUE_H
#define IQDB_META_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The numbers are written to disk: never change one. */
typedef enum IqdbValueKind
{
	IQDB_VALUE_STRING = 0,
	IQDB_VALUE_INT = 1,
	IQDB_VALUE_FLOAT = 2,
	IQDB_VALUE_BOOL = 3,
	IQDB_VALUE_NULL = 4
} IqdbValueKind;

#define IQDB_VALUE_KIND_COUNT 5

typedef struct IqdbValue
{
	IqdbValueKind kind;
	uint32_t      string_length; /* STRING only: bytes */
	union
	{
		const char *string; /* not NUL-terminated; may be NULL when empty */
		int64_t     integer;
		double      real;
		bool        boolean;
	} as;
} IqdbValue;

typedef enum IqdbOrder
{
	IQDB_ORDER_LESS = -1,
	IQDB_ORDER_EQUAL = 0,
	IQDB_ORDER_GREATER = 1,
	IQDB_ORDER_NONE = 2 /* different kinds, or a NaN */
} IqdbOrder;

static inline IqdbValue
iqdb_value_string(const char *bytes, uint32_t length)
{
	IqdbValue value = {.kind = IQDB_VALUE_STRING, .string_length = length, .as.string = bytes};

	return value;
}

static inline IqdbValue
iqdb_value_int(int64_t integer)
{
	IqdbValue value = {.kind = IQDB_VALUE_INT, .as.integer = integer};

	return value;
}

static inline IqdbValue
iqdb_value_float(double real)
{
	IqdbValue value = {.kind = IQDB_VALUE_FLOAT, .as.real = real};

	return value;
}

static inline IqdbValue
iqdb_value_bool(bool boolean)
{
	IqdbValue value = {.kind = IQDB_VALUE_BOOL, .as.boolean = boolean};

	return value;
}

static inline IqdbValue
iqdb_value_null(void)
{
	IqdbValue value = {.kind = IQDB_VALUE_NULL};

	return value;
}

/* IQDB_ORDER_EQUAL exactly when the two are equal in the sense above. */
IqdbOrder iqdb_value_compare(const IqdbValue *a, const IqdbValue *b);

static inline bool
iqdb_value_equal(const IqdbValue *a, const IqdbValue *b)
{
	return iqdb_value_compare(a, b) == IQDB_ORDER_EQUAL;
}

/* Bytes of the encoded form; 0 when the kind is none of ours. */
size_t iqdb_value_encoded_size(const IqdbValue *value);

/* Writes the encoded form (iqdb_value_encoded_size bytes), returns the byte after it. The kind must be one of ours. */
unsigned char *iqdb_value_encode(const IqdbValue *value, unsigned char *target);

#endif
