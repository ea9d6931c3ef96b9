/*
 * test_ivf_threads.c - searches, writers and maintenance of one ivf index at the same time; also run under a race detector.
 *
 * Some rows never change: every search that goes to its end must meet each of them exactly once, whatever the others do.
 * All other rows come and go, and each carries its id in its vector, so that a hit of a wrong row shows.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>

#include "core/meta/filter.h"
#include "unit/ivf_samples.h"

#define SEED UINT64_C(20250521)
#define DIM 16
#define ID_BITS 11
#define STABLE 400u
#define MOVING 900u
#define WRITERS 2
#define SEARCHERS 2
#define OPERATIONS 12000
#define MEMORY_MAX (UINT64_C(64) * 1024 * 1024)

typedef struct Shared
{
	IqdbIndex        *index;
	_Atomic int       writers; /* still at work */
	_Atomic uint64_t  faults;
	_Atomic uint64_t  searches;
	_Atomic uint64_t  trainings;
} Shared;

typedef struct Worker
{
	Shared   *shared;
	uint64_t  number;
	pthread_t thread;
} Worker;

/*
 * The first component is the id, of bits as many components are as ids have bits; the others are anything. So the ids of a
 * query and of a row say how far from each other the two are at least.
 */
static void
make_vector(IqdbRng *rng, const IqdbIndex *index, uint64_t id, void *vector)
{
	bool  numbers = index->store.element->has_numbers;
	float values[DIM];

	for (int d = 0; d < DIM; d++)
		values[d] = (float) iqdb_rng_below(rng, numbers ? 100 : 2);
	if (numbers)
		values[0] = (float) id;
	for (int d = 0; d < ID_BITS && !numbers; d++)
		values[d] = (float) (id >> d & 1);
	element_of_floats((uint32_t) index->store.element->kind, values, DIM, vector);
}

static float
least_key(const IqdbIndex *index, uint64_t query, uint64_t row)
{
	if (!index->store.element->has_numbers)
		return (float) __builtin_popcountll(query ^ row);
	return ((float) query - (float) row) * ((float) query - (float) row);
}

static void
fault(Shared *shared, const char *what)
{
	if (atomic_fetch_add(&shared->faults, 1) < 10)
		fprintf(stderr, "%s\n", what);
}

static void *
write_rows(void *arg)
{
	Worker *worker = arg;
	Shared *shared = worker->shared;
	IqdbRng rng;

	iqdb_rng_seed(&rng, SEED + worker->number);
	for (int i = 0; i < OPERATIONS; i++)
	{
		uint64_t id = STABLE + iqdb_rng_below(&rng, MOVING);
		uint64_t what = iqdb_rng_below(&rng, 10);
		uint32_t slot;

		_Alignas(8) unsigned char vector[ELEMENT_BYTES(DIM)];

		if (what < 3)
			iqdb_index_remove(shared->index, iqdb_id_u64(id), NULL);
		else
		{
			make_vector(&rng, shared->index, id, vector);
			if (iqdb_index_put(shared->index, iqdb_id_u64(id), vector, DIM, NULL, 0, &slot, NULL) != IQDB_OK)
				fault(shared, "a put failed");
			else if (what < 8 && iqdb_index_link(shared->index, slot, NULL) != IQDB_OK)
				fault(shared, "a link failed");
		}
	}
	atomic_fetch_sub(&shared->writers, 1);
	return NULL;
}

/* One stream to its end. */
static void
search_once(Shared *shared, IqdbRng *rng, unsigned char *met)
{
	IqdbSearchParams params = {.expected = 1 + iqdb_rng_below(rng, 8), .probes = 1 + (uint32_t) iqdb_rng_below(rng, 4)};
	uint64_t         id = iqdb_rng_below(rng, STABLE + MOVING);
	IqdbCursor      *cursor;
	IqdbHit          hits[64];
	size_t           count = 1;

	_Alignas(8) unsigned char query[ELEMENT_BYTES(DIM)];

	memset(met, 0, STABLE);
	make_vector(rng, shared->index, id, query);
	if (iqdb_cursor_open(shared->index, query, DIM, &params, &cursor, NULL) != IQDB_OK)
	{
		fault(shared, "a search could not start");
		return;
	}
	while (count > 0)
	{
		if (iqdb_cursor_next(cursor, hits, 64, &count, NULL) != IQDB_OK)
		{
			fault(shared, "a search failed");
			break;
		}
		for (size_t i = 0; i < count; i++)
		{
			if (hits[i].id >= STABLE + MOVING || hits[i].key < least_key(shared->index, id, hits[i].id))
				fault(shared, "a hit is not the row it says");
			else if (hits[i].id < STABLE && met[hits[i].id]++ != 0)
				fault(shared, "a row came twice");
		}
	}
	iqdb_cursor_close(cursor);
	for (uint64_t row = 0; row < STABLE; row++)
	{
		if (met[row] == 0)
			fault(shared, "a row was missed");
	}
	atomic_fetch_add(&shared->searches, 1);
}

static void *
search_rows(void *arg)
{
	Worker       *worker = arg;
	unsigned char met[STABLE];
	IqdbRng       rng;

	iqdb_rng_seed(&rng, SEED + 100 + worker->number);
	while (atomic_load(&worker->shared->writers) > 0)
		search_once(worker->shared, &rng, met);
	return NULL;
}

static void *
maintain_rows(void *arg)
{
	Worker *worker = arg;
	Shared *shared = worker->shared;

	for (int i = 0; atomic_load(&shared->writers) > 0; i++)
	{
		MemorySnapshot  snapshot;
		IqdbSectionSink sink = memory_snapshot_sink(&snapshot);

		if (iqdb_index_maintain(shared->index, i % 3 == 1 ? IQDB_MAINTAIN_OPTIMIZE : IQDB_MAINTAIN_VACUUM, NULL) != IQDB_OK)
			fault(shared, "maintenance failed");
		atomic_fetch_add(&shared->trainings, i % 3 == 1);
		memory_snapshot_init(&snapshot);
		if (i % 3 == 2 && iqdb_index_save(shared->index, &sink, NULL) != IQDB_OK)
			fault(shared, "a snapshot failed");
		memory_snapshot_free(&snapshot);
	}
	return NULL;
}

static void
mixed_work(uint32_t element, IqdbMetric metric, uint32_t quantization)
{
	IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_IVF, DIM, metric);
	MemoryIndex      memory;
	Shared           shared = {.writers = WRITERS};
	Worker           workers[WRITERS + SEARCHERS + 1];
	unsigned char    met[STABLE];
	uint64_t         linked;
	IqdbIndexStats   stats;
	IqdbRng          rng;

	options.element = element;
	options.lists = 12;
	options.quantization = quantization;
	memory_index_create(&memory, &options, &iqdb_locks_pthread, NULL, MEMORY_MAX);
	iqdb_rng_seed(&rng, SEED);
	for (uint64_t id = 0; id < STABLE; id++)
	{
		_Alignas(8) unsigned char vector[ELEMENT_BYTES(DIM)];

		make_vector(&rng, &memory.index, id, vector);
		assert_int_equal(iqdb_index_put(&memory.index, iqdb_id_u64(id), vector, DIM, NULL, 0, NULL, NULL), IQDB_OK);
	}
	shared.index = &memory.index;
	for (uint64_t i = 0; i < WRITERS + SEARCHERS + 1; i++)
	{
		workers[i] = (Worker){.shared = &shared, .number = i};
		assert_int_equal(pthread_create(&workers[i].thread, NULL, i < WRITERS ? write_rows
															   : i < WRITERS + SEARCHERS ? search_rows : maintain_rows,
										&workers[i]), 0);
	}
	for (int i = 0; i < WRITERS + SEARCHERS + 1; i++)
		assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
	print_message("%llu searches, %llu trainings\n", (unsigned long long) atomic_load(&shared.searches),
				  (unsigned long long) atomic_load(&shared.trainings));
	search_once(&shared, &rng, met);
	assert_int_equal(atomic_load(&shared.faults), 0);
	assert_true(memory_index_sound(&memory.index));
	assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_OPTIMIZE, NULL), IQDB_OK);
	assert_int_equal(iqdb_index_link_pending(&memory.index, 0, &linked, NULL), IQDB_OK);
	assert_int_equal(samples_stats(&memory.index).unlinked, 0);
	/* no slot was lost on the way */
	assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_VACUUM, NULL), IQDB_OK);
	iqdb_index_stats(&memory.index, &stats);
	assert_int_equal(stats.engine.unrepaired, 0);
	assert_int_equal(stats.dead, 0);
	assert_int_equal(stats.live + stats.free, atomic_load(&memory.index.store.header->slot_count));
	assert_true(memory_index_sound(&memory.index));
	search_once(&shared, &rng, met);
	assert_int_equal(atomic_load(&shared.faults), 0);
	memory_index_destroy(&memory);
}

static void
searches_see_every_row_whatever_the_others_do(void **state)
{
	(void) state;
	for (uint32_t quantization = 0; quantization <= IQDB_QUANTIZATION_BQ; quantization++)
	{
		print_message("quantization %u, seed %llu\n", quantization, (unsigned long long) SEED);
		mixed_work(IQDB_ELEMENT_F32, IQDB_METRIC_L2, quantization);
	}
	mixed_work(IQDB_ELEMENT_F16, IQDB_METRIC_L2, IQDB_QUANTIZATION_SQ8);
	mixed_work(IQDB_ELEMENT_BIT, IQDB_METRIC_HAMMING, IQDB_QUANTIZATION_NONE);
}

/* ---- one build, several at work ---- */

#define BUILD_ROWS 6000u
#define BUILD_LISTS 40u

typedef struct Helper
{
	IqdbIndex    *index;
	_Atomic bool *over;
	bool          helped;
	bool          failed;
	pthread_t     thread;
} Helper;

static void *
help(void *arg)
{
	Helper *helper = arg;

	while (!atomic_load(helper->over))
	{
		bool worked;

		helper->failed |= iqdb_index_assist(helper->index, &worked, NULL) != IQDB_OK;
		helper->helped |= worked;
	}
	return NULL;
}

static uint32_t
build_with(const Samples *samples, uint32_t helpers_wanted, uint64_t *sizes_out)
{
	IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_IVF, DIM, IQDB_METRIC_L2);
	MemoryIndex      memory;
	Helper           helpers[3];
	_Atomic bool     over = false;
	IqdbStatus       status;
	uint32_t         lists;

	options.lists = BUILD_LISTS;
	memory_index_create(&memory, &options, &iqdb_locks_pthread, NULL, MEMORY_MAX);
	samples_put(samples, &memory.index, 0, BUILD_ROWS, false);
	for (uint32_t i = 0; i < helpers_wanted; i++)
	{
		helpers[i] = (Helper) {.index = &memory.index, .over = &over};
		assert_int_equal(pthread_create(&helpers[i].thread, NULL, help, &helpers[i]), 0);
	}
	status = iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_BUILD, NULL);
	atomic_store(&over, true);
	for (uint32_t i = 0; i < helpers_wanted; i++)
	{
		(void) pthread_join(helpers[i].thread, NULL);
		assert_false(helpers[i].failed);
	}
	assert_int_equal(status, IQDB_OK);
	assert_true(memory_index_sound(&memory.index));
	assert_int_equal(samples_stats(&memory.index).unlinked, 0);
	lists = iqdb_ivf_list_sizes(&memory.index.store, sizes_out, BUILD_LISTS);
	memory_index_destroy(&memory);
	return lists;
}

/* Whoever did what: each row is in the list in which one alone would have put it. */
static void
helpers_of_a_build_change_nothing_but_its_time(void **state)
{
	Samples  samples;
	uint64_t alone[BUILD_LISTS];
	uint64_t together[BUILD_LISTS];

	(void) state;
	samples_make(&samples, BUILD_ROWS, 0, DIM, 30, 0.3, SEED);
	assert_int_equal(build_with(&samples, 0, alone), BUILD_LISTS);
	for (int round = 0; round < 3; round++)
	{
		assert_int_equal(build_with(&samples, 3, together), BUILD_LISTS);
		assert_memory_equal(alone, together, sizeof(alone));
	}
	samples_free(&samples);
}

/*
 * A helper of one build, called in between by the one who builds: he does some units and then is cancelled, has no memory, or
 * goes on to the end.
 */
typedef struct Meanwhile
{
	IqdbIndex  helper;
	IqdbHost   host;
	int64_t    units;       /* the helper polls so many times until he is cancelled */
	int64_t    polls;       /* of the builder until he is cancelled; negative: never */
	bool       short_of_memory;
	bool       helped;
	IqdbStatus worst;       /* what the helper met, but for being cancelled */
} Meanwhile;

static bool
helper_cancelled(void *arg)
{
	Meanwhile *meanwhile = arg;

	return meanwhile->units-- <= 0;
}

static void *
resize_or_not(void *arg, void *pointer, size_t old_size, size_t new_size)
{
	Meanwhile *meanwhile = arg;

	if (meanwhile->short_of_memory && new_size > 0)
		return NULL;
	return iqdb_allocator_libc.resize(iqdb_allocator_libc.arg, pointer, old_size, new_size);
}

static bool
help_meanwhile(void *arg)
{
	Meanwhile *meanwhile = arg;
	IqdbStatus status;
	bool       worked;

	meanwhile->units = 3;
	status = iqdb_index_assist(&meanwhile->helper, &worked, NULL);
	meanwhile->helped |= worked;
	if (status != IQDB_OK && status != IQDB_ERR_CANCELLED)
		meanwhile->worst = status;
	return meanwhile->polls >= 0 && meanwhile->polls-- == 0;
}

static void
meanwhile_start(Meanwhile *meanwhile, MemoryIndex *memory)
{
	*meanwhile = (Meanwhile) {.polls = -1, .worst = IQDB_OK};
	meanwhile->host = memory->host;
	meanwhile->host.allocator = (IqdbAllocator) {.resize = resize_or_not, .arg = meanwhile};
	meanwhile->host.cancelled = helper_cancelled;
	meanwhile->host.cancel_arg = meanwhile;
	assert_int_equal(iqdb_index_attach(&meanwhile->helper, &memory->arena, &meanwhile->host, NULL, NULL), IQDB_OK);
	memory->host.cancelled = help_meanwhile;
	memory->host.cancel_arg = meanwhile;
}

/* Nothing is left of a training that failed, and nothing is in its way. */
static void
assert_as_before(MemoryIndex *memory, uint32_t trained)
{
	assert_true(memory_index_sound(&memory->index));
	assert_int_equal(samples_stats(&memory->index).trained, trained);
	assert_int_equal(samples_stats(&memory->index).unlinked, trained ? 0 : BUILD_ROWS);
}

static void
a_helper_may_go_or_fail_at_any_unit(void **state)
{
	IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_IVF, DIM, IQDB_METRIC_L2);
	Samples          samples;
	MemoryIndex      memory;
	Meanwhile        meanwhile;

	(void) state;
	options.lists = BUILD_LISTS;
	samples_make(&samples, BUILD_ROWS, 0, DIM, 30, 0.3, SEED);
	memory_index_create(&memory, &options, &iqdb_locks_none, NULL, MEMORY_MAX);
	samples_put(&samples, &memory.index, 0, BUILD_ROWS, false);
	meanwhile_start(&meanwhile, &memory);
	for (uint32_t trained = 0; trained < 2; trained++)
	{
		IqdbStatus status = IQDB_ERR_CANCELLED;

		meanwhile.polls = -1;
		meanwhile.short_of_memory = true;
		assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_OPTIMIZE, NULL), IQDB_ERR_NOMEM);
		assert_int_equal(meanwhile.worst, IQDB_ERR_NOMEM);
		assert_as_before(&memory, trained);
		meanwhile.short_of_memory = false;
		meanwhile.worst = IQDB_OK;
		meanwhile.helped = false;
		for (int64_t polls = 0; status == IQDB_ERR_CANCELLED; polls += 1 + polls / 16)
		{
			meanwhile.polls = polls;
			status = iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_OPTIMIZE, NULL);
			if (status == IQDB_ERR_CANCELLED)
				assert_as_before(&memory, trained);
		}
		assert_int_equal(status, IQDB_OK);
		assert_int_equal(meanwhile.worst, IQDB_OK);
		assert_true(meanwhile.helped);
		assert_as_before(&memory, 1);
	}
	memory_index_destroy(&memory);
	samples_free(&samples);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(searches_see_every_row_whatever_the_others_do),
		cmocka_unit_test(helpers_of_a_build_change_nothing_but_its_time),
		cmocka_unit_test(a_helper_may_go_or_fail_at_any_unit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
