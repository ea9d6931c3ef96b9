/*
 * ivf_kernels_private.h - inner loops over the codes of a block (ivf_kernels.c).
 */
#ifndef IQDB_IVF_IVF_KERNELS_PRIVATE_H
#define IQDB_IVF_IVF_KERNELS_PRIVATE_H

#include "core/vec/kernels.h"

#define IQDBI_BLOCK_ROWS 32u
#define IQDBI_LISTS_MAX 1000000u

/* Keys of a block's rows from the sums of its codes: (offset + base) + scale * (weight * sum + shift). */
typedef struct IqdbiLine
{
	float base;
	float weight;
	float shift;
} IqdbiLine;

typedef struct IqdbiIvfKernels
{
	/* sums[i] = sum of tables[sub][nibble sub of row i]; 32 rows; tables: 2 * pairs times 16 bytes */
	void (*nibbles)(const uint8_t *codes, size_t pairs, const uint8_t *tables, int32_t *sums_out);

	/*
	 * Keys of 32 rows; returns the bits of those that are not above limit. scales NULL: all 1; offsets NULL: all 0. Keys
	 * of rows that do not exist are some numbers.
	 */
	uint32_t (*finish)(const int32_t *sums, const float *scales, const float *offsets, const IqdbiLine *line,
					   float limit, float *keys_out);

	/* Floats from their upper halves, 32 of them; those of rows that do not exist are some numbers. */
	void (*widen)(const uint16_t *halves, float *out);

	/* The largest |a[i] * factor - b[i]|, and these differences; b NULL = 0. */
	float (*residual)(const float *a, float factor, const float *b, size_t dim, float *out);

	/* out[i] = round(in[i] * inverse) + plus, as a byte; returns the sum and the sum of squares without plus. */
	void (*round)(const float *in, size_t dim, float inverse, int32_t plus, uint8_t *out, int32_t *sum_out,
				  int32_t *squares_out);
} IqdbiIvfKernels;

/* What runs beside a table of vec/kernels.h: the results are the same bit for bit. */
const IqdbiIvfKernels *iqdbi_ivf_kernels(const IqdbKernels *kernels);

#endif
