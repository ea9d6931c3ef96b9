/*
 * micro_kernels.c - how near the kernels of core/vec come to what the machine can do.
 *
 * Usage: micro_kernels [table ...]     tables by name, or "all"; the best one when none is given
 *
 * Prints, per table and element: time per vector and bytes read per second, for rows that stay in cache, for contiguous
 * rows out of cache beside the streaming-read bandwidth measured in the same rounds, and for rows at random places. Every
 * figure is the best of some rounds on one thread; the rounds of one line are taken in turn, so that a slow moment of the
 * machine hits all of them.
 */
#define _GNU_SOURCE

#include "core/vec/kernels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define MB ((size_t) 1 << 20)
#define ROUNDS 5
#define PARTS 4              /* the big set is visited part by part, so that no round finds its bytes in cache */
#define DIMENSION_LARGEST 1536
#define QUERY_BYTES 8192     /* of the longest prepared query: floats, or 64000 bits */
#define DIMS 6
#define GATHER_COUNT 20000   /* rows fetched in one round of the random test */
#define GATHER_BATCH 32      /* rows per call there, the order of a graph node's neighbours */

static const char *const sum_names[IQDB_SUM_COUNT] = {"dot", "l2", "l1", "hamming"};

static const size_t dims_of[IQDB_ELEMENT_COUNT][DIMS] = {
	[IQDB_ELEMENT_F32] = {64, 128, 256, 384, 768, 1536},
	[IQDB_ELEMENT_F16] = {64, 128, 256, 384, 768, 1536},
	[IQDB_ELEMENT_BIT] = {64, 256, 1024, 4096, 16384, 64000},
};

/* The sums that are different ones: single bits have but two. */
static bool
is_own_sum(const IqdbElement *element, int sum)
{
	return element->kind != IQDB_ELEMENT_BIT || sum == IQDB_SUM_DOT || sum == IQDB_SUM_HAMMING;
}

typedef struct Bench
{
	unsigned char *set;       /* big, huge pages, filled */
	size_t         set_bytes;
	size_t         part;      /* next part to visit */
	uint32_t      *slots;
	float         *out;
	int32_t       *out_codes;
	float          query[QUERY_BYTES / sizeof(float)];
	int8_t         code_query[DIMENSION_LARGEST];
} Bench;

/* keeps results alive */
static volatile float sink;

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double) t.tv_sec + 1e-9 * (double) t.tv_nsec;
}

static double
smaller(double a, double b)
{
	return a < b ? a : b;
}

/* splitmix64 */
static uint64_t
next_random(uint64_t *state)
{
	uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* ---- streaming read ---- */

#if defined(__x86_64__)

__attribute__((target("avx2"))) static float
read_wide(const unsigned char *p, size_t bytes)
{
	__m256i acc[8];
	__m256i all;
	size_t  i;
	int     k;

	for (k = 0; k < 8; k++)
		acc[k] = _mm256_setzero_si256();
	for (i = 0; i + 256 <= bytes; i += 256)
	{
		const __m256i *at = (const __m256i *) (const void *) (p + i);

		acc[0] = _mm256_xor_si256(acc[0], _mm256_load_si256(at));
		acc[1] = _mm256_xor_si256(acc[1], _mm256_load_si256(at + 1));
		acc[2] = _mm256_xor_si256(acc[2], _mm256_load_si256(at + 2));
		acc[3] = _mm256_xor_si256(acc[3], _mm256_load_si256(at + 3));
		acc[4] = _mm256_xor_si256(acc[4], _mm256_load_si256(at + 4));
		acc[5] = _mm256_xor_si256(acc[5], _mm256_load_si256(at + 5));
		acc[6] = _mm256_xor_si256(acc[6], _mm256_load_si256(at + 6));
		acc[7] = _mm256_xor_si256(acc[7], _mm256_load_si256(at + 7));
	}
	all = acc[0];
	for (k = 1; k < 8; k++)
		all = _mm256_xor_si256(all, acc[k]);
	return (float) _mm256_extract_epi32(all, 0);
}

__attribute__((target("avx512f"))) static float
read_widest(const unsigned char *p, size_t bytes, size_t ahead)
{
	__m512i acc[8];
	__m512i all;
	size_t  i;
	int     k;

	for (k = 0; k < 8; k++)
		acc[k] = _mm512_setzero_si512();
	for (i = 0; i + 512 <= bytes; i += 512)
	{
#pragma GCC unroll 8
		for (k = 0; k < 8; k++)
		{
			if (ahead != 0)
				__builtin_prefetch(p + i + 64 * k + ahead, 0, 3);
			acc[k] = _mm512_xor_si512(acc[k], _mm512_load_si512(p + i + 64 * k));
		}
	}
	all = acc[0];
	for (k = 1; k < 8; k++)
		all = _mm512_xor_si512(all, acc[k]);
	return (float) _mm512_reduce_add_epi32(all);
}

#endif

static float
read_plain(const unsigned char *p, size_t bytes)
{
	uint64_t acc[4] = {0};
	size_t   i;

	for (i = 0; i + 64 <= bytes; i += 64)
	{
		const uint64_t *at = (const uint64_t *) (const void *) (p + i);

		acc[0] ^= at[0] ^ at[4];
		acc[1] ^= at[1] ^ at[5];
		acc[2] ^= at[2] ^ at[6];
		acc[3] ^= at[3] ^ at[7];
	}
	return (float) (acc[0] ^ acc[1] ^ acc[2] ^ acc[3]);
}

/* Reads all bytes by way number `way`; false when there is no such way here. */
static bool
stream_read(const unsigned char *p, size_t bytes, int way)
{
	switch (way)
	{
		case 0:
			sink = read_plain(p, bytes);
			return true;
#if defined(__x86_64__)
		case 1:
			if (!__builtin_cpu_supports("avx2"))
				return false;
			sink = read_wide(p, bytes);
			return true;
		case 2:
		case 3:
			if (!__builtin_cpu_supports("avx512f"))
				return false;
			sink = read_widest(p, bytes, way == 3 ? 4096 : 0);
			return true;
#endif
		default:
			return false;
	}
}

#define READ_WAYS 4

static const unsigned char *
next_part(Bench *bench)
{
	bench->part = (bench->part + 1) % PARTS;
	return bench->set + bench->part * (bench->set_bytes / PARTS);
}

/* Best bytes per second of one round of all ways of reading. */
static double
read_round(Bench *bench)
{
	size_t bytes = bench->set_bytes / PARTS;
	double best = 1e9;
	int    way;

	for (way = 0; way < READ_WAYS; way++)
	{
		const unsigned char *part = next_part(bench);
		double               start = now();

		if (stream_read(part, bytes, way))
			best = smaller(best, now() - start);
	}
	return (double) bytes / best;
}

/* ---- rows in cache ---- */

static void
print_header(const IqdbElement *element, const char *before, const char *columns)
{
	printf("%s", before);
	for (int sum = 0; sum < IQDB_SUM_COUNT; sum++)
	{
		if (is_own_sum(element, sum))
			printf("  %7s ns   %s |", sum_names[sum], columns);
	}
	printf("\n");
}

static void
bench_cached_sum(Bench *bench, const IqdbSumKernels *k, size_t row_bytes, size_t count, size_t dim)
{
	double batch = 1e9;
	double pair = 1e9;

	for (int round = 0; round < 200; round++)
	{
		double start = now();
		double middle;

		k->batch(bench->query, bench->set, row_bytes, count, dim, bench->out);
		middle = now();
		for (size_t i = 0; i < count; i++)
			bench->out[i] = k->pair(bench->query, bench->set + i * row_bytes, dim);
		batch = smaller(batch, middle - start);
		pair = smaller(pair, now() - middle);
	}
	printf("  %10.2f %6.1f %8.2f |", batch / (double) count * 1e9, (double) (count * row_bytes) / batch / 1e9,
		   pair / (double) count * 1e9);
}

static void
bench_cached(Bench *bench, const IqdbKernels *kernels, const IqdbElement *element)
{
	printf("\n%s in cache, batch of up to 1000 rows (at most 512 kB); pair = one call per row\n", element->name);
	print_header(element, "  dims   rows |", "GB/s  pair ns");
	for (size_t d = 0; d < DIMS; d++)
	{
		size_t dim = dims_of[element->kind][d];
		size_t row_bytes = iqdb_element_bytes(element, dim);
		size_t count = MB / 2 / row_bytes < 1000 ? MB / 2 / row_bytes : 1000;

		printf("%6zu %6zu |", dim, count);
		for (int sum = 0; sum < IQDB_SUM_COUNT; sum++)
		{
			if (is_own_sum(element, sum))
				bench_cached_sum(bench, &kernels->elements[element->kind]->sums[sum], row_bytes, count, dim);
		}
		printf("\n");
	}
}

/* ---- contiguous rows out of cache ---- */

static void
bench_streaming_line(Bench *bench, const IqdbKernels *kernels, const IqdbElement *element, size_t dim)
{
	const IqdbSumKernels *sums = kernels->elements[element->kind]->sums;
	size_t                row_bytes = iqdb_element_bytes(element, dim);
	size_t                count = bench->set_bytes / PARTS / row_bytes;
	double                best[IQDB_SUM_COUNT] = {1e9, 1e9, 1e9, 1e9};
	double                read = 0;

	for (int round = 0; round < ROUNDS; round++)
	{
		read = -smaller(-read, -read_round(bench));
		for (int sum = 0; sum < IQDB_SUM_COUNT; sum++)
		{
			const unsigned char *rows = next_part(bench);
			double               start = now();

			sums[sum].batch(bench->query, rows, row_bytes, count, dim, bench->out);
			best[sum] = smaller(best[sum], now() - start);
		}
	}
	printf("%6zu %10.1f |", dim, read / 1e9);
	for (int sum = 0; sum < IQDB_SUM_COUNT; sum++)
	{
		double rate = (double) (count * row_bytes) / best[sum];

		if (is_own_sum(element, sum))
			printf("  %10.2f %6.1f  %4.0f%% |", best[sum] / (double) count * 1e9, rate / 1e9, 100 * rate / read);
	}
	printf("\n");
}

static void
bench_streaming(Bench *bench, const IqdbKernels *kernels, const IqdbElement *element)
{
	printf("\n%s out of cache, batch over %zu MB of contiguous rows; share = of the streaming read beside it\n",
		   element->name, bench->set_bytes / PARTS / MB);
	print_header(element, "  dims  read GB/s |", "GB/s  share");
	for (size_t d = 0; d < DIMS; d++)
		bench_streaming_line(bench, kernels, element, dims_of[element->kind][d]);
}

/* ---- rows at random places ---- */

/* What one line of the random test reads: rows of an element, or codes (element NULL). */
typedef struct RandomRows
{
	const IqdbElement *element;
	IqdbSumKernels     kernels;
	size_t             dim;
	size_t             row_bytes;
} RandomRows;

static void
gather_batch(Bench *bench, const IqdbKernels *kernels, const RandomRows *rows, size_t first, bool one_by_one)
{
	const uint32_t *slots = bench->slots + first;
	float          *out = bench->out + first;
	int32_t        *out_codes = bench->out_codes + first;

	if (rows->element == NULL && !one_by_one)
		kernels->dot_u8i8_gather(bench->code_query, bench->set, rows->row_bytes, slots, GATHER_BATCH, rows->dim, out_codes);
	else if (!one_by_one)
		rows->kernels.gather(bench->query, bench->set, rows->row_bytes, slots, GATHER_BATCH, rows->dim, out);
	for (size_t k = 0; one_by_one && k < GATHER_BATCH; k++)
	{
		const unsigned char *row = bench->set + slots[k] * rows->row_bytes;

		if (rows->element == NULL)
			out_codes[k] = kernels->dot_u8i8(row, bench->code_query, rows->dim);
		else
			out[k] = rows->kernels.pair(bench->query, row, rows->dim);
	}
}

/* Seconds of one round of GATHER_COUNT fresh random rows. */
static double
gather_round(Bench *bench, const IqdbKernels *kernels, const RandomRows *rows, bool one_by_one, uint64_t *seed)
{
	size_t count = bench->set_bytes / rows->row_bytes;
	double start;

	for (size_t i = 0; i < GATHER_COUNT; i++)
		bench->slots[i] = (uint32_t) (next_random(seed) % count);
	start = now();
	for (size_t i = 0; i < GATHER_COUNT; i += GATHER_BATCH)
		gather_batch(bench, kernels, rows, i, one_by_one);
	return now() - start;
}

static void
bench_random_line(Bench *bench, const IqdbKernels *kernels, const RandomRows *rows, uint64_t *seed)
{
	double gather = 1e9;
	double alone = 1e9;

	for (int round = 0; round < ROUNDS; round++)
	{
		gather = smaller(gather, gather_round(bench, kernels, rows, false, seed));
		alone = smaller(alone, gather_round(bench, kernels, rows, true, seed));
	}
	printf("%6zu |  %9.1f %6.1f  %8.1f |\n", rows->dim, gather / GATHER_COUNT * 1e9,
		   (double) rows->row_bytes * GATHER_COUNT / gather / 1e9, alone / GATHER_COUNT * 1e9);
}

/* The rows of an element by L2 (of bits: the count of different ones), or codes (element NULL). */
static void
bench_random(Bench *bench, const IqdbKernels *kernels, const IqdbElement *element)
{
	const IqdbElementKind kind = element == NULL ? IQDB_ELEMENT_F32 : element->kind;
	uint64_t              seed = 1;

	printf("\nrandom rows of %s out of %zu MB, %d per call; alone = one pair call per row\n",
		   element == NULL ? "8-bit codes" : element->name, bench->set_bytes / MB, GATHER_BATCH);
	printf("%6s |  gather ns   GB/s  alone ns |\n", "dims");
	for (size_t d = 0; d < DIMS; d++)
	{
		RandomRows rows = {.element = element, .kernels = kernels->elements[kind]->sums[IQDB_SUM_L2]};

		rows.dim = dims_of[kind][d];
		rows.row_bytes = element == NULL ? rows.dim : iqdb_element_bytes(element, rows.dim);
		bench_random_line(bench, kernels, &rows, &seed);
	}
}

/* ---- codes in cache ---- */

static void
bench_codes(Bench *bench, const IqdbKernels *kernels)
{
	static const size_t dims[] = {64, 100, 128, 256, 384, 768, 1536};
	size_t              d;
	size_t              i;

	printf("\n8-bit codes in cache, 512 rows\n%6s |  gather ns   GB/s |  pair ns   GB/s |\n", "dims");
	for (i = 0; i < 512; i++)
		bench->slots[i] = (uint32_t) ((i * 37) % 512);
	for (d = 0; d < sizeof(dims) / sizeof(dims[0]); d++)
	{
		size_t dim = dims[d];
		double gather = 1e9;
		double pair = 1e9;
		int    round;

		for (round = 0; round < 200; round++)
		{
			double start = now();
			double middle;

			kernels->dot_u8i8_gather(bench->code_query, bench->set, dim, bench->slots, 512, dim, bench->out_codes);
			middle = now();
			for (i = 0; i < 512; i++)
				bench->out_codes[i] = kernels->dot_u8i8(bench->set + bench->slots[i] * dim, bench->code_query, dim);
			gather = smaller(gather, middle - start);
			pair = smaller(pair, now() - middle);
		}
		printf("%6zu |  %9.2f %6.1f |  %7.2f %6.1f |\n", dim, gather / 512 * 1e9, (double) (dim * 512) / gather / 1e9,
			   pair / 512 * 1e9, (double) (dim * 512) / pair / 1e9);
	}
}

/* ---- sums to rank keys ---- */

static void
bench_finish(Bench *bench)
{
	double best = 1e9;
	int    round;

	for (round = 0; round < 200; round++)
	{
		double start;
		size_t i;

		for (i = 0; i < 2000; i++)
			bench->out[i] = (float) (i + 1);
		start = now();
		iqdb_metric_finish(IQDB_METRIC_COSINE, 1000.0f, bench->out + 1000, 1000, bench->out);
		best = smaller(best, now() - start);
	}
	printf("\nsums to cosine keys: %.2f ns a row\n", best / 1000 * 1e9);
}

/* Rows of the element everywhere, and a prepared query. */
static void
fill_set(Bench *bench, const IqdbElement *element)
{
	unsigned char piece[251 * 8]; /* repeated without end, and not in step with any row */
	uint64_t      seed = 7;
	size_t        i;

	for (i = 0; i < sizeof(piece) / sizeof(uint64_t); i++)
	{
		uint64_t bits = next_random(&seed);
		float    floats[2] = {(float) (bits % 1000) * 0.001f, (float) (bits >> 32) * 0x1p-32f};

		/* of four halves each a number below 2 */
		if (element->kind == IQDB_ELEMENT_F16)
			bits &= UINT64_C(0x3fff3fff3fff3fff);
		else if (element->kind == IQDB_ELEMENT_F32)
			memcpy(&bits, floats, sizeof(bits));
		memcpy(piece + i * sizeof(bits), &bits, sizeof(bits));
	}
	for (i = 0; i < bench->set_bytes; i += sizeof(piece))
		memcpy(bench->set + i, piece, bench->set_bytes - i < sizeof(piece) ? bench->set_bytes - i : sizeof(piece));
	for (i = 0; i < sizeof(bench->query) / sizeof(bench->query[0]); i++)
		bench->query[i] = (float) (next_random(&seed) % 1000) * 0.001f;
}

static bool
bench_prepare(Bench *bench)
{
	long     l3 = sysconf(_SC_LEVEL3_CACHE_SIZE);
	size_t   align = 2 * MB;
	uint64_t seed = 42;
	size_t   i;
	char    *area;

	/* larger than the last cache by half a gigabyte, as long as that is a sane figure */
	bench->set_bytes = 512 * MB;
	if (l3 > 0 && (size_t) l3 <= 1024 * MB)
		bench->set_bytes += (size_t) l3;
	bench->set_bytes = bench->set_bytes / (PARTS * align) * (PARTS * align);
	area = mmap(NULL, bench->set_bytes + align, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (area == MAP_FAILED)
		return false;
	area += (align - (uintptr_t) area % align) % align;
	bench->set = (unsigned char *) area;
	(void) madvise(area, bench->set_bytes, MADV_HUGEPAGE);
	bench->out = calloc(bench->set_bytes / PARTS / 8, sizeof(float));
	bench->out_codes = calloc(GATHER_COUNT, sizeof(int32_t));
	bench->slots = calloc(GATHER_COUNT, sizeof(uint32_t));
	for (i = 0; i < DIMENSION_LARGEST; i++)
		bench->code_query[i] = (int8_t) (next_random(&seed) % 255 - 127);
	return bench->out != NULL && bench->out_codes != NULL && bench->slots != NULL;
}

static void
bench_table(Bench *bench, const IqdbKernels *kernels)
{
	printf("\n==== table %s ====\n", kernels->name);
	for (uint32_t kind = 0; kind < IQDB_ELEMENT_COUNT; kind++)
	{
		const IqdbElement *element = iqdb_element(kind);

		fill_set(bench, element);
		bench_cached(bench, kernels, element);
		bench_streaming(bench, kernels, element);
		bench_random(bench, kernels, element);
	}
	bench_codes(bench, kernels);
	bench_random(bench, kernels, NULL);
}

int
main(int argc, char **argv)
{
	static const char *const every[] = {"scalar", "avx2", "avx512bw", "avx512", "neon"};
	static Bench             bench;
	int                      i;

	if (!bench_prepare(&bench))
	{
		fprintf(stderr, "no memory for the set of rows\n");
		return 1;
	}
	printf("set of %zu MB, one thread, best of rounds\n", bench.set_bytes / MB);
	bench_finish(&bench);
	if (argc < 2)
		bench_table(&bench, iqdb_kernels_best());
	else if (strcmp(argv[1], "all") == 0)
	{
		for (i = 0; i < (int) (sizeof(every) / sizeof(every[0])); i++)
		{
			if (iqdb_kernels_named(every[i]) != NULL)
				bench_table(&bench, iqdb_kernels_named(every[i]));
		}
	}
	for (i = 1; i < argc && strcmp(argv[1], "all") != 0; i++)
	{
		if (iqdb_kernels_named(argv[i]) != NULL)
			bench_table(&bench, iqdb_kernels_named(argv[i]));
		else
			fprintf(stderr, "no table \"%s\" on this processor\n", argv[i]);
	}
	return 0;
}
