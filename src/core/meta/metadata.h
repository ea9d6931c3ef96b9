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
 * Look-up and iteration never read outside the given bytes, whatever these hold; on bytes that did not pass
 * iqdb_metadata_validate their answers mean nothing.
 */
#ifndef IQDB_META_METADATA_H
#define IQDB_META_METADATA_H

#include "core/base/mem.h"
#include "core/base/status.h"
#include "core/meta/value.h"

/* An encoded map is never longer. Far below what one log frame may hold. */
#define IQDB_METADATA_BYTES_MAX ((size_t) 64 * 1024 * 1024)

typedef struct IqdbMetadataEntry
{
	const char *key; /* not NUL-terminated */
	size_t      key_length;
	IqdbValue   value;
} IqdbMetadataEntry;

/* ---- reading ---- */

/*
 * Checks bytes of unknown origin completely. length 0 is valid: no metadata. Errors: IQDB_ERR_CORRUPT with the offset
 * in these bytes, IQDB_ERR_LIMIT (longer than IQDB_METADATA_BYTES_MAX).
 */
IqdbStatus iqdb_metadata_validate(const unsigned char *bytes, size_t length, IqdbError *err) IQDB_MUST_CHECK;

/* Number of entries. */
uint32_t iqdb_metadata_count(const unsigned char *bytes, size_t length);

/* false when the key is absent, *value_out is then untouched. A string value points into the bytes. */
bool iqdb_metadata_lookup(const unsigned char *bytes, size_t length, const char *key, size_t key_length,
						  IqdbValue *value_out);

typedef struct IqdbMetadataCursor
{
	const unsigned char *at;
	const unsigned char *end;
	uint32_t             left;
} IqdbMetadataCursor;

/* Iteration in ascending key order; pointers lead into the bytes. */
IqdbMetadataCursor iqdb_metadata_first(const unsigned char *bytes, size_t length);
bool iqdb_metadata_next(IqdbMetadataCursor *cursor, IqdbMetadataEntry *entry_out);

/* ---- building ---- */

/* Copies what it is given. Zero after init is all there is to it; nothing is allocated before the first put. */
typedef struct IqdbMetadataBuilder
{
	const IqdbAllocator *allocator;
	unsigned char       *entries; /* encoded entries in the order they came */
	size_t               entries_length;
	size_t               entries_allocated;
	size_t              *offsets; /* of each entry */
	size_t               count;
	size_t               offsets_allocated;
} IqdbMetadataBuilder;

/* The allocator must outlive the builder. */
void iqdb_metadata_builder_init(IqdbMetadataBuilder *builder, const IqdbAllocator *allocator);
void iqdb_metadata_builder_free(IqdbMetadataBuilder *builder);

/*
 * Adds an entry; of several with one key the last wins. Errors: IQDB_ERR_NOMEM, IQDB_ERR_LIMIT (all entries together
 * pass IQDB_METADATA_BYTES_MAX), IQDB_ERR_CONFIG (unknown kind of value). Nothing has changed then.
 */
IqdbStatus iqdb_metadata_put(IqdbMetadataBuilder *builder, const char *key, size_t key_length, const IqdbValue *value,
							 IqdbError *err) IQDB_MUST_CHECK;

/*
 * The encoded map, in memory of the builder's allocator that the caller frees (size *length_out). The builder keeps its
 * entries. Errors: IQDB_ERR_NOMEM.
 */
IqdbStatus iqdb_metadata_finish(IqdbMetadataBuilder *builder, unsigned char **bytes_out, size_t *length_out,
								IqdbError *err) IQDB_MUST_CHECK;

#endif
