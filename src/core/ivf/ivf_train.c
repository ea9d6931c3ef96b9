/*
 * ivf_train.c - from a sample of the rows to a model: centres, the level above them, codebooks.
 *
 * Owns: what the sample is, and the way of clustering. In which space, is ivf_space.c's: the sample
 * is taken there, so that L2 cells are cells of the metric for COSINE (unit vectors, centres of length one) and DOT (one
 * component more makes all rows equally long: Bachrach et al., "Speeding Up the Xbox Recommender System Using a Euclidean
 * Transformation for Inner-Product Spaces", RecSys 2014); L1 clusters by medians, HAMMING by most frequent components.
 *
 * Many centres are found in two steps: about sqrt(k) coarse cells, in each of them a share of the centres in proportion to
 * its points (k-means++ of everything at once would compare each point with each centre while seeding alone). Up to
 * IQDBI_ONE_LEVEL_LISTS lists the coarse cells are then forgotten and all centres move together for some rounds of Lloyd's
 * iteration, with assignment by byte codes; above that they stay, as the level by which lists are found.
 */
#include "core/ivf/ivf_train_private.h"

#include <float.h>
#include <string.h>

#include "core/base/rng.h"
#include "core/ivf/ivf_coarse_private.h"
#include "core/ivf/ivf_code_private.h"
#include "core/ivf/ivf_space_private.h"
#include "core/quant/kmeans.h"

/* Points of the sample per list, and the least and the most of them (bytes). */
#define SAMPLE_PER_LIST 48u
#define SAMPLE_MIN 4096u
#define SAMPLE_BYTES_MAX (UINT64_C(512) << 20)

/* From so many centres on they are found in two steps. */
#define TWO_STEPS_LISTS 64u

/* Rounds of all centres together. */
#define ROUNDS_CODED 4u
#define ROUNDS_EXACT 1u

/* Points that codebooks are learned from. */
#define CODEBOOK_SAMPLE 4096u
#define CODEBOOK_ITERATIONS 10u

/* Rows whose lengths are looked at for the middle one, and how many times that others may be as long to be learned from. */
#define MIDDLE_SAMPLE 1023u
#define MIDDLE_TIMES 8.0f

/* Points looked at between two looks at the cancel flag. */
#define POLL_POINTS 512u
#define POLL_CODEBOOK 32u

/* What is spent on finding centres. */
typedef struct Effort
{
	uint32_t super_sample;     /* points per coarse cell that find it */
	uint32_t super_iterations;
	uint32_t cell_sample;      /* points per centre that find the centres of a coarse cell; 0 = all */
	uint32_t cell_iterations;
} Effort;

/* Coarse cells stay, or centres are compared exactly. */
static const Effort careful = {256, 8, 0, 4};

/* All centres move together afterwards. */
static const Effort rough = {128, 4, 16, 2};

typedef struct Training
{
	const IqdbiIvf *ivf;
	const IqdbHost *host;
	const Effort   *effort;
	uint64_t        seed;
	float          *points;     /* room times work_stride */
	size_t          room;
	size_t          count;
	float           radius2;
	uint32_t        lists_max;
	float          *centres;    /* lists_max times work_stride */
	uint32_t        lists;
	uint32_t       *assignment; /* count: of points to coarse cells, later to lists */
	uint32_t       *members;    /* count: points by cell */
	uint32_t       *starts;     /* lists_max + 1 */
	uint32_t        supers_max;
	float          *super_centres;
	uint32_t       *super_lists; /* supers_max + 1 */
	uint32_t        supers;
} Training;

/* ---- memory ---- */

static size_t
row_bytes(const Training *training)
{
	return training->ivf->work_bytes;
}

static void
training_free(Training *training)
{
	const IqdbAllocator *allocator = &training->host->allocator;

	iqdb_free(allocator, training->points, training->room * row_bytes(training));
	iqdb_free(allocator, training->centres, training->lists_max * row_bytes(training));
	iqdb_free(allocator, training->assignment, training->room * sizeof(uint32_t));
	iqdb_free(allocator, training->members, training->room * sizeof(uint32_t));
	iqdb_free(allocator, training->starts, ((size_t) training->lists_max + 1) * sizeof(uint32_t));
	iqdb_free(allocator, training->super_centres, training->supers_max * row_bytes(training));
	iqdb_free(allocator, training->super_lists, ((size_t) training->supers_max + 1) * sizeof(uint32_t));
}

static IqdbStatus
training_allocate(Training *training, IqdbError *err)
{
	const IqdbAllocator *allocator = &training->host->allocator;

	training->points = iqdb_alloc(allocator, training->room * row_bytes(training));
	training->centres = iqdb_alloc(allocator, training->lists_max * row_bytes(training));
	training->assignment = iqdb_alloc(allocator, training->room * sizeof(uint32_t));
	training->members = iqdb_alloc(allocator, training->room * sizeof(uint32_t));
	training->starts = iqdb_alloc(allocator, ((size_t) training->lists_max + 1) * sizeof(uint32_t));
	training->super_centres = iqdb_alloc(allocator, training->supers_max * row_bytes(training));
	training->super_lists = iqdb_alloc(allocator, ((size_t) training->supers_max + 1) * sizeof(uint32_t));
	if (training->points != NULL && training->centres != NULL && training->assignment != NULL &&
		training->members != NULL && training->starts != NULL && training->super_centres != NULL &&
		training->super_lists != NULL)
		return IQDB_OK;
	return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for training with %zu rows", training->room);
}

/* ---- sample ---- */

static size_t
sample_size(const IqdbiIvf *ivf, uint32_t lists, uint64_t live)
{
	uint64_t size = (uint64_t) lists * SAMPLE_PER_LIST;
	uint64_t affordable = SAMPLE_BYTES_MAX / ivf->work_bytes;

	size = size < SAMPLE_MIN ? SAMPLE_MIN : size;
	affordable = affordable < lists ? lists : affordable;
	size = size > affordable ? affordable : size;
	if (size > ivf->store->header->options.training_sample)
		size = ivf->store->header->options.training_sample;
	return (size_t) (size > live ? live : size);
}

/* Drawing a row, its norm, and its way into the space of cells, beside the bytes. */
#define SAMPLE_CHARGE 40

/*
 * Knuth's Algorithm S (TAOCP 2, 3.4.2): each LIVE row is taken with the chance needed / left, so the sample is uniform and
 * in the order of slots. Takes STRUCTURE shared in stretches.
 */
static IqdbStatus
take_sample(Training *training, uint64_t live, IqdbError *err)
{
	const IqdbiIvf  *ivf = training->ivf;
	const IqdbStore *store = ivf->store;
	uint32_t         slots = atomic_load_explicit(&store->header->slot_count, memory_order_acquire);
	uint64_t         left = live;
	IqdbStatus       status = IQDB_OK;
	IqdbStretch      stretch;
	IqdbRng          rng;

	iqdb_rng_seed(&rng, training->seed);
	iqdb_stretch_begin(&stretch, store, IQDB_LOCK_STRUCTURE, NULL);
	for (uint32_t slot = 0; slot < slots && training->count < training->room && status == IQDB_OK; slot++)
	{
		float norm2;

		status = iqdb_stretch_step(&stretch, IQDB_CHARGE_SLOT);
		if (status != IQDB_OK || iqdb_store_state(store, slot) != IQDB_ROW_LIVE)
			continue;
		if (left > 0 && iqdb_rng_below(&rng, left--) >= training->room - training->count)
			continue;
		norm2 = iqdb_store_norm2(store, slot);
		/* such rows are in no list with a centre, nor may they draw a centre to them */
		if (iqdbi_row_is_far(ivf, INFINITY, slot, norm2))
			continue;
		iqdbi_work_row(ivf, 0.0f, slot, norm2, training->points + training->count++ * ivf->work_stride);
		if (norm2 <= FLT_MAX && norm2 > training->radius2)
			training->radius2 = norm2;
		status = iqdb_stretch_step(&stretch, SAMPLE_CHARGE + iqdb_charge_bytes(store->row_stride + ivf->work_bytes));
	}
	iqdb_stretch_end(&stretch);
	return status == IQDB_OK ? status : iqdb_fail(err, status, "training was cancelled");
}

/* The middle one of so many squared lengths of rows, by some of them. */
static float
middle_length2(const Training *training, const float *rows, size_t count, size_t dim)
{
	IqdbPairKernel dot = training->ivf->store->kernels->sums[IQDB_SUM_DOT].pair;
	size_t         step = count / MIDDLE_SAMPLE + 1;
	uint64_t       bits[MIDDLE_SAMPLE + 1];
	IqdbiPick      pick = {.entries = bits};
	size_t         found = 0;

	for (size_t i = 0; i < count; i += step)
	{
		const float *row = rows + i * training->ivf->work_stride;

		bits[found++] = (uint64_t) iqdbi_pick_bits(dot(row, row, dim)) << 32;
	}
	iqdbi_sort_numbers(bits, found);
	return found > 0 ? iqdbi_pick_key(&pick, found / 2) : 0.0f;
}

/*
 * LIFTED: a few rows far longer than the others would make these all alike. So the length that all are brought to is at
 * most some times that of the middle one; rows beyond it are far.
 */
static void
limit_radius(Training *training)
{
	float most = middle_length2(training, training->points, training->count, training->ivf->dim) *
				 (MIDDLE_TIMES * MIDDLE_TIMES);

	if (most > 0 && training->radius2 > most)
		training->radius2 = most;
}

/* LIFTED: the component that makes all rows as long as the longest. */
static void
lift_sample(Training *training)
{
	const IqdbiIvf *ivf = training->ivf;
	IqdbPairKernel  dot = ivf->store->kernels->sums[IQDB_SUM_DOT].pair;

	if (ivf->space != IQDB_SPACE_LIFTED)
		return;
	limit_radius(training);
	for (size_t i = 0; i < training->count; i++)
	{
		float *point = training->points + i * ivf->work_stride;
		float  norm2 = dot(point, point, ivf->dim);

		point[ivf->dim] = norm2 < training->radius2 ? sqrtf(training->radius2 - norm2) : 0.0f;
	}
}

/* ---- clustering ---- */

static IqdbKmeans
kmeans_params(const Training *training, uint32_t iterations, uint64_t stream)
{
	uint64_t   state = training->seed + stream;
	IqdbKmeans params = {.host = training->host,
						 .kernels = training->ivf->store->kernels,
						 .sum = training->ivf->sum,
						 .spherical = training->ivf->space == IQDB_SPACE_UNIT,
						 .iterations = iterations};

	params.seed = iqdb_splitmix64(&state);
	return params;
}

static IqdbPoints
all_points(const Training *training)
{
	return (IqdbPoints){.rows = training->points,
						.count = training->count,
						.stride = training->ivf->work_stride,
						.dim = training->ivf->work_dim};
}

static IqdbStatus
find_centres_at_once(Training *training, IqdbError *err)
{
	IqdbKmeans params = kmeans_params(training, IQDB_KMEANS_ITERATIONS, 1);
	IqdbPoints points = all_points(training);

	training->supers = 1;
	return iqdb_kmeans_run(&params, &points, training->lists_max, training->centres, &training->lists, NULL, err);
}

/* Nearest of few centres for every point. */
static IqdbStatus
assign_to_supers(Training *training, IqdbError *err)
{
	const IqdbiIvf *ivf = training->ivf;
	IqdbBatchKernel batch = ivf->store->kernels->sums[ivf->sum].batch;
	size_t          size = training->supers * sizeof(*training->centres);
	float          *sums = iqdb_alloc(&training->host->allocator, size);
	IqdbStatus      status = IQDB_OK;

	if (sums == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for training");
	for (size_t i = 0; i < training->count && status == IQDB_OK; i++)
	{
		uint32_t best = 0;

		batch(training->points + i * ivf->work_stride, training->super_centres, ivf->work_bytes,
			  training->supers, ivf->work_dim, sums);
		for (uint32_t super = 1; super < training->supers; super++)
			best = sums[super] < sums[best] ? super : best;
		training->assignment[i] = best;
		if (i % POLL_POINTS == 0 && iqdb_host_cancelled(training->host))
			status = iqdb_fail(err, IQDB_ERR_CANCELLED, "training was cancelled");
	}
	iqdb_free(&training->host->allocator, sums, size);
	return status;
}

/* Orders the points by cell. */
static void
list_points(Training *training, uint32_t cells)
{
	iqdb_cells_members(training->assignment, training->count, cells, training->starts, training->members);
}

/* Finds the share of one coarse cell, in `piece`, which has room for its points. */
static IqdbStatus
divide_super(Training *training, uint32_t super, uint32_t share, float *piece, IqdbError *err)
{
	const IqdbiIvf *ivf = training->ivf;
	uint32_t        first = training->starts[super];
	uint32_t        count = training->starts[super + 1] - first;
	uint32_t        enough = share * training->effort->cell_sample;
	uint32_t        step = enough > 0 && count > enough ? count / enough : 1;
	IqdbKmeans      params = kmeans_params(training, training->effort->cell_iterations, 2 + (uint64_t) super);
	IqdbPoints      points = {.rows = piece, .count = count / step, .stride = ivf->work_stride, .dim = ivf->work_dim};
	uint32_t        found;

	for (uint32_t i = 0; i < points.count; i++)
		memcpy(piece + i * ivf->work_stride,
			   training->points + (size_t) training->members[first + i * step] * ivf->work_stride, row_bytes(training));
	IQDB_TRY(iqdb_kmeans_run(&params, &points, share,
							 training->centres + (size_t) training->lists * ivf->work_stride, &found, NULL, err));
	training->lists += found;
	return IQDB_OK;
}

/* Coarse cells without points leave. */
static IqdbStatus
divide_supers(Training *training, IqdbError *err)
{
	const IqdbiIvf *ivf = training->ivf;
	size_t          largest = 0;
	size_t          size;
	float          *piece;
	uint32_t        kept = 0;
	IqdbStatus      status = IQDB_OK;

	for (uint32_t super = 0; super < training->supers; super++)
	{
		size_t count = training->starts[super + 1] - training->starts[super];

		largest = count > largest ? count : largest;
	}
	size = largest * row_bytes(training);
	piece = iqdb_alloc(&training->host->allocator, size);
	if (piece == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for training");
	for (uint32_t super = 0; super < training->supers && status == IQDB_OK; super++)
	{
		uint64_t due = (uint64_t) training->lists_max * training->starts[super + 1] / training->count;
		uint32_t share = due > training->lists ? (uint32_t) due - training->lists : 1;

		/* rounding may have given a cell more than was due: the last ones then get nothing of their own */
		if (training->starts[super + 1] == training->starts[super] || training->lists == training->lists_max)
			continue;
		training->super_lists[kept] = training->lists;
		memmove(training->super_centres + kept * ivf->work_stride,
				training->super_centres + super * ivf->work_stride, row_bytes(training));
		kept++;
		status = divide_super(training, super, share, piece, err);
	}
	training->supers = kept;
	training->super_lists[kept] = training->lists;
	iqdb_free(&training->host->allocator, piece, size);
	return status;
}

static IqdbStatus
find_centres_in_two_steps(Training *training, IqdbError *err)
{
	IqdbKmeans params = kmeans_params(training, training->effort->super_iterations, 1);
	IqdbPoints points = all_points(training);
	size_t     step = points.count / ((size_t) training->supers_max * training->effort->super_sample);

	if (step > 1)
	{
		points.count /= step;
		points.stride *= step;
	}
	/* centres come at the stride of the points: spread out first, then together */
	if (step > 1)
	{
		size_t     size = training->supers_max * points.stride * sizeof(*points.rows);
		float     *spread = iqdb_alloc(&training->host->allocator, size);
		IqdbStatus status;

		if (spread == NULL)
			return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for training");
		status = iqdb_kmeans_run(&params, &points, training->supers_max, spread, &training->supers, NULL, err);
		for (uint32_t super = 0; super < training->supers; super++)
			memcpy(training->super_centres + super * training->ivf->work_stride, spread + super * points.stride,
				   row_bytes(training));
		iqdb_free(&training->host->allocator, spread, size);
		IQDB_TRY(status);
	}
	else
		IQDB_TRY(iqdb_kmeans_run(&params, &points, training->supers_max, training->super_centres, &training->supers,
								 NULL, err));
	IQDB_TRY(assign_to_supers(training, err));
	list_points(training, training->supers);
	return divide_supers(training, err);
}

/* ---- the model in memory of its own ---- */

void
iqdbi_trained_free(const IqdbiIvf *ivf, IqdbiTrained *trained)
{
	iqdb_carve_free(&trained->memory, &ivf->store->host->allocator);
	memset(trained, 0, sizeof(*trained));
}

/* With the numbers of the training and nothing in it. */
static IqdbStatus
make_model(const Training *training, IqdbiTrained *trained_out, IqdbError *err)
{
	const IqdbiIvf *ivf = training->ivf;
	IqdbiModel     *model = &trained_out->model;

	memset(trained_out, 0, sizeof(*trained_out));
	model->figures.lists = training->lists;
	model->figures.supers = training->supers;
	model->figures.radius2 = training->radius2;
	model->figures.coarse_blocks = iqdbi_model_blocks(training->super_lists, training->supers, NULL);
	if (training->supers > 1)
		model->figures.super_blocks = (training->supers + IQDBI_BLOCK_ROWS - 1) / IQDBI_BLOCK_ROWS;
	if (!iqdbi_model_alloc(ivf, model, &trained_out->memory))
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for the centres of %u lists", model->figures.lists);
	memset(trained_out->memory.at, 0, trained_out->memory.size);
	return IQDB_OK;
}

static void
fill_model(const Training *training, IqdbiModel *model, IqdbiCode *code)
{
	memcpy(model->centres, training->centres, training->lists * row_bytes(training));
	memcpy(model->super_centres, training->super_centres, training->supers * row_bytes(training));
	memcpy(model->super_lists, training->super_lists, ((size_t) training->supers + 1) * sizeof(uint32_t));
	iqdbi_model_pack(training->ivf, model, code);
}

/* ---- rounds of all centres ---- */

/* An empty cell takes a point of the fullest one. */
static void
reseed_empty_lists(Training *training)
{
	size_t stride = training->ivf->work_stride;

	for (uint32_t list = 0; list < training->lists; list++)
	{
		uint32_t fullest = 0;
		uint32_t most = 0;

		if (training->starts[list + 1] > training->starts[list])
			continue;
		for (uint32_t other = 0; other < training->lists; other++)
		{
			uint32_t count = training->starts[other + 1] - training->starts[other];

			if (count > most)
			{
				most = count;
				fullest = other;
			}
		}
		if (most < 2)
			return;
		/* a different one for each empty cell */
		memcpy(training->centres + list * stride,
			   training->points + training->members[training->starts[fullest] + list % most] * stride,
			   row_bytes(training));
	}
}

static IqdbStatus
assign_to_lists(Training *training, IqdbiScratch *scratch, const IqdbiModel *model, IqdbError *err)
{
	const IqdbiIvf *ivf = training->ivf;

	for (size_t i = 0; i < training->count; i += IQDBI_COARSE_ROWS)
	{
		size_t rows = training->count - i < IQDBI_COARSE_ROWS ? training->count - i : IQDBI_COARSE_ROWS;
		float  keys[IQDBI_COARSE_ROWS];

		iqdbi_coarse_assign_rows(scratch, model, training->points + i * ivf->work_stride, rows, false,
								 training->assignment + i, keys);
		if (i % POLL_POINTS == 0 && iqdb_host_cancelled(training->host))
			return iqdb_fail(err, IQDB_ERR_CANCELLED, "training was cancelled");
	}
	list_points(training, training->lists);
	return IQDB_OK;
}

static IqdbStatus
move_to_middles(Training *training, void *medians, IqdbError *err)
{
	IqdbPoints points = all_points(training);
	IqdbKmeans params = kmeans_params(training, 0, 0);

	for (uint32_t list = 0; list < training->lists; list++)
	{
		uint32_t first = training->starts[list];
		uint32_t count = training->starts[list + 1] - first;

		if (count > 0)
			IQDB_TRY(iqdb_kmeans_centre(&params, &points, training->members + first, count, medians,
										training->centres + (size_t) list * points.stride, err));
	}
	return IQDB_OK;
}

static void
drop_empty_lists(Training *training)
{
	size_t   stride = training->ivf->work_stride;
	uint32_t kept = 0;

	for (uint32_t list = 0; list < training->lists; list++)
	{
		if (training->starts[list + 1] == training->starts[list])
			continue;
		memmove(training->centres + kept * stride, training->centres + list * stride, row_bytes(training));
		kept++;
	}
	training->lists = kept;
}

static IqdbStatus
run_rounds(Training *training, IqdbiTrained *trained, IqdbiScratch *scratch, void *medians, IqdbError *err)
{
	uint32_t rounds = training->ivf->coded_centres ? ROUNDS_CODED : ROUNDS_EXACT;

	for (uint32_t round = 1; round <= rounds; round++)
	{
		fill_model(training, &trained->model, &scratch->code);
		IQDB_TRY(assign_to_lists(training, scratch, &trained->model, err));
		IQDB_TRY(move_to_middles(training, medians, err));
		if (round < rounds)
			reseed_empty_lists(training);
	}
	drop_empty_lists(training);
	return IQDB_OK;
}

static void
one_level(Training *training)
{
	training->supers = 1;
	training->super_lists[0] = 0;
	training->super_lists[1] = training->lists;
	memset(training->super_centres, 0, row_bytes(training));
}

static IqdbStatus
move_all_centres(Training *training, IqdbError *err)
{
	const IqdbAllocator *allocator = &training->host->allocator;
	size_t       pairs = training->count > training->ivf->work_dim ? training->count : training->ivf->work_dim;
	size_t       size = pairs * sizeof(double);
	void        *medians = iqdb_alloc(allocator, size);
	IqdbiTrained trained;
	IqdbiScratch scratch = {0};
	IqdbStatus   status;

	one_level(training);
	status = make_model(training, &trained, err);
	if (status == IQDB_OK)
		status = iqdbi_scratch_init(&scratch, training->ivf, 1, 1, err);
	if (status == IQDB_OK && medians == NULL)
		status = iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for training");
	if (status == IQDB_OK)
		status = run_rounds(training, &trained, &scratch, medians, err);
	iqdbi_scratch_free(&scratch);
	iqdbi_trained_free(training->ivf, &trained);
	iqdb_free(allocator, medians, size);
	one_level(training);
	return status;
}

/* ---- codebooks ---- */

/* A codebook has few words, and those far out would take them all. Returns how many rows are left. */
static size_t
drop_far_out(const Training *training, float *rows, size_t count)
{
	const IqdbiIvf *ivf = training->ivf;
	IqdbPairKernel  dot = ivf->store->kernels->sums[IQDB_SUM_DOT].pair;
	float           most = middle_length2(training, rows, count, ivf->dim) * (MIDDLE_TIMES * MIDDLE_TIMES);
	size_t          kept = 0;

	for (size_t i = 0; i < count && most > 0; i++)
	{
		const float *row = rows + i * ivf->work_stride;

		if (dot(row, row, ivf->dim) <= most)
			memmove(rows + kept++ * ivf->work_stride, row, row_bytes(training));
	}
	return most > 0 ? kept : count;
}

/* Some of the points, spread over all of them, less their centres where differences are coded. */
static IqdbStatus
codebook_points(const Training *training, const IqdbiModel *model, IqdbiScratch *scratch, float *out, size_t *count_out,
				IqdbError *err)
{
	const IqdbiIvf *ivf = training->ivf;
	size_t          step = (training->count + CODEBOOK_SAMPLE - 1) / CODEBOOK_SAMPLE;
	size_t          count = 0;

	for (size_t i = 0; i < training->count; i += step)
	{
		const float *point = training->points + i * ivf->work_stride;
		const float *centre = NULL;
		float       *row = out + count * ivf->work_stride;

		if (count++ % POLL_CODEBOOK == 0 && iqdb_host_cancelled(training->host))
			return iqdb_fail(err, IQDB_ERR_CANCELLED, "training was cancelled");
		if (iqdbi_codes_residuals(ivf))
			centre = model->centres + (size_t) iqdbi_coarse_assign(scratch, model, point, NULL) * ivf->work_stride;
		/* a difference that overflows is nothing to learn from */
		if (!(ivf->kernels->residual(point, 1.0f, centre, ivf->dim, row) <= FLT_MAX))
			memset(row, 0, ivf->dim * sizeof(*row));
	}
	*count_out = drop_far_out(training, out, count);
	return IQDB_OK;
}

static IqdbStatus
train_product(const Training *training, IqdbiModel *model, IqdbiScratch *scratch, IqdbError *err)
{
	const IqdbiIvf *ivf = training->ivf;
	size_t          size = CODEBOOK_SAMPLE * row_bytes(training);
	float          *rows = iqdb_alloc(&training->host->allocator, size);
	IqdbPoints      points = {.rows = rows, .stride = ivf->work_stride, .dim = ivf->dim};
	uint32_t        centres = ivf->pq.centres;
	IqdbPq          pq;
	IqdbStatus      status;

	if (rows == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for learning a codebook");
	status = codebook_points(training, model, scratch, rows, &points.count, err);
	centres = points.count < centres ? (uint32_t) points.count : centres;
	if (status == IQDB_OK)
		status = iqdb_pq_init((uint32_t) ivf->dim, ivf->pq.subvectors, centres, &pq, err);
	if (status == IQDB_OK)
		status = iqdb_pq_train(&pq, ivf->sum, training->host, ivf->store->kernels, &points, CODEBOOK_ITERATIONS,
							   training->seed, model->codebook, err);
	iqdb_free(&training->host->allocator, rows, size);
	return status;
}

static IqdbStatus
train_codebook(const Training *training, IqdbiModel *model, IqdbiScratch *scratch, IqdbError *err)
{
	const IqdbiIvf *ivf = training->ivf;

	if (ivf->rows.coding == IQDBI_CODING_PRODUCT)
		return train_product(training, model, scratch, err);
	if (ivf->rows.coding == IQDBI_CODING_SIGNS)
		iqdb_rotation_draw(training->seed, ivf->dim, model->codebook);
	return IQDB_OK;
}

/* ---- all together ---- */

static IqdbStatus
train(Training *training, uint64_t live, IqdbiTrained *trained_out, IqdbError *err)
{
	IqdbiScratch scratch = {0};
	IqdbStatus   status;

	IQDB_TRY(take_sample(training, live, err));
	if (training->count == 0)
		return IQDB_OK;
	lift_sample(training);
	if (training->lists_max < TWO_STEPS_LISTS)
		IQDB_TRY(find_centres_at_once(training, err));
	else
		IQDB_TRY(find_centres_in_two_steps(training, err));
	if (training->lists_max < TWO_STEPS_LISTS)
		one_level(training);
	else if (training->lists <= IQDBI_ONE_LEVEL_LISTS)
		IQDB_TRY(move_all_centres(training, err));
	IQDB_TRY(make_model(training, trained_out, err));
	status = iqdbi_scratch_init(&scratch, training->ivf, training->supers, 1, err);
	if (status == IQDB_OK)
	{
		fill_model(training, &trained_out->model, &scratch.code);
		status = train_codebook(training, &trained_out->model, &scratch, err);
	}
	iqdbi_scratch_free(&scratch);
	if (status != IQDB_OK)
		iqdbi_trained_free(training->ivf, trained_out);
	return status;
}

IqdbStatus
iqdbi_ivf_train(const IqdbiIvf *ivf, uint32_t lists, IqdbiTrained *trained_out, IqdbError *err)
{
	uint64_t   live = atomic_load_explicit(&ivf->store->header->live_count, memory_order_acquire);
	Training   training = {.ivf = ivf, .host = ivf->store->host, .seed = ivf->store->header->options.seed};
	IqdbStatus status;

	memset(trained_out, 0, sizeof(*trained_out));
	if (live == 0 || lists == 0)
		return IQDB_OK;
	training.effort = ivf->coded_centres && lists <= IQDBI_ONE_LEVEL_LISTS ? &rough : &careful;
	training.room = sample_size(ivf, lists, live);
	training.lists_max = lists < training.room ? lists : (uint32_t) training.room;
	training.supers_max = training.lists_max < TWO_STEPS_LISTS ? 1 : (uint32_t) sqrt((double) training.lists_max);
	status = training_allocate(&training, err);
	if (status == IQDB_OK)
		status = train(&training, live, trained_out, err);
	training_free(&training);
	return status;
}
