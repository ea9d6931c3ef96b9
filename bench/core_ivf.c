/*
 * core_ivf.c - build and search speed of the ivf engine on a set of vectors, in process, and what drift does to it.
 *
 * usage: core_ivf BASE QUERIES [metric=l2] [element=f32|f16|bit] [quantization=sq8|none|pq|bq] [lists=0] [rows=0]
 *                 [seconds=1] [drift=1] [probes=1,2,...] [refine=4] [vectors=FILE]
 *
 * BASE and QUERIES are .fvecs or .bvecs files. One thread. Prints build seconds, bytes of arena per row and where they are,
 * sizes of lists, and for each number of probes recall@10 against the exact engine, queries per second of processor time, rows
 * scored by codes and ranked by vectors; the line of 0 probes is what the index chooses by itself. lists=0: automatic.
 *
 * vectors=FILE: full vectors lie in that file (it is made anew, and loses its name at once), and the last line of the curve
 * is what searches take by the wall clock when the system has forgotten its pages.
 *
 * drift=1: half as many rows again come, one by one, in clusters that were not there when the lists were trained (rows of
 * the file with their components in reverse order, every other one negated). Recall with the probes that were enough
 * before, for queries near old rows and near new ones, before and after OPTIMIZE. bench/README.md says how to read it.
 */
#define _DEFAULT_SOURCE

#include "sets.h"

#include <fcntl.h>
#include <sys/mman.h>

#include "core/db/index.h"
#include "core/ivf/ivf.h"
#include "harness/elements.h"
#include "harness/ivf_error.h"

#define K 10
#define MEMORY_MAX (UINT64_C(16) << 30)
#define PROBES "0,1,2,3,4,6,8,10,12,16,20,24,32,40,48,64,80,96,128,192,256,384,512"

typedef struct Index
{
	IqdbHost      host;
	IqdbArena     arena;
	IqdbArenaFile file;
	IqdbIndex     index;
} Index;

/* What one number of probes gave. */
typedef struct Point
{
	double recall;
	double rate;
	double scored;
	double ranked;
} Point;

/* Of all indexes. */
static uint32_t element = IQDB_ELEMENT_F32;

static size_t
stored_bytes(const Set *set)
{
	return iqdb_element_bytes(iqdb_element(element), set->dim);
}

/* All vectors of a set as the rows of an index are, back to back: those of the set, or others, to be freed. */
static unsigned char *
stored_vectors(const Set *set)
{
	unsigned char *vectors;

	if (element == IQDB_ELEMENT_F32)
		return (unsigned char *) set->rows;
	vectors = malloc(set->count * stored_bytes(set));
	if (vectors == NULL)
		set_die("out of memory");
	for (size_t i = 0; i < set->count; i++)
		element_of_floats(element, set->rows + i * set->dim, set->dim, vectors + i * stored_bytes(set));
	return vectors;
}

static void
stored_free(const Set *set, unsigned char *vectors)
{
	if (vectors != (unsigned char *) set->rows)
		free(vectors);
}

static void
check(IqdbStatus status, const IqdbError *err)
{
	if (status != IQDB_OK)
		set_die(err->message);
}

static void
create(Index *index, const IqdbIndexOptions *options, const char *path)
{
	uint64_t  reserves[IQDB_ARENA_REGIONS_MAX];
	uint32_t  count = iqdb_index_reserves(options, MEMORY_MAX, 0, reserves);
	IqdbError err;

	index->host = (IqdbHost){.allocator = iqdb_allocator_libc, .locks = iqdb_locks_none};
	check(iqdb_arena_private_create(&index->arena, iqdb_arena_size_needed(reserves, count), &err), &err);
	if (path != NULL)
		check(iqdb_arena_file_create(&index->file, &index->arena, path, reserves, IQDB_REGION_VECTORS, &err), &err);
	check(iqdb_index_format(&index->index, &index->arena, &index->host, NULL, options, MEMORY_MAX, MEMORY_MAX, 0, 0, &err),
		  &err);
}

/* Rows from number first on, linked at once or left for the build. */
static void
fill(Index *index, const Set *base, size_t first, bool link)
{
	unsigned char *vectors = stored_vectors(base);
	IqdbError      err;
	uint32_t       slot;

	for (size_t i = 0; i < base->count; i++)
	{
		check(iqdb_index_put(&index->index, iqdb_id_u64(first + i), vectors + i * stored_bytes(base), base->dim, NULL, 0,
							 &slot, &err), &err);
		if (link)
			check(iqdb_index_link(&index->index, slot, &err), &err);
	}
	stored_free(base, vectors);
}

static void
search(Index *index, const void *query, size_t dim, uint32_t probes, uint64_t *ids_out, IqdbSearchStats *stats)
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
	for (size_t i = 0; i < K; i++)
		ids_out[i] = i < total ? hits[i].id : UINT64_MAX - i;
	stats->scored += cursor->stats.scored;
	stats->reranked += cursor->stats.reranked;
	iqdb_cursor_close(cursor);
}

/* Exact answers to all queries over one or two sets of rows: K ids each. */
static uint64_t *
find_truth(const Set *base, const Set *more, const Set *queries, IqdbMetric metric)
{
	IqdbIndexOptions options = iqdb_index_options_default(IQDB_ENGINE_FLAT, (uint32_t) base->dim, metric);
	uint64_t        *truth = malloc(queries->count * K * sizeof(*truth));
	unsigned char   *vectors = stored_vectors(queries);
	IqdbSearchStats  ignored = {0};
	Index            flat;

	if (truth == NULL)
		set_die("out of memory");
	options.element = element;
	create(&flat, &options, NULL);
	fill(&flat, base, 0, false);
	if (more != NULL)
		fill(&flat, more, base->count, false);
	for (size_t i = 0; i < queries->count; i++)
		search(&flat, vectors + i * stored_bytes(queries), base->dim, 0, truth + i * K, &ignored);
	iqdb_arena_private_destroy(&flat.arena);
	stored_free(queries, vectors);
	return truth;
}

/* The fastest of several passes: what others do on the machine makes passes slower, never faster. */
static Point
measure(Index *index, const Set *queries, const uint64_t *truth, uint32_t probes, double seconds)
{
	unsigned char  *vectors = stored_vectors(queries);
	double          begin = set_spent();
	double          best = 1e9;
	Point           point;
	size_t          met;
	IqdbSearchStats stats;

	do
	{
		double start = set_spent();

		met = 0;
		memset(&stats, 0, sizeof(stats));
		for (size_t i = 0; i < queries->count; i++)
		{
			uint64_t ids[K];

			search(index, vectors + i * stored_bytes(queries), queries->dim, probes, ids, &stats);
			for (size_t j = 0; j < K * K; j++)
				met += ids[j / K] == truth[i * K + j % K];
		}
		best = set_spent() - start < best ? set_spent() - start : best;
	} while (set_spent() - begin < seconds);
	stored_free(queries, vectors);
	point.recall = (double) met / (double) (queries->count * K);
	point.rate = (double) queries->count / best;
	point.scored = (double) stats.scored / (double) queries->count;
	point.ranked = (double) stats.reranked / (double) queries->count;
	return point;
}

static void
print_point(const Index *index, const char *what, uint32_t probes, Point point)
{
	if (probes == 0)
	{
		IqdbIndexStats stats;

		iqdb_index_stats(&index->index, &stats);
		printf("  %sautomatic probes (%u)", what, stats.engine.probes);
	}
	else
		printf("  %sprobes %4u", what, probes);
	printf("  recall %.4f  %8.0f/s  %6.0f scored  %4.0f ranked\n", point.recall, point.rate, point.scored, point.ranked);
	fflush(stdout);
}

/* Returns the least number of probes that reached a recall of 0.95. */
static uint32_t
print_curve(Index *index, const Set *queries, const uint64_t *truth, const char *probes, double seconds)
{
	uint32_t enough = 0;
	Point    point = {0};

	while (*probes != '\0' && point.recall < 0.998)
	{
		uint32_t number = (uint32_t) set_next_number(&probes);

		point = measure(index, queries, truth, number, seconds);
		print_point(index, "", number, point);
		if (number == 0)
			point.recall = 0;
		else if (enough == 0 && point.recall >= 0.95)
			enough = number;
	}
	return enough;
}

/* Every page of the file has to be read again. */
static void
forget_pages(Index *index)
{
	uint64_t bytes = iqdb_arena_paged_bytes(&index->arena);

	if (msync(index->index.store.vectors, bytes, MS_SYNC) != 0 ||
		madvise(index->index.store.vectors, bytes, MADV_DONTNEED) != 0 ||
		posix_fadvise(index->file.fd, 0, 0, POSIX_FADV_DONTNEED) != 0)
		set_die("the system keeps its pages");
}

static double
wall_clock(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return (double) at.tv_sec + 1e-9 * (double) at.tv_nsec;
}

/* Queries that come first after the vectors were forgotten; few, or they would find what others fetched. */
static void
measure_cold(Index *index, const Set *queries, uint32_t probes)
{
	unsigned char  *vectors = stored_vectors(queries);
	double          best = 1e9;
	size_t          count = queries->count < 200 ? queries->count : 200;
	IqdbSearchStats stats = {0};
	uint64_t        ids[K];

	for (int run = 0; run < 3; run++)
	{
		double start;

		forget_pages(index);
		start = wall_clock();
		for (size_t i = 0; i < count; i++)
			search(index, vectors + i * stored_bytes(queries), queries->dim, probes, ids, &stats);
		start = wall_clock() - start;
		best = start < best ? start : best;
	}
	printf("probes %u, vectors not in memory: %.0f q/s by the wall clock, %.0f ranked\n", probes, (double) count / best,
		   (double) stats.reranked / 3 / (double) count);
	stored_free(queries, vectors);
}

/* What of the arena is in which region, per row. */
static void
print_regions(const Index *index, size_t rows)
{
	static const char *const names[] = {"headers", "slots", "states", "norms", "vectors", "buckets", "blobs", "metadata",
										"host", "homes", "homes", "models", "models", "lists", "lists", "blocks",
										"blocks", "links", "links", "waiting"};
	const IqdbArenaHeader   *header = iqdb_arena_header(&index->arena);

	for (uint32_t i = 0; i < header->region_count && i < sizeof(names) / sizeof(*names); i++)
	{
		if (header->regions[i].committed > 0 && i != header->paged_region)
			printf("  %s %.2f", names[i], (double) header->regions[i].committed / (double) rows);
	}
	printf("\n");
}

static void
build(Index *index, const Set *base)
{
	double          start = set_spent();
	IqdbIndexStats  stats;
	IvfError        error;
	IqdbError       err;
	IqdbEngineStats engine;

	fill(index, base, 0, false);
	check(iqdb_index_maintain(&index->index, IQDB_MAINTAIN_BUILD, &err), &err);
	iqdb_index_stats(&index->index, &stats);
	engine = stats.engine;
	printf("build %.2f s, %.0f bytes per row, %.0f on disk (vector %zu), kernels %s\n", set_spent() - start,
		   (double) stats.memory / (double) base->count, (double) stats.vector_file / (double) base->count,
		   iqdb_element_bytes(iqdb_element(element), base->dim), index->index.store.kernels->name);
	print_regions(index, base->count);
	printf("%u lists of %llu to %llu rows, %.1f in the mean\n", engine.lists, (unsigned long long) engine.list_min,
		   (unsigned long long) engine.list_max, engine.list_mean);
	error = ivf_code_error(&index->index.store, 1000, 1);
	if (error.rows > 0)
		printf("code error: mean %.6f, worst %.6f of the square distance to the centre\n", error.mean_square,
			   error.worst_square);
	fflush(stdout);
}

/* ---- drift ------------------------------------------------------------------------------------------------------- */

/* The first rows of a set, where no cluster of it lies. */
static Set
elsewhere(const Set *set, size_t count)
{
	Set other = {malloc(count * set->dim * sizeof(float)), count, set->dim};

	if (other.rows == NULL)
		set_die("out of memory");
	for (size_t i = 0; i < count; i++)
	{
		for (size_t d = 0; d < set->dim; d++)
		{
			float component = set->rows[i * set->dim + set->dim - 1 - d];

			other.rows[i * set->dim + d] = d % 2 == 0 ? component : -component;
		}
	}
	return other;
}

static void
measure_drift(Index *index, const Set *base, const Set *queries, IqdbMetric metric, uint32_t probes)
{
	Set       more = elsewhere(base, base->count / 2);
	Set       near_old = {queries->rows, queries->count / 2, queries->dim};
	Set       near_new = elsewhere(queries, queries->count / 2);
	uint64_t *truth_old = find_truth(base, &more, &near_old, metric);
	uint64_t *truth_new = find_truth(base, &more, &near_new, metric);
	double    start = set_spent();
	IqdbError err;

	fill(index, &more, base->count, true);
	printf("drift: %zu rows of new clusters put and linked in %.2f s\n", more.count, set_spent() - start);
	for (int round = 0; round < 2; round++)
	{
		IqdbIndexStats stats;

		iqdb_index_stats(&index->index, &stats);
		printf("%u lists, the longest of %llu rows\n", stats.engine.lists, (unsigned long long) stats.engine.list_max);
		for (int automatic = 0; automatic < 2; automatic++)
		{
			uint32_t number = automatic ? 0 : probes;

			print_point(index, "old queries, ", number, measure(index, &near_old, truth_old, number, 0));
			print_point(index, "new queries, ", number, measure(index, &near_new, truth_new, number, 0));
		}
		if (round == 1)
			break;
		start = set_spent();
		check(iqdb_index_maintain(&index->index, IQDB_MAINTAIN_OPTIMIZE, &err), &err);
		printf("optimized in %.2f s\n", set_spent() - start);
	}
	free(truth_old);
	free(truth_new);
	free(more.rows);
	free(near_new.rows);
}

/* ---- options ----------------------------------------------------------------------------------------------------- */

static uint32_t
number_of(const char *name, const char *const *names, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
	{
		if (strcmp(name, names[i]) == 0)
			return i;
	}
	set_die("unknown metric, element or quantization");
	return 0;
}

int
main(int argc, char **argv)
{
	static const char *const metrics[] = {"cosine", "dot", "l2", "l1", "hamming", "jaccard"};
	static const char *const elements[] = {"f32", "f16", "bit"};
	static const char *const quantizations[] = {"none", "sq8", "pq", "bq"};
	IqdbMetric       metric = (IqdbMetric) number_of(set_option(argc, argv, "metric", "l2"), metrics, 6);
	double           seconds = strtod(set_option(argc, argv, "seconds", "1"), NULL);
	const char      *path = set_option(argc, argv, "vectors", NULL);
	IqdbIndexOptions options;
	Index            ivf;
	Set              base;
	Set              queries;
	uint64_t        *truth;
	uint32_t         enough;

	if (argc < 3)
		set_die("usage: core_ivf BASE QUERIES [name=value ...]");
	base = set_read(argv[1], strtoul(set_option(argc, argv, "rows", "0"), NULL, 10));
	queries = set_read(argv[2], 0);
	options = iqdb_index_options_default(IQDB_ENGINE_IVF, (uint32_t) base.dim, metric);
	element = number_of(set_option(argc, argv, "element", "f32"), elements, IQDB_ELEMENT_COUNT);
	options.element = element;
	options.quantization = number_of(set_option(argc, argv, "quantization", "sq8"), quantizations, 4);
	options.lists = (uint32_t) strtoul(set_option(argc, argv, "lists", "0"), NULL, 10);
	printf("iqdb ivf: %zu rows of %s, dimension %zu, %s, %s\n", base.count, elements[element], base.dim, metrics[metric],
		   quantizations[options.quantization]);
	options.refine = (uint32_t) strtoul(set_option(argc, argv, "refine", "4"), NULL, 10);
	options.vectors = path != NULL ? IQDB_VECTORS_DISK : IQDB_VECTORS_MEMORY;
	create(&ivf, &options, path);
	build(&ivf, &base);
	truth = find_truth(&base, NULL, &queries, metric);
	enough = print_curve(&ivf, &queries, truth, set_option(argc, argv, "probes", PROBES), seconds);
	if (path != NULL)
		measure_cold(&ivf, &queries, enough);
	if (strtoul(set_option(argc, argv, "drift", "1"), NULL, 10) > 0)
		measure_drift(&ivf, &base, &queries, metric, enough);
	iqdb_arena_private_destroy(&ivf.arena);
	free(truth);
	free(base.rows);
	free(queries.rows);
	return 0;
}
