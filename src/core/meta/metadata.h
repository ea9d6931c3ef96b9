/*
 * metadata.h - a row's metadata: an immutable map from string to value, kept as one flat byte string.
 *
 * The encoded form is the map. It lies as it is in the arena, in log frames and in snapshots, and is read in place: a
 * look-up allocates nothing. A row without metadata has no bytes (NULL, 0); an empty map has four. To filters both are
 * the same.
 *
 * Encoded form, little-endian:
 *   count u32, then count times: key length u32, key bytes, value (value.h)
 * Keys are any bytes, the empty key included; they ascend strictly in bytewise order. The last entry ends the string.
 *
 * All that is to be done with it is public: public/iqdb.h.
 */
#ifndef IQDB_META_METADATA_H
#define IQDB_META_METADATA_H

#include "core/base/mem.h"
#include "core/base/status.h"
#include "core/meta/value.h"

#endif
