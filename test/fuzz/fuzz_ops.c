/*
 * fuzz_ops.c - any bytes as a sequence of operations on an embedded database, held against the naive model.
 *
 * Byte 0: engine and metric. All is done three times, with vectors of floats, of halves and of bits. Then one operation per
 * round: upsert, delete, search, filtered search, flush, optimize, close and reopen, abandon and reopen, lose power and
 * reopen. Half of the shapes have fields with columns. Properties: the answers of the model (with the flat engine in its very
 * order; with the others, when every row is asked for), acknowledged writes survive everything, and verification finds nothing.
 */
#include "core/db/iqdb.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/elements.h"
#include "harness/io_crash.h"
#include "harness/model.h"

#define DIM 3
#define OPERATIONS_MAX 400

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct Input
{
	const uint8_t *at;
	size_t         left;
} Input;

typedef struct World
{
	IoCrash   *fs;
	IqdbConfig config;
	Iqdb      *db;
	Model      model;   /* of the same numbers as floats */
	uint32_t   element;
	bool       exact;
} World;

static void
require(bool condition, const char *what)
{
	if (!condition)
	{
		fprintf(stderr, "fuzz_ops: violated: %s\n", what);
		abort();
	}
}

static uint8_t
take(Input *input)
{
	if (input->left == 0)
		return 0;
	input->left--;
	return *input->at++;
}

static IqdbId
take_id(Input *input, unsigned char *buffer)
{
	uint8_t byte = take(input);

	/* eight of them around the end of what a slot has room for */
	if (byte < 192)
		return iqdb_id_u64(byte % 48 < 40 ? byte % 48 : (UINT64_C(1) << 48) - 44 + byte % 48);
	buffer[0] = byte % 16;
	buffer[1] = 0;
	return iqdb_id_bytes(buffer, 1 + byte / 16 % 2);
}

static void
take_vector(const World *world, Input *input, float *vector)
{
	for (int i = 0; i < DIM; i++)
	{
		vector[i] = (float) (take(input) % 9) - 4.0f;
		if (world->element == IQDB_ELEMENT_BIT)
			vector[i] = vector[i] > 0 ? 1.0f : 0.0f;
	}
}

/* The vector as the database is given it. */
static const void *
as_element(const World *world, const float *vector, unsigned char *buffer)
{
	memset(buffer, 0, ELEMENT_BYTES(DIM));
	for (size_t i = 0; i < DIM; i++)
		element_set(world->element, buffer, i, vector[i]);
	return buffer;
}

static void
finding(void *arg, const char *what)
{
	(void) arg;
	fprintf(stderr, "fuzz_ops: found: %s\n", what);
	abort();
}

static void
open_database(World *world)
{
	IqdbError err = {0};

	if (iqdb_open("db", &world->config, &world->db, &err) != IQDB_OK)
	{
		fprintf(stderr, "fuzz_ops: %s: %s\n", err.file, err.message);
		abort();
	}
	require(iqdb_len(world->db) == world->model.count, "as many rows as before");
}

static void
upsert(World *world, Input *input)
{
	unsigned char  buffer[2];
	IqdbId         id = take_id(input, buffer);
	float          vector[DIM];
	IqdbRng        rng;
	size_t         length;
	unsigned char *metadata;
	_Alignas(4) unsigned char bytes[ELEMENT_BYTES(DIM)];

	take_vector(world, input, vector);
	iqdb_rng_seed(&rng, take(input));
	metadata = model_random_metadata(&rng, &length);
	require(iqdb_upsert(world->db, id, as_element(world, vector, bytes), DIM, metadata, length, NULL) == IQDB_OK,
			"upsert");
	model_put(&world->model, id, vector, metadata, length);
	free(metadata);
}

static void
delete(World *world, Input *input)
{
	unsigned char buffer[2];
	IqdbId        id = take_id(input, buffer);
	bool          deleted;

	require(iqdb_delete(world->db, id, &deleted, NULL) == IQDB_OK, "delete");
	require(deleted == model_remove(&world->model, id), "deleted what was there");
}

static void
check_one(const World *world, const IqdbFound *found, const float *query)
{
	const ModelRow *row = model_find(&world->model, found->id);

	require(row != NULL, "a row that is there");
	require(found->distance == (float) iqdb_metric_distance(world->model.metric,
															 model_key(world->model.metric, query, row->vector, DIM)),
			"its distance");
	require(found->metadata_length == row->metadata_length &&
				(row->metadata_length == 0 || memcmp(found->metadata, row->metadata, row->metadata_length) == 0),
			"its metadata");
}

static void
search(World *world, Input *input, bool filtered)
{
	float       query[DIM];
	size_t      k = take(input);
	IqdbFilter *filter = NULL;
	IqdbRng     rng;
	IqdbResult *result;
	ModelHit   *expected;
	size_t      count;
	_Alignas(4) unsigned char bytes[ELEMENT_BYTES(DIM)];

	take_vector(world, input, query);
	if (filtered)
	{
		iqdb_rng_seed(&rng, take(input));
		filter = model_random_filter(&rng);
	}
	expected = model_search(&world->model, query, filter, &count);
	require(iqdb_search_with(world->db, as_element(world, query, bytes), DIM, k, filter, &result, NULL) == IQDB_OK,
			"search");
	require(result->count == (k < count ? k : count), "as many as there are");
	for (size_t i = 0; i < result->count; i++)
	{
		check_one(world, &result->found[i], query);
		require(i == 0 || result->found[i - 1].distance <= result->found[i].distance, "nearest first");
		/* a graph that gives all rows gives them in the one order too */
		if (world->exact || k >= count)
			require(iqdb_id_equal(result->found[i].id, expected[i].row->id), "the model's order");
	}
	iqdb_result_free(result);
	free(expected);
	iqdb_filter_free(&iqdb_allocator_libc, filter);
}

static void
operation(World *world, Input *input)
{
	uint8_t code = take(input);

	switch (code % 16)
	{
		case 0:
			search(world, input, false);
			break;
		case 1:
			search(world, input, true);
			break;
		case 2:
		case 3:
		case 4:
			delete(world, input);
			break;
		case 5:
			require(iqdb_flush(world->db, NULL) == IQDB_OK, "flush");
			break;
		case 6:
			require(iqdb_optimize(world->db, NULL) == IQDB_OK, "optimize");
			break;
		case 7:
			require(iqdb_check(world->db, finding, NULL, NULL) == IQDB_OK, "check");
			break;
		case 8:
			if (code < 64)
				require(iqdb_close(world->db, NULL) == IQDB_OK, "close");
			else
				iqdb_abandon(world->db);
			if (code >= 128)
				io_crash_crash(world->fs, code);
			open_database(world);
			break;
		default:
			upsert(world, input);
			break;
	}
}

/* The metric of a shape, among those of the element. */
static IqdbMetric
metric_of(uint32_t element, uint8_t shape)
{
	uint32_t count = 0;
	uint32_t metrics[IQDB_METRIC_COUNT];

	for (uint32_t metric = 0; metric < IQDB_METRIC_COUNT; metric++)
	{
		if ((iqdb_metric_traits(metric)->elements >> element & 1) != 0)
			metrics[count++] = metric;
	}
	return (IqdbMetric) metrics[shape % count];
}

/* Of the model's fields, one of another kind than its values. */
static const IqdbField fields[] = {{"kind", 4, IQDB_VALUE_INT},
								   {"name", 4, IQDB_VALUE_STRING},
								   {"even", 4, IQDB_VALUE_BOOL},
								   {"weight", 6, IQDB_VALUE_INT}};

static void
configure(World *world, uint8_t shape)
{
	/* half of the shapes are flat, a quarter each the others, some with other codes than they would have */
	IqdbEngineKind    engine = shape < 128 ? IQDB_ENGINE_FLAT : shape < 192 ? IQDB_ENGINE_HNSW : IQDB_ENGINE_IVF;
	IqdbMetric        metric = metric_of(world->element, shape);
	IqdbIndexOptions *options = &world->config.options;

	if (iqdb_engine_get(engine) == NULL)
		engine = IQDB_ENGINE_FLAT;
	world->config = iqdb_config_default(engine, DIM, metric);
	iqdb_index_options_of_element(options, (IqdbElementKind) world->element);
	if (engine != IQDB_ENGINE_IVF && shape % 4 == 3)
	{
		options->quantization = engine == IQDB_ENGINE_FLAT ? IQDB_QUANTIZATION_SQ8 : IQDB_QUANTIZATION_BQ;
		if (iqdb_index_options_check(options, NULL) != IQDB_OK)
			options->quantization = IQDB_QUANTIZATION_NONE;
	}
	world->config.memory_max = UINT64_C(32) * 1024 * 1024;
	world->config.io = io_crash_io(world->fs);
	world->config.checkpoint_bytes = 4000;
	world->config.fields = fields;
	world->config.field_count = shape % 8 < 4 ? 0 : sizeof(fields) / sizeof(fields[0]);
	world->exact = engine == IQDB_ENGINE_FLAT;
	model_init(&world->model, DIM, metric);
}

static void
run(uint32_t element, Input input)
{
	World world = {.element = element, .fs = io_crash_create()};

	configure(&world, take(&input));
	open_database(&world);
	for (int i = 0; i < OPERATIONS_MAX && input.left > 0; i++)
		operation(&world, &input);
	require(iqdb_check(world.db, finding, NULL, NULL) == IQDB_OK, "check");
	require(iqdb_close(world.db, NULL) == IQDB_OK, "close");
	open_database(&world);
	require(iqdb_check(world.db, finding, NULL, NULL) == IQDB_OK, "check");
	iqdb_abandon(world.db);
	io_crash_destroy(world.fs);
	model_free(&world.model);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	for (uint32_t element = 0; element < IQDB_ELEMENT_COUNT; element++)
		run(element, (Input){data, size});
	return 0;
}
