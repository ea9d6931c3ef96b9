/*
 * packed.h - sums over codes of a byte, or half of one, of sixteen rows that lie interleaved.
 *
 * A group of 16 rows holds, for each four dimensions (a quad), 64 bytes: four of row 0, four of row 1, ... so that one
 * instruction adds four products for each of 16 rows, and nothing has to be added across at the end (Andre, Kermarrec,
 * Le Scouarnec, "Cache locality is not enough", VLDB 2015, for the idea of transposed blocks). What stands behind the
 * last dimension of the last quad counts with the weight that the query gives it: zero.
 *
 * A group may be written while it is summed: sums of the rows concerned are then some numbers, which callers drop.
 */
#ifndef IQDB_QUANT_PACKED_H
#define IQDB_QUANT_PACKED_H

#include "core/vec/kernels.h"

#define IQDB_PACKED_ROWS 16u
#define IQDB_PACKED_QUAD_BYTES 64u
#define IQDB_PACKED_QUERIES 8u

typedef struct IqdbPackedKernels
{
	/*
	 * sums_out[i] = start + dot(code of row i, query) for 16 * groups rows; codes unsigned, query signed: 4 * quads bytes.
	 * Exact in 32 bits up to IQDB_DIMENSION_MAX. Needs no alignment.
	 */
	void (*dot)(const uint8_t *codes, size_t quads, size_t groups, const int8_t *query, int32_t start,
				int32_t *sums_out);

	/*
	 * Two groups and IQDB_PACKED_QUERIES queries, which lie behind one another, 4 * quads bytes each: sums_out[32 * q + i] =
	 * starts[q] + dot(code of row i, query q). The codes are read once for all queries.
	 */
	void (*dot_many)(const uint8_t *codes, size_t quads, const int8_t *queries, const int32_t *starts,
					 int32_t *sums_out);

	/*
	 * The same as dot for codes of four bits: 64 bytes of a group are eight dimensions (an octet), the first four in the low
	 * halves of the bytes, the others in the high ones; query: 8 * octets bytes.
	 */
	void (*dot_halves)(const uint8_t *codes, size_t octets, size_t groups, const int8_t *query, int32_t start,
					   int32_t *sums_out);
} IqdbPackedKernels;

/* What runs beside a table of vec/kernels.h. All tables give the same sums. */
const IqdbPackedKernels *iqdb_packed_kernels(const IqdbKernels *kernels);

static inline size_t
iqdb_packed_quads(size_t dim)
{
	return (dim + 3) / 4;
}

/* Of codes of half a byte. */
static inline size_t
iqdb_packed_octets(size_t dim)
{
	return (dim + 7) / 8;
}

#endif
