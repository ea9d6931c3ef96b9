/*
 * truth.c - exact nearest neighbours by brute force, with code that shares nothing with what is measured.
 *
 * Usage: truth BASE ROWS QUERIES COUNT K OUT [THREADS [MATCHES]]     (ROWS, COUNT 0: all)
 *
 * Distances are Euclidean. A first pass in single precision keeps K + MARGIN rows per query, a second one orders these
 * in double precision, ties by row number. MATCHES has a byte for each row: neighbours are of the rows whose byte is "1".
 */
#define _POSIX_C_SOURCE 200809L

#include "vectors.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define MARGIN 30
#define BLOCK_QUERIES 16 /* queries that share one pass over the base rows */
#define LANES 16

typedef struct Work
{
	const Vectors *base;
	const Vectors *queries;
	Truth         *truth;
	const unsigned char *matches; /* NULL: all rows do */
	uint32_t       keep;
	atomic_uint    next;
} Work;

typedef struct Candidate
{
	double   distance;
	uint32_t row;
} Candidate;

/* Independent partial sums, so that the compiler may use vector instructions. */
static float
rough_distance(const float *restrict a, const float *restrict b, uint32_t dimension)
{
	float    sums[LANES] = {0};
	float    sum = 0;
	uint32_t i = 0;

	for (; i + LANES <= dimension; i += LANES)
		for (uint32_t lane = 0; lane < LANES; lane++)
		{
			float difference = a[i + lane] - b[i + lane];

			sums[lane] += difference * difference;
		}
	for (; i < dimension; i++)
		sum += (a[i] - b[i]) * (a[i] - b[i]);
	for (uint32_t lane = 0; lane < LANES; lane++)
		sum += sums[lane];
	return sum;
}

static int
nearer(const void *a, const void *b)
{
	const Candidate *x = a;
	const Candidate *y = b;

	if (x->distance != y->distance)
		return x->distance < y->distance ? -1 : 1;
	return x->row < y->row ? -1 : x->row > y->row;
}

/* Keeps list sorted; the last element falls out. */
static void
insert(Candidate *list, uint32_t keep, double distance, uint32_t row)
{
	uint32_t i = keep - 1;

	for (; i > 0 && list[i - 1].distance > distance; i--)
		list[i] = list[i - 1];
	list[i].distance = distance;
	list[i].row = row;
}

static void
block(Work *work, uint32_t first, uint32_t count, float *vectors, float *row, Candidate *lists)
{
	uint32_t dimension = work->base->dimension;
	uint32_t keep = work->keep;

	for (uint32_t q = 0; q < count; q++)
		vectors_read(work->queries, first + q, vectors + (size_t) q * dimension);
	for (uint32_t i = 0; i < count * keep; i++)
		lists[i] = (Candidate){1e300, UINT32_MAX};
	for (size_t i = 0; i < work->base->rows; i++)
	{
		if (work->matches != NULL && work->matches[i] != '1')
			continue;
		vectors_read(work->base, i, row);
		for (uint32_t q = 0; q < count; q++)
		{
			float distance = rough_distance(vectors + (size_t) q * dimension, row, dimension);

			if (distance < lists[(q + 1) * keep - 1].distance)
				insert(lists + (size_t) q * keep, keep, distance, (uint32_t) i);
		}
	}
	for (uint32_t q = 0; q < count; q++)
	{
		Candidate *list = lists + (size_t) q * keep;

		for (uint32_t i = 0; i < keep; i++)
		{
			vectors_read(work->base, list[i].row, row);
			list[i].distance = vectors_distance(vectors + (size_t) q * dimension, row, dimension);
		}
		qsort(list, keep, sizeof(*list), nearer);
		for (uint32_t i = 0; i < work->truth->k; i++)
		{
			work->truth->ids[(size_t) (first + q) * work->truth->k + i] = (int32_t) list[i].row;
			work->truth->distances[(size_t) (first + q) * work->truth->k + i] = list[i].distance;
		}
	}
}

static void *
run(void *argument)
{
	Work      *work = argument;
	uint32_t   dimension = work->base->dimension;
	float     *vectors = allocate((size_t) BLOCK_QUERIES * dimension * sizeof(float));
	float     *row = allocate(dimension * sizeof(float));
	Candidate *lists = allocate((size_t) BLOCK_QUERIES * work->keep * sizeof(Candidate));

	for (;;)
	{
		uint32_t first = atomic_fetch_add(&work->next, BLOCK_QUERIES);
		uint32_t left;

		if (first >= work->truth->queries)
			break;
		left = work->truth->queries - first;
		block(work, first, left < BLOCK_QUERIES ? left : BLOCK_QUERIES, vectors, row, lists);
	}
	free(vectors);
	free(row);
	free(lists);
	return NULL;
}

int
main(int count, char **arguments)
{
	Vectors   base;
	Vectors   queries;
	Truth     truth;
	Work      work = {.base = &base, .queries = &queries, .truth = &truth};
	pthread_t threads[64];
	long      thread_count = count > 7 ? strtol(arguments[7], NULL, 10) : 2;
	size_t    matching;
	uint32_t  k;

	if (count < 7)
		die("usage: truth BASE ROWS QUERIES COUNT K OUT [THREADS [MATCHES]]");
	vectors_open(&base, arguments[1], strtoul(arguments[2], NULL, 10));
	vectors_open(&queries, arguments[3], strtoul(arguments[4], NULL, 10));
	k = (uint32_t) strtoul(arguments[5], NULL, 10);
	if (base.dimension != queries.dimension)
		die("base rows have %u dimensions, queries %u", base.dimension, queries.dimension);
	matching = base.rows;
	if (count > 8)
	{
		work.matches = matches_read(arguments[8], base.rows);
		matching = matches_count(work.matches, base.rows);
	}
	if (k == 0 || k > matching)
		die("k must be between 1 and the number of rows that match");
	work.keep = k + MARGIN < matching ? k + MARGIN : (uint32_t) matching;
	truth_allocate(&truth, (uint32_t) queries.rows, k);
	if (thread_count < 1 || thread_count > 64)
		thread_count = 2;
	for (long i = 0; i < thread_count; i++)
		if (pthread_create(&threads[i], NULL, run, &work) != 0)
			die("cannot start a thread");
	for (long i = 0; i < thread_count; i++)
		pthread_join(threads[i], NULL);
	truth_write(&truth, arguments[6]);
	return 0;
}
