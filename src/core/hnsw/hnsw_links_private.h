/*
 * hnsw_links_private.h - choosing neighbours, and changing lists of links one link at a time.
 */
#ifndef IQDB_HNSW_LINKS_PRIVATE_H
#define IQDB_HNSW_LINKS_PRIVATE_H

#include "core/hnsw/hnsw_walk_private.h"

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

/* Appends a link at a level when the list has room. The same conditions as below. */
void iqdbi_hnsw_link_append(const IqdbiHnsw *graph, uint32_t slot, uint32_t level, uint32_t to);

/* Adds a link at a level unless it is there; cuts a full list back. STRUCTURE is held, target and node are alive. */
void iqdbi_hnsw_link_add(IqdbiLinker *linker, uint32_t slot, uint32_t level, uint32_t to);

#endif
