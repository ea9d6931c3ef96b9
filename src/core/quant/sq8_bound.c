/*
 * sq8_bound.c - see sq8_bound.h.
 *
 * Owns: coding of rows and queries, and the interval. Does not own: sums of codes (packed.c), where codes lie (engines).
 *
 * Rows are coded by one text in vectors of the compiler, compiled for several instruction sets: the same additions in the
 * same order give the same bytes everywhere. Rows may be written while they are judged (packed.h): hence
 * no_sanitize_thread.
 */
#include "core/quant/sq8_bound.h"

#include <math.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define BOUND_X86 1
#define AVX2 __attribute__((target("avx2")))
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))
#endif

#define SCANS_BLOCKS __attribute__((no_sanitize_thread))
#define INLINE static inline __attribute__((always_inline))

/* Rounding of one float operation. */
#define UNIT 5.9604644775390625e-8

/* More than n operations do, and 64 more. */
#define SLACK(n) ((double) ((n) + 64) * UNIT)

/* Squared lengths beyond which sums may overflow; below which COSINE loses digits. */
#define SQUARE_MAX 1e30f
#define SQUARE_MIN 1e-30f

/* Largest components that get a scale; less is error as a whole. */
#define SCALED_MIN 1e-30

/* Added to lengths, and to ends of intervals: more than all underflow of floats. */
#define LENGTH_MIN 1e-18
#define KEY_MIN 1e-37

#define CODE_MAX 127.0
#define CODE_ZERO 128
/* what the lower four bits are taken for */
#define COARSE_ZERO (CODE_ZERO - 7.5f)
/* high and low byte of a query's component: 256 * 127 */
#define QUERY_MAX 32512.0

/* Rounding of a query's interval: its terms meet in few operations. */
#define REACH_FACTOR (1.0 + 1e-5)

bool
iqdb_bound_possible(IqdbMetric metric)
{
	return metric == IQDB_METRIC_L2 || metric == IQDB_METRIC_DOT || metric == IQDB_METRIC_COSINE;
}

bool
iqdb_bound_row_possible(IqdbMetric metric, float norm2)
{
	return norm2 <= SQUARE_MAX && (metric != IQDB_METRIC_COSINE || norm2 >= SQUARE_MIN);
}

float
iqdb_bound_length(const float *vector, size_t dim)
{
	double square = 0.0;

	for (size_t i = 0; i < dim; i++)
		square += (double) vector[i] * (double) vector[i];
	return (float) (sqrt(square) * (1.0 + 4.0 * UNIT));
}

/* The share of |y| in the error of a row's byte code, and in that of its coarse one. */
static double
size_share(size_t dim)
{
	double share = 4.0 * SLACK(dim);

	return share > 0x1p-11 ? share : 0x1p-11;
}

static double
coarse_share(size_t dim)
{
	double share = 4.0 * SLACK(dim);

	return share > 0x1p-7 ? share : 0x1p-7;
}

/* ---- rows ---- */

#define LANES 16

typedef float   Lanes __attribute__((vector_size(64)));
typedef int32_t WordLanes __attribute__((vector_size(64)));
typedef uint8_t ByteLanes __attribute__((vector_size(16)));

/* Added to a float of at most 22 bits, makes its low byte that of the nearest whole number. */
#define ROUNDER 12582912.0f

/* A float with these bits, the lowest of which are n, is COUNTER + n. */
#define COUNTER_BITS 0x4b000000
#define COUNTER 8388608.0f

typedef struct Moments
{
	double largest; /* |y_i| */
	double square;  /* |y|^2 */
	double product; /* <y, m> */
} Moments;

/* Up to 16 floats, the rest zero. */
INLINE void
load_lanes(const float *from, size_t left, Lanes *lanes_out)
{
	Lanes lanes = {0};

	memcpy(&lanes, from, left < LANES ? left * sizeof(float) : sizeof(lanes));
	*lanes_out = lanes;
}

INLINE void
centred_lanes(const float *vector, float factor, const float *centre, size_t left, Lanes *y_out, Lanes *m_out)
{
	Lanes x;

	if (left >= LANES)
	{
		memcpy(&x, vector, sizeof(x));
		memcpy(m_out, centre, sizeof(*m_out));
	}
	else
	{
		load_lanes(vector, left, &x);
		load_lanes(centre, left, m_out);
	}
	*y_out = x * factor - *m_out;
}

INLINE double
add_lanes(const Lanes *lanes)
{
	float  each[LANES];
	double sum = 0.0;

	memcpy(each, lanes, sizeof(each));
	for (int i = 0; i < LANES; i++)
		sum += (double) each[i];
	return sum;
}

INLINE void
find_moments(const float *vector, float factor, const float *centre, size_t dim, Moments *moments_out)
{
	const WordLanes no_sign = (WordLanes){0} + 0x7fffffff;
	WordLanes       largest = {0};
	Lanes           square = {0};
	Lanes           product = {0};
	float           each[LANES];

	for (size_t i = 0; i < dim; i += LANES)
	{
		Lanes     y;
		Lanes     m;
		WordLanes magnitude;
		WordLanes more;

		centred_lanes(vector + i, factor, centre + i, dim - i, &y, &m);
		/* floats without a sign are in the order of their bits */
		magnitude = (WordLanes) y & no_sign;
		more = magnitude > largest;
		largest = (magnitude & more) | (largest & ~more);
		square += y * y;
		product += y * m;
	}
	memcpy(each, &largest, sizeof(each));
	moments_out->largest = 0.0;
	for (int i = 0; i < LANES; i++)
		moments_out->largest = (double) each[i] > moments_out->largest ? (double) each[i] : moments_out->largest;
	moments_out->square = add_lanes(&square);
	moments_out->product = add_lanes(&product);
}

/* Four bits of each of 16 bytes: the first four bytes in the low halves of four, the next four in their high halves. */
INLINE void
write_coarse(const uint32_t *words, size_t octets, uint8_t *at)
{
	for (size_t octet = 0; octet < octets; octet++, at += IQDB_PACKED_QUAD_BYTES)
	{
		uint32_t word = (words[2 * octet] >> 4 & UINT32_C(0x0f0f0f0f)) | (words[2 * octet + 1] & UINT32_C(0xf0f0f0f0));

		memcpy(at, &word, sizeof(word));
	}
}

/* The low bytes. Only the widest instructions have one for it, and what compilers make of it for others is slow. */
INLINE void
pack_bytes(const bool wide, const WordLanes *lanes, uint32_t *words_out)
{
	uint32_t each[LANES];

	if (wide)
	{
		ByteLanes bytes = __builtin_convertvector(*lanes, ByteLanes);

		memcpy(words_out, &bytes, sizeof(bytes));
		return;
	}
	memcpy(each, lanes, sizeof(each));
	for (size_t i = 0; i < LANES; i += 4)
	{
		unsigned char bytes[4] = {(unsigned char) each[i], (unsigned char) each[i + 1], (unsigned char) each[i + 2],
								  (unsigned char) each[i + 3]};

		memcpy(&words_out[i / 4], bytes, sizeof(bytes));
	}
}

/* Squared lengths of what the codes leave out. */
typedef struct Residuals
{
	double coarse;
	double fine;
} Residuals;

INLINE Residuals
write_code(const bool wide, const float *vector, float factor, const float *centre, size_t dim, float scale, float inverse,
		   const IqdbBoundPlace *place)
{
	const WordLanes turn = (WordLanes){0} + CODE_ZERO;
	const size_t    octets = iqdb_packed_octets(dim);
	Lanes           fine = {0};
	Lanes           coarse = {0};

	for (size_t i = 0; i < dim; i += LANES)
	{
		size_t    first = i / 8;
		Lanes     y;
		Lanes     m;
		Lanes     rounded;
		Lanes     residual;
		WordLanes code;
		uint32_t  words[LANES / 4];

		centred_lanes(vector + i, factor, centre + i, dim - i, &y, &m);
		rounded = y * inverse + ROUNDER;
		code = (WordLanes) rounded ^ turn;
		residual = y - (rounded - ROUNDER) * scale;
		fine += residual * residual;
		residual = y - ((Lanes) ((code & 0xf0) | COUNTER_BITS) - COUNTER - COARSE_ZERO) * scale;
		coarse += residual * residual;
		pack_bytes(wide, &code, words);
		memcpy(place->code + i, words, dim - i < LANES ? dim - i : sizeof(words));
		write_coarse(words, octets - first < 2 ? 1 : 2,
					 place->group + first * IQDB_PACKED_QUAD_BYTES + 4 * place->lane);
	}
	return (Residuals){.coarse = add_lanes(&coarse), .fine = add_lanes(&fine)};
}

/* A row without a bound: its codes are zero. */
static void
give_up(size_t dim, const IqdbBoundPlace *place)
{
	memset(place->code, CODE_ZERO, dim);
	for (size_t octet = 0; octet < iqdb_packed_octets(dim); octet++)
		memset(place->group + octet * IQDB_PACKED_QUAD_BYTES + 4 * place->lane, CODE_ZERO | CODE_ZERO >> 4, 4);
	place->rows->scale[place->lane] = 0.0f;
	place->rows->add[place->lane] = 0.0f;
	place->rows->coarse_error[place->lane] = INFINITY;
	place->rows->error[place->lane] = INFINITY;
}

/* One code's error as a row keeps it. size is at least |y|. */
static float
error_of(IqdbMetric metric, size_t dim, double residual2, double size, double share)
{
	double error = sqrt(residual2) * (1.0 + SLACK(dim)) + LENGTH_MIN;

	/* rounding of y and of the residual; of x / |x|, which has length 1 */
	error += 4.0 * UNIT * (size + error + (metric == IQDB_METRIC_COSINE ? 1.0 : 0.0));
	return (float) ((error + share * (size + error)) * (1.0 + 4.0 * UNIT));
}

INLINE void
encode(const bool wide, IqdbMetric metric, const IqdbBoundCentre *centre, const float *vector, float norm2, size_t dim,
	   const IqdbBoundPlace *place)
{
	float         factor = metric == IQDB_METRIC_COSINE ? (float) (1.0 / sqrt((double) norm2)) : 1.0f;
	float         scale = 0.0f;
	float         inverse = 0.0f;
	IqdbBoundRows *rows = place->rows;
	double        size;
	Residuals     residuals;
	Moments       moments;

	find_moments(vector, factor, centre->vector, dim, &moments);
	if (moments.largest >= SCALED_MIN)
	{
		scale = (float) (moments.largest / CODE_MAX);
		inverse = (float) (CODE_MAX / moments.largest);
	}
	residuals = write_code(wide, vector, factor, centre->vector, dim, scale, inverse, place);
	size = sqrt(moments.square) * (1.0 + SLACK(dim)) + LENGTH_MIN;
	rows->scale[place->lane] = scale;
	rows->add[place->lane] = (float) (metric == IQDB_METRIC_L2 ? moments.square : -moments.product);
	rows->coarse_error[place->lane] = error_of(metric, dim, residuals.coarse, size, coarse_share(dim));
	rows->error[place->lane] = error_of(metric, dim, residuals.fine, size, size_share(dim));
}

/* One instruction set's. For AVX2 compilers make nothing better of these vectors than of the baseline. */
#define DEFINE_ENCODE(target, name, wide) \
	target static void \
	name(IqdbMetric metric, const IqdbBoundCentre *centre, const float *vector, float norm2, size_t dim, \
		 const IqdbBoundPlace *place) \
	{ \
		if (iqdb_bound_row_possible(metric, norm2)) \
			encode(wide, metric, centre, vector, norm2, dim, place); \
		else \
			give_up(dim, place); \
	}

DEFINE_ENCODE(, encode_plain, false)
#ifdef BOUND_X86
DEFINE_ENCODE(AVX512, encode_avx512, true)
#endif

/* ---- queries ---- */

/* What is found of p = q - m on the way. */
typedef struct Turned
{
	double length;  /* |p| */
	double given;   /* |q| */
	double product; /* <m, q> */
	double error;   /* |rho| */
	double coarse_error; /* the same of the high bytes alone */
} Turned;

static double
largest_difference(const float *vector, double factor, const float *centre, size_t dim)
{
	double largest = 0.0;

	for (size_t i = 0; i < dim; i++)
	{
		double magnitude = fabs((double) vector[i] * factor - (double) centre[i]);

		largest = magnitude > largest ? magnitude : largest;
	}
	return largest;
}

static Turned
code_query(const float *vector, double factor, const float *centre, size_t dim, double scale, int8_t *high,
		   int8_t *low, IqdbBoundQuery *query)
{
	double  square = 0.0;
	double  given = 0.0;
	double  product = 0.0;
	double  error = 0.0;
	double  coarse_error = 0.0;
	int32_t high_sum = 0;
	int32_t low_sum = 0;

	for (size_t i = 0; i < dim; i++)
	{
		double  q = (double) vector[i] * factor;
		double  p = q - (double) centre[i];
		double  ratio = scale > 0.0 ? p / scale : 0.0;
		int32_t code;

		ratio = ratio > QUERY_MAX ? QUERY_MAX : ratio < -QUERY_MAX ? -QUERY_MAX : ratio;
		code = (int32_t) lrint(ratio);
		/* low in -128 .. 127 */
		high[i] = (int8_t) ((code + 32768 + 128) / 256 - 128);
		low[i] = (int8_t) (code - 256 * high[i]);
		high_sum += high[i];
		low_sum += low[i];
		square += p * p;
		given += q * q;
		product += q * (double) centre[i];
		error += (p - scale * (double) code) * (p - scale * (double) code);
		coarse_error += (p - scale * 256.0 * (double) high[i]) * (p - scale * 256.0 * (double) high[i]);
	}
	query->starts[0] = -CODE_ZERO * high_sum;
	query->starts[1] = -CODE_ZERO * low_sum;
	query->coarse_start = COARSE_ZERO / -16.0f * (float) high_sum;
	return (Turned){.length = sqrt(square),
					.given = sqrt(given),
					.product = product,
					.error = sqrt(error),
					.coarse_error = sqrt(coarse_error)};
}

/* Not less than |p|, nor than what the share of |y| in a row's error must pay for. */
static float
reach_of(IqdbMetric metric, double length, double beside, double share)
{
	double reach = beside / share > length ? beside / share : length;

	return (float) (reach * REACH_FACTOR * (metric == IQDB_METRIC_L2 ? 2.0 : 1.0));
}

/* Ends of the intervals as sq8_bound.h derives them. */
static void
set_query(IqdbMetric metric, size_t dim, double centre_length, const Turned *turned, IqdbBoundQuery *query)
{
	double slack = SLACK(dim);
	double length = turned->length * (1.0 + UNIT) + LENGTH_MIN;
	double beside = LENGTH_MIN + UNIT * UNIT * (length + turned->given);
	double base;
	double play;
	double add_slack;

	if (metric == IQDB_METRIC_L2)
	{
		base = turned->length * turned->length;
		play = 4.0 * slack * base;
		add_slack = 4.0 * slack;
	}
	else
	{
		base = (metric == IQDB_METRIC_COSINE ? 1.0 : 0.0) - turned->product;
		play = 2.0 * slack * centre_length * turned->given + (metric == IQDB_METRIC_COSINE ? 16.0 * UNIT : 0.0);
		add_slack = 0.0;
		beside += 2.0 * slack * (turned->given + centre_length + length);
	}
	query->reach = reach_of(metric, length, beside + turned->error * (1.0 + UNIT), size_share(dim));
	/* sums of coarse codes are large beside their differences, and floats at once */
	query->coarse_reach = reach_of(metric, length, beside + turned->coarse_error * (1.0 + UNIT) + 128.0 * UNIT * length,
								   coarse_share(dim));
	query->base[0] = (float) (base - play - KEY_MIN);
	query->base[1] = (float) (base + play + KEY_MIN);
	query->add_weight[0] = (float) (1.0 - add_slack);
	query->add_weight[1] = (float) (1.0 + add_slack);
}

bool
iqdb_bound_query(IqdbMetric metric, const IqdbBoundCentre *centre, const float *vector, float norm2, size_t dim,
				 int8_t *code_out, IqdbBoundQuery *query_out)
{
	size_t bytes = iqdb_bound_query_bytes(dim) / 2;
	double factor = metric == IQDB_METRIC_COSINE ? 1.0 / sqrt((double) norm2) : 1.0;
	double largest;
	float  scale;
	Turned turned;

	if (!iqdb_bound_possible(metric) || !iqdb_bound_row_possible(metric, norm2))
		return false;
	memset(code_out, 0, 2 * bytes);
	largest = largest_difference(vector, factor, centre->vector, dim);
	scale = largest >= SCALED_MIN ? (float) (largest / QUERY_MAX) : 0.0f;
	turned = code_query(vector, factor, centre->vector, dim, (double) scale, code_out, code_out + bytes, query_out);
	query_out->codes[0] = code_out;
	query_out->codes[1] = code_out + bytes;
	query_out->weight = metric == IQDB_METRIC_L2 ? -2.0f * scale : -scale;
	query_out->coarse_weight = 16.0f * 256.0f * query_out->weight;
	set_query(metric, dim, (double) centre->length, &turned, query_out);
	return true;
}

/* ---- intervals ---- */

IqdbBoundInterval
iqdb_bound_interval(const IqdbBoundQuery *query, int32_t high_sum, int32_t low_sum, const IqdbBoundRows *rows,
					uint32_t lane)
{
	float sum = 256.0f * (float) (high_sum + query->starts[0]) + (float) (low_sum + query->starts[1]);
	float middle = rows->scale[lane] * (query->weight * sum);
	float play = rows->error[lane] * query->reach;

	return (IqdbBoundInterval){
		.lower = query->base[0] + query->add_weight[0] * rows->add[lane] + middle - play,
		.upper = query->base[1] + query->add_weight[1] * rows->add[lane] + middle + play,
	};
}

SCANS_BLOCKS static uint32_t
judge_plain(const IqdbBoundQuery *query, const int32_t *sums, const IqdbBoundRows *rows, float nearest, float farthest,
			float *lower_out)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < IQDB_PACKED_ROWS; i++)
	{
		float middle = rows->scale[i] * (query->coarse_weight * ((float) sums[i] + query->coarse_start));
		float play = rows->coarse_error[i] * query->coarse_reach;
		float lower = query->base[0] + query->add_weight[0] * rows->add[i] + middle - play;
		float upper = query->base[1] + query->add_weight[1] * rows->add[i] + middle + play;

		lower_out[i] = lower;
		kept |= (uint32_t) !(lower > farthest || upper < nearest) << i;
	}
	return kept;
}

#ifdef BOUND_X86

AVX2 SCANS_BLOCKS static uint32_t
judge_avx2(const IqdbBoundQuery *query, const int32_t *sums, const IqdbBoundRows *rows, float nearest, float farthest,
		   float *lower_out)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < IQDB_PACKED_ROWS; i += 8)
	{
		__m256 sum = _mm256_cvtepi32_ps(_mm256_loadu_si256((const __m256i *) (const void *) (sums + i)));
		__m256 middle = _mm256_mul_ps(_mm256_set1_ps(query->coarse_weight),
									  _mm256_add_ps(sum, _mm256_set1_ps(query->coarse_start)));
		__m256 play = _mm256_mul_ps(_mm256_loadu_ps(rows->coarse_error + i), _mm256_set1_ps(query->coarse_reach));
		__m256 add = _mm256_loadu_ps(rows->add + i);
		__m256 ends[2];
		__m256 out;

		middle = _mm256_mul_ps(_mm256_loadu_ps(rows->scale + i), middle);
		for (int end = 0; end < 2; end++)
			ends[end] = _mm256_add_ps(_mm256_add_ps(_mm256_set1_ps(query->base[end]),
													_mm256_mul_ps(_mm256_set1_ps(query->add_weight[end]), add)),
									  middle);
		ends[0] = _mm256_sub_ps(ends[0], play);
		ends[1] = _mm256_add_ps(ends[1], play);
		_mm256_storeu_ps(lower_out + i, ends[0]);
		out = _mm256_or_ps(_mm256_cmp_ps(ends[0], _mm256_set1_ps(farthest), _CMP_GT_OQ),
						   _mm256_cmp_ps(ends[1], _mm256_set1_ps(nearest), _CMP_LT_OQ));
		kept |= (uint32_t) (~_mm256_movemask_ps(out) & 0xff) << i;
	}
	return kept;
}

AVX512 SCANS_BLOCKS static uint32_t
judge_avx512(const IqdbBoundQuery *query, const int32_t *sums, const IqdbBoundRows *rows, float nearest, float farthest,
			 float *lower_out)
{
	__m512 sum = _mm512_add_ps(_mm512_cvtepi32_ps(_mm512_loadu_si512(sums)), _mm512_set1_ps(query->coarse_start));
	__m512 middle = _mm512_mul_ps(_mm512_loadu_ps(rows->scale), _mm512_mul_ps(_mm512_set1_ps(query->coarse_weight), sum));
	__m512 play = _mm512_mul_ps(_mm512_loadu_ps(rows->coarse_error), _mm512_set1_ps(query->coarse_reach));
	__m512 add = _mm512_loadu_ps(rows->add);
	__m512 ends[2];

	for (int end = 0; end < 2; end++)
		ends[end] = _mm512_add_ps(_mm512_add_ps(_mm512_set1_ps(query->base[end]),
												_mm512_mul_ps(_mm512_set1_ps(query->add_weight[end]), add)),
								  middle);
	ends[0] = _mm512_sub_ps(ends[0], play);
	ends[1] = _mm512_add_ps(ends[1], play);
	_mm512_storeu_ps(lower_out, ends[0]);
	return (uint32_t) (uint16_t) ~(_mm512_cmp_ps_mask(ends[0], _mm512_set1_ps(farthest), _CMP_GT_OQ) |
								   _mm512_cmp_ps_mask(ends[1], _mm512_set1_ps(nearest), _CMP_LT_OQ));
}

#endif

IqdbBoundKernels
iqdb_bound_kernels(const IqdbKernels *kernels)
{
	IqdbBoundKernels bound = {.encode = encode_plain, .judge = judge_plain, .packed = iqdb_packed_kernels(kernels)};

#ifdef BOUND_X86
	if (strncmp(kernels->name, "avx512", 6) == 0)
	{
		bound.encode = encode_avx512;
		bound.judge = judge_avx512;
	}
	else if (strcmp(kernels->name, "avx2") == 0)
		bound.judge = judge_avx2;
#endif
	return bound;
}
