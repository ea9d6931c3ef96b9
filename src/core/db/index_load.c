/*
 * index_load.c - bytes to rows: a snapshot is loaded; format and rules in index_codec.h.
 *
 * Owns: how the section ROWS is read and checked, the hand-over of the section ENGINE, and the steps in which a host loads
 * that has the rows' content elsewhere. Does not own: files, blocks, checksums (persist/), nor what an engine reads.
 */
#include <string.h>

#include "core/base/endian.h"
#include "core/base/topk.h"
#include "core/db/index_codec.h"
#include "core/db/index_codec_private.h"
#include "core/db/index_private.h"
#include "core/engine/store_write.h"
#include "core/meta/metadata.h"

/* A buffer grows by no more than this ahead of the bytes that really came. */
#define LOAD_STEP ((size_t) 1024 * 1024)

typedef struct RowsLoad
{
	IqdbIndex         *index;
	IqdbSectionSource *source;
	IqdbiBuffer        buffer;
	void              *vector;    /* one row's, aligned */
	IqdbColumnValues   columns;   /* and its columns */
	uint64_t           at;        /* bytes of the section read so far */
	uint64_t           horizon;
	uint64_t           last_sequence;
	bool               ascending; /* sequences ascend with the slots: then they differ */
	bool               bare;      /* rows come without vectors and columns */
	IqdbiBareRow       before;    /* the row before, in this chunk */
	uint32_t           slot_count;
	uint32_t           next_slot; /* first slot that the next chunk may begin with */
	uint64_t           live;
	uint64_t           known;
} RowsLoad;

/* A chunk's payload while it is taken apart. */
typedef struct Reader
{
	const unsigned char *at;
	size_t               left;
	uint64_t             offset; /* of at, in the section */
} Reader;

static void
reader_skip(Reader *reader, size_t length)
{
	reader->at += length;
	reader->left -= length;
	reader->offset += length;
}

static IqdbStatus
corrupt(uint64_t offset, const char *what, IqdbError *err)
{
	return iqdb_fail_corrupt(err, NULL, offset, "section of rows: %s", what);
}

static IqdbStatus
source_read(RowsLoad *load, void *bytes, size_t length, IqdbError *err)
{
	IQDB_TRY(load->source->read(load->source->arg, IQDB_SECTION_ROWS, bytes, length, err));
	load->at += length;
	return IQDB_OK;
}

static bool
all_zero(const unsigned char *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
	{
		if (bytes[i] != 0)
			return false;
	}
	return true;
}

/* The columns named in a header of this version, which are fit to be an index's. */
static IqdbStatus
read_columns(const unsigned char bytes[IQDB_ROWS_HEADER_SIZE], uint32_t version, IqdbIndexOptions *options,
			 IqdbError *err)
{
	uint32_t count = iqdb_load_u32(bytes + IQDB_ROWS_AT_COLUMN_COUNT);

	if (count > IQDB_COLUMNS_MAX || (count > 0 && version < IQDB_ROWS_VERSION_COLUMNS) ||
		(count == 0 && version == IQDB_ROWS_VERSION_COLUMNS))
		return corrupt(IQDB_ROWS_AT_COLUMN_COUNT, "number of columns out of range", err);
	options->column_count = (uint8_t) count;
	memcpy(options->columns, bytes + IQDB_ROWS_AT_COLUMNS, IQDB_COLUMNS_MAX);
	if (iqdb_index_options_check(options, NULL) != IQDB_OK)
		return corrupt(IQDB_ROWS_AT_COLUMNS, "kinds of columns are unknown", err);
	return IQDB_OK;
}

/* Reads the header of the rows, and takes the options out of it. */
static IqdbStatus
read_header(IqdbSectionSource *source, unsigned char bytes[IQDB_ROWS_HEADER_SIZE], IqdbIndexOptions *options_out,
			IqdbError *err)
{
	uint32_t version;

	IQDB_TRY(source->read(source->arg, IQDB_SECTION_ROWS, bytes, IQDB_ROWS_HEADER_SIZE, err));
	if (memcmp(bytes, IQDB_ROWS_MAGIC, 8) != 0)
		return corrupt(0, "bad magic", err);
	version = iqdb_load_u32(bytes + IQDB_ROWS_AT_VERSION);
	if (version == 0 || version > IQDB_ROWS_VERSION)
		return iqdb_fail(err, IQDB_ERR_VERSION, "section of rows has version %u, this build reads 1 to %u", version,
						 IQDB_ROWS_VERSION);
	if (iqdb_load_u32(bytes + IQDB_ROWS_AT_HEADER_LENGTH) != IQDB_ROWS_HEADER_SIZE)
		return corrupt(IQDB_ROWS_AT_HEADER_LENGTH, "bad header length", err);
	if (!all_zero(bytes + IQDB_ROWS_AT_ZERO, IQDB_ROWS_HEADER_SIZE - IQDB_ROWS_AT_ZERO))
		return corrupt(IQDB_ROWS_AT_ZERO, "unused bytes are not zero", err);
	IQDB_TRY(iqdb_index_options_decode(bytes + IQDB_ROWS_AT_OPTIONS, options_out, err));
	/* version 1 knew floats only, and had zeros here */
	if (version == 1 && options_out->element != IQDB_ELEMENT_F32)
		return corrupt(IQDB_ROWS_AT_OPTIONS, "element of a file of version 1", err);
	return read_columns(bytes, version, options_out, err);
}

IqdbStatus
iqdb_index_load_options(IqdbSectionSource *source, IqdbIndexOptions *options_out, IqdbError *err)
{
	unsigned char bytes[IQDB_ROWS_HEADER_SIZE];

	return read_header(source, bytes, options_out, err);
}

static IqdbStatus
load_header(RowsLoad *load, IqdbError *err)
{
	unsigned char    bytes[IQDB_ROWS_HEADER_SIZE];
	IqdbIndexOptions options;

	IQDB_TRY(read_header(load->source, bytes, &options, err));
	load->at += IQDB_ROWS_HEADER_SIZE;
	if (!iqdb_index_options_same_shape(&options, &load->index->store.header->options))
		return iqdb_fail(err, IQDB_ERR_CONFIG, "stored rows are of an index of another shape");
	load->bare = iqdb_load_u32(bytes + IQDB_ROWS_AT_VERSION) == IQDB_ROWS_VERSION_BARE;
	load->horizon = iqdb_load_u64(bytes + IQDB_ROWS_AT_NEXT_SEQUENCE);
	load->slot_count = iqdb_load_u32(bytes + IQDB_ROWS_AT_SLOT_COUNT);
	if (load->slot_count > IQDB_SLOTS_MAX || load->horizon == 0 || load->horizon > IQDB_SEQUENCE_MAX + 1)
		return corrupt(IQDB_ROWS_AT_NEXT_SEQUENCE, "slot count or next sequence out of range", err);
	return IQDB_OK;
}

static IqdbStatus
load_row_metadata(Reader *reader, IqdbRow *row, IqdbError *err)
{
	unsigned char flag;
	uint32_t      length;

	if (reader->left < 1)
		return corrupt(reader->offset, "row is cut short", err);
	flag = reader->at[0];
	if (flag > 1 || (flag == 1 && row->vector == NULL))
		return corrupt(reader->offset, "bad metadata flag", err);
	reader_skip(reader, 1);
	if (flag == 0)
		return IQDB_OK;
	if (reader->left < 4 || iqdb_load_u32(reader->at) > reader->left - 4)
		return corrupt(reader->offset, "metadata is cut short", err);
	length = iqdb_load_u32(reader->at);
	reader_skip(reader, 4);
	if (length == 0 || iqdb_metadata_validate(reader->at, length, NULL) != IQDB_OK)
		return corrupt(reader->offset, "metadata is damaged", err);
	row->metadata = reader->at;
	row->metadata_length = length;
	reader_skip(reader, length);
	return IQDB_OK;
}

static IqdbStatus
load_row_columns(RowsLoad *load, Reader *reader, IqdbError *err)
{
	const IqdbIndexOptions *options = &load->index->store.header->options;
	size_t                  size = iqdb_columns_encoded_bytes(options);

	if (reader->left < size)
		return corrupt(reader->offset, "columns are cut short", err);
	if (!iqdb_columns_decode(options, reader->at, &load->columns))
		return corrupt(reader->offset, "columns are damaged", err);
	reader_skip(reader, size);
	return IQDB_OK;
}

static IqdbStatus
load_row_vector(RowsLoad *load, Reader *reader, IqdbError *err)
{
	const IqdbElement *element = load->index->store.element;
	size_t             dimension = load->index->store.header->options.dimension;
	size_t             size = iqdb_element_bytes(element, dimension);

	if (reader->left < size)
		return corrupt(reader->offset, "vector is cut short", err);
	iqdb_element_decode(element, reader->at, dimension, load->vector);
	if (iqdb_element_check(element, load->vector, dimension, NULL) != IQDB_OK)
		return corrupt(reader->offset, "vector has a component that is not finite", err);
	reader_skip(reader, size);
	return IQDB_OK;
}

static IqdbStatus
note_sequence(RowsLoad *load, uint64_t sequence, uint64_t offset, IqdbError *err)
{
	if (sequence == 0 || sequence >= load->horizon)
		return corrupt(offset, "sequence out of range", err);
	if (sequence <= load->last_sequence)
		load->ascending = false;
	load->last_sequence = sequence;
	return IQDB_OK;
}

static IqdbStatus
put_loaded(RowsLoad *load, uint32_t slot, uint64_t sequence, const IqdbRow *row, uint64_t offset, IqdbError *err)
{
	IqdbStatus status = iqdb_store_load_row(&load->index->store, load->index->engine, slot, sequence, row, &load->columns,
											err);

	return status == IQDB_ERR_CORRUPT ? corrupt(offset, "an id occurs twice", err) : status;
}

static IqdbStatus
load_row(RowsLoad *load, Reader *reader, uint32_t slot, IqdbRowState state, IqdbError *err)
{
	IqdbRow  row = {.vector = state == IQDB_ROW_LIVE ? load->vector : NULL};
	uint64_t offset = reader->offset;
	uint64_t sequence;
	size_t   used;

	if (iqdb_id_decode(reader->at, reader->left, &row.id, &used, NULL) != IQDB_OK)
		return corrupt(offset, "id is damaged", err);
	reader_skip(reader, used);
	if (reader->left < 8)
		return corrupt(reader->offset, "row is cut short", err);
	sequence = iqdb_load_u64(reader->at);
	IQDB_TRY(note_sequence(load, sequence, reader->offset, err));
	reader_skip(reader, 8);
	IQDB_TRY(load_row_metadata(reader, &row, err));
	if (state == IQDB_ROW_LIVE)
	{
		IQDB_TRY(load_row_columns(load, reader, err));
		IQDB_TRY(load_row_vector(load, reader, err));
	}
	return put_loaded(load, slot, sequence, &row, offset, err);
}

static IqdbStatus
load_difference(Reader *reader, uint64_t *value, IqdbError *err)
{
	uint64_t difference;
	size_t   used = iqdb_load_varint(reader->at, reader->left, &difference);

	if (used == 0)
		return corrupt(reader->offset, "row is cut short", err);
	reader_skip(reader, used);
	*value += iqdb_unzigzag(difference);
	return IQDB_OK;
}

/* A bare row is known at first. The host completes those that searches are to find. */
static IqdbStatus
load_bare_row(RowsLoad *load, Reader *reader, uint32_t slot, IqdbError *err)
{
	IqdbRow  row = {.vector = NULL};
	uint64_t offset = reader->offset;

	IQDB_TRY(load_difference(reader, &load->before.number, err));
	IQDB_TRY(load_difference(reader, &load->before.sequence, err));
	IQDB_TRY(note_sequence(load, load->before.sequence, offset, err));
	row.id = iqdb_id_u64(load->before.number);
	return put_loaded(load, slot, load->before.sequence, &row, offset, err);
}

/* Reads a payload into the buffer, asking for memory only as bytes come. */
static IqdbStatus
load_payload(RowsLoad *load, uint64_t length, IqdbError *err)
{
	size_t have = 0;

	while (have < length)
	{
		size_t step = length - have < LOAD_STEP + have ? (size_t) length - have : LOAD_STEP + have;

		IQDB_TRY(iqdbi_buffer_room(&load->buffer, have + step, err));
		IQDB_TRY(source_read(load, load->buffer.bytes + have, step, err));
		have += step;
	}
	return IQDB_OK;
}

static IqdbStatus
load_chunk(RowsLoad *load, uint32_t first, uint32_t count, uint64_t length, IqdbError *err)
{
	uint64_t             offset = load->at;
	Reader               reader;
	const unsigned char *states;

	if (count > IQDB_CHUNK_SLOTS_MAX || first < load->next_slot || first > load->slot_count ||
		count > load->slot_count - first)
		return corrupt(offset - IQDB_CHUNK_HEADER_SIZE, "chunk of slots out of range", err);
	if (length > IQDB_CHUNK_LENGTH_MAX || length < count)
		return corrupt(offset - IQDB_CHUNK_HEADER_SIZE, "bad chunk length", err);
	IQDB_TRY(load_payload(load, length, err));
	states = load->buffer.bytes;
	reader = (Reader){.at = load->buffer.bytes, .left = (size_t) length, .offset = offset};
	reader_skip(&reader, count);
	load->before = (IqdbiBareRow){0, 0};
	for (uint32_t i = 0; i < count; i++)
	{
		if (states[i] == IQDB_ROW_FREE)
			continue;
		if (states[i] != IQDB_ROW_KNOWN && states[i] != IQDB_ROW_LIVE)
			return corrupt(offset + i, "bad state of a slot", err);
		if (load->bare)
			IQDB_TRY(load_bare_row(load, &reader, first + i, err));
		else
			IQDB_TRY(load_row(load, &reader, first + i, (IqdbRowState) states[i], err));
		load->live += states[i] == IQDB_ROW_LIVE;
		load->known += states[i] == IQDB_ROW_KNOWN;
	}
	if (reader.left != 0)
		return corrupt(reader.offset, "bytes left over in a chunk", err);
	load->next_slot = first + count;
	return IQDB_OK;
}

static IqdbStatus
load_end(RowsLoad *load, uint32_t first, uint64_t length, IqdbError *err)
{
	unsigned char bytes[IQDB_CHUNK_END_SIZE];
	uint64_t      offset = load->at;

	if (first != load->slot_count || length != IQDB_CHUNK_END_SIZE)
		return corrupt(offset - IQDB_CHUNK_HEADER_SIZE, "bad end of the rows", err);
	IQDB_TRY(source_read(load, bytes, sizeof(bytes), err));
	if (iqdb_load_u64(bytes) != load->live || iqdb_load_u64(bytes + 8) != load->known)
		return corrupt(offset, "row counts do not agree", err);
	return IQDB_OK;
}

/* Sequences that do not ascend with the slots are sorted to see that no two are the same: ties would have no order. */
static IqdbStatus
check_sequences(RowsLoad *load, IqdbError *err)
{
	const IqdbStore     *store = &load->index->store;
	const IqdbAllocator *allocator = &load->index->host->allocator;
	uint32_t             slot_count = atomic_load_explicit(&store->header->slot_count, memory_order_relaxed);
	uint64_t             rows = load->live + load->known;
	size_t               count = 0;
	IqdbCandidate       *items;
	IqdbStatus           status = IQDB_OK;

	if (load->ascending)
		return IQDB_OK;
	items = iqdb_alloc(allocator, (size_t) rows * sizeof(*items));
	if (items == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for checking sequences");
	for (uint32_t slot = 0; slot < slot_count; slot++)
	{
		if (iqdb_store_state(store, slot) != IQDB_ROW_FREE)
			items[count++] = (IqdbCandidate){.sequence = iqdb_store_sequence(store, slot)};
	}
	iqdb_candidates_sort(items, count);
	for (size_t i = 1; i < count && status == IQDB_OK; i++)
	{
		if (items[i].sequence == items[i - 1].sequence)
			status = corrupt(load->at, "a sequence occurs twice", err);
	}
	iqdb_free(allocator, items, (size_t) rows * sizeof(*items));
	return status;
}

static IqdbStatus
load_rows(RowsLoad *load, IqdbError *err)
{
	IQDB_TRY(load_header(load, err));
	for (;;)
	{
		unsigned char bytes[IQDB_CHUNK_HEADER_SIZE];
		uint32_t      first;
		uint32_t      count;
		uint64_t      length;

		if (iqdb_host_cancelled(load->index->host))
			return iqdb_fail(err, IQDB_ERR_CANCELLED, "loading was cancelled");
		IQDB_TRY(source_read(load, bytes, sizeof(bytes), err));
		first = iqdb_load_u32(bytes + IQDB_CHUNK_AT_FIRST);
		count = iqdb_load_u32(bytes + IQDB_CHUNK_AT_COUNT);
		length = iqdb_load_u64(bytes + IQDB_CHUNK_AT_LENGTH);
		if (count == 0)
		{
			IQDB_TRY(load_end(load, first, length, err));
			break;
		}
		IQDB_TRY(load_chunk(load, first, count, length, err));
	}
	IQDB_TRY(check_sequences(load, err));
	iqdb_store_load_finish(&load->index->store, load->horizon);
	return IQDB_OK;
}

static IqdbStatus
read_engine(void *arg, void *bytes, size_t length, IqdbError *err)
{
	IqdbSectionSource *source = arg;

	return source->read(source->arg, IQDB_SECTION_ENGINE, bytes, length, err);
}

IqdbStatus
iqdb_index_load_rows(IqdbIndex *index, IqdbSectionSource *source, bool *bare_out, IqdbError *err)
{
	RowsLoad   load = {.index = index,
					   .source = source,
					   .buffer = {.allocator = &index->host->allocator},
					   .ascending = true};
	size_t     vector_size = iqdb_element_bytes(index->store.element, index->store.header->options.dimension);
	IqdbStatus status;

	if (atomic_load_explicit(&index->store.header->slot_count, memory_order_relaxed) != 0)
		return iqdb_fail(err, IQDB_ERR_STATE, "an index is loaded into an empty one only");
	load.vector = iqdb_alloc(&index->host->allocator, vector_size);
	if (load.vector == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for a vector of %zu bytes", vector_size);
	status = load_rows(&load, err);
	*bare_out = load.bare;
	iqdb_free(&index->host->allocator, load.vector, vector_size);
	iqdbi_buffer_free(&load.buffer);
	return status;
}

IqdbStatus
iqdb_index_load_content(IqdbIndex *index, uint32_t slot, const void *vector, const IqdbColumnValues *columns,
						IqdbError *err)
{
	const IqdbIndexOptions *options = &index->store.header->options;

	IQDB_TRY(iqdbi_index_check_vector(index, vector, options->dimension, err));
	IQDB_TRY(iqdb_columns_check(options, columns, err));
	return iqdb_store_load_content(&index->store, slot, vector, columns, err);
}

IqdbStatus
iqdb_index_load_engine(IqdbIndex *index, IqdbSectionSource *source, IqdbError *err)
{
	IqdbSource engine_source = {.read = read_engine, .arg = source};

	return index->engine->load(&index->store, &engine_source, err);
}

IqdbStatus
iqdb_index_load(IqdbIndex *index, IqdbSectionSource *source, IqdbError *err)
{
	bool bare;

	IQDB_TRY(iqdb_index_load_rows(index, source, &bare, err));
	if (bare)
		return corrupt(IQDB_ROWS_AT_VERSION, "rows are bare, and nobody has their vectors", err);
	return iqdb_index_load_engine(index, source, err);
}
