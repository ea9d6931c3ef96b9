/*
 * hnsw_centre_private.h - the centre that is subtracted from rows before they are coded.
 */
#ifndef IQDB_HNSW_CENTRE_PRIVATE_H
#define IQDB_HNSW_CENTRE_PRIVATE_H

#include "core/hnsw/hnsw_graph_private.h"

/*
 * Brings the centre to where the rows are, when it is not there, and codes all nodes again; or goes on with that. No lock is
 * held. IQDB_ERR_NOMEM, IQDB_ERR_CANCELLED.
 */
IqdbStatus iqdbi_hnsw_centre_review(const IqdbiHnsw *graph) IQDB_MUST_CHECK;

/* The same when there are many more rows than at the last time. */
IqdbStatus iqdbi_hnsw_centre_when_due(const IqdbiHnsw *graph) IQDB_MUST_CHECK;

#endif
