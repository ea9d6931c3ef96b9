/*
 * flat.c - exact search: one pass over the rows keeps the best, the next pass continues behind them. See README.md.
 *
 * Owns: the cursor, and the contract. Does not own: a pass (flat_scan.c), codes of rows (flat_code.c). There are no links
 * and no lists: a slot that dies can go to limbo at once, because no cursor trusts a slot number from one stretch of work
 * to the next: a candidate counts only while its slot is LIVE with the sequence it had.
 */
#include "core/flat/flat_private.h"

#include <string.h>

#include "core/base/endian.h"

/* Rows of a first batch when the caller does not say how many are wanted; and growth from batch to batch. */
#define BATCH_DEFAULT 64
#define BATCH_GROWTH 4
/* A batch that would be such a share of all rows takes all of them, */
#define BATCH_SHARE 8
/* but no more than this: 64 MB of candidates. */
#define BATCH_MAX ((size_t) 4 * 1024 * 1024)

#define ENGINE_PART_VERSION 1u

/* ---- cursor ---- */

static IqdbStatus
flat_cursor_start(IqdbCursor *base, IqdbError *err)
{
	IqdbiFlatCursor     *cursor = (IqdbiFlatCursor *) base;
	const IqdbAllocator *allocator = &base->store->host->allocator;
	IqdbiFlatCodes       codes;

	iqdb_topk_init(&cursor->top, allocator, base->params.expected > 0 ? base->params.expected : BATCH_DEFAULT);
	if (!iqdbi_flat_codes_view(&codes, base->store))
		return IQDB_OK;
	cursor->query_codes = iqdb_alloc(allocator, 2 * iqdb_bound_query_bytes(codes.dim));
	return cursor->query_codes != NULL ? IQDB_OK : iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for a query's codes");
}

static void
flat_cursor_end(IqdbCursor *base)
{
	IqdbiFlatCursor *cursor = (IqdbiFlatCursor *) base;
	size_t           dim = base->store->header->options.dimension;

	iqdb_topk_free(&cursor->top);
	iqdb_free(&base->store->host->allocator, cursor->query_codes, 2 * iqdb_bound_query_bytes(dim));
}

/* Capacity of the batch after one of `capacity` rows. */
static size_t
next_capacity(const IqdbiFlatCursor *cursor, size_t capacity)
{
	size_t live = atomic_load_explicit(&cursor->base.store->header->live_count, memory_order_relaxed);
	size_t next = capacity < BATCH_DEFAULT ? BATCH_DEFAULT : capacity;

	if (next >= BATCH_MAX)
		return next;
	next *= BATCH_GROWTH;
	return next >= live / BATCH_SHARE || next > BATCH_MAX ? BATCH_MAX : next;
}

/* The next batch of several cursors; on failure all their streams are at the end, for what was kept is not the best. */
static IqdbStatus
next_batch(IqdbiFlatCursor *const *cursors, size_t count, IqdbError *err)
{
	IqdbStatus status;

	for (size_t i = 0; i < count; i++)
	{
		IqdbiFlatCursor *cursor = cursors[i];
		IqdbTopK        *top = &cursor->top;

		if (cursor->started)
		{
			cursor->bound = top->items[top->count - 1];
			cursor->bounded = true;
			top->capacity = next_capacity(cursor, top->capacity);
			iqdb_topk_clear(top);
		}
		cursor->at = 0;
		cursor->exhausted = true;
	}
	status = iqdbi_flat_scan(cursors, count, err);
	for (size_t i = 0; i < count; i++)
	{
		IqdbTopK *top = &cursors[i]->top;

		if (status != IQDB_OK)
		{
			iqdb_topk_clear(top);
			continue;
		}
		cursors[i]->started = true;
		if (top->count < top->capacity)
			cursors[i]->exhausted = true;
		iqdb_topk_sort(top);
	}
	return status;
}

/* The first batches of fresh cursors, so many passes for them as there must be. */
static IqdbStatus
flat_cursors_begin(IqdbCursor *const *cursors, size_t count, IqdbError *err)
{
	IqdbiFlatCursor *together[IQDBI_FLAT_TOGETHER];
	size_t           waiting = 0;

	for (size_t i = 0; i < count; i++)
	{
		IqdbiFlatCursor *cursor = (IqdbiFlatCursor *) cursors[i];

		if (!cursor->started && !cursor->exhausted)
			together[waiting++] = cursor;
		if (waiting == IQDBI_FLAT_TOGETHER || (waiting > 0 && i + 1 == count))
		{
			IQDB_TRY(next_batch(together, waiting, err));
			waiting = 0;
		}
	}
	return IQDB_OK;
}

static IqdbStatus
flat_cursor_next(IqdbCursor *base, IqdbHit *hits, size_t capacity, size_t *count_out, IqdbError *err)
{
	IqdbiFlatCursor *cursor = (IqdbiFlatCursor *) base;

	*count_out = 0;
	while (capacity > 0 && *count_out == 0)
	{
		if (cursor->at == cursor->top.count)
		{
			if (cursor->exhausted)
				return IQDB_OK;
			IQDB_TRY(next_batch(&cursor, 1, err));
		}
		*count_out = iqdb_engine_hand_out(base->store, cursor->top.items, &cursor->at, cursor->top.count, hits, capacity);
	}
	return IQDB_OK;
}

/* ---- the rest of the contract: without codes there is nothing to do ---- */

static void
flat_reserves(const IqdbIndexOptions *options, uint64_t slots_max, uint64_t reserves_out[IQDB_ENGINE_REGIONS_MAX])
{
	memset(reserves_out, 0, IQDB_ENGINE_REGIONS_MAX * sizeof(*reserves_out));
	iqdbi_flat_codes_reserves(options, slots_max, reserves_out);
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
	(void) slot;
	return iqdbi_flat_codes_grown(store, err);
}

static IqdbStatus
flat_link_pending(IqdbStore *store, uint64_t max_rows, uint64_t *linked_out, IqdbError *err)
{
	(void) max_rows;
	*linked_out = 0;
	return iqdbi_flat_codes_grown(store, err);
}

static IqdbStatus
flat_maintain(IqdbStore *store, IqdbMaintain what, IqdbError *err)
{
	return what == IQDB_MAINTAIN_VACUUM ? IQDB_OK : iqdbi_flat_codes_centre(store, false, err);
}

/* The engine's part of a snapshot is a version number (u32): codes are made of the rows again. */
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

	IQDB_TRY(source->read(source->arg, bytes, sizeof(bytes), err));
	if (iqdb_load_u32(bytes) != ENGINE_PART_VERSION)
		return iqdb_fail(err, IQDB_ERR_VERSION, "engine part of the flat engine has version %u, this build reads %u",
						 iqdb_load_u32(bytes), ENGINE_PART_VERSION);
	return iqdbi_flat_codes_centre(store, true, err);
}

static void
flat_stats(const IqdbStore *store, IqdbEngineStats *stats_out)
{
	(void) store;
	memset(stats_out, 0, sizeof(*stats_out));
}

/* Codes are made again. */
static uint64_t
flat_snapshot_bytes(const IqdbIndexOptions *options, uint64_t rows)
{
	(void) options;
	(void) rows;
	return 0;
}

/* ---- what planners are told ---- */

/* The share of the bytes where codes are read first, and what each further row costs of a search of all of them. */
#define CODE_SHARE 0.3
#define SHARE_PER_ROW 0.01

static void
flat_search_work(const IqdbIndexOptions *options, const IqdbSearchParams *params, double rows, IqdbSearchWork *first_out,
				 IqdbSearchWork *further_out)
{
	double scored = rows * (options->quantization == IQDB_QUANTIZATION_NONE ? 1 : CODE_SHARE);

	(void) params;
	*first_out = (IqdbSearchWork){.in_a_row = scored, .streamed = rows};
	*further_out = (IqdbSearchWork){.in_a_row = scored * SHARE_PER_ROW, .streamed = rows * SHARE_PER_ROW};
}

static double
flat_build_work(const IqdbIndexOptions *options, double rows)
{
	(void) options;
	(void) rows;
	return 1;
}

const IqdbEngine iqdb_flat_engine = {
	.kind = IQDB_ENGINE_FLAT,
	.name = "flat",
	.quantizations = 1u << IQDB_QUANTIZATION_NONE | 1u << IQDB_QUANTIZATION_SQ8,
	.is_exact = true,
	.search_work = flat_search_work,
	.build_work = flat_build_work,
	.reserves = flat_reserves,
	.bytes_per_row = iqdbi_flat_codes_bytes_per_row,
	.snapshot_bytes = flat_snapshot_bytes,
	.format = iqdbi_flat_codes_format,
	.reserve = iqdbi_flat_codes_reserve,
	.prepare = iqdbi_flat_codes_prepare,
	.added = flat_added,
	.removed = flat_removed,
	.link = flat_link,
	.link_pending = flat_link_pending,
	.maintain = flat_maintain,
	.cursor_size = sizeof(IqdbiFlatCursor),
	.cursor_start = flat_cursor_start,
	.cursors_begin = flat_cursors_begin,
	.cursor_next = flat_cursor_next,
	.cursor_end = flat_cursor_end,
	.save = flat_save,
	.load = flat_load,
	.check = iqdbi_flat_codes_check,
	.stats = flat_stats,
};
