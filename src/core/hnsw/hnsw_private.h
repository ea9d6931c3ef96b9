/*
 * hnsw_private.h - the graph in the arena, and what the files of this folder share.
 *
 * README.md has the layout with its reasons, the locks, and the argument why readers without locks see no garbage. Who
 * owns what: hnsw_graph.c the bytes in the arena, hnsw_beam.c a search's private memory, hnsw_walk.c the way through
 * the graph, hnsw_insert.c and hnsw_delete.c its changes, hnsw_search.c the stream of hits.
 */
#ifndef IQDB_HNSW_HNSW_PRIVATE_H
#define IQDB_HNSW_HNSW_PRIVATE_H

#include "core/base/topk.h"
#include "core/engine/engine.h"
#include "core/quant/signs.h"
#include "core/quant/sq8.h"

/* Levels are 0 .. this. */
#define IQDBI_HNSW_LEVEL_MAX 31u
#define IQDBI_HNSW_LEVELS (IQDBI_HNSW_LEVEL_MAX + 1)

/* The beam keeps a flag in the top bit of a slot number. */
#define IQDBI_HNSW_SLOTS_MAX UINT32_C(0x7fffffff)

/* Bytes of a bucket of the table of nodes by a hash of their vectors, and nodes it is meant for: of eight cells. */
#define IQDBI_HNSW_TWIN_BUCKET 64u
#define IQDBI_HNSW_TWINS_PER_BUCKET 4u

/* What a step along a chain of twins costs, in the nanoseconds of IqdbiHnsw.cost. */
#define IQDBI_TWIN_COST 30

/* No list has more room than this: 2 * 128 links, 64 of slack, and what fills the last cache line. */
#define IQDBI_HNSW_LIST_MAX 352u

enum
{
	IQDBI_HNSW_NODES = 0,   /* one record per slot: code, lock, state, level-0 links */
	IQDBI_HNSW_UPPER = 1,   /* blocks of links of the levels above */
	IQDBI_HNSW_PENDING = 2, /* slots added and not linked yet */
	IQDBI_HNSW_SCALARS = 3, /* graphs of bytes: IqdbSq8Row per slot */
	IQDBI_HNSW_TWINS = 5,   /* nodes by a hash of their vectors: see hnsw_twins.c */
	IQDBI_HNSW_CENTRE = 4   /* coded graphs: float per dimension, subtracted before coding; changed with STRUCTURE
							   held exclusively. Graphs of signs: the flips of the rotation behind it */
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
	_Atomic uint32_t recode;      /* 0, or 1 + the first slot to be coded again: codes are not read; see hnsw_centre.c */
	_Atomic uint64_t entry;       /* (level + 1) << 32 | slot; 0 = the graph is empty */
	_Atomic uint64_t epoch;       /* counts rounds of letting slots go: slots remembered from an earlier one are stale */
	_Atomic uint32_t linked;      /* nodes in the graph, dead ones included */
	_Atomic uint32_t twins;       /* rows that share the node of an equal one, dead ones included */
	_Atomic uint32_t unrepaired;  /* removed rows whose slots are still held */
	_Atomic uint32_t pending;     /* entries of region PENDING, finished ones included */
	_Atomic uint32_t unreachable; /* nodes out of reach when last counted */
	_Atomic uint32_t maintaining; /* 1 while somebody repairs: one at a time */
	_Atomic uint32_t reviewing;   /* 1 while somebody looks at the codes' centre: one at a time */
	_Atomic uint32_t centre_due;  /* linked nodes at which the codes' centre is looked at again, 0 = never was */
	/* the rest is guarded by IQDB_LOCK_ENGINE */
	uint32_t         pending_done;                   /* entries of PENDING that need no linking any more */
	uint32_t         block_count;                    /* blocks ever used; block 0 is never given out */
	uint32_t         block_free[IQDBI_HNSW_LEVELS];  /* heads of free runs of so many blocks, 0 = none */
	_Atomic uint32_t level_count[IQDBI_HNSW_LEVELS]; /* linked nodes by top level; also read without the lock */
	_Atomic uint32_t twin_buckets;                   /* of region TWINS, at least 1; also read without the lock */
} IqdbiHnswHeader;

/*
 * A node's head, in its record. A list is an array of atomic words: [0] its length, then the slots. The level-0 list
 * begins at count; lists of higher levels are blocks in UPPER, one after the other from level 1 on.
 */
typedef struct IqdbiHnswNode
{
	_Atomic uint32_t lock;  /* bit 0: held by a writer of the lists; the rest counts changes */
	_Atomic uint32_t info;  /* IQDBI_INFO_* */
	_Atomic uint32_t block; /* first upper block, 0 = none; valid while the node is linked. Of a twin: its node */
	_Atomic uint32_t twin;  /* slot + 1 of the first twin; of a twin: of the next one; 0 = none: see hnsw_twins.c */
	_Atomic uint32_t hash;  /* of the vector, while the slot is a node */
	_Atomic uint32_t count; /* level-0 list */
	_Atomic uint32_t links[];
} IqdbiHnswNode;

/* info: what a slot is to the graph, the flag that its row was removed, and its top level. */
#define IQDBI_INFO_ABSENT 0u    /* unknown */
#define IQDBI_INFO_PENDING 1u   /* added: found by scanning region PENDING */
#define IQDBI_INFO_LINKING 2u   /* somebody is linking it; still in region PENDING */
#define IQDBI_INFO_LINKED 3u    /* part of the graph */
#define IQDBI_INFO_CONDEMNED 4u /* removed, and taken by a repair: nothing may link to it any more */
#define IQDBI_INFO_TWIN 5u      /* no part of the graph: in the chain of a node with an equal vector */
#define IQDBI_INFO_STATUS 7u
#define IQDBI_INFO_DEAD 8u
#define IQDBI_INFO_WAS_LINKED 16u /* condemned out of the graph, not out of region PENDING */
#define IQDBI_INFO_INHERITED 32u  /* condemned node whose first twin is a node in its place, with its chain */
#define IQDBI_INFO_WAS_TWIN 64u   /* condemned out of a chain */
#define IQDBI_INFO_LEVEL_SHIFT 8

/* ---- a process's view -------------------------------------------------------------------------------------------- */

/* What nodes carry for walks to read. */
typedef enum IqdbiHnswCode
{
	IQDBI_HNSW_PLAIN, /* nothing: walks read vectors */
	IQDBI_HNSW_BYTES, /* quant/sq8.h */
	IQDBI_HNSW_SIGNS  /* quant/signs.h, with its scalars behind it */
} IqdbiHnswCode;

typedef struct IqdbiHnsw
{
	IqdbStore        *store;
	IqdbiHnswHeader  *header;
	unsigned char    *nodes;
	_Atomic uint32_t *upper;
	_Atomic uint32_t *pending;
	_Atomic uint64_t *twins;
	IqdbSq8Row       *scalars;
	float            *centre;
	size_t            record_size;
	size_t            node_offset;
	size_t            dim;
	size_t            stride;
	IqdbMetric        metric;
	IqdbiHnswCode     code;
	IqdbSigns         signs; /* graphs of signs */
	float             alpha; /* how much nearer a selected neighbour must be to make a candidate superfluous */
	uint32_t          cost;  /* of scoring one row, in about nanoseconds: measures stretches */
} IqdbiHnsw;

void iqdbi_hnsw_view(IqdbiHnsw *graph_out, IqdbStore *store);

/* What walks read at this moment. It changes with STRUCTURE held exclusively, and with the epoch. */
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

/* Graphs of signs. */
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

/* The list of a node whose top level is at least `level`. */
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

/* Copies a list that writers may be changing; at most IQDBI_HNSW_LIST_MAX slots. */
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

/* Overwrites a list. The caller holds the node's lock, or nobody knows the node yet. */
void iqdbi_list_write(_Atomic uint32_t *list, const uint32_t *slots, uint32_t count);

/* The node's lock word. lock() returns the word to hand to unlock(), which counts the change. */
uint32_t iqdbi_hnsw_lock(IqdbiHnswNode *node);
void iqdbi_hnsw_unlock(IqdbiHnswNode *node, uint32_t word);
/* The word while it is not locked; waits for a writer. */
uint32_t iqdbi_hnsw_version(const IqdbiHnswNode *node);
/* Locks only when nothing has changed since the word was read. */
bool iqdbi_hnsw_lock_version(IqdbiHnswNode *node, uint32_t word);

/* Sets status and level, keeps the flag that removed() may set at any time. */
void iqdbi_hnsw_set_info(const IqdbiHnsw *graph, uint32_t slot, uint32_t status, uint32_t level);

/* Level of the row with this insertion sequence, a function of the index's seed alone. */
uint32_t iqdbi_hnsw_draw_level(const IqdbiHnsw *graph, uint64_t sequence);

/*
 * Gives the node blocks for levels 1 .. level, all empty, and returns how many levels there was room for (ROWS is taken
 * when the region has to grow; STRUCTURE is held by the caller).
 */
uint32_t iqdbi_hnsw_blocks_take(const IqdbiHnsw *graph, uint32_t slot, uint32_t level);
/* Gives back the run of so many blocks that begins at `run`, unless it is 0. No reader can reach the node any more. */
void iqdbi_hnsw_run_give(const IqdbiHnsw *graph, uint32_t run, uint32_t level);

/* Region PENDING. added() appends; finished entries are dropped in bulk. All take ENGINE. */
void iqdbi_hnsw_pending_add(const IqdbiHnsw *graph, uint32_t slot);
void iqdbi_hnsw_pending_done(const IqdbiHnsw *graph, uint32_t count);
void iqdbi_hnsw_pending_compact(const IqdbiHnsw *graph);
/* The first `capacity` slots that still wait. */
uint32_t iqdbi_hnsw_pending_first(const IqdbiHnsw *graph, uint32_t *slots_out, uint32_t capacity);

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

/* ---- scoring (hnsw_score.c) -------------------------------------------------------------------------------------- */

/* Something that rows are compared with: a query, or a row. */
typedef struct IqdbiTarget
{
	void *code; /* memory of coded graphs, NULL in others */
	union
	{
		IqdbSq8Query   bytes;
		IqdbSignsQuery signs;
	} query;
	const float *vector;
	float        norm2; /* of a query */
	uint32_t     slot;  /* of a row, else IQDB_SLOT_NONE */
} IqdbiTarget;

/* Memory of a target. Whoever called init calls free, also when init failed. */
IqdbStatus iqdbi_target_init(const IqdbiHnsw *graph, IqdbiTarget *target) IQDB_MUST_CHECK;
void iqdbi_target_free(const IqdbiHnsw *graph, IqdbiTarget *target);

/*
 * What a walk goes towards: a query; a row, as well as the graph can tell. And a row as its code says, which costs little:
 * what other rows are compared with when neighbours are chosen. All hold as long as STRUCTURE is held, and behind that as
 * long as the epoch does not change.
 */
void iqdbi_target_query(const IqdbiHnsw *graph, IqdbiTarget *target, const float *vector, float norm2);
void iqdbi_target_row(const IqdbiHnsw *graph, IqdbiTarget *target, uint32_t slot);
void iqdbi_target_code(const IqdbiHnsw *graph, IqdbiTarget *target, uint32_t slot);

/* Codes a row. Nobody knows the node yet, or STRUCTURE is held exclusively. */
void iqdbi_hnsw_encode(const IqdbiHnsw *graph, uint32_t slot);

/* Traversal keys of rows: never infinite, never NaN. */
void iqdbi_hnsw_score(const IqdbiHnsw *graph, const IqdbiTarget *target, const uint32_t *slots, size_t count,
					  float *keys_out);

/*
 * Rank keys on full-precision vectors, as vec/metric.h defines them; those that single precision does not hold are computed
 * in double and narrowed (engine/keys.h). Never infinite, never NaN.
 */
void iqdbi_hnsw_score_exact(const IqdbiHnsw *graph, const float *query, float query_norm2, const uint32_t *slots,
							size_t count, float *keys_out);

/* ---- the centre of the codes (hnsw_centre.c) --------------------------------------------------------------------- */

/*
 * Brings the centre to where the rows are, when it is not there, and codes all nodes again; or goes on with that. No lock is
 * held. IQDB_ERR_NOMEM, IQDB_ERR_CANCELLED.
 */
IqdbStatus iqdbi_hnsw_centre_review(const IqdbiHnsw *graph) IQDB_MUST_CHECK;

/* The same when there are many more rows than at the last time. */
IqdbStatus iqdbi_hnsw_centre_when_due(const IqdbiHnsw *graph) IQDB_MUST_CHECK;

/* ---- a search's private memory (hnsw_beam.c) --------------------------------------------------------------------- */

/* A set of slots: open addressing, sized by what is in it. */
typedef struct IqdbiSlotSet
{
	const IqdbAllocator *allocator;
	uint32_t            *cells; /* slot + 1, 0 = empty */
	uint32_t             bits;  /* log2 of the number of cells */
	uint32_t             count;
} IqdbiSlotSet;

void iqdbi_set_init(IqdbiSlotSet *set, const IqdbAllocator *allocator);
void iqdbi_set_free(IqdbiSlotSet *set);
/* Empties the set, with room for so many slots. */
IqdbStatus iqdbi_set_reset(IqdbiSlotSet *set, uint32_t expected) IQDB_MUST_CHECK;
/* Room for `more` slots beside those in the set. */
IqdbStatus iqdbi_set_grow(IqdbiSlotSet *set, uint32_t more) IQDB_MUST_CHECK;

static inline uint32_t
iqdbi_set_cell(const IqdbiSlotSet *set, uint32_t slot)
{
	return (slot * UINT32_C(0x9e3779b1)) >> (32 - set->bits);
}

/* 1 when the slot was not in the set. There is room. No branch is taken unless two slots want the same cell. */
static inline uint32_t
iqdbi_set_add(IqdbiSlotSet *set, uint32_t slot)
{
	uint32_t mask = (UINT32_C(1) << set->bits) - 1;
	uint32_t cell = iqdbi_set_cell(set, slot);
	uint32_t content = set->cells[cell];
	uint32_t fresh;

	while (__builtin_expect((content != 0) & (content != slot + 1), 0))
	{
		cell = (cell + 1) & mask;
		content = set->cells[cell];
	}
	fresh = content == 0;
	set->cells[cell] = slot + 1;
	set->count += fresh;
	return fresh;
}

bool iqdbi_set_has(const IqdbiSlotSet *set, uint32_t slot);

typedef struct IqdbiPair
{
	float    key;
	uint32_t slot;
} IqdbiPair;

/*
 * The nearest `capacity` rows met so far that count as results, and the nodes still to be visited. Results whose
 * neighbours were not looked at yet are visited as well; `way` holds the nodes that are no results (removed rows, rows
 * the filter turned away). A small beam is one sorted array; a large one is a heap of results, and then `way` holds every
 * node to be visited.
 */
typedef struct IqdbiBeam
{
	const IqdbAllocator *allocator;
	IqdbiPair           *results;
	IqdbiPair           *way;
	size_t               capacity;
	size_t               count;
	size_t               next; /* sorted: every result before it was visited */
	size_t               way_count;
	size_t               results_allocated;
	size_t               way_allocated;
	float                bound; /* a node with this key or a larger one is of no use */
	bool                 sorted;
} IqdbiBeam;

void iqdbi_beam_init(IqdbiBeam *beam, const IqdbAllocator *allocator);
void iqdbi_beam_free(IqdbiBeam *beam);
/* Empties the beam. A capacity is at least 1. */
IqdbStatus iqdbi_beam_reset(IqdbiBeam *beam, size_t capacity) IQDB_MUST_CHECK;
/* A node with key < bound, as a result or only as a way to others. */
IqdbStatus iqdbi_beam_result(IqdbiBeam *beam, float key, uint32_t slot) IQDB_MUST_CHECK;
IqdbStatus iqdbi_beam_way(IqdbiBeam *beam, float key, uint32_t slot) IQDB_MUST_CHECK;
/* The next node to visit; false when no node left can lead to a better result. */
bool iqdbi_beam_pop(IqdbiBeam *beam, uint32_t *slot_out);
/* Who will probably be next: worth fetching. Returns how many. */
uint32_t iqdbi_beam_peek(const IqdbiBeam *beam, uint32_t *slots_out, uint32_t capacity);
/* Sorts the results, nearest first. No pop after that. */
void iqdbi_beam_finish(IqdbiBeam *beam);
/* Marks every node of a finished beam as to be visited again, on another level. */
void iqdbi_beam_restart(IqdbiBeam *beam);

void iqdbi_pairs_sort(IqdbiPair *pairs, size_t count);

/* ---- walking (hnsw_walk.c) --------------------------------------------------------------------------------------- */

/*
 * A walk looks for the nodes nearest to a target. It holds STRUCTURE shared from begin to end, but lets it go for an
 * instant when a stretch of work is over; slots it remembers are good as long as the epoch has not changed meanwhile.
 */
typedef struct IqdbiWalk
{
	const IqdbiHnsw  *graph;
	IqdbiTarget       target;
	IqdbiBeam         beam;
	IqdbiSlotSet      visited;
	IqdbSearchStats  *stats;
	const IqdbFilter *filter;    /* NULL = none */
	bool              twins;     /* a node is a result, too, when one of its twins is */
	uint32_t          self;      /* never a result; IQDB_SLOT_NONE = none */
	uint64_t          scored_max; /* stop when stats->scored passes this */
	int64_t           budget;    /* left of this stretch */
	uint64_t          epoch;     /* when the walk began */
	IqdbiPair         anchor;    /* where the descent ended */
} IqdbiWalk;

typedef enum IqdbiPause
{
	IQDBI_PAUSE_CONTINUE,
	IQDBI_PAUSE_STALE /* slots were let go meanwhile: begin again */
} IqdbiPause;

IqdbStatus iqdbi_walk_init(IqdbiWalk *walk, const IqdbiHnsw *graph, IqdbSearchStats *stats) IQDB_MUST_CHECK;
void iqdbi_walk_free(IqdbiWalk *walk);

/* Takes STRUCTURE, begins a stretch, notes the epoch. */
void iqdbi_walk_enter(IqdbiWalk *walk);
void iqdbi_walk_leave(IqdbiWalk *walk);

/* true when the stretch is over. */
static inline bool
iqdbi_walk_spent(const IqdbiWalk *walk)
{
	return walk->budget <= 0;
}

/*
 * Lets STRUCTURE go and takes it again. IQDB_ERR_CANCELLED when the host says so; STRUCTURE is held in any case.
 */
IqdbStatus iqdbi_walk_pause(IqdbiWalk *walk, IqdbiPause *pause_out) IQDB_MUST_CHECK;

/*
 * From the entry point greedily down to the level above `level`: the node reached becomes the anchor. The beam is empty
 * then and has the capacity; unless it had to pause and the pause was stale.
 */
IqdbStatus iqdbi_walk_descend(IqdbiWalk *walk, uint64_t entry, uint32_t level, size_t capacity,
							  IqdbiPause *pause_out) IQDB_MUST_CHECK;

/* Begins a level: from the results of the level above, or from the anchor when there are none. */
IqdbStatus iqdbi_walk_begin(IqdbiWalk *walk) IQDB_MUST_CHECK;

/* One more node of level 0 to begin at. */
IqdbStatus iqdbi_walk_offer(IqdbiWalk *walk, uint32_t slot) IQDB_MUST_CHECK;

/* Beam search on the level, until it ends (*done_out) or the stretch is spent. The beam is not finished then. */
IqdbStatus iqdbi_walk_level(IqdbiWalk *walk, uint32_t level, bool *done_out) IQDB_MUST_CHECK;

/*
 * All of it: down to the level, and to the end of the beam search there, which is finished then; with pauses, and from the
 * beginning again when one was stale. The target is a row, and codes of it are made anew each time. What is found may have died
 * before the last pause. No results where the graph does not reach the level.
 */
IqdbStatus iqdbi_walk_whole(IqdbiWalk *walk, uint32_t row, uint32_t level, size_t capacity) IQDB_MUST_CHECK;

/* ---- inserting (hnsw_insert.c) ----------------------------------------------------------------------------------- */

/* Scratch memory of whoever changes links; used for many rows in turn. */
typedef struct IqdbiLinker
{
	IqdbiWalk       walk;
	IqdbSearchStats stats;
	IqdbiTarget     other;      /* second operand: a candidate */
	IqdbiTarget     owner;      /* the node whose list is rewritten */
	IqdbiPair      *candidates; /* room for candidates_max */
	size_t          candidates_max;
	uint32_t       *chosen; /* per level IQDBI_HNSW_LIST_MAX slots */
	uint32_t        chosen_levels;
	uint32_t        chosen_count[IQDBI_HNSW_LEVELS];
	uint32_t        equal; /* a node with the row's vector that was met, IQDB_SLOT_NONE = none */
} IqdbiLinker;

IqdbStatus iqdbi_linker_init(IqdbiLinker *linker, const IqdbiHnsw *graph) IQDB_MUST_CHECK;
void iqdbi_linker_free(IqdbiLinker *linker);

/*
 * The neighbour selection of the paper on candidates sorted by key; keeps `forced` (IQDB_SLOT_NONE = nobody) whatever
 * happens. Returns how many slots, at most degree, were written.
 */
uint32_t iqdbi_hnsw_select(IqdbiLinker *linker, IqdbiPair *candidates, size_t count, uint32_t degree, uint32_t forced,
						   uint32_t *slots_out);

/* Links one added row. STRUCTURE is not held. *linked_out (may be NULL): by this very call. */
IqdbStatus iqdbi_hnsw_link_one(IqdbiLinker *linker, uint32_t slot, bool *linked_out, IqdbError *err) IQDB_MUST_CHECK;

/* Appends a link at a level when the list has room. The same conditions as below. */
void iqdbi_hnsw_link_append(const IqdbiHnsw *graph, uint32_t slot, uint32_t level, uint32_t to);

/* Adds a link at a level unless it is there; cuts a full list back. STRUCTURE is held, target and node are alive. */
void iqdbi_hnsw_link_add(IqdbiLinker *linker, uint32_t slot, uint32_t level, uint32_t to);

IqdbStatus iqdbi_hnsw_link(IqdbStore *store, uint32_t slot, IqdbError *err) IQDB_MUST_CHECK;
IqdbStatus iqdbi_hnsw_link_pending(IqdbStore *store, uint64_t max_rows, uint64_t *linked_out,
								   IqdbError *err) IQDB_MUST_CHECK;

/* ---- equal rows (hnsw_twins.c) ----------------------------------------------------------------------------------- */

/* Are the rows' vectors the same, byte by byte? */
bool iqdbi_hnsw_equal(const IqdbiHnsw *graph, uint32_t a, uint32_t b);

/* A node with that vector, or IQDB_SLOT_NONE: there may be one all the same. STRUCTURE is held. */
uint32_t iqdbi_hnsw_twin_find(const IqdbiHnsw *graph, const float *vector);
/* The next row that is equal to this node finds it. STRUCTURE is held. */
void iqdbi_hnsw_twin_remember(const IqdbiHnsw *graph, uint32_t node);
/* The node goes; its vector is not read. */
void iqdbi_hnsw_twin_forget(const IqdbiHnsw *graph, uint32_t node);
/* Empties the table, with room for so many nodes. The caller is alone; the region has that room. */
void iqdbi_hnsw_twins_clear(const IqdbiHnsw *graph, uint32_t nodes);

/*
 * Puts a row that is being linked at the end of the node's chain; false when a repair has taken the node meanwhile. Searches
 * find it from now on. STRUCTURE is held.
 */
bool iqdbi_hnsw_twin_join(const IqdbiHnsw *graph, uint32_t node, uint32_t slot);
/* The same, whatever the node's state; the node's lock is held, or the caller is alone. */
void iqdbi_hnsw_twin_append(const IqdbiHnsw *graph, uint32_t node, uint32_t slot);

/* Takes condemned twins out of the chain of a node. For the repair, with STRUCTURE held; IQDB_ERR_CANCELLED. */
IqdbStatus iqdbi_hnsw_twins_drop(IqdbiWalk *walk, uint32_t node) IQDB_MUST_CHECK;
/* A condemned node's first twin that is not condemned takes its place. The same conditions. */
IqdbStatus iqdbi_hnsw_twins_bequeath(IqdbiWalk *walk, uint32_t node) IQDB_MUST_CHECK;

/* The first twin of a node, the next one of a twin; IQDB_SLOT_NONE = none. */
static inline uint32_t
iqdbi_hnsw_twin_next(const IqdbiHnsw *graph, uint32_t slot)
{
	/* 0 becomes IQDB_SLOT_NONE */
	return atomic_load_explicit(&iqdbi_hnsw_node(graph, slot)->twin, memory_order_acquire) - 1;
}

/* ---- reach (hnsw_reach.c) ---------------------------------------------------------------------------------------- */

/* Which slots a search could get to, and in which order they were found. */
typedef struct IqdbiReach
{
	const IqdbiHnsw *graph;
	uint64_t        *bits;  /* per slot: reached */
	uint32_t        *queue; /* those reached, `tail` of them */
	uint32_t         slot_count;
	uint32_t         tail;
} IqdbiReach;

IqdbStatus iqdbi_reach_init(IqdbiReach *reach, const IqdbiHnsw *graph, uint32_t slot_count) IQDB_MUST_CHECK;
void iqdbi_reach_free(IqdbiReach *reach);

static inline bool
iqdbi_reach_has(const IqdbiReach *reach, uint32_t slot)
{
	return (reach->bits[slot / 64] >> (slot % 64) & 1) != 0;
}

/* Everything that can be reached from the entry point, level by level down. Works in stretches; IQDB_ERR_CANCELLED. */
IqdbStatus iqdbi_reach_all(IqdbiReach *reach) IQDB_MUST_CHECK;

/*
 * Gives every linked LIVE node that no search could get to a link from the nearest node that one can. Runs beside
 * searches and writers, not beside another repair.
 */
IqdbStatus iqdbi_hnsw_attach_lost(const IqdbiHnsw *graph) IQDB_MUST_CHECK;

/* ---- the other functions of the engine's table ------------------------------------------------------------------- */

IqdbStatus iqdbi_hnsw_format(IqdbStore *store, IqdbError *err) IQDB_MUST_CHECK;
IqdbStatus iqdbi_hnsw_reserve(IqdbStore *store, uint32_t slot_count, IqdbError *err) IQDB_MUST_CHECK;
void iqdbi_hnsw_reserves(const IqdbIndexOptions *options, uint64_t slots_max,
						 uint64_t reserves_out[IQDB_ENGINE_REGIONS_MAX]);
uint64_t iqdbi_hnsw_bytes_per_row(const IqdbIndexOptions *options);
uint64_t iqdbi_hnsw_snapshot_bytes(const IqdbIndexOptions *options, uint64_t rows);
void iqdbi_hnsw_added(IqdbStore *store, uint32_t slot);
void iqdbi_hnsw_removed(IqdbStore *store, uint32_t slot);

/*
 * After a load, alone: repairs the graph around condemned nodes among the first slot_count slots, whose rows are not here,
 * and forgets them.
 */
IqdbStatus iqdbi_hnsw_repair_loaded(const IqdbiHnsw *graph, uint32_t slot_count, IqdbError *err) IQDB_MUST_CHECK;

IqdbStatus iqdbi_hnsw_maintain(IqdbStore *store, IqdbMaintain what, IqdbError *err) IQDB_MUST_CHECK;

/* In what way a cursor looks for its next hits. */
typedef enum IqdbiPhase
{
	IQDBI_PHASE_GRAPH, /* beam search, the beam doubling each time */
	IQDBI_PHASE_SCAN,  /* every row, in passes that keep the best */
	IQDBI_PHASE_END
} IqdbiPhase;

typedef struct IqdbiHnswCursor
{
	IqdbCursor    base;
	IqdbiHnsw     graph;
	IqdbiWalk     walk;
	IqdbiPhase    phase;
	size_t        beam;    /* results the next search of the graph keeps */
	IqdbTopK      found;   /* hits in order from `at` on; before that a heap of candidates */
	size_t        at;      /* next of `found` to hand out */
	IqdbiSlotSet  emitted; /* slots handed out by earlier searches of the graph */
	IqdbCandidate bound;   /* scan: the last hit of the pass before */
	bool          bounded;
	bool          last; /* nothing follows what is in `found` */
	bool          more_twins; /* the last search left out twins of what it found */
} IqdbiHnswCursor;

IqdbStatus iqdbi_hnsw_cursor_start(IqdbCursor *cursor, IqdbError *err) IQDB_MUST_CHECK;
IqdbStatus iqdbi_hnsw_cursor_next(IqdbCursor *cursor, IqdbHit *hits, size_t capacity, size_t *count_out,
								  IqdbError *err) IQDB_MUST_CHECK;
void iqdbi_hnsw_cursor_end(IqdbCursor *cursor);

IqdbStatus iqdbi_hnsw_save(IqdbStore *store, IqdbSink *sink, IqdbError *err) IQDB_MUST_CHECK;
IqdbStatus iqdbi_hnsw_load(IqdbStore *store, IqdbSource *source, IqdbError *err) IQDB_MUST_CHECK;
IqdbStatus iqdbi_hnsw_check(IqdbStore *store, IqdbFinding finding, void *arg, IqdbError *err) IQDB_MUST_CHECK;
void iqdbi_hnsw_stats(const IqdbStore *store, IqdbEngineStats *stats_out);

#endif
