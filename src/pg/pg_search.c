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
#define QUERIES_NEAR 16
#define PIVOTS_MAX 512

/* One call. */
typedef struct Search
{
	const ReturnSetInfo *result;
	IqdbPgIndexes indexes;
	bool		is_batch;		/* rows begin with the number of their query */
	int			k;
	int			count;			/* of queries that are not null */
	IqdbPgQuery *queries;
	int		   *numbers;		/* of these queries, from 1 */
} Search;

/* A row of an answer, and its table. */
typedef struct Found
{
	IqdbPgNeighbour row;
	Oid			table;
} Found;

/* Some of the queries, in the order in which they are asked, and their answers. */
typedef struct Chunk
{
	int			count;
	const void **queries;
	int		   *places;			/* where the first, second ... of them in the caller's order is asked */
	Found	   *found;			/* room for k of each */
	int		   *counts;
} Chunk;

/* An index of those that are searched. */
typedef struct Source
{
	Relation	heap;
	IqdbPgNearest *nearest;
} Source;

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

/* The number of the vector that is nearest to a query, among so many pivots from the first one on. */
static int
nearest_among(const Pivots *pivots, const void *query, int first, int count)
{
	float		sums[PIVOTS_MAX];
	int			nearest = 0;

	query = iqdb_element_prepare(iqdb_pg_kernels(), pivots->form.element, query, pivots->form.dimension, pivots->buffer);
	pivots->sums(query, pivots->vectors + first * pivots->form.bytes, pivots->form.bytes, count, pivots->form.dimension,
				 sums);
	for (int i = 1; i < count; i++)
		if (sums[i] * pivots->sign < sums[nearest] * pivots->sign)
			nearest = i;
	return first + nearest;
}

/* Puts behind each pivot the one of those that are left that is nearest to it: neighbourhoods that are near follow, too. */
static void
chain_pivots(Pivots *pivots)
{
	Size		bytes = pivots->form.bytes;
	uint8	   *moved = palloc(bytes);

	for (int i = 0; i + 2 < pivots->count; i++)
	{
		uint8	   *next = pivots->vectors + (i + 1) * bytes;
		uint8	   *nearest = pivots->vectors +
			nearest_among(pivots, pivots->vectors + i * bytes, i + 1, pivots->count - i - 1) * bytes;

		memcpy(moved, next, bytes);
		memmove(next, nearest, bytes);
		memcpy(nearest, moved, bytes);
	}
	pfree(moved);
}

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
	chain_pivots(&pivots);
	return pivots;
}

/*
 * Fills places with the queries in an order in which those that are near to each other follow each other. They walk
 * through the same part of a graph, or the same lists, and find them in the processor's caches: many queries in random
 * order take up to twice the time. Near are those with the same nearest one among some of the queries; lengths of vectors
 * do not count.
 */
static void
find_places(Relation index, const IqdbPgQuery *queries, int count, Place *places)
{
	Pivots		pivots = choose_pivots(index, queries, count);

	for (int i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		places[i].query = i;
		places[i].pivot = pivots.count > 0 ? nearest_among(&pivots, queries[i].vector, 0, pivots.count) : 0;
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
put_answer(const Search *search, int number, const Found *found, int count, bool zero_is_nan)
{
	for (int i = 0; i < count; i++)
	{
		double		distance = found[i].row.distance;
		ItemPointerData tid;

		iqdb_pg_number_tid(found[i].row.number, &tid);
		put_row(search, number, found[i].table, &tid, zero_is_nan && isinf(distance) ? get_float8_nan() : distance);
	}
}

/* Puts rows of one table among those of others, both in order, and keeps the k nearest. Returns how many there are. */
static int
merge(Found *found, int count, const IqdbPgNeighbour *rows, int row_count, Oid table, int k)
{
	int			merged = Min(count + row_count, k);
	int			taken = row_count;
	int			kept = count;

	/* the farthest go first, until no more are left than there may be */
	while (kept + taken > merged)
		if (taken > 0 && (kept == 0 || rows[taken - 1].distance >= found[kept - 1].row.distance))
			taken--;
		else
			kept--;
	for (int at = merged; at-- > 0;)
		if (taken > 0 && (kept == 0 || rows[taken - 1].distance >= found[kept - 1].row.distance))
		{
			found[at].row = rows[--taken];
			found[at].table = table;
		}
		else
			found[at] = found[--kept];
	return merged;
}

/* Queries whose answers work_mem has room for. */
static int
chunk_size(const Search *search)
{
	int64		fit = work_mem * INT64CONST(1024) / (search->k * (int64) sizeof(Found));

	return (int) Max(Min(fit, search->count), 1);
}

static Chunk
make_chunk(const Search *search)
{
	Chunk		chunk = {.count = chunk_size(search)};

	chunk.queries = palloc(chunk.count * sizeof(void *));
	chunk.places = palloc(chunk.count * sizeof(int));
	chunk.counts = palloc(chunk.count * sizeof(int));
	chunk.found = MemoryContextAllocHuge(CurrentMemoryContext, (Size) chunk.count * search->k * sizeof(Found));
	return chunk;
}

/* Makes it the queries from begin on. */
static void
fill_chunk(const Search *search, int begin, Chunk *chunk)
{
	Place	   *places;

	chunk->count = Min(chunk->count, search->count - begin);
	places = palloc(chunk->count * sizeof(Place));
	find_places(search->indexes.leaves[0], search->queries + begin, chunk->count, places);
	for (int i = 0; i < chunk->count; i++)
	{
		chunk->queries[i] = search->queries[begin + places[i].query].vector;
		chunk->places[places[i].query] = i;
		chunk->counts[i] = 0;
	}
	pfree(places);
}

/* Asks one index all queries of the chunk, and puts its rows among those that were found before. */
static void
search_source(const Search *search, const Source *source, Chunk *chunk)
{
	int			together = Min(iqdb_pg_nearest_together(source->nearest), chunk->count);
	IqdbPgNeighbour *rows = MemoryContextAllocHuge(CurrentMemoryContext,
												   (Size) together * search->k * sizeof(IqdbPgNeighbour));
	int		   *counts = palloc(together * sizeof(int));

	for (int begin = 0; begin < chunk->count; begin += together)
	{
		int			count = Min(together, chunk->count - begin);

		iqdb_pg_nearest_search(source->nearest, chunk->queries + begin, count, rows, counts);
		for (int i = 0; i < count; i++)
			chunk->counts[begin + i] = merge(chunk->found + (Size) (begin + i) * search->k, chunk->counts[begin + i],
											 rows + (Size) i * search->k, counts[i], RelationGetRelid(source->heap),
											 search->k);
	}
	pfree(counts);
	pfree(rows);
}

/* rows: only these may be answers; keys: only rows that meet these conditions, of each index; NULL: all. */
static Source *
open_sources(const Search *search, const IqdbPgRows *rows, IqdbPgKeys *const *keys)
{
	Source	   *sources = palloc(search->indexes.count * sizeof(Source));

	for (int i = 0; i < search->indexes.count; i++)
	{
		Relation	index = search->indexes.leaves[i];

		sources[i].nearest = NULL;
		if (keys != NULL && keys[i] == NULL)
			continue;
		sources[i].heap = table_open(index->rd_index->indrelid, AccessShareLock);
		sources[i].nearest = iqdb_pg_nearest_begin(index, sources[i].heap, GetActiveSnapshot(), search->k,
												   rows != NULL ? iqdb_pg_rows_of(rows, index->rd_index->indrelid) : NULL,
												   keys != NULL ? keys[i] : NULL);
	}
	return sources;
}

static void
close_sources(const Search *search, Source *sources)
{
	for (int i = 0; i < search->indexes.count; i++)
	{
		if (sources[i].nearest == NULL)
			continue;
		iqdb_pg_nearest_end(sources[i].nearest);
		table_close(sources[i].heap, NoLock);
	}
}

/* Are there indexes that are not to be had? */
static bool
reads_table(const Search *search, const Source *sources)
{
	for (int i = 0; i < search->indexes.count; i++)
		if (sources[i].nearest != NULL && iqdb_pg_nearest_reads_table(sources[i].nearest))
			return true;
	return false;
}

/* Closes the sources. */
static void
search_by_indexes(const Search *search, Source *sources)
{
	bool		zero_is_nan = iqdb_pg_zero_is_nan(search->indexes.leaves[0]);
	Chunk		chunk = make_chunk(search);

	for (int begin = 0; begin < search->count; begin += chunk.count)
	{
		fill_chunk(search, begin, &chunk);
		for (int i = 0; i < search->indexes.count; i++)
			if (sources[i].nearest != NULL)
				search_source(search, &sources[i], &chunk);
		for (int i = 0; i < chunk.count; i++)
		{
			int			place = chunk.places[i];

			put_answer(search, search->numbers[begin + i], chunk.found + (Size) place * search->k, chunk.counts[place],
					   zero_is_nan);
		}
	}
	close_sources(search, sources);
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
search_one_by_one(const Search *search, IqdbPgSelect *select)
{
	for (int i = 0; i < search->count; i++)
	{
		RowOf		row = {search, search->numbers[i]};

		CHECK_FOR_INTERRUPTS();
		iqdb_pg_select_search(select, search->queries[i].value, put_selected, &row);
	}
}

/* Lets the indexes ask the conditions themselves; false: they cannot. */
static bool
search_by_keys(const Search *search, IqdbPgSelect *select)
{
	IqdbPgKeys **keys = iqdb_pg_select_keys(select, search->indexes.leaves, search->indexes.count);
	Source	   *sources;

	if (keys == NULL)
		return false;
	sources = open_sources(search, NULL, keys);
	if (reads_table(search, sources))
	{
		close_sources(search, sources);
		return false;
	}
	search_by_indexes(search, sources);
	return true;
}

static void
search_by_rows(const Search *search, IqdbPgSelect *select)
{
	IqdbPgRows	rows = iqdb_pg_select_rows(select, CurrentMemoryContext);

	search_by_indexes(search, open_sources(search, &rows, NULL));
}

/*
 * Of several queries, the indexes ask the conditions themselves where they have columns for all of them, or the server says
 * for all of them together which rows may be answers, and the indexes find the nearest of these. Else the server says for
 * each query which rows are nearest.
 */
static void
search_by_select(const Search *search, const char *condition)
{
	Relation	table = table_open(search->indexes.table, AccessShareLock);
	bool		by_indexes = search->indexes.count > 0 && !search->indexes.foreign;
	IqdbPgSelect *select;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	select = iqdb_pg_select_begin(search->indexes.named, table, condition, search->k);
	if (by_indexes && search->count > 1 && search_by_keys(search, select))
		;
	else if (by_indexes && iqdb_pg_select_rows_pay(select, search->count))
		search_by_rows(search, select);
	else
		search_one_by_one(search, select);
	SPI_finish();
	table_close(table, NoLock);
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
take_queries(Search *search, FunctionCallInfo fcinfo)
{
	/* a table whose partitions all are foreign, or that has none yet, has its own index alone */
	Relation	index = search->indexes.count > 0 ? search->indexes.leaves[0] : search->indexes.named;
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

/* An index that is not valid may lack rows. */
static void
check_valid(Relation index)
{
	if (index->rd_index->indisvalid)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("index \"%s\" is not valid", RelationGetRelationName(index)),
			 index->rd_rel->relkind == RELKIND_PARTITIONED_INDEX ?
			 errhint("Partitions lack an index: create theirs, and attach them by ALTER INDEX ... ATTACH PARTITION.") :
			 errhint("Its creation has not ended, or failed: REINDEX or DROP it.")));
}

static Datum
search_sql(FunctionCallInfo fcinfo, bool is_batch)
{
	Search		search = {.is_batch = is_batch};
	const char *condition;

	iqdb_pg_init_set(fcinfo);
	search.result = (const ReturnSetInfo *) fcinfo->resultinfo;
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		return (Datum) 0;
	search.k = PG_GETARG_INT32(2);
	check_arguments(&search);
	condition = PG_ARGISNULL(3) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(3));
	search.indexes = iqdb_pg_open_indexes(PG_GETARG_OID(0), AccessShareLock, IQDB_PG_MAY_SEARCH);
	check_valid(search.indexes.named);
	take_queries(&search, fcinfo);
	if (condition != NULL || search.indexes.foreign || search.indexes.count == 0 ||
		check_enable_rls(search.indexes.table, InvalidOid, false) == RLS_ENABLED)
		search_by_select(&search, condition);
	else if (search.count > 0)
		search_by_indexes(&search, open_sources(&search, NULL, NULL));
	iqdb_pg_close_indexes(&search.indexes, AccessShareLock);
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
