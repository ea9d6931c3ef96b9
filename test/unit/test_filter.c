/*
 * test_filter.c - filters.
 *
 * Filters are checked twice: by the cases that define their meaning, and against a model, a recursive evaluator over
 * plain arrays that shares no code with the engine's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#include "core/base/endian.h"
#include "core/base/rng.h"
#include "core/meta/filter.h"
#include "core/meta/metadata.h"
#include "meta_samples.h"

#define SEED UINT64_C(7081996)

/* ---- filters: leaves ---- */

/* Truth of one comparison on some metadata. */
static bool
compares(Encoded map, IqdbFilterOp op, const char *field, IqdbValue value)
{
	IqdbFilterBuilder builder;
	IqdbFilter       *filter;
	bool              result;

	iqdb_filter_builder_init(&builder, libc);
	assert_int_equal(iqdb_filter_finish(&builder, iqdb_filter_compare(&builder, op, field, strlen(field), &value),
										&filter, NULL),
					 IQDB_OK);
	iqdb_filter_builder_free(&builder);
	result = iqdb_filter_matches(filter, map.bytes, map.length);
	iqdb_filter_free(libc, filter);
	return result;
}

static bool
is_in(Encoded map, const char *field, const IqdbValue *values, size_t count)
{
	IqdbFilterBuilder builder;
	IqdbFilter       *filter;
	bool              result;

	iqdb_filter_builder_init(&builder, libc);
	assert_int_equal(iqdb_filter_finish(&builder, iqdb_filter_in(&builder, field, strlen(field), values, count),
										&filter, NULL),
					 IQDB_OK);
	iqdb_filter_builder_free(&builder);
	result = iqdb_filter_matches(filter, map.bytes, map.length);
	iqdb_filter_free(libc, filter);
	return result;
}

/* Bits: EQ 1, NEQ 2, LT 4, LTE 8, GT 16, GTE 32. */
static int
truths(Encoded map, const char *field, IqdbValue value)
{
	int bits = 0;

	for (int op = IQDB_FILTER_EQ; op <= IQDB_FILTER_GTE; op++)
		bits |= compares(map, (IqdbFilterOp) op, field, value) << op;
	return bits;
}

enum
{
	EQUAL = 1 | 8 | 32,
	BELOW = 2 | 4 | 8,
	ABOVE = 2 | 16 | 32,
	NONE = 0,
	ONLY_NEQ = 2
};

static void
present_fields_compare_within_their_kind(void **state)
{
	Encoded map = sample_metadata();

	(void) state;
	assert_int_equal(truths(map, "age", iqdb_value_int(30)), EQUAL);
	assert_int_equal(truths(map, "age", iqdb_value_int(31)), BELOW);
	assert_int_equal(truths(map, "age", iqdb_value_int(29)), ABOVE);
	assert_int_equal(truths(map, "name", text_value("alice")), EQUAL);
	assert_int_equal(truths(map, "name", text_value("alicf")), BELOW);
	assert_int_equal(truths(map, "name", text_value("alic")), ABOVE);
	assert_int_equal(truths(map, "active", iqdb_value_bool(true)), EQUAL);
	assert_int_equal(truths(map, "active", iqdb_value_bool(false)), ABOVE);
	assert_int_equal(truths(map, "score", iqdb_value_float(2.5)), EQUAL);
	assert_int_equal(truths(map, "score", iqdb_value_float(INFINITY)), BELOW);
	assert_int_equal(truths(map, "score", iqdb_value_float(-INFINITY)), ABOVE);
	assert_int_equal(truths(map, "nothing", iqdb_value_null()), EQUAL);
	release(map);
}

static void
neq_present_field_matches(void **state)
{
	Encoded map = sample_metadata();

	(void) state;
	assert_true(compares(map, IQDB_FILTER_NEQ, "age", iqdb_value_int(1)));
	assert_false(compares(map, IQDB_FILTER_NEQ, "age", iqdb_value_int(30)));
	assert_true(compares(map, IQDB_FILTER_NEQ, "name", text_value("bob")));
	release(map);
}

static void
type_mismatch_is_false(void **state)
{
	Encoded     map = sample_metadata();
	IqdbValue   values[] = {text_value("30"), iqdb_value_int(30), iqdb_value_float(30.0), iqdb_value_bool(true),
							iqdb_value_null()};
	const char *fields[] = {"name", "age", "score", "active", "nothing"};

	(void) state;
	for (int f = 0; f < 5; f++)
		for (int v = 0; v < 5; v++)
		{
			/* every leaf, NEQ included */
			if (f != v)
				assert_int_equal(truths(map, fields[f], values[v]), NONE);
			if (f != v)
				assert_false(is_in(map, fields[f], &values[v], 1));
		}
	release(map);
}

static void
nan_float_comparisons_are_false(void **state)
{
	Encoded   map = sample_metadata();
	IqdbValue nan = iqdb_value_float(NAN);

	(void) state;
	/* all but NEQ: the field is there, of the same kind, and not equal */
	assert_int_equal(truths(map, "odd", nan), ONLY_NEQ);
	assert_int_equal(truths(map, "odd", iqdb_value_float(1.0)), ONLY_NEQ);
	assert_int_equal(truths(map, "score", nan), ONLY_NEQ);
	assert_int_equal(truths(map, "age", nan), NONE);
	assert_int_equal(truths(map, "absent", nan), NONE);
	assert_false(is_in(map, "odd", &nan, 1));
	assert_false(is_in(map, "score", &nan, 1));
	release(map);
}

static void
neq_absent_is_false(void **state)
{
	Encoded map = sample_metadata();

	(void) state;
	assert_false(compares(map, IQDB_FILTER_NEQ, "absent", iqdb_value_int(1)));
	assert_false(compares(map, IQDB_FILTER_NEQ, "ag", iqdb_value_int(1)));
	assert_false(compares(map, IQDB_FILTER_NEQ, "agee", iqdb_value_int(1)));
	release(map);
}

static void
no_metadata_means_every_leaf_is_false(void **state)
{
	unsigned char empty_map[4] = {0};
	Encoded       none[] = {{NULL, 0}, {empty_map, 4}};
	IqdbValue     values[] = {text_value(""), iqdb_value_int(0), iqdb_value_float(0.0), iqdb_value_bool(false),
							  iqdb_value_null()};

	(void) state;
	for (int n = 0; n < 2; n++)
		for (int v = 0; v < 5; v++)
		{
			assert_int_equal(truths(none[n], "k", values[v]), NONE);
			assert_int_equal(truths(none[n], "", values[v]), NONE);
			assert_false(is_in(none[n], "k", values, 5));
		}
}

static void
in_finds_any_listed_value_of_the_same_kind(void **state)
{
	Encoded   map = sample_metadata();
	IqdbValue mixed[] = {iqdb_value_null(), iqdb_value_float(NAN), text_value("alice"), iqdb_value_int(30),
						 iqdb_value_int(30)};
	IqdbValue many[1024];

	(void) state;
	assert_true(is_in(map, "age", mixed, 5));
	assert_true(is_in(map, "name", mixed, 5));
	assert_true(is_in(map, "nothing", mixed, 5));
	assert_false(is_in(map, "odd", mixed, 5));
	assert_false(is_in(map, "score", mixed, 5));
	assert_false(is_in(map, "age", NULL, 0));
	/* long lists, the wanted value at every place, the others around it of all kinds */
	for (size_t count = 1; count <= 1024; count = count * 3 / 2 + 1)
		for (size_t place = 0; place < count; place += count / 7 + 1)
		{
			for (size_t i = 0; i < count; i++)
				many[i] = i % 3 == 0 ? iqdb_value_int((int64_t) (1000 + (i * 7919) % 1000)) :
					i % 3 == 1       ? iqdb_value_float((double) ((i * 7919) % 1000)) :
									   iqdb_value_float(NAN);
			assert_false(is_in(map, "age", many, count));
			many[place] = iqdb_value_int(30);
			assert_true(is_in(map, "age", many, count));
			many[place] = iqdb_value_float(2.5);
			assert_true(is_in(map, "score", many, count));
			assert_false(is_in(map, "odd", many, count));
		}
	release(map);
}

/* ---- filters: combinations ---- */

static IqdbCondition
age_is(IqdbFilterBuilder *builder, int64_t age)
{
	IqdbValue value = iqdb_value_int(age);

	return iqdb_filter_eq(builder, "age", 3, &value);
}

static IqdbFilter *
finish_filter(IqdbFilterBuilder *builder, IqdbCondition root)
{
	IqdbFilter *filter;

	assert_int_equal(iqdb_filter_finish(builder, root, &filter, NULL), IQDB_OK);
	iqdb_filter_builder_free(builder);
	return filter;
}

/* Finishes, evaluates, frees. */
static bool
holds(IqdbFilterBuilder *builder, IqdbCondition root, Encoded map)
{
	IqdbFilter *filter = finish_filter(builder, root);
	bool        result = iqdb_filter_matches(filter, map.bytes, map.length);

	iqdb_filter_free(libc, filter);
	return result;
}

static void
closed_world_filter_distinguishes_neq_from_not_eq(void **state)
{
	Encoded           map = sample_metadata();
	Encoded           none = {NULL, 0};
	IqdbFilterBuilder builder;
	IqdbValue         value = iqdb_value_int(1);

	(void) state;
	iqdb_filter_builder_init(&builder, libc);
	assert_false(holds(&builder, iqdb_filter_neq(&builder, "absent", 6, &value), map));
	assert_true(holds(&builder, iqdb_filter_not(&builder, iqdb_filter_eq(&builder, "absent", 6, &value)), map));
	assert_true(holds(&builder, iqdb_filter_not(&builder, iqdb_filter_eq(&builder, "absent", 6, &value)), none));
	/* and so on a field of another kind */
	assert_false(holds(&builder, iqdb_filter_neq(&builder, "name", 4, &value), map));
	assert_true(holds(&builder, iqdb_filter_not(&builder, iqdb_filter_eq(&builder, "name", 4, &value)), map));
	release(map);
}

static void
empty_and_is_vacuously_true_empty_or_is_false(void **state)
{
	Encoded           none = {NULL, 0};
	IqdbFilterBuilder builder;
	IqdbCondition     pair[2];

	(void) state;
	iqdb_filter_builder_init(&builder, libc);
	assert_true(holds(&builder, iqdb_filter_and(&builder, NULL, 0), none));
	assert_false(holds(&builder, iqdb_filter_or(&builder, NULL, 0), none));
	assert_false(holds(&builder, iqdb_filter_not(&builder, iqdb_filter_and(&builder, NULL, 0)), none));
	assert_true(holds(&builder, iqdb_filter_not(&builder, iqdb_filter_or(&builder, NULL, 0)), none));
	pair[0] = iqdb_filter_and(&builder, NULL, 0);
	pair[1] = iqdb_filter_or(&builder, NULL, 0);
	assert_false(holds(&builder, iqdb_filter_and(&builder, pair, 2), none));
	pair[0] = iqdb_filter_or(&builder, NULL, 0);
	pair[1] = iqdb_filter_and(&builder, NULL, 0);
	assert_true(holds(&builder, iqdb_filter_or(&builder, pair, 2), none));
}

static void
nested_and_or_not_and_range_filters_evaluate(void **state)
{
	Encoded           map = sample_metadata();
	IqdbValue         low = iqdb_value_int(18);
	IqdbValue         high = iqdb_value_int(30);
	IqdbValue         name = text_value("alice");
	IqdbFilterBuilder builder;
	IqdbCondition     range[2];
	IqdbCondition     either[2];
	IqdbCondition     both[2];

	(void) state;
	iqdb_filter_builder_init(&builder, libc);
	range[0] = iqdb_filter_gte(&builder, "age", 3, &low);
	range[1] = iqdb_filter_lt(&builder, "age", 3, &high);
	either[0] = iqdb_filter_and(&builder, range, 2);
	either[1] = iqdb_filter_not(&builder, iqdb_filter_neq(&builder, "name", 4, &name));
	both[0] = iqdb_filter_or(&builder, either, 2);
	both[1] = iqdb_filter_lte(&builder, "age", 3, &high);
	assert_true(holds(&builder, iqdb_filter_and(&builder, both, 2), map));

	range[0] = iqdb_filter_gt(&builder, "age", 3, &low);
	range[1] = iqdb_filter_lt(&builder, "age", 3, &high);
	assert_false(holds(&builder, iqdb_filter_and(&builder, range, 2), map));
	release(map);
}

/* ---- filters against a model ---- */

#define MODEL_FIELDS 4
#define MODEL_NODES 60 /* with room for the at most 18 siblings that wait on the way down */

/* Small domains, so that all cases meet. */
static const char *const model_fields[MODEL_FIELDS] = {"a", "ab", "b", "c"};

typedef struct ModelRow
{
	bool      present[MODEL_FIELDS];
	IqdbValue values[MODEL_FIELDS];
	Encoded   encoded;
} ModelRow;

typedef struct ModelNode
{
	IqdbFilterOp op;
	int          field;
	IqdbValue    values[12];
	int          value_count;
	int          children[4];
	int          child_count;
} ModelNode;

typedef struct Model
{
	ModelNode nodes[MODEL_NODES];
	int       count;
} Model;

static IqdbValue
random_value(IqdbRng *rng)
{
	static const char *const texts[] = {"", "x", "xy", "y"};
	static const double      reals[] = {-1.0, -0.0, 0.0, 1.0, INFINITY, NAN};

	switch (iqdb_rng_below(rng, 5))
	{
		case 0:
			return text_value(texts[iqdb_rng_below(rng, 4)]);
		case 1:
			return iqdb_value_int((int64_t) iqdb_rng_below(rng, 4) - 1);
		case 2:
			return iqdb_value_float(reals[iqdb_rng_below(rng, 6)]);
		case 3:
			return iqdb_value_bool(iqdb_rng_below(rng, 2) == 1);
		default:
			return iqdb_value_null();
	}
}

static ModelRow
random_row(IqdbRng *rng)
{
	ModelRow            row = {.encoded = {NULL, 0}};
	IqdbMetadataBuilder builder;

	if (iqdb_rng_below(rng, 10) == 0)
		return row;
	iqdb_metadata_builder_init(&builder, libc);
	for (int i = 0; i < MODEL_FIELDS; i++)
	{
		row.present[i] = iqdb_rng_below(rng, 4) != 0;
		row.values[i] = random_value(rng);
		if (row.present[i])
			put(&builder, model_fields[i], row.values[i]);
	}
	row.encoded = finish(&builder);
	iqdb_metadata_builder_free(&builder);
	return row;
}

static int
random_tree(Model *model, IqdbRng *rng, int depth)
{
	int        number = model->count++;
	ModelNode *node = &model->nodes[number];

	memset(node, 0, sizeof(*node));
	if (depth == 0 || model->count > MODEL_NODES - 20 || iqdb_rng_below(rng, 4) == 0)
	{
		node->op = (IqdbFilterOp) iqdb_rng_below(rng, IQDB_FILTER_IN + 1);
		node->field = (int) iqdb_rng_below(rng, MODEL_FIELDS);
		node->value_count = node->op == IQDB_FILTER_IN ? (int) iqdb_rng_below(rng, 13) : 1;
		for (int i = 0; i < node->value_count; i++)
			node->values[i] = random_value(rng);
		return number;
	}
	node->op = (IqdbFilterOp) (IQDB_FILTER_AND + iqdb_rng_below(rng, 3));
	node->child_count = node->op == IQDB_FILTER_NOT ? 1 : (int) iqdb_rng_below(rng, 4);
	for (int i = 0; i < node->child_count; i++)
		node->children[i] = random_tree(model, rng, depth - 1);
	return number;
}

static IqdbCondition
build_tree(const Model *model, int number, IqdbFilterBuilder *builder)
{
	const ModelNode *node = &model->nodes[number];
	const char      *field = model_fields[node->field];
	IqdbCondition    children[4];

	for (int i = 0; i < node->child_count; i++)
		children[i] = build_tree(model, node->children[i], builder);
	switch (node->op)
	{
		case IQDB_FILTER_AND:
			return iqdb_filter_and(builder, children, (size_t) node->child_count);
		case IQDB_FILTER_OR:
			return iqdb_filter_or(builder, children, (size_t) node->child_count);
		case IQDB_FILTER_NOT:
			return iqdb_filter_not(builder, children[0]);
		case IQDB_FILTER_IN:
			return iqdb_filter_in(builder, field, strlen(field), node->values, (size_t) node->value_count);
		default:
			return iqdb_filter_compare(builder, node->op, field, strlen(field), &node->values[0]);
	}
}

/* -1, 0, 1, or 2 where there is no order: written anew, not iqdb_value_compare. */
static int
model_order(const IqdbValue *a, const IqdbValue *b)
{
	char a_text[8];
	char b_text[8];
	int  sign;

	if (a->kind != b->kind)
		return 2;
	switch (a->kind)
	{
		case IQDB_VALUE_STRING:
			sprintf(a_text, "%.*s", (int) a->string_length, a->as.string);
			sprintf(b_text, "%.*s", (int) b->string_length, b->as.string);
			sign = strcmp(a_text, b_text);
			return (sign > 0) - (sign < 0);
		case IQDB_VALUE_INT:
			return a->as.integer < b->as.integer ? -1 : a->as.integer > b->as.integer;
		case IQDB_VALUE_FLOAT:
			if (isnan(a->as.real) || isnan(b->as.real))
				return 2;
			return a->as.real < b->as.real ? -1 : a->as.real > b->as.real;
		case IQDB_VALUE_BOOL:
			return a->as.boolean == b->as.boolean ? 0 : a->as.boolean ? 1 : -1;
		default:
			return 0;
	}
}

static bool
model_leaf(const ModelNode *node, const ModelRow *row)
{
	int order;

	if (!row->present[node->field])
		return false;
	if (node->op == IQDB_FILTER_IN)
	{
		for (int i = 0; i < node->value_count; i++)
			if (model_order(&row->values[node->field], &node->values[i]) == 0)
				return true;
		return false;
	}
	if (row->values[node->field].kind != node->values[0].kind)
		return false;
	order = model_order(&row->values[node->field], &node->values[0]);
	switch (node->op)
	{
		case IQDB_FILTER_EQ:
			return order == 0;
		case IQDB_FILTER_NEQ:
			return order != 0;
		case IQDB_FILTER_LT:
			return order == -1;
		case IQDB_FILTER_LTE:
			return order == -1 || order == 0;
		case IQDB_FILTER_GT:
			return order == 1;
		default:
			return order == 1 || order == 0;
	}
}

static bool
model_holds(const Model *model, int number, const ModelRow *row)
{
	const ModelNode *node = &model->nodes[number];

	if (node->op == IQDB_FILTER_NOT)
		return !model_holds(model, node->children[0], row);
	if (node->op != IQDB_FILTER_AND && node->op != IQDB_FILTER_OR)
		return model_leaf(node, row);
	for (int i = 0; i < node->child_count; i++)
		if (model_holds(model, node->children[i], row) == (node->op == IQDB_FILTER_OR))
			return node->op == IQDB_FILTER_OR;
	return node->op == IQDB_FILTER_AND;
}

#define MODEL_TREES 3000
#define MODEL_ROWS 40

static void
random_filters_agree_with_the_model(void **state)
{
	ModelRow rows[MODEL_ROWS];
	IqdbRng  rng;
	int      matched = 0;

	(void) state;
	iqdb_rng_seed(&rng, SEED);
	for (int r = 0; r < MODEL_ROWS; r++)
		rows[r] = random_row(&rng);
	for (int t = 0; t < MODEL_TREES; t++)
	{
		Model             model = {.count = 0};
		int               root = random_tree(&model, &rng, 6);
		IqdbFilterBuilder builder;
		IqdbFilter       *filter;

		iqdb_filter_builder_init(&builder, libc);
		filter = finish_filter(&builder, build_tree(&model, root, &builder));
		for (int r = 0; r < MODEL_ROWS; r++)
		{
			bool expected = model_holds(&model, root, &rows[r]);

			assert_int_equal(iqdb_filter_matches(filter, rows[r].encoded.bytes, rows[r].encoded.length), expected);
			/* evaluate_is_deterministic */
			assert_int_equal(iqdb_filter_matches(filter, rows[r].encoded.bytes, rows[r].encoded.length), expected);
			matched += expected;
		}
		iqdb_filter_free(libc, filter);
	}
	/* the domains are chosen so that neither truth is rare */
	assert_in_range(matched, MODEL_TREES * MODEL_ROWS / 5, MODEL_TREES * MODEL_ROWS * 4 / 5);
	for (int r = 0; r < MODEL_ROWS; r++)
		release(rows[r].encoded);
}

/* not_negates, double_negation_is_identity, and_is_conjunction, or_is_disjunction, de_morgan in one. */
static void
filters_obey_boolean_algebra(void **state)
{
	IqdbRng rng;

	(void) state;
	iqdb_rng_seed(&rng, SEED + 1);
	for (int t = 0; t < 1000; t++)
	{
		Model             p = {.count = 0};
		Model             q = {.count = 0};
		int               p_root = random_tree(&p, &rng, 3);
		int               q_root = random_tree(&q, &rng, 3);
		ModelRow          row = random_row(&rng);
		bool              p_holds = model_holds(&p, p_root, &row);
		bool              q_holds = model_holds(&q, q_root, &row);
		IqdbFilterBuilder b;
		IqdbCondition     pair[2];

		iqdb_filter_builder_init(&b, libc);
		assert_int_equal(holds(&b, iqdb_filter_not(&b, build_tree(&p, p_root, &b)), row.encoded), !p_holds);
		assert_int_equal(holds(&b, iqdb_filter_not(&b, iqdb_filter_not(&b, build_tree(&p, p_root, &b))), row.encoded),
						 p_holds);
		pair[0] = build_tree(&p, p_root, &b);
		pair[1] = build_tree(&q, q_root, &b);
		assert_int_equal(holds(&b, iqdb_filter_and(&b, pair, 2), row.encoded), p_holds && q_holds);
		pair[0] = build_tree(&p, p_root, &b);
		pair[1] = build_tree(&q, q_root, &b);
		assert_int_equal(holds(&b, iqdb_filter_or(&b, pair, 2), row.encoded), p_holds || q_holds);
		pair[0] = iqdb_filter_not(&b, build_tree(&p, p_root, &b));
		pair[1] = iqdb_filter_not(&b, build_tree(&q, q_root, &b));
		assert_int_equal(holds(&b, iqdb_filter_or(&b, pair, 2), row.encoded), !(p_holds && q_holds));
		pair[0] = iqdb_filter_not(&b, build_tree(&p, p_root, &b));
		pair[1] = iqdb_filter_not(&b, build_tree(&q, q_root, &b));
		assert_int_equal(holds(&b, iqdb_filter_and(&b, pair, 2), row.encoded), !(p_holds || q_holds));
		release(row.encoded);
	}
}

/* ---- filters: limits ---- */

/* A leaf under so many levels of NOT, AND and OR in turn. */
static IqdbStatus
finish_nested(int levels, IqdbFilter **filter_out)
{
	IqdbFilterBuilder builder;
	IqdbCondition     condition;
	IqdbStatus        status;

	iqdb_filter_builder_init(&builder, libc);
	condition = age_is(&builder, 30);
	for (int i = 0; i < levels; i++)
		condition = i % 3 == 0 ? iqdb_filter_not(&builder, condition) :
			i % 3 == 1         ? iqdb_filter_and(&builder, &condition, 1) :
								 iqdb_filter_or(&builder, &condition, 1);
	status = iqdb_filter_finish(&builder, condition, filter_out, NULL);
	iqdb_filter_builder_free(&builder);
	return status;
}

static void
depth_at_cap_accepted(void **state)
{
	Encoded     map = sample_metadata();
	IqdbFilter *filter;

	(void) state;
	for (int levels = 0; levels <= IQDB_FILTER_DEPTH_MAX; levels++)
	{
		assert_int_equal(finish_nested(levels, &filter), IQDB_OK);
		/* (levels + 2) / 3 of them are NOT */
		assert_int_equal(iqdb_filter_matches(filter, map.bytes, map.length), (levels + 2) / 3 % 2 == 0);
		iqdb_filter_free(libc, filter);
	}
	release(map);
}

static void
depth_over_cap_rejected(void **state)
{
	IqdbFilterBuilder builder;
	IqdbCondition     condition;
	IqdbFilter       *filter;
	IqdbError         err;

	(void) state;
	assert_int_equal(finish_nested(IQDB_FILTER_DEPTH_MAX + 1, &filter), IQDB_ERR_FILTER);
	assert_null(filter);
	/* an AND of nothing counts as a level, too */
	iqdb_filter_builder_init(&builder, libc);
	condition = iqdb_filter_and(&builder, NULL, 0);
	for (int i = 0; i < IQDB_FILTER_DEPTH_MAX; i++)
		condition = iqdb_filter_not(&builder, condition);
	assert_int_equal(iqdb_filter_finish(&builder, condition, &filter, &err), IQDB_ERR_FILTER);
	assert_int_equal(err.code, IQDB_ERR_FILTER);
	iqdb_filter_builder_free(&builder);
}

static IqdbStatus
finish_in(size_t count, int levels, IqdbFilter **filter_out)
{
	IqdbFilterBuilder builder;
	IqdbValue        *values = malloc((count + 1) * sizeof(*values));
	IqdbCondition     condition;
	IqdbStatus        status;

	assert_non_null(values);
	for (size_t i = 0; i < count; i++)
		values[i] = iqdb_value_int((int64_t) i);
	iqdb_filter_builder_init(&builder, libc);
	condition = iqdb_filter_in(&builder, "age", 3, values, count);
	for (int i = 0; i < levels; i++)
		condition = iqdb_filter_and(&builder, &condition, 1);
	status = iqdb_filter_finish(&builder, condition, filter_out, NULL);
	iqdb_filter_builder_free(&builder);
	free(values);
	return status;
}

static void
in_at_cap_accepted_over_cap_rejected_at_any_depth(void **state)
{
	IqdbFilter    *filter;
	unsigned char *bytes;

	(void) state;
	for (int levels = 0; levels < 3; levels++)
	{
		assert_int_equal(finish_in(IQDB_FILTER_IN_MAX, levels, &filter), IQDB_OK);
		iqdb_filter_free(libc, filter);
		assert_int_equal(finish_in(IQDB_FILTER_IN_MAX + 1, levels, &filter), IQDB_ERR_FILTER);
		assert_null(filter);
	}
	/* and in bytes from elsewhere */
	bytes = calloc(1, 9 + 1025);
	assert_non_null(bytes);
	bytes[0] = IQDB_FILTER_IN;
	iqdb_store_u32(bytes + 5, 1025);
	memset(bytes + 9, IQDB_VALUE_NULL, 1025);
	assert_int_equal(iqdb_filter_decode(libc, bytes, 9 + 1025, &filter, NULL), IQDB_ERR_FILTER);
	iqdb_store_u32(bytes + 5, 1024);
	assert_int_equal(iqdb_filter_decode(libc, bytes, 9 + 1024, &filter, NULL), IQDB_OK);
	iqdb_filter_free(libc, filter);
	free(bytes);
}

static void
wide_and_chain_at_cap_accepted(void **state)
{
	enum
	{
		WIDTH = 20000
	};
	Encoded           map = sample_metadata();
	IqdbCondition    *conditions = malloc(WIDTH * sizeof(*conditions));
	IqdbFilterBuilder builder;
	IqdbCondition     condition;

	(void) state;
	assert_non_null(conditions);
	iqdb_filter_builder_init(&builder, libc);
	for (int i = 0; i < WIDTH; i++)
		conditions[i] = age_is(&builder, i == WIDTH - 1 ? 30 : 0);
	condition = iqdb_filter_or(&builder, conditions, WIDTH);
	for (int i = 1; i < IQDB_FILTER_DEPTH_MAX; i++)
		condition = iqdb_filter_and(&builder, &condition, 1);
	assert_true(holds(&builder, condition, map));
	free(conditions);
	release(map);
}

static void
validation_does_not_overflow_on_pathological_input(void **state)
{
	IqdbFilter    *filter;
	unsigned char *bytes = malloc(IQDB_FILTER_BYTES_MAX + 1);

	(void) state;
	assert_non_null(bytes);
	assert_int_equal(finish_nested(300000, &filter), IQDB_ERR_FILTER);
	memset(bytes, IQDB_FILTER_NOT, IQDB_FILTER_BYTES_MAX + 1);
	assert_int_equal(iqdb_filter_decode(libc, bytes, IQDB_FILTER_BYTES_MAX, &filter, NULL), IQDB_ERR_FILTER);
	assert_int_equal(iqdb_filter_decode(libc, bytes, IQDB_FILTER_BYTES_MAX + 1, &filter, NULL), IQDB_ERR_FILTER);
	assert_null(filter);
	free(bytes);
}

/* ---- filters: building and bytes ---- */

static IqdbFilter *
sample_filter(const IqdbAllocator *allocator, IqdbStatus *status)
{
	IqdbValue         values[3] = {text_value("alice"), iqdb_value_float(0.5), iqdb_value_bool(false)};
	IqdbFilterBuilder builder;
	IqdbCondition     pair[2];
	IqdbFilter       *filter;

	iqdb_filter_builder_init(&builder, allocator);
	pair[0] = iqdb_filter_in(&builder, "name", 4, values, 3);
	pair[1] = iqdb_filter_not(&builder, iqdb_filter_lt(&builder, "score", 5, &values[1]));
	pair[0] = iqdb_filter_and(&builder, pair, 2);
	pair[1] = iqdb_filter_or(&builder, NULL, 0);
	*status = iqdb_filter_finish(&builder, iqdb_filter_or(&builder, pair, 2), &filter, NULL);
	iqdb_filter_builder_free(&builder);
	return filter;
}

static void
builds_a_nested_filter_tree_and_round_trips(void **state)
{
	Encoded              map = sample_metadata();
	IqdbStatus           status;
	IqdbFilter          *filter = sample_filter(libc, &status);
	IqdbFilter          *back;
	const unsigned char *bytes;
	const unsigned char *again;
	size_t               length;
	size_t               again_length;

	(void) state;
	assert_int_equal(status, IQDB_OK);
	assert_true(iqdb_filter_matches(filter, map.bytes, map.length));
	bytes = iqdb_filter_encoded(filter, &length);
	assert_int_equal(iqdb_filter_decode(libc, bytes, length, &back, NULL), IQDB_OK);
	again = iqdb_filter_encoded(back, &again_length);
	assert_int_equal(length, again_length);
	assert_memory_equal(bytes, again, length);
	assert_true(iqdb_filter_equal(filter, back));
	assert_true(iqdb_filter_hash(filter) == iqdb_filter_hash(back));
	iqdb_filter_free(libc, filter);
	assert_true(iqdb_filter_matches(back, map.bytes, map.length));
	iqdb_filter_free(libc, back);
	iqdb_filter_free(libc, NULL);
	release(map);
}

static void
every_truncation_of_a_filter_is_rejected(void **state)
{
	IqdbStatus           status;
	IqdbFilter          *filter = sample_filter(libc, &status);
	IqdbFilter          *back;
	const unsigned char *bytes;
	size_t               length;

	(void) state;
	bytes = iqdb_filter_encoded(filter, &length);
	for (size_t cut = 0; cut <= length + 1; cut++)
	{
		unsigned char *copy = calloc(1, cut + 1);
		unsigned char *exact;

		assert_non_null(copy);
		memcpy(copy, bytes, cut < length ? cut : length);
		exact = malloc(cut > 0 ? cut : 1);
		assert_non_null(exact);
		memcpy(exact, copy, cut);
		assert_int_equal(iqdb_filter_decode(libc, exact, cut, &back, NULL), cut == length ? IQDB_OK : IQDB_ERR_CORRUPT);
		iqdb_filter_free(libc, back);
		free(exact);
		free(copy);
	}
	assert_int_equal(iqdb_filter_decode(libc, NULL, 0, &back, NULL), IQDB_ERR_CORRUPT);
	iqdb_filter_free(libc, filter);
}

static void
every_byte_change_of_a_filter_is_handled(void **state)
{
	Encoded              map = sample_metadata();
	IqdbStatus           status;
	IqdbFilter          *filter = sample_filter(libc, &status);
	const unsigned char *bytes;
	unsigned char       *copy;
	size_t               length;

	(void) state;
	bytes = iqdb_filter_encoded(filter, &length);
	copy = malloc(length);
	assert_non_null(copy);
	for (size_t at = 0; at < length; at++)
		for (int byte = 0; byte < 256; byte++)
		{
			IqdbFilter *back;

			memcpy(copy, bytes, length);
			copy[at] = (unsigned char) byte;
			status = iqdb_filter_decode(libc, copy, length, &back, NULL);
			assert_true(status == IQDB_OK || status == IQDB_ERR_CORRUPT || status == IQDB_ERR_FILTER);
			if (status == IQDB_OK)
				(void) iqdb_filter_matches(back, map.bytes, map.length);
			else
				assert_null(back);
			iqdb_filter_free(libc, back);
		}
	free(copy);
	iqdb_filter_free(libc, filter);
	release(map);
}

static void
misuse_of_the_builder_is_reported_at_the_end(void **state)
{
	IqdbFilterBuilder builder;
	IqdbCondition     leaf;
	IqdbCondition     pair[2];
	IqdbFilter       *filter;
	IqdbValue         strange = iqdb_value_null();
	IqdbError         err;

	(void) state;
	iqdb_filter_builder_init(&builder, libc);
	assert_int_equal(iqdb_filter_finish(&builder, 0, &filter, &err), IQDB_ERR_CONFIG);

	/* used twice by one parent */
	leaf = age_is(&builder, 1);
	pair[0] = leaf;
	pair[1] = leaf;
	assert_int_equal(iqdb_filter_finish(&builder, iqdb_filter_and(&builder, pair, 2), &filter, &err), IQDB_ERR_CONFIG);
	/* remembered */
	assert_int_equal(iqdb_filter_finish(&builder, age_is(&builder, 1), &filter, &err), IQDB_ERR_CONFIG);
	iqdb_filter_builder_free(&builder);

	/* used twice by two parents */
	leaf = age_is(&builder, 1);
	(void) iqdb_filter_not(&builder, leaf);
	assert_int_equal(iqdb_filter_finish(&builder, iqdb_filter_not(&builder, leaf), &filter, &err), IQDB_ERR_CONFIG);
	iqdb_filter_builder_free(&builder);

	/* unknown */
	leaf = age_is(&builder, 1);
	assert_int_equal(iqdb_filter_finish(&builder, iqdb_filter_not(&builder, leaf + 1), &filter, &err), IQDB_ERR_CONFIG);
	iqdb_filter_builder_free(&builder);

	strange.kind = (IqdbValueKind) 9;
	assert_int_equal(iqdb_filter_finish(&builder, iqdb_filter_eq(&builder, "k", 1, &strange), &filter, &err),
					 IQDB_ERR_CONFIG);
	iqdb_filter_builder_free(&builder);
	strange = iqdb_value_null();
	assert_int_equal(iqdb_filter_finish(&builder, iqdb_filter_compare(&builder, IQDB_FILTER_NOT, "k", 1, &strange),
										&filter, &err),
					 IQDB_ERR_CONFIG);
	assert_null(filter);
	iqdb_filter_builder_free(&builder);

	/* a subtree can be finished, and finished again */
	leaf = age_is(&builder, 30);
	(void) iqdb_filter_not(&builder, leaf);
	for (int i = 0; i < 2; i++)
	{
		assert_int_equal(iqdb_filter_finish(&builder, leaf, &filter, &err), IQDB_OK);
		iqdb_filter_free(libc, filter);
	}
	iqdb_filter_builder_free(&builder);
}

static void
equal_filters_have_equal_hashes_and_nan_equals_nothing(void **state)
{
	IqdbValue         some[12];
	IqdbValue         same[12];
	IqdbFilterBuilder builder;
	IqdbFilter       *a;
	IqdbFilter       *b;
	IqdbCondition     pair[2];

	(void) state;
	iqdb_filter_builder_init(&builder, libc);
	for (int i = 0; i < 12; i++)
	{
		some[i] = i < 11 ? iqdb_value_int(i) : iqdb_value_float(0.0);
		same[11 - i] = i < 11 ? iqdb_value_int(i) : iqdb_value_float(-0.0);
	}
	a = finish_filter(&builder, iqdb_filter_in(&builder, "age", 3, some, 12));
	b = finish_filter(&builder, iqdb_filter_in(&builder, "age", 3, same, 12));
	assert_true(iqdb_filter_equal(a, b));
	assert_true(iqdb_filter_hash(a) == iqdb_filter_hash(b));
	iqdb_filter_free(libc, b);
	b = finish_filter(&builder, iqdb_filter_in(&builder, "age", 3, same, 11));
	assert_false(iqdb_filter_equal(a, b));
	iqdb_filter_free(libc, a);
	iqdb_filter_free(libc, b);

	some[0] = iqdb_value_float(NAN);
	a = finish_filter(&builder, iqdb_filter_neq(&builder, "age", 3, &some[0]));
	assert_false(iqdb_filter_equal(a, a));
	iqdb_filter_free(libc, a);

	/* another operator, another field, another shape */
	a = finish_filter(&builder, iqdb_filter_eq(&builder, "age", 3, &some[1]));
	b = finish_filter(&builder, iqdb_filter_neq(&builder, "age", 3, &some[1]));
	assert_true(iqdb_filter_equal(a, a));
	assert_false(iqdb_filter_equal(a, b));
	iqdb_filter_free(libc, b);
	b = finish_filter(&builder, iqdb_filter_eq(&builder, "agf", 3, &some[1]));
	assert_false(iqdb_filter_equal(a, b));
	iqdb_filter_free(libc, a);
	iqdb_filter_free(libc, b);
	/* AND(AND(x), y) and AND(AND(x, y)) have the same operators in the same places */
	pair[0] = age_is(&builder, 1);
	pair[0] = iqdb_filter_and(&builder, pair, 1);
	pair[1] = age_is(&builder, 2);
	a = finish_filter(&builder, iqdb_filter_and(&builder, pair, 2));
	pair[0] = age_is(&builder, 1);
	pair[1] = age_is(&builder, 2);
	pair[0] = iqdb_filter_and(&builder, pair, 2);
	b = finish_filter(&builder, iqdb_filter_and(&builder, pair, 1));
	assert_false(iqdb_filter_equal(a, b));
	iqdb_filter_free(libc, a);
	iqdb_filter_free(libc, b);
}

static void
every_refused_allocation_of_a_filter_is_clean(void **state)
{
	int granted;

	(void) state;
	for (granted = 0;; granted++)
	{
		Accounts      accounts = {0, granted};
		IqdbAllocator allocator = {accounted_resize, &accounts};
		IqdbStatus    status;
		IqdbFilter   *filter = sample_filter(&allocator, &status);

		iqdb_filter_free(&allocator, filter);
		assert_int_equal(accounts.bytes, 0);
		if (status == IQDB_OK)
			break;
		assert_int_equal(status, IQDB_ERR_NOMEM);
		assert_null(filter);
	}
	assert_true(granted >= 4);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(present_fields_compare_within_their_kind),
		cmocka_unit_test(neq_present_field_matches),
		cmocka_unit_test(type_mismatch_is_false),
		cmocka_unit_test(nan_float_comparisons_are_false),
		cmocka_unit_test(neq_absent_is_false),
		cmocka_unit_test(no_metadata_means_every_leaf_is_false),
		cmocka_unit_test(in_finds_any_listed_value_of_the_same_kind),
		cmocka_unit_test(closed_world_filter_distinguishes_neq_from_not_eq),
		cmocka_unit_test(empty_and_is_vacuously_true_empty_or_is_false),
		cmocka_unit_test(nested_and_or_not_and_range_filters_evaluate),
		cmocka_unit_test(random_filters_agree_with_the_model),
		cmocka_unit_test(filters_obey_boolean_algebra),
		cmocka_unit_test(depth_at_cap_accepted),
		cmocka_unit_test(depth_over_cap_rejected),
		cmocka_unit_test(in_at_cap_accepted_over_cap_rejected_at_any_depth),
		cmocka_unit_test(wide_and_chain_at_cap_accepted),
		cmocka_unit_test(validation_does_not_overflow_on_pathological_input),
		cmocka_unit_test(builds_a_nested_filter_tree_and_round_trips),
		cmocka_unit_test(every_truncation_of_a_filter_is_rejected),
		cmocka_unit_test(every_byte_change_of_a_filter_is_handled),
		cmocka_unit_test(misuse_of_the_builder_is_reported_at_the_end),
		cmocka_unit_test(equal_filters_have_equal_hashes_and_nan_equals_nothing),
		cmocka_unit_test(every_refused_allocation_of_a_filter_is_clean),
	};

	print_message("seed %llu\n", (unsigned long long) SEED);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
