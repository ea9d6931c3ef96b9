/*
 * pg_type.h - which column types can be indexed, and how their values lie in memory.
 *
 * A column of one of these types, or of a domain over one, can be indexed; anything else that an operator class leads to
 * these access methods is refused when the index is built, so that all other code may take the bytes for granted.
 *
 *   type       owner                 value
 *   iqvector   extension iqdb        IqVector (iqvector.h): a dimension, then floats
 *   vector     extension vector      the same bytes; checked against the type's own input function, never assumed
 */
#ifndef IQDB_PG_TYPE_H
#define IQDB_PG_TYPE_H

#include "utils/rel.h"

/*
 * Raises 0A000 unless the type of the index's column is one of the table above and lays its values out as it says. Runs the
 * input function of a foreign type, so only builds call it.
 */
extern void iqdb_pg_type_check(Relation index);

/* The bare name of that type, for messages: "iqvector" or "vector". Palloc'ed. */
extern char *iqdb_pg_type_name(Relation index);

#endif
