/*
 * test_paged.c - vectors on disk: an arena with two backings, and indexes that must answer as those in memory do. How little
 * memory they need is in test_paged_recall.c.
 */
#define _DEFAULT_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/db/index_codec.h"
#include "core/db/iqdb.h"
#include "core/engine/store_write.h"
#include "unit/ivf_samples.h"

#define SEED UINT64_C(20261123)
#define MIB (UINT64_C(1024) * 1024)
#define MEMORY_MAX (64 * MIB)

/* ---- folders ---- */

static const char *
folder(void)
{
	const char *name = getenv("TMPDIR");

	return name != NULL ? name : "/tmp";
}

static void
path_of(char *path, size_t size, const char *name)
{
	snprintf(path, size, "%s/%s", folder(), name);
}

/* Names in the folder that begin with the prefix. */
static int
names_like(const char *prefix)
{
	DIR           *dir = opendir(folder());
	struct dirent *entry;
	int            count = 0;

	assert_non_null(dir);
	while ((entry = readdir(dir)) != NULL)
		count += strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
	closedir(dir);
	return count;
}

/* ---- the arena ---- */

typedef struct TwoFold
{
	IqdbArena     arena;
	IqdbArenaFile file;
	char          path[256];
} TwoFold;

static void
two_fold(TwoFold *two, const uint64_t *reserves, uint32_t count, uint32_t paged, uint64_t limit)
{
	IqdbError err;

	memset(two, 0, sizeof(*two));
	path_of(two->path, sizeof(two->path), "two.vectors");
	assert_int_equal(iqdb_arena_private_create(&two->arena, iqdb_arena_size_needed(reserves, count), &err), IQDB_OK);
	assert_int_equal(iqdb_arena_file_create(&two->file, &two->arena, two->path, reserves, paged, &err), IQDB_OK);
	assert_int_equal(iqdb_arena_format(&two->arena, &iqdb_locks_pthread, reserves, count, paged, limit, &err), IQDB_OK);
}

static void
two_fold_end(TwoFold *two)
{
	iqdb_arena_private_destroy(&two->arena);
	iqdb_arena_file_close(&two->file);
	iqdb_arena_file_close(&two->file);
}

static uint64_t
file_size(const TwoFold *two)
{
	struct stat st;

	assert_int_equal(fstat(two->file.fd, &st), 0);
	return (uint64_t) st.st_size;
}

static void
the_paged_region_grows_in_its_file_and_is_no_memory(void **state)
{
	uint64_t         reserves[3] = {16 * MIB, 100 * MIB, 16 * MIB};
	TwoFold          two;
	IqdbArenaHeader *header;
	unsigned char   *bytes;
	unsigned char    byte;
	struct stat      st;

	(void) state;
	two_fold(&two, reserves, 3, 1, 0);
	header = iqdb_arena_header(&two.arena);
	assert_int_equal(header->regions[1].offset, iqdb_arena_region_start(reserves, 1));
	assert_int_equal(header->regions[2].offset, iqdb_arena_region_start(reserves, 2));
	/* nobody else can open it, and nothing is left when we die */
	assert_int_equal(names_like("two.vectors"), 0);
	assert_int_equal(fstat(two.file.fd, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(st.st_nlink, 0);
	assert_int_equal(iqdb_arena_paged_bytes(&two.arena), 0);

	bytes = iqdb_arena_region(&two.arena, 1);
	for (uint64_t size = 1; size < 40 * MIB; size += 777777)
	{
		assert_int_equal(iqdb_arena_grow(&two.arena, 1, size, NULL), IQDB_OK);
		assert_true(iqdb_arena_paged_bytes(&two.arena) >= size);
		assert_true(file_size(&two) >= iqdb_arena_paged_bytes(&two.arena));
		assert_int_equal(bytes[size - 1], 0);
		bytes[size - 1] = (unsigned char) (size % 251);
	}
	assert_int_equal(header->committed, 0);
	assert_int_equal(iqdb_arena_grow(&two.arena, 0, 5000, NULL), IQDB_OK);
	assert_int_equal(iqdb_arena_grow(&two.arena, 2, 5000, NULL), IQDB_OK);
	memset(iqdb_arena_region(&two.arena, 0), 1, 5000);
	memset(iqdb_arena_region(&two.arena, 2), 1, 5000);
	assert_int_equal(header->committed, header->regions[0].committed + header->regions[2].committed);
	/* offsets of the file are those of the region */
	for (uint64_t size = 1; size < 40 * MIB; size += 777777)
	{
		assert_int_equal(pread(two.file.fd, &byte, 1, (off_t) (size - 1)), 1);
		assert_int_equal(byte, (unsigned char) (size % 251));
	}
	two_fold_end(&two);
}

static void
only_memory_counts_against_the_limit(void **state)
{
	uint64_t  reserves[2] = {10 * MIB, 10 * MIB};
	TwoFold   two;
	IqdbError err;

	(void) state;
	two_fold(&two, reserves, 2, 1, 300 * 1024);
	assert_int_equal(iqdb_arena_grow(&two.arena, 1, 10 * MIB, &err), IQDB_OK);
	assert_int_equal(iqdb_arena_grow(&two.arena, 1, 10 * MIB + 1, &err), IQDB_ERR_LIMIT);
	assert_int_equal(iqdb_arena_grow(&two.arena, 0, 300 * 1024, &err), IQDB_OK);
	assert_int_equal(iqdb_arena_grow(&two.arena, 0, 300 * 1024 + 1, &err), IQDB_ERR_LIMIT);
	assert_int_equal(iqdb_arena_header(&two.arena)->committed, 300 * 1024);
	two_fold_end(&two);
}

/* Either backing may have no room, or the file be shorter than somebody would like. */
static IqdbStatus
refuse(void *arg, uint64_t offset, uint64_t length, IqdbError *err)
{
	(void) offset;
	(void) length;
	++*(int *) arg;
	return iqdb_fail(err, IQDB_ERR_NO_SPACE, "no space");
}

static void
failing_of_either_backing_changes_nothing(void **state)
{
	uint64_t         reserves[2] = {10 * MIB, 10 * MIB};
	TwoFold          two;
	IqdbArenaHeader *header;
	IqdbArenaBacking memory;
	IqdbArenaBacking paged;
	IqdbError        err;
	int              calls = 0;

	(void) state;
	two_fold(&two, reserves, 2, 1, 0);
	header = iqdb_arena_header(&two.arena);
	memory = two.arena.backing;
	paged = two.arena.paged;
	for (int which = 0; which < 2; which++)
	{
		uint64_t before[2] = {header->regions[0].committed, header->regions[1].committed};

		two.arena.backing = which == 0 ? (IqdbArenaBacking){.commit = refuse, .arg = &calls} : memory;
		two.arena.paged = which == 1 ? (IqdbArenaBacking){.commit = refuse, .arg = &calls} : paged;
		assert_int_equal(iqdb_arena_grow(&two.arena, (uint32_t) which, before[which] + 1, &err), IQDB_ERR_NO_SPACE);
		assert_int_equal(header->regions[which].committed, before[which]);
		assert_int_equal(iqdb_arena_grow(&two.arena, (uint32_t) (1 - which), before[1 - which] + 1, &err), IQDB_OK);
	}
	assert_true(calls >= 2);
	/* a process that did not map the file cannot grow it */
	two.arena.paged.commit = NULL;
	assert_int_equal(iqdb_arena_grow(&two.arena, 1, MIB, &err), IQDB_ERR_STATE);
	two.arena.paged = paged;
	assert_int_equal(iqdb_arena_grow(&two.arena, 1, MIB, &err), IQDB_OK);
	two_fold_end(&two);
}

static void
a_file_that_cannot_grow_is_a_status(void **state)
{
	uint64_t         reserves[2] = {MIB, 64 * MIB};
	TwoFold          two;
	struct rlimit    old;
	struct rlimit    limit;
	void             (*handler)(int);
	IqdbError        err;

	(void) state;
	two_fold(&two, reserves, 2, 1, 0);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	handler = signal(SIGXFSZ, SIG_IGN);
	limit = old;
	limit.rlim_cur = MIB;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	assert_int_equal(iqdb_arena_grow(&two.arena, 1, MIB, &err), IQDB_OK);
	assert_int_equal(iqdb_arena_grow(&two.arena, 1, 2 * MIB, &err), IQDB_ERR_NO_SPACE);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_string_equal(err.file, two.path);
	assert_int_equal(iqdb_arena_paged_bytes(&two.arena), MIB);
	assert_int_equal(iqdb_arena_grow(&two.arena, 1, 2 * MIB, &err), IQDB_OK);
	(void) signal(SIGXFSZ, handler);
	two_fold_end(&two);

	/* nor one that cannot be made */
	memset(&two, 0, sizeof(two));
	path_of(two.path, sizeof(two.path), "no/such/folder");
	assert_int_equal(iqdb_arena_private_create(&two.arena, iqdb_arena_size_needed(reserves, 2), &err), IQDB_OK);
	assert_int_equal(iqdb_arena_file_create(&two.file, &two.arena, two.path, reserves, 1, &err), IQDB_ERR_IO);
	assert_int_equal(two.file.fd, -1);
	two_fold_end(&two);
}

static void
attach_checks_which_region_is_paged(void **state)
{
	uint64_t  reserves[2] = {MIB, MIB};
	TwoFold   two;
	IqdbArena small;

	(void) state;
	two_fold(&two, reserves, 2, 1, 0);
	assert_int_equal(iqdb_arena_attach(&two.arena, NULL), IQDB_OK);
	iqdb_arena_header(&two.arena)->paged_region = 2;
	assert_int_equal(iqdb_arena_attach(&two.arena, NULL), IQDB_ERR_CORRUPT);
	iqdb_arena_header(&two.arena)->paged_region = IQDB_ARENA_NO_REGION;
	assert_int_equal(iqdb_arena_attach(&two.arena, NULL), IQDB_OK);
	assert_int_equal(iqdb_arena_paged_bytes(&two.arena), 0);
	/* outside of the arena */
	small = two.arena;
	assert_int_equal(iqdb_arena_map_paged(&small, two.file.fd, small.reserved, 4096, NULL), IQDB_ERR_STATE);
	assert_int_equal(iqdb_arena_map_paged(&small, two.file.fd, 0, small.reserved + 4096, NULL), IQDB_ERR_STATE);
	two_fold_end(&two);
}

static void
looking_ceases_when_nothing_is_missing(void **state)
{
	IqdbArena arena = {0};
	int       looks = 0;

	(void) state;
	while (iqdb_arena_uneasy(&arena) && looks < 100)
	{
		iqdb_arena_calm(&arena, true);
		looks++;
	}
	assert_true(looks > 0 && looks < 100);
	/* a wait since then */
	arena.faults--;
	assert_true(iqdb_arena_uneasy(&arena));
	iqdb_arena_calm(&arena, false);
	assert_true(iqdb_arena_uneasy(&arena));
}

/* ---- indexes ---- */

static IqdbIndexOptions
options_of(int engine, int quantization, uint32_t dim)
{
	IqdbIndexOptions options = iqdb_index_options_default((IqdbEngineKind) engine, dim, IQDB_METRIC_L2);

	options.quantization = (uint32_t) quantization;
	options.vectors = IQDB_VECTORS_DISK;
	if (engine == IQDB_ENGINE_IVF)
	{
		options.lists = 12;
		options.probes = 4;
	}
	return options;
}

static void
assert_same_answers(IqdbIndex *a, IqdbIndex *b, const Samples *samples)
{
	IqdbSearchParams params = {.expected = 10};
	IqdbHit          hits[2][40];

	for (size_t query = 0; query < samples->queries; query++)
	{
		size_t count = samples_search(a, samples_query(samples, query), samples->dim, &params, 40, hits[0]);

		assert_int_equal(samples_search(b, samples_query(samples, query), samples->dim, &params, 40, hits[1]), count);
		for (size_t i = 0; i < count; i++)
		{
			assert_int_equal(hits[0][i].id, hits[1][i].id);
			assert_memory_equal(&hits[0][i].key, &hits[1][i].key, sizeof(float));
		}
	}
}

/* Lets go of every page that the system can spare. */
static void
forget_pages(MemoryIndex *memory)
{
	uint64_t bytes = iqdb_arena_paged_bytes(&memory->arena);

	assert_int_equal(msync(memory->index.store.vectors, bytes, MS_SYNC), 0);
	assert_int_equal(madvise(memory->index.store.vectors, bytes, MADV_DONTNEED), 0);
	assert_int_equal(posix_fadvise(memory->file.fd, 0, 0, POSIX_FADV_DONTNEED), 0);
}

static void
copy_by_snapshot(MemoryIndex *from, MemoryIndex *to)
{
	MemorySnapshot    snapshot;
	IqdbSectionSink   sink;
	IqdbSectionSource source;

	memory_snapshot_init(&snapshot);
	sink = memory_snapshot_sink(&snapshot);
	assert_int_equal(iqdb_index_save(&from->index, &sink, NULL), IQDB_OK);
	source = memory_snapshot_source(&snapshot);
	assert_int_equal(iqdb_index_load(&to->index, &source, NULL), IQDB_OK);
	memory_snapshot_free(&snapshot);
}

static void
same_answers(int engine, int quantization, bool pages_gone)
{
	IqdbIndexOptions options = options_of(engine, quantization, 48);
	MemoryIndex      memory[2];
	MemoryIndex      copy[2];
	Samples          samples;
	IqdbIndexStats   stats[2];

	print_message("engine %d, quantization %d\n", engine, quantization);
	samples_make(&samples, 1500, 12, 48, 12, 0.5, SEED);
	memory_index_create_paged(&memory[0], &options, &iqdb_locks_none, NULL, MEMORY_MAX);
	options.vectors = IQDB_VECTORS_MEMORY;
	memory_index_create(&memory[1], &options, &iqdb_locks_none, NULL, MEMORY_MAX);
	for (int i = 0; i < 2; i++)
	{
		samples_put(&samples, &memory[i].index, 0, 1000, false);
		assert_int_equal(iqdb_index_maintain(&memory[i].index, IQDB_MAINTAIN_BUILD, NULL), IQDB_OK);
		for (uint64_t id = 0; id < 1000; id += 7)
			iqdb_index_remove(&memory[i].index, iqdb_id_u64(id), NULL);
		assert_int_equal(iqdb_index_maintain(&memory[i].index, IQDB_MAINTAIN_VACUUM, NULL), IQDB_OK);
		samples_put(&samples, &memory[i].index, 1000, 1500, true);
		assert_true(memory_index_sound(&memory[i].index));
		iqdb_index_stats(&memory[i].index, &stats[i]);
	}
	assert_true(stats[0].vector_file >= stats[0].live * 48 * sizeof(float));
	assert_int_equal(stats[1].vector_file, 0);
	assert_true(stats[0].memory < stats[1].memory);
	if (pages_gone)
		forget_pages(&memory[0]);
	assert_same_answers(&memory[0].index, &memory[1].index, &samples);

	/* from disk to memory and the other way round: where vectors lie is no part of the shape */
	memory_index_create(&copy[0], &options, &iqdb_locks_none, NULL, MEMORY_MAX);
	options.vectors = IQDB_VECTORS_DISK;
	memory_index_create_paged(&copy[1], &options, &iqdb_locks_none, NULL, MEMORY_MAX);
	for (int i = 0; i < 2; i++)
	{
		if (i == 0 && pages_gone)
			forget_pages(&memory[0]);
		copy_by_snapshot(&memory[i], &copy[i]);
		assert_true(memory_index_sound(&copy[i].index));
		assert_same_answers(&memory[i].index, &copy[i].index, &samples);
	}
	for (int i = 0; i < 2; i++)
	{
		memory_index_destroy(&memory[i]);
		memory_index_destroy(&copy[i]);
	}
	samples_free(&samples);
}

static void
where_vectors_lie_changes_no_answer(void **state)
{
	(void) state;
	same_answers(IQDB_ENGINE_FLAT, IQDB_QUANTIZATION_NONE, false);
	same_answers(IQDB_ENGINE_FLAT, IQDB_QUANTIZATION_NONE, true);
	same_answers(IQDB_ENGINE_FLAT, IQDB_QUANTIZATION_SQ8, true);
	for (int quantization = IQDB_QUANTIZATION_NONE; quantization <= IQDB_QUANTIZATION_SQ8; quantization++)
		same_answers(IQDB_ENGINE_HNSW, quantization, quantization == IQDB_QUANTIZATION_SQ8);
	same_answers(IQDB_ENGINE_HNSW, IQDB_QUANTIZATION_BQ, true);
	for (int quantization = IQDB_QUANTIZATION_NONE; quantization <= IQDB_QUANTIZATION_BQ; quantization++)
		same_answers(IQDB_ENGINE_IVF, quantization, quantization != IQDB_QUANTIZATION_SQ8);
}

static void
pages_that_are_gone_are_fetched_together(void **state)
{
	IqdbIndexOptions options = options_of(IQDB_ENGINE_FLAT, IQDB_QUANTIZATION_NONE, 1000);
	MemoryIndex      memory;
	Samples          samples;
	uint32_t         slots[50];
	size_t           there = 0;

	(void) state;
	samples_make(&samples, 2000, 1, 1000, 1, 1.0, SEED);
	memory_index_create_paged(&memory, &options, &iqdb_locks_none, NULL, MEMORY_MAX);
	samples_put(&samples, &memory.index, 0, samples.count, false);
	for (uint32_t i = 0; i < 50; i++)
		slots[i] = i * 37 % 2000;
	forget_pages(&memory);
	/* a system that never forgets has nothing to show */
	if (!iqdb_arena_resident(iqdb_store_vector(&memory.index.store, slots[20]), 4000))
	{
		iqdb_store_prefetch(&memory.index.store, slots, 50);
		for (int wait = 0; wait < 1000 && there < 50; wait++)
		{
			usleep(1000);
			there = 0;
			for (int i = 0; i < 50; i++)
				there += iqdb_arena_resident(iqdb_store_vector(&memory.index.store, slots[i]), 4000);
		}
		assert_int_equal(there, 50);
		iqdb_store_prefetch_range(&memory.index.store, 100, 1000);
		for (int wait = 0; wait < 1000 && there < 1000; wait++)
		{
			usleep(1000);
			there = 0;
			for (uint32_t slot = 100; slot < 1100; slot++)
				there += iqdb_arena_resident(iqdb_store_vector(&memory.index.store, slot), 4000);
		}
		assert_int_equal(there, 1000);
	}
	memory_index_destroy(&memory);
	samples_free(&samples);
}

/* A store that has no room on disk keeps what it has, and goes on when there is room again. */
static void
a_full_disk_refuses_one_row(void **state)
{
	IqdbIndexOptions options = options_of(IQDB_ENGINE_IVF, IQDB_QUANTIZATION_BQ, 64);
	IqdbArenaBacking paged;
	MemoryIndex      memory;
	Samples          samples;
	uint64_t         count;
	IqdbError        err;
	int              calls = 0;

	(void) state;
	samples_make(&samples, 3000, 4, 64, 10, 0.5, SEED);
	memory_index_create_paged(&memory, &options, &iqdb_locks_none, NULL, MEMORY_MAX);
	samples_put(&samples, &memory.index, 0, 1000, false);
	assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_BUILD, NULL), IQDB_OK);
	paged = memory.arena.paged;
	memory.arena.paged = (IqdbArenaBacking){.commit = refuse, .arg = &calls};
	for (count = 1000; count < 3000; count++)
	{
		if (iqdb_index_put(&memory.index, iqdb_id_u64(count), samples_row(&samples, count), 64, NULL, 0, NULL, &err) !=
			IQDB_OK)
			break;
	}
	assert_true(count < 3000);
	assert_int_equal(err.code, IQDB_ERR_NO_SPACE);
	assert_int_equal(iqdb_index_live_count(&memory.index), count);
	assert_true(memory_index_sound(&memory.index));
	memory.arena.paged = paged;
	samples_put(&samples, &memory.index, count, 3000, true);
	assert_int_equal(iqdb_index_live_count(&memory.index), 3000);
	assert_true(memory_index_sound(&memory.index));
	memory_index_destroy(&memory);
	samples_free(&samples);
}

/* Counts what growing asks of a backing. */
typedef struct Counted
{
	IqdbArenaBacking below;
	int              calls;
} Counted;

static IqdbStatus
counted_commit(void *arg, uint64_t offset, uint64_t length, IqdbError *err)
{
	Counted *counted = arg;

	counted->calls++;
	return counted->below.commit(counted->below.arg, offset, length, err);
}

static void
count_growth(Counted *counted, IqdbArenaBacking *backing)
{
	*counted = (Counted){*backing, 0};
	*backing = (IqdbArenaBacking){.commit = counted_commit, .arg = counted};
}

/* Puts run under locks of the host that everybody needs: nothing may grow there if somebody made room before. */
static void
puts_grow_nothing_when_room_was_made(void **state)
{
	static const IqdbEngineKind kinds[] = {IQDB_ENGINE_HNSW, IQDB_ENGINE_IVF};

	(void) state;
	for (int which = 0; which < 2; which++)
	{
		IqdbIndexOptions options = options_of(kinds[which], IQDB_QUANTIZATION_BQ, 64);
		MemoryIndex      memory;
		Counted          disk;
		Counted          ram;
		Samples          samples;
		int              ahead = 0;
		int              inside = 0;

		samples_make(&samples, 6000, 4, 64, 10, 0.5, SEED);
		memory_index_create_paged(&memory, &options, &iqdb_locks_none, NULL, MEMORY_MAX);
		count_growth(&disk, &memory.arena.paged);
		count_growth(&ram, &memory.arena.backing);
		for (uint64_t id = 0; id < 6000; id += 3)
		{
			int before = disk.calls + ram.calls;

			iqdb_index_make_room(&memory.index, 3);
			ahead += disk.calls + ram.calls - before;
			before = disk.calls + ram.calls;
			samples_put(&samples, &memory.index, id, id + 3, false);
			inside += disk.calls + ram.calls - before;
		}
		assert_true(ahead > 20);
		assert_int_equal(inside, 0);
		assert_true(memory_index_sound(&memory.index));
		memory_index_destroy(&memory);
		samples_free(&samples);
	}
}

/* The next rows' pages are in memory before the rows are put, fresh slots and used ones. */
static void
pages_are_there_before_rows_are_put(void **state)
{
	IqdbIndexOptions options = options_of(IQDB_ENGINE_IVF, IQDB_QUANTIZATION_BQ, 1024);
	MemoryIndex      memory;
	Samples          samples;
	IqdbStore       *store = &memory.index.store;

	(void) state;
	samples_make(&samples, 300, 4, 1024, 10, 0.5, SEED);
	memory_index_create_paged(&memory, &options, &iqdb_locks_none, NULL, MEMORY_MAX);
	samples_put(&samples, &memory.index, 0, 200, false);
	for (uint64_t id = 100; id < 200; id++)
		iqdb_index_remove(&memory.index, iqdb_id_u64(id), NULL);
	assert_int_equal(iqdb_index_maintain(&memory.index, IQDB_MAINTAIN_VACUUM, NULL), IQDB_OK);
	for (uint64_t id = 100; id < 300; id++)
	{
		uint32_t slot;

		assert_int_equal(fsync(memory.file.fd), 0);
		assert_int_equal(posix_fadvise(memory.file.fd, 0, 0, POSIX_FADV_DONTNEED), 0);
		iqdb_index_make_room(&memory.index, 1);
		slot = store->header->free_head != IQDB_SLOT_NONE ? store->header->free_head : store->header->slot_count;
		assert_true(iqdb_arena_resident(iqdb_store_vector(store, slot), 4096));
		samples_put(&samples, &memory.index, id, id + 1, false);
	}
	assert_int_equal(store->header->slot_count, 300);
	memory_index_destroy(&memory);
	samples_free(&samples);
}

/* ---- options ---- */

static void
the_choice_is_stored_and_old_files_mean_automatic(void **state)
{
	IqdbIndexOptions options = options_of(IQDB_ENGINE_IVF, IQDB_QUANTIZATION_PQ, 8);
	IqdbIndexOptions read;
	unsigned char    bytes[IQDB_OPTIONS_SIZE];

	(void) state;
	for (uint32_t vectors = IQDB_VECTORS_AUTO; vectors <= IQDB_VECTORS_DISK; vectors++)
	{
		options.vectors = vectors;
		iqdb_index_options_encode(&options, bytes);
		assert_int_equal(iqdb_index_options_decode(bytes, &read, NULL), IQDB_OK);
		assert_int_equal(read.vectors, vectors);
	}
	/* where files from before the choice have zeros */
	memset(bytes + 56, 0, 8);
	assert_int_equal(iqdb_index_options_decode(bytes, &read, NULL), IQDB_OK);
	assert_int_equal(read.vectors, IQDB_VECTORS_AUTO);
	bytes[56] = 3;
	assert_int_equal(iqdb_index_options_decode(bytes, &read, NULL), IQDB_ERR_CORRUPT);
	bytes[56] = 0;
	bytes[60] = IQDB_ELEMENT_COUNT;
	assert_int_equal(iqdb_index_options_decode(bytes, &read, NULL), IQDB_ERR_CORRUPT);

	options.vectors = 3;
	assert_int_equal(iqdb_index_options_check(&options, NULL), IQDB_ERR_CONFIG);
	for (int quantization = IQDB_QUANTIZATION_NONE; quantization <= IQDB_QUANTIZATION_BQ; quantization++)
	{
		options = options_of(IQDB_ENGINE_IVF, quantization, 8);
		assert_true(iqdb_index_options_on_disk(&options));
		options.vectors = IQDB_VECTORS_MEMORY;
		assert_false(iqdb_index_options_on_disk(&options));
		options.vectors = IQDB_VECTORS_AUTO;
		assert_int_equal(iqdb_index_options_on_disk(&options), quantization >= IQDB_QUANTIZATION_PQ);
	}
}

static void
estimates_tell_memory_from_disk(void **state)
{
	IqdbIndexOptions disk = options_of(IQDB_ENGINE_IVF, IQDB_QUANTIZATION_BQ, 768);
	IqdbIndexOptions memory = disk;
	uint64_t         reserves[IQDB_ARENA_REGIONS_MAX];
	uint32_t         count;

	(void) state;
	memory.vectors = IQDB_VECTORS_MEMORY;
	assert_int_equal(iqdb_index_estimate_vector_file(&disk, 1000), 1000 * 768 * sizeof(float));
	assert_int_equal(iqdb_index_estimate_vector_file(&memory, 1000), 0);
	assert_int_equal(iqdb_index_estimate_memory(&memory, 1000) - iqdb_index_estimate_memory(&disk, 1000),
					 1000 * 768 * sizeof(float));
	/* the most rows that memory pays for have address space, and no more than files can be long */
	count = iqdb_index_reserves(&disk, 1024 * MIB, 0, reserves);
	assert_true(reserves[IQDB_REGION_VECTORS] > 5 * 1024 * MIB);
	assert_true(iqdb_arena_size_needed(reserves, count) > reserves[IQDB_REGION_VECTORS]);
	disk = options_of(IQDB_ENGINE_FLAT, IQDB_QUANTIZATION_NONE, IQDB_DIMENSION_MAX);
	count = iqdb_index_reserves(&disk, UINT64_C(1) << 42, 0, reserves);
	assert_true(reserves[IQDB_REGION_VECTORS] <= UINT64_C(4) << 40);
	assert_true(iqdb_arena_size_needed(reserves, count) > 0);
}

/* ---- the embedded database ---- */

static void
put_rows(Iqdb *db, const Samples *samples, size_t first, size_t end)
{
	for (size_t row = first; row < end; row++)
		assert_int_equal(iqdb_upsert(db, iqdb_id_u64(row), samples_row(samples, row), samples->dim, NULL, 0, NULL), IQDB_OK);
}

static void
remove_database(const char *path)
{
	static const char *suffixes[] = {"", ".wal", ".lock", ".vectors"};
	char               name[300];

	for (int i = 0; i < 4; i++)
	{
		snprintf(name, sizeof(name), "%s%s", path, suffixes[i]);
		(void) unlink(name);
	}
}

static void
a_database_in_files_has_its_vectors_beside_them(void **state)
{
	IqdbConfig config = iqdb_config_default(IQDB_ENGINE_IVF, 32, IQDB_METRIC_L2);
	Samples    samples;
	IqdbStats  stats;
	char       path[256];
	char       left_over[300];
	Iqdb      *db;
	int        fd;

	(void) state;
	samples_make(&samples, 1200, 1, 32, 5, 0.5, SEED);
	path_of(path, sizeof(path), "paged");
	snprintf(left_over, sizeof(left_over), "%s.vectors", path);
	config.fsync.mode = IQDB_FSYNC_NEVER;
	config.options.quantization = IQDB_QUANTIZATION_PQ;
	for (int turn = 0; turn < 3; turn++)
	{
		IqdbResult *result;

		/* a program that died in the one bad instant */
		fd = open(left_over, O_WRONLY | O_CREAT, 0600);
		assert_true(fd >= 0);
		close(fd);
		assert_int_equal(iqdb_open(path, &config, &db, NULL), IQDB_OK);
		assert_int_equal(access(left_over, F_OK), -1);
		put_rows(db, &samples, (size_t) turn * 400, (size_t) turn * 400 + 400);
		iqdb_stats(db, &stats);
		assert_true(stats.index.vector_file >= ((uint64_t) turn + 1) * 400 * 32 * sizeof(float));
		assert_int_equal(iqdb_search(db, samples_row(&samples, 399), 32, 1, &result, NULL), IQDB_OK);
		assert_int_equal(result->found[0].id.number, 399);
		iqdb_result_free(result);
		if (turn == 1)
			iqdb_abandon(db);
		else
			assert_int_equal(iqdb_close(db, NULL), IQDB_OK);
	}
	remove_database(path);
	/* named: memory; and without files there is no disk */
	config.options.vectors = IQDB_VECTORS_MEMORY;
	assert_int_equal(iqdb_open(path, &config, &db, NULL), IQDB_OK);
	put_rows(db, &samples, 0, 10);
	iqdb_stats(db, &stats);
	assert_int_equal(stats.index.vector_file, 0);
	assert_int_equal(iqdb_close(db, NULL), IQDB_OK);
	remove_database(path);
	config.options.vectors = IQDB_VECTORS_DISK;
	assert_int_equal(iqdb_open_in_memory(&config, &db, NULL), IQDB_OK);
	put_rows(db, &samples, 0, 10);
	iqdb_stats(db, &stats);
	assert_int_equal(stats.index.vector_file, 0);
	assert_int_equal(iqdb_close(db, NULL), IQDB_OK);
	assert_int_equal(names_like("paged"), 0);
	samples_free(&samples);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_paged_region_grows_in_its_file_and_is_no_memory),
		cmocka_unit_test(only_memory_counts_against_the_limit),
		cmocka_unit_test(failing_of_either_backing_changes_nothing),
		cmocka_unit_test(a_file_that_cannot_grow_is_a_status),
		cmocka_unit_test(attach_checks_which_region_is_paged),
		cmocka_unit_test(looking_ceases_when_nothing_is_missing),
		cmocka_unit_test(where_vectors_lie_changes_no_answer),
		cmocka_unit_test(pages_that_are_gone_are_fetched_together),
		cmocka_unit_test(a_full_disk_refuses_one_row),
		cmocka_unit_test(puts_grow_nothing_when_room_was_made),
		cmocka_unit_test(pages_are_there_before_rows_are_put),
		cmocka_unit_test(the_choice_is_stored_and_old_files_mean_automatic),
		cmocka_unit_test(estimates_tell_memory_from_disk),
		cmocka_unit_test(a_database_in_files_has_its_vectors_beside_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
