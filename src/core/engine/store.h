/*
 * store.h - the rows of an index: id, vector, metadata, insertion sequence, in the arena, found by slot or by id.
 *
 * The store is what every engine stands on. A row lives in a slot, a 32-bit number that never changes while the row
 * lives. Arrays by slot sit in regions of their own, so that a scan touches only what it needs:
 *
 *   SLOTS    IqdbSlot, 16 bytes: id, sequence, chain of the id map
 *   STATES   1 byte: free, known, live, dead, limbo (atomic)
 *   NORMS    float: squared norm of the vector, dot(v, v) by the kernel table in use; where keys need it
 *   VECTORS  the vector as it came (vec/element.h): 64-byte aligned rows where that costs at most an eighth, else 16-byte
 *            aligned; zero-padded
 *   BUCKETS  heads of the id map, one for two rows (linear hashing, Litwin 1980: grows bucket by bucket, no pause)
 *   BLOBS    encoded metadata, byte-string ids, and numbers that a slot has no room for
 *   COLUMNS  values to filter by (engine/columns.h), where the index has columns
 *   METADATA u64: where the row's metadata lies in BLOBS. Reaches no farther than the last row that ever had some
 *
 * VECTORS may be the arena's paged region: then vectors lie in a file that the kernel reads and evicts page by page, and all
 * else is memory. Nothing changes for a reader but the time it takes. A reader that knows beforehand which vectors it needs
 * says so (iqdb_store_prefetch), and waits for one round of reads instead of one read after the other.
 *
 * Locks (cells of the arena header), taken from outside to inside:
 *   STRUCTURE  shared by readers of rows or links, for longer than one look-up; exclusive for the instant in which
 *              dead slots become reusable. A reader that holds it shared may read every slot it can reach.
 *              A host's locks may let new readers in while a writer waits, again and again. Therefore a process that wants
 *              an exclusive hold says so in the header first, and readers that come then give way to it for a while
 *              (iqdb_store_lock_structure).
 *   ROWS       exclusive for put and remove (slot allocation, id map, counters), shared for look-up by id.
 * Neither is ever held when a function of this header returns, nor across a call out of the core.
 *
 * Life of a slot: FREE -> (put) LIVE -> (remove) DEAD -> (the engine releases it) LIMBO -> (reclaim) FREE.
 * A row is fully written before its state says LIVE (release store), METADATA has grown before as far as it must, and a
 * reader that sees LIVE sees how far. A slot that is DEAD or in LIMBO keeps its content until reclaim.
 */
#ifndef IQDB_ENGINE_STORE_H
#define IQDB_ENGINE_STORE_H

#include <stdatomic.h>

#include "core/base/arena.h"
#include "core/engine/columns.h"
#include "core/engine/options.h"
#include "core/meta/id.h"
#include "core/vec/kernels.h"

#define IQDB_SLOT_NONE UINT32_MAX
#define IQDB_SLOTS_MAX (UINT32_MAX - 1)

enum
{
	IQDB_LOCK_STRUCTURE = 0,
	IQDB_LOCK_ROWS = 1,
	IQDB_LOCK_ENGINE = 2,  /* engine's own: 2, 3 */
	IQDB_LOCK_HOST = 4     /* host's own: 4 .. IQDB_ARENA_LOCKS - 1 */
};

enum
{
	IQDB_REGION_HEADERS = 0,
	IQDB_REGION_SLOTS,
	IQDB_REGION_STATES,
	IQDB_REGION_NORMS,
	IQDB_REGION_VECTORS,
	IQDB_REGION_BUCKETS,
	IQDB_REGION_BLOBS,
	IQDB_REGION_METADATA,
	IQDB_REGION_COLUMNS,
	IQDB_REGION_HOST,   /* the host's own bytes, committed in full at format */
	IQDB_REGION_ENGINE, /* first of the engine's own */
	IQDB_ENGINE_REGIONS_MAX = IQDB_ARENA_REGIONS_MAX - IQDB_REGION_ENGINE
};

/* Region HEADERS: one page each for the store's header and the engine's. */
#define IQDB_STORE_HEADER_OFFSET 0
#define IQDB_ENGINE_HEADER_OFFSET 4096
#define IQDB_HEADERS_SIZE 8192

typedef enum IqdbRowState
{
	IQDB_ROW_FREE = 0,
	IQDB_ROW_KNOWN = 1, /* the id is known, but has no vector: never found by a search */
	IQDB_ROW_LIVE = 2,
	IQDB_ROW_DEAD = 3,  /* removed; kept until no engine and no reader can reach it */
	IQDB_ROW_LIMBO = 4  /* removed, and the engine has released it: waits to be reclaimed */
} IqdbRowState;

/*
 * What a row has beside its vector, packed. The first two do not change while the row can be seen; next does, and is for
 * holders of ROWS. Read through the functions below.
 */
typedef struct IqdbSlot
{
	uint64_t word;     /* bits 0..47 the id, 48..62 the sequence's upper bits, 63 IQDB_SLOT_BLOB */
	uint32_t sequence; /* its lower 32 bits */
	uint32_t next;     /* next slot in the id map's chain, or in the free / limbo list */
} IqdbSlot;

/* The id is no number below IQDB_SLOT_NUMBER_END: its bits are the offset of a blob, + its kind (an IqdbIdKind). */
#define IQDB_SLOT_BLOB (UINT64_C(1) << 63)
#define IQDB_SLOT_NUMBER_END (UINT64_C(1) << 48)

/* Sequences are 1 .. this: an index takes so many puts from format, what it was loaded from included. */
#define IQDB_SEQUENCE_MAX ((UINT64_C(1) << 47) - 1)

typedef struct IqdbStoreHeader
{
	IqdbIndexOptions options;
	IqdbColumnLayout columns;
	uint32_t         row_stride;   /* bytes from one vector to the next */
	_Atomic uint32_t slot_count; /* slots ever used: valid slots are below it */
	_Atomic uint32_t live_count;
	uint32_t         known_count;
	uint32_t         dead_count; /* DEAD and LIMBO */
	uint32_t         free_head;
	uint32_t         free_count;
	uint32_t         staged_count; /* FREE, but taken: rows that are put in two steps (store_write.h) */
	uint32_t         limbo_head;
	uint32_t         limbo_tail;
	uint32_t         limbo_count;
	uint32_t         ripe_count;   /* of these, at the list's head: no reader can reach them any more */
	_Atomic uint32_t room_ahead;   /* slots below it have had room in every region */
	_Atomic uint32_t has_tiny;     /* DOT: some row had iqdb_vector_has_tiny(), ever */
	_Atomic uint32_t wanted;       /* how many wait for STRUCTURE exclusively */
	uint32_t         bucket_count; /* linear hashing: buckets in use */
	uint64_t         next_sequence;
	uint64_t         changes;       /* puts and removes since format (atomic): a result cache's version */
	uint64_t         rebuilds;      /* pieces of an engine's work on its links or lists since format (atomic) */
	uint64_t         moves;         /* slots released and freed since format (atomic) */
	uint64_t         blob_end;      /* bytes of BLOBS ever used; 0 is no blob */
	uint64_t         blob_free[48]; /* heads of the free lists by size class */
} IqdbStoreHeader;

/* A process's view: pointers into its own mapping. Cheap to make, nothing to free. */
typedef struct IqdbStore
{
	IqdbArena         *arena;
	const IqdbHost    *host;
	const IqdbKernels *kernels;
	IqdbStoreHeader   *header;
	void              *engine_header; /* IQDB_HEADERS_SIZE - IQDB_ENGINE_HEADER_OFFSET bytes */
	IqdbSlot          *slots;
	_Atomic uint8_t   *states;
	float             *norms;         /* NULL where they are not kept */
	unsigned char     *vectors;
	unsigned char     *blobs;
	uint64_t          *metadata;      /* only as far as the region reaches */
	unsigned char     *columns;       /* laid out as header->columns says */
	bool               paged;         /* vectors are on disk */

	/* what the options say of a row */
	const IqdbElement        *element;
	const IqdbMetricTraits   *metric;
	const IqdbElementKernels *row_kernels;
	const IqdbSumKernels     *sum;        /* the metric's, of prepared queries and rows */
	size_t                    row_stride; /* bytes from one vector to the next */
} IqdbStore;

/* The row's vector as it is stored. */
static inline const void *
iqdb_store_vector(const IqdbStore *store, uint32_t slot)
{
	return store->vectors + (size_t) slot * store->row_stride;
}

/* The same as floats: itself, or written to buffer, which has room for as many floats as there are dimensions. */
static inline const float *
iqdb_store_floats(const IqdbStore *store, uint32_t slot, float *buffer)
{
	return iqdb_element_floats(store->kernels, store->element, iqdb_store_vector(store, slot),
							   store->header->options.dimension, buffer);
}

/* The same as a prepared query: itself, or written to buffer, which has room for iqdb_element_prepared_bytes(). */
static inline const void *
iqdb_store_query(const IqdbStore *store, uint32_t slot, void *buffer)
{
	return iqdb_element_prepare(store->kernels, store->element, iqdb_store_vector(store, slot),
								store->header->options.dimension, buffer);
}

/* The row's place in the order of insertion; ties of distance are broken by it. */
static inline uint64_t
iqdb_store_sequence(const IqdbStore *store, uint32_t slot)
{
	const IqdbSlot *row = &store->slots[slot];

	return (row->word & ~IQDB_SLOT_BLOB) >> 48 << 32 | row->sequence;
}

/* The row's id; a byte string points into the arena. Caller holds STRUCTURE shared. */
IqdbId iqdb_store_id(const IqdbStore *store, uint32_t slot);

/* The same where it is a number; 0 for a byte string. */
static inline uint64_t
iqdb_store_number(const IqdbStore *store, uint32_t slot)
{
	uint64_t word = store->slots[slot].word;

	return (word & IQDB_SLOT_BLOB) == 0 ? word & (IQDB_SLOT_NUMBER_END - 1) : iqdb_store_id(store, slot).number;
}

/* Squared norm of the row's vector: dot(v, v) by the kernel table in use. Where norms are not kept, the vector is read. */
static inline float
iqdb_store_norm2(const IqdbStore *store, uint32_t slot)
{
	if (store->norms != NULL)
		return store->norms[slot];
	return store->row_kernels->norm2(iqdb_store_vector(store, slot), store->header->options.dimension);
}

/* Squared norms of rows from this one on, for iqdb_metric_finish(); NULL where its keys need none. */
static inline const float *
iqdb_store_key_norms(const IqdbStore *store, uint32_t first)
{
	return store->norms != NULL ? store->norms + first : NULL;
}

/* The slot is about to be read. */
static inline void
iqdb_store_touch(const IqdbStore *store, uint32_t slot)
{
	__builtin_prefetch(&store->slots[slot]);
}

/* Begin to fetch the vectors of these rows, if they are on disk and seem not to be in memory. The caller does not wait. */
void iqdb_store_fetch_rows(const IqdbStore *store, const uint32_t *slots, size_t count);
void iqdb_store_fetch_range(const IqdbStore *store, uint32_t first, uint32_t count);

/* The same for callers who will read them at once. Free when vectors are in memory. */
static inline void
iqdb_store_prefetch(const IqdbStore *store, const uint32_t *slots, size_t count)
{
	if (store->paged)
		iqdb_store_fetch_rows(store, slots, count);
}

static inline void
iqdb_store_prefetch_range(const IqdbStore *store, uint32_t first, uint32_t count)
{
	if (store->paged)
		iqdb_store_fetch_range(store, first, count);
}

static inline IqdbRowState
iqdb_store_state(const IqdbStore *store, uint32_t slot)
{
	return (IqdbRowState) atomic_load_explicit(&store->states[slot], memory_order_acquire);
}

/* Is the slot's row LIVE, and the one of this sequence? Else it has gone, and the slot may be another row's. */
static inline bool
iqdb_store_holds(const IqdbStore *store, uint32_t slot, uint64_t sequence)
{
	return iqdb_store_state(store, slot) == IQDB_ROW_LIVE && iqdb_store_sequence(store, slot) == sequence;
}

/* Address of a region of the engine's own: 0 .. IQDB_ENGINE_REGIONS_MAX - 1. */
static inline void *
iqdb_store_engine_region(const IqdbStore *store, uint32_t number)
{
	return iqdb_arena_region(store->arena, IQDB_REGION_ENGINE + number);
}

/* iqdb_store_lock() for STRUCTURE. */
void iqdb_store_lock_structure(const IqdbStore *store, bool exclusive);

static inline void
iqdb_store_lock(const IqdbStore *store, uint32_t lock, bool exclusive)
{
	if (lock == IQDB_LOCK_STRUCTURE)
		iqdb_store_lock_structure(store, exclusive);
	else
		store->host->locks.acquire(store->host->locks.arg, iqdb_arena_lock(store->arena, lock), exclusive);
}

static inline void
iqdb_store_unlock(const IqdbStore *store, uint32_t lock, bool exclusive)
{
	store->host->locks.release(store->host->locks.arg, iqdb_arena_lock(store->arena, lock), exclusive);
}

/* A row's value in a column; false: it is NULL. For readers who saw the row LIVE, under STRUCTURE. */
static inline bool
iqdb_store_column(const IqdbStore *store, uint32_t column, uint32_t slot, int64_t *value_out)
{
	return iqdb_column_get(&store->header->columns, store->columns, column, slot, value_out);
}

/* Encoded metadata of a row (meta/metadata.h), NULL and 0 when it has none. Caller holds STRUCTURE shared. */
const unsigned char *iqdb_store_metadata(const IqdbStore *store, uint32_t slot, size_t *length_out);

/* Slot of a KNOWN or LIVE id, or IQDB_SLOT_NONE. Takes ROWS shared. */
uint32_t iqdb_store_find(const IqdbStore *store, IqdbId id);

/*
 * Slots of those of these numbers that are KNOWN or LIVE, in the numbers' order; returns how many. All of them are looked up
 * side by side, under one hold of ROWS shared. The caller holds STRUCTURE shared, else slots may be others' already.
 */
size_t iqdb_store_find_numbers(const IqdbStore *store, const uint64_t *numbers, size_t count, uint32_t *slots_out);

/*
 * Room for slots below count, so that what has no row there yet can be read: an engine that loads asks for it before it goes
 * beyond the slots in use. Caller holds ROWS exclusive. Errors: those of iqdb_arena_grow.
 */
IqdbStatus iqdb_store_room(IqdbStore *store, uint32_t count, IqdbError *err) IQDB_MUST_CHECK;

/*
 * Lets go of a DEAD slot: called by an engine when none of its links leads there any more. The slot waits in limbo until
 * iqdb_store_reclaim(). Takes ROWS.
 */
void iqdb_store_release(IqdbStore *store, uint32_t slot);

/* The same for a caller that holds ROWS exclusive already. false: the row is not DEAD, or was released before. */
bool iqdb_store_release_locked(IqdbStore *store, uint32_t slot);

/*
 * Makes limbo slots (and their blobs) reusable. Takes STRUCTURE exclusively for an instant, then ROWS, as often as there are
 * slots for a short hold of it. Returns how many.
 */
uint32_t iqdb_store_reclaim(IqdbStore *store);

/*
 * To be called without any lock held, before rows are put (iqdb_store_make_room does) and after many were
 * removed: where many removed slots wait, puts may take them from here on. Takes STRUCTURE exclusively for an instant,
 * then ROWS, or nothing at all.
 */
void iqdb_store_tidy(IqdbStore *store);

#endif
