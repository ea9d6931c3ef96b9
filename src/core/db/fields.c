/*
 * fields.c - lists of fields, and the columns of a row from its metadata; see fields.h.
 *
 * Filters are in fields_filter.c.
 */
#include "core/db/fields.h"

#include <string.h>

#include "core/base/endian.h"
#include "core/meta/metadata.h"

#define NAME_MAX_LENGTH 255u

/* Bytes of a field beside its name. */
#define FIELD_HEAD 2u

#define HASH_FACTOR UINT64_C(0x9fb21c651e98df25)

/* ---- lists ---- */

static uint32_t
column_of(IqdbValueKind kind)
{
	switch (kind)
	{
		case IQDB_VALUE_BOOL:
			return IQDB_COLUMN_INT1;
		case IQDB_VALUE_INT:
		case IQDB_VALUE_FLOAT:
			return IQDB_COLUMN_INT8;
		case IQDB_VALUE_STRING:
			return IQDB_COLUMN_HASH;
		case IQDB_VALUE_NULL:
			break;
	}
	return 0;
}

/* As keys of metadata are ordered, and strings among values. */
static IqdbOrder
compare_names(const char *a, size_t a_length, const char *b, size_t b_length)
{
	IqdbValue left = iqdb_value_string(a, (uint32_t) a_length);
	IqdbValue right = iqdb_value_string(b, (uint32_t) b_length);

	return iqdb_value_compare(&left, &right);
}

static IqdbStatus
check_field(const IqdbField *field, size_t number, IqdbError *err)
{
	if (field->name_length > NAME_MAX_LENGTH)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "the name of field %zu has %zu bytes, at most %u are allowed", number + 1,
						 field->name_length, NAME_MAX_LENGTH);
	if (column_of(field->kind) == 0)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "field \"%.*s\" is of kind %d, only string, int, float and bool have columns",
						 (int) field->name_length, field->name_length > 0 ? field->name : "", (int) field->kind);
	return IQDB_OK;
}

/* The field whose name comes next behind this one in the order of names; NULL: the first of all. count: there is none. */
static size_t
next_by_name(const IqdbField *fields, size_t count, const IqdbField *before)
{
	size_t next = count;

	for (size_t i = 0; i < count; i++)
	{
		if (before != NULL && compare_names(before->name, before->name_length, fields[i].name, fields[i].name_length) !=
								  IQDB_ORDER_LESS)
			continue;
		if (next == count || compare_names(fields[i].name, fields[i].name_length, fields[next].name,
										   fields[next].name_length) == IQDB_ORDER_LESS)
			next = i;
	}
	return next;
}

static void
add_field(IqdbFields *fields, const IqdbField *field)
{
	unsigned char *at = fields->bytes + fields->length;

	fields->at[fields->count++] = (uint16_t) fields->length;
	at[0] = (unsigned char) field->kind;
	at[1] = (unsigned char) field->name_length;
	if (field->name_length > 0)
		memcpy(at + FIELD_HEAD, field->name, field->name_length);
	fields->length += FIELD_HEAD + (uint32_t) field->name_length;
}

IqdbStatus
iqdb_fields_make(const IqdbField *fields, size_t count, IqdbFields *fields_out, IqdbError *err)
{
	size_t           bytes = 0;
	const IqdbField *last = NULL;

	memset(fields_out, 0, sizeof(*fields_out));
	if (count == 0)
		return IQDB_OK;
	if (count > IQDB_FIELDS_MAX)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "%zu fields are too many, at most %d are allowed", count, IQDB_FIELDS_MAX);
	for (size_t i = 0; i < count; i++)
	{
		IQDB_TRY(check_field(&fields[i], i, err));
		bytes += FIELD_HEAD + fields[i].name_length;
	}
	if (bytes > IQDB_FIELDS_BYTES_MAX)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "names of fields have %zu bytes, with two for each, at most %d are allowed",
						 bytes, IQDB_FIELDS_BYTES_MAX);
	fields_out->bytes[0] = (unsigned char) count;
	fields_out->length = 1;
	for (size_t i = 0; i < count; i++)
	{
		size_t next = next_by_name(fields, count, last);

		if (next == count)
		{
			memset(fields_out, 0, sizeof(*fields_out));
			return iqdb_fail(err, IQDB_ERR_CONFIG, "a field is named twice");
		}
		last = &fields[next];
		add_field(fields_out, last);
	}
	return IQDB_OK;
}

bool
iqdb_fields_decode(const unsigned char *bytes, size_t length, IqdbFields *fields_out)
{
	size_t at = 1;

	memset(fields_out, 0, sizeof(*fields_out));
	if (length == 0)
		return true;
	if (length > sizeof(fields_out->bytes) || bytes[0] == 0 || bytes[0] > IQDB_FIELDS_MAX)
		return false;
	memcpy(fields_out->bytes, bytes, length);
	fields_out->length = (uint32_t) length;
	for (uint32_t i = 0; i < bytes[0]; i++)
	{
		IqdbField field;
		IqdbField before;

		if (length - at < FIELD_HEAD || length - at - FIELD_HEAD < bytes[at + 1])
			return false;
		fields_out->at[fields_out->count++] = (uint16_t) at;
		at += FIELD_HEAD + bytes[at + 1];
		field = iqdb_fields_get(fields_out, i);
		if (column_of(field.kind) == 0)
			return false;
		if (i == 0)
			continue;
		before = iqdb_fields_get(fields_out, i - 1);
		if (compare_names(before.name, before.name_length, field.name, field.name_length) != IQDB_ORDER_LESS)
			return false;
	}
	return at == length;
}

bool
iqdb_fields_equal(const IqdbFields *a, const IqdbFields *b)
{
	return a->length == b->length && memcmp(a->bytes, b->bytes, a->length) == 0;
}

IqdbField
iqdb_fields_get(const IqdbFields *fields, uint32_t number)
{
	const unsigned char *at = fields->bytes + fields->at[number];

	return (IqdbField){.name = (const char *) at + FIELD_HEAD, .name_length = at[1], .kind = (IqdbValueKind) at[0]};
}

uint32_t
iqdb_fields_find(const IqdbFields *fields, const char *name, size_t name_length)
{
	uint32_t i = 0;

	for (; i < fields->count; i++)
	{
		IqdbField field = iqdb_fields_get(fields, i);

		if (field.name_length == name_length && (name_length == 0 || memcmp(field.name, name, name_length) == 0))
			break;
	}
	return i;
}

void
iqdb_fields_set_columns(const IqdbFields *fields, IqdbIndexOptions *options)
{
	memset(options->columns, 0, sizeof(options->columns));
	options->column_count = (uint8_t) fields->count;
	for (uint32_t i = 0; i < fields->count; i++)
		options->columns[i] = (uint8_t) column_of(iqdb_fields_get(fields, i).kind);
}

/* ---- values ---- */

/* Negative numbers have their bits turned round, so that those of greater size come first. */
static int64_t
ordered_bits(double real)
{
	int64_t bits;

	if (real != real)
		return INT64_MAX;
	if (real == 0.0)
		return 0;
	memcpy(&bits, &real, sizeof(bits));
	return bits >= 0 ? bits : bits ^ INT64_MAX;
}

/* Words of eight bytes, little-endian, the last one filled up with zeros; each step can be undone, so short strings differ. */
static int64_t
hash_string(const char *bytes, size_t length)
{
	uint64_t hash = (uint64_t) length * HASH_FACTOR;

	for (size_t at = 0; at < length; at += 8)
	{
		unsigned char word[8] = {0};

		memcpy(word, bytes + at, length - at < 8 ? length - at : 8);
		hash = (hash ^ iqdb_load_u64(word)) * HASH_FACTOR;
		hash ^= hash >> 32;
	}
	return (int64_t) hash;
}

int64_t
iqdb_field_value(const IqdbValue *value)
{
	switch (value->kind)
	{
		case IQDB_VALUE_BOOL:
			return value->as.boolean ? 1 : 0;
		case IQDB_VALUE_INT:
			return value->as.integer;
		case IQDB_VALUE_FLOAT:
			return ordered_bits(value->as.real);
		case IQDB_VALUE_STRING:
			return hash_string(value->as.string, value->string_length);
		case IQDB_VALUE_NULL:
			break;
	}
	return 0;
}

/* Fields and keys are in the same order, so both lists are walked along once. */
void
iqdb_fields_read(const IqdbFields *fields, const unsigned char *metadata, size_t metadata_length,
				 IqdbColumnValues *values_out)
{
	IqdbMetadataCursor cursor = iqdb_metadata_first(metadata, metadata_length);
	IqdbMetadataEntry  entry;
	bool               more = iqdb_metadata_next(&cursor, &entry);

	values_out->nulls = (uint32_t) ((UINT64_C(1) << fields->count) - 1);
	for (uint32_t i = 0; i < fields->count; i++)
	{
		IqdbField field = iqdb_fields_get(fields, i);
		IqdbOrder order = IQDB_ORDER_GREATER;

		values_out->values[i] = 0;
		while (more && (order = compare_names(entry.key, entry.key_length, field.name, field.name_length)) ==
						   IQDB_ORDER_LESS)
			more = iqdb_metadata_next(&cursor, &entry);
		if (!more || order != IQDB_ORDER_EQUAL || entry.value.kind != field.kind)
			continue;
		values_out->values[i] = iqdb_field_value(&entry.value);
		values_out->nulls &= ~(UINT32_C(1) << i);
	}
}
