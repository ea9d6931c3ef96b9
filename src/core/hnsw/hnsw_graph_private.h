/*
 * hnsw_graph_private.h - the graph in the arena: the engine's header, a node's record, its list of links.
 *
 * README.md has the layout with its reasons, the locks, and the argument why readers without locks see no garbage. The
 * links of the levels above 0 are owned by hnsw_upper_private.h, the rows waiting for links by hnsw_pending_private.h,
 * and which links there are by hnsw_links_private.h, hnsw_insert_private.h and hnsw_delete_private.h.
 */
#ifndef IQDB_HNSW_GRAPH_PRIVATE_H
#define IQDB_HNSW_GRAPH_PRIVATE_H

#include "core/engine/engine.h"
#include "core/quant/signs.h"
#include "core/quant/sq8.h"

/* Levels are 0 .. this. */
#define IQDBI_HNSW_LEVEL_MAX 31u
#define IQDBI_HNSW_LEVELS (IQDBI_HNSW_LEVEL_MAX + 1)

/* Slots have 31 bits: the beam keeps a flag in the top bit of a slot number. */
#define IQDBI_HNSW_SLOTS_MAX UINT32_C(0x7fffffff)

/*
 * A bucket of the table that finds nodes by a hash of their vectors (hnsw_twins.c): its bytes, which are eight cells,
 * and the nodes for which there is one bucket.
 */
#define IQDBI_HNSW_TWIN_BUCKET 64u
#define IQDBI_HNSW_TWINS_PER_BUCKET 4u

/* No list has more room than this: 2 * 128 links for the largest m, 64 of slack, and what fills the last cache line. */
#define IQDBI_HNSW_LIST_MAX 352u

/* The engine's regions of the arena, numbered from IQDB_REGION_ENGINE. */
enum
{
	IQDBI_HNSW_NODES = 0,   /* one record per slot: code, lock, state, level-0 links */
	IQDBI_HNSW_UPPER = 1,   /* blocks of links of the levels above */
	IQDBI_HNSW_PENDING = 2, /* slots added and not linked yet */
	IQDBI_HNSW_SCALARS = 3, /* graphs of bytes: IqdbSq8Row per slot */
	IQDBI_HNSW_CENTRE = 4,  /* coded graphs: a float per dimension, subtracted from rows before they are coded; changed
							   with STRUCTURE held exclusively; behind it the flips of the rotation, of signs or of sketches */
	IQDBI_HNSW_TWINS = 5,   /* the table of nodes by a hash of their vectors: see hnsw_twins.c */
	IQDBI_HNSW_SKETCHES = 6 /* coded graphs: IqdbSketch per slot, see hnsw_sketch.c */
};

/* ---- in the arena ------------------------------------------------------------------------------------------------ */

typedef struct IqdbiHnswHeader
{
	uint32_t         layout;
	uint32_t         record_size; /* bytes, a multiple of 64 */
	uint32_t         node_offset; /* of the IqdbiHnswNode in a record; the code stands before it */
	uint32_t         room[2];     /* links a list has room for: level 0, levels above */
	uint32_t         degree[2];   /* links a list is cut back to */
	uint32_t         block_words; /* 32-bit words of one upper block */
	_Atomic uint32_t recode;      /* not 0: 1 + the first slot to be coded again, codes are not read: hnsw_centre.c */
	_Atomic uint64_t entry;       /* (level + 1) << 32 | slot; 0 = the graph is empty */
	_Atomic uint64_t epoch;       /* moves on when slots are released or codes change: older memories are stale */
	_Atomic uint32_t linked;      /* nodes in the graph, dead ones included */
	_Atomic uint32_t twins;       /* rows that share the node of an equal one, dead ones included */
	_Atomic uint32_t unrepaired;  /* removed rows whose slots are still held */
	_Atomic uint32_t pending;     /* entries of region PENDING, finished ones included */
	_Atomic uint32_t unreachable; /* nodes out of reach when last counted */
	_Atomic uint32_t maintaining; /* 1 while a repair runs: there is one at a time */
	_Atomic uint32_t reviewing;   /* 1 while the codes' centre is looked at: the same */
	_Atomic uint32_t centre_due;  /* linked nodes at which the codes' centre is looked at again, 0 = never was */
	/* the rest is written with IQDB_LOCK_ENGINE held */
	uint32_t         pending_done;                   /* entries of PENDING that need no linking any more */
	uint32_t         block_count;                    /* blocks ever used; block 0 is never given out */
	uint32_t         block_free[IQDBI_HNSW_LEVELS];  /* heads of free runs of so many blocks, 0 = none */
	_Atomic uint32_t level_count[IQDBI_HNSW_LEVELS]; /* linked nodes by top level; also read without the lock */
	_Atomic uint32_t twin_buckets;                   /* of region TWINS, at least 1; also read without the lock */
} IqdbiHnswHeader;

/*
 * A node's head, in its record behind the code. A list of links is an array of atomic words: its length, then the
 * slots. The list of level 0 begins at `count`; those of higher levels are blocks in region UPPER, one after the other
 * from level 1 on.
 */
typedef struct IqdbiHnswNode
{
	_Atomic uint32_t lock;  /* bit 0: held by a writer of the lists; the rest counts changes */
	_Atomic uint32_t info;  /* IQDBI_INFO_* */
	_Atomic uint32_t block; /* of a node: its first upper block, 0 = none. Of a twin: its node's slot */
	_Atomic uint32_t twin;  /* of a node: slot + 1 of its first twin. Of a twin: of the next one. 0 = none */
	_Atomic uint32_t hash;  /* of a node: of its vector */
	_Atomic uint32_t count; /* of a node: the list of level 0 begins here */
	_Atomic uint32_t links[];
} IqdbiHnswNode;

/* info: what a slot is to the graph (status), flags, and a node's top level. README.md draws the life of a node. */
#define IQDBI_INFO_ABSENT 0u    /* the graph does not know the slot */
#define IQDBI_INFO_PENDING 1u   /* added, and not linked yet: searches find it in region PENDING */
#define IQDBI_INFO_LINKING 2u   /* a linker is at work on it; it is still in region PENDING */
#define IQDBI_INFO_LINKED 3u    /* a node, part of the graph */
#define IQDBI_INFO_CONDEMNED 4u /* removed, and taken by a repair: no new link may lead to it */
#define IQDBI_INFO_TWIN 5u      /* not part of the graph: in the chain of a node with an equal vector */
#define IQDBI_INFO_STATUS 7u
#define IQDBI_INFO_DEAD 8u        /* the row was removed */
#define IQDBI_INFO_WAS_LINKED 16u /* of a condemned slot: it was a node, rather than waiting in region PENDING */
#define IQDBI_INFO_INHERITED 32u  /* of a condemned node: its heir is a node in its place, and has its chain */
#define IQDBI_INFO_WAS_TWIN 64u   /* of a condemned slot: it was a twin */
#define IQDBI_INFO_LEVEL_SHIFT 8

/* ---- a process's view -------------------------------------------------------------------------------------------- */

/* What a node's record carries for walks to compare. */
typedef enum IqdbiHnswCode
{
	IQDBI_HNSW_PLAIN, /* nothing: walks compare the rows' vectors */
	IQDBI_HNSW_BYTES, /* a byte per component: quant/sq8.h */
	IQDBI_HNSW_SIGNS  /* a bit per component: quant/signs.h, and behind the bits the row's scalars */
} IqdbiHnswCode;

/* One process's view of a graph: addresses and settings, valid while the arena is mapped where it is. */
typedef struct IqdbiHnsw
{
	IqdbStore        *store;
	IqdbiHnswHeader  *header;
	unsigned char    *nodes;
	_Atomic uint32_t *upper;
	_Atomic uint32_t *pending;
	_Atomic uint64_t *twins;
	IqdbSq8Row       *scalars;
	IqdbSketch       *sketches;
	float            *centre;
	size_t            record_size;
	size_t            node_offset;
	size_t            dim;
	size_t            vector_bytes;   /* of a row's vector, as it is stored */
	size_t            prepared_bytes; /* of a row as a prepared query; 0 where it is one as it is stored */
	IqdbMetric        metric;         /* for quant/; all else asks its traits, store->metric */
	IqdbiHnswCode     code;
	IqdbSigns         signs;  /* graphs of signs, and sketches of graphs of bytes */
	float             alpha;  /* how much nearer to a candidate a selected neighbour must be to make it superfluous */
	float             margin; /* nodes above level 0 are followed that are farther than the nearest by this share at most */
	uint32_t          cost;   /* of scoring one row, in about a nanosecond: what stretches of work are measured by */
} IqdbiHnsw;

void iqdbi_hnsw_view(IqdbiHnsw *graph_out, IqdbStore *store);

/*
 * What walks compare at this moment: vectors while all rows are coded again, else codes. The caller holds STRUCTURE;
 * the answer changes only under STRUCTURE held exclusively, together with the epoch.
 */
static inline IqdbiHnswCode
iqdbi_hnsw_code_read(const IqdbiHnsw *graph)
{
	return atomic_load_explicit(&graph->header->recode, memory_order_relaxed) == 0 ? graph->code : IQDBI_HNSW_PLAIN;
}

static inline IqdbiHnswNode *
iqdbi_hnsw_node(const IqdbiHnsw *graph, uint32_t slot)
{
	return (IqdbiHnswNode *) (void *) (graph->nodes + (size_t) slot * graph->record_size + graph->node_offset);
}

static inline uint8_t *
iqdbi_hnsw_code(const IqdbiHnsw *graph, uint32_t slot)
{
	return graph->nodes + (size_t) slot * graph->record_size;
}

/* The bits of a node, and its scalars behind them: of graphs of signs. */
static inline uint64_t *
iqdbi_hnsw_signs(const IqdbiHnsw *graph, uint32_t slot)
{
	return (uint64_t *) (void *) iqdbi_hnsw_code(graph, slot);
}

static inline IqdbSignsRow *
iqdbi_hnsw_signs_row(const IqdbiHnsw *graph, uint32_t slot)
{
	return (IqdbSignsRow *) (void *) (iqdbi_hnsw_signs(graph, slot) + iqdb_signs_words(graph->dim));
}

static inline uint32_t
iqdbi_hnsw_info(const IqdbiHnsw *graph, uint32_t slot)
{
	return atomic_load_explicit(&iqdbi_hnsw_node(graph, slot)->info, memory_order_acquire);
}

static inline uint32_t
iqdbi_info_status(uint32_t info)
{
	return info & IQDBI_INFO_STATUS;
}

static inline uint32_t
iqdbi_info_level(uint32_t info)
{
	return info >> IQDBI_INFO_LEVEL_SHIFT;
}

static inline uint32_t
iqdbi_info_make(uint32_t status, uint32_t level)
{
	return status | level << IQDBI_INFO_LEVEL_SHIFT;
}

/* The list of links of a node whose top level is at least `level`. */
static inline _Atomic uint32_t *
iqdbi_hnsw_list(const IqdbiHnsw *graph, uint32_t slot, uint32_t level)
{
	IqdbiHnswNode *node = iqdbi_hnsw_node(graph, slot);
	uint32_t       block;

	if (level == 0)
		return &node->count;
	block = atomic_load_explicit(&node->block, memory_order_relaxed) + (level - 1);
	return graph->upper + (size_t) block * graph->header->block_words;
}

static inline uint32_t
iqdbi_hnsw_room(const IqdbiHnsw *graph, uint32_t level)
{
	return graph->header->room[level > 0];
}

static inline uint32_t
iqdbi_hnsw_degree(const IqdbiHnsw *graph, uint32_t level)
{
	return graph->header->degree[level > 0];
}

/*
 * Copies a list that writers may be changing; at most IQDBI_HNSW_LIST_MAX slots. STRUCTURE is held, the node's lock
 * need not be.
 */
static inline uint32_t
iqdbi_list_read(const IqdbiHnsw *graph, const _Atomic uint32_t *list, uint32_t level, uint32_t *slots_out)
{
	uint32_t count = atomic_load_explicit(&list[0], memory_order_acquire);
	uint32_t room = iqdbi_hnsw_room(graph, level);

	if (count > room)
		count = room;
	for (uint32_t i = 0; i < count; i++)
		slots_out[i] = atomic_load_explicit(&list[1 + i], memory_order_acquire);
	return count;
}

/* Overwrites a list. The caller holds the node's lock, unless no link leads to the node yet. */
void iqdbi_list_write(_Atomic uint32_t *list, const uint32_t *slots, uint32_t count);

/*
 * The lock of a node's lists, held for a few stores. lock() returns the word that unlock() needs, and unlock() counts
 * the change: so a writer can compute outside the lock what a list shall be. It reads version(), which waits for
 * another writer to finish, copies the list, computes, and lock_version() then locks only if nothing has changed since.
 * All are called with STRUCTURE held.
 */
uint32_t iqdbi_hnsw_lock(IqdbiHnswNode *node);
void iqdbi_hnsw_unlock(IqdbiHnswNode *node, uint32_t word);
uint32_t iqdbi_hnsw_version(const IqdbiHnswNode *node);
bool iqdbi_hnsw_lock_version(IqdbiHnswNode *node, uint32_t word);

/* Sets status and level, and keeps the flag DEAD, which removed() may set at any time. STRUCTURE is held. */
void iqdbi_hnsw_set_info(const IqdbiHnsw *graph, uint32_t slot, uint32_t status, uint32_t level);

/* Of a node its first twin, of a twin the next one of the chain; IQDB_SLOT_NONE = none. STRUCTURE is held. */
static inline uint32_t
iqdbi_hnsw_twin_next(const IqdbiHnsw *graph, uint32_t slot)
{
	/* 0 becomes IQDB_SLOT_NONE */
	return atomic_load_explicit(&iqdbi_hnsw_node(graph, slot)->twin, memory_order_acquire) - 1;
}

/*
 * The entry point, packed into one word so that it is replaced as a whole: its level + 1 above, its slot below; 0 =
 * none.
 */
static inline uint64_t
iqdbi_entry_make(uint32_t slot, uint32_t level)
{
	return ((uint64_t) level + 1) << 32 | slot;
}

static inline uint32_t
iqdbi_entry_slot(uint64_t entry)
{
	return (uint32_t) entry;
}

static inline uint32_t
iqdbi_entry_level(uint64_t entry)
{
	return (uint32_t) (entry >> 32) - 1;
}

static inline uint64_t
iqdbi_hnsw_entry(const IqdbiHnsw *graph)
{
	return atomic_load_explicit(&graph->header->entry, memory_order_acquire);
}

/* ---- functions of the engine's table: contract and locks in engine/engine.h -------------------------------------- */

IqdbStatus iqdbi_hnsw_format(IqdbStore *store, IqdbError *err) IQDB_MUST_CHECK;
IqdbStatus iqdbi_hnsw_reserve(IqdbStore *store, uint32_t slot_count, IqdbError *err) IQDB_MUST_CHECK;
void iqdbi_hnsw_reserves(const IqdbIndexOptions *options, uint64_t slots_max,
						 uint64_t reserves_out[IQDB_ENGINE_REGIONS_MAX]);
uint64_t iqdbi_hnsw_bytes_per_row(const IqdbIndexOptions *options);
uint64_t iqdbi_hnsw_snapshot_bytes(const IqdbIndexOptions *options, uint64_t rows);

#endif
