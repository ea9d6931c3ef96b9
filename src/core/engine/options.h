/*
 * options.h - what fixes an index's shape: element, dimension, metric, engine and the engine's own options.
 *
 * Plain data of fixed width: it lives in the arena as it is, and is written field by field into snapshots.
 */
#ifndef IQDB_ENGINE_OPTIONS_H
#define IQDB_ENGINE_OPTIONS_H

#include "core/vec/element.h"
#include <stddef.h>

/* The numbers are written to disk: never change one. */
typedef enum IqdbEngineKind
{
	IQDB_ENGINE_FLAT = 0,
	IQDB_ENGINE_HNSW = 1,
	IQDB_ENGINE_IVF = 2
} IqdbEngineKind;

#define IQDB_ENGINE_COUNT 3

typedef enum IqdbQuantization
{
	IQDB_QUANTIZATION_NONE = 0,
	IQDB_QUANTIZATION_SQ8 = 1,
	IQDB_QUANTIZATION_PQ = 2,
	IQDB_QUANTIZATION_BQ = 3
} IqdbQuantization;

/* As users write it; "unknown" for other numbers. */
const char *iqdb_quantization_name(uint32_t quantization);

/* Where full vectors lie while an index is in use: see engine/store.h. */
typedef enum IqdbVectors
{
	IQDB_VECTORS_AUTO = 0,   /* on disk where codes are far smaller (pq, bq), else in memory */
	IQDB_VECTORS_MEMORY = 1,
	IQDB_VECTORS_DISK = 2
} IqdbVectors;

typedef struct IqdbIndexOptions
{
	uint32_t dimension;       /* 1 .. the element's dimension_max */
	uint32_t metric;          /* IqdbMetric */
	uint32_t engine;          /* IqdbEngineKind */
	uint32_t quantization;    /* IqdbQuantization */
	uint64_t seed;            /* hnsw, ivf */
	uint32_t m;               /* hnsw; ranges and defaults of these stand in each engine's table of options */
	uint32_t ef_construction; /* hnsw */
	uint32_t ef_search;       /* hnsw */
	uint32_t lists;           /* ivf: 0 = automatic */
	uint32_t probes;          /* ivf: 0 = automatic, .. lists */
	uint32_t training_sample; /* ivf */
	uint32_t pq_subvectors;   /* pq: 0 = automatic, else a divisor of the dimension */
	uint32_t refine;          /* ivf with pq, bq: candidates re-ranked per wanted row; 0 = no more than wanted */
	uint32_t vectors;         /* IqdbVectors: a wish of the host, which may have no disk; no part of the shape */
	uint32_t element;         /* IqdbElementKind */
} IqdbIndexOptions;

/*
 * One option of an engine's own, a uint32_t among IqdbIndexOptions: what a host needs to offer it to users. Whether values
 * go together is for iqdb_index_options_check().
 */
typedef struct IqdbOption
{
	const char *name;
	const char *help;   /* a line for users */
	size_t      offset; /* in IqdbIndexOptions */
	uint32_t    min;
	uint32_t    max;
	uint32_t    initial; /* what it is where nobody says */
	bool        shapes;  /* decides how rows are stored: another value takes effect when the index is built anew */
} IqdbOption;

static inline uint32_t *
iqdb_option_value(IqdbIndexOptions *options, const IqdbOption *option)
{
	return (uint32_t *) (void *) ((unsigned char *) options + option->offset);
}

/* IQDB_ERR_CONFIG naming the option, its value and its range, if it is not in it. */
IqdbStatus iqdb_option_check_range(const char *name, uint64_t value, uint64_t min, uint64_t max,
								   IqdbError *err) IQDB_MUST_CHECK;

/* Default options of an engine for vectors of floats; dimension and metric as given. */
IqdbIndexOptions iqdb_index_options_default(IqdbEngineKind engine, uint32_t dimension, IqdbMetric metric);

/* Makes them those of another element: where codes cannot stand for it, there are none. */
void iqdb_index_options_of_element(IqdbIndexOptions *options, IqdbElementKind element);

/* IQDB_ERR_CONFIG / IQDB_ERR_METRIC / IQDB_ERR_UNSUPPORTED naming the option, its value and its range. */
IqdbStatus iqdb_index_options_check(const IqdbIndexOptions *options, IqdbError *err) IQDB_MUST_CHECK;

/* Shall vectors lie on disk, where the host has one? */
bool iqdb_index_options_on_disk(const IqdbIndexOptions *options);

/* Is what decides the shape of stored rows, and of the engine's part, the same? The rest may change between openings. */
bool iqdb_index_options_same_shape(const IqdbIndexOptions *a, const IqdbIndexOptions *b);

/*
 * Lets wanted options take the form of an index that was built with other ones: what decides the shape of stored rows and
 * of the engine's part is taken from `built`, all else stays as wanted where the two can go together. Element, dimension,
 * metric and engine must agree already: false if they do not.
 */
bool iqdb_index_options_as_built(IqdbIndexOptions *wanted, const IqdbIndexOptions *built);

/*
 * The dimension below which the index's codes do not tell rows apart: of 10,000 random rows, searches miss one in ten and
 * more of those that they find without codes. 0 where codes do at any dimension: bytes have 256 steps a component.
 */
uint32_t iqdb_index_options_dimension_wanted(const IqdbIndexOptions *options);

#endif
