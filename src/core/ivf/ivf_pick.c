/*
 * ivf_pick.c - the smallest few of many (key, id) pairs, as whole numbers that order like the pairs.
 *
 * A heap pays a logarithm for each pair that gets in; here pairs are collected, and when the room is full all but the
 * wanted ones are dropped by a selection that is linear on average.
 */
#include "core/ivf/ivf_pick_private.h"

#include <math.h>

#define SMALL 24

static inline void
swap_entries(uint64_t *a, uint64_t *b)
{
	uint64_t value = *a;

	*a = *b;
	*b = value;
}

static void
sort_few(uint64_t *entries, size_t count)
{
	for (size_t i = 1; i < count; i++)
	{
		uint64_t value = entries[i];
		size_t   at = i;

		for (; at > 0 && entries[at - 1] > value; at--)
			entries[at] = entries[at - 1];
		entries[at] = value;
	}
}

/* Hoare partition around the median of three; 0 < result < count, nothing before it is larger than what is behind. */
static size_t
split_entries(uint64_t *entries, size_t count)
{
	size_t   left = 0;
	size_t   right = count - 1;
	size_t   middle = count / 2;
	uint64_t pivot;

	if (entries[middle] < entries[0])
		swap_entries(&entries[middle], &entries[0]);
	if (entries[right] < entries[middle])
	{
		swap_entries(&entries[right], &entries[middle]);
		if (entries[middle] < entries[0])
			swap_entries(&entries[middle], &entries[0]);
	}
	pivot = entries[middle];
	for (;;)
	{
		do
			left++;
		while (entries[left] < pivot);
		do
			right--;
		while (pivot < entries[right]);
		if (left >= right)
			return left;
		swap_entries(&entries[left], &entries[right]);
	}
}

/*
 * Lomuto partition around the median of three, without a branch that depends on the entries: what is smaller stands before
 * the result, the pivot at it.
 */
static size_t
split_without_branches(uint64_t *entries, size_t count)
{
	size_t   middle = count / 2;
	size_t   last = count - 1;
	size_t   left = 0;
	uint64_t pivot;

	if (entries[middle] < entries[0])
		swap_entries(&entries[middle], &entries[0]);
	if (entries[last] < entries[0])
		swap_entries(&entries[last], &entries[0]);
	if (entries[middle] < entries[last])
		swap_entries(&entries[middle], &entries[last]);
	pivot = entries[last];
	for (size_t i = 0; i < last; i++)
	{
		uint64_t value = entries[i];

		entries[i] = entries[left];
		entries[left] = value;
		left += value < pivot;
	}
	swap_entries(&entries[last], &entries[left]);
	return left;
}

/* Moves the `wanted` smallest to the front, in no order. Few entries are equal: the same row twice. */
static void
select_smallest(uint64_t *entries, size_t count, size_t wanted)
{
	while (count > SMALL)
	{
		size_t split = split_without_branches(entries, count);

		if (wanted == split || wanted == split + 1)
			return;
		if (wanted < split)
			count = split;
		else
		{
			entries += split + 1;
			count -= split + 1;
			wanted -= split + 1;
		}
	}
	sort_few(entries, count);
}

void
iqdbi_sort_numbers(uint64_t *entries, size_t count)
{
	while (count > SMALL)
	{
		size_t split = split_entries(entries, count);

		/* the smaller part by a call: the stack stays logarithmic */
		if (split < count - split)
		{
			iqdbi_sort_numbers(entries, split);
			entries += split;
			count -= split;
		}
		else
		{
			iqdbi_sort_numbers(entries + split, count - split);
			count = split;
		}
	}
	sort_few(entries, count);
}

void
iqdbi_pick_start(IqdbiPick *pick, size_t wanted)
{
	pick->count = 0;
	pick->wanted = wanted;
	pick->limit = INFINITY;
	pick->doubles = false;
}

/* Entries of one row have the same key, so they stand beside each other. */
static void
drop_equal_entries(IqdbiPick *pick)
{
	size_t kept = 0;

	iqdbi_sort_numbers(pick->entries, pick->count);
	for (size_t i = 0; i < pick->count; i++)
	{
		if (kept == 0 || pick->entries[i] != pick->entries[kept - 1])
			pick->entries[kept++] = pick->entries[i];
	}
	pick->count = kept;
}

void
iqdbi_pick_shrink(IqdbiPick *pick)
{
	uint64_t largest = 0;

	if (pick->doubles)
		drop_equal_entries(pick);
	if (pick->count <= pick->wanted)
		return;
	select_smallest(pick->entries, pick->count, pick->wanted);
	pick->count = pick->wanted;
	for (size_t i = 0; i < pick->count; i++)
		largest = pick->entries[i] > largest ? pick->entries[i] : largest;
	pick->limit = iqdb_float_of_order((uint32_t) (largest >> 32));
}

size_t
iqdbi_pick_front(IqdbiPick *pick, size_t from, size_t count, float limit)
{
	uint64_t *entries = pick->entries + from;
	size_t    rest = pick->count - from;
	uint32_t  bits = iqdbi_pick_bits(limit);
	size_t    front = 0;

	if (count < rest)
		select_smallest(entries, rest, count);
	else
		count = rest;
	for (size_t i = 0; i < count; i++)
	{
		if (entries[i] >> 32 <= bits)
			swap_entries(&entries[i], &entries[front++]);
	}
	return front;
}

void
iqdbi_pick_sort(IqdbiPick *pick)
{
	iqdbi_pick_shrink(pick);
	iqdbi_sort_numbers(pick->entries, pick->count);
}
