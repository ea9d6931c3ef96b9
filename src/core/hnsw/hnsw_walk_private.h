/*
 * hnsw_walk_private.h - the way through the graph towards a target, cut into stretches.
 */
#ifndef IQDB_HNSW_WALK_PRIVATE_H
#define IQDB_HNSW_WALK_PRIVATE_H

#include "core/engine/stretch.h"
#include "core/hnsw/hnsw_beam_private.h"
#include "core/hnsw/hnsw_graph_private.h"
#include "core/hnsw/hnsw_score_private.h"

/*
 * A walk looks for the nodes nearest to a target. It holds STRUCTURE shared from enter to leave, in stretches
 * (engine/stretch.h): between two of them is a pause. The slots that a walk remembers are good after a pause as long as
 * the epoch is the same; else the stretch is stale, and the walk begins anew.
 */
typedef struct IqdbiWalk
{
	const IqdbiHnsw  *graph;
	IqdbiTarget       target;
	IqdbiBeam         beam;
	IqdbiSlotSet      visited;
	IqdbSearchStats  *stats;
	const IqdbScorer *filtering;  /* asked which rows may be results; NULL: all may */
	bool              twins;      /* a node may be a result also because one of its twins may */
	uint32_t          self;       /* a slot that is never a result; IQDB_SLOT_NONE = none */
	uint64_t          scored_max; /* the walk ends when stats->scored passes this */
	IqdbStretch       stretch;    /* work is charged in the nanoseconds of IqdbiHnsw.cost */
	IqdbiPair         anchor;     /* the node at which the descent ended, and the search of a level begins */
} IqdbiWalk;

IqdbStatus iqdbi_walk_init(IqdbiWalk *walk, const IqdbiHnsw *graph, IqdbSearchStats *stats) IQDB_MUST_CHECK;
void iqdbi_walk_free(IqdbiWalk *walk);

/* enter takes STRUCTURE shared, begins a stretch and goes by the epoch of this moment; leave releases STRUCTURE. */
void iqdbi_walk_enter(IqdbiWalk *walk);
void iqdbi_walk_leave(IqdbiWalk *walk);

/*
 * All that follows is called between enter and leave, and pauses when a stretch is over. When walk->stretch.stale is
 * set then, nothing of what was found is good. IQDB_ERR_NOMEM, IQDB_ERR_CANCELLED.
 */

/*
 * Goes down from the entry point to the level above `level`; the nearest node met there becomes the anchor. The beam is
 * empty then and has the capacity.
 */
IqdbStatus iqdbi_walk_descend(IqdbiWalk *walk, uint64_t entry, uint32_t level, size_t capacity) IQDB_MUST_CHECK;

/* Begins the search of a level: at the results of the level above, or at the anchor when there are none. */
IqdbStatus iqdbi_walk_begin(IqdbiWalk *walk) IQDB_MUST_CHECK;

/*
 * Goes down from the entry point as a search does that is to find what is nearest on level 0, and begins that level's
 * search, with a beam of this capacity: at all the nodes that were found.
 */
IqdbStatus iqdbi_walk_begin_search(IqdbiWalk *walk, uint64_t entry, size_t capacity) IQDB_MUST_CHECK;

/* Adds one more node of level 0 to begin at. */
IqdbStatus iqdbi_walk_offer(IqdbiWalk *walk, uint32_t slot) IQDB_MUST_CHECK;

/* Beam search on the level, until it ends, or the stretch is stale. The beam is finished. */
IqdbStatus iqdbi_walk_level(IqdbiWalk *walk, uint32_t level) IQDB_MUST_CHECK;

/*
 * The whole search for the neighbours of a row: down to the level and to the end of the beam search there, beginning
 * again when the stretch is stale. The beam is finished. A row found may have been removed before the last pause. There
 * are no results when the graph does not reach the level.
 */
IqdbStatus iqdbi_walk_whole(IqdbiWalk *walk, uint32_t row, uint32_t level, size_t capacity) IQDB_MUST_CHECK;

#endif
