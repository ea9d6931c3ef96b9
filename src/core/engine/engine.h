/*
 * engine.h - the one contract of all engines: flat, hnsw, ivf.
 *
 * An engine finds the nearest LIVE rows of a store. The store owns rows; an engine owns what it needs to find them fast
 * (links, lists, codes), in regions of the same arena. An engine knows neither another engine nor files.
 *
 * Writing is two steps, so that a commit is cheap and the order of rows is fixed by the first alone:
 *   added()  under the store's ROWS lock: the row is LIVE and must be found by every search from now on (by whatever
 *            means: an engine may keep a list of rows not linked yet, and scan it exactly);
 *   link()   afterwards, outside every lock, by the same writer or by any other: the expensive part.
 *
 * Order: a cursor returns rows nearest first by (rank key, sequence), keys of full precision, and every LIVE row is
 * returned at last if the caller goes on. An approximate engine that goes on may find a row that precedes one it has
 * returned; it returns it when it finds it, and the door (db/index_cursor.c) holds it back to the stream's end, unless it
 * has the key of the last one handed out: the promise of order to callers is about keys only. Searches
 * take STRUCTURE shared for one stretch of work of at most about a millisecond, release it between stretches, and poll
 * cancel there. No lock is held when a function returns.
 */
#ifndef IQDB_ENGINE_ENGINE_H
#define IQDB_ENGINE_ENGINE_H

#include "core/base/topk.h"
#include "core/engine/scorer.h"

/* One row found. */
typedef struct IqdbHit
{
	uint64_t sequence;
	uint64_t id;   /* number; byte-string ids are looked up by slot through the store */
	uint32_t slot;
	float    key;  /* rank key, computed on the full-precision vector */
} IqdbHit;

typedef struct IqdbSearchParams
{
	size_t            expected; /* how many rows the caller will probably take; 0 = not known */
	uint32_t          ef;       /* hnsw: 0 = the index's */
	uint32_t          probes;   /* ivf: 0 = the index's */
	uint32_t          refine;   /* ivf with pq, bq: rows re-ranked per wanted row; 0 = the index's, at most 10000 */
	const IqdbRowFilter *filter; /* NULL = every row; must outlive the cursor */
	uint64_t          max_rows; /* give up after scoring so many rows; 0 = never */
	bool              zero_last; /* cosine: a zero vector has no distance; it comes behind all others, its key infinite */
	uint32_t          first_slot; /* what looks at all rows looks at slots from here, a multiple of IQDB_COLUMN_BLOCK, */
	uint32_t          end_slot;   /* to here; 0 = to the last */
} IqdbSearchParams;

/* An engine's cursor begins with this. */
typedef struct IqdbCursor
{
	const struct IqdbEngine *engine;
	IqdbStore               *store;
	const void              *query;       /* owned by the cursor: prepared, 64-byte aligned, zero-padded to 64 bytes */
	const void              *vector;      /* the same as rows are stored: the query itself where that is a prepared one */
	float                    query_norm2;
	IqdbSearchParams         params;
	IqdbSearchStats          stats;
	IqdbScorer               scorer;      /* aimed at the query, with the filter of params; counts stats.filtered */
	size_t                   size;        /* bytes allocated for this cursor */

	/* the door's own (db/index_cursor.c): the last hit handed out, and rows that an engine found too late for the order */
	IqdbHit  last;
	IqdbHit *late;
	size_t   late_count;
	size_t   late_next;
	size_t   late_allocated;
	bool     started;
	bool     ended;
} IqdbCursor;

/* Byte streams of a snapshot's engine part. Both return IQDB_OK or fail for good. */
typedef struct IqdbSink
{
	IqdbStatus (*write)(void *arg, const void *bytes, size_t length, IqdbError *err);
	void *arg;
} IqdbSink;

typedef struct IqdbSource
{
	/* exactly length bytes, or IQDB_ERR_CORRUPT */
	IqdbStatus (*read)(void *arg, void *bytes, size_t length, IqdbError *err);
	void *arg;
} IqdbSource;

typedef enum IqdbMaintain
{
	IQDB_MAINTAIN_VACUUM,   /* repair what removed rows left behind, release their slots */
	IQDB_MAINTAIN_BUILD,    /* all rows of a fresh index have been put, and linked unless links_at_end: finish */
	IQDB_MAINTAIN_OPTIMIZE  /* retrain, compact, repair: online */
} IqdbMaintain;

/* What part of a search takes, for a planner that prices it. Estimates, not promises. */
typedef struct IqdbSearchWork
{
	double in_a_row; /* rows scored side by side, from memory that is read in order */
	double alone;    /* rows scored each at a place of its own, which waits for memory */
	double streamed; /* vectors read in order, and from anywhere, of an index that has them on disk */
	double ranked;
} IqdbSearchWork;

/* Some of the engine's statistics under a name for users: one number, or several that belong together. */
typedef void (*IqdbNumbersVisit)(void *arg, const char *name, const double *numbers, size_t count);

typedef struct IqdbEngine
{
	IqdbEngineKind kind;
	const char    *name;

	/* ---- what a host tells its users ---- */

	const IqdbOption *options; /* the engine's own */
	size_t            option_count;
	uint32_t          quantizations; /* the codes it can have, bits 1 << IqdbQuantization */
	uint32_t          default_quantization; /* where the metric has such codes, else none */
	uint32_t          signs_dimension;      /* the fewest dimensions of which bq tells rows apart */
	bool              seeded;               /* something is random */
	bool              is_exact;             /* a cursor's first rows are the nearest, whatever there is */

	/* Do options, each in its range, go together? IQDB_ERR_CONFIG. NULL: they do. */
	IqdbStatus (*check_options)(const IqdbIndexOptions *options, IqdbError *err);

	/* What the first answers of a search among so many rows take, and each further one. */
	void (*search_work)(const IqdbIndexOptions *options, const IqdbSearchParams *params, double rows,
						IqdbSearchWork *first_out, IqdbSearchWork *further_out);

	/* Distances between rows that wait for memory, or work that takes as long, to build an index, for each of its rows. */
	double (*build_work)(const IqdbIndexOptions *options, double rows);

	/* Visits what it has filled of the statistics. NULL: it has none of its own. */
	void (*visit_stats)(const IqdbEngineStats *stats, IqdbNumbersVisit visit, void *arg);

	/* ---- what the index asks of it ---- */

	/* Reserve in bytes of each of the engine's regions for slots_max rows; unused entries stay 0. */
	void (*reserves)(const IqdbIndexOptions *options, uint64_t slots_max, uint64_t reserves_out[IQDB_ENGINE_REGIONS_MAX]);

	/* Bytes per row that the engine needs beside the store's, for estimates. */
	uint64_t (*bytes_per_row)(const IqdbIndexOptions *options);

	/* What so many rows need beyond that, such as centres (NULL: nothing); their bytes in the engine's part of a snapshot. */
	uint64_t (*bytes_beside)(const IqdbIndexOptions *options, uint64_t rows);
	uint64_t (*snapshot_bytes)(const IqdbIndexOptions *options, uint64_t rows);

	/* Fills the engine's header in a fresh arena. */
	IqdbStatus (*format)(IqdbStore *store, IqdbError *err);

	/* Room for slots below slot_count in every region; called with ROWS held before a slot number is first used. */
	IqdbStatus (*reserve)(IqdbStore *store, uint32_t slot_count, IqdbError *err);

	/*
	 * The row is in its slot, and will be LIVE next: what searches may read of it as soon as it is LIVE must be there
	 * when this returns. ROWS is held. Cannot fail. NULL: nothing to do. Rows of a snapshot come to load() instead.
	 */
	void (*prepare)(IqdbStore *store, uint32_t slot);

	/* The row is LIVE. ROWS is held. Cannot fail. */
	void (*added)(IqdbStore *store, uint32_t slot);

	/* The row is DEAD now. ROWS is held. Cannot fail. The engine owes an iqdb_store_release() of the slot. */
	void (*removed)(IqdbStore *store, uint32_t slot);

	/*
	 * Does the expensive part for one added row. Idempotent; a row that is gone or linked already is no error. May be
	 * called by many at once. On IQDB_ERR_CANCELLED or IQDB_ERR_NOMEM the row stays as added: searchable.
	 */
	IqdbStatus (*link)(IqdbStore *store, uint32_t slot, IqdbError *err);

	/* Rows of a fresh index are best put without a link(): maintain(BUILD) has to see all of them first, and links them. */
	bool links_at_end;

	/*
	 * Links up to max_rows rows that were added and never linked (their writer died, or put was called alone), for
	 * instance after recovery. *linked_out = how many.
	 */
	IqdbStatus (*link_pending)(IqdbStore *store, uint64_t max_rows, uint64_t *linked_out, IqdbError *err);

	IqdbStatus (*maintain)(IqdbStore *store, IqdbMaintain what, IqdbError *err);

	/*
	 * Takes a share of a maintain() that another process or thread is at, as far as there is something to share at this
	 * moment; *worked_out = whether there was. A failure is the other one's, too. NULL: there never is.
	 */
	IqdbStatus (*assist)(IqdbStore *store, bool *worked_out, IqdbError *err);

	/* Cursor: size to allocate, start, next hits, end (frees what the cursor allocated itself, not the cursor). */
	size_t cursor_size;
	IqdbStatus (*cursor_start)(IqdbCursor *cursor, IqdbError *err);
	/*
	 * Looks for the first hits of several fresh cursors of one store together; cursor_next() then hands them out. On
	 * failure none of them has hits. NULL: each cursor looks for itself.
	 */
	IqdbStatus (*cursors_begin)(IqdbCursor *const *cursors, size_t count, IqdbError *err);
	/* Up to capacity hits in order; *count_out = 0 means the stream has ended. */
	IqdbStatus (*cursor_next)(IqdbCursor *cursor, IqdbHit *hits, size_t capacity, size_t *count_out, IqdbError *err);
	void (*cursor_end)(IqdbCursor *cursor);

	/*
	 * Snapshot part. save() runs beside searches and writers: what it writes may mix moments, and may name slots that
	 * the rows part of the same snapshot does not hold. load() runs alone, after the rows are in their slots: it believes
	 * nothing, drops links to slots that are not LIVE, and leaves LIVE rows that have no links as if just added.
	 */
	IqdbStatus (*save)(IqdbStore *store, IqdbSink *sink, IqdbError *err);
	IqdbStatus (*load)(IqdbStore *store, IqdbSource *source, IqdbError *err);

	/* Every invariant; calls finding for each breach. Safe beside searches, exact when no writer runs. */
	IqdbStatus (*check)(IqdbStore *store, IqdbFinding finding, void *arg, IqdbError *err);

	void (*stats)(const IqdbStore *store, IqdbEngineStats *stats_out);
} IqdbEngine;

/* The engine of a kind, or NULL (db/engines.c has the list). */
const IqdbEngine *iqdb_engine_get(uint32_t kind);

/*
 * Hands out candidates from *at on, below end, up to capacity; returns how many hits, *at is behind the last that was looked
 * at. Rows may have died since they were scored, and their slots may be other rows now: those are passed over. Takes
 * STRUCTURE shared.
 */
size_t iqdb_engine_hand_out(const IqdbStore *store, const IqdbCandidate *candidates, size_t *at, size_t end, IqdbHit *hits,
							size_t capacity);

#endif
