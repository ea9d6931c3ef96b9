/*
 * id.c - checks, equality, hash, text and encoded form of row ids.
 */
#include "core/meta/id.h"

#include <string.h>

#include "core/meta/meta_private.h"

IqdbStatus
iqdb_id_check(IqdbId id, IqdbError *err)
{
	if (id.kind != IQDB_ID_U64 && id.kind != IQDB_ID_BYTES)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "id has an unknown kind");
	if (id.kind == IQDB_ID_BYTES && id.length == 0)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "id must not be empty");
	return IQDB_OK;
}

bool
iqdb_id_equal(IqdbId a, IqdbId b)
{
	if (a.kind != b.kind)
		return false;
	if (a.kind == IQDB_ID_U64)
		return a.number == b.number;
	return a.length == b.length && (a.length == 0 || memcmp(a.bytes, b.bytes, a.length) == 0);
}

/* Spreads every input bit over all output bits: two rounds of multiply and fold, odd constants. */
static uint64_t
mix(uint64_t value)
{
	value ^= value >> 32;
	value *= UINT64_C(0xd6e8feb86659fd93);
	value ^= value >> 32;
	value *= UINT64_C(0xd6e8feb86659fd93);
	value ^= value >> 32;
	return value;
}

uint64_t
iqdb_id_hash(IqdbId id)
{
	uint64_t hash;
	size_t   at = 0;

	/*
	 * Sixteen numbers in a row stay neighbours, in an order of their own: rows that are put one after the other mostly
	 * have such ids, and a table indexed by the low bits then touches one cache line for all of them.
	 */
	if (id.kind == IQDB_ID_U64)
	{
		hash = mix((id.number >> 4) + UINT64_C(0x9e3779b97f4a7c15));
		return (hash & ~UINT64_C(15)) | ((id.number ^ hash) & 15);
	}

	hash = mix(id.length ^ UINT64_C(0xa0761d6478bd642f));
	for (; id.length - at >= 8; at += 8)
		hash = mix(hash ^ iqdb_load_u64(id.bytes + at)) + UINT64_C(0x9e3779b97f4a7c15);
	if (at < id.length)
	{
		unsigned char tail[8] = {0};

		memcpy(tail, id.bytes + at, id.length - at);
		hash = mix(hash ^ iqdb_load_u64(tail));
	}
	return hash;
}

static size_t
number_text(uint64_t number, char *text, size_t size)
{
	char   digits[20];
	size_t count = 0;

	do
	{
		digits[count++] = (char) ('0' + number % 10);
		number /= 10;
	} while (number > 0);
	for (size_t i = 0; i < count && i + 1 < size; i++)
		text[i] = digits[count - 1 - i];
	return count;
}

static size_t
bytes_text(const unsigned char *bytes, size_t length, char *text, size_t size)
{
	static const char hex[] = "0123456789abcdef";

	for (size_t i = 0; i < 2 * length && i + 1 < size; i++)
		text[i] = hex[i % 2 == 0 ? bytes[i / 2] >> 4 : bytes[i / 2] & 15];
	return 2 * length;
}

size_t
iqdb_id_text(IqdbId id, char *text, size_t size)
{
	size_t length;

	if (id.kind == IQDB_ID_U64)
		length = number_text(id.number, text, size);
	else
		length = bytes_text(id.bytes, id.length, text, size);
	if (size > 0)
		text[length < size ? length : size - 1] = '\0';
	return length;
}

size_t
iqdb_id_encoded_size(IqdbId id)
{
	return id.kind == IQDB_ID_U64 ? 1 + 8 : 1 + 4 + (size_t) id.length;
}

unsigned char *
iqdb_id_encode(IqdbId id, unsigned char *target)
{
	*target++ = (unsigned char) id.kind;
	if (id.kind == IQDB_ID_U64)
	{
		iqdb_store_u64(target, id.number);
		return target + 8;
	}
	iqdb_store_u32(target, id.length);
	memcpy(target + 4, id.bytes, id.length);
	return target + 4 + id.length;
}

IqdbStatus
iqdb_id_decode(const unsigned char *bytes, size_t length, IqdbId *id_out, size_t *used_out, IqdbError *err)
{
	IqdbiReader reader = iqdbi_reader(bytes, length);
	const char *text;
	size_t      text_length;
	uint8_t     kind;

	if (!iqdbi_read_u8(&reader, &kind))
		return iqdb_fail_corrupt(err, "", 0, "id is missing");
	if (kind == IQDB_ID_U64 && iqdbi_reader_left(&reader) >= 8)
	{
		*id_out = iqdb_id_u64(iqdb_load_u64(reader.at));
		reader.at += 8;
	}
	else if (kind == IQDB_ID_BYTES && iqdbi_read_text(&reader, &text, &text_length) && text_length > 0)
		*id_out = iqdb_id_bytes(text, (uint32_t) text_length);
	else
		return iqdb_fail_corrupt(err, "", 0, "id is cut short, empty or of unknown kind");
	*used_out = (size_t) iqdbi_reader_offset(&reader);
	return IQDB_OK;
}
