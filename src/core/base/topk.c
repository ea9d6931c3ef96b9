/*
 * topk.c - a bounded max-heap of candidates and the sort that ends it.
 *
 * Does not own: the order (iqdb_candidate_before in the header is the only definition of it).
 */
#include "core/base/topk.h"

#define TOPK_FIRST_ALLOCATION 16
#define SORT_INSERTION_MAX 16
#define SORT_STACK_MAX 64

/* ---- heap: items[0] is the last in order ---- */

static void
sift_up(IqdbCandidate *items, size_t at)
{
	IqdbCandidate moving = items[at];

	while (at > 0)
	{
		size_t parent = (at - 1) / 2;

		if (!iqdb_candidate_before(&items[parent], &moving))
			break;
		items[at] = items[parent];
		at = parent;
	}
	items[at] = moving;
}

static void
sift_down(IqdbCandidate *items, size_t count, size_t at)
{
	IqdbCandidate moving = items[at];

	while (at < count / 2)
	{
		size_t child = 2 * at + 1;

		if (child + 1 < count && iqdb_candidate_before(&items[child], &items[child + 1]))
			child++;
		if (!iqdb_candidate_before(&moving, &items[child]))
			break;
		items[at] = items[child];
		at = child;
	}
	items[at] = moving;
}

void
iqdb_topk_init(IqdbTopK *top, const IqdbAllocator *allocator, size_t capacity)
{
	top->allocator = allocator;
	top->items = NULL;
	top->count = 0;
	top->allocated = 0;
	top->capacity = capacity;
}

void
iqdb_topk_clear(IqdbTopK *top)
{
	top->count = 0;
}

void
iqdb_topk_free(IqdbTopK *top)
{
	iqdb_free(top->allocator, top->items, top->allocated * sizeof(IqdbCandidate));
	top->items = NULL;
	top->count = 0;
	top->allocated = 0;
}

static IqdbStatus
make_room(IqdbTopK *top)
{
	size_t         wanted;
	size_t         bytes;
	IqdbCandidate *moved;

	if (top->allocated == 0)
		wanted = TOPK_FIRST_ALLOCATION;
	else if (!iqdb_mul_size(top->allocated, 2, &wanted))
		return IQDB_ERR_NOMEM;
	if (wanted > top->capacity)
		wanted = top->capacity;
	if (!iqdb_mul_size(wanted, sizeof(IqdbCandidate), &bytes))
		return IQDB_ERR_NOMEM;
	moved = iqdb_realloc(top->allocator, top->items, top->allocated * sizeof(IqdbCandidate), bytes);
	if (moved == NULL)
		return IQDB_ERR_NOMEM;
	top->items = moved;
	top->allocated = wanted;
	return IQDB_OK;
}

IqdbStatus
iqdb_topk_offer(IqdbTopK *top, IqdbCandidate candidate)
{
	if (top->count < top->capacity)
	{
		if (top->count == top->allocated)
			IQDB_TRY(make_room(top));
		top->items[top->count] = candidate;
		sift_up(top->items, top->count);
		top->count++;
		return IQDB_OK;
	}
	if (top->capacity > 0 && iqdb_candidate_before(&candidate, &top->items[0]))
	{
		top->items[0] = candidate;
		sift_down(top->items, top->count, 0);
	}
	return IQDB_OK;
}

void
iqdb_topk_sort(IqdbTopK *top)
{
	iqdb_candidates_sort(top->items, top->count);
}

/* ---- sort: quicksort on an explicit stack, insertion sort below, heap sort where the pivots turn out badly ---- */

static void
swap(IqdbCandidate *a, IqdbCandidate *b)
{
	IqdbCandidate saved = *a;

	*a = *b;
	*b = saved;
}

static void
insertion_sort(IqdbCandidate *items, size_t count)
{
	for (size_t i = 1; i < count; i++)
	{
		IqdbCandidate moving = items[i];
		size_t        at = i;

		while (at > 0 && iqdb_candidate_before(&moving, &items[at - 1]))
		{
			items[at] = items[at - 1];
			at--;
		}
		items[at] = moving;
	}
}

static void
heap_sort(IqdbCandidate *items, size_t count)
{
	for (size_t i = count / 2; i-- > 0;)
		sift_down(items, count, i);
	while (count > 1)
	{
		count--;
		swap(&items[0], &items[count]);
		sift_down(items, count, 0);
	}
}

/*
 * Hoare partition around the median of three, count >= 3: returns n with 0 < n < count, such that nothing in [0, n)
 * stands after anything in [n, count).
 */
static size_t
partition(IqdbCandidate *items, size_t count)
{
	size_t        middle = count / 2;
	size_t        left = 0;
	size_t        right = count - 1;
	IqdbCandidate pivot;

	if (iqdb_candidate_before(&items[middle], &items[0]))
		swap(&items[middle], &items[0]);
	if (iqdb_candidate_before(&items[right], &items[middle]))
	{
		swap(&items[right], &items[middle]);
		if (iqdb_candidate_before(&items[middle], &items[0]))
			swap(&items[middle], &items[0]);
	}
	pivot = items[middle];
	/* the ends are sentinels for both scans */
	for (;;)
	{
		do
			left++;
		while (iqdb_candidate_before(&items[left], &pivot));
		do
			right--;
		while (iqdb_candidate_before(&pivot, &items[right]));
		if (left >= right)
			return left;
		swap(&items[left], &items[right]);
	}
}

void
iqdb_candidates_sort(IqdbCandidate *items, size_t count)
{
	struct
	{
		IqdbCandidate *items;
		size_t         count;
		unsigned       splits; /* how often this part may still be split before heap sort takes over */
	} stack[SORT_STACK_MAX];
	size_t   depth = 0;
	unsigned splits = 0;

	for (size_t n = count; n > 1; n /= 2)
		splits += 2;

	for (;;)
	{
		size_t left;

		if (count <= SORT_INSERTION_MAX || splits == 0)
		{
			if (count <= SORT_INSERTION_MAX)
				insertion_sort(items, count);
			else
				heap_sort(items, count);
			if (depth == 0)
				return;
			depth--;
			items = stack[depth].items;
			count = stack[depth].count;
			splits = stack[depth].splits;
			continue;
		}
		splits--;
		left = partition(items, count);
		/* the larger part waits: the part at hand at least halves each time, so the stack holds at most log2(count) */
		stack[depth].splits = splits;
		if (left < count - left)
		{
			stack[depth].items = items + left;
			stack[depth].count = count - left;
			count = left;
		}
		else
		{
			stack[depth].items = items;
			stack[depth].count = left;
			items += left;
			count -= left;
		}
		depth++;
	}
}
