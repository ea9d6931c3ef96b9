/*
 * pg_row.h - one row of an index as the glue passes it on: from a value of the column to the core, and into a log.
 *
 * Build, insert, VACUUM, fetching, following the journal, replay and the log all speak of rows in this form. What a vector
 * is made of is the column type's business (pg_type.h); nobody here looks inside.
 */
#ifndef IQDB_PG_ROW_H
#define IQDB_PG_ROW_H

#include "core/db/iqdb.h"
#include "storage/itemptr.h"
#include "utils/rel.h"

#include "pg/pg_column.h"
#include "pg/pg_type.h"

typedef struct IqdbPgRow
{
	uint64		number;			/* its TID: block, then offset */
	const void *vector;			/* in the form of the index's element; NULL: it has none, its TID is only known */
	const IqdbColumnValues *columns;	/* NULL: the index has none, or the row has no vector */
	uint32		slot;			/* where it was put; IQDB_SLOT_NONE: it was not */
} IqdbPgRow;

/* How the rows of an index are made. */
typedef struct IqdbPgRowForm
{
	const IqdbPgType *type;
	const IqdbElement *element;
	uint32		dimension;
	Size		bytes;			/* of a vector */
	IqdbPgColumns *columns;		/* NULL: it has none */
} IqdbPgRowForm;

/* TIDs travel through the core as row numbers: block * 65536 + offset. */
static inline uint64
iqdb_pg_tid_number(ItemPointer tid)
{
	return ((uint64) ItemPointerGetBlockNumberNoCheck(tid) << 16) | ItemPointerGetOffsetNumberNoCheck(tid);
}

static inline void
iqdb_pg_number_tid(uint64 number, ItemPointer tid_out)
{
	ItemPointerSet(tid_out, (BlockNumber) (number >> 16), (OffsetNumber) (number & 0xffff));
}

static inline IqdbPgRow
iqdb_pg_row(uint64 number, const void *vector)
{
	IqdbPgRow	row = {number, vector, NULL, IQDB_SLOT_NONE};

	return row;
}

/* The form of an index's rows, by its relation; in the current memory context. */
extern IqdbPgRowForm iqdb_pg_row_form(Relation index);

/*
 * The vector of a value of the column, detoasted into the current context where it must be. Raises 22000 if its dimension
 * is not that of the index.
 */
extern const void *iqdb_pg_row_vector(const IqdbPgRowForm *form, Datum value);

/*
 * The columns of a row of the index, by the values of all the index's columns: written to *columns_out, and that returned;
 * or NULL if the index has but its vector.
 */
extern const IqdbColumnValues *iqdb_pg_row_columns(const IqdbPgRowForm *form, const Datum *values, const bool *isnull,
												   IqdbColumnValues *columns_out);

/*
 * Are the out-of-line values among these of the index's columns still there? Of a dead row they may be gone
 * (iqdb_pg_datum_complete()).
 */
extern bool iqdb_pg_row_complete(Relation index, const Datum *values, const bool *isnull);

/* Bytes of a vector of an index. */
static inline Size
iqdb_pg_row_bytes(const IqdbIndex *index)
{
	return iqdb_element_bytes(index->store.element, index->store.header->options.dimension);
}

/* Puts the row, or makes its TID known; row->slot says where. */
extern IqdbStatus iqdb_pg_row_put(IqdbIndex *index, IqdbPgRow *row, IqdbError *error);

/*
 * The body of a row's frame in the log: the number, then, if it has a vector, its columns (core/engine/columns.h) and that,
 * all little-endian. body has room for iqdb_pg_row_body_size().
 */
extern Size iqdb_pg_row_body_size(const IqdbIndex *index, bool has_vector);
extern void iqdb_pg_row_encode(const IqdbIndex *index, const IqdbPgRow *row, unsigned char *body);

/*
 * Reads such a body; false if it has another length, or columns that nobody writes. The vector goes into buffer, which has
 * room for iqdb_pg_row_bytes() and is aligned for any element.
 */
extern bool iqdb_pg_row_decode(const IqdbIndex *index, const unsigned char *body, Size length, bool has_vector,
							   void *buffer, IqdbColumnValues *columns, IqdbPgRow *row_out);

#endif
