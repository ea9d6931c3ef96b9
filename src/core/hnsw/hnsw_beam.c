/*
 * hnsw_beam.c - the private memory of a search: the set of visited slots and the beam.
 *
 * Nothing here is proportional to the index: the set grows with the slots met, the beam with its capacity, and emptying
 * either costs what was used. Memory comes from the host; when there is none left, the functions return IQDB_ERR_NOMEM
 * and what they had is freed as usual.
 */
#include "core/hnsw/hnsw_beam_private.h"

#include <string.h>

#define SET_BITS_MIN 8
#define SET_BITS_MAX 31

/* A flag in the slot numbers of a sorted beam: the node was visited. */
#define VISITED UINT32_C(0x80000000)

#define WAY_FIRST 64

/* ---- set --------------------------------------------------------------------------------------------------------- */

void
iqdbi_set_init(IqdbiSlotSet *set, const IqdbAllocator *allocator)
{
	set->allocator = allocator;
	set->cells = NULL;
	set->bits = 0;
	set->count = 0;
}

static size_t
set_bytes(uint32_t bits)
{
	return bits == 0 ? 0 : sizeof(uint32_t) << bits;
}

void
iqdbi_set_free(IqdbiSlotSet *set)
{
	iqdb_free(set->allocator, set->cells, set_bytes(set->bits));
	iqdbi_set_init(set, set->allocator);
}

/* Cells for so many slots, at most half of them in use. */
static uint32_t
bits_for(uint64_t slots)
{
	uint32_t bits = SET_BITS_MIN;

	while (bits < SET_BITS_MAX && (UINT64_C(1) << bits) < 3 * slots)
		bits++;
	return bits;
}

IqdbStatus
iqdbi_set_reset(IqdbiSlotSet *set, uint32_t expected)
{
	uint32_t bits = bits_for(expected);

	/* a set that grew large for one search would have to be cleared as a whole for each small one that follows */
	if (set->bits < bits || set->bits > bits + 2)
	{
		iqdbi_set_free(set);
		set->cells = iqdb_alloc(set->allocator, set_bytes(bits));
		if (set->cells == NULL)
			return IQDB_ERR_NOMEM;
		set->bits = bits;
	}
	memset(set->cells, 0, set_bytes(set->bits));
	set->count = 0;
	return IQDB_OK;
}

IqdbStatus
iqdbi_set_grow(IqdbiSlotSet *set, uint32_t more)
{
	IqdbiSlotSet grown = *set;
	uint64_t     wanted = (uint64_t) set->count + more;

	if (set->bits != 0 && wanted * 2 <= (UINT64_C(1) << set->bits))
		return IQDB_OK;
	/* twice what is needed, so that all growing together costs no more than filling the set */
	grown.bits = bits_for(2 * wanted);
	grown.count = 0;
	grown.cells = iqdb_alloc_zero(set->allocator, set_bytes(grown.bits));
	if (grown.cells == NULL)
		return IQDB_ERR_NOMEM;
	for (uint64_t i = 0; set->bits != 0 && i < UINT64_C(1) << set->bits; i++)
	{
		if (set->cells[i] != 0)
			(void) iqdbi_set_add(&grown, set->cells[i] - 1);
	}
	iqdb_free(set->allocator, set->cells, set_bytes(set->bits));
	*set = grown;
	return IQDB_OK;
}

bool
iqdbi_set_has(const IqdbiSlotSet *set, uint32_t slot)
{
	uint32_t mask = (UINT32_C(1) << set->bits) - 1;
	uint32_t cell;

	if (set->count == 0)
		return false;
	for (cell = iqdbi_set_cell(set, slot); set->cells[cell] != 0; cell = (cell + 1) & mask)
	{
		if (set->cells[cell] == slot + 1)
			return true;
	}
	return false;
}

/* ---- heaps of pairs ---------------------------------------------------------------------------------------------- */

/* With sign 1 the smallest key stands first, with -1 the largest. */
static void
pair_heap_up(IqdbiPair *heap, size_t at, float sign)
{
	IqdbiPair moving = heap[at];

	while (at > 0)
	{
		size_t parent = (at - 1) / 2;

		if (!(sign * moving.key < sign * heap[parent].key))
			break;
		heap[at] = heap[parent];
		at = parent;
	}
	heap[at] = moving;
}

static void
pair_heap_down(IqdbiPair *heap, size_t count, size_t at, float sign)
{
	IqdbiPair moving = heap[at];

	for (;;)
	{
		size_t child = 2 * at + 1;

		if (child >= count)
			break;
		if (child + 1 < count && sign * heap[child + 1].key < sign * heap[child].key)
			child++;
		if (!(sign * heap[child].key < sign * moving.key))
			break;
		heap[at] = heap[child];
		at = child;
	}
	heap[at] = moving;
}

/* The order of sorted pairs: of equal keys the smaller slot comes first, so that there is only one order. */
static bool
pair_before(const IqdbiPair *a, const IqdbiPair *b)
{
	return a->key < b->key || (a->key == b->key && a->slot < b->slot);
}

static void
pair_sift(IqdbiPair *pairs, size_t count, size_t at)
{
	IqdbiPair moving = pairs[at];

	for (;;)
	{
		size_t child = 2 * at + 1;

		if (child >= count)
			break;
		if (child + 1 < count && pair_before(&pairs[child], &pairs[child + 1]))
			child++;
		if (!pair_before(&moving, &pairs[child]))
			break;
		pairs[at] = pairs[child];
		at = child;
	}
	pairs[at] = moving;
}

/* Heap sort for long arrays, insertion for short ones. */
void
iqdbi_pairs_sort(IqdbiPair *pairs, size_t count)
{
	if (count > 64)
	{
		for (size_t i = count / 2; i-- > 0;)
			pair_sift(pairs, count, i);
		for (size_t last = count - 1; last > 0; last--)
		{
			IqdbiPair largest = pairs[0];

			pairs[0] = pairs[last];
			pairs[last] = largest;
			pair_sift(pairs, last, 0);
		}
		return;
	}
	for (size_t i = 1; i < count; i++)
	{
		IqdbiPair moving = pairs[i];
		size_t    at = i;

		for (; at > 0 && pair_before(&moving, &pairs[at - 1]); at--)
			pairs[at] = pairs[at - 1];
		pairs[at] = moving;
	}
}

static IqdbStatus
pairs_room(const IqdbAllocator *allocator, IqdbiPair **pairs, size_t *allocated, size_t wanted)
{
	size_t     bytes;
	IqdbiPair *moved;

	if (wanted <= *allocated)
		return IQDB_OK;
	if (!iqdb_mul_size(wanted, sizeof(IqdbiPair), &bytes))
		return IQDB_ERR_NOMEM;
	moved = iqdb_realloc(allocator, *pairs, *allocated * sizeof(IqdbiPair), bytes);
	if (moved == NULL)
		return IQDB_ERR_NOMEM;
	*pairs = moved;
	*allocated = wanted;
	return IQDB_OK;
}

/* ---- beam -------------------------------------------------------------------------------------------------------- */

void
iqdbi_beam_init(IqdbiBeam *beam, const IqdbAllocator *allocator)
{
	memset(beam, 0, sizeof(*beam));
	beam->allocator = allocator;
}

void
iqdbi_beam_free(IqdbiBeam *beam)
{
	iqdb_free(beam->allocator, beam->results, beam->results_allocated * sizeof(IqdbiPair));
	iqdb_free(beam->allocator, beam->way, beam->way_allocated * sizeof(IqdbiPair));
	iqdbi_beam_init(beam, beam->allocator);
}

IqdbStatus
iqdbi_beam_reset(IqdbiBeam *beam, size_t capacity)
{
	size_t first = capacity < IQDBI_BEAM_SORTED_MAX ? capacity : IQDBI_BEAM_SORTED_MAX;

	IQDB_TRY(pairs_room(beam->allocator, &beam->results, &beam->results_allocated, first));
	beam->capacity = capacity;
	beam->count = 0;
	beam->next = 0;
	beam->way_count = 0;
	beam->bound = INFINITY;
	beam->sorted = capacity <= IQDBI_BEAM_SORTED_MAX;
	return IQDB_OK;
}

IqdbStatus
iqdbi_beam_way(IqdbiBeam *beam, float key, uint32_t slot)
{
	if (beam->way_count == beam->way_allocated)
		IQDB_TRY(pairs_room(beam->allocator, &beam->way, &beam->way_allocated,
							beam->way_allocated == 0 ? WAY_FIRST : 2 * beam->way_allocated));
	beam->way[beam->way_count] = (IqdbiPair){key, slot};
	pair_heap_up(beam->way, beam->way_count, 1.0f);
	beam->way_count++;
	return IQDB_OK;
}

/* Inserts behind results with the same key, so that these stand in the order in which they came. */
static void
sorted_insert(IqdbiBeam *beam, float key, uint32_t slot)
{
	IqdbiPair *results = beam->results;
	size_t     low = 0;
	size_t     length = beam->count;

	while (length > 0)
	{
		size_t half = length / 2;

		/* no branch: which half it is cannot be predicted */
		low = results[low + half].key <= key ? low + length - half : low;
		length = half;
	}
	if (beam->count < beam->capacity)
		beam->count++;
	memmove(&results[low + 1], &results[low], (beam->count - 1 - low) * sizeof(IqdbiPair));
	results[low] = (IqdbiPair){key, slot};
	if (low < beam->next)
		beam->next = low;
	if (beam->count == beam->capacity)
		beam->bound = results[beam->count - 1].key;
}

IqdbStatus
iqdbi_beam_result(IqdbiBeam *beam, float key, uint32_t slot)
{
	if (beam->sorted)
	{
		sorted_insert(beam, key, slot);
		return IQDB_OK;
	}
	IQDB_TRY(iqdbi_beam_way(beam, key, slot));
	if (beam->count < beam->capacity)
	{
		if (beam->count == beam->results_allocated)
		{
			size_t wanted = 2 * beam->results_allocated;

			if (wanted > beam->capacity)
				wanted = beam->capacity;
			IQDB_TRY(pairs_room(beam->allocator, &beam->results, &beam->results_allocated, wanted));
		}
		beam->results[beam->count] = (IqdbiPair){key, slot};
		pair_heap_up(beam->results, beam->count, -1.0f);
		beam->count++;
	}
	else
	{
		beam->results[0] = (IqdbiPair){key, slot};
		pair_heap_down(beam->results, beam->count, 0, -1.0f);
	}
	if (beam->count == beam->capacity)
		beam->bound = beam->results[0].key;
	return IQDB_OK;
}

bool
iqdbi_beam_pop(IqdbiBeam *beam, uint32_t *slot_out)
{
	bool  have_result = beam->sorted && beam->next < beam->count;
	float result_key = have_result ? beam->results[beam->next].key : INFINITY;

	if (beam->way_count > 0 && (!have_result || beam->way[0].key < result_key))
	{
		if (beam->way[0].key > beam->bound)
			return false;
		*slot_out = beam->way[0].slot;
		beam->way_count--;
		beam->way[0] = beam->way[beam->way_count];
		if (beam->way_count > 0)
			pair_heap_down(beam->way, beam->way_count, 0, 1.0f);
		return true;
	}
	if (!have_result)
		return false;
	*slot_out = beam->results[beam->next].slot;
	beam->results[beam->next].slot |= VISITED;
	do
		beam->next++;
	while (beam->next < beam->count && (beam->results[beam->next].slot & VISITED) != 0);
	return true;
}

uint32_t
iqdbi_beam_peek(const IqdbiBeam *beam, uint32_t *slots_out, uint32_t capacity)
{
	uint32_t count = 0;

	for (size_t i = beam->next; beam->sorted && i < beam->count && count < capacity; i++)
	{
		if ((beam->results[i].slot & VISITED) == 0)
			slots_out[count++] = beam->results[i].slot;
	}
	if (beam->way_count > 0 && count < capacity)
		slots_out[count++] = beam->way[0].slot;
	return count;
}

void
iqdbi_beam_finish(IqdbiBeam *beam)
{
	for (size_t i = 0; i < beam->count; i++)
		beam->results[i].slot &= ~VISITED;
	if (!beam->sorted)
		iqdbi_pairs_sort(beam->results, beam->count);
}

void
iqdbi_beam_restart(IqdbiBeam *beam)
{
	beam->next = 0;
	beam->way_count = 0;
}
