/*
 * pg_inspect.c - the SQL functions that look at one index: iqdb_index_stats, iqdb_index_size, iqdb_check.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xlog.h"
#include "catalog/index.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "pg/pg_admin.h"
#include "pg/pg_compat.h"
#include "pg/pg_files.h"
#include "pg/pg_heap.h"
#include "pg/pg_lock.h"
#include "pg/pg_open.h"
#include "pg/pg_options.h"
#include "pg/pg_recovery.h"

/* ---- numbers ----------------------------------------------------------------------------------------------------- */

/* How far the journal goes, and how far back. Not known while somebody holds its pages. */
typedef struct JournalLook
{
	bool		known;
	uint64		oldest;
	uint64		end;
} JournalLook;

/*
 * What a query would meet. "closed": it would open the index; "recovering": somebody is at it; "building": its rows are
 * there, and looked at one by one until links or lists are made; "busy": somebody holds the journal, and queries wait for
 * that. This function waits for nobody, because it is what one looks at then.
 */
static const char *
state_name(Relation index, const IqdbPgArena *arena, const JournalLook *journal)
{
	uint32		number = iqdb_pg_file_number(iqdb_pg_rel_file(index));

	if (arena == NULL)
		return iqdb_pg_is_locked(MyDatabaseId, number, IQDB_PG_LOCK_OPEN) || iqdb_pg_recovery_asked(index) ?
			"recovering" : "closed";
	if (pg_atomic_read_u32(&arena->shared->full) != 0)
		return "full";
	if (!journal->known)
		return "busy";
	if (!arena->is_private && journal->end > pg_atomic_read_u64(&arena->shared->applied.number))
		return "behind";
	return pg_atomic_read_u32(&arena->shared->unbuilt) != 0 ? "building" : "ready";
}

#define STATS_COLUMNS_MAX 64

/* A result row, filled from left to right in the order of the function's OUT arguments. */
typedef struct StatsRow
{
	Datum		values[STATS_COLUMNS_MAX];
	bool		nulls[STATS_COLUMNS_MAX];
	int			count;
} StatsRow;

/* The next column; NULL if it is not known. */
static void
put(StatsRow *row, bool known, Datum value)
{
	row->nulls[row->count] = !known;
	row->values[row->count++] = known ? value : (Datum) 0;
}

static void
put_number(StatsRow *row, bool known, uint64 number)
{
	put(row, known, Int64GetDatum((int64) number));
}

static void
put_text(StatsRow *row, bool known, const char *text)
{
	put(row, known, known ? CStringGetTextDatum(text) : (Datum) 0);
}

/* engine, metric, dimensions, quantization, filter_columns, state */
static void
put_kind(StatsRow *row, Relation index, const IqdbPgArena *arena, const IqdbIndexOptions *options, const JournalLook *journal)
{
	put_text(row, true, iqdb_engine_get(options->engine)->name);
	put_text(row, true, iqdb_metric_name((IqdbMetric) options->metric));
	put(row, true, Int32GetDatum((int32) options->dimension));
	put_text(row, true, iqdb_quantization_name(options->quantization));
	put(row, true, Int32GetDatum(options->column_count));
	put_text(row, true, state_name(index, arena, journal));
}

/* rows, deleted, known, unlinked, memory, memory_file, vectors_on_disk */
static void
put_contents(StatsRow *row, const IqdbPgArena *arena, const IqdbIndexStats *stats)
{
	bool		open = arena != NULL;

	put_number(row, open, stats->live);
	put_number(row, open, stats->dead);
	put_number(row, open, stats->known);
	put_number(row, open, stats->engine.unlinked);
	put_number(row, open, stats->memory);
	put_text(row, open, open && !arena->is_private ? arena->path : "");
	put_number(row, open, stats->vector_file);
}

/* disk, log_bytes, journal_entries, journal_kept, journal_lag, snapshot_time, snapshot_bytes */
static void
put_files(StatsRow *row, const IqdbPgArena *arena, const IqdbPgGeneration *generation, const JournalLook *journal)
{
	IqdbPgShared *shared = arena != NULL ? arena->shared : NULL;
	uint64		snapshot_time = shared != NULL ? pg_atomic_read_u64(&shared->snapshots.time) : 0;
	uint64		applied = shared != NULL ? pg_atomic_read_u64(&shared->applied.number) : 0;

	put_number(row, true, iqdb_pg_files_size(MyDatabaseId, generation));
	put_number(row, shared != NULL, shared != NULL ? iqdb_pg_log_length(shared) : 0);
	put_number(row, journal->known, journal->end);
	put_number(row, journal->known, journal->end - Min(journal->end, journal->oldest));
	/* applied may have gone beyond the end that was seen before */
	put_number(row, journal->known && shared != NULL && !arena->is_private, journal->end - Min(journal->end, applied));
	/* 1: loaded from a file of which only this is known */
	put(row, snapshot_time > 1, TimestampTzGetDatum((TimestampTz) snapshot_time));
	put_number(row, shared != NULL,
			   shared != NULL ? pg_atomic_read_u64(&shared->snapshots.bytes) : 0);
}

/* What the engine says of itself, by name. */
typedef struct Named
{
	const char *name;
	double		numbers[16];
	size_t		count;
} Named;

typedef struct NamedList
{
	Named		named[16];
	int			count;
} NamedList;

static void
remember(void *arg, const char *name, const double *numbers, size_t count)
{
	NamedList  *list = arg;
	Named	   *named = &list->named[list->count];

	if (list->count == lengthof(list->named))
		return;
	named->name = name;
	named->count = Min(count, lengthof(named->numbers));
	memcpy(named->numbers, numbers, named->count * sizeof(*numbers));
	list->count++;
}

/* A number as the column's type wants it. */
static Datum
number_datum(const Named *named, Oid type)
{
	Datum		elements[lengthof(named->numbers)];

	switch (type)
	{
		case BOOLOID:
			return BoolGetDatum(named->numbers[0] != 0);
		case INT4OID:
			return Int32GetDatum((int32) named->numbers[0]);
		case INT8OID:
			return Int64GetDatum((int64) named->numbers[0]);
		case FLOAT8OID:
			return Float8GetDatum(named->numbers[0]);
		case INT8ARRAYOID:
			for (size_t i = 0; i < named->count; i++)
				elements[i] = Int64GetDatum((int64) named->numbers[i]);
			return PointerGetDatum(construct_array(elements, (int) named->count, INT8OID, sizeof(int64), FLOAT8PASSBYVAL,
												   TYPALIGN_DOUBLE));
		default:
			elog(ERROR, "statistic \"%s\" has a column of type %u", named->name, type);
	}
}

/* The columns of engines: each is filled by the engine that has a number of its name. */
static void
put_engine(StatsRow *row, TupleDesc tupdesc, const IqdbEngine *engine, const IqdbEngineStats *stats)
{
	NamedList	list = {.count = 0};

	if (engine != NULL && engine->visit_stats != NULL)
		engine->visit_stats(stats, remember, &list);
	for (int column = row->count; column < tupdesc->natts; column++)
	{
		Form_pg_attribute attribute = TupleDescAttr(tupdesc, column);
		int			at = 0;

		while (at < list.count && strcmp(list.named[at].name, NameStr(attribute->attname)) != 0)
			at++;
		put(row, at < list.count, at < list.count ? number_datum(&list.named[at], attribute->atttypid) : (Datum) 0);
	}
}

/* What the functions above fill, in their order. */
#define COMMON_COLUMNS \
	"engine metric dimensions quantization filter_columns state rows deleted known unlinked memory memory_file " \
	"vectors_on_disk disk log_bytes journal_entries journal_kept journal_lag snapshot_time snapshot_bytes generation"

static StatsRow
stats_of_index(Relation index, TupleDesc tupdesc)
{
	IqdbError	error = {0};
	IqdbPgArena *arena = iqdb_pg_open(index, NULL, IQDB_PG_OPEN_IF_READY, &error);
	IqdbIndexOptions options = arena != NULL ? arena->index.store.header->options : iqdb_pg_index_options(index);
	IqdbIndexStats stats = {0};
	StatsRow	row = {.count = 0};
	JournalLook journal = {.known = true};
	IqdbPgGeneration generation;

	(void) iqdb_pg_journal_generation(index, &generation);
	if (index->rd_rel->relpersistence != RELPERSISTENCE_TEMP)
		journal.known = iqdb_pg_journal_glance(index, &journal.oldest, &journal.end);
	if (arena != NULL)
		iqdb_index_stats(&arena->index, &stats);
	put_kind(&row, index, arena, &options, &journal);
	put_contents(&row, arena, &stats);
	put_files(&row, arena, &generation, &journal);
	put_text(&row, true, psprintf("%016llx%016llx", (unsigned long long) generation.high, (unsigned long long) generation.low));
	put_engine(&row, tupdesc, arena != NULL ? arena->index.engine : NULL, &stats.engine);
	return row;
}

/* States of which the first that some partition is in is that of all. */
static const char *const worst_states[] = {"full", "recovering", "behind", "busy", "building", "closed", "ready"};

static Datum
worse_state(Datum a, Datum b)
{
	for (int i = 0; i < lengthof(worst_states); i++)
	{
		if (strcmp(TextDatumGetCString(a), worst_states[i]) == 0)
			return a;
		if (strcmp(TextDatumGetCString(b), worst_states[i]) == 0)
			return b;
	}
	return a;
}

/*
 * Puts the value of one more partition to a column: numbers add up, times are the earliest, of states it is the worst. What is
 * not known of one, or differs otherwise, or is not a sum, is NULL.
 */
static void
combine(StatsRow *sums, const StatsRow *row, int column, Form_pg_attribute attribute, int common)
{
	Datum	   *sum = &sums->values[column];
	Datum		value = row->values[column];

	if (sums->nulls[column] || row->nulls[column] || column >= common)
		sums->nulls[column] = true;
	else if (strcmp(NameStr(attribute->attname), "state") == 0)
		*sum = worse_state(*sum, value);
	else if (attribute->atttypid == INT8OID)
		*sum = Int64GetDatum(DatumGetInt64(*sum) + DatumGetInt64(value));
	else if (attribute->atttypid == TIMESTAMPTZOID)
		*sum = TimestampTzGetDatum(Min(DatumGetTimestampTz(*sum), DatumGetTimestampTz(value)));
	else
		sums->nulls[column] = !datumIsEqual(*sum, value, attribute->attbyval, attribute->attlen);
}

/* Columns that stand before those of engines. */
static int
common_columns(void)
{
	int			count = 1;

	for (const char *at = COMMON_COLUMNS; *at != '\0'; at++)
		count += *at == ' ';
	return count;
}

PG_FUNCTION_INFO_V1(iqdb_sql_index_stats);
Datum
iqdb_sql_index_stats(PG_FUNCTION_ARGS)
{
	TupleDesc	tupdesc = iqdb_pg_result_row(fcinfo, 1, COMMON_COLUMNS);
	IqdbPgIndexes indexes = iqdb_pg_open_indexes(PG_GETARG_OID(0), AccessShareLock, IQDB_PG_MAY_WATCH);
	StatsRow	sums;

	if (tupdesc->natts > STATS_COLUMNS_MAX)
		elog(ERROR, "there are %d columns, %d at most are possible", tupdesc->natts, STATS_COLUMNS_MAX);
	memset(sums.nulls, true, sizeof(sums.nulls));
	for (int i = 0; i < indexes.count; i++)
	{
		StatsRow	row = stats_of_index(indexes.leaves[i], tupdesc);

		if (i == 0)
			sums = row;
		for (int column = 0; i > 0 && column < tupdesc->natts; column++)
			combine(&sums, &row, column, TupleDescAttr(tupdesc, column), common_columns());
	}
	iqdb_pg_close_indexes(&indexes, AccessShareLock);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), sums.values, sums.nulls)));
}

/* Of partitions, what gives each of them this share of its rows. */
PG_FUNCTION_INFO_V1(iqdb_sql_suggest_probes);
Datum
iqdb_sql_suggest_probes(PG_FUNCTION_ARGS)
{
	IqdbPgIndexes indexes = iqdb_pg_open_indexes(PG_GETARG_OID(0), AccessShareLock, IQDB_PG_MAY_WATCH);
	IqdbError	error = {0};
	uint32		most = 1;

	for (int i = 0; i < indexes.count; i++)
	{
		IqdbPgArena *arena = iqdb_pg_open_current(indexes.leaves[i], NULL);
		uint32		probes = 1;

		iqdb_pg_check(iqdb_index_suggest_probes(&arena->index, PG_GETARG_FLOAT8(1), &probes, &error), &error,
					  indexes.leaves[i]);
		most = Max(most, probes);
	}
	iqdb_pg_close_indexes(&indexes, AccessShareLock);
	PG_RETURN_INT32((int32) most);
}

static uint64
size_of_index(Relation index)
{
	uint64		bytes = (uint64) RelationGetNumberOfBlocks(index) * BLCKSZ;
	IqdbError	error = {0};
	IqdbPgArena *arena = iqdb_pg_open(index, NULL, IQDB_PG_OPEN_IF_READY, &error);
	IqdbPgGeneration generation;

	(void) iqdb_pg_journal_generation(index, &generation);
	bytes += iqdb_pg_files_size(MyDatabaseId, &generation);
	return arena != NULL ? bytes + iqdb_arena_paged_bytes(&arena->arena) : bytes;
}

PG_FUNCTION_INFO_V1(iqdb_sql_index_size);
Datum
iqdb_sql_index_size(PG_FUNCTION_ARGS)
{
	IqdbPgIndexes indexes = iqdb_pg_open_indexes(PG_GETARG_OID(0), AccessShareLock, IQDB_PG_MAY_WATCH);
	uint64		bytes = 0;

	for (int i = 0; i < indexes.count; i++)
		bytes += size_of_index(indexes.leaves[i]);
	iqdb_pg_close_indexes(&indexes, AccessShareLock);
	PG_RETURN_INT64((int64) bytes);
}

/* ---- iqdb_check -------------------------------------------------------------------------------------------------- */

#define FINDINGS_MAX 1000
#define CHECK_ATTEMPTS 60

typedef struct CheckState
{
	ReturnSetInfo *result;
	bool		is_named;		/* by the caller; else findings say of which index they are */
	Relation	index;
	Relation	heap;
	IqdbPgArena *arena;
	IqdbPgRowForm form;
	MemoryContext row_context;
	uint64		rows;
	int			findings;
} CheckState;

static void
report(CheckState *state, const char *what)
{
	Datum		value;
	bool		null = false;

	if (state->findings++ >= FINDINGS_MAX)
		return;
	value = CStringGetTextDatum(state->is_named ? what : psprintf("%s: %s", RelationGetRelationName(state->index), what));
	tuplestore_putvalues(state->result->setResult, state->result->setDesc, &value, &null);
}

/* The core must not be left by a jump: its findings are kept, in memory taken before, until it has returned. */
#define CORE_FINDINGS_BYTES (256 * 1024)

typedef struct CoreFindings
{
	char	   *texts;			/* one behind the other, each with its end */
	Size		used;
} CoreFindings;

static void
core_finding(void *arg, const char *what)
{
	CoreFindings *findings = arg;
	Size		size = strlen(what) + 1;

	if (size > CORE_FINDINGS_BYTES - findings->used)
		return;
	memcpy(findings->texts + findings->used, what, size);
	findings->used += size;
}

/* Does nobody change the index or link rows in it? Counts agree only then. */
static bool
core_is_still(const IqdbPgArena *arena, const IqdbIndexStats *before)
{
	IqdbIndexStats now;

	iqdb_index_stats(&arena->index, &now);
	return now.changes == before->changes && now.engine.unlinked == 0 && before->engine.unlinked == 0;
}

/* What was found beside a writer is looked for again, for a while: it may have been the writer. */
static void
check_core(CheckState *state)
{
	CoreFindings findings = {palloc(CORE_FINDINGS_BYTES), 0};
	IqdbPgView	view;

	iqdb_pg_view(&view, state->arena);
	for (int attempt = 0;; attempt++)
	{
		IqdbIndexStats before;
		IqdbError	error = {0};

		CHECK_FOR_INTERRUPTS();
		findings.used = 0;
		iqdb_index_stats(&state->arena->index, &before);
		iqdb_pg_check(iqdb_index_check(&view.index, core_finding, &findings, &error), &error, state->index);
		if (findings.used > 0 && attempt < CHECK_ATTEMPTS && !core_is_still(state->arena, &before))
		{
			pg_usleep(50000L);
			continue;
		}
		for (Size at = 0; at < findings.used; at += strlen(findings.texts + at) + 1)
			report(state, findings.texts + at);
		pfree(findings.texts);
		return;
	}
}

/* Are the index's values of this row's columns those of the table? Reports each that is not. */
static void
check_columns(CheckState *state, ItemPointer tid, const Datum *values, const bool *isnull)
{
	IqdbColumnValues wanted;
	IqdbColumnValues stored;

	if (iqdb_pg_row_columns(&state->form, values, isnull, &wanted) == NULL ||
		!iqdb_index_get_columns(&state->arena->index, iqdb_id_u64(iqdb_pg_tid_number(tid)), &stored))
		return;
	for (int i = 0; i < state->form.columns->count; i++)
	{
		bool		is_null = (wanted.nulls >> i & 1) != 0;

		if (is_null == ((stored.nulls >> i & 1) != 0) && (is_null || wanted.values[i] == stored.values[i]))
			continue;
		report(state, psprintf("column \"%s\" of row (%u,%u) differs from the table's",
							   NameStr(TupleDescAttr(RelationGetDescr(state->index), i + 1)->attname),
							   ItemPointerGetBlockNumber(tid), ItemPointerGetOffsetNumber(tid)));
	}
}

/* Every row that can be seen must be there, with these very values. One missing may just be younger than our last look. */
static void
check_row(Relation index, ItemPointer tid, Datum *values, bool *isnull, bool alive, void *arg)
{
	CheckState *state = arg;
	MemoryContext saved;
	IqdbId		id = iqdb_id_u64(iqdb_pg_tid_number(tid));
	void	   *stored;
	size_t		metadata_length;

	CHECK_FOR_INTERRUPTS();
	if (isnull[0])
		return;
	state->rows++;
	saved = MemoryContextSwitchTo(state->row_context);
	stored = palloc(state->form.bytes);
	if (!iqdb_index_get(&state->arena->index, id, stored, NULL, 0, &metadata_length))
	{
		iqdb_pg_catch_up(index, state->heap, state->arena);
		if (!iqdb_index_get(&state->arena->index, id, stored, NULL, 0, &metadata_length))
			report(state, psprintf("row (%u,%u) of the table is missing in the index",
								   ItemPointerGetBlockNumber(tid), ItemPointerGetOffsetNumber(tid)));
	}
	else if (memcmp(stored, iqdb_pg_row_vector(&state->form, values[0]), state->form.bytes) != 0)
		report(state, psprintf("the vector of row (%u,%u) differs from the table's",
							   ItemPointerGetBlockNumber(tid), ItemPointerGetOffsetNumber(tid)));
	check_columns(state, tid, values, isnull);
	MemoryContextSwitchTo(saved);
	MemoryContextReset(state->row_context);
}

/* Is the line pointer in use? */
static bool
line_pointer_used(Relation heap, ItemPointer tid, BlockNumber blocks)
{
	Buffer		buffer;
	Page		page;
	bool		used;

	if (ItemPointerGetBlockNumber(tid) >= blocks)
		return false;
	buffer = ReadBuffer(heap, ItemPointerGetBlockNumber(tid));
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	page = BufferGetPage(buffer);
	used = !PageIsNew(page) && ItemPointerGetOffsetNumber(tid) <= PageGetMaxOffsetNumber(page) &&
		ItemIdIsUsed(PageGetItemId(page, ItemPointerGetOffsetNumber(tid)));
	UnlockReleaseBuffer(buffer);
	return used;
}

/* Every TID that the index holds must be one that the table has not given free. */
static void
check_ids(CheckState *state)
{
	BlockNumber blocks = RelationGetNumberOfBlocks(state->heap);
	uint64		position = 0;
	uint64		ids[256];
	size_t		count;

	while ((count = iqdb_index_ids(&state->arena->index, &position, ids, NULL, lengthof(ids))) > 0)
	{
		CHECK_FOR_INTERRUPTS();
		for (size_t i = 0; i < count; i++)
		{
			ItemPointerData tid;

			iqdb_pg_number_tid(ids[i], &tid);
			if (line_pointer_used(state->heap, &tid, blocks) ||
				line_pointer_used(state->heap, &tid, RelationGetNumberOfBlocks(state->heap)))
				continue;
			iqdb_pg_catch_up(state->index, state->heap, state->arena);
			if (iqdb_index_contains(&state->arena->index, iqdb_id_u64(ids[i]), NULL))
				report(state, psprintf("the index holds row (%u,%u), which the table does not have",
									   ItemPointerGetBlockNumber(&tid), ItemPointerGetOffsetNumber(&tid)));
		}
	}
}

static void
check_index(CheckState *state)
{
	IndexInfo  *info;
	IqdbPgOwner owner;

	state->heap = table_open(state->index->rd_index->indrelid, AccessShareLock);
	state->arena = iqdb_pg_open_current(state->index, state->heap);
	state->form = iqdb_pg_row_form(state->index);
	state->row_context = AllocSetContextCreate(CurrentMemoryContext, "iqdb check", ALLOCSET_DEFAULT_SIZES);
	check_core(state);
	iqdb_pg_become_owner(&owner, state->index, state->heap);
	info = BuildIndexInfo(state->index);
	/* what a snapshot sees: rows whose statement is still on its way, and dead ones, may be missing */
	info->ii_Concurrent = true;
	table_index_build_range_scan(state->heap, state->index, info, false, false, false, 0, InvalidBlockNumber, check_row,
								 state, NULL);
	iqdb_pg_become_self(&owner);
	check_ids(state);
	MemoryContextDelete(state->row_context);
	table_close(state->heap, AccessShareLock);
}

PG_FUNCTION_INFO_V1(iqdb_sql_check);
Datum
iqdb_sql_check(PG_FUNCTION_ARGS)
{
	IqdbPgIndexes indexes;

	iqdb_pg_init_set(fcinfo);
	indexes = iqdb_pg_open_indexes(PG_GETARG_OID(0), AccessShareLock, IQDB_PG_MAY_READ);
	for (int i = 0; i < indexes.count; i++)
	{
		CheckState	state = {
			.result = (ReturnSetInfo *) fcinfo->resultinfo,
			.index = indexes.leaves[i],
			.is_named = indexes.leaves[i] == indexes.named
		};

		check_index(&state);
	}
	iqdb_pg_close_indexes(&indexes, AccessShareLock);
	return (Datum) 0;
}
