/*
 * index_codec.c - rows to bytes and back; format and rules in index_codec.h.
 *
 * Owns: the section ROWS and the hand-over of the section ENGINE. Does not own: files, blocks, checksums (persist/), nor
 * what an engine writes.
 */
#include "core/db/index_codec.h"

#include <string.h>

#include "core/base/endian.h"
#include "core/base/topk.h"
#include "core/engine/store_write.h"
#include "core/meta/metadata.h"

/* What save() puts into one chunk: small, because writers wait while it is copied. */
#define SAVE_CHUNK_SLOTS 4096u
#define SAVE_CHUNK_BYTES ((size_t) 256 * 1024)

/* A buffer grows by no more than this ahead of the bytes that really came. */
#define LOAD_STEP ((size_t) 1024 * 1024)

typedef struct Buffer
{
	const IqdbAllocator *allocator;
	unsigned char       *bytes;
	size_t               allocated;
} Buffer;

static IqdbStatus
buffer_room(Buffer *buffer, size_t size, IqdbError *err)
{
	unsigned char *moved;

	if (size <= buffer->allocated)
		return IQDB_OK;
	moved = iqdb_realloc(buffer->allocator, buffer->bytes, buffer->allocated, size);
	if (moved == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for a buffer of %zu bytes", size);
	buffer->bytes = moved;
	buffer->allocated = size;
	return IQDB_OK;
}

static void
buffer_free(Buffer *buffer)
{
	iqdb_free(buffer->allocator, buffer->bytes, buffer->allocated);
}

/* ---- options ---- */

void
iqdb_index_options_encode(const IqdbIndexOptions *options, unsigned char bytes_out[IQDB_OPTIONS_SIZE])
{
	memset(bytes_out, 0, IQDB_OPTIONS_SIZE);
	iqdb_store_u32(bytes_out, options->dimension);
	iqdb_store_u32(bytes_out + 4, options->metric);
	iqdb_store_u32(bytes_out + 8, options->engine);
	iqdb_store_u32(bytes_out + 12, options->quantization);
	iqdb_store_u64(bytes_out + 16, options->seed);
	iqdb_store_u32(bytes_out + 24, options->m);
	iqdb_store_u32(bytes_out + 28, options->ef_construction);
	iqdb_store_u32(bytes_out + 32, options->ef_search);
	iqdb_store_u32(bytes_out + 36, options->lists);
	iqdb_store_u32(bytes_out + 40, options->probes);
	iqdb_store_u32(bytes_out + 44, options->training_sample);
	iqdb_store_u32(bytes_out + 48, options->pq_subvectors);
	iqdb_store_u32(bytes_out + 52, options->refine);
	iqdb_store_u32(bytes_out + 56, options->vectors);
	iqdb_store_u32(bytes_out + 60, options->element);
}

IqdbStatus
iqdb_index_options_decode(const unsigned char bytes[IQDB_OPTIONS_SIZE], IqdbIndexOptions *options_out, IqdbError *err)
{
	memset(options_out, 0, sizeof(*options_out));
	options_out->dimension = iqdb_load_u32(bytes);
	options_out->metric = iqdb_load_u32(bytes + 4);
	options_out->engine = iqdb_load_u32(bytes + 8);
	options_out->quantization = iqdb_load_u32(bytes + 12);
	options_out->seed = iqdb_load_u64(bytes + 16);
	options_out->m = iqdb_load_u32(bytes + 24);
	options_out->ef_construction = iqdb_load_u32(bytes + 28);
	options_out->ef_search = iqdb_load_u32(bytes + 32);
	options_out->lists = iqdb_load_u32(bytes + 36);
	options_out->probes = iqdb_load_u32(bytes + 40);
	options_out->training_sample = iqdb_load_u32(bytes + 44);
	options_out->pq_subvectors = iqdb_load_u32(bytes + 48);
	options_out->refine = iqdb_load_u32(bytes + 52);
	options_out->vectors = iqdb_load_u32(bytes + 56);
	options_out->element = iqdb_load_u32(bytes + 60);
	if (iqdb_index_options_check(options_out, NULL) != IQDB_OK)
		return iqdb_fail_corrupt(err, NULL, 0, "stored index options are out of range");
	return IQDB_OK;
}

/* ---- saving ---- */

typedef struct RowsSave
{
	const IqdbStore *store;
	IqdbSectionSink *sink;
	Buffer           buffer;
	uint64_t         horizon; /* rows from this sequence on are left out */
	uint32_t         slot_count;
	uint64_t         live;
	uint64_t         known;
} RowsSave;

/* The state a slot has in the snapshot. */
static IqdbRowState
saved_state(const RowsSave *save, uint32_t slot)
{
	IqdbRowState state = iqdb_store_state(save->store, slot);

	if (state != IQDB_ROW_LIVE && state != IQDB_ROW_KNOWN)
		return IQDB_ROW_FREE;
	return iqdb_store_sequence(save->store, slot) < save->horizon ? state : IQDB_ROW_FREE;
}

/* The columns of a live row. */
static unsigned char *
encode_columns(const IqdbStore *store, uint32_t slot, unsigned char *at)
{
	const IqdbStoreHeader *header = store->header;
	IqdbColumnValues       values;

	if (header->columns.count == 0)
		return at;
	iqdb_columns_get(&header->columns, store->columns, slot, &values);
	iqdb_columns_encode(&header->options, &values, at);
	return at + header->columns.encoded_bytes;
}

static size_t
row_size(const IqdbStore *store, uint32_t slot, IqdbRowState state)
{
	size_t metadata_length;
	size_t size = iqdb_id_encoded_size(iqdb_store_id(store, slot)) + 8 + 1;

	if (iqdb_store_metadata(store, slot, &metadata_length) != NULL)
		size += 4 + metadata_length;
	if (state == IQDB_ROW_LIVE)
		size += store->header->columns.encoded_bytes + iqdb_element_bytes(store->element, store->header->options.dimension);
	return size;
}

static unsigned char *
encode_row(const IqdbStore *store, uint32_t slot, IqdbRowState state, unsigned char *at)
{
	size_t               dimension = store->header->options.dimension;
	size_t               length;
	const unsigned char *metadata = iqdb_store_metadata(store, slot, &length);

	at = iqdb_id_encode(iqdb_store_id(store, slot), at);
	iqdb_store_u64(at, iqdb_store_sequence(store, slot));
	at += 8;
	*at++ = metadata != NULL ? 1 : 0;
	if (metadata != NULL)
	{
		iqdb_store_u32(at, (uint32_t) length);
		memcpy(at + 4, metadata, length);
		at += 4 + length;
	}
	if (state != IQDB_ROW_LIVE)
		return at;
	at = encode_columns(store, slot, at);
	iqdb_element_encode(store->element, iqdb_store_vector(store, slot), dimension, at);
	return at + iqdb_element_bytes(store->element, dimension);
}

/*
 * How many slots from first on make the next chunk, and the size of its payload. At least one slot, whatever its size.
 * Caller holds ROWS.
 */
static uint32_t
measure_chunk(const RowsSave *save, uint32_t first, size_t *size_out, bool *empty_out)
{
	uint32_t end = save->slot_count - first < SAVE_CHUNK_SLOTS ? save->slot_count : first + SAVE_CHUNK_SLOTS;
	uint32_t slot;
	size_t   size = 0;

	*empty_out = true;
	for (slot = first; slot < end; slot++)
	{
		IqdbRowState state = saved_state(save, slot);
		size_t       row = 1;

		if (state != IQDB_ROW_FREE)
		{
			row += row_size(save->store, slot, state);
			*empty_out = false;
		}
		if (slot > first && size + row > SAVE_CHUNK_BYTES)
			break;
		size += row;
	}
	*size_out = size;
	return slot - first;
}

/* Caller holds ROWS, and has held it since measure_chunk. */
static void
encode_chunk(RowsSave *save, uint32_t first, uint32_t count, size_t size)
{
	unsigned char *states = save->buffer.bytes + IQDB_CHUNK_HEADER_SIZE;
	unsigned char *at = states + count;

	iqdb_store_u32(save->buffer.bytes + IQDB_CHUNK_AT_FIRST, first);
	iqdb_store_u32(save->buffer.bytes + IQDB_CHUNK_AT_COUNT, count);
	iqdb_store_u64(save->buffer.bytes + IQDB_CHUNK_AT_LENGTH, size);
	for (uint32_t i = 0; i < count; i++)
	{
		IqdbRowState state = saved_state(save, first + i);

		states[i] = (unsigned char) state;
		if (state == IQDB_ROW_FREE)
			continue;
		at = encode_row(save->store, first + i, state, at);
		if (state == IQDB_ROW_LIVE)
			save->live++;
		else
			save->known++;
	}
}

/* Saves the slots from *first on that fit into one chunk, and moves *first behind them. */
static IqdbStatus
save_chunk(RowsSave *save, uint32_t *first, IqdbError *err)
{
	for (;;)
	{
		uint32_t count;
		size_t   size;
		bool     empty;
		bool     fits;

		iqdb_store_lock(save->store, IQDB_LOCK_ROWS, false);
		count = measure_chunk(save, *first, &size, &empty);
		fits = size <= save->buffer.allocated - IQDB_CHUNK_HEADER_SIZE;
		if (fits && !empty)
			encode_chunk(save, *first, count, size);
		iqdb_store_unlock(save->store, IQDB_LOCK_ROWS, false);
		if (!fits)
		{
			/* one huge row: more room without the lock, then look again */
			IQDB_TRY(buffer_room(&save->buffer, IQDB_CHUNK_HEADER_SIZE + size, err));
			continue;
		}
		*first += count;
		/* the next chunk is about as long, and comes from disk while this one is written */
		iqdb_store_prefetch_range(save->store, *first,
								  save->slot_count - *first < count ? save->slot_count - *first : count);
		if (empty)
			return IQDB_OK;
		return save->sink->write(save->sink->arg, IQDB_SECTION_ROWS, save->buffer.bytes, IQDB_CHUNK_HEADER_SIZE + size,
								 err);
	}
}

static IqdbStatus
save_header(RowsSave *save, IqdbError *err)
{
	unsigned char          bytes[IQDB_ROWS_HEADER_SIZE] = {0};
	const IqdbStoreHeader *header = save->store->header;

	/* the snapshot's first moment */
	iqdb_store_lock(save->store, IQDB_LOCK_ROWS, false);
	save->horizon = header->next_sequence;
	save->slot_count = atomic_load_explicit(&header->slot_count, memory_order_relaxed);
	iqdb_store_unlock(save->store, IQDB_LOCK_ROWS, false);

	memcpy(bytes, IQDB_ROWS_MAGIC, 8);
	iqdb_store_u32(bytes + IQDB_ROWS_AT_VERSION,
				   header->options.column_count > 0 ? IQDB_ROWS_VERSION : IQDB_ROWS_VERSION_NO_COLUMNS);
	iqdb_store_u32(bytes + IQDB_ROWS_AT_HEADER_LENGTH, IQDB_ROWS_HEADER_SIZE);
	iqdb_index_options_encode(&header->options, bytes + IQDB_ROWS_AT_OPTIONS);
	iqdb_store_u64(bytes + IQDB_ROWS_AT_NEXT_SEQUENCE, save->horizon);
	iqdb_store_u32(bytes + IQDB_ROWS_AT_SLOT_COUNT, save->slot_count);
	iqdb_store_u32(bytes + IQDB_ROWS_AT_COLUMN_COUNT, header->options.column_count);
	memcpy(bytes + IQDB_ROWS_AT_COLUMNS, header->options.columns, IQDB_COLUMNS_MAX);
	return save->sink->write(save->sink->arg, IQDB_SECTION_ROWS, bytes, sizeof(bytes), err);
}

static IqdbStatus
save_end(RowsSave *save, IqdbError *err)
{
	unsigned char bytes[IQDB_CHUNK_HEADER_SIZE + IQDB_CHUNK_END_SIZE];

	iqdb_store_u32(bytes + IQDB_CHUNK_AT_FIRST, save->slot_count);
	iqdb_store_u32(bytes + IQDB_CHUNK_AT_COUNT, 0);
	iqdb_store_u64(bytes + IQDB_CHUNK_AT_LENGTH, IQDB_CHUNK_END_SIZE);
	iqdb_store_u64(bytes + IQDB_CHUNK_HEADER_SIZE, save->live);
	iqdb_store_u64(bytes + IQDB_CHUNK_HEADER_SIZE + 8, save->known);
	return save->sink->write(save->sink->arg, IQDB_SECTION_ROWS, bytes, sizeof(bytes), err);
}

static IqdbStatus
save_rows(RowsSave *save, IqdbError *err)
{
	uint32_t slot = 0;

	IQDB_TRY(save_header(save, err));
	IQDB_TRY(buffer_room(&save->buffer, IQDB_CHUNK_HEADER_SIZE + SAVE_CHUNK_BYTES, err));
	while (slot < save->slot_count)
	{
		if (iqdb_host_cancelled(save->store->host))
			return iqdb_fail(err, IQDB_ERR_CANCELLED, "saving was cancelled");
		IQDB_TRY(save_chunk(save, &slot, err));
	}
	return save_end(save, err);
}

static IqdbStatus
write_engine(void *arg, const void *bytes, size_t length, IqdbError *err)
{
	IqdbSectionSink *sink = arg;

	return sink->write(sink->arg, IQDB_SECTION_ENGINE, bytes, length, err);
}

IqdbStatus
iqdb_index_save(IqdbIndex *index, IqdbSectionSink *sink, IqdbError *err)
{
	RowsSave   save = {.store = &index->store, .sink = sink, .buffer = {.allocator = &index->host->allocator}};
	IqdbSink   engine_sink = {.write = write_engine, .arg = sink};
	IqdbStatus status = save_rows(&save, err);

	buffer_free(&save.buffer);
	IQDB_TRY(status);
	return index->engine->save(&index->store, &engine_sink, err);
}

/* ---- loading ---- */

typedef struct RowsLoad
{
	IqdbIndex         *index;
	IqdbSectionSource *source;
	Buffer             buffer;
	void              *vector;    /* one row's, aligned */
	IqdbColumnValues   columns;   /* and its columns */
	uint64_t           at;        /* bytes of the section read so far */
	uint64_t           horizon;
	uint64_t           last_sequence;
	bool               ascending; /* sequences ascend with the slots: then they differ */
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

	if (count > IQDB_COLUMNS_MAX || (count > 0) != (version == IQDB_ROWS_VERSION))
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
load_row(RowsLoad *load, Reader *reader, uint32_t slot, IqdbRowState state, IqdbError *err)
{
	IqdbRow    row = {.vector = state == IQDB_ROW_LIVE ? load->vector : NULL};
	uint64_t   offset = reader->offset;
	uint64_t   sequence;
	size_t     used;
	IqdbStatus status;

	if (iqdb_id_decode(reader->at, reader->left, &row.id, &used, NULL) != IQDB_OK)
		return corrupt(offset, "id is damaged", err);
	reader_skip(reader, used);
	if (reader->left < 8)
		return corrupt(reader->offset, "row is cut short", err);
	sequence = iqdb_load_u64(reader->at);
	if (sequence == 0 || sequence >= load->horizon)
		return corrupt(reader->offset, "sequence out of range", err);
	if (sequence <= load->last_sequence)
		load->ascending = false;
	load->last_sequence = sequence;
	reader_skip(reader, 8);
	IQDB_TRY(load_row_metadata(reader, &row, err));
	if (state == IQDB_ROW_LIVE)
	{
		IQDB_TRY(load_row_columns(load, reader, err));
		IQDB_TRY(load_row_vector(load, reader, err));
		load->live++;
	}
	else
		load->known++;
	status = iqdb_store_load_row(&load->index->store, load->index->engine, slot, sequence, &row,
								 &load->columns, err);
	return status == IQDB_ERR_CORRUPT ? corrupt(offset, "an id occurs twice", err) : status;
}

/* Reads a payload into the buffer, asking for memory only as bytes come. */
static IqdbStatus
load_payload(RowsLoad *load, uint64_t length, IqdbError *err)
{
	size_t have = 0;

	while (have < length)
	{
		size_t step = length - have < LOAD_STEP + have ? (size_t) length - have : LOAD_STEP + have;

		IQDB_TRY(buffer_room(&load->buffer, have + step, err));
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
	for (uint32_t i = 0; i < count; i++)
	{
		if (states[i] == IQDB_ROW_FREE)
			continue;
		if (states[i] != IQDB_ROW_KNOWN && states[i] != IQDB_ROW_LIVE)
			return corrupt(offset + i, "bad state of a slot", err);
		IQDB_TRY(load_row(load, &reader, first + i, (IqdbRowState) states[i], err));
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
iqdb_index_load(IqdbIndex *index, IqdbSectionSource *source, IqdbError *err)
{
	RowsLoad   load = {.index = index,
					   .source = source,
					   .buffer = {.allocator = &index->host->allocator},
					   .ascending = true};
	size_t     vector_size = iqdb_element_bytes(index->store.element, index->store.header->options.dimension);
	IqdbSource engine_source = {.read = read_engine, .arg = source};
	IqdbStatus status;

	if (atomic_load_explicit(&index->store.header->slot_count, memory_order_relaxed) != 0)
		return iqdb_fail(err, IQDB_ERR_STATE, "an index is loaded into an empty one only");
	load.vector = iqdb_alloc(&index->host->allocator, vector_size);
	if (load.vector == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for a vector of %zu bytes", vector_size);
	status = load_rows(&load, err);
	iqdb_free(&index->host->allocator, load.vector, vector_size);
	buffer_free(&load.buffer);
	IQDB_TRY(status);
	return index->engine->load(&index->store, &engine_source, err);
}
