/*
 * pg_insert.c - aminsert: one row into the journal and into the arena.
 *
 * The statement's cost is a copy of the vector and 8 bytes of journal; graph work comes after both, outside every lock,
 * when the row can be found already. An index that is not open, or has no room, never fails an insert nor holds it up: the
 * row is journaled, the index is behind, and whoever needs the index next applies it or says why not.
 */
#include "postgres.h"

#include "access/genam.h"
#include "miscadmin.h"

#include "pg/pg_am.h"
#include "pg/pg_bridge.h"
#include "pg/pg_files.h"
#include "pg/pg_heap.h"
#include "pg/pg_open.h"
#include "pg/pg_options.h"
#include "pg/pg_registry.h"
#include "pg/pg_work.h"
#include "pg/pg_worker.h"
#include "pg/pg_write.h"

/* Rows that an insert links beside its own where no keeper runs. */
#define LINKED_PER_INSERT 2

/* Tells the user once that an index has fallen behind. */
static void
warn_behind(Relation index, IqdbPgArena *arena, const IqdbError *error)
{
	if (arena != NULL && !iqdb_pg_set_full(index, arena, true))
		return;
	ereport(WARNING,
			(errcode(iqdb_pg_sqlstate(error->code)),
			 errmsg("index \"%s\" has fallen behind its table: %s", RelationGetRelationName(index), iqdb_pg_error_text(error)),
			 errdetail("Rows are not lost: queries do not use the index until it has room."),
			 errhint("%s Then call iqdb_prewarm, or let VACUUM bring the index up.",
					 iqdb_pg_hint(error) != NULL ? iqdb_pg_hint(error) : "See the server's log.")));
}

/*
 * The same for an index that nobody could open lately: what the reason was, only the log knows. Once for each index in a
 * session, or a little more often where many of them are in this state.
 */
static void
warn_closed(Relation index)
{
	static uint64 warned[64];
	IqdbPgGeneration generation;
	uint64	   *place;

	if (!iqdb_pg_journal_generation(index, &generation) || !iqdb_pg_no_room_lately(generation.low))
		return;
	place = &warned[generation.low % lengthof(warned)];
	if (*place == generation.low)
		return;
	*place = generation.low;
	ereport(WARNING,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("index \"%s\" has fallen behind its table: it could not be opened", RelationGetRelationName(index)),
			 errdetail("Rows are not lost: queries do not use the index until it can be opened."),
			 errhint("The server log says why, and iqdb_prewarm tries again.")));
}

/* The form of the rows; kept as long as the statement keeps what it knows of the index. */
static const IqdbPgRowForm *
form_of_statement(Relation index, IndexInfo *info)
{
	if (info->ii_AmCache == NULL)
	{
		MemoryContext saved = MemoryContextSwitchTo(info->ii_Context);
		IqdbPgRowForm *form = palloc(sizeof(IqdbPgRowForm));

		*form = iqdb_pg_row_form(index);
		info->ii_AmCache = form;
		MemoryContextSwitchTo(saved);
	}
	return info->ii_AmCache;
}

bool
iqdb_am_insert(Relation index, Datum *values, bool *isnull, ItemPointer tid, Relation heap, IndexUniqueCheck unique,
			   bool unchanged, IndexInfo *info)
{
	const IqdbPgRowForm *form;
	IqdbPgRow	row;
	IqdbColumnValues columns;
	IqdbPgArena *arena;
	IqdbError	error = {0};
	struct varlena *datum;
	bool		outgrown;

	if (isnull[0])
		return false;

	form = form_of_statement(index, info);
	datum = PG_DETOAST_DATUM(values[0]);
	row = iqdb_pg_row(iqdb_pg_tid_number(tid), iqdb_pg_row_vector(form, PointerGetDatum(datum)));
	row.columns = iqdb_pg_row_columns(form, values, isnull, &columns);

	arena = iqdb_pg_open(index, heap, IQDB_PG_OPEN_ASK, &error);
	iqdb_pg_write_insert(index, arena, &row, &error);
	outgrown = arena != NULL && error.code == IQDB_ERR_LIMIT && iqdb_pg_arena_outgrown(arena);
	if (error.code != IQDB_OK && !outgrown)
		warn_behind(index, arena, &error);

	if (arena != NULL)
	{
		if (row.slot != IQDB_SLOT_NONE)
			iqdb_pg_link(index, arena, row.slot);
		else if (outgrown && arena->is_private)
			/* there is no journal: the next who opens it reads the table, and finds this row there */
			iqdb_pg_arena_discard(arena);
		else if (error.code == IQDB_OK || outgrown)
			/* entries before ours were left for later, as by those who came while the arena was made: or all would be */
			iqdb_pg_catch_up_if_free(index, heap, arena);
		/* what a recovery left unlinked is the keeper's work; without one, each insert does a little of it */
		if (!iqdb_pg_worker_runs())
		{
			iqdb_pg_link_pending(index, arena, LINKED_PER_INSERT);
			if (!arena->is_private)
				iqdb_pg_worker_wanted();
		}
		if (iqdb_pg_log_is_due(arena->shared))
			iqdb_pg_log_flush(arena, false, false);
	}
	else
		warn_closed(index);
	if ((Pointer) datum != DatumGetPointer(values[0]))
		pfree(datum);
	return false;
}
