/*
 * table.c - see table.h: the hash table, the lists, LFU's heap, and the four policies.
 */
#include "core/cache/table.h"

/* ---- the hash table ---- */

static uint32_t *
bucket_of(const IqdbCacheView *view, uint64_t hash)
{
	return &view->buckets[hash & (view->table->bucket_count - 1)];
}

static uint32_t
find(const IqdbCacheView *view, uint64_t hash, const void *question)
{
	uint32_t node = view->table->bucket_count > 0 ? *bucket_of(view, hash) : IQDB_CACHE_NO_NODE;

	while (node != IQDB_CACHE_NO_NODE &&
		   (view->nodes[node].hash != hash || !view->same(view->owner, node, question)))
		node = view->nodes[node].chain;
	return node;
}

static void
bucket_insert(const IqdbCacheView *view, uint32_t node)
{
	uint32_t *bucket = bucket_of(view, view->nodes[node].hash);

	view->nodes[node].chain = *bucket;
	*bucket = node;
}

static void
bucket_remove(const IqdbCacheView *view, uint32_t node)
{
	uint32_t *link = bucket_of(view, view->nodes[node].hash);

	while (*link != node)
		link = &view->nodes[*link].chain;
	*link = view->nodes[node].chain;
}

/* ---- lists ---- */

static void
list_push(const IqdbCacheView *view, uint32_t node, uint32_t number)
{
	IqdbCacheList *list = &view->table->lists[number];
	IqdbCacheNode *entry = &view->nodes[node];

	entry->list = number;
	entry->newer = IQDB_CACHE_NO_NODE;
	entry->older = list->newest;
	if (list->newest != IQDB_CACHE_NO_NODE)
		view->nodes[list->newest].newer = node;
	else
		list->oldest = node;
	list->newest = node;
	list->length++;
}

static void
list_remove(const IqdbCacheView *view, uint32_t node)
{
	IqdbCacheNode *entry = &view->nodes[node];
	IqdbCacheList *list = &view->table->lists[entry->list];

	if (entry->newer != IQDB_CACHE_NO_NODE)
		view->nodes[entry->newer].older = entry->older;
	else
		list->newest = entry->older;
	if (entry->older != IQDB_CACHE_NO_NODE)
		view->nodes[entry->older].newer = entry->newer;
	else
		list->oldest = entry->newer;
	list->length--;
}

static void
list_move(const IqdbCacheView *view, uint32_t node, uint32_t number)
{
	list_remove(view, node);
	list_push(view, node, number);
}

/* ---- LFU's heap: the first goes first ---- */

static bool
goes_before(const IqdbCacheNode *a, const IqdbCacheNode *b)
{
	return a->uses != b->uses ? a->uses < b->uses : a->last_use < b->last_use;
}

static void
heap_set(const IqdbCacheView *view, uint32_t at, uint32_t node)
{
	view->heap[at] = node;
	view->nodes[node].heap_at = at;
}

static void
heap_up(const IqdbCacheView *view, uint32_t at)
{
	uint32_t node = view->heap[at];

	while (at > 0 && goes_before(&view->nodes[node], &view->nodes[view->heap[(at - 1) / 2]]))
	{
		heap_set(view, at, view->heap[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	heap_set(view, at, node);
}

static void
heap_down(const IqdbCacheView *view, uint32_t at)
{
	uint32_t length = view->table->heap_length;
	uint32_t node = view->heap[at];

	for (;;)
	{
		uint32_t child = 2 * at + 1;

		if (child >= length)
			break;
		if (child + 1 < length && goes_before(&view->nodes[view->heap[child + 1]], &view->nodes[view->heap[child]]))
			child++;
		if (!goes_before(&view->nodes[view->heap[child]], &view->nodes[node]))
			break;
		heap_set(view, at, view->heap[child]);
		at = child;
	}
	heap_set(view, at, node);
}

static void
heap_push(const IqdbCacheView *view, uint32_t node)
{
	uint32_t at = view->table->heap_length++;

	heap_set(view, at, node);
	heap_up(view, at);
}

static void
heap_remove(const IqdbCacheView *view, uint32_t node)
{
	uint32_t at = view->nodes[node].heap_at;
	uint32_t last = view->heap[--view->table->heap_length];

	if (last == node)
		return;
	heap_set(view, at, last);
	heap_up(view, at);
	heap_down(view, view->nodes[last].heap_at);
}

/* ---- nodes ---- */

static void
drop_answer(const IqdbCacheView *view, uint32_t node, bool becomes_ghost)
{
	view->drop(view->owner, node, becomes_ghost);
	view->nodes[node].has_answer = 0;
}

void
iqdb_cache_table_forget(const IqdbCacheView *view, uint32_t node)
{
	IqdbCacheTable *table = view->table;

	drop_answer(view, node, false);
	list_remove(view, node);
	bucket_remove(view, node);
	if (table->config.policy == IQDB_CACHE_LFU)
		heap_remove(view, node);
	table->node_count--;
	view->nodes[node].chain = table->free_node;
	table->free_node = node;
}

static uint32_t
node_make(const IqdbCacheView *view, uint64_t hash)
{
	IqdbCacheTable *table = view->table;
	uint32_t        node = table->free_node;

	if (node == IQDB_CACHE_NO_NODE || table->bucket_count == 0)
		return IQDB_CACHE_NO_NODE;
	table->free_node = view->nodes[node].chain;
	view->nodes[node] = (IqdbCacheNode){.hash = hash, .uses = 1, .last_use = ++table->clock};
	bucket_insert(view, node);
	list_push(view, node, IQDB_CACHE_ONCE);
	if (table->config.policy == IQDB_CACHE_LFU)
		heap_push(view, node);
	table->node_count++;
	return node;
}

/* ---- policies ---- */

/* An answer was asked for again. */
static void
touch(const IqdbCacheView *view, uint32_t node)
{
	switch (view->table->config.policy)
	{
		case IQDB_CACHE_LRU:
			list_move(view, node, IQDB_CACHE_ONCE);
			break;
		case IQDB_CACHE_ARC:
			list_move(view, node, IQDB_CACHE_AGAIN);
			break;
		case IQDB_CACHE_LFU:
			view->nodes[node].uses++;
			view->nodes[node].last_use = ++view->table->clock;
			heap_down(view, view->nodes[node].heap_at);
			break;
		case IQDB_CACHE_FIFO:
			break;
	}
}

uint64_t
iqdb_cache_table_length(const IqdbCacheTable *table)
{
	return table->lists[IQDB_CACHE_ONCE].length + table->lists[IQDB_CACHE_AGAIN].length;
}

/* ARC's REPLACE, if there is an answer: one goes, its ghost stays. from_again: the question is a ghost of those seen again. */
static void
arc_replace(const IqdbCacheView *view, bool from_again)
{
	IqdbCacheTable *table = view->table;
	IqdbCacheList  *once = &table->lists[IQDB_CACHE_ONCE];
	IqdbCacheList  *again = &table->lists[IQDB_CACHE_AGAIN];
	bool            take_once = once->length > 0 && (once->length > table->once_target ||
													 (from_again && once->length == table->once_target));
	uint32_t        node = take_once || again->length == 0 ? once->oldest : again->oldest;

	drop_answer(view, node, true);
	list_move(view, node,
			  view->nodes[node].list == IQDB_CACHE_ONCE ? IQDB_CACHE_ONCE_GHOSTS : IQDB_CACHE_AGAIN_GHOSTS);
	table->evictions++;
}

static void
arc_replace_if_full(const IqdbCacheView *view, bool from_again)
{
	if (iqdb_cache_table_length(view->table) >= view->table->config.capacity)
		arc_replace(view, from_again);
}

/* The question is a ghost: its list was too short. The ghost becomes an entry again. */
static void
arc_revive(const IqdbCacheView *view, uint32_t ghost)
{
	IqdbCacheTable *table = view->table;
	uint64_t        once_ghosts = table->lists[IQDB_CACHE_ONCE_GHOSTS].length;
	uint64_t        again_ghosts = table->lists[IQDB_CACHE_AGAIN_GHOSTS].length;
	bool            from_again = view->nodes[ghost].list == IQDB_CACHE_AGAIN_GHOSTS;
	uint64_t        step;

	if (from_again)
	{
		step = once_ghosts > again_ghosts ? once_ghosts / again_ghosts : 1;
		table->once_target = table->once_target > step ? table->once_target - step : 0;
	}
	else
	{
		step = again_ghosts > once_ghosts ? again_ghosts / once_ghosts : 1;
		table->once_target += step;
		if (table->once_target > table->config.capacity)
			table->once_target = table->config.capacity;
	}
	arc_replace_if_full(view, from_again);
	list_move(view, ghost, IQDB_CACHE_AGAIN);
}

/* Room for a question never seen. */
static void
arc_make_room(const IqdbCacheView *view)
{
	IqdbCacheTable *table = view->table;
	uint64_t        capacity = table->config.capacity;
	IqdbCacheList  *lists = table->lists;

	if (lists[IQDB_CACHE_ONCE].length + lists[IQDB_CACHE_ONCE_GHOSTS].length >= capacity)
	{
		if (lists[IQDB_CACHE_ONCE].length < capacity)
		{
			iqdb_cache_table_forget(view, lists[IQDB_CACHE_ONCE_GHOSTS].oldest);
			arc_replace_if_full(view, false);
		}
		else
		{
			iqdb_cache_table_forget(view, lists[IQDB_CACHE_ONCE].oldest);
			table->evictions++;
		}
		return;
	}
	if (table->node_count >= 2 * capacity && lists[IQDB_CACHE_AGAIN_GHOSTS].length > 0)
		iqdb_cache_table_forget(view, lists[IQDB_CACHE_AGAIN_GHOSTS].oldest);
	arc_replace_if_full(view, false);
}

bool
iqdb_cache_table_evict(const IqdbCacheView *view)
{
	IqdbCacheTable *table = view->table;

	if (iqdb_cache_table_length(table) == 0)
		return false;
	if (table->config.policy == IQDB_CACHE_ARC)
	{
		arc_replace(view, false);
		return true;
	}
	iqdb_cache_table_forget(view, table->config.policy == IQDB_CACHE_LFU ? view->heap[0] :
																			table->lists[IQDB_CACHE_ONCE].oldest);
	table->evictions++;
	return true;
}

static void
make_room(const IqdbCacheView *view)
{
	if (view->table->config.policy == IQDB_CACHE_ARC)
		arc_make_room(view);
	else if (view->table->node_count >= view->table->config.capacity)
		(void) iqdb_cache_table_evict(view);
}

/* ---- the table ---- */

uint32_t
iqdb_cache_nodes(const IqdbCacheConfig *config)
{
	return (uint32_t) (config->policy == IQDB_CACHE_ARC ? 2 * config->capacity : config->capacity);
}

IqdbStatus
iqdb_cache_table_init(IqdbCacheTable *table, const IqdbCacheConfig *config, IqdbError *err)
{
	if ((unsigned) config->policy > IQDB_CACHE_ARC)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "cache policy %d is unknown", (int) config->policy);
	if (config->capacity > IQDB_CACHE_CAPACITY_MAX)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "cache capacity is %llu, it must be at most %d",
						 (unsigned long long) config->capacity, IQDB_CACHE_CAPACITY_MAX);
	*table = (IqdbCacheTable){.config = *config, .free_node = IQDB_CACHE_NO_NODE};
	for (int i = 0; i < IQDB_CACHE_LISTS; i++)
		table->lists[i] = (IqdbCacheList){IQDB_CACHE_NO_NODE, IQDB_CACHE_NO_NODE, 0};
	return IQDB_OK;
}

void
iqdb_cache_table_room(const IqdbCacheView *view, uint32_t node_room, uint32_t bucket_count)
{
	IqdbCacheTable *table = view->table;

	for (uint32_t node = node_room; node > table->node_room; node--)
	{
		view->nodes[node - 1].chain = table->free_node;
		table->free_node = node - 1;
	}
	table->node_room = node_room;
	table->bucket_count = bucket_count;
	for (uint32_t i = 0; i < bucket_count; i++)
		view->buckets[i] = IQDB_CACHE_NO_NODE;
	for (int i = 0; i < IQDB_CACHE_LISTS; i++)
	{
		for (uint32_t node = table->lists[i].newest; node != IQDB_CACHE_NO_NODE; node = view->nodes[node].older)
			bucket_insert(view, node);
	}
}

void
iqdb_cache_table_clear(const IqdbCacheView *view)
{
	for (int i = 0; i < IQDB_CACHE_LISTS; i++)
	{
		while (view->table->lists[i].length > 0)
			iqdb_cache_table_forget(view, view->table->lists[i].oldest);
	}
	view->table->once_target = 0;
}

bool
iqdb_cache_table_meet(const IqdbCacheView *view, uint64_t version)
{
	if (version < view->table->version)
		return false;
	if (version > view->table->version)
	{
		iqdb_cache_table_clear(view);
		view->table->version = version;
	}
	return true;
}

static bool
is_too_old(const IqdbCacheView *view, uint32_t node, uint64_t now_ms)
{
	uint64_t stored = view->nodes[node].stored_ms;
	uint64_t age = now_ms > stored ? now_ms - stored : 0;

	return view->table->config.ttl_ms != 0 && age >= view->table->config.ttl_ms;
}

uint32_t
iqdb_cache_table_get(const IqdbCacheView *view, uint64_t hash, const void *question, uint64_t now_ms)
{
	uint32_t node = find(view, hash, question);

	if (node == IQDB_CACHE_NO_NODE || !view->nodes[node].has_answer || is_too_old(view, node, now_ms))
		return IQDB_CACHE_NO_NODE;
	touch(view, node);
	view->table->hits++;
	return node;
}

uint32_t
iqdb_cache_table_place(const IqdbCacheView *view, uint64_t hash, const void *question, uint64_t now_ms, bool *is_new_out)
{
	uint32_t node = find(view, hash, question);

	*is_new_out = false;
	if (node == IQDB_CACHE_NO_NODE)
	{
		make_room(view);
		node = node_make(view, hash);
		*is_new_out = true;
	}
	else if (view->nodes[node].has_answer)
		touch(view, node);
	else
		arc_revive(view, node);
	if (node == IQDB_CACHE_NO_NODE)
		return node;
	view->nodes[node].stored_ms = now_ms;
	view->nodes[node].has_answer = 1;
	return node;
}

void
iqdb_cache_table_stats(const IqdbCacheTable *table, IqdbCacheStats *stats_out)
{
	uint64_t lookups = table->hits + table->misses;

	stats_out->hits = table->hits;
	stats_out->misses = table->misses;
	stats_out->evictions = table->evictions;
	stats_out->len = iqdb_cache_table_length(table);
	stats_out->capacity = table->config.capacity;
	stats_out->hit_rate = lookups > 0 ? (double) table->hits / (double) lookups : 0.0;
}
