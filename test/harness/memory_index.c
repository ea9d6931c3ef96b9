/*
 * memory_index.c - see memory_index.h.
 */
#include "harness/memory_index.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void
create(MemoryIndex *memory, const IqdbIndexOptions *options, const IqdbLockOps *locks, const IqdbKernels *kernels,
	   uint64_t memory_max, bool paged)
{
	const char *folder = getenv("TMPDIR");
	uint64_t  reserves[IQDB_ARENA_REGIONS_MAX];
	uint32_t  count = iqdb_index_reserves(options, memory_max, 64, reserves);
	IqdbError err;

	memset(memory, 0, sizeof(*memory));
	memory->file.fd = -1;
	snprintf(memory->path, sizeof(memory->path), "%s/vectors", folder != NULL ? folder : "/tmp");
	memory->host.allocator = iqdb_allocator_libc;
	memory->host.locks = *locks;
	if (iqdb_arena_private_create(&memory->arena, iqdb_arena_size_needed(reserves, count), &err) != IQDB_OK ||
		(paged && iqdb_arena_file_create(&memory->file, &memory->arena, memory->path, reserves, IQDB_REGION_VECTORS,
										 &err) != IQDB_OK) ||
		iqdb_index_format(&memory->index, &memory->arena, &memory->host, kernels, options, memory_max,
						  memory_max, 64, 64, &err) !=
			IQDB_OK)
	{
		fprintf(stderr, "could not make an index: %s\n", err.message);
		abort();
	}
}

void
memory_index_create(MemoryIndex *memory, const IqdbIndexOptions *options, const IqdbLockOps *locks,
					const IqdbKernels *kernels, uint64_t memory_max)
{
	create(memory, options, locks, kernels, memory_max, false);
}

void
memory_index_create_paged(MemoryIndex *memory, const IqdbIndexOptions *options, const IqdbLockOps *locks,
						  const IqdbKernels *kernels, uint64_t memory_max)
{
	create(memory, options, locks, kernels, memory_max, true);
}

void
memory_index_destroy(MemoryIndex *memory)
{
	iqdb_arena_private_destroy(&memory->arena);
	iqdb_arena_file_close(&memory->file);
}

static void
print_finding(void *arg, const char *what)
{
	(*(size_t *) arg)++;
	printf("# found: %s\n", what);
}

bool
memory_index_sound(IqdbIndex *index)
{
	size_t    findings = 0;
	IqdbError err;

	if (iqdb_index_check(index, print_finding, &findings, &err) == IQDB_OK)
		return findings == 0;
	printf("# check failed: %s\n", err.message);
	return false;
}

void
memory_snapshot_init(MemorySnapshot *snapshot)
{
	memset(snapshot, 0, sizeof(*snapshot));
	snapshot->fail_after = UINT64_MAX;
}

void
memory_snapshot_free(MemorySnapshot *snapshot)
{
	for (int i = 0; i < 3; i++)
		free(snapshot->bytes[i]);
	memory_snapshot_init(snapshot);
}

static IqdbStatus
snapshot_write(void *arg, uint16_t section, const void *bytes, size_t length, IqdbError *err)
{
	MemorySnapshot *snapshot = arg;

	if (section > 2)
		return iqdb_fail(err, IQDB_ERR_STATE, "section %u is none", section);
	if (snapshot->fail_after == 0)
		return iqdb_fail(err, IQDB_ERR_NO_SPACE, "told to fail");
	snapshot->fail_after--;
	if (snapshot->allocated[section] - snapshot->length[section] < length)
	{
		snapshot->allocated[section] = (snapshot->length[section] + length) * 2;
		snapshot->bytes[section] = realloc(snapshot->bytes[section], snapshot->allocated[section]);
		if (snapshot->bytes[section] == NULL)
			abort();
	}
	if (length > 0)
		memcpy(snapshot->bytes[section] + snapshot->length[section], bytes, length);
	snapshot->length[section] += length;
	return IQDB_OK;
}

static IqdbStatus
snapshot_read(void *arg, uint16_t section, void *bytes, size_t length, IqdbError *err)
{
	MemorySnapshot *snapshot = arg;

	if (section > 2 || snapshot->length[section] - snapshot->at[section] < length)
		return iqdb_fail_corrupt(err, "memory", 0, "section %u is cut short", section);
	if (length > 0)
		memcpy(bytes, snapshot->bytes[section] + snapshot->at[section], length);
	snapshot->at[section] += length;
	return IQDB_OK;
}

IqdbSectionSink
memory_snapshot_sink(MemorySnapshot *snapshot)
{
	return (IqdbSectionSink){.write = snapshot_write, .arg = snapshot};
}

IqdbSectionSource
memory_snapshot_source(MemorySnapshot *snapshot)
{
	memset(snapshot->at, 0, sizeof(snapshot->at));
	return (IqdbSectionSource){.read = snapshot_read, .arg = snapshot};
}
