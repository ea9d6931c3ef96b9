/*
 * pg_work.c - the engine's long work for a statement: links, repairs, training, snapshots; see pg_work.h.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "pg/pg_fail.h"
#include "pg/pg_files.h"
#include "pg/pg_work.h"

/* So many attempts make way for every interrupt. */
#define YIELDS_MAX 5

/*
 * Somebody has removed the file, and this memory cannot grow any more: it is given up, which is no error of the statement
 * that found out. The rows are in the journal; who needs the index next opens it anew.
 */
static bool
has_lost_file(Relation index, IqdbPgArena *arena, IqdbStatus status, const IqdbError *error)
{
	if (status != IQDB_ERR_IO || !iqdb_pg_arena_is_stale(arena))
		return false;
	ereport(LOG, (errmsg("iqdb: index \"%s\" is opened anew: %s", RelationGetRelationName(index),
						 iqdb_pg_error_text(error))));
	iqdb_pg_arena_discard(arena);
	return true;
}

/*
 * Before each attempt at something that makes way for every interrupt. Some interrupts come again and again, as
 * client_connection_check_interval has it, and a training begins anew after each: so from some attempt on, only a cancel or
 * the end of the process stops it.
 */
static void
before_attempt(IqdbPgView *view, int attempt)
{
	CHECK_FOR_INTERRUPTS();
	if (attempt < YIELDS_MAX)
		iqdb_pg_host_yielding(&view->host);
	else
		view->host.cancelled = iqdb_pg_host(CurrentMemoryContext).cancelled;
}

void
iqdb_pg_link(Relation index, IqdbPgArena *arena, uint32 slot)
{
	IqdbPgView	view;
	IqdbStatus	status;
	IqdbError	error;
	int			attempt = 0;

	iqdb_pg_view(&view, arena);
	do
	{
		before_attempt(&view, attempt++);
		error.code = IQDB_OK;
		IQDB_PG_FAIL_POINT("link");
		status = iqdb_index_link(&view.index, slot, &error);
	} while (status == IQDB_ERR_CANCELLED);
	if (!iqdb_pg_is_want_of_room(status) && !has_lost_file(index, arena, status, &error))
		iqdb_pg_check(status, &error, index);
}

void
iqdb_pg_link_pending(Relation index, IqdbPgArena *arena, uint64 max_rows)
{
	IqdbPgView	view;
	IqdbStatus	status;
	IqdbError	error;
	int			attempt = 0;
	uint64		linked;

	iqdb_pg_view(&view, arena);
	do
	{
		before_attempt(&view, attempt++);
		error.code = IQDB_OK;
		status = iqdb_index_link_pending(&view.index, max_rows > 0 ? max_rows : 256, &linked, &error);
		if (iqdb_pg_is_want_of_room(status) || has_lost_file(index, arena, status, &error))
			return;
		if (status != IQDB_ERR_CANCELLED)
			iqdb_pg_check(status, &error, index);
	} while ((linked > 0 && max_rows == 0) || status == IQDB_ERR_CANCELLED);
}

void
iqdb_pg_maintain(Relation index, IqdbPgArena *arena, IqdbMaintain what)
{
	IqdbPgView	view;
	IqdbStatus	status;
	IqdbError	error;
	int			attempt = 0;

	iqdb_pg_view(&view, arena);
	do
	{
		before_attempt(&view, attempt++);
		error.code = IQDB_OK;
		status = iqdb_index_maintain(&view.index, what, &error);
	} while (status == IQDB_ERR_CANCELLED);
	if (!has_lost_file(index, arena, status, &error))
		iqdb_pg_check(status, &error, index);
}

bool
iqdb_pg_assist(Relation index, IqdbPgArena *arena)
{
	IqdbPgView	view;
	IqdbStatus	status;
	IqdbError	error = {0};
	bool		worked;

	iqdb_pg_view(&view, arena);
	iqdb_pg_host_yielding(&view.host);
	CHECK_FOR_INTERRUPTS();
	status = iqdb_index_assist(&view.index, &worked, &error);
	if (status != IQDB_ERR_CANCELLED)
		iqdb_pg_check(status, &error, index);
	return worked;
}

void
iqdb_pg_save(Relation index, IqdbPgArena *arena, bool wait)
{
	IqdbError	error = {0};
	IqdbStatus	status;

	if (!arena->shared->permanent)
		return;
	status = iqdb_pg_snapshot_take(arena, wait, &error);
	if (status == IQDB_ERR_CANCELLED)
		iqdb_pg_raise(status, &error, index);
	if (status != IQDB_OK)
		ereport(LOG, (errmsg("iqdb: no snapshot of index \"%s\" could be written: %s", RelationGetRelationName(index),
							 iqdb_pg_error_text(&error))));
}
