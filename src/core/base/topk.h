/*
 * topk.h - the k best of a stream of candidates, in the one order every engine uses.
 *
 * A candidate is (key, sequence, slot): key is the metric's rank key (smaller is nearer; see vec/metric.h), ties are
 * broken by the smaller insertion sequence. Keys order as IEEE totalOrder does for numbers, NaN after everything.
 */
#ifndef IQDB_BASE_TOPK_H
#define IQDB_BASE_TOPK_H

#include <stdbool.h>
#include "core/base/mem.h"
#include "core/base/status.h"

typedef struct IqdbCandidate
{
	uint64_t sequence;
	float    key;
	uint32_t slot;
} IqdbCandidate;

/* true when a stands before b. */
static inline bool
iqdb_candidate_before(const IqdbCandidate *a, const IqdbCandidate *b)
{
	if (a->key < b->key)
		return true;
	if (a->key > b->key)
		return false;
	if (a->key == b->key)
		return a->sequence < b->sequence;
	/* at least one NaN: numbers first, then by sequence */
	if ((a->key != a->key) != (b->key != b->key))
		return b->key != b->key;
	return a->sequence < b->sequence;
}

/* A bounded max-heap: the worst kept candidate is items[0]. Memory grows with what is kept, never with capacity. */
typedef struct IqdbTopK
{
	const IqdbAllocator *allocator;
	IqdbCandidate       *items;
	size_t               count;
	size_t               allocated;
	size_t               capacity; /* k; SIZE_MAX is legal */
} IqdbTopK;

void iqdb_topk_init(IqdbTopK *top, const IqdbAllocator *allocator, size_t capacity);
void iqdb_topk_clear(IqdbTopK *top);
void iqdb_topk_free(IqdbTopK *top);

/* Offers a candidate. Only failure: IQDB_ERR_NOMEM, the heap then holds what it held. */
IqdbStatus iqdb_topk_offer(IqdbTopK *top, IqdbCandidate candidate) IQDB_MUST_CHECK;

/* true when a candidate with this key could still be kept: the cheap test before its sequence is read. */
static inline bool
iqdb_topk_wants(const IqdbTopK *top, float key)
{
	return top->count < top->capacity || (top->capacity > 0 && !(key > top->items[0].key));
}

/* Sorts the kept candidates nearest first, in place; the heap is then only good for reading and clear/free. */
void iqdb_topk_sort(IqdbTopK *top);

/* Sorts any array of candidates in that order. */
void iqdb_candidates_sort(IqdbCandidate *items, size_t count);

#endif
