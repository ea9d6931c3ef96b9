/*
 * pg_exact.c - see pg_exact.h.
 *
 * Row numbers and distances go through the server's sort, so memory is bounded and the rest lies in temporary files. The rows
 * are those that a rebuild would put into the index, of whatever transaction: the executor asks for each of them whether
 * the statement may see it, as it does with those of the index.
 */
#include "postgres.h"

#include <math.h>

#include "access/tupdesc.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/tuplesort.h"

#include "core/vec/kernels.h"

#include "pg/pg_compat.h"
#include "pg/pg_exact.h"
#include "pg/pg_heap.h"
#include "pg/pg_kernels.h"

struct IqdbPgExact
{
	IqdbMetric	metric;
	bool		zero_last;		/* zero vectors stand behind all others */
	IqdbPgRowForm form;
	const void *query;			/* in the form of the rows */
	Tuplesortstate *sort;
	TupleTableSlot *slot;		/* distance float8, row number int8 */
};

static IqdbStatus
add_row(void *arg, IqdbPgRow *row, IqdbError *error)
{
	IqdbPgExact *exact = arg;
	const IqdbPgRowForm *form = &exact->form;
	double		distance = iqdb_element_distance(iqdb_pg_kernels(), form->element, exact->metric, exact->query,
												 row->vector, form->dimension);

	if (exact->zero_last && iqdb_element_is_zero(form->element, row->vector, form->dimension))
		distance = INFINITY;
	ExecClearTuple(exact->slot);
	exact->slot->tts_values[0] = Float8GetDatum(distance);
	exact->slot->tts_values[1] = Int64GetDatum((int64) row->number);
	exact->slot->tts_isnull[0] = exact->slot->tts_isnull[1] = false;
	ExecStoreVirtualTuple(exact->slot);
	tuplesort_puttupleslot(exact->sort, exact->slot);
	return IQDB_OK;
}

IqdbPgExact *
iqdb_pg_exact_begin(Relation index, Relation heap, IqdbMetric metric, bool zero_last, const IqdbPgRowForm *form,
					const void *query)
{
	IqdbPgExact *exact = palloc0(sizeof(IqdbPgExact));
	TupleDesc	tupdesc = CreateTemplateTupleDesc(2);
	AttrNumber	keys[2] = {1, 2};
	Oid			operators[2] = {Float8LessOperator, Int8LessOperator};
	Oid			collations[2] = {InvalidOid, InvalidOid};
	bool		nulls_first[2] = {false, false};
	IqdbError	error = {0};

	TupleDescInitEntry(tupdesc, 1, "distance", FLOAT8OID, -1, 0);
	TupleDescInitEntry(tupdesc, 2, "row", INT8OID, -1, 0);
	iqdb_pg_finish_tupdesc(tupdesc);
	exact->metric = metric;
	exact->zero_last = zero_last;
	exact->form = *form;
	exact->query = query;
	exact->slot = MakeSingleTupleTableSlot(tupdesc, &TTSOpsVirtual);
	exact->sort = tuplesort_begin_heap(tupdesc, 2, keys, operators, collations, nulls_first, work_mem, NULL, 0);
	iqdb_pg_check(iqdb_pg_visit_table(index, heap, add_row, exact, &error), &error, index);
	tuplesort_performsort(exact->sort);
	ExecDropSingleTupleTableSlot(exact->slot);
	exact->slot = MakeSingleTupleTableSlot(tupdesc, &TTSOpsMinimalTuple);
	return exact;
}

bool
iqdb_pg_exact_next(IqdbPgExact *exact, uint64 *id_out, double *distance_out)
{
	bool		isnull;

	if (!tuplesort_gettupleslot(exact->sort, true, false, exact->slot, NULL))
		return false;
	*distance_out = DatumGetFloat8(slot_getattr(exact->slot, 1, &isnull));
	*id_out = (uint64) DatumGetInt64(slot_getattr(exact->slot, 2, &isnull));
	return true;
}

void
iqdb_pg_exact_end(IqdbPgExact *exact)
{
	ExecDropSingleTupleTableSlot(exact->slot);
	tuplesort_end(exact->sort);
}
