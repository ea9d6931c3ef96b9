/*
 * cache.h - results of earlier searches, found again by the exact question.
 *
 * A key is everything an answer depends on: the bits of the query (so -0.0 is not 0.0), k, the search settings, the filter. A
 * filter that holds a NaN equals no filter, itself included: such searches are never remembered. What a value is, is the
 * host's affair: the cache holds references to it.
 *
 * Every answer belongs to a version of the data (a number that grows with each change). The first call with a later version
 * forgets everything. So a cache can make searches faster, never different.
 *
 * Policies: least recently used; least frequently used (of equals, the least recently used); first in, first out; ARC
 * (Megiddo, Modha, "ARC: a self-tuning, low overhead replacement cache", FAST 2003), which remembers what it evicted lately.
 *
 * Not fit for two threads at once; the host's lock orders the calls. Running out of memory makes a cache forget, not fail.
 */
#ifndef IQDB_CACHE_CACHE_H
#define IQDB_CACHE_CACHE_H

#include "core/base/mem.h"
#include "core/base/status.h"
#include "core/meta/filter.h"

typedef struct IqdbCacheKey
{
	const void       *query;
	size_t            query_size; /* bytes */
	size_t            dim;
	uint64_t          k;
	uint64_t          max_rows;
	uint32_t          ef;
	uint32_t          probes;
	uint32_t          refine;
	const IqdbFilter *filter; /* NULL = none */
} IqdbCacheKey;

/* How the cache holds and lets go of a value. Called inside put, get and whatever forgets. */
typedef struct IqdbCacheValueOps
{
	void (*retain)(void *value);
	void (*release)(void *value);
} IqdbCacheValueOps;

typedef struct IqdbCache IqdbCache;

/* Errors: IQDB_ERR_CONFIG (unknown policy, capacity over the limit), IQDB_ERR_NOMEM. The allocator is copied. */
IqdbStatus iqdb_cache_create(const IqdbAllocator *allocator, const IqdbCacheConfig *config, IqdbCacheValueOps ops,
							 IqdbCache **cache_out, IqdbError *err) IQDB_MUST_CHECK;

/* NULL is no error. */
void iqdb_cache_destroy(IqdbCache *cache);

/* The value, retained for the caller, or NULL. Counts a hit when there is one; a miss is counted by put. */
void *iqdb_cache_get(IqdbCache *cache, const IqdbCacheKey *key, uint64_t version, uint64_t now_ms);

/*
 * The answer that was computed instead: counts a miss, and remembers it (retaining it) unless the data has changed
 * meanwhile. A search that failed is not put, and so counts as nothing.
 */
void iqdb_cache_put(IqdbCache *cache, const IqdbCacheKey *key, void *value, uint64_t version, uint64_t now_ms);

/* Forgets every answer; the counters stay. */
void iqdb_cache_clear(IqdbCache *cache);

void iqdb_cache_read_stats(const IqdbCache *cache, IqdbCacheStats *stats_out);

#endif
