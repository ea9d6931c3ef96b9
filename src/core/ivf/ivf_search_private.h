/*
 * ivf_search_private.h - the stream of hits (ivf_stream.c) and one batch of it (ivf_search.c).
 */
#ifndef IQDB_IVF_IVF_SEARCH_PRIVATE_H
#define IQDB_IVF_IVF_SEARCH_PRIVATE_H

#include "core/base/topk.h"
#include "core/engine/engine.h"
#include "core/engine/strategy.h"

typedef struct IqdbiIvfCursor
{
	IqdbCursor     base;
	IqdbTopK       top;        /* the current batch; sorted when it is complete */
	size_t         at;         /* next row to hand out */
	size_t         wanted;     /* rows the batch keeps */
	size_t         ready;      /* rows that may be handed out before the deferred ones are ranked */
	IqdbCandidate *deferred;   /* chosen by codes, not ranked yet; NULL = none */
	size_t         deferred_count;
	size_t         deferred_room;
	size_t         goal;       /* rows handed out in all when this batch is, */
	size_t         given;      /* by the batches before it, */
	size_t         hand;       /* and from this one, beginning with its first row */
	uint32_t       probes;     /* lists it looks into at least; 0 = not known yet */
	bool           named;      /* by the caller or the index: no more lists than needed */
	bool           opened_all; /* there was no list that it did not look into */
	bool           started;
	bool           exact;      /* the rest comes from scans of all rows */
	bool           exhausted;  /* nothing stands behind the current batch */
	bool           bounded;
	IqdbCandidate  bound;      /* last row of the batch before, when that was exact too */
	unsigned char *seen;       /* bit per slot: handed out by an earlier batch; NULL = none was */
	uint32_t       seen_slots;
	IqdbStrategy   strategy;   /* of the filter, if there is one */
	double         price_of_row; /* that a list has, in the prices of the strategy */
	bool           asks_first; /* rows of lists are asked for the filter before their codes are compared */
} IqdbiIvfCursor;

/* Rows whose exact keys are computed by one call. */
#define IQDBI_EXACT_ROWS 256u

/* Rows handed out at least from the lists that were opened first. */
#define IQDBI_GOAL_LEAST 12u

/* Rows the caller will probably take: as many as it expects, or a number that is enough for most callers. */
size_t iqdbi_rows_expected(const IqdbiIvfCursor *cursor);
/* Of these, rows that are ranked so well at first that they can be handed out. */
size_t iqdbi_rows_at_first(const IqdbiIvfCursor *cursor);
/* Rows kept by their codes for so many to be handed out; all of them, or fewer, are ranked by their vectors. */
size_t iqdbi_rows_to_rank(const IqdbiIvfCursor *cursor, size_t expected);
/* Has it scored as many rows as the caller allows? */
bool iqdbi_gave_up(const IqdbiIvfCursor *cursor);
/* What a search of the lists may be expected to take, in the prices of engine/strategy.h. (ivf_matching.c) */
double iqdbi_price_of_lists(const IqdbiIvfCursor *cursor);

/* Are rows to be asked for the filter before their codes are compared? The strategy has been weighed. */
bool iqdbi_asks_first(const IqdbiIvfCursor *cursor);

/* Price of meeting a row in a list, and of a list shared by its rows. */
double iqdbi_price_of_row(IqdbStore *store);

/*
 * One batch into cursor->top, in no order, and the rows that are ranked later into cursor->deferred. cursor->exact is
 * set where all lists would be opened, or there are none, or where an exact pass has become the cheaper way: then nothing of
 * the batch is good. true in *stale_out: another edition became
 * current meanwhile, and the batch is to be tried again.
 * Takes STRUCTURE shared in stretches. Errors: NOMEM, CANCELLED.
 */
IqdbStatus iqdbi_batch_probe(IqdbiIvfCursor *cursor, bool *stale_out, IqdbError *err) IQDB_MUST_CHECK;

IqdbStatus iqdbi_ivf_cursor_start(IqdbCursor *cursor, IqdbError *err);
IqdbStatus iqdbi_ivf_cursor_next(IqdbCursor *cursor, IqdbHit *hits, size_t capacity, size_t *count_out,
								 IqdbError *err);
void iqdbi_ivf_cursor_end(IqdbCursor *cursor);

#endif
