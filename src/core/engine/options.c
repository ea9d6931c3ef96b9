/*
 * options.c - defaults and ranges of an index's options, by what elements, metrics and engines say of themselves.
 *
 * Does not own: which engines a build has (db/engines.c) and what options each has (its table), nor how options are written
 * to disk (db/index_codec.c).
 */
#include "core/engine/engine.h"

#include <stdio.h>
#include <string.h>

#define DEFAULT_SEED UINT64_C(0xdeadbeefcafef00d)

static const char *const quantization_names[] = {
	[IQDB_QUANTIZATION_NONE] = "none",
	[IQDB_QUANTIZATION_SQ8] = "sq8",
	[IQDB_QUANTIZATION_PQ] = "pq",
	[IQDB_QUANTIZATION_BQ] = "bq",
};

#define QUANTIZATIONS (sizeof(quantization_names) / sizeof(quantization_names[0]))

const char *
iqdb_quantization_name(uint32_t quantization)
{
	return quantization < QUANTIZATIONS ? quantization_names[quantization] : "unknown";
}

/* Can such codes stand for distances of the metric? */
static bool
metric_has_codes(const IqdbMetricTraits *metric, uint32_t quantization)
{
	if (quantization == IQDB_QUANTIZATION_NONE)
		return true;
	return quantization == IQDB_QUANTIZATION_PQ ? metric->by_components : metric->by_products;
}

IqdbIndexOptions
iqdb_index_options_default(IqdbEngineKind engine, uint32_t dimension, IqdbMetric metric)
{
	const IqdbEngine       *of = iqdb_engine_get((uint32_t) engine);
	const IqdbMetricTraits *traits = iqdb_metric_traits((uint32_t) metric);
	IqdbIndexOptions        options;

	memset(&options, 0, sizeof(options));
	options.dimension = dimension;
	options.metric = (uint32_t) metric;
	options.engine = (uint32_t) engine;
	if (of == NULL)
		return options;
	options.seed = of->seeded ? DEFAULT_SEED : 0;
	if (traits != NULL && metric_has_codes(traits, of->default_quantization))
		options.quantization = of->default_quantization;
	for (size_t i = 0; i < of->option_count; i++)
		*iqdb_option_value(&options, &of->options[i]) = of->options[i].initial;
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
	const IqdbEngine *engine = iqdb_engine_get(options->engine);

	return engine != NULL && options->quantization == IQDB_QUANTIZATION_BQ ? engine->signs_dimension : 0;
}

bool
iqdb_index_options_on_disk(const IqdbIndexOptions *options)
{
	if (options->vectors != IQDB_VECTORS_AUTO)
		return options->vectors == IQDB_VECTORS_DISK;
	return options->quantization == IQDB_QUANTIZATION_PQ || options->quantization == IQDB_QUANTIZATION_BQ;
}

IqdbStatus
iqdb_option_check_range(const char *name, uint64_t value, uint64_t min, uint64_t max, IqdbError *err)
{
	if (value < min || value > max)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "option %s is %llu, it must be between %llu and %llu", name,
						 (unsigned long long) value, (unsigned long long) min, (unsigned long long) max);
	return IQDB_OK;
}

static IqdbStatus
check_vectors(const IqdbIndexOptions *options, const IqdbElement *element, const IqdbMetricTraits *metric, IqdbError *err)
{
	if (element == NULL)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "element %u is unknown", options->element);
	IQDB_TRY(iqdb_option_check_range("dimension", options->dimension, 1, element->dimension_max, err));
	if (metric == NULL)
		return iqdb_fail(err, IQDB_ERR_METRIC, "metric %u is unknown", options->metric);
	if ((metric->elements & 1u << element->kind) == 0)
		return iqdb_fail(err, IQDB_ERR_METRIC, "metric %s is not possible with vectors of %s", metric->name, element->name);
	if (options->vectors > IQDB_VECTORS_DISK)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "place of vectors %u is unknown", options->vectors);
	return IQDB_OK;
}

static IqdbStatus
check_columns(const IqdbIndexOptions *options, IqdbError *err)
{
	IQDB_TRY(iqdb_option_check_range("column_count", options->column_count, 0, IQDB_COLUMNS_MAX, err));
	for (uint32_t i = 0; i < IQDB_COLUMNS_MAX; i++)
	{
		if (i < options->column_count ? iqdb_column_width(options->columns[i]) == 0 : options->columns[i] != 0)
			return iqdb_fail(err, IQDB_ERR_CONFIG, "kind %u of column %u is unknown", options->columns[i], i + 1);
	}
	return IQDB_OK;
}

/* "none, sq8 and bq" */
static void
name_quantizations(uint32_t quantizations, char *text, size_t size)
{
	size_t used = 0;

	text[0] = '\0';
	for (uint32_t i = 0; i < QUANTIZATIONS && used < size; i++)
	{
		const char *between = used == 0 ? "" : (quantizations >> i) == 1 ? " and " : ", ";

		if ((quantizations & 1u << i) != 0)
			used += (size_t) snprintf(text + used, size - used, "%s%s", between, quantization_names[i]);
	}
}

static IqdbStatus
check_quantization(const IqdbIndexOptions *options, const IqdbEngine *engine, const IqdbElement *element,
				   const IqdbMetricTraits *metric, IqdbError *err)
{
	const char *name = iqdb_quantization_name(options->quantization);
	char        possible[40];

	if (options->quantization >= QUANTIZATIONS)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "quantization %u is unknown", options->quantization);
	if (options->quantization != IQDB_QUANTIZATION_NONE && !element->has_numbers)
		return iqdb_fail(err, IQDB_ERR_UNSUPPORTED, "quantization %s is not possible with vectors of %s, only none is", name,
						 element->name);
	name_quantizations(engine->quantizations, possible, sizeof(possible));
	if ((engine->quantizations & 1u << options->quantization) == 0)
		return iqdb_fail(err, IQDB_ERR_UNSUPPORTED, "quantization %s is not possible with engine %s, which has %s", name,
						 engine->name, possible);
	if (!metric_has_codes(metric, options->quantization))
		return iqdb_fail(err, IQDB_ERR_METRIC, "quantization %s is not possible with metric %s", name, metric->name);
	return IQDB_OK;
}

IqdbStatus
iqdb_index_options_check(const IqdbIndexOptions *options, IqdbError *err)
{
	const IqdbEngine       *engine = iqdb_engine_get(options->engine);
	const IqdbElement      *element = iqdb_element(options->element);
	const IqdbMetricTraits *metric = iqdb_metric_traits(options->metric);
	IqdbIndexOptions        values = *options;

	IQDB_TRY(check_vectors(options, element, metric, err));
	IQDB_TRY(check_columns(options, err));
	if (engine == NULL)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "engine %u is unknown", options->engine);
	for (size_t i = 0; i < engine->option_count; i++)
		IQDB_TRY(iqdb_option_check_range(engine->options[i].name, *iqdb_option_value(&values, &engine->options[i]),
										 engine->options[i].min, engine->options[i].max, err));
	IQDB_TRY(check_quantization(options, engine, element, metric, err));
	return engine->check_options != NULL ? engine->check_options(options, err) : IQDB_OK;
}

/* ---- what is fixed when an index is built ---- */

static bool
same_columns(const IqdbIndexOptions *a, const IqdbIndexOptions *b)
{
	return a->column_count == b->column_count && memcmp(a->columns, b->columns, sizeof(a->columns)) == 0;
}

bool
iqdb_index_options_same_shape(const IqdbIndexOptions *a, const IqdbIndexOptions *b)
{
	const IqdbEngine *engine = iqdb_engine_get(a->engine);
	IqdbIndexOptions  values_a = *a;
	IqdbIndexOptions  values_b = *b;

	if (engine == NULL || a->element != b->element || a->dimension != b->dimension || a->metric != b->metric ||
		a->engine != b->engine || a->quantization != b->quantization || !same_columns(a, b))
		return false;
	for (size_t i = 0; i < engine->option_count; i++)
	{
		const IqdbOption *option = &engine->options[i];

		if (option->shapes && *iqdb_option_value(&values_a, option) != *iqdb_option_value(&values_b, option))
			return false;
	}
	return true;
}

bool
iqdb_index_options_as_built(IqdbIndexOptions *wanted, const IqdbIndexOptions *built)
{
	const IqdbEngine *engine = iqdb_engine_get(built->engine);
	IqdbIndexOptions  values = *built;
	uint32_t          vectors = wanted->vectors;

	if (engine == NULL || wanted->element != built->element || wanted->dimension != built->dimension ||
		wanted->metric != built->metric || wanted->engine != built->engine || !same_columns(wanted, built))
		return false;
	wanted->quantization = built->quantization;
	for (size_t i = 0; i < engine->option_count; i++)
	{
		if (engine->options[i].shapes)
			*iqdb_option_value(wanted, &engine->options[i]) = *iqdb_option_value(&values, &engine->options[i]);
	}
	if (iqdb_index_options_check(wanted, NULL) != IQDB_OK)
	{
		/* such as more probes than there are lists */
		*wanted = *built;
		wanted->vectors = vectors;
	}
	return true;
}
