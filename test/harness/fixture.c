/*
 * fixture.c - see fixture.h.
 */
#include "harness/fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIXTURE_MAX 65536

/* Writes bytes to a file of the tree, or reads up to FIXTURE_MAX of it; the length, or 0 where that failed. */
static size_t
transfer(const char *path, const char *mode, unsigned char *bytes, size_t length)
{
	FILE  *file = fopen(path, mode);
	size_t done;

	if (file == NULL)
		return 0;
	done = mode[0] == 'w' ? fwrite(bytes, 1, length, file) : fread(bytes, 1, FIXTURE_MAX, file);
	return fclose(file) == 0 ? done : 0;
}

bool
fixture_is_written(IoCrash *fs, const char *name, const char *fixture)
{
	static unsigned char kept[FIXTURE_MAX];
	const unsigned char *today;
	size_t               length;
	size_t               kept_length;
	char                 path[200];

	snprintf(path, sizeof(path), "test/fixtures/%s", fixture);
	today = io_crash_content(fs, name, &length);
	if (getenv("IQDB_WRITE_FIXTURES") != NULL && length <= FIXTURE_MAX)
	{
		memcpy(kept, today, length);
		(void) transfer(path, "wb", kept, length);
	}
	kept_length = transfer(path, "rb", kept, 0);
	if (kept_length != length || memcmp(kept, today, length) != 0)
	{
		fprintf(stderr, "%s (%zu bytes) is not what is written today (%zu bytes)\n", path, kept_length, length);
		return false;
	}
	io_crash_put(fs, name, kept, kept_length);
	return true;
}
