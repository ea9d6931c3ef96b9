/*
 * pg_cache.c - see pg_cache.h. And iqdb_cache_stats.
 *
 * The cache (core/cache/shared.h) lies in the arena, behind IqdbPgShared, and begins when a search first finds that the
 * index's options want one; other options begin it anew. Memory is asked for before the lock is taken, and grows as the cache
 * is filled. IQDB_PG_LOCK_CACHE is held for the time of copying a question and an answer, and no other lock is taken under
 * it. An arena that has no room for its cache does without.
 *
 * An answer is right as long as the index's version (core/db/index.h) is that of the moment before its search began, because
 * a version counts a change when it is complete. Rows that a snapshot should see were counted before it was taken, or by
 * iqdb_pg_try_current(); rows that were removed are counted before their TIDs can be another row's.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "funcapi.h"

#include "pg/pg_admin.h"
#include "pg/pg_cache.h"
#include "pg/pg_open.h"
#include "pg/pg_options.h"
#include "pg/pg_stream.h"

/* Rows of an answer of usual length: what is reserved for each. Longer ones take the room of several. */
#define USUAL_ROWS 24

/* Address space that every arena has for a cache, should ALTER INDEX want one. */
#define RESERVE_MIN (1024 * 1024)

/* Room for first answers. */
#define GROW_FIRST (64 * 1024)

/* What an answer depends on, before the query's vector, the tests, and the values of these. */
typedef struct QuestionHead
{
	uint64		expected;
	double		bound;
	uint32		ef;
	uint32		probes;
	uint32		test_count;
	uint8		exhaustive;
	uint8		bounded;
	uint8		below;
	uint8		unused;
} QuestionHead;

/* A test without its values. */
typedef struct QuestionTest
{
	int64		low;
	int64		high;
	uint64		value_count;
	uint32		kind;
	uint32		column;
} QuestionTest;

/* An answer, as it is kept. */
typedef struct IqdbPgKept
{
	uint64		ended;			/* there are no more rows than these */
	IqdbRankedRow rows[FLEXIBLE_ARRAY_MEMBER];
} IqdbPgKept;

/* ---- memory ------------------------------------------------------------------------------------------------------ */

uint64
iqdb_pg_cache_offset(void)
{
	return MAXALIGN(sizeof(IqdbPgShared));
}

static IqdbSharedCache *
cache_of(const IqdbPgArena *arena)
{
	return (IqdbSharedCache *) ((char *) arena->shared + iqdb_pg_cache_offset());
}

static uint64
entry_bytes(const IqdbIndexOptions *options)
{
	return sizeof(QuestionHead) + iqdb_element_bytes(iqdb_element(options->element), options->dimension) +
		offsetof(IqdbPgKept, rows) + USUAL_ROWS * sizeof(IqdbRankedRow);
}

uint64
iqdb_pg_cache_reserve(Relation index, const IqdbIndexOptions *options)
{
	IqdbCacheConfig config = iqdb_pg_cache_config(index);

	return Max(iqdb_shared_cache_size(&config, entry_bytes(options)), RESERVE_MIN);
}

static const IqdbArenaRegion *
host_region(const IqdbPgArena *arena)
{
	return &iqdb_arena_header(&arena->arena)->regions[IQDB_REGION_HOST];
}

/* Bytes for the cache that there are, and that there may be. */
static uint64
bytes_there(const IqdbPgArena *arena)
{
	return __atomic_load_n(&host_region(arena)->committed, __ATOMIC_ACQUIRE) - Min(host_region(arena)->committed,
																				   iqdb_pg_cache_offset());
}

static uint64
bytes_possible(const IqdbPgArena *arena)
{
	return host_region(arena)->reserved - iqdb_pg_cache_offset();
}

static void
lock_cache(const IqdbPgArena *arena)
{
	iqdb_store_lock(&arena->index.store, IQDB_PG_LOCK_CACHE, true);
}

static void
unlock_cache(const IqdbPgArena *arena)
{
	iqdb_store_unlock(&arena->index.store, IQDB_PG_LOCK_CACHE, true);
}

/* Was the cache begun by these options? The lock is held, or nothing depends on the answer. */
static bool
is_made_by(const IqdbPgCache *cache, const IqdbCacheConfig *config)
{
	return cache->is_made != 0 && cache->capacity == config->capacity && cache->policy == (int32) config->policy &&
		cache->ttl_ms == config->ttl_ms;
}

/* An empty cache by these options, unless another process has made it meanwhile. No lock is held. */
static void
begin_cache(const IqdbPgArena *arena, const IqdbCacheConfig *config)
{
	IqdbPgCache *cache = &arena->shared->cache;
	uint64		entry = entry_bytes(&arena->index.store.header->options);
	uint64		most = Min(iqdb_shared_cache_size(config, entry), bytes_possible(arena));
	IqdbError	error = {0};

	iqdb_arena_grow_ahead(unconstify(IqdbArena *, &arena->arena), IQDB_REGION_HOST,
						  iqdb_pg_cache_offset() + Min(most, iqdb_shared_cache_least(config, entry, most) + GROW_FIRST));
	lock_cache(arena);
	if (!is_made_by(cache, config))
	{
		cache->is_there = iqdb_shared_cache_format(cache_of(arena), Min(bytes_there(arena), most), most, config, entry,
												   &error) == IQDB_OK;
		cache->capacity = config->capacity;
		cache->policy = (int32) config->policy;
		cache->ttl_ms = config->ttl_ms;
		cache->is_made = 1;
	}
	unlock_cache(arena);
}

/* ---- questions --------------------------------------------------------------------------------------------------- */

static void
append(char **to, const void *bytes, Size length)
{
	memcpy(*to, bytes, length);
	*to += length;
}

static Size
question_size(const IqdbPgFilter *conditions, Size vector_bytes)
{
	Size		size = sizeof(QuestionHead) + vector_bytes + conditions->count * sizeof(QuestionTest);

	for (size_t i = 0; i < conditions->count; i++)
		size += conditions->tests[i].value_count * sizeof(int64);
	return size;
}

/* All that the answer depends on beside the index, as one string of bytes; length 0: too much to remember. */
static IqdbCacheQuestion
make_question(const IqdbSearchParams *params, const IqdbPgStreamWish *wish, const IqdbPgFilter *conditions,
			  const void *vector, Size vector_bytes)
{
	Size		size = question_size(conditions, vector_bytes);
	QuestionHead head;
	char	   *bytes;
	char	   *to;

	if (size > PG_UINT16_MAX * (Size) 4)
		return (IqdbCacheQuestion) {0};
	bytes = to = palloc(size);
	memset(&head, 0, sizeof(head));
	head.expected = wish->expected;
	head.bound = wish->bound;
	head.ef = params->ef;
	head.probes = params->probes;
	head.test_count = (uint32) conditions->count;
	head.exhaustive = wish->exhaustive;
	head.bounded = wish->bounded;
	head.below = wish->below;
	append(&to, &head, sizeof(head));
	append(&to, vector, vector_bytes);
	for (size_t i = 0; i < conditions->count; i++)
	{
		const IqdbTest *test = &conditions->tests[i];
		QuestionTest asked = {test->low, test->high, test->value_count, test->kind, test->column};

		append(&to, &asked, sizeof(asked));
		if (test->value_count > 0)
			append(&to, test->values, test->value_count * sizeof(int64));
	}
	Assert(to == bytes + size);
	return iqdb_cache_question(bytes, (uint32) size);
}

/* ---- answers ----------------------------------------------------------------------------------------------------- */

static uint64
now_ms(const IqdbCacheConfig *config)
{
	return config->ttl_ms > 0 ? iqdb_clock_monotonic(NULL) / 1000000 : 0;
}

/* What is remembered, in memory of the current context; NULL: nothing. Want of memory under the lock is no error. */
static IqdbPgKept *
ask(const IqdbPgAnswer *answer, uint32 *length_out)
{
	const IqdbPgArena *arena = answer->arena;
	IqdbHost	host = iqdb_pg_host(CurrentMemoryContext);
	uint64		now = now_ms(&answer->config);
	IqdbPgKept *kept = NULL;

	if (!is_made_by(&arena->shared->cache, &answer->config))
		begin_cache(arena, &answer->config);
	lock_cache(arena);
	if (arena->shared->cache.is_there)
		kept = iqdb_shared_cache_get(cache_of(arena), &answer->question, answer->version, now, &host.allocator, length_out);
	unlock_cache(arena);
	return kept;
}

bool
iqdb_pg_answer_find(IqdbPgAnswer *answer, Relation index, const IqdbPgArena *arena, const IqdbSearchParams *params,
					const IqdbPgStreamWish *wish, const IqdbPgFilter *conditions, const void *vector, Size bytes)
{
	uint32		length;

	memset(answer, 0, sizeof(*answer));
	answer->config = iqdb_pg_cache_config(index);
	/* a set of rows comes from elsewhere, and may be another one each time */
	if (answer->config.capacity == 0 || wish->ids != NULL)
		return false;
	answer->question = make_question(params, wish, conditions, vector, bytes);
	if (answer->question.length == 0)
		return false;
	answer->arena = arena;
	answer->context = CurrentMemoryContext;
	answer->version = iqdb_index_version(&arena->index);
	answer->kept = ask(answer, &length);
	if (answer->kept == NULL)
		return false;
	answer->found = true;
	answer->count = (length - offsetof(IqdbPgKept, rows)) / sizeof(IqdbRankedRow);
	answer->found_count = answer->room = answer->count;
	return true;
}

bool
iqdb_pg_answer_next(IqdbPgAnswer *answer, IqdbRankedRow *row_out)
{
	if (answer->returned == answer->found_count)
		return false;
	*row_out = answer->kept->rows[answer->returned++];
	return true;
}

bool
iqdb_pg_answer_is_all(const IqdbPgAnswer *answer)
{
	return answer->found && answer->kept->ended != 0;
}

const void *
iqdb_pg_answer_vector(const IqdbPgAnswer *answer)
{
	return answer->question.bytes + sizeof(QuestionHead);
}

size_t
iqdb_pg_answer_ids(const IqdbPgAnswer *answer, uint64 *ids, size_t capacity)
{
	size_t		count = Min(answer->found_count, capacity);

	for (size_t i = 0; i < count; i++)
		ids[i] = answer->kept->rows[i].id;
	return count;
}

/*
 * Is this row of the search that goes on behind those found one of them? The same search usually comes upon them in the same
 * order.
 */
static bool
was_found(IqdbPgAnswer *answer, uint64 id)
{
	const IqdbRankedRow *rows = answer->kept->rows;

	if (answer->passed == answer->found_count)
		return false;
	if (rows[answer->passed].id != id)
	{
		uint32		at = 0;

		while (at < answer->found_count && rows[at].id != id)
			at++;
		if (at == answer->found_count)
			return false;
	}
	answer->passed++;
	return true;
}

static void
make_place(IqdbPgAnswer *answer)
{
	Size		size;

	if (answer->count < answer->room)
		return;
	answer->room = Max(2 * answer->room, 16);
	size = offsetof(IqdbPgKept, rows) + answer->room * sizeof(IqdbRankedRow);
	if (answer->kept != NULL)
		answer->kept = repalloc(answer->kept, size);
	else
		answer->kept = MemoryContextAllocZero(answer->context, size);
}

bool
iqdb_pg_answer_note(IqdbPgAnswer *answer, const IqdbRankedRow *row)
{
	if (answer->arena == NULL)
		return true;
	if (row != NULL && answer->found && was_found(answer, row->id))
		return false;
	if (answer->count == IQDB_PG_CACHED_ROWS_MAX && row != NULL)
		answer->too_long = true;
	if (answer->too_long)
		return true;
	answer->is_news = true;
	make_place(answer);
	if (row != NULL)
		answer->kept->rows[answer->count++] = *row;
	else
		answer->kept->ended = 1;
	return true;
}

static void
put_answer(const IqdbPgAnswer *answer)
{
	const IqdbPgArena *arena = answer->arena;
	uint32		length = offsetof(IqdbPgKept, rows) + answer->count * sizeof(IqdbRankedRow);
	IqdbSharedCache *cache;
	uint64		wanted;

	cache = cache_of(arena);
	/* counted, and not kept */
	if (answer->too_long || iqdb_index_version(&arena->index) != answer->version)
		length = 0;
	lock_cache(arena);
	wanted = iqdb_shared_cache_wants(cache, answer->question.length + (uint64) length);
	unlock_cache(arena);
	if (wanted > bytes_there(arena))
		iqdb_arena_grow_ahead(unconstify(IqdbArena *, &arena->arena), IQDB_REGION_HOST, iqdb_pg_cache_offset() + wanted);
	lock_cache(arena);
	iqdb_shared_cache_extend(cache, bytes_there(arena));
	iqdb_shared_cache_put(cache, &answer->question, answer->kept, length, answer->version, now_ms(&answer->config),
						  answer->found);
	unlock_cache(arena);
}

void
iqdb_pg_answer_keep(IqdbPgAnswer *answer)
{
	if (answer->arena != NULL && answer->is_news && is_made_by(&answer->arena->shared->cache, &answer->config) &&
		answer->arena->shared->cache.is_there)
		put_answer(answer);
	memset(answer, 0, sizeof(*answer));
}

/* ---- iqdb_cache_stats -------------------------------------------------------------------------------------------- */

/* Adds what the index's cache has counted; the capacity is what its options say, until a search has begun it. */
static void
add_stats(Relation index, IqdbCacheStats *sums)
{
	IqdbError	error = {0};
	const IqdbPgArena *arena = iqdb_pg_open(index, NULL, IQDB_PG_OPEN_IF_READY, &error);
	IqdbCacheConfig config = iqdb_pg_cache_config(index);
	IqdbCacheStats stats = {.capacity = config.capacity};

	if (arena != NULL && config.capacity > 0)
	{
		lock_cache(arena);
		if (is_made_by(&arena->shared->cache, &config))
		{
			stats.capacity = 0;
			if (arena->shared->cache.is_there)
			{
				iqdb_shared_cache_meet(cache_of(arena), iqdb_index_version(&arena->index));
				iqdb_shared_cache_stats(cache_of(arena), &stats);
			}
		}
		unlock_cache(arena);
	}
	sums->hits += stats.hits;
	sums->misses += stats.misses;
	sums->evictions += stats.evictions;
	sums->len += stats.len;
	sums->capacity += stats.capacity;
}

PG_FUNCTION_INFO_V1(iqdb_sql_cache_stats);
Datum
iqdb_sql_cache_stats(PG_FUNCTION_ARGS)
{
	TupleDesc	tupdesc = iqdb_pg_result_row(fcinfo, 1, "hits misses evictions entries capacity hit_rate");
	IqdbPgIndexes indexes = iqdb_pg_open_indexes(PG_GETARG_OID(0), AccessShareLock, IQDB_PG_MAY_WATCH);
	IqdbCacheStats sums = {0};
	uint64		lookups;
	Datum		values[6];
	bool		nulls[6] = {false};

	for (int i = 0; i < indexes.count; i++)
		add_stats(indexes.leaves[i], &sums);
	iqdb_pg_close_indexes(&indexes, AccessShareLock);
	lookups = sums.hits + sums.misses;
	values[0] = Int64GetDatum((int64) sums.hits);
	values[1] = Int64GetDatum((int64) sums.misses);
	values[2] = Int64GetDatum((int64) sums.evictions);
	values[3] = Int64GetDatum((int64) sums.len);
	values[4] = Int64GetDatum((int64) sums.capacity);
	values[5] = Float8GetDatum(lookups > 0 ? (double) sums.hits / (double) lookups : 0);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values, nulls)));
}
