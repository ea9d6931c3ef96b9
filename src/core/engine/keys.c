/*
 * keys.c - see keys.h.
 */
#include "core/engine/keys.h"

/* Cosine distances below this have lost too many of their digits. */
#define COSINE_NEAR 0x1p-16f

/* What a key of single precision must not be below, and must be below, to be as good as one of double. */
typedef struct Usual
{
	float low;
	float high;
} Usual;

static Usual
usual_keys(const IqdbMetricTraits *metric)
{
	switch (metric->form)
	{
		case IQDB_KEY_NEGATED:
			return (Usual){(float) -IQDB_KEY_LARGE, (float) IQDB_KEY_LARGE};
		case IQDB_KEY_COSINE:
			return (Usual){COSINE_NEAR, INFINITY};
		default:
			break;
	}
	switch (metric->sum)
	{
		case IQDB_SUM_L2:
			return (Usual){IQDB_VANISHING, (float) IQDB_KEY_LARGE};
		case IQDB_SUM_L1:
			return (Usual){(float) IQDB_KEY_SMALL, (float) IQDB_KEY_LARGE};
		default:
			return (Usual){-INFINITY, INFINITY};
	}
}

static float
key_in_double(const IqdbStore *store, const void *query, uint32_t slot)
{
	const IqdbIndexOptions *options = &store->header->options;

	return iqdb_key_narrow(iqdb_element_key(store->kernels, store->element, (IqdbMetric) options->metric, query,
											iqdb_store_vector(store, slot), options->dimension));
}

/* Where vectors are mostly zeros, so are their products, and rightly: those cost no second look. */
bool
iqdb_store_products_may_vanish(const IqdbStore *store, const void *query)
{
	return iqdb_store_has_tiny(store) || iqdb_element_has_tiny(store->element, query, store->header->options.dimension);
}

/* Keys of those that did are none. */
static void
drop_vanished(const IqdbStore *store, const void *query, size_t count, float *keys)
{
	const float least = (float) IQDB_KEY_SMALL;
	size_t i = 0;

	while (i < count && !(fabsf(keys[i]) < least))
		i++;
	if (i == count || !iqdb_store_products_may_vanish(store, query))
		return;
	for (; i < count; i++)
		keys[i] = fabsf(keys[i]) < least ? NAN : keys[i];
}

/* Keys of rows whose norms say nothing about their products are none. */
static void
drop_unusual(float query_norm2, const float *norms2, size_t count, float *keys)
{
	bool query_usual = iqdb_norm2_is_usual(query_norm2);

	for (size_t i = 0; i < count; i++)
		keys[i] = query_usual && iqdb_norm2_is_usual(norms2[i]) ? keys[i] : NAN;
}

void
iqdb_store_finish_keys(const IqdbStore *store, const void *query, float query_norm2, const uint32_t *slots,
					   uint32_t first, const float *norms2, size_t count, float *keys)
{
	IqdbKeyForm form = store->metric->form;
	Usual       usual = usual_keys(store->metric);

	if (form != IQDB_KEY_SUM)
		iqdb_metric_finish((IqdbMetric) store->header->options.metric, query_norm2, norms2, count, keys);
	if (form == IQDB_KEY_COSINE)
		drop_unusual(query_norm2, norms2, count, keys);
	if (form == IQDB_KEY_NEGATED)
		drop_vanished(store, query, count, keys);
	for (size_t i = 0; i < count; i++)
	{
		if (__builtin_expect(!(keys[i] >= usual.low && keys[i] < usual.high), 0))
			keys[i] = key_in_double(store, query, slots != NULL ? slots[i] : first + (uint32_t) i);
	}
}
