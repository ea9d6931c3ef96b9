/*
 * hnsw_options_private.h - what the engine says of itself: entries of the table of engine/engine.h, named as there.
 */
#ifndef IQDB_HNSW_OPTIONS_PRIVATE_H
#define IQDB_HNSW_OPTIONS_PRIVATE_H

#include "core/engine/engine.h"

#define IQDBI_HNSW_OPTIONS 3

extern const IqdbOption iqdbi_hnsw_options[IQDBI_HNSW_OPTIONS];

IqdbStatus iqdbi_hnsw_check_options(const IqdbIndexOptions *options, IqdbError *err) IQDB_MUST_CHECK;
void       iqdbi_hnsw_search_work(const IqdbIndexOptions *options, const IqdbSearchParams *params, double rows,
								  IqdbSearchWork *first_out, IqdbSearchWork *further_out);
double     iqdbi_hnsw_build_work(const IqdbIndexOptions *options, double rows);
void       iqdbi_hnsw_visit_stats(const IqdbEngineStats *stats, IqdbNumbersVisit visit, void *arg);

#endif
