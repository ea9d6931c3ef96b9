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

/* Appends and syncs; *next_out is the position after it. On failure the log is as it was. */
static IqdbStatus
log_change(Iqdb *db, const IqdbiChange *change, IqdbiPosition *next_out, IqdbError *err)
{
	unsigned char   *scratch = IQDBI_NEEDS_SCRATCH ? db->scratch : NULL;
	uint64_t         mark = iqdb_log_end(db->log);
	IqdbiChangeBytes bytes;
	IqdbStatus       status;

	if (db->broken)
		return iqdb_fail(err, IQDB_ERR_STATE, "an earlier sync failed, the database takes no more writes");
	if (db->cut_pending)
		iqdbi_handle_wait_sync(db);
	iqdbi_handle_encode_change(db->index.store.element, change, scratch, &bytes);
	*next_out = iqdbi_handle_advance(db->position, change->type, bytes.pieces, bytes.piece_count);
	status = iqdb_log_append_v(db->log, next_out->number, next_out->hash, change->type, bytes.pieces, bytes.piece_count,
							   err);
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

/* ---- upsert ---- */

IqdbStatus
iqdbi_handle_check_upsert(const Iqdb *db, const IqdbiChange *change, IqdbError *err)
{
	IQDB_TRY(iqdbi_check_vector(&db->options, db->kernels, change->vector, change->dim, err));
	IQDB_TRY(iqdb_id_check(change->id, err));
	return iqdb_metadata_validate(change->metadata, change->metadata_length, err);
}

static IqdbStatus
put_through_gate(Iqdb *db, const IqdbiChange *change, uint32_t *slot_out, IqdbError *err)
{
	IqdbRow    row = {.id = change->id,
					  .vector = change->vector,
					  .metadata = change->metadata_length > 0 ? change->metadata : NULL,
					  .metadata_length = change->metadata_length};
	IqdbStatus status;

	iqdbi_handle_gate(db, true);
	status = iqdbi_index_put_checked(&db->index, &row, slot_out, err);
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

IqdbStatus
iqdbi_handle_put(Iqdb *db, const IqdbiChange *change, uint32_t *slot_out, IqdbError *err)
{
	IqdbStatus status;

	iqdb_index_make_room(&db->index, 1);
	status = put_through_gate(db, change, slot_out, err);
	while (status == IQDB_ERR_LIMIT && db->reserve < db->memory_max)
	{
		IQDB_TRY(enlarge(db, err));
		status = put_through_gate(db, change, slot_out, err);
	}
	/* full: rows that are gone, but not for the engine, are room */
	if (status == IQDB_ERR_LIMIT && __atomic_load_n(&db->index.store.header->dead_count, __ATOMIC_RELAXED) > 0 &&
		iqdb_index_maintain(&db->index, IQDB_MAINTAIN_VACUUM, NULL) == IQDB_OK)
		status = put_through_gate(db, change, slot_out, err);
	return status;
}

/* Writer mutex held. *slot_out: what to link. */
static IqdbStatus
upsert_locked(Iqdb *db, const IqdbiChange *change, uint32_t *slot_out, IqdbError *err)
{
	IqdbiPosition next = db->position;
	uint64_t      mark = db->log != NULL ? iqdb_log_end(db->log) : 0;
	IqdbStatus    status;

	if (db->log != NULL)
		IQDB_TRY(log_change(db, change, &next, err));
	else
		next.number++;
	status = iqdbi_handle_put(db, change, slot_out, err);
	if (status == IQDB_OK)
		db->position = next;
	else if (db->log != NULL)
		take_back(db, mark);
	return status;
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
iqdb_upsert(Iqdb *db, IqdbId id, const void *vector, size_t dim, const unsigned char *metadata,
			size_t metadata_length, IqdbError *err)
{
	IqdbiChange change = {.type = IQDB_HANDLE_FRAME_UPSERT,
						  .id = id,
						  .vector = vector,
						  .dim = dim,
						  .metadata = metadata,
						  .metadata_length = metadata_length};
	uint32_t    slot = IQDB_SLOT_NONE;
	IqdbStatus  status;
	IqdbStatus  ignored;

	IQDB_TRY(iqdbi_handle_check_upsert(db, &change, err));
	pthread_mutex_lock(&db->writer);
	status = upsert_locked(db, &change, &slot, err);
	if (status == IQDB_OK)
		after_write(db);
	pthread_mutex_unlock(&db->writer);
	if (status != IQDB_OK)
		return status;
	/* the row is in; a row that could not be linked is found by exact scan, and linked by a later optimize */
	if (db->options.engine == IQDB_ENGINE_FLAT)
		return IQDB_OK;
	iqdbi_handle_place(db, false);
	ignored = iqdb_index_link(&db->index, slot, NULL);
	iqdbi_handle_place_leave(db, false);
	(void) ignored;
	return IQDB_OK;
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
		next.number++;
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
	bool        deleted;
	IqdbStatus  status;

	pthread_mutex_lock(&db->writer);
	status = delete_locked(db, &change, &deleted, err);
	if (status == IQDB_OK && deleted)
		after_write(db);
	pthread_mutex_unlock(&db->writer);
	if (deleted_out != NULL)
		*deleted_out = status == IQDB_OK && deleted;
	return status;
}
