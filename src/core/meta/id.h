/*
 * id.h - what names a row: an unsigned 64-bit number, or a non-empty string of any bytes.
 *
 * The type is public (public/iqdb.h); here is what the library does with it inside.
 *
 * Encoded form, little-endian: kind u8, then u64 (U64), or length u32 >= 1 and the bytes (BYTES).
 */
#ifndef IQDB_META_ID_H
#define IQDB_META_ID_H

#include "core/base/status.h"

/* IQDB_ERR_CONFIG when the byte string is empty or the kind is none of ours. */
IqdbStatus iqdb_id_check(IqdbId id, IqdbError *err) IQDB_MUST_CHECK;

/* Equal ids have equal hashes on every machine. Not keyed: a table whose ids an enemy may choose needs another one. */
uint64_t iqdb_id_hash(IqdbId id);

/* Bytes of the encoded form. */
size_t iqdb_id_encoded_size(IqdbId id);

/* Writes the encoded form and returns the byte after it. The id must have passed iqdb_id_check. */
unsigned char *iqdb_id_encode(IqdbId id, unsigned char *target);

/*
 * Reads one encoded id from bytes that may lie; a byte string then points into them. *used_out = bytes read. Errors:
 * IQDB_ERR_CORRUPT.
 */
IqdbStatus iqdb_id_decode(const unsigned char *bytes, size_t length, IqdbId *id_out, size_t *used_out,
						  IqdbError *err) IQDB_MUST_CHECK;

#endif
