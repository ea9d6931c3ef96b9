/*
 * pg_truth.c - iqdb_ground_truth: the nearest rows of many queries, exact, from one pass over the table.
 *
 * Not the index is asked but the table, by the snapshot of the calling statement: the answer is what ORDER BY with the
 * index's operator, a LIMIT and no index would give to each query, with equal distances in the order of TIDs. An index
 * also holds rows that this snapshot does not see, and older versions that VACUUM has not removed yet; whatever is
 * compared with the truth by TID must be so by what the snapshot sees. The index says which rows (its predicate),
 * which values (its column or expression) and which distance.
 *
 * Each row is read once, and meets all queries; of each query the k nearest so far are kept in a heap, the farthest on
 * top.
 */
#include "postgres.h"

#include <math.h>

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/index.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/itemptr.h"
#include "utils/float.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"

#include "pg/pg_admin.h"
#include "pg/pg_heap.h"
#include "pg/pg_kernels.h"
#include "pg/pg_options.h"
#include "pg/pg_query.h"
#include "pg/pg_row.h"
#include "pg/pg_truth.h"

/* A query and the nearest rows so far. */
typedef struct Asked
{
	const void *query;			/* a prepared one */
	bool		no_distance;	/* it is zero, and the operator has no distance then */
	IqdbPgNeighbour *heap;		/* has room for k */
	int			count;
} Asked;

typedef struct Truth
{
	IqdbPgRowForm form;
	const IqdbKernels *kernels;
	IqdbMetric	metric;
	bool		squared;		/* the metric's distance is the root of what kernels give */
	bool		zero_is_nan;	/* a zero vector has no distance */
	const IqdbPgTids *among;	/* NULL: all rows */
	uint64		part;			/* above the bits of a TID: which partition is at its turn */
	int			k;
	int			count;
	Asked	   *asked;
} Truth;

/* ---- the k nearest ----------------------------------------------------------------------------------------------- */

static bool
is_nearer(const IqdbPgNeighbour *a, const IqdbPgNeighbour *b)
{
	return a->distance < b->distance || (a->distance == b->distance && a->number < b->number);
}

/* Puts a neighbour on top of a heap of count, of which only the top may be out of place, and lets it sink. */
static void
sink(IqdbPgNeighbour *heap, int count, IqdbPgNeighbour neighbour)
{
	int			at = 0;

	for (;;)
	{
		int			child = 2 * at + 1;

		if (child + 1 < count && is_nearer(&heap[child], &heap[child + 1]))
			child++;
		if (child >= count || !is_nearer(&neighbour, &heap[child]))
			break;
		heap[at] = heap[child];
		at = child;
	}
	heap[at] = neighbour;
}

static void
keep_if_near(Asked *asked, int k, IqdbPgNeighbour neighbour)
{
	int			at;

	if (asked->count == k)
	{
		if (is_nearer(&neighbour, &asked->heap[0]))
			sink(asked->heap, k, neighbour);
		return;
	}
	for (at = asked->count++; at > 0 && is_nearer(&asked->heap[(at - 1) / 2], &neighbour); at = (at - 1) / 2)
		asked->heap[at] = asked->heap[(at - 1) / 2];
	asked->heap[at] = neighbour;
}

static int
compare_neighbours(const void *a, const void *b)
{
	return is_nearer(a, b) ? -1 : is_nearer(b, a) ? 1 : 0;
}

/* ---- the pass ---------------------------------------------------------------------------------------------------- */

static void
meet_row(Truth *truth, const void *row, uint64 number)
{
	const IqdbElement *element = truth->form.element;
	uint32		dimension = truth->form.dimension;
	bool		no_distance = truth->zero_is_nan && iqdb_element_is_zero(element, row, dimension);

	for (int i = 0; i < truth->count; i++)
	{
		Asked	   *asked = &truth->asked[i];
		IqdbPgNeighbour neighbour = {INFINITY, number};

		if (i % 64 == 0)
			CHECK_FOR_INTERRUPTS();
		if (!no_distance && !asked->no_distance)
		{
			double		key = iqdb_element_key(truth->kernels, element, truth->metric, asked->query, row, dimension);

			neighbour.distance = truth->squared ? sqrt(key) : key;
		}
		keep_if_near(asked, truth->k, neighbour);
	}
}

/*
 * Shows each row of the table that the statement's snapshot sees, and that the index's predicate admits, to all
 * queries. The index's expressions are run as the table's owner.
 */
static void
pass(Truth *truth, Relation index, Relation heap)
{
	IndexInfo  *info;
	EState	   *estate;
	ExprContext *context;
	ExprState  *predicate;
	TupleTableSlot *slot;
	SysScanDesc scan;
	HeapTuple	tuple;
	IqdbPgOwner owner;

	iqdb_pg_become_owner(&owner, index, heap);
	info = BuildIndexInfo(index);
	estate = CreateExecutorState();
	context = GetPerTupleExprContext(estate);
	slot = MakeSingleTupleTableSlot(RelationGetDescr(heap), &TTSOpsHeapTuple);
	context->ecxt_scantuple = slot;
	predicate = ExecPrepareQual(info->ii_Predicate, estate);
	/* without an index this is a plain scan, of any table */
	scan = systable_beginscan(heap, InvalidOid, false, GetActiveSnapshot(), 0, NULL);
	while ((tuple = systable_getnext(scan)) != NULL)
	{
		Datum		values[INDEX_MAX_KEYS];
		bool		isnull[INDEX_MAX_KEYS];
		MemoryContext saved;

		CHECK_FOR_INTERRUPTS();
		if (truth->among != NULL && !iqdb_pg_tids_contain(truth->among, iqdb_pg_tid_number(&tuple->t_self)))
			continue;
		ResetPerTupleExprContext(estate);
		ExecStoreHeapTuple(tuple, slot, false);
		if (predicate != NULL && !ExecQual(predicate, context))
			continue;
		saved = MemoryContextSwitchTo(GetPerTupleMemoryContext(estate));
		FormIndexDatum(info, slot, estate, values, isnull);
		if (!isnull[0])
			meet_row(truth, iqdb_pg_row_vector(&truth->form, values[0]), truth->part | iqdb_pg_tid_number(&tuple->t_self));
		MemoryContextSwitchTo(saved);
	}
	systable_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	FreeExecutorState(estate);
	iqdb_pg_become_self(&owner);
}

/* ---- the function ------------------------------------------------------------------------------------------------ */

/* Who may not see all rows of a table is told nothing of where they are. */
static void
check_row_security(Oid table)
{
	if (check_enable_rls(table, InvalidOid, true) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("iqdb_ground_truth reads all rows of table \"%s\", which has row-level security",
						get_rel_name(table)),
				 errhint("Call it as the table's owner, or as a role with BYPASSRLS.")));
}

/* Room for k neighbours of each query, which maintenance_work_mem bounds. */
static IqdbPgNeighbour *
make_room(int count, int k)
{
	int64		bytes = (int64) count * k * (int64) sizeof(IqdbPgNeighbour);

	if (bytes > maintenance_work_mem * INT64CONST(1024))
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("%d neighbours of each of %d queries do not fit into maintenance_work_mem", k, count),
				 errdetail("They take %lld kB.", (long long) (bytes / 1024 + 1)),
				 errhint("Ask for fewer queries at once, or raise maintenance_work_mem.")));
	return MemoryContextAllocHuge(CurrentMemoryContext, Max((Size) bytes, 1));
}

static Truth
make_truth(Relation index, const void *const *queries, int count, int k, IqdbPgNeighbour *room)
{
	Truth		truth = {.form = iqdb_pg_row_form(index), .kernels = iqdb_pg_kernels(), .k = k, .count = count};
	const IqdbElement *element = truth.form.element;
	uint32		dimension = truth.form.dimension;

	truth.metric = (IqdbMetric) iqdb_pg_index_options(index).metric;
	truth.squared = iqdb_metric_traits((uint32) truth.metric)->squared;
	truth.zero_is_nan = iqdb_pg_zero_is_nan(index);
	truth.asked = palloc0(Max(count, 1) * sizeof(Asked));
	for (int i = 0; i < count; i++)
	{
		void	   *buffer = element->is_prepared ? NULL : palloc(iqdb_element_prepared_bytes(element, dimension));

		truth.asked[i].query = iqdb_element_prepare(truth.kernels, element, queries[i], dimension, buffer);
		truth.asked[i].no_distance = truth.zero_is_nan && iqdb_element_is_zero(element, queries[i], dimension);
		truth.asked[i].heap = room + (Size) i * k;
	}
	return truth;
}

/* The answers, nearest first, when all rows have been met. */
static void
finish(Truth *truth, int *counts)
{
	for (int i = 0; i < truth->count; i++)
	{
		counts[i] = truth->asked[i].count;
		qsort(truth->asked[i].heap, counts[i], sizeof(IqdbPgNeighbour), compare_neighbours);
	}
}

void
iqdb_pg_nearest_in_table(Relation index, Relation heap, const void *const *queries, int count, int k,
						 const IqdbPgTids *among, IqdbPgNeighbour *rows, int *counts)
{
	Truth		truth = make_truth(index, queries, count, k, rows);

	truth.among = among;
	if (count > 0)
		pass(&truth, index, heap);
	finish(&truth, counts);
}

/* Bits of a neighbour's number below the partition's. */
#define TID_BITS 48

/* The same in the tables of all these indexes; a number begins with that of its index. */
static void
nearest_in_tables(const IqdbPgIndexes *indexes, const void *const *queries, int count, int k, IqdbPgNeighbour *rows,
				  int *counts)
{
	Truth		truth = make_truth(indexes->leaves[0], queries, count, k, rows);

	for (int i = 0; i < indexes->count && count > 0; i++)
	{
		Relation	heap = table_open(indexes->leaves[i]->rd_index->indrelid, AccessShareLock);

		truth.part = (uint64) i << TID_BITS;
		pass(&truth, indexes->leaves[i], heap);
		table_close(heap, AccessShareLock);
	}
	finish(&truth, counts);
}

/* One row for each neighbour: query and rank from 1, TID, distance, table. */
static void
put_answer(const ReturnSetInfo *result, const IqdbPgIndexes *indexes, int query, const IqdbPgNeighbour *rows, int count)
{
	bool		zero_is_nan = iqdb_pg_zero_is_nan(indexes->leaves[0]);

	for (int i = 0; i < count; i++)
	{
		bool		is_nan = zero_is_nan && isinf(rows[i].distance);
		ItemPointerData tid;
		Datum		values[5];
		bool		nulls[5] = {false};

		CHECK_FOR_INTERRUPTS();
		iqdb_pg_number_tid(rows[i].number & ((UINT64CONST(1) << TID_BITS) - 1), &tid);
		values[0] = Int32GetDatum(query + 1);
		values[1] = Int32GetDatum(i + 1);
		values[2] = PointerGetDatum(&tid);
		values[3] = Float8GetDatum(is_nan ? get_float8_nan() : rows[i].distance);
		values[4] = ObjectIdGetDatum(indexes->leaves[rows[i].number >> TID_BITS]->rd_index->indrelid);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
}

/* Tables that are read here, no more of them than numbers have room for. */
static void
check_tables(const IqdbPgIndexes *indexes)
{
	if (indexes->foreign)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("iqdb_ground_truth cannot read partitions of \"%s\" that are foreign tables",
						get_rel_name(indexes->table)),
				 errhint("Name the index of a partition, or sort the table.")));
	if (indexes->count > PG_UINT16_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("iqdb_ground_truth reads at most %d partitions", PG_UINT16_MAX)));
}

static void
answer_queries(const ReturnSetInfo *result, const IqdbPgIndexes *indexes, ArrayType *given, int k)
{
	int			count;
	const void **queries = iqdb_pg_given_vectors(indexes->leaves[0], given, &count);
	IqdbPgNeighbour *rows = make_room(count, k);
	int		   *counts = palloc(Max(count, 1) * sizeof(int));

	nearest_in_tables(indexes, queries, count, k, rows, counts);
	for (int i = 0; i < count; i++)
		put_answer(result, indexes, i, rows + (Size) i * k, counts[i]);
}

PG_FUNCTION_INFO_V1(iqdb_sql_ground_truth);
Datum
iqdb_sql_ground_truth(PG_FUNCTION_ARGS)
{
	int			k = PG_GETARG_INT32(2);
	IqdbPgIndexes indexes;

	if (k < 1 || k > IQDB_PG_NEIGHBOURS_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("k must be between 1 and %d", IQDB_PG_NEIGHBOURS_MAX)));
	(void) iqdb_pg_result_row(fcinfo, 3, "query rank tid distance relation");
	iqdb_pg_init_set(fcinfo);
	indexes = iqdb_pg_open_indexes(PG_GETARG_OID(0), AccessShareLock, IQDB_PG_MAY_READ);
	check_row_security(indexes.table);
	check_tables(&indexes);
	if (indexes.count > 0)
		answer_queries((const ReturnSetInfo *) fcinfo->resultinfo, &indexes, PG_GETARG_ARRAYTYPE_P(1), k);
	iqdb_pg_close_indexes(&indexes, AccessShareLock);
	return (Datum) 0;
}
