/*
 * ivf_error.h - how far the codes of an ivf index are from its vectors: what tests and the bench judge codes by.
 */
#ifndef IQDB_TEST_HARNESS_IVF_ERROR_H
#define IQDB_TEST_HARNESS_IVF_ERROR_H

#include "core/engine/engine.h"

typedef struct IvfError
{
	uint64_t rows;         /* looked at; 0 = nothing is coded */
	double   mean_square;  /* mean of |x - decoded x|^2 / |x - centre of its list|^2 */
	double   worst_square; /* the largest of them */
} IvfError;

/*
 * Rows drawn by seed, of sq8 and pq; without codes, and with bq, which decodes to no vector, rows = 0. Aborts on
 * failure.
 */
IvfError ivf_code_error(IqdbStore *store, uint64_t rows_max, uint64_t seed);

#endif
