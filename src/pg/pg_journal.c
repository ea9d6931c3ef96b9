/*
 * pg_journal.c - see pg_journal.h for what the journal is and for its bytes.
 *
 * Locks, from outside to inside: relation extension lock (heavyweight) > content lock of the meta page > content lock of
 * the tail page > of a page not yet linked. An appender takes the tail's alone; nobody who holds it waits for the meta
 * page, so the order cannot be turned round. Own LWLocks come after all of them.
 *
 * A crash between extending the fork and linking the new block leaves a block that no page points to. It is found by its
 * number (not below the meta page's page count) and used next.
 */
#include "postgres.h"

#include "access/generic_xlog.h"
#include "access/rmgr.h"
#include "access/xlog.h"
#include "access/xloginsert.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/memutils.h"

#include "pg/pg_fail.h"
#include "pg/pg_journal.h"
#include "pg/pg_memo.h"
#include "pg/pg_registry.h"
#include "pg/pg_settings.h"

#define META_MAGIC 0x62647169	/* "iqdb" */
#define META_FORMAT 1
#define PAGE_MAGIC 0x6a647169	/* "iqdj" */
#define META_BLOCK 0
#define EPOCH_MASK UINT64CONST(0xFFFFFFFFFFFF)

typedef struct JournalSpecial
{
	uint64		first;
	uint64		start_hash;
	uint64		epoch;
	BlockNumber next;
	uint32		magic;
} JournalSpecial;

StaticAssertDecl(sizeof(IqdbPgEntry) == 8, "journal entries are 8 bytes");
StaticAssertDecl(sizeof(JournalSpecial) == 32, "journal page's special area is 32 bytes");

static inline JournalSpecial *
special(Page page)
{
	return (JournalSpecial *) PageGetSpecialPointer(page);
}

static inline IqdbPgEntry *
page_entries(Page page)
{
	return (IqdbPgEntry *) ((char *) page + SizeOfPageHeaderData);
}

static inline int
page_count(Page page)
{
	return (((PageHeader) page)->pd_lower - SizeOfPageHeaderData) / sizeof(IqdbPgEntry);
}

/*
 * A page is called full long before its bytes are used up: the first append after each checkpoint logs an image of all that
 * is on the page, and whoever verifies a position hashes the entries before it.
 */
#define PAGE_ENTRIES_MAX 256

/* Entries that come together share those costs: a batch fills a page to its end. */
#define PAGE_ENTRIES_BATCH 1000
#define BATCH_MIN 64

static inline int
page_room(Page page, int wanted)
{
	int			most = wanted >= BATCH_MIN ? PAGE_ENTRIES_BATCH : PAGE_ENTRIES_MAX;

	return Max(most - page_count(page), 0);
}

StaticAssertDecl(SizeOfPageHeaderData + PAGE_ENTRIES_BATCH * sizeof(IqdbPgEntry) +
				 MAXALIGN(sizeof(JournalSpecial)) <= BLCKSZ, "a page has room for a batch");

/* A journal page is believed only if its header fits what we write. */
static inline bool
page_valid(Page page)
{
	return !PageIsNew(page) &&
		PageGetSpecialSize(page) == MAXALIGN(sizeof(JournalSpecial)) &&
		special(page)->magic == PAGE_MAGIC &&
		((PageHeader) page)->pd_lower >= SizeOfPageHeaderData &&
		((PageHeader) page)->pd_lower <= ((PageHeader) page)->pd_upper;
}

static void
page_init(Page page, uint64 first, uint64 start_hash, uint64 epoch)
{
	JournalSpecial *s;

	PageInit(page, BLCKSZ, sizeof(JournalSpecial));
	s = special(page);
	s->first = first;
	s->start_hash = start_hash;
	s->epoch = epoch;
	s->next = InvalidBlockNumber;
	s->magic = PAGE_MAGIC;
}

static uint64
page_hash(Page page, int upto)
{
	uint64		hash = special(page)->start_hash;

	for (int i = 0; i < upto; i++)
		hash = iqdb_pg_hash_step(hash, page_entries(page) + i);
	return hash;
}

static inline IqdbPgMeta *
page_meta(Page page)
{
	return (IqdbPgMeta *) PageGetContents(page);
}

static void
fail_damaged(Relation index, BlockNumber block)
{
	ereport(ERROR,
			(errcode(ERRCODE_INDEX_CORRUPTED),
			 errmsg("index \"%s\" has a damaged page at block %u", RelationGetRelationName(index), block),
			 errhint("REINDEX the index.")));
}

/* ---- creation and meta page ---- */

static IqdbPgGeneration
random_generation(void)
{
	IqdbPgGeneration generation;

	if (!pg_strong_random(&generation, sizeof(generation)))
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not draw a random number")));
	return generation;
}

static Buffer
new_page(Relation index, ForkNumber fork, BlockNumber block)
{
	Buffer		buffer;

	buffer = ReadBufferExtended(index, fork, block < RelationGetNumberOfBlocksInFork(index, fork) ? block : P_NEW,
								RBM_NORMAL, NULL);
	if (BufferGetBlockNumber(buffer) != block)
		elog(ERROR, "unexpected block %u of index \"%s\"", BufferGetBlockNumber(buffer),
			 RelationGetRelationName(index));
	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	return buffer;
}

/* Generic WAL writes nothing for an unlogged relation, but its init fork must survive a crash. */
static void
log_init_fork(Buffer buffer)
{
	START_CRIT_SECTION();
	MarkBufferDirty(buffer);
	log_newpage_buffer(buffer, true);
	END_CRIT_SECTION();
}

void
iqdb_pg_journal_create(Relation index, ForkNumber fork, uint32 dimension, uint32 metric, uint32 engine,
					   IqdbPgMeta *meta_out)
{
	IqdbPgMeta	meta;

	memset(&meta, 0, sizeof(meta));
	meta.magic = META_MAGIC;
	meta.format = META_FORMAT;
	meta.generation = random_generation();
	meta.flags = fork == INIT_FORKNUM ? IQDB_PG_META_INIT : 0;
	meta.oldest_block = meta.tail_hint = 1;
	meta.page_count = 1;
	meta.dimension = dimension;
	meta.metric = metric;
	meta.engine = engine;

	for (BlockNumber block = 0; block < 2; block++)
	{
		Buffer		buffer = new_page(index, fork, block);
		GenericXLogState *state = GenericXLogStart(index);
		Page		page = GenericXLogRegisterBuffer(state, buffer, GENERIC_XLOG_FULL_IMAGE);

		if (block == META_BLOCK)
		{
			PageInit(page, BLCKSZ, 0);
			*page_meta(page) = meta;
			((PageHeader) page)->pd_lower = (char *) (page_meta(page) + 1) - (char *) page;
		}
		else
			page_init(page, 0, meta.generation.low, 0);
		GenericXLogFinish(state);
		IQDB_PG_FAIL_POINT("journal-create");
		if (fork == INIT_FORKNUM)
			log_init_fork(buffer);
		UnlockReleaseBuffer(buffer);
	}
	/* a build in the transaction that made the relation keeps its file */
	iqdb_pg_memo(index)->has_generation = false;
	*meta_out = meta;
}

bool
iqdb_pg_journal_is_meta(const IqdbPgMeta *meta)
{
	return meta->magic == META_MAGIC && meta->format == META_FORMAT;
}

bool
iqdb_pg_journal_try_meta(Relation index, IqdbPgMeta *meta_out)
{
	Buffer		buffer;
	Page		page;

	memset(meta_out, 0, sizeof(*meta_out));
	if (RelationGetNumberOfBlocks(index) < 2)
		return false;
	buffer = ReadBuffer(index, META_BLOCK);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	page = BufferGetPage(buffer);
	if (!PageIsNew(page))
		*meta_out = *page_meta(page);
	UnlockReleaseBuffer(buffer);
	return iqdb_pg_journal_is_meta(meta_out);
}

void
iqdb_pg_journal_meta(Relation index, IqdbPgMeta *meta_out)
{
	if (iqdb_pg_journal_try_meta(index, meta_out))
		return;
	if (meta_out->magic != META_MAGIC)
		fail_damaged(index, META_BLOCK);
	if (meta_out->format != META_FORMAT)
		ereport(ERROR,
				(errcode(ERRCODE_INDEX_CORRUPTED),
				 errmsg("index \"%s\" has format %u, this library reads format %u", RelationGetRelationName(index),
						meta_out->format, META_FORMAT),
				 errhint("REINDEX the index, or install the version of iqdb that wrote it.")));
}

bool
iqdb_pg_journal_generation(Relation index, IqdbPgGeneration *generation_out)
{
	IqdbPgMeta	meta;

	if (iqdb_pg_memo(index)->has_generation)
	{
		*generation_out = iqdb_pg_memo(index)->generation;
		return true;
	}
	iqdb_pg_journal_meta(index, &meta);
	*generation_out = meta.generation;
	if (meta.flags & IQDB_PG_META_INIT)
		return false;
	iqdb_pg_memo(index)->generation = meta.generation;
	iqdb_pg_memo(index)->has_generation = true;
	return true;
}

void
iqdb_pg_journal_adopt_init(Relation index, IqdbPgMeta *meta)
{
	Buffer		buffer = ReadBuffer(index, META_BLOCK);
	GenericXLogState *state;
	Page		page;

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	state = GenericXLogStart(index);
	page = GenericXLogRegisterBuffer(state, buffer, 0);
	if (page_meta(page)->flags & IQDB_PG_META_INIT)
	{
		page_meta(page)->flags &= ~IQDB_PG_META_INIT;
		page_meta(page)->generation = random_generation();
		IQDB_PG_FAIL_POINT("init-adopt");
		GenericXLogFinish(state);
		IQDB_PG_FAIL_POINT("init-adopted");
	}
	else
		GenericXLogAbort(state);
	*meta = *page_meta(BufferGetPage(buffer));
	UnlockReleaseBuffer(buffer);
}

IqdbPgPosition
iqdb_pg_journal_origin(const IqdbPgMeta *meta)
{
	IqdbPgPosition position;

	position.number = 0;
	position.hash = meta->generation.low;
	position.block = 1;
	position.unused = 0;
	return position;
}

/* ---- the tail ---- */

/*
 * Pins and locks the tail page, starting at hint and following the links. A hint that was reused meanwhile is a newer
 * page of the same queue, so following links from it ends at the tail as well.
 */
static Buffer
lock_tail(Relation index, BlockNumber hint, int mode)
{
	BlockNumber block = hint;

	if (block == META_BLOCK || block == InvalidBlockNumber)
	{
		IqdbPgMeta	meta;

		iqdb_pg_journal_meta(index, &meta);
		block = meta.tail_hint;
	}
	for (;;)
	{
		Buffer		buffer = ReadBuffer(index, block);
		Page		page = BufferGetPage(buffer);
		BlockNumber next;

		LockBuffer(buffer, mode);
		if (!page_valid(page))
		{
			UnlockReleaseBuffer(buffer);
			fail_damaged(index, block);
		}
		next = special(page)->next;
		if (next == InvalidBlockNumber)
			return buffer;
		UnlockReleaseBuffer(buffer);
		block = next;
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * Where the queue's next page comes from: the oldest page if nobody needs it and the queue is long enough, a block that a
 * crash left unlinked, or a fresh one. Extension lock and meta page are held exclusively. Returns it locked; *recycled
 * says that it was the oldest page, *next_oldest the page behind it.
 */
static Buffer
take_page(Relation index, const IqdbPgMeta *meta, const IqdbPgKeep *keep, bool *recycled, BlockNumber *next_oldest)
{
	Buffer		buffer;

	*recycled = false;
	if (meta->page_count > Min(keep->pages, (uint32) iqdb_journal_keep_pages))
	{
		uint64		end;
		bool		unneeded;
		Page		page;

		buffer = ReadBuffer(index, meta->oldest_block);
		LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
		page = BufferGetPage(buffer);
		if (!page_valid(page))
		{
			UnlockReleaseBuffer(buffer);
			fail_damaged(index, meta->oldest_block);
		}
		end = special(page)->first + page_count(page);
		unneeded = end <= keep->from || meta->page_count >= (uint32) iqdb_journal_max_pages;
		if (unneeded && special(page)->next != InvalidBlockNumber)
		{
			*recycled = true;
			*next_oldest = special(page)->next;
			return buffer;
		}
		UnlockReleaseBuffer(buffer);
	}
	return new_page(index, MAIN_FORKNUM, meta->page_count + 1);
}

/* Links one more page behind the tail, unless somebody else has just done so. */
static void
extend(Relation index, BlockNumber hint, const IqdbPgKeep *keep, int wanted)
{
	bool		locked = !RELATION_IS_LOCAL(index);
	Buffer		meta_buffer;
	Buffer		tail;
	IqdbPgMeta	meta;

	if (locked)
		LockRelationForExtension(index, ExclusiveLock);
	meta_buffer = ReadBuffer(index, META_BLOCK);
	LockBuffer(meta_buffer, BUFFER_LOCK_EXCLUSIVE);
	meta = *page_meta(BufferGetPage(meta_buffer));
	tail = lock_tail(index, hint, BUFFER_LOCK_EXCLUSIVE);
	if (page_room(BufferGetPage(tail), wanted) == 0)
	{
		BlockNumber next_oldest = InvalidBlockNumber;
		bool		recycled;
		Buffer		fresh = take_page(index, &meta, keep, &recycled, &next_oldest);
		GenericXLogState *state = GenericXLogStart(index);
		Page		meta_page = GenericXLogRegisterBuffer(state, meta_buffer, 0);
		Page		tail_page = GenericXLogRegisterBuffer(state, tail, 0);
		Page		page = GenericXLogRegisterBuffer(state, fresh, GENERIC_XLOG_FULL_IMAGE);
		int			count = page_count(tail_page);

		IQDB_PG_FAIL_POINT("journal-page-taken");
		page_init(page, special(tail_page)->first + count, page_hash(tail_page, count), special(tail_page)->epoch);
		special(tail_page)->next = BufferGetBlockNumber(fresh);
		page_meta(meta_page)->tail_hint = BufferGetBlockNumber(fresh);
		if (recycled)
			page_meta(meta_page)->oldest_block = next_oldest;
		else
			page_meta(meta_page)->page_count++;
		GenericXLogFinish(state);
		IQDB_PG_FAIL_POINT("journal-page-linked");
		UnlockReleaseBuffer(fresh);
	}
	UnlockReleaseBuffer(tail);
	UnlockReleaseBuffer(meta_buffer);
	if (locked)
		UnlockRelationForExtension(index, ExclusiveLock);
}

/* A change of a page as a generic WAL record tells it: offset and length, then the bytes. */
typedef struct Fragment
{
	OffsetNumber offset;
	OffsetNumber length;
} Fragment;

StaticAssertDecl(sizeof(Fragment) == 4, "the head of a fragment is 4 bytes");

/* Registers a part of the page, as it is now, for the record of the page. fragment must stay until the record is inserted. */
static void
log_fragment(Fragment *fragment, Page page, Size offset, Size length)
{
	fragment->offset = (OffsetNumber) offset;
	fragment->length = (OffsetNumber) length;
	XLogRegisterBufData(0, (char *) fragment, sizeof(*fragment));
	XLogRegisterBufData(0, (char *) page + offset, (int) length);
}

/*
 * Writes entries behind those on the page, and the record that tells of them. GenericXLogStart() and what follows it would
 * copy the page, compare the copy with it byte by byte and copy it back, all under the lock that every writer wants; we
 * know what changes: where the entries end, the entries, and the page's epoch. So the record, of the server's generic kind,
 * is put together here; its bytes are the same. The hole of the page is zero, as replay leaves it.
 */
static void
append_to_page(Relation index, Buffer buffer, const IqdbPgEntry *epoch_entry, uint64 epoch, const IqdbPgEntry *entries,
			   int count)
{
	Page		page = BufferGetPage(buffer);
	PageHeader	header = (PageHeader) page;
	LocationIndex start = header->pd_lower;
	bool		logged = RelationNeedsWAL(index);
	XLogRecPtr	lsn;
	Fragment	fragments[3];

	if (logged)
		XLogBeginInsert();
	START_CRIT_SECTION();
	if (epoch_entry != NULL)
	{
		memcpy((char *) page + header->pd_lower, epoch_entry, sizeof(IqdbPgEntry));
		header->pd_lower += sizeof(IqdbPgEntry);
		special(page)->epoch = epoch;
	}
	memcpy((char *) page + header->pd_lower, entries, count * sizeof(IqdbPgEntry));
	header->pd_lower += count * sizeof(IqdbPgEntry);
	MarkBufferDirty(buffer);
	if (logged)
	{
		XLogRegisterBuffer(0, buffer, REGBUF_STANDARD);
		log_fragment(&fragments[0], page, offsetof(PageHeaderData, pd_lower), sizeof(header->pd_lower));
		log_fragment(&fragments[1], page, start, header->pd_lower - start);
		if (epoch_entry != NULL)
			log_fragment(&fragments[2], page, (char *) &special(page)->epoch - (char *) page, sizeof(uint64));
		lsn = XLogInsert(RM_GENERIC_ID, 0);
		PageSetLSN(page, lsn);
	}
	END_CRIT_SECTION();
}

/* Locks the tail page, where it has room for at least one of `wanted` entries. */
static Buffer
lock_tail_with_room(Relation index, BlockNumber hint, const IqdbPgKeep *keep, int wanted)
{
	for (;;)
	{
		Buffer		buffer = lock_tail(index, hint, BUFFER_LOCK_EXCLUSIVE);

		if (page_room(BufferGetPage(buffer), wanted) > 0)
			return buffer;
		hint = BufferGetBlockNumber(buffer);
		UnlockReleaseBuffer(buffer);
		extend(index, hint, keep, wanted);
	}
}

void
iqdb_pg_journal_begin(Relation index, const IqdbPgEntry *entries, int count, BlockNumber hint, const IqdbPgKeep *keep,
					  IqdbPgAppend *append_out)
{
	uint64		epoch = iqdb_pg_registry()->token & EPOCH_MASK;
	Buffer		buffer = lock_tail_with_room(index, hint, keep, count);
	Page		page = BufferGetPage(buffer);

	append_out->buffer = buffer;
	append_out->number = special(page)->first + page_count(page);
	append_out->block = BufferGetBlockNumber(buffer);
	append_out->epoch = special(page)->epoch != epoch;
	append_out->epoch_entry = (IqdbPgEntry) {(uint32) (epoch >> 16), (uint16) epoch, IQDB_PG_OP_EPOCH};
	append_out->count = Min(page_room(page, count) - (append_out->epoch ? 1 : 0), count);

	IQDB_PG_FAIL_POINT("journal-append");
	append_to_page(index, buffer, append_out->epoch ? &append_out->epoch_entry : NULL, epoch, entries,
				   append_out->count);
	IQDB_PG_FAIL_POINT("journal-appended");
	append_out->lsn = PageGetLSN(page);
}

void
iqdb_pg_journal_finish(const IqdbPgAppend *append)
{
	UnlockReleaseBuffer(append->buffer);
}

uint64
iqdb_pg_journal_end(Relation index, BlockNumber hint)
{
	Buffer		buffer = lock_tail(index, hint, BUFFER_LOCK_SHARE);
	Page		page = BufferGetPage(buffer);
	uint64		end = special(page)->first + page_count(page);

	UnlockReleaseBuffer(buffer);
	return end;
}

XLogRecPtr
iqdb_pg_journal_page_lsn(Relation index, BlockNumber block)
{
	Buffer		buffer = ReadBuffer(index, block);
	XLogRecPtr	lsn;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	lsn = PageGetLSN(BufferGetPage(buffer));
	UnlockReleaseBuffer(buffer);
	return lsn;
}

IqdbPgPosition
iqdb_pg_journal_end_position(Relation index, BlockNumber hint)
{
	Buffer		buffer = lock_tail(index, hint, BUFFER_LOCK_SHARE);
	Page		page = BufferGetPage(buffer);
	IqdbPgPosition position;

	position.number = special(page)->first + page_count(page);
	position.hash = page_hash(page, page_count(page));
	position.block = BufferGetBlockNumber(buffer);
	position.unused = 0;
	UnlockReleaseBuffer(buffer);
	return position;
}

/* ---- reading ---- */

/*
 * Pins and share-locks the page that holds entry number `number`, or on which it would be the next. InvalidBuffer when
 * the queue does not reach back that far (or not forward).
 */
static Buffer
lock_page_of(Relation index, uint64 number, BlockNumber hint)
{
	BlockNumber block = hint == META_BLOCK ? InvalidBlockNumber : hint;
	bool		from_oldest = false;
	for (;;)
	{
		Buffer		buffer;
		Page		page;
		uint64		first;
		uint64		end;
		BlockNumber next;

		if (block == InvalidBlockNumber)
		{
			IqdbPgMeta	meta;

			if (from_oldest)
				return InvalidBuffer;
			iqdb_pg_journal_meta(index, &meta);
			block = meta.oldest_block;
			from_oldest = true;
		}
		buffer = ReadBuffer(index, block);
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		page = BufferGetPage(buffer);
		if (!page_valid(page))
		{
			UnlockReleaseBuffer(buffer);
			fail_damaged(index, block);
		}
		first = special(page)->first;
		end = first + page_count(page);
		next = special(page)->next;
		if (number >= first && (number < end || (number == end && next == InvalidBlockNumber)))
			return buffer;
		UnlockReleaseBuffer(buffer);
		block = number < first ? InvalidBlockNumber : next;
		if (block == InvalidBlockNumber && number >= first)
			return InvalidBuffer;	/* beyond the end */
		CHECK_FOR_INTERRUPTS();
	}
}

IqdbPgRead
iqdb_pg_journal_read(Relation index, IqdbPgPosition *position, IqdbPgEntry *entries, int capacity, int *count_out)
{
	int			total = 0;

	*count_out = 0;
	while (total < capacity)
	{
		Buffer		buffer = lock_page_of(index, position->number, position->block);
		Page		page;
		int			start;
		int			count;

		if (!BufferIsValid(buffer))
			return IQDB_PG_READ_LAPPED;
		page = BufferGetPage(buffer);
		start = (int) (position->number - special(page)->first);
		count = Min(page_count(page) - start, capacity - total);
		if (start == 0 && special(page)->start_hash != position->hash)
		{
			UnlockReleaseBuffer(buffer);
			return IQDB_PG_READ_FOREIGN;
		}
		memcpy(entries + total, page_entries(page) + start, count * sizeof(IqdbPgEntry));
		position->block = BufferGetBlockNumber(buffer);
		UnlockReleaseBuffer(buffer);
		for (int i = 0; i < count; i++)
			position->hash = iqdb_pg_hash_step(position->hash, entries + total + i);
		position->number += count;
		total += count;
		if (count == 0)
			break;
	}
	*count_out = total;
	return IQDB_PG_READ_OK;
}

IqdbPgRead
iqdb_pg_journal_verify(Relation index, const IqdbPgPosition *position)
{
	Buffer		buffer = lock_page_of(index, position->number, position->block);
	Page		page;
	uint64		hash;

	if (!BufferIsValid(buffer))
	{
		uint64		oldest;
		uint32		pages;

		iqdb_pg_journal_extent(index, &oldest, &pages);
		return position->number < oldest ? IQDB_PG_READ_LAPPED : IQDB_PG_READ_FOREIGN;
	}
	page = BufferGetPage(buffer);
	hash = page_hash(page, (int) (position->number - special(page)->first));
	UnlockReleaseBuffer(buffer);
	return hash == position->hash ? IQDB_PG_READ_OK : IQDB_PG_READ_FOREIGN;
}

void
iqdb_pg_journal_extent(Relation index, uint64 *oldest_out, uint32 *pages_out)
{
	IqdbPgMeta	meta;
	Buffer		buffer;
	Page		page;

	iqdb_pg_journal_meta(index, &meta);
	buffer = ReadBuffer(index, meta.oldest_block);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	page = BufferGetPage(buffer);
	*oldest_out = page_valid(page) ? special(page)->first : 0;
	*pages_out = meta.page_count;
	UnlockReleaseBuffer(buffer);
}

/* ---- a look that never waits ---- */

#define GLANCES 10
#define GLANCE_PAUSE 10000L

/* Pins and locks a page if nobody else has it locked; else InvalidBuffer. The server has no conditional lock that is shared. */
static Buffer
try_lock_page(Relation index, BlockNumber block)
{
	Buffer		buffer = ReadBuffer(index, block);

	if (ConditionalLockBuffer(buffer))
		return buffer;
	ReleaseBuffer(buffer);
	return InvalidBuffer;
}

/* Reads the special area of a journal page and how many entries it has; false if somebody has the page. */
static bool
try_read_page(Relation index, BlockNumber block, JournalSpecial *special_out, int *count_out)
{
	Buffer		buffer = try_lock_page(index, block);
	bool		valid;

	if (!BufferIsValid(buffer))
		return false;
	valid = page_valid(BufferGetPage(buffer));
	if (valid)
	{
		*special_out = *special(BufferGetPage(buffer));
		*count_out = page_count(BufferGetPage(buffer));
	}
	UnlockReleaseBuffer(buffer);
	if (!valid)
		fail_damaged(index, block);
	return true;
}

static bool
try_glance(Relation index, uint64 *oldest_out, uint64 *end_out)
{
	Buffer		buffer = try_lock_page(index, META_BLOCK);
	JournalSpecial page;
	IqdbPgMeta	meta;
	int			count;

	if (!BufferIsValid(buffer))
		return false;
	meta = *page_meta(BufferGetPage(buffer));
	UnlockReleaseBuffer(buffer);
	if (!try_read_page(index, meta.oldest_block, &page, &count))
		return false;
	*oldest_out = page.first;
	page.next = meta.tail_hint;
	do
	{
		CHECK_FOR_INTERRUPTS();
		if (!try_read_page(index, page.next, &page, &count))
			return false;
	} while (page.next != InvalidBlockNumber);
	*end_out = page.first + count;
	return true;
}

bool
iqdb_pg_journal_glance(Relation index, uint64 *oldest_out, uint64 *end_out)
{
	for (int i = 0; i < GLANCES; i++)
	{
		if (try_glance(index, oldest_out, end_out))
			return true;
		CHECK_FOR_INTERRUPTS();
		pg_usleep(GLANCE_PAUSE);
	}
	return false;
}
