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
#include "core/engine/live.h"
#include "core/engine/stretch.h"

/* What several searches look at one after the other; and one alone, before it looks whether the stretch is over. */
#define PIECE_BYTES ((size_t) 128 * 1024)
#define PIECE_ALONE_BYTES ((size_t) 1024 * 1024)

/* Pieces are multiples of this: rows whose codes are packed together must not be torn apart. */
#define PIECE_UNIT 16u

/* A list of numbers is short when it has less than such a share of the slots: looking one up costs as much as so many rows. */
#define LIST_SHARE 16

/* What a row costs that is found by its number, in nanoseconds. */
#define LISTED_CHARGE 60

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

/* Nearly all words have all bits before a filter is asked, and few or none after it. */
static size_t
count_bits(const uint64_t words[IQDB_FILTER_WORDS])
{
	size_t count = 0;

	for (size_t i = 0; i < IQDB_FILTER_WORDS; i++)
	{
		if (words[i] == UINT64_MAX)
			count += 64;
		else if (words[i] != 0)
			count += (size_t) __builtin_popcountll(words[i]);
	}
	return count;
}

/* Which rows are LIVE, and how many. */
static size_t
live_words(const IqdbStore *store, uint32_t first, size_t count, uint64_t words_out[IQDB_FILTER_WORDS])
{
	for (size_t i = 0; i < IQDB_FILTER_WORDS; i++)
	{
		size_t rows = count > 64 * i ? count - 64 * i : 0;

		words_out[i] = rows > 0 ? iqdb_live_word(store, first + 64 * (uint32_t) i, rows < 64 ? rows : 64) : 0;
	}
	return count_bits(words_out);
}

size_t
iqdb_exact_wanted(const IqdbScorer *scorer, uint32_t first, size_t count, uint64_t words_out[IQDB_FILTER_WORDS])
{
	size_t live;
	size_t wanted;

	if (count == IQDB_PASS_ROWS && iqdb_live_all(scorer->store, first, count))
	{
		memset(words_out, 0xff, IQDB_FILTER_WORDS * sizeof(*words_out));
		live = count;
	}
	else
		live = live_words(scorer->store, first, count, words_out);
	if (scorer->filter == NULL || live == 0)
		return live;
	iqdb_row_filter_narrow(scorer->filter, scorer->store, first, (uint32_t) count, words_out);
	wanted = count_bits(words_out);
	*scorer->filtered += live - wanted;
	return wanted;
}

/* The rows of these bits, in order. */
static size_t
list_rows(const uint64_t words[IQDB_FILTER_WORDS], uint32_t first, uint32_t *slots_out)
{
	size_t count = 0;

	for (uint32_t i = 0; i < IQDB_FILTER_WORDS; i++)
	{
		for (uint64_t left = words[i]; left != 0; left &= left - 1)
			slots_out[count++] = first + 64 * i + (uint32_t) __builtin_ctzll(left);
	}
	return count;
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
iqdb_exact_finish(IqdbExactSearch *search)
{
	uint32_t count = search->waiting_count;

	search->waiting_count = 0;
	if (count == 0)
		return IQDB_OK;
	return search->score != NULL ? search->score(search, search->waiting, count)
								 : iqdb_exact_slots(search, search->waiting, count);
}

/* Lets rows wait until there are many, or enough to fill what is kept: from then on most are seen to be too far. */
static IqdbStatus
let_wait(IqdbExactSearch *search, const uint32_t *slots, size_t count)
{
	search->stats->scored += count;
	while (count > 0)
	{
		size_t room = IQDB_PASS_ROWS - search->waiting_count;
		size_t part = count < room ? count : room;

		memcpy(search->waiting + search->waiting_count, slots, part * sizeof(*slots));
		search->waiting_count += (uint32_t) part;
		slots += part;
		count -= part;
		if (search->waiting_count == IQDB_PASS_ROWS || (!search->full && search->waiting_count >= search->top->capacity))
			IQDB_TRY(iqdb_exact_finish(search));
	}
	return IQDB_OK;
}

IqdbStatus
iqdb_exact_range(IqdbExactSearch *search, uint32_t first, size_t count)
{
	const IqdbScorer *scorer = search->scorer;
	bool              by_vectors = search->score == NULL;
	uint64_t          words[IQDB_FILTER_WORDS];
	uint32_t          slots[IQDB_PASS_ROWS];
	size_t            selected;

	if (by_vectors && scorer->filter == NULL && search->drop_seen == NULL && iqdb_live_all(scorer->store, first, count))
		return score_whole_range(search, first, count);
	selected = iqdb_exact_wanted(scorer, first, count, words);
	if (selected == 0)
		return IQDB_OK;
	(void) list_rows(words, first, slots);
	if (search->drop_seen != NULL)
		selected = search->drop_seen(search->seen_arg, slots, selected);
	if (by_vectors && selected == count)
		return score_whole_range(search, first, count);
	return let_wait(search, slots, selected);
}

/* ---- rows by their numbers ---- */

/* Has the filter a list of numbers that is short beside the number of rows? */
static bool
has_short_list(const IqdbExactPass *pass, const IqdbExactSearch *search)
{
	const IqdbRowFilter *filter = search->scorer->filter;

	return filter != NULL && filter->ids != NULL && iqdb_id_set_is_listed(filter->ids) &&
		   filter->ids->count < (pass->slots - pass->first) / LIST_SHARE;
}

/* Of rows whose numbers are in the list those that are wanted. Rows before and behind the pass are none of it. */
static IqdbStatus
look_at_listed(const IqdbExactPass *pass, IqdbExactSearch *search, uint32_t *slots, size_t count)
{
	const IqdbScorer *scorer = search->scorer;
	IqdbRowFilter     rest = *scorer->filter;
	bool              asks = rest.test_count > 0 || rest.metadata != NULL;
	size_t            left = 0;

	rest.ids = NULL;
	for (size_t i = 0; i < count; i++)
	{
		if (slots[i] < pass->first || slots[i] >= pass->slots || iqdb_store_state(scorer->store, slots[i]) != IQDB_ROW_LIVE)
			continue;
		if (asks && !iqdb_row_filter_admits(&rest, scorer->store, slots[i]))
			(*scorer->filtered)++;
		else
			slots[left++] = slots[i];
	}
	if (search->drop_seen != NULL)
		left = search->drop_seen(search->seen_arg, slots, left);
	return let_wait(search, slots, left);
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
	return ROW_CHARGE + iqdb_charge_bytes(pass->row_bytes) +
		   (search->scorer->filter != NULL ? iqdb_row_filter_charge(search->scorer->filter) : 0);
}

/* What must be finished before slots may become other rows. STRUCTURE is held. */
static IqdbStatus
finish_stretch(const IqdbExactPass *pass)
{
	for (size_t i = 0; i < pass->count; i++)
	{
		IQDB_TRY(iqdb_exact_finish(pass->searches[i]));
		if (pass->pause != NULL)
			IQDB_TRY(pass->pause(pass->searches[i]));
	}
	return IQDB_OK;
}

static IqdbStatus
charge_rows(const IqdbExactPass *pass, IqdbStretch *stretch, uint64_t nanoseconds)
{
	iqdb_stretch_charge(stretch, nanoseconds);
	if (!iqdb_stretch_is_over(stretch))
		return IQDB_OK;
	IQDB_TRY(finish_stretch(pass));
	return iqdb_stretch_pause(stretch);
}

/* All that one search looks at, where its filter has a short list. STRUCTURE is held, and released between stretches. */
static IqdbStatus
look_at_list(const IqdbExactPass *pass, IqdbStretch *stretch, IqdbExactSearch *search)
{
	const IqdbIdSet *ids = search->scorer->filter->ids;
	uint64_t         position = 0;
	uint64_t         numbers[IQDB_PASS_ROWS];
	uint32_t         slots[IQDB_PASS_ROWS];
	size_t           count;

	search->listed = true;
	while (!search->ended && (count = iqdb_id_set_list(ids, &position, numbers, IQDB_PASS_ROWS)) > 0)
	{
		size_t found = iqdb_store_find_numbers(pass->store, numbers, count, slots);

		IQDB_TRY(look_at_listed(pass, search, slots, found));
		search->ended = search->max_rows != 0 && search->stats->scored >= search->max_rows;
		IQDB_TRY(charge_rows(pass, stretch, count * (LISTED_CHARGE + row_charge(pass, search))));
	}
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

		if (search->ended || search->listed)
			continue;
		IQDB_TRY(pass->range != NULL ? pass->range(search, first, rows) : iqdb_exact_range(search, first, rows));
		search->ended = search->max_rows != 0 && search->stats->scored >= search->max_rows;
		*done_out &= search->ended;
		IQDB_TRY(charge_rows(pass, stretch, rows * row_charge(pass, search)));
	}
	return IQDB_OK;
}

/* STRUCTURE is held at the beginning and at the end. */
static IqdbStatus
look_at_all(const IqdbExactPass *pass, IqdbStretch *stretch)
{
	uint32_t piece = piece_rows(pass->row_bytes, pass->count);
	uint32_t asked = 0;
	bool     filtering = true;
	bool     done = true;

	for (size_t i = 0; i < pass->count; i++)
	{
		filtering &= pass->searches[i]->scorer->filter != NULL;
		if (has_short_list(pass, pass->searches[i]))
			IQDB_TRY(look_at_list(pass, stretch, pass->searches[i]));
		else
			done = false;
	}
	for (uint32_t first = pass->first; first < pass->slots && !done;)
	{
		uint32_t rows = pass->slots - first < piece ? pass->slots - first : piece;

		/* of rows that pass a filter, only these are asked for, when they are scored */
		if (pass->range == NULL && !filtering && first >= asked)
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
iqdb_exact_pass_alone(IqdbExactSearch *search, uint32_t first, uint32_t end, IqdbError *err)
{
	const IqdbStore *store = search->scorer->store;
	IqdbExactPass    pass = {.store = store,
							 .first = first,
							 .slots = end,
							 .searches = &search,
							 .count = 1,
							 .row_bytes = store->row_stride};

	return iqdb_exact_pass(&pass, err);
}
