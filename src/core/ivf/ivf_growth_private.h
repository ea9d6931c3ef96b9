/*
 * ivf_growth_private.h - when an index is to be trained by itself (ivf_growth.c), and linking of single rows (ivf_link.c).
 */
#ifndef IQDB_IVF_IVF_GROWTH_PRIVATE_H
#define IQDB_IVF_IVF_GROWTH_PRIVATE_H

#include "core/ivf/ivf_model_private.h"

/* Are there so many rows that link() should train? */
bool iqdbi_growth_is_first_due(const IqdbiIvf *ivf);

/* Does what was trained suit the number of rows that are there? */
bool iqdbi_growth_fits(const IqdbiIvf *ivf);

/* Has the index grown far beyond what it was trained for, or drifted? */
bool iqdbi_growth_is_outgrown(const IqdbiIvf *ivf);

/* Mean distance to their centres of the rows linked since training, 1 = as those trained with; 0 = there are none. */
double iqdbi_growth_drift(const IqdbiIvf *ivf);

/* Notes a row that was linked after training, and its distance to the centre. */
void iqdbi_growth_note(const IqdbiIvf *ivf, const IqdbiModel *model, float key);

/*
 * Links the row in the current edition, if there is one and the row waits for it. Takes STRUCTURE shared, and the locks
 * inside it.
 */
IqdbStatus iqdbi_row_link(const IqdbiIvf *ivf, uint32_t slot, bool *linked_out, IqdbError *err) IQDB_MUST_CHECK;

/* Links up to max_rows rows that wait; adds their number to *linked_out. Errors: also IQDB_ERR_CANCELLED. */
IqdbStatus iqdbi_rows_link(const IqdbiIvf *ivf, uint64_t max_rows, uint64_t *linked_out, IqdbError *err) IQDB_MUST_CHECK;

#endif
