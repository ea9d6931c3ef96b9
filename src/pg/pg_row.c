/*
 * pg_row.c - see pg_row.h.
 */
#include "postgres.h"

#include "fmgr.h"

#include "core/base/endian.h"

#include "pg/pg_heap.h"
#include "pg/pg_options.h"
#include "pg/pg_row.h"

#define NUMBER_BYTES 8

IqdbPgRowForm
iqdb_pg_row_form(Relation index)
{
	IqdbPgRowForm form;

	form.type = iqdb_pg_type(index);
	form.element = iqdb_element(form.type->element);
	form.dimension = iqdb_pg_dimension(index);
	form.bytes = iqdb_element_bytes(form.element, form.dimension);
	form.columns = iqdb_pg_columns(index);
	return form;
}

const void *
iqdb_pg_row_vector(const IqdbPgRowForm *form, Datum value)
{
	const void *vector;
	uint32		dimension = form->type->read(PG_DETOAST_DATUM(value), &vector);

	if (dimension != form->dimension)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("expected %u dimensions, not %u", form->dimension, dimension)));
	return vector;
}

const IqdbColumnValues *
iqdb_pg_row_columns(const IqdbPgRowForm *form, const Datum *values, const bool *isnull, IqdbColumnValues *columns_out)
{
	if (form->columns == NULL)
		return NULL;
	columns_out->nulls = 0;
	for (int i = 0; i < form->columns->count; i++)
	{
		columns_out->values[i] = isnull[i + 1] ? 0 : iqdb_pg_column_key(&form->columns->columns[i], values[i + 1]);
		if (isnull[i + 1])
			columns_out->nulls |= UINT32_C(1) << i;
	}
	return columns_out;
}

bool
iqdb_pg_row_complete(Relation index, const Datum *values, const bool *isnull)
{
	TupleDesc	tupdesc = RelationGetDescr(index);

	for (int i = 0; i < tupdesc->natts; i++)
	{
		if (!isnull[i] && TupleDescAttr(tupdesc, i)->attlen == -1 && !iqdb_pg_datum_complete(values[i]))
			return false;
	}
	return true;
}

IqdbStatus
iqdb_pg_row_put(IqdbIndex *index, IqdbPgRow *row, IqdbError *error)
{
	IqdbRow		put = {.id = iqdb_id_u64(row->number), .vector = row->vector};

	if (row->vector == NULL)
		return iqdb_index_put_known(index, put.id, error);
	return iqdb_index_put_row(index, &put, index->store.header->options.dimension, row->columns, &row->slot, error);
}

/* Bytes of a row's columns in a frame. */
static Size
columns_size(const IqdbIndex *index)
{
	return index->store.header->columns.encoded_bytes;
}

Size
iqdb_pg_row_body_size(const IqdbIndex *index, bool has_vector)
{
	return NUMBER_BYTES + (has_vector ? columns_size(index) + iqdb_pg_row_bytes(index) : 0);
}

void
iqdb_pg_row_encode(const IqdbIndex *index, const IqdbPgRow *row, unsigned char *body)
{
	const IqdbIndexOptions *options = &index->store.header->options;

	iqdb_store_u64(body, row->number);
	if (row->vector == NULL)
		return;
	iqdb_columns_encode(options, row->columns, body + NUMBER_BYTES);
	iqdb_element_encode(index->store.element, row->vector, options->dimension, body + NUMBER_BYTES + columns_size(index));
}

bool
iqdb_pg_row_decode(const IqdbIndex *index, const unsigned char *body, Size length, bool has_vector, void *buffer,
				   IqdbColumnValues *columns, IqdbPgRow *row_out)
{
	const IqdbIndexOptions *options = &index->store.header->options;

	if (length != iqdb_pg_row_body_size(index, has_vector))
		return false;
	*row_out = iqdb_pg_row(iqdb_load_u64(body), has_vector ? buffer : NULL);
	if (!has_vector)
		return true;
	row_out->columns = columns;
	iqdb_element_decode(index->store.element, body + NUMBER_BYTES + columns_size(index), options->dimension, buffer);
	return iqdb_columns_decode(options, body + NUMBER_BYTES, columns);
}
