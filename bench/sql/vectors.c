/*
 * vectors.c - see vectors.h.
 */
#define _POSIX_C_SOURCE 200809L

#include "vectors.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

void
die(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	exit(1);
}

void *
allocate(size_t bytes)
{
	void *memory = malloc(bytes > 0 ? bytes : 1);

	if (memory == NULL)
		die("out of memory (%zu bytes)", bytes);
	return memory;
}

void
vectors_open(Vectors *vectors, const char *path, size_t at_most)
{
	size_t      length = strlen(path);
	struct stat status;
	int32_t     dimension;
	int         file = open(path, O_RDONLY);
	void       *map;

	if (file < 0 || fstat(file, &status) != 0)
		die("cannot open %s", path);
	if (length < 6 || (strcmp(path + length - 6, ".fvecs") != 0 && strcmp(path + length - 6, ".bvecs") != 0))
		die("%s: neither .fvecs nor .bvecs", path);
	vectors->is_bytes = path[length - 5] == 'b';
	vectors->size = (size_t) status.st_size;
	if (vectors->size < 4)
		die("%s: empty", path);
	map = mmap(NULL, vectors->size, PROT_READ, MAP_SHARED, file, 0);
	if (map == MAP_FAILED)
		die("cannot map %s", path);
	close(file);
	vectors->bytes = map;
	memcpy(&dimension, vectors->bytes, 4);
	if (dimension < 1 || dimension > 16000)
		die("%s: dimension %d", path, (int) dimension);
	vectors->dimension = (uint32_t) dimension;
	vectors->stride = 4 + (size_t) dimension * (vectors->is_bytes ? 1 : 4);
	if (vectors->size % vectors->stride != 0)
		die("%s: is not a whole number of rows of dimension %d", path, (int) dimension);
	vectors->rows = vectors->size / vectors->stride;
	if (at_most > 0 && vectors->rows > at_most)
		vectors->rows = at_most;
	for (size_t row = 0; row < vectors->rows; row++)
		if (memcmp(vectors->bytes + row * vectors->stride, vectors->bytes, 4) != 0)
			die("%s: row %zu has another dimension", path, row);
}

void
vectors_read(const Vectors *vectors, size_t row, float *out)
{
	const unsigned char *source = vectors->bytes + row * vectors->stride + 4;

	if (row >= vectors->rows)
		die("row %zu of %zu", row, vectors->rows);
	if (!vectors->is_bytes)
		memcpy(out, source, (size_t) vectors->dimension * 4);
	else
		for (uint32_t i = 0; i < vectors->dimension; i++)
			out[i] = (float) source[i];
}

double
vectors_distance(const float *a, const float *b, uint32_t dimension)
{
	double sum = 0;

	for (uint32_t i = 0; i < dimension; i++)
	{
		double difference = (double) a[i] - (double) b[i];

		sum += difference * difference;
	}
	return sum;
}

void
truth_allocate(Truth *truth, uint32_t queries, uint32_t k)
{
	truth->queries = queries;
	truth->k = k;
	truth->ids = allocate((size_t) queries * k * sizeof(*truth->ids));
	truth->distances = allocate((size_t) queries * k * sizeof(*truth->distances));
}

void
truth_write(const Truth *truth, const char *path)
{
	FILE  *file = fopen(path, "wb");
	size_t count = (size_t) truth->queries * truth->k;

	if (file == NULL || fwrite(&truth->queries, 4, 1, file) != 1 || fwrite(&truth->k, 4, 1, file) != 1 ||
		fwrite(truth->ids, sizeof(*truth->ids), count, file) != count ||
		fwrite(truth->distances, sizeof(*truth->distances), count, file) != count || fclose(file) != 0)
		die("cannot write %s", path);
}

void
truth_read(Truth *truth, const char *path)
{
	FILE    *file = fopen(path, "rb");
	uint32_t queries;
	uint32_t k;
	size_t   count;

	if (file == NULL || fread(&queries, 4, 1, file) != 1 || fread(&k, 4, 1, file) != 1)
		die("cannot read %s", path);
	truth_allocate(truth, queries, k);
	count = (size_t) queries * k;
	if (fread(truth->ids, sizeof(*truth->ids), count, file) != count ||
		fread(truth->distances, sizeof(*truth->distances), count, file) != count)
		die("%s: too short", path);
	fclose(file);
}

unsigned char *
matches_read(const char *path, size_t rows)
{
	FILE          *file = fopen(path, "rb");
	unsigned char *matches = allocate(rows);

	memset(matches, 0, rows);
	if (file == NULL || fread(matches, 1, rows, file) == 0)
		die("cannot read %s", path);
	fclose(file);
	return matches;
}

size_t
matches_count(const unsigned char *matches, size_t rows)
{
	size_t count = 0;

	for (size_t i = 0; i < rows; i++)
		count += matches[i] == '1';
	return count;
}
