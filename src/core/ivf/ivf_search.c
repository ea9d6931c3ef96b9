/*
 * ivf_search.c - one batch of hits.
 *
 * A batch looks at all rows that are not linked yet, then into the lists nearest to the query, keeps the best rows by their
 * codes, and ranks those by their vectors. Owns: which rows those are. Does not own: what comes of batches (ivf_stream.c).
 *
 * Rows that are not linked come before the lists: such a row stops waiting when it is in a list, never before, so it is met
 * in one of the two at least. When another edition becomes current between two stretches, the batch begins anew.
 *
 * All functions but iqdbi_batch_probe() are called with STRUCTURE held shared, and it is held when they return, whatever
 * their status is; IQDB_ERR_CANCELLED is put into words by iqdbi_batch_probe().
 */
#include "core/ivf/ivf_search_private.h"

#include "core/ivf/ivf_coarse_private.h"
#include "core/ivf/ivf_seen_private.h"
#include "core/ivf/ivf_list_private.h"
#include "core/ivf/ivf_query_private.h"
#include "core/ivf/ivf_space_private.h"
#include "core/ivf/ivf_waiting_private.h"

/*
 * Rows of a first batch when the caller does not say how many it expects, and how many of them are ranked so well at
 * first that they can be handed out: the others are ranked when the caller asks for more. Most callers take ten rows,
 * and must see the next one to know that the tenth is one of the ten nearest.
 */
#define EXPECTED_DEFAULT 64u
#define EXPECTED_AT_ONCE 12u

/*
 * How many rows that pass the filter must have been met for each row to be handed out; more lists are opened until they
 * have. The first number is for a first batch of lists whose number was measured, the second for all later batches. Where
 * the caller or the index named the number of lists, the first batch is content with as many rows as are expected, and
 * hands out only a few.
 */
#define MET_PER_WANTED 8u
#define MET_PER_LATER 24u

/* Nanoseconds that ranking a row takes, beside reading its vector. */
#define RANK_CHARGE 32u

/* Where the lists wanted were not enough, so many times as many are ranked. */
#define MORE_LISTS 4u

/* With a filter the order of so many lists is found out at first: finding out more of it begins anew. */
#define RANKED_LEAST 64u

/* Most blocks have no row that passes. */
#define SHARE_FEW 0.015

/* So many entries are sorted out without STRUCTURE. */
#define APART_MIN 16384u

/* Rows that are near enough by their codes, and wait until so many can be asked for the filter together. */
typedef struct Near
{
	uint32_t slots[IQDB_FILTER_EACH];
	float    keys[IQDB_FILTER_EACH];
	uint32_t count;
} Near;

/* One attempt at one batch. */
typedef struct Probe
{
	IqdbiIvfCursor  *cursor;
	const IqdbStore *store;
	IqdbStretch      stretch; /* the hold of STRUCTURE; stale: another edition has become current */
	IqdbiIvf         ivf;
	IqdbiModel       model;
	uint32_t         edition;
	bool             twice;   /* a row may have been met twice: not linked and in a list, or moved inside a list */
	IqdbiScratch     scratch;
	IqdbiQuery       query;
	IqdbCarve        memory;  /* of the query and the pick */
	IqdbiPick        pick;    /* the best rows by their codes */
	uint64_t         judged;  /* rows that the filter was asked about, and of these, */
	uint64_t         passed;  /* rows that it admitted */
	uint64_t         met;     /* rows of the lists that were opened */
	uint64_t         picked;  /* rows that were among the best by their codes when they were met */
	Near             near;    /* rows that are not asked for the filter yet */
	uint32_t         idle;    /* with a filter: lists in a row that had rows to offer, none of which was picked */
	bool             dear;    /* an exact pass has become cheaper */
	uint32_t         slots[IQDBI_EXACT_ROWS]; /* gathered rows: they are ranked together */
	uint32_t         slot_count;
	IqdbTopK         nearest; /* of the rows ranked, so many as are wanted at first; capacity 0: not kept */
	IqdbError       *err;
} Probe;

/* ---- how much ---- */

size_t
iqdbi_rows_expected(const IqdbiIvfCursor *cursor)
{
	return cursor->base.params.expected > 0 ? cursor->base.params.expected : EXPECTED_DEFAULT;
}

size_t
iqdbi_rows_at_first(const IqdbiIvfCursor *cursor)
{
	return cursor->base.params.expected > 0 ? cursor->base.params.expected : EXPECTED_AT_ONCE;
}

size_t
iqdbi_rows_to_rank(const IqdbiIvfCursor *cursor, size_t expected)
{
	const IqdbIndexOptions *options = &cursor->base.store->header->options;
	size_t                  refine = cursor->base.params.refine != 0 ? cursor->base.params.refine : options->refine;

	switch (options->quantization)
	{
		case IQDB_QUANTIZATION_SQ8:
			return 2 * expected + 12;
		case IQDB_QUANTIZATION_PQ:
			return refine > 1 ? expected * refine + 8 : expected;
		case IQDB_QUANTIZATION_BQ:
			return expected * (refine > 1 ? 3 * refine : 3) + 40;
		default:
			return expected + 8;
	}
}

bool
iqdbi_gave_up(const IqdbiIvfCursor *cursor)
{
	uint64_t max_rows = cursor->base.params.max_rows;

	return max_rows != 0 && cursor->base.stats.scored >= max_rows;
}

/* ---- rows ---- */

/* Was it handed out before, or put after the stream began? */
static inline bool
is_over(const IqdbiIvfCursor *cursor, uint32_t slot)
{
	return cursor->seen != NULL && (slot >= cursor->seen_slots || iqdbi_seen(cursor->seen, slot));
}

/* The bits of up to IQDB_FILTER_EACH rows of lists that pass the filter, which there is. Those are LIVE. */
static uint64_t
ask_rows(Probe *probe, const uint32_t *slots, uint32_t count)
{
	const IqdbScorer *scorer = &probe->cursor->base.scorer;
	uint64_t          bits = iqdb_scorer_admits_each(scorer, slots, count);

	iqdb_stretch_charge(&probe->stretch, count * (uint64_t) (IQDB_CHARGE_SLOT + iqdb_row_filter_charge(scorer->filter)));
	probe->judged += count;
	probe->passed += (uint64_t) __builtin_popcountll(bits);
	return bits;
}

/* LIVE, not handed out before, and passes the filter? */
static bool
accepts(Probe *probe, uint32_t slot)
{
	const IqdbiIvfCursor *cursor = probe->cursor;

	iqdb_stretch_charge(&probe->stretch, IQDB_CHARGE_SLOT);
	if (iqdb_store_state(probe->store, slot) != IQDB_ROW_LIVE || is_over(cursor, slot))
		return false;
	if (cursor->base.params.filter == NULL)
		return true;
	probe->judged++;
	iqdb_stretch_charge(&probe->stretch, IQDB_CHARGE_FILTER);
	if (!iqdb_scorer_admits(&cursor->base.scorer, slot))
		return false;
	probe->passed++;
	return true;
}

/* Is the row among the nearest already? Only a row that was met twice can be. */
static bool
is_among_nearest(const Probe *probe, uint32_t slot)
{
	for (size_t i = 0; probe->twice && i < probe->nearest.count; i++)
	{
		if (probe->nearest.items[i].slot == slot)
			return true;
	}
	return false;
}

/* Ranks the gathered rows by their vectors. */
static IqdbStatus
rank_gathered(Probe *probe)
{
	IqdbiIvfCursor *cursor = probe->cursor;
	float           keys[IQDBI_EXACT_ROWS];
	uint32_t        count = probe->slot_count;

	probe->slot_count = 0;
	cursor->base.stats.reranked += count;
	for (uint32_t i = 0; i < count; i++)
		iqdb_store_touch(probe->store, probe->slots[i]);
	iqdb_scorer_slots(&cursor->base.scorer, probe->slots, count, keys);
	for (uint32_t i = 0; i < count; i++)
	{
		IqdbCandidate candidate = {.key = keys[i], .slot = probe->slots[i]};

		if (!iqdb_topk_wants(&cursor->top, keys[i]))
			continue;
		candidate.sequence = iqdb_store_sequence(probe->store, candidate.slot);
		if (iqdb_topk_offer(&cursor->top, candidate) != IQDB_OK ||
			(!is_among_nearest(probe, candidate.slot) && iqdb_topk_offer(&probe->nearest, candidate) != IQDB_OK))
			return iqdb_fail(probe->err, IQDB_ERR_NOMEM, "out of memory while keeping %zu candidates",
							 cursor->top.count);
	}
	return iqdb_stretch_step(&probe->stretch, count * (RANK_CHARGE + iqdb_charge_bytes(probe->store->row_stride)));
}

/*
 * A pause, if it is time for one. Rows that are gathered are ranked before: after it their slots may hold other rows, which
 * nobody has asked for the filter.
 */
static IqdbStatus
step_gathering(Probe *probe)
{
	if (!iqdb_stretch_is_over(&probe->stretch))
		return IQDB_OK;
	if (probe->slot_count > 0)
		IQDB_TRY(rank_gathered(probe));
	return probe->stretch.stale ? IQDB_OK : iqdb_stretch_pause(&probe->stretch);
}

/* One more row that is to be ranked by its vector. */
static IqdbStatus
gather_row(Probe *probe, uint32_t slot)
{
	probe->slots[probe->slot_count++] = slot;
	return probe->slot_count == IQDBI_EXACT_ROWS ? rank_gathered(probe) : IQDB_OK;
}

/* ---- rows not linked yet ---- */

static IqdbStatus
scan_unlinked(Probe *probe)
{
	const IqdbiIvf *ivf = &probe->ivf;
	uint32_t        slots = atomic_load_explicit(&probe->store->header->slot_count, memory_order_acquire);
	uint32_t        slot = 0;

	if (atomic_load_explicit(&ivf->header->waiting, memory_order_acquire) == 0)
		return IQDB_OK;
	for (; !probe->stretch.stale && (slot = iqdbi_row_waiting(ivf, slot, slots)) < slots; slot++)
	{
		iqdb_stretch_charge(&probe->stretch, IQDB_CHARGE_SLOT);
		IQDB_TRY(step_gathering(probe));
		if (probe->stretch.stale || iqdbi_home_status(iqdbi_home(ivf, probe->edition, slot)) == IQDBI_HOME_LINKED ||
			!accepts(probe, slot))
			continue;
		probe->cursor->base.stats.scored++;
		probe->twice = true;
		IQDB_TRY(gather_row(probe, slot));
	}
	return probe->slot_count > 0 ? rank_gathered(probe) : IQDB_OK;
}

/* ---- lists ---- */

/* The rows of a block that pass the filter, which there is. */
static uint32_t
ask_block(Probe *probe, unsigned char *block, uint32_t count)
{
	uint32_t slots[IQDBI_BLOCK_ROWS];

	for (uint32_t i = 0; i < count; i++)
		slots[i] = atomic_load_explicit(&iqdbi_block_slots(block)[i], memory_order_relaxed);
	return (uint32_t) ask_rows(probe, slots, count);
}

/* One more row that passes, for as long as no better ones push it out. */
static inline void
pick_row(Probe *probe, float key, uint32_t slot)
{
	iqdbi_pick_push(&probe->pick, key, slot);
	probe->picked++;
}

/* Asks the rows that wait for it, and picks those that pass. */
static void
ask_near(Probe *probe)
{
	Near *near = &probe->near;

	for (uint64_t left = ask_rows(probe, near->slots, near->count); left != 0; left &= left - 1)
	{
		uint32_t i = (uint32_t) __builtin_ctzll(left);

		/* the limit may have come down since */
		if (near->keys[i] <= probe->pick.limit)
			pick_row(probe, near->keys[i], near->slots[i]);
	}
	near->count = 0;
}

/* Picks the rows of a block whose bits are set: their codes are near enough. */
static void
pick_near(Probe *probe, unsigned char *block, const float *keys, uint32_t bits)
{
	const IqdbiIvfCursor *cursor = probe->cursor;
	bool                  filters = cursor->base.params.filter != NULL;

	for (; bits != 0; bits &= bits - 1)
	{
		uint32_t place = (uint32_t) __builtin_ctz(bits);
		uint32_t slot = atomic_load_explicit(&iqdbi_block_slots(block)[place], memory_order_relaxed);

		if (keys[place] > probe->pick.limit)
			continue;
		if (!filters && accepts(probe, slot))
			pick_row(probe, keys[place], slot);
		if (!filters || is_over(cursor, slot))
			continue;
		if (cursor->asks_first)
		{
			pick_row(probe, keys[place], slot);
			continue;
		}
		probe->near.keys[probe->near.count] = keys[place];
		probe->near.slots[probe->near.count++] = slot;
		if (probe->near.count == IQDB_FILTER_EACH)
			ask_near(probe);
	}
}

static IqdbStatus
scan_coded_block(Probe *probe, unsigned char *block, uint32_t count)
{
	float    keys[IQDBI_BLOCK_ROWS];
	uint32_t asked = probe->cursor->asks_first ? ask_block(probe, block, count) : UINT32_MAX;

	if (asked == 0)
		return iqdb_stretch_step(&probe->stretch, 0);
	pick_near(probe, block, keys, asked & iqdbi_query_block(&probe->query, block, count, probe->pick.limit, keys));
	return iqdb_stretch_step(&probe->stretch, iqdb_charge_bytes(probe->ivf.rows.size));
}

/* All rows of a block are asked and gathered without a pause in between. */
static IqdbStatus
scan_plain_block(Probe *probe, unsigned char *block, uint32_t count)
{
	bool     filters = probe->cursor->base.params.filter != NULL;
	uint32_t asked = UINT32_MAX;

	if (probe->slot_count + count > IQDBI_EXACT_ROWS)
		IQDB_TRY(rank_gathered(probe));
	if (probe->stretch.stale)
		return IQDB_OK;
	if (filters)
		asked = ask_block(probe, block, count);
	for (uint32_t place = 0; place < count; place++)
	{
		uint32_t slot = atomic_load_explicit(&iqdbi_block_slots(block)[place], memory_order_relaxed);

		if ((asked >> place & 1) != 0 && (filters ? !is_over(probe->cursor, slot) : accepts(probe, slot)))
			probe->slots[probe->slot_count++] = slot;
	}
	return step_gathering(probe);
}

/*
 * Into the second-level cache: a block is as large as the first, and is scanned once. Where few rows pass a filter only their
 * slots are certain to be read, which stand at the block's beginning.
 */
static inline void
prefetch_block(const Probe *probe, uint32_t number)
{
	const IqdbiIvf      *ivf = &probe->ivf;
	const unsigned char *block = iqdbi_ivf_block(ivf, probe->edition, number);
	bool                 few = probe->cursor->asks_first && probe->cursor->strategy.share < SHARE_FEW;
	size_t               end = few ? IQDBI_BLOCK_ROWS * sizeof(uint32_t) : ivf->rows.size;

	for (size_t at = 0; at < end; at += 64)
		__builtin_prefetch(block + at, 0, 2);
}

/*
 * Rows published by the time the list is opened. When rows were moved inside it between two stretches, the list is
 * looked at once more from its beginning. next_head: first block of the list that comes next, 0 = none.
 */
static IqdbStatus
scan_list(Probe *probe, uint32_t number, uint32_t next_head)
{
	const IqdbiIvf *ivf = &probe->ivf;
	IqdbiList      *list = iqdbi_ivf_lists(ivf, probe->edition) + number;
	bool            coded = ivf->rows.coding != IQDBI_CODING_NONE && number < probe->model.figures.lists;
	uint32_t        count = atomic_load_explicit(&list->count, memory_order_acquire);
	uint32_t        block = atomic_load_explicit(&list->head, memory_order_acquire);
	uint32_t        moves = atomic_load_explicit(&list->moves, memory_order_relaxed);

	probe->met += count;
	probe->cursor->base.stats.scored += count;
	if (coded && count > 0)
		iqdbi_query_list(&probe->query, number);
	while (count > 0 && !probe->stretch.stale)
	{
		unsigned char *bytes = iqdbi_ivf_block(ivf, probe->edition, block);
		uint32_t       next = iqdbi_block_next(ivf, probe->edition, block);
		uint32_t       rows = count < IQDBI_BLOCK_ROWS ? count : IQDBI_BLOCK_ROWS;

		prefetch_block(probe, count > IQDBI_BLOCK_ROWS ? next : next_head);
		if (coded)
			IQDB_TRY(scan_coded_block(probe, bytes, rows));
		else
			IQDB_TRY(scan_plain_block(probe, bytes, rows));
		if (probe->stretch.stale)
			break;
		if (atomic_load_explicit(&list->moves, memory_order_relaxed) != moves)
		{
			moves = atomic_load_explicit(&list->moves, memory_order_relaxed);
			probe->twice = true;
			probe->pick.doubles = true;
			count = atomic_load_explicit(&list->count, memory_order_acquire);
			block = atomic_load_explicit(&list->head, memory_order_acquire);
			continue;
		}
		count -= rows;
		block = next;
	}
	if (probe->near.count > 0)
		ask_near(probe);
	return IQDB_OK;
}

/* Rows that no centre is near to: all of them, by their vectors. They are none of those met on the way. */
static IqdbStatus
scan_far(Probe *probe)
{
	uint64_t met = probe->met;

	IQDB_TRY(scan_list(probe, iqdbi_far_list(probe->model.figures.lists), 0));
	probe->met = met;
	return !probe->stretch.stale && probe->slot_count > 0 ? rank_gathered(probe) : IQDB_OK;
}

/* Rows that pass the filter among those met, as far as can be told from those that were tested. */
static uint64_t
passing(const Probe *probe)
{
	if (probe->cursor->base.params.filter == NULL)
		return probe->met;
	return (uint64_t) ((double) probe->met * (double) probe->passed / ((double) probe->judged + 1.0));
}

static bool
met_enough(const Probe *probe)
{
	const IqdbiIvfCursor *cursor = probe->cursor;

	if (cursor->base.params.filter != NULL && probe->ivf.rows.coding != IQDBI_CODING_NONE)
		return probe->pick.count >= cursor->wanted && probe->idle >= cursor->probes;
	if (cursor->named && cursor->seen == NULL)
		return passing(probe) >= iqdbi_rows_expected(cursor);
	return passing(probe) / (cursor->seen == NULL ? MET_PER_WANTED : MET_PER_LATER) >= cursor->goal;
}

/*
 * Has a list a row that passes the filter? Rows are asked until one does. Metadata costs more to ask than the answer is worth:
 * then every list is taken to have one.
 */
static bool
has_match(Probe *probe, uint32_t number)
{
	const IqdbiList *list = iqdbi_ivf_lists(&probe->ivf, probe->edition) + number;
	uint32_t         count = atomic_load_explicit(&list->count, memory_order_acquire);
	uint32_t         block = atomic_load_explicit(&list->head, memory_order_acquire);

	if (probe->cursor->base.params.filter->metadata != NULL)
		return true;
	while (count > 0)
	{
		uint32_t rows = count < IQDBI_BLOCK_ROWS ? count : IQDBI_BLOCK_ROWS;

		if (ask_block(probe, iqdbi_ivf_block(&probe->ivf, probe->edition, block), rows) != 0)
			return true;
		count -= rows;
		block = iqdbi_block_next(&probe->ivf, probe->edition, block);
	}
	return false;
}

/*
 * With a filter, how far the best rows are is not known before they are found: the nearest lists may have none that pass. So
 * lists are opened until as many in a row as a search without a filter opens in all had nothing to add to the best by codes,
 * though they had rows that pass.
 */
static void
count_idle(Probe *probe, uint32_t list, uint64_t picked, uint64_t passed)
{
	if (probe->pick.count > probe->pick.wanted)
		iqdbi_pick_shrink(&probe->pick);
	if (probe->picked != picked)
		probe->idle = 0;
	else if (probe->cursor->asks_first ? probe->passed != passed : has_match(probe, list))
		probe->idle++;
}

/* Have the lists taken as long as looking at all rows that pass would? Then this is done, once more lists are not enough. */
static bool
is_dear(const Probe *probe)
{
	const IqdbiIvfCursor *cursor = probe->cursor;

	return cursor->base.params.filter != NULL && (double) probe->met * cursor->price_of_row > cursor->strategy.exact;
}

/* Opens the lists order[from .. end - 1]; those from number `least` on only until enough rows were met. */
static IqdbStatus
open_lists(Probe *probe, const uint32_t *order, uint32_t from, uint32_t least, uint32_t end)
{
	IqdbiList *lists = iqdbi_ivf_lists(&probe->ivf, probe->edition);
	uint32_t   i = from;

	for (; i < end && !probe->stretch.stale && !iqdbi_gave_up(probe->cursor); i++)
	{
		uint64_t picked = probe->picked;
		uint64_t passed = probe->passed;
		uint32_t next_head;

		if (i >= least && met_enough(probe))
			break;
		probe->dear = is_dear(probe);
		if (probe->dear)
			return IQDB_OK;
		next_head = i + 1 < end ? atomic_load_explicit(&lists[order[i + 1]].head, memory_order_relaxed) : 0;
		IQDB_TRY(scan_list(probe, order[i], next_head));
		if (probe->cursor->base.params.filter != NULL && probe->ivf.rows.coding != IQDBI_CODING_NONE)
			count_idle(probe, order[i], picked, passed);
	}
	probe->cursor->opened_all = i == probe->model.figures.lists;
	return IQDB_OK;
}

/* Goes on with the lists behind number `from` in their order, up to number `end`. */
static IqdbStatus
open_lists_to(Probe *probe, uint32_t from, uint32_t end)
{
	IqdbiScratch scratch;
	uint32_t     count;
	IqdbStatus   status;

	IQDB_TRY(iqdbi_scratch_init(&scratch, &probe->ivf, probe->model.figures.supers, end, probe->err));
	status = iqdbi_coarse_nearest(&scratch, &probe->model, probe->scratch.work, end, &probe->stretch, &count);
	if (status == IQDB_OK && !probe->stretch.stale)
		status = open_lists(probe, scratch.ids, from, 0, count);
	iqdbi_scratch_free(&scratch);
	return status;
}

/* There were too few rows in the lists that were wanted: goes on with four times as many, and so on, as far as must be. */
static IqdbStatus
open_more_lists(Probe *probe, uint32_t from)
{
	uint32_t lists = probe->model.figures.lists;

	while (from < lists && !probe->stretch.stale && !probe->dear && !met_enough(probe) && !iqdbi_gave_up(probe->cursor))
	{
		uint32_t end = from < lists / MORE_LISTS ? MORE_LISTS * from : lists;

		IQDB_TRY(open_lists_to(probe, from, end));
		from = end;
	}
	return IQDB_OK;
}

/* ---- one batch ---- */

static void
lay_out_probe(Probe *probe)
{
	iqdbi_query_place(&probe->query, &probe->ivf, &probe->memory);
	probe->pick.entries = iqdb_carve(&probe->memory, probe->pick.room, sizeof(uint64_t));
}

/* Lists whose order is found out at first: with a filter more than those that are opened in any case. */
static uint32_t
lists_ranked(const Probe *probe)
{
	uint32_t probes = probe->cursor->probes;
	uint32_t lists = probe->model.figures.lists;
	uint32_t ranked;

	if (probe->cursor->base.params.filter == NULL)
		return probes;
	ranked = probes < RANKED_LEAST / MORE_LISTS ? RANKED_LEAST : probes < lists / MORE_LISTS ? MORE_LISTS * probes : lists;
	return ranked < lists ? ranked : lists;
}

/* Makes the query ready, and memory for the pick. */
static IqdbStatus
start_probe(Probe *probe)
{
	IqdbiIvfCursor *cursor = probe->cursor;

	IQDB_TRY(iqdbi_scratch_init(&probe->scratch, &probe->ivf, probe->model.figures.supers, lists_ranked(probe), probe->err));
	iqdbi_work_query(&probe->ivf, cursor->base.query, cursor->base.query_norm2, probe->scratch.work);
	if (probe->ivf.rows.coding == IQDBI_CODING_NONE)
		return IQDB_OK;
	probe->pick.room = iqdbi_pick_room(cursor->wanted);
	lay_out_probe(probe);
	if (!iqdb_carve_alloc(&probe->memory, &probe->store->host->allocator))
		return iqdb_fail(probe->err, IQDB_ERR_NOMEM, "out of memory for %zu candidates", probe->pick.room);
	lay_out_probe(probe);
	iqdbi_pick_start(&probe->pick, cursor->wanted);
	iqdbi_query_start(&probe->query, &probe->ivf, &probe->model, cursor->base.query, probe->scratch.work,
					  cursor->base.query_norm2);
	return IQDB_OK;
}

static void
probe_free(Probe *probe)
{
	iqdbi_scratch_free(&probe->scratch);
	iqdb_topk_free(&probe->nearest);
	iqdb_carve_free(&probe->memory, &probe->store->host->allocator);
}

/* Leaves the picked rows from number `from` on for later: they are ranked when the caller asks for more. */
static IqdbStatus
defer_picked(Probe *probe, size_t from)
{
	IqdbiIvfCursor *cursor = probe->cursor;
	size_t          room = probe->pick.count - from;

	cursor->deferred = iqdb_alloc(&probe->store->host->allocator, room * sizeof(*cursor->deferred));
	if (cursor->deferred == NULL)
		return iqdb_fail(probe->err, IQDB_ERR_NOMEM, "out of memory for %zu candidates", room);
	cursor->deferred_room = room;
	for (size_t i = from; i < probe->pick.count && !probe->stretch.stale; i++)
	{
		uint32_t slot = iqdbi_pick_id(&probe->pick, i);

		IQDB_TRY(iqdb_stretch_step(&probe->stretch, 0));
		if (accepts(probe, slot))
			cursor->deferred[cursor->deferred_count++] =
				(IqdbCandidate){.slot = slot, .sequence = iqdb_store_sequence(probe->store, slot)};
	}
	return IQDB_OK;
}

/* Gathers of picked rows those that may be answers: since they were picked, their slots may have become other rows'. */
static IqdbStatus
gather_entries(Probe *probe, size_t from, uint32_t count)
{
	uint32_t slots[IQDB_FILTER_EACH];
	bool     filters = probe->cursor->base.params.filter != NULL;
	uint64_t asked = UINT64_MAX;

	if (probe->slot_count + count > IQDBI_EXACT_ROWS)
		IQDB_TRY(rank_gathered(probe));
	if (probe->stretch.stale)
		return IQDB_OK;
	for (uint32_t i = 0; i < count; i++)
		slots[i] = iqdbi_pick_id(&probe->pick, from + i);
	if (filters)
		asked = ask_rows(probe, slots, count);
	for (uint32_t i = 0; i < count; i++)
	{
		if ((asked >> i & 1) != 0 && (filters ? !is_over(probe->cursor, slots[i]) : accepts(probe, slots[i])))
			probe->slots[probe->slot_count++] = slots[i];
	}
	return IQDB_OK;
}

/* Ranks picked rows by their vectors. */
static IqdbStatus
rank_entries(Probe *probe, size_t from, size_t end)
{
	for (size_t i = from; i < end && !probe->stretch.stale; i += IQDB_FILTER_EACH)
	{
		IQDB_TRY(step_gathering(probe));
		if (!probe->stretch.stale)
			IQDB_TRY(gather_entries(probe, i, end - i < IQDB_FILTER_EACH ? (uint32_t) (end - i) : IQDB_FILTER_EACH));
	}
	return probe->slot_count > 0 && !probe->stretch.stale ? rank_gathered(probe) : IQDB_OK;
}

/* iqdbi_pick_front(), without STRUCTURE where that takes long. */
static IqdbStatus
pick_front(Probe *probe, size_t from, size_t count, float limit, size_t *near_out)
{
	bool apart = probe->pick.count - from > APART_MIN;

	if (apart)
		iqdb_stretch_leave(&probe->stretch);
	*near_out = iqdbi_pick_front(&probe->pick, from, count, limit);
	return apart ? iqdb_stretch_enter(&probe->stretch) : IQDB_OK;
}

/* What the codes of a row must promise that it may be among the nearest: the worst of their keys, as codes have them. */
static float
nearest_limit(const Probe *probe)
{
	const IqdbTopK *nearest = &probe->nearest;

	if (nearest->count < nearest->capacity)
		return INFINITY;
	/* between vectors of length one, the squared distance is twice that of cosine */
	return probe->ivf.space == IQDB_SPACE_UNIT ? 2.0f * nearest->items[0].key : nearest->items[0].key;
}

/*
 * Codes give lower bounds: rows are ranked from the least bound on, until none is left whose bound lets it be among the
 * nearest (Seidl, Kriegel, "Optimal multi-step k-nearest neighbor search", SIGMOD 1998); more and more at a time, so that
 * reads of vectors overlap. Returns how many of the picked rows were ranked; they stand before the others.
 */
static IqdbStatus
rank_bounded(Probe *probe, size_t *ranked_out)
{
	IqdbiPick *pick = &probe->pick;
	size_t     some = 2 * probe->nearest.capacity;
	size_t     ranked = 0;

	while (ranked < pick->count && !probe->stretch.stale)
	{
		size_t near;

		IQDB_TRY(pick_front(probe, ranked, some, nearest_limit(probe), &near));
		IQDB_TRY(rank_entries(probe, ranked, ranked + near));
		ranked += near;
		if (near < some)
			break;
		some = 2 * ranked;
	}
	*ranked_out = ranked;
	return IQDB_OK;
}

/*
 * Codes have chosen, vectors rank: as many rows as may be handed out at first, or all there are. The others are
 * deferred.
 */
static IqdbStatus
rank_picked(Probe *probe)
{
	IqdbiIvfCursor *cursor = probe->cursor;
	IqdbiPick      *pick = &probe->pick;
	bool            apart = pick->count > APART_MIN;
	size_t          some;

	if (probe->ivf.rows.coding == IQDBI_CODING_NONE)
		return probe->slot_count > 0 ? rank_gathered(probe) : IQDB_OK;
	if (apart)
		iqdb_stretch_leave(&probe->stretch);
	iqdbi_pick_shrink(pick);
	if (apart)
		IQDB_TRY(iqdb_stretch_enter(&probe->stretch));
	if (probe->nearest.capacity > 0)
	{
		IQDB_TRY(rank_bounded(probe, &some));
		return some < pick->count && !probe->stretch.stale ? defer_picked(probe, some) : IQDB_OK;
	}
	some = cursor->seen == NULL ? iqdbi_rows_to_rank(cursor, iqdbi_rows_at_first(cursor)) : pick->count;
	IQDB_TRY(pick_front(probe, 0, some, INFINITY, &some));
	if (some < pick->count)
		IQDB_TRY(defer_picked(probe, some));
	return rank_entries(probe, 0, some);
}

/*
 * How many rows may be handed out before more lists were looked into. Rows of lists that come later cannot be handed out
 * before those that went: so a batch that met few rows hands out fewer still, if the caller did not say how many it wants.
 */
static void
limit_hand(Probe *probe)
{
	IqdbiIvfCursor *cursor = probe->cursor;

	if (cursor->named && cursor->seen == NULL && cursor->base.params.expected == 0 &&
		passing(probe) / MET_PER_LATER < cursor->goal)
		cursor->goal = IQDBI_GOAL_LEAST;
	cursor->hand = iqdbi_gave_up(cursor) ? SIZE_MAX : cursor->goal - cursor->given;
}

static IqdbStatus
probe_lists(Probe *probe)
{
	uint32_t count;

	IQDB_TRY(start_probe(probe));
	IQDB_TRY(scan_unlinked(probe));
	if (probe->stretch.stale)
		return IQDB_OK;
	IQDB_TRY(scan_far(probe));
	if (probe->stretch.stale)
		return IQDB_OK;
	IQDB_TRY(iqdbi_coarse_nearest(&probe->scratch, &probe->model, probe->scratch.work, lists_ranked(probe), &probe->stretch,
								  &count));
	IQDB_TRY(open_lists(probe, probe->scratch.ids, 0, probe->cursor->probes, count));
	IQDB_TRY(open_more_lists(probe, count));
	probe->cursor->exact = probe->dear && !probe->stretch.stale;
	if (probe->dear)
		return IQDB_OK;
	limit_hand(probe);
	return rank_picked(probe);
}

/* What the index or the caller says, or what was measured. */
static uint32_t
first_probes(IqdbiIvfCursor *cursor, const Probe *probe)
{
	const IqdbIndexOptions *options = &cursor->base.store->header->options;
	uint32_t                named = cursor->base.params.probes != 0 ? cursor->base.params.probes : options->probes;

	cursor->named = named != 0;
	return named != 0 ? named : probe->model.figures.probes;
}

/* Looks at what is current. true: its lists are to be probed, and not all rows scanned. */
static bool
has_lists(Probe *probe)
{
	IqdbiIvfCursor *cursor = probe->cursor;
	uint32_t        current = atomic_load_explicit(&probe->ivf.header->current, memory_order_acquire);

	if (current == 0)
		return false;
	probe->edition = current - 1;
	iqdbi_model_view(&probe->ivf, probe->edition, &probe->model);
	if (cursor->probes == 0)
		cursor->probes = first_probes(cursor, probe);
	return !cursor->opened_all && cursor->probes < probe->model.figures.lists;
}

IqdbStatus
iqdbi_batch_probe(IqdbiIvfCursor *cursor, bool *stale_out, IqdbError *err)
{
	Probe      probe = {.cursor = cursor, .store = cursor->base.store, .err = err};
	IqdbStatus status = IQDB_OK;

	iqdbi_ivf_view(&probe.ivf, cursor->base.store);
	iqdb_topk_init(&probe.nearest, &probe.store->host->allocator,
				   probe.ivf.rows.coding == IQDBI_CODING_SIGNS && cursor->seen == NULL ? iqdbi_rows_at_first(cursor) : 0);
	iqdb_stretch_begin(&probe.stretch, probe.store, IQDB_LOCK_STRUCTURE, &probe.ivf.header->epoch);
	cursor->exact = !has_lists(&probe);
	if (!cursor->exact)
		status = probe_lists(&probe);
	iqdb_stretch_end(&probe.stretch);
	*stale_out = probe.stretch.stale;
	probe_free(&probe);
	return status == IQDB_ERR_CANCELLED ? iqdb_fail(err, status, "search was cancelled") : status;
}
