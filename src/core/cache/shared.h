/*
 * shared.h - a result cache in a piece of memory that processes share.
 *
 * A question is a string of bytes with everything in it that the answer depends on, an answer is one too. Both lie in blocks of
 * one size, linked by numbers; nothing in the memory is a pointer, and nothing of it belongs to a process: whoever has its lock
 * has all of it. What a version, and a policy, is: cache.h.
 *
 * The host's lock orders the calls. None of them waits, fails, or takes longer than copying a question and an answer.
 */
#ifndef IQDB_CACHE_SHARED_H
#define IQDB_CACHE_SHARED_H

#include "core/base/mem.h"
#include "core/base/status.h"

#define IQDB_SHARED_CACHE_BLOCK 256u

typedef struct IqdbSharedCache IqdbSharedCache;

/* Memory for so many answers whose questions and answers take entry_bytes each; UINT64_MAX on overflow. */
uint64_t iqdb_shared_cache_size(const IqdbCacheConfig *config, uint64_t entry_bytes);

/* Of a cache that may grow to so many bytes, what format() needs. */
uint64_t iqdb_shared_cache_least(const IqdbCacheConfig *config, uint64_t entry_bytes, uint64_t most);

/*
 * Makes an empty cache in memory that is aligned to 8 bytes. It begins with `bytes` bytes and may get up to `most`. Where that
 * is less than the capacity needs, the capacity is less; it may be 0. What was there before is gone, its counters, too. Errors:
 * IQDB_ERR_CONFIG (also: fewer bytes than the least).
 */
IqdbStatus iqdb_shared_cache_format(IqdbSharedCache *cache, uint64_t bytes, uint64_t most, const IqdbCacheConfig *config,
									uint64_t entry_bytes, IqdbError *err) IQDB_MUST_CHECK;

/*
 * The bytes that it should have before so many bytes of question and answer are put: more than it has, where others would have
 * to go though the capacity is not reached.
 */
uint64_t iqdb_shared_cache_wants(const IqdbSharedCache *cache, uint64_t bytes);

/* It has so many bytes now; fewer than before changes nothing. */
void iqdb_shared_cache_extend(IqdbSharedCache *cache, uint64_t bytes);

/* A question and its hash. */
typedef struct IqdbCacheQuestion
{
	const unsigned char *bytes;
	uint32_t             length;
	uint64_t             hash;
} IqdbCacheQuestion;

IqdbCacheQuestion iqdb_cache_question(const void *bytes, uint32_t length);

/*
 * The answer, in memory of the allocator, and its length; NULL if there is none. Counts a hit. Where the allocator has no
 * memory for it there is no answer either.
 */
void *iqdb_shared_cache_get(IqdbSharedCache *cache, const IqdbCacheQuestion *question, uint64_t version, uint64_t now_ms,
							const IqdbAllocator *allocator, uint32_t *length_out);

/*
 * Keeps an answer that was computed, unless the data has changed since this version, or it is larger than half of all blocks.
 * Counts a miss. was_hit: there was one, but it was too short.
 */
void iqdb_shared_cache_put(IqdbSharedCache *cache, const IqdbCacheQuestion *question, const void *answer,
						   uint32_t length, uint64_t version, uint64_t now_ms, bool was_hit);

/* The version of the data is this by now: a later one forgets everything, as any call would that comes with it. */
void iqdb_shared_cache_meet(IqdbSharedCache *cache, uint64_t version);

void iqdb_shared_cache_stats(const IqdbSharedCache *cache, IqdbCacheStats *stats_out);

/* For tests: do lists, buckets and blocks add up? */
bool iqdb_shared_cache_is_sound(const IqdbSharedCache *cache);

#endif
