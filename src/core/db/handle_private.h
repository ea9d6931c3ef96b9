/*
 * handle_private.h - the handle's inside, shared by the handle_*.c files.
 *
 * Locks, from outside to inside:
 *   writer   mutex: one write at a time, so that the order of the log is the order of the rows; checkpoint, optimize; all
 *            fields below it in the struct
 *   gate     shared while a search or a look-up runs, exclusive for the moment in which a write takes effect - never while
 *            a file is written or synced
 *   place    shared by whoever works on the arena under neither of these, exclusive while the arena moves
 *   cache    mutex of the result cache, for a look-up or a store
 *   store's  STRUCTURE, ROWS (engine/store.h), taken by the index's functions
 *
 * The graph work for a row (iqdb_index_link) runs under place alone.
 *
 * The arena's address space is reserved by need. Who puts a row and finds the reserve used up moves the arena to a larger one,
 * holding writer, gate and place, all exclusively: so nobody has an address in it. As moving copies, it is done while the index
 * is small; the last move reserves for all that memory_max allows.
 */
#ifndef IQDB_DB_HANDLE_PRIVATE_H
#define IQDB_DB_HANDLE_PRIVATE_H

#include <pthread.h>

#include "core/base/io.h"
#include "core/cache/cache.h"
#include "core/db/fields.h"
#include "core/db/handle_format.h"
#include "core/db/index.h"
#include "core/persist/log.h"
#include "core/persist/snapshot.h"

/*
 * Bytes of memory that a new arena's address space is for; and from how many on the next move reserves for all that
 * memory_max allows, because copying so much is about a hundredth of a second, in which everybody waits.
 */
#define IQDBI_RESERVE_FIRST (UINT64_C(1024) * 1024)
#define IQDBI_RESERVE_LAST (UINT64_C(16) * 1024 * 1024)

typedef struct IqdbiPaths
{
	char  *snapshot; /* the allocation starts here; NULL in memory */
	char  *log;
	char  *lock;
	char  *snapshot_temp;
	char  *log_temp;
	char  *vectors;
	size_t size;
} IqdbiPaths;

/* Where a history stands. */
typedef struct IqdbiPosition
{
	uint64_t number;
	uint64_t hash;
} IqdbiPosition;

/* What is fixed when a database is made. The columns among the options follow from the fields. */
typedef struct IqdbiShape
{
	IqdbIndexOptions options;
	IqdbFields       fields;
} IqdbiShape;

struct Iqdb
{
	IqdbHost           host;
	IqdbIo             io;
	const IqdbKernels *kernels;
	IqdbFsyncPolicy    fsync;
	IqdbCompression    compression;
	int                compression_level;
	uint64_t           checkpoint_bytes;
	bool               snapshot_only; /* there are files, and none of them is a log */
	IqdbTrace          trace;         /* NULL: nobody listens */
	void              *trace_arg;
	unsigned           search_threads;
	uint64_t           memory_max;
	uint64_t           reserve; /* of memory_max, what the arena's address space is for */
	IqdbArena          arena; /* base NULL: not made yet */
	IqdbArenaFile      vectors; /* of the arena; fd -1: vectors are in memory */
	IqdbIndex          index;
	IqdbiShape         shape;
	IqdbField          fields[IQDB_FIELDS_MAX]; /* those of the shape, for programs to see */
	IqdbiPaths         paths;
	IqdbFile           lock_file;
	void              *scratch; /* one vector: writer mutex, and while opening */
	size_t             scratch_size;

	pthread_mutex_t writer;
	pthread_cond_t  timer_wake; /* there is something to sync, or stop */
	pthread_cond_t  sync_idle;  /* the timer's sync has ended */
	bool            has_mutex;
	uint64_t        gate[IQDB_LOCK_CELL_SIZE / sizeof(uint64_t)]; /* lock cells, as those in the arena */
	_Atomic uint64_t live;    /* rows, and changes, as the index counts them: for those who hold no lock */
	_Atomic uint64_t version;
	uint64_t        place[IQDB_LOCK_CELL_SIZE / sizeof(uint64_t)];
	pthread_mutex_t cache_mutex; /* innermost: nothing is taken or called under it but the cache */
	IqdbCache      *cache;       /* NULL: none */
	bool            has_timer;
	pthread_t       timer;

	/* under writer */
	bool          stop;          /* the timer shall end */
	bool          syncing;       /* the timer syncs the log, without the mutex */
	bool          broken;
	bool          cut_pending;   /* the log must cut a tail before its next append */
	bool          dirty;         /* the engine changed in a way the log does not tell */
	IqdbLog      *log;           /* NULL in memory, and where there are snapshots only */
	IqdbiPosition position;
	IqdbiPosition snapshot_position;
	IqdbiPosition log_start;
	uint64_t      snapshot_bytes;
	uint64_t      checkpoint_retry_bytes; /* after a failure: not before the log is this long */
	uint64_t      dead_after_repair;      /* slots still dead after the engine's last repair */
	uint64_t      last_sync_ms;
	uint64_t      checkpoints;
	uint64_t      checkpoint_failures;
};

/* ---- handle.c ---- */

void iqdbi_handle_gate(Iqdb *db, bool exclusive);
void iqdbi_handle_gate_leave(Iqdb *db, bool exclusive);

void iqdbi_handle_place(Iqdb *db, bool exclusive);
void iqdbi_handle_place_leave(Iqdb *db, bool exclusive);

/* After rows changed: gate held exclusively, or nobody else knows the handle yet. */
void iqdbi_handle_note_change(Iqdb *db);

/* Milliseconds of a clock that does not step back. */
uint64_t iqdbi_handle_now(void);

static inline bool
iqdbi_handle_has_files(const Iqdb *db)
{
	return db->paths.snapshot != NULL;
}

/* When the call began, if anybody wants to know. */
uint64_t iqdbi_trace_begin(const Iqdb *db);

/* Tells the program of a call that has ended. search: what it did, or NULL. No clock is read where nobody listens. */
void iqdbi_trace_end(Iqdb *db, IqdbTraceKind kind, uint64_t begun, IqdbStatus status, uint64_t rows,
					 const IqdbSearchStats *search);

/* ---- handle_codec.c ---- */

IqdbiPosition iqdbi_handle_start(const IqdbiShape *shape);

/* The position after one more write with this body. */
IqdbiPosition iqdbi_handle_advance(IqdbiPosition position, uint8_t type, const IqdbLogPiece *pieces, size_t piece_count);

/* Returns the length. */
uint32_t iqdbi_handle_encode_identity(const IqdbiShape *shape, IqdbiPosition position,
									  unsigned char bytes_out[IQDB_HANDLE_IDENTITY_MAX]);

/* Errors: IQDB_ERR_CORRUPT, IQDB_ERR_VERSION, with the file's name. */
IqdbStatus iqdbi_handle_decode_identity(const char *file, const unsigned char *bytes, size_t length,
										IqdbiShape *shape_out, IqdbiPosition *position_out, IqdbError *err) IQDB_MUST_CHECK;

/* A write as the log tells it; id, vector and metadata point elsewhere. */
typedef struct IqdbiChange
{
	uint8_t              type; /* IQDB_HANDLE_FRAME_* */
	IqdbId               id;
	const void          *vector;
	size_t               dim;
	const unsigned char *metadata;
	size_t               metadata_length;
} IqdbiChange;

#define IQDBI_CHANGE_PIECES 5

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define IQDBI_NEEDS_SCRATCH 0
#else
#define IQDBI_NEEDS_SCRATCH 1
#endif

/* What the pieces of a body point to besides the change itself. */
typedef struct IqdbiChangeBytes
{
	unsigned char id[16];   /* kind and number, or kind and length */
	unsigned char sizes[8];
	IqdbLogPiece  pieces[IQDBI_CHANGE_PIECES];
	size_t        piece_count;
} IqdbiChangeBytes;

/*
 * vector_scratch (bytes of a vector) takes the vector's bytes where the machine's order is not the file's; NULL where it is
 * (IQDBI_NEEDS_SCRATCH).
 */
void iqdbi_handle_encode_change(const IqdbElement *element, const IqdbiChange *change, unsigned char *vector_scratch,
								IqdbiChangeBytes *bytes_out);

/* The body of a batch in memory of the allocator, which the caller frees. Errors: NOMEM, LIMIT (too many bytes for a frame). */
IqdbStatus iqdbi_handle_encode_batch(const IqdbAllocator *allocator, const IqdbElement *element, const IqdbRow *rows,
									 size_t count, size_t dim, unsigned char *vector_scratch, unsigned char **body_out,
									 size_t *length_out, IqdbError *err) IQDB_MUST_CHECK;

/*
 * Bodies of frames are read change by change: a batch holds several upserts. The functions check everything but what
 * iqdb_index_put checks. Errors: IQDB_ERR_CORRUPT without file.
 */
typedef struct IqdbiChangeReader
{
	const IqdbElement   *element;
	size_t               dim;
	uint8_t              type; /* of each change */
	const unsigned char *at;
	size_t               left;
	uint32_t             count; /* changes left */
} IqdbiChangeReader;

IqdbStatus iqdbi_handle_begin_changes(IqdbiChangeReader *reader_out, const IqdbElement *element, size_t dim, uint8_t type,
									  const unsigned char *body, size_t length, IqdbError *err) IQDB_MUST_CHECK;

/* The next change, if reader->count > 0; the vector is copied to vector_out, the rest points into the body. */
IqdbStatus iqdbi_handle_next_change(IqdbiChangeReader *reader, void *vector_out, IqdbiChange *change_out,
									IqdbError *err) IQDB_MUST_CHECK;

/* ---- handle_search.c ---- */

/* The rows whose columns are not what follows from their metadata; nobody writes. *slot_out: the first of them. */
uint64_t iqdbi_handle_check_columns(const Iqdb *db, uint32_t *slot_out);

/* Makes the cache that the configuration asks for, if any. */
IqdbStatus iqdbi_handle_make_cache(Iqdb *db, const IqdbConfig *config, IqdbError *err) IQDB_MUST_CHECK;

/* A result of its own with copies of these hits and no statistics; NULL: out of memory. */
IqdbResult *iqdbi_handle_copy_result(const IqdbAllocator *allocator, const IqdbFound *found, size_t count);

/* Searches as the settings say, whatever the cache holds. *version_out: of the data that was seen. */
IqdbStatus iqdbi_handle_search(Iqdb *db, const void *query, size_t dim, const IqdbQuery *settings, IqdbResult **result_out,
							   uint64_t *version_out, IqdbError *err) IQDB_MUST_CHECK;

/*
 * The nearest rows of a cursor, into room for `wanted`; by_vectors: of the slots that its parameters name, each compared with
 * the query, whatever the engine. The gate is held. Errors: CANCELLED, NOMEM.
 */
IqdbStatus iqdbi_handle_collect(IqdbCursor *cursor, bool by_vectors, IqdbHit *hits, size_t wanted, size_t *count_out,
								IqdbError *err) IQDB_MUST_CHECK;

/* ---- handle_pass.c ---- */

#define IQDBI_SEARCH_THREADS_MAX 64

/* By how many threads a search is to be made; 1 where it does not look at all rows, or is too small. The gate is held. */
unsigned iqdbi_handle_parts(const Iqdb *db, bool by_vectors, size_t wanted, uint64_t max_rows);

/*
 * As iqdbi_handle_collect, by `count` threads, of which this is one: hits has room for count times `wanted`. Nothing else was
 * asked of the cursor before, and nothing is afterwards. The gate is held, and covers the other threads too.
 */
IqdbStatus iqdbi_handle_pass(Iqdb *db, IqdbCursor *cursor, bool by_vectors, unsigned count, size_t wanted, IqdbHit *hits,
							 size_t *count_out, IqdbError *err) IQDB_MUST_CHECK;

/* ---- handle_open.c ---- */

/* Releases everything, whatever of it was made. */
void iqdbi_handle_release(Iqdb *db);

/* ---- handle_write.c: the writer mutex is held, or nobody else knows the handle yet ---- */

/* Vector, id and metadata of a row: can it be put? Errors: DIMENSION, VECTOR, CONFIG, CORRUPT. */
IqdbStatus iqdbi_handle_check_row(const Iqdb *db, const IqdbRow *row, size_t dim, IqdbError *err) IQDB_MUST_CHECK;

/* The row of an upsert. */
IqdbRow iqdbi_handle_row(const IqdbiChange *change);

/*
 * Puts checked rows, all or none; where memory is at its limit, the engine first lets go of rows that were removed.
 * slots_out: what to link. Replay of the log puts by the same function: what had room once must have it again.
 */
IqdbStatus iqdbi_handle_put(Iqdb *db, const IqdbRow *rows, size_t count, uint32_t *slots_out,
							IqdbError *err) IQDB_MUST_CHECK;

/* Stores rows as one write, after checking them, and links none; slots_out: what to link. The writer mutex is taken. */
IqdbStatus iqdbi_handle_store_batch(Iqdb *db, const IqdbRow *rows, size_t count, size_t dim, uint32_t *slots_out,
									IqdbError *err) IQDB_MUST_CHECK;

/* Links rows that were stored, up to the first that fails. No lock may be held. */
IqdbStatus iqdbi_handle_link(Iqdb *db, const uint32_t *slots, size_t count) IQDB_MUST_CHECK;

/* After a change: removed rows that the engine still holds cost every search, and are let go of before they are many. */
void iqdbi_handle_repair_when_due(Iqdb *db);

/* ---- handle_checkpoint.c: the writer mutex is held ---- */

/* Writes a snapshot of the present state, and starts a new log unless there is none. */
IqdbStatus iqdbi_handle_checkpoint(Iqdb *db, IqdbError *err) IQDB_MUST_CHECK;

/* Is there anything that the snapshot lacks? */
bool iqdbi_handle_is_dirty(const Iqdb *db);

/* After a write: folds a log that has grown long. A failure is counted, not reported. */
void iqdbi_handle_checkpoint_when_due(Iqdb *db);

/*
 * Makes an empty log that starts at db->position, replacing what has its name; where there are snapshots only, removes a log
 * that an earlier handle left. On failure db->log is NULL or the old one.
 */
IqdbStatus iqdbi_handle_start_log(Iqdb *db, IqdbError *err) IQDB_MUST_CHECK;

/* ---- handle_timer.c ---- */

IqdbStatus iqdbi_handle_start_timer(Iqdb *db, IqdbError *err) IQDB_MUST_CHECK;
void iqdbi_handle_stop_timer(Iqdb *db);

/* Writer mutex held: frames were written that nobody has synced. */
void iqdbi_handle_wake_timer(Iqdb *db);

/* Writer mutex held, and let go while waiting: until the timer's sync has ended. */
void iqdbi_handle_wait_sync(Iqdb *db);

#endif
