/*
 * sets.h - vector files, clocks and options: what the in-process benches and the peers beside them share. C11 and C++.
 *
 * Nothing here returns an error: a bench that cannot go on says why and ends.
 */
#ifndef IQDB_BENCH_SETS_H
#define IQDB_BENCH_SETS_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Rows of dim floats behind one another. */
typedef struct Set
{
	float *rows;
	size_t count;
	size_t dim;
} Set;

/* Processor time of this thread: what a rate is made of, so that a machine shared with others does not spoil it. */
static inline double
set_spent(void)
{
	struct timespec at;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &at);
	return (double) at.tv_sec + 1e-9 * (double) at.tv_nsec;
}

static inline void
set_die(const char *what)
{
	fprintf(stderr, "%s\n", what);
	exit(1);
}

/* .fvecs: per row a little-endian int32 dimension, then float32 components; .bvecs: the same with uint8. rows_max 0: all. */
static inline Set
set_read(const char *path, size_t rows_max)
{
	int            bytes = strstr(path, ".bvecs") != NULL;
	FILE          *file = fopen(path, "rb");
	unsigned char *row = NULL;
	int32_t        dim;
	size_t         length;
	Set            set = {NULL, 0, 0};

	if (file == NULL || fread(&dim, sizeof(dim), 1, file) != 1 || dim < 1)
		set_die("cannot read the vectors");
	set.dim = (size_t) dim;
	length = set.dim * (bytes ? 1 : sizeof(float));
	fseek(file, 0, SEEK_END);
	set.count = (size_t) ftell(file) / (length + sizeof(dim));
	set.count = rows_max > 0 && set.count > rows_max ? rows_max : set.count;
	rewind(file);
	set.rows = (float *) malloc(set.count * set.dim * sizeof(float));
	row = (unsigned char *) malloc(length);
	if (set.rows == NULL || row == NULL)
		set_die("out of memory");
	for (size_t i = 0; i < set.count; i++)
	{
		float *to = set.rows + i * set.dim;

		if (fread(&dim, sizeof(dim), 1, file) != 1 || (size_t) dim != set.dim || fread(row, 1, length, file) != length)
			set_die("the file of vectors is cut short");
		if (!bytes)
			memcpy(to, row, length);
		for (size_t d = 0; bytes && d < set.dim; d++)
			to[d] = row[d];
	}
	free(row);
	fclose(file);
	return set;
}

/* The text behind "name=" among the arguments from number 3 on, or otherwise. */
static inline const char *
set_option(int argc, char **argv, const char *name, const char *otherwise)
{
	size_t length = strlen(name);

	for (int i = 3; i < argc; i++)
	{
		if (strncmp(argv[i], name, length) == 0 && argv[i][length] == '=')
			return argv[i] + length + 1;
	}
	return otherwise;
}

/* The number that follows in a list with commas; 0 at its end. */
static inline size_t
set_next_number(const char **at)
{
	char  *end;
	size_t number = (size_t) strtoul(*at, &end, 10);

	*at = *end == ',' ? end + 1 : end;
	return number;
}

#endif
