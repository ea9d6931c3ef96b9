/*
 * pg_estimate.c - iqdb_estimate: what an index would take, in memory, on disk and in time, before it is made.
 *
 * Bytes are the core's own account of rows that do not exist yet. Time is counted in distances, one of which is measured here
 * and now.
 */
#include "postgres.h"

#include <ctype.h>

#include "access/htup_details.h"
#include "access/reloptions.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "pg/pg_admin.h"
#include "pg/pg_arena.h"
#include "pg/pg_column.h"
#include "pg/pg_kernels.h"
#include "pg/pg_options.h"
#include "pg/pg_row.h"

static IqdbEngineKind
method_kind(const char *name)
{
	if (strncmp(name, "iqdb_", 5) == 0)
		name += 5;
	for (uint32 kind = 0; kind < IQDB_ENGINE_COUNT; kind++)
	{
		const IqdbEngine *engine = iqdb_engine_get(kind);

		if (engine != NULL && strcmp(engine->name, name) == 0)
			return (IqdbEngineKind) kind;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown index method \"%s\"", name),
			 errhint("Name one of the access methods of iqdb, such as iqdb_hnsw.")));
}

/* Takes out the blanks around each "=", and the quotes that WITH allows around a value. */
static char *
without_blanks(const char *text)
{
	char	   *copy = palloc(strlen(text) + 1);
	char	   *end = copy;

	for (; *text != '\0'; text++)
	{
		if (*text == '\'')
			continue;
		if (isspace((unsigned char) *text))
		{
			if (text[1 + strspn(text + 1, " \t\r\n\f\v")] != '=' && end > copy && end[-1] != '=')
				*end++ = ' ';
			continue;
		}
		*end++ = *text;
	}
	*end = '\0';
	return copy;
}

/* "m = 32, ef_construction = 100" as the options of CREATE INDEX ... WITH, checked by the same code. */
static const IqdbPgOptions *
parse_options(IqdbEngineKind kind, const char *text)
{
	ArrayBuildState *array = NULL;
	char	   *copy = without_blanks(text);
	char	   *rest = NULL;
	Datum		reloptions = (Datum) 0;

	for (char *word = strtok_r(copy, ", ", &rest); word != NULL; word = strtok_r(NULL, ", ", &rest))
		array = accumArrayResult(array, CStringGetTextDatum(word), false, TEXTOID, CurrentMemoryContext);
	if (array != NULL)
		reloptions = makeArrayResult(array, CurrentMemoryContext);
	return (const IqdbPgOptions *) iqdb_pg_parse_options(kind, reloptions, true);
}

/* Seconds one distance takes on this machine, for rows that wait for memory. */
static double
seconds_per_distance(const IqdbIndexOptions *options)
{
	const IqdbElement *element = iqdb_element(options->element);
	const IqdbSumKernels *kernels =
		&iqdb_pg_kernels()->elements[options->element]->sums[iqdb_metric_sum((IqdbMetric) options->metric)];
	Size		bytes = iqdb_element_bytes(element, options->dimension);
	void	   *query = palloc0(iqdb_element_prepared_bytes(element, options->dimension));
	int			rows = Max(16, Min(4096, (int) (32 * 1024 * 1024 / bytes)));
	char	   *data = palloc0(rows * bytes);
	int			done = 0;
	instr_time	begin;
	instr_time	now;

	INSTR_TIME_SET_CURRENT(begin);
	do
	{
		for (int i = 0; i < 64; i++)
			(void) kernels->pair(query, data + (done + i) * 97 % rows * bytes, options->dimension);
		done += 64;
		INSTR_TIME_SET_CURRENT(now);
		INSTR_TIME_SUBTRACT(now, begin);
	} while (INSTR_TIME_GET_DOUBLE(now) < 0.005);
	pfree(data);
	pfree(query);
	return INSTR_TIME_GET_DOUBLE(now) / done + 40e-9;
}

/* What the vectors of a column type are made of. */
static IqdbElementKind
element_of(const char *type)
{
	const IqdbPgType *known = iqdb_pg_type_named(type);

	if (known == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("columns of type \"%s\" cannot be indexed", type),
				 errhint("Name one of iqvector, iqhalfvec, vector, halfvec, bit.")));
	return known->element;
}

/* A metric of such vectors; L2 if it is one. */
static IqdbMetric
metric_of(IqdbElementKind element)
{
	IqdbMetric	metric = IQDB_METRIC_L2;

	for (uint32 i = 0; (iqdb_metric_traits(metric)->elements & 1u << element) == 0; i++)
		metric = (IqdbMetric) i;
	return metric;
}

/* Columns to filter by, as an index would have them behind its vector. */
static void
add_columns(ArrayType *types, IqdbIndexOptions *options)
{
	Datum	   *oids;
	bool	   *nulls;
	int			count;

	deconstruct_array(types, REGTYPEOID, sizeof(Oid), true, TYPALIGN_INT, &oids, &nulls, &count);
	if (count > Min(IQDB_COLUMNS_MAX, INDEX_MAX_KEYS - 1))
		ereport(ERROR,
				(errcode(ERRCODE_TOO_MANY_COLUMNS),
				 errmsg("an index can have %d columns beside its vector, not %d", Min(IQDB_COLUMNS_MAX, INDEX_MAX_KEYS - 1),
						count)));
	for (int i = 0; i < count; i++)
	{
		IqdbPgColumn column;

		if (nulls[i] || !iqdb_pg_column_of(DatumGetObjectId(oids[i]), InvalidOid, &column))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("a column of type %s cannot be a filter column",
							nulls[i] ? "NULL" : format_type_be(DatumGetObjectId(oids[i]))),
					 errhint("These types can: %s.", iqdb_pg_column_types())));
		options->columns[options->column_count++] = (uint8) iqdb_pg_column_kind(&column);
	}
}

PG_FUNCTION_INFO_V1(iqdb_sql_estimate);
Datum
iqdb_sql_estimate(PG_FUNCTION_ARGS)
{
	TupleDesc	tupdesc = iqdb_pg_result_row(fcinfo, 6, "memory disk vectors_on_disk build_seconds");
	IqdbEngineKind kind = method_kind(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	int64		rows = PG_GETARG_INT64(1);
	int32		dimension = PG_GETARG_INT32(2);
	const IqdbPgOptions *given = parse_options(kind, text_to_cstring(PG_GETARG_TEXT_PP(3)));
	IqdbElementKind element = element_of(text_to_cstring(PG_GETARG_TEXT_PP(4)));
	IqdbIndexOptions options;
	IqdbError	error = {0};
	Datum		values[4];
	bool		nulls[4] = {false};

	if (rows < 0 || rows > IQDB_SLOTS_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("rows must be between 0 and %u", (unsigned) IQDB_SLOTS_MAX)));
	if (dimension < 1 || (uint32) dimension > iqdb_element(element)->dimension_max)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("dimensions must be between 1 and %u", iqdb_element(element)->dimension_max)));
	options = iqdb_index_options_default(kind, (uint32) dimension, metric_of(element));
	iqdb_index_options_of_element(&options, element);
	options = iqdb_pg_apply_options(options, given);
	add_columns(PG_GETARG_ARRAYTYPE_P(5), &options);
	iqdb_pg_check(iqdb_index_options_check(&options, &error), &error, NULL);

	values[0] = Int64GetDatum((int64) (iqdb_index_estimate_memory(&options, (uint64) rows) + sizeof(IqdbPgShared)));
	values[1] = Int64GetDatum((int64) iqdb_index_estimate_snapshot(&options, (uint64) rows, true) + 4 * BLCKSZ);
	values[2] = Int64GetDatum((int64) iqdb_index_estimate_vector_file(&options, (uint64) rows));
	values[3] = Float8GetDatum(rows * (iqdb_engine_get(kind)->build_work(&options, rows) * seconds_per_distance(&options) +
									   2e-6) / (1 + max_parallel_maintenance_workers));
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values, nulls)));
}
