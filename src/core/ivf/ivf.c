/*
 * ivf.c - the engine's contract, and what a user may ask about lists and codes.
 *
 * Owns: linking rows one by one, when training happens by itself, numbers. The rest is in the files that ivf_private.h
 * names.
 */
#include "core/ivf/ivf_private.h"

#include <string.h>

#include "core/base/rng.h"
#include "core/engine/keys.h"

#define LAYOUT 2u

/*
 * Training by itself. While an index is not trained it is scanned: so many rows (with a given number of lists: so many per
 * list, but not fewer than) are the most that link() leaves so. VACUUM trains again when there are so many times the rows
 * that the last training saw.
 */
#define LINK_TRAINS_ROWS 10000u
#define LINK_TRAINS_ROWS_PER_LIST 32u
#define LINK_TRAINS_ROWS_MIN 1000u
#define VACUUM_GROWTH 4u

/* It does so too when so large a share of the rows that were trained with has come since, so many times as far from centres. */
#define DRIFT_ROWS_SHARE 4u
#define DRIFT_NOTICED 2.0

/* Rows noted, and rows looked at, by link_pending() in one stretch. */
#define LINK_BATCH 256u
#define LINK_LOOKED 8192u

/* Rows counted in one stretch. */
#define COUNT_BATCH 16384u

/* ---- shape ---- */

static uint64_t
square_root(uint64_t number)
{
	return (uint64_t) sqrt((double) number) + 1;
}

/* The most lists an index with so many slots can have. */
static uint64_t
lists_max(const IqdbIndexOptions *options, uint64_t slots)
{
	uint32_t automatic;
	IqdbIndexOptions free_choice = *options;

	if (options->lists > 0)
		return options->lists;
	free_choice.lists = 0;
	automatic = iqdb_ivf_wanted_lists(&free_choice, slots);
	return automatic > 0 ? automatic : 1;
}

/* Bytes of a model with so many lists, at most. */
static uint64_t
model_bytes(const IqdbiIvf *ivf, uint64_t lists)
{
	IqdbiModel model = {.lists = (uint32_t) lists, .supers = lists > IQDBI_ONE_LEVEL_LISTS ? (uint32_t) square_root(lists) : 1};

	/* a part of a block may stay empty at the end of each run of centres */
	model.coarse_blocks = model.lists / IQDBI_BLOCK_ROWS + model.supers + 1;
	model.super_blocks = model.supers / IQDBI_BLOCK_ROWS + 1;
	return iqdbi_model_size(ivf, &model);
}

static void
ivf_reserves(const IqdbIndexOptions *options, uint64_t slots_max, uint64_t reserves_out[IQDB_ENGINE_REGIONS_MAX])
{
	uint64_t lists = lists_max(options, slots_max);
	uint64_t blocks;
	IqdbiIvf ivf;

	memset(reserves_out, 0, IQDB_ENGINE_REGIONS_MAX * sizeof(*reserves_out));
	iqdbi_ivf_shape(&ivf, options, 0);
	/* each list may end in an empty part of a block */
	blocks = slots_max / IQDBI_BLOCK_ROWS + lists + 64;
	for (uint32_t edition = 0; edition < 2; edition++)
	{
		reserves_out[IQDBI_IVF_HOMES + edition] = slots_max * iqdbi_home_size((uint32_t) lists);
		reserves_out[IQDBI_IVF_MODELS + edition] = model_bytes(&ivf, lists);
		reserves_out[IQDBI_IVF_LISTS + edition] = iqdbi_lists_size(lists);
		reserves_out[IQDBI_IVF_BLOCKS + edition] = blocks * ivf.rows.size;
		reserves_out[IQDBI_IVF_LINKS + edition] = blocks * sizeof(uint32_t);
	}
	reserves_out[IQDBI_IVF_WORK] = iqdbi_fill_bytes(slots_max, lists);
	reserves_out[IQDBI_IVF_WAITING] = (slots_max / IQDBI_SPAN_SLOTS + 1) * sizeof(IqdbiSpan);
}

static uint64_t
ivf_bytes_per_row(const IqdbIndexOptions *options)
{
	IqdbiIvf ivf;

	iqdbi_ivf_shape(&ivf, options, 0);
	/* a home word, and a share of a block with its link, and of a word of bits */
	return iqdbi_home_size(0) + (ivf.rows.size + 2 * sizeof(uint32_t) + IQDBI_BLOCK_ROWS - 1) / IQDBI_BLOCK_ROWS;
}

static uint64_t
ivf_bytes_beside(const IqdbIndexOptions *options, uint64_t rows)
{
	IqdbiIvf ivf;
	uint32_t lists = iqdb_ivf_wanted_lists(options, rows);

	iqdbi_ivf_shape(&ivf, options, 0);
	/* centres, of each list half a block that stays empty, and wider home words where there are many */
	return lists == 0 ? 0 : model_bytes(&ivf, lists) + lists * (sizeof(IqdbiList) + ivf.rows.size / 2) +
								rows * (iqdbi_home_size(lists) - iqdbi_home_size(0));
}

static uint64_t
ivf_snapshot_bytes(const IqdbIndexOptions *options, uint64_t rows)
{
	IqdbiIvf ivf;

	iqdbi_ivf_shape(&ivf, options, 0);
	return rows * sizeof(uint32_t) + iqdb_ivf_wanted_lists(options, rows) * ivf.work_dim * sizeof(float);
}

static IqdbStatus
ivf_format(IqdbStore *store, IqdbError *err)
{
	IqdbiIvfHeader *header = store->engine_header;

	(void) err;
	memset(header, 0, sizeof(*header));
	header->layout = LAYOUT;
	header->pools[0].count = 1;
	header->pools[1].count = 1;
	return IQDB_OK;
}

static IqdbStatus
ivf_reserve(IqdbStore *store, uint32_t slot_count, IqdbError *err)
{
	IqdbiIvf ivf;

	iqdbi_ivf_view(&ivf, store);
	return iqdbi_ivf_reserve(&ivf, slot_count, err);
}

/* ---- coming and going ---- */

static void
ivf_added(IqdbStore *store, uint32_t slot)
{
	IqdbiIvf ivf;

	iqdbi_ivf_view(&ivf, store);
	iqdbi_row_wait(&ivf, slot);
}

/* The other side of iqdbi_row_linked. */
static void
ivf_removed(IqdbStore *store, uint32_t slot)
{
	IqdbiIvf ivf;
	uint32_t editions[2];

	iqdbi_ivf_view(&ivf, store);
	atomic_fetch_add_explicit(&ivf.header->unrepaired, 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_seq_cst);
	editions[0] = atomic_load_explicit(&ivf.header->current, memory_order_acquire);
	editions[1] = atomic_load_explicit(&ivf.header->training, memory_order_acquire);
	for (int i = 0; i < 2; i++)
	{
		uint32_t home;

		if (editions[i] == 0)
			continue;
		home = iqdbi_home(&ivf, editions[i] - 1, slot);
		if (iqdbi_home_status(home) == IQDBI_HOME_LINKED)
			atomic_store_explicit(&iqdbi_ivf_lists(&ivf, editions[i] - 1)[iqdbi_home_list(home)].dirty, 1,
								  memory_order_release);
	}
	if (iqdbi_row_settle(&ivf, slot) && iqdb_store_release_locked(store, slot))
		atomic_fetch_sub_explicit(&ivf.header->unrepaired, 1, memory_order_relaxed);
}

/* ---- linking ---- */

static void
note_newcomer(const IqdbiIvf *ivf, const IqdbiModel *model, float key)
{
	float strain = model->spread > 0 ? key / model->spread : 1.0f;

	strain = strain < IQDBI_STRAIN_MAX ? strain : IQDBI_STRAIN_MAX;
	atomic_fetch_add_explicit(&ivf->header->newcomers, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&ivf->header->strain, (uint64_t) (strain * IQDBI_STRAIN_UNIT), memory_order_relaxed);
}

/* Where the row belongs, and how far it is from the centre; one that is in no list with a centre is as far as others. */
static uint32_t
list_for_row(const IqdbiIvf *ivf, const IqdbiModel *model, uint32_t slot, IqdbiScratch *scratch, float *key_out)
{
	float    norm2 = iqdb_store_norm2(ivf->store, slot);
	uint32_t list;

	*key_out = model->spread;
	if (iqdbi_row_is_far(ivf, model->radius2, slot, norm2))
		return iqdbi_far_list(model->lists);
	iqdbi_work_vector(ivf, model->radius2, iqdb_store_vector(ivf->store, slot), norm2, scratch->work);
	list = iqdbi_coarse_assign(scratch, model, scratch->work, key_out);
	return iqdbi_row_is_fine(ivf, norm2, *key_out) ? iqdbi_far_list(model->lists) : list;
}

/* The expensive part, STRUCTURE is held shared; the row is LINKING. */
static IqdbStatus
link_row(const IqdbiIvf *ivf, uint32_t edition, uint32_t slot, IqdbError *err)
{
	IqdbiModel   model;
	IqdbiScratch scratch;
	uint32_t     list;
	float        key;
	IqdbStatus   status;

	iqdbi_model_view(ivf, edition, &model);
	IQDB_TRY(iqdbi_scratch_init(&scratch, ivf, model.supers, 1, err));
	list = list_for_row(ivf, &model, slot, &scratch, &key);
	iqdbi_code_row(ivf, &model, list, slot, &scratch.code);
	if (scratch.code.lost)
	{
		list = iqdbi_far_list(model.lists);
		iqdbi_code_row(ivf, &model, list, slot, &scratch.code);
	}
	status = iqdbi_list_append(ivf, edition, list, slot, &scratch.code, err);
	iqdbi_scratch_free(&scratch);
	if (status != IQDB_OK)
		return status;
	iqdbi_row_linked(ivf, edition, list, slot);
	note_newcomer(ivf, &model, key);
	return IQDB_OK;
}

/* Links the row in the current edition, if there is one and the row waits for it. */
static IqdbStatus
link_in_current(const IqdbiIvf *ivf, uint32_t slot, bool *linked_out, IqdbError *err)
{
	const IqdbStore *store = ivf->store;
	uint32_t         current;
	IqdbStatus       status = IQDB_OK;

	*linked_out = false;
	iqdb_store_lock(store, IQDB_LOCK_STRUCTURE, false);
	current = atomic_load_explicit(&ivf->header->current, memory_order_acquire);
	if (current != 0 && iqdbi_row_waits(ivf, slot) &&
		iqdbi_home_change(ivf, current - 1, slot, IQDBI_HOME_PENDING, IQDBI_HOME_LINKING))
	{
		if (iqdb_store_state(store, slot) == IQDB_ROW_LIVE)
		{
			status = link_row(ivf, current - 1, slot, err);
			*linked_out = status == IQDB_OK;
		}
		if (!*linked_out)
			(void) iqdbi_home_change(ivf, current - 1, slot, IQDBI_HOME_LINKING, IQDBI_HOME_PENDING);
		if (iqdbi_row_settle(ivf, slot))
			iqdbi_slots_release(ivf, &slot, 1);
	}
	iqdb_store_unlock(store, IQDB_LOCK_STRUCTURE, false);
	return status;
}

/* Are there so many rows that link() should train? */
static bool
ripe(const IqdbiIvf *ivf)
{
	const IqdbIndexOptions *options = &ivf->store->header->options;
	uint64_t                live = atomic_load_explicit(&ivf->store->header->live_count, memory_order_relaxed);
	uint64_t                needed = LINK_TRAINS_ROWS;

	if (options->lists > 0)
	{
		needed = (uint64_t) options->lists * LINK_TRAINS_ROWS_PER_LIST;
		needed = needed < LINK_TRAINS_ROWS_MIN ? LINK_TRAINS_ROWS_MIN : needed;
	}
	return live >= needed && live >= atomic_load_explicit(&ivf->header->not_before, memory_order_relaxed);
}

/* For want of memory or room an index stays as it is: searchable. Only cancelling stops the caller. */
static IqdbStatus
train_if_ripe(const IqdbiIvf *ivf, IqdbError *err)
{
	IqdbStatus status;

	if (atomic_load_explicit(&ivf->header->current, memory_order_acquire) != 0 || !ripe(ivf) ||
		!iqdbi_maintain_begin(ivf))
		return IQDB_OK;
	/* somebody may have finished between the look and the begin */
	status = atomic_load_explicit(&ivf->header->current, memory_order_acquire) != 0 ? IQDB_OK
																					: iqdbi_ivf_retrain(ivf, err);
	iqdbi_maintain_end(ivf);
	return status == IQDB_ERR_CANCELLED ? status : IQDB_OK;
}

static IqdbStatus
ivf_link(IqdbStore *store, uint32_t slot, IqdbError *err)
{
	IqdbiIvf ivf;
	bool     linked;

	iqdbi_ivf_view(&ivf, store);
	IQDB_TRY(train_if_ripe(&ivf, err));
	return link_in_current(&ivf, slot, &linked, err);
}

/* Rows from *from on that are to be linked; moves it behind them. */
static uint32_t
rows_to_link(const IqdbiIvf *ivf, uint32_t *from, uint32_t slots, uint32_t *found_out)
{
	uint32_t current;
	uint32_t count = 0;

	/* the edition stays current, and its words stay */
	iqdb_store_lock(ivf->store, IQDB_LOCK_STRUCTURE, false);
	current = atomic_load_explicit(&ivf->header->current, memory_order_acquire);
	for (uint32_t looked = 0; current != 0 && count < LINK_BATCH && looked < LINK_LOOKED &&
							  (*from = iqdbi_row_waiting(ivf, *from, slots)) < slots;
		 looked++)
	{
		if (iqdbi_home_status(iqdbi_home(ivf, current - 1, *from)) == IQDBI_HOME_PENDING &&
			iqdb_store_state(ivf->store, *from) == IQDB_ROW_LIVE)
			found_out[count++] = *from;
		++*from;
	}
	iqdb_store_unlock(ivf->store, IQDB_LOCK_STRUCTURE, false);
	if (current == 0)
		*from = slots;
	return count;
}

static IqdbStatus
link_pending(const IqdbiIvf *ivf, uint64_t max_rows, uint64_t *linked_out, IqdbError *err)
{
	uint32_t slots = atomic_load_explicit(&ivf->store->header->slot_count, memory_order_acquire);
	uint32_t found[LINK_BATCH];
	uint32_t from = 0;

	while (*linked_out < max_rows && from < slots)
	{
		uint32_t count = rows_to_link(ivf, &from, slots, found);

		for (uint32_t i = 0; i < count && *linked_out < max_rows; i++)
		{
			bool linked;

			if (iqdb_host_cancelled(ivf->store->host))
				return iqdb_fail(err, IQDB_ERR_CANCELLED, "linking was cancelled");
			IQDB_TRY(link_in_current(ivf, found[i], &linked, err));
			*linked_out += linked;
		}
	}
	return IQDB_OK;
}

static IqdbStatus
ivf_link_pending(IqdbStore *store, uint64_t max_rows, uint64_t *linked_out, IqdbError *err)
{
	IqdbiIvf ivf;

	*linked_out = 0;
	iqdbi_ivf_view(&ivf, store);
	IQDB_TRY(train_if_ripe(&ivf, err));
	return link_pending(&ivf, max_rows, linked_out, err);
}

/* ---- maintenance ---- */

/* Does what is there suit the rows that are there? */
static bool
suits(const IqdbiIvf *ivf)
{
	uint64_t live = atomic_load_explicit(&ivf->store->header->live_count, memory_order_acquire);
	uint32_t current = atomic_load_explicit(&ivf->header->current, memory_order_acquire);

	return current != 0 && live <= ivf->header->editions[current - 1].rows * 5 / 4;
}

/* Mean strain of the rows linked since training; 0 = there are none. */
static double
drift(const IqdbiIvf *ivf)
{
	uint64_t newcomers = atomic_load_explicit(&ivf->header->newcomers, memory_order_relaxed);
	uint64_t strain = atomic_load_explicit(&ivf->header->strain, memory_order_relaxed);

	return newcomers > 0 ? (double) strain / (double) newcomers / IQDBI_STRAIN_UNIT : 0.0;
}

/* Grown far beyond what it was trained for, or drifted? */
static bool
outgrown(const IqdbiIvf *ivf)
{
	uint64_t live = atomic_load_explicit(&ivf->store->header->live_count, memory_order_acquire);
	uint32_t current = atomic_load_explicit(&ivf->header->current, memory_order_acquire);
	uint64_t trained;

	if (live < atomic_load_explicit(&ivf->header->not_before, memory_order_relaxed))
		return false;
	if (current == 0)
		return ripe(ivf);
	trained = ivf->header->editions[current - 1].rows;
	return live / VACUUM_GROWTH > trained ||
		   (atomic_load_explicit(&ivf->header->newcomers, memory_order_relaxed) > trained / DRIFT_ROWS_SHARE &&
			drift(ivf) >= DRIFT_NOTICED);
}

static IqdbStatus
maintain(const IqdbiIvf *ivf, IqdbMaintain what, IqdbError *err)
{
	uint64_t   linked = 0;
	IqdbStatus status = IQDB_OK;

	IQDB_TRY(iqdbi_ivf_vacuum(ivf, err));
	if (what == IQDB_MAINTAIN_OPTIMIZE || (what == IQDB_MAINTAIN_BUILD && !suits(ivf)) || outgrown(ivf))
		status = iqdbi_ivf_retrain(ivf, err);
	if (status == IQDB_OK)
		status = link_pending(ivf, UINT64_MAX, &linked, err);
	/* whoever only wanted to clean up has done so; rows for which there is no room in lists go on waiting */
	if (what == IQDB_MAINTAIN_VACUUM && status != IQDB_ERR_CANCELLED)
		return IQDB_OK;
	return status;
}

static IqdbStatus
ivf_maintain(IqdbStore *store, IqdbMaintain what, IqdbError *err)
{
	IqdbiIvf   ivf;
	IqdbStatus status;

	iqdbi_ivf_view(&ivf, store);
	/* somebody is at it already: what he leaves is for the next time */
	if (!iqdbi_maintain_begin(&ivf))
		return IQDB_OK;
	status = maintain(&ivf, what, err);
	iqdbi_maintain_end(&ivf);
	return status;
}

/* ---- numbers ---- */

uint32_t
iqdb_ivf_list_sizes(IqdbStore *store, uint64_t *sizes_out, uint32_t capacity)
{
	IqdbiIvf ivf;
	uint32_t current;
	uint32_t lists = 0;

	iqdbi_ivf_view(&ivf, store);
	iqdb_store_lock(store, IQDB_LOCK_STRUCTURE, false);
	current = atomic_load_explicit(&ivf.header->current, memory_order_acquire);
	if (current != 0)
	{
		const IqdbiList *list = iqdbi_ivf_lists(&ivf, current - 1);

		lists = ivf.header->editions[current - 1].lists;
		for (uint32_t i = 0; i < lists && i < capacity; i++)
			sizes_out[i] = atomic_load_explicit(&list[i].count, memory_order_relaxed);
	}
	iqdb_store_unlock(store, IQDB_LOCK_STRUCTURE, false);
	return lists;
}

uint32_t
iqdb_ivf_automatic_probes(const IqdbStore *store)
{
	const IqdbiIvfHeader *header = store->engine_header;
	uint32_t              current;
	uint32_t              probes = 0;

	iqdb_store_lock(store, IQDB_LOCK_STRUCTURE, false);
	current = atomic_load_explicit(&header->current, memory_order_acquire);
	if (current != 0)
		probes = header->editions[current - 1].probes;
	iqdb_store_unlock(store, IQDB_LOCK_STRUCTURE, false);
	return probes;
}

static uint32_t
lists_for_share(uint64_t *sizes, uint32_t lists, double coverage)
{
	uint64_t total = 0;
	uint64_t reached = 0;
	uint32_t probes = 0;

	for (uint32_t i = 0; i < lists; i++)
		total += sizes[i];
	iqdbi_sort_numbers(sizes, lists);
	while (probes < lists && (double) reached < ceil(coverage * (double) total))
		reached += sizes[lists - ++probes];
	return probes > 0 ? probes : 1;
}

IqdbStatus
iqdb_ivf_suggest_probes(IqdbStore *store, double coverage, uint32_t *probes_out, IqdbError *err)
{
	const IqdbAllocator *allocator = &store->host->allocator;
	uint64_t            *sizes = NULL;
	uint32_t             room = 0;
	uint32_t             lists;

	*probes_out = 1;
	if (!(coverage >= 0.0 && coverage <= 1.0))
		return iqdb_fail(err, IQDB_ERR_CONFIG, "coverage is %g, it must be between 0 and 1", coverage);
	/* once to learn the number, again when a training made it larger meanwhile */
	while ((lists = iqdb_ivf_list_sizes(store, sizes, room)) > room)
	{
		iqdb_free(allocator, sizes, room * sizeof(*sizes));
		room = lists;
		sizes = iqdb_alloc(allocator, room * sizeof(*sizes));
		if (sizes == NULL)
			return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for the sizes of %u lists", room);
	}
	if (lists > 0)
		*probes_out = coverage >= 1.0 ? lists : lists_for_share(sizes, lists, coverage);
	iqdb_free(allocator, sizes, room * sizeof(*sizes));
	return IQDB_OK;
}

/* ---- how wrong codes are ---- */

static double
square_between(const float *a, float factor, const float *b, size_t dim)
{
	double sum = 0;

	for (size_t d = 0; d < dim; d++)
	{
		double difference = (double) (a[d] * factor) - (double) b[d];

		sum += difference * difference;
	}
	return sum;
}

/* Adds one row of a list; STRUCTURE is held. */
static void
add_error(const IqdbiIvf *ivf, const IqdbiModel *model, uint32_t list, unsigned char *block, uint32_t place,
		  float *decoded, IqdbIvfError *error)
{
	uint32_t     slot = atomic_load(&iqdbi_block_slots(block)[place]);
	const float *row = iqdb_store_vector(ivf->store, slot);
	float        factor = 1.0f;
	double       spread;
	double       square;

	if (iqdb_store_state(ivf->store, slot) != IQDB_ROW_LIVE || list >= model->lists)
		return;
	if (ivf->metric == IQDB_METRIC_COSINE)
		factor = (float) (1.0 / sqrt(iqdb_store_length2(ivf->store, row)));
	iqdbi_block_decode(ivf, model, list, block, place, decoded);
	spread = square_between(row, factor, model->centres + (size_t) list * ivf->work_stride, ivf->dim);
	square = square_between(row, factor, decoded, ivf->dim);
	square = spread > 0 ? square / spread : 0;
	error->rows++;
	error->mean_square += square;
	error->worst_square = square > error->worst_square ? square : error->worst_square;
}

IqdbStatus
iqdb_ivf_code_error(IqdbStore *store, uint64_t rows_max, uint64_t seed, IqdbIvfError *error_out, IqdbError *err)
{
	IqdbiIvf ivf;
	IqdbRng  rng;
	size_t   size;
	float   *decoded;

	memset(error_out, 0, sizeof(*error_out));
	iqdbi_ivf_view(&ivf, store);
	if (ivf.rows.coding == IQDBI_CODING_NONE || ivf.rows.coding == IQDBI_CODING_SIGNS)
		return IQDB_OK;
	size = ivf.work_stride * sizeof(float);
	decoded = iqdb_alloc(&store->host->allocator, size);
	if (decoded == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for one vector");
	iqdb_rng_seed(&rng, seed);
	for (uint64_t i = 0; i < rows_max; i++)
	{
		uint32_t   slots = atomic_load(&store->header->slot_count);
		uint32_t   slot = (uint32_t) iqdb_rng_below(&rng, slots);
		uint32_t   current;
		IqdbiModel model;
		uint32_t   home;

		iqdb_store_lock(store, IQDB_LOCK_STRUCTURE, false);
		current = atomic_load(&ivf.header->current);
		home = current != 0 && slots > 0 ? iqdbi_home(&ivf, current - 1, slot) : 0;
		if (iqdbi_home_status(home) == IQDBI_HOME_LINKED)
		{
			uint32_t       list = iqdbi_home_list(home);
			uint32_t       count = atomic_load(&iqdbi_ivf_lists(&ivf, current - 1)[list].count);
			unsigned char *block = iqdbi_ivf_block(&ivf, current - 1,
												   atomic_load(&iqdbi_ivf_lists(&ivf, current - 1)[list].head));

			/* some row of the first block of its list stands for it */
			iqdbi_model_view(&ivf, current - 1, &model);
			if (count > 0)
				add_error(&ivf, &model, list, block,
						  (uint32_t) iqdb_rng_below(&rng, count < IQDBI_BLOCK_ROWS ? count : IQDBI_BLOCK_ROWS), decoded,
						  error_out);
		}
		iqdb_store_unlock(store, IQDB_LOCK_STRUCTURE, false);
	}
	iqdb_free(&store->host->allocator, decoded, size);
	if (error_out->rows > 0)
		error_out->mean_square /= (double) error_out->rows;
	return IQDB_OK;
}

/* Takes STRUCTURE shared in stretches. */
static uint64_t
count_unlinked(const IqdbiIvf *ivf)
{
	const IqdbStore *store = ivf->store;
	uint32_t         slots = atomic_load_explicit(&store->header->slot_count, memory_order_acquire);
	uint64_t         count = 0;

	for (uint32_t slot = 0; slot < slots;)
	{
		uint32_t current;

		iqdb_store_lock(store, IQDB_LOCK_STRUCTURE, false);
		current = atomic_load_explicit(&ivf->header->current, memory_order_acquire);
		if (current == 0)
		{
			count = atomic_load_explicit(&store->header->live_count, memory_order_relaxed);
			slot = slots;
		}
		for (uint32_t i = 0; i < COUNT_BATCH && (slot = iqdbi_row_waiting(ivf, slot, slots)) < slots; i++, slot++)
			count += iqdb_store_state(store, slot) == IQDB_ROW_LIVE &&
					 iqdbi_home_status(iqdbi_home(ivf, current - 1, slot)) != IQDBI_HOME_LINKED;
		iqdb_store_unlock(store, IQDB_LOCK_STRUCTURE, false);
	}
	return count;
}

static void
ivf_stats(const IqdbStore *store, IqdbEngineStats *stats_out)
{
	IqdbStore copy = *store;
	IqdbiIvf  ivf;
	uint32_t  current;

	memset(stats_out, 0, sizeof(*stats_out));
	iqdbi_ivf_view(&ivf, &copy);
	stats_out->unlinked = count_unlinked(&ivf);
	iqdb_store_lock(store, IQDB_LOCK_STRUCTURE, false);
	current = atomic_load_explicit(&ivf.header->current, memory_order_acquire);
	stats_out->unrepaired = atomic_load_explicit(&ivf.header->unrepaired, memory_order_relaxed);
	if (current != 0)
	{
		const IqdbiList *lists = iqdbi_ivf_lists(&ivf, current - 1);
		uint64_t         total = 0;

		stats_out->trained = 1;
		stats_out->trained_rows = ivf.header->editions[current - 1].rows;
		stats_out->newcomers = atomic_load_explicit(&ivf.header->newcomers, memory_order_relaxed);
		stats_out->drift = drift(&ivf);
		stats_out->outgrown = outgrown(&ivf);
		stats_out->lists = ivf.header->editions[current - 1].lists;
		stats_out->probes = ivf.header->editions[current - 1].probes;
		stats_out->list_min = UINT64_MAX;
		for (uint32_t i = 0; i < stats_out->lists; i++)
		{
			uint64_t count = atomic_load_explicit(&lists[i].count, memory_order_relaxed);

			total += count;
			stats_out->list_min = count < stats_out->list_min ? count : stats_out->list_min;
			stats_out->list_max = count > stats_out->list_max ? count : stats_out->list_max;
		}
		stats_out->list_mean = (double) total / (double) stats_out->lists;
	}
	iqdb_store_unlock(store, IQDB_LOCK_STRUCTURE, false);
}

const IqdbEngine iqdb_ivf_engine = {
	.kind = IQDB_ENGINE_IVF,
	.name = "ivf",
	.reserves = ivf_reserves,
	.bytes_per_row = ivf_bytes_per_row,
	.bytes_beside = ivf_bytes_beside,
	.snapshot_bytes = ivf_snapshot_bytes,
	.format = ivf_format,
	.reserve = ivf_reserve,
	.added = ivf_added,
	.removed = ivf_removed,
	.link = ivf_link,
	.links_at_end = true,
	.link_pending = ivf_link_pending,
	.maintain = ivf_maintain,
	.assist = iqdbi_ivf_assist,
	.cursor_size = sizeof(IqdbiIvfCursor),
	.cursor_start = iqdbi_ivf_cursor_start,
	.cursor_next = iqdbi_ivf_cursor_next,
	.cursor_end = iqdbi_ivf_cursor_end,
	.save = iqdbi_ivf_save,
	.load = iqdbi_ivf_load,
	.check = iqdbi_ivf_check,
	.stats = ivf_stats,
};
