/*
 * events.c - what happens to the servers while the load runs: they are killed, stopped, promoted, copied, restored.
 */
#define _GNU_SOURCE

#include "torture.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct Event
{
	const char *name;
	uint32_t	weight;
	bool		needs_standby;
	void		(*happen) (Cluster *cluster);
} Event;

/* ---- servers ----------------------------------------------------------------------------------------------------- */

static Node *
new_node(Cluster *cluster, char *name, size_t size)
{
	if (cluster->made == (int) COUNT_OF(cluster->nodes))
		give_up("too many servers for one run");
	snprintf(name, size, "n%d", cluster->made);
	return &cluster->nodes[cluster->made++];
}

static void
make_standby(Cluster *cluster)
{
	char		name[32];
	Node	   *node = new_node(cluster, name, sizeof(name));

	node_from_backup(node, name, cluster->primary, true);
	if (has_failed() || !node_start(node))
		return;
	cluster->standby = node;
	cluster->standby_checker = checker_start(node, &cluster->random);
}

static void
lose_standby(Cluster *cluster)
{
	checker_stop(cluster->standby_checker);
	cluster->standby_checker = NULL;
	node_remove(cluster->standby);
	cluster->standby = NULL;
}

void
cluster_start(Cluster *cluster)
{
	char		name[32];

	cluster->primary = new_node(cluster, name, sizeof(name));
	node_init(cluster->primary, name, &cluster->random);
	if (!node_start(cluster->primary))
		return;
	if (!tables_create(cluster->primary, &cluster->random))
		return;
	if (options.standby && !has_failed())
		make_standby(cluster);
	load_target(cluster->primary);
	cluster->primary_checker = checker_start(cluster->primary, &cluster->random);
}

void
cluster_stop(Cluster *cluster)
{
	StopMode	mode = has_failed() ? STOP_IMMEDIATE : STOP_FAST;

	checker_stop(cluster->primary_checker);
	checker_stop(cluster->standby_checker);
	for (int i = 0; i < cluster->made; i++)
		if (cluster->nodes[i].postmaster > 0)
			node_stop(&cluster->nodes[i], mode);
}

/* ---- the primary goes down and comes back ------------------------------------------------------------------------ */

static void
down_and_up(Cluster *cluster, Node *node, StopMode mode)
{
	node_stop(node, mode);
	damage_remember(node, &cluster->random);
	if (random_chance(&cluster->random, 40))
		damage_files(node, &cluster->random);
	if (!node->is_standby && random_chance(&cluster->random, 30))
		node_settings(node, &cluster->random);
	(void) node_start(node);
}

static void
kill_all(Cluster *cluster)
{
	down_and_up(cluster, cluster->primary, STOP_KILL);
}

static void
kill_postmaster(Cluster *cluster)
{
	down_and_up(cluster, cluster->primary, STOP_KILL_POSTMASTER);
}

static void
stop_immediately(Cluster *cluster)
{
	down_and_up(cluster, cluster->primary, STOP_IMMEDIATE);
}

static void
restart(Cluster *cluster)
{
	down_and_up(cluster, cluster->primary, STOP_FAST);
}

/* Again before anybody has looked at an index, or just after. */
static void
kill_twice(Cluster *cluster)
{
	load_pause();
	down_and_up(cluster, cluster->primary, STOP_KILL);
	load_resume();
	if (has_failed())
		return;
	sleep_milliseconds(random_below(&cluster->random, 30));
	down_and_up(cluster, cluster->primary, random_chance(&cluster->random, 50) ? STOP_KILL : STOP_IMMEDIATE);
}

/* ---- single processes -------------------------------------------------------------------------------------------- */

static void
signal_backend(Cluster *cluster, int signal)
{
	int			backend = load_some_backend(&cluster->random);

	if (backend > 0)
		(void) kill(backend, signal);
}

/* Ends one process with a signal, and waits until the server has noticed and can be used. */
static void
kill_process(Cluster *cluster, pid_t pid, int signal)
{
	double		end = seconds_now() + 60;

	if (kill(pid, signal) != 0)
		return;
	while (kill(pid, 0) == 0 && seconds_now() < end)
		sleep_milliseconds(5);
	sleep_milliseconds(100);
	if (node_wait_ready(cluster->primary, 60))
		node_scan_log(cluster->primary, true);
}

static void
kill_backend(Cluster *cluster)
{
	int			backend = load_some_backend(&cluster->random);

	if (backend > 0)
		kill_process(cluster, backend, SIGKILL);
}

/* The keeper, or any other process that belongs to no session. */
static void
kill_helper(Cluster *cluster)
{
	char		pid[32];

	if (!ask(cluster->primary, pid, sizeof(pid), "SELECT pid FROM pg_stat_activity WHERE backend_type LIKE '%%keeper%%' OR "
			 "backend_type = 'autovacuum worker' ORDER BY random() LIMIT 1") || pid[0] == '\0')
		return;
	count("helper process killed");
	kill_process(cluster, atoi(pid), random_chance(&cluster->random, 50) ? SIGKILL : SIGTERM);
}

static void
terminate_backends(Cluster *cluster)
{
	for (uint32_t i = random_between(&cluster->random, 1, 6); i > 0; i--)
	{
		signal_backend(cluster, random_chance(&cluster->random, 50) ? SIGTERM : SIGINT);
		sleep_milliseconds(random_below(&cluster->random, 100));
	}
}

static void
unlink_arenas(Cluster *cluster)
{
	for (uint32_t i = random_between(&cluster->random, 1, 3); i > 0; i--)
	{
		damage_arenas(cluster->primary, &cluster->random);
		sleep_milliseconds(random_below(&cluster->random, 200));
	}
	if (cluster->standby != NULL && random_chance(&cluster->random, 50))
		damage_arenas(cluster->standby, &cluster->random);
}

static void
reload(Cluster *cluster)
{
	node_settings(cluster->primary, &cluster->random);
	(void) kill(cluster->primary->postmaster, SIGHUP);
}

static void
nothing(Cluster *cluster)
{
	(void) cluster;
}

/* ---- the standby ------------------------------------------------------------------------------------------------- */

static void
standby_down_and_up(Cluster *cluster)
{
	static const StopMode modes[] = {STOP_FAST, STOP_IMMEDIATE, STOP_KILL};

	down_and_up(cluster, cluster->standby, modes[random_below(&cluster->random, 3)]);
}

static void
standby_anew(Cluster *cluster)
{
	lose_standby(cluster);
	make_standby(cluster);
}

/* The end of recovery may take a second attempt; see node.c. */
static void
become_primary(Node *node)
{
	char		answer[32] = "";

	for (int attempt = 0; attempt < 3 && strcmp(answer, "t") != 0 && !has_failed(); attempt++)
	{
		if (attempt > 0)
			sleep_milliseconds(500);
		if (node_wait_ready(node, 90))
			(void) ask(node, answer, sizeof(answer), "SELECT pg_promote(true, 60)");
	}
	if (strcmp(answer, "t") != 0)
		fail("%s could not be promoted", node->name);
}

/* The primary is lost; what it had not sent yet is lost with it. */
static void
promote(Cluster *cluster)
{
	Node	   *old = cluster->primary;
	Node	   *new_primary = cluster->standby;

	load_pause();
	checker_stop(cluster->primary_checker);
	checker_stop(cluster->standby_checker);
	cluster->standby_checker = NULL;
	node_stop(old, random_chance(&cluster->random, 50) ? STOP_KILL : STOP_FAST);
	become_primary(new_primary);
	new_primary->is_standby = false;
	cluster->primary = new_primary;
	cluster->standby = NULL;
	load_target(new_primary);
	cluster->primary_checker = checker_start(new_primary, &cluster->random);
	load_resume();
	/* files of the history that ended, in the place of those of the one that goes on */
	if (random_chance(&cluster->random, 50) && !has_failed())
	{
		node_stop(new_primary, STOP_FAST);
		damage_mix(old, new_primary, &cluster->random);
		(void) node_start(new_primary);
	}
	node_remove(old);
	sleep_milliseconds(random_below(&cluster->random, 500));
	if (!has_failed())
		make_standby(cluster);
}

/* A base backup taken under load, started as a server of its own, with younger own files of the primary put in place. */
static void
restore_backup(Cluster *cluster)
{
	char		name[32];
	Node	   *node = new_node(cluster, name, sizeof(name));

	node_from_backup(node, name, cluster->primary, false);
	if (has_failed())
		return;
	sleep_milliseconds(random_below(&cluster->random, 800));
	if (random_chance(&cluster->random, 60))
		damage_mix(cluster->primary, node, &cluster->random);
	if (!node_start(node))
		return;
	check_node(node, &cluster->random, "restored backup");
	node_scan_log(node, false);
	if (!has_failed())
		node_remove(node);
}

/* ---- choosing ---------------------------------------------------------------------------------------------------- */

static const Event events[] = {
	{"kill -9 of all processes", 14, false, kill_all},
	{"kill -9 of the postmaster", 6, false, kill_postmaster},
	{"immediate stop", 8, false, stop_immediately},
	{"fast restart", 10, false, restart},
	{"kill -9 twice", 5, false, kill_twice},
	{"kill -9 of a backend", 8, false, kill_backend},
	{"kill of a helper process", 4, false, kill_helper},
	{"backends cancelled and terminated", 5, false, terminate_backends},
	{"arenas unlinked", 8, false, unlink_arenas},
	{"settings reloaded", 3, false, reload},
	{"nothing", 4, false, nothing},
	{"standby restarted or killed", 8, true, standby_down_and_up},
	{"standby made anew", 3, true, standby_anew},
	{"promotion", 6, true, promote},
	{"backup restored", 5, false, restore_backup},
};

static bool
is_wanted(const Event *event, const Cluster *cluster)
{
	if (event->needs_standby && cluster->standby == NULL)
		return false;
	return options.events == NULL || strstr(options.events, event->name) != NULL;
}

const char *
event_happen(Cluster *cluster)
{
	const Event *event = NULL;
	uint32_t	total = 0;

	for (size_t i = 0; i < COUNT_OF(events); i++)
	{
		uint32_t	weight = is_wanted(&events[i], cluster) ? events[i].weight : 0;

		total += weight;
		if (weight > 0 && random_below(&cluster->random, total) < weight)
			event = &events[i];
	}
	if (event == NULL)
		return "nothing";
	count(event->name);
	event->happen(cluster);
	return event->name;
}
