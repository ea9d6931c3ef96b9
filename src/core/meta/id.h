/*
 * id.h - what names a row: an unsigned 64-bit number, or a non-empty string of any bytes.
 *
 * An id is a view: a byte string belongs to somebody else and must outlive it. The two kinds are never equal to each
 * other; ids have no order.
 *
 * Encoded form, little-endian: kind u8, then u64 (U64), or length u32 >= 1 and the bytes (BYTES).
 */
#ifndef IQDB_META_ID_H
#define IQDB_META_ID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/status.h"

/* The numbers are written to disk: never change one. */
typedef enum IqdbIdKind
{
	IQDB_ID_U64 = 0,
	IQDB_ID_BYTES = 1
} IqdbIdKind;

typedef struct IqdbId
{
	IqdbIdKind           kind;
	uint32_t             length; /* BYTES only */
	uint64_t             number; /* U64 only */
	const unsigned char *bytes;  /* BYTES only */
} IqdbId;

static inline IqdbId
iqdb_id_u64(uint64_t number)
{
	IqdbId id = {.kind = IQDB_ID_U64, .number = number};

	return id;
}

static inline IqdbId
iqdb_id_bytes(const void *bytes, uint32_t length)
{
	IqdbId id = {.kind = IQDB_ID_BYTES, .length = length, .bytes = bytes};

	return id;
}

/* IQDB_ERR_CONFIG when the byte string is empty or the kind is none of ours. */
IqdbStatus iqdb_id_check(IqdbId id, IqdbError *err) IQDB_MUST_CHECK;

bool iqdb_id_equal(IqdbId a, IqdbId b);

/* Equal ids have equal hashes on every machine. Not keyed: a table whose ids an enemy may choose needs another one. */
uint64_t iqdb_id_hash(IqdbId id);

/*
 * Text form: decimal, or two lower-case hex digits per byte without prefix. Writes at most size bytes, NUL included
 * (nothing when size is 0), and returns the length of the whole text without NUL.
 */
size_t iqdb_id_text(IqdbId id, char *text, size_t size);

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
