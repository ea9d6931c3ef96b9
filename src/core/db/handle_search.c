/*
 * handle_search.c - look-up and search, and the self-contained results they give.
 *
 * Everything is read under the shared gate: no write takes effect meanwhile, so a search sees one moment, and a row that
 * was found is still there when its metadata is copied.
 */
#include "core/db/handle_private.h"
#include "core/engine/exact_pass.h"
#include "core/engine/strategy.h"

#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

/* Hits of a usual search are collected on the stack. */
#define HITS_ON_STACK 64

/*
 * A graph over so few rows is slower than a look at all of them: at 64 dimensions and 1000 rows 31 us against 6, and what is
 * found is exact then. Where the program says how wide the graph is to be searched (ef), or filters, the engine decides.
 */
#define SMALL_ROWS 2048
#define SMALL_BYTES ((uint64_t) 512 * 1024)

/* Of one search, as of an index. */
#define REFINE_MAX 10000

/* Queries of a batch that are answered in one moment, and, where the engine can, in one pass over the rows. */
#define BATCH_TOGETHER 16

/*
 * What a record or a result is allocated with. A result may be shared with the cache and with other callers, and is never
 * written to but for the count.
 */
typedef struct HeldRecord
{
	IqdbAllocator allocator;
	size_t        size;
	IqdbRecord    record;
} HeldRecord;

typedef struct HeldResult
{
	_Atomic uint32_t references;
	IqdbAllocator    allocator;
	size_t           size;
	IqdbResult       result;
} HeldResult;

static HeldResult *
held_result(IqdbResult *result)
{
	return (HeldResult *) (void *) ((unsigned char *) result - offsetof(HeldResult, result));
}

/* ---- look-up ---- */

static IqdbRecord *
make_record(const Iqdb *db, size_t metadata_length, unsigned char **metadata_out, void **vector_out)
{
	size_t      dim = iqdb_options(db)->dimension;
	size_t      vector_size = iqdb_element_bytes(db->index.store.element, dim);
	size_t      size = sizeof(HeldRecord) + vector_size + metadata_length;
	HeldRecord *held = iqdb_alloc_zero(&db->host.allocator, size);

	if (held == NULL)
		return NULL;
	*vector_out = held + 1;
	*metadata_out = (unsigned char *) (held + 1) + vector_size;
	held->record.dim = dim;
	held->record.vector = *vector_out;
	held->record.metadata = metadata_length > 0 ? *metadata_out : NULL;
	held->record.metadata_length = metadata_length;
	held->allocator = db->host.allocator;
	held->size = size;
	return &held->record;
}

IqdbStatus
iqdb_get(Iqdb *db, IqdbId id, IqdbRecord **record_out, IqdbError *err)
{
	IqdbStatus     status = IQDB_OK;
	uint64_t       begun = iqdbi_trace_begin(db);
	unsigned char *metadata;
	void          *vector;
	size_t         length;

	*record_out = NULL;
	iqdbi_handle_gate(db, false);
	if (iqdb_index_get(&db->index, id, NULL, NULL, 0, &length))
	{
		*record_out = make_record(db, length, &metadata, &vector);
		if (*record_out == NULL)
			status = iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for a row");
		else
			(void) iqdb_index_get(&db->index, id, vector, metadata, length, &length);
	}
	iqdbi_handle_gate_leave(db, false);
	iqdbi_trace_end(db, IQDB_TRACE_GET, begun, status, *record_out != NULL ? 1 : 0, NULL);
	return status;
}

void
iqdb_record_free(IqdbRecord *record)
{
	HeldRecord   *held;
	IqdbAllocator allocator;

	if (record == NULL)
		return;
	held = (HeldRecord *) (void *) ((unsigned char *) record - offsetof(HeldRecord, record));
	allocator = held->allocator;
	iqdb_free(&allocator, held, held->size);
}

/* ---- results ---- */

/* Size of a result with these hits; false when it does not fit. */
static bool
result_size(const IqdbStore *store, const IqdbHit *hits, size_t count, size_t *size_out)
{
	size_t size;

	if (!iqdb_mul_size(count, sizeof(IqdbFound), &size) || !iqdb_add_size(size, sizeof(HeldResult), &size))
		return false;
	for (size_t i = 0; i < count; i++)
	{
		IqdbId id = iqdb_store_id(store, hits[i].slot);
		size_t metadata_length;

		(void) iqdb_store_metadata(store, hits[i].slot, &metadata_length);
		if (!iqdb_add_size(size, metadata_length, &size))
			return false;
		if (id.kind == IQDB_ID_BYTES && !iqdb_add_size(size, id.length, &size))
			return false;
	}
	*size_out = size;
	return true;
}

/* Copies one hit; *at is where the result's bytes go on. */
static void
copy_found(const IqdbStore *store, const IqdbHit *hit, IqdbFound *found, unsigned char **at)
{
	IqdbMetric           metric = (IqdbMetric) store->header->options.metric;
	const unsigned char *metadata = iqdb_store_metadata(store, hit->slot, &found->metadata_length);

	found->id = iqdb_store_id(store, hit->slot);
	found->distance = (float) iqdb_metric_distance(metric, hit->key);
	found->metadata = NULL;
	if (found->id.kind == IQDB_ID_BYTES)
	{
		memcpy(*at, found->id.bytes, found->id.length);
		found->id.bytes = *at;
		*at += found->id.length;
	}
	if (metadata != NULL)
	{
		memcpy(*at, metadata, found->metadata_length);
		found->metadata = *at;
		*at += found->metadata_length;
	}
}

static IqdbStatus
make_result(const Iqdb *db, const IqdbHit *hits, size_t count, const IqdbSearchStats *stats, IqdbResult **result_out,
			IqdbError *err)
{
	const IqdbStore *store = &db->index.store;
	size_t           size;
	HeldResult      *held;
	IqdbFound       *found;
	unsigned char   *at;

	if (!result_size(store, hits, count, &size) || (held = iqdb_alloc(&db->host.allocator, size)) == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for a result of %zu rows", count);
	found = (IqdbFound *) (void *) (held + 1);
	at = (unsigned char *) (found + count);
	for (size_t i = 0; i < count; i++)
		copy_found(store, &hits[i], &found[i], &at);
	held->result.count = count;
	held->result.found = found;
	held->result.stats = *stats;
	atomic_init(&held->references, 1);
	held->allocator = db->host.allocator;
	held->size = size;
	*result_out = &held->result;
	return IQDB_OK;
}

IqdbResult *
iqdbi_handle_copy_result(const IqdbAllocator *allocator, const IqdbFound *found, size_t count)
{
	size_t         size;
	HeldResult    *held;
	IqdbFound     *copies;
	unsigned char *at;

	if (!iqdb_mul_size(count, sizeof(IqdbFound), &size) || !iqdb_add_size(size, sizeof(HeldResult), &size))
		return NULL;
	for (size_t i = 0; i < count; i++)
	{
		if (!iqdb_add_size(size, found[i].metadata_length, &size) || !iqdb_add_size(size, found[i].id.length, &size))
			return NULL;
	}
	held = iqdb_alloc_zero(allocator, size);
	if (held == NULL)
		return NULL;
	copies = (IqdbFound *) (void *) (held + 1);
	at = (unsigned char *) (copies + count);
	for (size_t i = 0; i < count; i++)
	{
		copies[i] = found[i];
		if (found[i].id.kind == IQDB_ID_BYTES)
		{
			copies[i].id.bytes = memcpy(at, found[i].id.bytes, found[i].id.length);
			at += found[i].id.length;
		}
		if (found[i].metadata != NULL)
		{
			copies[i].metadata = memcpy(at, found[i].metadata, found[i].metadata_length);
			at += found[i].metadata_length;
		}
	}
	held->result.count = count;
	held->result.found = copies;
	atomic_init(&held->references, 1);
	held->allocator = allocator != NULL ? *allocator : iqdb_allocator_libc;
	held->size = size;
	return &held->result;
}

void
iqdb_result_free(IqdbResult *result)
{
	HeldResult   *held;
	IqdbAllocator allocator;

	if (result == NULL)
		return;
	held = held_result(result);
	if (atomic_fetch_sub_explicit(&held->references, 1, memory_order_acq_rel) > 1)
		return;
	allocator = held->allocator;
	iqdb_free(&allocator, held, held->size);
}

/* ---- cache ---- */

static void
retain_result(void *value)
{
	atomic_fetch_add_explicit(&held_result(value)->references, 1, memory_order_relaxed);
}

static void
release_result(void *value)
{
	iqdb_result_free(value);
}

IqdbStatus
iqdbi_handle_make_cache(Iqdb *db, const IqdbConfig *config, IqdbError *err)
{
	if (!config->use_cache)
		return IQDB_OK;
	return iqdb_cache_create(&db->host.allocator, &config->cache, (IqdbCacheValueOps){retain_result, release_result},
							 &db->cache, err);
}

/* Grows with every write. */
static uint64_t
data_version(const Iqdb *db)
{
	return atomic_load_explicit(&db->version, memory_order_acquire);
}

static IqdbResult *
cache_look_up(Iqdb *db, const IqdbCacheKey *key, uint64_t version)
{
	IqdbResult *result;

	pthread_mutex_lock(&db->cache_mutex);
	result = iqdb_cache_get(db->cache, key, version, iqdbi_handle_now());
	pthread_mutex_unlock(&db->cache_mutex);
	return result;
}

static void
cache_store(Iqdb *db, const IqdbCacheKey *key, IqdbResult *result, uint64_t version)
{
	pthread_mutex_lock(&db->cache_mutex);
	iqdb_cache_put(db->cache, key, result, version, iqdbi_handle_now());
	pthread_mutex_unlock(&db->cache_mutex);
}

void
iqdb_clear_cache(Iqdb *db)
{
	if (db->cache == NULL)
		return;
	pthread_mutex_lock(&db->cache_mutex);
	iqdb_cache_clear(db->cache);
	pthread_mutex_unlock(&db->cache_mutex);
}

bool
iqdb_cache_stats(Iqdb *db, IqdbCacheStats *stats_out)
{
	memset(stats_out, 0, sizeof(*stats_out));
	if (db->cache == NULL)
		return false;
	pthread_mutex_lock(&db->cache_mutex);
	iqdb_cache_read_stats(db->cache, stats_out);
	pthread_mutex_unlock(&db->cache_mutex);
	return true;
}

/* ---- search ---- */

/* Takes hits until there are wanted ones, or no more. */
static IqdbStatus
take_hits(IqdbCursor *cursor, IqdbHit *hits, size_t wanted, size_t *count_out, IqdbError *err)
{
	size_t count = 0;
	size_t more = 1;

	while (count < wanted && more > 0)
	{
		IQDB_TRY(iqdb_cursor_next(cursor, hits + count, wanted - count, &more, err));
		count += more;
	}
	*count_out = count;
	return IQDB_OK;
}

/* The best of the slots that the cursor's parameters name, by their vectors. */
static IqdbStatus
look_at_rows(IqdbCursor *cursor, IqdbHit *hits, size_t wanted, size_t *count_out, IqdbError *err)
{
	IqdbExactSearch search;
	IqdbTopK        top;
	size_t          at = 0;
	IqdbStatus      status = IQDB_OK;

	iqdb_stats_exact(&cursor->stats);
	iqdb_topk_init(&top, &cursor->store->host->allocator, wanted);
	iqdb_exact_search_init(&search, &cursor->scorer, &top, &cursor->stats);
	search.max_rows = cursor->params.max_rows;
	if (wanted > 0)
		status = iqdb_exact_pass_alone(&search, cursor->params.first_slot, iqdb_exact_end(cursor), err);
	iqdb_topk_sort(&top);
	/* nothing dies under the gate, so that all of them are handed out */
	*count_out =
		status == IQDB_OK && wanted > 0 ? iqdb_engine_hand_out(cursor->store, top.items, &at, top.count, hits, wanted) : 0;
	iqdb_topk_free(&top);
	return status;
}

IqdbStatus
iqdbi_handle_collect(IqdbCursor *cursor, bool by_vectors, IqdbHit *hits, size_t wanted, size_t *count_out, IqdbError *err)
{
	return by_vectors ? look_at_rows(cursor, hits, wanted, count_out, err) : take_hits(cursor, hits, wanted, count_out, err);
}

/*
 * Gate held. The nearest rows, by_vectors: by comparing the query with every row, in place of asking the engine. A cursor that
 * was begun with others has found rows already, so it is not shared by threads.
 */
static IqdbStatus
search_cursor(Iqdb *db, IqdbCursor *cursor, bool by_vectors, bool alone, size_t k, IqdbResult **result_out, IqdbError *err)
{
	IqdbHit    on_stack[HITS_ON_STACK];
	IqdbHit   *hits = on_stack;
	uint64_t   live = iqdb_index_live_count(&db->index);
	size_t     wanted = k < live ? k : (size_t) live;
	unsigned   parts = alone ? iqdbi_handle_parts(db, by_vectors, wanted, cursor->params.max_rows) : 1;
	size_t     size = 0;
	size_t     count = 0;
	IqdbStatus status;

	if (wanted > HITS_ON_STACK / parts)
	{
		if (!iqdb_mul_size(wanted, parts * sizeof(IqdbHit), &size) ||
			(hits = iqdb_alloc(&db->host.allocator, size)) == NULL)
			return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for %zu rows", wanted);
	}
	status = parts > 1 ? iqdbi_handle_pass(db, cursor, by_vectors, parts, wanted, hits, &count, err)
					   : iqdbi_handle_collect(cursor, by_vectors, hits, wanted, &count, err);
	if (status == IQDB_OK)
		status = make_result(db, hits, count, &cursor->stats, result_out, err);
	if (hits != on_stack)
		iqdb_free(&db->host.allocator, hits, size);
	return status;
}

/* Gate held: is this search to look at all rows, because the program wants that or because it is quicker? */
static bool
looks_at_all(const Iqdb *db, const IqdbQuery *settings)
{
	uint64_t live = iqdb_index_live_count(&db->index);

	if (settings->exact)
		return true;
	return db->shape.options.engine == IQDB_ENGINE_HNSW && settings->ef == 0 && settings->filter == NULL &&
		   live <= SMALL_ROWS && live * db->index.store.row_stride <= SMALL_BYTES;
}

/* A view of the index for one call that may be cancelled by itself. */
typedef struct CallView
{
	const IqdbHost  *handle;
	const IqdbQuery *settings;
	IqdbHost         host;
	IqdbIndex        index;
} CallView;

static bool
is_call_cancelled(void *arg)
{
	const CallView *view = arg;

	return view->settings->cancelled(view->settings->cancel_arg) || iqdb_host_cancelled(view->handle);
}

/* Gate held. The index, as this call is to see it. */
static IqdbIndex *
view_for_call(Iqdb *db, const IqdbQuery *settings, CallView *view)
{
	if (settings->cancelled == NULL)
		return &db->index;
	view->handle = &db->host;
	view->settings = settings;
	view->host = db->host;
	view->host.cancelled = is_call_cancelled;
	view->host.cancel_arg = view;
	view->index = db->index;
	view->index.host = &view->host;
	view->index.store.host = &view->host;
	return &view->index;
}

IqdbStatus
iqdbi_handle_search(Iqdb *db, const void *query, size_t dim, const IqdbQuery *settings, IqdbResult **result_out,
					uint64_t *version_out, IqdbError *err)
{
	IqdbFieldsFilter filter;
	IqdbSearchParams params = {.expected = settings->k,
							   .ef = settings->ef,
							   .probes = settings->probes,
							   .refine = settings->refine,
							   .max_rows = settings->max_rows};
	IqdbCursor      *cursor;
	CallView         view;
	IqdbStatus       status;

	*result_out = NULL;
	/* engines ask between two stretches of work: short searches have one */
	if (settings->cancelled != NULL && settings->cancelled(settings->cancel_arg))
		return iqdb_fail(err, IQDB_ERR_CANCELLED, "cancelled");
	if (settings->refine > REFINE_MAX)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "refine is %u, it must be between 0 and %d", settings->refine, REFINE_MAX);
	if (settings->filter != NULL)
		params.filter = iqdb_fields_filter(&db->shape.fields, settings->filter, &filter);
	iqdbi_handle_gate(db, false);
	*version_out = data_version(db);
	status = iqdb_cursor_open(view_for_call(db, settings, &view), query, dim, &params, &cursor, err);
	if (status == IQDB_OK)
	{
		status = search_cursor(db, cursor, looks_at_all(db, settings), true, settings->k, result_out, err);
		iqdb_cursor_close(cursor);
	}
	iqdbi_handle_gate_leave(db, false);
	return status;
}

static IqdbCacheKey
cache_key(const Iqdb *db, const void *query, size_t dim, const IqdbQuery *settings)
{
	return (IqdbCacheKey){.query = query,
						  .query_size = iqdb_element_bytes(db->index.store.element, dim),
						  .dim = dim,
						  .k = settings->k,
						  .max_rows = settings->max_rows,
						  .ef = settings->ef,
						  .probes = settings->probes,
						  .refine = settings->refine,
						  .filter = settings->filter};
}

/* Asks the cache first, if there is one and the settings let it. */
static IqdbStatus
search_or_remember(Iqdb *db, const void *query, size_t dim, const IqdbQuery *settings, IqdbResult **result_out,
				   IqdbError *err)
{
	IqdbCacheKey key = cache_key(db, query, dim, settings);
	uint64_t     version;

	*result_out = NULL;
	if (db->cache == NULL || settings->exact)
		return iqdbi_handle_search(db, query, dim, settings, result_out, &version, err);
	/* what was put away at the version of this moment is the answer of this moment: no gate is needed */
	*result_out = cache_look_up(db, &key, data_version(db));
	if (*result_out != NULL)
		return IQDB_OK;
	IQDB_TRY(iqdbi_handle_search(db, query, dim, settings, result_out, &version, err));
	cache_store(db, &key, *result_out, version);
	return IQDB_OK;
}

IqdbStatus
iqdb_search_query(Iqdb *db, const void *query, size_t dim, const IqdbQuery *settings, IqdbResult **result_out,
				  IqdbError *err)
{
	uint64_t   begun = iqdbi_trace_begin(db);
	IqdbStatus status = search_or_remember(db, query, dim, settings, result_out, err);

	iqdbi_trace_end(db, IQDB_TRACE_SEARCH, begun, status, *result_out != NULL ? (*result_out)->count : 0,
					*result_out != NULL ? &(*result_out)->stats : NULL);
	return status;
}

IqdbStatus
iqdb_search_with(Iqdb *db, const void *query, size_t dim, size_t k, const IqdbFilter *filter,
				 IqdbResult **result_out, IqdbError *err)
{
	IqdbQuery settings = {.k = k, .filter = filter};

	return iqdb_search_query(db, query, dim, &settings, result_out, err);
}

IqdbStatus
iqdb_search(Iqdb *db, const void *query, size_t dim, size_t k, IqdbResult **result_out, IqdbError *err)
{
	return iqdb_search_with(db, query, dim, k, NULL, result_out, err);
}

/* ---- batches ---- */

typedef struct Batch
{
	Iqdb            *db;
	const void      *queries;
	size_t           dim;
	const IqdbQuery *settings;
	IqdbResult     **results;
	IqdbSearchParams params;
	size_t           waiting[BATCH_TOGETHER]; /* numbers of queries that no cache has answered */
	size_t           waiting_count;
} Batch;

static const void *
batch_query(const Batch *batch, size_t number)
{
	return (const unsigned char *) batch->queries +
		   number * iqdb_element_bytes(batch->db->index.store.element, batch->dim);
}

/* Gate held. Opens cursors for all that wait; *opened_out of them are open, whatever the status. */
static IqdbStatus
open_cursors(const Batch *batch, IqdbCursor **cursors, size_t *opened_out, IqdbError *err)
{
	for (*opened_out = 0; *opened_out < batch->waiting_count; (*opened_out)++)
		IQDB_TRY(iqdb_cursor_open(&batch->db->index, batch_query(batch, batch->waiting[*opened_out]), batch->dim,
								  &batch->params, &cursors[*opened_out], err));
	if (batch->settings->k == 0 || looks_at_all(batch->db, batch->settings))
		return IQDB_OK;
	return iqdb_cursors_begin(cursors, batch->waiting_count, err);
}

/* Answers all that wait, in one moment. */
static IqdbStatus
search_together(Batch *batch, IqdbError *err)
{
	Iqdb       *db = batch->db;
	IqdbCursor *cursors[BATCH_TOGETHER];
	size_t      opened;
	uint64_t    version;
	IqdbStatus  status;

	iqdbi_handle_gate(db, false);
	version = data_version(db);
	status = open_cursors(batch, cursors, &opened, err);
	for (size_t i = 0; i < opened; i++)
	{
		IqdbResult **result = &batch->results[batch->waiting[i]];

		if (status == IQDB_OK)
			status = search_cursor(db, cursors[i], looks_at_all(db, batch->settings), false, batch->settings->k, result, err);
		iqdb_cursor_close(cursors[i]);
	}
	iqdbi_handle_gate_leave(db, false);
	for (size_t i = 0; i < opened && status == IQDB_OK && db->cache != NULL; i++)
	{
		size_t       number = batch->waiting[i];
		IqdbCacheKey key = cache_key(db, batch_query(batch, number), batch->dim, batch->settings);

		cache_store(db, &key, batch->results[number], version);
	}
	batch->waiting_count = 0;
	return status;
}

static IqdbStatus
search_all(Batch *batch, size_t count, IqdbError *err)
{
	for (size_t i = 0; i < count; i++)
	{
		if (batch->db->cache != NULL)
		{
			IqdbCacheKey key = cache_key(batch->db, batch_query(batch, i), batch->dim, batch->settings);

			batch->results[i] = cache_look_up(batch->db, &key, data_version(batch->db));
		}
		if (batch->results[i] == NULL)
			batch->waiting[batch->waiting_count++] = i;
		if (batch->waiting_count == BATCH_TOGETHER)
			IQDB_TRY(search_together(batch, err));
	}
	return batch->waiting_count > 0 ? search_together(batch, err) : IQDB_OK;
}

IqdbStatus
iqdb_search_batch_with(Iqdb *db, const void *queries, size_t count, size_t dim, size_t k, const IqdbFilter *filter,
					   IqdbResult **results, IqdbError *err)
{
	IqdbQuery        settings = {.k = k, .filter = filter};
	Batch            batch = {.db = db, .queries = queries, .dim = dim, .settings = &settings, .results = results,
							  .params = {.expected = k}};
	uint64_t         begun = iqdbi_trace_begin(db);
	IqdbFieldsFilter row_filter;
	IqdbStatus       status;

	if (filter != NULL)
		batch.params.filter = iqdb_fields_filter(&db->shape.fields, filter, &row_filter);
	for (size_t i = 0; i < count; i++)
		results[i] = NULL;
	status = search_all(&batch, count, err);
	for (size_t i = 0; i < count && status != IQDB_OK; i++)
	{
		iqdb_result_free(results[i]);
		results[i] = NULL;
	}
	iqdbi_trace_end(db, IQDB_TRACE_SEARCH_BATCH, begun, status, count, NULL);
	return status;
}

IqdbStatus
iqdb_search_batch(Iqdb *db, const void *queries, size_t count, size_t dim, size_t k, IqdbResult **results,
				  IqdbError *err)
{
	return iqdb_search_batch_with(db, queries, count, dim, k, NULL, results, err);
}
