/*
 * handle_async.c - calls that a pool of threads makes for a program that does not wait for them.
 *
 * Owns: the queue, the threads, and copies of what calls were given. Does not own: what a call does; it is made by the public
 * functions, as a program's own thread would make it.
 *
 * One mutex for a pool: it guards the queue, the counts, and the references of pool and calls. It is never held while a call
 * is made or its callback runs. A call is referred to by the pool until its callback has returned, and by the program if it
 * asked for it; a pool by the program until it is destroyed, and by each call, so that a call may outlive its pool.
 */
#include "core/db/handle_private.h"

#include <stdatomic.h>
#include <string.h>

#include "core/db/index_private.h"
#include "core/meta/id.h"

#define THREADS_MAX 256

typedef enum CallKind
{
	CALL_UPSERT,
	CALL_BATCH,
	CALL_LOAD,
	CALL_DELETE,
	CALL_GET,
	CALL_SEARCH,
	CALL_OPTIMIZE,
	CALL_FLUSH
} CallKind;

/* A call and, behind it in the same allocation, the bytes it was given. */
struct IqdbCall
{
	IqdbPool        *pool;
	IqdbCall        *next;      /* in the queue */
	size_t           size;
	CallKind         kind;
	Iqdb            *db;
	const IqdbRow   *rows;      /* BATCH: behind the call; LOAD: the program's; else the one below */
	IqdbRow          row;
	size_t           count;
	size_t           dim;
	IqdbQuery        settings;  /* SEARCH */
	IqdbLoadSettings load;      /* LOAD */
	IqdbDone         done;
	void            *done_arg;
	_Atomic bool     cancelled;
	bool             finished;  /* the callback has returned; under the mutex, as the next */
	uint32_t         references;
};

struct IqdbPool
{
	IqdbAllocator   allocator;
	pthread_mutex_t mutex;
	pthread_cond_t  work;     /* there is a call in the queue, or stop */
	pthread_cond_t  progress; /* a call has finished */
	size_t          queue_max;
	unsigned        thread_count;

	/* under the mutex */
	IqdbCall *first;
	IqdbCall *last;
	size_t    waiting;
	size_t    running;
	size_t    references;
	bool      stop;

	pthread_t threads[];
};

static size_t
pool_size(unsigned threads)
{
	return sizeof(IqdbPool) + threads * sizeof(pthread_t);
}

/* ---- references: the mutex is held, and released by these ---- */

static void
leave_pool(IqdbPool *pool)
{
	bool          last = --pool->references == 0;
	IqdbAllocator allocator = pool->allocator;

	(void) pthread_mutex_unlock(&pool->mutex);
	if (!last)
		return;
	(void) pthread_cond_destroy(&pool->progress);
	(void) pthread_cond_destroy(&pool->work);
	(void) pthread_mutex_destroy(&pool->mutex);
	iqdb_free(&allocator, pool, pool_size(pool->thread_count));
}

static void
leave_call(IqdbCall *call)
{
	IqdbPool *pool = call->pool;

	if (--call->references > 0)
	{
		(void) pthread_mutex_unlock(&pool->mutex);
		return;
	}
	iqdb_free(&pool->allocator, call, call->size);
	leave_pool(pool);
}

/* ---- making a call ---- */

static bool
is_call_cancelled(void *arg)
{
	const IqdbCall *call = arg;

	return (call->settings.cancelled != NULL && call->settings.cancelled(call->settings.cancel_arg)) ||
		   atomic_load_explicit(&call->cancelled, memory_order_relaxed);
}

static IqdbStatus
search(IqdbCall *call, IqdbResult **result_out, IqdbError *err)
{
	IqdbQuery settings = call->settings;

	settings.cancelled = is_call_cancelled;
	settings.cancel_arg = call;
	return iqdb_search_query(call->db, call->row.vector, call->dim, &settings, result_out, err);
}

/* The progress of a loading, which a cancelled call ends. */
static bool
tell_of_load(void *arg, IqdbLoadPhase phase, uint64_t done, uint64_t total)
{
	const IqdbCall *call = arg;

	if (call->load.progress != NULL && !call->load.progress(call->load.progress_arg, phase, done, total))
		return false;
	return !is_call_cancelled(arg);
}

static IqdbStatus
load(IqdbCall *call, IqdbOutcome *outcome, IqdbError *err)
{
	IqdbLoadSettings settings = {.threads = call->load.threads, .progress = tell_of_load, .progress_arg = call};

	return iqdb_load(call->db, call->rows, call->count, call->dim, &settings, &outcome->stored, err);
}

static IqdbStatus
make_call(IqdbCall *call, IqdbOutcome *outcome, IqdbError *err)
{
	const IqdbRow *row = &call->row;

	if (is_call_cancelled(call))
		return iqdb_fail(err, IQDB_ERR_CANCELLED, "cancelled");
	switch (call->kind)
	{
		case CALL_UPSERT:
			return iqdb_upsert(call->db, row->id, row->vector, call->dim, row->metadata, row->metadata_length, err);
		case CALL_BATCH:
			return iqdb_upsert_batch(call->db, call->rows, call->count, call->dim, err);
		case CALL_LOAD:
			return load(call, outcome, err);
		case CALL_DELETE:
			return iqdb_delete(call->db, row->id, &outcome->deleted, err);
		case CALL_GET:
			return iqdb_get(call->db, row->id, &outcome->record, err);
		case CALL_SEARCH:
			return search(call, &outcome->result, err);
		case CALL_OPTIMIZE:
			return iqdb_optimize(call->db, err);
		case CALL_FLUSH:
			return iqdb_flush(call->db, err);
	}
	return iqdb_fail(err, IQDB_ERR_UNSUPPORTED, "unknown call");
}

/* Makes the call and tells of it. No lock is held. */
static void
run_call(IqdbCall *call)
{
	IqdbOutcome outcome;
	IqdbError   err;

	memset(&outcome, 0, sizeof(outcome));
	outcome.status = make_call(call, &outcome, &err);
	outcome.error = outcome.status != IQDB_OK ? &err : NULL;
	if (call->done != NULL)
	{
		call->done(call->done_arg, &outcome);
		return;
	}
	iqdb_result_free(outcome.result);
	iqdb_record_free(outcome.record);
}

/* The mutex is held: takes the first call of the queue. */
static IqdbCall *
take_call(IqdbPool *pool)
{
	IqdbCall *call = pool->first;

	pool->first = call->next;
	if (pool->first == NULL)
		pool->last = NULL;
	pool->waiting--;
	pool->running++;
	return call;
}

static void *
worker_main(void *arg)
{
	IqdbPool *pool = arg;

	(void) pthread_mutex_lock(&pool->mutex);
	for (;;)
	{
		IqdbCall *call;

		while (pool->first == NULL && !pool->stop)
			(void) pthread_cond_wait(&pool->work, &pool->mutex);
		if (pool->first == NULL)
			break;
		call = take_call(pool);
		(void) pthread_mutex_unlock(&pool->mutex);
		run_call(call);
		(void) pthread_mutex_lock(&pool->mutex);
		call->finished = true;
		pool->running--;
		(void) pthread_cond_broadcast(&pool->progress);
		/* the pool itself stays: its threads are joined before it goes */
		leave_call(call);
		(void) pthread_mutex_lock(&pool->mutex);
	}
	(void) pthread_mutex_unlock(&pool->mutex);
	return NULL;
}

/* ---- the pool ---- */

static IqdbStatus
make_pool_locks(IqdbPool *pool, IqdbError *err)
{
	if (pthread_mutex_init(&pool->mutex, NULL) != 0)
		goto no_mutex;
	if (pthread_cond_init(&pool->work, NULL) != 0)
		goto no_work;
	if (pthread_cond_init(&pool->progress, NULL) != 0)
		goto no_progress;
	return IQDB_OK;

no_progress:
	(void) pthread_cond_destroy(&pool->work);
no_work:
	(void) pthread_mutex_destroy(&pool->mutex);
no_mutex:
	return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for locks");
}

/* Ends the first `started` threads, which make all calls that wait before they go. */
static void
join_threads(IqdbPool *pool, unsigned started)
{
	(void) pthread_mutex_lock(&pool->mutex);
	pool->stop = true;
	(void) pthread_cond_broadcast(&pool->work);
	(void) pthread_mutex_unlock(&pool->mutex);
	while (started > 0)
		(void) pthread_join(pool->threads[--started], NULL);
}

IqdbStatus
iqdb_pool_create(const IqdbPoolConfig *config, IqdbPool **pool_out, IqdbError *err)
{
	const IqdbAllocator *allocator = config->allocator != NULL ? config->allocator : &iqdb_allocator_libc;
	unsigned             threads = config->threads != 0 ? config->threads : 1;
	unsigned             started = 0;
	IqdbPool            *pool;
	IqdbStatus           status;

	*pool_out = NULL;
	if (threads > THREADS_MAX)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "a pool has at most %d threads, not %u", THREADS_MAX, threads);
	pool = iqdb_alloc_zero(allocator, pool_size(threads));
	if (pool == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for a pool");
	pool->allocator = *allocator;
	pool->queue_max = config->queue_max;
	pool->thread_count = threads;
	pool->references = 1;
	status = make_pool_locks(pool, err);
	if (status != IQDB_OK)
	{
		iqdb_free(allocator, pool, pool_size(threads));
		return status;
	}
	while (started < threads && pthread_create(&pool->threads[started], NULL, worker_main, pool) == 0)
		started++;
	if (started < threads)
	{
		join_threads(pool, started);
		(void) pthread_mutex_lock(&pool->mutex);
		leave_pool(pool);
		return iqdb_fail(err, IQDB_ERR_NOMEM, "only %u of %u threads could be started", started, threads);
	}
	*pool_out = pool;
	return IQDB_OK;
}

void
iqdb_pool_wait(IqdbPool *pool)
{
	(void) pthread_mutex_lock(&pool->mutex);
	while (pool->waiting + pool->running > 0)
		(void) pthread_cond_wait(&pool->progress, &pool->mutex);
	(void) pthread_mutex_unlock(&pool->mutex);
}

void
iqdb_pool_destroy(IqdbPool *pool)
{
	if (pool == NULL)
		return;
	join_threads(pool, pool->thread_count);
	(void) pthread_mutex_lock(&pool->mutex);
	leave_pool(pool);
}

/* ---- a call from the program's side ---- */

void
iqdb_call_cancel(IqdbCall *call)
{
	atomic_store_explicit(&call->cancelled, true, memory_order_relaxed);
}

void
iqdb_call_wait(IqdbCall *call)
{
	(void) pthread_mutex_lock(&call->pool->mutex);
	while (!call->finished)
		(void) pthread_cond_wait(&call->pool->progress, &call->pool->mutex);
	(void) pthread_mutex_unlock(&call->pool->mutex);
}

void
iqdb_call_free(IqdbCall *call)
{
	if (call == NULL)
		return;
	(void) pthread_mutex_lock(&call->pool->mutex);
	leave_call(call);
}

/* ---- handing calls over ---- */

/* A call with `extra` bytes behind it, which begin at call + 1. */
static IqdbStatus
new_call(IqdbPool *pool, CallKind kind, Iqdb *db, size_t extra, IqdbCall **call_out, IqdbError *err)
{
	size_t    size;
	IqdbCall *call;

	*call_out = NULL;
	if (!iqdb_add_size(sizeof(*call), extra, &size) || (call = iqdb_alloc(&pool->allocator, size)) == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for a call");
	memset(call, 0, sizeof(*call));
	atomic_init(&call->cancelled, false);
	call->pool = pool;
	call->size = size;
	call->kind = kind;
	call->db = db;
	*call_out = call;
	return IQDB_OK;
}

/* Puts the call at the end of the queue, or frees it. */
static IqdbStatus
hand_over(IqdbCall *call, IqdbDone done, void *arg, IqdbCall **call_out, IqdbError *err)
{
	IqdbPool *pool = call->pool;
	bool      full;

	call->done = done;
	call->done_arg = arg;
	call->references = call_out != NULL ? 2 : 1;
	(void) pthread_mutex_lock(&pool->mutex);
	full = pool->queue_max != 0 && pool->waiting >= pool->queue_max;
	if (!full)
	{
		if (pool->last != NULL)
			pool->last->next = call;
		else
			pool->first = call;
		pool->last = call;
		pool->waiting++;
		pool->references++;
		if (call_out != NULL)
			*call_out = call;
		(void) pthread_cond_signal(&pool->work);
	}
	(void) pthread_mutex_unlock(&pool->mutex);
	if (!full)
		return IQDB_OK;
	iqdb_free(&pool->allocator, call, call->size);
	return iqdb_fail(err, IQDB_ERR_LIMIT, "%zu calls wait already", pool->queue_max);
}

/* Where copies of what rows point to go: vectors in front, which are aligned there as a program's are. */
typedef struct CallRoom
{
	unsigned char *vectors;
	unsigned char *bytes;
} CallRoom;

static void
copy_row(IqdbRow *to, const IqdbRow *from, size_t vector_size, CallRoom *room)
{
	*to = *from;
	if (vector_size > 0)
	{
		memcpy(room->vectors, from->vector, vector_size);
		to->vector = room->vectors;
		room->vectors += vector_size;
	}
	if (from->metadata_length > 0)
	{
		memcpy(room->bytes, from->metadata, from->metadata_length);
		to->metadata = room->bytes;
		room->bytes += from->metadata_length;
	}
	if (from->id.kind == IQDB_ID_BYTES)
	{
		memcpy(room->bytes, from->id.bytes, from->id.length);
		to->id.bytes = room->bytes;
		room->bytes += from->id.length;
	}
}

/* Adds what a row needs behind a call. */
static bool
add_row_size(size_t *size, const IqdbRow *row, size_t vector_size)
{
	return iqdb_add_size(*size, vector_size, size) && iqdb_add_size(*size, row->metadata_length, size) &&
		   iqdb_add_size(*size, row->id.kind == IQDB_ID_BYTES ? row->id.length : 0, size);
}

/* A call about `count` rows: a single one is kept in the call, several behind it. dim 0: they have no vectors. */
static IqdbStatus
new_row_call(IqdbPool *pool, CallKind kind, Iqdb *db, const IqdbRow *rows, size_t count, size_t dim, IqdbCall **call_out,
			 IqdbError *err)
{
	size_t    vector_size = iqdb_element_bytes(db->index.store.element, dim);
	size_t    array = 0;
	size_t    size;
	bool      fits = kind != CALL_BATCH || iqdb_mul_size(count, sizeof(*rows), &array);
	CallRoom  room;
	IqdbRow  *copies;
	IqdbCall *call;

	size = array;
	for (size_t i = 0; i < count && fits; i++)
		fits = add_row_size(&size, &rows[i], vector_size);
	if (!fits)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for a call");
	IQDB_TRY(new_call(pool, kind, db, size, &call, err));
	copies = kind == CALL_BATCH ? (IqdbRow *) (void *) (call + 1) : &call->row;
	call->rows = copies;
	call->count = count;
	call->dim = dim;
	room.vectors = (unsigned char *) (call + 1) + array;
	room.bytes = room.vectors + count * vector_size;
	for (size_t i = 0; i < count; i++)
		copy_row(&copies[i], &rows[i], vector_size, &room);
	*call_out = call;
	return IQDB_OK;
}

IqdbStatus
iqdb_upsert_async(IqdbPool *pool, Iqdb *db, const IqdbRow *row, size_t dim, IqdbDone done, void *arg, IqdbCall **call_out,
				  IqdbError *err)
{
	IqdbCall *call;

	if (call_out != NULL)
		*call_out = NULL;
	IQDB_TRY(iqdbi_handle_check_row(db, row, dim, err));
	IQDB_TRY(new_row_call(pool, CALL_UPSERT, db, row, 1, dim, &call, err));
	return hand_over(call, done, arg, call_out, err);
}

IqdbStatus
iqdb_upsert_batch_async(IqdbPool *pool, Iqdb *db, const IqdbRow *rows, size_t count, size_t dim, IqdbDone done, void *arg,
						IqdbCall **call_out, IqdbError *err)
{
	IqdbCall *call;

	if (call_out != NULL)
		*call_out = NULL;
	for (size_t i = 0; i < count; i++)
		IQDB_TRY(iqdbi_handle_check_row(db, &rows[i], dim, err));
	IQDB_TRY(new_row_call(pool, CALL_BATCH, db, rows, count, dim, &call, err));
	return hand_over(call, done, arg, call_out, err);
}

/* Rows to be loaded may be as many as memory holds once: they stay where they are, and are looked at by the call. */
IqdbStatus
iqdb_load_async(IqdbPool *pool, Iqdb *db, const IqdbRow *rows, size_t count, size_t dim, const IqdbLoadSettings *settings,
				IqdbDone done, void *arg, IqdbCall **call_out, IqdbError *err)
{
	IqdbCall *call;

	if (call_out != NULL)
		*call_out = NULL;
	IQDB_TRY(new_call(pool, CALL_LOAD, db, 0, &call, err));
	call->rows = rows;
	call->count = count;
	call->dim = dim;
	if (settings != NULL)
		call->load = *settings;
	return hand_over(call, done, arg, call_out, err);
}

/* A call that is about an id. */
static IqdbStatus
id_async(IqdbPool *pool, CallKind kind, Iqdb *db, IqdbId id, IqdbDone done, void *arg, IqdbCall **call_out, IqdbError *err)
{
	IqdbRow   row = {.id = id};
	IqdbCall *call;

	if (call_out != NULL)
		*call_out = NULL;
	IQDB_TRY(iqdb_id_check(id, err));
	IQDB_TRY(new_row_call(pool, kind, db, &row, 1, 0, &call, err));
	return hand_over(call, done, arg, call_out, err);
}

IqdbStatus
iqdb_delete_async(IqdbPool *pool, Iqdb *db, IqdbId id, IqdbDone done, void *arg, IqdbCall **call_out, IqdbError *err)
{
	return id_async(pool, CALL_DELETE, db, id, done, arg, call_out, err);
}

IqdbStatus
iqdb_get_async(IqdbPool *pool, Iqdb *db, IqdbId id, IqdbDone done, void *arg, IqdbCall **call_out, IqdbError *err)
{
	return id_async(pool, CALL_GET, db, id, done, arg, call_out, err);
}

IqdbStatus
iqdb_search_async(IqdbPool *pool, Iqdb *db, const void *query, size_t dim, const IqdbQuery *settings, IqdbDone done,
				  void *arg, IqdbCall **call_out, IqdbError *err)
{
	IqdbRow   row = {.id = iqdb_id_u64(0), .vector = query};
	IqdbCall *call;

	if (call_out != NULL)
		*call_out = NULL;
	IQDB_TRY(iqdbi_check_vector(&db->shape.options, db->kernels, query, dim, err));
	IQDB_TRY(new_row_call(pool, CALL_SEARCH, db, &row, 1, dim, &call, err));
	call->settings = *settings;
	return hand_over(call, done, arg, call_out, err);
}

/* A call about the whole database. */
static IqdbStatus
whole_async(IqdbPool *pool, CallKind kind, Iqdb *db, IqdbDone done, void *arg, IqdbCall **call_out, IqdbError *err)
{
	IqdbCall *call;

	if (call_out != NULL)
		*call_out = NULL;
	IQDB_TRY(new_call(pool, kind, db, 0, &call, err));
	return hand_over(call, done, arg, call_out, err);
}

IqdbStatus
iqdb_optimize_async(IqdbPool *pool, Iqdb *db, IqdbDone done, void *arg, IqdbCall **call_out, IqdbError *err)
{
	return whole_async(pool, CALL_OPTIMIZE, db, done, arg, call_out, err);
}

IqdbStatus
iqdb_flush_async(IqdbPool *pool, Iqdb *db, IqdbDone done, void *arg, IqdbCall **call_out, IqdbError *err)
{
	return whole_async(pool, CALL_FLUSH, db, done, arg, call_out, err);
}
