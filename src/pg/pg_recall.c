/*
 * pg_recall.c - iqdb_recall: how well and how fast an index answers.
 *
 * Recall is measured against the flat engine over the same rows in the same memory: no table is read, and rows that no
 * snapshot sees any more count on both sides. A row of the answer counts as right if it is no farther than the k-th of
 * the exact answer, so equal distances are no error.
 *
 * Queries are the caller's; or rows of the index, each without itself among the answers, evenly spread over it. Rows
 * flatter a graph even so: each is linked to its neighbours, so that whatever walk arrives at it has them, while a
 * query from elsewhere may arrive nowhere near. Held out means queries that the index has never seen, made between
 * rows: that shows the queries which a graph loses. To lists they are kind in another way, because between two rows is
 * nearer to the middle of a list.
 *
 * The index of a partitioned table is measured as it is used: the answers of all partitions, merged in the order of distance.
 */
#include "postgres.h"

#include <float.h>
#include <math.h>

#include "access/genam.h"
#include "access/htup_details.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/array.h"

#include "pg/pg_admin.h"
#include "pg/pg_am.h"
#include "pg/pg_open.h"
#include "pg/pg_options.h"
#include "pg/pg_query.h"
#include "pg/pg_row.h"

/* One of the indexes that are measured together: those of all partitions of a table, or a single one. */
typedef struct Part
{
	IqdbPgView	view;
	IqdbIndex	oracle;			/* the flat engine over the same rows */
	IqdbSearchParams params;
} Part;

/* The search of one part, as far as its hits were asked for. */
typedef struct Leg
{
	IqdbCursor *cursor;
	IqdbHit		hits[IQDB_PG_HITS_PER_CALL];
	size_t		at;
	size_t		count;
	size_t		taken;
	bool		ended;
} Leg;

/* A row of an answer. */
typedef struct Found
{
	uint64		id;
	int			part;
	float		key;
} Found;

/* Has the search one more hit? It is at hits[at] then. Asked for in portions as a scan asks (pg_stream.c). */
static bool
has_hit(Leg *leg)
{
	IqdbError	error = {0};

	if (leg->at < leg->count)
		return true;
	if (leg->ended)
		return false;
	CHECK_FOR_INTERRUPTS();
	iqdb_pg_check(iqdb_cursor_next(leg->cursor, leg->hits, iqdb_pg_hits_per_call(leg->taken), &leg->count, &error), &error,
				  NULL);
	leg->at = 0;
	leg->taken += leg->count;
	leg->ended = leg->count == 0;
	return !leg->ended;
}

/* The part whose next hit is the nearest, as a Merge Append over partitions finds it; -1: there are no more. */
static int
nearest_part(Leg *legs, int count)
{
	int			nearest = -1;

	for (int i = 0; i < count; i++)
		if (has_hit(&legs[i]) &&
			(nearest < 0 || legs[i].hits[legs[i].at].key < legs[nearest].hits[legs[nearest].at].key))
			nearest = i;
	return nearest;
}

/*
 * One search from start to k-th hit, by the parts' engines, or exact ones that are told how many will be wanted; legs has room
 * for one leg of each part. Returns how many hits, k at most; milliseconds in *elapsed.
 */
static int
timed_search(Part *parts, int part_count, Leg *legs, bool exact, const void *query, int k, Found *found, double *elapsed)
{
	IqdbError	error = {0};
	int			count = 0;
	int			part;
	instr_time	begin;
	instr_time	end;

	INSTR_TIME_SET_CURRENT(begin);
	for (int i = 0; i < part_count; i++)
	{
		IqdbIndex  *index = exact ? &parts[i].oracle : &parts[i].view.index;
		IqdbSearchParams all = {.expected = (size_t) k, .zero_last = parts[i].params.zero_last};

		memset(&legs[i], 0, sizeof(Leg));
		iqdb_pg_check(iqdb_cursor_open(index, query, index->store.header->options.dimension,
									   exact ? &all : &parts[i].params, &legs[i].cursor, &error), &error, NULL);
	}
	while (count < k && (part = nearest_part(legs, part_count)) >= 0)
	{
		const IqdbHit *hit = &legs[part].hits[legs[part].at++];

		found[count++] = (Found) {hit->id, part, hit->key};
	}
	for (int i = 0; i < part_count; i++)
		iqdb_cursor_close(legs[i].cursor);
	INSTR_TIME_SET_CURRENT(end);
	INSTR_TIME_SUBTRACT(end, begin);
	*elapsed = INSTR_TIME_GET_DOUBLE(end) * 1000.0;
	return count;
}

/* Share of the exact answer that was found. */
static double
recall_of(const Found *found, int found_count, const Found *exact, int exact_count)
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

/* ---- queries ----------------------------------------------------------------------------------------------------- */

#define NO_ROW PG_UINT64_MAX

/* The queries of one measurement, and what was measured: one number for each. */
typedef struct Measures
{
	int			part_count;
	Part	   *parts;
	Leg		   *legs;
	int			count;
	const void **queries;
	uint64	   *own_ids;		/* the row that a query is, or NO_ROW, ... */
	int		   *own_parts;		/* ... and its part */
	double	   *recall;
	double	   *mine;			/* milliseconds */
	double	   *theirs;
} Measures;

static void
take_given(Relation index, ArrayType *given, Measures *measures)
{
	measures->queries = iqdb_pg_given_vectors(index, given, &measures->count);
	measures->own_ids = palloc(Max(measures->count, 1) * sizeof(uint64));
	measures->own_parts = palloc0(Max(measures->count, 1) * sizeof(int));
	for (int i = 0; i < measures->count; i++)
		measures->own_ids[i] = NO_ROW;
}

/* Rows of one part, evenly spread over it, and their ids, until there are so many queries. */
static void
sample_part(int part, uint64 until, Measures *measures)
{
	const IqdbIndex *index = &measures->parts[part].view.index;
	uint64		live = iqdb_index_live_count(index);
	uint64		first = (uint64) measures->count;
	uint64		position = 0;
	uint64		seen = 0;
	uint64		ids[256];
	size_t		count;

	while ((uint64) measures->count < until &&
		   (count = iqdb_index_ids(index, &position, ids, NULL, lengthof(ids))) > 0)
	{
		CHECK_FOR_INTERRUPTS();
		for (size_t i = 0; i < count && (uint64) measures->count < until; i++, seen++)
		{
			size_t		metadata_length;
			void	   *vector;

			if (seen * (until - first) / Max(live, 1) < (uint64) measures->count - first)
				continue;
			vector = palloc(iqdb_pg_row_bytes(index));
			if (iqdb_index_get(index, iqdb_id_u64(ids[i]), vector, NULL, 0, &metadata_length))
			{
				measures->own_ids[measures->count] = ids[i];
				measures->own_parts[measures->count] = part;
				measures->queries[measures->count++] = vector;
			}
		}
	}
}

/* Rows of all parts, of each as many as its share of all rows. */
static void
sample_rows(int sample, Measures *measures)
{
	uint64		live = 0;
	uint64		before = 0;
	uint64		wanted;

	for (int i = 0; i < measures->part_count; i++)
		live += iqdb_index_live_count(&measures->parts[i].view.index);
	wanted = Min((uint64) sample, live);
	measures->queries = palloc(Max(wanted, 1) * sizeof(void *));
	measures->own_ids = palloc(Max(wanted, 1) * sizeof(uint64));
	measures->own_parts = palloc(Max(wanted, 1) * sizeof(int));
	for (int i = 0; i < measures->part_count; i++)
	{
		before += iqdb_index_live_count(&measures->parts[i].view.index);
		sample_part(i, Min(wanted, wanted * before / Max(live, 1)), measures);
	}
}

/* Gives vector component i of other, if they differ in it; were they different? */
static bool
take_component(const IqdbElement *element, uint8 *vector, const uint8 *other, uint32 i, bool take)
{
	Size		width = element->bits / 8;
	uint8		mask = width > 0 ? 0xff : 0x80 >> i % 8;
	Size		at = width > 0 ? i * width : i / 8;
	bool		differ = false;

	for (Size byte = at; byte < at + Max(width, 1); byte++)
	{
		differ |= ((vector[byte] ^ other[byte]) & mask) != 0;
		if (take)
			vector[byte] = (vector[byte] & ~mask) | (other[byte] & mask);
	}
	return differ;
}

/* Takes every other component in which the two differ from other. Has vector become a third one? */
static bool
cross(const IqdbElement *element, void *vector, const void *other, uint32 dimension)
{
	int			differences = 0;

	for (uint32 i = 0; i < dimension; i++)
		differences += take_component(element, vector, other, i, differences % 2 == 1);
	return differences > 1;
}

/* Among so many rows nearest to a row, one is looked for that is no copy of it. */
#define CROSSED_AMONG 32

/*
 * Makes each query, a row, one that no row is: crosses it with its nearest row of another vector. What comes out lies
 * about as far from both as they from each other, and consists of components that occur, whatever they are made of. A
 * row whose nearest ones are all copies of it, or whose nearest differs in one component only, stays what it is, and a
 * row.
 */
static void
hold_out(Measures *measures)
{
	Found		found[CROSSED_AMONG];

	for (int i = 0; i < measures->count; i++)
	{
		Part	   *part = &measures->parts[measures->own_parts[i]];
		const IqdbStore *store = &part->oracle.store;
		Size		bytes = iqdb_pg_row_bytes(&part->oracle);
		void	   *query = unconstify(void *, measures->queries[i]);
		void	   *other = palloc(bytes);
		size_t		metadata_length;
		double		elapsed;
		int			count = timed_search(part, 1, measures->legs, true, query, CROSSED_AMONG, found, &elapsed);

		for (int j = 0; j < count; j++)
		{
			if (!iqdb_index_get(&part->oracle, iqdb_id_u64(found[j].id), other, NULL, 0, &metadata_length) ||
				memcmp(query, other, bytes) == 0)
				continue;
			if (cross(store->element, query, other, store->header->options.dimension))
				measures->own_ids[i] = NO_ROW;
			break;
		}
		pfree(other);
	}
}

/* ---- measuring --------------------------------------------------------------------------------------------------- */

/*
 * Takes the row that is the query out of the hits, where one more than k was asked for: finding it is no merit.
 * Returns how many are left, k at most.
 */
static int
without_own(Found *found, int count, int k, const Measures *measures, int query)
{
	int			kept = 0;

	for (int i = 0; i < count && kept < k; i++)
		if (found[i].id != measures->own_ids[query] || found[i].part != measures->own_parts[query])
			found[kept++] = found[i];
	return kept;
}

/* Searches with the index as a scan does, which is not told how many rows will be wanted; the oracle is. */
static void
measure(int k, Measures *measures)
{
	Found	   *found = palloc((k + 1) * sizeof(Found));
	Found	   *exact = palloc((k + 1) * sizeof(Found));
	Size		size = Max(measures->count, 1) * sizeof(double);

	measures->recall = palloc(size);
	measures->mine = palloc(size);
	measures->theirs = palloc(size);
	for (int i = 0; i < measures->count; i++)
	{
		const void *query = measures->queries[i];
		int			asked = measures->own_ids[i] != NO_ROW ? k + 1 : k;
		int			found_count = timed_search(measures->parts, measures->part_count, measures->legs, false, query, asked,
											   found, &measures->mine[i]);
		int			exact_count = timed_search(measures->parts, measures->part_count, measures->legs, true, query, asked,
											   exact, &measures->theirs[i]);

		found_count = without_own(found, found_count, k, measures, i);
		exact_count = without_own(exact, exact_count, k, measures, i);
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

/* The share of sorted values that are below a limit. */
static double
share_below(const double *values, int count, double limit)
{
	int			below = 0;

	while (below < count && values[below] < limit)
		below++;
	return (double) below / count;
}

/* mean_recall, p1_recall, min_recall, below_half, at_zero. Returns how many. */
static int
put_recall(Datum *values, const double *recall, int count)
{
	values[0] = Float8GetDatum(mean(recall, count));
	values[1] = Float8GetDatum(percentile(recall, count, 0.01));
	values[2] = Float8GetDatum(recall[0]);
	values[3] = Float8GetDatum(share_below(recall, count, 0.5));
	values[4] = Float8GetDatum(share_below(recall, count, DBL_MIN));
	return 5;
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

static void
open_part(Part *part, Relation index)
{
	iqdb_pg_view(&part->view, iqdb_pg_open_current(index, NULL));
	part->oracle = part->view.index;
	part->oracle.engine = iqdb_engine_get(IQDB_ENGINE_FLAT);
	part->params = iqdb_pg_search_params(index);
	part->params.zero_last = iqdb_pg_zero_is_nan(index);
}

/* The queries, and the recall and the times of each; none of a table without partitions. */
static Measures
take_measures(const IqdbPgIndexes *indexes, int k, int sample, ArrayType *given, bool held_out)
{
	Measures	measures = {.part_count = indexes->count};

	if (indexes->count == 0)
		return measures;
	measures.parts = palloc(indexes->count * sizeof(Part));
	measures.legs = palloc(indexes->count * sizeof(Leg));
	for (int i = 0; i < indexes->count; i++)
		open_part(&measures.parts[i], indexes->leaves[i]);
	if (given != NULL)
		take_given(indexes->leaves[0], given, &measures);
	else
		sample_rows(sample, &measures);
	if (held_out)
		hold_out(&measures);
	measure(k, &measures);
	return measures;
}

/* The function's row: NULL in all columns but the first where there was no query. */
static Datum
recall_row(TupleDesc tupdesc, const Measures *measures)
{
	Datum		values[14] = {0};
	bool		nulls[14];
	int			n = 0;

	memset(nulls, measures->count == 0, sizeof(nulls));
	nulls[0] = false;
	values[n++] = Int32GetDatum(measures->count);
	if (measures->count > 0)
	{
		n += put_recall(values + n, measures->recall, measures->count);
		n += put_latency(values + n, measures->mine, measures->count);
		n += put_latency(values + n, measures->theirs, measures->count);
		if (n != tupdesc->natts)
			elog(ERROR, "there are %d columns, and %d are filled", tupdesc->natts, n);
	}
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values, nulls));
}

/* What recall_row() fills, in its order. */
#define RECALL_COLUMNS \
	"query_count mean_recall p1_recall min_recall below_half at_zero qps p50_ms p95_ms p99_ms " \
	"exact_qps exact_p50_ms exact_p95_ms exact_p99_ms"

PG_FUNCTION_INFO_V1(iqdb_sql_recall);
Datum
iqdb_sql_recall(PG_FUNCTION_ARGS)
{
	TupleDesc	tupdesc = iqdb_pg_result_row(fcinfo, 5, RECALL_COLUMNS);
	ArrayType  *given;
	bool		held_out;
	int			k;
	int			sample;
	IqdbPgIndexes indexes;
	Measures	measures;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		PG_RETURN_NULL();
	k = PG_GETARG_INT32(1);
	sample = PG_GETARG_INT32(2);
	given = PG_ARGISNULL(3) ? NULL : PG_GETARG_ARRAYTYPE_P(3);
	held_out = !PG_ARGISNULL(4) && PG_GETARG_BOOL(4);
	if (k < 1 || k > 100000 || sample < 1 || sample > 1000000)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("k must be between 1 and 100000, and sample between 1 and 1000000")));
	if (given != NULL && held_out)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("held_out makes queries from rows of the index, but queries are given"),
				 errhint("Leave out one of them.")));
	indexes = iqdb_pg_open_indexes(PG_GETARG_OID(0), AccessShareLock, IQDB_PG_MAY_READ);
	measures = take_measures(&indexes, k, sample, given, held_out);
	iqdb_pg_close_indexes(&indexes, AccessShareLock);
	PG_RETURN_DATUM(recall_row(tupdesc, &measures));
}
