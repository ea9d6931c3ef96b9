/*
 * hnsw_score_private.h - keys of pairs: on codes for finding the way, on full vectors for answers.
 */
#ifndef IQDB_HNSW_SCORE_PRIVATE_H
#define IQDB_HNSW_SCORE_PRIVATE_H

#include "core/hnsw/hnsw_graph_private.h"

/* What rows are compared with: a query, or a row. */
typedef struct IqdbiTarget
{
	void *memory;   /* for the two that follow */
	void *prepared; /* room for a prepared query; NULL where vectors are such as they are stored */
	void *code;     /* room for what is prepared of it in coded graphs; NULL in others */
	union
	{
		IqdbSq8Query   bytes;
		IqdbSignsQuery signs;
	} query;
	IqdbScorer exact; /* the same by vectors; of a row that is compared by its code the query is NULL until it is needed */
	uint32_t   slot;  /* the row; of a query IQDB_SLOT_NONE */
} IqdbiTarget;

/* Memory of a target. After init, free is to be called in any case, also when init has failed. IQDB_ERR_NOMEM. */
IqdbStatus iqdbi_target_init(const IqdbiHnsw *graph, IqdbiTarget *target) IQDB_MUST_CHECK;
void iqdbi_target_free(const IqdbiHnsw *graph, IqdbiTarget *target);

/*
 * Sets the target, for a walk towards it or for comparing rows with it. A prepared query (vec/element.h), which must
 * stay where it is; or a row as exactly as the graph can tell; or a row as its code says, which costs less to prepare:
 * this is what other rows are compared with when neighbours are chosen. A row is made a prepared query here, once, and
 * not again for each row that is compared with it. The caller holds STRUCTURE. A target is good as long as STRUCTURE is
 * held, and after a pause as long as the epoch has not changed.
 */
void iqdbi_target_query(const IqdbiHnsw *graph, IqdbiTarget *target, const void *query, float norm2);
void iqdbi_target_row(const IqdbiHnsw *graph, IqdbiTarget *target, uint32_t slot);
void iqdbi_target_code(const IqdbiHnsw *graph, IqdbiTarget *target, uint32_t slot);

/*
 * Writes the row's code into its record. `prepared` has graph->prepared_bytes of room for the row's components, may be
 * NULL if these are 0. The caller holds STRUCTURE, and no other process reads the code: no link leads to the node yet,
 * or codes are out of use (header->recode).
 */
void iqdbi_hnsw_encode(const IqdbiHnsw *graph, uint32_t slot, void *prepared);

/* Keys of rows for a walk, by codes where there are codes. They are never infinite and never NaN. STRUCTURE is held. */
void iqdbi_hnsw_score(const IqdbiHnsw *graph, IqdbiTarget *target, const uint32_t *slots, size_t count,
					  float *keys_out);

#endif
