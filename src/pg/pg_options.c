/*
 * pg_options.c - see pg_options.h.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/reloptions.h"
#include "commands/defrem.h"
#include "fmgr.h"
#include "utils/lsyscache.h"

#include "pg/pg_am.h"
#include "pg/pg_bridge.h"
#include "pg/pg_column.h"
#include "pg/pg_compat.h"
#include "pg/pg_journal.h"
#include "pg/pg_options.h"
#include "pg/pg_settings.h"
#include "pg/pg_type.h"

/* What WITH accepts for each engine's method. */
typedef struct Method
{
	relopt_kind kind;
	relopt_parse_elt table[IQDB_PG_COMMON_OPTIONS + IQDB_PG_OWN_OPTIONS];
	int			count;
} Method;

static Method methods[IQDB_ENGINE_COUNT];

static relopt_enum_elt_def compression_values[] = {
	{"none", IQDB_COMPRESSION_NONE},
	{"lz4", IQDB_COMPRESSION_LZ4},
	{"zstd", IQDB_COMPRESSION_ZSTD},
	{NULL, 0}
};

static relopt_enum_elt_def quantization_values[] = {
	{"auto", -1},
	{"none", IQDB_QUANTIZATION_NONE},
	{"sq8", IQDB_QUANTIZATION_SQ8},
	{"pq", IQDB_QUANTIZATION_PQ},
	{"bq", IQDB_QUANTIZATION_BQ},
	{NULL, 0}
};

static relopt_enum_elt_def vectors_values[] = {
	{"auto", IQDB_VECTORS_AUTO},
	{"memory", IQDB_VECTORS_MEMORY},
	{"disk", IQDB_VECTORS_DISK},
	{NULL, 0}
};

static relopt_enum_elt_def cache_policy_values[] = {
	{"lru", IQDB_CACHE_LRU},
	{"lfu", IQDB_CACHE_LFU},
	{"fifo", IQDB_CACHE_FIFO},
	{"arc", IQDB_CACHE_ARC},
	{NULL, 0}
};

/* Answers of an index that may be remembered at once. */
#define CACHE_CAPACITY_MAX 1000000

static void
add_parse(Method *method, const char *name, relopt_type type, Size offset)
{
	method->table[method->count++] = (relopt_parse_elt) {.optname = name, .opttype = type, .offset = (int) offset};
}

static void
add_enum(Method *method, const char *name, const char *help, relopt_enum_elt_def *values, int initial, const char *valid,
		 Size offset)
{
	add_enum_reloption(method->kind, name, help, values, initial, valid, AccessExclusiveLock);
	add_parse(method, name, RELOPT_TYPE_ENUM, offset);
}

static void
add_integer(Method *method, const char *name, const char *help, int initial, int min, int max, Size offset)
{
	add_int_reloption(method->kind, name, help, initial, min, max, AccessExclusiveLock);
	add_parse(method, name, RELOPT_TYPE_INT, offset);
}

static void
define_cache(Method *method)
{
	add_integer(method, "cache_capacity", "Answers of searches that are remembered until the index changes", 0, 0,
				CACHE_CAPACITY_MAX, offsetof(IqdbPgOptions, cache_capacity));
	add_enum(method, "cache_policy", "Which answer goes first when there are too many", cache_policy_values, IQDB_CACHE_LRU,
			 "Valid values are \"lru\", \"lfu\", \"fifo\" and \"arc\".", offsetof(IqdbPgOptions, cache_policy));
	add_integer(method, "cache_ttl", "Milliseconds after which an answer is too old", 0, 0, PG_INT32_MAX,
				offsetof(IqdbPgOptions, cache_ttl));
}

static void
define_method(Method *method, const IqdbEngine *engine)
{
	method->kind = add_reloption_kind();
	add_enum(method, "vectors", "Where full vectors lie while the index is in use", vectors_values, IQDB_VECTORS_AUTO,
			 "Valid values are \"auto\", \"memory\" and \"disk\".", offsetof(IqdbPgOptions, vectors));
	add_enum(method, "compression", "Compression of snapshots", compression_values, IQDB_COMPRESSION_NONE,
			 "Valid values are \"none\", \"lz4\" and \"zstd\".", offsetof(IqdbPgOptions, compression));
	add_integer(method, "compression_level", "Level of zstd compression", IQDB_ZSTD_LEVEL_DEFAULT, 1, IQDB_ZSTD_LEVEL_MAX,
				offsetof(IqdbPgOptions, compression_level));
	add_enum(method, "quantization", "Codes that a search reads before full vectors", quantization_values, -1,
			 "Valid values are \"auto\", \"none\", \"sq8\", \"pq\" and \"bq\".", offsetof(IqdbPgOptions, quantization));
	define_cache(method);
	if (engine->seeded)
		add_integer(method, "seed", "Seed of everything random in the index", 0, PG_INT32_MIN, PG_INT32_MAX,
					offsetof(IqdbPgOptions, seed));
	for (size_t i = 0; i < engine->option_count; i++)
	{
		const IqdbOption *option = &engine->options[i];

		add_integer(method, option->name, option->help, (int) option->initial, (int) option->min, (int) option->max,
					offsetof(IqdbPgOptions, own) + i * sizeof(int));
	}
}

void
iqdb_pg_define_options(void)
{
	for (uint32 kind = 0; kind < IQDB_ENGINE_COUNT; kind++)
	{
		const IqdbEngine *engine = iqdb_engine_get(kind);

		if (engine->option_count > IQDB_PG_OWN_OPTIONS)
			elog(ERROR, "engine %s has %zu options, there is room for %d", engine->name, engine->option_count,
				 IQDB_PG_OWN_OPTIONS);
		define_method(&methods[kind], engine);
	}
}

bytea *
iqdb_pg_parse_options(IqdbEngineKind kind, Datum reloptions, bool validate)
{
	const IqdbEngine *engine = iqdb_engine_get(kind);
	IqdbPgOptions *given = (IqdbPgOptions *) build_reloptions(reloptions, validate, methods[kind].kind,
															  sizeof(IqdbPgOptions), methods[kind].table,
															  methods[kind].count);
	IqdbIndexOptions options;
	IqdbError	error = {0};

	/* what CREATE INDEX would refuse, ALTER INDEX does as well */
	if (validate && given != NULL && engine->check_options != NULL)
	{
		options = iqdb_pg_apply_options(iqdb_index_options_default(kind, 0, IQDB_METRIC_L2), given);
		iqdb_pg_check(engine->check_options(&options, &error), &error, NULL);
	}
	return (bytea *) given;
}

IqdbIndexOptions
iqdb_pg_apply_options(IqdbIndexOptions options, const IqdbPgOptions *given)
{
	const IqdbEngine *engine = iqdb_engine_get(options.engine);

	if (given == NULL)
		return options;
	options.vectors = (uint32) given->vectors;
	for (size_t i = 0; i < engine->option_count; i++)
		*iqdb_option_value(&options, &engine->options[i]) = (uint32) given->own[i];
	if (given->quantization >= 0)
		options.quantization = (uint32) given->quantization;
	if (engine->seeded && given->seed != 0)
		options.seed = (uint64) (int64) given->seed;
	return options;
}

/* The dimension that the column's type says, 0 if it says none. */
static uint32
column_dimension(Relation index)
{
	Form_pg_attribute column = TupleDescAttr(RelationGetDescr(index), 0);
	int32		typmod = column->atttypmod;

	/* a domain has its own */
	if (typmod < 0)
		(void) getBaseTypeAndTypmod(column->atttypid, &typmod);
	return (uint32) Max(typmod, 0);
}

/* What the operator class says of its metric. */
static int32
metric_proc(Relation index)
{
	return DatumGetInt32(FunctionCall0Coll(index_getprocinfo(index, 1, IQDB_PG_METRIC_PROC),
										   index->rd_indcollation[0]));
}

bool
iqdb_pg_zero_is_nan(Relation index)
{
	return (metric_proc(index) & IQDB_PG_METRIC_ZERO_IS_NAN) != 0;
}

uint32
iqdb_pg_dimension(Relation index)
{
	uint32		dimension = column_dimension(index);
	IqdbPgMeta	meta;

	if (dimension == 0 && iqdb_pg_journal_try_meta(index, &meta))
		dimension = meta.dimension;
	return dimension;
}

static IqdbMetric
index_metric(Relation index)
{
	return (IqdbMetric) (metric_proc(index) & ~IQDB_PG_METRIC_ZERO_IS_NAN);
}

static IqdbIndexOptions
default_options(Relation index, uint32 dimension)
{
	IqdbIndexOptions options = iqdb_index_options_default(iqdb_pg_engine_kind(index), dimension, index_metric(index));

	iqdb_index_options_of_element(&options, iqdb_pg_type(index)->element);
	iqdb_pg_columns_of_options(index, &options);
	return options;
}

IqdbIndexOptions
iqdb_pg_build_options(Relation index)
{
	uint32		dimension = column_dimension(index);
	IqdbIndexOptions options;
	IqdbError	error = {0};

	if (dimension == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("column does not have dimensions"),
				 errhint("Give the column a type with dimensions, as in %s(3), or index an expression that has "
						 "one: (column::%s(3)).", iqdb_pg_type(index)->name, iqdb_pg_type(index)->name)));
	options = iqdb_pg_apply_options(default_options(index, dimension), (const IqdbPgOptions *) index->rd_options);
	iqdb_pg_check(iqdb_index_options_check(&options, &error), &error, NULL);
	/* a search is told by iqdb_pg_search_params; what an arena was made with would outlive an ALTER INDEX that takes it back */
	options.probes = 0;
	return options;
}

IqdbIndexOptions
iqdb_pg_index_options(Relation index)
{
	IqdbIndexOptions defaults = default_options(index, iqdb_pg_dimension(index));
	IqdbIndexOptions options = iqdb_pg_apply_options(defaults, (const IqdbPgOptions *) index->rd_options);

	return iqdb_index_options_check(&options, NULL) == IQDB_OK ? options : defaults;
}

IqdbSearchParams
iqdb_pg_search_params(Relation index)
{
	IqdbIndexOptions options = iqdb_index_options_default(iqdb_pg_engine_kind(index), 0, IQDB_METRIC_L2);
	IqdbSearchParams params = {0};

	options = iqdb_pg_apply_options(options, (const IqdbPgOptions *) index->rd_options);
	params.ef = iqdb_hnsw_ef_search > 0 ? (uint32) iqdb_hnsw_ef_search : options.ef_search;
	params.probes = iqdb_ivf_probes > 0 ? (uint32) iqdb_ivf_probes : options.probes;
	return params;
}

IqdbCompression
iqdb_pg_compression(Relation index, int *level_out)
{
	const IqdbPgOptions *given = (const IqdbPgOptions *) index->rd_options;

	*level_out = given != NULL ? given->compression_level : IQDB_ZSTD_LEVEL_DEFAULT;
	return given != NULL ? (IqdbCompression) given->compression : IQDB_COMPRESSION_NONE;
}

IqdbCacheConfig
iqdb_pg_cache_config(Relation index)
{
	const IqdbPgOptions *given = (const IqdbPgOptions *) index->rd_options;
	IqdbCacheConfig config = {0};

	if (given == NULL)
		return config;
	config.capacity = (uint64) given->cache_capacity;
	config.policy = (IqdbCachePolicy) given->cache_policy;
	config.ttl_ms = (uint64) given->cache_ttl;
	return config;
}
