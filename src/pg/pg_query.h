/*
 * pg_query.h - vectors that a caller of an SQL function asks for, in the form of the index's rows.
 *
 * They may be of the column's type, of any other type whose vectors have the same components, or text as the column's type
 * reads it: what a literal is that nothing else gives a type to.
 */
#ifndef IQDB_PG_QUERY_H
#define IQDB_PG_QUERY_H

#include "utils/array.h"
#include "utils/rel.h"

/* A vector that is asked for. */
typedef struct IqdbPgQuery
{
	const void *vector;			/* in the form of the index's rows; NULL: the value was a null */
	Datum		value;			/* around it: a detoasted value of the column's type */
} IqdbPgQuery;

/*
 * One value of this type. What it points to lies in the value, or in the current context. Raises 42804 for types that do
 * not fit, 22000 for another dimension than the index's, and what the column's type says of a text.
 */
extern IqdbPgQuery iqdb_pg_given_query(Relation index, Oid type, Datum value);

/* The same for all values of an array. */
extern IqdbPgQuery *iqdb_pg_given_queries(Relation index, ArrayType *array, int *count_out);

/* Their vectors, for callers who know nothing that is near to a null: raises 22004 if there is one. */
extern const void **iqdb_pg_given_vectors(Relation index, ArrayType *array, int *count_out);

#endif
