/*
 * pg_search.c - iqdb_search and iqdb_search_batch: the nearest rows of one query, or of many, by the index that is named.
 *
 * What ORDER BY with the index's operator and a LIMIT gives, by the snapshot of the calling statement, and to callers who
 * could ask for it so: TIDs and distances. Many queries share what a statement of its own would do for each: the start of
 * an executor, the look at the journal, passes of the engine over its rows, pages of the table.
 */
#include "postgres.h"

#include <math.h>

#include "access/genam.h"
#include "access/table.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"

#include "core/vec/kernels.h"

#include "pg/pg_admin.h"
#include "pg/pg_kernels.h"
#include "pg/pg_nearest.h"
#include "pg/pg_options.h"
#include "pg/pg_query.h"
#include "pg/pg_row.h"
#include "pg/pg_select.h"

/* Queries of which so many make one neighbourhood, and the most neighbourhoods that are told apart. */
#define QUERIES_NEAR 32
#define PIVOTS_MAX 128

/* One call. */
typedef struct Search
{
	const ReturnSetInfo *result;
	bool		is_batch;		/* rows begin with the number of their query */
	int			k;
	int			count;			/* of queries that are not null */
	IqdbPgQuery *queries;
	int		   *numbers;		/* of these queries, from 1 */
} Search;

/* Some of the queries, in the order in which they are asked, and their answers. */
typedef struct Chunk
{
	int			count;
	const void **queries;
	int		   *places;			/* where the first, second ... of them in the caller's order is asked */
	IqdbPgNeighbour *rows;		/* room for k of each */
	int		   *counts;
} Chunk;

/* ---- the order in which queries are asked --------------------------------------------------------------------------- */

typedef struct Place
{
	int			pivot;
	int			query;
} Place;

static int
compare_places(const void *a, const void *b)
{
	const Place *x = a;
	const Place *y = b;

	return x->pivot != y->pivot ? (x->pivot < y->pivot ? -1 : 1) : x->query - y->query;
}

/* Vectors of which each query is near to one. */
typedef struct Pivots
{
	IqdbPgRowForm form;
	IqdbBatchKernel sums;
	float		sign;			/* of sums that are smaller the nearer two vectors are: 1, else -1 */
	void	   *buffer;			/* for a prepared query */
	uint8	   *vectors;		/* back to back */
	int			count;
} Pivots;

static Pivots
choose_pivots(Relation index, const IqdbPgQuery *queries, int count)
{
	Pivots		pivots = {.form = iqdb_pg_row_form(index), .count = Min(count / QUERIES_NEAR, PIVOTS_MAX)};
	const IqdbMetricTraits *metric = iqdb_metric_traits((uint32) iqdb_pg_index_options(index).metric);

	pivots.sums = iqdb_pg_kernels()->elements[pivots.form.element->kind]->sums[metric->sum].batch;
	pivots.sign = metric->form == IQDB_KEY_SUM ? 1 : -1;
	pivots.buffer = palloc(iqdb_element_prepared_bytes(pivots.form.element, pivots.form.dimension));
	pivots.vectors = palloc(Max(pivots.count, 1) * pivots.form.bytes);
	for (int i = 0; i < pivots.count; i++)
		memcpy(pivots.vectors + i * pivots.form.bytes, queries[(int64) i * count / pivots.count].vector,
			   pivots.form.bytes);
	return pivots;
}

/* The number of the pivot that is nearest to a query; lengths of vectors do not count. */
static int
nearest_pivot(const Pivots *pivots, const void *query)
{
	float		sums[PIVOTS_MAX];
	int			nearest = 0;

	if (pivots->count == 0)
		return 0;
	query = iqdb_element_prepare(iqdb_pg_kernels(), pivots->form.element, query, pivots->form.dimension, pivots->buffer);
	pivots->sums(query, pivots->vectors, pivots->form.bytes, pivots->count, pivots->form.dimension, sums);
	for (int i = 1; i < pivots->count; i++)
		if (sums[i] * pivots->sign < sums[nearest] * pivots->sign)
			nearest = i;
	return nearest;
}

/*
 * Fills places with the queries in an order in which those that are near to each other follow each other. They walk
 * through the same part of a graph, or the same lists, and find them in the processor's caches: many queries in random
 * order take up to twice the time. Near are those with the same nearest one among some of the queries.
 */
static void
find_places(Relation index, const IqdbPgQuery *queries, int count, Place *places)
{
	Pivots		pivots = choose_pivots(index, queries, count);

	for (int i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		places[i].query = i;
		places[i].pivot = nearest_pivot(&pivots, queries[i].vector);
	}
	qsort(places, count, sizeof(Place), compare_places);
}

/* ---- answers ------------------------------------------------------------------------------------------------------- */

static void
put_row(const Search *search, int number, Oid table, ItemPointer tid, double distance)
{
	Datum		values[4];
	bool		nulls[4] = {false};
	int			n = 0;

	if (search->is_batch)
		values[n++] = Int32GetDatum(number);
	values[n++] = PointerGetDatum(tid);
	values[n++] = Float8GetDatum(distance);
	values[n++] = ObjectIdGetDatum(table);
	tuplestore_putvalues(search->result->setResult, search->result->setDesc, values, nulls);
}

static void
put_answer(const Search *search, int number, Oid table, const IqdbPgNeighbour *rows, int count, bool zero_is_nan)
{
	for (int i = 0; i < count; i++)
	{
		ItemPointerData tid;

		iqdb_pg_number_tid(rows[i].number, &tid);
		put_row(search, number, table, &tid, zero_is_nan && isinf(rows[i].distance) ? get_float8_nan() : rows[i].distance);
	}
}

/* Queries whose answers work_mem has room for. */
static int
chunk_size(const Search *search)
{
	int64		fit = work_mem * INT64CONST(1024) / (search->k * (int64) sizeof(IqdbPgNeighbour));

	return (int) Max(Min(fit, search->count), 1);
}

static Chunk
make_chunk(const Search *search)
{
	Chunk		chunk = {.count = chunk_size(search)};

	chunk.queries = palloc(chunk.count * sizeof(void *));
	chunk.places = palloc(chunk.count * sizeof(int));
	chunk.counts = palloc(chunk.count * sizeof(int));
	chunk.rows = MemoryContextAllocHuge(CurrentMemoryContext, (Size) chunk.count * search->k * sizeof(IqdbPgNeighbour));
	return chunk;
}

/* Makes it the queries from begin on. */
static void
fill_chunk(const Search *search, Relation index, int begin, Chunk *chunk)
{
	Place	   *places;

	chunk->count = Min(chunk->count, search->count - begin);
	places = palloc(chunk->count * sizeof(Place));
	find_places(index, search->queries + begin, chunk->count, places);
	for (int i = 0; i < chunk->count; i++)
	{
		chunk->queries[i] = search->queries[begin + places[i].query].vector;
		chunk->places[places[i].query] = i;
	}
	pfree(places);
}

static void
search_index(const Search *search, Relation index, Relation heap)
{
	IqdbPgNearest *nearest = iqdb_pg_nearest_begin(index, heap, GetActiveSnapshot(), search->k);
	int			together = iqdb_pg_nearest_together(nearest);
	bool		zero_is_nan = iqdb_pg_zero_is_nan(index);
	Chunk		chunk = make_chunk(search);

	for (int begin = 0; begin < search->count; begin += chunk.count)
	{
		fill_chunk(search, index, begin, &chunk);
		for (int i = 0; i < chunk.count; i += together)
			iqdb_pg_nearest_search(nearest, chunk.queries + i, Min(together, chunk.count - i),
								   chunk.rows + (Size) i * search->k, chunk.counts + i);
		for (int i = 0; i < chunk.count; i++)
		{
			int			place = chunk.places[i];

			put_answer(search, search->numbers[begin + i], RelationGetRelid(heap), chunk.rows + (Size) place * search->k,
					   chunk.counts[place], zero_is_nan);
		}
	}
	iqdb_pg_nearest_end(nearest);
}

/* ---- by the server ------------------------------------------------------------------------------------------------- */

/* A row of the query of this number. */
typedef struct RowOf
{
	const Search *search;
	int			number;
} RowOf;

static void
put_selected(void *arg, Oid table, ItemPointer tid, double distance)
{
	const RowOf *row = arg;

	put_row(row->search, row->number, table, tid, distance);
}

static void
search_by_select(const Search *search, Relation index, Relation heap, const char *condition)
{
	IqdbPgSelect *select;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	select = iqdb_pg_select_begin(index, heap, condition, search->k);
	for (int i = 0; i < search->count; i++)
	{
		RowOf		row = {search, search->numbers[i]};

		CHECK_FOR_INTERRUPTS();
		iqdb_pg_select_search(select, search->queries[i].value, put_selected, &row);
	}
	SPI_finish();
}

/* ---- the functions ------------------------------------------------------------------------------------------------- */

/* Leaves out queries that are null: nothing is near to them. */
static void
number_queries(Search *search, IqdbPgQuery *queries, int count)
{
	search->queries = queries;
	search->numbers = palloc(Max(count, 1) * sizeof(int));
	for (int i = 0; i < count; i++)
		if (queries[i].vector != NULL)
		{
			search->queries[search->count] = queries[i];
			search->numbers[search->count++] = i + 1;
		}
}

static void
take_queries(Search *search, FunctionCallInfo fcinfo, Relation index)
{
	IqdbPgQuery *queries;
	int			count = 1;

	if (search->is_batch)
		queries = iqdb_pg_given_queries(index, PG_GETARG_ARRAYTYPE_P(1), &count);
	else
	{
		queries = palloc(sizeof(IqdbPgQuery));
		*queries = iqdb_pg_given_query(index, get_fn_expr_argtype(fcinfo->flinfo, 1), PG_GETARG_DATUM(1));
	}
	number_queries(search, queries, count);
}

static void
check_arguments(const Search *search)
{
	if (search->k < 1 || search->k > IQDB_PG_NEIGHBOURS_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("k must be between 1 and %d", IQDB_PG_NEIGHBOURS_MAX)));
}

static Datum
search_sql(FunctionCallInfo fcinfo, bool is_batch)
{
	Search		search = {.is_batch = is_batch};
	const char *condition;
	Relation	index;
	Relation	heap;

	iqdb_pg_init_set(fcinfo);
	search.result = (const ReturnSetInfo *) fcinfo->resultinfo;
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		return (Datum) 0;
	search.k = PG_GETARG_INT32(2);
	check_arguments(&search);
	condition = PG_ARGISNULL(3) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(3));
	index = iqdb_pg_open_index(PG_GETARG_OID(0), AccessShareLock, IQDB_PG_MAY_SEARCH);
	heap = table_open(index->rd_index->indrelid, AccessShareLock);
	take_queries(&search, fcinfo, index);
	if (condition != NULL || check_enable_rls(RelationGetRelid(heap), InvalidOid, false) == RLS_ENABLED)
		search_by_select(&search, index, heap, condition);
	else if (search.count > 0)
		search_index(&search, index, heap);
	table_close(heap, AccessShareLock);
	index_close(index, AccessShareLock);
	return (Datum) 0;
}

PG_FUNCTION_INFO_V1(iqdb_sql_search);
Datum
iqdb_sql_search(PG_FUNCTION_ARGS)
{
	return search_sql(fcinfo, false);
}

PG_FUNCTION_INFO_V1(iqdb_sql_search_batch);
Datum
iqdb_sql_search_batch(PG_FUNCTION_ARGS)
{
	return search_sql(fcinfo, true);
}
