/*
 * hnsw_centre_private.h - the centre that is subtracted from rows before they are coded.
 */
#ifndef IQDB_HNSW_CENTRE_PRIVATE_H
#define IQDB_HNSW_CENTRE_PRIVATE_H

#include "core/hnsw/hnsw_graph_private.h"

/*
 * Moves the centre to the mean of the rows when it is not near there, and codes all nodes again; goes on with that
 * where it was cancelled. The caller holds no lock. IQDB_ERR_NOMEM, IQDB_ERR_CANCELLED.
 */
IqdbStatus iqdbi_hnsw_centre_review(const IqdbiHnsw *graph) IQDB_MUST_CHECK;

/* The same, but only when there are many more rows than at the last review, or coding again was cancelled. */
IqdbStatus iqdbi_hnsw_centre_when_due(const IqdbiHnsw *graph) IQDB_MUST_CHECK;

#endif
