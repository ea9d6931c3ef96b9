/*
 * replay.c - feeds the stored inputs of a fuzz target to it, one after the other.
 *
 * Linked with one fuzz_*.c in place of libFuzzer, so that what was once found is run by every check, with any compiler.
 * Arguments: files and folders. Reports as TAP: one test per target, passed when all inputs came back. An input that
 * crashes ends the program, after its name has been written to standard error.
 */
#define _POSIX_C_SOURCE 200809L

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int
replay_file(const char *path)
{
	FILE *file = fopen(path, "rb");
	uint8_t *data = NULL;
	size_t size = 0;
	size_t room = 0;
	size_t got;

	if (file == NULL)
	{
		perror(path);
		return -1;
	}
	do
	{
		if (size == room)
		{
			room = room ? 2 * room : 4096;
			data = realloc(data, room);
			if (data == NULL)
			{
				perror(path);
				exit(1);
			}
		}
		got = fread(data + size, 1, room - size, file);
		size += got;
	} while (got > 0);
	fclose(file);

	fprintf(stderr, "%s (%zu bytes)\n", path, size);
	/* a block of exactly this size, so that a read behind the end is seen */
	uint8_t *exact = malloc(size > 0 ? size : 1);

	if (exact == NULL)
	{
		perror(path);
		exit(1);
	}
	if (size > 0)
		memcpy(exact, data, size);
	free(data);
	LLVMFuzzerTestOneInput(exact, size);
	free(exact);
	return 1;
}

/* Number of inputs replayed, or -1. */
static int
replay(const char *path)
{
	struct stat info;
	struct dirent **names;
	int count;
	int replayed = 0;

	if (stat(path, &info) != 0)
	{
		perror(path);
		return -1;
	}
	if (!S_ISDIR(info.st_mode))
		return replay_file(path);
	count = scandir(path, &names, NULL, alphasort);
	for (int i = 0; i < count; i++)
	{
		char child[4096];

		if (names[i]->d_name[0] != '.' && replayed >= 0)
		{
			int result;

			snprintf(child, sizeof(child), "%s/%s", path, names[i]->d_name);
			result = replay(child);
			replayed = result < 0 ? -1 : replayed + result;
		}
		free(names[i]);
	}
	if (count >= 0)
		free(names);
	return count < 0 ? -1 : replayed;
}

int
main(int argc, char **argv)
{
	int total = 0;

	printf("1..1\n");
	fflush(stdout);
	for (int i = 1; i < argc; i++)
	{
		int result = replay(argv[i]);

		if (result < 0)
			return 1;
		total += result;
	}
	if (total == 0)
	{
		printf("not ok 1 - there are no inputs\n");
		return 1;
	}
	printf("ok 1 - %d inputs\n", total);
	return 0;
}
