/*
 * ivf_arena.c - the engine's bytes in the arena: shapes, home words, rows not linked, blocks.
 *
 * Does not own: what codes mean (ivf_code.c), nor when rows change places (ivf_build.c).
 */
#include "core/ivf/ivf_private.h"

#include <string.h>

#define ALIGNMENT 64u

/*
 * From here on sq8 keeps four bits per component in lists. The error of a distance shrinks with the root of the number of
 * components, and what a scan costs is the bytes it reads.
 */
#define HALVES_DIMENSION_MIN 64u

/* Dimensions of one nibble when the user names no number of subvectors, and of one nibble of sign bits. */
#define PRODUCT_NIBBLE_DIMS 2u
#define SIGNS_NIBBLE_DIMS 4u

/* Sign flips of the rotation before sign codes: three rounds. */
#define ROTATION_ROUNDS 3u

/* Slots let go of, and rows looked at, in one stretch. */
#define RELEASE_BATCH 128u
#define SETTLE_BATCH 4096u

_Static_assert(sizeof(IqdbiList) == 32, "two lists a cache line");
_Static_assert(sizeof(IqdbiIvfHeader) <= IQDB_HEADERS_SIZE - IQDB_ENGINE_HEADER_OFFSET, "one page for the engine");
_Static_assert(IQDBI_LISTS_MAX <= UINT32_MAX >> IQDBI_HOME_LIST_SHIFT, "a home word has room for a list");

static size_t
round_up(size_t bytes)
{
	return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* ---- shape ---- */

static IqdbiBlockLayout
block_layout(IqdbiCoding coding, bool scales, bool offsets, bool short_scalars, size_t words)
{
	IqdbiBlockLayout layout = {.coding = coding, .words = words, .short_scalars = short_scalars};
	size_t           scalar = short_scalars ? sizeof(uint16_t) : sizeof(float);
	size_t           at = IQDBI_BLOCK_ROWS * sizeof(uint32_t);

	if (scales)
	{
		layout.scales_at = at;
		at += IQDBI_BLOCK_ROWS * scalar;
	}
	if (offsets)
	{
		layout.offsets_at = at;
		at += IQDBI_BLOCK_ROWS * scalar;
	}
	layout.codes_at = at;
	layout.size = round_up(at + words * (iqdbi_layout_scalar(&layout) ? 4 : 1) * IQDBI_BLOCK_ROWS);
	return layout;
}

static size_t
quads(size_t dim)
{
	return (dim + 3) / 4;
}

/* A byte per subvector, of two nibbles where it has two dimensions. */
static uint32_t
product_nibbles(const IqdbIndexOptions *options)
{
	uint32_t dim = options->dimension;

	if (options->pq_subvectors == 0)
		return (dim + PRODUCT_NIBBLE_DIMS - 1) / PRODUCT_NIBBLE_DIMS;
	return options->pq_subvectors <= dim / 2 ? 2 * options->pq_subvectors : dim;
}

static void
shape_rows(IqdbiIvf *ivf, const IqdbIndexOptions *options)
{
	uint32_t dim = options->dimension;
	uint32_t nibbles = product_nibbles(options);

	switch (options->quantization)
	{
		case IQDB_QUANTIZATION_SQ8:
			if (dim < HALVES_DIMENSION_MIN)
				ivf->rows = block_layout(IQDBI_CODING_BYTES, true, true, false, quads(dim));
			else
				ivf->rows = block_layout(IQDBI_CODING_HALVES, true, true, true, iqdb_packed_octets(dim));
			break;
		case IQDB_QUANTIZATION_PQ:
			ivf->rows = block_layout(IQDBI_CODING_PRODUCT, false, options->metric == IQDB_METRIC_L2, true,
									 (nibbles + 1) / 2);
			(void) (iqdb_pq_init_uneven(dim, nibbles, 16, &ivf->pq, NULL) == IQDB_OK);
			ivf->codebook = iqdb_pq_codebook_floats(&ivf->pq);
			break;
		case IQDB_QUANTIZATION_BQ:
			nibbles = (dim + SIGNS_NIBBLE_DIMS - 1) / SIGNS_NIBBLE_DIMS;
			ivf->rows = block_layout(IQDBI_CODING_SIGNS, true, true, true, (nibbles + 1) / 2);
			ivf->codebook = (size_t) ROTATION_ROUNDS * dim;
			break;
		default:
			ivf->rows = block_layout(IQDBI_CODING_NONE, false, false, false, 0);
			break;
	}
}

void
iqdbi_ivf_shape(IqdbiIvf *ivf_out, const IqdbIndexOptions *options, size_t stride)
{
	memset(ivf_out, 0, sizeof(*ivf_out));
	ivf_out->metric = (IqdbMetric) options->metric;
	ivf_out->dim = options->dimension;
	ivf_out->stride = stride;
	ivf_out->coded_centres = ivf_out->metric == IQDB_METRIC_L2 || ivf_out->metric == IQDB_METRIC_DOT ||
							 ivf_out->metric == IQDB_METRIC_COSINE;
	ivf_out->sum = ivf_out->coded_centres ? IQDB_SUM_L2 : iqdb_metric_sum(ivf_out->metric);
	ivf_out->work_dim = ivf_out->dim + (ivf_out->metric == IQDB_METRIC_DOT);
	ivf_out->work_stride = (ivf_out->work_dim + 15) / 16 * 16;
	shape_rows(ivf_out, options);
	if (ivf_out->coded_centres)
		ivf_out->centres = block_layout(IQDBI_CODING_BYTES, true, true, false, quads(ivf_out->work_dim));
	else
		ivf_out->centres = block_layout(IQDBI_CODING_NONE, false, false, false, 0);
}

void
iqdbi_ivf_view(IqdbiIvf *ivf_out, IqdbStore *store)
{
	iqdbi_ivf_shape(ivf_out, &store->header->options, store->header->stride);
	ivf_out->store = store;
	ivf_out->header = store->engine_header;
	ivf_out->kernels = iqdbi_ivf_kernels(store->kernels);
	ivf_out->packed = iqdb_packed_kernels(store->kernels);
	for (uint32_t edition = 0; edition < 2; edition++)
	{
		ivf_out->homes[edition] = iqdb_store_engine_region(store, IQDBI_IVF_HOMES + edition);
		ivf_out->blocks[edition] = iqdb_store_engine_region(store, IQDBI_IVF_BLOCKS + edition);
		ivf_out->links[edition] = iqdb_store_engine_region(store, IQDBI_IVF_LINKS + edition);
	}
	ivf_out->spans = iqdb_store_engine_region(store, IQDBI_IVF_WAITING);
}

/* ---- models ---- */

uint32_t
iqdbi_model_blocks(const uint32_t *super_lists, uint32_t supers, uint32_t *starts_out)
{
	uint32_t blocks = 0;

	for (uint32_t super = 0; super < supers; super++)
	{
		if (starts_out != NULL)
			starts_out[super] = blocks;
		blocks += (super_lists[super + 1] - super_lists[super] + IQDBI_BLOCK_ROWS - 1) / IQDBI_BLOCK_ROWS;
	}
	if (starts_out != NULL)
		starts_out[supers] = blocks;
	return blocks;
}

/* Lays the parts out one after the other; memory NULL: only counts. */
static size_t
lay_out(const IqdbiIvf *ivf, IqdbiModel *model, unsigned char *memory)
{
	size_t row = ivf->work_stride * sizeof(float);
	size_t at[8];
	size_t end = 0;
	size_t sizes[8] = {model->lists * row,
					   row,
					   ivf->codebook * sizeof(float),
					   model->supers * row,
					   ((size_t) model->supers + 1) * sizeof(uint32_t),
					   ((size_t) model->supers + 1) * sizeof(uint32_t),
					   model->coarse_blocks * ivf->centres.size,
					   model->super_blocks * ivf->centres.size};

	for (int part = 0; part < 8; part++)
	{
		at[part] = end;
		end += round_up(sizes[part]);
	}
	if (memory == NULL)
		return end;
	model->centres = (float *) (void *) (memory + at[0]);
	model->mean = (float *) (void *) (memory + at[1]);
	model->codebook = (float *) (void *) (memory + at[2]);
	model->super_centres = (float *) (void *) (memory + at[3]);
	model->super_lists = (uint32_t *) (void *) (memory + at[4]);
	model->super_starts = (uint32_t *) (void *) (memory + at[5]);
	model->packed = memory + at[6];
	model->super_packed = memory + at[7];
	return end;
}

size_t
iqdbi_model_size(const IqdbiIvf *ivf, const IqdbiModel *model)
{
	IqdbiModel copy = *model;

	return lay_out(ivf, &copy, NULL);
}

void
iqdbi_model_place(const IqdbiIvf *ivf, IqdbiModel *model, unsigned char *memory)
{
	(void) lay_out(ivf, model, memory);
}

void
iqdbi_model_view(const IqdbiIvf *ivf, uint32_t edition, IqdbiModel *model_out)
{
	const IqdbiEdition *source = &ivf->header->editions[edition];

	memset(model_out, 0, sizeof(*model_out));
	model_out->lists = source->lists;
	model_out->supers = source->supers;
	model_out->coarse_blocks = source->coarse_blocks;
	model_out->super_blocks = source->super_blocks;
	model_out->probes = source->probes;
	model_out->radius2 = source->radius2;
	model_out->spread = source->spread;
	model_out->rows = source->rows;
	iqdbi_model_place(ivf, model_out, iqdb_store_engine_region(ivf->store, IQDBI_IVF_MODELS + edition));
}

IqdbStatus
iqdbi_ivf_grow(const IqdbiIvf *ivf, uint32_t region, uint64_t bytes, IqdbError *err)
{
	IqdbStatus status;

	iqdb_store_lock(ivf->store, IQDB_LOCK_ROWS, true);
	status = iqdb_arena_grow(ivf->store->arena, IQDB_REGION_ENGINE + region, bytes, err);
	iqdb_store_unlock(ivf->store, IQDB_LOCK_ROWS, true);
	return status;
}

/* The editions that count, as 1 + edition; 0 = none. */
typedef struct Counting
{
	uint32_t current;
	uint32_t training;
} Counting;

/* Who holds ROWS or ENGINE knows that it stays so. */
static Counting
counting(const IqdbiIvf *ivf)
{
	return (Counting){.current = atomic_load_explicit(&ivf->header->current, memory_order_acquire),
					  .training = atomic_load_explicit(&ivf->header->training, memory_order_acquire)};
}

static IqdbStatus
reserve_homes(const IqdbiIvf *ivf, uint32_t edition, uint32_t slots, IqdbError *err)
{
	uint64_t size = iqdbi_home_size(ivf->header->editions[edition].lists);

	return iqdb_arena_grow(ivf->store->arena, IQDB_REGION_ENGINE + IQDBI_IVF_HOMES + edition, slots * size, err);
}

IqdbStatus
iqdbi_ivf_reserve(const IqdbiIvf *ivf, uint32_t slots, IqdbError *err)
{
	Counting count = counting(ivf);
	uint64_t spans = ((uint64_t) slots + IQDBI_SPAN_SLOTS - 1) / IQDBI_SPAN_SLOTS;

	if (count.current != 0)
		IQDB_TRY(reserve_homes(ivf, count.current - 1, slots, err));
	if (count.training != 0)
		IQDB_TRY(reserve_homes(ivf, count.training - 1, slots, err));
	return iqdb_arena_grow(ivf->store->arena, IQDB_REGION_ENGINE + IQDBI_IVF_WAITING, spans * sizeof(IqdbiSpan), err);
}

/* Writers wait for ROWS no longer than for a step. */
void
iqdbi_ivf_release(const IqdbiIvf *ivf, uint32_t region)
{
	bool more = true;

	while (more)
	{
		iqdb_store_lock(ivf->store, IQDB_LOCK_ROWS, true);
		more = iqdb_arena_release(ivf->store->arena, IQDB_REGION_ENGINE + region);
		iqdb_store_unlock(ivf->store, IQDB_LOCK_ROWS, true);
	}
}

void
iqdbi_edition_drop(const IqdbiIvf *ivf, uint32_t edition)
{
	iqdb_store_lock(ivf->store, IQDB_LOCK_ENGINE, true);
	ivf->header->pools[edition] = (IqdbiPool){.count = 1};
	iqdb_store_unlock(ivf->store, IQDB_LOCK_ENGINE, true);
	for (uint32_t region = 0; region < IQDBI_IVF_WAITING; region += 2)
		iqdbi_ivf_release(ivf, region + edition);
}

/* ---- home words ---- */

void
iqdbi_home_set(const IqdbiIvf *ivf, uint32_t edition, uint32_t slot, uint32_t status, uint32_t list)
{
	uint32_t word = status | list << IQDBI_HOME_LIST_SHIFT;

	if (iqdbi_home_size(ivf->header->editions[edition].lists) == sizeof(uint16_t))
		atomic_store_explicit((_Atomic uint16_t *) ivf->homes[edition] + slot, (uint16_t) word, memory_order_release);
	else
		atomic_store_explicit((_Atomic uint32_t *) ivf->homes[edition] + slot, word, memory_order_release);
}

bool
iqdbi_home_change(const IqdbiIvf *ivf, uint32_t edition, uint32_t slot, uint32_t from, uint32_t to)
{
	uint32_t word = iqdbi_home(ivf, edition, slot);

	if (iqdbi_home_status(word) != from)
		return false;
	if (iqdbi_home_size(ivf->header->editions[edition].lists) == sizeof(uint16_t))
	{
		uint16_t old = (uint16_t) word;

		return atomic_compare_exchange_strong((_Atomic uint16_t *) ivf->homes[edition] + slot, &old, (uint16_t) to);
	}
	return atomic_compare_exchange_strong((_Atomic uint32_t *) ivf->homes[edition] + slot, &word, to);
}

/* ---- rows not linked yet ---- */

void
iqdbi_row_wait(const IqdbiIvf *ivf, uint32_t slot)
{
	IqdbiSpan *span = &ivf->spans[slot / IQDBI_SPAN_SLOTS];
	Counting   count = counting(ivf);

	if (count.current == 0 && count.training == 0)
		return;
	if (count.current != 0)
		iqdbi_home_set(ivf, count.current - 1, slot, IQDBI_HOME_PENDING, 0);
	if (count.training != 0)
		iqdbi_home_set(ivf, count.training - 1, slot, IQDBI_HOME_PENDING, 0);
	/* numbers before the bit: who finds them zero misses none */
	atomic_fetch_add_explicit(&ivf->header->waiting, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&span->waiting, 1, memory_order_relaxed);
	atomic_fetch_or_explicit(&span->bits[slot % IQDBI_SPAN_SLOTS / 64], UINT64_C(1) << slot % 64, memory_order_release);
}

static void
stop_waiting(const IqdbiIvf *ivf, uint32_t slot)
{
	IqdbiSpan *span = &ivf->spans[slot / IQDBI_SPAN_SLOTS];
	uint64_t   bit = UINT64_C(1) << slot % 64;

	if ((atomic_fetch_and_explicit(&span->bits[slot % IQDBI_SPAN_SLOTS / 64], ~bit, memory_order_release) & bit) == 0)
		return;
	atomic_fetch_sub_explicit(&span->waiting, 1, memory_order_release);
	atomic_fetch_sub_explicit(&ivf->header->waiting, 1, memory_order_release);
}

uint32_t
iqdbi_row_waiting(const IqdbiIvf *ivf, uint32_t slot, uint32_t slots)
{
	while (slot < slots)
	{
		IqdbiSpan *span = &ivf->spans[slot / IQDBI_SPAN_SLOTS];
		uint64_t   bits;

		if (slot % IQDBI_SPAN_SLOTS == 0 && atomic_load_explicit(&span->waiting, memory_order_acquire) == 0)
		{
			slot = slots - slot > IQDBI_SPAN_SLOTS ? slot + IQDBI_SPAN_SLOTS : slots;
			continue;
		}
		bits = atomic_load_explicit(&span->bits[slot % IQDBI_SPAN_SLOTS / 64], memory_order_acquire) >> slot % 64;
		if (bits != 0)
		{
			slot += (uint32_t) __builtin_ctzll(bits);
			return slot < slots ? slot : slots;
		}
		slot = slots - slot > 64 - slot % 64 ? slot + 64 - slot % 64 : slots;
	}
	return slots;
}

/* What to do about a row. */
typedef enum Verdict
{
	WAITS,
	LEAVES,  /* lists hold the row, or all rows are scanned */
	RELEASED /* nothing holds it any more */
} Verdict;

/* A DEAD row. Its words go from PENDING to ABSENT, so that nobody links it from here on. */
static Verdict
judge_dead(const IqdbiIvf *ivf, uint32_t slot, Counting count)
{
	uint32_t editions[2] = {count.training, count.current};
	bool     held = false;

	for (int i = 0; i < 2; i++)
	{
		uint32_t status;

		if (editions[i] == 0)
			continue;
		(void) iqdbi_home_change(ivf, editions[i] - 1, slot, IQDBI_HOME_PENDING, IQDBI_HOME_ABSENT);
		status = iqdbi_home_status(iqdbi_home(ivf, editions[i] - 1, slot));
		if (status == IQDBI_HOME_LINKING)
			return WAITS;
		held |= status == IQDBI_HOME_LINKED;
	}
	return held ? LEAVES : RELEASED;
}

static Verdict
judge(const IqdbiIvf *ivf, uint32_t slot)
{
	Counting count = counting(ivf);

	if (iqdb_store_state(ivf->store, slot) == IQDB_ROW_DEAD)
		return judge_dead(ivf, slot, count);
	if (count.current != 0 && iqdbi_home_status(iqdbi_home(ivf, count.current - 1, slot)) != IQDBI_HOME_LINKED)
		return WAITS;
	if (count.training != 0 && iqdbi_home_status(iqdbi_home(ivf, count.training - 1, slot)) != IQDBI_HOME_LINKED)
		return WAITS;
	return LEAVES;
}

/* ENGINE is held. */
static bool
settle(const IqdbiIvf *ivf, uint32_t slot)
{
	Verdict verdict = judge(ivf, slot);

	if (verdict != WAITS)
		stop_waiting(ivf, slot);
	return verdict == RELEASED;
}

bool
iqdbi_row_settle(const IqdbiIvf *ivf, uint32_t slot)
{
	bool released;

	iqdb_store_lock(ivf->store, IQDB_LOCK_ENGINE, true);
	released = settle(ivf, slot);
	iqdb_store_unlock(ivf->store, IQDB_LOCK_ENGINE, true);
	return released;
}

void
iqdbi_slots_release(const IqdbiIvf *ivf, const uint32_t *slots, uint32_t count)
{
	if (count == 0)
		return;
	iqdb_store_lock(ivf->store, IQDB_LOCK_ROWS, true);
	for (uint32_t i = 0; i < count; i++)
	{
		if (iqdb_store_release_locked(ivf->store, slots[i]))
			atomic_fetch_sub_explicit(&ivf->header->unrepaired, 1, memory_order_relaxed);
	}
	iqdb_store_unlock(ivf->store, IQDB_LOCK_ROWS, true);
}

void
iqdbi_rows_settle(const IqdbiIvf *ivf)
{
	uint32_t slots = atomic_load_explicit(&ivf->store->header->slot_count, memory_order_acquire);
	uint32_t slot = atomic_load_explicit(&ivf->header->waiting, memory_order_acquire) > 0 ? 0 : slots;

	while (slot < slots)
	{
		uint32_t released[RELEASE_BATCH];
		uint32_t count = 0;

		iqdb_store_lock(ivf->store, IQDB_LOCK_STRUCTURE, false);
		iqdb_store_lock(ivf->store, IQDB_LOCK_ENGINE, true);
		for (uint32_t looked = 0; looked < SETTLE_BATCH && count < RELEASE_BATCH; looked++)
		{
			slot = iqdbi_row_waiting(ivf, slot, slots);
			if (slot == slots)
				break;
			if (settle(ivf, slot))
				released[count++] = slot;
			slot++;
		}
		iqdb_store_unlock(ivf->store, IQDB_LOCK_ENGINE, true);
		iqdbi_slots_release(ivf, released, count);
		iqdb_store_unlock(ivf->store, IQDB_LOCK_STRUCTURE, false);
	}
}

/* ---- blocks ---- */

static uint64_t
committed(const IqdbiIvf *ivf, uint32_t region)
{
	const IqdbArenaHeader *arena = iqdb_arena_header(ivf->store->arena);

	return __atomic_load_n(&arena->regions[IQDB_REGION_ENGINE + region].committed, __ATOMIC_ACQUIRE);
}

/* 0: regions must grow, to more blocks than *used_out. ENGINE is held. */
static uint32_t
take_ready(const IqdbiIvf *ivf, uint32_t edition, uint32_t *used_out)
{
	IqdbiPool *pool = &ivf->header->pools[edition];
	uint32_t   block = pool->free;

	*used_out = pool->count;
	if (block != 0)
	{
		pool->free = iqdbi_block_next(ivf, edition, block);
		pool->free_count--;
		return block;
	}
	if (pool->count >= committed(ivf, IQDBI_IVF_BLOCKS + edition) / ivf->rows.size ||
		pool->count >= committed(ivf, IQDBI_IVF_LINKS + edition) / sizeof(uint32_t))
		return 0;
	return pool->count++;
}

IqdbStatus
iqdbi_block_take(const IqdbiIvf *ivf, uint32_t edition, uint32_t *block_out, IqdbError *err)
{
	for (;;)
	{
		uint64_t needed;
		uint32_t used;

		iqdb_store_lock(ivf->store, IQDB_LOCK_ENGINE, true);
		*block_out = take_ready(ivf, edition, &used);
		iqdb_store_unlock(ivf->store, IQDB_LOCK_ENGINE, true);
		if (*block_out != 0)
			break;
		needed = (uint64_t) used + 1;
		IQDB_TRY(iqdbi_ivf_grow(ivf, IQDBI_IVF_BLOCKS + edition, needed * ivf->rows.size, err));
		IQDB_TRY(iqdbi_ivf_grow(ivf, IQDBI_IVF_LINKS + edition, needed * sizeof(uint32_t), err));
	}
	iqdbi_block_link(ivf, edition, *block_out, 0);
	return IQDB_OK;
}

void
iqdbi_blocks_give(const IqdbiIvf *ivf, uint32_t edition, uint32_t first, uint32_t last, uint32_t count)
{
	IqdbiPool *pool = &ivf->header->pools[edition];

	if (count == 0)
		return;
	iqdb_store_lock(ivf->store, IQDB_LOCK_ENGINE, true);
	iqdbi_block_link(ivf, edition, last, pool->free);
	pool->free = first;
	pool->free_count += count;
	iqdb_store_unlock(ivf->store, IQDB_LOCK_ENGINE, true);
}
