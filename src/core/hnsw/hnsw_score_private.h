/*
 * hnsw_score_private.h - keys of pairs: on codes for finding the way, on full vectors for answers.
 */
#ifndef IQDB_HNSW_SCORE_PRIVATE_H
#define IQDB_HNSW_SCORE_PRIVATE_H

#include "core/hnsw/hnsw_graph_private.h"

/* Something that rows are compared with: a query, or a row. */
typedef struct IqdbiTarget
{
	void *code; /* memory of coded graphs, NULL in others */
	union
	{
		IqdbSq8Query   bytes;
		IqdbSignsQuery signs;
	} query;
	IqdbScorer exact; /* the same by vectors; the norm of a row whose graph is coded is set when it is needed */
	uint32_t   slot;  /* of a row, else IQDB_SLOT_NONE */
} IqdbiTarget;

/* Memory of a target. Whoever called init calls free, also when init failed. */
IqdbStatus iqdbi_target_init(const IqdbiHnsw *graph, IqdbiTarget *target) IQDB_MUST_CHECK;
void iqdbi_target_free(const IqdbiHnsw *graph, IqdbiTarget *target);

/*
 * What a walk goes towards: a query; a row, as well as the graph can tell. And a row as its code says, which costs little:
 * what other rows are compared with when neighbours are chosen. All hold as long as STRUCTURE is held, and behind that as
 * long as the epoch does not change.
 */
void iqdbi_target_query(const IqdbiHnsw *graph, IqdbiTarget *target, const float *vector, float norm2);
void iqdbi_target_row(const IqdbiHnsw *graph, IqdbiTarget *target, uint32_t slot);
void iqdbi_target_code(const IqdbiHnsw *graph, IqdbiTarget *target, uint32_t slot);

/* Codes a row. Nobody knows the node yet, or STRUCTURE is held exclusively. */
void iqdbi_hnsw_encode(const IqdbiHnsw *graph, uint32_t slot);

/* Traversal keys of rows: never infinite, never NaN. */
void iqdbi_hnsw_score(const IqdbiHnsw *graph, const IqdbiTarget *target, const uint32_t *slots, size_t count,
					  float *keys_out);

#endif
