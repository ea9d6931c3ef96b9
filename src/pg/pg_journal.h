/*
 * pg_journal.h - the TID journal in an index's main fork: the small truth that rides on the server's own WAL.
 *
 * Block 0 is the meta page; the other blocks are a queue of journal pages, linked by block number and reused from the
 * oldest on. An entry is 8 bytes: which TID, and whether the index gained it (INSERT) or lost it (DELETE), or that a new
 * life of the server's shared memory began (EPOCH). Everything is written by generic WAL records, so whoever replays the
 * WAL (crash recovery, standby, restore) has exactly the entries that belong to the heap it replays.
 *
 * A position names a point between two entries: how many entries were ever written before it, and a 64-bit chain hash
 * over them all. Two histories that parted never share a hash behind the point where they did: the first append of each
 * life writes an EPOCH with random bits.
 *
 *   meta page (block 0), contents at the page's data area, little-endian as the server's own pages are:
 *     0 magic u32 | 4 format u32 | 8 generation 16 bytes | 24 flags u32 | 28 oldest block u32 | 32 tail hint u32
 *     36 pages in queue u32 | 40 dimension u32 | 44 metric u32 | 48 engine u32
 *   journal page: up to 1000 entries from the page header on, pd_lower behind the last; special area:
 *     0 first u64: entries ever written before this page | 8 start hash u64 | 16 epoch u64 (48 bits used)
 *     24 next block u32 (InvalidBlockNumber at the tail) | 28 magic u32
 *   entry: block u32 | offset u16 | op u16;  EPOCH carries its 48 bits in block and offset.
 */
#ifndef IQDB_PG_JOURNAL_H
#define IQDB_PG_JOURNAL_H

#include "access/xlogdefs.h"
#include "storage/block.h"
#include "storage/buf.h"
#include "storage/itemptr.h"
#include "utils/rel.h"

typedef enum IqdbPgOp
{
	IQDB_PG_OP_INSERT = 1,
	IQDB_PG_OP_DELETE = 2,
	IQDB_PG_OP_EPOCH = 3
} IqdbPgOp;

typedef struct IqdbPgEntry
{
	uint32		block;
	uint16		offset;
	uint16		op;
} IqdbPgEntry;

typedef struct IqdbPgPosition
{
	uint64		number;			/* entries ever written before this point */
	uint64		hash;			/* chain hash over them */
	BlockNumber block;			/* page to start looking at: a hint */
	uint32		unused;
} IqdbPgPosition;

typedef struct IqdbPgGeneration
{
	uint64		high;
	uint64		low;
} IqdbPgGeneration;

#define IQDB_PG_META_INIT 1u	/* this is an init fork, or its copy after a crash */

/* What the meta page says. */
typedef struct IqdbPgMeta
{
	uint32		magic;
	uint32		format;
	IqdbPgGeneration generation;
	uint32		flags;
	BlockNumber oldest_block;
	BlockNumber tail_hint;
	uint32		page_count;
	uint32		dimension;
	uint32		metric;
	uint32		engine;
	uint32		unused;
} IqdbPgMeta;

/* Entries that were just written to the tail page, whose content lock is held: see iqdb_pg_journal_begin. */
typedef struct IqdbPgAppend
{
	Buffer		buffer;
	uint64		number;			/* of the first entry written, the epoch entry included */
	BlockNumber block;
	bool		epoch;			/* an EPOCH entry went first */
	IqdbPgEntry epoch_entry;
	int			count;			/* how many of the caller's entries */
	XLogRecPtr	lsn;
} IqdbPgAppend;

/* What appends must leave readable. */
typedef struct IqdbPgKeep
{
	uint64		from;			/* entries below this number are not needed by any file of this server */
	uint32		pages;			/* for other servers: so many pages are enough, or iqdb.journal_keep if that is less */
} IqdbPgKeep;

/*
 * Writes a fresh meta page and an empty journal into the fork (truncated or empty before) under a new random generation.
 * The fork may be the init fork of an unlogged index: it is then logged although the relation is not.
 */
extern void iqdb_pg_journal_create(Relation index, ForkNumber fork, uint32 dimension, uint32 metric, uint32 engine,
								   IqdbPgMeta *meta_out);

/* Are these the bytes of a meta page of ours? */
extern bool iqdb_pg_journal_is_meta(const IqdbPgMeta *meta);

/* Reads the meta page; false if there is none of ours and of this format. */
extern bool iqdb_pg_journal_try_meta(Relation index, IqdbPgMeta *meta_out);

/* Reads the meta page; ERROR (XX002) if it is not one of ours or of another format. */
extern void iqdb_pg_journal_meta(Relation index, IqdbPgMeta *meta_out);

/*
 * The main fork was copied from the init fork after a crash: gives it a generation of its own, once. Caller holds the
 * open lock of the index. *meta is updated.
 */
extern void iqdb_pg_journal_adopt_init(Relation index, IqdbPgMeta *meta);

/*
 * The index's generation, without touching the meta page when this backend has seen it since the relation last changed.
 * false while the fork is still the init fork's copy.
 */
extern bool iqdb_pg_journal_generation(Relation index, IqdbPgGeneration *generation_out);

/* Position before the first entry of a generation. */
extern IqdbPgPosition iqdb_pg_journal_origin(const IqdbPgMeta *meta);

/*
 * Writes the first of these entries, as many as go into the tail page, by one WAL record, and returns with the page's
 * content lock held, so that nobody else can append before the caller has done what belongs to them. That must be short
 * and must not raise. append_out->count may be 0, where an EPOCH entry took the last place. hint: a block near the tail
 * (any block is right). Pages that need not be kept may be reused.
 */
extern void iqdb_pg_journal_begin(Relation index, const IqdbPgEntry *entries, int count, BlockNumber hint,
								  const IqdbPgKeep *keep, IqdbPgAppend *append_out);

/* Lets the next one append. */
extern void iqdb_pg_journal_finish(const IqdbPgAppend *append);

/* Number of entries ever written: the journal's end, seen at this moment. */
extern uint64 iqdb_pg_journal_end(Relation index, BlockNumber hint);

/* The LSN of a page as it is now: no entry that it held before has a later one. */
extern XLogRecPtr iqdb_pg_journal_page_lsn(Relation index, BlockNumber block);

/* The journal's end as a position. */
extern IqdbPgPosition iqdb_pg_journal_end_position(Relation index, BlockNumber hint);

typedef enum IqdbPgRead
{
	IQDB_PG_READ_OK,
	IQDB_PG_READ_LAPPED,		/* the page was reused: entries behind the position are lost */
	IQDB_PG_READ_FOREIGN		/* the hash does not agree: the position is of another history */
} IqdbPgRead;

/*
 * Reads up to capacity entries behind *position and moves it. *count_out = 0 with IQDB_PG_READ_OK means the end.
 */
extern IqdbPgRead iqdb_pg_journal_read(Relation index, IqdbPgPosition *position, IqdbPgEntry *entries, int capacity,
									   int *count_out);

/* Is the position one of this history? Compares its hash with the page's. */
extern IqdbPgRead iqdb_pg_journal_verify(Relation index, const IqdbPgPosition *position);

/*
 * Oldest entry number still readable, and number of entries ever written, for somebody who only wants to look: false if another
 * process holds one of the pages for a tenth of a second, as one that is stopped would.
 */
extern bool iqdb_pg_journal_glance(Relation index, uint64 *oldest_out, uint64 *end_out);

/* Oldest entry number still readable, and pages in the queue. */
extern void iqdb_pg_journal_extent(Relation index, uint64 *oldest_out, uint32 *pages_out);

/* Hash after one more entry. */
static inline uint64
iqdb_pg_hash_step(uint64 hash, const IqdbPgEntry *entry)
{
	uint64		bits;

	memcpy(&bits, entry, sizeof(bits));
	hash = (hash ^ bits) * UINT64CONST(0x9E3779B97F4A7C15);
	return hash ^ (hash >> 29);
}

/* An entry about the row of this number (pg_row.h). */
static inline IqdbPgEntry
iqdb_pg_entry(uint64 number, IqdbPgOp op)
{
	IqdbPgEntry entry;

	entry.block = (uint32) (number >> 16);
	entry.offset = (uint16) number;
	entry.op = (uint16) op;
	return entry;
}

/* The row number that an entry is about (pg_row.h). */
static inline uint64
iqdb_pg_entry_id(const IqdbPgEntry *entry)
{
	return ((uint64) entry->block << 16) | entry->offset;
}

#endif
