/*
 * hnsw_graph.c - the graph's bytes in the arena: shape, room, node locks, lists.
 *
 * Owns: what stands where. Does not own: the blocks of the upper levels (hnsw_upper.c), rows waiting for links
 * (hnsw_pending.c), which links there are (hnsw_links.c, hnsw_insert.c, hnsw_delete.c).
 */
#include "core/hnsw/hnsw_graph_private.h"

#include <string.h>

#include "core/engine/spin.h"
#include "core/hnsw/hnsw_sketch_private.h"

#define LAYOUT 4
#define CACHE_LINE 64u

/* Upper blocks for which there is memory beyond the expected number and an eighth of it. */
#define BLOCKS_SPARE 64u

/*
 * How much nearer a selected neighbour must be, as a factor on keys: README.md, "Choosing neighbours". By the power of
 * a distance that keys are (IqdbMetricTraits.prune_power); where no triangle inequality holds, a factor means nothing.
 */
static const float alphas[] = {1.0f, 1.07f, 1.15f};

/* How much farther than the nearest node another may be to be followed as well, as a share: README.md, "The way down". */
static const float margins[] = {0.0f, 0.14f, 0.3f};

_Static_assert(sizeof(IqdbiHnswHeader) <= IQDB_HEADERS_SIZE - IQDB_ENGINE_HEADER_OFFSET, "one page for the engine");
_Static_assert(sizeof(IqdbiHnswNode) == 24, "a node's head is 24 bytes, its links follow");
_Static_assert(sizeof(IqdbSq8Row) == 16, "four rows' scalars in a cache line");
_Static_assert(sizeof(_Atomic uint64_t) == 8, "atomics live in shared memory as they are");

/* ---- shape ------------------------------------------------------------------------------------------------------- */

typedef struct Shape
{
	uint32_t record_size;
	uint32_t node_offset;
	uint32_t room[2];
	uint32_t degree[2];
	uint32_t block_words;
} Shape;

static uint32_t
round_up(uint32_t value, uint32_t unit)
{
	return (value + unit - 1) / unit * unit;
}

static IqdbiHnswCode
graph_code(const IqdbIndexOptions *options)
{
	if (options->quantization == IQDB_QUANTIZATION_SQ8 && iqdb_sq8_possible((IqdbMetric) options->metric))
		return IQDBI_HNSW_BYTES;
	if (options->quantization == IQDB_QUANTIZATION_BQ && iqdb_signs_possible((IqdbMetric) options->metric))
		return IQDBI_HNSW_SIGNS;
	return IQDBI_HNSW_PLAIN;
}

/* Bytes of the code that stands before a node's head. */
static uint32_t
graph_code_bytes(const IqdbIndexOptions *options)
{
	switch (graph_code(options))
	{
		case IQDBI_HNSW_BYTES:
			return round_up(options->dimension, 16);
		case IQDBI_HNSW_SIGNS:
			return (uint32_t) (iqdb_signs_words(options->dimension) * sizeof(uint64_t) + sizeof(IqdbSignsRow));
		default:
			return 0;
	}
}

/* Bytes per slot in region SCALARS. */
static uint64_t
scalar_bytes(const IqdbIndexOptions *options)
{
	return graph_code(options) == IQDBI_HNSW_BYTES ? sizeof(IqdbSq8Row) : 0;
}

/* Bytes per slot in region SKETCHES. */
static uint64_t
sketch_bytes(const IqdbIndexOptions *options)
{
	return iqdbi_sketch_bytes(graph_code(options));
}

/* Size of region TWINS for so many slots. */
static uint64_t
twins_bytes(uint64_t slots)
{
	return (slots / IQDBI_HNSW_TWINS_PER_BUCKET + 1) * IQDBI_HNSW_TWIN_BUCKET;
}

/* Size of region CENTRE. */
static uint64_t
centre_bytes(const IqdbIndexOptions *options)
{
	IqdbiHnswCode code = graph_code(options);
	uint64_t      floats = code == IQDBI_HNSW_PLAIN ? 0 : options->dimension;

	if (code == IQDBI_HNSW_SIGNS)
		floats += iqdb_signs_flips(options->dimension);
	floats += iqdbi_sketch_flips(code, options->dimension);
	return iqdb_element_bytes(iqdb_element(IQDB_ELEMENT_F32), floats);
}

/*
 * Level 0 has room for 2m links and about m / 2 more, and for as many as fill the record's last cache line: a full
 * list is cut back to 2m only once per that many new links.
 */
static Shape
shape_of(const IqdbIndexOptions *options)
{
	Shape    shape;
	uint32_t m = options->m;
	uint32_t slack = m / 2 > 2 ? m / 2 : 2;

	shape.node_offset = graph_code_bytes(options);
	shape.degree[0] = 2 * m;
	shape.degree[1] = m;
	shape.record_size =
		round_up(shape.node_offset + (uint32_t) sizeof(IqdbiHnswNode) + 4 * (shape.degree[0] + slack - 1), CACHE_LINE);
	shape.room[0] = (shape.record_size - shape.node_offset - (uint32_t) sizeof(IqdbiHnswNode)) / 4;
	shape.block_words = round_up(1 + shape.degree[1] + slack - 1, 4);
	shape.room[1] = shape.block_words - 1;
	return shape;
}

/*
 * Blocks that so many rows need: a row reaches level l with probability m^-l, so it has 1 / (m - 1) blocks in the mean.
 */
static uint64_t
blocks_expected(const IqdbIndexOptions *options, uint64_t slots)
{
	return slots / (options->m - 1) + 1;
}

void
iqdbi_hnsw_reserves(const IqdbIndexOptions *options, uint64_t slots_max, uint64_t reserves_out[IQDB_ENGINE_REGIONS_MAX])
{
	Shape    shape = shape_of(options);
	uint64_t slots = slots_max < IQDBI_HNSW_SLOTS_MAX ? slots_max : IQDBI_HNSW_SLOTS_MAX;

	memset(reserves_out, 0, IQDB_ENGINE_REGIONS_MAX * sizeof(*reserves_out));
	reserves_out[IQDBI_HNSW_NODES] = slots * shape.record_size;
	reserves_out[IQDBI_HNSW_UPPER] = (2 * blocks_expected(options, slots) + 16 * BLOCKS_SPARE) * shape.block_words * 4;
	reserves_out[IQDBI_HNSW_PENDING] = slots * sizeof(uint32_t);
	reserves_out[IQDBI_HNSW_SCALARS] = slots * scalar_bytes(options);
	reserves_out[IQDBI_HNSW_SKETCHES] = slots * sketch_bytes(options);
	reserves_out[IQDBI_HNSW_CENTRE] = centre_bytes(options);
	reserves_out[IQDBI_HNSW_TWINS] = twins_bytes(slots);
}

uint64_t
iqdbi_hnsw_bytes_per_row(const IqdbIndexOptions *options)
{
	Shape shape = shape_of(options);

	return shape.record_size + scalar_bytes(options) + sketch_bytes(options) + sizeof(uint32_t) +
		   shape.block_words * 4 / (options->m - 1) + IQDBI_HNSW_TWIN_BUCKET / IQDBI_HNSW_TWINS_PER_BUCKET;
}

/*
 * A snapshot holds links and no codes: lists are about five sixths full, whatever the rows are (m 8 to 32, measured). Beside
 * them a node has its sequence, its level, and the lengths of its lists.
 */
uint64_t
iqdbi_hnsw_snapshot_bytes(const IqdbIndexOptions *options, uint64_t rows)
{
	return rows * (20 + 33 * (uint64_t) options->m / 5);
}

IqdbStatus
iqdbi_hnsw_format(IqdbStore *store, IqdbError *err)
{
	const IqdbIndexOptions *options = &store->header->options;
	IqdbiHnswHeader        *header = store->engine_header;
	Shape                   shape = shape_of(options);
	float                  *centre;

	memset(header, 0, sizeof(*header));
	header->layout = LAYOUT;
	header->record_size = shape.record_size;
	header->node_offset = shape.node_offset;
	header->block_words = shape.block_words;
	for (int i = 0; i < 2; i++)
	{
		header->room[i] = shape.room[i];
		header->degree[i] = shape.degree[i];
	}
	header->block_count = 1;
	header->twin_buckets = 1;
	IQDB_TRY(iqdb_arena_grow(store->arena, IQDB_REGION_ENGINE + IQDBI_HNSW_TWINS, twins_bytes(0), err));
	memset(iqdb_store_engine_region(store, IQDBI_HNSW_TWINS), 0, twins_bytes(0));
	if (graph_code(options) == IQDBI_HNSW_PLAIN)
		return IQDB_OK;
	/* the centre is zero until there are rows to learn it from */
	IQDB_TRY(iqdb_arena_grow(store->arena, IQDB_REGION_ENGINE + IQDBI_HNSW_CENTRE, centre_bytes(options), err));
	centre = iqdb_store_engine_region(store, IQDBI_HNSW_CENTRE);
	if (graph_code(options) == IQDBI_HNSW_SIGNS)
		iqdb_signs_draw(options->seed, options->dimension, centre + options->dimension);
	else
		iqdb_rotation_draw(options->seed, iqdb_sketch_width(options->dimension), centre + options->dimension);
	return IQDB_OK;
}

IqdbStatus
iqdbi_hnsw_reserve(IqdbStore *store, uint32_t slot_count, IqdbError *err)
{
	const IqdbIndexOptions *options = &store->header->options;
	const IqdbiHnswHeader  *header = store->engine_header;
	uint64_t                blocks = blocks_expected(options, slot_count);

	if (slot_count > IQDBI_HNSW_SLOTS_MAX)
		return iqdb_fail(err, IQDB_ERR_LIMIT, "an hnsw index has at most %u slots", IQDBI_HNSW_SLOTS_MAX);
	IQDB_TRY(iqdb_arena_grow(store->arena, IQDB_REGION_ENGINE + IQDBI_HNSW_NODES,
							 (uint64_t) slot_count * header->record_size, err));
	IQDB_TRY(iqdb_arena_grow(store->arena, IQDB_REGION_ENGINE + IQDBI_HNSW_PENDING,
							 (uint64_t) slot_count * sizeof(uint32_t), err));
	IQDB_TRY(iqdb_arena_grow(store->arena, IQDB_REGION_ENGINE + IQDBI_HNSW_TWINS, twins_bytes(slot_count), err));
	if (scalar_bytes(options) > 0)
		IQDB_TRY(iqdb_arena_grow(store->arena, IQDB_REGION_ENGINE + IQDBI_HNSW_SCALARS,
								 slot_count * scalar_bytes(options), err));
	if (sketch_bytes(options) > 0)
		IQDB_TRY(iqdb_arena_grow(store->arena, IQDB_REGION_ENGINE + IQDBI_HNSW_SKETCHES,
								 slot_count * sketch_bytes(options), err));
	return iqdb_arena_grow(store->arena, IQDB_REGION_ENGINE + IQDBI_HNSW_UPPER,
						   (blocks + blocks / 8 + BLOCKS_SPARE) * header->block_words * 4, err);
}

void
iqdbi_hnsw_view(IqdbiHnsw *graph_out, IqdbStore *store)
{
	const IqdbIndexOptions *options = &store->header->options;
	size_t                  read; /* bytes, of scoring one row */

	graph_out->store = store;
	graph_out->header = store->engine_header;
	graph_out->nodes = iqdb_store_engine_region(store, IQDBI_HNSW_NODES);
	graph_out->upper = iqdb_store_engine_region(store, IQDBI_HNSW_UPPER);
	graph_out->pending = iqdb_store_engine_region(store, IQDBI_HNSW_PENDING);
	graph_out->twins = iqdb_store_engine_region(store, IQDBI_HNSW_TWINS);
	graph_out->scalars = iqdb_store_engine_region(store, IQDBI_HNSW_SCALARS);
	graph_out->sketches = iqdb_store_engine_region(store, IQDBI_HNSW_SKETCHES);
	graph_out->centre = iqdb_store_engine_region(store, IQDBI_HNSW_CENTRE);
	graph_out->record_size = graph_out->header->record_size;
	graph_out->node_offset = graph_out->header->node_offset;
	graph_out->dim = options->dimension;
	graph_out->vector_bytes = iqdb_element_bytes(store->element, options->dimension);
	graph_out->prepared_bytes =
		store->element->is_prepared ? 0 : iqdb_element_prepared_bytes(store->element, options->dimension);
	graph_out->metric = (IqdbMetric) options->metric;
	graph_out->code = graph_code(options);
	graph_out->signs.kernels = iqdb_signs_kernels(store->kernels);
	graph_out->signs.metric = graph_out->metric;
	graph_out->signs.dim = graph_out->dim;
	graph_out->signs.centre = graph_out->centre;
	graph_out->signs.flips = graph_out->centre + graph_out->dim;
	graph_out->alpha = alphas[store->metric->prune_power];
	graph_out->margin = margins[store->metric->prune_power];
	read = graph_out->code == IQDBI_HNSW_PLAIN ? graph_out->vector_bytes : graph_out->node_offset;
	/* bits are compared with several planes of a query */
	if (graph_out->code == IQDBI_HNSW_SIGNS)
		read *= IQDB_SIGNS_PLANES / 2;
	graph_out->cost = 16 + (uint32_t) (read / 24);
}

/* ---- node locks -------------------------------------------------------------------------------------------------- */

uint32_t
iqdbi_hnsw_version(const IqdbiHnswNode *node)
{
	uint32_t spins = 0;

	for (;;)
	{
		uint32_t word = atomic_load_explicit(&node->lock, memory_order_acquire);

		if ((word & 1) == 0)
			return word;
		iqdb_spin(&spins);
	}
}

bool
iqdbi_hnsw_lock_version(IqdbiHnswNode *node, uint32_t word)
{
	return atomic_compare_exchange_strong_explicit(&node->lock, &word, word | 1, memory_order_acquire,
												   memory_order_relaxed);
}

uint32_t
iqdbi_hnsw_lock(IqdbiHnswNode *node)
{
	for (;;)
	{
		uint32_t word = iqdbi_hnsw_version(node);

		if (iqdbi_hnsw_lock_version(node, word))
			return word;
	}
}

void
iqdbi_hnsw_unlock(IqdbiHnswNode *node, uint32_t word)
{
	atomic_store_explicit(&node->lock, word + 2, memory_order_release);
}

/* A reader that comes in between sees old and new links mixed, and at most the larger of the two lengths. */
void
iqdbi_list_write(_Atomic uint32_t *list, const uint32_t *slots, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		atomic_store_explicit(&list[1 + i], slots[i], memory_order_release);
	atomic_store_explicit(&list[0], count, memory_order_release);
}

void
iqdbi_hnsw_set_info(const IqdbiHnsw *graph, uint32_t slot, uint32_t status, uint32_t level)
{
	_Atomic uint32_t *info = &iqdbi_hnsw_node(graph, slot)->info;
	uint32_t          old = atomic_load_explicit(info, memory_order_relaxed);
	uint32_t          wanted = iqdbi_info_make(status, level);

	while (!atomic_compare_exchange_weak_explicit(info, &old, wanted | (old & IQDBI_INFO_DEAD), memory_order_acq_rel,
												  memory_order_relaxed))
		;
}
