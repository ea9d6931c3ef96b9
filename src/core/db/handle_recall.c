/*
 * handle_recall.c - how well and how fast a database answers, against the exact answer over the same rows.
 */
#include "core/db/handle_private.h"

#include <math.h>
#include <string.h>

typedef struct Measured
{
	double recall;
	double us;       /* of the search */
	double exact_us;
} Measured;

/* The share of the rows wanted that were found: rows no farther than the last of the exact answer. */
static double
share_found(const IqdbResult *found, const IqdbResult *exact)
{
	size_t good = 0;

	if (exact->count == 0)
		return 1;
	for (size_t i = 0; i < found->count; i++)
		good += found->found[i].distance <= exact->found[exact->count - 1].distance;
	return (double) (good < exact->count ? good : exact->count) / (double) exact->count;
}

static IqdbStatus
search_timed(Iqdb *db, const void *query, size_t dim, const IqdbQuery *settings, IqdbResult **result_out, double *us_out,
			 IqdbError *err)
{
	uint64_t start = iqdb_clock_monotonic(NULL);
	uint64_t version;

	IQDB_TRY(iqdbi_handle_search(db, query, dim, settings, result_out, &version, err));
	*us_out = (double) (iqdb_clock_monotonic(NULL) - start) / 1e3;
	return IQDB_OK;
}

static IqdbStatus
measure(Iqdb *db, const void *query, size_t dim, const IqdbQuery *settings, Measured *measured, IqdbError *err)
{
	IqdbQuery   exactly = *settings;
	IqdbResult *exact;
	IqdbResult *found;
	IqdbStatus  status;

	exactly.exact = true;
	exactly.max_rows = 0;
	IQDB_TRY(search_timed(db, query, dim, &exactly, &exact, &measured->exact_us, err));
	status = search_timed(db, query, dim, settings, &found, &measured->us, err);
	if (status == IQDB_OK)
		measured->recall = share_found(found, exact);
	iqdb_result_free(exact);
	iqdb_result_free(found);
	return status;
}

static double
by_time(const Measured *measured)
{
	return measured->us;
}

static double
by_recall(const Measured *measured)
{
	return measured->recall;
}

/* Shell's sort. */
static void
sort_by(Measured *measured, size_t count, double (*value_of)(const Measured *measured))
{
	for (size_t gap = count / 2; gap > 0; gap = gap == 2 ? 1 : gap * 5 / 11)
	{
		for (size_t i = gap; i < count; i++)
		{
			Measured moved = measured[i];
			size_t   to = i;

			for (; to >= gap && value_of(&measured[to - gap]) > value_of(&moved); to -= gap)
				measured[to] = measured[to - gap];
			measured[to] = moved;
		}
	}
}

/* By the nearest rank; the first one for a share of 0. */
static const Measured *
percentile(const Measured *sorted, size_t count, double share)
{
	size_t rank = (size_t) ceil(share * (double) count);

	return &sorted[rank > 0 ? rank - 1 : 0];
}

/* What a mean hides: the worst queries. */
static void
sum_up_recall(Measured *measured, size_t count, IqdbRecall *out)
{
	double found = 0;

	for (size_t i = 0; i < count; i++)
	{
		found += measured[i].recall;
		out->below_half += measured[i].recall < 0.5;
		out->at_zero += measured[i].recall <= 0;
	}
	sort_by(measured, count, by_recall);
	out->mean = found / (double) count;
	out->min = measured[0].recall;
	out->max = measured[count - 1].recall;
	out->p1 = percentile(measured, count, 0.01)->recall;
	out->below_half /= (double) count;
	out->at_zero /= (double) count;
}

static void
sum_up(Measured *measured, size_t count, IqdbRecall *out)
{
	double exact = 0;
	double total = 0;

	out->queries = count;
	sum_up_recall(measured, count, out);
	for (size_t i = 0; i < count; i++)
	{
		exact += measured[i].exact_us;
		total += measured[i].us;
	}
	sort_by(measured, count, by_time);
	out->exact_us = exact / (double) count;
	out->mean_us = total / (double) count;
	out->min_us = measured[0].us;
	out->max_us = measured[count - 1].us;
	out->p50_us = percentile(measured, count, 0.50)->us;
	out->p95_us = percentile(measured, count, 0.95)->us;
	out->p99_us = percentile(measured, count, 0.99)->us;
	out->per_second = total > 0 ? (double) count * 1e6 / total : 0;
}

IqdbStatus
iqdb_recall(Iqdb *db, const void *queries, size_t count, size_t dim, const IqdbQuery *settings, IqdbRecall *recall_out,
			IqdbError *err)
{
	size_t     query_size = iqdb_element_bytes(db->index.store.element, dim);
	size_t     size;
	Measured  *measured;
	IqdbStatus status = IQDB_OK;

	memset(recall_out, 0, sizeof(*recall_out));
	if (count == 0 || settings->k == 0)
		return iqdb_fail(err, IQDB_ERR_CONFIG, "recall needs queries, and a number of rows wanted that is not 0");
	if (!iqdb_mul_size(count, sizeof(*measured), &size) || (measured = iqdb_alloc(&db->host.allocator, size)) == NULL)
		return iqdb_fail(err, IQDB_ERR_NOMEM, "out of memory for %zu queries", count);
	for (size_t i = 0; i < count && status == IQDB_OK; i++)
		status = measure(db, (const unsigned char *) queries + i * query_size, dim, settings, &measured[i], err);
	if (status == IQDB_OK)
	{
		recall_out->k = settings->k;
		sum_up(measured, count, recall_out);
	}
	iqdb_free(&db->host.allocator, measured, size);
	return status;
}
