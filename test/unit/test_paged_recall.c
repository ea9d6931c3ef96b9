/*
 * test_paged_recall.c - how little memory an index needs whose vectors lie on disk, and what it finds all the same.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "unit/ivf_samples.h"

#define SEED UINT64_C(20261123)
#define MIB (UINT64_C(1024) * 1024)

/* Rows as embeddings are: clusters on a surface of few dimensions, bent by nothing but a little noise. */
static void
make_surface(Samples *samples, size_t count, size_t queries, size_t dim, size_t latent, uint64_t seed)
{
	Samples points;
	float  *frame = malloc(latent * dim * sizeof(*frame));
	IqdbRng rng;

	samples_make(&points, count, queries, latent, 40, 0.6, seed);
	*samples = (Samples){.dim = dim, .count = count, .queries = queries};
	samples->rows = malloc((count + queries) * dim * sizeof(float));
	if (frame == NULL || samples->rows == NULL)
		abort();
	iqdb_rng_seed(&rng, seed + 1);
	for (size_t i = 0; i < latent * dim; i++)
		frame[i] = (float) samples_gauss(&rng);
	for (size_t row = 0; row < count + queries; row++)
	{
		float *x = samples_row(samples, row);

		for (size_t d = 0; d < dim; d++)
			x[d] = (float) (0.2 * samples_gauss(&rng));
		for (size_t k = 0; k < latent; k++)
		{
			float z = samples_row(&points, row)[k];

			for (size_t d = 0; d < dim; d++)
				x[d] += z * frame[k * dim + d];
		}
	}
	free(frame);
	samples_free(&points);
}

/* share: of the bytes of full vectors, in memory that grows with rows; lists' centres are the same for any number. */
static void
assert_small_and_good(const Samples *samples, IqdbEngineKind engine, IqdbQuantization quantization, double share)
{
	IqdbIndexOptions options = iqdb_index_options_default(engine, (uint32_t) samples->dim, IQDB_METRIC_L2);
	size_t           vector = samples->dim * sizeof(float);
	MemoryIndex      memory;
	IqdbIndexStats   stats;
	double           recall;

	options.quantization = quantization;
	if (engine == IQDB_ENGINE_IVF)
	{
		options.lists = 40;
		options.probes = 10;
	}
	memory_index_create_paged(&memory, &options, &iqdb_locks_none, NULL, SAMPLES_MEMORY);
	samples_put(samples, &memory.index, 0, samples->count, false);
	assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_BUILD, NULL), IQDB_OK);
	iqdb_index_stats(&memory.index, &stats);
	recall = samples_recall(samples, &memory.index, 0, 10, NULL);
	print_message("%zu dimensions, engine %d, quantization %d: recall %.4f, %.1f bytes a row, 1/%.1f of vectors\n",
				  samples->dim, (int) engine, (int) quantization, recall, (double) stats.memory / (double) samples->count,
				  (double) (vector * samples->count) / (double) stats.memory);
	assert_true(recall >= 0.95);
	assert_true((double) stats.memory <= share * (double) (vector * samples->count));
	assert_true((double) iqdb_index_estimate_memory(&options, 1000000) <= share * 1e6 * (double) vector);
	assert_true(stats.vector_file >= vector * samples->count);
	memory_index_destroy(&memory);
}

static void
codes_in_an_eighth_of_the_memory_find_95_of_100(void **state)
{
	Samples samples;

	(void) state;
	make_surface(&samples, 5000, 30, 768, 20, SEED);
	assert_small_and_good(&samples, IQDB_ENGINE_IVF, IQDB_QUANTIZATION_PQ, 1.0 / 8);
	assert_small_and_good(&samples, IQDB_ENGINE_IVF, IQDB_QUANTIZATION_BQ, 1.0 / 8);
	assert_small_and_good(&samples, IQDB_ENGINE_HNSW, IQDB_QUANTIZATION_BQ, 1.0 / 7);
	samples_free(&samples);
	/* what every row takes, whatever its dimension, weighs more here */
	make_surface(&samples, 10000, 30, 128, 20, SEED);
	assert_small_and_good(&samples, IQDB_ENGINE_IVF, IQDB_QUANTIZATION_PQ, 1.0 / 4);
	assert_small_and_good(&samples, IQDB_ENGINE_IVF, IQDB_QUANTIZATION_BQ, 1.0 / 4.5);
	samples_free(&samples);
}

/* Rows that fit into a limit of memory, put and linked one by one after the lists were trained on the first. */
static uint64_t
rows_that_fit(const Samples *samples, IqdbIndexOptions options, uint64_t limit)
{
	MemoryIndex memory;
	uint64_t    id = 0;
	uint64_t    live;
	IqdbStatus  status = IQDB_OK;

	options.lists = 8;
	options.training_sample = 400;
	if (options.vectors == IQDB_VECTORS_DISK)
		memory_index_create_paged(&memory, &options, &iqdb_locks_none, NULL, limit);
	else
		memory_index_create(&memory, &options, &iqdb_locks_none, NULL, limit);
	samples_put(samples, &memory.index, 0, 400, false);
	assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_BUILD, NULL), IQDB_OK);
	for (id = 400; status == IQDB_OK; id++)
	{
		uint32_t slot;

		status = iqdb_index_put(&memory.index, iqdb_id_u64(id), samples_row(samples, id % samples->count), samples->dim,
								NULL, 0, &slot, NULL);
		if (status == IQDB_OK)
			status = iqdb_index_link(&memory.index, slot, NULL);
	}
	assert_int_equal(status, IQDB_ERR_LIMIT);
	live = iqdb_index_live_count(&memory.index);
	assert_true(memory_index_sound(&memory.index));
	memory_index_destroy(&memory);
	return live;
}

static void
ten_times_more_rows_fit(void **state)
{
	IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_IVF, 768, IQDB_METRIC_L2);
	uint64_t         limit = 5 * MIB;
	Samples          samples;
	uint64_t         rows[2];

	(void) state;
	samples_make(&samples, 500, 1, 768, 8, 0.5, SEED);
	options.quantization = IQDB_QUANTIZATION_NONE;
	rows[0] = rows_that_fit(&samples, options, limit);
	options.quantization = IQDB_QUANTIZATION_BQ;
	options.vectors = IQDB_VECTORS_DISK;
	rows[1] = rows_that_fit(&samples, options, limit);
	print_message("%llu rows without codes, %llu in codes with vectors on disk\n", (unsigned long long) rows[0],
				  (unsigned long long) rows[1]);
	assert_true(rows[1] >= 10 * rows[0]);
	samples_free(&samples);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(codes_in_an_eighth_of_the_memory_find_95_of_100),
		cmocka_unit_test(ten_times_more_rows_fit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
