/*
 * hnsw_beam_private.h - the private memory of a search: a set of slots, the beam.
 */
#ifndef IQDB_HNSW_BEAM_PRIVATE_H
#define IQDB_HNSW_BEAM_PRIVATE_H

#include <math.h>

#include "core/engine/engine.h"

/* Up to this capacity a beam keeps its results sorted: moving entries of an array is cheaper than a heap then. */
#define IQDBI_BEAM_SORTED_MAX 1024

/* A set of slots: a hash table with open addressing, sized by what is in it. */
typedef struct IqdbiSlotSet
{
	const IqdbAllocator *allocator;
	uint32_t            *cells; /* slot + 1, 0 = empty */
	uint32_t             bits;  /* log2 of the number of cells; 0 = there are none yet */
	uint32_t             count; /* slots in the set */
} IqdbiSlotSet;

void iqdbi_set_init(IqdbiSlotSet *set, const IqdbAllocator *allocator);
void iqdbi_set_free(IqdbiSlotSet *set);
/* Empties the set and makes room for so many slots. */
IqdbStatus iqdbi_set_reset(IqdbiSlotSet *set, uint32_t expected) IQDB_MUST_CHECK;
/* Makes room for `more` slots beside those in the set. */
IqdbStatus iqdbi_set_grow(IqdbiSlotSet *set, uint32_t more) IQDB_MUST_CHECK;

static inline uint32_t
iqdbi_set_cell(const IqdbiSlotSet *set, uint32_t slot)
{
	return (slot * UINT32_C(0x9e3779b1)) >> (32 - set->bits);
}

/*
 * Adds a slot, for which there is room; returns 1 when it was not in the set before. Nearly always without a branch,
 * because whether a slot is new cannot be predicted: only two slots that want the same cell cost one.
 */
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

/* A slot with its key. */
typedef struct IqdbiPair
{
	float    key;
	uint32_t slot;
} IqdbiPair;

/*
 * The nearest `capacity` rows met so far that may be results, and the nodes still to be visited, that is, whose
 * neighbours are still to be looked at. A small beam keeps its results in one sorted array, in which a flag says what
 * was visited; `way` is a heap of nodes that are to be visited, but are no results (removed rows, rows that the filter
 * turned away). A large beam keeps its results in a heap, and `way` holds every node to be visited.
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
	float                bound; /* a node with this key or a larger one cannot become a result */
	bool                 sorted;
} IqdbiBeam;

void iqdbi_beam_init(IqdbiBeam *beam, const IqdbAllocator *allocator);
void iqdbi_beam_free(IqdbiBeam *beam);
/* Empties the beam. A capacity is at least 1. */
IqdbStatus iqdbi_beam_reset(IqdbiBeam *beam, size_t capacity) IQDB_MUST_CHECK;
/* Adds a node with key < bound, as a result or only as a way to others. IQDB_ERR_NOMEM. */
IqdbStatus iqdbi_beam_result(IqdbiBeam *beam, float key, uint32_t slot) IQDB_MUST_CHECK;
IqdbStatus iqdbi_beam_way(IqdbiBeam *beam, float key, uint32_t slot) IQDB_MUST_CHECK;
/* Takes the next node to visit; false when none that is left can lead to a better result. */
bool iqdbi_beam_pop(IqdbiBeam *beam, uint32_t *slot_out);
/* The nodes that will probably be visited next, to be fetched ahead. Returns how many. */
uint32_t iqdbi_beam_peek(const IqdbiBeam *beam, uint32_t *slots_out, uint32_t capacity);
/* Sorts the results, nearest first. Nothing is popped after that, unless the beam is restarted. */
void iqdbi_beam_finish(IqdbiBeam *beam);
/* Makes every result of a finished beam a node to be visited, on another level. */
void iqdbi_beam_restart(IqdbiBeam *beam);

/*
 * Of a sorted beam: is there a node to visit among the first `places` results, or one whose key is larger than the
 * smallest one by this share at most?
 */
static inline bool
iqdbi_beam_near(const IqdbiBeam *beam, size_t places, float margin)
{
	const IqdbiPair *results = beam->results;

	return beam->next < beam->count &&
		   (beam->next < places || results[beam->next].key <= results[0].key + margin * fabsf(results[0].key));
}

/* Sorts pairs by key, and by slot where keys are equal. */
void iqdbi_pairs_sort(IqdbiPair *pairs, size_t count);

#endif
