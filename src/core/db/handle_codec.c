/*
 * handle_codec.c - identities, positions and log bodies of the embedded database; bytes in handle_format.h.
 */
#include "core/db/handle_private.h"

#include <string.h>

#include "core/base/crc32c.h"
#include "core/base/endian.h"
#include "core/base/rng.h"
#include "core/db/index_codec.h"

/* ---- positions ---- */

static uint64_t
mix(uint64_t hash, uint64_t with)
{
	uint64_t state = hash ^ with;

	return iqdb_splitmix64(&state);
}

IqdbiPosition
iqdbi_handle_start(const IqdbiShape *shape)
{
	unsigned char bytes[IQDB_OPTIONS_SIZE];
	IqdbiPosition start = {.number = 0};

	iqdb_index_options_encode(&shape->options, bytes);
	start.hash = mix(0, iqdb_crc32c(0, bytes, sizeof(bytes)));
	if (shape->fields.count > 0)
		start.hash = mix(start.hash, iqdb_crc32c(0, shape->fields.bytes, shape->fields.length));
	return start;
}

IqdbiPosition
iqdbi_handle_advance(IqdbiPosition position, uint8_t type, const IqdbLogPiece *pieces, size_t piece_count)
{
	uint32_t crc = 0;

	for (size_t i = 0; i < piece_count; i++)
		crc = iqdb_crc32c(crc, pieces[i].bytes, pieces[i].length);
	position.number++;
	position.hash = mix(position.hash, (uint64_t) type << 32 | crc);
	return position;
}

/* ---- identity ---- */

_Static_assert(IQDB_HANDLE_AT_FIELDS + IQDB_FIELDS_ENCODED_MAX <= IQDB_HANDLE_IDENTITY_MAX, "fields have room");
_Static_assert(IQDB_HANDLE_IDENTITY_MAX <= IQDB_IDENTITY_MAX, "identities have room in the files' headers");

uint32_t
iqdbi_handle_encode_identity(const IqdbiShape *shape, IqdbiPosition position,
							 unsigned char bytes_out[IQDB_HANDLE_IDENTITY_MAX])
{
	const IqdbFields *fields = &shape->fields;

	memset(bytes_out, 0, IQDB_HANDLE_IDENTITY_MAX);
	memcpy(bytes_out, IQDB_HANDLE_MAGIC, 8);
	iqdb_store_u32(bytes_out + IQDB_HANDLE_AT_VERSION,
				   fields->count > 0 ? IQDB_HANDLE_VERSION : IQDB_HANDLE_VERSION_NO_FIELDS);
	iqdb_index_options_encode(&shape->options, bytes_out + IQDB_HANDLE_AT_OPTIONS);
	iqdb_store_u64(bytes_out + IQDB_HANDLE_AT_POSITION, position.number);
	iqdb_store_u64(bytes_out + IQDB_HANDLE_AT_HASH, position.hash);
	memcpy(bytes_out + IQDB_HANDLE_AT_FIELDS, fields->bytes, fields->length);
	return IQDB_HANDLE_AT_FIELDS + fields->length;
}

IqdbStatus
iqdbi_handle_decode_identity(const char *file, const unsigned char *bytes, size_t length,
							 IqdbiShape *shape_out, IqdbiPosition *position_out, IqdbError *err)
{
	IqdbIndexOptions *options = &shape_out->options;
	uint32_t          version;

	if (length < IQDB_HANDLE_AT_FIELDS || memcmp(bytes, IQDB_HANDLE_MAGIC, 8) != 0)
		return iqdb_fail_corrupt(err, file, 0, "the file does not belong to an embedded database");
	version = iqdb_load_u32(bytes + IQDB_HANDLE_AT_VERSION);
	if (version == 0 || version > IQDB_HANDLE_VERSION)
	{
		iqdb_fail_corrupt(err, file, 0, "the file is of version %u, this build reads 1 to %u", version,
						  IQDB_HANDLE_VERSION);
		if (err != NULL)
			err->code = IQDB_ERR_VERSION;
		return IQDB_ERR_VERSION;
	}
	if (iqdb_load_u32(bytes + IQDB_HANDLE_AT_ZERO) != 0 ||
		iqdb_index_options_decode(bytes + IQDB_HANDLE_AT_OPTIONS, options, NULL) != IQDB_OK ||
		(version == 1 && options->element != IQDB_ELEMENT_F32) ||
		(version == IQDB_HANDLE_VERSION) != (length > IQDB_HANDLE_AT_FIELDS) ||
		!iqdb_fields_decode(bytes + IQDB_HANDLE_AT_FIELDS, length - IQDB_HANDLE_AT_FIELDS, &shape_out->fields))
		return iqdb_fail_corrupt(err, file, 0, "the file's identity is damaged");
	iqdb_fields_set_columns(&shape_out->fields, options);
	position_out->number = iqdb_load_u64(bytes + IQDB_HANDLE_AT_POSITION);
	position_out->hash = iqdb_load_u64(bytes + IQDB_HANDLE_AT_HASH);
	return IQDB_OK;
}

/* ---- bodies ---- */

static void
add_piece(IqdbiChangeBytes *bytes, const void *from, size_t length)
{
	if (length == 0)
		return;
	bytes->pieces[bytes->piece_count].bytes = from;
	bytes->pieces[bytes->piece_count].length = length;
	bytes->piece_count++;
}

void
iqdbi_handle_encode_change(const IqdbElement *element, const IqdbiChange *change, unsigned char *vector_scratch,
						   IqdbiChangeBytes *bytes_out)
{
	const void *vector = change->vector;

	bytes_out->piece_count = 0;
	bytes_out->id[0] = (unsigned char) change->id.kind;
	if (change->id.kind == IQDB_ID_U64)
	{
		iqdb_store_u64(bytes_out->id + 1, change->id.number);
		add_piece(bytes_out, bytes_out->id, 1 + 8);
	}
	else
	{
		iqdb_store_u32(bytes_out->id + 1, change->id.length);
		add_piece(bytes_out, bytes_out->id, 1 + 4);
		add_piece(bytes_out, change->id.bytes, change->id.length);
	}
	if (change->type != IQDB_HANDLE_FRAME_UPSERT)
		return;
	iqdb_store_u32(bytes_out->sizes, (uint32_t) change->dim);
	iqdb_store_u32(bytes_out->sizes + 4, (uint32_t) change->metadata_length);
	add_piece(bytes_out, bytes_out->sizes, sizeof(bytes_out->sizes));
	if (vector_scratch != NULL)
	{
		iqdb_element_encode(element, change->vector, change->dim, vector_scratch);
		vector = vector_scratch;
	}
	add_piece(bytes_out, vector, iqdb_element_bytes(element, change->dim));
	add_piece(bytes_out, change->metadata, change->metadata_length);
}

IqdbRow
iqdbi_handle_row(const IqdbiChange *change)
{
	return (IqdbRow){.id = change->id,
					 .vector = change->vector,
					 .metadata = change->metadata,
					 .metadata_length = change->metadata_length};
}

/* Adds the pieces of an upsert to a body, or only their length where there is none. false: longer than a frame. */
static bool
add_to_batch(unsigned char *body, size_t *length, const IqdbiChangeBytes *bytes)
{
	for (size_t i = 0; i < bytes->piece_count; i++)
	{
		const IqdbLogPiece *piece = &bytes->pieces[i];

		if (piece->length > IQDB_LOG_BODY_MAX - *length)
			return false;
		if (body != NULL)
			memcpy(body + *length, piece->bytes, piece->length);
		*length += piece->length;
	}
	return true;
}

/* One upsert after the other into body, or NULL to learn the length. */
static bool
fill_batch(const IqdbElement *element, const IqdbRow *rows, size_t count, size_t dim, unsigned char *vector_scratch,
		   unsigned char *body, size_t *length)
{
	*length = sizeof(uint32_t);
	for (size_t i = 0; i < count; i++)
	{
		IqdbiChange      change = {.type = IQDB_HANDLE_FRAME_UPSERT,
								   .id = rows[i].id,
								   .vector = rows[i].vector,
								   .dim = dim,
								   .metadata = rows[i].metadata,
								   .metadata_length = rows[i].metadata_length};
		IqdbiChangeBytes bytes;

		iqdbi_handle_encode_change(element, &change, vector_scratch, &bytes);
		if (!add_to_batch(body, length, &bytes))
			return false;
	}
	return true;
}

IqdbStatus
iqdbi_handle_encode_batch(const IqdbAllocator *allocator, const IqdbElement *element, const IqdbRow *rows, size_t count,
						  size_t dim, unsigned char *vector_scratch, unsigned char **body_out, size_t *length_out,
						  IqdbError *err)
{
	*body_out = NULL;
	if (!fill_batch(element, rows, count, dim, vector_scratch, NULL, length_out))
		return iqdb_fail(err, IQDB_ERR_LIMIT, "a batch of %zu rows is longer than the %u bytes of one log entry", count,
						 IQDB_LOG_BODY_MAX);
	*body_out = iqdb_alloc(allocator, *length_out);
	if (*body_out == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for a batch of %zu rows", count);
	/* every row has more than one byte, so the count of what fits into a frame fits, too */
	iqdb_store_u32(*body_out, (uint32_t) count);
	(void) fill_batch(element, rows, count, dim, vector_scratch, *body_out, length_out);
	return IQDB_OK;
}

IqdbStatus
iqdbi_handle_begin_changes(IqdbiChangeReader *reader_out, const IqdbElement *element, size_t dim, uint8_t type,
						   const unsigned char *body, size_t length, IqdbError *err)
{
	*reader_out = (IqdbiChangeReader){.element = element, .dim = dim, .type = type, .at = body, .left = length, .count = 1};
	if (type == IQDB_HANDLE_FRAME_UPSERT || type == IQDB_HANDLE_FRAME_DELETE)
		return IQDB_OK;
	if (type != IQDB_HANDLE_FRAME_BATCH)
		return iqdb_fail_corrupt(err, NULL, 0, "frame of unknown type %u", (unsigned) type);
	if (length < sizeof(uint32_t))
		return iqdb_fail_corrupt(err, NULL, 0, "batch without a count");
	reader_out->type = IQDB_HANDLE_FRAME_UPSERT;
	reader_out->count = iqdb_load_u32(body);
	reader_out->at += sizeof(uint32_t);
	reader_out->left -= sizeof(uint32_t);
	if (reader_out->count == 0)
		return iqdb_fail_corrupt(err, NULL, 0, "batch of no rows");
	return IQDB_OK;
}

static void
skip(IqdbiChangeReader *reader, size_t bytes)
{
	reader->at += bytes;
	reader->left -= bytes;
}

/* What an upsert has behind its id. */
static IqdbStatus
next_row(IqdbiChangeReader *reader, void *vector_out, IqdbiChange *change, IqdbError *err)
{
	size_t vector_size = iqdb_element_bytes(reader->element, reader->dim);

	if (reader->left < 8 || iqdb_load_u32(reader->at) != reader->dim || reader->left - 8 < vector_size ||
		iqdb_load_u32(reader->at + 4) > reader->left - 8 - vector_size)
		return iqdb_fail_corrupt(err, NULL, 0, "frame whose sizes do not agree");
	change->metadata_length = iqdb_load_u32(reader->at + 4);
	skip(reader, 8);
	iqdb_element_decode(reader->element, reader->at, reader->dim, vector_out);
	change->vector = vector_out;
	change->dim = reader->dim;
	skip(reader, vector_size);
	if (change->metadata_length > 0)
		change->metadata = reader->at;
	skip(reader, change->metadata_length);
	return IQDB_OK;
}

IqdbStatus
iqdbi_handle_next_change(IqdbiChangeReader *reader, void *vector_out, IqdbiChange *change_out, IqdbError *err)
{
	size_t used;

	memset(change_out, 0, sizeof(*change_out));
	change_out->type = reader->type;
	if (iqdb_id_decode(reader->at, reader->left, &change_out->id, &used, NULL) != IQDB_OK)
		return iqdb_fail_corrupt(err, NULL, 0, "frame with a damaged id");
	skip(reader, used);
	if (reader->type == IQDB_HANDLE_FRAME_UPSERT)
		IQDB_TRY(next_row(reader, vector_out, change_out, err));
	reader->count--;
	if (reader->count == 0 && reader->left != 0)
		return iqdb_fail_corrupt(err, NULL, 0, "frame with bytes left over");
	return IQDB_OK;
}
