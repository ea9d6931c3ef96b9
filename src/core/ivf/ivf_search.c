/*
 * ivf_search.c - one batch of hits.
 *
 * A batch looks at all rows not linked yet, then into the lists nearest to the query, keeps the best by their codes, and
 * ranks those by their vectors. Owns: which rows those are. Does not own: what comes of batches (ivf_stream.c).
 *
 * Rows that wait come before the lists: a row stops waiting when it is in a list, never before, so it is met in one of the
 * two at least. When a new edition comes into place between two stretches, the batch begins anew.
 */
#include "core/ivf/ivf_search_private.h"

#include "core/ivf/ivf_coarse_private.h"
#include "core/ivf/ivf_seen_private.h"
#include "core/ivf/ivf_list_private.h"
#include "core/ivf/ivf_query_private.h"
#include "core/ivf/ivf_space_private.h"
#include "core/ivf/ivf_waiting_private.h"

/*
 * Rows of a first batch when the caller does not say how many he wants, and how many of them are ranked so well at first that
 * they can be handed out: the others are ranked when somebody asks for more. Most take ten, and must see the next row to know
 * that the tenth is one of them.
 */
#define EXPECTED_DEFAULT 64u
#define EXPECTED_AT_ONCE 12u

/*
 * Rows that pass the filter must have been met in so many times the number to be handed out, or more lists are opened: by a
 * first batch of lists whose number was measured, and by all later ones. Where the number was named, the first is content
 * with as many as are expected; it then hands out but a few.
 */
#define MET_PER_WANTED 8u
#define MET_PER_LATER 24u

/*
 * Bytes of codes and vectors that one stretch under STRUCTURE reads; what a look at a row's state counts for, one at its
 * metadata by a filter, and ranking a row beside reading its vector.
 */
#define STRETCH_BYTES ((size_t) 4 * 1024 * 1024)
#define LOOK_BYTES 64u
#define JUDGE_BYTES 512u
#define RANK_BYTES 256u

/* So many entries are sorted out while others are let in. */
#define APART_MIN 16384u

/* One attempt at one batch. */
typedef struct Probe
{
	IqdbiIvfCursor  *cursor;
	const IqdbStore *store;
	IqdbiIvf         ivf;
	IqdbiModel       model;
	uint32_t         edition;
	uint64_t         epoch;
	bool             stale; /* another edition came into place */
	bool             twice; /* rows may have been met twice: waiting and in a list, or moved inside a list */
	IqdbiScratch     scratch;
	IqdbiQuery       query;
	IqdbCarve        memory; /* for the query and the pick */
	IqdbiPick        pick;
	size_t           read;   /* bytes in this stretch */
	uint64_t         judged; /* rows that were tested by the filter, and that passed */
	uint64_t         passed;
	uint64_t         met;                     /* rows of opened lists */
	uint32_t         slots[IQDBI_EXACT_ROWS]; /* rows waiting for their exact keys */
	uint32_t         slot_count;
	IqdbStatus       coarse_status; /* of the search of lists */
	IqdbTopK         nearest;       /* of those ranked, so many as are wanted at first; capacity 0: nobody asks */
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

	switch (options->quantization)
	{
		case IQDB_QUANTIZATION_SQ8:
			return 2 * expected + 12;
		case IQDB_QUANTIZATION_PQ:
			return options->refine > 1 ? expected * options->refine + 8 : expected;
		case IQDB_QUANTIZATION_BQ:
			return expected * (options->refine > 1 ? 3 * (size_t) options->refine : 3) + 40;
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

/* ---- stretches ---- */

/* Reads what is current. STRUCTURE is held. */
static void
look_at_edition(Probe *probe)
{
	probe->epoch = atomic_load_explicit(&probe->ivf.header->epoch, memory_order_acquire);
	probe->edition = atomic_load_explicit(&probe->ivf.header->current, memory_order_acquire) - 1;
	iqdbi_model_view(&probe->ivf, probe->edition, &probe->model);
}

/* Lets others in. */
static void
leave(Probe *probe)
{
	iqdb_store_unlock(probe->store, IQDB_LOCK_STRUCTURE, false);
}

/* Goes on with a new stretch. STRUCTURE is held afterwards, except on failure. */
static IqdbStatus
enter(Probe *probe)
{
	probe->read = 0;
	if (iqdb_host_cancelled(probe->store->host))
		return iqdb_fail(probe->err, IQDB_ERR_CANCELLED, "search was cancelled");
	iqdb_store_lock(probe->store, IQDB_LOCK_STRUCTURE, false);
	probe->stale = atomic_load_explicit(&probe->ivf.header->epoch, memory_order_acquire) != probe->epoch;
	return IQDB_OK;
}

/* Lets others in when the stretch has been long enough. STRUCTURE is held before and after, except on failure. */
static IqdbStatus
breathe(Probe *probe, size_t bytes)
{
	probe->read += bytes;
	if (probe->read < STRETCH_BYTES)
		return IQDB_OK;
	leave(probe);
	return enter(probe);
}

/* The same for the search of lists. */
static bool
coarse_step(void *arg, size_t bytes)
{
	Probe *probe = arg;

	probe->coarse_status = breathe(probe, bytes);
	return probe->coarse_status == IQDB_OK && !probe->stale;
}

static void
coarse_leave(void *arg)
{
	leave(arg);
}

static bool
coarse_enter(void *arg)
{
	Probe *probe = arg;

	probe->coarse_status = enter(probe);
	return probe->coarse_status == IQDB_OK && !probe->stale;
}

/* The nearest lists. STRUCTURE is held before and after, except on failure. */
static IqdbStatus
nearest_lists(Probe *probe, IqdbiScratch *scratch, uint32_t wanted, uint32_t *count_out)
{
	const IqdbiPause pause = {.step = coarse_step, .leave = coarse_leave, .enter = coarse_enter, .arg = probe};

	probe->coarse_status = IQDB_OK;
	*count_out = iqdbi_coarse_nearest(scratch, &probe->model, probe->scratch.work, wanted, &pause);
	return probe->coarse_status;
}

/* ---- rows ---- */

/* LIVE, not handed out before, and passes the filter? */
static bool
accepts(Probe *probe, uint32_t slot)
{
	const IqdbiIvfCursor *cursor = probe->cursor;

	probe->read += LOOK_BYTES;
	if (iqdb_store_state(probe->store, slot) != IQDB_ROW_LIVE)
		return false;
	/* what is not in the map of handed out rows came after the stream began */
	if (cursor->seen != NULL && (slot >= cursor->seen_slots || iqdbi_seen(cursor->seen, slot)))
		return false;
	if (cursor->base.params.filter == NULL)
		return true;
	probe->judged++;
	probe->read += JUDGE_BYTES;
	if (!iqdb_scorer_admits(&cursor->base.scorer, slot))
		return false;
	probe->passed++;
	return true;
}

/* Is the row among the nearest already? Only rows met twice are. */
static bool
is_double(const Probe *probe, uint32_t slot)
{
	for (size_t i = 0; probe->twice && i < probe->nearest.count; i++)
	{
		if (probe->nearest.items[i].slot == slot)
			return true;
	}
	return false;
}

/* Ranks the waiting rows by their vectors. */
static IqdbStatus
rank_waiting(Probe *probe)
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
			(!is_double(probe, candidate.slot) && iqdb_topk_offer(&probe->nearest, candidate) != IQDB_OK))
		{
			iqdb_store_unlock(probe->store, IQDB_LOCK_STRUCTURE, false);
			return iqdb_fail(probe->err, IQDB_ERR_NOMEM, "out of memory while keeping %zu candidates",
							 cursor->top.count);
		}
	}
	return breathe(probe, count * (RANK_BYTES + probe->store->row_stride));
}

/* To be ranked by its vector. */
static IqdbStatus
add_exact(Probe *probe, uint32_t slot)
{
	probe->slots[probe->slot_count++] = slot;
	return probe->slot_count == IQDBI_EXACT_ROWS ? rank_waiting(probe) : IQDB_OK;
}

/* ---- rows not linked yet ---- */

static IqdbStatus
scan_waiting(Probe *probe)
{
	const IqdbiIvf *ivf = &probe->ivf;
	uint32_t        slots = atomic_load_explicit(&probe->store->header->slot_count, memory_order_acquire);
	uint32_t        slot = 0;

	if (atomic_load_explicit(&ivf->header->waiting, memory_order_acquire) == 0)
		return IQDB_OK;
	for (; !probe->stale && (slot = iqdbi_row_waiting(ivf, slot, slots)) < slots; slot++)
	{
		IQDB_TRY(breathe(probe, LOOK_BYTES));
		if (probe->stale || iqdbi_home_status(iqdbi_home(ivf, probe->edition, slot)) == IQDBI_HOME_LINKED ||
			!accepts(probe, slot))
			continue;
		probe->cursor->base.stats.scored++;
		probe->twice = true;
		IQDB_TRY(add_exact(probe, slot));
	}
	return probe->slot_count > 0 ? rank_waiting(probe) : IQDB_OK;
}

/* ---- lists ---- */

static IqdbStatus
scan_coded_block(Probe *probe, unsigned char *block, uint32_t count)
{
	float    keys[IQDBI_BLOCK_ROWS];
	uint32_t near = iqdbi_query_block(&probe->query, block, count, probe->pick.limit, keys);

	for (; near != 0; near &= near - 1)
	{
		uint32_t place = (uint32_t) __builtin_ctz(near);
		uint32_t slot = atomic_load_explicit(&iqdbi_block_slots(block)[place], memory_order_relaxed);

		/* the limit may have come down since */
		if (keys[place] <= probe->pick.limit && accepts(probe, slot))
			iqdbi_pick_push(&probe->pick, keys[place], slot);
	}
	return breathe(probe, probe->ivf.rows.size);
}

static IqdbStatus
scan_plain_block(Probe *probe, unsigned char *block, uint32_t count)
{
	for (uint32_t place = 0; place < count && !probe->stale; place++)
	{
		uint32_t slot = atomic_load_explicit(&iqdbi_block_slots(block)[place], memory_order_relaxed);

		if (accepts(probe, slot))
			IQDB_TRY(add_exact(probe, slot));
	}
	return probe->stale ? IQDB_OK : breathe(probe, 0);
}

/* Into the second-level cache: a block is as large as the first, and is scanned once. */
static inline void
prefetch_block(const IqdbiIvf *ivf, uint32_t edition, uint32_t number)
{
	const unsigned char *block = iqdbi_ivf_block(ivf, edition, number);

	for (size_t at = 0; at < ivf->rows.size; at += 64)
		__builtin_prefetch(block + at, 0, 2);
}

/*
 * Rows published by the time the list is opened. When rows were moved inside it between two stretches, the list is looked at
 * once more from its beginning. next_head: first block of the list that comes next, 0 = none.
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
	while (count > 0 && !probe->stale)
	{
		unsigned char *bytes = iqdbi_ivf_block(ivf, probe->edition, block);
		uint32_t       next = iqdbi_block_next(ivf, probe->edition, block);
		uint32_t       rows = count < IQDBI_BLOCK_ROWS ? count : IQDBI_BLOCK_ROWS;

		prefetch_block(ivf, probe->edition, count > IQDBI_BLOCK_ROWS ? next : next_head);
		if (coded)
			IQDB_TRY(scan_coded_block(probe, bytes, rows));
		else
			IQDB_TRY(scan_plain_block(probe, bytes, rows));
		if (probe->stale)
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
	return IQDB_OK;
}

/* Rows that no centre is near to: all of them, by their vectors. They are none of those met on the way. */
static IqdbStatus
scan_far(Probe *probe)
{
	uint64_t met = probe->met;

	IQDB_TRY(scan_list(probe, iqdbi_far_list(probe->model.figures.lists), 0));
	probe->met = met;
	return !probe->stale && probe->slot_count > 0 ? rank_waiting(probe) : IQDB_OK;
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

	if (cursor->named && cursor->seen == NULL)
		return passing(probe) >= iqdbi_rows_expected(cursor);
	return passing(probe) / (cursor->seen == NULL ? MET_PER_WANTED : MET_PER_LATER) >= cursor->goal;
}

/*
 * Opens the lists in scratch from number `from` to `end`; those behind `least` only until enough rows were met. Returns
 * through *opened_out how many of the order are done.
 */
static IqdbStatus
open_lists(Probe *probe, const uint32_t *order, uint32_t from, uint32_t least, uint32_t end)
{
	IqdbiList *lists = iqdbi_ivf_lists(&probe->ivf, probe->edition);

	uint32_t   i = from;

	for (; i < end && !probe->stale && !iqdbi_gave_up(probe->cursor); i++)
	{
		uint32_t next_head;

		if (i >= least && met_enough(probe))
			break;
		next_head = i + 1 < end ? atomic_load_explicit(&lists[order[i + 1]].head, memory_order_relaxed) : 0;
		IQDB_TRY(scan_list(probe, order[i], next_head));
	}
	probe->cursor->opened_all = i == probe->model.figures.lists;
	return IQDB_OK;
}

/* Too few rows in the lists wanted: on with all the others in order. */
static IqdbStatus
open_more_lists(Probe *probe, uint32_t from)
{
	const IqdbiFigures *figures = &probe->model.figures;
	IqdbiScratch        scratch;
	uint32_t            count;
	IqdbStatus          status = iqdbi_scratch_init(&scratch, &probe->ivf, figures->supers, figures->lists, probe->err);

	if (status != IQDB_OK)
	{
		iqdb_store_unlock(probe->store, IQDB_LOCK_STRUCTURE, false);
		return status;
	}
	status = nearest_lists(probe, &scratch, figures->lists, &count);
	if (status == IQDB_OK && !probe->stale)
		status = open_lists(probe, scratch.ids, from, 0, count);
	iqdbi_scratch_free(&scratch);
	return status;
}

/* ---- one batch ---- */

static void
lay_out(Probe *probe)
{
	iqdbi_query_place(&probe->query, &probe->ivf, &probe->memory);
	probe->pick.entries = iqdb_carve(&probe->memory, probe->pick.room, sizeof(uint64_t));
}

/* Memory for the query and the pick. STRUCTURE is held; it stays so on success only. */
static IqdbStatus
prepare(Probe *probe)
{
	IqdbiIvfCursor *cursor = probe->cursor;
	bool            coded = probe->ivf.rows.coding != IQDBI_CODING_NONE;
	IqdbStatus      status;

	status = iqdbi_scratch_init(&probe->scratch, &probe->ivf, probe->model.figures.supers, cursor->probes, probe->err);
	probe->pick.room = iqdbi_pick_room(cursor->wanted);
	if (coded)
		lay_out(probe);
	if (status == IQDB_OK && coded && !iqdb_carve_alloc(&probe->memory, &probe->store->host->allocator))
		status = iqdb_fail(probe->err, IQDB_ERR_NOMEM, "out of memory for %zu candidates", probe->pick.room);
	if (status != IQDB_OK)
	{
		iqdb_store_unlock(probe->store, IQDB_LOCK_STRUCTURE, false);
		return status;
	}
	iqdbi_work_query(&probe->ivf, cursor->base.query, cursor->base.query_norm2, probe->scratch.work);
	if (!coded)
		return IQDB_OK;
	lay_out(probe);
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

/* Leaves the picked rows from number `from` on for later. STRUCTURE is held; it stays so on success only. */
static IqdbStatus
put_off(Probe *probe, size_t from)
{
	IqdbiIvfCursor *cursor = probe->cursor;
	size_t          room = probe->pick.count - from;

	cursor->waiting = iqdb_alloc(&probe->store->host->allocator, room * sizeof(*cursor->waiting));
	if (cursor->waiting == NULL)
	{
		iqdb_store_unlock(probe->store, IQDB_LOCK_STRUCTURE, false);
		return iqdb_fail(probe->err, IQDB_ERR_NOMEM, "out of memory for %zu candidates", room);
	}
	cursor->waiting_room = room;
	for (size_t i = from; i < probe->pick.count && !probe->stale; i++)
	{
		uint32_t slot = iqdbi_pick_id(&probe->pick, i);

		IQDB_TRY(breathe(probe, 0));
		if (accepts(probe, slot))
			cursor->waiting[cursor->waiting_count++] =
				(IqdbCandidate){.slot = slot, .sequence = iqdb_store_sequence(probe->store, slot)};
	}
	return IQDB_OK;
}

/* Ranks picked rows by their vectors. */
static IqdbStatus
rank_entries(Probe *probe, size_t from, size_t end)
{
	for (size_t i = from; i < end && !probe->stale; i++)
	{
		uint32_t slot = iqdbi_pick_id(&probe->pick, i);

		IQDB_TRY(breathe(probe, 0));
		/* between two stretches the slot may have become another row's */
		if (!probe->stale && accepts(probe, slot))
			IQDB_TRY(add_exact(probe, slot));
	}
	return probe->slot_count > 0 ? rank_waiting(probe) : IQDB_OK;
}

/* iqdbi_pick_front(), and others are let in while it takes long. STRUCTURE is held before and after, except on failure. */
static IqdbStatus
front(Probe *probe, size_t from, size_t count, float limit, size_t *near_out)
{
	bool apart = probe->pick.count - from > APART_MIN;

	if (apart)
		leave(probe);
	*near_out = iqdbi_pick_front(&probe->pick, from, count, limit);
	return apart ? enter(probe) : IQDB_OK;
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

	while (ranked < pick->count && !probe->stale)
	{
		size_t near;

		IQDB_TRY(front(probe, ranked, some, nearest_limit(probe), &near));

		IQDB_TRY(rank_entries(probe, ranked, ranked + near));
		ranked += near;
		if (near < some)
			break;
		some = 2 * ranked;
	}
	*ranked_out = ranked;
	return IQDB_OK;
}

/* Codes have chosen; vectors rank: what may be handed out at first, or all there is. The others are put off. */
static IqdbStatus
rank_picked(Probe *probe)
{
	IqdbiIvfCursor *cursor = probe->cursor;
	IqdbiPick      *pick = &probe->pick;
	bool            apart = pick->count > APART_MIN;
	size_t          some;

	if (probe->ivf.rows.coding == IQDBI_CODING_NONE)
		return probe->slot_count > 0 ? rank_waiting(probe) : IQDB_OK;
	if (apart)
		leave(probe);
	iqdbi_pick_shrink(pick);
	if (apart)
		IQDB_TRY(enter(probe));
	if (probe->nearest.capacity > 0)
	{
		IQDB_TRY(rank_bounded(probe, &some));
		return some < pick->count && !probe->stale ? put_off(probe, some) : IQDB_OK;
	}
	some = cursor->seen == NULL ? iqdbi_rows_to_rank(cursor, iqdbi_rows_at_first(cursor)) : pick->count;
	IQDB_TRY(front(probe, 0, some, INFINITY, &some));
	if (some < pick->count)
		IQDB_TRY(put_off(probe, some));
	return rank_entries(probe, 0, some);
}

/*
 * How many rows may be handed out before more lists were looked into. Rows of lists that come later cannot be handed out
 * before those that went: so a batch of few rows hands out fewer still, if the caller did not say how many he wants.
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

/* STRUCTURE is held before; afterwards only on success. */
static IqdbStatus
probe_locked(Probe *probe)
{
	uint32_t count;

	IQDB_TRY(prepare(probe));
	IQDB_TRY(scan_waiting(probe));
	if (probe->stale)
		return IQDB_OK;
	IQDB_TRY(scan_far(probe));
	if (probe->stale)
		return IQDB_OK;
	IQDB_TRY(nearest_lists(probe, &probe->scratch, probe->cursor->probes, &count));
	IQDB_TRY(open_lists(probe, probe->scratch.ids, 0, count, count));
	if (!probe->stale && !met_enough(probe) && !iqdbi_gave_up(probe->cursor))
		IQDB_TRY(open_more_lists(probe, count));
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

IqdbStatus
iqdbi_batch_probe(IqdbiIvfCursor *cursor, bool *stale_out, IqdbError *err)
{
	Probe      probe = {.cursor = cursor, .store = cursor->base.store, .err = err};
	IqdbStatus status = IQDB_OK;

	*stale_out = false;
	iqdbi_ivf_view(&probe.ivf, cursor->base.store);
	iqdb_topk_init(&probe.nearest, &probe.store->host->allocator,
				   probe.ivf.rows.coding == IQDBI_CODING_SIGNS && cursor->seen == NULL ? iqdbi_rows_at_first(cursor) : 0);
	iqdb_store_lock(probe.store, IQDB_LOCK_STRUCTURE, false);
	if (atomic_load_explicit(&probe.ivf.header->current, memory_order_acquire) != 0)
	{
		look_at_edition(&probe);
		if (cursor->probes == 0)
			cursor->probes = first_probes(cursor, &probe);
		cursor->exact = cursor->exact || cursor->opened_all || cursor->probes >= probe.model.figures.lists;
	}
	else
		cursor->exact = true;
	if (!cursor->exact)
		status = probe_locked(&probe);
	if (status == IQDB_OK)
		iqdb_store_unlock(probe.store, IQDB_LOCK_STRUCTURE, false);
	*stale_out = probe.stale;
	probe_free(&probe);
	return status;
}
