/*
 * fields_filter.c - from a filter of metadata to tests of columns; see fields.h.
 *
 * Truth of filters has two values, that of tests has three; and a column does not know all about a field: strings are hashes,
 * and NULL may be a value of another kind. So each condition becomes tests that every row passes for which it is true, and that
 * say whether all rows which pass are such: then they are exact. NOT is moved down to the comparisons, where it is known what
 * the opposite is of (De Morgan): so what was put together by AND and OR alone needs tests in one direction only.
 *
 * What columns cannot tell, such as a field without one, passes always, inexactly.
 */
#include "core/db/fields.h"

/* A comparison, its opposite, and what is joined with it take no more tests, nor more that wait. */
#define LEAF_TESTS 4u
#define LEAF_DEEP 2u

typedef enum Known
{
	NEVER,  /* no row passes */
	ALWAYS, /* every row passes */
	TESTED  /* the tests from first on say */
} Known;

typedef struct Outcome
{
	Known    known;
	bool     exact; /* every row that passes is one for which the condition is true */
	uint32_t first;
	uint32_t deep;  /* tests that wait at a time */
} Outcome;

/* An AND, OR or NOT whose conditions are being looked at. */
typedef struct Open
{
	bool     conjunction; /* as it is after NOTs above it were moved down */
	bool     negated;     /* what is below it */
	uint32_t end;
	Outcome  outcome;     /* of what came so far */
} Open;

typedef struct Compiler
{
	const IqdbFields *fields;
	IqdbFieldsFilter *out;
	uint32_t          depth;
	Open              open[IQDB_FILTER_DEPTH_MAX + 1];
} Compiler;

static Outcome
always(const Compiler *compiler, bool exact)
{
	return (Outcome){.known = ALWAYS, .exact = exact, .first = compiler->out->test_count};
}

static Outcome
never(const Compiler *compiler)
{
	return (Outcome){.known = NEVER, .exact = true, .first = compiler->out->test_count};
}

static void
add_test(Compiler *compiler, IqdbTest test)
{
	compiler->out->tests[compiler->out->test_count++] = test;
}

/* ---- comparisons ---- */

/* Which values of a column are meant. */
typedef struct Values
{
	enum
	{
		NO_VALUE,
		BETWEEN, /* low and high, inclusive */
		OUTSIDE, /* any other */
		ANY_VALUE
	} which;
	int64_t low;
	int64_t high;
} Values;

static Values
up_to(int64_t least, int64_t value, bool inclusive)
{
	if (!inclusive && value == least)
		return (Values){.which = NO_VALUE};
	return (Values){BETWEEN, least, inclusive ? value : value - 1};
}

static Values
from(int64_t value, int64_t most, bool inclusive)
{
	if (!inclusive && value == most)
		return (Values){.which = NO_VALUE};
	return (Values){BETWEEN, inclusive ? value : value + 1, most};
}

/* Of a column whose values are as ordered as those of its field. */
static Values
values_of_comparison(IqdbFilterOp op, const IqdbValue *literal)
{
	IqdbValue least = iqdb_value_float(-__builtin_inf());
	IqdbValue most = iqdb_value_float(__builtin_inf());
	int64_t   value = iqdb_field_value(literal);

	/* a NaN is not equal to anything, and has no order */
	if (literal->kind == IQDB_VALUE_FLOAT && literal->as.real != literal->as.real)
		return (Values){.which = op == IQDB_FILTER_NEQ ? ANY_VALUE : NO_VALUE};
	if (literal->kind != IQDB_VALUE_FLOAT)
	{
		least = literal->kind == IQDB_VALUE_BOOL ? iqdb_value_bool(false) : iqdb_value_int(INT64_MIN);
		most = literal->kind == IQDB_VALUE_BOOL ? iqdb_value_bool(true) : iqdb_value_int(INT64_MAX);
	}
	switch (op)
	{
		case IQDB_FILTER_EQ:
			return (Values){BETWEEN, value, value};
		case IQDB_FILTER_NEQ:
			return (Values){OUTSIDE, value, value};
		case IQDB_FILTER_LT:
		case IQDB_FILTER_LTE:
			return up_to(iqdb_field_value(&least), value, op == IQDB_FILTER_LTE);
		default:
			return from(value, iqdb_field_value(&most), op == IQDB_FILTER_GTE);
	}
}

static Outcome
is_null(Compiler *compiler, uint32_t column, bool exact)
{
	Outcome outcome = {.known = TESTED, .exact = exact, .first = compiler->out->test_count, .deep = 1};

	add_test(compiler, (IqdbTest){.kind = IQDB_TEST_IS_NULL, .column = (uint8_t) column});
	return outcome;
}

static Outcome
is_there(Compiler *compiler, uint32_t column, bool exact)
{
	Outcome outcome = is_null(compiler, column, exact);

	add_test(compiler, (IqdbTest){.kind = IQDB_TEST_NOT});
	return outcome;
}

/* The test, or its opposite; or NULL. */
static Outcome
test_of(Compiler *compiler, IqdbTest test, bool opposite, bool or_null, bool exact)
{
	Outcome outcome = {.known = TESTED, .exact = exact, .first = compiler->out->test_count, .deep = LEAF_DEEP};

	add_test(compiler, test);
	if (opposite)
		add_test(compiler, (IqdbTest){.kind = IQDB_TEST_NOT});
	if (or_null)
	{
		add_test(compiler, (IqdbTest){.kind = IQDB_TEST_IS_NULL, .column = test.column});
		add_test(compiler, (IqdbTest){.kind = IQDB_TEST_OR});
	}
	return outcome;
}

static Outcome
compare_ordered(Compiler *compiler, uint32_t column, const IqdbFilterPart *part, bool negated)
{
	Values   values = values_of_comparison(part->op, part->values);
	IqdbTest test = {.kind = IQDB_TEST_BETWEEN, .column = (uint8_t) column, .low = values.low, .high = values.high};

	if (values.which == NO_VALUE)
		return negated ? always(compiler, true) : never(compiler);
	if (values.which == ANY_VALUE)
		return negated ? is_null(compiler, column, true) : is_there(compiler, column, true);
	/* the opposite is true of rows without the field, too */
	return test_of(compiler, test, (values.which == OUTSIDE) != negated, negated, true);
}

/* Of strings only the hash is known: what differs is different, what is equal may be. */
static Outcome
compare_hashes(Compiler *compiler, uint32_t column, const IqdbFilterPart *part, bool negated)
{
	int64_t  hash = iqdb_field_value(part->values);
	IqdbTest test = {.kind = IQDB_TEST_BETWEEN, .column = (uint8_t) column, .low = hash, .high = hash};

	if (part->op == IQDB_FILTER_EQ && !negated)
		return test_of(compiler, test, false, false, false);
	if (part->op == IQDB_FILTER_NEQ && negated)
		return test_of(compiler, test, false, true, false);
	return negated ? always(compiler, false) : is_there(compiler, column, false);
}

/* ---- lists ---- */

/* Shell's sort. */
static void
sort_values(int64_t *values, uint32_t count)
{
	for (uint32_t gap = count / 2; gap > 0; gap = gap == 2 ? 1 : gap * 5 / 11)
	{
		for (uint32_t i = gap; i < count; i++)
		{
			int64_t  moved = values[i];
			uint32_t to = i;

			for (; to >= gap && values[to - gap] > moved; to -= gap)
				values[to] = values[to - gap];
			values[to] = moved;
		}
	}
}

/* Values of the field's kind, but for NaN, which nothing is equal to; *others_out: are there such of other kinds? */
static uint32_t
take_values(const IqdbFilterPart *part, IqdbValueKind kind, int64_t *values_out, bool *others_out)
{
	uint32_t count = 0;

	*others_out = false;
	for (uint32_t i = 0; i < part->value_count; i++)
	{
		const IqdbValue *value = &part->values[i];

		*others_out |= value->kind != kind;
		if (value->kind == kind && iqdb_value_equal(value, value))
			values_out[count++] = iqdb_field_value(value);
	}
	return count;
}

static Outcome
compare_list(Compiler *compiler, uint32_t column, IqdbValueKind kind, const IqdbFilterPart *part, bool negated)
{
	IqdbFieldsFilter *out = compiler->out;
	int64_t          *values = out->values + out->value_count;
	IqdbTest          test = {.kind = IQDB_TEST_ONE_OF, .column = (uint8_t) column, .values = values};
	bool              others;
	uint32_t          count;

	if (part->value_count > IQDB_FIELD_VALUES_MAX - out->value_count)
		return always(compiler, false);
	count = take_values(part, kind, values, &others);
	if (negated && (kind == IQDB_VALUE_STRING || (others && count == 0)))
		return always(compiler, false);
	if (count == 0 && !others)
		return negated ? always(compiler, true) : never(compiler);
	if (count == 0)
		return is_null(compiler, column, false);
	sort_values(values, count);
	test.value_count = count;
	test.low = values[0];
	test.high = values[0];
	if (count == 1)
		test.kind = IQDB_TEST_BETWEEN;
	out->value_count += count;
	/* a value of another kind that is listed is among the NULLs */
	return test_of(compiler, test, negated, negated || others, kind != IQDB_VALUE_STRING && !others);
}

static Outcome
compare(Compiler *compiler, const IqdbFilterPart *part, bool negated)
{
	uint32_t      column = iqdb_fields_find(compiler->fields, part->field, part->field_length);
	IqdbValueKind kind;

	if (column == compiler->fields->count || compiler->out->test_count + LEAF_TESTS > IQDB_FIELD_TESTS_MAX)
		return always(compiler, false);
	kind = iqdb_fields_get(compiler->fields, column).kind;
	if (part->op == IQDB_FILTER_IN)
		return compare_list(compiler, column, kind, part, negated);
	/* a literal of another kind: rows that have such a value are among the NULLs, all others fail */
	if (part->values[0].kind != kind)
		return negated ? always(compiler, false) : is_null(compiler, column, false);
	return kind == IQDB_VALUE_STRING ? compare_hashes(compiler, column, part, negated)
									 : compare_ordered(compiler, column, part, negated);
}

/* ---- AND, OR, NOT ---- */

/* One more condition of an AND: what decides nothing goes, and its tests with it. */
static Outcome
both(Compiler *compiler, Outcome so_far, Outcome next)
{
	Outcome *taken = next.known == ALWAYS ? &so_far : &next;

	if (so_far.known == NEVER || next.known == NEVER)
	{
		compiler->out->test_count = so_far.first;
		return never(compiler);
	}
	taken->exact = so_far.exact && next.exact;
	return *taken;
}

/* One more condition of an OR. */
static Outcome
either(Compiler *compiler, Outcome so_far, Outcome next)
{
	if (so_far.known == ALWAYS || next.known == ALWAYS)
	{
		compiler->out->test_count = so_far.first;
		return always(compiler, (so_far.known == ALWAYS && so_far.exact) || (next.known == ALWAYS && next.exact));
	}
	return next.known == NEVER ? so_far : next;
}

/* Adds a condition to the innermost AND, OR or NOT. Its tests are the last there are. */
static void
add_condition(Compiler *compiler, Outcome next)
{
	IqdbFieldsFilter *out = compiler->out;
	Open             *open = &compiler->open[compiler->depth - 1];
	Outcome          *so_far = &open->outcome;
	bool              joined = so_far->known == TESTED && next.known == TESTED;

	/* no room for what would join them: this one is left to metadata */
	if (joined && (out->test_count == IQDB_FIELD_TESTS_MAX || next.deep + 1 > IQDB_TESTS_DEEP))
	{
		out->test_count = next.first;
		next = always(compiler, false);
		joined = false;
	}
	if (!joined)
	{
		*so_far = open->conjunction ? both(compiler, *so_far, next) : either(compiler, *so_far, next);
		return;
	}
	add_test(compiler, (IqdbTest){.kind = open->conjunction ? IQDB_TEST_AND : IQDB_TEST_OR});
	so_far->exact = so_far->exact && next.exact;
	so_far->deep = so_far->deep > next.deep + 1 ? so_far->deep : next.deep + 1;
}

static void
begin(Compiler *compiler, const IqdbFilterPart *part, bool negated)
{
	Open *open = &compiler->open[compiler->depth++];

	open->conjunction = (part->op == IQDB_FILTER_OR) == negated;
	open->negated = negated != (part->op == IQDB_FILTER_NOT);
	open->end = part->end;
	/* NOT has one condition, and is that: of an AND of one, the AND is gone */
	open->conjunction |= part->op == IQDB_FILTER_NOT;
	open->outcome = open->conjunction ? always(compiler, true) : never(compiler);
}

static Outcome
compile(Compiler *compiler, const IqdbFilter *filter)
{
	uint32_t       count = iqdb_filter_part_count(filter);
	IqdbFilterPart whole = {.op = IQDB_FILTER_AND, .end = count};

	begin(compiler, &whole, false);
	for (uint32_t i = 0; i < count; i++)
	{
		IqdbFilterPart part = iqdb_filter_part(filter, i);
		bool           negated;

		while (compiler->open[compiler->depth - 1].end == i)
		{
			compiler->depth--;
			add_condition(compiler, compiler->open[compiler->depth].outcome);
		}
		negated = compiler->open[compiler->depth - 1].negated;
		if (part.op == IQDB_FILTER_AND || part.op == IQDB_FILTER_OR || part.op == IQDB_FILTER_NOT)
			begin(compiler, &part, negated);
		else
			add_condition(compiler, compare(compiler, &part, negated));
	}
	while (compiler->depth > 1)
	{
		compiler->depth--;
		add_condition(compiler, compiler->open[compiler->depth].outcome);
	}
	return compiler->open[0].outcome;
}

const IqdbRowFilter *
iqdb_fields_filter(const IqdbFields *fields, const IqdbFilter *filter, IqdbFieldsFilter *filter_out)
{
	Compiler compiler;
	Outcome  outcome;

	filter_out->filter = (IqdbRowFilter){.metadata = filter};
	if (fields->count == 0)
		return &filter_out->filter;
	compiler.fields = fields;
	compiler.out = filter_out;
	compiler.depth = 0;
	filter_out->test_count = 0;
	filter_out->value_count = 0;
	outcome = compile(&compiler, filter);
	if (outcome.known == NEVER)
		add_test(&compiler, (IqdbTest){.kind = IQDB_TEST_CONSTANT});
	if (outcome.exact)
		filter_out->filter.metadata = NULL;
	if (outcome.known != ALWAYS)
	{
		filter_out->filter.tests = filter_out->tests;
		filter_out->filter.test_count = filter_out->test_count;
	}
	return outcome.known == ALWAYS && outcome.exact ? NULL : &filter_out->filter;
}
