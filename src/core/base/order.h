/*
 * order.h - floats as whole numbers that order as they do.
 *
 * Minus zero comes just before zero; numbers that are none come before or behind all others, by their sign.
 */
#ifndef IQDB_BASE_ORDER_H
#define IQDB_BASE_ORDER_H

#include <stdint.h>
#include <string.h>

static inline uint32_t
iqdb_order_of_float(float value)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits & UINT32_C(0x80000000) ? ~bits : bits | UINT32_C(0x80000000);
}

static inline float
iqdb_float_of_order(uint32_t order)
{
	float value;

	order = order & UINT32_C(0x80000000) ? order & UINT32_C(0x7fffffff) : ~order;
	memcpy(&value, &order, sizeof(value));
	return value;
}

#endif
