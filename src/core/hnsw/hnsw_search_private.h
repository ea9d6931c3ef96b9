/*
 * hnsw_search_private.h - the cursor: a stream of hits.
 */
#ifndef IQDB_HNSW_SEARCH_PRIVATE_H
#define IQDB_HNSW_SEARCH_PRIVATE_H

#include "core/base/topk.h"
#include "core/hnsw/hnsw_walk_private.h"

/* How a cursor finds its next hits. */
typedef enum IqdbiPhase
{
	IQDBI_PHASE_GRAPH, /* by searches of the graph, each with a wider beam */
	IQDBI_PHASE_SCAN,  /* by passes over all rows, each of which keeps the best ones */
	IQDBI_PHASE_END    /* there are no more */
} IqdbiPhase;

typedef struct IqdbiHnswCursor
{
	IqdbCursor    base;
	IqdbiHnsw     graph;
	IqdbiWalk     walk;
	IqdbiPhase    phase;
	size_t        beam;       /* width of the next search's beam */
	IqdbTopK      found;      /* what a search or pass finds: a heap, then sorted and handed out from `at` on */
	size_t        at;
	IqdbiSlotSet  emitted;    /* slots handed out by searches of the graph */
	IqdbCandidate bound;      /* if `bounded`: the last hit of the pass before, behind which the next one goes on */
	bool          bounded;
	bool          last;       /* nothing follows what is in `found` */
	bool          more_twins; /* the last search left out twins of nodes that it found */
} IqdbiHnswCursor;

/* ---- functions of the engine's table: contract and locks in engine/engine.h -------------------------------------- */

IqdbStatus iqdbi_hnsw_cursor_start(IqdbCursor *cursor, IqdbError *err) IQDB_MUST_CHECK;
IqdbStatus iqdbi_hnsw_cursor_next(IqdbCursor *cursor, IqdbHit *hits, size_t capacity, size_t *count_out,
								  IqdbError *err) IQDB_MUST_CHECK;
void iqdbi_hnsw_cursor_end(IqdbCursor *cursor);

#endif
