/*
 * pg_options.c - see pg_options.h.
 */
#include "postgres.h"

#include "access/amapi.h"
#include "access/genam.h"
#include "access/reloptions.h"
#include "commands/defrem.h"
#include "fmgr.h"
#include "utils/lsyscache.h"

#include "pg/pg_am.h"
#include "pg/pg_bridge.h"
#include "pg/pg_compat.h"
#include "pg/pg_journal.h"
#include "pg/pg_options.h"
#include "pg/pg_settings.h"
#include "pg/pg_type.h"

static relopt_kind flat_kind;
static relopt_kind hnsw_kind;
static relopt_kind ivf_kind;

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

static void
add_common(relopt_kind kind)
{
	add_enum_reloption(kind, "vectors", "Where full vectors lie while the index is in use", vectors_values,
					   IQDB_VECTORS_AUTO, "Valid values are \"auto\", \"memory\" and \"disk\".", AccessExclusiveLock);
	add_enum_reloption(kind, "compression", "Compression of snapshots", compression_values, IQDB_COMPRESSION_NONE,
					   "Valid values are \"none\", \"lz4\" and \"zstd\".", AccessExclusiveLock);
	add_int_reloption(kind, "compression_level", "Level of zstd compression", IQDB_ZSTD_LEVEL_DEFAULT, 1,
					  IQDB_ZSTD_LEVEL_MAX, AccessExclusiveLock);
	add_enum_reloption(kind, "quantization", "Codes that a search reads before full vectors", quantization_values, -1,
					   "Valid values are \"auto\", \"none\", \"sq8\", \"pq\" and \"bq\".", AccessExclusiveLock);
}

static void
add_seed(relopt_kind kind)
{
	add_int_reloption(kind, "seed", "Seed of everything random in the index", 0, PG_INT32_MIN, PG_INT32_MAX,
					  AccessExclusiveLock);
}

void
iqdb_pg_define_options(void)
{
	flat_kind = add_reloption_kind();
	add_common(flat_kind);

	hnsw_kind = add_reloption_kind();
	add_common(hnsw_kind);
	add_seed(hnsw_kind);
	add_int_reloption(hnsw_kind, "m", "Max number of connections", 16, 2, 128, AccessExclusiveLock);
	add_int_reloption(hnsw_kind, "ef_construction", "Size of the dynamic candidate list for construction", 200, 4, 4000,
					  AccessExclusiveLock);
	add_int_reloption(hnsw_kind, "ef_search", "Size of the dynamic candidate list for search", 64, 1, 100000,
					  AccessExclusiveLock);

	ivf_kind = add_reloption_kind();
	add_common(ivf_kind);
	add_seed(ivf_kind);
	add_int_reloption(ivf_kind, "lists", "Number of lists, 0 = automatic", 0, 0, 1000000, AccessExclusiveLock);
	add_int_reloption(ivf_kind, "probes", "Lists that a search opens first, 0 = automatic", 0, 0, 1000000,
					  AccessExclusiveLock);
	add_int_reloption(ivf_kind, "training_sample", "Rows that lists are trained on", 65536, 1, PG_INT32_MAX,
					  AccessExclusiveLock);
	add_int_reloption(ivf_kind, "pq_subvectors", "Parts a vector is cut into by pq, 0 = automatic", 0, 0, 16000,
					  AccessExclusiveLock);
	add_int_reloption(ivf_kind, "refine", "Rows re-ranked exactly per row wanted", 4, 0, 10000, AccessExclusiveLock);
}

#define OPTION(name, type) {#name, type, offsetof(IqdbPgOptions, name)}
#define COMMON_OPTIONS \
	OPTION(vectors, RELOPT_TYPE_ENUM), \
	OPTION(compression, RELOPT_TYPE_ENUM), \
	OPTION(compression_level, RELOPT_TYPE_INT), \
	OPTION(quantization, RELOPT_TYPE_ENUM)

bytea *
iqdb_pg_flat_options(Datum reloptions, bool validate)
{
	static const relopt_parse_elt table[] = {COMMON_OPTIONS};

	return (bytea *) build_reloptions(reloptions, validate, flat_kind, sizeof(IqdbPgOptions), table, lengthof(table));
}

static void
check_graph_options(const IqdbPgOptions *options)
{
	if (options->ef_construction < 2 * options->m)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("ef_construction must be greater than or equal to 2 * m")));
}

bytea *
iqdb_pg_hnsw_options(Datum reloptions, bool validate)
{
	static const relopt_parse_elt table[] = {
		COMMON_OPTIONS,
		OPTION(m, RELOPT_TYPE_INT),
		OPTION(ef_construction, RELOPT_TYPE_INT),
		OPTION(ef_search, RELOPT_TYPE_INT),
		OPTION(seed, RELOPT_TYPE_INT),
	};

	bytea	   *options = (bytea *) build_reloptions(reloptions, validate, hnsw_kind, sizeof(IqdbPgOptions), table,
													 lengthof(table));

	/* what CREATE INDEX would refuse, ALTER INDEX does as well */
	if (validate && options != NULL)
		check_graph_options((const IqdbPgOptions *) options);
	return options;
}

bytea *
iqdb_pg_ivf_options(Datum reloptions, bool validate)
{
	static const relopt_parse_elt table[] = {
		COMMON_OPTIONS,
		OPTION(lists, RELOPT_TYPE_INT),
		OPTION(probes, RELOPT_TYPE_INT),
		OPTION(training_sample, RELOPT_TYPE_INT),
		OPTION(pq_subvectors, RELOPT_TYPE_INT),
		OPTION(refine, RELOPT_TYPE_INT),
		OPTION(seed, RELOPT_TYPE_INT),
	};

	return (bytea *) build_reloptions(reloptions, validate, ivf_kind, sizeof(IqdbPgOptions), table, lengthof(table));
}

IqdbEngineKind
iqdb_pg_engine_kind(Relation index)
{
	amoptions_function amoptions = index->rd_indam->amoptions;

	if (amoptions == iqdb_pg_hnsw_options)
		return IQDB_ENGINE_HNSW;
	if (amoptions == iqdb_pg_ivf_options)
		return IQDB_ENGINE_IVF;
	return IQDB_ENGINE_FLAT;
}

IqdbIndexOptions
iqdb_pg_apply_options(IqdbIndexOptions options, const IqdbPgOptions *given)
{
	if (given == NULL)
		return options;
	options.vectors = (uint32) given->vectors;
	if (options.engine == IQDB_ENGINE_HNSW)
	{
		options.m = (uint32) given->m;
		options.ef_construction = (uint32) given->ef_construction;
		options.ef_search = (uint32) given->ef_search;
	}
	if (options.engine == IQDB_ENGINE_IVF)
	{
		options.lists = (uint32) given->lists;
		options.probes = (uint32) given->probes;
		options.training_sample = (uint32) given->training_sample;
		options.pq_subvectors = (uint32) given->pq_subvectors;
		options.refine = (uint32) given->refine;
	}
	if (given->quantization >= 0)
		options.quantization = (uint32) given->quantization;
	if (options.engine != IQDB_ENGINE_FLAT && given->seed != 0)
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
