/*
 * signs.h - vectors as one bit per component: the signs of what is left of a row less a centre, after a rotation.
 *
 * Gao, Long, "RaBitQ: Quantizing High-Dimensional Vectors with a Theoretical Error Bound for Approximate Nearest Neighbor
 * Search", SIGMOD 2024. A row x (COSINE: x / |x|) is y = R (x - centre), R a rotation drawn once; its code is s = sign(y).
 * For any z = R (q - centre)
 *
 *   <x - centre, q - centre> = <y, z> ~ scale * <s, z>      scale = |y|^2 / |y|_1
 *
 * which is exact for q = x and has no bias over rotations otherwise. A query's z is held in IQDB_SIGNS_PLANES bits a
 * component, as odd numbers: z_i ~ step * sum over k of 2^k t_ik, t_ik = -1 or 1. So t_k is a plane of bits like the code
 * is, and <s, z> a weighted count of the bits in which the planes differ from the code. Keys are, with z's own terms (base):
 *
 *   L2     |y|^2 + |z|^2 - 2 <y, z>             COSINE: half of it
 *   DOT    -<y, z> - <x - centre, centre>       less what is the same for all rows
 *
 * Of two rows by their codes alone the angle is known: the share of components whose signs differ is angle / pi in the mean
 * (Charikar, "Similarity Estimation Techniques from Rounding Algorithms", STOC 2002), so that
 *
 *   <y, z> ~ |y| |z| sin(pi / 2 * <s_y, s_z> / width)      |y| ~ scale_y * sqrt(2 / pi * width)
 *
 * Without the sine near rows would seem nearer than they are, which matters where distances are compared by a ratio.
 *
 * R is three rounds of random flips of signs, each followed by Walsh-Hadamard transforms (Ailon, Chazelle, "The fast
 * Johnson-Lindenstrauss transform", SIAM J. Comput. 2009) of the first and of the last so many components as are a power
 * of two. Rows are filled up with zeros to iqdb_signs_width() components before: more signs than there are components make
 * the code finer, as if there were several rotations, and those that fill a cache line cost next to nothing.
 *
 * Keys are good for finding a way, not for an answer. Codes and sums are the same bits whatever the kernels.
 *
 * That is how graphs code. Inverted lists have rotation and signs from here, too (IqdbSignsKernels), but rotate in dim
 * components, and have a centre for each list: core/ivf/ivf_code.c.
 */
#ifndef IQDB_QUANT_SIGNS_H
#define IQDB_QUANT_SIGNS_H

#include <stdatomic.h>
#include <string.h>

#include "core/vec/kernels.h"

/* Bits of a query's component. */
#define IQDB_SIGNS_PLANES 6u

/* It is an odd number from minus this to this. */
#define IQDB_SIGNS_LEVEL_MAX 63

#define IQDB_SIGNS_ROUNDS 3u

/* What a row needs beside its bits. */
typedef struct IqdbSignsRow
{
	float scale;
	float own; /* L2: |y|^2; COSINE: half of it, and 1/2 more for a zero row; DOT: -dot(x - centre, centre) */
} IqdbSignsRow;

_Static_assert(sizeof(IqdbSignsRow) == 8, "as long as a word of a code");

/* A query made ready; see iqdb_signs_key. */
typedef struct IqdbSignsQuery
{
	const uint64_t *planes; /* each a code's words, the lowest plane first: the caller's memory */
	uint32_t        plane_count;
	float           base;
	float           weight; /* of row.scale * sum; of two rows: * the sine */
	float           share;  /* of two rows: 1 / width, else 0 */
} IqdbSignsQuery;

/* Of a rotated vector. */
typedef struct IqdbSignsSize
{
	float square;   /* |y|^2 */
	float absolute; /* |y|_1 */
	float largest;  /* of the sizes of its components */
} IqdbSignsSize;

struct IqdbSketch;
struct IqdbSketchQuery;

typedef struct IqdbSignsKernels
{
	/*
	 * values_out = R (factor * vector - centre), width floats, out of dim; centre NULL = 0; flips: for that width. Any width
	 * from dim on will do.
	 */
	void (*rotate)(const float *vector, float factor, const float *centre, const float *flips, size_t dim, size_t width,
				   float *values_out);
	/* Of a multiple of 8 floats. */
	void (*measure)(const float *values, size_t width, IqdbSignsSize *size_out);
	/* The sum of the components of other, each with the sign of that of values; a multiple of 8 floats. */
	float (*along)(const float *values, const float *other, size_t width);
	void (*signs)(const float *values, size_t words, uint64_t *code_out);
	/* The planes of values * steps, which lie between the ends of the levels or are moved there. */
	void (*levels)(const float *values, float steps, size_t words, uint64_t *planes_out);

	/*
	 * sums_out[i] = sum over components of sign * (sum over k < plane_count of 2^k t_k) for the code of so many words that
	 * begins at base + slots[i] * stride, 8-byte aligned. plane_count: 1 .. IQDB_SIGNS_PLANES.
	 */
	void (*sums)(const uint64_t *planes, uint32_t plane_count, const unsigned char *base, size_t stride,
				 const uint32_t *slots, size_t count, size_t words, int32_t *sums_out);

	/*
	 * Leaves of the slots, which are numbers of sketches, those whose bound is not greater than `farthest`, and those without
	 * a sketch; returns how many are left, in their order. Sketches of slots to come are fetched meanwhile.
	 */
	size_t (*near)(const struct IqdbSketchQuery *query, const struct IqdbSketch *sketches, float farthest, uint32_t *slots,
				   size_t count);
} IqdbSignsKernels;

/* What runs beside a table of vec/kernels.h. All tables give the same bits. */
const IqdbSignsKernels *iqdb_signs_kernels(const IqdbKernels *kernels);

/* How rows of a set are coded. */
typedef struct IqdbSigns
{
	const IqdbSignsKernels *kernels;
	IqdbMetric              metric;
	size_t                  dim;
	const float            *centre; /* dim floats; COSINE: a centre of rows of length one */
	const float            *flips;  /* iqdb_signs_flips(dim) floats, from iqdb_signs_draw */
} IqdbSigns;

/* DOT, L2 and COSINE. */
bool iqdb_signs_possible(IqdbMetric metric);

/* Bits of a code: at least dim, and as many as fill cache lines together with an IqdbSignsRow. */
static inline size_t
iqdb_signs_width(size_t dim)
{
	return (dim + 64 + 511) / 512 * 512 - 64;
}

#define IQDB_SIGNS_WIDTH_MAX ((IQDB_DIMENSION_MAX + 64 + 511) / 512 * 512 - 64)

/* 64-bit words of a code. */
static inline size_t
iqdb_signs_words(size_t dim)
{
	return iqdb_signs_width(dim) / 64;
}

/* Bytes of a query's planes. */
static inline size_t
iqdb_signs_query_bytes(size_t dim)
{
	return IQDB_SIGNS_PLANES * iqdb_signs_words(dim) * sizeof(uint64_t);
}

/* Floats that say what the rotation of so many components is. */
static inline size_t
iqdb_rotation_flips(size_t width)
{
	return IQDB_SIGNS_ROUNDS * width;
}

/* Draws a rotation of so many components: 1 or -1 each. */
void iqdb_rotation_draw(uint64_t seed, size_t width, float *flips_out);

static inline size_t
iqdb_signs_flips(size_t dim)
{
	return iqdb_rotation_flips(iqdb_signs_width(dim));
}

/* Draws the rotation for codes of rows of so many dimensions. */
static inline void
iqdb_signs_draw(uint64_t seed, size_t dim, float *flips_out)
{
	iqdb_rotation_draw(seed, iqdb_signs_width(dim), flips_out);
}

/*
 * Codes dim floats. norm2 is dot(vector, vector), read for COSINE only. code_out: iqdb_signs_words(dim). Never fails:
 * whatever the floats, the code is some code. Uses up to 64 KiB of stack.
 */
void iqdb_signs_encode(const IqdbSigns *signs, const float *vector, float norm2, uint64_t *code_out,
					   IqdbSignsRow *row_out);

/* A query from full-precision floats. planes_out: iqdb_signs_query_bytes(dim) that must live as long as the query. */
void iqdb_signs_query(const IqdbSigns *signs, const float *vector, float norm2, uint64_t *planes_out,
					  IqdbSignsQuery *query_out);

/* A query from a coded row, so that distances between rows need codes only. The code must live as long as the query. */
void iqdb_signs_query_of_row(const IqdbSigns *signs, const uint64_t *code, const IqdbSignsRow *row,
							 IqdbSignsQuery *query_out);

/* sin(pi / 2 * x) for -1 <= x <= 1, to 2e-4. */
static inline float
iqdb_signs_sine(float x)
{
	float x2 = x * x;

	return x * (1.5707963f + x2 * (-0.6459641f + x2 * (0.0796926f - x2 * 0.0046818f)));
}

/* Rank key from the sum of the kernel. */
static inline float
iqdb_signs_key(const IqdbSignsQuery *query, const IqdbSignsRow *row, int32_t sum)
{
	float along = (float) sum;

	if (query->share > 0.0f)
		along = iqdb_signs_sine(along * query->share);
	return query->base + row->own + query->weight * row->scale * along;
}

/* ---- sketches ---------------------------------------------------------------------------------------------------- */

/*
 * A sketch is the first IQDB_SKETCH_WORDS words of a code, with the row's scalars: so short that those of very many rows can
 * be read in order. It says how near a row is at best: the sum over so few of the width's components, taken for all of them,
 * is off by a normal deviate of sqrt(pi / 2 - share) |y| |z| / sqrt(bits), where share is that of the components that are
 * summed up (a whole code has 0.756 there). So a key with `slack` deviations taken off is a bound that few rows undercut. |y|
 * is known by the row's scale, which makes the slack a constant beside the sum.
 */
#define IQDB_SKETCH_WORDS 2u
#define IQDB_SKETCH_BITS (64 * IQDB_SKETCH_WORDS)

typedef struct IqdbSketch
{
	uint64_t         bits[IQDB_SKETCH_WORDS];
	float            scale;
	_Atomic uint32_t own; /* the bits of a float: IqdbSignsRow.own, or NaN: there is no sketch. Written last, read first */
} IqdbSketch;

typedef struct IqdbSketchQuery
{
	uint64_t planes[IQDB_SIGNS_PLANES * IQDB_SKETCH_WORDS];
	float    base;
	float    weight; /* of sketch.scale * (sum + slack) */
	float    slack;
} IqdbSketchQuery;

/* The width of rotations that are made for nothing but sketches. */
static inline size_t
iqdb_sketch_width(size_t dim)
{
	return dim > IQDB_SKETCH_BITS ? (dim + 63) / 64 * 64 : IQDB_SKETCH_BITS;
}

/* Says that there is no sketch: key bounds are NaN from now on. */
void iqdb_sketch_clear(IqdbSketch *sketch_out);

/* Of floats, with signs->flips for a rotation of `width` components. */
void iqdb_sketch_encode(const IqdbSigns *signs, size_t width, const float *vector, float norm2, IqdbSketch *sketch_out);

/* A query, as iqdb_signs_query() takes it, and how many deviations its bounds lie below what the sums say. */
void iqdb_sketch_query(const IqdbSigns *signs, size_t width, const float *vector, float norm2, float slack,
					   IqdbSketchQuery *query_out);

static inline float
iqdb_sketch_own(const IqdbSketch *sketch)
{
	uint32_t bits = atomic_load_explicit(&sketch->own, memory_order_acquire);
	float    own;

	memcpy(&own, &bits, sizeof(own));
	return own;
}

/* The least key that the row may have, by its own term, which was read before, and the sum of the kernel. */
static inline float
iqdb_sketch_bound(const IqdbSketchQuery *query, const IqdbSketch *sketch, float own, int32_t sum)
{
	return query->base + own + query->weight * sketch->scale * ((float) sum + query->slack);
}

#endif
