/*
 * fuzz_filter.c - filters, metadata and ids from bytes that lie.
 *
 * Input: length of the filter (u16, little-endian), the filter, then metadata. Beside memory errors, these must hold:
 * a filter that was accepted encodes to what it was made of; NOT of it is true exactly where it is false; metadata that was
 * accepted is what a builder makes of its entries, and each of its keys is found. A breach aborts.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/meta/filter.h"
#include "core/meta/id.h"
#include "core/meta/metadata.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(int holds)
{
	if (!holds)
		abort();
}

/* The opposite filter, or NULL when it would be nested too deep. */
static IqdbFilter *
opposite_of(const unsigned char *bytes, size_t length)
{
	IqdbFilter    *filter;
	IqdbStatus     status;
	unsigned char *longer = malloc(length + 1);

	require(longer != NULL);
	longer[0] = IQDB_FILTER_NOT;
	memcpy(longer + 1, bytes, length);
	status = iqdb_filter_decode(&iqdb_allocator_libc, longer, length + 1, &filter, NULL);
	require(status == IQDB_OK || status == IQDB_ERR_FILTER);
	free(longer);
	return filter;
}

static void
try_filter(const unsigned char *bytes, size_t length, const unsigned char *metadata, size_t metadata_length)
{
	IqdbFilter          *filter;
	IqdbFilter          *opposite;
	const unsigned char *encoded;
	size_t               encoded_length;
	bool                 matches;

	if (iqdb_filter_decode(&iqdb_allocator_libc, bytes, length, &filter, NULL) != IQDB_OK)
	{
		require(filter == NULL);
		return;
	}
	encoded = iqdb_filter_encoded(filter, &encoded_length);
	require(encoded_length == length && memcmp(encoded, bytes, length) == 0);
	(void) iqdb_filter_hash(filter);
	matches = iqdb_filter_matches(filter, metadata, metadata_length);
	opposite = opposite_of(bytes, length);
	if (opposite != NULL)
	{
		require(iqdb_filter_matches(opposite, metadata, metadata_length) == !matches);
		require(!iqdb_filter_equal(filter, opposite));
		iqdb_filter_free(&iqdb_allocator_libc, opposite);
	}
	iqdb_filter_free(&iqdb_allocator_libc, filter);
}

static void
try_metadata(const unsigned char *bytes, size_t length)
{
	bool                valid = iqdb_metadata_validate(bytes, length, NULL) == IQDB_OK;
	IqdbMetadataCursor  cursor = iqdb_metadata_first(bytes, length);
	IqdbMetadataBuilder builder;
	IqdbMetadataEntry   entry;
	unsigned char      *again;
	size_t              again_length;
	uint32_t            count = 0;

	iqdb_metadata_builder_init(&builder, &iqdb_allocator_libc);
	while (iqdb_metadata_next(&cursor, &entry))
	{
		IqdbValue found;

		if (iqdb_metadata_lookup(bytes, length, entry.key, entry.key_length, &found))
			require(!valid || found.kind == entry.value.kind);
		else
			require(!valid);
		require(iqdb_metadata_put(&builder, entry.key, entry.key_length, &entry.value, NULL) == IQDB_OK);
		count++;
	}
	require(iqdb_metadata_finish(&builder, &again, &again_length, NULL) == IQDB_OK);
	/* whatever was read, what is built of it is well formed */
	require(iqdb_metadata_validate(again, again_length, NULL) == IQDB_OK);
	if (valid && length > 0)
	{
		require(count == iqdb_metadata_count(bytes, length));
		require(again_length == length && memcmp(again, bytes, length) == 0);
	}
	iqdb_free(&iqdb_allocator_libc, again, again_length);
	iqdb_metadata_builder_free(&builder);
}

static void
try_id(const unsigned char *bytes, size_t length)
{
	unsigned char again[64];
	char          text[16];
	IqdbId        id;
	size_t        used;

	if (iqdb_id_decode(bytes, length, &id, &used, NULL) != IQDB_OK)
		return;
	require(used <= length && used == iqdb_id_encoded_size(id));
	require(iqdb_id_check(id, NULL) == IQDB_OK && iqdb_id_equal(id, id));
	(void) iqdb_id_hash(id);
	(void) iqdb_id_text(id, text, sizeof(text));
	if (used <= sizeof(again))
		require(iqdb_id_encode(id, again) == again + used && memcmp(again, bytes, used) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t filter_length;

	if (size < 2)
		return 0;
	filter_length = (size_t) data[0] | (size_t) data[1] << 8;
	data += 2;
	size -= 2;
	if (filter_length > size)
		filter_length = size;
	try_metadata(data + filter_length, size - filter_length);
	try_filter(data, filter_length, data + filter_length, size - filter_length);
	try_id(data, size);
	return 0;
}
