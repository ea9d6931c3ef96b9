/*
 * id_set.h - a set of row numbers that a host has found by other means, such as the TIDs of a bitmap.
 *
 * Numbers are kept in groups: number >> 16 names the group, its lower 16 bits the member, so that a host whose numbers are
 * block and offset has a group per block. A group has a bit per member, as far as its greatest one, or is there as a
 * whole: then the host does not know which of its members are meant, and will look again. The set belongs to one process, and
 * is filled before it is searched with.
 *
 * A group takes 16 bytes of a hash table, and its first 64 members stand there, too: a block of a table that has vectors in it
 * seldom has more rows. So a look for a number reads one cache line, and adding one allocates nothing, as a rule.
 */
#ifndef IQDB_ENGINE_ID_SET_H
#define IQDB_ENGINE_ID_SET_H

#include "core/base/mem.h"
#include "core/base/status.h"

/* The most numbers of one call of iqdb_id_set_contains_each(). */
#define IQDB_ID_SET_EACH 64u

typedef struct IqdbIdGroup
{
	uint64_t head; /* the group's number << 16, and flags; 0: the place is free */
	union
	{
		uint64_t  word;  /* bit of member 0 .. 63, */
		uint64_t *words; /* or bit member % 64 of word member / 64: what the flags say */
	};
} IqdbIdGroup;

typedef struct IqdbIdSet
{
	const IqdbAllocator *allocator;
	IqdbIdGroup         *groups;      /* a hash table by number, open addressing */
	uint32_t             group_room;  /* a power of two, or 0 */
	uint32_t             group_count;
	uint64_t             count;       /* numbers that were added one by one */
	uint32_t             whole_count; /* groups that are there as a whole */
} IqdbIdSet;

void iqdb_id_set_init(IqdbIdSet *set_out, const IqdbAllocator *allocator);
void iqdb_id_set_free(IqdbIdSet *set);

/* Adding a number twice is no error. IQDB_ERR_NOMEM: the set is as it was. */
IqdbStatus iqdb_id_set_add(IqdbIdSet *set, uint64_t number, IqdbError *err) IQDB_MUST_CHECK;
IqdbStatus iqdb_id_set_add_group(IqdbIdSet *set, uint64_t group, IqdbError *err) IQDB_MUST_CHECK;

/* Members of a group that is there as a whole are all in the set. */
bool iqdb_id_set_contains(const IqdbIdSet *set, uint64_t number);

/* The same of IQDB_ID_SET_EACH numbers at most, side by side: bit i of number i. */
uint64_t iqdb_id_set_contains_each(const IqdbIdSet *set, const uint64_t *numbers, uint32_t count);

/*
 * Is each number known, so that the set can be listed, and is `count` how many there are?
 */
static inline bool
iqdb_id_set_is_listed(const IqdbIdSet *set)
{
	return set->whole_count == 0;
}

/*
 * Up to capacity numbers from *position on (0 at first; updated), in no order but that of groups in the table; 0: there are no
 * more. Members of whole groups are left out.
 */
size_t iqdb_id_set_list(const IqdbIdSet *set, uint64_t *position, uint64_t *numbers_out, size_t capacity);

#endif
