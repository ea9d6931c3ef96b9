/*
 * hnsw_search_private.h - the cursor: a stream of hits.
 */
#ifndef IQDB_HNSW_SEARCH_PRIVATE_H
#define IQDB_HNSW_SEARCH_PRIVATE_H

#include "core/base/topk.h"
#include "core/engine/strategy.h"
#include "core/hnsw/hnsw_walk_private.h"

/* How a cursor finds its next hits. */
typedef enum IqdbiPhase
{
	IQDBI_PHASE_GRAPH,   /* by searches of the graph, each with a wider beam */
	IQDBI_PHASE_MATCHES, /* by the codes of all rows that pass the filter, of which the best are ranked by their vectors */
	IQDBI_PHASE_SCAN,    /* by passes over all rows, each of which keeps the best ones */
	IQDBI_PHASE_END      /* there are no more */
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
	IqdbStrategy  strategy;   /* of the filter, if there is one */
} IqdbiHnswCursor;

/*
 * The best rows of all that pass the filter into cursor->found, with their exact keys: `count` of them for sure, as far as
 * codes can tell, and more. *complete_out: there are no others. Rows that were handed out already are left out. Takes STRUCTURE
 * in stretches. IQDB_ERR_NOMEM, IQDB_ERR_CANCELLED. (hnsw_matches.c)
 */
IqdbStatus iqdbi_hnsw_matches(IqdbiHnswCursor *cursor, size_t count, bool *complete_out) IQDB_MUST_CHECK;

/* Are there codes that are worth reading first, for so many rows to be handed out? */
bool iqdbi_hnsw_matches_pay(const IqdbiHnswCursor *cursor, size_t count);

/* What that is priced at, for so many rows to be handed out, instead of a pass over vectors: into cursor->strategy. */
void iqdbi_hnsw_matches_weigh(IqdbiHnswCursor *cursor, size_t count);

/* Bytes that such a pass reads of a row. */
size_t iqdbi_hnsw_match_bytes(const IqdbiHnsw *graph);

/* Leaves out what was handed out: for passes over all rows. arg: cursor->emitted. */
size_t iqdbi_hnsw_drop_emitted(const void *arg, uint32_t *slots, size_t count);

/* ---- functions of the engine's table: contract and locks in engine/engine.h -------------------------------------- */

IqdbStatus iqdbi_hnsw_cursor_start(IqdbCursor *cursor, IqdbError *err) IQDB_MUST_CHECK;
IqdbStatus iqdbi_hnsw_cursor_next(IqdbCursor *cursor, IqdbHit *hits, size_t capacity, size_t *count_out,
								  IqdbError *err) IQDB_MUST_CHECK;
void iqdbi_hnsw_cursor_end(IqdbCursor *cursor);

#endif
