/*
 * hnsw_centre.c - the centre that is subtracted from rows before they are coded.
 *
 * A code has 255 steps between a row's smallest and largest component. Where components lie far from zero in all rows (a
 * year, a price in cents, a bias of the model), the steps would be too wide for what tells rows apart; less the mean of the
 * rows they are not. And a code of signs tells rows apart by the sides of the centre that they lie on, and by nothing else.
 * The centre is zero at first. It is looked at when FIRST_REVIEW rows are linked, then whenever they are
 * REVIEW_GROWTH times as many, at the end of a build and by OPTIMIZE: where the mean of a sample lies farther from it than
 * a share of what rows differ by, the mean takes its place, and every node is coded again with STRUCTURE held exclusively.
 * The new epoch tells searches and linkers to begin again. Fewer rows than FIRST_REVIEW are scanned rather than searched
 * for by any usual beam.
 */
#include "core/hnsw/hnsw_private.h"

#define FIRST_REVIEW 256u
#define REVIEW_GROWTH 8u

/* Rows of a sample: their mean is off by 1/32 of what rows differ by. */
#define SAMPLE_MAX 1024u

/* Squared distance of mean and centre that is let pass, as a share of the mean squared distance of rows to their mean. */
#define TOLERATED 0.0625

typedef struct Review
{
	const IqdbiHnsw *graph;
	double          *mean; /* per dimension */
	uint32_t         rows; /* in the sample */
	double           away; /* |mean - centre|^2 */
	double           spread; /* mean of |row - mean|^2 */
} Review;

static double
length_factor(const IqdbiHnsw *graph, uint32_t slot)
{
	double norm2;

	if (graph->metric != IQDB_METRIC_COSINE)
		return 1.0;
	norm2 = (double) iqdb_store_norm2(graph->store, slot);
	return norm2 > 0.0 ? 1.0 / sqrt(norm2) : 0.0;
}

/* Is the slot a node whose code others read? Removed rows keep their vectors as long as they are nodes. */
static bool
is_node(const IqdbiHnsw *graph, uint32_t slot)
{
	uint32_t info = iqdbi_hnsw_info(graph, slot);

	return iqdbi_info_status(info) == IQDBI_INFO_LINKED || (info & IQDBI_INFO_WAS_LINKED) != 0;
}

/* The next slot of the sample from `slot` on, or slot_count. */
static uint32_t
sample_next(const IqdbiHnsw *graph, uint32_t slot, uint32_t slot_count)
{
	while (slot < slot_count && !is_node(graph, slot))
		slot++;
	return slot;
}

/* Mean and spread of at most SAMPLE_MAX nodes, evenly spaced. STRUCTURE is held. */
static void
learn(Review *review)
{
	const IqdbiHnsw *graph = review->graph;
	uint32_t         slot_count = atomic_load_explicit(&graph->store->header->slot_count, memory_order_acquire);
	uint32_t         step = slot_count / SAMPLE_MAX + 1;
	double           squares = 0.0;
	double           norm2 = 0.0;

	for (uint32_t slot = 0; (slot = sample_next(graph, slot, slot_count)) < slot_count; slot += step)
	{
		const float *vector = iqdb_store_vector(graph->store, slot);
		double       factor = length_factor(graph, slot);

		for (size_t i = 0; i < graph->dim; i++)
		{
			/* around the centre of now: what is far from zero would swallow the differences */
			double value = (double) vector[i] * factor - (double) graph->centre[i];

			review->mean[i] += value;
			squares += value * value;
		}
		review->rows++;
	}
	for (size_t i = 0; review->rows > 0 && i < graph->dim; i++)
	{
		review->mean[i] /= (double) review->rows;
		norm2 += review->mean[i] * review->mean[i];
		review->mean[i] += (double) graph->centre[i];
	}
	review->away = norm2;
	review->spread = review->rows > 0 ? squares / (double) review->rows - norm2 : 0.0;
}

/* Codes everything again around the mean. STRUCTURE is held exclusively. */
static void
change(const Review *review)
{
	const IqdbiHnsw *graph = review->graph;
	uint32_t         slot_count = atomic_load_explicit(&graph->store->header->slot_count, memory_order_acquire);

	for (size_t i = 0; i < graph->dim; i++)
		graph->centre[i] = (float) review->mean[i];
	for (uint32_t slot = 0; slot < slot_count; slot++)
	{
		if (is_node(graph, slot))
			iqdbi_hnsw_encode(graph, slot);
	}
	atomic_fetch_add_explicit(&graph->header->epoch, 1, memory_order_acq_rel);
}

IqdbStatus
iqdbi_hnsw_centre_review(const IqdbiHnsw *graph)
{
	const IqdbAllocator *allocator = &graph->store->host->allocator;
	Review               review = {.graph = graph};

	if (graph->code == IQDBI_HNSW_PLAIN)
		return IQDB_OK;
	review.mean = iqdb_alloc_zero(allocator, graph->dim * sizeof(double));
	if (review.mean == NULL)
		return IQDB_ERR_NOMEM;
	iqdb_store_lock(graph->store, IQDB_LOCK_STRUCTURE, false);
	learn(&review);
	iqdb_store_unlock(graph->store, IQDB_LOCK_STRUCTURE, false);
	if (isfinite(review.away) && isfinite(review.spread) && review.away > TOLERATED * review.spread)
	{
		iqdb_store_lock(graph->store, IQDB_LOCK_STRUCTURE, true);
		change(&review);
		iqdb_store_unlock(graph->store, IQDB_LOCK_STRUCTURE, true);
	}
	iqdb_free(allocator, review.mean, graph->dim * sizeof(double));
	return IQDB_OK;
}

IqdbStatus
iqdbi_hnsw_centre_when_due(const IqdbiHnsw *graph)
{
	_Atomic uint32_t *due = &graph->header->centre_due;
	uint32_t          at = atomic_load_explicit(due, memory_order_relaxed);
	uint32_t          linked = atomic_load_explicit(&graph->header->linked, memory_order_relaxed);
	uint64_t          next;

	if (graph->code == IQDBI_HNSW_PLAIN || linked < (at == 0 ? FIRST_REVIEW : at))
		return IQDB_OK;
	next = (uint64_t) linked * REVIEW_GROWTH;
	/* who moves the mark does the work */
	if (!atomic_compare_exchange_strong_explicit(due, &at, next < UINT32_MAX ? (uint32_t) next : UINT32_MAX,
												 memory_order_relaxed, memory_order_relaxed))
		return IQDB_OK;
	return iqdbi_hnsw_centre_review(graph);
}
