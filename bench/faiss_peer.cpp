/*
 * faiss_peer.cpp - the figures of core_ivf.c for faiss' inverted files, for a comparison in one run.
 *
 * usage: faiss_peer BASE QUERIES [lists=0] [rows=0] [seconds=1] [probes=1,2,...] [kind=flat|sq8|pq]
 *
 * Squared L2, one thread. lists=0: as many as core_ivf.c chooses. flat: IndexIVFFlat. sq8: IndexIVFScalarQuantizer, 8
 * bits, rows re-ranked by IndexRefineFlat. pq: IndexIVFPQFastScan, 4 bits a pair of dimensions, re-ranked likewise.
 * Re-ranking keeps as many rows, and training takes as many points a list, as in core_ivf.c. Without a kind: all three.
 * Needs Debian's libfaiss-dev, and is not part of the build. Debian's library is compiled for any processor of its kind.
 */
#include "sets.h"

#include <faiss/IndexFlat.h>
#include <faiss/IndexIVFFlat.h>
#include <faiss/IndexIVFPQFastScan.h>
#include <faiss/IndexRefine.h>
#include <faiss/IndexScalarQuantizer.h>
#include <faiss/utils/distances.h>
#include <omp.h>

#include <algorithm>
#include <climits>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

namespace
{

const int64_t K = 10;

std::unique_ptr<faiss::IndexIVF>
make(const std::string &kind, faiss::IndexFlatL2 *coarse, size_t dim, size_t lists)
{
	if (kind == "flat")
		return std::make_unique<faiss::IndexIVFFlat>(coarse, dim, lists);
	if (kind == "sq8")
		return std::make_unique<faiss::IndexIVFScalarQuantizer>(coarse, dim, lists, faiss::ScalarQuantizer::QT_8bit);
	return std::make_unique<faiss::IndexIVFPQFastScan>(coarse, dim, lists, dim / 2, 4);
}

std::vector<int64_t>
find_truth(const Set &base, const Set &queries)
{
	faiss::IndexFlatL2        flat(static_cast<int64_t>(base.dim));
	std::vector<int64_t> ids(queries.count * K);
	std::vector<float>        distances(queries.count * K);

	flat.add(static_cast<int64_t>(base.count), base.rows);
	flat.search(static_cast<int64_t>(queries.count), queries.rows, K, distances.data(), ids.data());
	return ids;
}

void
run(const std::string &kind, const Set &base, const Set &queries, const std::vector<int64_t> &truth, size_t lists,
	const char *probes, double seconds)
{
	faiss::IndexFlatL2               coarse(static_cast<int64_t>(base.dim));
	std::unique_ptr<faiss::IndexIVF> lists_index = make(kind, &coarse, base.dim, lists);
	faiss::IndexRefineFlat           refined(lists_index.get());
	faiss::Index                    *index = kind == "flat" ? static_cast<faiss::Index *>(lists_index.get()) : &refined;
	double                           start = set_spent();
	double                           recall = 0;
	size_t                           bytes;

	lists_index->cp.max_points_per_centroid = 48;
	refined.k_factor = kind == "sq8" ? 3.2f : 4.8f;
	index->train(static_cast<int64_t>(base.count), base.rows);
	index->add(static_cast<int64_t>(base.count), base.rows);
	bytes = lists_index->code_size + 8 + (kind == "flat" ? 0 : base.dim * sizeof(float));
	std::printf("faiss ivf %s: %zu rows, dimension %zu, %zu lists\n", kind.c_str(), base.count, base.dim, lists);
	std::printf("build %.2f s, %zu bytes per row and centres\n", set_spent() - start, bytes);
	while (*probes != '\0' && recall < 0.998)
	{
		double begin = set_spent();
		double best = 1e9;
		size_t found;

		lists_index->nprobe = set_next_number(&probes);
		do
		{
			double pass = set_spent();

			found = 0;
			for (size_t q = 0; q < queries.count; q++)
			{
				int64_t ids[K];
				float        distances[K];

				index->search(1, queries.rows + q * base.dim, K, distances, ids);
				for (int64_t i = 0; i < K; i++)
					found += std::count(&truth[q * K], &truth[q * K] + K, ids[i]);
			}
			best = std::min(best, set_spent() - pass);
		} while (set_spent() - begin < seconds);
		recall = static_cast<double>(found) / static_cast<double>(queries.count * K);
		std::printf("  probes %4zu  recall %.4f  %8.0f/s\n", static_cast<size_t>(lists_index->nprobe), recall,
					static_cast<double>(queries.count) / best);
		std::fflush(stdout);
	}
}

} // namespace

int
main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	omp_set_num_threads(1);
	/* its own loops, not a BLAS of unknown quality */
	faiss::distance_compute_blas_threshold = INT_MAX;

	Set         base = set_read(argv[1], std::strtoul(set_option(argc, argv, "rows", "0"), nullptr, 10));
	Set         queries = set_read(argv[2], 0);
	size_t      lists = std::strtoul(set_option(argc, argv, "lists", "0"), nullptr, 10);
	double      seconds = std::strtod(set_option(argc, argv, "seconds", "1"), nullptr);
	const char *probes = set_option(argc, argv, "probes", "1,2,4,6,8,12,16,24,32,48,64,96,128,192,256");
	std::string wanted = set_option(argc, argv, "kind", "");

	if (lists == 0)
		lists = static_cast<size_t>(std::min(3 * std::sqrt(static_cast<double>(base.count)),
											 static_cast<double>(base.count) / 32));
	std::vector<int64_t> truth = find_truth(base, queries);
	for (const char *kind : {"flat", "sq8", "pq"})
		if (wanted.empty() || wanted == kind)
			run(kind, base, queries, truth, lists, probes, seconds);
	return 0;
}
