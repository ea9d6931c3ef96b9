/*
 * flat_scan.c - one pass over the rows for one cursor, or for several at once.
 *
 * Owns: which rows are looked at, how far rows are turned away, what is kept. Does not own: codes (flat_code.c), what
 * comes before and after a pass (flat.c).
 *
 * Two ways lead from a row to the top k: its vector is scored at once; or, once k candidates are kept and the index has
 * codes, only if the interval that its code proves for its key reaches into what is still wanted. Keys come from the same
 * kernels either way, so the ways give the same answer bit for bit.
 */
#include "core/flat/flat_private.h"

#include <stddef.h>
#include <string.h>

#include "core/engine/keys.h"

#define BLOCK_ROWS IQDBI_FLAT_BLOCK_ROWS

/* What one stretch under STRUCTURE may read: about a millisecond at the speed of memory, much less from cache. */
#define STRETCH_BYTES ((size_t) 4 * 1024 * 1024)
#define STRETCH_ROWS_MAX 16384

/* What several cursors look at one after the other, so that only the first of them waits for memory. */
#define PIECE_BYTES ((size_t) 128 * 1024)

/* Rows that are turned away together when all of them are too far. */
#define CHUNK_ROWS 16

/*
 * Cosine is compared without root and division, as squares in float: by this much a row may look better than it is, which
 * is more than all roundings together. Squares below the second number lose digits and decide nothing.
 */
#define COSINE_SLACK 1e-6
#define COSINE_SQUARE_MIN 1e-30f

#define CACHE_LINE 64u

/* Rows judged by one call. */
#define GROUPS_ROWS (2 * IQDB_PACKED_ROWS)

/* Rows whose byte codes, and then vectors, are read together. */
#define PENDING_ROWS 128u

/* Where more than a quarter of a block's rows is left by their codes, so many rows are scored without them. */
#define POOR_SHARE 4
#define POOR_REST (8 * BLOCK_ROWS)

/* What a scan looks up once. */
typedef struct FlatScan
{
	IqdbiFlatCursor      *cursor;
	const IqdbStore      *store;
	const IqdbiFlatCodes *codes;       /* NULL: vectors are scored at once */
	IqdbMetric            metric;
	bool                  ended;       /* max_rows was reached */

	/* while the batch is full: rows beyond these are too far (see chunk_is_far) */
	bool                  full;
	bool                  has_bound;
	float                 worst;
	float                 far_dot; /* DOT: rows with less are too far */
	float                 cosine_square; /* of the least similarity still wanted, times the query's squared norm */

	/* rows that their coarse codes have left */
	size_t                judged;        /* rows judged by codes, and how many vectors were read, since the last account */
	size_t                left;
	size_t                without_codes; /* rows to be scored without them */
	const IqdbBoundQuery *pending_query; /* against the centre that they have in common */
	size_t                pending_count;
	uint32_t              pending[PENDING_ROWS];
	float                 lower[PENDING_ROWS];
} FlatScan;

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
select_rows(FlatScan *scan, uint32_t first, size_t count, uint32_t *slots)
{
	size_t selected = 0;

	for (size_t i = 0; i < count; i++)
	{
		uint32_t slot = first + (uint32_t) i;

		if (iqdb_store_state(scan->store, slot) == IQDB_ROW_LIVE && iqdb_scorer_admits(&scan->cursor->base.scorer, slot))
			slots[selected++] = slot;
	}
	return selected;
}

/* ---- keeping the best ---- */

/* The kept candidates have changed. */
static void
renew_bound(FlatScan *scan)
{
	const IqdbTopK *top = &scan->cursor->top;
	double          least;

	scan->full = top->count == top->capacity;
	scan->has_bound = false;
	if (!scan->full)
		return;
	scan->worst = top->items[0].key;
	scan->far_dot = fabsf(scan->worst) < (float) IQDB_KEY_SMALL ? (float) -IQDB_KEY_SMALL : -scan->worst;
	/* sums that overflowed say nothing among keys that are as large */
	scan->has_bound = fabsf(scan->worst) < (float) IQDB_KEY_LARGE;
	if (scan->metric != IQDB_METRIC_COSINE)
		return;
	least = 1.0 - (double) scan->worst - COSINE_SLACK;
	/* a similarity that may be negative is not judged by its square */
	scan->has_bound = least > 0.0 && iqdb_norm2_is_usual(scan->cursor->base.query_norm2);
	scan->cosine_square = (float) (least * least * (1.0 - COSINE_SLACK) * (double) scan->cursor->base.query_norm2);
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

/* Is each of CHUNK_ROWS rows with these sums too far? A NaN never is: what becomes of it is decided with its key. */
static bool
chunk_is_far(const FlatScan *scan, const float *sums, const float *norms2)
{
	const Four zero = {0, 0, 0, 0};
	FourFlags  far = {-1, -1, -1, -1};

	switch (scan->metric)
	{
		case IQDB_METRIC_COSINE:
			for (int i = 0; i < CHUNK_ROWS; i += 4)
			{
				Four dot = four_load(sums + i);
				Four norm2 = four_load(norms2 + i);
				Four wanted = norm2 * scan->cosine_square;

				far &= ((dot < zero) | (dot * dot < wanted)) & (wanted > zero + COSINE_SQUARE_MIN) &
					   (norm2 >= zero + IQDB_USUAL_NORM2_MIN) & (norm2 <= zero + IQDB_USUAL_NORM2_MAX);
			}
			break;
		case IQDB_METRIC_DOT:
			for (int i = 0; i < CHUNK_ROWS; i += 4)
			{
				Four dot = four_load(sums + i);

				/* a sum of products may have overflowed on its way to anywhere, and vanished where it is nearly zero */
				far &= (dot < zero + scan->far_dot) & (dot > zero - (float) IQDB_KEY_LARGE);
			}
			break;
		default:
			for (int i = 0; i < CHUNK_ROWS; i += 4)
				far &= four_load(sums + i) > zero + scan->worst;
			break;
	}
	return all_set(far);
}

static IqdbStatus
offer_one(FlatScan *scan, float key, uint32_t slot)
{
	IqdbiFlatCursor *cursor = scan->cursor;
	IqdbCandidate    candidate;

	if (!iqdb_topk_wants(&cursor->top, key))
		return IQDB_OK;
	candidate.key = key;
	candidate.slot = slot;
	candidate.sequence = iqdb_store_sequence(scan->store, slot);
	if (cursor->bounded && !iqdb_candidate_before(&cursor->bound, &candidate))
		return IQDB_OK;
	return iqdb_topk_offer(&cursor->top, candidate);
}

/* Rows by the sums of the kernel, which become keys on the way. slots NULL: the rows are first, first + 1, ... */
static IqdbStatus
offer_block(FlatScan *scan, float *sums, const float *norms2, const uint32_t *slots, uint32_t first, size_t count)
{
	for (size_t start = 0; start < count; start += CHUNK_ROWS)
	{
		size_t       rows = count - start < CHUNK_ROWS ? count - start : CHUNK_ROWS;
		const float *chunk_norms2 = norms2 != NULL ? norms2 + start : NULL;

		if (scan->has_bound && rows == CHUNK_ROWS && chunk_is_far(scan, sums + start, chunk_norms2))
			continue;
		iqdb_scorer_finish(&scan->cursor->base.scorer, slots != NULL ? slots + start : NULL, first + (uint32_t) start,
						   chunk_norms2, rows, sums + start);
		for (size_t i = start; i < start + rows; i++)
			IQDB_TRY(offer_one(scan, sums[i], slots != NULL ? slots[i] : first + (uint32_t) i));
		renew_bound(scan);
	}
	return IQDB_OK;
}

/* ---- scoring ---- */

/* Vectors of the rows in `slots`, gathered. */
static IqdbStatus
score_slots(FlatScan *scan, const uint32_t *slots, size_t count)
{
	float sums[BLOCK_ROWS];
	float norms2[BLOCK_ROWS];

	if (count == 0)
		return IQDB_OK;
	return offer_block(scan, sums, iqdb_scorer_slot_sums(&scan->cursor->base.scorer, slots, count, sums, norms2), slots, 0,
					   count);
}

/* Vectors of a block's rows. */
static IqdbStatus
score_block(FlatScan *scan, uint32_t first, size_t count)
{
	const IqdbStore *store = scan->store;
	IqdbCursor      *base = &scan->cursor->base;
	uint32_t         slots[BLOCK_ROWS];
	float            sums[BLOCK_ROWS];

	if (scan->codes != NULL)
		iqdb_store_prefetch_range(store, first, (uint32_t) count);
	if (base->params.filter == NULL && all_live(store, first, count))
	{
		base->stats.scored += count;
		iqdb_scorer_range_sums(&base->scorer, first, count, sums);
		return offer_block(scan, sums, iqdb_store_key_norms(store, first), NULL, first, count);
	}
	count = select_rows(scan, first, count, slots);
	base->stats.scored += count;
	return score_slots(scan, slots, count);
}

/* ---- codes ---- */

/* The query against a centre, or NULL where it has no bounds. STRUCTURE is held. */
static const IqdbBoundQuery *
query_for(FlatScan *scan, uint32_t home)
{
	const IqdbiFlatCodes *codes = scan->codes;
	IqdbiFlatCursor      *cursor = scan->cursor;
	uint32_t              version = codes->header->versions[home];
	IqdbBoundCentre       centre = iqdbi_flat_centre(codes, home);

	if (cursor->versions[home] != version)
	{
		cursor->possible[home] =
			iqdb_bound_query(codes->metric, &centre, cursor->base.query, cursor->base.query_norm2, codes->dim,
							 cursor->query_codes + home * iqdb_bound_query_bytes(codes->dim), &cursor->queries[home]);
		cursor->versions[home] = version;
	}
	return cursor->possible[home] ? &cursor->queries[home] : NULL;
}

/* Keys before this one were handed out before. The smallest are narrower than the intervals that codes know. */
static float
nearest_wanted(const FlatScan *scan)
{
	float key = scan->cursor->bounded ? scan->cursor->bound.key : -INFINITY;

	if (scan->metric == IQDB_METRIC_DOT && fabsf(key) < (float) IQDB_KEY_SMALL)
		return (float) -IQDB_KEY_SMALL;
	return scan->metric == IQDB_METRIC_L2 && key < IQDB_VANISHING ? -INFINITY : key;
}

/* Keys behind this one are too far. Codes do not tell the smallest apart. */
static float
farthest_wanted(const FlatScan *scan)
{
	if (scan->metric == IQDB_METRIC_DOT && fabsf(scan->worst) < (float) IQDB_KEY_SMALL)
		return (float) IQDB_KEY_SMALL;
	return scan->metric == IQDB_METRIC_L2 && scan->worst < IQDB_VANISHING ? IQDB_VANISHING : scan->worst;
}

/* Of these LIVE rows those that their byte codes leave too, and that pass the filter. Returns how many. */
static size_t
judge_codes(FlatScan *scan, const uint32_t *slots, size_t count, uint32_t *left_out)
{
	const IqdbBoundQuery *query = scan->pending_query;
	const IqdbiFlatCodes *codes = scan->codes;
	const IqdbKernels    *kernels = scan->store->kernels;
	float                 nearest = nearest_wanted(scan);
	float                 farthest = farthest_wanted(scan);
	int32_t               sums[2][PENDING_ROWS];
	size_t                left = 0;

	for (int i = 0; i < 2; i++)
		kernels->dot_u8i8_gather(query->codes[i], codes->codes, codes->code_bytes, slots, count, codes->dim, sums[i]);
	for (size_t i = 0; i < count; i++)
	{
		IqdbBoundInterval interval =
			iqdb_bound_interval(query, sums[0][i], sums[1][i], &codes->rows[slots[i] / IQDB_PACKED_ROWS],
								slots[i] % IQDB_PACKED_ROWS);

		if (!(interval.lower > farthest || interval.upper < nearest) &&
			iqdb_scorer_admits(&scan->cursor->base.scorer, slots[i]))
			left_out[left++] = slots[i];
	}
	return left;
}

/* Looks closer at the rows that are pending and are still wanted. Only LIVE ones have a code that is certain. */
static IqdbStatus
score_pending(FlatScan *scan)
{
	uint32_t slots[PENDING_ROWS];
	uint32_t left[PENDING_ROWS];
	size_t   count = 0;

	for (size_t i = 0; i < scan->pending_count; i++)
	{
		if (!(scan->lower[i] > farthest_wanted(scan)) && iqdb_store_state(scan->store, scan->pending[i]) == IQDB_ROW_LIVE)
			slots[count++] = scan->pending[i];
	}
	scan->pending_count = 0;
	if (count == 0)
		return IQDB_OK;
	count = judge_codes(scan, slots, count, left);
	scan->left += count;
	scan->cursor->base.stats.reranked += count;
	return score_slots(scan, left, count);
}

/* Asks for what the next call of judge_groups will read: a coarse code or two are too little for the hardware to guess. */
static void
fetch_next(const IqdbiFlatCodes *codes, size_t group)
{
	uintptr_t at = (uintptr_t) codes->groups + (group + 2) * codes->group_bytes;
	uintptr_t rows = (uintptr_t) &codes->rows[group + 2];

	/* the addresses may lie behind the last group; nothing is read there */
	for (size_t i = 0; i < 2 * codes->group_bytes; i += CACHE_LINE)
		__builtin_prefetch((const void *) (at + i));
	for (size_t i = 0; i < 2 * sizeof(IqdbBoundRows); i += CACHE_LINE)
	{
		if (i % sizeof(IqdbBoundRows) < offsetof(IqdbBoundRows, error))
			__builtin_prefetch((const void *) (rows + i));
	}
}

/* Rows of one or two groups that may be wanted become pending. */
static IqdbStatus
judge_groups(FlatScan *scan, const IqdbBoundQuery *query, uint32_t first, size_t count)
{
	const IqdbiFlatCodes *codes = scan->codes;
	size_t                group = first / IQDB_PACKED_ROWS;
	float                 lower[GROUPS_ROWS];
	uint32_t              kept;

	fetch_next(codes, group);
	kept = iqdb_bound_groups(&codes->kernels, query, codes->octets, count > IQDB_PACKED_ROWS ? 2 : 1,
							 codes->groups + group * codes->group_bytes, &codes->rows[group], nearest_wanted(scan),
							 farthest_wanted(scan), lower);
	if (count < GROUPS_ROWS)
		kept &= (UINT32_C(1) << count) - 1;
	for (; kept != 0; kept &= kept - 1)
	{
		uint32_t row = (uint32_t) __builtin_ctz(kept);

		scan->pending[scan->pending_count] = first + row;
		scan->lower[scan->pending_count++] = lower[row];
	}
	return scan->pending_count > PENDING_ROWS - GROUPS_ROWS ? score_pending(scan) : IQDB_OK;
}

static IqdbStatus
judge_block(FlatScan *scan, const IqdbBoundQuery *query, uint32_t first, size_t count)
{
	scan->cursor->base.stats.scored += count;
	if (scan->pending_query != query)
	{
		IQDB_TRY(score_pending(scan));
		scan->pending_query = query;
	}
	for (size_t i = 0; i < count; i += GROUPS_ROWS)
	{
		size_t rows = count - i < GROUPS_ROWS ? count - i : GROUPS_ROWS;

		IQDB_TRY(judge_groups(scan, query, first + (uint32_t) i, rows));
	}
	scan->judged += count;
	if (scan->judged < BLOCK_ROWS)
		return IQDB_OK;
	if (scan->left > scan->judged / POOR_SHARE)
		scan->without_codes = POOR_REST;
	scan->judged = 0;
	scan->left = 0;
	return IQDB_OK;
}

/* ---- the pass ---- */

/* Up to BLOCK_ROWS rows within one block; first is a multiple of 16. */
static IqdbStatus
scan_block(FlatScan *scan, uint32_t first, size_t count)
{
	const IqdbBoundQuery *query;

	if (scan->codes == NULL || !scan->full)
		return score_block(scan, first, count);
	if (scan->without_codes > 0)
	{
		scan->without_codes -= scan->without_codes < count ? scan->without_codes : count;
		return score_block(scan, first, count);
	}
	query = query_for(scan, iqdbi_flat_home(scan->codes, first));
	return query != NULL ? judge_block(scan, query, first, count) : score_block(scan, first, count);
}

/* Rows that cursors look at in turn. */
static uint32_t
piece_rows(size_t row_bytes, size_t cursors)
{
	size_t rows = PIECE_BYTES / row_bytes / IQDB_PACKED_ROWS * IQDB_PACKED_ROWS;

	if (cursors == 1 || rows > BLOCK_ROWS)
		return BLOCK_ROWS;
	/* a divisor of a block */
	while (BLOCK_ROWS % (rows > IQDB_PACKED_ROWS ? rows : IQDB_PACKED_ROWS) != 0)
		rows -= IQDB_PACKED_ROWS;
	return rows > IQDB_PACKED_ROWS ? (uint32_t) rows : IQDB_PACKED_ROWS;
}

/* Rows of a stretch: a multiple of BLOCK_ROWS. */
static uint32_t
stretch_rows(size_t row_bytes)
{
	size_t rows = STRETCH_BYTES / row_bytes / BLOCK_ROWS * BLOCK_ROWS;

	if (rows < BLOCK_ROWS)
		return BLOCK_ROWS;
	return rows > STRETCH_ROWS_MAX ? STRETCH_ROWS_MAX : (uint32_t) rows;
}

/* STRUCTURE is held. */
static IqdbStatus
scan_stretch(FlatScan *scans, size_t count, uint32_t from, uint32_t to, uint32_t piece)
{
	if (scans[0].codes == NULL)
		iqdb_store_prefetch_range(scans[0].store, from, to - from);
	for (uint32_t first = from; first < to; first += piece)
	{
		for (size_t i = 0; i < count; i++)
		{
			const IqdbCursor *base = &scans[i].cursor->base;
			uint64_t          max_rows = base->params.max_rows;

			if (scans[i].ended)
				continue;
			IQDB_TRY(scan_block(&scans[i], first, to - first < piece ? to - first : piece));
			scans[i].ended = max_rows != 0 && base->stats.scored >= max_rows;
		}
	}
	/* outside of STRUCTURE slots may become others */
	for (size_t i = 0; i < count; i++)
		IQDB_TRY(score_pending(&scans[i]));
	return IQDB_OK;
}

static void
scan_init(FlatScan *scan, IqdbiFlatCursor *cursor, const IqdbiFlatCodes *codes)
{
	memset(scan, 0, offsetof(FlatScan, pending));
	scan->cursor = cursor;
	scan->store = cursor->base.store;
	/* a limit counts vectors that are scored: codes have no part in it */
	scan->codes = cursor->query_codes != NULL && cursor->base.params.max_rows == 0 ? codes : NULL;
	scan->metric = (IqdbMetric) scan->store->header->options.metric;
}

static bool
all_ended(const FlatScan *scans, size_t count)
{
	for (size_t i = 0; i < count; i++)
	{
		if (!scans[i].ended)
			return false;
	}
	return true;
}

IqdbStatus
iqdbi_flat_scan(IqdbiFlatCursor *const *cursors, size_t count, IqdbError *err)
{
	IqdbStore             *store = cursors[0]->base.store;
	const IqdbStoreHeader *header = store->header;
	uint32_t               slots = atomic_load_explicit(&header->slot_count, memory_order_acquire);
	IqdbiFlatCodes         codes;
	bool                   coded = iqdbi_flat_codes_view(&codes, store);
	size_t                 row_bytes = coded ? codes.group_bytes / IQDB_PACKED_ROWS + 1 : store->row_stride;
	uint32_t               step = stretch_rows(row_bytes);
	uint32_t               piece = piece_rows(row_bytes, count);
	IqdbStatus             status = IQDB_OK;
	FlatScan               scans[IQDBI_FLAT_TOGETHER];

	for (size_t i = 0; i < count; i++)
		scan_init(&scans[i], cursors[i], coded ? &codes : NULL);
	for (uint32_t from = 0; from < slots && status == IQDB_OK && !all_ended(scans, count);)
	{
		uint32_t to = slots - from < step ? slots : from + step;

		if (from > 0 && iqdb_host_cancelled(store->host))
			return iqdb_fail(err, IQDB_ERR_CANCELLED, "search was cancelled");
		iqdb_store_lock(store, IQDB_LOCK_STRUCTURE, false);
		status = scan_stretch(scans, count, from, to, piece);
		iqdb_store_unlock(store, IQDB_LOCK_STRUCTURE, false);
		from = to;
	}
	if (status != IQDB_OK)
		return iqdb_fail(err, status, "out of memory while keeping the nearest rows");
	for (size_t i = 0; i < count; i++)
		cursors[i]->exhausted = scans[i].ended;
	return IQDB_OK;
}
