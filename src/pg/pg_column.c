/*
 * pg_column.c - see pg_column.h.
 */
#include "postgres.h"

#include <float.h>
#include <math.h>

#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "common/int.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "pg/pg_column.h"
#include "pg/pg_compat.h"

/* What becomes of a type's values. */
struct IqdbPgColumnType
{
	Oid			type;			/* InvalidOid: many types, see traits_of() */
	const char *name;
	IqdbColumnKind kind;
	int64		(*key) (const IqdbPgColumn *column, Datum value);
	IqdbPgBound (*bound) (Oid type, Datum constant);	/* of ordered types */
};

/* ---- keys ---------------------------------------------------------------------------------------------------------- */

static int64
key_of_bool(const IqdbPgColumn *column, Datum value)
{
	return DatumGetBool(value);
}

static int64
key_of_int2(const IqdbPgColumn *column, Datum value)
{
	return DatumGetInt16(value);
}

/* Dates are numbers of days, with the least and the greatest for the infinities. */
static int64
key_of_int4(const IqdbPgColumn *column, Datum value)
{
	return DatumGetInt32(value);
}

/* So are timestamps, of microseconds. */
static int64
key_of_int8(const IqdbPgColumn *column, Datum value)
{
	return DatumGetInt64(value);
}

/*
 * The bits of a float, read as a number, are in the order of floats if it is positive, and in the opposite order if it is
 * not. Of the two zeros the positive one stands for both, and NaN is equal to itself and greater than all else.
 */
static int64
key_of_float8_value(double value)
{
	int64		bits;

	if (isnan(value))
		return PG_INT64_MAX;
	value += 0.0;
	memcpy(&bits, &value, sizeof(bits));
	return bits >= 0 ? bits : bits ^ PG_INT64_MAX;
}

static int64
key_of_float4_value(float value)
{
	int32		bits;

	if (isnan(value))
		return PG_INT32_MAX;
	value += 0.0f;
	memcpy(&bits, &value, sizeof(bits));
	return bits >= 0 ? bits : bits ^ PG_INT32_MAX;
}

static int64
key_of_float4(const IqdbPgColumn *column, Datum value)
{
	return key_of_float4_value(DatumGetFloat4(value));
}

static int64
key_of_float8(const IqdbPgColumn *column, Datum value)
{
	return key_of_float8_value(DatumGetFloat8(value));
}

/* The label's OID, whatever its place in the order of labels, which ALTER TYPE may put others between. */
static int64
key_of_enum(const IqdbPgColumn *column, Datum value)
{
	return (int32) DatumGetObjectId(value);
}

static uint64
hash_of(const IqdbPgColumn *column, Datum value)
{
	return DatumGetUInt64(FunctionCall2Coll(&column->hashed->hash_extended_proc_finfo, column->collation, value,
											Int64GetDatum(0)));
}

static int64
key_of_hash(const IqdbPgColumn *column, Datum value)
{
	return (int64) hash_of(column, value);
}

int64 *
iqdb_pg_column_labels(const IqdbPgColumn *column, Datum array, int *count_out, bool *has_null_out)
{
	ArrayType  *value = DatumGetArrayTypeP(array);
	TypeCacheEntry *member = column->hashed;
	Datum	   *members;
	bool	   *nulls;
	int			count;
	int64	   *labels;

	deconstruct_array(value, ARR_ELEMTYPE(value), member->typlen, member->typbyval, member->typalign, &members, &nulls,
					  &count);
	labels = palloc(Max(count, 1) * sizeof(int64));
	*count_out = 0;
	*has_null_out = false;
	for (int i = 0; i < count; i++)
	{
		if (nulls[i])
			*has_null_out = true;
		else
			labels[(*count_out)++] = iqdb_label_signature(hash_of(column, members[i]));
	}
	pfree(members);
	pfree(nulls);
	if ((Pointer) value != DatumGetPointer(array))
		pfree(value);
	return labels;
}

static int64
key_of_labels(const IqdbPgColumn *column, Datum value)
{
	bool		has_null;
	int			count;
	int64	   *labels = iqdb_pg_column_labels(column, value, &count, &has_null);
	int64		all = 0;

	for (int i = 0; i < count; i++)
		all |= labels[i];
	pfree(labels);
	return all;
}

/* ---- constants among keys ------------------------------------------------------------------------------------------ */

/* A whole number among those of a type from min to max. */
static IqdbPgBound
bound_of_integer(int64 constant, int64 min, int64 max)
{
	IqdbPgBound bound = {.key = Min(constant, max), .exact = constant >= min && constant <= max, .below = constant < min};

	return bound;
}

static int64
integer_constant(Oid type, Datum constant)
{
	switch (type)
	{
		case BOOLOID:
			return DatumGetBool(constant);
		case INT2OID:
			return DatumGetInt16(constant);
		case INT4OID:
			return DatumGetInt32(constant);
		case INT8OID:
			return DatumGetInt64(constant);
		default:
			elog(ERROR, "a whole number of type %u", type);
	}
}

static IqdbPgBound
bound_among_bools(Oid type, Datum constant)
{
	return bound_of_integer(integer_constant(type, constant), PG_INT8_MIN, PG_INT8_MAX);
}

static IqdbPgBound
bound_among_int2(Oid type, Datum constant)
{
	return bound_of_integer(integer_constant(type, constant), PG_INT16_MIN, PG_INT16_MAX);
}

static IqdbPgBound
bound_among_int4(Oid type, Datum constant)
{
	return bound_of_integer(integer_constant(type, constant), PG_INT32_MIN, PG_INT32_MAX);
}

static IqdbPgBound
bound_among_int8(Oid type, Datum constant)
{
	return bound_of_integer(integer_constant(type, constant), PG_INT64_MIN, PG_INT64_MAX);
}

/* The day in which a timestamp lies, and whether it is its first instant. */
static IqdbPgBound
bound_among_dates(Oid type, Datum constant)
{
	IqdbPgBound bound = {.exact = true};
	Timestamp	instant;
	int64		day;

	if (type == DATEOID)
	{
		bound.key = DatumGetDateADT(constant);
		return bound;
	}
	instant = DatumGetTimestamp(constant);
	if (TIMESTAMP_IS_NOBEGIN(instant))
		bound.key = DATEVAL_NOBEGIN;
	else if (TIMESTAMP_IS_NOEND(instant))
		bound.key = DATEVAL_NOEND;
	else
	{
		day = instant / USECS_PER_DAY - (instant % USECS_PER_DAY < 0);
		bound.key = day;
		bound.exact = day * USECS_PER_DAY == instant;
	}
	return bound;
}

/* A date's first instant; dates may lie behind all timestamps. */
static IqdbPgBound
bound_among_timestamps(Oid type, Datum constant)
{
	IqdbPgBound bound = {.exact = true};
	DateADT		day;

	if (type != DATEOID)
	{
		bound.key = DatumGetTimestamp(constant);
		return bound;
	}
	day = DatumGetDateADT(constant);
	if (DATE_IS_NOBEGIN(day))
		bound.key = DT_NOBEGIN;
	else if (DATE_IS_NOEND(day))
		bound.key = DT_NOEND;
	else if (pg_mul_s64_overflow(day, USECS_PER_DAY, &bound.key) || bound.key >= END_TIMESTAMP)
	{
		bound.key = END_TIMESTAMP - 1;
		bound.exact = false;
	}
	return bound;
}

/* The greatest float that is no greater than a double: the nearest, or the one before it. */
static IqdbPgBound
bound_among_float4(Oid type, Datum constant)
{
	double		wanted = type == FLOAT4OID ? DatumGetFloat4(constant) : DatumGetFloat8(constant);
	float		nearest = (float) wanted;
	IqdbPgBound bound = {.key = key_of_float4_value(nearest), .exact = isnan(wanted) || (double) nearest == wanted};

	/* minus infinity is no greater than anything, so there is always one before */
	if ((double) nearest > wanted)
		bound.key--;
	return bound;
}

static IqdbPgBound
bound_among_float8(Oid type, Datum constant)
{
	double		wanted = type == FLOAT4OID ? DatumGetFloat4(constant) : DatumGetFloat8(constant);
	IqdbPgBound bound = {.key = key_of_float8_value(wanted), .exact = true};

	return bound;
}

/* ---- the table ----------------------------------------------------------------------------------------------------- */

static const IqdbPgColumnType types[] = {
	{BOOLOID, "boolean", IQDB_COLUMN_INT1, key_of_bool, bound_among_bools},
	{INT2OID, "smallint", IQDB_COLUMN_INT2, key_of_int2, bound_among_int2},
	{INT4OID, "integer", IQDB_COLUMN_INT4, key_of_int4, bound_among_int4},
	{INT8OID, "bigint", IQDB_COLUMN_INT8, key_of_int8, bound_among_int8},
	{DATEOID, "date", IQDB_COLUMN_INT4, key_of_int4, bound_among_dates},
	{TIMESTAMPOID, "timestamp", IQDB_COLUMN_INT8, key_of_int8, bound_among_timestamps},
	{TIMESTAMPTZOID, "timestamptz", IQDB_COLUMN_INT8, key_of_int8, bound_among_timestamps},
	{FLOAT4OID, "real", IQDB_COLUMN_INT4, key_of_float4, bound_among_float4},
	{FLOAT8OID, "double precision", IQDB_COLUMN_INT8, key_of_float8, bound_among_float8},
	{UUIDOID, "uuid", IQDB_COLUMN_HASH, key_of_hash, NULL},
	{TEXTOID, "text", IQDB_COLUMN_HASH, key_of_hash, NULL},
	{VARCHAROID, "varchar", IQDB_COLUMN_HASH, key_of_hash, NULL},
	{BPCHAROID, "char(n)", IQDB_COLUMN_HASH, key_of_hash, NULL},
};

static const IqdbPgColumnType enums = {InvalidOid, "enums", IQDB_COLUMN_INT4, key_of_enum, NULL};
static const IqdbPgColumnType arrays = {InvalidOid, "arrays of what can be hashed", IQDB_COLUMN_LABELS, key_of_labels, NULL};

static const IqdbPgColumnType *
traits_of(Oid type)
{
	for (size_t i = 0; i < lengthof(types); i++)
	{
		if (types[i].type == type)
			return &types[i];
	}
	return type_is_enum(type) ? &enums : OidIsValid(get_element_type(type)) ? &arrays : NULL;
}

bool
iqdb_pg_column_of(Oid type, Oid collation, IqdbPgColumn *column_out)
{
	Oid			base = getBaseType(type);
	const IqdbPgColumnType *traits = traits_of(base);
	Oid			hashed = base;

	*column_out = (IqdbPgColumn) {.traits = traits, .type = base, .collation = collation};
	if (traits == NULL || (traits->kind != IQDB_COLUMN_HASH && traits->kind != IQDB_COLUMN_LABELS))
		return traits != NULL;
	if (traits->kind == IQDB_COLUMN_LABELS)
		hashed = get_element_type(base);
	column_out->hashed = lookup_type_cache(hashed, TYPECACHE_HASH_EXTENDED_PROC_FINFO);
	return OidIsValid(column_out->hashed->hash_extended_proc_finfo.fn_oid);
}

char *
iqdb_pg_column_types(void)
{
	StringInfoData list;

	initStringInfo(&list);
	for (size_t i = 0; i < lengthof(types); i++)
		appendStringInfo(&list, "%s, ", types[i].name);
	appendStringInfo(&list, "%s, and %s", enums.name, arrays.name);
	return list.data;
}

/* ---- of an index --------------------------------------------------------------------------------------------------- */

void
iqdb_pg_columns_check(Relation index)
{
	IqdbPgColumn column;

	for (int i = 1; i < IndexRelationGetNumberOfKeyAttributes(index); i++)
	{
		Oid			type = TupleDescAttr(RelationGetDescr(index), i)->atttypid;

		if (!iqdb_pg_column_of(type, index->rd_indcollation[i], &column))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("a column of type %s cannot be a filter column of access method \"%s\"", format_type_be(type),
							get_am_name(index->rd_rel->relam)),
					 errdetail("The first column of an index is its vector. Those behind it, to filter by, can be of these "
							   "types: %s.", iqdb_pg_column_types()),
					 errhint("Leave the column out: conditions on it are then asked of the table's rows.")));
	}
}

IqdbPgColumns *
iqdb_pg_columns(Relation index)
{
	int			count = IndexRelationGetNumberOfKeyAttributes(index) - 1;
	IqdbPgColumns *columns;

	if (count == 0)
		return NULL;
	columns = palloc(sizeof(IqdbPgColumns));
	columns->count = count;
	for (int i = 0; i < count; i++)
	{
		Oid			type = TupleDescAttr(RelationGetDescr(index), i + 1)->atttypid;

		if (!iqdb_pg_column_of(type, index->rd_indcollation[i + 1], &columns->columns[i]))
			elog(ERROR, "column %d of index \"%s\" is of a type that cannot be filtered by", i + 2,
				 RelationGetRelationName(index));
	}
	return columns;
}

void
iqdb_pg_columns_of_options(Relation index, IqdbIndexOptions *options)
{
	IqdbPgColumns *columns = iqdb_pg_columns(index);

	if (columns == NULL)
		return;
	options->column_count = (uint8) columns->count;
	for (int i = 0; i < columns->count; i++)
		options->columns[i] = (uint8) columns->columns[i].traits->kind;
	pfree(columns);
}

/* ---- of a column --------------------------------------------------------------------------------------------------- */

IqdbColumnKind
iqdb_pg_column_kind(const IqdbPgColumn *column)
{
	return column->traits->kind;
}

int64
iqdb_pg_column_key(const IqdbPgColumn *column, Datum value)
{
	return column->traits->key(column, value);
}

int64
iqdb_pg_column_min(const IqdbPgColumn *column)
{
	return -iqdb_pg_column_max(column) - 1;
}

int64
iqdb_pg_column_max(const IqdbPgColumn *column)
{
	return (int64) (UINT64_MAX >> (65 - 8 * iqdb_column_width(column->traits->kind)));
}

IqdbPgBound
iqdb_pg_column_bound(const IqdbPgColumn *column, Oid type, Datum constant)
{
	return column->traits->bound(type, constant);
}

bool
iqdb_pg_column_is_enum(const IqdbPgColumn *column)
{
	return column->traits == &enums;
}
