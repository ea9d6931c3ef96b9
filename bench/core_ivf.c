/*
 * core_ivf.c - an IVF index in process: build time, and queries per second at given recalls.
 *
 * Usage: core_ivf BASE.fvecs QUERY.fvecs [metric [quantization [lists]]]
 *        metric l2 | dot | cosine | l1 | hamming, quantization sq8 | none | pq | bq, lists 0 = automatic
 *
 * One thread, and its processor time, so that neighbours on the machine count less. The truth is found by the flat engine.
 * For each number of probes: recall@10, queries per second (the best of three runs), rows scored and ranked per query. The
 * line "automatic" takes what training measured.
 */
#define _POSIX_C_SOURCE 200809L

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/db/index.h"
#include "core/ivf/ivf.h"

#define K 10
#define QUERIES_MAX 1000u
#define MEMORY_MAX (UINT64_C(16) << 30)

typedef struct Set
{
	size_t count;
	size_t dim;
	float *rows;
} Set;

typedef struct Index
{
	IqdbHost  host;
	IqdbArena arena;
	IqdbIndex index;
} Index;

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double) t.tv_sec + 1e-9 * (double) t.tv_nsec;
}

static void
die(const char *what)
{
	fprintf(stderr, "core_ivf: %s\n", what);
	exit(1);
}

static void
check(IqdbStatus status, const IqdbError *err)
{
	if (status != IQDB_OK)
		die(err->message);
}

static Set
read_fvecs(const char *path, size_t rows_max)
{
	FILE   *file = fopen(path, "rb");
	int32_t dim;
	long    bytes;
	Set     set;

	if (file == NULL || fread(&dim, sizeof(dim), 1, file) != 1 || dim < 1)
		die("cannot read the vectors");
	fseek(file, 0, SEEK_END);
	bytes = ftell(file);
	rewind(file);
	set.dim = (size_t) dim;
	set.count = (size_t) bytes / (4 * (set.dim + 1));
	set.count = set.count > rows_max ? rows_max : set.count;
	set.rows = malloc(set.count * set.dim * sizeof(float));
	if (set.rows == NULL)
		die("out of memory");
	for (size_t i = 0; i < set.count; i++)
	{
		if (fread(&dim, sizeof(dim), 1, file) != 1 || fread(set.rows + i * set.dim, 4, set.dim, file) != set.dim)
			die("the file of vectors is cut short");
	}
	fclose(file);
	return set;
}

static void
create(Index *index, const IqdbIndexOptions *options)
{
	uint64_t  reserves[IQDB_ARENA_REGIONS_MAX];
	uint32_t  count = iqdb_index_reserves(options, MEMORY_MAX, 0, reserves);
	IqdbError err;

	index->host = (IqdbHost){.allocator = iqdb_allocator_libc, .locks = iqdb_locks_pthread};
	check(iqdb_arena_private_create(&index->arena, iqdb_arena_size_needed(reserves, count), &err), &err);
	check(iqdb_index_format(&index->index, &index->arena, &index->host, NULL, options, MEMORY_MAX, 0, &err), &err);
}

static void
fill(Index *index, const Set *base)
{
	IqdbError err;

	for (size_t i = 0; i < base->count; i++)
		check(iqdb_index_put(&index->index, iqdb_id_u64(i), base->rows + i * base->dim, base->dim, NULL, 0, NULL, &err),
			  &err);
}

static size_t
search(Index *index, const float *query, size_t dim, uint32_t probes, uint64_t *ids_out, IqdbSearchStats *stats)
{
	IqdbSearchParams params = {.expected = K, .probes = probes};
	IqdbCursor      *cursor;
	IqdbHit          hits[K];
	IqdbError        err;
	size_t           total = 0;
	size_t           count = 1;

	check(iqdb_cursor_open(&index->index, query, dim, &params, &cursor, &err), &err);
	while (total < K && count > 0)
	{
		check(iqdb_cursor_next(cursor, hits + total, K - total, &count, &err), &err);
		total += count;
	}
	for (size_t i = 0; i < total; i++)
		ids_out[i] = hits[i].id;
	stats->scored += cursor->stats.scored;
	stats->reranked += cursor->stats.reranked;
	iqdb_cursor_close(cursor);
	return total;
}

static size_t
common(const uint64_t *a, const uint64_t *b)
{
	size_t count = 0;

	for (size_t i = 0; i < K; i++)
	{
		for (size_t j = 0; j < K; j++)
			count += a[i] == b[j];
	}
	return count;
}

static double
measure(Index *index, const Set *queries, const uint64_t *truth, uint32_t probes)
{
	double          best = 1e9;
	size_t          met = 0;
	IqdbSearchStats stats = {0};
	uint64_t        ids[K];

	for (int run = 0; run < 3; run++)
	{
		double start = now();

		met = 0;
		memset(&stats, 0, sizeof(stats));
		for (size_t i = 0; i < queries->count; i++)
		{
			memset(ids, 0xff, sizeof(ids));
			search(index, queries->rows + i * queries->dim, queries->dim, probes, ids, &stats);
			met += common(ids, truth + i * K);
		}
		best = now() - start < best ? now() - start : best;
	}
	if (probes == 0)
		printf("automatic (%u)", iqdb_ivf_automatic_probes(&index->index.store));
	else
		printf("probes %u", probes);
	printf(": recall %.4f, %.0f queries/s, %.0f scored, %.0f ranked\n", (double) met / (double) (queries->count * K),
		   (double) queries->count / best, (double) stats.scored / (double) queries->count,
		   (double) stats.reranked / (double) queries->count);
	fflush(stdout);
	return (double) met / (double) (queries->count * K);
}

static uint32_t
number_of(const char *name, const char *const *names, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
	{
		if (strcmp(name, names[i]) == 0)
			return i;
	}
	die("unknown metric or quantization");
	return 0;
}

int
main(int argc, char **argv)
{
	static const char *const metrics[] = {"cosine", "dot", "l2", "l1", "hamming"};
	static const char *const quantizations[] = {"none", "sq8", "pq", "bq"};
	IqdbMetric       metric = IQDB_METRIC_L2;
	IqdbIndexOptions options;
	IqdbEngineStats  stats;
	Index            flat;
	Index            ivf;
	Set              base;
	Set              queries;
	uint64_t        *truth;
	IqdbSearchStats  ignored = {0};
	IqdbIvfError     error;
	IqdbError        err;
	double           start;
	double           recall = 0;

	if (argc < 3)
		die("usage: core_ivf BASE.fvecs QUERY.fvecs [metric [quantization [lists]]]");
	base = read_fvecs(argv[1], SIZE_MAX);
	queries = read_fvecs(argv[2], QUERIES_MAX);
	if (argc > 3)
		metric = (IqdbMetric) number_of(argv[3], metrics, 5);
	options = iqdb_index_options_default(IQDB_ENGINE_FLAT, (uint32_t) base.dim, metric);
	create(&flat, &options);
	fill(&flat, &base);
	truth = malloc(queries.count * K * sizeof(*truth));
	if (truth == NULL)
		die("out of memory");
	for (size_t i = 0; i < queries.count; i++)
		search(&flat, queries.rows + i * queries.dim, queries.dim, 0, truth + i * K, &ignored);
	iqdb_arena_private_destroy(&flat.arena);

	options = iqdb_index_options_default(IQDB_ENGINE_IVF, (uint32_t) base.dim, metric);
	if (argc > 4)
		options.quantization = number_of(argv[4], quantizations, 4);
	if (argc > 5)
		options.lists = (uint32_t) strtoul(argv[5], NULL, 10);
	create(&ivf, &options);
	start = now();
	fill(&ivf, &base);
	printf("%zu rows of %zu dimensions put in %.2f s, ", base.count, base.dim, now() - start);
	start = now();
	check(iqdb_index_maintain(&ivf.index, IQDB_MAINTAIN_BUILD, &err), &err);
	ivf.index.engine->stats(&ivf.index.store, &stats);
	printf("built in %.2f s: %u lists of %llu to %llu rows, %.1f in the mean\n", now() - start, stats.lists,
		   (unsigned long long) stats.list_min, (unsigned long long) stats.list_max, stats.list_mean);
	check(iqdb_ivf_code_error(&ivf.index.store, 1000, 1, &error, &err), &err);
	printf("code error: mean %.6f, worst %.6f of the square distance to the centre\n", error.mean_square,
		   error.worst_square);
	(void) measure(&ivf, &queries, truth, 0);
	for (uint32_t probes = 1; probes < stats.lists && recall < 0.995; probes += (probes + 3) / 4)
		recall = measure(&ivf, &queries, truth, probes);
	iqdb_arena_private_destroy(&ivf.arena);
	free(truth);
	free(base.rows);
	free(queries.rows);
	return 0;
}
