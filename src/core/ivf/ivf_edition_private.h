/*
 * ivf_edition_private.h - editions: when a newly trained model with its lists takes the place of the one before
 * (ivf_edition.c), filling its lists (ivf_fill.c), measuring how many of them to probe (ivf_probes.c).
 */
#ifndef IQDB_IVF_IVF_EDITION_PRIVATE_H
#define IQDB_IVF_IVF_EDITION_PRIVATE_H

#include "core/ivf/ivf_arena_private.h"

/* One process at a time trains or cleans, "maintains"; begin() returns false while another does. */
bool iqdbi_maintain_begin(const IqdbiIvf *ivf);
void iqdbi_maintain_end(const IqdbiIvf *ivf);

/* Trains with all rows and puts the result in place. The caller maintains. Too few rows: nothing happens. */
IqdbStatus iqdbi_ivf_retrain(const IqdbiIvf *ivf, IqdbError *err) IQDB_MUST_CHECK;
/*
 * Makes edition 0, whose figures and centres stand in the arena, current, with the rows in the lists that `where` names
 * (the number of a list per slot, or IQDBI_NOWHERE; `slots` of them). No edition was current before, and no other
 * process uses the index yet.
 */
IqdbStatus iqdbi_ivf_adopt(const IqdbiIvf *ivf, const uint32_t *where, uint32_t slots, IqdbError *err) IQDB_MUST_CHECK;

/* Bytes of region WORK for so many slots and lists. */
uint64_t iqdbi_fill_bytes(uint64_t slots, uint64_t lists);

/*
 * Puts the rows of slots below `slots` and sequences below horizon, whose home words are PENDING, into the lists of an
 * edition that does not count yet: those that where names (a number per slot), or (NULL) those of the nearest centres.
 * The caller maintains; other processes may assist. Takes STRUCTURE, ROWS and ENGINE. Errors: IQDB_ERR_NOMEM,
 * IQDB_ERR_LIMIT, IQDB_ERR_CANCELLED; some rows may be in lists then, and no process works at it any more.
 */
IqdbStatus iqdbi_fill_edition(const IqdbiIvf *ivf, uint32_t edition, uint32_t slots, uint64_t horizon,
							  const uint32_t *where, IqdbError *err) IQDB_MUST_CHECK;

/* assist() of the contract. */
IqdbStatus iqdbi_ivf_assist(IqdbStore *store, bool *worked_out, IqdbError *err) IQDB_MUST_CHECK;

/* Sets the probes of an edition whose lists are filled with rows of slots below `slots`. Takes STRUCTURE in stretches. */
IqdbStatus iqdbi_ivf_measure_probes(const IqdbiIvf *ivf, uint32_t edition, uint32_t slots,
									IqdbError *err) IQDB_MUST_CHECK;

#endif
