/*
 * torture.c - the rounds: load, an accident, comparison of everything on every server; and the report. TAP, a test a round.
 */
#define _GNU_SOURCE

#include "torture.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define RECALL_WANTED 0.9

static Cluster cluster;

bool
method_is_exact(void)
{
	return strcmp(options.method, "iqdb_flat") == 0;
}

static void
usage(void)
{
	fprintf(stderr,
			"torture --method=iqdb_flat --bin=FOLDER_OF_THE_SERVER --folder=EMPTY_FOLDER [--arenas=FOLDER] [--seconds=60]\n"
			"        [--seed=N] [--workers=4] [--no-standby] [--events=NAME,...]\n");
	exit(2);
}

static void
read_options(int argc, char **argv)
{
	static const struct option known[] = {
		{"method", required_argument, NULL, 'm'}, {"bin", required_argument, NULL, 'b'},
		{"folder", required_argument, NULL, 'f'}, {"arenas", required_argument, NULL, 'a'},
		{"seconds", required_argument, NULL, 't'}, {"seed", required_argument, NULL, 's'},
		{"workers", required_argument, NULL, 'w'}, {"no-standby", no_argument, NULL, 'n'},
		{"events", required_argument, NULL, 'e'}, {NULL, 0, NULL, 0}
	};
	int			c;

	options = (Options) {.method = "iqdb_flat", .seconds = 60, .workers = 4, .standby = true};
	while ((c = getopt_long(argc, argv, "", known, NULL)) != -1)
		switch (c)
		{
			case 'm': options.method = optarg; break;
			case 'b': options.bin = optarg; break;
			case 'f': options.folder = optarg; break;
			case 'a': options.arena_parent = optarg; break;
			case 't': options.seconds = strtod(optarg, NULL); break;
			case 's': options.seed = strtoull(optarg, NULL, 10); break;
			case 'w': options.workers = atoi(optarg); break;
			case 'n': options.standby = false; break;
			case 'e': options.events = optarg; break;
			default: usage();
		}
	if (options.bin == NULL || options.folder == NULL || options.workers < 1 || options.workers > WORKERS_MAX)
		usage();
	if (options.seed == 0)
		options.seed = (uint64_t) time(NULL) * 1000003 % 1000000007;
	if (options.arena_parent == NULL)
		options.arena_parent = options.folder;
}

/* Until the standby has applied what the primary has written by now. */
static void
wait_for_standby(void)
{
	char		lsn[64];
	char		there[64] = "";
	double		end = seconds_now() + 60;

	if (cluster.standby == NULL || !ask(cluster.primary, lsn, sizeof(lsn), "SELECT pg_current_wal_flush_lsn()"))
		return;
	while (seconds_now() < end && !has_failed())
	{
		if (ask(cluster.standby, there, sizeof(there), "SELECT pg_last_wal_replay_lsn() >= '%s'", lsn) &&
			strcmp(there, "t") == 0)
			return;
		sleep_milliseconds(20);
	}
	if (!has_failed())
	{
		fail("the standby does not come to %s", lsn);
		node_print_log_end(cluster.standby, 20);
	}
}

static void
round_of(int number)
{
	const char *name;
	char		where[128];
	uint32_t	before = random_between(&cluster.random, 200, 2500);
	double		begun;

	load_resume();
	sleep_milliseconds(before);
	load_watch();
	name = has_failed() ? "nothing" : event_happen(&cluster);
	if (random_chance(&cluster.random, 60))
		sleep_milliseconds(random_below(&cluster.random, 600));
	snprintf(where, sizeof(where), "round %d, %s after %u ms", number, name, before);
	begun = seconds_now();
	load_pause();
	if (!has_failed())
	{
		check_node(cluster.primary, &cluster.random, where);
		wait_for_standby();
		if (cluster.standby != NULL && !has_failed())
			check_node(cluster.standby, &cluster.random, where);
		node_scan_log(cluster.primary, false);
		if (cluster.standby != NULL)
			node_scan_log(cluster.standby, false);
	}
	printf("%s %d - %s, checked in %.1f s\n", has_failed() ? "not ok" : "ok", number, where, seconds_now() - begun);
	fflush(stdout);
}

int
main(int argc, char **argv)
{
	double		end;
	double		recall;
	uint64_t	wanted;
	int			rounds = 0;

	read_options(argc, argv);
	(void) signal(SIGPIPE, SIG_IGN);
	note("%s, seed %llu, %.0f s, %d workers", options.method, (unsigned long long) options.seed, options.seconds,
		 options.workers);
	if (mkdir(options.folder, 0700) != 0 && errno != EEXIST)
		give_up("%s: %s", options.folder, strerror(errno));
	cluster.random.state = options.seed;
	end = seconds_now() + options.seconds;
	cluster_start(&cluster);
	if (cluster.primary_checker == NULL && !has_failed())
	{
		/* this build has no such engine */
		cluster_stop(&cluster);
		printf("ok 1 - %s # SKIP not built in\n1..1\n", options.method);
		return 0;
	}
	load_start(&cluster.random);
	while (seconds_now() < end && !has_failed())
		round_of(++rounds);
	load_stop();
	cluster_stop(&cluster);

	rounds++;
	printf("%s %d - servers stop, and their logs are clean\n", has_failed() ? "not ok" : "ok", rounds);
	recall = recall_so_far(&wanted);
	rounds++;
	printf("%s %d - recall of the nearest ten: %.4f over %llu rows\n",
		   recall < 0 || recall < (method_is_exact() ? 1.0 : RECALL_WANTED) ? "not ok" : "ok", rounds, recall,
		   (unsigned long long) wanted);
	note("%s, seed %llu; what was done:", options.method, (unsigned long long) options.seed);
	print_counts();
	printf("1..%d\n", rounds);
	return has_failed();
}
