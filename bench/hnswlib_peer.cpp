/*
 * hnswlib_peer.cpp - the figures of core_hnsw.c for hnswlib, for a comparison in one run.
 *
 * usage: hnswlib_peer BASE QUERIES [m=16] [efc=200] [threads=1] [rows=0] [seconds=1] [ef=16,24,...]
 *
 * Squared L2. Needs Debian's libhnswlib-dev, and is not part of the build:
 *   g++ -O3 -o hnswlib_peer bench/hnswlib_peer.cpp -lpthread
 */
#include <hnswlib/hnswlib.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <thread>
#include <unordered_set>
#include <vector>

namespace
{

struct Set
{
	std::vector<float> rows;
	size_t             count = 0;
	size_t             dim = 0;
};

double
now()
{
	return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/* Processor time, as in core_hnsw.c. */
double
spent()
{
	return static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
}

Set
read_set(const std::string &path, size_t rows_max)
{
	Set   set;
	bool  bytes = path.find(".bvecs") != std::string::npos;
	FILE *file = std::fopen(path.c_str(), "rb");
	int   dim;

	if (file == nullptr)
	{
		std::perror(path.c_str());
		std::exit(1);
	}
	while ((rows_max == 0 || set.count < rows_max) && std::fread(&dim, 4, 1, file) == 1)
	{
		set.dim = static_cast<size_t>(dim);
		set.rows.resize((set.count + 1) * set.dim);
		float *row = set.rows.data() + set.count * set.dim;

		if (bytes)
			for (size_t i = 0; i < set.dim; i++)
				row[i] = static_cast<float>(std::getc(file));
		else if (std::fread(row, sizeof(float), set.dim, file) != set.dim)
			std::exit(1);
		set.count++;
	}
	std::fclose(file);
	return set;
}

size_t
option(int argc, char **argv, const char *name, size_t otherwise)
{
	for (int i = 3; i < argc; i++)
		if (std::strncmp(argv[i], name, std::strlen(name)) == 0)
			return std::strtoul(argv[i] + std::strlen(name), nullptr, 10);
	return otherwise;
}

} // namespace

int
main(int argc, char **argv)
{
	if (argc < 3)
		return 2;

	const size_t        k = 10;
	size_t              m = option(argc, argv, "m=", 16);
	size_t              efc = option(argc, argv, "efc=", 200);
	size_t              threads = option(argc, argv, "threads=", 1);
	double              seconds = static_cast<double>(option(argc, argv, "seconds=", 1));
	Set                 base = read_set(argv[1], option(argc, argv, "rows=", 0));
	Set                 queries = read_set(argv[2], 0);
	std::vector<size_t> efs = {12, 16, 20, 24, 32, 40, 48, 64, 96, 128, 200};

	for (int i = 3; i < argc; i++)
	{
		if (std::strncmp(argv[i], "ef=", 3) != 0)
			continue;
		efs.clear();
		for (char *at = argv[i] + 3; *at != '\0'; at += *at == ',')
			efs.push_back(std::strtoul(at, &at, 10));
	}

	hnswlib::L2Space                space(base.dim);
	hnswlib::HierarchicalNSW<float> graph(&space, base.count, m, efc);
	std::vector<std::thread>        workers;
	double                          start = now();
	double                          cpu = spent();

	for (size_t t = 0; t < threads; t++)
		workers.emplace_back([&, t] {
			for (size_t i = t; i < base.count; i += threads)
				graph.addPoint(base.rows.data() + i * base.dim, i);
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
			all[i] = {space.get_dist_func()(queries.rows.data() + q * base.dim, base.rows.data() + i * base.dim,
											space.get_dist_func_param()),
					  i};
		std::partial_sort(all.begin(), all.begin() + k, all.end());
		for (size_t i = 0; i < k; i++)
			truth[q].insert(all[i].second);
	}
	for (size_t ef : efs)
	{
		size_t found = 0;
		double best = 1e9;

		graph.setEf(ef);
		for (double begin = spent(); spent() - begin < seconds;)
		{
			double pass = spent();

			found = 0;
			for (size_t q = 0; q < queries.count; q++)
			{
				auto result = graph.searchKnn(queries.rows.data() + q * base.dim, k);

				for (; !result.empty(); result.pop())
					found += truth[q].count(result.top().second);
			}
			best = std::min(best, spent() - pass);
		}
		std::printf("  ef %5zu  recall %.4f  %8.0f/s\n", ef, static_cast<double>(found) / (queries.count * k),
					static_cast<double>(queries.count) / best);
		std::fflush(stdout);
	}
	return 0;
}
