/*
 * store_shape.c - what follows from an index's options for its rows: their width, the sizes of the regions, a process's view
 * of them, and the header of an empty store.
 *
 * Does not own: rows and their life (store.c).
 */
#include "core/engine/store_private.h"

#include <string.h>

/* Bytes that make a row start at a cache line, and at the least alignment for vector loads. */
#define STRIDE_LINE 64u
#define STRIDE_MIN 16u

/* Slots beyond what memory_max pays for, so that the limit and not the reserve ends a full index. */
#define SLOTS_SPARE 1024

/* The longest file of vectors: address space is finite, too, and so are files on most file systems. */
#define PAGED_MAX (UINT64_C(4) * 1024 * 1024 * 1024 * 1024)

_Static_assert(sizeof(IqdbSlot) == 16, "the slot table's entries are a quarter of a cache line");
_Static_assert(IQDB_SEQUENCE_MAX >> 32 < IQDB_SLOT_BLOB >> 48, "the sequence's upper bits fit below the flag");
_Static_assert(IQDB_ID_U64 < IQDBI_BLOB_UNIT && IQDB_ID_BYTES < IQDBI_BLOB_UNIT, "an offset has room for the kind");
_Static_assert(sizeof(IqdbStoreHeader) <= IQDB_ENGINE_HEADER_OFFSET - IQDB_STORE_HEADER_OFFSET, "one page for the store");
_Static_assert(sizeof(_Atomic uint8_t) == 1 && sizeof(_Atomic uint32_t) == 4, "atomics live in shared memory as they are");

/* Unknown elements have been refused by iqdb_index_options_check(), and take no room here. */
uint32_t
iqdb_store_stride(const IqdbIndexOptions *options)
{
	const IqdbElement *element = iqdb_element(options->element);
	uint32_t           bytes = element != NULL ? (uint32_t) iqdb_element_bytes(element, options->dimension) : 0;
	uint32_t           lines = (bytes + STRIDE_LINE - 1) / STRIDE_LINE * STRIDE_LINE;

	if ((lines - bytes) * 8 <= bytes)
		return lines;
	return (bytes + STRIDE_MIN - 1) / STRIDE_MIN * STRIDE_MIN;
}

/* Others compute the norm of a row whose vector they read, where they need it at all. */
uint64_t
iqdbi_norm_bytes(const IqdbIndexOptions *options)
{
	const IqdbMetricTraits *metric = iqdb_metric_traits(options->metric);
	const IqdbStore        *store;

	return metric != NULL && metric->needs_norms ? sizeof(*store->norms) : 0;
}

uint64_t
iqdb_store_bytes_per_row(const IqdbIndexOptions *options)
{
	/* slot, state, norm, a share of a bucket, columns, and the vector */
	return sizeof(IqdbSlot) + 1 + iqdbi_norm_bytes(options) + sizeof(uint32_t) / IQDBI_BUCKET_ROWS +
		   iqdb_columns_bytes_per_row(options) + (iqdb_index_options_on_disk(options) ? 0 : iqdb_store_stride(options));
}

uint64_t
iqdb_store_disk_per_row(const IqdbIndexOptions *options)
{
	return iqdb_index_options_on_disk(options) ? iqdb_store_stride(options) : 0;
}

uint64_t
iqdb_store_reserves(const IqdbIndexOptions *options, uint64_t engine_bytes, uint64_t memory_max, uint64_t host_reserve,
					uint64_t reserves_out[IQDB_REGION_ENGINE])
{
	bool     on_disk = iqdb_index_options_on_disk(options);
	uint64_t slots_max = memory_max / (iqdb_store_bytes_per_row(options) + (on_disk ? engine_bytes : 0)) + SLOTS_SPARE;

	if (on_disk && slots_max > PAGED_MAX / iqdb_store_stride(options))
		slots_max = PAGED_MAX / iqdb_store_stride(options);
	if (slots_max > IQDB_SLOTS_MAX)
		slots_max = IQDB_SLOTS_MAX;
	memset(reserves_out, 0, IQDB_REGION_ENGINE * sizeof(*reserves_out));
	reserves_out[IQDB_REGION_HEADERS] = IQDB_HEADERS_SIZE;
	reserves_out[IQDB_REGION_SLOTS] = slots_max * sizeof(IqdbSlot);
	reserves_out[IQDB_REGION_STATES] = slots_max;
	reserves_out[IQDB_REGION_NORMS] = slots_max * iqdbi_norm_bytes(options);
	reserves_out[IQDB_REGION_VECTORS] = slots_max * iqdb_store_stride(options);
	reserves_out[IQDB_REGION_BUCKETS] = slots_max / IQDBI_BUCKET_ROWS * sizeof(uint32_t);
	/* a whole index may be metadata */
	reserves_out[IQDB_REGION_BLOBS] = memory_max;
	reserves_out[IQDB_REGION_METADATA] = slots_max * sizeof(uint64_t);
	reserves_out[IQDB_REGION_COLUMNS] = iqdb_columns_region_bytes(options, slots_max);
	reserves_out[IQDB_REGION_HOST] = host_reserve;
	return slots_max;
}

/* What the options say of a row, looked up; nothing where they are not known yet or wrong (iqdb_store_check_header). */
static void
view_rows(IqdbStore *store)
{
	const IqdbIndexOptions *options = &store->header->options;

	store->element = iqdb_element(options->element);
	store->metric = iqdb_metric_traits(options->metric);
	store->row_stride = store->header->row_stride;
	if (store->element == NULL || store->metric == NULL)
		return;
	store->row_kernels = store->kernels->elements[options->element];
	store->sum = &store->row_kernels->sums[store->metric->sum];
}

void
iqdb_store_view(IqdbStore *store_out, IqdbArena *arena, const IqdbHost *host, const IqdbKernels *kernels)
{
	unsigned char *headers = iqdb_arena_region(arena, IQDB_REGION_HEADERS);

	memset(store_out, 0, sizeof(*store_out));
	store_out->arena = arena;
	store_out->host = host;
	store_out->kernels = kernels;
	store_out->header = (IqdbStoreHeader *) (void *) (headers + IQDB_STORE_HEADER_OFFSET);
	store_out->engine_header = headers + IQDB_ENGINE_HEADER_OFFSET;
	store_out->slots = iqdb_arena_region(arena, IQDB_REGION_SLOTS);
	store_out->states = iqdb_arena_region(arena, IQDB_REGION_STATES);
	if (iqdb_arena_header(arena)->regions[IQDB_REGION_NORMS].reserved > 0)
		store_out->norms = iqdb_arena_region(arena, IQDB_REGION_NORMS);
	store_out->vectors = iqdb_arena_region(arena, IQDB_REGION_VECTORS);
	store_out->blobs = iqdb_arena_region(arena, IQDB_REGION_BLOBS);
	store_out->metadata = iqdb_arena_region(arena, IQDB_REGION_METADATA);
	store_out->columns = iqdb_arena_region(arena, IQDB_REGION_COLUMNS);
	store_out->paged = iqdb_arena_header(arena)->paged_region == IQDB_REGION_VECTORS;
	if (iqdb_arena_header(arena)->regions[IQDB_REGION_HEADERS].committed >= IQDB_HEADERS_SIZE)
		view_rows(store_out);
}

IqdbStatus
iqdb_store_format(IqdbStore *store, const IqdbIndexOptions *options, uint64_t host_bytes, IqdbError *err)
{
	IqdbStoreHeader *header;

	IQDB_TRY(iqdb_arena_grow(store->arena, IQDB_REGION_HEADERS, IQDB_HEADERS_SIZE, err));
	IQDB_TRY(iqdb_arena_grow(store->arena, IQDB_REGION_HOST, host_bytes, err));
	IQDB_TRY(iqdb_arena_grow(store->arena, IQDB_REGION_BLOBS, IQDBI_BLOB_UNIT, err));
	header = store->header;
	memset(header, 0, sizeof(*header));
	header->options = *options;
	header->row_stride = iqdb_store_stride(options);
	iqdb_columns_layout(options, &header->columns);
	view_rows(store);
	header->free_head = IQDB_SLOT_NONE;
	header->limbo_head = IQDB_SLOT_NONE;
	header->limbo_tail = IQDB_SLOT_NONE;
	header->next_sequence = 1;
	header->blob_end = IQDBI_BLOB_UNIT;
	return iqdbi_map_format(store, err);
}

IqdbStatus
iqdb_store_check_header(const IqdbStore *store, IqdbError *err)
{
	const IqdbArenaHeader *arena = iqdb_arena_header(store->arena);
	const IqdbStoreHeader *header = store->header;
	uint64_t               slots = atomic_load_explicit(&header->slot_count, memory_order_acquire);
	IqdbColumnLayout       columns;

	IQDB_TRY(iqdb_index_options_check(&header->options, err));
	iqdb_columns_layout(&header->options, &columns);
	if (header->row_stride != iqdb_store_stride(&header->options) ||
		memcmp(&columns, &header->columns, sizeof(columns)) != 0 ||
		arena->regions[IQDB_REGION_COLUMNS].committed < iqdb_columns_region_bytes(&header->options, slots) ||
		arena->regions[IQDB_REGION_SLOTS].committed < slots * sizeof(IqdbSlot) ||
		arena->regions[IQDB_REGION_STATES].committed < slots ||
		arena->regions[IQDB_REGION_VECTORS].committed / header->row_stride < slots)
		return iqdb_fail(err, IQDB_ERR_CORRUPT, "the row store's header is inconsistent");
	return IQDB_OK;
}
