/*
 * hnsw_options.c - what the engine's users and their planners are told: options, the work of a search and of a build,
 * numbers.
 */
#include "core/hnsw/hnsw_options_private.h"

#include <math.h>

/* Rows scored for each row that a search goes on for. */
#define SCORED_PER_ROW 70
/* Rows ranked by their vectors for the first answers, and for each further one. */
#define RANKED_AT_FIRST 64
#define RANKED_PER_ROW 4

const IqdbOption iqdbi_hnsw_options[IQDBI_HNSW_OPTIONS] = {
	{"m", "Max number of connections", offsetof(IqdbIndexOptions, m), 2, 128, 16, true},
	{"ef_construction", "Size of the dynamic candidate list for construction", offsetof(IqdbIndexOptions, ef_construction), 4,
	 4000, 200, false},
	{"ef_search", "Size of the dynamic candidate list for search", offsetof(IqdbIndexOptions, ef_search), 1, 100000, 64, false},
};

IqdbStatus
iqdbi_hnsw_check_options(const IqdbIndexOptions *options, IqdbError *err)
{
	if (options->ef_construction < 2 * options->m)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "ef_construction must be greater than or equal to 2 * m");
	return IQDB_OK;
}

/* Greedy descent through the layers, then the beam; neighbours seen before are not scored again. */
void
iqdbi_hnsw_search_work(const IqdbIndexOptions *options, const IqdbSearchParams *params, double rows,
					   IqdbSearchWork *first_out, IqdbSearchWork *further_out)
{
	double ef = fmax(params->ef > 0 ? params->ef : options->ef_search, (double) params->expected);
	double layers = log(fmax(rows, 2)) / log(fmax(options->m, 2));
	double scored = layers * options->m + ef * options->m * 1.2 + ef;

	*first_out = (IqdbSearchWork){.alone = fmin(scored, rows), .ranked = fmin(RANKED_AT_FIRST, rows)};
	*further_out = (IqdbSearchWork){.alone = fmin(SCORED_PER_ROW, rows), .ranked = RANKED_PER_ROW};
}

/* A beam of ef_construction, most neighbours of which were seen before, and the choice among them. */
double
iqdbi_hnsw_build_work(const IqdbIndexOptions *options, double rows)
{
	return fmin(rows, options->ef_construction * (2.0 + options->m * 0.35)) + options->m * 16.0;
}

void
iqdbi_hnsw_visit_stats(const IqdbEngineStats *stats, IqdbNumbersVisit visit, void *arg)
{
	double levels[sizeof(stats->level_count) / sizeof(stats->level_count[0])];
	size_t count = 0;
	double twins = (double) stats->twins;
	double unreachable = (double) stats->unreachable;
	double unrepaired = (double) stats->unrepaired;

	for (; count < stats->levels && count < sizeof(levels) / sizeof(levels[0]); count++)
		levels[count] = (double) stats->level_count[count];
	visit(arg, "levels", levels, count);
	visit(arg, "twins", &twins, 1);
	visit(arg, "unreachable", &unreachable, 1);
	visit(arg, "unrepaired", &unrepaired, 1);
}
