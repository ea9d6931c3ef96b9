/*
 * pg_column.h - columns that an index has beside its vector, to filter by: which types can be one, and what of a value is kept.
 *
 * Of each value the core keeps a number, its key (core/engine/columns.h). Three things can become of a type:
 *
 *   ordered   bool, smallint, integer, bigint, date, timestamp, timestamptz, real, double precision: the keys compare as the
 *             values do, so that every comparison is answered by them, exactly. Enums, too: their key is the label's OID, and a
 *             comparison names the labels that pass.
 *   hashed    text, varchar, char(n), uuid: the key is a hash by the type's own hash function, under the column's collation.
 *             Equality only, and whoever is told of a row looks at the value again.
 *   labels    arrays: the key is the union of the signatures of the members. && and @>, and looked at again.
 *
 * A domain is as the type it is over. A type more is a row of the table in pg_column.c, and operators in SQL.
 */
#ifndef IQDB_PG_COLUMN_H
#define IQDB_PG_COLUMN_H

#include "core/db/iqdb.h"
#include "utils/rel.h"
#include "utils/typcache.h"

/* Strategy numbers of the operator classes. The first five are those of B-trees. */
typedef enum IqdbPgStrategy
{
	IQDB_PG_LESS = 1,
	IQDB_PG_LESS_EQUAL,
	IQDB_PG_EQUAL,
	IQDB_PG_GREATER_EQUAL,
	IQDB_PG_GREATER,
	IQDB_PG_NOT_EQUAL,
	IQDB_PG_OVERLAPS,
	IQDB_PG_CONTAINS
} IqdbPgStrategy;

typedef struct IqdbPgColumnType IqdbPgColumnType;

/* How a column's values become keys. */
typedef struct IqdbPgColumn
{
	const IqdbPgColumnType *traits;
	Oid			type;			/* without domains around it */
	Oid			collation;
	TypeCacheEntry *hashed;		/* what is hashed: the type, or the members of an array; else NULL. Lives for ever */
} IqdbPgColumn;

/* The columns of an index behind its vector. */
typedef struct IqdbPgColumns
{
	int			count;
	IqdbPgColumn columns[IQDB_COLUMNS_MAX];
} IqdbPgColumns;

/*
 * Where a constant, which may be of another type than the column, stands among the keys: `key` is the greatest one that is
 * no greater, and `exact` says whether it is the constant's own; `below`: there is none.
 */
typedef struct IqdbPgBound
{
	int64		key;
	bool		exact;
	bool		below;
} IqdbPgBound;

/* Can a column of this type be one? Then *column_out is how. */
extern bool iqdb_pg_column_of(Oid type, Oid collation, IqdbPgColumn *column_out);

/* "bool, int2, ..." for messages. */
extern char *iqdb_pg_column_types(void);

/* Raises 0A000 unless every column behind the index's first can be one. */
extern void iqdb_pg_columns_check(Relation index);

/* The columns of an index that was checked, in the current memory context; NULL if it has but its vector. */
extern IqdbPgColumns *iqdb_pg_columns(Relation index);

/* Puts the kinds of the columns into the options of an index. */
extern void iqdb_pg_columns_of_options(Relation index, IqdbIndexOptions *options);

/* The kind that the core knows a column by. */
extern IqdbColumnKind iqdb_pg_column_kind(const IqdbPgColumn *column);

/* The key of a value, which is detoasted where it must be. */
extern int64 iqdb_pg_column_key(const IqdbPgColumn *column, Datum value);

/* The signatures of an array's members, in the current context; *has_null_out: a member is NULL. */
extern int64 *iqdb_pg_column_labels(const IqdbPgColumn *column, Datum array, int *count_out, bool *has_null_out);

/* The keys of an ordered column: its smallest and greatest, and where a constant of this type stands among them. */
extern int64 iqdb_pg_column_min(const IqdbPgColumn *column);
extern int64 iqdb_pg_column_max(const IqdbPgColumn *column);
extern IqdbPgBound iqdb_pg_column_bound(const IqdbPgColumn *column, Oid type, Datum constant);

/* Is the type an enum, whose keys are equal as its values are, but not in their order? */
extern bool iqdb_pg_column_is_enum(const IqdbPgColumn *column);

#endif
