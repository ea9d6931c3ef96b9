/*
 * ivf_space_private.h - the space in which cells are cells: how rows and queries get there, and which rows have no place
 * in it (ivf_space.c).
 */
#ifndef IQDB_IVF_IVF_SPACE_PRIVATE_H
#define IQDB_IVF_IVF_SPACE_PRIVATE_H

#include "core/ivf/ivf_arena_private.h"

/* May the row be a member of no list with a centre? radius2: of the model, or infinite for none. */
bool iqdbi_row_is_far(const IqdbiIvf *ivf, float radius2, uint32_t slot, float norm2);
/* The same of a row whose distance to the nearest centre is known: are codes relative to that centre too coarse for it? */
bool iqdbi_row_is_fine(const IqdbiIvf *ivf, float norm2, float key);

/* A row in the space of cells. out: work_stride floats. radius2: of the model; 0: LIFTED does not add its component. */
void iqdbi_work_row(const IqdbiIvf *ivf, float radius2, uint32_t slot, float norm2, float *out);
/* The same of a prepared query, whose additional component is 0. */
void iqdbi_work_query(const IqdbiIvf *ivf, const void *query, float norm2, float *out);

/*
 * Do sums with this prepared query leave the range of single precision, so that no centre and no code tells what is
 * near?
 */
bool iqdbi_query_overflows(const IqdbStore *store, const void *query, float norm2);

/* Has the vector no direction? Only the zero vector has none, and only UNIT asks. */
bool iqdbi_has_no_direction(const IqdbiIvf *ivf, const float *vector, float norm2);

/* Scales a vector to length one. out may be the vector itself. */
void iqdbi_scale_to_one(const IqdbiIvf *ivf, const float *vector, float norm2, float *out);

#endif
