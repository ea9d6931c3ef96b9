/*
 * damage.c - harm to what is only a cache: own files of a server that is down, arena files of one that runs.
 */
#define _GNU_SOURCE

#include "torture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES_MAX 512
#define KEPT_MAX 24

typedef struct FileList
{
	int			count;
	char		paths[FILES_MAX][1024];
} FileList;

static FileList files;

/* What was remembered, and the name it had below the data directory. */
static struct
{
	char		copy[600];
	char		name[300];
} kept[KEPT_MAX];

static int	kept_count;

static void
list_folder(const char *folder, FileList *list, int levels)
{
	DIR		   *dir = opendir(folder);
	struct dirent *entry;

	while (dir != NULL && list->count < FILES_MAX && (entry = readdir(dir)) != NULL)
	{
		struct stat st;
		char	   *path = list->paths[list->count];

		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(list->paths[0]), "%s/%s", folder, entry->d_name);
		if (lstat(path, &st) != 0)
			continue;
		if (S_ISREG(st.st_mode))
			list->count++;
		else if (S_ISDIR(st.st_mode) && levels > 0)
		{
			char		deeper[1024];

			snprintf(deeper, sizeof(deeper), "%s", path);
			list_folder(deeper, list, levels - 1);
		}
	}
	if (dir != NULL)
		closedir(dir);
}

static int
list_own_files(const Node *node)
{
	char		folder[600];

	snprintf(folder, sizeof(folder), "%s/iqdb", node->data);
	files.count = 0;
	list_folder(folder, &files, 1);
	return files.count;
}

static bool
copy_file(const char *from, const char *to)
{
	char		buffer[65536];
	FILE	   *in = fopen(from, "rb");
	FILE	   *out = in != NULL ? fopen(to, "wb") : NULL;
	size_t		n;

	while (out != NULL && (n = fread(buffer, 1, sizeof(buffer), in)) > 0)
		(void) fwrite(buffer, 1, n, out);
	if (in != NULL)
		fclose(in);
	return out != NULL && fclose(out) == 0;
}

static off_t
size_of(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 ? st.st_size : 0;
}

/* Changes some bytes in the middle. */
static void
scribble(const char *path, Random *random)
{
	off_t		size = size_of(path);
	int			fd = open(path, O_RDWR);

	for (uint32_t i = random_between(random, 1, 4); fd >= 0 && size > 0 && i > 0; i--)
	{
		unsigned char bytes[64];
		size_t		length = random_between(random, 1, sizeof(bytes));

		for (size_t j = 0; j < length; j++)
			bytes[j] = random_chance(random, 50) ? 0 : (unsigned char) random_next(random);
		(void) !pwrite(fd, bytes, length, (off_t) (random_next(random) % (uint64_t) size));
	}
	if (fd >= 0)
		close(fd);
}

static void
harm_one(const char *path, Random *random)
{
	const char *other = files.paths[random_below(random, (uint32_t) files.count)];
	char		aside[1100];

	switch (random_below(random, 8))
	{
		case 0:
			count("own file deleted");
			(void) unlink(path);
			break;
		case 1:
			count("own file cut");
			(void) !truncate(path, (off_t) (random_next(random) % (uint64_t) (size_of(path) + 1)));
			break;
		case 2:
			count("own file scribbled over");
			scribble(path, random);
			break;
		case 3:
			count("own file replaced by another");
			(void) copy_file(other, path);
			break;
		case 4:
			count("own files swapped");
			snprintf(aside, sizeof(aside), "%s.aside", path);
			(void) rename(path, aside);
			(void) rename(other, path);
			(void) rename(aside, other);
			break;
		case 5:
			count("own file emptied");
			(void) !truncate(path, 0);
			break;
		case 6:
			count("own file lengthened");
			(void) !truncate(path, size_of(path) + (off_t) random_between(random, 1, 9000));
			break;
		default:
			count("own file made unreadable");
			(void) chmod(path, 0);
			break;
	}
}

/* A file of another time comes back, as after a partial restore. */
static void
put_back(const Node *node, Random *random)
{
	char		path[1024];
	int			i;

	if (kept_count == 0)
		return;
	i = (int) random_below(random, (uint32_t) kept_count);
	snprintf(path, sizeof(path), "%s/%s", node->data, kept[i].name);
	if (copy_file(kept[i].copy, path))
		count("own file of another time put back");
}

void
damage_remember(const Node *node, Random *random)
{
	const char *path;
	int			slot;

	if (list_own_files(node) == 0)
		return;
	path = files.paths[random_below(random, (uint32_t) files.count)];
	slot = kept_count < KEPT_MAX ? kept_count++ : (int) random_below(random, KEPT_MAX);
	snprintf(kept[slot].copy, sizeof(kept[slot].copy), "%s/kept.%d", options.folder, slot);
	snprintf(kept[slot].name, sizeof(kept[slot].name), "%.299s", path + strlen(node->data) + 1);
	(void) copy_file(path, kept[slot].copy);
}

void
damage_files(const Node *node, Random *random)
{
	uint32_t	percent = random_chance(random, 30) ? 100 : random_between(random, 5, 60);

	for (uint32_t i = random_below(random, 4); i > 0; i--)
		put_back(node, random);
	if (list_own_files(node) == 0)
		return;
	if (random_chance(random, 10))
	{
		count("all own files deleted");
		for (int i = 0; i < files.count; i++)
			(void) unlink(files.paths[i]);
		return;
	}
	for (int i = 0; i < files.count; i++)
		if (random_chance(random, percent))
			harm_one(files.paths[i], random);
}

void
damage_mend(const Node *node)
{
	char		folder[600];

	/* all of them: there may be more than a list has room for */
	snprintf(folder, sizeof(folder), "%s/iqdb", node->data);
	(void) run_program("/dev/null", (const char *const[]) {"/bin/chmod", "-R", "u+rwX", folder, NULL});
}

void
damage_mix(const Node *from, const Node *to, Random *random)
{
	if (list_own_files(from) == 0)
		return;
	for (int i = 0; i < files.count; i++)
	{
		char		path[1600];
		char		folder[1600];
		char	   *slash;

		if (random_chance(random, 20))
			continue;
		snprintf(path, sizeof(path), "%s/%s", to->data, files.paths[i] + strlen(from->data) + 1);
		snprintf(folder, sizeof(folder), "%s", path);
		slash = strrchr(folder, '/');
		*slash = '\0';
		(void) mkdir(folder, 0700);
		if (copy_file(files.paths[i], path))
			count("own file of another server put in place");
	}
}

void
damage_arenas(const Node *node, Random *random)
{
	bool		all = random_chance(random, 30);

	files.count = 0;
	list_folder(node->arena, &files, 0);
	for (int i = 0; i < files.count; i++)
		if (all || random_chance(random, 40))
		{
			count("arena file unlinked");
			(void) unlink(files.paths[i]);
		}
}
