/*
 * metadata.c - building, checking and reading encoded metadata.
 */
#include "core/meta/metadata.h"

#include <string.h>

#include "core/meta/meta_private.h"

#define HEAD_SIZE 4

/* < 0, 0, > 0 as memcmp, a proper prefix standing first */
static int
compare_keys(const char *a, size_t a_length, const char *b, size_t b_length)
{
	size_t common = a_length < b_length ? a_length : b_length;
	int    sign = common > 0 ? memcmp(a, b, common) : 0;

	if (sign != 0)
		return sign;
	return (a_length > b_length) - (a_length < b_length);
}

static bool
read_entry(IqdbiReader *reader, IqdbMetadataEntry *entry_out)
{
	return iqdbi_read_text(reader, &entry_out->key, &entry_out->key_length) &&
		iqdbi_read_value(reader, &entry_out->value);
}

/* ---- reading ---- */

IqdbStatus
iqdb_metadata_validate(const unsigned char *bytes, size_t length, IqdbError *err)
{
	IqdbiReader       reader = iqdbi_reader(bytes, length);
	IqdbMetadataEntry previous = {0};
	uint32_t          count;

	if (length == 0)
		return IQDB_OK;
	if (length > IQDB_METADATA_BYTES_MAX)
		return iqdb_fail(err, IQDB_ERR_LIMIT, "metadata has %zu bytes, at most %zu are allowed", length,
						 IQDB_METADATA_BYTES_MAX);
	if (!iqdbi_read_u32(&reader, &count))
		return iqdb_fail_corrupt(err, "", 0, "metadata is cut short");
	for (uint32_t i = 0; i < count; i++)
	{
		IqdbMetadataEntry entry;
		uint64_t          offset = iqdbi_reader_offset(&reader);

		if (!read_entry(&reader, &entry))
			return iqdb_fail_corrupt(err, "", offset, "metadata entry %u is cut short or of unknown kind",
									 (unsigned) i);
		if (i > 0 && compare_keys(previous.key, previous.key_length, entry.key, entry.key_length) >= 0)
			return iqdb_fail_corrupt(err, "", offset, "metadata keys do not ascend at entry %u", (unsigned) i);
		previous = entry;
	}
	if (iqdbi_reader_left(&reader) != 0)
		return iqdb_fail_corrupt(err, "", iqdbi_reader_offset(&reader), "bytes follow the last metadata entry");
	return IQDB_OK;
}

IqdbMetadataCursor
iqdb_metadata_first(const unsigned char *bytes, size_t length)
{
	IqdbiReader        reader = iqdbi_reader(bytes, length);
	IqdbMetadataCursor cursor = {bytes, bytes, 0};

	if (iqdbi_read_u32(&reader, &cursor.left))
	{
		cursor.at = reader.at;
		cursor.end = reader.end;
	}
	return cursor;
}

bool
iqdb_metadata_next(IqdbMetadataCursor *cursor, IqdbMetadataEntry *entry_out)
{
	IqdbiReader reader = {cursor->at, cursor->at, cursor->end};

	if (cursor->left == 0)
		return false;
	if (!read_entry(&reader, entry_out))
	{
		cursor->left = 0;
		return false;
	}
	cursor->left--;
	cursor->at = reader.at;
	return true;
}

uint32_t
iqdb_metadata_count(const unsigned char *bytes, size_t length)
{
	return iqdb_metadata_first(bytes, length).left;
}

/* Moves over a value without looking at what it is worth. */
static inline bool
skip_value(IqdbiReader *reader)
{
	static const uint8_t fixed[IQDB_VALUE_KIND_COUNT] = {
		[IQDB_VALUE_STRING] = 1 + 4, [IQDB_VALUE_INT] = 1 + 8, [IQDB_VALUE_FLOAT] = 1 + 8,
		[IQDB_VALUE_BOOL] = 1 + 1,   [IQDB_VALUE_NULL] = 1,
	};
	size_t  left = iqdbi_reader_left(reader);
	size_t  size;
	uint8_t kind;

	if (left == 0 || (kind = *reader->at) >= IQDB_VALUE_KIND_COUNT || left < fixed[kind])
		return false;
	size = fixed[kind];
	if (kind == IQDB_VALUE_STRING)
	{
		uint32_t length = iqdb_load_u32(reader->at + 1);

		if (length > left - size)
			return false;
		size += length;
	}
	reader->at += size;
	return true;
}

/* Runs once per leaf of a filter and row looked at: most keys are told apart by length and first byte. */
bool
iqdb_metadata_lookup(const unsigned char *bytes, size_t length, const char *key, size_t key_length,
					 IqdbValue *value_out)
{
	IqdbiReader   reader = iqdbi_reader(bytes, length);
	unsigned char first = key_length > 0 ? (unsigned char) key[0] : 0;
	uint32_t      left;

	if (!iqdbi_read_u32(&reader, &left))
		return false;
	for (; left > 0; left--)
	{
		const char *at;
		size_t      at_length;

		if (!iqdbi_read_text(&reader, &at, &at_length))
			return false;
		if (at_length == key_length && (key_length == 0 || memcmp(at, key, key_length) == 0))
			return iqdbi_read_value(&reader, value_out);
		/* keys ascend: it cannot come any more */
		if (at_length > 0 && (unsigned char) at[0] > first)
			return false;
		if (!skip_value(&reader))
			return false;
	}
	return false;
}

/* ---- building ---- */

void
iqdb_metadata_builder_init(IqdbMetadataBuilder *builder, const IqdbAllocator *allocator)
{
	memset(builder, 0, sizeof(*builder));
	builder->allocator = allocator;
}

void
iqdb_metadata_builder_free(IqdbMetadataBuilder *builder)
{
	iqdb_free(builder->allocator, builder->entries, builder->entries_allocated);
	iqdb_free(builder->allocator, builder->offsets, builder->offsets_allocated * sizeof(*builder->offsets));
	iqdb_metadata_builder_init(builder, builder->allocator);
}

static IqdbStatus
extend_entries(IqdbMetadataBuilder *builder, size_t size, unsigned char **at_out)
{
	IqdbiBytes bytes = {builder->allocator, builder->entries, builder->entries_length, builder->entries_allocated};
	IqdbStatus status = iqdbi_bytes_extend(&bytes, size, at_out);

	builder->entries = bytes.data;
	builder->entries_length = bytes.length;
	builder->entries_allocated = bytes.allocated;
	return status;
}

IqdbStatus
iqdb_metadata_put(IqdbMetadataBuilder *builder, const char *key, size_t key_length, const IqdbValue *value,
				  IqdbError *err)
{
	size_t         value_size = iqdb_value_encoded_size(value);
	size_t         left = IQDB_METADATA_BYTES_MAX - HEAD_SIZE - builder->entries_length;
	size_t        *offsets;
	unsigned char *at;

	if (value_size == 0)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "metadata value has an unknown kind");
	if (left < 4 || key_length > left - 4 || value_size > left - 4 - key_length)
		return iqdb_fail(err, IQDB_ERR_LIMIT, "metadata would pass %zu bytes", IQDB_METADATA_BYTES_MAX);
	offsets = iqdbi_array_room(builder->allocator, builder->offsets, builder->count, &builder->offsets_allocated,
							   sizeof(*offsets));
	if (offsets == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for metadata");
	builder->offsets = offsets;
	offsets[builder->count] = builder->entries_length;
	if (extend_entries(builder, 4 + key_length + value_size, &at) != IQDB_OK)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for metadata");

	iqdb_store_u32(at, (uint32_t) key_length);
	if (key_length > 0)
		memcpy(at + 4, key, key_length);
	iqdb_value_encode(value, at + 4 + key_length);
	builder->count++;
	return IQDB_OK;
}

/* Key of the entry at an offset; the bytes are our own and well formed. */
static const char *
key_at(const unsigned char *entries, size_t offset, size_t *length_out)
{
	*length_out = iqdb_load_u32(entries + offset);
	return (const char *) entries + offset + 4;
}

static bool
same_key(const unsigned char *entries, size_t a, size_t b)
{
	size_t      a_length;
	size_t      b_length;
	const char *a_key = key_at(entries, a, &a_length);
	const char *b_key = key_at(entries, b, &b_length);

	return compare_keys(a_key, a_length, b_key, b_length) == 0;
}

/* By key, then by arrival. */
static bool
entry_before(const void *a, const void *b, const void *arg)
{
	const unsigned char *entries = arg;
	size_t               a_offset;
	size_t               b_offset;
	size_t               a_length;
	size_t               b_length;
	const char          *a_key;
	const char          *b_key;
	int                  sign;

	memcpy(&a_offset, a, sizeof(a_offset));
	memcpy(&b_offset, b, sizeof(b_offset));
	a_key = key_at(entries, a_offset, &a_length);
	b_key = key_at(entries, b_offset, &b_length);
	sign = compare_keys(a_key, a_length, b_key, b_length);
	return sign != 0 ? sign < 0 : a_offset < b_offset;
}

static size_t
entry_size(const unsigned char *entries, size_t entries_length, size_t offset)
{
	IqdbiReader       reader = iqdbi_reader(entries + offset, entries_length - offset);
	IqdbMetadataEntry entry;

	(void) read_entry(&reader, &entry);
	return (size_t) iqdbi_reader_offset(&reader);
}

/* Appends the winning entries to target in key order (NULL: only counts). */
static uint32_t
write_winners(const IqdbMetadataBuilder *builder, unsigned char *target, size_t *length_out)
{
	uint32_t winners = 0;
	size_t   length = 0;

	for (size_t i = 0; i < builder->count; i++)
	{
		size_t offset = builder->offsets[i];
		size_t size;

		/* of equal keys the last one came last */
		if (i + 1 < builder->count && same_key(builder->entries, offset, builder->offsets[i + 1]))
			continue;
		size = entry_size(builder->entries, builder->entries_length, offset);
		if (target != NULL)
			memcpy(target + length, builder->entries + offset, size);
		length += size;
		winners++;
	}
	*length_out = length;
	return winners;
}

IqdbStatus
iqdb_metadata_finish(IqdbMetadataBuilder *builder, unsigned char **bytes_out, size_t *length_out, IqdbError *err)
{
	size_t         length;
	uint32_t       winners;
	unsigned char *bytes;

	*bytes_out = NULL;
	*length_out = 0;
	/* sorting keeps each offset's meaning: entries may still be put afterwards */
	iqdbi_sort(builder->offsets, builder->count, sizeof(*builder->offsets), entry_before, builder->entries);
	winners = write_winners(builder, NULL, &length);
	bytes = iqdb_alloc(builder->allocator, HEAD_SIZE + length);
	if (bytes == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for metadata");
	iqdb_store_u32(bytes, winners);
	(void) write_winners(builder, bytes + HEAD_SIZE, &length);
	*bytes_out = bytes;
	*length_out = HEAD_SIZE + length;
	return IQDB_OK;
}
