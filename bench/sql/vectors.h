/*
 * vectors.h - vector files of the usual benchmark formats, mapped read-only.
 *
 * .fvecs: per row a little-endian int32 dimension, then that many float32; .bvecs: the same with uint8 components.
 * Every row must have the first one's dimension. For little-endian machines.
 */
#ifndef IQDB_BENCH_VECTORS_H
#define IQDB_BENCH_VECTORS_H

#include <stddef.h>
#include <stdint.h>

typedef struct Vectors
{
	const unsigned char *bytes;
	size_t      size;      /* of the file */
	size_t      stride;    /* bytes from row to row */
	size_t      rows;
	uint32_t    dimension;
	int         is_bytes;  /* a .bvecs file */
} Vectors;

/* Maps a file; prints what is wrong and ends the program when it cannot. rows is cut to at_most unless that is 0. */
void vectors_open(Vectors *vectors, const char *path, size_t at_most);

/* Copies one row to out (dimension floats). */
void vectors_read(const Vectors *vectors, size_t row, float *out);

/* Squared Euclidean distance of two vectors, summed in double precision. */
double vectors_distance(const float *a, const float *b, uint32_t dimension);

/* Exact neighbours of a query set, as truth.c writes and client.c reads them. */
typedef struct Truth
{
	uint32_t    queries;
	uint32_t    k;
	int32_t    *ids;       /* queries x k, nearest first; rows of the base file */
	double     *distances; /* queries x k, squared Euclidean */
} Truth;

void truth_allocate(Truth *truth, uint32_t queries, uint32_t k);
void truth_write(const Truth *truth, const char *path);
void truth_read(Truth *truth, const char *path);

/* A file with a byte for each row, which is "1" where a filter lets the row pass (not where it ends early); how many do. */
unsigned char *matches_read(const char *path, size_t rows);
size_t matches_count(const unsigned char *matches, size_t rows);

/* printf to the error stream, then exit(1). */
_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* malloc that cannot fail. */
void *allocate(size_t bytes);

#endif
