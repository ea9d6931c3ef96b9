/*
 * hnsw_codec.c - the graph in a snapshot: section ENGINE of an hnsw index.
 *
 * Numbers are little-endian. Header, 32 bytes:
 *     0   8  magic "IQDBHNSW"
 *     8   4  format version, 2 (1 had neither centre nor twins)
 *    12   4  m
 *    16   4  slot count n: the chunks describe slots 0 .. n - 1
 *    20   4  slot of the entry point, or 2^32 - 1
 *    24   4  number of components of the codes' centre: the dimension, or 0 when there is none
 *    28   4  zero
 * then the centre, f32 each.
 *
 * Chunks follow until n slots are described:
 *     0   4  number of slots in this chunk, at least 1
 *     4   4  payload length, at most 256 KiB
 *     8      per slot: u8 0 (no node), or u8 1 + top level (1 .. 32), sequence u64 (0: a removed row), and per level
 *            from 0 on a count u16 and as many slots u32, or u8 255 (a twin), sequence u64, slot of its node u32
 *
 * Codes are not stored: they are made from the vectors again. Nodes of removed rows are stored as long as the graph
 * leads over them, but their rows are not in the snapshot; load() repairs the graph around them as a vacuum would have
 * done.
 *
 * save() runs beside writers: each node is read in one stretch, but nodes of one snapshot may be of different moments.
 * A node carries its row's sequence, so that load() does not give it to another row that has the slot by then.
 *
 * load() takes no number on trust: each is checked, or does no harm if it is wrong, and memory grows with the bytes
 * that are there.
 */
#include "core/hnsw/hnsw_codec_private.h"

#include <math.h>
#include <string.h>

#include "core/base/endian.h"
#include "core/hnsw/hnsw_centre_private.h"
#include "core/hnsw/hnsw_delete_private.h"
#include "core/hnsw/hnsw_graph_private.h"
#include "core/hnsw/hnsw_pending_private.h"
#include "core/hnsw/hnsw_score_private.h"
#include "core/hnsw/hnsw_sketch_private.h"
#include "core/hnsw/hnsw_twins_private.h"
#include "core/hnsw/hnsw_upper_private.h"

#define MAGIC "IQDBHNSW"
#define VERSION 2u
#define HEADER_SIZE 32
#define CHUNK_HEADER_SIZE 8
#define NODE_SIZE_MAX (1 + 8 + IQDBI_HNSW_LEVELS * (2 + 4 * IQDBI_HNSW_LIST_MAX))
#define TWIN 255
#define TWIN_SIZE 13
#define CHUNK_SIZE_WANTED 65536u
#define CHUNK_SIZE_MAX 262144u

_Static_assert(4 * IQDB_DIMENSION_MAX <= CHUNK_SIZE_MAX, "the buffer of a chunk has room for the centre");
_Static_assert(CHUNK_SIZE_WANTED + NODE_SIZE_MAX <= CHUNK_SIZE_MAX, "a chunk has room for one more node");

/* ---- writing ----------------------------------------------------------------------------------------------------- */

/* Writes one slot's description; returns its length. STRUCTURE is held. */
static size_t
encode_node(const IqdbiHnsw *graph, uint32_t slot, unsigned char *bytes)
{
	const IqdbStore *store = graph->store;
	uint32_t         info = iqdbi_hnsw_info(graph, slot);
	uint32_t         status = iqdbi_info_status(info);
	uint32_t         level = iqdbi_info_level(info);
	uint32_t         slots[IQDBI_HNSW_LIST_MAX];
	size_t           length = 9;
	bool             live = iqdb_store_state(store, slot) == IQDB_ROW_LIVE;

	bytes[0] = 0;
	if (status == IQDBI_INFO_TWIN && live)
	{
		bytes[0] = TWIN;
		iqdb_store_u64(bytes + 1, iqdb_store_sequence(store, slot));
		iqdb_store_u32(bytes + 9, atomic_load_explicit(&iqdbi_hnsw_node(graph, slot)->block, memory_order_relaxed));
		return TWIN_SIZE;
	}
	if (status != IQDBI_INFO_LINKED && (info & IQDBI_INFO_WAS_LINKED) == 0)
		return 1;
	bytes[0] = (unsigned char) (1 + level);
	iqdb_store_u64(bytes + 1, live ? iqdb_store_sequence(store, slot) : 0);
	for (uint32_t at = 0; at <= level; at++)
	{
		uint32_t count = iqdbi_list_read(graph, iqdbi_hnsw_list(graph, slot, at), at, slots);

		iqdb_store_u16(bytes + length, (uint16_t) count);
		length += 2;
		for (uint32_t i = 0; i < count; i++, length += 4)
			iqdb_store_u32(bytes + length, slots[i]);
	}
	return length;
}

/*
 * Writes nodes from `first` on, as many as fill a chunk. Returns the slot after them. Takes STRUCTURE shared: one
 * stretch.
 */
static uint32_t
encode_nodes(const IqdbiHnsw *graph, uint32_t first, uint32_t end, unsigned char *bytes, size_t *length_out)
{
	size_t   length = CHUNK_HEADER_SIZE;
	uint32_t slot = first;

	iqdb_store_lock(graph->store, IQDB_LOCK_STRUCTURE, false);
	while (slot < end && length < CHUNK_SIZE_WANTED)
		length += encode_node(graph, slot++, bytes + length);
	iqdb_store_unlock(graph->store, IQDB_LOCK_STRUCTURE, false);
	iqdb_store_u32(bytes, slot - first);
	iqdb_store_u32(bytes + 4, (uint32_t) (length - CHUNK_HEADER_SIZE));
	*length_out = length;
	return slot;
}

/* Writes the centre of the codes as it is now. Takes STRUCTURE shared. */
static IqdbStatus
save_centre(const IqdbiHnsw *graph, unsigned char *bytes, IqdbSink *sink, IqdbError *err)
{
	if (graph->code == IQDBI_HNSW_PLAIN)
		return IQDB_OK;
	iqdb_store_lock(graph->store, IQDB_LOCK_STRUCTURE, false);
	iqdb_store_f32_array(bytes, graph->centre, graph->dim);
	iqdb_store_unlock(graph->store, IQDB_LOCK_STRUCTURE, false);
	return sink->write(sink->arg, bytes, 4 * graph->dim, err);
}

static IqdbStatus
save_chunks(const IqdbiHnsw *graph, uint32_t end, unsigned char *bytes, IqdbSink *sink, IqdbError *err)
{
	for (uint32_t slot = 0; slot < end;)
	{
		size_t length;

		if (iqdb_host_cancelled(graph->store->host))
			return iqdb_fail(err, IQDB_ERR_CANCELLED, "saving the graph was cancelled");
		slot = encode_nodes(graph, slot, end, bytes, &length);
		IQDB_TRY(sink->write(sink->arg, bytes, length, err));
	}
	return IQDB_OK;
}

IqdbStatus
iqdbi_hnsw_save(IqdbStore *store, IqdbSink *sink, IqdbError *err)
{
	IqdbiHnsw      graph;
	IqdbStatus     status;
	uint64_t       entry;
	uint32_t       end = atomic_load_explicit(&store->header->slot_count, memory_order_acquire);
	unsigned char  header[HEADER_SIZE] = {0};
	unsigned char *bytes = iqdb_alloc(&store->host->allocator, CHUNK_HEADER_SIZE + CHUNK_SIZE_MAX);

	if (bytes == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for saving the graph");
	iqdbi_hnsw_view(&graph, store);
	entry = iqdbi_hnsw_entry(&graph);
	memcpy(header, MAGIC, 8);
	iqdb_store_u32(header + 8, VERSION);
	iqdb_store_u32(header + 12, store->header->options.m);
	iqdb_store_u32(header + 16, end);
	iqdb_store_u32(header + 20, entry == 0 ? IQDB_SLOT_NONE : iqdbi_entry_slot(entry));
	iqdb_store_u32(header + 24, graph.code == IQDBI_HNSW_PLAIN ? 0 : (uint32_t) graph.dim);
	status = sink->write(sink->arg, header, sizeof(header), err);
	if (status == IQDB_OK)
		status = save_centre(&graph, bytes, sink, err);
	if (status == IQDB_OK)
		status = save_chunks(&graph, end, bytes, sink, err);
	iqdb_free(&store->host->allocator, bytes, CHUNK_HEADER_SIZE + CHUNK_SIZE_MAX);
	return status;
}

/* ---- reading: nodes ---------------------------------------------------------------------------------------------- */

/* A load in progress. No other process uses the index. */
typedef struct Load
{
	IqdbiHnsw graph;
	uint32_t  end;        /* the snapshot describes slots below this */
	uint32_t  entry_slot; /* the entry point, as the snapshot says */
	uint32_t  known;      /* slots below this have records in the arena */
	uint32_t  lost;       /* nodes whose row is not in the snapshot */
	IqdbTopK  twins;      /* slots of twins, whose nodes are noted in their records */
	uint32_t  centre;     /* components of the centre in the snapshot */
	void     *prepared;   /* graph.prepared_bytes for iqdbi_hnsw_encode() */
} Load;

static IqdbStatus
graph_corrupt(IqdbError *err, const char *what)
{
	return iqdb_fail(err, IQDB_ERR_CORRUPT, "graph in snapshot: %s", what);
}

/* Is the row in this slot the one that the node was made for? */
static bool
slot_holds(const IqdbStore *store, uint32_t slot, uint64_t sequence)
{
	return slot < atomic_load_explicit(&store->header->slot_count, memory_order_relaxed) &&
		   iqdb_store_holds(store, slot, sequence);
}

/* Keeps links to other slots that have records, each once. Whether those are nodes is looked at when all are loaded. */
static uint32_t
decode_list(const Load *load, uint32_t slot, uint32_t level, const unsigned char *bytes, uint32_t count,
			uint32_t *slots)
{
	uint32_t room = iqdbi_hnsw_room(&load->graph, level);
	uint32_t kept = 0;

	for (uint32_t i = 0; i < count && kept < room; i++)
	{
		uint32_t to = iqdb_load_u32(bytes + 4 * (size_t) i);
		bool     twice = false;

		if (to == slot || to >= load->known)
			continue;
		for (uint32_t j = 0; j < kept && !twice; j++)
			twice = slots[j] == to;
		if (!twice)
			slots[kept++] = to;
	}
	return kept;
}

/* Makes the node. One whose row is gone, or another one, is kept as condemned until the graph is repaired around it. */
static void
begin_node(Load *load, uint32_t slot, uint32_t level, uint64_t sequence)
{
	const IqdbiHnsw *graph = &load->graph;
	IqdbStore       *store = graph->store;
	IqdbiHnswNode   *node = iqdbi_hnsw_node(graph, slot);
	uint32_t         info;

	level = iqdbi_hnsw_blocks_take(graph, slot, level);
	if (slot_holds(store, slot, sequence))
	{
		iqdbi_hnsw_encode(graph, slot, load->prepared);
		iqdbi_sketch_make(graph, slot, load->prepared);
		iqdbi_hnsw_twin_remember(graph, slot);
		info = iqdbi_info_make(IQDBI_INFO_LINKED, level);
		atomic_fetch_add_explicit(&graph->header->linked, 1, memory_order_relaxed);
		atomic_fetch_add_explicit(&graph->header->level_count[level], 1, memory_order_relaxed);
	}
	else
	{
		info = iqdbi_info_make(IQDBI_INFO_CONDEMNED, level) | IQDBI_INFO_DEAD;
		load->lost++;
	}
	atomic_store_explicit(&node->info, info, memory_order_relaxed);
}

/* Notes a twin until all nodes are loaded. */
static IqdbStatus
decode_twin(Load *load, uint32_t slot, const unsigned char *bytes, IqdbError *err)
{
	IqdbCandidate twin = {.sequence = iqdb_load_u64(bytes + 1), .slot = slot};

	if (!slot_holds(load->graph.store, slot, twin.sequence))
		return IQDB_OK;
	atomic_store_explicit(&iqdbi_hnsw_node(&load->graph, slot)->block, iqdb_load_u32(bytes + 9), memory_order_relaxed);
	if (iqdb_topk_offer(&load->twins, twin) != IQDB_OK)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for loading the graph");
	return IQDB_OK;
}

/* Reads one slot's description; *used_out is its length. */
static IqdbStatus
decode_node(Load *load, uint32_t slot, const unsigned char *bytes, size_t length, size_t *used_out, IqdbError *err)
{
	const IqdbiHnsw *graph = &load->graph;
	uint32_t         slots[IQDBI_HNSW_LIST_MAX];
	size_t           used = 9;
	uint32_t         level;
	uint32_t         have = 0;

	if (length < 1)
		return graph_corrupt(err, "chunk is too short");
	*used_out = 1;
	if (bytes[0] == 0)
		return IQDB_OK;
	if (bytes[0] == TWIN)
	{
		*used_out = TWIN_SIZE;
		return length >= TWIN_SIZE ? decode_twin(load, slot, bytes, err) : graph_corrupt(err, "chunk is too short");
	}
	level = bytes[0] - 1u;
	if (level > IQDBI_HNSW_LEVEL_MAX || length < used)
		return graph_corrupt(err, level > IQDBI_HNSW_LEVEL_MAX ? "level is too high" : "chunk is too short");
	if (slot < load->known)
	{
		begin_node(load, slot, level, iqdb_load_u64(bytes + 1));
		have = iqdbi_info_level(iqdbi_hnsw_info(graph, slot)) + 1;
	}
	for (uint32_t at = 0; at <= level; at++)
	{
		uint32_t count;

		if (length - used < 2)
			return graph_corrupt(err, "chunk is too short");
		count = iqdb_load_u16(bytes + used);
		used += 2;
		if (count > IQDBI_HNSW_LIST_MAX || (length - used) / 4 < count)
			return graph_corrupt(err, "list is too long");
		if (at < have)
			iqdbi_list_write(iqdbi_hnsw_list(graph, slot, at), slots,
							 decode_list(load, slot, at, bytes + used, count, slots));
		used += 4 * (size_t) count;
	}
	*used_out = used;
	return IQDB_OK;
}

static IqdbStatus
load_node_chunk(Load *load, uint32_t *slot, unsigned char *bytes, IqdbSource *source, IqdbError *err)
{
	uint32_t count;
	uint32_t length;
	size_t   at = 0;

	IQDB_TRY(source->read(source->arg, bytes, CHUNK_HEADER_SIZE, err));
	count = iqdb_load_u32(bytes);
	length = iqdb_load_u32(bytes + 4);
	if (count == 0 || count > load->end - *slot || length > CHUNK_SIZE_MAX || count > length)
		return graph_corrupt(err, "chunk header is out of range");
	IQDB_TRY(source->read(source->arg, bytes, length, err));
	for (uint32_t i = 0; i < count; i++)
	{
		size_t used = 0;

		IQDB_TRY(decode_node(load, *slot + i, bytes + at, length - at, &used, err));
		at += used;
	}
	if (at != length)
		return graph_corrupt(err, "chunk is longer than its nodes");
	*slot += count;
	return IQDB_OK;
}

static IqdbStatus
load_graph_header(Load *load, IqdbSource *source, IqdbError *err)
{
	const IqdbStore *store = load->graph.store;
	unsigned char    header[HEADER_SIZE];

	IQDB_TRY(source->read(source->arg, header, sizeof(header), err));
	if (memcmp(header, MAGIC, 8) != 0)
		return graph_corrupt(err, "no magic number");
	if (iqdb_load_u32(header + 8) < 1 || iqdb_load_u32(header + 8) > VERSION)
		return iqdb_fail(err, IQDB_ERR_VERSION, "graph in snapshot has version %u, this build reads up to %u",
						 iqdb_load_u32(header + 8), VERSION);
	load->centre = iqdb_load_u32(header + 24);
	if (iqdb_load_u32(header + 12) != store->header->options.m || iqdb_load_u32(header + 28) != 0 ||
		(load->centre != 0 && (load->graph.code == IQDBI_HNSW_PLAIN || load->centre != load->graph.dim)))
		return graph_corrupt(err, "header does not fit the index");
	load->end = iqdb_load_u32(header + 16);
	load->entry_slot = iqdb_load_u32(header + 20);
	if (load->end > IQDBI_HNSW_SLOTS_MAX)
		return graph_corrupt(err, "too many slots");
	return IQDB_OK;
}

static IqdbStatus
load_centre(const Load *load, unsigned char *bytes, IqdbSource *source, IqdbError *err)
{
	if (load->centre == 0)
		return IQDB_OK;
	IQDB_TRY(source->read(source->arg, bytes, 4 * (size_t) load->centre, err));
	iqdb_load_f32_array(load->graph.centre, bytes, load->centre);
	for (uint32_t i = 0; i < load->centre; i++)
	{
		if (!isfinite(load->graph.centre[i]))
			return graph_corrupt(err, "centre is not finite");
	}
	return IQDB_OK;
}

/* ---- reading: the graph as a whole ------------------------------------------------------------------------------- */

/* Drops links to slots that are no nodes, or do not reach the level. */
static void
drop_bad_links(const Load *load, uint32_t slot)
{
	const IqdbiHnsw *graph = &load->graph;
	uint32_t         info = iqdbi_hnsw_info(graph, slot);
	uint32_t         slots[IQDBI_HNSW_LIST_MAX];

	if (iqdbi_info_status(info) == IQDBI_INFO_ABSENT)
		return;
	for (uint32_t at = 0; at <= iqdbi_info_level(info); at++)
	{
		_Atomic uint32_t *list = iqdbi_hnsw_list(graph, slot, at);
		uint32_t          count = iqdbi_list_read(graph, list, at, slots);
		uint32_t          kept = 0;

		for (uint32_t i = 0; i < count; i++)
		{
			uint32_t other = iqdbi_hnsw_info(graph, slots[i]);

			if (iqdbi_info_status(other) != IQDBI_INFO_ABSENT && iqdbi_info_level(other) >= at)
				slots[kept++] = slots[i];
		}
		if (kept < count)
			iqdbi_list_write(list, slots, kept);
	}
}

/* Makes the snapshot's entry point the entry point when it reaches the top level, else the first node that does. */
static void
choose_loaded_entry(const Load *load)
{
	const IqdbiHnsw *graph = &load->graph;
	uint64_t         best = 0;

	for (uint32_t slot = 0; slot < load->known; slot++)
	{
		uint32_t info = iqdbi_hnsw_info(graph, slot);
		uint32_t level = iqdbi_info_level(info);

		if (iqdbi_info_status(info) != IQDBI_INFO_LINKED)
			continue;
		if (best == 0 || level > iqdbi_entry_level(best) ||
			(level == iqdbi_entry_level(best) && slot == load->entry_slot))
			best = iqdbi_entry_make(slot, level);
	}
	atomic_store_explicit(&graph->header->entry, best, memory_order_release);
}

/*
 * Puts twins into the chains of their nodes, in the order of insertion. One that does not equal its node waits for
 * links.
 */
static void
load_twins(Load *load)
{
	const IqdbiHnsw *graph = &load->graph;

	iqdb_topk_sort(&load->twins);
	for (size_t i = 0; i < load->twins.count; i++)
	{
		uint32_t       slot = load->twins.items[i].slot;
		IqdbiHnswNode *own = iqdbi_hnsw_node(graph, slot);
		uint32_t       node = atomic_load_explicit(&own->block, memory_order_relaxed);
		uint32_t       status = node < load->known ? iqdbi_info_status(iqdbi_hnsw_info(graph, node)) : IQDBI_INFO_ABSENT;
		uint32_t       like = node;

		atomic_store_explicit(&own->block, 0, memory_order_relaxed);
		/* a node whose row is gone has no vector: its twins are compared with the first of them */
		if (status == IQDBI_INFO_CONDEMNED)
			like = iqdbi_hnsw_twin_next(graph, node);
		else if (status != IQDBI_INFO_LINKED)
			continue;
		if (like != IQDB_SLOT_NONE && !iqdbi_hnsw_equal(graph, like, slot))
			continue;
		iqdbi_hnsw_twin_append(graph, node, slot);
		iqdbi_hnsw_set_info(graph, slot, IQDBI_INFO_TWIN, 0);
	}
}

/* LIVE rows without a node wait for links, as if they were just added. Takes ROWS. */
static void
add_unlinked(const Load *load, uint32_t slot_count)
{
	IqdbStore *store = load->graph.store;

	iqdb_store_lock(store, IQDB_LOCK_ROWS, true);
	for (uint32_t slot = 0; slot < slot_count; slot++)
	{
		uint32_t status = iqdbi_info_status(iqdbi_hnsw_info(&load->graph, slot));

		if (iqdb_store_state(store, slot) == IQDB_ROW_LIVE && status != IQDBI_INFO_LINKED && status != IQDBI_INFO_TWIN)
		{
			iqdbi_hnsw_prepare(store, slot);
			iqdbi_hnsw_added(store, slot);
		}
	}
	iqdb_store_unlock(store, IQDB_LOCK_ROWS, true);
}

static IqdbStatus
load_nodes(Load *load, IqdbSource *source, IqdbError *err)
{
	const IqdbAllocator *allocator = &load->graph.store->host->allocator;
	size_t               size = CHUNK_SIZE_MAX + load->graph.prepared_bytes;
	unsigned char       *bytes = iqdb_alloc(allocator, size);
	IqdbStatus           status;

	if (bytes == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for loading the graph");
	load->prepared = bytes + CHUNK_SIZE_MAX;
	status = load_centre(load, bytes, source, err);
	for (uint32_t slot = 0; slot < load->end && status == IQDB_OK;)
		status = iqdb_host_cancelled(load->graph.store->host)
					 ? iqdb_fail(err, IQDB_ERR_CANCELLED, "loading the graph was cancelled")
					 : load_node_chunk(load, &slot, bytes, source, err);
	iqdb_free(allocator, bytes, size);
	return status;
}

/* Makes a graph out of the nodes and twins that were loaded. */
static IqdbStatus
assemble_graph(Load *load, uint32_t slot_count, IqdbError *err)
{
	IqdbStatus status = IQDB_OK;

	for (uint32_t slot = 0; slot < load->known; slot++)
		drop_bad_links(load, slot);
	load_twins(load);
	choose_loaded_entry(load);
	if (load->lost > 0)
		IQDB_TRY(iqdbi_hnsw_repair_loaded(&load->graph, load->known, err));
	add_unlinked(load, slot_count);
	if (load->centre == 0)
		status = iqdbi_hnsw_centre_review(&load->graph);
	return status == IQDB_OK ? IQDB_OK : iqdb_fail(err, status, "loading the graph was stopped");
}

IqdbStatus
iqdbi_hnsw_load(IqdbStore *store, IqdbSource *source, IqdbError *err)
{
	uint32_t   slot_count = atomic_load_explicit(&store->header->slot_count, memory_order_relaxed);
	Load       load = {.entry_slot = IQDB_SLOT_NONE};
	IqdbStatus status;

	iqdbi_hnsw_view(&load.graph, store);
	IQDB_TRY(load_graph_header(&load, source, err));
	/*
	 * The snapshot may describe more slots than the store has rows for: nodes of removed rows at the end, which still
	 * lead to others. Their number is not taken on trust, so there are at most as many as rows. They get records, and
	 * room in the store, because the searches of the repair read what is in those slots, too.
	 */
	load.known = load.end < 2 * (uint64_t) slot_count ? load.end : 2 * slot_count;
	if (load.known < slot_count)
		load.known = slot_count;
	iqdb_store_lock(store, IQDB_LOCK_ROWS, true);
	if (iqdb_store_room(store, load.known, NULL) != IQDB_OK || iqdbi_hnsw_reserve(store, load.known, NULL) != IQDB_OK)
		load.known = slot_count;
	iqdb_store_unlock(store, IQDB_LOCK_ROWS, true);
	iqdbi_hnsw_twins_clear(&load.graph, slot_count);
	iqdb_topk_init(&load.twins, &store->host->allocator, SIZE_MAX);
	status = load_nodes(&load, source, err);
	if (status == IQDB_OK)
		status = assemble_graph(&load, slot_count, err);
	iqdb_topk_free(&load.twins);
	return status;
}
