/*
 * shared.c - see shared.h.
 *
 *     header | nodes | answers | heap | buckets | blocks
 *
 * Answer n is the table's node n. Its question and its answer stand one behind the other in a chain of blocks, the first
 * word of each of which is the number of the next one. Blocks are taken into use as the memory grows. A ghost has no blocks:
 * its hash alone tells it, which is enough to learn from.
 */
#include "core/cache/shared.h"

#include <string.h>

#include "core/base/crc32c.h"
#include "core/base/rng.h"
#include "core/cache/table.h"

#define NO_BLOCK UINT32_MAX
#define PAYLOAD (IQDB_SHARED_CACHE_BLOCK - sizeof(uint32_t))

typedef struct Answer
{
	uint32_t block; /* the first one */
	uint32_t question_length;
	uint32_t answer_length;
	uint32_t unused;
} Answer;

typedef struct Block
{
	uint32_t      next;
	unsigned char bytes[PAYLOAD];
} Block;

struct IqdbSharedCache
{
	IqdbCacheTable table;
	uint64_t       answers; /* offsets from here; the nodes are behind this */
	uint64_t       heap;
	uint64_t       buckets;
	uint64_t       blocks;
	uint32_t       block_count; /* that there is memory for now, ... */
	uint32_t       block_most;  /* ... and that there may be */
	uint32_t       free_block;
	uint32_t       free_count;
};

_Static_assert(sizeof(Block) == IQDB_SHARED_CACHE_BLOCK, "a block has no holes");

/* ---- parts ---- */

static void *
part(const IqdbSharedCache *cache, uint64_t offset)
{
	return (unsigned char *) (uintptr_t) cache + offset;
}

static Answer *
answers(const IqdbSharedCache *cache)
{
	return part(cache, cache->answers);
}

static Block *
block_at(const IqdbSharedCache *cache, uint32_t number)
{
	return (Block *) part(cache, cache->blocks) + number;
}

static uint32_t
blocks_for(uint64_t bytes)
{
	return (uint32_t) ((bytes + PAYLOAD - 1) / PAYLOAD);
}

/* ---- chains of blocks ---- */

static void
free_blocks(IqdbSharedCache *cache, Answer *answer)
{
	while (answer->block != NO_BLOCK)
	{
		Block   *block = block_at(cache, answer->block);
		uint32_t next = block->next;

		block->next = cache->free_block;
		cache->free_block = answer->block;
		cache->free_count++;
		answer->block = next;
	}
}

/* A chain of so many blocks, at least one; there are so many. */
static uint32_t
take_blocks(IqdbSharedCache *cache, uint32_t count)
{
	uint32_t  first = cache->free_block;
	uint32_t *link = &cache->free_block;

	for (uint32_t i = 0; i < count; i++)
		link = &block_at(cache, *link)->next;
	cache->free_block = *link;
	*link = NO_BLOCK;
	cache->free_count -= count;
	return first;
}

/* A place in a chain. */
typedef struct Walk
{
	Block   *block;
	uint32_t at;
} Walk;

/* The next bytes of the chain that lie together, at most `wanted`. */
static unsigned char *
walk(const IqdbSharedCache *cache, Walk *place, size_t wanted, size_t *length_out)
{
	unsigned char *bytes;

	if (place->at == PAYLOAD)
	{
		place->block = block_at(cache, place->block->next);
		place->at = 0;
	}
	bytes = place->block->bytes + place->at;
	*length_out = wanted < PAYLOAD - place->at ? wanted : PAYLOAD - place->at;
	place->at += (uint32_t) *length_out;
	return bytes;
}

static void
write_bytes(const IqdbSharedCache *cache, Walk *place, const unsigned char *bytes, size_t length)
{
	for (size_t step = 0; length > 0; bytes += step, length -= step)
	{
		unsigned char *to = walk(cache, place, length, &step);

		memcpy(to, bytes, step);
	}
}

static void
read_bytes(const IqdbSharedCache *cache, Walk *place, unsigned char *bytes, size_t length)
{
	for (size_t step = 0; length > 0; bytes += step, length -= step)
	{
		const unsigned char *from = walk(cache, place, length, &step);

		memcpy(bytes, from, step);
	}
}

static bool
equal_bytes(const IqdbSharedCache *cache, Walk *place, const unsigned char *bytes, size_t length)
{
	for (size_t step = 0; length > 0; bytes += step, length -= step)
	{
		const unsigned char *with = walk(cache, place, length, &step);

		if (memcmp(with, bytes, step) != 0)
			return false;
	}
	return true;
}

/* ---- the owner's part of the table ---- */

static bool
answer_has_question(void *owner, uint32_t node, const void *question)
{
	const IqdbSharedCache   *cache = owner;
	const IqdbCacheQuestion *asked = question;
	const Answer            *answer = &answers(cache)[node];
	Walk                     place;

	if (answer->block == NO_BLOCK)
		return true;
	place = (Walk){block_at(cache, answer->block), 0};
	return answer->question_length == asked->length && equal_bytes(cache, &place, asked->bytes, asked->length);
}

static void
answer_drop(void *owner, uint32_t node, bool becomes_ghost)
{
	IqdbSharedCache *cache = owner;

	(void) becomes_ghost;
	free_blocks(cache, &answers(cache)[node]);
}

static IqdbCacheView
view_of(IqdbSharedCache *cache)
{
	return (IqdbCacheView){.table = &cache->table,
						   .nodes = (IqdbCacheNode *) (void *) (cache + 1),
						   .buckets = part(cache, cache->buckets),
						   .heap = part(cache, cache->heap),
						   .same = answer_has_question,
						   .drop = answer_drop,
						   .owner = cache};
}

/* ---- making one ---- */

/* Bytes of a node and all that goes with it but blocks. */
#define NODE_BYTES (sizeof(IqdbCacheNode) + sizeof(Answer) + 2 * sizeof(uint32_t))

/* As much as one answer takes of the capacity. */
static uint64_t
bytes_per_answer(const IqdbCacheConfig *config, uint64_t entry_bytes)
{
	return (config->policy == IQDB_CACHE_ARC ? 2 : 1) * NODE_BYTES +
		   (entry_bytes / PAYLOAD + 1) * IQDB_SHARED_CACHE_BLOCK;
}

/* The power of two that is not above n, which is not 0. */
static uint32_t
power_below(uint32_t n)
{
	uint32_t power = 1;

	while (power <= n / 2)
		power *= 2;
	return power;
}

uint64_t
iqdb_shared_cache_size(const IqdbCacheConfig *config, uint64_t entry_bytes)
{
	uint64_t bytes;

	if (entry_bytes > UINT32_MAX ||
		__builtin_mul_overflow(bytes_per_answer(config, entry_bytes), config->capacity, &bytes) ||
		__builtin_add_overflow(bytes, sizeof(IqdbSharedCache) + IQDB_SHARED_CACHE_BLOCK, &bytes))
		return UINT64_MAX;
	return bytes;
}

/* The capacity that so many bytes are enough for. */
static void
fit_capacity(IqdbCacheConfig *config, uint64_t entry_bytes, uint64_t bytes)
{
	uint64_t possible = bytes > sizeof(IqdbSharedCache) ?
							(bytes - sizeof(IqdbSharedCache)) / bytes_per_answer(config, entry_bytes) : 0;

	if (config->capacity > possible)
		config->capacity = possible;
}

/* All but the blocks. */
static uint64_t
fixed_bytes(const IqdbCacheConfig *config)
{
	return sizeof(IqdbSharedCache) + iqdb_cache_nodes(config) * NODE_BYTES;
}

uint64_t
iqdb_shared_cache_least(const IqdbCacheConfig *wanted, uint64_t entry_bytes, uint64_t most)
{
	IqdbCacheConfig config = *wanted;

	fit_capacity(&config, entry_bytes, most);
	return fixed_bytes(&config);
}

void
iqdb_shared_cache_extend(IqdbSharedCache *cache, uint64_t bytes)
{
	uint64_t blocks = bytes > cache->blocks ? (bytes - cache->blocks) / IQDB_SHARED_CACHE_BLOCK : 0;

	if (blocks > cache->block_most)
		blocks = cache->block_most;
	for (; cache->block_count < blocks; cache->block_count++, cache->free_count++)
	{
		block_at(cache, cache->block_count)->next = cache->free_block;
		cache->free_block = cache->block_count;
	}
}

IqdbStatus
iqdb_shared_cache_format(IqdbSharedCache *cache, uint64_t bytes, uint64_t most, const IqdbCacheConfig *wanted,
						 uint64_t entry_bytes, IqdbError *err)
{
	IqdbCacheConfig config = *wanted;
	IqdbCacheTable  table;
	IqdbCacheView   view;
	uint32_t        nodes;

	IQDB_TRY(iqdb_cache_table_init(&table, wanted, err));
	fit_capacity(&config, entry_bytes, most);
	if (bytes < fixed_bytes(&config))
		return iqdb_fail(err, IQDB_ERR_CONFIG, "%llu bytes are no room for a cache", (unsigned long long) bytes);
	cache->table = table;
	cache->table.config.capacity = config.capacity;
	nodes = iqdb_cache_nodes(&config);
	cache->answers = sizeof(*cache) + nodes * sizeof(IqdbCacheNode);
	cache->heap = cache->answers + nodes * sizeof(Answer);
	cache->buckets = cache->heap + nodes * sizeof(uint32_t);
	cache->blocks = cache->buckets + nodes * sizeof(uint32_t);
	cache->block_count = 0;
	cache->block_most = nodes > 0 ? (uint32_t) ((most - cache->blocks) / IQDB_SHARED_CACHE_BLOCK) : 0;
	cache->free_block = NO_BLOCK;
	cache->free_count = 0;
	iqdb_shared_cache_extend(cache, bytes);
	for (uint32_t i = 0; i < nodes; i++)
		answers(cache)[i] = (Answer){.block = NO_BLOCK};
	view = view_of(cache);
	iqdb_cache_table_room(&view, nodes, nodes > 0 ? power_below(nodes) : 0);
	return IQDB_OK;
}

IqdbCacheQuestion
iqdb_cache_question(const void *bytes, uint32_t length)
{
	uint64_t state = (uint64_t) iqdb_crc32c(0, bytes, length) << 32 | length;

	return (IqdbCacheQuestion){.bytes = bytes, .length = length, .hash = iqdb_splitmix64(&state)};
}

/* ---- asking and keeping ---- */

void *
iqdb_shared_cache_get(IqdbSharedCache *cache, const IqdbCacheQuestion *question, uint64_t version, uint64_t now_ms,
					  const IqdbAllocator *allocator, uint32_t *length_out)
{
	IqdbCacheView  view = view_of(cache);
	uint32_t       node;
	const Answer  *answer;
	unsigned char *bytes;
	Walk           place;
	size_t         step;

	*length_out = 0;
	if (!iqdb_cache_table_meet(&view, version))
		return NULL;
	node = iqdb_cache_table_get(&view, question->hash, question, now_ms);
	if (node == IQDB_CACHE_NO_NODE)
		return NULL;
	answer = &answers(cache)[node];
	bytes = iqdb_alloc(allocator, answer->answer_length);
	if (bytes == NULL)
		return NULL;
	place = (Walk){block_at(cache, answer->block), 0};
	for (size_t left = answer->question_length; left > 0; left -= step)
		(void) walk(cache, &place, left, &step);
	read_bytes(cache, &place, bytes, answer->answer_length);
	*length_out = answer->answer_length;
	return bytes;
}

uint64_t
iqdb_shared_cache_wants(const IqdbSharedCache *cache, uint64_t bytes)
{
	uint64_t blocks = (bytes + PAYLOAD - 1) / PAYLOAD;
	uint64_t count = cache->block_count;

	if (cache->free_count < blocks && iqdb_cache_table_length(&cache->table) < cache->table.config.capacity)
		count = 2 * count + blocks;
	if (count > cache->block_most)
		count = cache->block_most;
	return cache->blocks + count * IQDB_SHARED_CACHE_BLOCK;
}

/* Where the answer goes, with enough free blocks for it; or none. The answer that was there has none any more. */
static uint32_t
place_answer(const IqdbCacheView *view, const IqdbCacheQuestion *question, uint32_t blocks, uint64_t now_ms)
{
	IqdbSharedCache *cache = view->owner;
	uint32_t         node;
	bool             is_new;

	while (cache->free_count < blocks && iqdb_cache_table_evict(view))
		;
	if (cache->free_count < blocks)
		return IQDB_CACHE_NO_NODE;
	node = iqdb_cache_table_place(view, question->hash, question, now_ms, &is_new);
	if (node != IQDB_CACHE_NO_NODE)
		free_blocks(cache, &answers(cache)[node]);
	return node;
}

void
iqdb_shared_cache_put(IqdbSharedCache *cache, const IqdbCacheQuestion *question, const void *answer, uint32_t length,
					  uint64_t version, uint64_t now_ms, bool was_hit)
{
	IqdbCacheView view = view_of(cache);
	uint32_t      blocks = blocks_for((uint64_t) question->length + length);
	uint32_t      node;
	Walk          place;

	cache->table.misses++;
	if (was_hit && cache->table.hits > 0)
		cache->table.hits--;
	if (length == 0 || blocks > cache->block_most / 2 || !iqdb_cache_table_meet(&view, version))
		return;
	node = place_answer(&view, question, blocks, now_ms);
	if (node == IQDB_CACHE_NO_NODE)
		return;
	answers(cache)[node] = (Answer){take_blocks(cache, blocks), question->length, length, 0};
	place = (Walk){block_at(cache, answers(cache)[node].block), 0};
	write_bytes(cache, &place, question->bytes, question->length);
	write_bytes(cache, &place, answer, length);
}

void
iqdb_shared_cache_meet(IqdbSharedCache *cache, uint64_t version)
{
	IqdbCacheView view = view_of(cache);

	(void) iqdb_cache_table_meet(&view, version);
}

void
iqdb_shared_cache_stats(const IqdbSharedCache *cache, IqdbCacheStats *stats_out)
{
	iqdb_cache_table_stats(&cache->table, stats_out);
}

bool
iqdb_shared_cache_is_sound(const IqdbSharedCache *cache)
{
	const IqdbCacheNode *nodes = (const IqdbCacheNode *) (const void *) (cache + 1);
	uint64_t             used = 0;
	uint64_t             free = 0;
	uint64_t             seen = 0;

	for (int list = 0; list < IQDB_CACHE_LISTS; list++)
	{
		for (uint32_t node = cache->table.lists[list].newest; node != IQDB_CACHE_NO_NODE; node = nodes[node].older, seen++)
		{
			const Answer *answer = &answers(cache)[node];
			uint64_t      blocks = 0;

			for (uint32_t block = answer->block; block != NO_BLOCK; block = block_at(cache, block)->next)
				blocks++;
			if ((blocks > 0) != (nodes[node].has_answer != 0) || (list >= IQDB_CACHE_ONCE_GHOSTS && blocks > 0) ||
				(blocks > 0 && blocks != blocks_for((uint64_t) answer->question_length + answer->answer_length)))
				return false;
			used += blocks;
		}
	}
	for (uint32_t block = cache->free_block; block != NO_BLOCK; block = block_at(cache, block)->next)
		free++;
	return seen == cache->table.node_count && free == cache->free_count && used + free == cache->block_count &&
		   iqdb_cache_table_length(&cache->table) <= cache->table.config.capacity;
}
