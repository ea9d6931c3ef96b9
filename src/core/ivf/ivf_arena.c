/*
 * ivf_arena.c - the engine's bytes in the arena: shapes, home words, the chain of rows not linked, blocks.
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

/* Slots released, and nodes taken out, under one hold of ENGINE. */
#define RELEASE_BATCH 128u
#define UNLINK_BATCH 4096u

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
	size_t           at = IQDBI_BLOCK_SLOTS_AT + IQDBI_BLOCK_ROWS * sizeof(uint32_t);

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
	ivf_out->homes[0] = iqdb_store_engine_region(store, IQDBI_IVF_HOMES);
	ivf_out->homes[1] = iqdb_store_engine_region(store, IQDBI_IVF_HOMES + 1);
	ivf_out->next = iqdb_store_engine_region(store, IQDBI_IVF_NEXT);
	ivf_out->blocks = iqdb_store_engine_region(store, IQDBI_IVF_BLOCKS);
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

/* ---- home words ---- */

void
iqdbi_home_set(const IqdbiIvf *ivf, uint32_t edition, uint32_t slot, uint32_t status, uint32_t list)
{
	_Atomic uint32_t *word = &ivf->homes[edition][slot];
	uint32_t          old = atomic_load_explicit(word, memory_order_relaxed);
	uint32_t          new_word;

	do
		new_word = (old & IQDBI_HOME_CHAINED) | status | list << IQDBI_HOME_LIST_SHIFT;
	while (!atomic_compare_exchange_weak(word, &old, new_word));
}

bool
iqdbi_home_change(const IqdbiIvf *ivf, uint32_t edition, uint32_t slot, uint32_t from, uint32_t to)
{
	_Atomic uint32_t *word = &ivf->homes[edition][slot];
	uint32_t          old = atomic_load_explicit(word, memory_order_relaxed);

	do
	{
		if (iqdbi_home_status(old) != from)
			return false;
	} while (!atomic_compare_exchange_weak(word, &old, (old & IQDBI_HOME_CHAINED) | to));
	return true;
}

/* ---- the chain of rows not linked yet ---- */

void
iqdbi_chain_push(const IqdbiIvf *ivf, uint32_t slot)
{
	IqdbiIvfHeader *header = ivf->header;

	atomic_store_explicit(&ivf->next[slot], IQDB_SLOT_NONE, memory_order_relaxed);
	atomic_store_explicit(&ivf->homes[1][slot], IQDBI_HOME_PENDING, memory_order_relaxed);
	atomic_store_explicit(&ivf->homes[0][slot], IQDBI_HOME_PENDING | IQDBI_HOME_CHAINED, memory_order_release);
	iqdb_store_lock(ivf->store, IQDB_LOCK_ENGINE, true);
	if (header->chain_tail == IQDB_SLOT_NONE)
		atomic_store_explicit(&header->chain_head, slot, memory_order_release);
	else
		atomic_store_explicit(&ivf->next[header->chain_tail], slot, memory_order_release);
	header->chain_tail = slot;
	atomic_fetch_add_explicit(&header->chain_count, 1, memory_order_relaxed);
	iqdb_store_unlock(ivf->store, IQDB_LOCK_ENGINE, true);
}

/* What to do with a node of the chain. */
typedef enum Verdict
{
	STAYS,
	LEAVES,  /* lists hold the row */
	RELEASED /* nothing holds it any more */
} Verdict;

/* A DEAD row. Its words go from PENDING to ABSENT, so that nobody links it from here on. */
static Verdict
judge_dead(const IqdbiIvf *ivf, uint32_t slot, uint32_t current, uint32_t training)
{
	bool held = false;

	for (int i = 0; i < 2; i++)
	{
		uint32_t edition = i == 0 ? training : current;
		uint32_t status;

		if (edition == 0)
			continue;
		(void) iqdbi_home_change(ivf, edition - 1, slot, IQDBI_HOME_PENDING, IQDBI_HOME_ABSENT);
		status = iqdbi_home_status(iqdbi_home(ivf, edition - 1, slot));
		if (status == IQDBI_HOME_LINKING)
			return STAYS;
		held |= status == IQDBI_HOME_LINKED;
	}
	return held ? LEAVES : RELEASED;
}

static Verdict
judge(const IqdbiIvf *ivf, uint32_t slot)
{
	uint32_t current = atomic_load_explicit(&ivf->header->current, memory_order_acquire);
	uint32_t training = atomic_load_explicit(&ivf->header->training, memory_order_acquire);

	if (iqdb_store_state(ivf->store, slot) == IQDB_ROW_DEAD)
		return judge_dead(ivf, slot, current, training);
	if (current == 0 || iqdbi_home_status(iqdbi_home(ivf, current - 1, slot)) != IQDBI_HOME_LINKED)
		return STAYS;
	if (training != 0 && iqdbi_home_status(iqdbi_home(ivf, training - 1, slot)) != IQDBI_HOME_LINKED)
		return STAYS;
	return LEAVES;
}

/* Readers may stand at the node: its own link stays as it is until the slot is used again. */
static void
unlink_node(const IqdbiIvf *ivf, uint32_t before, uint32_t slot)
{
	IqdbiIvfHeader *header = ivf->header;
	uint32_t        next = atomic_load_explicit(&ivf->next[slot], memory_order_relaxed);

	if (before == IQDB_SLOT_NONE)
		atomic_store_explicit(&header->chain_head, next, memory_order_release);
	else
		atomic_store_explicit(&ivf->next[before], next, memory_order_release);
	if (header->chain_tail == slot)
		header->chain_tail = before;
	atomic_fetch_sub_explicit(&header->chain_count, 1, memory_order_relaxed);
	atomic_fetch_and_explicit(&ivf->homes[0][slot], ~IQDBI_HOME_CHAINED, memory_order_release);
}

static void
forget_homes(const IqdbiIvf *ivf, uint32_t slot)
{
	iqdbi_home_set(ivf, 0, slot, IQDBI_HOME_ABSENT, 0);
	iqdbi_home_set(ivf, 1, slot, IQDBI_HOME_ABSENT, 0);
}

/* true when it stopped only because the batch is full. */
static bool
sweep_some(const IqdbiIvf *ivf, bool whole, uint32_t *released, uint32_t *count_out)
{
	uint32_t before = IQDB_SLOT_NONE;
	uint32_t slot = atomic_load_explicit(&ivf->header->chain_head, memory_order_relaxed);
	uint32_t unlinked = 0;

	*count_out = 0;
	while (slot != IQDB_SLOT_NONE && *count_out < RELEASE_BATCH && unlinked < UNLINK_BATCH)
	{
		uint32_t next = atomic_load_explicit(&ivf->next[slot], memory_order_relaxed);
		Verdict  verdict = judge(ivf, slot);

		if (verdict == STAYS)
		{
			if (!whole)
				return false;
			before = slot;
		}
		else
		{
			/* before the flag goes, so that nobody finds a word of an earlier edition and lets the slot go once more */
			if (verdict == RELEASED)
				forget_homes(ivf, slot);
			unlink_node(ivf, before, slot);
			unlinked++;
		}
		if (verdict == RELEASED)
			released[(*count_out)++] = slot;
		slot = next;
	}
	return slot != IQDB_SLOT_NONE;
}

void
iqdbi_chain_sweep(const IqdbiIvf *ivf, bool whole)
{
	uint32_t released[RELEASE_BATCH];
	uint32_t count;
	bool     more = true;

	while (more)
	{
		iqdb_store_lock(ivf->store, IQDB_LOCK_ENGINE, true);
		more = sweep_some(ivf, whole, released, &count);
		iqdb_store_unlock(ivf->store, IQDB_LOCK_ENGINE, true);
		for (uint32_t i = 0; i < count; i++)
		{
			atomic_fetch_sub_explicit(&ivf->header->unrepaired, 1, memory_order_relaxed);
			iqdb_store_release(ivf->store, released[i]);
		}
	}
}

/* ---- blocks ---- */

/* Takes up to count blocks and puts them behind one another; returns how many. ENGINE is held. */
static uint32_t
take_ready(const IqdbiIvf *ivf, uint32_t count, uint32_t *first, uint32_t *last)
{
	IqdbiIvfHeader        *header = ivf->header;
	const IqdbArenaHeader *arena = iqdb_arena_header(ivf->store->arena);
	const IqdbArenaRegion *region = &arena->regions[IQDB_REGION_ENGINE + IQDBI_IVF_BLOCKS];
	uint64_t               capacity = __atomic_load_n(&region->committed, __ATOMIC_ACQUIRE) / ivf->rows.size;
	uint32_t               taken = 0;

	for (; taken < count; taken++)
	{
		uint32_t block = header->block_free;

		if (block != 0)
		{
			header->block_free =
				atomic_load_explicit(iqdbi_block_next(iqdbi_ivf_block(ivf, block)), memory_order_relaxed);
			header->block_free_count--;
		}
		else if (header->block_count < capacity)
			block = header->block_count++;
		else
			break;
		atomic_store_explicit(iqdbi_block_next(iqdbi_ivf_block(ivf, block)), 0, memory_order_relaxed);
		if (*last == 0)
			*first = block;
		else
			atomic_store_explicit(iqdbi_block_next(iqdbi_ivf_block(ivf, *last)), block, memory_order_relaxed);
		*last = block;
	}
	return taken;
}

IqdbStatus
iqdbi_blocks_take(const IqdbiIvf *ivf, uint32_t count, uint32_t *first_out, IqdbError *err)
{
	uint32_t   last = 0;
	uint32_t   taken = 0;
	IqdbStatus status = IQDB_OK;

	*first_out = 0;
	while (taken < count)
	{
		uint64_t used;

		iqdb_store_lock(ivf->store, IQDB_LOCK_ENGINE, true);
		taken += take_ready(ivf, count - taken, first_out, &last);
		used = ivf->header->block_count;
		iqdb_store_unlock(ivf->store, IQDB_LOCK_ENGINE, true);
		if (taken == count)
			break;
		status = iqdbi_ivf_grow(ivf, IQDBI_IVF_BLOCKS, (used + count - taken) * ivf->rows.size, err);
		if (status != IQDB_OK)
		{
			iqdbi_blocks_give(ivf, *first_out, last, taken);
			*first_out = 0;
			return status;
		}
	}
	return IQDB_OK;
}

void
iqdbi_blocks_give(const IqdbiIvf *ivf, uint32_t first, uint32_t last, uint32_t count)
{
	IqdbiIvfHeader *header = ivf->header;

	if (count == 0)
		return;
	iqdb_store_lock(ivf->store, IQDB_LOCK_ENGINE, true);
	atomic_store_explicit(iqdbi_block_next(iqdbi_ivf_block(ivf, last)), header->block_free, memory_order_relaxed);
	header->block_free = first;
	header->block_free_count += count;
	iqdb_store_unlock(ivf->store, IQDB_LOCK_ENGINE, true);
}
