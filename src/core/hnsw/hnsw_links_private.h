/*
 * hnsw_links_private.h - choosing neighbours, and changing lists of links one link at a time.
 */
#ifndef IQDB_HNSW_LINKS_PRIVATE_H
#define IQDB_HNSW_LINKS_PRIVATE_H

#include "core/hnsw/hnsw_walk_private.h"

/* A walk and scratch memory for changing links; used for many rows in turn. */
typedef struct IqdbiLinker
{
	IqdbiWalk       walk;
	IqdbSearchStats stats;
	IqdbiTarget     other;         /* a candidate that selected neighbours are compared with */
	IqdbiTarget     owner;         /* the node whose list is rewritten */
	IqdbiPair      *candidates;    /* room for candidates_max */
	size_t          candidates_max;
	uint32_t       *chosen;        /* neighbours: IQDBI_HNSW_LIST_MAX places for each of chosen_levels levels */
	uint32_t        chosen_levels;
	uint32_t        chosen_count[IQDBI_HNSW_LEVELS];
	uint32_t        equal;         /* a node that has the row's vector, of those met; IQDB_SLOT_NONE = none */
} IqdbiLinker;

IqdbStatus iqdbi_linker_init(IqdbiLinker *linker, const IqdbiHnsw *graph) IQDB_MUST_CHECK;
void iqdbi_linker_free(IqdbiLinker *linker);

/*
 * The paper's selection of neighbours among candidates, which are sorted by key; the array is used up. `forced` is
 * selected in any case (IQDB_SLOT_NONE = no slot is). Returns how many slots were written, at most `degree`. STRUCTURE
 * is held.
 */
uint32_t iqdbi_hnsw_select(IqdbiLinker *linker, IqdbiPair *candidates, size_t count, uint32_t degree, uint32_t forced,
						   uint32_t *slots_out);

/*
 * The same for the links that a new node begins with. Candidates that no selected neighbour is nearer to come first,
 * however far away; then those that one is nearer to by less than alpha, nearest first; then the others. README.md,
 * "Choosing neighbours", says why.
 */
uint32_t iqdbi_hnsw_select_first(IqdbiLinker *linker, IqdbiPair *candidates, size_t count, uint32_t degree,
								 uint32_t *slots_out);

/*
 * Both add a link to the node's list at a level, unless it is there. append() leaves a full list as it is, add() cuts
 * it back. The caller has held STRUCTURE since it saw that neither of the two nodes is DEAD, and holds no node's lock:
 * that of the node is taken.
 */
void iqdbi_hnsw_link_append(const IqdbiHnsw *graph, uint32_t slot, uint32_t level, uint32_t to);
void iqdbi_hnsw_link_add(IqdbiLinker *linker, uint32_t slot, uint32_t level, uint32_t to);

#endif
