/*
 * pg_row.c - see pg_row.h.
 */
#include "postgres.h"

#include "fmgr.h"

#include "core/base/endian.h"

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

IqdbStatus
iqdb_pg_row_put(IqdbIndex *index, IqdbPgRow *row, IqdbError *error)
{
	IqdbId		id = iqdb_id_u64(row->number);

	if (row->vector == NULL)
		return iqdb_index_put_known(index, id, error);
	return iqdb_index_put(index, id, row->vector, index->store.header->options.dimension, NULL, 0, &row->slot, error);
}

Size
iqdb_pg_row_body_size(const IqdbIndex *index, bool has_vector)
{
	return NUMBER_BYTES + (has_vector ? iqdb_pg_row_bytes(index) : 0);
}

void
iqdb_pg_row_encode(const IqdbIndex *index, const IqdbPgRow *row, unsigned char *body)
{
	iqdb_store_u64(body, row->number);
	if (row->vector != NULL)
		iqdb_element_encode(index->store.element, row->vector, index->store.header->options.dimension,
							body + NUMBER_BYTES);
}

bool
iqdb_pg_row_decode(const IqdbIndex *index, const unsigned char *body, Size length, bool has_vector, void *buffer,
				   IqdbPgRow *row_out)
{
	if (length != iqdb_pg_row_body_size(index, has_vector))
		return false;
	*row_out = iqdb_pg_row(iqdb_load_u64(body), has_vector ? buffer : NULL);
	if (has_vector)
		iqdb_element_decode(index->store.element, body + NUMBER_BYTES, index->store.header->options.dimension, buffer);
	return true;
}
