/*
 * exact_pass.h - looking at all rows: one pass over the slots, for one search or for several at once.
 *
 * The exact engine does nothing else; approximate engines come to it when their own structure does not help (few rows, all
 * of them wanted, a filter that leaves hardly any) and at the end of every stream, so that no row is left out. A pass keeps
 * the best rows of each search that stand behind a bound: a stream of all rows in order is a sequence of passes, each of
 * which is bounded by the last row of the one before.
 *
 * STRUCTURE is held shared in stretches (engine/stretch.h). A row that dies between two of them is passed over when
 * candidates are handed out (iqdb_engine_hand_out). Rows put while a pass is under way may or may not be seen.
 *
 * Of a filter, only rows that pass cost more than a nanosecond or two: columns are tested for 256 rows at a time, and the rows
 * that are left wait until there are enough of them to be scored side by side. Where the filter has a short list of numbers,
 * no others are looked at.
 */
#ifndef IQDB_ENGINE_EXACT_PASS_H
#define IQDB_ENGINE_EXACT_PASS_H

#include "core/base/topk.h"
#include "core/engine/engine.h"

/* Rows that are looked at together: a pass calls for this many slots at most, beginning at a multiple of 16. */
#define IQDB_PASS_ROWS IQDB_SCORER_ROWS

/* One search's part in a pass. */
typedef struct IqdbExactSearch
{
	const IqdbScorer    *scorer;
	IqdbTopK            *top;      /* the best top->capacity rows so far */
	IqdbSearchStats     *stats;
	const IqdbCandidate *bound;    /* only rows behind it are wanted; NULL: all are */
	uint64_t             max_rows; /* the search has ended when so many rows were scored in all; 0 = never */

	/* Scores rows that are wanted, IQDB_PASS_ROWS at most, and keeps the best. NULL: by their vectors, iqdb_exact_slots(). */
	IqdbStatus (*score)(struct IqdbExactSearch *search, const uint32_t *slots, size_t count);

	/* Removes from `slots` those that the search has had already; returns how many are left, in order. NULL: it had none. */
	size_t (*drop_seen)(const void *arg, uint32_t *slots, size_t count);
	const void *seen_arg;

	/* kept by the functions below */
	uint32_t    waiting[IQDB_PASS_ROWS]; /* rows that are wanted, and not scored yet */
	uint32_t    waiting_count;
	IqdbKeyForm form;
	bool        ended;      /* max_rows was reached */
	bool        listed;     /* the rows that are wanted were found by a list of their numbers: there are no others */
	bool        full;       /* as many are kept as are wanted: rows whose keys are greater than `worst` are too far */
	float       worst;
	bool        has_bound;  /* sums alone can tell that rows are too far, by `worst` or one of these: */
	float       far_dot;    /* negated sums: rows with a smaller sum are */
	float       least_dot;  /* but for sums that are nearer to zero than this: products may have vanished */
	float       far_square; /* cosine: of the least similarity still wanted, times the query's squared norm */
	float       far_share;  /* Jaccard: rows whose common ones are a smaller share of the ones of both are */
} IqdbExactSearch;

/* Fills what a search must have; the caller may set the rest. */
void iqdb_exact_search_init(IqdbExactSearch *search_out, const IqdbScorer *scorer, IqdbTopK *top, IqdbSearchStats *stats);

/*
 * Which of the rows first .. first + count are LIVE and admitted by the filter? Bit i % 64 of word i / 64 says so of row
 * first + i; returns how many are. first is a multiple of 16, count at most IQDB_PASS_ROWS, and the rows are of one block of
 * columns. The caller holds STRUCTURE shared.
 */
size_t iqdb_exact_wanted(const IqdbScorer *scorer, uint32_t first, size_t count, uint64_t words_out[IQDB_FILTER_WORDS]);

/*
 * Scores those of the rows that are LIVE, not seen and admitted by the filter, and keeps the best; the last of them not before
 * iqdb_exact_finish(). Arguments and locks as before. IQDB_ERR_NOMEM.
 */
IqdbStatus iqdb_exact_range(IqdbExactSearch *search, uint32_t first, size_t count) IQDB_MUST_CHECK;

/* Scores what waits. To be called before STRUCTURE is released; a pass does. */
IqdbStatus iqdb_exact_finish(IqdbExactSearch *search) IQDB_MUST_CHECK;

/* Scores these LIVE rows, which the filter admits, at most IQDB_PASS_ROWS; counts none. Otherwise the same. */
IqdbStatus iqdb_exact_slots(IqdbExactSearch *search, const uint32_t *slots, size_t count) IQDB_MUST_CHECK;

/* A pass over slots from `first`, a multiple of IQDB_COLUMN_BLOCK, to below `slots`. */
typedef struct IqdbExactPass
{
	const IqdbStore  *store;
	uint32_t          first;
	uint32_t          slots;
	IqdbExactSearch **searches;
	size_t            count;

	/*
	 * An engine that has something better than vectors looks at the rows itself, in place of iqdb_exact_range(): row_bytes is
	 * what it reads per row. Before STRUCTURE is released, pause() is called for each search. Both NULL: vectors are read.
	 */
	IqdbStatus (*range)(IqdbExactSearch *search, uint32_t first, size_t count);
	IqdbStatus (*pause)(IqdbExactSearch *search);
	size_t row_bytes;
} IqdbExactPass;

/*
 * Goes over all slots until each search has ended. What several searches look at in turn is so small a piece that only the
 * first of them waits for memory. Takes STRUCTURE in stretches. Errors: CANCELLED, NOMEM; what is kept then is not the best.
 */
IqdbStatus iqdb_exact_pass(const IqdbExactPass *pass, IqdbError *err) IQDB_MUST_CHECK;

/* A pass for one search by vectors over the slots from first to below end. */
IqdbStatus iqdb_exact_pass_alone(IqdbExactSearch *search, uint32_t first, uint32_t end, IqdbError *err) IQDB_MUST_CHECK;

/* Where the slots end that a cursor's parameters name. */
static inline uint32_t
iqdb_exact_end(const IqdbCursor *cursor)
{
	uint32_t end = cursor->params.end_slot;

	return end > 0 ? end : atomic_load_explicit(&cursor->store->header->slot_count, memory_order_acquire);
}

#endif
