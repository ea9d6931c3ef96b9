/*
 * ivf_persist.c - the engine's part of a snapshot.
 *
 * Numbers are little-endian. Codes are not in it: they follow from vectors and centres, and coding a row costs less than
 * reading its code. So nothing a file says about codes has to be believed.
 *
 *     0   4  version, 2 (1 is read: spread unknown, no newcomers)
 *     4   4  1 = trained; 0 = not, and nothing follows
 *     8   4  lists k, 1 .. 1000000
 *    12   4  coarser cells s, 1 = none, at most k
 *    16   4  probes, measured, 1 .. k
 *    20   4  dimension w of the space of cells
 *    24   4  floats of the codebook c
 *    28   4  largest squared norm at training (f32, DOT)
 *    32   8  rows at training
 *    40   4  version 2: spread of the lists (f32), not negative
 *    44   8             rows linked since training, not more than 2^40
 *    52   8             their strain
 *    60      k * w f32: centres, finite (version 1: at 40)
 *            s > 1: s * w f32: coarser centres, finite; s + 1 u32: first list of each, ascending, the last is k
 *            c f32: codebook, finite
 *            u32: number of slots n; n u32: list of each slot, k = the one without a centre, 2^32 - 1 (or any other) = none
 *
 * A snapshot beside writers may miss rows that were linked meanwhile, and after a change of edition names no list for the
 * slots that were still to come: such rows load as if just added.
 */
#include "core/ivf/ivf_contract_private.h"

#include <float.h>
#include <string.h>

#include "core/base/endian.h"
#include "core/ivf/ivf_coarse_private.h"
#include "core/ivf/ivf_edition_private.h"
#include "core/ivf/ivf_home_private.h"

#define PART_VERSION 2u
#define PART_VERSION_OLDEST 1u
#define HEAD_SIZE 60u
#define HEAD_SIZE_OLDEST 40u
#define NEWCOMERS_MAX (UINT64_C(1) << 40)

/* Numbers written or read at a time, and bytes of a model copied under one hold of STRUCTURE. */
#define CHUNK 8192u
#define COPY_BYTES ((size_t) 1 << 20)

/* ---- writing ---- */

static IqdbStatus
write_floats(IqdbSink *sink, const float *values, size_t rows, size_t dim, size_t stride, IqdbError *err)
{
	unsigned char bytes[CHUNK];
	size_t        room = sizeof(bytes) / 4;

	for (size_t row = 0; row < rows; row++)
	{
		for (size_t at = 0; at < dim; at += room)
		{
			size_t count = dim - at < room ? dim - at : room;

			iqdb_store_f32_array(bytes, values + row * stride + at, count);
			IQDB_TRY(sink->write(sink->arg, bytes, count * 4, err));
		}
	}
	return IQDB_OK;
}

static IqdbStatus
write_numbers(IqdbSink *sink, const uint32_t *values, size_t count, IqdbError *err)
{
	unsigned char bytes[CHUNK];
	size_t        room = sizeof(bytes) / 4;

	for (size_t at = 0; at < count; at += room)
	{
		size_t part = count - at < room ? count - at : room;

		iqdb_store_u32_array(bytes, values + at, part);
		IQDB_TRY(sink->write(sink->arg, bytes, part * 4, err));
	}
	return IQDB_OK;
}

/* A copy of the current model: no writer waits while it goes to disk. */
typedef struct Copy
{
	IqdbiModel     model;
	uint32_t       edition;
	uint64_t       epoch;
	uint64_t       newcomers;
	uint64_t       strain;
	IqdbCarve      memory;
} Copy;

static void
copy_free(const IqdbiIvf *ivf, Copy *copy)
{
	iqdb_carve_free(&copy->memory, &ivf->store->host->allocator);
}

/* false: another edition came into place, and everything begins anew. */
static bool
copy_pieces(const IqdbiIvf *ivf, const Copy *copy)
{
	const unsigned char *from = iqdb_store_engine_region(ivf->store, IQDBI_IVF_MODELS + copy->edition);
	size_t               size = copy->memory.size;

	for (size_t at = 0; at < size; at += COPY_BYTES)
	{
		bool same;

		iqdb_store_lock(ivf->store, IQDB_LOCK_STRUCTURE, false);
		same = atomic_load_explicit(&ivf->header->epoch, memory_order_acquire) == copy->epoch;
		if (same)
			memcpy(copy->memory.at + at, from + at, size - at < COPY_BYTES ? size - at : COPY_BYTES);
		iqdb_store_unlock(ivf->store, IQDB_LOCK_STRUCTURE, false);
		if (!same)
			return false;
	}
	return true;
}

/* model.figures.lists is 0 when the index is not trained. */
static IqdbStatus
copy_model(const IqdbiIvf *ivf, Copy *copy, IqdbError *err)
{
	for (;;)
	{
		uint32_t current;

		memset(copy, 0, sizeof(*copy));
		iqdb_store_lock(ivf->store, IQDB_LOCK_STRUCTURE, false);
		current = atomic_load_explicit(&ivf->header->current, memory_order_acquire);
		copy->epoch = atomic_load_explicit(&ivf->header->epoch, memory_order_acquire);
		if (current != 0)
			iqdbi_model_view(ivf, current - 1, &copy->model);
		copy->newcomers = atomic_load_explicit(&ivf->header->newcomers, memory_order_relaxed);
		copy->strain = atomic_load_explicit(&ivf->header->strain, memory_order_relaxed);
		iqdb_store_unlock(ivf->store, IQDB_LOCK_STRUCTURE, false);
		if (current == 0)
			return IQDB_OK;
		copy->edition = current - 1;
		if (!iqdbi_model_alloc(ivf, &copy->model, &copy->memory))
			return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for the centres of %u lists", copy->model.figures.lists);
		if (copy_pieces(ivf, copy))
			return IQDB_OK;
		copy_free(ivf, copy);
	}
}

static IqdbStatus
write_homes(const IqdbiIvf *ivf, const Copy *copy, IqdbSink *sink, IqdbError *err)
{
	const IqdbStore *store = ivf->store;
	uint32_t         slots = atomic_load_explicit(&store->header->slot_count, memory_order_acquire);
	uint32_t         lists[CHUNK / 4];
	bool             same = true;

	IQDB_TRY(write_numbers(sink, &slots, 1, err));
	for (uint32_t from = 0; from < slots; from += CHUNK / 4)
	{
		uint32_t count = slots - from < CHUNK / 4 ? slots - from : CHUNK / 4;

		iqdb_store_lock(store, IQDB_LOCK_STRUCTURE, false);
		same = same && atomic_load_explicit(&ivf->header->epoch, memory_order_acquire) == copy->epoch;
		for (uint32_t i = 0; i < count; i++)
		{
			uint32_t home = same ? iqdbi_home(ivf, copy->edition, from + i) : 0;

			lists[i] = IQDBI_NOWHERE;
			if (iqdbi_home_status(home) == IQDBI_HOME_LINKED &&
				iqdb_store_state(store, from + i) == IQDB_ROW_LIVE)
				lists[i] = iqdbi_home_list(home);
		}
		iqdb_store_unlock(store, IQDB_LOCK_STRUCTURE, false);
		IQDB_TRY(write_numbers(sink, lists, count, err));
	}
	return IQDB_OK;
}

static IqdbStatus
write_trained(const IqdbiIvf *ivf, const Copy *copy, IqdbSink *sink, IqdbError *err)
{
	const IqdbiModel *model = &copy->model;
	unsigned char     head[HEAD_SIZE - 8];

	iqdb_store_u32(head, model->figures.lists);
	iqdb_store_u32(head + 4, model->figures.supers);
	iqdb_store_u32(head + 8, model->figures.probes);
	iqdb_store_u32(head + 12, (uint32_t) ivf->work_dim);
	iqdb_store_u32(head + 16, (uint32_t) ivf->codebook);
	iqdb_store_f32(head + 20, model->figures.radius2);
	iqdb_store_u64(head + 24, model->figures.rows);
	iqdb_store_f32(head + 32, model->figures.spread);
	iqdb_store_u64(head + 36, copy->newcomers);
	iqdb_store_u64(head + 44, copy->strain);
	IQDB_TRY(sink->write(sink->arg, head, sizeof(head), err));
	IQDB_TRY(write_floats(sink, model->centres, model->figures.lists, ivf->work_dim, ivf->work_stride, err));
	if (model->figures.supers > 1)
	{
		IQDB_TRY(write_floats(sink, model->super_centres, model->figures.supers, ivf->work_dim, ivf->work_stride, err));
		IQDB_TRY(write_numbers(sink, model->super_lists, (size_t) model->figures.supers + 1, err));
	}
	IQDB_TRY(write_floats(sink, model->codebook, ivf->codebook > 0, ivf->codebook, ivf->codebook, err));
	return write_homes(ivf, copy, sink, err);
}

IqdbStatus
iqdbi_ivf_save(IqdbStore *store, IqdbSink *sink, IqdbError *err)
{
	IqdbiIvf      ivf;
	Copy          copy;
	unsigned char head[8];
	IqdbStatus    status;

	iqdbi_ivf_view(&ivf, store);
	IQDB_TRY(copy_model(&ivf, &copy, err));
	iqdb_store_u32(head, PART_VERSION);
	iqdb_store_u32(head + 4, copy.model.figures.lists > 0);
	status = sink->write(sink->arg, head, sizeof(head), err);
	if (status == IQDB_OK && copy.model.figures.lists > 0)
		status = write_trained(&ivf, &copy, sink, err);
	copy_free(&ivf, &copy);
	return status;
}

/* ---- reading ---- */

static IqdbStatus
part_is_corrupt(IqdbError *err, const char *what)
{
	return iqdb_fail(err, IQDB_ERR_CORRUPT, "engine part of an ivf index: %s", what);
}

static IqdbStatus
read_floats(IqdbSource *source, float *values, size_t dim, IqdbError *err)
{
	unsigned char bytes[CHUNK];
	size_t        room = sizeof(bytes) / 4;

	for (size_t at = 0; at < dim; at += room)
	{
		size_t count = dim - at < room ? dim - at : room;

		IQDB_TRY(source->read(source->arg, bytes, count * 4, err));
		iqdb_load_f32_array(values + at, bytes, count);
		for (size_t i = at; i < at + count; i++)
		{
			if (!isfinite(values[i]))
				return part_is_corrupt(err, "a component is no number");
		}
	}
	return IQDB_OK;
}

static IqdbStatus
read_numbers(IqdbSource *source, uint32_t *values, size_t count, IqdbError *err)
{
	unsigned char bytes[CHUNK];
	size_t        room = sizeof(bytes) / 4;

	for (size_t at = 0; at < count; at += room)
	{
		size_t part = count - at < room ? count - at : room;

		IQDB_TRY(source->read(source->arg, bytes, part * 4, err));
		iqdb_load_u32_array(values + at, bytes, part);
	}
	return IQDB_OK;
}

/*
 * Centres go where they belong in the arena, which grows as they come: a number of lists that is a lie costs no more
 * memory than the bytes that follow it.
 */
static IqdbStatus
read_centres(const IqdbiIvf *ivf, uint32_t lists, IqdbSource *source, IqdbError *err)
{
	size_t row = ivf->work_bytes;

	for (uint32_t list = 0; list < lists; list++)
	{
		size_t come = lists - list < 64 ? lists : (size_t) list + 64;
		float *centre;

		if (list % 64 == 0)
			IQDB_TRY(iqdbi_ivf_grow(ivf, IQDBI_IVF_MODELS, come * row, err));
		centre = (float *) (void *) ((unsigned char *) iqdb_store_engine_region(ivf->store, IQDBI_IVF_MODELS) +
									 list * row);
		IQDB_TRY(read_floats(source, centre, ivf->work_dim, err));
		memset(centre + ivf->work_dim, 0, (ivf->work_stride - ivf->work_dim) * sizeof(*centre));
	}
	return IQDB_OK;
}

/* The level above: private memory until its numbers are known to be good. */
static IqdbStatus
read_supers(const IqdbiIvf *ivf, uint32_t lists, uint32_t supers, IqdbSource *source, float *centres,
			uint32_t *super_lists, IqdbError *err)
{
	memset(centres, 0, supers * ivf->work_bytes);
	super_lists[0] = 0;
	super_lists[1] = lists;
	if (supers == 1)
		return IQDB_OK;
	for (uint32_t super = 0; super < supers; super++)
		IQDB_TRY(read_floats(source, centres + super * ivf->work_stride, ivf->work_dim, err));
	IQDB_TRY(read_numbers(source, super_lists, (size_t) supers + 1, err));
	if (super_lists[0] != 0 || super_lists[supers] != lists)
		return part_is_corrupt(err, "coarser cells do not hold all lists");
	for (uint32_t super = 0; super < supers; super++)
	{
		if (super_lists[super + 1] <= super_lists[super])
			return part_is_corrupt(err, "coarser cells do not ascend");
	}
	return IQDB_OK;
}

/* The numbers at the head, already in range. */
typedef struct Head
{
	IqdbiFigures figures; /* but for the numbers of blocks */
	uint64_t     newcomers;
	uint64_t     strain;
} Head;

static IqdbStatus
read_head(const IqdbiIvf *ivf, uint32_t version, IqdbSource *source, Head *head, IqdbError *err)
{
	unsigned char bytes[HEAD_SIZE - 8] = {0};

	IQDB_TRY(source->read(source->arg, bytes, version == PART_VERSION ? HEAD_SIZE - 8 : HEAD_SIZE_OLDEST - 8, err));
	head->figures.lists = iqdb_load_u32(bytes);
	head->figures.supers = iqdb_load_u32(bytes + 4);
	head->figures.probes = iqdb_load_u32(bytes + 8);
	head->figures.radius2 = iqdb_load_f32(bytes + 20);
	head->figures.rows = iqdb_load_u64(bytes + 24);
	head->figures.spread = iqdb_load_f32(bytes + 32);
	head->newcomers = iqdb_load_u64(bytes + 36);
	head->strain = iqdb_load_u64(bytes + 44);
	if (head->figures.lists == 0 || head->figures.lists > IQDBI_LISTS_MAX || head->figures.supers == 0 ||
		head->figures.supers > head->figures.lists)
		return part_is_corrupt(err, "the number of lists is out of range");
	if (head->figures.probes == 0 || head->figures.probes > head->figures.lists)
		return part_is_corrupt(err, "the number of probes is out of range");
	if (iqdb_load_u32(bytes + 12) != ivf->work_dim || iqdb_load_u32(bytes + 16) != ivf->codebook)
		return part_is_corrupt(err, "centres are of another dimension");
	if (!(head->figures.radius2 >= 0.0f && head->figures.radius2 <= FLT_MAX))
		return part_is_corrupt(err, "the largest norm is no number");
	if (!(head->figures.spread >= 0.0f && head->figures.spread <= FLT_MAX) || head->newcomers > NEWCOMERS_MAX ||
		head->strain > head->newcomers * (uint64_t) (IQDBI_STRAIN_MAX * IQDBI_STRAIN_UNIT))
		return part_is_corrupt(err, "drift is out of range");
	return IQDB_OK;
}

/* Everything behind the centres, into the arena. */
static IqdbStatus
read_rest_of_model(const IqdbiIvf *ivf, Head *head, IqdbSource *source, float *super_centres,
				   uint32_t *super_lists, IqdbError *err)
{
	IqdbiFigures *figures = &head->figures;
	IqdbiModel    model;
	IqdbiScratch  scratch;

	IQDB_TRY(read_supers(ivf, head->figures.lists, head->figures.supers, source, super_centres, super_lists, err));
	figures->coarse_blocks = iqdbi_model_blocks(super_lists, figures->supers, NULL);
	figures->super_blocks = 0;
	if (figures->supers > 1)
		figures->super_blocks = (figures->supers + IQDBI_BLOCK_ROWS - 1) / IQDBI_BLOCK_ROWS;
	IQDB_TRY(iqdbi_ivf_grow(ivf, IQDBI_IVF_MODELS, iqdbi_model_size(ivf, figures), err));
	IQDB_TRY(iqdbi_ivf_grow(ivf, IQDBI_IVF_LISTS, iqdbi_lists_size(figures->lists), err));
	memset(iqdbi_ivf_lists(ivf, 0), 0, iqdbi_lists_size(figures->lists));
	ivf->header->editions[0] = *figures;
	iqdbi_model_view(ivf, 0, &model);
	memcpy(model.super_centres, super_centres, head->figures.supers * ivf->work_bytes);
	memcpy(model.super_lists, super_lists, ((size_t) head->figures.supers + 1) * sizeof(uint32_t));
	IQDB_TRY(read_floats(source, model.codebook, ivf->codebook, err));
	IQDB_TRY(iqdbi_scratch_init(&scratch, ivf, head->figures.supers, 1, err));
	iqdbi_model_pack(ivf, &model, &scratch.code);
	iqdbi_scratch_free(&scratch);
	return IQDB_OK;
}

static IqdbStatus
read_model(const IqdbiIvf *ivf, uint32_t version, Head *head, IqdbSource *source, IqdbError *err)
{
	const IqdbAllocator *allocator = &ivf->store->host->allocator;
	size_t               centres_size;
	size_t               lists_size;
	float               *super_centres;
	uint32_t            *super_lists;
	IqdbStatus           status;

	IQDB_TRY(read_head(ivf, version, source, head, err));
	IQDB_TRY(read_centres(ivf, head->figures.lists, source, err));
	/* no more of them than lists, which were all there */
	centres_size = head->figures.supers * ivf->work_bytes;
	lists_size = ((size_t) head->figures.supers + 1) * sizeof(uint32_t);
	super_centres = iqdb_alloc(allocator, centres_size);
	super_lists = iqdb_alloc(allocator, lists_size);
	if (super_centres == NULL || super_lists == NULL)
		status = iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for %u coarser cells", head->figures.supers);
	else
		status = read_rest_of_model(ivf, head, source, super_centres, super_lists, err);
	iqdb_free(allocator, super_centres, centres_size);
	iqdb_free(allocator, super_lists, lists_size);
	return status;
}

/* Lists of slots; slots that are not there, or not LIVE, and lists that are not there, count as none. */
static IqdbStatus
read_homes(const IqdbiIvf *ivf, uint32_t lists, uint32_t slots, uint32_t *where, IqdbSource *source, IqdbError *err)
{
	uint32_t count;
	uint32_t chunk[CHUNK / 4];

	IQDB_TRY(read_numbers(source, &count, 1, err));
	for (uint32_t slot = 0; slot < slots; slot++)
		where[slot] = IQDBI_NOWHERE;
	for (uint64_t from = 0; from < count; from += CHUNK / 4)
	{
		uint32_t part = count - from < CHUNK / 4 ? (uint32_t) (count - from) : CHUNK / 4;

		IQDB_TRY(read_numbers(source, chunk, part, err));
		for (uint32_t i = 0; i < part && from + i < slots; i++)
		{
			if (chunk[i] <= iqdbi_far_list(lists) && iqdb_store_state(ivf->store, (uint32_t) from + i) == IQDB_ROW_LIVE)
				where[from + i] = chunk[i];
		}
	}
	return IQDB_OK;
}

IqdbStatus
iqdbi_ivf_load(IqdbStore *store, IqdbSource *source, IqdbError *err)
{
	IqdbiIvf      ivf;
	Head          head;
	unsigned char bytes[8];
	uint32_t      slots = atomic_load_explicit(&store->header->slot_count, memory_order_acquire);
	size_t        size = ((size_t) slots + 1) * sizeof(uint32_t);
	uint32_t     *where;
	IqdbStatus    status;

	iqdbi_ivf_view(&ivf, store);
	IQDB_TRY(source->read(source->arg, bytes, sizeof(bytes), err));
	if (iqdb_load_u32(bytes) < PART_VERSION_OLDEST || iqdb_load_u32(bytes) > PART_VERSION)
		return iqdb_fail(err, IQDB_ERR_VERSION, "engine part of an ivf index has version %u, this build reads %u to %u",
						 iqdb_load_u32(bytes), PART_VERSION_OLDEST, PART_VERSION);
	if (iqdb_load_u32(bytes + 4) > 1)
		return part_is_corrupt(err, "neither trained nor not trained");
	if (iqdb_load_u32(bytes + 4) == 0)
		return IQDB_OK;
	IQDB_TRY(read_model(&ivf, iqdb_load_u32(bytes), &head, source, err));
	where = iqdb_alloc(&store->host->allocator, size);
	if (where == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for the lists of %u slots", slots);
	status = read_homes(&ivf, head.figures.lists, slots, where, source, err);
	if (status == IQDB_OK)
		status = iqdbi_ivf_adopt(&ivf, where, slots, err);
	if (status == IQDB_OK)
	{
		atomic_store_explicit(&ivf.header->newcomers, head.newcomers, memory_order_relaxed);
		atomic_store_explicit(&ivf.header->strain, head.strain, memory_order_relaxed);
	}
	iqdb_free(&store->host->allocator, where, size);
	return status;
}
