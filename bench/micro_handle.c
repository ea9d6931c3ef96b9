/*
 * micro_handle.c - what one call of the embedded database costs, and how near exact search comes to the speed of memory.
 *
 *     build/plain/bench/micro_handle [quick | codes | group | filter | threads]
 *
 * Times are medians of processor time over rounds; of time by the clock those of durable writes (group) and of several threads.
 * The streaming rate is this program's own sum over a buffer larger than any cache, taken before and after, on the same machine
 * state as the searches; the first one is the yardstick.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "core/base/rng.h"
#include "core/db/iqdb.h"
#include "core/meta/metadata.h"

#define ROUNDS_MAX 64
#define STREAM_BYTES ((size_t) 256 * 1024 * 1024)

/* Processor time of this thread: other programs on the machine disturb it less. Waiting for a disk is not in it. */
static double
now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (double) now.tv_sec * 1e6 + (double) now.tv_nsec / 1e3;
}

static double
wall_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double) now.tv_sec * 1e6 + (double) now.tv_nsec / 1e3;
}

static void
require(IqdbStatus status, const IqdbError *err)
{
	if (status == IQDB_OK)
		return;
	fprintf(stderr, "%s: %s\n", iqdb_status_name(status), err->message);
	exit(1);
}

static int
compare_doubles(const void *a, const void *b)
{
	double x = *(const double *) a;
	double y = *(const double *) b;

	return (x > y) - (x < y);
}

static double
median(double *values, size_t count)
{
	qsort(values, count, sizeof(double), compare_doubles);
	return values[count / 2];
}

static float *
random_vectors(size_t count, size_t dim, uint64_t seed)
{
	float  *vectors = malloc(count * dim * sizeof(float));
	IqdbRng rng;

	if (vectors == NULL)
		exit(1);
	iqdb_rng_seed(&rng, seed);
	for (size_t i = 0; i < count * dim; i++)
		vectors[i] = (float) iqdb_rng_unit(&rng) - 0.5f;
	return vectors;
}

/* ---- the yardstick ---- */

typedef uint64_t Line __attribute__((vector_size(16)));

#define LINES_AT_ONCE 8

static void *
huge_pages(size_t size)
{
	const uintptr_t huge = 2 * 1024 * 1024;
	unsigned char  *mapping = mmap(NULL, size + huge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t          before;

	if (mapping == MAP_FAILED)
		exit(1);
	before = (huge - (uintptr_t) mapping % huge) % huge;
	if (before > 0)
		munmap(mapping, before);
	if (before < huge)
		munmap(mapping + before + size, huge - before);
	madvise(mapping + before, size, MADV_HUGEPAGE);
	return mapping + before;
}

static double
stream_rate(void)
{
	static uint64_t sink;
	Line           *lines = huge_pages(STREAM_BYTES);
	double          best = 0;

	memset(lines, 1, STREAM_BYTES);
	for (int round = 0; round < 7; round++)
	{
		Line   sum[LINES_AT_ONCE] = {{0}};
		double start = now_us();
		double rate;

		for (size_t i = 0; i < STREAM_BYTES / sizeof(Line); i += LINES_AT_ONCE)
		{
			for (int j = 0; j < LINES_AT_ONCE; j++)
				sum[j] += lines[i + (size_t) j];
		}
		rate = (double) STREAM_BYTES / (now_us() - start) / 1e3;
		for (int j = 0; j < LINES_AT_ONCE; j++)
			sink += sum[j][0] + sum[j][1];
		best = rate > best ? rate : best;
	}
	munmap(lines, STREAM_BYTES);
	if (sink == 42)
		puts("");
	return best;
}

/* ---- small sets: microseconds per call ---- */

static Iqdb *
make(IqdbEngineKind engine, uint32_t dim, IqdbMetric metric, const float *vectors, size_t count)
{
	IqdbConfig config = iqdb_config_default(engine, dim, metric);
	IqdbError  err;
	Iqdb      *db;

	require(iqdb_open_in_memory(&config, &db, &err), &err);
	for (size_t i = 0; i < count; i++)
		require(iqdb_upsert(db, iqdb_id_u64(i), vectors + i * dim, dim, NULL, 0, &err), &err);
	return db;
}

static double
time_searches(Iqdb *db, const float *queries, size_t query_count, size_t dim, size_t k, size_t rounds, size_t repeat)
{
	double    times[ROUNDS_MAX];
	IqdbError err;

	for (size_t round = 0; round < rounds; round++)
	{
		double start = now_us();

		for (size_t i = 0; i < repeat; i++)
		{
			IqdbResult *result;

			require(iqdb_search(db, queries + (i % query_count) * dim, dim, k, &result, &err), &err);
			iqdb_result_free(result);
		}
		times[round] = (now_us() - start) / (double) repeat;
	}
	return median(times, rounds);
}

static double
time_upserts(const char *path, IqdbFsync mode, const float *vectors, size_t count, uint32_t dim, size_t rounds)
{
	double     times[ROUNDS_MAX];
	IqdbConfig config = iqdb_config_default(IQDB_ENGINE_FLAT, dim, IQDB_METRIC_COSINE);
	IqdbError  err;

	config.fsync.mode = mode;
	for (size_t round = 0; round < rounds; round++)
	{
		Iqdb  *db;
		double start;

		require(path != NULL ? iqdb_open(path, &config, &db, &err) : iqdb_open_in_memory(&config, &db, &err), &err);
		start = now_us();
		for (size_t i = 0; i < count; i++)
			require(iqdb_upsert(db, iqdb_id_u64(i), vectors + i * dim, dim, NULL, 0, &err), &err);
		times[round] = now_us() - start;
		require(iqdb_close(db, &err), &err);
	}
	return median(times, rounds);
}

static void
remove_files(const char *path)
{
	static const char *const suffixes[] = {"", ".wal", ".lock"};

	for (size_t i = 0; i < 3; i++)
	{
		char name[1100];

		snprintf(name, sizeof(name), "%s%s", path, suffixes[i]);
		unlink(name);
	}
}

/* Rows written as one batch, or one by one, each synced before it counts. */
static double
time_durable(const char *path, const IqdbRow *rows, size_t count, uint32_t dim, bool batch)
{
	IqdbConfig config = iqdb_config_default(IQDB_ENGINE_FLAT, dim, IQDB_METRIC_COSINE);
	Iqdb      *db;
	IqdbError  err;
	double     start;
	double     time;

	require(iqdb_open(path, &config, &db, &err), &err);
	start = wall_us();
	if (batch)
		require(iqdb_upsert_batch(db, rows, count, dim, &err), &err);
	for (size_t i = 0; i < count && !batch; i++)
		require(iqdb_upsert(db, rows[i].id, rows[i].vector, dim, NULL, 0, &err), &err);
	time = wall_us() - start;
	iqdb_abandon(db);
	remove_files(path);
	return time;
}

static void
group_commit(size_t rounds)
{
	const uint32_t dim = 64;
	const size_t   count = 1000;
	float         *vectors = random_vectors(count, dim, 1);
	IqdbRow       *rows = calloc(count, sizeof(*rows));
	const char    *folder = getenv("TMPDIR");
	double         times[2][ROUNDS_MAX];
	char           path[1024];

	if (rows == NULL)
		exit(1);
	for (size_t i = 0; i < count; i++)
		rows[i] = (IqdbRow){.id = iqdb_id_u64(i), .vector = vectors + i * dim};
	snprintf(path, sizeof(path), "%s/micro-handle-%ld", folder != NULL ? folder : "/tmp", (long) getpid());
	for (size_t round = 0; round < rounds; round++)
	{
		for (int batch = 0; batch < 2; batch++)
			times[batch][round] = time_durable(path, rows, count, dim, batch == 1);
	}
	printf("\n1000 durable upserts, dim 64, fsync always, in %s     milliseconds by the clock\n"
		   "  one by one %46.1f\n  in one batch %44.2f   (%.0f times faster)\n",
		   folder != NULL ? folder : "/tmp", median(times[0], rounds) / 1e3, median(times[1], rounds) / 1e3,
		   times[0][rounds / 2] / times[1][rounds / 2]);
	free(rows);
	free(vectors);
}

static void
small_sets(size_t rounds)
{
	const uint32_t dim = 64;
	const size_t   count = 1000;
	float         *vectors = random_vectors(count + 16, dim, 1);
	char           path[64];
	double         searches;

	printf("\nsmall sets, dim 64, 1000 rows, k 10               microseconds\n");
	for (int metric = 0; metric < IQDB_METRIC_JACCARD; metric++)
	{
		Iqdb *db = make(IQDB_ENGINE_FLAT, dim, (IqdbMetric) metric, vectors, count);

		searches = time_searches(db, vectors + count * dim, 16, dim, 10, rounds, 500);
		printf("  flat search, %-10s %36.2f%s\n", iqdb_metric_name((IqdbMetric) metric), searches,
			   metric == IQDB_METRIC_COSINE ? "   (reference: 7.9)" : "");
		iqdb_abandon(db);
	}
	{
		Iqdb *db = make(IQDB_ENGINE_HNSW, dim, IQDB_METRIC_COSINE, vectors, count);

		searches = time_searches(db, vectors + count * dim, 16, dim, 10, rounds, 500);
		printf("  hnsw search, cosine %39.2f   (reference: 35.8)\n", searches);
		iqdb_abandon(db);
	}
	{
		IqdbConfig config = iqdb_config_default(IQDB_ENGINE_FLAT, dim, IQDB_METRIC_COSINE);
		IqdbError  err;
		Iqdb      *db;

		config.use_cache = true;
		require(iqdb_open_in_memory(&config, &db, &err), &err);
		for (size_t i = 0; i < count; i++)
			require(iqdb_upsert(db, iqdb_id_u64(i), vectors + i * dim, dim, NULL, 0, &err), &err);
		searches = time_searches(db, vectors + count * dim, 16, dim, 10, rounds, 500);
		printf("  search answered by the cache %30.2f\n", searches);
		iqdb_abandon(db);
	}
	printf("  1000 upserts in memory %36.1f   (reference: 185)\n",
		   time_upserts(NULL, IQDB_FSYNC_NEVER, vectors, count, dim, rounds));
	snprintf(path, sizeof(path), "/tmp/micro-handle-%ld", (long) getpid());
	printf("  1000 upserts to files, fsync never %24.1f\n",
		   time_upserts(path, IQDB_FSYNC_NEVER, vectors, count, dim, rounds / 4 + 1));
	remove_files(path);
	free(vectors);
}

/* ---- large sets: gigabytes per second ---- */

static void
large_set(uint32_t dim, size_t count, IqdbMetric metric, double yardstick)
{
	float *vectors = random_vectors(count + 4, dim, 2);
	Iqdb  *db = make(IQDB_ENGINE_FLAT, dim, metric, vectors, count);
	double us = time_searches(db, vectors + count * dim, 4, dim, 10, 7, 2);
	double rate = (double) count * dim * sizeof(float) / us / 1e3;

	printf("  %5u %8zu  %-8s %10.0f %10.2f %10.1f %10.0f %%\n", dim, count, iqdb_metric_name(metric), us,
		   us * 1e3 / (double) count, rate, 100 * rate / yardstick);
	iqdb_abandon(db);
	free(vectors);
}

/* ---- exact search by codes, beside the same without, search by search ---- */

#define LATENT 24
#define BATCH 16

/* Vectors near a curved surface of few dimensions, as those that models give are. */
static float *
near_surface(size_t count, size_t dim, uint64_t seed)
{
	float  *vectors = random_vectors(count, dim, seed);
	float  *axes = random_vectors(LATENT, dim, 7);
	IqdbRng rng;

	iqdb_rng_seed(&rng, seed + 1);
	for (size_t i = 0; i < count; i++)
	{
		float *vector = vectors + i * dim;
		float  weights[LATENT];

		for (int j = 0; j < LATENT; j++)
			weights[j] = 4.0f * (float) (iqdb_rng_unit(&rng) - 0.5) / (1.0f + 0.2f * (float) j);
		for (size_t d = 0; d < dim; d++)
		{
			vector[d] *= 0.3f;
			for (int j = 0; j < LATENT; j++)
				vector[d] += weights[j] * axes[(size_t) j * dim + d];
		}
	}
	free(axes);
	return vectors;
}

static double
time_batches(Iqdb *db, const float *queries, size_t dim, size_t rounds)
{
	double    times[ROUNDS_MAX];
	IqdbError err;

	for (size_t round = 0; round < rounds; round++)
	{
		IqdbResult *results[BATCH];
		double      start = now_us();

		require(iqdb_search_batch(db, queries, BATCH, dim, 10, results, &err), &err);
		times[round] = (now_us() - start) / BATCH;
		for (int i = 0; i < BATCH; i++)
			iqdb_result_free(results[i]);
	}
	return median(times, rounds);
}

static void
coded_set(uint32_t dim, size_t count, IqdbMetric metric, bool surface)
{
	float     *vectors = surface ? near_surface(count + BATCH, dim, 3) : random_vectors(count + BATCH, dim, 3);
	float     *queries = vectors + count * dim;
	IqdbConfig config = iqdb_config_default(IQDB_ENGINE_FLAT, dim, metric);
	Iqdb      *dbs[2];
	double     times[2][ROUNDS_MAX];
	double     batches[2];
	uint64_t   read = 0;
	IqdbError  err;

	for (int coded = 0; coded < 2; coded++)
	{
		config.options.quantization = coded ? IQDB_QUANTIZATION_SQ8 : IQDB_QUANTIZATION_NONE;
		require(iqdb_open_in_memory(&config, &dbs[coded], &err), &err);
		for (size_t i = 0; i < count; i++)
			require(iqdb_upsert(dbs[coded], iqdb_id_u64(i), vectors + i * dim, dim, NULL, 0, &err), &err);
		require(iqdb_optimize(dbs[coded], &err), &err);
	}
	for (size_t round = 0; round < 2 * BATCH; round++)
	{
		for (int coded = 0; coded < 2; coded++)
		{
			double      start = now_us();
			IqdbResult *result;

			require(iqdb_search(dbs[coded], queries + round % BATCH * dim, dim, 10, &result, &err), &err);
			times[coded][round] = now_us() - start;
			read += coded ? result->stats.reranked : 0;
			iqdb_result_free(result);
		}
	}
	for (int coded = 0; coded < 2; coded++)
		batches[coded] = time_batches(dbs[coded], queries, dim, 5);
	printf("  %5u %8zu  %-8s %-8s", dim, count, iqdb_metric_name(metric), surface ? "surface" : "random");
	for (int coded = 0; coded < 2; coded++)
		printf(" %9.2f", median(times[coded], 2 * BATCH) * 1e3 / (double) count);
	printf(" %7.2f %9.2f %9.2f %7.2f %10.3f %%\n", times[0][BATCH] / times[1][BATCH], batches[0] * 1e3 / (double) count,
		   batches[1] * 1e3 / (double) count, batches[0] / batches[1],
		   100.0 * (double) read / (2 * BATCH) / (double) count);
	iqdb_abandon(dbs[0]);
	iqdb_abandon(dbs[1]);
	free(vectors);
}

static void
coded_sets(bool quick)
{
	printf("\nexact search by codes (quantization = sq8) beside none, k 10, ns per row and query\n"
		   "  %5s %8s  %-8s %-8s %9s %9s %7s %9s %9s %7s %12s\n",
		   "dim", "rows", "metric", "set", "none", "sq8", "ratio", "of 16", "of 16", "ratio", "vectors read");
	for (int surface = 1; surface >= 0; surface--)
	{
		coded_set(128, 100000, IQDB_METRIC_L2, surface);
		coded_set(128, 100000, IQDB_METRIC_COSINE, surface);
		coded_set(768, quick ? 30000 : 100000, IQDB_METRIC_L2, surface);
		coded_set(768, quick ? 30000 : 100000, IQDB_METRIC_DOT, surface);
	}
}

/* ---- filtered searches, with the field in a column and without ---- */

#define FILTER_ROWS 20000u
#define FILTER_DIM 64u
#define GROUPS 100

static unsigned char *
group_metadata(unsigned group, size_t *length_out)
{
	IqdbMetadataBuilder builder;
	IqdbValue           number = iqdb_value_int(group);
	IqdbValue           title = iqdb_value_string("a title as rows have one", 24);
	unsigned char      *bytes;
	IqdbError           err;

	iqdb_metadata_builder_init(&builder, NULL);
	require(iqdb_metadata_put(&builder, "group", 5, &number, &err), &err);
	require(iqdb_metadata_put(&builder, "title", 5, &title, &err), &err);
	require(iqdb_metadata_finish(&builder, &bytes, length_out, &err), &err);
	iqdb_metadata_builder_free(&builder);
	return bytes;
}

/* Rows of so many of 100 groups. */
static IqdbFilter *
groups_below(int64_t limit)
{
	IqdbFilterBuilder builder;
	IqdbValue         value = iqdb_value_int(limit);
	IqdbFilter       *filter;
	IqdbError         err;

	iqdb_filter_builder_init(&builder, NULL);
	require(iqdb_filter_finish(&builder, iqdb_filter_lt(&builder, "group", 5, &value), &filter, &err), &err);
	iqdb_filter_builder_free(&builder);
	return filter;
}

static Iqdb *
make_groups(IqdbEngineKind engine, bool columns, const float *vectors)
{
	static const IqdbField field = {"group", 5, IQDB_VALUE_INT};
	IqdbConfig             config = iqdb_config_default(engine, FILTER_DIM, IQDB_METRIC_L2);
	IqdbRow               *rows = calloc(FILTER_ROWS, sizeof(*rows));
	unsigned char         *metadata[GROUPS];
	size_t                 length[GROUPS];
	IqdbError              err;
	Iqdb                  *db;

	if (rows == NULL)
		exit(1);
	config.fields = &field;
	config.field_count = columns ? 1 : 0;
	for (unsigned i = 0; i < GROUPS; i++)
		metadata[i] = group_metadata(i, &length[i]);
	for (size_t i = 0; i < FILTER_ROWS; i++)
	{
		size_t group = i * UINT64_C(0x9e3779b97f4a7c15) >> 32 & 0xffff;

		rows[i] = (IqdbRow){.id = iqdb_id_u64(i), .vector = vectors + i * FILTER_DIM, .metadata = metadata[group % GROUPS],
							.metadata_length = length[group % GROUPS]};
	}
	require(iqdb_open_in_memory(&config, &db, &err), &err);
	require(iqdb_load(db, rows, FILTER_ROWS, FILTER_DIM, NULL, NULL, &err), &err);
	for (unsigned i = 0; i < GROUPS; i++)
		iqdb_free(NULL, metadata[i], length[i]);
	free(rows);
	return db;
}

static void
filtered_searches(size_t rounds)
{
	static const int     shares[] = {1, 10, 50, 100};
	static const char   *names[] = {"flat", "hnsw", "ivf"};
	float               *vectors = random_vectors(FILTER_ROWS + 16, FILTER_DIM, 5);

	printf("\nfiltered searches, dim %u, %u rows, k 10: field < n, matching of 100 rows       microseconds\n"
		   "  engine   of 100   metadata    columns    ratio\n", FILTER_DIM, FILTER_ROWS);
	for (int engine = 0; engine < 3; engine++)
	{
		Iqdb *dbs[2];

		dbs[0] = make_groups((IqdbEngineKind) engine, false, vectors);
		dbs[1] = make_groups((IqdbEngineKind) engine, true, vectors);

		for (size_t i = 0; i < sizeof(shares) / sizeof(shares[0]); i++)
		{
			IqdbFilter *filter = groups_below(shares[i]);
			double      times[2][ROUNDS_MAX];
			double      medians[2];

			for (size_t round = 0; round < 2 * rounds; round++)
			{
				double      start = now_us();
				IqdbResult *result;
				IqdbError   err;

				require(iqdb_search_with(dbs[round % 2], vectors + (FILTER_ROWS + round / 2 % 16) * FILTER_DIM, FILTER_DIM, 10,
										 filter, &result, &err), &err);
				times[round % 2][round / 2] = now_us() - start;
				iqdb_result_free(result);
			}
			medians[0] = median(times[0], rounds);
			medians[1] = median(times[1], rounds);
			printf("  %-8s %6d %10.1f %10.1f %8.1f\n", names[engine], shares[i], medians[0], medians[1],
				   medians[0] / medians[1]);
			iqdb_filter_free(NULL, filter);
		}
		iqdb_abandon(dbs[0]);
		iqdb_abandon(dbs[1]);
	}
	free(vectors);
}

/* ---- one search by several threads ---- */

#define THREADS_ROWS 300000u
#define THREADS_DIM 128u

/* Microseconds by the clock of one exact search by so many threads. */
static double
time_threads(unsigned threads, IqdbQuantization quantization, const float *vectors, size_t rounds)
{
	IqdbConfig config = iqdb_config_default(IQDB_ENGINE_FLAT, THREADS_DIM, IQDB_METRIC_L2);
	double     times[ROUNDS_MAX];
	IqdbRow   *rows = calloc(THREADS_ROWS, sizeof(*rows));
	Iqdb      *db;
	IqdbError  err;

	if (rows == NULL)
		exit(1);
	for (size_t i = 0; i < THREADS_ROWS; i++)
		rows[i] = (IqdbRow){.id = iqdb_id_u64(i), .vector = vectors + i * THREADS_DIM};
	config.options.quantization = quantization;
	config.search_threads = threads;
	require(iqdb_open_in_memory(&config, &db, &err), &err);
	require(iqdb_load(db, rows, THREADS_ROWS, THREADS_DIM, NULL, NULL, &err), &err);
	require(iqdb_optimize(db, &err), &err);
	for (size_t round = 0; round < rounds; round++)
	{
		double      start = wall_us();
		IqdbResult *result;

		require(iqdb_search(db, vectors + (THREADS_ROWS + round % 16) * THREADS_DIM, THREADS_DIM, 10, &result, &err), &err);
		times[round] = wall_us() - start;
		iqdb_result_free(result);
	}
	iqdb_abandon(db);
	free(rows);
	return median(times, rounds);
}

static void
threaded_searches(size_t rounds)
{
	static const unsigned counts[] = {1, 2, 4, 8};
	float                *vectors = near_surface(THREADS_ROWS + 16, THREADS_DIM, 6);

	printf("\none exact search by several threads, dim %u, %u rows, k 10       microseconds by the clock\n"
		   "  threads       none        sq8\n", THREADS_DIM, THREADS_ROWS);
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
		printf("  %7u %10.0f %10.0f\n", counts[i], time_threads(counts[i], IQDB_QUANTIZATION_NONE, vectors, rounds),
			   time_threads(counts[i], IQDB_QUANTIZATION_SQ8, vectors, rounds));
	free(vectors);
}

int
main(int argc, char **argv)
{
	bool   quick = argc > 1 && strcmp(argv[1], "quick") == 0;
	double yardstick;

	if (argc > 1 && strcmp(argv[1], "group") == 0)
	{
		group_commit(9);
		return 0;
	}
	if (argc > 1 && strcmp(argv[1], "threads") == 0)
	{
		threaded_searches(41);
		return 0;
	}
	if (argc > 1 && strcmp(argv[1], "filter") == 0)
	{
		filtered_searches(41);
		return 0;
	}
	yardstick = stream_rate();
	if (argc > 1 && strcmp(argv[1], "codes") == 0)
	{
		printf("kernels %s, streaming read %.1f GB/s\n", iqdb_kernels_best()->name, yardstick);
		coded_sets(false);
		return 0;
	}

	printf("kernels %s, streaming read %.1f GB/s\n", iqdb_kernels_best()->name, yardstick);
	small_sets(quick ? 9 : 41);
	group_commit(quick ? 3 : 9);
	filtered_searches(quick ? 9 : 41);
	printf("\nlarge sets, k 10\n  %5s %8s  %-8s %10s %10s %10s %12s\n", "dim", "rows", "metric", "us", "ns/row", "GB/s",
		   "of streaming");
	large_set(64, 1000, IQDB_METRIC_L2, yardstick);
	large_set(64, 20000, IQDB_METRIC_L2, yardstick);
	large_set(128, quick ? 150000 : 400000, IQDB_METRIC_L2, yardstick);
	large_set(128, quick ? 150000 : 400000, IQDB_METRIC_COSINE, yardstick);
	large_set(768, quick ? 40000 : 100000, IQDB_METRIC_DOT, yardstick);
	large_set(768, quick ? 40000 : 100000, IQDB_METRIC_COSINE, yardstick);
	coded_sets(quick);
	printf("streaming read afterwards %.1f GB/s\n", stream_rate());
	return 0;
}
