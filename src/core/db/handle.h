/*
 * handle.h - the embedded database: one index, in memory or in files, for a C program.
 *
 * A database keeps rows - an id, a vector, optional metadata - and finds the nearest ones. Its shape (dimension, metric) is
 * fixed when it is made. Any number of threads may share a handle; every call but iqdb_close() and iqdb_abandon() may run
 * beside any other. A search sees the database as it is at one moment: no write takes effect while it runs.
 *
 * Files. <path> is the snapshot, <path>.wal the log of what happened since, <path>.lock an empty file whose lock keeps a
 * second handle, in this process or another, away (IQDB_ERR_LOCKED). Where the options put vectors on disk, they lie beside
 * these while the database is open, in a file that has no name any more (<path>.vectors for an instant). Folders are not
 * made.
 *
 * Durability. A write is appended to the log, synced as the fsync policy says, then applied, then acknowledged. Under
 * IQDB_FSYNC_ALWAYS what was acknowledged survives loss of power; under PERIODIC up to an interval may be lost, under NEVER
 * what the operating system had not written; neither loses anything when only the program dies, and under all of them what
 * comes back is the state after some number of writes, in their order. Snapshots are always synced.
 *
 * A failed sync is final: the handle then refuses writes with IQDB_ERR_STATE, reads go on. Opening again recovers.
 */
#ifndef IQDB_DB_HANDLE_H
#define IQDB_DB_HANDLE_H

#include "core/base/io.h"
#include "core/cache/cache.h"
#include "core/db/index.h"
#include "core/persist/log.h"
#include "core/persist/snapshot.h"

typedef struct Iqdb Iqdb;

typedef struct IqdbConfig
{
	/*
	 * When files are opened again, element, dimension and metric must be those of the files; engine, quantization and the
	 * engine's own options are taken from there, not from here.
	 */
	IqdbIndexOptions options;

	/*
	 * Bytes of memory the rows and their index may use, vectors on disk not counted; 0 = 64 GiB. More is IQDB_ERR_LIMIT. Files
	 * written under a limit can be opened under it: opening may use an eighth and 1 MiB more, which later writes may not.
	 */
	uint64_t        memory_max;
	IqdbFsyncPolicy fsync;             /* of log appends */
	IqdbCompression compression;       /* of snapshots written from now on */
	int             compression_level; /* zstd: 1 .. 22, 0 = default */
	uint64_t        checkpoint_bytes;  /* a log this long, and longer than the snapshot, is folded into one; 0 = never */

	/* Remember answers until the next write: see cache/cache.h. Off by default. */
	bool            use_cache;
	IqdbCacheConfig cache; /* default: 1024 answers, least recently used, no limit of age */

	/* NULL = the C library, POSIX files, the best of this CPU. What they point to is copied, but for the kernels. */
	const IqdbAllocator *allocator;
	const IqdbIo        *io;
	const IqdbKernels   *kernels;

	/* Asked now and then in long searches and saves, by any thread; NULL = never. true gives IQDB_ERR_CANCELLED. */
	IqdbCancel cancelled;
	void      *cancel_arg;
} IqdbConfig;

/* Defaults: fsync always, no compression, checkpoint at 64 MiB of log. */
IqdbConfig iqdb_config_default(IqdbEngineKind engine, uint32_t dimension, IqdbMetric metric);

/* ---- opening and closing ----------------------------------------------------------------------------------------- */

/*
 * A database without files. Errors: CONFIG, METRIC, UNSUPPORTED (as iqdb_index_options_check), NOMEM.
 */
IqdbStatus iqdb_open_in_memory(const IqdbConfig *config, Iqdb **db_out, IqdbError *err) IQDB_MUST_CHECK;

/*
 * Opens or makes the database called path: newest snapshot, then the log. A torn tail of the log is cut off before
 * anything is appended. Files left over by a crashed save are removed. *db_out is NULL on failure, and what was stored is
 * unchanged then but for the torn tail.
 * Errors: those of open_in_memory; CONFIG (element, dimension or metric differ from the files', or the path is too long),
 * LOCKED, CORRUPT (file and offset), VERSION, UNSUPPORTED (compression or engine this build lacks), NOT_FOUND (no such folder),
 * LIMIT, NO_SPACE, IO.
 */
IqdbStatus iqdb_open(const char *path, const IqdbConfig *config, Iqdb **db_out, IqdbError *err) IQDB_MUST_CHECK;

/*
 * Checkpoint, then release. The handle is gone whatever is returned; when the checkpoint failed, the log still holds every
 * write. NULL is no error. No other call may be running.
 */
IqdbStatus iqdb_close(Iqdb *db, IqdbError *err);

/* Releases without a checkpoint: the log is replayed at the next opening. NULL is no error. */
void iqdb_abandon(Iqdb *db);

/* ---- writing ----------------------------------------------------------------------------------------------------- */

/*
 * Insert or replace, metadata included. vector: dim finite components of the options' element (floats, unless said
 * otherwise; vec/element.h). metadata: encoded (meta/metadata.h); NULL and 0 = none.
 * A replaced row counts as new: it goes to the end of its ties. On failure nothing has changed.
 * Errors: DIMENSION, VECTOR, CONFIG (empty id), CORRUPT (metadata), LIMIT, NOMEM, NO_SPACE, IO, STATE.
 */
IqdbStatus iqdb_upsert(Iqdb *db, IqdbId id, const void *vector, size_t dim, const unsigned char *metadata,
					   size_t metadata_length, IqdbError *err) IQDB_MUST_CHECK;

/* *deleted_out (may be NULL): was it there? Absent is no error. Errors: NO_SPACE, IO, STATE. */
IqdbStatus iqdb_delete(Iqdb *db, IqdbId id, bool *deleted_out, IqdbError *err) IQDB_MUST_CHECK;

/* Retrains, repairs, and makes what removed rows left behind usable again; beside searches, before the next write. */
IqdbStatus iqdb_optimize(Iqdb *db, IqdbError *err) IQDB_MUST_CHECK;

/* Folds the log into a new snapshot, if there is anything new. No-op in memory. Searches go on, writes wait. */
IqdbStatus iqdb_flush(Iqdb *db, IqdbError *err) IQDB_MUST_CHECK;

/* ---- reading ----------------------------------------------------------------------------------------------------- */

typedef struct IqdbRecord
{
	size_t               dim;
	const void          *vector;    /* as the options' element says */
	const unsigned char *metadata; /* encoded; NULL = none */
	size_t               metadata_length;

	/* for iqdb_record_free */
	IqdbAllocator allocator;
	size_t        size;
} IqdbRecord;

/* The row, or NULL when there is none. Free it with iqdb_record_free. Errors: NOMEM. */
IqdbStatus iqdb_get(Iqdb *db, IqdbId id, IqdbRecord **record_out, IqdbError *err) IQDB_MUST_CHECK;
void iqdb_record_free(IqdbRecord *record);

uint64_t iqdb_len(const Iqdb *db);
bool iqdb_is_empty(const Iqdb *db);

typedef struct IqdbFound
{
	IqdbId               id;       /* a byte string points into the result */
	float                distance; /* smaller is nearer; may be negative under DOT */
	const unsigned char *metadata; /* encoded, in the result; NULL = none */
	size_t               metadata_length;
} IqdbFound;

/* Self-contained: outlives the handle if need be. Free it with iqdb_result_free. */
typedef struct IqdbResult
{
	size_t           count;
	const IqdbFound *found; /* nearest first, ties in the order of insertion */
	IqdbSearchStats  stats;

	/* for iqdb_result_free: a result may be shared with the cache and with other callers, and is never written to */
	_Atomic uint32_t references;
	IqdbAllocator    allocator;
	size_t           size;
} IqdbResult;

/*
 * The k nearest rows (all when there are fewer). k = 0 gives an empty result; the query is checked all the same.
 * Errors: DIMENSION, VECTOR, NOMEM, CANCELLED.
 */
IqdbStatus iqdb_search(Iqdb *db, const void *query, size_t dim, size_t k, IqdbResult **result_out,
					   IqdbError *err) IQDB_MUST_CHECK;

/* The k nearest rows whose metadata matches; never fewer than k while there are k. A filter cannot be invalid: the
 * functions that make one refuse (meta/filter.h). NULL = every row. */
IqdbStatus iqdb_search_with(Iqdb *db, const void *query, size_t dim, size_t k, const IqdbFilter *filter,
							IqdbResult **result_out, IqdbError *err) IQDB_MUST_CHECK;

/* Per-query settings. All zero but k is what iqdb_search does. */
typedef struct IqdbQuery
{
	size_t            k;
	const IqdbFilter *filter;
	uint32_t          ef;       /* hnsw: 0 = the index's */
	uint32_t          probes;   /* ivf: 0 = the index's */
	uint64_t          max_rows; /* give up after scoring so many rows; 0 = never */
} IqdbQuery;

IqdbStatus iqdb_search_query(Iqdb *db, const void *query, size_t dim, const IqdbQuery *settings,
							 IqdbResult **result_out, IqdbError *err) IQDB_MUST_CHECK;

/*
 * `count` queries of dim components one behind the other: results[i] belongs to query i, as iqdb_search would give it. Stops at
 * the first failure; all results are then NULL. results has room for count pointers.
 */
IqdbStatus iqdb_search_batch(Iqdb *db, const void *queries, size_t count, size_t dim, size_t k, IqdbResult **results,
							 IqdbError *err) IQDB_MUST_CHECK;
IqdbStatus iqdb_search_batch_with(Iqdb *db, const void *queries, size_t count, size_t dim, size_t k,
								  const IqdbFilter *filter, IqdbResult **results, IqdbError *err) IQDB_MUST_CHECK;

/* NULL is no error. */
void iqdb_result_free(IqdbResult *result);

/* ---- numbers and verification ------------------------------------------------------------------------------------ */

typedef struct IqdbStats
{
	IqdbIndexStats index;
	uint64_t       position;          /* writes since the database was made */
	uint64_t       snapshot_position; /* writes the snapshot holds */
	uint64_t       log_bytes;         /* 0 in memory */
	uint64_t       log_synced_bytes;  /* of these, on stable storage for certain */
	uint64_t       snapshot_bytes;
	uint64_t       checkpoints;       /* by this handle */
	uint64_t       checkpoint_failures; /* of those that a write began: the write itself succeeded */
	bool           broken;            /* a sync failed: no more writes */
} IqdbStats;

void iqdb_stats(Iqdb *db, IqdbStats *stats_out);

/* false, and zeros, when the database has no cache. */
bool iqdb_cache_stats(Iqdb *db, IqdbCacheStats *stats_out);

/* Forgets the answers kept, not the counters. No-op without a cache. */
void iqdb_clear_cache(Iqdb *db);

/* What is in use: after reopening, the options of the files. */
const IqdbIndexOptions *iqdb_options(const Iqdb *db);

/* Every invariant of rows and engine; one call of finding per breach. Writes wait. */
IqdbStatus iqdb_check(Iqdb *db, IqdbFinding finding, void *arg, IqdbError *err) IQDB_MUST_CHECK;

#endif
