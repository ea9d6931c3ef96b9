/*
 * handle_pass.c - a look at all rows for one search, by several threads.
 *
 * Owns: how the slots are dealt out, the threads, how their hits become one answer. Does not own: a look at the slots of one
 * part (engine/exact_pass.h, the flat engine), when all rows are looked at (handle_search.c).
 *
 * Each thread has a cursor of its own, whose search ends where its part of the slots ends. The key of a row does not depend on
 * the rows beside it, so the best of the parts' best are, bit for bit, what one thread finds. Threads are made for each
 * search: that takes some ten microseconds each, for a part that takes a hundred at least, and a database that nobody asks has
 * no threads that wait, nor has one that was inherited by fork().
 */
#include "core/db/handle_private.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* What a thread must have to read, for the thread to pay. */
#define PART_BYTES ((uint64_t) 1024 * 1024)

/* Of a row's bytes, where rows have codes, about this share is read. */
#define CODED_SHARE 4

/* Of a part's rows at most such a share may be wanted: each part finds all that is wanted, and most of it is thrown away. */
#define PART_WANTED_SHARE 8

/* Parts begin at multiples of this, so that no block of columns or codes has rows of two. */
#define PART_UNIT IQDB_COLUMN_BLOCK

typedef struct Pass
{
	Iqdb       *db;
	bool        by_vectors;
	size_t      wanted;
	atomic_bool stop; /* another thread has failed */
} Pass;

typedef struct Part
{
	Pass       *pass;
	IqdbHost    host; /* one that hears of stop */
	IqdbIndex   index;
	IqdbCursor *cursor;
	IqdbHit    *hits;
	size_t      count;
	pthread_t   thread;
	IqdbStatus  status;
	IqdbError   error;
} Part;

unsigned
iqdbi_handle_parts(const Iqdb *db, bool by_vectors, size_t wanted, uint64_t max_rows)
{
	const IqdbStore *store = &db->index.store;
	uint64_t         rows = iqdb_index_live_count(&db->index);
	bool             coded = !by_vectors && store->header->options.quantization != IQDB_QUANTIZATION_NONE;
	uint64_t         bytes = rows * (coded ? store->row_stride / CODED_SHARE : store->row_stride);
	unsigned         parts = db->search_threads;

	/* other engines do not look at all rows; and with a limit of rows it matters which come first */
	if (parts <= 1 || (!by_vectors && !db->index.engine->is_exact) || max_rows != 0 || wanted == 0)
		return 1;
	if (parts > bytes / PART_BYTES)
		parts = (unsigned) (bytes / PART_BYTES);
	return parts > 1 && wanted <= rows / parts / PART_WANTED_SHARE ? parts : 1;
}

static bool
is_part_cancelled(void *arg)
{
	const Part *part = arg;

	return atomic_load_explicit(&part->pass->stop, memory_order_relaxed) || iqdb_host_cancelled(&part->pass->db->host);
}

static void
search_part(Part *part)
{
	Pass *pass = part->pass;

	part->status =
		iqdbi_handle_collect(part->cursor, pass->by_vectors, part->hits, pass->wanted, &part->count, &part->error);
	if (part->status != IQDB_OK)
		atomic_store_explicit(&pass->stop, true, memory_order_relaxed);
}

static void *
part_main(void *arg)
{
	search_part(arg);
	return NULL;
}

/* A part with a cursor for the same as the caller's. */
static IqdbStatus
open_part(Part *part, const IqdbCursor *cursor, IqdbError *err)
{
	Iqdb *db = part->pass->db;

	part->host = db->host;
	part->host.cancelled = is_part_cancelled;
	part->host.cancel_arg = part;
	part->index = db->index;
	part->index.host = &part->host;
	part->index.store.host = &part->host;
	return iqdb_cursor_open(&part->index, cursor->vector, iqdb_options(db)->dimension, &cursor->params, &part->cursor, err);
}

/* Opens all parts but the first, which is the caller's cursor, and deals out the slots. */
static IqdbStatus
open_parts(Part *parts, unsigned count, IqdbCursor *cursor, IqdbHit *hits, IqdbError *err)
{
	uint32_t slots = atomic_load(&cursor->store->header->slot_count);
	uint32_t each = slots / count / PART_UNIT * PART_UNIT;

	for (unsigned i = 0; i < count; i++)
	{
		parts[i].hits = hits + i * parts[i].pass->wanted;
		if (i == 0)
			parts[i].cursor = cursor;
		else
			IQDB_TRY(open_part(&parts[i], cursor, err));
	}
	for (unsigned i = 0; i < count; i++)
	{
		parts[i].cursor->params.first_slot = i * each;
		parts[i].cursor->params.end_slot = i + 1 < count ? (i + 1) * each : 0;
	}
	return IQDB_OK;
}

static int
compare_hits(const void *a, const void *b)
{
	const IqdbHit *x = a;
	const IqdbHit *y = b;

	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	return x->sequence < y->sequence ? -1 : x->sequence > y->sequence;
}

/* Runs the parts, the first one here. A thread that cannot be started is done without. */
static void
run_parts(Part *parts, unsigned count)
{
	bool started[IQDBI_SEARCH_THREADS_MAX] = {false};

	for (unsigned i = 1; i < count; i++)
		started[i] = pthread_create(&parts[i].thread, NULL, part_main, &parts[i]) == 0;
	search_part(&parts[0]);
	for (unsigned i = 1; i < count; i++)
	{
		if (started[i])
			(void) pthread_join(parts[i].thread, NULL);
		else
			search_part(&parts[i]);
	}
}

/* The part that failed, if one did: those that were stopped for it tell less. */
static const Part *
failed_part(const Part *parts, unsigned count)
{
	const Part *failed = NULL;

	for (unsigned i = 0; i < count; i++)
	{
		if (parts[i].status != IQDB_OK && (failed == NULL || failed->status == IQDB_ERR_CANCELLED))
			failed = &parts[i];
	}
	return failed;
}

/* The best of all parts' hits, and one account of what was done. */
static size_t
join_parts(const Part *parts, unsigned count, size_t wanted, IqdbHit *hits)
{
	IqdbSearchStats *stats = &parts[0].cursor->stats;
	size_t           found = parts[0].count;

	for (unsigned i = 1; i < count; i++)
	{
		const IqdbSearchStats *part = &parts[i].cursor->stats;

		memmove(hits + found, parts[i].hits, parts[i].count * sizeof(*hits));
		found += parts[i].count;
		stats->scored += part->scored;
		stats->reranked += part->reranked;
		stats->filtered += part->filtered;
	}
	qsort(hits, found, sizeof(*hits), compare_hits);
	return found < wanted ? found : wanted;
}

IqdbStatus
iqdbi_handle_pass(Iqdb *db, IqdbCursor *cursor, bool by_vectors, unsigned count, size_t wanted, IqdbHit *hits,
				  size_t *count_out, IqdbError *err)
{
	Pass        pass = {.db = db, .by_vectors = by_vectors, .wanted = wanted};
	Part       *parts = iqdb_alloc_zero(&db->host.allocator, count * sizeof(*parts));
	const Part *failed;
	IqdbStatus  status;

	if (parts == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for a search by %u threads", count);
	for (unsigned i = 0; i < count; i++)
		parts[i].pass = &pass;
	status = open_parts(parts, count, cursor, hits, err);
	if (status == IQDB_OK)
	{
		run_parts(parts, count);
		failed = failed_part(parts, count);
		if (failed == NULL)
			*count_out = join_parts(parts, count, wanted, hits);
		else
		{
			status = failed->status;
			if (err != NULL)
				*err = failed->error;
		}
	}
	for (unsigned i = 1; i < count; i++)
	{
		if (parts[i].cursor != NULL)
			iqdb_cursor_close(parts[i].cursor);
	}
	iqdb_free(&db->host.allocator, parts, count * sizeof(*parts));
	return status;
}
