/*
 * fuzz_rows.c - any bytes as the sections of rows and engine of a snapshot.
 *
 * Byte 0: engine and metric; all is done with vectors of floats, of halves and of bits. Bytes 1, 2: length of the first
 * section; then both sections. Properties: no read outside the bytes, and whatever loads is an index that verification finds
 * nothing wrong with, that takes writes, and whose own snapshot loads again.
 */
#include "core/db/index_codec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/endian.h"
#include "harness/elements.h"
#include "harness/memory_index.h"

#define DIM 2
#define MEMORY_MAX (UINT64_C(4) * 1024 * 1024)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(bool condition, const char *what)
{
	if (!condition)
	{
		fprintf(stderr, "fuzz_rows: violated: %s\n", what);
		abort();
	}
}

static void
set_section(MemorySnapshot *snapshot, int section, const uint8_t *bytes, size_t length)
{
	snapshot->bytes[section] = malloc(length > 0 ? length : 1);
	require(snapshot->bytes[section] != NULL, "memory");
	if (length > 0)
		memcpy(snapshot->bytes[section], bytes, length);
	snapshot->length[section] = length;
	snapshot->allocated[section] = length;
}

/* Rows that came bare get vectors by their numbers, but for some that are gone. */
static IqdbStatus
complete(IqdbIndex *index)
{
	IqdbStore *store = &index->store;

	for (uint32_t slot = 0; slot < atomic_load(&store->header->slot_count); slot++)
	{
		_Alignas(4) unsigned char vector[ELEMENT_BYTES(DIM)] = {0};
		uint64_t                  number = iqdb_store_id(store, slot).number;

		if (iqdb_store_state(store, slot) != IQDB_ROW_KNOWN || number % 5 == 4)
			continue;
		element_set(store->element->kind, vector, 0, (float) (number % 2));
		element_set(store->element->kind, vector, 1, (float) (number % 3));
		IQDB_TRY(iqdb_index_load_content(index, slot, vector, NULL, NULL));
	}
	return IQDB_OK;
}

static IqdbStatus
load(MemoryIndex *memory, const IqdbIndexOptions *options, MemorySnapshot *snapshot)
{
	IqdbSectionSource source = memory_snapshot_source(snapshot);
	bool              bare;

	memory_index_create(memory, options, &iqdb_locks_none, NULL, MEMORY_MAX);
	IQDB_TRY(iqdb_index_load_rows(&memory->index, &source, &bare, NULL));
	if (bare)
		IQDB_TRY(complete(&memory->index));
	return iqdb_index_load_engine(&memory->index, &source, NULL);
}

static void
use(MemoryIndex *memory)
{
	_Alignas(4) unsigned char vector[ELEMENT_BYTES(DIM)] = {0};
	IqdbSearchParams params = {.expected = 100};
	IqdbCursor      *cursor;
	IqdbHit          hits[64];
	size_t           count;
	uint64_t         total = 0;

	element_set(memory->index.store.element->kind, vector, 0, 1);
	element_set(memory->index.store.element->kind, vector, 1, 2);
	require(iqdb_cursor_open(&memory->index, vector, DIM, &params, &cursor, NULL) == IQDB_OK, "cursor");
	do
	{
		require(iqdb_cursor_next(cursor, hits, 64, &count, NULL) == IQDB_OK, "next");
		total += count;
	} while (count > 0);
	iqdb_cursor_close(cursor);
	require(total == iqdb_index_live_count(&memory->index), "every row is found");
	if (iqdb_index_put(&memory->index, iqdb_id_u64(1), vector, DIM, NULL, 0, NULL, NULL) == IQDB_OK)
		require(iqdb_index_contains(&memory->index, iqdb_id_u64(1), NULL), "what was put is there");
	require(memory_index_sound(&memory->index), "sound after a write");
}

static void
round_trip(MemoryIndex *memory, const IqdbIndexOptions *options)
{
	MemorySnapshot  snapshot;
	MemoryIndex     again;
	IqdbSectionSink sink = memory_snapshot_sink(&snapshot);

	memory_snapshot_init(&snapshot);
	require(iqdb_index_save(&memory->index, &sink, NULL) == IQDB_OK, "save");
	require(load(&again, options, &snapshot) == IQDB_OK, "what was saved loads");
	require(memory_index_sound(&again.index), "and is sound");
	require(iqdb_index_live_count(&again.index) == iqdb_index_live_count(&memory->index), "with all rows");
	memory_index_destroy(&again);
	memory_snapshot_free(&snapshot);
}

/* The shape's engine and metric; a metric that the element does not have becomes the first that it has. */
static IqdbIndexOptions
options_of(uint32_t element, uint8_t shape)
{
	IqdbEngineKind   engine = shape < 128 ? IQDB_ENGINE_FLAT : shape < 192 ? IQDB_ENGINE_HNSW : IQDB_ENGINE_IVF;
	uint32_t         metric = shape % IQDB_METRIC_JACCARD;
	IqdbIndexOptions options;

	if (iqdb_engine_get(engine) == NULL)
		engine = IQDB_ENGINE_FLAT;
	while ((iqdb_metric_traits(metric)->elements >> element & 1) == 0)
		metric = (metric + 1) % IQDB_METRIC_COUNT;
	options = iqdb_index_options_default(engine, DIM, (IqdbMetric) metric);
	iqdb_index_options_of_element(&options, (IqdbElementKind) element);
	if (engine == IQDB_ENGINE_HNSW && shape % 4 == 3 && options.quantization == IQDB_QUANTIZATION_SQ8)
		options.quantization = IQDB_QUANTIZATION_BQ;
	return options;
}

static void
run(const IqdbIndexOptions *options, const uint8_t *rows, size_t length, size_t size)
{
	MemorySnapshot snapshot;
	MemoryIndex    memory;

	memory_snapshot_init(&snapshot);
	set_section(&snapshot, IQDB_SECTION_ROWS, rows, length);
	set_section(&snapshot, IQDB_SECTION_ENGINE, rows + length, size - length);
	if (load(&memory, options, &snapshot) == IQDB_OK)
	{
		require(memory_index_sound(&memory.index), "what loads is sound");
		use(&memory);
		round_trip(&memory, options);
	}
	memory_index_destroy(&memory);
	memory_snapshot_free(&snapshot);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t length;

	if (size < 3)
		return 0;
	length = iqdb_load_u16(data + 1);
	if (length > size - 3)
		length = size - 3;
	for (uint32_t element = 0; element < IQDB_ELEMENT_COUNT; element++)
	{
		IqdbIndexOptions options = options_of(element, data[0]);

		run(&options, data + 3, length, size - 3);
	}
	return 0;
}
