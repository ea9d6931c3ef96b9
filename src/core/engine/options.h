/*
 * options.h - what fixes an index's shape: element, dimension, metric, engine and the engine's own options.
 *
 * Plain data of fixed width: it lives in the arena as it is, and is written field by field into snapshots. The structure is
 * public (public/iqdb.h); where vectors lie: engine/store.h.
 */
#ifndef IQDB_ENGINE_OPTIONS_H
#define IQDB_ENGINE_OPTIONS_H

#include "core/vec/element.h"

#define IQDB_ENGINE_COUNT 3

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
	uint32_t    initial; /* what it is where no value is given */
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
