/*
 * hnsw_centre.c - the centre that is subtracted from rows before they are coded.
 *
 * A code of bytes has 255 steps between a row's smallest and largest component. Where components lie far from zero in
 * all rows (a year, a price in cents, a bias of the model), the steps would be too wide for what tells rows apart; they
 * are not when the mean of the rows is subtracted first. A code of signs tells rows apart only by the sides of the
 * centre that they lie on.
 *
 * The centre is zero at first. It is reviewed when FIRST_REVIEW rows are linked (fewer rows are scanned rather than
 * searched for with any usual beam), then whenever there are REVIEW_GROWTH times as many, at the end of a build and by
 * OPTIMIZE. Where the mean of a sample lies farther from the centre than a share of what rows differ by, the mean
 * becomes the centre, and every node is coded again. Rows that lie many times as far away as the median row are left
 * out of the mean: a few rows of another magnitude, or a tenth of the rows that lies elsewhere, must not spoil the
 * codes of the others.
 *
 * Coding again is done in stretches beside everything else. The centre changes while STRUCTURE is held exclusively for
 * an instant. From then on until all nodes are coded again (header->recode) no code is read, and walks compare vectors:
 * that is slower, but right. The epoch moves on at the beginning and at the end, which tells searches and linkers to
 * begin again. Coding may be cancelled; the next process that links a row, or maintains the index, goes on from there.
 */
#include "core/hnsw/hnsw_centre_private.h"

#include <math.h>
#include <string.h>

#include "core/engine/stretch.h"
#include "core/hnsw/hnsw_score_private.h"
#include "core/hnsw/hnsw_sketch_private.h"

#define FIRST_REVIEW 256u
#define REVIEW_GROWTH 8u

/* Rows of a sample: so the error of their mean is about 1/32 of what rows differ by. */
#define SAMPLE_MAX 1024u

/* Rows of the sample that lie farther away than the median by this factor, squared, are left out. */
#define FAR2 64.0

/*
 * The centre stays when its squared distance to the mean is at most this share of the rows' mean squared distance to
 * the mean.
 */
#define TOLERATED 0.0625

typedef struct Review
{
	const IqdbiHnsw *graph;
	double          *mean;                  /* per dimension */
	double          *sum;                   /* per dimension */
	void            *prepared;              /* room for a row's components, where the graph needs that; else not used */
	double           distance2[SAMPLE_MAX]; /* of the rows of the sample to `mean` */
	double           sorted[SAMPLE_MAX];
	uint32_t         rows;                  /* in the sample */
	IqdbStretch      stretch;               /* of STRUCTURE; a component that is looked at costs about a nanosecond */
} Review;

/*
 * What a row is multiplied by before the centre is subtracted: where directions are compared, 1 / its length. STRUCTURE
 * is held.
 */
static double
length_factor(const IqdbiHnsw *graph, uint32_t slot)
{
	double norm2;

	if (graph->store->metric->space != IQDB_SPACE_UNIT)
		return 1.0;
	norm2 = (double) iqdb_store_norm2(graph->store, slot);
	/* where the norm overflowed this is 0: such a row is compared by its vector */
	return norm2 > 0.0 ? 1.0 / sqrt(norm2) : 0.0;
}

/* Does the slot have a code that searches read? Removed rows do, and keep their vectors, as long as they are nodes. */
static bool
has_code(const IqdbiHnsw *graph, uint32_t slot)
{
	uint32_t info = iqdbi_hnsw_info(graph, slot);

	return iqdbi_info_status(info) == IQDBI_INFO_LINKED || (info & IQDBI_INFO_WAS_LINKED) != 0;
}

/* The next slot with a code from `slot` on, or slot_count. */
static uint32_t
next_coded(const IqdbiHnsw *graph, uint32_t slot, uint32_t slot_count)
{
	while (slot < slot_count && !has_code(graph, slot))
		slot++;
	return slot;
}

/*
 * Adds a row to the sums when its squared distance to the mean so far is within the limit; returns that. The mean so
 * far is subtracted first, because sums of components far from zero would lose the digits that matter.
 */
static double
sum_row(Review *review, const float *vector, double factor, double limit)
{
	double squares = 0.0;

	for (size_t i = 0; i < review->graph->dim; i++)
	{
		double value = (double) vector[i] * factor - review->mean[i];

		squares += value * value;
	}
	for (size_t i = 0; squares <= limit && i < review->graph->dim; i++)
		review->sum[i] += (double) vector[i] * factor - review->mean[i];
	return squares;
}

/*
 * One pass over at most SAMPLE_MAX nodes, evenly spaced: notes their squared distances to the mean so far, and sums up
 * the rows that are within the limit. STRUCTURE is held but for pauses; what becomes of slots in a pause does not
 * matter, as any row will do.
 */
static IqdbStatus
sample_pass(Review *review, double limit, uint32_t *within_out, double *squares_out)
{
	const IqdbiHnsw *graph = review->graph;
	uint32_t         slot_count = atomic_load_explicit(&graph->store->header->slot_count, memory_order_acquire);
	uint32_t         step = slot_count / SAMPLE_MAX + 1;

	review->rows = 0;
	*within_out = 0;
	*squares_out = 0.0;
	memset(review->sum, 0, graph->dim * sizeof(double));
	for (uint32_t slot = 0; (slot = next_coded(graph, slot, slot_count)) < slot_count && review->rows < SAMPLE_MAX;
		 slot += step)
	{
		const float *vector = iqdb_store_floats(graph->store, slot, review->prepared);
		double       squares = sum_row(review, vector, length_factor(graph, slot), limit);

		review->distance2[review->rows++] = squares;
		*within_out += squares <= limit;
		*squares_out += squares <= limit ? squares : 0.0;
		IQDB_TRY(iqdb_stretch_step(&review->stretch, 2 * graph->dim));
	}
	return IQDB_OK;
}

/* The median of the squared distances of the last pass. They are so few that a sort by insertion will do. */
static double
median_distance2(Review *review)
{
	double *sorted = review->sorted;

	for (uint32_t i = 0; i < review->rows; i++)
	{
		uint32_t at = i;

		for (; at > 0 && sorted[at - 1] > review->distance2[i]; at--)
			sorted[at] = sorted[at - 1];
		sorted[at] = review->distance2[i];
	}
	return review->rows > 0 ? sorted[review->rows / 2] : 0.0;
}

/* Moves the mean to that of the rows that were within the limit. */
static void
move_mean(Review *review, uint32_t within)
{
	for (size_t i = 0; within > 0 && i < review->graph->dim; i++)
		review->mean[i] += review->sum[i] / (double) within;
}

/*
 * Learns the mean of the rows in two rounds, the second without rows that are far from the mean of the first, and how
 * much rows differ from it (*spread_out, mean squared distance). STRUCTURE is held, but for pauses.
 */
static IqdbStatus
learn_mean(Review *review, double *spread_out)
{
	const IqdbiHnsw *graph = review->graph;
	uint32_t         within;
	double           squares;
	double           limit;

	for (size_t i = 0; i < graph->dim; i++)
		review->mean[i] = (double) graph->centre[i];
	IQDB_TRY(sample_pass(review, 0.0, &within, &squares));
	for (int round = 0; round < 2; round++)
	{
		limit = FAR2 * median_distance2(review);
		IQDB_TRY(sample_pass(review, limit, &within, &squares));
		move_mean(review, within);
		if (round == 0)
			IQDB_TRY(sample_pass(review, 0.0, &within, &squares));
	}
	/* to the mean before its last move, which was by less than what rows differ by */
	*spread_out = within > 0 ? squares / (double) within : 0.0;
	return IQDB_OK;
}

/* The squared distance between the mean and the centre. */
static double
mean_offset2(const Review *review)
{
	double sum = 0.0;

	for (size_t i = 0; i < review->graph->dim; i++)
	{
		double value = review->mean[i] - (double) review->graph->centre[i];

		sum += value * value;
	}
	return sum;
}

/* Makes the mean the centre; codes are out of use from then on. Takes STRUCTURE exclusively. */
static void
move_centre(const Review *review)
{
	const IqdbiHnsw *graph = review->graph;

	iqdb_store_lock(graph->store, IQDB_LOCK_STRUCTURE, true);
	for (size_t i = 0; i < graph->dim; i++)
		graph->centre[i] = (float) review->mean[i];
	atomic_store_explicit(&graph->header->recode, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&graph->header->epoch, 1, memory_order_acq_rel);
	iqdb_store_unlock(graph->store, IQDB_LOCK_STRUCTURE, true);
}

/*
 * Codes all nodes again, from the first one that was not yet. Nodes that are linked meanwhile are coded by their
 * linkers around the new centre; a linker that was at work when the centre moved has noticed the epoch and begun again.
 * Takes STRUCTURE shared, in stretches, and exclusively at the end.
 */
static IqdbStatus
recode_nodes(Review *review)
{
	const IqdbiHnsw *graph = review->graph;
	uint32_t         slot_count = atomic_load_explicit(&graph->store->header->slot_count, memory_order_acquire);
	uint32_t         first = atomic_load_explicit(&graph->header->recode, memory_order_relaxed) - 1;
	IqdbStatus       status = IQDB_OK;

	iqdb_stretch_begin(&review->stretch, graph->store, IQDB_LOCK_STRUCTURE, NULL);
	for (uint32_t slot = first; slot < slot_count && status == IQDB_OK; slot++)
	{
		if (has_code(graph, slot))
		{
			iqdbi_hnsw_encode(graph, slot, review->prepared);
			iqdbi_sketch_make(graph, slot, review->prepared);
			status = iqdb_stretch_step(&review->stretch, 4 * graph->dim);
		}
		atomic_store_explicit(&graph->header->recode, slot + 2, memory_order_relaxed);
	}
	iqdb_stretch_end(&review->stretch);
	if (status != IQDB_OK)
		return status;
	iqdb_store_lock(graph->store, IQDB_LOCK_STRUCTURE, true);
	atomic_store_explicit(&graph->header->recode, 0, memory_order_relaxed);
	atomic_fetch_add_explicit(&graph->header->epoch, 1, memory_order_acq_rel);
	iqdb_store_unlock(graph->store, IQDB_LOCK_STRUCTURE, true);
	return IQDB_OK;
}

/*
 * Goes on with coding again where that was cancelled; else looks whether the centre has to move. The caller has set
 * header->reviewing, so no other process does the same, and holds no lock.
 */
static IqdbStatus
review_or_go_on(Review *review)
{
	const IqdbiHnsw *graph = review->graph;
	IqdbStatus       status;
	double           spread = 0.0;

	if (atomic_load_explicit(&graph->header->recode, memory_order_relaxed) != 0)
		return recode_nodes(review);
	iqdb_stretch_begin(&review->stretch, graph->store, IQDB_LOCK_STRUCTURE, NULL);
	status = learn_mean(review, &spread);
	iqdb_stretch_end(&review->stretch);
	if (status != IQDB_OK || !(mean_offset2(review) > TOLERATED * spread))
		return status;
	move_centre(review);
	return recode_nodes(review);
}

IqdbStatus
iqdbi_hnsw_centre_review(const IqdbiHnsw *graph)
{
	const IqdbAllocator *allocator = &graph->store->host->allocator;
	size_t               bytes = sizeof(Review) + 2 * graph->dim * sizeof(double) + graph->prepared_bytes;
	Review              *review;
	uint32_t             idle = 0;
	IqdbStatus           status;

	if (graph->code == IQDBI_HNSW_PLAIN)
		return IQDB_OK;
	review = iqdb_alloc(allocator, bytes);
	if (review == NULL)
		return IQDB_ERR_NOMEM;
	review->graph = graph;
	review->mean = (double *) (void *) (review + 1);
	review->sum = review->mean + graph->dim;
	review->prepared = review->sum + graph->dim;
	status = IQDB_OK;
	/* one process at a time: a second one leaves the work to the first */
	if (atomic_compare_exchange_strong_explicit(&graph->header->reviewing, &idle, 1, memory_order_acquire,
												memory_order_relaxed))
	{
		status = review_or_go_on(review);
		atomic_store_explicit(&graph->header->reviewing, 0, memory_order_release);
	}
	iqdb_free(allocator, review, bytes);
	return status;
}

IqdbStatus
iqdbi_hnsw_centre_when_due(const IqdbiHnsw *graph)
{
	_Atomic uint32_t *due = &graph->header->centre_due;
	uint32_t          at = atomic_load_explicit(due, memory_order_relaxed);
	uint32_t          linked = atomic_load_explicit(&graph->header->linked, memory_order_relaxed);
	uint64_t          next;

	if (graph->code == IQDBI_HNSW_PLAIN)
		return IQDB_OK;
	if (atomic_load_explicit(&graph->header->recode, memory_order_relaxed) != 0)
		return iqdbi_hnsw_centre_review(graph);
	if (linked < (at == 0 ? FIRST_REVIEW : at))
		return IQDB_OK;
	next = (uint64_t) linked * REVIEW_GROWTH;
	/* of several linkers that come here the one that moves the mark does the work */
	if (!atomic_compare_exchange_strong_explicit(due, &at, next < UINT32_MAX ? (uint32_t) next : UINT32_MAX,
												 memory_order_relaxed, memory_order_relaxed))
		return IQDB_OK;
	return iqdbi_hnsw_centre_review(graph);
}
