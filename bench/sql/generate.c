/*
 * generate.c - made-up rows and queries, for benches of which no data set is asked.
 *
 * Usage: generate ROWS DIMENSION OUT [SEED]     (OUT: an .fvecs file)
 *
 * Rows lie in CLUSTERS clusters of a space of few dimensions, which is turned into the wanted number of dimensions at
 * random, with a little noise: as embeddings do, and unlike independent random numbers, of which all are equally far
 * from each other. All have length one. Clusters and space are the same for every SEED, so that another seed gives
 * queries for the rows of the first.
 */
#define _POSIX_C_SOURCE 200809L

#include "vectors.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define CLUSTERS 200
#define LATENT 24
#define SPREAD 0.7 /* of a cluster, where clusters lie one apart */
#define NOISE 0.03

static uint64_t state;

/* xorshift64*: the same numbers on every machine. */
static double
uniform(void)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return (double) (state * UINT64_C(2685821657736338717) >> 11) / 9007199254740992.0;
}

/* Box and Muller: normally distributed. */
static double
normal(void)
{
	double radius = sqrt(-2 * log(1 - uniform()));

	return radius * cos(6.283185307179586 * uniform());
}

static void
fill(float *numbers, size_t count, double scale)
{
	for (size_t i = 0; i < count; i++)
		numbers[i] = (float) (scale * normal());
}

/* One row: a point near a cluster, turned into the space of the rows. */
static void
make_row(const float *clusters, const float *space, uint32_t dimension, float *row)
{
	const float *cluster = clusters + (size_t) (uniform() * CLUSTERS) * LATENT;
	double       length = 0;
	float        point[LATENT];

	fill(point, LATENT, SPREAD);
	for (int i = 0; i < LATENT; i++)
		point[i] += cluster[i];
	for (uint32_t d = 0; d < dimension; d++)
	{
		double sum = NOISE * LATENT * normal();

		for (int i = 0; i < LATENT; i++)
			sum += (double) point[i] * space[(size_t) d * LATENT + (size_t) i];
		row[d] = (float) sum;
		length += sum * sum;
	}
	for (uint32_t d = 0; d < dimension; d++)
		row[d] = (float) (row[d] / sqrt(length));
}

int
main(int count, char **arguments)
{
	size_t  rows = count > 3 ? strtoul(arguments[1], NULL, 10) : 0;
	int32_t dimension = count > 3 ? (int32_t) strtol(arguments[2], NULL, 10) : 0;
	float  *clusters = allocate((size_t) CLUSTERS * LATENT * sizeof(float));
	float  *space;
	float  *row;
	FILE   *file;

	if (rows == 0 || dimension < 1 || dimension > 16000)
		die("usage: generate ROWS DIMENSION OUT [SEED]");
	space = allocate((size_t) dimension * LATENT * sizeof(float));
	row = allocate((size_t) dimension * sizeof(float));
	state = UINT64_C(88172645463325252);
	fill(clusters, (size_t) CLUSTERS * LATENT, 1);
	fill(space, (size_t) dimension * LATENT, 1);
	state ^= UINT64_C(0x9E3779B97F4A7C15) * (count > 4 ? strtoul(arguments[4], NULL, 10) + 1 : 1);
	file = fopen(arguments[3], "wb");
	if (file == NULL)
		die("cannot write %s", arguments[3]);
	for (size_t i = 0; i < rows; i++)
	{
		make_row(clusters, space, (uint32_t) dimension, row);
		if (fwrite(&dimension, 4, 1, file) != 1 || fwrite(row, 4, (size_t) dimension, file) != (size_t) dimension)
			die("cannot write %s", arguments[3]);
	}
	if (fclose(file) != 0)
		die("cannot write %s", arguments[3]);
	free(clusters);
	free(space);
	free(row);
	return 0;
}
