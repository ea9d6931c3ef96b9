/*
 * pg_recall.c - iqdb_recall: how well and how fast an index answers.
 *
 * Recall is measured against the flat engine over the same rows in the same memory: no table is read. A row of the answer
 * counts as right if it is no farther than the k-th of the exact answer, so equal distances are no error. Queries are given by
 * the caller; or rows of the index, each without itself among the answers. Those flatter: a row is linked, or lies, where
 * searches for it arrive, and real queries come from elsewhere.
 */
#include "postgres.h"

#include <math.h>

#include "access/genam.h"
#include "access/htup_details.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "pg/pg_admin.h"
#include "pg/pg_open.h"
#include "pg/pg_options.h"
#include "pg/pg_row.h"

/* One search from start to k-th hit. Returns the hits; milliseconds in *elapsed. */
static int
timed_search(IqdbIndex *index, const IqdbSearchParams *params, const void *query, uint32 dimension, int k, IqdbHit *hits,
			 double *elapsed)
{
	IqdbError	error = {0};
	IqdbCursor *cursor;
	int			count = 0;
	instr_time	begin;
	instr_time	end;

	INSTR_TIME_SET_CURRENT(begin);
	iqdb_pg_check(iqdb_cursor_open(index, query, dimension, params, &cursor, &error), &error, NULL);
	while (count < k)
	{
		size_t		got;

		CHECK_FOR_INTERRUPTS();
		iqdb_pg_check(iqdb_cursor_next(cursor, hits + count, (size_t) (k - count), &got, &error), &error, NULL);
		if (got == 0)
			break;
		count += (int) got;
	}
	iqdb_cursor_close(cursor);
	INSTR_TIME_SET_CURRENT(end);
	INSTR_TIME_SUBTRACT(end, begin);
	*elapsed = INSTR_TIME_GET_DOUBLE(end) * 1000.0;
	return count;
}

/* Share of the exact answer that was found. */
static double
recall_of(const IqdbHit *found, int found_count, const IqdbHit *exact, int exact_count)
{
	int			right = 0;

	if (exact_count == 0)
		return 1.0;
	for (int i = 0; i < found_count; i++)
		right += found[i].key <= exact[exact_count - 1].key;
	return (double) Min(right, exact_count) / exact_count;
}

static int
compare_doubles(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return x < y ? -1 : x > y ? 1 : 0;
}

/* Nearest rank, of sorted values. */
static double
percentile(const double *values, int count, double q)
{
	int			rank = (int) ceil(q * count) - 1;

	return values[Max(0, Min(rank, count - 1))];
}

/* Vectors given by the caller. */
static const void **
given_queries(Relation index, ArrayType *array, int *count_out)
{
	IqdbPgRowForm form = iqdb_pg_row_form(index);
	const IqdbPgType *type = iqdb_pg_type_of(ARR_ELEMTYPE(array));
	Datum	   *values;
	bool	   *nulls;
	const void **queries;

	if (type == NULL || type->element != form.type->element)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("queries of type %s do not fit an index on a column of type %s",
						format_type_be(ARR_ELEMTYPE(array)), form.type->name),
				 errhint("Cast them: ARRAY(SELECT query::%s FROM ...).", form.type->name)));
	deconstruct_array(array, ARR_ELEMTYPE(array), -1, false, TYPALIGN_INT, &values, &nulls, count_out);
	queries = palloc(Max(*count_out, 1) * sizeof(void *));
	for (int i = 0; i < *count_out; i++)
	{
		uint32		dimension;

		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("queries must not contain nulls")));
		dimension = type->read(PG_DETOAST_DATUM(values[i]), &queries[i]);
		if (dimension != form.dimension)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("different %s %s %u and %u", form.type->name, form.type->sizes, form.dimension,
							dimension)));
	}
	return queries;
}

/* Rows of the index itself, evenly spread over it; and their ids. */
static const void **
sampled_queries(IqdbPgArena *arena, int sample, uint64 **ids_out, int *count_out)
{
	uint64		live = iqdb_index_live_count(&arena->index);
	uint64		wanted = Min((uint64) sample, live);
	const void **queries = palloc(Max(wanted, 1) * sizeof(void *));
	uint64		position = 0;
	uint64		seen = 0;
	uint64		ids[256];
	size_t		count;

	*ids_out = palloc(Max(wanted, 1) * sizeof(uint64));
	*count_out = 0;
	while ((uint64) *count_out < wanted &&
		   (count = iqdb_index_ids(&arena->index, &position, ids, NULL, lengthof(ids))) > 0)
	{
		CHECK_FOR_INTERRUPTS();
		for (size_t i = 0; i < count && (uint64) *count_out < wanted; i++, seen++)
		{
			size_t		metadata_length;
			void	   *vector;

			if (seen * wanted / live < (uint64) *count_out)
				continue;
			vector = palloc(iqdb_pg_row_bytes(&arena->index));
			if (iqdb_index_get(&arena->index, iqdb_id_u64(ids[i]), vector, NULL, 0, &metadata_length))
			{
				(*ids_out)[*count_out] = ids[i];
				queries[(*count_out)++] = vector;
			}
		}
	}
	return queries;
}

/* What was measured, one number per query, and the query's own row where it is one of the index. */
typedef struct Measures
{
	int			count;
	const void **queries;
	uint64	   *own_ids;		/* NULL: the queries are none of its rows */
	double	   *recall;
	double	   *mine;			/* milliseconds */
	double	   *theirs;
} Measures;

/*
 * Takes a row that is its own nearest out of its hits, where one more than k was asked for: finding it is no merit. Returns
 * how many are left, k at most.
 */
static int
without_own(IqdbHit *hits, int count, int k, uint64 own)
{
	int			kept = 0;

	for (int i = 0; i < count && kept < k; i++)
		if (hits[i].id != own)
			hits[kept++] = hits[i];
	return kept;
}

static void
measure(IqdbPgArena *arena, IqdbSearchParams *params, int k, Measures *measures)
{
	uint32		dimension = arena->index.store.header->options.dimension;
	int			asked = measures->own_ids != NULL ? k + 1 : k;
	IqdbHit    *found = palloc(asked * sizeof(IqdbHit));
	IqdbHit    *exact = palloc(asked * sizeof(IqdbHit));
	Size		size = Max(measures->count, 1) * sizeof(double);
	IqdbPgView	view;
	IqdbIndex	oracle;

	params->expected = (size_t) asked;
	iqdb_pg_view(&view, arena);
	oracle = view.index;
	oracle.engine = iqdb_engine_get(IQDB_ENGINE_FLAT);
	measures->recall = palloc(size);
	measures->mine = palloc(size);
	measures->theirs = palloc(size);
	for (int i = 0; i < measures->count; i++)
	{
		const void *query = measures->queries[i];
		int			found_count = timed_search(&view.index, params, query, dimension, asked, found, &measures->mine[i]);
		int			exact_count = timed_search(&oracle, params, query, dimension, asked, exact, &measures->theirs[i]);

		if (measures->own_ids != NULL)
		{
			found_count = without_own(found, found_count, k, measures->own_ids[i]);
			exact_count = without_own(exact, exact_count, k, measures->own_ids[i]);
		}
		measures->recall[i] = recall_of(found, found_count, exact, exact_count);
	}
	qsort(measures->recall, measures->count, sizeof(double), compare_doubles);
	qsort(measures->mine, measures->count, sizeof(double), compare_doubles);
	qsort(measures->theirs, measures->count, sizeof(double), compare_doubles);
}

static double
mean(const double *values, int count)
{
	double		sum = 0;

	for (int i = 0; i < count; i++)
		sum += values[i];
	return sum / count;
}

/* Queries a second of one session, and three percentiles of their milliseconds (sorted). Returns how many values. */
static int
put_latency(Datum *values, const double *milliseconds, int count)
{
	values[0] = Float8GetDatum(1000.0 / Max(mean(milliseconds, count), 1e-6));
	values[1] = Float8GetDatum(percentile(milliseconds, count, 0.50));
	values[2] = Float8GetDatum(percentile(milliseconds, count, 0.95));
	values[3] = Float8GetDatum(percentile(milliseconds, count, 0.99));
	return 4;
}

static Datum
measure_recall(FunctionCallInfo fcinfo, Oid oid, int k, int sample, ArrayType *given)
{
	Relation	relation = iqdb_pg_open_index(oid, AccessShareLock, IQDB_PG_MAY_READ);
	IqdbPgArena *arena = iqdb_pg_open_current(relation, NULL);
	IqdbSearchParams params = iqdb_pg_search_params(relation);
	Measures	measures = {0};
	TupleDesc	tupdesc;
	Datum		values[12] = {0};
	bool		nulls[12];
	int			n = 0;

	if (k < 1 || k > 100000 || sample < 1 || sample > 1000000)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("k must be between 1 and 100000, and sample between 1 and 1000000")));
	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (given == NULL)
		measures.queries = sampled_queries(arena, sample, &measures.own_ids, &measures.count);
	else
		measures.queries = given_queries(relation, given, &measures.count);
	measure(arena, &params, k, &measures);
	index_close(relation, AccessShareLock);

	memset(nulls, measures.count == 0, sizeof(nulls));
	nulls[0] = false;
	values[n++] = Int32GetDatum(measures.count);
	if (measures.count > 0)
	{
		values[n++] = Float8GetDatum(mean(measures.recall, measures.count));
		values[n++] = Float8GetDatum(percentile(measures.recall, measures.count, 0.01));
		values[n++] = Float8GetDatum(measures.recall[0]);
		n += put_latency(values + n, measures.mine, measures.count);
		n += put_latency(values + n, measures.theirs, measures.count);
	}
	Assert(measures.count == 0 || n == tupdesc->natts);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values, nulls)));
}

PG_FUNCTION_INFO_V1(iqdb_sql_recall);
Datum
iqdb_sql_recall(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		PG_RETURN_NULL();
	return measure_recall(fcinfo, PG_GETARG_OID(0), PG_GETARG_INT32(1), PG_GETARG_INT32(2),
						  PG_ARGISNULL(3) ? NULL : PG_GETARG_ARRAYTYPE_P(3));
}
