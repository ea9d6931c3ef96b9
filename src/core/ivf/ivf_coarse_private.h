/*
 * ivf_coarse_private.h - from a vector to its nearest lists (ivf_coarse.c), and the memory that this and coding take
 * (ivf_scratch.c).
 */
#ifndef IQDB_IVF_IVF_COARSE_PRIVATE_H
#define IQDB_IVF_IVF_COARSE_PRIVATE_H

#include "core/base/carve.h"
#include "core/engine/stretch.h"
#include "core/ivf/ivf_model_private.h"
#include "core/ivf/ivf_pick_private.h"

/* Scratch for coding and for looking for lists; one allocation. */
typedef struct IqdbiScratch
{
	const IqdbiIvf *ivf;
	IqdbCarve       memory;
	float          *work; /* IQDBI_COARSE_ROWS times work_stride: vectors in the space of cells */
	IqdbiCode       code;
	int8_t         *query; /* byte codes of the vectors that look for lists */
	uint32_t       *ids;   /* nearest lists after iqdbi_coarse_nearest */
	float          *keys;
	IqdbiPick       pick;
	IqdbiPick       super_pick;
	uint32_t        wanted_max;
} IqdbiScratch;

/* For models of at most so many cells above the lists, and at most wanted_max nearest lists. */
IqdbStatus iqdbi_scratch_init(IqdbiScratch *scratch, const IqdbiIvf *ivf, uint32_t supers_max, uint32_t wanted_max,
							  IqdbError *err) IQDB_MUST_CHECK;
void iqdbi_scratch_free(IqdbiScratch *scratch);

/* Lists compared exactly when so many are wanted. */
static inline size_t
iqdbi_coarse_candidates(size_t wanted)
{
	return wanted + wanted / 4 + 4;
}

/* Packs the model's centres (and those of the cells above); the other fields are set. */
void iqdbi_model_pack(const IqdbiIvf *ivf, IqdbiModel *model, IqdbiCode *code);

/*
 * The `wanted` lists nearest to a vector in the space of cells, nearest first, in scratch->ids; fewer when there are
 * fewer. With a second level the answer is approximate unless all lists are wanted. The caller holds STRUCTURE shared,
 * or is the process that maintains. stretch: the hold of STRUCTURE, which is interrupted when it has lasted long
 * enough; NULL: it is not, and nothing fails. Where it became stale there is no answer, and *count_out is 0.
 * IQDB_ERR_CANCELLED, STRUCTURE being held.
 */
IqdbStatus iqdbi_coarse_nearest(IqdbiScratch *scratch, const IqdbiModel *model, const float *work, uint32_t wanted,
								IqdbStretch *stretch, uint32_t *count_out) IQDB_MUST_CHECK;

/* The list for a row (in the space of cells), and its distance to the centre (NULL: not asked for). */
uint32_t iqdbi_coarse_assign(IqdbiScratch *scratch, const IqdbiModel *model, const float *work, float *key_out);

/* Rows that are looked up at once. */
#define IQDBI_COARSE_ROWS IQDB_PACKED_QUERIES

/*
 * The same for up to IQDBI_COARSE_ROWS rows, work_stride floats apart, in a fraction of the time where centres are
 * packed on one level. exactly: as iqdbi_coarse_assign does; else (with packed centres) by the estimated distances
 * alone.
 */
void iqdbi_coarse_assign_rows(IqdbiScratch *scratch, const IqdbiModel *model, const float *works, size_t rows,
							  bool exactly, uint32_t *lists_out, float *keys_out);

#endif
