/*
 * index_cursor.c - the stream of hits as callers see it: what an engine finds, in order.
 *
 * Owns: the life of cursors, and the promise of order. An approximate engine that goes on searching finds now and then
 * a row that is nearer than one it has handed out already. Handed out at once it would break the order that the caller
 * was promised; dropped, it would break the promise that every row comes at last. Such rows are held back until the
 * engine has no more, and then come in their own order: whoever stops before that sees an ordered stream. How many
 * there are is how many the engine missed at first. The promise is about keys: of rows with equal keys, which the
 * engine hands out by sequence as far as it knows them, one that is found later is in order still.
 */
#include "core/db/index_private.h"

#include <math.h>
#include <string.h>

#include "core/base/topk.h"

#define QUERY_ALIGNMENT 64u

#define LATE_FIRST 32u

/* Late rows looked at in one hold of STRUCTURE. */
#define LATE_BATCH 4096u

static size_t
round_up(size_t bytes)
{
	return (bytes + QUERY_ALIGNMENT - 1) / QUERY_ALIGNMENT * QUERY_ALIGNMENT;
}

/*
 * One allocation: the engine's cursor, then the prepared query, zero-padded, at a multiple of 64 bytes, then the query
 * as rows are stored unless that is the same.
 */
static IqdbStatus
cursor_allocate(IqdbIndex *index, const void *vector, IqdbCursor **cursor_out, IqdbError *err)
{
	const IqdbStore   *store = &index->store;
	const IqdbElement *element = store->element;
	size_t             dim = store->header->options.dimension;
	size_t             query_room = round_up(iqdb_element_prepared_bytes(element, dim));
	size_t             vector_bytes = iqdb_element_bytes(element, dim);
	size_t             size = index->engine->cursor_size + QUERY_ALIGNMENT + query_room +
							  (element->is_prepared ? 0 : vector_bytes);
	unsigned char     *memory = iqdb_alloc(&index->host->allocator, size);
	unsigned char     *query;
	IqdbCursor        *cursor;

	if (memory == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for a cursor of %zu bytes", size);
	memset(memory, 0, size);
	cursor = (IqdbCursor *) (void *) memory;
	cursor->size = size;
	query = memory + (round_up((uintptr_t) memory + index->engine->cursor_size) - (uintptr_t) memory);
	cursor->query = query;
	cursor->vector = element->is_prepared ? query : query + query_room;
	memcpy(element->is_prepared ? query : query + query_room, vector, vector_bytes);
	(void) iqdb_element_prepare(store->kernels, element, cursor->vector, dim, query);
	*cursor_out = cursor;
	return IQDB_OK;
}

IqdbStatus
iqdb_cursor_open(IqdbIndex *index, const void *query, size_t dim, const IqdbSearchParams *params,
				 IqdbCursor **cursor_out, IqdbError *err)
{
	const IqdbStore *store = &index->store;
	IqdbCursor      *cursor = NULL;
	IqdbStatus       status;

	*cursor_out = NULL;
	IQDB_TRY(iqdbi_index_check_vector(index, query, dim, err));
	if (params != NULL && params->filter != NULL)
		IQDB_TRY(iqdb_row_filter_check(params->filter, &store->header->options, err));
	IQDB_TRY(cursor_allocate(index, query, &cursor, err));
	cursor->engine = index->engine;
	cursor->store = &index->store;
	cursor->query_norm2 = store->row_kernels->norm2(query, dim);
	if (params != NULL)
		cursor->params = *params;
	iqdb_scorer_init(&cursor->scorer, cursor->store, cursor->params.filter, &cursor->stats.filtered);
	iqdb_scorer_aim(&cursor->scorer, cursor->query, cursor->query_norm2);
	status = index->engine->cursor_start(cursor, err);
	if (status != IQDB_OK)
	{
		iqdb_free(&index->host->allocator, cursor, cursor->size);
		return status;
	}
	*cursor_out = cursor;
	return IQDB_OK;
}

IqdbStatus
iqdb_cursors_begin(IqdbCursor *const *cursors, size_t count, IqdbError *err)
{
	if (count == 0 || cursors[0]->engine->cursors_begin == NULL)
		return IQDB_OK;
	return cursors[0]->engine->cursors_begin(cursors, count, err);
}

/* ---- rows found late ---- */

static bool
before(const IqdbHit *a, const IqdbHit *b)
{
	IqdbCandidate x = {.sequence = a->sequence, .key = a->key};
	IqdbCandidate y = {.sequence = b->sequence, .key = b->key};

	return iqdb_candidate_before(&x, &y);
}

static IqdbStatus
hold_back(IqdbCursor *cursor, const IqdbHit *hit, IqdbError *err)
{
	const IqdbAllocator *allocator = &cursor->store->host->allocator;

	if (cursor->late_count == cursor->late_allocated)
	{
		size_t   wanted = cursor->late_allocated == 0 ? LATE_FIRST : 2 * cursor->late_allocated;
		IqdbHit *moved = iqdb_realloc(allocator, cursor->late, cursor->late_allocated * sizeof(IqdbHit),
									  wanted * sizeof(IqdbHit));

		if (moved == NULL)
			return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for a search");
		cursor->late = moved;
		cursor->late_allocated = wanted;
	}
	cursor->late[cursor->late_count++] = *hit;
	return IQDB_OK;
}

/* Sifts down in the heap of late[0 .. count), the last in order on top. */
static void
sift(IqdbHit *late, size_t count, size_t at)
{
	IqdbHit moved = late[at];

	for (size_t child = 2 * at + 1; child < count; child = 2 * at + 1)
	{
		if (child + 1 < count && before(&late[child], &late[child + 1]))
			child++;
		if (!before(&moved, &late[child]))
			break;
		late[at] = late[child];
		at = child;
	}
	late[at] = moved;
}

static void
sort_late(IqdbCursor *cursor)
{
	IqdbHit *late = cursor->late;

	for (size_t i = cursor->late_count / 2; i-- > 0;)
		sift(late, cursor->late_count, i);
	for (size_t count = cursor->late_count; count-- > 1;)
	{
		IqdbHit last = late[0];

		late[0] = late[count];
		late[count] = last;
		sift(late, count, 0);
	}
}

/*
 * Is the row nearer than one that was handed out before it? Equal keys are no disorder; a key that is no number is
 * last.
 */
static bool
is_late(const IqdbHit *hit, const IqdbHit *last)
{
	return hit->key < last->key || (isnan(last->key) && !isnan(hit->key));
}

/* Is the row's vector zero? Its norm alone does not tell: squares of small components vanish, too. */
static bool
is_zero(const IqdbStore *store, uint32_t slot)
{
	return iqdb_store_norm2(store, slot) == 0 &&
		   iqdb_element_is_zero(store->element, iqdb_store_vector(store, slot), store->header->options.dimension);
}

/* Keeps the hits that follow what was handed out, and returns how many; the others are held back. */
static IqdbStatus
keep_ordered(IqdbCursor *cursor, IqdbHit *hits, size_t *count, IqdbError *err)
{
	size_t kept = 0;

	for (size_t i = 0; i < *count; i++)
	{
		if (cursor->params.zero_last && is_zero(cursor->store, hits[i].slot))
		{
			hits[i].key = INFINITY;
			IQDB_TRY(hold_back(cursor, &hits[i], err));
		}
		else if (cursor->started && is_late(&hits[i], &cursor->last))
			IQDB_TRY(hold_back(cursor, &hits[i], err));
		else
		{
			cursor->started = true;
			cursor->last = hits[i];
			hits[kept++] = hits[i];
		}
	}
	*count = kept;
	return IQDB_OK;
}

/*
 * Hands out the next late rows, of which some may have gone while they were held back. Takes STRUCTURE for an instant.
 */
static size_t
hand_out_late(IqdbCursor *cursor, IqdbHit *hits, size_t capacity)
{
	size_t left = cursor->late_count - cursor->late_next;
	size_t end = cursor->late_next + (left < LATE_BATCH ? left : LATE_BATCH);
	size_t count = 0;

	iqdb_store_lock(cursor->store, IQDB_LOCK_STRUCTURE, false);
	while (cursor->late_next < end && count < capacity)
	{
		const IqdbHit *hit = &cursor->late[cursor->late_next++];

		if (iqdb_store_holds(cursor->store, hit->slot, hit->sequence))
			hits[count++] = *hit;
	}
	iqdb_store_unlock(cursor->store, IQDB_LOCK_STRUCTURE, false);
	return count;
}

IqdbStatus
iqdb_cursor_next(IqdbCursor *cursor, IqdbHit *hits, size_t capacity, size_t *count_out, IqdbError *err)
{
	*count_out = 0;
	while (capacity > 0 && *count_out == 0 && !cursor->ended)
	{
		IQDB_TRY(cursor->engine->cursor_next(cursor, hits, capacity, count_out, err));
		if (*count_out == 0)
		{
			cursor->ended = true;
			sort_late(cursor);
		}
		else
			IQDB_TRY(keep_ordered(cursor, hits, count_out, err));
	}
	while (capacity > 0 && *count_out == 0 && cursor->ended && cursor->late_next < cursor->late_count)
		*count_out = hand_out_late(cursor, hits, capacity);
	return IQDB_OK;
}

void
iqdb_cursor_close(IqdbCursor *cursor)
{
	const IqdbAllocator *allocator;

	if (cursor == NULL)
		return;
	allocator = &cursor->store->host->allocator;
	cursor->engine->cursor_end(cursor);
	iqdb_free(allocator, cursor->late, cursor->late_allocated * sizeof(IqdbHit));
	iqdb_free(allocator, cursor, cursor->size);
}
