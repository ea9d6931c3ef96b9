/*
 * ivf_exact_private.h - scanning all rows (ivf_exact.c).
 */
#ifndef IQDB_IVF_IVF_EXACT_PRIVATE_H
#define IQDB_IVF_IVF_EXACT_PRIVATE_H

#include "core/base/topk.h"
#include "core/engine/engine.h"

/* One pass over slots: the best of top->capacity rows. */
typedef struct IqdbiExact
{
	const IqdbStore     *store;
	const float         *query;
	float                query_norm2;
	const IqdbFilter    *filter;  /* NULL = none */
	const unsigned char *seen;    /* bit per slot: passed over; NULL = none */
	uint32_t             first;   /* slots looked at: from this on, */
	uint32_t             slots;   /* and below this */
	const IqdbCandidate *bound;   /* only rows behind it; NULL = all */
	uint64_t             max_rows;
	IqdbSearchStats     *stats;
	IqdbTopK            *top;
} IqdbiExact;

/* Takes STRUCTURE shared in stretches. true in *gave_up_out: max_rows was reached. Errors: NOMEM, CANCELLED. */
IqdbStatus iqdbi_exact_pass(const IqdbiExact *exact, bool *gave_up_out, IqdbError *err) IQDB_MUST_CHECK;

static inline bool
iqdbi_seen(const unsigned char *seen, uint32_t slot)
{
	return seen != NULL && (seen[slot / 8] >> (slot % 8) & 1) != 0;
}

#endif
