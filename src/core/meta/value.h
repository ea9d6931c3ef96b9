/*
 * value.h - one metadata value: string, integer, float, boolean or null.
 *
 * The type, and when two are equal, is public (public/iqdb.h); here is how one is written down.
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

#include "core/public/iqdb.h"

/* Bytes of the encoded form; 0 when the kind is none of ours. */
size_t iqdb_value_encoded_size(const IqdbValue *value);

/* Writes the encoded form (iqdb_value_encoded_size bytes), returns the byte after it. The kind must be one of ours. */
unsigned char *iqdb_value_encode(const IqdbValue *value, unsigned char *target);

#endif
