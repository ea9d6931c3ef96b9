/*
 * index.h - an index over an arena of the host's: the level below the embedded handle, used by a server.
 *
 * The host owns the arena (who maps it, when it is made and thrown away), decides the order of changes, and says when
 * files are written. The index joins the row store with one engine and nothing else: no files of its own, no threads.
 * The embedded handle (public/iqdb.h) is one such host; PostgreSQL's access methods are another.
 *
 * An IqdbIndex is a process's view of the arena: pointers into this process's mapping, valid as long as the mapping.
 * Making one costs nothing; there is nothing to close. Concurrent calls from threads or processes are allowed as each
 * function says; locks are the host's (base/host.h), in the order of engine/store.h.
 */
#ifndef IQDB_DB_INDEX_H
#define IQDB_DB_INDEX_H

#include "core/engine/store_write.h"

typedef struct IqdbIndex
{
	IqdbArena        *arena;
	const IqdbHost   *host;
	const IqdbEngine *engine;
	IqdbStore         store;
} IqdbIndex;

/* ---- making and joining ------------------------------------------------------------------------------------------ */

/*
 * Reserve of every region for an arena whose usable memory will not pass memory_max bytes, and their number; host_reserve
 * is the size of IQDB_REGION_HOST. The sum (iqdb_arena_size_needed) is address space, not memory. A host that has a disk
 * backs region IQDB_REGION_VECTORS with a file (IqdbArena.paged) where iqdb_index_options_on_disk() says so.
 */
uint32_t iqdb_index_reserves(const IqdbIndexOptions *options, uint64_t memory_max, uint64_t host_reserve,
							 uint64_t reserves_out[IQDB_ARENA_REGIONS_MAX]);

/* The least memory_max whose reserves have a place for this many rows; UINT64_MAX on overflow. */
uint64_t iqdb_index_reserve_for(const IqdbIndexOptions *options, uint64_t rows);

/*
 * Makes an empty index in an arena of zero bytes whose address space is big enough. Checks the options. kernels: NULL =
 * the best of this CPU; every process that attaches must use the same table. reserve_max: the memory_max of the reserves,
 * no more than memory_max, which is the limit; an index that meets its reserves first gets IQDB_ERR_LIMIT, too.
 * Errors: those of iqdb_index_options_check and iqdb_arena_format.
 */
IqdbStatus iqdb_index_format(IqdbIndex *index_out, IqdbArena *arena, const IqdbHost *host, const IqdbKernels *kernels,
							 const IqdbIndexOptions *options, uint64_t reserve_max, uint64_t memory_max,
							 uint64_t host_bytes, uint64_t host_reserve, IqdbError *err) IQDB_MUST_CHECK;

/* Joins an index that some process formatted in this arena. */
IqdbStatus iqdb_index_attach(IqdbIndex *index_out, IqdbArena *arena, const IqdbHost *host, const IqdbKernels *kernels,
							 IqdbError *err) IQDB_MUST_CHECK;

/*
 * Moves an index on private memory without host bytes to an arena that reserves for reserve_max bytes of memory, which is more
 * than before. file: of its vectors, NULL if they are in memory. Nobody else may be in any function of this index. On
 * failure nothing has changed. Errors: those of iqdb_arena_private_move().
 */
IqdbStatus iqdb_index_move(IqdbIndex *index, uint64_t reserve_max, const IqdbArenaFile *file,
						   IqdbError *err) IQDB_MUST_CHECK;

/*
 * Region IQDB_REGION_HOST: host_bytes zero bytes after format, the host's to use, and to grow to host_reserve bytes, which is
 * no less.
 */
void *iqdb_index_host_region(const IqdbIndex *index);

/* ---- writing ----------------------------------------------------------------------------------------------------- */

/*
 * Insert or replace: the row is LIVE and every later search finds it. A replaced row gets a new slot and a new sequence.
 * vector: dim finite components of the options' element (vec/element.h; checked). metadata: encoded (meta/metadata.h) or
 * NULL. Fast (no graph work): copies the row under ROWS. *slot_out (may be NULL) is for iqdb_index_link. On failure nothing
 * has changed.
 * Errors: DIMENSION, VECTOR, CONFIG (empty id), LIMIT, NO_SPACE, NOMEM, CORRUPT (metadata).
 */
IqdbStatus iqdb_index_put(IqdbIndex *index, IqdbId id, const void *vector, size_t dim, const unsigned char *metadata,
						  size_t metadata_length, uint32_t *slot_out, IqdbError *err) IQDB_MUST_CHECK;

/*
 * The same for a row of an index with columns: their values (NULL: all are NULL), each in the range of its kind. Of a row's
 * dimensions there are dim. Errors: those of put, CONFIG (a value out of range).
 */
IqdbStatus iqdb_index_put_row(IqdbIndex *index, const IqdbRow *row, size_t dim, const IqdbColumnValues *columns,
							  uint32_t *slot_out, IqdbError *err) IQDB_MUST_CHECK;

/*
 * iqdb_index_put_row() in two steps, for a host that orders changes under a lock which all its writers want: what may fail or
 * takes time (checks, norm, room, the copy) is done by stage(), before the host takes that lock; publish() makes the row
 * LIVE, under it, and cannot fail. A staged row is published or taken back by unstage(). Metadata is none.
 * Errors of stage: those of put.
 */
IqdbStatus iqdb_index_stage(IqdbIndex *index, IqdbId id, const void *vector, size_t dim, const IqdbColumnValues *columns,
							IqdbStaged *staged_out, IqdbError *err) IQDB_MUST_CHECK;
void iqdb_index_publish(IqdbIndex *index, const IqdbStaged *staged);
void iqdb_index_unstage(IqdbIndex *index, const IqdbStaged *staged);

/*
 * To be called before so many rows are put, holding no lock at all: what removed rows left behind may be used again, and
 * there is room, so that the puts wait for no file (engine/store_write.h says when they still may). Puts do without, but
 * take fresh slots then as long as there is room. Costs little where there is nothing to do.
 */
void iqdb_index_make_room(IqdbIndex *index, uint32_t rows);

/* The id exists but has no vector (replaces what it had): never found by a search, listed by iqdb_index_ids. */
IqdbStatus iqdb_index_put_known(IqdbIndex *index, IqdbId id, IqdbError *err) IQDB_MUST_CHECK;

/* Does the engine's expensive work for a row just put; see IqdbEngine.link. Call it holding no lock at all. */
IqdbStatus iqdb_index_link(IqdbIndex *index, uint32_t slot, IqdbError *err) IQDB_MUST_CHECK;

/* The same for up to max_rows rows whose writer did not; 0 = all. */
IqdbStatus iqdb_index_link_pending(IqdbIndex *index, uint64_t max_rows, uint64_t *linked_out,
								   IqdbError *err) IQDB_MUST_CHECK;

/* Forgets a KNOWN or LIVE id; absent is no error. *removed_out may be NULL. Cannot fail otherwise. */
void iqdb_index_remove(IqdbIndex *index, IqdbId id, bool *removed_out);

/* After removals: repairs the engine, reclaims slots. IQDB_MAINTAIN_OPTIMIZE does more. Polls cancel. */
IqdbStatus iqdb_index_maintain(IqdbIndex *index, IqdbMaintain what, IqdbError *err) IQDB_MUST_CHECK;

/*
 * Takes a share of a maintain() that another process or thread is at; *worked_out = whether there was something to do at this
 * moment. iqdb_index_can_assist: whether this engine's work can be shared at all.
 */
IqdbStatus iqdb_index_assist(IqdbIndex *index, bool *worked_out, IqdbError *err) IQDB_MUST_CHECK;
bool iqdb_index_can_assist(const IqdbIndex *index);

/* ---- reading ----------------------------------------------------------------------------------------------------- */

/* KNOWN or LIVE? *has_vector_out (may be NULL) tells which. Takes ROWS shared. */
bool iqdb_index_contains(const IqdbIndex *index, IqdbId id, bool *has_vector_out);

/*
 * Copies a LIVE row: its vector, as it was put, to vector_out (may be NULL), and up to metadata_capacity bytes of encoded
 * metadata; *metadata_length_out is the whole length (call again with room). false when the id is not LIVE.
 */
bool iqdb_index_get(const IqdbIndex *index, IqdbId id, void *vector_out, unsigned char *metadata_out,
					size_t metadata_capacity, size_t *metadata_length_out);

/* Copies the columns of a LIVE row. false when the id is not LIVE. */
bool iqdb_index_get_columns(const IqdbIndex *index, IqdbId id, IqdbColumnValues *columns_out);

/*
 * Numeric ids of KNOWN and LIVE rows in slot order from *position on (0 at first; updated), up to capacity. Returns how
 * many; 0 = the end. has_vector_out (one per id) may be NULL. Rows put meanwhile may or may not be seen.
 */
size_t iqdb_index_ids(const IqdbIndex *index, uint64_t *position, uint64_t *ids_out, bool *has_vector_out,
					  size_t capacity);

uint64_t iqdb_index_live_count(const IqdbIndex *index);

/*
 * Grows with each change after which a search may answer otherwise: rows put and removed, and work of the engine on what leads
 * to them. It grows when the change is complete: an answer computed while it stood still is the answer at this version.
 */
uint64_t iqdb_index_version(const IqdbIndex *index);

/*
 * Opens a stream of hits, nearest first. The query is a vector of the index's element, and copied. Allocates the cursor by
 * the host's allocator.
 * Errors: DIMENSION, VECTOR, FILTER, NOMEM.
 */
IqdbStatus iqdb_cursor_open(IqdbIndex *index, const void *query, size_t dim, const IqdbSearchParams *params,
							IqdbCursor **cursor_out, IqdbError *err) IQDB_MUST_CHECK;
/*
 * For several cursors of one index that were just opened: looks for their first hits together, where the engine can do
 * that for less than one by one; the hits are the same. After a failure close them all. Errors: CANCELLED, NOMEM.
 */
IqdbStatus iqdb_cursors_begin(IqdbCursor *const *cursors, size_t count, IqdbError *err) IQDB_MUST_CHECK;
/* Next hits in order, up to capacity; *count_out = 0 at the end. Holds no lock when it returns. */
IqdbStatus iqdb_cursor_next(IqdbCursor *cursor, IqdbHit *hits, size_t capacity, size_t *count_out,
							IqdbError *err) IQDB_MUST_CHECK;
void iqdb_cursor_close(IqdbCursor *cursor);

/* ---- snapshot, verification, numbers ----------------------------------------------------------------------------- */

/*
 * Streams of a snapshot: rows (slot by slot, so that slot numbers are kept), then the engine's part. Section numbers and
 * bytes are described in db/index_codec.h. save() runs beside readers and writers: it copies in stretches under ROWS and
 * may mix moments; the host replays what changed meanwhile. load() runs alone on a freshly formatted index.
 */
typedef struct IqdbSectionSink
{
	IqdbStatus (*write)(void *arg, uint16_t section, const void *bytes, size_t length, IqdbError *err);
	void *arg;
} IqdbSectionSink;

typedef struct IqdbSectionSource
{
	/* exactly length bytes of this section, or IQDB_ERR_CORRUPT */
	IqdbStatus (*read)(void *arg, uint16_t section, void *bytes, size_t length, IqdbError *err);
	void *arg;
} IqdbSectionSource;

IqdbStatus iqdb_index_save(IqdbIndex *index, IqdbSectionSink *sink, IqdbError *err) IQDB_MUST_CHECK;
IqdbStatus iqdb_index_load(IqdbIndex *index, IqdbSectionSource *source, IqdbError *err) IQDB_MUST_CHECK;

/*
 * The same for a host that has the rows' content itself, and finds it by number: a snapshot whose rows are bare, of each its
 * id, which is a number (else IQDB_ERR_CONFIG), and its sequence. Vectors, columns and metadata are left out.
 */
IqdbStatus iqdb_index_save_bare(IqdbIndex *index, IqdbSectionSink *sink, IqdbError *err) IQDB_MUST_CHECK;

/*
 * load() in steps, for that host. rows() loads rows of either kind. If they came bare, all of them are KNOWN, and
 * content() completes those that searches are to find: as if the row in this slot had been inserted with this vector, of the
 * index's dimension, and these columns. What is not completed stays known. At last engine(), from the same source or
 * another; a row whose content is another than when the snapshot was taken is the host's to remove afterwards.
 * Errors of content(): those of iqdb_index_put_row() that are the row's fault, IQDB_ERR_STATE (no row is known there).
 */
IqdbStatus iqdb_index_load_rows(IqdbIndex *index, IqdbSectionSource *source, bool *bare_out,
								IqdbError *err) IQDB_MUST_CHECK;
IqdbStatus iqdb_index_load_content(IqdbIndex *index, uint32_t slot, const void *vector, const IqdbColumnValues *columns,
								   IqdbError *err) IQDB_MUST_CHECK;
IqdbStatus iqdb_index_load_engine(IqdbIndex *index, IqdbSectionSource *source, IqdbError *err) IQDB_MUST_CHECK;

/*
 * The options that a snapshot's index had: for a host that must format an index before it can load. Reads the beginning of
 * section ROWS, so the load that follows needs a source of its own. Errors: CORRUPT, VERSION, those of the source.
 */
IqdbStatus iqdb_index_load_options(IqdbSectionSource *source, IqdbIndexOptions *options_out,
								   IqdbError *err) IQDB_MUST_CHECK;

/* Verifies store and engine: id map, chains, counts, sequences, padding, engine's invariants. One call per breach. */
IqdbStatus iqdb_index_check(IqdbIndex *index, IqdbFinding finding, void *arg, IqdbError *err) IQDB_MUST_CHECK;

void iqdb_index_stats(const IqdbIndex *index, IqdbIndexStats *stats_out);

/*
 * The least number of lists that hold the share `coverage` of all rows (ivf/ivf.h). Errors: IQDB_ERR_CONFIG (the engine
 * has no lists; coverage outside 0 .. 1), IQDB_ERR_NOMEM.
 */
IqdbStatus iqdb_index_suggest_probes(IqdbIndex *index, double coverage, uint32_t *probes_out,
									 IqdbError *err) IQDB_MUST_CHECK;

/* Rows of the first `room` lists, and how many lists there are: 0 before training. IQDB_ERR_CONFIG: the engine has none. */
IqdbStatus iqdb_index_list_sizes(IqdbIndex *index, uint64_t *sizes_out, uint32_t room, uint32_t *lists_out,
								 IqdbError *err) IQDB_MUST_CHECK;

/*
 * Bytes of memory that so many rows will need, engine included and the host's own left out; of a snapshot that is not
 * compressed, of either kind; of the file of vectors, if they are to lie in one.
 */
uint64_t iqdb_index_estimate_memory(const IqdbIndexOptions *options, uint64_t rows);
uint64_t iqdb_index_estimate_snapshot(const IqdbIndexOptions *options, uint64_t rows, bool bare);
uint64_t iqdb_index_estimate_vector_file(const IqdbIndexOptions *options, uint64_t rows);

#endif
