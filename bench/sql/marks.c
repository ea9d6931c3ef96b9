/*
 * marks.c - columns to filter by, for rows that have only a vector, and queries that they are near to or far from.
 *
 * Usage: marks BASE ROWS QUERIES COUNT FOLDER     (ROWS, COUNT 0: all)
 *
 * Writes FOLDER/marks: a line for each row, "id scattered around grouped", separated by tabs. Each column numbers the rows from
 * 0, so that "column < n" is true of n rows, wherever these lie:
 *
 *   scattered  at random
 *   around     by their distance from the base file's first row: one ball
 *   grouped    group by group, as rows of tenants may be: a group is what is nearest to one of GROUPS rows
 *
 * FOLDER/near.fvecs and FOLDER/far.fvecs get the fifth of the queries that is nearest to the centre of "around", and the
 * fifth that is farthest from it: of those, all matching rows are among the nearest rows, of these none.
 */
#define _POSIX_C_SOURCE 200809L

#include "vectors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GROUPS 100
#define QUERY_SHARE 5 /* one query of so many is near, one is far */

typedef struct Place
{
	double   order;
	uint32_t group;
	uint32_t row;
} Place;

static int
by_place(const void *a, const void *b)
{
	const Place *x = a;
	const Place *y = b;

	if (x->group != y->group)
		return x->group < y->group ? -1 : 1;
	if (x->order != y->order)
		return x->order < y->order ? -1 : 1;
	return x->row < y->row ? -1 : x->row > y->row;
}

/* A number below 1 that looks random: the finalizer of splitmix64. */
static double
scattered(uint64_t row)
{
	uint64_t x = (row + 1) * UINT64_C(0x9E3779B97F4A7C15);

	x = (x ^ x >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
	x = (x ^ x >> 27) * UINT64_C(0x94D049BB133111EB);
	return (double) ((x ^ x >> 31) >> 11) / 9007199254740992.0;
}

static double
distance_from(const Vectors *vectors, size_t row, const float *centre, float *scratch)
{
	vectors_read(vectors, row, scratch);
	return vectors_distance(scratch, centre, vectors->dimension);
}

/* The rank of each row where places are sorted, in ranks[row * 3 + column]. */
static void
keep_ranks(Place *places, size_t count, uint32_t *ranks, int column)
{
	qsort(places, count, sizeof(*places), by_place);
	for (size_t i = 0; i < count; i++)
		ranks[(size_t) places[i].row * 3 + (size_t) column] = (uint32_t) i;
}

static uint32_t
nearest_group(const float *row, const float *groups, uint32_t count, uint32_t dimension)
{
	double   least = 1e300;
	uint32_t nearest = 0;

	for (uint32_t group = 0; group < count; group++)
	{
		double distance = vectors_distance(row, groups + (size_t) group * dimension, dimension);

		if (distance < least)
		{
			least = distance;
			nearest = group;
		}
	}
	return nearest;
}

static FILE *
create(const char *folder, const char *name)
{
	char  path[4096];
	FILE *file;

	if (snprintf(path, sizeof(path), "%s/%s", folder, name) >= (int) sizeof(path))
		die("%s: too long a name", folder);
	file = fopen(path, "wb");
	if (file == NULL)
		die("cannot write %s", path);
	return file;
}

static void
end(FILE *file)
{
	if (fclose(file) != 0)
		die("cannot write");
}

static void
mark_rows(const Vectors *base, const float *centre, const char *folder)
{
	size_t    rows = base->rows;
	uint32_t  group_count = rows < GROUPS ? (uint32_t) rows : GROUPS;
	uint32_t *ranks = allocate(rows * 3 * sizeof(*ranks));
	Place    *places = allocate(rows * sizeof(*places));
	float    *row = allocate(base->dimension * sizeof(float));
	float    *groups = allocate((size_t) group_count * base->dimension * sizeof(float));
	FILE     *file = create(folder, "marks");

	for (size_t i = 0; i < rows; i++)
		places[i] = (Place){scattered(i), 0, (uint32_t) i};
	keep_ranks(places, rows, ranks, 0);
	/* the first rows of that order are as good as any to be the groups' centres */
	for (uint32_t i = 0; i < group_count; i++)
		vectors_read(base, places[i].row, groups + (size_t) i * base->dimension);
	for (size_t i = 0; i < rows; i++)
		places[i] = (Place){distance_from(base, i, centre, row), 0, (uint32_t) i};
	keep_ranks(places, rows, ranks, 1);
	for (size_t i = 0; i < rows; i++)
	{
		vectors_read(base, i, row);
		places[i] = (Place){scattered(i), nearest_group(row, groups, group_count, base->dimension), (uint32_t) i};
	}
	keep_ranks(places, rows, ranks, 2);
	for (size_t i = 0; i < rows; i++)
		fprintf(file, "%zu\t%u\t%u\t%u\n", i, ranks[i * 3], ranks[i * 3 + 1], ranks[i * 3 + 2]);
	end(file);
	free(ranks);
	free(places);
	free(row);
	free(groups);
}

static void
write_queries(const Vectors *queries, const Place *places, size_t count, const char *folder, const char *name)
{
	FILE  *file = create(folder, name);
	float *query = allocate(queries->dimension * sizeof(float));

	for (size_t i = 0; i < count; i++)
	{
		vectors_read(queries, places[i].row, query);
		if (fwrite(&queries->dimension, 4, 1, file) != 1 ||
			fwrite(query, 4, queries->dimension, file) != queries->dimension)
			die("cannot write");
	}
	end(file);
	free(query);
}

int
main(int count, char **arguments)
{
	Vectors base;
	Vectors queries;
	Place  *places;
	float  *centre;
	float  *query;
	size_t  share;

	if (count != 6)
		die("usage: marks BASE ROWS QUERIES COUNT FOLDER");
	vectors_open(&base, arguments[1], strtoul(arguments[2], NULL, 10));
	vectors_open(&queries, arguments[3], strtoul(arguments[4], NULL, 10));
	if (base.dimension != queries.dimension)
		die("base rows have %u dimensions, queries %u", base.dimension, queries.dimension);
	centre = allocate(base.dimension * sizeof(float));
	query = allocate(base.dimension * sizeof(float));
	vectors_read(&base, 0, centre);
	mark_rows(&base, centre, arguments[5]);

	places = allocate(queries.rows * sizeof(*places));
	for (size_t i = 0; i < queries.rows; i++)
		places[i] = (Place){distance_from(&queries, i, centre, query), 0, (uint32_t) i};
	qsort(places, queries.rows, sizeof(*places), by_place);
	share = (queries.rows + QUERY_SHARE - 1) / QUERY_SHARE;
	write_queries(&queries, places, share, arguments[5], "near.fvecs");
	write_queries(&queries, places + queries.rows - share, share, arguments[5], "far.fvecs");
	free(places);
	free(centre);
	free(query);
	return 0;
}
