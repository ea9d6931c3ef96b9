/*
 * handle_checkpoint.c - folding the log into a new snapshot.
 *
 * Order, and why every instant of it can be recovered from:
 *   1. snapshot written under a temporary name, synced, renamed, folder synced: until the rename the old snapshot and the
 *      whole log are there; from then on the new snapshot, and a log whose frames it holds already (recovery skips them);
 *   2. empty log made under a temporary name, synced, renamed over the old one, folder synced: it starts where the snapshot
 *      ends.
 * Writers wait; searches do not notice. Where there are snapshots only, step 2 removes a log that an earlier handle left.
 */
#include "core/db/handle_private.h"

#include <string.h>

#include "core/db/index_codec.h"

/* ---- snapshot ---- */

static IqdbStatus
write_section(void *arg, uint16_t section, const void *bytes, size_t length, IqdbError *err)
{
	return iqdb_snapshot_write(arg, section, bytes, length, err);
}

static void
fill_header(const Iqdb *db, IqdbSnapshotHeader *header)
{
	const IqdbIndexOptions *options = iqdb_options(db);

	memset(header, 0, sizeof(*header));
	header->engine = options->engine;
	header->metric = options->metric;
	header->dimension = options->dimension;
	header->row_count = iqdb_index_live_count(&db->index);
	header->identity_length = iqdbi_handle_encode_identity(&db->shape, db->position, header->identity);
}

/* Left over when an earlier save could not even remove it. */
static void
remove_left_over(const Iqdb *db, const char *path)
{
	IqdbStatus ignored = iqdb_io_unlink(&db->io, path, NULL);

	(void) ignored;
}

static IqdbStatus
write_snapshot(Iqdb *db, IqdbError *err)
{
	IqdbSnapshotOptions options = {
		.compression = db->compression, .level = db->compression_level, .sync = true};
	IqdbSnapshotHeader  header;
	IqdbSnapshotWriter *writer;
	IqdbSectionSink     sink;
	IqdbStatus          status;

	remove_left_over(db, db->paths.snapshot_temp);
	fill_header(db, &header);
	IQDB_TRY(iqdb_snapshot_writer_open(&db->io, &db->host.allocator, db->paths.snapshot, db->paths.snapshot_temp, &header,
									   &options, &writer, err));
	sink = (IqdbSectionSink){.write = write_section, .arg = writer};
	status = iqdb_index_save(&db->index, &sink, err);
	if (status != IQDB_OK)
	{
		iqdb_snapshot_writer_abort(writer);
		return status;
	}
	return iqdb_snapshot_writer_commit(writer, NULL, err);
}

/* ---- log ---- */

IqdbStatus
iqdbi_handle_start_log(Iqdb *db, IqdbError *err)
{
	IqdbLogHeader header;
	IqdbLog      *log;

	if (db->snapshot_only)
	{
		/* if it comes back after a crash, it ends before the snapshot does: recovery knows it for that */
		remove_left_over(db, db->paths.log);
		return IQDB_OK;
	}
	memset(&header, 0, sizeof(header));
	header.start_position = db->position.number;
	header.start_hash = db->position.hash;
	header.identity_length = iqdbi_handle_encode_identity(&db->shape, (IqdbiPosition){0, 0}, header.identity);
	remove_left_over(db, db->paths.log_temp);
	IQDB_TRY(iqdb_log_create(&db->io, &db->host.allocator, db->paths.log, db->paths.log_temp, &header, db->fsync, &log,
							 err));
	iqdb_log_close(db->log);
	db->log = log;
	db->log_start = db->position;
	db->cut_pending = false;
	return IQDB_OK;
}

/*
 * After a new log could not be made: does the name still stand for the old one? When it does not (the new log has it, but
 * the folder could not be synced), the old one must take no more frames: nobody would find them.
 */
static bool
old_log_in_place(const Iqdb *db)
{
	IqdbLogHeader header;
	bool          blank;

	return iqdb_log_read_header(&db->io, db->paths.log, &header, &blank, NULL) == IQDB_OK && !blank &&
		   header.start_position == db->log_start.number && header.start_hash == db->log_start.hash;
}

/* ---- checkpoint ---- */

bool
iqdbi_handle_is_dirty(const Iqdb *db)
{
	return db->dirty || db->position.number != db->snapshot_position.number;
}

static void
note_snapshot_size(Iqdb *db)
{
	IqdbSnapshotHeader header;

	if (iqdb_snapshot_read_header(&db->io, db->paths.snapshot, &header, NULL) == IQDB_OK)
		db->snapshot_bytes = header.file_size;
}

static IqdbStatus
fold_log(Iqdb *db, IqdbError *err)
{
	IqdbStatus status;

	IQDB_TRY(write_snapshot(db, err));
	db->snapshot_position = db->position;
	db->dirty = false;
	db->checkpoints++;
	note_snapshot_size(db);
	if (db->log != NULL && db->log_start.number == db->position.number)
		return IQDB_OK;
	status = iqdbi_handle_start_log(db, err);
	if (status != IQDB_OK && db->log != NULL && !old_log_in_place(db))
		db->broken = true;
	return status;
}

IqdbStatus
iqdbi_handle_checkpoint(Iqdb *db, IqdbError *err)
{
	uint64_t   begun = iqdbi_trace_begin(db);
	IqdbStatus status = fold_log(db, err);

	iqdbi_trace_end(db, IQDB_TRACE_CHECKPOINT, begun, status, iqdb_index_live_count(&db->index), NULL);
	return status;
}

void
iqdbi_handle_checkpoint_when_due(Iqdb *db)
{
	uint64_t bytes = iqdb_log_end(db->log);

	if (db->checkpoint_bytes == 0 || bytes < db->checkpoint_bytes || bytes < db->snapshot_bytes ||
		bytes < db->checkpoint_retry_bytes || db->broken)
		return;
	iqdbi_handle_wait_sync(db);
	if (iqdbi_handle_checkpoint(db, NULL) == IQDB_OK)
	{
		db->checkpoint_retry_bytes = 0;
		return;
	}
	db->checkpoint_failures++;
	db->checkpoint_retry_bytes = bytes + bytes / 2;
}
