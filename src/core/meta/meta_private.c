/*
 * meta_private.c - growing byte strings and arrays, and the sort, for the files of this folder.
 */
#include "core/meta/meta_private.h"

#define BYTES_FIRST_ALLOCATION 64
#define ARRAY_FIRST_ALLOCATION 8

IqdbStatus
iqdbi_bytes_extend(IqdbiBytes *bytes, size_t size, unsigned char **at_out)
{
	size_t needed;

	if (!iqdb_add_size(bytes->length, size, &needed))
		return IQDB_ERR_NOMEM;
	if (needed > bytes->allocated)
	{
		size_t         wanted = BYTES_FIRST_ALLOCATION;
		unsigned char *moved;

		if (bytes->allocated > 0 && !iqdb_mul_size(bytes->allocated, 2, &wanted))
			wanted = needed;
		if (wanted < needed)
			wanted = needed;
		moved = iqdb_realloc(bytes->allocator, bytes->data, bytes->allocated, wanted);
		if (moved == NULL)
			return IQDB_ERR_NOMEM;
		bytes->data = moved;
		bytes->allocated = wanted;
	}
	*at_out = bytes->data + bytes->length;
	bytes->length = needed;
	return IQDB_OK;
}

void *
iqdbi_array_room(const IqdbAllocator *allocator, void *items, size_t count, size_t *allocated, size_t size)
{
	size_t wanted = ARRAY_FIRST_ALLOCATION;
	size_t bytes;
	void  *moved;

	if (count < *allocated)
		return items;
	if (*allocated > 0 && !iqdb_mul_size(*allocated, 2, &wanted))
		return NULL;
	if (!iqdb_mul_size(wanted, size, &bytes))
		return NULL;
	moved = iqdb_realloc(allocator, items, *allocated * size, bytes);
	if (moved != NULL)
		*allocated = wanted;
	return moved;
}

/* ---- heap sort ---- */

typedef struct SortJob
{
	unsigned char *items;
	size_t         size;
	IqdbiBefore    before;
	const void    *arg;
} SortJob;

static unsigned char *
item(const SortJob *job, size_t at)
{
	return job->items + at * job->size;
}

static void
sift_down(const SortJob *job, size_t count, size_t at)
{
	unsigned char moving[IQDBI_SORT_ITEM_MAX];

	memcpy(moving, item(job, at), job->size);
	while (at < count / 2)
	{
		size_t child = 2 * at + 1;

		if (child + 1 < count && job->before(item(job, child), item(job, child + 1), job->arg))
			child++;
		if (!job->before(moving, item(job, child), job->arg))
			break;
		memcpy(item(job, at), item(job, child), job->size);
		at = child;
	}
	memcpy(item(job, at), moving, job->size);
}

void
iqdbi_sort(void *items, size_t count, size_t size, IqdbiBefore before, const void *arg)
{
	SortJob       job = {items, size, before, arg};
	unsigned char last[IQDBI_SORT_ITEM_MAX];

	for (size_t i = count / 2; i-- > 0;)
		sift_down(&job, count, i);
	while (count > 1)
	{
		count--;
		memcpy(last, item(&job, count), size);
		memcpy(item(&job, count), item(&job, 0), size);
		memcpy(item(&job, 0), last, size);
		sift_down(&job, count, 0);
	}
}
