/*
 * pg_type.h - the column types that can be indexed: who owns them, what their vectors are made of, and how a value lies in
 * memory.
 *
 * A column of one of these types, or of a domain over one, can be indexed; anything else that an operator class leads to
 * these access methods is refused when the index is built, so that all other code may take the bytes for granted.
 *
 *   type       owner                 components         value
 *   iqvector   extension iqdb        floats             a dimension, then the components (iqvector.h)
 *   iqhalfvec  extension iqdb        halves             the same
 *   vector     extension vector      floats             the same; checked against the type's own input function
 *   halfvec    extension vector      halves             likewise
 *   bit        the server            bits               a length, then the bits (utils/varbit.h)
 *
 * A column type more is a row of the table in pg_type.c, and SQL.
 */
#ifndef IQDB_PG_TYPE_H
#define IQDB_PG_TYPE_H

#include "core/vec/element.h"
#include "utils/rel.h"

typedef struct IqdbPgType
{
	const char *name;			/* without its schema */
	const char *sizes;			/* what messages call the dimensions of two values */
	const char *extension;		/* that owns it; NULL: it is the server's own */
	const char *a_class;		/* one of its operator classes, for messages */
	IqdbElementKind element;

	/* Where the components of a detoasted value are; returns how many. */
	uint32		(*read) (const struct varlena *value, const void **components_out);
} IqdbPgType;

/*
 * Raises 0A000 unless the type of the index's column is one of the table above and lays its values out as it says. Runs the
 * input function of a foreign type, so only builds call it.
 */
extern void iqdb_pg_type_check(Relation index);

/* The type of the column of an index that was once built, or is about to be and was checked. */
extern const IqdbPgType *iqdb_pg_type(Relation index);

/* The row of the table with this type's name, whoever owns it; NULL if there is none. For estimates. */
extern const IqdbPgType *iqdb_pg_type_called(Oid type);

/* The type of this name, or NULL. */
extern const IqdbPgType *iqdb_pg_type_named(const char *name);

/*
 * The row of the table for a type, or for the one that a domain is over; NULL if it has none, or another owner or layout
 * than the table says. For values that come from elsewhere than the index's column.
 */
extern const IqdbPgType *iqdb_pg_type_of(Oid type);

#endif
