/*
 * model.c - the plainest vector database there is; see model.h.
 */
#include "harness/model.h"

#include <float.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/meta/metadata.h"

static void *
need(void *pointer)
{
	if (pointer == NULL)
	{
		fprintf(stderr, "model: out of memory\n");
		abort();
	}
	return pointer;
}

static void *
copy_bytes(const void *bytes, size_t length)
{
	void *copy = need(malloc(length > 0 ? length : 1));

	if (length > 0)
		memcpy(copy, bytes, length);
	return copy;
}

void
model_init(Model *model, size_t dim, IqdbMetric metric)
{
	memset(model, 0, sizeof(*model));
	model->dim = dim;
	model->metric = metric;
	model->next_sequence = 1;
}

static void
row_free(ModelRow *row)
{
	if (row->id.kind == IQDB_ID_BYTES)
		free((void *) (uintptr_t) row->id.bytes);
	free(row->vector);
	free(row->metadata);
}

void
model_free(Model *model)
{
	for (size_t i = 0; i < model->count; i++)
		row_free(&model->rows[i]);
	free(model->rows);
	memset(model, 0, sizeof(*model));
}

static void
row_fill(ModelRow *row, size_t dim, IqdbId id, const float *vector, const unsigned char *metadata,
		 size_t metadata_length, uint64_t sequence)
{
	row->id = id;
	if (id.kind == IQDB_ID_BYTES)
		row->id.bytes = copy_bytes(id.bytes, id.length);
	row->vector = copy_bytes(vector, dim * sizeof(float));
	row->metadata = metadata_length > 0 ? copy_bytes(metadata, metadata_length) : NULL;
	row->metadata_length = metadata_length;
	row->sequence = sequence;
}

void
model_copy(Model *target, const Model *source)
{
	*target = *source;
	target->allocated = source->count;
	target->rows = need(calloc(source->count + 1, sizeof(ModelRow)));
	for (size_t i = 0; i < source->count; i++)
	{
		const ModelRow *row = &source->rows[i];

		row_fill(&target->rows[i], source->dim, row->id, row->vector, row->metadata, row->metadata_length,
				 row->sequence);
	}
}

static size_t
find(const Model *model, IqdbId id)
{
	size_t i = 0;

	while (i < model->count && !iqdb_id_equal(model->rows[i].id, id))
		i++;
	return i;
}

void
model_put(Model *model, IqdbId id, const float *vector, const unsigned char *metadata, size_t metadata_length)
{
	model_remove(model, id);
	if (model->count == model->allocated)
	{
		model->allocated = model->allocated * 2 + 16;
		model->rows = need(realloc(model->rows, model->allocated * sizeof(ModelRow)));
	}
	row_fill(&model->rows[model->count++], model->dim, id, vector, metadata, metadata_length, model->next_sequence++);
}

bool
model_remove(Model *model, IqdbId id)
{
	size_t at = find(model, id);

	if (at == model->count)
		return false;
	row_free(&model->rows[at]);
	model->rows[at] = model->rows[--model->count];
	return true;
}

const ModelRow *
model_find(const Model *model, IqdbId id)
{
	size_t at = find(model, id);

	return at < model->count ? &model->rows[at] : NULL;
}

static double
cosine(double dot, double norm_a, double norm_b)
{
	double root = sqrt(norm_a * norm_b);
	double similarity;

	if (root <= (double) FLT_MIN)
		return 1.0;
	similarity = dot / root;
	if (similarity > 1.0)
		similarity = 1.0;
	if (similarity < -1.0)
		similarity = -1.0;
	return 1.0 - similarity;
}

float
model_key(IqdbMetric metric, const float *a, const float *b, size_t dim)
{
	double dot = 0;
	double aa = 0;
	double bb = 0;
	double l2 = 0;
	double l1 = 0;
	double differing = 0;

	for (size_t i = 0; i < dim; i++)
	{
		double   x = (double) a[i];
		double   y = (double) b[i];
		uint32_t bits_a;
		uint32_t bits_b;

		memcpy(&bits_a, &a[i], sizeof(bits_a));
		memcpy(&bits_b, &b[i], sizeof(bits_b));
		dot += x * y;
		aa += x * x;
		bb += y * y;
		l2 += (x - y) * (x - y);
		l1 += fabs(x - y);
		differing += bits_a != bits_b;
	}
	switch (metric)
	{
		case IQDB_METRIC_COSINE:
			return (float) cosine(dot, aa, bb);
		case IQDB_METRIC_DOT:
			return (float) -dot;
		case IQDB_METRIC_L2:
			return (float) l2;
		case IQDB_METRIC_L1:
			return (float) l1;
		case IQDB_METRIC_JACCARD:
			return dot > 0 ? (float) (1 - dot / (aa + bb - dot)) : 1.0f;
		default:
			return (float) differing;
	}
}

static int
compare_hits(const void *a, const void *b)
{
	const ModelHit *x = a;
	const ModelHit *y = b;

	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	return x->row->sequence < y->row->sequence ? -1 : 1;
}

ModelHit *
model_search(const Model *model, const float *query, const IqdbFilter *filter, size_t *count_out)
{
	ModelHit *hits = need(calloc(model->count + 1, sizeof(ModelHit)));
	size_t    count = 0;

	for (size_t i = 0; i < model->count; i++)
	{
		const ModelRow *row = &model->rows[i];

		if (filter != NULL && !iqdb_filter_matches(filter, row->metadata, row->metadata_length))
			continue;
		hits[count].row = row;
		hits[count].key = model_key(model->metric, query, row->vector, model->dim);
		count++;
	}
	qsort(hits, count, sizeof(ModelHit), compare_hits);
	*count_out = count;
	return hits;
}

/* ---- random input ---- */

void
model_random_vector(IqdbRng *rng, float *vector, size_t dim)
{
	for (size_t i = 0; i < dim; i++)
		vector[i] = (float) iqdb_rng_below(rng, 7) - 3.0f;
}

IqdbId
model_random_id(IqdbRng *rng, uint64_t space, unsigned char *buffer)
{
	uint64_t number = iqdb_rng_below(rng, space);

	if (iqdb_rng_below(rng, 3) > 0)
	{
		/* some on both sides of what a slot has room for, some at the end of all numbers */
		if (number % 8 == 5)
			return iqdb_id_u64((UINT64_C(1) << 48) - 1 + number / 8);
		return iqdb_id_u64(number % 8 == 7 ? UINT64_MAX - number / 8 : number);
	}
	/* one to four bytes, all values of a byte among them */
	buffer[0] = (unsigned char) (number * 151);
	buffer[1] = (unsigned char) (number >> 8);
	buffer[2] = 0;
	buffer[3] = 255;
	return iqdb_id_bytes(buffer, number < 256 ? 1 + (uint32_t) (number % 4 == 0) : 2 + (uint32_t) (number % 3));
}

static const char *const names[] = {"ann", "bob", "\xc3\xa9mile"};

static IqdbValue
random_value(IqdbRng *rng, int field)
{
	const char *name;

	switch (field)
	{
		case 0:
			return iqdb_value_int((int64_t) iqdb_rng_below(rng, 5));
		case 1:
			name = names[iqdb_rng_below(rng, 3)];
			return iqdb_value_string(name, (uint32_t) strlen(name));
		case 2:
			return iqdb_value_bool(iqdb_rng_below(rng, 2) == 0);
		default:
			return iqdb_value_float((double) iqdb_rng_below(rng, 9) / 4);
	}
}

static const char *const fields[] = {"kind", "name", "even", "weight"};

unsigned char *
model_random_metadata(IqdbRng *rng, size_t *length_out)
{
	IqdbMetadataBuilder builder;
	unsigned char      *bytes = NULL;
	char                note[2000];
	IqdbStatus          status = IQDB_OK;

	*length_out = 0;
	if (iqdb_rng_below(rng, 4) == 0)
		return NULL;
	iqdb_metadata_builder_init(&builder, &iqdb_allocator_libc);
	for (int i = 0; i < 4 && status == IQDB_OK; i++)
	{
		IqdbValue value = random_value(rng, i);

		if (iqdb_rng_below(rng, 3) > 0)
			status = iqdb_metadata_put(&builder, fields[i], strlen(fields[i]), &value, NULL);
	}
	if (status == IQDB_OK && iqdb_rng_below(rng, 16) == 0)
	{
		uint32_t  length = (uint32_t) iqdb_rng_below(rng, sizeof(note) + 1);
		IqdbValue value = iqdb_value_string(note, length);

		memset(note, 'n', sizeof(note));
		status = iqdb_metadata_put(&builder, "note", 4, &value, NULL);
	}
	if (status == IQDB_OK)
		status = iqdb_metadata_finish(&builder, &bytes, length_out, NULL);
	iqdb_metadata_builder_free(&builder);
	return need(status == IQDB_OK ? bytes : NULL);
}

static IqdbCondition
random_leaf(IqdbRng *rng, IqdbFilterBuilder *builder)
{
	int       field = (int) iqdb_rng_below(rng, 4);
	IqdbValue values[3];

	for (int i = 0; i < 3; i++)
		values[i] = random_value(rng, field);
	if (iqdb_rng_below(rng, 4) == 0)
		return iqdb_filter_in(builder, fields[field], strlen(fields[field]), values, iqdb_rng_below(rng, 4));
	return iqdb_filter_compare(builder, (IqdbFilterOp) iqdb_rng_below(rng, 6), fields[field], strlen(fields[field]),
							   &values[0]);
}

static IqdbCondition
random_condition(IqdbRng *rng, IqdbFilterBuilder *builder, int depth)
{
	IqdbCondition parts[2];
	uint64_t      kind = iqdb_rng_below(rng, depth > 0 ? 6 : 3);

	if (kind < 3)
		return random_leaf(rng, builder);
	parts[0] = random_condition(rng, builder, depth - 1);
	if (kind == 3)
		return iqdb_filter_not(builder, parts[0]);
	parts[1] = random_condition(rng, builder, depth - 1);
	return kind == 4 ? iqdb_filter_and(builder, parts, 2) : iqdb_filter_or(builder, parts, 2);
}

IqdbFilter *
model_random_filter(IqdbRng *rng)
{
	IqdbFilterBuilder builder;
	IqdbFilter       *filter = NULL;
	IqdbCondition     root;

	iqdb_filter_builder_init(&builder, &iqdb_allocator_libc);
	root = random_condition(rng, &builder, 2);
	if (iqdb_filter_finish(&builder, root, &filter, NULL) != IQDB_OK)
		filter = NULL;
	iqdb_filter_builder_free(&builder);
	return need(filter);
}
