/*
 * handle_load.c - loading many rows: stored in batches, then linked by several threads.
 *
 * Rows are found from the moment on in which their batch is stored. What a thread links it takes from a common count, so that
 * none waits for another; an engine that has to see all rows before (lists are trained on them) builds in the caller's
 * thread, and the others assist.
 */
#define _POSIX_C_SOURCE 200809L
#include "core/db/handle_private.h"

#include <stdatomic.h>
#include <time.h>

/* What is stored as one write: so many rows or bytes, whichever are fewer. */
#define LOAD_ROWS 4096
#define LOAD_BYTES ((size_t) 8 * 1024 * 1024)

/* Rows that a thread takes at a time; between two the progress is told. */
#define LINK_ROWS 32

#define THREADS_MAX 256

typedef struct Load
{
	Iqdb                   *db;
	const IqdbLoadSettings *settings;
	const uint32_t         *slots;
	size_t                  count;
	bool                    builds; /* the engine links all rows at the end */
	_Atomic size_t          next;   /* the first row that nobody has taken */
	_Atomic bool            stop;   /* somebody failed, or the program wants no more; or the building is done */
	_Atomic int             status; /* the first failure of a thread */
} Load;

/* Tells how far it is; false: the program wants no more. */
static bool
tell(const Load *load, IqdbLoadPhase phase, size_t done)
{
	return load->settings->progress == NULL ||
		   load->settings->progress(load->settings->progress_arg, phase, done, load->count);
}

/* ---- storing ---- */

/* Rows from the first on that make one write. */
static size_t
next_write(const IqdbRow *rows, size_t left, size_t vector_size)
{
	size_t bytes = 0;
	size_t count = 0;

	while (count < left && count < LOAD_ROWS && bytes < LOAD_BYTES)
		bytes += vector_size + rows[count++].metadata_length;
	return count;
}

static IqdbStatus
store_rows(const Load *load, const IqdbRow *rows, size_t dim, uint32_t *slots, size_t *stored_out, IqdbError *err)
{
	size_t vector_size = iqdb_element_bytes(load->db->index.store.element, iqdb_options(load->db)->dimension);

	while (*stored_out < load->count)
	{
		size_t count = next_write(rows + *stored_out, load->count - *stored_out, vector_size);

		if (!tell(load, IQDB_LOAD_STORING, *stored_out))
			return iqdb_fail(err, IQDB_ERR_CANCELLED, "cancelled");
		IQDB_TRY(iqdbi_handle_store_batch(load->db, rows + *stored_out, count, dim, slots + *stored_out, err));
		*stored_out += count;
	}
	return tell(load, IQDB_LOAD_STORING, load->count) ? IQDB_OK : iqdb_fail(err, IQDB_ERR_CANCELLED, "cancelled");
}

/* ---- linking ---- */

/* Links some rows that nobody has taken; false when there are none left, or somebody failed. */
static bool
link_some(Load *load, size_t *first_out)
{
	size_t     first = atomic_fetch_add_explicit(&load->next, LINK_ROWS, memory_order_relaxed);
	size_t     count;
	IqdbStatus status;

	if (first >= load->count || atomic_load_explicit(&load->stop, memory_order_relaxed))
		return false;
	*first_out = first;
	count = load->count - first < LINK_ROWS ? load->count - first : LINK_ROWS;
	status = iqdbi_handle_link(load->db, load->slots + first, count);
	if (status != IQDB_OK)
	{
		int none = IQDB_OK;

		(void) atomic_compare_exchange_strong(&load->status, &none, (int) status);
		atomic_store(&load->stop, true);
	}
	return status == IQDB_OK;
}

/* Takes shares of the building until it is done. */
static void
assist(Load *load)
{
	const struct timespec pause = {.tv_nsec = 500000};

	while (!atomic_load(&load->stop))
	{
		bool       worked = false;
		IqdbStatus status = iqdb_index_assist(&load->db->index, &worked, NULL);

		/* the one that builds hears of a failure, too */
		if (status != IQDB_OK || !worked)
			(void) nanosleep(&pause, NULL);
	}
}

static void *
helper_main(void *arg)
{
	Load  *load = arg;
	size_t first;

	if (load->builds)
		assist(load);
	else
	{
		while (link_some(load, &first))
			continue;
	}
	return NULL;
}

/* The caller's own part of the linking. The writer mutex is held where it builds, which nobody moves the arena under. */
static IqdbStatus
link_here(Load *load, IqdbError *err)
{
	size_t first = 0;

	if (load->builds)
		return iqdb_index_maintain(&load->db->index, IQDB_MAINTAIN_BUILD, err);
	while (link_some(load, &first))
	{
		if (!tell(load, IQDB_LOAD_LINKING, first))
		{
			atomic_store(&load->stop, true);
			return iqdb_fail(err, IQDB_ERR_CANCELLED, "cancelled");
		}
	}
	return IQDB_OK;
}

/* A thread that cannot be started is done without. */
static IqdbStatus
link_by_threads(Load *load, IqdbError *err)
{
	pthread_t  threads[THREADS_MAX];
	unsigned   wanted = load->settings->threads < THREADS_MAX ? load->settings->threads : THREADS_MAX;
	unsigned   count = 0;
	IqdbStatus status;

	while (count + 1 < wanted && pthread_create(&threads[count], NULL, helper_main, load) == 0)
		count++;
	status = link_here(load, err);
	if (load->builds)
		atomic_store(&load->stop, true);
	while (count > 0)
		(void) pthread_join(threads[--count], NULL);
	if (status == IQDB_OK && atomic_load(&load->status) != IQDB_OK)
		status = iqdb_fail(err, (IqdbStatus) atomic_load(&load->status), "a row could not be linked");
	return status;
}

static IqdbStatus
link_all(Load *load, IqdbError *err)
{
	Iqdb      *db = load->db;
	IqdbStatus status;

	if (db->shape.options.engine == IQDB_ENGINE_FLAT)
		return IQDB_OK;
	if (!tell(load, IQDB_LOAD_LINKING, 0))
		return iqdb_fail(err, IQDB_ERR_CANCELLED, "cancelled");
	/* where there was something before, there are lists that rows can be put into */
	load->builds = db->index.engine->links_at_end && iqdb_len(db) <= load->count;
	if (load->builds)
		pthread_mutex_lock(&db->writer);
	status = link_by_threads(load, err);
	if (load->builds)
	{
		db->dirty = true;
		pthread_mutex_unlock(&db->writer);
		iqdb_clear_cache(db);
	}
	if (status == IQDB_OK && !tell(load, IQDB_LOAD_LINKING, load->count))
		return iqdb_fail(err, IQDB_ERR_CANCELLED, "cancelled");
	return status;
}

IqdbStatus
iqdb_load(Iqdb *db, const IqdbRow *rows, size_t count, size_t dim, const IqdbLoadSettings *settings, size_t *stored_out,
		  IqdbError *err)
{
	static const IqdbLoadSettings defaults = {.threads = 1};
	Load       load = {.db = db, .settings = settings != NULL ? settings : &defaults, .count = count};
	uint64_t   begun = iqdbi_trace_begin(db);
	size_t     stored = 0;
	size_t     size;
	uint32_t  *slots;
	IqdbStatus status;

	if (stored_out != NULL)
		*stored_out = 0;
	if (count == 0)
		return IQDB_OK;
	if (!iqdb_mul_size(count, sizeof(*slots), &size) || (slots = iqdb_alloc(&db->host.allocator, size)) == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for %zu rows", count);
	load.slots = slots;
	status = store_rows(&load, rows, dim, slots, &stored, err);
	if (status == IQDB_OK)
		status = link_all(&load, err);
	iqdb_free(&db->host.allocator, slots, size);
	if (stored_out != NULL)
		*stored_out = stored;
	iqdbi_trace_end(db, IQDB_TRACE_LOAD, begun, status, stored, NULL);
	return status;
}
