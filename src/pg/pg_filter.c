/*
 * pg_filter.c - see pg_filter.h.
 *
 * A condition is true, false or neither, and a row passes if it is true. So whatever compares with NULL lets no row pass.
 * A constant may be of another type than the column, and lie outside of all its values or between two of them: first comes
 * its place among the keys (IqdbPgBound), then which keys the operator wants.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "pg/pg_filter.h"

/* One condition: a column, a strategy (IqdbPgStrategy), and what its constants are. */
typedef struct Condition
{
	const IqdbPgColumn *column;
	uint8		number;			/* of the column */
	StrategyNumber strategy;
	Oid			type;			/* of the constants */
} Condition;

/* ---- tests --------------------------------------------------------------------------------------------------------- */

static void
append(IqdbPgFilter *filter, IqdbTest test)
{
	if (filter->count == filter->room)
	{
		filter->room = Max(8, 2 * filter->room);
		filter->tests = filter->tests == NULL ? palloc(filter->room * sizeof(IqdbTest)) :
			repalloc(filter->tests, filter->room * sizeof(IqdbTest));
	}
	filter->tests[filter->count++] = test;
}

static void
append_kind(IqdbPgFilter *filter, IqdbTestKind kind, uint8 column)
{
	append(filter, (IqdbTest) {.kind = (uint8) kind, .column = column});
}

static void
append_never(IqdbPgFilter *filter)
{
	append(filter, (IqdbTest) {.kind = IQDB_TEST_CONSTANT, .low = 0});
}

static void
append_not_null(IqdbPgFilter *filter, uint8 column)
{
	append_kind(filter, IQDB_TEST_IS_NULL, column);
	append_kind(filter, IQDB_TEST_NOT, column);
}

static void
append_between(IqdbPgFilter *filter, uint8 column, int64 low, int64 high)
{
	if (low > high)
		append_never(filter);
	else
		append(filter, (IqdbTest) {.kind = IQDB_TEST_BETWEEN, .column = column, .low = low, .high = high});
}

static int
by_value(const void *a, const void *b)
{
	int64		x = *(const int64 *) a;
	int64		y = *(const int64 *) b;

	return x < y ? -1 : x > y ? 1 : 0;
}

/* One of these keys, which are sorted here. */
static void
append_one_of(IqdbPgFilter *filter, uint8 column, int64 *keys, size_t count)
{
	qsort(keys, count, sizeof(int64), by_value);
	if (count == 0)
		append_never(filter);
	else if (count == 1)
		append_between(filter, column, keys[0], keys[0]);
	else
		append(filter, (IqdbTest) {.kind = IQDB_TEST_ONE_OF, .column = column, .values = keys, .value_count = count});
}

/* ---- one constant -------------------------------------------------------------------------------------------------- */

static void
compare_ordered(IqdbPgFilter *filter, const Condition *condition, Datum constant)
{
	IqdbPgBound bound = iqdb_pg_column_bound(condition->column, condition->type, constant);
	int64		min = iqdb_pg_column_min(condition->column);
	int64		max = iqdb_pg_column_max(condition->column);
	int64		key = bound.key;

	switch (condition->strategy)
	{
		case IQDB_PG_LESS:
			if (bound.below || (bound.exact && key == min))
				append_never(filter);
			else
				append_between(filter, condition->number, min, bound.exact ? key - 1 : key);
			break;
		case IQDB_PG_LESS_EQUAL:
			if (bound.below)
				append_never(filter);
			else
				append_between(filter, condition->number, min, key);
			break;
		case IQDB_PG_EQUAL:
			if (bound.exact)
				append_between(filter, condition->number, key, key);
			else
				append_never(filter);
			break;
		case IQDB_PG_GREATER_EQUAL:
			if (bound.below)
				append_between(filter, condition->number, min, max);
			else if (bound.exact)
				append_between(filter, condition->number, key, max);
			else if (key == max)
				append_never(filter);
			else
				append_between(filter, condition->number, key + 1, max);
			break;
		case IQDB_PG_GREATER:
			if (bound.below)
				append_between(filter, condition->number, min, max);
			else if (key == max)
				append_never(filter);
			else
				append_between(filter, condition->number, key + 1, max);
			break;
		case IQDB_PG_NOT_EQUAL:
			if (!bound.exact)
			{
				append_not_null(filter, condition->number);
				break;
			}
			append_between(filter, condition->number, key, key);
			append_kind(filter, IQDB_TEST_NOT, condition->number);
			break;
		default:
			elog(ERROR, "strategy %d of an ordered column", condition->strategy);
	}
}

/* Does a label at this place pass, compared with the constant's? */
static bool
label_passes(StrategyNumber strategy, float4 place, float4 constant)
{
	switch (strategy)
	{
		case IQDB_PG_LESS:
			return place < constant;
		case IQDB_PG_LESS_EQUAL:
			return place <= constant;
		case IQDB_PG_GREATER_EQUAL:
			return place >= constant;
		case IQDB_PG_GREATER:
			return place > constant;
		default:
			return false;
	}
}

/* The labels that pass. Whoever can see a row with a label that was added since can see the label, too. */
static void
compare_labels_of_enum(IqdbPgFilter *filter, const Condition *condition, Datum constant)
{
	CatCList   *list = SearchSysCacheList1(ENUMTYPOIDNAME, ObjectIdGetDatum(condition->column->type));
	int64	   *keys = palloc(Max(list->n_members, 1) * sizeof(int64));
	size_t		count = 0;
	float4		place = 0;

	for (int i = 0; i < list->n_members; i++)
	{
		Form_pg_enum label = (Form_pg_enum) GETSTRUCT(&list->members[i]->tuple);

		if (label->oid == DatumGetObjectId(constant))
			place = label->enumsortorder;
	}
	for (int i = 0; i < list->n_members; i++)
	{
		Form_pg_enum label = (Form_pg_enum) GETSTRUCT(&list->members[i]->tuple);

		if (label_passes(condition->strategy, label->enumsortorder, place))
			keys[count++] = iqdb_pg_column_key(condition->column, ObjectIdGetDatum(label->oid));
	}
	ReleaseCatCacheList(list);
	append_one_of(filter, condition->number, keys, count);
}

static void
compare_enum(IqdbPgFilter *filter, const Condition *condition, Datum constant)
{
	int64		key = iqdb_pg_column_key(condition->column, constant);

	if (condition->strategy != IQDB_PG_EQUAL && condition->strategy != IQDB_PG_NOT_EQUAL)
	{
		compare_labels_of_enum(filter, condition, constant);
		return;
	}
	append_between(filter, condition->number, key, key);
	if (condition->strategy == IQDB_PG_NOT_EQUAL)
		append_kind(filter, IQDB_TEST_NOT, condition->number);
}

static void
compare_hash(IqdbPgFilter *filter, const Condition *condition, Datum constant)
{
	int64		key = iqdb_pg_column_key(condition->column, constant);

	if (condition->strategy != IQDB_PG_EQUAL)
		elog(ERROR, "strategy %d of a hashed column", condition->strategy);
	append_between(filter, condition->number, key, key);
}

/* Arrays that are equal have the same members. */
static void
compare_array(IqdbPgFilter *filter, const Condition *condition, Datum constant)
{
	bool		has_null;
	int			count;
	int64	   *labels = iqdb_pg_column_labels(condition->column, constant, &count, &has_null);
	IqdbTest	test = {.column = condition->number};

	if (condition->strategy == IQDB_PG_OVERLAPS)
	{
		test.kind = IQDB_TEST_ANY_LABEL;
		test.values = labels;
		test.value_count = (size_t) count;
		if (count == 0)
			append_never(filter);
		else
			append(filter, test);
		return;
	}
	if (condition->strategy != IQDB_PG_CONTAINS && condition->strategy != IQDB_PG_EQUAL)
		elog(ERROR, "strategy %d of a column of arrays", condition->strategy);
	/* no array contains NULL */
	if (condition->strategy == IQDB_PG_CONTAINS && has_null)
	{
		append_never(filter);
		return;
	}
	test.kind = IQDB_TEST_ALL_LABELS;
	for (int i = 0; i < count; i++)
		test.low |= labels[i];
	append(filter, test);
}

static void
compare(IqdbPgFilter *filter, const Condition *condition, Datum constant)
{
	switch (iqdb_pg_column_kind(condition->column))
	{
		case IQDB_COLUMN_HASH:
			compare_hash(filter, condition, constant);
			break;
		case IQDB_COLUMN_LABELS:
			compare_array(filter, condition, constant);
			break;
		default:
			if (iqdb_pg_column_is_enum(condition->column))
				compare_enum(filter, condition, constant);
			else
				compare_ordered(filter, condition, constant);
			break;
	}
}

/* ---- = ANY (array) ------------------------------------------------------------------------------------------------- */

/* The key of a constant that a value can be equal to; false if none can. */
static bool
key_of_constant(const Condition *condition, Datum constant, int64 *key_out)
{
	IqdbPgBound bound;

	if (iqdb_pg_column_kind(condition->column) == IQDB_COLUMN_HASH || iqdb_pg_column_is_enum(condition->column))
	{
		*key_out = iqdb_pg_column_key(condition->column, constant);
		return true;
	}
	bound = iqdb_pg_column_bound(condition->column, condition->type, constant);
	*key_out = bound.key;
	return bound.exact;
}

/* The constants of an array that are not NULL. */
static Datum *
constants_of(Datum array, int *count_out)
{
	ArrayType  *value = DatumGetArrayTypeP(array);
	Datum	   *constants;
	bool	   *nulls;
	int			all;
	int16		length;
	bool		by_value;
	char		alignment;

	get_typlenbyvalalign(ARR_ELEMTYPE(value), &length, &by_value, &alignment);
	deconstruct_array(value, ARR_ELEMTYPE(value), length, by_value, alignment, &constants, &nulls, &all);
	*count_out = 0;
	for (int i = 0; i < all; i++)
	{
		if (!nulls[i])
			constants[(*count_out)++] = constants[i];
	}
	return constants;
}

/* True of one of them is enough; NULLs among them are true of no value. */
static void
compare_any(IqdbPgFilter *filter, const Condition *condition, Datum array)
{
	int			count;
	Datum	   *constants = constants_of(array, &count);
	int64	   *keys;
	size_t		key_count = 0;

	if (condition->strategy == IQDB_PG_EQUAL && iqdb_pg_column_kind(condition->column) != IQDB_COLUMN_LABELS)
	{
		keys = palloc(Max(count, 1) * sizeof(int64));
		for (int i = 0; i < count; i++)
			key_count += key_of_constant(condition, constants[i], &keys[key_count]);
		append_one_of(filter, condition->number, keys, key_count);
		return;
	}
	if (count == 0)
		append_never(filter);
	for (int i = 0; i < count; i++)
	{
		compare(filter, condition, constants[i]);
		if (i > 0)
			append_kind(filter, IQDB_TEST_OR, condition->number);
	}
}

/* ---- keys ---------------------------------------------------------------------------------------------------------- */

static void
ask_column(IqdbPgFilter *filter, const IqdbPgColumns *columns, const ScanKeyData *key)
{
	Condition	condition = {
		.column = &columns->columns[key->sk_attno - 2],
		.number = (uint8) (key->sk_attno - 2),
		.strategy = key->sk_strategy,
		.type = key->sk_subtype
	};

	if (key->sk_flags & SK_SEARCHNULL)
		append_kind(filter, IQDB_TEST_IS_NULL, condition.number);
	else if (key->sk_flags & SK_SEARCHNOTNULL)
		append_not_null(filter, condition.number);
	else if (key->sk_flags & SK_ISNULL)
		append_never(filter);
	else
	{
		filter->lossy |= iqdb_column_is_lossy(iqdb_pg_column_kind(condition.column));
		if (key->sk_flags & SK_SEARCHARRAY)
			compare_any(filter, &condition, key->sk_argument);
		else
			compare(filter, &condition, key->sk_argument);
	}
}

IqdbPgFilter
iqdb_pg_filter(const IqdbPgColumns *columns, const ScanKeyData *keys, int key_count)
{
	IqdbPgFilter filter = {NULL};
	bool		is_first = true;

	for (int i = 0; i < key_count; i++)
	{
		size_t		before = filter.count;

		if (keys[i].sk_attno == 1)
		{
			filter.never |= (keys[i].sk_flags & SK_SEARCHNULL) != 0;
			continue;
		}
		ask_column(&filter, columns, &keys[i]);
		filter.never |= filter.count == before + 1 && filter.tests[before].kind == IQDB_TEST_CONSTANT;
		if (!is_first)
			append_kind(&filter, IQDB_TEST_AND, 0);
		is_first = false;
	}
	return filter;
}
