/*
 * ivf_model_private.h - what one training learned: centres, the level above them, codebook (ivf_model.c).
 */
#ifndef IQDB_IVF_IVF_MODEL_PRIVATE_H
#define IQDB_IVF_IVF_MODEL_PRIVATE_H

#include "core/base/carve.h"
#include "core/ivf/ivf_arena_private.h"

/* One result of training: its figures, and pointers to what they count, in the arena or in private memory. */
typedef struct IqdbiModel
{
	IqdbiFigures   figures;
	float         *centres;       /* lists times work_stride */
	float         *mean;          /* work_stride: middle of the centres, what packed codes are relative to */
	float         *codebook;
	float         *super_centres; /* supers times work_stride */
	uint32_t      *super_lists;   /* supers + 1: lists of cell i are super_lists[i] .. super_lists[i + 1] - 1 */
	uint32_t      *super_starts;  /* supers + 1: the same for blocks */
	unsigned char *packed;        /* coarse_blocks */
	unsigned char *super_packed;  /* super_blocks */
} IqdbiModel;

/* Blocks that packed centres of these cells need, by cell; starts_out may be NULL. */
uint32_t iqdbi_model_blocks(const uint32_t *super_lists, uint32_t supers, uint32_t *starts_out);

/* Bytes of a model with these figures, a multiple of 64; SIZE_MAX: more than there can be. */
size_t iqdbi_model_size(const IqdbiIvf *ivf, const IqdbiFigures *figures);

/*
 * Takes private memory for a model of the figures that are set, and points into it. false: there is none. Freed by
 * iqdb_carve_free().
 */
bool iqdbi_model_alloc(const IqdbiIvf *ivf, IqdbiModel *model, IqdbCarve *memory);

/* The model of an edition. The caller holds STRUCTURE, or is the process that maintains. */
void iqdbi_model_view(const IqdbiIvf *ivf, uint32_t edition, IqdbiModel *model_out);

#endif
