/*
 * test_ivf_bound.c - what sign codes say of keys: estimates without bias, bounds that hold as often as they should, and
 * searches that rank no more rows than the bounds ask for.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/ivf/ivf_list_private.h"
#include "core/ivf/ivf_query_private.h"
#include "core/ivf/ivf_space_private.h"
#include "unit/ivf_samples.h"

#define SEED UINT64_C(20261124)

typedef struct Errors
{
	uint64_t count;
	double   sum;     /* of (key - estimate) / deviation */
	double   squares;
	uint64_t below;   /* keys below their bounds */
} Errors;

/* The key as codes estimate it: COSINE twice what ranks. */
static double
true_key(const IqdbiIvf *ivf, const float *query, const float *row)
{
	double dot = 0;
	double square = 0;
	double norms[2] = {0, 0};

	for (size_t d = 0; d < ivf->dim; d++)
	{
		dot += (double) query[d] * (double) row[d];
		square += ((double) query[d] - (double) row[d]) * ((double) query[d] - (double) row[d]);
		norms[0] += (double) query[d] * (double) query[d];
		norms[1] += (double) row[d] * (double) row[d];
	}
	if (ivf->space == IQDB_SPACE_UNIT)
		return 2 - 2 * dot / sqrt(norms[0] * norms[1]);
	return ivf->space == IQDB_SPACE_LIFTED ? -dot : square;
}

static void
add_block(Errors *errors, IqdbiQuery *query, unsigned char *block, uint32_t count)
{
	const IqdbiIvf *ivf = query->ivf;
	float           shift = query->line.shift;
	float           bounds[IQDBI_BLOCK_ROWS];
	float           estimates[IQDBI_BLOCK_ROWS];

	(void) iqdbi_query_block(query, block, count, INFINITY, bounds);
	query->line.shift = query->signs_shift;
	(void) iqdbi_query_block(query, block, count, INFINITY, estimates);
	query->line.shift = shift;
	for (uint32_t place = 0; place < count; place++)
	{
		uint32_t slot = atomic_load(&iqdbi_block_slots(block)[place]);
		double   key = true_key(ivf, query->vector, iqdb_store_vector(ivf->store, slot));
		double   deviation = ((double) estimates[place] - (double) bounds[place]) / (double) IQDBI_SIGNS_BOUND;
		double   error = (key - (double) estimates[place]) / deviation;

		assert_true(deviation > 0);
		errors->count++;
		errors->sum += error;
		errors->squares += error * error;
		errors->below += key < (double) bounds[place];
	}
}

/* All rows against one query. */
static void
add_query(Errors *errors, const IqdbiIvf *ivf, const IqdbiModel *model, const float *vector)
{
	float     *work = malloc(ivf->work_stride * sizeof(float));
	IqdbCarve  memory = {0};
	float      norm2 = 0;
	IqdbiQuery query;

	iqdbi_query_place(&query, ivf, &memory);
	assert_true(work != NULL && iqdb_carve_alloc(&memory, &iqdb_allocator_libc));
	iqdbi_query_place(&query, ivf, &memory);
	for (size_t d = 0; d < ivf->dim; d++)
		norm2 += vector[d] * vector[d];
	iqdbi_work_query(ivf, vector, norm2, work);
	iqdbi_query_start(&query, ivf, model, vector, work, norm2);
	for (uint32_t number = 0; number < model->figures.lists; number++)
	{
		IqdbiList *list = iqdbi_ivf_lists(ivf, 0) + number;
		uint32_t   left = atomic_load(&list->count);
		uint32_t   block = atomic_load(&list->head);

		iqdbi_query_list(&query, number);
		while (left > 0)
		{
			uint32_t count = left < IQDBI_BLOCK_ROWS ? left : IQDBI_BLOCK_ROWS;

			add_block(errors, &query, iqdbi_ivf_block(ivf, 0, block), count);
			block = iqdbi_block_next(ivf, 0, block);
			left -= count;
		}
	}
	iqdb_carve_free(&memory, &iqdb_allocator_libc);
	free(work);
}

static void
build(MemoryIndex *memory, const Samples *samples, IqdbMetric metric)
{
	IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_IVF, (uint32_t) samples->dim, metric);

	options.quantization = IQDB_QUANTIZATION_BQ;
	options.vectors = IQDB_VECTORS_MEMORY;
	options.lists = 20;
	memory_index_create(memory, &options, &iqdb_locks_none, NULL, SAMPLES_MEMORY);
	samples_put(samples, &memory->index, 0, samples->count, false);
	assert_int_equal(iqdb_index_maintain(&memory->index, IQDB_MAINTAIN_BUILD, NULL), IQDB_OK);
	assert_true(memory_index_sound(&memory->index));
}

/*
 * The distribution is that of a coordinate of a random point on a sphere, nearly the normal one: 1.2 % lie so far below
 * their mean.
 */
static void
bounds_hold_as_often_as_they_say(void **state)
{
	static const IqdbMetric metrics[] = {IQDB_METRIC_L2, IQDB_METRIC_COSINE, IQDB_METRIC_DOT};
	static const size_t     dims[] = {32, 100, 256};

	(void) state;
	for (size_t i = 0; i < 9; i++)
	{
		Samples     samples;
		MemoryIndex memory;
		IqdbiIvf    ivf;
		IqdbiModel  model;
		Errors      errors = {0};

		samples_make(&samples, 1500, 40, dims[i / 3], 20, 0.7, SEED + i);
		build(&memory, &samples, metrics[i % 3]);
		iqdbi_ivf_view(&ivf, &memory.index.store);
		iqdbi_model_view(&ivf, 0, &model);
		for (size_t query = 0; query < samples.queries; query++)
			add_query(&errors, &ivf, &model, samples_query(&samples, query));
		print_message("%zu dimensions, metric %s: mean %.4f, root of mean square %.4f, %.4f below the bound\n", samples.dim,
					  iqdb_metric_name(metrics[i % 3]), errors.sum / (double) errors.count,
					  sqrt(errors.squares / (double) errors.count), (double) errors.below / (double) errors.count);
		assert_int_equal(errors.count, samples.count * samples.queries);
		assert_true(fabs(errors.sum / (double) errors.count) < 0.05);
		assert_true(errors.squares / (double) errors.count < 1.1 && errors.squares / (double) errors.count > 0.9);
		assert_true((double) errors.below < 0.017 * (double) errors.count);
		assert_true((double) errors.below > 0.007 * (double) errors.count);
		memory_index_destroy(&memory);
		samples_free(&samples);
	}
}

/* The more components, the nearer the bounds, the fewer rows: and what was not ranked at first is, when it is asked for. */
static void
no_more_rows_are_ranked_than_bounds_ask_for(void **state)
{
	uint64_t ranked[2] = {0, 0};

	(void) state;
	for (int wide = 0; wide < 2; wide++)
	{
		IqdbSearchParams params = {.expected = 10, .probes = 19};
		Samples          samples;
		MemoryIndex      memory;
		double           recall;

		samples_make(&samples, 3000, 50, wide ? 512 : 32, 20, 0.7, SEED);
		build(&memory, &samples, IQDB_METRIC_L2);
		recall = samples_recall(&samples, &memory.index, 19, 10, NULL);
		for (size_t query = 0; query < samples.queries; query++)
		{
			IqdbHit     hits[100];
			IqdbCursor *cursor;
			size_t      total = 0;
			size_t      count = 1;

			assert_int_equal(iqdb_cursor_open(&memory.index, samples_query(&samples, query), samples.dim, &params, &cursor,
											  NULL), IQDB_OK);
			while (total < 100 && count > 0)
			{
				assert_int_equal(iqdb_cursor_next(cursor, hits + total, 100 - total, &count, NULL), IQDB_OK);
				if (total == 0)
					ranked[wide] += cursor->stats.reranked;
				total += count;
			}
			assert_int_equal(total, 100);
			for (size_t i = 0; i < total; i++)
			{
				for (size_t j = 0; j < i; j++)
					assert_true(hits[i].sequence != hits[j].sequence);
			}
			iqdb_cursor_close(cursor);
		}
		print_message("%zu dimensions: recall %.4f, %.1f ranked\n", samples.dim, recall,
					  (double) ranked[wide] / (double) samples.queries);
		assert_true(recall >= 0.9);
		memory_index_destroy(&memory);
		samples_free(&samples);
	}
	assert_true(ranked[1] < ranked[0]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bounds_hold_as_often_as_they_say),
		cmocka_unit_test(no_more_rows_are_ranked_than_bounds_ask_for),
	};

	print_message("seed %llu\n", (unsigned long long) SEED);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
