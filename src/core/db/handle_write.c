/*
 * handle_write.c - upsert and delete.
 *
 * A write: checked, appended to the log, synced as the policy says, applied, acknowledged; when it cannot be applied, the
 * log is cut back to where it was. All under the writer mutex, the applying under the exclusive gate as well.
 */
#include "core/db/handle_private.h"

#include "core/db/index_private.h"
#include "core/meta/metadata.h"

/* Repairs of the engine after removals, by the writer, when rows that are gone are such a share of those that are there. */
#define REPAIR_MIN 256
#define REPAIR_SHARE 8

/* A move reserves for so many times as much. */
#define RESERVE_GROWTH 16

/* ---- log ---- */

/* Writer mutex held. Frames behind the mark are taken back. */
static void
take_back(Iqdb *db, uint64_t mark)
{
	IqdbStatus status;

	iqdbi_handle_wait_sync(db);
	status = iqdb_log_truncate_to(db->log, mark, NULL);
	if (status == IQDB_ERR_STATE)
		db->broken = true;
	/* the cut is tried again before the next append, and must not meet the timer then */
	db->cut_pending = status != IQDB_OK;
}

/* What the policy wants before a frame counts. */
static IqdbStatus
sync_by_policy(Iqdb *db, IqdbError *err)
{
	if (db->fsync.mode == IQDB_FSYNC_ALWAYS)
		return iqdb_log_sync(db->log, iqdbi_handle_now(), err);
	/* the operating system has it: what only ends the program loses nothing */
	IQDB_TRY(iqdb_log_flush(db->log, err));
	iqdbi_handle_wake_timer(db);
	return IQDB_OK;
}

/* Appends and syncs a frame with this body; *next_out is the position after it. On failure the log is as it was. */
static IqdbStatus
log_body(Iqdb *db, uint8_t type, const IqdbLogPiece *pieces, size_t piece_count, IqdbiPosition *next_out, IqdbError *err)
{
	uint64_t   mark = iqdb_log_end(db->log);
	IqdbStatus status;

	if (db->broken)
		return iqdb_fail(err, IQDB_ERR_STATE, "an earlier sync failed, the database takes no more writes");
	if (db->cut_pending)
		iqdbi_handle_wait_sync(db);
	*next_out = iqdbi_handle_advance(db->position, type, pieces, piece_count);
	status = iqdb_log_append_v(db->log, next_out->number, next_out->hash, type, pieces, piece_count, err);
	if (status != IQDB_OK)
	{
		db->cut_pending = true;
		return status;
	}
	db->cut_pending = false;
	status = sync_by_policy(db, err);
	if (status != IQDB_OK)
		take_back(db, mark);
	return status;
}

static IqdbStatus
log_change(Iqdb *db, const IqdbiChange *change, IqdbiPosition *next_out, IqdbError *err)
{
	unsigned char   *scratch = IQDBI_NEEDS_SCRATCH ? db->scratch : NULL;
	IqdbiChangeBytes bytes;

	iqdbi_handle_encode_change(db->index.store.element, change, scratch, &bytes);
	return log_body(db, change->type, bytes.pieces, bytes.piece_count, next_out, err);
}

static IqdbStatus
log_batch(Iqdb *db, const IqdbRow *rows, size_t count, size_t dim, IqdbiPosition *next_out, IqdbError *err)
{
	unsigned char *scratch = IQDBI_NEEDS_SCRATCH ? db->scratch : NULL;
	unsigned char *body;
	size_t         length;
	IqdbLogPiece   piece;
	IqdbStatus     status;

	IQDB_TRY(iqdbi_handle_encode_batch(&db->host.allocator, db->index.store.element, rows, count, dim, scratch, &body,
									   &length, err));
	piece = (IqdbLogPiece){body, length};
	status = log_body(db, IQDB_HANDLE_FRAME_BATCH, &piece, 1, next_out, err);
	iqdb_free(&db->host.allocator, body, length);
	return status;
}

/*
 * The hash after one more change of which no log tells. Snapshots carry it, so that they fit no log of another history.
 */
static uint64_t
hash_after(Iqdb *db, uint64_t hash, const IqdbiChange *change)
{
	unsigned char   *scratch = IQDBI_NEEDS_SCRATCH ? db->scratch : NULL;
	IqdbiChangeBytes bytes;

	if (!iqdbi_handle_has_files(db))
		return hash;
	iqdbi_handle_encode_change(db->index.store.element, change, scratch, &bytes);
	return iqdbi_handle_advance((IqdbiPosition){0, hash}, change->type, bytes.pieces, bytes.piece_count).hash;
}

/* What the log would be told of a row. */
static IqdbiChange
change_of(const IqdbRow *row, size_t dim)
{
	return (IqdbiChange){.type = IQDB_HANDLE_FRAME_UPSERT,
						 .id = row->id,
						 .vector = row->vector,
						 .dim = dim,
						 .metadata = row->metadata,
						 .metadata_length = row->metadata_length};
}

/* The position after a change, or after rows that are one write. */
static IqdbiPosition
position_after(Iqdb *db, const IqdbiChange *change)
{
	return (IqdbiPosition){db->position.number + 1, hash_after(db, db->position.hash, change)};
}

static IqdbiPosition
position_after_rows(Iqdb *db, const IqdbRow *rows, size_t count, size_t dim)
{
	IqdbiPosition next = {db->position.number + 1, db->position.hash};

	for (size_t i = 0; i < count; i++)
	{
		IqdbiChange change = change_of(&rows[i], dim);

		next.hash = hash_after(db, next.hash, &change);
	}
	return next;
}

/* ---- upsert ---- */

IqdbStatus
iqdbi_handle_check_row(const Iqdb *db, const IqdbRow *row, size_t dim, IqdbError *err)
{
	IQDB_TRY(iqdbi_check_vector(&db->shape.options, db->kernels, row->vector, dim, err));
	IQDB_TRY(iqdb_id_check(row->id, err));
	return iqdb_metadata_validate(row->metadata, row->metadata_length, err);
}

/* The columns of a row whose metadata were checked, in values; NULL: there are none. */
static const IqdbColumnValues *
columns_of(const Iqdb *db, const IqdbRow *row, IqdbColumnValues *values)
{
	if (db->shape.fields.count == 0)
		return NULL;
	iqdb_fields_read(&db->shape.fields, row->metadata, row->metadata_length, values);
	return values;
}

/* Has a place for each row, which nobody sees yet, or for none. */
static IqdbStatus
stage_rows(Iqdb *db, const IqdbRow *rows, size_t count, IqdbStaged *staged, IqdbError *err)
{
	IqdbStatus status = IQDB_OK;
	size_t     done = 0;

	while (done < count && status == IQDB_OK)
	{
		IqdbColumnValues        values;
		const IqdbColumnValues *columns = columns_of(db, &rows[done], &values);

		status = iqdb_store_stage(&db->index.store, db->index.engine, &rows[done], columns, &staged[done], err);
		done += status == IQDB_OK;
	}
	while (status != IQDB_OK && done > 0)
		iqdb_store_unstage(&db->index.store, &staged[--done]);
	return status;
}

/* staged: room for as many as rows; not needed for a single one. */
static IqdbStatus
put_through_gate(Iqdb *db, const IqdbRow *rows, size_t count, IqdbStaged *staged, uint32_t *slots_out, IqdbError *err)
{
	IqdbStatus              status = IQDB_OK;
	IqdbColumnValues        values;
	const IqdbColumnValues *columns = count == 1 ? columns_of(db, rows, &values) : NULL;

	if (count > 1)
		IQDB_TRY(stage_rows(db, rows, count, staged, err));
	iqdbi_handle_gate(db, true);
	if (count == 1)
		status = iqdbi_index_put_checked(&db->index, rows, columns, slots_out, err);
	for (size_t i = 0; i < count && count > 1; i++)
	{
		iqdb_index_publish(&db->index, &staged[i]);
		slots_out[i] = staged[i].slot;
	}
	iqdbi_handle_note_change(db);
	iqdbi_handle_gate_leave(db, true);
	return status;
}

/* Moves the arena to more address space. Writer mutex held, neither gate nor place. */
static IqdbStatus
enlarge(Iqdb *db, IqdbError *err)
{
	uint64_t   wanted = db->reserve < IQDBI_RESERVE_LAST ? db->reserve * RESERVE_GROWTH : db->memory_max;
	uint64_t   reserve = wanted < db->memory_max ? wanted : db->memory_max;
	IqdbStatus status;

	iqdbi_handle_gate(db, true);
	iqdbi_handle_place(db, true);
	status = iqdb_index_move(&db->index, reserve, db->vectors.fd >= 0 ? &db->vectors : NULL, err);
	if (status == IQDB_OK)
		db->reserve = reserve;
	iqdbi_handle_place_leave(db, true);
	iqdbi_handle_gate_leave(db, true);
	return status;
}

/* Puts, and makes room where there is none. */
static IqdbStatus
put_with_room(Iqdb *db, const IqdbRow *rows, size_t count, IqdbStaged *staged, uint32_t *slots_out, IqdbError *err)
{
	IqdbStatus status;

	iqdb_index_make_room(&db->index, (uint32_t) count);
	status = put_through_gate(db, rows, count, staged, slots_out, err);
	while (status == IQDB_ERR_LIMIT && db->reserve < db->memory_max)
	{
		IQDB_TRY(enlarge(db, err));
		status = put_through_gate(db, rows, count, staged, slots_out, err);
	}
	/* full: rows that are gone, but not for the engine, are room */
	if (status == IQDB_ERR_LIMIT && __atomic_load_n(&db->index.store.header->dead_count, __ATOMIC_RELAXED) > 0 &&
		iqdb_index_maintain(&db->index, IQDB_MAINTAIN_VACUUM, NULL) == IQDB_OK)
		status = put_through_gate(db, rows, count, staged, slots_out, err);
	return status;
}

IqdbStatus
iqdbi_handle_put(Iqdb *db, const IqdbRow *rows, size_t count, uint32_t *slots_out, IqdbError *err)
{
	IqdbStaged *staged;
	size_t      size;
	IqdbStatus  status;

	if (count == 1)
		return put_with_room(db, rows, 1, NULL, slots_out, err);
	if (count >= IQDB_SLOTS_MAX)
		return iqdb_fail(err, IQDB_ERR_LIMIT, "an index has at most %u rows", (unsigned) IQDB_SLOTS_MAX);
	if (!iqdb_mul_size(count, sizeof(*staged), &size) || (staged = iqdb_alloc(&db->host.allocator, size)) == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for a batch of %zu rows", count);
	status = put_with_room(db, rows, count, staged, slots_out, err);
	iqdb_free(&db->host.allocator, staged, size);
	return status;
}

/* Writer mutex held; the write was logged, if there is a log, up to next; mark is where the log ended before. */
static IqdbStatus
put_logged(Iqdb *db, const IqdbRow *rows, size_t count, IqdbiPosition next, uint64_t mark, uint32_t *slots_out,
		   IqdbError *err)
{
	IqdbStatus status = iqdbi_handle_put(db, rows, count, slots_out, err);

	if (status == IQDB_OK)
		db->position = next;
	else if (db->log != NULL)
		take_back(db, mark);
	return status;
}

/* Writer mutex held. *slot_out: what to link. */
static IqdbStatus
upsert_locked(Iqdb *db, const IqdbiChange *change, uint32_t *slot_out, IqdbError *err)
{
	IqdbiPosition next = db->position;
	uint64_t      mark = db->log != NULL ? iqdb_log_end(db->log) : 0;
	IqdbRow       row = iqdbi_handle_row(change);

	if (db->log != NULL)
		IQDB_TRY(log_change(db, change, &next, err));
	else
		next = position_after(db, change);
	return put_logged(db, &row, 1, next, mark, slot_out, err);
}

/* The same for many rows as one write. */
static IqdbStatus
batch_locked(Iqdb *db, const IqdbRow *rows, size_t count, size_t dim, uint32_t *slots_out, IqdbError *err)
{
	IqdbiPosition next = db->position;
	uint64_t      mark = db->log != NULL ? iqdb_log_end(db->log) : 0;

	if (db->log != NULL)
		IQDB_TRY(log_batch(db, rows, count, dim, &next, err));
	else
		next = position_after_rows(db, rows, count, dim);
	return put_logged(db, rows, count, next, mark, slots_out, err);
}

void
iqdbi_handle_repair_when_due(Iqdb *db)
{
	const IqdbStoreHeader *header = db->index.store.header;
	uint64_t               dead = __atomic_load_n(&header->dead_count, __ATOMIC_RELAXED);
	uint64_t               more = dead > db->dead_after_repair ? dead - db->dead_after_repair : 0;
	IqdbStatus             ignored;

	if (db->index.engine->kind == IQDB_ENGINE_FLAT || more < REPAIR_MIN ||
		more < iqdb_index_live_count(&db->index) / REPAIR_SHARE)
		return;
	/* what fails here (no memory, cancelled) is tried again when as many more are gone */
	ignored = iqdb_index_maintain(&db->index, IQDB_MAINTAIN_VACUUM, NULL);
	(void) ignored;
	db->dead_after_repair = __atomic_load_n(&header->dead_count, __ATOMIC_RELAXED);
}

/* Writer mutex held, the write is done. */
static void
after_write(Iqdb *db)
{
	iqdbi_handle_repair_when_due(db);
	if (db->log != NULL)
		iqdbi_handle_checkpoint_when_due(db);
}

IqdbStatus
iqdbi_handle_link(Iqdb *db, const uint32_t *slots, size_t count)
{
	IqdbStatus status = IQDB_OK;

	if (db->shape.options.engine == IQDB_ENGINE_FLAT)
		return IQDB_OK;
	for (size_t i = 0; i < count && status == IQDB_OK; i++)
	{
		iqdbi_handle_place(db, false);
		status = iqdb_index_link(&db->index, slots[i], NULL);
		iqdbi_handle_place_leave(db, false);
	}
	return status;
}

/* The rows are in; one that could not be linked is found by exact scan, and linked by a later optimize. */
static void
link_rows(Iqdb *db, const uint32_t *slots, size_t count)
{
	IqdbStatus ignored = iqdbi_handle_link(db, slots, count);

	(void) ignored;
}

IqdbStatus
iqdb_upsert(Iqdb *db, IqdbId id, const void *vector, size_t dim, const unsigned char *metadata,
			size_t metadata_length, IqdbError *err)
{
	IqdbRow     row = {.id = id, .vector = vector, .metadata = metadata, .metadata_length = metadata_length};
	IqdbiChange change = change_of(&row, dim);
	uint64_t    begun = iqdbi_trace_begin(db);
	uint32_t    slot = IQDB_SLOT_NONE;
	IqdbStatus  status;

	IQDB_TRY(iqdbi_handle_check_row(db, &row, dim, err));
	pthread_mutex_lock(&db->writer);
	status = upsert_locked(db, &change, &slot, err);
	if (status == IQDB_OK)
		after_write(db);
	pthread_mutex_unlock(&db->writer);
	if (status == IQDB_OK)
		link_rows(db, &slot, 1);
	iqdbi_trace_end(db, IQDB_TRACE_UPSERT, begun, status, 1, NULL);
	return status;
}

IqdbStatus
iqdbi_handle_store_batch(Iqdb *db, const IqdbRow *rows, size_t count, size_t dim, uint32_t *slots_out, IqdbError *err)
{
	IqdbStatus status;

	for (size_t i = 0; i < count; i++)
		IQDB_TRY(iqdbi_handle_check_row(db, &rows[i], dim, err));
	pthread_mutex_lock(&db->writer);
	status = batch_locked(db, rows, count, dim, slots_out, err);
	if (status == IQDB_OK)
		after_write(db);
	pthread_mutex_unlock(&db->writer);
	return status;
}

IqdbStatus
iqdb_upsert_batch(Iqdb *db, const IqdbRow *rows, size_t count, size_t dim, IqdbError *err)
{
	uint64_t   begun = iqdbi_trace_begin(db);
	size_t     size;
	uint32_t  *slots;
	IqdbStatus status;

	if (count == 0)
		return IQDB_OK;
	if (!iqdb_mul_size(count, sizeof(*slots), &size) || (slots = iqdb_alloc(&db->host.allocator, size)) == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for a batch of %zu rows", count);
	status = iqdbi_handle_store_batch(db, rows, count, dim, slots, err);
	if (status == IQDB_OK)
		link_rows(db, slots, count);
	iqdb_free(&db->host.allocator, slots, size);
	iqdbi_trace_end(db, IQDB_TRACE_BATCH, begun, status, count, NULL);
	return status;
}

/* ---- delete ---- */

/* Writer mutex held. */
static IqdbStatus
delete_locked(Iqdb *db, const IqdbiChange *change, bool *deleted_out, IqdbError *err)
{
	IqdbiPosition next = db->position;

	*deleted_out = false;
	if (!iqdb_index_contains(&db->index, change->id, NULL))
		return IQDB_OK;
	if (db->log != NULL)
		IQDB_TRY(log_change(db, change, &next, err));
	else
		next = position_after(db, change);
	iqdbi_handle_gate(db, true);
	iqdb_index_remove(&db->index, change->id, deleted_out);
	iqdbi_handle_note_change(db);
	iqdbi_handle_gate_leave(db, true);
	db->position = next;
	return IQDB_OK;
}

IqdbStatus
iqdb_delete(Iqdb *db, IqdbId id, bool *deleted_out, IqdbError *err)
{
	IqdbiChange change = {.type = IQDB_HANDLE_FRAME_DELETE, .id = id};
	uint64_t    begun = iqdbi_trace_begin(db);
	bool        deleted;
	IqdbStatus  status;

	pthread_mutex_lock(&db->writer);
	status = delete_locked(db, &change, &deleted, err);
	if (status == IQDB_OK && deleted)
		after_write(db);
	pthread_mutex_unlock(&db->writer);
	if (deleted_out != NULL)
		*deleted_out = status == IQDB_OK && deleted;
	iqdbi_trace_end(db, IQDB_TRACE_DELETE, begun, status, status == IQDB_OK && deleted ? 1 : 0, NULL);
	return status;
}
