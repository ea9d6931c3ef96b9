/*
 * store.c - the row store: slots, their life, and the fixed-width part of a row.
 *
 * Owns: the regions HEADERS, SLOTS, STATES, NORMS, VECTORS, METADATA and the counters. Their sizes, and how a store begins,
 * are in store_shape.c, the id map is in store_map.c, byte strings are in store_blob.c, verification in store_check.c. Does
 * not own: what a search needs beside the rows (engines).
 *
 * Every change happens under ROWS. What readers without ROWS look at is ordered by the state byte: a row is complete
 * before its state says LIVE, and a slot is rewritten only after an instant of exclusive STRUCTURE since it died.
 */
#define _POSIX_C_SOURCE 200809L
#include "core/engine/store_private.h"

#include <string.h>
#include <time.h>

#include "core/engine/spin.h"

/* Removed slots are made reusable before a put when so many wait, and they are a share of all slots. */
#define RECLAIM_MIN 64
#define RECLAIM_SHARE 8

/* Slots that are freed in one hold of ROWS; and by a put that needs one. */
#define RECLAIM_BATCH 1024u
#define RECLAIM_FEW 16u

/* Room is made ahead for such a share of the rows there are, but for no more than so many: other writers put, too. */
#define AHEAD_SHARE 32u
#define AHEAD_MAX 64u

/* Slots whose pages on disk are made ready before rows are put. */
#define TOUCH_MAX 64u

/* How long a reader gives way to a process that wants STRUCTURE exclusively: so many naps of so many nanoseconds at most. */
#define GIVE_WAY_NAPS 64
#define GIVE_WAY_NAP 20000

/* Rows that are looked at to tell whether a batch is in memory. */
#define FETCH_PROBES 8

/* ---- locks ---- */

/*
 * Waits until no process wants STRUCTURE exclusively, but no longer than the readers of today may hold it, and a little more:
 * a process that has not got it by then may be stopped, and must not stop all readers.
 */
static void
give_way(const _Atomic uint32_t *wanted)
{
	const struct timespec nap = {0, GIVE_WAY_NAP};
	uint32_t              spins = 0;

	while (atomic_load_explicit(wanted, memory_order_relaxed) != 0 && spins < IQDB_SPINS_MAX - 1)
		iqdb_spin(&spins);
	for (int i = 0; i < GIVE_WAY_NAPS && atomic_load_explicit(wanted, memory_order_relaxed) != 0; i++)
		(void) nanosleep(&nap, NULL);
}

void
iqdb_store_lock_structure(const IqdbStore *store, bool exclusive)
{
	const IqdbLockOps *locks = &store->host->locks;
	_Atomic uint32_t  *wanted = &store->header->wanted;

	if (exclusive)
		atomic_fetch_add_explicit(wanted, 1, memory_order_relaxed);
	else if (atomic_load_explicit(wanted, memory_order_relaxed) != 0)
		give_way(wanted);
	locks->acquire(locks->arg, iqdb_arena_lock(store->arena, IQDB_LOCK_STRUCTURE), exclusive);
	if (exclusive)
		atomic_fetch_sub_explicit(wanted, 1, memory_order_relaxed);
}

/* ---- looking ---- */

const unsigned char *
iqdb_store_metadata(const IqdbStore *store, uint32_t slot, size_t *length_out)
{
	uint64_t             offset = iqdbi_metadata_offset(store, slot);
	uint32_t             length;
	const unsigned char *bytes;

	*length_out = 0;
	if (offset == 0)
		return NULL;
	bytes = iqdbi_blob_bytes(store, offset, &length);
	*length_out = length;
	return bytes;
}

IqdbId
iqdb_store_id(const IqdbStore *store, uint32_t slot)
{
	const IqdbSlot      *row = &store->slots[slot];
	IqdbIdKind           kind;
	uint64_t             offset = iqdbi_slot_blob(row, &kind);
	uint64_t             number;
	const unsigned char *bytes;
	uint32_t             length;

	if (offset == 0)
		return iqdb_id_u64(row->word & (IQDB_SLOT_NUMBER_END - 1));
	bytes = iqdbi_blob_bytes(store, offset, &length);
	if (kind == IQDB_ID_BYTES)
		return iqdb_id_bytes(bytes, length);
	memcpy(&number, bytes, sizeof(number));
	return iqdb_id_u64(number);
}

uint32_t
iqdb_store_find_locked(const IqdbStore *store, IqdbId id)
{
	return iqdbi_map_find(store, id, iqdb_id_hash(id));
}

uint32_t
iqdb_store_find(const IqdbStore *store, IqdbId id)
{
	uint64_t hash = iqdb_id_hash(id);
	uint32_t slot;

	iqdb_store_lock(store, IQDB_LOCK_ROWS, false);
	slot = iqdbi_map_find(store, id, hash);
	iqdb_store_unlock(store, IQDB_LOCK_ROWS, false);
	return slot;
}

/* ---- vectors on disk ---- */

/* Looking at a few costs less than asking for all, and tells when much is missing. */
void
iqdb_store_fetch_rows(const IqdbStore *store, const uint32_t *slots, size_t count)
{
	size_t size = iqdb_element_bytes(store->element, store->header->options.dimension);
	size_t step = count > FETCH_PROBES ? count / FETCH_PROBES : 1;
	size_t at = 0;

	if (count < 2 || !iqdb_arena_uneasy(store->arena))
		return;
	while (at < count && iqdb_arena_resident(iqdb_store_vector(store, slots[at]), size))
		at += step;
	iqdb_arena_calm(store->arena, at >= count);
	if (at >= count)
		return;
	for (size_t i = 0; i < count; i++)
		iqdb_arena_prefetch(iqdb_store_vector(store, slots[i]), size);
}

void
iqdb_store_fetch_range(const IqdbStore *store, uint32_t first, uint32_t count)
{
	size_t   size = store->row_stride;
	uint32_t step = count > FETCH_PROBES ? count / FETCH_PROBES : 1;
	uint32_t at = 0;

	while (at < count && iqdb_arena_resident(iqdb_store_vector(store, first + at), size))
		at += step;
	if (at < count)
		iqdb_arena_prefetch(iqdb_store_vector(store, first), count * size);
}

/* ---- dead slots ---- */

static void
count_move(IqdbStore *store)
{
	__atomic_fetch_add(&store->header->moves, 1, __ATOMIC_RELEASE);
}

bool
iqdb_store_release_locked(IqdbStore *store, uint32_t slot)
{
	IqdbStoreHeader *header = store->header;

	if (iqdb_store_state(store, slot) != IQDB_ROW_DEAD)
		return false;
	atomic_store_explicit(&store->states[slot], IQDB_ROW_LIMBO, memory_order_release);
	store->slots[slot].next = IQDB_SLOT_NONE;
	if (header->limbo_tail == IQDB_SLOT_NONE)
		header->limbo_head = slot;
	else
		store->slots[header->limbo_tail].next = slot;
	header->limbo_tail = slot;
	__atomic_store_n(&header->limbo_count, header->limbo_count + 1, __ATOMIC_RELAXED);
	count_move(store);
	return true;
}

void
iqdb_store_release(IqdbStore *store, uint32_t slot)
{
	iqdb_store_lock(store, IQDB_LOCK_ROWS, true);
	iqdb_store_release_locked(store, slot);
	iqdb_store_unlock(store, IQDB_LOCK_ROWS, true);
}

/* A place other than 0 needs a region that reaches so far. */
static void
set_metadata(IqdbStore *store, uint32_t slot, uint64_t offset)
{
	if (offset != 0 || iqdbi_metadata_offset(store, slot) != 0)
		store->metadata[slot] = offset;
}

static void
push_free(IqdbStore *store, uint32_t slot)
{
	atomic_store_explicit(&store->states[slot], IQDB_ROW_FREE, memory_order_relaxed);
	set_metadata(store, slot, 0);
	store->slots[slot] = (IqdbSlot){.next = store->header->free_head};
	store->header->free_head = slot;
	store->header->free_count++;
}

/* Frees up to `most` slots that no reader can reach. ROWS is held. Returns how many. */
static uint32_t
free_ripe(IqdbStore *store, uint32_t most)
{
	IqdbStoreHeader *header = store->header;
	uint32_t         count = header->ripe_count < most ? header->ripe_count : most;

	for (uint32_t i = 0; i < count; i++)
	{
		uint32_t   slot = header->limbo_head;
		IqdbIdKind kind;

		header->limbo_head = store->slots[slot].next;
		iqdbi_blob_free(store, iqdbi_slot_blob(&store->slots[slot], &kind));
		iqdbi_blob_free(store, iqdbi_metadata_offset(store, slot));
		push_free(store, slot);
	}
	if (header->limbo_head == IQDB_SLOT_NONE)
		header->limbo_tail = IQDB_SLOT_NONE;
	header->ripe_count -= count;
	header->dead_count -= count;
	__atomic_store_n(&header->limbo_count, header->limbo_count - count, __ATOMIC_RELAXED);
	if (count > 0)
		count_move(store);
	return count;
}

uint32_t
iqdb_store_reclaim(IqdbStore *store)
{
	uint32_t total = 0;
	uint32_t count;

	iqdb_store_lock(store, IQDB_LOCK_STRUCTURE, true);
	iqdb_store_lock(store, IQDB_LOCK_ROWS, true);
	/* a reader that begins from here on cannot reach these slots, because they were in LIMBO before it began */
	store->header->ripe_count = store->header->limbo_count;
	iqdb_store_unlock(store, IQDB_LOCK_STRUCTURE, true);
	while ((count = free_ripe(store, RECLAIM_BATCH)) > 0)
	{
		total += count;
		iqdb_store_unlock(store, IQDB_LOCK_ROWS, true);
		iqdb_store_lock(store, IQDB_LOCK_ROWS, true);
	}
	iqdb_store_unlock(store, IQDB_LOCK_ROWS, true);
	return total;
}

/* The figures may be stale: only the moment depends on them. */
void
iqdb_store_tidy(IqdbStore *store)
{
	uint32_t limbo = __atomic_load_n(&store->header->limbo_count, __ATOMIC_RELAXED);

	if (limbo >= RECLAIM_MIN &&
		limbo >= atomic_load_explicit(&store->header->slot_count, memory_order_relaxed) / RECLAIM_SHARE)
		(void) iqdb_store_reclaim(store);
}

/* ---- room ---- */

/* Bytes of each of the store's regions by slot, for slots below count. */
typedef struct RoomNeeded
{
	uint32_t region;
	uint64_t bytes;
} RoomNeeded;

#define ROOM_REGIONS 5

static void
room_needed(const IqdbStore *store, uint32_t count, RoomNeeded needed_out[ROOM_REGIONS])
{
	uint64_t slots = count;

	needed_out[0] = (RoomNeeded){IQDB_REGION_SLOTS, slots * sizeof(IqdbSlot)};
	/* readers look at eight states at a time */
	needed_out[1] = (RoomNeeded){IQDB_REGION_STATES, (slots + 7) / 8 * 8};
	needed_out[2] = (RoomNeeded){IQDB_REGION_NORMS, slots * iqdbi_norm_bytes(&store->header->options)};
	needed_out[3] = (RoomNeeded){IQDB_REGION_VECTORS, slots * store->row_stride};
	needed_out[4] = (RoomNeeded){IQDB_REGION_COLUMNS, iqdb_columns_region_bytes(&store->header->options, slots)};
}

IqdbStatus
iqdb_store_room(IqdbStore *store, uint32_t count, IqdbError *err)
{
	RoomNeeded needed[ROOM_REGIONS];

	room_needed(store, count, needed);
	for (int i = 0; i < ROOM_REGIONS; i++)
		IQDB_TRY(iqdb_arena_grow(store->arena, needed[i].region, needed[i].bytes, err));
	return IQDB_OK;
}

/*
 * Slots below count will be needed. Files grow under no lock at all: a disk may take its time. The engine's regions, which
 * are memory, and which it may be about to give back, grow under ROWS.
 */
static void
room_ahead(IqdbStore *store, const IqdbEngine *engine, uint32_t count)
{
	RoomNeeded needed[ROOM_REGIONS];
	IqdbStatus status;

	room_needed(store, count, needed);
	for (int i = 0; i < ROOM_REGIONS; i++)
		iqdb_arena_grow_ahead(store->arena, needed[i].region, needed[i].bytes);
	iqdb_arena_grow_ahead(store->arena, IQDB_REGION_BUCKETS, ((uint64_t) count / IQDBI_BUCKET_ROWS + 1) * sizeof(uint32_t));
	iqdb_store_lock(store, IQDB_LOCK_ROWS, true);
	status = engine->reserve(store, count, NULL);
	iqdb_store_unlock(store, IQDB_LOCK_ROWS, true);
	if (status == IQDB_OK)
		atomic_store_explicit(&store->header->room_ahead, count, memory_order_relaxed);
}

/* The slots that the next puts will probably take. Returns how many, at most `most`. ROWS is held exclusively. */
static uint32_t
next_slots(IqdbStore *store, uint32_t *slots_out, uint32_t most)
{
	uint32_t fresh = atomic_load_explicit(&store->header->slot_count, memory_order_relaxed);
	uint32_t slot;
	uint32_t count = 0;

	if (store->header->free_count < most)
		(void) free_ripe(store, most);
	for (slot = store->header->free_head; slot != IQDB_SLOT_NONE && count < most; slot = store->slots[slot].next)
		slots_out[count++] = slot;
	while (count < most)
		slots_out[count++] = fresh++;
	return count;
}

/* Has the pages ready that the vectors of the next rows will be written to. */
static void
touch_next(IqdbStore *store, uint32_t rows)
{
	uint64_t room = iqdb_arena_paged_bytes(store->arena) / store->row_stride;
	uint32_t slots[TOUCH_MAX];
	uint32_t count;

	iqdb_store_lock(store, IQDB_LOCK_ROWS, true);
	count = next_slots(store, slots, rows < TOUCH_MAX ? rows : TOUCH_MAX);
	iqdb_store_unlock(store, IQDB_LOCK_ROWS, true);
	for (uint32_t i = 0; i < count; i++)
	{
		if (slots[i] < room)
			iqdb_arena_touch(iqdb_store_vector(store, slots[i]), store->row_stride);
	}
}

/* The figures may be stale: whatever is missing then is made up for by the put. */
void
iqdb_store_make_room(IqdbStore *store, const IqdbEngine *engine, uint32_t rows)
{
	const IqdbStoreHeader *header = store->header;
	uint64_t               used = atomic_load_explicit(&header->slot_count, memory_order_relaxed);
	uint64_t               spare = used / AHEAD_SHARE < AHEAD_MAX ? used / AHEAD_SHARE : AHEAD_MAX;
	uint64_t               count = used + rows + spare;

	iqdb_store_tidy(store);
	if (rows == 0)
		return;
	if (__atomic_load_n(&header->free_count, __ATOMIC_RELAXED) < rows && count < IQDB_SLOTS_MAX &&
		used + rows + spare / 2 > atomic_load_explicit(&header->room_ahead, memory_order_relaxed))
		room_ahead(store, engine, (uint32_t) count);
	if (store->paged)
		touch_next(store, rows);
}

/* ---- writing ---- */

/* Room for slots below count in every region. */
static IqdbStatus
grow_regions(IqdbStore *store, const IqdbEngine *engine, uint32_t count, IqdbError *err)
{
	IQDB_TRY(iqdb_store_room(store, count, err));
	return engine->reserve(store, count, err);
}

/* The slot the next row goes to; it is not taken yet. */
static IqdbStatus
next_slot(IqdbStore *store, const IqdbEngine *engine, uint32_t *slot_out, IqdbError *err)
{
	uint32_t count = atomic_load_explicit(&store->header->slot_count, memory_order_relaxed);

	if (store->header->free_head == IQDB_SLOT_NONE)
		(void) free_ripe(store, RECLAIM_FEW);
	if (store->header->free_head != IQDB_SLOT_NONE)
	{
		*slot_out = store->header->free_head;
		return IQDB_OK;
	}
	*slot_out = count;
	if (count >= IQDB_SLOTS_MAX)
		return iqdb_fail(err, IQDB_ERR_LIMIT, "an index has at most %u rows", (unsigned) IQDB_SLOTS_MAX);
	return grow_regions(store, engine, count + 1, err);
}

static void
take_slot(IqdbStore *store, uint32_t slot)
{
	IqdbStoreHeader *header = store->header;

	if (slot == header->free_head)
	{
		header->free_head = store->slots[slot].next;
		header->free_count--;
		return;
	}
	/* bytes of a new slot may be left over from a failed load: say FREE before the slot counts */
	atomic_store_explicit(&store->states[slot], IQDB_ROW_FREE, memory_order_relaxed);
	atomic_store_explicit(&header->slot_count, slot + 1, memory_order_release);
}

static IqdbStatus
put_id(IqdbStore *store, IqdbId id, uint64_t *offset_out, IqdbError *err)
{
	*offset_out = 0;
	if (iqdbi_id_fits(id))
		return IQDB_OK;
	if (id.kind == IQDB_ID_BYTES)
		return iqdbi_blob_put(store, id.bytes, id.length, offset_out, err);
	return iqdbi_blob_put(store, (const unsigned char *) &id.number, sizeof(id.number), offset_out, err);
}

/* What a row in this slot keeps elsewhere. */
static IqdbStatus
put_blobs(IqdbStore *store, uint32_t slot, const IqdbRow *row, IqdbRowBlobs *blobs_out, IqdbError *err)
{
	IqdbStatus status;

	blobs_out->metadata = 0;
	if (row->metadata_length > 0)
		IQDB_TRY(iqdb_arena_grow(store->arena, IQDB_REGION_METADATA, ((uint64_t) slot + 1) * sizeof(uint64_t), err));
	IQDB_TRY(put_id(store, row->id, &blobs_out->id, err));
	if (row->metadata_length == 0)
		return IQDB_OK;
	status = iqdbi_blob_put(store, row->metadata, row->metadata_length, &blobs_out->metadata, err);
	if (status != IQDB_OK)
		iqdbi_blob_free(store, blobs_out->id);
	return status;
}

/* Copies vector and columns into a slot that no reader looks at yet. Needs no lock. */
static void
fill_slot(IqdbStore *store, const IqdbRow *row, const IqdbColumnValues *columns, const IqdbStaged *staged)
{
	size_t         bytes = iqdb_element_bytes(store->element, store->header->options.dimension);
	unsigned char *vector = store->vectors + (size_t) staged->slot * store->row_stride;

	if (store->norms != NULL)
		store->norms[staged->slot] = staged->norm;
	if (row->vector == NULL)
	{
		memset(vector, 0, store->row_stride);
		return;
	}
	if (store->header->columns.count > 0)
		iqdb_columns_set(&store->header->columns, store->columns, staged->slot, columns);
	memcpy(vector, row->vector, bytes);
	if (store->row_stride > bytes)
		memset(vector + bytes, 0, store->row_stride - bytes);
}

/* The row in the slot gets its id and its place in the order of insertion. ROWS is held exclusively. */
static void
name_slot(IqdbStore *store, const IqdbStaged *staged, uint64_t sequence)
{
	IqdbSlot *slot = &store->slots[staged->slot];
	uint64_t  id = staged->blobs.id != 0 ? IQDB_SLOT_BLOB | (staged->blobs.id + staged->id.kind) : staged->id.number;

	slot->word = id | sequence >> 32 << 48;
	slot->sequence = (uint32_t) sequence;
	set_metadata(store, staged->slot, staged->blobs.metadata);
}

/* The row is found by id and by searches from here on. */
static void
show_row(IqdbStore *store, const IqdbEngine *engine, uint32_t slot, bool has_vector)
{
	IqdbStoreHeader *header = store->header;

	if (!has_vector)
	{
		header->known_count++;
		atomic_store_explicit(&store->states[slot], IQDB_ROW_KNOWN, memory_order_release);
		return;
	}
	if (engine->prepare != NULL)
		engine->prepare(store, slot);
	atomic_fetch_add_explicit(&header->live_count, 1, memory_order_relaxed);
	atomic_store_explicit(&store->states[slot], IQDB_ROW_LIVE, memory_order_release);
	engine->added(store, slot);
}

/* The row leaves the map and dies. */
static void
retire(IqdbStore *store, const IqdbEngine *engine, uint32_t slot, uint64_t hash)
{
	IqdbStoreHeader *header = store->header;
	bool             live = iqdb_store_state(store, slot) == IQDB_ROW_LIVE;

	iqdbi_map_remove(store, slot, hash);
	atomic_store_explicit(&store->states[slot], IQDB_ROW_DEAD, memory_order_release);
	header->dead_count++;
	if (live)
	{
		atomic_fetch_sub_explicit(&header->live_count, 1, memory_order_relaxed);
		engine->removed(store, slot);
	}
	else
	{
		/* no engine ever saw it */
		header->known_count--;
		iqdb_store_release_locked(store, slot);
	}
}

static void
count_change(IqdbStore *store)
{
	__atomic_fetch_add(&store->header->changes, 1, __ATOMIC_RELEASE);
}

/* Before anybody sees the row. What it tells, engine/keys.c wants to know. */
static void
note_tiny(IqdbStore *store, const void *vector)
{
	IqdbStoreHeader *header = store->header;

	if (vector != NULL && store->metric->form == IQDB_KEY_NEGATED &&
		atomic_load_explicit(&header->has_tiny, memory_order_relaxed) == 0 &&
		iqdb_element_has_tiny(store->element, vector, header->options.dimension))
		atomic_store_explicit(&header->has_tiny, 1, memory_order_relaxed);
}

/* What NORMS is to hold. */
static float
norm_of(const IqdbStore *store, const void *vector)
{
	if (vector == NULL || store->norms == NULL)
		return 0.0f;
	return store->row_kernels->norm2(vector, store->header->options.dimension);
}

/* What a row takes that no lock is needed for. */
static void
prepare_row(IqdbStore *store, const IqdbRow *row, IqdbStaged *staged_out)
{
	*staged_out = (IqdbStaged){.id = row->id,
							   .hash = iqdb_id_hash(row->id),
							   .norm = norm_of(store, row->vector),
							   .slot = IQDB_SLOT_NONE,
							   .has_vector = row->vector != NULL};
	note_tiny(store, row->vector);
}

/* Takes a slot, and room for what the row keeps elsewhere. On failure nothing is taken. ROWS is held exclusively. */
static IqdbStatus
take_place(IqdbStore *store, const IqdbEngine *engine, const IqdbRow *row, IqdbStaged *staged, IqdbError *err)
{
	uint32_t slot;

	if (store->header->next_sequence > IQDB_SEQUENCE_MAX)
		return iqdb_fail(err, IQDB_ERR_LIMIT, "an index takes at most %llu rows in its life; a new one goes on",
						 (unsigned long long) IQDB_SEQUENCE_MAX);
	IQDB_TRY(next_slot(store, engine, &slot, err));
	IQDB_TRY(put_blobs(store, slot, row, &staged->blobs, err));
	take_slot(store, slot);
	staged->slot = slot;
	return IQDB_OK;
}

/* The row takes its id from whichever row had it, and is found from here on. Cannot fail. ROWS is held exclusively. */
static void
publish_locked(IqdbStore *store, const IqdbEngine *engine, const IqdbStaged *staged)
{
	uint32_t old = iqdbi_map_find(store, staged->id, staged->hash);

	name_slot(store, staged, store->header->next_sequence++);
	if (old != IQDB_SLOT_NONE)
		retire(store, engine, old, staged->hash);
	else
		iqdbi_map_grow(store);
	iqdbi_map_insert(store, staged->slot, staged->hash);
	show_row(store, engine, staged->slot, staged->has_vector);
	count_change(store);
}

/* There was no room: removed slots that wait, few as they may be, are room. Is it worth another attempt? */
static bool
makes_room(IqdbStore *store, IqdbStatus status)
{
	return (status == IQDB_ERR_LIMIT || status == IQDB_ERR_NO_SPACE || status == IQDB_ERR_NOMEM) &&
		   iqdb_store_reclaim(store) > 0;
}

IqdbStatus
iqdb_store_put(IqdbStore *store, const IqdbEngine *engine, const IqdbRow *row, const IqdbColumnValues *columns,
			   uint32_t *slot_out, IqdbError *err)
{
	IqdbStaged staged;
	IqdbStatus status;

	prepare_row(store, row, &staged);
	do
	{
		iqdb_store_lock(store, IQDB_LOCK_ROWS, true);
		status = take_place(store, engine, row, &staged, err);
		if (status == IQDB_OK)
		{
			fill_slot(store, row, columns, &staged);
			publish_locked(store, engine, &staged);
		}
		iqdb_store_unlock(store, IQDB_LOCK_ROWS, true);
	} while (makes_room(store, status));
	*slot_out = staged.slot;
	return status;
}

IqdbStatus
iqdb_store_stage(IqdbStore *store, const IqdbEngine *engine, const IqdbRow *row, const IqdbColumnValues *columns,
				 IqdbStaged *staged_out, IqdbError *err)
{
	IqdbStatus status;

	prepare_row(store, row, staged_out);
	do
	{
		iqdb_store_lock(store, IQDB_LOCK_ROWS, true);
		status = take_place(store, engine, row, staged_out, err);
		if (status == IQDB_OK)
		{
			store->header->staged_count++;
			count_change(store);
		}
		iqdb_store_unlock(store, IQDB_LOCK_ROWS, true);
	} while (makes_room(store, status));
	if (status == IQDB_OK)
		fill_slot(store, row, columns, staged_out);
	return status;
}

void
iqdb_store_publish(IqdbStore *store, const IqdbEngine *engine, const IqdbStaged *staged)
{
	iqdb_store_lock(store, IQDB_LOCK_ROWS, true);
	store->header->staged_count--;
	publish_locked(store, engine, staged);
	iqdb_store_unlock(store, IQDB_LOCK_ROWS, true);
}

void
iqdb_store_unstage(IqdbStore *store, const IqdbStaged *staged)
{
	iqdb_store_lock(store, IQDB_LOCK_ROWS, true);
	store->header->staged_count--;
	iqdbi_blob_free(store, staged->blobs.id);
	iqdbi_blob_free(store, staged->blobs.metadata);
	push_free(store, staged->slot);
	count_change(store);
	iqdb_store_unlock(store, IQDB_LOCK_ROWS, true);
}

bool
iqdb_store_remove(IqdbStore *store, const IqdbEngine *engine, IqdbId id)
{
	uint64_t hash = iqdb_id_hash(id);
	uint32_t slot;

	iqdb_store_lock(store, IQDB_LOCK_ROWS, true);
	slot = iqdbi_map_find(store, id, hash);
	if (slot != IQDB_SLOT_NONE)
	{
		retire(store, engine, slot, hash);
		count_change(store);
	}
	iqdb_store_unlock(store, IQDB_LOCK_ROWS, true);
	return slot != IQDB_SLOT_NONE;
}

/* ---- loading ---- */

/* Slots from slot_count up to end become FREE ones; what links them is left to load_finish. */
static IqdbStatus
load_gap(IqdbStore *store, const IqdbEngine *engine, uint32_t end, IqdbError *err)
{
	uint32_t count = atomic_load_explicit(&store->header->slot_count, memory_order_relaxed);

	if (count >= end)
		return IQDB_OK;
	IQDB_TRY(grow_regions(store, engine, end, err));
	for (uint32_t slot = count; slot < end; slot++)
		atomic_store_explicit(&store->states[slot], IQDB_ROW_FREE, memory_order_relaxed);
	atomic_store_explicit(&store->header->slot_count, end, memory_order_release);
	return IQDB_OK;
}

IqdbStatus
iqdb_store_load_row(IqdbStore *store, const IqdbEngine *engine, uint32_t slot, uint64_t sequence, const IqdbRow *row,
					const IqdbColumnValues *columns, IqdbError *err)
{
	IqdbStaged staged;
	IqdbStatus status;

	prepare_row(store, row, &staged);
	staged.slot = slot;
	iqdb_store_lock(store, IQDB_LOCK_ROWS, true);
	if (slot >= IQDB_SLOTS_MAX || slot < atomic_load_explicit(&store->header->slot_count, memory_order_relaxed))
		status = iqdb_fail(err, IQDB_ERR_CORRUPT, "slot numbers do not ascend");
	else if (iqdbi_map_find(store, row->id, staged.hash) != IQDB_SLOT_NONE)
		status = iqdb_fail(err, IQDB_ERR_CORRUPT, "an id occurs twice");
	else
		status = load_gap(store, engine, slot + 1, err);
	if (status == IQDB_OK)
		status = put_blobs(store, slot, row, &staged.blobs, err);
	if (status == IQDB_OK)
	{
		IqdbStoreHeader *header = store->header;

		fill_slot(store, row, columns, &staged);
		name_slot(store, &staged, sequence);
		iqdbi_map_grow(store);
		iqdbi_map_insert(store, slot, staged.hash);
		if (row->vector != NULL)
			atomic_fetch_add_explicit(&header->live_count, 1, memory_order_relaxed);
		else
			header->known_count++;
		atomic_store_explicit(&store->states[slot], row->vector != NULL ? IQDB_ROW_LIVE : IQDB_ROW_KNOWN,
							  memory_order_release);
	}
	iqdb_store_unlock(store, IQDB_LOCK_ROWS, true);
	return status;
}

IqdbStatus
iqdb_store_load_content(IqdbStore *store, uint32_t slot, const void *vector, const IqdbColumnValues *columns,
						IqdbError *err)
{
	IqdbRow    row = {.vector = vector};
	IqdbStaged staged;
	bool       known;

	prepare_row(store, &row, &staged);
	staged.slot = slot;
	iqdb_store_lock(store, IQDB_LOCK_ROWS, true);
	known = slot < atomic_load_explicit(&store->header->slot_count, memory_order_relaxed) &&
			iqdb_store_state(store, slot) == IQDB_ROW_KNOWN;
	if (known)
	{
		fill_slot(store, &row, columns, &staged);
		store->header->known_count--;
		atomic_fetch_add_explicit(&store->header->live_count, 1, memory_order_relaxed);
		atomic_store_explicit(&store->states[slot], IQDB_ROW_LIVE, memory_order_release);
		count_change(store);
	}
	iqdb_store_unlock(store, IQDB_LOCK_ROWS, true);
	return known ? IQDB_OK : iqdb_fail(err, IQDB_ERR_STATE, "slot %u holds no row that waits for its vector", slot);
}

void
iqdb_store_load_finish(IqdbStore *store, uint64_t next_sequence)
{
	iqdb_store_lock(store, IQDB_LOCK_ROWS, true);
	/* from the last to the first: the list then gives slots out in ascending order */
	for (uint32_t slot = atomic_load_explicit(&store->header->slot_count, memory_order_relaxed); slot-- > 0;)
	{
		if (iqdb_store_state(store, slot) == IQDB_ROW_FREE)
			push_free(store, slot);
	}
	store->header->next_sequence = next_sequence;
	count_change(store);
	iqdb_store_unlock(store, IQDB_LOCK_ROWS, true);
}
