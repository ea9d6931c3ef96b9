/*
 * ivf.h - inverted lists: rows are sorted into cells around trained centres, and a search looks into the cells nearest to
 * the query. See README.md.
 *
 * Beside the contract of engine/engine.h: which cells to look into, and how full they are.
 */
#ifndef IQDB_IVF_IVF_H
#define IQDB_IVF_IVF_H

#include "core/engine/engine.h"

extern const IqdbEngine iqdb_ivf_engine;

/*
 * The least number of lists that together hold at least the share `coverage` of all rows, the longest taken first: 1 for
 * coverage 0 and for an index that is not trained, all lists for coverage 1, never less for more coverage. Takes STRUCTURE
 * shared. Errors: IQDB_ERR_CONFIG (coverage outside 0 .. 1), IQDB_ERR_NOMEM.
 */
IqdbStatus iqdb_ivf_suggest_probes(IqdbStore *store, double coverage, uint32_t *probes_out,
								   IqdbError *err) IQDB_MUST_CHECK;

/* Lists for so many rows: the option, or the automatic number. 0: too few rows to train. */
uint32_t iqdb_ivf_wanted_lists(const IqdbIndexOptions *options, uint64_t rows);

/* Rows in each list, dead ones included, up to capacity lists. Returns how many lists there are; 0 = not trained. */
uint32_t iqdb_ivf_list_sizes(IqdbStore *store, uint64_t *sizes_out, uint32_t capacity);

#endif
