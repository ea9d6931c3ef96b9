/*
 * index_codec_private.h - what writing and reading a snapshot's rows have in common.
 */
#ifndef IQDB_DB_INDEX_CODEC_PRIVATE_H
#define IQDB_DB_INDEX_CODEC_PRIVATE_H

#include "core/db/index.h"

/* What a bare snapshot says of a row; each is written as its difference to the row before it in the chunk. */
typedef struct IqdbiBareRow
{
	uint64_t number;
	uint64_t sequence;
} IqdbiBareRow;

/* A piece of the host's memory that only grows. */
typedef struct IqdbiBuffer
{
	const IqdbAllocator *allocator;
	unsigned char       *bytes;
	size_t               allocated;
} IqdbiBuffer;

/* Makes the buffer no smaller than this; what is in it stays. IQDB_ERR_NOMEM. */
IqdbStatus iqdbi_buffer_room(IqdbiBuffer *buffer, size_t size, IqdbError *err) IQDB_MUST_CHECK;
void iqdbi_buffer_free(IqdbiBuffer *buffer);

#endif
