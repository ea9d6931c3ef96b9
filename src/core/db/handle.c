/*
 * handle.c - the embedded database as a whole: configuration, closing, numbers, verification.
 *
 * Owns: what does not belong to opening (handle_open.c), writing (handle_write.c), searching (handle_search.c) or
 * checkpoints (handle_checkpoint.c).
 */
#define _POSIX_C_SOURCE 200809L
#include "core/db/handle_private.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define CHECKPOINT_BYTES_DEFAULT (UINT64_C(64) * 1024 * 1024)
#define FSYNC_INTERVAL_DEFAULT_MS 1000

const char *
iqdb_library_version(void)
{
	return IQDB_VERSION;
}

const char *
iqdb_kernels_name(const IqdbKernels *kernels)
{
	return kernels != NULL ? kernels->name : iqdb_kernels_best()->name;
}

IqdbConfig
iqdb_config_default(IqdbEngineKind engine, uint32_t dimension, IqdbMetric metric)
{
	IqdbConfig config;

	memset(&config, 0, sizeof(config));
	config.options = iqdb_index_options_default(engine, dimension, metric);
	config.fsync.mode = IQDB_FSYNC_ALWAYS;
	config.fsync.interval_ms = FSYNC_INTERVAL_DEFAULT_MS;
	config.compression = IQDB_COMPRESSION_NONE;
	config.checkpoint_bytes = CHECKPOINT_BYTES_DEFAULT;
	config.cache.capacity = IQDB_CACHE_CAPACITY_DEFAULT;
	config.cache.policy = IQDB_CACHE_LRU;
	return config;
}

void
iqdbi_handle_gate(Iqdb *db, bool exclusive)
{
	db->host.locks.acquire(db->host.locks.arg, db->gate, exclusive);
}

void
iqdbi_handle_gate_leave(Iqdb *db, bool exclusive)
{
	db->host.locks.release(db->host.locks.arg, db->gate, exclusive);
}

void
iqdbi_handle_place(Iqdb *db, bool exclusive)
{
	db->host.locks.acquire(db->host.locks.arg, db->place, exclusive);
}

void
iqdbi_handle_place_leave(Iqdb *db, bool exclusive)
{
	db->host.locks.release(db->host.locks.arg, db->place, exclusive);
}

uint64_t
iqdbi_handle_now(void)
{
	struct timespec now;

	if (clock_gettime(CLOCK_MONOTONIC, &now) != 0)
		return 0;
	return (uint64_t) now.tv_sec * 1000 + (uint64_t) now.tv_nsec / 1000000;
}

void
iqdbi_handle_note_change(Iqdb *db)
{
	atomic_store_explicit(&db->live, iqdb_index_live_count(&db->index), memory_order_release);
	atomic_store_explicit(&db->version, __atomic_load_n(&db->index.store.header->changes, __ATOMIC_RELAXED),
						  memory_order_release);
}

/* ---- tracing ---- */

uint64_t
iqdbi_trace_begin(const Iqdb *db)
{
	return db->trace != NULL ? db->host.clock(db->host.clock_arg) : 0;
}

void
iqdbi_trace_end(Iqdb *db, IqdbTraceKind kind, uint64_t begun, IqdbStatus status, uint64_t rows, const IqdbSearchStats *stats)
{
	IqdbTraceEvent event = {.kind = kind, .status = status, .rows = rows, .search = stats};

	if (db->trace == NULL)
		return;
	event.nanoseconds = db->host.clock(db->host.clock_arg) - begun;
	db->trace(db->trace_arg, &event);
}

/* ---- closing ---- */

IqdbStatus
iqdb_close(Iqdb *db, IqdbError *err)
{
	IqdbStatus status = IQDB_OK;

	if (db == NULL)
		return IQDB_OK;
	iqdbi_handle_stop_timer(db);
	/* a broken log has nothing to add to what its error said; the files are as recovery wants them */
	if (iqdbi_handle_has_files(db) && !db->broken && iqdbi_handle_is_dirty(db))
	{
		status = iqdbi_handle_checkpoint(db, err);
		if (status != IQDB_OK && !db->broken && db->log != NULL && db->fsync.mode != IQDB_FSYNC_NEVER)
		{
			/* the log is what remains: the failure that is told is the first one */
			IqdbStatus ignored = iqdb_log_sync(db->log, iqdbi_handle_now(), NULL);

			(void) ignored;
		}
	}
	iqdbi_handle_release(db);
	return status;
}

void
iqdb_abandon(Iqdb *db)
{
	if (db == NULL)
		return;
	iqdbi_handle_stop_timer(db);
	iqdbi_handle_release(db);
}

/* ---- maintenance ---- */

IqdbStatus
iqdb_flush(Iqdb *db, IqdbError *err)
{
	IqdbStatus status = IQDB_OK;

	pthread_mutex_lock(&db->writer);
	if (iqdbi_handle_has_files(db))
	{
		iqdbi_handle_wait_sync(db);
		if (db->broken)
			status = iqdb_fail(err, IQDB_ERR_STATE, "an earlier sync failed, the database takes no more writes");
		else if (iqdbi_handle_is_dirty(db))
			status = iqdbi_handle_checkpoint(db, err);
	}
	pthread_mutex_unlock(&db->writer);
	return status;
}

IqdbStatus
iqdb_optimize(Iqdb *db, IqdbError *err)
{
	uint64_t   begun = iqdbi_trace_begin(db);
	IqdbStatus status;
	uint64_t   linked;

	pthread_mutex_lock(&db->writer);
	status = iqdb_index_link_pending(&db->index, 0, &linked, err);
	if (status == IQDB_OK)
		status = iqdb_index_maintain(&db->index, IQDB_MAINTAIN_OPTIMIZE, err);
	/* a flat index has nothing that a snapshot would keep of this */
	if (db->index.engine->kind != IQDB_ENGINE_FLAT)
		db->dirty = true;
	pthread_mutex_unlock(&db->writer);
	/* an engine that was trained anew may answer better */
	iqdb_clear_cache(db);
	iqdbi_trace_end(db, IQDB_TRACE_OPTIMIZE, begun, status, iqdb_len(db), NULL);
	return status;
}

static bool
same_columns(const IqdbColumnValues *a, const IqdbColumnValues *b, uint32_t count)
{
	return a->nulls == b->nulls && memcmp(a->values, b->values, count * sizeof(a->values[0])) == 0;
}

uint64_t
iqdbi_handle_check_columns(const Iqdb *db, uint32_t *slot_out)
{
	const IqdbFields *fields = &db->shape.fields;
	const IqdbStore  *store = &db->index.store;
	uint32_t          slots = atomic_load_explicit(&store->header->slot_count, memory_order_relaxed);
	uint64_t          found = 0;

	*slot_out = IQDB_SLOT_NONE;
	for (uint32_t slot = 0; slot < slots && fields->count > 0; slot++)
	{
		IqdbColumnValues     stored;
		IqdbColumnValues     derived;
		size_t               length;
		const unsigned char *metadata;

		if (iqdb_store_state(store, slot) != IQDB_ROW_LIVE)
			continue;
		metadata = iqdb_store_metadata(store, slot, &length);
		iqdb_fields_read(fields, metadata, length, &derived);
		iqdb_columns_get(&store->header->columns, store->columns, slot, &stored);
		if (same_columns(&stored, &derived, fields->count))
			continue;
		if (found++ == 0)
			*slot_out = slot;
	}
	return found;
}

/* Writer mutex held. */
static void
check_columns(Iqdb *db, IqdbFinding finding, void *arg)
{
	uint32_t slot;
	uint64_t found = iqdbi_handle_check_columns(db, &slot);
	char     text[120];

	if (found == 0)
		return;
	(void) snprintf(text, sizeof(text), "columns of %llu rows do not agree with their metadata, the first is in slot %u",
					(unsigned long long) found, slot);
	finding(arg, text);
}

IqdbStatus
iqdb_check(Iqdb *db, IqdbFinding finding, void *arg, IqdbError *err)
{
	IqdbStatus status;

	pthread_mutex_lock(&db->writer);
	status = iqdb_index_check(&db->index, finding, arg, err);
	if (status == IQDB_OK && finding != NULL)
		check_columns(db, finding, arg);
	pthread_mutex_unlock(&db->writer);
	return status;
}

/* ---- numbers ---- */

uint64_t
iqdb_len(const Iqdb *db)
{
	return atomic_load_explicit(&db->live, memory_order_acquire);
}

bool
iqdb_is_empty(const Iqdb *db)
{
	return iqdb_len(db) == 0;
}

const IqdbIndexOptions *
iqdb_options(const Iqdb *db)
{
	return &db->shape.options;
}

size_t
iqdb_fields(const Iqdb *db, const IqdbField **fields_out)
{
	*fields_out = db->fields;
	return db->shape.fields.count;
}

IqdbStatus
iqdb_suggest_probes(Iqdb *db, double coverage, uint32_t *probes_out, IqdbError *err)
{
	IqdbStatus status;

	*probes_out = 0;
	pthread_mutex_lock(&db->writer);
	status = iqdb_index_suggest_probes(&db->index, coverage, probes_out, err);
	pthread_mutex_unlock(&db->writer);
	return status;
}

IqdbStatus
iqdb_list_sizes(Iqdb *db, uint64_t *sizes_out, uint32_t room, uint32_t *lists_out, IqdbError *err)
{
	IqdbStatus status;

	*lists_out = 0;
	/* nobody moves the arena under it */
	pthread_mutex_lock(&db->writer);
	status = iqdb_index_list_sizes(&db->index, sizes_out, room, lists_out, err);
	pthread_mutex_unlock(&db->writer);
	return status;
}

void
iqdb_stats(Iqdb *db, IqdbStats *stats_out)
{
	memset(stats_out, 0, sizeof(*stats_out));
	pthread_mutex_lock(&db->writer);
	iqdb_index_stats(&db->index, &stats_out->index);
	stats_out->position = db->position.number;
	stats_out->snapshot_position = db->snapshot_position.number;
	if (db->log != NULL)
	{
		stats_out->log_bytes = iqdb_log_end(db->log);
		stats_out->log_synced_bytes = iqdb_log_synced_end(db->log);
	}
	stats_out->snapshot_bytes = db->snapshot_bytes;
	stats_out->checkpoints = db->checkpoints;
	stats_out->checkpoint_failures = db->checkpoint_failures;
	stats_out->broken = db->broken;
	pthread_mutex_unlock(&db->writer);
}
