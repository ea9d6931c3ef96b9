/*
 * test_ivf_memory.c - the memory of inverted lists follows what is there: what an edition has comes with it and goes with it,
 * and only rows that are in no list yet wait, whatever comes and goes while lists are trained.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/ivf/ivf_waiting_private.h"
#include "unit/ivf_samples.h"

#define SEED UINT64_C(20261123)
#define MEMORY_MAX (UINT64_C(256) * 1024 * 1024)

static uint64_t
region_bytes(const MemoryIndex *memory, uint32_t region)
{
	return iqdb_arena_header(&memory->arena)->regions[IQDB_REGION_ENGINE + region].committed;
}

/* Bytes of everything that an edition has. */
static uint64_t
edition_bytes(const MemoryIndex *memory, uint32_t edition)
{
	uint64_t bytes = 0;

	for (uint32_t region = 0; region < IQDBI_IVF_WAITING; region += 2)
		bytes += region_bytes(memory, region + edition);
	return bytes;
}

static uint64_t
all_bytes(const MemoryIndex *memory)
{
	return iqdb_arena_header(&memory->arena)->committed;
}

static IqdbiIvfHeader *
header_of(const MemoryIndex *memory)
{
	return memory->index.store.engine_header;
}

static void
maintain(MemoryIndex *memory, IqdbMaintain what)
{
	assert_int_equal(iqdb_index_maintain(&memory->index, what, NULL), IQDB_OK);
	assert_true(memory_index_sound(&memory->index));
}

/* ---- what is there after what ------------------------------------------------------------------------------------- */

static void
an_edition_takes_its_memory_along(void **state)
{
	IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_IVF, 32, IQDB_METRIC_L2);
	Samples          samples;
	MemoryIndex      memory;
	uint64_t         untrained;
	uint64_t         built;

	(void) state;
	options.quantization = IQDB_QUANTIZATION_BQ;
	options.lists = 60;
	samples_make(&samples, 20000, 1, 32, 60, 0.4, SEED);
	memory_index_create(&memory, &options, &iqdb_locks_none, NULL, MEMORY_MAX);
	samples_put(&samples, &memory.index, 0, samples.count, false);
	/* rows that are scanned need nothing but a bit, and do not wait */
	untrained = all_bytes(&memory);
	assert_int_equal(edition_bytes(&memory, 0) + edition_bytes(&memory, 1), 0);
	assert_true(region_bytes(&memory, IQDBI_IVF_WAITING) <= 16384);
	assert_int_equal(atomic_load(&header_of(&memory)->waiting), 0);
	assert_int_equal(samples_stats(&memory.index).unlinked, 20000);
	maintain(&memory, IQDB_MAINTAIN_BUILD);
	assert_int_equal(edition_bytes(&memory, 1), 0);
	assert_true(region_bytes(&memory, IQDBI_IVF_HOMES) <= 20000 * sizeof(uint16_t) + 16384);
	assert_int_equal(all_bytes(&memory), untrained + edition_bytes(&memory, 0));
	built = all_bytes(&memory);
	for (uint32_t round = 1; round < 4; round++)
	{
		maintain(&memory, IQDB_MAINTAIN_OPTIMIZE);
		assert_int_equal(edition_bytes(&memory, 1 - round % 2), 0);
		assert_true(edition_bytes(&memory, round % 2) > 0);
		/* up to a step of growth, for lists are not as long as before */
		assert_true(all_bytes(&memory) <= built + 128 * 1024 && built <= all_bytes(&memory) + 128 * 1024);
		assert_int_equal(atomic_load(&header_of(&memory)->waiting), 0);
	}
	memory_index_destroy(&memory);
	samples_free(&samples);
}

/* Where nothing can be given back, the next edition uses what the last but one had. */
static void
editions_alternate_where_memory_cannot_be_given_back(void **state)
{
	IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_IVF, 16, IQDB_METRIC_L2);
	Samples          samples;
	MemoryIndex      memory;
	uint64_t         most = 0;

	(void) state;
	options.lists = 30;
	samples_make(&samples, 5000, 1, 16, 30, 0.4, SEED);
	memory_index_create(&memory, &options, &iqdb_locks_none, NULL, MEMORY_MAX);
	memory.arena.backing.release = NULL;
	samples_put(&samples, &memory.index, 0, samples.count, false);
	for (uint32_t round = 0; round < 6; round++)
	{
		maintain(&memory, IQDB_MAINTAIN_OPTIMIZE);
		if (round < 2)
			most = all_bytes(&memory);
		assert_true(all_bytes(&memory) <= most + 32 * 1024);
	}
	memory_index_destroy(&memory);
	samples_free(&samples);
}

/* More lists than a short home word can name. */
static void
words_are_wide_where_lists_are_many(void **state)
{
	IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_IVF, 4, IQDB_METRIC_L2);
	IqdbSearchParams params = {.expected = 4, .probes = 4};
	Samples          samples;
	MemoryIndex      memory;
	IqdbHit          hits[4];
	uint64_t         linked;

	(void) state;
	options.lists = IQDBI_HOME_NARROW_LISTS + 3000;
	samples_make(&samples, 21000, 50, 4, 21000, 0.1, SEED);
	memory_index_create(&memory, &options, &iqdb_locks_none, NULL, MEMORY_MAX);
	samples_put(&samples, &memory.index, 0, 20000, false);
	maintain(&memory, IQDB_MAINTAIN_BUILD);
	assert_true(samples_stats(&memory.index).lists > IQDBI_HOME_NARROW_LISTS);
	assert_true(region_bytes(&memory, IQDBI_IVF_HOMES) >= 20000 * sizeof(uint32_t));
	samples_put(&samples, &memory.index, 20000, 21000, false);
	assert_int_equal(samples_stats(&memory.index).unlinked, 1000);
	assert_int_equal(iqdb_index_link_pending(&memory.index, 0, &linked, NULL), IQDB_OK);
	assert_int_equal(linked, 1000);
	for (uint64_t id = 0; id < 21000; id += 3)
		iqdb_index_remove(&memory.index, iqdb_id_u64(id), NULL);
	maintain(&memory, IQDB_MAINTAIN_VACUUM);
	assert_int_equal(samples_stats(&memory.index).unrepaired, 0);
	for (size_t query = 0; query < 50; query++)
		assert_int_equal(samples_search(&memory.index, samples_query(&samples, query), 4, &params, 4, hits), 4);
	memory_index_destroy(&memory);
	samples_free(&samples);
}

/* Lets lists be trained anew when a search asks whether it should stop. */
typedef struct Trainer
{
	MemoryIndex *memory;
	int          left; /* trainings */
	bool         busy;
} Trainer;

static bool
train_between_stretches(void *arg)
{
	Trainer *trainer = arg;

	if (trainer->busy || trainer->left == 0)
		return false;
	trainer->busy = true;
	trainer->left--;
	maintain(trainer->memory, IQDB_MAINTAIN_OPTIMIZE);
	trainer->busy = false;
	return false;
}

/* A list is so long that a search lets others in while it is in the middle: what it read from is gone then. */
static void
a_search_outlives_the_edition_it_reads(void **state)
{
	IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_IVF, 512, IQDB_METRIC_L2);
	IqdbSearchParams params = {.expected = 10, .probes = 2};
	Trainer          trainer = {.left = 0};
	Samples          samples;
	MemoryIndex      memory;
	IqdbHit          before[10];
	IqdbHit          hits[10];

	(void) state;
	options.quantization = IQDB_QUANTIZATION_NONE;
	options.lists = 3;
	samples_make(&samples, 6000, 1, 512, 3, 0.4, SEED);
	memory_index_create(&memory, &options, &iqdb_locks_pthread, NULL, MEMORY_MAX);
	samples_put(&samples, &memory.index, 0, samples.count, false);
	maintain(&memory, IQDB_MAINTAIN_BUILD);
	assert_int_equal(samples_search(&memory.index, samples_query(&samples, 0), 512, &params, 10, before), 10);
	trainer = (Trainer){.memory = &memory, .left = 3};
	memory.host.cancelled = train_between_stretches;
	memory.host.cancel_arg = &trainer;
	assert_int_equal(samples_search(&memory.index, samples_query(&samples, 0), 512, &params, 10, hits), 10);
	assert_int_equal(trainer.left, 0);
	for (int i = 0; i < 10; i++)
		assert_true(hits[i].id == before[i].id && hits[i].key == before[i].key);
	memory_index_destroy(&memory);
	samples_free(&samples);
}

/* ---- rows that come and go while lists are trained ----------------------------------------------------------------- */

#define DIM 6
#define IDS 600u

/* Whenever the engine asks whether it should stop, others may be at work. */
typedef struct Meddler
{
	MemoryIndex  *memory;
	IqdbRng       rng;
	bool          busy;           /* he is himself at work */
	int64_t       left;           /* polls until he cancels; negative: never */
	uint64_t      polls;
	unsigned char here[IDS];
} Meddler;

static void
put_or_remove(Meddler *meddler)
{
	uint64_t id = iqdb_rng_below(&meddler->rng, IDS);
	uint64_t what = iqdb_rng_below(&meddler->rng, 10);
	float    vector[DIM];
	uint32_t slot;

	if (what < 4)
	{
		iqdb_index_remove(&meddler->memory->index, iqdb_id_u64(id), NULL);
		meddler->here[id] = 0;
		return;
	}
	for (int d = 0; d < DIM; d++)
		vector[d] = (float) iqdb_rng_below(&meddler->rng, 50);
	assert_int_equal(iqdb_index_put(&meddler->memory->index, iqdb_id_u64(id), vector, DIM, NULL, 0, &slot, NULL), IQDB_OK);
	meddler->here[id] = 1;
	if (what < 8)
		assert_int_equal(iqdb_index_link(&meddler->memory->index, slot, NULL), IQDB_OK);
}

/* A stream to its end meets each row once. */
static void
search_all(Meddler *meddler)
{
	IqdbSearchParams params = {.expected = 3, .probes = 2};
	float            query[DIM] = {1};
	IqdbHit          hits[IDS + 1];
	unsigned char    met[IDS] = {0};
	size_t           count = samples_search(&meddler->memory->index, query, DIM, &params, IDS + 1, hits);

	for (size_t i = 0; i < count; i++)
	{
		assert_true(hits[i].id < IDS && !met[hits[i].id]);
		met[hits[i].id] = 1;
	}
	assert_memory_equal(met, meddler->here, IDS);
}

static bool
meddle(void *arg)
{
	Meddler *meddler = arg;

	if (meddler->busy)
		return false;
	meddler->busy = true;
	meddler->polls++;
	for (uint64_t i = iqdb_rng_below(&meddler->rng, 20); i > 0; i--)
		put_or_remove(meddler);
	if (iqdb_rng_below(&meddler->rng, 4) == 0)
		iqdb_store_reclaim(&meddler->memory->index.store);
	if (iqdb_rng_below(&meddler->rng, 4) == 0)
		search_all(meddler);
	if (iqdb_rng_below(&meddler->rng, 4) == 0)
		assert_true(memory_index_sound(&meddler->memory->index));
	meddler->busy = false;
	return meddler->left >= 0 && meddler->left-- == 0;
}

/* No slot is lost, and nothing waits, once everything is linked and cleaned. */
static void
expect_order(Meddler *meddler)
{
	MemoryIndex   *memory = meddler->memory;
	IqdbIndexStats stats;
	uint64_t       linked;

	meddler->busy = true;
	assert_true(memory_index_sound(&memory->index));
	search_all(meddler);
	assert_int_equal(iqdb_index_link_pending(&memory->index, 0, &linked, NULL), IQDB_OK);
	if (atomic_load(&header_of(memory)->current) != 0)
		assert_int_equal(atomic_load(&header_of(memory)->waiting), 0);
	maintain(memory, IQDB_MAINTAIN_VACUUM);
	iqdb_index_stats(&memory->index, &stats);
	assert_int_equal(stats.engine.unrepaired, 0);
	assert_int_equal(stats.dead, 0);
	assert_int_equal(stats.live + stats.free, atomic_load(&memory->index.store.header->slot_count));
	assert_int_equal(atomic_load(&header_of(memory)->waiting), 0);
	assert_int_equal(edition_bytes(memory, atomic_load(&header_of(memory)->current) % 2), 0);
	search_all(meddler);
	meddler->busy = false;
}

static void
rows_come_and_go_at_every_step_of_a_training(void **state)
{
	static const uint32_t quantizations[] = {IQDB_QUANTIZATION_NONE, IQDB_QUANTIZATION_BQ};

	(void) state;
	print_message("seed %llu\n", (unsigned long long) SEED);
	for (int i = 0; i < 2; i++)
	{
		IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_IVF, DIM, IQDB_METRIC_L2);
		MemoryIndex      memory;
		Meddler         *meddler = calloc(1, sizeof(*meddler));

		options.lists = 40;
		options.quantization = quantizations[i];
		for (uint64_t round = 0; round < 30; round++)
		{
			memory_index_create(&memory, &options, &iqdb_locks_pthread, NULL, MEMORY_MAX);
			memset(meddler, 0, sizeof(*meddler));
			meddler->memory = &memory;
			iqdb_rng_seed(&meddler->rng, SEED + round);
			for (int row = 0; row < 500; row++)
				put_or_remove(meddler);
			memory.host.cancelled = meddle;
			memory.host.cancel_arg = meddler;
			/* the first training, and others after it; about every other one is given up */
			for (int training = 0; training < 4; training++)
			{
				IqdbStatus status;

				meddler->left = training % 2 == 0 ? (int64_t) (round % 30) : -1;
				status = iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_OPTIMIZE, NULL);
				assert_true(status == IQDB_OK || (status == IQDB_ERR_CANCELLED && training % 2 == 0));
				meddler->left = -1;
				expect_order(meddler);
			}
			assert_true(meddler->polls > 20);
			assert_int_equal(samples_stats(&memory.index).trained, 1);
			memory_index_destroy(&memory);
		}
		free(meddler);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_edition_takes_its_memory_along),
		cmocka_unit_test(editions_alternate_where_memory_cannot_be_given_back),
		cmocka_unit_test(words_are_wide_where_lists_are_many),
		cmocka_unit_test(a_search_outlives_the_edition_it_reads),
		cmocka_unit_test(rows_come_and_go_at_every_step_of_a_training),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
