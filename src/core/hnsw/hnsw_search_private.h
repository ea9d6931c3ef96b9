/*
 * hnsw_search_private.h - the cursor: a stream of hits.
 */
#ifndef IQDB_HNSW_SEARCH_PRIVATE_H
#define IQDB_HNSW_SEARCH_PRIVATE_H

#include "core/base/topk.h"
#include "core/hnsw/hnsw_walk_private.h"

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

/* ---- functions of the engine's table (engine/engine.h) ----------------------------------------------------------- */

IqdbStatus iqdbi_hnsw_cursor_start(IqdbCursor *cursor, IqdbError *err) IQDB_MUST_CHECK;
IqdbStatus iqdbi_hnsw_cursor_next(IqdbCursor *cursor, IqdbHit *hits, size_t capacity, size_t *count_out,
								  IqdbError *err) IQDB_MUST_CHECK;
void iqdbi_hnsw_cursor_end(IqdbCursor *cursor);

#endif
