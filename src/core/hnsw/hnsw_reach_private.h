/*
 * hnsw_reach_private.h - which nodes a search could get to, and links for those it could not.
 */
#ifndef IQDB_HNSW_REACH_PRIVATE_H
#define IQDB_HNSW_REACH_PRIVATE_H

#include "core/hnsw/hnsw_bitmap_private.h"
#include "core/hnsw/hnsw_graph_private.h"

/* The slots that a search could get to, in the order in which they were reached. */
typedef struct IqdbiReach
{
	const IqdbiHnsw *graph;
	uint64_t        *bits;  /* hnsw_bitmap_private.h: slots reached */
	uint32_t        *queue; /* the same slots in order, `tail` of them */
	uint32_t         slot_count;
	uint32_t         tail;
} IqdbiReach;

IqdbStatus iqdbi_reach_init(IqdbiReach *reach, const IqdbiHnsw *graph, uint32_t slot_count) IQDB_MUST_CHECK;
void iqdbi_reach_free(IqdbiReach *reach);

static inline bool
iqdbi_reach_has(const IqdbiReach *reach, uint32_t slot)
{
	return iqdbi_bitmap_has(reach->bits, slot);
}

/*
 * Reaches everything that links lead to from the entry point, level by level down. The caller holds no lock: STRUCTURE
 * is taken shared, in stretches. IQDB_ERR_CANCELLED.
 */
IqdbStatus iqdbi_reach_all(IqdbiReach *reach) IQDB_MUST_CHECK;

/*
 * Gives each living node that no search could get to links from the nearest nodes that searches do get to. Runs beside
 * searches and writers, but not beside another repair: the caller has set header->maintaining, and holds no lock.
 * IQDB_ERR_NOMEM, IQDB_ERR_CANCELLED.
 */
IqdbStatus iqdbi_hnsw_attach_lost(const IqdbiHnsw *graph) IQDB_MUST_CHECK;

#endif
