/*
 * meta_private.h - what the files of this folder share: a bounded reader, a growing byte string, a sort.
 */
#ifndef IQDB_META_PRIVATE_H
#define IQDB_META_PRIVATE_H

#include "core/base/endian.h"
#include "core/base/mem.h"
#include "core/base/status.h"
#include "core/meta/value.h"

/* ---- reading bytes that may lie: every function checks what is left, and moves nothing when it fails ---- */

typedef struct IqdbiReader
{
	const unsigned char *start;
	const unsigned char *at;
	const unsigned char *end;
} IqdbiReader;

static inline IqdbiReader
iqdbi_reader(const unsigned char *bytes, size_t length)
{
	IqdbiReader reader = {bytes, bytes, bytes};

	/* NULL + 0 is left alone: a record without metadata has no bytes */
	if (length > 0)
		reader.end = bytes + length;
	return reader;
}

static inline size_t
iqdbi_reader_left(const IqdbiReader *reader)
{
	return (size_t) (reader->end - reader->at);
}

static inline uint64_t
iqdbi_reader_offset(const IqdbiReader *reader)
{
	return (uint64_t) (reader->at - reader->start);
}

static inline bool
iqdbi_read_u8(IqdbiReader *reader, uint8_t *out)
{
	if (reader->at == reader->end)
		return false;
	*out = *reader->at++;
	return true;
}

static inline bool
iqdbi_read_u32(IqdbiReader *reader, uint32_t *out)
{
	if (iqdbi_reader_left(reader) < 4)
		return false;
	*out = iqdb_load_u32(reader->at);
	reader->at += 4;
	return true;
}

/* A length (u32) and that many bytes; the pointer is into the read bytes. */
static inline bool
iqdbi_read_text(IqdbiReader *reader, const char **text_out, size_t *length_out)
{
	uint32_t length;

	if (iqdbi_reader_left(reader) < 4)
		return false;
	length = iqdb_load_u32(reader->at);
	if (length > iqdbi_reader_left(reader) - 4)
		return false;
	*text_out = (const char *) reader->at + 4;
	*length_out = length;
	reader->at += 4 + (size_t) length;
	return true;
}

/* One encoded value (value.h); a string points into the read bytes. */
bool iqdbi_read_value(IqdbiReader *reader, IqdbValue *value_out);

/* ---- a byte string that grows ---- */

typedef struct IqdbiBytes
{
	const IqdbAllocator *allocator;
	unsigned char       *data;
	size_t               length;
	size_t               allocated;
} IqdbiBytes;

/* Appends `size` bytes of unset content, *at_out is where they start. IQDB_ERR_NOMEM: nothing has changed. */
IqdbStatus iqdbi_bytes_extend(IqdbiBytes *bytes, size_t size, unsigned char **at_out) IQDB_MUST_CHECK;

/* ---- arrays ---- */

/*
 * Room for one more item in an array of *allocated items of `size` bytes, doubling. Returns the array, moved perhaps,
 * or NULL (the old one stays valid).
 */
void *iqdbi_array_room(const IqdbAllocator *allocator, void *items, size_t count, size_t *allocated, size_t size);

/*
 * Heap sort: no memory, no recursion, O(n log n) for hostile input too; not stable. Items of at most
 * IQDBI_SORT_ITEM_MAX bytes.
 */
#define IQDBI_SORT_ITEM_MAX 32
typedef bool (*IqdbiBefore)(const void *a, const void *b, const void *arg);
void iqdbi_sort(void *items, size_t count, size_t size, IqdbiBefore before, const void *arg);

#endif
