/*
 * pg_query.c - see pg_query.h.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "pg/pg_query.h"
#include "pg/pg_row.h"

/* How values of one type are read. */
typedef struct Reader
{
	IqdbPgRowForm form;			/* of the index */
	const IqdbPgType *type;		/* of the values once they are no text any more */
	bool		is_text;
	FmgrInfo	input;			/* of the column's type, for text */
	Oid			input_parameter;
} Reader;

static Reader
make_reader(Relation index, Oid type)
{
	Reader		reader = {.form = iqdb_pg_row_form(index)};
	Oid			input;

	reader.is_text = type == TEXTOID || type == VARCHAROID;
	reader.type = reader.is_text ? reader.form.type : iqdb_pg_type_of(type);
	if (reader.type == NULL || reader.type->element != reader.form.type->element)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("queries of type %s do not fit an index on a column of type %s", format_type_be(type),
						reader.form.type->name),
				 errhint("Cast them to %s.", reader.form.type->name)));
	if (reader.is_text)
	{
		getTypeInputInfo(getBaseType(TupleDescAttr(RelationGetDescr(index), 0)->atttypid), &input,
						 &reader.input_parameter);
		fmgr_info(input, &reader.input);
	}
	return reader;
}

static IqdbPgQuery
read_query(Reader *reader, Datum value)
{
	IqdbPgQuery query;
	struct varlena *detoasted;
	uint32		dimension;

	if (reader->is_text)
		value = InputFunctionCall(&reader->input, TextDatumGetCString(value), reader->input_parameter, -1);
	detoasted = PG_DETOAST_DATUM(value);
	dimension = reader->type->read(detoasted, &query.vector);
	if (dimension != reader->form.dimension)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("different %s %s %u and %u", reader->form.type->name, reader->form.type->sizes,
						reader->form.dimension, dimension)));
	query.value = PointerGetDatum(detoasted);
	return query;
}

IqdbPgQuery
iqdb_pg_given_query(Relation index, Oid type, Datum value)
{
	Reader		reader = make_reader(index, type);

	return read_query(&reader, value);
}

IqdbPgQuery *
iqdb_pg_given_queries(Relation index, ArrayType *array, int *count_out)
{
	Reader		reader = make_reader(index, ARR_ELEMTYPE(array));
	Datum	   *values;
	bool	   *nulls;
	IqdbPgQuery *queries;

	deconstruct_array(array, ARR_ELEMTYPE(array), -1, false, TYPALIGN_INT, &values, &nulls, count_out);
	queries = palloc0(Max(*count_out, 1) * sizeof(IqdbPgQuery));
	for (int i = 0; i < *count_out; i++)
		if (!nulls[i])
			queries[i] = read_query(&reader, values[i]);
	return queries;
}

const void **
iqdb_pg_given_vectors(Relation index, ArrayType *array, int *count_out)
{
	IqdbPgQuery *queries = iqdb_pg_given_queries(index, array, count_out);
	const void **vectors = palloc(Max(*count_out, 1) * sizeof(void *));

	for (int i = 0; i < *count_out; i++)
	{
		if (queries[i].vector == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("queries must not contain nulls")));
		vectors[i] = queries[i].vector;
	}
	return vectors;
}
