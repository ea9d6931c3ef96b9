/*
 * id_set.c - see id_set.h.
 */
#include "core/engine/id_set.h"

#include <string.h>

#define GROUPS_FIRST 64u
#define MEMBER_BITS 16
#define MEMBER_MASK ((UINT64_C(1) << MEMBER_BITS) - 1)
#define WORDS_MAX (1u << (MEMBER_BITS - 6))
/* Words of a group at first; a block of a table has fewer than 320 rows. */
#define WORDS_FIRST 5u

/* A multiplier whose upper bits depend on all bits of the number (Knuth, "The Art of Computer Programming", 6.4). */
#define SPREAD UINT64_C(0x9e3779b97f4a7c15)

void
iqdb_id_set_init(IqdbIdSet *set_out, const IqdbAllocator *allocator)
{
	*set_out = (IqdbIdSet){.allocator = allocator};
}

void
iqdb_id_set_free(IqdbIdSet *set)
{
	for (uint32_t i = 0; i < set->group_room; i++)
		iqdb_free(set->allocator, set->groups[i].words, set->groups[i].word_count * sizeof(uint64_t));
	iqdb_free(set->allocator, set->groups, set->group_room * sizeof(IqdbIdGroup));
	*set = (IqdbIdSet){.allocator = set->allocator};
}

/* The group's place in a table of `room` places, or the free place where it belongs. */
static IqdbIdGroup *
place_of(IqdbIdGroup *groups, uint32_t room, uint64_t number)
{
	uint32_t at = (uint32_t) ((number * SPREAD) >> 32) & (room - 1);

	while (groups[at].used && groups[at].number != number)
		at = (at + 1) & (room - 1);
	return &groups[at];
}

/* Twice the room, as soon as half of it is used. */
static IqdbStatus
make_group_room(IqdbIdSet *set, IqdbError *err)
{
	uint32_t     room = set->group_room == 0 ? GROUPS_FIRST : 2 * set->group_room;
	IqdbIdGroup *groups;

	if (set->group_count < set->group_room / 2)
		return IQDB_OK;
	groups = room != 0 ? iqdb_alloc_zero(set->allocator, (size_t) room * sizeof(IqdbIdGroup)) : NULL;
	if (groups == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for a set of %u groups of rows", set->group_count);
	for (uint32_t i = 0; i < set->group_room; i++)
	{
		if (set->groups[i].used)
			*place_of(groups, room, set->groups[i].number) = set->groups[i];
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
	if (!(*group_out)->used)
	{
		**group_out = (IqdbIdGroup){.number = number, .used = true};
		set->group_count++;
	}
	return IQDB_OK;
}

static IqdbStatus
make_word_room(IqdbIdSet *set, IqdbIdGroup *group, uint32_t wanted, IqdbError *err)
{
	uint32_t  count = wanted <= WORDS_FIRST ? WORDS_FIRST : WORDS_MAX;
	uint64_t *words;

	if (wanted <= group->word_count)
		return IQDB_OK;
	words = iqdb_realloc(set->allocator, group->words, group->word_count * sizeof(uint64_t), count * sizeof(uint64_t));
	if (words == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for a set of rows");
	memset(words + group->word_count, 0, (count - group->word_count) * sizeof(uint64_t));
	group->words = words;
	group->word_count = count;
	return IQDB_OK;
}

IqdbStatus
iqdb_id_set_add(IqdbIdSet *set, uint64_t number, IqdbError *err)
{
	uint32_t     member = (uint32_t) (number & MEMBER_MASK);
	uint64_t     bit = UINT64_C(1) << member % 64;
	IqdbIdGroup *group;

	IQDB_TRY(group_for(set, number >> MEMBER_BITS, &group, err));
	IQDB_TRY(make_word_room(set, group, member / 64 + 1, err));
	set->count += (group->words[member / 64] & bit) == 0;
	group->words[member / 64] |= bit;
	return IQDB_OK;
}

IqdbStatus
iqdb_id_set_add_group(IqdbIdSet *set, uint64_t number, IqdbError *err)
{
	IqdbIdGroup *group;

	IQDB_TRY(group_for(set, number, &group, err));
	set->whole_count += !group->whole;
	group->whole = true;
	return IQDB_OK;
}

bool
iqdb_id_set_contains(const IqdbIdSet *set, uint64_t number)
{
	uint32_t           member = (uint32_t) (number & MEMBER_MASK);
	const IqdbIdGroup *group;

	if (set->group_room == 0)
		return false;
	group = place_of(set->groups, set->group_room, number >> MEMBER_BITS);
	if (!group->used)
		return false;
	return group->whole || (member / 64 < group->word_count && (group->words[member / 64] >> member % 64 & 1) != 0);
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

		while (member < group->word_count * 64)
		{
			uint64_t left = group->words[member / 64] >> member % 64;

			if (group->whole || left == 0)
			{
				member = group->whole ? group->word_count * 64 : (member / 64 + 1) * 64;
				continue;
			}
			if (count == capacity)
			{
				*position = at << MEMBER_BITS | member;
				return count;
			}
			member += (uint32_t) __builtin_ctzll(left);
			numbers_out[count++] = group->number << MEMBER_BITS | member++;
		}
	}
	*position = at << MEMBER_BITS;
	return count;
}
