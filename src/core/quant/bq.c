/*
 * bq.c - binary quantizer; see bq.h.
 */
#include "core/quant/bq.h"

#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#define BQ_POPCNT __attribute__((target("popcnt")))
#endif

static IqdbStatus
check_trained(const IqdbBq *bq, IqdbError *err)
{
	if (bq->means == NULL)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "the binary quantizer has not been trained");
	return IQDB_OK;
}

static IqdbStatus
check_vector(const IqdbBq *bq, const float *vector, size_t dim, IqdbError *err)
{
	if (dim != bq->dim)
		return iqdb_fail(err, IQDB_ERR_DIMENSION, "expected %u dimensions, not %zu", bq->dim, dim);
	return iqdb_vector_check(vector, dim, err);
}

static IqdbStatus
check_code(const IqdbBq *bq, const uint64_t *code, size_t words, IqdbError *err)
{
	if (words != iqdb_bq_words(bq->dim))
		return iqdb_fail(err, IQDB_ERR_DIMENSION, "expected a code of %zu words, not %zu", iqdb_bq_words(bq->dim), words);
	if (bq->dim % 64 != 0 && code[words - 1] >> (bq->dim % 64) != 0)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "a code has bits set behind its %u dimensions", bq->dim);
	return IQDB_OK;
}

IqdbStatus
iqdb_bq_train(IqdbBq *bq, const IqdbPoints *points, const IqdbAllocator *allocator, float *means, IqdbError *err)
{
	size_t  size = points->dim * sizeof(double);
	double *sums;

	bq->means = NULL;
	if (points->count == 0)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "there are no vectors to train with");
	for (size_t i = 0; i < points->count; i++)
		IQDB_TRY(check_vector(bq, points->rows + i * points->stride, points->dim, err));
	sums = iqdb_alloc_zero(allocator, size);
	if (sums == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for one vector");
	for (size_t i = 0; i < points->count; i++)
	{
		for (size_t d = 0; d < points->dim; d++)
			sums[d] += (double) points->rows[i * points->stride + d];
	}
	for (size_t d = 0; d < points->dim; d++)
		means[d] = (float) (sums[d] / (double) points->count);
	iqdb_free(allocator, sums, size);
	bq->means = means;
	return IQDB_OK;
}

IqdbStatus
iqdb_bq_encode(const IqdbBq *bq, const float *vector, size_t dim, uint64_t *code_out, IqdbError *err)
{
	IQDB_TRY(check_trained(bq, err));
	IQDB_TRY(check_vector(bq, vector, dim, err));
	memset(code_out, 0, iqdb_bq_words(bq->dim) * sizeof(uint64_t));
	for (size_t d = 0; d < dim; d++)
		code_out[d / 64] |= (uint64_t) (vector[d] >= bq->means[d]) << (d % 64);
	return IQDB_OK;
}

IqdbStatus
iqdb_bq_decode(const IqdbBq *bq, const uint64_t *code, size_t words, float *vector_out, IqdbError *err)
{
	IQDB_TRY(check_trained(bq, err));
	IQDB_TRY(check_code(bq, code, words, err));
	for (size_t d = 0; d < bq->dim; d++)
		vector_out[d] = code[d / 64] >> (d % 64) & 1 ? 1.0f : -1.0f;
	return IQDB_OK;
}

static inline uint32_t
count_plain(const uint64_t *a, const uint64_t *b, size_t words)
{
	uint32_t bits = 0;

	for (size_t i = 0; i < words; i++)
		bits += (uint32_t) __builtin_popcountll(a[i] ^ b[i]);
	return bits;
}

#ifdef BQ_POPCNT

BQ_POPCNT static uint32_t
count_popcnt(const uint64_t *a, const uint64_t *b, size_t words)
{
	uint32_t bits = 0;

	for (size_t i = 0; i < words; i++)
		bits += (uint32_t) __builtin_popcountll(a[i] ^ b[i]);
	return bits;
}

#endif

uint32_t
iqdb_bq_distance(const uint64_t *a, const uint64_t *b, size_t words)
{
#ifdef BQ_POPCNT
	if (__builtin_cpu_supports("popcnt"))
		return count_popcnt(a, b, words);
#endif
	return count_plain(a, b, words);
}

IqdbStatus
iqdb_bq_key(const IqdbBq *bq, IqdbMetric metric, const float *query, size_t dim, const uint64_t *code, size_t words,
			float *key_out, IqdbError *err)
{
	const char *name = iqdb_metric_name(metric);
	uint32_t    bits = 0;

	if (metric != IQDB_METRIC_HAMMING)
		return iqdb_fail(err, IQDB_ERR_METRIC, "binary codes cannot rank by metric %s", name != NULL ? name : "unknown");
	IQDB_TRY(check_trained(bq, err));
	IQDB_TRY(check_vector(bq, query, dim, err));
	IQDB_TRY(check_code(bq, code, words, err));
	for (size_t word = 0; word < words; word++)
	{
		uint64_t query_bits = 0;

		for (size_t d = word * 64; d < dim && d < (word + 1) * 64; d++)
			query_bits |= (uint64_t) (query[d] >= bq->means[d]) << (d % 64);
		bits += iqdb_bq_distance(&query_bits, &code[word], 1);
	}
	*key_out = (float) bits;
	return IQDB_OK;
}
