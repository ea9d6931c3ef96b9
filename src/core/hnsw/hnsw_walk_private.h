/*
 * hnsw_walk_private.h - the way through the graph towards a target, cut into stretches.
 */
#ifndef IQDB_HNSW_WALK_PRIVATE_H
#define IQDB_HNSW_WALK_PRIVATE_H

#include "core/hnsw/hnsw_beam_private.h"
#include "core/hnsw/hnsw_graph_private.h"
#include "core/hnsw/hnsw_score_private.h"

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
	const IqdbScorer *filtering; /* asked which rows may be results; NULL: all may */
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

#endif
