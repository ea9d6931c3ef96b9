/*
 * options.c - defaults and ranges of an index's options.
 *
 * Does not own: which engines a build has (db/engines.c), nor how options are written to disk (db/index_codec.c).
 */
#include "core/engine/options.h"

#include <string.h>

#define DEFAULT_SEED UINT64_C(0xdeadbeefcafef00d)

#define HNSW_M_MIN 2
#define HNSW_M_MAX 128
#define HNSW_EF_CONSTRUCTION_MAX 4000
#define HNSW_EF_SEARCH_MAX 100000
#define IVF_LISTS_MAX 1000000
#define PQ_REFINE_MAX 10000

/* Graphs have 448 signs of the fewest components, and rank all that the beam has kept; lists have one a component. */
#define HNSW_SIGNS_DIMENSION 4
#define IVF_SIGNS_DIMENSION 64

/* Codes of 8 bits, and of signs, stand for sums of products; the metrics that rank by one. */
static bool
sq8_possible(uint32_t metric)
{
	return iqdb_metric_traits(metric) != NULL && iqdb_metric_traits(metric)->by_products;
}

/* Product codes need a metric that adds up over sub-vectors. */
static bool
pq_possible(uint32_t metric)
{
	return iqdb_metric_traits(metric) != NULL && iqdb_metric_traits(metric)->by_components;
}

const char *
iqdb_quantization_name(uint32_t quantization)
{
	static const char *const names[] = {"none", "sq8", "pq", "bq"};

	return quantization < sizeof(names) / sizeof(names[0]) ? names[quantization] : "unknown";
}

IqdbIndexOptions
iqdb_index_options_default(IqdbEngineKind engine, uint32_t dimension, IqdbMetric metric)
{
	IqdbIndexOptions options;

	memset(&options, 0, sizeof(options));
	options.dimension = dimension;
	options.metric = (uint32_t) metric;
	options.engine = (uint32_t) engine;
	options.quantization = IQDB_QUANTIZATION_NONE;
	if (engine == IQDB_ENGINE_FLAT)
		return options;
	options.seed = DEFAULT_SEED;
	if (sq8_possible((uint32_t) metric))
		options.quantization = IQDB_QUANTIZATION_SQ8;
	if (engine == IQDB_ENGINE_HNSW)
	{
		options.m = 16;
		options.ef_construction = 200;
		options.ef_search = 64;
	}
	else
	{
		options.training_sample = 65536;
		options.refine = 4;
	}
	return options;
}

void
iqdb_index_options_of_element(IqdbIndexOptions *options, IqdbElementKind element)
{
	options->element = (uint32_t) element;
	if (!iqdb_element(options->element)->has_numbers)
		options->quantization = IQDB_QUANTIZATION_NONE;
}

uint32_t
iqdb_index_options_dimension_wanted(const IqdbIndexOptions *options)
{
	if (options->quantization != IQDB_QUANTIZATION_BQ)
		return 0;
	return options->engine == IQDB_ENGINE_HNSW ? HNSW_SIGNS_DIMENSION : IVF_SIGNS_DIMENSION;
}

bool
iqdb_index_options_on_disk(const IqdbIndexOptions *options)
{
	if (options->vectors != IQDB_VECTORS_AUTO)
		return options->vectors == IQDB_VECTORS_DISK;
	return options->quantization == IQDB_QUANTIZATION_PQ || options->quantization == IQDB_QUANTIZATION_BQ;
}

static IqdbStatus
check_range(const char *name, uint64_t value, uint64_t min, uint64_t max, IqdbError *err)
{
	if (value < min || value > max)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "option %s is %llu, it must be between %llu and %llu", name,
						 (unsigned long long) value, (unsigned long long) min, (unsigned long long) max);
	return IQDB_OK;
}

static IqdbStatus
check_hnsw(const IqdbIndexOptions *options, IqdbError *err)
{
	IQDB_TRY(check_range("m", options->m, HNSW_M_MIN, HNSW_M_MAX, err));
	IQDB_TRY(check_range("ef_construction", options->ef_construction, 2 * (uint64_t) options->m,
						 HNSW_EF_CONSTRUCTION_MAX, err));
	return check_range("ef_search", options->ef_search, 1, HNSW_EF_SEARCH_MAX, err);
}

static IqdbStatus
check_ivf(const IqdbIndexOptions *options, IqdbError *err)
{
	uint64_t probes_max = options->lists > 0 ? options->lists : IVF_LISTS_MAX;

	IQDB_TRY(check_range("lists", options->lists, 0, IVF_LISTS_MAX, err));
	IQDB_TRY(check_range("probes", options->probes, 0, probes_max, err));
	return check_range("training_sample", options->training_sample, 1, UINT32_MAX, err);
}

static IqdbStatus
check_vectors(const IqdbIndexOptions *options, IqdbError *err)
{
	const IqdbElement      *element = iqdb_element(options->element);
	const IqdbMetricTraits *metric = iqdb_metric_traits(options->metric);

	if (element == NULL)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "element %u is unknown", options->element);
	IQDB_TRY(check_range("dimension", options->dimension, 1, element->dimension_max, err));
	if (metric == NULL)
		return iqdb_fail(err, IQDB_ERR_METRIC, "metric %u is unknown", options->metric);
	if ((metric->elements & 1u << element->kind) == 0)
		return iqdb_fail(err, IQDB_ERR_METRIC, "metric %s is not possible with vectors of %s", metric->name, element->name);
	if (options->quantization != IQDB_QUANTIZATION_NONE && !element->has_numbers)
		return iqdb_fail(err, IQDB_ERR_UNSUPPORTED, "quantization %s is not possible with vectors of %s, only none is",
						 iqdb_quantization_name(options->quantization), element->name);
	if (options->vectors > IQDB_VECTORS_DISK)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "place of vectors %u is unknown", options->vectors);
	return IQDB_OK;
}

static IqdbStatus
check_quantization(const IqdbIndexOptions *options, IqdbError *err)
{
	const char *metric = iqdb_metric_name((IqdbMetric) options->metric);

	switch (options->quantization)
	{
		case IQDB_QUANTIZATION_NONE:
			return IQDB_OK;
		case IQDB_QUANTIZATION_SQ8:
			if (!sq8_possible(options->metric))
				return iqdb_fail(err, IQDB_ERR_METRIC, "quantization sq8 is not possible with metric %s", metric);
			return IQDB_OK;
		case IQDB_QUANTIZATION_PQ:
			if (options->engine == IQDB_ENGINE_HNSW)
				return iqdb_fail(err, IQDB_ERR_UNSUPPORTED,
								 "quantization pq is possible with engine ivf only; hnsw has none, sq8 and bq");
			if (options->engine != IQDB_ENGINE_IVF)
				return iqdb_fail(err, IQDB_ERR_UNSUPPORTED, "quantization pq is possible with engine ivf only");
			if (!pq_possible(options->metric))
				return iqdb_fail(err, IQDB_ERR_METRIC, "quantization pq is not possible with metric %s", metric);
			if (options->pq_subvectors != 0 && options->dimension % options->pq_subvectors != 0)
				return iqdb_fail(err, IQDB_ERR_CONFIG, "option pq_subvectors is %u, it must divide the dimension %u",
								 options->pq_subvectors, options->dimension);
			return check_range("refine", options->refine, 0, PQ_REFINE_MAX, err);
		case IQDB_QUANTIZATION_BQ:
			if (options->engine == IQDB_ENGINE_FLAT)
				return iqdb_fail(err, IQDB_ERR_UNSUPPORTED, "quantization bq is possible with engines hnsw and ivf only");
			if (!sq8_possible(options->metric))
				return iqdb_fail(err, IQDB_ERR_METRIC, "quantization bq is not possible with metric %s", metric);
			return check_range("refine", options->refine, 0, PQ_REFINE_MAX, err);
		default:
			return iqdb_fail(err, IQDB_ERR_CONFIG, "quantization %u is unknown", options->quantization);
	}
}

IqdbStatus
iqdb_index_options_check(const IqdbIndexOptions *options, IqdbError *err)
{
	IQDB_TRY(check_vectors(options, err));
	switch (options->engine)
	{
		case IQDB_ENGINE_FLAT:
			break;
		case IQDB_ENGINE_HNSW:
			IQDB_TRY(check_hnsw(options, err));
			break;
		case IQDB_ENGINE_IVF:
			IQDB_TRY(check_ivf(options, err));
			break;
		default:
			return iqdb_fail(err, IQDB_ERR_CONFIG, "engine %u is unknown", options->engine);
	}
	return check_quantization(options, err);
}
