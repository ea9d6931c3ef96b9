/*
 * test_fields.c - fields of metadata that have columns: what filters become against what they say of the metadata itself, over
 * random schemas, rows and filters; databases with fields beside the same without; files.
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

#include "core/db/handle_private.h"
#include "core/meta/metadata.h"
#include "harness/fixture.h"
#include "harness/io_crash.h"
#include "harness/memory_index.h"
#include "harness/model.h"

#define SEED UINT64_C(20261201)
#define DIM 3
#define ROWS 300
#define NAMES 6

/* ---- random values of every kind, with those at the ends of their ranges ---- */

static const char *const names[NAMES] = {"a", "ab", "b", "", "kind", "zebra"};

static IqdbValue
random_value(IqdbRng *rng, IqdbValueKind kind)
{
	static const double      reals[] = {-INFINITY, -1e300, -1.5, -5e-324, -0.0, 0.0, 5e-324, 0.25, 1.0, 1e300, INFINITY, NAN};
	static const int64_t     integers[] = {INT64_MIN, INT64_MIN + 1, -3, -1, 0, 1, 2, INT64_MAX - 1, INT64_MAX};
	static const char *const strings[] = {"", "a", "ab", "b", "12345678", "123456789", "12345678\0"};
	size_t                   pick;

	switch (kind)
	{
		case IQDB_VALUE_FLOAT:
			return iqdb_value_float(reals[iqdb_rng_below(rng, sizeof(reals) / sizeof(reals[0]))]);
		case IQDB_VALUE_INT:
			return iqdb_value_int(integers[iqdb_rng_below(rng, sizeof(integers) / sizeof(integers[0]))]);
		case IQDB_VALUE_STRING:
			pick = iqdb_rng_below(rng, sizeof(strings) / sizeof(strings[0]));
			return iqdb_value_string(strings[pick], pick == 6 ? 9 : (uint32_t) strlen(strings[pick]));
		case IQDB_VALUE_BOOL:
			return iqdb_value_bool(iqdb_rng_below(rng, 2) == 0);
		default:
			return iqdb_value_null();
	}
}

/* What most rows have in the field of each name. */
static const IqdbValueKind own[NAMES] = {IQDB_VALUE_INT,  IQDB_VALUE_FLOAT, IQDB_VALUE_STRING,
										 IQDB_VALUE_BOOL, IQDB_VALUE_INT,   IQDB_VALUE_FLOAT};

/* Of the field's own kind, but now and then of any. */
static IqdbValue
value_for(IqdbRng *rng, int name)
{
	if (iqdb_rng_below(rng, 6) == 0)
		return random_value(rng, (IqdbValueKind) iqdb_rng_below(rng, IQDB_VALUE_KIND_COUNT));
	return random_value(rng, own[name]);
}

/* Of some of the names, each of any kind that has a column. */
static size_t
random_fields(IqdbRng *rng, IqdbField *fields_out)
{
	size_t count = 0;
	int    first = (int) iqdb_rng_below(rng, NAMES);

	for (int i = 0; i < NAMES; i++)
	{
		int           name = (first + i) % NAMES;
		IqdbValueKind kind = iqdb_rng_below(rng, 5) == 0 ? (IqdbValueKind) iqdb_rng_below(rng, IQDB_VALUE_NULL) : own[name];

		if (iqdb_rng_below(rng, 4) > 0)
			fields_out[count++] = (IqdbField){.name = names[name], .name_length = strlen(names[name]), .kind = kind};
	}
	return count;
}

static unsigned char *
random_metadata(IqdbRng *rng, size_t *length_out)
{
	IqdbMetadataBuilder builder;
	unsigned char      *bytes;

	*length_out = 0;
	if (iqdb_rng_below(rng, 8) == 0)
		return NULL;
	iqdb_metadata_builder_init(&builder, NULL);
	for (int name = 0; name < NAMES; name++)
	{
		IqdbValue value = value_for(rng, name);

		if (iqdb_rng_below(rng, 4) > 0)
			assert_int_equal(iqdb_metadata_put(&builder, names[name], strlen(names[name]), &value, NULL), IQDB_OK);
	}
	assert_int_equal(iqdb_metadata_finish(&builder, &bytes, length_out, NULL), IQDB_OK);
	iqdb_metadata_builder_free(&builder);
	return bytes;
}

static IqdbCondition
random_leaf(IqdbRng *rng, IqdbFilterBuilder *builder)
{
	int       name = (int) iqdb_rng_below(rng, NAMES);
	IqdbValue values[6];

	for (int i = 0; i < 6; i++)
		values[i] = value_for(rng, name);
	if (iqdb_rng_below(rng, 3) == 0)
		return iqdb_filter_in(builder, names[name], strlen(names[name]), values, iqdb_rng_below(rng, 7));
	return iqdb_filter_compare(builder, (IqdbFilterOp) iqdb_rng_below(rng, 6), names[name], strlen(names[name]), &values[0]);
}

/* AND and OR of none to five conditions; deep is how many levels there may be. */
static IqdbCondition
random_condition(IqdbRng *rng, IqdbFilterBuilder *builder, int deep)
{
	IqdbCondition parts[5];
	size_t        count = iqdb_rng_below(rng, 6);
	uint64_t      kind = iqdb_rng_below(rng, deep > 0 ? 5 : 1);

	if (kind < 1)
		return random_leaf(rng, builder);
	if (kind == 1)
		return iqdb_filter_not(builder, random_condition(rng, builder, deep - 1));
	for (size_t i = 0; i < count; i++)
		parts[i] = random_condition(rng, builder, deep - 1);
	return kind < 4 ? iqdb_filter_and(builder, parts, count) : iqdb_filter_or(builder, parts, count);
}

/* Conditions one in the other, as deep as filters may be, with one more at each level. */
static IqdbCondition
deep_condition(IqdbRng *rng, IqdbFilterBuilder *builder)
{
	IqdbCondition condition = random_leaf(rng, builder);

	for (int i = 0; i < IQDB_FILTER_DEPTH_MAX / 2; i++)
	{
		IqdbCondition parts[2] = {random_leaf(rng, builder), condition};

		condition = i % 2 == 0 ? iqdb_filter_or(builder, parts, 2) : iqdb_filter_and(builder, parts, 2);
		if (i % 3 == 0)
			condition = iqdb_filter_not(builder, condition);
	}
	return condition;
}

static IqdbFilter *
random_filter(IqdbRng *rng)
{
	IqdbFilterBuilder builder;
	IqdbFilter       *filter;
	IqdbCondition     root;

	iqdb_filter_builder_init(&builder, NULL);
	root = iqdb_rng_below(rng, 10) == 0 ? deep_condition(rng, &builder) : random_condition(rng, &builder, 3);
	assert_int_equal(iqdb_filter_finish(&builder, root, &filter, NULL), IQDB_OK);
	iqdb_filter_builder_free(&builder);
	return filter;
}

/* ---- what a filter becomes, against what it says ---- */

typedef struct Table
{
	MemoryIndex    memory;
	IqdbFields     fields;
	unsigned char *metadata[ROWS];
	size_t         length[ROWS];
} Table;

static void
table_open(Table *table, IqdbRng *rng)
{
	IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_FLAT, DIM, IQDB_METRIC_L2);
	IqdbField        fields[NAMES];
	float            vector[DIM] = {1, 2, 3};

	assert_int_equal(iqdb_fields_make(fields, random_fields(rng, fields), &table->fields, NULL), IQDB_OK);
	iqdb_fields_set_columns(&table->fields, &options);
	memory_index_create(&table->memory, &options, &iqdb_locks_none, NULL, UINT64_C(8) * 1024 * 1024);
	for (uint32_t i = 0; i < ROWS; i++)
	{
		IqdbRow          row = {.id = iqdb_id_u64(i), .vector = vector};
		IqdbColumnValues columns;

		table->metadata[i] = random_metadata(rng, &table->length[i]);
		row.metadata = table->metadata[i];
		row.metadata_length = table->length[i];
		iqdb_fields_read(&table->fields, row.metadata, row.metadata_length, &columns);
		assert_int_equal(iqdb_index_put_row(&table->memory.index, &row, DIM, &columns, NULL, NULL), IQDB_OK);
	}
}

static void
table_close(Table *table)
{
	memory_index_destroy(&table->memory);
	for (uint32_t i = 0; i < ROWS; i++)
		iqdb_free(NULL, table->metadata[i], table->length[i]);
}

/* What the tests of a filter have told, to see that they are of use. */
typedef struct Told
{
	uint64_t filters;
	uint64_t exact;     /* decided by columns alone */
	uint64_t useful;    /* or turned rows away */
	uint64_t everything;
} Told;

/* Rows are asked one by one, and many at once by tests alone. */
static void
compare_filter(const Table *table, const IqdbFilter *filter, Told *told)
{
	static IqdbFieldsFilter made;
	const IqdbStore        *store = &table->memory.index.store;
	const IqdbRowFilter    *rows = iqdb_fields_filter(&table->fields, filter, &made);
	uint64_t                words[IQDB_FILTER_WORDS];
	bool                    turned_away = false;

	told->filters++;
	if (rows != NULL)
		assert_int_equal(iqdb_row_filter_check(rows, &store->header->options, NULL), IQDB_OK);
	for (uint32_t slot = 0; slot < ROWS; slot++)
	{
		bool wanted = iqdb_filter_matches(filter, table->metadata[slot], table->length[slot]);
		bool passes;

		if (rows == NULL)
		{
			assert_true(wanted);
			continue;
		}
		assert_int_equal(iqdb_row_filter_admits(rows, store, slot), wanted);
		if (slot % IQDB_FILTER_ROWS == 0)
			iqdb_row_filter_range(rows, store, slot, ROWS - slot < IQDB_FILTER_ROWS ? ROWS - slot : IQDB_FILTER_ROWS, words);
		passes = (words[slot % IQDB_FILTER_ROWS / 64] >> slot % 64 & 1) != 0;
		assert_true(passes || !wanted);
		assert_true(rows->metadata != NULL || passes == wanted);
		turned_away |= !passes;
	}
	told->everything += rows == NULL;
	told->exact += rows == NULL || rows->metadata == NULL;
	told->useful += turned_away;
}

static void
filters_say_what_they_say_of_metadata(void **state)
{
	Told    told = {0};
	IqdbRng rng;

	(void) state;
	iqdb_rng_seed(&rng, SEED);
	for (int schema = 0; schema < 60; schema++)
	{
		static Table table;

		table_open(&table, &rng);
		for (int i = 0; i < 100; i++)
		{
			IqdbFilter *filter = random_filter(&rng);

			compare_filter(&table, filter, &told);
			iqdb_filter_free(NULL, filter);
		}
		table_close(&table);
	}
	print_message("%llu filters: %llu by columns alone (%llu of every row), %llu turned rows away\n",
				  (unsigned long long) told.filters, (unsigned long long) told.exact, (unsigned long long) told.everything,
				  (unsigned long long) told.useful);
	assert_true(told.exact > told.filters / 5);
	assert_true(told.useful > told.filters / 4);
	assert_true(told.everything > 0);
}

/* One comparison of a field with a column and a literal of its kind: columns decide alone, but for strings. */
static void
comparisons_are_decided_by_columns(void **state)
{
	static IqdbFieldsFilter made;
	static const struct
	{
		IqdbFilterOp op;
		IqdbValue    value;
		bool         exact;
	} cases[] = {
		{IQDB_FILTER_EQ, {IQDB_VALUE_INT, 0, {.integer = 5}}, true},
		{IQDB_FILTER_NEQ, {IQDB_VALUE_INT, 0, {.integer = 5}}, true},
		{IQDB_FILTER_GT, {IQDB_VALUE_INT, 0, {.integer = INT64_MAX}}, true},
		{IQDB_FILTER_LTE, {IQDB_VALUE_FLOAT, 0, {.real = 0.5}}, true},
		{IQDB_FILTER_NEQ, {IQDB_VALUE_FLOAT, 0, {.real = NAN}}, true},
		{IQDB_FILTER_EQ, {IQDB_VALUE_BOOL, 0, {.boolean = true}}, true},
		{IQDB_FILTER_EQ, {IQDB_VALUE_STRING, 1, {.string = "x"}}, false},
		{IQDB_FILTER_LT, {IQDB_VALUE_STRING, 1, {.string = "x"}}, false},
	};

	(void) state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		for (int negated = 0; negated < 2; negated++)
		{
			IqdbField            field = {"f", 1, cases[i].value.kind};
			IqdbFields           fields;
			IqdbFilterBuilder    builder;
			IqdbCondition        root;
			IqdbFilter          *filter;
			const IqdbRowFilter *rows;

			assert_int_equal(iqdb_fields_make(&field, 1, &fields, NULL), IQDB_OK);
			iqdb_filter_builder_init(&builder, NULL);
			root = iqdb_filter_compare(&builder, cases[i].op, "f", 1, &cases[i].value);
			if (negated)
				root = iqdb_filter_not(&builder, root);
			assert_int_equal(iqdb_filter_finish(&builder, root, &filter, NULL), IQDB_OK);
			rows = iqdb_fields_filter(&fields, filter, &made);
			assert_int_equal(rows == NULL || rows->metadata == NULL, cases[i].exact);
			iqdb_filter_free(NULL, filter);
			iqdb_filter_builder_free(&builder);
		}
	}
}

/* More conditions than there is room for tests: what is left over is asked of metadata. */
static void
filters_that_are_too_wide_are_right(void **state)
{
	static Table table;
	Told         told = {0};
	IqdbRng      rng;

	(void) state;
	iqdb_rng_seed(&rng, SEED + 1);
	table_open(&table, &rng);
	for (int round = 0; round < 40; round++)
	{
		enum { WIDE = 200 };
		IqdbFilterBuilder builder;
		IqdbCondition     parts[WIDE];
		IqdbValue         values[WIDE];
		IqdbFilter       *filter;

		iqdb_filter_builder_init(&builder, NULL);
		for (int i = 0; i < WIDE; i++)
		{
			for (int v = 0; v < WIDE; v++)
				values[v] = value_for(&rng, i % NAMES);
			parts[i] = i % 8 == 0 ? iqdb_filter_in(&builder, names[i % NAMES], strlen(names[i % NAMES]), values, WIDE)
								  : random_leaf(&rng, &builder);
		}
		assert_int_equal(iqdb_filter_finish(&builder,
											round % 2 == 0 ? iqdb_filter_and(&builder, parts, WIDE)
														   : iqdb_filter_or(&builder, parts, WIDE),
											&filter, NULL),
						 IQDB_OK);
		compare_filter(&table, filter, &told);
		iqdb_filter_free(NULL, filter);
		iqdb_filter_builder_free(&builder);
	}
	table_close(&table);
}

/* ---- lists of fields ---- */

static void
lists_of_fields_are_checked(void **state)
{
	char       long_name[300] = {0};
	IqdbField  fields[IQDB_FIELDS_MAX + 1];
	IqdbFields made;
	IqdbError  err;

	(void) state;
	assert_int_equal(iqdb_fields_make(NULL, 0, &made, &err), IQDB_OK);
	assert_int_equal(made.length, 0);
	fields[0] = (IqdbField){"b", 1, IQDB_VALUE_INT};
	fields[1] = (IqdbField){"a", 1, IQDB_VALUE_STRING};
	fields[2] = (IqdbField){NULL, 0, IQDB_VALUE_BOOL};
	assert_int_equal(iqdb_fields_make(fields, 3, &made, &err), IQDB_OK);
	assert_int_equal(iqdb_fields_find(&made, "a", 1), 1);
	assert_int_equal(iqdb_fields_find(&made, "c", 1), 3);
	assert_int_equal(iqdb_fields_get(&made, 2).kind, IQDB_VALUE_INT);
	fields[2] = (IqdbField){"b", 1, IQDB_VALUE_FLOAT};
	assert_int_equal(iqdb_fields_make(fields, 3, &made, &err), IQDB_ERR_CONFIG);
	assert_string_equal(err.message, "a field is named twice");
	assert_int_equal(made.count, 0);
	fields[2] = (IqdbField){"n", 1, IQDB_VALUE_NULL};
	assert_int_equal(iqdb_fields_make(fields, 3, &made, &err), IQDB_ERR_CONFIG);
	fields[2] = (IqdbField){"n", 1, (IqdbValueKind) 77};
	assert_int_equal(iqdb_fields_make(fields, 3, &made, &err), IQDB_ERR_CONFIG);
	fields[2] = (IqdbField){long_name, 256, IQDB_VALUE_INT};
	assert_int_equal(iqdb_fields_make(fields, 3, &made, &err), IQDB_ERR_CONFIG);
	/* names of 255 and 21 bytes have room, with two for each, one more has not */
	fields[0] = (IqdbField){long_name, 255, IQDB_VALUE_INT};
	fields[1] = (IqdbField){long_name, 21, IQDB_VALUE_INT};
	assert_int_equal(iqdb_fields_make(fields, 2, &made, &err), IQDB_OK);
	assert_int_equal(made.length, IQDB_FIELDS_ENCODED_MAX);
	fields[1].name_length = 22;
	assert_int_equal(iqdb_fields_make(fields, 2, &made, &err), IQDB_ERR_CONFIG);
	for (size_t i = 0; i <= IQDB_FIELDS_MAX; i++)
		fields[i] = (IqdbField){long_name, i, IQDB_VALUE_INT};
	assert_int_equal(iqdb_fields_make(fields, IQDB_FIELDS_MAX + 1, &made, &err), IQDB_ERR_CONFIG);
}

/* Bytes that are taken are those that were written; every other change of one byte, and every other length, is refused. */
static void
lists_of_fields_that_lie_are_refused(void **state)
{
	IqdbRng rng;
	size_t  refused = 0;

	(void) state;
	iqdb_rng_seed(&rng, SEED);
	for (int round = 0; round < 200; round++)
	{
		IqdbField      fields[NAMES];
		IqdbFields     made;
		IqdbFields     found;
		unsigned char *bytes;

		assert_int_equal(iqdb_fields_make(fields, random_fields(&rng, fields), &made, NULL), IQDB_OK);
		assert_true(iqdb_fields_decode(made.bytes, made.length, &found));
		assert_memory_equal(&made, &found, sizeof(made));
		bytes = malloc(made.length + 1);
		assert_non_null(bytes);
		memcpy(bytes, made.bytes, made.length);
		bytes[made.length] = 0;
		assert_true(made.length == 0 || !iqdb_fields_decode(bytes, made.length + 1, &found));
		for (size_t i = 0; i < made.length; i++)
		{
			/* memory that ends where the bytes do, so that a look beyond is seen */
			unsigned char *cut = malloc(i + 1);
			unsigned char  kept = bytes[i];

			assert_non_null(cut);
			memcpy(cut, bytes, i);
			assert_true(i == 0 || !iqdb_fields_decode(cut, i, &found));
			free(cut);
			bytes[i] = (unsigned char) iqdb_rng_below(&rng, 256);
			if (iqdb_fields_decode(bytes, made.length, &found))
				assert_memory_equal(found.bytes, bytes, made.length);
			else
				refused++;
			bytes[i] = kept;
		}
		free(bytes);
	}
	assert_true(refused > 500);
}

/* ---- a database with fields beside one without ---- */

static const IqdbField model_fields[] = {{"kind", 4, IQDB_VALUE_INT},
										 {"name", 4, IQDB_VALUE_STRING},
										 {"even", 4, IQDB_VALUE_BOOL},
										 {"weight", 6, IQDB_VALUE_FLOAT}};

typedef struct Pair
{
	IoCrash   *fs;
	IqdbConfig config[2];
	Iqdb      *db[2];
	IqdbRng    rng;
	bool       ends; /* values of this test, at the ends of their ranges; else those of the model */
} Pair;

static void
pair_open(Pair *pair)
{
	static const char *const paths[] = {"plain", "fields"};
	IqdbError                err;

	for (int i = 0; i < 2; i++)
	{
		IqdbStatus status = iqdb_open(paths[i], &pair->config[i], &pair->db[i], &err);

		if (status != IQDB_OK)
			print_message("%s: %s\n", err.file, err.message);
		assert_int_equal(status, IQDB_OK);
	}
}

static void
pair_start(Pair *pair, IqdbEngineKind engine, const IqdbField *fields, size_t count, bool ends, uint64_t seed)
{
	memset(pair, 0, sizeof(*pair));
	iqdb_rng_seed(&pair->rng, seed);
	pair->fs = io_crash_create();
	pair->ends = ends;
	for (int i = 0; i < 2; i++)
	{
		pair->config[i] = iqdb_config_default(engine, DIM, IQDB_METRIC_L2);
		pair->config[i].memory_max = UINT64_C(64) * 1024 * 1024;
		pair->config[i].io = io_crash_io(pair->fs);
		pair->config[i].use_cache = true;
	}
	pair->config[1].fields = fields;
	pair->config[1].field_count = count;
	pair_open(pair);
}

static void
pair_end(Pair *pair)
{
	for (int i = 0; i < 2; i++)
		assert_int_equal(iqdb_close(pair->db[i], NULL), IQDB_OK);
	io_crash_destroy(pair->fs);
}

static void
pair_reopen(Pair *pair)
{
	uint64_t way = iqdb_rng_below(&pair->rng, 3);

	for (int i = 0; i < 2; i++)
	{
		if (way == 0)
			assert_int_equal(iqdb_close(pair->db[i], NULL), IQDB_OK);
		else
			iqdb_abandon(pair->db[i]);
	}
	/* without the fields named, those of the files count */
	pair->config[1].field_count = way == 1 || pair->config[1].fields == NULL ? 0 : pair->config[1].field_count;
	if (way == 1)
		pair->config[1].fields = NULL;
	pair_open(pair);
}

/* The same rows to both, one by one, as a batch, or loaded. */
static void
pair_write(Pair *pair)
{
	enum { MANY = 40 };
	size_t         count = iqdb_rng_below(&pair->rng, 3) == 0 ? MANY : 1;
	uint64_t       way = iqdb_rng_below(&pair->rng, 2);
	float          vectors[MANY][DIM];
	IqdbRow        rows[MANY];
	unsigned char *metadata[MANY];

	for (size_t i = 0; i < count; i++)
	{
		size_t length;

		metadata[i] = pair->ends ? random_metadata(&pair->rng, &length) : model_random_metadata(&pair->rng, &length);
		model_random_vector(&pair->rng, vectors[i], DIM);
		rows[i] = (IqdbRow){.id = iqdb_id_u64(iqdb_rng_below(&pair->rng, 400)), .vector = vectors[i],
							.metadata = metadata[i], .metadata_length = length};
	}
	for (int i = 0; i < 2; i++)
	{
		if (count == 1)
			assert_int_equal(iqdb_upsert(pair->db[i], rows[0].id, rows[0].vector, DIM, rows[0].metadata,
										 rows[0].metadata_length, NULL),
							 IQDB_OK);
		else if (way == 0)
			assert_int_equal(iqdb_upsert_batch(pair->db[i], rows, count, DIM, NULL), IQDB_OK);
		else
			assert_int_equal(iqdb_load(pair->db[i], rows, count, DIM, NULL, NULL, NULL), IQDB_OK);
		if (iqdb_rng_below(&pair->rng, 64) == 0)
			assert_int_equal(iqdb_flush(pair->db[i], NULL), IQDB_OK);
	}
	for (size_t i = 0; i < count; i++)
		free(metadata[i]);
}

static void
assert_same(const IqdbResult *a, const IqdbResult *b)
{
	assert_int_equal(a->count, b->count);
	for (size_t i = 0; i < a->count; i++)
	{
		assert_true(a->found[i].distance == b->found[i].distance);
		assert_true(iqdb_id_equal(a->found[i].id, b->found[i].id));
	}
}

/* Exactly; all rows that match, by the engine; and a batch. */
static void
pair_search(Pair *pair)
{
	IqdbFilter *filter = pair->ends ? random_filter(&pair->rng) : model_random_filter(&pair->rng);
	float       queries[2][DIM];
	IqdbQuery   settings[2] = {{.k = 1 + iqdb_rng_below(&pair->rng, 10), .filter = filter, .exact = true},
							   {.k = 100000, .filter = filter}};

	model_random_vector(&pair->rng, queries[0], DIM);
	model_random_vector(&pair->rng, queries[1], DIM);
	for (int i = 0; i < 2; i++)
	{
		IqdbResult *results[2];

		for (int j = 0; j < 2; j++)
			assert_int_equal(iqdb_search_query(pair->db[j], queries[0], DIM, &settings[i], &results[j], NULL), IQDB_OK);
		assert_same(results[0], results[1]);
		for (int j = 0; j < 2; j++)
			iqdb_result_free(results[j]);
	}
	{
		IqdbResult *results[2][2];

		for (int j = 0; j < 2; j++)
			assert_int_equal(iqdb_search_batch_with(pair->db[j], queries, 2, DIM, 100000, filter, results[j], NULL), IQDB_OK);
		for (int i = 0; i < 2; i++)
		{
			assert_same(results[0][i], results[1][i]);
			iqdb_result_free(results[0][i]);
			iqdb_result_free(results[1][i]);
		}
	}
	iqdb_filter_free(&iqdb_allocator_libc, filter);
}

static void
count_finding(void *arg, const char *what)
{
	(*(size_t *) arg)++;
	print_message("found: %s\n", what);
}

static void
assert_sound(Iqdb *db)
{
	size_t findings = 0;

	assert_int_equal(iqdb_check(db, count_finding, &findings, NULL), IQDB_OK);
	assert_int_equal(findings, 0);
}

static void
fields_change_no_answer(void **state)
{
	IqdbRng rng;

	(void) state;
	iqdb_rng_seed(&rng, SEED + 2);
	for (int round = 0; round < 24; round++)
	{
		IqdbField fields[NAMES];
		size_t    count = random_fields(&rng, fields);
		bool      ends = round % 2 == 0;
		Pair      pair;

		pair_start(&pair, (IqdbEngineKind) (round / 2 % 3), ends ? fields : model_fields, ends ? count : 4, ends,
				   SEED + (uint64_t) round);
		for (int i = 0; i < 100; i++)
		{
			bool deleted[2];

			pair_write(&pair);
			if (i % 4 == 0)
			{
				IqdbId id = iqdb_id_u64(iqdb_rng_below(&pair.rng, 400));

				for (int j = 0; j < 2; j++)
					assert_int_equal(iqdb_delete(pair.db[j], id, &deleted[j], NULL), IQDB_OK);
				assert_int_equal(deleted[0], deleted[1]);
			}
			pair_search(&pair);
			if (i % 25 == 24)
			{
				assert_sound(pair.db[1]);
				pair_reopen(&pair);
				assert_sound(pair.db[1]);
			}
		}
		pair_end(&pair);
	}
}

/* ---- files ---- */

static IqdbStatus
try_open(const IqdbConfig *config, IqdbError *err)
{
	Iqdb      *db;
	IqdbStatus status = iqdb_open("db", config, &db, err);

	iqdb_abandon(db);
	return status;
}

static void
fields_are_part_of_the_shape(void **state)
{
	static const IqdbField reversed[] = {{"weight", 6, IQDB_VALUE_FLOAT},
										 {"name", 4, IQDB_VALUE_STRING},
										 {"kind", 4, IQDB_VALUE_INT},
										 {"even", 4, IQDB_VALUE_BOOL}};
	static const IqdbField other[] = {{"kind", 4, IQDB_VALUE_FLOAT}};
	IoCrash               *fs = io_crash_create();
	IqdbConfig             config = iqdb_config_default(IQDB_ENGINE_FLAT, DIM, IQDB_METRIC_L2);
	const IqdbField       *found;
	Iqdb                  *db;
	IqdbError              err;

	(void) state;
	config.io = io_crash_io(fs);
	config.fields = model_fields;
	config.field_count = 4;
	assert_int_equal(iqdb_open("db", &config, &db, &err), IQDB_OK);
	assert_int_equal(iqdb_fields(db, &found), 4);
	assert_memory_equal(found[0].name, "even", 4);
	assert_int_equal(found[0].kind, IQDB_VALUE_BOOL);
	assert_int_equal(iqdb_close(db, NULL), IQDB_OK);
	/* with a snapshot, and by a log alone */
	for (int log_alone = 0; log_alone < 2; log_alone++)
	{
		config.fields = reversed;
		config.field_count = 4;
		assert_int_equal(try_open(&config, &err), IQDB_OK);
		config.field_count = 0;
		assert_int_equal(try_open(&config, &err), IQDB_OK);
		config.fields = other;
		config.field_count = 1;
		if (log_alone)
			assert_int_equal(config.io->unlink(config.io->arg, "db"), 0);
		assert_int_equal(try_open(&config, &err), IQDB_ERR_CONFIG);
		assert_string_equal(err.message, "the database has columns for 4 fields, and no \"kind\" of that kind; give those it "
										 "was made with, or none");
		config.fields = reversed;
		assert_int_equal(try_open(&config, &err), IQDB_ERR_CONFIG);
		assert_string_equal(err.message, "the database has columns for 4 fields, and also \"even\" of that kind; give those it "
										 "was made with, or none");
	}
	io_crash_destroy(fs);
}

static void
columns_come_from_fields_alone(void **state)
{
	IoCrash   *fs = io_crash_create();
	IqdbConfig config = iqdb_config_default(IQDB_ENGINE_FLAT, DIM, IQDB_METRIC_L2);
	Iqdb      *db;
	IqdbError  err;

	(void) state;
	config.io = io_crash_io(fs);
	config.options.column_count = 1;
	config.options.columns[0] = IQDB_COLUMN_INT4;
	assert_int_equal(iqdb_open_in_memory(&config, &db, &err), IQDB_ERR_CONFIG);
	assert_int_equal(try_open(&config, &err), IQDB_ERR_CONFIG);
	/* a database without fields takes none later, and its files are of the version before */
	config.options.column_count = 0;
	config.options.columns[0] = 0;
	assert_int_equal(try_open(&config, &err), IQDB_OK);
	config.fields = model_fields;
	config.field_count = 2;
	assert_int_equal(try_open(&config, &err), IQDB_ERR_CONFIG);
	for (int file = 0; file < 2; file++)
	{
		size_t               length;
		const unsigned char *bytes = io_crash_content(fs, file == 0 ? "db" : "db.wal", &length);

		/* identity at 128 in both, its version at 8 in it */
		assert_true(length >= 128 + 12);
		assert_memory_equal(bytes + 128, "IQDBEMBD\2\0\0\0", 12);
	}
	io_crash_destroy(fs);
}

/* A value is put into a column that does not belong there: verification tells, and a snapshot that has it is damaged. */
static void
columns_that_lie_are_found(void **state)
{
	Pair             pair;
	IqdbColumnValues values;
	IqdbStore       *store;
	size_t           findings = 0;
	IqdbError        err;
	Iqdb            *db;

	(void) state;
	pair_start(&pair, IQDB_ENGINE_FLAT, model_fields, 4, false, SEED);
	for (int i = 0; i < 10; i++)
		pair_write(&pair);
	assert_sound(pair.db[1]);
	store = &pair.db[1]->index.store;
	iqdb_columns_get(&store->header->columns, store->columns, 3, &values);
	values.values[1] = 12345;
	values.nulls &= ~2u;
	iqdb_columns_set(&store->header->columns, store->columns, 3, &values);
	assert_int_equal(iqdb_check(pair.db[1], count_finding, &findings, NULL), IQDB_OK);
	assert_int_equal(findings, 1);
	assert_int_equal(iqdb_close(pair.db[1], NULL), IQDB_OK);
	assert_int_equal(iqdb_open("fields", &pair.config[1], &db, &err), IQDB_ERR_CORRUPT);
	assert_string_equal(err.message, "the columns of slot 3 do not agree with its metadata");
	assert_string_equal(err.file, "fields");
	assert_int_equal(iqdb_close(pair.db[0], NULL), IQDB_OK);
	io_crash_destroy(pair.fs);
}

static void
damage_is_found(void **state)
{
	Pair pair;

	(void) state;
	pair_start(&pair, IQDB_ENGINE_FLAT, model_fields, 4, false, SEED);
	for (int i = 0; i < 3; i++)
		pair_write(&pair);
	assert_int_equal(iqdb_close(pair.db[1], NULL), IQDB_OK);
	for (int file = 0; file < 2; file++)
	{
		const char          *path = file == 0 ? "fields" : "fields.wal";
		size_t               length;
		const unsigned char *content = io_crash_content(pair.fs, path, &length);
		unsigned char       *bytes = malloc(length);

		assert_non_null(bytes);
		memcpy(bytes, content, length);
		/* the headers, with the fields in them */
		for (size_t i = 0; i < 512; i++)
		{
			IqdbStatus status;
			Iqdb      *db;

			bytes[i] ^= 0x04;
			io_crash_put(pair.fs, path, bytes, length);
			bytes[i] ^= 0x04;
			status = iqdb_open("fields", &pair.config[1], &db, NULL);
			/* the header of a log that holds no frames may be one whose making did not end */
			assert_true(status == IQDB_ERR_CORRUPT || status == IQDB_ERR_VERSION || (file == 1 && status == IQDB_OK));
			iqdb_abandon(db);
		}
		io_crash_put(pair.fs, path, bytes, length);
		free(bytes);
	}
	assert_int_equal(iqdb_close(pair.db[0], NULL), IQDB_OK);
	io_crash_destroy(pair.fs);
}

/* ---- files of format version 3 ---- */

/* A number, a string, and a real one that every third row has not, and that is of another kind in every fourth. */
static void
put_row(Iqdb *db, uint64_t id)
{
	float               vector[DIM] = {(float) id, (float) (id % 7), -1.5f};
	IqdbMetadataBuilder builder;
	unsigned char      *metadata;
	size_t              length;
	IqdbValue           number = iqdb_value_int((int64_t) id - 20);
	IqdbValue           string = iqdb_value_string("kind-0123456789", 6 + (uint32_t) (id % 9));
	IqdbValue           real = id % 4 == 0 ? iqdb_value_bool(true) : iqdb_value_float((double) id / 3);

	iqdb_metadata_builder_init(&builder, NULL);
	assert_int_equal(iqdb_metadata_put(&builder, "a", 1, &number, NULL), IQDB_OK);
	assert_int_equal(iqdb_metadata_put(&builder, "kind", 4, &string, NULL), IQDB_OK);
	if (id % 3 != 0)
		assert_int_equal(iqdb_metadata_put(&builder, "ab", 2, &real, NULL), IQDB_OK);
	assert_int_equal(iqdb_metadata_finish(&builder, &metadata, &length, NULL), IQDB_OK);
	iqdb_metadata_builder_free(&builder);
	assert_int_equal(iqdb_upsert(db, iqdb_id_u64(id), vector, DIM, metadata, length, NULL), IQDB_OK);
	iqdb_free(&iqdb_allocator_libc, metadata, length);
}

/* How many rows have a number of at most this. */
static size_t
count_up_to(Iqdb *db, int64_t most)
{
	IqdbFilterBuilder builder;
	IqdbValue         value = iqdb_value_int(most);
	IqdbFilter       *filter;
	IqdbResult       *result;
	float             query[DIM] = {0};
	size_t            count;

	iqdb_filter_builder_init(&builder, NULL);
	assert_int_equal(iqdb_filter_finish(&builder, iqdb_filter_lte(&builder, "a", 1, &value), &filter, NULL), IQDB_OK);
	iqdb_filter_builder_free(&builder);
	assert_int_equal(iqdb_search_with(db, query, DIM, 100, filter, &result, NULL), IQDB_OK);
	count = result->count;
	iqdb_result_free(result);
	iqdb_filter_free(NULL, filter);
	return count;
}

static void
files_of_version_3_are_read_and_written(void **state)
{
	static const IqdbField fields[] = {{.name = "a", .name_length = 1, .kind = IQDB_VALUE_INT},
									   {.name = "ab", .name_length = 2, .kind = IQDB_VALUE_FLOAT},
									   {.name = "kind", .name_length = 4, .kind = IQDB_VALUE_STRING}};
	IoCrash               *fs = io_crash_create();
	IqdbConfig             config = iqdb_config_default(IQDB_ENGINE_FLAT, DIM, IQDB_METRIC_L2);
	Iqdb                  *db;

	(void) state;
	config.io = io_crash_io(fs);
	config.fields = fields;
	config.field_count = 3;
	assert_int_equal(iqdb_open("db", &config, &db, NULL), IQDB_OK);
	for (uint64_t id = 0; id < 30; id++)
		put_row(db, id);
	assert_int_equal(iqdb_close(db, NULL), IQDB_OK);
	assert_int_equal(iqdb_open("db", &config, &db, NULL), IQDB_OK);
	for (uint64_t id = 30; id < 40; id++)
		put_row(db, id);
	iqdb_abandon(db);

	assert_true(fixture_is_written(fs, "db", "embedded-v3-fields.iqdb"));
	assert_true(fixture_is_written(fs, "db.wal", "embedded-v3-fields.iqdb.wal"));
	assert_int_equal(iqdb_open("db", &config, &db, NULL), IQDB_OK);
	assert_int_equal(count_up_to(db, INT64_MAX), 40);
	assert_int_equal(count_up_to(db, 12), 33);
	assert_int_equal(count_up_to(db, -21), 0);
	assert_sound(db);
	iqdb_abandon(db);
	io_crash_destroy(fs);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(filters_say_what_they_say_of_metadata),
		cmocka_unit_test(comparisons_are_decided_by_columns),
		cmocka_unit_test(filters_that_are_too_wide_are_right),
		cmocka_unit_test(lists_of_fields_are_checked),
		cmocka_unit_test(lists_of_fields_that_lie_are_refused),
		cmocka_unit_test(fields_change_no_answer),
		cmocka_unit_test(fields_are_part_of_the_shape),
		cmocka_unit_test(columns_come_from_fields_alone),
		cmocka_unit_test(columns_that_lie_are_found),
		cmocka_unit_test(damage_is_found),
		cmocka_unit_test(files_of_version_3_are_read_and_written),
	};

	print_message("seed %llu\n", (unsigned long long) SEED);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
