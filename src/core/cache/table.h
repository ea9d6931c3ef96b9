/*
 * table.h - which answers a cache has, found by a hash, and which of them has to go when there are too many.
 *
 * An answer is a number here, a node's; what its question and its answer are is the owner's affair (cache.h, shared.h). The
 * table lies in memory of the owner's, without a pointer in it, so that processes which map it at different places can share
 * it. It takes no lock, and allocates nothing.
 *
 * A node is in one of four lists, most recent first. LRU, LFU and FIFO use the first alone; ARC uses all: seen once, seen
 * again, and the ghosts of both, which have a question, or its hash, and no answer. LFU also keeps a heap, least used first.
 */
#ifndef IQDB_CACHE_TABLE_H
#define IQDB_CACHE_TABLE_H

#include "core/base/status.h"

#define IQDB_CACHE_NO_NODE UINT32_MAX

typedef enum IqdbCacheListNumber
{
	IQDB_CACHE_ONCE = 0, /* ARC's T1; the only list of the others */
	IQDB_CACHE_AGAIN,    /* T2 */
	IQDB_CACHE_ONCE_GHOSTS,
	IQDB_CACHE_AGAIN_GHOSTS,
	IQDB_CACHE_LISTS
} IqdbCacheListNumber;

typedef struct IqdbCacheNode
{
	uint64_t hash;
	uint64_t stored_ms;
	uint64_t uses;
	uint64_t last_use;
	uint32_t chain; /* the next one in the bucket, or among free nodes */
	uint32_t newer; /* in the list */
	uint32_t older;
	uint32_t list;
	uint32_t heap_at;
	uint32_t has_answer; /* 0: a ghost */
} IqdbCacheNode;

typedef struct IqdbCacheList
{
	uint32_t newest;
	uint32_t oldest;
	uint64_t length;
} IqdbCacheList;

typedef struct IqdbCacheTable
{
	IqdbCacheConfig config;
	uint64_t        version; /* of the data that the answers belong to */
	uint64_t        clock;   /* look-ups and stores, for LFU's order of equals */
	uint64_t        hits;
	uint64_t        misses;
	uint64_t        evictions;
	uint64_t        once_target; /* ARC's p: how long T1 may be */
	IqdbCacheList   lists[IQDB_CACHE_LISTS];
	uint32_t        bucket_count; /* a power of two, or 0 */
	uint32_t        node_room;    /* nodes there is memory for */
	uint32_t        node_count;   /* in lists, ghosts included */
	uint32_t        free_node;    /* head of the nodes that are in no list */
	uint32_t        heap_length;
	uint32_t        unused;
} IqdbCacheTable;

/* A process's view of a table, and the owner's part in it. */
typedef struct IqdbCacheView
{
	IqdbCacheTable *table;
	IqdbCacheNode  *nodes;   /* node_room of them */
	uint32_t       *buckets; /* bucket_count */
	uint32_t       *heap;    /* node_room; read under LFU only */
	/* is this the question of the node, whose hash is the same? */
	bool (*same)(void *owner, uint32_t node, const void *question);
	/* lets go of the node's answer, and, unless it becomes a ghost, of its question */
	void (*drop)(void *owner, uint32_t node, bool becomes_ghost);
	void *owner;
} IqdbCacheView;

/* Nodes that so many answers need: ARC's ghosts are as many again. */
uint32_t iqdb_cache_nodes(const IqdbCacheConfig *config);

/* An empty table without memory for nodes and buckets. Errors: IQDB_ERR_CONFIG (unknown policy, capacity over the limit). */
IqdbStatus iqdb_cache_table_init(IqdbCacheTable *table, const IqdbCacheConfig *config, IqdbError *err) IQDB_MUST_CHECK;

/* There is memory for so many nodes and buckets now, no less than before; buckets: zeroed or not, they are filled anew. */
void iqdb_cache_table_room(const IqdbCacheView *view, uint32_t node_room, uint32_t bucket_count);

/* Forgets every answer; the counters stay. */
void iqdb_cache_table_clear(const IqdbCacheView *view);

/* The caller's version of the data: a later one forgets everything. false: it is older than what the table has seen. */
bool iqdb_cache_table_meet(const IqdbCacheView *view, uint64_t version);

/* The node that answers the question now, counted as used and as a hit; or IQDB_CACHE_NO_NODE. */
uint32_t iqdb_cache_table_get(const IqdbCacheView *view, uint64_t hash, const void *question, uint64_t now_ms);

/*
 * The node that the answer to a question goes to: the one it has, or a new one, for which others may have to go; or
 * IQDB_CACHE_NO_NODE, where there is no memory for one. *is_new_out: the owner has to keep the question, too.
 */
uint32_t iqdb_cache_table_place(const IqdbCacheView *view, uint64_t hash, const void *question, uint64_t now_ms,
								bool *is_new_out);

/* The node goes, with its question. */
void iqdb_cache_table_forget(const IqdbCacheView *view, uint32_t node);

/* The answer that has to go first goes, whether there are too many or not. false: there is none. */
bool iqdb_cache_table_evict(const IqdbCacheView *view);

uint64_t iqdb_cache_table_length(const IqdbCacheTable *table);
void iqdb_cache_table_stats(const IqdbCacheTable *table, IqdbCacheStats *stats_out);

#endif
