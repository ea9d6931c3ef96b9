/*
 * exact_pass.c - see exact_pass.h.
 *
 * Owns: which rows are looked at, how rows are turned away by their sums alone, what is kept. Does not own: keys
 * (engine/scorer.h), what becomes of the rows that were kept.
 *
 * Once a search has kept as many rows as it wants, most rows are farther than the worst of them. That is seen on the sums of
 * the distance kernel, 16 at a time, before they become keys.
 */
#include "core/engine/exact_pass.h"

#include <string.h>

#include "core/engine/keys.h"
#include "core/engine/stretch.h"

/* What several searches look at one after the other; and one alone, before it looks whether the stretch is over. */
#define PIECE_BYTES ((size_t) 128 * 1024)
#define PIECE_ALONE_BYTES ((size_t) 1024 * 1024)

/* Pieces are multiples of this: rows whose codes are packed together must not be torn apart. */
#define PIECE_UNIT 16u

/* Vectors on disk that are asked for before the first of them is read. */
#define AHEAD_BYTES ((size_t) 4 * 1024 * 1024)

/* Rows that are turned away together when all of them are too far. */
#define CHUNK_ROWS 16

/*
 * Keys that are 1 less a quotient are compared without division (and root): by this much a row may look better than it is,
 * which is more than all roundings together. Squares below the second number lose digits and decide nothing.
 */
#define SHARE_SLACK 1e-6
#define COSINE_SQUARE_MIN 1e-30f

/* What a row costs beside reading it, in nanoseconds: a look at its state, its key, offering it. */
#define ROW_CHARGE 30

/* ---- turning rows away ---- */

/* What is kept has changed: so has what is too far. */
static void
renew_bound(IqdbExactSearch *search)
{
	const IqdbTopK *top = search->top;
	double          least;

	search->full = top->count == top->capacity && top->count > 0;
	search->has_bound = false;
	if (!search->full)
		return;
	search->worst = top->items[0].key;
	search->far_dot = fabsf(search->worst) < (float) IQDB_KEY_SMALL ? (float) -IQDB_KEY_SMALL : -search->worst;
	/* sums that overflowed say nothing among keys that are as large */
	search->has_bound = fabsf(search->worst) < (float) IQDB_KEY_LARGE;
	least = 1.0 - (double) search->worst - SHARE_SLACK;
	/* a share that may be negative is not judged */
	if (search->form == IQDB_KEY_COSINE)
	{
		search->has_bound = least > 0.0 && iqdb_norm2_is_usual(search->scorer->query_norm2);
		search->far_square = (float) (least * least * (1.0 - SHARE_SLACK) * (double) search->scorer->query_norm2);
	}
	else if (search->form == IQDB_KEY_JACCARD)
	{
		search->has_bound = least > 0.0;
		search->far_share = (float) (least * (1.0 - SHARE_SLACK) / (1.0 + least));
	}
}

/* Four floats at a time, in what every processor has; comparisons give all ones or all zeros. */
typedef float   Four __attribute__((vector_size(16)));
typedef int32_t FourFlags __attribute__((vector_size(16)));

static inline Four
four_load(const float *from)
{
	Four four;

	memcpy(&four, from, sizeof(four));
	return four;
}

static inline bool
all_set(FourFlags flags)
{
	uint64_t halves[2];

	memcpy(halves, &flags, sizeof(halves));
	return (halves[0] & halves[1]) == UINT64_MAX;
}

/*
 * Is each of CHUNK_ROWS rows with these sums too far? A NaN never is: what becomes of it is decided with its key. With s > 0, a
 * cosine of at least s means dot > 0 and dot^2 >= s^2 |q|^2 |x|^2; a share of common ones of at least s, where |q|^2 counts
 * the ones of q, means dot >= s / (1 + s) (|q|^2 + |x|^2).
 */
static bool
chunk_is_far(const IqdbExactSearch *search, const float *sums, const float *norms2)
{
	const Four zero = {0, 0, 0, 0};
	FourFlags  far = {-1, -1, -1, -1};

	switch (search->form)
	{
		case IQDB_KEY_COSINE:
			for (int i = 0; i < CHUNK_ROWS; i += 4)
			{
				Four dot = four_load(sums + i);
				Four norm2 = four_load(norms2 + i);
				Four wanted = norm2 * search->far_square;

				far &= ((dot < zero) | (dot * dot < wanted)) & (wanted > zero + COSINE_SQUARE_MIN) &
					   (norm2 >= zero + IQDB_USUAL_NORM2_MIN) & (norm2 <= zero + IQDB_USUAL_NORM2_MAX);
			}
			break;
		case IQDB_KEY_NEGATED:
			for (int i = 0; i < CHUNK_ROWS; i += 4)
			{
				Four dot = four_load(sums + i);

				/* a sum of products may have overflowed on its way to anywhere, and vanished where it is nearly zero */
				far &= (dot < zero + search->far_dot) & (dot > zero - (float) IQDB_KEY_LARGE) &
					   ((dot >= zero + search->least_dot) | (dot <= zero - search->least_dot));
			}
			break;
		case IQDB_KEY_JACCARD:
			for (int i = 0; i < CHUNK_ROWS; i += 4)
				far &= four_load(sums + i) < (four_load(norms2 + i) + search->scorer->query_norm2) * search->far_share;
			break;
		default:
			for (int i = 0; i < CHUNK_ROWS; i += 4)
				far &= four_load(sums + i) > zero + search->worst;
			break;
	}
	return all_set(far);
}

/* Keeps a row that is near enough, if it stands behind the bound. */
static IqdbStatus
keep_row(IqdbExactSearch *search, float key, uint32_t slot)
{
	IqdbCandidate candidate = {.key = key, .slot = slot};

	candidate.sequence = iqdb_store_sequence(search->scorer->store, slot);
	if (search->bound != NULL && !iqdb_candidate_before(search->bound, &candidate))
		return IQDB_OK;
	return iqdb_topk_offer(search->top, candidate);
}

/* Rows of a chunk by their keys. slots NULL: the rows are first, first + 1, ... */
static IqdbStatus
offer_keys(IqdbExactSearch *search, const float *keys, const uint32_t *slots, uint32_t first, size_t count)
{
	IqdbTopK *top = search->top;
	bool      kept = false;

	for (size_t i = 0; i < count; i++)
	{
		if (!iqdb_topk_wants(top, keys[i]))
			continue;
		IQDB_TRY(keep_row(search, keys[i], slots != NULL ? slots[i] : first + (uint32_t) i));
		kept = true;
	}
	if (kept)
		renew_bound(search);
	return IQDB_OK;
}

/* Rows by the sums of the kernel, which become keys on the way. */
static IqdbStatus
offer_sums(IqdbExactSearch *search, float *sums, const float *norms2, const uint32_t *slots, uint32_t first, size_t count)
{
	for (size_t start = 0; start < count; start += CHUNK_ROWS)
	{
		size_t          rows = count - start < CHUNK_ROWS ? count - start : CHUNK_ROWS;
		const float    *chunk_norms2 = norms2 != NULL ? norms2 + start : NULL;
		const uint32_t *chunk_slots = slots != NULL ? slots + start : NULL;

		if (search->has_bound && rows == CHUNK_ROWS && chunk_is_far(search, sums + start, chunk_norms2))
			continue;
		iqdb_scorer_finish(search->scorer, chunk_slots, first + (uint32_t) start, chunk_norms2, rows, sums + start);
		IQDB_TRY(offer_keys(search, sums + start, chunk_slots, first + (uint32_t) start, rows));
	}
	return IQDB_OK;
}

/* ---- which rows ---- */

typedef uint64_t __attribute__((may_alias)) StateWord;

#define ALL_LIVE (UINT64_C(0x0101010101010101) * IQDB_ROW_LIVE)

/* Eight states at a time; first is a multiple of eight. */
static bool
all_live(const IqdbStore *store, uint32_t first, size_t count)
{
	const StateWord *words = (const StateWord *) (const void *) (store->states + first);

	for (size_t i = 0; i < count / 8; i++)
	{
		if (__atomic_load_n(&words[i], __ATOMIC_ACQUIRE) != ALL_LIVE)
			return false;
	}
	for (size_t i = count / 8 * 8; i < count; i++)
	{
		if (iqdb_store_state(store, first + (uint32_t) i) != IQDB_ROW_LIVE)
			return false;
	}
	return true;
}

static size_t
live_rows(const IqdbStore *store, uint32_t first, size_t count, uint32_t *slots_out)
{
	size_t selected = 0;

	for (uint32_t slot = first; slot < first + count; slot++)
	{
		slots_out[selected] = slot;
		selected += iqdb_store_state(store, slot) == IQDB_ROW_LIVE;
	}
	return selected;
}

static size_t
drop_filtered(const IqdbScorer *scorer, uint32_t *slots, size_t count)
{
	size_t left = 0;

	for (size_t i = 0; i < count; i++)
	{
		if (iqdb_scorer_admits(scorer, slots[i]))
			slots[left++] = slots[i];
	}
	return left;
}

void
iqdb_exact_search_init(IqdbExactSearch *search_out, const IqdbScorer *scorer, IqdbTopK *top, IqdbSearchStats *stats)
{
	*search_out = (IqdbExactSearch){.scorer = scorer, .top = top, .stats = stats};
	search_out->form = scorer->store->metric->form;
	if (search_out->form == IQDB_KEY_NEGATED && iqdb_store_products_may_vanish(scorer->store, scorer->query))
		search_out->least_dot = (float) IQDB_KEY_SMALL;
	renew_bound(search_out);
}

IqdbStatus
iqdb_exact_slots(IqdbExactSearch *search, const uint32_t *slots, size_t count)
{
	float sums[IQDB_PASS_ROWS];
	float norms2[IQDB_PASS_ROWS];

	if (count == 0)
		return IQDB_OK;
	return offer_sums(search, sums, iqdb_scorer_slot_sums(search->scorer, slots, count, sums, norms2), slots, 0, count);
}

/* Of a contiguous range every row. */
static IqdbStatus
score_whole_range(IqdbExactSearch *search, uint32_t first, size_t count)
{
	float sums[IQDB_PASS_ROWS];

	search->stats->scored += count;
	iqdb_scorer_range_sums(search->scorer, first, count, sums);
	return offer_sums(search, sums, iqdb_store_key_norms(search->scorer->store, first), NULL, first, count);
}

IqdbStatus
iqdb_exact_range(IqdbExactSearch *search, uint32_t first, size_t count)
{
	const IqdbScorer *scorer = search->scorer;
	uint32_t          slots[IQDB_PASS_ROWS];
	size_t            selected;

	if (scorer->filter == NULL && search->drop_seen == NULL && all_live(scorer->store, first, count))
		return score_whole_range(search, first, count);
	selected = live_rows(scorer->store, first, count, slots);
	if (search->drop_seen != NULL)
		selected = search->drop_seen(search->seen_arg, slots, selected);
	if (scorer->filter != NULL)
		selected = drop_filtered(scorer, slots, selected);
	if (selected == count)
		return score_whole_range(search, first, count);
	search->stats->scored += selected;
	return iqdb_exact_slots(search, slots, selected);
}

/* ---- the pass ---- */

/* Rows of a piece: a divisor of IQDB_PASS_ROWS. */
static uint32_t
piece_rows(size_t row_bytes, size_t searches)
{
	size_t   bytes = searches > 1 ? PIECE_BYTES : PIECE_ALONE_BYTES;
	uint32_t rows = IQDB_PASS_ROWS;

	while (rows > PIECE_UNIT && rows * row_bytes > bytes)
		rows /= 2;
	return rows;
}

/* Nanoseconds for a row. */
static uint64_t
row_charge(const IqdbExactPass *pass, const IqdbExactSearch *search)
{
	return ROW_CHARGE + iqdb_charge_bytes(pass->row_bytes) + (search->scorer->filter != NULL ? IQDB_CHARGE_FILTER : 0);
}

/* What must be finished before slots may become other rows. STRUCTURE is held. */
static IqdbStatus
finish_stretch(const IqdbExactPass *pass)
{
	for (size_t i = 0; i < pass->count && pass->pause != NULL; i++)
		IQDB_TRY(pass->pause(pass->searches[i]));
	return IQDB_OK;
}

/* One piece for each search that has not ended; *done_out = all have. STRUCTURE is held, and released between stretches. */
static IqdbStatus
look_at_piece(const IqdbExactPass *pass, IqdbStretch *stretch, uint32_t first, size_t rows, bool *done_out)
{
	*done_out = true;
	for (size_t i = 0; i < pass->count; i++)
	{
		IqdbExactSearch *search = pass->searches[i];

		if (search->ended)
			continue;
		IQDB_TRY(pass->range != NULL ? pass->range(search, first, rows) : iqdb_exact_range(search, first, rows));
		search->ended = search->max_rows != 0 && search->stats->scored >= search->max_rows;
		*done_out &= search->ended;
		iqdb_stretch_charge(stretch, rows * row_charge(pass, search));
		if (!iqdb_stretch_is_over(stretch))
			continue;
		IQDB_TRY(finish_stretch(pass));
		IQDB_TRY(iqdb_stretch_pause(stretch));
	}
	return IQDB_OK;
}

/* STRUCTURE is held at the beginning and at the end. */
static IqdbStatus
look_at_all(const IqdbExactPass *pass, IqdbStretch *stretch)
{
	uint32_t piece = piece_rows(pass->row_bytes, pass->count);
	uint32_t asked = 0;
	bool     done = false;

	for (uint32_t first = 0; first < pass->slots && !done;)
	{
		uint32_t rows = pass->slots - first < piece ? pass->slots - first : piece;

		if (pass->range == NULL && first >= asked)
		{
			uint32_t ahead = (uint32_t) (AHEAD_BYTES / pass->row_bytes) + rows;

			ahead = pass->slots - first < ahead ? pass->slots - first : ahead;
			iqdb_store_prefetch_range(pass->store, first, ahead);
			asked = first + ahead;
		}
		IQDB_TRY(look_at_piece(pass, stretch, first, rows, &done));
		first += rows;
	}
	return finish_stretch(pass);
}

IqdbStatus
iqdb_exact_pass(const IqdbExactPass *pass, IqdbError *err)
{
	IqdbStretch stretch;
	IqdbStatus  status;

	iqdb_stretch_begin(&stretch, pass->store, IQDB_LOCK_STRUCTURE, NULL);
	status = look_at_all(pass, &stretch);
	iqdb_stretch_end(&stretch);
	if (status == IQDB_ERR_CANCELLED)
		return iqdb_fail(err, status, "search was cancelled");
	return status == IQDB_OK ? IQDB_OK : iqdb_fail(err, status, "out of memory while keeping the nearest rows");
}

IqdbStatus
iqdb_exact_pass_alone(IqdbExactSearch *search, uint32_t slots, IqdbError *err)
{
	const IqdbStore *store = search->scorer->store;
	IqdbExactPass    pass = {.store = store,
							 .slots = slots,
							 .searches = &search,
							 .count = 1,
							 .row_bytes = store->row_stride};

	return iqdb_exact_pass(&pass, err);
}
