/*
 * flat.c - exact search: one pass over the rows keeps the best, the next pass continues behind them. See README.md.
 *
 * Owns: the cursor. It has no regions, no links and no lists: what it needs is what the store has. A slot that dies can
 * go to limbo at once, because no cursor trusts a slot number from one stretch of work to the next: a candidate counts
 * only while its slot is LIVE with the sequence it had.
 */
#include "core/flat/flat.h"

#include <string.h>

#include "core/base/endian.h"
#include "core/base/topk.h"

/* Rows scored by one call of a kernel. */
#define BLOCK_ROWS 256

/* What one stretch under STRUCTURE may read: about a millisecond at the speed of memory, much less from cache. */
#define STRETCH_BYTES ((size_t) 4 * 1024 * 1024)
#define STRETCH_ROWS_MAX 16384

/* Rows of a first batch when the caller does not say how many he wants, and growth from batch to batch. */
#define BATCH_DEFAULT 64
#define BATCH_GROWTH 4
/* A batch that would be such a share of all rows takes all of them, */
#define BATCH_SHARE 8
/* but no more than this: 64 MB of candidates. */
#define BATCH_MAX ((size_t) 4 * 1024 * 1024)

/* Rows that are turned away together when all of them are too far. */
#define CHUNK_ROWS 16

/*
 * Cosine is compared without root and division, as squares in float: by this much a row may look better than it is, which
 * is more than all roundings together. Squares below the second number lose digits and decide nothing.
 */
#define COSINE_SLACK 1e-6
#define COSINE_SQUARE_MIN 1e-30f

#define ENGINE_PART_VERSION 1u

typedef struct FlatCursor
{
	IqdbCursor    base;
	IqdbTopK      top;       /* the current batch; sorted when the scan is done */
	size_t        at;        /* next candidate to hand out */
	IqdbCandidate bound;     /* last candidate of the batch before */
	bool          bounded;
	bool          started;
	bool          exhausted; /* nothing stands behind the current batch */
} FlatCursor;

/* What a scan looks up once. */
typedef struct FlatScan
{
	FlatCursor      *cursor;
	const IqdbStore *store;
	IqdbBatchKernel  batch;
	IqdbGatherKernel gather;
	IqdbMetric       metric;
	size_t           dimension;
	size_t           stride;
	bool             needs_norms;

	/* while the batch is full: rows beyond these are too far (see chunk_is_far) */
	bool             has_bound;
	float            worst;
	float            cosine_square; /* of the least similarity still wanted, times the query's squared norm */
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

/* LIVE slots of a block that pass the filter. */
static size_t
select_rows(const FlatScan *scan, uint32_t first, size_t count, uint32_t *slots)
{
	const IqdbStore  *store = scan->store;
	const IqdbFilter *filter = scan->cursor->base.params.filter;
	size_t            selected = 0;
	size_t            live = 0;

	for (size_t i = 0; i < count; i++)
	{
		uint32_t             slot = first + (uint32_t) i;
		size_t               length;
		const unsigned char *metadata;

		if (iqdb_store_state(store, slot) != IQDB_ROW_LIVE)
			continue;
		live++;
		if (filter != NULL)
		{
			metadata = iqdb_store_metadata(store, slot, &length);
			if (!iqdb_filter_matches(filter, metadata, length))
				continue;
		}
		slots[selected++] = slot;
	}
	scan->cursor->base.stats.filtered += live - selected;
	return selected;
}

/* ---- keeping the best ---- */

/* The kept candidates have changed. */
static void
renew_bound(FlatScan *scan)
{
	const IqdbTopK *top = &scan->cursor->top;
	double          least;

	scan->has_bound = top->count == top->capacity;
	if (!scan->has_bound)
		return;
	scan->worst = top->items[0].key;
	if (scan->metric != IQDB_METRIC_COSINE)
		return;
	least = 1.0 - (double) scan->worst - COSINE_SLACK;
	/* a similarity that may be negative is not judged by its square */
	scan->has_bound = least > 0.0;
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
				Four wanted = four_load(norms2 + i) * scan->cosine_square;

				far &= ((dot < zero) | (dot * dot < wanted)) & (wanted > zero + COSINE_SQUARE_MIN);
			}
			break;
		case IQDB_METRIC_DOT:
			for (int i = 0; i < CHUNK_ROWS; i += 4)
				far &= four_load(sums + i) < zero - scan->worst;
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
	FlatCursor   *cursor = scan->cursor;
	IqdbCandidate candidate;

	if (!iqdb_topk_wants(&cursor->top, key))
		return IQDB_OK;
	candidate.key = key;
	candidate.slot = slot;
	candidate.sequence = scan->store->slots[slot].sequence;
	if (cursor->bounded && !iqdb_candidate_before(&cursor->bound, &candidate))
		return IQDB_OK;
	return iqdb_topk_offer(&cursor->top, candidate);
}

/* Rows by the sums of the kernel, which become keys on the way. slots NULL: the rows are first, first + 1, ... */
static IqdbStatus
offer_block(FlatScan *scan, float *sums, const float *norms2, const uint32_t *slots, uint32_t first, size_t count)
{
	float query_norm2 = scan->cursor->base.query_norm2;

	for (size_t start = 0; start < count; start += CHUNK_ROWS)
	{
		size_t       rows = count - start < CHUNK_ROWS ? count - start : CHUNK_ROWS;
		const float *chunk_norms2 = scan->needs_norms ? norms2 + start : NULL;

		if (scan->has_bound && rows == CHUNK_ROWS && chunk_is_far(scan, sums + start, chunk_norms2))
			continue;
		iqdb_metric_finish(scan->metric, query_norm2, chunk_norms2, rows, sums + start);
		for (size_t i = start; i < start + rows; i++)
			IQDB_TRY(offer_one(scan, sums[i], slots != NULL ? slots[i] : first + (uint32_t) i));
		renew_bound(scan);
	}
	return IQDB_OK;
}

/* ---- scanning ---- */

static IqdbStatus
scan_block(FlatScan *scan, uint32_t first, size_t count)
{
	const IqdbStore *store = scan->store;
	IqdbCursor      *base = &scan->cursor->base;
	uint32_t         slots[BLOCK_ROWS];
	float            sums[BLOCK_ROWS];
	float            norms2[BLOCK_ROWS];

	if (base->params.filter == NULL && all_live(store, first, count))
	{
		base->stats.scored += count;
		scan->batch(base->query, iqdb_store_vector(store, first), scan->stride, count, scan->dimension, sums);
		return offer_block(scan, sums, store->norms + first, NULL, first, count);
	}
	count = select_rows(scan, first, count, slots);
	if (count == 0)
		return IQDB_OK;
	base->stats.scored += count;
	scan->gather(base->query, store->vectors, scan->stride, slots, count, scan->dimension, sums);
	if (scan->needs_norms)
	{
		for (size_t i = 0; i < count; i++)
			norms2[i] = store->norms[slots[i]];
	}
	return offer_block(scan, sums, norms2, slots, 0, count);
}

static IqdbStatus
scan_stretch(FlatScan *scan, uint32_t from, uint32_t to)
{
	const IqdbCursor *base = &scan->cursor->base;
	uint64_t          max_rows = base->params.max_rows;

	iqdb_store_prefetch_range(scan->store, from, to - from);
	for (uint32_t first = from; first < to; first += BLOCK_ROWS)
	{
		IQDB_TRY(scan_block(scan, first, to - first < BLOCK_ROWS ? to - first : BLOCK_ROWS));
		if (max_rows != 0 && base->stats.scored >= max_rows)
			break;
	}
	return IQDB_OK;
}

/* Rows of a stretch: a multiple of BLOCK_ROWS, so that blocks begin at multiples of eight. */
static uint32_t
stretch_rows(size_t stride)
{
	size_t rows = STRETCH_BYTES / (stride * sizeof(float)) / BLOCK_ROWS * BLOCK_ROWS;

	if (rows < BLOCK_ROWS)
		return BLOCK_ROWS;
	return rows > STRETCH_ROWS_MAX ? STRETCH_ROWS_MAX : (uint32_t) rows;
}

/* One pass over all rows: the best top.capacity of those that stand behind the bound. */
static IqdbStatus
scan_rows(FlatCursor *cursor, IqdbError *err)
{
	const IqdbStore       *store = cursor->base.store;
	const IqdbStoreHeader *header = store->header;
	IqdbMetric             metric = (IqdbMetric) header->options.metric;
	const IqdbSumKernels  *kernels = &store->kernels->sums[iqdb_metric_sum(metric)];
	uint64_t               max_rows = cursor->base.params.max_rows;
	uint32_t               count = atomic_load_explicit(&header->slot_count, memory_order_acquire);
	uint32_t               step = stretch_rows(header->stride);
	IqdbStatus             status = IQDB_OK;
	FlatScan               scan = {.cursor = cursor,
								   .store = store,
								   .batch = kernels->batch,
								   .gather = kernels->gather,
								   .metric = metric,
								   .dimension = header->options.dimension,
								   .stride = header->stride,
								   .needs_norms = metric == IQDB_METRIC_COSINE};

	for (uint32_t from = 0; from < count && status == IQDB_OK;)
	{
		uint32_t to = count - from < step ? count : from + step;

		if (from > 0 && iqdb_host_cancelled(store->host))
			return iqdb_fail(err, IQDB_ERR_CANCELLED, "search was cancelled");
		iqdb_store_lock(store, IQDB_LOCK_STRUCTURE, false);
		status = scan_stretch(&scan, from, to);
		iqdb_store_unlock(store, IQDB_LOCK_STRUCTURE, false);
		from = to;
		if (max_rows != 0 && cursor->base.stats.scored >= max_rows)
		{
			cursor->exhausted = true;
			break;
		}
	}
	if (status != IQDB_OK)
		return iqdb_fail(err, status, "out of memory while keeping %zu candidates", cursor->top.count);
	return IQDB_OK;
}

/* ---- cursor ---- */

static IqdbStatus
flat_cursor_start(IqdbCursor *base, IqdbError *err)
{
	FlatCursor *cursor = (FlatCursor *) base;

	(void) err;
	iqdb_topk_init(&cursor->top, &base->store->host->allocator, base->params.expected > 0 ? base->params.expected
																						  : BATCH_DEFAULT);
	return IQDB_OK;
}

static void
flat_cursor_end(IqdbCursor *base)
{
	iqdb_topk_free(&((FlatCursor *) base)->top);
}

/* Capacity of the batch after one of `capacity` rows. */
static size_t
next_capacity(const FlatCursor *cursor, size_t capacity)
{
	size_t live = atomic_load_explicit(&cursor->base.store->header->live_count, memory_order_relaxed);
	size_t next = capacity < BATCH_DEFAULT ? BATCH_DEFAULT : capacity;

	if (next >= BATCH_MAX)
		return next;
	next *= BATCH_GROWTH;
	return next >= live / BATCH_SHARE || next > BATCH_MAX ? BATCH_MAX : next;
}

static IqdbStatus
next_batch(FlatCursor *cursor, IqdbError *err)
{
	IqdbTopK  *top = &cursor->top;
	IqdbStatus status;

	if (cursor->started)
	{
		cursor->bound = top->items[top->count - 1];
		cursor->bounded = true;
		top->capacity = next_capacity(cursor, top->capacity);
		iqdb_topk_clear(top);
	}
	cursor->at = 0;
	status = scan_rows(cursor, err);
	if (status != IQDB_OK)
	{
		/* what was kept is not the best: the stream is at its end */
		iqdb_topk_clear(top);
		cursor->exhausted = true;
		return status;
	}
	cursor->started = true;
	if (top->count < top->capacity)
		cursor->exhausted = true;
	iqdb_topk_sort(top);
	return IQDB_OK;
}

/* Rows may have died since they were scored, and their slots may be other rows now: those are passed over. */
static size_t
hand_out(FlatCursor *cursor, IqdbHit *hits, size_t capacity)
{
	const IqdbStore *store = cursor->base.store;
	size_t           count = 0;

	iqdb_store_lock(store, IQDB_LOCK_STRUCTURE, false);
	while (cursor->at < cursor->top.count && count < capacity)
	{
		const IqdbCandidate *candidate = &cursor->top.items[cursor->at++];
		const IqdbSlot      *row = &store->slots[candidate->slot];

		if (iqdb_store_state(store, candidate->slot) != IQDB_ROW_LIVE || row->sequence != candidate->sequence)
			continue;
		hits[count].sequence = candidate->sequence;
		hits[count].id = row->id;
		hits[count].slot = candidate->slot;
		hits[count].key = candidate->key;
		count++;
	}
	iqdb_store_unlock(store, IQDB_LOCK_STRUCTURE, false);
	return count;
}

static IqdbStatus
flat_cursor_next(IqdbCursor *base, IqdbHit *hits, size_t capacity, size_t *count_out, IqdbError *err)
{
	FlatCursor *cursor = (FlatCursor *) base;

	*count_out = 0;
	while (capacity > 0 && *count_out == 0)
	{
		if (cursor->at == cursor->top.count)
		{
			if (cursor->exhausted)
				return IQDB_OK;
			IQDB_TRY(next_batch(cursor, err));
		}
		*count_out = hand_out(cursor, hits, capacity);
	}
	return IQDB_OK;
}

/* ---- the rest of the contract: there is nothing to do ---- */

static void
flat_reserves(const IqdbIndexOptions *options, uint64_t slots_max, uint64_t reserves_out[IQDB_ENGINE_REGIONS_MAX])
{
	(void) options;
	(void) slots_max;
	memset(reserves_out, 0, IQDB_ENGINE_REGIONS_MAX * sizeof(*reserves_out));
}

static uint64_t
flat_bytes_per_row(const IqdbIndexOptions *options)
{
	(void) options;
	return 0;
}

static IqdbStatus
flat_format(IqdbStore *store, IqdbError *err)
{
	(void) store;
	(void) err;
	return IQDB_OK;
}

static IqdbStatus
flat_reserve(IqdbStore *store, uint32_t slot_count, IqdbError *err)
{
	(void) store;
	(void) slot_count;
	(void) err;
	return IQDB_OK;
}

static void
flat_added(IqdbStore *store, uint32_t slot)
{
	(void) store;
	(void) slot;
}

static void
flat_removed(IqdbStore *store, uint32_t slot)
{
	iqdb_store_release_locked(store, slot);
}

static IqdbStatus
flat_link(IqdbStore *store, uint32_t slot, IqdbError *err)
{
	(void) store;
	(void) slot;
	(void) err;
	return IQDB_OK;
}

static IqdbStatus
flat_link_pending(IqdbStore *store, uint64_t max_rows, uint64_t *linked_out, IqdbError *err)
{
	(void) store;
	(void) max_rows;
	(void) err;
	*linked_out = 0;
	return IQDB_OK;
}

static IqdbStatus
flat_maintain(IqdbStore *store, IqdbMaintain what, IqdbError *err)
{
	(void) store;
	(void) what;
	(void) err;
	return IQDB_OK;
}

/* The engine's part of a snapshot is a version number (u32), so that it can become more. */
static IqdbStatus
flat_save(IqdbStore *store, IqdbSink *sink, IqdbError *err)
{
	unsigned char bytes[4];

	(void) store;
	iqdb_store_u32(bytes, ENGINE_PART_VERSION);
	return sink->write(sink->arg, bytes, sizeof(bytes), err);
}

static IqdbStatus
flat_load(IqdbStore *store, IqdbSource *source, IqdbError *err)
{
	unsigned char bytes[4];

	(void) store;
	IQDB_TRY(source->read(source->arg, bytes, sizeof(bytes), err));
	if (iqdb_load_u32(bytes) != ENGINE_PART_VERSION)
		return iqdb_fail(err, IQDB_ERR_VERSION, "engine part of the flat engine has version %u, this build reads %u",
						 iqdb_load_u32(bytes), ENGINE_PART_VERSION);
	return IQDB_OK;
}

static IqdbStatus
flat_check(IqdbStore *store, IqdbFinding finding, void *arg, IqdbError *err)
{
	(void) store;
	(void) finding;
	(void) arg;
	(void) err;
	return IQDB_OK;
}

static void
flat_stats(const IqdbStore *store, IqdbEngineStats *stats_out)
{
	(void) store;
	memset(stats_out, 0, sizeof(*stats_out));
}

const IqdbEngine iqdb_flat_engine = {
	.kind = IQDB_ENGINE_FLAT,
	.name = "flat",
	.reserves = flat_reserves,
	.bytes_per_row = flat_bytes_per_row,
	.format = flat_format,
	.reserve = flat_reserve,
	.added = flat_added,
	.removed = flat_removed,
	.link = flat_link,
	.link_pending = flat_link_pending,
	.maintain = flat_maintain,
	.cursor_size = sizeof(FlatCursor),
	.cursor_start = flat_cursor_start,
	.cursor_next = flat_cursor_next,
	.cursor_end = flat_cursor_end,
	.save = flat_save,
	.load = flat_load,
	.check = flat_check,
	.stats = flat_stats,
};
