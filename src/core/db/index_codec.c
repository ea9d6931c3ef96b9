/*
 * index_codec.c - rows to bytes; format and rules in index_codec.h.
 *
 * Owns: how options, the section ROWS and the hand-over of the section ENGINE are written. Does not own: how they are read
 * (index_load.c), files, blocks, checksums (persist/), nor what an engine writes.
 */
#include "core/db/index_codec.h"

#include <string.h>

#include "core/base/endian.h"
#include "core/db/index_codec_private.h"
#include "core/engine/store_write.h"

/* What save() puts into one chunk: small, because writers wait while it is copied. */
#define SAVE_CHUNK_SLOTS 4096u
#define SAVE_CHUNK_BYTES ((size_t) 256 * 1024)

/* ---- buffers ---- */

IqdbStatus
iqdbi_buffer_room(IqdbiBuffer *buffer, size_t size, IqdbError *err)
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

void
iqdbi_buffer_free(IqdbiBuffer *buffer)
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
	IqdbiBuffer      buffer;
	uint64_t         horizon; /* rows from this sequence on are left out */
	uint32_t         slot_count;
	bool             bare;   /* of each row only its number and sequence are written */
	bool             unfit;  /* a bare row has no number */
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

/* Bytes of a row; of a bare one the most that they can be. */
static size_t
row_size(const RowsSave *save, uint32_t slot, IqdbRowState state)
{
	const IqdbStore *store = save->store;
	size_t           metadata_length;
	size_t           size = iqdb_id_encoded_size(iqdb_store_id(store, slot)) + 8 + 1;

	if (save->bare)
		return 2 * IQDB_VARINT_MAX;

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

/* A bare row, as its differences to the one before it in the chunk. */
static unsigned char *
encode_bare_row(RowsSave *save, uint32_t slot, IqdbiBareRow *before, unsigned char *at)
{
	IqdbId       id = iqdb_store_id(save->store, slot);
	IqdbiBareRow row = {.number = id.number, .sequence = iqdb_store_sequence(save->store, slot)};

	if (id.kind != IQDB_ID_U64)
	{
		save->unfit = true;
		return at;
	}
	at = iqdb_store_varint(at, iqdb_zigzag(row.number - before->number));
	at = iqdb_store_varint(at, iqdb_zigzag(row.sequence - before->sequence));
	*before = row;
	return at;
}

/*
 * How many slots from first on make the next chunk, and the most that its payload can take. At least one slot, whatever
 * its size. Caller holds ROWS.
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
			row += row_size(save, slot, state);
			*empty_out = false;
		}
		if (slot > first && size + row > SAVE_CHUNK_BYTES)
			break;
		size += row;
	}
	*size_out = size;
	return slot - first;
}

/* Returns the size of the payload. Caller holds ROWS, and has held it since measure_chunk. */
static size_t
encode_chunk(RowsSave *save, uint32_t first, uint32_t count)
{
	unsigned char *states = save->buffer.bytes + IQDB_CHUNK_HEADER_SIZE;
	unsigned char *at = states + count;
	IqdbiBareRow   before = {0, 0};

	for (uint32_t i = 0; i < count; i++)
	{
		IqdbRowState state = saved_state(save, first + i);

		states[i] = (unsigned char) state;
		if (state == IQDB_ROW_FREE)
			continue;
		if (save->bare)
			at = encode_bare_row(save, first + i, &before, at);
		else
			at = encode_row(save->store, first + i, state, at);
		if (state == IQDB_ROW_LIVE)
			save->live++;
		else
			save->known++;
	}
	iqdb_store_u32(save->buffer.bytes + IQDB_CHUNK_AT_FIRST, first);
	iqdb_store_u32(save->buffer.bytes + IQDB_CHUNK_AT_COUNT, count);
	iqdb_store_u64(save->buffer.bytes + IQDB_CHUNK_AT_LENGTH, (uint64_t) (at - states));
	return (size_t) (at - states);
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
			size = encode_chunk(save, *first, count);
		iqdb_store_unlock(save->store, IQDB_LOCK_ROWS, false);
		if (!fits)
		{
			/* one huge row: more room without the lock, then look again */
			IQDB_TRY(iqdbi_buffer_room(&save->buffer, IQDB_CHUNK_HEADER_SIZE + size, err));
			continue;
		}
		if (save->unfit)
			return iqdb_fail(err, IQDB_ERR_CONFIG, "rows whose ids are no numbers are saved as a whole only");
		*first += count;
		/* the next chunk is about as long, and comes from disk while this one is written */
		if (!save->bare)
			iqdb_store_prefetch_range(save->store, *first,
									  save->slot_count - *first < count ? save->slot_count - *first : count);
		if (empty)
			return IQDB_OK;
		return save->sink->write(save->sink->arg, IQDB_SECTION_ROWS, save->buffer.bytes, IQDB_CHUNK_HEADER_SIZE + size,
								 err);
	}
}

/* The oldest version that says all there is to say. */
static uint32_t
saved_version(const RowsSave *save)
{
	if (save->bare)
		return IQDB_ROWS_VERSION_BARE;
	return save->store->header->options.column_count > 0 ? IQDB_ROWS_VERSION_COLUMNS : IQDB_ROWS_VERSION_NO_COLUMNS;
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
	iqdb_store_u32(bytes + IQDB_ROWS_AT_VERSION, saved_version(save));
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
	IQDB_TRY(iqdbi_buffer_room(&save->buffer, IQDB_CHUNK_HEADER_SIZE + SAVE_CHUNK_BYTES, err));
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

static IqdbStatus
save_index(IqdbIndex *index, bool bare, IqdbSectionSink *sink, IqdbError *err)
{
	RowsSave   save = {.store = &index->store,
					   .sink = sink,
					   .buffer = {.allocator = &index->host->allocator},
					   .bare = bare};
	IqdbSink   engine_sink = {.write = write_engine, .arg = sink};
	IqdbStatus status = save_rows(&save, err);

	iqdbi_buffer_free(&save.buffer);
	IQDB_TRY(status);
	return index->engine->save(&index->store, &engine_sink, err);
}

IqdbStatus
iqdb_index_save(IqdbIndex *index, IqdbSectionSink *sink, IqdbError *err)
{
	return save_index(index, false, sink, err);
}

IqdbStatus
iqdb_index_save_bare(IqdbIndex *index, IqdbSectionSink *sink, IqdbError *err)
{
	return save_index(index, true, sink, err);
}
