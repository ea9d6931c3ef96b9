/*
 * ivf_probes.c - how many lists a search probes unless told otherwise: measured, on the rows themselves.
 *
 * Rows of the index are asked for their own nearest neighbours by a full scan: the lists to probe are those in which
 * SHARE of these neighbours are, and a margin. All rows asked share one reading of the vectors.
 */
#include "core/ivf/ivf_edition_private.h"

#include <string.h>

#include "core/base/rng.h"
#include "core/engine/exact_pass.h"
#include "core/ivf/ivf_coarse_private.h"
#include "core/ivf/ivf_home_private.h"
#include "core/ivf/ivf_space_private.h"

/* Near neighbours of so many rows, for so much comparing (bytes), and the share of them to be covered. */
#define QUERIES_MIN 16u
#define QUERIES_MAX 64u
#define QUERIES_BYTES (UINT64_C(3) << 30)
#define NEIGHBOURS 10u
#define SHARE 0.98

/* Queries are seldom rows: they lie farther from the middle of cells. */
#define MARGIN 1.5

/* A row that is asked, and the best so far. */
typedef struct Query
{
	float           norm2;
	uint32_t        slot;
	IqdbTopK        top;
	IqdbScorer      scorer;
	IqdbExactSearch search;
} Query;

typedef struct Probing
{
	const IqdbiIvf *ivf;
	uint32_t        edition;
	uint32_t        slots;   /* slots looked at: below this */
	IqdbiModel      model;
	IqdbCarve       memory;  /* of all that follows but the scratch */
	unsigned char  *vectors; /* count prepared queries */
	size_t          stride;  /* bytes from one to the next */
	Query          *queries;
	uint32_t        count;
	uint32_t       *ranks;   /* lists */
	uint32_t       *histogram;
	IqdbiScratch    scratch;
} Probing;

static bool
is_linked(const Probing *probing, uint32_t slot)
{
	uint32_t home = iqdbi_home(probing->ivf, probing->edition, slot);

	return iqdbi_home_status(home) == IQDBI_HOME_LINKED && iqdbi_home_list(home) < probing->model.figures.lists;
}

/* Copies a LIVE row of the edition's lists, drawn at random; false when none was met. */
static bool
draw_query(Probing *probing, IqdbRng *rng)
{
	const IqdbStore *store = probing->ivf->store;
	Query           *query = &probing->queries[probing->count];
	unsigned char   *copy = probing->vectors + probing->count * probing->stride;

	for (int i = 0; i < 100; i++)
	{
		uint32_t slot = (uint32_t) iqdb_rng_below(rng, probing->slots);
		bool     good;

		iqdb_store_lock(store, IQDB_LOCK_STRUCTURE, false);
		good = iqdb_store_state(store, slot) == IQDB_ROW_LIVE && is_linked(probing, slot);
		if (good)
		{
			const void *prepared = iqdb_store_query(store, slot, copy);

			if (prepared != copy)
				memcpy(copy, prepared, iqdb_element_prepared_bytes(store->element, probing->ivf->dim));
			query->norm2 = iqdb_store_norm2(store, slot);
			query->slot = slot;
		}
		iqdb_store_unlock(store, IQDB_LOCK_STRUCTURE, false);
		if (good)
			return true;
	}
	return false;
}

static uint32_t
queries_wanted(const Probing *probing)
{
	uint64_t row = probing->ivf->store->row_stride;
	uint64_t queries = QUERIES_BYTES / (row * ((uint64_t) probing->slots + 1));

	if (queries < QUERIES_MIN)
		return QUERIES_MIN;
	return queries > QUERIES_MAX ? QUERIES_MAX : (uint32_t) queries;
}

static void
lay_out_probing(Probing *probing, uint32_t wanted)
{
	uint32_t lists = probing->model.figures.lists;

	probing->vectors = iqdb_carve(&probing->memory, wanted, probing->stride);
	probing->queries = iqdb_carve(&probing->memory, wanted, sizeof(Query));
	probing->ranks = iqdb_carve(&probing->memory, lists, sizeof(uint32_t));
	probing->histogram = iqdb_carve(&probing->memory, lists, sizeof(uint32_t));
}

static IqdbStatus
probing_start(Probing *probing, IqdbError *err)
{
	const IqdbiIvf      *ivf = probing->ivf;
	const IqdbAllocator *allocator = &ivf->store->host->allocator;
	uint32_t             lists = probing->model.figures.lists;
	uint32_t             wanted = queries_wanted(probing);
	IqdbRng              rng;

	probing->stride = iqdb_carve_round(iqdb_element_prepared_bytes(ivf->store->element, ivf->dim));
	lay_out_probing(probing, wanted);
	if (!iqdb_carve_alloc(&probing->memory, allocator))
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for measuring probes");
	lay_out_probing(probing, wanted);
	memset(probing->histogram, 0, lists * sizeof(uint32_t));
	iqdb_rng_seed(&rng, ivf->store->header->options.seed + 1);
	while (probing->count < wanted && draw_query(probing, &rng))
		iqdb_topk_init(&probing->queries[probing->count++].top, allocator, NEIGHBOURS + 1);
	return iqdbi_scratch_init(&probing->scratch, ivf, probing->model.figures.supers, lists, err);
}

static void
probing_end(Probing *probing)
{
	for (uint32_t i = 0; i < probing->count; i++)
		iqdb_topk_free(&probing->queries[i].top);
	iqdbi_scratch_free(&probing->scratch);
	iqdb_carve_free(&probing->memory, &probing->ivf->store->host->allocator);
}

/* One pass for all queries together. */
static IqdbStatus
find_neighbours(Probing *probing, IqdbError *err)
{
	const IqdbStore *store = probing->ivf->store;
	IqdbSearchStats  stats = {0};
	IqdbExactSearch *searches[QUERIES_MAX];
	IqdbExactPass    pass = {.store = store,
							 .slots = probing->slots,
							 .searches = searches,
							 .count = probing->count,
							 .row_bytes = store->row_stride};
	IqdbStatus       status;

	for (uint32_t i = 0; i < probing->count; i++)
	{
		Query *query = &probing->queries[i];

		iqdb_scorer_init(&query->scorer, store, NULL, NULL);
		iqdb_scorer_aim(&query->scorer, probing->vectors + i * probing->stride, query->norm2);
		iqdb_exact_search_init(&query->search, &query->scorer, &query->top, &stats);
		searches[i] = &query->search;
	}
	status = iqdb_exact_pass(&pass, err);
	return status == IQDB_ERR_CANCELLED ? iqdb_fail(err, status, "training was cancelled") : status;
}

/* Counts, for each near neighbour of one row, how many lists must be probed to meet it. */
static IqdbStatus
count_ranks(Probing *probing, uint32_t number)
{
	const IqdbiIvf *ivf = probing->ivf;
	const Query    *query = &probing->queries[number];
	IqdbiScratch   *scratch = &probing->scratch;
	uint32_t        lists = probing->model.figures.lists;
	uint32_t        count;

	iqdbi_work_query(ivf, probing->vectors + number * probing->stride, query->norm2, scratch->work);
	IQDB_TRY(iqdbi_coarse_nearest(scratch, &probing->model, scratch->work, lists, NULL, &count));
	for (uint32_t list = 0; list < lists; list++)
		probing->ranks[list] = lists - 1;
	for (uint32_t rank = 0; rank < count; rank++)
		probing->ranks[scratch->ids[rank]] = rank;
	for (size_t i = 0; i < query->top.count; i++)
	{
		uint32_t slot = query->top.items[i].slot;

		if (slot != query->slot && is_linked(probing, slot))
			probing->histogram[probing->ranks[iqdbi_home_list(iqdbi_home(ivf, probing->edition, slot))]]++;
	}
	return IQDB_OK;
}

static uint32_t
covering(const uint32_t *histogram, uint32_t lists)
{
	uint64_t total = 0;
	uint64_t reached = 0;

	for (uint32_t rank = 0; rank < lists; rank++)
		total += histogram[rank];
	for (uint32_t rank = 0; rank < lists; rank++)
	{
		reached += histogram[rank];
		if ((double) reached >= SHARE * (double) total)
			return rank + 1;
	}
	return lists;
}

static uint32_t
with_margin(uint32_t probes, uint32_t lists)
{
	probes = (uint32_t) (MARGIN * probes + 0.5);
	return probes < lists ? probes : lists;
}

IqdbStatus
iqdbi_ivf_measure_probes(const IqdbiIvf *ivf, uint32_t edition, uint32_t slots, IqdbError *err)
{
	Probing    probing = {.ivf = ivf, .edition = edition, .slots = slots};
	uint32_t   lists = ivf->header->editions[edition].lists;
	IqdbStatus status;

	iqdbi_model_view(ivf, edition, &probing.model);
	status = probing_start(&probing, err);
	if (status == IQDB_OK)
		status = find_neighbours(&probing, err);
	for (uint32_t i = 0; i < probing.count && status == IQDB_OK; i++)
	{
		if (iqdb_host_cancelled(ivf->store->host))
			status = iqdb_fail(err, IQDB_ERR_CANCELLED, "training was cancelled");
		else
			status = count_ranks(&probing, i);
	}
	if (status == IQDB_OK)
		ivf->header->editions[edition].probes = with_margin(covering(probing.histogram, lists), lists);
	probing_end(&probing);
	return status;
}
