/*
 * kmeans.c - seeding, assigning, moving centres; see kmeans.h.
 *
 * Does not own: distances (vec/kernels.h), nor the choice of what is clustered and into how many cells.
 */
#include "core/quant/kmeans.h"

#include <float.h>
#include <string.h>

#include "core/base/order.h"
#include "core/base/rng.h"

/* Points assigned between two looks at the cancel flag. */
#define POLL_POINTS 256

/* Lloyd's iteration has settled when no centre moves by more than this share of its length. */
#define SETTLED_SHIFT 1e-4

typedef struct Run
{
	const IqdbKmeans *params;
	const IqdbPoints *points;
	IqdbBatchKernel   batch;
	uint32_t          k;          /* centres so far */
	float            *centres;
	float            *distances;  /* of each point to its centre */
	uint32_t         *assignment;
	uint32_t         *starts;     /* k + 1: members of cell i are members[starts[i] .. starts[i + 1]) */
	uint32_t         *members;
	float            *sums;       /* k: one point against all centres; while seeding, count: all points against one */
	void             *scratch;
	size_t            k_max;
} Run;

static const float *
point_at(const Run *run, size_t i)
{
	return run->points->rows + i * run->points->stride;
}

static float *
centre_at(const Run *run, size_t i)
{
	return run->centres + i * run->points->stride;
}

static size_t
scratch_size(const IqdbPoints *points)
{
	size_t pairs = points->count > points->dim ? points->count : points->dim;

	return pairs * sizeof(double);
}

static size_t
larger(size_t a, size_t b)
{
	return a > b ? a : b;
}

static void
run_free(Run *run)
{
	const IqdbAllocator *allocator = &run->params->host->allocator;
	size_t               count = run->points->count;

	iqdb_free(allocator, run->distances, count * sizeof(float));
	iqdb_free(allocator, run->assignment, count * sizeof(uint32_t));
	iqdb_free(allocator, run->starts, (run->k_max + 1) * sizeof(uint32_t));
	iqdb_free(allocator, run->members, count * sizeof(uint32_t));
	iqdb_free(allocator, run->sums, larger(run->k_max, count) * sizeof(float));
	iqdb_free(allocator, run->scratch, scratch_size(run->points));
}

static IqdbStatus
run_allocate(Run *run, IqdbError *err)
{
	const IqdbAllocator *allocator = &run->params->host->allocator;
	size_t               count = run->points->count;

	run->distances = iqdb_alloc(allocator, count * sizeof(float));
	run->assignment = iqdb_alloc_zero(allocator, count * sizeof(uint32_t));
	run->starts = iqdb_alloc(allocator, (run->k_max + 1) * sizeof(uint32_t));
	run->members = iqdb_alloc(allocator, count * sizeof(uint32_t));
	run->sums = iqdb_alloc(allocator, larger(run->k_max, count) * sizeof(float));
	run->scratch = iqdb_alloc(allocator, scratch_size(run->points));
	if (run->distances != NULL && run->assignment != NULL && run->starts != NULL && run->members != NULL &&
		run->sums != NULL && run->scratch != NULL)
		return IQDB_OK;
	run_free(run);
	return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for clustering %zu points", count);
}

static IqdbStatus
poll(const IqdbKmeans *params, IqdbError *err)
{
	if (iqdb_host_cancelled(params->host))
		return iqdb_fail(err, IQDB_ERR_CANCELLED, "clustering was cancelled");
	return IQDB_OK;
}

/* Sums that overflowed or are no number count as far away. */
static float
tame(float distance)
{
	return distance <= FLT_MAX ? distance : FLT_MAX;
}

/* ---- seeding ---- */

static void
place_centre(Run *run, uint32_t number, size_t point)
{
	size_t dim = run->points->dim;

	memcpy(centre_at(run, number), point_at(run, point), dim * sizeof(float));
	memset(centre_at(run, number) + dim, 0, (run->points->stride - dim) * sizeof(float));
}

/* Distances to the newest centre, where they are shorter than what was known. Returns the sum of all. */
static double
shorten_distances(Run *run, uint32_t newest)
{
	double total = 0;

	run->batch(centre_at(run, newest), run->points->rows, run->points->stride * sizeof(float), run->points->count,
			   run->points->dim, run->sums);
	for (size_t i = 0; i < run->points->count; i++)
	{
		float distance = tame(run->sums[i]);

		if (newest == 0 || distance < run->distances[i])
			run->distances[i] = distance;
		total += (double) run->distances[i];
	}
	return total;
}

/* A point drawn with its distance as weight; total > 0. */
static size_t
draw_point(const Run *run, double total, IqdbRng *rng)
{
	double target = iqdb_rng_unit(rng) * total;
	double reached = 0;
	size_t last = 0;

	for (size_t i = 0; i < run->points->count; i++)
	{
		if (run->distances[i] <= 0)
			continue;
		reached += (double) run->distances[i];
		last = i;
		if (reached >= target)
			break;
	}
	return last;
}

static IqdbStatus
seed_centres(Run *run, IqdbError *err)
{
	IqdbRng rng;
	size_t  point;

	iqdb_rng_seed(&rng, run->params->seed);
	point = iqdb_rng_below(&rng, run->points->count);
	for (run->k = 0; run->k < run->k_max;)
	{
		double total;

		place_centre(run, run->k, point);
		total = shorten_distances(run, run->k++);
		if (!(total > 0))
			break;
		point = draw_point(run, total, &rng);
		IQDB_TRY(poll(run->params, err));
	}
	return IQDB_OK;
}

/* ---- assigning ---- */

static void
assign_point(Run *run, size_t i, bool *changed)
{
	uint32_t best = 0;
	float    least;

	run->batch(point_at(run, i), run->centres, run->points->stride * sizeof(float), run->k, run->points->dim, run->sums);
	least = tame(run->sums[0]);
	for (uint32_t cell = 1; cell < run->k; cell++)
	{
		if (run->sums[cell] < least)
		{
			least = run->sums[cell];
			best = cell;
		}
	}
	*changed |= run->assignment[i] != best;
	run->assignment[i] = best;
	run->distances[i] = least;
}

void
iqdb_cells_members(const uint32_t *cells, size_t count, uint32_t cell_count, uint32_t *starts_out, uint32_t *members_out)
{
	memset(starts_out, 0, ((size_t) cell_count + 1) * sizeof(uint32_t));
	for (size_t i = 0; i < count; i++)
	{
		if (cells[i] < cell_count)
			starts_out[cells[i] + 1]++;
	}
	for (uint32_t cell = 0; cell < cell_count; cell++)
		starts_out[cell + 1] += starts_out[cell];
	for (size_t i = 0; i < count; i++)
	{
		if (cells[i] < cell_count)
			members_out[starts_out[cells[i]]++] = (uint32_t) i;
	}
	/* starts have moved on by one cell */
	memmove(starts_out + 1, starts_out, cell_count * sizeof(uint32_t));
	starts_out[0] = 0;
}

static uint32_t
cell_size(const Run *run, uint32_t cell)
{
	return run->starts[cell + 1] - run->starts[cell];
}

static IqdbStatus
assign_all(Run *run, bool *changed, IqdbError *err)
{
	*changed = false;
	for (size_t i = 0; i < run->points->count; i++)
	{
		if (i % POLL_POINTS == 0)
			IQDB_TRY(poll(run->params, err));
		assign_point(run, i, changed);
	}
	iqdb_cells_members(run->assignment, run->points->count, run->k, run->starts, run->members);
	return IQDB_OK;
}

/* ---- moving centres ---- */

/* In steps that compilers turn into instructions for several components. */
static void
add_to_sums(const float *row, size_t dim, double *restrict sums)
{
	size_t d = 0;

	for (; d + 8 <= dim; d += 8)
	{
		for (size_t i = 0; i < 8; i++)
			sums[d + i] += (double) row[d + i];
	}
	for (; d < dim; d++)
		sums[d] += (double) row[d];
}

static IqdbStatus
centre_mean(const IqdbKmeans *params, const IqdbPoints *points, const uint32_t *members, size_t count, double *sums,
			float *centre, IqdbError *err)
{
	memset(sums, 0, points->dim * sizeof(double));
	for (size_t i = 0; i < count; i++)
	{
		if (i % POLL_POINTS == POLL_POINTS - 1)
			IQDB_TRY(poll(params, err));
		add_to_sums(points->rows + members[i] * points->stride, points->dim, sums);
	}
	for (size_t d = 0; d < points->dim; d++)
		centre[d] = (float) (sums[d] / (double) count);
	return IQDB_OK;
}

static void
scale_to_one(float *centre, size_t dim)
{
	double norm2 = 0;
	double factor;

	for (size_t d = 0; d < dim; d++)
		norm2 += (double) centre[d] * (double) centre[d];
	if (!(norm2 > 0) || norm2 > DBL_MAX)
		return;
	factor = 1.0 / sqrt(norm2);
	for (size_t d = 0; d < dim; d++)
		centre[d] = (float) ((double) centre[d] * factor);
}

/* Least significant byte first; other has room for count. The result is in bits. */
static void
radix_sort(uint32_t *bits, uint32_t *other, size_t count)
{
	for (int shift = 0; shift < 32; shift += 8)
	{
		size_t    starts[257] = {0};
		uint32_t *swap = bits;

		for (size_t i = 0; i < count; i++)
			starts[(bits[i] >> shift & 255) + 1]++;
		for (int byte = 0; byte < 256; byte++)
			starts[byte + 1] += starts[byte];
		for (size_t i = 0; i < count; i++)
			other[starts[bits[i] >> shift & 255]++] = bits[i];
		bits = other;
		other = swap;
	}
}

static void
sort_few_values(uint32_t *bits, size_t count)
{
	for (size_t i = 1; i < count; i++)
	{
		uint32_t value = bits[i];
		size_t   at = i;

		for (; at > 0 && bits[at - 1] > value; at--)
			bits[at] = bits[at - 1];
		bits[at] = value;
	}
}

static uint32_t
most_frequent(const uint32_t *sorted, size_t count)
{
	uint32_t best = sorted[0];
	size_t   most = 0;

	for (size_t start = 0; start < count;)
	{
		size_t end = start;

		while (end < count && sorted[end] == sorted[start])
			end++;
		if (end - start > most)
		{
			most = end - start;
			best = sorted[start];
		}
		start = end;
	}
	return best;
}

/* Median or mode of every component. */
static IqdbStatus
centre_by_component(const IqdbKmeans *params, const IqdbPoints *points, const uint32_t *members, size_t count,
					uint32_t *bits, float *centre, IqdbError *err)
{
	for (size_t d = 0; d < points->dim; d++)
	{
		if (count >= POLL_POINTS)
			IQDB_TRY(poll(params, err));
		for (size_t i = 0; i < count; i++)
			bits[i] = iqdb_order_of_float(points->rows[members[i] * points->stride + d]);
		if (count < 48)
			sort_few_values(bits, count);
		else
			radix_sort(bits, bits + count, count);
		centre[d] = iqdb_float_of_order(params->sum == IQDB_SUM_L1 ? bits[(count - 1) / 2] : most_frequent(bits, count));
	}
	return IQDB_OK;
}

IqdbStatus
iqdb_kmeans_centre(const IqdbKmeans *params, const IqdbPoints *points, const uint32_t *members, size_t count,
				   void *scratch, float *centre_out, IqdbError *err)
{
	IQDB_TRY(poll(params, err));
	if (params->sum != IQDB_SUM_L2)
		return centre_by_component(params, points, members, count, scratch, centre_out, err);
	IQDB_TRY(centre_mean(params, points, members, count, scratch, centre_out, err));
	if (params->spherical)
		scale_to_one(centre_out, points->dim);
	return IQDB_OK;
}

/* Moves every centre to the middle of its cell. *moved_out = some centre moved noticeably. */
static IqdbStatus
move_centres(Run *run, float *before, bool *moved_out, IqdbError *err)
{
	size_t dim = run->points->dim;
	bool   moved = false;

	for (uint32_t cell = 0; cell < run->k; cell++)
	{
		float *centre = centre_at(run, cell);
		double shift = 0;
		double length = 0;

		if (cell_size(run, cell) == 0)
			continue;
		memcpy(before, centre, dim * sizeof(float));
		IQDB_TRY(iqdb_kmeans_centre(run->params, run->points, run->members + run->starts[cell], cell_size(run, cell),
									run->scratch, centre, err));
		for (size_t d = 0; d < dim; d++)
		{
			double difference = (double) centre[d] - (double) before[d];

			shift += difference * difference;
			length += (double) before[d] * (double) before[d];
		}
		moved |= !(shift <= SETTLED_SHIFT * SETTLED_SHIFT * length);
	}
	*moved_out = moved;
	return IQDB_OK;
}

/* Empty cells take the points that lie farthest from their centres. true when one did. */
static bool
reseed_empty(Run *run)
{
	bool reseeded = false;

	for (uint32_t cell = 0; cell < run->k; cell++)
	{
		size_t farthest = 0;

		if (cell_size(run, cell) > 0)
			continue;
		for (size_t i = 1; i < run->points->count; i++)
		{
			if (run->distances[i] > run->distances[farthest])
				farthest = i;
		}
		if (!(run->distances[farthest] > 0))
			break;
		place_centre(run, cell, farthest);
		run->distances[farthest] = 0;
		reseeded = true;
	}
	return reseeded;
}

/* ---- the run ---- */

static IqdbStatus
iterate(Run *run, IqdbError *err)
{
	size_t     before_size = run->points->dim * sizeof(float);
	float     *before = iqdb_alloc(&run->params->host->allocator, before_size);
	bool       moved = true;
	IqdbStatus status = IQDB_OK;

	if (before == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for clustering");
	for (uint32_t i = 0; i < run->params->iterations && moved && status == IQDB_OK; i++)
	{
		bool changed;

		status = assign_all(run, &changed, err);
		if (status != IQDB_OK)
			break;
		status = move_centres(run, before, &moved, err);
		if (status != IQDB_OK)
			break;
		moved = moved && (changed || i == 0);
		moved |= reseed_empty(run);
	}
	iqdb_free(&run->params->host->allocator, before, before_size);
	return status;
}

/* Cells without points leave; the others keep their order. */
static void
drop_empty(Run *run)
{
	uint32_t kept = 0;

	for (uint32_t cell = 0; cell < run->k; cell++)
	{
		if (cell_size(run, cell) == 0)
			continue;
		if (kept < cell)
			memcpy(centre_at(run, kept), centre_at(run, cell), run->points->stride * sizeof(float));
		for (uint32_t i = run->starts[cell]; i < run->starts[cell + 1]; i++)
			run->assignment[run->members[i]] = kept;
		kept++;
	}
	run->k = kept;
}

IqdbStatus
iqdb_kmeans_run(const IqdbKmeans *params, const IqdbPoints *points, uint32_t k, float *centres_out, uint32_t *k_out,
				uint32_t *assignment_out, IqdbError *err)
{
	Run        run = {.params = params, .points = points, .centres = centres_out};
	bool       changed;
	IqdbStatus status;

	*k_out = 0;
	if (k == 0 || points->count == 0 || points->count > UINT32_MAX || points->dim == 0)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "cannot make %u cells of %zu points", k, points->count);
	if (params->sum != IQDB_SUM_L2 && params->sum != IQDB_SUM_L1 && params->sum != IQDB_SUM_HAMMING)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "points cannot be clustered by sum %d", (int) params->sum);
	run.batch = params->kernels->sums[params->sum].batch;
	run.k_max = k < points->count ? k : points->count;
	IQDB_TRY(run_allocate(&run, err));
	status = seed_centres(&run, err);
	if (status == IQDB_OK)
		status = iterate(&run, err);
	if (status == IQDB_OK)
		status = assign_all(&run, &changed, err);
	if (status == IQDB_OK)
	{
		drop_empty(&run);
		*k_out = run.k;
		if (assignment_out != NULL)
			memcpy(assignment_out, run.assignment, points->count * sizeof(uint32_t));
	}
	run_free(&run);
	return status;
}
