/*
 * json_read.c - rows and results from JSON (RFC 8259) of any origin. The forms are described in public/iqdb.h.
 *
 * The forms are three levels deep and members of other names are refused, so nothing here recurses. Strings are decoded into
 * one piece of memory as long as the text: no string becomes longer by that, so they all have room.
 */
#include "core/db/handle_private.h"
#include "core/db/json_private.h"

#include <math.h>
#include <string.h>

#include "core/vec/decimal.h"
#include "core/vec/element.h"
#include "core/vec/half.h"
#include "core/vec/text.h"

/* What a member of an object is, and which have been there. */
#define MEMBER_ID 1u
#define MEMBER_VECTOR 2u
#define MEMBER_DISTANCE 4u
#define MEMBER_METADATA 8u

typedef struct Parser
{
	const char          *text;
	const char          *at;
	const char          *end;
	unsigned char       *strings; /* as long as the text */
	size_t               strings_length;
	const IqdbAllocator *allocator;
	IqdbError           *err;
} Parser;

/* One object. */
typedef struct Item
{
	IqdbId         id;
	float          distance;
	void          *vector; /* allocated */
	size_t         vector_size;
	size_t         dim;
	unsigned char *metadata; /* allocated; NULL = none */
	size_t         metadata_length;
} Item;

static IqdbStatus
fail(const Parser *parser, const char *what)
{
	return iqdb_fail_corrupt(parser->err, "", (uint64_t) (parser->at - parser->text), "JSON: %s", what);
}

static IqdbStatus
fail_memory(const Parser *parser)
{
	return iqdb_fail(parser->err, IQDB_ERR_NOMEM, "out of memory for what a JSON text holds");
}

static void
skip_blanks(Parser *parser)
{
	const char *p = parser->at;

	while (p < parser->end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'))
		p++;
	parser->at = p;
}

/* Blanks, and then this byte, if it is there. */
static bool
take(Parser *parser, char byte)
{
	skip_blanks(parser);
	if (parser->at == parser->end || *parser->at != byte)
		return false;
	parser->at++;
	return true;
}

static bool
take_word(Parser *parser, const char *word)
{
	size_t length = strlen(word);

	if ((size_t) (parser->end - parser->at) < length || memcmp(parser->at, word, length) != 0)
		return false;
	parser->at += length;
	return true;
}

/* ---- strings ---- */

/* Four hex digits. */
static bool
take_hex(Parser *parser, uint32_t *value_out)
{
	*value_out = 0;
	if (parser->end - parser->at < 4)
		return false;
	for (int i = 0; i < 4; i++)
	{
		char c = parser->at[i];

		if (c >= '0' && c <= '9')
			*value_out = *value_out << 4 | (uint32_t) (c - '0');
		else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
			*value_out = *value_out << 4 | (uint32_t) ((c | 0x20) - 'a' + 10);
		else
			return false;
	}
	parser->at += 4;
	return true;
}

static void
put_byte(Parser *parser, uint32_t byte)
{
	parser->strings[parser->strings_length++] = (unsigned char) byte;
}

static void
put_point(Parser *parser, uint32_t point)
{
	if (point < 0x80)
		put_byte(parser, point);
	else if (point < 0x800)
		put_byte(parser, 0xc0 | point >> 6);
	else
	{
		if (point < 0x10000)
			put_byte(parser, 0xe0 | point >> 12);
		else
		{
			put_byte(parser, 0xf0 | point >> 18);
			put_byte(parser, 0x80 | (point >> 12 & 0x3f));
		}
		put_byte(parser, 0x80 | (point >> 6 & 0x3f));
	}
	if (point >= 0x80)
		put_byte(parser, 0x80 | (point & 0x3f));
}

/* Behind the backslash. */
static IqdbStatus
read_escape(Parser *parser)
{
	static const char letters[] = "\"\\/bfnrt";
	static const char meanings[] = "\"\\/\b\f\n\r\t";
	char              letter = parser->at < parser->end ? *parser->at : '\0';
	const char       *known = letter != '\0' ? strchr(letters, letter) : NULL;
	uint32_t          point;
	uint32_t          second;

	if (known != NULL)
	{
		put_byte(parser, (unsigned char) meanings[known - letters]);
		parser->at++;
		return IQDB_OK;
	}
	if (!take_word(parser, "u") || !take_hex(parser, &point))
		return fail(parser, "no such escape");
	if (point >= 0xd800 && point < 0xe000)
	{
		if (point >= 0xdc00 || !take_word(parser, "\\u") || !take_hex(parser, &second) || second < 0xdc00 ||
			second >= 0xe000)
			return fail(parser, "half a surrogate pair");
		point = 0x10000 + ((point - 0xd800) << 10) + (second - 0xdc00);
	}
	put_point(parser, point);
	return IQDB_OK;
}

/* The string at the next quote. */
static IqdbStatus
read_string(Parser *parser, const char **string_out, size_t *length_out)
{
	size_t start = parser->strings_length;

	if (!take(parser, '"'))
		return fail(parser, "a string must stand here");
	for (;;)
	{
		size_t length;

		if (parser->at == parser->end)
			return fail(parser, "a string does not end");
		if (*parser->at == '"')
			break;
		if (*parser->at == '\\')
		{
			parser->at++;
			IQDB_TRY(read_escape(parser));
			continue;
		}
		length = iqdbi_utf8_length((const unsigned char *) parser->at, (const unsigned char *) parser->end);
		if (length == 0 || (unsigned char) *parser->at < 0x20)
			return fail(parser, "a string has a control character, or is not UTF-8");
		memcpy(parser->strings + parser->strings_length, parser->at, length);
		parser->strings_length += length;
		parser->at += length;
	}
	parser->at++;
	*string_out = (const char *) parser->strings + start;
	*length_out = parser->strings_length - start;
	return IQDB_OK;
}

/* ---- numbers ---- */

static const char *
skip_digits(const char *p, const char *end)
{
	while (p < end && *p >= '0' && *p <= '9')
		p++;
	return p;
}

/* Finds where the number that begins here ends, and moves nothing. */
static IqdbStatus
measure_number(const Parser *parser, size_t *length_out, bool *integer_out)
{
	const char *p = parser->at;
	const char *end = parser->end;
	const char *digits;

	if (p < end && *p == '-')
		p++;
	digits = p;
	p = skip_digits(p, end);
	if (p == digits || (*digits == '0' && p - digits > 1))
		return fail(parser, "neither a number nor anything else that may stand here");
	*integer_out = true;
	if (p < end && *p == '.')
	{
		*integer_out = false;
		digits = ++p;
		p = skip_digits(p, end);
		if (p == digits)
			return fail(parser, "a number has no digit behind its point");
	}
	if (p < end && (*p == 'e' || *p == 'E'))
	{
		*integer_out = false;
		p++;
		if (p < end && (*p == '-' || *p == '+'))
			p++;
		digits = p;
		p = skip_digits(p, end);
		if (p == digits)
			return fail(parser, "a number has no digit in its exponent");
	}
	*length_out = (size_t) (p - parser->at);
	return IQDB_OK;
}

/* Digits alone; false: 2^64 or more. */
static bool
digits_to_u64(const char *digits, size_t length, uint64_t *value_out)
{
	uint64_t value = 0;

	for (size_t i = 0; i < length; i++)
	{
		if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, (uint64_t) (digits[i] - '0'), &value))
			return false;
	}
	*value_out = value;
	return true;
}

static IqdbStatus
read_float(Parser *parser, float *value_out)
{
	size_t length;
	size_t used;
	bool   integer;

	skip_blanks(parser);
	IQDB_TRY(measure_number(parser, &length, &integer));
	if (iqdb_float_parse(parser->at, length, value_out, &used) != IQDB_FAULT_NONE)
		return fail(parser, "a number is too large for a float");
	parser->at += length;
	return IQDB_OK;
}

/* A number of the metadata: with a point or an exponent it is a float, otherwise an integer. */
static IqdbStatus
read_number(Parser *parser, IqdbValue *value_out)
{
	size_t   length;
	bool     integer;
	bool     negative = *parser->at == '-';
	uint64_t size;
	double   real;

	IQDB_TRY(measure_number(parser, &length, &integer));
	if (integer)
	{
		if (!digits_to_u64(parser->at + negative, length - negative, &size) ||
			size > (uint64_t) INT64_MAX + (negative ? 1 : 0))
			return fail(parser, "an integer is outside of 64 bits");
		*value_out = iqdb_value_int(negative ? (int64_t) -size : (int64_t) size);
	}
	else
	{
		if (!iqdb_double_parse(parser->at, length, &real))
			return fail(parser, "a number is too large for a double");
		*value_out = iqdb_value_float(real);
	}
	parser->at += length;
	return IQDB_OK;
}

/* ---- members ---- */

static bool
hex_digit(unsigned char c, unsigned *value_out)
{
	*value_out = (unsigned) (c <= '9' ? c - '0' : c - 'a' + 10);
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

/* {"bytes":"00ff"}: of those that are not UTF-8. */
static IqdbStatus
read_id_bytes(Parser *parser, const char **bytes_out, size_t *length_out)
{
	const char    *word;
	size_t         length;
	unsigned char *bytes;

	IQDB_TRY(read_string(parser, &word, &length));
	if (length != 5 || memcmp(word, "bytes", 5) != 0 || !take(parser, ':'))
		return fail(parser, "an id that is an object has the one member \"bytes\"");
	IQDB_TRY(read_string(parser, bytes_out, &length));
	bytes = parser->strings + (parser->strings_length - length);
	for (size_t i = 0; i < length; i += 2)
	{
		unsigned high;
		unsigned low;

		if (i + 1 == length || !hex_digit(bytes[i], &high) || !hex_digit(bytes[i + 1], &low))
			return fail(parser, "bytes are not pairs of lower-case hex digits");
		bytes[i / 2] = (unsigned char) (high << 4 | low);
	}
	*length_out = length / 2;
	return take(parser, '}') ? IQDB_OK : fail(parser, "an id that is an object has one member");
}

static IqdbStatus
read_id(Parser *parser, IqdbId *id_out)
{
	const char *bytes;
	size_t      length;
	bool        integer;
	uint64_t    number;

	skip_blanks(parser);
	if (parser->at < parser->end && (*parser->at == '"' || *parser->at == '{'))
	{
		IQDB_TRY(take(parser, '{') ? read_id_bytes(parser, &bytes, &length) : read_string(parser, &bytes, &length));
		if (length == 0)
			return fail(parser, "an id is empty");
		*id_out = iqdb_id_bytes(bytes, (uint32_t) length);
		return IQDB_OK;
	}
	IQDB_TRY(measure_number(parser, &length, &integer));
	if (!integer || *parser->at == '-' || !digits_to_u64(parser->at, length, &number))
		return fail(parser, "an id that is a number is an integer of 64 bits without sign");
	parser->at += length;
	*id_out = iqdb_id_u64(number);
	return IQDB_OK;
}

/* Stores component i. */
static IqdbStatus
store_component(const Parser *parser, const IqdbElement *element, void *vector, size_t i, float value)
{
	if (!element->has_numbers)
	{
		if (value != 0 && value != 1)
			return fail(parser, "a bit is 0 or 1");
		if (value != 0)
			((unsigned char *) vector)[i / 8] |= (unsigned char) (0x80 >> i % 8);
	}
	else if (element->bits == 16)
	{
		if (iqdb_half_overflows(value))
			return fail(parser, "a number is too large for 16 bits");
		((IqdbHalf *) vector)[i] = iqdb_half_narrow(value);
	}
	else
		((float *) vector)[i] = value;
	return IQDB_OK;
}

static IqdbStatus
read_vector(Parser *parser, const IqdbElement *element, Item *item)
{
	float  value;
	size_t room = 1;

	if (!take(parser, '['))
		return fail(parser, "an array must stand here");
	for (const char *p = parser->at; p < parser->end && *p != ']'; p++)
		room += *p == ',';
	if (room > element->dimension_max)
		return iqdb_fail(parser->err, IQDB_ERR_LIMIT, "a vector has %zu components; at most %u are possible", room,
						 (unsigned) element->dimension_max);
	item->vector_size = iqdb_element_bytes(element, room);
	item->vector = iqdb_alloc_zero(parser->allocator, item->vector_size);
	if (item->vector == NULL)
		return fail_memory(parser);
	do
	{
		IQDB_TRY(read_float(parser, &value));
		IQDB_TRY(store_component(parser, element, item->vector, item->dim, value));
		item->dim++;
	} while (take(parser, ','));
	return take(parser, ']') ? IQDB_OK : fail(parser, "neither a comma nor the end of the array");
}

static IqdbStatus
read_value(Parser *parser, IqdbValue *value_out)
{
	const char *string;
	size_t      length;

	skip_blanks(parser);
	if (parser->at < parser->end && *parser->at == '"')
	{
		IQDB_TRY(read_string(parser, &string, &length));
		*value_out = iqdb_value_string(string, (uint32_t) length);
	}
	else if (take_word(parser, "true"))
		*value_out = iqdb_value_bool(true);
	else if (take_word(parser, "false"))
		*value_out = iqdb_value_bool(false);
	else if (take_word(parser, "null"))
		*value_out = iqdb_value_null();
	else if (parser->at < parser->end)
		return read_number(parser, value_out);
	else
		return fail(parser, "a value is missing");
	return IQDB_OK;
}

/* Puts the members into the builder; *any_out: is there one? */
static IqdbStatus
read_map(Parser *parser, IqdbMetadataBuilder *builder, bool *any_out)
{
	const char *key;
	size_t      key_length;
	IqdbValue   value;

	*any_out = false;
	if (!take(parser, '{'))
		return fail(parser, "an object must stand here");
	if (take(parser, '}'))
		return IQDB_OK;
	*any_out = true;
	do
	{
		IQDB_TRY(read_string(parser, &key, &key_length));
		if (!take(parser, ':'))
			return fail(parser, "a colon must stand here");
		IQDB_TRY(read_value(parser, &value));
		IQDB_TRY(iqdb_metadata_put(builder, key, key_length, &value, parser->err));
	} while (take(parser, ','));
	return take(parser, '}') ? IQDB_OK : fail(parser, "neither a comma nor the end of the object");
}

static IqdbStatus
read_metadata(Parser *parser, Item *item)
{
	IqdbMetadataBuilder builder;
	IqdbStatus          status;
	bool                any;

	iqdb_metadata_builder_init(&builder, parser->allocator);
	status = read_map(parser, &builder, &any);
	if (status == IQDB_OK && any)
		status = iqdb_metadata_finish(&builder, &item->metadata, &item->metadata_length, parser->err);
	iqdb_metadata_builder_free(&builder);
	return status;
}

static unsigned
member_named(const char *name, size_t length)
{
	static const struct
	{
		const char *name;
		unsigned    member;
	} members[] = {{"id", MEMBER_ID}, {"vector", MEMBER_VECTOR}, {"distance", MEMBER_DISTANCE}, {"metadata", MEMBER_METADATA}};

	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
	{
		if (length == strlen(members[i].name) && memcmp(name, members[i].name, length) == 0)
			return members[i].member;
	}
	return 0;
}

/* An object with an id, what `needed` names, and perhaps metadata; element NULL: of no vector. */
static IqdbStatus
read_item(Parser *parser, const IqdbElement *element, unsigned needed, Item *item)
{
	unsigned    seen = 0;
	unsigned    member;
	const char *name;
	size_t      length;

	if (!take(parser, '{'))
		return fail(parser, "an object must stand here");
	do
	{
		IQDB_TRY(read_string(parser, &name, &length));
		member = member_named(name, length);
		if ((member & (needed | MEMBER_METADATA)) == 0 || (seen & member) != 0)
			return fail(parser, "a member of this name may not be here, or is here twice");
		seen |= member;
		if (!take(parser, ':'))
			return fail(parser, "a colon must stand here");
		if (member == MEMBER_ID)
			IQDB_TRY(read_id(parser, &item->id));
		else if (member == MEMBER_VECTOR)
			IQDB_TRY(read_vector(parser, element, item));
		else if (member == MEMBER_DISTANCE)
			IQDB_TRY(read_float(parser, &item->distance));
		else
			IQDB_TRY(read_metadata(parser, item));
	} while (take(parser, ','));
	if (!take(parser, '}'))
		return fail(parser, "neither a comma nor the end of the object");
	return (seen & needed) == needed ? IQDB_OK : fail(parser, "a member is missing");
}

static void
free_item(const IqdbAllocator *allocator, Item *item)
{
	iqdb_free(allocator, item->vector, item->vector_size);
	iqdb_free(allocator, item->metadata, item->metadata_length);
}

/* ---- whole texts ---- */

static IqdbStatus
begin(Parser *parser, const char *text, size_t length, const IqdbAllocator *allocator, IqdbError *err)
{
	*parser = (Parser) {.text = text, .at = text, .end = text, .allocator = allocator, .err = err};
	if (length == 0)
		return fail(parser, "the text is empty");
	if (length > IQDB_JSON_BYTES_MAX)
		return iqdb_fail(err, IQDB_ERR_LIMIT, "a JSON text has %zu bytes; at most %zu are read", length,
						 IQDB_JSON_BYTES_MAX);
	parser->end = text + length;
	parser->strings = iqdb_alloc(allocator, length);
	return parser->strings != NULL ? IQDB_OK : fail_memory(parser);
}

/* Only blanks may be left. */
static IqdbStatus
finish(Parser *parser)
{
	skip_blanks(parser);
	return parser->at == parser->end ? IQDB_OK : fail(parser, "something stands behind the end");
}

/* What iqdb_row_free gets is the first field. */
typedef struct HeldRow
{
	IqdbJsonRow    row;
	IqdbAllocator  allocator;
	Item           item;
	unsigned char *strings; /* the id's bytes are in it */
	size_t         strings_size;
} HeldRow;

IqdbStatus
iqdb_row_from_json(const char *text, size_t length, IqdbElementKind kind, const IqdbAllocator *allocator,
				   IqdbJsonRow **row_out, IqdbError *err)
{
	const IqdbElement *element = iqdb_element((uint32_t) kind);
	Item               item = {0};
	Parser             parser = {0};
	HeldRow           *held = NULL;
	IqdbStatus         status;

	*row_out = NULL;
	if (element == NULL)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "unknown element");
	IQDB_TRY_OUT(begin(&parser, text, length, allocator, err));
	IQDB_TRY_OUT(read_item(&parser, element, MEMBER_ID | MEMBER_VECTOR, &item));
	IQDB_TRY_OUT(finish(&parser));
	held = iqdb_alloc_zero(allocator, sizeof(*held));
	if (held == NULL)
		IQDB_TRY_OUT(fail_memory(&parser));
	held->row.row = (IqdbRow) {item.id, item.vector, item.metadata, item.metadata_length};
	held->row.dim = item.dim;
	held->allocator = allocator != NULL ? *allocator : iqdb_allocator_libc;
	held->item = item;
	held->strings = parser.strings;
	held->strings_size = length;
	*row_out = &held->row;
	return IQDB_OK;

out:
	free_item(allocator, &item);
	iqdb_free(allocator, parser.strings, parser.strings != NULL ? length : 0);
	return status;
}

void
iqdb_row_free(IqdbJsonRow *row)
{
	HeldRow      *held = (HeldRow *) row;
	IqdbAllocator allocator;

	if (row == NULL)
		return;
	allocator = held->allocator;
	free_item(&allocator, &held->item);
	iqdb_free(&allocator, held->strings, held->strings_size);
	iqdb_free(&allocator, held, sizeof(*held));
}

/* The hits of a result while it is read: what their metadata points to is allocated one by one. */
typedef struct Hits
{
	IqdbFound *found;
	size_t     count;
	size_t     allocated;
} Hits;

/* Room for one more. */
static IqdbStatus
grow_hits(const Parser *parser, Hits *hits)
{
	size_t     wanted = hits->allocated == 0 ? 16 : hits->allocated * 2;
	size_t     bytes;
	IqdbFound *moved;

	if (hits->count < hits->allocated)
		return IQDB_OK;
	if (!iqdb_mul_size(wanted, sizeof(IqdbFound), &bytes))
		return fail_memory(parser);
	moved = iqdb_realloc(parser->allocator, hits->found, hits->allocated * sizeof(IqdbFound), bytes);
	if (moved == NULL)
		return fail_memory(parser);
	hits->found = moved;
	hits->allocated = wanted;
	return IQDB_OK;
}

static IqdbStatus
read_hits(Parser *parser, Hits *hits)
{
	if (!take(parser, '['))
		return fail(parser, "an array must stand here");
	if (take(parser, ']'))
		return IQDB_OK;
	do
	{
		Item       item = {0};
		IqdbStatus status = grow_hits(parser, hits);

		if (status == IQDB_OK)
			status = read_item(parser, NULL, MEMBER_ID | MEMBER_DISTANCE, &item);
		if (status != IQDB_OK)
		{
			free_item(parser->allocator, &item);
			return status;
		}
		hits->found[hits->count++] = (IqdbFound) {item.id, item.distance, item.metadata, item.metadata_length};
	} while (take(parser, ','));
	return take(parser, ']') ? IQDB_OK : fail(parser, "neither a comma nor the end of the array");
}

IqdbStatus
iqdb_result_from_json(const char *text, size_t length, const IqdbAllocator *allocator, IqdbResult **result_out,
					  IqdbError *err)
{
	Parser     parser = {0};
	Hits       hits = {0};
	IqdbStatus status;

	*result_out = NULL;
	IQDB_TRY_OUT(begin(&parser, text, length, allocator, err));
	IQDB_TRY_OUT(read_hits(&parser, &hits));
	IQDB_TRY_OUT(finish(&parser));
	*result_out = iqdbi_handle_copy_result(allocator, hits.found, hits.count);
	if (*result_out == NULL)
		status = fail_memory(&parser);

out:
	for (size_t i = 0; i < hits.count; i++)
		iqdb_free(allocator, (unsigned char *) (uintptr_t) hits.found[i].metadata, hits.found[i].metadata_length);
	iqdb_free(allocator, hits.found, hits.allocated * sizeof(IqdbFound));
	iqdb_free(allocator, parser.strings, parser.strings != NULL ? length : 0);
	return status;
}
