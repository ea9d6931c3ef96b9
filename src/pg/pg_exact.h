/*
 * pg_exact.h - a search without the index: every row of its table, by distance.
 *
 * For statements whose plan has an index for which there is no room any more. Slow, but right; the next plan leaves the
 * index out.
 */
#ifndef IQDB_PG_EXACT_H
#define IQDB_PG_EXACT_H

#include "pg/pg_row.h"

typedef struct IqdbPgExact IqdbPgExact;

/* Reads and sorts the table within the current memory context, as far as work_mem goes. The query is not kept. */
extern IqdbPgExact *iqdb_pg_exact_begin(Relation index, Relation heap, IqdbMetric metric, bool zero_last,
										const IqdbPgRowForm *form, const void *query);

/* The next nearest row; false behind the last. */
extern bool iqdb_pg_exact_next(IqdbPgExact *exact, uint64 *id_out, double *distance_out);

extern void iqdb_pg_exact_end(IqdbPgExact *exact);

#endif
