/*
 * pg_recover.c - filling an arena that nobody has: from a snapshot and the log, or from the table. See pg_open.h.
 *
 * The journal decides what is believed. A snapshot must name two positions of this very history; a log frame must carry
 * the hash that the journal has at its place. What neither brings is fetched from the table by TID.
 */
#include "postgres.h"

#include "access/table.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "pg/pg_compat.h"
#include "pg/pg_fail.h"
#include "pg/pg_files.h"
#include "pg/pg_follow.h"
#include "pg/pg_heap.h"
#include "pg/pg_open.h"
#include "pg/pg_open_private.h"
#include "pg/pg_options.h"
#include "pg/pg_refill.h"
#include "pg/pg_settings.h"
#include "pg/pg_work.h"
#include "pg/pg_worker.h"

/* Changes that an open may have to recover before a fresh snapshot is wanted. */
#define SNAPSHOT_AFTER 10000

/* ---- log and journal ---------------------------------------------------------------------------------------------- */

/* Which journal entry is the last one for a TID, and whether a log frame has brought it. */
typedef struct LastEntry
{
	uint64		id;				/* hash key */
	uint32		number;			/* index into Replay.entries */
} LastEntry;

typedef struct Replay
{
	IqdbPgArena *arena;
	const IqdbPgEntry *entries; /* all entries behind the snapshot */
	uint32		count;
	uint64		base;			/* journal number of entries[0] */
	IqdbPgPosition end;			/* behind the last of them */
	uint32		hashed;			/* entries hashed so far ... */
	uint64		hash;			/* ... to this */
	bool	   *covered;
	void	   *vector;			/* of the frame at hand, whose body is not aligned */
	IqdbColumnValues columns;	/* of the same */
	HTAB	   *last;
	uint64		removed;		/* rows removed whose slots the engine may still hold */
	uint64		replayed;
	bool		parted;			/* a frame did not agree with the journal: the rest is of another history */
} Replay;

static bool
is_last(const Replay *replay, uint32 i)
{
	uint64		id = iqdb_pg_entry_id(&replay->entries[i]);
	LastEntry  *last = hash_search(replay->last, &id, HASH_FIND, NULL);

	return last != NULL && last->number == i;
}

/*
 * Puts a row, or makes it known. Want of room is no last word while removed rows hold slots: the engine lets go of them
 * first. Nobody else has the arena yet. No jumps here.
 */
static IqdbStatus
put_replayed(Replay *replay, IqdbPgRow *row, IqdbError *error)
{
	IqdbIndex  *index = &replay->arena->index;

	for (;;)
	{
		IqdbStatus	status;

		iqdb_index_make_room(index, 1);
		status = iqdb_pg_row_put(index, row, error);
		if (!iqdb_pg_is_want_of_room(status) || replay->removed == 0)
			return status;
		replay->removed = 0;
		IQDB_TRY(iqdb_index_maintain(index, IQDB_MAINTAIN_VACUUM, error));
	}
}

/* Is a frame of this type what the entry left in the log? */
static bool
is_of_entry(uint8 type, const IqdbPgEntry *entry)
{
	if (type == IQDB_PG_FRAME_REMOVE)
		return entry->op == IQDB_PG_OP_DELETE;
	return (type == IQDB_PG_FRAME_PUT || type == IQDB_PG_FRAME_KNOWN) && entry->op == IQDB_PG_OP_INSERT;
}

/* One frame of the log: applied if the journal has the same entry at the same place of the same history. No jumps here. */
static IqdbStatus
replay_frame(void *arg, const IqdbLogFrame *frame, IqdbError *error)
{
	Replay	   *replay = arg;
	IqdbPgArena *arena = replay->arena;
	const IqdbPgEntry *entry;
	IqdbPgRow	row;
	uint32		i;

	IQDB_PG_FAIL_RETURN("replay-frame", error);
	if (iqdb_host_cancelled(&arena->host))
		return iqdb_fail(error, IQDB_ERR_CANCELLED, "cancelled");
	if (replay->parted || frame->position <= replay->base || frame->position > replay->base + replay->count ||
		!iqdb_pg_row_decode(&arena->index, frame->body, frame->length, frame->type == IQDB_PG_FRAME_PUT, replay->vector,
							&replay->columns, &row))
		return IQDB_OK;
	i = (uint32) (frame->position - replay->base - 1);
	if (i < replay->hashed)
		return IQDB_OK;			/* told twice */
	while (replay->hashed <= i)
		replay->hash = iqdb_pg_hash_step(replay->hash, &replay->entries[replay->hashed++]);
	entry = &replay->entries[i];
	if (replay->hash != frame->hash || row.number != iqdb_pg_entry_id(entry))
	{
		replay->parted = true;
		return IQDB_OK;
	}
	if (!is_of_entry(frame->type, entry))
		return IQDB_OK;
	if (entry->op == IQDB_PG_OP_INSERT && is_last(replay, i))
		IQDB_TRY(put_replayed(replay, &row, error));
	replay->covered[i] = true;
	replay->replayed++;
	return IQDB_OK;
}

/* Reads every entry behind the position; *end_out is the journal's end. NULL if the journal does not reach back. */
static IqdbPgEntry *
read_entries(Relation index, const IqdbPgPosition *from, uint32 *count_out, IqdbPgPosition *end_out)
{
	IqdbPgPosition position = *from;
	Size		allocated = 4096;
	Size		count = 0;
	IqdbPgEntry *entries = palloc(allocated * sizeof(IqdbPgEntry));

	for (;;)
	{
		int			got;

		CHECK_FOR_INTERRUPTS();
		if (allocated - count < 1024)
		{
			allocated *= 2;
			entries = repalloc_huge(entries, allocated * sizeof(IqdbPgEntry));
		}
		if (iqdb_pg_journal_read(index, &position, entries + count, (int) (allocated - count), &got) !=
			IQDB_PG_READ_OK)
		{
			pfree(entries);
			return NULL;
		}
		if (got == 0)
			break;
		count += got;
	}
	*count_out = (uint32) count;
	*end_out = position;
	return entries;
}

static HTAB *
index_last_entries(const IqdbPgEntry *entries, uint32 count)
{
	HASHCTL		control;
	HTAB	   *table;

	memset(&control, 0, sizeof(control));
	control.keysize = sizeof(uint64);
	control.entrysize = sizeof(LastEntry);
	control.hcxt = CurrentMemoryContext;
	table = hash_create("iqdb replay", Max(count, 16), &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	for (uint32 i = 0; i < count; i++)
	{
		uint64		id = iqdb_pg_entry_id(&entries[i]);

		if (entries[i].op != IQDB_PG_OP_EPOCH)
			((LastEntry *) hash_search(table, &id, HASH_ENTER, NULL))->number = i;
	}
	return table;
}

/*
 * Removes the rows of all TIDs that the journal removes. An entry says what becomes of its TID whatever came before, so the
 * removals can go first: a full index that has lost rows since gets their room back before others want it. And a TID that has
 * been freed may be another row's by now, which must not be taken for the one that a bare snapshot means.
 */
static void
apply_removals(Replay *replay)
{
	for (uint32 i = 0; i < replay->count; i++)
	{
		bool		removed;

		CHECK_FOR_INTERRUPTS();
		if (replay->entries[i].op != IQDB_PG_OP_DELETE)
			continue;
		iqdb_index_remove(&replay->arena->index, iqdb_id_u64(iqdb_pg_entry_id(&replay->entries[i])), &removed);
		replay->removed += removed;
	}
}

/* What the log did not bring, from the table. */
static IqdbStatus
fetch_uncovered(Relation index, Relation heap, Replay *replay, uint64 *fetched_out, IqdbError *error)
{
	IqdbPgFetch *fetch = NULL;
	MemoryContext row = AllocSetContextCreate(CurrentMemoryContext, "iqdb fetch", ALLOCSET_DEFAULT_SIZES);
	IqdbStatus	status = IQDB_OK;

	*fetched_out = 0;
	for (uint32 i = 0; i < replay->count && status == IQDB_OK; i++)
	{
		const IqdbPgEntry *entry = &replay->entries[i];
		MemoryContext saved;
		IqdbPgRow	fetched;

		if (replay->covered[i] || entry->op != IQDB_PG_OP_INSERT || !is_last(replay, i))
			continue;
		CHECK_FOR_INTERRUPTS();
		if (fetch == NULL)
			fetch = iqdb_pg_fetch_begin(index, heap);
		saved = MemoryContextSwitchTo(row);
		fetched = iqdb_pg_fetch(fetch, iqdb_pg_entry_id(entry));
		status = put_replayed(replay, &fetched, error);
		MemoryContextSwitchTo(saved);
		MemoryContextReset(row);
		(*fetched_out)++;
	}
	if (fetch != NULL)
		iqdb_pg_fetch_end(fetch);
	MemoryContextDelete(row);
	return status;
}

/* Reads what the journal says since the snapshot's position. */
static IqdbStatus
replay_begin(Replay *replay, Relation index, IqdbPgArena *arena, const IqdbPgPosition *from, IqdbError *error)
{
	memset(replay, 0, sizeof(*replay));
	replay->arena = arena;
	replay->entries = read_entries(index, from, &replay->count, &replay->end);
	if (replay->entries == NULL)
		return iqdb_fail(error, IQDB_ERR_STATE, "the journal does not reach back to the snapshot");
	replay->base = from->number;
	replay->hash = from->hash;
	iqdb_pg_note_lsn(index, arena, replay->end.block);
	return IQDB_OK;
}

/* Brings a loaded arena, which has been told of the removals, to the journal's end. */
static IqdbStatus
replay_changes(Replay *replay, Relation index, Relation heap, const IqdbPgMeta *meta, IqdbError *error)
{
	IqdbPgShared *shared = replay->arena->shared;
	IqdbStatus	status = IQDB_OK;

	replay->covered = palloc0(Max(replay->count, 1) * sizeof(bool));
	replay->vector = palloc(iqdb_pg_row_bytes(&replay->arena->index));
	replay->last = index_last_entries(replay->entries, replay->count);
	if (replay->count > 0)
		status = iqdb_pg_log_replay(MyDatabaseId, &meta->generation, replay->base, replay_frame, replay, error);
	if (status == IQDB_OK)
		status = fetch_uncovered(index, heap, replay, &shared->opening.fetched, error);
	shared->opening.replayed = replay->replayed;
	iqdb_pg_set_applied(shared, &replay->end);
	hash_destroy(replay->last);
	pfree(replay->vector);
	pfree(replay->covered);
	return status;
}

static void
replay_end(Replay *replay)
{
	if (replay->entries != NULL)
		pfree(unconstify(IqdbPgEntry *, replay->entries));
}

/* Is the snapshot's state part of this index's history? Says why not in the log. */
static bool
snapshot_fits(Relation index, const IqdbPgSnapshotInfo *info)
{
	IqdbPgRead	from = iqdb_pg_journal_verify(index, &info->replay_from);
	IqdbPgRead	to = from == IQDB_PG_READ_OK ? iqdb_pg_journal_verify(index, &info->must_exist) : from;

	if (to == IQDB_PG_READ_OK)
		return true;
	ereport(LOG,
			(errmsg("iqdb: snapshot \"%s\" of index \"%s\" is refused: %s", info->path, RelationGetRelationName(index),
					to == IQDB_PG_READ_LAPPED ? "the journal does not reach back to it" :
					"it is of another history than the table")));
	return false;
}

/* Says why a snapshot is not used; an error where the user wants damage to be one. */
static void
refuse(Relation index, const char *path, IqdbStatus status, const IqdbError *error)
{
	if (status != IQDB_ERR_CORRUPT && status != IQDB_ERR_VERSION)
	{
		ereport(LOG, (errmsg("iqdb: snapshot \"%s\" of index \"%s\" is refused: %s", path,
							 RelationGetRelationName(index), iqdb_pg_error_text(error))));
		return;
	}
	ereport(iqdb_on_corruption == IQDB_PG_CORRUPTION_ERROR ? ERROR : LOG,
			(errcode(ERRCODE_INDEX_CORRUPTED),
			 errmsg("iqdb: snapshot \"%s\" of index \"%s\" is damaged: %s", path, RelationGetRelationName(index),
					iqdb_pg_error_text(error)),
			 errdetail("File \"%s\", offset " UINT64_FORMAT ".", error->file, (uint64) error->offset),
			 errhint("REINDEX the index, or set iqdb.on_corruption to rebuild.")));
}

/*
 * Loads a snapshot into a new arena, and replays what came after it. Of removed rows a bare snapshot gets no content: their
 * TIDs may be other rows' by now.
 */
static IqdbStatus
fill_from_snapshot(Relation index, Relation heap, IqdbPgArena *arena, const IqdbPgMeta *meta, const IqdbPgSnapshotInfo *info,
				   IqdbError *error)
{
	Replay		replay;
	IqdbIndexStats stats;
	bool		bare;
	IqdbStatus	status;

	IQDB_TRY(iqdb_pg_snapshot_load(arena, info, &bare, error));
	status = replay_begin(&replay, index, arena, &info->replay_from, error);
	if (status == IQDB_OK)
		apply_removals(&replay);
	if (status == IQDB_OK && bare)
	{
		status = iqdb_pg_refill(index, heap, arena, error);
		if (status == IQDB_OK)
			status = iqdb_pg_snapshot_load_rest(arena, info, error);
	}
	if (status == IQDB_OK)
	{
		iqdb_index_stats(&arena->index, &stats);
		arena->shared->opening.loaded = stats.live;
		/* it was written before its lists were made */
		pg_atomic_write_u32(&arena->shared->unbuilt, stats.engine.outgrown && !stats.engine.trained);
		IQDB_PG_FAIL_POINT("loaded");
		status = replay_changes(&replay, index, heap, meta, error);
	}
	replay_end(&replay);
	return status;
}

/*
 * Makes an arena from one snapshot and what came after it. The arena gets the form that the snapshot was built in: options
 * that ALTER INDEX has changed since are for the next REINDEX. NULL with *status if that is not possible.
 */
static IqdbPgArena *
recover_from_snapshot(Relation index, Relation heap, const IqdbPgMeta *meta, IqdbIndexOptions options, bool avoid_shm,
					  const IqdbPgSnapshotInfo *info, IqdbStatus *status, IqdbError *error)
{
	IqdbIndexOptions built;
	IqdbPgArena *arena;

	*status = iqdb_pg_snapshot_options(info, &built, error);
	if (*status == IQDB_OK && !iqdb_index_options_as_built(&options, &built))
		*status = iqdb_fail(error, IQDB_ERR_CONFIG, "it is of an index of other dimensions, metric or method");
	if (*status != IQDB_OK)
		return NULL;
	arena = iqdb_pg_arena_create(index, meta, &options, false, avoid_shm, (double) info->rows, error);
	if (arena == NULL)
	{
		/* no folder to make it in is want of room, and no fault of the snapshot */
		*status = error->code == IQDB_ERR_IO ? IQDB_ERR_NO_SPACE : error->code;
		return NULL;
	}
	*status = fill_from_snapshot(index, heap, arena, meta, info, error);
	if (*status == IQDB_OK)
		return arena;
	iqdb_pg_arena_discard(arena);
	return NULL;
}

/* How many rows the table has, if the journal had one entry for each that came or went since the snapshot. */
static double
rows_since(Relation index, const IqdbPgSnapshotInfo *info)
{
	double		rows = (double) info->rows;
	IqdbPgPosition end;
	uint32		count;
	IqdbPgEntry *entries = read_entries(index, &info->replay_from, &count, &end);

	if (entries == NULL)
		return rows;
	for (uint32 i = 0; i < count; i++)
		rows += entries[i].op == IQDB_PG_OP_INSERT ? 1 : entries[i].op == IQDB_PG_OP_DELETE ? -1 : 0;
	pfree(entries);
	return Max(rows, 0);
}

/*
 * Makes an arena from own files; NULL with *status IQDB_OK if none will do. Whatever is wrong with a file, the next one is
 * tried, and the table at last: only a cancel and want of room are returned, which would end those as well. With want of
 * room *rows_out is how many rows there should be by now.
 */
static IqdbPgArena *
recover_from_files(Relation index, Relation heap, const IqdbPgMeta *meta, const IqdbIndexOptions *options,
				   bool avoid_shm, double *rows_out, IqdbStatus *status, IqdbError *error)
{
	IqdbPgSnapshotInfo *list;
	bool		damaged;
	int			count = iqdb_pg_snapshot_list(MyDatabaseId, &meta->generation, &list, &damaged);

	*status = IQDB_OK;
	if (damaged && iqdb_on_corruption == IQDB_PG_CORRUPTION_ERROR)
		ereport(ERROR,
				(errcode(ERRCODE_INDEX_CORRUPTED),
				 errmsg("a snapshot of index \"%s\" is damaged", RelationGetRelationName(index)),
				 errhint("The server log names file and offset. REINDEX the index, or set iqdb.on_corruption to "
						 "rebuild.")));
	for (int i = 0; i < count; i++)
	{
		IqdbPgArena *arena;

		CHECK_FOR_INTERRUPTS();
		if (!snapshot_fits(index, &list[i]))
			continue;
		arena = recover_from_snapshot(index, heap, meta, *options, avoid_shm, &list[i], status, error);
		if (arena != NULL)
		{
			IqdbPgShared *shared = arena->shared;

			pg_atomic_write_u64(&shared->snapshots.number, list[i].replay_from.number);
			pg_atomic_write_u64(&shared->snapshots.older, list[count - 1].replay_from.number);
			pg_atomic_write_u64(&shared->snapshots.time, 1);
			iqdb_pg_snapshot_note(arena, list[i].bytes, list[i].rows, list[i].bare);
			return arena;
		}
		if (iqdb_pg_is_want_of_room(*status))
			*rows_out = rows_since(index, &list[i]);
		if (*status == IQDB_ERR_CANCELLED || iqdb_pg_is_want_of_room(*status))
			return NULL;
		refuse(index, list[i].path, *status, error);
		*status = IQDB_OK;
	}
	return NULL;
}

static IqdbStatus
put_row(void *arg, IqdbPgRow *row, IqdbError *error)
{
	IqdbPgArena *arena = arg;

	IQDB_PG_FAIL_POINT("rebuild-row");
	IQDB_PG_FAIL_RETURN("rebuild-put", error);
	arena->shared->opening.rebuilt++;
	return iqdb_pg_row_put(&arena->index, row, error);
}

/* Makes an arena from the table, with all rows in it, none of them linked. */
static IqdbPgArena *
rebuild(Relation index, Relation heap, const IqdbPgMeta *meta, const IqdbIndexOptions *options, bool is_private,
		bool avoid_shm, IqdbStatus *status, IqdbError *error)
{
	IqdbPgArena *arena = iqdb_pg_arena_create(index, meta, options, is_private, avoid_shm,
											  iqdb_pg_estimate_rows(heap), error);
	IqdbPgShared *shared;
	IqdbPgPosition position;

	if (arena == NULL)
	{
		*status = error->code;
		return NULL;
	}
	shared = arena->shared;

	/* The position is read before the scan begins: what happens meanwhile is applied again afterwards. */
	position = is_private ? iqdb_pg_journal_origin(meta) : iqdb_pg_journal_end_position(index, meta->tail_hint);
	iqdb_pg_set_applied(shared, &position);
	if (!is_private)
		iqdb_pg_note_lsn(index, arena, position.block);
	*status = iqdb_pg_visit_table(index, heap, put_row, arena, error);
	IQDB_PG_FAIL_POINT("rebuilt");
	if (*status == IQDB_OK)
	{
		/* the rest is done when others can use it already */
		pg_atomic_write_u32(&shared->unbuilt, 1);
		return arena;
	}
	iqdb_pg_arena_discard(arena);
	return NULL;
}

void
iqdb_pg_finish_build(Relation index, IqdbPgArena *arena)
{
	if (pg_atomic_read_u32(&arena->shared->unbuilt) == 0)
		return;
	IQDB_PG_FAIL_POINT("finish-build");
	if (!arena->index.engine->links_at_end)
		iqdb_pg_link_pending(index, arena, 0);
	iqdb_pg_maintain(index, arena, IQDB_MAINTAIN_BUILD);
	pg_atomic_write_u32(&arena->shared->unbuilt, 0);
}

/*
 * Would the rows that the table has now fit into a new arena? The server's estimate is that of the last VACUUM, so in one that
 * has just removed many rows the journal knows better.
 */
static bool
table_fits(Relation heap, double rows_by_journal, const IqdbIndexOptions *options)
{
	double		rows = Min(iqdb_pg_estimate_rows(heap), rows_by_journal);

	return iqdb_index_estimate_memory(options, (uint64) Max(rows, 0)) + sizeof(IqdbPgShared) <= iqdb_pg_arena_limit();
}

bool
iqdb_pg_shrinks_ahead(Relation index, IqdbPgArena *arena)
{
	IqdbPgPosition end;
	uint32		count;
	IqdbPgPosition applied = iqdb_pg_applied(arena->shared);
	IqdbPgEntry *entries = read_entries(index, &applied, &count, &end);
	Replay		replay = {.arena = arena, .entries = entries, .count = count};
	IqdbIndexStats stats;
	uint64		gone = 0;
	uint64		added = 0;

	/* the journal has left it behind: it is opened anew anyway */
	if (entries == NULL)
		return true;
	replay.last = index_last_entries(entries, count);
	for (uint32 i = 0; i < count; i++)
	{
		uint64		id = iqdb_pg_entry_id(&entries[i]);

		CHECK_FOR_INTERRUPTS();
		if (entries[i].op == IQDB_PG_OP_EPOCH || !is_last(&replay, i))
			continue;
		if (iqdb_index_contains(&arena->index, iqdb_id_u64(id), NULL))
			gone += entries[i].op == IQDB_PG_OP_DELETE;
		else
			added += entries[i].op == IQDB_PG_OP_INSERT;
	}
	hash_destroy(replay.last);
	pfree(entries);
	iqdb_index_stats(&arena->index, &stats);
	return gone > 0 && added <= gone + stats.dead;
}

static void
report_open(Relation index, const IqdbPgArena *arena)
{
	const IqdbPgShared *shared = arena->shared;

	if (arena->is_private)
		return;
	ereport(LOG,
			(errmsg("iqdb: index \"%s\" opened in %.1f ms: %llu rows loaded from snapshot, %llu changes replayed from log, "
					"%llu rows fetched by journal, %llu rows rebuilt from table",
					RelationGetRelationName(index), shared->opening.microseconds / 1000.0,
					(unsigned long long) shared->opening.loaded, (unsigned long long) shared->opening.replayed,
					(unsigned long long) shared->opening.fetched, (unsigned long long) shared->opening.rebuilt)));
}

IqdbPgArena *
iqdb_pg_recover(Relation index, Relation heap, IqdbPgMeta *meta, IqdbError *error)
{
	bool		is_private = index->rd_rel->relpersistence == RELPERSISTENCE_TEMP;
	bool		permanent = index->rd_rel->relpersistence == RELPERSISTENCE_PERMANENT;
	IqdbIndexOptions options = iqdb_pg_index_options(index);
	uint32		number = iqdb_pg_file_number(iqdb_pg_rel_file(index));
	IqdbPgArena *arena = NULL;
	IqdbStatus	status = IQDB_OK;
	bool		avoid_shm = false;
	double		rows = 0;
	uint64		fetched;
	instr_time	start;
	instr_time	end;

	/* a search is told by iqdb_pg_search_params */
	options.probes = 0;
	INSTR_TIME_SET_CURRENT(start);
	if (meta->flags & IQDB_PG_META_INIT)
		iqdb_pg_journal_adopt_init(index, meta);
	for (;;)
	{
		bool		elsewhere;

		if (permanent)
			arena = recover_from_files(index, heap, meta, &options, avoid_shm, &rows, &status, error);
		/* what a snapshot and the log hold may be more than the table has by now */
		if (arena == NULL && (status == IQDB_OK || (status == IQDB_ERR_LIMIT && table_fits(heap, rows, &options))))
			arena = rebuild(index, heap, meta, &options, is_private, avoid_shm, &status, error);
		/* the first folder may be too small: try the other once; the reserve may be, too: the next one is larger */
		elsewhere = status == IQDB_ERR_NO_SPACE && !is_private && !avoid_shm;
		if (arena != NULL || !(elsewhere || (status == IQDB_ERR_LIMIT &&
											 iqdb_pg_arena_was_outgrown(number, &meta->generation))))
			break;
		avoid_shm |= elsewhere;
	}
	if (arena == NULL)
	{
		if (status == IQDB_ERR_CANCELLED)
			iqdb_pg_raise(status, error, index);
		return NULL;
	}
	if (is_private)
		iqdb_pg_finish_build(index, arena);
	status = is_private ? IQDB_OK : iqdb_pg_follow(index, heap, arena, &fetched, error);
	if (status != IQDB_OK)
	{
		iqdb_pg_arena_discard(arena);
		return NULL;
	}
	iqdb_pg_log_begin(arena);
	/* what took work to recover is not to be recovered again */
	if (arena->shared->opening.rebuilt + arena->shared->opening.replayed + arena->shared->opening.fetched > SNAPSHOT_AFTER)
		pg_atomic_write_u32(&arena->shared->snapshots.wanted, 1);
	INSTR_TIME_SET_CURRENT(end);
	INSTR_TIME_SUBTRACT(end, start);
	arena->shared->opening.microseconds = INSTR_TIME_GET_MICROSEC(end);
	iqdb_pg_arena_set_ready(arena);
	report_open(index, arena);
	iqdb_pg_worker_wanted();
	return arena;
}

