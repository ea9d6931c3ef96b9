/*
 * persist_private.h - what the files of this folder share: compression of one block.
 */
#ifndef IQDB_PERSIST_PERSIST_PRIVATE_H
#define IQDB_PERSIST_PERSIST_PRIVATE_H

#include "core/base/mem.h"
#include "core/base/status.h"
#include "core/persist/snapshot.h"

/*
 * Compresses or decompresses single blocks, none larger than a few MiB. All memory comes from the allocator; what a
 * library wants is allocated at the first block that needs it and kept until destroy.
 */
typedef struct IqdbiCodec
{
	const IqdbAllocator *allocator;
	IqdbCompression      scheme; /* for compressing */
	int                  level;
	void                *lz4_state;
	void                *zstd_compressor;
	void                *zstd_decompressor;
} IqdbiCodec;

/* Never fails, allocates nothing. allocator must outlive the codec. */
void iqdbi_codec_init(IqdbiCodec *codec, const IqdbAllocator *allocator, IqdbCompression scheme, int level);
void iqdbi_codec_destroy(IqdbiCodec *codec);

/*
 * Compresses into capacity bytes. *stored_out = bytes written, or 0 when they do not suffice: the caller passes one
 * byte less than it has, and stores the block as it is. Errors: NOMEM, UNSUPPORTED, STATE (the library failed
 * otherwise).
 */
IqdbStatus iqdbi_codec_compress(IqdbiCodec *codec, const void *raw, size_t raw_length, void *stored, size_t capacity,
								size_t *stored_out, IqdbError *err) IQDB_MUST_CHECK;

/*
 * Decompresses to exactly raw_length bytes, never writing more. *exact_out = false when the bytes are no such thing;
 * the caller knows the file and offset to name. Errors: NOMEM, UNSUPPORTED.
 */
IqdbStatus iqdbi_codec_decompress(IqdbiCodec *codec, uint8_t scheme, const void *stored, size_t stored_length,
								  void *raw, size_t raw_length, bool *exact_out, IqdbError *err) IQDB_MUST_CHECK;

#endif
