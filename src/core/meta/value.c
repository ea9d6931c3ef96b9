/*
 * value.c - comparison and encoded form of metadata values.
 */
#include "core/meta/value.h"

#include <string.h>

#include "core/meta/meta_private.h"

static IqdbOrder
order_of(int sign)
{
	return sign < 0 ? IQDB_ORDER_LESS : sign > 0 ? IQDB_ORDER_GREATER : IQDB_ORDER_EQUAL;
}

static IqdbOrder
compare_strings(const IqdbValue *a, const IqdbValue *b)
{
	uint32_t common = a->string_length < b->string_length ? a->string_length : b->string_length;
	int      sign = common > 0 ? memcmp(a->as.string, b->as.string, common) : 0;

	if (sign != 0)
		return order_of(sign);
	return order_of((a->string_length > b->string_length) - (a->string_length < b->string_length));
}

IqdbOrder
iqdb_value_compare(const IqdbValue *a, const IqdbValue *b)
{
	if (a->kind != b->kind)
		return IQDB_ORDER_NONE;
	switch (a->kind)
	{
		case IQDB_VALUE_STRING:
			return compare_strings(a, b);
		case IQDB_VALUE_INT:
			return order_of((a->as.integer > b->as.integer) - (a->as.integer < b->as.integer));
		case IQDB_VALUE_FLOAT:
			if (a->as.real != a->as.real || b->as.real != b->as.real)
				return IQDB_ORDER_NONE;
			return order_of((a->as.real > b->as.real) - (a->as.real < b->as.real));
		case IQDB_VALUE_BOOL:
			return order_of((int) a->as.boolean - (int) b->as.boolean);
		case IQDB_VALUE_NULL:
			return IQDB_ORDER_EQUAL;
	}
	return IQDB_ORDER_NONE;
}

size_t
iqdb_value_encoded_size(const IqdbValue *value)
{
	switch (value->kind)
	{
		case IQDB_VALUE_STRING:
			return 1 + 4 + (size_t) value->string_length;
		case IQDB_VALUE_INT:
		case IQDB_VALUE_FLOAT:
			return 1 + 8;
		case IQDB_VALUE_BOOL:
			return 1 + 1;
		case IQDB_VALUE_NULL:
			return 1;
	}
	return 0;
}

unsigned char *
iqdb_value_encode(const IqdbValue *value, unsigned char *target)
{
	uint64_t bits;

	*target++ = (unsigned char) value->kind;
	switch (value->kind)
	{
		case IQDB_VALUE_STRING:
			iqdb_store_u32(target, value->string_length);
			if (value->string_length > 0)
				memcpy(target + 4, value->as.string, value->string_length);
			return target + 4 + value->string_length;
		case IQDB_VALUE_INT:
			iqdb_store_u64(target, (uint64_t) value->as.integer);
			return target + 8;
		case IQDB_VALUE_FLOAT:
			memcpy(&bits, &value->as.real, sizeof(bits));
			iqdb_store_u64(target, bits);
			return target + 8;
		case IQDB_VALUE_BOOL:
			*target = value->as.boolean ? 1 : 0;
			return target + 1;
		case IQDB_VALUE_NULL:
			break;
	}
	return target;
}

bool
iqdbi_read_value(IqdbiReader *reader, IqdbValue *value_out)
{
	IqdbiReader ahead = *reader;
	IqdbValue   value = {0};
	uint8_t     kind;
	uint64_t    bits;
	size_t      length;

	if (!iqdbi_read_u8(&ahead, &kind))
		return false;
	switch (kind)
	{
		case IQDB_VALUE_STRING:
			if (!iqdbi_read_text(&ahead, &value.as.string, &length))
				return false;
			value.string_length = (uint32_t) length;
			break;
		case IQDB_VALUE_INT:
		case IQDB_VALUE_FLOAT:
			if (iqdbi_reader_left(&ahead) < 8)
				return false;
			bits = iqdb_load_u64(ahead.at);
			ahead.at += 8;
			/* both members lie at the same place; integers are two's complement on every machine we compile for */
			memcpy(&value.as, &bits, sizeof(bits));
			break;
		case IQDB_VALUE_BOOL:
			if (iqdbi_reader_left(&ahead) < 1 || *ahead.at > 1)
				return false;
			value.as.boolean = *ahead.at++ == 1;
			break;
		case IQDB_VALUE_NULL:
			break;
		default:
			return false;
	}
	value.kind = (IqdbValueKind) kind;
	*value_out = value;
	*reader = ahead;
	return true;
}
