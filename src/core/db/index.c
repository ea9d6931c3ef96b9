/*
 * index.c - one index over an arena of the host's: the row store joined with an engine.
 *
 * Owns: the checks at the door (dimension, finite components, id, encoded metadata). Does not own: cursors
 * (index_cursor.c), rows (engine/store.c), how they are found (the engines), bytes of snapshots (index_codec.c), files (the
 * host).
 */
#include "core/db/index_private.h"

#include <math.h>
#include <string.h>

#include "core/meta/metadata.h"

/* Slots looked at under one hold of ROWS when ids are listed. */
#define IDS_STRETCH 16384u

/* Bytes of a row in a snapshot beside its vector; and of a bare one, whose id is mostly near that before it: index_codec.h. */
#define SNAPSHOT_ROW 20u
#define SNAPSHOT_BARE_ROW 3u

/* ---- making and joining ---- */

uint32_t
iqdb_index_reserves(const IqdbIndexOptions *options, uint64_t memory_max, uint64_t host_reserve,
					uint64_t reserves_out[IQDB_ARENA_REGIONS_MAX])
{
	const IqdbEngine *engine = iqdb_engine_get(options->engine);
	uint64_t          slots_max;

	memset(reserves_out, 0, IQDB_ARENA_REGIONS_MAX * sizeof(*reserves_out));
	slots_max = iqdb_store_reserves(options, engine != NULL ? engine->bytes_per_row(options) : 0, memory_max, host_reserve,
									reserves_out);
	if (engine != NULL)
		engine->reserves(options, slots_max, reserves_out + IQDB_REGION_ENGINE);
	return IQDB_ARENA_REGIONS_MAX;
}

uint64_t
iqdb_index_reserve_for(const IqdbIndexOptions *options, uint64_t rows)
{
	const IqdbEngine *engine = iqdb_engine_get(options->engine);
	uint64_t          per_row = iqdb_store_bytes_per_row(options);
	uint64_t          bytes;

	/* as iqdb_store_reserves divides */
	if (iqdb_index_options_on_disk(options) && engine != NULL)
		per_row += engine->bytes_per_row(options);
	return __builtin_mul_overflow(per_row, rows, &bytes) ? UINT64_MAX : bytes;
}

static IqdbStatus
engine_of(const IqdbIndexOptions *options, const IqdbEngine **engine_out, IqdbError *err)
{
	*engine_out = iqdb_engine_get(options->engine);
	if (*engine_out == NULL)
		return iqdb_fail(err, IQDB_ERR_UNSUPPORTED, "this build has no engine number %u", options->engine);
	return IQDB_OK;
}

static void
index_view(IqdbIndex *index_out, IqdbArena *arena, const IqdbHost *host, const IqdbKernels *kernels)
{
	memset(index_out, 0, sizeof(*index_out));
	index_out->arena = arena;
	index_out->host = host;
	iqdb_store_view(&index_out->store, arena, host, kernels != NULL ? kernels : iqdb_kernels_best());
}

IqdbStatus
iqdb_index_format(IqdbIndex *index_out, IqdbArena *arena, const IqdbHost *host, const IqdbKernels *kernels,
				  const IqdbIndexOptions *options, uint64_t reserve_max, uint64_t memory_max, uint64_t host_bytes,
				  uint64_t host_reserve, IqdbError *err)
{
	uint64_t          reserves[IQDB_ARENA_REGIONS_MAX];
	uint32_t          region_count;
	const IqdbEngine *engine;

	memset(index_out, 0, sizeof(*index_out));
	IQDB_TRY(iqdb_index_options_check(options, err));
	IQDB_TRY(engine_of(options, &engine, err));
	region_count = iqdb_index_reserves(options, reserve_max, host_reserve, reserves);
	IQDB_TRY(iqdb_arena_format(arena, &host->locks, reserves, region_count,
							   arena->paged.commit != NULL ? IQDB_REGION_VECTORS : IQDB_ARENA_NO_REGION, memory_max,
							   err));
	index_view(index_out, arena, host, kernels);
	index_out->engine = engine;
	IQDB_TRY(iqdb_store_format(&index_out->store, options, host_bytes, err));
	return engine->format(&index_out->store, err);
}

IqdbStatus
iqdb_index_attach(IqdbIndex *index_out, IqdbArena *arena, const IqdbHost *host, const IqdbKernels *kernels,
				  IqdbError *err)
{
	const IqdbArenaHeader *header = iqdb_arena_header(arena);

	memset(index_out, 0, sizeof(*index_out));
	IQDB_TRY(iqdb_arena_attach(arena, err));
	if (header->region_count < IQDB_REGION_ENGINE || header->regions[IQDB_REGION_HEADERS].committed < IQDB_HEADERS_SIZE)
		return iqdb_fail(err, IQDB_ERR_CORRUPT, "the arena holds no index");
	index_view(index_out, arena, host, kernels);
	IQDB_TRY(iqdb_store_check_header(&index_out->store, err));
	return engine_of(&index_out->store.header->options, &index_out->engine, err);
}

IqdbStatus
iqdb_index_move(IqdbIndex *index, uint64_t reserve_max, const IqdbArenaFile *file, IqdbError *err)
{
	uint64_t         reserves[IQDB_ARENA_REGIONS_MAX];
	IqdbIndexOptions options = index->store.header->options;
	uint32_t         count = iqdb_index_reserves(&options, reserve_max, 0, reserves);

	IQDB_TRY(iqdb_arena_private_move(index->arena, &index->host->locks, reserves, count, file, err));
	iqdb_store_view(&index->store, index->arena, index->host, index->store.kernels);
	return IQDB_OK;
}

void *
iqdb_index_host_region(const IqdbIndex *index)
{
	return iqdb_arena_region(index->arena, IQDB_REGION_HOST);
}

/* ---- writing ---- */

IqdbStatus
iqdbi_check_vector(const IqdbIndexOptions *options, const IqdbKernels *kernels, const void *vector, size_t dim,
				   IqdbError *err)
{
	const IqdbElement *element = iqdb_element(options->element);

	if (dim != options->dimension)
		return iqdb_fail(err, IQDB_ERR_DIMENSION, "expected %u dimensions, not %zu", options->dimension, dim);
	/* a sum of squares is finite only if every term is: the kernel sees at a glance what is usual */
	if (element->has_numbers && isfinite(kernels->elements[element->kind]->norm2(vector, dim)))
		return IQDB_OK;
	return iqdb_element_check(element, vector, dim, err);
}

IqdbStatus
iqdbi_index_check_vector(const IqdbIndex *index, const void *vector, size_t dim, IqdbError *err)
{
	return iqdbi_check_vector(&index->store.header->options, index->store.kernels, vector, dim, err);
}

IqdbStatus
iqdbi_index_put_checked(IqdbIndex *index, const IqdbRow *row, const IqdbColumnValues *columns, uint32_t *slot_out,
						IqdbError *err)
{
	return iqdb_store_put(&index->store, index->engine, row, columns, slot_out, err);
}

static IqdbStatus
check_row(const IqdbIndex *index, const IqdbRow *row, size_t dim, const IqdbColumnValues *columns, IqdbError *err)
{
	IQDB_TRY(iqdbi_index_check_vector(index, row->vector, dim, err));
	IQDB_TRY(iqdb_id_check(row->id, err));
	IQDB_TRY(iqdb_columns_check(&index->store.header->options, columns, err));
	return iqdb_metadata_validate(row->metadata, row->metadata_length, err);
}

IqdbStatus
iqdb_index_put_row(IqdbIndex *index, const IqdbRow *row, size_t dim, const IqdbColumnValues *columns, uint32_t *slot_out,
				   IqdbError *err)
{
	uint32_t slot;

	IQDB_TRY(check_row(index, row, dim, columns, err));
	IQDB_TRY(iqdb_store_put(&index->store, index->engine, row, columns, &slot, err));
	if (slot_out != NULL)
		*slot_out = slot;
	return IQDB_OK;
}

IqdbStatus
iqdb_index_put(IqdbIndex *index, IqdbId id, const void *vector, size_t dim, const unsigned char *metadata,
			   size_t metadata_length, uint32_t *slot_out, IqdbError *err)
{
	IqdbRow row = {.id = id,
				   .vector = vector,
				   .metadata = metadata_length > 0 ? metadata : NULL,
				   .metadata_length = metadata_length};

	return iqdb_index_put_row(index, &row, dim, NULL, slot_out, err);
}

IqdbStatus
iqdb_index_stage(IqdbIndex *index, IqdbId id, const void *vector, size_t dim, const IqdbColumnValues *columns,
				 IqdbStaged *staged_out, IqdbError *err)
{
	IqdbRow row = {.id = id, .vector = vector};

	IQDB_TRY(check_row(index, &row, dim, columns, err));
	return iqdb_store_stage(&index->store, index->engine, &row, columns, staged_out, err);
}

void
iqdb_index_publish(IqdbIndex *index, const IqdbStaged *staged)
{
	iqdb_store_publish(&index->store, index->engine, staged);
}

void
iqdb_index_unstage(IqdbIndex *index, const IqdbStaged *staged)
{
	iqdb_store_unstage(&index->store, staged);
}

void
iqdb_index_make_room(IqdbIndex *index, uint32_t rows)
{
	iqdb_store_make_room(&index->store, index->engine, rows);
}

IqdbStatus
iqdb_index_put_known(IqdbIndex *index, IqdbId id, IqdbError *err)
{
	IqdbRow  row = {.id = id};
	uint32_t slot;

	IQDB_TRY(iqdb_id_check(id, err));
	return iqdb_store_put(&index->store, index->engine, &row, NULL, &slot, err);
}

/* An engine was at work: what leads to rows may be something else now, also where it was interrupted. */
static void
count_rebuild(IqdbIndex *index)
{
	__atomic_fetch_add(&index->store.header->rebuilds, 1, __ATOMIC_RELEASE);
}

IqdbStatus
iqdb_index_link(IqdbIndex *index, uint32_t slot, IqdbError *err)
{
	IqdbStatus status = index->engine->link(&index->store, slot, err);

	count_rebuild(index);
	return status;
}

IqdbStatus
iqdb_index_link_pending(IqdbIndex *index, uint64_t max_rows, uint64_t *linked_out, IqdbError *err)
{
	IqdbStatus status;

	*linked_out = 0;
	status = index->engine->link_pending(&index->store, max_rows != 0 ? max_rows : UINT64_MAX, linked_out, err);
	if (*linked_out > 0 || status != IQDB_OK)
		count_rebuild(index);
	return status;
}

void
iqdb_index_remove(IqdbIndex *index, IqdbId id, bool *removed_out)
{
	bool removed = false;

	/* an empty byte string names no row */
	if (iqdb_id_check(id, NULL) == IQDB_OK)
		removed = iqdb_store_remove(&index->store, index->engine, id);
	if (removed_out != NULL)
		*removed_out = removed;
}

IqdbStatus
iqdb_index_maintain(IqdbIndex *index, IqdbMaintain what, IqdbError *err)
{
	IqdbStatus status = index->engine->maintain(&index->store, what, err);

	count_rebuild(index);
	/* what the engine did let go of is reusable even when it was interrupted */
	(void) iqdb_store_reclaim(&index->store);
	return status;
}

bool
iqdb_index_can_assist(const IqdbIndex *index)
{
	return index->engine->assist != NULL;
}

IqdbStatus
iqdb_index_assist(IqdbIndex *index, bool *worked_out, IqdbError *err)
{
	IqdbStatus status = IQDB_OK;

	*worked_out = false;
	if (iqdb_index_can_assist(index))
		status = index->engine->assist(&index->store, worked_out, err);
	if (*worked_out || status != IQDB_OK)
		count_rebuild(index);
	return status;
}

/* ---- reading ---- */

bool
iqdb_index_contains(const IqdbIndex *index, IqdbId id, bool *has_vector_out)
{
	const IqdbStore *store = &index->store;
	uint32_t         slot = IQDB_SLOT_NONE;
	bool             has_vector = false;

	if (iqdb_id_check(id, NULL) == IQDB_OK)
	{
		iqdb_store_lock(store, IQDB_LOCK_ROWS, false);
		slot = iqdb_store_find_locked(store, id);
		has_vector = slot != IQDB_SLOT_NONE && iqdb_store_state(store, slot) == IQDB_ROW_LIVE;
		iqdb_store_unlock(store, IQDB_LOCK_ROWS, false);
	}
	if (has_vector_out != NULL)
		*has_vector_out = has_vector;
	return slot != IQDB_SLOT_NONE;
}

/*
 * The slot of a LIVE row, with ROWS held shared, so that it can neither be replaced nor reclaimed; IQDB_SLOT_NONE, and no
 * lock held: there is none.
 */
static uint32_t
hold_row(const IqdbStore *store, IqdbId id)
{
	uint32_t slot;

	if (iqdb_id_check(id, NULL) != IQDB_OK)
		return IQDB_SLOT_NONE;
	iqdb_store_lock(store, IQDB_LOCK_ROWS, false);
	slot = iqdb_store_find_locked(store, id);
	if (slot != IQDB_SLOT_NONE && iqdb_store_state(store, slot) == IQDB_ROW_LIVE)
		return slot;
	iqdb_store_unlock(store, IQDB_LOCK_ROWS, false);
	return IQDB_SLOT_NONE;
}

bool
iqdb_index_get(const IqdbIndex *index, IqdbId id, void *vector_out, unsigned char *metadata_out,
			   size_t metadata_capacity, size_t *metadata_length_out)
{
	const IqdbStore     *store = &index->store;
	uint32_t             slot = hold_row(store, id);
	const unsigned char *metadata;
	size_t               length;

	*metadata_length_out = 0;
	if (slot == IQDB_SLOT_NONE)
		return false;
	metadata = iqdb_store_metadata(store, slot, metadata_length_out);
	length = *metadata_length_out < metadata_capacity ? *metadata_length_out : metadata_capacity;
	if (vector_out != NULL)
		memcpy(vector_out, iqdb_store_vector(store, slot),
			   iqdb_element_bytes(store->element, store->header->options.dimension));
	if (length > 0)
		memcpy(metadata_out, metadata, length);
	iqdb_store_unlock(store, IQDB_LOCK_ROWS, false);
	return true;
}

bool
iqdb_index_get_columns(const IqdbIndex *index, IqdbId id, IqdbColumnValues *columns_out)
{
	const IqdbStore *store = &index->store;
	uint32_t         slot = hold_row(store, id);

	if (slot == IQDB_SLOT_NONE)
		return false;
	iqdb_columns_get(&store->header->columns, store->columns, slot, columns_out);
	iqdb_store_unlock(store, IQDB_LOCK_ROWS, false);
	return true;
}

/* Ids in slots from *position to end; stops early when capacity is reached. Caller holds ROWS. */
static size_t
collect_ids(const IqdbStore *store, uint64_t *position, uint64_t end, uint64_t *ids_out, bool *has_vector_out,
			size_t capacity)
{
	size_t count = 0;

	while (*position < end && count < capacity)
	{
		uint32_t     slot = (uint32_t) (*position)++;
		IqdbRowState state = iqdb_store_state(store, slot);
		IqdbId       id;

		if (state != IQDB_ROW_LIVE && state != IQDB_ROW_KNOWN)
			continue;
		id = iqdb_store_id(store, slot);
		if (id.kind != IQDB_ID_U64)
			continue;
		ids_out[count] = id.number;
		if (has_vector_out != NULL)
			has_vector_out[count] = state == IQDB_ROW_LIVE;
		count++;
	}
	return count;
}

size_t
iqdb_index_ids(const IqdbIndex *index, uint64_t *position, uint64_t *ids_out, bool *has_vector_out, size_t capacity)
{
	const IqdbStore *store = &index->store;
	size_t           count = 0;
	bool             more = capacity > 0;

	while (more && count == 0)
	{
		uint64_t slot_count;
		uint64_t end;

		iqdb_store_lock(store, IQDB_LOCK_ROWS, false);
		slot_count = atomic_load_explicit(&store->header->slot_count, memory_order_relaxed);
		end = *position + IDS_STRETCH < slot_count ? *position + IDS_STRETCH : slot_count;
		count = collect_ids(store, position, end, ids_out, has_vector_out, capacity);
		iqdb_store_unlock(store, IQDB_LOCK_ROWS, false);
		more = *position < slot_count;
	}
	return count;
}

uint64_t
iqdb_index_version(const IqdbIndex *index)
{
	const IqdbStoreHeader *header = index->store.header;

	/* neither ever shrinks, so the sum stands still only where both do */
	return __atomic_load_n(&header->changes, __ATOMIC_ACQUIRE) + __atomic_load_n(&header->rebuilds, __ATOMIC_ACQUIRE);
}

uint64_t
iqdb_index_live_count(const IqdbIndex *index)
{
	return atomic_load_explicit(&index->store.header->live_count, memory_order_acquire);
}

/* ---- numbers ---- */

void
iqdb_index_stats(const IqdbIndex *index, IqdbIndexStats *stats_out)
{
	const IqdbStore       *store = &index->store;
	const IqdbStoreHeader *header = store->header;

	memset(stats_out, 0, sizeof(*stats_out));
	/* without ROWS, whose holder may be stopped: the numbers may be of slightly different moments */
	stats_out->options = header->options;
	stats_out->live = atomic_load_explicit(&header->live_count, memory_order_relaxed);
	stats_out->known = __atomic_load_n(&header->known_count, __ATOMIC_RELAXED);
	stats_out->dead = __atomic_load_n(&header->dead_count, __ATOMIC_RELAXED);
	stats_out->free = __atomic_load_n(&header->free_count, __ATOMIC_RELAXED);
	stats_out->memory = __atomic_load_n(&iqdb_arena_header(index->arena)->committed, __ATOMIC_RELAXED);
	stats_out->vector_file = iqdb_arena_paged_bytes(index->arena);
	stats_out->changes = __atomic_load_n(&header->changes, __ATOMIC_ACQUIRE);
	index->engine->stats(store, &stats_out->engine);
}

uint64_t
iqdb_index_estimate_memory(const IqdbIndexOptions *options, uint64_t rows)
{
	const IqdbEngine *engine = iqdb_engine_get(options->engine);
	uint64_t          per_row = iqdb_store_bytes_per_row(options);
	uint64_t          bytes;

	if (engine != NULL)
		per_row += engine->bytes_per_row(options);
	if (__builtin_mul_overflow(per_row, rows, &bytes) ||
		__builtin_add_overflow(bytes, IQDB_ARENA_HEADER_SIZE + IQDB_HEADERS_SIZE, &bytes))
		return UINT64_MAX;
	if (engine != NULL && engine->bytes_beside != NULL &&
		__builtin_add_overflow(bytes, engine->bytes_beside(options, rows), &bytes))
		return UINT64_MAX;
	return bytes;
}

uint64_t
iqdb_index_estimate_snapshot(const IqdbIndexOptions *options, uint64_t rows, bool bare)
{
	const IqdbEngine  *engine = iqdb_engine_get(options->engine);
	const IqdbElement *element = iqdb_element(options->element);
	uint64_t           bytes = SNAPSHOT_BARE_ROW;

	if (element == NULL)
		return UINT64_MAX;
	if (!bare)
		bytes = SNAPSHOT_ROW + iqdb_columns_encoded_bytes(options) + iqdb_element_bytes(element, options->dimension);
	if (__builtin_mul_overflow(bytes, rows, &bytes) ||
		__builtin_add_overflow(bytes, engine != NULL ? engine->snapshot_bytes(options, rows) : 0, &bytes))
		return UINT64_MAX;
	return bytes;
}

uint64_t
iqdb_index_estimate_vector_file(const IqdbIndexOptions *options, uint64_t rows)
{
	uint64_t bytes;

	if (__builtin_mul_overflow(iqdb_store_disk_per_row(options), rows, &bytes))
		return UINT64_MAX;
	return bytes;
}
