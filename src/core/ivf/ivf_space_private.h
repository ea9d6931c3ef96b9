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

/* Into the space of cells: COSINE scales to length one, DOT adds a component. out: work_stride floats. */
void iqdbi_work_vector(const IqdbiIvf *ivf, float radius2, const float *vector, float norm2, float *out);
/* The same for a query: for DOT the additional component is 0. */
void iqdbi_work_query(const IqdbiIvf *ivf, const float *vector, float norm2, float *out);

/* Has the vector no direction? Only the zero vector under COSINE has none. */
bool iqdbi_has_no_direction(const IqdbiIvf *ivf, const float *vector, float norm2);

/* Scales a vector to length one. Only COSINE has need of it. */
void iqdbi_scale_to_one(const IqdbiIvf *ivf, const float *vector, float norm2, float *out);

#endif
