/*
 * hnsw_twins.c - rows of equal vectors share one node of the graph.
 *
 * Very many equal rows would be each other's only neighbours, and no search for others would get to them. So a row
 * whose vector is that of a node becomes its twin: it has no links, but stands in the node's chain, behind the rows
 * that were linked before it, and a search that meets the node goes on to all of them. Linking looks for the node in
 * two places: in a table of all nodes by a hash of their vectors, which costs next to nothing, and among the neighbours
 * that it finds for the row. Two equal rows that miss each other become two nodes, each with a chain; nothing depends
 * on there being only one. Searches look in the table, too: a search for a vector that is stored begins at its node as
 * well.
 *
 * Owns: the chains, and the table. A chain is a list of slots: node -> first twin -> ... -> last twin, by the field
 * twin (slot + 1, 0 = end). The first word of the first twin's links, which a twin does not need otherwise, names the
 * last twin (slot + 1), so that appending costs the same however long the chain is. A chain changes under the node's
 * lock: linkers append, and the repair, of which there is one at a time, takes twins out. Readers take no lock. A
 * reader that stands on a twin when it is taken out goes on by its field twin, which stays as it is until the slot is
 * released: README.md, "Releasing slots", holds for twins as for nodes.
 */
#include "core/hnsw/hnsw_twins_private.h"

#include <string.h>

#include "core/base/crc32c.h"
#include "core/hnsw/hnsw_sketch_private.h"
#include "core/hnsw/hnsw_upper_private.h"

static uint32_t
load_word(const _Atomic uint32_t *word)
{
	return atomic_load_explicit(word, memory_order_acquire);
}

static void
store_word(_Atomic uint32_t *word, uint32_t value)
{
	atomic_store_explicit(word, value, memory_order_release);
}

static bool
has_vector(const IqdbiHnsw *graph, uint32_t slot, const void *vector)
{
	return memcmp(iqdb_store_vector(graph->store, slot), vector, graph->vector_bytes) == 0;
}

bool
iqdbi_hnsw_equal(const IqdbiHnsw *graph, uint32_t a, uint32_t b)
{
	return has_vector(graph, a, iqdb_store_vector(graph->store, b));
}

/*
 * Is the slot a node that can have twins? One whose row was removed can, as long as no repair has condemned it: else a
 * row that is replaced again and again by one with the same vector would leave as many nodes. That is safe because the
 * repair condemns nodes first, then waits until every stretch that began before is over, and only then looks at chains.
 */
static bool
is_node(const IqdbiHnsw *graph, uint32_t slot)
{
	return iqdbi_info_status(iqdbi_hnsw_info(graph, slot)) == IQDBI_INFO_LINKED;
}

/* ---- the table of nodes ------------------------------------------------------------------------------------------ */

/*
 * Region TWINS: buckets of one cache line, eight cells each. A cell is 0 or names a node: its hash above, its slot + 1
 * below. A hash names two buckets, and the node is put into the emptier one. Half of the cells are in use; so hardly a
 * node finds no place, although buckets that were not split yet hold twice as many as the others. A node that finds
 * none overwrites another one's cell. So the table may not know a node, and it may name one that has gone: a reader
 * compares vectors in any case, and therefore cells are written without a lock. Buckets are added one at a time, as
 * nodes are, by splitting one in two (linear hashing).
 */
#define CELLS 8u

/* The hash for the second bucket is the first one's, multiplied by this. */
#define OTHER_HASH UINT32_C(0x9e3779b1)

static _Atomic uint64_t *
bucket_at(const IqdbiHnsw *graph, uint32_t bucket)
{
	return graph->twins + (size_t) bucket * CELLS;
}

/*
 * The bucket among `count` of them: by as many low bits of the hash as it takes to name all, by one less if there is
 * none yet.
 */
static uint32_t
bucket_among(uint32_t count, uint32_t hash)
{
	uint32_t mask = count > 1 ? UINT32_MAX >> __builtin_clz(count - 1) : 0;
	uint32_t bucket = hash & mask;

	return bucket < count ? bucket : hash & mask >> 1;
}

static void
buckets_of(uint32_t count, uint32_t hash, uint32_t buckets_out[2])
{
	uint32_t other = hash * OTHER_HASH;

	buckets_out[0] = bucket_among(count, hash);
	buckets_out[1] = bucket_among(count, other >> 16 | other << 16);
}

static uint32_t
bucket_count(const IqdbiHnsw *graph)
{
	return atomic_load_explicit(&graph->header->twin_buckets, memory_order_acquire);
}

static uint64_t
cell_of(uint32_t hash, uint32_t slot)
{
	return (uint64_t) hash << 32 | (slot + 1);
}

static uint32_t
cell_hash(uint64_t cell)
{
	return (uint32_t) (cell >> 32);
}

static uint32_t
cell_slot(uint64_t cell)
{
	return (uint32_t) cell - 1;
}

static uint32_t
hash_of(const IqdbiHnsw *graph, const void *vector)
{
	return iqdb_crc32c(0, vector, graph->vector_bytes);
}

/* Does the cell name a node that is still the one it was when the cell was written? */
static bool
is_current(const IqdbiHnsw *graph, uint64_t cell)
{
	return is_node(graph, cell_slot(cell)) &&
		   load_word(&iqdbi_hnsw_node(graph, cell_slot(cell))->hash) == cell_hash(cell);
}

uint32_t
iqdbi_hnsw_twin_find(const IqdbiHnsw *graph, const void *vector)
{
	uint32_t hash = hash_of(graph, vector);
	uint32_t buckets[2];

	buckets_of(bucket_count(graph), hash, buckets);
	for (uint32_t i = 0; i < 2 * CELLS; i++)
	{
		uint64_t cell = atomic_load_explicit(bucket_at(graph, buckets[i / CELLS]) + i % CELLS, memory_order_acquire);

		if (cell != 0 && cell_hash(cell) == hash && is_node(graph, cell_slot(cell)) &&
			has_vector(graph, cell_slot(cell), vector))
			return cell_slot(cell);
	}
	return IQDB_SLOT_NONE;
}

/* The cell to write: an empty one in the emptier bucket, else one whose node is gone, else any. */
static _Atomic uint64_t *
cell_for(const IqdbiHnsw *graph, uint32_t hash)
{
	uint32_t          buckets[2];
	_Atomic uint64_t *empty[2] = {NULL, NULL};
	_Atomic uint64_t *stale = NULL;
	uint32_t          empties[2] = {0, 0};

	buckets_of(bucket_count(graph), hash, buckets);
	for (uint32_t i = 0; i < 2 * CELLS; i++)
	{
		_Atomic uint64_t *place = bucket_at(graph, buckets[i / CELLS]) + i % CELLS;
		uint64_t          cell = atomic_load_explicit(place, memory_order_relaxed);

		if (cell == 0)
		{
			empty[i / CELLS] = place;
			empties[i / CELLS]++;
		}
		else if (empties[0] + empties[1] == 0 && stale == NULL && !is_current(graph, cell))
			stale = place;
	}
	if (empties[0] + empties[1] > 0)
		return empty[empties[1] > empties[0]];
	return stale != NULL ? stale : bucket_at(graph, buckets[0]) + hash % CELLS;
}

/*
 * Splits the next bucket when there are more nodes than the table has buckets for. Takes ENGINE; what other linkers
 * write into the bucket meanwhile may be lost, which is allowed.
 */
static void
grow_table(const IqdbiHnsw *graph)
{
	uint32_t         count = bucket_count(graph);
	IqdbArenaHeader *arena = iqdb_arena_header(graph->store->arena);
	uint64_t         committed;
	uint32_t         buckets[2];
	uint32_t         moved = 0;

	if (atomic_load_explicit(&graph->header->linked, memory_order_relaxed) <= (uint64_t) count * IQDBI_HNSW_TWINS_PER_BUCKET)
		return;
	iqdb_store_lock(graph->store, IQDB_LOCK_ENGINE, true);
	committed = __atomic_load_n(&arena->regions[IQDB_REGION_ENGINE + IQDBI_HNSW_TWINS].committed, __ATOMIC_ACQUIRE);
	count = bucket_count(graph);
	if ((count + UINT64_C(1)) * IQDBI_HNSW_TWIN_BUCKET <= committed)
	{
		_Atomic uint64_t *old = bucket_at(graph, count - (UINT32_C(1) << (31 - __builtin_clz(count))));
		_Atomic uint64_t *fresh = bucket_at(graph, count);

		for (uint32_t i = 0; i < CELLS; i++)
			atomic_store_explicit(&fresh[i], 0, memory_order_relaxed);
		atomic_store_explicit(&graph->header->twin_buckets, count + 1, memory_order_release);
		for (uint32_t i = 0; i < CELLS; i++)
		{
			uint64_t cell = atomic_load_explicit(&old[i], memory_order_relaxed);

			buckets_of(count + 1, cell_hash(cell), buckets);
			if (cell == 0 || (buckets[0] != count && buckets[1] != count))
				continue;
			atomic_store_explicit(&fresh[moved++], cell, memory_order_release);
			atomic_store_explicit(&old[i], 0, memory_order_relaxed);
		}
	}
	iqdb_store_unlock(graph->store, IQDB_LOCK_ENGINE, true);
}

void
iqdbi_hnsw_twin_remember(const IqdbiHnsw *graph, uint32_t node)
{
	uint32_t hash = hash_of(graph, iqdb_store_vector(graph->store, node));

	store_word(&iqdbi_hnsw_node(graph, node)->hash, hash);
	atomic_store_explicit(cell_for(graph, hash), cell_of(hash, node), memory_order_release);
	grow_table(graph);
}

void
iqdbi_hnsw_twin_forget(const IqdbiHnsw *graph, uint32_t node)
{
	uint32_t hash = load_word(&iqdbi_hnsw_node(graph, node)->hash);
	uint32_t buckets[2];

	buckets_of(bucket_count(graph), hash, buckets);
	for (uint32_t i = 0; i < 2 * CELLS; i++)
	{
		uint64_t cell = cell_of(hash, node);

		(void) atomic_compare_exchange_strong_explicit(bucket_at(graph, buckets[i / CELLS]) + i % CELLS, &cell, 0,
													   memory_order_relaxed, memory_order_relaxed);
	}
}

void
iqdbi_hnsw_twins_clear(const IqdbiHnsw *graph, uint32_t nodes)
{
	uint32_t count = nodes / IQDBI_HNSW_TWINS_PER_BUCKET + 1;

	memset((void *) graph->twins, 0, (size_t) count * IQDBI_HNSW_TWIN_BUCKET);
	atomic_store_explicit(&graph->header->twin_buckets, count, memory_order_release);
}

/* ---- the chain --------------------------------------------------------------------------------------------------- */

void
iqdbi_hnsw_twin_append(const IqdbiHnsw *graph, uint32_t node, uint32_t slot)
{
	IqdbiHnswNode *head = iqdbi_hnsw_node(graph, node);
	IqdbiHnswNode *own = iqdbi_hnsw_node(graph, slot);
	uint32_t       first = load_word(&head->twin);

	store_word(&own->twin, 0);
	store_word(&own->block, node);
	store_word(&own->count, 0);
	iqdbi_sketch_drop(graph, slot);
	if (first == 0)
	{
		store_word(&own->links[0], slot + 1);
		store_word(&head->twin, slot + 1);
	}
	else
	{
		_Atomic uint32_t *last = &iqdbi_hnsw_node(graph, first - 1)->links[0];

		store_word(&iqdbi_hnsw_node(graph, load_word(last) - 1)->twin, slot + 1);
		store_word(last, slot + 1);
	}
	atomic_fetch_add_explicit(&graph->header->twins, 1, memory_order_relaxed);
}

bool
iqdbi_hnsw_twin_join(const IqdbiHnsw *graph, uint32_t node, uint32_t slot)
{
	IqdbiHnswNode *head = iqdbi_hnsw_node(graph, node);
	uint32_t       word = iqdbi_hnsw_lock(head);
	bool           joined = is_node(graph, node);

	if (joined)
		iqdbi_hnsw_twin_append(graph, node, slot);
	iqdbi_hnsw_unlock(head, word);
	return joined;
}

/* Takes the twin `slot` out, which stands behind `before`, the node itself or a twin. The node's lock is held. */
static void
unchain_twin(const IqdbiHnsw *graph, uint32_t node, uint32_t before, uint32_t slot)
{
	uint32_t first = load_word(&iqdbi_hnsw_node(graph, node)->twin);
	uint32_t last = load_word(&iqdbi_hnsw_node(graph, first - 1)->links[0]);
	uint32_t next = load_word(&iqdbi_hnsw_node(graph, slot)->twin);

	if (last == slot + 1)
		last = before + 1;
	if (first == slot + 1)
		first = next;
	if (first != 0)
		store_word(&iqdbi_hnsw_node(graph, first - 1)->links[0], last);
	store_word(&iqdbi_hnsw_node(graph, before)->twin, next);
}

static bool
is_condemned(const IqdbiHnsw *graph, uint32_t slot)
{
	return iqdbi_info_status(iqdbi_hnsw_info(graph, slot)) == IQDBI_INFO_CONDEMNED;
}

/*
 * The walk may pause on the way, because no other process takes twins out: what stands in the chain then stays there.
 */
IqdbStatus
iqdbi_hnsw_twins_drop(IqdbiWalk *walk, uint32_t node)
{
	const IqdbiHnsw *graph = walk->graph;
	IqdbiHnswNode   *head = iqdbi_hnsw_node(graph, node);
	uint32_t         before = node;
	uint32_t         at;

	while ((at = load_word(&iqdbi_hnsw_node(graph, before)->twin)) != 0)
	{
		if (is_condemned(graph, at - 1))
		{
			uint32_t word = iqdbi_hnsw_lock(head);

			unchain_twin(graph, node, before, at - 1);
			iqdbi_hnsw_unlock(head, word);
		}
		else
			before = at - 1;
		IQDB_TRY(iqdb_stretch_step(&walk->stretch, IQDBI_TWIN_COST));
	}
	return IQDB_OK;
}

/* ---- when the node goes ------------------------------------------------------------------------------------------ */

/*
 * Adds a link from a condemned node to its heir; where there is no room, in the place of the last link. Takes the
 * node's lock.
 */
static void
link_to_heir(const IqdbiHnsw *graph, uint32_t node, uint32_t level, uint32_t to)
{
	IqdbiHnswNode    *head = iqdbi_hnsw_node(graph, node);
	_Atomic uint32_t *list = iqdbi_hnsw_list(graph, node, level);
	uint32_t          word = iqdbi_hnsw_lock(head);
	uint32_t          count = load_word(&list[0]);

	if (count >= iqdbi_hnsw_room(graph, level))
		count = iqdbi_hnsw_room(graph, level) - 1;
	store_word(&list[1 + count], to);
	store_word(&list[0], count + 1);
	iqdbi_hnsw_unlock(head, word);
}

/*
 * Makes the first twin a node in the place of the condemned one: with its links, its level as far as there are blocks
 * for it, and the rest of its chain. STRUCTURE is held, ROWS and ENGINE are not.
 */
static void
put_heir_in_place(const IqdbiWalk *walk, uint32_t node, uint32_t heir)
{
	const IqdbiHnsw *graph = walk->graph;
	IqdbiHnswHeader *header = graph->header;
	IqdbiHnswNode   *own = iqdbi_hnsw_node(graph, heir);
	uint32_t         level = iqdbi_info_level(iqdbi_hnsw_info(graph, node));
	uint32_t         slots[IQDBI_HNSW_LIST_MAX];
	uint32_t         last = load_word(&own->links[0]);
	uint32_t         next = load_word(&own->twin);

	if (next != 0)
		store_word(&iqdbi_hnsw_node(graph, next - 1)->links[0], last);
	iqdbi_hnsw_encode(graph, heir, walk->target.prepared);
	level = iqdbi_hnsw_blocks_take(graph, heir, level);
	for (uint32_t at = 0; at <= level; at++)
	{
		uint32_t count = iqdbi_list_read(graph, iqdbi_hnsw_list(graph, node, at), at, slots);

		iqdbi_list_write(iqdbi_hnsw_list(graph, heir, at), slots, count);
	}
	iqdbi_sketch_make(graph, heir, walk->target.prepared);
	iqdbi_hnsw_set_info(graph, heir, IQDBI_INFO_LINKED, level);
	iqdbi_hnsw_twin_remember(graph, heir);
	atomic_fetch_add_explicit(&header->linked, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&header->level_count[level], 1, memory_order_relaxed);
	atomic_fetch_sub_explicit(&header->twins, 1, memory_order_relaxed);
	atomic_fetch_or_explicit(&iqdbi_hnsw_node(graph, node)->info, IQDBI_INFO_INHERITED, memory_order_release);
	for (uint32_t at = 0; at <= level; at++)
		link_to_heir(graph, node, at, heir);
}

/*
 * The condemned node keeps its chain for readers that are on it: they find the heir there, and behind it the other
 * twins. Searches that come later find the heir as a neighbour of the node, and so does the repair of the lists that
 * name the node.
 */
IqdbStatus
iqdbi_hnsw_twins_bequeath(IqdbiWalk *walk, uint32_t node)
{
	const IqdbiHnsw *graph = walk->graph;
	uint32_t         info = iqdbi_hnsw_info(graph, node);
	uint32_t         heir;
	IqdbStatus       status = IQDB_OK;

	if ((info & (IQDBI_INFO_WAS_TWIN | IQDBI_INFO_INHERITED)) != 0)
		return IQDB_OK;
	IQDB_TRY(iqdbi_hnsw_twins_drop(walk, node));
	heir = load_word(&iqdbi_hnsw_node(graph, node)->twin);
	if (heir == 0)
		return IQDB_OK;
	put_heir_in_place(walk, node, heir - 1);
	/* done to its end even if cancelled: the next repair sees INHERITED and would not go on with it */
	for (uint32_t at = load_word(&iqdbi_hnsw_node(graph, heir - 1)->twin); at != 0;)
	{
		store_word(&iqdbi_hnsw_node(graph, at - 1)->block, heir - 1);
		at = load_word(&iqdbi_hnsw_node(graph, at - 1)->twin);
		iqdb_stretch_charge(&walk->stretch, IQDBI_TWIN_COST);
		if (iqdb_stretch_is_over(&walk->stretch))
			status = iqdb_stretch_pause(&walk->stretch);
	}
	return status;
}
