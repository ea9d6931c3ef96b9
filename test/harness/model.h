/*
 * model.h - a database so simple that it is right by reading: an array of rows, searched by comparing them all.
 *
 * What tests hold against the real one. Distances are computed here, in double, without any kernel; with vectors of small
 * whole numbers (model_random_vector) every sum is exact in float too, so that order, ties and reported keys must agree
 * to the bit. Aborts when it runs out of memory.
 */
#ifndef IQDB_TEST_HARNESS_MODEL_H
#define IQDB_TEST_HARNESS_MODEL_H

#include "core/base/rng.h"
#include "core/meta/filter.h"
#include "core/meta/id.h"
#include "core/vec/metric.h"

typedef struct ModelRow
{
	IqdbId         id; /* bytes owned */
	float         *vector;
	unsigned char *metadata; /* encoded, NULL = none */
	size_t         metadata_length;
	uint64_t       sequence;
} ModelRow;

typedef struct ModelHit
{
	const ModelRow *row;
	float           key; /* rank key */
} ModelHit;

typedef struct Model
{
	size_t     dim;
	IqdbMetric metric;
	ModelRow  *rows; /* in no order */
	size_t     count;
	size_t     allocated;
	uint64_t   next_sequence;
} Model;

void model_init(Model *model, size_t dim, IqdbMetric metric);
void model_free(Model *model);

/* A deep copy into an uninitialised model. */
void model_copy(Model *target, const Model *source);

/* Replaces what the id had, with a new sequence. */
void model_put(Model *model, IqdbId id, const float *vector, const unsigned char *metadata, size_t metadata_length);
bool model_remove(Model *model, IqdbId id);
const ModelRow *model_find(const Model *model, IqdbId id);

/* All rows that match (filter NULL: all), nearest first; the caller frees the array. */
ModelHit *model_search(const Model *model, const float *query, const IqdbFilter *filter, size_t *count_out);

/* The rank key by the definition, in double, rounded once. */
float model_key(IqdbMetric metric, const float *a, const float *b, size_t dim);

/* ---- random input; all small, so that things meet ---- */

/* Whole numbers from -3 to 3: many equal distances. */
void model_random_vector(IqdbRng *rng, float *vector, size_t dim);

/* One of `space` numbers of all sizes, or of as many byte strings (in buffer, of at least 8 bytes). */
IqdbId model_random_id(IqdbRng *rng, uint64_t space, unsigned char *buffer);

/*
 * None, empty, or some of: "kind" int 0 .. 4, "name" one of three strings, "even" bool, "weight" float, and now and then a
 * "note" of up to 2000 bytes. The caller frees; *length_out = 0 and NULL: none.
 */
unsigned char *model_random_metadata(IqdbRng *rng, size_t *length_out);

/* A small tree over those fields. Free with iqdb_filter_free(&iqdb_allocator_libc, ...). */
IqdbFilter *model_random_filter(IqdbRng *rng);

#endif
