/*
 * keys.h - from the sums of distance kernels to rank keys that every finite vector has.
 *
 * Sums are in single precision. Products of large components overflow there, and products of small ones vanish; a cosine
 * near 0 is what is left of two numbers near 1. Rows of such keys are few: they are told by the key, for cosine also by the
 * norms, for an inner product of nearly zero by the components of the query and of all rows (iqdb_vector_has_tiny), and
 * compared once more in double (vec/metric.h: iqdb_key_narrow). So a row is as far as it is, whatever its numbers.
 */
#ifndef IQDB_ENGINE_KEYS_H
#define IQDB_ENGINE_KEYS_H

#include "core/engine/store.h"

/* Squared norms between these: no product of two such vectors overflows or vanishes in single precision. */
#define IQDB_USUAL_NORM2_MIN 0x1p-90f
#define IQDB_USUAL_NORM2_MAX 0x1p90f

static inline bool
iqdb_norm2_is_usual(float norm2)
{
	return norm2 >= IQDB_USUAL_NORM2_MIN && norm2 <= IQDB_USUAL_NORM2_MAX;
}

/* Sums of squares below this may lack some of their terms. */
#define IQDB_VANISHING 0x1p-100f

/*
 * Turns sums of the metric's kernel into keys, in place. query is a prepared one. The rows are slots[i], or (slots NULL)
 * first + i; norms2 are theirs, where the metric needs norms, else NULL. The caller holds STRUCTURE shared.
 */
void iqdb_store_finish_keys(const IqdbStore *store, const void *query, float query_norm2, const uint32_t *slots,
							uint32_t first, const float *norms2, size_t count, float *keys);

/* DOT: may products with some row vanish, because it has components that are all but zero? Never true for others. */
static inline bool
iqdb_store_has_tiny(const IqdbStore *store)
{
	return atomic_load_explicit(&store->header->has_tiny, memory_order_relaxed) != 0;
}

/*
 * May inner products of the query, a prepared one, with some row vanish, or be what is left of terms that cancel each other
 * out? Then sums that are nearly zero say nothing, and such rows are compared in double.
 */
bool iqdb_store_products_may_vanish(const IqdbStore *store, const void *query);

/* The squared length of a vector, and that of a row, whatever its numbers. */
static inline double
iqdb_store_length2(const IqdbStore *store, const float *vector)
{
	return store->kernels->doubles->dot(vector, vector, store->header->options.dimension);
}

#endif
