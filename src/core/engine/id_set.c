/*
 * id_set.c - see id_set.h.
 */
#include "core/engine/id_set.h"

#include <string.h>

#define GROUPS_FIRST 64u
#define MEMBER_BITS 16
#define MEMBER_MASK ((UINT64_C(1) << MEMBER_BITS) - 1)
#define WORDS_MAX (1u << (MEMBER_BITS - 6))
/* Words of a group at first that has more than one; a block of a table has fewer than 320 rows. */
#define WORDS_FIRST 5u

/* Flags in the head of a group. */
#define USED UINT64_C(1)
#define WHOLE UINT64_C(2)
#define WIDE UINT64_C(4)   /* it has WORDS_FIRST words */
#define WIDEST UINT64_C(8) /* it has WORDS_MAX words */

/* A multiplier whose upper bits depend on all bits of the number (Knuth, "The Art of Computer Programming", 6.4). */
#define SPREAD UINT64_C(0x9e3779b97f4a7c15)

static inline uint32_t
word_count(const IqdbIdGroup *group)
{
	return (group->head & WIDEST) != 0 ? WORDS_MAX : (group->head & WIDE) != 0 ? WORDS_FIRST : 1;
}

static inline const uint64_t *
words_of(const IqdbIdGroup *group)
{
	return (group->head & (WIDE | WIDEST)) != 0 ? group->words : &group->word;
}

void
iqdb_id_set_init(IqdbIdSet *set_out, const IqdbAllocator *allocator)
{
	*set_out = (IqdbIdSet){.allocator = allocator};
}

void
iqdb_id_set_free(IqdbIdSet *set)
{
	for (uint32_t i = 0; i < set->group_room; i++)
	{
		if (word_count(&set->groups[i]) > 1)
			iqdb_free(set->allocator, set->groups[i].words, word_count(&set->groups[i]) * sizeof(uint64_t));
	}
	iqdb_free(set->allocator, set->groups, set->group_room * sizeof(IqdbIdGroup));
	*set = (IqdbIdSet){.allocator = set->allocator};
}

/* Where looking for a group begins in a table of `room` places. */
static inline uint32_t
first_place(uint32_t room, uint64_t number)
{
	return (uint32_t) ((number * SPREAD) >> 32) & (room - 1);
}

/* The group's place in a table of `room` places, or the free place where it belongs. */
static inline IqdbIdGroup *
place_of(IqdbIdGroup *groups, uint32_t room, uint64_t number)
{
	uint32_t at = first_place(room, number);

	while (groups[at].head != 0 && groups[at].head >> MEMBER_BITS != number)
		at = (at + 1) & (room - 1);
	return &groups[at];
}

/* Four times the room, as soon as half of it is used. */
static IqdbStatus
make_group_room(IqdbIdSet *set, IqdbError *err)
{
	uint32_t     room = set->group_room == 0 ? GROUPS_FIRST : 4 * set->group_room;
	IqdbIdGroup *groups;

	if (set->group_count < set->group_room / 2)
		return IQDB_OK;
	groups = room > set->group_room ? iqdb_alloc_zero(set->allocator, (size_t) room * sizeof(IqdbIdGroup)) : NULL;
	if (groups == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for a set of %u groups of rows", set->group_count);
	for (uint32_t i = 0; i < set->group_room; i++)
	{
		if (set->groups[i].head != 0)
			*place_of(groups, room, set->groups[i].head >> MEMBER_BITS) = set->groups[i];
	}
	iqdb_free(set->allocator, set->groups, set->group_room * sizeof(IqdbIdGroup));
	set->groups = groups;
	set->group_room = room;
	return IQDB_OK;
}

/* The group, made if it was not there. */
static IqdbStatus
group_for(IqdbIdSet *set, uint64_t number, IqdbIdGroup **group_out, IqdbError *err)
{
	IQDB_TRY(make_group_room(set, err));
	*group_out = place_of(set->groups, set->group_room, number);
	if ((*group_out)->head == 0)
	{
		**group_out = (IqdbIdGroup){.head = number << MEMBER_BITS | USED};
		set->group_count++;
	}
	return IQDB_OK;
}

/* Makes room for so many words in a group that has fewer. */
static IqdbStatus
widen_group(IqdbIdSet *set, IqdbIdGroup *group, uint32_t wanted, IqdbError *err)
{
	uint32_t  count = wanted <= WORDS_FIRST ? WORDS_FIRST : WORDS_MAX;
	uint32_t  before = word_count(group);
	uint64_t *words = iqdb_alloc_zero(set->allocator, count * sizeof(uint64_t));

	if (words == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for a set of rows");
	memcpy(words, words_of(group), before * sizeof(uint64_t));
	if (before > 1)
		iqdb_free(set->allocator, group->words, before * sizeof(uint64_t));
	group->words = words;
	group->head |= count == WORDS_MAX ? WIDEST : WIDE;
	return IQDB_OK;
}

IqdbStatus
iqdb_id_set_add(IqdbIdSet *set, uint64_t number, IqdbError *err)
{
	uint32_t     member = (uint32_t) (number & MEMBER_MASK);
	uint64_t     bit = UINT64_C(1) << member % 64;
	IqdbIdGroup *group;
	uint64_t    *word;

	IQDB_TRY(group_for(set, number >> MEMBER_BITS, &group, err));
	if (member / 64 >= word_count(group))
		IQDB_TRY(widen_group(set, group, member / 64 + 1, err));
	word = word_count(group) > 1 ? &group->words[member / 64] : &group->word;
	set->count += (*word & bit) == 0;
	*word |= bit;
	return IQDB_OK;
}

IqdbStatus
iqdb_id_set_add_group(IqdbIdSet *set, uint64_t number, IqdbError *err)
{
	IqdbIdGroup *group;

	IQDB_TRY(group_for(set, number, &group, err));
	set->whole_count += (group->head & WHOLE) == 0;
	group->head |= WHOLE;
	return IQDB_OK;
}

/* A free place has no members. */
bool
iqdb_id_set_contains(const IqdbIdSet *set, uint64_t number)
{
	uint32_t           member = (uint32_t) (number & MEMBER_MASK);
	const IqdbIdGroup *group;

	if (set->group_room == 0)
		return false;
	group = place_of(set->groups, set->group_room, number >> MEMBER_BITS);
	return (group->head & WHOLE) != 0 ||
		   (member / 64 < word_count(group) && (words_of(group)[member / 64] >> member % 64 & 1) != 0);
}

/* What all looks begin with is fetched before the first of them. */
uint64_t
iqdb_id_set_contains_each(const IqdbIdSet *set, const uint64_t *numbers, uint32_t count)
{
	uint64_t bits = 0;

	if (set->group_room == 0)
		return 0;
	for (uint32_t i = 0; i < count; i++)
		__builtin_prefetch(&set->groups[first_place(set->group_room, numbers[i] >> MEMBER_BITS)]);
	for (uint32_t i = 0; i < count; i++)
		bits |= (uint64_t) iqdb_id_set_contains(set, numbers[i]) << i;
	return bits;
}

/* A position is a place in the table, and a member in it. */
size_t
iqdb_id_set_list(const IqdbIdSet *set, uint64_t *position, uint64_t *numbers_out, size_t capacity)
{
	uint64_t at = *position >> MEMBER_BITS;
	uint32_t member = (uint32_t) (*position & MEMBER_MASK);
	size_t   count = 0;

	for (; at < set->group_room; at++, member = 0)
	{
		const IqdbIdGroup *group = &set->groups[at];
		const uint64_t    *words = words_of(group);
		uint32_t           end = group->head != 0 && (group->head & WHOLE) == 0 ? word_count(group) * 64 : 0;

		while (member < end)
		{
			uint64_t left = words[member / 64] >> member % 64;

			if (left == 0)
			{
				member = (member / 64 + 1) * 64;
				continue;
			}
			if (count == capacity)
			{
				*position = at << MEMBER_BITS | member;
				return count;
			}
			member += (uint32_t) __builtin_ctzll(left);
			numbers_out[count++] = group->head >> MEMBER_BITS << MEMBER_BITS | member++;
		}
	}
	*position = at << MEMBER_BITS;
	return count;
}
