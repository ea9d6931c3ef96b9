/*
 * kmeans.h - clustering of a set of points that fits in memory: the step that inverted lists and product codes begin with.
 *
 * Seeding: k-means++ (Arthur, Vassilvitskii, "k-means++: The Advantages of Careful Seeding", SODA 2007), with the distance
 * itself as weight where the sum is not a square. Then Lloyd's iteration (IEEE Trans. Inf. Theory 1982), with the centre
 * that minimises the sum at hand:
 *
 *   L2       the mean, summed in double; spherical: scaled to length one
 *   L1       the median of each component (k-medians)
 *   HAMMING  the most frequent bit pattern of each component (k-modes, Huang 1998)
 *
 * A cell that loses its last point is seeded again with the point that lies farthest from its own centre. Points that
 * coincide cannot make more cells than there are different points: the number of cells found may be smaller than asked.
 * Deterministic: the result is a function of the points, their order, and the seed (and of the kernels, by rounding).
 */
#ifndef IQDB_QUANT_KMEANS_H
#define IQDB_QUANT_KMEANS_H

#include "core/base/host.h"
#include "core/vec/kernels.h"

#define IQDB_KMEANS_ITERATIONS 25

typedef struct IqdbKmeans
{
	const IqdbHost    *host;    /* allocator and cancel */
	const IqdbKernels *kernels;
	IqdbSum            sum;     /* L2, L1 or HAMMING */
	bool               spherical;
	uint32_t           iterations; /* at most so many; 0 = seeding only */
	uint64_t           seed;
} IqdbKmeans;

/* Points and centres are rows of dim floats, stride floats apart. */
typedef struct IqdbPoints
{
	const float *rows;
	size_t       count;
	size_t       stride;
	size_t       dim;
} IqdbPoints;

/*
 * Finds up to k centres of points->count >= 1 points and writes them, points->stride floats apart, to centres_out (room for
 * k; floats between dim and stride become 0). *k_out = how many, 1 .. k; assignment_out (may be NULL) gets each point's
 * centre. Whatever the floats, the result is some result: sums that are no numbers count as far away.
 * Errors: IQDB_ERR_CONFIG (k or count is 0, or the sum cannot be clustered by), IQDB_ERR_NOMEM, IQDB_ERR_CANCELLED.
 */
IqdbStatus iqdb_kmeans_run(const IqdbKmeans *params, const IqdbPoints *points, uint32_t k, float *centres_out,
						   uint32_t *k_out, uint32_t *assignment_out, IqdbError *err) IQDB_MUST_CHECK;

/*
 * The centre of members of one cell, as a run does it: count rows by number. Writes dim floats. scratch: 2 * count floats
 * (L1, HAMMING), or dim doubles (L2), 8-byte aligned. Errors: IQDB_ERR_CANCELLED, with something in centre_out.
 */
IqdbStatus iqdb_kmeans_centre(const IqdbKmeans *params, const IqdbPoints *points, const uint32_t *members, size_t count,
							  void *scratch, float *centre_out, IqdbError *err) IQDB_MUST_CHECK;

/*
 * Numbers 0 .. count - 1 ordered by their cells: those of cell c stand, ascending, from members_out[starts_out[c]] to before
 * members_out[starts_out[c + 1]]. A number whose cell is not below cell_count is left out. starts_out has room for
 * cell_count + 1 numbers, members_out for count.
 */
void iqdb_cells_members(const uint32_t *cells, size_t count, uint32_t cell_count, uint32_t *starts_out,
						uint32_t *members_out);

#endif
