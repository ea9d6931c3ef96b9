/*
 * flat_code.c - codes of the rows, with a proven bound of their error (quant/sq8_bound.h).
 *
 * Owns: where codes lie, when they are written, and around which centre. Does not own: what a code means (quant), and
 * searches that read it (flat_scan.c).
 *
 * A row is coded under ROWS before its state says LIVE. Readers look at codes of slots in any state, at the same time: what
 * they make of a slot that is not LIVE yet does not matter, since a row put during a search need not be seen by it. All
 * blocks but those on their way stand around the current centre; the other one may be written when no block is left there.
 */
#include "core/flat/flat_private.h"

#include <string.h>

#include "core/base/mem.h"
#include "core/engine/finding.h"
#include "core/engine/stretch.h"

/* Rows that a first centre is made of, and rows looked at for a better one. */
#define FIRST_ROWS 1024u
#define SAMPLE_ROWS 16384u

/* A centre that is off by less than this share of the rows' mean square distance from the mean stays. */
#define WORTH_SHARE (1.0 / 64.0)

#define CODE_LINE 64u
#define CODE_UNIT 4u

static bool
has_codes(const IqdbIndexOptions *options)
{
	/* the engine also scans stores of other engines' indexes */
	return options->engine == IQDB_ENGINE_FLAT && options->quantization == IQDB_QUANTIZATION_SQ8;
}

static uint64_t
groups_of(uint64_t slots)
{
	return (slots + IQDB_PACKED_ROWS - 1) / IQDB_PACKED_ROWS;
}

static uint64_t
blocks_of(uint64_t slots)
{
	return (slots + IQDBI_FLAT_BLOCK_ROWS - 1) / IQDBI_FLAT_BLOCK_ROWS;
}

/* Codes begin at cache lines where that costs little. */
static size_t
code_bytes(uint32_t dimension)
{
	size_t unit = dimension > 8 * CODE_LINE ? CODE_LINE : CODE_UNIT;

	return (dimension + unit - 1) / unit * unit;
}

/* Centres are floats, whatever the rows are made of. */
static uint64_t
centres_bytes(const IqdbIndexOptions *options)
{
	const IqdbiFlatCodes *codes;

	return 2 * (uint64_t) options->dimension * sizeof(*codes->centres);
}

bool
iqdbi_flat_codes_view(IqdbiFlatCodes *codes_out, IqdbStore *store)
{
	const IqdbIndexOptions *options = &store->header->options;

	if (!has_codes(options))
		return false;
	codes_out->store = store;
	codes_out->header = store->engine_header;
	codes_out->codes = iqdb_store_engine_region(store, IQDBI_FLAT_CODES);
	codes_out->groups = iqdb_store_engine_region(store, IQDBI_FLAT_GROUPS);
	codes_out->rows = iqdb_store_engine_region(store, IQDBI_FLAT_ROWS);
	codes_out->homes = iqdb_store_engine_region(store, IQDBI_FLAT_HOMES);
	codes_out->centres = iqdb_store_engine_region(store, IQDBI_FLAT_CENTRES);
	codes_out->kernels = iqdb_bound_kernels(store->kernels);
	codes_out->metric = (IqdbMetric) options->metric;
	codes_out->dim = options->dimension;
	codes_out->octets = iqdb_packed_octets(options->dimension);
	codes_out->code_bytes = code_bytes(options->dimension);
	codes_out->group_bytes = iqdb_bound_group_bytes(options->dimension);
	return true;
}

/* ---- room ---- */

void
iqdbi_flat_codes_reserves(const IqdbIndexOptions *options, uint64_t slots_max, uint64_t *reserves_out)
{
	if (!has_codes(options))
		return;
	reserves_out[IQDBI_FLAT_CODES] = slots_max * code_bytes(options->dimension);
	reserves_out[IQDBI_FLAT_GROUPS] = groups_of(slots_max) * iqdb_bound_group_bytes(options->dimension);
	reserves_out[IQDBI_FLAT_ROWS] = groups_of(slots_max) * sizeof(IqdbBoundRows);
	reserves_out[IQDBI_FLAT_HOMES] = blocks_of(slots_max);
	reserves_out[IQDBI_FLAT_CENTRES] = centres_bytes(options);
}

uint64_t
iqdbi_flat_codes_bytes_per_row(const IqdbIndexOptions *options)
{
	if (!has_codes(options))
		return 0;
	return code_bytes(options->dimension) +
		   (iqdb_bound_group_bytes(options->dimension) + sizeof(IqdbBoundRows)) / IQDB_PACKED_ROWS;
}

IqdbStatus
iqdbi_flat_codes_format(IqdbStore *store, IqdbError *err)
{
	size_t           bytes = centres_bytes(&store->header->options);
	IqdbiFlatHeader *header = store->engine_header;
	IqdbiFlatCodes   codes;

	if (!iqdbi_flat_codes_view(&codes, store))
		return IQDB_OK;
	IQDB_TRY(iqdb_arena_grow(store->arena, IQDB_REGION_ENGINE + IQDBI_FLAT_CENTRES, bytes, err));
	memset(header, 0, sizeof(*header));
	memset(codes.centres, 0, bytes);
	header->versions[0] = 1;
	return IQDB_OK;
}

IqdbStatus
iqdbi_flat_codes_reserve(IqdbStore *store, uint32_t slot_count, IqdbError *err)
{
	IqdbArena     *arena = store->arena;
	uint64_t       groups = groups_of(slot_count);
	uint32_t       used = atomic_load_explicit(&store->header->slot_count, memory_order_relaxed);
	IqdbiFlatCodes codes;

	if (!iqdbi_flat_codes_view(&codes, store))
		return IQDB_OK;
	IQDB_TRY(iqdb_arena_grow(arena, IQDB_REGION_ENGINE + IQDBI_FLAT_CODES, slot_count * codes.code_bytes, err));
	IQDB_TRY(iqdb_arena_grow(arena, IQDB_REGION_ENGINE + IQDBI_FLAT_GROUPS, groups * codes.group_bytes, err));
	IQDB_TRY(iqdb_arena_grow(arena, IQDB_REGION_ENGINE + IQDBI_FLAT_ROWS, groups * sizeof(IqdbBoundRows), err));
	IQDB_TRY(iqdb_arena_grow(arena, IQDB_REGION_ENGINE + IQDBI_FLAT_HOMES, blocks_of(slot_count), err));
	/* blocks without a slot so far */
	for (uint64_t block = blocks_of(used); block < blocks_of(slot_count); block++)
		atomic_store_explicit(&codes.homes[block], (uint8_t) codes.header->current, memory_order_relaxed);
	return IQDB_OK;
}

/* ---- coding ---- */

static IqdbBoundPlace
place_of(const IqdbiFlatCodes *codes, uint32_t slot)
{
	size_t group = slot / IQDB_PACKED_ROWS;

	return (IqdbBoundPlace){.code = codes->codes + slot * codes->code_bytes,
							.group = codes->groups + group * codes->group_bytes,
							.rows = &codes->rows[group],
							.lane = slot % IQDB_PACKED_ROWS};
}

/*
 * The components are widened to floats first, on the stack: coding a row must not fail, and no caller could have
 * allocated memory before. Rows of floats are read where they are.
 */
static void
encode_row(const IqdbiFlatCodes *codes, uint32_t slot, uint32_t home, const IqdbBoundPlace *place)
{
	const IqdbStore *store = codes->store;
	IqdbBoundCentre  centre = iqdbi_flat_centre(codes, home);
	float            floats[IQDB_DIMENSION_MAX];

	codes->kernels.encode(codes->metric, &centre, iqdb_store_floats(store, slot, floats), iqdb_store_norm2(store, slot),
						  codes->dim, place);
}

void
iqdbi_flat_codes_prepare(IqdbStore *store, uint32_t slot)
{
	IqdbiFlatCodes codes;
	IqdbBoundPlace place;

	if (!iqdbi_flat_codes_view(&codes, store))
		return;
	place = place_of(&codes, slot);
	encode_row(&codes, slot, iqdbi_flat_home(&codes, slot), &place);
}

/* What coding a row takes, in nanoseconds: some passes over its components. Adding it to a mean takes less. */
static uint64_t
row_charge(const IqdbiFlatCodes *codes)
{
	return 300 + 2 * codes->dim;
}

/* ---- the centre ---- */

typedef struct Mean
{
	double *sums;   /* dim */
	float  *floats; /* dim: room for a row */
	double  squares;
	size_t  count;
} Mean;

static void
add_to_mean(Mean *mean, const IqdbiFlatCodes *codes, uint32_t slot)
{
	const float *vector = iqdb_store_floats(codes->store, slot, mean->floats);
	float        norm2 = iqdb_store_norm2(codes->store, slot);
	double       factor = codes->store->metric->space == IQDB_SPACE_UNIT ? 1.0 / sqrt((double) norm2) : 1.0;

	for (size_t i = 0; i < codes->dim; i++)
		mean->sums[i] += (double) vector[i] * factor;
	mean->squares += (double) norm2 * factor * factor;
	mean->count++;
}

/* Rows spread evenly over the slots. */
static IqdbStatus
sample_mean(const IqdbiFlatCodes *codes, Mean *mean, IqdbError *err)
{
	const IqdbStore *store = codes->store;
	uint32_t         count = atomic_load_explicit(&store->header->slot_count, memory_order_acquire);
	uint32_t         step = count / SAMPLE_ROWS + 1;
	uint32_t         slot = 0;
	IqdbStretch      stretch;
	IqdbStatus       status = IQDB_OK;

	iqdb_stretch_begin(&stretch, store, IQDB_LOCK_STRUCTURE, NULL);
	for (; slot < count && status == IQDB_OK; slot += count - slot > step ? step : count - slot)
	{
		if (iqdb_store_state(store, slot) == IQDB_ROW_LIVE &&
			iqdb_bound_row_possible(codes->metric, iqdb_store_norm2(store, slot)))
			add_to_mean(mean, codes, slot);
		status = iqdb_stretch_step(&stretch, row_charge(codes));
	}
	iqdb_stretch_end(&stretch);
	return status == IQDB_OK ? IQDB_OK : iqdb_fail(err, status, "coding of rows was cancelled");
}

/* Sums become the mean. Is it worth moving to? */
static bool
finish_mean(const IqdbiFlatCodes *codes, Mean *mean)
{
	const float *current = codes->centres + codes->header->current * codes->dim;
	double       square = 0.0;
	double       moved = 0.0;

	if (mean->count == 0)
		return false;
	for (size_t i = 0; i < codes->dim; i++)
	{
		double off;

		mean->sums[i] /= (double) mean->count;
		off = mean->sums[i] - (double) current[i];
		square += mean->sums[i] * mean->sums[i];
		moved += off * off;
	}
	return moved > (mean->squares / (double) mean->count - square) * WORTH_SHARE;
}

/* The other centre becomes the current one. No block stands around it. */
static void
install(const IqdbiFlatCodes *codes, const Mean *mean)
{
	IqdbiFlatHeader *header = codes->header;
	uint32_t         other = 1 - header->current;
	float           *centre = codes->centres + other * codes->dim;

	iqdb_store_lock(codes->store, IQDB_LOCK_STRUCTURE, true);
	iqdb_store_lock(codes->store, IQDB_LOCK_ROWS, true);
	for (size_t i = 0; i < codes->dim; i++)
		centre[i] = mean->count > 0 ? (float) mean->sums[i] : 0.0f;
	header->lengths[other] = iqdb_bound_length(centre, codes->dim);
	header->versions[other] = header->versions[other] == UINT32_MAX ? 1 : header->versions[other] + 1;
	header->current = other;
	iqdb_store_unlock(codes->store, IQDB_LOCK_ROWS, true);
	iqdb_store_unlock(codes->store, IQDB_LOCK_STRUCTURE, true);
}

/* STRUCTURE and ROWS are held. */
static void
move_block(const IqdbiFlatCodes *codes, uint32_t block, uint32_t count)
{
	const IqdbStore *store = codes->store;
	uint32_t         first = block * IQDBI_FLAT_BLOCK_ROWS;
	uint32_t         end = count - first < IQDBI_FLAT_BLOCK_ROWS ? count : first + IQDBI_FLAT_BLOCK_ROWS;

	for (uint32_t slot = first; slot < end; slot++)
	{
		IqdbBoundPlace place = place_of(codes, slot);

		if (iqdb_store_state(store, slot) == IQDB_ROW_LIVE)
			encode_row(codes, slot, codes->header->current, &place);
	}
	atomic_store_explicit(&codes->homes[block], (uint8_t) codes->header->current, memory_order_relaxed);
}

static IqdbStatus
move_blocks(const IqdbiFlatCodes *codes, IqdbError *err)
{
	const IqdbStore *store = codes->store;

	for (uint32_t block = 0;; block++)
	{
		uint32_t count;

		iqdb_store_lock(store, IQDB_LOCK_STRUCTURE, true);
		iqdb_store_lock(store, IQDB_LOCK_ROWS, true);
		count = atomic_load_explicit(&store->header->slot_count, memory_order_relaxed);
		if (block < blocks_of(count) && iqdbi_flat_home(codes, block * IQDBI_FLAT_BLOCK_ROWS) != codes->header->current)
			move_block(codes, block, count);
		iqdb_store_unlock(store, IQDB_LOCK_ROWS, true);
		iqdb_store_unlock(store, IQDB_LOCK_STRUCTURE, true);
		if (block >= blocks_of(count))
			return IQDB_OK;
		if (iqdb_host_cancelled(store->host))
			return iqdb_fail(err, IQDB_ERR_CANCELLED, "coding of rows was cancelled");
	}
}

/* Alone, see busy. */
static IqdbStatus
centre_rows(const IqdbiFlatCodes *codes, bool all, Mean *mean, IqdbError *err)
{
	bool worth;

	/* blocks that a cancelled call has left behind */
	if (!all)
		IQDB_TRY(move_blocks(codes, err));
	IQDB_TRY(sample_mean(codes, mean, err));
	worth = finish_mean(codes, mean);
	if (all || worth)
	{
		install(codes, mean);
		IQDB_TRY(move_blocks(codes, err));
	}
	if (mean->count > 0)
		atomic_store_explicit(&codes->header->centred, 1, memory_order_relaxed);
	return IQDB_OK;
}

IqdbStatus
iqdbi_flat_codes_centre(IqdbStore *store, bool all, IqdbError *err)
{
	const IqdbAllocator *allocator = &store->host->allocator;
	Mean                 mean = {0};
	uint32_t             idle = 0;
	size_t               size;
	IqdbStatus           status;
	IqdbiFlatCodes       codes;

	if (!iqdbi_flat_codes_view(&codes, store))
		return IQDB_OK;
	if (!atomic_compare_exchange_strong(&codes.header->busy, &idle, 1))
		return IQDB_OK;
	size = codes.dim * (sizeof(*mean.sums) + sizeof(*mean.floats));
	mean.sums = iqdb_alloc_zero(allocator, size);
	mean.floats = (float *) (void *) (mean.sums + codes.dim);
	status = mean.sums != NULL ? centre_rows(&codes, all, &mean, err) :
								 iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for the mean of the rows");
	iqdb_free(allocator, mean.sums, size);
	atomic_store(&codes.header->busy, 0);
	return status;
}

IqdbStatus
iqdbi_flat_codes_grown(IqdbStore *store, IqdbError *err)
{
	const IqdbiFlatHeader *header = store->engine_header;

	if (!has_codes(&store->header->options) || atomic_load_explicit(&header->centred, memory_order_relaxed) != 0 ||
		atomic_load_explicit(&store->header->live_count, memory_order_relaxed) < FIRST_ROWS)
		return IQDB_OK;
	return iqdbi_flat_codes_centre(store, false, err);
}

/* ---- verification ---- */

/* Does the row's code, made again into `scratch`, agree with what is stored? */
static bool
same_code(const IqdbiFlatCodes *codes, const IqdbBoundPlace *made, const IqdbBoundPlace *stored)
{
	uint32_t lane = stored->lane;

	for (size_t octet = 0; octet < codes->octets; octet++)
	{
		size_t at = octet * IQDB_PACKED_QUAD_BYTES + 4 * lane;

		if (memcmp(made->group + at, stored->group + at, 4) != 0)
			return false;
	}
	return memcmp(made->code, stored->code, codes->dim) == 0 &&
		   made->rows->scale[lane] == stored->rows->scale[lane] && made->rows->add[lane] == stored->rows->add[lane] &&
		   made->rows->coarse_error[lane] == stored->rows->coarse_error[lane] &&
		   made->rows->error[lane] == stored->rows->error[lane];
}

/* scratch: code_bytes and group_bytes. */
/* What a check works with. */
typedef struct CodeCheck
{
	IqdbiFlatCodes codes;
	uint8_t       *scratch; /* for one row's codes */
	IqdbFindings   findings;
} CodeCheck;

/* STRUCTURE and ROWS are held shared. */
static void
check_code(CodeCheck *check, uint32_t slot)
{
	const IqdbiFlatCodes *codes = &check->codes;
	IqdbBoundPlace        stored = place_of(codes, slot);
	IqdbBoundRows         rows;
	IqdbBoundPlace        made = {
			   .code = check->scratch, .group = check->scratch + codes->code_bytes, .rows = &rows, .lane = stored.lane};

	encode_row(codes, slot, iqdbi_flat_home(codes, slot), &made);
	if (!same_code(codes, &made, &stored))
		iqdb_findings_add(&check->findings, "slot %u: the code is not that of the row", (unsigned) slot);
}

/* The rows of one group. STRUCTURE is held shared; takes ROWS, for puts write to the codes that a group packs together. */
static void
check_group(CodeCheck *check, uint32_t first, uint32_t end)
{
	const IqdbiFlatCodes *codes = &check->codes;

	iqdb_store_lock(codes->store, IQDB_LOCK_ROWS, false);
	if (iqdbi_flat_home(codes, first) > 1)
		iqdb_findings_add(&check->findings, "slot %u: the rows' codes have no centre", (unsigned) first);
	else
	{
		for (uint32_t slot = first; slot < end; slot++)
		{
			if (iqdb_store_state(codes->store, slot) == IQDB_ROW_LIVE)
				check_code(check, slot);
		}
	}
	iqdb_store_unlock(codes->store, IQDB_LOCK_ROWS, false);
}

static IqdbStatus
check_groups(CodeCheck *check)
{
	const IqdbiFlatCodes *codes = &check->codes;
	uint32_t              count = atomic_load_explicit(&codes->store->header->slot_count, memory_order_acquire);
	uint64_t              charge = IQDB_PACKED_ROWS * row_charge(codes);
	IqdbStretch           stretch;
	IqdbStatus            status = IQDB_OK;

	iqdb_stretch_begin(&stretch, codes->store, IQDB_LOCK_STRUCTURE, NULL);
	for (uint32_t first = 0; first < count && status == IQDB_OK; first += IQDB_PACKED_ROWS)
	{
		check_group(check, first, count - first < IQDB_PACKED_ROWS ? count : first + IQDB_PACKED_ROWS);
		status = iqdb_stretch_step(&stretch, charge);
	}
	iqdb_stretch_end(&stretch);
	return status;
}

IqdbStatus
iqdbi_flat_codes_check(IqdbStore *store, IqdbFinding finding, void *arg, IqdbError *err)
{
	const IqdbAllocator *allocator = &store->host->allocator;
	IqdbiFlatCodes       codes;
	CodeCheck           *check;
	size_t               bytes;
	IqdbStatus           status;

	if (!iqdbi_flat_codes_view(&codes, store))
		return IQDB_OK;
	bytes = codes.code_bytes + codes.group_bytes;
	check = iqdb_alloc_zero(allocator, sizeof(*check) + bytes);
	if (check == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for checking codes");
	check->codes = codes;
	check->scratch = (uint8_t *) (check + 1);
	status = check_groups(check);
	if (status == IQDB_OK)
		iqdb_findings_report(&check->findings, "flat codes: more findings are not listed", finding, arg);
	iqdb_free(allocator, check, sizeof(*check) + bytes);
	return status == IQDB_OK ? IQDB_OK : iqdb_fail(err, status, "verification was cancelled");
}
