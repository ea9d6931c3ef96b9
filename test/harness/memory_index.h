/*
 * memory_index.h - an index on private memory, with its vectors in a file or not, and its snapshot in memory: what tests
 * below the handle need.
 */
#ifndef IQDB_TEST_HARNESS_MEMORY_INDEX_H
#define IQDB_TEST_HARNESS_MEMORY_INDEX_H

#include "core/db/index.h"

/* A search's filter by metadata alone, which lives as long as the block; filter may be NULL. */
#define by_metadata(metadata_filter) ((metadata_filter) != NULL ? &(IqdbRowFilter){.metadata = (metadata_filter)} : NULL)

/* Never moved once created: the index points into it. */
typedef struct MemoryIndex
{
	IqdbHost      host;
	IqdbArena     arena;
	IqdbArenaFile file; /* fd -1: vectors are in memory, whatever the options say */
	char          path[256];
	IqdbIndex     index;
} MemoryIndex;

/* kernels NULL: the best. Aborts on failure. */
void memory_index_create(MemoryIndex *memory, const IqdbIndexOptions *options, const IqdbLockOps *locks,
						 const IqdbKernels *kernels, uint64_t memory_max);
/* The same, vectors in a file without name in $TMPDIR. */
void memory_index_create_paged(MemoryIndex *memory, const IqdbIndexOptions *options, const IqdbLockOps *locks,
							   const IqdbKernels *kernels, uint64_t memory_max);
void memory_index_destroy(MemoryIndex *memory);

/* Fails (returns false and prints) when verification finds anything. */
bool memory_index_sound(IqdbIndex *index);

/* A snapshot: sections 1 and 2 one after the other. */
typedef struct MemorySnapshot
{
	unsigned char *bytes[3];
	size_t         length[3];
	size_t         allocated[3];
	size_t         at[3];       /* of the reader */
	uint64_t       fail_after;  /* writes that succeed before one fails; UINT64_MAX = none fails */
} MemorySnapshot;

void memory_snapshot_init(MemorySnapshot *snapshot);
void memory_snapshot_free(MemorySnapshot *snapshot);
IqdbSectionSink   memory_snapshot_sink(MemorySnapshot *snapshot);
IqdbSectionSource memory_snapshot_source(MemorySnapshot *snapshot);

#endif
