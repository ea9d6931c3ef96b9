/*
 * pg_sample.h - what share of an index's rows lies within a distance, for the planner: its own guess is a third.
 */
#ifndef IQDB_PG_SAMPLE_H
#define IQDB_PG_SAMPLE_H

#include "utils/rel.h"

/*
 * By some rows spread over the index: those within of a query, or, where it is not known (NULL), of other rows, as if queries
 * were like rows. below: distance < bound, else distance <= bound. Some ten microseconds. False if the index is not open, has
 * its vectors on disk, or no rows: then nobody knows.
 */
extern bool iqdb_pg_sample_within(Relation index, const Datum *query, double bound, bool below, double *share_out);

#endif
