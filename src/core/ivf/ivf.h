/*
 * ivf.h - inverted lists: rows are sorted into cells around trained centres, and a search looks into the cells nearest to
 * the query. See README.md.
 *
 * Beside the contract of engine/engine.h: which cells to look into, how full they are, how wrong the codes are.
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

/* Probes that a search takes when neither it nor the index names a number; 0 while the index is not trained. */
uint32_t iqdb_ivf_automatic_probes(const IqdbStore *store);

/* Rows in each list, dead ones included, up to capacity lists. Returns how many lists there are; 0 = not trained. */
uint32_t iqdb_ivf_list_sizes(IqdbStore *store, uint64_t *sizes_out, uint32_t capacity);

/* How far the codes are from the vectors, over rows drawn by seed. */
typedef struct IqdbIvfError
{
	uint64_t rows;         /* looked at; 0 = nothing is coded */
	double   mean_square;  /* mean of |x - decoded x|^2 / |x - centre of its list|^2 */
	double   worst_square; /* the largest of them */
} IqdbIvfError;

/*
 * Figures for sq8 and pq; an index without codes, and one with bq (which decodes to no vector), has rows = 0.
 * Errors: IQDB_ERR_NOMEM.
 */
IqdbStatus iqdb_ivf_code_error(IqdbStore *store, uint64_t rows_max, uint64_t seed, IqdbIvfError *error_out,
							   IqdbError *err) IQDB_MUST_CHECK;

#endif
