/*
 * store_write.h - what an index does with its store: make it, put rows in, take them out, load and check it.
 *
 * Engines do not include this header: to them rows come and go through added() and removed(). All functions take the
 * locks they need themselves, in the order of store.h, unless they say otherwise.
 */
#ifndef IQDB_ENGINE_STORE_WRITE_H
#define IQDB_ENGINE_STORE_WRITE_H

#include "core/engine/engine.h"

/* Bytes from one row's vector to the next. */
uint32_t iqdb_store_stride(const IqdbIndexOptions *options);

/* Bytes of memory per row, without metadata and byte-string ids; of a row's vector, where it lies on disk (else 0). */
uint64_t iqdb_store_bytes_per_row(const IqdbIndexOptions *options);
uint64_t iqdb_store_disk_per_row(const IqdbIndexOptions *options);

/*
 * Reserves of the regions below IQDB_REGION_ENGINE for at most memory_max bytes in use, when the engine takes engine_bytes of
 * memory per row. Returns the number of slots they have room for.
 */
uint64_t iqdb_store_reserves(const IqdbIndexOptions *options, uint64_t engine_bytes, uint64_t memory_max,
							 uint64_t host_reserve, uint64_t reserves_out[IQDB_REGION_ENGINE]);

/* A view of the store in an arena whose header is good. host and kernels must outlive it. */
void iqdb_store_view(IqdbStore *store_out, IqdbArena *arena, const IqdbHost *host, const IqdbKernels *kernels);

/* Fills the header and commits what an empty store needs. The store is a view of a freshly formatted arena. */
IqdbStatus iqdb_store_format(IqdbStore *store, const IqdbIndexOptions *options, uint64_t host_bytes,
							 IqdbError *err) IQDB_MUST_CHECK;

/* Checks a header that some process formatted: IQDB_ERR_CORRUPT. */
IqdbStatus iqdb_store_check_header(const IqdbStore *store, IqdbError *err) IQDB_MUST_CHECK;

/*
 * Insert or replace. Vector, metadata and columns of the row were checked by the caller; a vector that is NULL makes it
 * KNOWN, columns that are NULL are NULL all of them. On failure nothing has changed. *slot_out = the row's new slot. Takes
 * ROWS; only where there is no room and removed slots wait, STRUCTURE before, to reclaim them. See iqdb_store_make_room().
 * Errors: IQDB_ERR_LIMIT, IQDB_ERR_NO_SPACE, IQDB_ERR_NOMEM, those of the engine's reserve().
 */
IqdbStatus iqdb_store_put(IqdbStore *store, const IqdbEngine *engine, const IqdbRow *row, const IqdbColumnValues *columns,
						  uint32_t *slot_out, IqdbError *err) IQDB_MUST_CHECK;

/* Where in BLOBS a row's byte string or large number, and its metadata, are; 0: it has none. */
typedef struct IqdbRowBlobs
{
	uint64_t id;
	uint64_t metadata;
} IqdbRowBlobs;

/* A row that has its slot, and that no reader sees yet. */
typedef struct IqdbStaged
{
	IqdbId       id; /* a byte string must live until the row is published */
	uint64_t     hash;
	IqdbRowBlobs blobs;
	uint32_t     slot;
	float        norm;
	bool         has_vector;
} IqdbStaged;

/*
 * iqdb_store_put() in two steps, for a host that publishes rows under a lock which all writers want: all that can fail, or
 * takes time, is done by the first, under no lock of the host's. Whoever stages a row publishes it, or takes it back; a
 * staged row is in no snapshot, and its slot is lost to the arena if its owner vanishes.
 */
IqdbStatus iqdb_store_stage(IqdbStore *store, const IqdbEngine *engine, const IqdbRow *row,
							const IqdbColumnValues *columns, IqdbStaged *staged_out, IqdbError *err) IQDB_MUST_CHECK;
void       iqdb_store_publish(IqdbStore *store, const IqdbEngine *engine, const IqdbStaged *staged);
void       iqdb_store_unstage(IqdbStore *store, const IqdbStaged *staged);

/*
 * To be called before so many rows are put, without any lock held: a put may run under locks of the host's that all
 * writers need. Tidies, makes room for the rows, and for some more that other writers put at the same time, and has
 * the pages ready that vectors on disk will be written to. The puts then touch memory only, unless there is no room,
 * or many others come first, or they bring metadata or byte strings. Takes ROWS for an instant, and for as long as
 * the engine's regions take to grow by a step.
 */
void iqdb_store_make_room(IqdbStore *store, const IqdbEngine *engine, uint32_t rows);

/* Forgets a KNOWN or LIVE id. false when there is none. */
bool iqdb_store_remove(IqdbStore *store, const IqdbEngine *engine, IqdbId id);

/* The store's own view of an id; the caller holds ROWS (shared is enough). */
uint32_t iqdb_store_find_locked(const IqdbStore *store, IqdbId id);

/* ---- loading: runs alone, on a store just formatted ---- */

/*
 * Puts a row into a slot of its own: slot numbers ascend from call to call, gaps become free slots at the end. The
 * engine is asked for room and nothing else. Errors: IQDB_ERR_CORRUPT (the id is there already, or the slot number is
 * none), and those of put.
 */
IqdbStatus iqdb_store_load_row(IqdbStore *store, const IqdbEngine *engine, uint32_t slot, uint64_t sequence,
							   const IqdbRow *row, const IqdbColumnValues *columns, IqdbError *err) IQDB_MUST_CHECK;

/*
 * Makes a row that was loaded without a vector LIVE, with this one and these columns, which the caller has checked; the engine
 * is not told. IQDB_ERR_STATE: no row is KNOWN in the slot.
 */
IqdbStatus iqdb_store_load_content(IqdbStore *store, uint32_t slot, const void *vector, const IqdbColumnValues *columns,
								   IqdbError *err) IQDB_MUST_CHECK;

/* After the last row: slots that hold no row become free, the next sequence is fixed. */
void iqdb_store_load_finish(IqdbStore *store, uint64_t next_sequence);

/* ---- verification ---- */

/*
 * Id map, chains, lists, counts, sequences, padding, norms, blobs; beside writers only what each slot says by itself. One
 * call of finding per breach. Takes ROWS shared in stretches. Errors: IQDB_ERR_NOMEM, IQDB_ERR_CANCELLED.
 */
IqdbStatus iqdb_store_check(IqdbStore *store, IqdbFinding finding, void *arg, IqdbError *err) IQDB_MUST_CHECK;

#endif
