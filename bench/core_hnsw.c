/*
 * core_hnsw.c - build and search speed of the hnsw engine on a set of vectors, in process.
 *
 * usage: core_hnsw BASE QUERIES [metric=l2] [element=f32|f16|bit] [m=16] [efc=200] [quantization=sq8|none|bq|auto]
 *                  [threads=1] [rows=0] [delete=0] [seconds=1] [ef=16,24,...] [vectors=FILE]
 *
 * BASE and QUERIES are .fvecs or .bvecs files. With another element than f32 both are made such vectors first: halves
 * are the nearest ones, a bit says whether the component is positive. Prints build seconds, bytes of arena per row, and
 * for each ef recall@10 against an exact scan, queries per second of processor time (one thread, all threads), the
 * distances computed, and the tail of the recall (tails.h). vectors=FILE: full vectors lie in that file (it is made anew,
 * and loses its name at once). delete=P removes P percent of the rows after the build, vacuums, and measures again.
 * bench/README.md says how to read the figures.
 */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/base/topk.h"
#include "core/db/index.h"
#include "core/vec/half.h"

#include "tails.h"

#define K 10
#define EFS_MAX 32

typedef struct Set
{
	float         *rows;
	unsigned char *vectors; /* the same as the index's element has them, `bytes` each */
	size_t         bytes;
	size_t         count;
	size_t         dim;
} Set;

typedef struct Bench
{
	IqdbArena        arena;
	IqdbArenaFile    file;
	IqdbHost         host;
	IqdbIndex        index;
	IqdbIndexOptions options;
	Set              base;
	Set              queries;
	float           *truth; /* per query the key of its Kth row */
	int              threads;
	double           seconds;
	const char      *vectors; /* a file's path, NULL = in memory */
} Bench;

typedef struct Worker
{
	Bench    *bench;
	pthread_t thread;
	size_t    first;
	size_t    step;
	size_t    ef;
	double    seconds;
	size_t    searched;
	uint64_t  found;
	uint64_t  scored;
	Tail      tail;
} Worker;

static double
seconds_of(clockid_t clock)
{
	struct timespec at;

	clock_gettime(clock, &at);
	return (double) at.tv_sec + (double) at.tv_nsec * 1e-9;
}

static double
now(void)
{
	return seconds_of(CLOCK_MONOTONIC);
}

/* Processor time of this thread: what a rate is made of, so that a machine shared with others does not spoil it. */
static double
spent(void)
{
	return seconds_of(CLOCK_THREAD_CPUTIME_ID);
}

static void
die(const char *what, const IqdbError *err)
{
	fprintf(stderr, "%s: %s\n", what, err != NULL ? err->message : "failed");
	exit(1);
}

/* ---- sets -------------------------------------------------------------------------------------------------------- */

static Set
read_set(const char *path, size_t rows_max)
{
	Set    set = {NULL, NULL, 0, 0, 0};
	bool   bytes = strstr(path, ".bvecs") != NULL;
	FILE  *file = fopen(path, "rb");
	size_t allocated = 0;
	int    dim;

	if (file == NULL)
		die(path, NULL);
	while ((rows_max == 0 || set.count < rows_max) && fread(&dim, 4, 1, file) == 1)
	{
		if (set.count == 0)
			set.dim = (size_t) dim;
		if ((size_t) dim != set.dim)
			die("rows differ in length", NULL);
		if (set.count == allocated)
		{
			allocated = allocated == 0 ? 1024 : 2 * allocated;
			set.rows = realloc(set.rows, allocated * set.dim * sizeof(float));
			if (set.rows == NULL)
				die("out of memory", NULL);
		}
		for (size_t i = 0; !bytes && i < 1; i++)
			if (fread(set.rows + set.count * set.dim, sizeof(float), set.dim, file) != set.dim)
				die("file is cut off", NULL);
		for (size_t i = 0; bytes && i < set.dim; i++)
			set.rows[set.count * set.dim + i] = (float) getc(file);
		set.count++;
	}
	fclose(file);
	return set;
}

/* The rows as vectors of the element. */
static void
make_vectors(Set *set, const IqdbElement *element)
{
	set->bytes = iqdb_element_bytes(element, set->dim);
	set->vectors = calloc(set->count, set->bytes);
	if (set->vectors == NULL)
		die("out of memory", NULL);
	for (size_t i = 0; i < set->count; i++)
	{
		const float   *row = set->rows + i * set->dim;
		unsigned char *vector = set->vectors + i * set->bytes;

		if (element->kind == IQDB_ELEMENT_F32)
			memcpy(vector, row, set->bytes);
		else if (element->kind == IQDB_ELEMENT_F16)
			iqdb_halves_narrow(row, set->dim, (IqdbHalf *) (void *) vector);
		for (size_t d = 0; element->kind == IQDB_ELEMENT_BIT && d < set->dim; d++)
			vector[d / 8] |= (unsigned char) ((row[d] > 0.0f) << (7 - d % 8));
	}
}

static const void *
vector_of(const Set *set, size_t row)
{
	return set->vectors + row * set->bytes;
}

/* ---- search ------------------------------------------------------------------------------------------------------ */

static size_t
search(Bench *bench, const void *query, size_t ef, IqdbHit *hits, uint64_t *scored)
{
	IqdbSearchParams params = {.expected = K, .ef = (uint32_t) ef};
	IqdbCursor      *cursor;
	IqdbError        err;
	size_t           count = 0;

	if (iqdb_cursor_open(&bench->index, query, bench->base.dim, &params, &cursor, &err) != IQDB_OK ||
		iqdb_cursor_next(cursor, hits, K, &count, &err) != IQDB_OK)
		die("search", &err);
	*scored += cursor->stats.scored;
	iqdb_cursor_close(cursor);
	return count;
}

/* The key of each query's tenth row, by the scorer that gives hits their keys. */
static void *
truth_worker(void *arg)
{
	Worker          *worker = arg;
	Bench           *bench = worker->bench;
	const IqdbStore *store = &bench->index.store;
	uint32_t         slots = atomic_load(&store->header->slot_count);
	float           *keys = malloc(slots * sizeof(float));
	void            *prepared = malloc(iqdb_element_prepared_bytes(store->element, bench->base.dim));
	IqdbScorer       scorer;
	IqdbTopK         top;

	if (keys == NULL || prepared == NULL)
		die("out of memory", NULL);
	iqdb_scorer_init(&scorer, store, NULL, NULL);
	iqdb_topk_init(&top, &iqdb_allocator_libc, K);
	for (size_t q = worker->first; q < bench->queries.count; q += worker->step)
	{
		const void *vector = vector_of(&bench->queries, q);

		iqdb_scorer_aim(&scorer,
						iqdb_element_prepare(store->kernels, store->element, vector, bench->base.dim, prepared),
						store->row_kernels->norm2(vector, bench->base.dim));
		iqdb_scorer_range(&scorer, 0, slots, keys);
		iqdb_topk_clear(&top);
		for (uint32_t slot = 0; slot < slots; slot++)
		{
			IqdbCandidate candidate = {.key = keys[slot], .sequence = slot, .slot = slot};

			if (iqdb_store_state(store, slot) == IQDB_ROW_LIVE && iqdb_topk_wants(&top, candidate.key) &&
				iqdb_topk_offer(&top, candidate) != IQDB_OK)
				die("out of memory", NULL);
		}
		iqdb_topk_sort(&top);
		bench->truth[q] = top.count > 0 ? top.items[top.count - 1].key : INFINITY;
	}
	iqdb_topk_free(&top);
	free(prepared);
	free(keys);
	return NULL;
}

/* The fastest of several passes over the queries: what others do on the machine makes passes slower, never faster. */
static void *
search_worker(void *arg)
{
	Worker *worker = arg;
	Bench  *bench = worker->bench;
	double  start = spent();

	worker->seconds = INFINITY;
	do
	{
		double pass = spent();

		worker->searched = 0;
		worker->found = 0;
		worker->scored = 0;
		tail_begin(&worker->tail, K);
		for (size_t q = worker->first; q < bench->queries.count; q += worker->step)
		{
			IqdbHit hits[K];
			size_t  count = search(bench, vector_of(&bench->queries, q), worker->ef, hits, &worker->scored);
			size_t  found = 0;

			for (size_t i = 0; i < count; i++)
				found += hits[i].key <= bench->truth[q];
			tail_count(&worker->tail, found);
			worker->found += found;
			worker->searched++;
		}
		pass = spent() - pass;
		if (pass < worker->seconds)
			worker->seconds = pass;
	} while (spent() - start < bench->seconds);
	return NULL;
}

static void
run(Bench *bench, Worker *workers, int threads, void *(*work)(void *), size_t ef)
{
	for (int i = 0; i < threads; i++)
	{
		workers[i].bench = bench;
		workers[i].first = (size_t) i;
		workers[i].step = (size_t) threads;
		workers[i].ef = ef;
		if (threads > 1)
			pthread_create(&workers[i].thread, NULL, work, &workers[i]);
		else
			work(&workers[i]);
	}
	for (int i = 0; threads > 1 && i < threads; i++)
		pthread_join(workers[i].thread, NULL);
}

static void
measure(Bench *bench, const size_t *efs, size_t ef_count)
{
	Worker workers[64];

	memset(workers, 0, sizeof(workers));
	run(bench, workers, bench->threads, truth_worker, 0);
	for (size_t i = 0; i < ef_count; i++)
	{
		double recall;

		run(bench, workers, 1, search_worker, efs[i]);
		recall = (double) workers[0].found / (double) (workers[0].searched * K);
		printf("  ef %5zu  recall %.4f  %8.0f/s  %6.0f scored", efs[i], recall,
			   (double) workers[0].searched / workers[0].seconds,
			   (double) workers[0].scored / (double) workers[0].searched);
		tail_print(&workers[0].tail);
		if (bench->threads > 1)
		{
			double rate = 0;

			run(bench, workers, bench->threads, search_worker, efs[i]);
			for (int t = 0; t < bench->threads; t++)
				rate += (double) workers[t].searched / workers[t].seconds;
			printf("  %8.0f/s with %d threads", rate, bench->threads);
		}
		printf("\n");
		fflush(stdout);
	}
}

/* ---- build ------------------------------------------------------------------------------------------------------- */

static void *
build_worker(void *arg)
{
	Worker   *worker = arg;
	Bench    *bench = worker->bench;
	IqdbError err;
	uint32_t  slot;

	for (size_t i = worker->first; i < bench->base.count; i += worker->step)
	{
		if (iqdb_index_put(&bench->index, iqdb_id_u64(i), vector_of(&bench->base, i), bench->base.dim, NULL, 0, &slot,
						   &err) != IQDB_OK ||
			iqdb_index_link(&bench->index, slot, &err) != IQDB_OK)
			die("insert", &err);
	}
	return NULL;
}

static void
build(Bench *bench)
{
	uint64_t       reserves[IQDB_ARENA_REGIONS_MAX];
	uint64_t       memory_max = iqdb_index_estimate_memory(&bench->options, bench->base.count + 100000) * 2;
	uint32_t       regions = iqdb_index_reserves(&bench->options, memory_max, 0, reserves);
	IqdbError      err;
	IqdbIndexStats stats;
	Worker         workers[64];
	double         start;
	double         cpu;

	memset(workers, 0, sizeof(workers));
	bench->host.allocator = iqdb_allocator_libc;
	bench->host.locks = bench->threads > 1 ? iqdb_locks_pthread : iqdb_locks_none;
	if (iqdb_arena_private_create(&bench->arena, iqdb_arena_size_needed(reserves, regions), &err) != IQDB_OK ||
		(bench->vectors != NULL && iqdb_arena_file_create(&bench->file, &bench->arena, bench->vectors, reserves,
														  IQDB_REGION_VECTORS, &err) != IQDB_OK) ||
		iqdb_index_format(&bench->index, &bench->arena, &bench->host, NULL, &bench->options, memory_max,
						  memory_max, 0, 0, &err) !=
			IQDB_OK)
		die("format", &err);
	start = now();
	cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
	run(bench, workers, bench->threads, build_worker, 0);
	cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	iqdb_index_stats(&bench->index, &stats);
	printf("build %.2f s (processor %.2f s) with %d thread(s), %.0f bytes per row, %.0f on disk (vector %zu), kernels %s\n",
		   now() - start, cpu, bench->threads, (double) stats.memory / (double) bench->base.count,
		   (double) stats.vector_file / (double) bench->base.count, bench->base.bytes,
		   bench->index.store.kernels->name);
	fflush(stdout);
}

static void
print_finding(void *arg, const char *what)
{
	(void) arg;
	printf("  check: %s\n", what);
}

static void
delete_and_vacuum(Bench *bench, int percent)
{
	IqdbError err;
	double    start;
	uint64_t  state = 1;
	size_t    removed = 0;

	for (size_t i = 0; i < bench->base.count; i++)
	{
		state = state * 6364136223846793005ULL + 1442695040888963407ULL;
		if ((int) ((state >> 33) % 100) < percent)
		{
			iqdb_index_remove(&bench->index, iqdb_id_u64(i), NULL);
			removed++;
		}
	}
	start = now();
	if (iqdb_index_maintain(&bench->index, IQDB_MAINTAIN_VACUUM, &err) != IQDB_OK)
		die("vacuum", &err);
	printf("%zu rows removed, vacuum %.2f s\n", removed, now() - start);
	if (iqdb_index_check(&bench->index, print_finding, NULL, &err) != IQDB_OK)
		die("check", &err);
}

static size_t
parse_efs(const char *text, size_t *efs)
{
	size_t count = 0;

	while (*text != '\0' && count < EFS_MAX)
	{
		char *end;

		efs[count++] = strtoul(text, &end, 10);
		text = *end == ',' ? end + 1 : end;
	}
	return count;
}

int
main(int argc, char **argv)
{
	static const char *const quantizations[] = {"none", "sq8", "pq", "bq"};
	Bench  bench;
	size_t efs[EFS_MAX];
	size_t ef_count = parse_efs("12,16,20,24,32,40,48,64,96,128,200", efs);
	char   metric[16] = "l2";
	char   element[16] = "f32";
	char   quantization[16] = "auto";
	int    m = 16;
	int    efc = 200;
	int    percent = 0;
	size_t rows = 0;

	memset(&bench, 0, sizeof(bench));
	bench.threads = 1;
	bench.seconds = 1.0;
	if (argc < 3)
	{
		fprintf(stderr, "usage: %s BASE QUERIES [name=value ...]\n", argv[0]);
		return 2;
	}
	for (int i = 3; i < argc; i++)
	{
		(void) sscanf(argv[i], "metric=%15s", metric);
		(void) sscanf(argv[i], "element=%15s", element);
		(void) sscanf(argv[i], "quantization=%15s", quantization);
		(void) sscanf(argv[i], "m=%d", &m);
		(void) sscanf(argv[i], "efc=%d", &efc);
		(void) sscanf(argv[i], "threads=%d", &bench.threads);
		(void) sscanf(argv[i], "rows=%zu", &rows);
		(void) sscanf(argv[i], "delete=%d", &percent);
		(void) sscanf(argv[i], "seconds=%lf", &bench.seconds);
		if (strncmp(argv[i], "vectors=", 8) == 0)
			bench.vectors = argv[i] + 8;
		if (strncmp(argv[i], "ef=", 3) == 0)
			ef_count = parse_efs(argv[i] + 3, efs);
	}
	if (bench.threads < 1 || bench.threads > 64)
		bench.threads = 1;
	bench.base = read_set(argv[1], rows);
	bench.queries = read_set(argv[2], 0);
	bench.truth = malloc(bench.queries.count * sizeof(float));
	bench.options = iqdb_index_options_default(IQDB_ENGINE_HNSW, (uint32_t) bench.base.dim, IQDB_METRIC_L2);
	for (uint32_t i = 0; i < IQDB_METRIC_COUNT; i++)
		if (strcmp(metric, iqdb_metric_name((IqdbMetric) i)) == 0)
			bench.options =
				iqdb_index_options_default(IQDB_ENGINE_HNSW, (uint32_t) bench.base.dim, (IqdbMetric) i);
	for (uint32_t i = 0; i < IQDB_ELEMENT_COUNT; i++)
		if (strcmp(element, iqdb_element(i)->name) == 0)
			iqdb_index_options_of_element(&bench.options, (IqdbElementKind) i);
	make_vectors(&bench.base, iqdb_element(bench.options.element));
	make_vectors(&bench.queries, iqdb_element(bench.options.element));
	bench.options.vectors = bench.vectors != NULL ? IQDB_VECTORS_DISK : IQDB_VECTORS_MEMORY;
	bench.options.m = (uint32_t) m;
	bench.options.ef_construction = (uint32_t) efc;
	for (uint32_t i = 0; i < sizeof(quantizations) / sizeof(quantizations[0]); i++)
		if (strcmp(quantization, quantizations[i]) == 0)
			bench.options.quantization = i;
	printf("iqdb hnsw: %zu rows, dimension %zu, %s, %s, %s, m %d, ef_construction %d\n", bench.base.count,
		   bench.base.dim, element, metric, quantizations[bench.options.quantization], m, efc);
	build(&bench);
	measure(&bench, efs, ef_count);
	if (percent > 0)
	{
		delete_and_vacuum(&bench, percent);
		measure(&bench, efs, ef_count);
	}
	return 0;
}
