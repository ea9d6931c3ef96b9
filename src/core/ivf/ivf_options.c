/*
 * ivf_options.c - what the engine's users and their planners are told: options, the work of a search and of a build,
 * numbers.
 */
#include "core/ivf/ivf_options_private.h"

#include <math.h>

#include "core/ivf/ivf.h"

#define LISTS_MAX 1000000u
/* Users' numbers are signed in most hosts. */
#define SAMPLE_MAX INT32_MAX

/* Probes where none are named and none were measured. */
#define PROBES_NOT_MEASURED 8
/* Rows ranked by their vectors for the first answers, and for each further one; rows scored for each further one. */
#define RANKED_AT_FIRST 64
#define RANKED_PER_ROW 4
#define SCORED_PER_ROW 40

/* A comparison of codes with centres that lie packed in cache, in distances to rows that wait for memory. */
#define CENTRE_WORK (1.0 / 40)

const IqdbOption iqdbi_ivf_options[IQDBI_IVF_OPTIONS] = {
	{"lists", "Number of lists, 0 = automatic", offsetof(IqdbIndexOptions, lists), 0, LISTS_MAX, 0, true},
	{"probes", "Lists that a search opens first, 0 = automatic", offsetof(IqdbIndexOptions, probes), 0, LISTS_MAX, 0, false},
	{"training_sample", "Rows that lists are trained on", offsetof(IqdbIndexOptions, training_sample), 1, SAMPLE_MAX, 65536,
	 false},
	{"pq_subvectors", "Parts a vector is cut into by pq, 0 = automatic", offsetof(IqdbIndexOptions, pq_subvectors), 0,
	 IQDB_DIMENSION_MAX, 0, true},
	{"refine", "Rows re-ranked exactly per row wanted", offsetof(IqdbIndexOptions, refine), 0, 10000, 4, false},
};

IqdbStatus
iqdbi_ivf_check_options(const IqdbIndexOptions *options, IqdbError *err)
{
	if (options->lists > 0)
		IQDB_TRY(iqdb_option_check_range("probes", options->probes, 0, options->lists, err));
	if (options->quantization == IQDB_QUANTIZATION_PQ && options->pq_subvectors != 0 &&
		options->dimension % options->pq_subvectors != 0)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "option pq_subvectors is %u, it must divide the dimension %u",
						 options->pq_subvectors, options->dimension);
	return IQDB_OK;
}

/* The centres, of which about half are looked at in two steps, and the rows of the lists that are opened. */
void
iqdbi_ivf_search_work(const IqdbIndexOptions *options, const IqdbSearchParams *params, double rows,
					  IqdbSearchWork *first_out, IqdbSearchWork *further_out)
{
	double lists = iqdb_ivf_wanted_lists(options, (uint64_t) rows);
	double probes = params->probes > 0 ? params->probes : PROBES_NOT_MEASURED;
	double scored = lists > 0 ? lists / 2 + rows * fmin(probes / lists, 1) : rows;
	double ranked = fmin(RANKED_AT_FIRST, rows);

	*first_out = (IqdbSearchWork){.in_a_row = fmin(scored, rows), .alone = ranked, .ranked = ranked};
	*further_out = (IqdbSearchWork){.alone = fmin(SCORED_PER_ROW, rows), .ranked = RANKED_PER_ROW};
}

/* Each row is compared with centres once to find its list, and some rounds for those that centres are trained on. */
double
iqdbi_ivf_build_work(const IqdbIndexOptions *options, double rows)
{
	double lists = iqdb_ivf_wanted_lists(options, (uint64_t) rows);
	double compared = lists <= 2048 ? lists : 512 + sqrt(lists);
	double sample = fmin(options->training_sample, 48.0 * lists) / fmax(rows, 1);

	return 10 + compared * CENTRE_WORK * (1 + 5 * fmin(sample, 1));
}

void
iqdbi_ivf_visit_stats(const IqdbEngineStats *stats, IqdbNumbersVisit visit, void *arg)
{
	const struct
	{
		const char *name;
		double      number;
	} numbers[] = {
		{"lists", stats->lists},
		{"probes", stats->probes},
		{"list_min", (double) stats->list_min},
		{"list_max", (double) stats->list_max},
		{"list_mean", stats->list_mean},
		{"trained", stats->trained},
		{"trained_rows", (double) stats->trained_rows},
		{"newcomers", (double) stats->newcomers},
		{"drift", stats->drift},
		{"outgrown", stats->outgrown},
	};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		visit(arg, numbers[i].name, &numbers[i].number, 1);
}
