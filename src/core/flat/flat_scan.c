/*
 * flat_scan.c - one pass over the rows for one cursor, or for several at once: by their codes where the index has some.
 *
 * Owns: how far rows are turned away by their codes (quantization sq8). Does not own: the pass itself, and rows looked at by
 * their vectors (engine/exact_pass.h), codes (flat_code.c), what comes before and after a pass (flat.c).
 *
 * Two ways lead from a row to the top k: its vector is scored at once; or, once k candidates are kept and the index has
 * codes, only if the interval that its code proves for its key reaches into what is still wanted. Keys come from the same
 * kernels either way, so the ways give the same answer bit for bit.
 */
#include "core/flat/flat_private.h"

#include <stddef.h>
#include <string.h>

#include "core/engine/exact_pass.h"
#include "core/engine/keys.h"

#define BLOCK_ROWS IQDBI_FLAT_BLOCK_ROWS

_Static_assert(IQDB_PASS_ROWS <= BLOCK_ROWS && BLOCK_ROWS % IQDB_PASS_ROWS == 0, "rows looked at together have one centre");

#define CACHE_LINE 64u

/* Rows judged by one call. */
#define GROUPS_ROWS (2 * IQDB_PACKED_ROWS)

/* So few of them that passed a filter are looked at by their byte codes at once. */
#define FEW_ASKED 4

/* Rows whose byte codes, and then vectors, are read together. */
#define PENDING_ROWS 128u

/* Where more than a quarter of a block's rows is left by their codes, so many rows are scored without them. */
#define POOR_SHARE 4
#define POOR_REST (8 * BLOCK_ROWS)

/* What a scan looks up once. */
typedef struct FlatScan
{
	IqdbExactSearch       exact; /* the first member: scan_of() */
	IqdbiFlatCursor      *cursor;
	const IqdbStore      *store;
	const IqdbiFlatCodes *codes; /* NULL: vectors are scored at once */

	/* rows that their coarse codes have left */
	size_t                judged;        /* rows judged by codes, and how many vectors were read, since the last account */
	size_t                left;
	size_t                without_codes; /* rows to be scored without them */
	const IqdbBoundQuery *pending_query; /* against the centre that they have in common */
	size_t                pending_count;
	uint32_t              pending[PENDING_ROWS];
	float                 lower[PENDING_ROWS];
} FlatScan;

static FlatScan *
scan_of(IqdbExactSearch *search)
{
	return (FlatScan *) (void *) search;
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

	if (scan->exact.form == IQDB_KEY_NEGATED && fabsf(key) < (float) IQDB_KEY_SMALL)
		return (float) -IQDB_KEY_SMALL;
	return scan->store->metric->squared && key < IQDB_VANISHING ? -INFINITY : key;
}

/* Keys behind this one are too far. Codes do not tell the smallest apart. */
static float
farthest_wanted(const FlatScan *scan)
{
	if (scan->exact.form == IQDB_KEY_NEGATED && fabsf(scan->exact.worst) < (float) IQDB_KEY_SMALL)
		return (float) IQDB_KEY_SMALL;
	return scan->store->metric->squared && scan->exact.worst < IQDB_VANISHING ? IQDB_VANISHING : scan->exact.worst;
}

/* Of these LIVE rows, which pass the filter, those that their byte codes leave too. Returns how many. */
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

		if (!(interval.lower > farthest || interval.upper < nearest))
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
	return iqdb_exact_slots(&scan->exact, left, count);
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

/* Of the rows of one or two groups those become pending that have a bit in `asked`, and may be wanted by their codes. */
static IqdbStatus
judge_groups(FlatScan *scan, const IqdbBoundQuery *query, uint32_t first, size_t count, uint32_t asked)
{
	const IqdbiFlatCodes *codes = scan->codes;
	size_t                group = first / IQDB_PACKED_ROWS;
	float                 lower[GROUPS_ROWS];
	uint32_t              kept;

	fetch_next(codes, group);
	kept = iqdb_bound_groups(&codes->kernels, query, codes->octets, count > IQDB_PACKED_ROWS ? 2 : 1,
							 codes->groups + group * codes->group_bytes, &codes->rows[group], nearest_wanted(scan),
							 farthest_wanted(scan), lower);
	for (kept &= asked; kept != 0; kept &= kept - 1)
	{
		uint32_t row = (uint32_t) __builtin_ctz(kept);

		scan->pending[scan->pending_count] = first + row;
		scan->lower[scan->pending_count++] = lower[row];
	}
	return scan->pending_count > PENDING_ROWS - GROUPS_ROWS ? score_pending(scan) : IQDB_OK;
}

/* Few rows of two groups become pending as they are: reading the codes of all would cost more. */
static IqdbStatus
push_rows(FlatScan *scan, uint32_t first, uint32_t asked)
{
	for (; asked != 0; asked &= asked - 1)
	{
		scan->pending[scan->pending_count] = first + (uint32_t) __builtin_ctz(asked);
		scan->lower[scan->pending_count++] = -INFINITY;
	}
	return scan->pending_count > PENDING_ROWS - GROUPS_ROWS ? score_pending(scan) : IQDB_OK;
}

/* The rows that may be answers: with a filter those that pass, else all, whatever their state; score_pending() looks. */
static size_t
rows_asked(const FlatScan *scan, uint32_t first, size_t count, uint64_t words_out[IQDB_FILTER_WORDS])
{
	const IqdbScorer *scorer = &scan->cursor->base.scorer;

	if (scorer->filter != NULL)
		return iqdb_exact_wanted(scorer, first, count, words_out);
	for (size_t i = 0; i < IQDB_FILTER_WORDS; i++)
		words_out[i] = 64 * i + 64 <= count ? UINT64_MAX : 64 * i >= count ? 0 : (UINT64_C(1) << (count - 64 * i)) - 1;
	return count;
}

static IqdbStatus
judge_block(FlatScan *scan, const IqdbBoundQuery *query, uint32_t first, size_t count)
{
	uint64_t words[IQDB_FILTER_WORDS];
	size_t   wanted = rows_asked(scan, first, count, words);

	scan->cursor->base.stats.scored += wanted;
	if (scan->pending_query != query)
	{
		IQDB_TRY(score_pending(scan));
		scan->pending_query = query;
	}
	for (size_t i = 0; i < count; i += GROUPS_ROWS)
	{
		uint32_t asked = (uint32_t) (words[i / 64] >> i % 64);

		if (asked == 0)
			continue;
		if (__builtin_popcount(asked) <= FEW_ASKED)
			IQDB_TRY(push_rows(scan, first + (uint32_t) i, asked));
		else
			IQDB_TRY(judge_groups(scan, query, first + (uint32_t) i, count - i, asked));
	}
	scan->judged += wanted;
	if (scan->judged < BLOCK_ROWS)
		return IQDB_OK;
	if (scan->left > scan->judged / POOR_SHARE)
		scan->without_codes = POOR_REST;
	scan->judged = 0;
	scan->left = 0;
	return IQDB_OK;
}

/* ---- the pass ---- */

static IqdbStatus
score_vectors(FlatScan *scan, uint32_t first, size_t count)
{
	if (scan->cursor->base.params.filter == NULL)
		iqdb_store_prefetch_range(scan->store, first, (uint32_t) count);
	return iqdb_exact_range(&scan->exact, first, count);
}

/* Rows that have one centre; first is a multiple of 16. STRUCTURE is held. */
static IqdbStatus
scan_range(IqdbExactSearch *search, uint32_t first, size_t count)
{
	FlatScan             *scan = scan_of(search);
	const IqdbBoundQuery *query;

	/* with max_rows the limit counts vectors that are scored: codes have no part in it */
	if (!search->full || search->max_rows != 0)
		return score_vectors(scan, first, count);
	if (scan->without_codes > 0)
	{
		scan->without_codes -= scan->without_codes < count ? scan->without_codes : count;
		return score_vectors(scan, first, count);
	}
	query = query_for(scan, iqdbi_flat_home(scan->codes, first));
	return query != NULL ? judge_block(scan, query, first, count) : score_vectors(scan, first, count);
}

/* STRUCTURE is held, and will be released: slots that are pending may become other rows. */
static IqdbStatus
pause_scan(IqdbExactSearch *search)
{
	return score_pending(scan_of(search));
}

static void
scan_init(FlatScan *scan, IqdbiFlatCursor *cursor, const IqdbiFlatCodes *codes)
{
	IqdbCursor *base = &cursor->base;

	memset(scan, 0, offsetof(FlatScan, pending));
	scan->cursor = cursor;
	scan->store = base->store;
	scan->codes = codes;
	iqdb_exact_search_init(&scan->exact, &base->scorer, &cursor->top, &base->stats);
	scan->exact.bound = cursor->bounded ? &cursor->bound : NULL;
	scan->exact.max_rows = base->params.max_rows;
}

IqdbStatus
iqdbi_flat_scan(IqdbiFlatCursor *const *cursors, size_t count, IqdbError *err)
{
	IqdbStore       *store = cursors[0]->base.store;
	IqdbiFlatCodes   codes;
	bool             coded = iqdbi_flat_codes_view(&codes, store);
	FlatScan         scans[IQDBI_FLAT_TOGETHER];
	IqdbExactSearch *searches[IQDBI_FLAT_TOGETHER];
	IqdbExactPass    pass = {.store = store,
							 .first = cursors[0]->base.params.first_slot,
							 .slots = iqdb_exact_end(&cursors[0]->base),
							 .searches = searches,
							 .count = count,
							 .row_bytes = store->row_stride};

	if (coded)
	{
		pass.range = scan_range;
		pass.pause = pause_scan;
		pass.row_bytes = codes.group_bytes / IQDB_PACKED_ROWS + 1;
	}
	for (size_t i = 0; i < count; i++)
	{
		cursors[i]->base.stats.way = IQDB_SEARCH_EXACT;
		scan_init(&scans[i], cursors[i], coded ? &codes : NULL);
		searches[i] = &scans[i].exact;
	}
	IQDB_TRY(iqdb_exact_pass(&pass, err));
	for (size_t i = 0; i < count; i++)
		cursors[i]->exhausted = scans[i].exact.ended;
	return IQDB_OK;
}
