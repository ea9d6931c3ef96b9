/*
 * hnsw_reach_private.h - which nodes a search could get to, and links for those it could not.
 */
#ifndef IQDB_HNSW_REACH_PRIVATE_H
#define IQDB_HNSW_REACH_PRIVATE_H

#include "core/hnsw/hnsw_graph_private.h"

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

#endif
