/*
 * ivf_options_private.h - what the engine says of itself: entries of the table of engine/engine.h, named as there.
 */
#ifndef IQDB_IVF_OPTIONS_PRIVATE_H
#define IQDB_IVF_OPTIONS_PRIVATE_H

#include "core/engine/engine.h"

#define IQDBI_IVF_OPTIONS 5

extern const IqdbOption iqdbi_ivf_options[IQDBI_IVF_OPTIONS];

IqdbStatus iqdbi_ivf_check_options(const IqdbIndexOptions *options, IqdbError *err) IQDB_MUST_CHECK;
void       iqdbi_ivf_search_work(const IqdbIndexOptions *options, const IqdbSearchParams *params, double rows,
								 IqdbSearchWork *first_out, IqdbSearchWork *further_out);
double     iqdbi_ivf_build_work(const IqdbIndexOptions *options, double rows);
void       iqdbi_ivf_visit_stats(const IqdbEngineStats *stats, IqdbNumbersVisit visit, void *arg);

#endif
