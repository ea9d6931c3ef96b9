/*
 * tool.c - random numbers, what is said, counters, programs.
 */
#define _GNU_SOURCE

#include "torture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NAMES_MAX 256
#define FAILURES_SHOWN 8

Options options;

static pthread_mutex_t output = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t counting = PTHREAD_MUTEX_INITIALIZER;
static atomic_int failures;

static struct
{
	const char *name;
	uint64_t	times;
} counters[NAMES_MAX];

static int	counter_count;

/* ---- random numbers ---------------------------------------------------------------------------------------------- */

uint64_t
random_next(Random *random)
{
	uint64_t	x = (random->state += UINT64_C(0x9E3779B97F4A7C15));

	x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
	return x ^ (x >> 31);
}

uint32_t
random_below(Random *random, uint32_t bound)
{
	return (uint32_t) (((random_next(random) >> 32) * bound) >> 32);
}

uint32_t
random_between(Random *random, uint32_t low, uint32_t high)
{
	return low + random_below(random, high - low + 1);
}

bool
random_chance(Random *random, uint32_t percent)
{
	return random_below(random, 100) < percent;
}

/* ---- time -------------------------------------------------------------------------------------------------------- */

double
seconds_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double) now.tv_sec + (double) now.tv_nsec / 1e9;
}

void
sleep_milliseconds(uint32_t milliseconds)
{
	struct timespec rest = {milliseconds / 1000, (long) (milliseconds % 1000) * 1000000};

	while (nanosleep(&rest, &rest) != 0 && errno == EINTR)
		;
}

/* ---- output ------------------------------------------------------------------------------------------------------ */

/* Every line begins with "# ". */
static void
say(const char *label, const char *format, va_list args)
{
	char	   *text;
	char	   *rest;
	char	   *line;
	time_t		now = time(NULL);
	struct tm	local;
	char		clock[16];

	if (vasprintf(&text, format, args) < 0)
		return;
	strftime(clock, sizeof(clock), "%H:%M:%S", localtime_r(&now, &local));
	pthread_mutex_lock(&output);
	for (line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest))
		printf("# %s %s%s\n", clock, label, line);
	fflush(stdout);
	pthread_mutex_unlock(&output);
	free(text);
}

void
note(const char *format, ...)
{
	va_list		args;

	va_start(args, format);
	say("", format, args);
	va_end(args);
}

void
fail(const char *format, ...)
{
	va_list		args;

	if (atomic_fetch_add(&failures, 1) >= FAILURES_SHOWN)
		return;
	va_start(args, format);
	say("FAILED: ", format, args);
	va_end(args);
}

bool
has_failed(void)
{
	return atomic_load(&failures) > 0;
}

void
give_up(const char *format, ...)
{
	va_list		args;

	va_start(args, format);
	say("cannot go on: ", format, args);
	va_end(args);
	printf("not ok - the test could not be run\n");
	exit(2);
}

/* ---- counters ---------------------------------------------------------------------------------------------------- */

void
count_many(const char *name, uint64_t times)
{
	int			i;

	pthread_mutex_lock(&counting);
	for (i = 0; i < counter_count && strcmp(counters[i].name, name) != 0; i++)
		;
	if (i == counter_count && i < NAMES_MAX)
		counters[counter_count++].name = strdup(name);
	if (i < NAMES_MAX)
		counters[i].times += times;
	pthread_mutex_unlock(&counting);
}

void
count(const char *name)
{
	count_many(name, 1);
}

static int
by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *) a, *(const char *const *) b);
}

void
print_counts(void)
{
	pthread_mutex_lock(&counting);
	qsort(counters, (size_t) counter_count, sizeof(counters[0]), by_name);
	for (int i = 0; i < counter_count; i++)
		printf("#   %-44s %8llu\n", counters[i].name, (unsigned long long) counters[i].times);
	fflush(stdout);
	pthread_mutex_unlock(&counting);
}

/* ---- programs ---------------------------------------------------------------------------------------------------- */

int
run_program(const char *output_path, const char *const *args)
{
	pid_t		child = fork();
	int			status;

	if (child < 0)
		return -1;
	if (child == 0)
	{
		int			out = open(output_path, O_WRONLY | O_CREAT | O_APPEND, 0600);
		int			in = open("/dev/null", O_RDONLY);

		if (out < 0 || in < 0)
			_exit(126);
		dup2(in, 0);
		dup2(out, 1);
		dup2(out, 2);
		execv(args[0], (char *const *) args);
		_exit(127);
	}
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
