/*
 * json_write.c - rows and results as JSON. The forms are described in public/iqdb.h.
 *
 * A text is made twice: first without memory, to know its length, then into exactly so many bytes.
 */
#include "core/db/json_private.h"

#include <math.h>
#include <string.h>

#include "core/vec/decimal.h"
#include "core/vec/element.h"
#include "core/vec/half.h"

typedef struct Writer
{
	char      *text;   /* NULL: only count */
	size_t     length;
	IqdbError *err;
} Writer;

static void
put(Writer *writer, const char *bytes, size_t count)
{
	if (writer->text != NULL)
		memcpy(writer->text + writer->length, bytes, count);
	writer->length += count;
}

static void
put_text(Writer *writer, const char *text)
{
	put(writer, text, strlen(text));
}

static bool
is_utf8(const char *bytes, size_t length)
{
	const unsigned char *p = (const unsigned char *) bytes;
	size_t               used;

	for (size_t at = 0; at < length; at += used)
	{
		used = iqdbi_utf8_length(p + at, p + length);
		if (used == 0)
			return false;
	}
	return true;
}

/* The string must be UTF-8. */
static void
put_string(Writer *writer, const char *bytes, size_t length)
{
	static const char hex[] = "0123456789abcdef";

	put_text(writer, "\"");
	for (size_t i = 0; i < length; i++)
	{
		unsigned char c = (unsigned char) bytes[i];
		const char    escaped[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};

		if (c == '"' || c == '\\')
			put_text(writer, "\\");
		if (c < 0x20)
			put(writer, escaped, sizeof(escaped));
		else
			put(writer, bytes + i, 1);
	}
	put_text(writer, "\"");
}

static void
put_integer(Writer *writer, bool negative, uint64_t size)
{
	char  digits[21];
	char *at = digits + sizeof(digits);

	do
		*--at = (char) ('0' + size % 10);
	while ((size /= 10) != 0);
	if (negative)
		*--at = '-';
	put(writer, at, (size_t) (digits + sizeof(digits) - at));
}

static void
put_float(Writer *writer, float value)
{
	char text[IQDB_DECIMAL_TEXT_MAX];

	put(writer, text, iqdb_float_text(value, text));
}

static void
put_id(Writer *writer, IqdbId id)
{
	static const char hex[] = "0123456789abcdef";

	put_text(writer, "{\"id\":");
	if (id.kind == IQDB_ID_U64)
		put_integer(writer, false, id.number);
	else if (is_utf8((const char *) id.bytes, id.length))
		put_string(writer, (const char *) id.bytes, id.length);
	else
	{
		put_text(writer, "{\"bytes\":\"");
		for (uint32_t i = 0; i < id.length; i++)
			put(writer, (const char[]) {hex[id.bytes[i] >> 4], hex[id.bytes[i] & 15]}, 2);
		put_text(writer, "\"}");
	}
}

static IqdbStatus
put_value(Writer *writer, const IqdbValue *value)
{
	char text[IQDB_DECIMAL_TEXT_MAX];

	switch (value->kind)
	{
		case IQDB_VALUE_STRING:
			if (!is_utf8(value->as.string, value->string_length))
				return iqdb_fail(writer->err, IQDB_ERR_UNSUPPORTED, "a string of the metadata is not UTF-8");
			put_string(writer, value->as.string, value->string_length);
			break;
		case IQDB_VALUE_INT:
			put_integer(writer, value->as.integer < 0,
						value->as.integer < 0 ? -(uint64_t) value->as.integer : (uint64_t) value->as.integer);
			break;
		case IQDB_VALUE_FLOAT:
			if (!isfinite(value->as.real))
				return iqdb_fail(writer->err, IQDB_ERR_UNSUPPORTED, "a number of the metadata is NaN or infinite");
			put(writer, text, iqdb_double_text(value->as.real, text));
			break;
		case IQDB_VALUE_BOOL:
			put_text(writer, value->as.boolean ? "true" : "false");
			break;
		default:
			put_text(writer, "null");
			break;
	}
	return IQDB_OK;
}

/* Ends the object that put_id began. */
static IqdbStatus
put_metadata(Writer *writer, const unsigned char *metadata, size_t length)
{
	IqdbMetadataCursor cursor;
	IqdbMetadataEntry  entry;
	const char        *before = ",\"metadata\":{";

	IQDB_TRY(iqdb_metadata_validate(metadata, length, writer->err));
	cursor = iqdb_metadata_first(metadata, length);
	while (iqdb_metadata_next(&cursor, &entry))
	{
		if (!is_utf8(entry.key, entry.key_length))
			return iqdb_fail(writer->err, IQDB_ERR_UNSUPPORTED, "a key of the metadata is not UTF-8");
		put_text(writer, before);
		put_string(writer, entry.key, entry.key_length);
		put_text(writer, ":");
		IQDB_TRY(put_value(writer, &entry.value));
		before = ",";
	}
	put_text(writer, before[1] != '\0' ? ",\"metadata\":{}}" : "}}");
	return IQDB_OK;
}

static void
put_vector(Writer *writer, const IqdbElement *element, const void *vector, size_t dim)
{
	put_text(writer, ",\"vector\":");
	for (size_t i = 0; i < dim; i++)
	{
		put_text(writer, i == 0 ? "[" : ",");
		if (!element->has_numbers)
			put_text(writer, (((const unsigned char *) vector)[i / 8] >> (7 - i % 8) & 1) != 0 ? "1" : "0");
		else if (element->bits == 16)
			put_float(writer, iqdb_half_widen(((const IqdbHalf *) vector)[i]));
		else
			put_float(writer, ((const float *) vector)[i]);
	}
	put_text(writer, "]");
}

/* ---- whole texts ---- */

/* A row, or a result, by one function, so that length and content cannot differ. */
typedef struct Subject
{
	const IqdbRow     *row; /* or NULL */
	const IqdbElement *element;
	size_t             dim;
	const IqdbResult  *result;
} Subject;

static IqdbStatus
put_subject(Writer *writer, const Subject *subject)
{
	if (subject->row != NULL)
	{
		put_id(writer, subject->row->id);
		put_vector(writer, subject->element, subject->row->vector, subject->dim);
		return put_metadata(writer, subject->row->metadata, subject->row->metadata_length);
	}
	put_text(writer, "[");
	for (size_t i = 0; i < subject->result->count; i++)
	{
		const IqdbFound *found = &subject->result->found[i];

		if (i > 0)
			put_text(writer, ",");
		put_id(writer, found->id);
		put_text(writer, ",\"distance\":");
		if (!isfinite(found->distance))
			return iqdb_fail(writer->err, IQDB_ERR_UNSUPPORTED, "a distance is infinite");
		put_float(writer, found->distance);
		IQDB_TRY(put_metadata(writer, found->metadata, found->metadata_length));
	}
	put_text(writer, "]");
	return IQDB_OK;
}

static IqdbStatus
make_text(const Subject *subject, const IqdbAllocator *allocator, char **text_out, size_t *length_out, IqdbError *err)
{
	Writer counting = {NULL, 0, err};
	Writer writing = {NULL, 0, err};

	IQDB_TRY(put_subject(&counting, subject));
	writing.text = iqdb_alloc(allocator, counting.length);
	if (writing.text == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for %zu bytes of JSON", counting.length);
	(void) put_subject(&writing, subject);
	*text_out = writing.text;
	*length_out = writing.length;
	return IQDB_OK;
}

IqdbStatus
iqdb_row_json(const IqdbRow *row, IqdbElementKind kind, size_t dim, const IqdbAllocator *allocator, char **text_out,
			  size_t *length_out, IqdbError *err)
{
	const IqdbElement *element = iqdb_element((uint32_t) kind);

	*text_out = NULL;
	*length_out = 0;
	if (element == NULL || dim > element->dimension_max)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "unknown element, or %zu components", dim);
	IQDB_TRY(iqdb_element_check(element, row->vector, dim, err));
	return make_text(&(Subject) {row, element, dim, NULL}, allocator, text_out, length_out, err);
}

IqdbStatus
iqdb_result_json(const IqdbResult *result, const IqdbAllocator *allocator, char **text_out, size_t *length_out,
				 IqdbError *err)
{
	*text_out = NULL;
	*length_out = 0;
	return make_text(&(Subject) {NULL, NULL, 0, result}, allocator, text_out, length_out, err);
}
