/*
 * hnswlib_peer.cpp - the figures of core_hnsw.c for hnswlib, for a comparison in one run.
 *
 * usage: hnswlib_peer BASE QUERIES [m=16] [efc=200] [threads=1] [rows=0] [seconds=1] [ef=16,24,...]
 *
 * Squared L2. Needs Debian's libhnswlib-dev, and is not part of the build:
 *   g++ -O3 -o hnswlib_peer bench/hnswlib_peer.cpp -lpthread
 */
#include "sets.h"
#include "tails.h"

#include <hnswlib/hnswlib.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <unordered_set>
#include <vector>

namespace
{

double
now()
{
	return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/* Processor time of all threads. */
double
spent()
{
	return static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
}

size_t
option(int argc, char **argv, const char *name, const char *otherwise)
{
	return std::strtoul(set_option(argc, argv, name, otherwise), nullptr, 10);
}

} // namespace

int
main(int argc, char **argv)
{
	if (argc < 3)
		return 2;

	const size_t k = 10;
	size_t       m = option(argc, argv, "m", "16");
	size_t       efc = option(argc, argv, "efc", "200");
	size_t       threads = option(argc, argv, "threads", "1");
	double       seconds = std::strtod(set_option(argc, argv, "seconds", "1"), nullptr);
	const char  *efs = set_option(argc, argv, "ef", "12,16,20,24,32,40,48,64,96,128,200");
	Set          base = set_read(argv[1], option(argc, argv, "rows", "0"));
	Set          queries = set_read(argv[2], 0);

	hnswlib::L2Space                space(base.dim);
	hnswlib::HierarchicalNSW<float> graph(&space, base.count, m, efc);
	std::vector<std::thread>        workers;
	double                          start = now();
	double                          cpu = spent();

	for (size_t t = 0; t < threads; t++)
		workers.emplace_back([&, t] {
			for (size_t i = t; i < base.count; i += threads)
				graph.addPoint(base.rows + i * base.dim, i);
		});
	for (std::thread &worker : workers)
		worker.join();
	std::printf("hnswlib: %zu rows, dimension %zu, m %zu, ef_construction %zu\nbuild %.2f s (processor %.2f s) with %zu thread(s)\n",
				base.count, base.dim, m, efc, now() - start, spent() - cpu, threads);

	std::vector<std::unordered_set<size_t>> truth(queries.count);

	for (size_t q = 0; q < queries.count; q++)
	{
		std::vector<std::pair<float, size_t>> all(base.count);

		for (size_t i = 0; i < base.count; i++)
			all[i] = {space.get_dist_func()(queries.rows + q * base.dim, base.rows + i * base.dim,
											space.get_dist_func_param()),
					  i};
		std::partial_sort(all.begin(), all.begin() + k, all.end());
		for (size_t i = 0; i < k; i++)
			truth[q].insert(all[i].second);
	}
	while (*efs != '\0')
	{
		size_t ef = set_next_number(&efs);
		size_t found;
		Tail   tail;
		double begin = spent();
		double best = 1e9;

		graph.setEf(ef);
		do
		{
			double pass = spent();

			found = 0;
			tail_begin(&tail, k);
			for (size_t q = 0; q < queries.count; q++)
			{
				auto   result = graph.searchKnn(queries.rows + q * base.dim, k);
				size_t own = 0;

				for (; !result.empty(); result.pop())
					own += truth[q].count(result.top().second);
				tail_count(&tail, own);
				found += own;
			}
			best = std::min(best, spent() - pass);
		} while (spent() - begin < seconds);
		std::printf("  ef %5zu  recall %.4f  %8.0f/s", ef, static_cast<double>(found) / (queries.count * k),
					static_cast<double>(queries.count) / best);
		tail_print(&tail);
		std::printf("\n");
		std::fflush(stdout);
	}
	return 0;
}
