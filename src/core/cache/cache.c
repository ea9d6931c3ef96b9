/*
 * cache.c - the table of answers, and who has to go when it is full.
 *
 * Owns: entries (key and reference to a value in one allocation each), the hash table, the four policies. An entry is in one
 * of four lists, most recent first. LRU, LFU and FIFO use the first alone; ARC uses all: seen once, seen again, and the ghosts
 * of both, which have a key and no value. LFU also keeps a heap, least used first.
 */
#include "core/cache/cache.h"

#include <string.h>

#include "core/base/crc32c.h"
#include "core/base/rng.h"

#define BUCKETS_FIRST 64

enum
{
	LIST_ONCE = 0, /* ARC's T1; the only list of the others */
	LIST_AGAIN,    /* T2 */
	LIST_ONCE_GHOSTS,
	LIST_AGAIN_GHOSTS,
	LIST_COUNT
};

typedef struct Entry
{
	struct Entry *chain; /* in the bucket */
	struct Entry *newer; /* in the list */
	struct Entry *older;
	void         *value; /* NULL: a ghost */
	uint64_t      hash;
	uint64_t      stored_ms;
	uint64_t      uses;
	uint64_t      last_use;
	size_t        heap_at;
	size_t        size; /* of this allocation */
	uint64_t      k;
	uint64_t      max_rows;
	uint32_t      ef;
	uint32_t      probes;
	uint32_t      list;
	size_t        dim;
	size_t        filter_length; /* 0: none */
	unsigned char bytes[];       /* query, then encoded filter */
} Entry;

typedef struct List
{
	Entry *newest;
	Entry *oldest;
	size_t length;
} List;

struct IqdbCache
{
	IqdbAllocator     allocator;
	IqdbCacheConfig   config;
	IqdbCacheValueOps ops;
	uint64_t          version;
	uint64_t          clock; /* look-ups and stores, for LFU's order of equals */
	uint64_t          hits;
	uint64_t          misses;
	uint64_t          evictions;
	Entry           **buckets;
	size_t            bucket_count; /* a power of two, or 0 */
	size_t            entry_count;  /* ghosts included */
	List              lists[LIST_COUNT];
	size_t            once_target;  /* ARC's p: how long T1 may be */
	Entry           **heap;
	size_t            heap_length;
	size_t            heap_allocated;
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
	hash = mix(hash, key->max_rows);
	return mix(hash, (uint64_t) iqdb_crc32c(0, filter, length) << 32 | (uint32_t) length);
}

static bool
entry_has_key(const Entry *entry, const IqdbCacheKey *key, uint64_t hash)
{
	size_t               query_size = key->query_size;
	size_t               length;
	const unsigned char *filter = filter_bytes(key, &length);

	return entry->hash == hash && entry->dim == key->dim && entry->k == key->k && entry->max_rows == key->max_rows &&
		   entry->ef == key->ef && entry->probes == key->probes && entry->filter_length == length &&
		   memcmp(entry->bytes, key->query, query_size) == 0 &&
		   (length == 0 || memcmp(entry->bytes + query_size, filter, length) == 0);
}

/* ---- hash table ---- */

static Entry *
find(const IqdbCache *cache, const IqdbCacheKey *key, uint64_t hash)
{
	Entry *entry = cache->bucket_count > 0 ? cache->buckets[hash & (cache->bucket_count - 1)] : NULL;

	while (entry != NULL && !entry_has_key(entry, key, hash))
		entry = entry->chain;
	return entry;
}

static void
table_insert(IqdbCache *cache, Entry *entry)
{
	Entry **bucket = &cache->buckets[entry->hash & (cache->bucket_count - 1)];

	entry->chain = *bucket;
	*bucket = entry;
}

static void
table_remove(IqdbCache *cache, Entry *entry)
{
	Entry **link = &cache->buckets[entry->hash & (cache->bucket_count - 1)];

	while (*link != entry)
		link = &(*link)->chain;
	*link = entry->chain;
}

/* false only when there is no table at all. */
static bool
table_grow(IqdbCache *cache)
{
	size_t   count = cache->bucket_count > 0 ? cache->bucket_count * 2 : BUCKETS_FIRST;
	Entry  **old = cache->buckets;
	size_t   old_count = cache->bucket_count;
	Entry  **buckets;

	if (cache->entry_count < cache->bucket_count)
		return true;
	buckets = iqdb_alloc_zero(&cache->allocator, count * sizeof(*buckets));
	if (buckets == NULL)
		return old_count > 0;
	cache->buckets = buckets;
	cache->bucket_count = count;
	for (size_t i = 0; i < old_count; i++)
	{
		while (old[i] != NULL)
		{
			Entry *entry = old[i];

			old[i] = entry->chain;
			table_insert(cache, entry);
		}
	}
	iqdb_free(&cache->allocator, old, old_count * sizeof(*old));
	return true;
}

/* ---- lists ---- */

static void
list_push(IqdbCache *cache, Entry *entry, uint32_t number)
{
	List *list = &cache->lists[number];

	entry->list = number;
	entry->newer = NULL;
	entry->older = list->newest;
	if (list->newest != NULL)
		list->newest->newer = entry;
	else
		list->oldest = entry;
	list->newest = entry;
	list->length++;
}

static void
list_remove(IqdbCache *cache, Entry *entry)
{
	List *list = &cache->lists[entry->list];

	if (entry->newer != NULL)
		entry->newer->older = entry->older;
	else
		list->newest = entry->older;
	if (entry->older != NULL)
		entry->older->newer = entry->newer;
	else
		list->oldest = entry->newer;
	list->length--;
}

static void
list_move(IqdbCache *cache, Entry *entry, uint32_t number)
{
	list_remove(cache, entry);
	list_push(cache, entry, number);
}

/* ---- LFU's heap: the first goes first ---- */

static bool
goes_before(const Entry *a, const Entry *b)
{
	return a->uses != b->uses ? a->uses < b->uses : a->last_use < b->last_use;
}

static void
heap_set(IqdbCache *cache, size_t at, Entry *entry)
{
	cache->heap[at] = entry;
	entry->heap_at = at;
}

static void
heap_up(IqdbCache *cache, size_t at)
{
	Entry *entry = cache->heap[at];

	while (at > 0 && goes_before(entry, cache->heap[(at - 1) / 2]))
	{
		heap_set(cache, at, cache->heap[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	heap_set(cache, at, entry);
}

static void
heap_down(IqdbCache *cache, size_t at)
{
	Entry *entry = cache->heap[at];

	for (;;)
	{
		size_t child = 2 * at + 1;

		if (child >= cache->heap_length)
			break;
		if (child + 1 < cache->heap_length && goes_before(cache->heap[child + 1], cache->heap[child]))
			child++;
		if (!goes_before(cache->heap[child], entry))
			break;
		heap_set(cache, at, cache->heap[child]);
		at = child;
	}
	heap_set(cache, at, entry);
}

/* false: out of memory. */
static bool
heap_push(IqdbCache *cache, Entry *entry)
{
	if (cache->heap_length == cache->heap_allocated)
	{
		size_t  count = cache->heap_allocated > 0 ? cache->heap_allocated * 2 : BUCKETS_FIRST;
		Entry **moved = iqdb_realloc(&cache->allocator, cache->heap, cache->heap_allocated * sizeof(*moved),
									 count * sizeof(*moved));

		if (moved == NULL)
			return false;
		cache->heap = moved;
		cache->heap_allocated = count;
	}
	heap_set(cache, cache->heap_length++, entry);
	heap_up(cache, entry->heap_at);
	return true;
}

static void
heap_remove(IqdbCache *cache, Entry *entry)
{
	size_t at = entry->heap_at;
	Entry *last = cache->heap[--cache->heap_length];

	if (last == entry)
		return;
	heap_set(cache, at, last);
	heap_up(cache, at);
	heap_down(cache, last->heap_at);
}

/* ---- entries ---- */

static void
drop_value(IqdbCache *cache, Entry *entry)
{
	if (entry->value != NULL)
		cache->ops.release(entry->value);
	entry->value = NULL;
}

static void
entry_free(IqdbCache *cache, Entry *entry)
{
	drop_value(cache, entry);
	list_remove(cache, entry);
	table_remove(cache, entry);
	if (cache->config.policy == IQDB_CACHE_LFU)
		heap_remove(cache, entry);
	cache->entry_count--;
	iqdb_free(&cache->allocator, entry, entry->size);
}

static Entry *
entry_make(IqdbCache *cache, const IqdbCacheKey *key, uint64_t hash)
{
	size_t               query_size = key->query_size;
	size_t               length;
	const unsigned char *filter = filter_bytes(key, &length);
	size_t               size = sizeof(Entry) + query_size + length;
	Entry               *entry;

	if (!table_grow(cache))
		return NULL;
	entry = iqdb_alloc_zero(&cache->allocator, size);
	if (entry == NULL)
		return NULL;
	entry->size = size;
	entry->hash = hash;
	entry->k = key->k;
	entry->max_rows = key->max_rows;
	entry->ef = key->ef;
	entry->probes = key->probes;
	entry->dim = key->dim;
	entry->filter_length = length;
	memcpy(entry->bytes, key->query, query_size);
	if (length > 0)
		memcpy(entry->bytes + query_size, filter, length);
	if (cache->config.policy == IQDB_CACHE_LFU && !heap_push(cache, entry))
	{
		iqdb_free(&cache->allocator, entry, size);
		return NULL;
	}
	table_insert(cache, entry);
	cache->entry_count++;
	return entry;
}

/* ---- policies ---- */

/* An answer was asked for again. */
static void
touch(IqdbCache *cache, Entry *entry)
{
	switch (cache->config.policy)
	{
		case IQDB_CACHE_LRU:
			list_move(cache, entry, LIST_ONCE);
			break;
		case IQDB_CACHE_ARC:
			list_move(cache, entry, LIST_AGAIN);
			break;
		case IQDB_CACHE_LFU:
			entry->uses++;
			entry->last_use = ++cache->clock;
			heap_down(cache, entry->heap_at);
			break;
		case IQDB_CACHE_FIFO:
			break;
	}
}

/* ARC's REPLACE: one answer goes, its ghost stays. from_again: the question is a ghost of those seen again. */
static void
arc_replace(IqdbCache *cache, bool from_again)
{
	List *once = &cache->lists[LIST_ONCE];
	List *again = &cache->lists[LIST_AGAIN];
	bool  take_once = once->length > 0 && (once->length > cache->once_target ||
										   (from_again && once->length == cache->once_target));
	Entry *entry;

	if (once->length + again->length < cache->config.capacity)
		return;
	entry = take_once || again->length == 0 ? once->oldest : again->oldest;
	drop_value(cache, entry);
	list_move(cache, entry, entry->list == LIST_ONCE ? LIST_ONCE_GHOSTS : LIST_AGAIN_GHOSTS);
	cache->evictions++;
}

/* The question is a ghost: its list was too short. The ghost becomes an entry again. */
static void
arc_revive(IqdbCache *cache, Entry *ghost)
{
	size_t once_ghosts = cache->lists[LIST_ONCE_GHOSTS].length;
	size_t again_ghosts = cache->lists[LIST_AGAIN_GHOSTS].length;
	bool   from_again = ghost->list == LIST_AGAIN_GHOSTS;
	size_t step;

	if (from_again)
	{
		step = once_ghosts > again_ghosts ? once_ghosts / again_ghosts : 1;
		cache->once_target = cache->once_target > step ? cache->once_target - step : 0;
	}
	else
	{
		step = again_ghosts > once_ghosts ? again_ghosts / once_ghosts : 1;
		cache->once_target += step;
		if (cache->once_target > cache->config.capacity)
			cache->once_target = (size_t) cache->config.capacity;
	}
	arc_replace(cache, from_again);
	list_move(cache, ghost, LIST_AGAIN);
}

/* Room for a question never seen. */
static void
arc_make_room(IqdbCache *cache)
{
	size_t capacity = (size_t) cache->config.capacity;
	List  *lists = cache->lists;

	if (lists[LIST_ONCE].length + lists[LIST_ONCE_GHOSTS].length >= capacity)
	{
		if (lists[LIST_ONCE].length < capacity)
		{
			entry_free(cache, lists[LIST_ONCE_GHOSTS].oldest);
			arc_replace(cache, false);
		}
		else
		{
			entry_free(cache, lists[LIST_ONCE].oldest);
			cache->evictions++;
		}
		return;
	}
	if (cache->entry_count >= 2 * capacity && lists[LIST_AGAIN_GHOSTS].length > 0)
		entry_free(cache, lists[LIST_AGAIN_GHOSTS].oldest);
	arc_replace(cache, false);
}

static void
make_room(IqdbCache *cache)
{
	if (cache->config.policy == IQDB_CACHE_ARC)
	{
		arc_make_room(cache);
		return;
	}
	if (cache->entry_count < cache->config.capacity)
		return;
	entry_free(cache, cache->config.policy == IQDB_CACHE_LFU ? cache->heap[0] : cache->lists[LIST_ONCE].oldest);
	cache->evictions++;
}

/* ---- the cache ---- */

IqdbStatus
iqdb_cache_create(const IqdbAllocator *allocator, const IqdbCacheConfig *config, IqdbCacheValueOps ops,
				  IqdbCache **cache_out, IqdbError *err)
{
	IqdbCache *cache;

	*cache_out = NULL;
	if ((unsigned) config->policy > IQDB_CACHE_ARC)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "cache policy %d is unknown", (int) config->policy);
	if (config->capacity > IQDB_CACHE_CAPACITY_MAX)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "cache capacity is %llu, it must be at most %d",
						 (unsigned long long) config->capacity, IQDB_CACHE_CAPACITY_MAX);
	cache = iqdb_alloc_zero(allocator, sizeof(*cache));
	if (cache == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for a cache");
	cache->allocator = *allocator;
	cache->config = *config;
	cache->ops = ops;
	*cache_out = cache;
	return IQDB_OK;
}

void
iqdb_cache_clear(IqdbCache *cache)
{
	for (int i = 0; i < LIST_COUNT; i++)
	{
		while (cache->lists[i].oldest != NULL)
			entry_free(cache, cache->lists[i].oldest);
	}
	cache->once_target = 0;
}

void
iqdb_cache_destroy(IqdbCache *cache)
{
	IqdbAllocator allocator;

	if (cache == NULL)
		return;
	iqdb_cache_clear(cache);
	allocator = cache->allocator;
	iqdb_free(&allocator, cache->buckets, cache->bucket_count * sizeof(*cache->buckets));
	iqdb_free(&allocator, cache->heap, cache->heap_allocated * sizeof(*cache->heap));
	iqdb_free(&allocator, cache, sizeof(*cache));
}

/* false: the caller's version is older than what the cache has seen. */
static bool
meet_version(IqdbCache *cache, uint64_t version)
{
	if (version < cache->version)
		return false;
	if (version > cache->version)
	{
		iqdb_cache_clear(cache);
		cache->version = version;
	}
	return true;
}

static bool
is_too_old(const IqdbCache *cache, const Entry *entry, uint64_t now_ms)
{
	uint64_t age = now_ms > entry->stored_ms ? now_ms - entry->stored_ms : 0;

	return cache->config.ttl_ms != 0 && age >= cache->config.ttl_ms;
}

void *
iqdb_cache_get(IqdbCache *cache, const IqdbCacheKey *key, uint64_t version, uint64_t now_ms)
{
	Entry *entry;

	if (!meet_version(cache, version))
		return NULL;
	entry = find(cache, key, hash_key(key));
	if (entry == NULL || entry->value == NULL || is_too_old(cache, entry, now_ms))
		return NULL;
	touch(cache, entry);
	cache->hits++;
	cache->ops.retain(entry->value);
	return entry->value;
}

/* The entry the answer goes to, in its list; NULL when it cannot be kept. */
static Entry *
place(IqdbCache *cache, const IqdbCacheKey *key)
{
	uint64_t hash = hash_key(key);
	Entry   *entry = find(cache, key, hash);

	if (entry != NULL && entry->value != NULL)
	{
		touch(cache, entry);
		return entry;
	}
	if (entry != NULL)
	{
		arc_revive(cache, entry);
		return entry;
	}
	make_room(cache);
	entry = entry_make(cache, key, hash);
	if (entry == NULL)
		return NULL;
	entry->uses = 1;
	entry->last_use = ++cache->clock;
	list_push(cache, entry, LIST_ONCE);
	/* it went into the heap before its use was counted */
	if (cache->config.policy == IQDB_CACHE_LFU)
		heap_down(cache, entry->heap_at);
	return entry;
}

void
iqdb_cache_put(IqdbCache *cache, const IqdbCacheKey *key, void *value, uint64_t version, uint64_t now_ms)
{
	Entry *entry;

	cache->misses++;
	if (cache->config.capacity == 0 || !meet_version(cache, version))
		return;
	/* a NaN in the filter: the question would never be recognised */
	if (key->filter != NULL && !iqdb_filter_equal(key->filter, key->filter))
		return;
	entry = place(cache, key);
	if (entry == NULL)
		return;
	cache->ops.retain(value);
	drop_value(cache, entry);
	entry->value = value;
	entry->stored_ms = now_ms;
}

void
iqdb_cache_read_stats(const IqdbCache *cache, IqdbCacheStats *stats_out)
{
	uint64_t lookups = cache->hits + cache->misses;

	stats_out->hits = cache->hits;
	stats_out->misses = cache->misses;
	stats_out->evictions = cache->evictions;
	stats_out->len = cache->lists[LIST_ONCE].length + cache->lists[LIST_AGAIN].length;
	stats_out->capacity = cache->config.capacity;
	stats_out->hit_rate = lookups > 0 ? (double) cache->hits / (double) lookups : 0.0;
}
