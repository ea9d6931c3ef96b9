/*
 * cache.c - see cache.h: questions and references to answers in private memory, around a table that says who has to go.
 *
 * An entry is a question and a reference, in one allocation; entry number n is the table's node n. The arrays of the table
 * grow with the number of entries.
 */
#include "core/cache/cache.h"

#include <string.h>

#include "core/base/crc32c.h"
#include "core/base/rng.h"
#include "core/cache/table.h"

#define NODES_FIRST 64u

typedef struct Entry
{
	void         *value; /* NULL: a ghost */
	size_t        size;  /* of this allocation */
	uint64_t      k;
	uint64_t      max_rows;
	uint32_t      ef;
	uint32_t      probes;
	uint32_t      refine;
	size_t        dim;
	size_t        filter_length; /* 0: none */
	unsigned char bytes[];       /* query, then encoded filter */
} Entry;

struct IqdbCache
{
	IqdbAllocator     allocator;
	IqdbCacheValueOps ops;
	IqdbCacheTable    table;
	IqdbCacheNode    *nodes; /* table.node_room of them, as of the next two */
	uint32_t         *heap;
	Entry           **entries;
	uint32_t         *buckets;
};

/* ---- keys ---- */

/* An encoded filter; length 0 for none. */
static const unsigned char *
filter_bytes(const IqdbCacheKey *key, size_t *length_out)
{
	*length_out = 0;
	return key->filter != NULL ? iqdb_filter_encoded(key->filter, length_out) : NULL;
}

static uint64_t
mix(uint64_t hash, uint64_t with)
{
	uint64_t state = hash ^ with;

	return iqdb_splitmix64(&state);
}

static uint64_t
hash_key(const IqdbCacheKey *key)
{
	size_t               length;
	const unsigned char *filter = filter_bytes(key, &length);
	uint64_t             hash = iqdb_crc32c(0, key->query, key->query_size);

	hash = mix(hash, (uint64_t) key->dim << 32 ^ key->k);
	hash = mix(hash, (uint64_t) key->ef << 32 | key->probes);
	hash = mix(hash, key->refine);
	hash = mix(hash, key->max_rows);
	return mix(hash, (uint64_t) iqdb_crc32c(0, filter, length) << 32 | (uint32_t) length);
}

/* ---- the owner's part of the table ---- */

static bool
entry_has_key(void *owner, uint32_t node, const void *question)
{
	const Entry         *entry = ((IqdbCache *) owner)->entries[node];
	const IqdbCacheKey  *key = question;
	size_t               query_size = key->query_size;
	size_t               length;
	const unsigned char *filter = filter_bytes(key, &length);

	return entry->dim == key->dim && entry->k == key->k && entry->max_rows == key->max_rows && entry->ef == key->ef &&
		   entry->probes == key->probes && entry->refine == key->refine && entry->filter_length == length &&
		   memcmp(entry->bytes, key->query, query_size) == 0 &&
		   (length == 0 || memcmp(entry->bytes + query_size, filter, length) == 0);
}

static void
drop_value(IqdbCache *cache, Entry *entry)
{
	if (entry->value != NULL)
		cache->ops.release(entry->value);
	entry->value = NULL;
}

static void
entry_drop(void *owner, uint32_t node, bool becomes_ghost)
{
	IqdbCache *cache = owner;
	Entry     *entry = cache->entries[node];

	if (entry == NULL)
		return;
	drop_value(cache, entry);
	if (becomes_ghost)
		return;
	iqdb_free(&cache->allocator, entry, entry->size);
	cache->entries[node] = NULL;
}

static IqdbCacheView
view_of(IqdbCache *cache)
{
	return (IqdbCacheView){.table = &cache->table,
						   .nodes = cache->nodes,
						   .buckets = cache->buckets,
						   .heap = cache->heap,
						   .same = entry_has_key,
						   .drop = entry_drop,
						   .owner = cache};
}

/* ---- entries ---- */

static size_t
arrays_size(uint32_t nodes)
{
	/* a bucket for each node */
	return nodes * (sizeof(IqdbCacheNode) + sizeof(Entry *) + 2 * sizeof(uint32_t));
}

/* Makes the arrays longer if all nodes are in use; false when there is no memory: nothing has changed then. */
static bool
make_nodes(IqdbCache *cache)
{
	uint32_t       room = cache->table.node_room;
	uint32_t       more = room > 0 ? room * 2 : NODES_FIRST;
	IqdbCacheView  view;
	IqdbCacheNode *nodes;
	Entry        **entries;
	uint32_t      *heap;

	if (cache->table.free_node != IQDB_CACHE_NO_NODE)
		return true;
	nodes = iqdb_alloc_zero(&cache->allocator, arrays_size(more));
	if (nodes == NULL)
		return false;
	entries = (Entry **) (void *) (nodes + more);
	heap = (uint32_t *) (void *) (entries + more);
	if (room > 0)
	{
		memcpy(nodes, cache->nodes, room * sizeof(*nodes));
		memcpy(entries, cache->entries, room * sizeof(Entry *));
		memcpy(heap, cache->heap, room * sizeof(*heap));
		iqdb_free(&cache->allocator, cache->nodes, arrays_size(room));
	}
	cache->nodes = nodes;
	cache->entries = entries;
	cache->heap = heap;
	cache->buckets = heap + more;
	view = view_of(cache);
	iqdb_cache_table_room(&view, more, more);
	return true;
}

static Entry *
entry_make(IqdbCache *cache, const IqdbCacheKey *key)
{
	size_t               length;
	const unsigned char *filter = filter_bytes(key, &length);
	size_t               size = sizeof(Entry) + key->query_size + length;
	Entry               *entry = iqdb_alloc_zero(&cache->allocator, size);

	if (entry == NULL)
		return NULL;
	entry->size = size;
	entry->k = key->k;
	entry->max_rows = key->max_rows;
	entry->ef = key->ef;
	entry->probes = key->probes;
	entry->refine = key->refine;
	entry->dim = key->dim;
	entry->filter_length = length;
	memcpy(entry->bytes, key->query, key->query_size);
	if (length > 0)
		memcpy(entry->bytes + key->query_size, filter, length);
	return entry;
}

/* ---- the cache ---- */

IqdbStatus
iqdb_cache_create(const IqdbAllocator *allocator, const IqdbCacheConfig *config, IqdbCacheValueOps ops,
				  IqdbCache **cache_out, IqdbError *err)
{
	IqdbCacheTable table;
	IqdbCache     *cache;

	*cache_out = NULL;
	IQDB_TRY(iqdb_cache_table_init(&table, config, err));
	cache = iqdb_alloc_zero(allocator, sizeof(*cache));
	if (cache == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for a cache");
	cache->allocator = *allocator;
	cache->ops = ops;
	cache->table = table;
	*cache_out = cache;
	return IQDB_OK;
}

void
iqdb_cache_clear(IqdbCache *cache)
{
	IqdbCacheView view = view_of(cache);

	iqdb_cache_table_clear(&view);
}

void
iqdb_cache_destroy(IqdbCache *cache)
{
	IqdbAllocator allocator;

	if (cache == NULL)
		return;
	iqdb_cache_clear(cache);
	allocator = cache->allocator;
	iqdb_free(&allocator, cache->nodes, arrays_size(cache->table.node_room));
	iqdb_free(&allocator, cache, sizeof(*cache));
}

void *
iqdb_cache_get(IqdbCache *cache, const IqdbCacheKey *key, uint64_t version, uint64_t now_ms)
{
	IqdbCacheView view = view_of(cache);
	uint32_t      node;

	if (!iqdb_cache_table_meet(&view, version))
		return NULL;
	node = iqdb_cache_table_get(&view, hash_key(key), key, now_ms);
	if (node == IQDB_CACHE_NO_NODE)
		return NULL;
	cache->ops.retain(cache->entries[node]->value);
	return cache->entries[node]->value;
}

/* The entry that the answer goes to; NULL when it cannot be kept. */
static Entry *
place(IqdbCache *cache, const IqdbCacheKey *key, uint64_t now_ms)
{
	IqdbCacheView view;
	uint32_t      node;
	bool          is_new;

	if (!make_nodes(cache))
		return NULL;
	view = view_of(cache);
	node = iqdb_cache_table_place(&view, hash_key(key), key, now_ms, &is_new);
	if (node == IQDB_CACHE_NO_NODE)
		return NULL;
	if (is_new)
		cache->entries[node] = entry_make(cache, key);
	if (cache->entries[node] == NULL)
		iqdb_cache_table_forget(&view, node);
	return cache->entries[node];
}

void
iqdb_cache_put(IqdbCache *cache, const IqdbCacheKey *key, void *value, uint64_t version, uint64_t now_ms)
{
	IqdbCacheView view = view_of(cache);
	Entry        *entry;

	cache->table.misses++;
	if (cache->table.config.capacity == 0 || !iqdb_cache_table_meet(&view, version))
		return;
	/* a NaN in the filter: the question would never be recognised */
	if (key->filter != NULL && !iqdb_filter_equal(key->filter, key->filter))
		return;
	entry = place(cache, key, now_ms);
	if (entry == NULL)
		return;
	cache->ops.retain(value);
	drop_value(cache, entry);
	entry->value = value;
}

void
iqdb_cache_read_stats(const IqdbCache *cache, IqdbCacheStats *stats_out)
{
	iqdb_cache_table_stats(&cache->table, stats_out);
}
