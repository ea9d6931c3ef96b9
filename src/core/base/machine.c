/*
 * machine.c - see machine.h.
 *
 * /proc/self/cgroup has a line for each hierarchy: "number:controllers:path". Version 2 has number 0 and no controllers; its
 * limits are in memory.max. Version 1 names the controller memory; its limits are in memory.limit_in_bytes. A limit binds
 * everything below it, so all parents are asked. In a container the path may be the host's, of which only the end is
 * mounted, at the root: what does not exist is passed over, and the root is always asked.
 */
#define _DEFAULT_SOURCE
#include "core/base/machine.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TEXT_MAX 4096
#define PATH_BYTES 4096

/* The beginning of a file as a string, empty if it cannot be read. */
static void
read_text(const char *path, char *text, size_t size)
{
	int     fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t  used = 0;
	ssize_t got = 1;

	while (fd >= 0 && got > 0 && used + 1 < size)
	{
		got = read(fd, text + used, size - 1 - used);
		if (got > 0)
			used += (size_t) got;
	}
	text[used] = '\0';
	if (fd >= 0)
		(void) close(fd);
}

/* The limit in one folder's file; UINT64_MAX if there is none ("max", or no such file). */
static uint64_t
limit_in(const char *folder, const char *file)
{
	char               path[PATH_BYTES];
	char               text[64];
	char              *end;
	unsigned long long limit;

	if (snprintf(path, sizeof(path), "%s/%s", folder, file) >= (int) sizeof(path))
		return UINT64_MAX;
	read_text(path, text, sizeof(text));
	limit = strtoull(text, &end, 10);
	return end == text ? UINT64_MAX : limit;
}

/* The least limit of a group and its parents. path begins with a slash, or is empty. */
static uint64_t
least_limit(const char *root, const char *mount, const char *group, const char *file)
{
	char     folder[PATH_BYTES];
	size_t   base = (size_t) snprintf(folder, sizeof(folder), "%s%s", root, mount);
	uint64_t least = UINT64_MAX;

	if (base >= sizeof(folder))
		return least;
	/* a group outside of what is mounted here has a path that climbs */
	if (strstr(group, "/..") == NULL)
		(void) snprintf(folder + base, sizeof(folder) - base, "%s", group);
	for (;;)
	{
		uint64_t limit = limit_in(folder, file);
		char    *slash = strrchr(folder, '/');

		if (limit < least)
			least = limit;
		if (strlen(folder) <= base || slash == NULL || slash < folder + base)
			return least;
		*slash = '\0';
	}
}

/* Does a list of words with commas between them have this word? */
static bool
has_word(const char *list, const char *word)
{
	size_t length = strlen(word);

	for (const char *at = list; at != NULL; at = strchr(at, ','))
	{
		if (*at == ',')
			at++;
		if (strncmp(at, word, length) == 0 && (at[length] == ',' || at[length] == '\0'))
			return true;
	}
	return false;
}

static uint64_t
lesser(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* The limit that one line of /proc/self/cgroup leads to. The line is cut to pieces. */
static uint64_t
limit_of_line(const char *root, char *line)
{
	char *controllers = strchr(line, ':');
	char *group = controllers != NULL ? strchr(controllers + 1, ':') : NULL;

	if (group == NULL)
		return UINT64_MAX;
	controllers++;
	*group++ = '\0';
	if (strcmp(group, "/") == 0)
		group++;
	if (controllers[0] == '\0')
		return lesser(least_limit(root, "/sys/fs/cgroup", group, "memory.max"),
					  least_limit(root, "/sys/fs/cgroup/unified", group, "memory.max"));
	if (has_word(controllers, "memory"))
		return least_limit(root, "/sys/fs/cgroup/memory", group, "memory.limit_in_bytes");
	return UINT64_MAX;
}

uint64_t
iqdb_machine_memory(const char *root)
{
	long     pages = sysconf(_SC_PHYS_PAGES);
	long     page = sysconf(_SC_PAGESIZE);
	uint64_t least = pages > 0 && page > 0 ? (uint64_t) pages * (uint64_t) page : UINT64_MAX;
	char     path[PATH_BYTES];
	char     text[TEXT_MAX];
	char    *next;

	if (snprintf(path, sizeof(path), "%s/proc/self/cgroup", root) >= (int) sizeof(path))
		return least;
	read_text(path, text, sizeof(text));
	for (char *line = text; *line != '\0'; line = next)
	{
		size_t length = strcspn(line, "\n");

		next = line + length + (line[length] == '\n' ? 1 : 0);
		line[length] = '\0';
		least = lesser(least, limit_of_line(root, line));
	}
	return least;
}
