/*
 * index_ranking.c - see index_ranking.h. Owns what is known about the rounding errors of rank keys.
 */
#include "core/db/index_ranking.h"

#include <string.h>

/* So many rows may wait: those of an exact engine's first pass, less what a usual search has handed out by then. */
#define WAITING_MAX (IQDB_RANKING_BATCH - 16)

/* So many rows of one distance at the end of what is known wait for no others of their key, if the engine is approximate. */
#define TIES_BELIEVED 4

/* Relative error of keys that were squeezed. */
#define SQUEEZED_ERROR 1e-4

/* Prepared queries of numbers are floats. */
static double
length_of_query(const IqdbStore *store, const float *query)
{
	return sqrt(store->kernels->doubles->dot(query, query, store->header->options.dimension));
}

/* The inner product of a row with itself is what its element gives for it as both vectors. */
static double
length_of_row(const IqdbStore *store, const void *vector)
{
	const IqdbIndexOptions *options = &store->header->options;

	return sqrt(-iqdb_element_distance(store->kernels, store->element, (IqdbMetric) options->metric, vector, vector,
									   options->dimension));
}

void
iqdb_ranking_start(IqdbRanking *ranking, const IqdbCursor *cursor)
{
	memset(ranking, 0, offsetof(IqdbRanking, rows));
	if (cursor == NULL)
	{
		ranking->ended = true;
		return;
	}
	ranking->store = cursor->store;
	ranking->query = cursor->query;
	if (ranking->store->metric->form == IQDB_KEY_NEGATED)
		ranking->query_norm = length_of_query(ranking->store, ranking->query);
}

/*
 * No row of this key, or of a larger one, is nearer. A key is the sum of dim terms, each of few roundings, in at least
 * eight chains (kernels_scalar.c; the other tables have more); what is added to the chains' length pays for the roundings
 * of a term, the tree that adds up the chains, and the steps from sum to key. Errors are relative to the sum of the terms'
 * magnitudes: the sum itself for L2 and L1, the product of the norms for an inner product, which is 1 for cosine, where
 * two norms are rounded as well.
 */
static double
least_distance(const IqdbRanking *ranking, float key)
{
	const IqdbMetricTraits *metric = ranking->store->metric;
	double                  dim = (double) ranking->store->header->options.dimension;
	double                  error = (dim / 8 + 16) * 0x1p-24;
	double                  size = fabs((double) key);
	bool                    squeezed = !metric->needs_norms && size > 0 && (size < IQDB_KEY_SMALL || size >= IQDB_KEY_LARGE);
	double                  least = iqdb_key_widen(key);

	/* computed in double, and squeezed into a float: of that some five digits are left (vec/metric.h) */
	if (squeezed)
		least -= fabs(least) * SQUEEZED_ERROR;
	switch (metric->form)
	{
		case IQDB_KEY_NEGATED:
			/* this key may be of double, but the next ones not */
			return least - error * ranking->query_norm * ranking->row_norm;
		case IQDB_KEY_COSINE:
			return (double) key - 3 * error;
		case IQDB_KEY_JACCARD:
			/* of counts only the quotient is rounded, once */
			return (double) key - 0x1p-23;
		default:
			break;
	}
	switch (metric->sum)
	{
		case IQDB_SUM_L2:
			/* squares below the smallest float may have been rounded up to it */
			least = squeezed ? least : least * (1 - error) - dim * 0x1p-149;
			return least > 0 ? sqrt(least) : 0;
		case IQDB_SUM_L1:
			return squeezed ? least : least * (1 - error);
		default:
			return (double) key;
	}
}

/*
 * A slot that another row has got meanwhile says nothing; nobody will see the row that went. And a zero vector that was
 * asked for behind all others has no direction to compute with.
 */
static double
hit_distance(IqdbRanking *ranking, const IqdbHit *hit)
{
	const IqdbStore *store = ranking->store;
	const void      *vector = iqdb_store_vector(store, hit->slot);
	IqdbMetric       metric = (IqdbMetric) store->header->options.metric;
	double           key;

	if (!iqdb_store_holds(store, hit->slot, hit->sequence) || (store->metric->form == IQDB_KEY_COSINE && isinf(hit->key)))
		return iqdb_metric_distance(metric, hit->key);
	if (store->metric->form == IQDB_KEY_NEGATED)
		ranking->row_norm = fmax(ranking->row_norm, length_of_row(store, vector));
	key = iqdb_element_key(store->kernels, store->element, metric, ranking->query, vector,
						   store->header->options.dimension);
	return store->metric->squared ? sqrt(key) : key;
}

/* Behind all that are not farther: equal distances stay in the order in which they came. */
static void
insert(IqdbRanking *ranking, IqdbRankedRow row)
{
	size_t at = ranking->count++;

	for (; at > ranking->next && ranking->rows[at - 1].distance > row.distance; at--)
		ranking->rows[at] = ranking->rows[at - 1];
	ranking->rows[at] = row;
}

/* Moves what is held to the front. */
static void
compact(IqdbRanking *ranking)
{
	ranking->count -= ranking->next;
	memmove(ranking->rows, ranking->rows + ranking->next, ranking->count * sizeof(IqdbRankedRow));
	ranking->next = 0;
}

void
iqdb_ranking_add(IqdbRanking *ranking, const IqdbHit *hits, size_t count)
{
	compact(ranking);
	for (size_t i = 0; i < count; i++)
	{
		IqdbRankedRow row = {.id = hits[i].id, .distance = hit_distance(ranking, &hits[i])};

		insert(ranking, row);
	}
	if (count > 0)
		ranking->last_key = hits[count - 1].key;
	else
		ranking->ended = true;
}

void
iqdb_ranking_append(IqdbRanking *ranking, uint64_t id, double distance)
{
	IqdbRankedRow row = {.id = id, .distance = distance};

	if (ranking->next > 0)
		compact(ranking);
	ranking->rows[ranking->count++] = row;
}

/*
 * May the first of the rows that are held go? That those at hand are equal does not say that the next of their key is: some
 * other row may share the key of many copies, and be a little nearer. Only an approximate engine, which promises no order
 * beyond its first rows and would have to search again for more, is spared the wait.
 */
static bool
is_settled(const IqdbRanking *ranking)
{
	const IqdbRankedRow *first = &ranking->rows[ranking->next];
	const IqdbRankedRow *last = &ranking->rows[ranking->count - 1];
	size_t               held = ranking->count - ranking->next;

	if (ranking->ended || held >= WAITING_MAX || first->distance <= least_distance(ranking, ranking->last_key))
		return true;
	return !iqdb_engine_get(ranking->store->header->options.engine)->is_exact && held >= TIES_BELIEVED &&
		   first->distance == last->distance;
}

bool
iqdb_ranking_next(IqdbRanking *ranking, IqdbRankedRow *row_out)
{
	if (ranking->next == ranking->count || !is_settled(ranking))
		return false;
	*row_out = ranking->rows[ranking->next++];
	return true;
}
